/* SPDX-License-Identifier: PostgreSQL
 *
 * once.c -- one run of one test from the command line.
 *
 * The bars are drawn from the metrics of the result, not from the canary's own state: what
 * a person sees here is exactly what the control plane would get.
 */
#include "agent/once.h"

#include <errno.h>
#include <event2/event.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/a2a/meet.h"
#include "agent/a2a/reflector.h"
#include "agent/canary.h"
#include "agent/guard.h"
#include "agent/probe.h"
#include "agent/resolver.h"

#define TIMEOUT_MIN     100
#define TIMEOUT_DEFAULT 10000
#define TIMEOUT_MAX     60000
#define BAR_WIDTH       40

enum
{
	EXIT_SUCCEEDED = 0,
	EXIT_FAILED = 1,
	EXIT_INPUT = 2
};

struct once
{
	struct event_base *base;
	bool json;
	int status;
};

/* The phases of a waterfall in their order; a bar starts where the one before it ended. word is that of
 * a hop's line. */
static const struct
{
	const char *metric, *word, *label;
} waterfall[] = {
    {"http.redirect.ms", "", "redirects"},         {"http.dns.ms", "dns", "name look-up"},
    {"http.connect.ms", "connect", "connect"},     {"http.tls.ms", "tls", "TLS handshake"},
    {"http.ttfb.ms", "ttfb", "wait (first byte)"}, {"http.transfer.ms", "transfer", "transfer"},
};

static const char *const spread[][4] = {
    {"rtt.min.ms", "rtt.median.ms", "rtt.avg.ms", "rtt.max.ms"},
    {"connect.min.ms", "connect.median.ms", "connect.avg.ms", "connect.max.ms"},
};

double
once_metric(const struct result *r, const char *name)
{
	for (size_t i = 0; i < r->metric_count; i++)
		if (strcmp(r->metrics[i].name, name) == 0)
			return r->metrics[i].value;
	return NAN;
}

/* ---- JSON ---- */

static void
json_string(const char *text)
{
	putchar('"');
	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < 0x20)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}

static void
json_member(const char *name, const char *value, const char *after)
{
	json_string(name);
	putchar(':');
	json_string(value);
	fputs(after, stdout);
}

/* The names of result.proto. */
static void
print_json(const struct result *r)
{
	putchar('{');
	json_member("result_id", r->result_id, ",");
	json_member("canary_type", r->type, ",");
	json_member("server_address", r->server_address, ",");
	printf("\"server_port\":%u,", r->server_port);
	json_member("network_transport", r->network_transport, ",");
	json_member("network_protocol_name", r->network_protocol_name, ",");
	printf("\"success\":%s,", r->success ? "true" : "false");
	json_member("error_type", error_type_name(r->error_type), ",");
	json_member("error_message", r->error, ",");
	printf("\"start_time_unix_nano\":%lld,\"duration_nano\":%lld,\"metrics\":{",
	       (long long) r->start_unix_nano, (long long) r->duration_nano);
	for (size_t i = 0; i < r->metric_count; i++)
	{
		json_string(r->metrics[i].name);
		printf(":%.15g%s", r->metrics[i].value, i + 1 < r->metric_count ? "," : "");
	}
	printf("},\"attributes\":{");
	for (size_t i = 0; i < r->attribute_count; i++)
		json_member(r->attributes[i].name, r->attributes[i].value,
		            i + 1 < r->attribute_count ? "," : "");
	puts("}}");
}

/* ---- text ---- */

static void
print_bar(const char *label, double from, double length, double whole)
{
	int start = whole > 0 ? (int) lround(from / whole * BAR_WIDTH) : 0;
	int bar = whole > 0 ? (int) lround(length / whole * BAR_WIDTH) : 0;

	if (start > BAR_WIDTH - 1)
		start = BAR_WIDTH - 1;
	if (bar < 1)
		bar = 1;
	if (start + bar > BAR_WIDTH)
		bar = BAR_WIDTH - start;
	printf("  %-18s%10.3f ms  |%*s", label, length, start, "");
	for (int i = 0; i < bar; i++)
		putchar('#');
	printf("%*s|\n", BAR_WIDTH - start - bar, "");
}

