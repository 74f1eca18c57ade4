/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.c -- a protobuf reader for one message.
 *
 *     tag = field << 3 | wire type, a varint; then by type
 *     0 varint | 1 eight bytes | 2 length (varint) and bytes | 5 four bytes
 *
 * Types 3 and 4 (groups) do not exist in proto3 and are refused. An unknown field is
 * skipped; a field that is given twice counts as given last, as protobuf has it.
 */
#include "ingest/wire.h"

#include <string.h>

#include "lib/buf.h"

#define WIRE_FIELD_BATCH 4
#define WIRE_FIELD_PLANE 5

#define WIRE_PLANE_DEFAULT "network"

/* Fields 1-3 carried one result each, without a sequence number, in an early schema. */
#define WIRE_FIELD_OLD_LAST 3

static uint64_t
wire_varint(struct cursor *c)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		uint8_t byte = cursor_u8(c);

		/* The tenth byte has room for one bit. */
		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	c->failed = true;
	return 0;
}

static bool
wire_plane(const uint8_t *text, size_t len, char plane[WIRE_PLANE_MAX + 1])
{
	if (len > WIRE_PLANE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < 'a' || text[i] > 'z')
			return false;
	if (len == 0)
		memcpy(plane, WIRE_PLANE_DEFAULT, sizeof(WIRE_PLANE_DEFAULT));
	else
	{
		memcpy(plane, text, len);
		plane[len] = '\0';
	}
	return true;
}

/* Steps over the value of a field that is of no interest. */
static void
wire_skip(struct cursor *c, unsigned type)
{
	switch (type)
	{
		case 0: wire_varint(c); break;
		case 1: cursor_skip(c, 8); break;
		case 5: cursor_skip(c, 4); break;
		default: c->failed = true; break;
	}
}

const char *
wire_batch_parse(const void *message, size_t len, struct wire_batch *batch)
{
	struct cursor c;

	cursor_init(&c, message, len);
	batch->data = NULL;
	batch->len = 0;
	memcpy(batch->plane, WIRE_PLANE_DEFAULT, sizeof(WIRE_PLANE_DEFAULT));
	while (cursor_left(&c) > 0)
	{
		uint64_t tag = wire_varint(&c), field = tag >> 3, size;
		unsigned type = tag & 7;
		const uint8_t *value;

		if (c.failed || field == 0 || tag > UINT32_MAX)
			return "not a StreamResultsRequest: bad tag";
		if (field <= WIRE_FIELD_OLD_LAST)
			return "results without sequence numbers are not taken; send a batch (field 4)";
		if (type != 2)
		{
			if (field == WIRE_FIELD_BATCH || field == WIRE_FIELD_PLANE)
				return "not a StreamResultsRequest: field of the wrong type";
			wire_skip(&c, type);
			continue;
		}
		size = wire_varint(&c);
		value = size <= cursor_left(&c) ? cursor_take(&c, (size_t) size) : NULL;
		if (value == NULL)
			return "not a StreamResultsRequest: a field is cut off";
		if (field == WIRE_FIELD_BATCH)
		{
			batch->data = value;
			batch->len = (size_t) size;
		}
		else if (field == WIRE_FIELD_PLANE && !wire_plane(value, (size_t) size, batch->plane))
			return "plane must be at most 16 lower-case letters";
	}
	if (!cursor_done(&c))
		return "not a StreamResultsRequest: a field is cut off";
	if (batch->data == NULL || batch->len == 0)
		return "the message carries no batch (field 4)";
	return NULL;
}

#define WIRE_ENVELOPE_EPOCH  1
#define WIRE_ENVELOPE_SEQ    2
#define WIRE_ENVELOPE_RECORD 3

static bool
wire_envelope_field(struct cursor *c, uint64_t tag, struct wire_envelope *envelope)
{
	uint64_t field = tag >> 3, value;
	unsigned type = tag & 7;

	if (field == 0 || tag > UINT32_MAX)
		return false;
	if (type == 0)
	{
		value = wire_varint(c);
		if (field == WIRE_ENVELOPE_EPOCH)
			envelope->epoch = value;
		else if (field == WIRE_ENVELOPE_SEQ)
			envelope->first_seq = value;
		return field != WIRE_ENVELOPE_RECORD;
	}
	if (field == WIRE_ENVELOPE_EPOCH || field == WIRE_ENVELOPE_SEQ)
		return false;
	if (type != 2)
	{
		wire_skip(c, type);
		return field != WIRE_ENVELOPE_RECORD;
	}
	value = wire_varint(c);
	if (value > cursor_left(c))
		return false;
	cursor_skip(c, (size_t) value);
	if (field == WIRE_ENVELOPE_RECORD)
		envelope->count++;
	return true;
}

const char *
wire_envelope_parse(const void *data, size_t len, struct wire_envelope *envelope)
{
	struct cursor c;

	cursor_init(&c, data, len);
	*envelope = (struct wire_envelope){0};
	while (cursor_left(&c) > 0)
	{
		uint64_t tag = wire_varint(&c);

		if (c.failed || !wire_envelope_field(&c, tag, envelope))
			return "the batch does not decode";
		if (envelope->count > WIRE_RECORDS_MAX)
			return "the batch holds too many records";
	}
	if (!cursor_done(&c))
		return "the batch does not decode";
	if (envelope->epoch == 0 || envelope->epoch > INT64_MAX)
		return "the batch has no epoch";
	if (envelope->count == 0)
		return "the batch holds no record";
	if (envelope->first_seq == 0 || envelope->first_seq > (uint64_t) INT64_MAX - WIRE_RECORDS_MAX)
		return "the batch has no sequence number";
	return NULL;
}
