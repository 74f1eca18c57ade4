-- SPDX-License-Identifier: PostgreSQL
--
-- The gate between tenants, generated from the catalog: a new table, partition, view, function, sequence or route
-- is judged without anybody thinking of it, and one this file cannot judge fails it.
--
-- Two tenants, a and b, get a row in every tenant table. Then a's context looks at, calls and changes everything there
-- is, with its own grants and with every grant, and nothing of b may be seen, moved or named.
-- Texts of b hold a marker, so that a leak is found whatever door it came through.
--
-- What is observed in a bound transaction is written to gate.seen and asserted afterwards: pgTAP needs what a
-- tenant context refuses.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

CREATE SCHEMA gate;
GRANT USAGE ON SCHEMA gate TO PUBLIC;
CREATE TABLE gate.seen (context text, subject text, n bigint, own bigint, other bigint, said text);
CREATE TABLE gate.ours (schema oid, name text);
INSERT INTO gate.ours SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('probectl', 'probectl_internal', 'probectl_api');
-- Every relation with columns. leaf: a partition; tenant: it has a tenant_id. What the provider keeps about tenants names
-- them too, but is no tenant's; nobody is granted it.
CREATE TABLE gate.rel AS
  SELECT c.oid, format('%I.%I', o.name, c.relname) AS name, c.relkind, c.relispartition AS leaf, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
         EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
           AND format('%I.%I', o.name, c.relname) <> ALL (ARRAY['probectl_internal.tenant_registry']) AS tenant
    FROM pg_class c JOIN gate.ours o ON o.schema = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f');
