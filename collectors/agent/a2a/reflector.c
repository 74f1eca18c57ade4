/* SPDX-License-Identifier: PostgreSQL
 *
 * reflector.c -- see reflector.h.
 *
 * When an answer left is known a moment after it left: the kernel's stamp comes on the error queue and waits
 * in the sender's row until the next packet asks for it (the follow-up of RFC 8972). Rows live in a table of a fixed size, a few
 * places for each hash: the row that was idle longest makes room, whoever sends.
 */
#include "agent/a2a/reflector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/a2a/clock.h"
#include "agent/probe.h"
#include "agent/stamp.h"
#include "agent/a2a/txstamp.h"
#include "lib/mem.h"
#include "lib/metrics.h"

#define SETS        128
#define WAYS        8
#define IDLE_NANO   (900 * INT64_C(1000000000)) /* REFWAIT of RFC 5357 */
#define PENDING     256                         /* answers whose departure is not known yet */
#define A_TURN      64                          /* packets, then the rest of the loop */
#define ESTIMATE_MS 1000                        /* how long the clock's error is remembered */
#define NANO        INT64_C(1000000000)

struct sender
{
	uint8_t address[16];
	uint16_t port, ssid;
	bool used;
	uint32_t next; /* number of the next answer */
	uint32_t follow_sequence;
	int64_t follow_at; /* 0: not known */
	int64_t last;      /* monotonic */
};

struct reflector
{
	int fd, family;
	struct event reader;
	bool stamps;
	uint32_t sent; /* datagrams: the number the kernel gives the next one */
	struct pending
	{
		uint32_t number, sequence;
		struct sender *sender; /* NULL: none */
	} pending[PENDING];
	int64_t rate, allowance, filled; /* allowance: of answers, in 1/NANO; filled: monotonic */
	struct a2a_estimate estimate;
	int64_t estimated;
	struct reflector_prefix prefixes[REFLECTOR_PREFIXES_MAX];
	size_t prefix_count;
	uint8_t (*tokens)[A2A_TOKEN_BYTES];
	size_t token_count;
	uint64_t seed;
	struct buf out;
	uint8_t data[A2A_PACKET_MAX + 1];
	struct sender senders[SETS][WAYS];
};

/* What came with a packet beside its octets. */
struct arrival
{
	struct sockaddr_storage from;
	socklen_t from_len;
	int64_t t2, mono;
	int ttl, tos;
	bool has_info;
	struct in_pktinfo info4;
	struct in6_pktinfo info6;
};

enum
{
	ROW_REFLECTED,
	ROW_MALFORMED,
	ROW_STRANGER,
	ROW_RATE,
	ROW_FAILED,
	ROW_SESSIONS,
	ROW_COUNT,
};

#define REFUSED(why)                                                                               \
	METRIC_COUNTER("probectl_agent_a2a_refused_total", "reason=\"" why "\"",                       \
	               "Packets at the reflector that were not answered.")

static struct metric rows[ROW_COUNT] = {
    [ROW_REFLECTED] = METRIC_COUNTER("probectl_agent_a2a_reflected_total", NULL,
                                     "Packets the reflector answered."),
    [ROW_MALFORMED] = REFUSED("malformed"),
    [ROW_STRANGER] = REFUSED("stranger"),
    [ROW_RATE] = REFUSED("rate"),
    [ROW_FAILED] = REFUSED("send"),
    [ROW_SESSIONS] = METRIC_GAUGE("probectl_agent_a2a_sessions", NULL,
                                  "Sessions of other agents this one answers."),
};

void
reflector_metrics(void)
{
	metrics_register(rows, ROW_COUNT);
}

/* ---- who may ask ---- */

static void
address_of(const struct sockaddr_storage *from, uint8_t address[16], uint16_t *port)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) from;

	memset(address, 0, 16);
	memcpy(address,
	       from->ss_family == AF_INET ? (const void *) &in4->sin_addr
	                                  : (const void *) &in6->sin6_addr,
	       from->ss_family == AF_INET ? 4 : 16);
	*port = from->ss_family == AF_INET ? in4->sin_port : in6->sin6_port;
}

static bool
in_prefix(const struct reflector_prefix *prefix, int family, const uint8_t *address)
{
	unsigned whole = prefix->bits / 8, rest = prefix->bits % 8;

	return prefix->family == family && memcmp(prefix->address, address, whole) == 0 &&
	       (rest == 0 || ((prefix->address[whole] ^ address[whole]) >> (8 - rest)) == 0);
}

static bool
known_token(const struct reflector *r, const uint8_t *token)
{
	for (size_t i = 0; token && i < r->token_count; i++)
		if (memcmp(r->tokens[i], token, A2A_TOKEN_BYTES) == 0)
			return true;
	return false;
}

