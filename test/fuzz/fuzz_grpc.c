/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_grpc.c -- the reader of length-prefixed messages, cut as a network cuts.
 *
 * The first byte chooses the size of the pieces. Invariants: cutting changes neither the messages nor
 * the verdict; no message is longer than the limit; the messages, framed again, are the
 * input up to where it ends or goes wrong.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/grpc.h"

#define LIMIT 1000

#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

static bool
collect(void *arg, const uint8_t *data, size_t len)
{
	struct buf *all = arg;

	MUST(len <= LIMIT);
	buf_put_u8(all, 0);
	buf_put_be32(all, (uint32_t) len);
	return buf_put(all, data, len);
}

static bool
feed(const uint8_t *data, size_t size, size_t piece, struct buf *all, bool *idle)
{
	const char *problem = NULL;
	struct grpc_reader r;

	grpc_reader_init(&r, LIMIT);
	for (size_t at = 0; at < size && !problem; at += piece)
		problem = grpc_reader_feed(&r, data + at, piece < size - at ? piece : size - at, collect,
		                           all);
	*idle = grpc_reader_idle(&r);
	grpc_reader_free(&r);
	return problem == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT(1 << 24), cut = BUF_INIT(1 << 24);
	bool idle_whole, idle_cut, good;
	size_t piece;

	if (size < 1)
		return 0;
	piece = 1u + data[0];
	data++;
	size--;
	good = feed(data, size, size ? size : 1, &whole, &idle_whole);
	MUST(feed(data, size, piece, &cut, &idle_cut) == good);
	MUST(whole.len == cut.len && (whole.len == 0 || memcmp(whole.data, cut.data, cut.len) == 0));
	MUST(whole.len <= size && (whole.len == 0 || memcmp(whole.data, data, whole.len) == 0));
	if (good)
		MUST(idle_whole == idle_cut && idle_whole == (whole.len == size));
	buf_free(&whole);
	buf_free(&cut);
	return 0;
}
