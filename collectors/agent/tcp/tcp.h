/* SPDX-License-Identifier: PostgreSQL
 *
 * tcp.h -- the parts of the tcp canary.
 *
 * The name is looked up once, before the first attempt, and its time is a metric of its own:
 * a connect time holds nothing but the handshake. What became of an attempt is the kernel's errno, and
 * the ICMP error behind it when there was one: the errno of a router that prohibits, of one whose
 * hop limit was reached, and of a host that is down is the same.
 */
#ifndef PCTL_AGENT_TCP_H
#define PCTL_AGENT_TCP_H

#include "agent/probe.h"
#include "agent/stats.h"

#define TCP_COUNT_MIN             1
#define TCP_COUNT_DEFAULT         3
#define TCP_COUNT_MAX             100
#define TCP_DSCP_MAX              63
#define TCP_CONNECT_TIMEOUT_MIN   10
#define TCP_CONNECT_TIMEOUT_MAX   60000
#define TCP_HOLD_MAX              10000
#define TCP_CONNECT_TIMEOUT_SHARE 0 /* default: an equal share of what is left of the timeout */

_Static_assert(TCP_COUNT_MAX <= STATS_PROBES_MAX, "the statistics must take every attempt");

struct tcp_cmd
{
	char host[256];
	uint32_t port, count, dscp, connect_timeout_ms, hold_ms;
	enum resolver_family family;
};

struct canary_run
{
	struct probe probe;
	const struct tcp_cmd *cmd;
	struct resolver_answer answer;
	size_t address; /* index into the answer of the one in use */
	uint32_t number;
	int fd;              /* of the attempt under way, or -1 */
	int64_t began, took; /* nanoseconds; took is 0 until the attempt is connected */
	struct event event;
	struct stats stats;
	enum error_type error_type; /* of the first attempt that failed */
	char error[RESULT_ERROR_MAX];
	char error_from[PROBE_ADDRESS_TEXT]; /* of the router or host that refused it, by ICMP */
};

bool tcp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
void tcp_result(struct canary_run *run, struct result *result);

#endif
