/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_http_response.c -- whatever an HTTP server sends, however it is cut.
 *
 * Input: one byte (bit 0: the answer to HEAD; the rest: the size of the pieces), then the response.
 * Held: the outcome in pieces is the outcome in one; the body that was handed on is what was
 * counted; a response that is done stays done, a broken one names a reason.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

struct sum
{
	uint64_t bytes, hash;
};

static void
on_body(const uint8_t *data, size_t len, void *arg)
{
	struct sum *sum = arg;

	sum->bytes += len;
	for (size_t i = 0; i < len; i++)
		sum->hash = (sum->hash ^ data[i]) * 1099511628211ULL;
}

static void
parse(const uint8_t *data, size_t size, size_t piece, bool head, struct http_parser *parser,
      struct sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	http_parser_init(parser, head, on_body, sum);
	for (size_t at = 0; at < size; at += piece)
		if (!http_parser_feed(parser, data + at, size - at < piece ? size - at : piece))
			break;
	hold(http_parser_end(parser) == (parser->state == HTTP_DONE));
	hold(parser->state == HTTP_DONE || (parser->state == HTTP_BROKEN && parser->reason));
	hold(parser->state != HTTP_DONE || parser->status >= 200 || parser->status == 101);
	hold(parser->body_bytes == sum->bytes);
	hold(!head || sum->bytes == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_parser whole, pieces;
	struct sum one, many;
	size_t piece;
	bool head;

	if (size < 1)
		return 0;
	head = data[0] & 1;
	piece = (size_t) (data[0] >> 1) + 1;
	data++;
	size--;
	parse(data, size, size + 1, head, &whole, &one);
	parse(data, size, piece, head, &pieces, &many);
	hold(whole.state == pieces.state && whole.status == pieces.status);
	hold(one.bytes == many.bytes && one.hash == many.hash);
	hold(whole.has_location == pieces.has_location && whole.location_cut == pieces.location_cut &&
	     strcmp(whole.location, pieces.location) == 0);
	return 0;
}
