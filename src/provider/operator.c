/* SPDX-License-Identifier: PostgreSQL
 *
 * operator.c -- how an operator proves who he is, and entering with it.
 *
 * Passwords: Argon2id (RFC 9106, 64 MiB, 3 passes) or, under a FIPS provider, PBKDF2-HMAC-SHA-256 with
 * 600,000 rounds. The stored form says which, so both verify anywhere the algorithm exists.
 * TOTP is RFC 6238 with SHA-1, six digits, thirty seconds, one step either way; a step once used is
 * not accepted again. An operator's transaction runs as probectl_provider, which has no grant on
 * any table; it ends with the transaction as a tenant's does.
 */
#include "postgres.h"

#include <argon2.h>

#include "access/xact.h"
#include "audit/deferred.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "core/clock.h"
#include "core/crypto.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "funcapi.h"
#include "identity/permission.h"
#include "miscadmin.h"
#include "tenant/context.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define ARGON2_PASSES       3
#define ARGON2_KIB          65536
#define ARGON2_LANES        1
#define PBKDF2_ROUNDS       600000
#define SALT_LEN            16
#define TOTP_LEN            20
#define TOTP_PERIOD         30
#define TOTP_SEAL_CONTEXT   "probectl operator totp"
#define OPERATOR_SECRET_LEN 32

typedef struct OperatorContext
{
	LocalTransactionId lxid;
	pg_uuid_t id;
	bool admin;
} OperatorContext;

static OperatorContext operator_now;

/* The operator of this transaction, or NULL. */
static const OperatorContext *
operator_current(void)
{
	return operator_now.lxid != InvalidLocalTransactionId && operator_now.lxid == PCTL_MY_LXID
	           ? &operator_now
	           : NULL;
}

static void
operator_hash(const char *prefix, const uint8 *secret, uint8 hash[PCTL_SHA256_LEN])
{
	uint8 key[PCTL_KEY_LEN], input[4 + OPERATOR_SECRET_LEN];

	pctl_key_derive("probectl operator v1", key);
	memcpy(input, prefix, 4);
	memcpy(input + 4, secret, OPERATOR_SECRET_LEN);
	pctl_hmac_sha256(key, sizeof(key), input, sizeof(input), hash);
}

static bytea *
bytes_of(const void *data, size_t len)
{
	bytea *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return value;
}

static Datum
two_columns(FunctionCallInfo fcinfo, Datum first, Datum second)
{
	Datum values[2] = {first, second};
	bool nulls[2] = {false, false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PCTL_FUNCTION(pctl_operator_mint);

/* operator_mint(prefix text, OUT secret text, OUT hash bytea); prefix pos_ (session) or poe_ (enrolment) */
Datum
pctl_operator_mint(PG_FUNCTION_ARGS)
{
	char *prefix = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint8 secret[OPERATOR_SECRET_LEN], hash[PCTL_SHA256_LEN];

	if (strlen(prefix) != 4)
		elog(ERROR, "a prefix has four characters");
	pctl_random(secret, sizeof(secret));
	operator_hash(prefix, secret, hash);
	return two_columns(
	    fcinfo,
	    CStringGetTextDatum(psprintf("%s%s", prefix, pctl_base64url(secret, sizeof(secret)))),
	    PointerGetDatum(bytes_of(hash, sizeof(hash))));
}

PCTL_FUNCTION(pctl_operator_secret_hash);

/* operator_secret_hash(prefix text, given text) -> bytea, NULL when it is no such secret */
Datum
pctl_operator_secret_hash(PG_FUNCTION_ARGS)
{
	char *prefix = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(1));
	uint8 secret[OPERATOR_SECRET_LEN], hash[PCTL_SHA256_LEN];

	if (strncmp(given, prefix, 4) != 0 || !pctl_base64url_decode(given + 4, secret, sizeof(secret)))
		PG_RETURN_NULL();
	operator_hash(prefix, secret, hash);
	PG_RETURN_BYTEA_P(bytes_of(hash, sizeof(hash)));
}

PCTL_FUNCTION(pctl_password_hash);

/* password_hash(password text) -> text */
Datum
pctl_password_hash(PG_FUNCTION_ARGS)
{
	char *password = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint8 salt[SALT_LEN], key[PCTL_SHA256_LEN];
	char encoded[256];

	pctl_random(salt, sizeof(salt));
	if (pctl_fips())
	{
		pctl_pbkdf2(password, salt, sizeof(salt), PBKDF2_ROUNDS, key);
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("$pbkdf2-sha256$%d$%s$%s", PBKDF2_ROUNDS,
		                                          pctl_base64url(salt, sizeof(salt)),
		                                          pctl_base64url(key, sizeof(key)))));
	}
	if (argon2id_hash_encoded(ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES, password, strlen(password),
	                          salt, sizeof(salt), PCTL_SHA256_LEN, encoded,
	                          sizeof(encoded)) != ARGON2_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not hash a password")));
	PG_RETURN_TEXT_P(cstring_to_text(encoded));
}

