/* SPDX-License-Identifier: PostgreSQL
 *
 * test_sched.c -- when tests run, with a clock that only the test moves.
 *
 * The canary here is a fake: a run ends when the test says so.
 */
#include "unit.h"

#include "agent/sched.h"
#include "lib/clock.h"

#define SECOND NANO_PER_SECOND

struct fake_run
{
	canary_done done;
	void *arg;
	const struct test_spec *spec;
};

static struct fake_run *going[4096];
static size_t going_count, started, cancelled, results, changes;
static bool out_of_memory;
static enum error_type last_error;
static char last_text[RESULT_ERROR_MAX], last_id[37];

static struct canary_run *
fake_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
           void *arg)
{
	struct fake_run *run;

	if (out_of_memory)
		return NULL;
	run = calloc(1, sizeof(*run));
	run->done = done;
	run->arg = arg;
	run->spec = spec;
	going[going_count++] = run;
	started++;
	return (struct canary_run *) run;
}

static void
fake_remove(struct fake_run *run)
{
	for (size_t i = 0; i < going_count; i++)
		if (going[i] == run)
			going[i] = going[--going_count];
	free(run);
}

static void
fake_cancel(struct canary_run *run)
{
	cancelled++;
	fake_remove((struct fake_run *) run);
}

static const struct canary_ops fake = {
    .type = "fake", .summary = "for tests", .start = fake_start, .cancel = fake_cancel};

static void
on_result(const struct result *result, void *arg)
{
	results++;
	last_error = result->error_type;
	memcpy(last_text, result->error, sizeof(last_text));
	memcpy(last_id, result->test_id, sizeof(last_id));
}

static void
on_changed(void *arg)
{
	changes++;
}

static const struct sched_ops ops = {on_result, on_changed};

static void
finish_all(void)
{
	static struct result result;

	while (going_count > 0)
	{
		struct fake_run *run = going[0];
		canary_done done = run->done;
		void *arg = run->arg;

		fake_remove(run);
		done(&result, arg);
	}
}

static struct test *
make(unsigned number, uint32_t interval_ms)
{
	struct test *test = calloc(1, sizeof(*test));

	snprintf(test->spec.test_id, sizeof(test->spec.test_id), "00000000-0000-4000-8000-%012u",
	         number);
	snprintf(test->spec.type, sizeof(test->spec.type), "fake");
	snprintf(test->spec.target, sizeof(test->spec.target), "target");
	test->spec.interval_ms = interval_ms;
	test->spec.timeout_ms = 500;
	test->ops = &fake;
	return test;
}

static struct test_list
many(unsigned from, unsigned count, uint32_t interval_ms)
{
	struct test_list list = {calloc(count ? count : 1, sizeof(struct test *)), count};

	for (unsigned i = 0; i < count; i++)
		list.items[i] = make(from + i, interval_ms);
	return list;
}

static struct sched *
fresh(size_t concurrency)
{
	going_count = started = cancelled = results = changes = 0;
	out_of_memory = false;
	return sched_new(NULL, "11111111-1111-4111-8111-111111111111", concurrency, &ops, NULL);
}

/* Moves to t in the steps the scheduler asks for; every run ends at once. */
static void
run_until(struct sched *s, int64_t t)
{
	int64_t due;

	while ((due = sched_due(s)) <= t)
	{
		sched_run(s, due);
		finish_all();
	}
}

static void
the_first_run_comes_soon_and_then_every_interval(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 60000);

	sched_set(s, &list, 1000 * SECOND);
	assert_null(list.items);
	assert_true(sched_due(s) >= 1000 * SECOND);
	assert_true(sched_due(s) < 1003 * SECOND); /* not after a whole interval */
	run_until(s, 1003 * SECOND);
	assert_int_equal(started, 1);
	run_until(s, 1000 * SECOND + 600 * SECOND);
	assert_in_range(started, 10, 11);
	assert_int_equal(results, started);
	sched_free(s);
}

static void
runs_are_spread_over_the_interval(void **state)
{
	struct sched *s = fresh(4096);
	struct test_list list = many(1, 1000, 60000);
	size_t per_second[60] = {0}, before;

	sched_set(s, &list, 0);
	/* First runs of many tests do not come all at once either: 20 ms each. */
	run_until(s, 1 * SECOND);
	assert_in_range(started, 10, 120);
	run_until(s, 120 * SECOND - 1);
	for (int i = 0; i < 60; i++)
	{
		before = started;
		run_until(s, (120 + i + 1) * SECOND - 1);
		per_second[i] = started - before;
	}
	before = 0;
	for (int i = 0; i < 60; i++)
	{
		assert_in_range(per_second[i], 4, 40); /* 16.7 if it were perfect */
		before += per_second[i];
	}
	assert_int_equal(before, 1000); /* each once */
	sched_free(s);
}

static void
the_phase_is_the_same_after_a_restart(void **state)
{
	int64_t due[2];

	for (int i = 0; i < 2; i++)
	{
		struct sched *s = fresh(10);
		struct test_list list = many(7, 1, 60000);

		sched_set(s, &list, i * 17 * SECOND);
		run_until(s, 200 * SECOND);
		due[i] = sched_due(s);
		sched_free(s);
	}
	assert_true(due[0] == due[1]);
}

