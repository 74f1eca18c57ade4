/* SPDX-License-Identifier: PostgreSQL
 *
 * hot.c -- rows of metric_hot: a sheet (sheet.h) of samples of many series each.
 *
 * What comes is written as it comes, with no look at what is there. A row and its entry in the primary key cost a hundred
 * times what a sample does, and a scrape brings one sample of each series: so a row is of all series of a pass that share
 * a bucket, as far as they fit without being stored out of line. A series is once in a row: what comes twice in a pass is in two.
 *
 * Series identifiers are hashes, so buckets fill evenly. A reader of one series looks through the rows of its bucket, one of many
 * keeps the rows it has read (MetricHotView) and looks each series up in them.
 *
 * Locks: rows only.
 */
#include "metric/hot.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/table.h"
#include "core/uuid7.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "metric/sheet.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tenant/context.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SLOTS_MAX 128

/* Bytes of a sheet, so that a row is stored in line (TOAST_TUPLE_THRESHOLD) and four of them on a page. A chunk alone may be longer. */
#define SHEET_BYTES 1900

/* Samples in memory; then they are written. */
#define ENTRIES_MAX (1 << 20)
#define CHUNKS_MAX  (64 << 20) /* bytes */

#define VIEW_BYTES_MAX (64 << 20) /* of rows that a view keeps */

enum
{
	HOT_TENANT_ID,
	HOT_BUCKET,
	HOT_N,
	HOT_XID,
	HOT_T0,
	HOT_T1,
	HOT_STORED_AT,
	HOT_SAMPLES,
	HOT_DATA,
	HOT_COLUMNS
};

static PctlPlan bucket_take = {"DELETE FROM probectl.metric_hot WHERE tenant_id = $1 AND bucket = "
                               "$2 RETURNING xid, n, data",
                               2,
                               {UUIDOID, INT2OID}};
static PctlPlan bucket_read = {"SELECT data FROM probectl.metric_hot WHERE tenant_id = $1 AND "
                               "bucket = $2 AND t1 >= $3 AND t0 < $4 ORDER BY xid, n",
                               4,
                               {UUIDOID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
static PctlPlan bucket_lock = {"SELECT n, xid, data FROM probectl.metric_hot WHERE tenant_id = $1 "
                               "AND bucket = $2 FOR UPDATE",
                               2,
                               {UUIDOID, INT2OID}};
static PctlPlan row_delete = {"DELETE FROM probectl.metric_hot WHERE tenant_id = $1 AND bucket = "
                              "$2 AND n = $3 AND xid = $4",
                              4,
                              {UUIDOID, INT2OID, INT4OID, INT8OID}};
static PctlPlan row_change = {
    "UPDATE probectl.metric_hot SET samples = $5, data = $6 WHERE tenant_id = $1 AND bucket = $2 "
    "AND n = $3 AND xid = $4",
    6,
    {UUIDOID, INT2OID, INT4OID, INT8OID, INT4OID, BYTEAOID}};

static int16
bucket_of(const uint8 *series)
{
	return series[0] >> (8 - METRIC_HOT_BITS);
}

static uint64
leading(const uint8 *series)
{
	uint64 word;

	memcpy(&word, series, sizeof(word));
	return pg_ntoh64(word);
}

/* ---- in memory: an order of entries by series, and as they came ---- */

/* Most are told apart by the first half of the identifier. */
typedef struct Place
{
	uint64 key;
	const uint8 *series;
	uint32 row, at;
} Place;

static int
place_compare(const Place *a, const Place *b)
{
	int order;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	order = sheet_series_compare(a->series, b->series);
	if (order != 0)
		return order;
	if (a->row != b->row)
		return a->row < b->row ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

#define ST_SORT          places_sort
#define ST_ELEMENT_TYPE  Place
#define ST_COMPARE(a, b) place_compare(a, b)
#define ST_SCOPE         static
#define ST_DECLARE
#define ST_DEFINE
#include "lib/sort_template.h"

/* ---- writing ---- */

typedef struct HotEntry
{
	pg_uuid_t series;
	int64 time; /* SHEET_CHUNK: of the bytes at place */
	double value;
	uint32 place, len;
	uint32 samples;
	int64 first, last;
} HotEntry;

struct MetricHot
{
	pg_uuid_t tenant;
	TimestampTz now;
	int64 xid;
	Relation rel;
	EState *estate;
	ResultRelInfo *info;
	BulkInsertState bistate;
	CommandId cid;
	TupleTableSlot *slots[SLOTS_MAX];
	int nslots, nslots_made;
	MemoryContext values;
	HotEntry *entries;
	uint32 count, room;
	uint8 *chunks;
	size_t bytes, bytes_room;
	Chunk chunk;
	int64 stored;
};

MetricHot *
metric_hot_begin(const pg_uuid_t *tenant, TimestampTz now)
{
	MetricHot *hot = palloc0(sizeof(*hot));

	hot->tenant = *tenant;
	hot->now = now;
	hot->xid = (int64) U64FromFullTransactionId(GetTopFullTransactionId());
	hot->rel = pctl_table_open_columns("metric_hot", HOT_COLUMNS);
	hot->estate = pctl_table_executor(hot->rel);
	hot->info = makeNode(ResultRelInfo);
	ExecInitResultRelation(hot->estate, hot->info, 1);
	ExecOpenIndices(hot->info, false);
	hot->bistate = GetBulkInsertState();
	hot->cid = GetCurrentCommandId(true);
	hot->values = AllocSetContextCreate(CurrentMemoryContext, "probectl metric values",
	                                    ALLOCSET_DEFAULT_SIZES);
	return hot;
}

static void
slots_flush(MetricHot *hot)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(hot->estate));

	if (hot->nslots > 0)
		table_multi_insert(hot->rel, hot->slots, hot->nslots, hot->cid, 0, hot->bistate);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < hot->nslots; i++)
	{
		list_free(
		    ExecInsertIndexTuples(hot->info, hot->slots[i], hot->estate, false, false, NULL, NIL));
		ExecClearTuple(hot->slots[i]);
		ResetPerTupleExprContext(hot->estate);
	}
	hot->nslots = 0;
	MemoryContextReset(hot->values);
}

