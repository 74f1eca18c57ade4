/* SPDX-License-Identifier: PostgreSQL
 *
 * test_chunk.c -- chunks give back what was put in, bit for bit, and refuse what is none; buckets, quantiles and
 * correlation by hand-made numbers. (sql/metric_query.sql compares them with SQL on random ones.)
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metric/chunk.c"
#include "metric/fold.c"

static uint64_t random_state = 88172645463325252ULL;

static uint64_t
random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Encodes, decodes, compares; returns the size. */
static size_t
there_and_back(const Chunk *chunk)
{
	static uint8_t bytes[CHUNK_BYTES_MAX + CHUNK_SAMPLES_MAX * 64];
	static Chunk back;
	size_t len = chunk_encode(bytes, chunk);

	assert_true(len > 0 && len <= chunk_bytes_max(chunk) && len < sizeof(bytes));
	assert_true(chunk_decode(&back, bytes, len));
	assert_int_equal(back.count, chunk->count);
	assert_int_equal(back.columns, chunk->columns);
	assert_memory_equal(back.times, chunk->times, chunk->count * sizeof(int64_t));
	for (uint32_t i = 0; i < chunk->columns; i++)
		assert_memory_equal(back.values[i], chunk->values[i], chunk->count * sizeof(double));
	assert_int_equal(back.rests, chunk->rests);
	for (uint32_t i = 0; chunk->rests && i < chunk->count; i++)
	{
		assert_int_equal(back.rest[i].len, chunk->rest[i].len);
		if (chunk->rest[i].len > 0)
			assert_memory_equal(back.rest[i].at, chunk->rest[i].at, chunk->rest[i].len);
	}
	/* No prefix is a chunk, nor anything with more behind. */
	for (size_t cut = 0; cut < len; cut++)
		assert_false(chunk_decode(&back, bytes, cut));
	bytes[len] = 0;
	assert_false(chunk_decode(&back, bytes, len + 1));
	return len;
}

static void
test_probe(void **state)
{
	static Chunk chunk = {.columns = 1, .count = CHUNK_SAMPLES_MAX};

	/* A probe a minute that starts some milliseconds late, milliseconds with three decimals. */
	for (int i = 0; i < CHUNK_SAMPLES_MAX; i++)
	{
		chunk.times[i] = 800000000000000LL + i * 60000000LL + (int64_t) (random_next() % 5000);
		chunk.values[0][i] = (double) (12000 + random_next() % 4000) / 1000.0;
	}
	assert_in_range(there_and_back(&chunk), 1, CHUNK_SAMPLES_MAX * 9 / 2);
	/* On the second, and nothing changes. */
	for (int i = 0; i < CHUNK_SAMPLES_MAX; i++)
	{
		chunk.times[i] = 800000000000000LL + i * 60000000LL;
		chunk.values[0][i] = 1;
	}
	assert_in_range(there_and_back(&chunk), 1, CHUNK_SAMPLES_MAX * 2 + 24);
}

static void
test_values(void **state)
{
	static const double odd[] = {0.0,
	                             -0.0,
	                             INFINITY,
	                             -INFINITY,
	                             1e308,
	                             -1e308,
	                             5e-324,
	                             1.0 / 3,
	                             9007199254740992.0,
	                             9007199254740993.0,
	                             9007199254740994.0,
	                             -9007199254740992.0,
	                             0.1,
	                             0.000000001,
	                             0.0000000001,
	                             123456789.123456789,
	                             M_PI,
	                             1,
	                             1};
	static Chunk chunk = {.columns = 1};
	uint64_t nan_bits = 0x7ff8000000000123ULL;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
	{
		chunk.count = 1;
		chunk.times[0] = (int64_t) random_next();
		chunk.values[0][0] = odd[i];
		there_and_back(&chunk);
	}
	/* Each after each other. */
	chunk.count = 2;
	chunk.times[0] = 0;
	chunk.times[1] = 1;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		for (size_t j = 0; j < sizeof(odd) / sizeof(odd[0]); j++)
		{
			chunk.values[0][0] = odd[i];
			chunk.values[0][1] = odd[j];
			there_and_back(&chunk);
		}
	memcpy(&chunk.values[0][0], &nan_bits, sizeof(nan_bits));
	there_and_back(&chunk);
}

