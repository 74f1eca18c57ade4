/* SPDX-License-Identifier: PostgreSQL
 *
 * record.c -- headers, key and seal of a record of the bus.
 */
#include "ingest/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <openssl/crypto.h>

#include "ingest/spiffe.h"
#include "lib/crypto.h"

#define RECORD_SEAL_KEY_MIN 16

const char *const record_header_names[RECORD_HEADERS] = {
    [RECORD_TENANT] = "probectl.tenant", [RECORD_AGENT] = "probectl.agent",
    [RECORD_SERIAL] = "probectl.serial", [RECORD_PLANE] = "probectl.plane",
    [RECORD_SEAL] = "probectl.seal",
};

static bool
take_uuid(char out[RECORD_UUID_LEN + 1], const void *value, size_t len)
{
	uint8_t bytes[16];

	if (len != RECORD_UUID_LEN || !spiffe_uuid_parse(value, len, bytes))
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

/* 1 .. max bytes, each in the set. */
static bool
take_text(char *out, size_t max, const char *set, const void *value, size_t len)
{
	const char *text = value;

	if (len == 0 || len > max)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0' || strchr(set, text[i]) == NULL)
			return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

static bool
take_value(struct record *record, enum record_header which, const void *value, size_t len)
{
	switch (which)
	{
		case RECORD_TENANT: return take_uuid(record->tenant, value, len);
		case RECORD_AGENT: return take_uuid(record->agent, value, len);
		case RECORD_SERIAL:
			return take_text(record->serial, RECORD_SERIAL_MAX, "0123456789abcdef", value, len);
		case RECORD_PLANE:
			return take_text(record->plane, WIRE_PLANE_MAX, "abcdefghijklmnopqrstuvwxyz", value,
			                 len);
		case RECORD_SEAL:
			if (len == RECORD_SEAL_BYTES)
				memcpy(record->seal, value, len);
			return len == RECORD_SEAL_BYTES;
		default: return false;
	}
}

void
record_take(struct record *record, const char *name, const void *value, size_t len)
{
	for (int i = 0; i < RECORD_HEADERS; i++)
	{
		if (strcmp(name, record_header_names[i]) != 0)
			continue;
		if ((record->seen & 1u << i) != 0 || value == NULL || !take_value(record, i, value, len))
			record->bad = true;
		record->seen |= 1u << i;
		return;
	}
}

bool
record_whole(const struct record *record)
{
	const unsigned needed = 1u << RECORD_TENANT | 1u << RECORD_AGENT | 1u << RECORD_SERIAL |
	                        1u << RECORD_PLANE;

	return !record->bad && (record->seen & needed) == needed;
}

bool
record_sealer_read(struct record_sealer *sealer, const char *path, char *err, size_t errlen)
{
	FILE *file = fopen(path, "re");

	if (file == NULL)
	{
		snprintf(err, errlen, "bus.seal_key_file: cannot read %s: %s", path, strerror(errno));
		return false;
	}
	sealer->len = fread(sealer->key, 1, sizeof(sealer->key), file);
	fclose(file);
	if (sealer->len < RECORD_SEAL_KEY_MIN)
	{
		snprintf(err, errlen, "bus.seal_key_file: %s holds fewer than %d bytes", path,
		         RECORD_SEAL_KEY_MIN);
		return false;
	}
	return true;
}

void
record_seal(const struct record_sealer *sealer, const struct record *record, const char *topic,
            const void *value, size_t len, uint8_t seal[RECORD_SEAL_BYTES])
{
	/* No part can hold a line end: the parts cannot be cut in another way. */
	char text[512];
	uint8_t digest[CRYPTO_SHA256_BYTES];
	int used = snprintf(text, sizeof(text) - sizeof(digest), "probectl bus 1\n%s\n%s\n%s\n%s\n%s\n",
	                    topic, record->tenant, record->agent, record->serial, record->plane);

	crypto_sha256(value, len, digest);
	memcpy(text + used, digest, sizeof(digest));
	crypto_hmac_sha256(sealer->key, sealer->len, text, (size_t) used + sizeof(digest), seal);
}

bool
record_sealed(const struct record_sealer *sealer, const struct record *record, const char *topic,
              const void *value, size_t len)
{
	uint8_t expected[RECORD_SEAL_BYTES];

	if (sealer->len == 0)
		return true;
	if ((record->seen & 1u << RECORD_SEAL) == 0)
		return false;
	record_seal(sealer, record, topic, value, len, expected);
	return CRYPTO_memcmp(expected, record->seal, sizeof(expected)) == 0;
}

void
record_key(const struct record *record, int buckets, char key[RECORD_KEY_MAX])
{
	snprintf(key, RECORD_KEY_MAX, "%s/%d", record->tenant,
	         record_partition(record->agent, buckets));
}

int
record_partition(const char *key, int partitions)
{
	return rd_kafka_msg_partitioner_murmur2(NULL, key, strlen(key), partitions, NULL, NULL);
}
