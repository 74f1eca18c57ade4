/* SPDX-License-Identifier: PostgreSQL
 *
 * http.c -- the HTTP/1.1 reader.
 *
 * A head is looked at only when its empty line has arrived, so a slow sender costs
 * one search of the new bytes and no state. Everything after that is one pass.
 * Character classes are tables (RFC 9110 section 5.6.2 tokens, RFC 3986 targets).
 */
#include "gateway/http.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

static int parse_request_line(struct http_request *req, const char *line, size_t len);
static int parse_target(struct http_request *req, const char *target, size_t len);
static int parse_header(struct http_request *req, const char *line, size_t len);
static int apply_header(struct http_request *req, const struct http_header *h);

/* "!#$%&'*+-.^_`|~", digits and letters (RFC 9110 section 5.6.2). */
static bool
is_tchar(unsigned char c)
{
	if (c >= 'a' && c <= 'z')
		return true;
	if (c >= 'A' && c <= 'Z')
		return true;
	if (c >= '0' && c <= '9')
		return true;
	return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool
is_ows(char c)
{
	return c == ' ' || c == '\t';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int
refuse(struct http_request *req, int status, const char *why)
{
	req->error = why;
	return -status;
}

bool
http_slice_is(const struct http_slice *s, const char *text)
{
	return s->len == strlen(text) && strncasecmp(s->ptr, text, s->len) == 0;
}

const struct http_slice *
http_header(const struct http_request *req, const char *name)
{
	for (size_t i = 0; i < req->header_count; i++)
		if (http_slice_is(&req->headers[i].name, name))
			return &req->headers[i].value;
	return NULL;
}

/*
 * A head ends at the first empty line. One empty line before the request is skipped,
 * as RFC 9112 section 2.2 asks of a robust server.
 */
int
http_parse_head(struct http_request *req, const char *buf, size_t len)
{
	const char *end, *p = buf;
	size_t span = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
	bool first = true;
	int rc;

	memset(req, 0, offsetof(struct http_request, headers));
	req->header_count = 0;
	req->error = "malformed request";

	if (span >= 2 && p[0] == '\r' && p[1] == '\n')
		p += 2;
	end = memmem(p, span - (size_t) (p - buf), "\r\n\r\n", 4);
	if (end == NULL)
	{
		const char *eol = memchr(p, '\n', span - (size_t) (p - buf));

		if (eol == NULL && len - (size_t) (p - buf) > HTTP_LINE_MAX)
			return refuse(req, 414, "request line too long");
		if (len >= HTTP_HEAD_MAX)
			return refuse(req, 431, "request head too large");
		/* Garbage (a TLS record, another protocol) is refused without waiting. */
		if (len > (size_t) (p - buf) && !is_tchar((unsigned char) *p) && *p != '\r')
			return refuse(req, 400, "request line is not HTTP");
		return HTTP_MORE;
	}

	while (p < end + 2)
	{
		const char *eol = memmem(p, (size_t) (end + 2 - p), "\r\n", 2);

		rc = first ? parse_request_line(req, p, (size_t) (eol - p))
		           : parse_header(req, p, (size_t) (eol - p));
		if (rc != 0)
			return rc;
		first = false;
		p = eol + 2;
	}

	if (req->host.ptr == NULL && !req->http10)
		return refuse(req, 400, "Host header missing");
	if (req->chunked && req->has_length)
		return refuse(req, 400, "both Content-Length and Transfer-Encoding");
	if (req->chunked && req->http10)
		return refuse(req, 400, "Transfer-Encoding in HTTP/1.0");
	req->error = NULL;
	return (int) (end + 4 - buf);
}

static int
parse_request_line(struct http_request *req, const char *line, size_t len)
{
	const char *sp1, *sp2, *version;
	size_t method_len;

	if (len > HTTP_LINE_MAX)
		return refuse(req, 414, "request line too long");
	sp1 = memchr(line, ' ', len);
	sp2 = memrchr(line, ' ', len);
	if (sp1 == NULL || sp2 == sp1)
		return refuse(req, 400, "request line is not method, target and version");

	method_len = (size_t) (sp1 - line);
	if (method_len == 0)
		return refuse(req, 400, "method missing");
	for (size_t i = 0; i < method_len; i++)
		if (!is_tchar((unsigned char) line[i]))
			return refuse(req, 400, "method has a character that is not allowed");
	if (method_len > HTTP_METHOD_MAX)
		return refuse(req, 501, "method not known");
	memcpy(req->method, line, method_len);
	req->method[method_len] = '\0';

	version = sp2 + 1;
	if (line + len - version != 8 || memcmp(version, "HTTP/", 5) != 0)
		return refuse(req, 400, "version is not HTTP/1.1");
	if (memcmp(version, "HTTP/1.0", 8) == 0)
		req->http10 = true;
	else if (memcmp(version, "HTTP/1.1", 8) != 0)
		return refuse(req, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	req->keep_alive = !req->http10;
	return parse_target(req, sp1 + 1, (size_t) (sp2 - sp1 - 1));
}

/* Origin form, absolute form (a proxy's habit, its authority is dropped: Host binds)
 * or the asterisk of OPTIONS. */
static int
parse_target(struct http_request *req, const char *target, size_t len)
{
	const char *mark;

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) target[i];

		if (c <= ' ' || c >= 0x7f || c == '#')
			return refuse(req, 400, "target has a character that must be percent-encoded");
	}
	if (len > 8 && (strncasecmp(target, "https://", 8) == 0))
	{
		const char *slash = memchr(target + 8, '/', len - 8);

		if (slash == NULL)
			return refuse(req, 400, "target without a path");
		len -= (size_t) (slash - target);
		target = slash;
	}
	if (len == 0 || (target[0] != '/' && !(len == 1 && target[0] == '*')))
		return refuse(req, 400, "target does not start with a slash");

	mark = memchr(target, '?', len);
	req->path.ptr = target;
	req->path.len = mark != NULL ? (size_t) (mark - target) : len;
	if (mark != NULL)
	{
		req->query.ptr = mark + 1;
		req->query.len = len - req->path.len - 1;
	}
	return 0;
}

static int
parse_header(struct http_request *req, const char *line, size_t len)
{
	struct http_header *h;
	const char *colon, *p, *end = line + len;

	if (req->header_count == HTTP_HEADERS_MAX)
		return refuse(req, 431, "too many headers");
	if (len > 0 && is_ows(line[0]))
		return refuse(req, 400, "folded header");
	colon = memchr(line, ':', len);
	if (colon == NULL || colon == line)
		return refuse(req, 400, "header without a name");
	for (p = line; p < colon; p++)
		if (!is_tchar((unsigned char) *p))
			return refuse(req, 400, "header name has a character that is not allowed");
	for (p = colon + 1; p < end; p++)
		if (((unsigned char) *p < ' ' && *p != '\t') || *p == 0x7f)
			return refuse(req, 400, "header value has a control character");

	for (p = colon + 1; p < end && is_ows(*p); p++)
		;
	while (end > p && is_ows(end[-1]))
		end--;
	h = &req->headers[req->header_count++];
	h->name = (struct http_slice){line, (size_t) (colon - line)};
	h->value = (struct http_slice){p, (size_t) (end - p)};
	return apply_header(req, h);
}

static int
header_host(struct http_request *req, const struct http_slice *v)
{
	if (req->host.ptr != NULL)
		return refuse(req, 400, "two Host headers");
	for (size_t i = 0; i < v->len; i++)
		if (v->ptr[i] == '/' || v->ptr[i] == '@' || v->ptr[i] == ',' || is_ows(v->ptr[i]))
			return refuse(req, 400, "Host is not a host and port");
	req->host = *v;
	return 0;
}

static int
header_content_length(struct http_request *req, const struct http_slice *v)
{
	uint64_t n = 0;

	if (req->has_length)
		return refuse(req, 400, "two Content-Length headers");
	/* 15 digits hold any size a body may have and cannot overflow 64 bits. */
	if (v->len == 0 || v->len > 15)
		return refuse(req, v->len == 0 ? 400 : 413, "Content-Length is not a size");
	for (size_t i = 0; i < v->len; i++)
	{
		if (v->ptr[i] < '0' || v->ptr[i] > '9')
			return refuse(req, 400, "Content-Length is not a number");
		n = n * 10 + (uint64_t) (v->ptr[i] - '0');
	}
	req->has_length = true;
	req->content_length = n;
	return 0;
}

static int
header_transfer_encoding(struct http_request *req, const struct http_slice *v)
{
	if (req->chunked)
		return refuse(req, 400, "two Transfer-Encoding headers");
	if (!http_slice_is(v, "chunked"))
		return refuse(req, 501, "only the chunked transfer coding is spoken here");
	req->chunked = true;
	return 0;
}

static int
header_connection(struct http_request *req, const struct http_slice *v)
{
	if (http_list_has(v, "close"))
		req->keep_alive = false;
	else if (req->http10 && http_list_has(v, "keep-alive"))
		req->keep_alive = true;
	return 0;
}

static int
header_expect(struct http_request *req, const struct http_slice *v)
{
	if (!http_slice_is(v, "100-continue"))
		return refuse(req, 417, "only 100-continue can be expected");
	req->expect_continue = true;
	return 0;
}

/* The headers that frame a message; everything else waits for whoever wants it. */
static int
apply_header(struct http_request *req, const struct http_header *h)
{
	static const struct
	{
		const char *name;
		int (*apply)(struct http_request *, const struct http_slice *);
	} framing[] = {
	    {"host", header_host},
	    {"content-length", header_content_length},
	    {"transfer-encoding", header_transfer_encoding},
	    {"connection", header_connection},
	    {"expect", header_expect},
	};

	for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++)
		if (http_slice_is(&h->name, framing[i].name))
			return framing[i].apply(req, &h->value);
	return 0;
}

