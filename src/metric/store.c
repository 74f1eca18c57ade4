/* SPDX-License-Identifier: PostgreSQL
 *
 * store.c -- rows of samples in the two tables.
 *
 * metric_hot takes what comes as it comes: one row a series and pass, the same format as a chunk, no look at what is
 * there. Compaction takes it out and merges it into metric_chunk, where chunks of a series never overlap. A reader merges
 * the same way, so what is seen does not depend on whether compaction has run. Both sides of the move are in one
 * transaction, so a reader's snapshot has a sample in exactly one place.
 *
 * Locks: rows only.
 */
#include "metric/store.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/spi.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define SLOTS_MAX   128
#define SHORT_CHUNK 120 /* samples: one with fewer is filled up by what follows */

const int64 metric_level_width[METRIC_LEVELS] = {0, 60 * USECS_PER_SEC, 3600 * USECS_PER_SEC};

enum
{
	HOT_TENANT_ID,
	HOT_SERIES_ID,
	HOT_XID,
	HOT_N,
	HOT_T0,
	HOT_T1,
	HOT_STORED_AT,
	HOT_SAMPLES,
	HOT_DATA,
	HOT_COLUMNS
};

struct MetricHot
{
	pg_uuid_t tenant;
	TimestampTz now;
	int64 xid;
	Relation rel;
	EState *estate;
	ResultRelInfo *info;
	BulkInsertState bistate;
	CommandId cid;
	TupleTableSlot *slots[SLOTS_MAX];
	int nslots, nslots_made;
	MemoryContext values;
	Chunk chunk;
	int64 stored;
};

static PctlPlan hot_take = {"DELETE FROM probectl.metric_hot WHERE tenant_id = $1 AND series_id = "
                            "$2 RETURNING xid, n, data",
                            2,
                            {UUIDOID, UUIDOID}};
