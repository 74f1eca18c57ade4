/* SPDX-License-Identifier: PostgreSQL
 *
 * buf.h -- the only way wire data and file formats are read and written.
 *
 * struct buf grows up to a maximum chosen at its creation; struct cursor reads bytes that
 * belong to somebody else. Neither ever passes its end. The first failure sticks: reads
 * then give 0 or NULL and writes do nothing, so a parser reads a whole header and asks once.
 */
#ifndef PCTL_LIB_BUF_H
#define PCTL_LIB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growable byte string. */
struct buf
{
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;  /* never longer than this */
	bool failed; /* a write was refused: too long or out of memory */
};

#define BUF_INIT(maximum)                                                                          \
	{                                                                                              \
		.max = (maximum)                                                                           \
	}

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);

/* Forgets content and failure, keeps the memory. */
void buf_reset(struct buf *b);

/* Room for n more bytes; NULL (and failed) when that is too much. The bytes belong to the
 * buffer only after buf_added. */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);

bool buf_put(struct buf *b, const void *data, size_t n);
bool buf_put_str(struct buf *b, const char *s);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_put_u8(struct buf *b, uint8_t v);
bool buf_put_be16(struct buf *b, uint16_t v);
bool buf_put_be32(struct buf *b, uint32_t v);
bool buf_put_be64(struct buf *b, uint64_t v);
bool buf_put_le16(struct buf *b, uint16_t v);
bool buf_put_le32(struct buf *b, uint32_t v);
bool buf_put_le64(struct buf *b, uint64_t v);

/* Overwrites bytes written before; fails (sticky) when they are not all there. */
bool buf_set_be32(struct buf *b, size_t at, uint32_t v);
bool buf_set_le32(struct buf *b, size_t at, uint32_t v);

/* Drops n bytes from the front. */
void buf_consume(struct buf *b, size_t n);

/* The content as a C string (a NUL is kept behind it); NULL when failed. */
const char *buf_cstr(struct buf *b);

/* A checked reader of foreign bytes. */
struct cursor
{
	const uint8_t *data;
	size_t len;
	size_t pos;
	bool failed; /* something was read past the end */
};

void cursor_init(struct cursor *c, const void *data, size_t len);

static inline size_t
cursor_left(const struct cursor *c)
{
	return c->failed ? 0 : c->len - c->pos;
}

/* n bytes in place; NULL (and failed) when fewer are left. */
const uint8_t *cursor_take(struct cursor *c, size_t n);
bool cursor_skip(struct cursor *c, size_t n);
bool cursor_copy(struct cursor *c, void *to, size_t n);

/* A cursor over the next n bytes, which are consumed here; failed when they are not there. */
struct cursor cursor_sub(struct cursor *c, size_t n);

uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be24(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);

/* True when nothing failed and nothing is left: trailing bytes are an error. */
static inline bool
cursor_done(const struct cursor *c)
{
	return !c->failed && c->pos == c->len;
}

#endif