/* Reads "<hex>[;extensions]\r\n". Returns bytes used, 0 for more, -1 malformed. */
static long
chunk_size_line(struct http_chunked *c, const char *buf, size_t len)
{
	size_t span = len < HTTP_CHUNK_LINE_MAX ? len : HTTP_CHUNK_LINE_MAX;
	const char *eol = memmem(buf, span, "\r\n", 2);
	uint64_t size = 0;
	const char *p;

	if (eol == NULL)
		return len >= HTTP_CHUNK_LINE_MAX ? -1 : 0;
	for (p = buf; p < eol && hex_value(*p) >= 0; p++)
	{
		if (p - buf >= 12) /* 2^48: far above any limit, far below an overflow */
			return -1;
		size = size << 4 | (uint64_t) hex_value(*p);
	}
	if (p == buf || (p < eol && *p != ';'))
		return -1;
	for (; p < eol; p++)
		if ((unsigned char) *p < ' ' && *p != '\t')
			return -1;
	c->left = size;
	c->state = size > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
	return eol + 2 - buf;
}

/* Drops one line of the trailer section; the empty one ends the body. */
static long
chunk_trailer_line(struct http_chunked *c, const char *buf, size_t len)
{
	const char *eol = memmem(buf, len, "\r\n", 2);

	if (eol == NULL)
		return len + c->trailer > HTTP_TRAILER_MAX ? -1 : 0;
	c->trailer += (size_t) (eol + 2 - buf);
	if (c->trailer > HTTP_TRAILER_MAX)
		return -1;
	if (eol == buf)
		c->state = HTTP_CHUNK_DONE;
	else if (memchr(buf, ':', (size_t) (eol - buf)) == NULL)
		return -1;
	return eol + 2 - buf;
}

