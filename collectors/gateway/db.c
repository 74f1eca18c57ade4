/* SPDX-License-Identifier: PostgreSQL
 *
 * db.c -- the pool of pipelined database connections.
 *
 * An operation is sent as two segments:
 *
 *     BEGIN  enter_session  statement  Sync   COMMIT  Sync
 *
 * An error makes the server skip to the next Sync. Were COMMIT in the same segment, it
 * would be skipped too and the operations behind would fall into the failed transaction; in
 * its own segment it always runs and ends the transaction, as ROLLBACK after an error. So
 * one caller's error never touches the next one's operation.
 *
 * Results are matched by position only: `step` walks the operation at the head of the
 * connection's list, and anything that does not fit its place closes the connection.
 * Connection states: IDLE -> CONNECTING -> PREPARING -> READY -> IDLE (after a fault).
 */
#include "gateway/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "gateway/gateway.h"
#include "lib/log.h"
#include "lib/mem.h"

#define RECONNECT_MIN_MS   100
#define RECONNECT_MAX_MS   2000
#define CONNECT_TIMEOUT_MS 5000
#define LATE_GRACE_MS      5000 /* after this the server is taken for dead */

enum conn_state
{
	DBC_IDLE,       /* waits for retry_at */
	DBC_CONNECTING, /* PQconnectPoll */
	DBC_PREPARING,  /* the statements are being prepared */
	DBC_READY
};

enum step
{
	STEP_BEGIN,
	STEP_ENTER,
	STEP_MAIN,
	STEP_SYNC,
	STEP_COMMIT,
	STEP_LAST_SYNC
};

struct db_op
{
	TAILQ_ENTRY(db_op) link;
	int64_t deadline;
	enum step step; /* next result expected */
	bool entered;   /* has an enter_session */
	bool rolled_back;
	enum db_statement statement;
	db_done done; /* NULL: was answered as late */
	void *arg;
	PGresult *result; /* of the main statement, or the first error */
	bool refused;     /* result is an error */
	const char *token;
	const char *params[DB_PARAMS_MAX];
	int lengths[DB_PARAMS_MAX]; /* of bytes; text needs none */
	char strings[];
};

TAILQ_HEAD(op_list, db_op);

struct db_conn
{
	PGconn *pg;
	struct event *read_ev, *write_ev;
	enum conn_state state;
	struct op_list flight;
	int depth;
	int prepare_left; /* PREPARING: results still to come */
	int stray_nulls;  /* NULLs in a row at a place where none belongs */
	int64_t since;    /* state entered */
	int64_t retry_at;
	int backoff_ms;
	int index;
};

static const struct
{
	const char *name;
	const char *sql;
	int params;
} statements[DB_STATEMENTS] = {
    [DB_BEGIN] = {"b", "BEGIN", 0},
    [DB_ENTER] = {"e", "SELECT probectl.enter_session($1)", 1},
    /* An open page that asks by itself does not keep its session alive. */
    [DB_PEEK] = {"p", "SELECT probectl.enter_session($1, false)", 1},
    [DB_COMMIT] = {"c", "COMMIT", 0},
    [DB_CALL] = {"call", "SELECT status, body FROM probectl.api_call($1, $2, $3, $4, $5)", 5},
    [DB_TENANT] = {"tenant", "SELECT probectl.current_tenant()", 0},
    [DB_SIGNOUT] = {"signout", "SELECT probectl.session_end()", 0},
    [DB_SIGNIN] = {"signin",
                   "SELECT session, to_char(expires_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
                   " greatest(extract(epoch FROM expires_at - now()), 0)::bigint"
                   " FROM probectl.signin_redeem($1, $2)",
                   2},
    [DB_ENROLL] = {"enroll",
                   "SELECT tenant_id, agent_id, spiffe_id, certificate, ca_bundle, serial,"
                   " to_char(not_after, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                   " FROM probectl.agent_enroll($1, $2, $3, $4)",
                   4},
    [DB_REMOTE_WRITE] = {"write", "SELECT status, message FROM probectl.remote_write($1)", 1},
};

