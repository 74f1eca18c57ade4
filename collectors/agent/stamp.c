/* SPDX-License-Identifier: PostgreSQL
 *
 * stamp.c -- see stamp.h. The copies of sent packets are asked for whole instead of by number
 * (SOF_TIMESTAMPING_OPT_ID): the kernel's counter also counts some packets that a failed send
 * never let out, and from then on every stamp would belong to another packet. The bytes cannot be
 * mistaken.
 */
#include "agent/stamp.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/probe.h"

enum stamp_kind
stamp_ask(int fd)
{
	int receive = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;
	int both = receive | SOF_TIMESTAMPING_TX_SOFTWARE, on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &both, sizeof(both)) == 0)
		return STAMP_BOTH;
	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &receive, sizeof(receive)) == 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) == 0)
		return STAMP_RECEIVE;
	return STAMP_NONE;
}

/* Whether a datagram to itself is stamped. */
static bool
stamps_now(int fd, const struct sockaddr_in *self)
{
	union stamp_control control;
	char data[8];
	struct iovec vector = {data, sizeof(data)};
	struct msghdr message = {.msg_iov = &vector,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	return sendto(fd, "?", 1, 0, (const struct sockaddr *) self, sizeof(*self)) == 1 &&
	       poll(&ready, 1, 10) == 1 && recvmsg(fd, &message, MSG_DONTWAIT) == 1 &&
	       stamp_received(&message) > 0;
}

void
stamp_open(void)
{
	static int keeper = -1;
	struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(self);
	int receive = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;

	if (keeper >= 0)
		return;
	keeper = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (keeper < 0 ||
	    setsockopt(keeper, SOL_SOCKET, SO_TIMESTAMPING, &receive, sizeof(receive)) != 0 ||
	    bind(keeper, (struct sockaddr *) &self, sizeof(self)) != 0 ||
	    getsockname(keeper, (struct sockaddr *) &self, &len) != 0)
		return;
	for (int i = 0; i < 50 && !stamps_now(keeper, &self); i++)
		poll(NULL, 0, 1);
}

const char *
stamp_kind_name(enum stamp_kind kind)
{
	static const char *const names[] = {
	    [STAMP_NONE] = "process", [STAMP_RECEIVE] = "receive", [STAMP_BOTH] = "send,receive"};

	return names[kind];
}

/* The first of the three stamps of SCM_TIMESTAMPING is the software's. */
int64_t
stamp_received(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
	{
		struct timespec ts;

		if (c->cmsg_level != SOL_SOCKET ||
		    (c->cmsg_type != SCM_TIMESTAMPING && c->cmsg_type != SCM_TIMESTAMPNS) ||
		    c->cmsg_len < CMSG_LEN(sizeof(ts)))
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
	}
	return 0;
}

int64_t
stamp_sent(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
	{
		struct sock_extended_err error;

		if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
		    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			continue;
		if (c->cmsg_len < CMSG_LEN(sizeof(error)))
			continue;
		memcpy(&error, CMSG_DATA(c), sizeof(error));
		if (error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING)
			return stamp_received(message);
	}
	return 0;
}

void
stamp_begin(struct stamp_times *times)
{
	times->stamped = 0;
	times->sent = probe_now();
	times->sent_unix = probe_now_unix();
}

int64_t
stamp_rtt(const struct stamp_times *times, int64_t received, enum stamp_kind *kind)
{
	int64_t longest = probe_now() - times->sent;
	int64_t until = received ? received : probe_now_unix();
	bool stamped = times->stamped >= times->sent_unix && times->stamped <= until;
	enum stamp_kind have = !received ? STAMP_NONE : stamped ? STAMP_BOTH : STAMP_RECEIVE;
	int64_t rtt = until - (stamped ? times->stamped : times->sent_unix);

	if (rtt < 0 || rtt > longest)
	{
		rtt = longest;
		have = STAMP_NONE;
	}
	if (*kind > have)
		*kind = have;
	return rtt;
}

/* False when it does not fit; what is there stays whole. */
static bool
append(char *list, size_t size, const char *format, double value)
{
	size_t used = strlen(list);
	char text[32];

	snprintf(text, sizeof(text), format, value);
	if (used + 1 + strlen(text) >= size)
		return false;
	snprintf(list + used, size - used, "%s%s", used ? "," : "", text);
	return true;
}

void
stamp_dropped(const struct stats *stats, const struct stamp_times *first, size_t stride,
              int64_t start, const char *seqs, const char *offsets, struct result *result)
{
	char numbers[RESULT_VALUE_MAX] = "", times[RESULT_VALUE_MAX] = "";

	if (stats->received == 0 || stats->received == stats->sent)
		return;
	for (uint32_t i = 0; i < stats->sent && i < STATS_PROBES_MAX; i++)
	{
		const struct stamp_times *at = (const void *) ((const char *) first + i * stride);

		size_t used = strlen(times);

		if (stats->seen[i])
			continue;
		if (!append(times, sizeof(times), "%.1f", (double) (at->sent - start) / 1e6) ||
		    !append(numbers, sizeof(numbers), "%.0f", i))
		{
			times[used] = '\0';
			break;
		}
	}
	result_attribute(result, seqs, "%s", numbers);
	result_attribute(result, offsets, "%s", times);
}
