/* SPDX-License-Identifier: PostgreSQL
 *
 * ledger.h -- what has arrived: a row a batch and leaf partition.
 */
#ifndef PCTL_STREAM_LEDGER_H
#define PCTL_STREAM_LEDGER_H

#include "stream/ingest.h"

/* One row for each leaf a batch went to; the batch's counts stand in the first. A batch that stored nothing
 * but had dead letters still gets its row: what was received is never invisible. */
void ledger_write(const Ingest *batches, int count);

#endif
