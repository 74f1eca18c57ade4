/* SPDX-License-Identifier: PostgreSQL
 *
 * chainpriv.h -- what the parts of the engine share.
 *
 *   chain.c   follows an answer and draws the verdict
 *   trust.c   finds the zone a name belongs to, from a trust anchor down
 *   rrset.c   verifies one RRset with one zone's keys
 *
 * The engine is written as if every question were answered at once: a function that misses an
 * answer notes the question and returns TRUST_PENDING, and once it is there everything starts
 * again from the top. What was worked out is kept by name (cuts, zones, RRsets), so starting
 * again costs comparisons and no cryptography.
 */
#ifndef PCTL_AGENT_DNS_CHAINPRIV_H
#define PCTL_AGENT_DNS_CHAINPRIV_H

#include <sys/queue.h>

#include "agent/dns/chain.h"
#include "agent/dns/denial.h"

enum trust
{
	TRUST_SECURE,
	TRUST_INSECURE,
	TRUST_INDETERMINATE,
	TRUST_BOGUS,
	TRUST_PENDING
};

struct asked
{
	STAILQ_ENTRY(asked) entry;
	struct dns_name name;
	uint16_t type;
	bool given; /* msg is there, or error says why not */
	enum error_type error;
	char text[RESULT_ERROR_MAX];
	struct dnsmsg msg;
};

struct reason
{
	int ede;
	char text[200];
};

struct zone
{
	STAILQ_ENTRY(zone) entry;
	struct dns_name name;
	enum trust trust;
	const struct dnsmsg *keys; /* secure: the DNSKEYs of its answer section count */
	struct reason reason;
};

/* What is known of one name seen from the zone above it. */
struct cut
{
	STAILQ_ENTRY(cut) entry;
	struct dns_name name;
	enum cut_kind
	{
		CUT_ZONE,   /* a zone begins here; see zone */
		CUT_NONE,   /* none begins here */
		CUT_NO_NAME /* nor anywhere below */
	} kind;
	struct zone *zone;
};

struct checked
{
	STAILQ_ENTRY(checked) entry;
	const struct dns_rr *rr; /* the first of the RRset */
	const struct zone *zone;
	enum trust trust;
	unsigned labels;
	struct reason reason;
};

struct chain
{
	struct chain_options options;
	struct dns_name name;
	uint16_t type;
	STAILQ_HEAD(, asked) asked;
	STAILQ_HEAD(, zone) zones;
	STAILQ_HEAD(, cut) cuts;
	STAILQ_HEAD(, checked) checked;
	struct asked *wanted;
	uint64_t hashes; /* that may still be computed */
	bool out_of_memory;
	struct reason reason;  /* of the last trust that was not secure */
	enum error_type error; /* of the last question that failed */
	const char *error_text;
	struct chain_result result;
};

/* An RRset of one section of one message, and how it was signed. */
struct rrset
{
	const struct dnsmsg *msg;
	enum dns_section section;
	const uint8_t *owner;
	uint16_t type;
	unsigned labels; /* out: of the signature; fewer than the owner's: made from a wildcard */
};

/* Notes why. */
void chain_say(struct chain *c, int ede, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The answer to a question; NULL when it is still to come, or could not be had, as *trust says. */
const struct dnsmsg *chain_answer(struct chain *c, const uint8_t *name, uint16_t type,
                                  enum trust *trust);

/* Whether the server said that it cannot answer: nothing follows from that, and it is noted. */
bool chain_refused(struct chain *c, const struct dnsmsg *msg, const uint8_t *name,
                   const char *what);

/* rrset.c: with the keys of a secure zone. TRUST_SECURE or TRUST_BOGUS. */
enum trust rrset_verify(struct chain *c, struct rrset *set, const struct zone *zone);

/* One record's worth of it, for the DNSKEY set that anchors or DS name: with this key only. */
enum trust rrset_verify_key(struct chain *c, struct rrset *set, const uint8_t *zone,
                            const struct dns_rr *key);

/* Who signed it: the deepest name that may have; NULL without a signature. */
const uint8_t *rrset_signer(const struct rrset *set);

/* trust.c: the zone a name is in, from the nearest anchor down. *zone is set unless pending or
 * indeterminate. */
enum trust trust_zone(struct chain *c, const uint8_t *name, const struct zone **zone);

/* Of an RRset, whoever signed it. *zone is set when it is secure. */
enum trust trust_rrset(struct chain *c, struct rrset *set, const struct zone **zone);

/* Verifies what zone signed in the authority section, and collects the proofs in it; all: what it
 * did not sign makes the answer bogus. */
enum trust trust_denials(struct chain *c, const struct dnsmsg *msg, const struct zone *zone,
                         bool all, struct denial_set *denials);

#endif
