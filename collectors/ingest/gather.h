/* SPDX-License-Identifier: PostgreSQL
 *
 * gather.h -- how long a small batch waits for others of its tenant.
 *
 * Not at all while few come: then each has a transaction of its own, at once. Thousands a second would keep the
 * machine busy with transactions of one result; the more there are, the longer they wait, and the more share one.
 */
#ifndef PCTL_INGEST_GATHER_H
#define PCTL_INGEST_GATHER_H

#include <stdint.h>

#define GATHER_RATE_MIN 1500 /* small batches a second up to which none waits */
#define GATHER_RATE_MAX 5000 /* from here on it is the whole time */
#define GATHER_MAX_MS   150
#define GATHER_LOOK_MS  10 /* so much longer at most */

struct gather
{
	int64_t since; /* monotonic ms: of what is counted now */
	int64_t count;
	double rate; /* a second, of the time before */
};

/* One came. */
void gather_count(struct gather *gather, int64_t now);

/* Milliseconds to wait. */
int64_t gather_wait(const struct gather *gather);

#endif
