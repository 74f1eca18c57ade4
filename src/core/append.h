/* SPDX-License-Identifier: PostgreSQL
 *
 * append.h -- rows at the end of a table, many at a time.
 *
 * A statement costs its parsing of arrays, its plan's start and its end, which for a few small rows is
 * more than the rows; triggers cost a call each. This is the part of COPY behind its parser: the executor's own
 * routing, multi-insert, indexes. Constraints of the rows are checked. Row-level security, triggers and so foreign keys are
 * not looked at: the caller has bound the tenant, and holds what its rows refer to.
 */
#ifndef PCTL_APPEND_H
#define PCTL_APPEND_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef struct PctlAppend PctlAppend;

/* Told of each row once it is in the table: its leaf, its place in row->tts_tid, the mark it was added with. */
typedef void (*PctlAppended)(void *mark, Oid leaf, TupleTableSlot *row);

/* A table of schema probectl, partitioned or not, which has that many columns; appended may be NULL. Everything lives in
 * the context of the call. */
PctlAppend *pctl_append_begin(const char *table, int columns, PctlAppended appended);

/* The next row to fill: tts_values and tts_isnull (all false), in the order of the table's columns. */
TupleTableSlot *pctl_append_row(PctlAppend *append);

/* Where its values live: reset behind the rows that are written. */
MemoryContext pctl_append_values(PctlAppend *append);

/* Takes the row. A missing partition is the server's own error. */
void pctl_append_add(PctlAppend *append, void *mark);

/* Writes what waits, and closes; what comes next in the transaction sees it. */
void pctl_append_end(PctlAppend *append);

#endif