CREATE TABLE gate.id (which text, tenant uuid);
INSERT INTO gate.id VALUES ('a', probectl.tenant_create('gate-a', 'Gate A'));
INSERT INTO gate.id VALUES ('b', probectl.tenant_create('gate-b', 'leak-of-b'));
CREATE FUNCTION gate.tenant(which text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT i.tenant FROM gate.id i WHERE i.which = $1';

-- ---- a row in every table -----------------------------------------------------------------
-- Where the generator below has to be told.
CREATE TABLE gate.told (rel text, col text, value text);
INSERT INTO gate.told VALUES
  ('probectl.tenant_user', 'email', '''leak-of-'' || which || ''@example.net'''),
  ('probectl.credential', 'kind', '''token'''),
  ('probectl.agent_certificate', 'serial', '''abc'' || translate(which, ''ab'', ''12'')'),
  ('probectl.role', 'permissions', '''{}'''),
  ('probectl.audit_checkpoint', 'prev_size', '0'),
  ('probectl.break_glass_grant', 'reason', '''leak-of-'' || which || '' and why'''),
  -- Of several references only one may be given.
  ('probectl.credential', 'user_id', 'reference'),
  ('probectl.role_binding', 'user_id', 'reference'),
  ('probectl.test', 'agent_id', 'reference');

CREATE FUNCTION gate.value(rel oid, col name, type oid) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT t.value FROM gate.told t JOIN gate.rel r ON r.name = t.rel WHERE r.oid = $1 AND t.col = $2),
    -- The first word of CHECK (col IN (...)).
    (SELECT quote_literal(m[1]) FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum],
            regexp_matches(pg_get_constraintdef(k.oid), $re$= ANY \(ARRAY\['([^']*)'$re$) m
      WHERE k.conrelid = $1 AND k.contype = 'c' AND a.attname = $2 LIMIT 1),
    CASE $3::regtype::text
      WHEN 'uuid' THEN 'gen_random_uuid()'
      WHEN 'text' THEN '''leak-of-'' || which'
      WHEN 'integer' THEN '1' WHEN 'bigint' THEN '1' WHEN 'smallint' THEN '1' WHEN 'numeric' THEN '1' WHEN 'double precision' THEN '1' WHEN 'oid' THEN '0'
      WHEN 'boolean' THEN 'true'
      WHEN 'timestamp with time zone' THEN 'now()' WHEN 'date' THEN 'current_date' WHEN 'interval' THEN '''1 hour''::interval'
      WHEN 'bytea' THEN 'sha256(convert_to(''leak-of-'' || which, ''UTF8''))'
      WHEN 'jsonb' THEN 'jsonb_build_object(''k'', ''leak-of-'' || which)' WHEN 'json' THEN 'json_build_object(''k'', ''leak-of-'' || which)'
      WHEN 'text[]' THEN 'ARRAY[''leak-of-'' || which]' WHEN 'uuid[]' THEN 'ARRAY[gen_random_uuid()]' WHEN 'bytea[]' THEN '''{}''::bytea[]'
      WHEN 'inet' THEN '''192.0.2.1''::inet' WHEN 'cidr' THEN '''192.0.2.0/24''::cidr'
      WHEN 'tstzrange' THEN 'tstzrange(now(), NULL)'
    END)
$$;
-- The statement that fills a table for a tenant: every column that has to be given; references to rows of that tenant.
CREATE FUNCTION gate.filler(rel oid) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  a record;
  k record;
  columns text[] := '{tenant_id}';
  given text[] := '{$1}';
  sources text := '';
  expression text;
  n integer := 0;
BEGIN
  FOR k IN SELECT c.* FROM pg_constraint c WHERE c.conrelid = rel AND c.contype = 'f' AND c.conparentid = 0 AND cardinality(c.conkey) > 1
            AND EXISTS (SELECT FROM pg_attribute y WHERE y.attrelid = rel AND y.attnum = ANY (c.conkey) AND y.attname <> 'tenant_id'
                         AND (y.attnotnull OR (rel::regclass::text, y.attname::text, 'reference') IN (SELECT t.rel, t.col, t.value FROM gate.told t))) LOOP
    n := n + 1;
    sources := sources || format(', (SELECT * FROM %s WHERE tenant_id = $1 LIMIT 1) f%s', k.confrelid::regclass, n);
    FOR a IN SELECT x.attname, y.attname AS there FROM unnest(k.conkey, k.confkey) u (here, far)
               JOIN pg_attribute x ON x.attrelid = rel AND x.attnum = u.here JOIN pg_attribute y ON y.attrelid = k.confrelid AND y.attnum = u.far
              WHERE x.attname <> 'tenant_id' LOOP
      IF a.attname <> ALL (columns) THEN
        columns := columns || a.attname::text;
        given := given || format('f%s.%I', n, a.there);
      END IF;
    END LOOP;
  END LOOP;
  FOR a IN SELECT t.* FROM pg_attribute t WHERE t.attrelid = rel AND t.attnum > 0 AND NOT t.attisdropped AND t.attgenerated = '' AND t.attidentity = ''
            AND (t.attnotnull OR t.atttypid = 'text'::regtype) AND NOT (t.atthasdef AND t.atttypid <> 'text'::regtype) LOOP
    CONTINUE WHEN a.attname = ANY (columns) OR (NOT a.attnotnull AND a.attname ~ '_id$');
    expression := gate.value(rel, a.attname, a.atttypid);
    IF expression IS NULL THEN
      RAISE EXCEPTION 'no value for column % of type %: teach gate.value()', a.attname, a.atttypid::regtype;
    END IF;
    columns := columns || a.attname::text;
    given := given || expression;
  END LOOP;
  RETURN format('INSERT INTO %s (%s) SELECT %s FROM (SELECT $2::text AS which) w%s', rel::regclass,
                (SELECT string_agg(quote_ident(c), ', ') FROM unnest(columns) c), array_to_string(given, ', '), sources);
END
$$;
-- Fills what is empty, again and again while that gets further: a table may need another's rows.
CREATE PROCEDURE gate.fill() LANGUAGE plpgsql AS $$
DECLARE
  r record;
  i record;
  done integer;
  n bigint;
BEGIN
  SET session_replication_role = replica;
  LOOP
    done := 0;
    FOR r IN SELECT * FROM gate.rel WHERE tenant AND NOT leaf AND relkind IN ('r', 'p') ORDER BY oid LOOP
      FOR i IN SELECT * FROM gate.id LOOP
        EXECUTE format('SELECT count(*) FROM %s WHERE tenant_id = $1', r.oid::regclass) INTO n USING i.tenant;
        CONTINUE WHEN n > 0;
        BEGIN
          EXECUTE gate.filler(r.oid) USING i.tenant, i.which;
          GET DIAGNOSTICS n = ROW_COUNT;
          done := done + n;
        EXCEPTION
          WHEN OTHERS THEN
            INSERT INTO gate.seen (context, subject, said) VALUES ('fill', r.name, SQLERRM);
        END;
      END LOOP;
    END LOOP;
    EXIT WHEN done = 0;
  END LOOP;
  RESET session_replication_role;
END
$$;
CALL gate.fill();
-- And in every partition: the parent's row at the partition's lower bound.
DO $$
DECLARE
  leaf record;
BEGIN
  SET session_replication_role = replica;
  FOR leaf IN SELECT r.name, p.name AS parent, substring(pg_get_partkeydef(p.oid) FROM '\((\w+)\)') AS key,
                     substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([^'']+)''\)') AS low
                FROM gate.rel r JOIN pg_class c ON c.oid = r.oid JOIN pg_inherits i ON i.inhrelid = r.oid JOIN gate.rel p ON p.oid = i.inhparent WHERE r.tenant LOOP
    EXECUTE format('INSERT INTO %s SELECT (jsonb_populate_record(NULL::%s, to_jsonb(x) || jsonb_build_object(%L, %L::text))).* FROM gate.id g, LATERAL (SELECT * FROM %s y WHERE y.tenant_id = g.tenant LIMIT 1) x',
                   leaf.parent, leaf.parent, leaf.key, leaf.low, leaf.parent);
  END LOOP;
  RESET session_replication_role;
END
$$;
CREATE TABLE gate.total (name text, which text, n bigint);
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT * FROM gate.rel WHERE tenant AND relkind IN ('r', 'p') LOOP
    EXECUTE format('INSERT INTO gate.total SELECT %L, i.which, (SELECT count(*) FROM %s t WHERE t.tenant_id = i.tenant) FROM gate.id i', r.name, r.oid::regclass);
  END LOOP;
END
$$;
-- Everything b has in one hash: whatever a does, it stays. Runs as its owner, so that a's context can ask.
CREATE FUNCTION gate.checksum() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
  part text;
  whole text := '';
