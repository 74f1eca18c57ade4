/* SPDX-License-Identifier: PostgreSQL
 *
 * spool.c -- segments, bounds and acknowledgements; see spool.h for files and invariants.
 *
 * After a restart nothing is appended to an old segment: the next record opens a new one. So a
 * segment's bytes are written once and in order, and recovery only reads; damaged bytes at
 * its end are cut off after a copy went to quarantine/. Reading stands in spoolread.c.
 */
#include "lib/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crc32c.h"
#include "lib/files.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/spoolpriv.h"

#define SPOOL_RESERVE     4096 /* numbers made usable by one synced cursor write */
#define SPOOL_QUARANTINE  64   /* files kept for a person */
#define SEGMENT_BYTES_MIN (64 * 1024)
#define SEGMENT_BYTES_MAX (256 * 1024)
/* More records than a segment can hold: of the least size, and half its bytes of the last one. */
#define SPOOL_SEGMENT_NUMBERS 65536
#define SEGMENT_FILE_MAX      (2 * 1024 * 1024) /* a segment and its last record, with room to grow */
#define SEGMENT_MAGIC         UINT64_C(0x314c505331544350) /* "PCT1SPL1" */
#define SEGMENT_VERSION       1
#define SEGMENT_PACKED        2 /* the same header, then blocks (spoolpack.c) */
#define PACK_SPAN_MIN         (10 * NANO_PER_SECOND) /* a segment that filled faster is left as it is */

const char *const spool_drop_names[SPOOL_DROP_COUNT] = {
    [SPOOL_DROP_RECORDS] = "max_records", [SPOOL_DROP_BYTES] = "max_bytes",
    [SPOOL_DROP_AGE] = "max_age",         [SPOOL_DROP_CORRUPT] = "corrupt",
    [SPOOL_DROP_TOO_LARGE] = "too_large", [SPOOL_DROP_DISK] = "disk",
    [SPOOL_DROP_REFUSED] = "refused",     [SPOOL_DROP_FULL] = "full",
    [SPOOL_DROP_NEWER] = "newer_version",
};

/* ---- small helpers ---- */

void
spool_path(const struct spool *s, uint64_t first, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%020" PRIu64 ".seg", s->dir, first);
}

uint64_t
spool_unacked_in(const struct spool *s, const struct segment *seg)
{
	uint64_t left;

	if (seg->count == 0 || s->cur.floor >= seg->last)
		return 0;
	/* Holes are rare: they come from damage only. */
	left = seg->last - s->cur.floor;
	return left < seg->count ? left : seg->count;
}

static void
recount(struct spool *s)
{
	s->unacked = 0;
	for (size_t i = 0; i < s->segment_count; i++)
		s->unacked += spool_unacked_in(s, &s->segments[i]);
}

static struct segment *
segment_add(struct spool *s, uint64_t first)
{
	struct segment *seg;

	s->segments = mem_resize(s->segments, s->segment_count + 1, sizeof(*s->segments));
	seg = &s->segments[s->segment_count++];
	memset(seg, 0, sizeof(*seg));
	seg->first = first;
	return seg;
}

static void
segment_count_in(struct segment *seg, uint64_t number, int64_t unix_nano)
{
	if (seg->count++ == 0)
		seg->oldest = seg->newest = unix_nano;
	if (unix_nano < seg->oldest)
		seg->oldest = unix_nano;
	if (unix_nano > seg->newest)
		seg->newest = unix_nano;
	seg->last = number;
}

static void
active_close(struct spool *s)
{
	if (s->active_fd >= 0)
		close(s->active_fd);
	s->active_fd = -1;
}

/* Deletes the oldest segment. */
static void
segment_delete_head(struct spool *s)
{
	char path[PATH_MAX];

	if (s->segment_count == 1)
		active_close(s);
	/* An open descriptor would keep the blocks of the deleted file. */
	if (s->reader.fd >= 0 && s->reader.segment == s->segments[0].first)
		spool_reader_close(s);
	spool_path(s, s->segments[0].first, path);
	unlink(path);
	s->bytes -= s->segments[0].bytes;
	memmove(s->segments, s->segments + 1, (s->segment_count - 1) * sizeof(*s->segments));
	s->segment_count--;
}

