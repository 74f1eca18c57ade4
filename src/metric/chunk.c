/* SPDX-License-Identifier: PostgreSQL
 *
 * chunk.c -- the codec of chunk.h.
 *
 * Probe metrics are mostly milliseconds with three decimals, counts and ratios: as whole numbers their
 * differences take a byte or two, where XORed doubles take eight. So decimal coding is tried first,
 * and taken only when each value comes back as the very same bits. Varints of one and two
 * bytes, nearly all of them, have a path of their own: for times, whose lengths repeat, one that the
 * processor foresees, for values one without a branch.
 */
#include "metric/chunk.h"

#include <math.h>
#include <string.h>

#define CHUNK_MAGIC   0xB1
#define CODING_XOR    0x10
#define DECIMALS_MAX  9
#define WITH_RESTS    0x80
#define EXACT_INTEGER 9007199254740992.0 /* 2^53: whole numbers up to here are doubles */

static const uint64_t unit_us[] = {1, 1000, 1000000};
static const double power10[DECIMALS_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

static inline uint64_t
zigzag(int64_t n)
{
	return (uint64_t) n << 1 ^ (uint64_t) (n >> 63);
}

static inline int64_t
unzigzag(uint64_t n)
{
	return (int64_t) (n >> 1 ^ -(n & 1));
}

static inline uint8_t *
varint_put(uint8_t *at, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*at++ = (uint8_t) n | 0x80;
	*at++ = (uint8_t) n;
	return at;
}

/* At end - 1 or before. NULL when it does not end in time. */
static const uint8_t *
varint_get_long(const uint8_t *at, const uint8_t *end, uint64_t *n)
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

static inline const uint8_t *
varint_get(const uint8_t *at, const uint8_t *end, uint64_t *n)
{
	if (end - at >= 2)
	{
		if (at[0] < 0x80)
		{
			*n = at[0];
			return at + 1;
		}
		if (at[1] < 0x80)
		{
			*n = (uint64_t) (at[0] & 0x7f) | (uint64_t) at[1] << 7;
			return at + 2;
		}
	}
	return varint_get_long(at, end, n);
}

/* The same where one byte and two come in no order that could be foreseen. */
static inline const uint8_t *
varint_get_mixed(const uint8_t *at, const uint8_t *end, uint64_t *n)
{
	if (end - at >= 2 && (at[0] & at[1]) < 0x80)
	{
		uint64_t two = at[0] >> 7;

		*n = (uint64_t) (at[0] & 0x7f) | ((uint64_t) at[1] << 7 & -two);
		return at + 1 + two;
	}
	return varint_get_long(at, end, n);
}

static inline uint64_t
double_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline double
bits_double(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The value as a whole number of 10^-digits, when it is exactly that. */
static inline bool
decimal_exact(double value, int digits, int64_t *whole)
{
	double scaled = rint(value * power10[digits]);

	if (!(fabs(scaled) <= EXACT_INTEGER))
		return false;
	*whole = (int64_t) scaled;
	return double_bits((double) *whole / power10[digits]) == double_bits(value);
}

/* The fewest digits all values are exact with, and the whole numbers; -1 when there are none. */
static int
decimal_find(const double *values, uint32_t count, int64_t *whole)
{
	int digits = 0;

	for (uint32_t i = 0; i < count; i++)
		while (!decimal_exact(values[i], digits, &whole[i]))
			if (++digits > DECIMALS_MAX)
				return -1;
	/* Those before the last change, with what it came to. */
	for (uint32_t i = 0; i < count; i++)
		if (!decimal_exact(values[i], digits, &whole[i]))
			return -1;
	return digits;
}

static uint8_t *
xor_put(uint8_t *at, const double *values, uint32_t count)
{
	uint64_t before = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t bits = double_bits(values[i]);
		uint64_t differs = bits ^ before;
		int above = differs == 0 ? 8 : __builtin_clzll(differs) / 8;
		int below = differs == 0 ? 0 : __builtin_ctzll(differs) / 8;

		*at++ = (uint8_t) (above << 4 | below);
		for (int byte = 7 - above; byte >= below; byte--)
			*at++ = (uint8_t) (differs >> (byte * 8));
		before = bits;
	}
	return at;
}

static uint8_t *
column_put(uint8_t *at, const double *values, uint32_t count)
{
	int64_t whole[CHUNK_SAMPLES_MAX];
	int digits = decimal_find(values, count, whole);
	uint64_t before = 0;

	if (digits < 0)
	{
		*at++ = CODING_XOR;
		return xor_put(at, values, count);
	}
	*at++ = (uint8_t) digits;
	for (uint32_t i = 0; i < count; i++)
	{
		at = varint_put(at, zigzag((int64_t) ((uint64_t) whole[i] - before)));
		before = (uint64_t) whole[i];
	}
	return at;
}

/* The largest unit all differences are whole numbers of. */
static int
unit_find(const int64_t *times, uint32_t count)
{
	int unit = 2;

	for (uint32_t i = 1; i < count && unit > 0; i++)
		while (((uint64_t) times[i] - (uint64_t) times[i - 1]) % unit_us[unit] != 0)
			unit--;
	return unit;
}

static uint8_t *
times_put(uint8_t *at, const int64_t *times, uint32_t count, int unit)
{
	uint64_t before = 0;

	at = varint_put(at, zigzag(times[0]));
	for (uint32_t i = 1; i < count; i++)
	{
		uint64_t delta = ((uint64_t) times[i] - (uint64_t) times[i - 1]) / unit_us[unit];

		at = varint_put(at, zigzag((int64_t) (delta - before)));
		before = delta;
	}
	return at;
}

static uint8_t *
rests_put(uint8_t *at, const Chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->count; i++)
	{
		at = varint_put(at, chunk->rest[i].len);
		if (chunk->rest[i].len > 0)
			memcpy(at, chunk->rest[i].at, chunk->rest[i].len);
		at += chunk->rest[i].len;
	}
	return at;
}

