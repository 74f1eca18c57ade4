/* SPDX-License-Identifier: PostgreSQL
 *
 * pull.c -- PullTests and Meet: long polls, so that a new test or a session with another agent reaches an agent
 * at once without load. Both answer with a revision and, when it is not the known one, with bytes the database made.
 *
 *     ask the database -> changed: answer
 *                      -> not:     park until the tenant's tests or sessions change (ask again) or time is up
 *
 * A call counts as waiting from before its first question: an event that arrives while the
 * database is asked makes the call dirty, and it asks once more instead of parking.
 */
#include "ingest/call.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/support/alloc.h>
#include <jansson.h>

#include "ingest/server.h"
#include "ingest/unary.h"
#include "lib/mem.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define PULL_WAIT_MAX_S 30

/* A request of PullTests is two varints. */
#define PULL_MESSAGE_MAX 256

/* Sessions an agent may say it answers. */
#define MEET_SESSIONS_MAX 1024

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
	item->statement = call->method == &method_meet ? DB_MEET : DB_TESTS;
	item->values[0] = call->pull.known_text;
	item->values[1] = call->pull.report;
	item->values[2] = call->pull.observed;
	call_ask(call);
}

/* What the database made for the answered question, a bundle with its signature; NULL: nothing changed. The fields of
 * MeetResponse have the numbers of PullTestsResponse, and its tasks no signature: they say nothing of what to run. */
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
	}
	if (result != NULL && call->method != &method_meet)
	{
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
pull_begin(struct call *call, uint64_t known, uint32_t wait_seconds)
{
	struct server *server = call->server;
	struct pull *pull = &call->pull;
	int64_t wait = wait_seconds < PULL_WAIT_MAX_S ? wait_seconds : PULL_WAIT_MAX_S;

	pull->known = (int64_t) known;
	snprintf(pull->known_text, sizeof(pull->known_text), "%lld", (long long) pull->known);

	/* With too many waiting the call is answered at once; the agent asks again later. An agent has one
	 * call of each kind. */
	if (wait > 0 && server->waiter_count < 2 * server->stream_max)
	{
		pull->deadline = call_now_ms() + wait * 1000;
		pull->waiting = true;
		TAILQ_INSERT_TAIL(&server->waiters, call, waiting);
		metric_set(&stats[STAT_WAITERS], ++server->waiter_count);
	}
	pull_ask(call);
}

static void
pull_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__PullTestsRequest *request = NULL;
	grpc_slice bytes;

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
	pull_begin(call, request->known_revision, request->wait_seconds);
	probectl__agent__v1__pull_tests_request__free_unpacked(request, NULL);
}

/* ---- Meet ---- */

/* "ipv4:192.0.2.1:5000" or "ipv6:%5B2001:db8::1%5D:5000" without what is not the address; "" when it is none of both. */
static void
meet_observe(struct call *call)
{
	char *peer = grpc_call_get_peer(call->call), *from = peer, *end;
	char *to = call->pull.observed;

	*to = '\0';
	if (peer == NULL)
		return;
	if (strncmp(peer, "ipv4:", 5) == 0 || strncmp(peer, "ipv6:", 5) == 0)
	{
		from = peer + 5;
		from += strncmp(from, "%5B", 3) == 0 ? 3 : *from == '[';
		end = strrchr(from, ':');
		if (end != NULL)
			*end = '\0';
		end = strpbrk(from, "]%");
		if (end != NULL)
			*end = '\0';
		snprintf(to, sizeof(call->pull.observed), "%s", from);
	}
	gpr_free(peer);
}

/* {host, port, sessions}; NULL when something is not fit. */
static char *
meet_report(const Probectl__Agent__V1__MeetRequest *request)
{
	json_t *report = json_object(), *sessions = json_array();
	char *text = NULL;

	if (!unary_text_ok(request->host, 64) || request->port > 65535 ||
	    request->n_session_ids > MEET_SESSIONS_MAX)
		goto out;
	for (size_t i = 0; i < request->n_session_ids; i++)
		if (!unary_text_ok(request->session_ids[i], 36) ||
		    json_array_append_new(sessions, json_string(request->session_ids[i])) != 0)
			goto out;
	json_object_set_new(report, "host", json_string(request->host));
	json_object_set_new(report, "port", json_integer(request->port));
	json_object_set(report, "sessions", sessions);
	text = json_dumps(report, JSON_COMPACT);
out:
	json_decref(sessions);
	json_decref(report);
	return text;
}

static void
meet_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__MeetRequest *request;
	grpc_slice bytes;

	if (!unary_bytes(call, message, &bytes))
		return;
	request = probectl__agent__v1__meet_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
	                                                    GRPC_SLICE_START_PTR(bytes));
	grpc_slice_unref(bytes);
	if (request == NULL || request->known_revision > INT64_MAX)
	{
		unary_bad(call, "not a MeetRequest");
		goto out;
	}
	call->pull.report = meet_report(request);
	if (call->pull.report == NULL)
	{
		unary_bad(
		    call,
		    "host must be an address, port at most 65535, and there are at most 1024 sessions");
		goto out;
	}
	meet_observe(call);
	pull_begin(call, request->known_revision, request->wait_seconds);
out:
	if (request != NULL)
		probectl__agent__v1__meet_request__free_unpacked(request, NULL);
}

/* What an agent says is told on once: a call it has left behind must not say it again when something happens. */
static void
meet_reported(struct call *call)
{
	free(call->pull.report);
	call->pull.report = NULL;
}

static void
pull_answered(struct call *call)
{
	const struct db_request *request = &call->request;
	const PGresult *result = request->items[0].result;
	struct pull *pull = &call->pull;
	uint64_t revision;

	if (call->method == &method_meet)
		meet_reported(call);
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

const struct method method_meet = {
    .path = "/probectl.agent.v1.AgentService/Meet",
    .counter = STAT_CALLS_MEET,
    .start = call_receive,
    .message = meet_message,
    .answered = pull_answered,
    .gone = pull_leave,
    .stop = pull_expire,
};
