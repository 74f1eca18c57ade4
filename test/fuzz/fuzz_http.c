/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_http.c -- the gateway's reader of requests. What it hands out lies inside what it was
 * given; a head is one head however much follows; a body in chunks is the same in any
 * pieces; a query string and a path it accepts become JSON that another parser reads.
 */
#include "fuzz.h"

#include <string.h>

#include <jansson.h>

#include "gateway/input.h"
#include "gateway/route.h"

static void
inside(struct http_slice s, const char *text, size_t len)
{
	if (s.ptr != NULL)
		require(s.ptr >= text && s.len <= len && (size_t) (s.ptr - text) <= len - s.len);
}

/* The whole body, or -1; the number of body bytes and their sum tell two ways apart. */
static long
dechunk(const char *text, size_t len, size_t piece, uint32_t *sum)
{
	struct http_chunked c = {.state = HTTP_CHUNK_SIZE};
	size_t at = 0, have = 0;
	long total = 0;

	*sum = 0;
	while (c.state != HTTP_CHUNK_DONE)
	{
		struct http_slice body;
		long n = http_chunked_read(&c, text + at, have - at, &body);

		if (n < 0)
			return -1;
		inside(body, text, len);
		for (size_t i = 0; i < body.len; i++)
			*sum = *sum * 31 + (unsigned char) body.ptr[i];
		total += (long) body.len;
		at += (size_t) n;
		require(at <= have);
		if (n == 0)
		{
			if (have == len)
				return -2;
			have = len - have < piece ? len : have + piece;
		}
	}
	return total;
}

static void
query_and_path(const struct http_request *req)
{
	struct buf out = BUF_INIT(1 << 17);
	struct input_error err;
	struct input_path path;
	json_t *json;

	if (input_query(&out, &req->query, &err))
	{
		json = json_loadb((const char *) out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
		require(json_is_object(json));
		json_decref(json);
	}
	else
		require(err.status == 400 || err.status == 422);
	if (req->path.ptr[0] == '/' && input_path(&path, &req->path, &err))
	{
		require(path.count <= INPUT_SEGMENTS_MAX);
		for (size_t i = 0; i < path.count; i++)
		{
			inside(path.segments[i], path.text, sizeof path.text);
			require(!http_slice_is(&path.segments[i], ".."));
			buf_reset(&out);
			input_json_string(&out, path.segments[i].ptr, path.segments[i].len);
			json = json_loadb((const char *) out.data, out.len, JSON_DECODE_ANY, NULL);
			require(json_string_length(json) == path.segments[i].len);
			json_decref(json);
		}
	}
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_request req, again;
	const char *text = (const char *) data;
	int rc = http_parse_head(&req, text, size);
	uint32_t a, b;
	long whole;

	require(rc <= (int) size && rc > -600);
	if (rc > 0)
	{
		require(http_parse_head(&again, text, (size_t) rc) == rc);
		require(http_parse_head(&again, text, (size_t) rc - 1) <= 0);
		inside(req.path, text, (size_t) rc);
		inside(req.query, text, (size_t) rc);
		inside(req.host, text, (size_t) rc);
		require(!(req.chunked && req.has_length) && req.path.len > 0);
		for (size_t i = 0; i < req.header_count; i++)
		{
			inside(req.headers[i].name, text, (size_t) rc);
			inside(req.headers[i].value, text, (size_t) rc);
			require(memchr(req.headers[i].value.ptr, '\n', req.headers[i].value.len) == NULL);
		}
		query_and_path(&req);
		text += rc;
		size -= (size_t) rc;
	}
	whole = dechunk(text, size, size, &a);
	if (size < 4096)
		require(dechunk(text, size, 1, &b) == whole && (whole < 0 || a == b));
	return 0;
}