static PctlPlan hot_read = {"SELECT data FROM probectl.metric_hot WHERE tenant_id = $1 AND "
                            "series_id = $2 AND t1 >= $3 AND t0 < $4 ORDER BY xid, n",
                            4,
                            {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
static PctlPlan hot_start = {
    "SELECT min(t0) FROM probectl.metric_hot WHERE tenant_id = $1 AND series_id = $2",
    2,
    {UUIDOID, UUIDOID}};
static PctlPlan chunk_read = {"SELECT data FROM probectl.metric_chunk WHERE tenant_id = $1 AND "
                              "series_id = $2 AND level = $3 AND t0 < $5 AND t0 >= coalesce("
                              "  (SELECT max(c.t0) FROM probectl.metric_chunk c WHERE c.tenant_id "
                              "= $1 AND c.series_id = $2 AND c.level = $3 AND c.t0 <= $4), $4)"
                              " ORDER BY t0",
                              5,
                              {UUIDOID, UUIDOID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
static PctlPlan chunk_overlapping = {
    "SELECT t0, data FROM probectl.metric_chunk WHERE tenant_id = $1 AND series_id = $2 AND level "
    "= $3 AND t0 <= $5"
    "   AND (t1 >= $4 OR samples < $6 AND t0 = (SELECT max(c.t0) FROM probectl.metric_chunk c"
    "         WHERE c.tenant_id = $1 AND c.series_id = $2 AND c.level = $3 AND c.t0 <= $4))"
    " ORDER BY t0",
    6,
    {UUIDOID, UUIDOID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}};
static PctlPlan chunk_delete = {"DELETE FROM probectl.metric_chunk WHERE tenant_id = $1 AND "
                                "series_id = $2 AND level = $3 AND t0 = ANY ($4)",
                                4,
                                {UUIDOID, UUIDOID, INT2OID, TIMESTAMPTZARRAYOID}};
static PctlPlan chunk_insert = {
    "INSERT INTO probectl.metric_chunk (tenant_id, series_id, level, t0, t1, samples, data) VALUES "
    "($1, $2, $3, $4, $5, $6, $7)",
    7,
    {UUIDOID, UUIDOID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, BYTEAOID}};

/* Rows [first, first + count) as a chunk. */
static void
chunk_fill(Chunk *chunk, const MetricSamples *samples, int64 first, uint32 count)
{
	chunk->count = count;
	chunk->columns = samples->columns;
	memcpy(chunk->times, samples->times + first, count * sizeof(int64));
	for (uint32 i = 0; i < samples->columns; i++)
		memcpy(chunk->values[i], samples->values[i] + first, count * sizeof(double));
	chunk->rests = samples->columns > 1;
	if (chunk->rests)
		memcpy(chunk->rest, samples->rests + first, count * sizeof(ChunkRest));
}

static bytea *
chunk_bytes(const Chunk *chunk)
{
	static uint8 plain[CHUNK_BYTES_MAX];
	uint8 *bytes = chunk->rests ? palloc(chunk_bytes_max(chunk)) : plain;
	size_t len = chunk_encode(bytes, chunk);
	bytea *data;

	if (len == 0)
		elog(ERROR, "samples of a chunk are not in order");
	data = palloc(VARHDRSZ + len);
	SET_VARSIZE(data, VARHDRSZ + len);
	memcpy(VARDATA(data), bytes, len);
	if (bytes != plain)
		pfree(bytes);
	return data;
}

/* Rests stay in the value, or in a copy in the current context. */
static bool
chunk_open(Chunk *chunk, Datum value, uint32 columns)
{
	bytea *data = DatumGetByteaPP(value);
	bool good = chunk_decode(chunk, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)) &&
	            chunk->columns == columns && chunk->rests == (columns > 1);

	if ((Pointer) data != DatumGetPointer(value) && !(good && chunk->rests))
		pfree(data);
	return good;
}

/* How many pieces of at most CHUNK_SAMPLES_MAX, all about equal. */
static int64
pieces(int64 count)
{
	return (count + CHUNK_SAMPLES_MAX - 1) / CHUNK_SAMPLES_MAX;
}

MetricHot *
metric_hot_begin(const pg_uuid_t *tenant, TimestampTz now)
{
	MetricHot *hot = palloc0(sizeof(*hot));
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	hot->tenant = *tenant;
	hot->now = now;
	hot->xid = (int64) U64FromFullTransactionId(GetTopFullTransactionId());
	hot->rel = table_open(get_relname_relid("metric_hot", get_namespace_oid("probectl", false)),
	                      RowExclusiveLock);
	if (RelationGetDescr(hot->rel)->natts != HOT_COLUMNS)
		elog(ERROR, "probectl.metric_hot has %d columns, expected %d",
		     RelationGetDescr(hot->rel)->natts, HOT_COLUMNS);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(hot->rel);
	rte->relkind = hot->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	hot->estate = CreateExecutorState();
	ExecInitRangeTable(hot->estate, list_make1(rte));
	hot->info = makeNode(ResultRelInfo);
	ExecInitResultRelation(hot->estate, hot->info, 1);
	ExecOpenIndices(hot->info, false);
	hot->bistate = GetBulkInsertState();
	hot->cid = GetCurrentCommandId(true);
	hot->values = AllocSetContextCreate(CurrentMemoryContext, "probectl metric values",
	                                    ALLOCSET_DEFAULT_SIZES);
	return hot;
}

static void
hot_flush(MetricHot *hot)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(hot->estate));

	if (hot->nslots > 0)
		table_multi_insert(hot->rel, hot->slots, hot->nslots, hot->cid, 0, hot->bistate);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < hot->nslots; i++)
	{
		list_free(
		    ExecInsertIndexTuples(hot->info, hot->slots[i], hot->estate, false, false, NULL, NIL));
		ExecClearTuple(hot->slots[i]);
		ResetPerTupleExprContext(hot->estate);
	}
	hot->nslots = 0;
	MemoryContextReset(hot->values);
}

/* Place of a row in its transaction; a transaction may write more than once. */
static int32
row_number(int64 xid)
{
	static int64 of = 0;
	static int32 last = 0;

	if (xid != of)
		last = 0;
	of = xid;
	return ++last;
}

static void
hot_row(MetricHot *hot, const pg_uuid_t *series, const Chunk *chunk)
{
	MemoryContext old;
	TupleTableSlot *slot;
	pg_uuid_t *id;

	if (hot->nslots == SLOTS_MAX)
		hot_flush(hot);
	if (hot->nslots == hot->nslots_made)
		hot->slots[hot->nslots_made++] = table_slot_create(hot->rel, NULL);
	slot = hot->slots[hot->nslots++];
	old = MemoryContextSwitchTo(hot->values);
	id = palloc(sizeof(*id));
	*id = *series;
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, HOT_COLUMNS * sizeof(bool));
	slot->tts_values[HOT_TENANT_ID] = UUIDPGetDatum(&hot->tenant);
	slot->tts_values[HOT_SERIES_ID] = UUIDPGetDatum(id);
	slot->tts_values[HOT_XID] = Int64GetDatum(hot->xid);
	slot->tts_values[HOT_N] = Int32GetDatum(row_number(hot->xid));
	slot->tts_values[HOT_T0] = TimestampTzGetDatum(chunk->times[0]);
	slot->tts_values[HOT_T1] = TimestampTzGetDatum(chunk->times[chunk->count - 1]);
	slot->tts_values[HOT_STORED_AT] = TimestampTzGetDatum(hot->now);
	slot->tts_values[HOT_SAMPLES] = Int32GetDatum((int32) chunk->count);
	slot->tts_values[HOT_DATA] = PointerGetDatum(chunk_bytes(chunk));
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
	hot->stored += chunk->count;
}

