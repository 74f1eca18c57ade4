/* SPDX-License-Identifier: PostgreSQL
 *
 * append.c -- rows by multi-insert, 128 slots at a time (the measured optimum: larger batches
 * fall out of the cache, smaller ones pay for WAL records).
 *
 * Rows come mostly in order of time, so one leaf partition is open at a time; a row of another day
 * writes what waits and switches.
 */
#include "core/append.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "core/table.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define SLOTS_MAX 128

struct PctlAppend
{
	int columns;
	PctlAppended appended;
	Relation root;
	EState *estate;
	ModifyTableState *mtstate;
	ResultRelInfo *root_info;
	PartitionTupleRouting *routing; /* NULL: the table is its own leaf */
	TupleTableSlot *row;
	ResultRelInfo *leaf; /* of the slots waiting, or NULL */
	BulkInsertState bistate;
	TupleTableSlot *slots[SLOTS_MAX];
	void *marks[SLOTS_MAX]; /* of each */
	int nslots, nslots_made;
	MemoryContext values;
	CommandId cid;
};

static void
executor_open(PctlAppend *a)
{
	a->estate = pctl_table_executor(a->root);
	a->root_info = makeNode(ResultRelInfo);
	ExecInitResultRelation(a->estate, a->root_info, 1);
	a->mtstate = makeNode(ModifyTableState);
	a->mtstate->ps.state = a->estate;
	a->mtstate->operation = CMD_INSERT;
	a->mtstate->mt_nrels = 1;
	a->mtstate->resultRelInfo = a->root_info;
	a->mtstate->rootResultRelInfo = a->root_info;
	if (a->root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		a->routing = ExecSetupPartitionTupleRouting(a->estate, a->root);
	else
		ExecOpenIndices(a->root_info, false);
	a->row = ExecInitExtraTupleSlot(a->estate, RelationGetDescr(a->root), &TTSOpsVirtual);
}

PctlAppend *
pctl_append_begin(const char *table, int columns, PctlAppended appended)
{
	PctlAppend *a = palloc0(sizeof(*a));

	a->columns = columns;
	a->appended = appended;
	a->root = pctl_table_open_columns(table, columns);
	executor_open(a);
	a->values = AllocSetContextCreate(CurrentMemoryContext, "probectl append values",
	                                  ALLOCSET_DEFAULT_SIZES);
	a->bistate = GetBulkInsertState();
	a->cid = GetCurrentCommandId(true);
	return a;
}

TupleTableSlot *
pctl_append_row(PctlAppend *a)
{
	ExecClearTuple(a->row);
	memset(a->row->tts_isnull, 0, a->columns * sizeof(bool));
	return a->row;
}

MemoryContext
pctl_append_values(PctlAppend *a)
{
	return a->values;
}

static void
flush(PctlAppend *a)
{
	MemoryContext old;

	if (a->nslots == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(a->estate));
	table_multi_insert(a->leaf->ri_RelationDesc, a->slots, a->nslots, a->cid, 0, a->bistate);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < a->nslots; i++)
	{
		if (a->leaf->ri_NumIndices > 0)
			list_free(
			    ExecInsertIndexTuples(a->leaf, a->slots[i], a->estate, false, false, NULL, NIL));
		if (a->appended)
			a->appended(a->marks[i], RelationGetRelid(a->leaf->ri_RelationDesc), a->slots[i]);
		ExecClearTuple(a->slots[i]);
		ResetPerTupleExprContext(a->estate);
	}
	a->nslots = 0;
	MemoryContextReset(a->values);
}

/* Other partition: flush, let the pinned page go, make slots of the new leaf. */
static void
leaf_switch(PctlAppend *a, ResultRelInfo *leaf)
{
	flush(a);
	ReleaseBulkInsertStatePin(a->bistate);
	for (int i = 0; i < a->nslots_made; i++)
		ExecDropSingleTupleTableSlot(a->slots[i]);
	a->nslots_made = 0;
	a->leaf = leaf;
}

/* Routes the row; true when that opened another leaf. Its values are the row's own then, as the flush has
 * reset theirs. */
static bool
leaf_find(PctlAppend *a)
{
	ResultRelInfo *leaf = a->routing ? ExecFindPartition(a->mtstate, a->root_info, a->routing,
	                                                     a->row, a->estate)
	                                 : a->root_info;

	if (leaf == a->leaf)
		return false;
	ExecMaterializeSlot(a->row);
	leaf_switch(a, leaf);
	return true;
}

void
pctl_append_add(PctlAppend *a, void *mark)
{
	TupleTableSlot *slot;
	bool switched;

	ExecStoreVirtualTuple(a->row);
	switched = leaf_find(a);
	if (a->nslots == a->nslots_made)
		a->slots[a->nslots_made++] = table_slot_create(a->leaf->ri_RelationDesc, NULL);
	a->marks[a->nslots] = mark;
	slot = a->slots[a->nslots++];
	if (a->leaf->ri_RootToPartitionMap != NULL)
		execute_attr_map_slot(a->leaf->ri_RootToPartitionMap->attrMap, a->row, slot);
	else
	{
		ExecClearTuple(slot);
		memcpy(slot->tts_values, a->row->tts_values, a->columns * sizeof(Datum));
		memcpy(slot->tts_isnull, a->row->tts_isnull, a->columns * sizeof(bool));
		ExecStoreVirtualTuple(slot);
	}
	if (switched)
		ExecMaterializeSlot(slot);
	if (RelationGetDescr(a->leaf->ri_RelationDesc)->constr != NULL)
		ExecConstraints(a->leaf, slot, a->estate);
	if (a->nslots == SLOTS_MAX)
		flush(a);
}

void
pctl_append_end(PctlAppend *a)
{
	leaf_switch(a, NULL);
	FreeBulkInsertState(a->bistate);
	ExecResetTupleTable(a->estate->es_tupleTable, false);
	if (a->routing)
		ExecCleanupTupleRouting(a->mtstate, a->routing);
	ExecCloseResultRelations(a->estate);
	ExecCloseRangeTableRelations(a->estate);
	FreeExecutorState(a->estate);
	table_close(a->root, NoLock);
	MemoryContextDelete(a->values);
	pfree(a);
	CommandCounterIncrement();
}
