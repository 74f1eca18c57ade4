/* SPDX-License-Identifier: PostgreSQL
 *
 * call.h -- one gRPC call, and the server it belongs to.
 *
 * Everything here lives on one thread, which takes completions from the queue (server.c);
 * so nothing is locked. The database works on another thread: a request is handed over with
 * db_submit and comes back as mail (server.c), never shared.
 *
 * A call lives until it is over and nothing will come back for it: `refs` counts that it is not
 * over, the operations gRPC has not completed and the request the database has not answered.
 */
#ifndef PCTL_INGEST_CALL_H
#define PCTL_INGEST_CALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <grpc/grpc.h>

#include "ingest/db.h"
#include "ingest/peer.h"
#include "ingest/stats.h"
#include "ingest/wire.h"

struct call;
struct server;

/* What a completion-queue tag points to. */
struct tag
{
	void (*done)(struct tag *tag, bool ok);
	struct call *call;
};

/* A method of the service is a row of a table. A callback that is NULL does nothing. */
struct method
{
	const char *path;
	enum stat counter;
	bool listens; /* receives all the time, and notices by that when the peer is gone */
	void (*start)(struct call *call);                              /* identity was checked */
	void (*message)(struct call *call, grpc_byte_buffer *message); /* NULL: no more will come */
	void (*answered)(struct call *call);                           /* call->request came back */
	void (*sent)(struct call *call);                               /* call_send finished */
	void (*gone)(struct call *call);  /* the call is over for the peer */
	void (*stop)(struct call *call);  /* the server is stopping */
	void (*event)(struct call *call); /* waiting calls: the tests of the tenant changed */
};

/* Batches of one stream in the server: read and not answered yet. The producer keeps
 * to the same number (docs/81-contracts.md section 5). */
#define STREAM_WINDOW DB_ITEMS_MAX

struct stream
{
	struct stream_batch
	{
		grpc_slice bytes;
		struct wire_batch wire;
	} ring[STREAM_WINDOW];
	int first, count; /* of ring: read and not committed */
	int flight;       /* the first so many of them are in the database */
	struct db_ack acks[STREAM_WINDOW];
	int ack_count;
	uint64_t accepted;
	bool reading, starved, eof, failed;
	const char *bad;       /* the last message was no batch: fail behind the others */
	grpc_status_code code; /* when failed */
	char message[256];
};

struct pull
{
	int64_t known;
	char known_text[24];
	char *report;      /* Meet: what the agent says of itself, NULL once it was told on */
	char observed[64]; /* and the address it calls from */
	int64_t deadline;  /* monotonic ms */
	bool waiting;      /* is in server->waiters */
	bool parked;       /* waits for an event, not for the database */
	bool dirty;        /* an event came while the database was asked */
};

struct unary
{
	char *texts[DB_PARAMS_MAX]; /* parameters; freed with the call */
};

struct call
{
	TAILQ_ENTRY(call) all;     /* server->calls */
	TAILQ_ENTRY(call) waiting; /* server->starved, server->waiters */
	TAILQ_ENTRY(call) suspect; /* server->suspects */
	struct server *server;
	grpc_call *call;
	const struct method *method;
	struct peer who;
	int refs;
	bool admitted;  /* in server->per_agent */
	bool counted;   /* in the gauge of open streams */
	bool over;      /* the peer is gone or has its status: start nothing more */
	bool finishing; /* the status was handed to gRPC */
	bool greeted;   /* initial metadata was sent */
	bool watched;   /* close_tag was started */
	bool sending;
	bool asking; /* request is with the database */
	enum
	{
		ENTRY_TRUSTED,      /* -> SUSPECT */
		ENTRY_SUSPECT,      /* in server->suspects -> CHECKED */
		ENTRY_CHECKED,      /* with the database -> TRUSTED, SUSPECT when it is unavailable */
		ENTRY_CHECKED_STALE /* the same, and something happened since -> SUSPECT */
	} entry;
	int cancelled;
	struct tag close_tag, receive_tag, send_tag, greet_tag, finish_tag;
	grpc_byte_buffer *received, *out;
	struct db_request request;
	union
	{
		struct stream stream;
		struct pull pull;
		struct unary unary;
	};
};

TAILQ_HEAD(call_list, call);

/* Open calls of one agent. They are counted in a table without keys: agents whose
 * identifiers hash alike share a row, so the limit is far above what one agent needs. */
#define CALL_AGENT_ROWS 65536
#define CALL_AGENT_MAX  32

struct server
{
	grpc_server *grpc;
	grpc_completion_queue *queue;
	struct db *db;
	struct bus *bus; /* NULL: batches go to the database */
	struct call_list calls, starved, waiters;
	struct call_list suspects; /* calls whose right to go on is to be asked for (entry.c) */
	int call_count, stream_count, waiter_count, checks;
	int64_t stream_max;
	int64_t memory_max, memory; /* bytes of batches read and not answered */
	bool stopping;
	uint16_t per_agent[CALL_AGENT_ROWS];
};

/* ---- what methods use (call.c) ---- */

void call_start(struct server *server, grpc_call *grpc, const grpc_slice *path);
void call_greet(struct call *call);   /* send the initial metadata now */
void call_receive(struct call *call); /* ask for the next message */

/* Sends one message; takes the buffer over. One at a time: wait for `sent`. */
void call_send(struct call *call, grpc_byte_buffer *message);

/* Ends the call, with a message before it if there is one. Later calls do nothing. */
void call_finish(struct call *call, grpc_status_code code, const char *text,
                 grpc_byte_buffer *message);

/* Counts and logs, at most one line per reason and LOG_LIMIT_SECONDS. */
void call_log_refusal(struct call *call, enum stat reason, const char *text);

/* The same, and ends the call. */
void call_refuse(struct call *call, enum stat reason, grpc_status_code code, const char *text);

/* Hands call->request to the database; `answered` follows. */
void call_ask(struct call *call);

/* The answer of the database arrived: to the call's question, or to one of entry.c. */
void call_answered(struct call *call, struct db_request *request);

/* A call lives on while a question about it is under way. */
void call_ref(struct call *call);
void call_unref(struct call *call);

/* Ends the call at once, whatever it is doing. */
void call_cut(struct call *call, grpc_status_code code, const char *text);

/* Clears the results of call->request; before it is filled for another question. */
void call_clear(struct call *call);

/* Status of gRPC and the counter for an outcome of the database. */
grpc_status_code call_status(enum db_code code);
enum stat call_refusal(enum db_code code);

/* Bytes of a message in one piece. */
grpc_slice call_bytes(grpc_byte_buffer *message);
grpc_byte_buffer *call_message(const void *data, size_t len);

int64_t call_now_ms(void);

/* ---- methods ---- */

extern const struct method method_register, method_attest, method_heartbeat, method_config,
    method_results, method_tests, method_meet, method_rotate;

/* stream.c: memory became free, read on. */
void stream_resume(struct server *server);

/* pull.c: the tests of a tenant changed (NULL: of any), or time passed. */
void pull_event(struct server *server, const uint8_t tenant[16]);
void pull_tick(struct server *server);

/* entry.c: agents of a tenant (NULL: of any) may have lost their right; one call; time passed. */
void entry_event(struct server *server, const uint8_t tenant[16]);
void entry_suspect(struct call *call);
void entry_answered(struct call *call, struct db_request *request);
void entry_gone(struct call *call);
void entry_tick(struct server *server);

#endif
