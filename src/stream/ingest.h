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

/* The mark and epoch of the position, which is locked: raises PC409 when the batch is of an older one. */
void ingest_place(Ingest *in, int64 epoch, int64 committed);

/* The mark after it. */
int64 ingest_last(const Ingest *in);

/* Stores what is past the mark; true when there was any. What was stored is in from.parts once the store is ended. */
bool ingest_records(Ingest *in, ResultStore *store);

/* Columns of the ledger's row of one part (NULL: nothing was stored), those behind tenant_id and xid. The
 * batch's counts stand in its first row. */
#define LEDGER_COLUMNS 16
#define LEDGER_TYPES                                                                               \
	TIMESTAMPTZOID, UUIDOID, TEXTOID, INT8OID, INT8OID, INT4OID, INT4OID, INT4OID, INT4OID,        \
	    INT4OID, INT4OID, OIDOID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID
#define LEDGER_INSERT                                                                              \
	"INSERT INTO probectl.ledger (tenant_id, xid, received_at, agent_id, plane, epoch, "           \
	"first_seq, count, stored, duplicate, dead_lettered, dropped_attributes, clamped, leaf, "      \
	"block_first, block_last, started_min, started_max) "

void ingest_ledger(const Ingest *in, const ResultStorePart *part, bool first,
                   Datum values[LEDGER_COLUMNS], bool nulls[LEDGER_COLUMNS]);

/* What a producer is told of its batch. */
#define ANSWER_COLUMNS 5

void ingest_answer(const Ingest *in, Datum values[ANSWER_COLUMNS]);

#endif
