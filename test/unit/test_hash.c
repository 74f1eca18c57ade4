/* SPDX-License-Identifier: PostgreSQL
 *
 * test_hash.c -- FNV-1a: values of its authors' test suite.
 */
#include "unit.h"

#include "lib/hash.h"

static void
known_values(void **state)
{
	assert_int_equal(hash_text(""), UINT64_C(0xcbf29ce484222325));
	assert_int_equal(hash_text("a"), UINT64_C(0xaf63dc4c8601ec8c));
	assert_int_equal(hash_text("foobar"), UINT64_C(0x85944171f73967e8));
}

static void
goes_on_from_what_was_before(void **state)
{
	uint64_t hash = hash_bytes(HASH_START, "foo", 3);

	assert_int_equal(hash_bytes(hash, "bar", 3), hash_text("foobar"));
	assert_int_not_equal(hash_bytes(hash, "bar", 3), hash_bytes(hash + 1, "bar", 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(known_values),
	    cmocka_unit_test(goes_on_from_what_was_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
