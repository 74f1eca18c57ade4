/* SPDX-License-Identifier: PostgreSQL
 *
 * store.h -- writing metric_chunk of the bound tenant, reading it with metric_hot. Inside SPI, trusted.
 */
#ifndef PCTL_METRIC_STORE_H
#define PCTL_METRIC_STORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "metric/hot.h"
#include "utils/uuid.h"

#define METRIC_LEVELS 3

/* Width of a row of the level in microseconds; 0 for samples. */
extern const int64 metric_level_width[METRIC_LEVELS];

/* Merges rows, in order, into the chunks of a level: those that overlap, and a short one before, are written anew. */
void metric_level_put(const pg_uuid_t *tenant, const pg_uuid_t *series, int level,
                      const MetricSamples *rows);

/* Hands out what there is in [from, to), ascending, each time once. For level 0 those of metric_hot, in order, are merged in; the
 * active snapshot is looked at. With NULL it is chunks only, as they are now. */
typedef void (*MetricSink)(void *state, const Chunk *chunk);
void metric_level_read(const pg_uuid_t *tenant, const pg_uuid_t *series, const MetricSamples *hot,
                       int level, int64 from, int64 to, MetricSink sink, void *state);

#endif
