/* SPDX-License-Identifier: PostgreSQL
 *
 * conn.c -- a client's connection: TLS, HTTP framing, time limits.
 *
 * conn_run is the only driver: whatever happened (bytes, room to write, an answer), it
 * does everything that can be done now and says what to wait for. It never recurses: an
 * answer given while it runs is picked up by its loop. Closed connections are freed by the next
 * tick, so no caller is left with a dangling pointer.
 */
#include "gateway/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/util.h>

#include "gateway/api.h"
#include "gateway/gateway.h"
#include "gateway/tls.h"
#include "lib/log.h"
#include "lib/mem.h"

#define READ_SIZE        16384
#define STREAM_READ_SIZE 256 /* what a stream's client says is dropped */
#define IN_MAX           (HTTP_HEAD_MAX + READ_SIZE)
#define HEAD_ROOM        4096 /* of an answer's head, above its body */
#define OUT_MAX          (128 << 20)
#define OUT_KEEP         65536 /* an output buffer beyond this is given back after use */
#define LINGER_MAX       (4 << 20)
#define LISTEN_QUEUE     511

/* What every answer says, whatever it is. The content policy allows this origin only; the
 * page styles itself from files and through the style object, which it does not cover. */
static const char security_headers[] =
    "Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Permissions-Policy: accelerometer=(), camera=(), geolocation=(), gyroscope=(),"
    " magnetometer=(), microphone=(), payment=(), usb=()\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Strict-Transport-Security: max-age=31536000\r\n";

TAILQ_HEAD(conn_list, conn);
static struct conn_list open_conns = TAILQ_HEAD_INITIALIZER(open_conns);
static struct conn_list closed_conns = TAILQ_HEAD_INITIALIZER(closed_conns);
static size_t open_count;
static uint64_t request_serial;
static struct tls_ctx *tls;
static struct event *listen_ev, *listen_again_ev;
static int listen_fd = -1;

static void conn_run(struct conn *c);
static void conn_event(evutil_socket_t fd, short what, void *arg);

const char *
conn_peer_name(const struct conn *c, char *buf, size_t len)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (c->peer.ss_family == AF_INET)
	{
		const struct sockaddr_in *a = (const struct sockaddr_in *) &c->peer;

		evutil_inet_ntop(AF_INET, &a->sin_addr, host, sizeof host);
		snprintf(buf, len, "%s:%u", host, ntohs(a->sin_port));
	}
	else
	{
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *) &c->peer;

		evutil_inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof host);
		snprintf(buf, len, "[%s]:%u", host, ntohs(a->sin6_port));
	}
	return buf;
}

void
conn_set_tls(struct tls_ctx *ctx)
{
	tls_ctx_free(tls);
	tls = ctx;
}

size_t
conn_count(void)
{
	return open_count;
}

/* ---- phases ----------------------------------------------------------------------- */

static int64_t
in_ms(int64_t ms)
{
	return gw_now_ms() + ms;
}

static void
enter_phase(struct conn *c, enum conn_phase phase, int64_t limit_ms)
{
	c->phase = phase;
	c->deadline = limit_ms > 0 ? in_ms(limit_ms) : 0;
}

void
conn_close(struct conn *c)
{
	void (*on_close)(struct conn *) = c->on_close;

	if (c->phase == CONN_CLOSED)
		return;
	c->on_close = NULL;
	c->phase = CONN_CLOSED;
	event_free(c->read_ev);
	event_free(c->write_ev);
	tls_conn_free(c->tls);
	c->tls = NULL;
	close(c->fd);
	c->fd = -1;
	TAILQ_REMOVE(&open_conns, c, link);
	TAILQ_INSERT_TAIL(&closed_conns, c, link);
	open_count--;
	metric_set(&gw_metrics[GW_CLIENTS_OPEN], (int64_t) open_count);
	if (on_close != NULL)
		on_close(c);
}

static void
conn_free(struct conn *c)
{
	buf_free(&c->in);
	buf_free(&c->head);
	buf_free(&c->body);
	buf_free(&c->out);
	free(c);
}

/* The last answer has left: say goodbye, then wait briefly for the client to have read
 * it, because closing with unread input resets the connection and can destroy it. */
