/* SPDX-License-Identifier: PostgreSQL
 *
 * xfer.c -- one question to one server.
 *
 *   UDP --truncated--> CONNECT -> [TLS] -> STREAM -> END
 *    +------------------------------------------------^
 *
 * One event on the socket and one timer. The end of an exchange is always the timer, so that no
 * caller is called back from its own call. A datagram that is not the answer is passed over, since
 * anybody may send one; what is said on a connection was said by the server, and is held to it.
 */
#include "agent/dns/xfer.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/dns/xferpriv.h"
#include "agent/probe.h"
#include "lib/clock.h"

#define READ_CHUNK       16384
#define WHAT_TEXT        160
#define DATAGRAMS_A_TURN 16 /* looked at before the loop has its turn */

static void stream_start(struct xfer *x);
static void stream_run(struct xfer *x);
static void on_socket(evutil_socket_t fd, short what, void *arg);

/* ---- ends ---- */

void
xfer_fail(struct xfer *x, enum error_type error, const char *fmt, ...)
{
	va_list args;

	if (x->answer.error != ERROR_NONE)
		return;
	x->answer.error = error;
	va_start(args, fmt);
	vsnprintf(x->answer.text, sizeof(x->answer.text), fmt, args);
	va_end(args);
}

static void
close_socket(struct xfer *x)
{
	tls_free(x->tls);
	x->tls = NULL;
	if (x->fd < 0)
		return;
	event_del(&x->event);
	close(x->fd);
	x->fd = -1;
}

static void
timer_at(struct xfer *x, int64_t when)
{
	int64_t left = when - probe_now();
	struct timeval tv = {0, 0};

	if (left > 0)
		tv = clock_timeval(left);
	evtimer_add(&x->timer, &tv);
}

static void
finish(struct xfer *x)
{
	close_socket(x);
	x->state = XFER_STATE_END;
	timer_at(x, 0);
}

static void
peer_text(const struct xfer *x, char *buf, size_t len)
{
	char address[64];
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) &x->server.addr;

	/* The port is at the same place in both families. */
	probe_address_text(&x->server.addr, address, sizeof(address));
	snprintf(buf, len, "%s port %u", address, ntohs(in4->sin_port));
}

/* "ask 192.0.2.53 port 53" */
static const char *
what_text(const struct xfer *x, const char *what, char text[WHAT_TEXT])
{
	char peer[96];

	peer_text(x, peer, sizeof(peer));
	snprintf(text, WHAT_TEXT, "%s %s", what, peer);
	return text;
}

static void
fail_call(struct xfer *x, int error, const char *what,
          void (*fail)(struct probe *probe, int error, const char *what))
{
	struct probe scratch = {0};
	char text[WHAT_TEXT];

	fail(&scratch, error, what_text(x, what, text));
	xfer_fail(x, scratch.error_type, "%.200s", scratch.error);
	finish(x);
}

static void
fail_errno(struct xfer *x, int error, const char *what)
{
	fail_call(x, error, what, probe_fail_errno);
}

/* Of a call that fails before anything was sent. */
static void
fail_local(struct xfer *x, int error, const char *what)
{
	fail_call(x, error, what, probe_fail_local);
}

/* Keeps what a router said. False when it was no router: a closed port, or this host. */
static bool
told(struct xfer *x, int error, const char *what)
{
	struct probe scratch = {0};
	char text[WHAT_TEXT], from[PROBE_ADDRESS_TEXT];

	probe_fail_socket(&scratch, x->fd, error, what_text(x, what, text), from);
	if (from[0] == '\0')
		return false;
	x->told = scratch.error_type;
	snprintf(x->told_text, sizeof(x->told_text), "%.199s", scratch.error);
	return true;
}

static void
fail_told(struct xfer *x)
{
	if (x->told != ERROR_NONE)
		xfer_fail(x, x->told, "%s", x->told_text);
}

static void
free_all(struct xfer *x)
{
	close_socket(x);
	event_del(&x->timer);
	doh_free(x->doh);
	buf_free(&x->out);
	buf_free(&x->in);
	dnsmsg_free(&x->answer.msg);
	free(x->seen);
	free(x);
}

void
xfer_cancel(struct xfer *x)
{
	if (x)
		free_all(x);
}

static void
deliver(struct xfer *x)
{
	xfer_done done = x->done;
	void *arg = x->arg;

	x->answer.tls = x->seen;
	done(&x->answer, arg);
	free_all(x);
}

/* ---- the question and the answer ---- */

size_t
xfer_question(struct xfer *x, uint8_t *buf)
{
	return dnsmsg_query(buf, x->id, x->name.bytes, x->type, x->options->flags, x->options->dnssec);
}

