/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.c -- ICMP echo packets and the errors that quote them.
 *
 * Types and codes are rows of a table: what a code means for a person (text) and for a
 * machine (error type). A code without a row of its own has the row of its type.
 */
#include "agent/icmp/wire.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/buf.h"

#define ECHO_REPLY4     0
#define UNREACHABLE4    3
#define ECHO_REQUEST4   8
#define EXCEEDED4       11
#define PARAMETER4      12
#define UNREACHABLE6    1
#define TOO_BIG6        2
#define EXCEEDED6       3
#define PARAMETER6      4
#define ECHO_REQUEST6   128
#define ECHO_REPLY6     129
#define PROTO_ICMP      1
#define PROTO_ICMP6     58
#define PROTO_FRAGMENT6 44

#define ANY_CODE 255

struct problem
{
	uint8_t type, code;
	enum error_type error;
	const char *text;
};

/* RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1 */
static const struct problem problems4[] = {
    {UNREACHABLE4, 0, ERROR_NET_UNREACHABLE, "network unreachable"},
    {UNREACHABLE4, 1, ERROR_HOST_UNREACHABLE, "host unreachable"},
    {UNREACHABLE4, 2, ERROR_HOST_UNREACHABLE, "protocol unreachable"},
    {UNREACHABLE4, 3, ERROR_HOST_UNREACHABLE, "port unreachable"},
    {UNREACHABLE4, 4, ERROR_HOST_UNREACHABLE, "packet too big and fragmentation forbidden"},
    {UNREACHABLE4, 5, ERROR_NET_UNREACHABLE, "source route failed"},
    {UNREACHABLE4, 6, ERROR_NET_UNREACHABLE, "network unknown"},
    {UNREACHABLE4, 7, ERROR_HOST_UNREACHABLE, "host unknown"},
    {UNREACHABLE4, 8, ERROR_HOST_UNREACHABLE, "host isolated"},
    {UNREACHABLE4, 9, ERROR_ADMIN_PROHIBITED, "network administratively prohibited"},
    {UNREACHABLE4, 10, ERROR_ADMIN_PROHIBITED, "host administratively prohibited"},
    {UNREACHABLE4, 11, ERROR_NET_UNREACHABLE, "network unreachable for this type of service"},
    {UNREACHABLE4, 12, ERROR_HOST_UNREACHABLE, "host unreachable for this type of service"},
    {UNREACHABLE4, 13, ERROR_ADMIN_PROHIBITED, "communication administratively prohibited"},
    {UNREACHABLE4, 14, ERROR_ADMIN_PROHIBITED, "host precedence violation"},
    {UNREACHABLE4, 15, ERROR_ADMIN_PROHIBITED, "precedence cutoff"},
    {UNREACHABLE4, ANY_CODE, ERROR_HOST_UNREACHABLE, "destination unreachable"},
    {EXCEEDED4, 0, ERROR_TTL_EXCEEDED, "time to live exceeded"},
    {EXCEEDED4, ANY_CODE, ERROR_TTL_EXCEEDED, "fragment reassembly time exceeded"},
    {PARAMETER4, ANY_CODE, ERROR_HOST_UNREACHABLE, "parameter problem"},
};

/* RFC 4443 section 3 */
static const struct problem problems6[] = {
    {UNREACHABLE6, 0, ERROR_NET_UNREACHABLE, "no route to the destination"},
    {UNREACHABLE6, 1, ERROR_ADMIN_PROHIBITED, "communication administratively prohibited"},
    {UNREACHABLE6, 2, ERROR_NET_UNREACHABLE, "beyond the scope of the source address"},
    {UNREACHABLE6, 3, ERROR_HOST_UNREACHABLE, "address unreachable"},
    {UNREACHABLE6, 4, ERROR_HOST_UNREACHABLE, "port unreachable"},
    {UNREACHABLE6, 5, ERROR_ADMIN_PROHIBITED, "source address failed a policy"},
    {UNREACHABLE6, 6, ERROR_NET_UNREACHABLE, "route rejected"},
    {UNREACHABLE6, ANY_CODE, ERROR_HOST_UNREACHABLE, "destination unreachable"},
    {TOO_BIG6, ANY_CODE, ERROR_HOST_UNREACHABLE, "packet too big"},
    {EXCEEDED6, 0, ERROR_TTL_EXCEEDED, "hop limit exceeded"},
    {EXCEEDED6, ANY_CODE, ERROR_TTL_EXCEEDED, "fragment reassembly time exceeded"},
    {PARAMETER6, ANY_CODE, ERROR_HOST_UNREACHABLE, "parameter problem"},
};

