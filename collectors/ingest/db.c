/* SPDX-License-Identifier: PostgreSQL
 *
 * db.c -- libpq in pipeline mode, several requests in flight on each of N connections.
 *
 * On the wire a request of n items is
 *
 *     (BEGIN enter stmt COMMIT) x (n-1)  BEGIN enter stmt  Sync  COMMIT  Sync
 *
 * An error makes the server skip everything up to the next Sync, so nothing of a later item
 * runs; the COMMIT behind that Sync is then a rollback and leaves the session clean for the
 * request behind, which may already be on its way. Without the two Syncs a failed item would leave
 * an aborted transaction block that fails its innocent successors.
 *
 * All state belongs to the thread of the event loop, but the inbox (mutex) and the number of
 * usable connections (atomic). A lost connection answers what it had in flight with
 * DB_UNAVAILABLE: whether a COMMIT that was under way happened is unknown, the producer sends the
 * batch again and its sequence numbers tell. Nothing waits while no connection is usable.
 */
#include "ingest/db.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "ingest/gather.h"
#include "ingest/group.h"
#include "ingest/line.h"
#include "ingest/stats.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

/* Requests in flight on one connection: enough to hide the turnaround, few enough that a
 * request is not bound to a slow connection while another one is idle. */
#define DB_WINDOW 4

#define DB_BACKOFF_MIN_MS 100
#define DB_BACKOFF_MAX_MS 5000

/* The server cancels a statement first; these are for a server that says nothing. */
#define DB_STATEMENT_TIMEOUT_MS 20000
#define DB_SILENCE_MS           30000
#define DB_CONNECT_MS           10000

#define DB_OID_BYTEA 17

struct db_statement_def
{
	const char *name;
	const char *sql;
	int params;
	unsigned binary; /* parameters in binary, a bit each */
	int result_format;
	bool unbound; /* does not enter as an agent */
};

static const struct db_statement_def db_statements[DB_STATEMENTS] = {
    [DB_ENTER_ONLY] = {"enter", "SELECT probectl.enter_agent($1::uuid, $2::uuid, $3::text)", 3, 0,
                       0},
    [DB_INGEST] = {"ingest",
                   "SELECT epoch, committed_seq, stored, duplicate, dead_lettered"
                   " FROM probectl.ingest($1::text, $2::bytea)",
                   2, 1 << 1, 0},
    [DB_REGISTER] = {"register",
                     "SELECT config_epoch, heartbeat_interval, stream_epoch, committed_seq"
                     " FROM probectl.agent_register($1::text, $2::text, $3::text[], $4::jsonb)",
                     4, 0, 0},
    [DB_HEARTBEAT] = {"heartbeat",
                      "SELECT config_stale, heartbeat_interval"
                      " FROM probectl.agent_heartbeat($1::jsonb)",
                      1, 0, 0},
    [DB_TESTS] = {"tests",
                  "SELECT revision, bundle, signature, signer"
                  " FROM probectl.agent_tests($1::bigint)",
                  1, 0, 1},
    [DB_MEET] = {"meet",
                 "SELECT revision, tasks"
                 " FROM probectl.a2a_meet($1::bigint, $2::jsonb, $3::text)",
                 3, 0, 1},
    [DB_ROTATE_START] = {"rotate_start", "SELECT probectl.agent_rotate_start($1::text)", 1, 0, 0},
    [DB_ROTATE] = {"rotate",
                   "SELECT certificate, ca_bundle, new_serial,"
                   " pg_catalog.floor(extract(epoch FROM not_after))::bigint"
                   " FROM probectl.agent_rotate($1::text, $2::text, $3::text, $4::bytea)",
                   4, 1 << 3, 0},
    [DB_REFUSED] = {"refused",
                    "SELECT epoch, committed_seq, stored, duplicate, dead_lettered"
                    " FROM probectl.ingest_refused($1::uuid, $2::uuid, $3::text, $4::text,"
                    " $5::bytea, $6::text)",
                    6, 1 << 4, 0, true},
    [DB_BUS_LAYOUT] = {"bus_layout",
                       "SELECT probectl.bus_layout($1::text, $2::integer, $3::integer)", 3, 0, 0,
                       true},
    [DB_BUS_CLAIM] = {"bus_claim",
                      "SELECT next_offset, fence FROM"
                      " probectl.bus_claim($1::text, $2::text, $3::integer)",
                      3, 0, 0, true},
    [DB_BUS_PASS] = {"bus_pass", "SELECT true", 0, 0, 0, true},
    [DB_GROUP] = {"group",
                  "SELECT epoch, committed_seq, stored, duplicate, dead_lettered"
                  " FROM probectl.ingest_agents($1::uuid, $2::text[]::uuid[], $3::text[],"
                  " $4::text[], $5::bytea[])",
                  5, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4, 0, true},
};

