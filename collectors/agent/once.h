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
#include <stdint.h>

#include "agent/canary.h"

struct event_base;

/* params are "key=value"; "timeout=MILLISECONDS" is the limit of the run (default 10,000). The
 * result goes to stdout, a complaint to stderr. Exit code: 0 the test succeeded, 1 it failed,
 * 2 the input is wrong. */
int once_run(struct event_base *base, struct canary_env *env, const char *type, const char *target,
             char **params, size_t nparams, bool json);

/* ---- for agent/sweep.h ---- */

#define ONCE_PARAMS_MAX 32

/* A test of the command line: the guard is lifted unless a param says otherwise. spec->params is room for
 * ONCE_PARAMS_MAX, zero; once_spec_free empties it. False when something was complained about. */
bool once_spec(struct test_spec *spec, const char *type, const char *target, char **params,
               size_t nparams);
void once_spec_free(struct test_spec *spec);

/* NULL when there is none, which was complained about. */
const struct canary_ops *once_type(const char *type);

double once_metric(const struct result *result, const char *name); /* NaN when it is not there */
void once_print(const struct result *result, bool json);
/* Answers STAMP packets from the prefixes ("192.0.2.0/24, 2001:db8::/32") until SIGINT or SIGTERM. Exit code: 0, or 2 when
 * the input is wrong or the address is not to be had. */
int once_reflect(struct event_base *base, const char *listen, const char *allow, int64_t rate);

#endif
