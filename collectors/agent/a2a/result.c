/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what a round of STAMP packets says.
 *
 * One reply makes a success. What the clocks do not allow to be said is not said: there is no delay of one direction
 * without its uncertainty, and no loss of one that may have been the other's.
 */
#include <stdio.h>
#include <string.h>

#include "agent/a2a/a2a.h"

static const struct stats_names forward_names = {
    "forward.min.ms", "forward.avg.ms", "forward.max.ms", "forward.stddev.ms", "forward.median.ms"};
static const struct stats_names reverse_names = {
    "reverse.min.ms", "reverse.avg.ms", "reverse.max.ms", "reverse.stddev.ms", "reverse.median.ms"};

static const char *const one_way_names[] = {
    [TRACK_NONE] = "none", [TRACK_ABSOLUTE] = "absolute", [TRACK_RELATIVE] = "relative"};

static void
judge(struct canary_run *run, const char *peer)
{
	const struct track *track = &run->track;

	if (run->probe.error_type != ERROR_NONE || track->received > 0)
		return;
	if (run->error_type != ERROR_NONE)
		probe_fail(&run->probe, run->error_type, "%s", run->error);
	else if (track->sent == 0)
		probe_fail(&run->probe, ERROR_LOCAL_FAULT,
		           "%s: the local send queue was full for the whole run", peer);
	else
		probe_fail(&run->probe, ERROR_NO_REPLY, "%s: no reply to %u packet%s", peer, track->sent,
		           track->sent == 1 ? "" : "s");
}

static void
put_direction(struct result *r, const struct stats *stats, const struct stats_names *names,
              const char *jitter)
{
	if (stats->received == 0)
		return;
	result_metric(r, names->min, stats_round(stats->min, 3));
	result_metric(r, names->avg, stats_round(stats->mean, 3));
	result_metric(r, names->max, stats_round(stats->max, 3));
	result_metric(r, names->stddev, stats_stddev(stats));
	result_metric(r, names->median, stats_median(stats));
	result_metric(r, jitter, stats_jitter(stats));
}

static double
ratio(uint32_t part, uint32_t whole)
{
	return whole ? stats_round((double) part / whole, 4) : 0;
}

static void
put_metrics(const struct track *track, const struct track_summary *s, struct result *r)
{
	stats_emit(&s->rtt, &stats_rtt, r);
	result_metric(r, "packets.duplicates", s->duplicates_forward + s->duplicates_reverse);
	result_metric(r, "packets.reordered", s->reordered_forward + s->reordered_reverse);
	if (track->stateful)
	{
		result_metric(r, "forward.reordered", s->reordered_forward);
		result_metric(r, "reverse.reordered", s->reordered_reverse);
	}
	if (s->directional)
	{
		result_metric(r, "forward.loss.ratio",
		              ratio(s->lost_forward, track->sent - s->unattributed));
		result_metric(r, "reverse.loss.ratio", ratio(s->lost_reverse, s->arrived));
		if (s->unattributed)
			result_metric(r, "packets.unattributed", s->unattributed);
	}
	put_direction(r, &s->forward, &forward_names, "forward.jitter.ms");
	put_direction(r, &s->reverse, &reverse_names, "reverse.jitter.ms");
	if (track->received > 0)
		result_metric(r, "reflector.dwell.ms", s->dwell_ms);
	if (s->one_way == TRACK_NONE)
		return;
	result_metric(r, "oneway.uncertainty.ms", s->one_way_uncertainty_ms);
	result_metric(r, "clock.offset.ms", s->offset_ms);
	result_metric(r, "clock.uncertainty.ms", s->uncertainty_ms);
}

static const char *
clock_word(const struct track_summary *s)
{
	switch (s->one_way)
	{
		case TRACK_RELATIVE: return "disagree";
		case TRACK_ABSOLUTE: return s->synchronized ? "synchronized" : "unsynchronized";
		default: return "unknown";
	}
}

static void
put_attributes(const struct canary_run *run, const struct track_summary *s, struct result *r)
{
	const struct track *track = &run->track;
	const char *mesh = probe_param(run->probe.spec, "mesh_id");

	result_attribute(r, "probectl.a2a.role", "initiator");
	result_attribute(r, "probectl.a2a.mode", "%s", run->cmd->continuous ? "continuous" : "round");
	if (run->session.session_id[0])
	{
		result_attribute(r, "probectl.a2a.session_id", "%s", run->session.session_id);
		result_attribute(r, "probectl.a2a.peer_agent_id", "%s", run->session.peer_id);
	}
	if (mesh)
		result_attribute(r, "probectl.a2a.mesh_id", "%.40s", mesh);
	if (track->received > 0)
	{
		result_attribute(r, "probectl.a2a.oneway", "%s", one_way_names[s->one_way]);
		result_attribute(r, "probectl.a2a.clock", "%s", clock_word(s));
		result_attribute(r, "probectl.a2a.timestamps", "%s",
		                 s->local == TRACK_KERNEL ? "kernel" : "user");
		result_attribute(r, "probectl.a2a.reflector.timestamps", "%s",
		                 s->remote == TRACK_KERNEL ? "kernel" : "packet");
		result_attribute(r, "probectl.a2a.reflector.mode", "%s",
		                 track->stateful ? "stateful" : "unknown");
		if (track->ttl_forward)
			result_attribute(r, "probectl.a2a.forward.ttl", "%u", track->ttl_forward);
		if (track->ttl_reverse)
			result_attribute(r, "probectl.a2a.reverse.ttl", "%u", track->ttl_reverse);
	}
	/* A round that succeeded in part says what went wrong in the other. */
	if (track->received > 0 && run->error_type != ERROR_NONE)
		result_attribute(r, "probectl.a2a.error", "%s", run->error);
}

void
a2a_result(struct canary_run *run, struct result *result)
{
	struct track_summary summary;
	char peer[64];

	probe_address_text(&run->peer.addr, peer, sizeof(peer));
	judge(run, peer);
	probe_result(&run->probe, result, "a2a");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->host);
	result->server_port = run->cmd->port;
	result->network_transport = "udp";
	result->network_protocol_name = "stamp";
	if (run->probe.dns_done)
		result_metric(result, "dns.ms", probe_ms(run->probe.start, run->probe.dns_done));
	track_summarize(&run->track, &summary);
	if (run->track.sent > 0)
		put_metrics(&run->track, &summary, result);
	if (peer[0])
	{
		result_attribute(result, "network.peer.address", "%s", peer);
		result_attribute(result, "network.peer.port", "%u",
		                 run->session.session_id[0] ? run->session.port : run->cmd->port);
	}
	put_attributes(run, &summary, result);
}
