/* SPDX-License-Identifier: PostgreSQL
 *
 * auth.c -- credentials of a request, and the doors to get one.
 *
 * The gateway does not know what a token means; it finds it, carries it to the database
 * and never writes it down. Sign-in and enrolment are the two calls without a
 * credential, so failures there are throttled per peer address.
 */
#include "gateway/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gateway/api.h"
#include "gateway/conn.h"
#include "gateway/db.h"
#include "gateway/gateway.h"
#include "gateway/input.h"
#include "gateway/reply.h"
#include "gateway/throttle.h"

#define COOKIE         "probectl_session"
#define COOKIE_FLAGS   "; Path=/; HttpOnly; Secure; SameSite=Lax"
#define USER_AGENT_MAX 256
#define FIELDS_MAX     4

/* The fields of a body: name, and the longest value. */
struct field
{
	const char *name;
	size_t max;
};

static const struct field signin_fields[] = {{"code", AUTH_TOKEN_MAX}};
static const struct field enroll_fields[] = {
    {"token", AUTH_TOKEN_MAX}, {"csr_pem", 16384}, {"hostname", 253}, {"version", 64}};

/* An attempt that is throttled; it is told its outcome even when the client has gone. */
struct attempt
{
	struct reply_pending pending;
	struct sockaddr_storage peer;
};

static struct throttle *throttle;

void
auth_start(void)
{
	throttle = throttle_new();
}

void
auth_stop(void)
{
	throttle_free(throttle);
	throttle = NULL;
}

/* ---- credentials ------------------------------------------------------------------- */

/* RFC 6750 b68token: nothing that could mean something in a header or a log line. */
static bool
token_copy(struct auth_credential *cred, const char *p, size_t len)
{
	if (len == 0 || len > AUTH_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'z') ||
		      (p[i] >= 'A' && p[i] <= 'Z') || (p[i] != '\0' && strchr("-._~+/=", p[i]) != NULL)))
			return false;
	memcpy(cred->token, p, len);
	cred->token[len] = '\0';
	return true;
}

/* Finds our cookie in "a=b; probectl_session=c". */
static bool
cookie_token(struct auth_credential *cred, const struct http_slice *header)
{
	const char *p = header->ptr, *end = p + header->len;
	const size_t name_len = sizeof COOKIE - 1;

	while (p < end)
	{
		const char *semi = memchr(p, ';', (size_t) (end - p));
		const char *stop = semi != NULL ? semi : end;

		while (p < stop && *p == ' ')
			p++;
		if ((size_t) (stop - p) > name_len && memcmp(p, COOKIE "=", name_len + 1) == 0)
			return token_copy(cred, p + name_len + 1, (size_t) (stop - p) - name_len - 1);
		p = stop + 1;
	}
	return false;
}

bool
auth_credential_of(struct conn *c, struct auth_credential *cred)
{
	const struct http_slice *bearer = http_header(&c->req, "authorization");
	const struct http_slice *cookie = http_header(&c->req, "cookie");

	cred->cookie = bearer == NULL;
	if (bearer != NULL)
	{
		if (bearer->len > 7 && strncasecmp(bearer->ptr, "Bearer ", 7) == 0 &&
		    token_copy(cred, bearer->ptr + 7, bearer->len - 7))
			return true;
		reply_error(c, 401, NULL, "Authorization is not \"Bearer <token>\"", NULL);
		return false;
	}
	if (cookie != NULL && cookie_token(cred, cookie))
		return true;
	reply_error(c, 401, NULL, "sign in, or send Authorization: Bearer <token>", NULL);
	return false;
}

bool
auth_credential_of_program(struct conn *c, struct auth_credential *cred)
{
	const struct http_slice *given = http_header(&c->req, "authorization");
	char password[AUTH_TOKEN_MAX + 1];
	bool ok = false;

	cred->cookie = false;
	if (given != NULL && given->len > 7 && strncasecmp(given->ptr, "Bearer ", 7) == 0)
		ok = token_copy(cred, given->ptr + 7, given->len - 7);
	else if (given != NULL && given->len > 6 && strncasecmp(given->ptr, "Basic ", 6) == 0 &&
	         input_basic_password(given->ptr + 6, given->len - 6, password, sizeof password))
		ok = token_copy(cred, password, strlen(password));
	explicit_bzero(password, sizeof password);
	if (!ok)
		reply_error(c, 401, NULL,
		            "send Authorization: Bearer <token>, or Basic with the token as password",
		            NULL);
	return ok;
}

/* "https://host:port" without what follows. */
static size_t
origin_len(const char *url)
{
	return 8 + strcspn(url + 8, "/?#");
}

