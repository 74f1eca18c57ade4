/* SPDX-License-Identifier: PostgreSQL
 *
 * receive.c -- probectl.remote_write: a request of remote write 1.0 into metric_hot.
 *
 * What is good in a request is stored and what is not is refused and counted, series by series and sample by sample: a sender
 * drops a request that is answered 400, so refusing all of it would lose what was good. The counts and the samples
 * commit together.
 *
 * Which series some labels mean costs sorting, a hash and a look into the registry, so it is remembered by the bytes of the labels
 * (known.h). An entry holds while the tenant's epoch does, which moves when a series is deleted. A writer holds
 * the tenant's series with a shared advisory lock from before it reads the epoch to its commit, and a deletion takes it
 * exclusively: no sample is stored for a series that is going away. (The derive worker, which is alone, uses the row
 * of metric_state for that; many writers at once would stand in line for it until their commits.) The samples themselves are
 * only inserted, so writers do not meet there.
 *
 * Locks, in order: advisory lock of the tenant's series (shared), tenant_quota row (only with a new series), own remote_intake row.
 */
#include "postgres.h"

#include <snappy-c.h>

#include "access/table.h"
#include "access/xact.h"
#include "audit/deferred.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/limits.h"
#include "core/spi.h"
#include "core/table.h"
#include "funcapi.h"
#include "identity/permission.h"
#include "metric/series.h"
#include "metric/store.h"
#include "miscadmin.h"
#include "remote/known.h"
#include "remote/wire.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define INTAKE_SLOTS 16  /* rows a tenant's counts are spread over */
#define SAID_MAX     400 /* bytes of what a sender is told */

/* What became of the samples of a request, and what was left out of it; the columns of remote_intake in their order. */
typedef enum Count
{
	COUNT_REQUESTS,
	COUNT_MALFORMED, /* requests */
	COUNT_RECEIVED,  /* samples: each ends in exactly one of the next six */
	COUNT_STORED,
	COUNT_TOO_OLD,
	COUNT_IN_FUTURE,
	COUNT_REFUSED_TENANT,
	COUNT_BAD_LABELS,
	COUNT_RESERVED_LABELS, /* left out of series that are stored */
	COUNT_HISTOGRAMS,
	COUNT_EXEMPLARS,
	COUNTS
} Count;

/* A series of the request. */
typedef struct Incoming
{
	RemoteSeries wire;
	KnownKey key;
	KnownSeries known;
	MetricSeries *made; /* looked up or registered in this request; NULL when it was known */
	bool refused;
} Incoming;

typedef struct Intake
{
	pg_uuid_t tenant;
	TimestampTz now, oldest, newest;
	KnownScope scope;
	Incoming *series;
	int count, room;
	int64 counts[COUNTS];
	char said[SAID_MAX]; /* the first refusal; "" when all is good */
} Intake;

static PctlPlan series_hold = {
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('probectl metric series ' || $1, 0))",
    1,
    {UUIDOID}};
static PctlPlan state_make = {"INSERT INTO probectl.metric_state (tenant_id) VALUES ($1)"
                              " ON CONFLICT DO NOTHING",
                              1,
                              {UUIDOID}};
static PctlPlan state_read = {
    "SELECT epoch FROM probectl.metric_state WHERE tenant_id = $1", 1, {UUIDOID}};
static PctlPlan intake_add = {
    "INSERT INTO probectl.remote_intake AS i VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
    "$12, $13)"
    " ON CONFLICT (tenant_id, slot) DO UPDATE SET requests = i.requests + $3,"
    " malformed = i.malformed + $4, received = i.received + $5, stored = i.stored + $6,"
    " too_old = i.too_old + $7, in_future = i.in_future + $8,"
    " refused_tenant = i.refused_tenant + $9, bad_labels = i.bad_labels + $10,"
    " reserved_labels = i.reserved_labels + $11, histograms = i.histograms + $12,"
    " exemplars = i.exemplars + $13",
    13,
    {UUIDOID, INT2OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
     INT8OID, INT8OID, INT8OID}};

/* What a sender is told of the first thing that was refused. */
static void
say(Intake *in, const char *what, PbSlice name)
{
	char text[64];
	int len = (int) Min(name.len, sizeof(text) - 1);

	if (in->said[0] != '\0')
		return;
	for (int i = 0; i < len; i++)
		text[i] = name.data[i] >= ' ' && name.data[i] <= '~' ? (char) name.data[i] : '?';
	text[len] = '\0';
	snprintf(in->said, sizeof(in->said), "%s%s%s", what, len > 0 ? ": " : "", text);
}

