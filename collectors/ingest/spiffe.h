/* SPDX-License-Identifier: PostgreSQL
 *
 * spiffe.h -- the one form of identity an agent certificate may carry.
 *
 *     spiffe://probectl/tenant/<uuid>/agent/<uuid>
 *
 * Lower-case, exactly this length, nothing before, between or after: two
 * spellings of one identity would be two keys in every table. A pure function of
 * its input: no clock, no memory, no locale.
 */
#ifndef PCTL_INGEST_SPIFFE_H
#define PCTL_INGEST_SPIFFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPIFFE_UUID_LEN 36

/* strlen("spiffe://probectl/tenant/") + 36 + strlen("/agent/") + 36 */
#define SPIFFE_ID_LEN (25 + SPIFFE_UUID_LEN + 7 + SPIFFE_UUID_LEN)

struct spiffe_id
{
	char tenant[SPIFFE_UUID_LEN + 1]; /* text, as it goes to the database */
	char agent[SPIFFE_UUID_LEN + 1];
	uint8_t tenant_bytes[16]; /* for comparing and hashing */
	uint8_t agent_bytes[16];
};

/* True and *id filled when the bytes are an identity; otherwise false and *id unchanged. */
bool spiffe_parse(const char *uri, size_t len, struct spiffe_id *id);

/* Writes the canonical form and a NUL: SPIFFE_ID_LEN + 1 bytes. */
void spiffe_print(const struct spiffe_id *id, char out[SPIFFE_ID_LEN + 1]);

/* A lower-case UUID of exactly 36 bytes; bytes may be NULL. */
bool spiffe_uuid_parse(const char *text, size_t len, uint8_t bytes[16]);

#endif
