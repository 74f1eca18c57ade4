/* SPDX-License-Identifier: PostgreSQL
 *
 * tasks.c -- the sessions of an agent as a probectl.agent.v1.MeetTasks, so that the process in between hands bytes on
 * and knows nothing of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/pb.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "tenant/context.h"
#include "utils/builtins.h"

#define TASKS_MAX       4096
#define TASK_BYTES_MAX  512 /* three identifiers, a token, two addresses */
#define TASKS_BYTES_MAX (TASKS_MAX * (TASK_BYTES_MAX / 2))

/* Field numbers and values of proto/probectl/agent/v1/agent.proto. */
enum
{
	TASKS_TASKS = 1,
	TASK_ROLE = 1,
	TASK_SESSION_ID = 2,
	TASK_TEST_ID = 3,
	TASK_PEER_AGENT_ID = 4,
	TASK_TOKEN = 5,
	TASK_HOSTS = 6,
	TASK_PORT = 7
};

/* The likelier address first. Two agents that come from one address are on one side of its NAT and reach each other by
 * what they say themselves; so does everybody an agent that the ingest server sees on its own machine. */
static PctlPlan tasks_read = {
    "SELECT CASE WHEN s.responder_id = $2 THEN 1 ELSE 2 END, s.session_id::text, s.test_id::text,"
    "       (CASE WHEN s.responder_id = $2 THEN s.initiator_id ELSE s.responder_id END)::text, "
    "s.token,"
    "       CASE WHEN x.there THEN CASE WHEN x.inside THEN host(e.host) ELSE host(e.observed) END "
    "END,"
    "       CASE WHEN x.there AND e.observed <> e.host AND NOT e.observed <<= ANY "
    "('{127.0.0.0/8,::1}'::inet[])"
    "            THEN CASE WHEN x.inside THEN host(e.observed) ELSE host(e.host) END END,"
    "       CASE WHEN x.there THEN e.port ELSE 0 END"
    "  FROM probectl.a2a_session s"
    "  LEFT JOIN probectl.a2a_endpoint e ON e.tenant_id = s.tenant_id AND e.agent_id = "
    "s.responder_id AND s.initiator_id = $2"
    "  LEFT JOIN probectl.a2a_endpoint i ON i.tenant_id = s.tenant_id AND i.agent_id = "
    "s.initiator_id,"
    "  LATERAL (SELECT s.state = 'ready' AND e.port > 0 AND e.host IS NOT NULL AS there,"
    "                  e.observed IS NULL OR e.observed = e.host OR e.observed = i.observed"
    "                  OR e.observed <<= ANY ('{127.0.0.0/8,::1}'::inet[]) AS inside) x"
    " WHERE s.tenant_id = $1 AND (s.responder_id = $2 OR s.initiator_id = $2)"
    " ORDER BY s.test_id, s.initiator_id LIMIT 4096",
    2,
    {UUIDOID, UUIDOID}};

static void
write_column(PbWriter *w, uint32 tag, uint64 row, int column)
{
	bool isnull;
	Datum value = pctl_spi_value(row, column, &isnull);
	char *given;

	if (isnull)
		return;
	given = TextDatumGetCString(value);
	pb_write_bytes(w, tag, given, strlen(given));
}

static void
task_write(PbWriter *tasks, PbWriter *scratch, uint64 row)
{
	bytea *token = DatumGetByteaPP(pctl_spi_value(row, 5, NULL));
	int32 port = DatumGetInt32(pctl_spi_value(row, 8, NULL));

	scratch->len = 0;
	pb_write_varint(scratch, TASK_ROLE, (uint64) DatumGetInt32(pctl_spi_value(row, 1, NULL)));
	write_column(scratch, TASK_SESSION_ID, row, 2);
	write_column(scratch, TASK_TEST_ID, row, 3);
	write_column(scratch, TASK_PEER_AGENT_ID, row, 4);
	pb_write_bytes(scratch, TASK_TOKEN, VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
	write_column(scratch, TASK_HOSTS, row, 6);
	write_column(scratch, TASK_HOSTS, row, 7);
	if (port > 0)
		pb_write_varint(scratch, TASK_PORT, (uint64) port);
	tasks->full |= scratch->full;
	pb_write_bytes(tasks, TASKS_TASKS, scratch->data, scratch->len);
}

PCTL_FUNCTION(pctl_a2a_tasks);

/* probectl_internal.a2a_tasks() -> (revision bigint, tasks bytea), for the entered agent. The revision is a hash of the
 * tasks, never 0. */
Datum
pctl_a2a_tasks(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	PbWriter tasks = {.max = TASKS_BYTES_MAX}, scratch = {.max = TASK_BYTES_MAX};
	bytea *answer;
	PctlTrusted saved;
	TupleDesc desc;
	Datum args[2], values[2];
	bool nulls[2] = {false, false};
	uint64 revision;

	if (who == NULL || who->kind != PCTL_PRINCIPAL_AGENT)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("only an agent's transaction reads its sessions")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a2a_tasks is not declared as it is written");
	answer = palloc(VARHDRSZ + tasks.max);
	tasks.data = (uint8_t *) VARDATA(answer);
	scratch.data = palloc(scratch.max);
	pctl_trusted_begin(&saved);
	SPI_connect();
	args[0] = UUIDPGetDatum(&who->tenant);
	args[1] = UUIDPGetDatum(&who->id);
	pctl_plan_run(&tasks_read, args, NULL, true, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
		task_write(&tasks, &scratch, row);
	SPI_finish();
	pctl_trusted_end(&saved);
	if (tasks.full)
		ereport(ERROR, (errcode(ERRCODE_PCTL_TOO_MANY),
		                errmsg("the sessions of this agent do not fit one message")));
	SET_VARSIZE(answer, VARHDRSZ + tasks.len);
	revision = hash_bytes_extended(tasks.data, (int) tasks.len, 0) & PG_INT64_MAX;
	values[0] = Int64GetDatum(revision == 0 ? 1 : (int64) revision);
	values[1] = PointerGetDatum(answer);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