static bool
known_address(const struct reflector *r, const struct arrival *arrival)
{
	uint8_t address[16];
	uint16_t port;

	address_of(&arrival->from, address, &port);
	for (size_t i = 0; i < r->prefix_count; i++)
		if (in_prefix(&r->prefixes[i], r->family, address))
			return true;
	return false;
}

/* A bucket of a tenth of a second's answers, but of eight at least. */
static bool
rate_take(struct reflector *r, int64_t now)
{
	int64_t most = (r->rate / 10 > 8 ? r->rate / 10 : 8) * NANO;
	int64_t passed = now - r->filled;

	r->filled = now;
	r->allowance = passed > NANO || r->allowance + passed * r->rate > most
	                   ? most
	                   : r->allowance + passed * r->rate;
	if (r->allowance < NANO)
		return false;
	r->allowance -= NANO;
	return true;
}

/* ---- senders ---- */

static struct sender *
sender_find(struct reflector *r, const struct arrival *arrival, uint16_t ssid)
{
	struct sender key = {.ssid = ssid, .used = true}, *oldest, *set;
	uint64_t hash = r->seed;

	address_of(&arrival->from, key.address, &key.port);
	for (size_t i = 0; i < 16; i++)
		hash = (hash ^ key.address[i]) * UINT64_C(0x100000001b3);
	hash = (hash ^ key.port) * UINT64_C(0x100000001b3);
	hash = (hash ^ ssid) * UINT64_C(0x100000001b3);
	set = r->senders[(hash >> 32) % SETS];
	oldest = &set[0];
	for (int i = 0; i < WAYS; i++)
	{
		struct sender *s = &set[i];

		if (s->used && s->port == key.port && s->ssid == ssid &&
		    memcmp(s->address, key.address, 16) == 0)
		{
			if (arrival->mono - s->last <= IDLE_NANO)
				return s;
			oldest = s;
			break;
		}
		if (!s->used || (oldest->used && s->last < oldest->last))
			oldest = s;
	}
	for (int i = 0; i < PENDING; i++)
		if (r->pending[i].sender == oldest)
			r->pending[i].sender = NULL;
	*oldest = key;
	return oldest;
}

/* Departures of answers, to the rows they are of. */
static void
read_departures(struct reflector *r)
{
	struct txstamp_sent sent;

	for (int i = 0; i < PENDING && txstamp_next(r->fd, &sent); i++)
	{
		struct pending *p = &r->pending[sent.number % PENDING];

		if (!sent.sent || !p->sender || p->number != sent.number)
			continue;
		p->sender->follow_sequence = p->sequence;
		p->sender->follow_at = sent.at;
		p->sender = NULL;
	}
}

/* ---- an answer ---- */

static void
put_control(struct msghdr *message, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *) ((char *) message->msg_control +
	                                        message->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	message->msg_controllen += CMSG_SPACE(len);
}

/* From the address that was asked, with the class of service it was asked in. */
static bool
send_answer(struct reflector *r, const struct arrival *arrival)
{
	union stamp_control control = {0};
	struct iovec vector;
	struct msghdr message = {
	    .msg_name = (void *) &arrival->from,
	    .msg_namelen = arrival->from_len,
	    .msg_iov = &vector,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	};
	struct in_pktinfo info4 = {.ipi_spec_dst = arrival->info4.ipi_spec_dst};
	struct in6_pktinfo info6 = arrival->info6;
	int tos = arrival->tos & 0xfc; /* congestion bits are the path's */
	bool v4 = r->family == AF_INET;

	if (arrival->has_info && v4)
		put_control(&message, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4));
	else if (arrival->has_info)
		put_control(&message, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
	put_control(&message, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos,
	            sizeof(tos));
	if (!a2a_reply_stamp(&r->out, probe_now_unix(), r->estimate.ptp))
		return false;
	vector = (struct iovec){r->out.data, r->out.len};
	return sendmsg(r->fd, &message, MSG_DONTWAIT) == (ssize_t) r->out.len;
}