/* Place of a row in its transaction; a transaction may write more than once. */
static int32
row_number(int64 xid)
{
	static int64 of = 0;
	static int32 last = 0;

	if (xid != of)
		last = 0;
	of = xid;
	return ++last;
}

/* A sheet, in the current context. */
static bytea *
sheet_bytes(const SheetEntry *entries, uint32 count)
{
	size_t len = SHEET_HEAD_BYTES + (size_t) count * SHEET_ENTRY_BYTES;
	bytea *data;

	for (uint32 i = 0; i < count; i++)
		len += entries[i].chunk == NULL ? 0 : entries[i].len;
	data = palloc(VARHDRSZ + len);
	SET_VARSIZE(data, VARHDRSZ + len);
	if (sheet_write((uint8 *) VARDATA(data), entries, count) != len)
		elog(ERROR, "series of a row are not in order");
	return data;
}

/* A row of the entries at the places, which are of one bucket and a series each. */
static void
row_add(MetricHot *hot, const Place *places, uint32 count)
{
	SheetEntry entries[SHEET_BYTES / SHEET_ENTRY_BYTES + 1];
	int64 first = PG_INT64_MAX, last = PG_INT64_MIN;
	uint32 samples = 0;
	TupleTableSlot *slot;
	MemoryContext old;

	for (uint32 i = 0; i < count; i++)
	{
		const HotEntry *from = &hot->entries[places[i].at];

		entries[i] = (SheetEntry){.series = from->series.data,
		                          .chunk = from->time == SHEET_CHUNK ? hot->chunks + from->place
		                                                             : NULL,
		                          .len = from->len,
		                          .time = from->time,
		                          .value = from->value};
		first = Min(first, from->first);
		last = Max(last, from->last);
		samples += from->samples;
	}
	if (hot->nslots == SLOTS_MAX)
		slots_flush(hot);
	if (hot->nslots == hot->nslots_made)
		hot->slots[hot->nslots_made++] = table_slot_create(hot->rel, NULL);
	slot = hot->slots[hot->nslots++];
	old = MemoryContextSwitchTo(hot->values);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, HOT_COLUMNS * sizeof(bool));
	slot->tts_values[HOT_TENANT_ID] = UUIDPGetDatum(&hot->tenant);
	slot->tts_values[HOT_BUCKET] = Int16GetDatum(bucket_of(places[0].series));
	slot->tts_values[HOT_N] = Int32GetDatum(row_number(hot->xid));
	slot->tts_values[HOT_XID] = Int64GetDatum(hot->xid);
	slot->tts_values[HOT_T0] = TimestampTzGetDatum(first);
	slot->tts_values[HOT_T1] = TimestampTzGetDatum(last);
	slot->tts_values[HOT_STORED_AT] = TimestampTzGetDatum(hot->now);
	slot->tts_values[HOT_SAMPLES] = Int32GetDatum((int32) samples);
	slot->tts_values[HOT_DATA] = PointerGetDatum(sheet_bytes(entries, count));
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
	hot->stored += samples;
}

