/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what an http test says.
 *
 *   http.redirect.ms | dns | connect | tls | (send) | ttfb | transfer      = http.total.ms
 *
 * Each phase is from the end of the one before it, of the last hop; ttfb starts when the last byte of
 * the request has been handed to the kernel. A run that failed says as much as it reached.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/http/http.h"
#include "agent/stats.h"

void
http_judge(struct canary_run *run)
{
	const struct http_cmd *cmd = run->cmd;

	if (!http_expected(cmd, run->parser.status))
		probe_fail(&run->probe, ERROR_HTTP_STATUS, "status %u, expected %s", run->parser.status,
		           cmd->expect_text);
	else if (cmd->body_match_len > 0 && !run->matched)
		probe_fail(&run->probe, ERROR_HTTP_BODY, "the body%s does not contain \"%.100s\"",
		           run->body_limited ? "'s first max_body_bytes" : "", cmd->body_match);
}

static void
phase(struct result *result, const char *name, int64_t from, int64_t to)
{
	if (from && to)
		result_metric(result, name, probe_ms(from, to));
}

static void
emit_phases(const struct canary_run *run, struct result *result)
{
	const struct http_times *t = &run->times;

	phase(result, "http.dns.ms", t->began, t->resolved);
	phase(result, "http.connect.ms", t->connecting, t->connected);
	phase(result, "http.tls.ms", t->connected, t->secured);
	phase(result, "http.ttfb.ms", t->sent, t->first_byte);
	if (t->first_byte)
		phase(result, "http.transfer.ms", t->first_byte, t->finished);
	phase(result, "http.total.ms", run->probe.start, t->finished);
	result_metric(result, "http.redirects", run->redirects);
	if (run->redirects > 0)
		phase(result, "http.redirect.ms", run->probe.start, t->began);
}

static void
emit_answer(const struct canary_run *run, struct result *result)
{
	const struct http_times *t = &run->times;
	double ms = t->first_byte ? (double) (t->finished - t->first_byte) / 1e6 : 0;

	if (run->parser.status == 0)
		return;
	result_metric(result, "http.status", run->parser.status);
	result_metric(result, "http.content.bytes", (double) run->parser.body_bytes);
	/* bits in a millisecond are kilobits in a second; an empty body has no throughput */
	if (ms > 0 && run->parser.body_bytes > 0)
		result_metric(result, "http.throughput.kbps",
		              stats_round((double) run->parser.body_bytes * 8 / ms, 3));
	result_attribute(result, "http.response.status_code", "%u", run->parser.status);
	result_attribute(result, "network.protocol.version", "1.%u", run->parser.minor);
	if (run->body_limited)
		result_attribute(result, "probectl.http.body_limit_reached", "true");
}

static void
emit_time(struct result *result, const char *name, int64_t when)
{
	time_t seconds = (time_t) when;
	struct tm tm;
	char text[32];

	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return;
	result_attribute(result, name, "%s", text);
}

static void
emit_tls(const struct canary_run *run, struct result *result)
{
	const struct tls_seen *seen = run->seen;

	if (seen == NULL)
		return;
	if (seen->version[0])
		result_attribute(result, "tls.protocol.version", "%s", seen->version);
	if (seen->cipher[0])
		result_attribute(result, "tls.cipher.suite", "%s", seen->cipher);
	if (!seen->certificate)
		return;
	result_metric(
	    result, "http.tls.cert_expiry_days",
	    stats_round((double) (seen->not_after - run->probe.start_unix / 1000000000) / 86400, 3));
	result_attribute(result, "probectl.tls.server.subject", "%s", seen->subject);
	result_attribute(result, "probectl.tls.server.issuer", "%s", seen->issuer);
	result_attribute(result, "probectl.tls.server.san", "%s", seen->san);
	emit_time(result, "probectl.tls.server.not_before", seen->not_before);
	emit_time(result, "probectl.tls.server.not_after", seen->not_after);
	result_attribute(result, "probectl.tls.server.verified", "%s",
	                 seen->verified ? "true" : "false");
}

void
http_result(struct canary_run *run, struct result *result)
{
	char text[HTTP_URL_MAX];

	probe_result(&run->probe, result, "http");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->url.host);
	result->server_port = run->cmd->url.port;
	result->network_transport = "tcp";
	result->network_protocol_name = "http";
	emit_phases(run, result);
	emit_answer(run, result);
	http_url_text(&run->url, text, sizeof(text));
	result_attribute(result, "url.full", "%s", text);
	result_attribute(result, "http.request.method", "%s", run->method);
	if (run->answer.count > 0)
	{
		probe_address_text(&run->answer.addresses[run->address].addr, text, sizeof(text));
		result_attribute(result, "network.peer.address", "%s", text);
		result_attribute(result, "network.peer.port", "%u", run->url.port);
	}
	emit_tls(run, result);
}