/* A whole message that is said to be the answer. */
static void
accept_message(struct xfer *x, const uint8_t *data, size_t len)
{
	const char *reason;

	x->answer.query_nano = probe_now() - x->sent_at;
	x->answer.bytes = len;
	if (!dnsmsg_matches(data, len, x->id, x->name.bytes, x->type))
		xfer_fail(x, ERROR_DNS_MALFORMED, "the answer is not to the question that was asked");
	else if (!dnsmsg_parse(&x->answer.msg, data, len, &reason))
		xfer_fail(x, ERROR_DNS_MALFORMED, "malformed answer: %s", reason);
	finish(x);
}

/* A server that knows no EDNS may answer FORMERR without a question (RFC 6891 section 7). */
static bool
is_bare_formerr(const struct xfer *x, const uint8_t *data, size_t len)
{
	return len == 12 && data[0] == x->id >> 8 && data[1] == (x->id & 0xff) && (data[2] & 0x80) &&
	       (data[3] & 0xf) == DNS_RCODE_FORMERR;
}

/* ---- UDP ---- */

static void
datagram_send(struct xfer *x)
{
	uint8_t query[XFER_QUERY_ROOM];
	size_t len = xfer_question(x, query);
	int64_t now = probe_now();
	unsigned left = x->options->tries - x->answer.sent;

	x->answer.sent++;
	x->sent_at = now;
	/* What is left of the time in equal parts; the last datagram has the last part. */
	x->datagram_limit = left > 1 ? now + (x->deadline - now) / left : x->deadline;
	/* A call after an ICMP error says that one, and does nothing else. */
	for (int i = 0; i < DATAGRAMS_A_TURN && send(x->fd, query, len, 0) < 0 && errno != EAGAIN; i++)
	{
		int error = errno;

		if (told(x, error, "ask"))
			continue;
		fail_errno(x, error, "send to");
		return;
	}
	timer_at(x, x->datagram_limit);
}

static void
datagram_read(struct xfer *x)
{
	static uint8_t data[65536];

	for (int i = 0; i < DATAGRAMS_A_TURN; i++)
	{
		ssize_t n = recv(x->fd, data, sizeof(data), 0);

		if (n < 0)
		{
			int error = errno;

			if (error != EAGAIN && error != EINTR && told(x, error, "ask"))
				continue;
			if (error != EAGAIN && error != EINTR)
				fail_errno(x, error, "ask");
			return;
		}
		if (is_bare_formerr(x, data, (size_t) n))
		{
			x->answer.query_nano = probe_now() - x->sent_at;
			x->answer.msg.rcode = DNS_RCODE_FORMERR;
			finish(x);
			return;
		}
		if (!dnsmsg_matches(data, (size_t) n, x->id, x->name.bytes, x->type))
			continue;
		if (data[2] & DNS_FLAG_TC >> 8)
		{
			x->answer.truncated = true;
			close_socket(x);
			stream_start(x);
			return;
		}
		accept_message(x, data, (size_t) n);
		return;
	}
}

