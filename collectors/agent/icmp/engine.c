/* SPDX-License-Identifier: PostgreSQL
 *
 * engine.c -- the sockets of the icmp canary and the way from a packet to its run.
 *
 * Packets are read in batches and carry the kernel's times of sending and receiving, so that a busy
 * loop adds nothing to a round-trip time. A raw socket sees every ICMP packet of the machine: the
 * kernel's filter leaves what has our mark (filter.h), the token picks the run. A ping socket
 * (net.ipv4.ping_group_range) sees its own replies only, and errors on its error queue.
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/icmp/filter.h"
#include "agent/icmp/icmp.h"

#define BATCH          16
#define BATCHES_A_TURN 8 /* then the rest of the loop has its turn */
/* A ping socket tells the ICMP error about any run's packet to whoever calls next. That was not about this
 * packet, and the error queue has it with the right one. */
#define SEND_TRIES 3
#define BUSY_NANO  1000000 /* the stamps of packets so close to each other are read together */
#define RECEIVE_BUFFER                                                                             \
	(4 * 1024 * 1024) /* thousands of replies may come while a TLS handshake runs */

struct run_list
{
	struct canary_run *lh_first;
};

struct icmp_socket
{
	struct canary_env *env;
	int family, fd;
	bool raw;
	enum stamp_kind stamps;
	int df;             /* state of the socket: 0, 1, -1 unknown */
	uint32_t unstamped; /* packets sent whose stamp was not read */
	int64_t sent;       /* the newest of them */
	struct event reader;
};

struct icmp_engine
{
	struct icmp_socket sockets[2]; /* IPv4, IPv6 */
	uint16_t next_id;
	struct run_list by_id[ICMP_CHAINS]; /* identifiers come in turn, so chains are short */
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	struct sockaddr_storage names[BATCH];
	union stamp_control controls[BATCH];
	uint8_t data[BATCH][ICMP_READ_MAX];
	uint8_t packet[ICMP_HEADER + ICMP_PAYLOAD_MAX];
};

static int
open_socket(int family, bool *raw)
{
	int protocol = family == AF_INET ? (int) IPPROTO_ICMP : (int) IPPROTO_ICMPV6;
	int flags = SOCK_NONBLOCK | SOCK_CLOEXEC, saved;
	int fd = socket(family, SOCK_RAW | flags, protocol);

	*raw = fd >= 0;
	if (fd < 0)
	{
		saved = errno;
		fd = socket(family, SOCK_DGRAM | flags, protocol);
		if (fd < 0)
			errno = saved;
	}
	return fd;
}

/* Options that are a convenience: without them the engine works, only less well. */
static void
set_options(int family, int fd, bool raw, uint16_t mark)
{
	int on = 1, size = RECEIVE_BUFFER;
	struct icmp_filter filter4 = {~(1U << ICMP_ECHOREPLY | 1U << ICMP_DEST_UNREACH |
	                                1U << ICMP_TIME_EXCEEDED | 1U << ICMP_PARAMETERPROB)};
	struct icmp6_filter filter6;

	if (raw)
		icmp_filter_attach(fd, family == AF_INET6, mark);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (raw && family == AF_INET)
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter4, sizeof(filter4));
	else if (raw)
	{
		ICMP6_FILTER_SETBLOCKALL(&filter6);
		ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
		ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter6);
		ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter6);
		ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter6);
		ICMP6_FILTER_SETPASS(ICMP6_PARAM_PROB, &filter6);
		setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6));
	}
	else if (family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
}

void
icmp_open(struct canary_env *env)
{
	env->icmp = NULL;
	env->icmp_errno = 0;
	if (getrandom(&env->icmp_mark, sizeof(env->icmp_mark), 0) != (ssize_t) sizeof(env->icmp_mark))
		env->icmp_mark = (uint16_t) probe_now();
	env->icmp6_fd = open_socket(AF_INET6, &env->icmp6_raw);
	if (env->icmp6_fd < 0)
		env->icmp_errno = errno;
	env->icmp4_fd = open_socket(AF_INET, &env->icmp4_raw);
	if (env->icmp4_fd < 0)
		env->icmp_errno = errno;
	if (env->icmp4_fd >= 0)
		set_options(AF_INET, env->icmp4_fd, env->icmp4_raw, env->icmp_mark);
	if (env->icmp6_fd >= 0)
		set_options(AF_INET6, env->icmp6_fd, env->icmp6_raw, env->icmp_mark);
}

