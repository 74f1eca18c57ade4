/* SPDX-License-Identifier: PostgreSQL
 *
 * entry.c -- whether the agents of live calls may still enter.
 *
 *     trusted --event--> suspect --one of ENTRY_CHECKS_MAX--> checked --may--> trusted
 *                           ^                                    |--may not--> cut
 *                           +-------- the database is away ------+
 *
 * Each batch enters by itself, so a revoked agent stores nothing. But its open stream or its
 * waiting pull would live on for as long as it says nothing. So every long call is a suspect
 * when it opens, when the database tells that its tenant revoked something, and when the database
 * was away and may have told meanwhile. Suspects are asked about with a request of their own,
 * a few at a time, so that ten thousand of them do not stand before the results.
 */
#include "ingest/call.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ingest/server.h"
#include "lib/log.h"
#include "lib/mem.h"

/* Questions under way at once. One takes about 0.1 ms of a connection. */
#define ENTRY_CHECKS_MAX 16

static bool
entry_lasts(const struct call *call)
{
	return call->method == &method_results || call->method == &method_tests ||
	       call->method == &method_meet;
}

static void
entry_ask(struct call *call)
{
	struct db_request *request = mem_alloc(sizeof(*request));

	request->tenant = call->who.id.tenant;
	request->agent = call->who.id.agent;
	request->serial = call->who.serial;
	request->item_count = 1;
	request->items[0].statement = DB_ENTER_ONLY;
	request->owner = call;
	request->complete = server_mail;
	call->entry = ENTRY_CHECKED;
	call->server->checks++;
	call_ref(call);
	stat_add(STAT_ENTRY_CHECKS, 1);
	db_submit(call->server->db, request);
}

static void
entry_pump(struct server *server)
{
	struct call *call;

	while (server->checks < ENTRY_CHECKS_MAX && (call = TAILQ_FIRST(&server->suspects)) != NULL)
	{
		TAILQ_REMOVE(&server->suspects, call, suspect);
		entry_ask(call);
	}
}

static void
entry_queue(struct call *call)
{
	call->entry = ENTRY_SUSPECT;
	TAILQ_INSERT_TAIL(&call->server->suspects, call, suspect);
}

static void
entry_mark(struct call *call)
{
	if (call->over || !entry_lasts(call))
		return;
	if (call->entry == ENTRY_TRUSTED)
		entry_queue(call);
	else if (call->entry == ENTRY_CHECKED)
		call->entry = ENTRY_CHECKED_STALE;
}

void
entry_suspect(struct call *call)
{
	entry_mark(call);
	entry_pump(call->server);
}

void
entry_event(struct server *server, const uint8_t tenant[16])
{
	struct call *call;

	TAILQ_FOREACH (call, &server->calls, all)
		if (call->who.id.tenant[0] != '\0' &&
		    (tenant == NULL || memcmp(call->who.id.tenant_bytes, tenant, 16) == 0))
			entry_mark(call);
	entry_pump(server);
}

static void
entry_cut(struct call *call, enum stat reason, grpc_status_code code, const char *text)
{
	/* Counted by its reason too; the line has a limit of its own, for it is of another kind. */
	stat_add(reason, 1);
	call_log_refusal(call, STAT_CUT, text);
	call_cut(call, code, text);
}

void
entry_answered(struct call *call, struct db_request *request)
{
	struct server *server = call->server;
	bool stale = call->entry == ENTRY_CHECKED_STALE;

	server->checks--;
	call->entry = ENTRY_TRUSTED;
	if (!call->over && (request->code == DB_UNAUTHENTICATED || request->code == DB_NOT_PERMITTED))
		entry_cut(call, call_refusal(request->code), call_status(request->code), request->message);
	else if (!call->over && (stale || request->code != DB_OK))
		entry_queue(call); /* the next tick asks again */
	PQclear(request->items[0].result);
	if (request->code == DB_OK || stale)
		entry_pump(server);
	free(request);
	call_unref(call);
}

void
entry_gone(struct call *call)
{
	if (call->entry != ENTRY_SUSPECT)
		return;
	TAILQ_REMOVE(&call->server->suspects, call, suspect);
	call->entry = ENTRY_TRUSTED;
}

/* A certificate that ends takes its idle stream with it; the agent has a new one by then. */
void
entry_tick(struct server *server)
{
	int64_t now = (int64_t) time(NULL);
	struct call *call, *next;

	for (call = TAILQ_FIRST(&server->calls); call != NULL; call = next)
	{
		next = TAILQ_NEXT(call, all);
		if (!call->over && entry_lasts(call) && call->who.not_after <= now)
			entry_cut(call, STAT_REFUSED_EXPIRED, GRPC_STATUS_UNAUTHENTICATED,
			          "the client certificate has expired; renew it");
	}
	entry_pump(server);
}
