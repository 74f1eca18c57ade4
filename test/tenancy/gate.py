# SPDX-License-Identifier: PostgreSQL
"""What has to hold of the catalog and of what it does, as findings: an empty set is a boundary that stands.

These are rules, not a copy of the schema: a new table is judged by them without anybody thinking of it. Only
privileges are compared with a list that somebody agreed to, test/pgtap/privileges.txt. The mutants
(mutants.py) show that each rule is needed and that together they are enough.
"""
import os

import psycopg2

import rig
import seed

# Written by C alone or derived; who changed them is not a question. Everything else is audited.
NOT_AUDITED = ("audit_event", "audit_head", "audit_checkpoint", "ledger", "result", "result_latest", "stream_position", "turned_away", "dead_letter", "agent_state", "tenant_revision",
               "metric_series", "metric_hot", "metric_chunk", "metric_state", "remote_intake", "remote_queue",
               "a2a_session", "a2a_endpoint")
RULES = {
    "row-level security is on and forced": """
        SELECT t.name FROM rel t WHERE t.tenant AND t.relkind IN ('r', 'p') AND NOT (t.relrowsecurity AND t.relforcerowsecurity)""",
    "one permissive policy, and it is the tenant's": """
        SELECT t.name || ': ' || coalesce(string_agg(p.polname || ' ' || p.polcmd::text || ' ' || p.polroles::regrole[]::text || ' ' || coalesce(pg_get_expr(p.polqual, p.polrelid), '') || ' ' || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''), '; ' ORDER BY p.polname), 'none')
          FROM rel t LEFT JOIN pg_policy p ON p.polrelid = t.oid AND p.polpermissive AND NOT (p.polname = 'worker_reads' AND t.name ~ '^probectl\\.ledger(_[0-9]{8})?$' AND p.polcmd = 'r' AND p.polroles = ARRAY['probectl_worker'::regrole::oid])
         WHERE t.tenant AND t.relkind IN ('r', 'p') GROUP BY t.name
        HAVING count(p.polname) <> 1 OR min(p.polname) <> 'tenant_isolation' OR min(p.polcmd::text) <> '*' OR min(p.polroles::text) <> '{0}'
            OR min(pg_get_expr(p.polqual, p.polrelid)) <> '(tenant_id = probectl.current_tenant())' OR min(pg_get_expr(p.polwithcheck, p.polrelid)) IS NOT NULL""",
    "tenant_id is a uuid and not null": """
        SELECT t.name FROM rel t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id' WHERE t.relkind IN ('r', 'p') AND NOT (a.attnotnull AND a.atttypid = 'uuid'::regtype)""",
    "unique keys begin with the tenant": """
        SELECT i.indexrelid::regclass::text FROM rel t JOIN pg_index i ON i.indrelid = t.oid AND i.indisunique
          LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
         WHERE t.tenant AND coalesce(a.attname, '') <> 'tenant_id' AND i.indexrelid::regclass::text <> 'probectl.tenant_slug_key'""",
    "foreign keys carry the tenant": """
        SELECT k.conrelid::regclass || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN rel f ON f.oid = k.conrelid JOIN rel t ON t.oid = k.confrelid
         WHERE k.contype = 'f' AND k.conparentid = 0 AND t.tenant AND f.tenant
           AND NOT EXISTS (SELECT FROM pg_attribute x, pg_attribute y WHERE x.attrelid = k.conrelid AND x.attnum = k.conkey[1] AND x.attname = 'tenant_id' AND y.attrelid = k.confrelid AND y.attnum = k.confkey[1] AND y.attname = 'tenant_id')""",
    "an identifier of another table is a foreign key": """
        SELECT t.name || '.' || a.attname FROM rel t JOIN pg_attribute a ON a.attrelid = t.oid AND (a.attname IN ('agent_id', 'project_id', 'team_id', 'organization_id', 'user_id', 'group_id', 'role_id', 'service_account_id', 'tenant_id')
               OR a.attname IN ('test_id', 'mesh_id', 'initiator_id', 'responder_id') AND t.name ~ '^probectl\\.a2a_')
         WHERE t.tenant AND NOT t.relispartition AND t.relkind = 'r' AND t.name NOT IN ('probectl.tenant', 'probectl.result_latest', 'probectl.dead_letter')
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'f' AND k.convalidated AND a.attnum = ANY (k.conkey))
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'p' AND k.conkey[2] = a.attnum AND array_length(k.conkey, 1) = 2)""",
    "rows of a tenant need the tenant": """
        SELECT t.name FROM rel t WHERE t.tenant AND t.relkind = 'r' AND NOT t.relispartition AND t.name NOT IN ('probectl.tenant', 'probectl.result_latest')
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'f' AND k.convalidated
                              AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey) AND NOT a.attnotnull)
                              AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey) AND a.attname = 'tenant_id'))""",
    "no materialized view, no foreign table, views ask as who asks": """
        SELECT t.name FROM rel t WHERE t.relkind IN ('m', 'f') OR t.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (t.reloptions), false)""",
    "relations and functions belong to probectl_owner": """
        SELECT t.name FROM rel t WHERE t.relowner <> 'probectl_owner'::regrole UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace::regnamespace::text ~ '^probectl' AND p.proowner <> 'probectl_owner'::regrole UNION ALL
        SELECT n.nspname FROM pg_namespace n WHERE n.nspname ~ '^probectl' AND n.nspowner <> 'probectl_owner'::regrole""",
    "security definer functions pin their search_path": """
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace::regnamespace::text ~ '^probectl' AND p.prosecdef
           AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c = 'search_path=pg_catalog, pg_temp')""",
    "roles have no powers": """
        SELECT r.rolname FROM pg_roles r WHERE r.rolname ~ '^probectl_' AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolinherit
               OR r.rolcanlogin AND r.rolname IN ('probectl_owner', 'probectl_app', 'probectl_provider'))""",
    "roles are members of what was agreed": """
        SELECT m.member::regrole || ' of ' || m.roleid::regrole || m.admin_option FROM pg_auth_members m WHERE (m.member::regrole::text ~ '^probectl_' OR m.roleid::regrole::text ~ '^probectl_')
           AND (m.admin_option OR (m.member::regrole::text, m.roleid::regrole::text) NOT IN (('probectl_gateway', 'probectl_app'), ('probectl_ingest', 'probectl_app'), ('probectl_worker', 'probectl_app'), ('probectl_gateway', 'probectl_provider')))""",
    "settings of roles": "SELECT setrole::regrole::text FROM pg_db_role_setting WHERE setrole::regrole::text ~ '^probectl_'",
    "partitions are granted to nobody": """
        SELECT t.name FROM rel t, aclexplode(t.relacl) a WHERE t.relispartition AND a.grantee <> t.relowner""",
    "changes are recorded": """
        SELECT t.name FROM rel t WHERE t.tenant AND t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relname <> ALL (%(not_audited)s)
           AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgfoid = 'probectl_internal.audit_row'::regproc AND g.tgenabled IN ('O', 'A') AND g.tgtype & 28 = 28 AND g.tgtype & 1 = 1)""",
    "records are fixed": """
        SELECT t.name FROM rel t WHERE t.relname ~ 'audit_(event|checkpoint)$'
           AND (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgfoid = 'probectl_internal.audit_fixed'::regproc AND g.tgenabled IN ('O', 'A') AND (g.tgtype & 27 = 27 OR g.tgtype & 34 = 34)) <> 2""",
    "what is limited is counted": """
        SELECT n FROM unnest(ARRAY['agent', 'test', 'tenant_user', 'metric_series']) n WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = ('probectl.' || n)::regclass
           AND g.tgfoid = 'probectl_internal.quota_count'::regproc AND g.tgenabled IN ('O', 'A') AND g.tgtype & 15 = 15)""",
}
# The registry of tenants is the platform's: names and states, granted to nobody.
REL = """WITH rel AS MATERIALIZED (SELECT c.*, c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
           AND c.relname <> 'tenant_registry' AS tenant
    FROM pg_class c WHERE c.relnamespace::regnamespace::text ~ '^probectl' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) """
