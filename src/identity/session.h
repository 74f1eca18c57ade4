/* SPDX-License-Identifier: PostgreSQL
 *
 * session.h -- finding the live owner of a session or API token.
 */
#ifndef PCTL_IDENTITY_SESSION_H
#define PCTL_IDENTITY_SESSION_H

#include "postgres.h"

#include "core/crypto.h"
#include "datatype/timestamp.h"
#include "tenant/context.h"

typedef struct PctlSession
{
	PctlPrincipal who;   /* kind, tenant, id, credential, permissions, has_policies */
	TimestampTz used_at; /* last use, or when it was made */
	bool has_projects;   /* bindings below the tenant: session_projects says which */
} PctlSession;

/* False when there is no live session or token with the hash in the tenant, or its owner or the tenant is not active.
 * Reads committed rows by index, each with the tenant as its first key. */
bool pctl_session_find(const pg_uuid_t *tenant, const uint8 hash[PCTL_SHA256_LEN], TimestampTz now,
                       PctlSession *session);

/* Status of the tenant, read as the above; NULL when there is no such tenant. */
char *pctl_tenant_status(const pg_uuid_t *tenant);

#endif
