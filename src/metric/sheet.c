/* SPDX-License-Identifier: PostgreSQL
 *
 * sheet.c -- samples of many series in one row. What is read comes from a table that only this program writes, and is
 * trusted no more than what comes from a network: each place is checked when a sheet is opened, and nothing after that.
 */
#include "metric/sheet.h"

#include <endian.h>
#include <string.h>

#define MAGIC 0xB2

enum
{
	AT_TIME = SHEET_SERIES_BYTES,
	AT_VALUE = AT_TIME + 8,
	AT_PLACE = AT_VALUE,
	AT_LEN = AT_PLACE + 4
};

static uint64_t
word_get(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

static uint32_t
half_get(const uint8_t *at)
{
	uint32_t half;

	memcpy(&half, at, sizeof(half));
	return le32toh(half);
}

static void
word_put(uint8_t *at, uint64_t word)
{
	word = htole64(word);
	memcpy(at, &word, sizeof(word));
}

static void
half_put(uint8_t *at, uint32_t half)
{
	half = htole32(half);
	memcpy(at, &half, sizeof(half));
}

int
sheet_series_compare(const uint8_t *a, const uint8_t *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	if (x == y)
	{
		memcpy(&x, a + 8, sizeof(x));
		memcpy(&y, b + 8, sizeof(y));
	}
	x = be64toh(x);
	y = be64toh(y);
	return (x > y) - (x < y);
}

bool
sheet_open(Sheet *sheet, const void *data, size_t len)
{
	const uint8_t *at = data;
	size_t room, place = 0;

	if (len < SHEET_HEAD_BYTES || at[0] != MAGIC)
		return false;
	sheet->count = (uint32_t) at[1] | (uint32_t) at[2] << 8;
	if (sheet->count == 0 || (len - SHEET_HEAD_BYTES) / SHEET_ENTRY_BYTES < sheet->count)
		return false;
	room = len - SHEET_HEAD_BYTES - (size_t) sheet->count * SHEET_ENTRY_BYTES;
	at += SHEET_HEAD_BYTES;
	sheet->entries = at;
	sheet->chunks = at + (size_t) sheet->count * SHEET_ENTRY_BYTES;
	for (uint32_t i = 0; i < sheet->count; i++, at += SHEET_ENTRY_BYTES)
	{
		if (i > 0 && sheet_series_compare(at - SHEET_ENTRY_BYTES, at) >= 0)
			return false;
		if ((int64_t) word_get(at + AT_TIME) != SHEET_CHUNK)
			continue;
		if (half_get(at + AT_PLACE) != place || half_get(at + AT_LEN) == 0 ||
		    half_get(at + AT_LEN) > room - place)
			return false;
		place += half_get(at + AT_LEN);
	}
	return place == room;
}

SheetEntry
sheet_entry(const Sheet *sheet, uint32_t i)
{
	const uint8_t *at = sheet->entries + (size_t) i * SHEET_ENTRY_BYTES;
	SheetEntry entry = {.series = at, .time = (int64_t) word_get(at + AT_TIME)};
	uint64_t bits = word_get(at + AT_VALUE);

	if (entry.time == SHEET_CHUNK)
	{
		entry.chunk = sheet->chunks + half_get(at + AT_PLACE);
		entry.len = half_get(at + AT_LEN);
	}
	else
		memcpy(&entry.value, &bits, sizeof(bits));
	return entry;
}

bool
sheet_find(const Sheet *sheet, const uint8_t *series, SheetEntry *entry)
{
	uint32_t first = 0, next = sheet->count;

	while (first < next)
	{
		uint32_t middle = first + (next - first) / 2;
		int order = sheet_series_compare(sheet->entries + (size_t) middle * SHEET_ENTRY_BYTES,
		                                 series);

		if (order == 0)
		{
			*entry = sheet_entry(sheet, middle);
			return true;
		}
		if (order < 0)
			first = middle + 1;
		else
			next = middle;
	}
	return false;
}

size_t
sheet_write(uint8_t *out, const SheetEntry *entries, uint32_t count)
{
	uint8_t *at = out + SHEET_HEAD_BYTES;
	uint8_t *chunks = at + (size_t) count * SHEET_ENTRY_BYTES;
	size_t place = 0;

	if (count == 0 || count > UINT16_MAX)
		return 0;
	out[0] = MAGIC;
	out[1] = (uint8_t) count;
	out[2] = (uint8_t) (count >> 8);
	for (uint32_t i = 0; i < count; i++, at += SHEET_ENTRY_BYTES)
	{
		const SheetEntry *entry = &entries[i];
		uint64_t bits;

		if (i > 0 && sheet_series_compare(entries[i - 1].series, entry->series) >= 0)
			return 0;
		if (entry->chunk == NULL && entry->time == SHEET_CHUNK)
			return 0;
		memcpy(at, entry->series, SHEET_SERIES_BYTES);
		memcpy(&bits, &entry->value, sizeof(bits));
		word_put(at + AT_TIME, entry->chunk ? (uint64_t) SHEET_CHUNK : (uint64_t) entry->time);
		if (entry->chunk == NULL)
		{
			word_put(at + AT_VALUE, bits);
			continue;
		}
		half_put(at + AT_PLACE, (uint32_t) place);
		half_put(at + AT_LEN, entry->len);
		memcpy(chunks + place, entry->chunk, entry->len);
		place += entry->len;
	}
	return (size_t) (chunks - out) + place;
}
