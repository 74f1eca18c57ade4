/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- one round of datagrams to an echo service.
 *
 *   look-up -> connected socket -> packet, packet, ... -> last answer or the timeout -> result
 *
 * A connected socket reports the ICMP error about one packet on the next call, whatever that
 * is. So a call that fails is made again: what it told is on the error queue too, with the packet.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guard.h"
#include "agent/icmp/wire.h"
#include "agent/udp/udp.h"

#define SEND_TRIES      3
#define MESSAGES_A_TURN 64 /* then the rest of the loop has its turn */
#define ERROR_READ_MAX  256
/* Copies of what was sent are in it too; the kernel may allow less. */
#define RECEIVE_BUFFER (1024 * 1024)

/* One thread, and nothing is kept in them between two calls. */
static uint8_t packet_room[FRAME_MAX];
static union stamp_control control;

static void
run_free(struct canary_run *run)
{
	probe_stop(&run->probe);
	pace_stop(&run->pace);
	if (run->fd >= 0)
	{
		event_del(&run->reader);
		close(run->fd);
	}
	free(run);
}

static void
run_finish(struct canary_run *run)
{
	canary_done done = run->probe.done;
	void *arg = run->probe.arg;
	struct result result;

	udp_result(run, &result);
	run_free(run);
	done(&result, arg);
}

static bool
run_complete(const struct canary_run *run)
{
	return run->next == run->cmd->count && run->outstanding == 0;
}

static void
note_error(struct canary_run *run, enum error_type type, const char *text,
           const struct sockaddr_storage *from)
{
	if (run->error_type != ERROR_NONE)
		return;
	run->error_type = type;
	snprintf(run->error, sizeof(run->error), "%s", text);
	if (from)
		probe_address_text(from, run->error_from, sizeof(run->error_from));
}

/* ---- sending ---- */

static void
note_left(struct canary_run *run, uint32_t number)
{
	probe_left(&run->probe, pace_slot(&run->pace, number), &run->packets[number].times);
}

