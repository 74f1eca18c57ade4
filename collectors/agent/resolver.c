/* SPDX-License-Identifier: PostgreSQL
 *
 * resolver.c -- names to addresses on the event loop, without NSS.
 *
 * A query goes through candidates (the name itself and the search list). For a candidate
 * there are two questions in flight, AAAA and A, each with its own socket: connected,
 * so that the kernel drops what another host sends and reports a closed port at once, and
 * bound by the kernel to a random port; with the random id that is what an off-path
 * answer would have to guess. A question goes round the servers until one answers.
 * The end of a query is always a timer, so that no caller is called back from its own call.
 */
#include "agent/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/dnscache.h"
#include "agent/dnswire.h"
#include "agent/probe.h"
#include "agent/resolvconf.h"
#include "lib/buf.h"
#include "lib/clock.h"

/* RFC 8305 section 3: how long the second family is waited for once the first has come. */
#define FAMILY_DELAY_MS 50
#define UDP_ANSWER_MAX  4096
#define TCP_ANSWER_MAX  (2 + 65535)

/* A file that is read again when it changes. */
struct watched
{
	const char *path;
	bool known;
	struct timespec mtime;
	off_t size;
	ino_t inode;
};

struct resolver
{
	struct event_base *base;
	char *hosts_path, *resolv_path;
	uint16_t port;
	struct watched hosts_file, resolv_file;
	struct hosts hosts;
	struct resolvconf conf;
	struct dnscache *cache;
	size_t turn; /* of the servers, when they take turns */
	LIST_HEAD(, resolver_query) queries;
};

enum question_state
{
	QUESTION_UNUSED,
	QUESTION_UDP,
	QUESTION_TCP_CONNECT,
	QUESTION_TCP_READ,
	QUESTION_DONE
};

struct question
{
	struct resolver_query *query;
	enum question_state state;
	uint16_t type, id;
	unsigned server, round;
	bool servfail;   /* a server answered that it cannot */
	int local_error; /* errno of a socket that could not be made, or of no way to any server */
	bool asked;      /* a server was sent the question */
	int refusal;     /* errno of what a host or a router said in place of an answer */
	int fd;
	struct event event;
	int64_t deadline;
	struct buf in; /* TCP only */
	struct dns_answer answer;
};

struct resolver_query
{
	struct resolver *resolver;
	LIST_ENTRY(resolver_query) entry;
	char name[256];
	enum resolver_family family;
	resolver_done done;
	void *arg;
	struct event timer;
	bool ready; /* answer is complete */
	size_t candidate;
	size_t first; /* the server it begins at */
	struct dns_name wire;
	bool saw_servfail, saw_nodata;
	struct question questions[2]; /* AAAA, A */
	struct resolver_answer answer;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);
static void question_send(struct question *q);

/* ---- files ---- */

/* The content of a file when it is new or has changed, else NULL. A file that is gone is an empty one. */
static char *
watched_read(struct watched *file, size_t *len)
{
	struct stat st = {0};
	char *text;
	FILE *in;

	if (stat(file->path, &st) != 0)
		memset(&st, 0, sizeof(st));
	if (file->known && st.st_mtim.tv_sec == file->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == file->mtime.tv_nsec && st.st_size == file->size &&
	    st.st_ino == file->inode)
		return NULL;
	text = malloc(RESOLVCONF_FILE_MAX);
	if (text == NULL)
		return NULL;
	file->known = true;
	file->mtime = st.st_mtim;
	file->size = st.st_size;
	file->inode = st.st_ino;
	*len = 0;
	in = fopen(file->path, "re");
	if (in)
	{
		*len = fread(text, 1, RESOLVCONF_FILE_MAX, in);
		fclose(in);
	}
	return text;
}

static void
reload(struct resolver *resolver)
{
	size_t len;
	char *text = watched_read(&resolver->hosts_file, &len);

	if (text)
	{
		hosts_free(&resolver->hosts);
		if (!hosts_parse(&resolver->hosts, text, len))
			resolver->hosts_file.known = false; /* try again at the next query */
		free(text);
	}
	text = watched_read(&resolver->resolv_file, &len);
	if (text)
		resolvconf_parse(&resolver->conf, text, len, resolver->port);
	free(text);
}

