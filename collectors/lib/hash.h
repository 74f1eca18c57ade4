/* SPDX-License-Identifier: PostgreSQL
 *
 * hash.h -- FNV-1a of 64 bits: for tables whose keys nobody else chooses, and for names that have to be stable and distinct.
 */
#ifndef PCTL_LIB_HASH_H
#define PCTL_LIB_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_START UINT64_C(14695981039346656037)

/* Goes on from HASH_START, from a hash of what was before, or from a secret. */
static inline uint64_t
hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * UINT64_C(1099511628211);
	return hash;
}

static inline uint64_t
hash_text(const char *text)
{
	return hash_bytes(HASH_START, text, strlen(text));
}

#endif
