/* SPDX-License-Identifier: PostgreSQL
 *
 * gather.c -- see gather.h. The rate is a mean that forgets: of steps of a tenth of a second, each with a quarter of
 * the weight.
 */
#include "ingest/gather.h"

#define STEP_MS 100
#define IDLE_MS 1000 /* after such a pause nothing before it counts */

void
gather_count(struct gather *gather, int64_t now)
{
	int64_t spent = now - gather->since;

	if (spent >= STEP_MS)
	{
		double rate = (double) gather->count * 1000 / (double) spent;

		gather->rate = spent >= IDLE_MS ? rate : (gather->rate * 3 + rate) / 4;
		gather->since = now;
		gather->count = 0;
	}
	gather->count++;
}

int64_t
gather_wait(const struct gather *gather)
{
	double above = (gather->rate - GATHER_RATE_MIN) / (GATHER_RATE_MAX - GATHER_RATE_MIN);

	return above <= 0 ? 0 : above >= 1 ? GATHER_MAX_MS : (int64_t) (above * GATHER_MAX_MS);
}
