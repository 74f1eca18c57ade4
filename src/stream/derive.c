/* SPDX-License-Identifier: PostgreSQL
 *
 * derive.c -- the derive worker: every reader of the ledger takes its turn. Each has a cursor of its own, so one
 * that is added later catches up without the others.
 */
#include "postgres.h"

#include "core/worker.h"
#include "metric/derive.h"
#include "result/latest.h"

static long (*const readers[])(void) = {pctl_latest_pass, pctl_metric_pass};

/* One pass of the derive worker. */
long
pctl_derive_pass(void)
{
	long nap = readers[0]();

	for (size_t i = 1; i < lengthof(readers); i++)
	{
		long wanted = readers[i]();

		nap = Min(nap, wanted);
	}
	return nap;
}
