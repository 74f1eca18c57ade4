/* SPDX-License-Identifier: PostgreSQL
 *
 * test_buf.c -- the checked cursor and the growable buffer never pass their ends.
 */
#include "unit.h"

#include "lib/buf.h"

static void
integers_round_trip(void **state)
{
	struct buf b = BUF_INIT(1024);
	struct cursor c;

	buf_put_u8(&b, 0xab);
	buf_put_be16(&b, 0x0102);
	buf_put_be32(&b, 0x03040506);
	buf_put_be64(&b, UINT64_C(0x0708090a0b0c0d0e));
	buf_put_le16(&b, 0x0102);
	buf_put_le32(&b, 0x03040506);
	buf_put_le64(&b, UINT64_C(0x0708090a0b0c0d0e));
	assert_false(b.failed);
	assert_int_equal(b.len, 1 + 2 + 4 + 8 + 2 + 4 + 8);
	assert_memory_equal(b.data, "\xab\x01\x02\x03\x04\x05\x06", 7);
	assert_memory_equal(b.data + 15, "\x02\x01\x06\x05\x04\x03", 6);
	cursor_init(&c, b.data, b.len);
	assert_int_equal(cursor_u8(&c), 0xab);
	assert_int_equal(cursor_be16(&c), 0x0102);
	assert_int_equal(cursor_be32(&c), 0x03040506);
	assert_true(cursor_be64(&c) == UINT64_C(0x0708090a0b0c0d0e));
	assert_int_equal(cursor_le16(&c), 0x0102);
	assert_int_equal(cursor_le32(&c), 0x03040506);
	assert_true(cursor_le64(&c) == UINT64_C(0x0708090a0b0c0d0e));
	assert_true(cursor_done(&c));
	buf_free(&b);
}

static void
reading_past_the_end_fails_and_sticks(void **state)
{
	const uint8_t data[3] = {1, 2, 3};
	struct cursor c;

	cursor_init(&c, data, sizeof(data));
	assert_int_equal(cursor_be16(&c), 0x0102);
	assert_int_equal(cursor_be16(&c), 0);
	assert_true(c.failed);
	assert_int_equal(cursor_u8(&c), 0); /* although one byte is there */
	assert_int_equal(cursor_left(&c), 0);
	assert_false(cursor_done(&c));
	assert_null(cursor_take(&c, 0));
}

static void
lengths_near_the_maximum_do_not_wrap(void **state)
{
	const uint8_t data[8] = {0};
	struct cursor c;
	struct buf b = BUF_INIT(16);

	cursor_init(&c, data, sizeof(data));
	cursor_u8(&c);
	assert_null(cursor_take(&c, SIZE_MAX));
	assert_true(c.failed);
	assert_true(buf_put_u8(&b, 1));
	assert_null(buf_room(&b, SIZE_MAX));
	assert_true(b.failed);
	buf_free(&b);
}

static void
sub_cursor_confines(void **state)
{
	const uint8_t data[4] = {1, 2, 3, 4};
	struct cursor c, sub;

	cursor_init(&c, data, sizeof(data));
	sub = cursor_sub(&c, 3);
	assert_int_equal(cursor_left(&c), 1);
	assert_int_equal(cursor_be24(&sub), 0x010203);
	assert_int_equal(cursor_u8(&sub), 0);
	assert_true(sub.failed);
	assert_false(c.failed);
	sub = cursor_sub(&c, 2);
	assert_true(sub.failed);
	assert_true(c.failed);
}

static void
buffer_stops_at_its_maximum(void **state)
{
	struct buf b = BUF_INIT(100);
	uint8_t block[60] = {0};

	assert_true(buf_put(&b, block, sizeof(block)));
	assert_false(buf_put(&b, block, sizeof(block)));
	assert_true(b.failed);
	assert_int_equal(b.len, 60);
	assert_false(buf_put_u8(&b, 1)); /* sticks, although one byte would fit */
	buf_reset(&b);
	for (int i = 0; i < 100; i++)
		assert_true(buf_put_u8(&b, (uint8_t) i));
	assert_false(buf_put_u8(&b, 0));
	buf_reset(&b);
	assert_true(buf_put(&b, block, 60));
	assert_non_null(buf_cstr(&b));
	assert_int_equal(b.data[60], 0);
	buf_free(&b);
}

static void
a_full_buffer_still_has_its_nul(void **state)
{
	struct buf b = BUF_INIT(4);

	assert_true(buf_put(&b, "abcd", 4));
	assert_string_equal(buf_cstr(&b), "abcd");
	buf_free(&b);
}

static void
printf_measures_itself(void **state)
{
	struct buf b = BUF_INIT(10);

	assert_true(buf_printf(&b, "%d-%s", 12, "ab"));
	assert_string_equal(buf_cstr(&b), "12-ab");
	assert_false(buf_printf(&b, "%s", "123456"));
	assert_true(b.failed);
	buf_free(&b);
}

static void
consume_and_overwrite(void **state)
{
	struct buf b = BUF_INIT(100);

	buf_put(&b, "abcdefgh", 8);
	buf_consume(&b, 3);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "defgh", 5);
	assert_true(buf_set_be32(&b, 1, 0x30313233));
	assert_memory_equal(b.data, "d0123", 5);
	assert_false(buf_set_le32(&b, 2, 0));
	assert_true(b.failed);
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(integers_round_trip),
	    cmocka_unit_test(reading_past_the_end_fails_and_sticks),
	    cmocka_unit_test(lengths_near_the_maximum_do_not_wrap),
	    cmocka_unit_test(sub_cursor_confines),
	    cmocka_unit_test(buffer_stops_at_its_maximum),
	    cmocka_unit_test(a_full_buffer_still_has_its_nul),
	    cmocka_unit_test(printf_measures_itself),
	    cmocka_unit_test(consume_and_overwrite),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
