/* SPDX-License-Identifier: PostgreSQL
 *
 * chunk.h -- samples of one series, compressed: what metric_hot.data and metric_chunk.data hold. Pure C.
 *
 * Layout, version 1:
 *
 *   magic (1 byte, 0xB1)  columns (1)  time unit (1: 0 us, 1 ms, 2 s)  count (varint)
 *   first time (zigzag varint, microseconds since 2000)
 *   count - 1 times: difference of the differences in the unit, zigzag varint
 *   for each column: coding (1), then count values
 *   when columns has its highest bit: for each row a length (varint) and so many bytes, the rest of the row
 *
 * A column whose values are all whole numbers of 10^-n, n at most 9, is coded n: the first whole number, then
 * differences, zigzag varints. Any other is coded 0x10: each value XORed with the one before it, a byte
 * (zero bytes above in the high nibble, below in the low one) and the bytes between, most significant first. Both give
 * every value back bit for bit. Times ascend strictly. Reading never passes the end and never allocates.
 *
 * A raw chunk has one column. A roll-up has those of enum RollupColumn and rests: empty, or the flags of the row and
 * then its sketch (sketch.h), which is left out where count is 2 or less: then min and max are all its values.
 *
 * The value with the bits METRIC_STALE is none: it says that the series ended there (a test was paused, an agent deleted).
 * It is the one that Prometheus writes. Any other NaN is a sample that is no number.
 */
#ifndef PCTL_METRIC_CHUNK_H
#define PCTL_METRIC_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_SAMPLES_MAX 240
#define CHUNK_COLUMNS_MAX 5

/* The most a chunk can need, its rests aside. */
#define CHUNK_BYTES_MAX                                                                            \
	(24 + CHUNK_SAMPLES_MAX * 10 + CHUNK_COLUMNS_MAX * (1 + CHUNK_SAMPLES_MAX * 10))

enum RollupColumn
{
	ROLLUP_COUNT,
	ROLLUP_SUM,
	ROLLUP_MIN,
	ROLLUP_MAX,
	ROLLUP_LAST,
	ROLLUP_COLUMNS
};

#define METRIC_STALE UINT64_C(0x7ff0000000000002)

#define ROLLUP_ENDED 0x01 /* flag: after its last sample the series ended */
/* Rows of so many samples and fewer are told by min and max. */
#define ROLLUP_PLAIN_COUNT 2

#define CHUNK_REST_MAX 4096

typedef struct ChunkRest
{
	const uint8_t *at; /* what a chunk was decoded from holds it */
	uint32_t len;
} ChunkRest;

typedef struct Chunk
{
	uint32_t count;
	uint32_t columns;
	bool rests;
	ChunkRest rest[CHUNK_SAMPLES_MAX];
	int64_t times[CHUNK_SAMPLES_MAX];
	double values[CHUNK_COLUMNS_MAX][CHUNK_SAMPLES_MAX];
} Chunk;

static inline bool
metric_is_stale(double value)
{
	uint64_t bits;

	__builtin_memcpy(&bits, &value, sizeof(bits));
	return bits == METRIC_STALE;
}

static inline double
metric_stale(void)
{
	uint64_t bits = METRIC_STALE;
	double value;

	__builtin_memcpy(&value, &bits, sizeof(value));
	return value;
}

/* What chunk_encode may write. */
size_t chunk_bytes_max(const Chunk *chunk);

/* Bytes written to out, which has room for chunk_bytes_max(); 0 when count, columns or a rest are out of range or the
 * times do not ascend. */
size_t chunk_encode(uint8_t *out, const Chunk *chunk);

/* False when the bytes are no chunk; then the content is void. */
bool chunk_decode(Chunk *chunk, const void *data, size_t len);

#endif