static bool
pbkdf2_verify(const char *stored, const char *password)
{
	char salt_text[64], key_text[64];
	uint8 salt[SALT_LEN], key[PCTL_SHA256_LEN], made[PCTL_SHA256_LEN];
	int rounds;

	if (sscanf(stored, "$pbkdf2-sha256$%d$%63[A-Za-z0-9_-]$%63[A-Za-z0-9_-]", &rounds, salt_text,
	           key_text) != 3 ||
	    rounds < 1 || !pctl_base64url_decode(salt_text, salt, sizeof(salt)) ||
	    !pctl_base64url_decode(key_text, key, sizeof(key)))
		return false;
	pctl_pbkdf2(password, salt, sizeof(salt), rounds, made);
	return pctl_equal(key, made, sizeof(key));
}

PCTL_FUNCTION(pctl_password_verify);

/* password_verify(stored text, password text) -> boolean; a NULL stored one costs as much and is false */
Datum
pctl_password_verify(PG_FUNCTION_ARGS)
{
	static const char decoy[] = "$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$"
	                            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	char *stored = PG_ARGISNULL(0) ? pstrdup(decoy) : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *password = PG_ARGISNULL(1) ? pstrdup("") : text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (strncmp(stored, "$pbkdf2-sha256$", 15) == 0)
		PG_RETURN_BOOL(pbkdf2_verify(stored, password));
	PG_RETURN_BOOL(argon2id_verify(stored, password, strlen(password)) == ARGON2_OK &&
	               !PG_ARGISNULL(0));
}

/* RFC 4648 base32 without padding: what authenticator programs take. */
static char *
base32(const uint8 *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	char *text = palloc(len * 8 / 5 + 2), *p = text;
	uint32 bits = 0;
	int have = 0;

	for (size_t i = 0; i < len; i++)
	{
		bits = bits << 8 | data[i];
		for (have += 8; have >= 5; have -= 5)
			*p++ = digits[bits >> (have - 5) & 31];
	}
	if (have > 0)
		*p++ = digits[bits << (5 - have) & 31];
	*p = '\0';
	return text;
}

PCTL_FUNCTION(pctl_totp_make);

/* totp_make(OUT secret text, OUT sealed bytea) */
Datum
pctl_totp_make(PG_FUNCTION_ARGS)
{
	uint8 key[TOTP_LEN];

	pctl_random(key, sizeof(key));
	return two_columns(fcinfo, CStringGetTextDatum(base32(key, sizeof(key))),
	                   PointerGetDatum(pctl_seal(TOTP_SEAL_CONTEXT, key, sizeof(key))));
}

PCTL_FUNCTION(pctl_totp_step);

/* totp_step(sealed bytea, code text, last_step bigint) -> bigint: the step whose code this is, later than
 * last_step; NULL when it is none */
