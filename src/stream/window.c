/* SPDX-License-Identifier: PostgreSQL
 *
 * window.c -- reading the ledger from a cursor, and the rows of its batches by block range.
 */
#include "stream/window.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/spi.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define PARTS_MAX 20000 /* ledger rows worked in by one pass; 1 MB */

static PctlPlan cursor_read = {
    "SELECT next_xid FROM probectl_internal.worker_cursor WHERE name = $1", 1, {TEXTOID}};
static PctlPlan cursor_write = {
    "INSERT INTO probectl_internal.worker_cursor (name, next_xid, updated_at) VALUES ($3, $1, $2)"
    " ON CONFLICT (name) DO UPDATE SET next_xid = $1, updated_at = $2",
    3,
    {INT8OID, TIMESTAMPTZOID, TEXTOID}};
static PctlPlan window_read = {
    "SELECT tenant_id, leaf, block_first, block_last, xid FROM probectl.ledger"
    " WHERE xid >= $1 AND stored > 0 ORDER BY xid LIMIT $2",
    2,
    {INT8OID, INT8OID}};

static int
part_compare(const void *a, const void *b)
{
	const LedgerPart *x = a, *y = b;
	int tenant = memcmp(&x->tenant, &y->tenant, UUID_LEN);

	if (tenant != 0)
		return tenant;
	if (x->leaf != y->leaf)
		return x->leaf < y->leaf ? -1 : 1;
	if (x->block_first != y->block_first)
		return x->block_first < y->block_first ? -1 : 1;
	/* Of two runs at the same time the one that came first stays, in every rebuild. */
	return x->xid < y->xid ? -1 : x->xid > y->xid;
}

static int
part_compare_writer(const void *a, const void *b)
{
	const LedgerPart *x = a, *y = b;
	int tenant = memcmp(&x->tenant, &y->tenant, UUID_LEN);

	if (tenant != 0)
		return tenant;
	if (x->leaf != y->leaf)
		return x->leaf < y->leaf ? -1 : 1;
	return x->xid < y->xid ? -1 : x->xid > y->xid;
}

/* Rows are told by transaction and tenant, and batches of one transaction share blocks: its parts of a
 * leaf are made one, or their rows would be read once for each. */
static void
parts_join(Window *window)
{
	int kept = 0;

	qsort(window->parts, window->count, sizeof(LedgerPart), part_compare_writer);
	for (int i = 0; i < window->count; i++)
	{
		LedgerPart *part = &window->parts[i], *last = &window->parts[Max(kept - 1, 0)];

		if (kept == 0 || part_compare_writer(last, part) != 0)
		{
			window->parts[kept++] = *part;
			continue;
		}
		last->block_first = Min(last->block_first, part->block_first);
		last->block_last = Max(last->block_last, part->block_last);
	}
	window->count = kept;
}

/* Takes the rows of the last answer that are safe, in the given context. */
static void
window_fill(Window *window, int64 xmin, MemoryContext context)
{
	uint64 rows = SPI_processed;
	int64 last = 0;

	window->to = xmin;
	if (rows > PARTS_MAX)
	{
		/* Never split a transaction between two passes. */
		window->to = Min(xmin, DatumGetInt64(pctl_spi_value(rows - 1, 5, NULL)));
		window->more = true;
	}
	window->parts = MemoryContextAlloc(context, Max(rows, 1) * sizeof(LedgerPart));
	for (uint64 i = 0; i < rows; i++)
	{
		LedgerPart *part = &window->parts[window->count];

		last = DatumGetInt64(pctl_spi_value(i, 5, NULL));
		if (last >= window->to)
		{
			window->more = true;
			break;
		}
		part->tenant = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL));
		part->leaf = DatumGetObjectId(pctl_spi_value(i, 2, NULL));
		part->block_first = (BlockNumber) DatumGetInt64(pctl_spi_value(i, 3, NULL));
		part->block_last = (BlockNumber) DatumGetInt64(pctl_spi_value(i, 4, NULL));
		part->xid = last;
		window->count++;
	}
	parts_join(window);
	qsort(window->parts, window->count, sizeof(LedgerPart), part_compare);
}

void
pctl_window_open(Window *window, const char *name, MemoryContext context)
{
	Snapshot snapshot;
	FullTransactionId next;
	TransactionId xmin;
	int64 safe;
	Datum args[2], cursor[1] = {CStringGetTextDatum(name)};

	window->name = name;
	StartTransactionCommand();
	snapshot = GetTransactionSnapshot();
	PushActiveSnapshot(snapshot);
	next = ReadNextFullTransactionId();
	xmin = snapshot->xmin;
	safe = (int64) (U64FromFullTransactionId(next) -
	                (uint32) (XidFromFullTransactionId(next) - xmin));
	SPI_connect();
	window->from = pctl_plan_run(&cursor_read, cursor, NULL, true, 1) == 1
	                   ? DatumGetInt64(pctl_spi_value(0, 1, NULL))
	                   : 0;
	args[0] = Int64GetDatum(window->from);
	args[1] = Int64GetDatum(PARTS_MAX + 1);
	pctl_plan_run(&window_read, args, NULL, true, 0);
	window_fill(window, safe, context);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

void
pctl_window_close(const Window *window)
{
	Datum args[3] = {Int64GetDatum(window->to), TimestampTzGetDatum(pctl_now())};

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	args[2] = CStringGetTextDatum(window->name);
	pctl_plan_run(&cursor_write, args, NULL, false, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

int
pctl_window_tenant(const Window *window, int first)
{
	int next = first + 1;

	while (next < window->count &&
	       memcmp(&window->parts[next].tenant, &window->parts[first].tenant, UUID_LEN) == 0)
		next++;
	return next;
}

void
pctl_part_scan(const LedgerPart *part, int tenant_column, PctlPartRow row, void *state)
{
	Relation rel = try_relation_open(part->leaf, AccessShareLock);
	TupleTableSlot *slot;
	TableScanDesc scan;
	ItemPointerData first, last;

	if (rel == NULL)
		return;
	ItemPointerSet(&first, part->block_first, FirstOffsetNumber);
	ItemPointerSet(&last, part->block_last, MaxOffsetNumber);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_tidrange(rel, GetActiveSnapshot(), &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		bool null;
		Datum xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &null);

		if (DatumGetTransactionId(xmin) == (TransactionId) part->xid &&
		    memcmp(DatumGetUUIDP(slot_getattr(slot, tenant_column, &null)), &part->tenant,
		           UUID_LEN) == 0)
			row(state, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	relation_close(rel, AccessShareLock);
}
