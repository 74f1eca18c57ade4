/* SPDX-License-Identifier: PostgreSQL
 *
 * settings.c -- the agent's table of keys (lib/conf.h).
 */
#include "agent/settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/a2a/reflector.h"
#include "agent/confine.h"
#include "agent/udp/echo.h"
#include "agent/resolver.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"

/* The sanitizers' run time has calls of its own. */
#ifdef __SANITIZE_ADDRESS__
#define SECCOMP_DEFAULT "off"
const enum confine_mode settings_seccomp_default = CONFINE_OFF;
#else
#define SECCOMP_DEFAULT "kill"
const enum confine_mode settings_seccomp_default = CONFINE_KILL;
#endif

#define LABELS_MAX      64
#define LABEL_BYTES_MAX 255

/* In the order of enum spool_policy. */
static const char *const spool_policies[] = {"oldest", "newest", "priority", NULL};

#define AT(member) offsetof(struct settings, member)

/* ---- canaries ---- */

static bool
canaries_read(void *settings, const struct conf_node *node, struct conf_error *err)
{
	return tests_read(&((struct settings *) settings)->canaries, node, err);
}

static void
canaries_print(FILE *out, const void *settings)
{
	tests_print(out, &((const struct settings *) settings)->canaries);
}

static void
canaries_clear(void *settings)
{
	tests_free(&((struct settings *) settings)->canaries);
}

static void
canaries_swap(void *a, void *b)
{
	struct test_list *x = &((struct settings *) a)->canaries;
	struct test_list *y = &((struct settings *) b)->canaries;
	struct test_list kept = *x;

	*x = *y;
	*y = kept;
}

static const struct conf_tree canaries_tree = {canaries_read, canaries_print, canaries_clear,
                                               canaries_swap};

/* ---- labels ---- */

static bool
labels_read(void *settings, const struct conf_node *node, struct conf_error *err)
{
	struct settings *s = settings;

	if (node->kind == CONF_NODE_SCALAR && !*conf_node_text(node))
		return true;
	if (node->kind != CONF_NODE_MAP || node->count > LABELS_MAX)
		return conf_fail(err, node->line, "agent.labels must be at most %d keys and values",
		                 LABELS_MAX);
	s->labels = mem_array(node->count, sizeof(*s->labels));
	for (size_t i = 0; i < node->count; i++)
	{
		const char *value = conf_node_text(&node->items[i]);

		if (!value || strlen(value) > LABEL_BYTES_MAX || strlen(node->keys[i]) > LABEL_BYTES_MAX)
			return conf_fail(err, node->items[i].line,
			                 "label %.100s must be a single value of at most %d bytes",
			                 node->keys[i], LABEL_BYTES_MAX);
		s->labels[s->label_count].key = mem_strdup(node->keys[i]);
		s->labels[s->label_count++].value = mem_strdup(value);
	}
	return true;
}

static void
labels_print(FILE *out, const void *settings)
{
	const struct settings *s = settings;

	fputs(s->label_count ? "\n" : " {}\n", out);
	for (size_t i = 0; i < s->label_count; i++)
	{
		fputs("    ", out);
		conf_print_scalar(out, s->labels[i].key);
		fputs(": ", out);
		conf_print_scalar(out, s->labels[i].value);
		fputc('\n', out);
	}
}

static void
labels_clear(void *settings)
{
	struct settings *s = settings;

	for (size_t i = 0; i < s->label_count; i++)
	{
		free(s->labels[i].key);
		free(s->labels[i].value);
	}
	free(s->labels);
	s->labels = NULL;
	s->label_count = 0;
}

static const struct conf_tree labels_tree = {labels_read, labels_print, labels_clear, NULL};

/* ---- the table ---- */

#define TEXT_OF(number)   #number
#define DIGITS_OF(number) TEXT_OF(number)

