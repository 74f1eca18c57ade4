/* SPDX-License-Identifier: PostgreSQL
 *
 * verify.c -- reading a chain: verification, folding into the Merkle tree, proofs.
 *
 * Everything is read through one cursor in order of seq, a thousand rows at a time, without copying
 * fields. A tenant's chain is read as the caller, under row-level security; the provider's as
 * probectl_owner, because nobody else may. Verification trusts nothing but the hashes, the
 * signatures and the list of our public keys: the head row and the checkpoints are checked
 * against the events, so cutting the newest events and the head with them still shows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "audit/chain.h"
#include "audit/merkle.h"
#include "catalog/pg_type.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FETCH_ROWS 1000

/* Columns of the cursor below, from 0. */
enum
{
	COL_SEQ,
	COL_AT,
	COL_ACTOR,
	COL_ACTION,
	COL_TARGET,
	COL_OUTCOME,
	COL_DATA,
	COL_PREV_HASH,
	COL_HASH,
	COL_COUNT
};

static const char *const events_sql[2] = {
    "SELECT seq, at, actor, action, target, outcome, data, prev_hash, hash FROM "
    "probectl.audit_event"
    " WHERE tenant_id OPERATOR(pg_catalog.=) $3 AND seq OPERATOR(pg_catalog.>) $1 AND seq "
    "OPERATOR(pg_catalog.<=) $2 ORDER BY seq",
    "SELECT seq, at, actor, action, target, outcome, data, prev_hash, hash FROM "
    "probectl_internal.provider_audit_event"
    " WHERE seq OPERATOR(pg_catalog.>) $1 AND seq OPERATOR(pg_catalog.<=) $2 ORDER BY seq"};

/* Columns: size, prev_size, head_hash, root, frontier, whether key and signature hold. */
static const char *const checkpoints_sql[2] = {
    "SELECT c.size, c.prev_size, c.head_hash, c.root, c.frontier, "
    "probectl_internal.signing_key_known(c.public_key) AND probectl.signature_verify(c.public_key,"
    "  convert_to(probectl_internal.checkpoint_text($1::text, c.size, c.prev_size, c.at, "
    "c.head_hash, c.root), 'UTF8'), c.signature)"
    "  FROM probectl.audit_checkpoint c WHERE c.tenant_id OPERATOR(pg_catalog.=) $1 ORDER BY "
    "c.size",
    "SELECT c.size, c.prev_size, c.head_hash, c.root, c.frontier, "
    "probectl_internal.signing_key_known(c.public_key) AND probectl.signature_verify(c.public_key,"
    "  convert_to(probectl_internal.checkpoint_text('provider', c.size, c.prev_size, c.at, "
    "c.head_hash, c.root), 'UTF8'), c.signature)"
    "  FROM probectl_internal.provider_audit_checkpoint c ORDER BY c.size"};

static const char *const pruned_sql[2] = {
    "SELECT pruned_seq, pruned_hash, pruned_frontier, checkpoint_size FROM probectl.audit_head "
    "WHERE tenant_id OPERATOR(pg_catalog.=) $1",
    "SELECT pruned_seq, pruned_hash, pruned_frontier, checkpoint_size FROM "
    "probectl_internal.provider_audit_head"};

typedef struct Pruned
{
	bool found; /* the chain has a head row */
	bool sound; /* ... of which hash and frontier fit the size */
	int64 seq, checkpoint_size;
	uint8 hash[PCTL_SHA256_LEN];
	MerkleFrontier frontier;
} Pruned;

typedef struct CheckpointRow
{
	int64 size, prev_size;
	uint8 head_hash[PCTL_SHA256_LEN];
	MerkleFrontier frontier;
	bool good; /* key, signature, and the frontier has the root that was signed */
} CheckpointRow;

/* Called for each event in order; false ends the walk. */
typedef bool (*EventVisit)(void *arg, const PctlAuditRecord *record, const uint8 *hash, bool sound);

static PctlAuditText
text_slice(Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	return (PctlAuditText){VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)};
}