PRIVILEGES = """WITH role AS (SELECT oid, rolname FROM pg_roles WHERE rolname ~ '^probectl_' AND rolname <> 'probectl_owner' UNION ALL SELECT 0, 'public'), ours AS (SELECT oid, nspname FROM pg_namespace WHERE nspname ~ '^probectl')
    SELECT r.rolname || E'\\ttable\\t' || format('%I.%I', o.nspname, c.relname) || E'\\t' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
      FROM pg_class c JOIN ours o ON o.oid = c.relnamespace, aclexplode(c.relacl) a JOIN role r ON r.oid = a.grantee WHERE c.relkind <> 'i' AND NOT c.relispartition GROUP BY r.rolname, o.nspname, c.relname
    UNION ALL SELECT r.rolname || E'\\tcolumn\\t' || t.attrelid::regclass || '.' || t.attname || E'\\t' || a.privilege_type FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN ours o ON o.oid = c.relnamespace, aclexplode(t.attacl) a JOIN role r ON r.oid = a.grantee
    UNION ALL SELECT r.rolname || E'\\tfunction\\t' || p.oid::regprocedure || E'\\t' || a.privilege_type FROM pg_proc p JOIN ours o ON o.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a JOIN role r ON r.oid = a.grantee
    UNION ALL SELECT r.rolname || E'\\tschema\\t' || o.nspname || E'\\t' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type) FROM pg_namespace n JOIN ours o ON o.oid = n.oid, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a JOIN role r ON r.oid = a.grantee GROUP BY r.rolname, o.nspname"""


