/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.c -- see clock.h.
 */
#include "agent/a2a/clock.h"

#include <sys/timex.h>

#define RESOLUTION 1000 /* ns: a stamp is taken a moment beside the event */

struct a2a_estimate
a2a_clock_estimate(void)
{
	struct timex state = {.modes = 0}; /* reads only */
	int answer = adjtimex(&state);

	if (answer < 0 || answer == TIME_ERROR || (state.status & STA_UNSYNC))
		return (struct a2a_estimate){.nano = RESOLUTION};
	return (struct a2a_estimate){
	    .synchronized = true,
	    .nano = (int64_t) state.maxerror * 1000 + RESOLUTION, /* microseconds */
	};
}