/* Deletes what is acknowledged as a whole; the segment being written only once it is worth it. */
static void
reclaim(struct spool *s)
{
	while (s->segment_count > 0)
	{
		const struct segment *head = &s->segments[0];
		bool active = s->segment_count == 1 && s->active_fd >= 0;

		if (s->cur.floor < head->last || (active && head->bytes < SEGMENT_BYTES_MIN / 2))
			break;
		segment_delete_head(s);
	}
}

bool
spool_quarantine(struct spool *s, const char *name, const void *data, size_t len)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/quarantine", s->dir);

	if (n < 0 || n >= (int) sizeof(path) || !files_mkdirs(path, 0700))
		return true;
	n = snprintf(path, sizeof(path), "%s/quarantine/%s", s->dir, name);
	if (n < 0 || n >= (int) sizeof(path))
		return true;
	if (access(path, F_OK) == 0)
		return false;
	if (s->quarantined < SPOOL_QUARANTINE && files_write(path, data, len, 0600))
		s->quarantined++;
	return true;
}

void
spool_damage(struct spool *s, uint64_t first, uint64_t offset, const void *data, size_t len)
{
	char name[128];

	snprintf(name, sizeof(name), "%020" PRIu64 "-%" PRIu64 ".bin", first, offset);
	if (!spool_quarantine(s, name, data, len))
		return; /* counted when it was first seen */
	s->cur.dropped[SPOOL_DROP_CORRUPT]++;
	log_warning("spool", s->dir, "%zu damaged bytes in segment %" PRIu64 " at %" PRIu64 " skipped",
	            len, first, offset);
}

/* ---- opening ---- */

/* magic 8, version 4, epoch 8, base 8, floor 8, first 8, zeroes, crc 4: 64 bytes. */
static void
header_put(const struct spool *s, uint64_t first, uint32_t version, struct buf *out)
{
	buf_put_le64(out, SEGMENT_MAGIC);
	buf_put_le32(out, version);
	buf_put_le64(out, s->cur.epoch);
	buf_put_le64(out, s->cur.base);
	buf_put_le64(out, s->cur.floor);
	buf_put_le64(out, first);
	while (!out->failed && out->len < SEGMENT_HEADER - 4)
		buf_put_u8(out, 0);
	buf_put_le32(out, crc32c(0, out->data, out->len));
}

enum header
{
	HEADER_OK,
	HEADER_PACKED,
	HEADER_NEWER, /* whole, but what follows is of a version that is not ours */
	HEADER_BAD,
};

/* These 64 bytes are the same in every version; c is filled unless they are bad. */
static enum header
header_parse(const uint8_t *data, size_t len, struct spool_cursor *c)
{
	struct cursor r;
	uint32_t version;

	cursor_init(&r, data, len);
	if (cursor_le64(&r) != SEGMENT_MAGIC)
		return HEADER_BAD;
	version = cursor_le32(&r);
	c->epoch = cursor_le64(&r);
	c->base = cursor_le64(&r);
	c->floor = cursor_le64(&r);
	cursor_skip(&r, SEGMENT_HEADER - 4 - r.pos);
	if (cursor_le32(&r) != crc32c(0, data, SEGMENT_HEADER - 4) || r.failed || c->epoch == 0)
		return HEADER_BAD;
	return version == SEGMENT_VERSION  ? HEADER_OK
	       : version == SEGMENT_PACKED ? HEADER_PACKED
	                                   : HEADER_NEWER;
}

/* Moves a segment that a newer program wrote out of the way, whole: that program, or a person, may
 * still want it. Its records cannot be counted, so the segment is. */
static void
segment_set_aside(struct spool *s, uint64_t first)
{
	char path[PATH_MAX], aside[PATH_MAX];

	spool_path(s, first, path);
	if (snprintf(aside, sizeof(aside), "%s/quarantine", s->dir) >= (int) sizeof(aside) ||
	    !files_mkdirs(aside, 0700) ||
	    snprintf(aside, sizeof(aside), "%s/quarantine/%020" PRIu64 ".seg", s->dir, first) >=
	        (int) sizeof(aside))
		return;
	if (s->quarantined >= SPOOL_QUARANTINE ? unlink(path) != 0 : rename(path, aside) != 0)
		return;
	s->quarantined++;
	s->cur.dropped[SPOOL_DROP_NEWER]++;
	log_warning("spool", s->dir,
	            "segment %" PRIu64 " was written by a newer version: put into quarantine", first);
	if (s->beyond < first + SPOOL_SEGMENT_NUMBERS)
		s->beyond = first + SPOOL_SEGMENT_NUMBERS;
}

