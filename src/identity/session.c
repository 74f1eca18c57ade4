/* SPDX-License-Identifier: PostgreSQL
 *
 * session.c -- the look-up every request begins with, by index scans instead of one statement.
 *
 * As SQL this is a join of seven tables with sub-selects: setting its executor up took four times as long as
 * reading the rows (90 of 115 us). Here each table is read by its tenant-led index; the tenant is part of every
 * key, so what row-level security would demand is what is asked. Statuses are read every time: a
 * suspended user, a revoked token, a lost role act with the next request.
 */
#include "identity/session.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/guc.h"
#include "executor/spi.h"
#include "identity/permission.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* One table read by one of its indexes, whose columns are the tenant and at most one more. */
typedef struct KeyScan
{
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
} KeyScan;

static void
key_scan_begin(KeyScan *s, const char *table, const char *index, const pg_uuid_t *tenant,
               const char *column, RegProcedure equal, Datum value)
{
	Oid schema = get_namespace_oid("probectl", false);
	ScanKeyData keys[2];

	s->rel = table_open(get_relname_relid(table, schema), AccessShareLock);
	ScanKeyInit(&keys[0], SPI_fnumber(RelationGetDescr(s->rel), "tenant_id"), BTEqualStrategyNumber,
	            F_UUID_EQ, UUIDPGetDatum(tenant));
	if (column != NULL)
		ScanKeyInit(&keys[1], SPI_fnumber(RelationGetDescr(s->rel), column), BTEqualStrategyNumber,
		            equal, value);
	s->scan = systable_beginscan(s->rel, get_relname_relid(index, schema), true,
	                             GetActiveSnapshot(), column != NULL ? 2 : 1, keys);
}

static bool
key_scan_next(KeyScan *s)
{
	s->tuple = systable_getnext(s->scan);
	return HeapTupleIsValid(s->tuple);
}

static void
key_scan_end(KeyScan *s)
{
	systable_endscan(s->scan);
	table_close(s->rel, AccessShareLock);
}

static Datum
column_of(const KeyScan *s, const char *name, bool *null)
{
	TupleDesc desc = RelationGetDescr(s->rel);
	int number = SPI_fnumber(desc, name);

	if (number <= 0)
		elog(ERROR, "the table \"%s\" has no column \"%s\"", RelationGetRelationName(s->rel), name);
	return heap_getattr(s->tuple, number, desc, null);
}

static bool
column_is_null(const KeyScan *s, const char *name)
{
	bool null;

	(void) column_of(s, name, &null);
	return null;
}

static bool
column_is(const KeyScan *s, const char *name, const char *word)
{
	bool null;
	Datum value = column_of(s, name, &null);

	return !null && strcmp(TextDatumGetCString(value), word) == 0;
}

/* Whether the row (tenant, id) of a table has the status active; without a column the row of the tenant. */
static bool
row_is_active(const char *table, const char *index, const pg_uuid_t *tenant, const char *column,
              const pg_uuid_t *id)
{
	KeyScan s;
	bool active;

	key_scan_begin(&s, table, index, tenant, column, F_UUID_EQ,
	               column != NULL ? UUIDPGetDatum(id) : (Datum) 0);
	active = key_scan_next(&s) && column_is(&s, "status", "active");
	key_scan_end(&s);
	return active;
}

char *
pctl_tenant_status(const pg_uuid_t *tenant)
{
	KeyScan s;
	char *status = NULL;
	bool null;

	key_scan_begin(&s, "tenant", "tenant_pkey", tenant, NULL, InvalidOid, (Datum) 0);
	if (key_scan_next(&s))
		status = TextDatumGetCString(column_of(&s, "status", &null));
	key_scan_end(&s);
	return status;
}

static uint64
role_bits(const pg_uuid_t *tenant, const pg_uuid_t *role)
{
	KeyScan s;
	uint64 bits = 0;
	bool null;

	key_scan_begin(&s, "role", "role_pkey", tenant, "role_id", F_UUID_EQ, UUIDPGetDatum(role));
	if (key_scan_next(&s))
		bits = (uint64) DatumGetInt64(column_of(&s, "bits", &null));
	key_scan_end(&s);
	return bits;
}

