/* SPDX-License-Identifier: PostgreSQL
 *
 * test_stats.c -- loss, spread, jitter, duplicates and reordering of a round.
 *
 * Expected figures are worked out by hand in the comments beside them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "agent/stats.h"

static void
feed(struct stats *s, const double *ms, uint32_t count)
{
	stats_init(s);
	for (uint32_t i = 0; i < count; i++)
	{
		stats_sent(s);
		assert_true(stats_received(s, i, ms[i]));
	}
}

static double
metric(const struct result *r, const char *name)
{
	for (size_t i = 0; i < r->metric_count; i++)
		if (strcmp(r->metrics[i].name, name) == 0)
			return r->metrics[i].value;
	return NAN;
}

static void
test_nothing_sent(void **state)
{
	struct stats s;
	struct result r = {0};

	stats_init(&s);
	stats_emit(&s, &stats_rtt, &r);
	assert_true(metric(&r, "loss.ratio") == 0);
	assert_true(isnan(metric(&r, "rtt.avg.ms")));
}

static void
test_spread(void **state)
{
	/* sum 40, mean 5, squared distances 9+1+1+1+0+0+4+16 = 32, 32/8 = 4, root 2 */
	const double ms[] = {2, 4, 4, 4, 5, 5, 7, 9};
	struct stats s;
	struct result r = {0};

	feed(&s, ms, 8);
	stats_emit(&s, &stats_rtt, &r);
	assert_true(metric(&r, "rtt.min.ms") == 2);
	assert_true(metric(&r, "rtt.avg.ms") == 5);
	assert_true(metric(&r, "rtt.max.ms") == 9);
	assert_true(metric(&r, "rtt.stddev.ms") == 2);
	/* 2+0+0+1+0+2+2 = 7 over 7 pairs */
	assert_true(metric(&r, "jitter.ms") == 1);
	assert_true(metric(&r, "packets.sent") == 8);
	assert_true(metric(&r, "packets.received") == 8);
}

/* A sum of squares in doubles would give 0 or worse here. */
static void
test_spread_far_from_zero(void **state)
{
	const double ms[] = {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16};
	struct stats s;

	feed(&s, ms, 4); /* distances 6, 3, 3, 6: 90 / 4 = 22.5 */
	assert_true(stats_stddev(&s) == 4.743);
}

static void
test_median(void **state)
{
	const double odd[] = {9, 1, 5}, even[] = {100, 1, 3, 2}, one[] = {0.25};
	struct stats s;
	struct result r = {0};

	feed(&s, odd, 3);
	assert_true(stats_median(&s) == 5);
	feed(&s, even, 4); /* 1 2 3 100: between 2 and 3 */
	assert_true(stats_median(&s) == 2.5);
	assert_false(stats_received(&s, 0, 50)); /* a duplicate changes nothing */
	assert_true(stats_median(&s) == 2.5);
	feed(&s, one, 1);
	stats_emit(&s, &stats_rtt, &r);
	assert_true(metric(&r, "rtt.median.ms") == 0.25);
}

static void
test_loss_has_four_decimals(void **state)
{
	struct stats s;

	stats_init(&s);
	for (int i = 0; i < 3; i++)
		stats_sent(&s);
	stats_received(&s, 1, 1);
	assert_true(stats_loss(&s) == 0.6667);
}

static void
test_duplicates_change_no_time(void **state)
{
	const double ms[] = {1, 3};
	struct stats s;

	feed(&s, ms, 2);
	assert_false(stats_received(&s, 0, 500));
	assert_false(stats_received(&s, 1, 500));
	assert_int_equal(s.duplicates, 2);
	assert_int_equal(s.received, 2);
	assert_true(s.max == 3);
	assert_true(stats_jitter(&s) == 2);
}

static void
test_reordering_counts_late_ones(void **state)
{
	struct stats s;

	stats_init(&s);
	for (int i = 0; i < 5; i++)
		stats_sent(&s);
	/* 0 2 1 4 3: packets 1 and 3 came after a later one */
	stats_received(&s, 0, 1);
	stats_received(&s, 2, 1);
	stats_received(&s, 1, 1);
	stats_received(&s, 4, 1);
	stats_received(&s, 3, 1);
	assert_int_equal(s.reordered, 2);
}

static void
test_one_answer_has_no_jitter(void **state)
{
	const double ms[] = {1.23456};
	struct stats s;
	struct result r = {0};

	feed(&s, ms, 1);
	stats_emit_packets(&s, &stats_connect, &r);
	assert_true(metric(&r, "connect.avg.ms") == 1.235);
	assert_true(metric(&r, "connect.stddev.ms") == 0);
	assert_true(metric(&r, "jitter.ms") == 0);
	assert_true(metric(&r, "packets.duplicates") == 0);
	assert_true(metric(&r, "packets.reordered") == 0);
}

static void
test_number_beyond_the_round_is_ignored(void **state)
{
	struct stats s;

	stats_init(&s);
	assert_false(stats_received(&s, STATS_PROBES_MAX, 1));
	assert_int_equal(s.received, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_sent),
	    cmocka_unit_test(test_spread),
	    cmocka_unit_test(test_spread_far_from_zero),
	    cmocka_unit_test(test_median),
	    cmocka_unit_test(test_loss_has_four_decimals),
	    cmocka_unit_test(test_duplicates_change_no_time),
	    cmocka_unit_test(test_reordering_counts_late_ones),
	    cmocka_unit_test(test_one_answer_has_no_jitter),
	    cmocka_unit_test(test_number_beyond_the_round_is_ignored),
	};

	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
