/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.c -- prometheus.WriteRequest, read and written.
 *
 * A request holds thousands of samples and the same labels come again and again, so reading is in two steps: one walk checks
 * the structure and finds the bytes of the labels, by which the caller knows most series already; what the labels say is only
 * looked into for one it does not know.
 */
#include "remote/wire.h"

#include <stdlib.h>
#include <string.h>

enum
{
	REQUEST_SERIES = 1,
	SERIES_LABEL = 1,
	SERIES_SAMPLE = 2,
	SERIES_EXEMPLAR = 3,
	SERIES_HISTOGRAM = 4,
	LABEL_NAME = 1,
	LABEL_VALUE = 2,
	SAMPLE_VALUE = 1,
	SAMPLE_TIME = 2
};

static const char *const reserved_labels[] = {
    "agent_id", "probectl_agent_id", "probectl_tenant_id", "tenant_id", "test_id",
};

/* Series of this prefix are derived from results of agents: nobody else says what a probe measured. */
static const char reserved_prefix[] = "probectl_probe_";

/* False when it is malformed. What comes twice counts as protobuf says: the last one. */
static bool
sample_read(PbSlice bytes, RemoteSample *out)
{
	PbReader r;
	PbField field;

	*out = (RemoteSample){0};
	pb_reader_init(&r, bytes.data, bytes.len);
	while (pb_next(&r, &field))
	{
		if (field.tag == SAMPLE_VALUE && field.type == PB_FIXED64)
			out->value = pb_double(field.number);
		else if (field.tag == SAMPLE_TIME && field.type == PB_VARINT)
			out->ms = (int64_t) field.number;
		else if (field.tag <= SAMPLE_TIME)
			return false;
	}
	return !r.bad;
}

/* Walks the fields of a TimeSeries. False when it is malformed. */
static bool
series_read(RemoteSeries *series)
{
	const uint8_t *first = NULL, *last = NULL, *at;
	bool together = true;
	PbReader r;
	PbField field;

	pb_reader_init(&r, series->bytes.data, series->bytes.len);
	for (at = r.at; pb_next(&r, &field); at = r.at)
	{
		if (field.tag > SERIES_HISTOGRAM)
			continue;
		if (field.type != PB_BYTES)
			return false;
		switch (field.tag)
		{
			case SERIES_LABEL:
				together = together && (first == NULL || last == at);
				first = first == NULL ? at : first;
				last = r.at;
				break;
			case SERIES_SAMPLE:
				if (!sample_read(field.bytes, &series->last))
					return false;
				series->samples++;
				break;
			case SERIES_EXEMPLAR: series->exemplars++; break;
			case SERIES_HISTOGRAM: series->histograms++; break;
		}
	}
	if (r.bad)
		return false;
	series->labels = together && first != NULL ? (PbSlice){first, (size_t) (last - first)}
	                                           : series->bytes;
	return true;
}

bool
remote_series_next(PbReader *request, RemoteSeries *series)
{
	PbField field;

	while (pb_next(request, &field))
	{
		if (field.tag != REQUEST_SERIES)
			continue;
		*series = (RemoteSeries){.bytes = field.bytes};
		if (field.type == PB_BYTES && series_read(series))
			return true;
		request->bad = true;
		return false;
	}
	return false;
}

void
remote_samples(const RemoteSeries *series, RemoteSample *out)
{
	PbReader r;
	PbField field;
	uint32_t n = 0;

	if (series->samples == 1)
	{
		out[0] = series->last;
		return;
	}
	pb_reader_init(&r, series->bytes.data, series->bytes.len);
	while (n < series->samples && pb_next(&r, &field))
		if (field.tag == SERIES_SAMPLE)
			(void) sample_read(field.bytes, &out[n++]);
}

bool
remote_label_is_reserved(PbSlice name)
{
	for (size_t i = 0; i < sizeof(reserved_labels) / sizeof(reserved_labels[0]); i++)
		if (name.len == strlen(reserved_labels[i]) &&
		    memcmp(name.data, reserved_labels[i], name.len) == 0)
			return true;
	return false;
}

/* [a-zA-Z_][a-zA-Z0-9_]*, with colons in names of series. */
static bool
name_ok(PbSlice name, bool colon, size_t max)
{
	if (name.len == 0 || name.len > max)
		return false;
	for (size_t i = 0; i < name.len; i++)
	{
		uint8_t c = name.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
		      (c >= '0' && c <= '9' && i > 0) || (c == ':' && colon)))
			return false;
	}
	return true;
}

