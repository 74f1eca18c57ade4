/* SPDX-License-Identifier: PostgreSQL
 *
 * deferred.c -- the ring of refusals. See deferred.h for why.
 *
 * One LWLock guards head, count and entries. Texts are cut to the width of an entry at a character's
 * boundary; data that does not fit is left out, not cut, because it is JSON.
 */
#include "audit/deferred.h"

#include "access/xact.h"
#include "audit/chain.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define RING_ENTRIES 2048
#define DRAIN_MAX    256

typedef struct DeferredEntry
{
	Oid database;
	bool has_tenant;
	pg_uuid_t tenant;
	TimestampTz at;
	char actor[80];
	char action[64];
	char target[160];
	char outcome[8];
	char data[256];
} DeferredEntry;

typedef struct DeferredShmem
{
	LWLock *lock;
	uint32 head, count; /* oldest entry, entries waiting */
	uint64 lost;        /* since the last drain */
	DeferredEntry entries[RING_ENTRIES];
} DeferredShmem;

static DeferredShmem *shmem = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
deferred_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(DeferredShmem)));
	RequestNamedLWLockTranche("probectl deferred audit", 1);
}

static void
deferred_startup(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shmem = ShmemInitStruct("probectl deferred audit", sizeof(DeferredShmem), &found);
	if (!found)
	{
		memset(shmem, 0, sizeof(*shmem));
		shmem->lock = &GetNamedLWLockTranche("probectl deferred audit")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
pctl_deferred_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = deferred_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = deferred_startup;
}

static void
text_keep(char *to, size_t size, const char *from)
{
	int len = pg_mbcliplen(from, (int) strlen(from), (int) size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

void
pctl_audit_denied(const char *action, const char *target, const char *outcome, const char *data)
{
	DeferredEntry entry = {.database = MyDatabaseId, .at = pctl_now()};
	const PctlPrincipal *who = pctl_principal();

	if (shmem == NULL)
		return;
	entry.has_tenant = who != NULL;
	if (who != NULL)
		entry.tenant = who->tenant;
	text_keep(entry.actor, sizeof(entry.actor), pctl_principal_name());
	text_keep(entry.action, sizeof(entry.action), action);
	text_keep(entry.target, sizeof(entry.target), target);
	text_keep(entry.outcome, sizeof(entry.outcome), outcome);
	strlcpy(entry.data, strlen(data) < sizeof(entry.data) ? data : "{}", sizeof(entry.data));
	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	if (shmem->count == RING_ENTRIES)
		shmem->lost++;
	else
		shmem->entries[(shmem->head + shmem->count++) % RING_ENTRIES] = entry;
	LWLockRelease(shmem->lock);
	pctl_worker_wake_keeper();
}

/* Takes entries of this database out, oldest first; those of others stay in their order. */
static int
deferred_take(DeferredEntry *out, uint64 *lost)
{
	int taken = 0;
	uint32 kept = 0;

	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < shmem->count; i++)
	{
		DeferredEntry *entry = &shmem->entries[(shmem->head + i) % RING_ENTRIES];

		if (entry->database == MyDatabaseId && taken < DRAIN_MAX)
			out[taken++] = *entry;
		else
			shmem->entries[(shmem->head + kept++) % RING_ENTRIES] = *entry;
	}
	shmem->count = kept;
	*lost = shmem->lost;
	shmem->lost = 0;
	LWLockRelease(shmem->lock);
	return taken;
}

static bool
tenant_exists(const pg_uuid_t *tenant)
{
	static PctlPlan plan = {"SELECT FROM probectl.tenant WHERE tenant_id = $1", 1, {UUIDOID}};
	Datum args[1] = {UUIDPGetDatum(tenant)};
	PctlTrusted saved;
	bool found;

	pctl_trusted_begin(&saved);
	SPI_connect();
	found = pctl_plan_run(&plan, args, NULL, true, 1) == 1;
	SPI_finish();
	pctl_trusted_end(&saved);
	return found;
}

/* Entries of one chain in one transaction. */
static void
deferred_write(const DeferredEntry *entries, int count)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (entries[0].has_tenant)
		pctl_context_bind_tenant(&entries[0].tenant);
	/* The tenant may have been erased since. */
	if (!entries[0].has_tenant || tenant_exists(&entries[0].tenant))
		for (int i = 0; i < count; i++)
		{
			PctlAuditEvent event = {.actor = entries[i].actor,
			                        .action = entries[i].action,
			                        .target = entries[i].target,
			                        .outcome = entries[i].outcome,
			                        .data = entries[i].data,
			                        .at = entries[i].at};

			(void) pctl_audit_append(
			    entries[0].has_tenant ? PCTL_AUDIT_TENANT : PCTL_AUDIT_PROVIDER, &event);
		}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
lost_write(uint64 lost)
{
	PctlAuditEvent event = {.actor = "system:keeper",
	                        .action = "audit.overflow",
	                        .target = "deferred",
	                        .outcome = "failed"};

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	event.data = psprintf("{\"lost\": " UINT64_FORMAT "}", lost);
	(void) pctl_audit_append(PCTL_AUDIT_PROVIDER, &event);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static bool
same_chain(const DeferredEntry *a, const DeferredEntry *b)
{
	return a->has_tenant == b->has_tenant &&
	       (!a->has_tenant || memcmp(&a->tenant, &b->tenant, UUID_LEN) == 0);
}

void
pctl_deferred_drain(void)
{
	static DeferredEntry entries[DRAIN_MAX];
	uint64 lost;
	int count, done;

	do
	{
		count = deferred_take(entries, &lost);
		for (done = 0; done < count;)
		{
			int next = done + 1;

			while (next < count && same_chain(&entries[done], &entries[next]))
				next++;
			deferred_write(&entries[done], next - done);
			done = next;
		}
		if (lost > 0)
			lost_write(lost);
		CHECK_FOR_INTERRUPTS();
	} while (count == DRAIN_MAX);
}

PCTL_FUNCTION(pctl_audit_denied_sql);

/* probectl_internal.audit_denied(action text, target text, outcome text, data json) */
Datum
pctl_audit_denied_sql(PG_FUNCTION_ARGS)
{
	pctl_audit_denied(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
	                  text_to_cstring(PG_GETARG_TEXT_PP(2)), text_to_cstring(PG_GETARG_TEXT_PP(3)));
	PG_RETURN_VOID();
}
