/* SPDX-License-Identifier: PostgreSQL
 *
 * test_remote_wire.c -- prometheus.WriteRequest from the wire, field by field: each reason to refuse, each ceiling, and what
 * is written is read as the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/pb.c"
#include "remote/wire.c"

/* 1.0 at 1 ms, and a staleness marker at 2 ms. */
#define SAMPLE "\x12\x0b\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x01"
#define STALE  "\x12\x0b\x09\x02\x00\x00\x00\x00\x00\xf0\x7f\x10\x02"
#define NAME   "\x0a\x0d\x0a\x08__name__\x12\x01m"

static RemoteSeries series;
static RemoteLabels labels;
static uint8_t bytes[400000];

/* A request of one series of these fields; false when it is malformed. */
static bool
series_of(const void *fields, size_t len)
{
	PbWriter w = {.data = bytes, .max = sizeof(bytes)};
	PbReader r;
	bool found;

	pb_write_bytes(&w, REQUEST_SERIES, fields, len);
	assert_false(w.full);
	pb_reader_init(&r, bytes, w.len);
	found = remote_series_next(&r, &series);
	assert_true(found != r.bad);
	if (found)
	{
		RemoteSeries next;

		assert_false(remote_series_next(&r, &next));
		assert_false(r.bad);
	}
	return found;
}

#define SERIES(text) series_of(text, sizeof(text) - 1)

/* What is wrong with the labels of a series of these fields. */
static const char *
labels_of(const void *fields, size_t len)
{
	assert_true(series_of(fields, len));
	memset(&labels, 0xee, sizeof(labels));
	return remote_labels(&series, &labels);
}

#define LABELS(text)       labels_of(text, sizeof(text) - 1)
#define REFUSED(text, why) assert_string_equal(LABELS(text), why)

static void
is(PbSlice slice, const char *text)
{
	assert_int_equal(slice.len, strlen(text));
	assert_memory_equal(slice.data, text, slice.len);
}

static void
test_series(void **state)
{
	RemoteSample samples[2];

	assert_true(SERIES(NAME SAMPLE STALE "\x1a\x00\x22\x00\x22\x00\x2a\x01x"));
	assert_int_equal(series.samples, 2);
	assert_int_equal(series.exemplars, 1);
	assert_int_equal(series.histograms, 2);
	assert_int_equal(series.labels.len, sizeof(NAME) - 1);
	assert_memory_equal(series.labels.data, NAME, sizeof(NAME) - 1);
	remote_samples(&series, samples);
	assert_true(samples[0].ms == 1 && samples[0].value == 1.0);
	assert_true(samples[1].ms == 2 && pb_bits(samples[1].value) == 0x7ff0000000000002);
	/* Nothing given is 0; twice given is the last; before 1970 is negative. */
	assert_true(
	    SERIES("\x12\x00\x12\x0f\x10\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x18\x05"));
	remote_samples(&series, samples);
	assert_true(samples[0].ms == 0 && samples[0].value == 0 && samples[1].ms == -1);
	/* Labels that do not stand together are known by the whole message, so never by less than all of them. */
	assert_true(SERIES(NAME SAMPLE "\x0a\x00"));
	assert_ptr_equal(series.labels.data, series.bytes.data);
	assert_int_equal(series.labels.len, series.bytes.len);
	assert_true(SERIES(SAMPLE));
	assert_int_equal(series.labels.len, series.bytes.len);
}

static void
test_malformed(void **state)
{
	assert_false(SERIES("\x12\x02\x09\x00"));                             /* double cut off */
	assert_false(SERIES("\x12\x02\x08\x00"));                             /* value is no double */
	assert_false(SERIES("\x12\x09\x11\x00\x00\x00\x00\x00\x00\x00\x00")); /* time is no number */
	assert_false(SERIES("\x10\x01"));                                     /* sample is no message */
	assert_false(SERIES("\x08\x01"));
	assert_false(SERIES("\x0a\x05x"));
	assert_false(SERIES("\x0b\x0c"));
	assert_true(SERIES(""));
	assert_int_equal(series.samples, 0);
}

