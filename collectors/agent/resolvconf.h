/* SPDX-License-Identifier: PostgreSQL
 *
 * resolvconf.h -- what the hosts file and resolv.conf say.
 *
 * Parsers of text, separate from the resolver that asks: hosts(5) and resolv.conf(5) with the
 * options a stub resolver honours. Lines that make no sense are passed over, as everybody does.
 */
#ifndef PCTL_AGENT_RESOLVCONF_H
#define PCTL_AGENT_RESOLVCONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/resolver.h"

#define RESOLVCONF_SERVERS_MAX  3
#define RESOLVCONF_SEARCH_MAX   6
#define RESOLVCONF_NDOTS_MAX    15
#define RESOLVCONF_TIMEOUT_MAX  30
#define RESOLVCONF_ATTEMPTS_MAX 5
#define RESOLVCONF_FILE_MAX     (1024 * 1024)

struct resolvconf
{
	size_t server_count;
	struct resolver_address servers[RESOLVCONF_SERVERS_MAX];
	size_t search_count;
	char search[RESOLVCONF_SEARCH_MAX][256];
	unsigned ndots;    /* a name with fewer dots is tried in the search list first */
	unsigned timeout;  /* seconds for one server */
	unsigned attempts; /* rounds over the servers */
	bool rotate;       /* each query begins at another server */
};

/* text need not end in a newline. Without a server line the server is 127.0.0.1. */
void resolvconf_parse(struct resolvconf *conf, const char *text, size_t len, uint16_t port);

/* One name of the hosts file, in lower case. */
struct hosts_entry
{
	struct resolver_address address;
	char *name;
};

struct hosts
{
	struct hosts_entry *entries;
	size_t count;
};

/* False when memory is out; hosts is empty then. */
bool hosts_parse(struct hosts *hosts, const char *text, size_t len);
void hosts_free(struct hosts *hosts);

#endif