#define DB_PLACE_SQL                                                                               \
	"SELECT probectl.bus_advance($1::text, $2::text, $3::integer, $4::bigint, $5::bigint,"         \
	" $6::bigint)"

/* A commit that could be lost by a crash is no commit for a producer, so "off" is overruled. */
static const char *const db_setup[] = {
    "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)"
    " WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'",
    "SET statement_timeout = '20s'",
    "SET idle_in_transaction_session_timeout = '30s'",
};

enum db_conn_state
{
	CONN_DOWN,       /* -> CONNECTING when the timer fires */
	CONN_CONNECTING, /* -> SETTING_UP, DOWN */
	CONN_SETTING_UP, /* -> READY, DOWN */
	CONN_READY,      /* -> DOWN */
};

enum db_step
{
	STEP_BEGIN,
	STEP_PLACE,
	STEP_ENTER,
	STEP_STATEMENT,
	STEP_COMMIT,
	STEP_SYNC,
	STEP_END,
};

/* What waits, by what it may go to. They take turns, so that none waits for all of another. */
enum kind
{
	KIND_CALLS,
	KIND_BATCHES, /* large ones, and those that go alone */
	KIND_SMALL,   /* small batches, which wait for company (gather.h) */
	KINDS,
};

struct db_queue
{
	struct db_request *head, **tail;
	int count;
};

struct db_conn
{
	struct db *db;
	bool listener; /* the one that LISTENs and takes no requests */
	enum db_conn_state state;
	PGconn *pg;
	struct event *read, *write, *timer;
	int64_t since; /* monotonic ms: entered this state */
	int backoff_ms;
	struct db_queue flight;
	int smalls; /* of those in flight that were small batches */
};

struct db
{
	struct event_base *base;
	struct db_settings settings;
	char *conninfo;
	struct db_conn *conns; /* settings.connections, then the listener */
	struct event *inbox_event, *tick;
	int inbox_fd;
	pthread_mutex_t inbox_lock; /* guards inbox only */
	struct db_queue inbox;
	bool inbox_woken, gathering; /* of the inbox as well: the loop looks soon without being woken */
	struct db_queue calls;       /* not sent yet */
	struct line batches, small;  /* not sent yet */
	int turn;                    /* of the kinds */
	struct gather gather;
	struct event *gathered; /* time to look at what gathers */
	bool away_logged;       /* one line per outage */
	bool greeted;           /* it was there once */
	bool aborted;
	_Atomic int ready;
	uint64_t faults;
};

static void conn_connect(struct db_conn *conn);
static void conn_lost(struct db_conn *conn, const char *why);
static void db_collect(struct db *db);
static void db_schedule(struct db *db);

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- queues ---- */

static void
queue_init(struct db_queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
	queue->count = 0;
}

static void
queue_put(struct db_queue *queue, struct db_request *request)
{
	request->next = NULL;
	*queue->tail = request;
	queue->tail = &request->next;
	queue->count++;
}

static struct db_request *
queue_take(struct db_queue *queue)
{
	struct db_request *request = queue->head;

	if (request == NULL)
		return NULL;
	queue->head = request->next;
	if (queue->head == NULL)
		queue->tail = &queue->head;
	queue->count--;
	return request;
}

/* ---- outcome of a request ---- */

static const char db_lost[] = "the connection to the database was lost, send again";

static void
request_fail(struct db_request *request, enum db_code code, const char *message)
{
	if (request->failed)
		return; /* the first failure is the cause */
	request->failed = true;
	request->code = code;
	snprintf(request->message, sizeof(request->message), "%s", message);
}

static void
request_complete(struct db_request *request)
{
	if (!request->failed)
		request->code = DB_OK;
	request->complete(request);
}

static void
request_unavailable(struct db_request *request, const char *message)
{
	request_fail(request, DB_UNAVAILABLE, message);
	request_complete(request);
}

static const struct
{
	const char *sqlstate;
	enum db_code code;
} db_sqlstates[] = {
    {"PC401", DB_UNAUTHENTICATED}, {"PC403", DB_NOT_PERMITTED}, {"PC404", DB_NOT_FOUND},
    {"PC409", DB_CONFLICT},        {"PC422", DB_BAD_INPUT},     {"PC429", DB_QUOTA},
    {"PC412", DB_FENCED},
};

