/* SPDX-License-Identifier: PostgreSQL
 *
 * series.h -- what a series is called, what its identifier is, and making one within the limits.
 */
#ifndef PCTL_METRIC_SERIES_H
#define PCTL_METRIC_SERIES_H

#include "postgres.h"

#include "core/crypto.h"
#include "core/limits.h"
#include "datatype/timestamp.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define PCTL_METRIC_LABELS_MAX PCTL_REMOTE_LABELS_MAX
#define PCTL_METRIC_PREFIX     "probectl_probe_"

typedef struct MetricLabel
{
	const char *name, *value;
} MetricLabel;

typedef struct MetricSeries
{
	pg_uuid_t id, tenant, agent, test;
	bool of_agent; /* it has an agent and a test, and counts against the agent's limit */
	char *name;
	MetricLabel labels[PCTL_METRIC_LABELS_MAX]; /* by name, ascending */
	int label_count;
	uint8 hash[PCTL_SHA256_LEN];
} MetricSeries;

/* What a run of a test is known by. */
typedef struct MetricSource
{
	pg_uuid_t tenant, agent, test;
	const char *type, *target;
	int32 port;
} MetricSource;

/* The two series every run has; any other is named by its metric. */
#define METRIC_OF_SUCCESS  ((const char *) NULL)
#define METRIC_OF_DURATION ((const char *) -1)

/* Names, labels and identifier of one metric of a run. Lives in the current context. */
MetricSeries *metric_series_make(const MetricSource *source, const char *metric);

/* The same for a series that says its own name and labels: both as they are, labels ascending and none of them tenant_id, which
 * is added. Texts are not copied. */
MetricSeries *metric_series_named(const pg_uuid_t *tenant, char *name, const MetricLabel *labels,
                                  int label_count);

/* A series of the registry. */
typedef struct MetricRegistered
{
	pg_uuid_t id;
	TimestampTz ended; /* DT_NOEND when it has not */
} MetricRegistered;

/* Those of the tenant's series that the registry has, by identifier; ids are sorted. Reads what is committed now. In the current
 * context. */
HTAB *metric_series_registered(const pg_uuid_t *tenant, pg_uuid_t *ids, int count);

typedef enum MetricAdmission
{
	METRIC_ADMITTED,
	METRIC_REFUSED_AGENT, /* the agent has as many as it may have */
	METRIC_REFUSED_TENANT /* the tenant has */
} MetricAdmission;

/* The limits, locked; one a transaction. */
typedef struct MetricQuota
{
	bool open;
	int64 room; /* of the tenant */
	/* Of the agent that was asked about last: one that invents names asks for each of them. */
	bool agent_known;
	pg_uuid_t agent;
	int64 agent_room;
	const MetricSeries **admitted; /* not written yet */
	int admitted_count;
} MetricQuota;

/* Locks the tenant's limit until the end of the transaction: what another one registered before is seen by what is asked next. */
void metric_quota_lock(MetricQuota *quota, const pg_uuid_t *tenant);

/* Writes what was admitted, and counts it. Inside SPI, trusted. */
void metric_quota_write(MetricQuota *quota, const pg_uuid_t *tenant, TimestampTz now);

/* Takes a series that is not in the registry; it lives until metric_quota_write(). Inside SPI, trusted. */
MetricAdmission metric_series_admit(MetricQuota *quota, const MetricSeries *series,
                                    TimestampTz now);

#endif
