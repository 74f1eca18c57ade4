/* SPDX-License-Identifier: PostgreSQL
 *
 * grpc.c -- see grpc.h; framing stands in grpcframe.c.
 *
 * nghttp2 is sans-I/O: link.c feeds it and takes what it wants to send. Sending is put off to
 * the next turn of the loop by an event of its own, which joins frames of several calls
 * into one write and keeps callbacks out of the caller's stack. While nghttp2 runs, nothing is
 * freed: grpc_close then only marks, and the outermost frame does the rest.
 */
#include "lib/grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <nghttp2/nghttp2.h>

#include "lib/clock.h"
#include "lib/link.h"
#include "lib/mem.h"

#define GRPC_QUEUE_MAX    (8 * 1024 * 1024) /* bytes a call may have waiting */
#define GRPC_LINK_HIGH    (64 * 1024)       /* do not frame more while this much waits */
#define GRPC_MESSAGE_TEXT 256               /* kept of grpc-message */

struct grpc_call
{
	TAILQ_ENTRY(grpc_call) entry;
	struct grpc_conn *conn;
	const struct grpc_call_ops *ops; /* NULL: cancelled, no callbacks */
	void *arg;
	int32_t stream;
	struct buf out;
	size_t out_sent;
	bool last;     /* nothing follows what is in out */
	bool deferred; /* nghttp2 waits for grpc_send */
	struct grpc_reader in;
	struct event *deadline;
	int http_status;
	int status; /* -1 until grpc-status was seen */
	char text[GRPC_MESSAGE_TEXT];
};

TAILQ_HEAD(call_list, grpc_call);

struct grpc_conn
{
	struct event_base *base;
	struct link *link;
	nghttp2_session *session;
	struct call_list calls;
	const struct grpc_conn_ops *ops;
	void *arg;
	struct grpc_options options;
	char host[256];
	struct event *flush, *keepalive;
	int64_t heard; /* monotonic ns of the last byte received */
	bool up;
	bool pinged;
	int busy;     /* depth inside nghttp2 */
	bool closing; /* free when not busy */
	bool going_away;
};

static void conn_flush(struct grpc_conn *c);

const char *
grpc_status_name(int status)
{
	static const char *const names[] = {
	    "ok",
	    "cancelled",
	    "unknown",
	    "invalid argument",
	    "deadline exceeded",
	    "not found",
	    "already exists",
	    "permission denied",
	    "resource exhausted",
	    "failed precondition",
	    "aborted",
	    "out of range",
	    "unimplemented",
	    "internal",
	    "unavailable",
	    "data loss",
	    "unauthenticated",
	};

	return status >= 0 && (size_t) status < sizeof(names) / sizeof(names[0]) ? names[status]
	                                                                         : "unknown";
}

/* ---- calls ---- */

static void
call_free(struct grpc_call *call)
{
	TAILQ_REMOVE(&call->conn->calls, call, entry);
	if (call->deadline)
		event_free(call->deadline);
	buf_free(&call->out);
	grpc_reader_free(&call->in);
	free(call);
}

/* Tells the owner and frees; nghttp2 must no longer know the call. */
static void
call_finish(struct grpc_call *call, int status, const char *text)
{
	const struct grpc_call_ops *ops = call->ops;
	void *arg = call->arg;

	call_free(call);
	if (ops)
		ops->closed(arg, status, text);
}

/* Takes the call away from nghttp2 and resets the stream. */
static void
call_detach(struct grpc_call *call, uint32_t error_code)
{
	struct grpc_conn *c = call->conn;

	if (call->stream > 0 && c->session)
	{
		nghttp2_session_set_stream_user_data(c->session, call->stream, NULL);
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, call->stream, error_code);
		event_active(c->flush, EV_WRITE, 0);
	}
	call->stream = 0;
}

static void
call_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct grpc_call *call = arg;

	call_detach(call, NGHTTP2_CANCEL);
	call_finish(call, GRPC_DEADLINE_EXCEEDED, "no answer in time");
}

