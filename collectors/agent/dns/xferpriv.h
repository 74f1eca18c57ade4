/* SPDX-License-Identifier: PostgreSQL
 *
 * xferpriv.h -- what xfer.c and doh.c share: an exchange, and how a stream is spoken.
 *
 * A stream's protocol is three functions between two byte strings: the transport does not know
 * what it carries, and the protocol not what carries it.
 */
#ifndef PCTL_AGENT_DNS_XFERPRIV_H
#define PCTL_AGENT_DNS_XFERPRIV_H

#include <event2/event_struct.h>

#include "agent/dns/xfer.h"
#include "agent/http/tls.h"

#define XFER_STREAM_MAX (256 * 1024) /* bytes of a stream before the answer must be there */
#define XFER_QUERY_ROOM (DNSMSG_QUERY_MAX + 2)

enum xfer_step
{
	XFER_MORE,     /* waits for bytes */
	XFER_ANSWERED, /* x->in holds one DNS message */
	XFER_BROKEN    /* x->answer has the reason */
};

struct xfer;
struct doh;

struct xfer_protocol
{
	bool (*begin)(struct xfer *x); /* puts the question into x->out; false: memory is out */
	enum xfer_step (*feed)(struct xfer *x, const uint8_t *data, size_t len);
	enum xfer_step (*end)(struct xfer *x); /* the server closed */
};

enum xfer_state
{
	XFER_STATE_UDP,     /* -> CONNECT when truncated, END */
	XFER_STATE_CONNECT, /* -> TLS, STREAM, END */
	XFER_STATE_TLS,     /* -> STREAM, END */
	XFER_STATE_STREAM,  /* -> END */
	XFER_STATE_END      /* the timer delivers the answer */
};

struct xfer
{
	struct event_base *base;
	const struct xfer_options *options;
	struct resolver_address server;
	struct dns_name name;
	uint16_t type, id;
	xfer_done done;
	void *arg;
	enum xfer_state state;
	int fd;
	struct event event, timer;
	int64_t deadline, began, sent_at, datagram_limit;
	const struct xfer_protocol *protocol;
	struct tls *tls;
	struct tls_seen *seen;
	struct doh *doh;
	struct buf out, in;
	size_t out_at;
	struct xfer_answer answer;
	/* What a router said about a datagram; not final, another may get through. */
	enum error_type told;
	char told_text[200];
};

extern const struct xfer_protocol doh_http1, doh_http2;
void doh_free(struct doh *doh);

/* The question into buf of XFER_QUERY_ROOM; returns its length. */
size_t xfer_question(struct xfer *x, uint8_t *buf);

/* Notes why the exchange failed; the first cause wins. */
void xfer_fail(struct xfer *x, enum error_type error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
