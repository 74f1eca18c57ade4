# SPDX-License-Identifier: PostgreSQL
"""Mutants of the C source and of the functions in SQL that decide who may come in.

Each patch is (file, name, text that stands there once, text in its place); MUT in the new text becomes the test
of the mutant's number. Patches go into a copy of src/ that is built once. A patch whose text is
not found fails the run: the source moved, and the patch has to move with it.
"""
import os
import re
import shutil
import subprocess
import time

import probes
import rig
import seed

STREAM, LEDGER, POSITION = "src/stream/ingest.c", "src/stream/ledger.c", "src/stream/position.c"
RESULT, SERIES, HOT, KNOWN = "src/result/store.c", "src/metric/series.c", "src/metric/hot.c", "src/remote/known.c"
GUARD, CONTEXT, CREDENTIAL, SESSION, OPERATOR = ("src/tenant/guard.c", "src/tenant/context.c", "src/identity/credential.c", "src/identity/session.c", "src/provider/operator.c")
HEADER = r'''
#include "postgres.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
static inline int
pctl_mutant(void)
{
	const char *value = GetConfigOption("mutant.n", true, false);

	return value == NULL ? 0 : (int) strtol(value, NULL, 10);
}
#define MUT(n) (pctl_mutant() == (n))
/* Another text for a plan, before it is made. */
static inline void
pctl_mutant_plan(int n, const char **sql, const char *old, const char *new)
{
	static bool applied = false; /* a session has one mutant */
	const char *at = strstr(*sql, old);
	char *changed;

	if (!MUT(n) || applied)
		return;
	applied = true;
	if (at == NULL)
		elog(ERROR, "mutant %d: not in the plan: %s", n, old);
	changed = MemoryContextAlloc(TopMemoryContext, strlen(*sql) + strlen(new) + 1);
	sprintf(changed, "%.*s%s%s", (int) (at - *sql), *sql, new, at + strlen(old));
	*sql = changed;
}
/* Somebody else: a tenant that is there. */
static inline pg_uuid_t *
pctl_mutant_other(void)
{
	static pg_uuid_t other = {{OTHER}};

	return &other;
}
'''.replace("OTHER", ", ".join("0x%02x" % b for b in bytes.fromhex(seed.TENANT["b"].replace("-", ""))))
PATCHES = [
    (GUARD, "the guard never applies", "return pctl_context_bound() && !pctl_trusted()", "return !MUT && pctl_context_bound() && !pctl_trusted()"),
    (GUARD, "any definer is trusted", "return InLocalUserIdChange() &&", "return MUT ? InLocalUserIdChange() : InLocalUserIdChange() &&"),
    (GUARD, "SET outlives the transaction", "if (stmt->kind == VAR_RESET_ALL || !stmt->is_local", "if (MUT) return;\n\tif (stmt->kind == VAR_RESET_ALL || !stmt->is_local"),
    (GUARD, "SET need not be LOCAL", "!stmt->is_local ||", "(!MUT && !stmt->is_local) ||"),
    (GUARD, "settings of probectl may be set", 'if (pg_strncasecmp(stmt->name, "probectl.", 9) == 0)', 'if (!MUT && pg_strncasecmp(stmt->name, "probectl.", 9) == 0)'),
    (GUARD, "prepared transactions pass", "case T_TransactionStmt: guard_transaction", "case T_TransactionStmt: if (!MUT) guard_transaction"),
    (GUARD, "a cursor WITH HOLD passes", "\t\t\tif ((((DeclareCursorStmt *) node)->options", "\t\t\tif (!MUT && (((DeclareCursorStmt *) node)->options"),
    (GUARD, "a cursor held before is forgotten", "return held_lxid != InvalidLocalTransactionId", "return !MUT && held_lxid != InvalidLocalTransactionId"),
    (GUARD, "COPY FROM passes", "if (((CopyStmt *) node)->is_from ||", "if ((!MUT && ((CopyStmt *) node)->is_from) ||"),
    (GUARD, "COPY to a file passes", "((CopyStmt *) node)->filename != NULL)", "(!MUT && ((CopyStmt *) node)->filename != NULL))"),
    (GUARD, "what is not listed passes", "default: refuse(GetCommandTagName", "default: if (!MUT) refuse(GetCommandTagName"),
    (GUARD, "utility statements are not asked", "\tif (guard_applies())\n\t\tguard_utility", "\tif (!MUT && guard_applies())\n\t\tguard_utility"),
    (GUARD, "no function is refused", "access == OAT_FUNCTION_EXECUTE &&", "!MUT && access == OAT_FUNCTION_EXECUTE &&"),
    (GUARD, "catalogs may be read", "\tif (!guard_applies())\n\t\treturn true;", "\tif (MUT || !guard_applies())\n\t\treturn true;"),
    (GUARD, "catalogs are no relations to refuse", 'return "reading a system catalog";', 'return MUT ? NULL : "reading a system catalog";'),
    (GUARD, "temporary tables may be used", "if (isAnyTempNamespace(schema))", "if (!MUT && isAnyTempNamespace(schema))"),
    (GUARD, "row positions may be read", "if (reads_row_position(rte))", "if (!MUT && reads_row_position(rte))"),
    (GUARD, "a view's owner is asked instead", "|| OidIsValid(rte->checkAsUser))", "|| OidIsValid(rte->checkAsUser) || MUT)"),
    (CONTEXT, "a transaction may be bound twice", "{\n\tchar text[PCTL_UUID_TEXT_LEN + 1];\n\n\tif (pctl_context_bound())", "{\n\tchar text[PCTL_UUID_TEXT_LEN + 1];\n\n\tif (!MUT && pctl_context_bound())"),
    (CONTEXT, "the binding follows the setting", "return bound_lxid != InvalidLocalTransactionId && MyProc", "return MUT ? tenant_set : bound_lxid != InvalidLocalTransactionId && MyProc"),
    (CONTEXT, "the setting can be set", "if (!binding && !InitializingParallelWorker)", "if (!MUT && !binding && !InitializingParallelWorker)"),
    (CONTEXT, "the principal can be set", "if (!(binding || InitializingParallelWorker))", "if (!MUT && !(binding || InitializingParallelWorker))"),
    (CONTEXT, "a parallel worker is nobody", "principal_carried = extra;", "principal_carried = MUT ? NULL : extra;"),
    (CONTEXT, "a tenant stays set", "tenant_set = extra != NULL;\n\tif (tenant_set)", "tenant_set = extra != NULL || (MUT && tenant_set);\n\tif (extra != NULL)"),
    (CONTEXT, "the role stays the login's", '(void) set_config_option("role", "probectl_app"', 'if (!MUT) (void) set_config_option("role", "probectl_app"'),
    (CONTEXT, "messages stay as they were asked for", "if (client_min_messages < NOTICE)", "if (!MUT && client_min_messages < NOTICE)"),
    (CONTEXT, "a rolled back savepoint unbinds", "if (event == SUBXACT_EVENT_ABORT_SUB)\n", "if (event == SUBXACT_EVENT_ABORT_SUB && MUT)\n\t\tbound_lxid = InvalidLocalTransactionId;\n\tif (event == SUBXACT_EVENT_ABORT_SUB)\n"),
    (CONTEXT, "everything is permitted", "if ((who->permissions >> bit & 1) != 0)", "if (MUT || (who->permissions >> bit & 1) != 0)"),
    (CONTEXT, "a permission of one project is one of all", "held = bsearch(project, who->projects", "held = MUT ? &who->projects[0] : bsearch(project, who->projects"),
    (CONTEXT, "unbound is somebody's tenant", "\tif (!tenant_set)\n\t\tPG_RETURN_NULL();", "\tif (!MUT && !tenant_set)\n\t\tPG_RETURN_NULL();"),
    (CREDENTIAL, "a revoked certificate enters", "\tif (!DatumGetBool(pctl_spi_value(0, 2, NULL)))\n\t\tagent_refuse", "\tif (!MUT && !DatumGetBool(pctl_spi_value(0, 2, NULL)))\n\t\tagent_refuse"),
    (CREDENTIAL, "a revoked agent's batch is stored with others'", "DatumGetInt64(pctl_spi_value(0, 2, NULL)) != count)", "(!MUT && DatumGetInt64(pctl_spi_value(0, 2, NULL)) != count))"),
    (CREDENTIAL, "an agent of a suspended tenant enters", "\tif (strcmp(TextDatumGetCString(pctl_spi_value(0, 1, NULL)), \"active\") != 0)", "\tif (!MUT && strcmp(TextDatumGetCString(pctl_spi_value(0, 1, NULL)), \"active\") != 0)"),
    (CREDENTIAL, "a deleted tenant is entered", '"deleted") == 0)', '"deleted") == 0 && !MUT)'),
    (CREDENTIAL, "no project is looked at", "\t\tif (session.has_projects)\n", "\t\tif (session.has_projects && !MUT)\n"),
    (CREDENTIAL, "a guessed token enters", "if (!pctl_session_find(&credential.tenant, credential.hash, now, &session) ||", "if ((!pctl_session_find(&credential.tenant, credential.hash, now, &session) && !MUT) ||"),
    (SESSION, "a revoked token enters", '!column_is_null(s, "revoked_at") ||', '(!MUT && !column_is_null(s, "revoked_at")) ||'),
    (SESSION, "an expired token enters", 'DatumGetTimestampTz(column_of(s, "expires_at", &null)) <= now)', 'DatumGetTimestampTz(column_of(s, "expires_at", &null)) <= (MUT ? 0 : now))'),
    (SESSION, "an idle session enters", "\tif (!token &&", "\tif (!MUT && !token &&"),
    (SESSION, "a suspended tenant's token enters", 'if (!row_is_active("tenant", "tenant_pkey", tenant, NULL, NULL))', 'if (!MUT && !row_is_active("tenant", "tenant_pkey", tenant, NULL, NULL))'),
    (SESSION, "a suspended user's token enters", "if (service ? !row_is_active", "if (MUT ? false : service ? !row_is_active"),
    (SESSION, "scopes narrow no token", "session->who.permissions &= scopes;", "session->who.permissions &= MUT ? PG_UINT64_MAX : scopes;"),
    (SESSION, "a project's person writes in another project and the tenant", '\t\tif (!column_is_null(&s, "organization_id") ||', '\t\tif (MUT)\n\t\t\tsession->who.permissions |= role_bits(&session->who.tenant, DatumGetUUIDP(column_of(&s, "role_id", &null)));\n\t\telse if (!column_is_null(&s, "organization_id") ||'),
    (SESSION, "a policy denies nothing", "session->who.has_policies = policies_exist(tenant);", "session->who.has_policies = !MUT && policies_exist(tenant);"),
    (SESSION, "a token of no hash enters: any token is every token", "column != NULL ? 2 : 1, keys);", 'column != NULL && !(MUT && strcmp(column, "hash") == 0) ? 2 : 1, keys);'),
    (CREDENTIAL, "a tenant's budget of queries is not asked", "pctl_fairness_query(&credential.tenant);", "if (!MUT) pctl_fairness_query(&credential.tenant);"),
    (STREAM, "a certificate made up moves a mark", "if (pctl_plan_run(&certificate_find, args, NULL, true, 1) != 1)", "if (pctl_plan_run(&certificate_find, args, NULL, true, 1) != 1 && !MUT)"),
    (STREAM, "a viewer tries dead letters again", 'if (!pctl_principal_may(pctl_principal(), pctl_permission_bit("agent.write", 11), NULL))', 'if (!MUT && !pctl_principal_may(pctl_principal(), pctl_permission_bit("agent.write", 11), NULL))'),
    (STREAM, "a revoked agent's dead letter is stored", "if (!DatumGetBool(pctl_spi_value(0, 7, NULL)))", "if (!MUT && !DatumGetBool(pctl_spi_value(0, 7, NULL)))"),
    # What is written without a statement is looked at by no policy.
    (RESULT, "results stored are of another tenant", "UUIDPGetDatum(&s->tenant);", "UUIDPGetDatum(MUT ? pctl_mutant_other() : &s->tenant);"),
    (LEDGER, "a ledger stored is of another tenant", "UUIDPGetDatum(&in->who->tenant);", "UUIDPGetDatum(MUT ? pctl_mutant_other() : &in->who->tenant);"),
    (POSITION, "a position stored is of another tenant", "key[COL_TENANT_ID] = UUIDPGetDatum(&list->tenant);", "key[COL_TENANT_ID] = UUIDPGetDatum(MUT ? pctl_mutant_other() : &list->tenant);"),
    (SERIES, "series written are of another tenant", "v[COL_TENANT_ID] = UUIDPGetDatum(&series->tenant);", "v[COL_TENANT_ID] = UUIDPGetDatum(MUT ? pctl_mutant_other() : &series->tenant);"),
    (HOT, "samples written are of another tenant", "UUIDPGetDatum(&hot->tenant);", "UUIDPGetDatum(MUT ? pctl_mutant_other() : &hot->tenant);"),
    (KNOWN, "what labels mean is known of any tenant", "memcmp(&entry->tenant, &scope->tenant, UUID_LEN) == 0;", "(MUT || memcmp(&entry->tenant, &scope->tenant, UUID_LEN) == 0);"),
    (KNOWN, "what labels mean is known after the series is deleted", "holds = entry->epoch == scope->epoch;", "holds = MUT || entry->epoch == scope->epoch;"),
    (OPERATOR, "anybody is an operator", "\tif (who == NULL)\n\t\tereport", "\tstatic OperatorContext anybody;\n\tif (MUT) who = &anybody;\n\tif (who == NULL)\n\t\tereport"),
    (OPERATOR, "any operator is an admin", "if (PG_GETARG_BOOL(0) && !who->admin)", "if (!MUT && PG_GETARG_BOOL(0) && !who->admin)"),
    (OPERATOR, "an operator outlives the transaction", "operator_now.lxid == PCTL_MY_LXID", "(MUT || operator_now.lxid == PCTL_MY_LXID)"),
    (OPERATOR, "a one-time password works twice", "&& step > last)", "&& (MUT || step > last))"),
    (OPERATOR, "a look inside sees everything", "\tpctl_context_bind_principal(&who);\n\tPG_RETURN_VOID();\n}", "\tif (MUT) who.permissions = PG_UINT64_MAX;\n\tpctl_context_bind_principal(&who);\n\tPG_RETURN_VOID();\n}"),
    (OPERATOR, "a transaction is two people's", "if (pctl_context_bound() || operator_current() != NULL)", "if (!MUT && (pctl_context_bound() || operator_current() != NULL))"),
]
# Conditions of the two questions that let somebody in: each is left out in turn.
PLANS = [
         ("plan", "args[0] = UUIDPGetDatum(&who->tenant);\n\targs[1] = UUIDPGetDatum(&who->id);", [
            ("a.revoked_at IS NULL AND ", "a revoked agent's certificate enters"), (" AND c.revoked_at IS NULL", "a revoked certificate is asked for no more"),
            (" AND c.not_after > $4", "an expired certificate enters"), (" AND c.agent_id = $2", "any certificate is every agent's")])]
