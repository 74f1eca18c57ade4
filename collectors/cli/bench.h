/* SPDX-License-Identifier: PostgreSQL
 *
 * bench.h -- what a benchmark is: a row in the table of bench.c.
 *
 * A benchmark is bounded in time, runs against a running home (--home) or a
 * private one that is made for it and removed, and prints one JSON line with the
 * machine.
 */
#ifndef PCTL_CLI_BENCH_H
#define PCTL_CLI_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/home.h"

struct bench_env
{
	struct home *home;   /* running */
	bool private;        /* made for this run: anything may be done to it */
	int64_t rows;        /* --rows, 0 = the benchmark's own default */
	int64_t seconds;     /* --seconds, 0 = default */
	const char *tier;    /* --tier, NULL = default */
	const char *brokers; /* --brokers: ingest over Kafka; NULL = straight to the database */
};

struct bench
{
	const char *name;
	const char *summary;
	bool alone; /* runs without an instance: home is NULL */
	/* Before a private instance is made; NULL: it is as any other. Its processes inherit the environment. */
	void (*prepare)(const struct bench_env *env);
	/* Adds the figures to out; ends the process on a failure. */
	void (*run)(const struct bench_env *env, json_t *out);
};

/* Monotonic. */
double bench_now_s(void);
double bench_now_ms(void);

/* Value below which the share p (0 to 1) of the values lies; sorts them. 0 for none. */
double bench_percentile(double *values, size_t count, double p);

extern const struct bench bench_fairness;
extern const struct bench bench_pooled;
extern const struct bench bench_tier;
/* "127.0.0.1:PORT" that is free now, in pool memory. */
char *bench_free_listen(void);

extern const struct bench bench_rls;
extern const struct bench bench_agent;
extern const struct bench bench_audit;
extern const struct bench bench_icmp;
extern const struct bench bench_http;
extern const struct bench bench_ingest;
extern const struct bench bench_gateway;
extern const struct bench bench_metric;
extern const struct bench bench_remote;
extern const struct bench bench_spool;
extern const struct bench bench_tenants;

#endif
