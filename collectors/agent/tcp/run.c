/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- a round of TCP connects, one after the other.
 *
 *   look-up -> connect -> close -> connect -> ... -> result
 *
 * Every attempt has an equal share of the time that is left, so that one lost SYN does not use up the
 * round. When an address fails before it ever worked, the next attempt takes the next one.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "agent/guard.h"
#include "agent/tcp/tcp.h"

static void attempt_start(struct canary_run *run);

static void
attempt_close(struct canary_run *run)
{
	if (run->fd < 0)
		return;
	event_del(&run->event);
	close(run->fd);
	run->fd = -1;
}

static void
run_free(struct canary_run *run)
{
	attempt_close(run);
	probe_stop(&run->probe);
	free(run);
}

static void
run_finish(struct canary_run *run)
{
	canary_done done = run->probe.done;
	void *arg = run->probe.arg;
	struct result result;

	tcp_result(run, &result);
	run_free(run);
	done(&result, arg);
}

static void
attempt_failed(struct canary_run *run, int error)
{
	struct probe scratch = {0};
	char peer[64], what[128];

	if (run->error_type == ERROR_NONE)
	{
		probe_address_text(&run->answer.addresses[run->address].addr, peer, sizeof(peer));
		snprintf(what, sizeof(what), "connect to %s port %u", peer, run->cmd->port);
		probe_fail_errno(&scratch, error, what);
		run->error_type = scratch.error_type;
		memcpy(run->error, scratch.error, sizeof(run->error));
	}
	if (run->stats.received == 0 && run->address + 1 < run->answer.count)
		run->address++;
}

/* Ends the attempt under way and begins the next; an error of 0 is a connection. */
static void
attempt_end(struct canary_run *run, int error)
{
	int64_t now = probe_now();

	attempt_close(run);
	if (error)
		attempt_failed(run, error);
	else
		stats_received(&run->stats, run->number, (double) (now - run->began) / 1e6);
	run->number++;
	if (run->number == run->cmd->count)
		run_finish(run);
	else
		attempt_start(run);
}

static void
on_attempt(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	int error = ETIMEDOUT;
	socklen_t len = sizeof(error);

	if (!(what & EV_TIMEOUT) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	attempt_end(run, error);
}

/* What the attempt may take: its parameter, or its share, and never more than is left. */
static int64_t
attempt_limit(const struct canary_run *run)
{
	int64_t left = run->probe.start + (int64_t) run->probe.spec->timeout_ms * 1000000 - probe_now();
	int64_t limit = left / (run->cmd->count - run->number);

	if (run->cmd->connect_timeout_ms != TCP_CONNECT_TIMEOUT_SHARE)
		limit = (int64_t) run->cmd->connect_timeout_ms * 1000000;
	limit = limit < left ? limit : left;
	return limit > 1000000 ? limit : 1000000;
}

/* An attempt the kernel refuses at once nests into the next one; TCP_COUNT_MAX bounds that. */
static void
attempt_start(struct canary_run *run)
{
	const struct resolver_address *peer = &run->answer.addresses[run->address];
	int64_t limit = attempt_limit(run);
	struct timeval tv = {limit / 1000000000, limit % 1000000000 / 1000};
	int family = peer->addr.ss_family;

	run->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (run->fd < 0)
	{
		probe_fail_errno(&run->probe, errno, "open a socket");
		probe_end_soon(&run->probe);
		return;
	}
	if (probe_set_dscp(run->fd, family, run->cmd->dscp) != 0)
	{
		probe_fail_errno(&run->probe, errno, "set the DSCP of a socket");
		probe_end_soon(&run->probe);
		return;
	}
	event_assign(&run->event, run->probe.env->base, run->fd, EV_WRITE, on_attempt, run);
	stats_sent(&run->stats);
	run->began = probe_now();
	if (connect(run->fd, (const struct sockaddr *) &peer->addr, peer->len) == 0 ||
	    errno == EINPROGRESS)
		event_add(&run->event, &tv);
	else
		attempt_end(run, errno);
}

static void
on_resolved(const struct resolver_answer *answer, void *arg)
{
	struct canary_run *run = arg;

	run->probe.query = NULL;
	run->probe.dns_done = probe_now();
	if (answer->error != ERROR_NONE)
	{
		probe_fail(&run->probe, answer->error, "%s", answer->message);
		run_finish(run);
		return;
	}
	run->answer = *answer;
	if (!guard_pass(&run->probe, run->answer.addresses, run->answer.count))
	{
		run_finish(run);
		return;
	}
	for (size_t i = 0; i < run->answer.count; i++)
		probe_set_port(&run->answer.addresses[i].addr, run->cmd->port);
	attempt_start(run);
}

static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	if (run->probe.query)
		probe_fail(&run->probe, ERROR_DNS_TIMEOUT, "%s: no answer to the look-up within %u ms",
		           run->cmd->host, run->probe.spec->timeout_ms);
	else if (run->fd >= 0 && run->probe.error_type == ERROR_NONE)
		attempt_failed(run, ETIMEDOUT);
	run_finish(run);
}

static struct canary_run *
tcp_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
          void *arg)
{
	const struct tcp_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->cmd = parsed;
	run->fd = -1;
	stats_init(&run->stats);
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	run->probe.query = resolver_resolve(env->resolver, parsed->host, parsed->family, on_resolved,
	                                    run);
	if (run->probe.query == NULL)
	{
		run_free(run);
		return NULL;
	}
	return run;
}

static void
tcp_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_tcp = {
    .type = "tcp",
    .summary = "connect time of a TCP port; target: host:port",
    .cmd_parse = tcp_cmd_parse,
    .cmd_free = free,
    .start = tcp_start,
    .cancel = tcp_cancel,
};
