/* SPDX-License-Identifier: PostgreSQL
 *
 * ingest.c -- exactly once from a producer's batch to committed rows.
 *
 * The row of probectl.stream_position is the lock and the memory of a stream (position.h): it is read and locked,
 * numbers at or below its mark are trimmed as duplicates, and the new mark commits with the
 * rows. A batch that arrives twice, on two connections at once, or after a crash anywhere
 * stores each record once. A bad record becomes a dead letter and counts as handled: the mark
 * passes it, so it never blocks what follows.
 *
 * Locks: stream_position rows (position.c), RowExclusive on result, ledger, dead_letter.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/limits.h"
#include "core/spi.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "identity/permission.h"
#include "identity/credential.h"
#include "result/decode.h"
#include "stream/ingest.h"
#include "stream/ledger.h"
#include "stream/position.h"
#include "tenant/fairness.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static PctlPlan dead_letter_write = {
    "INSERT INTO probectl.dead_letter (tenant_id, agent_id, plane, epoch, seq, reason, record, "
    "record_bytes, received_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    9,
    {UUIDOID, UUIDOID, TEXTOID, INT8OID, INT8OID, TEXTOID, BYTEAOID, INT4OID, TIMESTAMPTZOID}};
/* A new epoch starts from nothing. */
static void
batch_place(Ingest *in, const Position *position)
{
	if ((int64) in->batch.epoch < position->epoch)
	{
		pctl_fairness_refused(&in->who->tenant, in->number, in->batch.count);
		ereport(ERROR, (errcode(ERRCODE_PCTL_CONFLICT),
		                errmsg("the batch is of an epoch before the one that is committed"),
		                errhint("Register again and take an epoch above stream_epoch.")));
	}
	in->committed = (int64) in->batch.epoch > position->epoch ? 0 : position->committed;
}

/* The mark after it. */
static int64
batch_last(const Ingest *in)
{
	return Max((int64) in->batch.first_seq + in->batch.count - 1, in->committed);
}

static void
dead_letter(Ingest *in, int64 seq, PbSlice record, const char *reason)
{
	size_t kept = Min(record.len, PCTL_DEAD_LETTER_BYTES);
	bytea *bytes = palloc(VARHDRSZ + kept);
	Datum args[9];

	SET_VARSIZE(bytes, VARHDRSZ + kept);
	memcpy(VARDATA(bytes), record.data, kept);
	args[0] = UUIDPGetDatum(&in->who->tenant);
	args[1] = UUIDPGetDatum(&in->who->id);
	args[2] = CStringGetTextDatum(in->plane);
	args[3] = Int64GetDatum(in->batch.epoch);
	args[4] = Int64GetDatum(seq);
	args[5] = CStringGetTextDatum(reason);
	args[6] = PointerGetDatum(bytes);
	args[7] = Int32GetDatum((int32) record.len);
	args[8] = TimestampTzGetDatum(in->from.received_at);
	pctl_plan_run(&dead_letter_write, args, NULL, false, 0);
}

/* Stores what is past the mark. What was stored is in from.parts once the store is ended. */
static void
batch_records(Ingest *in, ResultStore *store)
{
	static ResultRecord decoded; /* 8 kB that is overwritten by every record */
	int64 seq = (int64) in->batch.first_seq;
	PbSlice record;

	result_store_from(store, &in->from);
	for (; batch_next(&in->batch, &record); seq++)
	{
		const char *reason;
		bool sound;

		if (seq <= in->committed)
		{
			in->duplicate++;
			continue;
		}
		reason = in->refused != NULL ? NULL : result_decode(&decoded, record);
		sound = reason == NULL;
		if (in->refused != NULL)
			reason = in->refused;
		else if (reason == NULL)
			reason = result_store_add(store, &decoded);
		if (reason != NULL)
		{
			dead_letter(in, seq, record, reason);
			*(sound ? &in->dead_lettered : &in->malformed) += 1;
			continue;
		}
		in->dropped_attributes += (int32) decoded.identity_attributes;
		in->stored++;
	}
}

