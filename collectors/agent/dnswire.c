/* SPDX-License-Identifier: PostgreSQL
 *
 * dnswire.c -- DNS messages as a stub resolver needs them.
 *
 *      0  id | 2 flags QR Opcode AA TC RD RA Z RCODE | 4 questions | 6 answers
 *      8  authority records | 10 additional records  | 12 question, records
 *
 * An answer counts only when id, direction, opcode and the whole question are those that
 * were sent. Records are scanned once for each link of the CNAME chain rather than
 * stored: both numbers have a ceiling, and no memory depends on what a server sends.
 */
#include "agent/dnswire.h"

#include <string.h>

#include "lib/buf.h"

#define DNS_TYPE_CNAME 5
#define DNS_TYPE_SOA   6
#define DNS_CLASS_IN   1
#define DNS_HEADER     12

#define FLAG_QR     0x8000
#define FLAG_OPCODE 0x7800
#define FLAG_TC     0x0200
#define FLAG_RD     0x0100
#define RCODE_MASK  0x000f

struct record
{
	struct dns_name owner;
	uint16_t type, class;
	uint32_t ttl;
	struct cursor data; /* RDATA */
	size_t data_at;     /* its offset in the message, for compressed names in it */
};

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t) (c + 32) : c;
}

bool
dns_name_parse(const char *text, struct dns_name *name)
{
	name->len = 0;
	if (text[0] == '\0')
		return false;
	while (*text)
	{
		size_t label = strcspn(text, ".");

		/* One byte of length and one of the root label are still to come. */
		if (label == 0 || label > 63 || name->len + label + 2 > DNS_NAME_MAX)
		{
			name->len = 0;
			return false;
		}
		name->bytes[name->len++] = (uint8_t) label;
		for (size_t i = 0; i < label; i++)
			name->bytes[name->len++] = lower((uint8_t) text[i]);
		text += label;
		if (*text == '.')
			text++;
	}
	name->bytes[name->len++] = 0;
	return true;
}

static bool
name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* Reads the name at c, which ends behind it. A pointer (RFC 1035 section 4.1.4) must lead in
 * front of the place where the part it ends began, so that the walk cannot go round. */
static bool
name_read(struct cursor *c, struct dns_name *name)
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
		if ((length & 0xc0) == 0xc0)
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
			name->bytes[name->len++] = lower(cursor_u8(&at));
		if (at.failed || name->len == DNS_NAME_MAX)
			return false;
	}
	if (!jumped)
		*c = at;
	return true;
}

static bool
record_read(struct cursor *c, struct record *record)
{
	uint16_t length;

	if (!name_read(c, &record->owner))
		return false;
	record->type = cursor_be16(c);
	record->class = cursor_be16(c);
	record->ttl = cursor_be32(c);
	if (record->ttl > INT32_MAX) /* RFC 2181 section 8: the top bit makes it zero */
		record->ttl = 0;
	length = cursor_be16(c);
	record->data_at = c->pos;
	record->data = cursor_sub(c, length);
	return !c->failed;
}

size_t
dns_query_write(uint8_t *buf, uint16_t id, const struct dns_name *name, uint16_t type)
{
	const uint8_t header[DNS_HEADER] = {(uint8_t) (id >> 8), (uint8_t) id, FLAG_RD >> 8, 0, 0, 1};
	const uint8_t tail[4] = {(uint8_t) (type >> 8), (uint8_t) type, 0, DNS_CLASS_IN};

	memcpy(buf, header, sizeof(header));
	memcpy(buf + sizeof(header), name->bytes, name->len);
	memcpy(buf + sizeof(header) + name->len, tail, sizeof(tail));
	return sizeof(header) + name->len + sizeof(tail);
}

/* One pass over the answer section for one owner: its addresses, else its CNAME. False when
 * the section is broken. */
static bool
scan_answers(struct cursor records, size_t count, const struct dns_name *owner, uint16_t type,
             struct dns_answer *answer, struct dns_name *alias, bool *has_alias)
{
	size_t width = type == DNS_TYPE_A ? 4 : 16;
	struct record record;

