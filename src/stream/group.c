/* SPDX-License-Identifier: PostgreSQL
 *
 * group.c -- small batches of several agents of one tenant in one transaction.
 *
 * A batch of one record costs five statements and the opening of a store to take by itself. Here each
 * statement is for all: certificates, positions (read and locked, written), the ledger's rows; and one store takes
 * all records. Positions are locked in order of agent and plane, so two groups that share agents wait for each
 * other and do not deadlock. An agent may be there twice: its mark moves in memory from batch to batch.
 *
 * Keys are looked up one by one below LATERAL: a generic plan would as soon read all of a tenant's.
 *
 * Locks: as ingest.c, of all positions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/worker.h"
#include "funcapi.h"
#include "identity/credential.h"
#include "stream/ingest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define POSITION_COUNTS 5 /* received, stored, duplicate, malformed, dead_lettered */

/* A position, and what the batches of the group add to it. */
typedef struct Position
{
	pg_uuid_t agent;
	const char *plane;
	ItemPointer at; /* of the locked row; NULL: there is none yet */
	int64 epoch, committed;
	int64 counts[POSITION_COUNTS];
} Position;

typedef struct IngestGroup
{
	pg_uuid_t tenant;
	TimestampTz received_at; /* of the last batch */
	PctlPrincipal *agents;
	Ingest *batches;
	int count;
	Position *positions; /* sorted */
	int position_count;
} IngestGroup;

static PctlPlan positions_lock = {
    "SELECT u.n, s.at, s.epoch, s.committed_seq"
    "  FROM ROWS FROM (unnest($2), unnest($3)) WITH ORDINALITY u (agent_id, plane, n),"
    "  LATERAL (SELECT p.ctid AS at, p.epoch, p.committed_seq FROM probectl.stream_position p"
    "    WHERE p.tenant_id = $1 AND p.agent_id = u.agent_id AND p.plane = u.plane FOR UPDATE) s",
    3,
    {UUIDOID, UUIDARRAYOID, TEXTARRAYOID}};
