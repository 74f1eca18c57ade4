/* SPDX-License-Identifier: PostgreSQL
 *
 * latest.c -- the derive worker's pass: newest run of each test on each agent.
 *
 * Work comes from the ledger (stream/window.h). Rows of new batches are folded in memory, and
 * written once a key; each tenant in a transaction of its own, bound to it. The cursor moves last. Killed in between, the pass is done again, and that changes nothing:
 * a run replaces only an older one, and a sparkline takes only points newer than its last.
 */
#include "result/latest.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "core/clock.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/limits.h"
#include "core/row.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "pgstat.h"
#include "result/columns.h"
#include "stream/window.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define IDLE_MS 10000

/* Columns of probectl.result_latest, in order. */
enum
{
	COL_TENANT_ID,
	COL_TEST_ID,
	COL_AGENT_ID,
	COL_RESULT_ID,
	COL_STARTED_AT,
	COL_RECEIVED_AT,
	COL_STALE_AFTER,
	COL_DURATION_US,
	COL_PORT,
	COL_SUCCESS,
	COL_PROJECT_ID,
	COL_LATENCY_MS,
	COL_LOSS_RATIO,
	COL_TYPE,
	COL_TARGET,
	COL_ERROR_TYPE,
	COL_ERROR,
	COL_ITEM,
	COL_SPARK,
	COL_NAMES,
	COL_METRICS,
	COL_ATTRIBUTES,
	COL_COUNT
};

/* What a row takes from its run as it is. What it has of the test and the agent stays. */
static const struct
{
	int run, column;
} carried[] = {
    {RESULT_STARTED_AT, COL_STARTED_AT}, {RESULT_RECEIVED_AT, COL_RECEIVED_AT},
    {RESULT_RESULT_ID, COL_RESULT_ID},   {RESULT_TYPE, COL_TYPE},
    {RESULT_TARGET, COL_TARGET},         {RESULT_PORT, COL_PORT},
    {RESULT_SUCCESS, COL_SUCCESS},       {RESULT_ERROR_TYPE, COL_ERROR_TYPE},
    {RESULT_ERROR, COL_ERROR},           {RESULT_DURATION_US, COL_DURATION_US},
    {RESULT_LATENCY_MS, COL_LATENCY_MS}, {RESULT_LOSS_RATIO, COL_LOSS_RATIO},
    {RESULT_METRICS, COL_METRICS},       {RESULT_ATTRIBUTES, COL_ATTRIBUTES},
};

typedef struct LatestKey
{
	pg_uuid_t test, agent;
} LatestKey;

typedef struct SparkPoint
{
	TimestampTz at;
	double latency;
	bool has_latency, ok;
} SparkPoint;

typedef struct Latest
{
	LatestKey key;
	HeapTuple newest;
	TimestampTz newest_at;
	SparkPoint points[PCTL_SPARK_POINTS]; /* the newest seen, ascending */
	int point_count;
} Latest;

/* A run with its values at hand. */
typedef struct Run
{
	Datum values[RESULT_COLUMNS];
	bool nulls[RESULT_COLUMNS];
} Run;

/* The first run of a test on an agent. Parameters are tenant, test and agent, what is carried, sparkline and item. */
static PctlPlan latest_insert = {
    "INSERT INTO probectl.result_latest (tenant_id, test_id, agent_id, started_at, received_at, "
    "result_id,"
    "  type, target, port, success, error_type, error, duration_us, latency_ms, loss_ratio, "
    "metrics,"
    "  attributes, spark, item, names, stale_after, project_id)"
    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,"
    "  n.names, n.stale_after, n.project_id"
    "  FROM probectl_internal.latest_names($1, $2, $3) n ON CONFLICT DO NOTHING",
    19,
    {UUIDOID, UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, TEXTOID, TEXTOID, INT4OID,
     BOOLOID, TEXTOID, TEXTOID, INT8OID, FLOAT8OID, FLOAT8OID, JSONBOID, JSONBOID, TEXTOID,
     TEXTOID}};