static void
test_request(void **state)
{
	/* Metadata and what is not known yet is passed over; a series that is no message is not. */
	static const char good[] = "\x1a\x02\x08\x01\x52\x00\x0a\x00\x0a\x0d" SAMPLE;
	static const char bad[] = "\x08\x01";
	PbReader r;

	pb_reader_init(&r, good, sizeof(good) - 1);
	assert_true(remote_series_next(&r, &series));
	assert_int_equal(series.samples, 0);
	assert_true(remote_series_next(&r, &series));
	assert_int_equal(series.samples, 1);
	assert_false(remote_series_next(&r, &series));
	assert_false(r.bad);
	pb_reader_init(&r, bad, sizeof(bad) - 1);
	assert_false(remote_series_next(&r, &series));
	assert_true(r.bad);
	for (size_t cut = 1; cut < sizeof(good) - 1; cut++)
	{
		pb_reader_init(&r, good, cut);
		while (remote_series_next(&r, &series))
			;
	}
}

static void
test_labels(void **state)
{
	/* Sorted; empty values and identities left out. */
	assert_null(LABELS("\x0a\x06\x0a\x01z\x12\x01"
	                   "1" NAME "\x0a\x09\x0a\x05_aB_9\x12\x00"
	                   "\x0a\x08\x0a\x02j9\x12\x02\xc3\xa4"
	                   "\x0a\x0e\x0a\x09tenant_id\x12\x01x"
	                   "\x0a\x0d\x0a\x08"
	                   "agent_id\x12\x01x" SAMPLE));
	is(labels.name, "m");
	assert_int_equal(labels.count, 2);
	assert_int_equal(labels.reserved, 2);
	is(labels.label[0].name, "j9");
	is(labels.label[0].value, "\xc3\xa4");
	is(labels.label[1].name, "z");
	is(labels.label[1].value, "1");
	/* A rule's name has colons. */
	assert_null(LABELS("\x0a\x0f\x0a\x08__name__\x12\x03"
	                   "a:b"));
	REFUSED("", "no label __name__");
	REFUSED("\x0a\x0c\x0a\x08__name__\x12\x00", "no label __name__");
	REFUSED("\x0a\x0d\x0a\x08__name__\x12\x01-", "metric name not allowed");
	REFUSED("\x0a\x0d\x0a\x08__name__\x12\x01"
	        "9",
	        "metric name not allowed");
	REFUSED("\x0a\x1c\x0a\x08__name__\x12\x10probectl_probe_x",
	        "names that begin with probectl_probe_ are kept for agents");
	assert_null(LABELS("\x0a\x1a\x0a\x08__name__\x12\x0eprobectl_probe"));
	REFUSED(NAME NAME, "label given twice");
	REFUSED(NAME "\x0a\x06\x0a\x01"
	             "a\x12\x01x\x0a\x06\x0a\x01"
	             "a\x12\x01y",
	        "label given twice");
	REFUSED(NAME "\x0a\x06\x0a\x01:\x12\x01x", "label name not allowed");
	REFUSED(NAME "\x0a\x06\x0a\x01"
	             "1\x12\x01x",
	        "label name not allowed");
	REFUSED(NAME "\x0a\x03\x12\x01x", "label name not allowed");
	REFUSED(NAME "\x0a\x06\x0a\x01z\x12\x01\xff", "label value is not UTF-8");
	REFUSED(NAME "\x0a\x06\x0a\x01z\x12\x01\x00", "label value is not UTF-8");
	REFUSED(NAME "\x0a\x02\x08\x01", "malformed label");
	REFUSED(NAME "\x0a\x03\x0a\x05z", "malformed label");
}