static ssize_t
call_provide(nghttp2_session *session, int32_t stream, uint8_t *to, size_t len, uint32_t *flags,
             nghttp2_data_source *source, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
	size_t left;

	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	left = call->out.len - call->out_sent;
	if (left == 0 && !call->last)
	{
		call->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (len > left)
		len = left;
	if (len)
		memcpy(to, call->out.data + call->out_sent, len);
	call->out_sent += len;
	if (call->out_sent == call->out.len)
	{
		buf_free(&call->out);
		call->out_sent = 0;
		if (call->last)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t) len;
}

/* ---- nghttp2 callbacks ---- */

static bool
message_deliver(void *arg, const uint8_t *data, size_t len)
{
	struct grpc_call *call = arg;

	if (call->ops)
		call->ops->message(call->arg, data, len);
	/* The owner may have cancelled in the callback. */
	return call->ops != NULL;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
        void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
	const char *problem;

	if (!call || !call->ops)
		return 0;
	problem = grpc_reader_feed(&call->in, data, len, message_deliver, call);
	if (problem && call->ops)
	{
		call->status = GRPC_INTERNAL;
		snprintf(call->text, sizeof(call->text), "the server sent %s", problem);
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
	}
	return 0;
}

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded UTF-8. */
static void
message_decode(char *out, size_t outlen, const uint8_t *in, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < len && at + 1 < outlen; i++)
	{
		if (in[i] == '%' && i + 2 < len && hex_digit(in[i + 1]) >= 0 && hex_digit(in[i + 2]) >= 0)
		{
			out[at++] = (char) (hex_digit(in[i + 1]) << 4 | hex_digit(in[i + 2]));
			i += 2;
		}
		else
			out[at++] = (char) in[i];
	}
	out[at] = '\0';
}

/* A number of at most 3 digits; -1 for anything else. */
static int
small_number(const uint8_t *text, size_t len)
{
	int v = 0;

	if (len == 0 || len > 3)
		return -1;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		v = v * 10 + (text[i] - '0');
	}
	return v;
}

static bool
name_is(const uint8_t *name, size_t len, const char *want)
{
	return len == strlen(want) && memcmp(name, want, len) == 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
          const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (!call)
		return 0;
	if (name_is(name, namelen, ":status"))
		call->http_status = small_number(value, valuelen);
	else if (name_is(name, namelen, "grpc-status"))
	{
		call->status = small_number(value, valuelen);
		if (call->status < 0)
			call->status = GRPC_UNKNOWN;
	}
	else if (name_is(name, namelen, "grpc-message"))
		message_decode(call->text, sizeof(call->text), value, valuelen);
	return 0;
}

/* What the end of a stream without grpc-status amounts to (gRPC over HTTP/2, HTTP status). */
static int
status_from_http(const struct grpc_call *call, uint32_t error_code)
{
	if (error_code == NGHTTP2_REFUSED_STREAM)
		return GRPC_UNAVAILABLE;
	switch (call->http_status)
	{
		case 0: return GRPC_UNAVAILABLE;
		case 400: return GRPC_INTERNAL;
		case 401: return GRPC_UNAUTHENTICATED;
		case 403: return GRPC_PERMISSION_DENIED;
		case 404: return GRPC_UNIMPLEMENTED;
		case 429:
		case 502:
		case 503:
		case 504: return GRPC_UNAVAILABLE;
		default: return GRPC_UNKNOWN;
	}
}

static int
on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
	char text[GRPC_MESSAGE_TEXT];
	int status;

	if (!call)
		return 0;
	call->stream = 0;
	status = call->status;
	if (status < 0)
	{
		status = status_from_http(call, error_code);
		snprintf(text, sizeof(text), "the stream ended without a status (http %d, %s)",
		         call->http_status, nghttp2_http2_strerror(error_code));
	}
	else if (status == GRPC_OK && !grpc_reader_idle(&call->in))
	{
		status = GRPC_INTERNAL;
		snprintf(text, sizeof(text), "the stream ended inside a message");
	}
	else
		snprintf(text, sizeof(text), "%s", call->text);
	call_finish(call, status, text);
	return 0;
}

/* A request that never left, because the server is going away. */
static int
on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *arg)
{
	struct grpc_conn *c = arg;
	struct grpc_call *call;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	TAILQ_FOREACH (call, &c->calls, entry)
	{
		if (call->stream != frame->hd.stream_id)
			continue;
		call->stream = 0;
		call_finish(call, GRPC_UNAVAILABLE, nghttp2_strerror(why));
		break;
	}
	return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_conn *c = arg;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		c->going_away = true;
	return 0;
}

/* ---- connection ---- */

static void
conn_free(struct grpc_conn *c)
{
	struct grpc_call *call;

	while ((call = TAILQ_FIRST(&c->calls)))
		call_free(call);
	if (c->flush)
		event_free(c->flush);
	if (c->keepalive)
		event_free(c->keepalive);
	nghttp2_session_del(c->session);
	link_close(c->link);
	free(c);
}

/* Leaves nghttp2; false when the connection is gone. */
static bool
conn_leave(struct grpc_conn *c)
{
	if (--c->busy > 0 || !c->closing)
		return true;
	conn_free(c);
	return false;
}

