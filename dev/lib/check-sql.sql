-- SPDX-License-Identifier: PostgreSQL
--
-- What dev/check-sql.sh asks of an installed extension. Each row is one finding:
-- kind and name of the object (from which the script finds the line that creates
-- it), and what is wrong with it.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset fieldsep '\t'
\set ON_ERROR_STOP on
SET search_path = pg_catalog;

CREATE TEMP VIEW ours AS
SELECT oid AS nsp, nspname FROM pg_namespace
WHERE nspname IN ('probectl', 'probectl_internal', 'probectl_api');

CREATE TEMP VIEW rel AS
SELECT c.oid, o.nspname, c.relname, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
       c.reloptions, c.relacl, c.relowner, format('%I.%I', o.nspname, c.relname) AS name,
       a.attnum AS tenant_attnum, a.attnotnull AS tenant_notnull
FROM pg_class c JOIN ours o ON c.relnamespace = o.nsp
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped;

CREATE TEMP VIEW tenant_table AS
SELECT * FROM rel WHERE relkind IN ('r', 'p') AND tenant_attnum IS NOT NULL
  AND NOT name = ANY (string_to_array(:'operator_tables', ' '));

CREATE TEMP VIEW func AS
SELECT p.*, o.nspname, format('%I.%I', o.nspname, p.proname) AS name
FROM pg_proc p JOIN ours o ON p.pronamespace = o.nsp;

-- The tenant boundary on tables.
SELECT 'TABLE', name, 'row-level security is not enabled' FROM tenant_table WHERE NOT relrowsecurity
UNION ALL
SELECT 'TABLE', name, 'row-level security is not forced' FROM tenant_table WHERE NOT relforcerowsecurity
UNION ALL
SELECT 'TABLE', name, 'tenant_id may be NULL' FROM tenant_table WHERE NOT tenant_notnull
UNION ALL
SELECT 'TABLE', t.name, 'no policy' FROM tenant_table t
WHERE NOT t.relispartition AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = t.oid)
UNION ALL
SELECT 'TABLE', t.name, format('policy %I does not compare tenant_id with probectl.current_tenant()', p.polname)
FROM tenant_table t JOIN pg_policy p ON p.polrelid = t.oid
WHERE p.polpermissive
  -- The workers follow the ledger of all tenants: it holds counts and places, no tenant's data.
  AND NOT (t.name ~ '^probectl\.ledger(_[0-9]{8})?$' AND p.polcmd = 'r'
           AND p.polroles = ARRAY(SELECT oid FROM pg_roles WHERE rolname = 'probectl_worker'))
  AND NOT (coalesce(pg_get_expr(p.polqual, p.polrelid), '') ~ 'tenant_id.*current_tenant\(\)'
           OR (p.polqual IS NULL AND pg_get_expr(p.polwithcheck, p.polrelid) ~ 'tenant_id.*current_tenant\(\)'))
UNION ALL
SELECT 'TABLE', t.name, format('policy %I lets other tenants'' rows be written', p.polname)
FROM tenant_table t JOIN pg_policy p ON p.polrelid = t.oid
WHERE p.polpermissive AND p.polwithcheck IS NOT NULL
  AND pg_get_expr(p.polwithcheck, p.polrelid) !~ 'tenant_id.*current_tenant\(\)'
UNION ALL
SELECT 'TABLE', t.name, 'no primary key' FROM tenant_table t
WHERE t.relkind = 'r' AND NOT t.relispartition
  AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
UNION ALL
SELECT 'TABLE', t.name, format('unique key %I does not start with tenant_id', c.relname)
FROM tenant_table t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indisunique AND i.indkey[0] <> t.tenant_attnum
  AND t.name <> 'probectl.tenant' -- its slug is what tells tenants apart; the table is the boundary itself
UNION ALL
SELECT 'TABLE', f.name, format('foreign key %I to %s does not start with tenant_id on both sides', k.conname, t.name)
FROM pg_constraint k JOIN tenant_table f ON f.oid = k.conrelid JOIN tenant_table t ON t.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0
  AND NOT (k.conkey[1] = f.tenant_attnum AND k.confkey[1] = t.tenant_attnum)