/* "302 192.0.2.1 dns=0.1 connect=0.2 total=0.4 http://example.com/": where the hop ends. */
static double
print_hop(unsigned number, const char *line, double at, double whole)
{
	const char *url = strrchr(line, ' '), *total = strstr(line, " total=");

	printf("  %u  %.*s %s\n", number, (int) strcspn(line, " "), line, url ? url + 1 : "");
	for (size_t i = 1; i < sizeof(waterfall) / sizeof(waterfall[0]); i++)
	{
		char name[16];
		const char *value;
		double length;

		snprintf(name, sizeof(name), " %s=", waterfall[i].word);
		value = strstr(line, name);
		if (value == NULL || (url && value >= url))
			continue;
		length = strtod(value + strlen(name), NULL);
		print_bar(waterfall[i].label, at, length, whole);
		at += length;
	}
	return total ? strtod(total + 7, NULL) : 0;
}

/* With redirects every hop has a waterfall of its own. */
static bool
print_hops(const struct result *r, double whole)
{
	unsigned number = 0;
	double at = 0;

	for (size_t i = 0; i < r->attribute_count; i++)
		if (strncmp(r->attributes[i].name, "probectl.http.hop.", 18) == 0)
			at += print_hop(++number, r->attributes[i].value, at, whole);
	return number > 0;
}

static void
print_waterfall(const struct result *r)
{
	double whole = once_metric(r, "http.total.ms"), at = 0;

	if (isnan(whole))
		return;
	if (print_hops(r, whole))
	{
		print_bar("total", 0, whole, whole);
		return;
	}
	for (size_t i = 0; i < sizeof(waterfall) / sizeof(waterfall[0]); i++)
	{
		double length = once_metric(r, waterfall[i].metric);

		if (isnan(length))
			continue;
		print_bar(waterfall[i].label, at, length, whole);
		at += length;
	}
	print_bar("total", 0, whole, whole);
}

static void
print_spread(const struct result *r)
{
	static const char *const labels[] = {"min", "median", "avg", "max"};

	for (size_t s = 0; s < sizeof(spread) / sizeof(spread[0]); s++)
	{
		double whole = once_metric(r, spread[s][3]);

		for (int i = 0; i < 4 && !isnan(whole); i++)
			print_bar(labels[i], 0, once_metric(r, spread[s][i]), whole);
	}
}

static void
print_text(const struct result *r)
{
	char port[24] = "";

	if (r->server_port)
		snprintf(port, sizeof(port), " port %u", r->server_port);
	printf("%s %s%s: %s after %.1f ms\n", r->type, r->server_address, port,
	       r->success ? "ok" : error_type_name(r->error_type), (double) r->duration_nano / 1e6);
	if (r->error[0])
		printf("  %s\n", r->error);
	print_waterfall(r);
	print_spread(r);
	for (size_t i = 0; i < r->metric_count; i++)
		printf("  %-34s %.15g\n", r->metrics[i].name, r->metrics[i].value);
	for (size_t i = 0; i < r->attribute_count; i++)
		printf("  %-34s %s\n", r->attributes[i].name, r->attributes[i].value);
}

void
once_print(const struct result *result, bool json)
{
	if (json)
		print_json(result);
	else
		print_text(result);
}

static void
on_done(const struct result *result, void *arg)
{
	struct once *once = arg;

	once_print(result, once->json);
	once->status = result->success ? EXIT_SUCCEEDED : EXIT_FAILED;
	event_base_loopbreak(once->base);
}

/* ---- input ---- */

static bool
complain(const char *what, const char *value)
{
	fprintf(stderr, "probectl-agent: %s%s%s\n", what, value[0] ? ": " : "", value);
	return false;
}

static int
by_key(const void *a, const void *b)
{
	const struct test_param *left = a, *right = b;

	return strcmp(left->key, right->key);
}

static bool
set_timeout(struct test_spec *spec, const char *value)
{
	char *end;
	unsigned long ms = strtoul(value, &end, 10);

	if (value[0] == '\0' || *end != '\0' || ms < TIMEOUT_MIN || ms > TIMEOUT_MAX)
		return complain("--param timeout must be 100 to 60000 milliseconds", value);
	spec->timeout_ms = (uint32_t) ms;
	return true;
}

