/* SPDX-License-Identifier: PostgreSQL
 *
 * worker.c -- the launcher and the skeleton every worker shares.
 *
 * The launcher sees shared catalogs only, so it cannot know which databases have the extension: it
 * starts the first kind (keeper) in each database it knows nothing of, and that process
 * publishes what it found. CREATE EXTENSION makes the database unknown again at commit. A
 * worker that fails is started again after a pause that doubles to a minute. A connected
 * worker would block DROP DATABASE, so a utility hook stops the database's workers first.
 */
#include "core/worker.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "core/export.h"
#include "core/guc.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define DATABASES_MAX       64
#define RESTART_MIN_MS      1000
#define RESTART_MAX_MS      60000
#define BLOCKED_MS          10000 /* a stopped database is left alone this long */
#define STOP_WAIT_MS        5000
#define LAUNCHER_NAPTIME_MS 10000
#define BUSY_FACTOR         3    /* a spaced worker works at most a third of the time */
#define BUSY_SPACING_MAX_MS 2000 /* unless that would keep work waiting longer than this */

static const struct
{
	const char *name;
	PctlWorkerPass pass;
	const int
	    *spacing_ms; /* shortest time from pass to pass however often it is woken; NULL: none */
} worker_kinds[] = {
    {"keeper", pctl_keeper_pass, NULL}, /* first: it tells the launcher about its database */
    {"derive", pctl_derive_pass, &pctl_derive_interval},
    {"remote", pctl_remote_pass, NULL},
};

#define KINDS       ((int) lengthof(worker_kinds))
#define KIND_KEEPER 0
#define KIND_DERIVE 1

typedef enum
{
	DATABASE_UNKNOWN = 0, /* -> PRESENT, ABSENT */
	DATABASE_PRESENT,     /* has the extension; -> ABSENT, UNKNOWN */
	DATABASE_ABSENT       /* has not; -> UNKNOWN */
} DatabaseState;

typedef struct WorkerSlot
{
	PctlWorkerState state;
	pid_t pid;
	Latch *latch; /* of the running worker */
	TimestampTz since, retry_at;
	long pause_ms;
	int64 passes;
} WorkerSlot;

typedef struct WorkerDatabase
{
	Oid database; /* InvalidOid: free */
	DatabaseState state;
	TimestampTz blocked_until;
	WorkerSlot slots[KINDS];
} WorkerDatabase;

typedef struct WorkerShmem
{
	LWLock *lock;
	ConditionVariable changed;
	Latch *launcher;
	WorkerDatabase databases[DATABASES_MAX];
} WorkerShmem;

static WorkerShmem *shmem = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;
static ProcessUtility_hook_type previous_utility = NULL;

static WorkerSlot *my_slot = NULL;
static WorkerDatabase *my_database = NULL;
static bool wake_derive = false, wake_launcher = false;
static Oid worker_role = InvalidOid; /* in the launcher */

extern PCTL_EXPORT void pctl_launcher_main(Datum arg);
extern PCTL_EXPORT void pctl_worker_main(Datum arg);

static void
worker_shmem_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(WorkerShmem)));
	RequestNamedLWLockTranche("probectl", 1);
}

