/* SPDX-License-Identifier: PostgreSQL
 *
 * unary.c -- Register, Attest, Heartbeat, and the refusal of StreamConfig.
 *
 * One message in, one question to the database, one message out. The message is decoded
 * by the generated code, then every text and every count is bounded and must be UTF-8 before it
 * becomes a parameter: the database is not where a producer's mistake should show first.
 */
#include "ingest/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "ingest/server.h"
#include "ingest/unary.h"
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define UNARY_MESSAGE_MAX   (64 * 1024)
#define UNARY_VERSION_MAX   64
#define UNARY_TEXT_MAX      255
#define UNARY_ENTRIES_MAX   64
#define UNARY_PROTOCOL      "1"
#define UNARY_PARAMETER_MAX (256 * 1024)

void
unary_bad(struct call *call, const char *text)
{
	call_refuse(call, STAT_REFUSED_BAD_MESSAGE, GRPC_STATUS_INVALID_ARGUMENT, text);
}

bool
unary_bytes(struct call *call, grpc_byte_buffer *message, grpc_slice *bytes)
{
	if (message == NULL)
		unary_bad(call, "the call carries no message");
	else if (grpc_byte_buffer_length(message) > UNARY_MESSAGE_MAX)
		unary_bad(call, "the message is larger than 64 KiB");
	else
	{
		*bytes = call_bytes(message);
		return true;
	}
	return false;
}

bool
unary_text_ok(const char *text, size_t max)
{
	json_t *json;
	bool ok;

	if (strlen(text) > max)
		return false;
	json = json_string(text); /* NULL when it is not UTF-8 */
	ok = json != NULL;
	json_decref(json);
	return ok;
}

static json_t *
json_number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t) value);
}

static int64_t
unix_nano(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

void
unary_param(struct call *call, int i, char *text)
{
	call->unary.texts[i] = text;
	call->request.items[0].values[i] = text;
}

void
unary_ask(struct call *call, enum db_statement statement)
{
	call->request.item_count = 1;
	call->request.items[0].statement = statement;
	call_ask(call);
}

void
unary_reply(struct call *call, const ProtobufCMessage *response)
{
	size_t size = protobuf_c_message_get_packed_size(response);
	uint8_t *bytes = mem_alloc(size > 0 ? size : 1);

	protobuf_c_message_pack(response, bytes);
	call_finish(call, GRPC_STATUS_OK, NULL, call_message(bytes, size));
	free(bytes);
}

bool
unary_answered(struct call *call)
{
	const struct db_request *request = &call->request;

	if (call->over)
		return false;
	if (request->code == DB_OK)
		return true;
	call_refuse(call, call_refusal(request->code), call_status(request->code), request->message);
	return false;
}

static uint64_t
answer_number(const struct call *call, int column)
{
	return strtoull(PQgetvalue(call->request.items[0].result, 0, column), NULL, 10);
}

/* ---- Register ---- */

/* A PostgreSQL array literal: {"a","b"}, with \ before \ and ". */
static char *
register_capabilities(const Probectl__Agent__V1__RegisterRequest *request)
{
	struct buf out = BUF_INIT(UNARY_PARAMETER_MAX);
	char *copy = NULL;

	buf_put_u8(&out, '{');
	for (size_t i = 0; i < request->n_capabilities; i++)
	{
		buf_put_str(&out, i == 0 ? "\"" : ",\"");
		for (const char *p = request->capabilities[i]; *p != '\0'; p++)
		{
			if (*p == '"' || *p == '\\')
				buf_put_u8(&out, '\\');
			buf_put_u8(&out, (uint8_t) *p);
		}
		buf_put_u8(&out, '"');
	}
	buf_put_u8(&out, '}');
	if (buf_cstr(&out) != NULL)
		copy = mem_strdup(buf_cstr(&out));
	buf_free(&out);
	return copy;
}

static char *
register_labels(const Probectl__Agent__V1__RegisterRequest *request)
{
	json_t *labels = json_object();
	char *text = NULL;

	for (size_t i = 0; i < request->n_labels; i++)
	{
		const char *key = request->labels[i]->key, *value = request->labels[i]->value;

		if (!unary_text_ok(key, UNARY_TEXT_MAX) || !unary_text_ok(value, UNARY_TEXT_MAX) ||
		    json_object_set_new(labels, key, json_string(value)) != 0)
			goto out;
	}
	text = json_dumps(labels, JSON_COMPACT);
out:
	json_decref(labels);
	return text;
}

static const char *
register_check(const Probectl__Agent__V1__RegisterRequest *request)
{
	if (!unary_text_ok(request->hostname, UNARY_TEXT_MAX) ||
	    !unary_text_ok(request->agent_version, UNARY_VERSION_MAX))
		return "hostname must be UTF-8 of at most 255 bytes, agent_version of at most 64";
	if (request->n_capabilities > UNARY_ENTRIES_MAX || request->n_labels > UNARY_ENTRIES_MAX)
		return "at most 64 capabilities and 64 labels are taken";
	for (size_t i = 0; i < request->n_capabilities; i++)
		if (!unary_text_ok(request->capabilities[i], UNARY_TEXT_MAX))
			return "a capability must be UTF-8 of at most 255 bytes";
	return NULL;
}

static void
register_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__RegisterRequest *request;
	const char *wrong;
	char *labels;
	grpc_slice bytes;

	if (!unary_bytes(call, message, &bytes))
		return;
	request = probectl__agent__v1__register_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
	                                                        GRPC_SLICE_START_PTR(bytes));
	grpc_slice_unref(bytes);
	if (request == NULL)
	{
		unary_bad(call, "not a RegisterRequest");
		return;
	}
	wrong = register_check(request);
	if (wrong == NULL && (labels = register_labels(request)) == NULL)
		wrong = "labels must be UTF-8 of at most 255 bytes each";
	if (wrong != NULL)
		unary_bad(call, wrong);
	else
	{
		unary_param(call, 0, mem_strdup(request->hostname));
		unary_param(call, 1, mem_strdup(request->agent_version));
		unary_param(call, 2, register_capabilities(request));
		unary_param(call, 3, labels);
		unary_ask(call, DB_REGISTER);
	}
	probectl__agent__v1__register_request__free_unpacked(request, NULL);
}

