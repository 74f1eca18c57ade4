/* SPDX-License-Identifier: PostgreSQL
 *
 * table.h -- a table of schema probectl, opened by code that moves its rows without a statement.
 */
#ifndef PCTL_TABLE_H
#define PCTL_TABLE_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

Relation pctl_table_open(const char *name, LOCKMODE lock);

/* To be written, by code that knows its columns: an error when there are not as many. */
Relation pctl_table_open_columns(const char *name, int columns);

/* What the executor's calls want around them; the table is its relation 1. Freed by FreeExecutorState(). */
EState *pctl_table_executor(Relation table);

#endif
