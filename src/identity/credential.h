/* SPDX-License-Identifier: PostgreSQL
 *
 * credential.h -- the text form of secrets: prefix, then base64url of 16 bytes tenant id and 32 random
 * bytes. The tenant in the text makes the look-up an in-tenant one; the random half is the secret.
 */
#ifndef PCTL_IDENTITY_CREDENTIAL_H
#define PCTL_IDENTITY_CREDENTIAL_H

#include "postgres.h"

#include "core/crypto.h"
#include "tenant/context.h"
#include "utils/uuid.h"

#define PCTL_CREDENTIAL_SECRET_LEN (UUID_LEN + 32)

typedef struct PctlCredential
{
	const char *kind; /* as in probectl.credential.kind */
	pg_uuid_t tenant;
	uint8 hash[PCTL_SHA256_LEN];
} PctlCredential;

/* False when text is no credential at all; says nothing about whether it is a good one. */
bool pctl_credential_parse(const char *text, PctlCredential *out);

/* A new secret of the kind for the tenant. palloc'd text; hash is what is stored. */
char *pctl_credential_mint(const char *kind, const pg_uuid_t *tenant, uint8 hash[PCTL_SHA256_LEN]);

/*
 * Whether the agent `who` may enter with the certificate of that serial (text): raises PC401, or PC403
 * when its tenant is not active. The tenant is bound already. Inside SPI_connect, trusted.
 */
void pctl_agent_check(const PctlPrincipal *who, Datum serial);

/* The same of several agents of one tenant: uuid[] and text[] of so many elements, none NULL. */
void pctl_agents_check(const pg_uuid_t *tenant, Datum agents, Datum serials, int count);

#endif