static void
answer(struct reflector *r, const struct arrival *arrival, size_t len,
       const struct a2a_request *request, bool token)
{
	struct sender *sender = sender_find(r, arrival, request->ssid);
	struct a2a_reflection reflection = {
	    .sequence = sender->next,
	    .t2 = arrival->t2,
	    .ttl = (uint8_t) arrival->ttl,
	    .follow_sequence = sender->follow_sequence,
	    .follow_at = sender->follow_at,
	};

	if (arrival->mono - r->estimated > ESTIMATE_MS * INT64_C(1000000))
	{
		r->estimate = a2a_clock_estimate();
		r->estimated = arrival->mono;
	}
	reflection.estimate = r->estimate;
	sender->last = arrival->mono;
	if (!a2a_reply_write(&r->out, r->data, len, request, &reflection, token) ||
	    !send_answer(r, arrival))
	{
		/* Whether the kernel counted it is not known: it starts anew. */
		metric_add(&rows[ROW_FAILED], 1);
		memset(r->pending, 0, sizeof(r->pending));
		r->sent = 0;
		r->stamps = txstamp_enable(r->fd);
		return;
	}
	metric_add(&rows[ROW_REFLECTED], 1);
	r->pending[r->sent % PENDING] = (struct pending){r->sent, sender->next, sender};
	r->sent++;
	sender->next++;
	sender->follow_at = 0;
	read_departures(r); /* mostly there already */
}

static void
read_control(struct reflector *r, struct msghdr *message, struct arrival *arrival)
{
	arrival->t2 = txstamp_received(message);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
	{
		bool ip4 = c->cmsg_level == IPPROTO_IP, ip6 = c->cmsg_level == IPPROTO_IPV6;

		if (ip4 && c->cmsg_type == IP_PKTINFO)
			memcpy(&arrival->info4, CMSG_DATA(c), sizeof(arrival->info4));
		else if (ip6 && c->cmsg_type == IPV6_PKTINFO)
			memcpy(&arrival->info6, CMSG_DATA(c), sizeof(arrival->info6));
		else if ((ip4 && c->cmsg_type == IP_TTL) || (ip6 && c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&arrival->ttl, CMSG_DATA(c), sizeof(arrival->ttl));
		else if (ip4 && c->cmsg_type == IP_TOS)
			arrival->tos = *CMSG_DATA(c);
		else if (ip6 && c->cmsg_type == IPV6_TCLASS)
			memcpy(&arrival->tos, CMSG_DATA(c), sizeof(arrival->tos));
		arrival->has_info = arrival->has_info || (ip4 && c->cmsg_type == IP_PKTINFO) ||
		                    (ip6 && c->cmsg_type == IPV6_PKTINFO);
	}
}

/* False: nothing more to read. */
static bool
read_packet(struct reflector *r)
{
	union stamp_control control;
	struct arrival arrival = {0};
	struct iovec vector = {r->data, sizeof(r->data)};
	struct msghdr message = {
	    .msg_name = &arrival.from,
	    .msg_namelen = sizeof(arrival.from),
	    .msg_iov = &vector,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control),
	};
	struct a2a_request request;
	ssize_t n = recvmsg(r->fd, &message, MSG_DONTWAIT);
	bool token;

	if (n < 0)
		return errno != EAGAIN; /* an ICMP error of somebody is told once, and is no news */
	arrival.from_len = message.msg_namelen;
	arrival.mono = probe_now();
	read_control(r, &message, &arrival);
	if (arrival.t2 == 0)
		arrival.t2 = probe_now_unix();
	if (!a2a_request_read(r->data, (size_t) n, arrival.t2, &request))
	{
		metric_add(&rows[ROW_MALFORMED], 1);
		return true;
	}
	token = known_token(r, request.token);
	if (!token && !known_address(r, &arrival))
		metric_add(&rows[ROW_STRANGER], 1);
	else if (!rate_take(r, arrival.mono))
		metric_add(&rows[ROW_RATE], 1);
	else
		answer(r, &arrival, (size_t) n, &request, token);
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct reflector *r = arg;

	read_departures(r);
	for (int i = 0; i < A_TURN; i++)
		if (!read_packet(r))
			return;
}

/* ---- interface ---- */

static bool
fail(char *err, size_t errlen, const char *what, const char *text)
{
	snprintf(err, errlen, what, text);
	return false;
}

static bool
prefix_parse(char *text, struct reflector_prefix *prefix, char *err, size_t errlen)
{
	char *slash = strchr(text, '/'), *end = NULL;
	unsigned long bits;

	if (slash)
		*slash = '\0';
	memset(prefix, 0, sizeof(*prefix));
	prefix->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	prefix->bits = prefix->family == AF_INET ? 32 : 128;
	if (inet_pton(prefix->family, text, prefix->address) != 1)
		return fail(err, errlen, "\"%.64s\" is no address", text);
	if (!slash)
		return true;
	bits = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end || bits > prefix->bits)
		return fail(err, errlen, "\"%.16s\" is no length of a prefix", slash + 1);
	prefix->bits = (unsigned) bits;
	return true;
}

