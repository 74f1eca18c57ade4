/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- what a run of the dns canary says.
 *
 * In order of weight: the question was not answered; the answer is bogus; it is not what is
 * expected. A name that does not exist is a failure unless the test expects it.
 */
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "agent/dns/dns.h"

/* The texts of a hop each; the number of attributes of a result is limited. */
static const char *const hop_names[DNS_HOPS_SHOWN] = {
    "probectl.dns.trace.1",  "probectl.dns.trace.2",  "probectl.dns.trace.3",
    "probectl.dns.trace.4",  "probectl.dns.trace.5",  "probectl.dns.trace.6",
    "probectl.dns.trace.7",  "probectl.dns.trace.8",  "probectl.dns.trace.9",
    "probectl.dns.trace.10", "probectl.dns.trace.11", "probectl.dns.trace.12",
    "probectl.dns.trace.13", "probectl.dns.trace.14", "probectl.dns.trace.15",
    "probectl.dns.trace.16"};

/* ---- answers ---- */

/* The records that were asked for, at the end of the aliases. */
static const struct dns_rr *
next_answer(const struct canary_run *run, const struct chain_result *r, size_t *at)
{
	while (r->last && *at < r->last->count)
	{
		const struct dns_rr *rr = &r->last->rrs[(*at)++];
		bool fits = rr->type == run->cmd->type ||
		            (run->cmd->type == DNS_TYPE_ANY && rr->type != DNS_TYPE_RRSIG);

		if (rr->section == DNS_ANSWER && rr->class == DNS_CLASS_IN && fits &&
		    dname_equal(rr->owner, r->final.bytes))
			return rr;
	}
	return NULL;
}

static unsigned
count_answers(const struct canary_run *run, const struct chain_result *r)
{
	unsigned n = 0;
	size_t at = 0;

	while (next_answer(run, r, &at))
		n++;
	return n;
}

/* The next character that counts. */
static char
next_char(const char **text)
{
	while (**text == '"' || (**text == '.' && ((*text)[1] == '\0' || (*text)[1] == ' ')))
		(*text)++;
	return (char) tolower((unsigned char) **text);
}

bool
dns_expected(const char *expected, const char *answer)
{
	while (next_char(&expected) == next_char(&answer))
	{
		if (*expected == '\0')
			return true;
		expected++;
		answer++;
	}
	return false;
}

/* Each expected value that is there sets its bit. */
static unsigned
found_expected(const struct canary_run *run, const struct chain_result *r)
{
	const struct dns_rr *rr;
	unsigned found = 0;
	size_t at = 0;
	char text[1024];

	while ((rr = next_answer(run, r, &at)))
	{
		dns_rdata_text(rr, text, sizeof(text));
		for (size_t i = 0; i < run->cmd->expect_count; i++)
			if (dns_expected(run->cmd->expects[i], text))
				found |= 1U << i;
	}
	return found;
}

/* ---- verdict ---- */

static void
judge_answers(struct canary_run *run, const struct chain_result *r)
{
	const struct dns_cmd *cmd = run->cmd;
	unsigned count = count_answers(run, r), all = (1U << cmd->expect_count) - 1, found;
	char type[24];

	dns_type_text(cmd->type, type, sizeof(type));
	if (count == 0 && (cmd->expect_rcode < 0 || cmd->expect_count > 0))
		probe_fail(&run->probe, ERROR_DNS_ANSWER, "%.120s: no %s record (the name exists)",
		           cmd->name_text, type);
	if (cmd->expect_count == 0 || count == 0)
		return;
	found = found_expected(run, r);
	if (cmd->expect_all ? found == all : found != 0)
		return;
	for (size_t i = 0; i < cmd->expect_count; i++)
		if (!(found & 1U << i))
		{
			probe_fail(&run->probe, ERROR_DNS_ANSWER, "%.100s: %s \"%.80s\" is not in the answer",
			           cmd->name_text, type, cmd->expects[i]);
			return;
		}
}

