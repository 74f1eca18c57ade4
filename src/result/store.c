/* SPDX-License-Identifier: PostgreSQL
 *
 * store.c -- results by multi-insert, 128 slots at a time (the measured optimum: larger batches
 * fall out of the cache, smaller ones pay for WAL records).
 *
 * Values of a slot live in a context that is reset after each flush. Records of a batch come in
 * order of time, so one leaf partition is open at a time; a record of another day flushes and
 * switches. Routing is the executor's own, so a missing partition is the server's own error: the
 * producer keeps the batch and the keeper makes the partition.
 */
#include "result/store.h"

#include <math.h>

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "core/crypto.h"
#include "core/errors.h"
#include "core/guc.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define SLOTS_MAX 128

/* Columns of probectl.result, in order. */
enum
{
	COL_TENANT_ID,
	COL_TEST_ID,
	COL_AGENT_ID,
	COL_STARTED_AT,
	COL_RECEIVED_AT,
	COL_RESULT_ID,
	COL_TYPE,
	COL_TARGET,
	COL_PORT,
	COL_TRANSPORT,
	COL_PROTOCOL,
	COL_SUCCESS,
	COL_ERROR_TYPE,
	COL_ERROR,
	COL_DURATION_US,
	COL_LATENCY_MS,
	COL_LOSS_RATIO,
	COL_METRICS,
	COL_ATTRIBUTES,
	COL_COUNT
};

/* The metric a type is judged by at a glance. A type without a row uses the duration. */
static const struct
{
	const char *type;
	const char *metric;
} headline_metrics[] = {
    {"a2a", "rtt.avg.ms"},  {"dns", "dns.query.ms"},   {"http", "http.total.ms"},
    {"icmp", "rtt.avg.ms"}, {"tcp", "connect.avg.ms"}, {"udp", "rtt.avg.ms"},
};

struct ResultStore
{
	pg_uuid_t tenant;
	ResultSender *from; /* of the records that come now */
	TimestampTz oldest, newest;
	Relation root;
	EState *estate;
	ModifyTableState *mtstate;
	ResultRelInfo *root_info;
	PartitionTupleRouting *routing;
	TupleTableSlot *root_slot;
	ResultRelInfo *leaf; /* of the slots waiting, or NULL */
	BulkInsertState bistate;
	TupleTableSlot *slots[SLOTS_MAX];
	ResultSender *senders[SLOTS_MAX]; /* of each */
	int nslots, nslots_made;
	MemoryContext values;
	CommandId cid;
};

static void
executor_open(ResultStore *s)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(s->root);
	rte->relkind = s->root->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	rte->requiredPerms = ACL_INSERT;
	s->estate = CreateExecutorState();
	ExecInitRangeTable(s->estate, list_make1(rte));
	s->root_info = makeNode(ResultRelInfo);
	ExecInitResultRelation(s->estate, s->root_info, 1);
	s->mtstate = makeNode(ModifyTableState);
	s->mtstate->ps.state = s->estate;
	s->mtstate->operation = CMD_INSERT;
	s->mtstate->mt_nrels = 1;
	s->mtstate->resultRelInfo = s->root_info;
	s->mtstate->rootResultRelInfo = s->root_info;
	s->routing = ExecSetupPartitionTupleRouting(s->estate, s->root);
	s->root_slot = table_slot_create(s->root, &s->estate->es_tupleTable);
}

ResultStore *
result_store_begin(const pg_uuid_t *tenant)
{
	ResultStore *s = palloc0(sizeof(*s));

	s->tenant = *tenant;
	s->root = table_open(get_relname_relid("result", get_namespace_oid("probectl", false)),
	                     RowExclusiveLock);
	if (RelationGetDescr(s->root)->natts != COL_COUNT)
		elog(ERROR, "probectl.result has %d columns, expected %d", RelationGetDescr(s->root)->natts,
		     COL_COUNT);
	executor_open(s);
	s->values = AllocSetContextCreate(CurrentMemoryContext, "probectl result values",
	                                  ALLOCSET_DEFAULT_SIZES);
	s->bistate = GetBulkInsertState();
	s->cid = GetCurrentCommandId(true);
	return s;
}

void
result_store_from(ResultStore *s, ResultSender *sender)
{
	s->from = sender;
	s->oldest = sender->received_at - (int64) pctl_result_retention * USECS_PER_DAY;
	s->newest = sender->received_at + PCTL_FUTURE_SECONDS_MAX * USECS_PER_SEC;
}

static ResultStorePart *
part_of(ResultSender *sender, Oid leaf)
{
	ResultStorePart *part;
	ListCell *cell;

	foreach (cell, sender->parts)
	{
		part = lfirst(cell);
		if (part->leaf == leaf)
			return part;
	}
	part = palloc0(sizeof(*part));
	part->leaf = leaf;
	part->block_first = InvalidBlockNumber;
	part->started_min = DT_NOEND;
	part->started_max = DT_NOBEGIN;
	sender->parts = lappend(sender->parts, part);
	return part;
}

