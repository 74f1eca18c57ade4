/* SPDX-License-Identifier: PostgreSQL
 *
 * track.c -- see track.h.
 */
#include "agent/a2a/track.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a stamp may be wrong by, in nanoseconds. A kernel's is taken a moment beside the wire; a user's waits for
 * the processor besides. */
static const int64_t stamp_error[] = {[TRACK_KERNEL] = 1000, [TRACK_USER] = 50000};

/* How fast two disciplined clocks may run apart, and a wall clock from the monotonic one while it is slewed. */
#define DRIFT_PPM 20
#define SLEW_PPM  600

void
track_init(struct track *track, uint32_t count)
{
	memset(track, 0, sizeof(*track));
	track->count = count < TRACK_COUNT_MAX ? count : TRACK_COUNT_MAX;
}

void
track_sent(struct track *track, uint32_t number, uint64_t raw_t1, int64_t t1, int64_t mono)
{
	struct track_packet *packet = &track->packets[number];

	*packet = (struct track_packet){true, raw_t1, t1, TRACK_USER, mono};
	track->sent++;
}

void
track_departed(struct track *track, uint32_t number, int64_t t1, int64_t now)
{
	struct track_packet *packet = &track->packets[number];

	if (number >= track->count || !packet->sent || packet->t1_source == TRACK_KERNEL ||
	    t1 < packet->t1 || t1 > now)
		return;
	packet->t1 = t1;
	packet->t1_source = TRACK_KERNEL;
}

/* The reply that has the reflector's number left at a time the kernel tells. */
static void
follow_up(struct track *track, const struct a2a_reply *reply)
{
	if (reply->follow_method != A2A_METHOD_SOFTWARE && reply->follow_method != A2A_METHOD_HARDWARE)
		return;
	track->stateful = true;
	for (uint32_t i = track->reply_count; i-- > 0;)
	{
		struct track_reply *older = &track->replies[i];

		if (older->reflector != reply->follow_sequence)
			continue;
		if (older->t3_source == TRACK_USER && reply->follow_at >= older->t3)
		{
			older->t3 = reply->follow_at;
			older->t3_source = TRACK_KERNEL;
		}
		return;
	}
}

bool
track_received(struct track *track, const struct a2a_reply *reply, int64_t t4,
               enum track_source t4_source, int64_t mono)
{
	uint32_t number = reply->sender_sequence;
	struct track_reply *seen;

	if (number >= track->count || !track->packets[number].sent ||
	    track->packets[number].raw_t1 != reply->raw_t1)
		return false;
	follow_up(track, reply);
	track->remote = reply->estimate;
	if (reply->sequence != number)
		track->stateful = true;
	if (reply->ttl)
		track->ttl_forward = reply->ttl;
	if (track->reply_count == TRACK_REPLIES_MAX)
	{
		track->late_copies++;
		return true;
	}
	seen = &track->replies[track->reply_count++];
	*seen = (struct track_reply){
	    .number = number,
	    .reflector = reply->sequence,
	    .t2 = reply->t2,
	    .t3 = reply->t3,
	    .t4 = t4,
	    .t3_source = TRACK_USER,
	    .t4_source = t4_source,
	    .mono = mono,
	    .again = track->answered[number],
	};
	if (!seen->again)
		track->received++;
	track->answered[number] = true;
	return true;
}

/* ---- times ---- */

struct sample
{
	uint32_t number;
	int64_t rtt, dwell, forward, reverse;
	bool one_way;       /* forward and reverse can be used */
	bool reverse_known; /* T3 is as good as that of the others */
};

/* When the wall clock was stepped meanwhile, the monotonic clock tells the round-trip time. */
static void
sample_make(const struct track *track, const struct track_reply *reply, bool followed,
            struct sample *sample)
{
	const struct track_packet *packet = &track->packets[reply->number];
	int64_t outside = reply->mono - packet->sent_mono, whole = reply->t4 - packet->t1;
	int64_t slack = stamp_error[TRACK_USER] + outside / 1000000 * SLEW_PPM;

