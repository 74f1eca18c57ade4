/* SPDX-License-Identifier: PostgreSQL
 *
 * probectl.c -- start-up of the library, and nothing else.
 *
 * Preloading is required: shared memory, the launcher and the envelope key exist once for the
 * server. Loaded later (by a session that calls one of its functions in a server that does not
 * preload it), the library refuses.
 */
#include "postgres.h"

#include "core/export.h"

extern PCTL_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);
PG_MODULE_MAGIC;

#include "audit/chain.h"
#include "audit/deferred.h"
#include "core/crypto.h"
#include "core/guc.h"
#include "core/worker.h"
#include "miscadmin.h"
#include "remote/known.h"
#include "tenant/context.h"
#include "tenant/fairness.h"

extern PCTL_EXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("probectl must be loaded at server start"),
		         errhint("Add probectl to shared_preload_libraries and restart the server.")));
	pctl_guc_init();
	pctl_key_load();
	pctl_context_init();
	pctl_guard_init();
	pctl_audit_init();
	pctl_deferred_init();
	pctl_fairness_init();
	pctl_known_init();
	pctl_worker_init();
}
