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
 *
 * A column whose values are all whole numbers of 10^-n, n at most 9, is coded n: the first whole number, then
 * differences, zigzag varints. Any other is coded 0x10: each value XORed with the one before it, a byte
 * (zero bytes above in the high nibble, below in the low one) and the bytes between, most significant first. Both give
 * every value back bit for bit. Times ascend strictly. Reading never passes the end and never allocates.
 *
 * A raw chunk has one column; a roll-up has those of enum RollupColumn.
 */
#ifndef PCTL_METRIC_CHUNK_H
#define PCTL_METRIC_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_SAMPLES_MAX 240
#define CHUNK_COLUMNS_MAX 5

/* The most a chunk can need. */
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

typedef struct Chunk
{
	uint32_t count;
	uint32_t columns;
	int64_t times[CHUNK_SAMPLES_MAX];
	double values[CHUNK_COLUMNS_MAX][CHUNK_SAMPLES_MAX];
} Chunk;

/* Bytes written to out, which has room for CHUNK_BYTES_MAX; 0 when count or columns are out of range or the times
 * do not ascend. */
size_t chunk_encode(uint8_t *out, const Chunk *chunk);

/* False when the bytes are no chunk; then the content is void. */
bool chunk_decode(Chunk *chunk, const void *data, size_t len);

#endif
