/* SPDX-License-Identifier: PostgreSQL
 *
 * h2.h -- one request and its answer over HTTP/2 (RFC 9113).
 *
 * Sans I/O, like parse.h: bytes in, bytes out. The answer is told in the same struct that the
 * HTTP/1.x parser fills, so that what judges it knows no version. Framing and header compression
 * are nghttp2's.
 */
#ifndef PCTL_AGENT_HTTP_H2_H
#define PCTL_AGENT_HTTP_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/http/parse.h"
#include "lib/buf.h"

#define H2_HEADERS_MAX 32 /* of a request */

struct h2;

struct h2_header
{
	const char *name, *value;
};

struct h2_request
{
	const char *method, *scheme, *authority, *path;
	struct h2_header headers[H2_HEADERS_MAX];
	size_t header_count;
	const char *body; /* outlives the exchange */
	size_t body_len;
};

/* answer was made by http_parser_init; out gets what is to be sent first. NULL: out of memory. */
struct h2 *h2_open(const struct h2_request *request, struct http_parser *answer, struct buf *out);
void h2_free(struct h2 *h2);

/* As http_parser_feed; out gets what the protocol wants said in return. */
bool h2_feed(struct h2 *h2, const uint8_t *data, size_t len, struct buf *out);

/* As http_parser_end. */
bool h2_end(struct h2 *h2);

/* Whether the last byte of the request is in out or was; whether the answer has begun. */
bool h2_sent(const struct h2 *h2);
bool h2_begun(const struct h2 *h2);

#endif
