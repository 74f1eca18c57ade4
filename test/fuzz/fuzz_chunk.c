/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_chunk.c -- bytes that are taken for a chunk hold ascending times and as many values as they say, and what
 * was read from them, written and read again, is the same bit for bit.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metric/chunk.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[CHUNK_BYTES_MAX];
	static Chunk chunk, again;
	size_t len;

	if (!chunk_decode(&chunk, data, size))
		return 0;
	require(chunk.count > 0 && chunk.count <= CHUNK_SAMPLES_MAX);
	require(chunk.columns > 0 && chunk.columns <= CHUNK_COLUMNS_MAX);
	for (uint32_t i = 1; i < chunk.count; i++)
		require(chunk.times[i] > chunk.times[i - 1]);
	len = chunk_encode(bytes, &chunk);
	require(len > 0 && len <= sizeof(bytes));
	require(chunk_decode(&again, bytes, len));
	require(again.count == chunk.count && again.columns == chunk.columns);
	require(memcmp(again.times, chunk.times, chunk.count * sizeof(int64_t)) == 0);
	for (uint32_t i = 0; i < chunk.columns; i++)
		require(memcmp(again.values[i], chunk.values[i], chunk.count * sizeof(double)) == 0);
	return 0;
}
