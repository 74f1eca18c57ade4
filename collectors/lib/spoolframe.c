/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolframe.c -- one record on disk (spool.h), little endian:
 *
 *   0       4        8             16            24       28
 *   +-------+--------+-------------+-------------+--------+---------
 *   | magic | length | number      | time, ns    | crc32c | payload
 *   +-------+--------+-------------+-------------+--------+---------
 *
 * The checksum covers bytes 4..23 and the payload. The magic is there to find the next
 * record behind a damaged one.
 */
#include "lib/spool.h"

#include <string.h>

#include "lib/crc32c.h"

#define FRAME_MAGIC  UINT32_C(0x31524350) /* "PCR1" */
#define FRAME_HEADER 28

enum spool_frame_status
spool_frame_parse(const uint8_t *data, size_t len, struct spool_frame *f)
{
	struct cursor c;
	uint32_t magic, length, crc;

	memset(f, 0, sizeof(*f));
	cursor_init(&c, data, len);
	f->size = FRAME_HEADER;
	if (len >= 4)
	{
		magic = cursor_le32(&c);
		if (magic != FRAME_MAGIC)
			return SPOOL_FRAME_BAD;
	}
	if (len < FRAME_HEADER)
		return SPOOL_FRAME_SHORT;
	length = cursor_le32(&c);
	f->number = cursor_le64(&c);
	f->unix_nano = (int64_t) cursor_le64(&c);
	crc = cursor_le32(&c);
	if (length > SPOOL_RECORD_MAX || f->number == 0)
		return SPOOL_FRAME_BAD;
	f->size = FRAME_HEADER + (size_t) length;
	f->len = length;
	if (cursor_left(&c) < length)
		return SPOOL_FRAME_SHORT;
	f->data = cursor_take(&c, length);
	if (crc32c(crc32c(0, data + 4, 20), f->data, length) != crc)
		return SPOOL_FRAME_BAD;
	return SPOOL_FRAME_OK;
}

bool
spool_frame_put(struct buf *out, uint64_t number, int64_t unix_nano, const void *data, size_t len)
{
	size_t at = out->len;

	buf_put_le32(out, FRAME_MAGIC);
	buf_put_le32(out, (uint32_t) len);
	buf_put_le64(out, number);
	buf_put_le64(out, (uint64_t) unix_nano);
	buf_put_le32(out, 0);
	if (!buf_put(out, data, len))
		return false;
	return buf_set_le32(out, at + 24, crc32c(crc32c(0, out->data + at + 4, 20), data, len));
}

size_t
spool_frame_resync(const uint8_t *data, size_t len, uint64_t after)
{
	static const uint8_t magic[4] = {'P', 'C', 'R', '1'};
	size_t at = 1;

	while (at < len)
	{
		const uint8_t *hit = memmem(data + at, len - at, magic, sizeof(magic));
		struct spool_frame f;

		if (!hit)
			break;
		at = (size_t) (hit - data);
		if (spool_frame_parse(hit, len - at, &f) == SPOOL_FRAME_OK && f.number > after)
			return at;
		at++;
	}
	return len;
}
