/* SPDX-License-Identifier: PostgreSQL
 *
 * derive.c -- from stored results to samples: probectl_probe_success, probectl_probe_duration_seconds and one series a
 * metric, at the time the run started.
 *
 * Exactly once: the rows of a tenant are worked in by one transaction that writes the samples, the counts and the
 * tenant's own position (metric_state.next_xid) together. The worker's cursor moves afterwards and only saves reading: killed
 * before that, the worker sees the batches again and the tenant's position skips them.
 *
 * What a series is called costs a hash and a look into the registry, so the worker remembers it from pass to pass in
 * `known`. An entry holds while the tenant's epoch does, which moves when a series is deleted or ends. A series
 * that has ended is looked up each time: samples after its end ask whether it goes on (ending.c).
 */
#include "metric/derive.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "executor/tuptable.h"
#include "metric/ending.h"
#include "metric/run.h"
#include "metric/store.h"
#include "pgstat.h"
#include "stream/window.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define IDLE_MS     10000
#define KNOWN_MAX   262144 /* series remembered; then all are forgotten */
#define WAITING_MAX 500000 /* samples in memory; then they are written */

/* Two hashes of type, target, port and metric stand for them: 128 bits, and only an agent's own series can meet. */
typedef struct KnownKey
{
	pg_uuid_t tenant, agent, test;
	uint64 hash[2];
} KnownKey;

typedef struct Known
{
	KnownKey key;
	pg_uuid_t series;
	int64 epoch; /* of the tenant, when it was seen in the registry; -1: not seen */
	uint64 pass; /* in which the rest is good */
	struct Waiting *waiting;
} Known;

/* Samples of one series in one pass. */
typedef struct Waiting
{
	Known *known;
	MetricSeries *series; /* to be looked up or made; NULL when it is known */
	MetricAdmission admission;
	TimestampTz ended; /* DT_NOEND when it has not */
	MetricSamples samples;
} Waiting;

typedef struct Fold
{
	pg_uuid_t tenant;
	TimestampTz now, oldest;
	int64 next_xid, epoch;
	MemoryContext context; /* of what waits */
	MemoryContext row;     /* of what is read of one row */
	Waiting **waiting;
	int count, room;
	int64 samples; /* in memory */
	MetricQuota quota;
	int64 stored, refused_agent, refused_tenant, too_old;
} Fold;

static HTAB *known = NULL;
static uint64 pass = 0;

static PctlPlan state_make = {"INSERT INTO probectl.metric_state (tenant_id) SELECT t.tenant_id "
                              "FROM probectl.tenant t WHERE t.tenant_id = $1"
                              " ON CONFLICT DO NOTHING",
                              1,
                              {UUIDOID}};
static PctlPlan state_lock = {
    "SELECT next_xid, epoch FROM probectl.metric_state WHERE tenant_id = $1 FOR UPDATE",
    1,
    {UUIDOID}};
static PctlPlan state_write = {
    "UPDATE probectl.metric_state SET next_xid = greatest(next_xid, $2), stored = stored + $3, "
    "refused_agent = refused_agent + $4,"
    " refused_tenant = refused_tenant + $5, too_old = too_old + $6 WHERE tenant_id = $1",
    6,
    {UUIDOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID}};
