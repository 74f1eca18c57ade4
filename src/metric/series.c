/* SPDX-License-Identifier: PostgreSQL
 *
 * series.c -- names, canonical hash, registry.
 *
 * A metric name becomes probectl_probe_<name> with each byte outside of [A-Za-z0-9_] as an underscore. When the name
 * is made of letters, digits and dots only, that loses nothing: each underscore was a dot. Any other name
 * (and one that would look like a series every run has) keeps its original in the label otel_name, so that
 * a.b, a_b and a-b are three series and no agent can make a name that lands in another's.
 *
 * The identifier is of the canonical form: "probectl.series.v1", name, number of labels, then name and value of each
 * label in ascending order; every text with its length before it, numbers as 4 bytes, most significant first.
 */
#include "metric/series.h"

#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/guc.h"
#include "core/look.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define AGENT_ACTIVE_DAYS                                                                          \
	1 /* a series without a sample for so long does not count against its agent */

#define ADMITTED_MAX 1000 /* series that wait to be written */

static PctlPlan quota_lock = {
    "SELECT coalesce(limit_value, 9223372036854775807) - used FROM probectl.tenant_quota"
    " WHERE tenant_id = $1 AND resource = 'series' FOR UPDATE",
    1,
    {UUIDOID}};
static PctlPlan quota_add = {"UPDATE probectl.tenant_quota SET used = used + $2 WHERE tenant_id = "
                             "$1 AND resource = 'series'",
                             2,
                             {UUIDOID, INT8OID}};
static PctlPlan agent_count = {"SELECT count(*) FROM probectl.metric_series WHERE tenant_id = $1 "
                               "AND agent_id = $2 AND last_seen >= $3",
                               3,
                               {UUIDOID, UUIDOID, TIMESTAMPTZOID}};
/* What rows refer to stays until they are committed; an agent may be gone by now. */
static PctlPlan tenant_hold = {
    "SELECT FROM probectl.tenant WHERE tenant_id = $1 FOR KEY SHARE", 1, {UUIDOID}};
static PctlPlan agents_hold = {"SELECT a.agent_id FROM probectl.agent a WHERE a.tenant_id = $1 AND "
                               "a.agent_id = ANY($2) FOR KEY SHARE",
                               2,
                               {UUIDOID, UUIDARRAYOID}};

/* Columns of probectl.metric_series, in order. */
enum
{
	COL_TENANT_ID,
	COL_SERIES_ID,
	COL_HASH,
	COL_NAME,
	COL_LABELS,
	COL_AGENT_ID,
	COL_TEST_ID,
	COL_FIRST_SEEN,
	COL_LAST_SEEN,
	COL_ENDED_AT,
	COL_COUNT
};

/* True when putting dots for the underscores of the cleaned name gives the name back. */
static bool
name_is_plain(const char *metric)
{
	for (const char *c = metric; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
		      *c == '.'))
			return false;
	return strcmp(metric, "success") != 0 && strcmp(metric, "duration.seconds") != 0;
}

