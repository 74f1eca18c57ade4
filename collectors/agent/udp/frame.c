/* SPDX-License-Identifier: PostgreSQL
 *
 * frame.c -- see frame.h.
 */
#include "agent/udp/frame.h"

#include <string.h>

#include "lib/buf.h"

#define MAGIC       0x70634531 /* "pcE1" */
#define KIND_AT     4
#define HEADERS_MAX 112 /* link 32, IPv6 with a fragment header 48, UDP 8, and some to spare */

/* Big-endian, n bytes at p, which the caller owns in full. */
static void
store(uint8_t *p, uint64_t value, size_t n)
{
	while (n-- > 0)
	{
		p[n] = (uint8_t) value;
		value >>= 8;
	}
}

void
frame_write(uint8_t *p, size_t len, const struct frame *frame)
{
	store(p, MAGIC, 4);
	store(p + KIND_AT, (uint64_t) frame->kind << 24, 4);
	store(p + 8, frame->token, 8);
	store(p + 16, frame->number, 4);
	for (size_t i = FRAME_MIN; i < len; i++)
		p[i] = (uint8_t) i;
}

bool
frame_read(const uint8_t *data, size_t len, struct frame *frame)
{
	struct cursor c;
	uint32_t magic, kind;

	cursor_init(&c, data, len);
	magic = cursor_be32(&c);
	kind = cursor_u8(&c);
	if (cursor_be24(&c) != 0 || magic != MAGIC || kind > FRAME_ANSWER)
		return false;
	frame->kind = (enum frame_kind) kind;
	frame->token = cursor_be64(&c);
	frame->number = cursor_be32(&c);
	return !c.failed && len <= FRAME_MAX;
}

/* Headers have an even number of bytes. */
bool
frame_find(const uint8_t *data, size_t len, struct frame *frame)
{
	for (size_t at = 0; at <= HEADERS_MAX && at + FRAME_MIN <= len; at += 2)
		if (frame_read(data + at, len - at, frame))
			return true;
	return false;
}

void
frame_turn(uint8_t *p)
{
	p[KIND_AT] = FRAME_ANSWER;
}
