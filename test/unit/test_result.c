/* SPDX-License-Identifier: PostgreSQL
 *
 * test_result.c -- what is packed is what protobuf-c unpacks, and only clean text gets in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/result.h"
#include "probectl/result/v1/result.pb-c.h"

static void
fill(struct result *r)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->test_id, sizeof(r->test_id), "00000000-0000-4000-8000-000000000001");
	result_id_make(r->result_id, 1700000000123456789);
	r->type = "tcp";
	snprintf(r->server_address, sizeof(r->server_address), "db.example.net");
	r->server_port = 5432;
	r->network_transport = "tcp";
	r->network_protocol_name = "";
	r->start_unix_nano = 1700000000123456789;
	r->duration_nano = 1234567;
	result_metric(r, "loss.ratio", 0.3333);
	result_metric(r, "connect.avg.ms", 1.5);
	result_attribute(r, "network.peer.address", "%s", "192.0.2.1");
	result_fail(r, ERROR_CONNECT_REFUSED, "refused by %s", "Größe");
}

static void
test_encode_equals_protobuf(void **state)
{
	struct result r;
	uint8_t buf[4096];
	Probectl__Result__V1__Result *m;
	size_t n;

	fill(&r);
	n = result_encode(&r, buf, sizeof(buf));
	assert_true(n > 0);
	m = probectl__result__v1__result__unpack(NULL, n, buf);
	assert_non_null(m);
	assert_string_equal(m->test_id, r.test_id);
	assert_string_equal(m->result_id, r.result_id);
	assert_string_equal(m->canary_type, "tcp");
	assert_string_equal(m->server_address, "db.example.net");
	assert_int_equal(m->server_port, 5432);
	assert_string_equal(m->network_transport, "tcp");
	assert_string_equal(m->network_protocol_name, "");
	assert_int_equal(m->success, 0);
	assert_string_equal(m->error_type, "connect_refused");
	assert_string_equal(m->error_message, "refused by Größe");
	assert_true(m->start_time_unix_nano == r.start_unix_nano);
	assert_true(m->duration_nano == 1234567);
	assert_int_equal(m->n_metrics, 2);
	assert_string_equal(m->metrics[0]->key, "loss.ratio");
	assert_true(m->metrics[0]->value == 0.3333);
	assert_true(m->metrics[1]->value == 1.5);
	assert_int_equal(m->n_attributes, 1);
	assert_string_equal(m->attributes[0]->key, "network.peer.address");
	assert_string_equal(m->attributes[0]->value, "192.0.2.1");
	assert_string_equal(m->tenant_id, "");
	assert_string_equal(m->agent_id, "");
	probectl__result__v1__result__free_unpacked(m, NULL);
	/* exactly enough is enough, one byte less is not */
	assert_int_equal(result_encode(&r, buf, n), n);
	assert_int_equal(result_encode(&r, buf, n - 1), 0);
}

static void
test_first_failure_is_the_cause(void **state)
{
	struct result r = {.success = true};

	result_fail(&r, ERROR_TLS_EXPIRED, "first");
	result_fail(&r, ERROR_RESET, "second");
	assert_false(r.success);
	assert_int_equal(r.error_type, ERROR_TLS_EXPIRED);
	assert_string_equal(r.error, "first");
}

static void
test_clean(void **state)
{
	static const struct
	{
		const char *in, *out;
	} cases[] = {
	    {"plain", "plain"},
	    {"Gr\xc3\xb6\xc3\x9f"
	     "e \xe2\x82\xac \xf0\x9f\x98\x80",
	     "Gr\xc3\xb6\xc3\x9f"
	     "e \xe2\x82\xac \xf0\x9f\x98\x80"},
	    {"a\nb\tc\x7f", "a?b?c?"},
	    {"\xff\xfe", "??"},
	    {"\xc3", "?"},                /* cut */
	    {"\xc3(", "?("},              /* not a continuation */
	    {"\xc0\xaf", "??"},           /* overlong '/' */
	    {"\xe0\x80\xaf", "???"},      /* overlong */
	    {"\xed\xa0\x80", "???"},      /* a surrogate */
	    {"\xf4\x90\x80\x80", "????"}, /* beyond U+10FFFF */
	    {"\xf8\x88\x80\x80\x80", "?????"},
	    {"x\xc2\x85y", "x??y"}, /* a C1 control */
	    {"\x1b[31mred", "?[31mred"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[64];

		snprintf(text, sizeof(text), "%s", cases[i].in);
		result_clean(text);
		assert_string_equal(text, cases[i].out);
	}
}

static void
test_cut_leaves_whole_characters(void **state)
{
	struct result r = {0};
	char text[RESULT_VALUE_MAX + 10];

	/* the value is cut in the middle of the two bytes of an o with dots */
	memset(text, 'a', sizeof(text));
	memcpy(text + RESULT_VALUE_MAX - 2, "\xc3\xb6", 2);
	text[sizeof(text) - 1] = '\0';
	result_attribute(&r, "x", "%s", text);
	assert_int_equal(strlen(r.attributes[0].value), RESULT_VALUE_MAX - 2);
	assert_null(strchr(r.attributes[0].value, '?'));
}

static void
test_full_result_takes_no_more(void **state)
{
	struct result r = {0};

	for (int i = 0; i < RESULT_METRICS_MAX + 5; i++)
		result_metric(&r, "x", i);
	for (int i = 0; i < RESULT_ATTRIBUTES_MAX + 5; i++)
		result_attribute(&r, "x", "%d", i);
	assert_int_equal(r.metric_count, RESULT_METRICS_MAX);
	assert_int_equal(r.attribute_count, RESULT_ATTRIBUTES_MAX);
}

static void
test_ids_are_ordered_uuids(void **state)
{
	char a[37], b[37], c[37];

	result_id_make(a, 1700000000000000000);
	result_id_make(b, 1700000000001000000);
	result_id_make(c, 1700000000001000000);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '7');
	assert_non_null(strchr("89ab", a[19]));
	assert_true(strcmp(a, b) < 0);
	assert_string_not_equal(b, c);
	assert_memory_equal(a, "018bcfe5-6800", 13); /* 1,700,000,000,000 ms in hex */
}

static void
test_error_types_have_distinct_words(void **state)
{
	assert_string_equal(error_type_name(ERROR_NONE), "");
	assert_string_equal(error_type_name(ERROR_TYPE_COUNT), "");
	for (int i = 1; i < ERROR_TYPE_COUNT; i++)
	{
		const char *name = error_type_name((enum error_type) i);

		assert_non_null(name);
		assert_true(name[0] != '\0');
		for (int k = 1; k < i; k++)
			assert_string_not_equal(name, error_type_name((enum error_type) k));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_encode_equals_protobuf),
	    cmocka_unit_test(test_first_failure_is_the_cause),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_cut_leaves_whole_characters),
	    cmocka_unit_test(test_full_result_takes_no_more),
	    cmocka_unit_test(test_ids_are_ordered_uuids),
	    cmocka_unit_test(test_error_types_have_distinct_words),
	};

	return cmocka_run_group_tests_name("result", tests, NULL, NULL);
}
