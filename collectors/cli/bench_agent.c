/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_agent.c -- what an agent costs: memory without a test, with few and with 1,000; and
 * processor time at 100 tests a minute (icmp, tcp and http against loopback, in turn), link and
 * spool included.
 *
 * Memory is the most that was seen, a look a second: what the system may take back at once, an
 * idle page of the program itself, is no cost.
 *
 * CPU time is the scheduler's account of the process, so that a busy machine does
 * not change it much.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/fetch.h"
#include "cli/proc.h"
#include "cli/services.h"
#include "cli/super.h"
#include "cli/util.h"

#define TESTS           20
#define INTERVAL        12 /* seconds: 100 runs a minute */
#define SECONDS_DEFAULT 60
#define SECONDS_MIN     10
#define AGENT           "bench"
#define ROUNDS_BEFORE   2 /* the first is spread over less than an interval */
#define RESULTS_WAIT_MS 90000
#define MANY            1000 /* tests, each once in MANY_INTERVAL */
#define MANY_INTERVAL   60   /* seconds */
#define LOOK_SECONDS    25   /* twice the time in which the agent gives memory back, and some */

struct usage
{
	int64_t at_ms;
	int64_t rss_kib;
	int64_t cpu_us;
	int64_t results;
};

static void
tests_add(const struct home *home, const struct fetch_target *target, int from, int to,
          int interval)
{
	const char *gateway = services_reach(home_text(home, "gateway_listen"));
	char *ca = home_path(home, "pki/ca.pem");

	for (int i = from; i < to; i++)
	{
		static const char *const types[] = {"icmp", "tcp", "http"};
		const char *type = types[i % 3];
		const char *where = i % 3 == 0   ? "127.0.0.1"
		                    : i % 3 == 1 ? gateway
		                                 : util_fmt("%s/healthz", target->url);
		json_t *test = json_pack(
		    "{s:s, s:s, s:s, s:i, s:i, s:o}", "name", util_fmt("bench %d", i), "type", type,
		    "target", where, "interval_seconds", interval, "timeout_seconds", 3, "params",
		    i % 3 == 2 ? json_pack("{s:b, s:s}", "allow_private_targets", 1, "ca_file", ca)
		               : json_pack("{s:b}", "allow_private_targets", 1));
		char *text = json_dumps(test, JSON_COMPACT);
		struct fetch_answer answer = fetch_call(target, "POST", "/v1/tests", text, 10000);

		free(text);
		json_decref(test);
		if (answer.status != 201)
			util_fail(EXIT_CANNOT, "bench agent: could not add a test: %s", fetch_message(&answer));
	}
}

static pid_t
agent_pid(const struct home *home)
{
	json_t *state = super_state(home);
	struct proc_id id;
	bool found = proc_from_json(
	    json_object_get(super_child(state, services_agent_process(AGENT)), "process"), &id);

	json_decref(state);
	if (!found || !proc_alive(&id))
		util_fail(EXIT_CANNOT, "bench agent: the agent ended: %s",
		          super_last_log(home, services_agent_process(AGENT)));
	return id.pid;
}

static struct usage
usage_read(PGconn *conn, pid_t pid)
{
	struct usage usage = {.at_ms = util_now_ms()};

	if (!proc_usage(pid, &usage.rss_kib, &usage.cpu_us))
		util_fail(EXIT_CANNOT, "bench agent: the agent ended");
	usage.results = strtoll(db_value(conn, "SELECT count(*) FROM probectl.result", 0, NULL), NULL,
	                        10);
	return usage;
}

/* The most memory over some seconds, in MB. */
static json_t *
rss_most(PGconn *conn, pid_t pid, int seconds)
{
	int64_t most = 0;

	for (int i = 0; i < seconds; i++)
	{
		struct usage now = usage_read(conn, pid);

		most = now.rss_kib > most ? now.rss_kib : most;
		util_pause_ms(1000);
	}
	return json_real((double) most / 1024.0);
}

