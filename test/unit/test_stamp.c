/* SPDX-License-Identifier: PostgreSQL
 *
 * test_stamp.c -- round-trip times of stamps that are there, missing or mad, and real stamps of loopback.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/probe.h"
#include "agent/stamp.h"

#define MS INT64_C(1000000)

/* A packet sent so long ago, by both clocks. */
static struct stamp_times
sent_before(int64_t nano)
{
	struct stamp_times times;

	stamp_begin(&times);
	times.sent -= nano;
	times.sent_unix -= nano;
	return times;
}

static void
test_both_stamps(void **state)
{
	struct stamp_times times = sent_before(100 * MS);
	enum stamp_kind kind = STAMP_BOTH;

	times.stamped = times.sent_unix + 10 * MS;
	assert_true(stamp_rtt(&times, times.sent_unix + 35 * MS, &kind) == 25 * MS);
	assert_int_equal(kind, STAMP_BOTH);
}

static void
test_receive_stamp_alone(void **state)
{
	struct stamp_times times = sent_before(100 * MS);
	enum stamp_kind kind = STAMP_BOTH;

	assert_true(stamp_rtt(&times, times.sent_unix + 35 * MS, &kind) == 35 * MS);
	assert_int_equal(kind, STAMP_RECEIVE);
	/* The worst of a round stays. */
	times.stamped = times.sent_unix;
	stamp_rtt(&times, times.sent_unix + 35 * MS, &kind);
	assert_int_equal(kind, STAMP_RECEIVE);
}

static void
test_no_stamp(void **state)
{
	struct stamp_times times = sent_before(100 * MS);
	enum stamp_kind kind = STAMP_BOTH;
	int64_t rtt = stamp_rtt(&times, 0, &kind);

	assert_true(rtt >= 100 * MS && rtt < 10000 * MS);
	assert_int_equal(kind, STAMP_NONE);
}

/* A send stamp from before the send or after the answer is not of this packet, whatever it says. */
static void
test_send_stamp_that_cannot_be(void **state)
{
	struct stamp_times times = sent_before(100 * MS);
	enum stamp_kind kind = STAMP_BOTH;

	times.stamped = times.sent_unix - 1;
	assert_true(stamp_rtt(&times, times.sent_unix + 35 * MS, &kind) == 35 * MS);
	times.stamped = times.sent_unix + 36 * MS;
	assert_true(stamp_rtt(&times, times.sent_unix + 35 * MS, &kind) == 35 * MS);
	assert_int_equal(kind, STAMP_RECEIVE);
}

/* The wall clock was stepped: the monotonic clock has the last word. */
static void
test_stepped_clock(void **state)
{
	struct stamp_times times = sent_before(100 * MS);
	enum stamp_kind kind = STAMP_BOTH;
	int64_t back = stamp_rtt(&times, times.sent_unix - 3600000 * MS, &kind);
	int64_t forth = stamp_rtt(&times, times.sent_unix + 3600000 * MS, &kind);

	assert_true(back >= 100 * MS && back < 10000 * MS);
	assert_true(forth >= 100 * MS && forth < 10000 * MS);
	assert_int_equal(kind, STAMP_NONE);
}

static const char *
attribute(const struct result *r, const char *name)
{
	for (size_t i = 0; i < r->attribute_count; i++)
		if (strcmp(r->attributes[i].name, name) == 0)
			return r->attributes[i].value;
	return NULL;
}

/* count packets a millisecond apart from 5 ms on; those of a set bit of answered were. */
static void
dropped(struct result *r, uint32_t count, uint64_t answered)
{
	struct stamp_times times[STATS_PROBES_MAX] = {{0}};
	struct stats stats;

	memset(r, 0, sizeof(*r));
	stats_init(&stats);
	for (uint32_t i = 0; i < count; i++)
	{
		times[i].sent = 1000 * MS + (5 + i) * MS;
		stats_sent(&stats);
		if (i < 64 && answered >> i & 1)
			stats_received(&stats, i, 1);
	}
	stamp_dropped(&stats, times, sizeof(times[0]), 1000 * MS, "seqs", "offsets", r);
}

static void
test_dropped(void **state)
{
	struct result r;
	const char *seqs, *offsets;
	size_t commas[2] = {0, 0};

	dropped(&r, 5, 0x15); /* 0, 2 and 4 were answered */
	assert_string_equal(attribute(&r, "seqs"), "1,3");
	assert_string_equal(attribute(&r, "offsets"), "6.0,8.0");
	dropped(&r, 5, 0x1f);
	assert_null(attribute(&r, "seqs"));
	dropped(&r, 5, 0);
	assert_null(attribute(&r, "seqs"));
	/* What does not fit is left out whole, in both lists alike. */
	dropped(&r, STATS_PROBES_MAX, 1);
	seqs = attribute(&r, "seqs");
	offsets = attribute(&r, "offsets");
	for (const char *p = seqs; *p; p++)
		commas[0] += *p == ',';
	for (const char *p = offsets; *p; p++)
		commas[1] += *p == ',';
	assert_true(commas[0] > 50 && commas[0] == commas[1]);
	assert_true(strlen(offsets) < RESULT_VALUE_MAX);
}

/* A datagram to itself: the kernel says when it left and when it came. */
static void
test_kernel(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	union stamp_control control;
	char data[256];
	struct iovec vector = {data, sizeof(data)};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct stamp_times times;
	int64_t sent, received;

	stamp_open();
	assert_int_equal(stamp_ask(fd), STAMP_BOTH);
	assert_int_equal(bind(fd, (struct sockaddr *) &at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &len), 0);
	stamp_begin(&times);
	assert_int_equal(sendto(fd, "mark", 4, 0, (struct sockaddr *) &at, len), 4);
	message.msg_control = &control;
	message.msg_controllen = sizeof(control);
	assert_true(recvmsg(fd, &message, MSG_ERRQUEUE) > 4); /* with the headers below */
	sent = stamp_sent(&message);
	assert_memory_equal(data + 14 + 20 + 8, "mark", 4); /* loopback has a link header of 14 */
	message.msg_controllen = sizeof(control);
	assert_int_equal(recvmsg(fd, &message, 0), 4);
	received = stamp_received(&message);
	assert_int_equal(stamp_sent(&message), 0);
	assert_true(times.sent_unix <= sent && sent <= received && received <= probe_now_unix());
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_both_stamps),   cmocka_unit_test(test_receive_stamp_alone),
	    cmocka_unit_test(test_no_stamp),      cmocka_unit_test(test_send_stamp_that_cannot_be),
	    cmocka_unit_test(test_stepped_clock), cmocka_unit_test(test_dropped),
	    cmocka_unit_test(test_kernel),
	};

	return cmocka_run_group_tests_name("stamp", tests, NULL, NULL);
}