static const char *
label_read(PbSlice bytes, RemoteLabel *label)
{
	PbReader r;
	PbField field;

	*label = (RemoteLabel){.name = {bytes.data, 0}, .value = {bytes.data, 0}};
	pb_reader_init(&r, bytes.data, bytes.len);
	while (pb_next(&r, &field))
	{
		if (field.tag == LABEL_NAME && field.type == PB_BYTES)
			label->name = field.bytes;
		else if (field.tag == LABEL_VALUE && field.type == PB_BYTES)
			label->value = field.bytes;
		else if (field.tag <= LABEL_VALUE)
			return "malformed label";
	}
	if (r.bad)
		return "malformed label";
	if (!name_ok(label->name, false, PCTL_KEY_BYTES_MAX))
		return "label name not allowed";
	if (label->value.len > PCTL_REMOTE_LABEL_BYTES_MAX)
		return "label value too long";
	if (!pb_text_valid(label->value))
		return "label value is not UTF-8";
	return NULL;
}

static int
slice_compare(PbSlice a, PbSlice b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = memcmp(a.data, b.data, len);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int
label_compare(const void *a, const void *b)
{
	return slice_compare(((const RemoteLabel *) a)->name, ((const RemoteLabel *) b)->name);
}

static bool
slice_is(PbSlice slice, const char *text)
{
	return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}

static const char *
labels_check(RemoteLabels *out)
{
	const size_t prefix = sizeof(reserved_prefix) - 1;

	qsort(out->label, out->count, sizeof(out->label[0]), label_compare);
	for (uint32_t i = 1; i < out->count; i++)
		if (slice_compare(out->label[i - 1].name, out->label[i].name) == 0)
			return "label given twice";
	if (out->name.len == 0)
		return "no label __name__";
	if (!name_ok(out->name, true, PCTL_REMOTE_NAME_BYTES_MAX))
		return "metric name not allowed";
	if (out->name.len >= prefix && memcmp(out->name.data, reserved_prefix, prefix) == 0)
		return "names that begin with probectl_probe_ are kept for agents";
	return NULL;
}

const char *
remote_labels(const RemoteSeries *series, RemoteLabels *out)
{
	bool named = false;
	PbReader r;
	PbField field;

	out->name = (PbSlice){NULL, 0};
	out->count = out->reserved = 0;
	pb_reader_init(&r, series->bytes.data, series->bytes.len);
	while (pb_next(&r, &field))
	{
		RemoteLabel label;
		const char *wrong;

		if (field.tag != SERIES_LABEL)
			continue;
		wrong = label_read(field.bytes, &label);
		if (wrong != NULL)
			return wrong;
		if (slice_is(label.name, "__name__"))
		{
			if (named)
				return "label given twice";
			named = true;
			out->name = label.value;
		}
		else if (remote_label_is_reserved(label.name))
			out->reserved++;
		else if (label.value.len > 0)
		{
			/* One place is kept for the label of the tenant. */
			if (out->count == PCTL_REMOTE_LABELS_MAX - 2)
				return "too many labels";
			out->label[out->count++] = label;
		}
	}
	return labels_check(out);
}

void
remote_write_series(PbWriter *request, PbWriter *scratch, const RemoteLabel *labels,
                    uint32_t label_count, const RemoteSample *samples, uint32_t count)
{
	uint8_t small[2 * (16 + PCTL_REMOTE_LABEL_BYTES_MAX)];

	scratch->len = 0;
	scratch->full = false;
	for (uint32_t i = 0; i < label_count; i++)
	{
		PbWriter label = {.data = small, .max = sizeof(small)};

		pb_write_bytes(&label, LABEL_NAME, labels[i].name.data, labels[i].name.len);
		pb_write_bytes(&label, LABEL_VALUE, labels[i].value.data, labels[i].value.len);
		pb_write_bytes(scratch, SERIES_LABEL, small, label.len);
		scratch->full |= label.full;
	}
	for (uint32_t i = 0; i < count; i++)
	{
		PbWriter sample = {.data = small, .max = sizeof(small)};

		pb_write_fixed64(&sample, SAMPLE_VALUE, pb_bits(samples[i].value));
		pb_write_varint(&sample, SAMPLE_TIME, (uint64_t) samples[i].ms);
		pb_write_bytes(scratch, SERIES_SAMPLE, small, sample.len);
	}
	if (scratch->full)
		request->full = true;
	else
		pb_write_bytes(request, REQUEST_SERIES, scratch->data, scratch->len);
}
