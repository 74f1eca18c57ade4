/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- one dns test on the event loop.
 *
 *   [look-up of the server] -> question -> answer -> [the questions of the validation] -> result
 *
 * The engine (chain.h) says what it wants to know; in resolver mode the server is asked, in
 * trace mode the walk (walk.h) leads to the servers that know it. Neither is aware of sockets.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/dns/dns.h"
#include "agent/guard.h"
#include "lib/clock.h"

#define RESOLV_CONF "/etc/resolv.conf"
/* One silent server of a zone must not use up the walk. */
#define WALK_TIMEOUT_MS 1500

static void advance(struct canary_run *run);
static void ask_server(struct canary_run *run, const uint8_t *name, uint16_t type);
static void walk_on(struct canary_run *run);

static void
run_free(struct canary_run *run)
{
	xfer_cancel(run->xfer);
	chain_free(run->chain);
	walk_free(run->walk);
	probe_stop(&run->probe);
	free(run->seen);
	free(run);
}

static void
run_finish(struct canary_run *run)
{
	canary_done done = run->probe.done;
	void *arg = run->probe.arg;
	struct result result;

	dns_result(run, &result);
	run_free(run);
	done(&result, arg);
}

static uint32_t
ms_left(const struct canary_run *run)
{
	int64_t end = run->probe.start + (int64_t) run->probe.spec->timeout_ms * 1000000;
	int64_t left = (end - probe_now()) / 1000000;

	return left > 1 ? (uint32_t) left : 1;
}

/* ---- answers ---- */

static bool
is_first(const struct canary_run *run)
{
	return run->asked == 1;
}

/* What the first exchange took: it is the one that is measured. */
static void
note_first(struct canary_run *run, const struct xfer_answer *answer)
{
	if (!is_first(run) || run->walk)
		return;
	run->connect_nano = answer->connect_nano;
	run->tls_nano = answer->tls_nano;
	run->truncated = answer->truncated;
	run->http2 = answer->http2;
	run->sent = answer->sent;
	if (answer->tls && run->seen == NULL && (run->seen = malloc(sizeof(*run->seen))))
		*run->seen = *answer->tls;
	if (answer->error != ERROR_NONE)
		return;
	run->answered = true;
	run->query_nano = answer->query_nano;
	run->bytes = answer->bytes;
}

static void
on_answer(struct xfer_answer *answer, void *arg)
{
	struct canary_run *run = arg;
	const uint8_t *name;
	uint16_t type;

	run->xfer = NULL;
	note_first(run, answer);
	if (run->walk)
	{
		if (answer->error == ERROR_NONE)
			walk_give(run->walk, &answer->msg, answer->query_nano);
		else
			walk_fail(run->walk, answer->error, answer->text);
		walk_on(run);
		return;
	}
	if (answer->error == ERROR_NONE)
		chain_give(run->chain, &answer->msg);
	else if (is_first(run) && run->server + 1 < run->server_count)
	{
		run->server++;
		if (chain_step(run->chain, &name, &type) == CHAIN_ASK)
			ask_server(run, name, type);
		return;
	}
	else
		chain_fail(run->chain, answer->error, answer->text);
	advance(run);
}

/* ---- questions ---- */

static void
start_xfer(struct canary_run *run, const struct resolver_address *server, const uint8_t *name,
           uint16_t type)
{
	run->xfer = xfer_start(run->probe.env->base, server, &run->options, name, type, on_answer, run);
	if (run->xfer)
		return;
	probe_fail(&run->probe, ERROR_LOCAL_FAULT, "out of memory");
	probe_end_soon(&run->probe);
}

static void
ask_server(struct canary_run *run, const uint8_t *name, uint16_t type)
{
	uint32_t left = ms_left(run);

	/* The servers that are left share what is left; a little remains for the verdict. */
	run->options.timeout_ms = left / (uint32_t) (run->server_count - run->server);
	if (run->options.timeout_ms > 20)
		run->options.timeout_ms -= run->options.timeout_ms / 20;
	start_xfer(run, &run->servers[run->server], name, type);
}

/* A zone may name any address for its server: what may not be dialled is a hop that says so. */
static enum walk_step
walk_next(struct canary_run *run, struct walk_query *query)
{
	const char *what = NULL;
	char text[80];

	while (walk_step(run->walk, query) == WALK_SEND)
	{
		if (!guard_lifted(run->probe.spec))
			what = guard_refuses(&query->server->addr);
		if (what == NULL)
			return WALK_SEND;
		snprintf(text, sizeof(text), "not asked: it is %s", what);
		walk_fail(run->walk, ERROR_GUARD_DENIED, text);
	}
	return WALK_DONE;
}

static void
walk_on(struct canary_run *run)
{
	struct walk_query query;
	struct dnsmsg msg;
	enum error_type error;
	char text[RESULT_ERROR_MAX];
	uint32_t left = ms_left(run);

	if (walk_next(run, &query) == WALK_SEND)
	{
		run->options.timeout_ms = left < WALK_TIMEOUT_MS ? left : WALK_TIMEOUT_MS;
		start_xfer(run, query.server, query.name, query.type);
		return;
	}
	if (is_first(run))
	{
		run->query_nano = probe_now() - run->asked_at;
		run->answered = true;
	}
	if (walk_take(run->walk, &msg, &error, text, sizeof(text)))
		chain_give(run->chain, &msg);
	else
		chain_fail(run->chain, error, text);
	advance(run);
}

