/* SPDX-License-Identifier: PostgreSQL
 *
 * query.c -- reading series: samples, buckets, correlation. Set-returning, for SQL and for the API.
 *
 * Who may read a series is decided by row-level security on metric_series, asked as the caller; then its samples, on which
 * nobody has a grant, are read as probectl_owner. That is for the length of a call, as security definer functions do, so it
 * is safe in a parallel worker, which knows the principal as well (tenant/context.c).
 *
 * Where the level of a roll-up answers as well as samples it is read instead: it is exact for whatever
 * metric_hot does not touch. Samples are read where the buckets are no whole minutes, where compaction has not been, and for
 * what roll-ups do not know. Quantiles over more than a day come from sketches, with the error they have.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/spi.h"
#include "funcapi.h"
#include "metric/fold.h"
#include "metric/sketch.h"
#include "metric/store.h"
#include "port/pg_bswap.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define BUCKETS_MAX 11000

/* Quantiles of shorter ranges are of the samples, where there are any. */
#define EXACT_QUANTILE_US USECS_PER_DAY

static PctlPlan series_visible = {
    "SELECT FROM probectl.metric_series WHERE tenant_id = $1 AND series_id = $2",
    2,
    {UUIDOID, UUIDOID}};

static const bool of_rollups[METRIC_FUNCTIONS] = {
    [METRIC_AVG] = true,   [METRIC_MIN] = true,  [METRIC_MAX] = true,      [METRIC_SUM] = true,
    [METRIC_COUNT] = true, [METRIC_LAST] = true, [METRIC_QUANTILE] = true,
};

/* One series over a range. */
typedef struct Range
{
	pg_uuid_t tenant, series;
	MetricHotView *view;
	MetricSamples hot; /* of the series, in metric_hot */
	MetricFunction function;
	int64 start, end, step, buckets;
	double quantile;
} Range;

/* Answers of a range: one a bucket, with what the bucket held. */
typedef struct Answer
{
	MetricBucket *bucket;
	double *value;
	double *error; /* relative, that the value may have */
	bool *given;
} Answer;

/* Buckets of roll-ups or samples while they go by; for quantiles the sketch of the one that is open. */
typedef struct Reading
{
	const Range *range;
	Answer *answer;
	MetricFold fold;
	bool sketching;
	int64 open; /* bucket of the sketch; -1 before the first */
	Sketch sketch, part;
} Reading;

/* Rows of metric_hot that are read once, however many series a query has: they are kept as long as its call of the function. */
static MetricHotView *
hot_open(FunctionCallInfo fcinfo, const pg_uuid_t *tenant, int64 from, int64 to)
{
	MetricHotView *kept = fcinfo->flinfo->fn_extra;

	return fcinfo->flinfo->fn_extra = metric_hot_view(&kept, fcinfo->flinfo->fn_mcxt, tenant, from,
	                                                  to, false);
}

/* Trusted from here to reading_end. False when the caller sees no such series. */
static bool
reading_begin(const pg_uuid_t *tenant, const pg_uuid_t *series, PctlTrusted *saved)
{
	Datum args[2] = {UUIDPGetDatum(tenant), UUIDPGetDatum(series)};
	bool visible;

	SPI_connect();
	visible = pctl_plan_run(&series_visible, args, NULL, true, 1) == 1;
	pctl_trusted_begin(saved);
	return visible;
}

static void
reading_end(const PctlTrusted *saved)
{
	pctl_trusted_end(saved);
	SPI_finish();
}

static void
refuse(const char *field, const char *message)
{
	ereport(ERROR,
	        (errcode(ERRCODE_PCTL_INVALID), errmsg("%s", message), errdetail("field: %s", field)));
}

static int64
interval_us(const Interval *interval)
{
	if (interval->month != 0)
		refuse("step", "a step is not of months: they differ in length");
	return interval->time + (int64) interval->day * USECS_PER_DAY;
}

