/* SPDX-License-Identifier: PostgreSQL
 *
 * dns.h -- the parts of the dns canary.
 *
 *   name.c msg.c          names and messages
 *   xfer.c doh.c          one question to one server
 *   chain.c trust.c rrset.c denial.c crypt.c   from an answer to a trust anchor
 *   walk.c                from the root to an answer
 *   anchor.c              where both begin
 *   cmd.c run.c result.c  the canary
 *
 * A run asks what the engine wants to know: in resolver mode always the same server, in
 * trace mode those the walk leads to. The first question is the one that is measured.
 */
#ifndef PCTL_AGENT_DNS_DNS_H
#define PCTL_AGENT_DNS_DNS_H

#include "agent/dns/chain.h"
#include "agent/dns/walk.h"
#include "agent/dns/xfer.h"
#include "agent/http/tls.h"
#include "agent/http/url.h"
#include "agent/probe.h"
#include "agent/resolvconf.h"

#define DNS_PORT          53
#define DNS_PORT_DOT      853
#define DNS_PORT_DOH      443
#define DNS_EXPECT_MAX    16
#define DNS_ANSWERS_SHOWN 8
#define DNS_HOPS_SHOWN    16
#define DNS_PATH_DEFAULT  "/dns-query"
#define DNS_SERVERS_MAX   RESOLVER_ADDRESSES_MAX

struct dns_cmd
{
	struct dns_name name;
	char name_text[DNAME_TEXT_MAX];
	uint16_t type;
	enum xfer_transport transport;
	bool trace, dnssec;
	char host[256]; /* of the server; empty: those of resolv.conf */
	uint32_t port;
	char server_name[256]; /* in its certificate */
	char authority[300], path[HTTP_PATH_MAX];
	char ca_file[256];
	uint32_t tries;
	enum resolver_family family;
	int expect_rcode; /* -1: any that means an answer */
	bool expect_nxdomain;
	bool expect_all;
	char *expect; /* texts end to end, each with its zero */
	const char *expects[DNS_EXPECT_MAX];
	size_t expect_count;
	struct anchors *anchors; /* NULL without dnssec */
	struct hints *hints;     /* NULL but in trace mode */
};

struct canary_run
{
	struct probe probe;
	const struct dns_cmd *cmd;
	struct xfer_options options;
	struct chain *chain;
	struct walk *walk;
	size_t server, server_count;
	struct resolver_address servers[DNS_SERVERS_MAX];
	struct xfer *xfer;
	unsigned asked; /* questions of the engine so far */
	bool answered;  /* the first of them */
	int64_t asked_at, walk_sent_at;
	int64_t query_nano, connect_nano, tls_nano; /* of the first question */
	size_t bytes;
	bool truncated, http2;
	unsigned sent;
	struct tls_seen *seen;
};

/* cmd.c */
bool dns_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
void dns_cmd_free(void *cmd);
const char *dns_transport_name(enum xfer_transport transport);

/* result.c: the verdict on what the engine found; metrics and attributes of whatever was reached. */
void dns_judge(struct canary_run *run);
void dns_result(struct canary_run *run, struct result *result);

/* Whether an answer is the expected one: without regard to case, quotes and a final dot. */
bool dns_expected(const char *expected, const char *answer);

#endif
