/* SPDX-License-Identifier: PostgreSQL
 *
 * test_conf.c -- what the settings reader accepts, and how it says what it does not.
 */
#include "unit.h"

#include "lib/conf.h"
#include "lib/log.h"

struct settings
{
	char *listen;
	char *secret;
	int64_t count, size, wait;
	bool on;
	int level;
	size_t items;
	unsigned last_line;
};

static bool
items_read(void *settings, const struct conf_node *node, struct conf_error *err)
{
	struct settings *s = settings;

	if (node->kind != CONF_NODE_LIST)
		return conf_fail(err, node->line, "items must be a list");
	s->items = node->count;
	if (node->count)
		s->last_line = node->items[node->count - 1].line;
	return true;
}

static void
items_print(FILE *out, const void *settings)
{
	fprintf(out, " %zu\n", ((const struct settings *) settings)->items);
}

static void
items_clear(void *settings)
{
	((struct settings *) settings)->items = 0;
}

static const struct conf_tree items_tree = {items_read, items_print, items_clear, NULL};

#define AT(m) offsetof(struct settings, m)
static const struct conf_key keys[] = {
    {"listen", CONF_STRING, AT(listen), .def = "127.0.0.1:1", .flags = CONF_REQUIRED, .help = "a"},
    {"secret", CONF_STRING, AT(secret), .flags = CONF_SECRET, .help = "b"},
    {"limits.count", CONF_INT, AT(count), .def = "4", .min = 1, .max = 64, .help = "c"},
    {"limits.size", CONF_BYTES, AT(size), .def = "4MiB", .min = 1, .max = 1 << 30, .help = "d"},
    {"limits.wait", CONF_DURATION, AT(wait), .def = "30s", .min = 10, .max = 86400000, .help = "e"},
    {"on", CONF_BOOL, AT(on), .def = "true", .flags = CONF_RELOADABLE, .help = "f"},
    {"items", CONF_TREE, 0, .tree = &items_tree, .help = "g"},
    CONF_KEY_LOG_LEVEL(AT(level)),
};
static const struct conf_spec spec = {.process = "unit",
                                      .summary = "unit test",
                                      .keys = keys,
                                      .key_count = sizeof(keys) / sizeof(keys[0]),
                                      .size = sizeof(struct settings)};

/* Text is accepted. */
static void
good(struct settings *s, const char *text)
{
	struct conf_error err = {0};

	conf_defaults(&spec, s);
	if (!conf_read_text(&spec, s, text, strlen(text), &err))
		fail_msg("line %u: %s", err.line, err.text);
}

/* Text is refused at that line, with these words in the message. */
static void
bad(const char *text, unsigned line, const char *words)
{
	struct settings s;
	struct conf_error err = {0};

	conf_defaults(&spec, &s);
	if (conf_read_text(&spec, &s, text, strlen(text), &err))
		fail_msg("accepted: %s", text);
	if (err.line != line || !strstr(err.text, words))
		fail_msg("want line %u \"%s\", got line %u \"%s\"", line, words, err.line, err.text);
	conf_clear(&spec, &s);
}

static void
defaults_and_values(void **state)
{
	struct settings s;

	good(&s, "");
	assert_string_equal(s.listen, "127.0.0.1:1");
	assert_null(s.secret);
	assert_int_equal(s.count, 4);
	assert_int_equal(s.size, 4 << 20);
	assert_int_equal(s.wait, 30000);
	assert_true(s.on);
	assert_int_equal(s.level, LOG_LEVEL_INFO);
	conf_clear(&spec, &s);
	good(&s, "# comment\nlisten: '[::1]:9'\nlimits:\n  count: 7\n  size: 512 KiB\n  wait: 250ms\n"
	         "on: off\nitems: [1, {a: b}, 3]\nlog: {level: debug}\n");
	assert_string_equal(s.listen, "[::1]:9");
	assert_int_equal(s.count, 7);
	assert_int_equal(s.size, 512 << 10);
	assert_int_equal(s.wait, 250);
	assert_false(s.on);
	assert_int_equal(s.items, 3);
	assert_int_equal(s.level, LOG_LEVEL_DEBUG);
	conf_clear(&spec, &s);
}

static void
units(void **state)
{
	int64_t v;

	assert_true(conf_parse_duration("1d", &v) && v == 86400000);
	assert_true(conf_parse_duration("5m", &v) && v == 300000);
	assert_true(conf_parse_duration("7", &v) && v == 7000);
	assert_false(conf_parse_duration("1.5s", &v));
	assert_false(conf_parse_duration("-1s", &v));
	assert_false(conf_parse_duration("s", &v));
	assert_false(conf_parse_duration("10 parsecs", &v));
	assert_false(conf_parse_duration("9223372036854775807d", &v));
	assert_true(conf_parse_bytes("1GiB", &v) && v == 1 << 30);
	assert_true(conf_parse_bytes("2kb", &v) && v == 2000);
	assert_false(conf_parse_bytes("99999999999GiB", &v));
	assert_false(conf_parse_int("12x", &v));
	assert_false(conf_parse_int("", &v));
	assert_false(conf_parse_int("99999999999999999999", &v));
}

