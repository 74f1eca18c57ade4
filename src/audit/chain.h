/* SPDX-License-Identifier: PostgreSQL
 *
 * chain.h -- appending to the audit chains.
 *
 * An append is part of the caller's transaction: the change and its record commit together or
 * not at all. The head row of a chain is locked by the first append of a transaction and
 * written once, before commit.
 */
#ifndef PCTL_AUDIT_CHAIN_H
#define PCTL_AUDIT_CHAIN_H

#include "postgres.h"

#include "core/crypto.h"
#include "datatype/timestamp.h"

typedef struct PctlAuditEvent
{
	const char *actor;  /* NULL: the principal of the transaction */
	const char *action; /* <thing>.<verb> */
	const char *target;
	const char *outcome; /* ok, denied, failed */
	const char *data;    /* JSON text */
	bool data_is_json;   /* it was read as JSON already */
	TimestampTz at;      /* 0: now */
} PctlAuditEvent;

typedef enum PctlAuditStream
{
	PCTL_AUDIT_TENANT, /* the bound tenant's; PC401 when there is none */
	PCTL_AUDIT_PROVIDER
} PctlAuditStream;

/* Sequence number of the event in its chain. */
int64 pctl_audit_append(PctlAuditStream stream, const PctlAuditEvent *event);

/* Head of a chain as this transaction will leave it; false when the chain has no event yet. */
bool pctl_audit_head(PctlAuditStream stream, int64 *seq, uint8 hash[PCTL_SHA256_LEN]);

/* The fields of an event as they are hashed. Slices: nothing is copied to verify. */
typedef struct PctlAuditText
{
	const char *data;
	size_t len;
} PctlAuditText;

typedef struct PctlAuditRecord
{
	PctlAuditText stream; /* tenant id in text, or "provider" */
	int64 seq;
	TimestampTz at;
	PctlAuditText actor, action, target, outcome, data;
	const uint8 *prev_hash;
} PctlAuditRecord;

void pctl_audit_record_hash(const PctlAuditRecord *record, uint8 digest[PCTL_SHA256_LEN]);

/* True while this transaction prunes or erases. */
bool pctl_audit_erasing_now(void);

void pctl_audit_init(void);

#endif