static struct
{
	char *conninfo;
	struct db_conn *conns;
	int count;
	struct op_list queue;
	size_t queued;
	size_t pending;
} pool;

static void conn_event(evutil_socket_t fd, short what, void *arg);
static void conn_fail(struct db_conn *c, const char *why);
static void conn_send(struct db_conn *c, struct db_op *op);
static void pool_dispatch(void);

const char *
db_message(const char *text, char *buf, size_t len)
{
	size_t n = strcspn(text != NULL ? text : "", "\n");

	snprintf(buf, len, "%.*s", (int) n, text != NULL ? text : "");
	return buf;
}

/*
 * Session settings that answers rely on: UTC times, UTF-8, no notices, and limits on the
 * server's side that end what the gateway no longer waits for. They are added behind
 * the operator's own options.
 */
PGconn *
db_connect_start(const char *conninfo, const char *role)
{
	char options[1024], name[64];
	const char *own = NULL;
	char *err = NULL;
	PQconninfoOption *parsed = PQconninfoParse(conninfo, &err);
	const char *keys[] = {"dbname", "application_name", "client_encoding", "options", NULL};
	const char *values[] = {conninfo, name, "UTF8", options, NULL};
	PGconn *pg;

	for (PQconninfoOption *o = parsed; o != NULL && o->keyword != NULL; o++)
		if (strcmp(o->keyword, "options") == 0)
			own = o->val;
	snprintf(options, sizeof options,
	         "%s -c statement_timeout=%lld -c idle_in_transaction_session_timeout=%lld"
	         " -c client_min_messages=error -c TimeZone=UTC -c DateStyle=ISO",
	         own != NULL ? own : "", (long long) gw_settings.request_ms,
	         (long long) gw_settings.request_ms + LATE_GRACE_MS);
	snprintf(name, sizeof name, "probectl-gateway %s", role);
	pg = PQconnectStartParams(keys, values, 1);
	PQconninfoFree(parsed);
	PQfreemem(err);
	return pg;
}

/* Delivers an operation's fate and forgets it. */
static void
op_finish(struct db_op *op, enum db_fate fate)
{
	db_done done = op->done;
	void *arg = op->arg;
	PGresult *result = op->result;

	pool.pending--;
	free(op);
	if (done != NULL)
		done(arg, fate, result);
	PQclear(result);
}

/* ---- connections ------------------------------------------------------------------ */

static void
conn_events_free(struct db_conn *c)
{
	if (c->read_ev != NULL)
		event_free(c->read_ev);
	if (c->write_ev != NULL)
		event_free(c->write_ev);
	c->read_ev = c->write_ev = NULL;
}

/* The socket may be another one after each PQconnectPoll (several hosts). */
static void
conn_events_set(struct db_conn *c)
{
	conn_events_free(c);
	c->read_ev = event_new(gw_base, PQsocket(c->pg), EV_READ | EV_PERSIST, conn_event, c);
	c->write_ev = event_new(gw_base, PQsocket(c->pg), EV_WRITE, conn_event, c);
	if (c->read_ev == NULL || c->write_ev == NULL)
		log_fatal("db", NULL, "out of memory for events");
}

static void
conn_enter_state(struct db_conn *c, enum conn_state state)
{
	int ready = c->state == DBC_READY;

	c->state = state;
	c->since = gw_now_ms();
	metric_add(&gw_metrics[GW_DB_CONNECTED], (state == DBC_READY) - ready);
}

