/* SPDX-License-Identifier: PostgreSQL
 *
 * ctl.c -- the one connection beside the pool.
 *
 * After every connect it walks the same steps (ready, routes, description, LISTEN) and
 * then rests, answering a ping every few seconds. Its loss is how the loss of the database is
 * noticed without traffic: event streams are told, readiness ends, and the way
 * back is again all the steps, so that an upgraded extension's routes are served.
 */
#include "gateway/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "gateway/db.h"
#include "gateway/events.h"
#include "gateway/gateway.h"
#include "gateway/route.h"
#include "lib/log.h"
#include "lib/mem.h"

#define PING_EVERY_MS    5000
#define PING_AGAIN_MS    500 /* while its workers do not run */
#define ANSWER_WITHIN_MS 10000
#define RETRY_MIN_MS     100
#define RETRY_MAX_MS     2000

enum ctl_state
{
	CTL_IDLE, /* waits for retry_at */
	CTL_CONNECTING,
	CTL_ASKING, /* a step's query is under way */
	CTL_RESTING /* listening */
};

enum ctl_step
{
	CTL_READY,
	CTL_ROUTES,
	CTL_OPENAPI,
	CTL_LISTEN,
	CTL_PING,
	CTL_STEPS
};

static bool take_ready(PGresult *res);
static bool take_routes(PGresult *res);
static bool take_openapi(PGresult *res);
static bool take_listen(PGresult *res);

/* After a step comes the next; the last two lead to rest. */
static const struct
{
	const char *sql;
	bool (*take)(PGresult *res);
} steps[CTL_STEPS] = {
    [CTL_READY] = {"SELECT version, workers FROM probectl.ready()", take_ready},
    [CTL_ROUTES] = {"SELECT method, path, stream FROM probectl.api_route", take_routes},
    [CTL_OPENAPI] = {"SELECT probectl.openapi()", take_openapi},
    [CTL_LISTEN] = {"LISTEN probectl_event", take_listen},
    [CTL_PING] = {"SELECT version, workers FROM probectl.ready()", take_ready},
};

static struct
{
	char *conninfo;
	PGconn *pg;
	struct event *read_ev, *write_ev;
	enum ctl_state state;
	enum ctl_step step;
	bool reload;
	bool ever_ready;
	bool fatal; /* the last error will not pass by waiting */
	int64_t since;
	int64_t retry_at;
	int backoff_ms;
	struct route_table *routes;
	char *openapi;
	char openapi_etag[24];
	char version[64];
	int workers;
	char error[256];
} ctl;

static void ctl_event(evutil_socket_t fd, short what, void *arg);
static void ctl_ask(enum ctl_step step);

static void
ctl_enter(enum ctl_state state)
{
	ctl.state = state;
	ctl.since = gw_now_ms();
}

static void
ctl_events_free(void)
{
	if (ctl.read_ev != NULL)
		event_free(ctl.read_ev);
	if (ctl.write_ev != NULL)
		event_free(ctl.write_ev);
	ctl.read_ev = ctl.write_ev = NULL;
}

static void
ctl_events_set(void)
{
	ctl_events_free();
	ctl.read_ev = event_new(gw_base, PQsocket(ctl.pg), EV_READ | EV_PERSIST, ctl_event, NULL);
	ctl.write_ev = event_new(gw_base, PQsocket(ctl.pg), EV_WRITE, ctl_event, NULL);
	if (ctl.read_ev == NULL || ctl.write_ev == NULL)
		log_fatal("ctl", NULL, "out of memory for events");
}

static void
ctl_fail(const char *why)
{
	bool was_resting = ctl.state == CTL_RESTING || ctl.step == CTL_PING;

	db_message(why, ctl.error, sizeof ctl.error);
	if (was_resting)
		log_warning("ctl", NULL, "database lost: %s", ctl.error);
	else
		log_limited(LOG_LEVEL_WARNING, "ctl", NULL, "database not usable: %s", ctl.error);
	ctl_events_free();
	PQfinish(ctl.pg);
	ctl.pg = NULL;
	ctl.step = CTL_READY;
	ctl_enter(CTL_IDLE);
	ctl.backoff_ms = ctl.backoff_ms == 0 ? RETRY_MIN_MS : ctl.backoff_ms * 2;
	if (ctl.backoff_ms > RETRY_MAX_MS)
		ctl.backoff_ms = RETRY_MAX_MS;
	ctl.retry_at = gw_now_ms() + ctl.backoff_ms;
	if (was_resting)
		events_degraded();
}