/* ---- the request ---- */

/* NULL with the reason in *wrong when it is no snappy block or too large. The size is known before anything is allocated. */
static uint8 *
decompress(const bytea *given, size_t *len, const char **wrong)
{
	const char *data = VARDATA_ANY(given);
	size_t size = VARSIZE_ANY_EXHDR(given);
	uint8 *out;

	*wrong = "the body is not a snappy block";
	if (snappy_uncompressed_length(data, size, len) != SNAPPY_OK)
		return NULL;
	if (*len > PCTL_REMOTE_BYTES_MAX)
	{
		*wrong = "the request is larger than 16 MiB: lower max_samples_per_send";
		return NULL;
	}
	out = palloc(*len + 1);
	return snappy_uncompress(data, size, (char *) out, len) == SNAPPY_OK ? out : NULL;
}

static Incoming *
incoming_add(Intake *in)
{
	if (in->count == in->room)
	{
		in->room = Max(in->room * 2, 512);
		in->series = in->series == NULL
		                 ? MemoryContextAllocHuge(CurrentMemoryContext, in->room * sizeof(Incoming))
		                 : repalloc_huge(in->series, in->room * sizeof(Incoming));
	}
	memset(&in->series[in->count], 0, sizeof(Incoming));
	return &in->series[in->count++];
}

/* Structure only. What is wrong with it, NULL when nothing is. */
static const char *
request_read(Intake *in, const uint8 *data, size_t len)
{
	int64 samples = 0;
	PbReader r;
	RemoteSeries wire;

	pb_reader_init(&r, data, len);
	while (remote_series_next(&r, &wire))
	{
		samples += wire.samples;
		if (samples > PCTL_REMOTE_SAMPLES_MAX)
			return "the request has more than 500000 samples: lower max_samples_per_send";
		in->counts[COUNT_HISTOGRAMS] += wire.histograms;
		in->counts[COUNT_EXEMPLARS] += wire.exemplars;
		if (wire.samples > 0)
			incoming_add(in)->wire = wire;
	}
	if (r.bad)
		return "the body is not a prometheus.WriteRequest of remote write 1.0";
	in->counts[COUNT_RECEIVED] = samples;
	return NULL;
}

/* ---- samples ---- */

/* Milliseconds since 1970 to microseconds since 2000; what does not fit is as far away as can be. */
static TimestampTz
time_of(int64 ms)
{
	const int64 shift = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);
	const int64 most = PG_INT64_MAX / 1000 - shift;

	if (ms > most)
		return DT_NOEND;
	return ms < -most ? DT_NOBEGIN : (ms - shift) * 1000;
}

/* COUNT_STORED, or why a sample of the time is refused. */
static Count
time_judge(const Intake *in, TimestampTz at)
{
	return at < in->oldest ? COUNT_TOO_OLD : at > in->newest ? COUNT_IN_FUTURE : COUNT_STORED;
}

/* Those in the window, in order; samples is empty and has room. */
static void
samples_take(Intake *in, const Incoming *series, RemoteSample *wire, MetricSamples *samples)
{
	remote_samples(&series->wire, wire);
	for (uint32 i = 0; i < series->wire.samples; i++)
	{
		TimestampTz at = time_of(wire[i].ms);
		Count count = time_judge(in, at);

		in->counts[count]++;
		if (count == COUNT_TOO_OLD)
			say(in, "sample older than probectl.metric_raw_retention", (PbSlice){NULL, 0});
		else if (count == COUNT_IN_FUTURE)
			say(in, "sample more than 5 minutes ahead of the server's clock", (PbSlice){NULL, 0});
		else
		{
			samples->times[samples->count] = at;
			samples->values[0][samples->count++] = wire[i].value;
		}
	}
	metric_samples_sort(samples);
}

/* True when the series has a sample that is to be stored. */
static bool
samples_any(const Intake *in, const Incoming *series)
{
	RemoteSample *wire = palloc(series->wire.samples * sizeof(*wire));
	bool any = false;

	remote_samples(&series->wire, wire);
	for (uint32 i = 0; i < series->wire.samples && !any; i++)
		any = time_judge(in, time_of(wire[i].ms)) == COUNT_STORED;
	pfree(wire);
	return any;
}

/* ---- series ---- */

