/* SPDX-License-Identifier: PostgreSQL
 *
 * tests.h -- what the agent is to measure: tests of its own settings and tests it pulled.
 *
 * A test is checked when it is read. One of the settings that is wrong stops the start with
 * file and line; one that was pulled is kept with its problem, so that each of its runs
 * reports the problem to the person who made it.
 */
#ifndef PCTL_AGENT_TESTS_H
#define PCTL_AGENT_TESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/canary.h"
#include "lib/conf.h"

struct identity;

#define TESTS_MAX         10000
#define TEST_INTERVAL_MIN 1000     /* ms */
#define TEST_INTERVAL_MAX 86400000 /* ms: a day */
#define TEST_TIMEOUT_MIN  100      /* ms */
#define TEST_TIMEOUT_MAX  60000    /* ms */

struct test
{
	struct test_spec spec;
	const struct canary_ops *ops; /* NULL: problem says why it cannot run */
	void *cmd;
	unsigned packets; /* about so many does a run send */
	char *problem;    /* NULL while there is none */
};

struct test_list
{
	struct test **items;
	size_t count;
};

void test_destroy(struct test *test);

/* Same id and the same work: a running test may go on. */
bool test_equal(const struct test *a, const struct test *b);

void tests_free(struct test_list *list);

void tests_copy(struct test_list *into, const struct test_list *from);

/* The setting "canaries": [{name, type, target, interval, timeout, params}]. */
bool tests_read(struct test_list *list, const struct conf_node *node, struct conf_error *err);
void tests_print(FILE *out, const struct test_list *list);

/* Why a bundle of the control plane is not taken (bundle.h). */
enum bundle_refusal
{
	BUNDLE_OK,
	BUNDLE_UNREADABLE,
	BUNDLE_UNSIGNED, /* or signed by somebody else, or changed since */
	BUNDLE_STRANGER, /* for another agent or tenant */
	BUNDLE_ROLLBACK, /* older than what runs */
	BUNDLE_REFUSALS,
};

/* A marshalled probectl.test.v1.TestBundle for this agent, whose signature was verified. What was
 * added to the list before a refusal stays in it. */
enum bundle_refusal tests_decode(struct test_list *list, const void *bundle, size_t len,
                                 const struct identity *identity, uint64_t *revision, char *err,
                                 size_t errlen);

#endif
