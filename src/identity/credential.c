/* SPDX-License-Identifier: PostgreSQL
 *
 * credential.c -- entering a tenant with a credential.
 *
 * Order of things: the text names a tenant; the transaction is bound to it; the look-up runs as the
 * owner under that tenant's row-level security; only when it finds a live credential of a
 * live user of an active tenant does the transaction get a principal and go on as probectl_app.
 * Any miss raises the same error, so that a guess learns nothing, and ends the transaction.
 */
#include "identity/credential.h"

#include "access/xact.h"
#include "audit/deferred.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "identity/session.h"
#include "tenant/context.h"
#include "tenant/fairness.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How often a live session's last use is written down: once a minute is enough to expire by. */
#define TOUCH_INTERVAL_US (60 * INT64CONST(1000000))

static const struct
{
	const char *kind;
	const char *prefix;
} credential_kinds[] = {
    {"session", "pcs_"}, {"token", "pct_"}, {"signin", "pcl_"},
    {"invite", "pci_"},  {"join", "pjt_"},
};

/* HMAC-SHA-256 under a key of its own; prefix included, so that one kind never passes as another. */
static void
credential_hash(const char *prefix, const uint8 *secret, uint8 hash[PCTL_SHA256_LEN])
{
	uint8 key[PCTL_KEY_LEN];
	uint8 input[4 + PCTL_CREDENTIAL_SECRET_LEN];

	pctl_key_derive("probectl credential v1", key);
	memcpy(input, prefix, 4);
	memcpy(input + 4, secret, PCTL_CREDENTIAL_SECRET_LEN);
	pctl_hmac_sha256(key, sizeof(key), input, sizeof(input), hash);
}

bool
pctl_credential_parse(const char *text, PctlCredential *out)
{
	uint8 secret[PCTL_CREDENTIAL_SECRET_LEN];

	for (size_t i = 0; i < lengthof(credential_kinds); i++)
	{
		if (strncmp(text, credential_kinds[i].prefix, 4) != 0)
			continue;
		if (!pctl_base64url_decode(text + 4, secret, sizeof(secret)))
			return false;
		out->kind = credential_kinds[i].kind;
		memcpy(out->tenant.data, secret, UUID_LEN);
		credential_hash(credential_kinds[i].prefix, secret, out->hash);
		return true;
	}
	return false;
}

char *
pctl_credential_mint(const char *kind, const pg_uuid_t *tenant, uint8 hash[PCTL_SHA256_LEN])
{
	uint8 secret[PCTL_CREDENTIAL_SECRET_LEN];

	memcpy(secret, tenant->data, UUID_LEN);
	pctl_random(secret + UUID_LEN, sizeof(secret) - UUID_LEN);
	for (size_t i = 0; i < lengthof(credential_kinds); i++)
		if (strcmp(kind, credential_kinds[i].kind) == 0)
		{
			credential_hash(credential_kinds[i].prefix, secret, hash);
			return psprintf("%s%s", credential_kinds[i].prefix,
			                pctl_base64url(secret, sizeof(secret)));
		}
	elog(ERROR, "unknown kind of credential: %s", kind);
}

/* Who guessed is not known, so this stands in the provider's chain. */
static void
refuse_credential(void)
{
	pctl_audit_denied("credential.enter", "unknown", "denied", "{}");
	ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
	                errmsg("the credential is unknown, expired or revoked")));
}

/* Reads the text, binds its tenant. The caller looks it up next. */
static void
credential_bind(text *given, PctlCredential *credential, const char *kind, const char *kind2)
{
	char *string = text_to_cstring(given);

	if (!pctl_credential_parse(string, credential) ||
	    (strcmp(credential->kind, kind) != 0 &&
	     (kind2 == NULL || strcmp(credential->kind, kind2) != 0)))
		refuse_credential();
	pctl_context_bind_tenant(&credential->tenant);
}

static bytea *
hash_bytea(const uint8 hash[PCTL_SHA256_LEN])
{
	bytea *value = palloc(VARHDRSZ + PCTL_SHA256_LEN);

	SET_VARSIZE(value, VARHDRSZ + PCTL_SHA256_LEN);
	memcpy(VARDATA(value), hash, PCTL_SHA256_LEN);
	return value;
}

/* Bindings of the caller c, with the bits each grants. */
#define BINDINGS_OF_CALLER                                                                         \
	" FROM probectl.role_binding b"                                                                \
	" JOIN probectl.role r ON r.tenant_id = b.tenant_id AND r.role_id = b.role_id"                 \
	" WHERE b.tenant_id = c.tenant_id"                                                             \
	"  AND (b.user_id = c.user_id OR b.service_account_id = c.service_account_id OR b.group_id IN" \
	"       (SELECT m.group_id FROM probectl.group_member m"                                       \
	"         WHERE m.tenant_id = c.tenant_id AND m.user_id = c.user_id))"

/* A token may be narrowed to scopes. */
#define WITHIN_SCOPES                                                                              \
	" & CASE WHEN c.scopes IS NULL THEN -1::bigint ELSE "                                          \
	"probectl_internal.permission_bits(c.scopes) END"

