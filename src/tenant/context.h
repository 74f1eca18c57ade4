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
	PCTL_PRINCIPAL_SYSTEM, /* enter_tenant: a trusted login */
	PCTL_PRINCIPAL_USER,   /* enter_session with a session */
	PCTL_PRINCIPAL_TOKEN,  /* enter_session with an API token */
	PCTL_PRINCIPAL_AGENT   /* enter_agent */
} PctlPrincipalKind;

typedef struct PctlPrincipal
{
	PctlPrincipalKind kind;
	pg_uuid_t tenant;
	pg_uuid_t id;			/* user or agent; for a token the user it acts for */
	pg_uuid_t credential;	/* session or token; zero otherwise */
	uint64 permissions;		/* bit per row of probectl.permission */
} PctlPrincipal;

/* NULL when the transaction is bound to no tenant. */
const PctlPrincipal *pctl_principal(void);
const char *pctl_principal_kind_name(PctlPrincipalKind kind);

/* kind:id of the principal, system:<login> otherwise. palloc'd. */
char *pctl_principal_name(void);

/* The bound tenant; raises PC401 when there is none. */
const pg_uuid_t *pctl_tenant_required(void);

/* True from the binding to the end of the transaction, whatever savepoints did to the setting. */
bool pctl_context_bound(void);

/* Binds the tenant for credential checks, then the principal. Between the two nothing but the
 * trusted lookup may run. Raises when the transaction was bound before. */
void pctl_context_bind_tenant(const pg_uuid_t *tenant);
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

bool pctl_tenant_setting_check(char **newval, void **extra, GucSource source);
void pctl_tenant_setting_assign(const char *newval, void *extra);

void pctl_context_init(void);
void pctl_guard_init(void);

#endif
