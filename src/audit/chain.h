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

typedef struct PctlAuditEvent
{
	const char *actor; /* NULL: the principal of the transaction */
	const char *action; /* <thing>.<verb> */
	const char *target;
	const char *outcome; /* ok, denied, failed */
	const char *data;	 /* JSON text */
} PctlAuditEvent;

typedef enum PctlAuditStream
{
	PCTL_AUDIT_TENANT, /* the bound tenant's; PC401 when there is none */
	PCTL_AUDIT_PROVIDER
} PctlAuditStream;

/* Sequence number of the event in its chain. */
int64 pctl_audit_append(PctlAuditStream stream, const PctlAuditEvent *event);

void pctl_audit_init(void);

#endif
