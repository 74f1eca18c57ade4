/* SPDX-License-Identifier: PostgreSQL
 *
 * once.h -- one run of one test from the command line, without a server.
 *
 *   probectl-agent --once TYPE TARGET [--param key=value]... [--json]
 *
 * The same canaries as in the service; the result is drawn as bars or written as
 * JSON, so that a person at a shell sees what the control plane would be told.
 */
#ifndef PCTL_AGENT_ONCE_H
#define PCTL_AGENT_ONCE_H

#include <stdbool.h>
#include <stddef.h>

struct canary_env;
struct event_base;

/* params are "key=value"; "timeout=MILLISECONDS" is the limit of the run (default 10,000). The
 * result goes to stdout, a complaint to stderr. Exit code: 0 the test succeeded, 1 it failed,
 * 2 the input is wrong. */
int once_run(struct event_base *base, struct canary_env *env, const char *type, const char *target,
             char **params, size_t nparams, bool json);

#endif
