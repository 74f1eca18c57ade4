/* SPDX-License-Identifier: PostgreSQL
 *
 * test_a2a_track.c -- rounds made up of numbers: both directions, clocks that disagree, what is lost where.
 *
 * The network of these rounds is known, so what is said of it can be compared with the truth.
 */
#include "unit.h"

#include <math.h>

#include "agent/a2a/track.h"

#define START INT64_C(1795299200000000000)
#define MS    INT64_C(1000000)
#define US    INT64_C(1000)

struct world
{
	struct track track;
	int64_t offset; /* of the reflector's clock */
	int64_t forward, reverse, dwell, spacing;
	bool kernel; /* stamps, and follow-ups of the reflector */
	uint32_t reflected;
	int64_t previous_t3;
};

static void
world_open(struct world *w, uint32_t count)
{
	memset(w, 0, sizeof(*w));
	w->forward = 3 * MS;
	w->reverse = 5 * MS;
	w->dwell = 1 * MS;
	w->spacing = 10 * MS;
	w->kernel = true;
	track_init(&w->track, count);
}

static int64_t
left_at(const struct world *w, uint32_t number)
{
	return START + number * w->spacing;
}

/* Monotonic times are those of the wall clock since the start: nobody steps it. */
static void
send_packet(struct world *w, uint32_t number)
{
	int64_t t1 = left_at(w, number);

	track_sent(&w->track, number, (uint64_t) t1, t1 - 20 * US, t1 - START - 20 * US);
	if (w->kernel)
		track_departed(&w->track, number, t1, t1 + 100 * US);
}

/* The packet reaches the reflector: its reply, for whenever it comes back. */
static struct a2a_reply
reflect(struct world *w, uint32_t number)
{
	int64_t t2 = left_at(w, number) + w->forward + w->offset, t3 = t2 + w->dwell;
	struct a2a_reply reply = {
	    .sequence = w->reflected++,
	    .t2 = t2,
	    .t3 = t3 - (w->kernel ? 15 * US : 0), /* written a moment before it left */
	    .estimate = {.nano = 1000},
	    .sender_sequence = number,
	    .raw_t1 = (uint64_t) left_at(w, number),
	    .ttl = 61,
	};

	if (w->kernel && w->previous_t3)
	{
		reply.follow_method = A2A_METHOD_SOFTWARE;
		reply.follow_sequence = reply.sequence - 1;
		reply.follow_at = w->previous_t3;
	}
	w->previous_t3 = t3;
	return reply;
}

static bool
come_back(struct world *w, const struct a2a_reply *reply)
{
	int64_t t4 = left_at(w, reply->sender_sequence) + w->forward + w->dwell + w->reverse;

	return track_received(&w->track, reply, t4, w->kernel ? TRACK_KERNEL : TRACK_USER,
	                      t4 - START + 30 * US);
}

static void
answer(struct world *w, uint32_t number)
{
	struct a2a_reply reply = reflect(w, number);

	send_packet(w, number);
	assert_true(come_back(w, &reply));
}

static struct track_summary
summary(const struct world *w)
{
	struct track_summary s;

	track_summarize(&w->track, &s);
	return s;
}

static bool
near(double value, double expected, double by)
{
	if (fabs(value - expected) <= by)
		return true;
	print_error("%f is not %f\n", value, expected);
	return false;
}

static void
test_clocks_agree(void **state)
{
	struct track_summary s;
	struct world w;

	world_open(&w, 10);
	for (uint32_t i = 0; i < 10; i++)
		answer(&w, i);
	s = summary(&w);
	assert_int_equal(s.rtt.sent, 10);
	assert_int_equal(s.rtt.received, 10);
	assert_true(near(s.rtt.min, 8, 1e-6)); /* without the dwell */
	assert_true(near(s.dwell_ms, 1, 0.01));
	assert_int_equal(s.one_way, TRACK_ABSOLUTE);
	assert_true(near(s.forward.mean, 3, 1e-6));
	assert_true(near(s.reverse.mean, 5, 1e-6));
	assert_int_equal(s.reverse.received, 9); /* nothing followed the last one up */
	/* the offset is 0, and within what is said of it */
	assert_true(fabs(s.offset_ms) <= s.uncertainty_ms);
	assert_true(near(s.uncertainty_ms, 4, 0.01));
	assert_true(s.one_way_uncertainty_ms >= 3);
	assert_int_equal(s.local, TRACK_KERNEL);
	assert_int_equal(s.remote, TRACK_KERNEL);
	assert_true(s.directional);
	assert_int_equal(s.lost_forward + s.lost_reverse + s.unattributed, 0);
	assert_false(s.synchronized);
	/* who says its clock is set gives a closer bound */
	w.track.local = (struct a2a_estimate){.synchronized = true, .nano = 200 * US};
	w.track.remote = (struct a2a_estimate){.synchronized = true, .nano = 300 * US};
	s = summary(&w);
	assert_true(s.synchronized);
	assert_true(near(s.one_way_uncertainty_ms, 0.5, 1e-6));
}

