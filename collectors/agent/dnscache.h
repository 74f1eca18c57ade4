/* SPDX-License-Identifier: PostgreSQL
 *
 * dnscache.h -- answers worth keeping, for as long as their TTL says.
 *
 * A bounded hash table with eviction of the longest unused entry. Time is given by the caller
 * (seconds of a clock that never steps), so that tests need not wait.
 */
#ifndef PCTL_AGENT_DNSCACHE_H
#define PCTL_AGENT_DNSCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/dnswire.h"

#define DNSCACHE_ENTRIES_MAX 1024

struct dnscache;

struct dnscache *dnscache_new(void); /* NULL when memory is out */
void dnscache_free(struct dnscache *cache);

/* Keeps an answer with a TTL; anything else, and out of memory, is a no-op. */
void dnscache_put(struct dnscache *cache, const struct dns_name *name, uint16_t type,
                  const struct dns_answer *answer, int64_t now);

/* False when there is none or it is too old. */
bool dnscache_get(struct dnscache *cache, const struct dns_name *name, uint16_t type,
                  struct dns_answer *answer, int64_t now);

#endif
