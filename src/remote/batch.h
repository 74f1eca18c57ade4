/* SPDX-License-Identifier: PostgreSQL
 *
 * batch.h -- what a target gets next: samples of results from its position in the ledger on, as a request of remote write.
 */
#ifndef PCTL_REMOTE_BATCH_H
#define PCTL_REMOTE_BATCH_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* In the ledger of a tenant: so many results of the transaction, and all of those before it, are done. */
typedef struct RemotePosition
{
	int64 xid;
	int64 row;
} RemotePosition;

typedef struct RemoteBatch
{
	char *
	    body; /* compressed, malloc'd: it outlives the transaction; NULL when there is nothing to send */
	size_t len;
	int64 samples;
	int64 unregistered; /* left out: a limit refused their series here */
	int64 expired;      /* left out: older than the backlog */
	RemotePosition next;
	TimestampTz oldest; /* when the first result in it was received */
	TimestampTz
	    behind; /* when the first result after it was received; DT_NOEND when there is none yet */
	/* Results at the very beginning that are too old: done with whatever becomes of the rest. */
	RemotePosition past_expired;
	int64 leading_expired;
} RemoteBatch;

/* In a transaction bound to the tenant, inside SPI, trusted. most: samples; the last result may go over it. */
void pctl_remote_batch(RemoteBatch *batch, const pg_uuid_t *tenant, RemotePosition from, int32 most,
                       TimestampTz expired_before);

#endif
