/* SPDX-License-Identifier: PostgreSQL
 *
 * buf.c -- see buf.h. Every other file is free of arithmetic on packet pointers
 * because the checks stand here, once.
 */
#include "lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 64 /* bytes of the first allocation */

void
buf_init(struct buf *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	b->max = max;
}

void
buf_free(struct buf *b)
{
	size_t max = b->max;

	free(b->data);
	buf_init(b, max);
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

uint8_t *
buf_room(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	uint8_t *grown;

	if (b->failed || n > b->max - b->len)
	{
		b->failed = true;
		return NULL;
	}
	/* One byte more than asked for: buf_cstr always finds room for its NUL. */
	if (b->data && b->cap - b->len > n)
		return b->data + b->len;
	while (cap - b->len <= n)
		cap = cap > SIZE_MAX / 2 ? SIZE_MAX : cap * 2;
	if (cap > b->max)
		cap = b->max + 1;
	grown = realloc(b->data, cap);
	if (!grown)
	{
		b->failed = true;
		return NULL;
	}
	b->data = grown;
	b->cap = cap;
	return b->data + b->len;
}

void
buf_added(struct buf *b, size_t n)
{
	if (b->failed || n > b->cap - b->len)
		b->failed = true;
	else
		b->len += n;
}

bool
buf_put(struct buf *b, const void *data, size_t n)
{
	uint8_t *to = buf_room(b, n);

	if (!to)
		return false;
	if (n)
		memcpy(to, data, n);
	b->len += n;
	return true;
}

bool
buf_put_str(struct buf *b, const char *s)
{
	return buf_put(b, s, strlen(s));
}

bool
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	int need;
	uint8_t *to;

	va_start(args, fmt);
	need = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	/* vsnprintf wants a byte for its NUL; buf_room always leaves one. */
	to = need < 0 ? NULL : buf_room(b, (size_t) need);
	if (!to)
	{
		b->failed = true;
		return false;
	}
	va_start(args, fmt);
	vsnprintf((char *) to, (size_t) need + 1, fmt, args);
	va_end(args);
	b->len += (size_t) need;
	return true;
}

bool
buf_put_u8(struct buf *b, uint8_t v)
{
	return buf_put(b, &v, 1);
}

static void
store_be(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t) (v >> (8 * (n - 1 - i)));
}

static void
store_le(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t) (v >> (8 * i));
}

static bool
put_be(struct buf *b, uint64_t v, size_t n)
{
	uint8_t raw[8];

	store_be(raw, v, n);
	return buf_put(b, raw, n);
}

static bool
put_le(struct buf *b, uint64_t v, size_t n)
{
	uint8_t raw[8];

	store_le(raw, v, n);
	return buf_put(b, raw, n);
}

bool
buf_put_be16(struct buf *b, uint16_t v)
{
	return put_be(b, v, 2);
}

bool
buf_put_be32(struct buf *b, uint32_t v)
{
	return put_be(b, v, 4);
}

bool
buf_put_be64(struct buf *b, uint64_t v)
{
	return put_be(b, v, 8);
}

bool
buf_put_le16(struct buf *b, uint16_t v)
{
	return put_le(b, v, 2);
}

bool
buf_put_le32(struct buf *b, uint32_t v)
{
	return put_le(b, v, 4);
}

bool
buf_put_le64(struct buf *b, uint64_t v)
{
	return put_le(b, v, 8);
}

static bool
buf_holds(struct buf *b, size_t at, size_t n)
{
	if (b->failed || at > b->len || n > b->len - at)
		b->failed = true;
	return !b->failed;
}

bool
buf_set_be32(struct buf *b, size_t at, uint32_t v)
{
	if (!buf_holds(b, at, 4))
		return false;
	store_be(b->data + at, v, 4);
	return true;
}

bool
buf_set_le32(struct buf *b, size_t at, uint32_t v)
{
	if (!buf_holds(b, at, 4))
		return false;
	store_le(b->data + at, v, 4);
	return true;
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	b->len -= n;
	if (b->len)
		memmove(b->data, b->data + n, b->len);
}

const char *
buf_cstr(struct buf *b)
{
	if (!buf_room(b, 0))
		return NULL;
	b->data[b->len] = '\0';
	return (const char *) b->data;
}

void
cursor_init(struct cursor *c, const void *data, size_t len)
{
	c->data = data;
	c->len = len;
	c->pos = 0;
	c->failed = false;
}

const uint8_t *
cursor_take(struct cursor *c, size_t n)
{
	static const uint8_t nothing;
	const uint8_t *p;

	if (c->failed || n > c->len - c->pos)
	{
		c->failed = true;
		return NULL;
	}
	if (n == 0)
		return c->data ? c->data + c->pos : &nothing;
	p = c->data + c->pos;
	c->pos += n;
	return p;
}

bool
cursor_skip(struct cursor *c, size_t n)
{
	return cursor_take(c, n) != NULL;
}

bool
cursor_copy(struct cursor *c, void *to, size_t n)
{
	const uint8_t *p = cursor_take(c, n);

	if (!p)
	{
		memset(to, 0, n);
		return false;
	}
	memcpy(to, p, n);
	return true;
}

struct cursor
cursor_sub(struct cursor *c, size_t n)
{
	struct cursor sub = {.failed = true};
	const uint8_t *p = cursor_take(c, n);

	if (p)
		cursor_init(&sub, p, n);
	return sub;
}

static uint64_t
load_be(struct cursor *c, size_t n)
{
	const uint8_t *p = cursor_take(c, n);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t
load_le(struct cursor *c, size_t n)
{
	const uint8_t *p = cursor_take(c, n);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n; i++)
		v |= (uint64_t) p[i] << (8 * i);
	return v;
}

uint8_t
cursor_u8(struct cursor *c)
{
	return (uint8_t) load_be(c, 1);
}

uint16_t
cursor_be16(struct cursor *c)
{
	return (uint16_t) load_be(c, 2);
}

uint32_t
cursor_be24(struct cursor *c)
{
	return (uint32_t) load_be(c, 3);
}

uint32_t
cursor_be32(struct cursor *c)
{
	return (uint32_t) load_be(c, 4);
}

uint64_t
cursor_be64(struct cursor *c)
{
	return load_be(c, 8);
}

uint16_t
cursor_le16(struct cursor *c)
{
	return (uint16_t) load_le(c, 2);
}

uint32_t
cursor_le32(struct cursor *c)
{
	return (uint32_t) load_le(c, 4);
}

uint64_t
cursor_le64(struct cursor *c)
{
	return load_le(c, 8);
}