Datum
pctl_totp_step(PG_FUNCTION_ARGS)
{
	char *code = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bytea *key = pctl_unseal(TOTP_SEAL_CONTEXT, PG_GETARG_BYTEA_PP(0));
	int64 last = PG_GETARG_INT64(2);
	int64 now = pctl_now() / USECS_PER_SEC +
	            (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	int64 found = 0;

	for (int64 step = now / TOTP_PERIOD - 1; step <= now / TOTP_PERIOD + 1; step++)
	{
		char expected[8];

		snprintf(expected, sizeof(expected), "%06u",
		         pctl_hotp((uint8 *) VARDATA(key), VARSIZE(key) - VARHDRSZ, (uint64) step));
		if (strlen(code) == 6 && pctl_equal(code, expected, 6) && step > last)
			found = step;
	}
	if (found == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(found);
}

PCTL_FUNCTION(pctl_operator_bind);

/* operator_bind(id uuid, admin boolean): makes the transaction an operator's; from trusted SQL only */
Datum
pctl_operator_bind(PG_FUNCTION_ARGS)
{
	if (pctl_context_bound() || operator_current() != NULL)
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
		                errmsg("this transaction is already somebody's")));
	operator_now.lxid = PCTL_MY_LXID;
	operator_now.id = *PG_GETARG_UUID_P(0);
	operator_now.admin = PG_GETARG_BOOL(1);
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_operator_id);

/* operator_id(need_admin boolean) -> uuid of this transaction's operator; PC401 or PC403 otherwise */
Datum
pctl_operator_id(PG_FUNCTION_ARGS)
{
	const OperatorContext *who = operator_current();
	pg_uuid_t *id;

	if (who == NULL)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("only a signed-in operator may do this")));
	if (PG_GETARG_BOOL(0) && !who->admin)
	{
		pctl_audit_denied("provider.admin", "operator", "denied", "{}");
		ereport(ERROR, (errcode(ERRCODE_PCTL_FORBIDDEN),
		                errmsg("only an admin of the provider may do this")));
	}
	id = palloc(sizeof(*id));
	*id = who->id;
	PG_RETURN_UUID_P(id);
}

PCTL_FUNCTION(pctl_enter_operator);

/* probectl.enter_operator(token text) -> void */
Datum
pctl_enter_operator(PG_FUNCTION_ARGS)
{
	static PctlPlan plan = {"SELECT probectl_internal.operator_bind(s.operator_id, s.admin) FROM "
	                        "probectl_internal.operator_session($1) s",
	                        1,
	                        {TEXTOID}};
	Datum args[1] = {PG_GETARG_DATUM(0)};
	PctlTrusted saved;

	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&plan, args, NULL, false, 1) != 1)
	{
		pctl_audit_denied("operator.enter", "unknown", "denied", "{}");
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("the session is unknown, expired or ended")));
	}
	SPI_finish();
	pctl_trusted_end(&saved);
	(void) set_config_option("role", "probectl_provider", superuser() ? PGC_SUSET : PGC_USERSET,
	                         PGC_S_SESSION, GUC_ACTION_LOCAL, true, ERROR, false);
	PG_RETURN_VOID();
}

PCTL_FUNCTION(pctl_enter_break_glass);

/* probectl.enter_break_glass(token text, tenant uuid, grant_id uuid, purpose text) -> void */
Datum
pctl_enter_break_glass(PG_FUNCTION_ARGS)
{
	static PctlPlan session = {
	    "SELECT operator_id FROM probectl_internal.operator_session($1)", 1, {TEXTOID}};
	static PctlPlan use = {
	    "SELECT probectl_internal.break_glass_use($1, $2, $3)", 3, {UUIDOID, UUIDOID, TEXTOID}};
	PctlPrincipal who = {.kind = PCTL_PRINCIPAL_OPERATOR};
	PctlTrusted saved;
	Datum args[3] = {PG_GETARG_DATUM(0)};

	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&session, args, NULL, true, 1) != 1)
	{
		pctl_audit_denied("operator.enter", "unknown", "denied", "{}");
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("the session is unknown, expired or ended")));
	}
	who.id = *DatumGetUUIDP(pctl_spi_value(0, 1, NULL));
	who.tenant = *PG_GETARG_UUID_P(1);
	who.credential = *PG_GETARG_UUID_P(2);
	pctl_context_bind_tenant(&who.tenant);
	pctl_context_name_principal(&who);
	args[0] = UUIDPGetDatum(&who.credential);
	args[1] = UUIDPGetDatum(&who.id);
	args[2] = PG_GETARG_DATUM(3);
	pctl_plan_run(&use, args, NULL, false, 1);
	who.permissions = pctl_permission_bits(DatumGetArrayTypeP(pctl_spi_value(0, 1, NULL)));
	SPI_finish();
	pctl_trusted_end(&saved);
	pctl_context_bind_principal(&who);
	PG_RETURN_VOID();
}
