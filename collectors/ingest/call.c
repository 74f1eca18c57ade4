/* SPDX-License-Identifier: PostgreSQL
 *
 * call.c -- life of a call: identity, operations, end.
 *
 *     start -> identity, limits, method -> greet, receive, ask, send ... -> finish -> free
 *
 * gRPC completes every operation that was started, successfully or not, also when the
 * peer is gone; so a call is freed by counting and nothing is ever abandoned.
 *
 * Debian's gRPC searches the list of all open operations whenever one completes, so a connected
 * stream that does nothing has one of them and not two: what it receives tells it that its peer is gone.
 */
#include "ingest/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>

#include "ingest/bus.h"
#include "ingest/server.h"
#include "lib/log.h"
#include "lib/mem.h"

#define SERVICE "/probectl.agent.v1.AgentService/"

/* Calls beyond the streams and waiters that a connected agent holds. */
#define CALL_SPARE 256

static const struct method *const methods[] = {
    &method_results,  &method_tests,  &method_meet,   &method_heartbeat,
    &method_register, &method_attest, &method_config, &method_rotate,
};

static const struct
{
	grpc_status_code status;
	enum stat refusal;
} outcomes[DB_CODES] = {
    [DB_OK] = {GRPC_STATUS_OK, STATS},
    [DB_UNAUTHENTICATED] = {GRPC_STATUS_UNAUTHENTICATED, STAT_REFUSED_IDENTITY},
    [DB_NOT_PERMITTED] = {GRPC_STATUS_PERMISSION_DENIED, STAT_REFUSED_NOT_PERMITTED},
    [DB_NOT_FOUND] = {GRPC_STATUS_NOT_FOUND, STAT_REFUSED_NOT_FOUND},
    [DB_CONFLICT] = {GRPC_STATUS_FAILED_PRECONDITION, STAT_REFUSED_OLD_EPOCH},
    [DB_BAD_INPUT] = {GRPC_STATUS_INVALID_ARGUMENT, STAT_REFUSED_BAD_BATCH},
    [DB_QUOTA] = {GRPC_STATUS_RESOURCE_EXHAUSTED, STAT_REFUSED_QUOTA},
    [DB_FENCED] = {GRPC_STATUS_UNAVAILABLE, STAT_REFUSED_UNAVAILABLE},
    [DB_UNAVAILABLE] = {GRPC_STATUS_UNAVAILABLE, STAT_REFUSED_UNAVAILABLE},
};

grpc_status_code
call_status(enum db_code code)
{
	return outcomes[code].status;
}

enum stat
call_refusal(enum db_code code)
{
	return outcomes[code].refusal;
}

int64_t
call_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

grpc_slice
call_bytes(grpc_byte_buffer *message)
{
	grpc_byte_buffer_reader reader;
	grpc_slice bytes;

	if (!grpc_byte_buffer_reader_init(&reader, message))
		return grpc_empty_slice();
	bytes = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	return bytes;
}

grpc_byte_buffer *
call_message(const void *data, size_t len)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(data, len);
	grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return message;
}

/* ---- counting ---- */

/* The last bytes of a UUID are random in every version. */
static uint16_t *
agent_row(struct call *call)
{
	const uint8_t *agent = call->who.id.agent_bytes;

	return &call->server->per_agent[(agent[14] << 8 | agent[15]) % CALL_AGENT_ROWS];
}

static void
call_free(struct call *call)
{
	struct server *server = call->server;

	TAILQ_REMOVE(&server->calls, call, all);
	server->call_count--;
	if (call->admitted)
		(*agent_row(call))--;
	if (call->counted)
		metric_set(&stats[STAT_STREAMS], --server->stream_count);
	call_clear(call);
	if (call->method == &method_meet)
		free(call->pull.report);
	else if (call->method != &method_results && call->method != &method_tests)
		for (int i = 0; i < DB_PARAMS_MAX; i++)
			free(call->unary.texts[i]);
	grpc_byte_buffer_destroy(call->out);
	grpc_call_unref(call->call);
	free(call);
}

void
call_ref(struct call *call)
{
	call->refs++;
}

