/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of an a2a test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/a2a/a2a.h"

/* mesh_id is for whoever reads the results: the mesh the control plane made this test for. */
static const char *const known[] = {"port", "count",      "payload_bytes", "dscp", "interval_ms",
                                    "mode", "ip_version", "mesh_id",       NULL};

static bool
read_mode(const struct test_spec *spec, struct a2a_cmd *cmd, char *err, size_t errlen)
{
	const char *mode = probe_param(spec, "mode");

	if (mode && strcmp(mode, "round") != 0 && strcmp(mode, "continuous") != 0)
	{
		snprintf(err, errlen, "param mode: must be round or continuous, not \"%.40s\"", mode);
		return false;
	}
	cmd->continuous = mode && mode[0] == 'c';
	if (cmd->continuous && probe_param(spec, "interval_ms"))
	{
		snprintf(err, errlen,
		         "param interval_ms: a continuous test spreads its packets over the timeout");
		return false;
	}
	return true;
}

/* "host:862" and "[2001:db8::1]:862" have a port; whatever does not end in one is the name of an agent. */
static bool
has_port(const char *target)
{
	const char *colon = strrchr(target, ':');
	size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

	return digits >= 1 && digits <= 5 && colon[1 + digits] == '\0';
}

static bool
read_target(const struct test_spec *spec, struct probe_target *target, char *err, size_t errlen)
{
	if (has_port(spec->target) || probe_param(spec, "port"))
		return probe_target_parse(spec->target, target, err, errlen);
	target->port = 0;
	if ((size_t) snprintf(target->host, sizeof(target->host), "%s", spec->target) <
	    sizeof(target->host))
		return true;
	snprintf(err, errlen, "target: no agent has so long a name");
	return false;
}

static bool
cmd_fill(const struct test_spec *spec, struct a2a_cmd *cmd, char *err, size_t errlen)
{
	struct probe_target target;

	if (!read_target(spec, &target, err, errlen))
		return false;
	snprintf(cmd->host, sizeof(cmd->host), "%s", target.host);
	cmd->port = target.port;
	if (!probe_params_known(spec, known, err, errlen) ||
	    !probe_param_uint(spec, "port", 1, 65535, &cmd->port, err, errlen) ||
	    !probe_param_uint(spec, "count", A2A_COUNT_MIN, A2A_COUNT_MAX, &cmd->count, err, errlen) ||
	    !probe_param_uint(spec, "payload_bytes", A2A_PAYLOAD_MIN, A2A_PAYLOAD_MAX,
	                      &cmd->payload_bytes, err, errlen) ||
	    !probe_param_uint(spec, "dscp", 0, A2A_DSCP_MAX, &cmd->dscp, err, errlen) ||
	    !probe_param_uint(spec, "interval_ms", A2A_INTERVAL_MIN, A2A_INTERVAL_MAX,
	                      &cmd->interval_ms, err, errlen) ||
	    !probe_param_family(spec, &cmd->family, err, errlen) || !read_mode(spec, cmd, err, errlen))
		return false;
	if (cmd->port == 0 && has_port(spec->target))
	{
		snprintf(err, errlen, "target: write an IPv6 address with a port as [address]:port");
		return false;
	}
	if (target.port != 0 && cmd->port != target.port)
	{
		snprintf(err, errlen, "param port: is %u, but the target says %u", cmd->port, target.port);
		return false;
	}
	if (cmd->port == 0 && cmd->payload_bytes < A2A_BASE + A2A_TLV_HEADER + A2A_TOKEN_BYTES)
	{
		snprintf(err, errlen, "param payload_bytes: packets to another agent have %d at least",
		         A2A_BASE + A2A_TLV_HEADER + A2A_TOKEN_BYTES);
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
a2a_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	struct a2a_cmd *parsed = calloc(1, sizeof(*parsed));

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	parsed->count = A2A_COUNT_DEFAULT;
	parsed->payload_bytes = A2A_PAYLOAD_DEFAULT;
	parsed->interval_ms = A2A_INTERVAL_DEFAULT;
	if (!cmd_fill(spec, parsed, err, errlen))
	{
		free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}