/* Ends every call, then tells the owner. The connection may be freed after this. */
static void
conn_down(struct grpc_conn *c, const char *why)
{
	struct grpc_call *call;

	c->up = false;
	event_del(c->keepalive);
	event_del(c->flush);
	c->busy++;
	/* nghttp2 must not run again: it knows calls that are about to go. */
	link_close(c->link);
	c->link = NULL;
	while (!c->closing && (call = TAILQ_FIRST(&c->calls)))
	{
		call->stream = 0;
		call_finish(call, GRPC_UNAVAILABLE, why);
	}
	if (!c->closing && c->ops)
		c->ops->down(c->arg, why);
	conn_leave(c);
}

static void
conn_flush(struct grpc_conn *c)
{
	const uint8_t *data;
	ssize_t n = 0;

	c->busy++;
	while (!c->closing && link_queued(c->link) < GRPC_LINK_HIGH &&
	       (n = nghttp2_session_mem_send(c->session, &data)) > 0)
		if (!link_write(c->link, data, (size_t) n))
			n = NGHTTP2_ERR_NOMEM;
	if (!conn_leave(c))
		return;
	if (n < 0)
		conn_down(c, nghttp2_strerror((int) n));
	else if (c->going_away && TAILQ_EMPTY(&c->calls))
		conn_down(c, "the server is going away");
}

static void
conn_flush_event(evutil_socket_t fd, short what, void *arg)
{
	struct grpc_conn *c = arg;

	if (c->up)
		conn_flush(c);
}

static void
keepalive_arm(struct grpc_conn *c, int ms)
{
	struct timeval delay = clock_timeval(ms * NANO_PER_MS);

	if (c->options.keepalive_ms > 0)
		event_add(c->keepalive, &delay);
}

static void
conn_keepalive(evutil_socket_t fd, short what, void *arg)
{
	struct grpc_conn *c = arg;
	int64_t idle_ms = (clock_mono_nano() - c->heard) / NANO_PER_MS;

	if (idle_ms < c->options.keepalive_ms)
	{
		c->pinged = false;
		keepalive_arm(c, c->options.keepalive_ms - (int) idle_ms);
	}
	else if (c->pinged)
		conn_down(c, "the server does not answer");
	else
	{
		c->pinged = true;
		nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
		keepalive_arm(c, c->options.keepalive_wait_ms);
		conn_flush(c);
	}
}

static void
conn_link_up(void *arg)
{
	static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	struct grpc_conn *c = arg;

	c->up = true;
	c->heard = clock_mono_nano();
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 1);
	keepalive_arm(c, c->options.keepalive_ms);
	event_active(c->flush, EV_WRITE, 0);
	c->busy++;
	c->ops->up(c->arg);
	conn_leave(c);
}

static void
conn_link_input(void *arg, const uint8_t *data, size_t len)
{
	struct grpc_conn *c = arg;
	ssize_t n;

	c->heard = clock_mono_nano();
	c->pinged = false;
	c->busy++;
	n = nghttp2_session_mem_recv(c->session, data, len);
	if (!conn_leave(c))
		return;
	if (n < 0)
		conn_down(c, nghttp2_strerror((int) n));
	else
		conn_flush(c);
}

static void
conn_link_drained(void *arg)
{
	struct grpc_conn *c = arg;

	if (c->up)
		conn_flush(c);
}

static void
conn_link_down(void *arg, const char *why)
{
	conn_down(arg, why);
}

static const struct link_ops link_ops = {
    .up = conn_link_up,
    .input = conn_link_input,
    .drained = conn_link_drained,
    .down = conn_link_down,
};

static bool
session_make(struct grpc_conn *c)
{
	nghttp2_session_callbacks *callbacks;
	int made;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return false;
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	made = nghttp2_session_client_new(&c->session, callbacks, c);
	nghttp2_session_callbacks_del(callbacks);
	return made == 0;
}

bool
grpc_address(const struct grpc_conn *conn, struct sockaddr_storage *addr)
{
	return conn->link && link_address(conn->link, addr);
}

struct grpc_conn *
grpc_connect(struct event_base *base, struct ssl_ctx_st *ctx, const struct sockaddr *addr,
             socklen_t addrlen, const struct grpc_options *options, const struct grpc_conn_ops *ops,
             void *arg, char *err, size_t errlen)
{
	struct grpc_conn *c = mem_alloc(sizeof(*c));

	c->base = base;
	c->ops = ops;
	c->arg = arg;
	c->options = *options;
	snprintf(c->host, sizeof(c->host), "%s", options->host);
	TAILQ_INIT(&c->calls);
	c->flush = event_new(base, -1, 0, conn_flush_event, c);
	c->keepalive = evtimer_new(base, conn_keepalive, c);
	if (!c->flush || !c->keepalive || !session_make(c))
	{
		snprintf(err, errlen, "out of memory for a connection");
		conn_free(c);
		return NULL;
	}
	c->link = link_open(base, ctx, addr, addrlen, c->host, options->connect_ms, &link_ops, c, err,
	                    errlen);
	if (!c->link)
	{
		conn_free(c);
		return NULL;
	}
	return c;
}

