/* SPDX-License-Identifier: PostgreSQL
 *
 * sched.h -- when each test runs, and what stood in its way.
 *
 * Every test has a phase, a hash of agent and test, so that the runs of a fleet and of one
 * agent are spread over the interval and stay where they are across restarts of the list. The first run
 * does not wait for the phase: it comes within SCHED_FIRST_MS (more when many tests start at
 * once), because a person is watching. A tick that finds its test still running is counted as
 * overrun, one that comes too late as missed; neither is made up for, and the next result of the
 * test says how many there were.
 *
 * Two budgets hold runs back: how many go on at once, and how many packets leave a second. And
 * each result is looked at for what the agent itself may have done to it: started later than
 * SCHED_JITTER_MS after its time, a packet of it sent after its slot, the loop held up or the
 * processor busy with the agent while it went on. Such a result carries the attribute probectl.run.interference with the reasons.
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
#define SCHED_FIRST_EACH_MS 20  /* per test that starts in the same moment */
#define SCHED_JITTER_MS     100 /* bound of how late a run starts; beyond it the result says so */
#define SCHED_LAG_MS        25  /* of the loop or a packet, from which a run counts as disturbed */
#define SCHED_CPU_PERCENT   80  /* of one core, by the agent, over at least SCHED_CPU_MS */
#define SCHED_CPU_MS        50
#define SCHED_PULSE_MS      100 /* how often sched_pulse is to be called while runs are watched */

struct sched;

struct sched_stats
{
	uint64_t runs;      /* started */
	uint64_t overrun;   /* ticks that found the run before still going */
	uint64_t missed;    /* ticks that came too late to count */
	uint64_t held;      /* times a run that was due waited for a budget */
	uint64_t disturbed; /* results that carry the attribute */
	int64_t latest;     /* ns, the most that a run started after its time */
	size_t running;
	size_t watched; /* of those, the ones that do not judge each packet themselves */
	size_t tests;
};

/* result gets every result; changed is called when a run ended, since that may make another due;
 * processor says how many ns of it this process has used, NULL: not known. */
struct sched_ops
{
	void (*result)(const struct result *result, void *arg);
	void (*changed)(void *arg);
	int64_t (*processor)(void *arg);
};

struct sched_limits
{
	size_t concurrency;
	unsigned packets_per_second; /* 0 = no limit */
};

struct sched *sched_new(struct canary_env *env, const char *agent_id,
                        const struct sched_limits *limits, const struct sched_ops *ops, void *arg);
void sched_free(struct sched *s);

/* Takes the tests over (the list is empty then). Those that are unchanged keep their phase and
 * their run; runs of those that are gone are abandoned. */
void sched_set(struct sched *s, struct test_list *tests, int64_t now);

/* Monotonic nanoseconds of the next thing to do; INT64_MAX = nothing. */
int64_t sched_due(const struct sched *s);

/* Starts what is due. */
void sched_run(struct sched *s, int64_t now);

/* The loop answered so many ns later than it was asked to, or did one thing for so long. */
void sched_pulse(struct sched *s, int64_t lag);

void sched_stats(const struct sched *s, struct sched_stats *stats);

#endif
