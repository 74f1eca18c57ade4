/* SPDX-License-Identifier: PostgreSQL
 *
 * name.c -- domain names in wire form.
 *
 * Names are compared in the canonical order often (every NSEC), so labels are found once
 * into an array of offsets instead of being searched from the front for each comparison.
 */
#include "agent/dns/name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t) (c + 32) : c;
}

/* A pointer must lead in front of the place where the part it ends began: the walk cannot go
 * round (RFC 1035 section 4.1.4 says "prior occurrence"). */
bool
dname_read(struct cursor *c, struct dns_name *name, bool compressed, bool keep_case)
{
	struct cursor at = *c;
	size_t limit = c->pos;
	bool jumped = false;

	name->len = 0;
	for (;;)
	{
		uint8_t length = cursor_u8(&at);

		if (at.failed)
			return false;
		if ((length & 0xc0) == 0xc0 && compressed)
		{
			size_t target = (size_t) (length & 0x3f) << 8 | cursor_u8(&at);

			if (at.failed || target >= limit)
				return false;
			if (!jumped)
				*c = at;
			jumped = true;
			limit = at.pos = target;
			continue;
		}
		if (length > 63 || name->len + length + 1 > DNS_NAME_MAX)
			return false;
		name->bytes[name->len++] = length;
		if (length == 0)
			break;
		for (uint8_t i = 0; i < length; i++)
		{
			uint8_t byte = cursor_u8(&at);

			name->bytes[name->len++] = keep_case ? byte : lower(byte);
		}
		if (at.failed || name->len == DNS_NAME_MAX)
			return false;
	}
	if (!jumped)
		*c = at;
	return true;
}

/* One character of text, with its escape; false when the escape is broken. */
static bool
parse_char(const char **text, uint8_t *byte)
{
	const char *p = *text;

	if (*p != '\\')
	{
		*byte = lower((uint8_t) *p);
		*text = p + 1;
		return true;
	}
	if (isdigit((unsigned char) p[1]))
	{
		unsigned value;

		if (!isdigit((unsigned char) p[2]) || !isdigit((unsigned char) p[3]))
			return false;
		value = (unsigned) (p[1] - '0') * 100 + (unsigned) (p[2] - '0') * 10 +
		        (unsigned) (p[3] - '0');
		if (value > 255)
			return false;
		*byte = lower((uint8_t) value);
		*text = p + 4;
		return true;
	}
	if (p[1] == '\0')
		return false;
	*byte = lower((uint8_t) p[1]);
	*text = p + 2;
	return true;
}

bool
dname_parse(const char *text, struct dns_name *name)
{
	name->len = 0;
	if (strcmp(text, ".") == 0)
		text++;
	else if (*text == '\0')
		return false;
	while (*text)
	{
		size_t head = name->len, length = 0;

		if (head + 2 > DNS_NAME_MAX)
			return false;
		name->len++;
		while (*text && *text != '.')
		{
			uint8_t byte;

			/* The root label is still to come. */
			if (!parse_char(&text, &byte) || length == 63 || name->len + 2 > DNS_NAME_MAX)
				return false;
			name->bytes[name->len++] = byte;
			length++;
		}
		if (length == 0)
			return false;
		name->bytes[head] = (uint8_t) length;
		if (*text == '.')
			text++;
	}
	name->bytes[name->len++] = 0;
	return true;
}

const char *
dname_text(const uint8_t *name, char *buf, size_t len)
{
	size_t used = 0;

	if (len == 0)
		return buf;
	if (name[0] == 0)
		snprintf(buf, len, ".");
	for (; name[0]; name += name[0] + 1)
	{
		for (unsigned i = 1; i <= name[0]; i++)
		{
			char one[8];

			if (strchr(".\\\"();@$", name[i]) && name[i])
				snprintf(one, sizeof(one), "\\%c", name[i]);
			else if (name[i] > 0x20 && name[i] < 0x7f)
				snprintf(one, sizeof(one), "%c", name[i]);
			else
				snprintf(one, sizeof(one), "\\%03u", name[i]);
			used += (size_t) snprintf(buf + used, len - used, "%s", one);
			if (used >= len)
				return buf;
		}
		used += (size_t) snprintf(buf + used, len - used, ".");
		if (used >= len)
			return buf;
	}
	return buf;
}

