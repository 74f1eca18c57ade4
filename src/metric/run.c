/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- rows of probectl.result as samples.
 */
#include "metric/run.h"

#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Columns of probectl.result that are looked at here, from 1. */
enum
{
	ATT_TEST_ID = 2,
	ATT_AGENT_ID = 3,
	ATT_STARTED_AT = 4,
	ATT_TYPE = 7,
	ATT_TARGET = 8,
	ATT_PORT = 9,
	ATT_SUCCESS = 12,
	ATT_DURATION_US = 15,
	ATT_METRICS = 18
};

void
metric_run_read(MetricRun *run, const pg_uuid_t *tenant, TupleTableSlot *slot)
{
	Datum *values = slot->tts_values;

	slot_getallattrs(slot);
	*run = (MetricRun){.source = {.tenant = *tenant,
	                              .agent = *DatumGetUUIDP(values[ATT_AGENT_ID - 1]),
	                              .test = *DatumGetUUIDP(values[ATT_TEST_ID - 1]),
	                              .type = TextDatumGetCString(values[ATT_TYPE - 1]),
	                              .target = TextDatumGetCString(values[ATT_TARGET - 1]),
	                              .port = DatumGetInt32(values[ATT_PORT - 1])},
	                   .at = DatumGetTimestampTz(values[ATT_STARTED_AT - 1]),
	                   .success = DatumGetBool(values[ATT_SUCCESS - 1]),
	                   .seconds = (double) DatumGetInt64(values[ATT_DURATION_US - 1]) / 1e6,
	                   .metrics = values[ATT_METRICS - 1]};
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
