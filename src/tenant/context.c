/* SPDX-License-Identifier: PostgreSQL
 *
 * context.c -- the bind-once tenant context.
 *
 * Row-level security compares tenant_id with probectl.current_tenant(), which returns the parsed
 * form of the setting probectl.tenant_id. The setting is transaction-local, so it follows
 * subtransactions, parallel workers and error recovery by the server's own rules. Its
 * check hook refuses every value that was not put there by bind_tenant() below.
 *
 * A second binding in one transaction is refused by comparing local transaction ids,
 * not by looking at the setting: rolling back to a savepoint takes the setting away, never the
 * lock.
 *
 * The principal is backend-private memory. A parallel worker gets a copy the way it gets the tenant, as the setting
 * probectl.principal, which nobody else may set or see: so policies are judged in a worker as in its leader, and so
 * is what a bound transaction may not do.
 */
#include "tenant/context.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/uuid7.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

static LocalTransactionId bound_lxid = InvalidLocalTransactionId;
static bool binding = false;     /* inside bind_tenant: the check hook lets the value pass */
static bool tenant_set = false;  /* the setting holds a tenant now */
static pg_uuid_t tenant_current; /* ... this one */
static PctlPrincipal principal;  /* kind NONE unless bound */
static int trusted_depth = 0;
static PctlPrincipal *principal_carried = NULL; /* in a parallel worker: of its leader */

bool
pctl_context_bound(void)
{
	if (IsParallelWorker())
		return tenant_set;
	return bound_lxid != InvalidLocalTransactionId && MyProc != NULL && bound_lxid == PCTL_MY_LXID;
}

const PctlPrincipal *
pctl_principal(void)
{
	if (IsParallelWorker())
		return tenant_set ? principal_carried : NULL;
	if (!tenant_set || !pctl_context_bound() || principal.kind == PCTL_PRINCIPAL_NONE)
		return NULL;
	return &principal;
}

const char *
pctl_principal_kind_name(PctlPrincipalKind kind)
{
	static const char *const names[] = {"none",    "system", "user",    "token",
	                                    "service", "agent",  "operator"};

	return names[kind];
}

static int
project_compare(const void *key, const void *entry)
{
	return memcmp(key, &((const PctlProjectPermissions *) entry)->project, UUID_LEN);
}

bool
pctl_principal_may(const PctlPrincipal *who, int bit, const pg_uuid_t *project)
{
	const PctlProjectPermissions *held;

	if (who == NULL || bit < 0 || bit > 63)
		return false;
	if ((who->permissions >> bit & 1) != 0)
		return true;
	if (project == NULL || who->project_count == 0)
		return false;
	held = bsearch(project, who->projects, who->project_count, sizeof(*held), project_compare);
	return held != NULL && (held->permissions >> bit & 1) != 0;
}

bool
pctl_principal_may_somewhere(const PctlPrincipal *who, int bit)
{
	if (pctl_principal_may(who, bit, NULL))
		return true;
	for (int i = 0; who != NULL && bit >= 0 && bit < 64 && i < who->project_count; i++)
		if ((who->projects[i].permissions >> bit & 1) != 0)
			return true;
	return false;
}

char *
pctl_principal_name(void)
{
	const PctlPrincipal *who = pctl_principal();
	char text[PCTL_UUID_TEXT_LEN + 1];

	if (who == NULL || who->kind == PCTL_PRINCIPAL_SYSTEM)
		return psprintf("system:%s", GetUserNameFromId(GetSessionUserId(), false));
	pctl_uuid_text(&who->id, text);
	return psprintf("%s:%s", pctl_principal_kind_name(who->kind), text);
}

const pg_uuid_t *
pctl_tenant_required(void)
{
	if (!tenant_set)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("this transaction is bound to no tenant")));
	return &tenant_current;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parses the value; refuses any that does not come from the binding itself. */