/* One row; sound is false when a hash has not 32 bytes. */
static bool
row_visit(HeapTuple tuple, TupleDesc desc, PctlAuditText stream, EventVisit visit, void *arg)
{
	static const uint8 nothing[PCTL_SHA256_LEN];
	Datum values[COL_COUNT];
	bool nulls[COL_COUNT];
	PctlAuditRecord record;
	PctlAuditText prev, hash;
	bool sound;

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < COL_COUNT; i++)
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
			                errmsg("an event of the audit chain has a column that is null")));
	record.stream = stream;
	record.seq = DatumGetInt64(values[COL_SEQ]);
	record.at = DatumGetTimestampTz(values[COL_AT]);
	record.actor = text_slice(values[COL_ACTOR]);
	record.action = text_slice(values[COL_ACTION]);
	record.target = text_slice(values[COL_TARGET]);
	record.outcome = text_slice(values[COL_OUTCOME]);
	record.data = text_slice(values[COL_DATA]);
	prev = text_slice(values[COL_PREV_HASH]);
	hash = text_slice(values[COL_HASH]);
	sound = prev.len == PCTL_SHA256_LEN && hash.len == PCTL_SHA256_LEN;
	record.prev_hash = sound ? (const uint8 *) prev.data : nothing;
	return visit(arg, &record, sound ? (const uint8 *) hash.data : nothing, sound);
}

/*
 * Walks events with after < seq <= upto: a tenant's under the policies of the caller, the provider's
 * as the owner, since nobody has a grant on them. Inside SPI_connect.
 */