/* Keeps the newest points in ascending order; runs of one test arrive nearly sorted. */
static void
spark_add(Latest *latest, SparkPoint point)
{
	int i;

	if (latest->point_count == PCTL_SPARK_POINTS)
	{
		if (point.at <= latest->points[0].at)
			return;
		memmove(latest->points, latest->points + 1, (PCTL_SPARK_POINTS - 1) * sizeof(SparkPoint));
		latest->point_count--;
	}
	for (i = latest->point_count; i > 0 && latest->points[i - 1].at > point.at; i--)
		latest->points[i] = latest->points[i - 1];
	latest->points[i] = point;
	latest->point_count++;
}

static void
result_fold(void *table, TupleTableSlot *slot)
{
	LatestKey key;
	Latest *latest;
	bool found, null;
	TimestampTz at;
	SparkPoint point;
	Datum value;

	key.test = *DatumGetUUIDP(slot_getattr(slot, RESULT_TEST_ID + 1, &null));
	key.agent = *DatumGetUUIDP(slot_getattr(slot, RESULT_AGENT_ID + 1, &null));
	at = DatumGetTimestampTz(slot_getattr(slot, RESULT_STARTED_AT + 1, &null));
	latest = hash_search(table, &key, HASH_ENTER, &found);
	if (!found)
	{
		latest->newest = NULL;
		latest->newest_at = DT_NOBEGIN;
		latest->point_count = 0;
	}
	if (at > latest->newest_at)
	{
		if (latest->newest != NULL)
			heap_freetuple(latest->newest);
		latest->newest = ExecCopySlotHeapTuple(slot);
		latest->newest_at = at;
	}
	point.at = at;
	point.ok = DatumGetBool(slot_getattr(slot, RESULT_SUCCESS + 1, &null));
	value = slot_getattr(slot, RESULT_LATENCY_MS + 1, &null);
	point.has_latency = !null;
	point.latency = null ? 0 : DatumGetFloat8(value);
	spark_add(latest, point);
}

/* An object of ours: one brace each. */
static void
spark_put(StringInfo spark, const SparkPoint *point)
{
	int64 unix_ms = point->at / 1000 +
	                (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	if (spark->len > 0)
		appendStringInfoChar(spark, ',');
	appendStringInfo(spark, "{\"t\":" INT64_FORMAT ",\"latency_ms\":", unix_ms);
	if (point->has_latency)
		appendStringInfo(spark, "%.3f", point->latency);
	else
		appendStringInfoString(spark, "null");
	appendStringInfo(spark, ",\"ok\":%s}", point->ok ? "true" : "false");
}

/* Start of the text without its first points, so that no more than the maximum are left. */
static const char *
spark_tail(const StringInfoData *spark)
{
	const char *tail = spark->data;
	int points = 0;

	for (int i = 0; i < spark->len; i++)
		points += spark->data[i] == '{';
	for (; points > PCTL_SPARK_POINTS; points--)
		tail = strchr(tail + 1, '{');
	return tail;
}

/* The old points (NULL: none), and those of the runs that are later than after. */
static Datum
spark_datum(const text *old, TimestampTz after, const Latest *latest)
{
	StringInfoData spark;

	initStringInfo(&spark);
	if (old != NULL)
		appendBinaryStringInfo(&spark, VARDATA_ANY(old), (int) VARSIZE_ANY_EXHDR(old));
	for (int i = 0; i < latest->point_count; i++)
		if (latest->points[i].at > after)
			spark_put(&spark, &latest->points[i]);
	return CStringGetTextDatum(spark_tail(&spark));
}

static void
item_text(StringInfo item, const char *name, Datum value)
{
	appendStringInfo(item, "\"%s\":", name);
	escape_json(item, TextDatumGetCString(value));
	appendStringInfoChar(item, ',');
}

static void
item_float(StringInfo item, const char *name, Datum value, bool null)
{
	char *number = null ? "null" : DatumGetCString(DirectFunctionCall1(float8out, value));

	appendStringInfo(item, "\"%s\":%s,", name, number);
}

static void
item_jsonb(StringInfo item, const char *name, Datum value, const char *end)
{
	Jsonb *jsonb = DatumGetJsonbP(value);

	appendStringInfo(item, "\"%s\":%s%s", name, JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb)),
	                 end);
}

