/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_fairness.c -- what a quiet tenant notices of a loud one: its time to the acknowledgement
 * alone, and beside a tenant that sends fifty times as much.
 *
 * Pairs of runs, alone and beside the flood, in turns so that both see the same machine; the ratio
 * is the median of the pairs'. The flood is a process of its own.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/fleet.h"
#include "cli/util.h"

#define PAIRS           3
#define SECONDS_DEFAULT 6
#define QUIET_AGENTS    5
#define QUIET_RATE      100
#define FLOOD_AGENTS    20
#define FLOOD_FACTOR    50
#define BATCH           10

static struct load_plan
plan_of(const struct home *home, struct fleet *fleet, int64_t seconds, int64_t rate,
        uint64_t first_batch)
{
	fleet_renew(fleet);
	return (struct load_plan){.listen = home_text(home, "ingest_listen"),
	                          .ca_file = home_path(home, "pki/ca.pem"),
	                          .agents = fleet->agents,
	                          .agent_count = fleet->agents_each,
	                          .seconds = seconds,
	                          .first_batch = first_batch,
	                          .rate = rate,
	                          .batch = BATCH};
}

/* Sends until it is ended; tells through the pipe that it has begun, and how much was taken. */
static void
flood_run(const struct home *home, struct fleet *fleet, uint64_t first_batch, int64_t seconds,
          int report)
{
	struct load_plan plan = plan_of(home, fleet, seconds, (int64_t) QUIET_RATE * FLOOD_FACTOR,
	                                first_batch);
	struct load_figures figures = {0};
	char err[512];
	bool done = load_run(&plan, &figures, err, sizeof(err));

	if (!done)
		fprintf(stderr, "bench fairness: the flood: %s\n", err);
	if (!done || write(report, &figures, sizeof(figures)) != sizeof(figures))
		_exit(1);
	_exit(0);
}

static struct load_figures
quiet_run(const struct home *home, struct fleet *fleet, uint64_t first_batch, int64_t seconds)
{
	struct load_plan plan = plan_of(home, fleet, seconds, QUIET_RATE, first_batch);
	struct load_figures figures;
	char err[512];

	if (!load_run(&plan, &figures, err, sizeof(err)))
		util_fail(EXIT_CANNOT, "bench fairness: %s", err);
	return figures;
}

/* The flood begins before the quiet one and ends after it. */
static struct load_figures
beside_run(const struct home *home, struct fleet *quiet, struct fleet *loud, uint64_t first_batch,
           int64_t seconds, struct load_figures *flood)
{
	struct load_figures figures;
	int report[2], status;
	pid_t pid;

	if (pipe(report) != 0 || fflush(NULL) != 0 || (pid = fork()) < 0)
		util_fail(EXIT_CANNOT, "bench fairness: could not start the flood");
	if (pid == 0)
		flood_run(home, loud, first_batch + (UINT64_C(1) << 31), seconds + 2, report[1]);
	close(report[1]);
	figures = quiet_run(home, quiet, first_batch, seconds);
	if (read(report[0], flood, sizeof(*flood)) != sizeof(*flood) ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		util_fail(EXIT_CANNOT, "bench fairness: the flood failed");
	close(report[0]);
	return figures;
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t seconds = env->seconds ? env->seconds : SECONDS_DEFAULT;
	PGconn *conn = db_connect(env->home, HOME_DATABASE);
	struct fleet quiet = fleet_make(env->home, conn, "quiet", 1, QUIET_AGENTS);
	struct fleet loud = fleet_make(env->home, conn, "loud", 1, FLOOD_AGENTS);
	double alone[PAIRS], beside[PAIRS], ratio[PAIRS], flooded = 0;
	struct fleet_check check;
	int64_t acked = 0;

	for (int i = 0; i < PAIRS; i++)
	{
		uint64_t first = (uint64_t) (i + 1) << 33;
		struct load_figures flood, one = quiet_run(env->home, &quiet, first, seconds);
		struct load_figures two = beside_run(env->home, &quiet, &loud, first + (UINT64_C(1) << 32),
		                                     seconds, &flood);

		alone[i] = one.ack_ms_p95;
		beside[i] = two.ack_ms_p95;
		ratio[i] = two.ack_ms_p95 / one.ack_ms_p95;
		flooded += flood.results_per_s / PAIRS;
		acked += (int64_t) (one.results + two.results);
		fprintf(stderr, "bench: p95 %.2f ms alone, %.2f ms beside %.0f results/s\n", alone[i],
		        beside[i], flood.results_per_s);
	}
	check = fleet_check(conn, &quiet, &acked);
	json_object_set_new(out, "p95_ratio", json_real(bench_percentile(ratio, PAIRS, 0.5)));
	json_object_set_new(out, "alone_p95_ack_ms", json_real(bench_percentile(alone, PAIRS, 0.5)));
	json_object_set_new(out, "beside_p95_ack_ms", json_real(bench_percentile(beside, PAIRS, 0.5)));
	json_object_set_new(out, "quiet_results_per_s", json_integer(QUIET_RATE));
	json_object_set_new(out, "flood_results_per_s", json_real(flooded));
	json_object_set_new(out, "lost", json_integer(check.lost));
	json_object_set_new(out, "duplicated", json_integer(check.duplicated));
	PQfinish(conn);
}

const struct bench bench_fairness = {
    .name = "fairness",
    .summary = "a quiet tenant beside one that sends fifty times as much",
    .run = run,
};
