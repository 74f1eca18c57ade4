/* SPDX-License-Identifier: PostgreSQL
 *
 * pace.h -- when the packets of a round are sent.
 *
 * Each has its slot, a spacing after the one before. Slots are reckoned from the first, so that a packet that
 * left late does not delay those behind it.
 */
#ifndef PCTL_AGENT_PACE_H
#define PCTL_AGENT_PACE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

struct pace
{
	struct event timer;
	int64_t first_at; /* monotonic ns: slot of packet 0 */
	int64_t spacing;  /* ns */
	const struct timeval
	    *even; /* the spacing as libevent keeps it for all timers of its length, or NULL */
};

/* on_slot sends the next packet. */
void pace_init(struct pace *pace, struct event_base *base, event_callback_fn on_slot, void *arg);

/* The slot of packet 0 is now. Calls nothing. */
void pace_begin(struct pace *pace, int64_t spacing);

int64_t pace_slot(const struct pace *pace, uint32_t number);

/* on_slot at the slot of this packet, or soon where that is over. */
void pace_wait(struct pace *pace, uint32_t number);

/* on_slot a moment later: the send queue of this host was full. */
void pace_again(struct pace *pace);

void pace_stop(struct pace *pace);

#endif
