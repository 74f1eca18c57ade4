/* SPDX-License-Identifier: PostgreSQL
 *
 * stats.c -- the table behind stats.h. Rows of one family stand together.
 */
#include "ingest/stats.h"

#include "lib/log.h"

#define REFUSED(reason)                                                                            \
	METRIC_COUNTER("probectl_ingest_refused_total", "reason=\"" reason "\"",                       \
	               "Connections, calls and batches that were refused.")
#define CALLS(method)                                                                              \
	METRIC_COUNTER("probectl_ingest_calls_total", "method=\"" method "\"",                         \
	               "Calls that passed the identity check.")

#define BUS_FAILED(reason)                                                                         \
	METRIC_COUNTER("probectl_ingest_bus_failures_total", "reason=\"" reason "\"",                  \
	               "Batches the bus did not take; their agents have them still.")
#define DEAD(reason)                                                                               \
	METRIC_COUNTER("probectl_ingest_dead_letters_total", "reason=\"" reason "\"",                  \
	               "Batches from the bus that became dead letters.")

struct metric stats[STATS] = {
    [STAT_BATCHES_RECEIVED] = METRIC_COUNTER("probectl_ingest_batches_received_total", NULL,
                                             "Batches read from producers."),
    [STAT_BATCHES_COMMITTED] = METRIC_COUNTER("probectl_ingest_batches_committed_total", NULL,
                                              "Batches whose commit was confirmed."),
    [STAT_GROUPS] = METRIC_COUNTER("probectl_ingest_shared_transactions_total", NULL,
                                   "Transactions sent with batches of several agents."),
    [STAT_RECORDS_COMMITTED] = METRIC_COUNTER("probectl_ingest_records_total",
                                              "reason=\"committed\"", "Records by fate."),
    [STAT_RECORDS_DUPLICATE] = METRIC_COUNTER("probectl_ingest_records_total",
                                              "reason=\"duplicate\"", "Records by fate."),
    [STAT_RECORDS_DEAD_LETTERED] = METRIC_COUNTER("probectl_ingest_records_total",
                                                  "reason=\"dead_lettered\"", "Records by fate."),
    [STAT_REFUSED_HANDSHAKE] = REFUSED("handshake"),
    [STAT_REFUSED_NO_SPIFFE_ID] = REFUSED("no_spiffe_id"),
    [STAT_REFUSED_SEVERAL_URIS] = REFUSED("several_uris"),
    [STAT_REFUSED_MALFORMED_ID] = REFUSED("malformed_spiffe_id"),
    [STAT_REFUSED_BAD_CERTIFICATE] = REFUSED("bad_certificate"),
    [STAT_REFUSED_EXPIRED] = REFUSED("certificate_expired"),
    [STAT_REFUSED_IDENTITY] = REFUSED("unknown_or_revoked"),
    [STAT_REFUSED_NOT_PERMITTED] = REFUSED("not_permitted"),
    [STAT_REFUSED_CONFIG_PUSH] = REFUSED("config_push"),
    [STAT_REFUSED_BAD_MESSAGE] = REFUSED("bad_message"),
    [STAT_REFUSED_TOO_LARGE] = REFUSED("too_large_or_cut_off"),
    [STAT_REFUSED_BAD_BATCH] = REFUSED("bad_batch"),
    [STAT_REFUSED_OLD_EPOCH] = REFUSED("old_epoch"),
    [STAT_REFUSED_QUOTA] = REFUSED("quota"),
    [STAT_REFUSED_LIMIT] = REFUSED("limit"),
    [STAT_REFUSED_UNAVAILABLE] = REFUSED("unavailable"),
    [STAT_REFUSED_UNKNOWN_METHOD] = REFUSED("unknown_method"),
    [STAT_REFUSED_NOT_FOUND] = REFUSED("not_found"),
    [STAT_BUS_FAILED_TIMEOUT] = BUS_FAILED("timeout"),
    [STAT_BUS_FAILED_TOO_LARGE] = BUS_FAILED("too_large"),
    [STAT_BUS_FAILED_QUEUE] = BUS_FAILED("queue_full"),
    [STAT_BUS_FAILED_NOT_READY] = BUS_FAILED("not_ready"),
    [STAT_BUS_FAILED_OTHER] = BUS_FAILED("other"),
    [STAT_DEAD_NO_IDENTITY] = DEAD("no_identity"),
    [STAT_DEAD_BAD_SEAL] = DEAD("bad_seal"),
    [STAT_DEAD_WRONG_TOPIC] = DEAD("wrong_topic"),
    [STAT_DEAD_IDENTITY] = DEAD("identity_refused"),
    [STAT_DEAD_TENANT] = DEAD("tenant_not_active"),
    [STAT_DEAD_NOT_FOUND] = DEAD("not_found"),
    [STAT_DEAD_OLD_EPOCH] = DEAD("old_epoch"),
    [STAT_DEAD_BAD_BATCH] = DEAD("bad_batch"),
    [STAT_DEAD_FAULT] = DEAD("fault"),
    [STAT_BUS_PRODUCED] = METRIC_COUNTER("probectl_ingest_bus_produced_total", NULL,
                                         "Batches every in-sync replica of the bus has."),
    [STAT_BUS_FENCED] = METRIC_COUNTER(
        "probectl_ingest_bus_fenced_total", NULL,
        "Transactions that stored nothing, because another consumer has the partition."),
    [STAT_BUS_GAPS] = METRIC_COUNTER("probectl_ingest_bus_gaps_total", NULL,
                                     "Times a partition did not go on where it was stored to."),
    [STAT_BUS_HELD] = METRIC_COUNTER("probectl_ingest_bus_held_total", NULL,
                                     "Times a partition waited for the budget of a tenant."),
    [STAT_BUS_REBALANCES] = METRIC_COUNTER("probectl_ingest_bus_rebalances_total", NULL,
                                           "Changes of the partitions this consumer has."),
    [STAT_BUS_READY] = METRIC_GAUGE("probectl_ingest_bus_ready", NULL,
                                    "1 when cluster, layout and topics of the bus are in order."),
    [STAT_BUS_PARTITIONS] = METRIC_GAUGE("probectl_ingest_bus_partitions", NULL,
                                         "Partitions this consumer works on."),
    [STAT_BUS_LAG] = METRIC_GAUGE("probectl_ingest_bus_lag", NULL,
                                  "Records in these partitions that are not stored."),
    [STAT_CUT] = METRIC_COUNTER("probectl_ingest_cut_total", NULL,
                                "Live calls that were cut because the agent lost its right."),
    [STAT_ENTRY_CHECKS] = METRIC_COUNTER("probectl_ingest_entry_checks_total", NULL,
                                         "Questions whether a live call may go on."),
    [STAT_IDENTITY_MISMATCH] = METRIC_COUNTER(
        "probectl_ingest_identity_mismatch_total", NULL,
        "Bodies that named another agent; the certificate's was used."),
    [STAT_CALLS_REGISTER] = CALLS("Register"),
    [STAT_CALLS_ATTEST] = CALLS("Attest"),
    [STAT_CALLS_HEARTBEAT] = CALLS("Heartbeat"),
    [STAT_CALLS_CONFIG] = CALLS("StreamConfig"),
    [STAT_CALLS_RESULTS] = CALLS("StreamResults"),
    [STAT_CALLS_TESTS] = CALLS("PullTests"),
    [STAT_CALLS_MEET] = CALLS("Meet"),
    [STAT_CALLS_ROTATE] = CALLS("Rotate"),
    [STAT_DB_RECONNECTS] = METRIC_COUNTER("probectl_ingest_database_connects_total", NULL,
                                          "Connections to the database that became usable."),
    [STAT_DB_FAULTS] = METRIC_COUNTER("probectl_ingest_database_faults_total", NULL,
                                      "Statements that failed for a reason no producer caused."),
    [STAT_STREAMS] = METRIC_GAUGE("probectl_ingest_streams", NULL,
                                  "StreamResults calls that are open."),
    [STAT_WAITERS] = METRIC_GAUGE("probectl_ingest_waiters", NULL,
                                  "PullTests calls that wait for a change."),
    [STAT_MEMORY_BYTES] = METRIC_GAUGE("probectl_ingest_queued_bytes", NULL,
                                       "Bytes of batches that are not committed."),
    [STAT_STARVED] = METRIC_GAUGE(
        "probectl_ingest_starved_streams", NULL,
        "Streams that are not read because limits.memory_bytes is reached."),
    [STAT_DB_CONNECTIONS] = METRIC_GAUGE("probectl_ingest_database_connections", NULL,
                                         "Connections to the database that are usable."),
};

static struct log_limit stats_limits[STATS];

bool
stats_refused(enum stat reason, uint64_t *held)
{
	stat_add(reason, 1);
	*held = 0;
	return log_enabled(LOG_LEVEL_WARNING) && log_limit_pass(&stats_limits[reason], held);
}

void
stats_start(void)
{
	metrics_register(stats, STATS);
}
