/* SPDX-License-Identifier: PostgreSQL
 *
 * ingest.h -- a batch on its way into the tables: what one agent's (ingest.c) and several agents' (group.c)
 * transactions have in common.
 */
#ifndef PCTL_STREAM_INGEST_H
#define PCTL_STREAM_INGEST_H

#include "postgres.h"

#include "result/store.h"
#include "stream/batch.h"
#include "stream/plane.h"
#include "tenant/context.h"

typedef struct Ingest
{
	const char *plane;
	const char *refused; /* why every record becomes a dead letter; NULL: each is looked at */
	const PctlPrincipal *who;
	Batch batch;
	PctlPlane number;  /* of the plane */
	ResultSender from; /* its received_at is the batch's */
	int64 committed;   /* mark before this batch */
	int32 stored, duplicate, malformed, dead_lettered, dropped_attributes;
} Ingest;

/* Reads the envelope and asks the tenant's budget. */
void ingest_open(Ingest *in, bytea *bytes);

/* Stores batches of one tenant, in their order, with the ledger's rows and the new marks. Raises PC409 when one
 * is of an epoch before its stream's. */
void ingest_take(Ingest *batches, int count);

/* What a producer is told of its batch. */
#define ANSWER_COLUMNS 5

void ingest_answer(const Ingest *in, Datum values[ANSWER_COLUMNS]);

#endif