void
icmp_close(struct canary_env *env)
{
	if (env->icmp)
	{
		for (int i = 0; i < 2; i++)
			if (env->icmp->sockets[i].fd >= 0)
				event_del(&env->icmp->sockets[i].reader);
		free(env->icmp);
		env->icmp = NULL;
	}
	if (env->icmp4_fd >= 0)
		close(env->icmp4_fd);
	if (env->icmp6_fd >= 0)
		close(env->icmp6_fd);
	env->icmp4_fd = env->icmp6_fd = -1;
}

int
icmp_engine_fd(const struct canary_env *env, int family)
{
	return family == AF_INET ? env->icmp4_fd : env->icmp6_fd;
}

bool
icmp_engine_raw(const struct canary_env *env, int family)
{
	return family == AF_INET ? env->icmp4_raw : env->icmp6_raw;
}

/* ---- from a packet to its run ---- */

static bool
same_destination(const struct canary_run *run, const struct icmp_seen *seen)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) &run->peer.addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) &run->peer.addr;

	if (run->peer.addr.ss_family == AF_INET)
		return memcmp(&in4->sin_addr, seen->destination, 4) == 0;
	return memcmp(&in6->sin6_addr, seen->destination, 16) == 0;
}

/* NAT may have changed the identifier in the header: the token has it, too. */
static struct canary_run *
find_by_token(struct icmp_engine *engine, uint64_t token)
{
	uint16_t id = (uint16_t) (token >> 16), secret = (uint16_t) (token >> 32);
	struct canary_run *run;

	LIST_FOREACH (run, &engine->by_id[id % ICMP_CHAINS], by_id)
	{
		if (run->id == id && run->secret == secret)
			return run;
	}
	return NULL;
}

/* any_id: of the runs to the destination the one that has sent that many packets. */
static struct canary_run *
find_by_id(struct icmp_engine *engine, const struct icmp_socket *socket,
           const struct icmp_seen *seen, uint16_t id, bool any_id)
{
	struct canary_run *run;

	LIST_FOREACH (run, &engine->by_id[id % ICMP_CHAINS], by_id)
	{
		if (run->peer.addr.ss_family == socket->family && (any_id || run->id == id) &&
		    seen->sequence < run->next && same_destination(run, seen))
			return run;
	}
	return NULL;
}

/* An error that quotes too little for the token: rare enough to look through all runs for a destination. */
static struct canary_run *
find_by_quote(struct icmp_engine *engine, const struct icmp_socket *socket,
              const struct icmp_seen *seen)
{
	struct canary_run *run = NULL;

	if (socket->raw)
		return find_by_id(engine, socket, seen, seen->id, false);
	for (uint16_t i = 0; i < ICMP_CHAINS && run == NULL; i++)
		run = find_by_id(engine, socket, seen, i, true);
	return run;
}

static struct canary_run *
find_run(struct icmp_engine *engine, const struct icmp_socket *socket, const struct icmp_seen *seen,
         uint32_t *number)
{
	struct canary_run *run = NULL;

	*number = seen->has_token ? (uint16_t) seen->token : seen->sequence;
	if (seen->has_token)
		run = seen->token >> 48 == socket->env->icmp_mark ? find_by_token(engine, seen->token)
		                                                  : NULL;
	else if (seen->kind == ICMP_PROBLEM)
		run = find_by_quote(engine, socket, seen);
	return run && run->peer.addr.ss_family == socket->family && *number < run->next ? run : NULL;
}

static void
dispatch(struct icmp_socket *socket, const struct icmp_seen *seen,
         const struct sockaddr_storage *from, int64_t received)
{
	struct canary_run *run;
	uint32_t number;

	if (seen->kind == ICMP_NOTHING)
		return;
	run = find_run(socket->env->icmp, socket, seen, &number);
	if (run == NULL)
		return;
	if (seen->kind == ICMP_REPLY)
		icmp_run_reply(run, number, received);
	else
		icmp_run_problem(run, number, seen, from);
}

static void
read_message(struct icmp_socket *socket, struct mmsghdr *message)
{
	const uint8_t *data = message->msg_hdr.msg_iov->iov_base;
	struct icmp_seen seen;

	if (socket->family == AF_INET)
		icmp4_read(data, message->msg_len, socket->raw, &seen);
	else
		icmp6_read(data, message->msg_len, &seen);
	dispatch(socket, &seen, message->msg_hdr.msg_name, stamp_received(&message->msg_hdr));
}

/* ---- the error queue: stamps of what was sent, and ICMP errors for ping sockets ---- */

