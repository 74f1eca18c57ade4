/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_wire.c -- the hand-written reader of StreamResultsRequest against the generated
 * one: whatever ours accepts, theirs reads the same from. The batch lies inside the message.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/wire.h"
#include "probectl/agent/v1/agent.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Probectl__Agent__V1__StreamResultsRequest *theirs;
	struct wire_batch ours;

	if (wire_batch_parse(data, size, &ours) != NULL)
		return 0;
	if (ours.data < data || ours.len > size - (size_t) (ours.data - data) || ours.len == 0 ||
	    strlen(ours.plane) > WIRE_PLANE_MAX || ours.plane[0] == '\0')
		abort();
	theirs = probectl__agent__v1__stream_results_request__unpack(NULL, size, data);
	if (theirs == NULL)
		return 0; /* theirs is stricter about numbers that no one uses */
	if (theirs->batch.len != ours.len || memcmp(theirs->batch.data, ours.data, ours.len) != 0 ||
	    strcmp(theirs->plane[0] ? theirs->plane : "network", ours.plane) != 0)
		abort();
	probectl__agent__v1__stream_results_request__free_unpacked(theirs, NULL);
	return 0;
}
