/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_rls.c -- what row-level security costs: the same reads of the same rows,
 * once through the policy of a bound tenant, once with a bare WHERE on a copy
 * that has no policy.
 *
 * Own database, tables of the shape of a narrow probectl.result. Both sides run in
 * one session and one transaction each, prepared, alternating, so that caches and
 * neighbours of the machine hit both alike; medians are compared. The figures are
 * of the statement; entering the tenant is measured by the gateway benchmark.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/util.h"

#define DATABASE     "probectl_bench"
#define ROWS_DEFAULT 1000000
#define ROWS_MIN     10000
#define TENANTS      20
#define TESTS        50 /* of each tenant */
#define REPEATS_MAX  5000

/* The ratio of medians under 1.05 is the aim: more repeats for shorter reads. */
struct bench_read
{
	const char *key;
	int repeats;
	const char *bound; /* the policy says which tenant */
	const char *bare;  /* $2 is the tenant */
};

static const struct bench_read reads[] = {
    {"aggregate", 61,
     "SELECT count(*), avg(latency_ms), max(latency_ms), avg(loss_ratio) FROM bench.result "
     "WHERE started_at >= $1::timestamptz",
     "SELECT count(*), avg(latency_ms), max(latency_ms), avg(loss_ratio) FROM bench.result_bare "
     "WHERE tenant_id = $2::uuid AND started_at >= $1::timestamptz"},
    {"indexed", 3001,
     "SELECT started_at, success, latency_ms, loss_ratio FROM bench.result WHERE test_id = "
     "$1::uuid ORDER BY started_at DESC LIMIT 50",
     "SELECT started_at, success, latency_ms, loss_ratio FROM bench.result_bare WHERE tenant_id = "
     "$2::uuid AND test_id = $1::uuid ORDER BY started_at DESC LIMIT 50"},
};
#define READS (sizeof(reads) / sizeof(reads[0]))

/* Rows in the order of time, as they arrive: tenants and tests interleave. */
static void
tables_fill(PGconn *conn, int64_t rows)
{
	db_run(conn,
	       "CREATE SCHEMA bench;"
	       "CREATE TABLE bench.result (tenant_id uuid NOT NULL, test_id uuid NOT NULL, agent_id "
	       "uuid NOT NULL, started_at timestamptz NOT NULL, success boolean NOT NULL, duration_ms "
	       "real NOT NULL, latency_ms double precision, loss_ratio double precision);"
	       "CREATE TABLE bench.result_bare (LIKE bench.result);");
	for (int i = 1; i <= TENANTS; i++)
		db_run(conn, util_fmt("SELECT probectl.tenant_create('bench-%d', 'Bench %d')", i, i));
	db_run(conn,
	       util_fmt("INSERT INTO bench.result SELECT t.tenant_id, "
	                "md5(t.slug || '/' || (i / %d %% %d))::uuid, md5(t.slug)::uuid, "
	                "now() - (%lld - i) * interval '10 ms', i %% 97 <> 0, i %% 13, "
	                "(hashint8(i) & 65535) / 1000.0, (i %% 97 = 0)::int FROM "
	                "generate_series(0, %lld) i JOIN (SELECT tenant_id, slug, row_number() OVER "
	                "(ORDER BY slug) - 1 AS n FROM probectl.tenant WHERE slug LIKE 'bench-%%') t "
	                "ON t.n = i %% %d ORDER BY i;"
	                "INSERT INTO bench.result_bare SELECT * FROM bench.result",
	                TENANTS, TESTS, (long long) rows, (long long) rows - 1, TENANTS));
	db_run(conn, "CREATE INDEX ON bench.result (tenant_id, test_id, started_at);"
	             "CREATE INDEX ON bench.result_bare (tenant_id, test_id, started_at);"
	             "CREATE INDEX ON bench.result (tenant_id, started_at);"
	             "CREATE INDEX ON bench.result_bare (tenant_id, started_at);");
	db_run(conn, "VACUUM (ANALYZE, FREEZE) bench.result");
	db_run(conn, "VACUUM (ANALYZE, FREEZE) bench.result_bare");
	/* As on every table of a tenant. */
	db_run(conn,
	       "ALTER TABLE bench.result ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
	       "CREATE POLICY tenant_isolation ON bench.result USING (tenant_id OPERATOR(pg_catalog.=) "
	       "probectl.current_tenant());"
	       "GRANT USAGE ON SCHEMA bench TO probectl_app;"
	       "GRANT SELECT ON ALL TABLES IN SCHEMA bench TO probectl_app");
}

