/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- one http test on the event loop.
 *
 *   look-up -> connect -> [TLS] -> send -> wait -> receive -+-> result
 *      ^                                                    |
 *      +----------------- redirect -------------------------+
 *
 * There is one event, on the socket, for as long as that is open; the phase says what it is taken for. It
 * comes when something changes (edge-triggered: registered once instead of once a step), so every step
 * goes on until the socket would block. Plain and TLS connections differ in two functions, and so do
 * HTTP/1.x and HTTP/2: one makes the request, the other takes the answer.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guard.h"
#include "agent/http/http.h"
#include "lib/clock.h"

#define READ_CHUNK        16384 /* a TLS record */
#define READS_A_TURN      32    /* then the rest of the loop has its turn */
#define REQUEST_BYTES_MAX (HTTP_REQUEST_BODY_MAX + HTTP_PATH_MAX + 2048)

static void hop_start(struct canary_run *run);
static void connect_start(struct canary_run *run);
static void on_socket(evutil_socket_t fd, short what, void *arg);

static void
hop_close(struct canary_run *run)
{
	tls_free(run->tls);
	run->tls = NULL;
	h2_free(run->h2);
	run->h2 = NULL;
	if (run->fd < 0)
		return;
	event_del(&run->event);
	close(run->fd);
	run->fd = -1;
}

static void
run_free(struct canary_run *run)
{
	hop_close(run);
	probe_stop(&run->probe);
	buf_free(&run->request);
	for (unsigned i = 0; i < run->redirects; i++)
		free(run->hops[i]);
	free(run->seen);
	free(run);
}

static void
run_finish(struct canary_run *run)
{
	canary_done done = run->probe.done;
	void *arg = run->probe.arg;
	struct result result;

	run->times.finished = probe_now();
	http_result(run, &result);
	run_free(run);
	done(&result, arg);
}

/* A failed read or write: the system's reason, or the TLS library's. */
static void
fail_io(struct canary_run *run, int error, const char *what)
{
	char reason[120];

	if (error)
		probe_fail_errno(&run->probe, error, what);
	else
	{
		tls_failure(reason, sizeof(reason));
		probe_fail(&run->probe, ERROR_RESET, "%s: %s", what, reason);
	}
	run_finish(run);
}

/* ---- the answer ---- */

static void
on_body(const uint8_t *data, size_t len, void *arg)
{
	struct canary_run *run = arg;
	const struct http_cmd *cmd = run->cmd;

	for (size_t i = 0; i < len && !run->matched && cmd->body_match_len > 0; i++)
	{
		while (run->match_at > 0 && (char) data[i] != cmd->body_match[run->match_at])
			run->match_at = cmd->match_next[run->match_at - 1];
		if ((char) data[i] == cmd->body_match[run->match_at])
			run->match_at++;
		run->matched = run->match_at == cmd->body_match_len;
	}
}

