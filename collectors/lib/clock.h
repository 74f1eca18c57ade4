/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.h -- time as an interface, virtual in tests.
 *
 * Two clocks: Unix time for what leaves the process, monotonic for everything that waits.
 * A test calls clock_virtual once and then owns both; nothing moves but by
 * clock_advance.
 */
#ifndef PCTL_LIB_CLOCK_H
#define PCTL_LIB_CLOCK_H

#include <stdint.h>
#include <sys/time.h>

#define NANO_PER_SECOND INT64_C(1000000000)
#define NANO_PER_MS     INT64_C(1000000)

int64_t clock_unix_nano(void);
int64_t clock_mono_nano(void);

/* As timers want it; not below 0. */
static inline struct timeval
clock_timeval(int64_t nano)
{
	return (struct timeval){nano / NANO_PER_SECOND, nano % NANO_PER_SECOND / 1000};
}

/* Tests only: from now on time stands still at these values. */
void clock_virtual(int64_t unix_nano, int64_t mono_nano);
void clock_advance(int64_t nano);

#endif