static void
events_walk(PctlAuditStream stream, int64 after, int64 upto, EventVisit visit, void *arg)
{
	Oid types[3] = {INT8OID, INT8OID, UUIDOID};
	char tenant[PCTL_UUID_TEXT_LEN + 1] = "provider";
	Datum args[3] = {Int64GetDatum(after), Int64GetDatum(upto), 0};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "probectl audit rows",
	                                            ALLOCSET_DEFAULT_SIZES);
	PctlAuditText name;
	PctlTrusted saved;
	SPIPlanPtr plan;
	Portal portal;
	bool go = true;

	if (stream == PCTL_AUDIT_PROVIDER)
		pctl_trusted_begin(&saved);
	else
	{
		args[2] = UUIDPGetDatum(pctl_tenant_required());
		pctl_uuid_text(pctl_tenant_required(), tenant);
	}
	name = (PctlAuditText){tenant, strlen(tenant)};
	plan = SPI_prepare(events_sql[stream], stream == PCTL_AUDIT_TENANT ? 3 : 2, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare the walk of the audit chain");
	portal = SPI_cursor_open(NULL, plan, args, NULL, true);
	while (go)
	{
		SPITupleTable *rows;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		rows = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(batch);
		for (uint64 i = 0; go && i < rows->numvals; i++)
			go = row_visit(rows->vals[i], rows->tupdesc, name, visit, arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch);
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
	if (stream == PCTL_AUDIT_PROVIDER)
		pctl_trusted_end(&saved);
}

/* One statement with the tenant as its only parameter, if the stream has one. */
static uint64
stream_query(PctlAuditStream stream, const char *const sql[2])
{
	Oid types[1] = {UUIDOID};
	Datum args[1] = {0};
	PctlTrusted saved;

	if (stream == PCTL_AUDIT_TENANT)
		args[0] = UUIDPGetDatum(pctl_tenant_required());
	pctl_trusted_begin(&saved);
	if (SPI_execute_with_args(sql[stream], stream == PCTL_AUDIT_TENANT ? 1 : 0, types, args, NULL,
	                          true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the audit chain");
	pctl_trusted_end(&saved);
	return SPI_processed;
}

static void
pruned_read(PctlAuditStream stream, Pruned *pruned)
{
	bytea *hash;

	memset(pruned, 0, sizeof(*pruned));
	pruned->sound = true;
	if (stream_query(stream, pruned_sql) == 0)
		return;
	pruned->found = true;
	pruned->seq = DatumGetInt64(pctl_spi_value(0, 1, NULL));
	pruned->checkpoint_size = DatumGetInt64(pctl_spi_value(0, 4, NULL));
	hash = DatumGetByteaPP(pctl_spi_value(0, 2, NULL));
	pruned->sound = pruned->seq >= 0 && VARSIZE_ANY_EXHDR(hash) == PCTL_SHA256_LEN &&
	                merkle_load(&pruned->frontier, (uint64) pruned->seq,
	                            DatumGetByteaPP(pctl_spi_value(0, 3, NULL)));
	if (pruned->sound)
		memcpy(pruned->hash, VARDATA_ANY(hash), PCTL_SHA256_LEN);
}

typedef struct Verification
{
	int64 expected, events, first_bad;
	const char *reason;
	uint8 prev[PCTL_SHA256_LEN];
	CheckpointRow *checkpoints;
	uint64 checkpoint_count, next_checkpoint;
} Verification;

static bool
verify_bad(Verification *v, int64 seq, const char *reason)
{
	v->first_bad = seq;
	v->reason = reason;
	return false;
}

static bool
verify_event(void *arg, const PctlAuditRecord *record, const uint8 *hash, bool sound)
{
	Verification *v = arg;
	uint8 digest[PCTL_SHA256_LEN];

	if (record->seq < v->expected)
		return verify_bad(v, record->seq, "an event is there that was pruned or never was");
	if (record->seq != v->expected)
		return verify_bad(v, v->expected, "an event is missing");
	if (!sound)
		return verify_bad(v, v->expected, "the event was changed");
	if (memcmp(record->prev_hash, v->prev, PCTL_SHA256_LEN) != 0)
		return verify_bad(v, v->expected, "the event does not follow the one before it");
	pctl_audit_record_hash(record, digest);
	if (memcmp(digest, hash, PCTL_SHA256_LEN) != 0)
		return verify_bad(v, v->expected, "the event was changed");
	memcpy(v->prev, digest, PCTL_SHA256_LEN);
	v->expected++;
	v->events++;
	if (v->next_checkpoint < v->checkpoint_count &&
	    v->checkpoints[v->next_checkpoint].size == record->seq)
	{
		CheckpointRow *checkpoint = &v->checkpoints[v->next_checkpoint++];

		if (memcmp(checkpoint->head_hash, digest, PCTL_SHA256_LEN) != 0)
			return verify_bad(v, record->seq, "the chain is not the one a checkpoint was made of");
	}
	return true;
}

static void
checkpoints_read(PctlAuditStream stream, Verification *v)
{
	v->checkpoint_count = stream_query(stream, checkpoints_sql);
	v->checkpoints = palloc(Max(v->checkpoint_count, 1) * sizeof(CheckpointRow));
	for (uint64 i = 0; i < v->checkpoint_count; i++)
	{
		CheckpointRow *c = &v->checkpoints[i];
		bytea *hash = DatumGetByteaPP(pctl_spi_value(i, 3, NULL));
		bytea *signed_root = DatumGetByteaPP(pctl_spi_value(i, 4, NULL));
		MerkleNode root;

		c->size = DatumGetInt64(pctl_spi_value(i, 1, NULL));
		c->prev_size = DatumGetInt64(pctl_spi_value(i, 2, NULL));
		c->good = DatumGetBool(pctl_spi_value(i, 6, NULL)) &&
		          VARSIZE_ANY_EXHDR(hash) == PCTL_SHA256_LEN &&
		          VARSIZE_ANY_EXHDR(signed_root) == PCTL_SHA256_LEN &&
		          merkle_load(&c->frontier, (uint64) c->size,
		                      DatumGetByteaPP(pctl_spi_value(i, 5, NULL)));
		if (!c->good)
			continue;
		memcpy(c->head_hash, VARDATA_ANY(hash), PCTL_SHA256_LEN);
		/* The frontier is not signed; no other one of that size has the root that is. */
		merkle_root(&c->frontier, &root);
		c->good = memcmp(root.hash, VARDATA_ANY(signed_root), PCTL_SHA256_LEN) == 0;
	}
}

/* Checkpoints name the one before them, the head names the newest: none can be taken out. The first that is left
 * names none, or is the one at which retention has cut. */
static bool
verify_checkpoints(const Pruned *pruned, Verification *v)
{
	int64 before = 0;

	for (uint64 i = 0; i < v->checkpoint_count; i++)
	{
		const CheckpointRow *c = &v->checkpoints[i];

		if (!c->good)
			return verify_bad(v, c->size,
			                  "a checkpoint was changed, or its key is not one of ours");
		if (i == 0 && pruned->seq > 0 ? c->size != pruned->seq : c->prev_size != before)
			return verify_bad(v, i == 0 && pruned->seq > 0 ? pruned->seq : c->prev_size,
			                  "a checkpoint is missing");
		before = c->size;
	}
	if (before != pruned->checkpoint_size)
		return verify_bad(v, Max(before, pruned->checkpoint_size),
		                  "the newest checkpoint is missing");
	return true;
}

/* A cut is believed only when a signed checkpoint of that size has the hash and the frontier the head row names. */
static bool
verify_start(const Pruned *pruned, Verification *v)
{
	static const uint8 genesis[PCTL_SHA256_LEN];
	const CheckpointRow *cut = v->checkpoints;

	v->expected = pruned->seq + 1;
	memcpy(v->prev, pruned->hash, PCTL_SHA256_LEN);
	if (!pruned->sound)
		return verify_bad(v, Max(pruned->seq, 0), "the head of the chain was changed");
	if (!verify_checkpoints(pruned, v))
		return false;
	if (pruned->seq == 0)
		return memcmp(pruned->hash, genesis, PCTL_SHA256_LEN) == 0 ||
		       verify_bad(v, 0, "the head of the chain was changed");
	if (v->checkpoint_count == 0 || memcmp(cut->head_hash, pruned->hash, PCTL_SHA256_LEN) != 0 ||
	    memcmp(cut->frontier.nodes, pruned->frontier.nodes,
	           pruned->frontier.count * sizeof(MerkleNode)) != 0)
		return verify_bad(v, pruned->seq,
		                  "events are missing before the first, and no checkpoint tells why");
	v->next_checkpoint = 1;
	return true;
}

static void
verify_end(PctlAuditStream stream, const Pruned *pruned, Verification *v)
{
	uint8 head[PCTL_SHA256_LEN] = {0};
	int64 seq = 0;

	/* A head that was not written yet is this transaction's own. */
	if (!pctl_audit_head(stream, &seq, head) && !pruned->found)
		(void) verify_bad(v, v->expected, "the chain has no head");
	else if (seq < v->expected - 1)
		(void) verify_bad(v, seq + 1, "events are there that the head does not know");
	else if (v->next_checkpoint < v->checkpoint_count || seq != v->expected - 1)
		(void) verify_bad(v, v->expected, "the newest events are missing");
	else if (memcmp(head, v->prev, PCTL_SHA256_LEN) != 0)
		(void) verify_bad(v, seq, "the head of the chain was changed");
}

static Datum
verify_stream(FunctionCallInfo fcinfo, PctlAuditStream stream)
{
	Verification v = {0};
	Pruned pruned;
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SPI_connect();
	pruned_read(stream, &pruned);
	checkpoints_read(stream, &v);
	if (verify_start(&pruned, &v))
		events_walk(stream, PG_INT64_MIN, PG_INT64_MAX, verify_event, &v);
	if (v.reason == NULL)
		verify_end(stream, &pruned, &v);
	SPI_finish();
	values[0] = BoolGetDatum(v.reason == NULL);
	values[1] = Int64GetDatum(v.events);
	values[2] = Int64GetDatum(v.first_bad);
	values[3] = v.reason ? CStringGetTextDatum(v.reason) : (Datum) 0;
	nulls[2] = nulls[3] = v.reason == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PCTL_FUNCTION(pctl_audit_verify);

Datum
pctl_audit_verify(PG_FUNCTION_ARGS)
{
	(void) pctl_tenant_required();
	return verify_stream(fcinfo, PCTL_AUDIT_TENANT);
}

PCTL_FUNCTION(pctl_provider_audit_verify);

Datum
pctl_provider_audit_verify(PG_FUNCTION_ARGS)
{
	return verify_stream(fcinfo, PCTL_AUDIT_PROVIDER);
}

typedef struct Fold
{
	MerkleFrontier *frontier;
	uint8 head[PCTL_SHA256_LEN];
	uint64 leaf; /* hash of this seq is wanted ... */
	uint8 leaf_hash[PCTL_SHA256_LEN];
} Fold;

static bool
fold_event(void *arg, const PctlAuditRecord *record, const uint8 *hash, bool sound)
{
	Fold *fold = arg;

	if ((uint64) record->seq != fold->frontier->size + 1 || !sound)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("the audit chain is broken at event " INT64_FORMAT, record->seq),
		                errhint("Run SELECT * FROM probectl.audit_verify().")));
	merkle_add(fold->frontier, hash);
	memcpy(fold->head, hash, PCTL_SHA256_LEN);
	return true;
}

static Datum
bytea_datum(const uint8 *data, size_t len)
{
	bytea *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return PointerGetDatum(value);
}

PCTL_FUNCTION(pctl_audit_fold);

/* audit_fold(provider, from_size, frontier, upto, OUT folded, OUT root, OUT head_hash); trusted callers only */
Datum
pctl_audit_fold(PG_FUNCTION_ARGS)
{
	PctlAuditStream stream = PG_GETARG_BOOL(0) ? PCTL_AUDIT_PROVIDER : PCTL_AUDIT_TENANT;
	MerkleFrontier frontier;
	Fold fold = {.frontier = &frontier};
	MerkleNode root;
	TupleDesc desc;
	Datum values[3];
	bool nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!merkle_load(&frontier, (uint64) PG_GETARG_INT64(1), PG_GETARG_BYTEA_PP(2)))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("a checkpoint of the audit chain is damaged")));
	SPI_connect();
	events_walk(stream, PG_GETARG_INT64(1), PG_GETARG_INT64(3), fold_event, &fold);
	SPI_finish();
	merkle_root(&frontier, &root);
	values[0] = PointerGetDatum(merkle_store(&frontier));
	values[1] = bytea_datum(root.hash, PCTL_SHA256_LEN);
	values[2] = bytea_datum(fold.head, PCTL_SHA256_LEN);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Leaves for merkle.c: hashes were read once into an array. */