static bool
is_redirect(const struct canary_run *run)
{
	unsigned status = run->parser.status;

	return run->cmd->follow_redirects && run->parser.has_location &&
	       (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* RFC 9110 section 15.4: 303 always, and 301 and 302 in practice, turn a POST into a GET. */
static void
redirect(struct canary_run *run)
{
	struct http_url next;
	unsigned status = run->parser.status;
	char err[160] = "", line[RESULT_VALUE_MAX];

	if (run->redirects == HTTP_REDIRECTS_MAX)
	{
		probe_fail(&run->probe, ERROR_HTTP_STATUS, "more than %d redirects", HTTP_REDIRECTS_MAX);
		run_finish(run);
		return;
	}
	if (run->parser.location_cut ||
	    !http_url_resolve(&run->url, run->parser.location, &next, err, sizeof(err)))
	{
		probe_fail(&run->probe, ERROR_HTTP_STATUS, "status %u with a Location that is no use: %s",
		           status, run->parser.location_cut ? "longer than 2,048 bytes" : err);
		run_finish(run);
		return;
	}
	run->times.finished = probe_now();
	http_hop_text(run, line, sizeof(line));
	run->hops[run->redirects++] = strdup(line);
	if ((status == 303 && strcmp(run->method, "HEAD") != 0) ||
	    ((status == 301 || status == 302) && strcmp(run->method, "POST") == 0))
	{
		run->method = "GET";
		run->with_body = false;
	}
	run->url = next;
	hop_close(run);
	hop_start(run);
}

static void
answer_complete(struct canary_run *run)
{
	run->times.finished = probe_now();
	http_judge(run);
	run_finish(run);
}

static void
answer_broken(struct canary_run *run)
{
	bool body = run->parser.head_done || run->parser.in_body_when_broken;

	if (run->times.first_byte == 0)
		probe_fail(&run->probe, ERROR_RESET, "the server closed the connection without an answer");
	else
		probe_fail(&run->probe, body ? ERROR_HTTP_BODY : ERROR_HTTP_STATUS, "%s%s",
		           run->parser.reason,
		           run->parser.has_length && body ? " (Content-Length not reached)" : "");
	run_finish(run);
}

/* The answer begins with its first byte; in HTTP/2 other things may come before that. */
static bool
feed(struct canary_run *run, const uint8_t *data, size_t len)
{
	int64_t now = run->times.first_byte ? 0 : probe_now();
	bool whole = run->h2 ? h2_feed(run->h2, data, len, &run->request)
	                     : http_parser_feed(&run->parser, data, len);

	if (run->times.first_byte == 0 && (run->h2 == NULL || h2_begun(run->h2)))
	{
		run->times.first_byte = now;
		run->phase = HTTP_PHASE_RECEIVE;
	}
	return whole;
}

/* Takes what was read. True while there is more to come. */
static bool
take(struct canary_run *run, const uint8_t *data, size_t len)
{
	uint64_t room = run->cmd->max_body_bytes;

	if (!feed(run, data, len))
	{
		answer_broken(run);
		return false;
	}
	if (run->parser.head_done && is_redirect(run))
	{
		redirect(run);
		return false;
	}
	run->body_limited = run->parser.body_bytes >= room && run->parser.state != HTTP_DONE;
	if (run->parser.state == HTTP_DONE || run->body_limited)
	{
		answer_complete(run);
		return false;
	}
	return true;
}

/* Writes what there is to write. TLS_DONE: nothing is left. */
static enum tls_io
flush(struct canary_run *run)
{
	while (run->request_sent < run->request.len)
	{
		size_t put = 0;
		enum tls_io io = stream_write(run->tls, run->fd, run->request.data + run->request_sent,
		                              run->request.len - run->request_sent, &put);

		if (io != TLS_DONE)
			return io;
		run->request_sent += put;
	}
	buf_reset(&run->request);
	run->request_sent = 0;
	if (run->times.sent == 0 && (run->h2 == NULL || h2_sent(run->h2)))
		run->times.sent = probe_now();
	return TLS_DONE;
}

static void
receive(struct canary_run *run)
{
	static uint8_t data[READ_CHUNK];
	size_t got = 0;

	for (int i = 0; i < READS_A_TURN; i++)
	{
		enum tls_io io;
		int error;

		if (run->h2)
			flush(run); /* when it cannot be written, what is read tells why */
		io = stream_read(run->tls, run->fd, data, sizeof(data), &got);
		error = errno;

		if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
			return;
		if (io == TLS_FAILED)
		{
			fail_io(run, error, "read the answer");
			return;
		}
		if (io == TLS_END)
		{
			if (run->h2 ? h2_end(run->h2) : http_parser_end(&run->parser))
				answer_complete(run);
			else
				answer_broken(run);
			return;
		}
		if (!take(run, data, got))
			return;
	}
	event_active(&run->event, EV_READ, 1); /* what is there already makes no edge */
}

/* ---- the request ---- */

/* What a test adds for its target is not for wherever that redirects to. */
static bool
at_home(const struct canary_run *run)
{
	const struct http_url *home = run->cmd->url;

	return run->url.tls == home->tls && run->url.port == home->port &&
	       strcasecmp(run->url.host, home->host) == 0;
}

static void
add(struct h2_request *request, const char *name, const char *value)
{
	request->headers[request->header_count++] = (struct h2_header){name, value};
}

/* The request apart from how it is written. length is room for a number. */
static void
request_make(const struct canary_run *run, struct h2_request *request, char *host, size_t hostlen,
             char length[24])
{
	const struct http_cmd *cmd = run->cmd;

	http_url_host(&run->url, host, hostlen);
	*request = (struct h2_request){.method = run->method,
	                               .scheme = run->url.tls ? "https" : "http",
	                               .authority = host,
	                               .path = run->url.path};
	add(request, "User-Agent", "probectl-agent/" PROBECTL_VERSION);
	add(request, "Accept", "*/*");
	add(request, "Accept-Encoding", "identity");
	if (run->with_body)
	{
		request->body = cmd->body;
		request->body_len = cmd->body_len;
		snprintf(length, 24, "%zu", cmd->body_len);
		add(request, "Content-Type", cmd->content_type);
		add(request, "Content-Length", length);
	}
	if (!at_home(run))
		return;
	/* One of ours that the test sets as well is the test's. */
	for (size_t i = 0; i < cmd->header_count; i++)
	{
		size_t k = 0;

		while (k < request->header_count &&
		       strcasecmp(request->headers[k].name, cmd->headers[i].name) != 0)
			k++;
		if (k < 5 && k < request->header_count)
			request->headers[k] = cmd->headers[i];
		else
			add(request, cmd->headers[i].name, cmd->headers[i].value);
	}
}

static bool
request_build(struct canary_run *run)
{
	struct h2_request request;
	char host[300], length[24];

	request_make(run, &request, host, sizeof(host), length);
	buf_reset(&run->request);
	run->request_sent = 0;
	if (run->http2)
	{
		run->h2 = h2_open(&request, &run->parser, &run->request);
		return run->h2 != NULL;
	}
	buf_printf(&run->request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", request.method,
	           request.path, host);
	for (size_t i = 0; i < request.header_count; i++)
		buf_printf(&run->request, "%s: %s\r\n", request.headers[i].name, request.headers[i].value);
	buf_put_str(&run->request, "\r\n");
	if (request.body)
		buf_put(&run->request, request.body, request.body_len);
	return !run->request.failed;
}

/* A server may answer and close before it has read all: then the answer counts. */
static void
send_request(struct canary_run *run)
{
	enum tls_io io = flush(run);

	if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
		return;
	if (run->times.sent == 0 && run->h2 == NULL)
		run->times.sent = probe_now();
	run->phase = HTTP_PHASE_WAIT;
	receive(run);
}

static void
on_header(const char *name, const char *value, void *arg)
{
	http_rules_see(arg, name, value);
}

static void
send_start(struct canary_run *run)
{
	run->phase = HTTP_PHASE_SEND;
	http_parser_init(&run->parser, strcmp(run->method, "HEAD") == 0, on_body, run);
	if (run->cmd->rule_count > 0)
		run->parser.on_header = on_header;
	run->rules_met = 0;
	run->match_at = 0;
	run->matched = false;
	if (!request_build(run))
	{
		probe_fail(&run->probe, ERROR_LOCAL_FAULT, "out of memory");
		run_finish(run);
		return;
	}
	send_request(run);
}

/* ---- TLS ---- */

static void
secure(struct canary_run *run)
{
	enum tls_io io = tls_handshake(run->tls);
	int error = errno;
	char reason[120];

	if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
		return;
	if (io == TLS_FAILED && error == 0)
		tls_failure(reason, sizeof(reason));
	tls_inspect(run->tls, run->seen);
	if (io == TLS_DONE)
	{
		run->times.secured = probe_now();
		run->http2 = tls_chosen(run->tls, "h2");
		if (run->seen->verified && (run->http2 || run->cmd->version != HTTP_VERSION_2))
		{
			send_start(run);
			return;
		}
		if (run->seen->verified)
			probe_fail(&run->probe, ERROR_TLS_HANDSHAKE,
			           "TLS handshake: the server does not choose HTTP/2");
		probe_fail(&run->probe, run->seen->error ? run->seen->error : ERROR_TLS_HANDSHAKE,
		           "certificate of %s: %s", run->url.host,
		           run->seen->certificate ? run->seen->problem : "the server sent none");
	}
	else if (io == TLS_END)
		probe_fail(&run->probe, ERROR_TLS_HANDSHAKE,
		           "TLS handshake: the server closed the connection");
	else if (error)
		probe_fail(&run->probe, ERROR_TLS_HANDSHAKE, "TLS handshake: %s", strerror(error));
	else
		probe_fail(&run->probe, ERROR_TLS_HANDSHAKE, "TLS handshake: %s", reason);
	run_finish(run);
}

/* In wire form. */
static const struct
{
	const char *bytes;
	size_t len;
} protocols[] = {
    [HTTP_VERSION_ANY] = {"\x02h2\x08http/1.1", 12},
    [HTTP_VERSION_1] = {"\x08http/1.1", 9},
    [HTTP_VERSION_2] = {"\x02h2", 3},
};

static void
secure_start(struct canary_run *run)
{
	const enum http_version version = run->cmd->version;
	char err[240] = "out of memory";

	run->phase = HTTP_PHASE_TLS;
	if (run->seen == NULL)
		run->seen = malloc(sizeof(*run->seen));
	if (run->seen)
		memset(run->seen, 0, sizeof(*run->seen));
	run->tls = run->seen ? tls_new(run->fd, run->url.host, run->cmd->ca_file, err, sizeof(err))
	                     : NULL;
	if (run->tls == NULL ||
	    !tls_offer(run->tls, (const uint8_t *) protocols[version].bytes, protocols[version].len))
	{
		probe_fail(&run->probe, ERROR_LOCAL_FAULT, "%s", run->tls ? "out of memory" : err);
		run_finish(run);
		return;
	}
	secure(run);
}

/* ---- connect ---- */

static void
connect_failed(struct canary_run *run, int error, bool at_once)
{
	char peer[PROBE_ADDRESS_TEXT], from[PROBE_ADDRESS_TEXT], what[128];

	if (run->address + 1 < run->answer.count)
	{
		hop_close(run);
		run->address++;
		connect_start(run);
		return;
	}
	probe_address_text(&run->answer.addresses[run->address].addr, peer, sizeof(peer));
	snprintf(what, sizeof(what), "connect to %s port %u", peer, run->url.port);
	if (at_once)
		probe_fail_local(&run->probe, error, what);
	else
		probe_fail_socket(&run->probe, run->fd, error, what, from);
	hop_close(run);
	run_finish(run);
}

static void
connected(struct canary_run *run, short what)
{
	int error = what & EV_TIMEOUT ? ETIMEDOUT : probe_connect_error(run->fd);

	if (error)
	{
		connect_failed(run, error, false);
		return;
	}
	run->times.connected = probe_now();
	/* From now on TCP outlives what routers say. */
	probe_icmp_keep(run->fd, run->answer.addresses[run->address].addr.ss_family, false);
	event_remove_timer(&run->event);
	run->http2 = run->cmd->version == HTTP_VERSION_2;
	if (run->url.tls)
		secure_start(run);
	else
		send_start(run);
}

/* While there are other addresses, one of them has half of the time that is left. */
static void
connect_start(struct canary_run *run)
{
	const struct resolver_address *peer = &run->answer.addresses[run->address];
	int64_t left = run->probe.start + (int64_t) run->probe.spec->timeout_ms * 1000000 - probe_now();
	struct timeval tv;
	bool last = run->address + 1 == run->answer.count;
	int on = 1;

	left = left > 2000000 ? left / 2 : 1000000;
	tv = clock_timeval(left);
	run->phase = HTTP_PHASE_CONNECT;
	run->times.connecting = probe_now();
	run->fd = socket(peer->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (run->fd < 0)
	{
		probe_fail_errno(&run->probe, errno, "open a socket");
		run_finish(run);
		return;
	}
	event_assign(&run->event, run->probe.env->base, run->fd,
	             EV_READ | EV_WRITE | EV_ET | EV_PERSIST, on_socket, run);
	setsockopt(run->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	probe_icmp_keep(run->fd, peer->addr.ss_family, true);
	if (connect(run->fd, (const struct sockaddr *) &peer->addr, peer->len) != 0 &&
	    errno != EINPROGRESS)
		connect_failed(run, errno, true);
	else
		event_add(&run->event, last ? NULL : &tv);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	switch (run->phase)
	{
		case HTTP_PHASE_CONNECT: connected(run, what); break;
		case HTTP_PHASE_TLS: secure(run); break;
		case HTTP_PHASE_SEND: send_request(run); break;
		case HTTP_PHASE_WAIT:
		case HTTP_PHASE_RECEIVE: receive(run); break;
		default: abort(); /* there is no socket while a name is looked up */
	}
}

/* ---- hops ---- */

static void
on_resolved(const struct resolver_answer *answer, void *arg)
{
	struct canary_run *run = arg;

	run->probe.query = NULL;
	run->times.resolved = probe_now();
	run->answer = *answer;
	if (answer->error != ERROR_NONE)
	{
		probe_fail(&run->probe, answer->error, "%s", answer->message);
		run_finish(run);
		return;
	}
	if (!guard_pass(&run->probe, run->answer.addresses, run->answer.count))
	{
		run_finish(run);
		return;
	}
	for (size_t i = 0; i < run->answer.count; i++)
		probe_set_port(&run->answer.addresses[i].addr, run->url.port);
	connect_start(run);
}

static void
hop_start(struct canary_run *run)
{
	char err[240] = "out of memory";

	memset(&run->times, 0, sizeof(run->times));
	free(run->seen);
	run->seen = NULL;
	run->phase = HTTP_PHASE_RESOLVE;
	run->answer.count = 0;
	run->address = 0;
	memset(&run->parser, 0, sizeof(run->parser));
	if (!run->url.tls || tls_prepare(run->cmd->ca_file, err, sizeof(err)))
		run->probe.query = resolver_resolve(run->probe.env->resolver, run->url.host,
		                                    run->cmd->family, on_resolved, run);
	run->times.began = probe_now();
	if (run->probe.query == NULL)
	{
		probe_fail(&run->probe, ERROR_LOCAL_FAULT, "%s", err);
		probe_end_soon(&run->probe);
	}
}

/* What the run was waiting for is what timed out. */
static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	static const struct
	{
		enum error_type type;
		const char *text;
	} limits[] = {
	    [HTTP_PHASE_RESOLVE] = {ERROR_DNS_TIMEOUT, "no answer to the look-up"},
	    [HTTP_PHASE_CONNECT] = {ERROR_CONNECT_TIMEOUT, "no connection"},
	    [HTTP_PHASE_TLS] = {ERROR_READ_TIMEOUT, "no end of the TLS handshake"},
	    [HTTP_PHASE_SEND] = {ERROR_READ_TIMEOUT, "the server did not take the whole request"},
	    [HTTP_PHASE_WAIT] = {ERROR_READ_TIMEOUT, "no answer to the request"},
	    [HTTP_PHASE_RECEIVE] = {ERROR_READ_TIMEOUT, "no end of the answer"},
	};
	struct canary_run *run = arg;

	probe_fail(&run->probe, limits[run->phase].type, "%s: %s within %u ms", run->url.host,
	           limits[run->phase].text, run->probe.spec->timeout_ms);
	run_finish(run);
}

static struct canary_run *
http_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
           void *arg)
{
	const struct http_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run));
	char ignored[240];

	if (run == NULL)
		return NULL;
	/* Before the clock starts; when it fails, the hop fails for the same reason. */
	if (parsed->url->tls)
		tls_prepare(parsed->ca_file, ignored, sizeof(ignored));
	run->cmd = parsed;
	run->fd = -1;
	http_url_copy(&run->url, parsed->url);
	run->method = parsed->method;
	run->with_body = parsed->with_body;
	buf_init(&run->request, REQUEST_BYTES_MAX);
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	hop_start(run);
	return run;
}

static void
http_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_http = {
    .type = "http",
    .summary = "waterfall, status, body and certificate of a URL; target: http:// or https://",
    .cmd_parse = http_cmd_parse,
    .cmd_free = http_cmd_free,
    .start = http_start,
    .cancel = http_cancel,
};
