/* SPDX-License-Identifier: PostgreSQL
 *
 * anchor.h -- where trust and walks begin: trust anchors and root hints.
 *
 * Both come from text as zone files have it, so that what the root's operators publish, and what
 * other resolvers are configured with, can be used as it is. Compiled in are the
 * two keys of the root and the addresses of its servers; the latter are used in trace mode only.
 */
#ifndef PCTL_AGENT_DNS_ANCHOR_H
#define PCTL_AGENT_DNS_ANCHOR_H

#include "agent/dns/msg.h"
#include "agent/resolver.h"

#define ANCHORS_MAX     32
#define ANCHOR_DATA_MAX 1100
#define HINTS_MAX       32
#define ANCHOR_FILE_MAX (1024 * 1024)

struct anchor
{
	struct dns_name zone;
	uint16_t type; /* DS or DNSKEY */
	uint16_t rdlen;
	uint8_t rdata[ANCHOR_DATA_MAX];
};

struct anchors
{
	size_t count;
	struct anchor list[ANCHORS_MAX];
};

struct hint
{
	char name[64];                   /* of the server, may be empty */
	struct resolver_address address; /* port 0 unless one was given */
};

struct hints
{
	size_t count;
	struct hint list[HINTS_MAX];
};

/* DS and DNSKEY records, one a line or in parentheses; other records are refused, revoked keys and
 * keys without the zone flag passed over. False with a sentence in err. */
bool anchors_parse(struct anchors *anchors, const char *text, char *err, size_t errlen);

/* A file of such records. */
bool anchors_load(struct anchors *anchors, const char *path, char *err, size_t errlen);

/* KSK-2017 and KSK-2024 of the root (IANA). */
void anchors_default(struct anchors *anchors);

/* "192.0.2.1", "[2001:db8::1]:5353" and so on, with commas between. */
bool hints_parse(struct hints *hints, const char *text, char *err, size_t errlen);

/* A file of NS, A and AAAA records, as named.root is. */
bool hints_load(struct hints *hints, const char *path, char *err, size_t errlen);
void hints_default(struct hints *hints);

#endif
