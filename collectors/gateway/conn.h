/* SPDX-License-Identifier: PostgreSQL
 *
 * conn.h -- a client's connection: TLS, HTTP framing, time limits.
 *
 * One request at a time: the next one is read only when the answer before it has left, so
 * what a connection holds is bounded whatever the client sends. The api module is given
 * complete requests and answers each with conn_reply, now or later, or turns the
 * connection into an event stream.
 */
#ifndef PCTL_GATEWAY_CONN_H
#define PCTL_GATEWAY_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "gateway/http.h"
#include "lib/buf.h"

#define CONN_HANDSHAKE_MS 10000
#define CONN_HEAD_MS      10000 /* first byte of a head to its last */
#define CONN_BODY_MS      30000
#define CONN_IDLE_MS      75000
#define CONN_WRITE_MS     30000 /* without any progress */
#define CONN_LINGER_MS    2000
#define CONN_QUIET_MS     5000  /* an idle connection gives its buffers back */
#define CONN_STREAM_BYTES 65536 /* an event stream that is further behind is dropped */

enum conn_phase
{
	CONN_HANDSHAKE, /* -> HEAD */
	CONN_HEAD,      /* -> BODY, WAIT */
	CONN_BODY,      /* -> WAIT */
	CONN_WAIT,      /* the api has the request -> HEAD (answered), STREAM, LAST */
	CONN_STREAM,    /* -> CLOSED */
	CONN_LAST,      /* the answer leaves, then -> LINGER */
	CONN_LINGER,    /* what still comes is dropped -> CLOSED */
	CONN_CLOSED
};

struct event;
struct tls_conn;
struct tls_ctx;

struct conn
{
	TAILQ_ENTRY(conn) link;
	int fd;
	struct tls_conn *tls;
	struct event *read_ev, *write_ev;
	enum conn_phase phase;
	bool running;  /* conn_run is on the stack */
	bool readable; /* the socket may hold bytes */
	bool read_paused;
	bool peer_done;  /* the client sent its end */
	bool head_begun; /* bytes of an unfinished head are here */
	struct sockaddr_storage peer;
	int64_t deadline;       /* of the phase, 0 = none */
	int64_t write_deadline; /* while output waits for the client, 0 = none */
	int64_t began_ns;       /* the request's head was complete */

	struct buf in;   /* not yet used bytes */
	struct buf head; /* the head of the request being read, when it has a body */
	struct buf body;
	struct buf out;
	size_t out_pos;
	struct http_request req; /* slices valid until the api returns */
	struct http_chunked chunked;
	uint64_t body_left;

	/* what outlives the slices, for the answer and the log */
	bool keep_alive;
	bool http10;
	bool head_only;
	char method[HTTP_METHOD_MAX + 1];
	char path[160]; /* for the log: without the query string */
	char request_id[24];

	/* The api's: called when the connection ends before its request was answered. */
	void (*on_close)(struct conn *c);
	void *owner;
};

struct conn_reply
{
	int status;
	const char *type;    /* NULL: application/json */
	const char *headers; /* complete lines with CR LF, or NULL */
	const void *body;
	size_t len;
	const char *cache; /* NULL: no-store */
	bool close;
};

/* Takes connections from a listening socket. NULL listener is ignored by stop. */
bool conn_listen(const char *address, char *err, size_t errlen);
void conn_listen_stop(void);
void conn_set_tls(struct tls_ctx *ctx);

void conn_reply(struct conn *c, const struct conn_reply *reply);

/* Sends the head of an event stream. */
void conn_stream_begin(struct conn *c);

/* Queues bytes of the stream. False: too far behind, the connection was closed. */
bool conn_stream_put(struct conn *c, const void *data, size_t len);

void conn_close(struct conn *c);

/* Time limits; frees what was closed. A few times a second. */
void conn_tick(int64_t now_ms);

/* Ends and frees every connection: the end of the process. */
void conn_stop(void);

/* Ends connections without a request, and the others after their answer. */
void conn_drain(void);
size_t conn_count(void);

/* "192.0.2.1:4711" */
const char *conn_peer_name(const struct conn *c, char *buf, size_t len);

#endif
