/* SPDX-License-Identifier: PostgreSQL
 *
 * reply.c -- the answers that are the same everywhere.
 *
 * A client learns what it can act on: a code that stays the same between releases, a
 * sentence, the field. What is our fault it learns as a request id, under which the
 * log has the rest.
 */
#include "gateway/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/api.h"
#include "gateway/conn.h"
#include "gateway/gateway.h"
#include "gateway/input.h"
#include "lib/log.h"
#include "lib/mem.h"

#define ERROR_MAX 4096 /* JSON of one error */

static const struct
{
	int status;
	const char *code;
} codes[] = {
    {400, "bad_request"},  {401, "unauthenticated"},        {403, "forbidden"},
    {404, "not_found"},    {405, "method_not_allowed"},     {408, "request_timeout"},
    {409, "conflict"},     {412, "precondition_failed"},    {413, "too_large"},
    {414, "uri_too_long"}, {415, "unsupported_media_type"}, {417, "expectation_failed"},
    {422, "invalid"},      {429, "too_many_requests"},      {431, "headers_too_large"},
    {500, "internal"},     {501, "not_implemented"},        {503, "unavailable"},
    {504, "timeout"},      {505, "http_version"},
};

static const char *
code_of(int status)
{
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		if (codes[i].status == status)
			return codes[i].code;
	return status < 500 ? "refused" : "internal";
}

static void
pending_closed(struct conn *c)
{
	struct reply_pending *p = c->owner;

	c->owner = NULL;
	p->conn = NULL;
}

void *
reply_pending_new(struct conn *c, size_t size)
{
	struct reply_pending *p = mem_alloc(size);

	p->conn = c;
	c->owner = p;
	c->on_close = pending_closed;
	return p;
}

struct conn *
reply_pending_end(struct reply_pending *p)
{
	struct conn *c = p->conn;

	p->conn = NULL;
	if (c != NULL)
	{
		c->owner = NULL;
		c->on_close = NULL;
	}
	return c;
}

void
api_error_body(struct buf *out, int status, const char *code, const char *message,
               const char *field, const char *request_id)
{
	if (code == NULL)
		code = code_of(status);
	if (message == NULL)
		message = http_reason(status);
	buf_put_str(out, "{\"error\":{\"code\":");
	input_json_string(out, code, strlen(code));
	buf_put_str(out, ",\"message\":");
	input_json_string(out, message, strlen(message));
	if (field != NULL && field[0] != '\0')
	{
		buf_put_str(out, ",\"field\":");
		input_json_string(out, field, strlen(field));
	}
	buf_printf(out, ",\"request_id\":\"%s\"}}", request_id);
}

void
reply_json(struct conn *c, int status, const char *json)
{
	struct conn_reply r = {.status = status, .body = json, .len = strlen(json)};

	conn_reply(c, &r);
}

void
reply_error_headers(struct conn *c, int status, const char *code, const char *message,
                    const char *field, const char *headers)
{
	struct buf body = BUF_INIT(ERROR_MAX);
	struct conn_reply r = {.status = status, .headers = headers};

	api_error_body(&body, status, code, message, field, c->request_id);
	if (body.failed) /* the message is too long to pass on */
	{
		buf_reset(&body);
		api_error_body(&body, status, code, NULL, NULL, c->request_id);
	}
	r.body = body.data;
	r.len = body.len;
	conn_reply(c, &r);
	buf_free(&body);
}

void
reply_error(struct conn *c, int status, const char *code, const char *message, const char *field)
{
	const char *headers = NULL;

	if (status == 401)
		headers = "WWW-Authenticate: Bearer\r\n";
	else if (status == 429)
		headers = "Retry-After: 1\r\n";
	reply_error_headers(c, status, code, message, field, headers);
}

void
reply_not_allowed(struct conn *c, const char *allow)
{
	char header[160], message[160];

	snprintf(header, sizeof header, "Allow: %s\r\n", allow);
	snprintf(message, sizeof message, "this path takes %s", allow);
	reply_error_headers(c, 405, NULL, message, NULL, header);
}

void
reply_unavailable(struct conn *c, const char *code, const char *message, int seconds)
{
	char header[64];

	snprintf(header, sizeof header, "Retry-After: %d\r\n", seconds);
	reply_error_headers(c, 503, code, message, NULL, header);
}