static void
test_random(void **state)
{
	static Chunk chunk;

	static uint8_t rest[64];

	for (size_t i = 0; i < sizeof(rest); i++)
		rest[i] = (uint8_t) random_next();
	for (int round = 0; round < 200; round++)
	{
		int64_t time = (int64_t) random_next() >> 8;
		int kind = round % 4;

		chunk.columns = 1 + random_next() % CHUNK_COLUMNS_MAX;
		chunk.count = 1 + random_next() % CHUNK_SAMPLES_MAX;
		chunk.rests = round % 3 == 0;
		for (uint32_t i = 0; i < chunk.count; i++)
			chunk.rest[i] = (ChunkRest){.at = rest, .len = random_next() % (sizeof(rest) - 2)};
		for (uint32_t i = 0; i < chunk.count; i++)
		{
			time += 1 + (int64_t) (random_next() >> (kind * 15 + 10));
			chunk.times[i] = time;
			for (uint32_t c = 0; c < chunk.columns; c++)
			{
				uint64_t bits = random_next();

				if (c % 2 == 0)
					memcpy(&chunk.values[c][i], &bits, sizeof(bits));
				else
					chunk.values[c][i] = (double) (int32_t) bits / 1e6;
			}
		}
		there_and_back(&chunk);
	}
}

static void
test_times(void **state)
{
	static Chunk chunk = {.columns = 1, .count = 3, .times = {INT64_MIN, 0, INT64_MAX}};
	static uint8_t bytes[CHUNK_BYTES_MAX];

	there_and_back(&chunk);
	chunk.times[1] = INT64_MIN;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
	chunk.times[1] = INT64_MAX;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
	chunk.times[1] = 0;
	chunk.count = 0;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
	chunk.count = CHUNK_SAMPLES_MAX + 1;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
	chunk.count = 3;
	chunk.columns = 0;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
	chunk.columns = CHUNK_COLUMNS_MAX + 1;
	assert_int_equal(chunk_encode(bytes, &chunk), 0);
}

static void
test_bad(void **state)
{
#define REFUSED(text) assert_false(chunk_decode(&chunk, text, sizeof(text) - 1))
	static Chunk chunk;

	/* magic columns unit count first coding value */
	assert_true(chunk_decode(&chunk, "\xb1\x01\x00\x01\x02\x01\x0e", 7));
	assert_true(chunk.times[0] == 1 && chunk.values[0][0] == 0.7);
	REFUSED("");
	REFUSED("\xb2\x01\x00\x01\x02\x01\x0e");
	REFUSED("\xb1\x00\x00\x01\x02\x01\x0e");
	REFUSED("\xb1\x06\x00\x01\x02\x01\x0e");
	REFUSED("\xb1\x01\x03\x01\x02\x01\x0e");
	REFUSED("\xb1\x01\x00\x00\x02\x01\x0e");
	REFUSED("\xb1\x01\x00\xf1\x01\x02\x01\x0e");
	REFUSED("\xb1\x01\x00\x01\x02\x0a\x0e");
	/* The second time is the first. */
	REFUSED("\xb1\x01\x00\x02\x02\x00\x01\x0e\x00");
	assert_true(chunk_decode(&chunk, "\xb1\x01\x00\x02\x02\x02\x01\x0e\x00", 9));
	/* A difference that is more than all time, in seconds. */
	REFUSED("\xb1\x01\x02\x02\x02\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x0e\x00");
	/* XOR of nine bytes; of none. */
	REFUSED("\xb1\x01\x00\x01\x02\x10\x0f");
	assert_true(chunk_decode(&chunk, "\xb1\x01\x00\x01\x02\x10\x80", 7));
	assert_true(chunk.values[0][0] == 0);
	assert_true(chunk_decode(&chunk, "\xb1\x01\x00\x01\x02\x10\x08", 7));
	/* Rests: of each row, no more than there is, and no longer than one may be. */
	assert_true(chunk_decode(&chunk, "\xb1\x81\x00\x01\x02\x01\x0e\x00", 8));
	assert_true(chunk_decode(&chunk,
	                         "\xb1\x81\x00\x01\x02\x01\x0e\x02"
	                         "ab",
	                         10));
	assert_true(chunk.rests && chunk.rest[0].len == 2 && memcmp(chunk.rest[0].at, "ab", 2) == 0);
	REFUSED("\xb1\x81\x00\x01\x02\x01\x0e");
	REFUSED("\xb1\x81\x00\x01\x02\x01\x0e\x02"
	        "a");
	REFUSED("\xb1\x81\x00\x01\x02\x01\x0e\x81\x20"
	        "a");
	REFUSED("\xb1\x80\x00\x01\x02\x01\x0e");
	/* A varint that does not end. */
	REFUSED("\xb1\x01\x00\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01\x0e");
#undef REFUSED
}

