/* SPDX-License-Identifier: PostgreSQL
 *
 * test_decode.c -- one result from the wire: each field, each reason to refuse, each ceiling.
 *
 * A message is built field by field; where a field comes twice the last one counts, so a bad
 * field after a good record makes a bad record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/pb.c"
#include "result/decode.c"

/* Fields by number: 3 type, 4 target, 5 port, 6 transport, 7 protocol, 8 success, 9 error, 10 start,
 * 11 duration, 12 metrics, 13 attributes, 14 result id, 15 test id, 16 error type. */
#define ID   "00112233-4455-6677-8899-AAbbccddeeff"
#define GOOD "\x1a\x04icmp\x72\x24" ID

static uint8_t room[200000];
static ResultRecord record;

static const char *
decode_text(const char *bytes, size_t len)
{
	memset(&record, 0xee, sizeof(record)); /* nothing may be left from before */
	return result_decode(&record, (PbSlice){(const uint8_t *) bytes, len});
}

#define DECODE(text)       decode_text(text, sizeof(text) - 1)
#define REFUSED(text, why) assert_string_equal(DECODE(GOOD text), why)
#define TAKEN(text)        assert_null(DECODE(GOOD text))

static void
is(PbSlice slice, const char *text)
{
	assert_int_equal(slice.len, strlen(text));
	assert_memory_equal(slice.data, text, slice.len);
}