/* How many of the places, from the first on, make a row. */
static uint32
row_length(const MetricHot *hot, const Place *places, uint32 count)
{
	size_t bytes = SHEET_HEAD_BYTES;
	uint32 n;

	for (n = 0; n < count; n++)
	{
		bytes += SHEET_ENTRY_BYTES + hot->entries[places[n].at].len;
		if (n > 0 &&
		    (bytes > SHEET_BYTES || bucket_of(places[n].series) != bucket_of(places[0].series) ||
		     sheet_series_compare(places[n - 1].series, places[n].series) == 0))
			break;
	}
	return n;
}

/* Writes what is in memory, in the order of the index, which then changes page by page. */
static void
entries_flush(MetricHot *hot)
{
	Place *places;

	if (hot->count == 0)
		return;
	places = MemoryContextAllocHuge(CurrentMemoryContext, hot->count * sizeof(Place));
	for (uint32 i = 0; i < hot->count; i++)
		places[i] = (Place){.key = leading(hot->entries[i].series.data),
		                    .series = hot->entries[i].series.data,
		                    .at = i};
	places_sort(places, hot->count);
	for (uint32 i = 0, n; i < hot->count; i += n)
	{
		n = row_length(hot, places + i, hot->count - i);
		row_add(hot, places + i, n);
	}
	slots_flush(hot);
	pfree(places);
	hot->count = 0;
	hot->bytes = 0;
}

static HotEntry *
entry_add(MetricHot *hot, const pg_uuid_t *series)
{
	HotEntry *entry;

	if (hot->count == ENTRIES_MAX || hot->bytes > CHUNKS_MAX)
		entries_flush(hot);
	if (hot->count == hot->room)
	{
		hot->room = Max(hot->room * 2, 1024);
		hot->entries = hot->entries == NULL
		                   ? palloc(hot->room * sizeof(HotEntry))
		                   : repalloc_huge(hot->entries, hot->room * sizeof(HotEntry));
	}
	entry = &hot->entries[hot->count++];
	entry->series = *series;
	return entry;
}

/* Encodes the chunk behind those that are there. */
static void
chunk_add(MetricHot *hot, const pg_uuid_t *series)
{
	const Chunk *chunk = &hot->chunk;
	HotEntry *entry = entry_add(hot, series);
	size_t most = chunk_bytes_max(chunk);

	if (hot->bytes + most > hot->bytes_room)
	{
		hot->bytes_room = Max(hot->bytes_room * 2, hot->bytes + most + 65536);
		hot->chunks = hot->chunks == NULL ? palloc(hot->bytes_room)
		                                  : repalloc_huge(hot->chunks, hot->bytes_room);
	}
	entry->time = SHEET_CHUNK;
	entry->value = 0;
	entry->place = (uint32) hot->bytes;
	entry->len = (uint32) chunk_encode(hot->chunks + hot->bytes, chunk);
	if (entry->len == 0)
		elog(ERROR, "samples of a chunk are not in order");
	entry->samples = chunk->count;
	entry->first = chunk->times[0];
	entry->last = chunk->times[chunk->count - 1];
	hot->bytes += entry->len;
}

void
metric_hot_add(MetricHot *hot, const pg_uuid_t *series, const MetricSamples *samples)
{
	int64 n = metric_samples_pieces(samples->count);

	if (samples->count == 1)
	{
		HotEntry *entry = entry_add(hot, series);

		entry->time = entry->first = entry->last = samples->times[0];
		entry->value = samples->values[0][0];
		entry->place = entry->len = 0;
		entry->samples = 1;
		return;
	}
	for (int64 i = 0; i < n; i++)
	{
		int64 first = samples->count * i / n, next = samples->count * (i + 1) / n;

		metric_samples_chunk(samples, first, (uint32) (next - first), &hot->chunk);
		chunk_add(hot, series);
	}
}

int64
metric_hot_end(MetricHot *hot)
{
	int64 stored;

	entries_flush(hot);
	stored = hot->stored;
	FreeBulkInsertState(hot->bistate);
	for (int i = 0; i < hot->nslots_made; i++)
		ExecDropSingleTupleTableSlot(hot->slots[i]);
	ExecCloseResultRelations(hot->estate);
	ExecCloseRangeTableRelations(hot->estate);
	FreeExecutorState(hot->estate);
	table_close(hot->rel, NoLock);
	MemoryContextDelete(hot->values);
	if (hot->entries != NULL)
		pfree(hot->entries);
	if (hot->chunks != NULL)
		pfree(hot->chunks);
	pfree(hot);
	return stored;
}

