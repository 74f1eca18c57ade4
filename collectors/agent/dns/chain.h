/* SPDX-License-Identifier: PostgreSQL
 *
 * chain.h -- from a question to its answer, and from the answer to a trust anchor.
 *
 * Sans I/O: the engine says which question it needs answered next, whoever drives it asks a
 * server (run.c), a walk from the root (walk.h), a recorded scenario or a fuzzer. CNAME and DNAME
 * are followed; with validation every link is traced to a trust anchor and every denial proven.
 *
 *   secure         every link verified from an anchor on
 *   insecure       a signed zone proves that what is below it is not signed
 *   bogus          should verify, and does not
 *   indeterminate  no anchor covers the name, or what is needed could not be fetched
 */
#ifndef PCTL_AGENT_DNS_CHAIN_H
#define PCTL_AGENT_DNS_CHAIN_H

#include "agent/dns/anchor.h"
#include "agent/dns/crypt.h"
#include "agent/dns/msg.h"
#include "agent/result.h"

/* Ceilings. A hostile zone can ask for much work with few bytes (many keys of one tag, many
 * signatures, long chains of hashes); with these it costs milliseconds, and the name is bogus. */
#define CHAIN_LINKS_MAX     16     /* CNAMEs and DNAMEs */
#define CHAIN_QUESTIONS_MAX 96     /* asked in one run */
#define CHAIN_CHECKS_MAX    256    /* signatures checked in one run */
#define CHAIN_FAILURES_MAX  16     /* of one RRset */
#define CHAIN_HASHES_MAX    100000 /* SHA-1 blocks for NSEC3 in one run */

enum chain_verdict
{
	CHAIN_UNCHECKED,
	CHAIN_SECURE,
	CHAIN_INSECURE,
	CHAIN_BOGUS,
	CHAIN_INDETERMINATE
};

enum chain_step
{
	CHAIN_ASK,
	CHAIN_DONE
};

struct chain_result
{
	enum chain_verdict verdict;
	int ede;               /* the extended error that fits the verdict, -1: none */
	char reason[200];      /* of any verdict but secure */
	enum error_type error; /* a question could not be answered */
	char text[RESULT_ERROR_MAX];
	unsigned rcode;                    /* of the last message */
	unsigned links;                    /* CNAMEs and DNAMEs followed */
	struct dns_name final;             /* the name at the end of them */
	const struct dnsmsg *first, *last; /* NULL: none came */
	unsigned questions;
	unsigned checks; /* of signatures */
};

struct chain;

struct chain_options
{
	bool validate;
	bool chase;  /* ask on for a CNAME's target when the answer ends with the CNAME */
	int64_t now; /* seconds since 1970 */
	const struct crypt_ops *crypt; /* NULL: those of crypt.h */
	const struct anchors *anchors; /* used until the end */
};

/* NULL when memory is out. */
struct chain *chain_new(const struct chain_options *options, const uint8_t *name, uint16_t type);
void chain_free(struct chain *c);

/* CHAIN_ASK: the question in *name and *type, valid until the next call; answer it with chain_give
 * or chain_fail. */
enum chain_step chain_step(struct chain *c, const uint8_t **name, uint16_t *type);

/* Takes msg's memory over. */
void chain_give(struct chain *c, struct dnsmsg *msg);
void chain_fail(struct chain *c, enum error_type error, const char *text);

/* Once chain_step has said CHAIN_DONE; valid until chain_free. */
const struct chain_result *chain_result(const struct chain *c);

const char *chain_verdict_name(enum chain_verdict verdict);

#endif
