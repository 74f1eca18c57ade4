/* SPDX-License-Identifier: PostgreSQL
 *
 * chain.c -- hash chains, one a tenant and one of the provider.
 *
 * Canonical form of an event, hashed with SHA-256: the string "probectl.audit.v1", then
 * stream, seq, at, actor, action, target, outcome, data, prev_hash, each as an 8-byte big-endian length
 * and the bytes; numbers are 8 bytes big-endian, time in microseconds since 2000-01-01 UTC. No two
 * events have one form, and an event moved to another stream or time has another.
 *
 * The head (seq, hash) of a chain is read FOR UPDATE by the first append of a transaction and
 * kept here; writing it with every append would leave a dead version each time and make
 * many appends quadratic. A rolled-back savepoint takes back the head as it was when the
 * subtransaction began: saves[] holds one copy for each nesting level that changed it.
 */
#include "audit/chain.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/crypto.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

typedef struct ChainHead
{
	bool loaded; /* the row is locked by this transaction */
	bool dirty;  /* ... and behind what is here */
	int64 seq;
	uint8 hash[PCTL_SHA256_LEN];
} ChainHead;

typedef struct ChainSave
{
	int level; /* nesting level whose abort restores the copy */
	ChainHead head;
} ChainSave;

typedef struct Chain
{
	ChainHead head;
	ChainSave *saves; /* TopTransactionContext */
	int save_count, save_max;
} Chain;

static Chain chains[2]; /* by PctlAuditStream; a transaction has one tenant */

static bool erasing = false;

/* The canonical form is put together here and hashed in one go: a call of the library for each of its
 * twenty parts costs more than hashing them. What does not fit goes on its own. */
typedef struct HashBuffer
{
	size_t len;
	uint8 data[2048];
} HashBuffer;

static inline void
hash_raw(HashBuffer *buffer, const void *data, size_t len)
{
	if (len > sizeof(buffer->data) - buffer->len)
	{
		pctl_sha256_add(buffer->data, buffer->len);
		buffer->len = 0;
	}
	if (len > sizeof(buffer->data))
		pctl_sha256_add(data, len);
	else
	{
		memcpy(buffer->data + buffer->len, data, len);
		buffer->len += len;
	}
}

static inline void
hash_bytes(HashBuffer *buffer, const void *data, size_t len)
{
	uint64 prefix = pg_hton64((uint64) len);

	hash_raw(buffer, &prefix, sizeof(prefix));
	hash_raw(buffer, data, len);
}

static inline void
hash_number(HashBuffer *buffer, int64 value)
{
	uint64 wire = pg_hton64((uint64) value);

	hash_bytes(buffer, &wire, sizeof(wire));
}

static inline void
hash_text(HashBuffer *buffer, PctlAuditText text)
{
	hash_bytes(buffer, text.data, text.len);
}

void
pctl_audit_record_hash(const PctlAuditRecord *r, uint8 digest[PCTL_SHA256_LEN])
{
	static const char version[] = "probectl.audit.v1";
	HashBuffer buffer;

	buffer.len = 0;
	pctl_sha256_begin();
	hash_bytes(&buffer, version, sizeof(version) - 1);
	hash_text(&buffer, r->stream);
	hash_number(&buffer, r->seq);
	hash_number(&buffer, r->at);
	hash_text(&buffer, r->actor);
	hash_text(&buffer, r->action);
	hash_text(&buffer, r->target);
	hash_text(&buffer, r->outcome);
	hash_text(&buffer, r->data);
	hash_bytes(&buffer, r->prev_hash, PCTL_SHA256_LEN);
	pctl_sha256_add(buffer.data, buffer.len);
	pctl_sha256_end(digest);
}

static PctlAuditText
text_of(const char *string)
{
	return (PctlAuditText){string, strlen(string)};
}

static Datum
digest_datum(const uint8 *digest)
{
	bytea *value = palloc(VARHDRSZ + PCTL_SHA256_LEN);

	SET_VARSIZE(value, VARHDRSZ + PCTL_SHA256_LEN);
	memcpy(VARDATA(value), digest, PCTL_SHA256_LEN);
	return PointerGetDatum(value);
}

/* Statements of both streams; those of the tenant take its id first. */
static PctlPlan head_make = {"INSERT INTO probectl.audit_head (tenant_id, seq, hash) VALUES ($1, "
                             "0, $2) ON CONFLICT DO NOTHING",
                             2,
                             {UUIDOID, BYTEAOID}};
