/* SPDX-License-Identifier: PostgreSQL
 *
 * fleet.h -- tenants with enrolled agents for a measurement, what the processes they load cost,
 * and whether everything they delivered is there, once, and where it belongs.
 */
#ifndef PCTL_CLI_FLEET_H
#define PCTL_CLI_FLEET_H

#include <jansson.h>
#include <libpq-fe.h>
#include <sys/types.h>

#include "cli/home.h"
#include "cli/load.h"

struct fleet
{
	struct load_agent *agents; /* tenant by tenant */
	int tenants, agents_each;
	char **tenant_ids;
	char *slug; /* of tenant i: slug-i */
};

/*
 * Makes the tenants and enrols the agents as new machines would be. Keys are in a folder of the home
 * that goes with the process. Ends the process when that fails.
 */
struct fleet fleet_make(const struct home *home, PGconn *conn, const char *name, int tenants,
                        int agents_each);

/* New epochs for a next run; counts of the agents start from 0. */
void fleet_renew(struct fleet *fleet);

/* Of all tenants: rows there, less than acknowledged, more than once, in another tenant. */
struct fleet_check
{
	int64_t stored, lost, duplicated, misplaced;
};

/* Of agents whose acknowledged records are all those their tenants have. acked is theirs, all runs. */
struct fleet_check fleet_check(PGconn *conn, const struct fleet *fleet, const int64_t *acked);

/* CPU time used so far, microseconds, and memory (proportional set size, KiB) of a part of the home. */
struct fleet_cost
{
	int64_t cpu_us, pss_kib;
};

struct fleet_cost fleet_ingest_cost(const struct home *home);
struct fleet_cost fleet_postgres_cost(const struct home *home); /* the server and its children */

/* The server's processes, its own first. */
void fleet_postgres_each(const struct home *home, void (*each)(void *arg, pid_t pid), void *arg);

#endif
