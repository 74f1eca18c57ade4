/* SPDX-License-Identifier: PostgreSQL
 *
 * test_batch.c -- the envelope of a producer's stream: counted first, then handed out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/pb.c"
#include "stream/batch.c"

#define EPOCH  "\x08"
#define SEQ    "\x10"
#define RECORD "\x1a"

#define PARSE(text, max) batch_parse(&b, text, sizeof(text) - 1, max)

static void
test_good(void **state)
{
	Batch b;
	PbSlice record;

	assert_int_equal(PARSE(EPOCH "\x07" SEQ "\x96\x01" RECORD "\x02"
	                             "ab" RECORD "\x00" RECORD "\x01"
	                             "c",
	                       3),
	                 BATCH_OK);
	assert_true(b.epoch == 7 && b.first_seq == 150);
	assert_int_equal(b.count, 3);
	assert_true(batch_next(&b, &record));
	assert_int_equal(record.len, 2);
	assert_memory_equal(record.data, "ab", 2);
	assert_true(batch_next(&b, &record));
	assert_int_equal(record.len, 0);
	assert_true(batch_next(&b, &record));
	assert_memory_equal(record.data, "c", 1);
	assert_false(batch_next(&b, &record));
	assert_false(batch_next(&b, &record));
}

/* Fields in another order, given twice, and of a newer producer. */
static void
test_lenient(void **state)
{
	Batch b;
	PbSlice record;

	assert_int_equal(PARSE(RECORD "\x01x"
	                              "\x98\x06\x05" SEQ "\x05" EPOCH "\x01" RECORD "\x01y"
	                              "\xa2\x06\x02zz" EPOCH "\x02",
	                       10),
	                 BATCH_OK);
	assert_true(b.epoch == 2 && b.first_seq == 5);
	assert_int_equal(b.count, 2);
	assert_true(batch_next(&b, &record));
	assert_memory_equal(record.data, "x", 1);
	assert_true(batch_next(&b, &record));
	assert_memory_equal(record.data, "y", 1);
	assert_false(batch_next(&b, &record));
}

static void
test_refused(void **state)
{
	Batch b;

	assert_int_equal(PARSE("", 1), BATCH_NO_EPOCH);
	assert_int_equal(PARSE(EPOCH "\x00" SEQ "\x01" RECORD "\x00", 1), BATCH_NO_EPOCH);
	assert_int_equal(
	    PARSE(EPOCH "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" SEQ "\x01" RECORD "\x00", 1),
	    BATCH_NO_EPOCH); /* 2^63 */
	assert_int_equal(PARSE(EPOCH "\x01" RECORD "\x00", 1), BATCH_NO_SEQ);
	assert_int_equal(PARSE(EPOCH "\x01" SEQ "\x00" RECORD "\x00", 1), BATCH_NO_SEQ);
	assert_int_equal(
	    PARSE(EPOCH "\x01" SEQ "\xff\xff\xff\xff\xff\xff\xff\xff\x7f" RECORD "\x00", 1),
	    BATCH_NO_SEQ); /* the last number would pass 2^63 - 1 */
	assert_int_equal(
	    PARSE(EPOCH "\x01" SEQ "\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" RECORD "\x00", 1), BATCH_OK);
	assert_int_equal(PARSE(EPOCH "\x01" SEQ "\x01", 1), BATCH_EMPTY);
	assert_int_equal(PARSE(EPOCH "\x01" SEQ "\x01" RECORD "\x00" RECORD "\x00", 1), BATCH_TOO_MANY);
	assert_int_equal(PARSE(EPOCH "\x01" SEQ "\x01" RECORD "\x02x", 1), BATCH_MALFORMED);
	assert_int_equal(PARSE("\x09\x01\x02\x03\x04\x05\x06\x07\x08" SEQ "\x01" RECORD "\x00", 1),
	                 BATCH_MALFORMED); /* the epoch in another type */
	assert_int_equal(PARSE(EPOCH "\x01"
	                             "\x12\x01\x01" RECORD "\x00",
	                       1),
	                 BATCH_MALFORMED);
	assert_int_equal(PARSE(EPOCH "\x01" SEQ "\x01"
	                             "\x18\x01",
	                       1),
	                 BATCH_MALFORMED);
}

/* A beginning of a good batch is a batch only where a record ends. */
static void
test_cut_off(void **state)
{
	static const char whole[] = EPOCH "\x01" SEQ "\x01" RECORD "\x03"
	                                  "abc" RECORD "\x02"
	                                  "de";
	Batch b;
	PbSlice record;

	for (size_t len = 0; len < sizeof(whole); len++)
	{
		BatchError error = batch_parse(&b, whole, len, 10);
		uint32_t n = 0;

		assert_true((error == BATCH_OK) == (len == 9 || len == 13));
		while (error == BATCH_OK && batch_next(&b, &record))
			n++;
		assert_true(error != BATCH_OK || n == b.count);
	}
}

static void
test_every_error_has_words(void **state)
{
	for (int i = BATCH_OK; i <= BATCH_TOO_MANY; i++)
	{
		assert_non_null(batch_error_text((BatchError) i));
		for (int k = BATCH_OK; k < i; k++)
			assert_string_not_equal(batch_error_text((BatchError) i),
			                        batch_error_text((BatchError) k));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_lenient),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cut_off),
	    cmocka_unit_test(test_every_error_has_words),
	};

	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