/* start, end, step as arguments at the given place; checked. */
static void
range_open(Range *range, FunctionCallInfo fcinfo, int place)
{
	memset(range, 0, sizeof(*range));
	range->tenant = *pctl_tenant_required();
	range->start = PG_GETARG_TIMESTAMPTZ(place);
	range->end = PG_GETARG_TIMESTAMPTZ(place + 1);
	if (TIMESTAMP_NOT_FINITE(range->start) || TIMESTAMP_NOT_FINITE(range->end))
		refuse("start", "start and end must be finite");
	range->step = interval_us(PG_GETARG_INTERVAL_P(place + 2));
	range->buckets = metric_fold_buckets(range->start, range->end, range->step, BUCKETS_MAX);
	if (range->buckets < 0)
		refuse("step", "step must be above 0 and make at most 11000 points of the range");
}

/* The quantile of the bucket that was open, and opens the next. */
static void
reading_turn(Reading *reading, int64 next)
{
	Answer *answer = reading->answer;
	int64 i = reading->open;

	if (i == next)
		return;
	if (i >= 0 && reading->sketch.bins > 0)
	{
		double value = sketch_quantile(&reading->sketch, reading->range->quantile);

		/* The extremes are known exactly. */
		answer->value[i] = Min(Max(value, answer->bucket[i].min), answer->bucket[i].max);
		answer->error[i] = sketch_error(&reading->sketch);
		answer->given[i] = true;
	}
	reading->open = next;
	reading->sketch.bins = reading->sketch.collapses = 0;
}

static void
fold_sink(void *state, const Chunk *chunk)
{
	Reading *reading = state;

	metric_fold_samples(&reading->fold, chunk->times, chunk->values[0], chunk->count);
	for (uint32 i = 0; reading->sketching && i < chunk->count; i++)
	{
		if (isnan(chunk->values[0][i]))
			continue;
		reading_turn(reading, metric_fold_place(&reading->fold, chunk->times[i]));
		sketch_add(&reading->sketch, chunk->values[0][i], 1);
	}
}

static void
sketch_row(Reading *reading, const Chunk *chunk, uint32 i)
{
	double count = chunk->values[ROLLUP_COUNT][i];
	const ChunkRest *rest = &chunk->rest[i];

	if (count <= ROLLUP_PLAIN_COUNT)
	{
		if (count > 0)
			sketch_add(&reading->sketch, chunk->values[ROLLUP_MIN][i], 1);
		if (count > 1)
			sketch_add(&reading->sketch, chunk->values[ROLLUP_MAX][i], 1);
		return;
	}
	if (rest->len < 1 || !sketch_decode(&reading->part, rest->at + 1, rest->len - 1))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("a roll-up of the metric series does not decode")));
	sketch_merge(&reading->sketch, &reading->part);
}

static void
rollup_sink(void *state, const Chunk *chunk)
{
	Reading *reading = state;

	for (uint32 i = 0; i < chunk->count; i++)
	{
		int64 place = metric_fold_place(&reading->fold, chunk->times[i]);

		if (reading->sketching && place >= 0)
		{
			reading_turn(reading, place);
			sketch_row(reading, chunk, i);
		}
		metric_fold_rollup(&reading->fold, chunk, i);
	}
}

static void
samples_sink(void *state, const Chunk *chunk)
{
	metric_samples_add_chunk(state, chunk);
}

/* Start of the first bucket that is kept as a whole when the level goes back to its retention. */
static int64
level_from(const Range *range, int days)
{
	int64 kept = pctl_now() - (int64) days * USECS_PER_DAY;
	int64 behind = kept - range->start;

	if (behind <= 0)
		return range->start;
	return Min(range->start + (behind + range->step - 1) / range->step * range->step, range->end);
}

/* Whether rows of the level lie in one bucket each. */
static bool
level_fits(const Range *range, int level)
{
	int64 width = metric_level_width[level];

	return of_rollups[range->function] && range->start % width == 0 && range->step % width == 0;
}

/* Samples of [.., to) are not kept any more: it must be possible to do without. */
static void
level_check(const Range *range, int level, int64 to)
{
	if (!of_rollups[range->function])
		refuse("start", psprintf("\"%s\" needs samples, and those are kept for %d days",
		                         metric_function_name(range->function), pctl_metric_raw_retention));
	if (!level_fits(range, level) || to % metric_level_width[level] != 0)
		refuse("step",
		       psprintf("so far back there is one row a%s: start, end and step must be whole %ss",
		                level == 1 ? " minute" : "n hour", level == 1 ? "minute" : "hour"));
}