def agreed():
    with open(os.path.join(rig.TOP, "test", "pgtap", "privileges.txt"), encoding="utf-8") as lines:
        return {line.rstrip("\n") for line in lines if line.strip() and not line.startswith("#")}


def rules(conn):
    """Every rule in one statement; findings as a set of texts."""
    parts = ["SELECT '%s: ' || x.v FROM (%s) x (v)" % (rule.replace("'", "''"), text) for rule, text in RULES.items()]
    found = {row[0] for row in rig.rows(conn, REL + " UNION ALL ".join(parts), {"not_audited": list(NOT_AUDITED)})}
    return found


def privileges(conn):
    held = {row[0] for row in rig.rows(conn, PRIVILEGES)}
    wanted = {line for line in agreed() if "\tmember of\t" not in line}
    return {"granted but not agreed: " + line for line in held - wanted} | {"agreed but not granted: " + line for line in wanted - held}


def catalog(conn):
    return rules(conn) | privileges(conn)


# ---- what the catalog does ---------------------------------------------------------------------------

def relations(conn):
    """Tenant tables and partitions; of the days only some, each has the same policy by rule."""
    names = [row[0] for row in rig.rows(conn, REL + "SELECT name FROM rel WHERE tenant AND relkind IN ('r', 'p') ORDER BY name")]
    return [n for i, n in enumerate(names) if not n[-8:].isdigit() or i % 4 == 0]


def count_others(names, mine):
    return " UNION ALL ".join("SELECT '%s', count(*) FROM %s WHERE tenant_id IS DISTINCT FROM %s" % (n, n, "'%s'" % mine if mine else "NULL") for n in names)