static void
wait_results(PGconn *conn, pid_t pid, int64_t want)
{
	int64_t until = util_now_ms() + RESULTS_WAIT_MS;

	while (usage_read(conn, pid).results < want && util_now_ms() < until)
		util_pause_ms(200);
}

/* Processor time and memory over the measured part. */
static void
measure_cost(const struct bench_env *env, PGconn *conn, pid_t pid, json_t *out)
{
	int64_t seconds = env->seconds ? env->seconds : SECONDS_DEFAULT;
	struct usage from, to;
	double wall_us;

	fprintf(stderr, "bench: %d tests a minute for %lld s\n", TESTS * 60 / INTERVAL,
	        (long long) seconds);
	from = usage_read(conn, pid);
	util_pause_ms((int) (seconds * 1000));
	to = usage_read(conn, pid);
	if (agent_pid(env->home) != pid || to.results <= from.results)
		util_fail(EXIT_CANNOT, "bench agent: the agent did not work through the run: %s",
		          super_last_log(env->home, services_agent_process(AGENT)));
	wall_us = (double) (to.at_ms - from.at_ms) * 1000.0;
	json_object_set_new(out, "rss_mb", json_real((double) to.rss_kib / 1024.0));
	json_object_set_new(out, "cpu_percent",
	                    json_real((double) (to.cpu_us - from.cpu_us) * 100.0 / wall_us));
	json_object_set_new(
	    out, "us_per_probe",
	    json_real((double) (to.cpu_us - from.cpu_us) / (double) (to.results - from.results)));
	json_object_set_new(out, "results", json_integer(to.results - from.results));
	json_object_set_new(out, "tests_per_minute", json_integer(TESTS * 60 / INTERVAL));
	json_object_set_new(out, "seconds", json_real(wall_us / 1e6));
}

static void
run(const struct bench_env *env, json_t *out)
{
	struct fetch_target target = fetch_target_home(env->home);
	const char *argv[] = {"/proc/self/exe", "enroll", "--home", env->home->named,
	                      "--local",        AGENT,    NULL};
	struct util_error err;
	int64_t results;
	PGconn *conn;
	pid_t pid;

	if (!env->private)
		util_fail(EXIT_USAGE, "bench agent adds tests and an agent: run it without --home");
	if (env->seconds && env->seconds < SECONDS_MIN)
		util_fail(EXIT_USAGE, "bench agent: --seconds is at least %d", SECONDS_MIN);
	if (!proc_run(argv, NULL, NULL, &err))
		util_fail(EXIT_CANNOT, "bench agent: %s", err.text);
	conn = db_connect(env->home, HOME_DATABASE);
	pid = agent_pid(env->home);
	fprintf(stderr, "bench: without a test\n");
	util_pause_ms(LOOK_SECONDS * 1000); /* enrolment and the first connection are given back */
	json_object_set_new(out, "rss_idle_mb", rss_most(conn, pid, LOOK_SECONDS));
	tests_add(env->home, &target, 0, TESTS, INTERVAL);
	/*
	 * Past the start: the first round, in which names are resolved and files read, is not what
	 * 100 tests a minute cost.
	 */
	wait_results(conn, pid, ROUNDS_BEFORE * TESTS);
	measure_cost(env, conn, pid, out);
	fprintf(stderr, "bench: %d tests\n", MANY);
	tests_add(env->home, &target, TESTS, MANY, MANY_INTERVAL);
	results = usage_read(conn, pid).results;
	wait_results(conn, pid, results + MANY);
	json_object_set_new(out, "rss_1000_tests_mb", rss_most(conn, pid, LOOK_SECONDS));
	PQfinish(conn);
}

const struct bench bench_agent = {
    .name = "agent",
    .summary = "memory of an agent, and its processor time at 100 tests a minute",
    .run = run,
};
