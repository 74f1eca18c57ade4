/* SPDX-License-Identifier: PostgreSQL
 *
 * run.h -- what one stored result measured, as samples: success, duration and one a metric, at the time the run started.
 */
#ifndef PCTL_METRIC_RUN_H
#define PCTL_METRIC_RUN_H

#include "postgres.h"

#include "metric/series.h"

struct TupleTableSlot;

/* Of probectl.result, from 1: what pctl_part_scan compares. */
#define METRIC_RUN_TENANT_COLUMN 1

typedef struct MetricRun
{
	MetricSource source;
	TimestampTz at;
	bool success;
	double seconds;
	Datum metrics; /* jsonb */
} MetricRun;

/* Reads a row of probectl.result. Texts are made in the current context; metrics points into the row. */
void metric_run_read(MetricRun *run, const pg_uuid_t *tenant, struct TupleTableSlot *slot);

/* How many samples it is. */
int64 metric_run_samples(const MetricRun *run);

/* metric is METRIC_OF_SUCCESS or METRIC_OF_DURATION with len -1 or -2, else a name of len bytes without an end. */
typedef void (*MetricRunValue)(void *state, const MetricRun *run, const char *metric, int len,
                               double value);
void metric_run_each(const MetricRun *run, MetricRunValue value, void *state);

#endif
