/* SPDX-License-Identifier: PostgreSQL
 *
 * decode.c -- one result from the wire to a checked record.
 *
 * A field that comes twice counts as protobuf says: the last one. A map key that comes twice
 * likewise, which the JSON builder takes care of; the ceiling counts every entry. Unknown
 * tags are skipped, so a newer producer may say more.
 */
#include "result/decode.h"

#include <math.h>
#include <string.h>

enum
{
	TAG_CANARY_TYPE = 3,
	TAG_SERVER_ADDRESS = 4,
	TAG_SERVER_PORT = 5,
	TAG_NETWORK_TRANSPORT = 6,
	TAG_NETWORK_PROTOCOL_NAME = 7,
	TAG_SUCCESS = 8,
	TAG_ERROR_MESSAGE = 9,
	TAG_START = 10,
	TAG_DURATION = 11,
	TAG_METRICS = 12,
	TAG_ATTRIBUTES = 13,
	TAG_RESULT_ID = 14,
	TAG_TEST_ID = 15,
	TAG_ERROR_TYPE = 16
};

/* Exact names, and prefixes that end in a dot. */
static const char *const identity_keys[] = {
    "agent.id",         "agent_id",           "probectl.agent.",     "probectl.agent_id",
    "probectl.tenant.", "probectl.tenant_id", "service.instance.id", "tenant.id",
    "tenant_id",
};

bool
result_attribute_is_identity(PbSlice name)
{
	for (size_t i = 0; i < sizeof(identity_keys) / sizeof(identity_keys[0]); i++)
	{
		size_t len = strlen(identity_keys[i]);

		if (identity_keys[i][len - 1] == '.' ? name.len >= len : name.len == len)
			if (memcmp(name.data, identity_keys[i], len) == 0)
				return true;
	}
	return false;
}

static bool
text_ok(PbSlice text, size_t max)
{
	return text.len <= max && pb_text_valid(text);
}

/* A name: visible ASCII only, as metric and attribute names are. */
static bool
name_ok(PbSlice name)
{
	if (name.len == 0 || name.len > PCTL_KEY_BYTES_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] > '~')
			return false;
	return true;
}

static bool
word_ok(PbSlice word, size_t min, size_t max)
{
	if (word.len < min || word.len > max)
		return false;
	for (size_t i = 0; i < word.len; i++)
	{
		uint8_t c = word.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
			return false;
	}
	return true;
}

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Text form of RFC 9562 section 4, hyphens required. */
static bool
uuid_parse(PbSlice text, uint8_t out[16])
{
	size_t n = 0;

	if (text.len != 36)
		return false;
	for (size_t i = 0; i < 36; i++)
	{
		int high, low;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text.data[i] != '-')
				return false;
			continue;
		}
		high = hex_digit(text.data[i]);
		low = hex_digit(text.data[++i]);
		if (high < 0 || low < 0)
			return false;
		out[n++] = (uint8_t) (high << 4 | low);
	}
	return n == 16;
}

static const char *
map_entry(PbSlice entry, PbSlice *key, PbField *value, PbType value_type)
{
	PbReader r;
	PbField field;

	*key = (PbSlice){NULL, 0};
	*value = (PbField){0};
	pb_reader_init(&r, entry.data, entry.len);
	while (pb_next(&r, &field))
	{
		if (field.tag == 1 && field.type == PB_BYTES)
			*key = field.bytes;
		else if (field.tag == 2 && field.type == value_type)
			*value = field;
		else if (field.tag <= 2)
			return "malformed";
	}
	if (r.bad)
		return "malformed";
	return name_ok(*key) ? NULL : "bad_name";
}

static const char *
metric_add(ResultRecord *out, PbSlice entry)
{
	ResultMetric *metric = &out->metrics[out->metric_count];
	PbField value;
	const char *bad;

	if (out->metric_count == PCTL_RESULT_METRICS_MAX)
		return "too_many_metrics";
	bad = map_entry(entry, &metric->name, &value, PB_FIXED64);
	if (bad != NULL)
		return bad;
	metric->value = pb_double(value.number);
	if (!isfinite(metric->value))
		return "metric_not_finite";
	out->metric_count++;
	return NULL;
}

