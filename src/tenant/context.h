/* SPDX-License-Identifier: PostgreSQL
 *
 * context.h -- who a transaction works for: one tenant and one principal, bound once.
 *
 * The binding is transaction-local and made by C only. Backend-private memory, no locks.
 */
#ifndef PCTL_TENANT_CONTEXT_H
#define PCTL_TENANT_CONTEXT_H

#include "postgres.h"

#include "utils/guc.h"
#include "utils/uuid.h"

typedef enum PctlPrincipalKind
{
	PCTL_PRINCIPAL_NONE = 0,
	PCTL_PRINCIPAL_SYSTEM,  /* enter_tenant: a trusted login */
	PCTL_PRINCIPAL_USER,    /* enter_session with a session */
	PCTL_PRINCIPAL_TOKEN,   /* enter_session with a user's API token */
	PCTL_PRINCIPAL_SERVICE, /* enter_session with a service account's API token */
	PCTL_PRINCIPAL_AGENT,   /* enter_agent */
	PCTL_PRINCIPAL_OPERATOR /* enter_break_glass: read only, what the grant names */
} PctlPrincipalKind;

/* Permissions held in one project only. */
typedef struct PctlProjectPermissions
{
	pg_uuid_t project;
	uint64 permissions;
} PctlProjectPermissions;

typedef struct PctlPrincipal
{
	PctlPrincipalKind kind;
	pg_uuid_t tenant;
	pg_uuid_t id;         /* user, service account, agent or operator */
	pg_uuid_t credential; /* session, token or grant; zero otherwise */
	uint64 permissions;   /* in the whole tenant: bit per row of probectl.permission */
	bool has_policies;    /* the tenant has access policies: ask them as well */
	int project_count;
	PctlProjectPermissions *projects; /* sorted by project; TopTransactionContext */
} PctlPrincipal;

/* NULL when the transaction is bound to no tenant. */
const PctlPrincipal *pctl_principal(void);
const char *pctl_principal_kind_name(PctlPrincipalKind kind);

/* kind:id of the principal, system:<login> otherwise. palloc'd. */
char *pctl_principal_name(void);

/* True when the bit is held in the whole tenant, or in the project when one is given. */
bool pctl_principal_may(const PctlPrincipal *who, int bit, const pg_uuid_t *project);

/* True when the bit is held anywhere: what a route asks before its handler looks at the thing. */
bool pctl_principal_may_somewhere(const PctlPrincipal *who, int bit);

/* The bound tenant; raises PC401 when there is none. */
const pg_uuid_t *pctl_tenant_required(void);

/* True from the binding to the end of the transaction, whatever savepoints did to the setting. */
bool pctl_context_bound(void);

/* Binds the tenant for credential checks, then the principal. Between the two nothing but the
 * trusted lookup may run. Raises when the transaction was bound before. */
void pctl_context_bind_tenant(const pg_uuid_t *tenant);
void
pctl_context_name_principal(const PctlPrincipal *principal); /* for the record of what follows */
void pctl_context_bind_principal(const PctlPrincipal *principal);

/* Runs what follows as probectl_owner, under row-level security still. */
typedef struct PctlTrusted
{
	Oid user;
	int sec;
} PctlTrusted;
void pctl_trusted_begin(PctlTrusted *saved);
void pctl_trusted_end(const PctlTrusted *saved);
bool pctl_trusted(void);

/* The setting probectl.principal carries the principal into parallel workers. */
bool pctl_principal_setting_check(char **newval, void **extra, GucSource source);
void pctl_principal_setting_assign(const char *newval, void *extra);
bool pctl_tenant_setting_check(char **newval, void **extra, GucSource source);
void pctl_tenant_setting_assign(const char *newval, void *extra);

void pctl_context_init(void);
void pctl_guard_init(void);

/* True when this transaction declared a cursor WITH HOLD: it cannot be bound any more. */
bool pctl_guard_holds_cursor(void);

#endif
