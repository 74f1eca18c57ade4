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
#include "core/spi.h"
#include "core/uuid7.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "pgstat.h"
#include "stream/window.h"
#include "tenant/context.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define IDLE_MS 10000

/* Columns of probectl.result that are looked at here, from 1. */
enum
{
	ATT_TENANT_ID = 1,
	ATT_TEST_ID = 2,
	ATT_AGENT_ID = 3,
	ATT_STARTED_AT = 4,
	ATT_SUCCESS = 12,
	ATT_LATENCY_MS = 16
};

/* Columns of result handed on to result_latest, in the order of its upsert after the tenant. */
static const int latest_columns[] = {2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19};

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

/* The parameters of both statements. */
#define LATEST_TYPES                                                                               \
	{                                                                                              \
		UUIDOID, UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, TEXTOID, TEXTOID,      \
		    INT4OID, BOOLOID, TEXTOID, TEXTOID, INT8OID, FLOAT8OID, FLOAT8OID, JSONBOID, JSONBOID, \
		    TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTOID                                             \
	}

/* Nearly every run finds its row; what comes from the test and the agent stays as it is. */
static PctlPlan latest_update = {
    "UPDATE probectl.result_latest l SET started_at = $4, received_at = $5, result_id = $6, type = "
    "$7,"
    " target = $8, port = $9, success = $10, error_type = $11, error = $12, duration_us = $13,"
    " latency_ms = $14, loss_ratio = $15, metrics = $16, attributes = $17, item = $20,"
    " spark = probectl_internal.spark_append(l.spark, $18, $19, l.started_at)"
    " WHERE l.tenant_id = $1 AND l.test_id = $2 AND l.agent_id = $3 AND l.started_at < $4",
    20, LATEST_TYPES};

/* The first run of a test on an agent; a row that is there has a newer run. */
static PctlPlan latest_insert = {
    "INSERT INTO probectl.result_latest (tenant_id, test_id, agent_id, started_at, received_at, "
    "result_id,"
    "  type, target, port, success, error_type, error, duration_us, latency_ms, loss_ratio, "
    "metrics,"
    "  attributes, spark, item, names, stale_after, project_id)"
    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
    "  probectl_internal.spark_append('', $18, $19, '-infinity'), $20, n.names, n.stale_after, "
    "n.project_id"
    "  FROM probectl_internal.latest_names($1, $2, $3) n ON CONFLICT DO NOTHING",
    20, LATEST_TYPES};

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

	key.test = *DatumGetUUIDP(slot_getattr(slot, ATT_TEST_ID, &null));
	key.agent = *DatumGetUUIDP(slot_getattr(slot, ATT_AGENT_ID, &null));
	at = DatumGetTimestampTz(slot_getattr(slot, ATT_STARTED_AT, &null));
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
	point.ok = DatumGetBool(slot_getattr(slot, ATT_SUCCESS, &null));
	value = slot_getattr(slot, ATT_LATENCY_MS, &null);
	point.has_latency = !null;
	point.latency = null ? 0 : DatumGetFloat8(value);
	spark_add(latest, point);
}

