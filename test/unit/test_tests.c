/* SPDX-License-Identifier: PostgreSQL
 *
 * test_tests.c -- tests out of settings and out of bundles, and what is wrong with the wrong ones.
 */
#include "unit.h"

#include "agent/settings.h"
#include "agent/tests.h"
#include "lib/conf.h"
#include "lib/identity.h"
#include "probectl/test/v1/test.pb-c.h"

#define AGENT  "22222222-2222-4222-8222-222222222222"
#define TENANT "11111111-1111-4111-8111-111111111111"

static const struct identity identity = {.tenant_id = TENANT, .agent_id = AGENT};

static bool
read_text(struct test_list *list, const char *text, struct conf_error *err)
{
	struct conf_node *node = conf_node_parse(text, strlen(text), err);
	bool ok = node && tests_read(list, node, err);

	conf_node_free(node);
	return ok;
}

static void
bad(const char *text, unsigned line, const char *words)
{
	struct test_list list = {0};
	struct conf_error err = {0};

	if (read_text(&list, text, &err))
		fail_msg("accepted: %s", text);
	if (err.line != line || !strstr(err.text, words))
		fail_msg("want line %u \"%s\", got line %u \"%s\"", line, words, err.line, err.text);
	tests_free(&list);
}

static void
settings_give_tests(void **state)
{
	struct test_list list = {0}, again = {0};
	struct conf_error err = {0};

	if (!read_text(&list,
	               "- {name: lo, type: icmp, target: 127.0.0.1, interval: 10s, timeout: 2s, "
	               "params: {count: 3}}\n"
	               "- type: tcp\n  target: 127.0.0.1:22\n",
	               &err))
		fail_msg("%u: %s", err.line, err.text);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0]->spec.name, "lo");
	assert_int_equal(list.items[0]->spec.interval_ms, 10000);
	assert_int_equal(list.items[0]->spec.timeout_ms, 2000);
	assert_int_equal(list.items[0]->spec.param_count, 1);
	assert_int_equal(list.items[1]->spec.interval_ms, 30000);
	assert_non_null(list.items[1]->ops);
	/* The id follows from what is tested, not from name or interval. */
	assert_true(read_text(&again,
	                      "- {name: other, type: icmp, target: 127.0.0.1, interval: 20s, "
	                      "params: {count: 3}}\n"
	                      "- {type: icmp, target: 127.0.0.1, params: {count: 4}}\n",
	                      &err));
	assert_string_equal(list.items[0]->spec.test_id, again.items[0]->spec.test_id);
	assert_string_not_equal(list.items[0]->spec.test_id, again.items[1]->spec.test_id);
	assert_string_not_equal(list.items[0]->spec.test_id, list.items[1]->spec.test_id);
	assert_false(test_equal(list.items[0], again.items[0]));
	tests_free(&again);
	tests_copy(&again, &list);
	assert_true(test_equal(list.items[0], again.items[0]));
	tests_free(&list);
	tests_free(&again);
}

static void
wrong_settings_name_their_line(void **state)
{
	bad("a: b", 1, "must be a list");
	bad("- a", 1, "keys and values");
	bad("- type: icmp\n", 1, "needs type and target");
	bad("- type: icmp\n  target: 127.0.0.1\n  every: 3\n", 3, "unknown key \"every\"");
	bad("- type: gopher\n  target: x\n", 1, "no canary of type \"gopher\"");
	bad("- type: icmp\n  target: 127.0.0.1\n  interval: 10\n  params: {speed: 1}\n", 1, "speed");
	bad("- type: icmp\n  target: 127.0.0.1\n  interval: fast\n", 3, "duration");
	bad("- {type: icmp, target: 127.0.0.1, interval: 500ms}\n", 1, "interval must be in");
	bad("- {type: icmp, target: 127.0.0.1, interval: 2s, timeout: 3s}\n", 1, "longer than");
	bad("- {type: icmp, target: 127.0.0.1, timeout: 61s, interval: 2m}\n", 1, "timeout must be in");
	bad("- {type: icmp, target: 127.0.0.1}\n- {type: tcp, target: 127.0.0.1:1}\n"
	    "- {type: icmp, target: 127.0.0.1, name: again}\n",
	    3, "same canary stands on line 1");
	bad("- {type: icmp, target: 127.0.0.1, params: [1]}\n", 1, "params must be");
}

struct bundle
{
	Probectl__Test__V1__TestBundle message;
	Probectl__Test__V1__Test tests[3], *list[3];
	uint8_t bytes[4096];
	size_t len;
};