/* Ends a connection: what it had under way is lost, a new attempt comes after a pause. */
static void
conn_fail(struct db_conn *c, const char *why)
{
	struct op_list lost = TAILQ_HEAD_INITIALIZER(lost);
	struct db_op *op;
	char line[256];

	db_message(why, line, sizeof line);
	if (c->state == DBC_READY)
		log_warning("db", NULL, "connection %d lost: %s", c->index, line);
	else
		log_limited(LOG_LEVEL_WARNING, "db", NULL, "cannot connect to the database: %s", line);

	conn_events_free(c);
	PQfinish(c->pg);
	c->pg = NULL;
	conn_enter_state(c, DBC_IDLE);
	c->backoff_ms = c->backoff_ms == 0 ? RECONNECT_MIN_MS : c->backoff_ms * 2;
	if (c->backoff_ms > RECONNECT_MAX_MS)
		c->backoff_ms = RECONNECT_MAX_MS;
	c->retry_at = gw_now_ms() + c->backoff_ms / 2 +
	              (int64_t) (gw_random() % (uint64_t) c->backoff_ms);
	TAILQ_CONCAT(&lost, &c->flight, link);
	c->depth = 0;
	gw_count(GW_DB_RECONNECTS);

	while ((op = TAILQ_FIRST(&lost)) != NULL)
	{
		TAILQ_REMOVE(&lost, op, link);
		PQclear(op->result);
		op->result = NULL;
		op_finish(op, DB_LOST);
	}
	/* Who waited for this pool waits for nothing when it was the last connection. */
	if (db_ready_count() == 0)
		while ((op = TAILQ_FIRST(&pool.queue)) != NULL)
		{
			TAILQ_REMOVE(&pool.queue, op, link);
			pool.queued--;
			op_finish(op, DB_AWAY);
		}
}

static void
conn_start(struct db_conn *c)
{
	c->pg = db_connect_start(pool.conninfo, "requests");
	if (c->pg == NULL)
		log_fatal("db", NULL, "out of memory for a connection");
	conn_enter_state(c, DBC_CONNECTING);
	if (PQstatus(c->pg) == CONNECTION_BAD)
	{
		conn_fail(c, PQerrorMessage(c->pg));
		return;
	}
	conn_events_set(c);
	event_add(c->write_ev, NULL); /* libpq: behave as if PQconnectPoll said "writing" */
}

static void
conn_flush(struct db_conn *c)
{
	int rc = PQflush(c->pg);

	if (rc < 0)
		conn_fail(c, PQerrorMessage(c->pg));
	else if (rc > 0)
		event_add(c->write_ev, NULL);
}

/* Prepares every statement in one segment. */
static void
conn_prepare(struct db_conn *c)
{
	bool ok = PQsetnonblocking(c->pg, 1) == 0 && PQenterPipelineMode(c->pg) == 1;

	for (int i = 0; ok && i < DB_STATEMENTS; i++)
		ok = PQsendPrepare(c->pg, statements[i].name, statements[i].sql, 0, NULL) == 1;
	ok = ok && PQpipelineSync(c->pg) == 1;
	if (!ok)
	{
		conn_fail(c, PQerrorMessage(c->pg));
		return;
	}
	c->prepare_left = DB_STATEMENTS;
	conn_enter_state(c, DBC_PREPARING);
	conn_events_set(c);
	event_add(c->read_ev, NULL);
	conn_flush(c);
}

static void
conn_poll(struct db_conn *c)
{
	PostgresPollingStatusType status = PQconnectPoll(c->pg);

	if (status == PGRES_POLLING_OK)
		conn_prepare(c);
	else if (status == PGRES_POLLING_FAILED)
		conn_fail(c, PQerrorMessage(c->pg));
	else
	{
		conn_events_set(c);
		event_add(status == PGRES_POLLING_READING ? c->read_ev : c->write_ev, NULL);
	}
}

/* ---- results ---------------------------------------------------------------------- */

