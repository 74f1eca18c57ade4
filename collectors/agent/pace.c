/* SPDX-License-Identifier: PostgreSQL
 *
 * pace.c -- see pace.h.
 */
#include "agent/pace.h"

#include "agent/probe.h"

#define AGAIN_NANO 2000000 /* time in which a full send queue has sent something */

static void
schedule(struct pace *pace, int64_t nano)
{
	struct timeval tv = {nano / 1000000000, nano % 1000000000 / 1000};

	evtimer_add(&pace->timer, &tv);
}

void
pace_init(struct pace *pace, struct event_base *base, event_callback_fn on_slot, void *arg)
{
	evtimer_assign(&pace->timer, base, on_slot, arg);
}

void
pace_begin(struct pace *pace, int64_t spacing)
{
	pace->spacing = spacing;
	pace->first_at = probe_now();
}

int64_t
pace_slot(const struct pace *pace, uint32_t number)
{
	return pace->first_at + number * pace->spacing;
}

void
pace_wait(struct pace *pace, uint32_t number)
{
	int64_t wait = pace_slot(pace, number) - probe_now();

	schedule(pace, wait > 0 ? wait : 0);
}

void
pace_again(struct pace *pace)
{
	schedule(pace, AGAIN_NANO);
}

void
pace_stop(struct pace *pace)
{
	evtimer_del(&pace->timer);
}