/* Classes of errors that the same statement meets again: data, constraints, our own bugs. */
static const char *const db_lasting[] = {"21", "22", "23", "XX"};

/* An error the contract names is told to the producer; any other one is ours: logged under a
 * request number, which is all the producer learns of it. */
static void
request_error(struct db *db, struct db_request *request, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	char text[sizeof(request->message)];

	if (request->failed)
		return;
	request->refused = sqlstate != NULL && strncmp(sqlstate, "08", 2) != 0 &&
	                   strncmp(sqlstate, "57P", 3) != 0;
	/* Each member is asked for again by itself, and then it is told. */
	if (request->group != NULL && request->refused)
	{
		request_fail(request, DB_UNAVAILABLE, "refused as one of several");
		return;
	}
	for (size_t i = 0; sqlstate != NULL && i < sizeof(db_sqlstates) / sizeof(db_sqlstates[0]); i++)
	{
		if (strcmp(sqlstate, db_sqlstates[i].sqlstate) != 0)
			continue;
		snprintf(text, sizeof(text), "%s%s%s", primary ? primary : "refused", detail ? ": " : "",
		         detail ? detail : "");
		request_fail(request, db_sqlstates[i].code, text);
		return;
	}
	/* 08 connection exception, 57P operator intervention: the server goes away. libpq's own errors
	 * have no code and mean the same. */
	if (!request->refused)
	{
		request_fail(request, DB_UNAVAILABLE, db_lost);
		return;
	}
	for (size_t i = 0; i < sizeof(db_lasting) / sizeof(db_lasting[0]); i++)
		request->fault |= strncmp(sqlstate, db_lasting[i], 2) == 0;
	db->faults++;
	stat_add(STAT_DB_FAULTS, 1);
	log_limited(LOG_LEVEL_ERROR, "database", NULL, "fault %llu: %s: %s%s%s",
	            (unsigned long long) db->faults, sqlstate,
	            primary ? primary : PQresultErrorMessage(result), detail ? ": " : "",
	            detail ? detail : "");
	snprintf(text, sizeof(text),
	         "internal fault, try again; the log of probectl-ingest has it as"
	         " fault %llu",
	         (unsigned long long) db->faults);
	request_fail(request, DB_UNAVAILABLE, text);
}

/* Steps of one item up to its COMMIT, in order. Returns how many. */
static int
item_steps(const struct db_item *item, enum db_step steps[4])
{
	int count = 0;

	steps[count++] = STEP_BEGIN;
	if (item->place != NULL)
		steps[count++] = STEP_PLACE;
	if (!db_statements[item->statement].unbound)
		steps[count++] = STEP_ENTER;
	if (item->statement != DB_ENTER_ONLY)
		steps[count++] = STEP_STATEMENT;
	return count;
}

/* What the step-th answer of this request is about, and which item. */
static enum db_step
request_step(const struct db_request *request, int step, int *item)
{
	int last = request->item_count - 1;

	for (int i = 0; i <= last; i++)
	{
		enum db_step steps[4];
		int count = item_steps(&request->items[i], steps);

		*item = i;
		if (step < count)
			return steps[step];
		step -= count;
		if (i == last)
			break;
		if (step == 0)
			return STEP_COMMIT;
		step--;
	}
	switch (step)
	{
		case 0: return STEP_SYNC;
		case 1: return STEP_COMMIT;
		case 2: return STEP_SYNC;
		default: return STEP_END;
	}
}

/* One answer for the oldest request in flight. False: the answer does not fit the
 * question, and the connection must go. */
static bool
request_answer(struct db *db, struct db_request *request, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	int item = 0;
	enum db_step step = request_step(request, request->step, &item);
	bool fits = true;

	request->step++;
	if ((status == PGRES_PIPELINE_SYNC) != (step == STEP_SYNC) || step == STEP_END)
		fits = false;
	else if (status == PGRES_FATAL_ERROR)
		request_error(db, request, result);
	else if (status == PGRES_TUPLES_OK && step == STEP_STATEMENT)
	{
		if (PQntuples(result) == (request->group != NULL ? request->group->rows : 1))
		{
			request->items[item].result = result;
			return true; /* kept */
		}
		request_fail(request, DB_UNAVAILABLE, "internal fault: the database gave no row");
	}
	else if (status == PGRES_COMMAND_OK && step == STEP_COMMIT)
	{
		/* A COMMIT of an aborted transaction succeeds and says ROLLBACK. */
		if (!request->failed && strcmp(PQcmdStatus(result), "COMMIT") == 0)
			request->done = item + 1;
		else
			request_fail(request, DB_UNAVAILABLE, "internal fault: not committed, try again");
	}
	PQclear(result);
	return fits;
}

