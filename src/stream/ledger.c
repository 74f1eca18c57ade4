/* SPDX-License-Identifier: PostgreSQL
 *
 * ledger.c -- rows of probectl.ledger.
 */
#include "stream/ledger.h"

#include "access/transam.h"
#include "access/xact.h"
#include "core/append.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Columns of probectl.ledger, in order. */
enum
{
	COL_TENANT_ID,
	COL_RECEIVED_AT,
	COL_XID,
	COL_AGENT_ID,
	COL_PLANE,
	COL_EPOCH,
	COL_FIRST_SEQ,
	COL_RECORDS,
	COL_STORED,
	COL_DUPLICATE,
	COL_DEAD_LETTERED,
	COL_DROPPED_ATTRIBUTES,
	COL_CLAMPED,
	COL_LEAF,
	COL_BLOCK_FIRST,
	COL_BLOCK_LAST,
	COL_STARTED_MIN,
	COL_STARTED_MAX,
	COL_COUNT
};

static void
batch_fill(const Ingest *in, bool first, Datum *v)
{
	v[COL_TENANT_ID] = UUIDPGetDatum(&in->who->tenant);
	v[COL_RECEIVED_AT] = TimestampTzGetDatum(in->from.received_at);
	v[COL_XID] = Int64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()));
	v[COL_AGENT_ID] = UUIDPGetDatum(&in->who->id);
	v[COL_PLANE] = CStringGetTextDatum(in->plane);
	v[COL_EPOCH] = Int64GetDatum(in->batch.epoch);
	v[COL_FIRST_SEQ] = Int64GetDatum(in->batch.first_seq);
	v[COL_RECORDS] = Int32GetDatum(first ? (int32) in->batch.count : 0);
	v[COL_DUPLICATE] = Int32GetDatum(first ? in->duplicate : 0);
	v[COL_DEAD_LETTERED] = Int32GetDatum(first ? in->malformed + in->dead_lettered : 0);
	v[COL_DROPPED_ATTRIBUTES] = Int32GetDatum(first ? in->dropped_attributes : 0);
	v[COL_CLAMPED] = Int32GetDatum(first ? in->from.clamped : 0);
}

/* part: NULL when nothing was stored. */
static void
part_fill(const ResultStorePart *part, TupleTableSlot *row)
{
	Datum *v = row->tts_values;

	v[COL_STORED] = Int32GetDatum(part ? part->count : 0);
	v[COL_LEAF] = ObjectIdGetDatum(part ? part->leaf : InvalidOid);
	v[COL_BLOCK_FIRST] = Int64GetDatum(part ? (int64) part->block_first : 0);
	v[COL_BLOCK_LAST] = Int64GetDatum(part ? (int64) part->block_last : -1);
	v[COL_STARTED_MIN] = TimestampTzGetDatum(part ? part->started_min : 0);
	v[COL_STARTED_MAX] = TimestampTzGetDatum(part ? part->started_max : 0);
	row->tts_isnull[COL_STARTED_MIN] = row->tts_isnull[COL_STARTED_MAX] = part == NULL;
}

static void
row_add(PctlAppend *rows, const Ingest *in, const ResultStorePart *part, bool first)
{
	MemoryContext old = MemoryContextSwitchTo(pctl_append_values(rows));
	TupleTableSlot *row = pctl_append_row(rows);

	batch_fill(in, first, row->tts_values);
	part_fill(part, row);
	MemoryContextSwitchTo(old);
	pctl_append_add(rows, NULL);
}

void
ledger_write(const Ingest *batches, int count)
{
	PctlAppend *rows = pctl_append_begin("ledger", COL_COUNT, NULL);
	ListCell *cell;

	for (int i = 0; i < count; i++)
	{
		const Ingest *in = &batches[i];

		if (in->from.parts == NIL)
			row_add(rows, in, NULL, true);
		foreach (cell, in->from.parts)
			row_add(rows, in, lfirst(cell), foreach_current_index(cell) == 0);
	}
	pctl_append_end(rows);
}
