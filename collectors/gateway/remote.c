/* SPDX-License-Identifier: PostgreSQL
 *
 * remote.c -- POST /v1/prometheus/write.
 *
 * The body goes to the database as it came: what it decompresses to, how much that may be and what of it is good is decided
 * there, under the tenant of the credential. Here only the headers are looked at, so that a sender of another version or coding
 * learns it from a 415 and does not come again with the same.
 */
#include "gateway/remote.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/auth.h"
#include "gateway/conn.h"
#include "gateway/db.h"
#include "gateway/gateway.h"
#include "gateway/reply.h"

static void
write_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct reply_pending *p = arg;
	struct conn *c = reply_pending_end(p);
	struct conn_reply r = {.status = 204};
	int status;

	free(p);
	if (c == NULL)
		return;
	if (fate == DB_LATE)
	{
		/* Sending it again stores the same samples again: not knowing does no harm. */
		gw_count(GW_REFUSED_DEADLINE);
		reply_unavailable(c, "outcome_unknown", "no answer in time: send it again", 1);
		return;
	}
	if (fate != DB_ANSWERED)
	{
		reply_fate(c, fate, res, true);
		return;
	}
	status = PQntuples(res) == 1 ? (int) strtol(PQgetvalue(res, 0, 0), NULL, 10) : 500;
	if (status == 204)
		conn_reply(c, &r);
	else
		reply_error(c, status, NULL, status == 400 ? PQgetvalue(res, 0, 1) : NULL, NULL);
}

/* Whether the media type asks for another message: 2.0 says so in a parameter. */
static bool
media_is_version_2(const struct http_slice *type)
{
	return type != NULL && memmem(type->ptr, type->len, "io.prometheus.write.v2", 22) != NULL;
}

static bool
headers_ok(struct conn *c)
{
	const struct http_slice *type = http_header(&c->req, "content-type");
	const struct http_slice *coding = http_header(&c->req, "content-encoding");
	const struct http_slice *version = http_header(&c->req, "x-prometheus-remote-write-version");
	const char *wrong = NULL;

	if (media_is_version_2(type) || (version != NULL && version->len > 0 && version->ptr[0] >= '2'))
		wrong = "remote write 1.0 is spoken here, not 2.0";
	else if (!http_media_is(type, "application/x-protobuf"))
		wrong = "send Content-Type: application/x-protobuf";
	else if (coding == NULL || !http_slice_is(coding, "snappy"))
		wrong = "send Content-Encoding: snappy";
	if (wrong == NULL)
		return true;
	reply_error(c, 415, NULL, wrong, NULL);
	return false;
}

void
remote_write(struct conn *c)
{
	struct auth_credential cred;
	struct db_request r = {.statement = DB_REMOTE_WRITE, .done = write_done};

	if (!auth_credential_of_program(c, &cred))
		return;
	if (headers_ok(c))
	{
		if (c->body.len == 0)
			reply_error(c, 400, NULL, "the body is empty", NULL);
		else
		{
			r.token = cred.token;
			r.bytes = c->body.data;
			r.len = c->body.len;
			r.arg = reply_pending_new(c, sizeof(struct reply_pending));
			db_submit(&r);
		}
	}
	explicit_bzero(&cred, sizeof cred);
}