/* 0 or an errno that is of this packet. */
static int
packet_send(struct canary_run *run, uint32_t number)
{
	struct frame frame = {FRAME_REQUEST, run->token, number};

	frame_write(packet_room, run->cmd->payload_bytes, &frame);
	for (int i = 0; i < SEND_TRIES; i++)
	{
		stamp_begin(&run->packets[number].times);
		if (send(run->fd, packet_room, run->cmd->payload_bytes, MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EAGAIN || errno == ENOBUFS)
			return EAGAIN;
	}
	return errno;
}

static void
on_send(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	struct probe scratch = {0};
	int error = packet_send(run, run->next);

	if (error == EAGAIN)
	{
		pace_again(&run->pace);
		return;
	}
	stats_sent(&run->stats);
	note_left(run, run->next);
	if (error)
	{
		probe_fail_local(&scratch, error, "send");
		note_error(run, scratch.error_type, scratch.error, NULL);
		run->packets[run->next].state = UDP_FAILED;
	}
	else
		run->outstanding++;
	run->next++;
	if (run_complete(run))
	{
		run_finish(run);
		return;
	}
	if (run->next < run->cmd->count)
		pace_wait(&run->pace, run->next);
}

/* ---- receiving ---- */

/* The packet a frame is about; NULL when it is none of this round's. */
static struct udp_packet *
packet_of(struct canary_run *run, const struct frame *frame)
{
	return frame->token == run->token && frame->number < run->next ? &run->packets[frame->number]
	                                                               : NULL;
}

static void
take_answer(struct canary_run *run, struct msghdr *message, size_t len)
{
	struct frame frame;
	struct udp_packet *packet;
	int64_t rtt;

	if (len != run->cmd->payload_bytes || !frame_read(packet_room, len, &frame))
		return;
	packet = packet_of(run, &frame);
	if (packet == NULL)
		return;
	rtt = stamp_rtt(&packet->times, stamp_received(message), &run->stamps);
	stats_received(&run->stats, frame.number, (double) rtt / 1e6);
	run->responder = frame.kind == FRAME_ANSWER ? UDP_OURS : UDP_PLAIN;
	if (packet->state != UDP_WAITING)
		return;
	packet->state = UDP_ANSWERED;
	run->outstanding--;
}

/* A stamp of a packet that was sent, or an ICMP error about one. */
static void
take_error(struct canary_run *run, struct msghdr *message, size_t len)
{
	int64_t at = stamp_sent(message);
	struct sockaddr_storage from;
	struct udp_packet *packet = NULL;
	struct icmp_seen seen;
	struct frame frame;

	if (len > ERROR_READ_MAX)
		len = ERROR_READ_MAX;
	if (frame_find(packet_room, len, &frame))
		packet = packet_of(run, &frame);
	if (at)
	{
		if (packet)
		{
			packet->times.stamped = at;
			note_left(run, (uint32_t) (packet - run->packets));
		}
		return;
	}
	if (!icmp_queued(message, &seen, &from))
		return;
	/* To a person a closed port is a refusal, as it is with tcp. */
	if (seen.os_error == ECONNREFUSED)
		note_error(run, ERROR_CONNECT_REFUSED, "connection refused", &from);
	else
		note_error(run, seen.error, seen.text, &from);
	if (packet == NULL || packet->state != UDP_WAITING)
		return;
	packet->state = UDP_FAILED;
	run->outstanding--;
}

/* Reads one message of a queue. False when there is none. */
static bool
read_one(struct canary_run *run, int flags,
         void (*take)(struct canary_run *run, struct msghdr *message, size_t len))
{
	struct iovec vector = {packet_room, flags & MSG_ERRQUEUE ? ERROR_READ_MAX : FRAME_MAX};
	struct sockaddr_storage name;
	struct msghdr message = {.msg_name = &name,
	                         .msg_namelen = sizeof(name),
	                         .msg_iov = &vector,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(run->fd, &message, flags | MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return errno != EAGAIN; /* an ICMP error; the error queue has it too */
	take(run, &message, (size_t) n);
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	/* Stamps first: the answer to a packet is later than the stamp of it. */
	for (int i = 0; i < MESSAGES_A_TURN && read_one(run, MSG_ERRQUEUE, take_error); i++)
		;
	for (int i = 0; i < MESSAGES_A_TURN && read_one(run, 0, take_answer); i++)
		;
	if (run_complete(run))
		run_finish(run);
}

/* ---- life ---- */

/* Options that are a convenience: without them the round is less precise. */
static void
set_options(int fd, int family)
{
	int on = 1, size = RECEIVE_BUFFER;
	int fragment = family == AF_INET ? IP_PMTUDISC_DONT : IPV6_PMTUDISC_DONT;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	stamp_ask(fd);
	if (family == AF_INET)
	{
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &fragment, sizeof(fragment));
	}
	else
	{
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
		setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &fragment, sizeof(fragment));
	}
}

static bool
open_socket(struct canary_run *run)
{
	int family = run->peer.addr.ss_family;
	char peer[64], what[128];
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
	{
		probe_fail_errno(&run->probe, errno, "open a socket");
		return false;
	}
	set_options(fd, family);
	if (probe_set_dscp(fd, family, run->cmd->dscp) != 0)
		probe_fail_errno(&run->probe, errno, "set the DSCP of a socket");
	else if (connect(fd, (const struct sockaddr *) &run->peer.addr, run->peer.len) != 0)
	{
		int error = errno;

		probe_address_text(&run->peer.addr, peer, sizeof(peer));
		snprintf(what, sizeof(what), "send to %s port %u", peer, run->cmd->port);
		probe_fail_local(&run->probe, error, what);
	}
	if (run->probe.error_type != ERROR_NONE)
	{
		close(fd);
		return false;
	}
	run->fd = fd;
	event_assign(&run->reader, run->probe.env->base, fd, EV_READ | EV_PERSIST, on_readable, run);
	event_add(&run->reader, NULL);
	return true;
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
	/* Only the first address is dialled; nothing else of the answer counts. */
	run->peer = answer->addresses[0];
	probe_set_port(&run->peer.addr, run->cmd->port);
	if (!guard_pass(&run->probe, &run->peer, 1) || !open_socket(run))
	{
		run_finish(run);
		return;
	}
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
udp_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
          void *arg)
{
	const struct udp_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run) + parsed->count * sizeof(struct udp_packet));

	if (run == NULL)
		return NULL;
	run->cmd = parsed;
	run->fd = -1;
	run->stamps = STAMP_BOTH;
	stats_init(&run->stats);
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	pace_init(&run->pace, env->base, on_send, run);
	if (getrandom(&run->token, sizeof(run->token), 0) == (ssize_t) sizeof(run->token))
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
udp_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_udp = {
    .type = "udp",
    .summary = "loss, round-trip time and jitter of an echo service; target: host:port",
    .paced = true,
    .cmd_parse = udp_cmd_parse,
    .cmd_free = free,
    .start = udp_start,
    .cancel = udp_cancel,
};
