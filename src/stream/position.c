/* SPDX-License-Identifier: PostgreSQL
 *
 * position.c -- positions found by their key, locked, and written where they were locked.
 *
 * By the calls with which logical replication applies a change: a statement for each step starts and ends a plan,
 * parses the table's constraint and takes arrays apart, which for the few rows of a group is more than the rows
 * themselves. Constraints are checked, the foreign key's trigger runs; row-level security does not: the
 * tenant is the bound one.
 *
 * Locks: the rows (no key update, to commit), ROW EXCLUSIVE on the table.
 */
#include "stream/position.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/spi.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

/* Columns of probectl.stream_position, in order. */
enum
{
	COL_TENANT_ID,
	COL_AGENT_ID,
	COL_PLANE,
	COL_EPOCH,
	COL_COMMITTED_SEQ,
	COL_UPDATED_AT,
	COL_COUNTS,
	COL_COUNT = COL_COUNTS + POSITION_COUNTS
};

struct PositionList
{
	pg_uuid_t tenant;
	TimestampTz now;
	Position *items; /* sorted */
	int count;
	Relation table;
	EState *estate;
	TupleTableSlot *key;
};

static PctlPlan positions_make = {
    "INSERT INTO probectl.stream_position (tenant_id, agent_id, plane, epoch, committed_seq, "
    "updated_at)"
    " SELECT $1, u.agent_id, u.plane, 0, 0, $4 FROM unnest($2, $3) u (agent_id, plane)"
    " ON CONFLICT DO NOTHING",
    4,
    {UUIDOID, UUIDARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};

static int
position_compare(const void *a, const void *b)
{
	const Position *x = a, *y = b;
	int agent = memcmp(&x->agent, &y->agent, UUID_LEN);

	return agent != 0 ? agent : strcmp(x->plane, y->plane);
}

Position *
position_of(PositionList *list, const pg_uuid_t *agent, const char *plane)
{
	Position key = {.agent = *agent, .plane = plane};

	return bsearch(&key, list->items, list->count, sizeof(Position), position_compare);
}

/* The different ones, in the order they are locked in. */
static void
list_fill(PositionList *list, const Position *streams, int count)
{
	int kept = 0;

	list->items = palloc0(count * sizeof(Position));
	for (int i = 0; i < count; i++)
	{
		list->items[i].agent = streams[i].agent;
		list->items[i].plane = streams[i].plane;
	}
	qsort(list->items, count, sizeof(Position), position_compare);
	for (int i = 0; i < count; i++)
		if (kept == 0 || position_compare(&list->items[kept - 1], &list->items[i]) != 0)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

static void
table_prepare(PositionList *list)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	list->table = table_open(
	    get_relname_relid("stream_position", get_namespace_oid("probectl", false)),
	    RowExclusiveLock);
	if (RelationGetDescr(list->table)->natts != COL_COUNT)
		elog(ERROR, "probectl.stream_position has %d columns, expected %d",
		     RelationGetDescr(list->table)->natts, COL_COUNT);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(list->table);
	rte->relkind = list->table->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	list->estate = CreateExecutorState();
	ExecInitRangeTable(list->estate, list_make1(rte));
	list->key = ExecInitExtraTupleSlot(list->estate, RelationGetDescr(list->table), &TTSOpsVirtual);
}

static void
key_fill(PositionList *list, const Position *position)
{
	TupleTableSlot *key = list->key;

	ExecClearTuple(key);
	memset(key->tts_isnull, 0, COL_COUNT * sizeof(bool));
	key->tts_values[COL_TENANT_ID] = UUIDPGetDatum(&list->tenant);
	key->tts_values[COL_AGENT_ID] = UUIDPGetDatum(&position->agent);
	key->tts_values[COL_PLANE] = CStringGetTextDatum(position->plane);
	ExecStoreVirtualTuple(key);
}

static bool
position_lock(PositionList *list, Position *position)
{
	TupleTableSlot *row = table_slot_create(list->table, &list->estate->es_tupleTable);

	key_fill(list, position);
	if (!RelationFindReplTupleByIndex(list->table, RelationGetPrimaryKeyIndex(list->table),
	                                  LockTupleNoKeyExclusive, list->key, row))
		return false;
	slot_getallattrs(row);
	position->row = row;
	position->epoch = DatumGetInt64(row->tts_values[COL_EPOCH]);
	position->committed = DatumGetInt64(row->tts_values[COL_COMMITTED_SEQ]);
	return true;
}

/* Locks those not yet locked up to the first that is not there; true when there is none such. */
static bool
list_lock(PositionList *list)
{
	for (int i = 0; i < list->count; i++)
		if (list->items[i].row == NULL && !position_lock(list, &list->items[i]))
			return false;
	return true;
}

static void
list_make(const PositionList *list)
{
	Datum *agents = palloc(list->count * sizeof(Datum));
	Datum *planes = palloc(list->count * sizeof(Datum));
	Datum args[4] = {UUIDPGetDatum(&list->tenant)};

	for (int i = 0; i < list->count; i++)
	{
		agents[i] = UUIDPGetDatum(&list->items[i].agent);
		planes[i] = CStringGetTextDatum(list->items[i].plane);
	}
	args[1] = pctl_array(agents, NULL, list->count, UUIDOID);
	args[2] = pctl_array(planes, NULL, list->count, TEXTOID);
	args[3] = TimestampTzGetDatum(list->now);
	pctl_plan_run(&positions_make, args, NULL, false, 0);
}

PositionList *
positions_open(const pg_uuid_t *tenant, TimestampTz now, const Position *streams, int count)
{
	PositionList *list = palloc0(sizeof(*list));

	list->tenant = *tenant;
	list->now = now;
	list_fill(list, streams, count);
	table_prepare(list);
	if (list_lock(list))
		return list;
	list_make(list);
	if (!list_lock(list))
		elog(ERROR, "a stream has no position");
	return list;
}

static void
row_fill(const PositionList *list, const Position *position, TupleTableSlot *out)
{
	ExecClearTuple(out);
	memcpy(out->tts_values, position->row->tts_values, COL_COUNT * sizeof(Datum));
	memset(out->tts_isnull, 0, COL_COUNT * sizeof(bool));
	out->tts_values[COL_EPOCH] = Int64GetDatum(position->epoch);
	out->tts_values[COL_COMMITTED_SEQ] = Int64GetDatum(position->committed);
	out->tts_values[COL_UPDATED_AT] = TimestampTzGetDatum(list->now);
	for (int i = 0; i < POSITION_COUNTS; i++)
		out->tts_values[COL_COUNTS + i] = Int64GetDatum(
		    DatumGetInt64(position->row->tts_values[COL_COUNTS + i]) + position->counts[i]);
	ExecStoreVirtualTuple(out);
}

static void
list_write(PositionList *list)
{
	ResultRelInfo *info = makeNode(ResultRelInfo);
	TupleTableSlot *out = ExecInitExtraTupleSlot(list->estate, RelationGetDescr(list->table),
	                                             &TTSOpsVirtual);
	EPQState epq;

	InitResultRelInfo(info, list->table, 1, NULL, 0);
	/* Where a trigger finds the table; it holds no reference to it of its own. */
	list->estate->es_opened_result_relations = lappend(list->estate->es_opened_result_relations,
	                                                   info);
	list->estate->es_output_cid = GetCurrentCommandId(true);
	EvalPlanQualInit(&epq, list->estate, NULL, NIL, -1);
	AfterTriggerBeginQuery();
	ExecOpenIndices(info, false);
	for (int i = 0; i < list->count; i++)
	{
		row_fill(list, &list->items[i], out);
		ExecSimpleRelationUpdate(info, list->estate, &epq, list->items[i].row, out);
	}
	ExecCloseIndices(info);
	AfterTriggerEndQuery(list->estate);
	EvalPlanQualEnd(&epq);
}

void
positions_close(PositionList *list)
{
	list_write(list);
	ExecResetTupleTable(list->estate->es_tupleTable, false);
	FreeExecutorState(list->estate);
	table_close(list->table, NoLock);
	pfree(list->items);
	pfree(list);
	CommandCounterIncrement(); /* what comes next in the statement sees them */
}
