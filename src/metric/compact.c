/* SPDX-License-Identifier: PostgreSQL
 *
 * compact.c -- from metric_hot into chunks, and from chunks into roll-ups; the keeper's part.
 *
 * A bucket of series is due when enough samples wait for chunks, or some have waited long. Those of each series are merged by
 * time with what is there, so late and repeated samples end up where they belong, and the hours they touch are
 * rolled up anew from the samples: a roll-up is always that of the samples there are, however late one came. What is
 * no number is in none, but makes a row, so that one of samples it replaced does not stay.
 *
 * A series that is deleted takes its samples along (hot.c); should some have stayed, they are of no series, and are dropped.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/export.h"
#include "core/spi.h"
#include "metric/sketch.h"
#include "metric/store.h"
#include "miscadmin.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DUE_SAMPLES 120 /* for each of the series that a bucket has, were they spread evenly */
#define DUE_SECONDS 300

static PctlPlan tenant_lock = {
    "SELECT pg_advisory_xact_lock(hashtextextended('probectl metric ' || $1, 0))", 1, {UUIDOID}};
static PctlPlan due_read = {
    "SELECT h.bucket FROM probectl.metric_hot h WHERE h.tenant_id = $1 GROUP BY h.bucket"
    " HAVING min(h.stored_at) < $3 OR sum(h.samples) >= $2 * greatest(1, (SELECT "
    "(q.used + $4 - 1) / $4 FROM probectl.tenant_quota q WHERE q.tenant_id = $1 AND q.resource = "
    "'series'))"
    " ORDER BY min(h.stored_at), h.bucket",
    4,
    {UUIDOID, INT4OID, TIMESTAMPTZOID, INT4OID}};
static PctlPlan series_there = {
    "SELECT FROM probectl.metric_series WHERE tenant_id = $1 AND series_id = $2",
    2,
    {UUIDOID, UUIDOID}};
static PctlPlan series_touch = {"UPDATE probectl.metric_series SET last_seen = $3 WHERE tenant_id "
                                "= $1 AND series_id = $2 AND last_seen < $3",
                                3,
                                {UUIDOID, UUIDOID, TIMESTAMPTZOID}};
static PctlPlan damage_count = {
    "UPDATE probectl.metric_state SET damaged = damaged + $2 WHERE tenant_id = $1",
    2,
    {UUIDOID, INT8OID}};

/* Rows of a level while samples go by. */
typedef struct Rollup
{
	int64 width;
	int64 start; /* of the row that is open */
	bool open, ended;
	double row[ROLLUP_COLUMNS];
	Sketch sketch;
	MetricSamples rows;
} Rollup;

static int64
floor_to(int64 time, int64 width)
{
	int64 rest = time % width;

	return time - (rest < 0 ? rest + width : rest);
}

/* What stands behind the columns of the row. */
static ChunkRest
row_rest(const Rollup *rollup)
{
	bool sketched = rollup->row[ROLLUP_COUNT] > ROLLUP_PLAIN_COUNT;
	uint8 bytes[1 + SKETCH_BYTES_MAX];
	size_t len = 1;
	uint8 *kept;

	if (!sketched && !rollup->ended)
		return (ChunkRest){0};
	bytes[0] = rollup->ended ? ROLLUP_ENDED : 0;
	if (sketched)
		len += sketch_encode(bytes + 1, &rollup->sketch);
	kept = palloc(len);
	memcpy(kept, bytes, len);
	return (ChunkRest){.at = kept, .len = (uint32) len};
}

static void
rollup_close(Rollup *rollup)
{
	if (rollup->open)
	{
		metric_samples_add(&rollup->rows, rollup->start, rollup->row);
		rollup->rows.rests[rollup->rows.count - 1] = row_rest(rollup);
	}
	rollup->open = false;
}

static void
rollup_add(Rollup *rollup, int64 time, double value)
{
	double *row = rollup->row;

	if (!rollup->open || time >= rollup->start + rollup->width)
	{
		rollup_close(rollup);
		rollup->start = floor_to(time, rollup->width);
		rollup->open = true;
		rollup->ended = false;
		memset(row, 0, sizeof(rollup->row));
		rollup->sketch.bins = rollup->sketch.collapses = 0;
	}
	if (isnan(value))
	{
		rollup->ended |= metric_is_stale(value);
		return;
	}
	rollup->ended = false;
	if (row[ROLLUP_COUNT]++ == 0)
		row[ROLLUP_MIN] = row[ROLLUP_MAX] = value;
	row[ROLLUP_SUM] += value;
	row[ROLLUP_MIN] = Min(row[ROLLUP_MIN], value);
	row[ROLLUP_MAX] = Max(row[ROLLUP_MAX], value);
	row[ROLLUP_LAST] = value;
	sketch_add(&rollup->sketch, value, 1);
}