BEGIN
  -- The keeper signs checkpoints of its own accord.
  FOR r IN SELECT * FROM gate.rel WHERE tenant AND NOT leaf AND relkind IN ('r', 'p') AND name <> 'probectl.audit_checkpoint' ORDER BY name LOOP
    EXECUTE format('SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM %s t WHERE t.tenant_id = $1', r.name) INTO part USING gate.tenant('b');
    whole := whole || r.name || coalesce(part, '-');
  END LOOP;
  RETURN md5(whole);
END
$$;
-- Identifiers of b by the name of the column that holds them, one each.
CREATE TABLE gate.id_of_b (col text, id uuid);
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT DISTINCT ON (a.attname) c.name, a.attname FROM gate.rel c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.atttypid = 'uuid'::regtype
            WHERE c.tenant AND NOT c.leaf ORDER BY a.attname, array_length(i.indkey::int2[], 1), c.oid LOOP
    EXECUTE format('INSERT INTO gate.id_of_b SELECT %L, t.%I FROM %s t WHERE t.tenant_id = $1 LIMIT 1', r.attname, r.attname, r.name) USING gate.tenant('b');
  END LOOP;
END
$$;
-- References to tenant tables: the column besides tenant_id, and b's value for it.
CREATE TABLE gate.reference (rel text, col text, value text);
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT f.name AS rel, t.name AS target, x.attname AS col, y.attname AS there FROM pg_constraint k JOIN gate.rel f ON f.oid = k.conrelid JOIN gate.rel t ON t.oid = k.confrelid,
                  unnest(k.conkey, k.confkey) u (here, far), pg_attribute x, pg_attribute y
            WHERE k.contype = 'f' AND k.conparentid = 0 AND t.tenant AND f.tenant AND x.attrelid = k.conrelid AND x.attnum = u.here AND y.attrelid = k.confrelid AND y.attnum = u.far AND x.attname <> 'tenant_id' LOOP
    EXECUTE format('INSERT INTO gate.reference SELECT %L, %L, t.%I::text FROM %s t WHERE t.tenant_id = $1 LIMIT 1', r.rel, r.col, r.there, r.target) USING gate.tenant('b');
  END LOOP;
END
$$;
-- Every function with what may be called with: for each argument all of b's identifiers when it is a uuid, else something of its type.
CREATE TABLE gate.call (function text, call text, app boolean, definer boolean);
DO $$
DECLARE
  p record;
  probe uuid;
  given text;