static bool
place_send(PGconn *pg, const struct db_place *place)
{
	char partition[12], numbers[3][24];
	const int64_t values[3] = {place->fence, place->from, place->to};
	const char *params[6] = {place->cluster, place->topic, partition,
	                         numbers[0],     numbers[1],   numbers[2]};

	snprintf(partition, sizeof(partition), "%d", place->partition);
	for (int i = 0; i < 3; i++)
		snprintf(numbers[i], sizeof(numbers[i]), "%lld", (long long) values[i]);
	return PQsendQueryPrepared(pg, "place", 6, params, NULL, NULL, 0);
}

static bool
item_send(PGconn *pg, const struct db_request *request, struct db_item *item)
{
	const struct db_statement_def *def = &db_statements[item->statement];
	const char *own[3] = {request->tenant, request->agent, request->serial};
	int formats[DB_PARAMS_MAX] = {0};

	for (int i = 0; i < def->params; i++)
		formats[i] = (int) (def->binary >> i & 1);
	if (!PQsendQueryPrepared(pg, "begin", 0, NULL, NULL, NULL, 0))
		return false;
	if (item->place != NULL && !place_send(pg, item->place))
		return false;
	if (!def->unbound &&
	    !PQsendQueryPrepared(pg, "enter", 3, item->who[0] ? item->who : own, NULL, NULL, 0))
		return false;
	return item->statement == DB_ENTER_ONLY ||
	       PQsendQueryPrepared(pg, def->name, def->params, item->values, item->lengths, formats,
	                           def->result_format);
}

static bool
request_send(PGconn *pg, struct db_request *request)
{
	request->step = 0;
	request->sent_at = now_ms();
	for (int i = 0; i < request->item_count; i++)
	{
		if (!item_send(pg, request, &request->items[i]))
			return false;
		if (i == request->item_count - 1 && !PQpipelineSync(pg))
			return false;
		if (!PQsendQueryPrepared(pg, "commit", 0, NULL, NULL, NULL, 0))
			return false;
	}
	return PQpipelineSync(pg) == 1;
}

/* ---- a connection ---- */

static void
conn_state(struct db_conn *conn, enum db_conn_state state)
{
	struct db *db = conn->db;

	if (!conn->listener && (conn->state == CONN_READY) != (state == CONN_READY))
	{
		db->ready += state == CONN_READY ? 1 : -1;
		metric_set(&stats[STAT_DB_CONNECTIONS], db->ready);
	}
	conn->state = state;
	conn->since = now_ms();
}

static void
conn_events_free(struct db_conn *conn)
{
	if (conn->read != NULL)
		event_free(conn->read);
	if (conn->write != NULL)
		event_free(conn->write);
	conn->read = conn->write = NULL;
}

/* libpq ends its messages with a newline, and some have several lines. */
static void
conn_message(const PGconn *pg, char *out, size_t len)
{
	snprintf(out, len, "%s", pg != NULL ? PQerrorMessage(pg) : "out of memory");
	for (char *p = out; *p != '\0'; p++)
		if (*p == '\n' || *p == '\t')
			*p = p[1] == '\0' ? '\0' : ' ';
}

static void
conn_schedule_connect(struct db_conn *conn)
{
	struct timeval wait = clock_timeval(conn->backoff_ms * NANO_PER_MS);

	event_add(conn->timer, &wait);
	conn->backoff_ms *= 2;
	if (conn->backoff_ms > DB_BACKOFF_MAX_MS)
		conn->backoff_ms = DB_BACKOFF_MAX_MS;
}

