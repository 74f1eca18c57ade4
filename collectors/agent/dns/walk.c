/* SPDX-License-Identifier: PostgreSQL
 *
 * walk.c -- from the root to the servers of a name.
 *
 * There is a stack of tasks: the question at the bottom, and above it the servers whose
 * addresses are missing. A task holds the zone it has come to, and which of its servers it has tried.
 *
 *   ask a server of the zone -> referral: the deeper zone, and so on
 *                            -> answer, no data, no such name: the task is done
 *                            -> anything else: the next server
 *   no server left           -> look one up (a task on top), or the task has failed
 *
 * Every zone is strictly below the one before, no name is looked up twice in one stack, and all
 * questions are counted: the walk ends.
 */
#include "agent/dns/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/queue.h>

#include "agent/probe.h"

struct server
{
	struct resolver_address address;
	uint8_t ns; /* index of its name */
	bool down;  /* did not answer before */
};

struct deleg
{
	STAILQ_ENTRY(deleg) entry;
	struct dns_name zone;
	size_t name_count, server_count;
	struct dns_name names[WALK_NAMES_MAX];
	struct server servers[WALK_SERVERS_MAX];
};

struct task
{
	struct dns_name name;
	uint16_t type;
	struct deleg *at;
	uint32_t tried;        /* servers, by index */
	uint32_t looked_up[2]; /* names of servers: A, AAAA */
	size_t ns;             /* the name that the task on top looks up */
	unsigned referrals;
	size_t server; /* the one that is being asked */
};

struct walk
{
	struct walk_options options;
	STAILQ_HEAD(, deleg) delegs;
	size_t deleg_count;
	struct task stack[WALK_DEPTH_MAX];
	unsigned depth; /* tasks on the stack */
	unsigned sends;
	bool keep_hops;
	size_t hop_count;
	struct walk_hop hops[WALK_HOPS_MAX];
	struct dnsmsg answer; /* of the bottom task */
	bool answered;
	enum error_type error; /* the last reason for going on */
	char text[RESULT_ERROR_MAX];
};

static const char *const outcome_names[] = {
    [WALK_REFERRAL] = "referral",     [WALK_ANSWER] = "answer", [WALK_NODATA] = "no data",
    [WALK_NXDOMAIN] = "no such name", [WALK_LAME] = "lame",     [WALK_ERRED] = "error",
    [WALK_SILENT] = "no answer"};

const char *
walk_outcome_name(enum walk_outcome outcome)
{
	return outcome_names[outcome];
}

/* ---- zones ---- */

static struct deleg *
deleg_find(const struct walk *w, const uint8_t *zone)
{
	struct deleg *d;

	STAILQ_FOREACH(d, &w->delegs, entry)
	if (dname_equal(d->zone.bytes, zone))
		return d;
	return NULL;
}

/* The deepest known zone a question belongs to; of a DS that is the one above. */
static struct deleg *
deleg_above(const struct walk *w, const uint8_t *name, uint16_t type)
{
	struct deleg *d, *best = NULL;

	STAILQ_FOREACH(d, &w->delegs, entry)
	{
		if (!dname_under(name, d->zone.bytes) ||
		    (type == DNS_TYPE_DS && name[0] && dname_equal(name, d->zone.bytes)))
			continue;
		if (best == NULL || d->zone.len > best->zone.len)
			best = d;
	}
	return best;
}

static struct deleg *
deleg_add(struct walk *w, const uint8_t *zone)
{
	struct deleg *d;

	if (w->deleg_count == WALK_ZONES_MAX)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	dname_copy(&d->zone, zone);
	STAILQ_INSERT_TAIL(&w->delegs, d, entry);
	w->deleg_count++;
	return d;
}

