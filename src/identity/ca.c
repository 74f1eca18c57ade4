/* SPDX-License-Identifier: PostgreSQL
 *
 * ca.c -- the agent CA as SQL sees it: private keys enter and leave only sealed.
 *
 * Called by security definer functions of api.sql alone; none of these is granted to anybody.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/crypto.h"
#include "core/export.h"
#include "core/guc.h"
#include "core/x509.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ROOT_DAYS		  3650
#define INTERMEDIATE_DAYS 365
#define SERVER_HOURS	  (90 * 24)
#define SEAL_CONTEXT	  "probectl ca key"

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

	pctl_x509_ca(root ? "probectl root CA" : "probectl agent CA", root ? ROOT_DAYS : INTERMEDIATE_DAYS,
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
	pctl_x509_leaf(text_to_cstring(PG_GETARG_TEXT_PP(0)), agent ? PCTL_LEAF_AGENT : PCTL_LEAF_SERVER,
				   names, count, agent ? pctl_agent_certificate_hours : SERVER_HOURS,
				   text_to_cstring(PG_GETARG_TEXT_PP(3)), key_unseal(PG_GETARG_BYTEA_PP(4)), &leaf);
	values[0] = CStringGetTextDatum(leaf.certificate);
	values[1] = CStringGetTextDatum(leaf.serial);
	values[2] = TimestampTzGetDatum(leaf.not_before);
	values[3] = TimestampTzGetDatum(leaf.not_after);
	return row_datum(fcinfo, values, 4);
}

PCTL_FUNCTION(pctl_csr_key);

/* csr_key(csr text) -> bytea: SHA-256 of the public key, the self-signature checked */
Datum
pctl_csr_key(PG_FUNCTION_ARGS)
{
	bytea *digest = palloc(VARHDRSZ + PCTL_SHA256_LEN);

	SET_VARSIZE(digest, VARHDRSZ + PCTL_SHA256_LEN);
	pctl_x509_csr_key(text_to_cstring(PG_GETARG_TEXT_PP(0)), (uint8 *) VARDATA(digest));
	PG_RETURN_BYTEA_P(digest);
}
