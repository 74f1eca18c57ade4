/* SPDX-License-Identifier: PostgreSQL
 *
 * store.h -- writing and reading metric_hot and metric_chunk of the bound tenant. Inside SPI, trusted.
 */
#ifndef PCTL_METRIC_STORE_H
#define PCTL_METRIC_STORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "metric/samples.h"
#include "utils/uuid.h"

#define METRIC_LEVELS 3

/* Width of a row of the level in microseconds; 0 for samples. */
extern const int64 metric_level_width[METRIC_LEVELS];

/* Rows of metric_hot by multi-insert, for one transaction. Foreign keys are not checked: the caller knows the series. */
typedef struct MetricHot MetricHot;
MetricHot *metric_hot_begin(const pg_uuid_t *tenant, TimestampTz now);
/* Samples in order. */
void metric_hot_add(MetricHot *hot, const pg_uuid_t *series, const MetricSamples *samples);
/* Frees everything; number of samples. */
int64 metric_hot_end(MetricHot *hot);

/* Takes the samples of a series out of metric_hot, in order. Rows that do not decode are gone as well; their number is added. */
void metric_hot_take(const pg_uuid_t *tenant, const pg_uuid_t *series, MetricSamples *samples,
                     int64 *damaged);

/* Merges rows, in order, into the chunks of a level: those that overlap, and a short one before, are written anew. */
void metric_level_put(const pg_uuid_t *tenant, const pg_uuid_t *series, int level,
                      const MetricSamples *rows);

/* Time of the first sample in metric_hot, DT_NOEND when there is none: before it roll-ups say what samples do. */
int64 metric_hot_start(const pg_uuid_t *tenant, const pg_uuid_t *series);

/* Hands out what there is in [from, to), ascending, each time once. For level 0 rows of metric_hot are merged in. */
typedef void (*MetricSink)(void *state, const Chunk *chunk);
void metric_level_read(const pg_uuid_t *tenant, const pg_uuid_t *series, int level, int64 from,
                       int64 to, MetricSink sink, void *state);

#endif
