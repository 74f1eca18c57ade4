/* SPDX-License-Identifier: PostgreSQL
 *
 * enroll.c -- one enrolment attempt (identity.h): HTTP/1.1 over TLS, JSON both ways.
 *
 * The request asks the server to close the connection after the answer; the answer ends with its
 * Content-Length or with the connection. Anything longer than ENROLL_ANSWER_MAX is refused.
 */
#include "lib/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <event2/event.h>
#include <jansson.h>

#include "lib/buf.h"
#include "lib/conf.h"
#include "lib/crypto.h"
#include "lib/files.h"
#include "lib/link.h"
#include "lib/mem.h"

#define ENROLL_ANSWER_MAX (64 * 1024)
#define ENROLL_CONNECT_MS 10000
#define ENROLL_ANSWER_MS  20000

struct enroll
{
	struct ssl_ctx_st *ctx;
	struct link *link;
	struct event *timer;
	char *key;
	char *dir;
	struct buf request, answer;
	enroll_done done;
	void *arg;
};

static void
enroll_free(struct enroll *e)
{
	link_close(e->link);
	crypto_ctx_free(e->ctx);
	if (e->timer)
		event_free(e->timer);
	crypto_wipe(e->key);
	free(e->key);
	free(e->dir);
	if (e->request.data)
		explicit_bzero(e->request.data, e->request.len);
	buf_free(&e->request);
	buf_free(&e->answer);
	free(e);
}

static void
enroll_end(struct enroll *e, enum enroll_outcome outcome, const char *text)
{
	enroll_done done = e->done;
	void *arg = e->arg;

	enroll_free(e);
	done(outcome, text, arg);
}

/* ---- the answer ---- */

static enum enroll_outcome
answer_accept(struct enroll *e, const char *body, size_t len, char *text, size_t textlen)
{
	json_t *json = json_loadb(body, len, 0, NULL);
	const char *cert = json_string_value(json_object_get(json, "cert_pem"));
	const char *ca = json_string_value(json_object_get(json, "ca_bundle"));
	const char *agent = json_string_value(json_object_get(json, "agent_id"));
	enum enroll_outcome outcome = ENROLL_RETRY;

	if (!cert || !ca)
		snprintf(text, textlen, "the server's answer holds no certificate");
	else if (identity_install(e->dir, e->key, cert, ca, text, textlen))
	{
		snprintf(text, textlen, "agent %s", agent ? agent : "unknown");
		outcome = ENROLL_DONE;
	}
	json_decref(json);
	return outcome;
}

/* The message in {"error":{"message":...}}, else the status. */
static void
answer_explain(const char *body, size_t len, int status, char *text, size_t textlen)
{
	json_t *json = json_loadb(body, len, 0, NULL);
	const char *message = json_string_value(
	    json_object_get(json_object_get(json, "error"), "message"));

	if (message)
		snprintf(text, textlen, "the server answered %d: %s", status, message);
	else
		snprintf(text, textlen, "the server answered %d", status);
	json_decref(json);
}

static void
answer_finish(struct enroll *e, int status, const char *body, size_t len)
{
	enum enroll_outcome outcome;
	char text[512];

	if (status == 200 || status == 201)
		outcome = answer_accept(e, body, len, text, sizeof(text));
	else
	{
		answer_explain(body, len, status, text, sizeof(text));
		outcome = status >= 400 && status < 500 && status != 408 && status != 429 ? ENROLL_REFUSED
		                                                                          : ENROLL_RETRY;
	}
	enroll_end(e, outcome, text);
}

/* The value of a header in the head of the answer; NULL when it is not there. */
static const char *
header_value(const char *head, const char *end, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = strstr(head, "\r\n"); p && p < end; p = strstr(p, "\r\n"))
	{
		p += 2;
		if (strncasecmp(p, name, len) == 0 && p[len] == ':')
			return p + len + 1 + strspn(p + len + 1, " \t");
	}
	return NULL;
}

/* Looks whether the answer is whole; ended: no more will come. True when the attempt is over. */
static bool
answer_check(struct enroll *e, bool ended)
{
	const char *text = buf_cstr(&e->answer), *head_end, *value, *body;
	size_t have;
	long length;
	int status;

	if (!text)
	{
		enroll_end(e, ENROLL_RETRY, "the server's answer is too long");
		return true;
	}
	head_end = strstr(text, "\r\n\r\n");
	if (!head_end)
		return false;
	if (sscanf(text, "HTTP/1.%*1d %3d", &status) != 1)
	{
		enroll_end(e, ENROLL_RETRY, "the server does not speak HTTP");
		return true;
	}
	body = head_end + 4;
	have = e->answer.len - (size_t) (body - text);
	if (header_value(text, head_end, "Transfer-Encoding"))
	{
		enroll_end(e, ENROLL_RETRY, "the server's answer has a transfer encoding");
		return true;
	}
	value = header_value(text, head_end, "Content-Length");
	length = value ? strtol(value, NULL, 10) : -1;
	if (length >= 0 ? have < (size_t) length : !ended)
		return false;
	answer_finish(e, status, body, length >= 0 ? (size_t) length : have);
	return true;
}

/* ---- link ---- */

static void
enroll_up(void *arg)
{
	struct enroll *e = arg;

	link_write(e->link, e->request.data, e->request.len);
}

static void
enroll_input(void *arg, const uint8_t *data, size_t len)
{
	struct enroll *e = arg;

	buf_put(&e->answer, data, len);
	answer_check(e, false);
}