BEGIN
  FOR p IN SELECT f.oid, f.proname, f.proargtypes, f.prosecdef, o.name AS schema FROM pg_proc f JOIN gate.ours o ON o.schema = f.pronamespace
            WHERE f.prorettype <> 'trigger'::regtype AND f.prokind = 'f' LOOP
    FOR probe IN SELECT DISTINCT x.id FROM gate.id_of_b x LOOP
      SELECT string_agg(CASE format_type(t.type, NULL)
                          WHEN 'uuid' THEN quote_literal(probe) || '::uuid'
                          WHEN 'jsonb' THEN format('(SELECT jsonb_object_agg(col, id) FROM gate.id_of_b)')
                          WHEN 'json' THEN '''{}''::json'
                          WHEN 'text' THEN '''viewer'''
                          WHEN 'text[]' THEN '''{viewer}''::text[]'
                          WHEN 'interval' THEN '''1 hour''::interval'
                          WHEN 'bytea' THEN '''\x00''::bytea'
                          WHEN 'timestamp with time zone' THEN 'now()'
                          WHEN 'boolean' THEN 'true'
                          ELSE CASE WHEN t.type IN ('int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'int2'::regtype, 'float8'::regtype) THEN '1::' || format_type(t.type, NULL)
                                    ELSE format('NULL::%s', format_type(t.type, NULL)) END
                        END, ', ' ORDER BY t.i)
        INTO given FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t (type, i);
      INSERT INTO gate.call VALUES (p.oid::regprocedure::text, format('SELECT string_agg(x::text, '' '') FROM %I.%I(%s) x', p.schema, p.proname, given),
                                    has_function_privilege('probectl_app', p.oid, 'EXECUTE'), p.prosecdef);
      EXIT WHEN coalesce(given, '') !~ '::uuid';
    END LOOP;
  END LOOP;
END
$$;
-- Columns a statement may write.
CREATE TABLE gate.cols AS
  SELECT r.name, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS list, string_agg('(y.z).' || quote_ident(a.attname), ', ' ORDER BY a.attnum) AS given
    FROM gate.rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' GROUP BY r.name;
GRANT SELECT ON ALL TABLES IN SCHEMA gate TO PUBLIC;
GRANT INSERT ON gate.seen TO PUBLIC;

-- ---- observing ------------------------------------------------------------------------------
-- Counts rows of every relation as a role, or bound to a tenant.
CREATE PROCEDURE gate.look(context text, role text, tenant uuid, every_grant boolean) LANGUAGE plpgsql AS $$
DECLARE
  r record;
  a uuid := gate.tenant('a');
  b uuid := gate.tenant('b');
  n bigint;
  own bigint;
  other bigint;
  said text;
  rows gate.seen[] := '{}';
BEGIN
  IF every_grant THEN
    FOR r IN SELECT * FROM gate.rel LOOP
      EXECUTE format('GRANT ALL ON %s TO %I', r.name, role);
    END LOOP;
  END IF;
  IF tenant IS NOT NULL THEN
    PERFORM probectl.enter_tenant(tenant);
  ELSE
    EXECUTE format('SET LOCAL ROLE %I', role);
  END IF;
  FOR r IN SELECT * FROM gate.rel ORDER BY name LOOP
    n := NULL; own := NULL; other := NULL; said := NULL;
    BEGIN
      IF r.tenant THEN
        EXECUTE format('SELECT count(*), count(*) FILTER (WHERE x.tenant_id = $1), count(*) FILTER (WHERE x.tenant_id IS DISTINCT FROM $1) FROM %s x', r.name)
          INTO n, own, other USING coalesce(tenant, a);
      ELSE
        EXECUTE format('SELECT count(*) FROM %s x', r.name) INTO n;
      END IF;
    EXCEPTION
      WHEN OTHERS THEN said := SQLSTATE;
    END;
    rows := rows || ROW(context, r.name, n, own, other, said)::gate.seen;
  END LOOP;
  ROLLBACK;
  INSERT INTO gate.seen SELECT * FROM unnest(rows);
  COMMIT;
END
$$;
CALL gate.look('a', 'probectl_app', gate.tenant('a'), false);
CALL gate.look('b', 'probectl_app', gate.tenant('b'), false);
CALL gate.look('unbound', 'probectl_app', NULL, false);
CALL gate.look('a, every grant', 'probectl_app', gate.tenant('a'), true);
CALL gate.look('b, every grant', 'probectl_app', gate.tenant('b'), true);
CALL gate.look('unbound, every grant', 'probectl_app', NULL, true);
CALL gate.look('provider', 'probectl_provider', NULL, false);
CALL gate.look('gateway', 'probectl_gateway', NULL, false);
CALL gate.look('ingest', 'probectl_ingest', NULL, false);
CALL gate.look('worker', 'probectl_worker', NULL, false);
CALL gate.look('owner', 'probectl_owner', NULL, false);
CALL gate.look('provider, every grant', 'probectl_provider', NULL, true);

-- Tries to reach over by every kind of change, with every grant, as a tenant's own statements. What is said is the
-- SQLSTATE, or the number of rows.
CREATE FUNCTION gate.attempt(statement text, x uuid, y uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  n bigint;
  said text;
BEGIN
  BEGIN
    EXECUTE statement USING x, y;
    GET DIAGNOSTICS n = ROW_COUNT;
    RAISE EXCEPTION 'undo' USING ERRCODE = 'ZZ000';
  EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN said := n || ' rows';
    WHEN OTHERS THEN
      -- A message that names what b has is a leak as well.
      said := SQLSTATE || CASE WHEN SQLERRM ~ 'leak-of-b' THEN ' LEAK ' || SQLERRM ELSE '' END;
  END;
  RETURN said;
END
$$;
CREATE PROCEDURE gate.reach() LANGUAGE plpgsql AS $$
DECLARE
  r record;
  a uuid := gate.tenant('a');
  b uuid := gate.tenant('b');
  rows gate.seen[] := '{}';
BEGIN
  FOR r IN SELECT * FROM gate.rel LOOP
    EXECUTE format('GRANT ALL ON %s TO probectl_app', r.name);
  END LOOP;
  PERFORM probectl.enter_tenant(a);
  FOR r IN SELECT * FROM gate.rel WHERE tenant AND relkind IN ('r', 'p') ORDER BY name LOOP
    rows := rows || ROW('update of the other', r.name, NULL, NULL, NULL,
      gate.attempt(format('UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = $2', r.name), a, b))::gate.seen;
    rows := rows || ROW('delete of the other', r.name, NULL, NULL, NULL, gate.attempt(format('DELETE FROM %s WHERE tenant_id = $2', r.name), a, b))::gate.seen;
    rows := rows || ROW('move to the other', r.name, NULL, NULL, NULL, gate.attempt(format('UPDATE %s SET tenant_id = $2 WHERE tenant_id = $1', r.name), a, b))::gate.seen;
    rows := rows || ROW('insert for the other', r.name, NULL, NULL, NULL,
      gate.attempt((SELECT format('INSERT INTO %s (%s) SELECT %s FROM (SELECT jsonb_populate_record(x, jsonb_build_object(''tenant_id'', $2)) AS z FROM %s x WHERE x.tenant_id = $1 LIMIT 1) y', r.name, c.list, c.given, r.name)
                      FROM gate.cols c WHERE c.name = r.name), a, b))::gate.seen;
    rows := rows || ROW('truncate', r.name, NULL, NULL, NULL, gate.attempt(format('TRUNCATE %s CASCADE', r.name), a, b))::gate.seen;
    rows := rows || ROW('lock of the other', r.name, NULL, NULL, NULL, gate.attempt(format('SELECT FROM %s WHERE tenant_id = $2 FOR UPDATE', r.name), a, b))::gate.seen;
  END LOOP;
  FOR r IN SELECT * FROM gate.reference LOOP
    rows := rows || ROW('reference to the other', r.rel || '.' || r.col, NULL, NULL, NULL,
      gate.attempt(format('UPDATE %s SET %I = %L WHERE tenant_id = $1; ', r.rel, r.col, r.value), a, b))::gate.seen;
  END LOOP;
  ROLLBACK;
  INSERT INTO gate.seen SELECT * FROM unnest(rows);
  COMMIT;
END
$$;
CALL gate.reach();

-- Calls everything a tenant may call, with b's identifiers; then b's rows are compared. own: b is untouched.
CREATE PROCEDURE gate.calls() LANGUAGE plpgsql AS $$
DECLARE
  c record;
  before text;
  answer text;
  untouched boolean;
  said text;
  rows gate.seen[] := '{}';
BEGIN
  FOR c IN SELECT * FROM gate.call WHERE app ORDER BY function LOOP
    -- A worker may have changed b in the meantime; what the call does it does each time.
    FOR attempt IN 1 .. 3 LOOP
      PERFORM probectl.enter_tenant(gate.tenant('a'));
      answer := NULL;
      before := gate.checksum();
      BEGIN
        EXECUTE c.call INTO answer;
        said := 'answered';
      EXCEPTION
        WHEN OTHERS THEN
          said := SQLSTATE;
          answer := SQLERRM;
      END;
      IF answer ~ 'leak-of-b' THEN
        said := 'LEAK: ' || left(answer, 200);
      END IF;
      untouched := gate.checksum() = before;
      ROLLBACK;
      EXIT WHEN untouched;
    END LOOP;
    rows := rows || ROW('call', c.call, NULL, untouched::integer, NULL, said)::gate.seen;
  END LOOP;
  INSERT INTO gate.seen SELECT * FROM unnest(rows);
  COMMIT;
END
$$;
CALL gate.calls();

-- Every route: with b's identifiers as a principal of a who may do everything, and as one who may do nothing.
CREATE TABLE gate.token (which text, token text);
GRANT SELECT, INSERT ON gate.token TO PUBLIC;
DO $$
DECLARE
  nobody uuid;
BEGIN
  PERFORM probectl.enter_tenant(gate.tenant('a'));
  nobody := probectl.user_create('nobody@example.net', 'Nobody', 'viewer');
  INSERT INTO gate.token VALUES ('nobody', probectl.api_token_create('gate', nobody, '1 hour'));
END
$$;
SET session_replication_role = replica;
DELETE FROM probectl.role_binding x USING probectl.tenant_user u
 WHERE u.tenant_id = x.tenant_id AND u.email = 'nobody@example.net' AND to_jsonb(x) ->> 'user_id' = u.user_id::text;
RESET session_replication_role;
CREATE FUNCTION gate.denials(path text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT count(*) FROM probectl.audit_event e WHERE e.tenant_id = gate.tenant('a') AND e.outcome = 'denied' AND e.target = path $$;
CREATE PROCEDURE gate.routes() LANGUAGE plpgsql AS $$
DECLARE
  r record;
  params jsonb;
  answer record;
  said text;
  before text;
  rows gate.seen[] := '{}';
BEGIN
  FOR r IN SELECT * FROM probectl.api_route ORDER BY path, method LOOP
    SELECT coalesce(jsonb_object_agg(m[1], i.id), '{}') INTO params FROM regexp_matches(r.path, '\{([a-z_]+)\}', 'g') m LEFT JOIN gate.id_of_b i ON i.col = m[1];
    before := gate.checksum();
    -- As somebody who may do everything in a.
    PERFORM probectl.enter_tenant(gate.tenant('a'));
    BEGIN
      SELECT c.status, c.body INTO answer FROM probectl.api_call(r.method, r.path, params, '{}', '{}') c;
      said := answer.status || CASE WHEN answer.body ~ 'leak-of-b' THEN ' LEAK' ELSE '' END;
    EXCEPTION
      WHEN OTHERS THEN said := SQLSTATE || CASE WHEN SQLERRM ~ 'leak-of-b' THEN ' LEAK' ELSE '' END;
    END;
    rows := rows || ROW('route', r.method || ' ' || r.path, (params <> '{}')::integer, (gate.checksum() = before)::integer, (params @> '{}' AND params::text ~ 'null')::integer, said)::gate.seen;
    ROLLBACK;
    -- As somebody who may do nothing: the answer, and how many denials stand in the chain more than before.
    PERFORM probectl.enter_session((SELECT t.token FROM gate.token t WHERE t.which = 'nobody'));
    BEGIN
      SELECT c.status, c.body INTO answer FROM probectl.api_call(r.method, r.path, params, '{}', '{}') c;
      said := answer.status::text;
    EXCEPTION
      WHEN OTHERS THEN said := SQLSTATE;
    END;
    rows := rows || ROW('nobody', r.method || ' ' || r.path, NULL, gate.denials(r.path), NULL, said)::gate.seen;
    ROLLBACK;
  END LOOP;
  INSERT INTO gate.seen SELECT * FROM unnest(rows);
  COMMIT;
END
$$;
CALL gate.routes();

-- Who holds what, one line a grant, to compare with what was agreed.
CREATE VIEW gate.privilege AS
  WITH role AS (SELECT oid, rolname FROM pg_roles WHERE rolname ~ '^probectl_' AND rolname <> 'probectl_owner'
                UNION ALL SELECT 0, 'public')
  SELECT r.rolname || E'\ttable\t' || x.name || E'\t' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type) AS line
    FROM gate.rel x JOIN pg_class c ON c.oid = x.oid, aclexplode(c.relacl) a JOIN role r ON r.oid = a.grantee WHERE NOT x.leaf GROUP BY r.rolname, x.name
  UNION ALL
  SELECT r.rolname || E'\tcolumn\t' || x.name || '.' || t.attname || E'\t' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
    FROM gate.rel x JOIN pg_attribute t ON t.attrelid = x.oid, aclexplode(t.attacl) a JOIN role r ON r.oid = a.grantee GROUP BY r.rolname, x.name, t.attname
  UNION ALL
  SELECT r.rolname || E'\tfunction\t' || p.oid::regprocedure::text || E'\t' || a.privilege_type
    FROM pg_proc p JOIN gate.ours o ON o.schema = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a JOIN role r ON r.oid = a.grantee
  UNION ALL
  SELECT r.rolname || E'\tschema\t' || n.nspname || E'\t' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
    FROM pg_namespace n JOIN gate.ours o ON o.schema = n.oid, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a JOIN role r ON r.oid = a.grantee GROUP BY r.rolname, n.nspname
  UNION ALL
  SELECT r.rolname || E'\tsequence\t' || o.name || '.' || c.relname || E'\t' || a.privilege_type
    FROM pg_class c JOIN gate.ours o ON o.schema = c.relnamespace, aclexplode(c.relacl) a JOIN role r ON r.oid = a.grantee WHERE c.relkind = 'S'
  UNION ALL
  SELECT r.rolname || E'\tmember of\t' || m.roleid::regrole || E'\t' || CASE WHEN m.admin_option THEN 'ADMIN' ELSE 'SET' END
    FROM pg_auth_members m JOIN role r ON r.oid = m.member;
CREATE TABLE gate.agreed (line text);
CREATE TABLE gate.file (line text);
\copy gate.file FROM 'pgtap/privileges.txt' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')
INSERT INTO gate.agreed SELECT line FROM gate.file WHERE line !~ '^#' AND line <> '';

-- ---- judging --------------------------------------------------------------------------------
RESET client_min_messages;
SELECT * FROM no_plan();
SELECT cmp_ok((SELECT count(*) FROM gate.rel WHERE tenant AND relkind IN ('r', 'p') AND NOT leaf), '>=', 18::bigint, 'there are tenant tables to judge');
SELECT cmp_ok((SELECT count(*) FROM gate.rel WHERE leaf), '>', 10::bigint, 'and partitions');

-- The generator reached everything.
SELECT cmp_ok(t.n, '>', 0::bigint, format('%s has rows of %s%s', t.name, t.which,
         coalesce((SELECT ': ' || s.said FROM gate.seen s WHERE s.context = 'fill' AND s.subject = t.name LIMIT 1), '')))
  FROM gate.total t ORDER BY t.name, t.which;
-- Rows were made with foreign keys off: they hold all the same.
DO $$
DECLARE
  k record;
  n bigint;
BEGIN
  FOR k IN SELECT c.*, f.name AS here, t.name AS there FROM pg_constraint c JOIN gate.rel f ON f.oid = c.conrelid JOIN gate.rel t ON t.oid = c.confrelid WHERE c.contype = 'f' AND c.conparentid = 0 LOOP
    EXECUTE (SELECT format('SELECT count(*) FROM %s x WHERE %s AND NOT EXISTS (SELECT FROM %s y WHERE %s)', k.here, string_agg(format('x.%I IS NOT NULL', a.attname), ' AND '), k.there,
                           string_agg(format('x.%I = y.%I', a.attname, b.attname), ' AND '))
               FROM unnest(k.conkey, k.confkey) u (h, t) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.h JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.t) INTO n;
    INSERT INTO gate.seen (context, subject, n) VALUES ('foreign key', k.here || ' ' || k.conname, n);
  END LOOP;
END
$$;
SELECT is(s.n, 0::bigint, format('%s holds for the rows made', s.subject)) FROM gate.seen s WHERE s.context = 'foreign key' ORDER BY s.subject;

-- The catalog: what every tenant table is like.
SELECT ok(r.relrowsecurity AND r.relforcerowsecurity, format('%s: row-level security is on and forced', r.name)) FROM gate.rel r WHERE r.tenant AND r.relkind IN ('r', 'p') ORDER BY r.name;
SELECT is((SELECT string_agg(p.polname || ' ' || p.polcmd::text || ' ' || p.polpermissive::text || ' ' || coalesce((SELECT string_agg(x::regrole::text, ',') FROM unnest(p.polroles) x WHERE x <> 0), 'all')
                             || ' ' || pg_get_expr(p.polqual, p.polrelid) || coalesce(' ' || pg_get_expr(p.polwithcheck, p.polrelid), ''), E'\n' ORDER BY p.polname)
             FROM pg_policy p WHERE p.polrelid = r.oid AND p.polpermissive),
          'tenant_isolation * true all (tenant_id = probectl.current_tenant())'
          || CASE WHEN r.name ~ '^probectl\.ledger(_[0-9]{8})?$' THEN E'\nworker_reads r true probectl_worker true' ELSE '' END,
          format('%s: one policy lets rows through, and it is the tenant''s', r.name))
  FROM gate.rel r WHERE r.tenant AND r.relkind IN ('r', 'p') ORDER BY r.name;
SELECT ok((SELECT a.attnotnull AND a.atttypid = 'uuid'::regtype FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = 'tenant_id'), format('%s: tenant_id is a uuid and not null', r.name))
  FROM gate.rel r WHERE r.tenant AND r.relkind IN ('r', 'p') ORDER BY r.name;
-- tenant.slug tells tenants apart, so it cannot be unique inside one.
SELECT is((SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum = i.indkey[0]), 'tenant_id', format('%s: unique key %s starts with tenant_id', r.name, i.indexrelid::regclass))
  FROM gate.rel r JOIN pg_index i ON i.indrelid = r.oid WHERE r.tenant AND i.indisunique AND i.indexrelid::regclass::text <> 'probectl.tenant_slug_key' ORDER BY r.name, i.indexrelid::regclass::text;
SELECT ok(k.conkey[1] = (SELECT attnum FROM pg_attribute WHERE attrelid = k.conrelid AND attname = 'tenant_id')
          AND k.confkey[1] = (SELECT attnum FROM pg_attribute WHERE attrelid = k.confrelid AND attname = 'tenant_id'),
          format('%s: foreign key %s carries the tenant', f.name, k.conname))
  FROM pg_constraint k JOIN gate.rel f ON f.oid = k.conrelid JOIN gate.rel t ON t.oid = k.confrelid WHERE k.contype = 'f' AND k.conparentid = 0 AND t.tenant AND f.tenant ORDER BY f.name, k.conname;
SELECT is((SELECT count(*) FROM gate.rel r WHERE r.relkind IN ('m', 'f')), 0::bigint, 'no materialized view and no foreign table: they have no policies');
SELECT is((SELECT string_agg(r.name, ' ') FROM gate.rel r WHERE r.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (r.reloptions) OR 'security_invoker=on' = ANY (r.reloptions), false)),
          NULL, 'every view runs with the rights of who asks');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc p JOIN gate.ours o ON o.schema = p.pronamespace
            WHERE p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=pg_catalog, pg_temp')), NULL, 'every security definer function pins its search_path');
SELECT is((SELECT string_agg(DISTINCT p.proowner::regrole::text, ' ') FROM pg_proc p JOIN gate.ours o ON o.schema = p.pronamespace), 'probectl_owner', 'functions belong to probectl_owner');
SELECT is((SELECT string_agg(DISTINCT c.relowner::regrole::text, ' ') FROM pg_class c JOIN gate.ours o ON o.schema = c.relnamespace), 'probectl_owner', 'so do relations, partitions as well');
SELECT is((SELECT string_agg(r.rolname, ' ') FROM pg_roles r WHERE r.rolname ~ '^probectl_' AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolinherit)), NULL, 'no role has powers');
SELECT is((SELECT string_agg(r.name, ' ') FROM gate.rel r JOIN pg_class c ON c.oid = r.oid, aclexplode(c.relacl) a WHERE r.leaf AND a.grantee <> c.relowner), NULL, 'partitions are granted to nobody');

