/* SPDX-License-Identifier: PostgreSQL
 *
 * filter.h -- what of a host's ICMP a raw socket of ours is woken by.
 *
 * A raw socket is given a copy of every ICMP packet of its family. The kernel runs this filter before
 * it copies one, so that the pings of others and errors about their connections cost this process
 * nothing. It lets pass: echo replies with our mark, errors that quote an echo request with our
 * mark, and errors that quote too little of an echo request to tell.
 */
#ifndef PCTL_AGENT_ICMP_FILTER_H
#define PCTL_AGENT_ICMP_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/* mark: the first 16 bits of the token of every packet of this process. fd gives packets with their
 * header for IPv4, without for IPv6 (raw(7)). */
bool icmp_filter_attach(int fd, bool v6, uint16_t mark);

#endif