static size_t
label_put(uint8_t *at, const char *name, size_t name_len, size_t value_len)
{
	static uint8_t inner[300000];
	static char value[300000];
	PbWriter w = {.data = inner, .max = sizeof(inner)}, out = {.data = at, .max = 350000};

	memset(value, 'v', sizeof(value));
	pb_write_bytes(&w, LABEL_NAME, name, name_len);
	pb_write_bytes(&w, LABEL_VALUE, value, value_len);
	pb_write_bytes(&out, SERIES_LABEL, inner, w.len);
	assert_false(w.full || out.full);
	return out.len;
}

static void
test_ceilings(void **state)
{
	static uint8_t fields[400000];
	static char name[300];
	size_t named = sizeof(NAME) - 1, len;

	memcpy(fields, NAME, named);
	memset(name, 'n', sizeof(name));
	assert_null(labels_of(fields, named + label_put(fields + named, name, PCTL_KEY_BYTES_MAX, 1)));
	assert_string_equal(
	    labels_of(fields, named + label_put(fields + named, name, PCTL_KEY_BYTES_MAX + 1, 1)),
	    "label name not allowed");
	assert_null(
	    labels_of(fields, named + label_put(fields + named, "a", 1, PCTL_REMOTE_LABEL_BYTES_MAX)));
	assert_string_equal(labels_of(fields, named + label_put(fields + named, "a", 1,
	                                                        PCTL_REMOTE_LABEL_BYTES_MAX + 1)),
	                    "label value too long");
	assert_null(labels_of(fields, label_put(fields, "__name__", 8, PCTL_REMOTE_NAME_BYTES_MAX)));
	assert_string_equal(
	    labels_of(fields, label_put(fields, "__name__", 8, PCTL_REMOTE_NAME_BYTES_MAX + 1)),
	    "metric name not allowed");
	memcpy(fields, NAME, named);
	len = named;
	for (int i = 0; i < PCTL_REMOTE_LABELS_MAX - 2; i++)
	{
		snprintf(name, sizeof(name), "l%d", i);
		len += label_put(fields + len, name, strlen(name), 1);
	}
	assert_null(labels_of(fields, len));
	assert_int_equal(labels.count, PCTL_REMOTE_LABELS_MAX - 2);
	len += label_put(fields + len, "one_more", 8, 1);
	assert_string_equal(labels_of(fields, len), "too many labels");
}

static void
test_written(void **state)
{
	static uint8_t request[1000], scratch[1000];
	RemoteLabel own[2] = {{{(const uint8_t *) "__name__", 8}, {(const uint8_t *) "m", 1}},
	                      {{(const uint8_t *) "a", 1}, {(const uint8_t *) "b", 1}}};
	RemoteSample samples[2] = {{.ms = -5, .value = 0.5}, {.ms = 1700000000000, .value = -0.0}};
	RemoteSample back[2];
	PbWriter w = {.data = request, .max = sizeof(request)};
	PbWriter s = {.data = scratch, .max = sizeof(scratch)};
	PbReader r;

	remote_write_series(&w, &s, own, 2, samples, 2);
	assert_false(w.full);
	pb_reader_init(&r, request, w.len);
	assert_true(remote_series_next(&r, &series));
	assert_null(remote_labels(&series, &labels));
	is(labels.name, "m");
	is(labels.label[0].name, "a");
	is(labels.label[0].value, "b");
	assert_int_equal(series.samples, 2);
	remote_samples(&series, back);
	for (int i = 0; i < 2; i++)
		assert_true(back[i].ms == samples[i].ms &&
		            pb_bits(back[i].value) == pb_bits(samples[i].value));
	/* No room in either: full, never past the end. */
	for (size_t room = 0; room < w.len; room++)
	{
		PbWriter small = {.data = request, .max = room};

		remote_write_series(&small, &s, own, 2, samples, 2);
		assert_true(small.full && small.len <= room);
		small = (PbWriter){.data = request, .max = sizeof(request)};
		s.max = room < 40 ? room : 40;
		remote_write_series(&small, &s, own, 2, samples, 2);
		assert_true(small.full && small.len == 0);
		s.max = sizeof(scratch);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_series),   cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_request),  cmocka_unit_test(test_labels),
	    cmocka_unit_test(test_ceilings), cmocka_unit_test(test_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
