/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- rows of probectl.result as samples.
 */
#include "metric/run.h"

#include "executor/tuptable.h"
#include "result/columns.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

void
metric_run_read(MetricRun *run, const pg_uuid_t *tenant, TupleTableSlot *slot)
{
	Datum *values = slot->tts_values;

	slot_getallattrs(slot);
	*run = (MetricRun){.source = {.tenant = *tenant,
	                              .agent = *DatumGetUUIDP(values[RESULT_AGENT_ID]),
	                              .test = *DatumGetUUIDP(values[RESULT_TEST_ID]),
	                              .type = TextDatumGetCString(values[RESULT_TYPE]),
	                              .target = TextDatumGetCString(values[RESULT_TARGET]),
	                              .port = DatumGetInt32(values[RESULT_PORT])},
	                   .at = DatumGetTimestampTz(values[RESULT_STARTED_AT]),
	                   .success = DatumGetBool(values[RESULT_SUCCESS]),
	                   .seconds = (double) DatumGetInt64(values[RESULT_DURATION_US]) / 1e6,
	                   .metrics = values[RESULT_METRICS]};
}

int64
metric_run_samples(const MetricRun *run)
{
	Jsonb *jsonb = DatumGetJsonbP(run->metrics);

	return 2 + JB_ROOT_COUNT(jsonb);
}

void
metric_run_each(const MetricRun *run, MetricRunValue value, void *state)
{
	Jsonb *jsonb = DatumGetJsonbP(run->metrics);
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue v, name = {0};

	value(state, run, METRIC_OF_SUCCESS, -1, run->success ? 1 : 0);
	value(state, run, METRIC_OF_DURATION, -2, run->seconds);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = v;
		else if (token == WJB_VALUE && v.type == jbvNumeric)
			value(state, run, name.val.string.val, name.val.string.len,
			      DatumGetFloat8(
			          DirectFunctionCall1(numeric_float8, NumericGetDatum(v.val.numeric))));
	}
	if ((Pointer) jsonb != DatumGetPointer(run->metrics))
		pfree(jsonb);
}
