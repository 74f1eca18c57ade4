/* SPDX-License-Identifier: PostgreSQL
 *
 * keeper.c -- upkeep that nobody waits for: partitions ahead, retention behind.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/guc.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "utils/snapmgr.h"

/* One pass of the keeper worker. */
long
pctl_keeper_pass(void)
{
	static const char sql[] = "SELECT probectl_internal.partitions_keep()";

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, sql);
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "the keeper's pass failed");
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return pctl_keeper_interval * 1000L;
}
