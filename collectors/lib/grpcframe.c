/* SPDX-License-Identifier: PostgreSQL
 *
 * grpcframe.c -- the length-prefixed messages inside a gRPC stream (grpc.h).
 *
 *   0        1                                5
 *   +--------+--------------------------------+----------- ...
 *   | flag   | length, big endian             | message
 *   +--------+--------------------------------+----------- ...
 *
 * Flag 1 means compressed, which we never announce and therefore refuse. No memory is
 * taken for bytes that have not arrived: a length is only believed up to the maximum.
 */
#include "lib/grpc.h"

#define FRAME_HEADER 5

void
grpc_reader_init(struct grpc_reader *r, size_t max)
{
	buf_init(&r->buf, max + FRAME_HEADER + 65536);
	r->max = max;
}

void
grpc_reader_free(struct grpc_reader *r)
{
	buf_free(&r->buf);
}

bool
grpc_reader_idle(const struct grpc_reader *r)
{
	return r->buf.len == 0;
}

/* Takes whole messages off the front of the buffer. */
static const char *
reader_drain(struct grpc_reader *r, bool (*message)(void *, const uint8_t *, size_t), void *arg)
{
	struct cursor c;
	size_t done = 0;

	cursor_init(&c, r->buf.data, r->buf.len);
	while (cursor_left(&c) >= FRAME_HEADER)
	{
		uint8_t flag = cursor_u8(&c);
		uint32_t len = cursor_be32(&c);
		const uint8_t *data;

		if (flag != 0)
			return flag == 1 ? "a compressed message" : "a message with an unknown flag";
		if (len > r->max)
			return "a message longer than the limit";
		if (cursor_left(&c) < len)
			break;
		data = cursor_take(&c, len);
		done = c.pos;
		if (!message(arg, data, len))
			return NULL;
	}
	buf_consume(&r->buf, done);
	return NULL;
}

const char *
grpc_reader_feed(struct grpc_reader *r, const uint8_t *data, size_t len,
                 bool (*message)(void *, const uint8_t *, size_t), void *arg)
{
	while (len > 0)
	{
		/* In pieces, so that the buffer never holds much more than one message. */
		size_t piece = len < 16384 ? len : 16384;
		const char *problem;

		if (!buf_put(&r->buf, data, piece))
			return "more than one message may hold";
		data += piece;
		len -= piece;
		problem = reader_drain(r, message, arg);
		if (problem)
			return problem;
	}
	return NULL;
}
