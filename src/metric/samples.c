/* SPDX-License-Identifier: PostgreSQL
 *
 * samples.c -- growing, sorting and merging of rows. What comes is nearly always in order already, so that is
 * looked for first.
 */
#include "metric/samples.h"

#include "utils/memutils.h"

#define ROOM_MIN 64

void
metric_samples_init(MetricSamples *samples, uint32 columns)
{
	memset(samples, 0, sizeof(*samples));
	samples->columns = columns;
	samples->context = CurrentMemoryContext;
}

static void *
array_grow(MemoryContext context, void *old, int64 size)
{
	return old == NULL ? MemoryContextAllocHuge(context, size) : repalloc_huge(old, size);
}

static bool
has_rests(const MetricSamples *samples)
{
	return samples->columns > 1;
}

void
metric_samples_reserve(MetricSamples *samples, int64 more)
{
	if (samples->count + more <= samples->room)
		return;
	samples->room = Max(Max(samples->room * 2, samples->count + more), ROOM_MIN);
	samples->times = array_grow(samples->context, samples->times, samples->room * 8);
	for (uint32 i = 0; i < samples->columns; i++)
		samples->values[i] = array_grow(samples->context, samples->values[i], samples->room * 8);
	if (has_rests(samples))
		samples->rests = array_grow(samples->context, samples->rests,
		                            samples->room * (int64) sizeof(ChunkRest));
}

void
metric_samples_add(MetricSamples *samples, int64 time, const double *values)
{
	metric_samples_reserve(samples, 1);
	samples->times[samples->count] = time;
	for (uint32 i = 0; i < samples->columns; i++)
		samples->values[i][samples->count] = values[i];
	if (has_rests(samples))
		samples->rests[samples->count] = (ChunkRest){0};
	samples->count++;
}

void
metric_samples_add_chunk(MetricSamples *samples, const Chunk *chunk)
{
	metric_samples_reserve(samples, chunk->count);
	memcpy(samples->times + samples->count, chunk->times, chunk->count * sizeof(int64));
	for (uint32 i = 0; i < samples->columns; i++)
		memcpy(samples->values[i] + samples->count, chunk->values[i],
		       chunk->count * sizeof(double));
	if (has_rests(samples))
		memcpy(samples->rests + samples->count, chunk->rest, chunk->count * sizeof(ChunkRest));
	samples->count += chunk->count;
}

typedef struct Place
{
	int64 time, at;
} Place;

static int
place_compare(const void *a, const void *b)
{
	const Place *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static bool
in_order(const MetricSamples *samples)
{
	for (int64 i = 1; i < samples->count; i++)
		if (samples->times[i] <= samples->times[i - 1])
			return false;
	return true;
}

void
metric_samples_sort(MetricSamples *samples)
{
	MetricSamples sorted;
	Place *places;

	if (in_order(samples))
		return;
	places = MemoryContextAllocHuge(CurrentMemoryContext, samples->count * sizeof(Place));
	for (int64 i = 0; i < samples->count; i++)
		places[i] = (Place){.time = samples->times[i], .at = i};
	qsort(places, samples->count, sizeof(Place), place_compare);
	metric_samples_init(&sorted, samples->columns);
	sorted.context = samples->context;
	metric_samples_reserve(&sorted, samples->count);
	for (int64 i = 0; i < samples->count; i++)
	{
		if (i + 1 < samples->count && places[i + 1].time == places[i].time)
			continue;
		sorted.times[sorted.count] = places[i].time;
		for (uint32 c = 0; c < samples->columns; c++)
			sorted.values[c][sorted.count] = samples->values[c][places[i].at];
		if (has_rests(samples))
			sorted.rests[sorted.count] = samples->rests[places[i].at];
		sorted.count++;
	}
	pfree(places);
	*samples = sorted;
}

void
metric_samples_merge(MetricSamples *older, const MetricSamples *newer)
{
	if (newer->count == 0)
		return;
	/* Appended and sorted: the later of two equal times wins, which is the newer one. */
	metric_samples_reserve(older, newer->count);
	memcpy(older->times + older->count, newer->times, newer->count * sizeof(int64));
	for (uint32 i = 0; i < older->columns; i++)
		memcpy(older->values[i] + older->count, newer->values[i], newer->count * sizeof(double));
	if (has_rests(older))
		memcpy(older->rests + older->count, newer->rests, newer->count * sizeof(ChunkRest));
	older->count += newer->count;
	metric_samples_sort(older);
}

int64
metric_samples_pieces(int64 count)
{
	return (count + CHUNK_SAMPLES_MAX - 1) / CHUNK_SAMPLES_MAX;
}

void
metric_samples_chunk(const MetricSamples *samples, int64 first, uint32 count, Chunk *chunk)
{
	chunk->count = count;
	chunk->columns = samples->columns;
	memcpy(chunk->times, samples->times + first, count * sizeof(int64));
	for (uint32 i = 0; i < samples->columns; i++)
		memcpy(chunk->values[i], samples->values[i] + first, count * sizeof(double));
	chunk->rests = has_rests(samples);
	if (chunk->rests)
		memcpy(chunk->rest, samples->rests + first, count * sizeof(ChunkRest));
}