void
ingest_answer(const Ingest *in, Datum values[ANSWER_COLUMNS])
{
	values[0] = Int64GetDatum(in->batch.epoch);
	values[1] = Int64GetDatum(batch_last(in));
	values[2] = Int32GetDatum(in->stored);
	values[3] = Int32GetDatum(in->duplicate);
	values[4] = Int32GetDatum(in->malformed + in->dead_lettered);
}

static Datum
answer_datum(FunctionCallInfo fcinfo, const Ingest *in)
{
	TupleDesc desc;
	Datum values[ANSWER_COLUMNS];
	bool nulls[ANSWER_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ingest_answer(in, values);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
envelope_read(Ingest *in, bytea *bytes)
{
	bool large = VARSIZE_ANY_EXHDR(bytes) > PCTL_BATCH_BYTES_MAX;
	BatchError error = large ? BATCH_OK
	                         : batch_parse(&in->batch, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes),
	                                       PCTL_BATCH_RECORDS_MAX);

	/* How many records it had is not known. */
	if (large || error != BATCH_OK)
		pctl_fairness_refused(&in->who->tenant, in->number, 1);
	if (large)
		ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID),
		                errmsg("the batch is larger than %d bytes", PCTL_BATCH_BYTES_MAX)));
	if (error != BATCH_OK)
		ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID), errmsg("%s", batch_error_text(error)),
		                errdetail("field: batch")));
}

static PctlPlane
plane_find(const char *name)
{
	for (int i = 0; i < PCTL_PLANES; i++)
		if (strcmp(pctl_plane_names[i], name) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID), errmsg("there is no such plane"),
	                errdetail("field: plane")));
}

/* From its position, and the position moves. A batch that is there already needs no store. */
static void
batch_take(Position *position, Ingest *in, ResultStore **store)
{
	bool news;

	batch_place(in, position);
	news = batch_last(in) > in->committed;
	if (news && *store == NULL)
		*store = result_store_begin(&in->who->tenant);
	if (news)
		batch_records(in, *store);
	else
		in->duplicate = (int32) in->batch.count;
	position->epoch = (int64) in->batch.epoch;
	position->committed = batch_last(in);
	position->counts[0] += in->batch.count;
	position->counts[1] += in->stored;
	position->counts[2] += in->duplicate;
	position->counts[3] += in->malformed;
	position->counts[4] += in->dead_lettered;
}

static PositionList *
positions_of(const Ingest *batches, int count)
{
	Position *streams = palloc0(count * sizeof(Position));

	for (int i = 0; i < count; i++)
	{
		streams[i].agent = batches[i].who->id;
		streams[i].plane = batches[i].plane;
	}
	return positions_open(&batches[0].who->tenant, batches[count - 1].from.received_at, streams,
	                      count);
}

void
ingest_take(Ingest *batches, int count)
{
	PositionList *positions = positions_of(batches, count);
	ResultStore *store = NULL;

	for (int i = 0; i < count; i++)
	{
		Ingest *in = &batches[i];

		batch_take(position_of(positions, &in->who->id, in->plane), in, &store);
	}
	if (store != NULL)
	{
		result_store_end(store);
		pctl_worker_wake_at_commit();
	}
	ledger_write(batches, count);
	positions_close(positions);
}

void
ingest_open(Ingest *in, bytea *bytes)
{
	in->number = plane_find(in->plane);
	envelope_read(in, bytes);
	pctl_fairness_results(&in->who->tenant, in->number, in->batch.count, VARSIZE_ANY_EXHDR(bytes));
	in->from.agent = &in->who->id;
	in->from.received_at = pctl_now();
}

PCTL_FUNCTION(pctl_ingest);