void
call_unref(struct call *call)
{
	if (--call->refs == 0)
		call_free(call);
}

static void
call_batch(struct call *call, struct tag *tag, const grpc_op *ops, size_t count)
{
	grpc_call_error error;

	call->refs++;
	error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
	if (error != GRPC_CALL_OK)
		log_fatal("grpc", NULL, "impossible: an operation was refused with error %d", (int) error);
}

/* Lets go of what call_start holds: an operation is under way, so the call is still there afterwards. */
static void
call_over(struct call *call)
{
	if (call->over)
		return;
	call->over = true;
	entry_gone(call);
	if (call->method != NULL && call->method->gone != NULL)
		call->method->gone(call);
	call_unref(call);
}

/* ---- completions ---- */

static void
close_done(struct tag *tag, bool ok)
{
	call_over(tag->call);
	call_unref(tag->call);
}

static void
receive_done(struct tag *tag, bool ok)
{
	struct call *call = tag->call;
	grpc_byte_buffer *message = call->received;

	call->received = NULL;
	/* A peer that ends or vanishes is a success without a message. A failure is gRPC's, which has
	 * ended the call already and does not say why: the message was too large, or the connection
	 * broke in the middle of it. */
	if (!ok && !call->finishing)
		call_refuse(call, STAT_REFUSED_TOO_LARGE, GRPC_STATUS_RESOURCE_EXHAUSTED,
		            "a message is larger than limits.message_bytes, or was cut off");
	if (!call->finishing)
		call->method->message(call, message);
	grpc_byte_buffer_destroy(message);
	call_unref(call);
}

static void
send_done(struct tag *tag, bool ok)
{
	struct call *call = tag->call;

	grpc_byte_buffer_destroy(call->out);
	call->out = NULL;
	call->sending = false;
	if (call->method->sent != NULL)
		call->method->sent(call);
	call_unref(call);
}

static void
plain_done(struct tag *tag, bool ok)
{
	call_unref(tag->call);
}

/* ---- operations ---- */

/* Asks to be told when the peer is gone, or has what it was sent. */
static void
call_watch(struct call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

	if (call->watched)
		return;
	call->watched = true;
	op.data.recv_close_on_server.cancelled = &call->cancelled;
	call_batch(call, &call->close_tag, &op, 1);
}

void
call_greet(struct call *call)
{
	grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};

	if (call->greeted || call->over)
		return;
	call->greeted = true;
	call_batch(call, &call->greet_tag, &op, 1);
}

void
call_receive(struct call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &call->received;
	call_batch(call, &call->receive_tag, &op, 1);
}

void
call_send(struct call *call, grpc_byte_buffer *message)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

	call->out = message;
	call->sending = true;
	op.data.send_message.send_message = message;
	call_batch(call, &call->send_tag, &op, 1);
}

void
call_finish(struct call *call, grpc_status_code code, const char *text, grpc_byte_buffer *message)
{
	grpc_slice details = grpc_slice_from_copied_string(text != NULL ? text : "");
	grpc_op ops[3] = {0};
	size_t count = 0;

	if (call->finishing)
	{
		grpc_byte_buffer_destroy(message);
		grpc_slice_unref(details);
		return;
	}
	call->finishing = true;
	if (!call->greeted)
	{
		ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
		call->greeted = true;
	}
	if (message != NULL)
	{
		call->out = message;
		ops[count].op = GRPC_OP_SEND_MESSAGE;
		ops[count++].data.send_message.send_message = message;
	}
	ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	ops[count].data.send_status_from_server.status = code;
	ops[count++].data.send_status_from_server.status_details = &details;
	call_batch(call, &call->finish_tag, ops, count);
	grpc_slice_unref(details);
	call_watch(call);
	call_over(call);
}

void
call_log_refusal(struct call *call, enum stat reason, const char *text)
{
	char *peer, more[48] = "";
	uint64_t held;

	if (!stats_refused(reason, &held))
		return;
	if (held > 0)
		snprintf(more, sizeof(more), " (%llu more like this)", (unsigned long long) held);
	peer = grpc_call_get_peer(call->call);
	log_warning("refused", peer, "%s%s%s: %s%s",
	            call->method != NULL ? call->method->path + sizeof(SERVICE) - 1 : "call",
	            call->who.id.agent[0] ? " of agent " : "", call->who.id.agent, text, more);
	gpr_free(peer);
}

