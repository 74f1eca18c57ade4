/* SPDX-License-Identifier: PostgreSQL
 *
 * msg.c -- reading and writing whole DNS messages.
 *
 * The data of a record is checked against its type's layout while it is copied: what
 * comes later (validation, text) may rely on every length in it. Types without a row are
 * opaque bytes (RFC 3597). Offsets become pointers only at the end, for the pool moves while it grows.
 */
#include "agent/dns/msg.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EDNS_DO   0x8000
#define OPT_EDE   15
#define CLASS_ANY 255

/* A layout: 1 2 4 6 (digits, A = 16) fixed bytes, n a name (compressed where it came from, lower
 * case), N a name left as it is, s a string with a length byte, S one or more of them, + at least
 * one byte, * any bytes. The rows with n are those of RFC 4034 section 6.2 as corrected by
 * RFC 6840 section 5.1 (NSEC keeps its case). */
static const struct
{
	uint16_t type;
	const char *layout;
} layouts[] = {
    {1, "4"},          {2, "n"},       {3, "n"},          {4, "n"},       {5, "n"},
    {6, "nn44444"},    {7, "n"},       {8, "n"},          {9, "n"},       {12, "n"},
    {13, "ss"},        {14, "nn"},     {15, "2n"},        {16, "S"},      {17, "nn"},
    {18, "2n"},        {21, "2n"},     {24, "2114442n*"}, {26, "2nn"},    {28, "A"},
    {33, "222n"},      {35, "22sssn"}, {36, "2n"},        {39, "n"},      {43, "211+"},
    {46, "2114442n+"}, {47, "N*"},     {48, "211+"},      {50, "112ss*"}, {51, "112s"},
};

/* ---- writing ---- */

size_t
dnsmsg_query(uint8_t *buf, uint16_t id, const uint8_t *name, uint16_t type, uint16_t flags,
             bool dnssec)
{
	size_t n = dname_len(name);
	const uint8_t header[12] = {(uint8_t) (id >> 8),
	                            (uint8_t) id,
	                            (uint8_t) (flags >> 8),
	                            (uint8_t) flags,
	                            0,
	                            1,
	                            0,
	                            0,
	                            0,
	                            0,
	                            0,
	                            1};
	const uint8_t question[4] = {(uint8_t) (type >> 8), (uint8_t) type, 0, DNS_CLASS_IN};
	/* root owner, OPT, payload size as class, TTL: extended rcode, version 0, DO; no options */
	const uint8_t opt[11] = {0,
	                         0,
	                         DNS_TYPE_OPT,
	                         DNSMSG_UDP_SIZE >> 8,
	                         DNSMSG_UDP_SIZE & 0xff,
	                         0,
	                         0,
	                         dnssec ? EDNS_DO >> 8 : 0,
	                         0,
	                         0,
	                         0};

	memcpy(buf, header, 12);
	memcpy(buf + 12, name, n);
	memcpy(buf + 12 + n, question, 4);
	memcpy(buf + 16 + n, opt, 11);
	return 27 + n;
}

/* ---- reading ---- */

static const char *
layout_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (layouts[i].type == type)
			return layouts[i].layout;
	return "*";
}

static bool
copy_bytes(struct cursor *c, struct buf *pool, size_t n)
{
	const uint8_t *from = cursor_take(c, n);

	return from && buf_put(pool, from, n);
}

static bool
copy_name(struct cursor *c, struct buf *pool, bool compressed)
{
	struct dns_name name;

	return dname_read(c, &name, compressed, !compressed) && buf_put(pool, name.bytes, name.len);
}

static bool
copy_string(struct cursor *c, struct buf *pool)
{
	uint8_t n = cursor_u8(c);

	return !c->failed && buf_put_u8(pool, n) && copy_bytes(c, pool, n);
}