static void
server_add(struct walk *w, struct deleg *d, size_t ns, const struct resolver_address *address,
           uint16_t port)
{
	struct server *server;

	for (size_t i = 0; i < d->server_count; i++)
		if (memcmp(&d->servers[i].address.addr, &address->addr, address->len) == 0)
			return;
	if (d->server_count == WALK_SERVERS_MAX)
		return;
	server = &d->servers[d->server_count++];
	server->address = *address;
	server->ns = (uint8_t) ns;
	if (port)
		probe_set_port(&server->address.addr, port);
}

/* An A or AAAA record as the address of a server. */
static void
server_add_rr(struct walk *w, struct deleg *d, size_t ns, const struct dns_rr *rr)
{
	struct resolver_address address = {0};
	struct sockaddr_in *in4 = (struct sockaddr_in *) &address.addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &address.addr;

	if (rr->type == DNS_TYPE_A)
	{
		in4->sin_family = AF_INET;
		memcpy(&in4->sin_addr, rr->rdata, 4);
		address.len = sizeof(*in4);
	}
	else
	{
		in6->sin6_family = AF_INET6;
		memcpy(&in6->sin6_addr, rr->rdata, 16);
		address.len = sizeof(*in6);
	}
	server_add(w, d, ns, &address, w->options.port);
}

static bool
add_hints(struct walk *w)
{
	static const uint8_t root[1] = {0};
	struct deleg *d = deleg_add(w, root);

	if (d == NULL)
		return false;
	for (size_t i = 0; i < w->options.hints->count; i++)
	{
		const struct hint *hint = &w->options.hints->list[i];
		const struct sockaddr_in *in4 = (const struct sockaddr_in *) &hint->address.addr;
		size_t ns = 0;
		struct dns_name name = {.len = 1};

		if (hint->name[0])
			dname_parse(hint->name, &name);
		while (ns < d->name_count && !dname_equal(d->names[ns].bytes, name.bytes))
			ns++;
		if (ns == WALK_NAMES_MAX)
			continue;
		if (ns == d->name_count)
			d->names[d->name_count++] = name;
		server_add(w, d, ns, &hint->address, in4->sin_port ? 0 : w->options.port);
	}
	return true;
}

struct walk *
walk_new(const struct walk_options *options)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->options = *options;
	w->answer.ede = -1;
	STAILQ_INIT(&w->delegs);
	if (!add_hints(w))
	{
		walk_free(w);
		return NULL;
	}
	return w;
}

void
walk_free(struct walk *w)
{
	if (w == NULL)
		return;
	while (!STAILQ_EMPTY(&w->delegs))
	{
		struct deleg *d = STAILQ_FIRST(&w->delegs);

		STAILQ_REMOVE_HEAD(&w->delegs, entry);
		free(d);
	}
	dnsmsg_free(&w->answer);
	free(w);
}

/* ---- tasks ---- */

static void
task_move(struct task *t, struct deleg *d)
{
	t->at = d;
	t->tried = 0;
	t->looked_up[0] = t->looked_up[1] = 0;
}

static bool
task_push(struct walk *w, const uint8_t *name, uint16_t type)
{
	struct task *t = &w->stack[w->depth];

	if (w->depth == WALK_DEPTH_MAX)
		return false;
	memset(t, 0, sizeof(*t));
	dname_copy(&t->name, name);
	t->type = type;
	task_move(t, deleg_above(w, name, type));
	w->depth++;
	return true;
}

void
walk_begin(struct walk *w, const uint8_t *name, uint16_t type, bool keep_hops)
{
	dnsmsg_free(&w->answer);
	w->answered = false;
	w->error = ERROR_NONE;
	w->depth = 0;
	w->keep_hops = keep_hops;
	task_push(w, name, type);
}

static void
say(struct walk *w, enum error_type error, const char *text)
{
	w->error = error;
	snprintf(w->text, sizeof(w->text), "%s", text);
}

static bool
family_fits(const struct walk *w, const struct resolver_address *address)
{
	return w->options.family == RESOLVER_ANY ||
	       (w->options.family == RESOLVER_IPV4) == (address->addr.ss_family == AF_INET);
}

