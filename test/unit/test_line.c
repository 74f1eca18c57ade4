/* SPDX-License-Identifier: PostgreSQL
 *
 * test_line.c -- batches wait by tenant: in order within one, by turns between them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/group.h"
#include "ingest/line.h"

#define ACME "11111111-1111-4111-8111-111111111111"
#define BOLT "22222222-2222-4222-8222-222222222222"

static struct db_request room[2 * GROUP_MEMBERS_MAX];
static int made;

/* A batch that may share; at is when it was submitted. */
static struct db_request *
batch(const char *tenant, int64_t at)
{
	struct db_request *request = &room[made++];

	*request = (struct db_request){
	    .tenant = tenant, .bulk = true, .item_count = 1, .queued_at = at};
	request->items[0].statement = DB_INGEST;
	return request;
}

static struct db_request *
alone(const char *tenant)
{
	struct db_request *request = batch(tenant, 0);

	request->alone = true;
	return request;
}

static void
start(struct line *line)
{
	made = 0;
	line_init(line);
}

static void
test_a_tenant_keeps_its_order(void **state)
{
	struct line line;
	struct db_request *first, *taken;

	start(&line);
	first = batch(ACME, 0);
	line_put(&line, first, true);
	line_put(&line, batch(BOLT, 0), true);
	line_put(&line, batch(ACME, 0), true);
	taken = line_take(&line);
	assert_ptr_equal(taken, first);
	assert_ptr_equal(line_also(&line, taken), &room[2]);
	assert_ptr_equal(line_take(&line), &room[2]);
	assert_null(line_also(&line, taken)); /* what is next is another tenant's */
	assert_ptr_equal(line_take(&line), &room[1]);
	assert_false(line_ripe(&line));
	assert_null(line_take(&line));
}

static void
test_tenants_take_turns(void **state)
{
	struct line line;
	struct db_request *taken;

	start(&line);
	for (int i = 0; i < 3; i++)
		line_put(&line, batch(ACME, 0), true);
	line_put(&line, batch(BOLT, 0), true);
	taken = line_take(&line);
	line_turn(&line, taken);
	assert_string_equal(line_take(&line)->tenant, BOLT);
	line_turn(&line, &room[3]); /* it has no more: the turn is not taken from the next */
	assert_ptr_equal(line_take(&line), &room[1]);
	assert_ptr_equal(line_take(&line), &room[2]);
	assert_false(line_ripe(&line));
}

static void
test_what_gathers_ripens_by_its_first(void **state)
{
	struct line line;

	start(&line);
	line_put(&line, batch(ACME, 100), false);
	line_put(&line, batch(BOLT, 110), false);
	line_put(&line, batch(ACME, 120), false);
	line_ripen(&line, 99);
	assert_false(line_ripe(&line));
	line_ripen(&line, 105);
	assert_true(line_ripe(&line) && line_gathers(&line));
	line_put(&line, batch(ACME, 130), false); /* to a ripe lane */
	for (int i = 0; i < 3; i++)
		assert_string_equal(line_take(&line)->tenant, ACME);
	assert_false(line_ripe(&line));
	line_put(&line, batch(BOLT, 140), true); /* one that does not wait takes its lane along */
	assert_ptr_equal(line_take(&line), &room[1]);
	assert_ptr_equal(line_take(&line), &room[4]);
	assert_false(line_ripe(&line) || line_gathers(&line));
}

static void
test_a_full_group_does_not_wait(void **state)
{
	struct line line;

	start(&line);
	for (int i = 0; i < GROUP_MEMBERS_MAX; i++)
	{
		assert_false(line_ripe(&line));
		line_put(&line, batch(ACME, 0), false);
	}
	assert_true(line_ripe(&line));
	for (int i = 0; i < GROUP_MEMBERS_MAX; i++)
		assert_ptr_equal(line_take(&line), &room[i]);
}

static void
test_what_goes_alone_has_no_company(void **state)
{
	struct line line;

	start(&line);
	line_put(&line, alone(ACME), true);
	line_put(&line, batch(ACME, 0), true);
	line_put(&line, alone(ACME), true);
	for (int i = 0; i < 3; i++)
	{
		struct db_request *taken = line_take(&line);

		assert_ptr_equal(taken, &room[i]);
		assert_null(line_also(&line, taken));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_tenant_keeps_its_order),
	    cmocka_unit_test(test_tenants_take_turns),
	    cmocka_unit_test(test_what_gathers_ripens_by_its_first),
	    cmocka_unit_test(test_a_full_group_does_not_wait),
	    cmocka_unit_test(test_what_goes_alone_has_no_company),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
