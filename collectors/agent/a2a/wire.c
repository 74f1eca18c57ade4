/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.c -- see wire.h.
 */
#include "agent/a2a/wire.h"

#include <string.h>

#define NANO         1000000000
#define NTP_1970     2208988800U /* seconds from 1900 to 1970 */
#define SYNCHRONIZED 0x8000
#define PTP          0x4000
#define AT_T3        4 /* of a reply */
#define DAY          (86400 * (int64_t) NANO)

/* Flags of a TLV (RFC 8972 section 4.1). */
#define UNRECOGNIZED 0x80
#define MALFORMED    0x40

struct tlv
{
	uint8_t flags, type;
	uint16_t length; /* as it says */
	const uint8_t *value;
	size_t octets; /* of value that are there */
};

/* ---- times ---- */

uint64_t
a2a_time_write(int64_t unix_nano, bool ptp)
{
	uint64_t seconds = (uint64_t) (unix_nano / NANO), rest = (uint64_t) (unix_nano % NANO);

	if (ptp)
		return (seconds & 0xffffffff) << 32 | rest;
	return ((seconds + NTP_1970) & 0xffffffff) << 32 | ((rest << 32) + NANO / 2) / NANO;
}

/* Seconds of 32 bits are one time in 136 years; the difference to a near time says which. */
int64_t
a2a_time_read(uint64_t raw, bool ptp, int64_t near_unix_nano)
{
	int64_t near = near_unix_nano / NANO;
	uint32_t seconds = (uint32_t) (raw >> 32) - (ptp ? 0 : NTP_1970);
	int64_t whole = near + (int32_t) (seconds - (uint32_t) near);
	uint64_t fraction = raw & 0xffffffff;

	if (ptp)
		return whole * NANO + (int64_t) (fraction < NANO ? fraction : NANO - 1);
	return whole * NANO + (int64_t) ((fraction * NANO + (UINT64_C(1) << 31)) >> 32);
}

/* ---- error estimates ---- */

uint16_t
a2a_estimate_write(const struct a2a_estimate *estimate)
{
	uint16_t flags = (uint16_t) ((estimate->synchronized ? SYNCHRONIZED : 0) |
	                             (estimate->ptp ? PTP : 0));
	/* In units of 2^-32 s; a minute is more than anybody's estimate, and keeps the product small. */
	uint64_t nano = estimate->nano < 1                     ? 1
	                : estimate->nano > 60 * (int64_t) NANO ? 60 * (uint64_t) NANO
	                                                       : (uint64_t) estimate->nano;
	uint64_t units = ((nano / NANO) << 32) + (((nano % NANO) << 32) + NANO - 1) / NANO;
	unsigned scale = 0;

	while (units > 255)
	{
		units = (units + 1) / 2;
		scale++;
	}
	return (uint16_t) (flags | scale << 8 | units);
}

struct a2a_estimate
a2a_estimate_read(uint16_t raw)
{
	struct a2a_estimate estimate = {
	    .synchronized = raw & SYNCHRONIZED,
	    .ptp = raw & PTP,
	    .nano = INT64_MAX,
	};
	unsigned scale = raw >> 8 & 0x3f;
	uint64_t multiplier = raw & 0xff;

	/* 255 * 2^40 units are 65,280 s: their nanoseconds still fit. */
	if (multiplier > 0 && scale <= 22)
		estimate.nano = (int64_t) (((multiplier << scale) * NANO) >> 32);
	else if (multiplier > 0 && scale <= 40)
		estimate.nano = (int64_t) (((multiplier * NANO) >> 10) << (scale - 22));
	return estimate;
}

/* ---- TLVs ---- */

/* The next one; false at the end. What is no whole TLV is malformed and takes all that is left. */
static bool
tlv_next(struct cursor *c, struct tlv *tlv)
{
	size_t left = cursor_left(c);

	if (left == 0)
		return false;
	memset(tlv, 0, sizeof(*tlv));
	if (left < A2A_TLV_HEADER)
	{
		tlv->flags = MALFORMED;
		tlv->octets = left;
		tlv->value = cursor_take(c, left);
		return true;
	}
	tlv->flags = cursor_u8(c);
	tlv->type = cursor_u8(c);
	tlv->length = cursor_be16(c);
	tlv->flags &= (uint8_t) ~MALFORMED;
	if (tlv->length > cursor_left(c))
		tlv->flags |= MALFORMED;
	tlv->octets = tlv->flags & MALFORMED ? cursor_left(c) : tlv->length;
	tlv->value = cursor_take(c, tlv->octets);
	return true;
}

