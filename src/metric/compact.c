/* SPDX-License-Identifier: PostgreSQL
 *
 * compact.c -- from metric_hot into chunks, and from chunks into roll-ups; the keeper's part.
 *
 * A series is due when enough samples wait for a chunk, or some have waited long. They are merged by time with what
 * is there, so late and repeated samples end up where they belong, and the hours they touch are
 * rolled up anew from the samples: a roll-up is always that of the samples there are, however late one came. What is
 * no number is in none, but makes a row, so that one of samples it replaced does not stay.
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

#define DUE_SAMPLES 120
#define DUE_SECONDS 300

static PctlPlan tenant_lock = {
    "SELECT pg_advisory_xact_lock(hashtextextended('probectl metric ' || $1, 0))", 1, {UUIDOID}};
static PctlPlan due_read = {
    "SELECT series_id FROM probectl.metric_hot WHERE tenant_id = $1 GROUP BY series_id"
    " HAVING sum(samples) >= $2 OR min(stored_at) < $3 LIMIT $4",
    4,
    {UUIDOID, INT4OID, TIMESTAMPTZOID, INT4OID}};
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
	metric_level_read(tenant, series, 0, floor_to(first, hour), floor_to(last, hour) + hour,
	                  rollup_sink, rollup);
	for (int level = 1; level < METRIC_LEVELS; level++)
	{
		rollup_close(&rollup[level]);
		metric_level_put(tenant, series, level, &rollup[level].rows);
	}
}

static void
series_compact(const pg_uuid_t *tenant, const pg_uuid_t *series, int64 *damaged)
{
	MetricSamples samples;
	Datum args[3] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series)};

	metric_samples_init(&samples, 1);
	metric_hot_take(tenant, series, &samples, damaged);
	if (samples.count == 0)
		return;
	metric_level_put(tenant, series, 0, &samples);
	series_rollup(tenant, series, samples.times[0], samples.times[samples.count - 1]);
	args[2] = TimestampTzGetDatum(samples.times[samples.count - 1]);
	pctl_plan_run(&series_touch, args, NULL, false, 0);
}

/* The series that are due, in the current context. */
static pg_uuid_t *
due_series(const pg_uuid_t *tenant, int32 most, uint64 *count)
{
	Datum args[4] = {UUIDPGetDatum(tenant), Int32GetDatum(DUE_SAMPLES),
	                 TimestampTzGetDatum(pctl_now() - DUE_SECONDS * USECS_PER_SEC),
	                 Int32GetDatum(most)};
	pg_uuid_t *series;

	*count = pctl_plan_run(&due_read, args, NULL, false, 0);
	series = palloc(Max(*count, 1) * sizeof(pg_uuid_t));
	for (uint64 i = 0; i < *count; i++)
		series[i] = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL));
	SPI_freetuptable(SPI_tuptable);
	return series;
}

PCTL_FUNCTION(pctl_metric_compact);

/* probectl_internal.metric_compact(most integer) -> integer */
Datum
pctl_metric_compact(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	Datum args[2] = {UUIDPGetDatum(&tenant)};
	MemoryContext context;
	PctlTrusted saved;
	pg_uuid_t *series;
	int64 damaged = 0;
	uint64 count;

	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_plan_run(&tenant_lock, args, NULL, false, 1);
	series = due_series(&tenant, PG_GETARG_INT32(0), &count);
	context = AllocSetContextCreate(CurrentMemoryContext, "probectl series",
	                                ALLOCSET_DEFAULT_SIZES);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		series_compact(&tenant, &series[i], &damaged);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
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
	PG_RETURN_INT32((int32) count);
}
