/* SPDX-License-Identifier: PostgreSQL
 *
 * bundle.c -- the tests of an agent as a probectl.test.v1.TestBundle, so that the process in between
 * hands bytes on and knows nothing of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/pb.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "tenant/context.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define BUNDLE_BYTES_MAX (4 * 1024 * 1024) /* one gRPC message */

/* Field numbers of proto/probectl/test/v1/test.proto. */
enum
{
	BUNDLE_REVISION = 1,
	BUNDLE_TENANT_ID = 2,
	BUNDLE_AGENT_ID = 3,
	BUNDLE_TESTS = 4,
	TEST_TEST_ID = 1,
	TEST_TYPE = 2,
	TEST_TARGET = 3,
	TEST_INTERVAL_MS = 4,
	TEST_TIMEOUT_MS = 5,
	TEST_PARAMS = 6,
	TEST_NAME = 7
};

static PctlPlan tests_read = {
    "SELECT t.test_id::text, t.type, t.target, t.interval_seconds * 1000, (t.timeout_seconds * "
    "1000)::integer, t.name,"
    "       ARRAY(SELECT key FROM jsonb_each_text(t.params) ORDER BY key),"
    "       ARRAY(SELECT coalesce(value, '') FROM jsonb_each_text(t.params) ORDER BY key)"
    "  FROM probectl.test t"
    " WHERE t.tenant_id = $1 AND t.enabled AND (t.agent_id IS NULL OR t.agent_id = $2)"
    " ORDER BY t.test_id",
    2,
    {UUIDOID, UUIDOID}};

static void
write_text(PbWriter *w, uint32 tag, const char *text)
{
	pb_write_bytes(w, tag, text, strlen(text));
}

/* params: map<string, string>, an entry message each. */
static void
params_write(PbWriter *w, uint64 row)
{
	Datum *keys, *values;
	int count, value_count;

	deconstruct_array(DatumGetArrayTypeP(pctl_spi_value(row, 7, NULL)), TEXTOID, -1, false,
	                  TYPALIGN_INT, &keys, NULL, &count);
	deconstruct_array(DatumGetArrayTypeP(pctl_spi_value(row, 8, NULL)), TEXTOID, -1, false,
	                  TYPALIGN_INT, &values, NULL, &value_count);
	for (int i = 0; i < Min(count, value_count); i++)
	{
		char *key = TextDatumGetCString(keys[i]);
		char *value = TextDatumGetCString(values[i]);
		PbWriter entry = {.max = strlen(key) + strlen(value) + 24};

		entry.data = palloc(entry.max);
		write_text(&entry, 1, key);
		write_text(&entry, 2, value);
		pb_write_bytes(w, TEST_PARAMS, entry.data, entry.len);
	}
}

static void
test_write(PbWriter *bundle, PbWriter *scratch, uint64 row)
{
	scratch->len = 0;
	write_text(scratch, TEST_TEST_ID, TextDatumGetCString(pctl_spi_value(row, 1, NULL)));
	write_text(scratch, TEST_TYPE, TextDatumGetCString(pctl_spi_value(row, 2, NULL)));
	write_text(scratch, TEST_TARGET, TextDatumGetCString(pctl_spi_value(row, 3, NULL)));
	pb_write_varint(scratch, TEST_INTERVAL_MS,
	                (uint64) DatumGetInt32(pctl_spi_value(row, 4, NULL)));
	pb_write_varint(scratch, TEST_TIMEOUT_MS, (uint64) DatumGetInt32(pctl_spi_value(row, 5, NULL)));
	params_write(scratch, row);
	write_text(scratch, TEST_NAME, TextDatumGetCString(pctl_spi_value(row, 6, NULL)));
	bundle->full |= scratch->full;
	pb_write_bytes(bundle, BUNDLE_TESTS, scratch->data, scratch->len);
}

PCTL_FUNCTION(pctl_test_bundle);

/* probectl_internal.test_bundle(revision bigint) -> bytea, for the entered agent */
Datum
pctl_test_bundle(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	char id[PCTL_UUID_TEXT_LEN + 1];
	PbWriter bundle = {.max = BUNDLE_BYTES_MAX}, scratch = {.max = BUNDLE_BYTES_MAX};
	bytea *answer = palloc(VARHDRSZ + BUNDLE_BYTES_MAX);
	PctlTrusted saved;
	Datum args[2];

	if (who == NULL || who->kind != PCTL_PRINCIPAL_AGENT)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("only an agent's transaction reads its tests")));
	bundle.data = (uint8_t *) VARDATA(answer);
	scratch.data = palloc(scratch.max);
	pb_write_varint(&bundle, BUNDLE_REVISION, (uint64) PG_GETARG_INT64(0));
	pctl_uuid_text(&who->tenant, id);
	write_text(&bundle, BUNDLE_TENANT_ID, id);
	pctl_uuid_text(&who->id, id);
	write_text(&bundle, BUNDLE_AGENT_ID, id);
	pctl_trusted_begin(&saved);
	SPI_connect();
	args[0] = UUIDPGetDatum(&who->tenant);
	args[1] = UUIDPGetDatum(&who->id);
	pctl_plan_run(&tests_read, args, NULL, true, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
		test_write(&bundle, &scratch, row);
	SPI_finish();
	pctl_trusted_end(&saved);
	if (bundle.full)
		ereport(ERROR, (errcode(ERRCODE_PCTL_TOO_MANY),
		                errmsg("the tests of this agent do not fit one message"),
		                errhint("Give some of them to other agents.")));
	SET_VARSIZE(answer, VARHDRSZ + bundle.len);
	PG_RETURN_BYTEA_P(answer);
}
