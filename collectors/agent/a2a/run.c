/* SPDX-License-Identifier: PostgreSQL
 *
 * run.c -- one round of STAMP packets.
 *
 *   look-up, or the session with the other agent -> packet, packet, ... -> last reply or the timeout -> result
 *
 * When a packet left is told by the kernel after it left, so T1 of the result is better than T1 of the packet; of
 * the reflector's T3 the same is told by the next reply, if it knows how to.
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

#include "agent/a2a/a2a.h"
#include "agent/a2a/clock.h"
#include "agent/guard.h"
#include "agent/stamp.h"
#include "agent/a2a/txstamp.h"

#define A_TURN 64 /* replies, then the rest of the loop */

static void on_send(evutil_socket_t fd, short what, void *arg);

static void
run_free(struct canary_run *run)
{
	meet_unwait(&run->waiter);
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

	if (run->session.session_id[0] && run->track.sent > 0 && run->track.received == 0)
		meet_unanswered(run->probe.env->meet, run->session.session_id);
	a2a_result(run, &result);
	run_free(run);
	done(&result, arg);
}

static bool
run_complete(const struct canary_run *run)
{
	return run->next == run->cmd->count && run->track.received == run->track.sent &&
	       run->track.sent > 0;
}

/* local: a call that failed at once, before the network could have answered. */
static void
note_error(struct canary_run *run, int error, bool local)
{
	struct probe scratch = {0};
	char peer[64], what[128];

	if (run->error_type != ERROR_NONE)
		return;
	probe_address_text(&run->peer.addr, peer, sizeof(peer));
	snprintf(what, sizeof(what), "packets to %s", peer);
	(local ? probe_fail_local : probe_fail_errno)(&scratch, error, what);
	run->error_type = scratch.error_type;
	memcpy(run->error, scratch.error, sizeof(run->error));
}

/* ---- receiving ---- */

static void
packet_departed(struct canary_run *run, uint32_t number, int64_t at)
{
	const struct track_packet *packet = &run->track.packets[number];
	struct stamp_times times = {packet->sent_mono, packet->t1, at};

	if (packet->sent && packet->t1_source == TRACK_USER)
		probe_left(&run->probe, pace_slot(&run->pace, number), &times);
	track_departed(&run->track, number, at, probe_now_unix());
}

static void
read_departures(struct canary_run *run)
{
	struct txstamp_sent sent;

	for (int i = 0; i < 2 * TRACK_COUNT_MAX && txstamp_next(run->fd, &sent); i++)
		if (sent.sent && sent.number < run->datagrams)
			packet_departed(run, run->numbers[sent.number], sent.at);
		else if (sent.error)
			note_error(run, sent.error, false);
}

static uint8_t
ttl_of(struct msghdr *message)
{
	int ttl = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
	return (uint8_t) ttl;
}

