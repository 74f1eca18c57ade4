/* SPDX-License-Identifier: PostgreSQL
 *
 * fairness.c -- token buckets, one set a tenant, shared by every backend.
 *
 * A bucket fills at rate x weight and holds ten seconds of it. It may be overdrawn once: a batch is
 * admitted while anything is left and the debt delays the next, so a budget smaller than a batch
 * still makes progress and the long-run rate is the budget. Rates are read from tenant_budget
 * when a tenant is first seen and after a change of it, which bumps `generation` at commit.
 *
 * Locks: one spinlock an entry (rates, levels, counters); the table is fixed size, entries are found by
 * open addressing and never move. When it is full a tenant goes unmetered, and that is counted.
 */
#include "tenant/fairness.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ENTRIES       16384 /* power of two; 3 MB */
#define BURST_SECONDS 10

typedef enum Budget
{
	BUDGET_RESULTS,
	BUDGET_BYTES,
	BUDGET_QUERIES,
	BUDGET_COUNT
} Budget;

static const char *const budget_names[BUDGET_COUNT] = {"results", "bytes", "queries"};

typedef struct Bucket
{
	double rate;  /* a second, weight included; 0: no bound */
	double level; /* what is left */
	uint64 used, shed;
} Bucket;

typedef struct Share
{
	slock_t lock;
	bool taken;
	pg_uuid_t tenant;
	uint32 generation; /* of the rates */
	TimestampTz filled_at;
	Bucket buckets[BUDGET_COUNT];
	/* Records of batches that were turned away, by plane. */
	uint64 refused[PCTL_PLANES], shed[PCTL_PLANES];
} Share;

typedef struct FairnessShmem
{
	pg_atomic_uint32 generation;
	pg_atomic_uint64 unmetered;
	TimestampTz booted_at; /* of this memory: counters begin here */
	Share shares[ENTRIES];
} FairnessShmem;

static FairnessShmem *shmem = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;
static bool budget_changed = false;

static PctlPlan budget_read = {"SELECT weight * results_per_second::float8, weight * "
                               "bytes_per_second::float8, weight * queries_per_second::float8"
                               "  FROM probectl.tenant_budget WHERE tenant_id = $1",
                               1,
                               {UUIDOID}};

static void
fairness_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(FairnessShmem)));
}

static void
fairness_startup(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shmem = ShmemInitStruct("probectl fairness", sizeof(FairnessShmem), &found);
	if (!found)
	{
		memset(shmem, 0, sizeof(*shmem));
		shmem->booted_at = GetCurrentTimestamp();
		pg_atomic_init_u32(&shmem->generation, 1);
		pg_atomic_init_u64(&shmem->unmetered, 0);
		for (int i = 0; i < ENTRIES; i++)
			SpinLockInit(&shmem->shares[i].lock);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Entry of a tenant, taken when free. NULL when a whole run of entries belongs to others. */
static Share *
share_find(const pg_uuid_t *tenant)
{
	uint32 start = hash_bytes(tenant->data, UUID_LEN);

	for (uint32 probe = 0; probe < 64; probe++)
	{
		Share *share = &shmem->shares[(start + probe) & (ENTRIES - 1)];
		bool mine;

		SpinLockAcquire(&share->lock);
		if (!share->taken)
		{
			share->taken = true;
			share->tenant = *tenant;
			share->generation = 0;
		}
		mine = memcmp(&share->tenant, tenant, UUID_LEN) == 0;
		SpinLockRelease(&share->lock);
		if (mine)
			return share;
	}
	pg_atomic_fetch_add_u64(&shmem->unmetered, 1);
	return NULL;
}

/* Reads the rates anew; the tenant is bound already. */
static void
share_load(Share *share, uint32 generation)
{
	double rates[BUDGET_COUNT] = {0};
	Datum args[1] = {UUIDPGetDatum(&share->tenant)};
	PctlTrusted saved;

	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&budget_read, args, NULL, true, 1) == 1)
		for (int i = 0; i < BUDGET_COUNT; i++)
			rates[i] = DatumGetFloat8(pctl_spi_value(0, i + 1, NULL));
	SPI_finish();
	pctl_trusted_end(&saved);
	SpinLockAcquire(&share->lock);
	for (int i = 0; i < BUDGET_COUNT; i++)
		if (share->buckets[i].rate != rates[i])
		{
			share->buckets[i].rate = rates[i];
			share->buckets[i].level = rates[i] * BURST_SECONDS;
		}
	share->generation = generation;
	share->filled_at = pctl_now();
	SpinLockRelease(&share->lock);
}

static void
share_fill(Share *share, TimestampTz now)
{
	double seconds = (double) (now - share->filled_at) / USECS_PER_SEC;

	if (seconds <= 0)
		return;
	for (int i = 0; i < BUDGET_COUNT; i++)
	{
		Bucket *bucket = &share->buckets[i];

		bucket->level = Min(bucket->level + bucket->rate * seconds, bucket->rate * BURST_SECONDS);
	}
	share->filled_at = now;
}

