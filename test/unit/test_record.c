/* SPDX-License-Identifier: PostgreSQL
 *
 * test_record.c -- identity of a record of the bus: its headers, key, partition and seal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ingest/record.h"
#include "lib/crypto.h"

#define TENANT "00112233-4455-6677-8899-aabbccddeeff"
#define AGENT  "ffeeddcc-bbaa-9988-7766-554433221100"

static void
take(struct record *record, enum record_header which, const char *value)
{
	record_take(record, record_header_names[which], value, strlen(value));
}

static struct record
whole(void)
{
	struct record record = {0};

	take(&record, RECORD_TENANT, TENANT);
	take(&record, RECORD_AGENT, AGENT);
	take(&record, RECORD_SERIAL, "1f0c");
	take(&record, RECORD_PLANE, "network");
	return record;
}

static void
test_whole(void **state)
{
	struct record record = whole();

	record_take(&record, "traceparent", "x", 1);
	assert_true(record_whole(&record));
	assert_string_equal(record.tenant, TENANT);
	assert_string_equal(record.agent, AGENT);
	assert_string_equal(record.serial, "1f0c");
	assert_string_equal(record.plane, "network");
}

static void
test_missing(void **state)
{
	static const char *const values[] = {TENANT, AGENT, "1f0c", "network"};

	for (int left_out = RECORD_TENANT; left_out <= RECORD_PLANE; left_out++)
	{
		struct record record = {0};

		for (int i = RECORD_TENANT; i <= RECORD_PLANE; i++)
			if (i != left_out)
				take(&record, i, values[i]);
		assert_false(record_whole(&record));
	}
}

static void
test_bad(void **state)
{
	static const struct
	{
		enum record_header which;
		const char *value;
	} cases[] = {
	    {RECORD_TENANT, ""},
	    {RECORD_TENANT, "00112233-4455-6677-8899-AABBCCDDEEFF"},
	    {RECORD_TENANT, TENANT "0"},
	    {RECORD_AGENT, "00112233445566778899aabbccddeeff"},
	    {RECORD_SERIAL, ""},
	    {RECORD_SERIAL, "1F"},
	    {RECORD_SERIAL, "00000000000000000000000000000000000000000000000000000000000000000"},
	    {RECORD_PLANE, ""},
	    {RECORD_PLANE, "net work"},
	    {RECORD_PLANE, "abcdefghijklmnopq"},
	    {RECORD_SEAL, "short"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct record record = whole();

		record.seen &= ~(1u << cases[i].which);
		take(&record, cases[i].which, cases[i].value);
		assert_false(record_whole(&record));
	}
}

static void
test_twice_and_null(void **state)
{
	struct record record = whole();

	/* Which of the two would count? Neither. */
	take(&record, RECORD_TENANT, TENANT);
	assert_false(record_whole(&record));
	record = whole();
	record.seen &= ~(1u << RECORD_AGENT);
	record_take(&record, "probectl.agent", NULL, 0);
	assert_false(record_whole(&record));
}

static void
test_partition(void **state)
{
	struct record record = whole();
	char key[RECORD_KEY_MAX], again[RECORD_KEY_MAX];
	int seen = 0;

	/* murmur2 as Kafka's Java client has it: of "21" it is -973932308. */
	assert_int_equal(record_partition("21", 1000), (-973932308 & 0x7fffffff) % 1000);
	/* An agent has one key, a tenant has several. */
	record_key(&record, 8, key);
	record_key(&record, 8, again);
	assert_string_equal(key, again);
	for (int i = 0; i < 64; i++)
	{
		snprintf(record.agent, sizeof(record.agent), "00000000-0000-4000-8000-0000000000%02x", i);
		record_key(&record, 8, key);
		assert_memory_equal(key, TENANT "/", 37);
		seen |= 1 << atoi(key + 37);
	}
	assert_int_equal(seen, 0xff);
}

static void
test_hmac(void **state)
{
	/* RFC 4231, test case 2. */
	static const uint8_t expected[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
	                                   0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
	                                   0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83,
	                                   0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
	uint8_t out[CRYPTO_SHA256_BYTES];

	crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
	assert_memory_equal(out, expected, sizeof(expected));
}

static void
test_seal(void **state)
{
	struct record_sealer none = {0}, sealer = {.key = "0123456789abcdef", .len = 16};
	struct record_sealer stranger = {.key = "0123456789abcdeF", .len = 16};
	struct record record = whole(), other;

	/* Without a key nothing is asked for; with one it must be there. */
	assert_true(record_sealed(&none, &record, "topic", "value", 5));
	assert_false(record_sealed(&sealer, &record, "topic", "value", 5));
	record_seal(&sealer, &record, "topic", "value", 5, record.seal);
	record.seen |= 1u << RECORD_SEAL;
	assert_true(record_sealed(&sealer, &record, "topic", "value", 5));
	assert_false(record_sealed(&stranger, &record, "topic", "value", 5));
	assert_false(record_sealed(&sealer, &record, "topiC", "value", 5));
	assert_false(record_sealed(&sealer, &record, "topic", "valuE", 5));
	assert_false(record_sealed(&sealer, &record, "topic", "value", 4));
	other = record;
	other.agent[0] = '0';
	assert_false(record_sealed(&sealer, &other, "topic", "value", 5));
	other = record;
	other.tenant[0] = '1';
	assert_false(record_sealed(&sealer, &other, "topic", "value", 5));
}

static void
test_seal_key_file(void **state)
{
	struct record_sealer sealer = {0};
	char path[] = "/tmp/probectl-unit-seal-XXXXXX", err[200];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0123456789abcde", 15), 15);
	assert_false(record_sealer_read(&sealer, path, err, sizeof(err)));
	assert_non_null(strstr(err, "fewer than 16 bytes"));
	assert_int_equal(write(fd, "f", 1), 1);
	assert_true(record_sealer_read(&sealer, path, err, sizeof(err)));
	assert_int_equal(sealer.len, 16);
	close(fd);
	unlink(path);
	assert_false(record_sealer_read(&sealer, path, err, sizeof(err)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole),     cmocka_unit_test(test_missing),
	    cmocka_unit_test(test_bad),       cmocka_unit_test(test_twice_and_null),
	    cmocka_unit_test(test_partition), cmocka_unit_test(test_hmac),
	    cmocka_unit_test(test_seal),      cmocka_unit_test(test_seal_key_file),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
