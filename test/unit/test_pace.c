/* SPDX-License-Identifier: PostgreSQL
 *
 * test_pace.c -- slots of packets: how long a timer has to run, by how late it is set.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

#include <cmocka.h>

#include "agent/pace.h"
#include "agent/probe.h"

#define MS      INT64_C(1000000)
#define SPACING (1000 * MS)
#define CLOCK   (20 * MS) /* what the clocks of the loop and of the timers differ in */

static struct event_base *base;
static int sent;

static void
on_slot(evutil_socket_t fd, short what, void *arg)
{
	struct pace *pace = arg;

	if (++sent < 4)
		pace_wait(pace, (uint32_t) sent);
}

/* Time until on_slot is called. */
static int64_t
due(const struct pace *pace)
{
	struct timeval at, now;

	assert_true(evtimer_pending(&pace->timer, &at));
	gettimeofday(&now, NULL);
	return (at.tv_sec - now.tv_sec) * 1000 * MS + (at.tv_usec - now.tv_usec) * 1000;
}

/* Slot of packet 1, when the one of packet 0 began so long ago. */
static void
expect_due(struct pace *pace, int64_t ago, int64_t want)
{
	int64_t before = probe_now(), left;

	pace->first_at = before - ago;
	pace_wait(pace, 1);
	left = due(pace);
	assert_true(left <= want + CLOCK);
	assert_true(left >= want - CLOCK - (probe_now() - before));
	pace_stop(pace);
}

static int
setup(void **state)
{
	base = event_base_new();
	sent = 0;
	return base == NULL;
}

static int
teardown(void **state)
{
	event_base_free(base);
	return 0;
}

static void
test_late_packets_do_not_delay_others(void **state)
{
	struct pace pace;

	pace_init(&pace, base, on_slot, &pace);
	pace_begin(&pace, SPACING);
	expect_due(&pace, 0, SPACING);
	expect_due(&pace, MS / 2, SPACING);
	expect_due(&pace, 100 * MS, SPACING - 100 * MS);
	expect_due(&pace, SPACING, 0);
	expect_due(&pace, 10 * SPACING, 0);
}

static void
test_odd_spacings_have_timers_of_their_own(void **state)
{
	struct pace pace;

	pace_init(&pace, base, on_slot, &pace);
	pace_begin(&pace, SPACING + 1);
	assert_null(pace.even);
	expect_due(&pace, 0, SPACING);
	expect_due(&pace, 100 * MS, SPACING - 100 * MS);
	pace_begin(&pace, 0);
	assert_null(pace.even);
	expect_due(&pace, 0, 0);
}

/* Two rounds share the queue of their spacing: each keeps its own slots. */
static void
test_rounds_of_one_spacing(void **state)
{
	struct pace first, second;

	pace_init(&first, base, on_slot, &first);
	pace_init(&second, base, on_slot, &second);
	pace_begin(&first, SPACING);
	pace_begin(&second, SPACING);
	assert_non_null(first.even);
	assert_ptr_equal(first.even, second.even);
	pace_wait(&first, 1);
	expect_due(&second, 0, SPACING);
	assert_true(due(&first) <= SPACING + CLOCK);
	pace_stop(&first);
	assert_false(evtimer_pending(&first.timer, NULL));
}

static void
test_slots_come_in_turn(void **state)
{
	struct pace pace;
	int64_t began;

	pace_init(&pace, base, on_slot, &pace);
	pace_begin(&pace, 10 * MS);
	assert_non_null(pace.even);
	began = pace_slot(&pace, 0);
	pace_wait(&pace, 0);
	event_base_dispatch(base);
	assert_int_equal(sent, 4);
	assert_int_equal(pace_slot(&pace, 3), began + 30 * MS);
	assert_true(probe_now() >= began + 30 * MS - CLOCK);
}

static void
test_a_full_queue_is_tried_again(void **state)
{
	struct pace pace;

	pace_init(&pace, base, on_slot, &pace);
	pace_begin(&pace, SPACING);
	pace_again(&pace);
	assert_true(due(&pace) <= 2 * MS + CLOCK);
	pace_stop(&pace);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_late_packets_do_not_delay_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_odd_spacings_have_timers_of_their_own, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(test_rounds_of_one_spacing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slots_come_in_turn, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_full_queue_is_tried_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
