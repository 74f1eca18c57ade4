/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_ingest.c -- results from agents to committed rows: how many a second, how long
 * until the acknowledgement, and whether each is there exactly once.
 *
 * Two runs by agents of a tenant of its own: without a limit, which gives the rate, and at
 * a steady rate, which gives the latency of a system that is not full. Afterwards the rows are counted
 * and compared with what was acknowledged. Over Kafka (--brokers) the rate is that of the rows: it
 * counts until the last of what the broker acknowledged is stored. CPU time is taken from the processes, so that it
 * can be told apart from what the producers and the neighbours use.
 */
#include <stdio.h>

#include "cli/bench.h"
#include "cli/bench_bus.h"
#include "cli/db.h"
#include "cli/fleet.h"
#include "cli/util.h"

#define AGENTS          10
#define SECONDS_DEFAULT 10
#define PACED_RATE      10000

/* ---- the runs ---- */

struct run
{
	struct load_figures figures;
	double stored_per_s;           /* results a second, to the last row */
	double ingest_us, postgres_us; /* CPU for one result */
	double consumer_us;            /* over Kafka */
	int64_t ingest_kib;
};

static struct fleet_cost
ingest_cost(const struct home *home, const struct bench_bus *bus)
{
	return bus->ingest != 0 ? bench_bus_cost(bus->ingest) : fleet_ingest_cost(home);
}

static struct run
run_one(const struct bench_env *env, const struct bench_bus *bus, PGconn *conn, struct fleet *fleet,
        int64_t seconds, int64_t rate)
{
	const struct home *home = env->home;
	struct load_plan plan = {.listen = bus->listen ? bus->listen : home_text(home, "ingest_listen"),
	                         .ca_file = home_path(home, "pki/ca.pem"),
	                         .agents = fleet->agents,
	                         .agent_count = AGENTS,
	                         .seconds = seconds,
	                         .rate = rate,
	                         .first_batch = rate ? UINT64_C(1) << 32 : 0};
	int64_t ingest_us = ingest_cost(home, bus).cpu_us,
	        consumer_us = bench_bus_cost(bus->consumer).cpu_us;
	int64_t postgres_us = fleet_postgres_cost(home).cpu_us;
	struct fleet_cost after;
	struct run run = {0};
	double behind = 0;
	char err[512];

	fleet_renew(fleet);
	if (!load_run(&plan, &run.figures, err, sizeof(err)))
		util_fail(EXIT_CANNOT, "bench ingest: %s", err);
	if (run.figures.results == 0)
		util_fail(EXIT_CANNOT, "bench ingest: nothing was acknowledged");
	after = ingest_cost(home, bus);
	if (bus->consumer != 0)
	{
		behind = bench_bus_wait(conn, fleet);
		run.consumer_us = (double) (bench_bus_cost(bus->consumer).cpu_us - consumer_us) /
		                  (double) run.figures.results;
	}
	run.stored_per_s = (double) run.figures.results / (run.figures.seconds + behind);
	run.ingest_us = (double) (after.cpu_us - ingest_us) / (double) run.figures.results;
	run.ingest_kib = after.pss_kib;
	run.postgres_us = (double) (fleet_postgres_cost(home).cpu_us - postgres_us) /
	                  (double) run.figures.results;
	return run;
}

static void
put_real(json_t *out, const char *key, double value)
{
	json_object_set_new(out, key, json_real(value));
}

static void
figures_put(json_t *out, const struct bench_bus *bus, const struct run *full,
            const struct run *paced)
{
	put_real(out, "results_per_s", full->stored_per_s);
	json_object_set_new(out, "bus", json_string(bus->consumer != 0 ? "kafka" : "memory"));
	if (bus->consumer != 0)
	{
		put_real(out, "acked_per_s", full->figures.results_per_s);
		put_real(out, "consumer_cpu_us_per_result", full->consumer_us);
	}
	put_real(out, "p95_ack_ms", full->figures.ack_ms_p95);
	put_real(out, "p50_ack_ms", full->figures.ack_ms_p50);
	put_real(out, "p99_ack_ms", full->figures.ack_ms_p99);
	json_object_set_new(out, "paced_results_per_s", json_integer(PACED_RATE));
	put_real(out, "paced_p95_ack_ms", paced->figures.ack_ms_p95);
	put_real(out, "paced_p99_ack_ms", paced->figures.ack_ms_p99);
	put_real(out, "ingest_cpu_us_per_result", full->ingest_us);
	put_real(out, "postgres_cpu_us_per_result", full->postgres_us);
	put_real(out, "producers_cpu_us_per_result",
	         full->figures.cpu_seconds * 1e6 / (double) full->figures.results);
	put_real(out, "ingest_pss_mb", (double) full->ingest_kib / 1024);
	json_object_set_new(out, "agents", json_integer(AGENTS));
	json_object_set_new(out, "batch", json_integer(LOAD_BATCH_RECORDS));
	json_object_set_new(out, "record_bytes", json_integer((json_int_t) full->figures.record_bytes));
	put_real(out, "seconds", full->figures.seconds);
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t seconds = env->seconds ? env->seconds : SECONDS_DEFAULT;
	PGconn *conn = db_connect(env->home, HOME_DATABASE);
	struct fleet fleet = fleet_make(env->home, conn, "ingest", 1, AGENTS);
	struct fleet_check check;
	struct bench_bus bus = {0};
	struct run full, paced;
	int64_t acked, warm = 0;

	if (!env->private)
		fprintf(stderr, "bench: the results stay in the tenant %s-0\n", fleet.slug);
	fprintf(stderr, "bench: %d agents, %lld s without a limit, %lld s at %d results/s\n", AGENTS,
	        (long long) seconds, (long long) seconds, PACED_RATE);
	if (env->brokers != NULL)
		bus = bench_bus_start(env, conn, &fleet, &warm);
	full = run_one(env, &bus, conn, &fleet, seconds, 0);
	paced = run_one(env, &bus, conn, &fleet, seconds, PACED_RATE);
	acked = (int64_t) (full.figures.results + paced.figures.results) + warm;
	check = fleet_check(conn, &fleet, &acked);
	figures_put(out, &bus, &full, &paced);
	json_object_set_new(out, "lost", json_integer(check.lost));
	json_object_set_new(out, "duplicated", json_integer(check.duplicated));
	PQfinish(conn);
	bench_bus_stop(&bus);
}

const struct bench bench_ingest = {
    .name = "ingest",
    .summary = "results from agents to committed rows",
    .run = run,
};