/* No negative delays, no losses: an offset with its uncertainty, and delays marked as relative. */
static void
test_clocks_disagree(void **state)
{
	static const int64_t offsets[] = {5500 * US, -6 * MS, 37000 * MS, -3600000 * MS};
	struct track_summary s;
	struct world w;

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
	{
		world_open(&w, 20);
		w.offset = offsets[i];
		w.track.local.synchronized = true;
		for (uint32_t k = 0; k < 20; k++)
		{
			w.forward = (3 + k % 3) * MS;
			w.reverse = (5 + k % 4) * MS;
			answer(&w, k);
		}
		s = summary(&w);
		assert_int_equal(s.rtt.received, 20);
		assert_true(near(s.rtt.min, 8, 1e-6));
		assert_int_equal(s.one_way, TRACK_RELATIVE);
		assert_false(s.synchronized);
		/* the truth is within what is said */
		assert_true(near(s.offset_ms, (double) offsets[i] / 1e6, s.uncertainty_ms));
		assert_true(s.uncertainty_ms < 4.1);
		assert_true(s.forward.min >= 0 && s.reverse.min >= 0);
		/* differences are those of the network */
		assert_true(near(s.forward.max - s.forward.min, 2, 1e-6));
		assert_true(near(s.reverse.max - s.reverse.min, 3, 1e-6));
		assert_true(near(s.forward.min + s.reverse.min, s.rtt.min, 1e-6));
	}
}

/* An offset inside of the bounds cannot be told from a path with unequal directions: it is left, and said. */
static void
test_offset_within_uncertainty(void **state)
{
	struct track_summary s;
	struct world w;

	world_open(&w, 5);
	w.offset = 1 * MS;
	for (uint32_t i = 0; i < 5; i++)
		answer(&w, i);
	s = summary(&w);
	assert_int_equal(s.one_way, TRACK_ABSOLUTE);
	assert_true(near(s.forward.mean, 3, s.one_way_uncertainty_ms));
	assert_true(near(s.reverse.mean, 5, s.one_way_uncertainty_ms));
}

static void
test_clock_steps(void **state)
{
	struct track_summary s;
	struct a2a_reply reply;
	struct world w;

	/* the other clock steps back in the middle of the round: no bounds hold */
	world_open(&w, 10);
	for (uint32_t i = 0; i < 10; i++)
	{
		w.offset = i < 5 ? 0 : -1000 * MS;
		answer(&w, i);
	}
	s = summary(&w);
	assert_int_equal(s.one_way, TRACK_NONE);
	assert_int_equal(s.forward.received, 0);
	assert_true(near(s.rtt.max, 8, 0.1));
	/* ours is set back an hour between a packet and its reply: the monotonic clock tells */
	world_open(&w, 3);
	answer(&w, 0);
	send_packet(&w, 1);
	reply = reflect(&w, 1);
	assert_true(track_received(&w.track, &reply, left_at(&w, 1) - 3600000 * MS, TRACK_KERNEL,
	                           left_at(&w, 1) - START + 9 * MS));
	answer(&w, 2);
	s = summary(&w);
	assert_int_equal(s.rtt.received, 3);
	assert_true(s.rtt.min >= 7.9 && s.rtt.max <= 8.1);
	assert_int_equal(s.one_way, TRACK_ABSOLUTE);
	assert_int_equal(s.forward.received, 2);
}

static void
test_user_stamps(void **state)
{
	struct track_summary s;
	struct world w;

	world_open(&w, 4);
	w.kernel = false;
	for (uint32_t i = 0; i < 4; i++)
		answer(&w, i);
	s = summary(&w);
	assert_int_equal(s.local, TRACK_USER);
	assert_int_equal(s.remote, TRACK_USER);
	assert_int_equal(s.reverse.received, 4);
	assert_true(s.one_way_uncertainty_ms > 0.1); /* two stamps of 50 us each way */
	/* a departure that cannot be true is not taken */
	world_open(&w, 1);
	w.kernel = false;
	send_packet(&w, 0);
	track_departed(&w.track, 0, left_at(&w, 0) - 21 * US, left_at(&w, 0) + MS);
	track_departed(&w.track, 0, left_at(&w, 0) + 2 * MS, left_at(&w, 0) + MS);
	track_departed(&w.track, 1, left_at(&w, 0), left_at(&w, 0) + MS);
	assert_int_equal(w.track.packets[0].t1_source, TRACK_USER);
	track_departed(&w.track, 0, left_at(&w, 0), left_at(&w, 0) + MS);
	assert_int_equal(w.track.packets[0].t1_source, TRACK_KERNEL);
}

