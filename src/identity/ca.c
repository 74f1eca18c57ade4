/* SPDX-License-Identifier: PostgreSQL
 *
 * ca.c -- the agent CA as SQL sees it: private keys enter and leave only sealed.
 *
 * Called by security definer functions of api.sql alone; none of these is granted to anybody.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/crypto.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/x509.h"
#include "funcapi.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ROOT_DAYS         3650
#define INTERMEDIATE_DAYS 365
#define SERVER_HOURS      (90 * 24)
#define TESTS_HOURS       (90 * 24)
#define TESTS_NAME        "spiffe://probectl/control/tests" /* agents look for it */
#define SEAL_CONTEXT      "probectl ca key"

static Datum
row_datum(FunctionCallInfo fcinfo, Datum *values, int count)
{
	bool nulls[8] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != count)
		elog(ERROR, "return type must be a row of %d columns", count);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static char *
key_unseal(bytea *sealed)
{
	bytea *plain = pctl_unseal(SEAL_CONTEXT, sealed);

	return pnstrdup(VARDATA(plain), VARSIZE(plain) - VARHDRSZ);
}

PCTL_FUNCTION(pctl_ca_make);

/* ca_make(issuer text, issuer_key bytea, OUT certificate text, OUT sealed_key bytea, OUT not_before,
 * OUT not_after): a root when issuer is NULL, else an intermediate under it. */
Datum
pctl_ca_make(PG_FUNCTION_ARGS)
{
	bool root = PG_ARGISNULL(0);
	PctlKeyPair pair;
	Datum values[4];

	pctl_x509_ca(root ? "probectl root CA" : "probectl agent CA",
	             root ? ROOT_DAYS : INTERMEDIATE_DAYS,
	             root ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)),
	             root ? NULL : key_unseal(PG_GETARG_BYTEA_PP(1)), &pair);
	values[0] = CStringGetTextDatum(pair.certificate);
	values[1] = PointerGetDatum(pctl_seal(SEAL_CONTEXT, pair.key, strlen(pair.key)));
	values[2] = TimestampTzGetDatum(pair.not_before);
	values[3] = TimestampTzGetDatum(pair.not_after);
	return row_datum(fcinfo, values, 4);
}

PCTL_FUNCTION(pctl_ca_sign);

/* ca_sign(csr text, kind text, names text[], issuer text, issuer_key bytea, OUT certificate text,
 * OUT serial text, OUT not_before, OUT not_after); kind is agent or server. */
Datum
pctl_ca_sign(PG_FUNCTION_ARGS)
{
	bool agent = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(1)), "agent") == 0;
	Datum *elements;
	bool *nulls;
	int count;
	const char **names;
	PctlLeaf leaf;
	Datum values[4];

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls,
	                  &count);
	names = palloc(Max(count, 1) * sizeof(*names));
	for (int i = 0; i < count; i++)
		names[i] = nulls[i] ? "" : TextDatumGetCString(elements[i]);
	pctl_x509_leaf(text_to_cstring(PG_GETARG_TEXT_PP(0)),
	               agent ? PCTL_LEAF_AGENT : PCTL_LEAF_SERVER, names, count,
	               agent ? pctl_agent_certificate_hours : SERVER_HOURS,
	               text_to_cstring(PG_GETARG_TEXT_PP(3)), key_unseal(PG_GETARG_BYTEA_PP(4)), &leaf);
	values[0] = CStringGetTextDatum(leaf.certificate);
	values[1] = CStringGetTextDatum(leaf.serial);
	values[2] = TimestampTzGetDatum(leaf.not_before);
	values[3] = TimestampTzGetDatum(leaf.not_after);
	return row_datum(fcinfo, values, 4);
}

PCTL_FUNCTION(pctl_ca_sign_tests);

