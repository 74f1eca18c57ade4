/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_bundle.c -- no bytes are taken for tests that nobody signed, and what a signed bundle may hold
 * is a list in which every test has an identifier, bounds and either a canary or a problem.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/bundle.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/uuid.h"

static struct identity identity = {.tenant_id = "11111111-1111-4111-8111-111111111111",
                                   .agent_id = "22222222-2222-4222-8222-222222222222",
                                   .ca_file = "/nonexistent/ca.pem"};

static void
check(const struct test *test)
{
	uint8_t raw[UUID_BYTES];

	require(uuid_parse(test->spec.test_id, raw));
	require(memchr(test->spec.type, 0, sizeof(test->spec.type)) != NULL);
	require(strlen(test->spec.target) <= TEST_TARGET_MAX);
	require(test->spec.interval_ms >= TEST_INTERVAL_MIN &&
	        test->spec.interval_ms <= TEST_INTERVAL_MAX);
	require(test->ops ? test->problem == NULL : test->problem && test->problem[0] != '\0');
	for (size_t i = 1; i < test->spec.param_count; i++)
		require(strcmp(test->spec.params[i - 1].key, test->spec.params[i].key) <= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct test_list list = {0};
	struct bundle bundle;
	uint64_t revision = 42;
	char err[256] = "";

	bundle_open(&bundle, &identity, "/nonexistent");
	require(bundle_take(&bundle, data, size) != BUNDLE_OK);
	require(bundle.answer_len == 0 && bundle.revision == 0 && bundle.refused == 1 &&
	        bundle.problem[0] != '\0');
	bundle_close(&bundle);
	if (tests_decode(&list, data, size, &identity, &revision, err, sizeof(err)) == BUNDLE_OK)
	{
		require(list.count <= TESTS_MAX);
		for (size_t i = 0; i < list.count; i++)
			check(list.items[i]);
	}
	else
		require(revision == 42 && err[0] != '\0');
	tests_free(&list);
	return 0;
}
