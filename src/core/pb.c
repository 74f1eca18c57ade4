/* SPDX-License-Identifier: PostgreSQL
 *
 * pb.c -- protobuf wire format, read and written with bounds.
 */
#include "core/pb.h"

#include <string.h>

#define TAG_MAX ((1u << 29) - 1)

void
pb_reader_init(PbReader *r, const void *data, size_t len)
{
	r->at = data;
	r->end = r->at + len;
	r->bad = false;
}

/* At most ten bytes; bits past the 64th are an error, not silently dropped. */
static bool
read_varint(PbReader *r, uint64_t *value)
{
	uint64_t v = 0;

	for (int shift = 0; shift < 64 && r->at < r->end; shift += 7)
	{
		uint8_t byte = *r->at++;

		if (shift == 63 && byte > 1)
			break;
		v |= (uint64_t) (byte & 0x7F) << shift;
		if (byte < 0x80)
		{
			*value = v;
			return true;
		}
	}
	r->bad = true;
	return false;
}

static bool
read_fixed(PbReader *r, size_t size, uint64_t *value)
{
	uint64_t v = 0;

	if ((size_t) (r->end - r->at) < size)
	{
		r->bad = true;
		return false;
	}
	for (size_t i = 0; i < size; i++)
		v |= (uint64_t) r->at[i] << (8 * i);
	r->at += size;
	*value = v;
	return true;
}

static bool
read_bytes(PbReader *r, PbSlice *bytes)
{
	uint64_t len;

	if (!read_varint(r, &len))
		return false;
	if (len > (uint64_t) (r->end - r->at))
	{
		r->bad = true;
		return false;
	}
	bytes->data = r->at;
	bytes->len = (size_t) len;
	r->at += len;
	return true;
}

bool
pb_next(PbReader *r, PbField *field)
{
	uint64_t key;

	if (r->bad || r->at == r->end || !read_varint(r, &key))
		return false;
	if (key >> 3 == 0 || key >> 3 > TAG_MAX)
	{
		r->bad = true;
		return false;
	}
	field->tag = (uint32_t) (key >> 3);
	field->type = (PbType) (key & 7);
	field->number = 0;
	field->bytes = (PbSlice){NULL, 0};
	switch (field->type)
	{
		case PB_VARINT: return read_varint(r, &field->number);
		case PB_FIXED64: return read_fixed(r, 8, &field->number);
		case PB_FIXED32: return read_fixed(r, 4, &field->number);
		case PB_BYTES: return read_bytes(r, &field->bytes);
	}
	r->bad = true;
	return false;
}

/* Length of the sequence that begins at p, 0 when it is none. Table 3-7 of the Unicode standard. */
static size_t
utf8_sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xBF;
	size_t len;

	if (p[0] < 0x80)
		return p[0] != 0 ? 1 : 0;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (left < len)
		return 0;
	switch (p[0])
	{
		case 0xE0: low = 0xA0; break;
		case 0xED: high = 0x9F; break;
		case 0xF0: low = 0x90; break;
		case 0xF4: high = 0x8F; break;
	}
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (p[i] < 0x80 || p[i] > 0xBF)
			return 0;
	return len;
}

bool
pb_text_valid(PbSlice text)
{
	for (size_t i = 0; i < text.len;)
	{
		size_t len = utf8_sequence(text.data + i, text.len - i);

		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

double
pb_double(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

uint64_t
pb_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static void
write_raw_varint(PbWriter *w, uint64_t value)
{
	do
	{
		if (w->len == w->max)
		{
			w->full = true;
			return;
		}
		w->data[w->len++] = (uint8_t) ((value & 0x7F) | (value >= 0x80 ? 0x80 : 0));
		value >>= 7;
	} while (value != 0);
}

void
pb_write_varint(PbWriter *w, uint32_t tag, uint64_t value)
{
	write_raw_varint(w, (uint64_t) tag << 3 | PB_VARINT);
	write_raw_varint(w, value);
}

void
pb_write_fixed64(PbWriter *w, uint32_t tag, uint64_t value)
{
	write_raw_varint(w, (uint64_t) tag << 3 | PB_FIXED64);
	if (w->full || w->max - w->len < 8)
	{
		w->full = true;
		return;
	}
	for (int i = 0; i < 8; i++)
		w->data[w->len++] = (uint8_t) (value >> (8 * i));
}

void
pb_write_bytes(PbWriter *w, uint32_t tag, const void *data, size_t len)
{
	write_raw_varint(w, (uint64_t) tag << 3 | PB_BYTES);
	write_raw_varint(w, len);
	if (w->full || len > w->max - w->len)
	{
		w->full = true;
		return;
	}
	memcpy(w->data + w->len, data, len);
	w->len += len;
}