/* One result of the preparation. False when the connection is gone. */
static bool
prepare_result(struct db_conn *c, PGresult *res)
{
	ExecStatusType status;
	char line[256];

	if (res == NULL)
		return true;
	status = PQresultStatus(res);
	if (status == PGRES_COMMAND_OK)
		c->prepare_left--;
	else if (status == PGRES_PIPELINE_SYNC && c->prepare_left == 0)
	{
		c->backoff_ms = 0;
		conn_enter_state(c, DBC_READY);
		log_info("db", NULL, "connection %d ready", c->index);
	}
	else if (status != PGRES_PIPELINE_ABORTED)
	{
		db_message(PQresultErrorMessage(res), line, sizeof line);
		PQclear(res);
		conn_fail(c, line);
		return false;
	}
	PQclear(res);
	return true;
}

/* Keeps the first error of an operation, or the rows of its main statement. */
static void
op_take(struct db_op *op, PGresult *res, ExecStatusType status)
{
	if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)
	{
		if (op->refused)
		{
			PQclear(res);
			return;
		}
		PQclear(op->result);
		op->result = res;
		op->refused = true;
		return;
	}
	if (op->step == STEP_MAIN && status == PGRES_TUPLES_OK && op->result == NULL)
	{
		op->result = res;
		return;
	}
	if (op->step == STEP_COMMIT && strcmp(PQcmdStatus(res), "COMMIT") != 0)
		op->rolled_back = true;
	PQclear(res);
}

/* The operation at the head has its last Sync: deliver it. */
static void
op_complete(struct db_conn *c, struct db_op *op)
{
	TAILQ_REMOVE(&c->flight, op, link);
	c->depth--;
	if (op->refused)
		op_finish(op, DB_REFUSED);
	else if (op->rolled_back || op->result == NULL)
		op_finish(op, DB_LOST);
	else
		op_finish(op, DB_ANSWERED);
}

/*
 * One result (or the NULL that ends a statement's results) for the operation at the head.
 * Returns NULL when it fits, otherwise why the connection cannot be trusted any more.
 */
static const char *
flight_result(struct db_conn *c, PGresult *res)
{
	struct db_op *op = TAILQ_FIRST(&c->flight);
	bool at_sync = op->step == STEP_SYNC || op->step == STEP_LAST_SYNC;
	ExecStatusType status;

	if (res == NULL)
	{
		if (!at_sync)
			op->step = op->step == STEP_BEGIN && !op->entered ? STEP_MAIN : op->step + 1;
		else if (c->stray_nulls++ > 0)
			return "the server's answers are out of step";
		return NULL;
	}
	c->stray_nulls = 0;
	status = PQresultStatus(res);
	if (status == PGRES_PIPELINE_SYNC)
	{
		PQclear(res);
		if (!at_sync)
			return "the server's answers are out of step";
		if (op->step == STEP_LAST_SYNC)
			op_complete(c, op);
		else
			op->step = STEP_COMMIT;
		return NULL;
	}
	op_take(op, res, status);
	return NULL;
}

/* Takes everything that has arrived. */
static void
conn_results(struct db_conn *c)
{
	if (PQconsumeInput(c->pg) != 1)
	{
		conn_fail(c, PQerrorMessage(c->pg));
		return;
	}
	while (!PQisBusy(c->pg))
	{
		PGresult *res;
		const char *fault;

		if (c->state == DBC_READY && TAILQ_EMPTY(&c->flight))
			break;
		res = PQgetResult(c->pg);
		if (PQstatus(c->pg) == CONNECTION_BAD)
		{
			PQclear(res);
			conn_fail(c, PQerrorMessage(c->pg));
			return;
		}
		if (c->state == DBC_PREPARING)
		{
			if (!prepare_result(c, res))
				return;
			continue;
		}
		fault = flight_result(c, res);
		if (c->state != DBC_READY) /* an answer led to a send that failed */
			return;
		if (fault != NULL)
		{
			conn_fail(c, fault);
			return;
		}
	}
	/* At rest the server must be outside a transaction, or nothing may follow here. */
	if (c->state == DBC_READY && c->depth == 0 && PQtransactionStatus(c->pg) != PQTRANS_IDLE)
		conn_fail(c, "connection at rest is not idle");
}

