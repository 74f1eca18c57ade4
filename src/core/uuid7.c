/* SPDX-License-Identifier: PostgreSQL
 *
 * uuid7.c -- RFC 9562 section 5.7: 48 bits of Unix milliseconds, then random bits.
 *
 * Within a backend the identifiers are strictly increasing: the 12 bits of rand_a count up
 * inside a millisecond (section 6.2, method 1), starting from a random value below half.
 */
#include "core/uuid7.h"

#include "core/clock.h"
#include "core/crypto.h"
#include "core/export.h"
#include "utils/timestamp.h"

#define EPOCH_SHIFT_MS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * 86400 * 1000)

void
pctl_uuid7(pg_uuid_t *uuid)
{
	static int64 last_ms = 0;
	static uint16 counter = 0;
	int64 ms = pctl_now() / 1000 + EPOCH_SHIFT_MS;

	pctl_random(uuid->data, UUID_LEN);
	if (ms > last_ms)
	{
		last_ms = ms;
		counter = (uint16) (uuid->data[6] << 8 | uuid->data[7]) & 0x07FF;
	}
	else if (++counter > 0x0FFF)
	{
		last_ms++;
		counter = 0;
	}
	for (int i = 0; i < 6; i++)
		uuid->data[i] = (uint8) (last_ms >> (40 - 8 * i));
	uuid->data[6] = (uint8) (0x70 | counter >> 8);
	uuid->data[7] = (uint8) counter;
	uuid->data[8] = (uuid->data[8] & 0x3F) | 0x80;
}

void
pctl_uuid_text(const pg_uuid_t *uuid, char buf[37])
{
	static const char hex[] = "0123456789abcdef";
	char *p = buf;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[uuid->data[i] >> 4];
		*p++ = hex[uuid->data[i] & 15];
	}
	*p = '\0';
}

PCTL_FUNCTION(pctl_uuid_v7);

/* probectl.uuid_v7() -> uuid */
Datum
pctl_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t *uuid = palloc(sizeof(*uuid));

	pctl_uuid7(uuid);
	PG_RETURN_UUID_P(uuid);
}

int
pctl_uuid_compare(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}
