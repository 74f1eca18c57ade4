/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- a round of TCP connects, one after the other.
 *
 *   look-up -> connect -> (hold) -> close -> connect -> ... -> result
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
#include "agent/stamp.h"
#include "agent/tcp/tcp.h"
#include "lib/clock.h"

static void attempt_start(struct canary_run *run);
static void attempt_hold(struct canary_run *run);

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

/* Before the attempt's socket is closed. at_once: the call itself failed, nothing was sent. */
static void
attempt_failed(struct canary_run *run, int error, bool at_once)
{
	struct probe scratch = {0};
	char peer[PROBE_ADDRESS_TEXT], what[128];

	if (run->error_type == ERROR_NONE)
	{
		probe_address_text(&run->answer.addresses[run->address].addr, peer, sizeof(peer));
		snprintf(what, sizeof(what), "connect to %s port %u", peer, run->cmd->port);
		if (at_once)
			probe_fail_local(&scratch, error, what);
		else
			probe_fail_socket(&scratch, run->fd, error, what, run->error_from);
		run->error_type = scratch.error_type;
		memcpy(run->error, scratch.error, sizeof(run->error));
	}
	if (run->stats.received == 0 && run->address + 1 < run->answer.count)
		run->address++;
}

/* Ends the attempt under way and begins the next; an error of 0 is a connection. */
static void
attempt_end(struct canary_run *run, int error, bool at_once)
{
	if (error)
		attempt_failed(run, error, at_once);
	else
		stats_received(&run->stats, run->number, (double) run->took / 1e6);
	attempt_close(run);
	run->number++;
	if (run->number == run->cmd->count)
		run_finish(run);
	else
		attempt_start(run);
}

/* What the peer says is not of interest; that it ends the connection in order is its right. */
static void
on_held(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	char heard[4096];
	ssize_t n = 0;

	if (what & EV_READ)
		n = recv(fd, heard, sizeof(heard), MSG_DONTWAIT);
	if (n > 0 || (n < 0 && errno == EAGAIN))
		attempt_hold(run);
	else
		attempt_end(run, n < 0 ? errno : 0, false);
}

/* A connection that is made and torn down again by something on the way: who looks away at once misses it. */
static void
attempt_hold(struct canary_run *run)
{
	int64_t left = run->began + run->took + (int64_t) run->cmd->hold_ms * 1000000 - probe_now();
	struct timeval tv = clock_timeval(left);

	if (left <= 0)
	{
		attempt_end(run, 0, false);
		return;
	}
	event_assign(&run->event, run->probe.env->base, run->fd, EV_READ, on_held, run);
	event_add(&run->event, &tv);
}

static void
on_attempt(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	int64_t now = probe_now();
	int error = what & EV_TIMEOUT ? ETIMEDOUT : probe_connect_error(fd);

	run->took = now - run->began;
	if (error == 0 && run->cmd->hold_ms > 0)
		attempt_hold(run);
	else
		attempt_end(run, error, false);
}

/* What the attempt may take: its parameter, or its share, and never more than is left. */
static int64_t
attempt_limit(const struct canary_run *run)
{
	int64_t left = run->probe.start + (int64_t) run->probe.spec->timeout_ms * 1000000 - probe_now();
	int64_t limit = left / (run->cmd->count - run->number) - (int64_t) run->cmd->hold_ms * 1000000;

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
	struct timeval tv = clock_timeval(limit);
	int family = peer->addr.ss_family;

	run->took = 0;
	run->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (run->fd < 0)
	{
		probe_fail_errno(&run->probe, errno, "open a socket");
		probe_end_soon(&run->probe);
		return;
	}
	probe_icmp_keep(run->fd, family, true);
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
		attempt_end(run, errno, true);
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
	else if (run->fd >= 0 && run->took > 0)
		stats_received(&run->stats, run->number, (double) run->took / 1e6);
	else if (run->fd >= 0 && run->probe.error_type == ERROR_NONE)
		attempt_failed(run, ETIMEDOUT, false);
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