SELECT is((SELECT string_agg(p.line, E'\n') FROM gate.privilege p WHERE p.line ~ E'\tprobectl_internal\\.tenant_registry'), NULL, 'the registry of tenants is granted to nobody');

-- Who sees what.
SELECT ok(s.said = '42501' OR (s.other = 0 AND s.own >= t.n), format('bound to %s, %s shows %s', t.which, s.subject, coalesce('nothing: ' || s.said, s.own || ' own of ' || t.n || ' and ' || s.other || ' others')))
  FROM gate.seen s JOIN gate.total t ON t.name = s.subject AND t.which = left(s.context, 1) WHERE s.context IN ('a', 'b', 'a, every grant', 'b, every grant') ORDER BY s.context, s.subject;
SELECT ok(s.said = '42501' OR s.other = 0, format('%s: the view %s shows no other', s.context, s.subject))
  FROM gate.seen s JOIN gate.rel r ON r.name = s.subject WHERE r.relkind = 'v' AND r.tenant AND s.context IN ('a', 'b', 'a, every grant', 'b, every grant') ORDER BY s.context, s.subject;
SELECT is((SELECT count(*) FROM gate.seen s JOIN gate.rel r ON r.name = s.subject WHERE s.context = 'a, every grant' AND r.tenant AND s.said IS NOT NULL), 0::bigint, 'with every grant, every tenant table could be read');
SELECT ok(coalesce(s.n, 0) = 0 AND coalesce(s.said, '42501') = '42501', format('%s: %s shows nothing', s.context, s.subject))
  FROM gate.seen s JOIN gate.rel r ON r.name = s.subject
 WHERE r.tenant AND (s.context IN ('unbound', 'unbound, every grant', 'provider', 'provider, every grant', 'gateway', 'ingest', 'owner')
                     OR s.context = 'worker' AND s.subject <> 'probectl.ledger') ORDER BY s.context, s.subject;