/* False: nothing more to read. */
static bool
read_reply(struct canary_run *run)
{
	static uint8_t data[A2A_PACKET_MAX + 1]; /* one thread */
	union stamp_control control;
	struct iovec vector = {data, sizeof(data)};
	struct msghdr message = {
	    .msg_iov = &vector,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(run->fd, &message, MSG_DONTWAIT);
	int64_t t4, mono = probe_now();
	struct a2a_reply reply;
	bool stamped;
	uint8_t ttl;

	if (n < 0)
	{
		/* A reflector that is not there yet may be there for the next packet. */
		if (errno != EAGAIN)
			note_error(run, errno, false);
		return errno != EAGAIN;
	}
	t4 = txstamp_received(&message);
	stamped = t4 > 0;
	if (!stamped)
		t4 = probe_now_unix();
	/* A reflector that knows no SSID sends zeros. */
	if (!a2a_reply_read(data, (size_t) n, t4, &reply) ||
	    (reply.ssid != run->ssid && reply.ssid != 0))
		return true;
	ttl = ttl_of(&message);
	if (track_received(&run->track, &reply, t4, stamped ? TRACK_KERNEL : TRACK_USER, mono) && ttl)
		run->track.ttl_reverse = ttl;
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	read_departures(run);
	for (int i = 0; i < A_TURN; i++)
		if (!read_reply(run))
			break;
	if (run_complete(run))
		run_finish(run);
}

/* ---- sending ---- */

/* 0 or an errno. */
static int
send_packet(struct canary_run *run)
{
	static struct buf out = BUF_INIT(A2A_PACKET_MAX); /* one thread; kept for the next packet */
	struct a2a_request request = {
	    .sequence = run->next,
	    .estimate = run->estimate,
	    .ssid = run->ssid,
	    .follow_up = run->follow_up,
	    .token = run->session.session_id[0] ? run->session.token : NULL,
	};
	struct stamp_times times;
	uint64_t raw;

	stamp_begin(&times);
	request.t1 = times.sent_unix;
	if (!a2a_request_write(&out, run->cmd->payload_bytes, &request, &raw))
		return ENOMEM;
	if (send(run->fd, out.data, out.len, MSG_DONTWAIT) < 0)
	{
		int error = errno;

		/* Whether the kernel counted it is not known: it starts anew. */
		txstamp_enable(run->fd);
		run->datagrams = 0;
		return error;
	}
	run->numbers[run->datagrams++] = run->next;
	track_sent(&run->track, run->next, raw, request.t1, times.sent);
	probe_left(&run->probe, pace_slot(&run->pace, run->next), &times);
	return 0;
}

static void
on_send(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;
	int error = send_packet(run);

	if (error == EAGAIN || error == ENOBUFS || error == EINTR)
	{
		pace_again(&run->pace);
		return;
	}
	/* What an earlier packet met is told to a later one that did not leave: it is sent again. */
	if (error == ECONNREFUSED && run->error_type == ERROR_NONE)
	{
		note_error(run, error, true);
		pace_wait(&run->pace, run->next);
		return;
	}
	if (error)
	{
		/* The network was asked for: a packet that did not leave is one that was lost. */
		note_error(run, error, true);
		track_sent(&run->track, run->next, 0, probe_now_unix(), probe_now());
	}
	run->next++;
	if (run->next < run->cmd->count)
		pace_wait(&run->pace, run->next);
	read_departures(run);
}

static bool
open_socket(struct canary_run *run)
{
	int family = run->peer.addr.ss_family, on = 1, ttl = 255;
	bool v4 = family == AF_INET;

	run->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (run->fd < 0)
	{
		probe_fail_errno(&run->probe, errno, "open a socket");
		return false;
	}
	event_assign(&run->reader, run->probe.env->base, run->fd, EV_READ | EV_PERSIST, on_readable,
	             run);
	/* A TTL of 255 tells the other end how many routers there were. */
	if (v4)
	{
		setsockopt(run->fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
		setsockopt(run->fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
		setsockopt(run->fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	}
	else
	{
		setsockopt(run->fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
		setsockopt(run->fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
		setsockopt(run->fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	}
	txstamp_enable(run->fd);
	if (probe_set_dscp(run->fd, family, run->cmd->dscp) != 0)
		probe_fail_errno(&run->probe, errno, "set the DSCP of a socket");
	else if (connect(run->fd, (const struct sockaddr *) &run->peer.addr, run->peer.len) != 0)
		probe_fail_local(&run->probe, errno, "reach the reflector");
	return run->probe.error_type == ERROR_NONE;
}

/* Between packets: all of them in half of what is left, or, of a continuous test, in all but what the last reply needs. */
static int64_t
spacing(const struct canary_run *run)
{
	int64_t now = probe_now();
	int64_t left = run->probe.start + (int64_t) run->probe.spec->timeout_ms * 1000000 - now;
	int64_t reply = left / 4 < 1000000000 ? left / 4 : 1000000000;

	if (run->cmd->continuous && run->cmd->count > 1 && left > 0)
		return (left - reply) / (run->cmd->count - 1);
	return probe_spacing(&run->probe, now, run->cmd->count, run->cmd->interval_ms);
}

/* The address is known. */
static void
begin(struct canary_run *run, const struct resolver_address *address, uint32_t port)
{
	size_t tlvs = A2A_BASE + A2A_TLV_HEADER + A2A_FOLLOW_BYTES;

	run->peer = *address;
	probe_set_port(&run->peer.addr, port);
	if (!guard_pass(&run->probe, address, 1) || !open_socket(run))
	{
		probe_end_soon(&run->probe);
		return;
	}
	if (getrandom(&run->ssid, sizeof(run->ssid), GRND_NONBLOCK) != sizeof(run->ssid))
		run->ssid = (uint16_t) probe_now();
	run->ssid |= run->ssid == 0;
	if (run->session.session_id[0])
		tlvs += A2A_TLV_HEADER + A2A_TOKEN_BYTES;
	run->follow_up = run->cmd->payload_bytes >= tlvs;
	run->estimate = a2a_clock_estimate();
	run->track.local = run->estimate;
	run->track.stateful = run->session.session_id[0] != '\0';
	event_add(&run->reader, NULL);
	pace_begin(&run->pace, spacing(run));
	pace_wait(&run->pace, 0);
}

static void
on_session(const struct meet_session *session, void *arg)
{
	struct canary_run *run = arg;
	struct resolver_address address;

	run->session = *session;
	run->probe.dns_done = 0;
	if (resolver_literal(session->hosts[session->turn % MEET_HOSTS_MAX], &address))
	{
		begin(run, &address, session->port);
		return;
	}
	probe_fail(&run->probe, ERROR_CONFIG, "agent %s reports an address that is none",
	           run->cmd->host);
	probe_end_soon(&run->probe);
}

static void
on_resolved(const struct resolver_answer *answer, void *arg)
{
	struct canary_run *run = arg;

	run->probe.query = NULL;
	run->probe.dns_done = probe_now();
	if (answer->error == ERROR_NONE)
	{
		begin(run, &answer->addresses[0], run->cmd->port);
		return;
	}
	probe_fail(&run->probe, answer->error, "%s", answer->message);
	probe_end_soon(&run->probe);
}

static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct canary_run *run = arg;

	if (run->probe.query)
		probe_fail(&run->probe, ERROR_DNS_TIMEOUT, "%s: no answer to the look-up within %u ms",
		           run->cmd->host, run->probe.spec->timeout_ms);
	else if (run->waiter.test_id)
		probe_fail(&run->probe, ERROR_PEER_UNAVAILABLE,
		           "agent %s: it does not answer tests at the moment (offline, or without a "
		           "reflector)",
		           run->cmd->host);
	run_finish(run);
}

/* The session of the test, now or when it is there. */
static void
meet_peer(struct canary_run *run)
{
	struct meet *meet = run->probe.env->meet;
	const struct meet_session *session = meet ? meet_find(meet, run->probe.spec->test_id) : NULL;

	if (session)
		on_session(session, run);
	else if (meet)
	{
		run->waiter = (struct meet_waiter){
		    .test_id = run->probe.spec->test_id, .ready = on_session, .arg = run};
		meet_wait(meet, &run->waiter);
	}
	else
	{
		probe_fail(&run->probe, ERROR_CONFIG,
		           "%s: the target needs a port; another agent as the target is for tests of the "
		           "control plane",
		           run->cmd->host);
		probe_end_soon(&run->probe);
	}
}

static struct canary_run *
a2a_start(struct canary_env *env, const struct test_spec *spec, const void *cmd, canary_done done,
          void *arg)
{
	const struct a2a_cmd *parsed = cmd;
	struct canary_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->cmd = parsed;
	run->fd = -1;
	track_init(&run->track, parsed->count);
	probe_init(&run->probe, env, spec, done, arg, on_limit, run);
	pace_init(&run->pace, env->base, on_send, run);
	if (parsed->port == 0)
	{
		meet_peer(run);
		return run;
	}
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
a2a_cancel(struct canary_run *run)
{
	run_free(run);
}

const struct canary_ops canary_a2a = {
    .type = "a2a",
    .summary =
        "delay and loss of both directions (STAMP); target: agent, or host:port of a reflector",
    .paced = true,
    .cmd_parse = a2a_cmd_parse,
    .cmd_free = free,
    .start = a2a_start,
    .cancel = a2a_cancel,
};