static void
register_answered(struct call *call)
{
	static char *server_capabilities[] = {"results.sequenced", "tests.pull", "a2a.meet"};
	Probectl__Agent__V1__RegisterResponse response = PROBECTL__AGENT__V1__REGISTER_RESPONSE__INIT;

	if (!unary_answered(call))
		return;
	log_info("agent", call->who.id.agent, "registered, host %s, version %s", call->unary.texts[0],
	         call->unary.texts[1]);
	response.agent_id = call->who.id.agent;
	response.tenant_id = call->who.id.tenant;
	response.config_epoch = answer_number(call, 0);
	response.heartbeat_interval_seconds = (uint32_t) answer_number(call, 1);
	response.stream_epoch = answer_number(call, 2);
	response.committed_seq = answer_number(call, 3);
	response.control_version = PROBECTL_VERSION;
	response.protocol_version = UNARY_PROTOCOL;
	response.server_capabilities = server_capabilities;
	response.n_server_capabilities = sizeof(server_capabilities) / sizeof(server_capabilities[0]);
	response.server_time_unix_nano = unix_nano();
	unary_reply(call, &response.base);
}

const struct method method_register = {
    .path = "/probectl.agent.v1.AgentService/Register",
    .counter = STAT_CALLS_REGISTER,
    .start = call_receive,
    .message = register_message,
    .answered = register_answered,
};

/* ---- Attest ---- */

static void
attest_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__AttestRequest *request;
	grpc_slice bytes;

	if (!unary_bytes(call, message, &bytes))
		return;
	request = probectl__agent__v1__attest_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
	                                                      GRPC_SLICE_START_PTR(bytes));
	grpc_slice_unref(bytes);
	if (request == NULL)
	{
		unary_bad(call, "not an AttestRequest");
		return;
	}
	probectl__agent__v1__attest_request__free_unpacked(request, NULL);
	unary_ask(call, DB_ENTER_ONLY);
}

static void
attest_answered(struct call *call)
{
	Probectl__Agent__V1__AttestResponse response = PROBECTL__AGENT__V1__ATTEST_RESPONSE__INIT;
	char identity[SPIFFE_ID_LEN + 1];

	if (!unary_answered(call))
		return;
	spiffe_print(&call->who.id, identity);
	response.ok = true;
	response.message = identity;
	unary_reply(call, &response.base);
}

const struct method method_attest = {
    .path = "/probectl.agent.v1.AgentService/Attest",
    .counter = STAT_CALLS_ATTEST,
    .start = call_receive,
    .message = attest_message,
    .answered = attest_answered,
};

/* ---- Heartbeat ---- */