/* The next question of the engine, or the end. */
static void
advance(struct canary_run *run)
{
	const uint8_t *name;
	uint16_t type;

	if (chain_step(run->chain, &name, &type) == CHAIN_DONE)
	{
		dns_judge(run);
		run_finish(run);
		return;
	}
	run->asked++;
	run->asked_at = probe_now();
	if (run->walk)
	{
		/* A trace shows the way to the answer, and to where its aliases lead. */
		walk_begin(run->walk, name, type, type == run->cmd->type);
		walk_on(run);
	}
	else
		ask_server(run, name, type);
}

static bool
engine_start(struct canary_run *run)
{
	const struct dns_cmd *cmd = run->cmd;
	struct chain_options options = {.validate = cmd->dnssec,
	                                .chase = cmd->dnssec || cmd->trace,
	                                .now = clock_unix_nano() / NANO_PER_SECOND,
	                                .anchors = cmd->anchors};
	struct walk_options walk = {
	    .hints = cmd->hints, .family = cmd->family, .port = (uint16_t) cmd->port};

	run->chain = chain_new(&options, cmd->name.bytes, cmd->type);
	if (cmd->trace && getrandom(&walk.seed, sizeof(walk.seed), 0) != sizeof(walk.seed))
		__builtin_trap();
	if (cmd->trace)
		run->walk = walk_new(&walk);
	if (run->chain && (run->walk || !cmd->trace))
		return true;
	probe_fail(&run->probe, ERROR_LOCAL_FAULT, "out of memory");
	return false;
}

/* ---- servers ---- */

static void
on_resolved(const struct resolver_answer *answer, void *arg)
{
	struct canary_run *run = arg;

	run->probe.query = NULL;
	run->probe.dns_done = probe_now();
	if (answer->error != ERROR_NONE)
	{
		probe_fail(&run->probe, answer->error, "server %s", answer->message);
		run_finish(run);
		return;
	}
	if (!guard_pass(&run->probe, answer->addresses, answer->count))
	{
		run_finish(run);
		return;
	}
	run->server_count = answer->count;
	for (size_t i = 0; i < answer->count; i++)
	{
		run->servers[i] = answer->addresses[i];
		probe_set_port(&run->servers[i].addr, run->cmd->port);
	}
	advance(run);
}

/* The servers of resolv.conf, read anew for each run: it is small, and it changes. They are the machine's
 * own choice, so the guard does not judge them. */
static void
system_servers(struct canary_run *run)
{
	struct resolvconf conf;
	char text[16384];
	size_t len = 0;
	FILE *in = fopen(RESOLV_CONF, "re");

	if (in)
	{
		len = fread(text, 1, sizeof(text), in);
		fclose(in);
	}
	resolvconf_parse(&conf, text, len, (uint16_t) run->cmd->port);
	for (size_t i = 0; i < conf.server_count; i++)
		if (run->cmd->family == RESOLVER_ANY ||
		    (run->cmd->family == RESOLVER_IPV4) == (conf.servers[i].addr.ss_family == AF_INET))
			run->servers[run->server_count++] = conf.servers[i];
	if (run->server_count == 0)
		probe_fail(&run->probe, ERROR_CONFIG, RESOLV_CONF " has no server of this IP version");
}

/* The limit ends runs that failed in their start, and those that found no end. */
static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	bool ready = run->chain && run->asked == 0 && run->probe.error_type == ERROR_NONE;

	/* The first turn of the loop after the start: nothing is to be called back from the start. */
	if (ready && run->probe.query == NULL && ms_left(run) > 1)
	{
		uint32_t left = ms_left(run);
		struct timeval tv = clock_timeval(left * NANO_PER_MS);

		evtimer_add(&run->probe.limit, &tv);
		advance(run);
		return;
	}
	if (run->probe.query)
		probe_fail(&run->probe, ERROR_DNS_TIMEOUT,
		           "server %s: no answer to the look-up within %u ms", run->cmd->host,
		           run->probe.spec->timeout_ms);
	else
		probe_fail(&run->probe, ERROR_DNS_TIMEOUT, "no end within %u ms, after %u question%s",
		           run->probe.spec->timeout_ms, run->asked, run->asked == 1 ? "" : "s");
	run_finish(run);
}

static void
fill_options(struct canary_run *run)
{
	const struct dns_cmd *cmd = run->cmd;
	struct xfer_options *o = &run->options;

	o->transport = cmd->transport;
	o->tries = cmd->tries;
	/* Checking disabled: what is to be judged here must not be filtered there. */
	o->flags = (uint16_t) (cmd->trace ? 0 : DNS_FLAG_RD | (cmd->dnssec ? DNS_FLAG_CD : 0));
	o->dnssec = cmd->dnssec;
	if (cmd->ca_file[0])
		o->ca_file = cmd->ca_file;
	o->tls_name = cmd->server_name;
	o->host = cmd->authority;
	o->path = cmd->path;
}

static struct canary_run *
dns_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
          void *arg)
{
	const struct dns_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->cmd = parsed;
	fill_options(run);
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	if (!engine_start(run))
	{
		probe_end_soon(&run->probe);
		return run;
	}
	if (!parsed->trace && parsed->host[0])
	{
		run->probe.query = resolver_resolve(env->resolver, parsed->host, parsed->family,
		                                    on_resolved, run);
		if (run->probe.query)
			return run;
		probe_fail(&run->probe, ERROR_LOCAL_FAULT, "out of memory");
	}
	else if (!parsed->trace)
		system_servers(run);
	probe_end_soon(&run->probe);
	return run;
}

static void
dns_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_dns = {
    .type = "dns",
    .summary = "answer, time and DNSSEC of a name; target: the name",
    .cmd_parse = dns_cmd_parse,
    .cmd_free = dns_cmd_free,
    .start = dns_start,
    .cancel = dns_cancel,
};
