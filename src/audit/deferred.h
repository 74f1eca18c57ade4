/* SPDX-License-Identifier: PostgreSQL
 *
 * deferred.h -- records of what is about to be refused.
 *
 * A refusal rolls its transaction back, and a record written in it as well. So it is put into a ring in
 * shared memory and the keeper writes it in a transaction of its own. The ring is bounded: a
 * flood is counted, and the count is written; a crash of the server loses what waits.
 */
#ifndef PCTL_AUDIT_DEFERRED_H
#define PCTL_AUDIT_DEFERRED_H

#include "postgres.h"

void pctl_deferred_init(void);

/* For the bound tenant's chain, or the provider's when none is bound. Never raises. */
void pctl_audit_denied(const char *action, const char *target, const char *outcome,
                       const char *data);

/* Writes what waits for this database; from a worker, outside any transaction. */
void pctl_deferred_drain(void);

#endif