# Functions in SQL: (function, name, old, new).
FUNCTIONS = [
    ("probectl_internal.break_glass_move(uuid,text,text)", "any move of a grant is legal", "IF (g.state, new_state) NOT IN", "IF false AND (g.state, new_state) NOT IN"),
    ("probectl_internal.break_glass_use(uuid,uuid,text)", "a grant works when it was taken back", "AND x.state = 'active'", ""),
    ("probectl_internal.break_glass_use(uuid,uuid,text)", "a grant works after its end", "AND x.expires_at > probectl.clock_now()", ""),
    ("probectl_internal.break_glass_use(uuid,uuid,text)", "another's grant works", "AND x.operator_id = operator", ""),
    ("probectl_internal.break_glass_use(uuid,uuid,text)", "a look inside is not in the tenant's chain", "PERFORM probectl_internal.audit_append(", "PERFORM coalesce("),
    ("probectl_internal.break_glass_use(uuid,uuid,text)", "a look inside is not in the provider's chain", "PERFORM probectl_internal.provider_audit_append(", "PERFORM coalesce("),
    ("probectl.break_glass_decide(uuid,boolean)", "a viewer does consent", "PERFORM probectl_internal.require('breakglass.decide');", ""),
    ("probectl.break_glass_decide(uuid,boolean)", "a program does consent", "IF probectl.current_principal() !~", "IF false AND probectl.current_principal() !~"),
    ("probectl.signin_redeem(text,text)", "a used link works", "AND c.used_at IS NULL", ""),
    ("probectl.signin_redeem(text,text)", "an expired link works", "AND c.expires_at > probectl.clock_now()", ""),
    ("probectl.signin_redeem(text,text)", "a suspended tenant's link works", "AND t.status = 'active'", ""),
    ("probectl.signin_redeem(text,text)", "a suspended user's link works", "AND u.status = CASE WHEN c.kind = 'invite' THEN 'invited' ELSE 'active' END", ""),
    ("probectl.bus_advance(text,text,integer,bigint,bigint,bigint)", "a consumer that was passed over stores", "AND o.fence = $4", ""),
    ("probectl.bus_advance(text,text,integer,bigint,bigint,bigint)", "a record is stored twice", "AND o.next_offset = $5", ""),
    ("probectl.bus_layout(text,integer,integer)", "agents are spread by anybody's numbers", "IF (agreed.partitions", "IF false AND (agreed.partitions"),
    ("probectl.agent_enroll(text,text,text,text)", "a suspended tenant enrols", "AND t.status = 'active'", ""),
    ("probectl_internal.quota_count()", "no limit holds", "AND (q.limit_value IS NULL OR q.used < q.limit_value)", ""),
    ("probectl_internal.require(text)", "a viewer makes users", "IF NOT coalesce(", "IF false AND NOT coalesce("),
    ("probectl_internal.require_all(text[])", "one gives what he does not hold", "IF missing IS NOT NULL", "IF false"),
    ("probectl_internal.policy_denies(text,jsonb)", "an error in a policy does not deny", "RETURN true;", "RETURN false;"),
    ("probectl_internal.policy_winner(text,jsonb,jsonb)", "allow wins at one priority", "y.effect = 'deny' DESC", "y.effect = 'allow' DESC"),
    ("probectl.operator_signin(text,text,text)", "a locked operator signs in", "IF candidate.locked_until > now THEN", "IF false THEN"),
    ("probectl_internal.operator_session(text)", "an expired operator's session enters", "AND s.expires_at > probectl.clock_now()", ""),
    ("probectl_internal.operator_session(text)", "a signed-out operator's session enters", "AND s.revoked_at IS NULL", ""),
    ("probectl_internal.operator_session(text)", "a disabled operator's session enters", "AND o.status = 'active'", ""),
    ("probectl.provider_audit_export(bigint,integer)", "any operator takes the provider's chain away", "PERFORM probectl_internal.operator_id(true);", "PERFORM probectl_internal.operator_id();"),
    ("probectl_internal.audit_fixed()", "records can be changed and deleted", "BEGIN", "BEGIN RETURN coalesce(NEW, OLD);"),
]


