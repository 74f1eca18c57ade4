/* SPDX-License-Identifier: PostgreSQL
 *
 * stream.c -- StreamResults: batches up, acknowledgements down, after the commit.
 *
 *     read -> ring -> database (all of the ring, in order) -> acks -> sent
 *
 * One request of a stream is in the database at a time; it takes every batch that is there.
 * While it runs the next ones collect, up to STREAM_WINDOW in the server; beyond that, and
 * beyond limits.memory_bytes over all streams, the stream is simply not read, and HTTP/2
 * flow control holds the producer. stream_pump looks at the state and starts whatever can be
 * started; it is called after each change and is the only place that starts anything.
 */
#include "ingest/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ingest/server.h"
#include "lib/log.h"
#include "probectl/agent/v1/agent.pb-c.h"

static void stream_pump(struct call *call);

static struct stream_batch *
ring_at(struct stream *stream, int i)
{
	return &stream->ring[(stream->first + i) % STREAM_WINDOW];
}

/* ---- memory ---- */

static void
memory_add(struct server *server, int64_t bytes)
{
	server->memory += bytes;
	metric_set(&stats[STAT_MEMORY_BYTES], server->memory);
}

static void
batch_release(struct call *call, struct stream_batch *batch)
{
	memory_add(call->server, -(int64_t) GRPC_SLICE_LENGTH(batch->bytes));
	metrics_backlog_add(-1);
	grpc_slice_unref(batch->bytes);
}

/* Drops what is behind the first `keep` batches. */
static void
ring_cut(struct call *call, int keep)
{
	struct stream *stream = &call->stream;

	while (stream->count > keep)
		batch_release(call, ring_at(stream, --stream->count));
}

static void
stream_unstarve(struct call *call)
{
	if (!call->stream.starved)
		return;
	call->stream.starved = false;
	TAILQ_REMOVE(&call->server->starved, call, waiting);
	metric_add(&stats[STAT_STARVED], -1);
}

void
stream_resume(struct server *server)
{
	struct call *call;

	while (server->memory < server->memory_max && (call = TAILQ_FIRST(&server->starved)) != NULL)
	{
		stream_unstarve(call);
		stream_pump(call);
	}
}

/* ---- in ---- */

/* The stream ends with this status once what the database works on is acknowledged. */
static void
stream_end(struct call *call, grpc_status_code code, const char *text)
{
	struct stream *stream = &call->stream;

	if (stream->failed)
		return;
	stream->failed = true;
	stream->code = code;
	snprintf(stream->message, sizeof(stream->message), "%s", text);
	stream_unstarve(call);
	ring_cut(call, stream->flight);
}

static void
stream_fail(struct call *call, enum stat reason, grpc_status_code code, const char *text)
{
	if (call->stream.failed)
		return;
	call_log_refusal(call, reason, text);
	stream_end(call, code, text);
}

static void
stream_message(struct call *call, grpc_byte_buffer *message)
{
	struct stream *stream = &call->stream;
	struct stream_batch *batch = ring_at(stream, stream->count);
	const char *wrong;

	stream->reading = false;
	if (message == NULL)
		stream->eof = true;
	else if (stream->failed || call->over)
		; /* it came too late, and the producer will send it again */
	else if (call->who.not_after <= (int64_t) time(NULL))
		stream_fail(call, STAT_REFUSED_EXPIRED, GRPC_STATUS_UNAUTHENTICATED,
		            "the client certificate has expired; renew it");
	else
	{
		stat_add(STAT_BATCHES_RECEIVED, 1);
		batch->bytes = call_bytes(message);
		wrong = wire_batch_parse(GRPC_SLICE_START_PTR(batch->bytes),
		                         GRPC_SLICE_LENGTH(batch->bytes), &batch->wire);
		memory_add(call->server, (int64_t) GRPC_SLICE_LENGTH(batch->bytes));
		metrics_backlog_add(1);
		stream->count++;
		if (wrong != NULL)
		{
			/* The batches in front of it are good: they are committed first. */
			stream->bad = wrong;
			batch_release(call, batch);
			stream->count--;
		}
	}
	stream_pump(call);
}

/* ---- the database ---- */

static void
stream_ask(struct call *call)
{
	struct stream *stream = &call->stream;
	struct db_request *request = &call->request;

	request->bulk = true;
	/* One at a time to the bus: were the second taken and the first not, the first would look like a
	 * duplicate for ever. */
	request->item_count = stream->flight = call->server->bus != NULL ? 1 : stream->count;
	for (int i = 0; i < stream->flight; i++)
	{
		const struct stream_batch *batch = ring_at(stream, i);
		struct db_item *item = &request->items[i];

		item->statement = DB_INGEST;
		item->values[0] = batch->wire.plane;
		item->values[1] = (const char *) batch->wire.data;
		item->lengths[1] = (int) batch->wire.len;
	}
	call_ask(call);
}

static uint64_t
result_number(const PGresult *result, int column)
{
	return strtoull(PQgetvalue(result, 0, column), NULL, 10);
}