static void
conn_lost(struct db_conn *conn, const char *why)
{
	struct db *db = conn->db;
	struct db_queue orphans = conn->flight;
	struct db_request *request;
	char text[512];

	if (why == NULL)
		conn_message(conn->pg, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%s", why);
	conn_events_free(conn);
	PQfinish(conn->pg);
	conn->pg = NULL;
	conn_state(conn, CONN_DOWN);
	if (!db->aborted)
	{
		if (!db->away_logged)
			log_error("database", NULL,
			          "%s; producers keep their results, trying again every %d s "
			          "at the latest",
			          text, DB_BACKOFF_MAX_MS / 1000);
		db->away_logged = true;
		conn_schedule_connect(conn);
	}

	if (orphans.count > 0)
	{
		/* The copy's tail may point into the original's head. */
		queue_init(&conn->flight);
		conn->smalls = 0;
		while ((request = orphans.head) != NULL)
		{
			orphans.head = request->next;
			request_unavailable(request, db_lost);
		}
	}
	db_schedule(db);
}

static void
conn_ready(struct db_conn *conn)
{
	struct db *db = conn->db;

	conn_state(conn, CONN_READY);
	conn->backoff_ms = DB_BACKOFF_MIN_MS;
	stat_add(STAT_DB_RECONNECTS, 1);
	/* When the last one is back, so that an outage is two lines, not two for each. */
	if (db->ready == db->settings.connections && (db->away_logged || !db->greeted))
	{
		log_info("database", NULL, "connected");
		db->away_logged = false;
		db->greeted = true;
	}
	if (conn->listener)
		db->settings.notified(NULL);
	db_schedule(db);
}

static void
conn_flush(struct db_conn *conn)
{
	int more = PQflush(conn->pg);

	if (more > 0)
		event_add(conn->write, NULL);
	else if (more == 0)
		event_del(conn->write);
	/* A failed flush shows as a failed read, with the server's last words. */
}

static void
conn_notifications(struct db_conn *conn)
{
	PGnotify *notify;

	while ((notify = PQnotifies(conn->pg)) != NULL)
	{
		conn->db->settings.notified(notify->extra);
		PQfreemem(notify);
	}
}

/* Answers to the setup statements, up to their Sync. */
static bool
conn_setup_answer(struct db_conn *conn, PGresult *result, char *why, size_t len)
{
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_FATAL_ERROR)
	{
		const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		snprintf(why, len,
		         "cannot prepare its statements (%s); is the extension created there (CREATE "
		         "EXTENSION probectl) and does the login have the role probectl_ingest?",
		         primary ? primary : "no message");
		PQclear(result);
		return false;
	}
	PQclear(result);
	if (status == PGRES_PIPELINE_SYNC)
		conn_ready(conn);
	return true;
}

/* Takes every complete answer out of libpq. A NULL separates the answers of two
 * statements; two in a row mean that there is no more. */
static void
conn_answers(struct db_conn *conn)
{
	int nulls = 0;

	while (conn->pg != NULL && !PQisBusy(conn->pg) && nulls < 2)
	{
		PGresult *result;
		struct db_request *request = conn->flight.head;
		char why[512];
		int item;

		if (conn->state == CONN_READY && request == NULL)
			break;
		result = PQgetResult(conn->pg);
		if (result == NULL)
		{
			nulls++;
			continue;
		}
		nulls = 0;
		if (conn->state == CONN_SETTING_UP)
		{
			if (!conn_setup_answer(conn, result, why, sizeof(why)))
			{
				conn_lost(conn, why);
				return;
			}
			continue;
		}
		if (!request_answer(conn->db, request, result))
		{
			conn_lost(conn, NULL);
			return;
		}
		if (request_step(request, request->step, &item) == STEP_END)
		{
			queue_take(&conn->flight);
			conn->smalls -= request->small;
			request_complete(request);
		}
	}
}

static void
conn_readable(evutil_socket_t fd, short what, void *arg)
{
	struct db_conn *conn = arg;
	bool alive = PQconsumeInput(conn->pg) == 1;

	/* What was read before the end still counts. */
	conn_answers(conn);
	if (conn->pg == NULL)
		return;
	conn_notifications(conn);
	if (!alive || PQstatus(conn->pg) == CONNECTION_BAD)
		conn_lost(conn, NULL);
	else
	{
		conn_flush(conn);
		db_collect(conn->db);
		db_schedule(conn->db);
	}
}

static void
conn_writable(evutil_socket_t fd, short what, void *arg)
{
	conn_flush(arg);
}

static bool
conn_send_setup(struct db_conn *conn)
{
	PGconn *pg = conn->pg;

	if (PQsetnonblocking(pg, 1) != 0 || !PQenterPipelineMode(pg))
		return false;
	if (conn->listener)
		return PQsendQueryParams(pg, "LISTEN probectl_event", 0, NULL, NULL, NULL, NULL, 0) &&
		       PQpipelineSync(pg);
	for (size_t i = 0; i < sizeof(db_setup) / sizeof(db_setup[0]); i++)
		if (!PQsendQueryParams(pg, db_setup[i], 0, NULL, NULL, NULL, NULL, 0))
			return false;
	if (!PQsendPrepare(pg, "begin", "BEGIN", 0, NULL) ||
	    !PQsendPrepare(pg, "commit", "COMMIT", 0, NULL) ||
	    !PQsendPrepare(pg, "place", DB_PLACE_SQL, 0, NULL))
		return false;
	for (int i = 0; i < DB_STATEMENTS; i++)
		if (!PQsendPrepare(pg, db_statements[i].name, db_statements[i].sql, 0, NULL))
			return false;
	return PQpipelineSync(pg) == 1;
}

