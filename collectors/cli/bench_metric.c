/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_metric.c -- the metric store: samples into the database, their size once they are
 * compacted with roll-ups and indexes, and aggregation of all of them.
 *
 * Own database, one tenant, one connection. Samples are made before the clock runs: runs of
 * probes a second apart give or take some milliseconds, a third of the series successes, a third
 * durations with six decimals, a third milliseconds with three. Every sample is counted at the end,
 * so that a store that loses some is no fast one.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/util.h"

#define DATABASE       "probectl_bench"
#define ROWS_DEFAULT   6000000
#define ROWS_MIN       100000
#define SERIES         60
#define CALL_SERIES    10   /* series in a call */
#define CALL_SAMPLES   2400 /* of each */
#define RUN_BYTES      (16 + 8 + CALL_SAMPLES * 16)
#define CALL_BYTES     (CALL_SERIES * RUN_BYTES)
#define EPOCH_2000     946684800
#define QUERY_REPEATS  5
#define COMPACT_SERIES "20"

struct series
{
	unsigned char id[16];
	int kind;
	int64_t time; /* microseconds since 2000, of the next sample */
};

static uint64_t
random_next(void)
{
	static uint64_t state = 88172645463325252ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned char *
word_put(unsigned char *at, uint64_t word)
{
	word = htobe64(word);
	memcpy(at, &word, 8);
	return at + 8;
}

static double
value_make(int kind)
{
	uint64_t noise = random_next();

	if (kind == 0)
		return noise % 100 != 0;
	return kind == 1 ? (double) (12000 + noise % 4000) / 1e6
	                 : (double) (12000 + noise % 4000) / 1e3;
}

static void
run_put(unsigned char *at, struct series *series)
{
	memcpy(at, series->id, 16);
	at = word_put(at + 16, CALL_SAMPLES);
	for (int i = 0; i < CALL_SAMPLES; i++)
	{
		double value = value_make(series->kind);
		uint64_t bits;

		memcpy(&bits, &value, 8);
		at = word_put(at, (uint64_t) series->time + random_next() % 5000);
		at = word_put(at, bits);
		series->time += 1000000;
	}
}

static PGconn *
database_make(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	db_run(conn, "CREATE DATABASE " DATABASE " TEMPLATE template0");
	PQfinish(conn);
	conn = db_connect(home, DATABASE);
	db_run(conn, "CREATE EXTENSION probectl");
	db_run(conn, "BEGIN; SELECT probectl.tenant_create('bench', 'Bench'); COMMIT");
	return conn;
}

static void
database_drop(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	PQfinish(conn);
}

static const char bind[] = "BEGIN; SELECT probectl_internal.tenant_bind(tenant_id) FROM "
                           "probectl.tenant WHERE slug = 'bench'";

static void
series_make(PGconn *conn, struct series *series, int64_t start)
{
	for (int i = 0; i < SERIES; i++)
	{
		series[i] = (struct series){.kind = i % 3, .time = start};
		for (int byte = 0; byte < 16; byte++)
			series[i].id[byte] = (unsigned char) random_next();
	}
	db_run(conn, bind);
	for (int i = 0; i < SERIES; i++)
	{
		char id[33];

		for (int byte = 0; byte < 16; byte++)
			snprintf(id + byte * 2, 3, "%02x", series[i].id[byte]);
		db_run(conn,
		       util_fmt("INSERT INTO probectl.metric_series (series_id, hash, name, labels, "
		                "first_seen, last_seen) VALUES ('%s', sha256('%s'), "
		                "'probectl_probe_bench', '{\"server_address\": \"%s\"}', now(), now())",
		                id, id, id));
	}
	db_run(conn, "COMMIT");
}

/* Writes the samples; seconds that took. */
static double
samples_write(PGconn *conn, struct series *series, int64_t calls)
{
	unsigned char *bytes = malloc(CALL_BYTES);
	double took = 0;

	if (!bytes)
		util_fail(EXIT_CANNOT, "bench metric: out of memory");
	for (int64_t call = 0; call < calls; call++)
	{
		const char *value = (const char *) bytes;
		int length = CALL_BYTES, format = 1;
		double began;
		PGresult *result;

		for (int i = 0; i < CALL_SERIES; i++)
			run_put(bytes + i * RUN_BYTES, &series[(call * CALL_SERIES + i) % SERIES]);
		began = bench_now_s();
		db_enter_tenant(conn, "bench");
		result = PQexecParams(conn, "SELECT probectl.metric_append($1::bytea)", 1, NULL, &value,
		                      &length, &format, 0);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			util_fail(EXIT_CANNOT, "bench metric: %s", PQerrorMessage(conn));
		PQclear(result);
		db_run(conn, "COMMIT");
		took += bench_now_s() - began;
	}
	free(bytes);
	return took;
}

static double
samples_compact(PGconn *conn)
{
	double began = bench_now_s();
	const char *count;

	do
	{
		db_run(conn, bind);
		count = db_value(conn, "SELECT probectl_internal.metric_compact(" COMPACT_SERIES ")", 0,
		                 NULL);
		db_run(conn, "COMMIT");
	} while (count && strcmp(count, "0") != 0);
	return bench_now_s() - began;
}

/* All samples by the hour; seconds of the fastest of a few. */
static double
samples_aggregate(PGconn *conn, int64_t samples, int64_t start, int64_t end)
{
	char *sql = util_fmt(
	    "SELECT sum(samples) FROM probectl.metric_query('probectl_probe_bench', '', "
	    "'avg', to_timestamp(%lld), to_timestamp(%lld), '1 hour')",
	    (long long) start, (long long) end);
	double best = 0;

	db_enter_tenant(conn, "bench");
	for (int i = 0; i < QUERY_REPEATS; i++)
	{
		double began = bench_now_s(), took;
		const char *counted = db_value(conn, sql, 0, NULL);

		took = bench_now_s() - began;
		if (!counted || strtoll(counted, NULL, 10) != samples)
			util_fail(EXIT_CANNOT, "bench metric: %lld samples were written, %s are there",
			          (long long) samples, counted ? counted : "none");
		best = i == 0 || took < best ? took : best;
	}
	db_run(conn, "COMMIT");
	return best;
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t rows = env->rows ? env->rows : ROWS_DEFAULT;
	int64_t rounds = rows / (SERIES * CALL_SAMPLES) + 1; /* of all series */
	int64_t calls = rounds * (SERIES / CALL_SERIES), samples = rounds * SERIES * CALL_SAMPLES;
	/* A second into a minute: whole minutes would be read from roll-ups, and those are no samples. */
	int64_t start = ((int64_t) time(NULL) - rounds * CALL_SAMPLES) / 60 * 60 + 1;
	static struct series series[SERIES];
	double wrote, compacted, aggregated, bytes;
	PGconn *conn;

	if (rows < ROWS_MIN)
		util_fail(EXIT_USAGE, "bench metric: --rows is at least %d", ROWS_MIN);
	conn = database_make(env->home);
	series_make(conn, series, (start - EPOCH_2000) * 1000000);
	fprintf(stderr, "bench: %lld samples of %d series\n", (long long) samples, SERIES);
	wrote = samples_write(conn, series, calls);
	compacted = samples_compact(conn);
	bytes = strtod(
	    db_value(conn, "SELECT pg_total_relation_size('probectl.metric_chunk')", 0, NULL), NULL);
	aggregated = samples_aggregate(conn, samples, start, start + rounds * CALL_SAMPLES + 60);
	PQfinish(conn);
	database_drop(env->home);
	json_object_set_new(out, "samples_in_per_s", json_real((double) samples / wrote));
	json_object_set_new(out, "samples_compacted_per_s", json_real((double) samples / compacted));
	json_object_set_new(out, "bytes_per_sample", json_real(bytes / (double) samples));
	json_object_set_new(out, "samples_aggregated_per_s", json_real((double) samples / aggregated));
	json_object_set_new(out, "samples", json_integer(samples));
	json_object_set_new(out, "series", json_integer(SERIES));
}

const struct bench bench_metric = {
    .name = "metric",
    .summary = "samples into chunks, their size, aggregation over them",
    .run = run,
};