struct copy
{
	struct icmp_socket *socket;
	int64_t at;
};

static bool
on_copy(const struct icmp_seen *seen, void *arg)
{
	const struct copy *copy = arg;
	uint32_t number;
	struct canary_run *run = find_run(copy->socket->env->icmp, copy->socket, seen, &number);

	if (run)
		icmp_run_stamped(run, number, copy->at);
	return run != NULL;
}

static void
read_error(struct icmp_socket *socket, struct mmsghdr *message)
{
	struct msghdr *header = &message->msg_hdr;
	const uint8_t *data = header->msg_iov->iov_base;
	size_t len = message->msg_len < ICMP_READ_MAX ? message->msg_len : ICMP_READ_MAX;
	bool v6 = socket->family == AF_INET6;
	struct copy copy = {socket, stamp_sent(header)};
	struct sockaddr_storage from;
	struct sockaddr_in *in4 = header->msg_name;
	struct sockaddr_in6 *in6 = header->msg_name;
	struct icmp_seen what, seen;

	if (copy.at)
	{
		socket->unstamped -= socket->unstamped > 0;
		icmp_copy_read(data, len, v6, on_copy, &copy);
		return;
	}
	if (!icmp_queued(header, &what, &from))
		return;
	icmp_quoted_read(data, len, v6, &seen);
	seen.error = what.error;
	seen.text = what.text;
	seen.mtu = what.mtu;
	memcpy(seen.destination, v6 ? (void *) &in6->sin6_addr : (void *) &in4->sin_addr, v6 ? 16 : 4);
	dispatch(socket, &seen, &from, 0);
}

/* The kernel has changed what it used. */
static void
message_prepare(struct icmp_engine *engine, int i)
{
	engine->vectors[i] = (struct iovec){engine->data[i], ICMP_READ_MAX};
	engine->messages[i].msg_hdr = (struct msghdr){.msg_name = &engine->names[i],
	                                              .msg_namelen = sizeof(engine->names[i]),
	                                              .msg_iov = &engine->vectors[i],
	                                              .msg_iovlen = 1,
	                                              .msg_control = &engine->controls[i],
	                                              .msg_controllen = sizeof(union stamp_control)};
}

/* Reads up to BATCH messages of a queue; how many there were, below 0 when none. */
static int
read_batch(struct icmp_socket *socket, int flags,
           void (*take)(struct icmp_socket *socket, struct mmsghdr *message))
{
	struct icmp_engine *engine = socket->env->icmp;
	int n = recvmmsg(socket->fd, engine->messages, BATCH, MSG_DONTWAIT | flags, NULL);

	for (int i = 0; i < n; i++)
	{
		take(socket, &engine->messages[i]);
		message_prepare(engine, i);
	}
	return n;
}

static void
read_errors(struct icmp_socket *socket)
{
	for (int i = 0; i < BATCHES_A_TURN; i++)
		if (read_batch(socket, MSG_ERRQUEUE, read_error) < BATCH)
			break;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct icmp_socket *socket = arg;

	int n;

	/* Stamps first: the reply to a packet is later than the stamp of it. */
	if (!socket->raw || socket->unstamped > 0)
		read_errors(socket);
	for (int i = 0; i < BATCHES_A_TURN; i++)
	{
		n = read_batch(socket, 0, read_message);
		/* Something woke us all the same. */
		if (i == 0 && n <= 0)
			read_errors(socket);
		if (n < BATCH)
			return;
	}
}

/* ---- runs ---- */

bool
icmp_engine_ready(struct canary_env *env)
{
	struct icmp_engine *engine;

	if (env->icmp)
		return true;
	engine = calloc(1, sizeof(*engine));
	if (engine == NULL)
		return false;
	if (getrandom(&engine->next_id, sizeof(engine->next_id), 0) < 0)
		engine->next_id = (uint16_t) getpid();
	env->icmp = engine;
	for (int i = 0; i < BATCH; i++)
		message_prepare(engine, i);
	for (int i = 0; i < 2; i++)
	{
		struct icmp_socket *socket = &engine->sockets[i];

		socket->env = env;
		socket->family = i == 0 ? AF_INET : AF_INET6;
		socket->fd = icmp_engine_fd(env, socket->family);
		socket->raw = icmp_engine_raw(env, socket->family);
		socket->df = -1;
		if (socket->fd < 0)
			continue;
		socket->stamps = stamp_ask(socket->fd);
		event_assign(&socket->reader, env->base, socket->fd, EV_READ | EV_PERSIST, on_readable,
		             socket);
		event_add(&socket->reader, NULL);
	}
	return true;
}

