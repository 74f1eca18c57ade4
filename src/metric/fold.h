/* SPDX-License-Identifier: PostgreSQL
 *
 * fold.h -- samples of one series into buckets of equal width. Pure C.
 *
 * Bucket i covers [start + i * step, start + (i + 1) * step). Samples are handed in ascending order, each time once.
 * For rates a sample is paired with the one before it in the range; the pair belongs to the bucket of the later one, so
 * that increases of neighbouring buckets add up to that of the range and nothing is extrapolated. A marker
 * (METRIC_STALE) is no sample: the bucket has ended, and no pair reaches over it. A sample that is no number is left out.
 */
#ifndef PCTL_METRIC_FOLD_H
#define PCTL_METRIC_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metric/chunk.h"

typedef struct MetricBucket
{
	double count; /* whole; a double because roll-ups hold it as one */
	double sum, min, max, first, last;
	double delta;    /* sum of differences of pairs */
	double increase; /* the same, where a value that falls started again from 0 */
	int64_t covered; /* microseconds between the samples of the pairs */
	int64_t pairs;
	bool ended; /* the last thing in it is that the series ended */
} MetricBucket;

typedef struct MetricFold
{
	int64_t start, step; /* microseconds */
	int64_t buckets;
	MetricBucket *bucket;
	bool pairs; /* wanted: costs a pass of its own */
	bool has_before;
	int64_t time_before;
	double value_before;
} MetricFold;

typedef enum MetricFunction
{
	METRIC_AVG,
	METRIC_MIN,
	METRIC_MAX,
	METRIC_SUM,
	METRIC_COUNT,
	METRIC_FIRST,
	METRIC_LAST,
	METRIC_DELTA,
	METRIC_INCREASE,
	METRIC_RATE,
	METRIC_QUANTILE,
	METRIC_FUNCTIONS
} MetricFunction;

/* METRIC_FUNCTIONS when there is none of the name. */
MetricFunction metric_function_find(const char *name, size_t len);
const char *metric_function_name(MetricFunction function);

/* Of differences between samples. */
bool metric_function_of_pairs(MetricFunction function);

/* Buckets the range takes; 0 when it is empty, -1 when step is not above 0 or there would be more than max. */
int64_t metric_fold_buckets(int64_t start, int64_t end, int64_t step, int64_t max);

/* bucket must be zeroed. Samples outside of the buckets are left out. */
void metric_fold_samples(MetricFold *fold, const int64_t *times, const double *values,
                         uint32_t count);

/* Row i of a chunk of a roll-up: its time is the start of what it covers, which lies in one bucket. */
void metric_fold_rollup(MetricFold *fold, const Chunk *chunk, uint32_t i);

/* The bucket a time lies in; -1 when it lies in none. */
int64_t metric_fold_place(const MetricFold *fold, int64_t time);

/* False when the bucket has no answer: no sample, or for rates no pair. Not for METRIC_QUANTILE. */
bool metric_fold_value(const MetricBucket *bucket, MetricFunction function, double *value);

/* Sorts the values; linear between the two nearest, q from 0 to 1, count above 0. */
double metric_quantile(double *values, size_t count, double q);

/* Pearson's r of n pairs; false when there are under two or one side does not vary. */
bool metric_correlation(const double *x, const double *y, size_t n, double *r);

#endif