/* ---- reading rows ---- */

/* Adds the samples of an entry; false when its chunk does not decode. */
static bool
entry_samples(const SheetEntry *entry, MetricSamples *samples)
{
	static Chunk chunk;

	if (entry->chunk == NULL)
	{
		metric_samples_add(samples, entry->time, &entry->value);
		return true;
	}
	if (!chunk_decode(&chunk, entry->chunk, entry->len) || chunk.columns != 1 || chunk.rests)
		return false;
	metric_samples_add_chunk(samples, &chunk);
	return true;
}

/* Opens a row's data, of which it keeps a copy where it was out of line. */
static bool
row_open(Sheet *sheet, Datum value)
{
	bytea *data = DatumGetByteaPP(value);

	return sheet_open(sheet, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
}

/* ---- compaction ---- */

struct MetricHotTaken
{
	Sheet *sheets; /* of rows, in the order in which they hold */
	Place *places;
	uint64 count, at;
	SPITupleTable *table; /* has the bytes */
};

typedef struct HotRow
{
	int64 xid;
	int32 n;
	Sheet sheet;
} HotRow;

static int
row_compare(const void *a, const void *b)
{
	const HotRow *x = a, *y = b;

	if (x->xid != y->xid)
		return x->xid < y->xid ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

/* The rows of the last answer that decode, in order; *entries is what they hold. */
static uint32
rows_open(HotRow *rows, uint64 given, uint64 *entries, int64 *damaged)
{
	uint32 count = 0;

	*entries = 0;
	for (uint64 i = 0; i < given; i++)
	{
		HotRow *row = &rows[count];

		if (!row_open(&row->sheet, pctl_spi_value(i, 3, NULL)))
		{
			(*damaged)++;
			continue;
		}
		row->xid = DatumGetInt64(pctl_spi_value(i, 1, NULL));
		row->n = DatumGetInt32(pctl_spi_value(i, 2, NULL));
		*entries += row->sheet.count;
		count++;
	}
	qsort(rows, count, sizeof(HotRow), row_compare);
	return count;
}

MetricHotTaken *
metric_hot_take(const pg_uuid_t *tenant, int16 bucket, int64 *damaged)
{
	Datum args[2] = {UUIDPGetDatum(tenant), Int16GetDatum(bucket)};
	uint64 given = pctl_plan_run(&bucket_take, args, NULL, false, 0), entries;
	HotRow *rows = MemoryContextAllocHuge(CurrentMemoryContext, Max(given, 1) * sizeof(HotRow));
	uint32 count = rows_open(rows, given, &entries, damaged);
	MetricHotTaken *taken = palloc0(sizeof(*taken));

	taken->table = SPI_tuptable;
	taken->sheets = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(Sheet));
	taken->places = MemoryContextAllocHuge(CurrentMemoryContext, Max(entries, 1) * sizeof(Place));
	for (uint32 row = 0; row < count; row++)
	{
		const Sheet *sheet = &rows[row].sheet;

		taken->sheets[row] = *sheet;
		for (uint32 i = 0; i < sheet->count; i++)
		{
			const uint8 *series = sheet->entries + (size_t) i * SHEET_ENTRY_BYTES;

			taken->places[taken->count++] = (Place){
			    .key = leading(series), .series = series, .row = row, .at = i};
		}
	}
	places_sort(taken->places, taken->count);
	pfree(rows);
	return taken;
}

bool
metric_hot_taken_next(MetricHotTaken *taken, pg_uuid_t *series, MetricSamples *samples,
                      int64 *damaged)
{
	const uint8 *mine;

	if (taken->at == taken->count)
		return false;
	mine = taken->places[taken->at].series;
	memcpy(series->data, mine, UUID_LEN);
	metric_samples_init(samples, 1);
	for (; taken->at < taken->count; taken->at++)
	{
		const Place *place = &taken->places[taken->at];
		SheetEntry entry = sheet_entry(&taken->sheets[place->row], place->at);

		if (sheet_series_compare(place->series, mine) != 0)
			break;
		if (!entry_samples(&entry, samples))
			(*damaged)++;
	}
	metric_samples_sort(samples);
	return true;
}

void
metric_hot_taken_end(MetricHotTaken *taken)
{
	SPI_freetuptable(taken->table);
	pfree(taken->sheets);
	pfree(taken->places);
	pfree(taken);
}

/* ---- a view ---- */

/* Rows of a bucket that are kept. */
typedef struct BucketRows
{
	bool asked, kept;
	uint32 count, room;
	Sheet *sheets;
} BucketRows;

struct MetricHotView
{
	MemoryContext rows; /* what is kept */
	pg_uuid_t tenant;
	int64 from, to;
	bool fresh;
	/* Of the snapshot: those that are alike in this see the same. */
	LocalTransactionId lxid;
	TransactionId xmin, xmax;
	uint32 running;
	CommandId command;
	size_t bytes;
	BucketRows bucket[METRIC_HOT_BUCKETS];
};

static void
view_empty(MetricHotView *view)
{
	MemoryContextReset(view->rows);
	memset(view->bucket, 0, sizeof(view->bucket));
	view->bytes = 0;
}

MetricHotView *
metric_hot_view(MetricHotView **kept, MemoryContext context, const pg_uuid_t *tenant, int64 from,
                int64 to, bool fresh)
{
	Snapshot snapshot = GetActiveSnapshot();
	MetricHotView *view = *kept;

	if (view == NULL)
	{
		view = *kept = MemoryContextAllocZero(context, sizeof(*view));
		view->rows = AllocSetContextCreate(context, "probectl hot rows", ALLOCSET_DEFAULT_SIZES);
	}
	if (fresh || view->fresh || memcmp(&view->tenant, tenant, UUID_LEN) != 0 ||
	    view->from != from || view->to != to || view->lxid != PCTL_MY_LXID ||
	    view->xmin != snapshot->xmin || view->xmax != snapshot->xmax ||
	    view->running != snapshot->xcnt || view->command != snapshot->curcid)
		view_empty(view);
	view->tenant = *tenant;
	view->from = from;
	view->to = to;
	view->fresh = fresh;
	view->lxid = PCTL_MY_LXID;
	view->xmin = snapshot->xmin;
	view->xmax = snapshot->xmax;
	view->running = snapshot->xcnt;
	view->command = snapshot->curcid;
	return view;
}

/* Where rows go by. */
typedef struct Passing
{
	MetricHotView *view;
	BucketRows *rows; /* where they are kept */
	const uint8 *series;
	MetricSamples *samples;
} Passing;

static void
row_keep(void *state, TupleTableSlot *slot)
{
	Passing *passing = state;
	BucketRows *rows = passing->rows;
	MemoryContext old = MemoryContextSwitchTo(passing->view->rows);
	bool null;
	bytea *data = DatumGetByteaPCopy(slot_getattr(slot, 1, &null));

	if (rows->count == rows->room)
	{
		rows->room = Max(rows->room * 2, 64);
		rows->sheets = rows->sheets == NULL
		                   ? palloc(rows->room * sizeof(Sheet))
		                   : repalloc_huge(rows->sheets, rows->room * sizeof(Sheet));
	}
	if (sheet_open(&rows->sheets[rows->count], VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)))
		rows->count++;
	passing->view->bytes += VARSIZE_ANY(data);
	MemoryContextSwitchTo(old);
}