static void
known_open(void)
{
	HASHCTL ctl = {
	    .keysize = sizeof(KnownKey), .entrysize = sizeof(Known), .hcxt = TopMemoryContext};

	if (known != NULL && hash_get_num_entries(known) > KNOWN_MAX)
	{
		hash_destroy(known);
		known = NULL;
	}
	if (known == NULL)
		known = hash_create("probectl metric series", 4096, &ctl,
		                    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The samples of a series, made when it is the first of the pass. */
static Waiting *
waiting_find(Fold *fold, const MetricSource *source, const uint64 *seeds, const char *metric,
             int len)
{
	MemoryContext old;
	KnownKey key;
	Known *entry;
	bool found;

	memset(&key, 0, sizeof(key));
	key.tenant = source->tenant;
	key.agent = source->agent;
	key.test = source->test;
	for (int i = 0; i < 2; i++)
		key.hash[i] = len < 0 ? seeds[i] + (uint64) -len
		                      : hash_bytes_extended((const unsigned char *) metric, len, seeds[i]);
	entry = hash_search(known, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->epoch = -1;
		entry->pass = 0;
	}
	if (entry->pass == pass)
		return entry->waiting;
	old = MemoryContextSwitchTo(fold->context);
	entry->pass = pass;
	entry->waiting = palloc0(sizeof(Waiting));
	entry->waiting->known = entry;
	entry->waiting->ended = DT_NOEND;
	metric_samples_init(&entry->waiting->samples, 1);
	if (entry->epoch != fold->epoch)
	{
		entry->waiting->series = metric_series_make(source, len == -1   ? METRIC_OF_SUCCESS
		                                                    : len == -2 ? METRIC_OF_DURATION
		                                                                : pnstrdup(metric, len));
		entry->series = entry->waiting->series->id;
	}
	if (fold->count == fold->room)
	{
		fold->room = Max(fold->room * 2, 256);
		fold->waiting = fold->waiting == NULL
		                    ? palloc(fold->room * sizeof(Waiting *))
		                    : repalloc(fold->waiting, fold->room * sizeof(Waiting *));
	}
	fold->waiting[fold->count++] = entry->waiting;
	MemoryContextSwitchTo(old);
	return entry->waiting;
}

/* A run of a test on its way into the series. */
typedef struct RunFold
{
	Fold *fold;
	uint64 seeds[2];
} RunFold;

static void
sample_add(void *state, const MetricRun *run, const char *metric, int len, double value)
{
	RunFold *at = state;

	metric_samples_add(&waiting_find(at->fold, &run->source, at->seeds, metric, len)->samples,
	                   run->at, &value);
	at->fold->samples++;
}

static void
result_fold(Fold *fold, TupleTableSlot *slot)
{
	RunFold at = {.fold = fold};
	MetricRun run;

	metric_run_read(&run, &fold->tenant, slot);
	if (run.at < fold->oldest)
	{
		fold->too_old += metric_run_samples(&run);
		return;
	}
	for (int i = 0; i < 2; i++)
	{
		at.seeds[i] = hash_bytes_extended((const unsigned char *) run.source.type,
		                                  (int) strlen(run.source.type),
		                                  (uint64) run.source.port * 2 + i);
		at.seeds[i] = hash_bytes_extended((const unsigned char *) run.source.target,
		                                  (int) strlen(run.source.target), at.seeds[i]);
	}
	metric_run_each(&run, sample_add, &at);
}

/* One run of a test. */
static void
result_row(void *state, TupleTableSlot *slot)
{
	Fold *fold = state;
	MemoryContext old = MemoryContextSwitchTo(fold->row);

	MemoryContextReset(fold->row);
	result_fold(fold, slot);
	MemoryContextSwitchTo(old);
}

/* Of those not known: which the registry has, by identifier. NULL when all are known. */
static HTAB *
registry_read(const Fold *fold)
{
	pg_uuid_t *ids = palloc(Max(fold->count, 1) * sizeof(pg_uuid_t));
	int wanted = 0;

	for (int i = 0; i < fold->count; i++)
		if (fold->waiting[i]->series != NULL)
			ids[wanted++] = fold->waiting[i]->series->id;
	return wanted == 0 ? NULL : metric_series_registered(&fold->tenant, ids, wanted);
}

static void
registry_look(Fold *fold)
{
	HTAB *seen = registry_read(fold);

	for (int i = 0; i < fold->count && seen != NULL; i++)
	{
		Waiting *w = fold->waiting[i];
		MetricRegistered *entry;

		if (w->series == NULL)
			continue;
		entry = hash_search(seen, &w->series->id, HASH_FIND, NULL);
		if (entry == NULL)
			w->admission = metric_series_admit(&fold->quota, w->series, fold->now);
		else
			w->ended = entry->ended;
		if (w->admission != METRIC_ADMITTED)
			continue;
		/* Another key may have the same series: the name is what counts. */
		if (entry == NULL)
		{
			entry = hash_search(seen, &w->series->id, HASH_ENTER, NULL);
			entry->ended = DT_NOEND;
		}
		if (w->ended == DT_NOEND)
			w->known->epoch = fold->epoch;
	}
	if (seen != NULL)
		hash_destroy(seen);
	metric_quota_write(&fold->quota, &fold->tenant, fold->now);
}

/* What has ended and has later samples. */
static void
waiting_ended(Fold *fold)
{
	Datum *series = palloc(fold->count * sizeof(Datum));
	Datum *last = palloc(fold->count * sizeof(Datum));
	int count = 0;

	for (int i = 0; i < fold->count; i++)
	{
		const Waiting *w = fold->waiting[i];
		int64 n = w->samples.count;

		if (w->admission != METRIC_ADMITTED || n == 0 || w->samples.times[n - 1] <= w->ended)
			continue;
		series[count] = UUIDPGetDatum(&w->known->series);
		last[count++] = TimestampTzGetDatum(w->samples.times[n - 1]);
	}
	if (count > 0)
		metric_ending_ask(&fold->tenant, fold->now, series, last, count);
	pfree(series);
	pfree(last);
}

/* Writes what waits, and counts what is refused. */
static void
waiting_write(Fold *fold)
{
	MetricHot *hot;

	if (fold->count == 0)
		return;
	registry_look(fold);
	hot = metric_hot_begin(&fold->tenant, fold->now);
	for (int i = 0; i < fold->count; i++)
	{
		Waiting *w = fold->waiting[i];

		if (w->admission == METRIC_REFUSED_AGENT)
			fold->refused_agent += w->samples.count;
		else if (w->admission == METRIC_REFUSED_TENANT)
			fold->refused_tenant += w->samples.count;
		else
		{
			/* Two runs that say they started at the same microsecond are two samples, one of which holds. */
			fold->stored += w->samples.count;
			metric_samples_sort(&w->samples);
			metric_hot_add(hot, &w->known->series, &w->samples);
		}
	}
	(void) metric_hot_end(hot);
	waiting_ended(fold);
	MemoryContextReset(fold->context);
	fold->waiting = NULL;
	fold->count = fold->room = 0;
	fold->samples = 0;
	pass++;
}

/* False when there is no such tenant any more. */
static bool
state_open(Fold *fold)
{
	Datum args[1] = {UUIDPGetDatum(&fold->tenant)};

	if (pctl_plan_run(&state_lock, args, NULL, false, 1) != 1)
	{
		pctl_plan_run(&state_make, args, NULL, false, 0);
		if (pctl_plan_run(&state_lock, args, NULL, false, 1) != 1)
			return false;
	}
	fold->next_xid = DatumGetInt64(pctl_spi_value(0, 1, NULL));
	fold->epoch = DatumGetInt64(pctl_spi_value(0, 2, NULL));
	return true;
}

static void
state_close(const Fold *fold, int64 to)
{
	Datum args[6] = {UUIDPGetDatum(&fold->tenant),        Int64GetDatum(to),
	                 Int64GetDatum(fold->stored),         Int64GetDatum(fold->refused_agent),
	                 Int64GetDatum(fold->refused_tenant), Int64GetDatum(fold->too_old)};

	pctl_plan_run(&state_write, args, NULL, false, 0);
}

/* Works in the parts of one tenant, in a transaction bound to it. A tenant that is gone has neither rows nor place. */
static void
tenant_samples(const LedgerPart *parts, int count, int64 to)
{
	Fold fold = {.tenant = parts[0].tenant, .now = pctl_now()};
	PctlTrusted saved;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	fold.oldest = fold.now - (int64) pctl_metric_raw_retention * USECS_PER_DAY;
	fold.context = AllocSetContextCreate(CurrentMemoryContext, "probectl samples",
	                                     ALLOCSET_DEFAULT_SIZES);
	fold.row = AllocSetContextCreate(CurrentMemoryContext, "probectl samples of a row",
	                                 ALLOCSET_DEFAULT_SIZES);
	known_open();
	pass++;
	pctl_context_bind_tenant(&fold.tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	if (state_open(&fold))
	{
		for (int i = 0; i < count; i++)
		{
			if (parts[i].xid < fold.next_xid)
				continue;
			pctl_part_scan(&parts[i], METRIC_RUN_TENANT_COLUMN, result_row, &fold);
			if (fold.samples >= WAITING_MAX)
				waiting_write(&fold);
		}
		waiting_write(&fold);
		state_close(&fold, to);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

long
pctl_metric_pass(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "probectl metric pass",
	                                              ALLOCSET_DEFAULT_SIZES);
	Window window = {0};
	int done = 0;

	pgstat_report_activity(STATE_RUNNING, "storing samples");
	/* What is derived can be derived again: no need to wait for the disk. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	pctl_window_open(&window, "metric", context);
	while (done < window.count)
	{
		int next = pctl_window_tenant(&window, done);

		CHECK_FOR_INTERRUPTS();
		tenant_samples(&window.parts[done], next - done, window.to);
		done = next;
	}
	if (window.count > 0)
		pctl_window_close(&window);
	MemoryContextDelete(context);
	if (window.count == 0 && !window.more)
		return IDLE_MS;
	return pctl_derive_interval;
}
