/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_record.c -- headers of a record of the bus, as anybody who may write to the topic could set
 * them: what counts as whole has an identity of exactly the form that ingest writes, and a seal
 * fits one record only.
 */
#include "fuzz.h"

#include <string.h>

#include "ingest/record.h"
#include "lib/buf.h"

/* Headers: which (5: one nobody knows), length, bytes. The rest is the value. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct record_sealer sealer = {.key = "0123456789abcdef", .len = 16};
	struct record record = {0}, other;
	uint8_t seal[RECORD_SEAL_BYTES];
	char key[RECORD_KEY_MAX];
	struct cursor c;

	cursor_init(&c, data, size);
	while (cursor_left(&c) > 1)
	{
		unsigned which = cursor_u8(&c), len = cursor_u8(&c);
		const uint8_t *value = cursor_take(&c, len);

		if (value == NULL)
			break;
		record_take(&record, which < RECORD_HEADERS ? record_header_names[which] : "content-type",
		            value, len);
	}
	if (!record_whole(&record))
		return 0;
	require(strlen(record.tenant) == RECORD_UUID_LEN && strlen(record.agent) == RECORD_UUID_LEN);
	require(record.serial[0] != '\0' && strlen(record.serial) <= RECORD_SERIAL_MAX);
	require(record.plane[0] != '\0' && strlen(record.plane) <= WIRE_PLANE_MAX);
	record_key(&record, 8, key);
	require(strncmp(key, record.tenant, RECORD_UUID_LEN) == 0 && key[RECORD_UUID_LEN] == '/');
	require(record_partition(key, 12) >= 0 && record_partition(key, 12) < 12);

	record_seal(&sealer, &record, "t", data, size, seal);
	memcpy(record.seal, seal, sizeof(seal));
	record.seen |= 1u << RECORD_SEAL;
	require(record_sealed(&sealer, &record, "t", data, size));
	require(!record_sealed(&sealer, &record, "u", data, size));
	other = record;
	other.serial[0] = other.serial[0] == '0' ? '1' : '0';
	require(!record_sealed(&sealer, &other, "t", data, size));
	return 0;
}
