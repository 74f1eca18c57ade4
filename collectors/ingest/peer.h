/* SPDX-License-Identifier: PostgreSQL
 *
 * peer.h -- who is calling, taken from the client certificate of the call.
 *
 * The handshake proves that the certificate chains to our CA, no more: a certificate without
 * a SPIFFE URI, with two, or of another trust domain passes it. So every call asks here. The
 * common name is never looked at.
 */
#ifndef PCTL_INGEST_PEER_H
#define PCTL_INGEST_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "ingest/spiffe.h"
#include "ingest/stats.h"
#include "lib/crypto.h"

struct peer
{
	struct spiffe_id id;
	char serial[CRYPTO_SERIAL_MAX]; /* lower-case hex, no leading zeros */
	int64_t not_after;              /* Unix seconds */
};

/* False: *reason says why, and *text is a sentence for the producer and the log. */
bool peer_of_call(grpc_call *call, struct peer *peer, enum stat *reason, const char **text);

#endif
