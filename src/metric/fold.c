/* SPDX-License-Identifier: PostgreSQL
 *
 * fold.c -- the arithmetic of fold.h. The inner loops see one bucket at a time, so that the
 * compiler keeps what they add up in registers.
 */
#include "metric/fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const function_names[METRIC_FUNCTIONS] = {
    [METRIC_AVG] = "avg",   [METRIC_MIN] = "min",           [METRIC_MAX] = "max",
    [METRIC_SUM] = "sum",   [METRIC_COUNT] = "count",       [METRIC_FIRST] = "first",
    [METRIC_LAST] = "last", [METRIC_DELTA] = "delta",       [METRIC_INCREASE] = "increase",
    [METRIC_RATE] = "rate", [METRIC_QUANTILE] = "quantile",
};

MetricFunction
metric_function_find(const char *name, size_t len)
{
	int i = 0;

	while (i < METRIC_FUNCTIONS &&
	       !(strlen(function_names[i]) == len && memcmp(function_names[i], name, len) == 0))
		i++;
	return (MetricFunction) i;
}

const char *
metric_function_name(MetricFunction function)
{
	return function_names[function];
}

bool
metric_function_of_pairs(MetricFunction function)
{
	return function == METRIC_DELTA || function == METRIC_INCREASE || function == METRIC_RATE;
}

int64_t
metric_fold_buckets(int64_t start, int64_t end, int64_t step, int64_t max)
{
	uint64_t span, buckets;

	if (step <= 0)
		return -1;
	if (end <= start)
		return 0;
	span = (uint64_t) end - (uint64_t) start;
	buckets = (span - 1) / (uint64_t) step + 1;
	/* The end of the last bucket must be a time as well. */
	if (buckets > (uint64_t) max || (INT64_MAX - end) < step)
		return -1;
	return (int64_t) buckets;
}

/* Of a run of samples. */
typedef struct Sums
{
	double sum, min, max;
} Sums;

static inline Sums
sums_of(const double *values, uint32_t count)
{
	double sum = 0, min = values[0], max = values[0];

	for (uint32_t i = 0; i < count; i++)
	{
		sum += values[i];
		min = values[i] < min ? values[i] : min;
		max = values[i] > max ? values[i] : max;
	}
	return (Sums){.sum = sum, .min = min, .max = max};
}

static void
bucket_samples(MetricBucket *bucket, const Sums *sums, const double *values, uint32_t count)
{
	if (bucket->count == 0)
	{
		bucket->first = values[0];
		bucket->min = sums->min;
		bucket->max = sums->max;
	}
	bucket->min = sums->min < bucket->min ? sums->min : bucket->min;
	bucket->max = sums->max > bucket->max ? sums->max : bucket->max;
	bucket->sum += sums->sum;
	bucket->count += count;
	bucket->last = values[count - 1];
	bucket->ended = false;
}

static void
bucket_pairs(MetricFold *fold, MetricBucket *bucket, const int64_t *times, const double *values,
             uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		if (fold->has_before)
		{
			double change = values[i] - fold->value_before;

			bucket->delta += change;
			bucket->increase += change < 0 ? values[i] : change;
			bucket->covered += times[i] - fold->time_before;
			bucket->pairs++;
		}
		fold->has_before = true;
		fold->time_before = times[i];
		fold->value_before = values[i];
	}
}

int64_t
metric_fold_place(const MetricFold *fold, int64_t time)
{
	uint64_t n = ((uint64_t) time - (uint64_t) fold->start) / (uint64_t) fold->step;

	return time < fold->start || n >= (uint64_t) fold->buckets ? -1 : (int64_t) n;
}

/* Samples of one bucket, with markers or what is no number among them. */
static void
fold_mixed(MetricFold *fold, MetricBucket *bucket, const int64_t *times, const double *values,
           uint32_t count)
{
	uint32_t i = 0;

	while (i < count)
	{
		uint32_t next = i;

		while (next < count && !isnan(values[next]))
			next++;
		if (next > i)
		{
			Sums sums = sums_of(values + i, next - i);

			bucket_samples(bucket, &sums, values + i, next - i);
			if (fold->pairs)
				bucket_pairs(fold, bucket, times + i, values + i, next - i);
		}
		if (next < count && metric_is_stale(values[next]))
		{
			fold->has_before = false;
			bucket->ended = true;
		}
		i = next + 1;
	}
}

