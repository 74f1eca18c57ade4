/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_envelope.c -- what ingest takes for the bus is what the database will take from it: the reader
 * of the one against that of the other, on the same bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/limits.h"
#include "core/pb.c"
#include "ingest/wire.h"
#include "stream/batch.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_envelope ours;
	const char *wrong = wire_envelope_parse(data, size, &ours);
	Batch theirs;
	BatchError error = batch_parse(&theirs, data, size, PCTL_BATCH_RECORDS_MAX);

	if ((wrong == NULL) != (error == BATCH_OK))
		abort();
	if (wrong == NULL && (ours.epoch != theirs.epoch || ours.first_seq != theirs.first_seq ||
	                      ours.count != theirs.count))
		abort();
	return 0;
}
