/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_tier.c -- a whole installation of a size: so many tenants with so many connected agents
 * each, a steady rate of results in small batches, for as long as is asked.
 *
 * Every result must be there once, in its tenant. Memory is the proportional set size of all
 * processes of the installation, so that what they share counts once; the greatest of samples ten
 * seconds apart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cpu.h"
#include "cli/db.h"
#include "cli/fleet.h"
#include "cli/util.h"

#define SECONDS_DEFAULT 30
#define AGENTS_USUAL    9000 /* fit the defaults of ingest */
#define AGENTS_SPARE    500  /* streams for those that connect again */
#define AGENT_BYTES     (256 * 1024)

struct tier
{
	const char *name;
	int tenants, agents; /* of each */
	int rate;            /* results a second, of all */
	int batch;
	double aim_ms; /* p95 of the acknowledgement */
};

static const struct tier tiers[] = {
    {"S", 1, 25, 1500, 10, 50},
    {"M", 8, 40, 3000, 10, 50},
    {"L", 32, 100, 10000, 10, 100},
    {"XL", 64, 300, 25000, 10, 200},
    /* One result a second each, sent as it comes. */
    {"fleet", 100, 50, 5000, 1, 250},
};
#define TIERS (sizeof(tiers) / sizeof(tiers[0]))

struct watch
{
	const struct home *home;
	int64_t ingest_kib, postgres_kib, samples;
	struct cpu_use first, last;
};

static void
watch_take(void *arg)
{
	struct watch *watch = arg;
	int64_t ingest = fleet_ingest_cost(watch->home).pss_kib;
	int64_t postgres = fleet_postgres_cost(watch->home).pss_kib;

	if (ingest > watch->ingest_kib)
		watch->ingest_kib = ingest;
	if (postgres > watch->postgres_kib)
		watch->postgres_kib = postgres;
	watch->last = cpu_use(watch->home);
	if (watch->samples == 0)
	{
		watch->first = watch->last;
		fprintf(stderr, "bench: all agents are connected\n");
	}
	else if (watch->samples % 6 == 0)
		fprintf(stderr, "bench: %lld s; ingest %lld MB, postgres %lld MB\n",
		        (long long) watch->samples * 10, (long long) ingest / 1024,
		        (long long) postgres / 1024);
	watch->samples++;
}

static const struct tier *
tier_find(const char *name)
{
	char *names = util_dup("");

	for (size_t i = 0; i < TIERS; i++)
	{
		if (strcmp(tiers[i].name, name) == 0)
			return &tiers[i];
		names = util_fmt("%s %s", names, tiers[i].name);
	}
	util_fail(EXIT_USAGE, "bench: unknown tier %s: there are%s", name, names);
}

/* Limits of ingest that let so many in. */
static void
prepare(const struct bench_env *env)
{
	const struct tier *tier = tier_find(env->tier ? env->tier : "S");
	int agents = tier->tenants * tier->agents;

	if (agents <= AGENTS_USUAL)
		return;
	setenv("PROBECTL_INGEST_LIMITS_STREAMS", util_fmt("%d", agents + AGENTS_SPARE), 0);
	setenv("PROBECTL_INGEST_LIMITS_MEMORY_BYTES",
	       util_fmt("%lld", (long long) agents * AGENT_BYTES), 0);
}

static int64_t *
acked_by_tenant(const struct fleet *fleet)
{
	int64_t *acked = calloc((size_t) fleet->tenants, sizeof(int64_t));

	for (int i = 0; i < fleet->tenants * fleet->agents_each; i++)
		acked[i / fleet->agents_each] += (int64_t) fleet->agents[i].acked;
	return acked;
}

static void
figures_put(json_t *out, const struct tier *tier, const struct load_figures *figures,
            const struct watch *watch, const struct fleet_check *check)
{
	json_t *all = json_pack(
	    "{s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "tier",
	    tier->name, "tenants", tier->tenants, "agents", tier->tenants * tier->agents, "rate",
	    tier->rate, "batch", tier->batch, "seconds", figures->seconds, "results_per_s",
	    figures->results_per_s, "p50_ack_ms", figures->ack_ms_p50, "p95_ack_ms",
	    figures->ack_ms_p95, "p95_aim_ms", tier->aim_ms, "ingest_pss_mb",
	    (double) watch->ingest_kib / 1024, "stored", (json_int_t) check->stored, "lost",
	    (json_int_t) check->lost, "duplicated", (json_int_t) check->duplicated, "misplaced",
	    (json_int_t) check->misplaced);

	json_object_update(out, all);
	json_object_set_new(out, "p99_ack_ms", json_real(figures->ack_ms_p99));
	if (figures->settled_ack_ms_p95 > 0)
		json_object_set_new(out, "p95_settled_ms", json_real(figures->settled_ack_ms_p95));
	json_object_set_new(out, "all_pss_mb",
	                    json_real((double) (watch->ingest_kib + watch->postgres_kib) / 1024));
	json_object_set_new(out, "cpu_us_per_result",
	                    cpu_per_result(&watch->first, &watch->last, figures->results));
	json_decref(all);
}

static void
run(const struct bench_env *env, json_t *out)
{
	const struct tier *tier = tier_find(env->tier ? env->tier : "S");
	PGconn *conn = db_connect(env->home, HOME_DATABASE);
	struct fleet fleet = fleet_make(env->home, conn, "tier", tier->tenants, tier->agents);
	struct watch watch = {.home = env->home};
	struct load_plan plan = {.listen = home_text(env->home, "ingest_listen"),
	                         .ca_file = home_path(env->home, "pki/ca.pem"),
	                         .agents = fleet.agents,
	                         .agent_count = tier->tenants * tier->agents,
	                         .seconds = env->seconds ? env->seconds : SECONDS_DEFAULT,
	                         .rate = tier->rate,
	                         /* Tenant by tenant, as agents of different ones are not in step. */
	                         .stride = tier->agents,
	                         .batch = tier->batch,
	                         .watch = watch_take,
	                         .watch_arg = &watch};
	struct load_figures figures;
	struct fleet_check check;
	char err[512];

	fprintf(stderr, "bench: %d tenants with %d agents each, %d results/s for %lld s\n",
	        tier->tenants, tier->agents, tier->rate, (long long) plan.seconds);
	fleet_renew(&fleet);
	if (!load_run(&plan, &figures, err, sizeof(err)))
		util_fail(EXIT_CANNOT, "bench tier: %s", err);
	fprintf(stderr, "bench: counting what is stored\n");
	check = fleet_check(conn, &fleet, acked_by_tenant(&fleet));
	figures_put(out, tier, &figures, &watch, &check);
	PQfinish(conn);
}

const struct bench bench_tier = {
    .name = "tier",
    .summary = "an installation of a size: tenants, connected agents, a steady rate",
    .prepare = prepare,
    .run = run,
};
