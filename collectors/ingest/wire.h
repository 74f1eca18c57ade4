/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.h -- the outer shell of StreamResultsRequest, read in place.
 *
 * The ingest process hands batches on without decoding them, so all it needs is where the
 * batch starts. A generated decoder would copy every batch once more.
 */
#ifndef PCTL_INGEST_WIRE_H
#define PCTL_INGEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_PLANE_MAX 16

struct wire_batch
{
	const uint8_t *data; /* points into the message; NULL when it has none */
	size_t len;
	char plane[WIRE_PLANE_MAX + 1]; /* "network" when the message has none */
};

/* Envelope of a probectl.stream.v1.Batch. */
struct wire_envelope
{
	uint64_t epoch, first_seq; /* never 0; first_seq + count - 1 fits into 63 bits */
	uint32_t count;            /* 1 .. WIRE_RECORDS_MAX */
};

#define WIRE_RECORDS_MAX 10000 /* as the database has it */

/* NULL, or what is wrong with the batch. Records are counted, not read. */
const char *wire_envelope_parse(const void *data, size_t len, struct wire_envelope *envelope);

/* NULL, or a sentence that says what is wrong with the message. */
const char *wire_batch_parse(const void *message, size_t len, struct wire_batch *batch);

#endif