SELECT cmp_ok((SELECT s.n FROM gate.seen s WHERE s.context = 'worker' AND s.subject = 'probectl.ledger'), '>=', 2::bigint, 'the worker follows the ledger of every tenant');

-- Who changes what.
SELECT ok(s.said = '0 rows' OR s.said ~ '^(42501|PC4[0-9][0-9])$', format('%s: %s: %s', s.context, s.subject, s.said))
  FROM gate.seen s WHERE s.context IN ('update of the other', 'delete of the other', 'lock of the other') ORDER BY s.context, s.subject;
-- The policy, a trigger that keeps the row's identity, or the partition's own bounds refuse; rows are never changed.
SELECT ok(s.said ~ '^(42501|PC4[0-9][0-9])$', format('%s: %s: %s', s.context, s.subject, s.said)) FROM gate.seen s WHERE s.context IN ('move to the other', 'insert for the other') ORDER BY s.context, s.subject;
SELECT is(s.said, 'PC403', format('%s: %s', s.context, s.subject)) FROM gate.seen s WHERE s.context = 'truncate' ORDER BY s.subject;
SELECT ok(s.said ~ '^(23503|23514|PC4[0-9][0-9])$', format('%s: %s: %s', s.context, s.subject, s.said)) FROM gate.seen s WHERE s.context = 'reference to the other' ORDER BY s.subject;
SELECT cmp_ok((SELECT count(*) FROM gate.seen WHERE context = 'reference to the other'), '>', 8::bigint, 'references were tried');