/* {config_epoch, spool_records, spool_bytes, oldest_unix_nano, dropped, agent_version,
 * clock_skew_nano, tests_problem, tests_refused, ticks_skipped, runs_disturbed}; NULL when a text is not fit. */
static char *
heartbeat_status(const Probectl__Agent__V1__HeartbeatRequest *request)
{
	json_t *dropped = json_object(), *status = json_object();
	char *text = NULL;

	if (request->n_dropped > UNARY_ENTRIES_MAX ||
	    !unary_text_ok(request->agent_version, UNARY_VERSION_MAX) ||
	    !unary_text_ok(request->tests_problem, UNARY_TEXT_MAX))
		goto out;
	for (size_t i = 0; i < request->n_dropped; i++)
		if (!unary_text_ok(request->dropped[i]->key, UNARY_TEXT_MAX) ||
		    json_object_set_new(dropped, request->dropped[i]->key,
		                        json_number(request->dropped[i]->value)) != 0)
			goto out;
	json_object_set_new(status, "config_epoch", json_number(request->config_epoch));
	json_object_set_new(status, "spool_records", json_number(request->spool_records));
	json_object_set_new(status, "spool_bytes", json_number(request->spool_bytes));
	json_object_set_new(status, "oldest_unix_nano", json_integer(request->oldest_unix_nano));
	json_object_set(status, "dropped", dropped);
	json_object_set_new(status, "agent_version", json_string(request->agent_version));
	json_object_set_new(status, "clock_skew_nano", json_integer(request->clock_skew_nano));
	json_object_set_new(status, "tests_problem", json_string(request->tests_problem));
	json_object_set_new(status, "tests_refused", json_number(request->tests_refused));
	json_object_set_new(status, "ticks_skipped", json_number(request->ticks_skipped));
	json_object_set_new(status, "runs_disturbed", json_number(request->runs_disturbed));
	text = json_dumps(status, JSON_COMPACT);
out:
	json_decref(dropped);
	json_decref(status);
	return text;
}

static void
heartbeat_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__HeartbeatRequest *request;
	char *status;
	grpc_slice bytes;

	if (!unary_bytes(call, message, &bytes))
		return;
	request = probectl__agent__v1__heartbeat_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
	                                                         GRPC_SLICE_START_PTR(bytes));
	grpc_slice_unref(bytes);
	if (request == NULL)
	{
		unary_bad(call, "not a HeartbeatRequest");
		return;
	}
	/* The certificate wins; the claim is worth a line. */
	if (request->agent_id[0] != '\0' && strcmp(request->agent_id, call->who.id.agent) != 0)
	{
		stat_add(STAT_IDENTITY_MISMATCH, 1);
		log_limited(LOG_LEVEL_WARNING, "identity", call->who.id.agent,
		            "a heartbeat claims to be agent %.64s; the certificate counts",
		            request->agent_id);
	}
	status = heartbeat_status(request);
	probectl__agent__v1__heartbeat_request__free_unpacked(request, NULL);
	if (status == NULL)
	{
		unary_bad(
		    call,
		    "agent_version (64 bytes), tests_problem and the reasons in dropped (64 of them) must "
		    "be UTF-8 of at most 255 bytes");
		return;
	}
	unary_param(call, 0, status);
	unary_ask(call, DB_HEARTBEAT);
}

static void
heartbeat_answered(struct call *call)
{
	Probectl__Agent__V1__HeartbeatResponse response = PROBECTL__AGENT__V1__HEARTBEAT_RESPONSE__INIT;

	if (!unary_answered(call))
		return;
	response.config_stale = PQgetvalue(call->request.items[0].result, 0, 0)[0] == 't';
	response.heartbeat_interval_seconds = (uint32_t) answer_number(call, 1);
	response.server_time_unix_nano = unix_nano();
	unary_reply(call, &response.base);
}

const struct method method_heartbeat = {
    .path = "/probectl.agent.v1.AgentService/Heartbeat",
    .counter = STAT_CALLS_HEARTBEAT,
    .start = call_receive,
    .message = heartbeat_message,
    .answered = heartbeat_answered,
};

/* ---- StreamConfig ---- */

static void
config_start(struct call *call)
{
	call_refuse(call, STAT_REFUSED_CONFIG_PUSH, GRPC_STATUS_PERMISSION_DENIED,
	            "configuration is not pushed: agents load their own and pull their tests "
	            "(PullTests)");
}

const struct method method_config = {
    .path = "/probectl.agent.v1.AgentService/StreamConfig",
    .counter = STAT_CALLS_CONFIG,
    .start = config_start,
};
