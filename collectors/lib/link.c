/* SPDX-License-Identifier: PostgreSQL
 *
 * link.c -- see link.h.
 *
 * One read and one write event. A TLS read may want the socket to be writable and the other
 * way round (key updates), so both handlers simply try everything that can go on.
 */
#include "lib/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/mem.h"

#define LINK_READ_BYTES 16384 /* one TLS record */
#define LINK_DEAD_MS    20000 /* sent bytes unacknowledged for so long: the peer is gone */

/* LINK_CONNECTING -> LINK_HANDSHAKE -> LINK_UP -> LINK_DOWN; each may go to LINK_DOWN. */
enum link_state
{
	LINK_CONNECTING,
	LINK_HANDSHAKE,
	LINK_UP,
	LINK_DOWN,
};

struct link
{
	enum link_state state;
	int fd;
	struct ssl_st *tls;
	struct ssl_ctx_st *ctx;
	struct event *readable, *writable, *timer;
	struct buf out;
	size_t out_sent; /* of out */
	bool read_wants_write;
	int busy;     /* callbacks are running */
	bool closing; /* closed from a callback: freed when they end */
	const struct link_ops *ops;
	void *arg;
	char host[256];
};

static void link_ready(evutil_socket_t fd, short what, void *arg);
static void link_leave(struct link *l);

static void
link_down(struct link *l, const char *why)
{
	if (l->state == LINK_DOWN)
		return;
	l->state = LINK_DOWN;
	event_del(l->readable);
	event_del(l->writable);
	event_del(l->timer);
	l->ops->down(l->arg, why);
}

static void
link_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	l->busy++;
	link_down(l, l->state == LINK_CONNECTING ? "connect timed out" : "TLS handshake timed out");
	link_leave(l);
}

/* ---- steps; each returns false when the link is gone ---- */

static bool
step_connect(struct link *l)
{
	int error = 0;
	socklen_t len = sizeof(error);
	char err[256];

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error)
	{
		link_down(l, strerror(error));
		return false;
	}
	l->tls = crypto_tls_new(l->ctx, l->fd, l->host, err, sizeof(err));
	if (!l->tls)
	{
		link_down(l, err);
		return false;
	}
	event_add(l->readable, NULL);
	l->state = LINK_HANDSHAKE;
	return true;
}

static bool
step_handshake(struct link *l)
{
	char err[256];

	switch (crypto_tls_handshake(l->tls, err, sizeof(err)))
	{
		case CRYPTO_DONE:
			event_del(l->timer);
			l->state = LINK_UP;
			l->ops->up(l->arg);
			return l->state != LINK_DOWN;
		case CRYPTO_WANT_READ: event_del(l->writable); return false;
		case CRYPTO_WANT_WRITE: event_add(l->writable, NULL); return false;
		case CRYPTO_CLOSED:
			link_down(l, "closed by the peer during the TLS handshake");
			return false;
		case CRYPTO_FAILED: link_down(l, err); return false;
	}
	return false;
}

static bool
step_read(struct link *l)
{
	uint8_t data[LINK_READ_BYTES];
	char err[256];
	size_t got;

	for (;;)
	{
		switch (crypto_tls_read(l->tls, data, sizeof(data), &got, err, sizeof(err)))
		{
			case CRYPTO_DONE:
				l->ops->input(l->arg, data, got);
				if (l->state == LINK_DOWN)
					return false;
				break;
			case CRYPTO_WANT_READ: l->read_wants_write = false; return true;
			case CRYPTO_WANT_WRITE: l->read_wants_write = true; return true;
			case CRYPTO_CLOSED: link_down(l, "closed by the peer"); return false;
			case CRYPTO_FAILED: link_down(l, err); return false;
		}
	}
}