struct resolver *
resolver_new(struct event_base *base, const struct resolver_options *options)
{
	static const struct resolver_options none;
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (resolver == NULL)
		return NULL;
	if (options == NULL)
		options = &none;
	resolver->base = base;
	resolver->port = options->port ? options->port : 53;
	resolver->hosts_path = strdup(options->hosts_path ? options->hosts_path : "/etc/hosts");
	resolver->resolv_path = strdup(options->resolv_path ? options->resolv_path
	                                                    : "/etc/resolv.conf");
	resolver->cache = dnscache_new();
	if (!resolver->hosts_path || !resolver->resolv_path || !resolver->cache)
	{
		resolver_free(resolver);
		return NULL;
	}
	resolver->hosts_file.path = resolver->hosts_path;
	resolver->resolv_file.path = resolver->resolv_path;
	resolvconf_parse(&resolver->conf, "", 0, resolver->port);
	return resolver;
}

void
resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	while (!LIST_EMPTY(&resolver->queries))
		resolver_cancel(LIST_FIRST(&resolver->queries));
	hosts_free(&resolver->hosts);
	dnscache_free(resolver->cache);
	free(resolver->hosts_path);
	free(resolver->resolv_path);
	free(resolver);
}

bool
resolver_literal(const char *text, struct resolver_address *address)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *) &address->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &address->addr;
	const char *zone = strchr(text, '%');
	char bare[INET6_ADDRSTRLEN];
	char *end;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1)
	{
		in4->sin_family = AF_INET;
		address->len = sizeof(*in4);
		return true;
	}
	if (strlen(text) - (zone ? strlen(zone) : 0) >= sizeof(bare))
		return false;
	snprintf(bare, sizeof(bare), "%.*s", (int) strcspn(text, "%"), text);
	if (inet_pton(AF_INET6, bare, &in6->sin6_addr) != 1)
		return false;
	if (zone)
	{
		in6->sin6_scope_id = if_nametoindex(zone + 1);
		if (in6->sin6_scope_id == 0)
		{
			in6->sin6_scope_id = (uint32_t) strtoul(zone + 1, &end, 10);
			if (in6->sin6_scope_id == 0 || *end != '\0')
				return false;
		}
	}
	in6->sin6_family = AF_INET6;
	address->len = sizeof(*in6);
	return true;
}

/* ---- the answer of a query ---- */

static void
query_schedule(struct resolver_query *query, long ms)
{
	struct timeval tv = clock_timeval(ms * NANO_PER_MS);

	if (ms == 0) /* behind what runs now, without a turn of the loop for it */
		event_active(&query->timer, EV_TIMEOUT, 0);
	else
		evtimer_add(&query->timer, &tv);
}

static void
answer_fail(struct resolver_query *query, enum error_type error, const char *text)
{
	query->answer.error = error;
	query->answer.count = 0;
	snprintf(query->answer.message, sizeof(query->answer.message), "%.120s: %s", query->name, text);
	query->ready = true;
}

static void
answer_add(struct resolver_query *query, const struct resolver_address *address)
{
	int family = address->addr.ss_family;

	if (query->answer.count == RESOLVER_ADDRESSES_MAX ||
	    (query->family == RESOLVER_IPV4 && family != AF_INET) ||
	    (query->family == RESOLVER_IPV6 && family != AF_INET6))
		return;
	query->answer.addresses[query->answer.count++] = *address;
}

/* A datagram socket is connected without a packet: the kernel only looks for a route. */
static bool
has_route(const struct resolver_address *address)
{
	struct sockaddr_storage to = address->addr;
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	if (fd < 0)
		return false;
	probe_set_port(&to, 53);
	found = connect(fd, (struct sockaddr *) &to, address->len) == 0;
	close(fd);
	return found;
}

