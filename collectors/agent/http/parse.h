/* SPDX-License-Identifier: PostgreSQL
 *
 * parse.h -- HTTP/1.x responses, as bytes that arrive (RFC 9112).
 *
 * Sans I/O: fed in pieces of any size, it tells how far the response has come and hands the
 * body on. Nothing is allocated and every part that a server controls has a ceiling. The
 * result does not depend on how the bytes are cut into pieces; the fuzz target holds it to that.
 */
#ifndef PCTL_AGENT_HTTP_PARSE_H
#define PCTL_AGENT_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX     4096        /* kept of a line; the rest is counted and dropped */
#define HTTP_HEAD_MAX     (64 * 1024) /* bytes of status line and headers, and of trailers */
#define HTTP_HEADERS_MAX  256
#define HTTP_INTERIM_MAX  16   /* 1xx responses in front of the real one */
#define HTTP_LOCATION_MAX 2048 /* longer is an error of a redirect */

enum http_parse_state
{
	HTTP_STATUS_LINE, /* -> HEADERS */
	HTTP_HEADERS,     /* -> STATUS_LINE (1xx), BODY_*, CHUNK_SIZE, DONE */
	HTTP_BODY_LENGTH, /* -> DONE */
	HTTP_BODY_CLOSE,  /* -> DONE at the end of the stream */
	HTTP_CHUNK_SIZE,  /* -> CHUNK_DATA, TRAILERS */
	HTTP_CHUNK_DATA,  /* -> CHUNK_END */
	HTTP_CHUNK_END,   /* -> CHUNK_SIZE */
	HTTP_TRAILERS,    /* -> DONE */
	HTTP_DONE,
	HTTP_BROKEN
};

typedef void (*http_body_fn)(const uint8_t *data, size_t len, void *arg);

/* A header of a response whose status is known; names come as they were written. */
typedef void (*http_header_fn)(const char *name, const char *value, void *arg);

struct http_parser
{
	enum http_parse_state state;
	bool head_request; /* the answer has no body whatever its headers say */
	bool head_done;    /* status and headers are complete */
	bool in_body_when_broken;
	http_body_fn on_body;
	http_header_fn on_header; /* set after http_parser_init; NULL: nobody asks */
	void *arg;
	unsigned status, minor; /* HTTP/1.minor */
	unsigned interim;
	bool has_length, chunked, other_coding;
	uint64_t left;       /* of the body or the chunk */
	uint64_t body_bytes; /* handed on */
	bool has_location, location_cut;
	char location[HTTP_LOCATION_MAX];
	size_t head_bytes, headers;
	size_t line_len; /* of the line under way, also what is not kept */
	char line[HTTP_LINE_MAX];
	const char *reason; /* why it is broken */
};

/* on_body may be NULL. */
void http_parser_init(struct http_parser *parser, bool head_request, http_body_fn on_body,
                      void *arg);

/* Takes a header that was read by other means: HTTP/2's. */
void http_parser_header(struct http_parser *parser, const char *name, const char *value);

/* Takes all bytes unless the response ends in them; false when it is broken. */
bool http_parser_feed(struct http_parser *parser, const uint8_t *data, size_t len);

/* The stream has ended. False when the response is not complete by that. */
bool http_parser_end(struct http_parser *parser);

#endif
