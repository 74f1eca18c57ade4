/* SPDX-License-Identifier: PostgreSQL
 *
 * batch.c -- from a position in the ledger to a request of remote write.
 *
 * A queue is a position, not a copy: results are kept for days anyway, so a target that is down for hours costs nothing, and
 * what it missed is made again from the same rows. Only what the derive worker has worked in is sent, so each series was judged
 * by the limits before: one that was refused here is not passed on either.
 */
#include "remote/batch.h"

#include <math.h>
#include <snappy-c.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/spi.h"
#include "metric/run.h"
#include "metric/series.h"
#include "miscadmin.h"
#include "remote/wire.h"
#include "stream/window.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PARTS_MAX                                                                                  \
	2000 /* ledger rows looked at for one request, and those of the last transaction */
#define SAMPLE_BYTES 24 /* of a sample, with its tag and length, at most */
#define LABELS_BYTES 32 /* of tags and lengths of a label, at most */
#define LABEL_FIELDS (PCTL_METRIC_LABELS_MAX + 1)

static PctlPlan derived_read = {
    "SELECT next_xid FROM probectl.metric_state WHERE tenant_id = $1", 1, {UUIDOID}};
/* The transaction up to which one request looks. */
static PctlPlan bound_read = {
    "SELECT xid FROM probectl.ledger WHERE tenant_id = $1 AND xid >= $2 AND xid < $3 AND stored > 0"
    " ORDER BY xid OFFSET $4 LIMIT 1",
    4,
    {UUIDOID, INT8OID, INT8OID, INT8OID}};
/* Batches that share a transaction may share blocks, and rows are told by their transaction: one part for all of it in a leaf. */
static PctlPlan parts_read = {
    "SELECT leaf, min(block_first), max(block_last), xid, min(received_at) FROM probectl.ledger"
    " WHERE tenant_id = $1 AND xid >= $2 AND xid < $3 AND stored > 0"
    " GROUP BY xid, leaf ORDER BY xid, leaf",
    3,
    {UUIDOID, INT8OID, INT8OID}};
/* As the derive worker tells series apart before it names them. */
typedef struct OutKey
{
	pg_uuid_t agent, test;
	uint64 hash[2];
} OutKey;

typedef struct OutSeries
{
	OutKey key;
	MetricSeries *series;
	RemoteSample *samples;
	int32 count, room;
} OutSeries;

typedef struct Gathering
{
	const pg_uuid_t *tenant;
	RemotePosition from;
	int32 most;
	RemoteBatch *batch;
	HTAB *by_key;
	OutSeries **series;
	int count, room;
	int64 samples;
	MemoryContext row, kept;
	/* the part being read */
	int64 xid, rows; /* rows of the transaction seen */
	TimestampTz received;
	bool expired;
	bool full;
} Gathering;

static int64
ms_of(TimestampTz at)
{
	const int64 shift = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);

	return (int64) floor((double) at / 1000) + shift;
}

static OutSeries *
series_find(Gathering *g, const MetricRun *run, const char *metric, int len)
{
	const MetricSource *source = &run->source;
	OutSeries *out;
	OutKey key;
	bool found;

	memset(&key, 0, sizeof(key));
	key.agent = source->agent;
	key.test = source->test;
	for (int i = 0; i < 2; i++)
	{
		uint64 hash = (uint64) source->port * 2 + i;

		hash = hash_bytes_extended((const unsigned char *) source->type, (int) strlen(source->type),
		                           hash);
		hash = hash_bytes_extended((const unsigned char *) source->target,
		                           (int) strlen(source->target), hash);
		key.hash[i] = len < 0 ? hash + (uint64) -len
		                      : hash_bytes_extended((const unsigned char *) metric, len, hash);
	}
	out = hash_search(g->by_key, &key, HASH_ENTER, &found);
	if (found)
		return out;
	out->series = metric_series_make(source, len < 0 ? metric : pnstrdup(metric, len));
	out->count = 0;
	out->room = 8;
	out->samples = palloc(out->room * sizeof(RemoteSample));
	if (g->count == g->room)
	{
		g->room = Max(g->room * 2, 256);
		g->series = g->series == NULL ? palloc(g->room * sizeof(*g->series))
		                              : repalloc(g->series, g->room * sizeof(*g->series));
	}
	g->series[g->count++] = out;
	return out;
}

