/* SPDX-License-Identifier: PostgreSQL
 *
 * keeper.c -- upkeep that nobody waits for: records of refusals as soon as there are any; partitions,
 * retention, checkpoints, usage and expiry every probectl.keeper_interval.
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/deferred.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* What is done once a pass, each in a transaction of its own. */
static const char *const platform_jobs[] = {
    "SELECT probectl_internal.partitions_keep()",
    "SELECT probectl_internal.usage_meter()",
    "SELECT probectl_internal.ca_watch()",
    "SELECT probectl_internal.provider_audit_checkpoint_make()",
};

/* What is done for each tenant, bound to it. */
static const char *const tenant_jobs[] = {
    "SELECT probectl_internal.break_glass_expire()",
    "SELECT probectl_internal.fleet_count()",
    "SELECT probectl.audit_checkpoint()",
    "SELECT probectl_internal.audit_retain()",
    "SELECT probectl_internal.metric_retain()",
    "SELECT probectl_internal.turned_away_keep()",
    "SELECT probectl_internal.a2a_lapse()",
};

/* Series after which a transaction of compaction ends: a long one would hold back every reader of the ledger. */
#define COMPACT_SERIES 1000

static void
job_run(const char *sql)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, sql);
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "the keeper could not run \"%s\"", sql);
}

static void
job_begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

static void
job_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Tenants that have something to do, as text, in the given context. */
static char **
tenants_read(MemoryContext context, uint64 *count)
{
	char **tenants;
	MemoryContext old;

	job_begin();
	job_run("SELECT t::text FROM probectl_internal.tenants_to_keep() t");
	*count = SPI_processed;
	old = MemoryContextSwitchTo(context);
	tenants = palloc(Max(*count, 1) * sizeof(char *));
	for (uint64 i = 0; i < *count; i++)
		tenants[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	MemoryContextSwitchTo(old);
	job_end();
	return tenants;
}

static void
tenant_begin(const char *tenant)
{
	job_begin();
	job_run(psprintf("SELECT probectl_internal.tenant_bind('%s')", tenant));
}

static void
tenant_keep(const char *tenant)
{
	int32 compacted;

	tenant_begin(tenant);
	for (size_t job = 0; job < lengthof(tenant_jobs); job++)
		job_run(tenant_jobs[job]);
	job_end();
	do
	{
		CHECK_FOR_INTERRUPTS();
		tenant_begin(tenant);
		job_run(psprintf("SELECT probectl_internal.metric_compact(%d)", COMPACT_SERIES));
		compacted = DatumGetInt32(pctl_spi_value(0, 1, NULL));
		job_end();
	} while (compacted >= COMPACT_SERIES);
}

/* What fails for one tenant is logged, and tried again by a later pass: the others get theirs. */
static void
tenant_try(const char *tenant)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		tenant_keep(tenant);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		errcontext("upkeep of tenant %s", tenant);
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static void
upkeep(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "probectl keeper pass",
	                                              ALLOCSET_DEFAULT_SIZES);
	uint64 count;
	char **tenants;

	for (size_t i = 0; i < lengthof(platform_jobs); i++)
	{
		job_begin();
		job_run(platform_jobs[i]);
		job_end();
	}
	tenants = tenants_read(context, &count);
	for (uint64 i = 0; i < count; i++)
	{
		tenant_try(tenants[i]);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(context);
}

/* One pass of the keeper worker. */
long
pctl_keeper_pass(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	pctl_deferred_drain();
	/* From the last upkeep, so that a shorter interval counts as soon as it is set. */
	if (now >= TimestampTzPlusMilliseconds(last, pctl_keeper_interval * 1000L))
	{
		upkeep();
		last = now;
	}
	next = TimestampTzPlusMilliseconds(last, pctl_keeper_interval * 1000L);
	return Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next), 1);
}
