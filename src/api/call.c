/* SPDX-License-Identifier: PostgreSQL
 *
 * call.c -- one request: find the route, ask for the permission, call the handler.
 *
 * The handler runs as probectl_app under the caller's row-level security. A denial is an answer, not
 * an error, so that the record of it in the audit chain commits; every other refusal is an
 * error with one of our SQLSTATEs, and the transaction with it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/errors.h"
#include "core/export.h"
#include "core/spi.h"
#include "audit/chain.h"
#include "audit/deferred.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define ROUTE_KEY_MAX 128

/* A row of probectl.api_route, remembered by the backend. The table changes with the extension's version only, and
 * then functions change too: any change of a function forgets all. */
typedef struct Route
{
	char key[ROUTE_KEY_MAX]; /* "GET /v1/tests/{test_id}" */
	Oid handler;
	int32 bit; /* of the permission, -1 for none */
	int32 success;
	char permission[64];
} Route;

static HTAB *routes = NULL;

static PctlPlan route_read = {
    "SELECT (SELECT f.oid FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace"
    "         WHERE f.proname = r.handler AND n.nspname = 'probectl_api'), coalesce(p.bit, -1), "
    "r.success,"
    "       coalesce(p.permission, '')"
    "  FROM probectl.api_route r LEFT JOIN probectl.permission p ON p.permission = r.permission"
    " WHERE r.method = $1 AND r.path = $2",
    2,
    {TEXTOID, TEXTOID}};

static void
routes_forget(Datum arg, int cache, uint32 hash)
{
	if (routes != NULL)
		hash_destroy(routes);
	routes = NULL;
}

static void
routes_open(void)
{
	static bool registered = false;
	HASHCTL ctl = {.keysize = ROUTE_KEY_MAX, .entrysize = sizeof(Route), .hcxt = TopMemoryContext};

	if (!registered)
		CacheRegisterSyscacheCallback(PROCOID, routes_forget, (Datum) 0);
	registered = true;
	if (routes == NULL)
		routes = hash_create("probectl routes", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static Route
route_load(const char *method, const char *path)
{
	Datum args[2] = {CStringGetTextDatum(method), CStringGetTextDatum(path)};
	PctlTrusted saved;
	Route route = {0};
	bool missing;

	pctl_trusted_begin(&saved);
	SPI_connect();
	if (pctl_plan_run(&route_read, args, NULL, true, 1) != 1)
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND), errmsg("there is no such route")));
	route.handler = DatumGetObjectId(pctl_spi_value(0, 1, &missing));
	route.bit = DatumGetInt32(pctl_spi_value(0, 2, NULL));
	route.success = DatumGetInt32(pctl_spi_value(0, 3, NULL));
	strlcpy(route.permission, TextDatumGetCString(pctl_spi_value(0, 4, NULL)),
	        sizeof(route.permission));
	SPI_finish();
	pctl_trusted_end(&saved);
	return route;
}

static Route
route_find(const char *method, const char *path)
{
	char key[ROUTE_KEY_MAX];
	Route *known;
	Route route;
	bool found;

	if (snprintf(key, sizeof(key), "%s %s", method, path) >= (int) sizeof(key))
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND), errmsg("there is no such route")));
	routes_open();
	known = hash_search(routes, key, HASH_FIND, NULL);
	if (known != NULL)
		return *known;
	route = route_load(method, path);
	strlcpy(route.key, key, sizeof(route.key));
	routes_open(); /* reading may have brought an invalidation */
	known = hash_search(routes, key, HASH_ENTER, &found);
	*known = route;
	return route;
}

/* The denial's record and its answer. */
static char *
route_deny(const Route *route, const char *method, const char *path)
{
	StringInfoData data, body;
	PctlAuditEvent event = {.action = "api.call", .target = path, .outcome = "denied"};

	initStringInfo(&data);
	appendStringInfoString(&data, "{\"method\": ");
	escape_json(&data, method);
	appendStringInfoString(&data, ", \"permission\": ");
	escape_json(&data, route->permission);
	appendStringInfoChar(&data, '}');
	event.data = data.data;
	(void) pctl_audit_append(PCTL_AUDIT_TENANT, &event);
	initStringInfo(&body);
	appendStringInfo(
	    &body, "{\"error\":{\"code\":\"forbidden\",\"message\":\"the permission %s is needed\"}}",
	    route->permission);
	return body.data;
}