static bool
copy_field(struct cursor *c, struct buf *pool, char field)
{
	switch (field)
	{
		case 'n': return copy_name(c, pool, true);
		case 'N': return copy_name(c, pool, false);
		case 's': return copy_string(c, pool);
		case 'S':
			do
				if (!copy_string(c, pool))
					return false;
			while (cursor_left(c) > 0);
			return true;
		case 'A': return copy_bytes(c, pool, 16);
		case '+':
		case '*':
			return (field == '*' || cursor_left(c) > 0) && copy_bytes(c, pool, cursor_left(c));
		default: return copy_bytes(c, pool, (size_t) (field - '0'));
	}
}

/* The data of one record, canonical, into the pool. Names in it may point anywhere in front. */
static bool
read_rdata(const struct cursor *c, size_t length, uint16_t type, struct buf *pool)
{
	struct cursor at;

	cursor_init(&at, c->data, c->pos + length);
	at.pos = c->pos;
	/* A message of the dynamic update kind has empty data; so has nothing that answers a query. */
	for (const char *field = layout_of(type); *field; field++)
		if (!copy_field(&at, pool, *field))
			return false;
	return cursor_done(&at);
}

/* RFC 6891: the record is about the message. An extended error is the first one that is there. */
static bool
read_opt(struct dnsmsg *msg, struct cursor data, uint32_t ttl)
{
	if (msg->edns)
		return false;
	msg->edns = true;
	msg->rcode |= ttl >> 24 << 4;
	while (cursor_left(&data) > 0)
	{
		uint16_t code = cursor_be16(&data);
		struct cursor option = cursor_sub(&data, cursor_be16(&data));

		if (data.failed)
			return false;
		if (code != OPT_EDE || msg->ede >= 0 || cursor_left(&option) < 2)
			continue;
		msg->ede = cursor_be16(&option);
		snprintf(msg->ede_text, sizeof(msg->ede_text), "%.*s", (int) cursor_left(&option),
		         (const char *) option.data + option.pos);
	}
	return true;
}

static bool
read_record(struct dnsmsg *msg, struct cursor *c, struct buf *pool, size_t *offsets,
            enum dns_section section)
{
	struct dns_rr *rr = &msg->rrs[msg->count];
	struct dns_name owner;
	uint16_t length;

	if (!dname_read(c, &owner, true, false))
		return false;
	rr->type = cursor_be16(c);
	rr->class = cursor_be16(c);
	rr->ttl = cursor_be32(c);
	if (rr->ttl > INT32_MAX) /* RFC 2181 section 8: the top bit makes it zero */
		rr->ttl = 0;
	rr->section = (uint8_t) section;
	length = cursor_be16(c);
	if (c->failed || cursor_left(c) < length)
		return false;
	if (rr->type == DNS_TYPE_OPT)
	{
		uint32_t flags;

		c->pos -= 6;
		flags = cursor_be32(c);
		c->pos += 2;
		return section == DNS_ADDITIONAL && owner.len == 1 &&
		       read_opt(msg, cursor_sub(c, length), flags);
	}
	offsets[2 * msg->count] = pool->len;
	if (!buf_put(pool, owner.bytes, owner.len))
		return false;
	offsets[2 * msg->count + 1] = pool->len;
	if (!read_rdata(c, length, rr->type, pool) || pool->len - offsets[2 * msg->count + 1] > 65535)
		return false;
	cursor_skip(c, length);
	rr->rdlen = (uint16_t) (pool->len - offsets[2 * msg->count + 1]);
	msg->count++;
	return true;
}

