/* SPDX-License-Identifier: PostgreSQL
 *
 * echo.c -- see echo.h. Sources are counted in a table of fixed size by a hash with a secret: who
 * forges sources by the million makes the table forget, and meets the rate of all together.
 */
#include "agent/udp/echo.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/probe.h"
#include "agent/resolver.h"
#include "agent/udp/frame.h"
#include "lib/metrics.h"

#define BATCH          16
#define BATCHES_A_TURN 8
#define COST_BYTES     1500 /* a longer datagram counts as several */
#define SOURCES        4096 /* a power of two */
#define SOURCE_SHARE   10   /* of the rate */
#define RECEIVE_BUFFER (1024 * 1024)
#define CONTROL_BYTES  128

/* ---- rates ---- */

/* Tokens grow with time up to those of one second. */
struct bucket
{
	int64_t at;
	double tokens;
};

struct source
{
	uint8_t address[8]; /* IPv4, or the /64 of IPv6: who has one address there has them all */
	struct bucket bucket;
};

struct echo_limit
{
	double rate;
	uint64_t secret;
	struct bucket all;
	struct source sources[SOURCES];
};

struct echo_limit *
echo_limit_new(uint32_t rate)
{
	struct echo_limit *limit = calloc(1, sizeof(*limit));

	if (limit == NULL)
		return NULL;
	limit->rate = rate;
	if (getrandom(&limit->secret, sizeof(limit->secret), 0) < 0)
		limit->secret = (uint64_t) probe_now();
	return limit;
}

void
echo_limit_free(struct echo_limit *limit)
{
	free(limit);
}

static bool
bucket_has(struct bucket *bucket, double rate, double cost, int64_t now)
{
	if (bucket->at == 0)
		bucket->tokens = rate;
	else
		bucket->tokens += (double) (now - bucket->at) / 1e9 * rate;
	if (bucket->tokens > rate)
		bucket->tokens = rate;
	bucket->at = now;
	return bucket->tokens >= cost;
}

static void
source_address(const struct sockaddr_storage *from, uint8_t address[8])
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) from;

	memset(address, 0, 8);
	if (from->ss_family == AF_INET)
		memcpy(address + 4, &in4->sin_addr, 4);
	else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		memcpy(address + 4, in6->sin6_addr.s6_addr + 12, 4);
	else
		memcpy(address, in6->sin6_addr.s6_addr, 8);
}

/* The finisher of splitmix64: every bit of the input reaches every bit of the place. */
static size_t
source_place(const struct echo_limit *limit, const uint8_t address[8])
{
	uint64_t h;

	memcpy(&h, address, sizeof(h));
	h ^= limit->secret;
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
	return (h ^ h >> 31) & (SOURCES - 1);
}

bool
echo_limit_take(struct echo_limit *limit, const struct sockaddr_storage *from, size_t bytes,
                int64_t now)
{
	double cost = 1 + (double) (bytes / COST_BYTES);
	struct source *source;
	uint8_t address[8];

	source_address(from, address);
	source = &limit->sources[source_place(limit, address)];
	if (memcmp(source->address, address, sizeof(address)) != 0)
	{
		memset(source, 0, sizeof(*source));
		memcpy(source->address, address, sizeof(address));
	}
	if (!bucket_has(&limit->all, limit->rate, cost, now) ||
	    !bucket_has(&source->bucket, limit->rate / SOURCE_SHARE, cost, now))
		return false;
	limit->all.tokens -= cost;
	source->bucket.tokens -= cost;
	return true;
}

/* ---- the service ---- */

enum
{
	ROW_ANSWERED,
	ROW_IGNORED,
	ROW_LIMITED,
	ROW_COUNT
};

#define ROW(what)                                                                                  \
	METRIC_COUNTER("probectl_agent_echo_packets_total", "outcome=\"" what "\"",                    \
	               "Datagrams that came to the responder of the udp canary, by fate.")

static struct metric rows[ROW_COUNT] = {
    [ROW_ANSWERED] = ROW("answered"),
    [ROW_IGNORED] = ROW("ignored"),
    [ROW_LIMITED] = ROW("limited"),
};

void
echo_metrics(void)
{
	metrics_register(rows, ROW_COUNT);
}

void
echo_stats(struct echo_stats *stats)
{
	stats->answered = (uint64_t) metric_get(&rows[ROW_ANSWERED]);
	stats->ignored = (uint64_t) metric_get(&rows[ROW_IGNORED]);
	stats->limited = (uint64_t) metric_get(&rows[ROW_LIMITED]);
}

union control
{
	struct cmsghdr align;
	char bytes[CONTROL_BYTES];
};

struct echo
{
	int fd;
	struct event reader;
	struct echo_limit *limit;
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	struct sockaddr_storage names[BATCH];
	union control controls[BATCH];
	uint8_t data[BATCH][FRAME_MAX];
};

