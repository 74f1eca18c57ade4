/* SPDX-License-Identifier: PostgreSQL
 *
 * backoff.h -- how long to wait before the next attempt.
 *
 * Doubles from min to max with jitter (half fixed, half random), so that a fleet that lost its
 * control plane does not come back at once; forgets its failures after a healthy
 * time. No clock and no randomness of its own: both are handed in.
 */
#ifndef PCTL_LIB_BACKOFF_H
#define PCTL_LIB_BACKOFF_H

#include <stdint.h>

struct backoff
{
	int64_t min_ms, max_ms, healthy_ms;
	int64_t next_ms;  /* 0: the first failure is ahead */
	int64_t up_since; /* monotonic ns; 0 = not connected */
};

void backoff_init(struct backoff *b, int64_t min_ms, int64_t max_ms, int64_t healthy_ms);

/* A connection was made. */
void backoff_up(struct backoff *b, int64_t mono_nano);

/* An attempt failed or a connection was lost: milliseconds to wait, in (delay/2 .. delay]. */
int64_t backoff_down(struct backoff *b, int64_t mono_nano, uint32_t random);

#endif
