/* SPDX-License-Identifier: PostgreSQL
 *
 * sched.h -- when each test runs.
 *
 * Every test has a phase, a hash of agent and test, so that the runs of a fleet and of one
 * agent are spread over the interval and stay where they are across restarts of the list. The first run
 * does not wait for the phase: it comes within SCHED_FIRST_MS (more when many tests start at
 * once), because a person is watching. A tick that finds its test still running is counted as
 * overrun, one that comes too late as missed; neither is made up for.
 *
 * No timer and no clock inside: the caller asks when something is due and says when it is now.
 */
#ifndef PCTL_AGENT_SCHED_H
#define PCTL_AGENT_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/tests.h"

#define SCHED_FIRST_MS      3000
#define SCHED_FIRST_EACH_MS 20 /* per test that starts in the same moment */

struct sched;

struct sched_stats
{
	uint64_t runs;    /* started */
	uint64_t overrun; /* ticks that found the run before still going */
	uint64_t missed;  /* ticks that came too late to count */
	size_t running;
	size_t tests;
};

/* done gets every result; changed is called when a run ended, since that may make another due. */
struct sched_ops
{
	void (*result)(const struct result *result, void *arg);
	void (*changed)(void *arg);
};

struct sched *sched_new(struct canary_env *env, const char *agent_id, size_t concurrency,
                        const struct sched_ops *ops, void *arg);
void sched_free(struct sched *s);

/* Takes the tests over (the list is empty then). Those that are unchanged keep their phase and
 * their run; runs of those that are gone are abandoned. */
void sched_set(struct sched *s, struct test_list *tests, int64_t now);

/* Monotonic nanoseconds of the next thing to do; INT64_MAX = nothing. */
int64_t sched_due(const struct sched *s);

/* Starts what is due. */
void sched_run(struct sched *s, int64_t now);

void sched_stats(const struct sched *s, struct sched_stats *stats);

#endif
