/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of a dns test.
 *
 * The target is the name that is asked for; the server is a parameter, and without it the
 * servers of resolv.conf are asked. Each parameter has a check of its own that leaves a
 * sentence with the parameter's name; a table runs them in order.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/dns/dns.h"
#include "agent/http/url.h"

static const char *const known[] = {"type",
                                    "server",
                                    "transport",
                                    "mode",
                                    "dnssec",
                                    "server_name",
                                    "ca_file",
                                    "path",
                                    "expect_rcode",
                                    "tries",
                                    "ip_version",
                                    "expect_answer",
                                    "expect_match",
                                    "trust_anchor",
                                    "root_hints",
                                    "port",
                                    "expect_nxdomain",
                                    "trust_anchor_file",
                                    NULL};

static const char *const transports[] = {
    [XFER_UDP] = "udp", [XFER_TCP] = "tcp", [XFER_DOT] = "dot", [XFER_DOH] = "doh", NULL};
static const char *const modes[] = {"resolver", "trace", NULL};
static const char *const matches[] = {"one", "all", NULL};

typedef bool (*check)(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen);

const char *
dns_transport_name(enum xfer_transport transport)
{
	return transports[transport];
}

/* A parameter that is one of some words; its index. */
static bool
word_param(const struct test_spec *spec, const char *key, const char *const *words, int *index,
           char *err, size_t errlen)
{
	const char *value = probe_param(spec, key);
	size_t used;

	*index = 0;
	if (value == NULL)
		return true;
	for (*index = 0; words[*index]; (*index)++)
		if (strcmp(words[*index], value) == 0)
			return true;
	snprintf(err, errlen, "param %s: must be one of", key);
	for (int i = 0; words[i]; i++)
	{
		used = strlen(err);
		snprintf(err + used, errlen - used, "%s %s", i ? "," : "", words[i]);
	}
	used = strlen(err);
	snprintf(err + used, errlen - used, "; not \"%.40s\"", value);
	return false;
}

static bool
check_words(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	int transport, mode, match;

	if (!word_param(spec, "transport", transports, &transport, err, errlen) ||
	    !word_param(spec, "mode", modes, &mode, err, errlen) ||
	    !word_param(spec, "expect_match", matches, &match, err, errlen))
		return false;
	cmd->transport = (enum xfer_transport) transport;
	cmd->trace = mode == 1;
	cmd->expect_all = match == 1;
	if (cmd->trace && transport != XFER_UDP && transport != XFER_TCP)
	{
		snprintf(err, errlen,
		         "param transport: in trace mode it is udp or tcp; the servers of "
		         "zones do not speak %s",
		         transports[transport]);
		return false;
	}
	return true;
}

/* An address asks for its name in the reverse tree (RFC 1035 section 3.5, RFC 3596 section 2.5). */
static void
reverse_name(const char *target, char *buf, size_t len)
{
	uint8_t address[16];
	size_t used = 0;

	snprintf(buf, len, "%s", target);
	if (inet_pton(AF_INET, target, address) == 1)
		snprintf(buf, len, "%u.%u.%u.%u.in-addr.arpa.", address[3], address[2], address[1],
		         address[0]);
	else if (inet_pton(AF_INET6, target, address) == 1)
	{
		for (int i = 15; i >= 0; i--)
			used += (size_t) snprintf(buf + used, len - used, "%x.%x.", address[i] & 0xf,
			                          address[i] >> 4);
		snprintf(buf + used, len - used, "ip6.arpa.");
	}
}

static bool
check_question(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *type = probe_param(spec, "type");
	char name[TEST_TARGET_MAX + 1];

	cmd->type = type ? dns_type_parse(type) : DNS_TYPE_A;
	if (cmd->type == 0)
	{
		snprintf(err, errlen,
		         "param type: must be a record type like A, MX, CAA or TYPE65, not \"%.40s\"",
		         type);
		return false;
	}
	snprintf(name, sizeof(name), "%s", spec->target);
	if (cmd->type == DNS_TYPE_PTR)
		reverse_name(spec->target, name, sizeof(name));
	if (!dname_parse(name, &cmd->name))
	{
		snprintf(err, errlen,
		         "target: \"%.60s\" is no domain name (labels of 1 to 63 bytes, 255 in all)", name);
		return false;
	}
	dname_text(cmd->name.bytes, cmd->name_text, sizeof(cmd->name_text));
	return true;
}

