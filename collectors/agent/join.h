/* SPDX-License-Identifier: PostgreSQL
 *
 * join.h -- the first start: from a join token to an identity, with patience.
 */
#ifndef PCTL_AGENT_JOIN_H
#define PCTL_AGENT_JOIN_H

#include <stddef.h>

struct event_base;
struct join;
struct resolver;
struct settings;

/* Called once: NULL when the identity is there, else why it will not come. */
typedef void (*join_done)(const char *why_not, void *arg);

/* Tries until it works or is refused. NULL with err when the settings do not allow it. */
struct join *join_start(struct event_base *base, struct resolver *resolver,
                        const struct settings *settings, join_done done, void *arg, char *err,
                        size_t errlen);
void join_free(struct join *j);

#endif