static void
stream_committed(struct call *call, const struct db_item *item)
{
	struct stream *stream = &call->stream;
	struct db_ack *ack = &stream->acks[stream->ack_count++];
	const PGresult *result = item->result;
	struct timespec now;

	*ack = item->ack;
	if (result == NULL)
		return; /* it is on the bus: the consumer will count what becomes of it */
	ack->epoch = result_number(result, 0);
	ack->committed_seq = result_number(result, 1);
	ack->stored = result_number(result, 2);
	ack->duplicate = result_number(result, 3);
	ack->dead_lettered = result_number(result, 4);

	clock_gettime(CLOCK_REALTIME, &now);
	metrics_last_result((int64_t) now.tv_sec * 1000000000 + now.tv_nsec);
	stat_add(STAT_BATCHES_COMMITTED, 1);
	stat_add(STAT_RECORDS_COMMITTED, (int64_t) ack->stored);
	stat_add(STAT_RECORDS_DUPLICATE, (int64_t) ack->duplicate);
	stat_add(STAT_RECORDS_DEAD_LETTERED, (int64_t) ack->dead_lettered);
}

static void
stream_answered(struct call *call)
{
	struct stream *stream = &call->stream;
	const struct db_request *request = &call->request;

	for (int i = 0; i < request->done; i++)
	{
		stream_committed(call, &request->items[i]);
		batch_release(call, ring_at(stream, 0));
		stream->first = (stream->first + 1) % STREAM_WINDOW;
		stream->count--;
	}
	call_clear(call);
	stream->flight = 0;
	if (request->done < request->item_count)
		stream_fail(call, call_refusal(request->code), call_status(request->code),
		            request->message);
	if (call->over)
		ring_cut(call, 0);
	stream_pump(call);
	stream_resume(call->server);
}

/* ---- out ---- */

static void
stream_send_ack(struct call *call)
{
	struct stream *stream = &call->stream;
	struct db_ack ack = stream->acks[0];
	Probectl__Agent__V1__StreamResultsResponse response =
	    PROBECTL__AGENT__V1__STREAM_RESULTS_RESPONSE__INIT;
	uint8_t bytes[64]; /* five varints with one-byte tags: 55 at most */
	size_t len;

	stream->ack_count--;
	memmove(stream->acks, stream->acks + 1, sizeof(ack) * (size_t) stream->ack_count);
	stream->accepted += ack.stored;
	response.accepted = stream->accepted;
	response.committed_seq = ack.committed_seq;
	response.epoch = ack.epoch;
	response.duplicate = ack.duplicate;
	response.dead_lettered = ack.dead_lettered;
	len = probectl__agent__v1__stream_results_response__pack(&response, bytes);
	call_send(call, call_message(bytes, len));
}

/* ---- state ---- */

static bool
stream_may_read(const struct call *call)
{
	const struct stream *stream = &call->stream;

	return !stream->reading && !stream->starved && !stream->eof && !stream->failed &&
	       stream->bad == NULL &&
	       stream->count + stream->ack_count + (call->sending ? 1 : 0) < STREAM_WINDOW;
}

static void
stream_read(struct call *call)
{
	struct server *server = call->server;

	if (server->memory >= server->memory_max)
	{
		call->stream.starved = true;
		TAILQ_INSERT_TAIL(&server->starved, call, waiting);
		metric_add(&stats[STAT_STARVED], 1);
		return;
	}
	call->stream.reading = true;
	call_receive(call);
}

static void
stream_pump(struct call *call)
{
	struct stream *stream = &call->stream;

	if (call->over)
		return;
	if (!stream->failed && !call->asking && stream->count > 0)
		stream_ask(call);
	if (stream->bad != NULL && stream->count == 0)
		stream_fail(call, STAT_REFUSED_BAD_MESSAGE, GRPC_STATUS_INVALID_ARGUMENT, stream->bad);
	if (!call->sending && stream->ack_count > 0)
		stream_send_ack(call);
	if (!call->sending && !call->asking && stream->ack_count == 0 && stream->count == 0)
	{
		if (stream->failed)
			call_finish(call, stream->code, stream->message, NULL);
		else if (stream->eof)
			call_finish(call, GRPC_STATUS_OK, NULL, NULL);
	}
	if (!call->over && stream_may_read(call))
		stream_read(call);
}

static void
stream_start(struct call *call)
{
	call->counted = true;
	metric_set(&stats[STAT_STREAMS], ++call->server->stream_count);
	call_greet(call);
	/* Nothing was asked of the database yet, and a producer may never send. */
	entry_suspect(call);
	stream_pump(call);
}

/* What the database works on stays until it answers. */
static void
stream_gone(struct call *call)
{
	stream_unstarve(call);
	ring_cut(call, call->stream.flight);
	stream_resume(call->server);
}

static void
stream_stop(struct call *call)
{
	stream_fail(call, STAT_REFUSED_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE,
	            "the server is stopping, connect again");
	stream_pump(call);
}

const struct method method_results = {
    .path = "/probectl.agent.v1.AgentService/StreamResults",
    .counter = STAT_CALLS_RESULTS,
    .listens = true,
    .start = stream_start,
    .message = stream_message,
    .answered = stream_answered,
    .sent = stream_pump,
    .gone = stream_gone,
    .stop = stream_stop,
};