const struct conf_key settings_keys[] = {
    {"a2a.enabled", CONF_BOOL, AT(a2a_enabled), .def = "true",
     .help = "test to other agents of the tenant and answer them, as the control plane brokers it"},
    {"a2a.listen", CONF_STRING, AT(a2a_listen), .def = "0.0.0.0:0", .flags = CONF_REQUIRED,
     .help = "ADDRESS:PORT where STAMP packets are answered, open while somebody may send some; "
             "port 0 is any"},
    {"a2a.advertise", CONF_STRING, AT(a2a_advertise),
     .help = "address other agents reach this one at; that of the link to the control plane when "
             "not set"},
    {"a2a.allow", CONF_STRING, AT(a2a_allow),
     .help = "prefixes that are answered without a session: 192.0.2.0/24, 2001:db8::/32; none when "
             "not set"},
    {"a2a.rate", CONF_INT, AT(a2a_rate), .def = DIGITS_OF(SETTINGS_A2A_RATE_DEFAULT), .min = 1,
     .max = 1000000, .help = "most STAMP packets answered in a second"},
    {"agent.hostname", CONF_STRING, AT(hostname),
     .help = "name reported to the control plane; the system's when not set"},
    {"agent.labels", CONF_TREE, 0, .tree = &labels_tree,
     .help = "keys and values reported to the control plane"},
    {"agent.heartbeat_interval", CONF_DURATION, AT(heartbeat_interval), .def = "30s", .min = 1000,
     .max = 3600000, .help = "time between heartbeats, unless the control plane says otherwise"},
    {"canaries", CONF_TREE, 0, .tree = &canaries_tree, .flags = CONF_RELOADABLE,
     .help =
         "tests of this agent's own: a list of {name, type, target, interval, timeout, params}"},
    {"control_plane.grpc_addr", CONF_STRING, AT(grpc_addr), .flags = CONF_REQUIRED,
     .help = "host:port of probectl-ingest"},
    {"echo.listen", CONF_STRING, AT(echo_listen),
     .help = "address:port on which requests of udp tests are answered; none when not set"},
    {"echo.rate", CONF_INT, AT(echo_rate), .def = "10000", .min = ECHO_RATE_MIN,
     .max = ECHO_RATE_MAX, .help = "most of them a second; one source gets a tenth of it"},
    {"enroll.server", CONF_STRING, AT(enroll_server),
     .help = "https address of probectl-gateway, for the first start"},
    {"enroll.token_file", CONF_STRING, AT(enroll_token_file),
     .help = "file with a join token, removed after use; the variable PROBECTL_ENROLL_TOKEN wins"},
    {"enroll.ca_file", CONF_STRING, AT(enroll_ca_file),
     .help = "root certificate that the server must show"},
    {"identity.dir", CONF_STRING, AT(identity_dir), .def = "/var/lib/probectl/agent/identity",
     .flags = CONF_REQUIRED, .help = "where key and certificate are kept"},
    CONF_KEY_LOG_LEVEL(AT(log_level)),
    {"seccomp", CONF_ENUM, AT(seccomp), .def = SECCOMP_DEFAULT, .choices = confine_modes,
     .help = "what a system call the agent has no use for does: kill ends the process, log refuses "
             "it and says so, off looks at none"},
    {"spool.dir", CONF_STRING, AT(spool_dir), .def = "/var/lib/probectl/agent/spool",
     .flags = CONF_REQUIRED, .help = "where results wait until they are acknowledged"},
    {"spool.max_records", CONF_INT, AT(spool_max_records), .def = "1000000", .min = 100,
     .max = INT64_C(1000000000), .help = "most results kept"},
    {"spool.max_bytes", CONF_BYTES, AT(spool_max_bytes), .def = "256MiB", .min = 256 * 1024,
     .max = INT64_C(1) << 40, .help = "most disk space used"},
    {"spool.max_age", CONF_DURATION, AT(spool_max_age), .def = "7d", .min = 60000,
     .max = INT64_C(366) * 86400000, .help = "results older than this are not sent any more"},
    {"spool.policy", CONF_ENUM, AT(spool_policy), .def = "oldest", .choices = spool_policies,
     .help = "what a full spool gives up: oldest results, newest ones, or with priority those of "
             "runs that succeeded before others"},
    {"status_socket", CONF_STRING, AT(status_socket),
     .help = "Unix socket that answers GET /metrics; none when not set"},
    {"tests.from_control", CONF_BOOL, AT(tests_from_control), .def = "true",
     .help = "run the tests the control plane has for this agent"},
    {"tests.concurrency", CONF_INT, AT(tests_concurrency), .def = "64", .min = 1, .max = 1024,
     .help = "most tests that run at the same time"},
    {"tests.packets_per_second", CONF_INT, AT(tests_packets), .def = "50000", .min = 0,
     .max = 10000000, .help = "most packets that tests send in a second, about; 0 = no limit"},
    {"user", CONF_STRING, AT(user),
     .help = "user to become when started as root, after the privileged sockets are open"},
};

