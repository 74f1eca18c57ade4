/* SPDX-License-Identifier: PostgreSQL
 *
 * fairness.h -- fair shares: token buckets of each tenant in shared memory.
 *
 * A tenant over its budget is refused with PC429, which its agents answer by keeping their results
 * and trying again: nothing is lost, it is later. Everything refused is counted.
 */
#ifndef PCTL_TENANT_FAIRNESS_H
#define PCTL_TENANT_FAIRNESS_H

#include "postgres.h"

#include "stream/plane.h"
#include "utils/uuid.h"

void pctl_fairness_init(void);

/* One request; raises PC429 when the tenant's bucket is empty. */
void pctl_fairness_query(const pg_uuid_t *tenant);

/* A batch of results on a plane; raises PC429 when a bucket is empty. */
void pctl_fairness_results(const pg_uuid_t *tenant, PctlPlane plane, int64 results, int64 bytes);

/* Counts records of a batch that is refused for another reason: its transaction rolls back. */
void pctl_fairness_refused(const pg_uuid_t *tenant, PctlPlane plane, int64 records);

#endif