size_t
dname_len(const uint8_t *name)
{
	size_t n = 0;

	while (name[n])
		n += name[n] + 1U;
	return n + 1;
}

unsigned
dname_labels(const uint8_t *name)
{
	unsigned n = 0;

	for (; name[0]; name += name[0] + 1)
		n++;
	return n;
}

void
dname_copy(struct dns_name *to, const uint8_t *name)
{
	to->len = dname_len(name);
	memmove(to->bytes, name, to->len);
}

/* Length bytes are at most 63, so they are never taken for letters. */
void
dname_lower(struct dns_name *to, const uint8_t *name)
{
	dname_copy(to, name);
	for (size_t i = 0; i < to->len; i++)
		to->bytes[i] = lower(to->bytes[i]);
}

bool
dname_equal(const uint8_t *a, const uint8_t *b)
{
	size_t n = dname_len(a);

	return n == dname_len(b) && memcmp(a, b, n) == 0;
}

const uint8_t *
dname_tail(const uint8_t *name, unsigned labels)
{
	unsigned n = dname_labels(name);

	for (; n > labels; n--)
		name += name[0] + 1;
	return name;
}

bool
dname_under(const uint8_t *name, const uint8_t *zone)
{
	return dname_equal(dname_tail(name, dname_labels(zone)), zone);
}

/* Offsets of the labels from the front; returns their number. */
static unsigned
offsets(const uint8_t *name, uint8_t at[DNAME_LABELS_MAX])
{
	unsigned n = 0;

	for (size_t i = 0; name[i]; i += name[i] + 1U)
		at[n++] = (uint8_t) i;
	return n;
}

static int
label_compare(const uint8_t *a, const uint8_t *b)
{
	int order = memcmp(a + 1, b + 1, a[0] < b[0] ? a[0] : b[0]);

	return order ? order : (int) a[0] - (int) b[0];
}

unsigned
dname_common(const uint8_t *a, const uint8_t *b)
{
	uint8_t at_a[DNAME_LABELS_MAX], at_b[DNAME_LABELS_MAX];
	unsigned na = offsets(a, at_a), nb = offsets(b, at_b), n = 0;

	while (n < na && n < nb && label_compare(a + at_a[na - 1 - n], b + at_b[nb - 1 - n]) == 0)
		n++;
	return n;
}

int
dname_compare(const uint8_t *a, const uint8_t *b)
{
	uint8_t at_a[DNAME_LABELS_MAX], at_b[DNAME_LABELS_MAX];
	unsigned na = offsets(a, at_a), nb = offsets(b, at_b);

	for (unsigned n = 0; n < na && n < nb; n++)
	{
		int order = label_compare(a + at_a[na - 1 - n], b + at_b[nb - 1 - n]);

		if (order)
			return order;
	}
	return (int) na - (int) nb;
}

bool
dname_wildcard(const uint8_t *name, struct dns_name *wildcard)
{
	size_t n = dname_len(name);

	if (n + 2 > DNS_NAME_MAX)
		return false;
	wildcard->bytes[0] = 1;
	wildcard->bytes[1] = '*';
	memcpy(wildcard->bytes + 2, name, n);
	wildcard->len = n + 2;
	return true;
}

bool
dname_replace(const uint8_t *name, const uint8_t *from, const uint8_t *to,
              struct dns_name *replaced)
{
	size_t head = dname_len(name) - dname_len(from), tail = dname_len(to);

	if (head + tail > DNS_NAME_MAX)
		return false;
	memcpy(replaced->bytes, name, head);
	memcpy(replaced->bytes + head, to, tail);
	replaced->len = head + tail;
	return true;
}
