/* SPDX-License-Identifier: PostgreSQL
 *
 * doh.c -- a DNS question as one HTTP request (RFC 8484), over HTTP/2 or HTTP/1.1.
 *
 * POST, because its size says nothing more than the question's and no cache stands between.
 * What makes an answer is the same in both: status 200, the media type application/dns-message, and a
 * body no longer than a message. Anything else is a failure that says what came instead.
 */
#include <ctype.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/dns/xferpriv.h"
#include "agent/http/parse.h"

#define MEDIA_TYPE "application/dns-message"
#define HEAD_MAX   (16 * 1024)
#define BODY_MAX   65535

struct doh
{
	nghttp2_session *session;
	uint8_t query[XFER_QUERY_ROOM];
	size_t query_len, query_at;
	unsigned status;
	char media_type[96];
	bool closed;    /* the stream has ended */
	uint32_t error; /* of the stream, HTTP/2 */
	bool body_long;
	struct http_parser parser; /* HTTP/1.1 */
	struct buf head;           /* raw, for the header the parser does not keep */
};

void
doh_free(struct doh *doh)
{
	if (doh == NULL)
		return;
	if (doh->session)
		nghttp2_session_del(doh->session);
	buf_free(&doh->head);
	free(doh);
}

static struct doh *
doh_new(struct xfer *x)
{
	struct doh *doh = calloc(1, sizeof(*doh));

	if (doh == NULL)
		return NULL;
	x->doh = doh;
	buf_init(&doh->head, HEAD_MAX);
	doh->query_len = xfer_question(x, doh->query);
	return doh;
}

static void
take_body(struct xfer *x, const uint8_t *data, size_t len)
{
	if (x->in.len + len > BODY_MAX || !buf_put(&x->in, data, len))
		x->doh->body_long = true;
}

/* Case does not matter, parameters may follow. */
static bool
media_type_right(const char *text)
{
	size_t n = strlen(MEDIA_TYPE);

	return strncasecmp(text, MEDIA_TYPE, n) == 0 && (text[n] == '\0' || strchr("; \t", text[n]));
}

static enum xfer_step
judge(struct xfer *x)
{
	const struct doh *doh = x->doh;

	if (doh->status != 200)
		xfer_fail(x, ERROR_HTTP_STATUS, "DoH: HTTP status %u instead of 200", doh->status);
	else if (!media_type_right(doh->media_type))
		xfer_fail(x, ERROR_HTTP_BODY, "DoH: media type \"%s\" instead of " MEDIA_TYPE,
		          doh->media_type);
	else if (doh->body_long)
		xfer_fail(x, ERROR_HTTP_BODY, "DoH: the body is longer than a DNS message can be");
	else
		return XFER_ANSWERED;
	return XFER_BROKEN;
}

/* ---- HTTP/1.1 ---- */

static void
on_body(const uint8_t *data, size_t len, void *arg)
{
	take_body(arg, data, len);
}

static bool
http1_begin(struct xfer *x)
{
	struct doh *doh = doh_new(x);

	if (doh == NULL)
		return false;
	http_parser_init(&doh->parser, false, on_body, x);
	return buf_printf(&x->out,
	                  "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: probectl-agent/%s\r\n"
	                  "Accept: " MEDIA_TYPE "\r\nContent-Type: " MEDIA_TYPE
	                  "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
	                  x->options->path, x->options->host, PROBECTL_VERSION, doh->query_len) &&
	       buf_put(&x->out, doh->query, doh->query_len);
}

/* The last Content-Type of the head that was kept; a 1xx response in front may have had one. */
static void
http1_media_type(struct doh *doh)
{
	const char *head = buf_cstr(&doh->head), *line = head;

	while (line && (line = strcasestr(line, "\ncontent-type:")))
	{
		size_t len;

		line += 14;
		line += strspn(line, " \t");
		len = strcspn(line, "\r\n");
		snprintf(doh->media_type, sizeof(doh->media_type), "%.*s", (int) len, line);
	}
}

static enum xfer_step
http1_outcome(struct xfer *x, bool ended)
{
	struct doh *doh = x->doh;

	if (doh->parser.state != HTTP_DONE && !ended)
		return XFER_MORE;
	doh->status = doh->parser.status;
	http1_media_type(doh);
	return judge(x);
}

static enum xfer_step
http1_feed(struct xfer *x, const uint8_t *data, size_t len)
{
	struct doh *doh = x->doh;
	size_t room = HEAD_MAX - doh->head.len;

	if (!doh->parser.head_done)
		buf_put(&doh->head, data, len < room ? len : room);
	if (http_parser_feed(&doh->parser, data, len) && !doh->body_long)
		return http1_outcome(x, doh->body_long);
	if (!doh->body_long)
		xfer_fail(x, ERROR_HTTP_STATUS, "DoH: %s", doh->parser.reason);
	return doh->body_long ? http1_outcome(x, true) : XFER_BROKEN;
}

