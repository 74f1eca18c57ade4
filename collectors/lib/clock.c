/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.c -- see clock.h.
 */
#include "lib/clock.h"

#include <stdbool.h>
#include <time.h>

static bool is_virtual;
static int64_t virtual_unix, virtual_mono;

static int64_t
read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t) now.tv_sec * NANO_PER_SECOND + now.tv_nsec;
}

int64_t
clock_unix_nano(void)
{
	return is_virtual ? virtual_unix : read_clock(CLOCK_REALTIME);
}

int64_t
clock_mono_nano(void)
{
	return is_virtual ? virtual_mono : read_clock(CLOCK_MONOTONIC);
}

void
clock_virtual(int64_t unix_nano, int64_t mono_nano)
{
	is_virtual = true;
	virtual_unix = unix_nano;
	virtual_mono = mono_nano;
}

void
clock_advance(int64_t nano)
{
	virtual_unix += nano;
	virtual_mono += nano;
}
