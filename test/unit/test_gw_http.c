/* SPDX-License-Identifier: PostgreSQL
 *
 * test_gw_http.c -- the HTTP reader: what it takes, what it refuses, and that it says
 * the same however the bytes are cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/http.h"

#define HEAD "Host: h\r\n"

static int
parse(struct http_request *req, const char *text)
{
	return http_parse_head(req, text, strlen(text));
}

static void
expect_slice(struct http_slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.ptr, text, s.len);
}

static void
takes_a_request(void **state)
{
	struct http_request r;
	const char *text = "GET /a/b?x=1&y HTTP/1.1\r\nHost: h:8443\r\nX-Y:  z \t\r\n\r\nrest";

	assert_int_equal(parse(&r, text), strlen(text) - 4);
	assert_string_equal(r.method, "GET");
	expect_slice(r.path, "/a/b");
	expect_slice(r.query, "x=1&y");
	expect_slice(r.host, "h:8443");
	expect_slice(*http_header(&r, "x-y"), "z");
	assert_null(http_header(&r, "x"));
	assert_true(r.keep_alive);
	assert_false(r.has_length || r.chunked || r.expect_continue);
}

static void
takes_other_forms(void **state)
{
	struct http_request r;

	assert_true(parse(&r, "\r\nGET / HTTP/1.1\r\n" HEAD "\r\n") > 0);
	assert_null(r.query.ptr);
	assert_true(parse(&r, "OPTIONS * HTTP/1.1\r\n" HEAD "\r\n") > 0);
	expect_slice(r.path, "*");
	assert_true(parse(&r, "GET https://x/p?q HTTP/1.1\r\n" HEAD "\r\n") > 0);
	expect_slice(r.path, "/p");
	assert_true(parse(&r, "GET / HTTP/1.0\r\n\r\n") > 0);
	assert_false(r.keep_alive);
	assert_true(parse(&r, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") > 0);
	assert_true(r.keep_alive);
	assert_true(parse(&r, "GET / HTTP/1.1\r\n" HEAD "Connection: x, CLOSE\r\n\r\n") > 0);
	assert_false(r.keep_alive);
	assert_true(parse(&r, "POST / HTTP/1.1\r\n" HEAD "Content-Length: 007\r\n\r\n") > 0);
	assert_int_equal(r.content_length, 7);
}

static void
refuses(void **state)
{
	static const struct
	{
		const char *text;
		int status;
	} cases[] = {
	    {"GET / HTTP/1.1\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD HEAD "\r\n", 400},
	    {"GET / HTTP/1.2\r\n" HEAD "\r\n", 505},
	    {"GET / http/1.1\r\n" HEAD "\r\n", 400},
	    {"GET /\r\n" HEAD "\r\n", 400},
	    {" GET / HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"G@T / HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" HEAD "\r\n", 501},
	    {"GET a HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"GET /a#b HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"GET /\xc3\xa4 HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"GET https://host HTTP/1.1\r\n" HEAD "\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD ": x\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD "no colon\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD "A : x\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD " folded: x\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD "A: x\ry\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD "A: x\nB: y\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400},
	    {"POST / HTTP/1.1\r\n" HEAD "Content-Length: -1\r\n\r\n", 400},
	    {"POST / HTTP/1.1\r\n" HEAD "Content-Length: 1, 1\r\n\r\n", 400},
	    {"POST / HTTP/1.1\r\n" HEAD "Content-Length:\r\n\r\n", 400},
	    {"POST / HTTP/1.1\r\n" HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
	    {"POST / HTTP/1.1\r\n" HEAD "Content-Length: 99999999999999999999\r\n\r\n", 413},
	    {"POST / HTTP/1.1\r\n" HEAD "Transfer-Encoding: identity\r\n\r\n", 501},
	    {"POST / HTTP/1.1\r\n" HEAD
	     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	     400},
	    {"POST / HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
	    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n" HEAD "Expect: x\r\n\r\n", 417},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		struct http_request r;
		int rc = parse(&r, cases[i].text);

		if (rc != -cases[i].status)
			fail_msg("case %zu: %d, expected %d", i, rc, -cases[i].status);
		assert_non_null(r.error);
	}
}

/* A head cut anywhere asks for more, never decides early, and ends the same. */
static void
waits_for_the_rest(void **state)
{
	const char *text = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nA: b\r\n\r\n";
	struct http_request r;

	for (size_t n = 0; n < strlen(text); n++)
		assert_int_equal(http_parse_head(&r, text, n), HTTP_MORE);
	assert_int_equal(parse(&r, text), strlen(text));
}

