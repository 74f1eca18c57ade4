/* SPDX-License-Identifier: PostgreSQL
 *
 * latest.h -- newest results, one of the readers of the ledger in the derive worker.
 */
#ifndef PCTL_RESULT_LATEST_H
#define PCTL_RESULT_LATEST_H

#include "postgres.h"

/* One pass, outside any transaction; milliseconds until the next when nobody wakes the worker. */
long pctl_latest_pass(void);

#endif