static void
conn_connected(struct db_conn *conn)
{
	struct event_base *base = conn->db->base;
	int fd = PQsocket(conn->pg);

	conn_events_free(conn);
	conn->read = event_new(base, fd, EV_READ | EV_PERSIST, conn_readable, conn);
	conn->write = event_new(base, fd, EV_WRITE | EV_PERSIST, conn_writable, conn);
	if (conn->read == NULL || conn->write == NULL || event_add(conn->read, NULL) != 0)
		log_fatal("database", NULL, "out of memory");
	conn_state(conn, CONN_SETTING_UP);
	if (!conn_send_setup(conn))
		conn_lost(conn, NULL);
	else
		conn_flush(conn);
}

/* PQconnectPoll says what to wait for; its socket may be another one each time. */
static void
conn_poll(evutil_socket_t fd, short what, void *arg)
{
	struct db_conn *conn = arg;
	PostgresPollingStatusType poll;

	if (conn->read != NULL)
		poll = PQconnectPoll(conn->pg);
	else
		poll = PGRES_POLLING_WRITING; /* as documented for the first call */
	conn_events_free(conn);
	if (poll == PGRES_POLLING_OK)
	{
		conn_connected(conn);
		return;
	}
	if (poll == PGRES_POLLING_FAILED)
	{
		conn_lost(conn, NULL);
		return;
	}
	conn->read = event_new(conn->db->base, PQsocket(conn->pg),
	                       poll == PGRES_POLLING_READING ? EV_READ : EV_WRITE, conn_poll, conn);
	if (conn->read == NULL || event_add(conn->read, NULL) != 0)
		log_fatal("database", NULL, "out of memory");
}

static void
conn_notice(void *arg, const char *message)
{
	log_debug("database", NULL, "%s", message);
}

static void
conn_connect(struct db_conn *conn)
{
	conn->pg = PQconnectStart(conn->db->conninfo);
	conn_state(conn, CONN_CONNECTING);
	if (conn->pg == NULL || PQstatus(conn->pg) == CONNECTION_BAD)
	{
		conn_lost(conn, NULL);
		return;
	}
	PQsetNoticeProcessor(conn->pg, conn_notice, NULL);
	conn_poll(-1, 0, conn);
}

static void
conn_timer(evutil_socket_t fd, short what, void *arg)
{
	conn_connect(arg);
}

/* ---- the whole ---- */

/* A small batch takes a connection that has no other in flight: behind that one it would wait as long, and
 * meanwhile others join it. Large ones it does not wait for, or a flood of them would hold it up for ever. */
static struct db_conn *
db_idlest(struct db *db, bool small)
{
	struct db_conn *best = NULL;

	for (int i = 0; i < db->settings.connections; i++)
	{
		struct db_conn *conn = &db->conns[i];

		if (conn->state == CONN_READY && conn->flight.count < DB_WINDOW &&
		    !(small && conn->smalls > 0) &&
		    (best == NULL || conn->flight.count < best->flight.count))
			best = conn;
	}
	return best;
}

/* Where the answer to a group goes. */
static void
group_answered(struct db_request *request)
{
	struct group *group = request->group;
	struct db *db = request->owner;

	if (request->done == 1)
		group_divide(group);
	for (int i = 0; i < group->count; i++)
	{
		struct db_request *member = group->members[i];

		if (request->done == 1)
			request_complete(member);
		else if (request->refused)
		{
			member->alone = true;
			line_put(&db->batches, member, true);
		}
		else
			request_unavailable(member, request->message);
	}
	group_free(group);
}

/* What waits of the same tenant goes with it. */
static struct db_request *
line_share(struct db *db, struct line *line)
{
	struct db_request *first = line_take(line), *request;
	struct group *group = NULL;

	while (db->ready > 0 && (request = line_also(line, first)) != NULL)
	{
		if (group == NULL)
			group = group_new(first);
		if (!group_add(group, request))
			break;
		(void) line_take(line);
	}
	line_turn(line, first);
	if (group == NULL)
		return first;
	group->request.owner = db;
	group->request.complete = group_answered;
	group_seal(group);
	stat_add(STAT_GROUPS, 1);
	return &group->request;
}

