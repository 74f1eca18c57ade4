/* SPDX-License-Identifier: PostgreSQL
 *
 * derive.h -- results into samples, one of the readers of the ledger in the derive worker.
 */
#ifndef PCTL_METRIC_DERIVE_H
#define PCTL_METRIC_DERIVE_H

#include "postgres.h"

/* One pass, outside any transaction; milliseconds until the next when nobody wakes the worker. */
long pctl_metric_pass(void);

#endif