/* The members of the API's JSON object that stay as they are until the next run. */
static Datum
item_datum(const Run *run)
{
	const Datum *v = run->values;
	StringInfoData item;

	initStringInfo(&item);
	item_text(&item, "type", v[RESULT_TYPE]);
	item_text(&item, "target", v[RESULT_TARGET]);
	appendStringInfo(&item, "\"port\":%d,\"success\":%s,", DatumGetInt32(v[RESULT_PORT]),
	                 DatumGetBool(v[RESULT_SUCCESS]) ? "true" : "false");
	item_text(&item, "error_type", v[RESULT_ERROR_TYPE]);
	item_text(&item, "error", v[RESULT_ERROR]);
	item_text(&item, "started_at", DirectFunctionCall1(pctl_time_text, v[RESULT_STARTED_AT]));
	item_text(&item, "received_at", DirectFunctionCall1(pctl_time_text, v[RESULT_RECEIVED_AT]));
	appendStringInfo(&item, "\"duration_ms\":%.3f,",
	                 (double) DatumGetInt64(v[RESULT_DURATION_US]) / 1000.0);
	item_float(&item, "latency_ms", v[RESULT_LATENCY_MS], run->nulls[RESULT_LATENCY_MS]);
	item_float(&item, "loss_ratio", v[RESULT_LOSS_RATIO], run->nulls[RESULT_LOSS_RATIO]);
	item_jsonb(&item, "metrics", v[RESULT_METRICS], ",");
	item_jsonb(&item, "attributes", v[RESULT_ATTRIBUTES], "");
	return CStringGetTextDatum(item.data);
}

static void
row_insert(const pg_uuid_t *tenant, const Latest *latest, const Run *run)
{
	static const int columns[] = {
	    RESULT_TEST_ID,    RESULT_AGENT_ID,   RESULT_STARTED_AT, RESULT_RECEIVED_AT,
	    RESULT_RESULT_ID,  RESULT_TYPE,       RESULT_TARGET,     RESULT_PORT,
	    RESULT_SUCCESS,    RESULT_ERROR_TYPE, RESULT_ERROR,      RESULT_DURATION_US,
	    RESULT_LATENCY_MS, RESULT_LOSS_RATIO, RESULT_METRICS,    RESULT_ATTRIBUTES};
	Datum args[19] = {UUIDPGetDatum(tenant)};
	char nulls[20] = "                   ";

	for (size_t i = 0; i < lengthof(columns); i++)
	{
		args[1 + i] = run->values[columns[i]];
		if (run->nulls[columns[i]])
			nulls[1 + i] = 'n';
	}
	args[17] = spark_datum(NULL, DT_NOBEGIN, latest);
	args[18] = item_datum(run);
	pctl_plan_run(&latest_insert, args, nulls, false, 0);
}

static void
row_change(PctlRows *rows, TupleTableSlot *row, const Latest *latest, const Run *run)
{
	TimestampTz before = DatumGetTimestampTz(row->tts_values[COL_STARTED_AT]);
	TupleTableSlot *out = pctl_rows_change(rows, row);

	for (size_t i = 0; i < lengthof(carried); i++)
	{
		out->tts_values[carried[i].column] = run->values[carried[i].run];
		out->tts_isnull[carried[i].column] = run->nulls[carried[i].run];
	}
	out->tts_values[COL_SPARK] = spark_datum(DatumGetTextPP(row->tts_values[COL_SPARK]), before,
	                                         latest);
	out->tts_values[COL_ITEM] = item_datum(run);
	pctl_rows_write(rows, row);
}