static void
bounds_the_head(void **state)
{
	char *big = malloc(HTTP_HEAD_MAX * 2);
	struct http_request r;

	memset(big, 'a', HTTP_HEAD_MAX * 2);
	assert_int_equal(http_parse_head(&r, big, HTTP_LINE_MAX), HTTP_MORE);
	assert_int_equal(http_parse_head(&r, big, HTTP_LINE_MAX + 1), -414);
	memcpy(big, "GET / HTTP/1.1\r\nX: ", 19);
	assert_int_equal(http_parse_head(&r, big, HTTP_HEAD_MAX - 1), HTTP_MORE);
	assert_int_equal(http_parse_head(&r, big, HTTP_HEAD_MAX), -431);
	/* An end beyond the limit does not help. */
	memcpy(big + HTTP_HEAD_MAX, "\r\n\r\n", 4);
	assert_int_equal(http_parse_head(&r, big, HTTP_HEAD_MAX + 4), -431);
	memset(big, '\r', 3);
	assert_int_equal(http_parse_head(&r, "\x16\x03\x01", 3), -400);
	free(big);
}

/* Reads a whole chunked body in pieces of the given size; -1 when it is malformed. */
static long
dechunk(const char *text, size_t piece, char *out)
{
	struct http_chunked c = {.state = HTTP_CHUNK_SIZE};
	char have[4096];
	size_t len = 0, at = 0;
	long total = 0;

	while (c.state != HTTP_CHUNK_DONE)
	{
		struct http_slice data;
		long n = http_chunked_read(&c, have, len, &data);

		if (n < 0)
			return -1;
		memcpy(out + total, data.ptr, data.len);
		total += (long) data.len;
		memmove(have, have + n, len - (size_t) n);
		len -= (size_t) n;
		if (n == 0)
		{
			size_t more = strlen(text) - at < piece ? strlen(text) - at : piece;

			if (more == 0)
				return -2;
			memcpy(have + len, text + at, more);
			at += more;
			len += more;
		}
	}
	return total;
}

static void
reads_chunks(void **state)
{
	const char *text =
	    "4\r\nwiki\r\n5;ext=\"a b\"\r\npedia\r\n00A\r\n in\r\nlines\r\n0\r\nT: x\r\n\r\n";
	char out[256];

	for (size_t piece = 1; piece < 80; piece++)
	{
		assert_int_equal(dechunk(text, piece, out), 19);
		assert_memory_equal(out, "wikipedia in\r\nlines", 19);
	}
	for (size_t piece = 1; piece < 8; piece++)
	{
		assert_int_equal(dechunk("x\r\n", piece, out), -1);
		assert_int_equal(dechunk("\r\n", piece, out), -1);
		assert_int_equal(dechunk("1 \r\na\r\n", piece, out), -1);
		assert_int_equal(dechunk("1\r\nab\r\n", piece, out), -1);
		assert_int_equal(dechunk("1000000000000\r\n", piece, out), -1);
		assert_int_equal(dechunk("0\r\nno colon\r\n\r\n", piece, out), -1);
		assert_int_equal(dechunk("1\r\na", piece, out), -2);
	}
}

static void
decodes_strictly(void **state)
{
	char out[64];
	static const char *const bad[] = {"%",      "%4",   "%zz",    "%00",       "%1f",
	                                  "%7f",    "%ff",  "%c0%ae", "%ed%a0%80", "%f4%90%80%80",
	                                  "%e2%82", "\x80", "%c3%28"};

	assert_int_equal(http_decode(out, "a%20b+c", 7, false), 5);
	assert_memory_equal(out, "a b+c", 5);
	assert_int_equal(http_decode(out, "a+b%2B", 6, true), 4);
	assert_memory_equal(out, "a b+", 4);
	assert_int_equal(http_decode(out, "%E2%82%AC", 9, false), 3);
	assert_int_equal(http_decode(out, "%F0%9F%98%80", 12, false), 4);
	assert_int_equal(http_decode(out, "", 0, false), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(http_decode(out, bad[i], strlen(bad[i]), true), -1);
}

static bool
has(const char *list, const char *token)
{
	struct http_slice s = {list, strlen(list)};

	return http_list_has(&s, token);
}

static void
reads_lists(void **state)
{
	struct http_slice type = {"Application/JSON ; charset=utf-8", 32};

	assert_true(has("gzip", "gzip") && has("br, GZIP;q=0.1", "gzip") && has(" , ,gzip", "gzip"));
	assert_false(has("gzipped", "gzip") || has("", "gzip") || has("x-gzip", "gzip"));
	assert_false(has("gzip;q=0", "gzip") || has("gzip; q=0.000", "gzip"));
	assert_true(has("gzip;q=0.001", "gzip"));
	assert_true(http_media_is(&type, "application/json"));
	assert_false(http_media_is(NULL, "application/json"));
	type.len = 15;
	assert_false(http_media_is(&type, "application/json"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_a_request),  cmocka_unit_test(takes_other_forms),
	    cmocka_unit_test(refuses),          cmocka_unit_test(waits_for_the_rest),
	    cmocka_unit_test(bounds_the_head),  cmocka_unit_test(reads_chunks),
	    cmocka_unit_test(decodes_strictly), cmocka_unit_test(reads_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
