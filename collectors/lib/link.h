/* SPDX-License-Identifier: PostgreSQL
 *
 * link.h -- one outgoing TCP + TLS connection on a libevent loop.
 *
 * Bytes in, bytes out; HTTP/2 and HTTP/1.1 stand on top. The socket is level-triggered while
 * OpenSSL holds whole records back, so reading goes on until OpenSSL itself wants more.
 * Callbacks come from the loop only, never from inside a call; down comes exactly
 * once, after it nothing. One connection a link: trying again is the caller's.
 */
#ifndef PCTL_LIB_LINK_H
#define PCTL_LIB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct link;
struct ssl_ctx_st;

struct link_ops
{
	void (*up)(void *arg); /* TLS is established */

	/* Bytes arrived. The link may be closed from here. */
	void (*input)(void *arg, const uint8_t *data, size_t len);

	/* The output queue is empty: more may be written. */
	void (*drained)(void *arg);

	/* The connection failed or ended. The link is still to be closed. */
	void (*down)(void *arg, const char *why);
};

/* host is what the server's certificate must be for; timeout_ms covers connect and handshake.
 * NULL with a sentence in err when it cannot even start. */
struct link *link_open(struct event_base *base, struct ssl_ctx_st *ctx, const struct sockaddr *addr,
                       socklen_t addrlen, const char *host, int timeout_ms,
                       const struct link_ops *ops, void *arg, char *err, size_t errlen);

/* Queues bytes; false when more than LINK_QUEUE_MAX would wait. */
bool link_write(struct link *link, const void *data, size_t len);
size_t link_queued(const struct link *link);

/* The address this end has; false when there is no connection. */
bool link_address(const struct link *link, struct sockaddr_storage *addr);

/* Frees at once; what is queued is lost. NULL is ignored. */
void link_close(struct link *link);

#define LINK_QUEUE_MAX (8 * 1024 * 1024)

#endif