static PctlPlan head_lock[2] = {
    {"SELECT h.seq, h.hash FROM probectl.tenant t JOIN probectl.audit_head h ON h.tenant_id = "
     "t.tenant_id"
     " WHERE t.tenant_id = $1 FOR KEY SHARE OF t FOR UPDATE OF h",
     1,
     {UUIDOID}},
    {"SELECT seq, hash FROM probectl_internal.provider_audit_head FOR UPDATE", 0, {0}}};
static PctlPlan head_write[2] = {
    {"UPDATE probectl.audit_head SET seq = $2, hash = $3 WHERE tenant_id = $1",
     3,
     {UUIDOID, INT8OID, BYTEAOID}},
    {"UPDATE probectl_internal.provider_audit_head SET seq = $1, hash = $2",
     2,
     {INT8OID, BYTEAOID}}};

/* Locks the head row and reads it; makes it for a tenant that has none. The tenant's own row is held as its
 * foreign key would hold it, once instead of with every event, and
 * before the head, as whoever changes or erases a tenant does. Inside SPI_connect, trusted. */
static void
head_load(PctlAuditStream stream, ChainHead *head)
{
	static const uint8 genesis[PCTL_SHA256_LEN];
	Datum args[2] = {0};
	bytea *hash;

	if (stream == PCTL_AUDIT_TENANT)
		args[0] = UUIDPGetDatum(pctl_tenant_required());
	if (pctl_plan_run(&head_lock[stream], args, NULL, false, 1) != 1)
	{
		args[1] = digest_datum(genesis);
		pctl_plan_run(&head_make, args, NULL, false, 0);
		if (pctl_plan_run(&head_lock[stream], args, NULL, false, 1) != 1)
			elog(ERROR, "the audit chain has no head");
	}
	head->seq = DatumGetInt64(pctl_spi_value(0, 1, NULL));
	hash = DatumGetByteaPP(pctl_spi_value(0, 2, NULL));
	if (VARSIZE_ANY_EXHDR(hash) != PCTL_SHA256_LEN)
		elog(ERROR, "the head of the audit chain is damaged");
	memcpy(head->hash, VARDATA_ANY(hash), PCTL_SHA256_LEN);
	head->loaded = true;
	head->dirty = false;
}

/* Remembers the head as it is before this nesting level changes it for the first time. */
static void
chain_save(Chain *chain)
{
	int level = GetCurrentTransactionNestLevel();

	if (level == 1 || (chain->save_count > 0 && chain->saves[chain->save_count - 1].level >= level))
		return;
	if (chain->save_count == chain->save_max)
	{
		int max = chain->save_max == 0 ? 8 : chain->save_max * 2;
		size_t size = max * sizeof(ChainSave);

		chain->saves = chain->saves == NULL ? MemoryContextAlloc(TopTransactionContext, size)
		                                    : repalloc(chain->saves, size);
		chain->save_max = max;
	}
	chain->saves[chain->save_count++] = (ChainSave){level, chain->head};
}

static Datum
text_datum(PctlAuditText text)
{
	return PointerGetDatum(cstring_to_text_with_len(text.data, (int) text.len));
}

/* The table by its name: its number changes with DROP EXTENSION and CREATE EXTENSION. */
static Relation
events_open(PctlAuditStream stream)
{
	static const char *const schemas[2] = {"probectl", "probectl_internal"};
	static const char *const names[2] = {"audit_event", "provider_audit_event"};
	static const int columns[2] = {10, 9};
	Oid table = get_relname_relid(names[stream], get_namespace_oid(schemas[stream], false));
	Relation events;

	if (!OidIsValid(table))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
		                errmsg("there is no table %s.%s", schemas[stream], names[stream])));
	events = table_open(table, RowExclusiveLock);
	if (RelationGetNumberOfAttributes(events) != columns[stream])
		elog(ERROR, "unexpected columns in table %s.%s", schemas[stream], names[stream]);
	return events;
}

/*
 * Straight into table and index. An INSERT would plan nothing new, yet pay for the executor, the foreign key,
 * row-level security and the checks with every event, ten times what this costs. Each of them is held otherwise: the key by
 * head_load, the tenant because it is the bound one, outcome and data by event_check.
 */
static void
record_insert(PctlAuditStream stream, const PctlAuditRecord *r, const uint8 *digest)
{
	Relation events = events_open(stream);
	CatalogIndexState indexes = CatalogOpenIndexes(events);
	bool nulls[10] = {false};
	Datum values[10];
	int n = 0;

	if (stream == PCTL_AUDIT_TENANT)
		values[n++] = UUIDPGetDatum(pctl_tenant_required());
	values[n++] = Int64GetDatum(r->seq);
	values[n++] = TimestampTzGetDatum(r->at);
	values[n++] = text_datum(r->actor);
	values[n++] = text_datum(r->action);
	values[n++] = text_datum(r->target);
	values[n++] = text_datum(r->outcome);
	values[n++] = text_datum(r->data);
	values[n++] = digest_datum(r->prev_hash);
	values[n++] = digest_datum(digest);
	CatalogTupleInsertWithInfo(events, heap_form_tuple(RelationGetDescr(events), values, nulls),
	                           indexes);
	CatalogCloseIndexes(indexes);
	table_close(events, NoLock);
}

