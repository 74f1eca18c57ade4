/* SPDX-License-Identifier: PostgreSQL
 *
 * permit.c -- whether the caller, whose permissions are of projects, sees the series of a test.
 *
 * That is whether he may read the metrics of the test's project and sees the test: what the policies of
 * probectl.test say. It stands here in C and not as a subquery of the policy of metric_series because a parallel worker
 * cannot judge those: probectl_internal.policy_denies() catches errors, and a worker cannot start the subtransaction
 * for that. Here the same is asked without; an error then ends the statement, which forbids as well.
 *
 * A test is asked about once a query.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/export.h"
#include "core/spi.h"
#include "fmgr.h"
#include "identity/permission.h"
#include "tenant/context.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

#define RESOURCE "jsonb_build_object('type', $1, 'project_id', $2)"

static PctlPlan test_read = {
    "SELECT project_id, type FROM probectl.test WHERE tenant_id = $1 AND test_id = $2",
    2,
    {UUIDOID, UUIDOID}};
static PctlPlan denies = {
    "SELECT probectl_internal.policy_denies('test.read', " RESOURCE ")", 2, {TEXTOID, UUIDOID}};
static PctlPlan denies_uncaught = {"SELECT coalesce((probectl_internal.policy_winner('test.read',"
                                   " probectl_internal.principal_attributes(), " RESOURCE
                                   ")).effect = 'deny', false)",
                                   2,
                                   {TEXTOID, UUIDOID}};

typedef struct Asked
{
	pg_uuid_t test;
	bool may;
} Asked;

static bool
holds(const char *permission, const pg_uuid_t *project)
{
	return pctl_principal_may(pctl_principal(),
	                          pctl_permission_bit(permission, (int) strlen(permission)), project);
}

/* Inside SPI, trusted. */
static bool
test_may(const pg_uuid_t *tenant, const pg_uuid_t *test)
{
	Datum args[2] = {UUIDPGetDatum(tenant), UUIDPGetDatum(test)};
	Datum project, resource[2];
	char nulls[2] = {' ', ' '};
	bool null;

	if (pctl_plan_run(&test_read, args, NULL, true, 1) != 1)
		return false;
	project = pctl_spi_value(0, 1, &null);
	if (!holds("metrics.read", null ? NULL : DatumGetUUIDP(project)) ||
	    !holds("test.read", null ? NULL : DatumGetUUIDP(project)))
		return false;
	if (!pctl_principal()->has_policies)
		return true;
	resource[0] = pctl_spi_value(0, 2, NULL);
	resource[1] = project;
	nulls[1] = null ? 'n' : ' ';
	pctl_plan_run(IsInParallelMode() || IsParallelWorker() ? &denies_uncaught : &denies, resource,
	              nulls, true, 1);
	return !DatumGetBool(pctl_spi_value(0, 1, NULL));
}

PCTL_FUNCTION(pctl_metric_test_may);

/* probectl_internal.metric_test_may(test uuid) -> boolean */
Datum
pctl_metric_test_may(PG_FUNCTION_ARGS)
{
	pg_uuid_t tenant = *pctl_tenant_required();
	HTAB *known = fcinfo->flinfo->fn_extra;
	PctlTrusted saved;
	Asked *asked;
	bool found;

	if (pctl_principal() == NULL)
		PG_RETURN_BOOL(false);
	if (known == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(pg_uuid_t),
		               .entrysize = sizeof(Asked),
		               .hcxt = fcinfo->flinfo->fn_mcxt};

		known = hash_create("probectl tests that may be seen", 64, &ctl,
		                    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		fcinfo->flinfo->fn_extra = known;
	}
	asked = hash_search(known, PG_GETARG_UUID_P(0), HASH_ENTER, &found);
	if (!found)
	{
		asked->may = false;
		pctl_trusted_begin(&saved);
		SPI_connect();
		asked->may = test_may(&tenant, &asked->test);
		SPI_finish();
		pctl_trusted_end(&saved);
	}
	PG_RETURN_BOOL(asked->may);
}
