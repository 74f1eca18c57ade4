/* SPDX-License-Identifier: PostgreSQL
 *
 * store.c -- chunks of a series, and what is read of it from both tables.
 *
 * metric_hot (hot.c) takes what comes as it comes. Compaction takes it out and merges it into metric_chunk, where chunks of a
 * series never overlap. A reader merges the same way, so what is seen does not depend on whether compaction has run.
 * Both sides of the move are in one transaction, so a reader's snapshot has a sample in exactly one place.
 *
 * Locks: rows only.
 */
#include "metric/store.h"

#include "catalog/pg_type.h"
#include "core/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define SHORT_CHUNK 120 /* samples: one with fewer is filled up by what follows */

const int64 metric_level_width[METRIC_LEVELS] = {0, 60 * USECS_PER_SEC, 3600 * USECS_PER_SEC};

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

static void
level_insert(Datum *args, const MetricSamples *rows)
{
	static Chunk chunk;
	int64 n = metric_samples_pieces(rows->count);

	for (int64 i = 0; i < n; i++)
	{
		int64 first = rows->count * i / n, next = rows->count * (i + 1) / n;

		metric_samples_chunk(rows, first, (uint32) (next - first), &chunk);
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
		args[3] = pctl_array(gone, NULL, taken, TIMESTAMPTZOID);
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

/* Everything of the rows, in pieces. */
static void
samples_hand(const MetricSamples *rows, int64 from, int64 to, MetricSink sink, void *state)
{
	static Chunk chunk;

	for (int64 first = 0; first < rows->count; first += CHUNK_SAMPLES_MAX)
	{
		metric_samples_chunk(rows, first, (uint32) Min(CHUNK_SAMPLES_MAX, rows->count - first),
		                     &chunk);
		sink_part(sink, state, &chunk, from, to);
	}
}

void
metric_level_read(const pg_uuid_t *tenant, const pg_uuid_t *series, const MetricSamples *hot,
                  int level, int64 from, int64 to, MetricSink sink, void *state)
{
	Datum args[5] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series), Int16GetDatum((int16) level),
	                 TimestampTzGetDatum(from), TimestampTzGetDatum(to)};
	uint32 columns = level == 0 ? 1 : ROLLUP_COLUMNS;
	static Chunk chunk;
	MetricSamples all;
	SPITupleTable *table;
	uint64 count;

	metric_samples_init(&all, columns);
	count = pctl_plan_run(&chunk_read, args, NULL, hot != NULL, 0);
	hot = level == 0 ? hot : NULL;
	table = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		if (!chunk_open(&chunk, pctl_spi_value(i, 1, NULL), columns))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
			                errmsg("a chunk of the metric series does not decode")));
		/* Chunks before the first hot sample go out as they are. */
		if (all.count == 0 &&
		    (hot == NULL || hot->count == 0 || chunk.times[chunk.count - 1] < hot->times[0]))
			sink_part(sink, state, &chunk, from, to);
		else
			metric_samples_add_chunk(&all, &chunk);
	}
	if (hot != NULL)
		metric_samples_merge(&all, hot);
	samples_hand(&all, from, to, sink, state);
	SPI_freetuptable(table);
}
