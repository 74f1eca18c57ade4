/* SPDX-License-Identifier: PostgreSQL
 *
 * ending.c -- series that end: a test is paused, deleted or pointed elsewhere, an agent is revoked or deleted.
 *
 * Each gets a marker (METRIC_STALE) behind its last sample, in the transaction that ends it, so that what reads the series
 * sees a gap from there on and no flat line. A run that was under way, or waits in an agent's spool, may be stored
 * after that: the derive worker, which remembers no series that has ended, then asks again
 * whether the series goes on, and if not puts another marker behind.
 *
 * Locks: the tenant's metric_state row first, so that what the worker has in hand is there to be seen.
 */
#include "metric/ending.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/export.h"
#include "core/spi.h"
#include "metric/store.h"
#include "tenant/context.h"
#include "utils/timestamp.h"

static PctlPlan state_touch = {
    "UPDATE probectl.metric_state SET epoch = epoch + 1 WHERE tenant_id = $1", 1, {UUIDOID}};
static PctlPlan of_test = {"SELECT series_id FROM probectl.metric_series WHERE tenant_id = $1 AND "
                           "test_id = $2 AND ended_at IS NULL FOR UPDATE",
                           2,
                           {UUIDOID, UUIDOID}};
static PctlPlan of_agent = {"SELECT series_id FROM probectl.metric_series WHERE tenant_id = $1 AND "
                            "agent_id = $2 AND ended_at IS NULL FOR UPDATE",
                            2,
                            {UUIDOID, UUIDOID}};
/* Behind the last sample, in metric_hot (x.last) or in chunks. */
static PctlPlan series_end = {
    "UPDATE probectl.metric_series s SET ended_at = greatest($4, x.last + interval '1 microsecond',"
    " (SELECT c.t1 + interval '1 microsecond' FROM probectl.metric_chunk c"
    "   WHERE c.tenant_id = $1 AND c.series_id = s.series_id AND c.level = 0"
    "   ORDER BY c.t0 DESC LIMIT 1))"
    " FROM unnest($2, $3) x (series_id, last)"
    " WHERE s.tenant_id = $1 AND s.series_id = x.series_id RETURNING s.series_id, s.ended_at",
    4,
    {UUIDOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}};
static PctlPlan series_go_on = {
    "UPDATE probectl.metric_series s SET ended_at = CASE WHEN NOT EXISTS ("
    "   SELECT FROM probectl.test t JOIN probectl.agent a ON a.tenant_id = t.tenant_id"
    "    WHERE t.tenant_id = $1 AND t.test_id = s.test_id AND t.enabled"
    "      AND a.agent_id = s.agent_id AND a.revoked_at IS NULL)"
    "  THEN greatest($4, x.last + interval '1 microsecond') END"
    " FROM unnest($2, $3) x (series_id, last)"
    " WHERE s.tenant_id = $1 AND s.series_id = x.series_id RETURNING s.series_id, s.ended_at",
    4,
    {UUIDOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}};

/* A marker for each series of the last answer that has ended; their number. */
static int64
markers_write(const pg_uuid_t *tenant, TimestampTz now, uint64 count)
{
	SPITupleTable *table = SPI_tuptable;
	double marker = metric_stale();
	MetricHot *hot;

	if (count == 0)
		return 0;
	hot = metric_hot_begin(tenant, now);
	for (uint64 i = 0; i < count; i++)
	{
		MetricSamples samples;
		bool goes_on;
		Datum at = SPI_getbinval(table->vals[i], table->tupdesc, 2, &goes_on);

		if (goes_on)
			continue;
		metric_samples_init(&samples, 1);
		metric_samples_add(&samples, DatumGetTimestampTz(at), &marker);
		metric_hot_add(hot,
		               DatumGetUUIDP(SPI_getbinval(table->vals[i], table->tupdesc, 1, &goes_on)),
		               &samples);
	}
	SPI_freetuptable(table);
	return metric_hot_end(hot);
}

/* One of the plans with series, times and now; their number. */
static uint64
series_run(PctlPlan *plan, const pg_uuid_t *tenant, TimestampTz now, Datum *series, Datum *last,
           int count)
{
	Datum args[4] = {UUIDPGetDatum(tenant), pctl_array(series, NULL, count, UUIDOID),
	                 pctl_array(last, NULL, count, TIMESTAMPTZOID), TimestampTzGetDatum(now)};

	return pctl_plan_run(plan, args, NULL, false, 0);
}

void
metric_ending_ask(const pg_uuid_t *tenant, TimestampTz now, Datum *series, Datum *last, int count)
{
	(void) markers_write(tenant, now, series_run(&series_go_on, tenant, now, series, last, count));
}

/* Time of the last sample in metric_hot; -infinity when there is none. */
static TimestampTz
hot_last(MetricHotView *view, const pg_uuid_t *series)
{
	MetricSamples samples;
	TimestampTz last = DT_NOBEGIN;

	metric_samples_init(&samples, 1);
	metric_hot_read(view, series, &samples);
	if (samples.count == 0)
		return last;
	last = samples.times[samples.count - 1];
	pfree(samples.times);
	pfree(samples.values[0]);
	return last;
}

/* Ends the series of the last answer; their number. */
static int64
series_close(const pg_uuid_t *tenant, TimestampTz now, uint64 count)
{
	SPITupleTable *table = SPI_tuptable;
	MetricHotView *kept = NULL, *view;
	Datum *series, *last;

	if (count == 0)
		return 0;
	series = palloc(count * sizeof(Datum));
	last = palloc(count * sizeof(Datum));
	view = metric_hot_view(&kept, CurrentMemoryContext, tenant, DT_NOBEGIN, DT_NOEND, true);
	for (uint64 i = 0; i < count; i++)
	{
		bool null;

		series[i] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &null);
		last[i] = TimestampTzGetDatum(hot_last(view, DatumGetUUIDP(series[i])));
	}
	return markers_write(tenant, now,
	                     series_run(&series_end, tenant, now, series, last, (int) count));
}

PCTL_FUNCTION(pctl_metric_end);

/* probectl_internal.metric_end(test uuid, agent uuid) -> bigint; one of the two is NULL */
Datum
pctl_metric_end(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	int of = PG_ARGISNULL(0) ? 1 : 0;
	TimestampTz now = pctl_now();
	Datum args[2] = {UUIDPGetDatum(&tenant), PG_GETARG_DATUM(of)};
	PctlTrusted saved;
	int64 ended = 0;

	if (PG_ARGISNULL(of))
		PG_RETURN_INT64(0);
	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&state_touch, args, NULL, false, 0) == 1)
		ended = series_close(&tenant, now,
		                     pctl_plan_run(of == 0 ? &of_test : &of_agent, args, NULL, false, 0));
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_INT64(ended);
}