/* RFC 1071 over an even or odd number of bytes, as a value to be stored big-endian. */
static uint16_t
checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t) data[i] << 8 | data[i + 1];
	if (len & 1)
		sum += (uint32_t) data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~sum;
}

/* Big-endian, n bytes at p, which the caller owns in full. */
static void
store(uint8_t *p, uint64_t value, size_t n)
{
	while (n-- > 0)
	{
		p[n] = (uint8_t) value;
		value >>= 8;
	}
}

void
icmp_request_write(uint8_t *packet, bool v6, uint16_t id, uint16_t sequence, uint64_t token,
                   size_t payload)
{
	packet[0] = v6 ? ECHO_REQUEST6 : ECHO_REQUEST4;
	packet[1] = packet[2] = packet[3] = 0;
	store(packet + 4, id, 2);
	store(packet + 6, sequence, 2);
	store(packet + ICMP_HEADER, token, 8);
	for (size_t i = 8; i < payload; i++)
		packet[ICMP_HEADER + i] = (uint8_t) i;
	if (!v6)
		store(packet + 2, checksum(packet, ICMP_HEADER + payload), 2);
}

void
icmp_problem(bool v6, uint8_t type, uint8_t code, struct icmp_seen *seen)
{
	const struct problem *table = v6 ? problems6 : problems4;
	size_t count = v6 ? sizeof(problems6) / sizeof(problems6[0])
	                  : sizeof(problems4) / sizeof(problems4[0]);

	seen->error = ERROR_NONE;
	for (size_t i = 0; i < count; i++)
	{
		if (table[i].type != type || (table[i].code != code && table[i].code != ANY_CODE))
			continue;
		seen->error = table[i].error;
		seen->text = table[i].text;
		return;
	}
}

/* Identifier, sequence and token of an echo message behind its type and code. */
static void
read_echo(struct cursor *c, struct icmp_seen *seen)
{
	cursor_be16(c); /* checksum */
	seen->id = cursor_be16(c);
	seen->sequence = cursor_be16(c);
	seen->has_token = cursor_left(c) >= 8;
	if (seen->has_token)
		seen->token = cursor_be64(c);
}

/* Skips an IPv4 header; its destination and protocol. False when it is none, or of a later fragment. */
static bool
skip_header4(struct cursor *c, uint8_t destination[16], uint8_t *protocol)
{
	uint8_t first = cursor_u8(c);
	size_t header = (size_t) (first & 0x0f) * 4;
	uint16_t fragment;

	if (first >> 4 != 4 || header < 20)
		return false;
	cursor_skip(c, 5);
	fragment = cursor_be16(c);
	cursor_u8(c);
	*protocol = cursor_u8(c);
	cursor_skip(c, 6);
	memset(destination, 0, 16);
	cursor_copy(c, destination, 4);
	cursor_skip(c, header - 20);
	return !c->failed && (fragment & 0x1fff) == 0;
}

static bool
skip_header6(struct cursor *c, uint8_t destination[16], uint8_t *protocol)
{
	if (cursor_u8(c) >> 4 != 6)
		return false;
	cursor_skip(c, 5);
	*protocol = cursor_u8(c);
	cursor_skip(c, 1 + 16);
	cursor_copy(c, destination, 16);
	if (*protocol == PROTO_FRAGMENT6)
	{
		*protocol = cursor_u8(c);
		cursor_u8(c);
		if (cursor_be16(c) >> 3 != 0)
			return false;
		cursor_skip(c, 4);
	}
	return !c->failed;
}

/* The request inside an error message. */
static void
read_quoted(struct cursor *c, bool v6, struct icmp_seen *seen)
{
	if (cursor_u8(c) != (v6 ? ECHO_REQUEST6 : ECHO_REQUEST4) || cursor_u8(c) != 0)
		return;
	read_echo(c, seen);
	if (!c->failed)
		seen->kind = ICMP_PROBLEM;
}