static Datum
answer(FunctionCallInfo fcinfo, int32 status, Datum body, bool empty)
{
	Datum values[2] = {Int32GetDatum(status), body};
	bool nulls[2] = {false, empty};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Whether an attribute policy forbids the permission whatever the thing; handlers ask again with it. */
static bool
policy_denies(const char *permission)
{
	static PctlPlan plan = {"SELECT probectl_internal.policy_denies($1, '{}')", 1, {TEXTOID}};
	Datum args[1] = {CStringGetTextDatum(permission)};
	PctlTrusted saved;
	bool denies;

	pctl_trusted_begin(&saved);
	SPI_connect();
	pctl_plan_run(&plan, args, NULL, true, 1);
	denies = DatumGetBool(pctl_spi_value(0, 1, NULL));
	SPI_finish();
	pctl_trusted_end(&saved);
	return denies;
}

/* Runs the handler; a change that fails leaves a record although its transaction does not. */
static Datum
handler_run(FunctionCallInfo call, const char *method, const char *path)
{
	Datum body = (Datum) 0;

	PG_TRY();
	{
		body = FunctionCallInvoke(call);
	}
	PG_CATCH();
	{
		if (strcmp(method, "GET") != 0)
			pctl_audit_denied("api.call", path, "failed",
			                  psprintf("{\"method\": \"%s\", \"sqlstate\": \"%s\"}", method,
			                           unpack_sql_state(geterrcode())));
		PG_RE_THROW();
	}
	PG_END_TRY();
	return body;
}

PCTL_FUNCTION(pctl_api_call);

/* probectl.api_call(method text, path text, params jsonb, query jsonb, request jsonb, OUT status, OUT body) */
Datum
pctl_api_call(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, 3);
	const PctlPrincipal *who = pctl_principal();
	const char *method, *path;
	FmgrInfo handler;
	Route route;
	Datum body;
	int nest;

	if (who == NULL)
		ereport(ERROR, (errcode(ERRCODE_PCTL_UNAUTHENTICATED),
		                errmsg("this transaction is bound to no tenant")));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_PCTL_NOT_FOUND), errmsg("there is no such route")));
	method = text_to_cstring(PG_GETARG_TEXT_PP(0));
	path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	route = route_find(method, path);
	if (route.bit >= 0 && (!pctl_principal_may_somewhere(who, route.bit) ||
	                       (who->has_policies && policy_denies(route.permission))))
		return answer(fcinfo, 403, CStringGetTextDatum(route_deny(&route, method, path)), false);
	if (!OidIsValid(route.handler))
		elog(ERROR, "the handler of the route is missing");
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
	                         GUC_ACTION_SAVE, true, ERROR, false);
	/* Optional filters make custom plans look cheaper than they are: planning them costs more than they save. */
	(void) set_config_option("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_SESSION,
	                         GUC_ACTION_SAVE, true, ERROR, false);
	fmgr_info(route.handler, &handler);
	InitFunctionCallInfoData(*call, &handler, 3, InvalidOid, NULL, NULL);
	for (int i = 0; i < 3; i++)
		call->args[i] = (NullableDatum){.value = PG_ARGISNULL(i + 2) ? (Datum) 0
		                                                             : PG_GETARG_DATUM(i + 2),
		                                .isnull = PG_ARGISNULL(i + 2)};
	body = handler_run(call, method, path); /* json: its text is its binary form */
	AtEOXact_GUC(true, nest);
	return answer(fcinfo, route.success, body, call->isnull);
}

PCTL_FUNCTION(pctl_json_raw);

/* probectl_internal.json_raw(text) -> json: one binary form */
Datum
pctl_json_raw(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