long
http_chunked_read(struct http_chunked *c, const char *buf, size_t len, struct http_slice *data)
{
	size_t n;

	*data = (struct http_slice){buf, 0};
	if (len == 0)
		return 0;
	switch (c->state)
	{
		case HTTP_CHUNK_SIZE: return chunk_size_line(c, buf, len);
		case HTTP_CHUNK_DATA:
			n = c->left < len ? (size_t) c->left : len;
			data->len = n;
			c->left -= n;
			if (c->left == 0)
				c->state = HTTP_CHUNK_DATA_END;
			return (long) n;
		case HTTP_CHUNK_DATA_END:
			if (len < 2)
				return buf[0] == '\r' ? 0 : -1;
			if (buf[0] != '\r' || buf[1] != '\n')
				return -1;
			c->state = HTTP_CHUNK_SIZE;
			return 2;
		case HTTP_CHUNK_TRAILER: return chunk_trailer_line(c, buf, len);
		case HTTP_CHUNK_DONE: return 0;
	}
	return -1;
}

bool
http_utf8_valid(const char *buf, size_t len)
{
	const unsigned char *p = (const unsigned char *) buf, *end = p + len;

	while (p < end)
	{
		unsigned char c = *p++;
		unsigned char low = 0x80, high = 0xbf;
		int more;

		if (c < 0x80)
			continue;
		if (c < 0xc2 || c > 0xf4)
			return false;
		more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		if (c == 0xe0)
			low = 0xa0; /* overlong */
		else if (c == 0xed)
			high = 0x9f; /* surrogates */
		else if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f; /* beyond U+10FFFF */
		for (; more > 0; more--, low = 0x80, high = 0xbf)
			if (p == end || *p < low || *p > high)
				return false;
			else
				p++;
	}
	return true;
}