static void
sample_add(void *state, const MetricRun *run, const char *metric, int len, double value)
{
	Gathering *g = state;
	MemoryContext old = MemoryContextSwitchTo(g->kept);
	OutSeries *out = series_find(g, run, metric, len);

	if (out->count == out->room)
	{
		out->room *= 2;
		out->samples = repalloc(out->samples, out->room * sizeof(RemoteSample));
	}
	out->samples[out->count++] = (RemoteSample){.ms = ms_of(run->at), .value = value};
	g->samples++;
	MemoryContextSwitchTo(old);
}

/* One result; those before the position are passed over, those after a full request are left for the next. */
static void
result_row(void *state, TupleTableSlot *slot)
{
	Gathering *g = state;
	RemoteBatch *batch = g->batch;
	MemoryContext old;
	MetricRun run;

	if (g->full)
		return;
	if (g->xid == g->from.xid && g->rows < g->from.row)
	{
		g->rows++;
		return;
	}
	if (g->samples >= g->most)
	{
		g->full = true;
		batch->behind = g->received;
		return;
	}
	MemoryContextReset(g->row);
	old = MemoryContextSwitchTo(g->row);
	metric_run_read(&run, g->tenant, slot);
	if (g->expired)
		batch->expired += metric_run_samples(&run);
	else
	{
		if (g->samples == 0)
			batch->oldest = g->received;
		metric_run_each(&run, sample_add, g);
	}
	MemoryContextSwitchTo(old);
	batch->next = (RemotePosition){.xid = g->xid, .row = ++g->rows};
	if (g->samples == 0)
	{
		batch->past_expired = batch->next;
		batch->leading_expired = batch->expired;
	}
}

/* Reads results until the request is full or there are no more. */
static void
results_gather(Gathering *g, int64 derived, TimestampTz expired_before)
{
	Datum args[4] = {UUIDPGetDatum(g->tenant), Int64GetDatum(g->from.xid), Int64GetDatum(derived),
	                 Int64GetDatum(PARTS_MAX)};
	LedgerPart part = {.tenant = *g->tenant};
	int64 until = derived;
	SPITupleTable *table;
	uint64 parts;

	if (pctl_plan_run(&bound_read, args, NULL, true, 1) == 1)
		until = DatumGetInt64(pctl_spi_value(0, 1, NULL)) + 1;
	args[2] = Int64GetDatum(until);
	parts = pctl_plan_run(&parts_read, args, NULL, true, 0);
	table = SPI_tuptable;
	for (uint64 i = 0; i < parts && !g->full; i++)
	{
		SPI_tuptable = table;
		part.leaf = DatumGetObjectId(pctl_spi_value(i, 1, NULL));
		part.block_first = (BlockNumber) DatumGetInt64(pctl_spi_value(i, 2, NULL));
		part.block_last = (BlockNumber) DatumGetInt64(pctl_spi_value(i, 3, NULL));
		part.xid = DatumGetInt64(pctl_spi_value(i, 4, NULL));
		g->received = DatumGetTimestampTz(pctl_spi_value(i, 5, NULL));
		if (part.xid != g->xid)
			g->rows = 0;
		g->xid = part.xid;
		g->expired = g->received < expired_before;
		pctl_part_scan(&part, METRIC_RUN_TENANT_COLUMN, result_row, g);
		CHECK_FOR_INTERRUPTS();
	}
	if (g->full)
		return;
	g->batch->next = (RemotePosition){.xid = until};
	if (until < derived)
		g->batch->behind = g->received;
	if (g->samples == 0)
	{
		g->batch->past_expired = g->batch->next;
		g->batch->leading_expired = g->batch->expired;
	}
}

static int
sample_compare(const void *a, const void *b)
{
	const RemoteSample *x = a, *y = b;

	return (x->ms > y->ms) - (x->ms < y->ms);
}

/* Ascending, each millisecond once. */
static void
samples_sort(OutSeries *out)
{
	int32 kept = 0;

	qsort(out->samples, out->count, sizeof(RemoteSample), sample_compare);
	for (int32 i = 0; i < out->count; i++)
		if (i + 1 == out->count || out->samples[i + 1].ms != out->samples[i].ms)
			out->samples[kept++] = out->samples[i];
	out->count = kept;
}

