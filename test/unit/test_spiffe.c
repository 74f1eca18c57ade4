/* SPDX-License-Identifier: PostgreSQL
 *
 * test_spiffe.c -- what is an identity, and everything next to it that is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/spiffe.h"

#define TENANT "0198c1f0-0000-7abc-8def-0123456789ab"
#define AGENT  "ffffffff-ffff-ffff-ffff-ffffffffffff"
#define GOOD   "spiffe://probectl/tenant/" TENANT "/agent/" AGENT

static void
test_good(void **state)
{
	static const uint8_t tenant[16] = {0x01, 0x98, 0xc1, 0xf0, 0x00, 0x00, 0x7a, 0xbc,
	                                   0x8d, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab};
	struct spiffe_id id;
	char text[SPIFFE_ID_LEN + 1];

	assert_int_equal(strlen(GOOD), SPIFFE_ID_LEN);
	assert_true(spiffe_parse(GOOD, strlen(GOOD), &id));
	assert_string_equal(id.tenant, TENANT);
	assert_string_equal(id.agent, AGENT);
	assert_memory_equal(id.tenant_bytes, tenant, sizeof(tenant));
	for (int i = 0; i < 16; i++)
		assert_int_equal(id.agent_bytes[i], 0xff);
	spiffe_print(&id, text);
	assert_string_equal(text, GOOD);
}

static void
test_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "spiffe://probectl",
	    "spiffe://probectl/tenant/" TENANT,
	    "spiffe://probectl/tenant/" TENANT "/agent/",
	    GOOD "/",
	    GOOD " ",
	    " " GOOD,
	    "SPIFFE://probectl/tenant/" TENANT "/agent/" AGENT,
	    "spiffe://Probectl/tenant/" TENANT "/agent/" AGENT,
	    "spiffe://probectk/tenant/" TENANT "/agent/" AGENT,
	    "spiffe://probectl/tenanT/" TENANT "/agent/" AGENT,
	    "spiffe://probectl/agentt/" TENANT "/agent/" AGENT,
	    "spiffe://probectl/tenant/" TENANT "/agenT/" AGENT,
	    "spiffe://probectl/tenant/0198C1F0-0000-7abc-8def-0123456789ab/agent/" AGENT,
	    "spiffe://probectl/tenant/0198c1f0-0000-7abc-8def-0123456789ag/agent/" AGENT,
	    "spiffe://probectl/tenant/0198c1f00-000-7abc-8def-0123456789ab/agent/" AGENT,
	    "spiffe://probectl/tenant/0198c1f0-0000-7abc-8def-0123456789a-/agent/" AGENT,
	    "spiffe://probectl/tenant/" TENANT "/agent/ffffffff_ffff-ffff-ffff-ffffffffffff",
	    "spiffe://probectl/tenant/" TENANT "/agent/ffffffff-ffff-ffff-ffff-fffffffffff%",
	};
	struct spiffe_id id = {.tenant = "untouched"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (spiffe_parse(bad[i], strlen(bad[i]), &id))
			fail_msg("accepted: %s", bad[i]);
	assert_string_equal(id.tenant, "untouched");
}

/* Each byte of the form matters, and no other value of it is let through but hex digits. */
static void
test_every_byte(void **state)
{
	struct spiffe_id id;
	char text[SPIFFE_ID_LEN + 1], again[SPIFFE_ID_LEN + 1];

	for (size_t at = 0; at < SPIFFE_ID_LEN; at++)
		for (int byte = 0; byte < 256; byte++)
		{
			memcpy(text, GOOD, sizeof(text));
			text[at] = (char) byte;
			if (!spiffe_parse(text, SPIFFE_ID_LEN, &id))
				continue;
			spiffe_print(&id, again);
			assert_memory_equal(text, again, SPIFFE_ID_LEN);
			assert_true(byte == GOOD[at] || (byte >= '0' && byte <= '9') ||
			            (byte >= 'a' && byte <= 'f'));
		}
}

static void
test_lengths(void **state)
{
	struct spiffe_id id;

	for (size_t len = 0; len < SPIFFE_ID_LEN; len++)
		assert_false(spiffe_parse(GOOD, len, &id));
	assert_false(spiffe_uuid_parse(TENANT, SPIFFE_UUID_LEN - 1, NULL));
	assert_true(spiffe_uuid_parse(TENANT, SPIFFE_UUID_LEN, NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_every_byte),
	    cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