/* Reads one segment's records into the table; *after is the newest number so far. Returns the
 * offset behind the last whole record. */
static size_t
segment_scan(struct spool *s, struct segment *seg, const struct buf *file, uint64_t *after)
{
	size_t at = file->len < SEGMENT_HEADER ? file->len : SEGMENT_HEADER, good = at;

	while (at < file->len)
	{
		struct spool_frame f;

		if (spool_frame_parse(file->data + at, file->len - at, &f) == SPOOL_FRAME_OK &&
		    f.number > *after)
		{
			segment_count_in(seg, f.number, f.unix_nano);
			*after = f.number;
			at += f.size;
			good = at;
			continue;
		}
		f.size = spool_frame_resync(file->data + at, file->len - at, *after);
		spool_damage(s, seg->first, at, file->data + at, f.size);
		at += f.size;
	}
	return good;
}

bool
spool_read_packed(struct spool *s, uint64_t first, struct buf *out)
{
	struct buf file = BUF_INIT(SEGMENT_FILE_MAX);
	uint8_t *head = buf_room(out, SEGMENT_HEADER);
	char path[PATH_MAX];
	size_t at = SEGMENT_HEADER, skipped;
	bool ok;

	spool_path(s, first, path);
	ok = head && files_read(path, &file);
	if (ok)
	{
		memset(head, 0, SEGMENT_HEADER);
		buf_added(out, SEGMENT_HEADER);
	}
	while (ok && at < file.len)
	{
		size_t done = spool_unpack(file.data + at, file.len - at, out, &skipped);

		if (skipped > 0)
			spool_damage(s, first, at, file.data + at, skipped);
		at += done;
	}
	buf_free(&file);
	return ok;
}

/* The records of a file that was read, whose header says what they are. False when memory is out;
 * an empty segment is none. */
static bool
segment_adopt(struct spool *s, uint64_t first, enum header kind, struct buf *file, uint64_t *after)
{
	struct segment *seg = segment_add(s, first);
	char path[PATH_MAX];
	size_t good;

	spool_path(s, first, path);
	seg->packed = kind == HEADER_PACKED || (kind == HEADER_BAD && file->len > SEGMENT_HEADER + 4 &&
	                                        memcmp(file->data + SEGMENT_HEADER, "PCZ1", 4) == 0);
	if (kind == HEADER_BAD)
		spool_damage(s, first, 0, file->data,
		             file->len < SEGMENT_HEADER ? file->len : SEGMENT_HEADER);
	seg->bytes = file->len;
	if (seg->packed)
	{
		buf_reset(file);
		if (!spool_read_packed(s, first, file))
			return false;
	}
	seg->end = good = segment_scan(s, seg, file, after);
	/* A torn or damaged end is not looked at twice. */
	if (!seg->packed && good < file->len && truncate(path, (off_t) good) == 0)
		seg->bytes = good;
	s->bytes += seg->bytes;
	if (seg->count == 0)
	{
		unlink(path);
		s->bytes -= seg->bytes;
		s->segment_count--;
	}
	return true;
}

/* False only when the file cannot be read at all. */
static bool
segment_load(struct spool *s, uint64_t first, uint64_t *after, struct spool_cursor *hint)
{
	struct buf file = BUF_INIT(SEGMENT_FILE_MAX);
	struct spool_cursor header;
	char path[PATH_MAX];
	enum header kind;
	bool ok = true;

	spool_path(s, first, path);
	if (!files_read(path, &file))
	{
		buf_free(&file);
		return false;
	}
	kind = header_parse(file.data, file.len, &header);
	if (kind != HEADER_BAD)
		*hint = header;
	if (kind == HEADER_NEWER)
		segment_set_aside(s, first);
	else
		ok = segment_adopt(s, first, kind, &file, after);
	buf_free(&file);
	return ok;
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

/* First numbers of the segment files, sorted, other files tidied; NULL with errno. */
static uint64_t *
segments_list(struct spool *s, size_t *count)
{
	DIR *dir = opendir(s->dir);
	uint64_t *list = NULL;
	struct dirent *entry;

	*count = 0;
	if (!dir)
		return NULL;
	list = mem_alloc(sizeof(*list));
	while ((entry = readdir(dir)))
	{
		char *end;
		unsigned long long v = strtoull(entry->d_name, &end, 10);
		const char *suffix = strrchr(entry->d_name, '.');

		/* What was being written when an earlier life ended. */
		if (suffix && strcmp(suffix, ".tmp") == 0)
			unlinkat(dirfd(dir), entry->d_name, 0);

		if (end != entry->d_name + 20 || strcmp(end, ".seg") != 0)
			continue;
		list = mem_resize(list, *count + 1, sizeof(*list));
		list[(*count)++] = v;
	}
	closedir(dir);
	qsort(list, *count, sizeof(*list), compare_numbers);
	return list;
}

/* Files kept for a person by earlier lives: the bound is the directory's, not the process's. */
static void
quarantine_count(struct spool *s)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/quarantine", s->dir) >= (int) sizeof(path))
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		s->quarantined += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
}

