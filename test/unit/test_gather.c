/* SPDX-License-Identifier: PostgreSQL
 *
 * test_gather.c -- small batches wait when many come, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/gather.h"

/* So many a second for so long, from then on. */
static int64_t
come(struct gather *gather, int64_t from, int per_second, int ms)
{
	for (int64_t i = 0; i < (int64_t) per_second * ms / 1000; i++)
		gather_count(gather, from + i * 1000 / per_second);
	return from + ms;
}

static void
test_few_do_not_wait(void **state)
{
	struct gather gather = {0};

	assert_int_equal(gather_wait(&gather), 0);
	gather_count(&gather, 1000000);
	assert_int_equal(gather_wait(&gather), 0);
	come(&gather, 1000000, GATHER_RATE_MIN - 100, 3000);
	assert_int_equal(gather_wait(&gather), 0);
}

static void
test_many_wait_no_longer_than_the_bound(void **state)
{
	struct gather gather = {0};

	come(&gather, 1000000, GATHER_RATE_MAX * 4, 3000);
	assert_int_equal(gather_wait(&gather), GATHER_MAX_MS);
}

static void
test_between_they_wait_longer_the_more_there_are(void **state)
{
	struct gather gather = {0};
	int64_t at = come(&gather, 1000000, 2500, 3000), some = gather_wait(&gather);

	assert_in_range(some, GATHER_MAX_MS / 5, GATHER_MAX_MS / 3); /* 2/7 of the way */
	come(&gather, at, 4000, 3000);
	assert_in_range(gather_wait(&gather), some + 10, GATHER_MAX_MS - 1);
}

static void
test_a_burst_is_no_rate(void **state)
{
	struct gather gather = {0};
	int64_t at = come(&gather, 1000000, 200, 2000);

	come(&gather, at, 20000, 5); /* 100 at once */
	assert_int_equal(gather_wait(&gather), 0);
}

static void
test_a_flood_is_forgotten(void **state)
{
	struct gather gather = {0};
	int64_t at = come(&gather, 1000000, GATHER_RATE_MAX * 2, 3000);

	assert_int_equal(gather_wait(&gather), GATHER_MAX_MS);
	gather_count(&gather, at + 60000); /* after a minute of nothing */
	assert_int_equal(gather_wait(&gather), 0);
	at = come(&gather, at + 120000, GATHER_RATE_MAX * 2, 3000);
	come(&gather, at, 100, 2000);
	assert_int_equal(gather_wait(&gather), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_few_do_not_wait),
	    cmocka_unit_test(test_many_wait_no_longer_than_the_bound),
	    cmocka_unit_test(test_between_they_wait_longer_the_more_there_are),
	    cmocka_unit_test(test_a_burst_is_no_rate),
	    cmocka_unit_test(test_a_flood_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
