/* SPDX-License-Identifier: PostgreSQL
 *
 * batch.c -- the envelope of every producer stream.
 *
 * Two passes over the bytes: the first checks the whole envelope and counts, so that a batch is
 * known to be good before any record is looked at; the second hands out records.
 */
#include "stream/batch.h"

enum
{
	TAG_EPOCH = 1,
	TAG_FIRST_SEQ = 2,
	TAG_RECORDS = 3
};

BatchError
batch_parse(Batch *batch, const void *data, size_t len, uint32_t records_max)
{
	PbReader r;
	PbField field;

	*batch = (Batch){0};
	pb_reader_init(&r, data, len);
	batch->records = r;
	while (pb_next(&r, &field))
	{
		if (field.tag == TAG_EPOCH && field.type == PB_VARINT)
			batch->epoch = field.number;
		else if (field.tag == TAG_FIRST_SEQ && field.type == PB_VARINT)
			batch->first_seq = field.number;
		else if (field.tag == TAG_RECORDS && field.type == PB_BYTES)
		{
			if (batch->count == records_max)
				return BATCH_TOO_MANY;
			batch->count++;
		}
		else if (field.tag <= TAG_RECORDS)
			return BATCH_MALFORMED; /* a known tag of another type */
	}
	if (r.bad)
		return BATCH_MALFORMED;
	if (batch->epoch == 0 || batch->epoch > INT64_MAX)
		return BATCH_NO_EPOCH;
	if (batch->first_seq == 0 || batch->first_seq > (uint64_t) INT64_MAX - records_max)
		return BATCH_NO_SEQ;
	return batch->count == 0 ? BATCH_EMPTY : BATCH_OK;
}

bool
batch_next(Batch *batch, PbSlice *record)
{
	PbField field;

	while (pb_next(&batch->records, &field))
		if (field.tag == TAG_RECORDS)
		{
			*record = field.bytes;
			return true;
		}
	return false;
}

const char *
batch_error_text(BatchError error)
{
	static const char *const texts[] = {
	    [BATCH_OK] = "ok",
	    [BATCH_MALFORMED] = "the batch is not a probectl.stream.v1.Batch",
	    [BATCH_NO_EPOCH] = "the batch has no epoch",
	    [BATCH_NO_SEQ] = "the batch has no usable first sequence number",
	    [BATCH_EMPTY] = "the batch has no records",
	    [BATCH_TOO_MANY] = "the batch has too many records",
	};

	return texts[error];
}