/* What the constraints of the table say, which record_insert goes past. */
static void
event_check(const PctlAuditEvent *event)
{
	PreventCommandIfReadOnly("audit");
	PreventCommandIfParallelMode("audit");
	if (strcmp(event->outcome, "ok") != 0 && strcmp(event->outcome, "denied") != 0 &&
	    strcmp(event->outcome, "failed") != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_CHECK_VIOLATION),
		         errmsg("the outcome of an audit event must be ok, denied or failed, not \"%s\"",
		                event->outcome)));
	if (!event->data_is_json)
		(void) DirectFunctionCall1(json_in, CStringGetDatum(event->data));
}

static void
head_need(PctlAuditStream stream, ChainHead *head)
{
	PctlTrusted saved;

	if (head->loaded)
		return;
	pctl_trusted_begin(&saved);
	SPI_connect();
	head_load(stream, head);
	SPI_finish();
	pctl_trusted_end(&saved);
}

int64
pctl_audit_append(PctlAuditStream stream, const PctlAuditEvent *event)
{
	Chain *chain = &chains[stream];
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "probectl audit event",
	                                              ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	char tenant[PCTL_UUID_TEXT_LEN + 1] = "provider";
	uint8 digest[PCTL_SHA256_LEN];
	PctlAuditRecord r;

	if (stream == PCTL_AUDIT_TENANT)
		pctl_uuid_text(pctl_tenant_required(), tenant);
	event_check(event);
	chain_save(chain);
	head_need(stream, &chain->head);
	r = (PctlAuditRecord){.stream = text_of(tenant),
	                      .seq = chain->head.seq + 1,
	                      .at = event->at != 0 ? event->at : pctl_now(),
	                      .actor = text_of(event->actor ? event->actor : pctl_principal_name()),
	                      .action = text_of(event->action),
	                      .target = text_of(event->target),
	                      .outcome = text_of(event->outcome),
	                      .data = text_of(event->data),
	                      .prev_hash = chain->head.hash};
	pctl_audit_record_hash(&r, digest);
	record_insert(stream, &r, digest);
	chain->head.seq = r.seq;
	memcpy(chain->head.hash, digest, sizeof(digest));
	chain->head.dirty = true;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return r.seq;
}

bool
pctl_audit_head(PctlAuditStream stream, int64 *seq, uint8 hash[PCTL_SHA256_LEN])
{
	static PctlPlan head_read[2] = {
	    {"SELECT seq, hash FROM probectl.audit_head WHERE tenant_id = $1", 1, {UUIDOID}},
	    {"SELECT seq, hash FROM probectl_internal.provider_audit_head", 0, {0}}};
	ChainHead *head = &chains[stream].head;
	Datum args[1] = {0};
	PctlTrusted saved;
	bool found = true;

	if (head->loaded)
	{
		*seq = head->seq;
		memcpy(hash, head->hash, PCTL_SHA256_LEN);
		return head->seq > 0;
	}
	if (stream == PCTL_AUDIT_TENANT)
		args[0] = UUIDPGetDatum(pctl_tenant_required());
	pctl_trusted_begin(&saved);
	SPI_connect();
	found = pctl_plan_run(&head_read[stream], args, NULL, true, 1) == 1;
	if (found)
	{
		bytea *stored = DatumGetByteaPP(pctl_spi_value(0, 2, NULL));

		*seq = DatumGetInt64(pctl_spi_value(0, 1, NULL));
		/* A damaged one is for verification to name: it equals no digest. */
		memset(hash, 0, PCTL_SHA256_LEN);
		if (VARSIZE_ANY_EXHDR(stored) == PCTL_SHA256_LEN)
			memcpy(hash, VARDATA_ANY(stored), PCTL_SHA256_LEN);
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	return found && *seq > 0;
}

bool
pctl_audit_erasing_now(void)
{
	return erasing;
}

/* Writes the heads that moved, as the last thing before commit. */
static void
heads_write(void)
{
	PctlTrusted saved;

	if (!chains[PCTL_AUDIT_TENANT].head.dirty && !chains[PCTL_AUDIT_PROVIDER].head.dirty)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	pctl_trusted_begin(&saved);
	SPI_connect();
	for (int stream = 0; stream < 2; stream++)
	{
		ChainHead *head = &chains[stream].head;
		Datum args[3];
		int n = 0;

		if (!head->dirty)
			continue;
		if (stream == PCTL_AUDIT_TENANT)
			args[n++] = UUIDPGetDatum(pctl_tenant_required());
		args[n++] = Int64GetDatum(head->seq);
		args[n++] = digest_datum(head->hash);
		pctl_plan_run(&head_write[stream], args, NULL, false, 0);
		if (SPI_processed != 1)
			elog(ERROR, "the head of the audit chain is gone");
		head->dirty = false;
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	PopActiveSnapshot();
}

static void
chain_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE: heads_write(); break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			memset(chains, 0, sizeof(chains));
			erasing = false;
			break;
		default: break;
	}
}