static const char *
attribute_add(ResultRecord *out, PbSlice entry)
{
	ResultAttribute *attribute = &out->attributes[out->attribute_count];
	PbField value;
	const char *bad;

	if (out->attribute_count == PCTL_RESULT_ATTRS_MAX)
		return "too_many_attributes";
	bad = map_entry(entry, &attribute->name, &value, PB_BYTES);
	if (bad != NULL)
		return bad;
	attribute->value = value.bytes;
	if (!text_ok(attribute->value, PCTL_VALUE_BYTES_MAX))
		return "bad_text";
	if (result_attribute_is_identity(attribute->name))
		out->identity_attributes++;
	else
		out->attribute_count++;
	return NULL;
}

static const char *
bytes_field(ResultRecord *out, const PbField *field)
{
	switch (field->tag)
	{
		case TAG_CANARY_TYPE: out->canary_type = field->bytes; break;
		case TAG_SERVER_ADDRESS: out->server_address = field->bytes; break;
		case TAG_NETWORK_TRANSPORT: out->network_transport = field->bytes; break;
		case TAG_NETWORK_PROTOCOL_NAME: out->network_protocol_name = field->bytes; break;
		case TAG_ERROR_MESSAGE: out->error_message = field->bytes; break;
		case TAG_ERROR_TYPE: out->error_type = field->bytes; break;
		case TAG_METRICS: return metric_add(out, field->bytes);
		case TAG_ATTRIBUTES: return attribute_add(out, field->bytes);
		case TAG_RESULT_ID:
			out->has_result_id = field->bytes.len > 0;
			return !out->has_result_id || uuid_parse(field->bytes, out->result_id) ? NULL
			                                                                       : "bad_id";
		case TAG_TEST_ID:
			out->has_test_id = field->bytes.len > 0;
			return !out->has_test_id || uuid_parse(field->bytes, out->test_id) ? NULL : "bad_id";
		case TAG_SERVER_PORT:
		case TAG_SUCCESS:
		case TAG_START:
		case TAG_DURATION: return "malformed";
		default: break;
	}
	return NULL;
}

static const char *
varint_field(ResultRecord *out, const PbField *field)
{
	switch (field->tag)
	{
		case TAG_SERVER_PORT:
			if (field->number > 65535)
				return "bad_number";
			out->server_port = (uint32_t) field->number;
			break;
		case TAG_SUCCESS: out->success = field->number != 0; break;
		case TAG_START: out->start_unix_nano = (int64_t) field->number; break;
		case TAG_DURATION: out->duration_nano = (int64_t) field->number; break;
		default:
			if (field->tag >= TAG_CANARY_TYPE && field->tag <= TAG_ERROR_TYPE)
				return "malformed";
			break;
	}
	return NULL;
}

static const char *
record_check(const ResultRecord *r)
{
	if (!word_ok(r->canary_type, 1, 32))
		return "bad_type";
	if (!text_ok(r->server_address, PCTL_TARGET_BYTES_MAX) ||
	    !text_ok(r->error_message, PCTL_VALUE_BYTES_MAX))
		return "bad_text";
	if (!word_ok(r->network_transport, 0, 32) || !word_ok(r->network_protocol_name, 0, 32) ||
	    !word_ok(r->error_type, 0, 64))
		return "bad_name";
	if (r->start_unix_nano < 0 || r->duration_nano < 0)
		return "bad_number";
	return r->has_result_id ? NULL : "no_result_id";
}

const char *
result_decode(ResultRecord *out, PbSlice record)
{
	PbReader r;
	PbField field;

	/* The arrays behind the counts need no clearing. */
	memset(out, 0, offsetof(ResultRecord, metrics));
	out->attribute_count = 0;
	out->identity_attributes = 0;
	if (record.len > PCTL_RECORD_BYTES_MAX)
		return "too_large";
	pb_reader_init(&r, record.data, record.len);
	while (pb_next(&r, &field))
	{
		const char *bad = NULL;

		if (field.type == PB_BYTES)
			bad = bytes_field(out, &field);
		else if (field.type == PB_VARINT)
			bad = varint_field(out, &field);
		else if (field.tag >= TAG_CANARY_TYPE && field.tag <= TAG_ERROR_TYPE)
			bad = "malformed";
		if (bad != NULL)
			return bad;
	}
	return r.bad ? "malformed" : record_check(out);
}

bool
result_metric_find(const ResultRecord *record, const char *name, double *value)
{
	size_t len = strlen(name);
	bool found = false;

	for (uint32_t i = 0; i < record->metric_count; i++)
		if (record->metrics[i].name.len == len &&
		    memcmp(record->metrics[i].name.data, name, len) == 0)
		{
			*value = record->metrics[i].value;
			found = true;
		}
	return found;
}
