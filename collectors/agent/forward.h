/* SPDX-License-Identifier: PostgreSQL
 *
 * forward.h -- from the spool to the control plane, and tests back.
 *
 * One connection: Register, then a stream of batches with at most FORWARD_INFLIGHT of them
 * unacknowledged, heartbeats of their own and a long poll for tests. Whatever fails, the
 * connection is made again with backoff and sending starts at the oldest record that was not
 * acknowledged; the control plane trims what it has.
 */
#ifndef PCTL_AGENT_FORWARD_H
#define PCTL_AGENT_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct event_base;
struct forward;
struct identity;
struct resolver;
struct settings;
struct spool;

#define FORWARD_INFLIGHT      4
#define FORWARD_BATCH_RECORDS 500
#define FORWARD_BATCH_BYTES   (128 * 1024)

/* What a heartbeat says of the agent beside link and spool; counters since the start. */
struct forward_report
{
	uint64_t revision;         /* of the pulled tests that run; 0 = none */
	const char *tests_problem; /* why the newest are not taken; "" = they are */
	uint64_t tests_refused;
	uint64_t ticks_skipped;
	uint64_t runs_disturbed;
};

struct forward_ops
{
	/* An answer to PullTests with tests in it; false when they cannot be used. */
	bool (*tests)(const void *answer, size_t len, void *arg);

	void (*report)(struct forward_report *report, void *arg);

	/* Records were acknowledged, or nothing is left to send. */
	void (*progress)(void *arg);

	/* The next question about sessions with other agents, a packed MeetRequest to be freed, and milliseconds from it
	 * to the next one, at least (-1: the answer cannot be read). address is that of this end of the link. Both NULL: none is asked. */
	uint8_t *(*meet)(uint32_t wait_seconds, const char *address, size_t *len, void *arg);
	int64_t (*met)(const uint8_t *data, size_t len, void *arg);

	/* Registered: calls are taken from now on. */
	void (*linked)(void *arg);
};

/* The end of a call: a status of lib/grpc, its text, and the answer when it is GRPC_OK. */
typedef void (*forward_answer)(int status, const char *text, const uint8_t *data, size_t len,
                               void *arg);

struct forward_options
{
	struct event_base *base;
	struct resolver *resolver;
	const struct identity *identity;
	const struct settings *settings;
	struct spool *spool;
	const struct forward_ops *ops;
	void *arg;
};

/* NULL with err when the identity or the address cannot be used. */
struct forward *forward_new(const struct forward_options *options, char *err, size_t errlen);
void forward_free(struct forward *f);

/* Records have become ready to send. */
void forward_kick(struct forward *f);

/* A call of one message each way on the link; one at a time. False when there is no link or
 * another such call is under way. done is called once, unless f is freed before. */
bool forward_call(struct forward *f, const char *method, const ProtobufCMessage *message,
                  forward_answer done, void *arg);

/* The files of the identity are others now: the connection is made again with them, once what was
 * sent is acknowledged. False with err when they cannot be used; the link stays as it is. */
bool forward_identity(struct forward *f, char *err, size_t errlen);

/* Registers the rows of this module with lib/metrics. */
void forward_metrics(void);

#endif
