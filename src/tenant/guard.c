/* SPDX-License-Identifier: PostgreSQL
 *
 * guard.c -- what a bound transaction may not do, however it is asked.
 *
 * Row-level security decides which rows are seen. It does not stop a statement from carrying
 * them past the end of the transaction (held cursors, temporary tables, large objects,
 * session settings, notifications) or from looking around the rows (EXPLAIN, statistics, sizes,
 * the activity view). While a transaction is bound, utility statements pass a short list,
 * catalog relations cannot be read by the tenant's role, and server functions that look around
 * are refused. Trusted code of the extension runs as probectl_owner and is not asked.
 */
#include "tenant/context.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "audit/deferred.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "compat.h"
#include "core/errors.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_access = NULL;
static ExecutorCheckPerms_hook_type previous_perms = NULL;

/* Server functions a bound transaction may not call; a trailing * means every name so begun. */
static const char *const refused_functions[] = {
    "currtid*",
    "currval",
    "database_to_xml*",
    "lastval",
    "lo_*",
    "loread",
    "lowrite",
    "nextval",
    "pg_advisory_*",
    "pg_blocking_pids",
    "pg_cancel_backend",
    "pg_column_is_updatable",
    "pg_control_*",
    "pg_current_snapshot",
    "pg_current_wal_*",
    "pg_current_xact_id*",
    "pg_cursor",
    "pg_database_size",
    "pg_export_snapshot",
    "pg_get_*",
    "pg_indexes_size",
    "pg_last_*",
    "pg_lock_status",
    "pg_logical_*",
    "pg_ls_*",
    "pg_mcv_list_items",
    "pg_notification_queue_usage",
    "pg_notify",
    "pg_prepared_*",
    "pg_read_*",
    "pg_relation_*",
    "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value",
    "pg_show_*",
    "pg_stat_*",
    "pg_table_size",
    "pg_tablespace_*",
    "pg_terminate_backend",
    "pg_total_relation_size",
    "pg_try_advisory_*",
    "pg_xact_*",
    "query_to_xml*",
    "schema_to_xml*",
    "set_config",
    "setseed",
    "setval",
    "table_to_xml*",
    "txid_current*",
    "txid_status",
};

static LocalTransactionId held_lxid =
    InvalidLocalTransactionId; /* ... declared a cursor WITH HOLD */

/*
 * Security definer code is trusted when it is the extension's or a superuser's. A login can make
 * functions of its own in pg_temp, and what they may do must not be more than what it may.
 */
static bool
definer_trusted(void)
{
	return InLocalUserIdChange() &&
	       (GetUserId() == get_role_oid("probectl_owner", true) || superuser());
}

/* Only the tenant's own statements are judged: bound, and not inside trusted code. */
static bool
guard_applies(void)
{
	return pctl_context_bound() && !pctl_trusted() && !definer_trusted();
}

bool
pctl_guard_holds_cursor(void)
{
	return held_lxid != InvalidLocalTransactionId && held_lxid == PCTL_MY_LXID;
}

static void
refuse(const char *what)
{
	pctl_audit_denied("sql.refused", what, "denied", "{}");
	ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
	                errmsg("%s is not allowed in a tenant context", what)));
}

static void
guard_set(const VariableSetStmt *stmt)
{
	static const char *const fixed[] = {
	    "role", "session_authorization", "row_security", "session_replication_role", "search_path",
	    /* a plan that is printed tells what EXPLAIN would */
	    "client_min_messages", "debug_print_parse", "debug_print_plan", "debug_print_rewritten"};

	if (stmt->kind == VAR_RESET_ALL || !stmt->is_local || stmt->name == NULL)
		refuse("SET other than SET LOCAL");
	if (pg_strncasecmp(stmt->name, "probectl.", 9) == 0)
		refuse("changing a setting of probectl");
	for (size_t i = 0; i < lengthof(fixed); i++)
		if (pg_strcasecmp(stmt->name, fixed[i]) == 0)
			refuse("changing this setting");
}

static void
guard_transaction(const TransactionStmt *stmt)
{
	switch (stmt->kind)
	{
		case TRANS_STMT_PREPARE:
		case TRANS_STMT_COMMIT_PREPARED:
		case TRANS_STMT_ROLLBACK_PREPARED: refuse("a prepared transaction"); break;
		default: break;
	}
}

/* A held cursor is read to its end at commit, as whoever the transaction has become by then. */
static void
note_held_cursor(Node *node)
{
	if (nodeTag(node) == T_DeclareCursorStmt &&
	    (((DeclareCursorStmt *) node)->options & CURSOR_OPT_HOLD) != 0)
		held_lxid = PCTL_MY_LXID;
}

