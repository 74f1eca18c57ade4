/* SPDX-License-Identifier: PostgreSQL
 *
 * grpc.h -- a gRPC client on nghttp2, small enough for an agent.
 *
 * One connection, any number of calls on it; a call is unary or a stream in either direction, the
 * difference is only how often grpc_send is called. No compression, no retries, no load
 * balancing: reconnecting is the caller's, who knows the backoff. Callbacks come from the
 * loop only, never from inside a call of this interface; a connection or a call may be
 * closed in any callback.
 */
#ifndef PCTL_LIB_GRPC_H
#define PCTL_LIB_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/buf.h"

struct event_base;
struct grpc_call;
struct grpc_conn;
struct ssl_ctx_st;

/* https://grpc.io status codes; the numbers are the wire's. */
enum grpc_status
{
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

const char *grpc_status_name(int status);

struct grpc_conn_ops
{
	void (*up)(void *arg);

	/* Lost or never made. Every call was closed before. The connection is still to be
	 * closed. */
	void (*down)(void *arg, const char *why);
};

struct grpc_call_ops
{
	void (*message)(void *arg, const uint8_t *data, size_t len);

	/* The end, exactly once. The call is gone after it. */
	void (*closed)(void *arg, int status, const char *message);
};

struct grpc_options
{
	const char *host;      /* the server certificate's name or address, and :authority */
	int connect_ms;        /* limit of connect and TLS handshake */
	int keepalive_ms;      /* a ping when nothing was heard for so long */
	int keepalive_wait_ms; /* and down when nothing follows */
	size_t message_max;    /* longest message accepted */
};

struct grpc_conn *grpc_connect(struct event_base *base, struct ssl_ctx_st *ctx,
                               const struct sockaddr *addr, socklen_t addrlen,
                               const struct grpc_options *options, const struct grpc_conn_ops *ops,
                               void *arg, char *err, size_t errlen);

/* Everything on it is dropped without a callback. NULL is ignored. */
void grpc_close(struct grpc_conn *conn);

/* path is /package.Service/Method; timeout_ms 0 = no deadline. NULL when the connection is not up. */
struct grpc_call *grpc_call(struct grpc_conn *conn, const char *path, int timeout_ms,
                            const struct grpc_call_ops *ops, void *arg);

/* Queues one message; last: no more will follow. False when too much is queued already or the
 * call has ended. */
bool grpc_send(struct grpc_call *call, const void *data, size_t len, bool last);

/* Bytes of this call that the connection has not taken yet. */
size_t grpc_queued(const struct grpc_call *call);

/* Ends it without a callback. */
void grpc_cancel(struct grpc_call *call);

/* The address this end of the connection has; false when there is none. */
bool grpc_address(const struct grpc_conn *conn, struct sockaddr_storage *addr);

/* ---- framing: 1 byte flag, 4 bytes length, message ---- */

struct grpc_reader
{
	struct buf buf;
	size_t max;
};

void grpc_reader_init(struct grpc_reader *r, size_t max);
void grpc_reader_free(struct grpc_reader *r);

/* Takes bytes as they come; calls message for each whole one, which may return false to stop.
 * NULL, or why the peer's bytes are not gRPC (a static text). */
const char *grpc_reader_feed(struct grpc_reader *r, const uint8_t *data, size_t len,
                             bool (*message)(void *arg, const uint8_t *data, size_t len),
                             void *arg);

/* True when no part of a message is waiting for the rest. */
bool grpc_reader_idle(const struct grpc_reader *r);

#endif