void
metric_hot_add(MetricHot *hot, const pg_uuid_t *series, const MetricSamples *samples)
{
	int64 n = pieces(samples->count);

	for (int64 i = 0; i < n; i++)
	{
		int64 first = samples->count * i / n, next = samples->count * (i + 1) / n;

		chunk_fill(&hot->chunk, samples, first, (uint32) (next - first));
		hot_row(hot, series, &hot->chunk);
	}
}

int64
metric_hot_end(MetricHot *hot)
{
	int64 stored = hot->stored;

	hot_flush(hot);
	FreeBulkInsertState(hot->bistate);
	for (int i = 0; i < hot->nslots_made; i++)
		ExecDropSingleTupleTableSlot(hot->slots[i]);
	ExecCloseResultRelations(hot->estate);
	ExecCloseRangeTableRelations(hot->estate);
	FreeExecutorState(hot->estate);
	table_close(hot->rel, NoLock);
	MemoryContextDelete(hot->values);
	pfree(hot);
	return stored;
}

typedef struct HotRow
{
	int64 xid;
	int32 n;
	Datum data;
} HotRow;

static int
hot_row_compare(const void *a, const void *b)
{
	const HotRow *x = a, *y = b;

	if (x->xid != y->xid)
		return x->xid < y->xid ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

void
metric_hot_take(const pg_uuid_t *tenant, const pg_uuid_t *series, MetricSamples *samples,
                int64 *damaged)
{
	Datum args[2] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series)};
	uint64 count = pctl_plan_run(&hot_take, args, NULL, false, 0);
	SPITupleTable *table = SPI_tuptable;
	HotRow *rows = palloc(Max(count, 1) * sizeof(HotRow));
	static Chunk chunk;

	for (uint64 i = 0; i < count; i++)
		rows[i] = (HotRow){.xid = DatumGetInt64(pctl_spi_value(i, 1, NULL)),
		                   .n = DatumGetInt32(pctl_spi_value(i, 2, NULL)),
		                   .data = pctl_spi_value(i, 3, NULL)};
	qsort(rows, count, sizeof(HotRow), hot_row_compare);
	for (uint64 i = 0; i < count; i++)
		if (chunk_open(&chunk, rows[i].data, 1))
			metric_samples_add_chunk(samples, &chunk);
		else
			(*damaged)++;
	metric_samples_sort(samples);
	pfree(rows);
	SPI_freetuptable(table);
}

static void
level_insert(Datum *args, const MetricSamples *rows)
{
	static Chunk chunk;
	int64 n = pieces(rows->count);

	for (int64 i = 0; i < n; i++)
	{
		int64 first = rows->count * i / n, next = rows->count * (i + 1) / n;

		chunk_fill(&chunk, rows, first, (uint32) (next - first));
		args[3] = TimestampTzGetDatum(rows->times[first]);
		args[4] = TimestampTzGetDatum(rows->times[next - 1]);
		args[5] = Int32GetDatum((int32) (next - first));
		args[6] = PointerGetDatum(chunk_bytes(&chunk));
		pctl_plan_run(&chunk_insert, args, NULL, false, 0);
	}
}