static bool
step_write(struct link *l)
{
	char err[256];
	size_t put;

	while (l->out_sent < l->out.len)
	{
		switch (crypto_tls_write(l->tls, l->out.data + l->out_sent, l->out.len - l->out_sent, &put,
		                         err, sizeof(err)))
		{
			case CRYPTO_DONE: l->out_sent += put; break;
			case CRYPTO_WANT_READ: event_del(l->writable); return true;
			case CRYPTO_WANT_WRITE: event_add(l->writable, NULL); return true;
			case CRYPTO_CLOSED: link_down(l, "closed by the peer"); return false;
			case CRYPTO_FAILED: link_down(l, err); return false;
		}
		if (l->out_sent == l->out.len)
		{
			/* A large queue gives its memory back once it is drained. */
			if (l->out.cap > 4 * LINK_READ_BYTES)
				buf_free(&l->out);
			buf_reset(&l->out);
			l->out_sent = 0;
			l->ops->drained(l->arg);
			if (l->state == LINK_DOWN)
				return false;
		}
	}
	if (l->read_wants_write)
		event_add(l->writable, NULL);
	else
		event_del(l->writable);
	return true;
}

/* Leaves the callbacks; what was closed in them is freed now. */
static void
link_leave(struct link *l)
{
	if (--l->busy == 0 && l->closing)
		free(l);
}

static void
link_ready(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	/* Only a write that was asked for needs no look at what came in. */
	bool read = l->state != LINK_UP || what != EV_WRITE || l->read_wants_write;

	l->busy++;
	if ((l->state != LINK_CONNECTING || step_connect(l)) &&
	    (l->state != LINK_HANDSHAKE || step_handshake(l)) && l->state == LINK_UP &&
	    (!read || step_read(l)))
		step_write(l);
	link_leave(l);
}

/* ---- interface ---- */

static int
socket_connect(const struct sockaddr *addr, socklen_t addrlen, char *err, size_t errlen)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	unsigned limit = LINK_DEAD_MS;

	if (fd >= 0)
	{
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
	}
	if (fd >= 0 && (connect(fd, addr, addrlen) == 0 || errno == EINPROGRESS))
		return fd;
	snprintf(err, errlen, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

struct link *
link_open(struct event_base *base, struct ssl_ctx_st *ctx, const struct sockaddr *addr,
          socklen_t addrlen, const char *host, int timeout_ms, const struct link_ops *ops,
          void *arg, char *err, size_t errlen)
{
	struct timeval limit = clock_timeval(timeout_ms * NANO_PER_MS);
	int fd = socket_connect(addr, addrlen, err, errlen);
	struct link *l;

	if (fd < 0)
		return NULL;
	l = mem_alloc(sizeof(*l));
	l->fd = fd;
	l->ctx = ctx;
	l->ops = ops;
	l->arg = arg;
	buf_init(&l->out, LINK_QUEUE_MAX);
	snprintf(l->host, sizeof(l->host), "%s", host);
	l->readable = event_new(base, fd, EV_READ | EV_PERSIST, link_ready, l);
	l->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, link_ready, l);
	l->timer = evtimer_new(base, link_timeout, l);
	if (!l->readable || !l->writable || !l->timer || event_add(l->writable, NULL) != 0 ||
	    event_add(l->timer, &limit) != 0)
	{
		snprintf(err, errlen, "out of memory for events");
		link_close(l);
		return NULL;
	}
	return l;
}

bool
link_write(struct link *l, const void *data, size_t len)
{
	if (l->state == LINK_DOWN || l->out.failed)
		return false;
	if (l->out_sent > 0 && l->out_sent >= l->out.len / 2)
	{
		buf_consume(&l->out, l->out_sent);
		l->out_sent = 0;
	}
	if (!buf_put(&l->out, data, len))
		return false;
	/* Tried in this turn of the loop, and waited for only when the socket is full; within a
	 * callback the caller's step writes it. */
	if (l->state == LINK_UP && l->busy == 0)
		event_active(l->writable, EV_WRITE, 1);
	return true;
}

size_t
link_queued(const struct link *l)
{
	return l->out.len - l->out_sent;
}

bool
link_address(const struct link *l, struct sockaddr_storage *addr)
{
	socklen_t len = sizeof(*addr);

	return l->fd >= 0 && getsockname(l->fd, (struct sockaddr *) addr, &len) == 0;
}

void
link_close(struct link *l)
{
	if (!l)
		return;
	l->state = LINK_DOWN;
	if (l->readable)
		event_free(l->readable);
	if (l->writable)
		event_free(l->writable);
	if (l->timer)
		event_free(l->timer);
	crypto_tls_free(l->tls);
	if (l->fd >= 0)
		close(l->fd);
	buf_free(&l->out);
	l->closing = true;
	if (!l->busy)
		free(l);
}