/* A DoH server may be written as its URL. */
static bool
server_url(const char *text, struct dns_cmd *cmd, char *err, size_t errlen)
{
	struct http_url url;
	char reason[160];

	if (!http_url_parse(text, &url, reason, sizeof(reason)) || !url.tls)
	{
		snprintf(err, errlen, "param server: must be an https URL or host[:port]: \"%.60s\"", text);
		return false;
	}
	snprintf(cmd->host, sizeof(cmd->host), "%s", url.host);
	snprintf(cmd->path, sizeof(cmd->path), "%s", url.path);
	cmd->port = url.port;
	return true;
}

static bool
check_server(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	static const uint32_t ports[] = {DNS_PORT, DNS_PORT, DNS_PORT_DOT, DNS_PORT_DOH};
	const char *value = probe_param(spec, "server"), *path = probe_param(spec, "path");
	struct probe_target target = {0};
	char reason[160];

	cmd->port = ports[cmd->transport];
	snprintf(cmd->path, sizeof(cmd->path), "%s", DNS_PATH_DEFAULT);
	if (value && cmd->trace)
	{
		snprintf(err, errlen,
		         "param server: a trace starts at the root; set root_hints to start elsewhere");
		return false;
	}
	if (value && cmd->transport == XFER_DOH && strstr(value, "://"))
	{
		if (!server_url(value, cmd, err, errlen))
			return false;
	}
	else if (value)
	{
		if (!probe_target_parse(value, &target, reason, sizeof(reason)))
		{
			snprintf(err, errlen, "param server: must be host or host:port, not \"%.60s\"", value);
			return false;
		}
		snprintf(cmd->host, sizeof(cmd->host), "%s", target.host);
		cmd->port = target.port ? target.port : cmd->port;
	}
	if (!cmd->trace && probe_param(spec, "port"))
	{
		snprintf(err, errlen,
		         "param port: is that of the servers of a trace; write server as "
		         "host:port");
		return false;
	}
	if (path && (path[0] != '/' || strlen(path) >= sizeof(cmd->path) || strpbrk(path, " \r\n\t")))
	{
		snprintf(err, errlen, "param path: must start with / and have no spaces");
		return false;
	}
	if (path)
		snprintf(cmd->path, sizeof(cmd->path), "%s", path);
	return probe_param_uint(spec, "port", 1, 65535, &cmd->port, err, errlen);
}

