/* SPDX-License-Identifier: PostgreSQL
 *
 * api.c -- what a request means: credentials, routes, answers.
 *
 * The paths the gateway itself has are a table; the rest below /v1 is the database's
 * route table; everything else is a web file. A database answer is passed on as it is;
 * an error PCnnn becomes status nnn; any other error is logged under the request id and
 * answered without its text. Sign-in and enrolment stand in auth.c.
 */
#include "gateway/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/auth.h"
#include "gateway/conn.h"
#include "gateway/ctl.h"
#include "gateway/db.h"
#include "gateway/events.h"
#include "gateway/gateway.h"
#include "gateway/input.h"
#include "gateway/remote.h"
#include "gateway/reply.h"
#include "gateway/route.h"
#include "gateway/site.h"
#include "lib/log.h"

#define QUERY_MAX       32768 /* as JSON; the request line is at most 8 KiB */
#define OPENMETRICS     "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_MAX     262144
#define SITE_REVALIDATE "no-cache"
#define SITE_IMMUTABLE  "public, max-age=31536000, immutable"

static void handle_healthz(struct conn *c);
static void handle_readyz(struct conn *c);
static void handle_metrics(struct conn *c);
static void handle_openapi(struct conn *c);
static void handle_events(struct conn *c);

static const struct
{
	const char *path;
	const char *method;
	const char *allow;
	void (*handle)(struct conn *c);
} own_paths[] = {
    {"/healthz", "GET", "GET, HEAD", handle_healthz},
    {"/readyz", "GET", "GET, HEAD", handle_readyz},
    {"/metrics", "GET", "GET, HEAD", handle_metrics},
    {"/openapi.json", "GET", "GET, HEAD", handle_openapi},
    {"/auth/signin", "POST", "POST", auth_signin},
    {"/auth/signout", "POST", "POST", auth_signout},
    {"/enroll/agent", "POST", "POST", auth_enroll},
    {"/v1/events", "GET", "GET", handle_events},
    {"/v1/prometheus/write", "POST", "POST", remote_write},
};

/* First segments that are never web files. */
static const char *const api_roots[] = {"v1", "auth", "enroll"};

static struct site *site;

void
api_set_site(struct site *fresh)
{
	site_free(site);
	site = fresh;
}

void
api_start(void)
{
	auth_start();
}

void
api_stop(void)
{
	auth_stop();
	api_set_site(NULL);
}

/* ---- the gateway's own answers ------------------------------------------------------ */

static void
handle_healthz(struct conn *c)
{
	reply_json(c, 200, "{\"status\":\"ok\"}");
}

static void
handle_readyz(struct conn *c)
{
	struct buf body = BUF_INIT(1024);
	const char *reason = NULL;
	int status = 200;

	if (gw_draining)
		reason = "shutting down";
	if (reason != NULL || !ctl_ready(&reason))
	{
		status = 503;
		buf_put_str(&body, "{\"ready\":false,\"reason\":");
		input_json_string(&body, reason, strlen(reason));
		buf_put_str(&body, "}");
	}
	else
	{
		buf_put_str(&body, "{\"ready\":true,\"version\":");
		input_json_string(&body, ctl_version(), strlen(ctl_version()));
		buf_printf(&body, ",\"workers\":%d}", ctl_workers());
	}
	reply_json(c, status, buf_cstr(&body));
	buf_free(&body);
}

static void
handle_metrics(struct conn *c)
{
	struct buf body = BUF_INIT(METRICS_MAX);
	struct conn_reply r = {.status = 200, .type = OPENMETRICS};

	if (!metrics_render(&body))
		reply_error(c, 500, NULL, "the counters do not fit", NULL);
	else
	{
		r.body = body.data;
		r.len = body.len;
		conn_reply(c, &r);
	}
	buf_free(&body);
}

/* Whether the client has the version named by an entity tag (RFC 9110 section 13.1.2). */
static bool
client_has(const struct conn *c, const char *etag)
{
	const struct http_slice *given = http_header(&c->req, "if-none-match");
	struct http_slice weak;

	if (given == NULL)
		return false;
	if (http_slice_is(given, "*") || http_list_has(given, etag))
		return true;
	weak = *given;
	return weak.len > 2 && memmem(weak.ptr, weak.len, etag, strlen(etag)) != NULL &&
	       weak.ptr[0] == 'W';
}

