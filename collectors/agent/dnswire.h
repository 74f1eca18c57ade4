/* SPDX-License-Identifier: PostgreSQL
 *
 * dnswire.h -- DNS messages as a stub resolver needs them (RFC 1035).
 *
 * Bytes in, addresses out; no socket and no clock, so that the same code is unit-tested,
 * fuzzed and shipped. Names are kept in wire form in lower case: text would have to
 * escape dots inside labels before two names could be compared.
 */
#ifndef PCTL_AGENT_DNSWIRE_H
#define PCTL_AGENT_DNSWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_TYPE_A        1
#define DNS_TYPE_AAAA     28
#define DNS_NAME_MAX      255 /* wire form, with the root label */
#define DNS_QUERY_MAX     (12 + DNS_NAME_MAX + 4)
#define DNS_ADDRESSES_MAX 16
#define DNS_CHAIN_MAX     16  /* CNAMEs followed inside one answer */
#define DNS_RECORDS_MAX   512 /* looked at in one section */
#define DNS_TTL_MAX       86400
#define DNS_NEGATIVE_MAX  300 /* seconds an absence is believed, at most */

struct dns_name
{
	uint8_t bytes[DNS_NAME_MAX];
	size_t len;
};

enum dns_verdict
{
	DNS_FOREIGN,   /* not the answer to this question: keep waiting */
	DNS_MALFORMED, /* the answer, but broken */
	DNS_TRUNCATED, /* ask again over TCP */
	DNS_ADDRESSES, /* at least one address */
	DNS_NODATA,    /* the name exists, without an address of this type */
	DNS_NXDOMAIN,
	DNS_SERVFAIL /* any other response code: this server does not answer the question */
};

struct dns_answer
{
	enum dns_verdict verdict;
	unsigned rcode;
	uint32_t ttl; /* seconds; 0: do not keep */
	size_t count;
	uint8_t addresses[DNS_ADDRESSES_MAX][16]; /* 4 bytes used for A */
};

/* "www.example.net" or with a final dot. False, and an empty name, when it cannot be a DNS
 * name. */
bool dns_name_parse(const char *text, struct dns_name *name);

/* Length of the query written to buf, which has room for DNS_QUERY_MAX bytes. */
size_t dns_query_write(uint8_t *buf, uint16_t id, const struct dns_name *name, uint16_t type);

/* Reads what a server sent. Never fails otherwise than by the verdict. */
void dns_answer_read(const uint8_t *data, size_t len, uint16_t id, const struct dns_name *name,
                     uint16_t type, struct dns_answer *answer);

#endif