UNION ALL
SELECT 'TABLE', r.name, format('is outside the boundary, but granted to %s', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'))
FROM rel r, aclexplode(r.relacl) a
WHERE r.name = ANY (string_to_array(:'operator_tables', ' ')) AND a.grantee <> r.relowner
UNION ALL
-- A partition answers to its own privileges, not to its parent's policies.
SELECT 'TABLE', r.name, format('partition is granted to %s', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'))
FROM rel r, aclexplode(r.relacl) a WHERE r.relispartition AND a.grantee <> r.relowner
UNION ALL
SELECT CASE WHEN r.relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END, r.name, format('%s is granted to PUBLIC', a.privilege_type)
FROM rel r, aclexplode(r.relacl) a WHERE a.grantee = 0
UNION ALL
-- Views run with the rights of who asks; a materialized view has no policies.
SELECT 'VIEW', name, 'security_invoker is not set' FROM rel
WHERE relkind = 'v' AND NOT coalesce(reloptions @> '{security_invoker=true}' OR reloptions @> '{security_invoker=on}', false)
UNION ALL
SELECT 'VIEW', name, 'materialized views are not used: they have no policies' FROM rel WHERE relkind = 'm'
UNION ALL
-- Functions.
SELECT 'FUNCTION', name, 'SECURITY DEFINER without SET search_path' FROM func
WHERE prosecdef AND NOT EXISTS (SELECT 1 FROM unnest(proconfig) c WHERE c LIKE 'search\_path=%')
UNION ALL
SELECT 'FUNCTION', name, 'PUBLIC may execute it' FROM func f
WHERE (proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(proacl) a WHERE a.grantee = 0))
  AND NOT name = ANY (string_to_array(:'public_functions', ' '))
UNION ALL
SELECT 'FUNCTION', name, format('C function is called %s, not pctl_...', prosrc) FROM func
WHERE prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND prosrc NOT LIKE 'pctl\_%'
UNION ALL
-- Public objects explain themselves.
SELECT CASE WHEN relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END, name, 'no COMMENT' FROM rel
WHERE relkind IN ('r', 'p', 'v') AND NOT relispartition AND nspname IN ('probectl', 'probectl_api')
  AND obj_description(oid, 'pg_class') IS NULL
UNION ALL
SELECT 'FUNCTION', name, 'no COMMENT' FROM func f
WHERE nspname IN ('probectl', 'probectl_api') AND obj_description(f.oid, 'pg_proc') IS NULL
UNION ALL
-- Roles: nothing of the product runs with rights that ignore the policies.
SELECT 'ROLE', rolname, 'may ignore row-level security' FROM pg_roles
WHERE rolname LIKE 'probectl\_%' AND (rolsuper OR rolbypassrls)
UNION ALL
SELECT 'ROLE', rolname, 'logs in and owns ' || name FROM pg_roles r
JOIN (SELECT relowner AS owner, name FROM rel UNION ALL SELECT proowner, name FROM func) x ON x.owner = r.oid
WHERE rolname LIKE 'probectl\_%' AND rolcanlogin
UNION ALL
SELECT 'SCHEMA', nspname, format('%s may create objects in it', r.rolname)
FROM ours, pg_roles r
WHERE r.rolname LIKE 'probectl\_%' AND r.rolname <> 'probectl_owner' AND NOT r.rolsuper
  AND has_schema_privilege(r.oid, nsp, 'CREATE')
UNION ALL
SELECT 'SCHEMA', nspname, 'PUBLIC may create objects in it'
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE nspname LIKE 'probectl%' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
ORDER BY 2, 3;

\echo COUNTED
SELECT (SELECT count(*) FROM tenant_table), (SELECT count(*) FROM func), (SELECT count(*) FROM rel WHERE relkind = 'v');