bool
pctl_tenant_setting_check(char **newval, void **extra, GucSource source)
{
	pg_uuid_t *uuid;
	const char *p = *newval;

	if (p == NULL || p[0] == '\0')
		return true;
	if (!binding && !InitializingParallelWorker)
	{
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("the tenant of a transaction cannot be set");
		GUC_check_errhint("Use probectl.enter_tenant(), enter_session() or enter_agent().");
		return false;
	}
	uuid = malloc(sizeof(*uuid));
	if (uuid == NULL)
		return false;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int high, low;

		while (*p == '-')
			p++;
		high = hex_digit(p[0]);
		low = high < 0 ? -1 : hex_digit(p[1]);
		if (low < 0)
		{
			free(uuid);
			return false;
		}
		uuid->data[i] = (unsigned char) (high << 4 | low);
		p += 2;
	}
	*extra = uuid;
	return true;
}

void
pctl_tenant_setting_assign(const char *newval, void *extra)
{
	tenant_set = extra != NULL;
	if (tenant_set)
		memcpy(&tenant_current, extra, sizeof(tenant_current));
}

/* The principal and then its projects, byte by byte: a worker is the same program. */
static char *
principal_text(const PctlPrincipal *who)
{
	Size projects = who->project_count * sizeof(PctlProjectPermissions);
	Size size = sizeof(PctlPrincipal) + projects;
	char *bytes = palloc(size), *text = palloc(size * 2 + 1);

	memcpy(bytes, who, sizeof(PctlPrincipal));
	((PctlPrincipal *) bytes)->projects = NULL;
	if (projects > 0)
		memcpy(bytes + sizeof(PctlPrincipal), who->projects, projects);
	text[hex_encode(bytes, size, text)] = '\0';
	pfree(bytes);
	return text;
}

/* Refuses every value that does not come from the binding itself; takes it apart in a worker. */
bool
pctl_principal_setting_check(char **newval, void **extra, GucSource source)
{
	const char *text = *newval;
	Size size;
	PctlPrincipal *who;

	if (text == NULL || text[0] == '\0')
		return true;
	if (!(binding || InitializingParallelWorker))
	{
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("the principal of a transaction cannot be set");
		GUC_check_errhint("Use probectl.enter_tenant(), enter_session() or enter_agent().");
		return false;
	}
	if (!InitializingParallelWorker)
		return true;
	size = strlen(text) / 2;
	who = malloc(Max(size, sizeof(*who)));
	if (who == NULL)
		return false;
	hex_decode(text, size * 2, (char *) who);
	if (size < sizeof(*who) ||
	    size != sizeof(*who) + who->project_count * sizeof(PctlProjectPermissions))
	{
		free(who);
		return false;
	}
	who->projects = (PctlProjectPermissions *) (who + 1);
	*extra = who;
	return true;
}

void
pctl_principal_setting_assign(const char *newval, void *extra)
{
	principal_carried = extra;
}

/* Debugging output shows plans, and plans show estimates of everybody's rows. Asked for before the
 * tenant was entered, it is turned off until the transaction ends. */
static void
quiet_messages(void)
{
	if (client_min_messages < NOTICE)
		(void) set_config_option("client_min_messages", "notice", PGC_USERSET, PGC_S_SESSION,
		                         GUC_ACTION_LOCAL, true, ERROR, false);
}

/* Takes the transaction for one tenant; from here on nothing but the end of it lets go. */
void
pctl_context_bind_tenant(const pg_uuid_t *tenant)
{
	char text[PCTL_UUID_TEXT_LEN + 1];

	if (pctl_context_bound())
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
		                errmsg("this transaction is already bound to a tenant"),
		                errhint("Commit or roll back first.")));
	if (IsInParallelMode())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
		                errmsg("cannot bind a tenant during a parallel operation")));
	if (pctl_guard_holds_cursor())
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
		                errmsg("a transaction with a cursor WITH HOLD cannot enter a tenant"),
		                errhint("Commit or roll back first.")));
	bound_lxid = PCTL_MY_LXID;
	memset(&principal, 0, sizeof(principal));
	pctl_uuid_text(tenant, text);
	quiet_messages();
	binding = true;
	PG_TRY();
	{
		(void) set_config_option("probectl.tenant_id", text, PGC_SUSET, PGC_S_SESSION,
		                         GUC_ACTION_LOCAL, true, ERROR, false);
	}
	PG_FINALLY();
	{
		binding = false;
	}
	PG_END_TRY();
}