/* Bits held below the tenant, resolved to projects: a binding on a team holds in each of its projects. */
static PctlPlan session_projects = {
    "SELECT j.project_id, bit_or(s.bits)" WITHIN_SCOPES "  FROM probectl.credential c"
    " CROSS JOIN LATERAL (SELECT r.bits, b.organization_id, b.team_id, "
    "b.project_id" BINDINGS_OF_CALLER
    "                        AND num_nonnulls(b.organization_id, b.team_id, b.project_id) > 0) s"
    "  JOIN probectl.project j ON j.tenant_id = c.tenant_id"
    "  JOIN probectl.team e ON e.tenant_id = j.tenant_id AND e.team_id = j.team_id"
    "   AND (j.project_id = s.project_id OR e.team_id = s.team_id OR e.organization_id = "
    "s.organization_id)"
    " WHERE c.tenant_id = $1 AND c.credential_id = $2"
    " GROUP BY j.project_id, c.scopes ORDER BY j.project_id",
    2,
    {UUIDOID, UUIDOID}};

static PctlPlan session_touch = {
    "UPDATE probectl.credential SET used_at = $3 WHERE tenant_id = $1 AND credential_id ="
    "  (SELECT c.credential_id FROM probectl.credential c"
    "    WHERE c.tenant_id = $1 AND c.credential_id = $2 FOR NO KEY UPDATE SKIP LOCKED)",
    3,
    {UUIDOID, UUIDOID, TIMESTAMPTZOID}};

/* Writes the use down, unless another transaction is at it: waiting for a time stamp is not worth it. */
static void
touch_session(const PctlPrincipal *who, TimestampTz used, TimestampTz now)
{
	Datum args[3] = {UUIDPGetDatum(&who->tenant), UUIDPGetDatum(&who->credential),
	                 TimestampTzGetDatum(now)};

	if (now - used > TOUCH_INTERVAL_US && !XactReadOnly)
		pctl_plan_run(&session_touch, args, NULL, false, 0);
}

static void
load_projects(PctlPrincipal *who)
{
	Datum args[2] = {UUIDPGetDatum(&who->tenant), UUIDPGetDatum(&who->credential)};
	uint64 count = pctl_plan_run(&session_projects, args, NULL, true, 0);

	who->projects = MemoryContextAlloc(TopTransactionContext,
	                                   Max(count, 1) * sizeof(*who->projects));
	for (uint64 i = 0; i < count; i++)
	{
		who->projects[i].project = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL));
		who->projects[i].permissions = (uint64) DatumGetInt64(pctl_spi_value(i, 2, NULL));
	}
	who->project_count = (int) count;
}

PCTL_FUNCTION(pctl_enter_session);

/* probectl.enter_session(token text [, used boolean]) -> void */
Datum
pctl_enter_session(PG_FUNCTION_ARGS)
{
	PctlCredential credential;
	PctlSession session;
	PctlTrusted saved;
	TimestampTz now = pctl_now();

	credential_bind(PG_GETARG_TEXT_PP(0), &credential, "session", "token");
	if (!pctl_session_find(&credential.tenant, credential.hash, now, &session) ||
	    (session.who.kind == PCTL_PRINCIPAL_USER) != (strcmp(credential.kind, "session") == 0))
		refuse_credential();
	if (session.has_projects || now - session.used_at > TOUCH_INTERVAL_US)
	{
		pctl_trusted_begin(&saved);
		SPI_connect();
		if (session.has_projects)
			load_projects(&session.who);
		if (PG_NARGS() < 2 || PG_GETARG_BOOL(1))
			touch_session(&session.who, session.used_at, now);
		SPI_finish();
		pctl_trusted_end(&saved);
	}
	/* After the credential proved good: a guess does not spend a tenant's budget. */
	pctl_fairness_query(&credential.tenant);
	pctl_context_bind_principal(&session.who);
	PG_RETURN_VOID();
}

static void
agent_refuse(void)
{
	ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
	                errmsg("the certificate is unknown, expired or revoked")));
}

/* Its status is the first column of the last answer. */
static void
agent_tenant_check(void)
{
	if (strcmp(TextDatumGetCString(pctl_spi_value(0, 1, NULL)), "active") != 0)
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN), errmsg("the tenant is not active")));
}

void
pctl_agent_check(const PctlPrincipal *who, Datum serial)
{
	static PctlPlan plan = {
	    "SELECT t.status, a.revoked_at IS NULL AND c.revoked_at IS NULL AND c.not_after > $4"
	    "  FROM probectl.agent_certificate c"
	    "  JOIN probectl.agent a ON a.tenant_id = c.tenant_id AND a.agent_id = c.agent_id"
	    "  JOIN probectl.tenant t ON t.tenant_id = c.tenant_id"
	    " WHERE c.tenant_id = $1 AND c.serial = $3 AND c.agent_id = $2",
	    4,
	    {UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID}};
	Datum args[4];

	args[0] = UUIDPGetDatum(&who->tenant);
	args[1] = UUIDPGetDatum(&who->id);
	args[2] = serial;
	args[3] = TimestampTzGetDatum(pctl_now());
	if (pctl_plan_run(&plan, args, NULL, true, 1) != 1)
		agent_refuse();
	if (!DatumGetBool(pctl_spi_value(0, 2, NULL)))
		agent_refuse();
	agent_tenant_check();
}

