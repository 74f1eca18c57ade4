/* SPDX-License-Identifier: PostgreSQL
 *
 * row.c -- a table open for finding, locking and changing rows.
 *
 * Locks: ROW EXCLUSIVE on the table, and the rows (no key update), to commit.
 */
#include "core/row.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "core/table.h"
#include "executor/executor.h"
#include "utils/rel.h"
#include "utils/relcache.h"

struct PctlRows
{
	int columns;
	Relation table;
	Oid key_index;
	EState *estate;
	EPQState epq;
	ResultRelInfo *info;
	TupleTableSlot *key, *changed;
};

static void
executor_open(PctlRows *rows)
{
	rows->estate = pctl_table_executor(rows->table);
	rows->estate->es_output_cid = GetCurrentCommandId(true);
	rows->info = makeNode(ResultRelInfo);
	InitResultRelInfo(rows->info, rows->table, 1, NULL, 0);
	/* Where a trigger finds the table; it holds no reference to it of its own. */
	rows->estate->es_opened_result_relations = lappend(rows->estate->es_opened_result_relations,
	                                                   rows->info);
	EvalPlanQualInit(&rows->epq, rows->estate, NULL, NIL, -1);
	ExecOpenIndices(rows->info, false);
}

PctlRows *
pctl_rows_open(const char *table, int columns)
{
	PctlRows *rows = palloc0(sizeof(*rows));

	rows->columns = columns;
	rows->table = pctl_table_open_columns(table, columns);
	rows->key_index = RelationGetPrimaryKeyIndex(rows->table);
	AfterTriggerBeginQuery();
	executor_open(rows);
	rows->key = ExecInitExtraTupleSlot(rows->estate, RelationGetDescr(rows->table), &TTSOpsVirtual);
	rows->changed = ExecInitExtraTupleSlot(rows->estate, RelationGetDescr(rows->table),
	                                       &TTSOpsVirtual);
	return rows;
}

TupleTableSlot *
pctl_rows_slot(PctlRows *rows)
{
	return table_slot_create(rows->table, &rows->estate->es_tupleTable);
}

Datum *
pctl_rows_key(PctlRows *rows)
{
	ExecClearTuple(rows->key);
	memset(rows->key->tts_isnull, 0, rows->columns * sizeof(bool));
	return rows->key->tts_values;
}

bool
pctl_rows_lock(PctlRows *rows, TupleTableSlot *row)
{
	ExecStoreVirtualTuple(rows->key);
	if (!RelationFindReplTupleByIndex(rows->table, rows->key_index, LockTupleNoKeyExclusive,
	                                  rows->key, row))
		return false;
	slot_getallattrs(row);
	return true;
}

TupleTableSlot *
pctl_rows_change(PctlRows *rows, const TupleTableSlot *row)
{
	ExecClearTuple(rows->changed);
	memcpy(rows->changed->tts_values, row->tts_values, rows->columns * sizeof(Datum));
	memcpy(rows->changed->tts_isnull, row->tts_isnull, rows->columns * sizeof(bool));
	return rows->changed;
}

void
pctl_rows_write(PctlRows *rows, TupleTableSlot *row)
{
	ExecStoreVirtualTuple(rows->changed);
	ExecSimpleRelationUpdate(rows->info, rows->estate, &rows->epq, row, rows->changed);
	ResetPerTupleExprContext(rows->estate);
}

void
pctl_rows_close(PctlRows *rows)
{
	ExecCloseIndices(rows->info);
	AfterTriggerEndQuery(rows->estate);
	EvalPlanQualEnd(&rows->epq);
	ExecResetTupleTable(rows->estate->es_tupleTable, false);
	FreeExecutorState(rows->estate);
	table_close(rows->table, NoLock);
	pfree(rows);
	CommandCounterIncrement();
}