size_t
chunk_bytes_max(const Chunk *chunk)
{
	size_t most = CHUNK_BYTES_MAX;

	for (uint32_t i = 0; chunk->rests && i < chunk->count; i++)
		most += 2 + chunk->rest[i].len;
	return most;
}

size_t
chunk_encode(uint8_t *out, const Chunk *chunk)
{
	uint8_t *at = out;
	int unit;

	if (chunk->count == 0 || chunk->count > CHUNK_SAMPLES_MAX || chunk->columns == 0 ||
	    chunk->columns > CHUNK_COLUMNS_MAX)
		return 0;
	for (uint32_t i = 1; i < chunk->count; i++)
		if (chunk->times[i] <= chunk->times[i - 1])
			return 0;
	for (uint32_t i = 0; chunk->rests && i < chunk->count; i++)
		if (chunk->rest[i].len > CHUNK_REST_MAX)
			return 0;
	unit = unit_find(chunk->times, chunk->count);
	*at++ = CHUNK_MAGIC;
	*at++ = (uint8_t) (chunk->columns | (chunk->rests ? WITH_RESTS : 0));
	*at++ = (uint8_t) unit;
	at = varint_put(at, chunk->count);
	at = times_put(at, chunk->times, chunk->count, unit);
	for (uint32_t i = 0; i < chunk->columns; i++)
		at = column_put(at, chunk->values[i], chunk->count);
	if (chunk->rests)
		at = rests_put(at, chunk);
	return (size_t) (at - out);
}

static const uint8_t *
times_get(const uint8_t *at, const uint8_t *end, int64_t *times, uint32_t count, uint64_t unit)
{
	uint64_t n, delta = 0, time;
	uint64_t limit = UINT64_MAX / unit;
	bool bad = false;

	at = varint_get(at, end, &n);
	if (at == NULL)
		return NULL;
	time = (uint64_t) unzigzag(n);
	times[0] = (int64_t) time;
	for (uint32_t i = 1; i < count; i++)
	{
		at = varint_get(at, end, &n);
		if (at == NULL)
			return NULL;
		delta += (uint64_t) unzigzag(n);
		time += delta * unit;
		times[i] = (int64_t) time;
		bad |= delta > limit || times[i] <= times[i - 1];
	}
	return bad ? NULL : at;
}

static const uint8_t *
decimal_get(const uint8_t *at, const uint8_t *end, double *values, uint32_t count, int digits)
{
	int64_t whole[CHUNK_SAMPLES_MAX];
	uint64_t n, sum = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		at = varint_get_mixed(at, end, &n);
		if (at == NULL)
			return NULL;
		sum += (uint64_t) unzigzag(n);
		whole[i] = (int64_t) sum;
	}
	if (digits == 0)
		for (uint32_t i = 0; i < count; i++)
			values[i] = (double) whole[i];
	else
		for (uint32_t i = 0; i < count; i++)
			values[i] = (double) whole[i] / power10[digits];
	return at;
}

static const uint8_t *
xor_get(const uint8_t *at, const uint8_t *end, double *values, uint32_t count)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t differs = 0;
		int above, below, bytes;

		if (at == end)
			return NULL;
		above = *at >> 4;
		below = *at++ & 15;
		bytes = 8 - above - below;
		if (bytes < 0 || bytes > end - at)
			return NULL;
		for (int byte = 0; byte < bytes; byte++)
			differs = differs << 8 | *at++;
		/* With no bytes there is nothing to shift, by whatever was said. */
		bits ^= bytes == 0 ? 0 : differs << (below * 8);
		values[i] = bits_double(bits);
	}
	return at;
}

static const uint8_t *
rests_get(const uint8_t *at, const uint8_t *end, Chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->count; i++)
	{
		uint64_t len;

		at = varint_get(at, end, &len);
		if (at == NULL || len > CHUNK_REST_MAX || len > (uint64_t) (end - at))
			return NULL;
		chunk->rest[i] = (ChunkRest){.at = at, .len = (uint32_t) len};
		at += len;
	}
	return at;
}

bool
chunk_decode(Chunk *chunk, const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;
	uint64_t count;
	int unit;

	if (len < 4 || at[0] != CHUNK_MAGIC || at[2] > 2)
		return false;
	chunk->columns = at[1] & (WITH_RESTS - 1);
	chunk->rests = (at[1] & WITH_RESTS) != 0;
	if (chunk->columns == 0 || chunk->columns > CHUNK_COLUMNS_MAX)
		return false;
	unit = at[2];
	at = varint_get(at + 3, end, &count);
	if (at == NULL || count == 0 || count > CHUNK_SAMPLES_MAX)
		return false;
	chunk->count = (uint32_t) count;
	at = times_get(at, end, chunk->times, chunk->count, unit_us[unit]);
	for (uint32_t i = 0; i < chunk->columns && at != NULL; i++)
	{
		int coding;

		if (at == end)
			return false;
		coding = *at++;
		if (coding == CODING_XOR)
			at = xor_get(at, end, chunk->values[i], chunk->count);
		else if (coding <= DECIMALS_MAX)
			at = decimal_get(at, end, chunk->values[i], chunk->count, coding);
		else
			return false;
	}
	if (chunk->rests && at != NULL)
		at = rests_get(at, end, chunk);
	return at == end;
}
