/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_result.c -- what a stored row relies on holds for every record that is accepted, and the
 * record written anew from what was read is read as the same.
 */
#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/pb.c"
#include "result/decode.c"

static ResultRecord first, second;
static uint8_t anew[4 * PCTL_RECORD_BYTES_MAX];

static void
text_in(PbSlice text, const uint8_t *data, size_t size, size_t max)
{
	require(text.len <= max && pb_text_valid(text));
	if (text.len > 0)
		require(text.data >= data && text.len <= size &&
		        (size_t) (text.data - data) <= size - text.len);
}

static void
check(const ResultRecord *r, const uint8_t *data, size_t size)
{
	text_in(r->canary_type, data, size, 32);
	text_in(r->server_address, data, size, PCTL_TARGET_BYTES_MAX);
	text_in(r->network_transport, data, size, 32);
	text_in(r->network_protocol_name, data, size, 32);
	text_in(r->error_message, data, size, PCTL_VALUE_BYTES_MAX);
	text_in(r->error_type, data, size, 64);
	require(r->canary_type.len > 0 && r->has_result_id && r->server_port <= 65535);
	require(r->start_unix_nano >= 0 && r->duration_nano >= 0);
	require(r->metric_count <= PCTL_RESULT_METRICS_MAX &&
	        r->attribute_count <= PCTL_RESULT_ATTRS_MAX);
	for (uint32_t i = 0; i < r->metric_count; i++)
	{
		text_in(r->metrics[i].name, data, size, PCTL_KEY_BYTES_MAX);
		require(r->metrics[i].name.len > 0 && isfinite(r->metrics[i].value));
	}
	for (uint32_t i = 0; i < r->attribute_count; i++)
	{
		text_in(r->attributes[i].name, data, size, PCTL_KEY_BYTES_MAX);
		text_in(r->attributes[i].value, data, size, PCTL_VALUE_BYTES_MAX);
		require(!result_attribute_is_identity(r->attributes[i].name));
	}
}

static void
write_slice(PbWriter *w, uint32_t tag, PbSlice s)
{
	pb_write_bytes(w, tag, s.len ? s.data : (const uint8_t *) "", s.len);
}

static void
write_uuid(PbWriter *w, uint32_t tag, const uint8_t id[16])
{
	char text[37];

	snprintf(text, sizeof(text),
	         "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0], id[1],
	         id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13],
	         id[14], id[15]);
	pb_write_bytes(w, tag, text, 36);
}

static size_t
write_anew(const ResultRecord *r)
{
	PbWriter w = {.data = anew, .max = sizeof(anew)};
	uint8_t buf[PCTL_KEY_BYTES_MAX + PCTL_VALUE_BYTES_MAX + 32];

	write_slice(&w, TAG_CANARY_TYPE, r->canary_type);
	write_slice(&w, TAG_SERVER_ADDRESS, r->server_address);
	pb_write_varint(&w, TAG_SERVER_PORT, r->server_port);
	write_slice(&w, TAG_NETWORK_TRANSPORT, r->network_transport);
	write_slice(&w, TAG_NETWORK_PROTOCOL_NAME, r->network_protocol_name);
	pb_write_varint(&w, TAG_SUCCESS, r->success);
	write_slice(&w, TAG_ERROR_MESSAGE, r->error_message);
	pb_write_varint(&w, TAG_START, (uint64_t) r->start_unix_nano);
	pb_write_varint(&w, TAG_DURATION, (uint64_t) r->duration_nano);
	for (uint32_t i = 0; i < r->metric_count; i++)
	{
		PbWriter entry = {.data = buf, .max = sizeof(buf)};
		uint64_t bits;

		write_slice(&entry, 1, r->metrics[i].name);
		memcpy(&bits, &r->metrics[i].value, sizeof(bits));
		buf[entry.len++] = 0x11;
		for (int k = 0; k < 8; k++)
			buf[entry.len++] = (uint8_t) (bits >> (8 * k));
		pb_write_bytes(&w, TAG_METRICS, buf, entry.len);
	}
	for (uint32_t i = 0; i < r->attribute_count; i++)
	{
		PbWriter entry = {.data = buf, .max = sizeof(buf)};

		write_slice(&entry, 1, r->attributes[i].name);
		write_slice(&entry, 2, r->attributes[i].value);
		require(!entry.full);
		pb_write_bytes(&w, TAG_ATTRIBUTES, buf, entry.len);
	}
	write_uuid(&w, TAG_RESULT_ID, r->result_id);
	if (r->has_test_id)
		write_uuid(&w, TAG_TEST_ID, r->test_id);
	write_slice(&w, TAG_ERROR_TYPE, r->error_type);
	require(!w.full);
	return w.len;
}

static void
same(PbSlice a, PbSlice b)
{
	require(a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *reason = result_decode(&first, (PbSlice){data, size});
	size_t len;

	if (reason != NULL)
	{
		require(reason[0] != '\0' && strlen(reason) < 32);
		return 0;
	}
	require(size <= PCTL_RECORD_BYTES_MAX);
	check(&first, data, size);
	len = write_anew(&first);
	if (len > PCTL_RECORD_BYTES_MAX)
		return 0; /* what was left out to say 0 or "" is said now */
	require(result_decode(&second, (PbSlice){anew, len}) == NULL);
	check(&second, anew, len);
	same(first.canary_type, second.canary_type);
	same(first.server_address, second.server_address);
	same(first.error_message, second.error_message);
	same(first.error_type, second.error_type);
	require(first.server_port == second.server_port && first.success == second.success);
	require(first.start_unix_nano == second.start_unix_nano &&
	        first.duration_nano == second.duration_nano);
	require(memcmp(first.result_id, second.result_id, 16) == 0 &&
	        first.has_test_id == second.has_test_id);
	require(first.metric_count == second.metric_count &&
	        first.attribute_count == second.attribute_count);
	for (uint32_t i = 0; i < first.metric_count; i++)
	{
		same(first.metrics[i].name, second.metrics[i].name);
		require(memcmp(&first.metrics[i].value, &second.metrics[i].value, sizeof(double)) == 0);
	}
	for (uint32_t i = 0; i < first.attribute_count; i++)
	{
		same(first.attributes[i].name, second.attributes[i].name);
		same(first.attributes[i].value, second.attributes[i].value);
	}
	return 0;
}
