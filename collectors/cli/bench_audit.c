/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_audit.c -- how fast the audit chains take events, and how fast they are verified.
 *
 * Own database. Clients are connections of this one process, each with one transaction under way: bind
 * the tenant, append, commit; so the figures hold what a client costs as well. How many events a transaction
 * appends is part of each figure's name in the output. Durable means that the commit waits for the disk.
 */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/util.h"

#define DATABASE       "probectl_bench"
#define CLIENTS_MAX    16
#define SECONDS        4
#define VERIFY_DEFAULT 300000
#define VERIFY_REPEATS 5
#define LINEAR_REPEATS 5

struct audit_load
{
	const char *key; /* of the figure, without _per_s */
	int clients;
	int tenants;
	int events; /* of a transaction */
	bool durable;
};

static const struct audit_load loads[] = {
    {"appends", 8, 8, 100, false},
    {"hot_chain_appends", 8, 1, 100, false},
    {"single_appends", 8, 8, 1, false},
    {"durable_appends", 16, 16, 10, true},
    {"durable_single_appends", 16, 16, 1, true},
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

struct client
{
	PGconn *conn;
	char *sql;
};

static void
client_send(struct client *c)
{
	if (!PQsendQuery(c->conn, c->sql))
		util_fail(EXIT_CANNOT, "bench audit: %s", PQerrorMessage(c->conn));
}

/* True when the transaction is over. */
static bool
client_done(struct client *c)
{
	PGresult *result;

	if (!PQconsumeInput(c->conn))
		util_fail(EXIT_CANNOT, "bench audit: %s", PQerrorMessage(c->conn));
	while (!PQisBusy(c->conn))
	{
		result = PQgetResult(c->conn);
		if (!result)
			return true;
		if (PQresultStatus(result) == PGRES_FATAL_ERROR)
			util_fail(EXIT_CANNOT, "bench audit: %s", PQresultErrorMessage(result));
		PQclear(result);
	}
	return false;
}

/* Events a second, counted from the first commit to the last. */
static double
load_measure(const struct home *home, const struct audit_load *load, char **tenants, double seconds)
{
	struct client clients[CLIENTS_MAX];
	struct pollfd polls[CLIENTS_MAX];
	int64_t done = 0;
	int busy = load->clients;
	double began, ends;

	for (int i = 0; i < load->clients; i++)
	{
		clients[i].conn = db_connect(home, DATABASE);
		db_run(clients[i].conn,
		       load->durable ? "SET synchronous_commit = on" : "SET synchronous_commit = off");
		clients[i].sql = util_fmt(
		    "BEGIN; SELECT probectl.enter_tenant('%s'); SELECT bench.append(%d); COMMIT",
		    tenants[i % load->tenants], load->events);
		polls[i] = (struct pollfd){.fd = PQsocket(clients[i].conn), .events = POLLIN};
	}
	began = bench_now_s();
	ends = began + seconds;
	for (int i = 0; i < load->clients; i++)
		client_send(&clients[i]);
	while (busy > 0)
	{
		poll(polls, (nfds_t) load->clients, 1000);
		for (int i = 0; i < load->clients; i++)
		{
			if (!polls[i].revents || !client_done(&clients[i]))
				continue;
			done += load->events;
			if (bench_now_s() < ends)
				client_send(&clients[i]);
			else
			{
				polls[i].fd = -1;
				busy--;
			}
		}
	}
	ends = bench_now_s();
	for (int i = 0; i < load->clients; i++)
		PQfinish(clients[i].conn);
	return (double) done / (ends - began);
}

/* Seconds of one transaction that appends so many. */
static double
append_time(PGconn *conn, const char *slug, int count)
{
	double began = bench_now_s();

	db_enter_tenant(conn, slug);
	db_run(conn, util_fmt("SELECT bench.append(%d)", count));
	db_run(conn, "COMMIT");
	return bench_now_s() - began;
}

/* An event of 5,000 in a transaction against one of 500: 1 is linear. */
static double
linear_measure(PGconn *conn)
{
	double small = INFINITY, large = INFINITY;

	for (int i = 0; i < LINEAR_REPEATS; i++)
	{
		small = fmin(small, append_time(conn, "bench-2", 500) / 500);
		large = fmin(large, append_time(conn, "bench-2", 5000) / 5000);
	}
	return large / small;
}

/* Rows a second of audit_verify(), the best of some; whatever was appended has to verify. */
static double
verify_measure(PGconn *conn, int64_t rows)
{
	double best = 0;

	append_time(conn, "bench-3", (int) rows);
	db_run(conn, "VACUUM (ANALYZE) probectl.audit_event");
	for (int i = 0; i < VERIFY_REPEATS; i++)
	{
		double began;
		char *events;

		db_enter_tenant(conn, "bench-3");
		began = bench_now_s();
		events = db_value(conn, "SELECT CASE WHEN ok THEN events END FROM probectl.audit_verify()",
		                  0, NULL);
		if (!events)
			util_fail(EXIT_CANNOT, "bench audit: the chain does not verify");
		best = fmax(best, strtod(events, NULL) / (bench_now_s() - began));
		db_run(conn, "COMMIT");
	}
	return best;
}

static PGconn *
database_make(const struct home *home, char **tenants)
{
	PGconn *conn = db_connect(home, "postgres");

	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	db_run(conn, "CREATE DATABASE " DATABASE " TEMPLATE template0");
	PQfinish(conn);
	conn = db_connect(home, DATABASE);
	db_run(conn, "CREATE EXTENSION probectl");
	for (int i = 0; i < CLIENTS_MAX; i++)
		tenants[i] = db_value(
		    conn, util_fmt("SELECT probectl.tenant_create('bench-%d', 'Bench %d')", i, i), 0, NULL);
	/* A tenant's role appends through what changes its rows only; this stands for that. */
	db_run(conn, "CREATE SCHEMA bench; GRANT USAGE ON SCHEMA bench TO probectl_app;"
	             "CREATE FUNCTION bench.append(n integer) RETURNS bigint LANGUAGE plpgsql SECURITY "
	             "DEFINER SET "
	             "search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN (SELECT "
	             "max(probectl_internal.audit_append('test.update', "
	             "'0192e4a2-0000-7000-8000-000000000001', 'ok', "
	             "'{\"before\": {\"target\": \"one.example.net\"}, \"after\": {\"target\": "
	             "\"two.example.net\"}}')) "
	             "FROM generate_series(1, n)); END $$;"
	             "GRANT EXECUTE ON FUNCTION bench.append(integer) TO probectl_app");
	return conn;
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t rows = env->rows ? env->rows : VERIFY_DEFAULT;
	double seconds = env->seconds ? (double) env->seconds : SECONDS;
	char *tenants[CLIENTS_MAX];
	PGconn *conn;

	if (rows > 10000000)
		util_fail(EXIT_USAGE, "bench audit: --rows is at most 10000000");
	conn = database_make(env->home, tenants);
	for (size_t i = 0; i < LOADS; i++)
	{
		fprintf(stderr, "bench: %s, %d clients, %d chains, %d in a transaction\n", loads[i].key,
		        loads[i].clients, loads[i].tenants, loads[i].events);
		json_object_set_new(out, util_fmt("%s_per_s", loads[i].key),
		                    json_real(load_measure(env->home, &loads[i], tenants, seconds)));
		json_object_set_new(out, util_fmt("%s_in_a_transaction", loads[i].key),
		                    json_integer(loads[i].events));
	}
	json_object_set_new(out, "many_in_one_ratio", json_real(linear_measure(conn)));
	fprintf(stderr, "bench: verifying %lld events\n", (long long) rows);
	json_object_set_new(out, "verify_rows_per_s", json_real(verify_measure(conn, rows)));
	PQfinish(conn);
	conn = db_connect(env->home, "postgres");
	db_run(conn, "DROP DATABASE IF EXISTS " DATABASE " WITH (FORCE)");
	PQfinish(conn);
}

const struct bench bench_audit = {
    .name = "audit",
    .summary = "appending to the audit chains and verifying them",
    .run = run,
};
