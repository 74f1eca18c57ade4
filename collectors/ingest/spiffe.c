/* SPDX-License-Identifier: PostgreSQL
 *
 * spiffe.c -- parse and print spiffe://probectl/tenant/<uuid>/agent/<uuid>.
 *
 * The form has a fixed length, so that is checked first and no later step can read
 * outside the input. Hexadecimal digits are compared as bytes: isxdigit() would
 * depend on the locale and accept capitals.
 */
#include "ingest/spiffe.h"

#include <string.h>

#define SPIFFE_HEAD     "spiffe://probectl/tenant/"
#define SPIFFE_MID      "/agent/"
#define SPIFFE_HEAD_LEN (sizeof(SPIFFE_HEAD) - 1)
#define SPIFFE_MID_LEN  (sizeof(SPIFFE_MID) - 1)
#define SPIFFE_MID_AT   (SPIFFE_HEAD_LEN + SPIFFE_UUID_LEN)
#define SPIFFE_AGENT_AT (SPIFFE_MID_AT + SPIFFE_MID_LEN)

_Static_assert(SPIFFE_AGENT_AT + SPIFFE_UUID_LEN == SPIFFE_ID_LEN, "lengths of the SPIFFE form");

static int
spiffe_nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool
spiffe_uuid_parse(const char *text, size_t len, uint8_t bytes[16])
{
	uint8_t out[16] = {0};
	size_t digit = 0;

	if (len != SPIFFE_UUID_LEN)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		int nibble;

		/* 8-4-4-4-12, RFC 9562 section 4 */
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
			continue;
		}
		nibble = spiffe_nibble(text[i]);
		if (nibble < 0)
			return false;
		out[digit / 2] = (uint8_t) (out[digit / 2] << 4 | nibble);
		digit++;
	}
	if (bytes != NULL)
		memcpy(bytes, out, sizeof(out));
	return true;
}

bool
spiffe_parse(const char *uri, size_t len, struct spiffe_id *id)
{
	struct spiffe_id out;

	if (len != SPIFFE_ID_LEN || memcmp(uri, SPIFFE_HEAD, SPIFFE_HEAD_LEN) != 0 ||
	    memcmp(uri + SPIFFE_MID_AT, SPIFFE_MID, SPIFFE_MID_LEN) != 0)
		return false;
	if (!spiffe_uuid_parse(uri + SPIFFE_HEAD_LEN, SPIFFE_UUID_LEN, out.tenant_bytes) ||
	    !spiffe_uuid_parse(uri + SPIFFE_AGENT_AT, SPIFFE_UUID_LEN, out.agent_bytes))
		return false;

	memcpy(out.tenant, uri + SPIFFE_HEAD_LEN, SPIFFE_UUID_LEN);
	out.tenant[SPIFFE_UUID_LEN] = '\0';
	memcpy(out.agent, uri + SPIFFE_AGENT_AT, SPIFFE_UUID_LEN);
	out.agent[SPIFFE_UUID_LEN] = '\0';
	*id = out;
	return true;
}

void
spiffe_print(const struct spiffe_id *id, char out[SPIFFE_ID_LEN + 1])
{
	memcpy(out, SPIFFE_HEAD, SPIFFE_HEAD_LEN);
	memcpy(out + SPIFFE_HEAD_LEN, id->tenant, SPIFFE_UUID_LEN);
	memcpy(out + SPIFFE_MID_AT, SPIFFE_MID, SPIFFE_MID_LEN);
	memcpy(out + SPIFFE_AGENT_AT, id->agent, SPIFFE_UUID_LEN);
	out[SPIFFE_ID_LEN] = '\0';
}
