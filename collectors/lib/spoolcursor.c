/* SPDX-License-Identifier: PostgreSQL
 *
 * spoolcursor.c -- see spoolcursor.h. Little endian: magic, version, generation, epoch, base,
 * floor, limit, losses by reason, zeroes, checksum in the last 4 bytes.
 */
#include "lib/spoolcursor.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/files.h"

#define CURSOR_MAGIC   UINT32_C(0x43504350) /* "PCPC" */
#define CURSOR_VERSION 1
#define CURSOR_SLOT    512

static bool
slot_parse(const uint8_t *slot, struct spool_cursor *c)
{
	struct cursor r;

	cursor_init(&r, slot, CURSOR_SLOT);
	if (cursor_le32(&r) != CURSOR_MAGIC || cursor_le32(&r) != CURSOR_VERSION)
		return false;
	c->generation = cursor_le64(&r);
	c->epoch = cursor_le64(&r);
	c->base = cursor_le64(&r);
	c->floor = cursor_le64(&r);
	c->limit = cursor_le64(&r);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		c->dropped[i] = cursor_le64(&r);
	cursor_skip(&r, cursor_left(&r) - 4);
	return cursor_le32(&r) == crc32c(0, slot, CURSOR_SLOT - 4) && cursor_done(&r) && c->epoch > 0;
}

bool
spool_cursor_read(int fd, struct spool_cursor *c)
{
	uint8_t slots[2][CURSOR_SLOT] = {{0}};
	struct spool_cursor found[2];
	bool valid[2];

	if (pread(fd, slots, sizeof(slots), 0) < 0)
		return false;
	for (int i = 0; i < 2; i++)
		valid[i] = slot_parse(slots[i], &found[i]);
	if (!valid[0] && !valid[1])
		return false;
	if (valid[0] && valid[1])
		*c = found[found[1].generation > found[0].generation];
	else
		*c = found[valid[1]];
	return true;
}

bool
spool_cursor_write(int fd, struct spool_cursor *c, bool durable)
{
	struct buf b = BUF_INIT(CURSOR_SLOT);
	bool ok;

	buf_put_le32(&b, CURSOR_MAGIC);
	buf_put_le32(&b, CURSOR_VERSION);
	buf_put_le64(&b, c->generation + 1);
	buf_put_le64(&b, c->epoch);
	buf_put_le64(&b, c->base);
	buf_put_le64(&b, c->floor);
	buf_put_le64(&b, c->limit);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		buf_put_le64(&b, c->dropped[i]);
	while (!b.failed && b.len < CURSOR_SLOT - 4)
		buf_put_u8(&b, 0);
	buf_put_le32(&b, crc32c(0, b.data, b.len));
	ok = !b.failed &&
	     files_pwrite(fd, b.data, b.len, (off_t) ((c->generation + 1) % 2 * CURSOR_SLOT)) &&
	     (!durable || fdatasync(fd) == 0);
	if (ok)
		c->generation++;
	if (b.failed)
		errno = ENOMEM;
	buf_free(&b);
	return ok;
}
