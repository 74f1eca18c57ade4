/* SPDX-License-Identifier: PostgreSQL
 *
 * msg.h -- whole DNS messages: what a query is written as, what an answer is read into.
 *
 *      0  id | 2 flags QR Opcode AA TC RD RA Z AD CD RCODE | 4 questions | 6 answers
 *      8  authority records | 10 additional records | 12 question, records
 *
 * Every record is kept in the canonical form of RFC 4034 section 6.2 (owner and, for the
 * types listed there, the names in the data: uncompressed and in lower case), which is what
 * signatures are computed over. A message owns all memory of its records.
 */
#ifndef PCTL_AGENT_DNS_MSG_H
#define PCTL_AGENT_DNS_MSG_H

#include "agent/dns/name.h"

#define DNSMSG_RECORDS_MAX 1024
#define DNSMSG_POOL_MAX    (512 * 1024) /* bytes of uncompressed names and data */
#define DNSMSG_QUERY_MAX   (12 + DNS_NAME_MAX + 4 + 11)
#define DNSMSG_UDP_SIZE    1232 /* fits the smallest IPv6 MTU unfragmented (RFC 9715) */
#define DNSMSG_EDE_TEXT    128

#define DNS_CLASS_IN 1

#define DNS_TYPE_NS         2
#define DNS_TYPE_CNAME      5
#define DNS_TYPE_SOA        6
#define DNS_TYPE_PTR        12
#define DNS_TYPE_MX         15
#define DNS_TYPE_TXT        16
#define DNS_TYPE_DNAME      39
#define DNS_TYPE_OPT        41
#define DNS_TYPE_DS         43
#define DNS_TYPE_RRSIG      46
#define DNS_TYPE_NSEC       47
#define DNS_TYPE_DNSKEY     48
#define DNS_TYPE_NSEC3      50
#define DNS_TYPE_NSEC3PARAM 51
#define DNS_TYPE_ANY        255

#define DNS_RCODE_NOERROR  0
#define DNS_RCODE_FORMERR  1
#define DNS_RCODE_SERVFAIL 2
#define DNS_RCODE_NXDOMAIN 3
#define DNS_RCODE_NOTIMP   4
#define DNS_RCODE_REFUSED  5

#define DNS_FLAG_QR 0x8000
#define DNS_FLAG_AA 0x0400
#define DNS_FLAG_TC 0x0200
#define DNS_FLAG_RD 0x0100
#define DNS_FLAG_RA 0x0080
#define DNS_FLAG_AD 0x0020
#define DNS_FLAG_CD 0x0010

enum dns_section
{
	DNS_ANSWER,
	DNS_AUTHORITY,
	DNS_ADDITIONAL,
	DNS_DROPPED /* was in a section, and is not to be believed */
};

struct dns_rr
{
	const uint8_t *owner, *rdata;
	uint32_t ttl;
	uint16_t type, class, rdlen;
	uint8_t section; /* enum dns_section */
};

struct dnsmsg
{
	uint16_t id, flags;
	unsigned rcode; /* with the upper bits of EDNS */
	struct dns_name qname;
	uint16_t qtype, qclass;
	bool edns;
	int ede; /* extended error (RFC 8914), -1: none */
	char ede_text[DNSMSG_EDE_TEXT];
	size_t count;
	struct dns_rr *rrs;
	uint8_t *pool;
};

/* Length of the query in buf, which has room for DNSMSG_QUERY_MAX bytes. flags: RD and CD; dnssec
 * sets the DO bit. */
size_t dnsmsg_query(uint8_t *buf, uint16_t id, const uint8_t *name, uint16_t type, uint16_t flags,
                    bool dnssec);

/* False for anything that is not one well-formed message with one question, to its last
 * byte; msg is empty then. reason says what is wrong. */
bool dnsmsg_parse(struct dnsmsg *msg, const uint8_t *data, size_t len, const char **reason);
void dnsmsg_free(struct dnsmsg *msg);

/* Whether a message answers this question: its first 12 bytes and the question alone are
 * looked at, so that a stranger's datagram costs nothing. */
bool dnsmsg_matches(const uint8_t *data, size_t len, uint16_t id, const uint8_t *name,
                    uint16_t type);

/* The first record of a section with this owner and type, from index *at on; NULL at the end. owner may
 * be NULL. *at is the index behind it. */
const struct dns_rr *dnsmsg_next(const struct dnsmsg *msg, enum dns_section section,
                                 const uint8_t *owner, uint16_t type, size_t *at);

/* "A", "TYPE65280". Returns buf. */
const char *dns_type_text(uint16_t type, char *buf, size_t len);
/* 0: no such type. Takes TYPEnnn as well. */
uint16_t dns_type_parse(const char *text);
/* "NXDOMAIN", "RCODE23". Returns buf. */
const char *dns_rcode_text(unsigned rcode, char *buf, size_t len);
/* -1: no such code. */
int dns_rcode_parse(const char *text);
/* The data of a record as a zone file has it. Returns buf. */
const char *dns_rdata_text(const struct dns_rr *rr, char *buf, size_t len);
/* The words RFC 8914 and its registry have for a code. */
const char *dns_ede_name(int code);

#endif
