/* SPDX-License-Identifier: PostgreSQL
 *
 * pb.h -- a checked cursor over protobuf wire format, and a bounded writer.
 *
 * Pure C without the server, so that the decoders built on it are unit-tested and fuzzed as they
 * ship. Reading never passes the end, never allocates and never loops on bad input; the
 * first error sticks. Wire format: protobuf encoding guide; groups (types 3, 4) are
 * refused.
 */
#ifndef PCTL_PB_H
#define PCTL_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PbType
{
	PB_VARINT = 0,
	PB_FIXED64 = 1,
	PB_BYTES = 2,
	PB_FIXED32 = 5
} PbType;

typedef struct PbSlice
{
	const uint8_t *data;
	size_t len;
} PbSlice;

typedef struct PbReader
{
	const uint8_t *at, *end;
	bool bad;
} PbReader;

typedef struct PbField
{
	uint32_t tag;
	PbType type;
	uint64_t number; /* VARINT, FIXED64, FIXED32 */
	PbSlice bytes;   /* BYTES */
} PbField;

void pb_reader_init(PbReader *r, const void *data, size_t len);

/* Next field; false at the end or on an error (then r->bad). */
bool pb_next(PbReader *r, PbField *field);

/* True when the bytes are valid UTF-8 (RFC 3629) without U+0000. */
bool pb_text_valid(PbSlice text);

double pb_double(uint64_t bits);
uint64_t pb_bits(double value);

typedef struct PbWriter
{
	uint8_t *data;
	size_t len, max;
	bool full; /* something did not fit; the content is void */
} PbWriter;

void pb_write_varint(PbWriter *w, uint32_t tag, uint64_t value);
void pb_write_fixed64(PbWriter *w, uint32_t tag, uint64_t value);
void pb_write_bytes(PbWriter *w, uint32_t tag, const void *data, size_t len);

#endif