static void
conn_event(evutil_socket_t fd, short what, void *arg)
{
	struct db_conn *c = arg;

	if (c->state == DBC_CONNECTING)
	{
		conn_poll(c);
		return;
	}
	if (what & EV_WRITE)
		conn_flush(c);
	if (c->pg != NULL && (what & EV_READ))
		conn_results(c);
	pool_dispatch();
}

/* ---- operations ------------------------------------------------------------------- */

static bool
conn_send_statement(struct db_conn *c, enum db_statement s, const char *const *params)
{
	return PQsendQueryPrepared(c->pg, statements[s].name, statements[s].params, params, NULL, NULL,
	                           0) == 1;
}

static bool
conn_send_main(struct db_conn *c, const struct db_op *op)
{
	static const int binary[DB_PARAMS_MAX] = {1};

	if (op->statement != DB_REMOTE_WRITE)
		return conn_send_statement(c, op->statement, op->params);
	return PQsendQueryPrepared(c->pg, statements[op->statement].name, 1, op->params, op->lengths,
	                           binary, 0) == 1;
}

/* Sends both segments. When the connection breaks the operation is answered by that. */
static void
conn_send(struct db_conn *c, struct db_op *op)
{
	bool ok;

	op->step = STEP_BEGIN;
	TAILQ_INSERT_TAIL(&c->flight, op, link);
	c->depth++;

	ok = conn_send_statement(c, DB_BEGIN, NULL);
	if (ok && op->entered)
		ok = conn_send_statement(c, op->statement == DB_TENANT ? DB_PEEK : DB_ENTER, &op->token);
	ok = ok && conn_send_main(c, op) && PQpipelineSync(c->pg) == 1 &&
	     conn_send_statement(c, DB_COMMIT, NULL) && PQpipelineSync(c->pg) == 1;
	if (!ok)
	{
		conn_fail(c, PQerrorMessage(c->pg));
		return;
	}
	conn_flush(c);
}

/* The ready connection with the fewest operations; NULL when all are full. */
static struct db_conn *
pool_pick(void)
{
	struct db_conn *best = NULL;

	for (int i = 0; i < pool.count; i++)
	{
		struct db_conn *c = &pool.conns[i];

		if (c->state == DBC_READY && c->depth < DB_DEPTH_MAX &&
		    (best == NULL || c->depth < best->depth))
			best = c;
	}
	return best;
}

static void
pool_dispatch(void)
{
	struct db_op *op;
	struct db_conn *c;

	while ((op = TAILQ_FIRST(&pool.queue)) != NULL && (c = pool_pick()) != NULL)
	{
		TAILQ_REMOVE(&pool.queue, op, link);
		pool.queued--;
		conn_send(c, op);
	}
	metric_set(&gw_metrics[GW_DB_QUEUED], (int64_t) pool.queued);
}

static struct db_op *
op_new(const struct db_request *r)
{
	size_t size = 0;
	struct db_op *op;
	char *p;

	if (r->token != NULL)
		size += strlen(r->token) + 1;
	for (int i = 0; i < DB_PARAMS_MAX; i++)
		if (r->params[i] != NULL)
			size += strlen(r->params[i]) + 1;
	op = mem_alloc(sizeof *op + size + r->len);
	p = op->strings;
	if (r->bytes != NULL)
	{
		memcpy(p, r->bytes, r->len);
		op->params[0] = p;
		op->lengths[0] = (int) r->len;
		p += r->len;
	}
	for (int i = -1; i < DB_PARAMS_MAX; i++)
	{
		const char *from = i < 0 ? r->token : r->params[i];
		size_t n;

		if (from == NULL)
			continue;
		n = strlen(from) + 1;
		memcpy(p, from, n);
		if (i < 0)
			op->token = p;
		else
			op->params[i] = p;
		p += n;
	}
	op->entered = r->token != NULL;
	op->statement = r->statement;
	op->done = r->done;
	op->arg = r->arg;
	op->deadline = gw_now_ms() + gw_settings.request_ms;
	return op;
}

