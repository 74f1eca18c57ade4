/* SPDX-License-Identifier: PostgreSQL
 *
 * mem.c -- see mem.h. The message is written without allocating.
 */
#include "lib/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

void *
mem_alloc_at(size_t size, const char *where)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		log_fatal("mem", where, "out of memory for %zu bytes", size);
	return p;
}

void *
mem_array_at(size_t count, size_t size, const char *where)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		log_fatal("mem", where, "out of memory for %zu items of %zu bytes", count, size);
	return p;
}

void *
mem_resize_at(void *p, size_t count, size_t size, const char *where)
{
	void *n = reallocarray(p, count ? count : 1, size ? size : 1);

	if (!n)
		log_fatal("mem", where, "out of memory for %zu items of %zu bytes", count, size);
	return n;
}

char *
mem_strdup_at(const char *s, const char *where)
{
	char *n;

	if (!s)
		return NULL;
	n = strdup(s);
	if (!n)
		log_fatal("mem", where, "out of memory for a string");
	return n;
}
