/* SPDX-License-Identifier: PostgreSQL
 *
 * test_backoff.c -- 1 s doubling to 30 s, jitter, forgotten after a healthy minute.
 */
#include "unit.h"

#include "lib/backoff.h"
#include "lib/clock.h"

static void
doubles_to_the_maximum(void **state)
{
	const int64_t want[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
	struct backoff b;

	backoff_init(&b, 1000, 30000, 60000);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(backoff_down(&b, 1, 0), want[i]);
}

static void
jitter_takes_up_to_half(void **state)
{
	struct backoff b;

	for (uint32_t random = 0; random < UINT32_MAX - 99999999; random += 99999999)
	{
		int64_t delay;

		backoff_init(&b, 1000, 30000, 60000);
		delay = backoff_down(&b, 1, random);
		assert_in_range(delay, 500, 1000);
	}
	backoff_init(&b, 1000, 30000, 60000);
	assert_int_equal(backoff_down(&b, 1, UINT32_MAX), 501);
}

static void
a_healthy_minute_resets(void **state)
{
	const int64_t minute = 60 * NANO_PER_SECOND;
	struct backoff b;

	backoff_init(&b, 1000, 30000, 60000);
	backoff_down(&b, 1, 0);
	backoff_down(&b, 1, 0);
	backoff_up(&b, 1);
	assert_int_equal(backoff_down(&b, minute, 0), 4000); /* one nanosecond too early */
	backoff_up(&b, 1);
	assert_int_equal(backoff_down(&b, minute + 1, 0), 1000);
	assert_int_equal(backoff_down(&b, 100 * minute, 0), 2000); /* never was up in between */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(doubles_to_the_maximum),
	    cmocka_unit_test(jitter_takes_up_to_half),
	    cmocka_unit_test(a_healthy_minute_resets),
	};

	return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
