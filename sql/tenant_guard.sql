-- SPDX-License-Identifier: PostgreSQL
--
-- What a bound transaction may not do: carry rows past its end, or look around them.
\set VERBOSITY terse
SELECT probectl.tenant_create('guard-a', 'Guard A') AS a \gset
SELECT probectl.tenant_create('guard-b', 'Guard B') AS b \gset
BEGIN;
SELECT FROM probectl.enter_tenant(:'b');
INSERT INTO probectl.test (name, type, target) VALUES ('secret of b', 'icmp', 'b.example.net');
COMMIT;
-- Objects that are there before.
CREATE TABLE regress.outside (t text);
GRANT ALL ON regress.outside TO PUBLIC;
CREATE SEQUENCE regress.counter;
GRANT ALL ON SEQUENCE regress.counter TO PUBLIC;
SELECT nextval('regress.counter');
PREPARE before AS SELECT name FROM probectl.test ORDER BY name;

-- Each statement in a transaction bound to a, as a statement, inside DO, in EXECUTE, and under an exception block.
CREATE FUNCTION regress.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
BEGIN
  BEGIN
    EXECUTE statement;
    said := 'allowed';
    RAISE EXCEPTION 'undo' USING ERRCODE = 'ZZ000';
  EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN NULL;
    WHEN OTHERS THEN said := SQLSTATE || ' ' || SQLERRM;
  END;
  RETURN said;
