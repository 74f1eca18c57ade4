/* SPDX-License-Identifier: PostgreSQL
 *
 * xfer.h -- one question to one server, over UDP, TCP, TLS or HTTPS, on the event loop.
 *
 * Every exchange has a socket of its own: connected, so that the kernel drops what another
 * host sends and reports a closed port at once, and on a random port of the kernel's choice; with
 * the random id and the echoed question that is what an answer from elsewhere would have to
 * guess. An answer cut to fit a datagram is asked for again over TCP. Handshakes are timed apart from
 * the question, so that the question's time means the same with every transport.
 */
#ifndef PCTL_AGENT_DNS_XFER_H
#define PCTL_AGENT_DNS_XFER_H

#include "agent/dns/msg.h"
#include "agent/resolver.h"
#include "agent/result.h"

enum xfer_transport
{
	XFER_UDP,
	XFER_TCP,
	XFER_DOT, /* RFC 7858 */
	XFER_DOH  /* RFC 8484, HTTP/2 or 1.1 as the server chooses */
};

#define XFER_UDP_TRIES_MIN     1
#define XFER_UDP_TRIES_DEFAULT 2
#define XFER_UDP_TRIES_MAX     5

struct event_base;
struct xfer;
struct tls_seen;

struct xfer_options
{
	enum xfer_transport transport;
	uint32_t timeout_ms;            /* of the whole exchange */
	unsigned tries;                 /* datagrams sent, at equal distances, before it has failed */
	uint16_t flags;                 /* DNS_FLAG_RD, DNS_FLAG_CD */
	bool dnssec;                    /* set the DO bit */
	const char *tls_name, *ca_file; /* DoT and DoH */
	const char *host, *path;        /* DoH: the authority and path of its URL */
};

struct xfer_answer
{
	enum error_type error; /* ERROR_NONE: msg is what the server said */
	char text[RESULT_ERROR_MAX - 40];
	struct dnsmsg msg;    /* the callee may take it: empty it then */
	size_t bytes;         /* of the message on the wire */
	int64_t connect_nano; /* 0 without a connection */
	int64_t tls_nano;
	int64_t query_nano; /* from the sending of the question to the answer */
	unsigned sent;      /* datagrams */
	bool truncated;     /* asked again over TCP */
	bool http2;
	const struct tls_seen *tls; /* NULL without TLS; valid during the call */
};

/* Called exactly once an exchange, from the loop, never from inside xfer_start. */
typedef void (*xfer_done)(struct xfer_answer *answer, void *arg);

/* options and its strings are used until the end. NULL when memory is out. */
struct xfer *xfer_start(struct event_base *base, const struct resolver_address *server,
                        const struct xfer_options *options, const uint8_t *name, uint16_t type,
                        xfer_done done, void *arg);

/* Abandons an exchange: done is not called. NULL is allowed. */
void xfer_cancel(struct xfer *xfer);

#endif