def number_patches(sources):
    """Applies every patch; returns [(number, name)]."""
    mutants = []

    def add(path, name, old, new):
        number = len(mutants) + 1
        text = sources[path]
        assert text.count(old) >= 1, "%s: no %r for the mutant \"%s\"" % (path, old, name)
        sources[path] = text.replace(old, re.sub(r"\bMUT\b", "MUT(%d)" % number, new), 1)
        mutants.append((number, name))
    for path, name, old, new in PATCHES:
        add(path, name, old, new)
    for plan, before, conditions in PLANS:
        lines = ""
        for condition, name, *instead in conditions:
            number = len(mutants) + 1
            lines += 'pctl_mutant_plan(%d, &%s.sql, "%s", "%s");\n\t' % (number, plan, condition, instead[0] if instead else "")
            mutants.append((number, name))
        assert before in sources[CREDENTIAL]
        sources[CREDENTIAL] = sources[CREDENTIAL].replace(before, lines + before, 1)
    for array, what in (("refused_functions", "function %s is not refused"), ("fixed", "setting %s is free")):
        loop = "for (size_t i = 0; i < lengthof(%s); i++)" % array
        assert sources[GUARD].count(loop) == 1
        body = re.search(r"%s\[\] = \{(.*?)\};" % array, sources[GUARD], re.S).group(1)
        base = len(mutants) + 1
        sources[GUARD] = sources[GUARD].replace(loop, loop + "\n\t\tif (pctl_mutant() != %d + (int) i)" % base)
        mutants += [(base + i, what % row) for i, row in enumerate(re.findall(r'"([^"]+)"', re.sub(r"/\*.*?\*/", "", body, flags=re.S)))]
    return mutants