typedef struct LeafArray
{
	uint64 first; /* leaf index of hashes[0] */
	uint64 count, max;
	MerkleNode *hashes;
} LeafArray;

static void
leaves_give(void *arg, uint64 first, uint64 last, MerkleFrontier *into)
{
	LeafArray *leaves = arg;

	for (uint64 i = first; i < last; i++)
		merkle_add(into, leaves->hashes[i - leaves->first].hash);
}

static bool
leaf_keep(void *arg, const PctlAuditRecord *record, const uint8 *hash, bool sound)
{
	LeafArray *leaves = arg;

	if (!sound || leaves->count == leaves->max ||
	    (uint64) record->seq != leaves->first + leaves->count + 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("the audit chain is broken at event " INT64_FORMAT, record->seq),
		                errhint("Run SELECT * FROM probectl.audit_verify().")));
	memcpy(leaves->hashes[leaves->count++].hash, hash, PCTL_SHA256_LEN);
	return true;
}

/* A chain's tree of a size (NULL: as it is), its leaves in memory. Inside SPI_connect. */
static void
tree_open(FunctionCallInfo fcinfo, PctlAuditStream stream, int size_arg, MerkleTree *tree,
          LeafArray *leaves)
{
	uint8 head[PCTL_SHA256_LEN];
	int64 seq = 0;
	Pruned pruned;

	(void) pctl_audit_head(stream, &seq, head);
	pruned_read(stream, &pruned);
	if (!pruned.sound)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the head of the audit chain is damaged"),
		         errhint("Run SELECT * FROM probectl.audit_verify().")));
	memset(tree, 0, sizeof(*tree));
	tree->size = PG_ARGISNULL(size_arg) ? (uint64) seq : (uint64) PG_GETARG_INT64(size_arg);
	if (tree->size == 0 || tree->size > (uint64) seq || tree->size < (uint64) pruned.seq)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND),
		                errmsg("the chain has no state of that size"), errdetail("field: size")));
	tree->pruned = pruned.frontier;
	tree->leaves = leaves_give;
	tree->arg = leaves;
	leaves->first = (uint64) pruned.seq;
	leaves->count = 0;
	leaves->max = tree->size - leaves->first;
	leaves->hashes = MemoryContextAllocHuge(CurrentMemoryContext,
	                                        Max(leaves->max, 1) * sizeof(MerkleNode));
	events_walk(stream, pruned.seq, (int64) tree->size, leaf_keep, leaves);
	if (leaves->count != leaves->max)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the audit chain lacks events"),
		                errhint("Run SELECT * FROM probectl.audit_verify().")));
}

