/* SPDX-License-Identifier: PostgreSQL
 *
 * tcp.h -- the parts of the tcp canary.
 *
 * The name is looked up once, before the first attempt, and its time is a metric of its own:
 * a connect time holds nothing but the handshake.
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
#define TCP_CONNECT_TIMEOUT_SHARE 0 /* default: an equal share of what is left of the timeout */

_Static_assert(TCP_COUNT_MAX <= STATS_PROBES_MAX, "the statistics must take every attempt");

struct tcp_cmd
{
	char host[256];
	uint32_t port, count, dscp, connect_timeout_ms;
	enum resolver_family family;
};

struct canary_run
{
	struct probe probe;
	const struct tcp_cmd *cmd;
	struct resolver_answer answer;
	size_t address; /* index into the answer of the one in use */
	uint32_t number;
	int fd; /* of the attempt under way, or -1 */
	int64_t began;
	struct event event;
	struct stats stats;
	enum error_type error_type; /* of the first attempt that failed */
	char error[RESULT_ERROR_MAX];
};

bool tcp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
void tcp_result(struct canary_run *run, struct result *result);

#endif