/* Who it is, before what he may do is known. */
void
pctl_context_name_principal(const PctlPrincipal *who)
{
	Assert(pctl_context_bound());
	principal = *who;
}

/* Completes the binding: the principal, and the role under which the caller goes on. */
void
pctl_context_bind_principal(const PctlPrincipal *who)
{
	char *text = principal_text(who);

	Assert(pctl_context_bound() && trusted_depth == 0);
	principal = *who;
	binding = true;
	PG_TRY();
	{
		(void) set_config_option("probectl.principal", text, PGC_SUSET, PGC_S_SESSION,
		                         GUC_ACTION_LOCAL, true, ERROR, false);
	}
	PG_FINALLY();
	{
		binding = false;
	}
	PG_END_TRY();
	pfree(text);
	(void) set_config_option("role", "probectl_app", superuser() ? PGC_SUSET : PGC_USERSET,
	                         PGC_S_SESSION, GUC_ACTION_LOCAL, true, ERROR, false);
}

/* Looked up each time: roles may be dropped and made again with another oid. */
void
pctl_trusted_begin(PctlTrusted *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->sec);
	SetUserIdAndSecContext(get_role_oid("probectl_owner", false),
	                       saved->sec | SECURITY_LOCAL_USERID_CHANGE);
	trusted_depth++;
}

void
pctl_trusted_end(const PctlTrusted *saved)
{
	trusted_depth--;
	SetUserIdAndSecContext(saved->user, saved->sec);
}

bool
pctl_trusted(void)
{
	return trusted_depth > 0;
}

/* At the end of the transaction nobody is anybody. The setting reverts by itself. */
static void
context_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			bound_lxid = InvalidLocalTransactionId;
			memset(&principal, 0, sizeof(principal));
			trusted_depth = 0;
			break;
		default: break;
	}
}

/* An error inside trusted code unwinds past its end; the server restores the user itself. */
static void
context_subxact_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		trusted_depth = 0;
}

void
pctl_context_init(void)
{
	RegisterXactCallback(context_xact_end, NULL);
	RegisterSubXactCallback(context_subxact_end, NULL);
}

PCTL_FUNCTION(pctl_current_tenant);

/* probectl.current_tenant() -> uuid: NULL outside a tenant context. */
Datum
pctl_current_tenant(PG_FUNCTION_ARGS)
{
	pg_uuid_t *uuid;

	if (!tenant_set)
		PG_RETURN_NULL();
	uuid = palloc(sizeof(*uuid));
	*uuid = tenant_current;
	PG_RETURN_UUID_P(uuid);
}

PCTL_FUNCTION(pctl_current_principal);

/* probectl.current_principal() -> text: kind:id, NULL outside a tenant context. */
Datum
pctl_current_principal(PG_FUNCTION_ARGS)
{
	if (pctl_principal() == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(pctl_principal_name()));
}

PCTL_FUNCTION(pctl_principal_id);

/* probectl_internal.principal_id() -> uuid of the user or agent; NULL for system. */
Datum
pctl_principal_id(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	pg_uuid_t *uuid;

	if (who == NULL || who->kind == PCTL_PRINCIPAL_SYSTEM)
		PG_RETURN_NULL();
	uuid = palloc(sizeof(*uuid));
	*uuid = who->id;
	PG_RETURN_UUID_P(uuid);
}

PCTL_FUNCTION(pctl_principal_has);

/* probectl_internal.principal_has(place int, project uuid) -> bool; project may be NULL */
Datum
pctl_principal_has(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(pctl_principal_may(pctl_principal(), PG_GETARG_INT32(0),
	                                  PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1)));
}

PCTL_FUNCTION(pctl_principal_policies);

/* probectl_internal.principal_policies() -> bool: the tenant has access policies to ask */
Datum
pctl_principal_policies(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();

	PG_RETURN_BOOL(who != NULL && who->has_policies);
}