int
reflector_prefixes_parse(const char *text, struct reflector_prefix *prefixes, size_t max, char *err,
                         size_t errlen)
{
	char copy[4096], *rest = copy, *word;
	int count = 0;

	if ((size_t) snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
	{
		fail(err, errlen, "the list is longer than 4 kB%s", "");
		return -1;
	}
	while ((word = strsep(&rest, ", ")))
	{
		if (!*word)
			continue;
		if ((size_t) count == max)
		{
			fail(err, errlen, "there are too many prefixes, from \"%.64s\" on", word);
			return -1;
		}
		if (!prefix_parse(word, &prefixes[count], err, errlen))
			return -1;
		count++;
	}
	return count;
}

bool
reflector_address_parse(const char *text, struct sockaddr_storage *addr, socklen_t *len, char *err,
                        size_t errlen)
{
	const char *colon = strrchr(text, ':');
	char host[64], copy[80], *end = NULL;
	unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 65536;
	struct sockaddr_in *in4 = (struct sockaddr_in *) addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) addr;

	memset(addr, 0, sizeof(*addr));
	snprintf(copy, sizeof(copy), "%s", text);
	if (!colon || colon[1] < '0' || colon[1] > '9' || *end || port > 65535 ||
	    (size_t) (colon - text) >= sizeof(host))
		return fail(err, errlen, "\"%.64s\" is not ADDRESS:PORT", copy);
	snprintf(host, sizeof(host), "%.*s", (int) (colon - text), text);
	if (inet_pton(AF_INET, host, &in4->sin_addr) == 1)
	{
		addr->ss_family = AF_INET;
		*len = sizeof(*in4);
	}
	else if (host[0] == '[' && colon[-1] == ']')
	{
		host[strlen(host) - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1)
		{
			addr->ss_family = AF_INET6;
			*len = sizeof(*in6);
		}
	}
	if (addr->ss_family == AF_UNSPEC)
		return fail(err, errlen, "\"%.64s\" is not ADDRESS:PORT", copy);
	probe_set_port(addr, (uint32_t) port);
	return true;
}

/* What is told of a packet; without one of them its answer is only poorer. */
static void
set_options(int fd, int family)
{
	int on = 1, ttl = 255;

	if (family == AF_INET)
	{
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
		return;
	}
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
}

struct reflector *
reflector_open(struct event_base *base, const struct sockaddr_storage *addr, socklen_t len,
               int64_t rate, char *err, size_t errlen)
{
	int fd = socket(addr->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP),
	    on = 1;
	struct reflector *r;

	if (fd >= 0 && addr->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (fd < 0 || bind(fd, (const struct sockaddr *) addr, len) != 0)
	{
		snprintf(err, errlen, "the reflector cannot have its address: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	set_options(fd, addr->ss_family);
	r = mem_alloc(sizeof(*r));
	r->fd = fd;
	r->family = addr->ss_family;
	r->rate = rate;
	r->estimated = -NANO * 60;
	r->stamps = txstamp_enable(fd);
	buf_init(&r->out, A2A_PACKET_MAX);
	if (getrandom(&r->seed, sizeof(r->seed), GRND_NONBLOCK) != sizeof(r->seed))
		r->seed = (uint64_t) probe_now();
	event_assign(&r->reader, base, fd, EV_READ | EV_PERSIST, on_readable, r);
	event_add(&r->reader, NULL);
	return r;
}

void
reflector_close(struct reflector *r)
{
	if (!r)
		return;
	event_del(&r->reader);
	close(r->fd);
	buf_free(&r->out);
	free(r->tokens);
	free(r);
	metric_set(&rows[ROW_SESSIONS], 0);
}

uint16_t
reflector_port(const struct reflector *r)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	uint8_t address[16];
	uint16_t port = 0;

	if (getsockname(r->fd, (struct sockaddr *) &addr, &len) == 0)
		address_of(&addr, address, &port);
	return ntohs(port);
}

bool
reflector_kernel_stamps(const struct reflector *r)
{
	return r->stamps;
}

void
reflector_allow(struct reflector *r, const struct reflector_prefix *prefixes, size_t count)
{
	r->prefix_count = count < REFLECTOR_PREFIXES_MAX ? count : REFLECTOR_PREFIXES_MAX;
	memcpy(r->prefixes, prefixes, r->prefix_count * sizeof(*prefixes));
}

void
reflector_sessions(struct reflector *r, const uint8_t (*tokens)[A2A_TOKEN_BYTES], size_t count)
{
	free(r->tokens);
	r->tokens = NULL;
	r->token_count = count < REFLECTOR_SESSIONS_MAX ? count : REFLECTOR_SESSIONS_MAX;
	if (r->token_count > 0)
	{
		r->tokens = mem_array(r->token_count, A2A_TOKEN_BYTES);
		memcpy(r->tokens, tokens, r->token_count * A2A_TOKEN_BYTES);
	}
	metric_set(&rows[ROW_SESSIONS], (int64_t) r->token_count);
}
