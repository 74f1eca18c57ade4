/* SPDX-License-Identifier: PostgreSQL
 *
 * h2.c -- one request and its answer over HTTP/2.
 *
 * One stream, no push. The ceilings on the answer's head are those of HTTP/1.x; nghttp2 holds the
 * body to its content-length and refuses headers that are none.
 */
#include "agent/http/h2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW (1024 * 1024) /* what a server may send before we answered: transfer is measured */

struct h2
{
	nghttp2_session *session;
	struct http_parser *answer;
	const char *body;
	size_t body_len, body_at;
	int32_t stream;
	bool sent, begun;
	char reason[120];
};

static bool
broken(struct h2 *h2, const char *fmt, const char *what)
{
	struct http_parser *answer = h2->answer;

	if (answer->state == HTTP_BROKEN)
		return false;
	snprintf(h2->reason, sizeof(h2->reason), fmt, what);
	answer->in_body_when_broken = answer->head_done;
	answer->state = HTTP_BROKEN;
	answer->reason = h2->reason;
	return false;
}

/* ---- callbacks ---- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;

	h2->begun = h2->begun || frame->hd.stream_id == h2->stream;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
          const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
	struct h2 *h2 = arg;
	struct http_parser *answer = h2->answer;

	if (frame->hd.type != NGHTTP2_HEADERS || answer->head_done || answer->state == HTTP_BROKEN)
		return 0;
	answer->head_bytes += namelen + valuelen;
	if (++answer->headers > HTTP_HEADERS_MAX || answer->head_bytes > HTTP_HEAD_MAX)
	{
		broken(h2, "the answer has %s", "more than 256 headers or 64 KiB of them");
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	/* nghttp2 lets no other status through than three digits. Both strings end in a zero. */
	if (namelen == 7 && memcmp(name, ":status", 7) == 0)
		answer->status = (unsigned) strtoul((const char *) value, NULL, 10);
	else
		http_parser_header(answer, (const char *) name, (const char *) value);
	return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http_parser *answer = ((struct h2 *) arg)->answer;

	if (frame->hd.type != NGHTTP2_HEADERS || answer->head_done)
		return 0;
	if (answer->status < 200 && ++answer->interim > HTTP_INTERIM_MAX)
	{
		broken(arg, "too many %s responses", "interim");
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	answer->head_done = answer->status >= 200;
	if (!answer->head_done)
		answer->has_location = false;
	answer->state = answer->head_done ? HTTP_BODY_CLOSE : HTTP_HEADERS;
	return 0;
}

static int
on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
         void *arg)
{
	struct http_parser *answer = ((struct h2 *) arg)->answer;

	if (answer->on_body)
		answer->on_body(data, len, answer->arg);
	answer->body_bytes += len;
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct h2 *h2 = arg;

	/* A server that has said all may refuse the rest of the request with NO_ERROR. */
	if (error != NGHTTP2_NO_ERROR)
		broken(h2, "the server ended the HTTP/2 stream: %s", nghttp2_http2_strerror(error));
	else if (!h2->answer->head_done)
		broken(h2, "the HTTP/2 stream ended %s", "before the answer");
	else if (h2->answer->state != HTTP_BROKEN)
		h2->answer->state = HTTP_DONE;
	return 0;
}

static int
on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;

	if (frame->hd.stream_id == h2->stream && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		h2->sent = true;
	return 0;
}

static ssize_t
read_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *arg)
{
	struct h2 *h2 = arg;
	size_t n = h2->body_len - h2->body_at;

	n = n < room ? n : room;
	if (n > 0)
		memcpy(buf, h2->body + h2->body_at, n);
	h2->body_at += n;
	if (h2->body_at == h2->body_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t) n;
}

/* ---- session ---- */

static bool
drain(struct h2 *h2, struct buf *out)
{
	const uint8_t *data;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(h2->session, &data)) > 0)
		if (!buf_put(out, data, (size_t) n))
			return false;
	return n == 0;
}

static bool
session_make(struct h2 *h2)
{
	nghttp2_session_callbacks *callbacks;
	int status;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return false;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
	status = nghttp2_session_client_new(&h2->session, callbacks, h2);
	nghttp2_session_callbacks_del(callbacks);
	return status == 0;
}

static nghttp2_nv
pair(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *) name, (uint8_t *) value, strlen(name), strlen(value),
	                    NGHTTP2_NV_FLAG_NONE};
}

static bool
submit(struct h2 *h2, const struct h2_request *request)
{
	static const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};
	nghttp2_data_provider body = {.read_callback = read_body};
	nghttp2_nv headers[H2_HEADERS_MAX + 4] = {
	    pair(":method", request->method), pair(":scheme", request->scheme),
	    pair(":authority", request->authority), pair(":path", request->path)};

	for (size_t i = 0; i < request->header_count; i++)
		headers[4 + i] = pair(request->headers[i].name, request->headers[i].value);
	if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
	    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW) != 0)
		return false;
	h2->stream = nghttp2_submit_request(h2->session, NULL, headers, 4 + request->header_count,
	                                    request->body ? &body : NULL, NULL);
	return h2->stream > 0;
}

struct h2 *
h2_open(const struct h2_request *request, struct http_parser *answer, struct buf *out)
{
	struct h2 *h2 = calloc(1, sizeof(*h2));

	if (h2 == NULL)
		return NULL;
	h2->answer = answer;
	h2->body = request->body;
	h2->body_len = request->body_len;
	if (session_make(h2) && submit(h2, request) && drain(h2, out))
		return h2;
	h2_free(h2);
	return NULL;
}

void
h2_free(struct h2 *h2)
{
	if (h2 == NULL)
		return;
	nghttp2_session_del(h2->session);
	free(h2);
}

bool
h2_feed(struct h2 *h2, const uint8_t *data, size_t len, struct buf *out)
{
	ssize_t n = nghttp2_session_mem_recv(h2->session, data, len);

	if (n < 0)
		return broken(h2, "the answer is not HTTP/2: %s", nghttp2_strerror((int) n));
	if (h2->answer->state == HTTP_BROKEN)
		return false;
	if (!drain(h2, out))
		return broken(h2, "%s", "out of memory");
	if (h2->answer->state != HTTP_DONE && !nghttp2_session_want_read(h2->session))
		return broken(h2, "the server %s", "broke the rules of HTTP/2");
	return h2->answer->state != HTTP_BROKEN;
}

bool
h2_end(struct h2 *h2)
{
	if (h2->answer->state == HTTP_DONE)
		return true;
	return broken(h2, "the server closed the connection %s", "before the end of its answer");
}

bool
h2_sent(const struct h2 *h2)
{
	return h2->sent;
}

bool
h2_begun(const struct h2 *h2)
{
	return h2->begun;
}