/* IPv6 addresses with a route, IPv4, IPv6 without one; in each the order of the server. */
static void
answer_sort(struct resolver_answer *answer)
{
	struct resolver_address sorted[RESOLVER_ADDRESSES_MAX];
	int rank[RESOLVER_ADDRESSES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < answer->count; i++)
		rank[i] = answer->addresses[i].addr.ss_family == AF_INET ? 1
		          : has_route(&answer->addresses[i])             ? 0
		                                                         : 2;
	for (int r = 0; r <= 2; r++)
		for (size_t i = 0; i < answer->count; i++)
			if (rank[i] == r)
				sorted[n++] = answer->addresses[i];
	memcpy(answer->addresses, sorted, n * sizeof(sorted[0]));
}

static bool
answer_from_hosts(struct resolver_query *query)
{
	const struct hosts *hosts = &query->resolver->hosts;
	size_t len = strlen(query->name);
	struct resolver_address address;

	for (size_t i = 0; i < hosts->count; i++)
		if (strcasecmp(hosts->entries[i].name, query->name) == 0)
			answer_add(query, &hosts->entries[i].address);
	/* RFC 6761 section 6.3: localhost never goes to a server. */
	if (query->answer.count == 0 &&
	    (strcasecmp(query->name, "localhost") == 0 ||
	     (len > 10 && strcasecmp(query->name + len - 10, ".localhost") == 0)))
	{
		if (resolver_literal("::1", &address))
			answer_add(query, &address);
		if (resolver_literal("127.0.0.1", &address))
			answer_add(query, &address);
	}
	return query->answer.count > 0;
}

/* ---- one question ---- */

static void
question_close(struct question *q)
{
	if (q->fd >= 0)
	{
		event_del(&q->event);
		close(q->fd);
		q->fd = -1;
	}
	buf_free(&q->in);
}

static bool
question_pending(const struct question *q)
{
	return q->state != QUESTION_UNUSED && q->state != QUESTION_DONE;
}

/* The question has its answer, or never will. */
static void
question_end(struct question *q)
{
	struct resolver_query *query = q->query;
	bool pending = false;

	question_close(q);
	q->state = QUESTION_DONE;
	for (int i = 0; i < 2; i++)
		pending |= question_pending(&query->questions[i]);
	if (!pending)
		query_schedule(query, 0);
	else if (q->answer.verdict == DNS_ADDRESSES)
		query_schedule(query, FAMILY_DELAY_MS);
}

/* resolv.conf always names one; it may have been read again since the question began. */
static const struct resolver_address *
question_server(const struct question *q)
{
	const struct resolvconf *conf = &q->query->resolver->conf;

	return &conf->servers[(q->query->first + q->server) % conf->server_count];
}

/* The next server, and after the last one the first again, as often as resolv.conf says. */
static bool
question_advance(struct question *q)
{
	const struct resolvconf *conf = &q->query->resolver->conf;

	question_close(q);
	if (++q->server >= conf->server_count)
	{
		q->server = 0;
		q->round++;
	}
	return q->round < conf->attempts;
}

static void
question_next(struct question *q)
{
	if (question_advance(q))
		question_send(q);
	else
	{
		q->answer.verdict = q->servfail ? DNS_SERVFAIL : DNS_FOREIGN; /* foreign: nobody answered */
		question_end(q);
	}
}

static void
question_wait(struct question *q, short what)
{
	int64_t left = q->deadline - probe_now();
	struct timeval tv;

	tv = clock_timeval(left > 0 ? left : 0);
	event_del(&q->event);
	event_assign(&q->event, q->query->resolver->base, q->fd, what, event_get_callback(&q->event),
	             q);
	event_add(&q->event, &tv);
}

