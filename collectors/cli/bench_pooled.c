/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_pooled.c -- many tenants' questions at once in the tables they share: each must get
 * exactly its own rows, and soon.
 *
 * Own database: 20 tenants with 100 newest results and 100 results each, 16 connections, each with one
 * transaction under way that is another tenant's than the one before: bind, a question (read
 * every row, and count them, by turns), commit, in one pipeline as the gateway sends it. Every row
 * that comes back must carry its tenant's mark. The newest results are what pages show, one table; results are
 * the history, in a partition a day.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/util.h"

#define DATABASE     "probectl_bench_pooled"
#define TENANTS      20
#define ROWS_DEFAULT 100
#define CONNECTIONS  16
#define SECONDS      5
#define SAMPLES_MAX  1000000
#define QUESTION     2 /* of the answers of a transaction, from 0 */

/* A table that tenants share. */
struct store
{
	const char *key; /* before the figures */
	const char *rows, *count;
};

static const struct store stores[] = {
    {"", "SELECT target FROM probectl.result_latest ORDER BY test_id, agent_id",
     "SELECT count(*), avg(latency_ms) FROM probectl.result_latest"},
    {"history_", "SELECT target FROM probectl.result ORDER BY started_at DESC",
     "SELECT count(*), avg(latency_ms) FROM probectl.result"}};

struct client
{
	PGconn *conn;
	int tenant; /* whose transaction is under way */
	bool counts;
	int answers;
	double began;
};

struct pooled
{
	char *tenants[TENANTS];
	int64_t rows; /* of each */
	int64_t questions, violations;
	double *took;
	size_t count;
};

static void
tables_fill(PGconn *conn, struct pooled *pooled)
{
	for (int i = 0; i < TENANTS; i++)
	{
		const char *params[3] = {util_fmt("pooled-%d", i), NULL, NULL};

		pooled->tenants[i] = db_value(conn, "SELECT probectl.tenant_create($1, 'Bench')", 1,
		                              params);
		params[0] = pooled->tenants[i];
		params[1] = util_fmt("mark-%d", i);
		params[2] = util_fmt("%lld", (long long) pooled->rows);
		PQclear(db_query(
		    conn, NULL,
		    "INSERT INTO probectl.result (tenant_id, test_id, agent_id, started_at, "
		    "received_at, result_id, type, target, port, transport, protocol, success, error_type, "
		    "error, "
		    "duration_us, latency_ms, loss_ratio, metrics, attributes) SELECT $1, "
		    "md5($2)::uuid, md5($2)::uuid, now() - i * interval '1 s', now(), "
		    "probectl.uuid_v7(), 'icmp', $2, 0, 'icmp', '', true, '', '', 1000, i, 0, '{}', '{}' "
		    "FROM generate_series(1, $3::bigint) i",
		    3, params));
		/* As the superuser of the private cluster, with the columns the page reads. */
		PQclear(db_query(
		    conn, NULL,
		    "INSERT INTO probectl.result_latest (tenant_id, test_id, agent_id, started_at, "
		    "received_at, result_id, type, target, port, success, error_type, error, duration_us, "
		    "latency_ms, loss_ratio, metrics, attributes, item, spark, names, stale_after) SELECT "
		    "$1, probectl.uuid_v7(), md5($2)::uuid, now(), now(), probectl.uuid_v7(), 'icmp', $2, "
		    "0, true, '', '', 1000, i, 0, '{}', '{}', '', '', '', '1 hour' FROM "
		    "generate_series(1, $3::bigint) i",
		    3, params));
	}
	db_run(conn, "VACUUM ANALYZE");
}

static PGconn *
client_connect(const struct home *home, const struct store *store)
{
	const char *const statements[][2] = {{"begin", "BEGIN"},
	                                     {"enter", "SELECT probectl.enter_tenant($1::uuid)"},
	                                     {"rows", store->rows},
	                                     {"count", store->count},
	                                     {"commit", "COMMIT"}};
	PGconn *conn = db_connect(home, DATABASE);

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		PQclear(PQprepare(conn, statements[i][0], statements[i][1], 0, NULL));
	if (!PQenterPipelineMode(conn) || PQsetnonblocking(conn, 1) != 0)
		util_fail(EXIT_CANNOT, "bench pooled: %s", PQerrorMessage(conn));
	return conn;
}

static void
client_ask(struct client *c, const struct pooled *pooled)
{
	const char *params[1] = {pooled->tenants[c->tenant]};

	c->answers = 0;
	c->began = bench_now_ms();
	if (!PQsendQueryPrepared(c->conn, "begin", 0, NULL, NULL, NULL, 0) ||
	    !PQsendQueryPrepared(c->conn, "enter", 1, params, NULL, NULL, 0) ||
	    !PQsendQueryPrepared(c->conn, c->counts ? "count" : "rows", 0, NULL, NULL, NULL, 0) ||
	    !PQsendQueryPrepared(c->conn, "commit", 0, NULL, NULL, NULL, 0) ||
	    !PQpipelineSync(c->conn) || PQflush(c->conn) < 0)
		util_fail(EXIT_CANNOT, "bench pooled: %s", PQerrorMessage(c->conn));
}

