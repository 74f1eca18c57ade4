/* SPDX-License-Identifier: PostgreSQL
 *
 * test_sheet.c -- a sheet gives back what was put in, bit for bit, finds each series and no other, and refuses what is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metric/sheet.c"

#define SERIES 40

/* Series i begins with i * 2, so that there is room between any two. */
static void
series_name(uint8_t *series, int i)
{
	memset(series, 0x5a, SHEET_SERIES_BYTES);
	series[0] = (uint8_t) (i * 2);
}

static const uint8_t chunk_of_two[] = {0xB1, 1, 0, 2, 3, 4, 0, 5, 6};

/* By hand, field by field: one sample, then one with a chunk. */
static const uint8_t by_hand[] = {
    0xB2, 2, 0,                             /* magic, count */
    0,    1, 2,  3,  4,  5,  6,    7,       /* series */
    8,    9, 10, 11, 12, 13, 14,   15,      /* */
    0x2a, 0, 0,  0,  0,  0,  0,    0,       /* time 42 */
    0,    0, 0,  0,  0,  0,  0xf8, 0x3f,    /* value 1.5 */
    0,    1, 2,  3,  4,  5,  6,    7,       /* series, another at its end */
    8,    9, 10, 11, 12, 13, 14,   16,      /* */
    0,    0, 0,  0,  0,  0,  0,    0x80,    /* SHEET_CHUNK */
    0,    0, 0,  0,  9,  0,  0,    0,       /* place 0, length 9 */
    0xB1, 1, 0,  2,  3,  4,  0,    5,    6, /* the chunk */
};

static void
test_by_hand(void **state)
{
	uint8_t out[sizeof(by_hand)];
	SheetEntry entries[2];
	Sheet sheet;

	assert_true(sheet_open(&sheet, by_hand, sizeof(by_hand)));
	assert_int_equal(sheet.count, 2);
	entries[0] = sheet_entry(&sheet, 0);
	entries[1] = sheet_entry(&sheet, 1);
	assert_null(entries[0].chunk);
	assert_int_equal(entries[0].time, 42);
	assert_true(entries[0].value == 1.5);
	assert_int_equal(entries[1].len, sizeof(chunk_of_two));
	assert_memory_equal(entries[1].chunk, chunk_of_two, sizeof(chunk_of_two));
	assert_int_equal(sheet_write(out, entries, 2), sizeof(by_hand));
	assert_memory_equal(out, by_hand, sizeof(by_hand));
}

/* Each byte that says where something is, wrong. */
static void
test_broken(void **state)
{
	static const struct
	{
		const char *what;
		size_t at;
		uint8_t is;
	} broken[] = {
	    {"magic", 0, 0xB1},
	    {"no series", 1, 0},
	    {"more series than there are", 1, 3},
	    {"many more", 2, 0x80},
	    {"a series twice", 3 + 32 + 15, 15},
	    {"series that descend", 3, 1},
	    {"one sample where the chunk is", 3 + 32 + 16 + 7, 0x7f},
	    {"a chunk that begins behind the first", 3 + 32 + 24, 1},
	    {"a chunk far away", 3 + 32 + 27, 0x80},
	    {"no length", 3 + 32 + 28, 0},
	    {"too short", 3 + 32 + 28, 8},
	    {"too long", 3 + 32 + 28, 10},
	    {"far too long", 3 + 32 + 31, 0xff},
	};
	uint8_t bytes[sizeof(by_hand) + 1];
	Sheet sheet;

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		memcpy(bytes, by_hand, sizeof(by_hand));
		bytes[broken[i].at] = broken[i].is;
		if (sheet_open(&sheet, bytes, sizeof(by_hand)))
			fail_msg("taken: %s", broken[i].what);
	}
	memcpy(bytes, by_hand, sizeof(by_hand));
	bytes[sizeof(by_hand)] = 0;
	for (size_t len = 0; len <= sizeof(bytes); len++)
	{
		/* Of its own length, so that reading behind it is seen. */
		uint8_t *part = malloc(len + 1);

		memcpy(part + 1, bytes, len);
		assert_int_equal(sheet_open(&sheet, part + 1, len), len == sizeof(by_hand));
		free(part);
	}
}

static void
test_there_and_back(void **state)
{
	static uint8_t out[SHEET_HEAD_BYTES + SERIES * (SHEET_ENTRY_BYTES + sizeof(chunk_of_two))];
	static const uint64_t odd[] = {0x7ff0000000000002, 0x7ff8000000000000, 0x8000000000000000, 1};
	uint8_t series[SERIES][SHEET_SERIES_BYTES], other[SHEET_SERIES_BYTES];
	SheetEntry entries[SERIES], found;
	Sheet sheet;
	size_t len;

	for (int i = 0; i < SERIES; i++)
	{
		series_name(series[i], i);
		entries[i] = (SheetEntry){.series = series[i]};
		if (i % 3 == 1)
		{
			entries[i].chunk = chunk_of_two;
			entries[i].len = sizeof(chunk_of_two);
			continue;
		}
		entries[i].time = i == 0 ? INT64_MAX : i == 2 ? INT64_MIN + 1 : 800000000000000 + i;
		memcpy(&entries[i].value, &odd[i % 4], 8);
	}
	for (uint32_t count = 1; count <= SERIES; count++)
	{
		len = sheet_write(out, entries, count);
		assert_true(sheet_open(&sheet, out, len));
		assert_int_equal(sheet.count, count);
		for (int i = 0; i < SERIES; i++)
		{
			assert_int_equal(sheet_find(&sheet, series[i], &found), (uint32_t) i < count);
			series_name(other, i);
			other[SHEET_SERIES_BYTES - 1]++;
			assert_false(sheet_find(&sheet, other, &found));
			if ((uint32_t) i >= count)
				continue;
			found = sheet_entry(&sheet, (uint32_t) i);
			assert_memory_equal(found.series, series[i], SHEET_SERIES_BYTES);
			assert_int_equal(found.len, entries[i].len);
			assert_int_equal(found.chunk != NULL, i % 3 == 1);
			assert_true(found.chunk != NULL || found.time == entries[i].time);
			assert_memory_equal(&found.value, &entries[i].value, 8);
		}
	}
}

static void
test_not_written(void **state)
{
	static uint8_t out[SHEET_HEAD_BYTES + 3 * SHEET_ENTRY_BYTES];
	uint8_t series[2][SHEET_SERIES_BYTES];
	SheetEntry entries[2] = {{.series = series[0]}, {.series = series[1]}};

	series_name(series[0], 1);
	series_name(series[1], 2);
	assert_true(sheet_write(out, entries, 2) > 0);
	assert_int_equal(sheet_write(out, entries, 0), 0);
	entries[1].time = SHEET_CHUNK;
	assert_int_equal(sheet_write(out, entries, 2), 0);
	entries[1].time = 0;
	series_name(series[1], 1);
	assert_int_equal(sheet_write(out, entries, 2), 0);
	series_name(series[1], 0);
	assert_int_equal(sheet_write(out, entries, 2), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_by_hand),
	    cmocka_unit_test(test_broken),
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
