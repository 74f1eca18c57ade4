/* SPDX-License-Identifier: PostgreSQL
 *
 * track.h -- what a round of STAMP packets says of both directions. No socket, no clock.
 *
 *      T1 leaves us        T2 reaches the reflector        T3 leaves it        T4 reaches us
 *
 * A round-trip time is (T4 - T1) - (T3 - T2) and needs no common clock. A delay of one direction does: T2 - T1 is the
 * delay forward plus how far the other clock is ahead. What that is is only known within bounds, for no delay
 * is negative: for every packet -(T4 - T3) <= offset <= T2 - T1. Together the packets give the closest bounds; their
 * middle is the estimate, half their distance its uncertainty. Clocks agree when 0 is within; else the delays of one
 * direction are shown with the offset taken off, and only their changes mean something. Bounds that contradict
 * one another come of a clock that moved during the round: then there are no delays of one direction.
 *
 * Loss of a direction is told by the reflector's own numbers, when it counts (a stateful one). Packets behind the
 * last answered one may have been lost either way: they are counted apart and blamed on neither.
 */
#ifndef PCTL_AGENT_A2A_TRACK_H
#define PCTL_AGENT_A2A_TRACK_H

#include "agent/a2a/wire.h"
#include "agent/stats.h"

#define TRACK_COUNT_MAX   100
#define TRACK_REPLIES_MAX (2 * TRACK_COUNT_MAX) /* duplicates; more are counted and not looked at */

_Static_assert(TRACK_COUNT_MAX <= STATS_PROBES_MAX, "the statistics must take every packet");

/* Where the time of an event comes from; a worse one is larger. */
enum track_source
{
	TRACK_KERNEL,
	TRACK_USER,
};

struct track_packet
{
	bool sent;
	uint64_t raw_t1;
	int64_t t1;
	enum track_source t1_source;
	int64_t sent_mono; /* before it was handed over */
};

struct track_reply
{
	uint32_t number; /* of the packet */
	uint32_t reflector;
	int64_t t2, t3, t4;
	enum track_source t3_source, t4_source;
	int64_t mono; /* of the arrival */
	bool again;   /* the packet was answered before */
};

struct track
{
	uint32_t count; /* of packets in the round */
	struct track_packet packets[TRACK_COUNT_MAX];
	struct track_reply replies[TRACK_REPLIES_MAX]; /* in order of arrival */
	uint32_t reply_count;
	uint32_t late_copies; /* that did not fit replies */
	bool answered[TRACK_COUNT_MAX];
	uint32_t sent, received; /* received: distinct */
	struct a2a_estimate local, remote;
	bool stateful;                    /* known to be, from outside or from a follow-up */
	uint8_t ttl_forward, ttl_reverse; /* as packets arrived; 0: not known */
};

/* How far values of one direction can be trusted. */
enum track_one_way
{
	TRACK_NONE,     /* nothing was answered, or a clock moved during the round */
	TRACK_ABSOLUTE, /* the clocks agree within the uncertainty */
	TRACK_RELATIVE, /* they do not: the offset was taken off, changes are what counts */
};

struct track_summary
{
	struct stats rtt, forward, reverse;
	uint32_t duplicates_forward, duplicates_reverse;
	uint32_t reordered_forward, reordered_reverse;
	bool directional; /* what is below of loss is known */
	uint32_t lost_forward, lost_reverse, unattributed;
	uint32_t arrived; /* at the reflector, as far as it is known */
	enum track_one_way one_way;
	bool synchronized;     /* both sides say their clocks are, and nothing speaks against it */
	double offset_ms;      /* the reflector's clock is so far ahead */
	double uncertainty_ms; /* of the offset */
	double one_way_uncertainty_ms;
	double dwell_ms;                 /* mean time a packet spent in the reflector */
	enum track_source local, remote; /* the worst of our times that were used; of T3 */
};

void track_init(struct track *track, uint32_t count);

/* Packet number (below count) was handed over at t1, our own stamp; the kernel's comes later and is taken when it can
 * be true: not before ours, and not after now. */
void track_sent(struct track *track, uint32_t number, uint64_t raw_t1, int64_t t1, int64_t mono);
void track_departed(struct track *track, uint32_t number, int64_t t1, int64_t now);

/* A reply that was read. False: it is not about a packet of this round. t4_source says who stamped t4. */
bool track_received(struct track *track, const struct a2a_reply *reply, int64_t t4,
                    enum track_source t4_source, int64_t mono);

/* When the round is over. */
void track_summarize(const struct track *track, struct track_summary *summary);

#endif
