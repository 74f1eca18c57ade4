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
#include "utils/array.h"
#include "utils/timestamp.h"

#define BEHIND_THE_LAST                                                                            \
	"greatest($3,"                                                                                 \
	" (SELECT max(h.t1) + interval '1 microsecond' FROM probectl.metric_hot h"                     \
	"   WHERE h.tenant_id = $1 AND h.series_id = s.series_id),"                                    \
	" (SELECT c.t1 + interval '1 microsecond' FROM probectl.metric_chunk c"                        \
	"   WHERE c.tenant_id = $1 AND c.series_id = s.series_id AND c.level = 0"                      \
	"   ORDER BY c.t0 DESC LIMIT 1))"

static PctlPlan state_touch = {
    "UPDATE probectl.metric_state SET epoch = epoch + 1 WHERE tenant_id = $1", 1, {UUIDOID}};
static PctlPlan test_end = {"UPDATE probectl.metric_series s SET ended_at = " BEHIND_THE_LAST
                            " WHERE s.tenant_id = $1 AND s.test_id = $2 AND s.ended_at IS NULL"
                            " RETURNING s.series_id, s.ended_at",
                            3,
                            {UUIDOID, UUIDOID, TIMESTAMPTZOID}};
static PctlPlan agent_end = {"UPDATE probectl.metric_series s SET ended_at = " BEHIND_THE_LAST
                             " WHERE s.tenant_id = $1 AND s.agent_id = $2 AND s.ended_at IS NULL"
                             " RETURNING s.series_id, s.ended_at",
                             3,
                             {UUIDOID, UUIDOID, TIMESTAMPTZOID}};
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

void
metric_ending_ask(const pg_uuid_t *tenant, TimestampTz now, Datum *series, Datum *last, int count)
{
	Datum args[4] = {
	    UUIDPGetDatum(tenant),
	    PointerGetDatum(construct_array(series, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)),
	    PointerGetDatum(construct_array(last, count, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE)),
	    TimestampTzGetDatum(now)};

	(void) markers_write(tenant, now, pctl_plan_run(&series_go_on, args, NULL, false, 0));
}

PCTL_FUNCTION(pctl_metric_end);

/* probectl_internal.metric_end(test uuid, agent uuid) -> bigint; one of the two is NULL */
Datum
pctl_metric_end(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	int of = PG_ARGISNULL(0) ? 1 : 0;
	TimestampTz now = pctl_now();
	Datum args[3] = {UUIDPGetDatum(&tenant), PG_GETARG_DATUM(of), TimestampTzGetDatum(now)};
	PctlTrusted saved;
	int64 ended = 0;

	if (PG_ARGISNULL(of))
		PG_RETURN_INT64(0);
	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&state_touch, args, NULL, false, 0) == 1)
		ended = markers_write(
		    &tenant, now, pctl_plan_run(of == 0 ? &test_end : &agent_end, args, NULL, false, 0));
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_INT64(ended);
}
