# SPDX-License-Identifier: PostgreSQL
"""Mutants: each policy, grant, key, trigger, role and line of the guard is broken in turn, and the suite has to notice.

  test/tenancy/mutants.py [sql] [source] [--only TEXT]

A mutant of the schema is made, judged and rolled back in one transaction (twice: the catalog's rules, then
what can be reached). A mutant of the C source is a line of source_mutants.py: the patches of all of them are
applied at once to a copy of src/, each behind a number that a session chooses (mutant.n), so that
one build and one server serve them all and the shipped source knows nothing of it.

Prints TAP; "ok" is a mutant that was killed, and by what.
"""
import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time

import psycopg2

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate     # noqa: E402
import rig      # noqa: E402
import seed     # noqa: E402
from hostile import Tap  # noqa: E402

DATABASE = "regress_probectl_mutants"
OWN = "tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant()"
LOGINS = ("probectl_gateway", "probectl_ingest", "probectl_worker", "probectl_provider")


def policy_mutants(conn):
    out, days = [], {}
    for name in [r[0] for r in rig.rows(conn, gate.REL + "SELECT name FROM rel WHERE tenant AND relkind IN ('r', 'p') ORDER BY name")]:
        if name[-8:].isdigit():
            days[name[:-9]] = name
        else:
            out.append(name)
    names, out = out + sorted(days.values()), []
    for n in names:
        out += [("%s: policy dropped" % n, "DROP POLICY tenant_isolation ON %s" % n, n),
                ("%s: policy true" % n, "ALTER POLICY tenant_isolation ON %s USING (true)" % n, n),
                ("%s: policy checks nothing on writing" % n, "ALTER POLICY tenant_isolation ON %s USING (%s) WITH CHECK (true)" % (n, OWN), n),
                ("%s: policy for one role only" % n, "ALTER POLICY tenant_isolation ON %s TO probectl_app" % n, n),
                ("%s: policy lets unbound in" % n, "ALTER POLICY tenant_isolation ON %s USING (%s OR probectl.current_tenant() IS NULL)" % (n, OWN), n),
                ("%s: second policy" % n, "CREATE POLICY more ON %s FOR SELECT USING (true)" % n, n),
                ("%s: row-level security off" % n, "ALTER TABLE %s DISABLE ROW LEVEL SECURITY" % n, n),
                ("%s: row-level security not forced" % n, "ALTER TABLE %s NO FORCE ROW LEVEL SECURITY" % n, n)]
    for n, policy, command in rig.rows(conn, "SELECT polrelid::regclass::text, polname, polcmd FROM pg_policy WHERE NOT polpermissive ORDER BY 1, 2"):
        out.append(("%s: %s dropped" % (n, policy), "DROP POLICY %s ON %s" % (policy, n), n))
        clause = {"a": "WITH CHECK (true)", "w": "USING (true) WITH CHECK (true)"}.get(command, "USING (true)")
        out.append(("%s: %s true" % (n, policy), "ALTER POLICY %s ON %s %s" % (policy, n, clause), n))
    return out


def partition_mutants(conn):
    body = rig.value(conn, "SELECT pg_get_functiondef('probectl_internal.partition_create'::regproc)")
    changes = [("not secured", "ENABLE ROW LEVEL SECURITY, FORCE", "FORCE"), ("not forced", ", FORCE ROW LEVEL SECURITY", ""), ("no policy", "CREATE POLICY tenant_isolation", "COMMENT ON POLICY tenant_isolation"),
               ("policy true", "USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant())", "USING (true)"), ("ledger for everybody", "TO probectl_worker USING", "TO PUBLIC USING")]
    out = []
    for what, old, new in changes:
        assert body.count(old) == 1, "partition_create has no %r any more" % old
        text = body.replace(old, new)
        if what == "no policy":
            text = re.sub(r"EXECUTE format\('COMMENT ON POLICY.*?, leaf\);", "NULL;", text)
        out.append(("partition_create: " + what, text + "; SELECT probectl_internal.partition_create('ledger', current_date + 400), probectl_internal.partition_create('result', current_date + 400)", None))
    return out


