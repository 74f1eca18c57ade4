/* SPDX-License-Identifier: PostgreSQL
 *
 * walk.h -- from the root to the servers of a name, as a resolver goes, with every step kept.
 *
 * Sans I/O: the engine says which server to ask what, and is told what came. Referrals lead from
 * zone to zone; a server whose address did not come with the referral is looked up by the
 * walk itself, from the root. A server that does not answer for its zone is lame: the next one
 * is asked, and the hop says so. What was learned of a zone is kept for the next question.
 */
#ifndef PCTL_AGENT_DNS_WALK_H
#define PCTL_AGENT_DNS_WALK_H

#include "agent/dns/anchor.h"
#include "agent/dns/msg.h"
#include "agent/resolver.h"

#define WALK_HOPS_MAX      64  /* kept */
#define WALK_SENDS_MAX     200 /* questions to servers in one run */
#define WALK_REFERRALS_MAX 32  /* for one name; each is at least one label deeper */
#define WALK_DEPTH_MAX     6   /* a server's name needs a server's name needs ... */
#define WALK_SERVERS_MAX   32  /* addresses of one zone */
#define WALK_NAMES_MAX     16  /* names of servers of one zone */
#define WALK_ZONES_MAX     128

enum walk_outcome
{
	WALK_REFERRAL,
	WALK_ANSWER,
	WALK_NODATA,
	WALK_NXDOMAIN,
	WALK_LAME,  /* answered, but not for this zone */
	WALK_ERRED, /* with an error code */
	WALK_SILENT /* nothing, or nothing readable */
};

struct walk_hop
{
	struct dns_name zone; /* whose server was asked */
	char server[80];      /* its name, may be empty */
	struct resolver_address address;
	struct dns_name name; /* what was asked */
	uint16_t type;
	unsigned depth; /* 0: the question itself; more: a server's address */
	int64_t rtt;    /* nanoseconds, 0 when nothing came */
	enum walk_outcome outcome;
	char detail[120]; /* "example.net. (2 servers)", "REFUSED", ... */
};

enum walk_step
{
	WALK_SEND,
	WALK_DONE
};

struct walk_query
{
	const struct resolver_address *server;
	const uint8_t *name;
	uint16_t type;
};

struct walk_options
{
	const struct hints *hints; /* used until the end */
	enum resolver_family family;
	uint16_t port; /* of all servers, unless a hint has its own */
	unsigned seed; /* which of a zone's servers is asked first */
};

struct walk;

/* NULL when memory is out. */
struct walk *walk_new(const struct walk_options *options);
void walk_free(struct walk *w);

/* A new question; what is known of zones stays. keep_hops: its steps are part of the trace. */
void walk_begin(struct walk *w, const uint8_t *name, uint16_t type, bool keep_hops);

enum walk_step walk_step(struct walk *w, struct walk_query *query);

/* What came of a WALK_SEND. walk_give takes msg's memory over. */
void walk_give(struct walk *w, struct dnsmsg *msg, int64_t rtt);
void walk_fail(struct walk *w, enum error_type error, const char *text);

/* After WALK_DONE: the answer, whose memory is the caller's; false: error and text say why there is
 * none. Aliases are not followed; what a server says of names outside its zone is dropped. */
bool walk_take(struct walk *w, struct dnsmsg *msg, enum error_type *error, char *text, size_t len);

const struct walk_hop *walk_hops(const struct walk *w, size_t *count);
const char *walk_outcome_name(enum walk_outcome outcome);

#endif
