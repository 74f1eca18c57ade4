/* SPDX-License-Identifier: PostgreSQL
 *
 * uuid.c -- see uuid.h.
 */
#include "lib/uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"

static void
random_fill(uint8_t *out, size_t len)
{
	ssize_t n;

	/* Requests of up to 256 bytes are never cut short once the pool is ready. */
	do
		n = getrandom(out, len, 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t) len)
		log_fatal("uuid", NULL, "the kernel gives no random numbers");
}

static void
uuid_mark(uint8_t *out, uint8_t version)
{
	out[6] = (uint8_t) ((out[6] & 0x0f) | version << 4);
	out[8] = (out[8] & 0x3f) | 0x80;
}

void
uuid_v4(uint8_t out[UUID_BYTES])
{
	random_fill(out, UUID_BYTES);
	uuid_mark(out, 4);
}

void
uuid_v7(uint8_t out[UUID_BYTES])
{
	uint64_t ms = (uint64_t) (clock_unix_nano() / NANO_PER_MS);

	random_fill(out + 6, UUID_BYTES - 6);
	for (int i = 0; i < 6; i++)
		out[i] = (uint8_t) (ms >> (40 - 8 * i));
	uuid_mark(out, 7);
}

void
uuid_from_name(uint8_t out[UUID_BYTES], const void *name, size_t len)
{
	uint8_t digest[CRYPTO_SHA256_BYTES];

	crypto_sha256(name, len, digest);
	memcpy(out, digest, UUID_BYTES);
	uuid_mark(out, 8);
}

void
uuid_print(const uint8_t uuid[UUID_BYTES], char out[UUID_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;

	for (int i = 0; i < UUID_BYTES; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[uuid[i] >> 4];
		*p++ = hex[uuid[i] & 15];
	}
	*p = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
uuid_parse(const char *text, uint8_t out[UUID_BYTES])
{
	uint8_t parsed[UUID_BYTES];

	for (int i = 0; i < UUID_BYTES; i++)
	{
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		high = hex_value(*text);
		low = high < 0 ? -1 : hex_value(text[1]);
		if (low < 0)
			return false;
		parsed[i] = (uint8_t) (high << 4 | low);
		text += 2;
	}
	if (*text)
		return false;
	memcpy(out, parsed, UUID_BYTES);
	return true;
}

void
uuid_v4_text(char out[UUID_TEXT])
{
	uint8_t raw[UUID_BYTES];

	uuid_v4(raw);
	uuid_print(raw, out);
}

void
uuid_v7_text(char out[UUID_TEXT])
{
	uint8_t raw[UUID_BYTES];

	uuid_v7(raw);
	uuid_print(raw, out);
}
