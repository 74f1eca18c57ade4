/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_batch.c -- a batch that is accepted hands out as many records as it counted, in order, each
 * inside the input, and numbers that stay below 2^63; one that is not has a reason.
 */
#include "fuzz.h"

#include "core/limits.h"
#include "core/pb.c"
#include "stream/batch.c"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *after = data;
	uint32_t handed = 0;
	PbSlice record;
	Batch batch;
	BatchError error = batch_parse(&batch, data, size, PCTL_BATCH_RECORDS_MAX);

	require(batch_error_text(error) != NULL);
	if (error != BATCH_OK)
		return 0;
	require(batch.epoch > 0 && batch.epoch <= INT64_MAX && batch.count > 0);
	require(batch.count <= PCTL_BATCH_RECORDS_MAX && batch.first_seq > 0);
	require(batch.first_seq + batch.count - 1 <= INT64_MAX);
	while (batch_next(&batch, &record))
	{
		require(record.data >= after && record.len <= size);
		require((size_t) (record.data - data) <= size - record.len);
		after = record.data + record.len;
		handed++;
	}
	require(handed == batch.count && !batch.records.bad);
	/* The same bytes with one record less allowed than there are. */
	require(batch_parse(&batch, data, size, handed - 1) == BATCH_TOO_MANY);
	return 0;
}