int
reply_sql_status(const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	int status;

	if (state == NULL || strncmp(state, "PC", 2) != 0 || strspn(state + 2, "0123456789") != 3)
		return 0;
	status = (int) strtol(state + 2, NULL, 10);
	return status >= 400 && status <= 599 ? status : 0;
}

/* SQL states after which the same request may succeed: nothing was done. */
static bool
state_is_passing(const char *state)
{
	static const char *const passing[] = {"40001", "40P01", "55P03", "53300", "57P01",
	                                      "57P02", "57P03", "25P02", "25006"};

	for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
		if (strcmp(state, passing[i]) == 0)
			return true;
	return false;
}

/* What the database says when a parameter cannot be read at all: it never came to the handler's own checks. Its
 * text may quote the value and is not handed on. */
static bool
state_is_of_input(const char *state)
{
	static const char *const input[] = {"22P02", "22P05", "22003", "22021",
	                                    "22008", "54001", "54000"};

	for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
		if (strcmp(state, input[i]) == 0)
			return true;
	return false;
}

/* "field: <name>" on a line of the error's DETAIL. */
static void
field_of(const PGresult *res, char *field, size_t len)
{
	const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	const char *p = detail != NULL ? strstr(detail, "field: ") : NULL;

	field[0] = '\0';
	if (p != NULL && (p == detail || p[-1] == '\n'))
		snprintf(field, len, "%.*s", (int) strcspn(p + 7, "\r\n"), p + 7);
}

static void
reply_sql_error(struct conn *c, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *context = PQresultErrorField(res, PG_DIAG_CONTEXT);
	int status = reply_sql_status(res);
	char field[128];

	if (status != 0 && status != 500)
	{
		field_of(res, field, sizeof field);
		reply_error(c, status, NULL, message, field);
		return;
	}
	if (state == NULL)
		state = "?????";
	if (strcmp(state, "57014") == 0)
	{
		reply_error(c, 504, NULL, "the database did not finish in time; nothing was changed", NULL);
		return;
	}
	if (state_is_passing(state))
	{
		reply_unavailable(c, NULL, "the database is busy; nothing was changed", 1);
		return;
	}
	if (state_is_of_input(state))
	{
		log_warning("api", NULL, "%s %s refused, request %s: %s", c->method, c->path, c->request_id,
		            state);
		reply_error(c, 422, NULL,
		            "the request holds a value that cannot be kept: a text with a zero character,"
		            " a number out of range, or JSON nested too deeply",
		            NULL);
		return;
	}
	log_error("api", NULL, "%s %s failed, request %s: %s: %s (%.200s)", c->method, c->path,
	          c->request_id, state, message != NULL ? message : "no message",
	          context != NULL ? context : "no context");
	reply_error(c, 500, NULL, "an error of ours; the log has it under the request id", NULL);
}

void
reply_fate(struct conn *c, enum db_fate fate, const PGresult *res, bool changes)
{
	switch (fate)
	{
		case DB_REFUSED: reply_sql_error(c, res); break;
		case DB_LOST:
			gw_count(GW_REFUSED_DATABASE);
			reply_unavailable(
			    c, changes ? "outcome_unknown" : NULL,
			    changes ? "the connection to the database broke: look whether the change was made"
			            : "the connection to the database broke",
			    1);
			break;
		case DB_LATE:
			gw_count(GW_REFUSED_DEADLINE);
			reply_error(c, 504, changes ? "outcome_unknown" : NULL,
			            changes ? "no answer in time: look whether the change was made"
			                    : "no answer in time",
			            NULL);
			break;
		case DB_EXPIRED:
			gw_count(GW_REFUSED_DEADLINE);
			reply_unavailable(c, "busy", "waited too long for the database; nothing was done", 1);
			break;
		case DB_AWAY:
			gw_count(GW_REFUSED_DATABASE);
			reply_unavailable(c, NULL, "the database does not answer; nothing was done", 1);
			break;
		case DB_FULL:
			gw_count(GW_REFUSED_QUEUE);
			reply_unavailable(c, "busy", "too many requests wait; nothing was done", 1);
			break;
		case DB_ANSWERED: reply_error(c, 500, NULL, NULL, NULL); break;
	}
}
