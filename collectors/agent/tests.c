/* SPDX-License-Identifier: PostgreSQL
 *
 * tests.c -- see tests.h.
 */
#include "agent/tests.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/identity.h"
#include "lib/mem.h"
#include "lib/uuid.h"
#include "probectl/test/v1/test.pb-c.h"

#define DEFAULT_INTERVAL 30000 /* ms */
#define DEFAULT_TIMEOUT  5000  /* ms */

static void
spec_clear(struct test_spec *spec)
{
	for (size_t i = 0; i < spec->param_count; i++)
	{
		free(spec->params[i].key);
		free(spec->params[i].value);
	}
	free(spec->params);
	free(spec->target);
	spec->target = NULL;
	spec->params = NULL;
	spec->param_count = 0;
}

void
test_destroy(struct test *test)
{
	if (!test)
		return;
	if (test->ops && test->cmd)
		test->ops->cmd_free(test->cmd);
	spec_clear(&test->spec);
	free(test->problem);
	free(test);
}

bool
test_equal(const struct test *a, const struct test *b)
{
	const struct test_spec *x = &a->spec, *y = &b->spec;

	if (strcmp(x->test_id, y->test_id) != 0 || strcmp(x->type, y->type) != 0 ||
	    strcmp(x->target, y->target) != 0 || strcmp(x->name, y->name) != 0 ||
	    x->interval_ms != y->interval_ms || x->timeout_ms != y->timeout_ms ||
	    x->param_count != y->param_count)
		return false;
	for (size_t i = 0; i < x->param_count; i++)
		if (strcmp(x->params[i].key, y->params[i].key) != 0 ||
		    strcmp(x->params[i].value, y->params[i].value) != 0)
			return false;
	return true;
}

void
tests_free(struct test_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		test_destroy(list->items[i]);
	free(list->items);
	list->items = NULL;
	list->count = 0;
}

static void
tests_add(struct test_list *list, struct test *test)
{
	list->items = mem_resize(list->items, list->count + 1, sizeof(struct test *));
	list->items[list->count++] = test;
}

/* ---- making one ---- */

static int
compare_params(const void *a, const void *b)
{
	return strcmp(((const struct test_param *) a)->key, ((const struct test_param *) b)->key);
}

static void
param_add(struct test_spec *spec, const char *key, const char *value)
{
	spec->params = mem_resize(spec->params, spec->param_count + 1, sizeof(*spec->params));
	spec->params[spec->param_count].key = mem_strdup(key);
	spec->params[spec->param_count++].value = mem_strdup(value);
}

static bool
text_fits(char *to, size_t len, const char *from)
{
	return (size_t) snprintf(to, len, "%s", from) < len;
}

/* The id of a test that nobody gave one: the same work has the same id on every start. */
static void
spec_name(struct test_spec *spec)
{
	struct buf name = BUF_INIT(1024 * 1024);
	uint8_t raw[UUID_BYTES];

	buf_printf(&name, "probectl test|%s|%s", spec->type, spec->target);
	for (size_t i = 0; i < spec->param_count; i++)
		buf_printf(&name, "|%s=%s", spec->params[i].key, spec->params[i].value);
	uuid_from_name(raw, name.data, name.len);
	uuid_print(raw, spec->test_id);
	buf_free(&name);
}

/* What a run sends, for the budget of packets: of each unit (echo, connection, question) so many,
 * and units as the parameter count says. Those of a long transfer are acknowledgements and not
 * counted. */
static const struct packet_cost
{
	const char *type;
	unsigned each, count;
} packet_costs[] = {
    {"icmp", 1, 5}, {"udp", 1, 5}, {"a2a", 1, 5}, {"tcp", 3, 3}, {"http", 10, 1}, {"dns", 2, 1},
};

static unsigned
spec_packets(const struct test_spec *spec)
{
	struct packet_cost cost = {"", 1, 1};
	int64_t count;

	for (size_t i = 0; i < sizeof(packet_costs) / sizeof(packet_costs[0]); i++)
		if (strcmp(packet_costs[i].type, spec->type) == 0)
			cost = packet_costs[i];
	for (size_t i = 0; i < spec->param_count; i++)
		if (strcmp(spec->params[i].key, "count") == 0 &&
		    conf_parse_int(spec->params[i].value, &count) && count > 0 && count <= 1000000)
			cost.count = (unsigned) count;
	return cost.each * cost.count;
}

