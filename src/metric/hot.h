/* SPDX-License-Identifier: PostgreSQL
 *
 * hot.h -- the table metric_hot: samples as they came, of many series in a row. Inside SPI, trusted.
 */
#ifndef PCTL_METRIC_HOT_H
#define PCTL_METRIC_HOT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "metric/samples.h"
#include "utils/uuid.h"

/* Rows are of one bucket: series that begin with the same bits. */
#define METRIC_HOT_BITS    6
#define METRIC_HOT_BUCKETS (1 << METRIC_HOT_BITS)

/* Samples on their way into the table, for one transaction. Nothing looks whether the series are there: the caller knows them. */
typedef struct MetricHot MetricHot;
MetricHot *metric_hot_begin(const pg_uuid_t *tenant, TimestampTz now);
/* Samples in order; series in any. Of equal times of a series the one that was added last holds. */
void metric_hot_add(MetricHot *hot, const pg_uuid_t *series, const MetricSamples *samples);
/* Frees everything; number of samples. */
int64 metric_hot_end(MetricHot *hot);

/* What compaction takes out of a bucket. */
typedef struct MetricHotTaken MetricHotTaken;
/* The rows are gone; of those that do not decode the number is added. */
MetricHotTaken *metric_hot_take(const pg_uuid_t *tenant, int16 bucket, int64 *damaged);
/* Next series, and its samples in order, in the current context; false at the end. */
bool metric_hot_taken_next(MetricHotTaken *taken, pg_uuid_t *series, MetricSamples *samples,
                           int64 *damaged);
void metric_hot_taken_end(MetricHotTaken *taken);

/* Rows of [from, to) as one snapshot sees them. Those of a bucket are kept from the second series of it on, so that a query of many
 * series does not read them for each. */
typedef struct MetricHotView MetricHotView;
/* The one in *kept, which lives in the context, made or emptied unless it is good for this. fresh: sees what is committed now, else
 * what the active snapshot does. */
MetricHotView *metric_hot_view(MetricHotView **kept, MemoryContext context, const pg_uuid_t *tenant,
                               int64 from, int64 to, bool fresh);
/* Adds the samples of a series, in order. Rows may hold some outside of the range as well. A row that does not decode is left out:
 * compaction says so. */
void metric_hot_read(MetricHotView *view, const pg_uuid_t *series, MetricSamples *samples);

#endif
