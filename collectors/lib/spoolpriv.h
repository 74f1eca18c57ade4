/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolpriv.h -- the spool's own structures, shared by spool.c and spoolread.c.
 */
#ifndef PCTL_LIB_SPOOLPRIV_H
#define PCTL_LIB_SPOOLPRIV_H

#include <limits.h>

#include "lib/spool.h"
#include "lib/spoolcursor.h"

#define SEGMENT_HEADER 64

/* One file. Numbers are local. */
struct segment
{
	uint64_t first; /* in its name; its first record's number is not below */
	uint64_t last;  /* newest record; 0 = none */
	uint64_t count;
	uint64_t bytes; /* of the file */
	uint64_t end;   /* behind the last record, unpacked; the header counts */
	bool packed;
	int64_t oldest, newest; /* times of its records */
};

/* Where reading stands. The window holds the bytes [start, start + window.len) of the segment. */
struct spool_reader
{
	int fd;
	uint64_t segment; /* first number of the open one */
	uint64_t number;  /* newest record that was read */
	uint64_t offset;  /* of the next frame */
	uint64_t start;
	struct buf window;
};

struct spool
{
	char *dir;
	struct spool_limits limits;
	uint64_t segment_bytes; /* a segment is closed at this size */
	int lock_fd, cursor_fd;
	struct spool_cursor cur;
	uint64_t next;            /* local number of the next record */
	uint64_t beyond;          /* below it are the numbers of segments that were set aside */
	struct segment *segments; /* oldest first; the last may be open for writing */
	size_t segment_count;
	int active_fd;       /* the last segment; -1 = the next record opens one */
	uint64_t synced_end; /* of the active segment */
	uint64_t ready_end;  /* of the active segment: so far it may be read */
	uint64_t bytes;      /* of all segments */
	uint64_t unacked;
	uint64_t appended, acked, sync_failures;
	unsigned quarantined;
	struct buf scratch;
	struct spool_reader reader;
};

void spool_path(const struct spool *s, uint64_t first, char path[PATH_MAX]);
uint64_t spool_unacked_in(const struct spool *s, const struct segment *seg);
void spool_reader_close(struct spool *s);

/* False when a file of that name is there already. */
bool spool_quarantine(struct spool *s, const char *name, const void *data, size_t len);

/* The records of a packed file, behind a header's length of nothing; damage is counted. */
bool spool_read_packed(struct spool *s, uint64_t first, struct buf *out);

/* Counts damaged bytes of a segment, once, and keeps a copy. */
void spool_damage(struct spool *s, uint64_t first, uint64_t offset, const void *data, size_t len);

#endif
