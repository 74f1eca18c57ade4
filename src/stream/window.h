/* SPDX-License-Identifier: PostgreSQL
 *
 * window.h -- what is new in the ledger for one reader: batches whose transaction id lies in
 * [cursor, snapshot xmin) are committed and no older one can still appear.
 *
 * A reader works its window in tenant by tenant, each in a transaction bound to it, and then closes the window,
 * which moves the cursor. Killed in between, it sees the same batches again.
 */
#ifndef PCTL_STREAM_WINDOW_H
#define PCTL_STREAM_WINDOW_H

#include "postgres.h"

#include "storage/block.h"
#include "utils/uuid.h"

typedef struct LedgerPart
{
	pg_uuid_t tenant;
	Oid leaf;
	BlockNumber block_first, block_last;
	int64 xid;
} LedgerPart;

typedef struct Window
{
	const char *name;  /* of the cursor in worker_cursor */
	int64 from, to;    /* transaction ids: [from, to) is worked in by this pass */
	LedgerPart *parts; /* by tenant, leaf, block, transaction */
	int count;
	bool more; /* the ledger holds committed rows past `to`, or rows not yet safe to read */
} Window;

/* Both run a transaction of their own, as probectl_worker: its policy shows it every tenant's ledger rows, which hold
 * counts and block numbers only. Parts live in the context. */
void pctl_window_open(Window *window, const char *name, MemoryContext context);
void pctl_window_close(const Window *window);

/* End of the run of parts of one tenant that begins at first. */
int pctl_window_tenant(const Window *window, int first);

struct TupleTableSlot;

/* Calls row for each row the batch stored, with the part's snapshot active. The relation may have been
 * dropped by retention. */
typedef void (*PctlPartRow)(void *state, struct TupleTableSlot *slot);
void pctl_part_scan(const LedgerPart *part, int tenant_column, PctlPartRow row, void *state);

#endif