static void
part_count(ResultStorePart *part, TupleTableSlot *slot)
{
	BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);
	TimestampTz started = DatumGetTimestampTz(slot->tts_values[COL_STARTED_AT]);

	if (part->block_first == InvalidBlockNumber || block < part->block_first)
		part->block_first = block;
	if (part->count == 0 || block > part->block_last)
		part->block_last = block;
	part->started_min = Min(part->started_min, started);
	part->started_max = Max(part->started_max, started);
	part->count++;
}

static void
store_flush(ResultStore *s)
{
	MemoryContext old;

	if (s->nslots == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(s->estate));
	table_multi_insert(s->leaf->ri_RelationDesc, s->slots, s->nslots, s->cid, 0, s->bistate);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < s->nslots; i++)
	{
		if (s->leaf->ri_NumIndices > 0)
			list_free(
			    ExecInsertIndexTuples(s->leaf, s->slots[i], s->estate, false, false, NULL, NIL));
		part_count(part_of(s->senders[i], RelationGetRelid(s->leaf->ri_RelationDesc)), s->slots[i]);
		ExecClearTuple(s->slots[i]);
		ResetPerTupleExprContext(s->estate);
	}
	s->nslots = 0;
	MemoryContextReset(s->values);
}

/* Other partition: flush, let the pinned page go, make slots of the new leaf. */
static void
leaf_switch(ResultStore *s, ResultRelInfo *leaf)
{
	store_flush(s);
	ReleaseBulkInsertStatePin(s->bistate);
	for (int i = 0; i < s->nslots_made; i++)
		ExecDropSingleTupleTableSlot(s->slots[i]);
	s->nslots_made = 0;
	s->leaf = leaf;
}

static Datum
text_datum(PbSlice text)
{
	return PointerGetDatum(cstring_to_text_with_len((const char *) text.data, (int) text.len));
}

static Datum
uuid_datum(const uint8 *bytes)
{
	pg_uuid_t *uuid = palloc(sizeof(*uuid));

	memcpy(uuid->data, bytes, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

/* Most metrics are whole or have three decimals: those become numeric by integer arithmetic, the
 * rest by printing. */
static Numeric
metric_numeric(double value)
{
	double scaled = value * 1000.0;
	double whole = rint(scaled);

	if (fabs(whole) < 1e15 && fabs(scaled - whole) <= fabs(scaled) * 1e-14)
	{
		int64 n = (int64) whole;
		int decimals = 3;

		while (decimals > 0 && n % 10 == 0)
		{
			n /= 10;
			decimals--;
		}
		return decimals == 0 ? int64_to_numeric(n) : int64_div_fast_to_numeric(n, decimals);
	}
	return DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(value)));
}

