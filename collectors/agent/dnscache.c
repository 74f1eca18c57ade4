/* SPDX-License-Identifier: PostgreSQL
 *
 * dnscache.c -- answers worth keeping, for as long as their TTL says.
 *
 * An entry holds only the bytes it needs (the name, the addresses), so a full cache of ordinary
 * names is about 100 kB.
 */
#include "agent/dnscache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "lib/hash.h"

#define BUCKETS 256

struct entry
{
	TAILQ_ENTRY(entry) used; /* most recently used first */
	LIST_ENTRY(entry) chain;
	int64_t expires;
	enum dns_verdict verdict;
	unsigned rcode;
	uint16_t type;
	size_t name_len, count;
	uint8_t bytes[]; /* name, then count addresses of 16 bytes */
};

struct dnscache
{
	TAILQ_HEAD(entries, entry) used;
	LIST_HEAD(, entry) buckets[BUCKETS];
	size_t count;
	uint64_t seed; /* names come from test configurations and redirects: do not let them collide */
};

struct dnscache *
dnscache_new(void)
{
	struct dnscache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	TAILQ_INIT(&cache->used);
	if (getrandom(&cache->seed, sizeof(cache->seed), 0) < 0)
		cache->seed = HASH_START;
	return cache;
}

static void
entry_drop(struct dnscache *cache, struct entry *entry)
{
	TAILQ_REMOVE(&cache->used, entry, used);
	LIST_REMOVE(entry, chain);
	cache->count--;
	free(entry);
}

void
dnscache_free(struct dnscache *cache)
{
	struct entry *entry;

	if (cache == NULL)
		return;
	while ((entry = TAILQ_FIRST(&cache->used)))
		entry_drop(cache, entry);
	free(cache);
}

static size_t
bucket_of(const struct dnscache *cache, const struct dns_name *name, uint16_t type)
{
	uint64_t h = hash_bytes(cache->seed ^ type, name->bytes, name->len);

	return (h ^ h >> 32) % BUCKETS;
}

static struct entry *
entry_find(struct dnscache *cache, const struct dns_name *name, uint16_t type)
{
	struct entry *entry;

	LIST_FOREACH (entry, &cache->buckets[bucket_of(cache, name, type)], chain)
	{
		if (entry->type == type && entry->name_len == name->len &&
		    memcmp(entry->bytes, name->bytes, name->len) == 0)
			return entry;
	}
	return NULL;
}

void
dnscache_put(struct dnscache *cache, const struct dns_name *name, uint16_t type,
             const struct dns_answer *answer, int64_t now)
{
	struct entry *entry = entry_find(cache, name, type);

	if (entry)
		entry_drop(cache, entry);
	if (answer->ttl == 0)
		return;
	if (cache->count == DNSCACHE_ENTRIES_MAX)
		entry_drop(cache, TAILQ_LAST(&cache->used, entries));
	entry = malloc(sizeof(*entry) + name->len + answer->count * 16);
	if (entry == NULL)
		return;
	entry->expires = now + answer->ttl;
	entry->verdict = answer->verdict;
	entry->rcode = answer->rcode;
	entry->type = type;
	entry->name_len = name->len;
	entry->count = answer->count;
	memcpy(entry->bytes, name->bytes, name->len);
	memcpy(entry->bytes + name->len, answer->addresses, answer->count * 16);
	TAILQ_INSERT_HEAD(&cache->used, entry, used);
	LIST_INSERT_HEAD(&cache->buckets[bucket_of(cache, name, type)], entry, chain);
	cache->count++;
}

bool
dnscache_get(struct dnscache *cache, const struct dns_name *name, uint16_t type,
             struct dns_answer *answer, int64_t now)
{
	struct entry *entry = entry_find(cache, name, type);

	if (entry == NULL)
		return false;
	if (entry->expires <= now)
	{
		entry_drop(cache, entry);
		return false;
	}
	TAILQ_REMOVE(&cache->used, entry, used);
	TAILQ_INSERT_HEAD(&cache->used, entry, used);
	memset(answer, 0, sizeof(*answer));
	answer->verdict = entry->verdict;
	answer->rcode = entry->rcode;
	answer->ttl = (uint32_t) (entry->expires - now);
	answer->count = entry->count;
	memcpy(answer->addresses, entry->bytes + entry->name_len, entry->count * 16);
	return true;
}