/* Takes those out that the registry has not. */
static void
series_check(Gathering *g)
{
	pg_uuid_t *ids = palloc(g->count * sizeof(pg_uuid_t));
	HTAB *registered;
	int kept = 0;

	for (int i = 0; i < g->count; i++)
		ids[i] = g->series[i]->series->id;
	registered = metric_series_registered(g->tenant, ids, g->count);
	for (int i = 0; i < g->count; i++)
		if (hash_search(registered, &g->series[i]->series->id, HASH_FIND, NULL) != NULL)
			g->series[kept++] = g->series[i];
		else
			g->batch->unregistered += g->series[i]->count;
	g->count = kept;
	hash_destroy(registered);
}

static PbSlice
slice_of(const char *text)
{
	return (PbSlice){(const uint8_t *) text, strlen(text)};
}

/* Name and labels as they are sent: no empty ones. The tenant is among them, always. */
static uint32
labels_fill(const MetricSeries *series, RemoteLabel *labels)
{
	uint32 count = 0;

	labels[count++] = (RemoteLabel){slice_of("__name__"), slice_of(series->name)};
	for (int i = 0; i < series->label_count; i++)
		if (series->labels[i].value[0] != '\0')
			labels[count++] = (RemoteLabel){slice_of(series->labels[i].name),
			                                slice_of(series->labels[i].value)};
	return count;
}

static size_t
series_room(const OutSeries *out)
{
	size_t room = LABELS_BYTES + strlen(out->series->name) + LABELS_BYTES +
	              (size_t) out->count * SAMPLE_BYTES;

	for (int i = 0; i < out->series->label_count; i++)
		room += strlen(out->series->labels[i].name) + strlen(out->series->labels[i].value) +
		        LABELS_BYTES;
	return room;
}

static void
request_compress(Gathering *g, const PbWriter *request)
{
	RemoteBatch *batch = g->batch;

	batch->len = snappy_max_compressed_length(request->len);
	batch->body = malloc(batch->len);
	if (batch->body == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for a request")));
	if (snappy_compress((const char *) request->data, request->len, batch->body, &batch->len) !=
	    SNAPPY_OK)
		elog(ERROR, "a request could not be compressed");
}

static void
request_write(Gathering *g)
{
	RemoteLabel labels[LABEL_FIELDS];
	PbWriter request = {0}, scratch = {0};

	for (int i = 0; i < g->count; i++)
	{
		size_t room = series_room(g->series[i]);

		request.max += room + LABELS_BYTES;
		scratch.max = Max(scratch.max, room);
	}
	request.data = MemoryContextAllocHuge(CurrentMemoryContext, request.max);
	scratch.data = MemoryContextAllocHuge(CurrentMemoryContext, scratch.max);
	for (int i = 0; i < g->count; i++)
	{
		OutSeries *out = g->series[i];

		g->batch->samples += out->count;
		samples_sort(out);
		remote_write_series(&request, &scratch, labels, labels_fill(out->series, labels),
		                    out->samples, (uint32) out->count);
	}
	if (request.full)
		elog(ERROR, "a request is larger than its parts");
	request_compress(g, &request);
}

void
pctl_remote_batch(RemoteBatch *batch, const pg_uuid_t *tenant, RemotePosition from, int32 most,
                  TimestampTz expired_before)
{
	HASHCTL ctl = {.keysize = sizeof(OutKey), .entrysize = sizeof(OutSeries)};
	Datum args[1] = {UUIDPGetDatum(tenant)};
	Gathering g = {.tenant = tenant, .from = from, .most = most, .batch = batch, .xid = -1};

	*batch = (RemoteBatch){
	    .next = from, .past_expired = from, .oldest = DT_NOEND, .behind = DT_NOEND};
	if (pctl_plan_run(&derived_read, args, NULL, true, 1) != 1 ||
	    DatumGetInt64(pctl_spi_value(0, 1, NULL)) <= from.xid)
		return;
	g.kept = CurrentMemoryContext;
	g.row = AllocSetContextCreate(CurrentMemoryContext, "probectl remote row",
	                              ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = CurrentMemoryContext;
	g.by_key = hash_create("probectl remote batch", 256, &ctl,
	                       HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	results_gather(&g, DatumGetInt64(pctl_spi_value(0, 1, NULL)), expired_before);
	if (g.count > 0)
		series_check(&g);
	if (g.count > 0)
		request_write(&g);
}