static void
level_read(Reading *reading, int level, int64 from, int64 to)
{
	if (from < to)
		metric_level_read(&reading->range->tenant, &reading->range->series, &reading->range->hot,
		                  level, from, to, level == 0 ? fold_sink : rollup_sink, reading);
}

static int64
floor_to(int64 time, int64 width)
{
	int64 rest = time % width;

	return time - (rest < 0 ? rest + width : rest);
}

/* The coarsest level that answers for samples that are there; 0 when none does. */
static int
level_best(const Range *range)
{
	int level = METRIC_LEVELS - 1;

	while (level > 0 && !level_fits(range, level))
		level--;
	return level;
}

/* [from, end), of which samples are kept: from the level as far as it says what samples do. */
static void
kept_read(Reading *reading, int level, int64 from)
{
	const Range *range = reading->range;
	int64 rolled = from;

	if (level > 0)
	{
		rolled = range->hot.count > 0 ? Min(range->hot.times[0], range->end) : range->end;
		rolled = Max(floor_to(rolled, metric_level_width[level]), from);
	}
	level_read(reading, level, from, rolled);
	level_read(reading, 0, rolled, range->end);
}

static void
range_fold(Reading *reading)
{
	const Range *range = reading->range;
	int64 samples_from = level_from(range, pctl_metric_raw_retention);
	int64 minutes_from = Min(level_from(range, pctl_metric_minute_retention), samples_from);
	int level = level_best(range);

	if (minutes_from > range->start)
		level_check(range, 2, minutes_from);
	if (samples_from > minutes_from)
		level_check(range, 1, samples_from);
	level_read(reading, 2, range->start, minutes_from);
	level_read(reading, Max(level, 1), minutes_from, samples_from);
	kept_read(reading, level, samples_from);
	if (reading->sketching)
		reading_turn(reading, -1);
}

/* Of the samples themselves. */
static void
range_quantiles(Reading *reading)
{
	const Range *range = reading->range;
	Answer *answer = reading->answer;
	MetricSamples samples;
	int64 first = 0, kept = 0;

	metric_samples_init(&samples, 1);
	metric_level_read(&range->tenant, &range->series, &range->hot, 0, range->start, range->end,
	                  samples_sink, &samples);
	for (int64 at = 0; at < samples.count; at += CHUNK_SAMPLES_MAX)
		metric_fold_samples(&reading->fold, samples.times + at, samples.values[0] + at,
		                    (uint32_t) Min(CHUNK_SAMPLES_MAX, samples.count - at));
	for (int64 i = 0; i < samples.count; i++)
	{
		samples.times[kept] = samples.times[i];
		samples.values[0][kept] = samples.values[0][i];
		kept += isnan(samples.values[0][i]) ? 0 : 1;
	}
	while (first < kept)
	{
		int64 place = metric_fold_place(&reading->fold, samples.times[first]), next = first + 1;

		while (next < kept && metric_fold_place(&reading->fold, samples.times[next]) == place)
			next++;
		answer->value[place] = metric_quantile(samples.values[0] + first, next - first,
		                                       range->quantile);
		answer->given[place] = true;
		first = next;
	}
}

static Answer
range_answer(Range *range)
{
	int64 room = Max(range->buckets, 1);
	Answer answer = {.bucket = palloc0(room * sizeof(MetricBucket)),
	                 .value = palloc0(room * sizeof(double)),
	                 .error = palloc0(room * sizeof(double)),
	                 .given = palloc0(room * sizeof(bool))};
	Reading *reading = palloc0(sizeof(Reading));
	bool exact = range->end - range->start <= EXACT_QUANTILE_US || level_best(range) == 0;

	if (range->buckets == 0)
		return answer;
	metric_samples_init(&range->hot, 1);
	metric_hot_read(range->view, &range->series, &range->hot);
	reading->range = range;
	reading->answer = &answer;
	reading->open = -1;
	reading->fold = (MetricFold){.start = range->start,
	                             .step = range->step,
	                             .buckets = range->buckets,
	                             .bucket = answer.bucket,
	                             .pairs = metric_function_of_pairs(range->function)};
	if (range->function == METRIC_QUANTILE && exact &&
	    level_from(range, pctl_metric_raw_retention) == range->start)
	{
		range_quantiles(reading);
		return answer;
	}
	reading->sketching = range->function == METRIC_QUANTILE;
	range_fold(reading);
	for (int64 i = 0; i < range->buckets && !reading->sketching; i++)
		answer.given[i] = metric_fold_value(&answer.bucket[i], range->function, &answer.value[i]);
	return answer;
}

