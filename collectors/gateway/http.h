/* SPDX-License-Identifier: PostgreSQL
 *
 * http.h -- the HTTP/1.1 reader: bytes in, a checked request out.
 *
 * No sockets, no clock, no allocation (RFC 9112 and the parts of RFC 9110 that a
 * server of small JSON bodies needs). It is strict where leniency lets two parties
 * disagree about where a request ends: bare line feeds, folded headers, a
 * Content-Length beside a Transfer-Encoding and repeated lengths are refused.
 * Slices point into the caller's buffer and live as long as it does.
 */
#ifndef PCTL_GATEWAY_HTTP_H
#define PCTL_GATEWAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX       16384 /* request line and headers together */
#define HTTP_LINE_MAX       8192  /* request line, answered 414 beyond */
#define HTTP_HEADERS_MAX    64
#define HTTP_METHOD_MAX     16
#define HTTP_CHUNK_LINE_MAX 256  /* size line with its extensions */
#define HTTP_TRAILER_MAX    4096 /* trailer section, read and dropped */

struct http_slice
{
	const char *ptr;
	size_t len;
};

struct http_header
{
	struct http_slice name;
	struct http_slice value; /* without surrounding white space */
};

struct http_request
{
	char method[HTTP_METHOD_MAX + 1];
	struct http_slice path;  /* still percent-encoded, starts with '/' (or is "*") */
	struct http_slice query; /* still encoded, without '?'; ptr NULL when absent */
	bool keep_alive;
	bool http10;
	bool expect_continue;
	bool chunked;
	bool has_length;
	uint64_t content_length;
	struct http_slice host; /* empty only in HTTP/1.0 */
	struct http_header headers[HTTP_HEADERS_MAX];
	size_t header_count;
	const char *error; /* why a head was refused: one sentence part, lower case */
};

/* What http_parse_head returns below zero is the status to answer, negated. */
#define HTTP_MORE 0

/* Reads a head from the start of a buffer: its length when complete, HTTP_MORE when
 * bytes are missing, -status when it can never become a valid request. */
int http_parse_head(struct http_request *req, const char *buf, size_t len);

/* The value of a header by lower-case name, NULL when absent. */
const struct http_slice *http_header(const struct http_request *req, const char *name);

/* Incremental reader of a chunked body (RFC 9112 section 7.1). */
enum http_chunk_state
{
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_DATA_END,
	HTTP_CHUNK_TRAILER,
	HTTP_CHUNK_DONE
};

struct http_chunked
{
	enum http_chunk_state state;
	uint64_t left;  /* bytes of the current chunk still to come */
	size_t trailer; /* bytes of trailer seen */
};

/* Takes bytes of the wire. Returns how many were used (0: more are needed) and sets
 * data to the body bytes among them, or returns -1 on a malformed chunk. */
long http_chunked_read(struct http_chunked *c, const char *buf, size_t len,
                       struct http_slice *data);

/* Percent-decodes src into dst (at least len bytes), '+' to a space when form is true.
 * Returns the length, or -1: bad escape, NUL or other control byte, not UTF-8. */
long http_decode(char *dst, const char *src, size_t len, bool form);

/* Whether bytes are UTF-8 without overlong forms and surrogates (RFC 3629). */
bool http_utf8_valid(const char *buf, size_t len);

/* Whether a comma-separated header (Accept-Encoding, If-None-Match, Connection) holds a
 * token, regardless of case; for codings q=0 counts as absent. */
bool http_list_has(const struct http_slice *value, const char *token);

/* Whether a media type, parameters aside, equals type ("application/json"). */
bool http_media_is(const struct http_slice *value, const char *type);

/* Compares a slice with a string, regardless of ASCII case. */
bool http_slice_is(const struct http_slice *s, const char *text);

/* Reason phrase of a status. */
const char *http_reason(int status);

#endif
