/* SPDX-License-Identifier: PostgreSQL
 *
 * backoff.c -- see backoff.h.
 */
#include "lib/backoff.h"

#include "lib/clock.h"

void
backoff_init(struct backoff *b, int64_t min_ms, int64_t max_ms, int64_t healthy_ms)
{
	*b = (struct backoff){.min_ms = min_ms, .max_ms = max_ms, .healthy_ms = healthy_ms};
}

void
backoff_up(struct backoff *b, int64_t mono_nano)
{
	b->up_since = mono_nano;
}

int64_t
backoff_down(struct backoff *b, int64_t mono_nano, uint32_t random)
{
	int64_t delay;

	if (b->up_since && mono_nano - b->up_since >= b->healthy_ms * NANO_PER_MS)
		b->next_ms = 0;
	b->up_since = 0;
	delay = b->next_ms ? b->next_ms : b->min_ms;
	b->next_ms = delay * 2 < b->max_ms ? delay * 2 : b->max_ms;
	return delay - (int64_t) ((uint64_t) random * (uint64_t) (delay / 2) >> 32);
}