	*has_alias = false;
	for (size_t i = 0; i < count; i++)
	{
		if (!record_read(&records, &record))
			return false;
		if (record.class != DNS_CLASS_IN || !name_equal(&record.owner, owner))
			continue;
		if (record.type == type)
		{
			if (cursor_left(&record.data) != width)
				return false;
			if (answer->count == DNS_ADDRESSES_MAX)
				continue;
			cursor_copy(&record.data, answer->addresses[answer->count++], width);
		}
		else if (record.type == DNS_TYPE_CNAME && !*has_alias)
		{
			struct cursor at;

			cursor_init(&at, records.data, record.data_at + cursor_left(&record.data));
			cursor_skip(&at, record.data_at);
			if (!name_read(&at, alias) || !cursor_done(&at))
				return false;
			*has_alias = true;
		}
		else
			continue;
		if (record.ttl < answer->ttl)
			answer->ttl = record.ttl;
	}
	return true;
}

/* RFC 2308 section 5: an absence lives as long as the smaller of the SOA's TTL and its MINIMUM. */
static uint32_t
negative_ttl(struct cursor records, size_t answers, size_t authorities)
{
	struct record record;
	struct dns_name ignored;
	struct cursor at;
	uint32_t minimum;

	for (size_t i = 0; i < answers; i++)
		if (!record_read(&records, &record))
			return 0;
	for (size_t i = 0; i < authorities; i++)
	{
		if (!record_read(&records, &record))
			return 0;
		if (record.type != DNS_TYPE_SOA || record.class != DNS_CLASS_IN)
			continue;
		cursor_init(&at, records.data, record.data_at + cursor_left(&record.data));
		cursor_skip(&at, record.data_at);
		if (!name_read(&at, &ignored) || !name_read(&at, &ignored) || !cursor_skip(&at, 16))
			return 0;
		minimum = cursor_be32(&at);
		if (!cursor_done(&at))
			return 0;
		minimum = minimum < record.ttl ? minimum : record.ttl;
		return minimum < DNS_NEGATIVE_MAX ? minimum : DNS_NEGATIVE_MAX;
	}
	return 0;
}

static enum dns_verdict
read_addresses(struct cursor records, size_t count, const struct dns_name *name, uint16_t type,
               struct dns_answer *answer)
{
	struct dns_name owner = *name, alias;
	bool has_alias;

	answer->ttl = DNS_TTL_MAX;
	for (int link = 0; link <= DNS_CHAIN_MAX; link++)
	{
		if (!scan_answers(records, count, &owner, type, answer, &alias, &has_alias))
		{
			answer->count = 0;
			return DNS_MALFORMED;
		}
		if (answer->count > 0)
			return DNS_ADDRESSES;
		if (!has_alias)
			return DNS_NODATA;
		owner = alias;
	}
	return DNS_MALFORMED;
}

void
dns_answer_read(const uint8_t *data, size_t len, uint16_t id, const struct dns_name *name,
                uint16_t type, struct dns_answer *answer)
{
	struct cursor c;
	struct dns_name question;
	uint16_t got_id, flags, questions, answers, authorities;

	memset(answer, 0, sizeof(*answer));
	answer->verdict = DNS_FOREIGN;
	cursor_init(&c, data, len);
	got_id = cursor_be16(&c);
	flags = cursor_be16(&c);
	questions = cursor_be16(&c);
	answers = cursor_be16(&c);
	authorities = cursor_be16(&c);
	cursor_be16(&c);
	if (c.failed || got_id != id || !(flags & FLAG_QR) || (flags & FLAG_OPCODE) || questions != 1 ||
	    !name_read(&c, &question) || !name_equal(&question, name) || cursor_be16(&c) != type ||
	    cursor_be16(&c) != DNS_CLASS_IN || c.failed)
		return;
	answer->rcode = flags & RCODE_MASK;
	if (answers > DNS_RECORDS_MAX || authorities > DNS_RECORDS_MAX)
		answer->verdict = DNS_MALFORMED;
	else if (flags & FLAG_TC)
		answer->verdict = DNS_TRUNCATED;
	else if (answer->rcode == 3)
		answer->verdict = DNS_NXDOMAIN;
	else if (answer->rcode != 0)
		answer->verdict = DNS_SERVFAIL;
	else
		answer->verdict = read_addresses(c, answers, name, type, answer);
	if (answer->verdict == DNS_NODATA || answer->verdict == DNS_NXDOMAIN)
		answer->ttl = negative_ttl(c, answers, authorities);
	else if (answer->verdict != DNS_ADDRESSES)
		answer->ttl = 0;
}
