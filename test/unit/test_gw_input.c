/* SPDX-License-Identifier: PostgreSQL
 *
 * test_gw_input.c -- parameters of a database call, and the routes they come through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/input.h"
#include "gateway/route.h"

static int
query(const char *text, char *out, size_t size, struct input_error *err)
{
	struct buf b = BUF_INIT(size - 1);
	struct http_slice s = {text, text != NULL ? strlen(text) : 0};
	bool ok;

	memset(err, 0, sizeof *err);
	ok = input_query(&b, &s, err);
	if (ok)
		memcpy(out, buf_cstr(&b), b.len + 1);
	buf_free(&b);
	return ok ? 0 : err->status;
}

static void
query_becomes_json(void **state)
{
	struct input_error err;
	char out[512];

	assert_int_equal(query(NULL, out, sizeof out, &err), 0);
	assert_string_equal(out, "{}");
	assert_int_equal(query("a=1&&b=%22x%5C&c&d=a=b&", out, sizeof out, &err), 0);
	assert_string_equal(out, "{\"a\":\"1\",\"b\":\"\\\"x\\\\\",\"c\":\"\",\"d\":\"a=b\"}");
	assert_int_equal(query("a=1&%61=2", out, sizeof out, &err), 422);
	assert_string_equal(err.field, "a");
	assert_int_equal(query("=1", out, sizeof out, &err), 400);
	assert_int_equal(query("a=%0a", out, sizeof out, &err), 400);
	assert_int_equal(query("ok=1&b=%f", out, sizeof out, &err), 400);
	assert_non_null(strstr(err.message, "byte 5"));
}

static void
json_strings_are_escaped(void **state)
{
	struct buf b = BUF_INIT(256);
	static const char text[] = "a\"\\\n\x01\xc3\xa4/";

	input_json_string(&b, text, sizeof text - 1);
	assert_string_equal(buf_cstr(&b), "\"a\\\"\\\\\\u000a\\u0001\xc3\xa4/\"");
	buf_free(&b);
}

static int
path(struct input_path *p, const char *text)
{
	struct http_slice s = {text, strlen(text)};
	struct input_error err;

	return input_path(p, &s, &err) ? (int) p->count : -err.status;
}

static void
path_is_split_then_decoded(void **state)
{
	struct input_path p;
	char deep[200] = "";

	assert_int_equal(path(&p, "/"), 0);
	assert_int_equal(path(&p, "/a%2fb/c%20"), 2);
	assert_int_equal(p.segments[0].len, 3);
	assert_memory_equal(p.segments[0].ptr, "a/b", 3);
	assert_memory_equal(p.segments[1].ptr, "c ", 2);
	assert_int_equal(path(&p, "/a/"), 2);
	assert_int_equal(path(&p, "//a"), 2);
	for (int i = 0; i < 60; i++)
		memcpy(deep + 2 * i, "/x", 3);
	assert_int_equal(path(&p, deep), INPUT_SEGMENTS_MAX);
	assert_true(p.overflow);
	assert_int_equal(path(&p, "/../a"), -400);
	assert_int_equal(path(&p, "/a/%2e%2E/b"), -400);
	assert_int_equal(path(&p, "/a/."), -400);
	assert_int_equal(path(&p, "/a%00"), -400);
	assert_int_equal(path(&p, "/.../..a"), 2);
}

static bool
json(const char *text)
{
	struct input_error err;

	return input_json_check(text, strlen(text), &err);
}

static void
json_is_checked(void **state)
{
	char deep[200];

	assert_true(json("{}") && json("[1,{\"a\":null}]") && json("{\"a\":\"[[[[\\\"{{{\"}"));
	assert_false(json("") || json("1") || json("{} {}") || json("{\"a\":1,\"a\":1}"));
	assert_false(json("{\"a\":\"\\u0000\"}") || json("{\"a\":\"\xff\"}") || json("{'a':1}"));
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	deep[199] = '\0';
	assert_false(json(deep));
	assert_true(input_json_check(deep + 100 - INPUT_DEPTH_MAX, INPUT_DEPTH_MAX * 2,
	                             &(struct input_error){0}));
	assert_false(input_json_check(deep + 99 - INPUT_DEPTH_MAX, INPUT_DEPTH_MAX * 2 + 2,
	                              &(struct input_error){0}));
}

static const char *
find(const struct route_table *t, const char *method, const char *text, char *allow)
{
	struct input_path p;
	const struct route *r;

	assert_true(path(&p, text) >= 0);
	r = route_find(t, method, &p, allow);
	return r != NULL ? r->pattern : NULL;
}

static void
routes_match(void **state)
{
	struct route_table *t = route_table_new();
	char err[200], allow[ROUTE_ALLOW_MAX];
	static const char *const bad[] = {"", "v1", "/", "/a//b", "/a/", "/{}", "/{a", "/a}", "/x{a}"};
	struct input_path p;
	struct buf b = BUF_INIT(256);
	const struct route *r;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(route_table_add(t, "GET", bad[i], false, err, sizeof err));
	assert_int_equal(route_table_size(t), 0);
	assert_true(route_table_add(t, "GET", "/v1/tests/{test_id}", false, err, sizeof err));
	assert_true(route_table_add(t, "DELETE", "/v1/tests/{test_id}", false, err, sizeof err));
	assert_true(route_table_add(t, "GET", "/v1/tests/all", false, err, sizeof err));
	assert_true(route_table_add(t, "GET", "/v1/{a}/x/{b}", false, err, sizeof err));
	route_table_seal(t);

	assert_string_equal(find(t, "GET", "/v1/tests/all", allow), "/v1/tests/all");
	assert_string_equal(find(t, "GET", "/v1/tests/al", allow), "/v1/tests/{test_id}");
	assert_string_equal(find(t, "DELETE", "/v1/tests/all", allow), "/v1/tests/{test_id}");
	assert_null(find(t, "POST", "/v1/tests/all", allow));
	assert_string_equal(allow, "GET, DELETE");
	assert_null(find(t, "GET", "/v1/tests", allow));
	assert_null(find(t, "GET", "/v1/tests/", allow));
	assert_null(find(t, "GET", "/v1/Tests/all", allow));
	assert_string_equal(allow, "");
	assert_true(path(&p, "/v1/%22/x/y") == 4);
	r = route_find(t, "GET", &p, allow);
	route_params(r, &p, &b);
	assert_string_equal(buf_cstr(&b), "{\"a\":\"\\\"\",\"b\":\"y\"}");
	buf_free(&b);
	route_table_free(t);
}

static void
password_is_read(void **state)
{
	static const struct
	{
		const char *text, *password; /* NULL: refused */
	} cases[] = {
	    {"dTpwdw==", "pw"},     {"dTpwdw", "pw"},          {"OnA6cQ==", "p:q"},
	    {"dXNlcjo=", NULL},     {"dXNlcg==", NULL},        {"", NULL},
	    {"dTpw*w==", NULL},     {"dTpwdw== ", NULL},       {"dTpwAHc=", NULL},
	    {"dTpwYXNzd29y", NULL}, {"dTpwYXNzd28", "passwo"},
	};
	char password[7];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		bool ok = input_basic_password(cases[i].text, strlen(cases[i].text), password,
		                               sizeof(password));

		assert_int_equal(ok, cases[i].password != NULL);
		if (ok)
			assert_string_equal(password, cases[i].password);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(query_becomes_json),
	    cmocka_unit_test(json_strings_are_escaped),
	    cmocka_unit_test(path_is_split_then_decoded),
	    cmocka_unit_test(json_is_checked),
	    cmocka_unit_test(routes_match),
	    cmocka_unit_test(password_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
