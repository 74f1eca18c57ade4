/* SPDX-License-Identifier: PostgreSQL
 *
 * test_crc32c.c -- the vectors of RFC 3720 appendix B.4, and the two forms against each other.
 */
#include "unit.h"

#include "lib/crc32c.h"

static void
rfc3720_vectors(void **state)
{
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
	const uint8_t read10[48] = {0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
	                            0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
	                            0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};

	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 32; i++)
	{
		up[i] = (uint8_t) i;
		down[i] = (uint8_t) (31 - i);
	}
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, up, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, down, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, read10, 48), 0xd9963a56);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void
both_forms_agree_on_every_length_and_split(void **state)
{
	uint8_t data[200];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t) (i * 37 + 11);
	for (size_t len = 0; len < 150; len++)
		for (size_t at = 0; at < 9; at++)
		{
			uint32_t whole = crc32c(0, data + at, len);

			assert_int_equal(whole, crc32c_portable(0, data + at, len));
			assert_int_equal(
			    whole, crc32c(crc32c(0, data + at, len / 3), data + at + len / 3, len - len / 3));
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rfc3720_vectors),
	    cmocka_unit_test(both_forms_agree_on_every_length_and_split),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