const size_t settings_key_count = sizeof(settings_keys) / sizeof(settings_keys[0]);

const char *
settings_hostname(const struct settings *s)
{
	static char name[256];

	if (s->hostname)
		return s->hostname;
	if (gethostname(name, sizeof(name) - 1) != 0 || !*name)
		snprintf(name, sizeof(name), "unknown");
	return name;
}

bool
settings_host_port(const char *text, char *host, size_t hostlen, uint16_t *port)
{
	const char *colon = strrchr(text, ':'), *start = text;
	size_t len = colon ? (size_t) (colon - text) : 0;
	int64_t number;

	if (!colon || !conf_parse_int(colon + 1, &number) || number < 1 || number > 65535)
		return false;
	if (len > 2 && text[0] == '[' && text[len - 1] == ']')
	{
		start++;
		len -= 2;
	}
	else if (memchr(text, ':', len))
		return false;
	if (len == 0 || len >= hostlen)
		return false;
	memcpy(host, start, len);
	host[len] = '\0';
	*port = (uint16_t) number;
	return true;
}

static bool
check_a2a(const struct settings *s, struct conf_error *err)
{
	struct reflector_prefix prefixes[REFLECTOR_PREFIXES_MAX];
	struct sockaddr_storage addr;
	struct resolver_address advertised;
	char why[200];
	socklen_t len;

	if (!reflector_address_parse(s->a2a_listen, &addr, &len, why, sizeof(why)))
		return conf_fail(err, 0, "a2a.listen: %s", why);
	if (s->a2a_allow && reflector_prefixes_parse(s->a2a_allow, prefixes, REFLECTOR_PREFIXES_MAX,
	                                             why, sizeof(why)) < 0)
		return conf_fail(err, 0, "a2a.allow: %s", why);
	if (s->a2a_advertise && !resolver_literal(s->a2a_advertise, &advertised))
		return conf_fail(err, 0, "a2a.advertise must be an address, not \"%.64s\"",
		                 s->a2a_advertise);
	return true;
}

bool
settings_check(const void *settings, struct conf_error *err)
{
	const struct settings *s = settings;
	char host[256];
	uint16_t port;

	if (!settings_host_port(s->grpc_addr, host, sizeof(host), &port))
		return conf_fail(err, 0, "control_plane.grpc_addr must be host:port, not \"%.200s\"",
		                 s->grpc_addr);
	if (!check_a2a(s, err))
		return false;
	if (s->enroll_server && !enroll_url_parse(s->enroll_server, host, sizeof(host), &port))
		return conf_fail(err, 0, "enroll.server must be https://host[:port], not \"%.200s\"",
		                 s->enroll_server);
	if (s->enroll_server && !s->enroll_ca_file)
		return conf_fail(err, 0,
		                 "enroll.ca_file must be set with enroll.server: the root certificate that "
		                 "the server must show");
	return true;
}
