/* SPDX-License-Identifier: PostgreSQL
 *
 * permission.c -- what can be permitted, and asking whether it is.
 */
#include "identity/permission.h"

#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/export.h"
#include "funcapi.h"
#include "nodes/primnodes.h"
#include "nodes/supportnodes.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The place is the bit: add at the end, never move. 64 at most. */
static const struct
{
	const char *name;
	const char *summary;
} permissions[] = {
    {"tenant.read", "see the tenant and its settings"},
    {"tenant.write", "change the tenant's settings"},
    {"org.read", "see organizations, teams and projects"},
    {"org.write", "change organizations, teams and projects"},
    {"test.read", "see tests and their results"},
    {"test.write", "add, change and delete tests"},
    {"test.allow_private", "let a test probe private, loopback and metadata targets"},
    {"test.insecure_tls", "let a test skip TLS verification"},
    {"agent.read", "see agents"},
    {"agent.write", "enrol, change and revoke agents"},
    {"audit.read", "read the audit chain"},
    {"audit.export", "export the audit chain"},
    {"alert.read", "see alert rules and alerts"},
    {"alert.write", "change alert rules, silence and acknowledge"},
    {"incident.read", "see incidents"},
    {"incident.write", "work on incidents"},
    {"change.read", "see changes"},
    {"flow.read", "see flows"},
    {"metrics.read", "read metric series"},
    {"metrics.write", "write metric series"},
    {"events.read", "read events"},
    {"entities.read", "see entities"},
    {"topology.read", "see the topology"},
    {"ai.query", "ask questions"},
    {"cmdb.read", "see the inventory"},
    {"threat.read", "see detections"},
    {"directory.read", "see users, groups, roles and credentials"},
    {"directory.write", "change users, groups, roles and credentials"},
    {"lifecycle.export", "export the tenant's data"},
    {"lifecycle.erase", "ask for the tenant's erasure"},
    {"security.keys", "see and rotate keys"},
    {"fairness.read", "see budgets and what was shed"},
    {"governance.read", "see access policies and break-glass grants"},
    {"diagnostics.read", "see how the collectors are"},
    {"remediation.propose", "propose a change to the network"},
    {"remediation.approve", "approve a proposal"},
    {"breakglass.decide", "consent to or deny an operator's look inside"},
};

StaticAssertDecl(lengthof(permissions) <= 64, "permissions are bits of a uint64");

int
pctl_permission_bit(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(permissions); i++)
		if (strncmp(permissions[i].name, name, len) == 0 && permissions[i].name[len] == '\0')
			return i;
	return -1;
}

static int
bit_of(text *name)
{
	return pctl_permission_bit(VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name));
}

uint64
pctl_permission_bits(ArrayType *names)
{
	Datum *values;
	bool *nulls;
	int count;
	uint64 bits = 0;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		int bit = nulls[i] ? -1 : bit_of(DatumGetTextPP(values[i]));

		if (bit >= 0)
			bits |= UINT64CONST(1) << bit;
	}
	return bits;
}

PCTL_FUNCTION(pctl_permission_bits_sql);

/* probectl_internal.permission_bits(text[]) -> bigint */
Datum
pctl_permission_bits_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) pctl_permission_bits(PG_GETARG_ARRAYTYPE_P(0)));
}

PCTL_FUNCTION(pctl_permissions);

/* probectl_internal.permissions() -> setof (permission, bit, summary) */
Datum
pctl_permissions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(permissions); i++)
	{
		Datum values[3] = {CStringGetTextDatum(permissions[i].name), Int32GetDatum(i),
		                   CStringGetTextDatum(permissions[i].summary)};
		bool nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The permission that is the first argument. Policies name it by a constant and ask once a row: looked up once for
 * each place it stands in. A parameter may be another at the next call of the same place. */
static int
bit_asked(FunctionCallInfo fcinfo)
{
	FmgrInfo *place = fcinfo->flinfo;
	int bit;

	if (place != NULL && place->fn_extra != NULL)
		return *(int *) place->fn_extra;
	bit = bit_of(PG_GETARG_TEXT_PP(0));
	if (place != NULL && place->fn_expr != NULL && IsA(place->fn_expr, FuncExpr) &&
	    IsA(linitial(((FuncExpr *) place->fn_expr)->args), Const))
	{
		place->fn_extra = MemoryContextAlloc(place->fn_mcxt, sizeof(bit));
		*(int *) place->fn_extra = bit;
	}
	return bit;
}

PCTL_FUNCTION(pctl_holds);

/* probectl_internal.holds(permission text) -> boolean */
Datum
pctl_holds(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pctl_principal_may_somewhere(pctl_principal(), bit_asked(fcinfo)));
}

PCTL_FUNCTION(pctl_holds_for);

/* probectl_internal.holds_for(permission text, tenant uuid) -> boolean */
Datum
pctl_holds_for(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();

	PG_RETURN_BOOL(who != NULL &&
	               memcmp(pctl_tenant_required(), PG_GETARG_UUID_P(1), UUID_LEN) == 0 &&
	               pctl_principal_may_somewhere(who, bit_asked(fcinfo)));
}

PCTL_FUNCTION(pctl_permission_support);

/* For the planner: who asks mostly may, so a permission takes no row away. Without it the planner takes a third. */
Datum
pctl_permission_support(PG_FUNCTION_ARGS)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);

	if (!IsA(request, SupportRequestSelectivity))
		PG_RETURN_POINTER(NULL);
	((SupportRequestSelectivity *) request)->selectivity = 1.0;
	PG_RETURN_POINTER(request);
}

PCTL_FUNCTION(pctl_may);

/* probectl_internal.may(permission text, project uuid) -> boolean */
Datum
pctl_may(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(pctl_principal_may(pctl_principal(), bit_asked(fcinfo),
	                                  PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1)));
}

PCTL_FUNCTION(pctl_permissions_held);

/* probectl_internal.permissions_held() -> json: names of what the principal holds anywhere in the tenant */
Datum
pctl_permissions_held(PG_FUNCTION_ARGS)
{
	const PctlPrincipal *who = pctl_principal();
	StringInfoData names;
	const char *separator = "";

	initStringInfo(&names);
	appendStringInfoChar(&names, '[');
	for (int i = 0; i < (int) lengthof(permissions); i++)
		if (pctl_principal_may_somewhere(who, i))
		{
			appendStringInfo(&names, "%s\"%s\"", separator, permissions[i].name);
			separator = ",";
		}
	appendStringInfoChar(&names, ']');
	PG_RETURN_TEXT_P(cstring_to_text_with_len(names.data, names.len));
}
