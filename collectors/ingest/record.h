/* SPDX-License-Identifier: PostgreSQL
 *
 * record.h -- a batch as a record of the bus: who sent it stands in headers, the value is the
 * batch as it came.
 *
 * Ingest writes the headers from the client certificate; the consumer believes them, because only ingest
 * may write to the topics, and, when there is a seal key, because they and the value are sealed with it. The
 * database checks what they say once more.
 */
#ifndef PCTL_INGEST_RECORD_H
#define PCTL_INGEST_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/wire.h"

#define RECORD_UUID_LEN   36
#define RECORD_SERIAL_MAX 64
#define RECORD_KEY_MAX    64
#define RECORD_SEAL_BYTES 32

enum record_header
{
	RECORD_TENANT, /* uuid, lower case */
	RECORD_AGENT,  /* uuid, lower case */
	RECORD_SERIAL, /* of the certificate, lower-case hex */
	RECORD_PLANE,  /* lower-case letters */
	RECORD_SEAL,   /* HMAC-SHA256, 32 bytes; only with a seal key */
	RECORD_HEADERS,
};

extern const char *const record_header_names[RECORD_HEADERS];

struct record
{
	char tenant[RECORD_UUID_LEN + 1], agent[RECORD_UUID_LEN + 1];
	char serial[RECORD_SERIAL_MAX + 1];
	char plane[WIRE_PLANE_MAX + 1];
	uint8_t seal[RECORD_SEAL_BYTES];
	unsigned seen; /* bit per header */
	bool bad;
};

/* Takes one header; unknown ones are nobody's business. One that comes twice, or is not of its form,
 * makes the record bad. */
void record_take(struct record *record, const char *name, const void *value, size_t len);

/* After the last header: whether all are there and good. */
bool record_whole(const struct record *record);

/* Key for sealing; 16 bytes at least. */
struct record_sealer
{
	uint8_t key[64];
	size_t len; /* 0: nothing is sealed */
};

/* Reads the key: any bytes. False with a sentence in err. */
bool record_sealer_read(struct record_sealer *sealer, const char *path, char *err, size_t errlen);

/* Seal of the identity, the topic and the value: none can be put together with another. */
void record_seal(const struct record_sealer *sealer, const struct record *record, const char *topic,
                 const void *value, size_t len, uint8_t seal[RECORD_SEAL_BYTES]);
bool record_sealed(const struct record_sealer *sealer, const struct record *record,
                   const char *topic, const void *value, size_t len);

/* "<tenant>/<bucket>": all of an agent has one key, a tenant has as many as there are buckets. */
void record_key(const struct record *record, int buckets, char key[RECORD_KEY_MAX]);

/* Partition of a key, as the default partitioner of Kafka's own clients has it (murmur2). */
int record_partition(const char *key, int partitions);

#endif