def grant_mutants(conn):
    out = []
    for name, in rig.rows(conn, gate.REL + "SELECT name FROM rel WHERE NOT relispartition ORDER BY name"):
        for role in ("probectl_app",) + LOGINS + ("PUBLIC",):
            for verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE") if role == "probectl_app" else ("SELECT",):
                if role == "PUBLIC" or not rig.value(conn, "SELECT has_table_privilege(%s, %s, %s)", (role, name, verb)):
                    out.append(("%s on %s to %s" % (verb, name, role), "GRANT %s ON %s TO %s" % (verb, name, role), None))
    for name, in rig.rows(conn, "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^probectl' AND prorettype <> 'trigger'::regtype ORDER BY 1"):
        for role in ("probectl_app", "probectl_gateway", "PUBLIC"):
            if role == "PUBLIC" or not rig.value(conn, "SELECT has_function_privilege(%s, %s, 'EXECUTE')", (role, name)):
                out.append(("EXECUTE on %s to %s" % (name, role), "GRANT EXECUTE ON FUNCTION %s TO %s" % (name, role), None))
    out += [("SELECT (hash) on credential to app", "GRANT SELECT (hash) ON probectl.credential TO probectl_app", None), ("CREATE on schema", "GRANT CREATE ON SCHEMA probectl TO probectl_app", None),
            ("USAGE on internal to provider", "GRANT USAGE ON SCHEMA probectl_internal TO probectl_provider", None), ("partition granted", "GRANT SELECT ON %s TO probectl_app" % rig.value(
                conn, "SELECT max(oid::regclass::text) FROM pg_class WHERE relispartition AND relkind = 'r' AND relname LIKE 'result_%%'"), None)]
    return out


