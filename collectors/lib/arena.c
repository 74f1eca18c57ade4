/* SPDX-License-Identifier: PostgreSQL
 *
 * arena.c -- see arena.h.
 */
#include "lib/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN alignof(max_align_t)

struct arena_block
{
	struct arena_block *next;
	size_t size;
	alignas(max_align_t) unsigned char data[];
};

static void *
allocator_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void
allocator_free(void *data, void *p)
{
}

void
arena_init(struct arena *a, size_t block_size, size_t max)
{
	memset(a, 0, sizeof(*a));
	a->block_size = block_size < 256 ? 256 : block_size;
	a->max = max;
	a->allocator.alloc = allocator_alloc;
	a->allocator.free = allocator_free;
	a->allocator.allocator_data = a;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *block = a->blocks;
	size_t want;
	void *p;

	if (size > a->max)
		return NULL;
	size = (size + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	if (!block || size > block->size - a->used)
	{
		want = size > a->block_size ? size : a->block_size;
		if (want > a->max - a->total)
			want = size;
		if (want > a->max - a->total)
			return NULL;
		block = malloc(sizeof(*block) + want);
		if (!block)
			return NULL;
		block->size = want;
		block->next = a->blocks;
		a->blocks = block;
		a->total += want;
		a->used = 0;
	}
	p = block->data + a->used;
	a->used += size;
	return p;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	size_t len = strlen(s) + 1;
	char *p = arena_alloc(a, len);

	if (p)
		memcpy(p, s, len);
	return p;
}

void
arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL;

	while (a->blocks)
	{
		struct arena_block *next = a->blocks->next;

		if (!keep && a->blocks->size == a->block_size)
			keep = a->blocks;
		else
			free(a->blocks);
		a->blocks = next;
	}
	if (keep)
		keep->next = NULL;
	a->blocks = keep;
	a->total = keep ? keep->size : 0;
	a->used = 0;
}

void
arena_free(struct arena *a)
{
	while (a->blocks)
	{
		struct arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
	a->total = a->used = 0;
}