static bool
tlv_is(const struct tlv *tlv, enum a2a_tlv type, size_t length)
{
	return tlv->type == type && !(tlv->flags & MALFORMED) && tlv->length == length;
}

static void
put_zeros(struct buf *out, size_t count)
{
	uint8_t *room = buf_room(out, count);

	if (!room)
		return;
	memset(room, 0, count);
	buf_added(out, count);
}

/* RFC 8972 section 4.1: who sends a TLV sets U; who understands it clears it. */
static void
put_header(struct buf *out, uint8_t flags, uint8_t type, size_t length)
{
	buf_put_u8(out, flags);
	buf_put_u8(out, type);
	buf_put_be16(out, (uint16_t) length);
}

/* ---- requests ---- */

bool
a2a_request_write(struct buf *out, size_t size, const struct a2a_request *request, uint64_t *raw_t1)
{
	size_t rest;

	buf_reset(out);
	*raw_t1 = a2a_time_write(request->t1, request->estimate.ptp);
	buf_put_be32(out, request->sequence);
	buf_put_be64(out, *raw_t1);
	buf_put_be16(out, a2a_estimate_write(&request->estimate));
	buf_put_be16(out, request->ssid);
	put_zeros(out, A2A_BASE - 16);
	if (request->token)
	{
		put_header(out, UNRECOGNIZED, A2A_TLV_TOKEN, A2A_TOKEN_BYTES);
		buf_put(out, request->token, A2A_TOKEN_BYTES);
	}
	if (request->follow_up)
	{
		put_header(out, UNRECOGNIZED, A2A_TLV_FOLLOW_UP, A2A_FOLLOW_BYTES);
		put_zeros(out, A2A_FOLLOW_BYTES);
	}
	if (out->failed || out->len > size || size > A2A_PACKET_MAX)
		return false;
	rest = size - out->len;
	if (rest >= A2A_TLV_HEADER)
	{
		put_header(out, UNRECOGNIZED, A2A_TLV_PADDING, rest - A2A_TLV_HEADER);
		put_zeros(out, rest - A2A_TLV_HEADER);
	}
	return !out->failed;
}

bool
a2a_request_read(const uint8_t *data, size_t len, int64_t near, struct a2a_request *request)
{
	struct cursor c;
	struct tlv tlv;
	int64_t age;

	memset(request, 0, sizeof(*request));
	if (len > A2A_PACKET_MAX)
		return false;
	cursor_init(&c, data, len);
	request->sequence = cursor_be32(&c);
	request->raw_t1 = cursor_be64(&c);
	request->raw_estimate = cursor_be16(&c);
	request->ssid = cursor_be16(&c);
	request->estimate = a2a_estimate_read(request->raw_estimate);
	request->t1 = a2a_time_read(request->raw_t1, request->estimate.ptp, near);
	age = near - a2a_time_read(cursor_be64(&c), request->estimate.ptp, near);
	cursor_skip(&c, A2A_BASE - 24);
	/* RFC 4656: an estimate without a multiplier is not one, and the packet is to be ignored. */
	if (c.failed || (request->raw_estimate & 0xff) == 0)
		return false;
	/* A reply has a time of today where a request has zeros (or the padding of TWAMP): two reflectors that
	 * somebody points at each other must not go on for ever. */
	if (age > -DAY && age < DAY)
		return false;
	for (int i = 0; i < A2A_TLVS_MAX && tlv_next(&c, &tlv); i++)
	{
		if (tlv_is(&tlv, A2A_TLV_FOLLOW_UP, A2A_FOLLOW_BYTES))
			request->follow_up = true;
		else if (tlv_is(&tlv, A2A_TLV_TOKEN, A2A_TOKEN_BYTES) && !request->token)
			request->token = tlv.value;
	}
	return true;
}

/* ---- replies ---- */

static void
put_follow_up(struct buf *out, const struct a2a_reflection *reflection, bool ptp)
{
	bool known = reflection->follow_at > 0;

	put_header(out, 0, A2A_TLV_FOLLOW_UP, A2A_FOLLOW_BYTES);
	buf_put_be32(out, known ? reflection->follow_sequence : 0);
	buf_put_be64(out, known ? a2a_time_write(reflection->follow_at, ptp) : 0);
	buf_put_u8(out, known ? A2A_METHOD_SOFTWARE : A2A_METHOD_NONE);
	put_zeros(out, 3);
}