/* SQL states that another attempt will not change: no such function, table or schema, or no
 * right to it. */
static bool
state_is_lasting(const char *sqlstate)
{
	static const char *const lasting[] = {"42883", "42P01", "42703", "3F000", "42501", "0A000"};

	for (size_t i = 0; sqlstate != NULL && i < sizeof lasting / sizeof lasting[0]; i++)
		if (strcmp(sqlstate, lasting[i]) == 0)
			return true;
	return false;
}

static bool
take_ready(PGresult *res)
{
	if (PQntuples(res) != 1)
		return false;
	snprintf(ctl.version, sizeof ctl.version, "%s", PQgetvalue(res, 0, 0));
	ctl.workers = (int) strtol(PQgetvalue(res, 0, 1), NULL, 10);
	return true;
}

static bool
take_routes(PGresult *res)
{
	struct route_table *table = route_table_new();
	char err[200];

	for (int i = 0; i < PQntuples(res); i++)
		if (!route_table_add(table, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1),
		                     PQgetvalue(res, i, 2)[0] == 't', err, sizeof err))
			log_error("ctl", NULL, "route left out: %s", err);
	route_table_seal(table);
	route_table_free(ctl.routes);
	ctl.routes = table;
	return true;
}

static bool
take_openapi(PGresult *res)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	if (PQntuples(res) != 1 || PQgetisnull(res, 0, 0))
		return false;
	free(ctl.openapi);
	ctl.openapi = mem_strdup(PQgetvalue(res, 0, 0));
	for (const char *p = ctl.openapi; *p != '\0'; p++)
		h = (h ^ (unsigned char) *p) * UINT64_C(0x100000001b3);
	snprintf(ctl.openapi_etag, sizeof ctl.openapi_etag, "\"%016llx\"", (unsigned long long) h);
	return true;
}

static bool
take_listen(PGresult *res)
{
	bool again = ctl.ever_ready;

	ctl.ever_ready = true;
	ctl.backoff_ms = 0;
	log_info("ctl", NULL, "database ready: probectl %s, %zu routes", ctl.version,
	         route_table_size(ctl.routes));
	if (again)
		events_restored();
	return true;
}

static void
ctl_flush(void)
{
	int rc = PQflush(ctl.pg);

	if (rc < 0)
		ctl_fail(PQerrorMessage(ctl.pg));
	else if (rc > 0)
		event_add(ctl.write_ev, NULL);
}

static void
ctl_ask(enum ctl_step step)
{
	ctl.step = step;
	ctl_enter(CTL_ASKING);
	if (PQsendQuery(ctl.pg, steps[step].sql) != 1)
		ctl_fail(PQerrorMessage(ctl.pg));
	else
		ctl_flush();
}

/* The answer of a step is complete. */
static void
ctl_advance(void)
{
	if (ctl.step < CTL_LISTEN)
		ctl_ask(ctl.step + 1);
	else
	{
		ctl.step = CTL_PING;
		ctl_enter(CTL_RESTING);
	}
}

static void
ctl_results(void)
{
	PGresult *res;
	PGnotify *n;

	if (PQconsumeInput(ctl.pg) != 1)
	{
		ctl_fail(PQerrorMessage(ctl.pg));
		return;
	}
	while (ctl.state == CTL_ASKING && !PQisBusy(ctl.pg))
	{
		ExecStatusType status;

		res = PQgetResult(ctl.pg);
		if (res == NULL)
		{
			ctl_advance();
			if (ctl.pg == NULL)
				return;
			continue;
		}
		status = PQresultStatus(res);
		if ((status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) || !steps[ctl.step].take(res))
		{
			char line[256];

			ctl.fatal = state_is_lasting(PQresultErrorField(res, PG_DIAG_SQLSTATE));
			db_message(PQresultErrorMessage(res), line, sizeof line);
			PQclear(res);
			ctl_fail(line[0] != '\0' ? line : "an answer has not the form agreed on");
			return;
		}
		PQclear(res);
	}
	while (ctl.pg != NULL && (n = PQnotifies(ctl.pg)) != NULL)
	{
		events_notified(n->extra);
		PQfreemem(n);
	}
}

