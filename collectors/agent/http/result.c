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
	char words[200];

	if (!http_expected(cmd, run->parser.status))
		probe_fail(&run->probe, ERROR_HTTP_STATUS, "status %u, expected %s", run->parser.status,
		           cmd->expect_text);
	else if (http_rules_broken(run, words, sizeof(words)))
		probe_fail(&run->probe, ERROR_HTTP_HEADER, "%s", words);
	else if (cmd->body_match_len > 0 && !run->matched)
		probe_fail(&run->probe, ERROR_HTTP_BODY, "the body%s does not contain \"%.100s\"",
		           run->body_limited ? "'s first max_body_bytes" : "", cmd->body_match);
}

/* ---- hops ---- */

static const char *const hop_names[HTTP_REDIRECTS_MAX + 1] = {
    "probectl.http.hop.1", "probectl.http.hop.2",  "probectl.http.hop.3", "probectl.http.hop.4",
    "probectl.http.hop.5", "probectl.http.hop.6",  "probectl.http.hop.7", "probectl.http.hop.8",
    "probectl.http.hop.9", "probectl.http.hop.10", "probectl.http.hop.11"};

static size_t
append_phase(char *buf, size_t len, size_t used, const char *name, int64_t from, int64_t to)
{
	if (from == 0 || to == 0 || used >= len)
		return used;
	return used + (size_t) snprintf(buf + used, len - used, " %s=%.3f", name, probe_ms(from, to));
}

/* The URL is last, for it alone may be so long that it is cut. */
void
http_hop_text(const struct canary_run *run, char *buf, size_t len)
{
	const struct http_times *t = &run->times;
	char peer[64] = "-", url[HTTP_URL_MAX];
	size_t used;

	if (run->answer.count > 0)
		probe_address_text(&run->answer.addresses[run->address].addr, peer, sizeof(peer));
	used = (size_t) snprintf(buf, len, "%u %s", run->parser.status, peer);
	used = append_phase(buf, len, used, "dns", t->began, t->resolved);
	used = append_phase(buf, len, used, "connect", t->connecting, t->connected);
	used = append_phase(buf, len, used, "tls", t->connected, t->secured);
	used = append_phase(buf, len, used, "ttfb", t->sent, t->first_byte);
	used = append_phase(buf, len, used, "transfer", t->first_byte, t->finished);
	used = append_phase(buf, len, used, "total", t->began, t->finished);
	http_url_text(&run->url, url, sizeof(url));
	if (used < len)
		snprintf(buf + used, len - used, " %s", url);
}

static void
emit_hops(const struct canary_run *run, struct result *result)
{
	char line[RESULT_VALUE_MAX];

	if (run->redirects == 0)
		return;
	for (unsigned i = 0; i < run->redirects; i++)
		if (run->hops[i])
			result_attribute(result, hop_names[i], "%s", run->hops[i]);
	http_hop_text(run, line, sizeof(line));
	result_attribute(result, hop_names[run->redirects], "%s", line);
}

/* ---- result ---- */

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
	if (run->http2)
		result_attribute(result, "network.protocol.version", "2");
	else
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

/* The certificates as the server showed them, the leaf first. */
static const char *const chain_names[TLS_CHAIN_MAX] = {
    "probectl.tls.server.chain.1", "probectl.tls.server.chain.2", "probectl.tls.server.chain.3",
    "probectl.tls.server.chain.4", "probectl.tls.server.chain.5", "probectl.tls.server.chain.6",
    "probectl.tls.server.chain.7", "probectl.tls.server.chain.8"};

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
	for (size_t i = 0; i < seen->chain_count; i++)
		result_attribute(result, chain_names[i], "%s", seen->chain[i]);
	result_attribute(result, "probectl.tls.ocsp_staple", "%s", seen->staple);
}

void
http_result(struct canary_run *run, struct result *result)
{
	char text[HTTP_URL_MAX];

	probe_result(&run->probe, result, "http");
	snprintf(result->server_address, sizeof(result->server_address), "%s", run->cmd->url->host);
	result->server_port = run->cmd->url->port;
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
	emit_hops(run, result);
	emit_tls(run, result);
}