static void
conn_linger(struct conn *c)
{
	tls_shutdown(c->tls);
	shutdown(c->fd, SHUT_WR);
	c->body_left = LINGER_MAX;
	enter_phase(c, CONN_LINGER, CONN_LINGER_MS);
}

/* ---- answers ---------------------------------------------------------------------- */

/* Dates change once a second, answers more often. */
static const char *
http_date(void)
{
	static char text[40];
	static time_t shown;
	time_t now = time(NULL);
	struct tm tm;

	if (now != shown)
	{
		shown = now;
		gmtime_r(&now, &tm);
		strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return text;
}

static void
log_answer(const struct conn *c, int status, int64_t ns)
{
	char peer[80];
	bool slow = ns / 1000000 >= gw_settings.slow_ms;

	if (gw_settings.access_log == ACCESS_OFF ||
	    (gw_settings.access_log == ACCESS_ERRORS && (status < 500 || status == 503) && !slow))
		return; /* 503 is counted, and its cause has a line of its own */
	log_info("http", conn_peer_name(c, peer, sizeof peer), "%s %s %d in %.1f ms, request %s%s",
	         c->method, c->path, status, (double) ns / 1e6, c->request_id, slow ? ", slow" : "");
}

static void
count_answer(const struct conn *c, int status)
{
	int64_t ns = gw_now_ns() - c->began_ns;

	metric_add(&gw_metrics[GW_REQ_NANOSECONDS], ns);
	gw_count(status >= 500   ? GW_REQ_5XX
	         : status >= 400 ? GW_REQ_4XX
	         : status >= 300 ? GW_REQ_3XX
	                         : GW_REQ_2XX);
	log_answer(c, status, ns);
}

static void
put_head(struct conn *c, int status, const char *cache, const char *headers)
{
	buf_printf(&c->out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_reason(status), http_date());
	buf_put(&c->out, security_headers, sizeof security_headers - 1);
	buf_printf(&c->out, "Cache-Control: %s\r\nX-Request-Id: %s\r\n%s%s", cache, c->request_id,
	           headers != NULL ? headers : "",
	           !c->keep_alive ? "Connection: close\r\n"
	           : c->http10    ? "Connection: keep-alive\r\n"
	                          : "");
}

void
conn_reply(struct conn *c, const struct conn_reply *r)
{
	bool bodiless = r->status == 204 || r->status == 304;

	if (c->phase == CONN_CLOSED)
		return;
	c->on_close = NULL;
	c->owner = NULL;
	if (r->close || gw_draining)
		c->keep_alive = false;
	put_head(c, r->status, r->cache != NULL ? r->cache : "no-store", r->headers);
	if (!bodiless)
		buf_printf(&c->out, "Content-Type: %s\r\nContent-Length: %zu\r\n",
		           r->type != NULL ? r->type : "application/json", r->len);
	buf_put(&c->out, "\r\n", 2);
	if (!bodiless && !c->head_only && r->len > 0)
		buf_put(&c->out, r->body, r->len);
	if (c->out.failed)
	{
		log_error("http", NULL, "an answer of %zu bytes does not fit, request %s", r->len,
		          c->request_id);
		conn_close(c);
		return;
	}
	count_answer(c, r->status);
	enter_phase(c, c->keep_alive ? CONN_HEAD : CONN_LAST, 0);
	conn_run(c);
}

/* A stream lives for hours and reads nothing: thousands of them must stay small. The
 * request that is still being handled lies in `in` or in `head`, whose bytes stay. */
static void
stream_slim(struct conn *c)
{
	buf_free(&c->body);
	buf_init(&c->body, (size_t) gw_settings.body_bytes);
	if (c->running)
		return;
	buf_free(&c->in);
	buf_init(&c->in, IN_MAX);
	buf_free(&c->head);
	buf_init(&c->head, HTTP_HEAD_MAX);
}

void
conn_stream_begin(struct conn *c)
{
	c->keep_alive = false;
	put_head(c, 200, "no-store", "Content-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n");
	buf_put(&c->out, "\r\n", 2);
	count_answer(c, 200);
	enter_phase(c, CONN_STREAM, 0);
	stream_slim(c);
	conn_run(c);
}

bool
conn_stream_put(struct conn *c, const void *data, size_t len)
{
	if (c->phase != CONN_STREAM)
		return false;
	if (c->out.len - c->out_pos + len > CONN_STREAM_BYTES)
	{
		gw_count(GW_STREAMS_SLOW);
		conn_close(c);
		return false;
	}
	buf_put(&c->out, data, len);
	conn_run(c);
	return c->phase == CONN_STREAM;
}

/* An answer to something that is not a request: the connection ends with it. */
static void
refuse(struct conn *c, int status, const char *why)
{
	struct conn_reply r = {.status = status, .close = true};
	struct buf text = BUF_INIT(1024);

	api_error_body(&text, status, NULL, why, NULL, c->request_id);
	r.body = text.data;
	r.len = text.len;
	conn_reply(c, &r);
	buf_free(&text);
}

/* ---- reading requests ------------------------------------------------------------- */

static void
request_named(struct conn *c)
{
	static uint32_t boot;

	if (boot == 0)
		boot = (uint32_t) gw_random() | 1;
	snprintf(c->request_id, sizeof c->request_id, "%08x-%llx", boot,
	         (unsigned long long) ++request_serial);
	c->began_ns = gw_now_ns();
	c->keep_alive = true;
	c->http10 = c->head_only = false;
	snprintf(c->method, sizeof c->method, "-");
	snprintf(c->path, sizeof c->path, "-");
}

/* A head is complete: what does it say about a body? */
static void
request_begin(struct conn *c, size_t head_len)
{
	request_named(c);
	c->keep_alive = c->req.keep_alive && !gw_draining;
	c->http10 = c->req.http10;
	c->head_only = strcmp(c->req.method, "HEAD") == 0;
	memcpy(c->method, c->req.method, sizeof c->method);
	snprintf(c->path, sizeof c->path, "%.*s", (int) c->req.path.len, c->req.path.ptr);

	if (c->req.has_length && c->req.content_length > (uint64_t) gw_settings.body_bytes)
	{
		refuse(c, 413, "body is larger than limits.body_bytes");
		return;
	}
	buf_reset(&c->body);
	if (!c->req.chunked && c->req.content_length == 0)
	{
		/* The input does not move before api_handle returns. */
		enter_phase(c, CONN_WAIT, 0);
		api_handle(c);
		buf_consume(&c->in, head_len);
		return;
	}
	buf_reset(&c->head);
	buf_put(&c->head, c->in.data, head_len);
	buf_consume(&c->in, head_len);
	/* The same bytes in a place that does not move: this cannot fail. */
	http_parse_head(&c->req, (const char *) c->head.data, c->head.len);
	c->body_left = c->req.content_length;
	c->chunked = (struct http_chunked){.state = HTTP_CHUNK_SIZE};
	if (c->req.expect_continue)
		buf_put_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
	enter_phase(c, CONN_BODY, CONN_BODY_MS);
}

/* True when something was used. */
static bool
run_head(struct conn *c)
{
	int rc;

	if (c->in.len == 0)
		return false;
	rc = http_parse_head(&c->req, (const char *) c->in.data, c->in.len);
	if (rc == HTTP_MORE)
	{
		if (!c->head_begun)
			c->deadline = in_ms(CONN_HEAD_MS);
		c->head_begun = true;
		return false;
	}
	c->head_begun = false;
	if (rc > 0)
	{
		request_begin(c, (size_t) rc);
		return true;
	}
	request_named(c);
	refuse(c, -rc, c->req.error);
	return true;
}

static bool
run_chunked(struct conn *c)
{
	bool used = false;

	while (c->chunked.state != HTTP_CHUNK_DONE)
	{
		struct http_slice data;
		long n = http_chunked_read(&c->chunked, (const char *) c->in.data, c->in.len, &data);

		if (n < 0)
		{
			refuse(c, 400, "malformed chunk in the body");
			return true;
		}
		if (n == 0)
			return used;
		used = true;
		if (!buf_put(&c->body, data.ptr, data.len))
		{
			refuse(c, 413, "body is larger than limits.body_bytes");
			return true;
		}
		buf_consume(&c->in, (size_t) n);
	}
	enter_phase(c, CONN_WAIT, 0);
	api_handle(c);
	return true;
}

static bool
run_body(struct conn *c)
{
	size_t n = c->in.len < c->body_left ? c->in.len : (size_t) c->body_left;

	if (c->req.chunked)
		return run_chunked(c);
	buf_put(&c->body, c->in.data, n);
	buf_consume(&c->in, n);
	c->body_left -= n;
	if (c->body_left > 0)
		return n > 0;
	enter_phase(c, CONN_WAIT, 0);
	api_handle(c);
	return true;
}

/* ---- the driver ------------------------------------------------------------------- */

enum run
{
	RUN_AGAIN, /* something changed */
	RUN_WAIT   /* nothing to do until an event */
};

static void
wait_writable(struct conn *c)
{
	event_add(c->write_ev, NULL);
}

/* Sends what waits. RUN_WAIT when the socket is full. */
static enum run
run_write(struct conn *c)
{
	while (c->out_pos < c->out.len)
	{
		size_t n;
		enum tls_status s = tls_write(c->tls, c->out.data + c->out_pos, c->out.len - c->out_pos,
		                              &n);

		if (s == TLS_DONE)
		{
			c->out_pos += n;
			c->write_deadline = 0;
			continue;
		}
		if (s == TLS_WANT_WRITE)
			wait_writable(c);
		else if (s != TLS_WANT_READ)
			conn_close(c);
		if (c->write_deadline == 0)
			c->write_deadline = in_ms(CONN_WRITE_MS);
		return RUN_WAIT;
	}
	c->out_pos = 0;
	if (c->out.cap > OUT_KEEP)
	{
		buf_free(&c->out);
		buf_init(&c->out, OUT_MAX);
	}
	else
		buf_reset(&c->out);
	return RUN_AGAIN;
}

static void
read_pause(struct conn *c)
{
	c->read_paused = true;
	event_del(c->read_ev);
}

/* The client sent its end. It may do so right behind its request and wait for the answer. */
static void
read_ended(struct conn *c)
{
	if (c->phase != CONN_WAIT)
	{
		conn_close(c);
		return;
	}
	c->peer_done = true;
	read_pause(c);
}

/* Reads once into the input buffer, or drops what a stream's client sends. */
static enum run
run_read(struct conn *c)
{
	size_t size = c->phase == CONN_STREAM ? STREAM_READ_SIZE : READ_SIZE;
	uint8_t *to;
	size_t n = 0;

	if (!c->readable && !tls_pending(c->tls))
		return RUN_WAIT;
	if (c->phase == CONN_STREAM)
		buf_reset(&c->in); /* a stream's client has nothing more to say */
	else if (c->in.len >= HTTP_HEAD_MAX)
	{
		read_pause(c);
		return RUN_WAIT;
	}
	to = buf_room(&c->in, size);
	if (to == NULL)
	{
		conn_close(c);
		return RUN_WAIT;
	}
	switch (tls_read(c->tls, to, size, &n))
	{
		case TLS_DONE:
			buf_added(&c->in, n);
			/* A short read emptied the socket; if not, the event comes again. */
			c->readable = n == size;
			return RUN_AGAIN;
		case TLS_WANT_READ: c->readable = false; break;
		case TLS_WANT_WRITE: wait_writable(c); break;
		case TLS_CLOSED: read_ended(c); break;
		case TLS_FAILED: conn_close(c); break;
	}
	return RUN_WAIT;
}

static enum run
run_handshake(struct conn *c)
{
	char peer[80];

	switch (tls_handshake(c->tls))
	{
		case TLS_DONE: enter_phase(c, CONN_HEAD, CONN_IDLE_MS); return RUN_AGAIN;
		case TLS_WANT_READ: return RUN_WAIT;
		case TLS_WANT_WRITE: wait_writable(c); return RUN_WAIT;
		case TLS_CLOSED: conn_close(c); return RUN_WAIT;
		case TLS_FAILED:
			gw_count(GW_CLIENTS_TLS_FAILED);
			log_limited(LOG_LEVEL_INFO, "tls", conn_peer_name(c, peer, sizeof peer),
			            "handshake failed: %s", tls_reason());
			conn_close(c);
			return RUN_WAIT;
	}
	return RUN_WAIT;
}

static enum run
run_linger(struct conn *c)
{
	char waste[4096];
	ssize_t n = recv(c->fd, waste, sizeof waste, 0);

	if (n > 0 && (uint64_t) n < c->body_left)
	{
		c->body_left -= (uint64_t) n;
		return RUN_AGAIN;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return RUN_WAIT;
	conn_close(c);
	return RUN_WAIT;
}

/* Between requests the idle limit holds, until the next head's first byte. */
static enum run
run_next(struct conn *c)
{
	if (c->phase == CONN_HEAD ? run_head(c) : run_body(c))
		return RUN_AGAIN;
	if (c->peer_done || (gw_draining && c->phase == CONN_HEAD && c->in.len == 0))
	{
		conn_linger(c);
		return RUN_AGAIN;
	}
	if (c->deadline == 0)
		c->deadline = in_ms(CONN_IDLE_MS);
	if (c->read_paused)
	{
		c->read_paused = false;
		event_add(c->read_ev, NULL);
	}
	return run_read(c);
}

static enum run
run_phase(struct conn *c)
{
	switch (c->phase)
	{
		case CONN_HANDSHAKE: return run_handshake(c);
		case CONN_HEAD:
		case CONN_BODY: return run_next(c);
		case CONN_WAIT:
		case CONN_STREAM: return run_read(c);
		case CONN_LAST: conn_linger(c); return RUN_AGAIN;
		case CONN_LINGER: return run_linger(c);
		case CONN_CLOSED: break;
	}
	return RUN_WAIT;
}

static void
conn_run(struct conn *c)
{
	if (c->running)
		return;
	c->running = true;
	while (c->phase != CONN_CLOSED)
	{
		if (c->out_pos < c->out.len && run_write(c) == RUN_WAIT)
			break;
		if (run_phase(c) == RUN_WAIT)
			break;
	}
	c->running = false;
}

static void
conn_event(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	if (what & EV_READ)
		c->readable = true;
	conn_run(c);
}

/* ---- accepting -------------------------------------------------------------------- */

static void
conn_new(int fd, const struct sockaddr_storage *peer)
{
	struct conn *c = mem_alloc(sizeof *c);
	int one = 1;

	c->fd = fd;
	c->peer = *peer;
	c->tls = tls_conn_new(tls, fd);
	c->read_ev = event_new(gw_base, fd, EV_READ | EV_PERSIST, conn_event, c);
	c->write_ev = event_new(gw_base, fd, EV_WRITE, conn_event, c);
	if (c->tls == NULL || c->read_ev == NULL || c->write_ev == NULL)
		log_fatal("http", NULL, "out of memory for a connection");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	buf_init(&c->in, IN_MAX);
	buf_init(&c->head, HTTP_HEAD_MAX);
	buf_init(&c->body, (size_t) gw_settings.body_bytes);
	buf_init(&c->out, OUT_MAX);
	TAILQ_INSERT_TAIL(&open_conns, c, link);
	open_count++;
	gw_count(GW_CLIENTS_ACCEPTED);
	metric_set(&gw_metrics[GW_CLIENTS_OPEN], (int64_t) open_count);
	enter_phase(c, CONN_HANDSHAKE, CONN_HANDSHAKE_MS);
	event_add(c->read_ev, NULL);
}

/* Out of descriptors or over the limit: new clients wait in the kernel for a moment. */
static void
accept_pause(void)
{
	struct timeval tv = {.tv_usec = 100000};

	event_del(listen_ev);
	event_add(listen_again_ev, &tv);
}

static void
accept_again(evutil_socket_t fd, short what, void *arg)
{
	if (listen_fd >= 0)
		event_add(listen_ev, NULL);
}

static void
accept_event(evutil_socket_t fd, short what, void *arg)
{
	for (int i = 0; i < 64; i++)
	{
		struct sockaddr_storage peer;
		socklen_t len = sizeof peer;
		int got;

		if (open_count >= (size_t) gw_settings.clients)
		{
			gw_count(GW_REFUSED_CLIENTS);
			accept_pause();
			return;
		}
		got = accept4(fd, (struct sockaddr *) &peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (got >= 0)
			conn_new(got, &peer);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		{
			log_limited(LOG_LEVEL_ERROR, "http", NULL, "cannot accept: %s", strerror(errno));
			accept_pause();
			return;
		}
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

bool
conn_listen(const char *address, char *err, size_t errlen)
{
	struct sockaddr_storage addr;
	int len = sizeof addr, one = 1;

	memset(&addr, 0, sizeof addr);
	if (evutil_parse_sockaddr_port(address, (struct sockaddr *) &addr, &len) != 0)
	{
		snprintf(err, errlen, "listen: %s is not an address and port", address);
		return false;
	}
	listen_fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listen_fd < 0 || setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    bind(listen_fd, (struct sockaddr *) &addr, (socklen_t) len) != 0 ||
	    listen(listen_fd, LISTEN_QUEUE) != 0)
	{
		snprintf(err, errlen, "cannot listen on %s: %s%s", address, strerror(errno),
		         errno == EADDRINUSE ? "; stop the other process or change `listen`" : "");
		if (listen_fd >= 0)
			close(listen_fd);
		listen_fd = -1;
		return false;
	}
	listen_ev = event_new(gw_base, listen_fd, EV_READ | EV_PERSIST, accept_event, NULL);
	listen_again_ev = evtimer_new(gw_base, accept_again, NULL);
	event_add(listen_ev, NULL);
	return true;
}

void
conn_listen_stop(void)
{
	if (listen_fd < 0)
		return;
	event_free(listen_ev);
	event_free(listen_again_ev);
	close(listen_fd);
	listen_fd = -1;
}

/* ---- time and end ----------------------------------------------------------------- */

static void
conn_timeout(struct conn *c)
{
	c->deadline = 0;
	if (c->phase == CONN_BODY || (c->phase == CONN_HEAD && c->head_begun))
	{
		gw_count(GW_CLIENTS_TIMEOUT);
		if (c->phase == CONN_HEAD)
			request_named(c);
		refuse(c, 408, "the request did not arrive in time");
		return;
	}
	if (c->phase == CONN_HANDSHAKE)
		gw_count(GW_CLIENTS_TIMEOUT);
	conn_close(c);
}

/* A connection between requests keeps no memory but TLS's own. */
static void
conn_slim(struct conn *c, int64_t now_ms)
{
	if (c->phase != CONN_HEAD || c->in.len > 0 || c->in.cap == 0 ||
	    c->deadline - now_ms > CONN_IDLE_MS - CONN_QUIET_MS)
		return;
	buf_free(&c->in);
	buf_init(&c->in, IN_MAX);
	buf_free(&c->head);
	buf_init(&c->head, HTTP_HEAD_MAX);
	buf_free(&c->body);
	buf_init(&c->body, (size_t) gw_settings.body_bytes);
	buf_free(&c->out);
	buf_init(&c->out, OUT_MAX);
	c->out_pos = 0;
}

static void
conns_bury(void)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&closed_conns)) != NULL)
	{
		TAILQ_REMOVE(&closed_conns, c, link);
		conn_free(c);
	}
}

void
conn_tick(int64_t now_ms)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&open_conns); c != NULL; c = next)
	{
		next = TAILQ_NEXT(c, link);
		if (c->write_deadline != 0 && now_ms > c->write_deadline)
		{
			gw_count(GW_CLIENTS_TIMEOUT);
			conn_close(c);
		}
		else if (c->deadline != 0 && now_ms > c->deadline)
			conn_timeout(c);
		else
			conn_slim(c, now_ms);
	}
	conns_bury();
}

void
conn_stop(void)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&open_conns)) != NULL)
		conn_close(c);
	conns_bury();
}

void
conn_drain(void)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&open_conns); c != NULL; c = next)
	{
		next = TAILQ_NEXT(c, link);
		if (c->phase == CONN_STREAM || c->phase == CONN_HANDSHAKE ||
		    (c->phase == CONN_HEAD && c->in.len == 0 && c->out_pos == c->out.len))
			conn_close(c);
	}
}
