/* SPDX-License-Identifier: PostgreSQL
 *
 * unary.h -- what methods with one message each way have in common (unary.c).
 *
 * A method decodes its message, turns it into parameters, and asks; when the database has answered it
 * packs the response. Each helper ends the call itself when there is nothing to go on with.
 */
#ifndef PCTL_INGEST_UNARY_H
#define PCTL_INGEST_UNARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include "ingest/call.h"

/* INVALID_ARGUMENT with this sentence. */
void unary_bad(struct call *call, const char *text);

/* The message in one piece; false when the call was refused. */
bool unary_bytes(struct call *call, grpc_byte_buffer *message, grpc_slice *bytes);

/* UTF-8 of at most max bytes. */
bool unary_text_ok(const char *text, size_t max);

/* The parameter belongs to the call from here on. */
void unary_param(struct call *call, int i, char *text);
void unary_ask(struct call *call, enum db_statement statement);

/* False: the call was ended, there is nothing to reply. */
bool unary_answered(struct call *call);
void unary_reply(struct call *call, const ProtobufCMessage *response);

#endif
