/* SPDX-License-Identifier: PostgreSQL
 *
 * store.c -- from a decoded record to a row of probectl.result, and where the rows of a batch went.
 */
#include "result/store.h"

#include <math.h>

#include "core/append.h"
#include "core/crypto.h"
#include "core/errors.h"
#include "core/guc.h"
#include "result/columns.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

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
	PctlAppend *rows;
};

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
row_stored(void *sender, Oid leaf, TupleTableSlot *row)
{
	ResultStorePart *part = part_of(sender, leaf);
	BlockNumber block = ItemPointerGetBlockNumber(&row->tts_tid);
	TimestampTz started = DatumGetTimestampTz(row->tts_values[RESULT_STARTED_AT]);

	if (part->block_first == InvalidBlockNumber || block < part->block_first)
		part->block_first = block;
	if (part->count == 0 || block > part->block_last)
		part->block_last = block;
	part->started_min = Min(part->started_min, started);
	part->started_max = Max(part->started_max, started);
	part->count++;
}

ResultStore *
result_store_begin(const pg_uuid_t *tenant)
{
	ResultStore *s = palloc0(sizeof(*s));

	s->tenant = *tenant;
	s->rows = pctl_append_begin("result", RESULT_COLUMNS, row_stored);
	return s;
}

void
result_store_from(ResultStore *s, ResultSender *sender)
{
	s->from = sender;
	s->oldest = sender->received_at - (int64) pctl_result_retention * USECS_PER_DAY;
	s->newest = sender->received_at + PCTL_FUTURE_SECONDS_MAX * USECS_PER_SEC;
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
row_fill(ResultStore *s, TupleTableSlot *row, const ResultRecord *r, TimestampTz started)
{
	Datum *v = row->tts_values;
	double number;

	v[RESULT_TENANT_ID] = UUIDPGetDatum(&s->tenant);
	v[RESULT_TEST_ID] = r->has_test_id ? uuid_datum(r->test_id) : test_id_derive(r);
	v[RESULT_AGENT_ID] = UUIDPGetDatum(s->from->agent);
	v[RESULT_STARTED_AT] = TimestampTzGetDatum(started);
	v[RESULT_RECEIVED_AT] = TimestampTzGetDatum(s->from->received_at);
	v[RESULT_RESULT_ID] = uuid_datum(r->result_id);
	v[RESULT_TYPE] = text_datum(r->canary_type);
	v[RESULT_TARGET] = text_datum(r->server_address);
	v[RESULT_PORT] = Int32GetDatum((int32) r->server_port);
	v[RESULT_TRANSPORT] = text_datum(r->network_transport);
	v[RESULT_PROTOCOL] = text_datum(r->network_protocol_name);
	v[RESULT_SUCCESS] = BoolGetDatum(r->success);
	v[RESULT_ERROR_TYPE] = text_datum(r->error_type);
	v[RESULT_ERROR] = text_datum(r->error_message);
	v[RESULT_DURATION_US] = Int64GetDatum(r->duration_nano / 1000);
	row->tts_isnull[RESULT_LATENCY_MS] = !latency_find(r, &number);
	v[RESULT_LATENCY_MS] = Float8GetDatum(row->tts_isnull[RESULT_LATENCY_MS] ? 0 : number);
	row->tts_isnull[RESULT_LOSS_RATIO] = !result_metric_find(r, "loss.ratio", &number);
	v[RESULT_LOSS_RATIO] = Float8GetDatum(row->tts_isnull[RESULT_LOSS_RATIO] ? 0 : number);
	v[RESULT_METRICS] = metrics_jsonb(r);
	v[RESULT_ATTRIBUTES] = attributes_jsonb(r);
}

const char *
result_store_add(ResultStore *s, const ResultRecord *record)
{
	TimestampTz started = started_at(s, record);
	MemoryContext old;

	if (started < s->oldest)
		return "too_old";
	old = MemoryContextSwitchTo(pctl_append_values(s->rows));
	row_fill(s, pctl_append_row(s->rows), record, started);
	MemoryContextSwitchTo(old);
	pctl_append_add(s->rows, s->from);
	return NULL;
}

void
result_store_end(ResultStore *s)
{
	pctl_append_end(s->rows);
	pfree(s);
}
