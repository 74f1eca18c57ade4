/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_buf.c -- the checked cursor and buffer against a plain model of them.
 *
 * The input is a program: an operation a byte, with the bytes it needs. Invariants: a cursor gives what
 * stands at its position, never passes the end and stays failed; a buffer holds what was put
 * into it, never more than its maximum.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"

#define BUFFER_MAX 300

#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

static uint64_t
model_number(const uint8_t *at, size_t n, bool big)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t) at[i] << 8 * (big ? n - 1 - i : i);
	return v;
}

static uint64_t
read_number(struct cursor *c, size_t n, bool big)
{
	switch (n)
	{
		case 1: return cursor_u8(c);
		case 2: return big ? cursor_be16(c) : cursor_le16(c);
		case 4: return big ? cursor_be32(c) : cursor_le32(c);
		default: return big ? cursor_be64(c) : cursor_le64(c);
	}
}

static void
check_cursor(const uint8_t *data, size_t size)
{
	static const size_t widths[] = {1, 2, 4, 8};
	struct cursor c, sub;
	size_t pos = 0;

	cursor_init(&c, data, size);
	for (size_t i = 0; i < size; i++)
	{
		size_t n = widths[data[i] & 3], left = size - pos;
		bool big = data[i] & 4, failed = c.failed;
		uint64_t v;

		if (data[i] & 8)
		{
			n = data[i] >> 4;
			sub = cursor_sub(&c, n);
			MUST(sub.failed == (failed || n > left));
			MUST(sub.failed || sub.len == n);
		}
		else
		{
			v = read_number(&c, n, big);
			MUST(v == (failed || n > left ? 0 : model_number(data + pos, n, big)));
		}
		if (!failed && n <= left)
			pos += n;
		MUST(c.failed == (failed || n > left));
		MUST(c.pos == pos && pos <= size);
		MUST(cursor_left(&c) == (c.failed ? 0 : size - pos));
	}
}

static void
check_buffer(const uint8_t *data, size_t size)
{
	struct buf b = BUF_INIT(BUFFER_MAX);
	uint8_t model[BUFFER_MAX];
	size_t len = 0;
	bool failed = false;

	for (size_t i = 0; i < size; i++)
	{
		size_t n = data[i] & 0x3f;

		if (n > size - i)
			n = size - i;
		if (data[i] & 0x80)
		{
			buf_consume(&b, n);
			n = n < len ? n : len;
			memmove(model, model + n, len - n);
			len -= n;
		}
		else if (data[i] & 0x40)
		{
			buf_reset(&b);
			len = 0;
			failed = false;
		}
		else
		{
			bool fits = !failed && n <= BUFFER_MAX - len;

			MUST(buf_put(&b, data + i, n) == fits);
			if (fits)
				memcpy(model + len, data + i, n);
			len += fits ? n : 0;
			failed = !fits;
		}
		MUST(b.failed == failed && b.len == len && b.len <= BUFFER_MAX);
		MUST(len == 0 || memcmp(b.data, model, len) == 0);
	}
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_cursor(data, size);
	check_buffer(data, size);
	return 0;
}