/* Takes from the buckets, all or none. Returns the one that refuses, or -1. */
static int
share_take(Share *share, const int64 amount[BUDGET_COUNT])
{
	int refused = -1;

	SpinLockAcquire(&share->lock);
	share_fill(share, pctl_now());
	for (int i = 0; i < BUDGET_COUNT && refused < 0; i++)
		if (amount[i] > 0 && share->buckets[i].rate > 0 && share->buckets[i].level <= 0)
			refused = i;
	for (int i = 0; i < BUDGET_COUNT; i++)
		if (refused < 0)
		{
			share->buckets[i].level -= (double) amount[i];
			share->buckets[i].used += (uint64) amount[i];
		}
		else
			share->buckets[i].shed += (uint64) amount[i];
	SpinLockRelease(&share->lock);
	return refused;
}

static void
share_count(Share *share, uint64 *count, int64 n)
{
	SpinLockAcquire(&share->lock);
	*count += (uint64) n;
	SpinLockRelease(&share->lock);
}

/* plane is PCTL_PLANES when nothing that is stored is at stake. */
static void
fairness_take(const pg_uuid_t *tenant, PctlPlane plane, const int64 amount[BUDGET_COUNT])
{
	Share *share = shmem != NULL ? share_find(tenant) : NULL;
	uint32 generation;
	int refused;

	if (share == NULL)
		return;
	generation = pg_atomic_read_u32(&shmem->generation);
	if (share->generation != generation)
		share_load(share, generation);
	refused = share_take(share, amount);
	if (refused >= 0 && plane < PCTL_PLANES)
		share_count(share, &share->shed[plane], amount[BUDGET_RESULTS]);
	if (refused >= 0)
		ereport(ERROR,
		        (errcode(ERRCODE_PCTL_TOO_MANY),
		         errmsg("the tenant is over its budget of %s a second", budget_names[refused]),
		         errhint("Try again a little later.")));
}

void
pctl_fairness_query(const pg_uuid_t *tenant)
{
	int64 amount[BUDGET_COUNT] = {[BUDGET_QUERIES] = 1};

	fairness_take(tenant, PCTL_PLANES, amount);
}

void
pctl_fairness_results(const pg_uuid_t *tenant, PctlPlane plane, int64 results, int64 bytes)
{
	int64 amount[BUDGET_COUNT] = {[BUDGET_RESULTS] = results, [BUDGET_BYTES] = bytes};

	fairness_take(tenant, plane, amount);
}

void
pctl_fairness_refused(const pg_uuid_t *tenant, PctlPlane plane, int64 records)
{
	Share *share = shmem != NULL ? share_find(tenant) : NULL;

	if (share != NULL)
		share_count(share, &share->refused[plane], records);
}

static void
fairness_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && budget_changed && shmem != NULL)
		pg_atomic_fetch_add_u32(&shmem->generation, 1);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		budget_changed = false;
}

void
pctl_fairness_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = fairness_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = fairness_startup;
	RegisterXactCallback(fairness_xact, NULL);
}

PCTL_FUNCTION(pctl_budget_changed);

/* probectl_internal.budget_touch() -> void: every share reads its rates anew after commit */
Datum
pctl_budget_changed(PG_FUNCTION_ARGS)
{
	budget_changed = true;
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_fairness_status);

/* probectl.fairness_status() -> setof (budget text, rate, left, used, shed) of the bound tenant */
Datum
pctl_fairness_status(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *tenant = pctl_tenant_required();
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Share *share = share_find(tenant);
	Bucket copy[BUDGET_COUNT] = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (share != NULL)
	{
		SpinLockAcquire(&share->lock);
		share_fill(share, pctl_now());
		memcpy(copy, share->buckets, sizeof(copy));
		SpinLockRelease(&share->lock);
	}
	for (int i = 0; i < BUDGET_COUNT; i++)
	{
		Datum values[5] = {PointerGetDatum(cstring_to_text(budget_names[i])),
		                   Float8GetDatum(copy[i].rate), Float8GetDatum(copy[i].level),
		                   Int64GetDatum((int64) copy[i].used),
		                   Int64GetDatum((int64) copy[i].shed)};
		bool nulls[5] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PCTL_FUNCTION(pctl_turned_away_now);

/* probectl_internal.turned_away_now() -> setof (plane text, booted_at, refused, shed) of the bound tenant */
Datum
pctl_turned_away_now(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *tenant = pctl_tenant_required();
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Share *share = share_find(tenant);
	Share copy = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (share != NULL)
	{
		SpinLockAcquire(&share->lock);
		copy = *share;
		SpinLockRelease(&share->lock);
	}
	for (int i = 0; i < PCTL_PLANES; i++)
	{
		Datum values[4] = {PointerGetDatum(cstring_to_text(pctl_plane_names[i])),
		                   TimestampTzGetDatum(shmem->booted_at),
		                   Int64GetDatum((int64) copy.refused[i]),
		                   Int64GetDatum((int64) copy.shed[i])};
		bool nulls[4] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
