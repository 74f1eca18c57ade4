/* SPDX-License-Identifier: PostgreSQL
 *
 * sheet.h -- samples of many series in one row of metric_hot: what its data holds. Pure C.
 *
 * Layout, version 1; numbers least significant byte first:
 *
 *   magic (1 byte, 0xB2)  count (2)
 *   count entries of 32 bytes, ascending by series, each series once:
 *     series (16)
 *     one sample:   time (8, microseconds since 2000)  value (8)
 *     any number:   SHEET_CHUNK (8)  place (4)  length (4)
 *   the chunks (chunk.h) of those that say so, one behind the other; place counts from the first
 *
 * An entry has its place, so that a reader of one series looks it up by halving, and one sample costs a copy: most rows are of a
 * scrape, which brings one sample of each series.
 */
#ifndef PCTL_METRIC_SHEET_H
#define PCTL_METRIC_SHEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHEET_HEAD_BYTES   3
#define SHEET_ENTRY_BYTES  32
#define SHEET_SERIES_BYTES 16

/* Stands where a time would: no sample is of that time. */
#define SHEET_CHUNK INT64_MIN

typedef struct SheetEntry
{
	const uint8_t *series;
	const uint8_t *chunk; /* NULL: one sample, which is time and value */
	uint32_t len;         /* of the chunk */
	int64_t time;
	double value;
} SheetEntry;

/* What was opened has to stay. */
typedef struct Sheet
{
	const uint8_t *entries, *chunks;
	uint32_t count;
} Sheet;

/* False when the bytes are no sheet. Chunks are not looked into. */
bool sheet_open(Sheet *sheet, const void *data, size_t len);

/* Entry i, below count. */
SheetEntry sheet_entry(const Sheet *sheet, uint32_t i);

/* The entry of a series; false when it has none. */
bool sheet_find(const Sheet *sheet, const uint8_t *series, SheetEntry *entry);

/* As memcmp() of the 16 bytes. */
int sheet_series_compare(const uint8_t *a, const uint8_t *b);

/* Bytes written to out, which has room for the head, an entry each and the chunks; 0 when the series do not ascend, there are none
 * or more than 65535, or one is of the time SHEET_CHUNK. */
size_t sheet_write(uint8_t *out, const SheetEntry *entries, uint32_t count);

#endif