/* Exactly its own rows. */
static void
answer_check(const struct client *c, PGresult *result, struct pooled *pooled)
{
	const char *mark = util_fmt("mark-%d", c->tenant);
	bool own = PQntuples(result) == (c->counts ? 1 : pooled->rows);

	if (own && c->counts)
		own = strtoll(PQgetvalue(result, 0, 0), NULL, 10) == pooled->rows;
	for (int i = 0; !c->counts && i < PQntuples(result); i++)
		own = own && strcmp(PQgetvalue(result, i, 0), mark) == 0;
	pooled->violations += !own;
}

/* True when the transaction is over. */
static bool
client_read(struct client *c, struct pooled *pooled)
{
	PGresult *result;

	if (!PQconsumeInput(c->conn))
		util_fail(EXIT_CANNOT, "bench pooled: %s", PQerrorMessage(c->conn));
	while (!PQisBusy(c->conn))
	{
		bool over;

		result = PQgetResult(c->conn);
		if (!result) /* the end of one statement */
			continue;
		if (PQresultStatus(result) == PGRES_FATAL_ERROR)
			util_fail(EXIT_CANNOT, "bench pooled: %s", PQresultErrorMessage(result));
		over = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
		if (c->answers == QUESTION)
			answer_check(c, result, pooled);
		c->answers++;
		PQclear(result);
		if (over)
			return true;
	}
	return false;
}

static double
questions_measure(const struct home *home, const struct store *store, struct pooled *pooled,
                  double seconds)
{
	struct client clients[CONNECTIONS];
	struct pollfd polls[CONNECTIONS];
	int busy = CONNECTIONS;
	double began, ends;

	for (int i = 0; i < CONNECTIONS; i++)
	{
		clients[i] = (struct client){.conn = client_connect(home, store), .tenant = i % TENANTS};
		polls[i] = (struct pollfd){.fd = PQsocket(clients[i].conn), .events = POLLIN};
	}
	began = bench_now_ms();
	ends = began + seconds * 1e3;
	for (int i = 0; i < CONNECTIONS; i++)
		client_ask(&clients[i], pooled);
	while (busy > 0)
	{
		poll(polls, CONNECTIONS, 1000);
		for (int i = 0; i < CONNECTIONS; i++)
		{
			struct client *c = &clients[i];

			if (!polls[i].revents || !client_read(c, pooled))
				continue;
			pooled->questions++;
			if (pooled->count < SAMPLES_MAX)
				pooled->took[pooled->count++] = bench_now_ms() - c->began;
			c->tenant = (c->tenant + 7) % TENANTS;
			c->counts = !c->counts;
			if (bench_now_ms() < ends)
				client_ask(c, pooled);
			else
			{
				polls[i].fd = -1;
				busy--;
			}
		}
	}
	ends = bench_now_ms();
	for (int i = 0; i < CONNECTIONS; i++)
		PQfinish(clients[i].conn);
	return (ends - began) / 1e3;
}

static void
store_measure(const struct bench_env *env, const struct store *store, struct pooled *pooled,
              json_t *out)
{
	static const struct
	{
		const char *key;
		double share;
	} percentiles[] = {{"p50_ms", 0.5}, {"p95_ms", 0.95}, {"p99_ms", 0.99}};
	double seconds;

	questions_measure(env->home, store, pooled, 1); /* warms caches and plans */
	pooled->count = 0;
	pooled->questions = 0;
	seconds = questions_measure(env->home, store, pooled,
	                            env->seconds ? (double) env->seconds : SECONDS);
	json_object_set_new(out, util_fmt("%stransactions_per_s", store->key),
	                    json_real((double) pooled->questions / seconds));
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		json_object_set_new(
		    out, util_fmt("%s%s", store->key, percentiles[i].key),
		    json_real(bench_percentile(pooled->took, pooled->count, percentiles[i].share)));
}

static void
run(const struct bench_env *env, json_t *out)
{
	PGconn *admin = db_connect(env->home, HOME_DATABASE), *conn;
	struct pooled pooled = {.rows = env->rows ? env->rows : ROWS_DEFAULT,
	                        .took = calloc(SAMPLES_MAX, sizeof(double))};

	db_run(admin, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	db_run(admin, "CREATE DATABASE " DATABASE);
	conn = db_connect(env->home, DATABASE);
	db_run(conn, "CREATE EXTENSION probectl");
	tables_fill(conn, &pooled);
	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++)
		store_measure(env, &stores[i], &pooled, out);
	json_object_set_new(out, "violations", json_integer(pooled.violations));
	json_object_set_new(out, "tenants", json_integer(TENANTS));
	json_object_set_new(out, "rows_each", json_integer(pooled.rows));
	json_object_set_new(out, "connections", json_integer(CONNECTIONS));
	free(pooled.took);
	PQfinish(conn);
	db_run(admin, "DROP DATABASE " DATABASE " WITH (FORCE)");
	PQfinish(admin);
}

const struct bench bench_pooled = {
    .name = "pooled",
    .summary = "20 tenants' questions at once: each gets exactly its own rows",
    .run = run,
};
