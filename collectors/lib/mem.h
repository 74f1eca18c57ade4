/* SPDX-License-Identifier: PostgreSQL
 *
 * mem.h -- allocation that cannot fail.
 *
 * For a process's own structures only: out of memory there is fatal and names the
 * caller. Anything whose size comes from input uses a struct buf with a maximum, or
 * malloc with a check, and the input pays for it.
 */
#ifndef PCTL_LIB_MEM_H
#define PCTL_LIB_MEM_H

#include <stddef.h>

#define mem_alloc(size)            mem_alloc_at((size), __func__)
#define mem_array(count, size)     mem_array_at((count), (size), __func__)
#define mem_resize(p, count, size) mem_resize_at((p), (count), (size), __func__)
#define mem_strdup(s)              mem_strdup_at((s), __func__)

/* Zeroed. */
void *mem_alloc_at(size_t size, const char *where);
void *mem_array_at(size_t count, size_t size, const char *where);

/* The multiplication is checked; new bytes are not zeroed. */
void *mem_resize_at(void *p, size_t count, size_t size, const char *where);

/* NULL in, NULL out. */
char *mem_strdup_at(const char *s, const char *where);

#endif