void
pctl_agents_check(const pg_uuid_t *tenant, Datum agents, Datum serials, int count)
{
	static PctlPlan plan = {
	    /* Certificates have a serial each, so a pair is found once or not at all. OFFSET 0: one look into
	     * the index for each. */
	    "SELECT t.status, (SELECT count(*) FROM unnest($2, $3) u (agent_id, serial), LATERAL ("
	    "  SELECT FROM probectl.agent_certificate c"
	    "    JOIN probectl.agent a ON a.tenant_id = c.tenant_id AND a.agent_id = c.agent_id"
	    "   WHERE c.tenant_id = $1 AND c.serial = u.serial AND c.agent_id = u.agent_id"
	    "     AND a.tenant_id = $1 AND a.agent_id = u.agent_id"
	    "     AND a.revoked_at IS NULL AND c.revoked_at IS NULL AND c.not_after > $4 OFFSET 0) s)"
	    "  FROM probectl.tenant t WHERE t.tenant_id = $1",
	    4,
	    {UUIDOID, UUIDARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};
	Datum args[4] = {UUIDPGetDatum(tenant), agents, serials, TimestampTzGetDatum(pctl_now())};

	if (count == 0)
		return;
	if (pctl_plan_run(&plan, args, NULL, true, 1) != 1 ||
	    DatumGetInt64(pctl_spi_value(0, 2, NULL)) != count)
		agent_refuse();
	agent_tenant_check();
}

PCTL_FUNCTION(pctl_enter_agent);

/* probectl.enter_agent(tenant uuid, agent uuid, serial text) -> void */
Datum
pctl_enter_agent(PG_FUNCTION_ARGS)
{
	PctlPrincipal who = {.kind = PCTL_PRINCIPAL_AGENT};
	PctlTrusted saved;

	who.tenant = *PG_GETARG_UUID_P(0);
	who.id = *PG_GETARG_UUID_P(1);
	pctl_context_bind_tenant(&who.tenant);
	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_agent_check(&who, PG_GETARG_DATUM(2));
	SPI_finish();
	pctl_trusted_end(&saved);
	pctl_context_bind_principal(&who);
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_enter_tenant);

/* probectl.enter_tenant(tenant uuid) -> void */
Datum
pctl_enter_tenant(PG_FUNCTION_ARGS)
{
	PctlPrincipal who = {.kind = PCTL_PRINCIPAL_SYSTEM, .permissions = PG_UINT64_MAX};
	char *status;

	who.tenant = *PG_GETARG_UUID_P(0);
	pctl_context_bind_tenant(&who.tenant);
	status = pctl_tenant_status(&who.tenant);
	if (status == NULL)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND), errmsg("there is no such tenant")));
	if (strcmp(status, "deleted") == 0)
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN), errmsg("the tenant is deleted")));
	pctl_context_bind_principal(&who);
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_credential_bind);

/* probectl_internal.credential_bind(text, kind text, other kind text) -> bytea: binds the tenant a
 * one-time credential names and returns the hash to look up; for security definer functions only. */
Datum
pctl_credential_bind(PG_FUNCTION_ARGS)
{
	PctlCredential credential;

	credential_bind(PG_GETARG_TEXT_PP(0), &credential, text_to_cstring(PG_GETARG_TEXT_PP(1)),
	                text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_BYTEA_P(hash_bytea(credential.hash));
}

PCTL_FUNCTION(pctl_credential_mint_sql);

/* probectl_internal.credential_mint(kind text, OUT secret text, OUT hash bytea) */
Datum
pctl_credential_mint_sql(PG_FUNCTION_ARGS)
{
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint8 hash[PCTL_SHA256_LEN];
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(pctl_credential_mint(kind, pctl_tenant_required(), hash));
	values[1] = PointerGetDatum(hash_bytea(hash));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

PCTL_FUNCTION(pctl_session_id);

/* probectl_internal.credential_id() -> uuid of the session, token or grant that was entered with */
Datum
pctl_session_id(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	pg_uuid_t *uuid;

	if (who == NULL || who->kind == PCTL_PRINCIPAL_SYSTEM || who->kind == PCTL_PRINCIPAL_AGENT)
		PG_RETURN_NULL();
	uuid = palloc(sizeof(*uuid));
	*uuid = who->credential;
	PG_RETURN_UUID_P(uuid);
}

PCTL_FUNCTION(pctl_tenant_bind);

/* probectl_internal.tenant_bind(tenant uuid): binds as a system principal, the role stays. */
Datum
pctl_tenant_bind(PG_FUNCTION_ARGS)
{
	pctl_context_bind_tenant(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}
