/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what a round of connects says.
 *
 * One connection makes a success; without any, the first failure is the cause.
 */
#include <stdio.h>

#include "agent/tcp/tcp.h"

void
tcp_result(struct canary_run *run, struct result *result)
{
	const struct resolver_address *used = &run->answer.addresses[run->address];
	char peer[64];

	if (run->stats.received == 0 && run->error_type != ERROR_NONE)
		probe_fail(&run->probe, run->error_type, "%s", run->error);
	probe_result(&run->probe, result, "tcp");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->host);
	result->server_port = run->cmd->port;
	result->network_transport = "tcp";
	if (run->probe.dns_done)
		result_metric(result, "dns.ms", probe_ms(run->probe.start, run->probe.dns_done));
	if (run->stats.sent > 0)
		stats_emit(&run->stats, &stats_connect, result);
	if (run->answer.count > 0)
	{
		probe_address_text(&used->addr, peer, sizeof(peer));
		result_attribute(result, "network.peer.address", "%s", peer);
		result_attribute(result, "network.peer.port", "%u", run->cmd->port);
	}
	/* A round that succeeded in part says what went wrong in the other. */
	if (run->stats.received > 0 && run->error_type != ERROR_NONE)
		result_attribute(result, "probectl.tcp.error", "%s", run->error);
	if (run->error_from[0])
		result_attribute(result, "probectl.tcp.error.from", "%s", run->error_from);
}
