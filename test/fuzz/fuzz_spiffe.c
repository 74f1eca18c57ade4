/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_spiffe.c -- there is one spelling of an identity: whatever is accepted is
 * printed as the very bytes that came in, and what is refused leaves no trace.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/spiffe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct spiffe_id blank;
	struct spiffe_id id = blank;
	char text[SPIFFE_ID_LEN + 1];

	if (!spiffe_parse((const char *) data, size, &id))
	{
		if (memcmp(&id, &blank, sizeof(id)) != 0)
			abort();
		return 0;
	}
	spiffe_print(&id, text);
	if (size != SPIFFE_ID_LEN || memcmp(text, data, size) != 0)
		abort();
	return 0;
}
