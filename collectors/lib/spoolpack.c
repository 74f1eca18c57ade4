/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolpack.c -- records of a closed segment, made small (spool.h).
 *
 * Results of the same tests differ in a few numbers, so deflate (RFC 1951, in zlib's frame) leaves about a
 * quarter of them. Blocks are independent and end between records: damage costs the block it is
 * in. Little endian:
 *
 *   0       4            8            12       16
 *   +-------+------------+------------+--------+--------------
 *   | magic | raw length | length     | crc32c | deflated frames
 *   +-------+------------+------------+--------+--------------
 *
 * The checksum covers bytes 4..11 and the deflated bytes; each record has its own inside.
 */
#include "lib/spool.h"

#include <string.h>

#include <zlib.h>

#include "lib/crc32c.h"

#define BLOCK_MAGIC  UINT32_C(0x315a4350) /* "PCZ1" */
#define BLOCK_HEADER 16
#define BLOCK_RAW    (64 * 1024) /* closed at this size */
#define BLOCK_MAX    (BLOCK_RAW + SPOOL_RECORD_MAX + 64)
#define BLOCK_LEVEL  6

/* ---- packing ---- */

static bool
block_put(const uint8_t *raw, size_t len, struct buf *out)
{
	size_t at = out->len;
	uLongf packed = compressBound((uLong) len);
	uint8_t *to;

	buf_put_le32(out, BLOCK_MAGIC);
	buf_put_le32(out, (uint32_t) len);
	buf_put_le32(out, 0);
	buf_put_le32(out, 0);
	to = buf_room(out, packed);
	if (!to || compress2(to, &packed, raw, (uLong) len, BLOCK_LEVEL) != Z_OK)
		return false;
	buf_added(out, packed);
	return buf_set_le32(out, at + 8, (uint32_t) packed) &&
	       buf_set_le32(
	           out, at + 12,
	           crc32c(crc32c(0, out->data + at + 4, 8), out->data + at + BLOCK_HEADER, packed));
}

bool
spool_pack(const uint8_t *frames, size_t len, struct buf *out)
{
	size_t start = 0, at = 0;

	while (at < len)
	{
		struct spool_frame f;

		if (spool_frame_parse(frames + at, len - at, &f) != SPOOL_FRAME_OK)
			return false;
		at += f.size;
		if (at - start < BLOCK_RAW && at < len)
			continue;
		if (!block_put(frames + start, at - start, out))
			return false;
		start = at;
	}
	return true;
}

/* ---- unpacking ---- */

/* Length of the block at data, 0 when there is none; its records are added to out. */
static size_t
block_take(const uint8_t *data, size_t len, struct buf *out)
{
	struct cursor c;
	uint32_t magic, raw, packed, crc;
	const uint8_t *from;
	uint8_t *to;
	uLongf got;

	cursor_init(&c, data, len);
	magic = cursor_le32(&c);
	raw = cursor_le32(&c);
	packed = cursor_le32(&c);
	crc = cursor_le32(&c);
	if (c.failed || magic != BLOCK_MAGIC || raw == 0 || raw > BLOCK_MAX || packed > cursor_left(&c))
		return 0;
	from = cursor_take(&c, packed);
	if (crc32c(crc32c(0, data + 4, 8), from, packed) != crc)
		return 0;
	got = raw;
	to = buf_room(out, raw);
	if (!to || uncompress(to, &got, from, packed) != Z_OK || got != raw)
		return 0;
	buf_added(out, raw);
	return BLOCK_HEADER + (size_t) packed;
}

size_t
spool_unpack(const uint8_t *data, size_t len, struct buf *out, size_t *skipped)
{
	static const uint8_t magic[4] = {'P', 'C', 'Z', '1'};
	size_t taken = block_take(data, len, out), at = 1;

	*skipped = 0;
	if (taken > 0 || len == 0)
		return taken;
	while (at < len)
	{
		const uint8_t *hit = memmem(data + at, len - at, magic, sizeof(magic));

		if (!hit)
			break;
		at = (size_t) (hit - data);
		taken = block_take(hit, len - at, out);
		if (taken > 0)
		{
			*skipped = at;
			return at + taken;
		}
		at++;
	}
	*skipped = len;
	return len;
}