static PctlPlan positions_make = {
    "INSERT INTO probectl.stream_position (tenant_id, agent_id, plane, epoch, committed_seq, "
    "updated_at)"
    " SELECT $1, u.agent_id, u.plane, 0, 0, $4 FROM unnest($2, $3) u (agent_id, plane)"
    " ON CONFLICT DO NOTHING",
    4,
    {UUIDOID, UUIDARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};
/* The rows are locked, so they are where they were found. */
static PctlPlan positions_write = {
    "UPDATE probectl.stream_position p SET epoch = u.epoch, committed_seq = u.mark,"
    "  updated_at = $2, received = p.received + u.received, stored = p.stored + u.stored,"
    "  duplicate = p.duplicate + u.duplicate, malformed = p.malformed + u.malformed,"
    "  dead_lettered = p.dead_lettered + u.dead_lettered"
    "  FROM unnest($3, $4, $5, $6, $7, $8, $9, $10)"
    "    u (at, epoch, mark, received, stored, duplicate, malformed, dead_lettered)"
    " WHERE p.tenant_id = $1 AND p.ctid = u.at",
    10,
    {UUIDOID, TIMESTAMPTZOID, TIDARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
     INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}};
static PctlPlan ledger_write = {
    LEDGER_INSERT "SELECT $1, $2, u.* FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
                  "$14, $15, $16, $17, $18) u",
    2 + LEDGER_COLUMNS,
    {UUIDOID, INT8OID, TIMESTAMPTZARRAYOID, UUIDARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
     INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
     OIDARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}};

/* ---- positions ---- */

static int
position_compare(const void *a, const void *b)
{
	const Position *x = a, *y = b;
	int agent = memcmp(&x->agent, &y->agent, UUID_LEN);

	return agent != 0 ? agent : strcmp(x->plane, y->plane);
}

/* The different ones, in the order they are locked in. */
static void
positions_list(IngestGroup *group)
{
	int kept = 0;

	group->positions = palloc0(group->count * sizeof(Position));
	for (int i = 0; i < group->count; i++)
	{
		group->positions[i].agent = group->agents[i].id;
		group->positions[i].plane = group->batches[i].plane;
	}
	qsort(group->positions, group->count, sizeof(Position), position_compare);
	for (int i = 0; i < group->count; i++)
		if (kept == 0 || position_compare(&group->positions[kept - 1], &group->positions[i]) != 0)
			group->positions[kept++] = group->positions[i];
	group->position_count = kept;
}

static Position *
position_of(const IngestGroup *group, const Ingest *in)
{
	Position key = {.agent = in->who->id, .plane = in->plane};

	return bsearch(&key, group->positions, group->position_count, sizeof(Position),
	               position_compare);
}

/* Locks those that are there; false when some are not. */
static bool
positions_find(IngestGroup *group, Datum args[3])
{
	uint64 found = pctl_plan_run(&positions_lock, args, NULL, false, 0);

	for (uint64 i = 0; i < found; i++)
	{
		Position *position = &group->positions[DatumGetInt64(pctl_spi_value(i, 1, NULL)) - 1];

		position->at = palloc(sizeof(ItemPointerData));
		ItemPointerCopy((ItemPointer) DatumGetPointer(pctl_spi_value(i, 2, NULL)), position->at);
		position->epoch = DatumGetInt64(pctl_spi_value(i, 3, NULL));
		position->committed = DatumGetInt64(pctl_spi_value(i, 4, NULL));
	}
	return found == (uint64) group->position_count;
}

static void
positions_open(IngestGroup *group)
{
	Datum *agents = palloc(group->count * sizeof(Datum));
	Datum *planes = palloc(group->count * sizeof(Datum));
	Datum args[4] = {UUIDPGetDatum(&group->tenant)};

	positions_list(group);
	for (int i = 0; i < group->position_count; i++)
	{
		agents[i] = UUIDPGetDatum(&group->positions[i].agent);
		planes[i] = CStringGetTextDatum(group->positions[i].plane);
	}
	args[1] = pctl_array(agents, NULL, group->position_count, UUIDOID);
	args[2] = pctl_array(planes, NULL, group->position_count, TEXTOID);
	args[3] = TimestampTzGetDatum(group->received_at);
	if (positions_find(group, args))
		return;
	pctl_plan_run(&positions_make, args, NULL, false, 0);
	if (!positions_find(group, args))
		elog(ERROR, "a stream has no position");
}

static void
positions_close(const IngestGroup *group)
{
	enum
	{
		ARRAYS = 3 + POSITION_COUNTS /* at, epoch, mark, counts */
	};
	Datum *columns[ARRAYS];
	Datum args[2 + ARRAYS] = {UUIDPGetDatum(&group->tenant),
	                          TimestampTzGetDatum(group->received_at)};

	for (int c = 0; c < ARRAYS; c++)
		columns[c] = palloc(group->position_count * sizeof(Datum));
	for (int i = 0; i < group->position_count; i++)
	{
		const Position *position = &group->positions[i];

		columns[0][i] = PointerGetDatum(position->at);
		columns[1][i] = Int64GetDatum(position->epoch);
		columns[2][i] = Int64GetDatum(position->committed);
		for (int c = 0; c < POSITION_COUNTS; c++)
			columns[3 + c][i] = Int64GetDatum(position->counts[c]);
	}
	for (int c = 0; c < ARRAYS; c++)
		args[2 + c] = pctl_array(columns[c], NULL, group->position_count,
		                         c == 0 ? TIDOID : INT8OID);
	if (pctl_plan_run(&positions_write, args, NULL, false, 0) != (uint64) group->position_count)
		elog(ERROR, "a position is not where it was locked");
}

/* ---- the ledger ---- */

typedef struct Ledger
{
	Datum *values[LEDGER_COLUMNS];
	bool *nulls[LEDGER_COLUMNS];
	int count;
} Ledger;

static void
ledger_add(Ledger *ledger, const Ingest *in, const ResultStorePart *part, bool first)
{
	Datum values[LEDGER_COLUMNS];
	bool nulls[LEDGER_COLUMNS];

	ingest_ledger(in, part, first, values, nulls);
	for (int c = 0; c < LEDGER_COLUMNS; c++)
	{
		ledger->values[c][ledger->count] = values[c];
		ledger->nulls[c][ledger->count] = nulls[c];
	}
	ledger->count++;
}

static void
ledger_rows(const IngestGroup *group)
{
	static const Oid types[LEDGER_COLUMNS] = {LEDGER_TYPES};
	Datum args[2 + LEDGER_COLUMNS] = {
	    UUIDPGetDatum(&group->tenant),
	    Int64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()))};
	Ledger ledger = {.count = 0};
	ListCell *cell;
	int rows = 0;

	for (int i = 0; i < group->count; i++)
		rows += Max(list_length(group->batches[i].from.parts), 1);
	for (int c = 0; c < LEDGER_COLUMNS; c++)
	{
		ledger.values[c] = palloc(rows * sizeof(Datum));
		ledger.nulls[c] = palloc(rows * sizeof(bool));
	}
	for (int i = 0; i < group->count; i++)
	{
		const Ingest *in = &group->batches[i];

		if (in->from.parts == NIL)
			ledger_add(&ledger, in, NULL, true);
		foreach (cell, in->from.parts)
			ledger_add(&ledger, in, lfirst(cell), foreach_current_index(cell) == 0);
	}
	for (int c = 0; c < LEDGER_COLUMNS; c++)
		args[2 + c] = pctl_array(ledger.values[c], ledger.nulls[c], rows, types[c]);
	pctl_plan_run(&ledger_write, args, NULL, false, 0);
}