static char *
name_clean(const char *metric)
{
	char *name = psprintf("%s%s", PCTL_METRIC_PREFIX, metric);

	for (char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
			*c = '_';
	return name;
}

static void
hash_text(const char *text)
{
	uint32 len = pg_hton32((uint32) strlen(text));

	pctl_sha256_add(&len, sizeof(len));
	pctl_sha256_add(text, strlen(text));
}

static void
series_identify(MetricSeries *series)
{
	uint32 count = pg_hton32((uint32) series->label_count);

	pctl_sha256_begin();
	hash_text("probectl.series.v1");
	hash_text(series->name);
	pctl_sha256_add(&count, sizeof(count));
	for (int i = 0; i < series->label_count; i++)
	{
		hash_text(series->labels[i].name);
		hash_text(series->labels[i].value);
	}
	pctl_sha256_end(series->hash);
	memcpy(series->id.data, series->hash, UUID_LEN);
	series->id.data[6] = (series->id.data[6] & 0x0F) | 0x80;
	series->id.data[8] = (series->id.data[8] & 0x3F) | 0x80;
}

static char *
uuid_text(const pg_uuid_t *uuid)
{
	char *text = palloc(PCTL_UUID_TEXT_LEN + 1);

	pctl_uuid_text(uuid, text);
	return text;
}

/* In ascending order of names, which is that of the calls. */
static void
label_add(MetricSeries *series, const char *name, const char *value)
{
	Assert(series->label_count == 0 ||
	       strcmp(series->labels[series->label_count - 1].name, name) < 0);
	series->labels[series->label_count++] = (MetricLabel){.name = name, .value = value};
}

MetricSeries *
metric_series_make(const MetricSource *source, const char *metric)
{
	MetricSeries *series = palloc0(sizeof(*series));

	series->tenant = source->tenant;
	series->agent = source->agent;
	series->test = source->test;
	series->of_agent = true;
	if (metric == METRIC_OF_SUCCESS)
		series->name = PCTL_METRIC_PREFIX "success";
	else if (metric == METRIC_OF_DURATION)
		series->name = PCTL_METRIC_PREFIX "duration_seconds";
	else
		series->name = name_clean(metric);
	label_add(series, "agent_id", uuid_text(&source->agent));
	label_add(series, "canary_type", pstrdup(source->type));
	if (metric != METRIC_OF_SUCCESS && metric != METRIC_OF_DURATION && !name_is_plain(metric))
		label_add(series, "otel_name", pstrdup(metric));
	label_add(series, "server_address", pstrdup(source->target));
	if (source->port != 0)
		label_add(series, "server_port", psprintf("%d", source->port));
	label_add(series, "tenant_id", uuid_text(&source->tenant));
	label_add(series, "test_id", uuid_text(&source->test));
	series_identify(series);
	return series;
}

MetricSeries *
metric_series_named(const pg_uuid_t *tenant, char *name, const MetricLabel *labels, int label_count)
{
	MetricSeries *series = palloc0(sizeof(*series));
	bool placed = false;

	Assert(label_count < PCTL_METRIC_LABELS_MAX);
	series->tenant = *tenant;
	series->name = name;
	for (int i = 0; i <= label_count; i++)
	{
		if (!placed && (i == label_count || strcmp(labels[i].name, "tenant_id") > 0))
		{
			label_add(series, "tenant_id", uuid_text(tenant));
			placed = true;
		}
		if (i < label_count)
			label_add(series, labels[i].name, labels[i].value);
	}
	series_identify(series);
	return series;
}

static Datum
labels_jsonb(const MetricSeries *series)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < series->label_count; i++)
	{
		JsonbValue key = {.type = jbvString}, value = {.type = jbvString};

		key.val.string.val = unconstify(char *, series->labels[i].name);
		key.val.string.len = (int) strlen(series->labels[i].name);
		value.val.string.val = unconstify(char *, series->labels[i].value);
		value.val.string.len = (int) strlen(series->labels[i].value);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Looked for in the order of the index, so that what one look brought into the processor's cache serves the next. */
HTAB *
metric_series_registered(const pg_uuid_t *tenant, pg_uuid_t *ids, int count)
{
	HASHCTL ctl = {.keysize = sizeof(pg_uuid_t),
	               .entrysize = sizeof(MetricRegistered),
	               .hcxt = CurrentMemoryContext};
	HTAB *registered = hash_create("probectl metric series registered", 256, &ctl,
	                               HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	PctlLook *look = pctl_look_open("metric_series");
	Datum key[2] = {UUIDPGetDatum(tenant)};

	qsort(ids, count, sizeof(pg_uuid_t), pctl_uuid_compare);
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *row;
		MetricRegistered *entry;
		bool going_on;
		Datum ended;

		key[1] = UUIDPGetDatum(&ids[i]);
		row = pctl_look(look, key);
		if (row == NULL)
			continue;
		entry = hash_search(registered, &ids[i], HASH_ENTER, NULL);
		ended = slot_getattr(row, COL_ENDED_AT + 1, &going_on);
		entry->ended = going_on ? DT_NOEND : DatumGetTimestampTz(ended);
	}
	pctl_look_close(look);
	return registered;
}

/* Series of an agent that wait to be written. */
static int64
agent_waiting(const MetricQuota *quota, const pg_uuid_t *agent)
{
	int64 count = 0;

	for (int i = 0; i < quota->admitted_count; i++)
		count += memcmp(&quota->admitted[i]->agent, agent, UUID_LEN) == 0;
	return count;
}

/* Counted once for as long as it is the same agent's turn: nobody else adds to an agent's series meanwhile, as the tenant's
 * limit is locked. */
static bool
agent_has_room(MetricQuota *quota, const MetricSeries *series, TimestampTz now)
{
	Datum args[3] = {UUIDPGetDatum(&series->tenant), UUIDPGetDatum(&series->agent),
	                 TimestampTzGetDatum(now - AGENT_ACTIVE_DAYS * USECS_PER_DAY)};

	if (!quota->agent_known || memcmp(&quota->agent, &series->agent, UUID_LEN) != 0)
	{
		pctl_plan_run(&agent_count, args, NULL, false, 1);
		quota->agent_room = pctl_metric_agent_series - DatumGetInt64(pctl_spi_value(0, 1, NULL)) -
		                    agent_waiting(quota, &series->agent);
		quota->agent = series->agent;
		quota->agent_known = true;
	}
	return quota->agent_room > 0;
}

void
metric_quota_lock(MetricQuota *quota, const pg_uuid_t *tenant)
{
	Datum args[1] = {UUIDPGetDatum(tenant)};

	if (quota->open)
		return;
	quota->room = pctl_plan_run(&quota_lock, args, NULL, false, 1) == 1
	                  ? DatumGetInt64(pctl_spi_value(0, 1, NULL))
	                  : 0;
	quota->open = true;
}

static Datum
hash_bytea(const MetricSeries *series)
{
	bytea *hash = palloc(VARHDRSZ + PCTL_SHA256_LEN);

	SET_VARSIZE(hash, VARHDRSZ + PCTL_SHA256_LEN);
	memcpy(VARDATA(hash), series->hash, PCTL_SHA256_LEN);
	return PointerGetDatum(hash);
}

/* Agents of what was admitted that are there, sorted; their number. */
static int
agents_present(const MetricQuota *quota, const pg_uuid_t *tenant, pg_uuid_t **agents)
{
	Datum *wanted = palloc(quota->admitted_count * sizeof(Datum));
	Datum args[2] = {UUIDPGetDatum(tenant)};
	int count = 0, found;

	for (int i = 0; i < quota->admitted_count; i++)
	{
		const MetricSeries *series = quota->admitted[i];

		if (series->of_agent && (count == 0 || pctl_uuid_compare(DatumGetUUIDP(wanted[count - 1]),
		                                                         &series->agent) != 0))
			wanted[count++] = UUIDPGetDatum(&series->agent);
	}
	if (count == 0)
		return 0;
	args[1] = pctl_array(wanted, NULL, count, UUIDOID);
	found = (int) pctl_plan_run(&agents_hold, args, NULL, false, 0);
	*agents = palloc(Max(found, 1) * sizeof(pg_uuid_t));
	for (int i = 0; i < found; i++)
		(*agents)[i] = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL));
	qsort(*agents, found, sizeof(pg_uuid_t), pctl_uuid_compare);
	return found;
}