static bool
read_sections(struct dnsmsg *msg, struct cursor *c, const uint16_t counts[3])
{
	size_t total = (size_t) counts[0] + counts[1] + counts[2];
	size_t *offsets = calloc(total + 1, 2 * sizeof(*offsets));
	struct buf pool = BUF_INIT(DNSMSG_POOL_MAX);
	bool ok = false;

	msg->rrs = calloc(total + 1, sizeof(*msg->rrs));
	if (offsets == NULL || msg->rrs == NULL || buf_room(&pool, 4 * c->len) == NULL)
		goto out;
	for (int section = 0; section < 3; section++)
		for (uint16_t i = 0; i < counts[section]; i++)
			if (!read_record(msg, c, &pool, offsets, (enum dns_section) section))
				goto out;
	if (!cursor_done(c))
		goto out;
	for (size_t i = 0; i < msg->count; i++)
	{
		msg->rrs[i].owner = pool.data + offsets[2 * i];
		msg->rrs[i].rdata = pool.data + offsets[2 * i + 1];
	}
	msg->pool = pool.data;
	ok = true;
out:
	if (!ok)
		buf_free(&pool);
	free(offsets);
	return ok;
}

bool
dnsmsg_parse(struct dnsmsg *msg, const uint8_t *data, size_t len, const char **reason)
{
	struct cursor c;
	uint16_t questions, counts[3];

	memset(msg, 0, sizeof(*msg));
	msg->ede = -1;
	cursor_init(&c, data, len);
	msg->id = cursor_be16(&c);
	msg->flags = cursor_be16(&c);
	msg->rcode = msg->flags & 0xf;
	questions = cursor_be16(&c);
	for (int i = 0; i < 3; i++)
		counts[i] = cursor_be16(&c);
	*reason = "the question is not one question";
	if (c.failed || questions != 1 || !dname_read(&c, &msg->qname, true, false))
		return false;
	msg->qtype = cursor_be16(&c);
	msg->qclass = cursor_be16(&c);
	if (c.failed)
		return false;
	*reason = "more records than a message is believed to have";
	if ((size_t) counts[0] + counts[1] + counts[2] > DNSMSG_RECORDS_MAX)
		return false;
	*reason = "a record is broken, or the message does not end with its last record";
	if (read_sections(msg, &c, counts))
		return true;
	dnsmsg_free(msg);
	return false;
}

void
dnsmsg_free(struct dnsmsg *msg)
{
	free(msg->rrs);
	free(msg->pool);
	memset(msg, 0, sizeof(*msg));
	msg->ede = -1;
}

bool
dnsmsg_matches(const uint8_t *data, size_t len, uint16_t id, const uint8_t *name, uint16_t type)
{
	struct cursor c;
	struct dns_name question;
	uint16_t got_id, flags, questions;

	cursor_init(&c, data, len);
	got_id = cursor_be16(&c);
	flags = cursor_be16(&c);
	questions = cursor_be16(&c);
	cursor_skip(&c, 6);
	return !c.failed && got_id == id && (flags & DNS_FLAG_QR) && !(flags & 0x7800) &&
	       questions == 1 && dname_read(&c, &question, true, false) &&
	       dname_equal(question.bytes, name) && cursor_be16(&c) == type &&
	       cursor_be16(&c) == DNS_CLASS_IN && !c.failed;
}

const struct dns_rr *
dnsmsg_next(const struct dnsmsg *msg, enum dns_section section, const uint8_t *owner, uint16_t type,
            size_t *at)
{
	while (*at < msg->count)
	{
		const struct dns_rr *rr = &msg->rrs[(*at)++];

		if (rr->section == section && rr->type == type && rr->class == DNS_CLASS_IN &&
		    (owner == NULL || dname_equal(rr->owner, owner)))
			return rr;
	}
	return NULL;
}

/* ---- words ---- */

const char *
dns_type_text(uint16_t type, char *buf, size_t len)
{
	char *text = ldns_rr_type2str((ldns_rr_type) type);

	snprintf(buf, len, "%s", text ? text : "");
	free(text);
	return buf;
}

uint16_t
dns_type_parse(const char *text)
{
	/* Words that are no type of a record one can ask for. */
	static const uint16_t meta[] = {DNS_TYPE_OPT, 249, 250, 251, 252, 253, 254};
	uint16_t type = (uint16_t) ldns_get_rr_type_by_name(text);

	for (size_t i = 0; i < sizeof(meta) / sizeof(meta[0]); i++)
		if (type == meta[i])
			return 0;
	return type;
}