static char *
slice_text(PbSlice slice)
{
	return pnstrdup((const char *) slice.data, slice.len);
}

/* Reads the labels of a series that is not known; false when they are refused, or it has no sample to be stored. */
static bool
series_make(Intake *in, Incoming *series)
{
	static RemoteLabels labels;
	MetricLabel own[PCTL_REMOTE_LABELS_MAX];
	const char *wrong = remote_labels(&series->wire, &labels);

	if (wrong != NULL)
	{
		say(in, wrong, labels.name);
		in->counts[COUNT_BAD_LABELS] += series->wire.samples;
		series->refused = true;
		return false;
	}
	if (!samples_any(in, series))
		return false;
	for (uint32 i = 0; i < labels.count; i++)
		own[i] = (MetricLabel){.name = slice_text(labels.label[i].name),
		                       .value = slice_text(labels.label[i].value)};
	series->made = metric_series_named(&in->tenant, slice_text(labels.name), own,
	                                   (int) labels.count);
	series->known = (KnownSeries){.id = series->made->id, .reserved = labels.reserved};
	return true;
}

/* Which of those looked for are in the registry. */
static HTAB *
registry_read(const Intake *in)
{
	pg_uuid_t *ids = palloc(in->count * sizeof(pg_uuid_t));
	int wanted = 0;

	for (int i = 0; i < in->count; i++)
		if (in->series[i].made != NULL)
			ids[wanted++] = in->series[i].known.id;
	return metric_series_registered(&in->tenant, ids, wanted);
}

/* Registers those that the registry has not. Another writer may be at the same, so it is asked under the lock: once, as
 * most that are looked for are new. */
static void
series_register(Intake *in)
{
	MetricQuota quota = {0};
	HTAB *seen;

	metric_quota_lock(&quota, &in->tenant);
	seen = registry_read(in);
	for (int i = 0; i < in->count; i++)
	{
		Incoming *series = &in->series[i];

		if (series->made == NULL)
			continue;
		if (hash_search(seen, &series->known.id, HASH_FIND, NULL) == NULL)
		{
			if (metric_series_admit(&quota, series->made, in->now) != METRIC_ADMITTED)
			{
				say(in, "the tenant has as many series as it may have",
				    (PbSlice){(uint8 *) series->made->name, strlen(series->made->name)});
				in->counts[COUNT_REFUSED_TENANT] += series->wire.samples;
				series->refused = true;
				continue;
			}
			(void) hash_search(seen, &series->known.id, HASH_ENTER, NULL);
		}
		known_put(&in->scope, &series->key, &series->known);
	}
	metric_quota_write(&quota, &in->tenant, in->now);
}

/* From here on no series of the tenant goes away. */
static KnownScope
series_scope(const pg_uuid_t *tenant)
{
	Datum args[1] = {UUIDPGetDatum(tenant)};
	KnownScope scope;
	Relation registry;

	pctl_plan_run(&series_hold, args, NULL, false, 1);
	if (pctl_plan_run(&state_read, args, NULL, false, 1) != 1)
	{
		pctl_plan_run(&state_make, args, NULL, false, 0);
		if (pctl_plan_run(&state_read, args, NULL, false, 1) != 1)
			elog(ERROR, "the tenant has no row in metric_state");
	}
	registry = pctl_table_open("metric_series", AccessShareLock);
	scope = known_scope(registry, tenant, DatumGetInt64(pctl_spi_value(0, 1, NULL)));
	table_close(registry, NoLock);
	return scope;
}

static void
series_resolve(Intake *in)
{
	int missing = 0;

	in->scope = series_scope(&in->tenant);
	for (int i = 0; i < in->count; i++)
		in->series[i].key = known_key(&in->scope, in->series[i].wire.labels.data,
		                              in->series[i].wire.labels.len);
	for (int i = 0; i < in->count; i++)
		if (!known_find(&in->scope, &in->series[i].key, &in->series[i].known) &&
		    series_make(in, &in->series[i]))
			missing++;
	if (missing > 0)
		series_register(in);
}

/* ---- all of it ---- */

