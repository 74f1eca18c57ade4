/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolread.c -- contiguous batches out of the segments (spool.h).
 *
 * A window of the current segment is read at a time, so a deep backlog costs no memory. Every
 * checksum is verified again on the way out: a disk may have changed its mind since the scan.
 */
#include "lib/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/spoolpriv.h"

#define WINDOW_BYTES (64 * 1024)

void
spool_batch_init(struct spool_batch *b)
{
	memset(b, 0, sizeof(*b));
	buf_init(&b->store, SIZE_MAX / 4);
}

void
spool_batch_free(struct spool_batch *b)
{
	buf_free(&b->store);
	free(b->records);
	spool_batch_init(b);
}

void
spool_reader_close(struct spool *s)
{
	if (s->reader.fd >= 0)
		close(s->reader.fd);
	s->reader.fd = -1;
	buf_free(&s->reader.window);
}

/* The segment that holds the next unread record; NULL when everything was read. */
static const struct segment *
reader_segment(struct spool *s)
{
	uint64_t after = s->reader.number > s->cur.floor ? s->reader.number : s->cur.floor;

	for (size_t i = 0; i < s->segment_count; i++)
		if (s->segments[i].count > 0 && s->segments[i].last > after)
			return &s->segments[i];
	return NULL;
}

/* How far the segment may be read. */
static uint64_t
readable_end(const struct spool *s, const struct segment *seg)
{
	bool active = s->active_fd >= 0 && seg == &s->segments[s->segment_count - 1];

	return active ? s->ready_end : seg->end;
}

static bool
reader_open(struct spool *s, const struct segment *seg)
{
	struct spool_reader *r = &s->reader;
	char path[PATH_MAX];

	if (r->fd >= 0 && r->segment == seg->first)
		return true;
	spool_reader_close(s);
	spool_path(s, seg->first, path);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	r->segment = seg->first;
	r->offset = r->start = SEGMENT_HEADER;
	if (r->fd >= 0 && seg->packed)
	{
		/* All of it at once: a quarter of a megabyte, given back with the segment. */
		r->start = 0;
		if (!spool_read_packed(s, seg->first, &r->window))
			spool_reader_close(s);
	}
	return r->fd >= 0;
}

/* Makes the window start at the next frame and hold at least want bytes, as far as end goes. */
static bool
window_fill(struct spool_reader *r, uint64_t end, size_t want)
{
	uint64_t have;
	uint8_t *to;
	ssize_t n;

	buf_consume(&r->window, (size_t) (r->offset - r->start));
	r->start = r->offset;
	have = r->start + r->window.len;
	if (want < WINDOW_BYTES)
		want = WINDOW_BYTES;
	while (r->window.len < want && have < end)
	{
		size_t ask = want - r->window.len;

		if (ask > end - have)
			ask = (size_t) (end - have);
		to = buf_room(&r->window, ask);
		n = to ? pread(r->fd, to, ask, (off_t) have) : -1;
		if (n < 0 && to && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		buf_added(&r->window, (size_t) n);
		have += (uint64_t) n;
	}
	return true;
}

/* Steps over damage at the reader's offset to the next whole frame or the segment's end. */
static void
skip_damage(struct spool *s, const struct segment *seg, uint64_t end)
{
	struct spool_reader *r = &s->reader;
	size_t skip;

	if (!window_fill(r, end, (size_t) (end - r->offset)) || r->window.len == 0)
	{
		r->offset = end;
		buf_reset(&r->window);
		r->start = end;
		return;
	}
	skip = spool_frame_resync(r->window.data, r->window.len, r->number);
	spool_damage(s, seg->first, r->offset, r->window.data, skip);
	r->offset += skip;
}

/* The next frame of the segment that is new to the reader, left in place. */
static bool
segment_peek(struct spool *s, const struct segment *seg, struct spool_frame *f)
{
	struct spool_reader *r = &s->reader;
	/* What a packed segment came to is in the window already; its offsets are not the file's. */
	uint64_t end = seg->packed ? r->start + r->window.len : readable_end(s, seg);

	while (r->offset < end)
	{
		size_t at = (size_t) (r->offset - r->start);
		enum spool_frame_status status = SPOOL_FRAME_SHORT;

		f->size = 0;
		if (at < r->window.len)
			status = spool_frame_parse(r->window.data + at, r->window.len - at, f);
		if (status == SPOOL_FRAME_SHORT && r->start + r->window.len < end &&
		    window_fill(r, end, f->size))
			continue;
		if (status != SPOOL_FRAME_OK)
			skip_damage(s, seg, end);
		else if (f->number > r->number && f->number > s->cur.floor)
			return true;
		else
			r->offset += f->size;
	}
	return false;
}

/* The next frame anywhere that is ready to send, left in place. */
static bool
reader_peek(struct spool *s, struct spool_frame *f)
{
	const struct segment *seg;

	while ((seg = reader_segment(s)))
	{
		if (reader_open(s, seg) && segment_peek(s, seg, f))
			return true;
		/* The segment being written may have records that are not ready yet. */
		if (s->active_fd >= 0 && seg == &s->segments[s->segment_count - 1])
			return false;
		s->reader.number = seg->last;
	}
	return false;
}

static void
reader_take(struct spool *s, const struct spool_frame *f)
{
	s->reader.number = f->number;
	s->reader.offset += f->size;
}

static bool
batch_add(struct spool_batch *b, const struct spool_frame *f)
{
	struct spool_record *record;

	if (b->count == b->records_cap)
	{
		b->records_cap = b->records_cap ? b->records_cap * 2 : 64;
		b->records = mem_resize(b->records, b->records_cap, sizeof(*b->records));
	}
	if (!buf_put(&b->store, f->data, f->len))
		return false;
	record = &b->records[b->count++];
	record->len = f->len;
	record->unix_nano = f->unix_nano;
	b->bytes += f->len;
	return true;
}

bool
spool_read(struct spool *s, size_t max_records, size_t max_bytes, struct spool_batch *b)
{
	struct spool_frame f;
	size_t at = 0;

	buf_reset(&b->store);
	b->count = b->bytes = 0;
	b->epoch = s->cur.epoch;
	while (b->count < max_records && reader_peek(s, &f))
	{
		uint64_t number = f.number - s->cur.base;

		if (b->count == 0)
			b->first = number;
		else if (number != b->first + b->count || b->bytes + f.len > max_bytes)
			break;
		if (!batch_add(b, &f))
			break;
		reader_take(s, &f);
	}
	/* The store may have moved while it grew. */
	for (size_t i = 0; i < b->count; i++)
	{
		b->records[i].data = b->store.data + at;
		at += b->records[i].len;
	}
	return b->count > 0;
}

void
spool_rewind(struct spool *s)
{
	struct spool_frame f;
	int64_t cutoff;

	spool_reader_close(s);
	s->reader.number = s->cur.floor;
	if (!s->limits.max_age_nano)
		return;
	/* Nothing is in flight now: what is too old goes one by one. */
	cutoff = clock_unix_nano() - s->limits.max_age_nano;
	while (reader_peek(s, &f) && f.unix_nano < cutoff)
	{
		reader_take(s, &f);
		s->cur.floor = f.number;
		s->cur.dropped[SPOOL_DROP_AGE]++;
		s->unacked -= s->unacked > 0;
	}
}
