/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_spool_pack.c -- packed records on bytes that a disk may come up with, and packing of any records.
 *
 * Invariants: unpacking goes forward, ends, and makes no more than its bound; whatever frames the
 * input holds, packed and unpacked, are the same bytes; with rubbish before them they are still
 * found.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/spool.h"

#define BOUND (2 * 1024 * 1024)
#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that can be had; returns the bytes that could not. */
static size_t
unpack_all(const uint8_t *data, size_t size, struct buf *out)
{
	size_t at = 0, lost = 0;

	while (at < size)
	{
		size_t before = out->len, skipped;
		size_t done = spool_unpack(data + at, size - at, out, &skipped);

		MUST(done >= 1 && done <= size - at && skipped <= done);
		MUST(skipped < done || out->len == before);
		MUST(out->len <= BOUND);
		at += done;
		lost += skipped;
	}
	return lost;
}

/* The input cut into records of its own bytes. */
static void
frames_make(const uint8_t *data, size_t size, struct buf *frames)
{
	uint64_t number = 1;

	for (size_t at = 0; at < size;)
	{
		size_t len = data[at] * 3u;

		at++;
		if (len > size - at)
			len = size - at;
		MUST(spool_frame_put(frames, number++, (int64_t) at, data + at, len));
		at += len;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf frames = BUF_INIT(BOUND), packed = BUF_INIT(BOUND), out = BUF_INIT(BOUND);
	size_t head = size < 50 ? size : 50;

	if (size > 256 * 1024)
		return 0;
	unpack_all(data, size, &out);
	buf_reset(&out);
	frames_make(data, size, &frames);
	MUST(spool_pack(frames.data, frames.len, &packed));
	MUST(unpack_all(packed.data, packed.len, &out) == 0);
	MUST(out.len == frames.len && (out.len == 0 || memcmp(out.data, frames.data, out.len) == 0));
	/* Rubbish that is no block itself. */
	if (frames.len > 0 && head > 0)
	{
		struct buf shifted = BUF_INIT(BOUND);

		buf_put(&shifted, data, head);
		for (size_t i = 0; i < head; i++)
			shifted.data[i] |= 0x80; /* no magic has that */
		buf_put(&shifted, packed.data, packed.len);
		buf_reset(&out);
		MUST(unpack_all(shifted.data, shifted.len, &out) == head);
		MUST(out.len == frames.len && memcmp(out.data, frames.data, out.len) == 0);
		buf_free(&shifted);
	}
	/* What is no row of frames is not packed. */
	if (frames.len > 1)
	{
		buf_reset(&packed);
		MUST(!spool_pack(frames.data, frames.len - 1, &packed));
	}
	buf_free(&frames);
	buf_free(&packed);
	buf_free(&out);
	return 0;
}
