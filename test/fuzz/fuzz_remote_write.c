/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_remote_write.c -- what the store relies on holds for every series that is accepted, and a series written anew from what
 * was read is read as the same.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/pb.c"
#include "remote/wire.c"

static RemoteLabels first, second;

static void
inside(PbSlice part, const uint8_t *data, size_t size)
{
	require(part.data >= data && part.len <= size &&
	        (size_t) (part.data - data) <= size - part.len);
}

static bool
same(PbSlice a, PbSlice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static void
labels_hold(const RemoteLabels *l)
{
	require(l->name.len > 0 && l->name.len <= PCTL_REMOTE_NAME_BYTES_MAX);
	require(l->count <= PCTL_REMOTE_LABELS_MAX - 2);
	for (uint32_t i = 0; i < l->count; i++)
	{
		const RemoteLabel *label = &l->label[i];

		require(label->name.len > 0 && label->name.len <= PCTL_KEY_BYTES_MAX);
		require(label->value.len > 0 && label->value.len <= PCTL_REMOTE_LABEL_BYTES_MAX);
		require(pb_text_valid(label->value) && !remote_label_is_reserved(label->name));
		require(i == 0 || slice_compare(l->label[i - 1].name, label->name) < 0);
	}
}

/* Writes it as a sender does and reads that. */
static void
round_trip(const RemoteLabels *l, const RemoteSample *samples, uint32_t count)
{
	size_t room = 300000 + (size_t) count * 32;
	PbWriter w = {.data = malloc(room), .max = room}, scratch = {.data = malloc(room), .max = room};
	RemoteSample *back = malloc((count + 1) * sizeof(*back));
	RemoteLabel own[PCTL_REMOTE_LABELS_MAX];
	RemoteSeries series;
	PbReader r;

	own[0] = (RemoteLabel){{(const uint8_t *) "__name__", 8}, l->name};
	memcpy(own + 1, l->label, l->count * sizeof(own[0]));
	remote_write_series(&w, &scratch, own, l->count + 1, samples, count);
	require(!w.full);
	pb_reader_init(&r, w.data, w.len);
	require(remote_series_next(&r, &series) && series.samples == count);
	require(remote_labels(&series, &second) == NULL && second.reserved == 0);
	require(same(l->name, second.name) && l->count == second.count);
	for (uint32_t i = 0; i < l->count; i++)
		require(same(l->label[i].name, second.label[i].name) &&
		        same(l->label[i].value, second.label[i].value));
	remote_samples(&series, back);
	for (uint32_t i = 0; i < count; i++)
		require(samples[i].ms == back[i].ms && pb_bits(samples[i].value) == pb_bits(back[i].value));
	free(w.data);
	free(scratch.data);
	free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	RemoteSeries series;
	PbReader r;

	pb_reader_init(&r, data, size);
	while (remote_series_next(&r, &series))
	{
		RemoteSample *samples = malloc((series.samples + 1) * sizeof(*samples));
		const char *wrong;

		inside(series.bytes, data, size);
		inside(series.labels, series.bytes.data, series.bytes.len);
		remote_samples(&series, samples);
		wrong = remote_labels(&series, &first);
		if (wrong == NULL)
		{
			labels_hold(&first);
			round_trip(&first, samples, series.samples);
		}
		else
			require(wrong[0] != '\0');
		free(samples);
	}
	return 0;
}