static void
errors_name_the_line(void **state)
{
	bad("listen: a\nlisten2: b\n", 2, "unknown key \"listen2\"");
	bad("limits:\n  count: 4\n  depth: 1\n", 3, "unknown key \"limits.depth\"");
	bad("on: true\n\n\non: false\n", 4, "given twice, first on line 1");
	bad("limits:\n  count: 4\nlimits:\n  size: 1\n", 3, "given twice");
	bad("limits:\n  count: many\n", 2, "whole number");
	bad("limits:\n  count: 65\n", 2, "must be in 1 .. 64");
	bad("limits:\n  wait: 1ms\n", 2, "must be in 10ms .. 1d");
	bad("limits:\n  size: 2GiB\n", 2, "1GiB");
	bad("on: maybe\n", 1, "true or false");
	bad("log:\n  level: loud\n", 2, "one of error, warning, info, debug");
	bad("listen: [a, b]\n", 1, "single value, not a list");
	bad("listen:\n  a: b\n", 2, "single value");
	bad("limits: 4\n", 1, "group of keys");
	bad("items: 4\n", 1, "must be a list");
	bad("- a\n", 1, "expected keys");
	bad("listen: \"a\n", 2, "not YAML");
	bad("a: &x 1\nb: *x\n", 1, "anchors");
	bad("listen: !!str a\n", 1, "tags");
	bad("listen: a\n---\nlisten: b\n", 2, "second document");
	bad("? [a]\n: b\n", 1, "plain text");
	bad("items: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", 1, "nested deeper");
}

static void
order_of_strength(void **state)
{
	char *const environment[] = {"HOME=/", "PROBECTL_UNIT_LIMITS_COUNT=9", "PROBECTL_OTHER_X=1",
	                             "PROBECTL_UNIT_ITEMS=[1, 2]", NULL};
	struct conf_error err = {0};
	struct settings s;

	good(&s, "limits: {count: 7, size: 1KiB}\n");
	assert_true(conf_read_env(&spec, &s, environment, &err));
	assert_int_equal(s.count, 9);
	assert_int_equal(s.size, 1024);
	assert_int_equal(s.items, 2);
	assert_true(conf_read_set(&spec, &s, "limits.count=11", &err));
	assert_int_equal(s.count, 11);
	assert_false(conf_read_set(&spec, &s, "limits.count", &err));
	assert_false(conf_read_set(&spec, &s, "limits.nothing=1", &err));
	assert_false(conf_read_set(&spec, &s, "limits.count=0", &err));
	conf_clear(&spec, &s);
}

static void
a_stray_variable_is_an_error(void **state)
{
	char *const environment[] = {"PROBECTL_UNIT_LIMITS_CUONT=9", NULL};
	struct conf_error err = {0};
	struct settings s;

	conf_defaults(&spec, &s);
	assert_false(conf_read_env(&spec, &s, environment, &err));
	assert_non_null(strstr(err.text, "PROBECTL_UNIT_LIMITS_CUONT"));
	conf_clear(&spec, &s);
}

static void
required_keys(void **state)
{
	struct conf_error err = {0};
	struct settings s;

	good(&s, "listen: ''\n");
	assert_false(conf_check(&spec, &s, &err));
	assert_non_null(strstr(err.text, "listen must be set"));
	conf_clear(&spec, &s);
}

/* What --check-config prints is itself a file that means the same; secrets are not in it. */
static void
print_round_trips(void **state)
{
	struct settings s, t;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	good(&s, "listen: 'a: \"b\" #c'\nsecret: hunter2\nlimits: {count: 5, wait: 1500ms}\n");
	s.items = 0;
	conf_print(&spec, &s, out);
	fclose(out);
	assert_null(strstr(text, "hunter2"));
	assert_non_null(strstr(text, "wait: 1500ms"));
	*strstr(text, "items:") = '#';
	good(&t, text);
	assert_string_equal(t.listen, s.listen);
	assert_int_equal(t.count, 5);
	assert_int_equal(t.wait, 1500);
	conf_clear(&spec, &s);
	conf_clear(&spec, &t);
	free(text);
}

static void
help_names_every_key(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	conf_help(&spec, out);
	fclose(out);
	for (size_t i = 0; i < spec.key_count; i++)
		assert_non_null(strstr(text, keys[i].name));
	assert_non_null(strstr(text, "PROBECTL_UNIT_LIMITS_COUNT"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_and_values),
	    cmocka_unit_test(units),
	    cmocka_unit_test(errors_name_the_line),
	    cmocka_unit_test(order_of_strength),
	    cmocka_unit_test(a_stray_variable_is_an_error),
	    cmocka_unit_test(required_keys),
	    cmocka_unit_test(print_round_trips),
	    cmocka_unit_test(help_names_every_key),
	};

	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