void
grpc_close(struct grpc_conn *c)
{
	struct grpc_call *call;

	if (!c)
		return;
	if (!c->busy)
	{
		/* A goodbye, as far as it goes out at once. */
		conn_free(c);
		return;
	}
	c->closing = true;
	c->up = false;
	TAILQ_FOREACH (call, &c->calls, entry)
		call->ops = NULL;
}

struct grpc_call *
grpc_call(struct grpc_conn *c, const char *path, int timeout_ms, const struct grpc_call_ops *ops,
          void *arg)
{
	char timeout[32];
	nghttp2_nv headers[] = {
#define HEADER(n, v) {(uint8_t *) (n), (uint8_t *) (v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE}
	    HEADER(":method", "POST"),
	    HEADER(":scheme", "https"),
	    HEADER(":path", path),
	    HEADER(":authority", c->host),
	    HEADER("te", "trailers"),
	    HEADER("content-type", "application/grpc"),
	    HEADER("user-agent", "probectl/" PROBECTL_VERSION),
	    HEADER("grpc-timeout", ""),
	};
	nghttp2_data_provider provider = {.read_callback = call_provide};
	size_t count = sizeof(headers) / sizeof(headers[0]);
	struct timeval delay = clock_timeval(timeout_ms * NANO_PER_MS);
	struct grpc_call *call;

	if (!c->up || c->going_away)
		return NULL;
	/* The header has room for 8 digits. */
	snprintf(timeout, sizeof(timeout), "%dm", timeout_ms < 99999999 ? timeout_ms : 99999999);
	if (timeout_ms > 0)
		headers[count - 1] = (nghttp2_nv) HEADER("grpc-timeout", timeout);
	else
		count--;
	call = mem_alloc(sizeof(*call));
	call->conn = c;
	call->ops = ops;
	call->arg = arg;
	call->status = -1;
	buf_init(&call->out, GRPC_QUEUE_MAX);
	grpc_reader_init(&call->in, c->options.message_max);
	TAILQ_INSERT_TAIL(&c->calls, call, entry);
	call->stream = nghttp2_submit_request(c->session, NULL, headers, count, &provider, call);
	if (timeout_ms > 0)
		call->deadline = evtimer_new(c->base, call_deadline, call);
	if (call->stream < 0 || (timeout_ms > 0 && !call->deadline))
	{
		call_detach(call, NGHTTP2_CANCEL);
		call_free(call);
		return NULL;
	}
	if (call->deadline)
		event_add(call->deadline, &delay);
	event_active(c->flush, EV_WRITE, 0);
	return call;
}

bool
grpc_send(struct grpc_call *call, const void *data, size_t len, bool last)
{
	struct grpc_conn *c = call->conn;

	if (!c->up || call->stream <= 0 || call->last || len > UINT32_MAX ||
	    len + 5 > GRPC_QUEUE_MAX - (call->out.len - call->out_sent))
		return false;
	if (call->out_sent)
	{
		buf_consume(&call->out, call->out_sent);
		call->out_sent = 0;
	}
	buf_put_u8(&call->out, 0);
	buf_put_be32(&call->out, (uint32_t) len);
	if (!buf_put(&call->out, data, len))
		return false;
	call->last = last;
	if (call->deferred)
	{
		call->deferred = false;
		nghttp2_session_resume_data(c->session, call->stream);
	}
	event_active(c->flush, EV_WRITE, 0);
	return true;
}

size_t
grpc_queued(const struct grpc_call *call)
{
	return call->out.len - call->out_sent;
}

void
grpc_cancel(struct grpc_call *call)
{
	call->ops = NULL;
	if (call->conn->closing)
		return;
	if (call->conn->busy)
	{
		/* nghttp2 may hold the call in its stack: it goes when the stream closes. */
		if (call->stream > 0)
			nghttp2_submit_rst_stream(call->conn->session, NGHTTP2_FLAG_NONE, call->stream,
			                          NGHTTP2_CANCEL);
		event_active(call->conn->flush, EV_WRITE, 0);
		return;
	}
	call_detach(call, NGHTTP2_CANCEL);
	call_free(call);
}