static void
test_whole(void **state)
{
	static const uint8_t id[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	                               0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

	TAKEN("\x0a\x01t\x12\x01"
	      "a" /* what it says of itself is not kept */
	      "\x22\x09"
	      "192.0.2.1"
	      "\x28\xbb\x03"
	      "\x32\x03tcp\x3a\x04http"
	      "\x40\x01"
	      "\x4a\x02ok"
	      "\x50\x80\x94\xeb\xdc\x03"
	      "\x58\x05"
	      "\x62\x0c\x0a\x01m\x11\x00\x00\x00\x00\x00\x00\xf8\x3f"
	      "\x6a\x06\x0a\x01k\x12\x01v"
	      "\x7a\x24" ID "\x82\x01\x07timeout");
	is(record.canary_type, "icmp");
	is(record.server_address, "192.0.2.1");
	assert_int_equal(record.server_port, 443);
	is(record.network_transport, "tcp");
	is(record.network_protocol_name, "http");
	assert_true(record.success);
	is(record.error_message, "ok");
	is(record.error_type, "timeout");
	assert_true(record.start_unix_nano == 1000000000 && record.duration_nano == 5);
	assert_true(record.has_result_id && record.has_test_id);
	assert_memory_equal(record.result_id, id, 16);
	assert_memory_equal(record.test_id, id, 16);
	assert_int_equal(record.metric_count, 1);
	is(record.metrics[0].name, "m");
	assert_true(record.metrics[0].value == 1.5);
	assert_int_equal(record.attribute_count, 1);
	is(record.attributes[0].name, "k");
	is(record.attributes[0].value, "v");
	assert_int_equal(record.identity_attributes, 0);
}

/* What is not given is empty, whatever the record before held. */
static void
test_least(void **state)
{
	TAKEN("");
	assert_int_equal(record.server_address.len + record.error_message.len + record.error_type.len,
	                 0);
	assert_false(record.success || record.has_test_id);
	assert_true(record.start_unix_nano == 0 && record.duration_nano == 0 &&
	            record.server_port == 0);
	assert_int_equal(record.metric_count + record.attribute_count + record.identity_attributes, 0);
	TAKEN("\x7a\x24" ID "\x7a\x00"); /* a test id taken back */
	assert_false(record.has_test_id);
}

static void
test_refused(void **state)
{
	assert_string_equal(DECODE(""), "bad_type");
	assert_string_equal(DECODE("\x1a\x04icmp"), "no_result_id");
	REFUSED("\x1a\x04ICMP", "bad_type");
	REFUSED("\x1a\x00", "bad_type");
	REFUSED("\x1a\x21xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "bad_type"); /* 33 */
	TAKEN("\x1a\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	REFUSED("\x22\x01\xff", "bad_text");
	REFUSED("\x4a\x01\x00", "bad_text");
	REFUSED("\x28\x80\x80\x04", "bad_number"); /* port 65536 */
	TAKEN("\x28\xff\xff\x03");
	REFUSED("\x32\x01T", "bad_name");
	REFUSED("\x3a\x01 ", "bad_name");
	REFUSED("\x82\x01\x03"
	        "a b",
	        "bad_name");
	REFUSED("\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "bad_number"); /* start -1 */
	REFUSED("\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "bad_number");
	REFUSED("\x72\x01x", "bad_id");
	REFUSED("\x72\x24"
	        "00112233-4455-6677-8899-AAbbccddeefg",
	        "bad_id");
	REFUSED("\x72\x24"
	        "0011223304455-6677-8899-AAbbccddeeff",
	        "bad_id");
	REFUSED("\x7a\x20"
	        "00112233445566778899AAbbccddeeff",
	        "bad_id");
}

/* A known field in another type, and bytes that are no message. */
static void
test_malformed(void **state)
{
	REFUSED("\x18\x01", "malformed");
	REFUSED("\x20\x01", "malformed");
	REFUSED("\x2a\x01x", "malformed");
	REFUSED("\x42\x01x", "malformed");
	REFUSED("\x52\x01x", "malformed");
	REFUSED("\x5a\x01x", "malformed");
	REFUSED("\x60\x01", "malformed");
	REFUSED("\x1d\x01\x02\x03\x04", "malformed");
	REFUSED("\x41\x01\x02\x03\x04\x05\x06\x07\x08", "malformed");
	REFUSED("\x1a\x05x", "malformed");
	REFUSED("\x0b", "malformed");
	TAKEN("\xd0\x06\x01\xda\x06\x01x\xdd\x06\x01\x02\x03\x04"); /* tag 106 and 107: newer */
}

static void
test_maps(void **state)
{
	REFUSED("\x62\x02\x0a\x05", "malformed");
	REFUSED("\x62\x05\x0a\x01m\x10\x01", "malformed"); /* value as an integer */
	REFUSED("\x62\x0b\x0a\x00\x11\x00\x00\x00\x00\x00\x00\xf8\x3f", "bad_name");
	REFUSED("\x62\x0c\x0a\x01 \x11\x00\x00\x00\x00\x00\x00\xf8\x3f", "bad_name");
	REFUSED("\x62\x09\x11\x00\x00\x00\x00\x00\x00\xf8\x3f", "bad_name"); /* no key */
	REFUSED("\x62\x0c\x0a\x01m\x11\x00\x00\x00\x00\x00\x00\xf0\x7f", "metric_not_finite");
	REFUSED("\x62\x0c\x0a\x01m\x11\x01\x00\x00\x00\x00\x00\xf0\xff", "metric_not_finite"); /* NaN */
	TAKEN("\x62\x03\x0a\x01m"); /* no value: 0 */
	assert_true(record.metrics[0].value == 0);
	REFUSED("\x6a\x06\x0a\x01k\x12\x01\xff", "bad_text");
	REFUSED("\x6a\x05\x0a\x01k\x10\x01", "malformed");
	TAKEN("\x6a\x03\x0a\x01k");
	assert_int_equal(record.attributes[0].value.len, 0);
}

static void
test_identity(void **state)
{
	static const char *const names[] = {
	    "tenant_id",          "tenant.id",           "agent_id",
	    "agent.id",           "service.instance.id", "probectl.tenant.id",
	    "probectl.tenant_id", "probectl.agent.name", "probectl.agent_id"};
	static const char *const others[] = {"tenant",          "tenant_idx",      "my.tenant.id",
	                                     "probectl.tenant", "probectl.agents", "service.name",
	                                     "Tenant.id"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_true(
		    result_attribute_is_identity((PbSlice){(const uint8_t *) names[i], strlen(names[i])}));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(result_attribute_is_identity(
		    (PbSlice){(const uint8_t *) others[i], strlen(others[i])}));
	TAKEN("\x6a\x0e\x0a\x09tenant_id\x12\x01x\x6a\x06\x0a\x01k\x12\x01v");
	assert_int_equal(record.identity_attributes, 1);
	assert_int_equal(record.attribute_count, 1);
	is(record.attributes[0].name, "k");
}

/* n fields of one kind after a good record. */
static const char *
decode_many(uint32_t tag, const char *entry, size_t len, int n)
{
	PbWriter w = {.data = room, .max = sizeof(room)};

	memcpy(room, GOOD, sizeof(GOOD) - 1);
	w.len = sizeof(GOOD) - 1;
	for (int i = 0; i < n; i++)
		pb_write_bytes(&w, tag, entry, len);
	assert_false(w.full);
	return decode_text((const char *) room, w.len);
}

static void
test_ceilings(void **state)
{
	static char big[70000];

	memset(big, 'x', sizeof(big));
	assert_null(decode_many(12, "\x0a\x01m", 3, PCTL_RESULT_METRICS_MAX));
	assert_int_equal(record.metric_count, PCTL_RESULT_METRICS_MAX);
	assert_string_equal(decode_many(12, "\x0a\x01m", 3, PCTL_RESULT_METRICS_MAX + 1),
	                    "too_many_metrics");
	assert_null(decode_many(13, "\x0a\x01k", 3, PCTL_RESULT_ATTRS_MAX));
	assert_string_equal(decode_many(13, "\x0a\x01k", 3, PCTL_RESULT_ATTRS_MAX + 1),
	                    "too_many_attributes");
	assert_null(decode_many(4, big, PCTL_TARGET_BYTES_MAX, 1));
	assert_string_equal(decode_many(4, big, PCTL_TARGET_BYTES_MAX + 1, 1), "bad_text");
	assert_null(decode_many(9, big, PCTL_VALUE_BYTES_MAX, 1));
	assert_string_equal(decode_many(9, big, PCTL_VALUE_BYTES_MAX + 1, 1), "bad_text");
	assert_string_equal(decode_many(99, big, PCTL_RECORD_BYTES_MAX, 1), "too_large");
}

static void
test_find(void **state)
{
	double value = -1;

	TAKEN("\x62\x0c\x0a\x01m\x11\x00\x00\x00\x00\x00\x00\xf8\x3f"
	      "\x62\x0c\x0a\x01m\x11\x00\x00\x00\x00\x00\x00\x00\x40");
	assert_true(result_metric_find(&record, "m", &value));
	assert_true(value == 2.0); /* the last one */
	assert_false(result_metric_find(&record, "mm", &value));
	assert_false(result_metric_find(&record, "", &value));
}

/* Every beginning of a record ends in a verdict, without a byte read past it. */
static void
test_cut_off(void **state)
{
	static const char whole[] = GOOD
	    "\x22\x01x\x62\x0c\x0a\x01m\x11\x00\x00\x00\x00\x00\x00\xf8\x3f\x6a\x06\x0a\x01k\x12\x01v";

	for (size_t len = 0; len < sizeof(whole) - 1; len++)
	{
		uint8_t exact[sizeof(whole)];

		memcpy(exact, whole, len);
		assert_true(decode_text((const char *) exact, len) != NULL || len >= sizeof(GOOD) - 1);
	}
	assert_null(DECODE(whole));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole),    cmocka_unit_test(test_least),
	    cmocka_unit_test(test_refused),  cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_maps),     cmocka_unit_test(test_identity),
	    cmocka_unit_test(test_ceilings), cmocka_unit_test(test_find),
	    cmocka_unit_test(test_cut_off),
	};

	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
