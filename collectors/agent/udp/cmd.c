/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of a udp test.
 *
 * The target is host:port, or a host with the port as a parameter. Packets are spread over the first
 * half of the timeout at most, as those of icmp.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/udp/udp.h"

static const char *const known[] = {"port",       "count", "payload_bytes", "dscp", "interval_ms",
                                    "ip_version", NULL};

static bool
cmd_fill(const struct test_spec *spec, struct udp_cmd *cmd, char *err, size_t errlen)
{
	struct probe_target target;

	if (!probe_target_parse(spec->target, &target, err, errlen))
		return false;
	snprintf(cmd->host, sizeof(cmd->host), "%s", target.host);
	cmd->port = target.port;
	if (!probe_params_known(spec, known, err, errlen) ||
	    !probe_param_uint(spec, "port", 1, 65535, &cmd->port, err, errlen) ||
	    !probe_param_uint(spec, "count", UDP_COUNT_MIN, UDP_COUNT_MAX, &cmd->count, err, errlen) ||
	    !probe_param_uint(spec, "payload_bytes", FRAME_MIN, FRAME_MAX, &cmd->payload_bytes, err,
	                      errlen) ||
	    !probe_param_uint(spec, "dscp", 0, UDP_DSCP_MAX, &cmd->dscp, err, errlen) ||
	    !probe_param_uint(spec, "interval_ms", UDP_INTERVAL_MIN, UDP_INTERVAL_MAX,
	                      &cmd->interval_ms, err, errlen) ||
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
	if (probe_param(spec, "interval_ms") &&
	    (uint64_t) cmd->interval_ms * (cmd->count - 1) * 2 > spec->timeout_ms)
	{
		snprintf(err, errlen,
		         "param interval_ms: %u packets %u ms apart do not fit into half of the timeout "
		         "of %u ms",
		         cmd->count, cmd->interval_ms, spec->timeout_ms);
		return false;
	}
	return true;
}

bool
udp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	struct udp_cmd *parsed = calloc(1, sizeof(*parsed));

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	parsed->count = UDP_COUNT_DEFAULT;
	parsed->payload_bytes = UDP_PAYLOAD_DEFAULT;
	parsed->interval_ms = UDP_INTERVAL_DEFAULT;
	if (!cmd_fill(spec, parsed, err, errlen))
	{
		free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}