static void
put_reflected(struct buf *out, const struct tlv *tlv, bool known_token)
{
	bool known = tlv->type == A2A_TLV_PADDING || (tlv->type == A2A_TLV_TOKEN && known_token) ||
	             tlv->type == A2A_TLV_FOLLOW_UP;
	uint8_t flags = tlv->flags & (uint8_t) ~UNRECOGNIZED;

	if (!known)
		flags |= UNRECOGNIZED;
	/* A follow-up of another length: known, and wrong. */
	if (tlv->type == A2A_TLV_FOLLOW_UP)
		flags |= MALFORMED;
	put_header(out, flags, tlv->type, tlv->length);
}

bool
a2a_reply_write(struct buf *out, const uint8_t *data, size_t len, const struct a2a_request *request,
                const struct a2a_reflection *reflection, bool known_token)
{
	bool ptp = reflection->estimate.ptp;
	struct cursor c;
	struct tlv tlv;
	size_t left;

	buf_reset(out);
	buf_put_be32(out, reflection->sequence);
	buf_put_be64(out, 0);
	buf_put_be16(out, a2a_estimate_write(&reflection->estimate));
	buf_put_be16(out, request->ssid);
	buf_put_be64(out, a2a_time_write(reflection->t2, ptp));
	buf_put_be32(out, request->sequence);
	buf_put_be64(out, request->raw_t1);
	buf_put_be16(out, request->raw_estimate);
	buf_put_be16(out, 0);
	buf_put_u8(out, reflection->ttl);
	put_zeros(out, 3);
	cursor_init(&c, data, len);
	cursor_skip(&c, A2A_BASE);
	for (int i = 0; i < A2A_TLVS_MAX && cursor_left(&c) >= A2A_TLV_HEADER && tlv_next(&c, &tlv);
	     i++)
	{
		if (tlv_is(&tlv, A2A_TLV_FOLLOW_UP, A2A_FOLLOW_BYTES))
		{
			put_follow_up(out, reflection, ptp);
			continue;
		}
		put_reflected(out, &tlv, known_token);
		buf_put(out, tlv.value, tlv.octets);
	}
	left = cursor_left(&c);
	if (left > 0)
		buf_put(out, cursor_take(&c, left), left);
	return !out->failed && !c.failed && out->len == len;
}

bool
a2a_reply_stamp(struct buf *out, int64_t t3, bool ptp)
{
	uint64_t raw = a2a_time_write(t3, ptp);

	return buf_set_be32(out, AT_T3, (uint32_t) (raw >> 32)) &&
	       buf_set_be32(out, AT_T3 + 4, (uint32_t) raw);
}

static void
read_follow_up(const struct tlv *tlv, bool ptp, int64_t near, struct a2a_reply *reply)
{
	struct cursor c;
	uint64_t raw;
	uint8_t method;

	cursor_init(&c, tlv->value, tlv->length);
	reply->follow_sequence = cursor_be32(&c);
	raw = cursor_be64(&c);
	method = cursor_u8(&c);
	if (raw == 0 || method > A2A_METHOD_CONTROL)
		return;
	reply->follow_method = (enum a2a_method) method;
	reply->follow_at = a2a_time_read(raw, ptp, near);
}

bool
a2a_reply_read(const uint8_t *data, size_t len, int64_t near, struct a2a_reply *reply)
{
	uint64_t raw_t3, raw_t2;
	uint16_t raw_estimate;
	struct cursor c;
	struct tlv tlv;

	memset(reply, 0, sizeof(*reply));
	if (len > A2A_PACKET_MAX)
		return false;
	cursor_init(&c, data, len);
	reply->sequence = cursor_be32(&c);
	raw_t3 = cursor_be64(&c);
	raw_estimate = cursor_be16(&c);
	reply->ssid = cursor_be16(&c);
	raw_t2 = cursor_be64(&c);
	reply->sender_sequence = cursor_be32(&c);
	reply->raw_t1 = cursor_be64(&c);
	cursor_skip(&c, 4); /* our own estimate, zero */
	reply->ttl = cursor_u8(&c);
	cursor_skip(&c, 3);
	if (c.failed || (raw_estimate & 0xff) == 0)
		return false;
	reply->estimate = a2a_estimate_read(raw_estimate);
	reply->t2 = a2a_time_read(raw_t2, reply->estimate.ptp, near);
	reply->t3 = a2a_time_read(raw_t3, reply->estimate.ptp, near);
	for (int i = 0; i < A2A_TLVS_MAX && tlv_next(&c, &tlv); i++)
		if (tlv_is(&tlv, A2A_TLV_FOLLOW_UP, A2A_FOLLOW_BYTES) && !(tlv.flags & UNRECOGNIZED))
			read_follow_up(&tlv, reply->estimate.ptp, near, reply);
	return true;
}
