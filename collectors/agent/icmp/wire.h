/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.h -- ICMP echo packets and the errors that quote them (RFC 792, 1812, 4443).
 *
 *      0  type | code | checksum        echo request: 8, or 128 for IPv6
 *      4  identifier | sequence
 *      8  token, 64 bits, then a fixed pattern
 *
 * The token is what a reply is matched by: the 16-bit fields are guessed easily and the identifier is
 * rewritten by ping sockets. Errors may quote no more than the first 8 bytes, so those fields are read too.
 */
#ifndef PCTL_AGENT_ICMP_WIRE_H
#define PCTL_AGENT_ICMP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "agent/result.h"

#define ICMP_HEADER      8
#define ICMP_PAYLOAD_MIN 8
#define ICMP_PAYLOAD_MAX 65000
/* Enough of a packet for everything that is read: outer header with options, ICMP header,
 * quoted header (IPv6 with a fragment header), ICMP header, token. */
#define ICMP_READ_MAX 256

enum icmp_kind
{
	ICMP_NOTHING, /* not for us, or broken */
	ICMP_REPLY,
	ICMP_PROBLEM /* an error message that quotes an echo request */
};

struct icmp_seen
{
	enum icmp_kind kind;
	uint16_t id, sequence;
	bool has_token;
	uint64_t token;
	uint8_t destination[16]; /* of the quoted packet, where there is one */
	/* ICMP_PROBLEM only */
	enum error_type error;
	const char *text; /* "network unreachable" */
	uint32_t mtu;     /* of the next hop, for a packet that is too big; else 0 */
	int os_error;     /* from the error queue only: the errno the kernel makes of it */
};

/* An echo request of ICMP_HEADER + payload bytes. The checksum is that of IPv4; for IPv6 the
 * kernel computes it over the pseudo-header. */
void icmp_request_write(uint8_t *packet, bool v6, uint16_t id, uint16_t sequence, uint64_t token,
                        size_t payload);

/* What a socket gave. has_header: the packet starts with its IPv4 header (raw sockets). */
void icmp4_read(const uint8_t *data, size_t len, bool has_header, struct icmp_seen *seen);
void icmp6_read(const uint8_t *data, size_t len, struct icmp_seen *seen);

/* Words and class of an error message; error is ERROR_NONE for what is not one. */
void icmp_problem(bool v6, uint8_t type, uint8_t code, struct icmp_seen *seen);

/* An echo request quoted by the kernel's error queue: it starts at its ICMP header. */
void icmp_quoted_read(const uint8_t *data, size_t len, bool v6, struct icmp_seen *seen);

/* Error, words and MTU of an ICMP error that the kernel put on a socket's error queue, and who sent it;
 * the quoted packet is in the message's data and not read here. False when the message is something else. */
bool icmp_queued(struct msghdr *message, struct icmp_seen *seen, struct sockaddr_storage *from);

/* The copy of a packet of ours that the kernel stamped: headers of unknown layers, IP, ICMP echo
 * request. Calls found with each place that looks like one, until that says it was it. */
bool icmp_copy_read(const uint8_t *data, size_t len, bool v6,
                    bool (*found)(const struct icmp_seen *seen, void *arg), void *arg);

#endif