/* Nearly every run finds its row; one that has a newer run stays. */
static void
latest_write(PctlRows *rows, TupleTableSlot *row, const pg_uuid_t *tenant, const Latest *latest,
             TupleDesc desc)
{
	Datum *key = pctl_rows_key(rows);
	Run run;

	heap_deform_tuple(latest->newest, desc, run.values, run.nulls);
	key[COL_TENANT_ID] = UUIDPGetDatum(tenant);
	key[COL_TEST_ID] = run.values[RESULT_TEST_ID];
	key[COL_AGENT_ID] = run.values[RESULT_AGENT_ID];
	if (!pctl_rows_lock(rows, row))
		row_insert(tenant, latest, &run);
	else if (DatumGetTimestampTz(row->tts_values[COL_STARTED_AT]) < latest->newest_at)
		row_change(rows, row, latest, &run);
}

static HTAB *
latest_table(MemoryContext context)
{
	HASHCTL ctl = {.keysize = sizeof(LatestKey), .entrysize = sizeof(Latest), .hcxt = context};

	return hash_create("probectl newest results", 1024, &ctl,
	                   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Writes what was folded; result is a leaf, whose descriptor is that of all. */
static void
table_write(HTAB *table, const pg_uuid_t *tenant, Relation result)
{
	PctlRows *rows = pctl_rows_open("result_latest", COL_COUNT);
	TupleTableSlot *row = pctl_rows_slot(rows);
	HASH_SEQ_STATUS status;
	Latest *latest;

	if (RelationGetDescr(result)->natts != RESULT_COLUMNS)
		elog(ERROR, "probectl.result has %d columns, expected %d", RelationGetDescr(result)->natts,
		     RESULT_COLUMNS);
	hash_seq_init(&status, table);
	while ((latest = hash_seq_search(&status)) != NULL)
		latest_write(rows, row, tenant, latest, RelationGetDescr(result));
	pctl_rows_close(rows);
}

/* Folds and writes the parts of one tenant, in a transaction bound to it. */
static void
tenant_derive(const LedgerPart *parts, int count)
{
	char payload[PCTL_UUID_TEXT_LEN + sizeof(" result")];
	Relation result;
	PctlTrusted saved;
	HTAB *table;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	table = latest_table(CurrentMemoryContext);
	for (int i = 0; i < count; i++)
		pctl_part_scan(&parts[i], RESULT_TENANT_ID + 1, result_fold, table);
	pctl_context_bind_tenant(&parts[0].tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	result = count > 0 ? try_relation_open(parts[0].leaf, AccessShareLock) : NULL;
	if (result != NULL)
	{
		table_write(table, &parts[0].tenant, result);
		relation_close(result, AccessShareLock);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	pctl_uuid_text(&parts[0].tenant, payload);
	strlcat(payload, " result", sizeof(payload));
	Async_Notify("probectl_event", payload);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

long
pctl_latest_pass(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "probectl derive pass",
	                                              ALLOCSET_DEFAULT_SIZES);
	Window window = {0};
	int done = 0;

	pgstat_report_activity(STATE_RUNNING, "working in the ledger");
	/* What is derived can be derived again: no need to wait for the disk. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	pctl_window_open(&window, "derive", context);
	while (done < window.count)
	{
		int next = pctl_window_tenant(&window, done);

		CHECK_FOR_INTERRUPTS();
		tenant_derive(&window.parts[done], next - done);
		done = next;
	}
	if (window.count > 0)
		pctl_window_close(&window);
	MemoryContextDelete(context);
	if (window.count == 0 && !window.more)
		return IDLE_MS;
	return pctl_derive_interval;
}