/* Splits key=value in place of a copy each; spec->params has room for ONCE_PARAMS_MAX. */
static bool
add_param(struct test_spec *spec, const char *text)
{
	const char *equals = strchr(text, '=');
	struct test_param *param = &spec->params[spec->param_count];

	if (equals == NULL || equals == text)
		return complain("--param must be key=value", text);
	if (strncmp(text, "timeout=", 8) == 0)
		return set_timeout(spec, equals + 1);
	if (spec->param_count == ONCE_PARAMS_MAX)
		return complain("too many --param options", "");
	param->key = strndup(text, (size_t) (equals - text));
	param->value = strdup(equals + 1);
	spec->param_count++;
	if (param->key == NULL || param->value == NULL)
		return complain("out of memory", "");
	for (size_t i = 0; i + 1 < spec->param_count; i++)
		if (strcmp(spec->params[i].key, param->key) == 0)
			return complain("--param is given twice", param->key);
	return true;
}

bool
once_spec(struct test_spec *spec, const char *type, const char *target, char **params,
          size_t nparams)
{
	if (strlen(type) >= sizeof(spec->type) || strlen(target) > TEST_TARGET_MAX)
		return complain("the type or the target is too long", "");
	snprintf(spec->type, sizeof(spec->type), "%s", type);
	spec->target = strdup(target);
	if (spec->target == NULL)
		return complain("out of memory", "");
	spec->timeout_ms = TIMEOUT_DEFAULT;
	spec->interval_ms = TIMEOUT_MAX;
	for (size_t i = 0; i < nparams; i++)
		if (!add_param(spec, params[i]))
			return false;
	/* Who has a shell here may dial what he likes. */
	if (!probe_param(spec, GUARD_PARAM) && !add_param(spec, GUARD_PARAM "=true"))
		return false;
	qsort(spec->params, spec->param_count, sizeof(spec->params[0]), by_key);
	return true;
}

void
once_spec_free(struct test_spec *spec)
{
	for (size_t i = 0; i < spec->param_count; i++)
	{
		free(spec->params[i].key);
		free(spec->params[i].value);
	}
	spec->param_count = 0;
	free(spec->target);
	spec->target = NULL;
}

const struct canary_ops *
once_type(const char *type)
{
	const struct canary_ops *ops = canary_find(type);

	if (ops)
		return ops;
	fprintf(stderr, "probectl-agent: no such test type: %s; there are", type);
	for (size_t i = 0; canary_table[i]; i++)
		fprintf(stderr, "%s %s", i ? "," : "", canary_table[i]->type);
	fputc('\n', stderr);
	return NULL;
}

static int
run_spec(struct event_base *base, struct canary_env *env, const struct canary_ops *ops,
         const struct test_spec *spec, bool json)
{
	struct once once = {base, json, EXIT_INPUT};
	char err[256] = "";
	void *cmd = NULL;

	if (!ops->cmd_parse(spec, &cmd, err, sizeof(err)))
	{
		complain(err, "");
		return EXIT_INPUT;
	}
	if (ops->start(env, spec, cmd, on_done, &once))
		event_base_dispatch(base);
	else
		complain("out of memory", "");
	ops->cmd_free(cmd);
	fflush(stdout);
	return once.status;
}

int
once_run(struct event_base *base, struct canary_env *env, const char *type, const char *target,
         char **params, size_t nparams, bool json)
{
	const struct canary_ops *ops = once_type(type);
	struct test_param room[ONCE_PARAMS_MAX] = {0};
	struct test_spec spec = {.params = room};
	int status = EXIT_INPUT;

	if (ops == NULL)
		return EXIT_INPUT;
	if (once_spec(&spec, type, target, params, nparams))
		status = run_spec(base, env, ops, &spec, json);
	once_spec_free(&spec);
	return status;
}

/* ---- the other end ---- */

static void
on_signal(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(arg);
}

int
once_reflect(struct event_base *base, const char *listen, const char *allow, int64_t rate)
{
	const struct meet_options options = {
	    .base = base,
	    .listen = listen,
	    .allow = allow,
	    .rate = rate,
	};
	struct event *stops[] = {evsignal_new(base, SIGINT, on_signal, base),
	                         evsignal_new(base, SIGTERM, on_signal, base)};
	char err[256] = "out of memory";
	struct meet *meet = NULL;

	if (stops[0] && stops[1] && event_add(stops[0], NULL) == 0 && event_add(stops[1], NULL) == 0)
		meet = meet_new(&options, err, sizeof(err));
	if (meet)
		event_base_dispatch(base);
	else
		complain(err, "");
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
		if (stops[i])
			event_free(stops[i]);
	meet_free(meet);
	return meet ? EXIT_SUCCEEDED : EXIT_INPUT;
}
