/* SPDX-License-Identifier: PostgreSQL
 *
 * check.h -- an export of an audit chain, line by line, with nothing but its text and a key.
 */
#ifndef PCTL_VERIFY_CHECK_H
#define PCTL_VERIFY_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_HASH      32
#define CHECK_KEYS_MAX  16
#define CHECK_LINES_MAX INT64_C(4000000000)

enum check_result
{
	CHECK_GOOD,
	CHECK_BAD,      /* at event bad */
	CHECK_MALFORMED /* the text is no export, or no proof */
};

struct check
{
	uint8_t keys[CHECK_KEYS_MAX][CHECK_HASH]; /* none: those in the export are believed */
	int key_count;
	int64_t lines, events, checkpoints, pruned, seq, signed_size, bad;
	char stream[40], why[160];
	uint8_t prev[CHECK_HASH], frontier[64][CHECK_HASH]; /* a subtree for each bit of seq */
};

bool check_hex(const char *text, uint8_t *out, size_t bytes);
/* With its line break: what lacks one was cut off. */
enum check_result check_line(struct check *c, const char *line, size_t len);
enum check_result check_end(struct check *c);
enum check_result check_proof(struct check *c, const char *text, size_t len, bool inclusion);

#endif
