/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.h -- test packets of STAMP, unauthenticated mode (RFC 8762, extensions of RFC 8972).
 *
 *      request                            reply
 *      0  sequence number                 0  sequence number of the reflector
 *      4  timestamp T1                    4  timestamp T3
 *     12  error estimate | SSID          12  error estimate | SSID
 *     16  zero                           16  timestamp T2
 *                                        24  sequence number of the sender
 *                                        28  T1
 *                                        36  error estimate of the sender | zero
 *                                        40  TTL the request arrived with | zero
 *     44  TLVs: flags | type | length | value
 *
 * A reply has the size of its request. Three TLVs are ours to use: padding, the follow-up (when the
 * reply before this one really left, by the kernel's stamp: what a packet says of its own
 * departure was written before it), and a private one that says which brokered session a packet is of.
 * All times are Unix nanoseconds outside of this file.
 */
#ifndef PCTL_AGENT_A2A_WIRE_H
#define PCTL_AGENT_A2A_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

#define A2A_BASE         44   /* octets of a packet without TLVs */
#define A2A_PACKET_MAX   9000 /* octets of a packet */
#define A2A_TLV_HEADER   4
#define A2A_TLVS_MAX     32 /* of one packet; the rest is passed on unread */
#define A2A_TOKEN_BYTES  16
#define A2A_FOLLOW_BYTES 16

/* RFC 8972 section 4; 252 is the first of those for private use. */
enum a2a_tlv
{
	A2A_TLV_PADDING = 1,
	A2A_TLV_FOLLOW_UP = 7,
	A2A_TLV_TOKEN = 252,
};

/* How a time was taken (RFC 8972 section 4.3). */
enum a2a_method
{
	A2A_METHOD_NONE = 0,
	A2A_METHOD_HARDWARE = 1,
	A2A_METHOD_SOFTWARE = 2,
	A2A_METHOD_CONTROL = 3,
};

/* RFC 4656 section 4.1.2: S, Z, scale, multiplier; the error is multiplier * 2^(scale - 32) seconds. */
struct a2a_estimate
{
	bool synchronized; /* to an outside source of time */
	bool ptp;          /* the timestamps beside it are PTP's (RFC 8186), not NTP's */
	int64_t nano;      /* at most so wrong; INT64_MAX when it says more than that */
};

struct a2a_request
{
	uint32_t sequence;
	int64_t t1;
	struct a2a_estimate estimate;
	uint16_t ssid; /* 0: none */
	uint64_t raw_t1;
	uint16_t raw_estimate;
	bool follow_up;       /* asks for one */
	const uint8_t *token; /* A2A_TOKEN_BYTES inside the packet; NULL: none */
};

struct a2a_reply
{
	uint32_t sequence; /* the reflector's */
	int64_t t2, t3;
	struct a2a_estimate estimate;
	uint16_t ssid;
	uint32_t sender_sequence;
	uint64_t raw_t1; /* as it was sent: what a reply is matched by, beside the number */
	uint8_t ttl;     /* the request arrived with; 0: not told */
	/* When the reflector's packet follow_sequence left; method NONE: not told. */
	uint32_t follow_sequence;
	int64_t follow_at;
	enum a2a_method follow_method;
};

/* What the reflector adds to a request. */
struct a2a_reflection
{
	uint32_t sequence;
	int64_t t2;
	struct a2a_estimate estimate;
	uint8_t ttl;
	uint32_t follow_sequence;
	int64_t follow_at; /* 0: nothing to follow up */
};

/* 64 bits of NTP (RFC 5905 section 6; the era is that nearest to the given time) or PTP, to and fro. */
uint64_t a2a_time_write(int64_t unix_nano, bool ptp);
int64_t a2a_time_read(uint64_t raw, bool ptp, int64_t near_unix_nano);

/* The smallest estimate that is no smaller than it says. */
uint16_t a2a_estimate_write(const struct a2a_estimate *estimate);
struct a2a_estimate a2a_estimate_read(uint16_t raw);

/* A request of size octets, from A2A_BASE; what the TLVs leave is padding, if it has room for a header.
 * False when the TLVs do not fit. *raw_t1 is what the reply will carry. */
bool a2a_request_write(struct buf *out, size_t size, const struct a2a_request *request,
                       uint64_t *raw_t1);

/* False: not a request, and perhaps a reply. near is the time it arrived. */
bool a2a_request_read(const uint8_t *data, size_t len, int64_t near, struct a2a_request *request);

/* The reply to a request that was read, of its size, but for T3. TLVs go back as they came, with the
 * flags of RFC 8972 section 4.1; known_token says whether that TLV is understood. */
bool a2a_reply_write(struct buf *out, const uint8_t *data, size_t len,
                     const struct a2a_request *request, const struct a2a_reflection *reflection,
                     bool known_token);

/* T3, as the last thing before the packet leaves. */
bool a2a_reply_stamp(struct buf *out, int64_t t3, bool ptp);

/* False: not a reply. */
bool a2a_reply_read(const uint8_t *data, size_t len, int64_t near, struct a2a_reply *reply);

#endif
