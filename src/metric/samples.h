/* SPDX-License-Identifier: PostgreSQL
 *
 * samples.h -- rows of one series in memory, many or few, and putting them in order.
 */
#ifndef PCTL_METRIC_SAMPLES_H
#define PCTL_METRIC_SAMPLES_H

#include "postgres.h"

#include "metric/chunk.h"

/* One column for samples, ROLLUP_COLUMNS and rests for roll-ups. */
typedef struct MetricSamples
{
	uint32 columns;
	int64 count, room;
	int64 *times;
	double *values[CHUNK_COLUMNS_MAX];
	ChunkRest *rests;      /* of roll-ups only; whoever adds a row keeps its bytes */
	MemoryContext context; /* of the arrays */
} MetricSamples;

void metric_samples_init(MetricSamples *samples, uint32 columns);
void metric_samples_reserve(MetricSamples *samples, int64 more);
void metric_samples_add(MetricSamples *samples, int64 time, const double *values);
void metric_samples_add_chunk(MetricSamples *samples, const Chunk *chunk);

/* Ascending, each time once: of equal times the row that was added last stays. */
void metric_samples_sort(MetricSamples *samples);

/* Both in order; of equal times the newer one's stays. */
void metric_samples_merge(MetricSamples *older, const MetricSamples *newer);

/* How many chunks the rows make, all about equal. */
int64 metric_samples_pieces(int64 count);

/* Rows [first, first + count) as a chunk. */
void metric_samples_chunk(const MetricSamples *samples, int64 first, uint32 count, Chunk *chunk);

#endif