/* probectl.ingest(plane text, batch bytea) */
Datum
pctl_ingest(PG_FUNCTION_ARGS)
{
	bytea *bytes = PG_GETARG_BYTEA_PP(1);
	Ingest in = {.plane = text_to_cstring(PG_GETARG_TEXT_PP(0)), .who = pctl_principal()};
	PctlTrusted saved;

	if (in.who == NULL || in.who->kind != PCTL_PRINCIPAL_AGENT)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("only an agent's transaction stores batches"),
		                errhint("Call probectl.enter_agent() first.")));
	ingest_open(&in, bytes);
	pctl_trusted_begin(&saved);
	SPI_connect();
	ingest_take(&in, 1);
	SPI_finish();
	pctl_trusted_end(&saved);
	return answer_datum(fcinfo, &in);
}

static PctlPlan certificate_find = {"SELECT FROM probectl.agent_certificate"
                                    " WHERE tenant_id = $1 AND agent_id = $2 AND serial = $3",
                                    3,
                                    {UUIDOID, UUIDOID, TEXTOID}};

PCTL_FUNCTION(pctl_ingest_refused);

/* probectl.ingest_refused(tenant uuid, agent uuid, serial text, plane text, batch bytea, reason text): for the
 * consumer of the bus, whose record was acknowledged already. The certificate must have been the agent's,
 * though it may be revoked or over: who made one up must not move an agent's mark. Binds the tenant, and
 * leaves the transaction without a principal: nothing can be read in it. */
Datum
pctl_ingest_refused(PG_FUNCTION_ARGS)
{
	PctlPrincipal who = {.kind = PCTL_PRINCIPAL_NONE};
	Ingest in = {.plane = text_to_cstring(PG_GETARG_TEXT_PP(3)),
	             .refused = text_to_cstring(PG_GETARG_TEXT_PP(5)),
	             .who = &who};
	Datum args[3] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	PctlTrusted saved;

	who.tenant = *PG_GETARG_UUID_P(0);
	who.id = *PG_GETARG_UUID_P(1);
	in.number = PCTL_PLANE_NETWORK; /* what is not known yet is counted there when it is none */
	envelope_read(&in, PG_GETARG_BYTEA_PP(4));
	in.from.agent = &who.id;
	in.from.received_at = pctl_now();
	pctl_context_bind_tenant(&who.tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&certificate_find, args, NULL, true, 1) != 1)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND),
		                errmsg("the agent never had such a certificate")));
	ingest_take(&in, 1);
	SPI_finish();
	pctl_trusted_end(&saved);
	return answer_datum(fcinfo, &in);
}

static PctlPlan letter_lock = {
    "SELECT d.agent_id, d.plane, d.epoch, d.seq, d.record, d.record_bytes,"
    "       a.agent_id IS NOT NULL AND a.revoked_at IS NULL, t.status"
    "  FROM probectl.dead_letter d JOIN probectl.tenant t ON t.tenant_id = d.tenant_id"
    "  LEFT JOIN probectl.agent a ON a.tenant_id = d.tenant_id AND a.agent_id = d.agent_id"
    " WHERE d.tenant_id = $1 AND d.dead_letter_id = $2 FOR UPDATE OF d",
    2,
    {UUIDOID, UUIDOID}};
static PctlPlan letter_reason = {
    "UPDATE probectl.dead_letter SET reason = $3 WHERE tenant_id = $1 AND dead_letter_id = $2",
    3,
    {UUIDOID, UUIDOID, TEXTOID}};
static PctlPlan letter_stored = {
    "UPDATE probectl.stream_position SET stored = stored + 1,"
    "  dead_lettered = dead_lettered - CASE WHEN dead_lettered > 0 THEN 1 ELSE 0 END,"
    "  malformed = malformed - CASE WHEN dead_lettered > 0 THEN 0 ELSE 1 END"
    " WHERE tenant_id = $1 AND agent_id = $2 AND plane = $3",
    3,
    {UUIDOID, UUIDOID, TEXTOID}};
static PctlPlan letter_drop = {
    "DELETE FROM probectl.dead_letter WHERE tenant_id = $1 AND dead_letter_id = $2",
    2,
    {UUIDOID, UUIDOID}};