-- What functions do for it.
SELECT ok(s.said !~ 'LEAK' AND s.own = 1, format('call by a leaves b alone: %s: %s', regexp_replace(s.subject, '^SELECT .* FROM (.*) x$', '\1'), s.said)) FROM gate.seen s WHERE s.context = 'call' ORDER BY s.subject;
SELECT is((SELECT string_agg(DISTINCT c.function, ' ') FROM gate.call c WHERE c.app AND NOT EXISTS (SELECT FROM gate.seen s WHERE s.context = 'call' AND s.subject = c.call)), NULL, 'every function the tenant may call was called');
SELECT cmp_ok((SELECT count(*) FROM gate.seen WHERE context = 'call' AND said = 'answered'), '>', 20::bigint, 'and many of them answered');

-- Routes: each is covered, asks for its permission, and knows b's things as little as anything.
SELECT is(s.other, 0::bigint, format('%s: its parameters are known here', s.subject)) FROM gate.seen s WHERE s.context = 'route' ORDER BY s.subject;
SELECT ok(s.said !~ 'LEAK' AND s.own = 1 AND (s.n = 0 OR s.said ~ '^PC4(04|22)$'), format('%s with what b has: %s', s.subject, s.said)) FROM gate.seen s WHERE s.context = 'route' ORDER BY s.subject;
SELECT is((SELECT string_agg(r.method || ' ' || r.path, ', ' ORDER BY r.path, r.method) FROM probectl.api_route r WHERE r.permission IS NULL), 'GET /v1/me', 'routes that ask for no permission');
SELECT is(s.said, '403', format('%s is denied to who may do nothing', s.subject)) FROM gate.seen s JOIN probectl.api_route r ON r.method || ' ' || r.path = s.subject
 WHERE s.context = 'nobody' AND r.permission IS NOT NULL ORDER BY s.subject;
