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
static char last_interference[RESULT_VALUE_MAX], last_skipped[RESULT_VALUE_MAX];
static size_t fill;         /* attributes that a fake run puts into its result */
static int64_t packet_late; /* how late it says that a packet of it left */

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

static struct canary_ops fake = {
    .type = "fake", .summary = "for tests", .start = fake_start, .cancel = fake_cancel};

static void
on_result(const struct result *result, void *arg)
{
	results++;
	last_error = result->error_type;
	memcpy(last_text, result->error, sizeof(last_text));
	memcpy(last_id, result->test_id, sizeof(last_id));
	last_interference[0] = last_skipped[0] = '\0';
	for (size_t i = 0; i < result->attribute_count; i++)
	{
		const struct result_attribute *a = &result->attributes[i];

		if (strcmp(a->name, "probectl.run.interference") == 0)
			memcpy(last_interference, a->value, sizeof(last_interference));
		if (strcmp(a->name, "probectl.run.ticks_skipped") == 0)
			memcpy(last_skipped, a->value, sizeof(last_skipped));
	}
}

static void
on_changed(void *arg)
{
	changes++;
}

static int64_t processor_used;

static int64_t
processor(void *arg)
{
	return processor_used;
}

static const struct sched_ops ops = {on_result, on_changed, processor};

static void
finish_all(void)
{
	static struct result result;

	result.attribute_count = 0;
	result.packet_late_nano = packet_late;
	for (size_t i = 0; i < fill; i++)
		result_attribute(&result, "filler", "%zu", i);
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
	test->spec.target = strdup("target");
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
limited(size_t concurrency, unsigned packets_per_second)
{
	const struct sched_limits limits = {concurrency, packets_per_second};

	return sched_new(NULL, "11111111-1111-4111-8111-111111111111", &limits, &ops, NULL);
}

static struct sched *
fresh(size_t concurrency)
{
	going_count = started = cancelled = results = changes = 0;
	out_of_memory = false;
	return limited(concurrency, 0);
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
	list.items[0]->problem = strdup("parameter x is unknown");
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

/* ---- what the agent does to its own measurements ---- */

/* The clock of the whole process stands where the scenario is. */
static int64_t clock_at;

static void
at(int64_t t)
{
	clock_at = t;
	clock_virtual(1800000000 * SECOND + t, t);
}

static uint64_t
disturbed(const struct sched *s)
{
	struct sched_stats stats;

	sched_stats(s, &stats);
	return stats.disturbed;
}

/* Starts the one test of a scheduler so many ms after its time. */
static void
start_late(struct sched *s, int64_t ms)
{
	at(sched_due(s) + ms * NANO_PER_MS);
	sched_run(s, clock_at);
	assert_int_equal(going_count, 1);
}

static void
an_undisturbed_run_says_nothing(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 60000);

	at(SECOND);
	sched_set(s, &list, clock_at);
	start_late(s, SCHED_JITTER_MS);
	sched_pulse(s, (SCHED_LAG_MS - 1) * NANO_PER_MS);
	processor_used += 790 * NANO_PER_MS;
	at(clock_at + SECOND);
	finish_all();
	assert_int_equal(results, 1);
	assert_string_equal(last_interference, "");
	assert_string_equal(last_skipped, "");
	assert_int_equal(disturbed(s), 0);
	sched_free(s);
}

static void
each_disturbance_is_named_in_the_result(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 60000);
	struct sched_stats stats;

	at(SECOND);
	sched_set(s, &list, clock_at);
	start_late(s, 450);
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "started 450 ms late (loop)");
	start_late(s, 0);
	sched_pulse(s, 30 * NANO_PER_MS);
	sched_pulse(s, 80 * NANO_PER_MS);
	sched_pulse(s, 40 * NANO_PER_MS);
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "loop held up 80 ms");
	start_late(s, 0);
	processor_used += 900 * NANO_PER_MS;
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "processor 90 %");
	start_late(s, 0);
	packet_late = 25 * NANO_PER_MS;
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "packet left 25 ms late");
	start_late(s, 0);
	packet_late--;
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "");
	/* All at once, in a result that is full already. */
	packet_late = 41 * NANO_PER_MS;
	fill = RESULT_ATTRIBUTES_MAX + 5;
	start_late(s, 200);
	sched_pulse(s, 80 * NANO_PER_MS);
	processor_used += SECOND;
	at(clock_at + SECOND);
	finish_all();
	fill = 0;
	packet_late = 0;
	assert_string_equal(last_interference, "started 200 ms late (loop), packet left 41 ms late, "
	                                       "loop held up 80 ms, processor 100 %");
	/* What was before a run is not its own. */
	sched_pulse(s, SECOND);
	start_late(s, 0);
	at(clock_at + SECOND);
	finish_all();
	assert_string_equal(last_interference, "");
	/* Of a run of a few ms nobody can say what share of the processor was whose. */
	start_late(s, 0);
	processor_used += 40 * NANO_PER_MS;
	at(clock_at + 40 * NANO_PER_MS);
	finish_all();
	assert_string_equal(last_interference, "");
	sched_stats(s, &stats);
	assert_int_equal(stats.disturbed, 5);
	assert_int_equal(stats.latest, 450 * NANO_PER_MS);
	sched_free(s);
}

static void
assert_going(const struct sched *s, size_t running, size_t watched)
{
	struct sched_stats stats;

	sched_stats(s, &stats);
	assert_int_equal(stats.running, running);
	assert_int_equal(stats.watched, watched);
}

