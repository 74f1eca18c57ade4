/* SPDX-License-Identifier: PostgreSQL
 *
 * sketch.c -- bins of sketch.h.
 *
 * A key is the place of the bin, ceil(log(|value|) / log(gamma)), moved by KEY_ZERO so that it is above 0, with the sign of
 * the value; the key 0 is of values that are 0. So keys ascend as values do, and squaring gamma
 * halves places, rounded up, whatever the sign.
 */
#include "metric/sketch.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define KEY_ZERO      40000 /* more than the place of the smallest value, so signs never meet */
#define TINY          1e-300
#define COLLAPSES_MAX 14
#define COUNT_MAX     (UINT64_MAX >> 8) /* of a bin: sums of them do not wrap */

/* Bins are of the lower bound excluded and the upper one included. */
static const double gamma_first = (1 + SKETCH_ERROR) / (1 - SKETCH_ERROR);

static int32_t
key_collapse(int32_t key)
{
	int32_t place = (key < 0 ? -key : key) - KEY_ZERO;

	if (key == 0)
		return 0;
	place = (place + 1) >> 1;
	return key < 0 ? -(place + KEY_ZERO) : place + KEY_ZERO;
}

static int32_t
key_of(double value, uint32_t collapses)
{
	static double per_place = 0;
	int32_t key;

	if (fabs(value) < TINY)
		return 0;
	if (isinf(value))
		value = copysign(DBL_MAX, value);
	if (per_place == 0)
		per_place = 1 / log(gamma_first);
	key = (int32_t) ceil(log(fabs(value)) * per_place) + KEY_ZERO;
	key = value < 0 ? -key : key;
	for (uint32_t i = 0; i < collapses; i++)
		key = key_collapse(key);
	return key;
}

/* The value whose relative distance to both bounds of the bin is the same. */
static double
key_value(int32_t key, uint32_t collapses)
{
	int32_t place = (key < 0 ? -key : key) - KEY_ZERO;
	double log_gamma = ldexp(log(gamma_first), (int) collapses);
	double value;

	if (key == 0)
		return 0;
	/* 2 gamma^place / (gamma + 1), which overflows neither below nor above. */
	value = exp(log_gamma * place + log(2) - log1p(exp(log_gamma)));
	if (!isfinite(value))
		value = DBL_MAX;
	return key < 0 ? -value : value;
}

static void
collapse(Sketch *sketch)
{
	uint32_t bins = 0;

	for (uint32_t i = 0; i < sketch->bins; i++)
	{
		int32_t key = key_collapse(sketch->key[i]);

		if (bins > 0 && sketch->key[bins - 1] == key)
			sketch->count[bins - 1] += sketch->count[i];
		else
		{
			sketch->key[bins] = key;
			sketch->count[bins++] = sketch->count[i];
		}
	}
	sketch->bins = bins;
	sketch->collapses++;
}

/* The first bin whose key is not below. */
static uint32_t
bin_find(const Sketch *sketch, int32_t key)
{
	uint32_t low = 0, high = sketch->bins;

	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (sketch->key[middle] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of a key as it is with the collapses of the sketch. */
static void
key_add(Sketch *sketch, int32_t key, uint64_t count)
{
	uint32_t at = bin_find(sketch, key);

	if (at < sketch->bins && sketch->key[at] == key)
	{
		sketch->count[at] += count;
		return;
	}
	while (sketch->bins == SKETCH_BINS_MAX)
	{
		collapse(sketch);
		key = key_collapse(key);
		at = bin_find(sketch, key);
		if (at < sketch->bins && sketch->key[at] == key)
		{
			sketch->count[at] += count;
			return;
		}
	}
	memmove(sketch->key + at + 1, sketch->key + at, (sketch->bins - at) * sizeof(*sketch->key));
	memmove(sketch->count + at + 1, sketch->count + at,
	        (sketch->bins - at) * sizeof(*sketch->count));
	sketch->key[at] = key;
	sketch->count[at] = count;
	sketch->bins++;
}

void
sketch_add(Sketch *sketch, double value, uint64_t count)
{
	key_add(sketch, key_of(value, sketch->collapses), count);
}

void
sketch_merge(Sketch *into, const Sketch *from)
{
	while (into->collapses < from->collapses)
		collapse(into);
	for (uint32_t i = 0; i < from->bins; i++)
	{
		int32_t key = from->key[i];

		/* Adding may collapse, so it is asked each time. */
		for (uint32_t n = from->collapses; n < into->collapses; n++)
			key = key_collapse(key);
		key_add(into, key, from->count[i]);
	}
}

uint64_t
sketch_count(const Sketch *sketch)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < sketch->bins; i++)
		count += sketch->count[i];
	return count;
}

double
sketch_error(const Sketch *sketch)
{
	/* (gamma - 1) / (gamma + 1) */
	return tanh(ldexp(log(gamma_first), (int) sketch->collapses) / 2);
}

/* The value of a rank, from 0. */
static double
rank_value(const Sketch *sketch, uint64_t rank)
{
	uint32_t i = 0;

	while (i + 1 < sketch->bins && rank >= sketch->count[i])
		rank -= sketch->count[i++];
	return key_value(sketch->key[i], sketch->collapses);
}

double
sketch_quantile(const Sketch *sketch, double q)
{
	uint64_t last = sketch_count(sketch) - 1;
	double place = q * (double) last;
	uint64_t below = (uint64_t) floor(place);
	double part = place - (double) below, low, high;

	if (below >= last)
		return rank_value(sketch, last);
	low = rank_value(sketch, below);
	high = rank_value(sketch, below + 1);
	return low * (1 - part) + high * part;
}

static uint8_t *
varint_write(uint8_t *at, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*at++ = (uint8_t) n | 0x80;
	*at++ = (uint8_t) n;
	return at;
}

/* NULL when it does not end in time. */
static const uint8_t *
varint_read(const uint8_t *at, const uint8_t *end, uint64_t *n)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 64 && at < end; shift += 7)
	{
		value |= (uint64_t) (*at & 0x7f) << shift;
		if (*at++ < 0x80)
		{
			*n = value;
			return at;
		}
	}
	return NULL;
}

/* The first key comes as what it is above the least of all. */
#define KEY_LEAST (-(1 << 17))

size_t
sketch_encode(uint8_t *out, const Sketch *sketch)
{
	uint8_t *at = out;
	int32_t before = KEY_LEAST;

	*at++ = (uint8_t) sketch->collapses;
	at = varint_write(at, sketch->bins);
	for (uint32_t i = 0; i < sketch->bins; i++)
	{
		at = varint_write(at, (uint64_t) (sketch->key[i] - before));
		at = varint_write(at, sketch->count[i]);
		before = sketch->key[i];
	}
	return (size_t) (at - out);
}

bool
sketch_decode(Sketch *sketch, const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;
	int32_t before = KEY_LEAST;
	uint64_t n, count;

	if (len < 2 || at[0] > COLLAPSES_MAX)
		return false;
	sketch->collapses = *at++;
	at = varint_read(at, end, &n);
	if (at == NULL || n > SKETCH_BINS_MAX)
		return false;
	sketch->bins = (uint32_t) n;
	for (uint32_t i = 0; i < sketch->bins; i++)
	{
		at = varint_read(at, end, &n);
		at = at == NULL ? NULL : varint_read(at, end, &count);
		if (at == NULL || n == 0 || n > 1 << 18 || count == 0 || count > COUNT_MAX)
			return false;
		before += (int32_t) n;
		if (before > -KEY_LEAST)
			return false;
		sketch->key[i] = before;
		sketch->count[i] = count;
	}
	return at == end;
}
