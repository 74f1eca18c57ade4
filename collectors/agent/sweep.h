/* SPDX-License-Identifier: PostgreSQL
 *
 * sweep.h -- one run of one type against each target of a list, without a server.
 *
 *   probectl-agent --once TYPE @FILE [--param key=value]... [--rate N] [--at-once N] [--json]
 *
 * A line of text or of JSON for each target as it ends, then what all of it took and cost: the same
 * canaries and the same loop as in the service, so its cost is the service's.
 */
#ifndef PCTL_AGENT_SWEEP_H
#define PCTL_AGENT_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct canary_env;
struct event_base;

#define SWEEP_TARGETS_MAX 100000
#define SWEEP_AT_ONCE     64
#define SWEEP_AT_ONCE_MAX 100000
#define SWEEP_RATE_MAX    1000000

struct sweep_options
{
	const char *type;
	const char *file; /* targets, one a line; "-" is the standard input, '#' begins a comment */
	char **params;    /* as for once_run */
	size_t nparams;
	uint32_t rate;    /* runs begun a second; 0 as fast as at_once allows */
	uint32_t at_once; /* runs under way at most */
	bool json;
	bool summary; /* nothing but the last line */
};

/* Exit code: 0 every test succeeded, 1 one failed, 2 the input is wrong. */
int sweep_run(struct event_base *base, struct canary_env *env, const struct sweep_options *options);

#endif