static const struct
{
	unsigned rcode;
	const char *text;
} rcodes[] = {{0, "NOERROR"},  {1, "FORMERR"},  {2, "SERVFAIL"},  {3, "NXDOMAIN"}, {4, "NOTIMP"},
              {5, "REFUSED"},  {6, "YXDOMAIN"}, {7, "YXRRSET"},   {8, "NXRRSET"},  {9, "NOTAUTH"},
              {10, "NOTZONE"}, {16, "BADVERS"}, {23, "BADCOOKIE"}};

const char *
dns_rcode_text(unsigned rcode, char *buf, size_t len)
{
	snprintf(buf, len, "RCODE%u", rcode);
	for (size_t i = 0; i < sizeof(rcodes) / sizeof(rcodes[0]); i++)
		if (rcodes[i].rcode == rcode)
			snprintf(buf, len, "%s", rcodes[i].text);
	return buf;
}

int
dns_rcode_parse(const char *text)
{
	for (size_t i = 0; i < sizeof(rcodes) / sizeof(rcodes[0]); i++)
		if (strcasecmp(rcodes[i].text, text) == 0)
			return (int) rcodes[i].rcode;
	return -1;
}

const char *
dns_rdata_text(const struct dns_rr *rr, char *buf, size_t len)
{
	ldns_rr *record = NULL;
	uint8_t *wire = malloc((size_t) rr->rdlen + 11);
	size_t at = 0, used = 0;

	buf[0] = '\0';
	if (wire == NULL)
		return buf;
	memcpy(wire,
	       (const uint8_t[11]){0, (uint8_t) (rr->type >> 8), (uint8_t) rr->type, 0, DNS_CLASS_IN, 0,
	                           0, 0, 0, (uint8_t) (rr->rdlen >> 8), (uint8_t) rr->rdlen},
	       11);
	memcpy(wire + 11, rr->rdata, rr->rdlen);
	if (ldns_wire2rr(&record, wire, (size_t) rr->rdlen + 11, &at, LDNS_SECTION_ANSWER) ==
	    LDNS_STATUS_OK)
	{
		for (size_t i = 0; i < ldns_rr_rd_count(record) && used < len; i++)
		{
			char *field = ldns_rdf2str(ldns_rr_rdf(record, i));

			used += (size_t) snprintf(buf + used, len - used, "%s%s", i ? " " : "",
			                          field ? field : "");
			free(field);
		}
		ldns_rr_free(record);
	}
	free(wire);
	return buf;
}

const char *
dns_ede_name(int code)
{
	static const char *const names[] = {
	    "Other",
	    "Unsupported DNSKEY Algorithm",
	    "Unsupported DS Digest Type",
	    "Stale Answer",
	    "Forged Answer",
	    "DNSSEC Indeterminate",
	    "DNSSEC Bogus",
	    "Signature Expired",
	    "Signature Not Yet Valid",
	    "DNSKEY Missing",
	    "RRSIGs Missing",
	    "No Zone Key Bit Set",
	    "NSEC Missing",
	    "Cached Error",
	    "Not Ready",
	    "Blocked",
	    "Censored",
	    "Filtered",
	    "Prohibited",
	    "Stale NXDOMAIN Answer",
	    "Not Authoritative",
	    "Not Supported",
	    "No Reachable Authority",
	    "Network Error",
	    "Invalid Data",
	    "Signature Expired before Valid",
	    "Too Early",
	    "Unsupported NSEC3 Iterations Value",
	    "Unable to conform to policy",
	    "Synthesized",
	    "Invalid Query Type",
	};

	return code >= 0 && (size_t) code < sizeof(names) / sizeof(names[0]) ? names[code] : "";
}