/* The short list: what is not on it is refused by its command tag. */
static void
guard_utility(Node *node)
{
	switch (nodeTag(node))
	{
		case T_TransactionStmt: guard_transaction((TransactionStmt *) node); break;
		case T_VariableSetStmt: guard_set((VariableSetStmt *) node); break;
		case T_DeclareCursorStmt:
			if ((((DeclareCursorStmt *) node)->options & CURSOR_OPT_HOLD) != 0)
				refuse("a cursor WITH HOLD");
			break;
		case T_CopyStmt:
			if (((CopyStmt *) node)->is_from || ((CopyStmt *) node)->filename != NULL)
				refuse("COPY other than COPY TO STDOUT");
			break;
		case T_CallStmt:
		case T_ClosePortalStmt:
		case T_ConstraintsSetStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_FetchStmt:
		case T_VariableShowStmt: break;
		default: refuse(GetCommandTagName(CreateCommandTag(node))); break;
	}
}

static void
guard_process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
                      ProcessUtilityContext context, ParamListInfo params,
                      QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	if (guard_applies())
		guard_utility(pstmt->utilityStmt);
	else
		note_held_cursor(pstmt->utilityStmt);
	if (previous_utility)
		previous_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
		                        qc);
}

static bool
name_refused(const char *name)
{
	for (size_t i = 0; i < lengthof(refused_functions); i++)
	{
		const char *pattern = refused_functions[i];
		size_t len = strlen(pattern);

		if (pattern[len - 1] == '*' ? strncmp(name, pattern, len - 1) == 0
		                            : strcmp(name, pattern) == 0)
			return true;
	}
	return false;
}

/* The verdict on one built-in function is remembered for the life of the backend. */
static bool
function_refused(Oid function)
{
	typedef struct
	{
		Oid function;
		bool refused;
	} Verdict;
	static HTAB *verdicts = NULL;
	Verdict *verdict;
	bool found;

	if (function >= FirstNormalObjectId)
		return false;
	if (verdicts == NULL)
	{
		HASHCTL ctl = {
		    .keysize = sizeof(Oid), .entrysize = sizeof(Verdict), .hcxt = TopMemoryContext};

		verdicts = hash_create("probectl refused functions", 256, &ctl,
		                       HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	verdict = hash_search(verdicts, &function, HASH_FIND, NULL);
	if (verdict == NULL)
	{
		char *name = get_func_name(function);
		bool refused = name != NULL && name_refused(name);

		verdict = hash_search(verdicts, &function, HASH_ENTER, &found);
		verdict->refused = refused;
	}
	return verdict->refused;
}

static void
guard_object_access(ObjectAccessType access, Oid class, Oid object, int subid, void *arg)
{
	if (previous_access)
		previous_access(access, class, object, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && class == ProcedureRelationId && guard_applies() &&
	    function_refused(object))
		refuse("calling this function");
}

/* Where a row lies and which transaction wrote it tell how much everybody writes. */
static bool
reads_row_position(const RangeTblEntry *rte)
{
	static const AttrNumber positions[] = {
	    SelfItemPointerAttributeNumber, MinTransactionIdAttributeNumber,
	    MinCommandIdAttributeNumber, MaxTransactionIdAttributeNumber, MaxCommandIdAttributeNumber};

	for (size_t i = 0; i < lengthof(positions); i++)
		if (bms_is_member(positions[i] - FirstLowInvalidHeapAttributeNumber, rte->selectedCols))
			return true;
	return false;
}

/* What a bound tenant does not read, or NULL. Catalogs say how many rows others have; a temporary
 * table outlives the transaction and would carry rows to the next tenant of the session. */
static const char *
relation_refused(const RangeTblEntry *rte)
{
	Oid schema = get_rel_namespace(rte->relid);

	if (schema == PG_CATALOG_NAMESPACE || schema == PG_TOAST_NAMESPACE ||
	    rte->relid < FirstNormalObjectId)
		return "reading a system catalog";
	if (isAnyTempNamespace(schema))
		return "using a temporary table";
	if (reads_row_position(rte))
		return "reading the position of a row";
	return NULL;
}

static bool
guard_check_perms(List *rangetable, bool abort)
{
	ListCell *cell;

	if (previous_perms && !previous_perms(rangetable, abort))
		return false;
	if (!guard_applies())
		return true;
	foreach (cell, rangetable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		const char *refused;

		/* Nothing is asked of a partition: it is read as its parent. */
		if (rte->rtekind != RTE_RELATION || rte->requiredPerms == 0 || OidIsValid(rte->checkAsUser))
			continue;
		refused = relation_refused(rte);
		if (refused != NULL && abort)
			refuse(refused);
		if (refused != NULL)
			return false;
	}
	return true;
}

void
pctl_guard_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_process_utility;
	previous_access = object_access_hook;
	object_access_hook = guard_object_access;
	previous_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = guard_check_perms;
}