static bool
db_waits(const struct db *db, enum kind kind)
{
	return kind == KIND_CALLS     ? db->calls.count > 0
	       : kind == KIND_BATCHES ? line_ripe(&db->batches)
	                              : line_ripe(&db->small);
}

/* What goes next, and where; NULL: nothing can. */
static struct db_request *
db_next(struct db *db, struct db_conn **conn)
{
	for (int i = 0; i < KINDS; i++)
	{
		enum kind kind = (enum kind)((db->turn + i) % KINDS);
		bool small = kind == KIND_SMALL;
		struct db_request *request;

		if (!db_waits(db, kind) || (*conn = db_idlest(db, small)) == NULL)
			continue;
		db->turn = (kind + 1) % KINDS;
		request = kind == KIND_CALLS ? queue_take(&db->calls)
		                             : line_share(db, small ? &db->small : &db->batches);
		request->small = small;
		return request;
	}
	return NULL;
}

/* While no connection is usable nothing waits. */
static void
db_refuse(struct db *db)
{
	struct db_request *request;

	line_ripen(&db->small, INT64_MAX);
	while ((request = queue_take(&db->calls)) != NULL ||
	       (request = line_take(&db->batches)) != NULL || (request = line_take(&db->small)) != NULL)
		request_unavailable(request, "the database cannot be reached, try again later");
}

/* While something gathers it is looked at again and again. */
static void
db_gather(struct db *db)
{
	static const struct timeval time = {0, GATHER_LOOK_MS * 1000};

	if (!line_gathers(&db->small) || event_pending(db->gathered, EV_TIMEOUT, NULL))
		return;
	event_add(db->gathered, &time);
	pthread_mutex_lock(&db->inbox_lock);
	db->gathering = true;
	pthread_mutex_unlock(&db->inbox_lock);
}

static void
db_schedule(struct db *db)
{
	struct db_conn *conn;
	struct db_request *request;

	/* What cannot go now goes with an answer, which calls again, or in time (db_gather). */
	while ((request = db_next(db, &conn)) != NULL)
	{
		queue_put(&conn->flight, request);
		conn->smalls += request->small;
		if (!request_send(conn->pg, request))
		{
			conn_lost(conn, NULL); /* calls again */
			return;
		}
		conn_flush(conn);
	}
	if (db->ready == 0)
		db_refuse(db);
	else
		db_gather(db);
}

static void
db_put(struct db *db, struct db_request *request)
{
	if (!request->bulk)
		queue_put(&db->calls, request);
	else if (!group_small(request))
		line_put(&db->batches, request, true);
	else
	{
		gather_count(&db->gather, request->queued_at);
		line_put(&db->small, request, gather_wait(&db->gather) == 0);
	}
}

/* Takes what was submitted. */
static void
db_collect(struct db *db)
{
	struct db_queue inbox;
	struct db_request *request, *next;

	pthread_mutex_lock(&db->inbox_lock);
	inbox = db->inbox;
	queue_init(&db->inbox);
	db->inbox_woken = false;
	pthread_mutex_unlock(&db->inbox_lock);

	for (request = inbox.count > 0 ? inbox.head : NULL; request != NULL; request = next)
	{
		next = request->next;
		db_put(db, request);
	}
}

static void
db_gathered(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	pthread_mutex_lock(&db->inbox_lock);
	db->gathering = false;
	pthread_mutex_unlock(&db->inbox_lock);
	db_collect(db);
	line_ripen(&db->small, now_ms() - gather_wait(&db->gather));
	db_schedule(db);
}

static void
db_inbox(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_fatal("database", NULL, "cannot read the wake-up counter: %s", strerror(errno));
	db_collect(db);
	db_schedule(db);
}