static void
question_tcp(struct question *q)
{
	const struct resolver_address *server = question_server(q);

	question_close(q);
	q->fd = socket(server->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (q->fd < 0 || (connect(q->fd, (const struct sockaddr *) &server->addr, server->len) != 0 &&
	                  errno != EINPROGRESS))
	{
		question_next(q);
		return;
	}
	q->state = QUESTION_TCP_CONNECT;
	buf_init(&q->in, TCP_ANSWER_MAX);
	question_wait(q, EV_WRITE);
}

/* What came from the server that was asked. */
static void
question_answer(struct question *q, const uint8_t *data, size_t len)
{
	struct resolver_query *query = q->query;
	bool tcp = q->state != QUESTION_UDP;

	dns_answer_read(data, len, q->id, &query->wire, q->type, &q->answer);
	switch (q->answer.verdict)
	{
		case DNS_FOREIGN:
			if (tcp)
				question_next(q);
			else
				question_wait(q, EV_READ);
			break;
		case DNS_TRUNCATED:
			if (tcp)
				question_next(q);
			else
				question_tcp(q);
			break;
		case DNS_MALFORMED:
		case DNS_SERVFAIL:
			q->servfail = true;
			question_next(q);
			break;
		default:
			dnscache_put(query->resolver->cache, &query->wire, q->type, &q->answer,
			             probe_now() / 1000000000);
			question_end(q);
	}
}

static void
question_tcp_write(struct question *q)
{
	uint8_t message[2 + DNS_QUERY_MAX];
	size_t len = dns_query_write(message + 2, q->id, &q->query->wire, q->type);

	message[0] = (uint8_t) (len >> 8);
	message[1] = (uint8_t) len;
	/* A fresh connection's send buffer takes 273 bytes whole, or the connect has failed. */
	if (send(q->fd, message, len + 2, MSG_NOSIGNAL) != (ssize_t) (len + 2))
	{
		question_next(q);
		return;
	}
	q->state = QUESTION_TCP_READ;
	question_wait(q, EV_READ);
}

static void
question_tcp_read(struct question *q)
{
	size_t most = TCP_ANSWER_MAX - q->in.len < 4096 ? TCP_ANSWER_MAX - q->in.len : 4096;
	uint8_t *room = buf_room(&q->in, most);
	struct cursor c;
	uint16_t len;
	ssize_t n;

	if (room == NULL)
	{
		question_next(q);
		return;
	}
	n = recv(q->fd, room, most, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
	{
		question_wait(q, EV_READ);
		return;
	}
	if (n <= 0)
	{
		question_next(q);
		return;
	}
	buf_added(&q->in, (size_t) n);
	cursor_init(&c, q->in.data, q->in.len);
	len = cursor_be16(&c);
	if (c.failed || cursor_left(&c) < len)
		question_wait(q, EV_READ);
	else
		question_answer(q, cursor_take(&c, len), len);
}

static void
on_question(evutil_socket_t fd, short what, void *arg)
{
	struct question *q = arg;
	uint8_t data[UDP_ANSWER_MAX];
	ssize_t n;

	if (what & EV_TIMEOUT)
		question_next(q);
	else if (q->state == QUESTION_TCP_CONNECT)
		question_tcp_write(q);
	else if (q->state == QUESTION_TCP_READ)
		question_tcp_read(q);
	else
	{
		n = recv(fd, data, sizeof(data), 0);
		if (n >= 0)
			question_answer(q, data, (size_t) n);
		else if (errno == EAGAIN || errno == EINTR)
			question_wait(q, EV_READ);
		else
		{
			q->refusal = errno;
			question_next(q);
		}
	}
}

/* Sends the question to its server; servers that cannot be reached are passed over here. */
static void
question_send(struct question *q)
{
	struct resolver *resolver = q->query->resolver;
	uint8_t message[DNS_QUERY_MAX];
	size_t len;

	do
	{
		const struct resolver_address *server = question_server(q);

		/* Without random numbers there is no safe question. */
		if (getrandom(&q->id, sizeof(q->id), 0) != (ssize_t) sizeof(q->id))
			continue;
		len = dns_query_write(message, q->id, &q->query->wire, q->type);
		q->fd = socket(server->addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (q->fd < 0)
		{
			q->local_error = errno;
			continue;
		}
		/* A router that says "unreachable" is believed as a closed port is: the next server is asked. */
		probe_icmp_keep(q->fd, server->addr.ss_family, true);
		event_assign(&q->event, resolver->base, q->fd, EV_READ, on_question, q);
		if (connect(q->fd, (const struct sockaddr *) &server->addr, server->len) != 0)
		{
			if (errno == ENETUNREACH || errno == ENETDOWN)
				q->local_error = errno;
			continue;
		}
		if (send(q->fd, message, len, 0) != (ssize_t) len)
			continue;
		q->asked = true;
		q->state = QUESTION_UDP;
		q->deadline = probe_now() + (int64_t) resolver->conf.timeout * 1000000000;
		question_wait(q, EV_READ);
		return;
	} while (question_advance(q));
	q->answer.verdict = q->servfail ? DNS_SERVFAIL : DNS_FOREIGN;
	question_end(q);
}

static void
question_start(struct question *q, uint16_t type)
{
	struct resolver *resolver = q->query->resolver;

	q->type = type;
	q->server = q->round = 0;
	q->servfail = false;
	q->local_error = q->refusal = 0;
	q->asked = false;
	q->state = QUESTION_UDP;
	if (dnscache_get(resolver->cache, &q->query->wire, type, &q->answer, probe_now() / 1000000000))
		question_end(q);
	else
		question_send(q);
}

/* ---- a query ---- */

/* Candidate n: resolv.conf(5), ndots. False when there is none. A candidate that is no DNS name
 * (too long with a search domain) is left out by an empty wire name. */
static bool
candidate_name(const struct resolver_query *query, size_t n, struct dns_name *wire)
{
	const struct resolvconf *conf = &query->resolver->conf;
	char text[512];
	size_t dots = 0, len = strlen(query->name), first;

	wire->len = 0;
	for (const char *p = query->name; *p; p++)
		dots += *p == '.';
	if (len > 0 && query->name[len - 1] == '.')
	{
		dns_name_parse(query->name, wire);
		return n == 0;
	}
	if (n > conf->search_count)
		return false;
	first = dots >= conf->ndots ? 0 : conf->search_count; /* where the bare name stands */
	if (n == first)
		dns_name_parse(query->name, wire);
	else
	{
		snprintf(text, sizeof(text), "%s.%s", query->name, conf->search[n > first ? n - 1 : n]);
		dns_name_parse(text, wire);
	}
	return true;
}

/* Asks for the next candidate. False when there is none left. */
static bool
query_ask(struct resolver_query *query)
{
	static const uint16_t types[2] = {DNS_TYPE_AAAA, DNS_TYPE_A};
	static const enum resolver_family families[2] = {RESOLVER_IPV6, RESOLVER_IPV4};

	do
	{
		if (!candidate_name(query, query->candidate++, &query->wire))
			return false;
	} while (query->wire.len == 0);
	/* Both are marked first: the end of one must not look like the end of all. */
	for (int i = 0; i < 2; i++)
	{
		bool wanted = query->family == RESOLVER_ANY || query->family == families[i];

		query->questions[i].state = wanted ? QUESTION_UDP : QUESTION_UNUSED;
		memset(&query->questions[i].answer, 0, sizeof(query->questions[i].answer));
	}
	for (int i = 0; i < 2; i++)
		if (query->questions[i].state != QUESTION_UNUSED)
			question_start(&query->questions[i], types[i]);
	return true;
}

static void
answer_collect(struct resolver_query *query, const struct question *q)
{
	struct resolver_address address;
	struct sockaddr_in *in4 = (struct sockaddr_in *) &address.addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &address.addr;

	for (size_t i = 0; i < q->answer.count; i++)
	{
		memset(&address, 0, sizeof(address));
		if (q->type == DNS_TYPE_A)
		{
			in4->sin_family = AF_INET;
			memcpy(&in4->sin_addr, q->answer.addresses[i], 4);
			address.len = sizeof(*in4);
		}
		else
		{
			in6->sin6_family = AF_INET6;
			memcpy(&in6->sin6_addr, q->answer.addresses[i], 16);
			address.len = sizeof(*in6);
		}
		/* Half of the room for each family, so that neither pushes the other out. */
		if (query->family != RESOLVER_ANY || i < RESOLVER_ADDRESSES_MAX / 2)
			answer_add(query, &address);
	}
}

/* What both questions say together: an answer, the next candidate, or a failure. */
static void
query_combine(struct resolver_query *query)
{
	bool timeout = false, asked = false;
	int local_error = 0, refusal = 0;
	char silence[96] = "no name server answered";

	for (int i = 0; i < 2; i++)
	{
		struct question *q = &query->questions[i];

		question_close(q);
		if (q->state == QUESTION_UNUSED)
			continue;
		if (q->state == QUESTION_DONE && q->answer.verdict == DNS_ADDRESSES)
			answer_collect(query, q);
		asked |= q->asked;
		timeout |= q->answer.verdict == DNS_FOREIGN;
		local_error = q->local_error ? q->local_error : local_error;
		refusal = q->refusal ? q->refusal : refusal;
		query->saw_servfail |= q->answer.verdict == DNS_SERVFAIL;
		query->saw_nodata |= q->answer.verdict == DNS_NODATA;
		q->state = QUESTION_DONE;
	}
	if (refusal)
		snprintf(silence, sizeof(silence), "no name server answered, of one is said: %s",
		         strerror(refusal));
	if (query->answer.count > 0)
	{
		answer_sort(&query->answer);
		query->ready = true;
	}
	else if (timeout && local_error && !asked)
		answer_fail(query, ERROR_LOCAL_FAULT, strerror(local_error));
	else if (timeout)
		answer_fail(query, ERROR_DNS_TIMEOUT, silence);
	else if (query_ask(query))
		return;
	else if (query->saw_servfail)
		answer_fail(query, ERROR_DNS_SERVFAIL, "the name servers cannot answer for this name");
	else if (query->saw_nodata)
		answer_fail(query, ERROR_DNS_NXDOMAIN, "the name exists but has no such address");
	else
		answer_fail(query, ERROR_DNS_NXDOMAIN, "no such name");
}

static void
query_free(struct resolver_query *query)
{
	evtimer_del(&query->timer);
	for (int i = 0; i < 2; i++)
		question_close(&query->questions[i]);
	LIST_REMOVE(query, entry);
	free(query);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct resolver_query *query = arg;
	struct resolver_answer answer;
	resolver_done done;
	void *done_arg;

	if (!query->ready)
		query_combine(query);
	if (!query->ready)
		return;
	answer = query->answer;
	done = query->done;
	done_arg = query->arg;
	query_free(query);
	done(&answer, done_arg);
}

struct resolver_query *
resolver_resolve(struct resolver *resolver, const char *name, enum resolver_family family,
                 resolver_done done, void *arg)
{
	struct resolver_query *query = calloc(1, sizeof(*query));
	struct resolver_address literal;
	bool known;

	if (query == NULL)
		return NULL;
	query->resolver = resolver;
	snprintf(query->name, sizeof(query->name), "%s", name);
	query->family = family;
	query->done = done;
	query->arg = arg;
	evtimer_assign(&query->timer, resolver->base, on_timer, query);
	for (int i = 0; i < 2; i++)
	{
		query->questions[i].query = query;
		query->questions[i].fd = -1;
	}
	LIST_INSERT_HEAD(&resolver->queries, query, entry);

	if (resolver_literal(name, &literal))
	{
		answer_add(query, &literal);
		if (query->answer.count == 0)
			answer_fail(query, ERROR_CONFIG, "not an address of the IP version that was asked for");
		query->ready = true;
	}
	else if (strlen(name) >= sizeof(query->name))
		answer_fail(query, ERROR_DNS_NXDOMAIN, "longer than a name can be");
	else
	{
		reload(resolver);
		if (resolver->conf.rotate)
			query->first = resolver->turn++;
		known = answer_from_hosts(query);
		if (known)
			answer_sort(&query->answer);
		query->ready = known;
		if (!known && !query_ask(query))
			answer_fail(query, ERROR_DNS_NXDOMAIN, "cannot be a DNS name");
	}
	if (query->ready)
		query_schedule(query, 0);
	return query;
}

void
resolver_cancel(struct resolver_query *query)
{
	query_free(query);
}
