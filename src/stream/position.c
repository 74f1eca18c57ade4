/* SPDX-License-Identifier: PostgreSQL
 *
 * position.c -- positions found by their key, locked, and written where they were locked (core/row.h).
 *
 * Locks: the rows (no key update, to commit), ROW EXCLUSIVE on the table.
 */
#include "stream/position.h"

#include "catalog/pg_type.h"
#include "core/row.h"
#include "core/spi.h"
#include "utils/builtins.h"
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
	PctlRows *rows;
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

static bool
position_lock(PositionList *list, Position *position)
{
	Datum *key = pctl_rows_key(list->rows);
	TupleTableSlot *row = pctl_rows_slot(list->rows);

	key[COL_TENANT_ID] = UUIDPGetDatum(&list->tenant);
	key[COL_AGENT_ID] = UUIDPGetDatum(&position->agent);
	key[COL_PLANE] = CStringGetTextDatum(position->plane);
	if (!pctl_rows_lock(list->rows, row))
		return false;
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
	list->rows = pctl_rows_open("stream_position", COL_COUNT);
	if (list_lock(list))
		return list;
	list_make(list);
	if (!list_lock(list))
		elog(ERROR, "a stream has no position");
	return list;
}

static void
position_write(const PositionList *list, const Position *position)
{
	Datum *values = pctl_rows_change(list->rows, position->row)->tts_values;

	values[COL_EPOCH] = Int64GetDatum(position->epoch);
	values[COL_COMMITTED_SEQ] = Int64GetDatum(position->committed);
	values[COL_UPDATED_AT] = TimestampTzGetDatum(list->now);
	for (int i = 0; i < POSITION_COUNTS; i++)
		values[COL_COUNTS + i] = Int64GetDatum(DatumGetInt64(values[COL_COUNTS + i]) +
		                                       position->counts[i]);
	pctl_rows_write(list->rows, position->row);
}

void
positions_close(PositionList *list)
{
	for (int i = 0; i < list->count; i++)
		position_write(list, &list->items[i]);
	pctl_rows_close(list->rows);
	pfree(list->items);
	pfree(list);
}