/* Checks bounds and lets the canary parse; params are sorted already. */
static bool
test_check(struct test *test, char *err, size_t errlen)
{
	struct test_spec *spec = &test->spec;

	test->packets = spec_packets(spec);
	test->ops = canary_find(spec->type);
	if (!test->ops)
		snprintf(err, errlen, "there is no canary of type \"%s\"; --help lists them", spec->type);
	else if (spec->interval_ms < TEST_INTERVAL_MIN || spec->interval_ms > TEST_INTERVAL_MAX)
		snprintf(err, errlen, "interval must be in 1s .. 1d");
	else if (spec->timeout_ms < TEST_TIMEOUT_MIN || spec->timeout_ms > TEST_TIMEOUT_MAX)
		snprintf(err, errlen, "timeout must be in 100ms .. 1m");
	else if (spec->timeout_ms > spec->interval_ms)
		snprintf(err, errlen, "timeout must not be longer than the interval");
	else if (test->ops->cmd_parse(spec, &test->cmd, err, errlen))
		return true;
	test->ops = NULL;
	return false;
}

/* The same for a test that is kept with its problem. */
static void
test_check_kept(struct test *test)
{
	char problem[256];

	if (!test_check(test, problem, sizeof(problem)))
		test->problem = mem_strdup(problem);
}

static void
sort_params(struct test_spec *spec)
{
	if (spec->param_count > 1)
		qsort(spec->params, spec->param_count, sizeof(*spec->params), compare_params);
}

void
tests_copy(struct test_list *into, const struct test_list *from)
{
	for (size_t i = 0; i < from->count; i++)
	{
		const struct test_spec *spec = &from->items[i]->spec;
		struct test *test = mem_alloc(sizeof(*test));

		test->spec = *spec;
		test->spec.target = mem_strdup(spec->target);
		test->spec.params = NULL;
		test->spec.param_count = 0;
		for (size_t p = 0; p < spec->param_count; p++)
			param_add(&test->spec, spec->params[p].key, spec->params[p].value);
		if (from->items[i]->ops)
			test_check_kept(test);
		else
			test->problem = mem_strdup(from->items[i]->problem);
		tests_add(into, test);
	}
}

/* ---- settings ---- */

static bool
read_params(struct test_spec *spec, const struct conf_node *node, struct conf_error *err)
{
	if (node->kind == CONF_NODE_SCALAR && !*conf_node_text(node))
		return true;
	if (node->kind != CONF_NODE_MAP)
		return conf_fail(err, node->line, "params must be keys and values");
	for (size_t i = 0; i < node->count; i++)
	{
		const char *value = conf_node_text(&node->items[i]);

		if (!value)
			return conf_fail(err, node->items[i].line, "parameter %s must be a single value",
			                 node->keys[i]);
		param_add(spec, node->keys[i], value);
	}
	return true;
}

static bool
read_field(struct test_spec *spec, const char *key, const struct conf_node *node,
           struct conf_error *err)
{
	struct text_field
	{
		const char *key;
		char *to;
		size_t len;
	} texts[] = {{"name", spec->name, sizeof(spec->name)},
	             {"type", spec->type, sizeof(spec->type)}};
	struct time_field
	{
		const char *key;
		uint32_t *to;
	} times[] = {{"interval", &spec->interval_ms}, {"timeout", &spec->timeout_ms}};
	const char *text;
	int64_t ms;

	if (strcmp(key, "params") == 0)
		return read_params(spec, node, err);
	text = conf_node_text(node);
	if (strcmp(key, "target") == 0)
	{
		if (!text || strlen(text) > TEST_TARGET_MAX)
			return conf_fail(err, node->line, "target must be text of at most %d bytes",
			                 TEST_TARGET_MAX);
		free(spec->target);
		spec->target = mem_strdup(text);
		return true;
	}
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		if (strcmp(key, texts[i].key) != 0)
			continue;
		if (!text || !text_fits(texts[i].to, texts[i].len, text))
			return conf_fail(err, node->line, "%s must be text of at most %zu bytes", key,
			                 texts[i].len - 1);
		return true;
	}
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		if (strcmp(key, times[i].key) != 0)
			continue;
		if (!text || !conf_parse_duration(text, &ms) || ms > UINT32_MAX)
			return conf_fail(err, node->line, "%s must be a duration such as 30s", key);
		*times[i].to = (uint32_t) ms;
		return true;
	}
	return conf_fail(err, node->line,
	                 "unknown key \"%s\" of a canary; name, type, target, interval, timeout and "
	                 "params are known",
	                 key);
}

static bool
read_test(struct test *test, const struct conf_node *node, struct conf_error *err)
{
	struct test_spec *spec = &test->spec;
	char problem[256];

	if (node->kind != CONF_NODE_MAP)
		return conf_fail(err, node->line, "a canary must be keys and values");
	spec->interval_ms = DEFAULT_INTERVAL;
	for (size_t i = 0; i < node->count; i++)
		if (!read_field(spec, node->keys[i], &node->items[i], err))
			return false;
	if (!*spec->type || !spec->target || !*spec->target)
		return conf_fail(err, node->line, "a canary needs type and target");
	if (spec->timeout_ms == 0)
		spec->timeout_ms = spec->interval_ms < DEFAULT_TIMEOUT ? spec->interval_ms
		                                                       : DEFAULT_TIMEOUT;
	sort_params(spec);
	spec_name(spec);
	if (!test_check(test, problem, sizeof(problem)))
		return conf_fail(err, node->line, "canary %s %s: %s", spec->type, spec->target, problem);
	return true;
}

