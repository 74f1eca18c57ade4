/* SPDX-License-Identifier: PostgreSQL
 *
 * test_pb.c -- the cursor over protobuf's wire format, byte by byte, and the bounded writer.
 *
 * The module belongs to the server's library; it is compiled into the test, so that it runs here
 * under the sanitizers as it ships.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/pb.c"

#define READ(text) pb_reader_init(&r, text, sizeof(text) - 1)
#define TEXT(text) ((PbSlice){(const uint8_t *) (text), sizeof(text) - 1})

/* tag = field << 3 | type */
static void
test_every_type(void **state)
{
	static const char message[] = "\x08\x96\x01"                         /* 1: 150 */
	                              "\x11\x01\x02\x03\x04\x05\x06\x07\x08" /* 2: eight bytes */
	                              "\x1a\x02hi"                           /* 3: "hi" */
	                              "\x25\x01\x02\x03\x84"                 /* 4: four bytes */
	                              "\xf8\xff\xff\xff\x0f\x00";            /* the greatest tag: 0 */
	PbReader r;
	PbField f;

	READ(message);
	assert_true(pb_next(&r, &f));
	assert_int_equal(f.tag, 1);
	assert_int_equal(f.type, PB_VARINT);
	assert_int_equal(f.number, 150);
	assert_true(pb_next(&r, &f));
	assert_int_equal(f.type, PB_FIXED64);
	assert_true(f.number == UINT64_C(0x0807060504030201));
	assert_true(pb_next(&r, &f));
	assert_int_equal(f.type, PB_BYTES);
	assert_int_equal(f.bytes.len, 2);
	assert_ptr_equal(f.bytes.data, message + 14); /* in place */
	assert_true(pb_next(&r, &f));
	assert_int_equal(f.type, PB_FIXED32);
	assert_true(f.number == 0x84030201);
	assert_true(pb_next(&r, &f));
	assert_int_equal(f.tag, TAG_MAX);
	assert_false(pb_next(&r, &f));
	assert_false(r.bad);
	assert_false(pb_next(&r, &f));
}

static void
test_numbers(void **state)
{
	static const struct
	{
		const char *bytes;
		size_t len;
		uint64_t value;
	} good[] = {
	    {"\x08\x00", 2, 0},
	    {"\x08\x7f", 2, 127},
	    {"\x08\x80\x01", 3, 128},
	    {"\x08\x80\x00", 3, 0}, /* longer than it has to be */
	    {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, INT64_MAX},
	    {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, UINT64_MAX},
	};
	PbReader r;
	PbField f;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		pb_reader_init(&r, good[i].bytes, good[i].len);
		assert_true(pb_next(&r, &f));
		assert_true(f.number == good[i].value);
		assert_false(pb_next(&r, &f));
		assert_false(r.bad);
	}
}