static void
enroll_drained(void *arg)
{
}

static void
enroll_down(void *arg, const char *why)
{
	struct enroll *e = arg;
	char text[300];

	if (answer_check(e, true))
		return;
	snprintf(text, sizeof(text), "%s", why);
	enroll_end(e, ENROLL_RETRY, text);
}

static void
enroll_timeout(evutil_socket_t fd, short what, void *arg)
{
	enroll_end(arg, ENROLL_RETRY, "no answer in time");
}

static bool
request_make(struct enroll *e, const struct enroll_options *o, char *err, size_t errlen)
{
	char *csr = crypto_csr_new(e->key, err, errlen), *body;
	json_t *json;

	if (!csr)
		return false;
	json = json_pack("{s:s, s:s, s:s, s:s}", "token", o->token, "csr_pem", csr, "hostname",
	                 o->hostname, "version", PROBECTL_VERSION);
	body = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	free(csr);
	if (body)
	{
		buf_printf(&e->request,
		           "POST /enroll/agent HTTP/1.1\r\nHost: %s%s%s:%u\r\n"
		           "Content-Type: application/json\r\nContent-Length: %zu\r\n"
		           "Connection: close\r\n\r\n%s",
		           strchr(o->host, ':') ? "[" : "", o->host, strchr(o->host, ':') ? "]" : "",
		           o->port, strlen(body), body);
		crypto_wipe(body);
		free(body);
	}
	if (e->request.len == 0 || e->request.failed)
		snprintf(err, errlen, "the host name or the token is not UTF-8 text");
	return e->request.len > 0 && !e->request.failed;
}

struct enroll *
enroll_start(struct event_base *base, const struct enroll_options *o, const struct sockaddr *addr,
             socklen_t addrlen, enroll_done done, void *arg, char *err, size_t errlen)
{
	static const struct link_ops ops = {enroll_up, enroll_input, enroll_drained, enroll_down};
	const struct crypto_client client = {.ca_file = o->ca_file};
	const struct timeval limit = {.tv_sec = ENROLL_ANSWER_MS / 1000};
	struct enroll *e = mem_alloc(sizeof(*e));

	e->done = done;
	e->arg = arg;
	e->dir = mem_strdup(o->dir);
	buf_init(&e->request, ENROLL_ANSWER_MAX);
	buf_init(&e->answer, ENROLL_ANSWER_MAX);
	e->key = identity_pending_key(o->dir, err, errlen);
	if (!e->key || !request_make(e, o, err, errlen))
		goto fail;
	e->ctx = crypto_client_ctx(&client, err, errlen);
	if (!e->ctx)
		goto fail;
	e->timer = evtimer_new(base, enroll_timeout, e);
	e->link = link_open(base, e->ctx, addr, addrlen, o->host, ENROLL_CONNECT_MS, &ops, e, err,
	                    errlen);
	if (!e->link || !e->timer || event_add(e->timer, &limit) != 0)
		goto fail;
	return e;

fail:
	enroll_free(e);
	return NULL;
}

void
enroll_cancel(struct enroll *e)
{
	if (e)
		enroll_free(e);
}

/* ---- what to enrol with ---- */

char *
enroll_token(const char *token_file, char *err, size_t errlen)
{
	const char *env = getenv("PROBECTL_ENROLL_TOKEN");
	struct buf file = BUF_INIT(4096);
	char *token = NULL;

	if (env && *env)
		return mem_strdup(env);
	if (!token_file)
		snprintf(err, errlen,
		         "no join token: set enroll.token_file or the variable PROBECTL_ENROLL_TOKEN");
	else if (!files_read(token_file, &file) || !buf_cstr(&file))
		snprintf(err, errlen, "join token %s: %s", token_file, strerror(errno));
	else
	{
		const char *text = (const char *) file.data + strspn((const char *) file.data, " \t\r\n");

		token = strndup(text, strcspn(text, " \t\r\n"));
		if (!token || !*token)
		{
			snprintf(err, errlen, "join token %s: the file is empty", token_file);
			free(token);
			token = NULL;
		}
		explicit_bzero(file.data, file.len);
	}
	buf_free(&file);
	return token;
}

bool
enroll_url_parse(const char *url, char *host, size_t hostlen, uint16_t *port)
{
	static const char scheme[] = "https://";
	const char *p = url, *end;
	size_t len;
	int64_t number = 443;

	if (strncasecmp(p, scheme, sizeof(scheme) - 1) != 0)
		return false;
	p += sizeof(scheme) - 1;
	if (*p == '[')
	{
		p++;
		end = strchr(p, ']');
		if (!end)
			return false;
		len = (size_t) (end - p);
		end++;
	}
	else
	{
		len = strcspn(p, ":/");
		end = p + len;
	}
	if (len == 0 || len >= hostlen)
		return false;
	memcpy(host, p, len);
	host[len] = '\0';
	if (*end == ':')
	{
		char digits[8];
		size_t n = strcspn(end + 1, "/");

		if (n == 0 || n >= sizeof(digits))
			return false;
		memcpy(digits, end + 1, n);
		digits[n] = '\0';
		if (!conf_parse_int(digits, &number) || number < 1 || number > 65535)
			return false;
		end += 1 + n;
	}
	*port = (uint16_t) number;
	return *end == '\0' || strcmp(end, "/") == 0;
}
