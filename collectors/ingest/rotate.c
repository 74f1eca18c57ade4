/* SPDX-License-Identifier: PostgreSQL
 *
 * rotate.c -- Rotate: a new certificate for a live one, in two calls.
 *
 *     empty request -> challenge | request for a new key, challenge, proof -> certificate
 *
 * The challenge names the serial of the certificate this connection was made with, and the database
 * keeps nothing of it; so the two calls may meet two different processes, or one that was started
 * again in between.
 */
#include "ingest/call.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/server.h"
#include "ingest/unary.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define ROTATE_CSR_MAX       (16 * 1024)
#define ROTATE_CHALLENGE_MAX 512
#define ROTATE_PROOF_MAX     1024

/* Both are answered by one row: the first has one column. */
#define ROTATE_COLUMNS 4

static const char *
rotate_check(const Probectl__Agent__V1__RotateRequest *request)
{
	if (request->csr_pem[0] == '\0' || request->challenge[0] == '\0' || request->proof.len == 0)
		return "csr_pem, challenge and proof go together; ask with none of them for a challenge";
	if (!unary_text_ok(request->csr_pem, ROTATE_CSR_MAX))
		return "csr_pem must be text of at most 16 KiB";
	if (!unary_text_ok(request->challenge, ROTATE_CHALLENGE_MAX))
		return "challenge must be text of at most 512 bytes, as the server gave it";
	if (request->proof.len > ROTATE_PROOF_MAX)
		return "proof must be a signature of at most 1 KiB";
	return NULL;
}

static void
rotate_ask(struct call *call, const Probectl__Agent__V1__RotateRequest *request)
{
	const char *wrong;
	char *proof;

	unary_param(call, 0, mem_strdup(call->who.serial));
	if (request->csr_pem[0] == '\0' && request->challenge[0] == '\0' && request->proof.len == 0)
	{
		unary_ask(call, DB_ROTATE_START);
		return;
	}
	wrong = rotate_check(request);
	if (wrong != NULL)
	{
		unary_bad(call, wrong);
		return;
	}
	proof = mem_alloc(request->proof.len);
	memcpy(proof, request->proof.data, request->proof.len);
	unary_param(call, 1, mem_strdup(request->csr_pem));
	unary_param(call, 2, mem_strdup(request->challenge));
	unary_param(call, 3, proof);
	call->request.items[0].lengths[3] = (int) request->proof.len;
	unary_ask(call, DB_ROTATE);
}

static void
rotate_message(struct call *call, grpc_byte_buffer *message)
{
	Probectl__Agent__V1__RotateRequest *request;
	grpc_slice bytes;

	if (!unary_bytes(call, message, &bytes))
		return;
	request = probectl__agent__v1__rotate_request__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
	                                                      GRPC_SLICE_START_PTR(bytes));
	grpc_slice_unref(bytes);
	if (request == NULL)
	{
		unary_bad(call, "not a RotateRequest");
		return;
	}
	rotate_ask(call, request);
	probectl__agent__v1__rotate_request__free_unpacked(request, NULL);
}

static void
rotate_answered(struct call *call)
{
	Probectl__Agent__V1__RotateResponse response = PROBECTL__AGENT__V1__ROTATE_RESPONSE__INIT;
	const PGresult *row;

	if (!unary_answered(call))
		return;
	row = call->request.items[0].result;
	if (PQnfields(row) == ROTATE_COLUMNS)
	{
		response.certificate_pem = PQgetvalue(row, 0, 0);
		response.ca_bundle_pem = PQgetvalue(row, 0, 1);
		response.serial = PQgetvalue(row, 0, 2);
		response.not_after_unix = strtoll(PQgetvalue(row, 0, 3), NULL, 10);
		log_info("agent", call->who.id.agent, "certificate %s follows %s", response.serial,
		         call->who.serial);
	}
	else
		response.challenge = PQgetvalue(row, 0, 0);
	unary_reply(call, &response.base);
}

const struct method method_rotate = {
    .path = "/probectl.agent.v1.AgentService/Rotate",
    .counter = STAT_CALLS_ROTATE,
    .start = call_receive,
    .message = rotate_message,
    .answered = rotate_answered,
};