def build(server):
    """Copies src/, patches, compiles what changed, links with the other objects of this build."""
    folder = os.path.join(rig.TOP, "build", "test", "tenancy", "mutants")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(rig.TOP, "src"), os.path.join(folder, "src"))
    paths = sorted({patch[0] for patch in PATCHES})
    sources = {path: open(os.path.join(rig.TOP, path), encoding="utf-8").read() for path in paths}
    mutants = number_patches(sources)
    objects = {}
    include = subprocess.check_output(["pg_config", "--includedir-server"], text=True).strip()
    running = []
    for path, text in sources.items():
        copy = os.path.join(folder, path)
        with open(copy, "w", encoding="utf-8") as out:
            out.write(HEADER + text)
        objects[path] = os.path.join(folder, os.path.basename(path)[:-2] + ".o")
        running.append(subprocess.Popen(["cc", "-std=gnu11", "-O1", "-g", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", "-w", "-I" + os.path.join(folder, "src"), "-I" + os.path.join(rig.TOP, "build"), "-I" + include,
                                         "-I/usr/include/libxml2", "-c", copy, "-o", objects[path]]))
    assert all(child.wait() == 0 for child in running), "a mutated source does not compile"
    # The list the extension is linked from; other objects may lie about.
    with open(os.path.join(rig.TOP, "Makefile"), encoding="utf-8") as text:
        makefile = text.read()
    rest = [os.path.join(rig.TOP, "build", "obj", c[:-2] + ".o") for c in re.findall(r"^\s+(src/\S+\.c)", makefile, re.M) if c not in objects]
    libraries = re.search(r"^SHLIB_LINK\s*=\s*(.*)$", makefile, re.M).group(1).split()
    made = os.path.join(folder, "probectl.so")
    subprocess.run(["cc", "-shared", "-o", made] + rest + list(objects.values()) + libraries, check=True)
    shutil.copyfile(made, os.path.join(server.lib, "probectl.so.new"))
    os.replace(os.path.join(server.lib, "probectl.so.new"), os.path.join(server.lib, "probectl.so"))
    server.restart()
    return mutants