	sample->number = reply->number;
	sample->one_way = true;
	if (whole < 0 || whole > outside + slack)
	{
		whole = outside;
		sample->one_way = false;
	}
	sample->dwell = reply->t3 - reply->t2;
	if (sample->dwell < 0 || sample->dwell > whole)
	{
		sample->one_way = sample->one_way && sample->dwell - whole <= slack && sample->dwell >= 0;
		sample->dwell = sample->dwell < 0 ? 0 : whole;
	}
	sample->rtt = whole - sample->dwell;
	sample->forward = reply->t2 - packet->t1;
	sample->reverse = reply->t4 - reply->t3;
	sample->reverse_known = !followed || reply->t3_source == TRACK_KERNEL;
}

struct bounds
{
	int64_t low, high;   /* of the offset */
	int64_t first, last; /* monotonic times of the samples */
	uint32_t samples;
	double dwell;
};

static void
bounds_take(struct bounds *bounds, const struct sample *sample, int64_t mono)
{
	if (bounds->samples == 0)
		bounds->first = mono;
	bounds->last = mono;
	bounds->samples++;
	if (sample->forward < bounds->high)
		bounds->high = sample->forward;
	if (sample->reverse_known && -sample->reverse > bounds->low)
		bounds->low = -sample->reverse;
}

static double
ms_of(double nano)
{
	return stats_round(nano / 1e6, 6);
}

/* Decides what the clocks allow, and how much to take off. */
static int64_t
judge_clocks(const struct track *track, const struct bounds *bounds, struct track_summary *s)
{
	int64_t slack = stamp_error[s->local] + stamp_error[s->remote] +
	                (bounds->last - bounds->first) / 1000000 * DRIFT_PPM;
	int64_t width, offset, uncertainty, farthest, said;

	if (bounds->samples == 0 || bounds->low == INT64_MIN)
		return 0;
	width = bounds->high - bounds->low;
	if (width < -slack)
		return 0;
	offset = bounds->low + width / 2;
	uncertainty = (width > 0 ? width / 2 : 0) + slack;
	farthest = llabs(offset) + uncertainty;
	s->offset_ms = ms_of((double) offset);
	s->uncertainty_ms = ms_of((double) uncertainty);
	if (llabs(offset) > uncertainty)
	{
		s->one_way = TRACK_RELATIVE;
		s->one_way_uncertainty_ms = s->uncertainty_ms;
		return offset;
	}
	s->one_way = TRACK_ABSOLUTE;
	s->synchronized = track->local.synchronized && track->remote.synchronized;
	if (s->synchronized && track->local.nano < INT64_MAX / 2 && track->remote.nano < INT64_MAX / 2)
	{
		said = track->local.nano + track->remote.nano;
		farthest = said < farthest ? said : farthest;
	}
	s->one_way_uncertainty_ms = ms_of((double) farthest);
	return 0;
}

static bool
any_followed(const struct track *track)
{
	for (uint32_t i = 0; i < track->reply_count; i++)
		if (track->replies[i].t3_source == TRACK_KERNEL)
			return true;
	return false;
}

static void
summarize_times(const struct track *track, struct track_summary *s)
{
	bool followed = any_followed(track);
	struct bounds bounds = {.low = INT64_MIN, .high = INT64_MAX};
	struct sample sample;
	int64_t offset, dwell = 0;

	s->remote = followed ? TRACK_KERNEL : TRACK_USER;
	s->local = TRACK_KERNEL;
	for (uint32_t i = 0; i < track->reply_count; i++)
	{
		const struct track_reply *reply = &track->replies[i];

		if (reply->again)
			continue;
		if (reply->t4_source == TRACK_USER || track->packets[reply->number].t1_source == TRACK_USER)
			s->local = TRACK_USER;
		sample_make(track, reply, followed, &sample);
		stats_received(&s->rtt, sample.number, (double) sample.rtt / 1e6);
		dwell += sample.dwell;
		if (sample.one_way)
			bounds_take(&bounds, &sample, reply->mono);
	}
	if (track->received > 0)
		s->dwell_ms = stats_round((double) dwell / track->received / 1e6, 3);
	offset = judge_clocks(track, &bounds, s);
	if (s->one_way == TRACK_NONE)
		return;
	for (uint32_t i = 0; i < track->reply_count; i++)
	{
		const struct track_reply *reply = &track->replies[i];

		if (reply->again)
			continue;
		sample_make(track, reply, followed, &sample);
		if (!sample.one_way)
			continue;
		/* Below zero is within the error of the stamps: the clocks were judged to agree so far. */
		stats_received(&s->forward, sample.number,
		               fmax((double) (sample.forward - offset) / 1e6, 0));
		if (sample.reverse_known)
			stats_received(&s->reverse, sample.number,
			               fmax((double) (sample.reverse + offset) / 1e6, 0));
	}
}

