/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_spool.c -- the record reader of the spool on bytes that a disk may come up with.
 *
 * Invariants: a record that is accepted, encoded again, is the same bytes; reading goes forward and
 * ends; what was found in a buffer is found in the same bytes behind any rubbish that holds no
 * record of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/spool.h"

#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

static void
check_record(const uint8_t *data, const struct spool_frame *f, size_t left)
{
	struct buf again = BUF_INIT(SPOOL_RECORD_MAX + 64);
	struct spool_frame cut;

	MUST(f->size <= left && f->len <= f->size && f->len <= SPOOL_RECORD_MAX);
	MUST(f->data >= data && f->data + f->len <= data + f->size);
	MUST(f->number > 0);
	MUST(spool_frame_put(&again, f->number, f->unix_nano, f->data, f->len));
	MUST(again.len == f->size && memcmp(again.data, data, f->size) == 0);
	/* One byte less is never a record. */
	MUST(spool_frame_parse(data, f->size - 1, &cut) == SPOOL_FRAME_SHORT);
	MUST(cut.size > f->size - 1);
	buf_free(&again);
}

static size_t
walk(const uint8_t *data, size_t size)
{
	size_t at = 0, found = 0;
	uint64_t after = 0;

	while (at < size)
	{
		struct spool_frame f;
		size_t step;

		switch (spool_frame_parse(data + at, size - at, &f))
		{
			case SPOOL_FRAME_OK:
				check_record(data + at, &f, size - at);
				found += f.number > after;
				after = f.number > after ? f.number : after;
				step = f.size;
				break;
			case SPOOL_FRAME_SHORT: MUST(f.size > size - at); /* fall through */
			default:
				step = spool_frame_resync(data + at, size - at, after);
				MUST(step >= 1 && step <= size - at);
				if (step < size - at)
					MUST(spool_frame_parse(data + at + step, size - at - step, &f) ==
					         SPOOL_FRAME_OK &&
					     f.number > after);
				break;
		}
		at += step;
	}
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t rubbish[] = {'P', 'C', 'R', '1', 0xff, 'P', 'C', 'R'};
	struct buf b = BUF_INIT(1 << 20);
	size_t found = walk(data, size);

	/* The input as the payload of a record between damage: it must be found whole. */
	MUST(buf_put(&b, rubbish, sizeof(rubbish)));
	if (size <= SPOOL_RECORD_MAX && spool_frame_put(&b, 7, 1, data, size))
	{
		struct spool_frame f;
		size_t at = spool_frame_resync(b.data, b.len, 6);

		MUST(at == sizeof(rubbish));
		MUST(spool_frame_parse(b.data + at, b.len - at, &f) == SPOOL_FRAME_OK);
		MUST(f.len == size && (size == 0 || memcmp(f.data, data, size) == 0));
		MUST(spool_frame_resync(b.data, b.len, UINT64_MAX) == b.len);
	}
	buf_free(&b);
	return found > size; /* never */
}
