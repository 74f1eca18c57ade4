/* SPDX-License-Identifier: PostgreSQL
 *
 * sign.c -- Ed25519 as SQL sees it. Seeds enter and leave only sealed.
 */
#include "postgres.h"

#include "core/crypto.h"
#include "core/export.h"
#include "funcapi.h"
#include "utils/builtins.h"

#define SEAL_CONTEXT "probectl signing seed"

static bytea *
bytes_of(const void *data, size_t len)
{
	bytea *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return value;
}

PCTL_FUNCTION(pctl_signing_key_make);

/* signing_key_make(OUT public_key bytea, OUT sealed_seed bytea) */
Datum
pctl_signing_key_make(PG_FUNCTION_ARGS)
{
	uint8 seed[PCTL_ED25519_LEN], public[PCTL_ED25519_LEN];
	Datum values[2];
	bool nulls[2] = {false, false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pctl_random(seed, sizeof(seed));
	pctl_ed25519_public(seed, public);
	values[0] = PointerGetDatum(bytes_of(public, sizeof(public)));
	values[1] = PointerGetDatum(pctl_seal(SEAL_CONTEXT, seed, sizeof(seed)));
	explicit_bzero(seed, sizeof(seed));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PCTL_FUNCTION(pctl_sign_with);

/* sign_with(sealed_seed bytea, data bytea) -> bytea */
Datum
pctl_sign_with(PG_FUNCTION_ARGS)
{
	bytea *seed = pctl_unseal(SEAL_CONTEXT, PG_GETARG_BYTEA_PP(0));
	bytea *data = PG_GETARG_BYTEA_PP(1);
	uint8 signature[PCTL_ED25519_SIGNATURE];

	if (VARSIZE(seed) - VARHDRSZ != PCTL_ED25519_LEN)
		elog(ERROR, "a signing seed has the wrong length");
	pctl_ed25519_sign((uint8 *) VARDATA(seed), VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data),
	                  signature);
	explicit_bzero(VARDATA(seed), PCTL_ED25519_LEN);
	PG_RETURN_BYTEA_P(bytes_of(signature, sizeof(signature)));
}

PCTL_FUNCTION(pctl_signature_verify);

/* signature_verify(public_key bytea, data bytea, signature bytea) -> boolean */
Datum
pctl_signature_verify(PG_FUNCTION_ARGS)
{
	bytea *public = PG_GETARG_BYTEA_PP(0);
	bytea *data = PG_GETARG_BYTEA_PP(1);
	bytea *signature = PG_GETARG_BYTEA_PP(2);

	PG_RETURN_BOOL(VARSIZE_ANY_EXHDR(public) == PCTL_ED25519_LEN &&
	               VARSIZE_ANY_EXHDR(signature) == PCTL_ED25519_SIGNATURE &&
	               pctl_ed25519_verify((uint8 *) VARDATA_ANY(public), VARDATA_ANY(data),
	                                   VARSIZE_ANY_EXHDR(data), (uint8 *) VARDATA_ANY(signature)));
}