static void
rollup_sink(void *state, const Chunk *chunk)
{
	Rollup *rollup = state;

	for (uint32 i = 0; i < chunk->count; i++)
		for (int level = 1; level < METRIC_LEVELS; level++)
			rollup_add(&rollup[level], chunk->times[i], chunk->values[0][i]);
}

/* Makes the rows of all hours that [first, last] touches. */
static void
series_rollup(const pg_uuid_t *tenant, const pg_uuid_t *series, int64 first, int64 last)
{
	int64 hour = metric_level_width[METRIC_LEVELS - 1];
	Rollup *rollup = palloc(METRIC_LEVELS * sizeof(Rollup));

	for (int level = 1; level < METRIC_LEVELS; level++)
	{
		memset(&rollup[level], 0, sizeof(Rollup));
		rollup[level].width = metric_level_width[level];
		metric_samples_init(&rollup[level].rows, ROLLUP_COLUMNS);
	}
	metric_level_read(tenant, series, NULL, 0, floor_to(first, hour), floor_to(last, hour) + hour,
	                  rollup_sink, rollup);
	for (int level = 1; level < METRIC_LEVELS; level++)
	{
		rollup_close(&rollup[level]);
		metric_level_put(tenant, series, level, &rollup[level].rows);
	}
}

/* False when there is no such series. */
static bool
series_seen(const pg_uuid_t *tenant, const pg_uuid_t *series, int64 last)
{
	Datum args[3] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series), TimestampTzGetDatum(last)};
	bool there;

	if (pctl_plan_run(&series_touch, args, NULL, false, 0) > 0)
		return true;
	there = pctl_plan_run(&series_there, args, NULL, false, 1) > 0;
	SPI_freetuptable(SPI_tuptable);
	return there;
}

static void
series_compact(const pg_uuid_t *tenant, const pg_uuid_t *series, const MetricSamples *samples)
{
	int64 last;

	if (samples->count == 0)
		return;
	last = samples->times[samples->count - 1];
	if (!series_seen(tenant, series, last))
		return;
	metric_level_put(tenant, series, 0, samples);
	series_rollup(tenant, series, samples->times[0], last);
}

/* Number of series that had samples in the bucket. */
static int32
bucket_compact(const pg_uuid_t *tenant, int16 bucket, MemoryContext context, int64 *damaged)
{
	MetricHotTaken *taken = metric_hot_take(tenant, bucket, damaged);
	MemoryContext old = MemoryContextSwitchTo(context);
	MetricSamples samples;
	pg_uuid_t series;
	int32 count = 0;

	while (metric_hot_taken_next(taken, &series, &samples, damaged))
	{
		CHECK_FOR_INTERRUPTS();
		series_compact(tenant, &series, &samples);
		MemoryContextReset(context);
		count++;
	}
	MemoryContextSwitchTo(old);
	metric_hot_taken_end(taken);
	return count;
}

/* The buckets that are due, those that waited longest first. */
static int
due_buckets(const pg_uuid_t *tenant, int16 *buckets)
{
	Datum args[4] = {UUIDPGetDatum(tenant), Int32GetDatum(DUE_SAMPLES),
	                 TimestampTzGetDatum(pctl_now() - DUE_SECONDS * USECS_PER_SEC),
	                 Int32GetDatum(METRIC_HOT_BUCKETS)};
	int count = (int) pctl_plan_run(&due_read, args, NULL, false, METRIC_HOT_BUCKETS);

	for (int i = 0; i < count; i++)
		buckets[i] = DatumGetInt16(pctl_spi_value((uint64) i, 1, NULL));
	SPI_freetuptable(SPI_tuptable);
	return count;
}

PCTL_FUNCTION(pctl_metric_compact);

/* probectl_internal.metric_compact(most integer) -> integer */
Datum
pctl_metric_compact(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	Datum args[2] = {UUIDPGetDatum(&tenant)};
	int32 most = PG_GETARG_INT32(0), count = 0;
	int16 buckets[METRIC_HOT_BUCKETS];
	MemoryContext context;
	PctlTrusted saved;
	int64 damaged = 0;
	int due;

	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_plan_run(&tenant_lock, args, NULL, false, 1);
	due = due_buckets(&tenant, buckets);
	context = AllocSetContextCreate(CurrentMemoryContext, "probectl series",
	                                ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < due && count < most; i++)
		count += bucket_compact(&tenant, buckets[i], context, &damaged);
	if (damaged > 0)
	{
		ereport(WARNING,
		        (errmsg(INT64_FORMAT " rows of metric samples did not decode and were dropped",
		                damaged)));
		args[1] = Int64GetDatum(damaged);
		pctl_plan_run(&damage_count, args, NULL, false, 0);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_INT32(count);
}
