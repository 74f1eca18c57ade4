/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_chunk.c -- bytes that are taken for a chunk hold ascending times and as many values as they say, and what
 * was read from them, written and read again, is the same bit for bit. So for the sketches behind rows.
 */
#include "fuzz.h"

#include <string.h>

#include "metric/chunk.c"
#include "metric/sketch.c"

static void
sketch_check(const uint8_t *data, size_t size)
{
	static uint8_t bytes[SKETCH_BYTES_MAX];
	static Sketch sketch, again;
	size_t len;

	if (!sketch_decode(&sketch, data, size))
		return;
	require(sketch.bins <= SKETCH_BINS_MAX);
	for (uint32_t i = 1; i < sketch.bins; i++)
		require(sketch.key[i] > sketch.key[i - 1]);
	len = sketch_encode(bytes, &sketch);
	require(len <= sizeof(bytes) && sketch_decode(&again, bytes, len));
	require(again.bins == sketch.bins && again.collapses == sketch.collapses);
	require(memcmp(again.key, sketch.key, sketch.bins * sizeof(*sketch.key)) == 0);
	require(memcmp(again.count, sketch.count, sketch.bins * sizeof(*sketch.count)) == 0);
	if (sketch.bins == 0)
		return;
	require(sketch_quantile(&sketch, 0) <= sketch_quantile(&sketch, 1));
	/* With itself it is twice as many, spread alike. */
	sketch_merge(&again, &sketch);
	require(sketch_count(&again) == 2 * sketch_count(&sketch));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[CHUNK_BYTES_MAX + CHUNK_SAMPLES_MAX * (CHUNK_REST_MAX + 2)];
	static Chunk chunk, again;
	size_t len;

	if (!chunk_decode(&chunk, data, size))
		return 0;
	require(chunk.count > 0 && chunk.count <= CHUNK_SAMPLES_MAX);
	require(chunk.columns > 0 && chunk.columns <= CHUNK_COLUMNS_MAX);
	for (uint32_t i = 1; i < chunk.count; i++)
		require(chunk.times[i] > chunk.times[i - 1]);
	for (uint32_t i = 0; chunk.rests && i < chunk.count; i++)
		if (chunk.rest[i].len > 0)
			sketch_check(chunk.rest[i].at + 1, chunk.rest[i].len - 1);
	len = chunk_encode(bytes, &chunk);
	require(len > 0 && len <= chunk_bytes_max(&chunk) && len <= sizeof(bytes));
	require(chunk_decode(&again, bytes, len));
	require(again.count == chunk.count && again.columns == chunk.columns);
	require(memcmp(again.times, chunk.times, chunk.count * sizeof(int64_t)) == 0);
	require(again.rests == chunk.rests);
	for (uint32_t i = 0; chunk.rests && i < chunk.count; i++)
		require(again.rest[i].len == chunk.rest[i].len &&
		        memcmp(again.rest[i].at, chunk.rest[i].at, chunk.rest[i].len) == 0);
	for (uint32_t i = 0; i < chunk.columns; i++)
		require(memcmp(again.values[i], chunk.values[i], chunk.count * sizeof(double)) == 0);
	return 0;
}
