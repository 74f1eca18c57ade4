/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of a tcp test.
 *
 * The target is host:port, or a host with the port as a parameter.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/tcp/tcp.h"

static const char *const known[] = {"port",    "count",      "dscp", "connect_timeout_ms",
                                    "hold_ms", "ip_version", NULL};

static bool
cmd_fill(const struct test_spec *spec, struct tcp_cmd *cmd, char *err, size_t errlen)
{
	struct probe_target target;

	if (!probe_target_parse(spec->target, &target, err, errlen))
		return false;
	snprintf(cmd->host, sizeof(cmd->host), "%s", target.host);
	cmd->port = target.port;
	if (!probe_params_known(spec, known, err, errlen) ||
	    !probe_param_uint(spec, "port", 1, 65535, &cmd->port, err, errlen) ||
	    !probe_param_uint(spec, "count", TCP_COUNT_MIN, TCP_COUNT_MAX, &cmd->count, err, errlen) ||
	    !probe_param_uint(spec, "dscp", 0, TCP_DSCP_MAX, &cmd->dscp, err, errlen) ||
	    !probe_param_uint(spec, "connect_timeout_ms", TCP_CONNECT_TIMEOUT_MIN,
	                      TCP_CONNECT_TIMEOUT_MAX, &cmd->connect_timeout_ms, err, errlen) ||
	    !probe_param_uint(spec, "hold_ms", 0, TCP_HOLD_MAX, &cmd->hold_ms, err, errlen) ||
	    !probe_param_family(spec, &cmd->family, err, errlen))
		return false;
	if (cmd->port == 0)
	{
		snprintf(err, errlen, "target: the port is missing; write host:port or set param port");
		return false;
	}
	if (target.port != 0 && cmd->port != target.port)
	{
		snprintf(err, errlen, "param port: is %u, but the target says %u", cmd->port, target.port);
		return false;
	}
	if ((uint64_t) cmd->hold_ms * cmd->count >= spec->timeout_ms)
	{
		snprintf(err, errlen,
		         "param hold_ms: %u connections of %u ms do not fit into the timeout of %u ms",
		         cmd->count, cmd->hold_ms, spec->timeout_ms);
		return false;
	}
	return true;
}

bool
tcp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	struct tcp_cmd *parsed = calloc(1, sizeof(*parsed));

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	parsed->count = TCP_COUNT_DEFAULT;
	parsed->connect_timeout_ms = TCP_CONNECT_TIMEOUT_SHARE;
	if (!cmd_fill(spec, parsed, err, errlen))
	{
		free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}