void
metric_level_put(const pg_uuid_t *tenant, const pg_uuid_t *series, int level,
                 const MetricSamples *rows)
{
	Datum args[7] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series), Int16GetDatum((int16) level)};
	static Chunk chunk;
	MetricSamples all;
	SPITupleTable *table;
	Datum *gone;
	uint64 count;
	int taken = 0;

	if (rows->count == 0)
		return;
	args[3] = TimestampTzGetDatum(rows->times[0]);
	args[4] = TimestampTzGetDatum(rows->times[rows->count - 1]);
	args[5] = Int32GetDatum(SHORT_CHUNK);
	count = pctl_plan_run(&chunk_overlapping, args, NULL, false, 0);
	table = SPI_tuptable;
	gone = palloc(Max(count, 1) * sizeof(Datum));
	metric_samples_init(&all, rows->columns);
	for (uint64 i = 0; i < count; i++)
	{
		gone[taken++] = pctl_spi_value(i, 1, NULL);
		if (chunk_open(&chunk, pctl_spi_value(i, 2, NULL), rows->columns))
			metric_samples_add_chunk(&all, &chunk);
		else
			ereport(WARNING, (errmsg("a chunk of a metric series does not decode and is dropped")));
	}
	metric_samples_merge(&all, rows);
	if (taken > 0)
	{
		args[3] = PointerGetDatum(
		    construct_array(gone, taken, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE));
		pctl_plan_run(&chunk_delete, args, NULL, false, 0);
	}
	level_insert(args, &all);
	SPI_freetuptable(table);
}

/* What of the chunk lies in [from, to), handed on. */
static void
sink_part(MetricSink sink, void *state, Chunk *chunk, int64 from, int64 to)
{
	uint32 first = 0, next = chunk->count;

	while (first < next && chunk->times[first] < from)
		first++;
	while (next > first && chunk->times[next - 1] >= to)
		next--;
	if (first == next)
		return;
	if (first > 0)
	{
		memmove(chunk->times, chunk->times + first, (next - first) * sizeof(int64));
		for (uint32 i = 0; i < chunk->columns; i++)
			memmove(chunk->values[i], chunk->values[i] + first, (next - first) * sizeof(double));
		if (chunk->rests)
			memmove(chunk->rest, chunk->rest + first, (next - first) * sizeof(ChunkRest));
	}
	chunk->count = next - first;
	sink(state, chunk);
}

int64
metric_hot_start(const pg_uuid_t *tenant, const pg_uuid_t *series)
{
	Datum args[2] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series)};
	Datum start;
	bool null;

	(void) pctl_plan_run(&hot_start, args, NULL, true, 1);
	start = pctl_spi_value(0, 1, &null);
	return null ? DT_NOEND : DatumGetTimestampTz(start);
}

/* Samples of metric_hot in [from, to). A row that does not decode is left out: compaction says so. */
static void
hot_gather(Datum *args, MetricSamples *samples)
{
	static Chunk chunk;
	Datum range[4] = {args[0], args[1], args[3], args[4]};
	uint64 count = pctl_plan_run(&hot_read, range, NULL, true, 0);

	for (uint64 i = 0; i < count; i++)
		if (chunk_open(&chunk, pctl_spi_value(i, 1, NULL), 1))
			metric_samples_add_chunk(samples, &chunk);
	SPI_freetuptable(SPI_tuptable);
	metric_samples_sort(samples);
}

/* Everything of the rows, in pieces. */
static void
samples_hand(const MetricSamples *rows, int64 from, int64 to, MetricSink sink, void *state)
{
	static Chunk chunk;

	for (int64 first = 0; first < rows->count; first += CHUNK_SAMPLES_MAX)
	{
		chunk_fill(&chunk, rows, first, (uint32) Min(CHUNK_SAMPLES_MAX, rows->count - first));
		sink_part(sink, state, &chunk, from, to);
	}
}

void
metric_level_read(const pg_uuid_t *tenant, const pg_uuid_t *series, int level, int64 from, int64 to,
                  MetricSink sink, void *state)
{
	Datum args[5] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series), Int16GetDatum((int16) level),
	                 TimestampTzGetDatum(from), TimestampTzGetDatum(to)};
	uint32 columns = level == 0 ? 1 : ROLLUP_COLUMNS;
	static Chunk chunk;
	MetricSamples hot, all;
	SPITupleTable *table;
	uint64 count;

	metric_samples_init(&hot, columns);
	metric_samples_init(&all, columns);
	if (level == 0)
		hot_gather(args, &hot);
	count = pctl_plan_run(&chunk_read, args, NULL, true, 0);
	table = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		if (!chunk_open(&chunk, pctl_spi_value(i, 1, NULL), columns))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
			                errmsg("a chunk of the metric series does not decode")));
		/* Chunks before the first hot sample go out as they are. */
		if (all.count == 0 && (hot.count == 0 || chunk.times[chunk.count - 1] < hot.times[0]))
			sink_part(sink, state, &chunk, from, to);
		else
			metric_samples_add_chunk(&all, &chunk);
	}
	metric_samples_merge(&all, &hot);
	samples_hand(&all, from, to, sink, state);
	SPI_freetuptable(table);
}