/* Packet by packet: . answered, f lost on the way there, r lost on the way back. */
static struct track_summary
lossy(const char *fates)
{
	struct world w;

	world_open(&w, (uint32_t) strlen(fates));
	for (uint32_t i = 0; fates[i]; i++)
	{
		struct a2a_reply reply;

		send_packet(&w, i);
		if (fates[i] == 'f')
			continue;
		reply = reflect(&w, i);
		if (fates[i] == '.')
			assert_true(come_back(&w, &reply));
	}
	return summary(&w);
}

static void
test_loss(void **state)
{
	static const struct
	{
		const char *fates;
		uint32_t forward, reverse, unattributed;
	} cases[] = {
	    {".f.r..f.", 2, 1, 0}, {"ff..", 2, 0, 0},   {"rr..", 0, 2, 0},
	    {"f.r.ff", 1, 1, 2},   {".r.rr.", 0, 3, 0}, {"..rf", 0, 0, 2},
	};
	struct track_summary s;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		s = lossy(cases[i].fates);
		assert_true(s.directional);
		assert_int_equal(s.lost_forward, cases[i].forward);
		assert_int_equal(s.lost_reverse, cases[i].reverse);
		assert_int_equal(s.unattributed, cases[i].unattributed);
		assert_int_equal(s.rtt.sent - s.rtt.received,
		                 cases[i].forward + cases[i].reverse + cases[i].unattributed);
	}
	/* nothing came back: nobody knows where it went */
	s = lossy("rrff");
	assert_false(s.directional);
	assert_int_equal(s.rtt.received, 0);
	assert_int_equal(s.one_way, TRACK_NONE);
}

/* A stateless reflector repeats our numbers: a loss cannot be blamed on a direction, and no loss is none in both. */
static void
test_stateless(void **state)
{
	struct track_summary s;
	struct world w;

	for (uint32_t lost = 0; lost < 2; lost++)
	{
		world_open(&w, 6);
		w.kernel = false;
		for (uint32_t i = 0; i < 6; i++)
		{
			w.reflected = i;
			if (lost && i == 3)
				send_packet(&w, i);
			else
				answer(&w, i);
		}
		s = summary(&w);
		assert_int_equal(s.directional, !lost);
		assert_int_equal(s.lost_forward + s.lost_reverse, 0);
		assert_int_equal(s.rtt.received, 6 - lost);
	}
}

static void
test_order_and_copies(void **state)
{
	struct a2a_reply replies[6];
	struct track_summary s;
	struct world w;

	/* 1 overtakes 0 on the way there; on the way back the replies of 2 and 3 change places, and that of 4 is doubled;
	 * packet 5 is doubled on the way there, so that it is reflected twice */
	world_open(&w, 6);
	for (uint32_t i = 0; i < 6; i++)
		send_packet(&w, i);
	replies[1] = reflect(&w, 1);
	replies[0] = reflect(&w, 0);
	for (uint32_t i = 2; i < 6; i++)
		replies[i] = reflect(&w, i);
	come_back(&w, &replies[1]);
	come_back(&w, &replies[0]);
	come_back(&w, &replies[3]);
	come_back(&w, &replies[2]);
	come_back(&w, &replies[4]);
	come_back(&w, &replies[4]);
	come_back(&w, &replies[5]);
	replies[5] = reflect(&w, 5);
	come_back(&w, &replies[5]);
	s = summary(&w);
	assert_int_equal(s.rtt.received, 6);
	assert_int_equal(s.reordered_forward, 1);
	assert_int_equal(s.reordered_reverse, 1);
	assert_int_equal(s.duplicates_reverse, 1);
	assert_int_equal(s.duplicates_forward, 1);
	assert_int_equal(s.lost_forward + s.lost_reverse + s.unattributed, 0);
	/* more copies than there is room for are counted all the same */
	for (int i = 0; i < 1000; i++)
		assert_true(come_back(&w, &replies[4]));
	s = summary(&w);
	assert_int_equal(s.duplicates_forward + s.duplicates_reverse, 1002);
	assert_int_equal(s.rtt.received, 6);
}

static void
test_strangers(void **state)
{
	struct a2a_reply reply;
	struct world w;

	world_open(&w, 2);
	send_packet(&w, 0);
	reply = reflect(&w, 0);
	reply.raw_t1++;
	assert_false(come_back(&w, &reply)); /* a time that was never sent */
	reply = reflect(&w, 1);
	assert_false(come_back(&w, &reply)); /* not sent yet */
	reply.sender_sequence = 2;
	assert_false(come_back(&w, &reply)); /* not of this round */
	assert_int_equal(w.track.received, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_clocks_agree),
	    cmocka_unit_test(test_clocks_disagree),
	    cmocka_unit_test(test_offset_within_uncertainty),
	    cmocka_unit_test(test_clock_steps),
	    cmocka_unit_test(test_user_stamps),
	    cmocka_unit_test(test_loss),
	    cmocka_unit_test(test_stateless),
	    cmocka_unit_test(test_order_and_copies),
	    cmocka_unit_test(test_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