static void
handle_openapi(struct conn *c)
{
	const char *etag, *text = ctl_openapi(&etag);
	struct conn_reply r = {.status = 200, .cache = SITE_REVALIDATE};
	char headers[64];

	if (text == NULL)
	{
		reply_unavailable(c, "unavailable", "no contact with the database yet", 1);
		return;
	}
	snprintf(headers, sizeof headers, "ETag: %s\r\n", etag);
	r.headers = headers;
	if (client_has(c, etag))
		r.status = 304;
	else
	{
		r.body = text;
		r.len = strlen(text);
	}
	conn_reply(c, &r);
}

/* ---- event stream ------------------------------------------------------------------- */

struct subscription
{
	struct reply_pending pending; /* first: what reply.c knows of it */
	char token[AUTH_TOKEN_MAX + 1];
};

static void
events_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct subscription *s = arg;
	struct conn *c = reply_pending_end(&s->pending);

	if (c == NULL)
		;
	else if (fate != DB_ANSWERED)
		reply_fate(c, fate, res, false);
	else if (PQntuples(res) != 1 || PQgetisnull(res, 0, 0))
		reply_error(c, 401, NULL, "the credential leads to no tenant", NULL);
	else if (gw_draining)
		reply_unavailable(c, "unavailable", "the gateway is shutting down", 1);
	else if (events_count() >= (size_t) gw_settings.streams)
		reply_unavailable(c, "too_many_streams", "limits.streams event streams are open", 10);
	else
		events_subscribe(c, PQgetvalue(res, 0, 0), s->token);
	explicit_bzero(s->token, sizeof s->token);
	free(s);
}

static void
handle_events(struct conn *c)
{
	struct auth_credential cred;
	struct subscription *s;
	struct db_request r = {.statement = DB_TENANT, .done = events_done};

	if (strcmp(c->method, "HEAD") == 0)
	{
		reply_not_allowed(c, "GET");
		return;
	}
	if (!auth_credential_of(c, &cred))
		return;
	s = reply_pending_new(c, sizeof *s);
	memcpy(s->token, cred.token, sizeof s->token);
	r.token = s->token;
	r.arg = s;
	db_submit(&r);
}

/* ---- database routes ---------------------------------------------------------------- */

struct call
{
	struct reply_pending pending;
	bool changes; /* not GET: its fate matters when the connection breaks */
};

static void
call_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct call *call = arg;
	struct conn *c = reply_pending_end(&call->pending);
	struct conn_reply r = {0};

	if (c == NULL)
		;
	else if (fate != DB_ANSWERED)
		reply_fate(c, fate, res, call->changes);
	else
	{
		r.status = PQntuples(res) == 1 ? (int) strtol(PQgetvalue(res, 0, 0), NULL, 10) : 0;
		if (r.status < 200 || r.status > 599)
		{
			log_error("api", NULL, "api_call answered status %d, request %s", r.status,
			          c->request_id);
			reply_error(c, 500, NULL, NULL, NULL);
		}
		else
		{
			r.body = PQgetvalue(res, 0, 1);
			r.len = (size_t) PQgetlength(res, 0, 1);
			conn_reply(c, &r);
		}
	}
	free(call);
}

/* The body as a parameter: NULL when there is none. False when it was refused. */
static bool
call_body(struct conn *c, const char **body)
{
	struct input_error err;

	*body = NULL;
	if (c->req.content_length == 0 && !c->req.chunked)
		return true;
	if (c->body.len == 0)
		return true;
	if (!http_media_is(http_header(&c->req, "content-type"), "application/json"))
	{
		reply_error(c, 415, NULL, "send the body as Content-Type: application/json", NULL);
		return false;
	}
	if (!input_json_check((const char *) c->body.data, c->body.len, &err))
	{
		reply_error(c, err.status, "bad_json", err.message, err.field);
		return false;
	}
	*body = buf_cstr(&c->body);
	if (*body == NULL)
	{
		reply_error(c, 413, NULL, "body is larger than limits.body_bytes", NULL);
		return false;
	}
	return true;
}

