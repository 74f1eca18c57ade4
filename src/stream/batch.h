/* SPDX-License-Identifier: PostgreSQL
 *
 * batch.h -- probectl.stream.v1.Batch, read without copying. Pure C.
 */
#ifndef PCTL_STREAM_BATCH_H
#define PCTL_STREAM_BATCH_H

#include "core/pb.h"

typedef struct Batch
{
	uint64_t epoch;     /* never 0 */
	uint64_t first_seq; /* never 0 */
	uint32_t count;     /* 1 .. records_max */
	PbReader records;   /* positioned at the message; see batch_next */
} Batch;

typedef enum BatchError
{
	BATCH_OK = 0,
	BATCH_MALFORMED, /* not the wire format */
	BATCH_NO_EPOCH,  /* epoch missing or 0 */
	BATCH_NO_SEQ,    /* first_seq missing or 0, or the last number passes 2^63 - 1 */
	BATCH_EMPTY,     /* no record */
	BATCH_TOO_MANY   /* more records than records_max */
} BatchError;

/* Reads the envelope and counts the records. The bytes must outlive the batch. */
BatchError batch_parse(Batch *batch, const void *data, size_t len, uint32_t records_max);
const char *batch_error_text(BatchError error);

/* Records in order; false after the last. */
bool batch_next(Batch *batch, PbSlice *record);

#endif
