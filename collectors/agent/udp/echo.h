/* SPDX-License-Identifier: PostgreSQL
 *
 * echo.h -- the responder of the udp canary: probectl-agent --echo, and the setting echo.listen.
 *
 * A service that answers UDP can be made to answer somebody who never asked: the source address of a
 * request is easily forged. So this one is of no use for that. It answers requests of the udp
 * canary only (frame.h), with as many bytes as it got, from the address they were sent to, with the same
 * DSCP; never an answer, so that two responders cannot be set on each other; and it answers each source,
 * and all of them together, no more often than its rate.
 */
#ifndef PCTL_AGENT_UDP_ECHO_H
#define PCTL_AGENT_UDP_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;

#define ECHO_RATE_DEFAULT 10000 /* answers a second; a source has a tenth of that */
#define ECHO_RATE_MIN     10
#define ECHO_RATE_MAX     1000000

struct echo;

/* Opens the socket, which may need privileges: "192.0.2.1:8620", "[2001:db8::1]:8620", "[::]:8620" for
 * both families. -1 with a sentence in err. */
int echo_open(const char *listen, char *err, size_t errlen);

/* Answers on the socket from now on, and owns it. NULL when memory is out. */
struct echo *echo_start(struct event_base *base, int fd, uint32_t rate);
void echo_stop(struct echo *echo); /* NULL is nothing */

/* Adds its counters to those of the process. */
void echo_metrics(void);

struct echo_stats
{
	uint64_t answered, ignored, limited; /* ignored: no request; limited: above a rate */
};

void echo_stats(struct echo_stats *stats);

/* The rates alone. take: whether this source may have an answer of so many bytes, which counts it; a long
 * one counts as several. now: nanoseconds of the monotonic clock. */
struct echo_limit;
struct echo_limit *echo_limit_new(uint32_t rate);
void echo_limit_free(struct echo_limit *limit);
bool echo_limit_take(struct echo_limit *limit, const struct sockaddr_storage *from, size_t bytes,
                     int64_t now);

#endif