def role_mutants(conn):
    out = []
    for role in ("probectl_owner", "probectl_app") + LOGINS:
        for power in ("BYPASSRLS", "SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "INHERIT"):
            out.append(("%s: %s" % (role, power), "ALTER ROLE %s %s" % (role, power), None))
        for group in ("probectl_owner", "probectl_worker", "probectl_app", "pg_read_all_data", "pg_monitor", "pg_write_all_data", "pg_read_server_files"):
            if group != role and not (group == "probectl_app" and role in LOGINS[:3]) and not (group == "probectl_worker" and role == "probectl_app"):
                if role == "probectl_app" and group in ("probectl_worker",) or rig.refused(conn, "BEGIN; GRANT %s TO %s" % (group, role)) is None:
                    out.append(("%s member of %s" % (role, group), "GRANT %s TO %s" % (group, role), None))
                rig.rows(conn, "ROLLBACK")
    for role in ("probectl_owner", "probectl_app", "probectl_provider"):
        out.append(("%s: LOGIN" % role, "ALTER ROLE %s LOGIN" % role, None))
    out += [("app given on by gateway", "GRANT probectl_app TO probectl_gateway WITH ADMIN OPTION", None), ("row_security off for app", "ALTER ROLE probectl_gateway SET row_security = off", None),
            ("a view that asks as its owner", "CREATE VIEW probectl_api.everything AS SELECT * FROM probectl.test; ALTER VIEW probectl_api.everything OWNER TO probectl_owner", None),
            ("a materialized view", "CREATE MATERIALIZED VIEW probectl_api.everything AS SELECT * FROM probectl.test; ALTER MATERIALIZED VIEW probectl_api.everything OWNER TO probectl_owner", None)]
    for name, in rig.rows(conn, gate.REL + "SELECT name FROM rel WHERE tenant AND NOT relispartition ORDER BY name"):
        out.append(("%s owned by app" % name, "ALTER TABLE %s OWNER TO probectl_app" % name, None))
    for name, in rig.rows(conn, "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^probectl' AND prosecdef ORDER BY 1"):
        out.append(("%s: search_path free" % name, "ALTER FUNCTION %s RESET search_path" % name, None))
    return out


def key_mutants(conn):
    out = []
    for n, name, target, mine, theirs in rig.rows(conn, gate.REL + """SELECT f.name, k.conname, t.name, array_agg(x.attname::text ORDER BY u.n), array_agg(y.attname::text ORDER BY u.n)
            FROM pg_constraint k JOIN rel f ON f.oid = k.conrelid JOIN rel t ON t.oid = k.confrelid, unnest(k.conkey, k.confkey) WITH ORDINALITY u (h, t, n), pg_attribute x, pg_attribute y
            WHERE k.contype = 'f' AND k.conparentid = 0 AND t.tenant AND f.tenant AND x.attrelid = k.conrelid AND x.attnum = u.h AND y.attrelid = k.confrelid AND y.attnum = u.t GROUP BY 1, 2, 3 ORDER BY 1, 2"""):
        out.append(("%s: foreign key %s dropped" % (n, name), "ALTER TABLE %s DROP CONSTRAINT %s" % (n, name), n))
        if len(mine) == 2:
            out.append(("%s: foreign key %s without the tenant" % (n, name), "CREATE UNIQUE INDEX single ON %s (%s); ALTER TABLE %s DROP CONSTRAINT %s; ALTER TABLE %s ADD CONSTRAINT single FOREIGN KEY (%s) REFERENCES %s (%s) NOT VALID"
                        % (target, theirs[1], n, name, n, mine[1], target, theirs[1]), n))
    for n, name, rest in rig.rows(conn, gate.REL + """SELECT t.name, i.indexrelid::regclass::text, string_agg(a.attname, ', ' ORDER BY u.n) FROM rel t JOIN pg_index i ON i.indrelid = t.oid, unnest(i.indkey::int2[]) WITH ORDINALITY u (k, n)
            LEFT JOIN pg_attribute a ON a.attnum = u.k WHERE t.tenant AND NOT t.relispartition AND i.indisunique AND a.attrelid = t.oid AND a.attname <> 'tenant_id' GROUP BY 1, 2 ORDER BY 1, 2"""):
        if name != "probectl.tenant_slug_key":
            out.append(("%s: %s without the tenant" % (n, name), "DELETE FROM %s WHERE tenant_id <> '%s'; CREATE UNIQUE INDEX single ON %s (%s)" % (n, seed.TENANT["a"], n, rest), n))
    return out


def trigger_mutants(conn):
    out = []
    for n, name in rig.rows(conn, "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgfoid::regproc::text IN ('probectl_internal.audit_row', 'probectl_internal.audit_fixed', 'probectl_internal.quota_count') ORDER BY 1, 2"):
        out += [("%s: trigger %s dropped" % (n, name), "DROP TRIGGER %s ON %s" % (name, n), None), ("%s: trigger %s off" % (n, name), "ALTER TABLE %s DISABLE TRIGGER %s" % (n, name), None)]
    return out


def judge_sql(conn, mutation, focus, names, token, base):
    """Which of the judges notice; the transaction is undone."""
    killers = []
    for judge in ("catalog", "reach", "nobody"):
        if judge != "catalog" and focus is None:
            continue
        if judge == "nobody" and killers:
            continue
        rig.rows(conn, "BEGIN")
        try:
            rig.rows(conn, "SET LOCAL session_replication_role = replica")
            rig.rows(conn, mutation)
            rig.rows(conn, "SET LOCAL session_replication_role = origin")
            found = (gate.catalog(conn) if judge == "catalog" else gate.reach(conn, names, focus) if judge == "reach" else gate.nobody(conn, token)) - base[judge]
        except psycopg2.Error as error:
            found = {"it does not run: %s" % error} if judge != "catalog" else set()
            if judge == "catalog":
                raise AssertionError("the mutant cannot be made: %s: %s" % (mutation, error)) from error
        rig.rows(conn, "ROLLBACK")
        if found:
            killers.append("%s (%s)" % (judge, sorted(found)[0][:90]))
    return killers


def no_one(conn):
    """A token of a person of tenant a with no role at all."""
    with rig.inside(conn, seed.TENANT["a"]):
        user = rig.value(conn, "SELECT probectl.user_create('nobody@nowhere.example', 'Nobody', 'viewer')")
        token = rig.value(conn, "SELECT probectl.api_token_create('n', %s, '1 day')", (user,))
    rig.rows(conn, "SET session_replication_role = replica")
    rig.rows(conn, "DELETE FROM probectl.role_binding WHERE user_id = %s", (user,))
    rig.rows(conn, "SET session_replication_role = origin")
    return token


def run_sql(server, tap, only):
    with contextlib.closing(server.connect(DATABASE)) as conn:
        token = no_one(conn)
        gate.learn_guarded(conn)
        names = gate.relations(conn)
        base = {}
        for judge in ("catalog", "reach", "nobody"):
            with rig.transaction(conn, commit=False):
                base[judge] = gate.catalog(conn) if judge == "catalog" else gate.reach(conn, names, None) if judge == "reach" else gate.nobody(conn, token)
            tap.ok(not base[judge], "unchanged, the judge \"%s\" finds nothing" % judge, "\n".join(sorted(base[judge])[:20]))
        for make in (policy_mutants, partition_mutants, grant_mutants, role_mutants, key_mutants, trigger_mutants):
            started, survived, made = time.monotonic(), [], [m for m in make(conn) if only is None or only in m[0]]
            for what, mutation, focus in made:
                killers = judge_sql(conn, mutation, focus, names if focus is None or focus in names else names + [focus], token, base)
                if killers:
                    print("# killed   %s: by %s" % (what, ", ".join(killers)))
                else:
                    survived.append(what)
                    print("# SURVIVED %s" % what)
            tap.ok(not survived and (made or only), "%s: %d of %d killed in %.0f s" % (make.__name__.replace("_", " "), len(made) - len(survived), len(made), time.monotonic() - started), "\n".join(survived))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["sql", "source"])
    parser.add_argument("--only")
    args = parser.parse_args()
    tap = Tap()
    server = rig.Server()
    try:
        server.database(DATABASE)
        with contextlib.closing(server.connect(DATABASE)) as conn:
            seed.made = seed.make(conn)
        if "sql" in args.what:
            run_sql(server, tap, args.only)
        if "source" in args.what:
            import source_mutants
            source_mutants.run(server, tap, DATABASE, args.only)
        tap.ok(not server.crashed(), "the server did not crash", server.crashed())
    finally:
        server.remove()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