/* IPv4 before IPv6, for a host without a route to the latter loses no time; those that were silent
 * before come last. Within each the first one is chosen by the seed. */
static bool
pick_server(const struct walk *w, struct task *t)
{
	const struct deleg *d = t->at;

	for (int rank = 0; rank < 4; rank++)
		for (size_t k = 0; k < d->server_count; k++)
		{
			size_t i = (k + w->options.seed) % d->server_count;
			const struct server *server = &d->servers[i];
			int its = (server->down ? 2 : 0) + (server->address.addr.ss_family == AF_INET6);

			if (its != rank || (t->tried & 1U << i) || !family_fits(w, &server->address))
				continue;
			t->server = i;
			return true;
		}
	return false;
}

static bool
on_stack(const struct walk *w, const uint8_t *name, uint16_t type)
{
	for (unsigned i = 0; i < w->depth; i++)
		if (w->stack[i].type == type && dname_equal(w->stack[i].name.bytes, name))
			return true;
	return false;
}

/* A server's address that is missing becomes a task of its own. */
static bool
look_up_server(struct walk *w, struct task *t)
{
	static const uint16_t types[2] = {DNS_TYPE_A, DNS_TYPE_AAAA};
	const struct deleg *d = t->at;

	for (unsigned f = 0; f < 2; f++)
		for (size_t i = 0; i < d->name_count; i++)
		{
			if ((t->looked_up[f] & 1U << i) || d->names[i].len <= 1 ||
			    w->options.family == (f ? RESOLVER_IPV4 : RESOLVER_IPV6))
				continue;
			t->looked_up[f] |= 1U << i;
			/* A name inside the zone can be had from the zone only. */
			if (dname_under(d->names[i].bytes, d->zone.bytes) ||
			    on_stack(w, d->names[i].bytes, types[f]))
				continue;
			t->ns = i;
			if (task_push(w, d->names[i].bytes, types[f]))
				return true;
		}
	return false;
}

/* The task on top has no server left. */
static void
task_failed(struct walk *w)
{
	const struct task *t = &w->stack[w->depth - 1];
	char zone[64], name[64], last[80];

	w->depth--;
	if (w->depth > 0)
		return; /* the one below tries its next server */
	snprintf(last, sizeof(last), "%.79s", w->text);
	dname_text(t->at->zone.bytes, zone, sizeof(zone));
	dname_text(t->name.bytes, name, sizeof(name));
	snprintf(w->text, sizeof(w->text), "no server of %s answers for %s%s%s", zone, name,
	         last[0] ? "; last: " : "", last);
	if (w->error == ERROR_NONE || w->error == ERROR_DNS_SERVFAIL)
		w->error = ERROR_DNS_LAME;
}

enum walk_step
walk_step(struct walk *w, struct walk_query *query)
{
	while (w->depth > 0)
	{
		struct task *t = &w->stack[w->depth - 1];

		if (w->sends >= WALK_SENDS_MAX)
		{
			say(w, ERROR_DNS_LAME, "the walk needs more questions than it may ask");
			w->depth = 0;
			break;
		}
		if (pick_server(w, t))
		{
			t->tried |= 1U << t->server;
			w->sends++;
			query->server = &t->at->servers[t->server].address;
			query->name = t->name.bytes;
			query->type = t->type;
			return WALK_SEND;
		}
		if (!look_up_server(w, t))
			task_failed(w);
	}
	return WALK_DONE;
}

/* ---- what came ---- */

static struct walk_hop *
hop_add(struct walk *w, const struct task *t, enum walk_outcome outcome, int64_t rtt)
{
	static struct walk_hop spare; /* where no more hops are kept */
	struct walk_hop *hop = &spare;
	const struct server *server = &t->at->servers[t->server];

	if (w->keep_hops && w->hop_count < WALK_HOPS_MAX)
		hop = &w->hops[w->hop_count++];
	hop->zone = t->at->zone;
	hop->name = t->name;
	hop->type = t->type;
	hop->depth = w->depth - 1;
	hop->address = server->address;
	hop->rtt = rtt;
	hop->outcome = outcome;
	hop->server[0] = hop->detail[0] = '\0';
	if (t->at->names[server->ns].len > 1)
		dname_text(t->at->names[server->ns].bytes, hop->server, sizeof(hop->server));
	return hop;
}

