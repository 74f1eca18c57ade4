/* SPDX-License-Identifier: PostgreSQL
 *
 * guc.h -- settings of the extension, one variable each; the table is in guc.c.
 */
#ifndef PCTL_GUC_H
#define PCTL_GUC_H

#include "postgres.h"

#define PCTL_AUDIT_DAYS_MIN            0
#define PCTL_AUDIT_DAYS_DEFAULT        0
#define PCTL_AUDIT_DAYS_MAX            36500
#define PCTL_CERTIFICATE_HOURS_MIN     1
#define PCTL_CERTIFICATE_HOURS_DEFAULT 24
#define PCTL_CERTIFICATE_HOURS_MAX     8760
#define PCTL_DERIVE_INTERVAL_MIN       10
#define PCTL_DERIVE_INTERVAL_DEFAULT   250
#define PCTL_DERIVE_INTERVAL_MAX       60000
#define PCTL_KEEPER_INTERVAL_MIN       1
#define PCTL_KEEPER_INTERVAL_DEFAULT   60
#define PCTL_KEEPER_INTERVAL_MAX       3600
#define PCTL_METRIC_SERIES_MIN         1
#define PCTL_METRIC_SERIES_DEFAULT     1000
#define PCTL_METRIC_SERIES_MAX         1000000
#define PCTL_METRIC_RAW_DEFAULT        15
#define PCTL_METRIC_MINUTE_DEFAULT     90
#define PCTL_METRIC_HOUR_DEFAULT       730
#define PCTL_PARTITIONS_AHEAD_MIN      1
#define PCTL_PARTITIONS_AHEAD_DEFAULT  2
#define PCTL_PARTITIONS_AHEAD_MAX      60
#define PCTL_REMOTE_INTERVAL_MIN       10
#define PCTL_REMOTE_INTERVAL_DEFAULT   1000
#define PCTL_REMOTE_INTERVAL_MAX       60000
#define PCTL_REMOTE_RETRY_MIN          1
#define PCTL_REMOTE_RETRY_DEFAULT      60
#define PCTL_REMOTE_RETRY_MAX          3600
#define PCTL_REMOTE_CACHE_MIN          1024
#define PCTL_REMOTE_CACHE_DEFAULT      262144
#define PCTL_REMOTE_CACHE_MAX          67108864
#define PCTL_RETENTION_DAYS_MIN        1
#define PCTL_RETENTION_DAYS_DEFAULT    14
#define PCTL_RETENTION_DAYS_MAX        3650
#define PCTL_SESSION_IDLE_MIN          1
#define PCTL_SESSION_IDLE_DEFAULT      120
#define PCTL_SESSION_IDLE_MAX          43200
#define PCTL_SESSION_MINUTES_MIN       5
#define PCTL_SESSION_MINUTES_DEFAULT   720
#define PCTL_SESSION_MINUTES_MAX       43200

extern int pctl_agent_certificate_hours;
extern int pctl_audit_retention;
extern char *pctl_clock;
extern int pctl_derive_interval;
extern int pctl_keeper_interval;
extern char *pctl_key_file;
extern int pctl_metric_agent_series;
extern int pctl_metric_hour_retention;
extern int pctl_metric_minute_retention;
extern int pctl_metric_raw_retention;
extern int pctl_partitions_ahead;
extern int pctl_remote_interval;
extern int pctl_remote_retry_max;
extern int pctl_remote_series_cache;
extern int pctl_result_retention;
extern int pctl_session_idle;
extern int pctl_session_lifetime;
extern char *pctl_principal_setting;
extern char *pctl_tenant_setting;

void pctl_guc_init(void);

#endif