static void
ctl_poll(void)
{
	PostgresPollingStatusType status = PQconnectPoll(ctl.pg);

	if (status == PGRES_POLLING_FAILED)
	{
		ctl_fail(PQerrorMessage(ctl.pg));
		return;
	}
	ctl_events_set();
	if (status == PGRES_POLLING_OK)
	{
		PQsetnonblocking(ctl.pg, 1);
		event_add(ctl.read_ev, NULL);
		ctl_ask(CTL_READY);
		return;
	}
	event_add(status == PGRES_POLLING_READING ? ctl.read_ev : ctl.write_ev, NULL);
}

static void
ctl_event(evutil_socket_t fd, short what, void *arg)
{
	if (ctl.state == CTL_CONNECTING)
	{
		ctl_poll();
		return;
	}
	if (what & EV_WRITE)
		ctl_flush();
	if (ctl.pg != NULL && (what & EV_READ))
		ctl_results();
}

static void
ctl_connect(void)
{
	ctl.fatal = false;
	ctl.pg = db_connect_start(ctl.conninfo, "control");
	if (ctl.pg == NULL)
		log_fatal("ctl", NULL, "out of memory for a connection");
	ctl.step = CTL_READY;
	ctl_enter(CTL_CONNECTING);
	if (PQstatus(ctl.pg) == CONNECTION_BAD)
	{
		ctl_fail(PQerrorMessage(ctl.pg));
		return;
	}
	ctl_events_set();
	event_add(ctl.write_ev, NULL);
}

void
ctl_tick(int64_t now_ms)
{
	int64_t age = now_ms - ctl.since;

	switch (ctl.state)
	{
		case CTL_IDLE:
			if (now_ms >= ctl.retry_at)
				ctl_connect();
			break;
		case CTL_CONNECTING:
		case CTL_ASKING:
			if (age > ANSWER_WITHIN_MS)
				ctl_fail("no answer in time");
			break;
		case CTL_RESTING:
			if (ctl.reload)
			{
				ctl.reload = false;
				ctl_ask(CTL_READY);
			}
			else if (age > (ctl.workers > 0 ? PING_EVERY_MS : PING_AGAIN_MS))
				ctl_ask(CTL_PING);
			break;
	}
}

void
ctl_start(const char *conninfo)
{
	ctl.conninfo = mem_strdup(conninfo);
	ctl_connect();
}

void
ctl_stop(void)
{
	ctl_events_free();
	PQfinish(ctl.pg);
	ctl.pg = NULL;
	route_table_free(ctl.routes);
	ctl.routes = NULL;
	free(ctl.openapi);
	ctl.openapi = NULL;
	free(ctl.conninfo);
	ctl.conninfo = NULL;
}

void
ctl_reload(void)
{
	ctl.reload = true;
}

const struct route_table *
ctl_routes(void)
{
	return ctl.routes;
}

const char *
ctl_openapi(const char **etag)
{
	*etag = ctl.openapi_etag;
	return ctl.openapi;
}

bool
ctl_ready(const char **reason)
{
	if (!ctl.ever_ready)
		*reason = "no contact with the database yet";
	else if (ctl.state == CTL_IDLE || ctl.state == CTL_CONNECTING)
		*reason = "the database does not answer";
	else if (db_ready_count() == 0)
		*reason = "no connection for requests";
	else if (ctl.workers <= 0)
		*reason = "the database answers, but its workers do not run";
	else
		return true;
	return false;
}

bool
ctl_ever_ready(void)
{
	return ctl.ever_ready;
}

const char *
ctl_last_error(bool *fatal)
{
	*fatal = ctl.fatal;
	return ctl.error;
}

const char *
ctl_version(void)
{
	return ctl.version;
}

int
ctl_workers(void)
{
	return ctl.workers;
}
