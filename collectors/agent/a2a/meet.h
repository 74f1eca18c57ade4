/* SPDX-License-Identifier: PostgreSQL
 *
 * meet.h -- an agent's sessions with other agents, as the control plane brokers them.
 *
 * The control plane says which agent answers which (role responder) and whom to ask (role initiator), and gives both the
 * token of their session. As a responder the agent opens its reflector while it has sessions and reports where; as an
 * initiator it knows for each test of type a2a where to send. Nothing here talks to the control plane: forward.c
 * carries the question and the answer.
 */
#ifndef PCTL_AGENT_A2A_MEET_H
#define PCTL_AGENT_A2A_MEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/a2a/wire.h"

struct event_base;
struct meet;

#define MEET_HOSTS_MAX 2

/* As an initiator. */
struct meet_session
{
	char session_id[37];
	char test_id[37];
	char peer_id[37]; /* the agent that answers */
	uint8_t token[A2A_TOKEN_BYTES];
	char hosts[MEET_HOSTS_MAX][64]; /* addresses, the likelier first; "" = none */
	uint16_t port;                  /* 0: the responder has not said where it is yet */
	unsigned turn;                  /* which host is used */
};

/* Somebody who waits for the session of a test. */
struct meet_waiter
{
	LIST_ENTRY(meet_waiter) chain;
	const char *test_id; /* NULL: not waiting */
	void (*ready)(const struct meet_session *session, void *arg);
	void *arg;
};

struct meet_options
{
	struct event_base *base;
	const char *listen;    /* ADDRESS:PORT of the reflector */
	const char *advertise; /* address to report; NULL: that of the link */
	const char *allow;     /* prefixes that are answered without a session; NULL: none */
	int64_t rate;          /* answers a second */
};

/* Opens the reflector when prefixes are allowed; NULL with a sentence in err when it cannot. */
struct meet *meet_new(const struct meet_options *options, char *err, size_t errlen);
void meet_free(struct meet *meet);

/* NULL while there is none whose responder is known. */
const struct meet_session *meet_find(const struct meet *meet, const char *test_id);

/* Nothing came back from the host in turn: the other one is next. */
void meet_unanswered(struct meet *meet, const char *session_id);

/* ready is called from the loop, once, when the session of the test is there. */
void meet_wait(struct meet *meet, struct meet_waiter *waiter);
void meet_unwait(struct meet_waiter *waiter);

/* The next question to the control plane: a packed MeetRequest, to be freed; link is the address this agent reaches
 * the control plane from ("" when it is not known). A reflector on all addresses of one family changes to
 * that of the link, whose address is reported. */
uint8_t *meet_ask(struct meet *meet, uint32_t wait_seconds, const char *link, size_t *len);

/* Two questions make a session, so they are asked soon after one another. */
#define MEET_SOON_MS 200

/* When nothing changed; mostly the control plane holds the question for longer. */
#define MEET_LATER_MS 1000

/* Its answer, a MeetResponse. Milliseconds the next question comes after this one, at least; -1 when it cannot be read. */
int64_t meet_told(struct meet *meet, const uint8_t *data, size_t len);

#endif