static Datum
proof_datum(const MerkleNode *proof, int count)
{
	Datum nodes[MERKLE_NODES_MAX];

	if (count < 0)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND),
		                errmsg("retention has taken a node this proof needs")));
	for (int i = 0; i < count; i++)
		nodes[i] = bytea_datum(proof[i].hash, PCTL_SHA256_LEN);
	return pctl_array(nodes, NULL, count, BYTEAOID);
}

/* audit_inclusion(seq bigint, size bigint, OUT leaf_hash bytea, OUT tree_size bigint, OUT proof bytea[]) */
static Datum
inclusion_of(FunctionCallInfo fcinfo, PctlAuditStream stream)
{
	MerkleNode proof[MERKLE_NODES_MAX];
	MerkleNode leaf;
	MerkleTree tree;
	LeafArray leaves;
	TupleDesc desc;
	Datum values[3];
	bool nulls[3] = {false};
	int64 seq;
	int count;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	seq = PG_GETARG_INT64(0);
	SPI_connect();
	tree_open(fcinfo, stream, 1, &tree, &leaves);
	if (seq <= (int64) leaves.first || seq > (int64) tree.size)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND),
		                errmsg("there is no such event in a chain of that size"),
		                errdetail("field: seq")));
	leaf = leaves.hashes[seq - 1 - (int64) leaves.first];
	count = merkle_inclusion(&tree, (uint64) seq - 1, proof);
	SPI_finish();
	values[0] = bytea_datum(leaf.hash, PCTL_SHA256_LEN);
	values[1] = Int64GetDatum((int64) tree.size);
	values[2] = proof_datum(proof, count);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* audit_consistency(first bigint, second bigint, OUT tree_size bigint, OUT proof bytea[]) */