END
$$;
CREATE TABLE regress.statement (i serial, what text);
GRANT SELECT ON regress.statement TO PUBLIC;
INSERT INTO regress.statement (what) VALUES
  ('SELECT count(*) FROM probectl.test'),
  ('CREATE TEMP TABLE t AS SELECT * FROM probectl.test'),
  ('SELECT * INTO TEMP t FROM probectl.test'),
  ('CREATE TABLE regress.t (x int)'),
  ('CREATE VIEW regress.v AS SELECT 1'),
  ('CREATE MATERIALIZED VIEW regress.v AS SELECT 1'),
  ('CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''SELECT 1'''),
  ('CREATE SCHEMA regress_probectl_s'),
  ('CREATE ROLE regress_probectl_r'),
  ('ALTER TABLE probectl.test DISABLE ROW LEVEL SECURITY'),
  ('ALTER TABLE probectl.test NO FORCE ROW LEVEL SECURITY'),
  ('DROP POLICY tenant_isolation ON probectl.test'),
  ('CREATE POLICY more ON probectl.test USING (true)'),
  ('GRANT SELECT ON probectl.test TO PUBLIC'),
  ('COMMENT ON TABLE probectl.test IS ''x'''),
  ('TRUNCATE probectl.test'),
  ('LOCK TABLE probectl.test'),
  ('ANALYZE probectl.test'),
  ('CLUSTER probectl.test'),
  ('REINDEX TABLE probectl.test'),
  ('DISCARD PLANS'),
  ('LISTEN probectl_event'),
  ('UNLISTEN *'),
  ('NOTIFY probectl_event, ''x'''),
  ('SELECT pg_notify(''probectl_event'', ''x'')'),
  ('EXPLAIN SELECT * FROM probectl.test'),
  ('EXPLAIN ANALYZE SELECT * FROM probectl.test'),
  ('SET ROLE probectl_owner'),
  ('SET LOCAL ROLE NONE'),
  ('SET LOCAL "role" = ''none'''),
  ('RESET ROLE'),
  ('SET SESSION AUTHORIZATION DEFAULT'),
  ('SET LOCAL SESSION AUTHORIZATION DEFAULT'),
  ('RESET SESSION AUTHORIZATION'),
  ('SELECT set_config(''role'', ''none'', true)'),
  ('SELECT set_config(''search_path'', ''x'', false)'),
  ('SET LOCAL row_security = off'),
  ('SET LOCAL session_replication_role = replica'),
  ('SET LOCAL search_path = public'),
  ('SET work_mem = ''8MB'''),
  ('SET LOCAL work_mem = ''8MB'''),
  ('RESET work_mem'),
  ('RESET ALL'),
  ('SET LOCAL probectl.clock = ''2100-01-01T00:00:00Z'''),
  -- A plan that is printed is an EXPLAIN: it holds the planner's estimates of everybody's rows.
  ('SET LOCAL client_min_messages = log'),
  ('SET LOCAL debug_print_plan = on'),
  ('SET LOCAL debug_print_parse = on'),
  ('SET LOCAL debug_print_rewritten = on'),
  ('COPY regress.outside FROM ''/etc/passwd'''),
  ('COPY regress.outside FROM PROGRAM ''id'''),
  ('COPY probectl.test TO ''/tmp/regress_probectl.out'''),
  ('COPY probectl.test TO PROGRAM ''cat'''),
  ('COPY (SELECT * FROM probectl.test) TO PROGRAM ''cat'''),
  ('PREPARE p AS SELECT 1'),
  ('DEALLOCATE before'),
  ('SELECT FROM pg_class'),
  ('SELECT FROM pg_catalog.pg_statistic'),
  ('SELECT FROM pg_stats'),
  ('SELECT FROM pg_stats_ext'),
  ('SELECT FROM pg_stat_activity'),
  ('SELECT FROM pg_stat_user_tables'),
  ('SELECT FROM pg_locks'),
  ('SELECT FROM pg_settings'),
  ('SELECT FROM pg_cursors'),
  ('SELECT FROM pg_prepared_statements'),
  ('SELECT FROM pg_roles'),
  ('SELECT FROM pg_authid'),
  ('SELECT FROM pg_database'),
  ('SELECT FROM information_schema.tables'),
  ('SELECT 1 WHERE EXISTS (SELECT FROM pg_class)'),
  ('WITH c AS (SELECT reltuples FROM pg_class) SELECT FROM c'),
  ('SELECT ARRAY(SELECT reltuples FROM pg_class)'),
  ('SELECT relname FROM probectl.test LEFT JOIN pg_class ON false'),
  ('DELETE FROM probectl.test USING pg_class WHERE relname = name'),
  ('SELECT obj_description(''probectl.test''::regclass)'),
  ('SELECT lo_create(4711)'),
  ('SELECT lo_from_bytea(0, ''x'')'),
  ('SELECT lo_get(4711)'),
  ('SELECT lo_creat(-1)'),
  ('SELECT loread(0, 1)'),
  ('SELECT pg_advisory_lock(1)'),
  ('SELECT pg_advisory_xact_lock(1)'),
  ('SELECT pg_try_advisory_lock(1)'),
  ('SELECT pg_advisory_unlock_all()'),
  ('SELECT pg_relation_size(''probectl.test'')'),
  ('SELECT pg_total_relation_size(''probectl.test'')'),
  ('SELECT pg_table_size(''probectl.test'')'),
  ('SELECT pg_indexes_size(''probectl.test'')'),
  ('SELECT pg_database_size(current_database())'),
  ('SELECT pg_stat_get_live_tuples(''probectl.test''::regclass)'),
  ('SELECT pg_stat_get_activity(NULL)'),
  ('SELECT pg_stat_file(''PG_VERSION'')'),
  ('SELECT pg_read_file(''probectl.key'')'),
  ('SELECT pg_ls_dir(''.'')'),
  ('SELECT pg_get_viewdef(''pg_stats''::regclass)'),
  ('SELECT pg_export_snapshot()'),
  ('SELECT pg_cancel_backend(0)'),
  ('SELECT pg_terminate_backend(0)'),
  ('SELECT nextval(''regress.counter'')'),
  ('SELECT currval(''regress.counter'')'),
  ('SELECT lastval()'),
  ('SELECT setval(''regress.counter'', 1)'),
  ('SELECT pg_sequence_last_value(''regress.counter''::regclass)'),
  ('SELECT query_to_xml(''SELECT 1'', true, true, '''')'),
  ('SELECT table_to_xml(''probectl.test'', true, true, '''')'),
  ('SELECT database_to_xml(true, true, '''')'),
  ('SELECT currtid2(''probectl.test'', ''(0,1)'')'),
  ('SELECT pg_current_wal_lsn()'),
  ('SELECT pg_current_wal_insert_lsn()'),
  ('SELECT pg_last_committed_xact()'),
  ('SELECT pg_xact_status(''3'')'),
  ('SELECT pg_blocking_pids(1)'),
  ('SELECT pg_logical_emit_message(true, ''x'', ''y'')'),
  ('SELECT pg_current_snapshot()'),
  ('SELECT txid_current_snapshot()'),
  ('SELECT probectl_internal.tenant_bind(''00000000-0000-4000-8000-000000000000'')'),
  ('SELECT probectl_internal.audit_append(''x'', ''x'', ''ok'', ''{}'')'),
  ('SELECT probectl_internal.partitions_keep()'),
  ('SELECT probectl_internal.worker_count()'),
  ('SELECT FROM probectl.workers()'),
  ('SELECT probectl.worker_wake()'),
  ('SELECT FROM probectl.enter_tenant(''00000000-0000-4000-8000-000000000000'')'),
  ('SELECT FROM probectl.tenant_create(''x'', ''x'')'),
  ('SELECT FROM probectl.tenant_list()'),
  ('SELECT FROM probectl.credential'),
  ('SELECT FROM probectl.agent_certificate'),
  ('SELECT FROM probectl_internal.certificate_authority'),
  ('SELECT FROM probectl_internal.provider_audit_event'),
  ('SELECT FROM probectl_internal.worker_cursor'),
  ('INSERT INTO probectl.audit_event SELECT * FROM probectl.audit_event'),
  ('UPDATE probectl.audit_event SET actor = ''me'''),
  ('DELETE FROM probectl.audit_event'),
  ('UPDATE probectl.audit_head SET seq = 0'),
  ('INSERT INTO probectl.result SELECT * FROM probectl.result'),
  ('DELETE FROM probectl.ledger'),
  ('UPDATE probectl.tenant SET status = ''active'''),
  ('INSERT INTO probectl.api_route SELECT * FROM probectl.api_route');
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT s.what, regress.try(s.what) FROM regress.statement s ORDER BY s.i;
ROLLBACK;
-- What is refused, is refused however it is wrapped.
CREATE FUNCTION regress.wrap(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DO %L', format('BEGIN EXECUTE %L; END', statement));
  RETURN regress.try(format('DO %L', format('BEGIN BEGIN PERFORM 1; EXECUTE %L; EXCEPTION WHEN division_by_zero THEN NULL; END; END', statement)));
EXCEPTION
  WHEN OTHERS THEN
    RETURN regress.try(format('DO %L', format('BEGIN BEGIN PERFORM 1; EXECUTE %L; EXCEPTION WHEN division_by_zero THEN NULL; END; END', statement)));
END
$$;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT s.what, regress.try(s.what) AS plain, regress.wrap(s.what) AS wrapped FROM regress.statement s
 WHERE regress.try(s.what) IS DISTINCT FROM regress.wrap(s.what) ORDER BY s.i;
ROLLBACK;

-- Cursors: held ones would outlive the tenant, others may be used.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SAVEPOINT s;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM probectl.test;
ROLLBACK TO s;
DECLARE plain SCROLL CURSOR FOR SELECT name FROM probectl.test;
FETCH ALL FROM plain;
MOVE FIRST FROM plain;
CLOSE plain;
-- A plan made before is planned for who asks.
EXECUTE before;
SHOW probectl.clock;
COPY (SELECT name FROM probectl.test) TO STDOUT;
COPY probectl.test (name) TO STDOUT;
SAVEPOINT s;
COPY pg_class TO STDOUT;
ROLLBACK TO s;
COPY regress.outside FROM STDIN;
\.
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_tenant(:'b');
EXECUTE before;
COPY probectl.test (name) TO STDOUT;
COMMIT;
-- A transaction that was bound cannot be prepared.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
PREPARE TRANSACTION 'regress_probectl';
ROLLBACK;
-- Rolled back to before it was bound, it is still judged.
BEGIN;
SAVEPOINT s;
SELECT FROM probectl.enter_tenant(:'a');
ROLLBACK TO s;
CREATE TEMP TABLE carried (x int);
ROLLBACK;
-- Unbound, nothing of this is our business.
CREATE TEMP TABLE free (x int);
EXPLAIN (COSTS off) SELECT 1;
DROP TABLE free;

-- Functions that look at rows before the policy did: a cheap, chatty one that anybody may call.
CREATE FUNCTION regress.chatty(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
  RAISE NOTICE 'saw %', t;
  RETURN true;
END
$$;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
INSERT INTO probectl.test (name, type, target) VALUES ('own of a', 'icmp', 'a.example.net');
SELECT name FROM probectl.test WHERE regress.chatty(name);
-- Errors speak of own rows only: a cast, a division, a comparison with what is not a number.
SAVEPOINT s;
SELECT name::integer FROM probectl.test;
ROLLBACK TO s;
SELECT count(*) FROM probectl.test WHERE name::integer > 0 AND name ~ 'secret';
ROLLBACK TO s;
SELECT 1 / (CASE WHEN name ~ 'secret' THEN 0 ELSE 1 END) FROM probectl.test;
-- The name that b has is free; a's own is taken, and only a's is said.
INSERT INTO probectl.test (name, type, target) VALUES ('secret of b', 'icmp', 'x');
\set VERBOSITY default
\set SHOW_CONTEXT never
SAVEPOINT s;
INSERT INTO probectl.test (name, type, target) VALUES ('own of a', 'icmp', 'x') ON CONFLICT (tenant_id, name) DO NOTHING;
INSERT INTO probectl.test (tenant_id, name, type, target) VALUES (:'b', 'from a', 'icmp', 'x');
ROLLBACK TO s;
INSERT INTO probectl.test (tenant_id, name, type, target) VALUES (:'b', 'secret of b', 'icmp', 'x');
ROLLBACK TO s;
UPDATE probectl.test SET tenant_id = :'b';
ROLLBACK TO s;
UPDATE probectl.test SET name = 'taken over' WHERE tenant_id = :'b';
DELETE FROM probectl.test WHERE tenant_id = :'b';
SELECT name FROM probectl.test WHERE tenant_id = :'b' FOR UPDATE;
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*) FROM (SELECT FROM probectl.test WHERE tenant_id = :'b' FOR SHARE) x;
ROLLBACK;
DROP TABLE regress.outside, regress.statement;
DROP SEQUENCE regress.counter;
DROP FUNCTION regress.try(text), regress.wrap(text), regress.chatty(text);