static void
test_refused(void **state)
{
	static const struct
	{
		const char *why, *bytes;
		size_t len;
	} bad[] = {
	    {"a tag without a value", "\x08", 1},
	    {"a number cut off", "\x08\x80", 2},
	    {"a number of 65 bits", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},
	    {"a number of eleven bytes", "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12},
	    {"tag 0", "\x00\x01", 2},
	    {"a tag of 30 bits", "\x80\x80\x80\x80\x10\x01", 6},
	    {"eight bytes, seven there", "\x09\x01\x02\x03\x04\x05\x06\x07", 8},
	    {"four bytes, three there", "\x0d\x01\x02\x03", 4},
	    {"bytes without a length", "\x0a", 1},
	    {"bytes longer than the rest", "\x0a\x02x", 3},
	    {"a length of 64 bits", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", 12},
	    {"a group begins", "\x0b", 1},
	    {"a group ends", "\x0c", 1},
	    {"type 6", "\x0e\x01", 2},
	    {"type 7", "\x0f\x01", 2},
	};
	PbReader r;
	PbField f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		pb_reader_init(&r, bad[i].bytes, bad[i].len);
		if (pb_next(&r, &f) || !r.bad)
			fail_msg("%s was read", bad[i].why);
		assert_false(pb_next(&r, &f)); /* the first error sticks */
		assert_true(r.bad);
	}
	pb_reader_init(&r, "", 0);
	assert_false(pb_next(&r, &f));
	assert_false(r.bad);
}

/* RFC 3629, and no U+0000: first and last of each length, and what lies between them. */
static void
test_text(void **state)
{
	assert_true(pb_text_valid(TEXT("")));
	assert_true(pb_text_valid(TEXT("plain \x01\x7f")));
	assert_true(pb_text_valid(TEXT("\xc2\x80\xdf\xbf")));
	assert_true(pb_text_valid(TEXT("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf")));
	assert_true(pb_text_valid(TEXT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")));

	assert_false(pb_text_valid(TEXT("a\0b")));
	assert_false(pb_text_valid(TEXT("\x80"))); /* a tail without a head */
	assert_false(pb_text_valid(TEXT("\xc2"))); /* heads without a tail */
	assert_false(pb_text_valid(TEXT("\xc2\x41")));
	assert_false(pb_text_valid(TEXT("\xe2\x82")));
	assert_false(pb_text_valid(TEXT("\xe2\x82\x41")));
	assert_false(pb_text_valid(TEXT("\xf0\x9f\x98")));
	assert_false(pb_text_valid(TEXT("\xf0\x9f\x98\xff")));
	assert_false(pb_text_valid(TEXT("\xc0\x80"))); /* too long for what they say */
	assert_false(pb_text_valid(TEXT("\xc1\xbf")));
	assert_false(pb_text_valid(TEXT("\xe0\x9f\xbf")));
	assert_false(pb_text_valid(TEXT("\xf0\x8f\xbf\xbf")));
	assert_false(pb_text_valid(TEXT("\xed\xa0\x80"))); /* surrogates */
	assert_false(pb_text_valid(TEXT("\xed\xbf\xbf")));
	assert_false(pb_text_valid(TEXT("\xf4\x90\x80\x80"))); /* past U+10FFFF */
	assert_false(pb_text_valid(TEXT("\xf5\x80\x80\x80")));
	assert_false(pb_text_valid(TEXT("\xff")));
}

static void
test_double(void **state)
{
	assert_true(pb_double(0) == 0.0);
	assert_true(pb_double(UINT64_C(0x3ff8000000000000)) == 1.5);
	assert_true(pb_double(UINT64_C(0xc000000000000000)) == -2.0);
}

static void
test_writer(void **state)
{
	static const uint8_t wanted[] = {0x08, 0x96, 0x01, 0x1a, 0x02, 'h', 'i', 0x20, 0x00};
	uint8_t buf[sizeof(wanted)];
	PbWriter w = {.data = buf, .max = sizeof(buf)};

	pb_write_varint(&w, 1, 150);
	pb_write_bytes(&w, 3, "hi", 2);
	pb_write_varint(&w, 4, 0);
	assert_false(w.full);
	assert_int_equal(w.len, sizeof(wanted));
	assert_memory_equal(buf, wanted, sizeof(wanted));
	pb_write_varint(&w, 1, 1);
	assert_true(w.full);

	/* Room for any part of it is no room for it: nothing is written past the end. */
	for (size_t max = 0; max < sizeof(wanted); max++)
	{
		memset(buf, 0xee, sizeof(buf));
		w = (PbWriter){.data = buf, .max = max};
		pb_write_varint(&w, 1, 150);
		pb_write_bytes(&w, 3, "hi", 2);
		pb_write_varint(&w, 4, 0);
		assert_true(w.full);
		assert_true(w.len <= max);
		for (size_t i = max; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xee);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_type), cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_refused),    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_double),     cmocka_unit_test(test_writer),
	};

	return cmocka_run_group_tests_name("pb", tests, NULL, NULL);
}