static void
runs_that_judge_their_packets_are_not_watched(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 2, 60000);

	at(10 * SECOND);
	sched_set(s, &list, 0);
	sched_run(s, clock_at);
	assert_going(s, 2, 2);
	finish_all();
	assert_going(s, 0, 0);
	fake.paced = true;
	at(clock_at + 120 * SECOND);
	sched_run(s, clock_at);
	assert_going(s, 2, 0);
	finish_all();
	assert_going(s, 0, 0);
	fake.paced = false;
	sched_free(s);
}

static void
a_run_that_waited_for_others_says_so(void **state)
{
	struct sched *s = fresh(1);
	struct test_list list = many(1, 2, 60000);

	at(10 * SECOND);
	sched_set(s, &list, 0);
	sched_run(s, clock_at); /* both are due; one goes */
	assert_int_equal(going_count, 1);
	at(clock_at + SECOND);
	finish_all();
	sched_run(s, clock_at);
	assert_int_equal(going_count, 1);
	finish_all();
	assert_non_null(strstr(last_interference, "late (concurrency)"));
	sched_free(s);
}

static void
skipped_ticks_show_in_the_next_result(void **state)
{
	struct sched *s = fresh(10);
	struct test_list list = many(1, 1, 1000);

	at(SECOND);
	sched_set(s, &list, clock_at);
	start_late(s, 0);
	for (int i = 0; i < 3; i++)
	{
		at(sched_due(s));
		sched_run(s, clock_at); /* still going */
	}
	finish_all();
	assert_string_equal(last_skipped, "3");
	start_late(s, 0);
	finish_all();
	assert_string_equal(last_skipped, "");
	/* The machine slept: ten ticks, one of which is run. */
	start_late(s, 10000);
	finish_all();
	assert_string_equal(last_skipped, "10");
	sched_free(s);
}

/* ---- the budget of packets ---- */

static struct test_list
heavy(unsigned from, unsigned count, uint32_t interval_ms, unsigned packets)
{
	struct test_list list = many(from, count, interval_ms);

	for (unsigned i = 0; i < count; i++)
		list.items[i]->packets = packets;
	return list;
}

static void
packets_leave_no_faster_than_allowed(void **state)
{
	struct sched *s = limited(4096, 100);
	struct test_list list = heavy(1, 1000, 60000, 5);
	size_t in_window[80] = {0};
	struct sched_stats stats;
	int64_t due;

	going_count = started = results = 0;
	at(SECOND);
	sched_set(s, &list, clock_at);
	/* 5,000 packets in a minute at 100 a second: every run comes, none in a crowd. */
	while ((due = sched_due(s)) <= 79 * SECOND)
	{
		at(due > clock_at ? due : clock_at);
		in_window[clock_at / SECOND] -= started;
		sched_run(s, clock_at);
		in_window[clock_at / SECOND] += started;
		finish_all();
	}
	for (int i = 0; i < 80; i++)
		assert_true(in_window[i] * 5 <= 200); /* a second's, and what was saved up before it */
	for (int i = 1; i + 10 < 80; i++)
	{
		size_t sum = 0;

		for (int k = 0; k < 10; k++)
			sum += in_window[i + k];
		assert_true(sum * 5 <= 1100);
	}
	assert_true(started >= 1000);
	sched_stats(s, &stats);
	assert_true(stats.held > 0);
	sched_free(s);
}

static void
a_run_larger_than_the_budget_still_runs(void **state)
{
	struct sched *s = limited(10, 10);
	struct test_list list = heavy(1, 2, 60000, 40);
	int64_t first;

	going_count = started = results = 0;
	at(10 * SECOND);
	sched_set(s, &list, 0);
	sched_run(s, clock_at);
	assert_int_equal(started, 1);
	first = clock_at;
	finish_all();
	/* The other waits until the debt is paid: 40 packets at 10 a second. */
	assert_true(sched_due(s) >= first + 4 * SECOND - SECOND / 100);
	assert_true(sched_due(s) <= first + 4 * SECOND + SECOND / 100);
	at(sched_due(s));
	sched_run(s, clock_at);
	assert_int_equal(started, 2);
	at(clock_at + SECOND);
	finish_all();
	assert_non_null(strstr(last_interference, "late (packets)"));
	sched_free(s);
}

/* A day in the life of 200 tests: each tick gives one run, on its phase, within the bound. */
static void
a_day_without_a_gap(void **state)
{
	struct sched *s = fresh(64);
	struct test_list list = many(1, 200, 60000);
	struct sched_stats stats;
	size_t before;

	at(SECOND);
	sched_set(s, &list, clock_at);
	run_until(s, 300 * SECOND);
	before = started;
	run_until(s, 300 * SECOND + INT64_C(86400) * SECOND);
	assert_int_equal(started - before, 200 * 1440);
	sched_stats(s, &stats);
	assert_int_equal(stats.overrun + stats.missed, 0);
	assert_true(stats.latest <= SCHED_JITTER_MS * NANO_PER_MS);
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
	    cmocka_unit_test(an_undisturbed_run_says_nothing),
	    cmocka_unit_test(each_disturbance_is_named_in_the_result),
	    cmocka_unit_test(runs_that_judge_their_packets_are_not_watched),
	    cmocka_unit_test(a_run_that_waited_for_others_says_so),
	    cmocka_unit_test(skipped_ticks_show_in_the_next_result),
	    cmocka_unit_test(packets_leave_no_faster_than_allowed),
	    cmocka_unit_test(a_run_larger_than_the_budget_still_runs),
	    cmocka_unit_test(a_day_without_a_gap),
	};

	return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