static void
row_fill(const MetricSeries *series, bool agent_there, TimestampTz now, TupleTableSlot *row)
{
	Datum *v = row->tts_values;

	v[COL_TENANT_ID] = UUIDPGetDatum(&series->tenant);
	v[COL_SERIES_ID] = UUIDPGetDatum(&series->id);
	v[COL_HASH] = hash_bytea(series);
	v[COL_NAME] = CStringGetTextDatum(series->name);
	v[COL_LABELS] = labels_jsonb(series);
	v[COL_AGENT_ID] = UUIDPGetDatum(&series->agent);
	v[COL_TEST_ID] = UUIDPGetDatum(&series->test);
	v[COL_FIRST_SEEN] = v[COL_LAST_SEEN] = TimestampTzGetDatum(now);
	row->tts_isnull[COL_AGENT_ID] = !agent_there;
	row->tts_isnull[COL_TEST_ID] = !series->of_agent;
	row->tts_isnull[COL_ENDED_AT] = true;
}

static void
rows_append(const MetricQuota *quota, const pg_uuid_t *agents, int agent_count, TimestampTz now)
{
	PctlAppend *rows = pctl_append_begin("metric_series", COL_COUNT, NULL);

	for (int i = 0; i < quota->admitted_count; i++)
	{
		const MetricSeries *series = quota->admitted[i];
		MemoryContext old = MemoryContextSwitchTo(pctl_append_values(rows));
		bool there = series->of_agent && bsearch(&series->agent, agents, agent_count,
		                                         sizeof(pg_uuid_t), pctl_uuid_compare) != NULL;

		row_fill(series, there, now, pctl_append_row(rows));
		MemoryContextSwitchTo(old);
		pctl_append_add(rows, NULL);
	}
	pctl_append_end(rows);
}

/* The trigger that counts would write a new version of the same row for each series, and find it behind all those before;
 * appended rows pass it by and are counted here. */
void
metric_quota_write(MetricQuota *quota, const pg_uuid_t *tenant, TimestampTz now)
{
	Datum args[2] = {UUIDPGetDatum(tenant), Int64GetDatum(quota->admitted_count)};
	MemoryContext context, old;
	pg_uuid_t *agents = NULL;
	int agent_count;

	if (quota->admitted_count == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "probectl metric series",
	                                ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (pctl_plan_run(&tenant_hold, args, NULL, false, 1) != 1)
		elog(ERROR, "a tenant of new series is gone");
	agent_count = agents_present(quota, tenant, &agents);
	rows_append(quota, agents, agent_count, now);
	pctl_plan_run(&quota_add, args, NULL, false, 0);
	quota->admitted_count = 0;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

MetricAdmission
metric_series_admit(MetricQuota *quota, const MetricSeries *series, TimestampTz now)
{
	metric_quota_lock(quota, &series->tenant);
	if (quota->room <= 0)
		return METRIC_REFUSED_TENANT;
	if (series->of_agent && !agent_has_room(quota, series, now))
		return METRIC_REFUSED_AGENT;
	if (quota->admitted == NULL)
		quota->admitted = palloc(ADMITTED_MAX * sizeof(*quota->admitted));
	quota->admitted[quota->admitted_count++] = series;
	if (series->of_agent)
		quota->agent_room--;
	quota->room--;
	if (quota->admitted_count == ADMITTED_MAX)
		metric_quota_write(quota, &series->tenant, now);
	return METRIC_ADMITTED;
}