static void
test_fold(void **state)
{
	const int64_t times[] = {-5, 0, 9, 10, 25, 29, 30, 99, 100};
	const double values[] = {50, 1, 4, 2, 8, 3, 5, 6, 7};
	MetricBucket bucket[10] = {0};
	MetricFold fold = {.step = 10,
	                   .buckets = metric_fold_buckets(0, 100, 10, 10),
	                   .bucket = bucket,
	                   .pairs = true};
	/* count, sum, min, max, last; those before and behind are left out. */
	static const Chunk rollup = {
	    .count = 4,
	    .columns = ROLLUP_COLUMNS,
	    .rests = true,
	    .times = {-1, 40, 45, 100},
	    .values = {{1, 2, 1, 1}, {1, 10, 1, 1}, {1, 4, 1, 1}, {1, 6, 1, 1}, {1, 5, 1, 1}}};
	double value;

	assert_int_equal(fold.buckets, 10);
	/* In pieces as in one. */
	metric_fold_samples(&fold, times, values, 4);
	metric_fold_samples(&fold, times + 4, values + 4, 5);
	assert_true(bucket[0].count == 2 && bucket[0].sum == 5 && bucket[0].first == 1 &&
	            bucket[0].last == 4);
	assert_true(bucket[0].pairs == 1 && bucket[0].delta == 3 && bucket[0].increase == 3);
	assert_true(bucket[1].count == 1 && bucket[1].delta == -2 && bucket[1].increase == 2);
	assert_true(bucket[2].count == 2 && bucket[2].min == 3 && bucket[2].max == 8 &&
	            bucket[2].delta == 1 && bucket[2].increase == 9 && bucket[2].covered == 19);
	assert_true(bucket[3].count == 1 && bucket[4].count == 0 && bucket[9].count == 1);
	assert_true(metric_fold_value(&bucket[2], METRIC_AVG, &value) && value == 5.5);
	assert_true(metric_fold_value(&bucket[2], METRIC_RATE, &value) && value == 9 / 19e-6);
	assert_false(metric_fold_value(&bucket[4], METRIC_COUNT, &value));
	assert_false(metric_fold_value(&bucket[4], METRIC_RATE, &value));
	for (uint32_t i = 0; i < rollup.count; i++)
		metric_fold_rollup(&fold, &rollup, i);
	assert_true(bucket[4].count == 3 && bucket[4].sum == 11 && bucket[4].min == 1 &&
	            bucket[4].max == 6 && bucket[4].last == 1);
	assert_int_equal(metric_fold_buckets(0, 0, 10, 10), 0);
	assert_int_equal(metric_fold_buckets(0, 101, 10, 10), -1);
	assert_int_equal(metric_fold_buckets(0, 91, 10, 10), 10);
	assert_int_equal(metric_fold_buckets(0, 1, 0, 10), -1);
	assert_int_equal(metric_fold_buckets(INT64_MIN, INT64_MAX, 1, 10), -1);
	assert_int_equal(metric_fold_buckets(INT64_MIN, INT64_MAX, INT64_MAX, 10), -1);
}

