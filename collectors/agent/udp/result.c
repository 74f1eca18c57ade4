/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what a round of datagrams says.
 *
 * One answer makes a success. Without any, the cause is the first error that was seen, and no_reply when
 * there was none: a port that is filtered and one whose service does not echo look the same.
 */
#include <stdio.h>

#include "agent/udp/udp.h"

static void
judge(struct canary_run *run, const char *peer)
{
	if (run->probe.error_type != ERROR_NONE || run->stats.received > 0)
		return;
	if (run->error_type != ERROR_NONE && run->error_from[0])
		probe_fail(&run->probe, run->error_type, "%s port %u: %s, says %s", peer, run->cmd->port,
		           run->error, run->error_from);
	else if (run->error_type != ERROR_NONE)
		probe_fail(&run->probe, run->error_type, "%s port %u: %s", peer, run->cmd->port,
		           run->error);
	else if (run->stats.sent == 0)
		probe_fail(&run->probe, ERROR_LOCAL_FAULT,
		           "%s: the local send queue was full for the whole run", peer);
	else
		probe_fail(&run->probe, ERROR_NO_REPLY, "%s port %u: no echo of %u packet%s", peer,
		           run->cmd->port, run->stats.sent, run->stats.sent == 1 ? "" : "s");
}

void
udp_result(struct canary_run *run, struct result *result)
{
	char peer[64];

	probe_address_text(&run->peer.addr, peer, sizeof(peer));
	judge(run, peer);
	probe_result(&run->probe, result, "udp");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->host);
	result->server_port = run->cmd->port;
	result->network_transport = "udp";
	if (run->probe.dns_done)
		result_metric(result, "dns.ms", probe_ms(run->probe.start, run->probe.dns_done));
	if (run->stats.sent > 0)
		stats_emit_packets(&run->stats, &stats_rtt, result);
	if (run->fd >= 0)
		probe_result_overflow(probe_overflow(run->fd), result);
	if (peer[0])
	{
		result_attribute(result, "network.peer.address", "%s", peer);
		result_attribute(result, "network.peer.port", "%u", run->cmd->port);
	}
	if (run->stats.received > 0)
	{
		result_attribute(result, "probectl.udp.responder", "%s",
		                 run->responder == UDP_OURS ? "probectl" : "echo");
		result_attribute(result, "probectl.timestamps", "%s", stamp_kind_name(run->stamps));
	}
	stamp_dropped(&run->stats, &run->packets[0].times, sizeof(run->packets[0]), run->probe.start,
	              "probectl.udp.dropped_seqs", "probectl.udp.drop_send_offsets_ms", result);
	if (run->error_type != ERROR_NONE)
		result_attribute(result, "probectl.udp.error", "%s", run->error);
	if (run->error_from[0])
		result_attribute(result, "probectl.udp.error.from", "%s", run->error_from);
}
