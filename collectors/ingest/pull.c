/* SPDX-License-Identifier: PostgreSQL
 *
 * pull.c -- PullTests: a long poll, so that a new test reaches an agent at once without load.
 *
 *     ask the database -> changed: answer
 *                      -> not:     park until the tenant's tests change (ask again) or time is up
 *
 * A call counts as waiting from before its first question: an event that arrives while the
 * database is asked makes the call dirty, and it asks once more instead of parking.
 */
#include "ingest/call.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/server.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define PULL_WAIT_MAX_S 30

/* A request is two varints. */
#define PULL_MESSAGE_MAX 256

static void
pull_leave(struct call *call)
{
	if (!call->pull.waiting)
		return;
	call->pull.waiting = false;
	TAILQ_REMOVE(&call->server->waiters, call, waiting);
	metric_set(&stats[STAT_WAITERS], --call->server->waiter_count);
}

static void
pull_ask(struct call *call)
{
	struct db_item *item = &call->request.items[0];

	call_clear(call);
	call->pull.dirty = false;
	call->pull.parked = false;
	call->request.item_count = 1;
	item->statement = DB_TESTS;
	item->values[0] = call->pull.known_text;
	call_ask(call);
}

/* The bundle of the answered question, as the database signed it; NULL: nothing changed. */
static void
pull_reply(struct call *call, uint64_t revision, const PGresult *result)
{
	Probectl__Agent__V1__PullTestsResponse response =
	    PROBECTL__AGENT__V1__PULL_TESTS_RESPONSE__INIT;
	uint8_t *bytes;
	size_t size;

	response.revision = revision;
	response.unchanged = result == NULL;
	if (result != NULL)
	{
		response.bundle.data = (uint8_t *) PQgetvalue(result, 0, 1);
		response.bundle.len = (size_t) PQgetlength(result, 0, 1);
		response.signature.data = (uint8_t *) PQgetvalue(result, 0, 2);
		response.signature.len = (size_t) PQgetlength(result, 0, 2);
		response.signer_pem = PQgetvalue(result, 0, 3); /* ends with a zero in either format */
	}
	size = probectl__agent__v1__pull_tests_response__get_packed_size(&response);
	bytes = malloc(size > 0 ? size : 1);
	if (bytes == NULL)
	{
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory, try again later", NULL);
		return;
	}
	probectl__agent__v1__pull_tests_response__pack(&response, bytes);
	call_finish(call, GRPC_STATUS_OK, NULL, call_message(bytes, size));
	free(bytes);
}

static void
pull_message(struct call *call, grpc_byte_buffer *message)
{
	struct server *server = call->server;
	struct pull *pull = &call->pull;
	Probectl__Agent__V1__PullTestsRequest *request = NULL;
	grpc_slice bytes;
	int64_t wait;

	if (message != NULL && grpc_byte_buffer_length(message) <= PULL_MESSAGE_MAX)
	{
		bytes = call_bytes(message);
		request = probectl__agent__v1__pull_tests_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
		                                                          GRPC_SLICE_START_PTR(bytes));
		grpc_slice_unref(bytes);
	}
	if (request == NULL || request->known_revision > INT64_MAX)
	{
		call_refuse(call, STAT_REFUSED_BAD_MESSAGE, GRPC_STATUS_INVALID_ARGUMENT,
		            "not a PullTestsRequest");
		if (request != NULL)
			probectl__agent__v1__pull_tests_request__free_unpacked(request, NULL);
		return;
	}
	pull->known = (int64_t) request->known_revision;
	wait = request->wait_seconds < PULL_WAIT_MAX_S ? request->wait_seconds : PULL_WAIT_MAX_S;
	probectl__agent__v1__pull_tests_request__free_unpacked(request, NULL);
	snprintf(pull->known_text, sizeof(pull->known_text), "%lld", (long long) pull->known);

	/* With too many waiting the call is answered at once; the agent asks again later. */
	if (wait > 0 && server->waiter_count < server->stream_max)
	{
		pull->deadline = call_now_ms() + wait * 1000;
		pull->waiting = true;
		TAILQ_INSERT_TAIL(&server->waiters, call, waiting);
		metric_set(&stats[STAT_WAITERS], ++server->waiter_count);
	}
	pull_ask(call);
}

static void
pull_answered(struct call *call)
{
	const struct db_request *request = &call->request;
	const PGresult *result = request->items[0].result;
	struct pull *pull = &call->pull;
	uint64_t revision;

	if (call->over)
		return;
	if (request->code != DB_OK)
	{
		call_refuse(call, call_refusal(request->code), call_status(request->code),
		            request->message);
		return;
	}
	memcpy(&revision, PQgetvalue(result, 0, 0), sizeof(revision));
	revision = be64toh(revision);
	if (!PQgetisnull(result, 0, 1))
		pull_reply(call, revision, result);
	else if (pull->dirty && pull->waiting)
		pull_ask(call);
	else if (!pull->waiting || call_now_ms() >= pull->deadline || call->server->stopping)
		pull_reply(call, revision, NULL);
	else
		pull->parked = true;
}

void
pull_event(struct server *server, const uint8_t tenant[16])
{
	struct call *call;

	TAILQ_FOREACH (call, &server->waiters, waiting)
	{
		if (tenant != NULL && memcmp(call->who.id.tenant_bytes, tenant, 16) != 0)
			continue;
		call->pull.dirty = true;
		if (call->pull.parked)
			pull_ask(call);
	}
}

static void
pull_expire(struct call *call)
{
	if (call->pull.parked && !call->over)
		pull_reply(call, (uint64_t) call->pull.known, NULL);
}

void
pull_tick(struct server *server)
{
	int64_t now = call_now_ms();
	struct call *call, *next;

	for (call = TAILQ_FIRST(&server->waiters); call != NULL; call = next)
	{
		next = TAILQ_NEXT(call, waiting);
		if (now >= call->pull.deadline)
			pull_expire(call);
	}
}

const struct method method_tests = {
    .path = "/probectl.agent.v1.AgentService/PullTests",
    .counter = STAT_CALLS_TESTS,
    .start = call_receive,
    .message = pull_message,
    .answered = pull_answered,
    .gone = pull_leave,
    .stop = pull_expire,
};