static void
worker_shmem_startup(void)
{
	bool found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shmem = ShmemInitStruct("probectl workers", sizeof(WorkerShmem), &found);
	if (!found)
	{
		memset(shmem, 0, sizeof(*shmem));
		shmem->lock = &GetNamedLWLockTranche("probectl")->lock;
		ConditionVariableInit(&shmem->changed);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Entry of a database, made when asked for. Lock held exclusively, or shared without make. */
static WorkerDatabase *
database_entry(Oid database, bool make)
{
	WorkerDatabase *spare = NULL;

	for (int i = 0; i < DATABASES_MAX; i++)
	{
		WorkerDatabase *entry = &shmem->databases[i];

		if (entry->database == database)
			return entry;
		if (entry->database == InvalidOid && spare == NULL)
			spare = entry;
	}
	if (!make || spare == NULL)
		return NULL;
	memset(spare, 0, sizeof(*spare));
	spare->database = database;
	return spare;
}

/* Registers one worker. Lock held exclusively. */
static void
worker_start(WorkerDatabase *entry, int kind, const char *name)
{
	WorkerSlot *slot = &entry->slots[kind];
	BackgroundWorker worker = {.bgw_flags = BGWORKER_SHMEM_ACCESS |
	                                        BGWORKER_BACKEND_DATABASE_CONNECTION,
	                           .bgw_start_time = BgWorkerStart_RecoveryFinished,
	                           .bgw_restart_time = BGW_NEVER_RESTART,
	                           .bgw_notify_pid = MyProcPid};

	snprintf(worker.bgw_name, BGW_MAXLEN, "probectl %s %s", worker_kinds[kind].name, name);
	snprintf(worker.bgw_type, BGW_MAXLEN, "probectl %s", worker_kinds[kind].name);
	strlcpy(worker.bgw_library_name, "probectl", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pctl_worker_main", BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum((int32) (entry - shmem->databases) * KINDS + kind);
	memcpy(worker.bgw_extra, &worker_role, sizeof(worker_role));
	slot->since = GetCurrentTimestamp();
	slot->pause_ms = slot->pause_ms == 0 ? RESTART_MIN_MS : Min(slot->pause_ms * 2, RESTART_MAX_MS);
	slot->retry_at = TimestampTzPlusMilliseconds(slot->since, slot->pause_ms);
	slot->state = RegisterDynamicBackgroundWorker(&worker, NULL) ? PCTL_WORKER_STARTING
	                                                             : PCTL_WORKER_STOPPED;
}

/* Starts what should run in one database and does not. */
static void
database_serve(Oid database, const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	WorkerDatabase *entry;

	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	entry = database_entry(database, true);
	if (entry != NULL && entry->blocked_until <= now)
		for (int kind = 0; kind < KINDS; kind++)
		{
			WorkerSlot *slot = &entry->slots[kind];
			bool wanted = entry->state == DATABASE_PRESENT ||
			              (entry->state == DATABASE_UNKNOWN && kind == 0);

			/* A registration the postmaster never served counts as stopped after a while. */
			if (slot->state == PCTL_WORKER_STARTING && slot->retry_at <= now)
				slot->state = PCTL_WORKER_STOPPED;
			if (wanted && slot->state == PCTL_WORKER_STOPPED && slot->retry_at <= now)
				worker_start(entry, kind, name);
		}
	LWLockRelease(shmem->lock);
}

/* Forgets databases that are gone, then serves those that are there. */
static void
launcher_pass(void)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;
	bool seen[DATABASES_MAX] = {false};

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	worker_role = get_role_oid("probectl_worker", true);
	if (OidIsValid(worker_role))
	{
		rel = table_open(DatabaseRelationId, AccessShareLock);
		scan = table_beginscan_catalog(rel, 0, NULL);
		while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		{
			Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
			WorkerDatabase *entry;

			if (!form->datallowconn || form->datistemplate)
				continue;
			database_serve(form->oid, NameStr(form->datname));
			LWLockAcquire(shmem->lock, LW_SHARED);
			entry = database_entry(form->oid, false);
			if (entry != NULL)
				seen[entry - shmem->databases] = true;
			LWLockRelease(shmem->lock);
		}
		table_endscan(scan);
		table_close(rel, AccessShareLock);
		LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
		for (int i = 0; i < DATABASES_MAX; i++)
			if (!seen[i])
				shmem->databases[i].database = InvalidOid;
		LWLockRelease(shmem->lock);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* When the next stopped worker may be started, in milliseconds. */
static long
launcher_naptime(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long nap = LAUNCHER_NAPTIME_MS;

	LWLockAcquire(shmem->lock, LW_SHARED);
	for (int i = 0; i < DATABASES_MAX; i++)
	{
		WorkerDatabase *entry = &shmem->databases[i];

		for (int kind = 0; entry->database != InvalidOid && kind < KINDS; kind++)
			if (entry->slots[kind].state == PCTL_WORKER_STOPPED &&
			    (entry->state == DATABASE_PRESENT ||
			     (entry->state == DATABASE_UNKNOWN && kind == 0)))
			{
				TimestampTz at = Max(entry->slots[kind].retry_at, entry->blocked_until);

				nap = Min(nap, Max(TimestampDifferenceMilliseconds(now, at), 10));
			}
	}
	LWLockRelease(shmem->lock);
	return nap;
}

/* Entry point of the launcher. */
void
pctl_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	shmem->launcher = MyLatch;
	LWLockRelease(shmem->lock);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		launcher_pass();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
		                 launcher_naptime(), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
slot_publish(PctlWorkerState state)
{
	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	my_slot->state = state;
	my_slot->pid = state == PCTL_WORKER_RUNNING ? MyProcPid : 0;
	my_slot->latch = state == PCTL_WORKER_RUNNING ? MyLatch : NULL;
	my_slot->since = GetCurrentTimestamp();
	LWLockRelease(shmem->lock);
	ConditionVariableBroadcast(&shmem->changed);
}

static void
worker_detach(int code, Datum arg)
{
	slot_publish(PCTL_WORKER_STOPPED);
	if (shmem->launcher != NULL)
		SetLatch(shmem->launcher);
}

/* Publishes whether this database has the extension; returns it. */
static bool
extension_present(void)
{
	bool present;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	present = OidIsValid(get_extension_oid("probectl", true));
	PopActiveSnapshot();
	CommitTransactionCommand();
	LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
	if (my_database->database == MyDatabaseId)
	{
		DatabaseState state = present ? DATABASE_PRESENT : DATABASE_ABSENT;

		if (my_database->state != state && shmem->launcher != NULL)
			SetLatch(shmem->launcher);
		my_database->state = state;
	}
	LWLockRelease(shmem->lock);
	return present;
}

/* Time from pass to pass, of which the last took so many milliseconds. A pass over much costs less of each than
 * one over little, so under load they come less often. */
static long
worker_spacing(int kind, long took)
{
	const int *least = worker_kinds[kind].spacing_ms;

	if (least == NULL)
		return 0;
	return Max(*least, Min(took * BUSY_FACTOR, BUSY_SPACING_MAX_MS));
}

/* Waits for work: nap milliseconds or a wake-up, but never less than the kind's spacing. */
static void
worker_wait(int kind, TimestampTz began, long nap)
{
	long took = TimestampDifferenceMilliseconds(began, GetCurrentTimestamp());
	long spacing = worker_spacing(kind, took);
	bool woken = false;

	nap = Max(nap, spacing - took);
	for (;;)
	{
		long rest = spacing - TimestampDifferenceMilliseconds(began, GetCurrentTimestamp());

		if (woken && rest <= 0)
			return;
		if ((WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, woken ? rest : nap,
		               PG_WAIT_EXTENSION) &
		     WL_TIMEOUT) != 0)
			return;
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		woken = true;
	}
}

/* Entry point of every worker: argument is its place in shared memory. */
void
pctl_worker_main(Datum arg)
{
	int kind = DatumGetInt32(arg) % KINDS;
	Oid database, role;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	my_database = &shmem->databases[DatumGetInt32(arg) / KINDS];
	my_slot = &my_database->slots[kind];
	database = my_database->database;
	if (!OidIsValid(database))
		proc_exit(0);
	before_shmem_exit(worker_detach, (Datum) 0);
	slot_publish(PCTL_WORKER_RUNNING);
	memcpy(&role, MyBgworkerEntry->bgw_extra, sizeof(role));
	BackgroundWorkerInitializeConnectionByOid(database, role, 0);
	while (extension_present())
	{
		TimestampTz began = GetCurrentTimestamp();
		long nap;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		nap = worker_kinds[kind].pass();
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
		my_slot->passes++;
		my_slot->pause_ms = 0; /* it works: the next failure starts from the shortest pause */
		ConditionVariableBroadcast(&shmem->changed);
		worker_wait(kind, began, nap);
	}
	proc_exit(0);
}

void
pctl_worker_wake_keeper(void)
{
	WorkerDatabase *entry;

	if (shmem == NULL)
		return;
	LWLockAcquire(shmem->lock, LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	if (entry != NULL && entry->slots[KIND_KEEPER].latch != NULL)
		SetLatch(entry->slots[KIND_KEEPER].latch);
	LWLockRelease(shmem->lock);
}

void
pctl_worker_wake_at_commit(void)
{
	wake_derive = true;
}

/* After commit only: what is not visible yet is no work. */
static void
worker_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	if (event == XACT_EVENT_COMMIT && (wake_derive || wake_launcher) && shmem != NULL)
	{
		WorkerDatabase *entry;

		LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
		entry = database_entry(MyDatabaseId, false);
		if (wake_launcher && entry != NULL)
			entry->blocked_until = 0;
		if (wake_launcher && entry != NULL && entry->state == DATABASE_ABSENT)
		{
			entry->state = DATABASE_UNKNOWN;
			entry->slots[0].retry_at = 0;
			entry->slots[0].pause_ms = 0;
		}
		if (entry != NULL && entry->slots[KIND_DERIVE].latch != NULL)
			SetLatch(entry->slots[KIND_DERIVE].latch);
		if (wake_launcher && shmem->launcher != NULL)
			SetLatch(shmem->launcher);
		LWLockRelease(shmem->lock);
	}
	wake_derive = wake_launcher = false;
}

void
pctl_worker_stop_database(Oid database)
{
	WorkerDatabase *entry;
	bool running = true;
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STOP_WAIT_MS);

	ConditionVariablePrepareToSleep(&shmem->changed);
	while (running && GetCurrentTimestamp() < give_up)
	{
		running = false;
		LWLockAcquire(shmem->lock, LW_EXCLUSIVE);
		entry = database_entry(database, true);
		if (entry != NULL)
		{
			entry->blocked_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BLOCKED_MS);
			for (int kind = 0; kind < KINDS; kind++)
			{
				if (entry->slots[kind].state == PCTL_WORKER_RUNNING && entry->slots[kind].pid != 0)
					(void) kill(entry->slots[kind].pid, SIGTERM);
				running |= entry->slots[kind].state != PCTL_WORKER_STOPPED;
			}
		}
		LWLockRelease(shmem->lock);
		if (running)
			(void) ConditionVariableTimedSleep(&shmem->changed, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* The database a statement needs for itself, or NULL. */
static const char *
statement_database(Node *node)
{
	ListCell *cell;

	switch (nodeTag(node))
	{
		case T_DropdbStmt: return ((DropdbStmt *) node)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) node)->renameType == OBJECT_DATABASE
			           ? ((RenameStmt *) node)->subname
			           : NULL;
		case T_CreatedbStmt:
			foreach (cell, ((CreatedbStmt *) node)->options)
			{
				DefElem *option = lfirst_node(DefElem, cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					return strVal(option->arg);
			}
			return NULL;
		default: return NULL;
	}
}

/* DROP EXTENSION takes locks that workers want in another order; DROP DATABASE waits for them. */
static bool
drops_extension(Node *node)
{
	DropStmt *stmt = (DropStmt *) node;
	ListCell *cell;

	if (nodeTag(node) != T_DropStmt || stmt->removeType != OBJECT_EXTENSION)
		return false;
	foreach (cell, stmt->objects)
		if (strcmp(strVal(lfirst(cell)), "probectl") == 0)
			return true;
	return false;
}

static void
worker_process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
                       ProcessUtilityContext context, ParamListInfo params,
                       QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = statement_database(pstmt->utilityStmt);
	Oid database = name != NULL ? get_database_oid(name, true) : InvalidOid;

	if (OidIsValid(database) && database != MyDatabaseId && shmem != NULL &&
	    pg_database_ownercheck(database, GetUserId()))
		pctl_worker_stop_database(database);
	if (shmem != NULL && drops_extension(pstmt->utilityStmt))
	{
		Oid extension = get_extension_oid("probectl", true);

		if (OidIsValid(extension) && pg_extension_ownercheck(extension, GetUserId()))
			pctl_worker_stop_database(MyDatabaseId);
	}
	if (previous_utility)
		previous_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
		                        qc);
}

void
pctl_worker_init(void)
{
	BackgroundWorker launcher = {.bgw_flags = BGWORKER_SHMEM_ACCESS |
	                                          BGWORKER_BACKEND_DATABASE_CONNECTION,
	                             .bgw_start_time = BgWorkerStart_RecoveryFinished,
	                             .bgw_restart_time = 1,
	                             .bgw_name = "probectl launcher",
	                             .bgw_type = "probectl launcher",
	                             .bgw_library_name = "probectl",
	                             .bgw_function_name = "pctl_launcher_main"};

	previous_request = shmem_request_hook;
	shmem_request_hook = worker_shmem_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = worker_shmem_startup;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = worker_process_utility;
	RegisterXactCallback(worker_xact, NULL);
	RegisterBackgroundWorker(&launcher);
}

PCTL_FUNCTION(pctl_worker_wake);

/* probectl.worker_wake() -> void */
Datum
pctl_worker_wake(PG_FUNCTION_ARGS)
{
	wake_derive = wake_launcher = true;
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_worker_count);

/* probectl_internal.worker_count() -> integer */
Datum
pctl_worker_count(PG_FUNCTION_ARGS)
{
	WorkerDatabase *entry;
	int32 count = 0;

	LWLockAcquire(shmem->lock, LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	for (int kind = 0; entry != NULL && kind < KINDS; kind++)
		count += entry->slots[kind].state == PCTL_WORKER_RUNNING;
	LWLockRelease(shmem->lock);
	PG_RETURN_INT32(count);
}

PCTL_FUNCTION(pctl_derive_running);

/* probectl_internal.derive_running() -> boolean */
Datum
pctl_derive_running(PG_FUNCTION_ARGS)
{
	WorkerDatabase *entry;
	bool running;

	LWLockAcquire(shmem->lock, LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	running = entry != NULL && entry->slots[KIND_DERIVE].state == PCTL_WORKER_RUNNING;
	LWLockRelease(shmem->lock);
	PG_RETURN_BOOL(running);
}

PCTL_FUNCTION(pctl_workers);

/* probectl.workers() -> setof (name, state, pid, since, passes) */
Datum
pctl_workers(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {"stopped", "starting", "running"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerDatabase copy = {0};
	WorkerDatabase *entry;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(shmem->lock, LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	if (entry != NULL)
		copy = *entry;
	LWLockRelease(shmem->lock);
	for (int kind = 0; kind < KINDS; kind++)
	{
		WorkerSlot *slot = &copy.slots[kind];
		Datum values[5] = {CStringGetTextDatum(worker_kinds[kind].name),
		                   CStringGetTextDatum(states[slot->state]), Int32GetDatum(slot->pid),
		                   TimestampTzGetDatum(slot->since), Int64GetDatum(slot->passes)};
		bool nulls[5] = {false, false, slot->pid == 0, slot->since == 0, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
