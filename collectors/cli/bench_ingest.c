/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_ingest.c -- results from agents to committed rows: how many a second, how long
 * until the acknowledgement, and whether each is there exactly once.
 *
 * Two runs by agents of a tenant of its own: without a limit, which gives the rate, and at
 * a steady rate, which gives the latency of a system that is not full. Afterwards the rows are counted
 * and compared with what was acknowledged. CPU time is taken from the processes, so that it
 * can be told apart from what the producers and the neighbours use.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/load.h"
#include "cli/proc.h"
#include "cli/super.h"
#include "cli/util.h"
#include "lib/crypto.h"

#define AGENTS          10
#define SECONDS_DEFAULT 10
#define PACED_RATE      10000

static char *key_dir;

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
keys_remove(void)
{
	if (key_dir != NULL)
		nftw(key_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	key_dir = NULL;
}

static char *
file_put(const char *name, const char *text, mode_t mode)
{
	char *path = util_fmt("%s/%s", key_dir, name);
	struct util_error err;

	if (!util_write(path, text, strlen(text), mode, -1, -1, &err))
		util_fail(EXIT_CANNOT, "bench ingest: %s", err.text);
	return path;
}

/* Enrols as a new machine would: token, key, request, certificate. */
static void
agent_make(PGconn *conn, const char *slug, int number, struct load_agent *agent)
{
	char *key = crypto_key_new(), *csr, err[256] = "no key";
	const char *params[4];
	char *token, *cert;

	csr = key != NULL ? crypto_csr_new(key, err, sizeof(err)) : NULL;
	if (csr == NULL)
		util_fail(EXIT_CANNOT, "bench ingest: %s", err);
	db_enter_tenant(conn, slug);
	token = db_value(conn, "SELECT probectl.join_token_create('1 hour', NULL)", 0, NULL);
	db_run(conn, "COMMIT");
	params[0] = token;
	params[1] = csr;
	params[2] = util_fmt("bench-%d", number);
	params[3] = PROBECTL_VERSION;
	cert = db_value(conn, "SELECT certificate FROM probectl.agent_enroll($1, $2, $3, $4)", 4,
	                params);
	if (cert == NULL)
		util_fail(EXIT_CANNOT, "bench ingest: an agent got no certificate");
	agent->key_file = file_put(util_fmt("%d.key", number), key, 0600);
	agent->cert_file = file_put(util_fmt("%d.pem", number), cert, 0644);
	crypto_wipe(key);
	free(key);
	free(csr);
}

/* ---- CPU time ---- */

static pid_t
child_pid(const struct home *home, const char *name)
{
	json_t *state = super_state(home);
	struct proc_id id;
	bool found = proc_from_json(json_object_get(super_child(state, name), "process"), &id);

	json_decref(state);
	if (!found || !proc_alive(&id))
		util_fail(EXIT_CANNOT, "bench ingest: %s does not run: %s", name,
		          super_last_log(home, name));
	return id.pid;
}

static int64_t
cpu_us(pid_t pid)
{
	int64_t rss_kib, us = 0;

	return proc_usage(pid, &rss_kib, &us) ? us : 0;
}

/* The postmaster and its children now; those of ingest live as long as the run. */
static int64_t
postgres_cpu_us(pid_t postmaster)
{
	int64_t total = cpu_us(postmaster);
	char *text, *at, *end;

	if (!util_read(util_fmt("/proc/%d/task/%d/children", (int) postmaster, (int) postmaster), 65536,
	               &text, NULL))
		return total;
	for (at = text;; at = end)
	{
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		total += cpu_us((pid_t) pid);
	}
	free(text);
	return total;
}

/* ---- the runs ---- */

struct run
{
	struct load_figures figures;
	double ingest_us, postgres_us; /* CPU for one result */
	int64_t ingest_rss_kib;
};

static struct run
run_one(const struct bench_env *env, struct load_agent *agents, int64_t seconds, int64_t rate)
{
	const struct home *home = env->home;
	pid_t ingest = child_pid(home, "ingest"), postgres = child_pid(home, "postgres");
	struct load_plan plan = {.listen = home_text(home, "ingest_listen"),
	                         .ca_file = home_path(home, "pki/ca.pem"),
	                         .agents = agents,
	                         .agent_count = AGENTS,
	                         .seconds = seconds,
	                         .rate = rate,
	                         .first_batch = rate ? UINT64_C(1) << 32 : 0};
	int64_t ingest_us = cpu_us(ingest), postgres_us = postgres_cpu_us(postgres), ignored;
	struct run run = {0};
	char err[512];

	for (int i = 0; i < AGENTS; i++)
	{
		agents[i].epoch = (uint64_t) util_wall_ms() * 1000000;
		agents[i].acked = 0;
	}
	if (!load_run(&plan, &run.figures, err, sizeof(err)))
		util_fail(EXIT_CANNOT, "bench ingest: %s", err);
	if (run.figures.results == 0)
		util_fail(EXIT_CANNOT, "bench ingest: nothing was acknowledged");
	run.ingest_us = (double) (cpu_us(ingest) - ingest_us) / (double) run.figures.results;
	run.postgres_us = (double) (postgres_cpu_us(postgres) - postgres_us) /
	                  (double) run.figures.results;
	proc_usage(ingest, &run.ingest_rss_kib, &ignored);
	return run;
}

static int64_t
number(PGconn *conn, const char *sql, const char *tenant)
{
	const char *params[1] = {tenant};
	const char *text = db_value(conn, sql, 1, params);

	return text != NULL ? strtoll(text, NULL, 10) : 0;
}

static void
put_real(json_t *out, const char *key, double value)
{
	json_object_set_new(out, key, json_real(value));
}

static void
figures_put(json_t *out, const struct run *full, const struct run *paced)
{
	put_real(out, "results_per_s", full->figures.results_per_s);
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
	put_real(out, "ingest_rss_mb", (double) full->ingest_rss_kib / 1024);
	json_object_set_new(out, "agents", json_integer(AGENTS));
	json_object_set_new(out, "batch", json_integer(LOAD_BATCH_RECORDS));
	json_object_set_new(out, "record_bytes", json_integer((json_int_t) full->figures.record_bytes));
	put_real(out, "seconds", full->figures.seconds);
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t seconds = env->seconds ? env->seconds : SECONDS_DEFAULT;
	char *slug = util_fmt("bench-ingest-%lld", (long long) util_wall_ms());
	char dir[] = "/tmp/pctl-bench-keys-XXXXXX";
	const char *params[1] = {slug};
	PGconn *conn = db_connect(env->home, HOME_DATABASE);
	struct load_agent agents[AGENTS] = {0};
	struct run full, paced;
	int64_t acked, stored, different;
	char *tenant;

	if (mkdtemp(dir) == NULL)
		util_fail(EXIT_CANNOT, "bench ingest: cannot make a folder in /tmp");
	key_dir = util_dup(dir);
	atexit(keys_remove);
	tenant = db_value(conn, "SELECT probectl.tenant_create($1, 'Bench of ingest')", 1, params);
	if (!env->private)
		fprintf(stderr, "bench: the results stay in the tenant %s\n", slug);
	for (int i = 0; i < AGENTS; i++)
		agent_make(conn, slug, i, &agents[i]);

	fprintf(stderr, "bench: %d agents, %lld s without a limit, %lld s at %d results/s\n", AGENTS,
	        (long long) seconds, (long long) seconds, PACED_RATE);
	full = run_one(env, agents, seconds, 0);
	paced = run_one(env, agents, seconds, PACED_RATE);

	acked = (int64_t) (full.figures.results + paced.figures.results);
	stored = number(conn, "SELECT count(*) FROM probectl.result WHERE tenant_id = $1", tenant);
	different = number(
	    conn, "SELECT count(DISTINCT result_id) FROM probectl.result WHERE tenant_id = $1", tenant);
	figures_put(out, &full, &paced);
	json_object_set_new(out, "lost", json_integer(acked > different ? acked - different : 0));
	json_object_set_new(out, "duplicated", json_integer(stored - different));
	PQfinish(conn);
}

const struct bench bench_ingest = {
    .name = "ingest",
    .summary = "results from agents to committed rows",
    .run = run,
};