/* Abort of a level brings its saved head back; commit hands the save to the level above,
 * unless that has an older one of its own. */
static void
chain_subxact(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int stream = 0; stream < 2; stream++)
	{
		Chain *chain = &chains[stream];
		ChainSave *top;

		if (chain->save_count == 0)
			continue;
		top = &chain->saves[chain->save_count - 1];
		if (top->level != level)
			continue;
		if (event == SUBXACT_EVENT_ABORT_SUB)
			chain->head = top->head;
		if (event == SUBXACT_EVENT_COMMIT_SUB && level > 2 &&
		    !(chain->save_count > 1 && top[-1].level == level - 1))
			top->level = level - 1;
		else
			chain->save_count--;
	}
}

void
pctl_audit_init(void)
{
	RegisterXactCallback(chain_xact, NULL);
	RegisterSubXactCallback(chain_subxact, NULL);
}

static Datum
append_sql(PctlAuditStream stream, FunctionCallInfo fcinfo)
{
	PctlAuditEvent event = {.action = text_to_cstring(PG_GETARG_TEXT_PP(0)),
	                        .target = text_to_cstring(PG_GETARG_TEXT_PP(1)),
	                        .outcome = text_to_cstring(PG_GETARG_TEXT_PP(2)),
	                        .data = text_to_cstring(PG_GETARG_TEXT_PP(3)),
	                        .data_is_json = true};

	PG_RETURN_INT64(pctl_audit_append(stream, &event));
}

PCTL_FUNCTION(pctl_audit_append_sql);

Datum
pctl_audit_append_sql(PG_FUNCTION_ARGS)
{
	return append_sql(PCTL_AUDIT_TENANT, fcinfo);
}

PCTL_FUNCTION(pctl_provider_audit_append_sql);

Datum
pctl_provider_audit_append_sql(PG_FUNCTION_ARGS)
{
	return append_sql(PCTL_AUDIT_PROVIDER, fcinfo);
}

PCTL_FUNCTION(pctl_audit_hash);

/* probectl_internal.audit_hash(stream, seq, at, actor, action, target, outcome, data, prev_hash) */
Datum
pctl_audit_hash(PG_FUNCTION_ARGS)
{
	bytea *prev = PG_GETARG_BYTEA_PP(8);
	uint8 digest[PCTL_SHA256_LEN];
	PctlAuditRecord r = {.stream = text_of(text_to_cstring(PG_GETARG_TEXT_PP(0))),
	                     .seq = PG_GETARG_INT64(1),
	                     .at = PG_GETARG_TIMESTAMPTZ(2),
	                     .actor = text_of(text_to_cstring(PG_GETARG_TEXT_PP(3))),
	                     .action = text_of(text_to_cstring(PG_GETARG_TEXT_PP(4))),
	                     .target = text_of(text_to_cstring(PG_GETARG_TEXT_PP(5))),
	                     .outcome = text_of(text_to_cstring(PG_GETARG_TEXT_PP(6))),
	                     .data = text_of(text_to_cstring(PG_GETARG_TEXT_PP(7))),
	                     .prev_hash = (const uint8 *) VARDATA_ANY(prev)};

	if (VARSIZE_ANY_EXHDR(prev) != PCTL_SHA256_LEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("prev_hash must be %d bytes", PCTL_SHA256_LEN)));
	pctl_audit_record_hash(&r, digest);
	PG_RETURN_DATUM(digest_datum(digest));
}

PCTL_FUNCTION(pctl_audit_erasing);

/* probectl_internal.erasing(on_off boolean); executable by probectl_owner alone */
Datum
pctl_audit_erasing(PG_FUNCTION_ARGS)
{
	erasing = PG_GETARG_BOOL(0);
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_audit_is_erasing);

/* probectl_internal.is_erasing() -> boolean */
Datum
pctl_audit_is_erasing(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(erasing);
}