/* ---- the batches ---- */

/* From its position, and the position moves. */
static bool
batch_take(Position *position, Ingest *in, ResultStore *store)
{
	bool news;

	ingest_place(in, position->epoch, position->committed);
	news = ingest_records(in, store);
	position->epoch = (int64) in->batch.epoch;
	position->committed = ingest_last(in);
	position->counts[0] += in->batch.count;
	position->counts[1] += in->stored;
	position->counts[2] += in->duplicate;
	position->counts[3] += in->malformed;
	position->counts[4] += in->dead_lettered;
	return news;
}

static void
group_take(IngestGroup *group)
{
	ResultStore *store;
	bool news = false;

	positions_open(group);
	store = result_store_begin(&group->tenant);
	for (int i = 0; i < group->count; i++)
		news |= batch_take(position_of(group, &group->batches[i]), &group->batches[i], store);
	result_store_end(store);
	ledger_rows(group);
	positions_close(group);
	if (news)
		pctl_worker_wake_at_commit();
}

/* Elements of an array argument that may hold no NULL; *count is of all the arrays. */
static Datum *
batch_array(FunctionCallInfo fcinfo, int arg, Oid type, int *count)
{
	Datum *values;
	int16 len;
	bool by_value;
	char align;
	int n;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, by_value, align, &values, NULL, &n);
	if (*count >= 0 && n != *count)
		ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID), errmsg("the lists differ in length")));
	*count = n;
	return values;
}

static void
group_open(IngestGroup *group, Datum *agents, Datum *planes, Datum *batches)
{
	group->agents = palloc0(Max(group->count, 1) * sizeof(PctlPrincipal));
	group->batches = palloc0(Max(group->count, 1) * sizeof(Ingest));
	for (int i = 0; i < group->count; i++)
	{
		PctlPrincipal *who = &group->agents[i];
		Ingest *in = &group->batches[i];

		who->kind = PCTL_PRINCIPAL_AGENT;
		who->tenant = group->tenant;
		who->id = *DatumGetUUIDP(agents[i]);
		in->who = who;
		in->plane = TextDatumGetCString(planes[i]);
		ingest_open(in, DatumGetByteaPP(batches[i]));
		/* Part of the ledger's key, which two of the same numbers would share. */
		in->from.received_at = Max(in->from.received_at, group->received_at + 1);
		group->received_at = in->from.received_at;
	}
}

PCTL_FUNCTION(pctl_ingest_agents);

/*
 * probectl.ingest_agents(tenant uuid, agents uuid[], serials text[], planes text[], batches bytea[])
 *
 * Each batch as enter_agent and ingest would take it, all in this transaction: for small batches of
 * many agents, whose commits would cost more than they do. It is all or nothing, so the caller sends them
 * one by one when one of them is refused. Leaves the transaction with no principal: nothing
 * can be read in it.
 */
Datum
pctl_ingest_agents(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	IngestGroup group = {.tenant = *PG_GETARG_UUID_P(0), .count = -1};
	Datum *agents = batch_array(fcinfo, 1, UUIDOID, &group.count);
	Datum *planes = batch_array(fcinfo, 3, TEXTOID, &group.count);
	Datum *batches = batch_array(fcinfo, 4, BYTEAOID, &group.count);
	PctlTrusted saved;

	(void) batch_array(fcinfo, 2, TEXTOID, &group.count);
	InitMaterializedSRF(fcinfo, 0);
	pctl_context_bind_tenant(&group.tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_agents_check(&group.tenant, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), group.count);
	group_open(&group, agents, planes, batches);
	if (group.count > 0)
		group_take(&group);
	for (int i = 0; i < group.count; i++)
	{
		Datum values[ANSWER_COLUMNS];
		bool nulls[ANSWER_COLUMNS] = {false};

		ingest_answer(&group.batches[i], values);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	return (Datum) 0;
}
