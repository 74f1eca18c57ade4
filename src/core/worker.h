/* SPDX-License-Identifier: PostgreSQL
 *
 * worker.h -- background workers: one launcher, and for each database with the extension one process
 * of every kind in the table of worker.c.
 *
 * Shared memory: WorkerShmem, guarded by its LWLock; condition variable `changed` is broadcast
 * whenever a worker's state moves, so that SQL and tests wait on published state.
 */
#ifndef PCTL_WORKER_H
#define PCTL_WORKER_H

#include "postgres.h"

typedef enum PctlWorkerState
{
	PCTL_WORKER_STOPPED = 0, /* -> STARTING */
	PCTL_WORKER_STARTING,    /* registered; -> RUNNING, STOPPED */
	PCTL_WORKER_RUNNING      /* -> STOPPED */
} PctlWorkerState;

/* One pass of a kind's work, outside any transaction. Returns how many milliseconds may pass before
 * the next when nobody wakes the worker. An error ends the process; the launcher starts it again. */
typedef long (*PctlWorkerPass)(void);

void pctl_worker_init(void);

/* Wakes this database's derive worker when the transaction commits. */
void pctl_worker_wake_at_commit(void);

/* Wakes this database's keeper at once. */
void pctl_worker_wake_keeper(void);

/* Stops the workers of a database and keeps them away for a moment, so that it can be dropped. */
void pctl_worker_stop_database(Oid database);

extern long pctl_derive_pass(void);
extern long pctl_keeper_pass(void);
extern long pctl_remote_pass(void);

#endif