static bool
open_files(struct spool *s, char *err, size_t errlen)
{
	char path[PATH_MAX];

	if (strlen(s->dir) > PATH_MAX - 128 || !files_mkdirs(s->dir, 0700))
	{
		snprintf(err, errlen, "spool %s: %s", s->dir, strerror(errno));
		return false;
	}
	snprintf(path, sizeof(path), "%s/lock", s->dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0 || flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
	{
		snprintf(err, errlen, "spool %s: %s", s->dir,
		         s->lock_fd >= 0 && errno == EWOULDBLOCK ? "in use by another process"
		                                                 : strerror(errno));
		return false;
	}
	snprintf(path, sizeof(path), "%s/cursor", s->dir);
	s->cursor_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->cursor_fd < 0)
		snprintf(err, errlen, "spool %s: cursor: %s", s->dir, strerror(errno));
	return s->cursor_fd >= 0;
}

/* Puts what the files say together: where numbering goes on, what is still to be sent. */
static void
recover(struct spool *s, bool have_cursor, const struct spool_cursor *hint, uint64_t last)
{
	uint64_t used = last > s->cur.limit ? last : s->cur.limit;

	if (!have_cursor)
	{
		uint64_t
		    dropped[SPOOL_DROP_COUNT]; /* by the scan: the cursor that was not read counts none */

		memcpy(dropped, s->cur.dropped, sizeof(dropped));
		s->cur = *hint;
		memcpy(s->cur.dropped, dropped, sizeof(dropped));
		/* The limit is lost: it was at most two reservations ahead of what is seen. */
		if (last < s->beyond)
			last = s->beyond;
		used = last ? last + 2 * SPOOL_RESERVE : 0;
		if (s->cur.epoch == 0)
			s->cur.epoch = (uint64_t) clock_unix_nano();
	}
	if (used < s->cur.floor)
		used = s->cur.floor;
	s->next = used + 1;
	s->cur.limit = used;
	recount(s);
	reclaim(s);
}

static bool
load(struct spool *s, char *err, size_t errlen)
{
	struct spool_cursor hint = {0};
	bool have_cursor = spool_cursor_read(s->cursor_fd, &s->cur);
	uint64_t last = 0;
	size_t count;
	uint64_t *list = segments_list(s, &count);
	bool ok = list != NULL;

	quarantine_count(s);

	for (size_t i = 0; ok && i < count; i++)
		ok = segment_load(s, list[i], &last, &hint);
	free(list);
	if (ok)
	{
		recover(s, have_cursor, &hint, last);
		/* Both slots now, so that later writes need no new block. */
		ok = spool_cursor_write(s->cursor_fd, &s->cur, false) &&
		     spool_cursor_write(s->cursor_fd, &s->cur, true) && files_sync_dir(s->dir);
	}
	if (!ok)
		snprintf(err, errlen, "spool %s: %s", s->dir, strerror(errno));
	return ok;
}