static void
judge_rcode(struct canary_run *run, const struct chain_result *r)
{
	const struct dns_cmd *cmd = run->cmd;
	char rcode[24], expected[24];
	unsigned wanted = cmd->expect_nxdomain     ? DNS_RCODE_NXDOMAIN
	                  : cmd->expect_rcode >= 0 ? (unsigned) cmd->expect_rcode
	                                           : DNS_RCODE_NOERROR;

	if (r->rcode == wanted)
		return;
	dns_rcode_text(r->rcode, rcode, sizeof(rcode));
	dns_rcode_text(wanted, expected, sizeof(expected));
	if (wanted != DNS_RCODE_NOERROR)
		probe_fail(&run->probe, ERROR_DNS_ANSWER, "%.120s: %s where %s is expected", cmd->name_text,
		           rcode, expected);
	else if (r->rcode == DNS_RCODE_NXDOMAIN)
		probe_fail(&run->probe, ERROR_DNS_NXDOMAIN, "%.120s: the name does not exist",
		           cmd->name_text);
	else
		probe_fail(&run->probe, ERROR_DNS_SERVFAIL, "%.120s: the server answers %s", cmd->name_text,
		           rcode);
}

void
dns_judge(struct canary_run *run)
{
	const struct chain_result *r = chain_result(run->chain);

	if (r->error != ERROR_NONE && r->last == NULL)
	{
		probe_fail(&run->probe, r->error, "%s", r->text);
		return;
	}
	if (r->verdict == CHAIN_BOGUS)
		probe_fail(&run->probe, ERROR_DNS_BOGUS, "%s", r->reason);
	judge_rcode(run, r);
	if (r->error != ERROR_NONE)
		probe_fail(&run->probe, r->error, "%s", r->text);
	if (r->rcode == DNS_RCODE_NOERROR && !run->cmd->expect_nxdomain)
		judge_answers(run, r);
}

/* ---- attributes ---- */

static void
add_server(const struct canary_run *run, struct result *result)
{
	const struct resolver_address *server = &run->servers[run->server];
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) &server->addr;
	char peer[64];

	if (run->server_count == 0)
		return;
	probe_address_text(&server->addr, peer, sizeof(peer));
	result_attribute(result, "probectl.dns.server", strchr(peer, ':') ? "[%s]:%u" : "%s:%u", peer,
	                 ntohs(in4->sin_port));
	result_attribute(result, "network.peer.address", "%s", peer);
	result_attribute(result, "network.peer.port", "%u", ntohs(in4->sin_port));
}

static void
add_answers(const struct canary_run *run, const struct chain_result *r, struct result *result)
{
	char all[RESULT_VALUE_MAX] = "", one[400], name[DNAME_TEXT_MAX];
	const struct dns_rr *rr;
	size_t at = 0, used = 0, shown = 0;

	if (r->links > 0)
		result_attribute(result, "probectl.dns.canonical_name", "%s",
		                 dname_text(r->final.bytes, name, sizeof(name)));
	while ((rr = next_answer(run, r, &at)))
	{
		dns_rdata_text(rr, one, sizeof(one));
		/* Whole records only. */
		if (++shown > DNS_ANSWERS_SHOWN || used + strlen(one) + 6 > sizeof(all))
		{
			snprintf(all + used, sizeof(all) - used, ", ...");
			break;
		}
		used += (size_t) snprintf(all + used, sizeof(all) - used, "%s%s", used ? ", " : "", one);
	}
	if (all[0])
		result_attribute(result, "probectl.dns.answer", "%s", all);
}

static void
add_hop(const struct walk_hop *hop, const char *name, struct result *result)
{
	char zone[100], asked[100], type[24], peer[64];

	probe_address_text(&hop->address.addr, peer, sizeof(peer));
	result_attribute(result, name, "%.80s %s%s%s %s %s: %s%s%s%s, %.3f ms",
	                 dname_text(hop->zone.bytes, zone, sizeof(zone)), hop->server,
	                 hop->server[0] ? " " : "", peer,
	                 dname_text(hop->name.bytes, asked, sizeof(asked)),
	                 dns_type_text(hop->type, type, sizeof(type)), walk_outcome_name(hop->outcome),
	                 hop->detail[0] ? " " : "", hop->detail,
	                 hop->depth ? " (address of a server)" : "", (double) hop->rtt / 1e6);
}

