/* SPDX-License-Identifier: PostgreSQL
 *
 * row.h -- rows found by their primary key, locked and changed, without a statement.
 *
 * For tables of which the same few rows are written again and again: to start and end a plan for each, and to
 * parse the table's constraint, is more than the row itself. By the calls with which replication applies
 * a change: constraints are checked and triggers run, row-level security does not: the caller has bound the tenant.
 */
#ifndef PCTL_ROW_H
#define PCTL_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef struct PctlRows PctlRows;

/* A table of schema probectl, which has that many columns. Everything lives in the context of the call. */
PctlRows *pctl_rows_open(const char *table, int columns);

/* Where a row is put; it is the list's. */
TupleTableSlot *pctl_rows_slot(PctlRows *rows);

/* The columns of the key, to be filled, before each pctl_rows_lock. */
Datum *pctl_rows_key(PctlRows *rows);

/* Locks the newest version of the row with that key and puts it into the slot, all of it in tts_values; false when there
 * is none. Waits for who has changed it. */
bool pctl_rows_lock(PctlRows *rows, TupleTableSlot *row);

/* A copy of the row's columns, to be changed; then it is written in the place of the row. One at a time. */
TupleTableSlot *pctl_rows_change(PctlRows *rows, const TupleTableSlot *row);
void pctl_rows_write(PctlRows *rows, TupleTableSlot *row);

/* What comes next in the statement sees what was written. */
void pctl_rows_close(PctlRows *rows);

#endif