static Datum
consistency_of(FunctionCallInfo fcinfo, PctlAuditStream stream)
{
	MerkleNode proof[MERKLE_NODES_MAX];
	MerkleTree tree;
	LeafArray leaves;
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = {false};
	int count;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SPI_connect();
	tree_open(fcinfo, stream, 1, &tree, &leaves);
	if (PG_GETARG_INT64(0) < 1 || PG_GETARG_INT64(0) > (int64) tree.size)
		ereport(ERROR,
		        (errcode(ERRCODE_PCTL_NOT_FOUND),
		         errmsg("the first size must be from 1 to the second"), errdetail("field: first")));
	count = merkle_consistency(&tree, (uint64) PG_GETARG_INT64(0), proof);
	SPI_finish();
	values[0] = Int64GetDatum((int64) tree.size);
	values[1] = proof_datum(proof, count);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PCTL_FUNCTION(pctl_audit_inclusion);

Datum
pctl_audit_inclusion(PG_FUNCTION_ARGS)
{
	return inclusion_of(fcinfo, PCTL_AUDIT_TENANT);
}

PCTL_FUNCTION(pctl_provider_audit_inclusion);

Datum
pctl_provider_audit_inclusion(PG_FUNCTION_ARGS)
{
	return inclusion_of(fcinfo, PCTL_AUDIT_PROVIDER);
}

PCTL_FUNCTION(pctl_audit_consistency);

Datum
pctl_audit_consistency(PG_FUNCTION_ARGS)
{
	return consistency_of(fcinfo, PCTL_AUDIT_TENANT);
}

PCTL_FUNCTION(pctl_provider_audit_consistency);

Datum
pctl_provider_audit_consistency(PG_FUNCTION_ARGS)
{
	return consistency_of(fcinfo, PCTL_AUDIT_PROVIDER);
}