static double
timed(PGconn *conn, const char *name, int count, const char *const *params, char **first)
{
	double began = bench_now_s();
	PGresult *rows = PQexecPrepared(conn, name, count, params, NULL, NULL, 0);
	double took = (bench_now_s() - began) * 1e6;

	if (PQresultStatus(rows) != PGRES_TUPLES_OK)
		util_fail(EXIT_CANNOT, "bench rls: %s", PQerrorMessage(conn));
	if (first)
		*first = util_fmt("%d rows, %s", PQntuples(rows),
		                  PQntuples(rows) ? PQgetvalue(rows, 0, 0) : "");
	PQclear(rows);
	return took;
}

static void
prepare(PGconn *conn, const char *name, const char *sql)
{
	PGresult *result = PQprepare(conn, name, sql, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		util_fail(EXIT_CANNOT, "bench rls: %s", PQerrorMessage(conn));
	PQclear(result);
}

/* Medians of both sides; the answers must be the same. */
static void
read_measure(PGconn *conn, const struct bench_read *read, const char *const params[2], json_t *out)
{
	static double bound[REPEATS_MAX], bare[REPEATS_MAX];
	/* A bound session may not DEALLOCATE: each read has names of its own. */
	char *with = util_fmt("%s_bound", read->key), *without = util_fmt("%s_bare", read->key);
	char *one, *two;
	double a, b;

	prepare(conn, with, read->bound);
	prepare(conn, without, read->bare);
	timed(conn, with, 1, params, &one);
	timed(conn, without, 2, params, &two);
	if (strcmp(one, two) != 0 || strcmp(one, "0 rows, ") == 0)
		util_fail(EXIT_CANNOT, "bench rls: the two sides differ: %s, %s", one, two);
	for (int i = 0; i < read->repeats; i++)
	{
		/* Neither side is always the first one. */
		if (i % 2)
			bare[i] = timed(conn, without, 2, params, NULL);
		bound[i] = timed(conn, with, 1, params, NULL);
		if (i % 2 == 0)
			bare[i] = timed(conn, without, 2, params, NULL);
	}
	a = bench_percentile(bound, (size_t) read->repeats, 0.5);
	b = bench_percentile(bare, (size_t) read->repeats, 0.5);
	json_object_set_new(out, util_fmt("ratio_%s", read->key), json_real(a / b));
	json_object_set_new(out, util_fmt("%s_rls_us", read->key), json_real(a));
	json_object_set_new(out, util_fmt("%s_bare_us", read->key), json_real(b));
}

static PGconn *
database_make(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	db_run(conn, "CREATE DATABASE " DATABASE " TEMPLATE template0");
	/* Parallel plans on a small machine measure the neighbours. */
	db_run(conn, "ALTER DATABASE " DATABASE " SET max_parallel_workers_per_gather = 0");
	PQfinish(conn);
	conn = db_connect(home, DATABASE);
	db_run(conn, "CREATE EXTENSION probectl");
	return conn;
}

static void
database_drop(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	PQfinish(conn);
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t rows = env->rows ? env->rows : ROWS_DEFAULT;
	PGconn *conn;
	const char *tenant;

	if (rows < ROWS_MIN)
		util_fail(EXIT_USAGE, "bench rls: --rows is at least %d", ROWS_MIN);
	conn = database_make(env->home);
	fprintf(stderr, "bench: filling two tables with %lld rows each\n", (long long) rows);
	tables_fill(conn, rows);
	tenant = db_value(conn, "SELECT tenant_id FROM probectl.tenant WHERE slug = 'bench-7'", 0,
	                  NULL);
	for (size_t i = 0; i < READS; i++)
	{
		const char *params[2] = {NULL, tenant};

		params[0] = strcmp(reads[i].key, "indexed") == 0
		                ? db_value(conn, "SELECT md5('bench-7/3')::uuid", 0, NULL)
		                : db_value(conn, "SELECT min(started_at) FROM bench.result_bare", 0, NULL);
		db_enter_tenant(conn, "bench-7");
		read_measure(conn, &reads[i], params, out);
		db_run(conn, "COMMIT");
	}
	PQfinish(conn);
	database_drop(env->home);
	json_object_set_new(out, "rows", json_integer(rows));
	json_object_set_new(out, "tenants", json_integer(TENANTS));
}

const struct bench bench_rls = {
    .name = "rls",
    .summary = "a tenant-bound read against a bare WHERE",
    .run = run,
};