static void
samples_store(Intake *in)
{
	RemoteSample *wire = palloc(in->counts[COUNT_RECEIVED] * sizeof(*wire));
	MetricHot *hot = metric_hot_begin(&in->tenant, in->now);
	MetricSamples samples;

	metric_samples_init(&samples, 1);
	/* In the order they came in: of two with the same labels the later one holds. */
	for (int i = 0; i < in->count; i++)
	{
		const Incoming *series = &in->series[i];

		if (series->refused)
			continue;
		samples.count = 0;
		metric_samples_reserve(&samples, series->wire.samples);
		samples_take(in, series, wire, &samples);
		in->counts[COUNT_RESERVED_LABELS] += series->known.reserved;
		metric_hot_add(hot, &series->known.id, &samples);
	}
	(void) metric_hot_end(hot);
}

static void
counts_write(const Intake *in)
{
	Datum args[2 + COUNTS] = {UUIDPGetDatum(&in->tenant),
	                          Int16GetDatum((int16) (MyProcPid % INTAKE_SLOTS))};

	for (int i = 0; i < COUNTS; i++)
		args[2 + i] = Int64GetDatum(in->counts[i]);
	pctl_plan_run(&intake_add, args, NULL, false, 0);
}

static void
intake_run(Intake *in, const bytea *given)
{
	const char *wrong;
	size_t len;
	uint8 *data = decompress(given, &len, &wrong);

	if (data != NULL)
		wrong = request_read(in, data, len);
	in->counts[COUNT_REQUESTS] = 1;
	if (wrong != NULL)
	{
		in->counts[COUNT_MALFORMED] = 1;
		in->counts[COUNT_RECEIVED] = in->counts[COUNT_HISTOGRAMS] = in->counts[COUNT_EXEMPLARS] = 0;
		say(in, wrong, (PbSlice){NULL, 0});
	}
	else if (in->count > 0)
	{
		series_resolve(in);
		samples_store(in);
	}
	if (in->counts[COUNT_HISTOGRAMS] > 0)
		say(in, "native histograms are not kept", (PbSlice){NULL, 0});
	counts_write(in);
}

/* Whether an attribute policy of the tenant forbids it. */
static bool
policy_denies(const char *permission)
{
	static PctlPlan plan = {"SELECT probectl_internal.policy_denies($1, '{}')", 1, {TEXTOID}};
	Datum args[1] = {CStringGetTextDatum(permission)};
	PctlTrusted saved;
	bool denies;

	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_plan_run(&plan, args, NULL, true, 1);
	denies = DatumGetBool(pctl_spi_value(0, 1, NULL));
	SPI_finish();
	pctl_trusted_end(&saved);
	return denies;
}

/* Who may write, in the whole tenant: a series that comes this way belongs to no project. */
static void
permission_check(void)
{
	const char *permission = "metrics.write";
	const PctlPrincipal *who = pctl_principal();

	if (who == NULL)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("this transaction is bound to no tenant")));
	/* What a backend remembers of series is checked against what is committed now. */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("samples are written in transactions of READ COMMITTED only")));
	if (pctl_principal_may(who, pctl_permission_bit(permission, (int) strlen(permission)), NULL) &&
	    !(who->has_policies && policy_denies(permission)))
		return;
	pctl_audit_denied("remote.write", "/v1/prometheus/write", "denied",
	                  "{\"permission\": \"metrics.write\"}");
	ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
	                errmsg("the permission metrics.write is needed in the whole tenant")));
}

PCTL_FUNCTION(pctl_remote_write);

/* probectl.remote_write(request bytea, OUT status integer, OUT message text) */
Datum
pctl_remote_write(PG_FUNCTION_ARGS)
{
	Intake in = {.now = pctl_now()};
	Datum values[2];
	bool nulls[2] = {false, false};
	PctlTrusted saved;
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	permission_check();
	in.tenant = *pctl_tenant_required();
	in.oldest = in.now - (int64) pctl_metric_raw_retention * USECS_PER_DAY;
	in.newest = in.now + (int64) PCTL_FUTURE_SECONDS_MAX * USECS_PER_SEC;
	pctl_trusted_begin(&saved);
	SPI_connect();
	intake_run(&in, PG_GETARG_BYTEA_PP(0));
	SPI_finish();
	pctl_trusted_end(&saved);
	values[0] = Int32GetDatum(in.said[0] == '\0' ? 204 : 400);
	values[1] = CStringGetTextDatum(
	    in.said[0] == '\0' ? ""
	    : in.counts[COUNT_STORED] > 0
	        ? psprintf("%s; " INT64_FORMAT " of " INT64_FORMAT " samples were stored", in.said,
	                   in.counts[COUNT_STORED], in.counts[COUNT_RECEIVED])
	        : in.said);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