/* Reads the locked row into *in and *record; raises when its sender may not send, or not all of it is there. */
static void
letter_open(Ingest *in, PctlPrincipal *who, PbSlice *record)
{
	bytea *bytes = DatumGetByteaPCopy(pctl_spi_value(0, 5, NULL));

	who->id = *DatumGetUUIDP(pctl_spi_value(0, 1, NULL));
	in->plane = TextDatumGetCString(pctl_spi_value(0, 2, NULL));
	in->batch.epoch = (uint64) DatumGetInt64(pctl_spi_value(0, 3, NULL));
	in->batch.first_seq = (uint64) DatumGetInt64(pctl_spi_value(0, 4, NULL));
	record->data = (const uint8_t *) VARDATA_ANY(bytes);
	record->len = VARSIZE_ANY_EXHDR(bytes);
	if (!DatumGetBool(pctl_spi_value(0, 7, NULL)))
		ereport(ERROR, (errcode(ERRCODE_PCTL_CONFLICT),
		                errmsg("the agent of the record is unknown or revoked")));
	if (strcmp(TextDatumGetCString(pctl_spi_value(0, 8, NULL)), "active") != 0)
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN), errmsg("the tenant is not active")));
	if (strcmp(in->plane, "network") != 0)
		ereport(ERROR, (errcode(ERRCODE_PCTL_INVALID), errmsg("there is no such plane")));
	if (DatumGetInt32(pctl_spi_value(0, 6, NULL)) != (int32) record->len)
		ereport(ERROR, (errcode(ERRCODE_PCTL_CONFLICT),
		                errmsg("only the first %d bytes of the record were kept",
		                       PCTL_DEAD_LETTER_BYTES)));
}

PCTL_FUNCTION(pctl_dead_letter_replay);

/* probectl.dead_letter_replay(dead_letter_id uuid) -> text: "stored", or the reason why not.
 * The ledger row takes it from the dead letters to what was stored, so that the sums stay true. */
Datum
pctl_dead_letter_replay(PG_FUNCTION_ARGS)
{
	static ResultRecord decoded;
	PctlPrincipal who = {.kind = PCTL_PRINCIPAL_NONE, .tenant = *pctl_tenant_required()};
	Ingest in = {.who = &who,
	             .from = {.agent = &who.id, .received_at = pctl_now()},
	             .stored = 1,
	             .dead_lettered = -1};
	Datum args[3] = {UUIDPGetDatum(&who.tenant), PG_GETARG_DATUM(0)};
	Datum position_args[3];
	MemoryContext outer = CurrentMemoryContext;
	ResultStore *store;
	PctlTrusted saved;
	const char *reason;
	text *answer;
	PbSlice record;

	if (!pctl_principal_may(pctl_principal(), pctl_permission_bit("agent.write", 11), NULL))
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN), errmsg("missing permission agent.write")));
	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&letter_lock, args, NULL, false, 1) != 1)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND), errmsg("there is no such dead letter")));
	letter_open(&in, &who, &record);
	store = result_store_begin(&who.tenant);
	result_store_from(store, &in.from);
	reason = result_decode(&decoded, record);
	if (reason == NULL)
		reason = result_store_add(store, &decoded);
	result_store_end(store);
	if (reason == NULL)
	{
		in.dropped_attributes = (int32) decoded.identity_attributes;
		ledger_write(&in, 1);
		position_args[0] = args[0];
		position_args[1] = UUIDPGetDatum(&who.id);
		position_args[2] = CStringGetTextDatum(in.plane);
		pctl_plan_run(&letter_stored, position_args, NULL, false, 0);
		pctl_plan_run(&letter_drop, args, NULL, false, 0);
		pctl_worker_wake_at_commit();
	}
	else
	{
		args[2] = CStringGetTextDatum(reason);
		pctl_plan_run(&letter_reason, args, NULL, false, 0);
	}
	MemoryContextSwitchTo(outer);
	answer = cstring_to_text(reason == NULL ? "stored" : reason);
	SPI_finish();
	pctl_trusted_end(&saved);
	PG_RETURN_TEXT_P(answer);
}
