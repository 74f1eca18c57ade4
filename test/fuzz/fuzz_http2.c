/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_http2.c -- an HTTP/2 answer to the http canary. What it says does not depend on how the bytes
 * are cut, an answer that is done stays done, and the ceilings hold.
 *
 * The first byte chooses the request and the size of the pieces; the rest is what the server sends.
 */
#include "fuzz.h"

#include <string.h>

#include "agent/http/h2.h"

#define OUT_MAX (1024 * 1024)

struct seen
{
	struct http_parser answer;
	uint64_t bytes; /* that on_body got */
	uint32_t sum;
	bool begun, complete;
};

static void
on_body(const uint8_t *data, size_t len, void *arg)
{
	struct seen *seen = arg;

	for (size_t i = 0; i < len; i++)
		seen->sum = seen->sum * 31 + data[i];
	seen->bytes += len;
}

static void
on_header(const char *name, const char *value, void *arg)
{
	require(strlen(name) + strlen(value) <= HTTP_HEAD_MAX);
}

static void
read_all(struct seen *seen, const uint8_t *data, size_t size, size_t piece, bool post)
{
	static const struct h2_request get = {
	    .method = "GET", .scheme = "https", .authority = "a", .path = "/"};
	struct h2_request request = get;
	struct buf out = BUF_INIT(OUT_MAX);
	struct h2 *h2;
	bool ok = true;

	memset(seen, 0, sizeof(*seen));
	http_parser_init(&seen->answer, false, on_body, seen);
	seen->answer.on_header = on_header;
	if (post)
	{
		request.method = "POST";
		request.body = "0123456789";
		request.body_len = 10;
	}
	h2 = h2_open(&request, &seen->answer, &out);
	require(h2 != NULL && h2_sent(h2));
	for (size_t at = 0; ok && at < size && seen->answer.state != HTTP_DONE; at += piece)
	{
		size_t n = size - at < piece ? size - at : piece;

		ok = h2_feed(h2, data + at, n, &out);
		require(ok == (seen->answer.state != HTTP_BROKEN));
		buf_reset(&out);
	}
	seen->begun = h2_begun(h2);
	seen->complete = ok && h2_end(h2);
	if (seen->answer.state == HTTP_BROKEN)
		require(seen->answer.reason != NULL && seen->answer.reason[0] != '\0');
	else
		require(seen->answer.head_done && seen->answer.status >= 200 && seen->begun);
	require(seen->bytes == seen->answer.body_bytes);
	require(seen->answer.headers <= HTTP_HEADERS_MAX + 1);
	h2_free(h2);
	buf_free(&out);
	seen->answer.reason = NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen whole, pieces;

	if (size < 1)
		return 0;
	read_all(&whole, data + 1, size - 1, size, data[0] & 0x80);
	read_all(&pieces, data + 1, size - 1, 1 + (data[0] & 0x7f), data[0] & 0x80);
	/* nghttp2 counts a CONTINUATION that comes in pieces as several, and has a ceiling. */
	require(whole.complete || !pieces.complete);
	if (!pieces.complete)
		return 0;
	require(whole.answer.status == pieces.answer.status && whole.bytes == pieces.bytes &&
	        whole.sum == pieces.sum && whole.answer.headers == pieces.answer.headers &&
	        whole.answer.has_location == pieces.answer.has_location &&
	        strcmp(whole.answer.location, pieces.answer.location) == 0);
	return 0;
}