bool
api_is_origin(const char *url)
{
	size_t n;

	if (strncmp(url, "https://", 8) != 0)
		return false;
	n = origin_len(url);
	return n > 8 && (url[n] == '\0' || strcmp(url + n, "/") == 0);
}

/* Whether Origin names this host: as the client addressed it, or as public_url says. */
static bool
origin_is_ours(const struct conn *c, const struct http_slice *origin)
{
	const struct http_slice *host = &c->req.host;
	const char *url = gw_settings.public_url;

	if (host->len > 0 && origin->len == host->len + 8 && memcmp(origin->ptr, "https://", 8) == 0 &&
	    strncasecmp(origin->ptr + 8, host->ptr, host->len) == 0)
		return true;
	return url != NULL && url[0] != '\0' && origin->len == origin_len(url) &&
	       strncasecmp(origin->ptr, url, origin->len) == 0;
}

static bool
refuse_origin(struct conn *c)
{
	reply_error(c, 403, "csrf", "a change signed in by cookie needs an Origin of this host", NULL);
	return false;
}

static bool
require_json(struct conn *c)
{
	if (http_media_is(http_header(&c->req, "content-type"), "application/json"))
		return true;
	reply_error(c, 415, NULL, "send Content-Type: application/json", NULL);
	return false;
}

bool
auth_change_allowed(struct conn *c, const struct auth_credential *cred)
{
	const struct http_slice *origin = http_header(&c->req, "origin");

	if (!cred->cookie)
		return true;
	if (origin == NULL || !origin_is_ours(c, origin))
		return refuse_origin(c);
	return require_json(c);
}

/* ---- the two doors ----------------------------------------------------------------- */

/* Takes exactly these string fields from the body. The values live as long as *object. */
static bool
body_fields(struct conn *c, const struct field *fields, size_t count, json_t **object,
            const char **values)
{
	const struct http_slice *origin = http_header(&c->req, "origin");
	struct input_error err;
	const char *key;
	json_t *value;

	*object = NULL;
	if (origin != NULL && !origin_is_ours(c, origin))
		return refuse_origin(c);
	if (!require_json(c))
		return false;
	if (!input_json_check((const char *) c->body.data, c->body.len, &err))
	{
		reply_error(c, err.status, "bad_json", err.message, err.field);
		return false;
	}
	*object = json_loadb((const char *) c->body.data, c->body.len, 0, NULL);
	if (!json_is_object(*object))
	{
		reply_error(c, 422, NULL, "the body is not an object", NULL);
		return false;
	}
	for (size_t i = 0; i < count; i++)
	{
		value = json_object_get(*object, fields[i].name);
		values[i] = json_string_value(value);
		if (values[i] == NULL || values[i][0] == '\0' || json_string_length(value) > fields[i].max)
		{
			char message[96];

			snprintf(message, sizeof message, "%s must be text of 1 to %zu bytes", fields[i].name,
			         fields[i].max);
			reply_error(c, 422, NULL, message, fields[i].name);
			return false;
		}
	}
	json_object_foreach(*object, key, value)
	{
		bool known = false;

		for (size_t i = 0; i < count; i++)
			known = known || strcmp(key, fields[i].name) == 0;
		if (!known)
		{
			reply_error(c, 422, NULL, "no such field here", key);
			return false;
		}
	}
	return true;
}

/* NULL: answered 429. */
static struct attempt *
attempt_begin(struct conn *c)
{
	int wait = throttle_begin(throttle, (const struct sockaddr *) &c->peer, gw_now_ms());
	struct attempt *a;
	char header[64];

	if (wait > 0)
	{
		gw_count(GW_REFUSED_THROTTLE);
		snprintf(header, sizeof header, "Retry-After: %d\r\n", wait);
		reply_error_headers(c, 429, NULL, "too many failed attempts from this address", NULL,
		                    header);
		return NULL;
	}
	a = reply_pending_new(c, sizeof *a);
	a->peer = c->peer;
	return a;
}

/* Ends an attempt. What the database refused as the caller's fault counts as a failure.
 * Returns the connection when there is a row to answer it from. */
static struct conn *
attempt_end(struct attempt *a, enum db_fate fate, PGresult *res)
{
	struct conn *c = reply_pending_end(&a->pending);
	bool empty = fate == DB_ANSWERED && (PQntuples(res) != 1 || PQgetisnull(res, 0, 0));
	int status = fate == DB_REFUSED ? reply_sql_status(res) : 0;

	throttle_end(throttle, (const struct sockaddr *) &a->peer,
	             empty || (status >= 400 && status < 500), gw_now_ms());
	free(a);
	if (c == NULL)
		return NULL;
	if (fate == DB_ANSWERED && !empty)
		return c;
	if (empty)
		reply_error(c, 401, NULL, "not known, used or expired", NULL);
	else
		reply_fate(c, fate, res, true);
	return NULL;
}

