/* SPDX-License-Identifier: PostgreSQL
 *
 * test_sketch.c -- a sketch answers within the error that it states, however values are spread, in pieces as in one, and
 * written and read it is the same.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metric/sketch.c"

#define VALUES 20000
#define PARTS  37

static uint64_t random_state = 88172645463325252ULL;

static uint64_t
random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double
random_unit(void)
{
	return (double) (random_next() >> 11) / 9007199254740992.0;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

enum shape
{
	SHAPE_NARROW, /* 12 to 16 */
	SHAPE_WHOLE,
	SHAPE_LOG,    /* over 12 powers of ten */
	SHAPE_SIGNED, /* both signs, and zeros */
	SHAPE_ALL,    /* every double there is */
	SHAPES
};

static double
value_make(enum shape shape)
{
	switch (shape)
	{
		case SHAPE_NARROW: return 12 + 4 * random_unit();
		case SHAPE_WHOLE: return (double) (random_next() % 50);
		case SHAPE_LOG: return pow(10, 12 * random_unit() - 6);
		case SHAPE_SIGNED: return random_next() % 5 == 0 ? 0 : (random_unit() - 0.5) * 1e4;
		default:
		{
			uint64_t bits;
			double value;

			do
			{
				bits = random_next();
				memcpy(&value, &bits, sizeof(value));
			} while (!isfinite(value) || fabs(value) < TINY);
			return value;
		}
	}
}

/* The error that may be seen: of the two neighbours, each by its own size. */
static void
assert_within(const Sketch *sketch, const double *sorted, size_t count, double q)
{
	double place = q * (double) (count - 1), part = place - floor(place);
	size_t below = (size_t) place, above = below + 1 < count ? below + 1 : below;
	double exact = sorted[below] * (1 - part) + sorted[above] * part;
	double bound = sketch_error(sketch) *
	               (fabs(sorted[below]) * (1 - part) + fabs(sorted[above]) * part);
	double got = sketch_quantile(sketch, q);

	if (!(fabs(got - exact) <= bound * (1 + 1e-9) + TINY))
		fail_msg("q %g: %g, exactly %g, more than %g away", q, got, exact, bound);
}

static void
test_error(void **state)
{
	static const double quantiles[] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1};
	static double values[VALUES];
	static Sketch whole, merged, part[PARTS], back;
	static uint8_t bytes[SKETCH_BYTES_MAX];

	for (enum shape shape = 0; shape < SHAPES; shape++)
	{
		size_t len;

		memset(&whole, 0, sizeof(whole));
		memset(&merged, 0, sizeof(merged));
		memset(part, 0, sizeof(part));
		for (int i = 0; i < VALUES; i++)
		{
			values[i] = value_make(shape);
			sketch_add(&whole, values[i], 1);
			sketch_add(&part[random_next() % PARTS], values[i], 1);
		}
		for (int i = 0; i < PARTS; i++)
			sketch_merge(&merged, &part[i]);
		qsort(values, VALUES, sizeof(double), compare);
		for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		{
			assert_within(&whole, values, VALUES, quantiles[i]);
			assert_within(&merged, values, VALUES, quantiles[i]);
		}
		/* What is merged is what one sketch would be. */
		assert_int_equal(sketch_count(&merged), VALUES);
		assert_int_equal(merged.collapses, whole.collapses);
		assert_int_equal(merged.bins, whole.bins);
		assert_memory_equal(merged.key, whole.key, whole.bins * sizeof(whole.key[0]));
		assert_memory_equal(merged.count, whole.count, whole.bins * sizeof(whole.count[0]));
		len = sketch_encode(bytes, &whole);
		assert_in_range(len, 2, SKETCH_BYTES_MAX);
		assert_true(sketch_decode(&back, bytes, len));
		assert_int_equal(back.bins, whole.bins);
		assert_memory_equal(back.key, whole.key, whole.bins * sizeof(whole.key[0]));
		assert_memory_equal(back.count, whole.count, whole.bins * sizeof(whole.count[0]));
		for (size_t cut = 0; cut < len; cut++)
			assert_false(sketch_decode(&back, bytes, cut));
	}
}

static void
test_bounds(void **state)
{
	Sketch sketch = {0};

	/* What is stated in the header: one collapse for a factor of some 600, none for 24. */
	assert_true(fabs(sketch_error(&sketch) - SKETCH_ERROR) < 1e-12);
	for (double value = 1.01; value < 24; value *= 1.001)
		sketch_add(&sketch, value, 1);
	assert_int_equal(sketch.collapses, 0);
	for (double value = 1.01; value < 580; value *= 1.001)
		sketch_add(&sketch, value, 1);
	assert_int_equal(sketch.collapses, 1);
	assert_true(sketch_error(&sketch) < 0.02);
	/* One value is one bin, and counts are counts. */
	memset(&sketch, 0, sizeof(sketch));
	sketch_add(&sketch, 100, 5);
	sketch_add(&sketch, 100, 7);
	assert_true(sketch.bins == 1 && sketch_count(&sketch) == 12);
	assert_true(fabs(sketch_quantile(&sketch, 0.3) - 100) <= 1);
	/* The ends of what there is. */
	memset(&sketch, 0, sizeof(sketch));
	sketch_add(&sketch, INFINITY, 1);
	sketch_add(&sketch, -INFINITY, 1);
	sketch_add(&sketch, 5e-324, 1);
	sketch_add(&sketch, -0.0, 1);
	assert_true(sketch_quantile(&sketch, 1) > 1e308 && sketch_quantile(&sketch, 0) < -1e308);
	assert_true(sketch_quantile(&sketch, 0.5) == 0);
}

static void
test_bad(void **state)
{
#define REFUSED(text) assert_false(sketch_decode(&sketch, text, sizeof(text) - 1))
	static Sketch sketch;

	/* collapses bins, then difference and count of each */
	assert_true(sketch_decode(&sketch, "\x00\x00", 2));
	assert_true(sketch_decode(&sketch, "\x00\x01\x80\x80\x08\x03", 6));
	assert_true(sketch.key[0] == 0 && sketch.count[0] == 3);
	REFUSED("");
	REFUSED("\x00");
	REFUSED("\x0f\x00");
	REFUSED("\x00\xa1\x01");
	/* The same bin twice, a bin of nothing, beyond the last key, a varint without end, something behind. */
	REFUSED("\x00\x02\x80\x80\x08\x03\x00\x01");
	REFUSED("\x00\x01\x80\x80\x08\x00");
	REFUSED("\x00\x01\x81\x80\x10\x01");
	REFUSED("\x00\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
	REFUSED("\x00\x00\x00");
	REFUSED("\x00\x01\x80\x80\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
#undef REFUSED
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_error),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
