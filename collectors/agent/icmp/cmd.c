/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of an icmp test.
 *
 * The target is a host name or an address. Packets are spread over the first half of the timeout at
 * most, so that the last one has the other half to come back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/icmp/icmp.h"

static const char *const known[] = {"count", "payload_bytes", "dscp", "interval_ms",
                                    "df",    "ip_version",    NULL};

static bool
cmd_fill(const struct test_spec *spec, struct icmp_cmd *cmd, char *err, size_t errlen)
{
	struct probe_target target;

	if (!probe_target_parse(spec->target, &target, err, errlen))
		return false;
	if (target.port != 0)
	{
		snprintf(err, errlen, "target: icmp has no ports; write the host alone");
		return false;
	}
	snprintf(cmd->host, sizeof(cmd->host), "%s", target.host);
	if (!probe_params_known(spec, known, err, errlen) ||
	    !probe_param_uint(spec, "count", ICMP_COUNT_MIN, ICMP_COUNT_MAX, &cmd->count, err,
	                      errlen) ||
	    !probe_param_uint(spec, "payload_bytes", ICMP_PAYLOAD_MIN, ICMP_PAYLOAD_MAX,
	                      &cmd->payload_bytes, err, errlen) ||
	    !probe_param_uint(spec, "dscp", 0, ICMP_DSCP_MAX, &cmd->dscp, err, errlen) ||
	    !probe_param_uint(spec, "interval_ms", ICMP_INTERVAL_MIN, ICMP_INTERVAL_MAX,
	                      &cmd->interval_ms, err, errlen) ||
	    !probe_param_bool(spec, "df", &cmd->df, err, errlen) ||
	    !probe_param_family(spec, &cmd->family, err, errlen))
		return false;
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
icmp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	struct icmp_cmd *parsed = calloc(1, sizeof(*parsed));

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	parsed->count = ICMP_COUNT_DEFAULT;
	parsed->payload_bytes = ICMP_PAYLOAD_DEFAULT;
	parsed->interval_ms = ICMP_INTERVAL_DEFAULT;
	if (!cmd_fill(spec, parsed, err, errlen))
	{
		free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}
