/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what a round of echo requests says.
 *
 * One answer makes a success. Without any, the cause is the first error message that
 * came back, and no_reply when none did.
 */
#include <stdio.h>

#include "agent/icmp/icmp.h"

static void
judge(struct canary_run *run, const char *peer)
{
	if (run->probe.error_type != ERROR_NONE || run->stats.received > 0)
		return;
	if (run->error_type != ERROR_NONE && run->error_from[0])
		probe_fail(&run->probe, run->error_type, "%s, says %s", run->error, run->error_from);
	else if (run->error_type != ERROR_NONE)
		probe_fail(&run->probe, run->error_type, "%s: %s", peer, run->error);
	else if (run->stats.sent == 0)
		probe_fail(&run->probe, ERROR_LOCAL_FAULT,
		           "%s: the local send queue was full for the whole run", peer);
	else
		probe_fail(&run->probe, ERROR_NO_REPLY, "%s: no reply to %u packet%s", peer,
		           run->stats.sent, run->stats.sent == 1 ? "" : "s");
}

void
icmp_result(struct canary_run *run, struct result *result)
{
	char peer[64];

	probe_address_text(&run->peer.addr, peer, sizeof(peer));
	judge(run, peer);
	probe_result(&run->probe, result, "icmp");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->host);
	result->network_transport = "icmp";
	if (run->probe.dns_done)
		result_metric(result, "dns.ms", probe_ms(run->probe.start, run->probe.dns_done));
	if (run->stats.sent > 0)
		stats_emit_packets(&run->stats, &stats_rtt, result);
	if (run->registered)
		probe_result_overflow(
		    probe_overflow(icmp_engine_fd(run->probe.env, run->peer.addr.ss_family)) -
		        run->overflow,
		    result);
	if (run->mtu)
		result_metric(result, "icmp.mtu.bytes", run->mtu);
	if (peer[0])
	{
		result_attribute(result, "network.peer.address", "%s", peer);
		result_attribute(result, "probectl.icmp.mode", "%s",
		                 icmp_engine_raw(run->probe.env, run->peer.addr.ss_family) ? "raw"
		                                                                           : "ping");
	}
	if (run->stats.received > 0)
		result_attribute(result, "probectl.timestamps", "%s", stamp_kind_name(run->stamps));
	stamp_dropped(&run->stats, &run->packets[0].times, sizeof(run->packets[0]), run->probe.start,
	              "probectl.icmp.dropped_seqs", "probectl.icmp.drop_send_offsets_ms", result);
	if (run->error_type != ERROR_NONE)
		result_attribute(result, "probectl.icmp.error", "%s", run->error);
	if (run->error_from[0])
		result_attribute(result, "probectl.icmp.error.from", "%s", run->error_from);
}
