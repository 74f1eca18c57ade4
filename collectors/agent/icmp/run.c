/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- one round of echo requests.
 *
 *   look-up -> register -> packet, packet, ... -> last answer or the timeout -> result
 *
 * A round ends as soon as every packet has been answered or refused. A packet the local send queue
 * has no room for is not lost on the network: it is sent a moment later.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guard.h"
#include "agent/icmp/icmp.h"

static void
run_free(struct canary_run *run)
{
	probe_stop(&run->probe);
	pace_stop(&run->pace);
	icmp_engine_remove(run);
	free(run);
}

static void
run_finish(struct canary_run *run)
{
	canary_done done = run->probe.done;
	void *arg = run->probe.arg;
	struct result result;

	icmp_result(run, &result);
	run_free(run);
	done(&result, arg);
}

static void
note_left(struct canary_run *run, uint32_t number)
{
	probe_left(&run->probe, pace_slot(&run->pace, number), &run->packets[number].times);
}

static bool
run_complete(const struct canary_run *run)
{
	return run->next == run->cmd->count && run->outstanding == 0;
}

static void
note_error(struct canary_run *run, enum error_type type, const char *text)
{
	if (run->error_type != ERROR_NONE)
		return;
	run->error_type = type;
	snprintf(run->error, sizeof(run->error), "%s", text);
}

/* A packet that could not leave is a sent one that failed: the network was asked for. */
static void
send_failed(struct canary_run *run, uint32_t number, int error)
{
	struct probe scratch = {0};

	probe_fail_local(&scratch, error, "send");
	note_error(run, scratch.error_type, scratch.error);
	run->packets[number].state = ICMP_FAILED;
}

static void
on_send(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	uint32_t number = run->next;
	int error;

	run->next++; /* a reply on loopback may be there before sendmsg returns */
	error = icmp_engine_send(run->probe.env, run, number);
	if (error == EAGAIN || error == ENOBUFS || error == EINTR)
	{
		run->next--;
		pace_again(&run->pace);
		return;
	}
	stats_sent(&run->stats);
	note_left(run, number);
	if (error)
		send_failed(run, number, error);
	else
		run->outstanding++;
	if (run_complete(run))
	{
		run_finish(run);
		return;
	}
	if (run->next < run->cmd->count)
		pace_wait(&run->pace, run->next);
}

void
icmp_run_stamped(struct canary_run *run, uint32_t number, int64_t at)
{
	run->packets[number].times.stamped = at;
	note_left(run, number);
}

void
icmp_run_reply(struct canary_run *run, uint32_t number, int64_t received)
{
	struct icmp_packet *packet = &run->packets[number];
	int64_t rtt = stamp_rtt(&packet->times, received, &run->stamps);

	stats_received(&run->stats, number, (double) rtt / 1e6);
	if (packet->state != ICMP_WAITING)
		return;
	packet->state = ICMP_ANSWERED;
	run->outstanding--;
	if (run_complete(run))
		run_finish(run);
}

void
icmp_run_problem(struct canary_run *run, uint32_t number, const struct icmp_seen *seen,
                 const struct sockaddr_storage *from)
{
	struct icmp_packet *packet = &run->packets[number];

	if (packet->state != ICMP_WAITING)
		return;
	if (run->error_type == ERROR_NONE)
		probe_address_text(from, run->error_from, sizeof(run->error_from));
	note_error(run, seen->error, seen->text);
	if (seen->mtu)
		run->mtu = seen->mtu;
	packet->state = ICMP_FAILED;
	run->outstanding--;
	if (run_complete(run))
		run_finish(run);
}

static void
fail_socket(struct canary_run *run, int family)
{
	int error = run->probe.env->icmp_errno;

	if (error == EPERM || error == EACCES)
		probe_fail(
		    &run->probe, ERROR_LOCAL_FAULT,
		    "the agent may not open ICMP sockets: give it CAP_NET_RAW (in a unit: "
		    "AmbientCapabilities=CAP_NET_RAW) or add its group to net.ipv4.ping_group_range");
	else
		probe_fail(&run->probe, ERROR_LOCAL_FAULT, "no ICMP socket for %s: %s",
		           family == AF_INET ? "IPv4" : "IPv6", strerror(error ? error : EAFNOSUPPORT));
}

static void
on_resolved(const struct resolver_answer *answer, void *arg)
{
	struct canary_run *run = arg;
	int family;

	run->probe.query = NULL;
	run->probe.dns_done = probe_now();
	if (answer->error != ERROR_NONE)
	{
		probe_fail(&run->probe, answer->error, "%s", answer->message);
		run_finish(run);
		return;
	}
	/* Only the first address is dialled; nothing else of the answer counts. */
	run->peer = answer->addresses[0];
	if (!guard_pass(&run->probe, &run->peer, 1))
	{
		run_finish(run);
		return;
	}
	family = run->peer.addr.ss_family;
	if (icmp_engine_fd(run->probe.env, family) < 0)
	{
		fail_socket(run, family);
		run_finish(run);
		return;
	}
	icmp_engine_add(run->probe.env, run);
	pace_begin(&run->pace, probe_spacing(&run->probe, run->probe.dns_done, run->cmd->count,
	                                     run->cmd->interval_ms));
	on_send(-1, 0, run);
}

static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	if (run->probe.query)
		probe_fail(&run->probe, ERROR_DNS_TIMEOUT, "%s: no answer to the look-up within %u ms",
		           run->cmd->host, run->probe.spec->timeout_ms);
	run_finish(run);
}

static struct canary_run *
icmp_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
           void *arg)
{
	const struct icmp_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run) + parsed->count * sizeof(struct icmp_packet));

	if (run == NULL)
		return NULL;
	run->cmd = parsed;
	stats_init(&run->stats);
	run->stamps = STAMP_BOTH;
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	pace_init(&run->pace, env->base, on_send, run);
	if (icmp_engine_ready(env))
		run->probe.query = resolver_resolve(env->resolver, parsed->host, parsed->family,
		                                    on_resolved, run);
	if (run->probe.query == NULL)
	{
		run_free(run);
		return NULL;
	}
	return run;
}

static void
icmp_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_icmp = {
    .type = "icmp",
    .summary = "loss, round-trip time and jitter of echo requests; target: host",
    .paced = true,
    .cmd_parse = icmp_cmd_parse,
    .cmd_free = free,
    .start = icmp_start,
    .cancel = icmp_cancel,
};
