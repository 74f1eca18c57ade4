/* SPDX-License-Identifier: PostgreSQL
 *
 * guc.c -- the settings of the extension, alphabetically, in one list.
 *
 * probectl.tenant_id and probectl.principal stand here with the others, but they are no settings a person can make:
 * their check hooks (tenant/context.c) refuse every value that C did not just bind.
 */
#include "core/guc.h"

#include "core/clock.h"
#include "tenant/context.h"
#include "utils/guc.h"

int pctl_agent_certificate_hours = PCTL_CERTIFICATE_HOURS_DEFAULT;
int pctl_audit_retention = PCTL_AUDIT_DAYS_DEFAULT;
char *pctl_clock = NULL;
int pctl_derive_interval = PCTL_DERIVE_INTERVAL_DEFAULT;
int pctl_keeper_interval = PCTL_KEEPER_INTERVAL_DEFAULT;
char *pctl_key_file = NULL;
int pctl_metric_agent_series = PCTL_METRIC_SERIES_DEFAULT;
int pctl_metric_hour_retention = PCTL_METRIC_HOUR_DEFAULT;
int pctl_metric_minute_retention = PCTL_METRIC_MINUTE_DEFAULT;
int pctl_metric_raw_retention = PCTL_METRIC_RAW_DEFAULT;
int pctl_partitions_ahead = PCTL_PARTITIONS_AHEAD_DEFAULT;
int pctl_remote_interval = PCTL_REMOTE_INTERVAL_DEFAULT;
int pctl_remote_retry_max = PCTL_REMOTE_RETRY_DEFAULT;
int pctl_remote_series_cache = PCTL_REMOTE_CACHE_DEFAULT;
int pctl_result_retention = PCTL_RETENTION_DAYS_DEFAULT;
int pctl_session_idle = PCTL_SESSION_IDLE_DEFAULT;
int pctl_session_lifetime = PCTL_SESSION_MINUTES_DEFAULT;
char *pctl_principal_setting = NULL;
char *pctl_tenant_setting = NULL;