static bool
socket_open(struct xfer *x, int type)
{
	int one = 1;

	x->fd = socket(x->server.addr.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
	{
		fail_errno(x, errno, "open a socket for");
		return false;
	}
	if (type == SOCK_STREAM)
		setsockopt(x->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	probe_icmp_keep(x->fd, x->server.addr.ss_family, true);
	return true;
}

static void
datagram_start(struct xfer *x)
{
	x->state = XFER_STATE_UDP;
	if (!socket_open(x, SOCK_DGRAM))
		return;
	event_assign(&x->event, x->base, x->fd, EV_READ | EV_PERSIST, on_socket, x);
	if (connect(x->fd, (const struct sockaddr *) &x->server.addr, x->server.len) != 0)
	{
		fail_local(x, errno, "reach");
		return;
	}
	event_add(&x->event, NULL);
	datagram_send(x);
}

/* ---- DNS on a stream: two bytes of length in front (RFC 1035 section 4.2.2) ---- */

static bool
plain_begin(struct xfer *x)
{
	uint8_t query[XFER_QUERY_ROOM];
	size_t len = xfer_question(x, query);

	return buf_put_be16(&x->out, (uint16_t) len) && buf_put(&x->out, query, len);
}

static enum xfer_step
plain_feed(struct xfer *x, const uint8_t *data, size_t len)
{
	size_t wanted;

	if (!buf_put(&x->in, data, len))
	{
		xfer_fail(x, ERROR_DNS_MALFORMED, "more came than an answer has bytes");
		return XFER_BROKEN;
	}
	if (x->in.len < 2)
		return XFER_MORE;
	wanted = (size_t) x->in.data[0] << 8 | x->in.data[1];
	if (x->in.len < wanted + 2)
		return XFER_MORE;
	x->in.len = wanted + 2;
	buf_consume(&x->in, 2);
	return XFER_ANSWERED;
}

static enum xfer_step
plain_end(struct xfer *x)
{
	xfer_fail(x, ERROR_RESET, "the server closed the connection %s",
	          x->in.len ? "in the middle of its answer" : "without an answer");
	return XFER_BROKEN;
}

static const struct xfer_protocol plain = {plain_begin, plain_feed, plain_end};

/* ---- streams, with and without TLS ---- */

static void
wait_for(struct xfer *x, short what)
{
	event_del(&x->event);
	event_assign(&x->event, x->base, x->fd, what, on_socket, x);
	event_add(&x->event, NULL);
}

static void
fail_io(struct xfer *x, int error, const char *what)
{
	char reason[120];

	if (error)
	{
		fail_errno(x, error, what);
		return;
	}
	tls_failure(reason, sizeof(reason));
	xfer_fail(x, ERROR_RESET, "%s the server: %s", what, reason);
	finish(x);
}

static void
stream_step(struct xfer *x, enum xfer_step step)
{
	if (step == XFER_ANSWERED)
		accept_message(x, x->in.data, x->in.len);
	else if (step == XFER_BROKEN)
		finish(x);
}

/* Writes what there is. False when the socket is full or broken. */
static bool
stream_flush(struct xfer *x)
{
	/* On loopback a write may last until the answer is there: the clock starts before it. */
	if (x->out_at < x->out.len && x->sent_at == 0)
		x->sent_at = probe_now();
	while (x->out_at < x->out.len)
	{
		size_t put = 0;
		enum tls_io io = stream_write(x->tls, x->fd, x->out.data + x->out_at,
		                              x->out.len - x->out_at, &put);
		int error = errno;

		if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
		{
			wait_for(x, io == TLS_WANT_READ ? EV_READ : EV_WRITE);
			return false;
		}
		if (io != TLS_DONE)
		{
			fail_io(x, io == TLS_END ? EPIPE : error, "write to");
			return false;
		}
		x->out_at += put;
	}
	buf_reset(&x->out);
	x->out_at = 0;
	return true;
}

static void
stream_run(struct xfer *x)
{
	static uint8_t data[READ_CHUNK];

	while (stream_flush(x))
	{
		size_t got = 0;
		enum tls_io io = stream_read(x->tls, x->fd, data, sizeof(data), &got);
		int error = errno;

		if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
		{
			wait_for(x, io == TLS_WANT_READ ? EV_READ : EV_WRITE);
			return;
		}
		if (io == TLS_FAILED)
		{
			fail_io(x, error, "read from");
			return;
		}
		stream_step(x, io == TLS_END ? x->protocol->end(x) : x->protocol->feed(x, data, got));
		if (x->state == XFER_STATE_END)
			return;
	}
}

static void
stream_speak(struct xfer *x)
{
	x->state = XFER_STATE_STREAM;
	if (x->options->transport == XFER_DOH)
		x->protocol = tls_chosen(x->tls, "h2") ? &doh_http2 : &doh_http1;
	x->answer.http2 = x->protocol == &doh_http2;
	if (!x->protocol->begin(x))
	{
		xfer_fail(x, ERROR_LOCAL_FAULT, "out of memory");
		finish(x);
		return;
	}
	stream_run(x);
}

static void
secure(struct xfer *x)
{
	enum tls_io io = tls_handshake(x->tls);
	int error = errno;
	char reason[120] = "";

	if (io == TLS_WANT_READ || io == TLS_WANT_WRITE)
	{
		wait_for(x, io == TLS_WANT_READ ? EV_READ : EV_WRITE);
		return;
	}
	if (io == TLS_FAILED && error == 0)
		tls_failure(reason, sizeof(reason));
	tls_inspect(x->tls, x->seen);
	if (io == TLS_DONE && x->seen->verified)
	{
		x->answer.tls_nano = probe_now() - x->began;
		stream_speak(x);
		return;
	}
	if (io == TLS_DONE)
		xfer_fail(x, x->seen->error ? x->seen->error : ERROR_TLS_HANDSHAKE, "certificate of %s: %s",
		          x->options->tls_name,
		          x->seen->certificate ? x->seen->problem : "the server sent none");
	else if (io == TLS_END)
		xfer_fail(x, ERROR_TLS_HANDSHAKE, "TLS handshake: the server closed the connection");
	else
		xfer_fail(x, ERROR_TLS_HANDSHAKE, "TLS handshake: %s", error ? strerror(error) : reason);
	finish(x);
}

static void
secure_start(struct xfer *x)
{
	static const uint8_t dot[] = "\x03"
	                             "dot";
	static const uint8_t doh[] = "\x02h2\x08http/1.1";
	bool is_doh = x->options->transport == XFER_DOH;
	char err[200] = "out of memory";

	x->state = XFER_STATE_TLS;
	x->began = probe_now();
	x->seen = calloc(1, sizeof(*x->seen));
	if (x->seen)
		x->tls = tls_new(x->fd, x->options->tls_name, x->options->ca_file, err, sizeof(err));
	if (x->tls == NULL ||
	    !tls_offer(x->tls, is_doh ? doh : dot, is_doh ? sizeof(doh) - 1 : sizeof(dot) - 1))
	{
		xfer_fail(x, ERROR_LOCAL_FAULT, "%s", err);
		finish(x);
		return;
	}
	secure(x);
}

static void
connected(struct xfer *x)
{
	int error = probe_connect_error(x->fd);

	if (error)
	{
		if (told(x, error, "connect to"))
			fail_told(x);
		fail_errno(x, error, "connect to");
		return;
	}
	probe_icmp_keep(x->fd, x->server.addr.ss_family, false);
	x->answer.connect_nano = probe_now() - x->began;
	if (x->options->transport == XFER_DOT || x->options->transport == XFER_DOH)
		secure_start(x);
	else
		stream_speak(x);
}

static void
stream_start(struct xfer *x)
{
	char err[200];

	x->protocol = &plain;
	x->state = XFER_STATE_CONNECT;
	x->sent_at = 0;
	/* Reading a file of CA certificates may take longer than a handshake: not part of one. */
	if (x->options->ca_file && !tls_prepare(x->options->ca_file, err, sizeof(err)))
	{
		xfer_fail(x, ERROR_LOCAL_FAULT, "%s", err);
		finish(x);
		return;
	}
	if (!socket_open(x, SOCK_STREAM))
		return;
	event_assign(&x->event, x->base, x->fd, EV_WRITE, on_socket, x);
	x->began = probe_now();
	timer_at(x, x->deadline);
	if (connect(x->fd, (const struct sockaddr *) &x->server.addr, x->server.len) == 0 ||
	    errno == EINPROGRESS)
		event_add(&x->event, NULL);
	else
		fail_local(x, errno, "connect to");
}

/* ---- events ---- */

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	static void (*const next[])(struct xfer *) = {[XFER_STATE_UDP] = datagram_read,
	                                              [XFER_STATE_CONNECT] = connected,
	                                              [XFER_STATE_TLS] = secure,
	                                              [XFER_STATE_STREAM] = stream_run};
	struct xfer *x = arg;

	next[x->state](x);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct
	{
		enum error_type error;
		const char *text;
	} late[] = {[XFER_STATE_UDP] = {ERROR_DNS_TIMEOUT, "no answer from"},
	            [XFER_STATE_CONNECT] = {ERROR_CONNECT_TIMEOUT, "no connection to"},
	            [XFER_STATE_TLS] = {ERROR_TLS_HANDSHAKE, "no end of the TLS handshake with"},
	            [XFER_STATE_STREAM] = {ERROR_DNS_TIMEOUT, "no answer on the connection to"}};
	struct xfer *x = arg;
	char peer[96];

	if (x->state == XFER_STATE_END)
	{
		deliver(x);
		return;
	}
	if (x->state == XFER_STATE_UDP && x->answer.sent < x->options->tries)
	{
		datagram_send(x);
		return;
	}
	if (x->state == XFER_STATE_UDP)
		fail_told(x);
	peer_text(x, peer, sizeof(peer));
	xfer_fail(x, late[x->state].error, "%s %s within %u ms", late[x->state].text, peer,
	          x->options->timeout_ms);
	deliver(x);
}

struct xfer *
xfer_start(struct event_base *base, const struct resolver_address *server,
           const struct xfer_options *options, const uint8_t *name, uint16_t type, xfer_done done,
           void *arg)
{
	struct xfer *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->base = base;
	x->options = options;
	x->server = *server;
	dname_copy(&x->name, name);
	x->type = type;
	x->done = done;
	x->arg = arg;
	x->fd = -1;
	x->answer.msg.ede = -1;
	buf_init(&x->out, XFER_STREAM_MAX);
	buf_init(&x->in, XFER_STREAM_MAX);
	/* RFC 8484 section 4.1: 0 for the sake of caches, and nobody can guess into TLS. */
	if (options->transport != XFER_DOH && getrandom(&x->id, sizeof(x->id), 0) != sizeof(x->id))
		__builtin_trap();
	x->deadline = probe_now() + (int64_t) options->timeout_ms * 1000000;
	evtimer_assign(&x->timer, base, on_timer, x);
	if (options->transport == XFER_UDP)
		datagram_start(x);
	else
		stream_start(x);
	return x;
}
