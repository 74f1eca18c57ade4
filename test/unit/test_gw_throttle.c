/* SPDX-License-Identifier: PostgreSQL
 *
 * test_gw_throttle.c -- guessing is slowed per peer, and only guessing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "gateway/throttle.h"

static struct sockaddr_storage
peer(const char *text)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *) &ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &ss;

	ss.ss_family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	assert_int_equal(
	    inet_pton(ss.ss_family, text,
	              ss.ss_family == AF_INET ? (void *) &v4->sin_addr : (void *) &v6->sin6_addr),
	    1);
	return ss;
}

static int
attempt(struct throttle *t, const char *from, int failed, int64_t now)
{
	struct sockaddr_storage ss = peer(from);
	int wait = throttle_begin(t, (struct sockaddr *) &ss, now);

	if (wait == 0)
		throttle_end(t, (struct sockaddr *) &ss, failed, now);
	return wait;
}

static void
only_failures_count(void **state)
{
	struct throttle *t = throttle_new();

	for (int i = 0; i < 100; i++)
		assert_int_equal(attempt(t, "192.0.2.1", 0, 1000), 0);
	for (int i = 0; i < THROTTLE_FAILURES; i++)
		assert_int_equal(attempt(t, "192.0.2.1", 1, 1000 + i), 0);
	assert_int_equal(attempt(t, "192.0.2.1", 0, 2000), 60);
	assert_int_equal(attempt(t, "192.0.2.2", 0, 2000), 0);
	/* Open again when the oldest failure is a minute old, for one more of them. */
	assert_int_equal(attempt(t, "192.0.2.1", 0, 1000 + THROTTLE_WINDOW_MS - 1), 1);
	assert_int_equal(attempt(t, "192.0.2.1", 1, 1000 + THROTTLE_WINDOW_MS), 0);
	assert_int_equal(attempt(t, "192.0.2.1", 0, 1000 + THROTTLE_WINDOW_MS), 1);
	throttle_free(t);
}

static void
ipv6_counts_by_subnet(void **state)
{
	struct throttle *t = throttle_new();

	for (int i = 0; i < THROTTLE_FAILURES; i++)
		assert_int_equal(attempt(t, i % 2 ? "2001:db8:0:1::1" : "2001:db8:0:1:ffff::2", 1, 1000),
		                 0);
	assert_int_not_equal(attempt(t, "2001:db8:0:1::3", 0, 1000), 0);
	assert_int_equal(attempt(t, "2001:db8:0:2::3", 0, 1000), 0);
	for (int i = 0; i < THROTTLE_FAILURES; i++)
		assert_int_equal(attempt(t, "::ffff:192.0.2.9", 1, 1000), 0);
	assert_int_not_equal(attempt(t, "192.0.2.9", 0, 1000), 0);
	throttle_free(t);
}

static void
parallel_guesses_are_bounded(void **state)
{
	struct throttle *t = throttle_new();
	struct sockaddr_storage ss = peer("198.51.100.7");
	int begun = 0;

	while (begun < 1000 && throttle_begin(t, (struct sockaddr *) &ss, 1000) == 0)
		begun++;
	assert_int_equal(begun, THROTTLE_BURST);
	for (int i = 0; i < begun; i++)
		throttle_end(t, (struct sockaddr *) &ss, i == 0, 1000);
	for (begun = 0; throttle_begin(t, (struct sockaddr *) &ss, 1000) == 0;)
		begun++;
	assert_int_equal(begun, THROTTLE_FAILURES - 1);
	throttle_free(t);
}

/* Many addresses neither grow the table nor shut anybody out. */
static void
the_table_is_bounded(void **state)
{
	struct throttle *t = throttle_new();
	char text[32];

	for (int i = 0; i < THROTTLE_PEERS_MAX * 4; i++)
	{
		snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		assert_int_equal(attempt(t, text, 1, 1000 + i), 0);
	}
	throttle_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_failures_count),
	    cmocka_unit_test(ipv6_counts_by_subnet),
	    cmocka_unit_test(parallel_guesses_are_bounded),
	    cmocka_unit_test(the_table_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