static void
bundle_make(struct bundle *b, const char *agent)
{
	const char *const types[] = {"icmp", "gopher", "tcp"};
	static char ids[3][37];

	memset(b, 0, sizeof(*b));
	probectl__test__v1__test_bundle__init(&b->message);
	b->message.revision = 7;
	b->message.tenant_id = (char *) TENANT;
	b->message.agent_id = (char *) agent;
	b->message.tests = b->list;
	b->message.n_tests = 3;
	for (int i = 0; i < 3; i++)
	{
		snprintf(ids[i], sizeof(ids[i]), "00000000-0000-4000-8000-00000000000%d", i);
		probectl__test__v1__test__init(&b->tests[i]);
		b->tests[i].test_id = ids[i];
		b->tests[i].type = (char *) types[i];
		b->tests[i].target = (char *) "127.0.0.1:22";
		b->tests[i].interval_ms = i == 2 ? 5 : 60000;
		b->tests[i].timeout_ms = 1000;
		b->list[i] = &b->tests[i];
	}
	b->tests[0].target = (char *) "127.0.0.1";
}

static void
bundle_pack(struct bundle *b)
{
	b->len = probectl__test__v1__test_bundle__pack(&b->message, b->bytes);
	assert_true(b->len < sizeof(b->bytes));
}

static void
bundles_give_tests_and_problems(void **state)
{
	struct test_list list = {0};
	struct bundle b;
	uint64_t revision = 0;
	char err[256] = "";

	bundle_make(&b, AGENT);
	bundle_pack(&b);
	if (tests_decode(&list, b.bytes, b.len, &identity, &revision, err, sizeof(err)) != BUNDLE_OK)
		fail_msg("%s", err);
	assert_int_equal(revision, 7);
	assert_int_equal(list.count, 3);
	assert_non_null(list.items[0]->ops);
	assert_null(list.items[1]->ops);
	assert_non_null(strstr(list.items[1]->problem, "gopher"));
	assert_null(list.items[2]->ops); /* an interval of 5 ms is not run as another one */
	assert_non_null(strstr(list.items[2]->problem, "interval"));
	assert_true(list.items[2]->spec.interval_ms >= TEST_INTERVAL_MIN);
	tests_free(&list);
}

static void
bundles_of_others_are_refused(void **state)
{
	struct test_list list = {0};
	struct bundle b;
	uint64_t revision = 3;
	char err[256] = "";

	bundle_make(&b, "33333333-3333-4333-8333-333333333333");
	bundle_pack(&b);
	assert_int_equal(tests_decode(&list, b.bytes, b.len, &identity, &revision, err, sizeof(err)),
	                 BUNDLE_STRANGER);
	assert_non_null(strstr(err, "for agent 33333333"));
	assert_int_equal(tests_decode(&list, "\xff\xff\xff", 3, &identity, &revision, err, sizeof(err)),
	                 BUNDLE_UNREADABLE);
	bundle_make(&b, AGENT);
	b.tests[1].test_id = (char *) "not a uuid";
	bundle_pack(&b);
	assert_int_equal(tests_decode(&list, b.bytes, b.len, &identity, &revision, err, sizeof(err)),
	                 BUNDLE_UNREADABLE);
	assert_non_null(strstr(err, "test 1"));
	assert_int_equal(revision, 3);
	tests_free(&list);
}

static void
addresses(void **state)
{
	char host[32];
	uint16_t port;

	assert_true(settings_host_port("a.example:9443", host, sizeof(host), &port));
	assert_string_equal(host, "a.example");
	assert_int_equal(port, 9443);
	assert_true(settings_host_port("[2001:db8::1]:1", host, sizeof(host), &port));
	assert_string_equal(host, "2001:db8::1");
	assert_false(settings_host_port("2001:db8::1:1", host, sizeof(host), &port));
	assert_false(settings_host_port("a.example", host, sizeof(host), &port));
	assert_false(settings_host_port("a.example:0", host, sizeof(host), &port));
	assert_false(settings_host_port("a.example:65536", host, sizeof(host), &port));
	assert_false(settings_host_port(":1", host, sizeof(host), &port));
	assert_false(
	    settings_host_port("a-name-that-is-longer-than-the-room:1", host, sizeof(host), &port));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(settings_give_tests),
	    cmocka_unit_test(wrong_settings_name_their_line),
	    cmocka_unit_test(bundles_give_tests_and_problems),
	    cmocka_unit_test(bundles_of_others_are_refused),
	    cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests_name("tests", tests, NULL, NULL);
}