/* ---- loss, order, copies ---- */

/* Whether an earlier reply of the list has that reflector's number. */
static bool
reflector_seen(const struct track *track, uint32_t before, uint32_t reflector)
{
	for (uint32_t i = 0; i < before; i++)
		if (track->replies[i].reflector == reflector)
			return true;
	return false;
}

/* Packets that reached the reflector later than one sent after them: pairs are compared in its order. */
static bool
overtaken(const struct track *track, const struct track_reply *reply)
{
	for (uint32_t i = 0; i < track->reply_count; i++)
		if (track->replies[i].number > reply->number &&
		    track->replies[i].reflector < reply->reflector)
			return true;
	return false;
}

static void
summarize_order(const struct track *track, struct track_summary *s)
{
	uint32_t highest = 0;

	for (uint32_t i = 0; i < track->reply_count; i++)
	{
		const struct track_reply *reply = &track->replies[i];
		bool copy = reply->again &&
		            (!track->stateful || reflector_seen(track, i, reply->reflector));

		if (copy)
			s->duplicates_reverse++;
		else if (reply->again)
			s->duplicates_forward++;
		if (i > 0 && reply->reflector < highest && !copy)
			s->reordered_reverse++;
		if (track->stateful && !reply->again && overtaken(track, reply))
			s->reordered_forward++;
		if (reply->reflector > highest)
			highest = reply->reflector;
	}
	s->duplicates_reverse += track->late_copies;
}

/* A stateful reflector numbers what it sends from 0: up to its highest number that came back, what is missing was
 * lost on the way back, and the rest of what is missing never reached it. */
static void
summarize_loss(const struct track *track, struct track_summary *s)
{
	uint32_t lost = track->sent - track->received, highest = 0, distinct = 0, last = 0;

	if (track->received == 0 || (!track->stateful && lost > 0))
		return;
	for (uint32_t i = 0; i < track->reply_count; i++)
	{
		if (track->replies[i].reflector > highest)
			highest = track->replies[i].reflector;
		if (!reflector_seen(track, i, track->replies[i].reflector))
			distinct++;
		if (track->replies[i].number > last)
			last = track->replies[i].number;
	}
	s->directional = true;
	s->arrived = track->received;
	if (lost == 0)
		return;
	for (uint32_t i = last + 1; i < track->count; i++)
		s->unattributed += track->packets[i].sent;
	/* A reflector that went on with the numbers of another session says nothing of this one. */
	if (highest + 1 - distinct > lost + s->duplicates_forward)
	{
		s->directional = false;
		return;
	}
	s->lost_reverse = highest + 1 - distinct;
	if (s->lost_reverse > lost - s->unattributed)
		s->lost_reverse = lost - s->unattributed;
	s->lost_forward = lost - s->unattributed - s->lost_reverse;
	s->arrived = track->received + s->lost_reverse;
}

void
track_summarize(const struct track *track, struct track_summary *s)
{
	memset(s, 0, sizeof(*s));
	for (uint32_t i = 0; i < track->count; i++)
		if (track->packets[i].sent)
			stats_sent(&s->rtt);
	summarize_times(track, s);
	summarize_order(track, s);
	summarize_loss(track, s);
	s->rtt.duplicates = s->duplicates_forward + s->duplicates_reverse;
}