static void
call_begin(struct conn *c, const struct route *route, const struct input_path *path)
{
	struct buf params = BUF_INIT(QUERY_MAX), query = BUF_INIT(QUERY_MAX);
	struct auth_credential cred;
	struct input_error err;
	const char *body;
	bool safe = strcmp(route->method, "GET") == 0;

	if (!auth_credential_of(c, &cred) || (!safe && !auth_change_allowed(c, &cred)) ||
	    !call_body(c, &body))
		return;
	route_params(route, path, &params);
	if (!input_query(&query, &c->req.query, &err))
		reply_error(c, err.status, err.status == 422 ? NULL : "bad_query", err.message, err.field);
	else if (params.failed || query.failed)
		reply_error(c, 414, NULL, "the query string is too long", NULL);
	else
	{
		struct call *call = reply_pending_new(c, sizeof *call);
		struct db_request r = {
		    .token = cred.token,
		    .statement = DB_CALL,
		    .params = {route->method, route->pattern, buf_cstr(&params), buf_cstr(&query), body},
		    .done = call_done,
		    .arg = call};

		call->changes = !safe;
		db_submit(&r);
	}
	explicit_bzero(cred.token, sizeof cred.token);
	buf_free(&params);
	buf_free(&query);
}

/* ---- web files ---------------------------------------------------------------------- */

static void
handle_file(struct conn *c, const struct input_path *path)
{
	const struct http_slice *accept = http_header(&c->req, "accept-encoding");
	const struct site_file *f = site_find(site, path);
	const struct site_variant *v;
	struct conn_reply r = {.status = 200};
	char headers[128];

	if (f == NULL)
	{
		reply_error(c, 404, NULL, "no such path", NULL);
		return;
	}
	if (strcmp(c->method, "GET") != 0 && strcmp(c->method, "HEAD") != 0)
	{
		reply_not_allowed(c, "GET, HEAD");
		return;
	}
	v = f->gzip.data != NULL && accept != NULL && http_list_has(accept, "gzip") ? &f->gzip
	                                                                            : &f->plain;
	snprintf(headers, sizeof headers, "ETag: %s\r\n%s%s", v->etag,
	         f->gzip.data != NULL ? "Vary: Accept-Encoding\r\n" : "",
	         v == &f->gzip ? "Content-Encoding: gzip\r\n" : "");
	r.headers = headers;
	r.cache = f->immutable ? SITE_IMMUTABLE : SITE_REVALIDATE;
	r.type = f->type;
	if (client_has(c, v->etag))
		r.status = 304;
	else
	{
		r.body = v->data;
		r.len = v->len;
	}
	conn_reply(c, &r);
}

/* ---- dispatch ----------------------------------------------------------------------- */

static bool
path_is(const struct input_path *path, const char *text)
{
	for (size_t i = 0; i < path->count; i++)
	{
		const struct http_slice *seg = &path->segments[i];

		if (*text++ != '/' || strncmp(text, seg->ptr, seg->len) != 0)
			return false;
		text += seg->len;
	}
	return *text == '\0' && path->count > 0;
}

static bool
path_is_api(const struct input_path *path)
{
	for (size_t i = 0; path->count > 0 && i < sizeof api_roots / sizeof api_roots[0]; i++)
		if (path->segments[0].len == strlen(api_roots[i]) &&
		    memcmp(path->segments[0].ptr, api_roots[i], path->segments[0].len) == 0)
			return true;
	return false;
}

/* True when the path is one of the gateway's own. */
static bool
handle_own(struct conn *c, const struct input_path *path, const char *method)
{
	for (size_t i = 0; i < sizeof own_paths / sizeof own_paths[0]; i++)
	{
		if (!path_is(path, own_paths[i].path))
			continue;
		if (strcmp(method, own_paths[i].method) == 0)
			own_paths[i].handle(c);
		else
			reply_not_allowed(c, own_paths[i].allow);
		return true;
	}
	return false;
}

static void
handle_route(struct conn *c, const struct input_path *path, const char *method)
{
	const struct route_table *routes = ctl_routes();
	const struct route *route;
	char allow[ROUTE_ALLOW_MAX];

	if (routes == NULL)
	{
		reply_unavailable(c, "unavailable", "no contact with the database yet", 1);
		return;
	}
	route = route_find(routes, method, path, allow);
	if (route == NULL && allow[0] != '\0')
		reply_not_allowed(c, allow);
	else if (route == NULL)
		reply_error(c, 404, NULL, "no such route", NULL);
	else if (route->stream)
		handle_events(c);
	else
		call_begin(c, route, path);
}

void
api_handle(struct conn *c)
{
	const char *method = c->head_only ? "GET" : c->method;
	struct input_path path;
	struct input_error err;

	if (c->req.path.ptr[0] != '/')
		reply_error(c, 400, NULL, "the target must be a path", NULL);
	else if (!input_path(&path, &c->req.path, &err))
		reply_error(c, err.status, NULL, err.message, err.field);
	else if (handle_own(c, &path, method))
		;
	else if (path_is_api(&path))
		handle_route(c, &path, method);
	else
		handle_file(c, &path);
}
