/* SPDX-License-Identifier: PostgreSQL
 *
 * store.h -- writing many results of a tenant's agents into their day partitions.
 *
 * Multi-insert bypasses executor row-level security, CHECK constraints and triggers: the caller has
 * checked privilege and tenant, decode.c the values, and the tenant written is the bound one.
 */
#ifndef PCTL_RESULT_STORE_H
#define PCTL_RESULT_STORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "result/decode.h"
#include "storage/block.h"
#include "utils/uuid.h"

typedef struct ResultStore ResultStore;

/* What one batch put into one leaf partition. */
typedef struct ResultStorePart
{
	Oid leaf;
	BlockNumber block_first, block_last;
	int32 count;
	TimestampTz started_min, started_max;
} ResultStorePart;

/* Who sent the records that follow. Lives until the store is ended. */
typedef struct ResultSender
{
	const pg_uuid_t *agent;
	TimestampTz received_at;
	List *parts;   /* out, of ResultStorePart: once the store is ended */
	int32 clamped; /* out */
} ResultSender;

ResultStore *result_store_begin(const pg_uuid_t *tenant);

void result_store_from(ResultStore *store, ResultSender *sender);

/* NULL when taken, else the reason why not, as for result_decode. */
const char *result_store_add(ResultStore *store, const ResultRecord *record);

/* Flushes and closes. Everything lives in the context of begin. */
void result_store_end(ResultStore *store);

#endif