def reach(conn, names, focus):
    """Inside an open transaction with whatever grants: is there anything of others to see or change?"""
    found = set()
    rig.rows(conn, "SAVEPOINT before")
    for name in names:
        rig.rows(conn, "GRANT ALL ON %s TO probectl_app, probectl_provider, probectl_gateway" % name)
    for role in ("probectl_owner", "probectl_provider", "probectl_gateway", "probectl_app"):
        rig.rows(conn, "SAVEPOINT role")
        try:
            rig.rows(conn, "SET LOCAL ROLE " + role)
            found |= {"unbound %s sees %s" % (role, n) for n, c in rig.rows(conn, count_others(names, None)) if c > 0}
        except psycopg2.Error as error:
            found.add("unbound %s: %s" % (role, error.pgcode))
        rig.rows(conn, "ROLLBACK TO SAVEPOINT role")
    rig.rows(conn, "SELECT probectl.enter_tenant(%s)", (seed.TENANT["a"],))
    found |= {"a sees others in " + n for n, c in rig.rows(conn, count_others(names, seed.TENANT["a"])) if c > 0}
    for name in [n for n in names if focus is None or n == focus]:
        for what, sql in (("update", "UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = '%s'"), ("delete", "DELETE FROM %s WHERE tenant_id = '%s'"),
                          ("lock", "SELECT FROM %s WHERE tenant_id = '%s' FOR UPDATE"), ("move", "UPDATE %s SET tenant_id = '%s'"),
                          ("insert", "INSERT INTO %s SELECT (jsonb_populate_record(x, jsonb_build_object('tenant_id', '%s'))).* FROM {0} x LIMIT 1")):
            rig.rows(conn, "SAVEPOINT attempt")
            with conn.cursor() as cur:
                try:
                    cur.execute(sql.format(name) % (name, seed.TENANT["b"]))
                    if what in ("move", "insert") or cur.rowcount > 0:
                        if cur.rowcount > 0:
                            found.add("a may %s what is b's in %s" % (what, name))
                except psycopg2.Error as error:
                    if error.pgcode[:2] not in ("PC", "23") and error.pgcode not in ("42501", "428C9"):
                        found.add("%s of b's in %s: %s" % (what, name, error.pgcode))
            rig.rows(conn, "ROLLBACK TO SAVEPOINT attempt")
    return found


def nobody(conn, token):
    """A person without any permission sees and changes nothing of the own tenant either."""
    found = set()
    rig.rows(conn, "SELECT probectl.enter_session(%s)", (token,))
    guarded = [row[0] for row in GUARDED]
    for name in guarded:
        count = rig.value(conn, "SELECT count(*) FROM probectl.%s" % name)
        if count > (1 if name == "tenant_user" else 0):
            found.add("nobody sees %s" % name)
    for what, sql in (("inserts a test", "INSERT INTO probectl.test (name, type, target) VALUES ('x', 'icmp', 'x')"),
                      ("updates a test", "UPDATE probectl.test SET target = 'x' WHERE true"), ("deletes a test", "DELETE FROM probectl.test"),
                      ("deletes newest results", "DELETE FROM probectl.result_latest"),
                      ("inserts a mesh", "INSERT INTO probectl.a2a_mesh (name) VALUES ('x')"), ("updates a mesh", "UPDATE probectl.a2a_mesh SET name = 'x' WHERE true"),
                      ("deletes meshes", "DELETE FROM probectl.a2a_mesh"), ("deletes members", "DELETE FROM probectl.a2a_mesh_member"),
                      ("inserts a member", "INSERT INTO probectl.a2a_mesh_member (mesh_id, agent_id) VALUES (gen_random_uuid(), gen_random_uuid())")):
        rig.rows(conn, "SAVEPOINT attempt")
        with conn.cursor() as cur:
            try:
                cur.execute(sql)
                if cur.rowcount > 0:
                    found.add("nobody " + what)
            except psycopg2.Error as error:
                if error.pgcode != "42501":
                    found.add("nobody %s: %s" % (what, error.pgcode))
        rig.rows(conn, "ROLLBACK TO SAVEPOINT attempt")
    return found


GUARDED = []


def learn_guarded(conn):
    """Tables whose reading needs a permission, from what stands in the sources."""
    GUARDED[:] = rig.rows(conn, "SELECT DISTINCT c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE NOT p.polpermissive AND p.polcmd = 'r' AND NOT c.relispartition ORDER BY 1")
