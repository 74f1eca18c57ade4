/* SPDX-License-Identifier: PostgreSQL
 *
 * known.c -- see known.h.
 *
 * A fixed number of entries, a line of the processor's cache each, found by open addressing over a short run. Nothing is ever
 * taken out: an entry whose epoch is over is overwritten by the next that wants its place, and when a run is full one of it is.
 *
 * Keys are hashes with a secret, so that nobody can look for two sets of labels that meet, and with the registry's file, so that
 * what was remembered of a table that is gone (extension dropped, table emptied, another database) is of no use.
 *
 * Locks: none. An entry has a version, odd while somebody writes it; a reader that met a writer has found nothing.
 */
#include "remote/known.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "core/guc.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define RUN 16 /* entries a key may be in */

typedef struct Entry
{
	pg_atomic_uint32 version; /* 0: never written */
	uint32 reserved;
	KnownKey key;
	pg_uuid_t tenant;
	pg_uuid_t series;
	int64 epoch;
} Entry;

StaticAssertDecl(sizeof(Entry) == 64, "an entry is a line of the cache");

typedef struct KnownShmem
{
	uint64 secrets[2];
	char pad[PG_CACHE_LINE_SIZE - 2 * sizeof(uint64)];
	Entry entries[FLEXIBLE_ARRAY_MEMBER];
} KnownShmem;

/* What waits for the commit. */
typedef struct Pending
{
	KnownScope scope;
	KnownKey key;
	KnownSeries series;
} Pending;

static KnownShmem *shmem = NULL;
static uint32 mask = 0;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static Pending *pending = NULL; /* in TopTransactionContext */
static int64 pending_count = 0, pending_room = 0;

static Size
shmem_size(void)
{
	mask = pg_nextpower2_32((uint32) pctl_remote_series_cache) - 1;
	return CACHELINEALIGN(offsetof(KnownShmem, entries) + ((Size) mask + 1) * sizeof(Entry));
}

static void
known_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(shmem_size());
}

static void
known_startup(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shmem = ShmemInitStruct("probectl known series", shmem_size(), &found);
	/* The rest is zero, as new shared memory is, and is not touched before it is used. */
	if (!found && !pg_strong_random(shmem->secrets, sizeof(shmem->secrets)))
		ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
		                errmsg("could not generate a secret for the series that are known")));
	LWLockRelease(AddinShmemInitLock);
}

/* ---- looking ---- */

KnownScope
known_scope(Relation registry, const pg_uuid_t *tenant, int64 epoch)
{
	Oid of[3] = {MyDatabaseId, RelationGetRelid(registry), registry->rd_rel->relfilenode};
	KnownScope scope = {.tenant = *tenant, .epoch = epoch};

	for (int i = 0; i < 2; i++)
		scope.seeds[i] = hash_bytes_extended((const unsigned char *) of, sizeof(of),
		                                     shmem->secrets[i]);
	return scope;
}

static Entry *
entry_at(const KnownKey *key, uint32 probe)
{
	return &shmem->entries[((uint32) key->hash[0] + probe) & mask];
}

KnownKey
known_key(const KnownScope *scope, const uint8 *labels, size_t len)
{
	KnownKey key;

	for (int i = 0; i < 2; i++)
		key.hash[i] = hash_bytes_extended(labels, (int) len, scope->seeds[i]);
	__builtin_prefetch(entry_at(&key, 0));
	return key;
}

static bool
entry_is(const Entry *entry, const KnownScope *scope, const KnownKey *key)
{
	return entry->key.hash[0] == key->hash[0] && entry->key.hash[1] == key->hash[1] &&
	       memcmp(&entry->tenant, &scope->tenant, UUID_LEN) == 0;
}

bool
known_find(const KnownScope *scope, const KnownKey *key, KnownSeries *series)
{
	for (uint32 probe = 0; probe < RUN; probe++)
	{
		Entry *entry = entry_at(key, probe);
		uint32 version = pg_atomic_read_u32(&entry->version);
		bool holds;

		if (version == 0)
			return false;
		pg_read_barrier();
		if (!entry_is(entry, scope, key))
			continue;
		holds = entry->epoch == scope->epoch;
		*series = (KnownSeries){.id = entry->series, .reserved = entry->reserved};
		pg_read_barrier();
		return holds && version % 2 == 0 && pg_atomic_read_u32(&entry->version) == version;
	}
	return false;
}

/* ---- remembering ---- */

/* Where a key is or may be put: one of a full run at random. */
static Entry *
entry_for(const KnownScope *scope, const KnownKey *key)
{
	for (uint32 probe = 0; probe < RUN; probe++)
	{
		Entry *entry = entry_at(key, probe);

		if (pg_atomic_read_u32(&entry->version) == 0 || entry_is(entry, scope, key) ||
		    (entry->epoch != scope->epoch && memcmp(&entry->tenant, &scope->tenant, UUID_LEN) == 0))
			return entry;
	}
	return entry_at(key, (uint32) (key->hash[1] % RUN));
}

static void
entry_write(const KnownScope *scope, const KnownKey *key, const KnownSeries *series)
{
	Entry *entry = entry_for(scope, key);
	uint32 version = pg_atomic_read_u32(&entry->version);

	/* Whoever writes it now has as much right to the place. */
	if (version % 2 == 1 || !pg_atomic_compare_exchange_u32(&entry->version, &version, version + 1))
		return;
	entry->key = *key;
	entry->tenant = scope->tenant;
	entry->epoch = scope->epoch;
	entry->series = series->id;
	entry->reserved = series->reserved;
	pg_write_barrier();
	pg_atomic_write_u32(&entry->version, version + 2 == 0 ? 2 : version + 2);
}

/* Not at once: the transaction sees series that it made itself. */
void
known_put(const KnownScope *scope, const KnownKey *key, const KnownSeries *series)
{
	if (pending_count == pending_room)
	{
		pending_room = Max(pending_room * 2, 512);
		pending = pending == NULL ? MemoryContextAllocHuge(TopTransactionContext,
		                                                   pending_room * sizeof(Pending))
		                          : repalloc_huge(pending, pending_room * sizeof(Pending));
	}
	pending[pending_count++] = (Pending){.scope = *scope, .key = *key, .series = *series};
}

/* At the commit the tenant's series are still held: the epoch is what it was. */
static void
known_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		for (int64 i = 0; i < pending_count; i++)
			entry_write(&pending[i].scope, &pending[i].key, &pending[i].series);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
	{
		pending = NULL;
		pending_count = pending_room = 0;
	}
}

/* Which of them are rolled back is not worth knowing. */
static void
known_subxact(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		pending_count = 0;
}

void
pctl_known_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = known_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = known_startup;
	RegisterXactCallback(known_xact, NULL);
	RegisterSubXactCallback(known_subxact, NULL);
}