void
db_submit(const struct db_request *request)
{
	struct db_op *op;
	struct db_conn *c;

	if (db_ready_count() == 0)
	{
		request->done(request->arg, DB_AWAY, NULL);
		return;
	}
	c = TAILQ_EMPTY(&pool.queue) ? pool_pick() : NULL;
	if (c == NULL && pool.queued >= (size_t) gw_settings.queue)
	{
		request->done(request->arg, DB_FULL, NULL);
		return;
	}
	op = op_new(request);
	pool.pending++;
	if (c != NULL)
	{
		conn_send(c, op);
		return;
	}
	TAILQ_INSERT_TAIL(&pool.queue, op, link);
	pool.queued++;
}

int
db_ready_count(void)
{
	int n = 0;

	for (int i = 0; i < pool.count; i++)
		n += pool.conns[i].state == DBC_READY;
	return n;
}

size_t
db_pending(void)
{
	return pool.pending;
}

static struct db_op *
conn_overdue(struct db_conn *c, int64_t now)
{
	struct db_op *op;

	TAILQ_FOREACH (op, &c->flight, link)
		if (op->done != NULL && now > op->deadline)
			return op;
	return NULL;
}

/* Answers what is overdue on a connection; a server that ignores its own limit is gone. */
static void
conn_tick(struct db_conn *c, int64_t now)
{
	struct db_op *op;

	if (c->state == DBC_IDLE && now >= c->retry_at)
		conn_start(c);
	else if ((c->state == DBC_CONNECTING || c->state == DBC_PREPARING) &&
	         now - c->since > CONNECT_TIMEOUT_MS)
		conn_fail(c, "no answer while connecting");
	if (c->state != DBC_READY)
		return;
	op = TAILQ_FIRST(&c->flight);
	if (op != NULL && now > op->deadline + LATE_GRACE_MS)
	{
		conn_fail(c, "no answer to a request");
		return;
	}
	/* An answer may change the list, so look from the start after each. */
	while (c->state == DBC_READY && (op = conn_overdue(c, now)) != NULL)
	{
		db_done done = op->done;

		op->done = NULL;
		done(op->arg, DB_LATE, NULL);
	}
}

void
db_tick(int64_t now_ms)
{
	struct db_op *op;

	for (int i = 0; i < pool.count; i++)
		conn_tick(&pool.conns[i], now_ms);
	while ((op = TAILQ_FIRST(&pool.queue)) != NULL && now_ms > op->deadline)
	{
		TAILQ_REMOVE(&pool.queue, op, link);
		pool.queued--;
		op_finish(op, DB_EXPIRED);
	}
	pool_dispatch();
	metrics_backlog((int64_t) pool.pending);
}

void
db_start(const char *conninfo, int connections)
{
	TAILQ_INIT(&pool.queue);
	pool.conninfo = mem_strdup(conninfo);
	pool.count = connections;
	pool.conns = mem_array((size_t) connections, sizeof *pool.conns);
	for (int i = 0; i < connections; i++)
	{
		pool.conns[i].index = i;
		TAILQ_INIT(&pool.conns[i].flight);
		conn_start(&pool.conns[i]);
	}
}

void
db_stop(void)
{
	for (int i = 0; i < pool.count; i++)
	{
		struct db_conn *c = &pool.conns[i];
		struct db_op *op;

		while ((op = TAILQ_FIRST(&c->flight)) != NULL)
		{
			TAILQ_REMOVE(&c->flight, op, link);
			op->done = NULL;
			op_finish(op, DB_LOST);
		}
		conn_events_free(c);
		PQfinish(c->pg);
	}
	free(pool.conns);
	free(pool.conninfo);
	pool.conns = NULL;
	pool.count = 0;
}