void
call_refuse(struct call *call, enum stat reason, grpc_status_code code, const char *text)
{
	if (call->finishing)
		return;
	call_log_refusal(call, reason, text);
	call_finish(call, code, text, NULL);
}

/* A message on its way may wait for a peer that reads nothing: gRPC drops it. */
void
call_cut(struct call *call, grpc_status_code code, const char *text)
{
	if (call->finishing)
		return;
	if (!call->sending)
	{
		call_finish(call, code, text, NULL);
		return;
	}
	call->finishing = true;
	grpc_call_cancel_with_status(call->call, code, text, NULL);
	call_watch(call);
	call_over(call);
}

/* ---- the database ---- */

void
call_ask(struct call *call)
{
	call->request.tenant = call->who.id.tenant;
	call->request.agent = call->who.id.agent;
	call->request.serial = call->who.serial;
	call->request.owner = call;
	call->request.complete = server_mail;
	call->asking = true;
	call->refs++;
	if (call->method == &method_results && call->server->bus != NULL)
		bus_submit(call->server->bus, &call->request);
	else
		db_submit(call->server->db, &call->request);
}

void
call_answered(struct call *call, struct db_request *request)
{
	if (request != &call->request)
	{
		entry_answered(call, request);
		return;
	}
	call->asking = false;
	call->method->answered(call);
	call_unref(call);
}

void
call_clear(struct call *call)
{
	for (int i = 0; i < call->request.item_count; i++)
	{
		PQclear(call->request.items[i].result);
		call->request.items[i].result = NULL;
	}
}

/* ---- start ---- */

static const struct method *
call_method(const grpc_slice *path)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (grpc_slice_str_cmp(*path, methods[i]->path) == 0)
			return methods[i];
	return NULL;
}

static void
call_admit(struct call *call, const grpc_slice *path)
{
	struct server *server = call->server;
	const struct method *method = call_method(path);
	enum stat reason;
	const char *text;

	/* Who does not prove an identity learns nothing, not even which methods there are. */
	if (!peer_of_call(call->call, &call->who, &reason, &text))
	{
		call_refuse(call, reason, GRPC_STATUS_UNAUTHENTICATED, text);
		return;
	}
	if (method == NULL)
	{
		call_refuse(call, STAT_REFUSED_UNKNOWN_METHOD, GRPC_STATUS_UNIMPLEMENTED,
		            "the service has no such method");
		return;
	}
	if (server->stopping)
	{
		call_refuse(call, STAT_REFUSED_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE,
		            "the server is stopping, connect again");
		return;
	}
	if (server->call_count > 2 * server->stream_max + CALL_SPARE ||
	    (method == &method_results && server->stream_count >= server->stream_max))
	{
		call_refuse(call, STAT_REFUSED_LIMIT, GRPC_STATUS_RESOURCE_EXHAUSTED,
		            "too many streams are open (limits.streams), try again later");
		return;
	}
	if (*agent_row(call) >= CALL_AGENT_MAX)
	{
		call_refuse(call, STAT_REFUSED_LIMIT, GRPC_STATUS_RESOURCE_EXHAUSTED,
		            "this agent has too many calls open");
		return;
	}
	call->admitted = true;
	(*agent_row(call))++;
	call->method = method;
	if (!method->listens)
		call_watch(call);
	stat_add(method->counter, 1);
	method->start(call);
}

void
call_start(struct server *server, grpc_call *grpc, const grpc_slice *path)
{
	struct call *call = mem_alloc(sizeof(*call));

	call->server = server;
	call->call = grpc;
	call->close_tag = (struct tag){close_done, call};
	call->receive_tag = (struct tag){receive_done, call};
	call->send_tag = (struct tag){send_done, call};
	call->greet_tag = (struct tag){plain_done, call};
	call->finish_tag = (struct tag){plain_done, call};
	TAILQ_INSERT_TAIL(&server->calls, call, all);
	server->call_count++;
	call_ref(call);
	call_admit(call, path);
}