/* ca_sign_tests(public_key bytea, issuer text, issuer_key bytea, OUT certificate text, OUT not_after) */
Datum
pctl_ca_sign_tests(PG_FUNCTION_ARGS)
{
	bytea *public = PG_GETARG_BYTEA_PP(0);
	PctlLeaf leaf;
	Datum values[2];

	if (VARSIZE_ANY_EXHDR(public) != PCTL_ED25519_LEN)
		elog(ERROR, "a signing key has the wrong length");
	pctl_x509_tests((const uint8 *) VARDATA_ANY(public), TESTS_NAME, TESTS_HOURS,
	                text_to_cstring(PG_GETARG_TEXT_PP(1)), key_unseal(PG_GETARG_BYTEA_PP(2)),
	                &leaf);
	values[0] = CStringGetTextDatum(leaf.certificate);
	values[1] = TimestampTzGetDatum(leaf.not_after);
	return row_datum(fcinfo, values, 2);
}

PCTL_FUNCTION(pctl_csr_key);

/* csr_key(csr text) -> bytea: SubjectPublicKeyInfo (DER), the self-signature checked */
Datum
pctl_csr_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(pctl_x509_csr_key(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

PCTL_FUNCTION(pctl_signed_by);

/* signed_by(public_key bytea, data text, signature bytea) -> boolean */
Datum
pctl_signed_by(PG_FUNCTION_ARGS)
{
	text *data = PG_GETARG_TEXT_PP(1);

	PG_RETURN_BOOL(pctl_x509_signed(PG_GETARG_BYTEA_PP(0), VARDATA_ANY(data),
	                                VARSIZE_ANY_EXHDR(data), PG_GETARG_BYTEA_PP(2)));
}

/* time | nonce | HMAC(time | nonce | subject): nothing is stored, so nothing can be filled up. */
#define NONCE_LEN      16
#define CHALLENGE_LEN  (8 + NONCE_LEN + PCTL_SHA256_LEN)
#define CHALLENGE_LIFE (60 * USECS_PER_SEC)

static void
challenge_mac(const uint8 *head, text *subject, uint8 mac[PCTL_SHA256_LEN])
{
	size_t len = VARSIZE_ANY_EXHDR(subject);
	uint8 *input = palloc(8 + NONCE_LEN + len);
	uint8 key[PCTL_KEY_LEN];

	pctl_key_derive("probectl challenge v1", key);
	memcpy(input, head, 8 + NONCE_LEN);
	memcpy(input + 8 + NONCE_LEN, VARDATA_ANY(subject), len);
	pctl_hmac_sha256(key, sizeof(key), input, 8 + NONCE_LEN + len, mac);
}

PCTL_FUNCTION(pctl_challenge_make);

/* challenge_make(subject text) -> text */
Datum
pctl_challenge_make(PG_FUNCTION_ARGS)
{
	uint8 challenge[CHALLENGE_LEN];
	uint64 now = pg_hton64((uint64) pctl_now());

	memcpy(challenge, &now, 8);
	pctl_random(challenge + 8, NONCE_LEN);
	challenge_mac(challenge, PG_GETARG_TEXT_PP(0), challenge + 8 + NONCE_LEN);
	PG_RETURN_TEXT_P(cstring_to_text(pctl_base64url(challenge, sizeof(challenge))));
}

PCTL_FUNCTION(pctl_challenge_fresh);

/* challenge_fresh(subject text, challenge text) -> boolean: ours, for the subject, under a minute old */
Datum
pctl_challenge_fresh(PG_FUNCTION_ARGS)
{
	uint8 challenge[CHALLENGE_LEN], mac[PCTL_SHA256_LEN];
	uint64 made;
	int64 age;

	if (!pctl_base64url_decode(text_to_cstring(PG_GETARG_TEXT_PP(1)), challenge, sizeof(challenge)))
		PG_RETURN_BOOL(false);
	memcpy(&made, challenge, 8);
	age = pctl_now() - (int64) pg_ntoh64(made);
	challenge_mac(challenge, PG_GETARG_TEXT_PP(0), mac);
	PG_RETURN_BOOL(pctl_equal(mac, challenge + 8 + NONCE_LEN, sizeof(mac)) && age >= 0 &&
	               age < CHALLENGE_LIFE);
}
