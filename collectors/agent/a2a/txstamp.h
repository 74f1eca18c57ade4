/* SPDX-License-Identifier: PostgreSQL
 *
 * txstamp.h -- when the kernel saw a datagram: SO_TIMESTAMPING of a UDP socket.
 *
 * A departure is told later, on the socket's error queue, by the number of the datagram on that
 * socket; an arrival comes with the datagram. Both are of the wall clock, in Unix nanoseconds, and are
 * taken where the driver takes or gives the packet: a busy loop adds nothing to them.
 */
#ifndef PCTL_AGENT_A2A_TXSTAMP_H
#define PCTL_AGENT_A2A_TXSTAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Asks for both; datagrams are numbered from 0 from here on, also when it is asked again. False: the
 * kernel has none (errno), and stamps are the caller's. */
bool txstamp_enable(int fd);

/* Of a message that was received; 0: without one. */
int64_t txstamp_received(struct msghdr *message);

struct txstamp_sent
{
	bool sent;       /* else it is an error of the network */
	uint32_t number; /* of the datagram */
	int64_t at;
	int error; /* errno, when it is one */
};

/* Takes one entry off the error queue; false when it is empty. */
bool txstamp_next(int fd, struct txstamp_sent *sent);

#endif