void
db_submit(struct db *db, struct db_request *request)
{
	static const uint64_t one = 1;
	bool wake;

	request->done = 0;
	request->failed = request->fault = request->refused = request->alone = false;
	request->group = NULL;
	request->message[0] = '\0';
	request->queued_at = now_ms();
	for (int i = 0; i < request->item_count; i++)
		request->items[i].result = NULL;
	pthread_mutex_lock(&db->inbox_lock);
	/* A small batch would only wait with the others. */
	wake = !db->inbox_woken && !(db->gathering && group_small(request));
	db->inbox_woken |= wake;
	queue_put(&db->inbox, request);
	pthread_mutex_unlock(&db->inbox_lock);

	/* An eventfd that is not empty needs no second write; EAGAIN means just that. */
	if (wake && write(db->inbox_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_fatal("database", NULL, "cannot write the wake-up counter: %s", strerror(errno));
}

int
db_ready(struct db *db)
{
	return db->ready;
}

/* A server that was stopped or cut off answers nothing and closes nothing. */
static void
db_tick(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;
	int64_t now = now_ms();

	for (int i = 0; i <= db->settings.connections; i++)
	{
		struct db_conn *conn = &db->conns[i];
		struct db_request *oldest = conn->flight.head;

		if (oldest != NULL && now - oldest->sent_at > DB_SILENCE_MS)
			conn_lost(conn, "the database has not answered for 30 s");
		else if ((conn->state == CONN_CONNECTING || conn->state == CONN_SETTING_UP) &&
		         now - conn->since > DB_CONNECT_MS)
			conn_lost(conn, "connecting to the database took more than 10 s");
	}
}

struct db *
db_start(struct event_base *base, const struct db_settings *settings)
{
	static const struct timeval second = {1, 0};
	struct db *db = mem_alloc(sizeof(*db));

	db->base = base;
	db->settings = *settings;
	db->conninfo = mem_strdup(settings->conninfo);
	queue_init(&db->inbox);
	queue_init(&db->calls);
	line_init(&db->batches);
	line_init(&db->small);
	pthread_mutex_init(&db->inbox_lock, NULL);
	db->inbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	db->inbox_event = event_new(base, db->inbox_fd, EV_READ | EV_PERSIST, db_inbox, db);
	db->tick = event_new(base, -1, EV_PERSIST, db_tick, db);
	db->gathered = event_new(base, -1, 0, db_gathered, db);
	if (db->inbox_fd < 0 || db->gathered == NULL || db->inbox_event == NULL ||
	    event_add(db->inbox_event, NULL) != 0 || db->tick == NULL ||
	    event_add(db->tick, &second) != 0)
		log_fatal("database", NULL, "cannot make its events: %s", strerror(errno));

	db->conns = mem_array((size_t) settings->connections + 1, sizeof(*db->conns));
	for (int i = 0; i <= settings->connections; i++)
	{
		struct db_conn *conn = &db->conns[i];

		conn->db = db;
		conn->listener = i == settings->connections;
		conn->backoff_ms = DB_BACKOFF_MIN_MS;
		queue_init(&conn->flight);
		conn->timer = event_new(base, -1, 0, conn_timer, conn);
		if (conn->timer == NULL)
			log_fatal("database", NULL, "out of memory");
	}
	for (int i = 0; i <= settings->connections; i++)
		conn_connect(&db->conns[i]);
	return db;
}

void
db_abort(struct db *db)
{
	db->aborted = true;
	for (int i = 0; i <= db->settings.connections; i++)
	{
		event_del(db->conns[i].timer);
		if (db->conns[i].pg != NULL)
			conn_lost(&db->conns[i], "stopping");
	}
	db_schedule(db);
}

void
db_free(struct db *db)
{
	if (db == NULL)
		return;
	db_abort(db);
	for (int i = 0; i <= db->settings.connections; i++)
		event_free(db->conns[i].timer);
	event_free(db->inbox_event);
	event_free(db->tick);
	event_free(db->gathered);
	close(db->inbox_fd);
	pthread_mutex_destroy(&db->inbox_lock);
	free(db->conns);
	free(db->conninfo);
	free(db);
}

bool
db_conninfo_check(const char *conninfo, char *err, size_t errlen)
{
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &message);

	if (options == NULL)
		snprintf(err, errlen, "%.*s", message ? (int) strcspn(message, "\n") : 13,
		         message ? message : "out of memory");
	PQfreemem(message);
	PQconninfoFree(options);
	return options != NULL;
}

const char *
db_probe(const char *conninfo, char *err, size_t errlen)
{
	PGconn *pg = PQconnectdb(conninfo);
	PGresult *result = NULL;
	const char *answer = NULL;

	if (PQstatus(pg) != CONNECTION_OK)
		conn_message(pg, err, errlen);
	else
		result = PQexec(pg, "SELECT version FROM probectl.ready()");
	if (result != NULL && PQresultStatus(result) != PGRES_TUPLES_OK)
		conn_message(pg, err, errlen);
	if (result == NULL || PQresultStatus(result) != PGRES_TUPLES_OK)
		answer = err;
	PQclear(result);
	PQfinish(pg);
	return answer;
}