/* Defines every setting, then reserves the prefix so that a misspelt one is an error. */
void
pctl_guc_init(void)
{
	DefineCustomIntVariable(
	    "probectl.agent_certificate_lifetime", "Lifetime of an agent's certificate.", NULL,
	    &pctl_agent_certificate_hours, PCTL_CERTIFICATE_HOURS_DEFAULT, PCTL_CERTIFICATE_HOURS_MIN,
	    PCTL_CERTIFICATE_HOURS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("probectl.audit_retention",
	                        "Number of days that audit events are kept; 0 keeps them for ever.",
	                        NULL, &pctl_audit_retention, PCTL_AUDIT_DAYS_DEFAULT,
	                        PCTL_AUDIT_DAYS_MIN, PCTL_AUDIT_DAYS_MAX, PGC_SIGHUP, 0, NULL, NULL,
	                        NULL);
	DefineCustomStringVariable("probectl.clock", "Fixed time that replaces the clock, for tests.",
	                           "Empty means the real clock.", &pctl_clock, "", PGC_SUSET,
	                           GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, pctl_clock_check,
	                           pctl_clock_assign, NULL);
	DefineCustomIntVariable("probectl.derive_interval",
	                        "Shortest time between two passes over newly committed batches.", NULL,
	                        &pctl_derive_interval, PCTL_DERIVE_INTERVAL_DEFAULT,
	                        PCTL_DERIVE_INTERVAL_MIN, PCTL_DERIVE_INTERVAL_MAX, PGC_SIGHUP,
	                        GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.keeper_interval", "Time between two passes of partition and retention upkeep.",
	    NULL, &pctl_keeper_interval, PCTL_KEEPER_INTERVAL_DEFAULT, PCTL_KEEPER_INTERVAL_MIN,
	    PCTL_KEEPER_INTERVAL_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable(
	    "probectl.key_file", "File with the 32-byte envelope key, relative to the data directory.",
	    "Created with a random key when absent.", &pctl_key_file, "probectl.key", PGC_POSTMASTER,
	    GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("probectl.metric_agent_series",
	                        "Number of series of one agent that may have samples of the last day.",
	                        NULL, &pctl_metric_agent_series, PCTL_METRIC_SERIES_DEFAULT,
	                        PCTL_METRIC_SERIES_MIN, PCTL_METRIC_SERIES_MAX, PGC_SIGHUP, 0, NULL,
	                        NULL, NULL);
	DefineCustomIntVariable("probectl.metric_hour_retention",
	                        "Number of days that metrics are kept as one row an hour.", NULL,
	                        &pctl_metric_hour_retention, PCTL_METRIC_HOUR_DEFAULT,
	                        PCTL_RETENTION_DAYS_MIN, PCTL_RETENTION_DAYS_MAX, PGC_SIGHUP, 0, NULL,
	                        NULL, NULL);
	DefineCustomIntVariable("probectl.metric_minute_retention",
	                        "Number of days that metrics are kept as one row a minute.", NULL,
	                        &pctl_metric_minute_retention, PCTL_METRIC_MINUTE_DEFAULT,
	                        PCTL_RETENTION_DAYS_MIN, PCTL_RETENTION_DAYS_MAX, PGC_SIGHUP, 0, NULL,
	                        NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.metric_raw_retention", "Number of days that samples of metrics are kept.", NULL,
	    &pctl_metric_raw_retention, PCTL_METRIC_RAW_DEFAULT, PCTL_RETENTION_DAYS_MIN,
	    PCTL_RETENTION_DAYS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.partitions_ahead", "Number of day partitions made ahead of today.", NULL,
	    &pctl_partitions_ahead, PCTL_PARTITIONS_AHEAD_DEFAULT, PCTL_PARTITIONS_AHEAD_MIN,
	    PCTL_PARTITIONS_AHEAD_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("probectl.principal",
	                           "Who this transaction works for; set by the enter functions only.",
	                           NULL, &pctl_principal_setting, "", PGC_SUSET,
	                           GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE |
	                               GUC_DISALLOW_IN_FILE | GUC_SUPERUSER_ONLY,
	                           pctl_principal_setting_check, pctl_principal_setting_assign, NULL);
	DefineCustomIntVariable(
	    "probectl.remote_interval", "Time between two looks for samples to send by remote write.",
	    NULL, &pctl_remote_interval, PCTL_REMOTE_INTERVAL_DEFAULT, PCTL_REMOTE_INTERVAL_MIN,
	    PCTL_REMOTE_INTERVAL_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("probectl.remote_retry_max",
	                        "Longest pause before a target of remote write is tried again.", NULL,
	                        &pctl_remote_retry_max, PCTL_REMOTE_RETRY_DEFAULT,
	                        PCTL_REMOTE_RETRY_MIN, PCTL_REMOTE_RETRY_MAX, PGC_SIGHUP, GUC_UNIT_S,
	                        NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.remote_series_cache",
	    "Number of series of remote write that are remembered, for all tenants together.",
	    "64 bytes of shared memory each; rounded up to a power of two.", &pctl_remote_series_cache,
	    PCTL_REMOTE_CACHE_DEFAULT, PCTL_REMOTE_CACHE_MIN, PCTL_REMOTE_CACHE_MAX, PGC_POSTMASTER, 0,
	    NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.result_retention", "Number of days that full results are kept.", NULL,
	    &pctl_result_retention, PCTL_RETENTION_DAYS_DEFAULT, PCTL_RETENTION_DAYS_MIN,
	    PCTL_RETENTION_DAYS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("probectl.session_idle",
	                        "Time without a request after which a signed-in session ends.", NULL,
	                        &pctl_session_idle, PCTL_SESSION_IDLE_DEFAULT, PCTL_SESSION_IDLE_MIN,
	                        PCTL_SESSION_IDLE_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable(
	    "probectl.session_lifetime", "Time after which a signed-in session ends.", NULL,
	    &pctl_session_lifetime, PCTL_SESSION_MINUTES_DEFAULT, PCTL_SESSION_MINUTES_MIN,
	    PCTL_SESSION_MINUTES_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomStringVariable(
	    "probectl.tenant_id",
	    "Tenant this transaction is bound to; set by the enter functions only.", NULL,
	    &pctl_tenant_setting, "", PGC_SUSET,
	    GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
	    pctl_tenant_setting_check, pctl_tenant_setting_assign, NULL);
	MarkGUCPrefixReserved("probectl");
}