SELECT cmp_ok(s.own, '>', 0::bigint, format('%s: the denial is in the chain', s.subject)) FROM gate.seen s JOIN probectl.api_route r ON r.method || ' ' || r.path = s.subject
 WHERE s.context = 'nobody' AND r.permission IS NOT NULL ORDER BY s.subject;
SELECT is((SELECT count(*) FROM gate.seen s WHERE s.context = 'route'), (SELECT count(*) FROM probectl.api_route), 'every route was called');

-- Privileges: exactly what was agreed. A line that is right goes into test/pgtap/privileges.txt, and that change is read by somebody.
SELECT is((SELECT string_agg('+ ' || line, E'\n' ORDER BY line) FROM (SELECT line FROM gate.privilege EXCEPT SELECT line FROM gate.agreed) x), NULL, 'nothing is granted that privileges.txt does not hold');
SELECT is((SELECT string_agg('- ' || line, E'\n' ORDER BY line) FROM (SELECT line FROM gate.agreed EXCEPT SELECT line FROM gate.privilege) x), NULL, 'everything privileges.txt holds is granted');
SELECT is((SELECT string_agg(a.line, E'\n') FROM gate.agreed a WHERE a.line ~ '^public'), NULL, 'PUBLIC is granted nothing');
SELECT is((SELECT string_agg(a.line, E'\n') FROM gate.agreed a WHERE a.line ~ '^probectl_provider' AND a.line ~ E'\ttable\t'), NULL, 'the provider''s role reads no table');
SELECT * FROM finish();
