/* SPDX-License-Identifier: PostgreSQL
 *
 * uuid7.h -- RFC 9562 version 7 identifiers: keys that sort by time of birth, so that a btree
 * grows at its right edge.
 */
#ifndef PCTL_UUID7_H
#define PCTL_UUID7_H

#include "postgres.h"

#include "utils/uuid.h"

void pctl_uuid7(pg_uuid_t *uuid);

/* Lower-case text with hyphens; buf of 37 bytes. */
void pctl_uuid_text(const pg_uuid_t *uuid, char buf[37]);

#define PCTL_UUID_TEXT_LEN 36

/* Of two pg_uuid_t, for qsort and bsearch: the order of the type. */
int pctl_uuid_compare(const void *a, const void *b);

#endif
