/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_bus.h -- ingest over Kafka for a measurement: two processes of its own beside those of the
 * instance, with its settings and its database.
 */
#ifndef PCTL_CLI_BENCH_BUS_H
#define PCTL_CLI_BENCH_BUS_H

#include <sys/types.h>

#include "cli/bench.h"
#include "cli/fleet.h"

/* All zero: straight to the database. */
struct bench_bus
{
	pid_t ingest, consumer;
	const char *listen; /* of this ingest */
};

/* Starts both and returns when results get through. *acked: what that took. */
struct bench_bus bench_bus_start(const struct bench_env *env, PGconn *conn, struct fleet *fleet,
                                 int64_t *acked);

/* Until the database has what was acknowledged; seconds that it took. */
double bench_bus_wait(PGconn *conn, const struct fleet *fleet);

/* CPU time used so far, microseconds, and resident memory, KiB. */
struct fleet_cost bench_bus_cost(pid_t pid);

void bench_bus_stop(const struct bench_bus *bus);

#endif