static void
row_look(void *state, TupleTableSlot *slot)
{
	Passing *passing = state;
	bool null;
	Datum value = slot_getattr(slot, 1, &null);
	bytea *data = DatumGetByteaPP(value);
	SheetEntry entry;
	Sheet sheet;

	if (sheet_open(&sheet, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)) &&
	    sheet_find(&sheet, passing->series, &entry))
		(void) entry_samples(&entry, passing->samples);
	if ((Pointer) data != DatumGetPointer(value))
		pfree(data);
}

/* The first series of a bucket is looked up as rows go by; from the second on they are kept, as far as there is room. */
void
metric_hot_read(MetricHotView *view, const pg_uuid_t *series, MetricSamples *samples)
{
	int16 bucket = bucket_of(series->data);
	BucketRows *rows = &view->bucket[bucket];
	Datum args[4] = {UUIDPGetDatum(&view->tenant), Int16GetDatum(bucket),
	                 TimestampTzGetDatum(view->from), TimestampTzGetDatum(view->to)};
	Passing passing = {.view = view, .rows = rows, .series = series->data, .samples = samples};

	if (rows->asked && !rows->kept && view->bytes < VIEW_BYTES_MAX)
	{
		pctl_plan_each(&bucket_read, args, !view->fresh, row_keep, &passing);
		rows->kept = true;
	}
	rows->asked = true;
	if (!rows->kept)
		pctl_plan_each(&bucket_read, args, !view->fresh, row_look, &passing);
	for (uint32 i = 0; i < rows->count; i++)
	{
		SheetEntry entry;

		if (sheet_find(&rows->sheets[i], series->data, &entry))
			(void) entry_samples(&entry, samples);
	}
	metric_samples_sort(samples);
}