static void
signin_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct conn *c = attempt_end(arg, fate, res);
	struct auth_credential session;
	char headers[AUTH_TOKEN_MAX + 200], body[128];
	struct conn_reply r = {.status = 200, .headers = headers, .body = body};

	if (c == NULL)
		return;
	if (!token_copy(&session, PQgetvalue(res, 0, 0), (size_t) PQgetlength(res, 0, 0)))
	{
		reply_error(c, 500, NULL, NULL, NULL);
		return;
	}
	snprintf(headers, sizeof headers, "Set-Cookie: " COOKIE "=%s; Max-Age=%s" COOKIE_FLAGS "\r\n",
	         session.token, PQgetvalue(res, 0, 2));
	snprintf(body, sizeof body, "{\"expires_at\":\"%s\"}", PQgetvalue(res, 0, 1));
	r.len = strlen(body);
	conn_reply(c, &r);
	explicit_bzero(&session, sizeof session);
	explicit_bzero(headers, sizeof headers);
}

/* The client's own name, as far as it is text. */
static void
user_agent_of(const struct conn *c, char out[USER_AGENT_MAX + 1])
{
	const struct http_slice *h = http_header(&c->req, "user-agent");
	size_t n = h == NULL ? 0 : h->len < USER_AGENT_MAX ? h->len : USER_AGENT_MAX;

	/* A cut may have hit a character: it has at most three bytes before the cut. */
	for (int i = 0; n > 0 && i < 3 && !http_utf8_valid(h->ptr, n); i++)
		n--;
	if (n > 0 && !http_utf8_valid(h->ptr, n))
		n = 0;
	if (n > 0)
		memcpy(out, h->ptr, n);
	out[n] = '\0';
}

void
auth_signin(struct conn *c)
{
	const char *values[FIELDS_MAX];
	char user_agent[USER_AGENT_MAX + 1];
	struct db_request r = {.statement = DB_SIGNIN, .done = signin_done};
	json_t *object;

	user_agent_of(c, user_agent);
	if (body_fields(c, signin_fields, 1, &object, values) && (r.arg = attempt_begin(c)) != NULL)
	{
		r.params[0] = values[0];
		r.params[1] = user_agent;
		db_submit(&r);
	}
	json_decref(object);
}

static void
enroll_done(void *arg, enum db_fate fate, PGresult *res)
{
	static const char *const names[] = {"tenant_id", "agent_id", "spiffe_id", "cert_pem",
	                                    "ca_bundle", "serial",   "not_after"};
	struct conn *c = attempt_end(arg, fate, res);
	struct buf body = BUF_INIT(262144);

	if (c == NULL)
		return;
	for (int i = 0; i < (int) (sizeof names / sizeof names[0]); i++)
	{
		buf_put_str(&body, i == 0 ? "{" : ",");
		input_json_string(&body, names[i], strlen(names[i]));
		buf_put_str(&body, ":");
		input_json_string(&body, PQgetvalue(res, 0, i), (size_t) PQgetlength(res, 0, i));
	}
	buf_put_str(&body, "}");
	if (body.failed)
		reply_error(c, 500, NULL, NULL, NULL);
	else
		reply_json(c, 200, buf_cstr(&body));
	buf_free(&body);
}

void
auth_enroll(struct conn *c)
{
	const char *values[FIELDS_MAX];
	struct db_request r = {.statement = DB_ENROLL, .done = enroll_done};
	json_t *object;

	if (body_fields(c, enroll_fields, 4, &object, values) && (r.arg = attempt_begin(c)) != NULL)
	{
		memcpy(r.params, values, sizeof values);
		db_submit(&r);
	}
	json_decref(object);
}

/* ---- sign-out ---------------------------------------------------------------------- */

static void
signout_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct reply_pending *p = arg;
	struct conn *c = reply_pending_end(p);
	struct conn_reply r = {.status = 204,
	                       .headers = "Set-Cookie: " COOKIE "=; Max-Age=0" COOKIE_FLAGS "\r\n"};

	free(p);
	if (c == NULL)
		return;
	/* A session that is already over is signed out as well. */
	if (fate == DB_ANSWERED || (fate == DB_REFUSED && reply_sql_status(res) == 401))
		conn_reply(c, &r);
	else
		reply_fate(c, fate, res, true);
}

void
auth_signout(struct conn *c)
{
	struct auth_credential cred;
	struct db_request r = {.statement = DB_SIGNOUT, .done = signout_done};

	if (!auth_credential_of(c, &cred) || !auth_change_allowed(c, &cred))
		return;
	r.token = cred.token;
	r.arg = reply_pending_new(c, sizeof(struct reply_pending));
	db_submit(&r);
	explicit_bzero(&cred, sizeof cred);
}
