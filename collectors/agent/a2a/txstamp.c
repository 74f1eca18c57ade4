/* SPDX-License-Identifier: PostgreSQL
 *
 * txstamp.c -- see txstamp.h.
 */
#include "agent/a2a/txstamp.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "agent/stamp.h"

/* Datagrams are not looped back with their stamp: the number says which it is of. */
#define WANTED                                                                                     \
	(SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE |     \
	 SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY)

bool
txstamp_enable(int fd)
{
	unsigned none = 0, wanted = WANTED;

	/* The count starts anew when the option comes on, not when it stays on. */
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &none, sizeof(none));
	return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &wanted, sizeof(wanted)) == 0;
}

static int64_t
nano_of(const struct cmsghdr *c)
{
	struct timespec times[3]; /* software, unused, hardware */

	if (c->cmsg_len < CMSG_LEN(sizeof(times)))
		return 0;
	memcpy(times, CMSG_DATA(c), sizeof(times));
	return (int64_t) times[0].tv_sec * 1000000000 + times[0].tv_nsec;
}

int64_t
txstamp_received(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING)
			return nano_of(c);
	return 0;
}

static void
read_error(const struct cmsghdr *c, struct txstamp_sent *sent)
{
	struct sock_extended_err error;

	if (c->cmsg_len < CMSG_LEN(sizeof(error)))
		return;
	memcpy(&error, CMSG_DATA(c), sizeof(error));
	if (error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING)
	{
		sent->sent = error.ee_info == SCM_TSTAMP_SND;
		sent->number = error.ee_data;
	}
	else
		sent->error = (int) error.ee_errno;
}

bool
txstamp_next(int fd, struct txstamp_sent *sent)
{
	union stamp_control control;
	char data[64]; /* of an ICMP error's datagram; not read */
	struct iovec vector = {data, sizeof(data)};
	struct msghdr message = {
	    .msg_iov = &vector,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control),
	};

	memset(sent, 0, sizeof(*sent));
	if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
	{
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING)
			sent->at = nano_of(c);
		else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		         (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			read_error(c, sent);
	}
	sent->sent = sent->sent && sent->at > 0;
	return true;
}
