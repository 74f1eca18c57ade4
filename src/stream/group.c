/* SPDX-License-Identifier: PostgreSQL
 *
 * group.c -- small batches of several agents of one tenant in one transaction.
 *
 * A batch of one record costs a transaction, and the opening of tables and a store, to take by itself. Here each is
 * for all. An agent may be there twice: its mark moves in memory from batch to batch.
 *
 * Locks: as ingest.c, of all positions.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "funcapi.h"
#include "identity/credential.h"
#include "stream/ingest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

typedef struct IngestGroup
{
	pg_uuid_t tenant;
	TimestampTz received_at; /* of the last batch */
	PctlPrincipal *agents;
	Ingest *batches;
	int count;
} IngestGroup;

/* Elements of an array argument that may hold no NULL; *count is of all the arrays. */
static Datum *
batch_array(FunctionCallInfo fcinfo, int arg, Oid type, int *count)
{
	Datum *values;
	int16 len;
	bool by_value;
	char align;
	int n;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, by_value, align, &values, NULL, &n);
	if (*count >= 0 && n != *count)
		ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID), errmsg("the lists differ in length")));
	*count = n;
	return values;
}

static void
group_open(IngestGroup *group, Datum *agents, Datum *planes, Datum *batches)
{
	group->agents = palloc0(Max(group->count, 1) * sizeof(PctlPrincipal));
	group->batches = palloc0(Max(group->count, 1) * sizeof(Ingest));
	for (int i = 0; i < group->count; i++)
	{
		PctlPrincipal *who = &group->agents[i];
		Ingest *in = &group->batches[i];

		who->kind = PCTL_PRINCIPAL_AGENT;
		who->tenant = group->tenant;
		who->id = *DatumGetUUIDP(agents[i]);
		in->who = who;
		in->plane = TextDatumGetCString(planes[i]);
		ingest_open(in, DatumGetByteaPP(batches[i]));
		/* Part of the ledger's key, which two of the same numbers would share. */
		in->from.received_at = Max(in->from.received_at, group->received_at + 1);
		group->received_at = in->from.received_at;
	}
}

PCTL_FUNCTION(pctl_ingest_agents);

/*
 * probectl.ingest_agents(tenant uuid, agents uuid[], serials text[], planes text[], batches bytea[])
 *
 * Each batch as enter_agent and ingest would take it, all in this transaction: for small batches of
 * many agents, whose commits would cost more than they do. It is all or nothing, so the caller sends them
 * one by one when one of them is refused. Leaves the transaction with no principal: nothing
 * can be read in it.
 */
Datum
pctl_ingest_agents(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	IngestGroup group = {.tenant = *PG_GETARG_UUID_P(0), .count = -1};
	Datum *agents = batch_array(fcinfo, 1, UUIDOID, &group.count);
	Datum *planes = batch_array(fcinfo, 3, TEXTOID, &group.count);
	Datum *batches = batch_array(fcinfo, 4, BYTEAOID, &group.count);
	PctlTrusted saved;

	(void) batch_array(fcinfo, 2, TEXTOID, &group.count);
	InitMaterializedSRF(fcinfo, 0);
	pctl_context_bind_tenant(&group.tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_agents_check(&group.tenant, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), group.count);
	group_open(&group, agents, planes, batches);
	if (group.count > 0)
		ingest_take(group.batches, group.count);
	for (int i = 0; i < group.count; i++)
	{
		Datum values[ANSWER_COLUMNS];
		bool nulls[ANSWER_COLUMNS] = {false};

		ingest_answer(&group.batches[i], values);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	return (Datum) 0;
}