PCTL_FUNCTION(pctl_metric_hot_content);

/* probectl_internal.metric_hot_content(data bytea) -> setof (series_id, samples, t0, t1) */
Datum
pctl_metric_hot_content(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MetricSamples samples;
	Sheet sheet;

	InitMaterializedSRF(fcinfo, 0);
	if (!row_open(&sheet, PG_GETARG_DATUM(0)))
		return (Datum) 0;
	metric_samples_init(&samples, 1);
	for (uint32 i = 0; i < sheet.count; i++)
	{
		SheetEntry entry = sheet_entry(&sheet, i);
		Datum values[4];
		bool nulls[4] = {false};

		samples.count = 0;
		if (!entry_samples(&entry, &samples))
			continue;
		values[0] = UUIDPGetDatum((pg_uuid_t *) entry.series);
		values[1] = Int32GetDatum((int32) samples.count);
		values[2] = TimestampTzGetDatum(samples.times[0]);
		values[3] = TimestampTzGetDatum(samples.times[samples.count - 1]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- series that are deleted ---- */

/* Writes a row without the series; nothing when it has none of them. */
static void
row_forget(Datum *args, const Sheet *sheet, const pg_uuid_t *gone, int count)
{
	SheetEntry *kept = palloc(sheet->count * sizeof(SheetEntry));
	MetricSamples samples;
	uint32 left = 0;

	metric_samples_init(&samples, 1);
	for (uint32 i = 0; i < sheet->count; i++)
	{
		kept[left] = sheet_entry(sheet, i);
		if (bsearch(kept[left].series, gone, (size_t) count, sizeof(*gone), pctl_uuid_compare) ==
		    NULL)
			left++;
	}
	if (left == 0)
		pctl_plan_run(&row_delete, args, NULL, false, 0);
	else if (left < sheet->count)
	{
		for (uint32 i = 0; i < left; i++)
			(void) entry_samples(&kept[i], &samples);
		args[4] = Int32GetDatum((int32) samples.count);
		args[5] = PointerGetDatum(sheet_bytes(kept, left));
		pctl_plan_run(&row_change, args, NULL, false, 0);
	}
	pfree(kept);
}

/* [first, next) of those gone are of the bucket. */
static void
bucket_forget(const pg_uuid_t *tenant, const pg_uuid_t *gone, int count)
{
	int16 bucket = bucket_of(gone[0].data);
	Datum args[6] = {UUIDPGetDatum(tenant), Int16GetDatum(bucket)};
	uint64 rows = pctl_plan_run(&bucket_lock, args, NULL, false, 0);
	SPITupleTable *table = SPI_tuptable;

	for (uint64 i = 0; i < rows; i++)
	{
		bool null;
		Sheet sheet;

		CHECK_FOR_INTERRUPTS();
		args[2] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &null);
		args[3] = SPI_getbinval(table->vals[i], table->tupdesc, 2, &null);
		if (row_open(&sheet, SPI_getbinval(table->vals[i], table->tupdesc, 3, &null)))
			row_forget(args, &sheet, gone, count);
	}
	SPI_freetuptable(table);
}

PCTL_FUNCTION(pctl_metric_hot_forget);

/* probectl_internal.metric_hot_forget(series uuid[]) -> void */
Datum
pctl_metric_hot_forget(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	Datum *given;
	bool *nulls;
	int count;
	pg_uuid_t *gone;
	PctlTrusted saved;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &given,
	                  &nulls, &count);
	gone = palloc(Max(count, 1) * sizeof(*gone));
	for (int i = 0; i < count; i++)
		gone[i] = *DatumGetUUIDP(given[i]);
	qsort(gone, (size_t) count, sizeof(*gone), pctl_uuid_compare);
	pctl_trusted_begin(&saved);
	SPI_connect();
	for (int first = 0, next; first < count; first = next)
	{
		next = first + 1;
		while (next < count && bucket_of(gone[next].data) == bucket_of(gone[first].data))
			next++;
		bucket_forget(&tenant, gone + first, next - first);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_VOID();
}
