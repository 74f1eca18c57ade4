/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_sheet.c -- bytes that are taken for a sheet have ascending series, each of which is found at its place, chunks that lie
 * inside, and what was read from them and written again is the same bytes.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "metric/chunk.c"
#include "metric/sheet.c"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Chunk chunk;
	SheetEntry *entries, found;
	uint8_t *out;
	Sheet sheet;

	if (!sheet_open(&sheet, data, size))
		return 0;
	require(sheet.count > 0);
	entries = malloc(sheet.count * sizeof(*entries));
	out = malloc(size);
	require(entries && out);
	for (uint32_t i = 0; i < sheet.count; i++)
	{
		entries[i] = sheet_entry(&sheet, i);
		require(i == 0 || memcmp(entries[i - 1].series, entries[i].series, SHEET_SERIES_BYTES) < 0);
		require(sheet_find(&sheet, entries[i].series, &found));
		require(found.series == entries[i].series && found.chunk == entries[i].chunk);
		if (found.chunk == NULL)
			continue;
		require(found.chunk >= data && found.len <= (size_t) (data + size - found.chunk));
		(void) chunk_decode(&chunk, found.chunk, found.len);
	}
	require(sheet_write(out, entries, sheet.count) == size && memcmp(out, data, size) == 0);
	free(out);
	free(entries);
	return 0;
}