/* Samples of one bucket. A sum is a number when all it is of are, so nothing else is asked of each. */
static void
fold_bucket(MetricFold *fold, MetricBucket *bucket, const int64_t *times, const double *values,
            uint32_t count)
{
	Sums sums = sums_of(values, count);

	if (isnan(sums.sum))
	{
		fold_mixed(fold, bucket, times, values, count);
		return;
	}
	bucket_samples(bucket, &sums, values, count);
	if (fold->pairs)
		bucket_pairs(fold, bucket, times, values, count);
}

void
metric_fold_samples(MetricFold *fold, const int64_t *times, const double *values, uint32_t count)
{
	uint32_t i = 0;

	while (i < count && times[i] < fold->start)
		i++;
	while (i < count)
	{
		int64_t n = metric_fold_place(fold, times[i]);
		uint32_t next = i + 1;
		int64_t end;

		if (n < 0)
			return;
		end = fold->start + (n + 1) * fold->step;
		/* Most chunks lie in one bucket as a whole. */
		if (times[count - 1] < end)
			next = count;
		while (next < count && times[next] < end)
			next++;
		fold_bucket(fold, &fold->bucket[n], times + i, values + i, next - i);
		i = next;
	}
}

void
metric_fold_rollup(MetricFold *fold, const Chunk *chunk, uint32_t i)
{
	int64_t n = metric_fold_place(fold, chunk->times[i]);
	double min = chunk->values[ROLLUP_MIN][i], max = chunk->values[ROLLUP_MAX][i];
	MetricBucket *bucket;
	bool ended;

	if (n < 0)
		return;
	bucket = &fold->bucket[n];
	ended = chunk->rest[i].len > 0 && (chunk->rest[i].at[0] & ROLLUP_ENDED) != 0;
	if (chunk->values[ROLLUP_COUNT][i] == 0)
	{
		bucket->ended |= ended;
		return;
	}
	bucket->ended = ended;
	if (bucket->count == 0)
	{
		bucket->min = min;
		bucket->max = max;
	}
	bucket->min = min < bucket->min ? min : bucket->min;
	bucket->max = max > bucket->max ? max : bucket->max;
	bucket->sum += chunk->values[ROLLUP_SUM][i];
	bucket->count += chunk->values[ROLLUP_COUNT][i];
	bucket->last = chunk->values[ROLLUP_LAST][i];
}

bool
metric_fold_value(const MetricBucket *bucket, MetricFunction function, double *value)
{
	if (metric_function_of_pairs(function) ? bucket->pairs == 0 : bucket->count == 0)
		return false;
	switch (function)
	{
		case METRIC_AVG: *value = bucket->sum / bucket->count; break;
		case METRIC_MIN: *value = bucket->min; break;
		case METRIC_MAX: *value = bucket->max; break;
		case METRIC_SUM: *value = bucket->sum; break;
		case METRIC_COUNT: *value = bucket->count; break;
		case METRIC_FIRST: *value = bucket->first; break;
		case METRIC_LAST: *value = bucket->last; break;
		case METRIC_DELTA: *value = bucket->delta; break;
		case METRIC_INCREASE: *value = bucket->increase; break;
		case METRIC_RATE: *value = bucket->increase / ((double) bucket->covered / 1e6); break;
		default: return false;
	}
	return true;
}

static int
double_compare(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

double
metric_quantile(double *values, size_t count, double q)
{
	double place = q * (double) (count - 1);
	size_t below = (size_t) floor(place);
	double part = place - (double) below;

	qsort(values, count, sizeof(double), double_compare);
	if (below + 1 >= count)
		return values[count - 1];
	return values[below] + part * (values[below + 1] - values[below]);
}

bool
metric_correlation(const double *x, const double *y, size_t n, double *r)
{
	double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;

	if (n < 2)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		mean_x += x[i] / (double) n;
		mean_y += y[i] / (double) n;
	}
	for (size_t i = 0; i < n; i++)
	{
		xx += (x[i] - mean_x) * (x[i] - mean_x);
		yy += (y[i] - mean_y) * (y[i] - mean_y);
		xy += (x[i] - mean_x) * (y[i] - mean_y);
	}
	if (!(xx > 0 && yy > 0))
		return false;
	*r = xy / sqrt(xx) / sqrt(yy);
	*r = *r > 1 ? 1 : *r < -1 ? -1 : *r;
	return true;
}