/* The zone a message refers to: below the one that was asked, at or above the name. */
static const uint8_t *
referred_zone(const struct task *t, const struct dnsmsg *msg)
{
	size_t at = 0;
	const struct dns_rr *rr;

	while ((rr = dnsmsg_next(msg, DNS_AUTHORITY, NULL, DNS_TYPE_NS, &at)))
		if (dname_under(t->name.bytes, rr->owner) && dname_under(rr->owner, t->at->zone.bytes) &&
		    !dname_equal(rr->owner, t->at->zone.bytes) &&
		    !(t->type == DNS_TYPE_DS && dname_equal(rr->owner, t->name.bytes)))
			return rr->owner;
	return NULL;
}

/* Addresses beside a referral count for names below the zone that sent it: it could speak of
 * others as it likes. */
static void
add_glue(struct walk *w, struct deleg *d, const struct dnsmsg *msg, const uint8_t *from)
{
	static const uint16_t types[2] = {DNS_TYPE_A, DNS_TYPE_AAAA};

	for (size_t i = 0; i < d->name_count; i++)
		for (int f = 0; f < 2; f++)
		{
			const struct dns_rr *rr;
			size_t at = 0;

			if (!dname_under(d->names[i].bytes, from))
				continue;
			while ((rr = dnsmsg_next(msg, DNS_ADDITIONAL, d->names[i].bytes, types[f], &at)))
				server_add_rr(w, d, i, rr);
		}
}

static void
take_referral(struct walk *w, struct task *t, const struct dnsmsg *msg, const uint8_t *zone,
              struct walk_hop *hop)
{
	struct deleg *d = deleg_find(w, zone);
	const struct dns_rr *rr;
	size_t at = 0;
	char text[80];

	if (d == NULL && (d = deleg_add(w, zone)))
	{
		while (d->name_count < WALK_NAMES_MAX &&
		       (rr = dnsmsg_next(msg, DNS_AUTHORITY, zone, DNS_TYPE_NS, &at)))
			dname_copy(&d->names[d->name_count++], rr->rdata);
		add_glue(w, d, msg, t->at->zone.bytes);
	}
	dname_text(zone, text, sizeof(text));
	if (d == NULL || ++t->referrals > WALK_REFERRALS_MAX)
	{
		say(w, ERROR_DNS_LAME, "more zones than the walk goes through");
		return;
	}
	snprintf(hop->detail, sizeof(hop->detail), "%s (%zu servers, %zu addresses)", text,
	         d->name_count, d->server_count);
	task_move(t, d);
}

/* Records outside the zone of the server that sent them are dropped. */
static void
scrub(struct dnsmsg *msg, const uint8_t *zone)
{
	for (size_t i = 0; i < msg->count; i++)
		if (!dname_under(msg->rrs[i].owner, zone))
			msg->rrs[i].section = DNS_DROPPED;
}

/* The addresses a look-up found, for the zone of the task below. */
static void
take_addresses(struct walk *w, const struct task *t, const struct dnsmsg *msg)
{
	struct task *below = &w->stack[w->depth - 2];
	const struct dns_rr *rr;
	size_t at = 0;

	while ((rr = dnsmsg_next(msg, DNS_ANSWER, t->name.bytes, t->type, &at)))
		server_add_rr(w, below->at, below->ns, rr);
}

static void
task_done(struct walk *w, struct task *t, struct dnsmsg *msg)
{
	scrub(msg, t->at->zone.bytes);
	if (w->depth > 1)
		take_addresses(w, t, msg);
	else
	{
		w->answer = *msg;
		w->answered = true;
		memset(msg, 0, sizeof(*msg));
		msg->ede = -1;
	}
	w->depth--;
}