void
icmp_quoted_read(const uint8_t *data, size_t len, bool v6, struct icmp_seen *seen)
{
	struct cursor c;

	memset(seen, 0, sizeof(*seen));
	cursor_init(&c, data, len);
	read_quoted(&c, v6, seen);
}

void
icmp4_read(const uint8_t *data, size_t len, bool has_header, struct icmp_seen *seen)
{
	struct cursor c;
	uint8_t type, code, protocol;

	memset(seen, 0, sizeof(*seen));
	cursor_init(&c, data, len);
	if (has_header && (!skip_header4(&c, seen->destination, &protocol) || protocol != PROTO_ICMP))
		return;
	type = cursor_u8(&c);
	code = cursor_u8(&c);
	if (type == ECHO_REPLY4)
	{
		read_echo(&c, seen);
		if (!c.failed)
			seen->kind = ICMP_REPLY;
		return;
	}
	icmp_problem(false, type, code, seen);
	if (seen->error == ERROR_NONE)
		return;
	cursor_skip(&c, 4); /* checksum, unused */
	seen->mtu = cursor_be16(&c);
	if (type != UNREACHABLE4 || code != 4)
		seen->mtu = 0;
	if (skip_header4(&c, seen->destination, &protocol) && protocol == PROTO_ICMP)
		read_quoted(&c, false, seen);
}

void
icmp6_read(const uint8_t *data, size_t len, struct icmp_seen *seen)
{
	struct cursor c;
	uint8_t type, code, protocol;

	memset(seen, 0, sizeof(*seen));
	cursor_init(&c, data, len);
	type = cursor_u8(&c);
	code = cursor_u8(&c);
	if (type == ECHO_REPLY6)
	{
		read_echo(&c, seen);
		if (!c.failed)
			seen->kind = ICMP_REPLY;
		return;
	}
	icmp_problem(true, type, code, seen);
	if (seen->error == ERROR_NONE)
		return;
	cursor_skip(&c, 2);
	seen->mtu = cursor_be32(&c);
	if (type != TOO_BIG6)
		seen->mtu = 0;
	if (skip_header6(&c, seen->destination, &protocol) && protocol == PROTO_ICMP6)
		read_quoted(&c, true, seen);
}

bool
icmp_queued(struct msghdr *message, struct icmp_seen *seen, struct sockaddr_storage *from)
{
	memset(seen, 0, sizeof(*seen));
	memset(from, 0, sizeof(*from));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
	{
		bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
		bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
		size_t name = v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		struct sock_extended_err error;

		if ((!v4 && !v6) || c->cmsg_len < CMSG_LEN(sizeof(error)))
			continue;
		memcpy(&error, CMSG_DATA(c), sizeof(error));
		if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6)
			continue;
		icmp_problem(v6, error.ee_type, error.ee_code, seen);
		seen->os_error = (int) error.ee_errno;
		if (error.ee_errno == EMSGSIZE)
			seen->mtu = error.ee_info;
		if (c->cmsg_len >= CMSG_LEN(sizeof(error) + name))
			memcpy(from, CMSG_DATA(c) + sizeof(error), name);
		return seen->error != ERROR_NONE;
	}
	return false;
}

/* Headers below IP have an even number of bytes: none on a tunnel, 14 on Ethernet, more with tags. */
#define LINK_HEADER_MAX 32

bool
icmp_copy_read(const uint8_t *data, size_t len, bool v6,
               bool (*found)(const struct icmp_seen *seen, void *arg), void *arg)
{
	for (size_t at = 0; at <= LINK_HEADER_MAX && at < len; at += 2)
	{
		struct icmp_seen seen = {0};
		struct cursor c;
		uint8_t protocol = 0;
		bool ip;

		cursor_init(&c, data + at, len - at);
		ip = v6 ? skip_header6(&c, seen.destination, &protocol)
		        : skip_header4(&c, seen.destination, &protocol);
		if (!ip || protocol != (v6 ? PROTO_ICMP6 : PROTO_ICMP))
			continue;
		read_quoted(&c, v6, &seen);
		if (seen.kind == ICMP_PROBLEM && seen.has_token && found(&seen, arg))
			return true;
	}
	return false;
}
