/* SPDX-License-Identifier: PostgreSQL
 *
 * db.h -- the pool of pipelined database connections.
 *
 * An operation is one transaction: BEGIN, optionally probectl.enter_session, one
 * statement, COMMIT. All of it travels in one go, and several operations follow each other on a
 * connection without waiting. Its answer is delivered exactly once, after its COMMIT was
 * confirmed, or with the reason why there is none.
 */
#ifndef PCTL_GATEWAY_DB_H
#define PCTL_GATEWAY_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <libpq-fe.h>

#define DB_PARAMS_MAX 5
#define DB_DEPTH_MAX  8 /* operations under way on one connection */

enum db_statement
{
	DB_BEGIN,
	DB_ENTER,
	DB_PEEK, /* as DB_ENTER, without counting as use */
	DB_COMMIT,
	DB_CALL,   /* method, path, params, query, body -> status, body */
	DB_TENANT, /* -> tenant uuid */
	DB_SIGNOUT,
	DB_SIGNIN,       /* code, user agent -> session, expires_at, seconds */
	DB_ENROLL,       /* token, csr, hostname, version -> seven columns */
	DB_REMOTE_WRITE, /* (bytes) -> status, message */
	DB_STATEMENTS
};

enum db_fate
{
	DB_ANSWERED, /* committed; result holds the rows */
	DB_REFUSED,  /* an SQL error, nothing happened; result holds it */
	DB_LOST,     /* the connection broke: a change may or may not have been made */
	DB_LATE,     /* the deadline passed while it ran: as DB_LOST */
	DB_EXPIRED,  /* the deadline passed in the queue: nothing happened */
	DB_AWAY,     /* no connection: nothing happened */
	DB_FULL      /* the queue is full: nothing happened */
};

/* Called exactly once, possibly before db_submit returns. The result lives during the call. */
typedef void (*db_done)(void *arg, enum db_fate fate, PGresult *result);

struct db_request
{
	const char *token; /* NULL: without enter_session */
	enum db_statement statement;
	const char *params[DB_PARAMS_MAX]; /* text; NULL is SQL NULL */
	const void *bytes;                 /* of a statement that takes bytes instead */
	size_t len;
	db_done done;
	void *arg;
};

/* Opens the pool; connections come up by themselves. */
void db_start(const char *conninfo, int connections);
void db_stop(void);

/* Copies the request and begins it now or when a connection is free. */
void db_submit(const struct db_request *request);

/* Looks at deadlines; called a few times a second. */
void db_tick(int64_t now_ms);

/* Connections that are ready, and operations accepted but not answered. */
int db_ready_count(void);
size_t db_pending(void);

/* Starts a connection attempt with the gateway's session settings added to conninfo. */
PGconn *db_connect_start(const char *conninfo, const char *role);

/* The first line of libpq's or the server's message, for a log line. */
const char *db_message(const char *text, char *buf, size_t len);

#endif