/* Identifiers of runs that are under way are passed over; there are far fewer than 65,536. */
static uint16_t
free_id(struct icmp_engine *engine)
{
	for (uint32_t tries = 0; tries < 65536; tries++)
	{
		uint16_t id = engine->next_id++;
		struct canary_run *run;

		LIST_FOREACH (run, &engine->by_id[id % ICMP_CHAINS], by_id)
		{
			if (run->id == id)
				break;
		}
		if (run == NULL)
			return id;
	}
	return engine->next_id++;
}

void
icmp_engine_add(struct canary_env *env, struct canary_run *run)
{
	struct icmp_engine *engine = env->icmp;

	run->id = free_id(engine);
	run->overflow = probe_overflow(icmp_engine_fd(env, run->peer.addr.ss_family));
	if (getrandom(&run->secret, sizeof(run->secret), 0) != (ssize_t) sizeof(run->secret))
		run->secret = (uint16_t) probe_now();
	LIST_INSERT_HEAD(&engine->by_id[run->id % ICMP_CHAINS], run, by_id);
	run->registered = true;
}

void
icmp_engine_remove(struct canary_run *run)
{
	if (run->registered)
		LIST_REMOVE(run, by_id);
	run->registered = false;
}

/* The don't-fragment state is the socket's, not the packet's: change it when it differs. Without
 * df fragments are allowed and no path MTU is remembered. */
static void
set_df(struct icmp_socket *socket, bool df)
{
	int level = socket->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	int option = socket->family == AF_INET ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER;
	int value = df ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT;

	if (socket->df == df)
		return;
	setsockopt(socket->fd, level, option, &value, sizeof(value));
	if (socket->family == AF_INET6)
	{
		value = df;
		setsockopt(socket->fd, IPPROTO_IPV6, IPV6_DONTFRAG, &value, sizeof(value));
	}
	socket->df = df;
}

static void
put_dscp(struct msghdr *message, union stamp_control *control, int family, uint32_t dscp)
{
	int tos = (int) dscp << 2;
	struct cmsghdr *c;

	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(sizeof(tos));
	c = CMSG_FIRSTHDR(message);
	c->cmsg_level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = family == AF_INET ? IP_TOS : IPV6_TCLASS;
	c->cmsg_len = CMSG_LEN(sizeof(tos));
	memcpy(CMSG_DATA(c), &tos, sizeof(tos));
}

/* The kernel has most often stamped a packet when it returns from sending it: read at once, the stamp
 * wakes nobody. Not where many packets leave, whose stamps are read together. */
static void
packet_left(struct icmp_socket *socket, int64_t sent)
{
	bool busy = sent - socket->sent < BUSY_NANO;

	socket->sent = sent;
	if (!socket->raw || socket->stamps != STAMP_BOTH)
		return;
	socket->unstamped++;
	if (!busy)
		read_errors(socket);
}

int
icmp_engine_send(struct canary_env *env, struct canary_run *run, uint32_t number)
{
	struct icmp_engine *engine = env->icmp;
	int family = run->peer.addr.ss_family;
	struct icmp_socket *socket = &engine->sockets[family == AF_INET ? 0 : 1];
	struct iovec vector = {engine->packet, ICMP_HEADER + run->cmd->payload_bytes};
	struct msghdr message = {.msg_name = &run->peer.addr,
	                         .msg_namelen = run->peer.len,
	                         .msg_iov = &vector,
	                         .msg_iovlen = 1};
	union stamp_control control = {0};
	int tries = socket->raw ? 1 : SEND_TRIES, error;

	icmp_request_write(engine->packet, family == AF_INET6, run->id, (uint16_t) number,
	                   (uint64_t) env->icmp_mark << 48 | (uint64_t) run->secret << 32 |
	                       (uint32_t) run->id << 16 | number,
	                   run->cmd->payload_bytes);
	if (run->cmd->dscp)
		put_dscp(&message, &control, family, run->cmd->dscp);
	set_df(socket, run->cmd->df);
	do
	{
		stamp_begin(&run->packets[number].times);
		error = sendmsg(socket->fd, &message, MSG_DONTWAIT) < 0 ? errno : 0;
	} while (error && error != EAGAIN && error != ENOBUFS && --tries > 0);
	if (!error)
		packet_left(socket, run->packets[number].times.sent);
	return error;
}
