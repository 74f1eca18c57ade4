/* SPDX-License-Identifier: PostgreSQL
 *
 * denial.h -- what verified NSEC and NSEC3 records prove not to exist.
 *
 * A set holds the records of one message that were verified with one zone's keys; proofs are
 * drawn from it and from nothing else. (RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840
 * section 4, RFC 9276 section 3.2)
 */
#ifndef PCTL_AGENT_DNS_DENIAL_H
#define PCTL_AGENT_DNS_DENIAL_H

#include "agent/dns/crypt.h"
#include "agent/dns/msg.h"

#define DENIAL_RECORDS_MAX 32 /* of one message; a proof needs three */
#define DENIAL_ITERATIONS_MAX                                                                      \
	150 /* above: insecure (RFC 9276 section 3.2 lets a validator do so) */

enum denial
{
	DENIAL_NONE,       /* nothing is proven */
	DENIAL_NODATA,     /* the name exists, the type does not */
	DENIAL_NXDOMAIN,   /* neither the name nor a wildcard that would make it */
	DENIAL_DELEGATION, /* no DS at a delegation: what is below is unsigned */
	DENIAL_OPT_OUT,    /* an unsigned delegation may be there (RFC 5155 section 6) */
	DENIAL_ITERATIONS  /* NSEC3 with more iterations than are computed here */
};

struct denial_nsec3
{
	uint8_t owner[CRYPT_NSEC3_LEN], next[CRYPT_NSEC3_LEN];
	const struct dns_rr *rr;
	const uint8_t *bitmap;
	size_t bitmap_len;
	bool opt_out;
};

struct denial_set
{
	const uint8_t *zone;
	size_t nsec_count, nsec3_count;
	const struct dns_rr *nsec[DENIAL_RECORDS_MAX];
	struct denial_nsec3 nsec3[DENIAL_RECORDS_MAX];
	const uint8_t *salt; /* of the first NSEC3; others do not take part */
	size_t salt_len;
	unsigned iterations;
	uint64_t *work; /* SHA-1 blocks that may still be computed in this run */
};

void denial_init(struct denial_set *set, const uint8_t *zone, uint64_t *work);

/* Adds a verified NSEC or NSEC3; what has a form that cannot take part is passed over. */
void denial_add(struct denial_set *set, const struct dns_rr *rr);

/* No record of this type at name. DENIAL_DELEGATION only for a DS. */
enum denial denial_nodata(struct denial_set *set, const uint8_t *name, uint16_t type);

enum denial denial_nxdomain(struct denial_set *set, const uint8_t *name);

/* An answer was made from the wildcard below the last labels of name: DENIAL_NXDOMAIN when nothing
 * closer to name exists. */
enum denial denial_wildcard(struct denial_set *set, const uint8_t *name, unsigned labels);

/* Whether the bitmap of RFC 4034 section 4.1.2 has a type. */
bool denial_has_type(const uint8_t *bitmap, size_t len, uint16_t type);

#endif