/* The zones on the way in one line, and each step on its own. */
static void
add_trace(const struct canary_run *run, struct result *result)
{
	size_t count, used = 0;
	const struct walk_hop *hops = walk_hops(run->walk, &count);
	const uint8_t *last = NULL;
	char way[RESULT_VALUE_MAX] = "", zone[DNAME_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
	{
		if (hops[i].depth > 0 || (last && dname_equal(last, hops[i].zone.bytes)))
			continue;
		last = hops[i].zone.bytes;
		dname_text(last, zone, sizeof(zone));
		if (used + strlen(zone) + 10 > sizeof(way))
		{
			snprintf(way + used, sizeof(way) - used, " > ...");
			break;
		}
		used += (size_t) snprintf(way + used, sizeof(way) - used, "%s%s", used ? " > " : "", zone);
	}
	result_metric(result, "dns.trace.hops", (double) count);
	result_attribute(result, "probectl.dns.trace", "%s", way);
	for (size_t i = 0; i < count && i < DNS_HOPS_SHOWN; i++)
		add_hop(&hops[i], hop_names[i], result);
}

static void
add_dnssec(const struct chain_result *r, struct result *result)
{
	result_metric(result, "dns.dnssec.secure", r->verdict == CHAIN_SECURE);
	result_metric(result, "dns.dnssec.questions", r->questions);
	result_attribute(result, "probectl.dns.dnssec", "%s", chain_verdict_name(r->verdict));
	if (r->reason[0])
		result_attribute(result, "probectl.dns.dnssec.reason", "%s", r->reason);
}

/* What the server itself says is wrong comes first; else the code for what was found here. */
static void
add_ede(const struct chain_result *r, struct result *result)
{
	const struct dnsmsg *m = r->first;

	if (m && m->ede >= 0)
		result_attribute(result, "probectl.dns.ede", "%d %s%s%s", m->ede, dns_ede_name(m->ede),
		                 m->ede_text[0] ? ": " : "", m->ede_text);
	else if (r->ede >= 0 && r->verdict != CHAIN_SECURE && r->verdict != CHAIN_UNCHECKED)
		result_attribute(result, "probectl.dns.ede", "%d %s", r->ede, dns_ede_name(r->ede));
}

static void
add_tls(const struct canary_run *run, struct result *result)
{
	const struct tls_seen *seen = run->seen;

	if (seen == NULL)
		return;
	if (seen->version[0])
	{
		result_attribute(result, "tls.protocol.version", "%s", seen->version);
		result_attribute(result, "tls.cipher.suite", "%s", seen->cipher);
	}
	if (!seen->certificate)
		return;
	result_attribute(result, "probectl.tls.server.verified", "%s",
	                 seen->verified ? "true" : "false");
	result_attribute(result, "probectl.tls.server.subject", "%s", seen->subject);
	result_attribute(result, "probectl.tls.server.issuer", "%s", seen->issuer);
}

static void
add_times(const struct canary_run *run, struct result *result)
{
	if (run->probe.dns_done)
		result_metric(result, "dns.ms", probe_ms(run->probe.start, run->probe.dns_done));
	if (run->connect_nano)
		result_metric(result, "dns.connect.ms", probe_ms(0, run->connect_nano));
	if (run->tls_nano)
		result_metric(result, "dns.tls.ms", probe_ms(0, run->tls_nano));
	if (!run->answered)
		return;
	result_metric(result, "dns.query.ms", probe_ms(0, run->query_nano));
	if (run->bytes)
		result_metric(result, "dns.answer.bytes", (double) run->bytes);
	if (run->sent > 1)
		result_metric(result, "dns.retransmits", run->sent - 1);
}

void
dns_result(struct canary_run *run, struct result *result)
{
	const struct dns_cmd *cmd = run->cmd;
	const struct chain_result *r = run->chain ? chain_result(run->chain) : NULL;
	char text[24];

	probe_result(&run->probe, result, "dns");
	snprintf(result->server_address, sizeof(result->server_address), "%.255s", cmd->name_text);
	result->network_transport = cmd->transport == XFER_UDP ? "udp" : "tcp";
	result->network_protocol_name = "dns";
	add_times(run, result);
	result_attribute(result, "probectl.dns.qtype", "%s",
	                 dns_type_text(cmd->type, text, sizeof(text)));
	result_attribute(result, "probectl.dns.transport", "%s", dns_transport_name(cmd->transport));
	result_attribute(result, "probectl.dns.mode", "%s", cmd->trace ? "trace" : "resolver");
	add_server(run, result);
	if (run->truncated)
		result_attribute(result, "probectl.dns.truncated", "true");
	if (cmd->transport == XFER_DOH && run->answered)
		result_attribute(result, "network.protocol.version", "%s", run->http2 ? "2" : "1.1");
	if (r && r->last)
	{
		result_metric(result, "dns.answers", count_answers(run, r));
		result_attribute(result, "probectl.dns.rcode", "%s",
		                 dns_rcode_text(r->rcode, text, sizeof(text)));
		add_answers(run, r, result);
	}
	if (r && cmd->dnssec && r->verdict != CHAIN_UNCHECKED)
		add_dnssec(r, result);
	if (r && r->first)
		add_ede(r, result);
	add_tls(run, result);
	if (run->walk)
		add_trace(run, result);
}
