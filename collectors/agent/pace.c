/* SPDX-License-Identifier: PostgreSQL
 *
 * pace.c -- see pace.h.
 */
#include "agent/pace.h"

#include "agent/probe.h"
#include "lib/clock.h"

#define AGAIN_NANO 2000000  /* time in which a full send queue has sent something */
#define EVEN_NANO  10000000 /* spacings of which there are few different ones */
#define LAG_NANO   1000000  /* behind the slots: then the timer is exact again */

static void
schedule(struct pace *pace, int64_t nano)
{
	struct timeval tv = clock_timeval(nano);

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
	struct timeval tv = clock_timeval(spacing);

	pace->spacing = spacing;
	pace->first_at = probe_now();
	/* Timers of one length are a queue, not a heap of thousands. */
	pace->even = spacing > 0 && spacing % EVEN_NANO == 0
	                 ? event_base_init_common_timeout(event_get_base(&pace->timer), &tv)
	                 : NULL;
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

	if (pace->even && wait <= pace->spacing && wait > pace->spacing - LAG_NANO)
		evtimer_add(&pace->timer, pace->even);
	else
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