/* What came with the datagram (address it was sent to, DSCP) goes back with the answer: the control
 * messages are the same in both directions, but for ECN, which is not ours to set. */
static void
turn_control(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
	{
		bool v4 = c->cmsg_level == IPPROTO_IP, v6 = c->cmsg_level == IPPROTO_IPV6;

		if (v4 && c->cmsg_type == IP_PKTINFO)
		{
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			info.ipi_ifindex = 0; /* the way back may be another */
			info.ipi_addr.s_addr = 0;
			memcpy(CMSG_DATA(c), &info, sizeof(info));
		}
		else if (v6 && c->cmsg_type == IPV6_PKTINFO)
		{
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				info.ipi6_ifindex = 0;
			memcpy(CMSG_DATA(c), &info, sizeof(info));
		}
		else if (v4 && c->cmsg_type == IP_TOS)
			*CMSG_DATA(c) &= 0xfc;
		else if (v6 && c->cmsg_type == IPV6_TCLASS)
		{
			int class;

			memcpy(&class, CMSG_DATA(c), sizeof(class));
			class &= 0xfc;
			memcpy(CMSG_DATA(c), &class, sizeof(class));
		}
	}
}

static bool
answer(struct echo *echo, int i, int64_t now)
{
	struct mmsghdr *message = &echo->messages[i];
	struct frame frame;

	if (message->msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    !frame_read(echo->data[i], message->msg_len, &frame) || frame.kind != FRAME_REQUEST)
	{
		metric_add(&rows[ROW_IGNORED], 1);
		return false;
	}
	if (!echo_limit_take(echo->limit, &echo->names[i], message->msg_len, now))
	{
		metric_add(&rows[ROW_LIMITED], 1);
		return false;
	}
	frame_turn(echo->data[i]);
	turn_control(&message->msg_hdr);
	echo->vectors[i].iov_len = message->msg_len;
	message->msg_hdr.msg_flags = 0;
	return true;
}

static int
read_batch(struct echo *echo)
{
	int64_t now = probe_now();
	int n;

	for (int i = 0; i < BATCH; i++)
	{
		echo->vectors[i] = (struct iovec){echo->data[i], FRAME_MAX};
		echo->messages[i].msg_hdr = (struct msghdr){.msg_name = &echo->names[i],
		                                            .msg_namelen = sizeof(echo->names[i]),
		                                            .msg_iov = &echo->vectors[i],
		                                            .msg_iovlen = 1,
		                                            .msg_control = &echo->controls[i],
		                                            .msg_controllen = sizeof(union control)};
	}
	n = recvmmsg(echo->fd, echo->messages, BATCH, MSG_DONTWAIT, NULL);
	/* An answer that cannot be sent is a packet lost: the other side counts it. */
	for (int i = 0; i < n; i++)
		if (answer(echo, i, now) &&
		    sendmsg(echo->fd, &echo->messages[i].msg_hdr, MSG_DONTWAIT) >= 0)
			metric_add(&rows[ROW_ANSWERED], 1);
	return n;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	for (int i = 0; i < BATCHES_A_TURN; i++)
		if (read_batch(arg) < BATCH)
			return;
}

/* Without the addresses a machine with several would answer from the wrong one. */
static bool
set_options(int fd, int family)
{
	int on = 1, off = 0, size = RECEIVE_BUFFER;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	if (family == AF_INET)
		return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0;
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
	return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0 &&
	       setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0;
}

int
echo_open(const char *listen, char *err, size_t errlen)
{
	struct probe_target target;
	struct resolver_address address;
	int fd;

	if (!probe_target_parse(listen, &target, err, errlen) || target.port == 0 ||
	    !resolver_literal(target.host, &address))
	{
		snprintf(err, errlen,
		         "echo: write an address and a port as 192.0.2.1:8620 or [::]:8620, "
		         "not \"%.100s\"",
		         listen);
		return -1;
	}
	probe_set_port(&address.addr, target.port);
	fd = socket(address.addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && set_options(fd, address.addr.ss_family) &&
	    bind(fd, (const struct sockaddr *) &address.addr, address.len) == 0)
		return fd;
	snprintf(err, errlen, "echo: cannot answer on %.100s: %s", listen, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

struct echo *
echo_start(struct event_base *base, int fd, uint32_t rate)
{
	struct echo *echo = calloc(1, sizeof(*echo));

	if (echo)
		echo->limit = echo_limit_new(rate);
	if (echo == NULL || echo->limit == NULL)
	{
		free(echo);
		return NULL;
	}
	echo->fd = fd;
	event_assign(&echo->reader, base, fd, EV_READ | EV_PERSIST, on_readable, echo);
	event_add(&echo->reader, NULL);
	return echo;
}

void
echo_stop(struct echo *echo)
{
	if (echo == NULL)
		return;
	event_del(&echo->reader);
	close(echo->fd);
	echo_limit_free(echo->limit);
	free(echo);
}
