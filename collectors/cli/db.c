/* SPDX-License-Identifier: PostgreSQL
 *
 * db.c -- the private cluster as its superuser, through libpq.
 */
#include "cli/db.h"

#include <poll.h>
#include <string.h>

#include "cli/step.h"

char *
db_conninfo(const struct home *home, const char *database, const char *role)
{
	/* No part can hold a quote: paths come from realpath and are checked by home.c. */
	return util_fmt("host='%s' port=%s dbname='%s' user='%s' application_name='probectl' "
	                "client_encoding=UTF8",
	                home_path(home, "run"), HOME_PG_PORT, database, role);
}

/* "does not exist, skipping" and the like are nobody's business here. */
static void
notice_drop(void *arg, const PGresult *result)
{
}

PGconn *
db_try_connect(const struct home *home, const char *database, struct util_error *err)
{
	PGconn *conn = PQconnectdb(db_conninfo(home, database, HOME_SUPERUSER));
	char *text;

	PQsetNoticeReceiver(conn, notice_drop, NULL);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	text = util_dup(PQerrorMessage(conn));
	text[strcspn(text, "\n")] = '\0';
	util_error_set(err, "%s", text);
	PQfinish(conn);
	return NULL;
}

PGconn *
db_connect(const struct home *home, const char *database)
{
	struct util_error err;
	PGconn *conn = db_try_connect(home, database, &err);

	if (!conn)
		util_fail(EXIT_CANNOT, "the database does not answer (%s): see 'probectl status'",
		          err.text);
	return conn;
}

static void
wait_readable(PGconn *conn)
{
	while (PQisBusy(conn))
	{
		struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};

		poll(&p, 1, 500);
		step_tick();
		if (!PQconsumeInput(conn))
			return;
	}
}

/* The last result, or the first that is an error. */
static PGresult *
collect(PGconn *conn)
{
	PGresult *last = NULL;

	for (;;)
	{
		PGresult *next;

		wait_readable(conn);
		next = PQgetResult(conn);
		if (!next)
			return last;
		if (last && PQresultStatus(last) == PGRES_FATAL_ERROR)
			PQclear(next);
		else
		{
			PQclear(last);
			last = next;
		}
	}
}

static void __attribute__((noreturn)) query_failed(PGconn *conn, PGresult *result, const char *sql)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *hint = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_HINT) : NULL;

	/* 53100: no space left on the device of the cluster. */
	if (state && strcmp(state, "53100") == 0)
		util_fail(EXIT_CANNOT, "the disk is full: %s: free some space, then retry", text);
	if (text)
		util_fail(EXIT_CANNOT, "%s%s%s", text, hint ? ": " : "", hint ? hint : "");
	util_fail(EXIT_CANNOT, "the database went away (%.60s): see 'probectl status'",
	          *PQerrorMessage(conn) ? PQerrorMessage(conn) : sql);
}

PGresult *
db_query(PGconn *conn, const char *allowed, const char *sql, int count, const char *const *params)
{
	PGresult *result;
	const char *state;
	int sent;

	/* Without parameters the simple protocol, which takes several statements. */
	if (count == 0)
		sent = PQsendQuery(conn, sql);
	else
		sent = PQsendQueryParams(conn, sql, count, NULL, params, NULL, NULL, 0);
	result = sent ? collect(conn) : NULL;
	if (result &&
	    (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK))
		return result;
	state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	if (!allowed || !state || strcmp(state, allowed) != 0)
		query_failed(conn, result, sql);
	PQclear(result);
	return NULL;
}

char *
db_value(PGconn *conn, const char *sql, int count, const char *const *params)
{
	PGresult *result = db_query(conn, NULL, sql, count, params);
	char *value = NULL;

	if (PQntuples(result) > 0 && !PQgetisnull(result, 0, 0))
		value = util_dup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return value;
}

void
db_run(PGconn *conn, const char *sql)
{
	PQclear(db_query(conn, NULL, sql, 0, NULL));
}

void
db_enter_tenant(PGconn *conn, const char *slug)
{
	const char *id;

	id = db_value(conn, "SELECT tenant_id FROM probectl.tenant_list() WHERE slug = $1", 1, &slug);
	if (!id)
		util_fail(EXIT_CANNOT, "there is no tenant %s: see 'probectl tenant list'", slug);
	db_run(conn, "BEGIN");
	PQclear(db_query(conn, NULL, "SELECT probectl.enter_tenant($1::uuid)", 1, &id));
}