static char *
spark_json(const SparkPoint *point)
{
	int64 unix_ms = point->at / 1000 +
	                (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	if (!point->has_latency)
		return psprintf("{\"t\":" INT64_FORMAT ",\"latency_ms\":null,\"ok\":%s}", unix_ms,
		                point->ok ? "true" : "false");
	return psprintf("{\"t\":" INT64_FORMAT ",\"latency_ms\":%.3f,\"ok\":%s}", unix_ms,
	                point->latency, point->ok ? "true" : "false");
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

/* The members of the API's JSON object that stay as they are until the next run; args as of latest_update. */
static Datum
item_datum(const Datum *args, const char *nulls)
{
	StringInfoData item;

	initStringInfo(&item);
	item_text(&item, "type", args[6]);
	item_text(&item, "target", args[7]);
	appendStringInfo(&item, "\"port\":%d,\"success\":%s,", DatumGetInt32(args[8]),
	                 DatumGetBool(args[9]) ? "true" : "false");
	item_text(&item, "error_type", args[10]);
	item_text(&item, "error", args[11]);
	item_text(&item, "started_at", DirectFunctionCall1(pctl_time_text, args[3]));
	item_text(&item, "received_at", DirectFunctionCall1(pctl_time_text, args[4]));
	appendStringInfo(&item, "\"duration_ms\":%.3f,", (double) DatumGetInt64(args[12]) / 1000.0);
	item_float(&item, "latency_ms", args[13], nulls[13] == 'n');
	item_float(&item, "loss_ratio", args[14], nulls[14] == 'n');
	item_jsonb(&item, "metrics", args[15], ",");
	item_jsonb(&item, "attributes", args[16], "");
	return CStringGetTextDatum(item.data);
}

static void
latest_upsert(const pg_uuid_t *tenant, const Latest *latest, TupleDesc desc)
{
	Datum args[20], text[PCTL_SPARK_POINTS], at[PCTL_SPARK_POINTS];
	char nulls[21] = "                    ";
	bool null;

	args[0] = UUIDPGetDatum(tenant);
	for (size_t i = 0; i < lengthof(latest_columns); i++)
	{
		args[i + 1] = heap_getattr(latest->newest, latest_columns[i], desc, &null);
		if (null)
			nulls[i + 1] = 'n';
	}
	for (int i = 0; i < latest->point_count; i++)
	{
		text[i] = CStringGetTextDatum(spark_json(&latest->points[i]));
		at[i] = TimestampTzGetDatum(latest->points[i].at);
	}
	args[17] = pctl_array(text, NULL, latest->point_count, TEXTOID);
	args[18] = pctl_array(at, NULL, latest->point_count, TIMESTAMPTZOID);
	args[19] = item_datum(args, nulls);
	if (pctl_plan_run(&latest_update, args, nulls, false, 0) == 0)
		pctl_plan_run(&latest_insert, args, nulls, false, 0);
}

static HTAB *
latest_table(MemoryContext context)
{
	HASHCTL ctl = {.keysize = sizeof(LatestKey), .entrysize = sizeof(Latest), .hcxt = context};

	return hash_create("probectl newest results", 1024, &ctl,
	                   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Folds and writes the parts of one tenant, in a transaction bound to it. */
static void
tenant_derive(const LedgerPart *parts, int count)
{
	char payload[PCTL_UUID_TEXT_LEN + sizeof(" result")];
	Relation result;
	HASH_SEQ_STATUS status;
	PctlTrusted saved;
	Latest *latest;
	HTAB *table;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	table = latest_table(CurrentMemoryContext);
	for (int i = 0; i < count; i++)
		pctl_part_scan(&parts[i], ATT_TENANT_ID, result_fold, table);
	pctl_context_bind_tenant(&parts[0].tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	result = count > 0 ? try_relation_open(parts[0].leaf, AccessShareLock) : NULL;
	if (result != NULL)
	{
		hash_seq_init(&status, table);
		while ((latest = hash_seq_search(&status)) != NULL)
			latest_upsert(&parts[0].tenant, latest, RelationGetDescr(result));
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

/* Start of the text without its first points, so that no more than the maximum are left. A point is an
 * object of ours: one brace each. */
static const char *
spark_tail(const char *joined, int points)
{
	while (points > PCTL_SPARK_POINTS)
	{
		joined = strchr(joined + 1, '{');
		points--;
	}
	return joined;
}

PCTL_FUNCTION(pctl_spark_append);

/* probectl_internal.spark_append(old text, new text[], at timestamptz[], after timestamptz) -> text */
Datum
pctl_spark_append(PG_FUNCTION_ARGS)
{
	TimestampTz after = PG_GETARG_TIMESTAMPTZ(3);
	StringInfoData joined;
	Datum *points, *at;
	int count, at_count, total = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &points, NULL,
	                  &count);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE, &at, NULL,
	                  &at_count);
	initStringInfo(&joined);
	appendStringInfoString(&joined, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	for (int i = 0; i < Min(count, at_count); i++)
		if (DatumGetTimestampTz(at[i]) > after)
		{
			text *point = DatumGetTextPP(points[i]);

			if (joined.len > 0)
				appendStringInfoChar(&joined, ',');
			appendBinaryStringInfo(&joined, VARDATA_ANY(point), (int) VARSIZE_ANY_EXHDR(point));
		}
	for (int i = 0; i < joined.len; i++)
		total += joined.data[i] == '{';
	PG_RETURN_TEXT_P(cstring_to_text(spark_tail(joined.data, total)));
}