/* Adds what the bindings of one subject grant in the whole tenant; notes bindings below it. */
static void
bindings_add(PctlSession *session, const char *index, const char *column, const pg_uuid_t *subject)
{
	KeyScan s;

	key_scan_begin(&s, "role_binding", index, &session->who.tenant, column, F_UUID_EQ,
	               UUIDPGetDatum(subject));
	while (key_scan_next(&s))
	{
		bool null;

		if (!column_is_null(&s, "organization_id") || !column_is_null(&s, "team_id") ||
		    !column_is_null(&s, "project_id"))
			session->has_projects = true;
		else
			session->who.permissions |= role_bits(&session->who.tenant,
			                                      DatumGetUUIDP(column_of(&s, "role_id", &null)));
	}
	key_scan_end(&s);
}

static void
groups_add(PctlSession *session)
{
	KeyScan s;
	bool null;

	key_scan_begin(&s, "group_member", "group_member_user", &session->who.tenant, "user_id",
	               F_UUID_EQ, UUIDPGetDatum(&session->who.id));
	while (key_scan_next(&s))
		bindings_add(session, "role_binding_group", "group_id",
		             DatumGetUUIDP(column_of(&s, "group_id", &null)));
	key_scan_end(&s);
}

static bool
policies_exist(const pg_uuid_t *tenant)
{
	KeyScan s;
	bool found = false;
	bool null;

	key_scan_begin(&s, "access_policy", "access_policy_pkey", tenant, NULL, InvalidOid, (Datum) 0);
	while (!found && key_scan_next(&s))
		found = DatumGetBool(column_of(&s, "enabled", &null));
	key_scan_end(&s);
	return found;
}

/* Reads the credential's row; false when it is not a live session or token. scopes: bits it is narrowed to. */
static bool
credential_read(KeyScan *s, TimestampTz now, PctlSession *session, uint64 *scopes)
{
	bool token = column_is(s, "kind", "token");
	bool null, service;
	Datum value;

	if ((!token && !column_is(s, "kind", "session")) || !column_is_null(s, "revoked_at") ||
	    DatumGetTimestampTz(column_of(s, "expires_at", &null)) <= now)
		return false;
	value = column_of(s, "used_at", &null);
	if (null)
		value = column_of(s, "created_at", &null);
	session->used_at = DatumGetTimestampTz(value);
	if (!token &&
	    session->used_at <= now - pctl_session_idle * (int64) SECS_PER_MINUTE * USECS_PER_SEC)
		return false;
	value = column_of(s, "service_account_id", &null);
	service = !null;
	if (!service)
		value = column_of(s, "user_id", &null);
	if (null)
		return false;
	session->who.id = *DatumGetUUIDP(value);
	session->who.credential = *DatumGetUUIDP(column_of(s, "credential_id", &null));
	session->who.kind = service ? PCTL_PRINCIPAL_SERVICE
	                    : token ? PCTL_PRINCIPAL_TOKEN
	                            : PCTL_PRINCIPAL_USER;
	value = column_of(s, "scopes", &null);
	*scopes = null ? PG_UINT64_MAX : pctl_permission_bits(DatumGetArrayTypeP(value));
	return true;
}

bool
pctl_session_find(const pg_uuid_t *tenant, const uint8 hash[PCTL_SHA256_LEN], TimestampTz now,
                  PctlSession *session)
{
	bytea *key = palloc(VARHDRSZ + PCTL_SHA256_LEN);
	uint64 scopes;
	KeyScan s;
	bool live;
	bool service;

	memset(session, 0, sizeof(*session));
	session->who.tenant = *tenant;
	SET_VARSIZE(key, VARHDRSZ + PCTL_SHA256_LEN);
	memcpy(VARDATA(key), hash, PCTL_SHA256_LEN);
	key_scan_begin(&s, "credential", "credential_tenant_id_hash_key", tenant, "hash", F_BYTEAEQ,
	               PointerGetDatum(key));
	live = key_scan_next(&s) && credential_read(&s, now, session, &scopes);
	key_scan_end(&s);
	if (!live)
		return false;
	service = session->who.kind == PCTL_PRINCIPAL_SERVICE;
	if (!row_is_active("tenant", "tenant_pkey", tenant, NULL, NULL))
		return false;
	if (service ? !row_is_active("service_account", "service_account_pkey", tenant,
	                             "service_account_id", &session->who.id)
	            : !row_is_active("tenant_user", "tenant_user_pkey", tenant, "user_id",
	                             &session->who.id))
		return false;
	if (service)
		bindings_add(session, "role_binding_service", "service_account_id", &session->who.id);
	else
	{
		bindings_add(session, "role_binding_user", "user_id", &session->who.id);
		groups_add(session);
	}
	session->who.permissions &= scopes;
	session->who.has_policies = policies_exist(tenant);
	return true;
}