static void
an_overrun_is_counted_and_not_invented(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 1000);
	struct sched_stats stats;

	sched_set(s, &list, 0);
	sched_run(s, sched_due(s));
	assert_int_equal(started, 1);
	for (int i = 0; i < 5; i++)
		sched_run(s, sched_due(s)); /* still going */
	sched_stats(s, &stats);
	assert_int_equal(started, 1);
	assert_int_equal(stats.overrun, 5);
	assert_int_equal(results, 0);
	finish_all();
	sched_run(s, sched_due(s));
	assert_int_equal(started, 2);
	finish_all();
	sched_free(s);
}

static void
ticks_of_a_sleep_are_missed_not_made_up_for(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 1000);
	struct sched_stats stats;

	sched_set(s, &list, 0);
	run_until(s, 10 * SECOND);
	started = 0;
	sched_run(s, 100 * SECOND); /* the machine slept */
	finish_all();
	sched_run(s, 100 * SECOND);
	sched_stats(s, &stats);
	assert_int_equal(started, 1);
	assert_in_range(stats.missed, 87, 91);
	assert_true(sched_due(s) > 100 * SECOND);
	assert_true(sched_due(s) <= 101 * SECOND);
	sched_free(s);
}

static void
only_so_many_run_at_once(void **state)
{
	struct sched *s = fresh(3);
	struct test_list list = many(1, 10, 60000);
	struct sched_stats stats;

	sched_set(s, &list, 0);
	sched_run(s, 10 * SECOND);
	assert_int_equal(started, 3);
	assert_true(sched_due(s) == INT64_MAX); /* until a run ends */
	changes = 0;
	finish_all();
	assert_true(changes > 0);
	assert_true(sched_due(s) <= 10 * SECOND);
	for (int i = 0; i < 4; i++)
	{
		sched_run(s, 10 * SECOND);
		sched_stats(s, &stats);
		assert_true(stats.running <= 3);
		finish_all();
	}
	assert_int_equal(started, 10);
	sched_free(s);
}

static void
a_new_set_keeps_what_is_the_same(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 3, 60000);
	struct sched_stats stats;
	int64_t due;

	sched_set(s, &list, 0);
	sched_run(s, 5 * SECOND);
	assert_int_equal(going_count, 3);
	due = sched_due(s);
	/* 1 is gone, 2 is the same, 3 has another timeout, 4 is new. */
	list = many(2, 3, 60000);
	list.items[1]->spec.timeout_ms = 700;
	sched_set(s, &list, 5 * SECOND);
	assert_int_equal(cancelled, 2);
	assert_int_equal(going_count, 1);
	sched_stats(s, &stats);
	assert_int_equal(stats.tests, 3);
	assert_int_equal(stats.running, 1);
	started = 0;
	sched_run(s, 9 * SECOND);
	assert_int_equal(started, 2); /* 3 and 4 start afresh, 2 goes on */
	assert_true(sched_due(s) >= due || sched_due(s) > 9 * SECOND);
	list = many(1, 0, 1);
	sched_set(s, &list, 9 * SECOND);
	assert_int_equal(going_count, 0);
	assert_true(sched_due(s) == INT64_MAX);
	sched_free(s);
}

static void
the_same_test_twice_runs_once(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 1000);
	struct sched_stats stats;

	sched_set(s, &list, 0);
	list = many(1, 2, 1000);
	snprintf(list.items[1]->spec.test_id, 37, "%s", list.items[0]->spec.test_id);
	sched_set(s, &list, 0);
	sched_stats(s, &stats);
	assert_int_equal(stats.tests, 1);
	sched_free(s);
}

static void
a_test_that_cannot_run_says_so(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 1000);

	list.items[0]->ops = NULL;
	snprintf(list.items[0]->problem, sizeof(list.items[0]->problem), "parameter x is unknown");
	sched_set(s, &list, 0);
	sched_run(s, 5 * SECOND);
	assert_int_equal(results, 1);
	assert_int_equal(last_error, ERROR_CONFIG);
	assert_string_equal(last_text, "parameter x is unknown");
	assert_string_equal(last_id, "00000000-0000-4000-8000-000000000001");
	list = many(2, 1, 1000);
	sched_set(s, &list, 5 * SECOND);
	out_of_memory = true;
	sched_run(s, 10 * SECOND);
	assert_int_equal(results, 2);
	assert_int_equal(last_error, ERROR_LOCAL_FAULT);
	sched_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_run_comes_soon_and_then_every_interval),
	    cmocka_unit_test(runs_are_spread_over_the_interval),
	    cmocka_unit_test(the_phase_is_the_same_after_a_restart),
	    cmocka_unit_test(an_overrun_is_counted_and_not_invented),
	    cmocka_unit_test(ticks_of_a_sleep_are_missed_not_made_up_for),
	    cmocka_unit_test(only_so_many_run_at_once),
	    cmocka_unit_test(a_new_set_keeps_what_is_the_same),
	    cmocka_unit_test(the_same_test_twice_runs_once),
	    cmocka_unit_test(a_test_that_cannot_run_says_so),
	};

	return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