static enum xfer_step
http1_end(struct xfer *x)
{
	if (http_parser_end(&x->doh->parser))
		return http1_outcome(x, true);
	xfer_fail(x, ERROR_RESET, "DoH: the server closed the connection before the end of its answer");
	return XFER_BROKEN;
}

const struct xfer_protocol doh_http1 = {http1_begin, http1_feed, http1_end};

/* ---- HTTP/2 ---- */

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
          const uint8_t *value, size_t valuelen, uint8_t flags, void *arg)
{
	struct doh *doh = ((struct xfer *) arg)->doh;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (namelen == 7 && memcmp(name, ":status", 7) == 0)
	{
		doh->status = 0;
		for (size_t i = 0; i < valuelen && i < 3 && isdigit(value[i]); i++)
			doh->status = doh->status * 10 + (unsigned) (value[i] - '0');
	}
	else if (namelen == 12 && memcmp(name, "content-type", 12) == 0)
		snprintf(doh->media_type, sizeof(doh->media_type), "%.*s", (int) valuelen,
		         (const char *) value);
	return 0;
}

static int
on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
         void *arg)
{
	take_body(arg, data, len);
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct doh *doh = ((struct xfer *) arg)->doh;

	doh->closed = true;
	doh->error = error;
	return 0;
}

static ssize_t
read_query(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t room, uint32_t *flags,
           nghttp2_data_source *source, void *arg)
{
	struct doh *doh = ((struct xfer *) arg)->doh;
	size_t n = doh->query_len - doh->query_at;

	n = n < room ? n : room;
	memcpy(buf, doh->query + doh->query_at, n);
	doh->query_at += n;
	if (doh->query_at == doh->query_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t) n;
}

/* Everything the session wants to say into x->out. */
static bool
http2_drain(struct xfer *x)
{
	const uint8_t *data;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(x->doh->session, &data)) > 0)
		if (!buf_put(&x->out, data, (size_t) n))
			return false;
	return n == 0;
}

static bool
http2_session(struct xfer *x)
{
	nghttp2_session_callbacks *callbacks;
	int status;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return false;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	status = nghttp2_session_client_new(&x->doh->session, callbacks, x);
	nghttp2_session_callbacks_del(callbacks);
	return status == 0;
}

#define HEADER(name, value)                                                                        \
	{                                                                                              \
		(uint8_t *) (name), (uint8_t *) (value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE \
	}

static bool
http2_begin(struct xfer *x)
{
	static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	struct doh *doh = doh_new(x);
	nghttp2_data_provider body = {.read_callback = read_query};
	char length[16];

	if (doh == NULL || !http2_session(x))
		return false;
	snprintf(length, sizeof(length), "%zu", doh->query_len);
	const nghttp2_nv headers[] = {
	    HEADER(":method", "POST"),
	    HEADER(":scheme", "https"),
	    HEADER(":authority", x->options->host),
	    HEADER(":path", x->options->path),
	    HEADER("user-agent", "probectl-agent/" PROBECTL_VERSION),
	    HEADER("accept", MEDIA_TYPE),
	    HEADER("content-type", MEDIA_TYPE),
	    HEADER("content-length", length),
	};

	return nghttp2_submit_settings(doh->session, NGHTTP2_FLAG_NONE, settings, 1) == 0 &&
	       nghttp2_submit_request(doh->session, NULL, headers, sizeof(headers) / sizeof(headers[0]),
	                              &body, NULL) > 0 &&
	       http2_drain(x);
}

static enum xfer_step
http2_outcome(struct xfer *x)
{
	struct doh *doh = x->doh;

	if (!doh->closed && !doh->body_long)
		return XFER_MORE;
	if (doh->error != NGHTTP2_NO_ERROR)
	{
		xfer_fail(x, ERROR_RESET, "DoH: the server ended the HTTP/2 stream: %s",
		          nghttp2_http2_strerror(doh->error));
		return XFER_BROKEN;
	}
	return judge(x);
}

static enum xfer_step
http2_feed(struct xfer *x, const uint8_t *data, size_t len)
{
	ssize_t n = nghttp2_session_mem_recv(x->doh->session, data, len);

	if (n < 0)
	{
		xfer_fail(x, ERROR_HTTP_STATUS, "DoH: HTTP/2: %s", nghttp2_strerror((int) n));
		return XFER_BROKEN;
	}
	if (!http2_drain(x))
	{
		xfer_fail(x, ERROR_LOCAL_FAULT, "out of memory");
		return XFER_BROKEN;
	}
	return http2_outcome(x);
}

static enum xfer_step
http2_end(struct xfer *x)
{
	if (x->doh->closed)
		return http2_outcome(x);
	xfer_fail(x, ERROR_RESET, "DoH: the server closed the connection before the end of its answer");
	return XFER_BROKEN;
}

const struct xfer_protocol doh_http2 = {http2_begin, http2_feed, http2_end};
