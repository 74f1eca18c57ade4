/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_tenants.c -- what many tenants cost each one: making a tenant, and a tenant's
 * page of newest results among ten tenants and among ten thousand.
 *
 * Own database. Every tenant is provisioned as an operator would do it and has twenty
 * newest results. A request is what the gateway sends: enter with a token, call the route,
 * commit; requests go round a sample of tenants, so that no tenant's rows are warmer in
 * one case than in the other. Percentiles of both cases are compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/util.h"

#define DATABASE        "probectl_bench_tenants"
#define TENANTS_DEFAULT 10000
#define FEW             10
#define SAMPLE_MAX      200
#define REQUESTS        4000
#define RESULTS         20 /* newest results of each tenant */

/* Tenants from..to-1, each in a transaction of its own; the time of each in took. */
static void
tenants_make(PGconn *conn, int from, int to, double *took)
{
	for (int i = from; i < to; i++)
	{
		double began = bench_now_ms();

		db_run(conn, util_fmt("SELECT probectl.tenant_provision('bench-%d', 'Bench %d', "
		                      "'admin@bench-%d.example')",
		                      i, i, i));
		took[i] = bench_now_ms() - began;
		if (i % 1000 == 999)
			fprintf(stderr, "bench: %d tenants\n", i + 1);
	}
	/* As the superuser of the private cluster: the derive worker would take minutes. */
	db_run(
	    conn,
	    util_fmt("INSERT INTO probectl.result_latest (tenant_id, test_id, agent_id, started_at, "
	             "received_at, result_id, type, target, port, success, error_type, error, "
	             "duration_us, latency_ms, loss_ratio, metrics, attributes, item, spark, names, "
	             "stale_after) SELECT t.tenant_id, probectl.uuid_v7(), md5(t.slug)::uuid, now(), "
	             "now(), probectl.uuid_v7(), 'icmp', '192.0.2.1', 0, true, '', '', 1000, 1.0, 0, "
	             "'{}', '{}', '\"type\":\"icmp\",\"target\":\"192.0.2.1\",\"metrics\":{}', "
	             "'{\"t\":1,\"latency_ms\":1,\"ok\":true}', '\"test_name\":null,', '1 hour' FROM "
	             "probectl.tenant t, generate_series(1, %d) WHERE substr(t.slug, 7)::integer "
	             "BETWEEN %d AND %d",
	             RESULTS, from, to - 1));
	db_run(conn, "VACUUM ANALYZE");
}

static char *
tenant_token(PGconn *conn, int number)
{
	char *token;

	db_enter_tenant(conn, util_fmt("bench-%d", number));
	token = db_value(conn,
	                 "SELECT probectl.api_token_create('bench', probectl.user_create('bench@' || "
	                 "probectl.uuid_v7() || '.example', 'Bench', 'viewer'))",
	                 0, NULL);
	db_run(conn, "COMMIT");
	return token;
}

static void
request(PGconn *conn, const char *token)
{
	const char *params[1] = {token};
	PGresult *rows;

	db_run(conn, "BEGIN");
	rows = PQexecPrepared(conn, "enter", 1, params, NULL, NULL, 0);
	if (PQresultStatus(rows) != PGRES_TUPLES_OK)
		util_fail(EXIT_CANNOT, "bench tenants: %s", PQerrorMessage(conn));
	PQclear(rows);
	rows = PQexecPrepared(conn, "call", 0, NULL, NULL, NULL, 0);
	if (PQresultStatus(rows) != PGRES_TUPLES_OK || strcmp(PQgetvalue(rows, 0, 0), "200") != 0)
		util_fail(EXIT_CANNOT, "bench tenants: %s", PQerrorMessage(conn));
	PQclear(rows);
	db_run(conn, "COMMIT");
}

/* Requests round a sample of the first `tenants`; the first round warms and is not counted. */
static void
requests_measure(const struct home *home, PGconn *admin, int tenants, const char *key, json_t *out)
{
	static double took[REQUESTS];
	char *tokens[SAMPLE_MAX];
	int sample = tenants < SAMPLE_MAX ? tenants : SAMPLE_MAX;
	PGconn *conn = db_connect(home, DATABASE);

	for (int i = 0; i < sample; i++)
		tokens[i] = tenant_token(admin, (int) ((int64_t) i * tenants / sample));
	PQclear(PQprepare(conn, "enter", "SELECT probectl.enter_session($1)", 1, NULL));
	PQclear(
	    PQprepare(conn, "call",
	              "SELECT status, body FROM probectl.api_call('GET', '/v1/results/latest', NULL, "
	              "'{}', NULL)",
	              0, NULL));
	for (int i = 0; i < SAMPLE_MAX; i++)
		request(conn, tokens[i % sample]);
	for (int i = 0; i < REQUESTS; i++)
	{
		double began = bench_now_ms();

		request(conn, tokens[i % sample]);
		took[i] = bench_now_ms() - began;
	}
	json_object_set_new(out, util_fmt("p95_ms_%s", key),
	                    json_real(bench_percentile(took, REQUESTS, 0.95)));
	json_object_set_new(out, util_fmt("median_ms_%s", key),
	                    json_real(bench_percentile(took, REQUESTS, 0.5)));
	PQfinish(conn);
}

static PGconn *
database_make(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	db_run(conn, "CREATE DATABASE " DATABASE " TEMPLATE template0");
	/* What is measured is not the disk of this machine. */
	db_run(conn, "ALTER DATABASE " DATABASE " SET synchronous_commit = off");
	PQfinish(conn);
	conn = db_connect(home, DATABASE);
	db_run(conn, "CREATE EXTENSION probectl");
	return conn;
}

static void
run(const struct bench_env *env, json_t *out)
{
	int tenants = (int) (env->rows ? env->rows : TENANTS_DEFAULT);
	double *took;
	PGconn *conn;

	if (tenants <= FEW || tenants > 1000000)
		util_fail(EXIT_USAGE, "bench tenants: --rows is the number of tenants, %d to 1000000",
		          FEW + 1);
	took = calloc((size_t) tenants, sizeof(*took));
	if (took == NULL)
		util_fail(EXIT_CANNOT, "bench tenants: out of memory");
	conn = database_make(env->home);
	tenants_make(conn, 0, FEW, took);
	requests_measure(env->home, conn, FEW, "few", out);
	tenants_make(conn, FEW, tenants, took);
	requests_measure(env->home, conn, tenants, "many", out);
	json_object_set_new(out, "p95_ratio",
	                    json_real(json_real_value(json_object_get(out, "p95_ms_many")) /
	                              json_real_value(json_object_get(out, "p95_ms_few"))));
	json_object_set_new(out, "provision_p95_ms",
	                    json_real(bench_percentile(took, (size_t) tenants, 0.95)));
	json_object_set_new(out, "tenants", json_integer(tenants));
	free(took);
	PQfinish(conn);
	conn = db_connect(env->home, "postgres");
	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	PQfinish(conn);
}

const struct bench bench_tenants = {
    .name = "tenants",
    .summary = "a tenant's query among ten tenants and among ten thousand",
    .run = run,
};