static void
spool_free(struct spool *s)
{
	active_close(s);
	spool_reader_close(s);
	if (s->cursor_fd >= 0)
		close(s->cursor_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	buf_free(&s->scratch);
	free(s->segments);
	free(s->dir);
	free(s);
}

struct spool *
spool_open(const char *dir, const struct spool_limits *limits, char *err, size_t errlen)
{
	struct spool *s = mem_alloc(sizeof(*s));
	uint64_t part = limits->max_bytes / 16;

	s->dir = mem_strdup(dir);
	s->limits = *limits;
	s->lock_fd = s->cursor_fd = s->active_fd = -1;
	s->reader.fd = -1;
	s->segment_bytes = part < SEGMENT_BYTES_MIN   ? SEGMENT_BYTES_MIN
	                   : part > SEGMENT_BYTES_MAX ? SEGMENT_BYTES_MAX
	                                              : part;
	if (limits->max_bytes < s->segment_bytes * 2)
		s->segment_bytes = limits->max_bytes / 2 + 1;
	buf_init(&s->scratch, SPOOL_RECORD_MAX + 64);
	buf_init(&s->reader.window, SEGMENT_FILE_MAX);
	if (!open_files(s, err, errlen) || !load(s, err, errlen))
	{
		spool_free(s);
		return NULL;
	}
	return s;
}

void
spool_close(struct spool *s)
{
	if (!s)
		return;
	/* Only a spool whose records are all safe may say that it ended clean. */
	if (spool_sync(s))
		s->cur.limit = s->next - 1;
	spool_cursor_write(s->cursor_fd, &s->cur, true);
	spool_free(s);
}

/* ---- appending ---- */

bool
spool_dirty(const struct spool *s)
{
	const struct segment *active = s->active_fd >= 0 ? &s->segments[s->segment_count - 1] : NULL;

	return active && s->synced_end < active->bytes && s->cur.floor < active->last;
}

void
spool_offer(struct spool *s)
{
	if (s->active_fd >= 0)
		s->ready_end = s->segments[s->segment_count - 1].bytes;
}

/* After a failed sync the kernel may call lost pages clean: write the bytes again, so that the
 * next sync has something to fail on. */
static void
rewrite_unsynced(struct spool *s)
{
	uint64_t end = s->segments[s->segment_count - 1].bytes;
	struct buf copy = BUF_INIT(SEGMENT_FILE_MAX);
	uint8_t *to = buf_room(&copy, end - s->synced_end);

	if (to && pread(s->active_fd, to, end - s->synced_end, (off_t) s->synced_end) ==
	              (ssize_t) (end - s->synced_end))
		files_pwrite(s->active_fd, to, end - s->synced_end, (off_t) s->synced_end);
	buf_free(&copy);
}

bool
spool_sync(struct spool *s)
{
	int saved;

	if (!spool_dirty(s))
		return true;
	if (fdatasync(s->active_fd) != 0)
	{
		saved = errno;
		s->sync_failures++;
		rewrite_unsynced(s);
		errno = saved;
		return false;
	}
	s->synced_end = s->ready_end = s->segments[s->segment_count - 1].bytes;
	return true;
}

/* Makes the segment that was just closed small when it seems that it will be there for a while:
 * nothing of it is acknowledged, and it took its time to fill. It stays as it is when that fails. */
static void
segment_pack(struct spool *s)
{
	struct segment *seg = &s->segments[s->segment_count - 1];
	struct buf raw = BUF_INIT(SEGMENT_FILE_MAX), packed = BUF_INIT(SEGMENT_FILE_MAX);
	char path[PATH_MAX];

	if (seg->packed || s->cur.floor >= seg->first || seg->newest - seg->oldest < PACK_SPAN_MIN)
		return;
	spool_path(s, seg->first, path);
	header_put(s, seg->first, SEGMENT_PACKED, &packed);
	if (files_read(path, &raw) && raw.len == seg->bytes && !packed.failed &&
	    spool_pack(raw.data + SEGMENT_HEADER, raw.len - SEGMENT_HEADER, &packed) &&
	    packed.len < raw.len && files_write(path, packed.data, packed.len, 0600))
	{
		seg->packed = true;
		s->bytes -= seg->bytes - packed.len;
		seg->bytes = packed.len;
		/* What is open is the file that was there before. */
		active_close(s);
		if (s->reader.fd >= 0 && s->reader.segment == seg->first)
			spool_reader_close(s);
	}
	buf_free(&raw);
	buf_free(&packed);
}

/* A new segment for the next record. */
static bool
segment_start(struct spool *s)
{
	struct buf header = BUF_INIT(SEGMENT_HEADER);
	struct segment *seg;
	char path[PATH_MAX];
	int fd, saved;

	if (!spool_sync(s))
		return false;
	if (s->active_fd >= 0)
		segment_pack(s);
	spool_path(s, s->next, path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	header_put(s, s->next, SEGMENT_VERSION, &header);
	if (header.failed || !files_pwrite(fd, header.data, header.len, 0) || fdatasync(fd) != 0 ||
	    !files_sync_dir(s->dir))
	{
		saved = header.failed ? ENOMEM : errno;
		close(fd);
		unlink(path);
		buf_free(&header);
		errno = saved;
		return false;
	}
	buf_free(&header);
	active_close(s);
	s->active_fd = fd;
	seg = segment_add(s, s->next);
	seg->bytes = seg->end = SEGMENT_HEADER;
	s->bytes += SEGMENT_HEADER;
	s->synced_end = s->ready_end = SEGMENT_HEADER;
	return true;
}

/* Gives up the oldest records until the bounds hold. */
static void
enforce_limits(struct spool *s)
{
	int64_t cutoff = s->limits.max_age_nano ? clock_unix_nano() - s->limits.max_age_nano : 0;

	while (s->segment_count > 1)
	{
		const struct segment *head = &s->segments[0];
		bool old = cutoff && head->newest < cutoff;
		uint64_t lost;

		if (!old && s->bytes <= s->limits.max_bytes)
			break;
		lost = spool_unacked_in(s, head);
		s->cur.dropped[old ? SPOOL_DROP_AGE : SPOOL_DROP_BYTES] += lost;
		s->unacked -= lost;
		if (s->cur.floor < head->last)
			s->cur.floor = head->last;
		segment_delete_head(s);
	}
	for (size_t i = 0; s->unacked > s->limits.max_records && i < s->segment_count; i++)
	{
		const struct segment *seg = &s->segments[i];
		uint64_t over = s->unacked - s->limits.max_records, here = spool_unacked_in(s, seg);

		if (here == 0)
			continue;
		if (over > here)
			over = here;
		s->cur.floor = seg->last - (here - over);
		s->cur.dropped[SPOOL_DROP_RECORDS] += over;
		s->unacked -= over;
	}
	reclaim(s);
}

static bool
append_frame(struct spool *s, const void *data, size_t len, int64_t unix_nano)
{
	struct spool_cursor reserve = s->cur;
	struct segment *seg;
	int saved;

	if (s->next > s->cur.limit)
	{
		reserve.limit = s->next - 1 + SPOOL_RESERVE;
		if (!spool_cursor_write(s->cursor_fd, &reserve, true))
			return false;
		s->cur = reserve;
	}
	buf_reset(&s->scratch);
	if (!spool_frame_put(&s->scratch, s->next, unix_nano, data, len))
	{
		errno = ENOMEM;
		return false;
	}
	if ((s->active_fd < 0 ||
	     s->segments[s->segment_count - 1].bytes + s->scratch.len > s->segment_bytes) &&
	    (s->active_fd < 0 || s->segments[s->segment_count - 1].count > 0) && !segment_start(s))
		return false;
	seg = &s->segments[s->segment_count - 1];
	if (!files_pwrite(s->active_fd, s->scratch.data, s->scratch.len, (off_t) seg->bytes))
	{
		saved = errno;
		/* What was written of it must not stay in the way of the next record. */
		if (ftruncate(s->active_fd, (off_t) seg->bytes) != 0)
			log_limited(LOG_LEVEL_WARNING, "spool", s->dir, "cannot cut off a partial record: %s",
			            strerror(errno));
		errno = saved;
		return false;
	}
	segment_count_in(seg, s->next, unix_nano);
	seg->bytes += s->scratch.len;
	seg->end = seg->bytes;
	s->bytes += s->scratch.len;
	return true;
}

/* Whether the policy keeps what is there rather than the new record. */
static bool
policy_keeps(const struct spool *s, size_t len, bool important)
{
	unsigned percent = s->limits.policy == SPOOL_GIVE_ORDINARY ? SPOOL_ORDINARY_PERCENT : 100;

	if (s->limits.policy == SPOOL_GIVE_OLDEST ||
	    (s->limits.policy == SPOOL_GIVE_ORDINARY && important))
		return false;
	return (s->unacked + 1) * 100 > s->limits.max_records * percent ||
	       (s->bytes + len + 2 * SEGMENT_HEADER) * 100 > s->limits.max_bytes * percent;
}

static bool
append_record(struct spool *s, const void *data, size_t len, int64_t unix_nano, uint64_t *number,
              bool important)
{
	if (policy_keeps(s, len, important))
		enforce_limits(s); /* what is too old makes room */
	if (policy_keeps(s, len, important))
	{
		s->cur.dropped[SPOOL_DROP_FULL]++;
		errno = ENOBUFS;
		return false;
	}
	if (len > SPOOL_RECORD_MAX)
	{
		s->cur.dropped[SPOOL_DROP_TOO_LARGE]++;
		errno = EMSGSIZE;
		return false;
	}
	if (!append_frame(s, data, len, unix_nano))
	{
		s->cur.dropped[SPOOL_DROP_DISK]++;
		return false;
	}
	if (number)
		*number = s->next - s->cur.base;
	s->next++;
	s->unacked++;
	s->appended++;
	if (s->scratch.cap > 64 * 1024)
		buf_free(&s->scratch);
	enforce_limits(s);
	return true;
}

bool
spool_append(struct spool *s, const void *data, size_t len, int64_t unix_nano, uint64_t *number)
{
	return append_record(s, data, len, unix_nano, number, false);
}

bool
spool_append_important(struct spool *s, const void *data, size_t len, int64_t unix_nano,
                       uint64_t *number)
{
	return append_record(s, data, len, unix_nano, number, true);
}

/* ---- acknowledging ---- */

bool
spool_ack(struct spool *s, uint64_t epoch, uint64_t number)
{
	uint64_t local, before = s->unacked;

	if (epoch != s->cur.epoch || __builtin_add_overflow(s->cur.base, number, &local) ||
	    local >= s->next)
		return false;
	if (local <= s->cur.floor)
		return true;
	s->cur.floor = local;
	recount(s);
	s->acked += before - s->unacked;
	/* Unsynced: a lost acknowledgement only repeats. */
	if (!spool_cursor_write(s->cursor_fd, &s->cur, false))
		log_limited(LOG_LEVEL_WARNING, "spool", s->dir, "cursor: %s", strerror(errno));
	reclaim(s);
	return true;
}

bool
spool_refuse(struct spool *s, const struct spool_batch *batch, const void *wire, size_t len)
{
	char name[128];
	uint64_t acked = s->acked;

	snprintf(name, sizeof(name), "batch-%" PRIu64 "-%" PRIu64 ".pb", batch->epoch, batch->first);
	spool_quarantine(s, name, wire, len);
	if (!spool_ack(s, batch->epoch, batch->first + batch->count - 1))
		return false;
	s->cur.dropped[SPOOL_DROP_REFUSED] += batch->count;
	s->acked = acked;
	return true;
}

/* ---- epoch and state ---- */

uint64_t
spool_epoch(const struct spool *s)
{
	return s->cur.epoch;
}

uint64_t
spool_last(const struct spool *s)
{
	return s->next - 1 - s->cur.base;
}

bool
spool_raise_epoch(struct spool *s, uint64_t min)
{
	struct spool_cursor raised = s->cur;
	uint64_t now = (uint64_t) clock_unix_nano();

	if (min == UINT64_MAX)
	{
		errno = ERANGE;
		return false;
	}
	raised.epoch = raised.epoch < min ? min + 1 : raised.epoch + 1;
	if (raised.epoch < now)
		raised.epoch = now;
	raised.base = raised.floor;
	if (!spool_cursor_write(s->cursor_fd, &raised, true))
		return false;
	s->cur = raised;
	spool_rewind(s);
	return true;
}

void
spool_stats(struct spool *s, struct spool_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	enforce_limits(s);
	stats->records = s->unacked;
	for (size_t i = 0; i < s->segment_count; i++)
	{
		const struct segment *seg = &s->segments[i];
		uint64_t left = spool_unacked_in(s, seg);
		int64_t passed;

		if (left == 0)
			continue;
		stats->bytes += (uint64_t) ((double) seg->bytes * (double) left / (double) seg->count);
		if (stats->oldest_unix_nano)
			continue;
		/* Between its ends a segment is taken to be even. */
		passed = (int64_t) ((double) (seg->newest - seg->oldest) * (double) (seg->count - left) /
		                    (double) seg->count);
		stats->oldest_unix_nano = seg->oldest + passed;
	}
	stats->appended = s->appended;
	stats->acked = s->acked;
	stats->sync_failures = s->sync_failures;
	memcpy(stats->dropped, s->cur.dropped, sizeof(stats->dropped));
}
