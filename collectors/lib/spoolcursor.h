/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolcursor.h -- the cursor file of a spool: 2 slots of 512 bytes, written in turn.
 *
 * A slot is a sector, so a write is whole or not there; the checksum finds the exception and the
 * other slot is then the state before. Private to the spool.
 */
#ifndef PCTL_LIB_SPOOLCURSOR_H
#define PCTL_LIB_SPOOLCURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spool.h"

struct spool_cursor
{
	uint64_t generation;
	uint64_t epoch;
	uint64_t base;  /* wire number = local number - base */
	uint64_t floor; /* local; everything up to it is acknowledged or given up */
	uint64_t limit; /* local; numbers up to it may have been used */
	uint64_t dropped[SPOOL_DROP_COUNT];
};

/* Reads the newer valid slot. False when there is none. */
bool spool_cursor_read(int fd, struct spool_cursor *c);

/* Writes the slot whose turn it is; synced when durable is asked for. */
bool spool_cursor_write(int fd, struct spool_cursor *c, bool durable);

#endif
