/* SPDX-License-Identifier: PostgreSQL
 *
 * reply.h -- the answers that are the same everywhere: errors, and what a database
 * operation's fate means to a client.
 */
#ifndef PCTL_GATEWAY_REPLY_H
#define PCTL_GATEWAY_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/db.h"

struct conn;

/* A request whose answer is under way in the database. First member of whatever the
 * asker keeps; it outlives the connection, which may end at any time. */
struct reply_pending
{
	struct conn *conn; /* NULL: the client has gone */
};

/* Zeroed memory of this size, tied to the connection. */
void *reply_pending_new(struct conn *c, size_t size);

/* Unties; NULL when there is nobody to answer. */
struct conn *reply_pending_end(struct reply_pending *p);

void reply_json(struct conn *c, int status, const char *json);

/* code NULL: the status's own; message NULL: the status's reason; field NULL: none. */
void reply_error(struct conn *c, int status, const char *code, const char *message,
                 const char *field);

/* The same with more header lines. */
void reply_error_headers(struct conn *c, int status, const char *code, const char *message,
                         const char *field, const char *headers);

/* 405 with Allow. */
void reply_not_allowed(struct conn *c, const char *allow);

/* 503 with Retry-After. */
void reply_unavailable(struct conn *c, const char *code, const char *message, int seconds);

/* Answers for every fate but DB_ANSWERED. changes: the request was to change something. */
void reply_fate(struct conn *c, enum db_fate fate, const PGresult *res, bool changes);

/* The status an SQL error stands for: nnn of PCnnn, 0 when it is a fault. */
int reply_sql_status(const PGresult *res);

#endif
