/* SPDX-License-Identifier: PostgreSQL
 *
 * stats.h -- what the ingest process counts. The table is in stats.c; any thread
 * may bump a row. Nothing here names a tenant or an agent.
 */
#ifndef PCTL_INGEST_STATS_H
#define PCTL_INGEST_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/metrics.h"

enum stat
{
	STAT_BATCHES_RECEIVED,
	STAT_BATCHES_COMMITTED,
	STAT_GROUPS,
	STAT_RECORDS_COMMITTED,
	STAT_RECORDS_DUPLICATE,
	STAT_RECORDS_DEAD_LETTERED,

	/* refused, by reason */
	STAT_REFUSED_HANDSHAKE,
	STAT_REFUSED_NO_SPIFFE_ID,
	STAT_REFUSED_SEVERAL_URIS,
	STAT_REFUSED_MALFORMED_ID,
	STAT_REFUSED_BAD_CERTIFICATE,
	STAT_REFUSED_EXPIRED,
	STAT_REFUSED_IDENTITY,
	STAT_REFUSED_NOT_PERMITTED,
	STAT_REFUSED_CONFIG_PUSH,
	STAT_REFUSED_BAD_MESSAGE,
	STAT_REFUSED_TOO_LARGE,
	STAT_REFUSED_BAD_BATCH,
	STAT_REFUSED_OLD_EPOCH,
	STAT_REFUSED_QUOTA,
	STAT_REFUSED_LIMIT,
	STAT_REFUSED_UNAVAILABLE,
	STAT_REFUSED_UNKNOWN_METHOD,
	STAT_REFUSED_NOT_FOUND,

	/* batches the bus did not take, by reason */
	STAT_BUS_FAILED_TIMEOUT,
	STAT_BUS_FAILED_TOO_LARGE,
	STAT_BUS_FAILED_QUEUE,
	STAT_BUS_FAILED_NOT_READY,
	STAT_BUS_FAILED_OTHER,
	/* batches from the bus that became dead letters, by reason */
	STAT_DEAD_NO_IDENTITY,
	STAT_DEAD_BAD_SEAL,
	STAT_DEAD_WRONG_TOPIC,
	STAT_DEAD_IDENTITY,
	STAT_DEAD_TENANT,
	STAT_DEAD_NOT_FOUND,
	STAT_DEAD_OLD_EPOCH,
	STAT_DEAD_BAD_BATCH,
	STAT_DEAD_FAULT,
	STAT_BUS_PRODUCED,
	STAT_BUS_FENCED,
	STAT_BUS_GAPS,
	STAT_BUS_HELD,
	STAT_BUS_REBALANCES,
	STAT_BUS_READY,
	STAT_BUS_PARTITIONS,
	STAT_BUS_LAG,

	STAT_CUT,
	STAT_ENTRY_CHECKS,
	STAT_IDENTITY_MISMATCH,
	STAT_CALLS_REGISTER,
	STAT_CALLS_ATTEST,
	STAT_CALLS_HEARTBEAT,
	STAT_CALLS_CONFIG,
	STAT_CALLS_RESULTS,
	STAT_CALLS_TESTS,
	STAT_CALLS_MEET,
	STAT_CALLS_ROTATE,
	STAT_DB_RECONNECTS,
	STAT_DB_FAULTS,

	STAT_STREAMS,
	STAT_WAITERS,
	STAT_MEMORY_BYTES,
	STAT_STARVED,
	STAT_DB_CONNECTIONS,
	STATS,
};

extern struct metric stats[STATS];

static inline void
stat_add(enum stat which, int64_t n)
{
	metric_add(&stats[which], n);
}

/* Counts a refusal and says whether it may be logged now: one line per reason and
 * LOG_LIMIT_SECONDS, so that one noisy producer does not hide another kind of trouble.
 * *held is the number of lines that were held back. */
bool stats_refused(enum stat reason, uint64_t *held);

/* Registers the table. */
void stats_start(void);

#endif
