/* SPDX-License-Identifier: PostgreSQL
 *
 * resolver.h -- names to addresses on the event loop, without NSS.
 *
 * The agent is a static binary, so getaddrinfo (which loads NSS modules at run time) is not
 * available, and a blocking look-up would stop every other test. This is a stub resolver:
 * literal addresses, the hosts file, then the servers of resolv.conf over UDP and, when an
 * answer is truncated, TCP. Both files are read again when they change. Answers are kept for
 * their TTL, absent names for the TTL of their SOA, in a bounded cache.
 */
#ifndef PCTL_AGENT_RESOLVER_H
#define PCTL_AGENT_RESOLVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "agent/result.h"

#define RESOLVER_ADDRESSES_MAX 16
#define RESOLVER_MESSAGE_MAX   200

struct event_base;
struct resolver;
struct resolver_query;

enum resolver_family
{
	RESOLVER_ANY = 0, /* IPv6 first where there is a route for it, then IPv4 */
	RESOLVER_IPV4 = 4,
	RESOLVER_IPV6 = 6
};

struct resolver_address
{
	struct sockaddr_storage addr; /* port 0 */
	socklen_t len;
};

struct resolver_answer
{
	enum error_type error;              /* ERROR_NONE, ERROR_DNS_* or ERROR_LOCAL_FAULT */
	char message[RESOLVER_MESSAGE_MAX]; /* a sentence when error is set */
	size_t count;                       /* at least 1 when it is not */
	struct resolver_address addresses[RESOLVER_ADDRESSES_MAX];
};

/* Called exactly once a query, from the loop, never from inside resolver_resolve. The answer
 * is valid during the call; the query is gone when it is made. */
typedef void (*resolver_done)(const struct resolver_answer *answer, void *arg);

struct resolver_options
{
	const char *hosts_path;  /* NULL: /etc/hosts */
	const char *resolv_path; /* NULL: /etc/resolv.conf */
	uint16_t port;           /* 0: 53 */
};

/* options may be NULL. NULL when memory is out. A missing file is an empty one. */
struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options);

/* Abandons the queries that are left, without a call. */
void resolver_free(struct resolver *resolver);

/* NULL when memory is out. */
struct resolver_query *resolver_resolve(struct resolver *resolver, const char *name,
                                        enum resolver_family family, resolver_done done, void *arg);

/* Abandons a query: done is not called. */
void resolver_cancel(struct resolver_query *query);

/* "192.0.2.1", "2001:db8::1" or "fe80::1%eth0" to an address. False for anything else. */
bool resolver_literal(const char *text, struct resolver_address *address);

#endif