static bool
check_tls(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *name = probe_param(spec, "server_name"), *file = probe_param(spec, "ca_file");
	bool secure = cmd->transport == XFER_DOT || cmd->transport == XFER_DOH;

	if (!secure && (name || file))
	{
		snprintf(err, errlen, "param %s: only transport dot and doh have a certificate",
		         name ? "server_name" : "ca_file");
		return false;
	}
	if (!secure)
		return true;
	if (cmd->host[0] == '\0')
	{
		snprintf(err, errlen, "param server: transport %s needs one",
		         dns_transport_name(cmd->transport));
		return false;
	}
	file = file ? file : tls_ca_default();
	if (file[0] != '/' || strlen(file) >= sizeof(cmd->ca_file))
	{
		snprintf(err, errlen, "param ca_file: must be an absolute path of at most %zu characters",
		         sizeof(cmd->ca_file) - 1);
		return false;
	}
	name = name ? name : cmd->host;
	if (name[0] == '\0' || strlen(name) >= sizeof(cmd->server_name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:") !=
	        strlen(name))
	{
		snprintf(err, errlen, "param server_name: must be a host name or an address");
		return false;
	}
	snprintf(cmd->ca_file, sizeof(cmd->ca_file), "%s", file);
	snprintf(cmd->server_name, sizeof(cmd->server_name), "%s", name);
	snprintf(cmd->authority, sizeof(cmd->authority), strchr(name, ':') ? "[%s]" : "%s", name);
	if (cmd->port != DNS_PORT_DOH)
	{
		size_t used = strlen(cmd->authority);

		snprintf(cmd->authority + used, sizeof(cmd->authority) - used, ":%u", cmd->port);
	}
	return true;
}

/* Values with commas between; a comma of the value itself is written "\,". */
static bool
check_expect_answer(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *value = probe_param(spec, "expect_answer");
	char *to;

	if (value == NULL)
		return true;
	cmd->expect = to = calloc(strlen(value) + 2, 1);
	if (to == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	for (;;)
	{
		if (cmd->expect_count == DNS_EXPECT_MAX)
		{
			snprintf(err, errlen, "param expect_answer: has more than %d values", DNS_EXPECT_MAX);
			return false;
		}
		cmd->expects[cmd->expect_count++] = to;
		value += strspn(value, " ");
		while (*value && *value != ',')
		{
			if (value[0] == '\\' && value[1] == ',')
				value++;
			*to++ = *value++;
		}
		*to++ = '\0';
		if (cmd->expects[cmd->expect_count - 1][0] == '\0')
		{
			snprintf(err, errlen, "param expect_answer: has an empty value");
			return false;
		}
		if (*value == '\0')
			return true;
		value++;
	}
}

static bool
check_expect(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *rcode = probe_param(spec, "expect_rcode");

	cmd->expect_rcode = rcode ? dns_rcode_parse(rcode) : -1;
	if (rcode && cmd->expect_rcode < 0)
	{
		snprintf(
		    err, errlen,
		    "param expect_rcode: must be NOERROR, NXDOMAIN, REFUSED or the like, not \"%.40s\"",
		    rcode);
		return false;
	}
	if (!probe_param_bool(spec, "expect_nxdomain", &cmd->expect_nxdomain, err, errlen) ||
	    !check_expect_answer(spec, cmd, err, errlen))
		return false;
	if (cmd->expect_nxdomain && (cmd->expect_count || rcode))
	{
		snprintf(err, errlen,
		         "param expect_nxdomain: leaves nothing for expect_answer or "
		         "expect_rcode to say");
		return false;
	}
	if (cmd->expect_count && cmd->expect_rcode > 0)
	{
		snprintf(err, errlen, "param expect_answer: an answer has the rcode NOERROR");
		return false;
	}
	return true;
}

static bool
check_anchor(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *text = probe_param(spec, "trust_anchor");
	const char *file = probe_param(spec, "trust_anchor_file");
	char reason[256];
	bool ok = true;

	if (!probe_param_bool(spec, "dnssec", &cmd->dnssec, err, errlen))
		return false;
	if ((text || file) && !cmd->dnssec)
	{
		snprintf(err, errlen, "param %s: is used with dnssec true only",
		         text ? "trust_anchor" : "trust_anchor_file");
		return false;
	}
	if (text && file)
	{
		snprintf(err, errlen,
		         "param trust_anchor: is set, and trust_anchor_file as well; one will "
		         "do");
		return false;
	}
	if (!cmd->dnssec)
		return true;
	cmd->anchors = calloc(1, sizeof(*cmd->anchors));
	if (cmd->anchors == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	if (text)
		ok = anchors_parse(cmd->anchors, text, reason, sizeof(reason));
	else if (file)
		ok = anchors_load(cmd->anchors, file, reason, sizeof(reason));
	else
		anchors_default(cmd->anchors);
	if (!ok)
		snprintf(err, errlen, "param %s: %.180s", text ? "trust_anchor" : "trust_anchor_file",
		         reason);
	return ok;
}

static bool
check_hints(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	const char *value = probe_param(spec, "root_hints");
	char reason[256];
	bool ok = true;

	if (value && !cmd->trace)
	{
		snprintf(err, errlen, "param root_hints: is used with mode trace only");
		return false;
	}
	if (!cmd->trace)
		return true;
	cmd->hints = calloc(1, sizeof(*cmd->hints));
	if (cmd->hints == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	if (value && value[0] == '/')
		ok = hints_load(cmd->hints, value, reason, sizeof(reason));
	else if (value)
		ok = hints_parse(cmd->hints, value, reason, sizeof(reason));
	else
		hints_default(cmd->hints);
	if (!ok)
		snprintf(err, errlen, "param root_hints: %.200s", reason);
	return ok;
}

static bool
check_rest(const struct test_spec *spec, struct dns_cmd *cmd, char *err, size_t errlen)
{
	cmd->tries = XFER_UDP_TRIES_DEFAULT;
	return probe_param_uint(spec, "tries", XFER_UDP_TRIES_MIN, XFER_UDP_TRIES_MAX, &cmd->tries, err,
	                        errlen) &&
	       probe_param_family(spec, &cmd->family, err, errlen);
}

bool
dns_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	static const check checks[] = {check_words,  check_question, check_server, check_tls,
	                               check_expect, check_anchor,   check_hints,  check_rest};
	struct dns_cmd *parsed = calloc(1, sizeof(*parsed));
	bool ok;

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	ok = probe_params_known(spec, known, err, errlen);
	for (size_t i = 0; ok && i < sizeof(checks) / sizeof(checks[0]); i++)
		ok = checks[i](spec, parsed, err, errlen);
	if (!ok)
	{
		dns_cmd_free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}

void
dns_cmd_free(void *cmd)
{
	struct dns_cmd *parsed = cmd;

	if (parsed == NULL)
		return;
	free(parsed->expect);
	free(parsed->anchors);
	free(parsed->hints);
	free(parsed);
}