bool
tests_read(struct test_list *list, const struct conf_node *node, struct conf_error *err)
{
	if (node->kind == CONF_NODE_SCALAR && !*conf_node_text(node))
		return true;
	if (node->kind != CONF_NODE_LIST)
		return conf_fail(err, node->line, "canaries must be a list");
	if (node->count > TESTS_MAX)
		return conf_fail(err, node->line, "more than %d canaries", TESTS_MAX);
	for (size_t i = 0; i < node->count; i++)
	{
		struct test *test = mem_alloc(sizeof(*test));

		tests_add(list, test);
		if (!read_test(test, &node->items[i], err))
			return false;
		for (size_t k = 0; k < i; k++)
			if (strcmp(list->items[k]->spec.test_id, test->spec.test_id) == 0)
				return conf_fail(err, node->items[i].line, "the same canary stands on line %u",
				                 node->items[k].line);
	}
	return true;
}

void
tests_print(FILE *out, const struct test_list *list)
{
	if (list->count == 0)
		fputs(" []", out);
	fputc('\n', out);
	for (size_t i = 0; i < list->count; i++)
	{
		const struct test_spec *spec = &list->items[i]->spec;

		fputs("  - name: ", out);
		conf_print_scalar(out, spec->name);
		fprintf(out, "\n    type: %s\n    target: ", spec->type);
		conf_print_scalar(out, spec->target);
		fprintf(out, "\n    interval: %ums\n    timeout: %ums\n", spec->interval_ms,
		        spec->timeout_ms);
		if (spec->param_count > 0)
			fputs("    params:\n", out);
		for (size_t p = 0; p < spec->param_count; p++)
		{
			fputs("      ", out);
			conf_print_scalar(out, spec->params[p].key);
			fputs(": ", out);
			conf_print_scalar(out, spec->params[p].value);
			fputc('\n', out);
		}
	}
}

/* ---- bundle ---- */

static struct test *
decode_test(const Probectl__Test__V1__Test *from)
{
	struct test *test = mem_alloc(sizeof(*test));
	struct test_spec *spec = &test->spec;
	uint8_t raw[UUID_BYTES];

	if (!uuid_parse(from->test_id, raw) || !text_fits(spec->type, sizeof(spec->type), from->type) ||
	    strlen(from->target) > TEST_TARGET_MAX)
	{
		test_destroy(test);
		return NULL;
	}
	uuid_print(raw, spec->test_id);
	spec->target = mem_strdup(from->target);
	text_fits(spec->name, sizeof(spec->name), from->name);
	spec->interval_ms = from->interval_ms;
	spec->timeout_ms = from->timeout_ms;
	for (size_t i = 0; i < from->n_params; i++)
		param_add(spec, from->params[i]->key, from->params[i]->value);
	sort_params(spec);
	test_check_kept(test);
	if (test->problem)
	{
		/* It still has to come round to say so. */
		if (spec->interval_ms < TEST_INTERVAL_MIN || spec->interval_ms > TEST_INTERVAL_MAX)
			spec->interval_ms = DEFAULT_INTERVAL;
	}
	return test;
}

enum bundle_refusal
tests_decode(struct test_list *list, const void *data, size_t len, const struct identity *identity,
             uint64_t *revision, char *err, size_t errlen)
{
	Probectl__Test__V1__TestBundle *bundle = probectl__test__v1__test_bundle__unpack(NULL, len,
	                                                                                 data);
	enum bundle_refusal verdict = BUNDLE_UNREADABLE;

	if (!bundle)
		snprintf(err, errlen, "it is no test bundle");
	else if (strcmp(bundle->agent_id, identity->agent_id) != 0 ||
	         strcmp(bundle->tenant_id, identity->tenant_id) != 0)
	{
		snprintf(err, errlen, "it is for agent %.36s of tenant %.36s", bundle->agent_id,
		         bundle->tenant_id);
		result_clean(err);
		verdict = BUNDLE_STRANGER;
	}
	else if (bundle->n_tests > TESTS_MAX)
		snprintf(err, errlen, "it has more than %d tests", TESTS_MAX);
	else
		verdict = BUNDLE_OK;
	for (size_t i = 0; verdict == BUNDLE_OK && i < bundle->n_tests; i++)
	{
		struct test *test = decode_test(bundle->tests[i]);

		if (test)
			tests_add(list, test);
		else
		{
			snprintf(err, errlen, "test %zu has no valid id, type or target", i);
			verdict = BUNDLE_UNREADABLE;
		}
	}
	if (verdict == BUNDLE_OK)
		*revision = bundle->revision;
	if (bundle)
		probectl__test__v1__test_bundle__free_unpacked(bundle, NULL);
	return verdict;
}
