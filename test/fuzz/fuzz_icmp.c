/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_icmp.c -- whatever arrives on an ICMP socket.
 *
 * Input: one byte that chooses the reader, then a packet. Held: only an error message has an error type
 * and words, an MTU comes with no other, a token needs its eight bytes, and a request of ours is
 * never taken for an answer.
 */
#include <stdlib.h>

#include "agent/icmp/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

/* Every place of a copied packet that looks like a request of ours has a token, and nothing of an error. */
static bool
on_copy(const struct icmp_seen *seen, void *arg)
{
	hold(seen->kind == ICMP_PROBLEM && seen->has_token && seen->error == ERROR_NONE);
	return *(const bool *) arg;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t request[ICMP_HEADER + ICMP_PAYLOAD_MIN];
	struct icmp_seen seen;
	bool v6, found;

	if (size < 1)
		return 0;
	v6 = data[0] & 1;
	found = data[0] & 4;
	hold(!icmp_copy_read(data + 1, size - 1, v6, on_copy, &found) || found);
	if (v6)
		icmp6_read(data + 1, size - 1, &seen);
	else
		icmp4_read(data + 1, size - 1, data[0] & 2, &seen);
	hold(seen.kind != ICMP_PROBLEM || (seen.error != ERROR_NONE && seen.text != NULL));
	hold(seen.kind != ICMP_REPLY || seen.error == ERROR_NONE);
	hold(seen.kind == ICMP_NOTHING || size > (seen.has_token ? 16 : 8));
	hold(seen.mtu == 0 || seen.error == ERROR_HOST_UNREACHABLE);
	if (seen.kind == ICMP_NOTHING)
		return 0;
	icmp_request_write(request, v6, seen.id, seen.sequence, seen.token, ICMP_PAYLOAD_MIN);
	icmp_quoted_read(request, sizeof(request), v6, &seen);
	hold(seen.kind == ICMP_PROBLEM && seen.has_token);
	if (v6)
		icmp6_read(request, sizeof(request), &seen);
	else
		icmp4_read(request, sizeof(request), false, &seen);
	hold(seen.kind == ICMP_NOTHING);
	return 0;
}
