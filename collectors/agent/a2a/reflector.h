/* SPDX-License-Identifier: PostgreSQL
 *
 * reflector.h -- answers STAMP packets: the far end of an a2a test.
 *
 * One UDP socket. It answers packets that carry the token of a session it was told of, and packets from
 * prefixes it was told of; nobody else learns that it is there. An answer has the size of its request, goes where the request
 * came from, and there are at most so many a second, so it is of no use to who forges addresses. It counts the packets of each
 * sender (address, port, SSID) by itself: the stateful mode of RFC 8762, from which losses get a direction.
 */
#ifndef PCTL_AGENT_A2A_REFLECTOR_H
#define PCTL_AGENT_A2A_REFLECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "agent/a2a/wire.h"

#define REFLECTOR_SESSIONS_MAX 1024
#define REFLECTOR_PREFIXES_MAX 64

struct event_base;
struct reflector;

struct reflector_prefix
{
	int family;
	uint8_t address[16];
	unsigned bits;
};

/* "192.0.2.0/24, 2001:db8::/32": at most max of them; the number, or -1 with a sentence in err. An address alone is a prefix of
 * its full length. */
int reflector_prefixes_parse(const char *text, struct reflector_prefix *prefixes, size_t max,
                             char *err, size_t errlen);

/* "ADDRESS:PORT" or "[ADDRESS]:PORT" without names; port 0 lets the kernel choose. */
bool reflector_address_parse(const char *text, struct sockaddr_storage *addr, socklen_t *len,
                             char *err, size_t errlen);

/* rate: answers a second. NULL with a sentence in err when the address cannot be had. */
struct reflector *reflector_open(struct event_base *base, const struct sockaddr_storage *addr,
                                 socklen_t len, int64_t rate, char *err, size_t errlen);
void reflector_close(struct reflector *r); /* NULL is ignored */

uint16_t reflector_port(const struct reflector *r);
bool reflector_kernel_stamps(const struct reflector *r);

/* Takes the place of those before. */
void reflector_allow(struct reflector *r, const struct reflector_prefix *prefixes, size_t count);
void reflector_sessions(struct reflector *r, const uint8_t (*tokens)[A2A_TOKEN_BYTES],
                        size_t count);

/* Registers the rows of this module with lib/metrics. */
void reflector_metrics(void);

#endif
