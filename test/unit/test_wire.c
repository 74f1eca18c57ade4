/* SPDX-License-Identifier: PostgreSQL
 *
 * test_wire.c -- the shell of StreamResultsRequest, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/wire.h"

/* tag = field << 3 | type */
#define BATCH       "\x22" /* field 4, bytes */
#define PLANE       "\x2a" /* field 5, bytes */
#define PARSE(text) wire_batch_parse(text, sizeof(text) - 1, &batch)

static void
test_good(void **state)
{
	static const char message[] = BATCH "\x03\x61\x62\x63" PLANE "\x04\x66\x6c\x6f\x77";
	struct wire_batch batch;

	assert_null(PARSE(message));
	assert_int_equal(batch.len, 3);
	assert_ptr_equal(batch.data, message + 2); /* in place */
	assert_string_equal(batch.plane, "flow");

	assert_null(PARSE(BATCH "\x01\x61"));
	assert_string_equal(batch.plane, "network");
	assert_null(PARSE(BATCH "\x01\x61" PLANE "\x00"));
	assert_string_equal(batch.plane, "network");

	/* given twice: the last one counts, also an empty one */
	assert_null(PARSE(PLANE "\x03\x62\x67\x70" BATCH "\x01\x61" BATCH "\x02\x62\x63" PLANE "\x00"));
	assert_memory_equal(batch.data, "bc", 2);
	assert_string_equal(batch.plane, "network");
}

static void
test_unknown_fields(void **state)
{
	struct wire_batch batch;

	/* field 99: varint, eight bytes, bytes, four bytes */
	assert_null(PARSE("\x98\x06\xff\xff\x03\x99\x06\x31\x32\x33\x34\x35\x36\x37\x38\x9a\x06\x02\x78"
	                  "\x79\x9d\x06\x31\x32\x33\x34" BATCH "\x01\x61"));
	assert_int_equal(batch.len, 1);
}

static void
test_refused(void **state)
{
	struct wire_batch batch;
	const char *wrong;

	assert_non_null(PARSE(""));
	assert_non_null(PARSE(BATCH));
	assert_non_null(PARSE(BATCH "\x00"));
	assert_non_null(PARSE(BATCH "\x03\x61\x62"));
	assert_non_null(PARSE(BATCH "\x01\x61" PLANE));
	assert_non_null(PARSE(BATCH "\x01\x61\x9d\x06\x31\x32\x33")); /* four bytes, three are there */
	assert_non_null(PARSE(BATCH "\x01\x61\x98\x06"));             /* a number, none is there */
	assert_non_null(PARSE("\x20\x01"));                           /* batch as a number */
	assert_non_null(PARSE("\x28\x01" BATCH "\x01\x61"));          /* plane as a number */
	assert_non_null(PARSE("\x02\x00" BATCH "\x01\x61"));          /* field 0 */
	assert_non_null(PARSE("\x9b\x06" BATCH "\x01\x61"));          /* a group */
	assert_non_null(PARSE("\x9e\x06" BATCH "\x01\x61"));          /* type 6 */
	assert_non_null(PARSE("\xa2\x80\x80\x80\x80\x01\x01\x61"));   /* a tag over 32 bits wide */
	assert_non_null(PARSE(BATCH "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x61"));
	assert_non_null(PARSE(BATCH "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x61"));
	assert_non_null(PARSE(BATCH "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x61"));
	assert_non_null(PARSE(BATCH "\x01\x61" PLANE "\x01\x41"));
	assert_non_null(
	    PARSE(BATCH "\x01\x61" PLANE
	                "\x11\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61"));
	assert_null(PARSE(BATCH
	                  "\x01\x61" PLANE
	                  "\x10\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61\x61"));

	/* what the early schema had */
	wrong = PARSE("\x0a\x01\x78" BATCH "\x01\x61");
	assert_non_null(wrong);
	assert_non_null(strstr(wrong, "sequence numbers"));
}

/* Every beginning of a good message is refused without reading past its end. */
static void
test_cut_off(void **state)
{
	static const char message[] = PLANE "\x03\x62\x67\x70" BATCH "\x05\x61\x62\x63\x64\x65";
	struct wire_batch batch;

	for (size_t len = 0; len < sizeof(message) - 1; len++)
		assert_non_null(wire_batch_parse(message, len, &batch));
	assert_null(wire_batch_parse(message, sizeof(message) - 1, &batch));
}

#define EPOCH           "\x08"
#define SEQ             "\x10"
#define RECORD          "\x1a"
#define ENVELOPE(text)  wire_envelope_parse(text, sizeof(text) - 1, &envelope)
#define BIGGEST_63_BITS "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
#define FIRST_63_BITS   "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"

static void
test_envelope(void **state)
{
	struct wire_envelope envelope;

	assert_null(ENVELOPE(EPOCH "\x07" SEQ "\x96\x01" RECORD "\x02\x61\x62" RECORD "\x00"));
	assert_int_equal(envelope.epoch, 7);
	assert_int_equal(envelope.first_seq, 150);
	assert_int_equal(envelope.count, 2);
	/* any order, the last one counts, fields of the future are skipped */
	assert_null(ENVELOPE(RECORD "\x01\x61\x98\x06\x05" SEQ "\x09" EPOCH "\x01" SEQ "\x03"));
	assert_int_equal(envelope.first_seq, 3);
	assert_null(ENVELOPE(EPOCH BIGGEST_63_BITS SEQ "\x01" RECORD "\x00"));
}

static void
test_envelope_refused(void **state)
{
	struct wire_envelope envelope;

	assert_non_null(ENVELOPE(""));
	assert_non_null(ENVELOPE(SEQ "\x01" RECORD "\x00"));                     /* no epoch */
	assert_non_null(ENVELOPE(EPOCH "\x00" SEQ "\x01" RECORD "\x00"));        /* epoch 0 */
	assert_non_null(ENVELOPE(EPOCH FIRST_63_BITS SEQ "\x01" RECORD "\x00")); /* 64 bits */
	assert_non_null(ENVELOPE(EPOCH "\x01" RECORD "\x00"));                   /* no number */
	assert_non_null(ENVELOPE(EPOCH "\x01" SEQ BIGGEST_63_BITS RECORD "\x00"));
	assert_non_null(ENVELOPE(EPOCH "\x01" SEQ "\x01"));                   /* no record */
	assert_non_null(ENVELOPE(EPOCH "\x01" SEQ "\x01" RECORD "\x02\x61")); /* cut off */
	assert_non_null(ENVELOPE(EPOCH "\x01" SEQ "\x01\x18\x01"));           /* a record as number */
	assert_non_null(ENVELOPE("\x0a\x01\x01" SEQ "\x01" RECORD "\x00"));   /* an epoch as bytes */
	assert_non_null(ENVELOPE(EPOCH "\x01" SEQ "\x01" RECORD "\x00\x2b\x2c")); /* a group */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),     cmocka_unit_test(test_unknown_fields),
	    cmocka_unit_test(test_refused),  cmocka_unit_test(test_cut_off),
	    cmocka_unit_test(test_envelope), cmocka_unit_test(test_envelope_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