static Datum
metrics_jsonb(const ResultRecord *r)
{
	JsonbParseState *state = NULL;
	JsonbValue key = {.type = jbvString}, value = {.type = jbvNumeric};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (uint32 i = 0; i < r->metric_count; i++)
	{
		key.val.string.val = unconstify(char *, (const char *) r->metrics[i].name.data);
		key.val.string.len = (int) r->metrics[i].name.len;
		value.val.numeric = metric_numeric(r->metrics[i].value);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Datum
attributes_jsonb(const ResultRecord *r)
{
	JsonbParseState *state = NULL;
	JsonbValue key = {.type = jbvString}, value = {.type = jbvString};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (uint32 i = 0; i < r->attribute_count; i++)
	{
		key.val.string.val = unconstify(char *, (const char *) r->attributes[i].name.data);
		key.val.string.len = (int) r->attributes[i].name.len;
		value.val.string.val = unconstify(char *, (const char *) r->attributes[i].value.data);
		value.val.string.len = (int) r->attributes[i].value.len;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* A test that only the agent knows gets an identifier of what was tested, so that its runs stay
 * together: RFC 9562 version 8 of SHA-256(type, target, port). */
static Datum
test_id_derive(const ResultRecord *r)
{
	uint8 digest[PCTL_SHA256_LEN];
	uint8 port[2] = {(uint8) (r->server_port >> 8), (uint8) r->server_port};

	pctl_sha256_begin();
	pctl_sha256_add(r->canary_type.data, r->canary_type.len);
	pctl_sha256_add("\0", 1);
	pctl_sha256_add(r->server_address.data, r->server_address.len);
	pctl_sha256_add("\0", 1);
	pctl_sha256_add(port, sizeof(port));
	pctl_sha256_end(digest);
	digest[6] = (digest[6] & 0x0F) | 0x80;
	digest[8] = (digest[8] & 0x3F) | 0x80;
	return uuid_datum(digest);
}

static bool
latency_find(const ResultRecord *r, double *latency)
{
	for (size_t i = 0; i < lengthof(headline_metrics); i++)
		if (r->canary_type.len == strlen(headline_metrics[i].type) &&
		    memcmp(r->canary_type.data, headline_metrics[i].type, r->canary_type.len) == 0)
			return result_metric_find(r, headline_metrics[i].metric, latency);
	*latency = (double) r->duration_nano / 1e6;
	return r->success;
}

/* The time of the run on our axis; a clock far ahead is clamped to now, and counted. */
static TimestampTz
started_at(ResultStore *s, const ResultRecord *r)
{
	TimestampTz started;

	if (r->start_unix_nano == 0)
		return s->from->received_at;
	started = r->start_unix_nano / 1000 -
	          (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	if (started > s->newest)
	{
		s->from->clamped++;
		return s->from->received_at;
	}
	return started;
}

static void
slot_fill(ResultStore *s, TupleTableSlot *slot, const ResultRecord *r, TimestampTz started)
{
	Datum *v = slot->tts_values;
	double number;

	memset(slot->tts_isnull, 0, COL_COUNT * sizeof(bool));
	v[COL_TENANT_ID] = UUIDPGetDatum(&s->tenant);
	v[COL_TEST_ID] = r->has_test_id ? uuid_datum(r->test_id) : test_id_derive(r);
	v[COL_AGENT_ID] = UUIDPGetDatum(s->from->agent);
	v[COL_STARTED_AT] = TimestampTzGetDatum(started);
	v[COL_RECEIVED_AT] = TimestampTzGetDatum(s->from->received_at);
	v[COL_RESULT_ID] = uuid_datum(r->result_id);
	v[COL_TYPE] = text_datum(r->canary_type);
	v[COL_TARGET] = text_datum(r->server_address);
	v[COL_PORT] = Int32GetDatum((int32) r->server_port);
	v[COL_TRANSPORT] = text_datum(r->network_transport);
	v[COL_PROTOCOL] = text_datum(r->network_protocol_name);
	v[COL_SUCCESS] = BoolGetDatum(r->success);
	v[COL_ERROR_TYPE] = text_datum(r->error_type);
	v[COL_ERROR] = text_datum(r->error_message);
	v[COL_DURATION_US] = Int64GetDatum(r->duration_nano / 1000);
	slot->tts_isnull[COL_LATENCY_MS] = !latency_find(r, &number);
	v[COL_LATENCY_MS] = Float8GetDatum(slot->tts_isnull[COL_LATENCY_MS] ? 0 : number);
	slot->tts_isnull[COL_LOSS_RATIO] = !result_metric_find(r, "loss.ratio", &number);
	v[COL_LOSS_RATIO] = Float8GetDatum(slot->tts_isnull[COL_LOSS_RATIO] ? 0 : number);
	v[COL_METRICS] = metrics_jsonb(r);
	v[COL_ATTRIBUTES] = attributes_jsonb(r);
	ExecStoreVirtualTuple(slot);
}

/* Routes the record; the values of a record that opens another leaf are made after the flush. */
static ResultRelInfo *
leaf_find(ResultStore *s, const ResultRecord *record, TimestampTz started)
{
	MemoryContext old = MemoryContextSwitchTo(s->values);
	ResultRelInfo *leaf;

	ExecClearTuple(s->root_slot);
	slot_fill(s, s->root_slot, record, started);
	MemoryContextSwitchTo(old);
	leaf = ExecFindPartition(s->mtstate, s->root_info, s->routing, s->root_slot, s->estate);
	if (leaf == s->leaf)
		return leaf;
	leaf_switch(s, leaf);
	old = MemoryContextSwitchTo(s->values);
	ExecClearTuple(s->root_slot);
	slot_fill(s, s->root_slot, record, started);
	MemoryContextSwitchTo(old);
	return leaf;
}

const char *
result_store_add(ResultStore *s, const ResultRecord *record)
{
	TimestampTz started = started_at(s, record);
	TupleTableSlot *slot;
	ResultRelInfo *leaf;

	if (started < s->oldest)
		return "too_old";
	leaf = leaf_find(s, record, started);
	if (s->nslots == s->nslots_made)
		s->slots[s->nslots_made++] = table_slot_create(leaf->ri_RelationDesc, NULL);
	s->senders[s->nslots] = s->from;
	slot = s->slots[s->nslots++];
	if (leaf->ri_RootToPartitionMap != NULL)
		execute_attr_map_slot(leaf->ri_RootToPartitionMap->attrMap, s->root_slot, slot);
	else
	{
		ExecClearTuple(slot);
		memcpy(slot->tts_values, s->root_slot->tts_values, COL_COUNT * sizeof(Datum));
		memcpy(slot->tts_isnull, s->root_slot->tts_isnull, COL_COUNT * sizeof(bool));
		ExecStoreVirtualTuple(slot);
	}
	if (s->nslots == SLOTS_MAX)
		store_flush(s);
	return NULL;
}

void
result_store_end(ResultStore *s)
{
	store_flush(s);
	leaf_switch(s, NULL);
	FreeBulkInsertState(s->bistate);
	ExecResetTupleTable(s->estate->es_tupleTable, false);
	ExecCleanupTupleRouting(s->mtstate, s->routing);
	ExecCloseResultRelations(s->estate);
	ExecCloseRangeTableRelations(s->estate);
	FreeExecutorState(s->estate);
	table_close(s->root, NoLock);
	MemoryContextDelete(s->values);
}