/* Markers are gaps: no sample, no pair over them; what is no number is left out and pairs reach over it. */
static void
test_markers(void **state)
{
	const int64_t times[] = {0, 5, 10, 15, 20, 25, 30, 35, 40};
	const double values[] = {1, 3, metric_stale(), 10, 12, NAN, 15, metric_stale(), metric_stale()};
	MetricBucket bucket[5] = {0};
	MetricFold fold = {.step = 10, .buckets = 5, .bucket = bucket, .pairs = true};
	static const uint8_t ended[] = {ROLLUP_ENDED};
	/* Samples and an end; nothing but what is no number; an end alone. */
	static const Chunk rollup = {.count = 3,
	                             .columns = ROLLUP_COLUMNS,
	                             .rests = true,
	                             .rest = {{.at = ended, .len = 1}, {0}, {.at = ended, .len = 1}},
	                             .times = {0, 5, 10},
	                             .values = {{2}, {3}, {1}, {2}, {2}}};
	double value;

	assert_true(metric_is_stale(values[2]) && !metric_is_stale(NAN) && !metric_is_stale(0));
	metric_fold_samples(&fold, times, values, 9);
	assert_true(bucket[0].count == 2 && !bucket[0].ended && bucket[0].increase == 2);
	/* It ended and went on. */
	assert_true(bucket[1].count == 1 && !bucket[1].ended && bucket[1].pairs == 0);
	assert_true(bucket[2].count == 1 && bucket[2].delta == 2);
	assert_true(bucket[3].count == 1 && bucket[3].ended && bucket[3].delta == 3 &&
	            bucket[3].last == 15);
	assert_true(bucket[4].count == 0 && bucket[4].ended);
	assert_false(metric_fold_value(&bucket[4], METRIC_LAST, &value));
	memset(bucket, 0, sizeof(bucket));
	for (uint32_t i = 0; i < rollup.count; i++)
		metric_fold_rollup(&fold, &rollup, i);
	assert_true(bucket[0].count == 2 && bucket[0].ended && bucket[0].min == 1);
	assert_true(bucket[1].count == 0 && bucket[1].ended);
}

static void
test_statistics(void **state)
{
	double values[] = {5, 1, 4, 2}, one[] = {3};
	const double x[] = {1, 2, 3, 4}, y[] = {2, 4, 6, 8}, z[] = {8, 6, 4, 2}, flat[] = {1, 1, 1, 1};
	double r;

	assert_true(metric_quantile(values, 4, 0) == 1 && metric_quantile(values, 4, 1) == 5);
	assert_true(metric_quantile(values, 4, 0.5) == 3);
	assert_true(metric_quantile(one, 1, 0.99) == 3);
	assert_true(metric_correlation(x, y, 4, &r) && fabs(r - 1) < 1e-12);
	assert_true(metric_correlation(x, z, 4, &r) && fabs(r + 1) < 1e-12);
	assert_false(metric_correlation(x, flat, 4, &r));
	assert_false(metric_correlation(x, y, 1, &r));
	assert_int_equal(metric_function_find("quantile", 8), METRIC_QUANTILE);
	assert_int_equal(metric_function_find("rat", 3), METRIC_FUNCTIONS);
	assert_string_equal(metric_function_name(METRIC_INCREASE), "increase");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_probe),   cmocka_unit_test(test_values),
	    cmocka_unit_test(test_random),  cmocka_unit_test(test_times),
	    cmocka_unit_test(test_bad),     cmocka_unit_test(test_fold),
	    cmocka_unit_test(test_markers), cmocka_unit_test(test_statistics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