def run(server, tap, database, only):
    started = time.monotonic()
    mutants = build(server)
    print("# %d mutants of the source built in %.0f s" % (len(mutants), time.monotonic() - started))
    world = probes.World(server, database)
    base = world.failures("")
    tap.ok(not base, "unchanged, %d probes find nothing" % world.count, "\n".join(base))
    started, survived, tried = time.monotonic(), [], 0
    for number, name in mutants:
        if only and only not in name:
            continue
        tried += 1
        found = world.failures("-c mutant.n=%d" % number, name)
        found = [f for f in found if f not in base]
        print("# killed   %s: by %s" % (name, found[0][:110]) if found else "# SURVIVED %s" % name)
        if not found:
            survived.append(name)
    tap.ok(not survived, "source mutants: %d of %d killed in %.0f s" % (tried - len(survived), tried, time.monotonic() - started), "\n".join(survived))
    started, survived, tried = time.monotonic(), [], 0
    for function, name, old, new in FUNCTIONS:
        if only and only not in name:
            continue
        tried += 1
        body = server.sql("SELECT pg_get_functiondef(%s::regprocedure)", database, (function,))[0][0]
        assert body.count(old) >= 1, "%s has no %r any more" % (function, old)
        server.sql(body.replace(old, new, 1) if "BEGIN RETURN" in new else body.replace(old, new), database)
        found = [f for f in world.failures("", name) if f not in base]
        server.sql(body, database)
        print("# killed   %s: by %s" % (name, found[0][:110]) if found else "# SURVIVED %s" % name)
        if not found:
            survived.append(name)
    tap.ok(not survived, "function mutants: %d of %d killed in %.0f s" % (tried - len(survived), tried, time.monotonic() - started), "\n".join(survived))