static bool
has_answer(const struct task *t, const struct dnsmsg *msg)
{
	for (size_t i = 0; i < msg->count; i++)
		if (msg->rrs[i].section == DNS_ANSWER && msg->rrs[i].class == DNS_CLASS_IN)
			return dname_under(t->name.bytes, msg->rrs[i].owner);
	return false;
}

/* Says that there is nothing, and does not point elsewhere: a server that is not responsible
 * refuses, or refers upwards. */
static bool
denies(const struct dnsmsg *msg)
{
	size_t at = 0;

	return msg->rcode == DNS_RCODE_NXDOMAIN ||
	       dnsmsg_next(msg, DNS_AUTHORITY, NULL, DNS_TYPE_NS, &at) == NULL;
}

void
walk_give(struct walk *w, struct dnsmsg *msg, int64_t rtt)
{
	struct task *t = &w->stack[w->depth - 1];
	const uint8_t *zone = referred_zone(t, msg);
	/* A server that forgets the flag still is what it is; one that offers recursion is not. */
	bool authoritative = (msg->flags & DNS_FLAG_AA) ||
	                     (!(msg->flags & DNS_FLAG_RA) && (has_answer(t, msg) || denies(msg)));
	struct walk_hop *hop = hop_add(w, t, WALK_LAME, rtt);
	char rcode[24];

	t->at->servers[t->server].down = false;
	if (msg->rcode != DNS_RCODE_NOERROR && msg->rcode != DNS_RCODE_NXDOMAIN)
	{
		hop->outcome = WALK_ERRED;
		snprintf(hop->detail, sizeof(hop->detail), "%s",
		         dns_rcode_text(msg->rcode, rcode, sizeof(rcode)));
		say(w, ERROR_DNS_SERVFAIL, hop->detail);
	}
	else if (authoritative && msg->rcode == DNS_RCODE_NXDOMAIN)
		hop->outcome = WALK_NXDOMAIN;
	else if (authoritative && has_answer(t, msg))
		hop->outcome = WALK_ANSWER;
	else if (!authoritative && zone && msg->rcode == DNS_RCODE_NOERROR && !has_answer(t, msg))
	{
		hop->outcome = WALK_REFERRAL;
		take_referral(w, t, msg, zone, hop);
	}
	else if (authoritative && zone == NULL)
		hop->outcome = WALK_NODATA;
	else
	{
		snprintf(hop->detail, sizeof(hop->detail), "%s",
		         authoritative ? "refers below itself with authority"
		                       : "answers without authority");
		say(w, ERROR_DNS_LAME, hop->detail);
	}
	if (hop->outcome == WALK_ANSWER || hop->outcome == WALK_NODATA || hop->outcome == WALK_NXDOMAIN)
		task_done(w, t, msg);
	dnsmsg_free(msg);
}

void
walk_fail(struct walk *w, enum error_type error, const char *text)
{
	struct task *t = &w->stack[w->depth - 1];
	struct walk_hop *hop = hop_add(w, t, WALK_SILENT, 0);

	t->at->servers[t->server].down = true;
	snprintf(hop->detail, sizeof(hop->detail), "%.110s", text);
	say(w, error, text);
}

bool
walk_take(struct walk *w, struct dnsmsg *msg, enum error_type *error, char *text, size_t len)
{
	if (w->answered)
	{
		*msg = w->answer;
		memset(&w->answer, 0, sizeof(w->answer));
		w->answer.ede = -1;
		w->answered = false;
		return true;
	}
	*error = w->error != ERROR_NONE ? w->error : ERROR_DNS_LAME;
	snprintf(text, len, "%s", w->text[0] ? w->text : "the walk found no server");
	return false;
}

const struct walk_hop *
walk_hops(const struct walk *w, size_t *count)
{
	*count = w->hop_count;
	return w->hops;
}