long
http_decode(char *dst, const char *src, size_t len, bool form)
{
	char *out = dst;

	for (size_t i = 0; i < len; i++)
	{
		char c = src[i];

		if (c == '%')
		{
			int hi, lo;

			if (len - i < 3 || (hi = hex_value(src[i + 1])) < 0 || (lo = hex_value(src[i + 2])) < 0)
				return -1;
			c = (char) (hi << 4 | lo);
			i += 2;
		}
		else if (form && c == '+')
			c = ' ';
		if ((unsigned char) c < ' ' || c == 0x7f)
			return -1;
		*out++ = c;
	}
	return http_utf8_valid(dst, (size_t) (out - dst)) ? out - dst : -1;
}

/* Whether the parameters of a list element say q=0 in any of its spellings. */
static bool
refused_by_weight(const char *p, const char *end)
{
	const char *q = memmem(p, (size_t) (end - p), "q=", 2);

	if (q == NULL)
		q = memmem(p, (size_t) (end - p), "Q=", 2);
	if (q == NULL)
		return false;
	for (q += 2; q < end && (*q == '0' || *q == '.'); q++)
		;
	return q == end || is_ows(*q) || *q == ';';
}

bool
http_list_has(const struct http_slice *value, const char *token)
{
	const char *p = value->ptr, *end = value->ptr + value->len;
	size_t token_len = strlen(token);

	while (p < end)
	{
		const char *comma = memchr(p, ',', (size_t) (end - p));
		const char *stop = comma != NULL ? comma : end;
		const char *name;

		while (p < stop && is_ows(*p))
			p++;
		for (name = p; p < stop && !is_ows(*p) && *p != ';'; p++)
			;
		if ((size_t) (p - name) == token_len && strncasecmp(name, token, token_len) == 0)
			return !refused_by_weight(p, stop);
		p = stop + 1;
	}
	return false;
}

bool
http_media_is(const struct http_slice *value, const char *type)
{
	size_t n = 0;

	if (value == NULL)
		return false;
	while (n < value->len && value->ptr[n] != ';' && !is_ows(value->ptr[n]))
		n++;
	return n == strlen(type) && strncasecmp(value->ptr, type, n) == 0;
}

const char *
http_reason(int status)
{
	static const struct
	{
		int status;
		const char *reason;
	} reasons[] = {
	    {200, "OK"},
	    {201, "Created"},
	    {202, "Accepted"},
	    {204, "No Content"},
	    {304, "Not Modified"},
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {408, "Request Timeout"},
	    {409, "Conflict"},
	    {411, "Length Required"},
	    {412, "Precondition Failed"},
	    {413, "Content Too Large"},
	    {414, "URI Too Long"},
	    {415, "Unsupported Media Type"},
	    {417, "Expectation Failed"},
	    {422, "Unprocessable Content"},
	    {429, "Too Many Requests"},
	    {431, "Request Header Fields Too Large"},
	    {500, "Internal Server Error"},
	    {501, "Not Implemented"},
	    {503, "Service Unavailable"},
	    {504, "Gateway Timeout"},
	    {505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return status < 400 ? "OK" : "Error";
}
