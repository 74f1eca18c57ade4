/* SPDX-License-Identifier: PostgreSQL
 *
 * stamp.h -- when the kernel sent and received a packet.
 *
 * A time that is read in user space holds the wait for the processor and the way through
 * libevent; under load that is the larger part of what is measured. The kernel stamps a packet when it
 * comes off the wire and when it is handed to the driver. Stamps are of the wall clock, nanoseconds
 * since 1970: compare them with each other, never with the monotonic clock.
 */
#ifndef PCTL_AGENT_STAMP_H
#define PCTL_AGENT_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "agent/stats.h"

/* What the times of a round are made of: the names are values of the attribute probectl.timestamps. */
enum stamp_kind
{
	STAMP_NONE,    /* "process": the caller's own clock */
	STAMP_RECEIVE, /* "receive": sent by the caller's clock, received by the kernel's */
	STAMP_BOTH     /* "send,receive" */
};

/* A packet that was sent, as far as it is known. */
struct stamp_times
{
	int64_t sent;      /* monotonic, right before the call */
	int64_t sent_unix; /* wall clock, right before the call */
	int64_t stamped;   /* the kernel's stamp; 0 while there is none */
};

/* Before the first packet of the process, with the privileges it starts with. The kernel begins to stamp what it receives a while
 * after the first socket of the machine asks for it, and stops after the last: one stays open, and this returns when it stamps,
 * or after 50 ms where it never does. */
void stamp_open(void);

/* Right before a send; forgets an earlier one. */
void stamp_begin(struct stamp_times *times);

/* Nanoseconds from the packet to its answer, received being the kernel's stamp of that or 0. Never longer
 * than the monotonic clock saw it take: that is the result when the wall clock was stepped in
 * between. *kind is lowered to what was there, so that it ends as the worst of a round. */
int64_t stamp_rtt(const struct stamp_times *times, int64_t received, enum stamp_kind *kind);

/* Two attributes, lists with commas, of the packets of a round that were not answered: their numbers from 0,
 * and when they were sent, ms after start (of the monotonic clock). As many as fit; no attribute when all
 * were answered, or none. first: the times of packet 0, those of the next stride bytes behind. */
void stamp_dropped(const struct stats *stats, const struct stamp_times *first, size_t stride,
                   int64_t start, const char *seqs, const char *offsets, struct result *result);

/* Room for the control messages of one packet: stamps, an ICMP error and where it came in included. */
union stamp_control
{
	struct cmsghdr align;
	char bytes[512];
};

/* A copy of each packet that was sent comes on the error queue with its stamp (stamp_sent); whoever
 * asks for it must empty that queue. Asks for less when the kernel offers no more. */
enum stamp_kind stamp_ask(int fd);

const char *stamp_kind_name(enum stamp_kind kind);

/* The receive time of a message from recvmsg; 0 when it has none. */
int64_t stamp_received(struct msghdr *message);

/* The send time, when a message of the error queue is the copy of a sent packet; 0 when it is
 * something else. The copy starts with the headers of every layer below, so look for the payload. */
int64_t stamp_sent(struct msghdr *message);

#endif