PCTL_FUNCTION(pctl_metric_window);

/* probectl.metric_window(series, function, start, end, step, q) -> setof (at, value, min, max, samples, ended, error) */
Datum
pctl_metric_window(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text *function = PG_GETARG_TEXT_PP(1);
	PctlTrusted saved;
	Range range;

	range_open(&range, fcinfo, 2);
	range.series = *PG_GETARG_UUID_P(0);
	range.function = metric_function_find(VARDATA_ANY(function), VARSIZE_ANY_EXHDR(function));
	range.quantile = PG_GETARG_FLOAT8(5);
	if (range.function == METRIC_FUNCTIONS)
		refuse("function", "a function is avg, min, max, sum, count, first, last, delta, increase, "
		                   "rate or quantile");
	if (!(range.quantile >= 0 && range.quantile <= 1))
		refuse("q", "a quantile is from 0 to 1");
	range.view = hot_open(fcinfo, &range.tenant, range.start, range.end);
	InitMaterializedSRF(fcinfo, 0);
	if (reading_begin(&range.tenant, &range.series, &saved))
	{
		Answer answer = range_answer(&range);

		for (int64 i = 0; i < range.buckets; i++)
		{
			MetricBucket *bucket = &answer.bucket[i];
			Datum values[7] = {TimestampTzGetDatum(range.start + i * range.step),
			                   Float8GetDatum(answer.value[i]),
			                   Float8GetDatum(bucket->min),
			                   Float8GetDatum(bucket->max),
			                   Int64GetDatum((int64) bucket->count),
			                   BoolGetDatum(bucket->ended),
			                   Float8GetDatum(answer.error[i])};
			bool nulls[7] = {false};

			nulls[1] = nulls[6] = !answer.given[i];
			nulls[2] = nulls[3] = bucket->count == 0;
			if (answer.given[i] || bucket->ended)
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	reading_end(&saved);
	return (Datum) 0;
}

static void
read_sink(void *state, const Chunk *chunk)
{
	ReturnSetInfo *rsinfo = state;

	for (uint32 i = 0; i < chunk->count; i++)
	{
		Datum values[2] = {TimestampTzGetDatum(chunk->times[i]),
		                   Float8GetDatum(chunk->values[0][i])};
		bool nulls[2] = {false, metric_is_stale(chunk->values[0][i])};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PCTL_FUNCTION(pctl_metric_read);

/* probectl.metric_read(series, start, end) -> setof (at, value) */
Datum
pctl_metric_read(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	pg_uuid_t series = *PG_GETARG_UUID_P(0);
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(1), to = PG_GETARG_TIMESTAMPTZ(2);
	MetricHotView *view = hot_open(fcinfo, &tenant, from, to);
	MetricSamples hot;
	PctlTrusted saved;

	InitMaterializedSRF(fcinfo, 0);
	if (reading_begin(&tenant, &series, &saved))
	{
		metric_samples_init(&hot, 1);
		metric_hot_read(view, &series, &hot);
		metric_level_read(&tenant, &series, &hot, 0, from, to, read_sink, fcinfo->resultinfo);
	}
	reading_end(&saved);
	return (Datum) 0;
}

PCTL_FUNCTION(pctl_metric_correlation);

/* probectl.metric_correlation(a, b, start, end, step) -> double precision */
Datum
pctl_metric_correlation(PG_FUNCTION_ARGS)
{
	PctlTrusted saved;
	Range range;
	Answer answer[2];
	int64 both = 0;
	bool found = true;
	double r;

	range_open(&range, fcinfo, 2);
	range.view = hot_open(fcinfo, &range.tenant, range.start, range.end);
	range.function = METRIC_AVG;
	for (int side = 0; side < 2; side++)
	{
		PctlTrusted *keep = &saved;

		range.series = *PG_GETARG_UUID_P(side);
		found &= reading_begin(&range.tenant, &range.series, keep);
		reading_end(keep);
	}
	if (!found)
		PG_RETURN_NULL();
	for (int side = 0; side < 2; side++)
	{
		MemoryContext mine = CurrentMemoryContext;

		range.series = *PG_GETARG_UUID_P(side);
		SPI_connect();
		pctl_trusted_begin(&saved);
		MemoryContextSwitchTo(mine);
		answer[side] = range_answer(&range);
		pctl_trusted_end(&saved);
		SPI_finish();
	}
	for (int64 i = 0; i < range.buckets; i++)
		if (answer[0].given[i] && answer[1].given[i])
		{
			answer[0].value[both] = answer[0].value[i];
			answer[1].value[both++] = answer[1].value[i];
		}
	if (!metric_correlation(answer[0].value, answer[1].value, both, &r))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(r);
}

/* Bytes of metric_append, taken from the front. */
typedef struct Packed
{
	const uint8 *at, *end;
} Packed;

static const uint8 *
packed_take(Packed *packed, size_t len)
{
	const uint8 *at = packed->at;

	if ((size_t) (packed->end - packed->at) < len)
		refuse("samples", "the samples end in the middle of one");
	packed->at += len;
	return at;
}

static uint64
packed_word(Packed *packed)
{
	uint64 word;

	memcpy(&word, packed_take(packed, 8), 8);
	return pg_ntoh64(word);
}

static void
packed_series(Packed *packed, MetricHot *hot, const pg_uuid_t *tenant)
{
	pg_uuid_t series;
	Datum args[2] = {UUIDPGetDatum(tenant), UUIDPGetDatum(&series)};
	MetricSamples samples;
	uint64 count;

	memcpy(series.data, packed_take(packed, UUID_LEN), UUID_LEN);
	if (pctl_plan_run(&series_visible, args, NULL, true, 1) != 1)
		refuse("samples", "there is no such series");
	count = packed_word(packed);
	if (count > (uint64) (packed->end - packed->at) / 16)
		refuse("samples", "the samples end in the middle of one");
	metric_samples_init(&samples, 1);
	metric_samples_reserve(&samples, (int64) count);
	for (uint64 i = 0; i < count; i++)
	{
		uint64 bits;
		double value;

		samples.times[i] = (int64) packed_word(packed);
		bits = packed_word(packed);
		memcpy(&value, &bits, sizeof(value));
		if (!IS_VALID_TIMESTAMP(samples.times[i]) || isinf(value))
			refuse("samples", "a time or a value is out of range");
		samples.values[0][i] = value;
	}
	samples.count = (int64) count;
	metric_samples_sort(&samples);
	metric_hot_add(hot, &series, &samples);
	if (samples.times != NULL)
		pfree(samples.times);
	if (samples.values[0] != NULL)
		pfree(samples.values[0]);
}

PCTL_FUNCTION(pctl_metric_append);

/* probectl.metric_append(samples bytea) -> bigint */
Datum
pctl_metric_append(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	pg_uuid_t tenant = *pctl_tenant_required();
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	Packed packed = {.at = (uint8 *) VARDATA_ANY(bytes)};
	PctlTrusted saved;
	MetricHot *hot;
	int64 stored;

	if (who == NULL || who->kind != PCTL_PRINCIPAL_SYSTEM)
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
		                errmsg("samples of probes come from their agents only"),
		                errhint("An administrator of the database enters the tenant with "
		                        "probectl.enter_tenant().")));
	packed.end = packed.at + VARSIZE_ANY_EXHDR(bytes);
	pctl_trusted_begin(&saved);
	SPI_connect();
	hot = metric_hot_begin(&tenant, pctl_now());
	while (packed.at < packed.end)
		packed_series(&packed, hot, &tenant);
	stored = metric_hot_end(hot);
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_INT64(stored);
}
