-- SPDX-License-Identifier: PostgreSQL
--
-- What everything else stands on: identifiers, the clock, partitions, workers, and a database that can be dropped.
-- Waits are for published state, with a deadline.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
-- Another database with the extension and running workers; its turn comes at the end.
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_probectl_other;
DROP DATABASE IF EXISTS regress_probectl_copy;
DROP DATABASE IF EXISTS regress_probectl_renamed;
CREATE DATABASE regress_probectl_other;
\c regress_probectl_other
CREATE EXTENSION probectl;
DO $$
DECLARE
  deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  WHILE (SELECT count(*) FROM probectl.workers() w WHERE w.state = 'running') < 3 LOOP
    IF clock_timestamp() > deadline THEN RAISE EXCEPTION 'the workers of the other database did not start'; END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END
$$;
\c :home
SET client_min_messages = warning;
CREATE SCHEMA core;
-- True as soon as the query is; false after 30 s.
CREATE FUNCTION core.comes_true(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  deadline timestamptz := clock_timestamp() + interval '30 s';
  yes boolean;
BEGIN
  LOOP
    PERFORM pg_stat_clear_snapshot();
    EXECUTE query INTO yes;
    IF yes THEN
      RETURN true;
    ELSIF clock_timestamp() > deadline THEN
      RETURN false;
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END
$$;
-- What a role is told: ok, or the SQLSTATE.
CREATE FUNCTION core.said(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  EXECUTE statement;
  RESET ROLE;
  RETURN 'ok';
EXCEPTION
  WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
RESET client_min_messages;
SELECT * FROM no_plan();

-- Identifiers: RFC 9562 version 7, increasing, of now.
CREATE TEMP TABLE made AS SELECT i, probectl.uuid_v7() AS id FROM generate_series(1, 20000) i;
SELECT is((SELECT count(DISTINCT id) FROM made), 20000::bigint, '20000 identifiers are 20000 identifiers');
SELECT is((SELECT count(*) FROM made a JOIN made b ON b.i = a.i + 1 WHERE b.id <= a.id), 0::bigint, 'each is greater than the one before');
SELECT is((SELECT count(*) FROM made WHERE substr(id::text, 15, 1) <> '7' OR substr(id::text, 20, 1) !~ '[89ab]'), 0::bigint, 'version 7, variant 10');
SELECT ok((SELECT abs(('x' || lpad(replace(left(id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint - extract(epoch FROM clock_timestamp()) * 1000) < 60000 FROM made WHERE i = 20000),
          'the first 48 bits are the time in milliseconds');
SET probectl.clock = '2001-02-03T04:05:06Z';
SELECT cmp_ok((SELECT probectl.uuid_v7()), '>', (SELECT id FROM made ORDER BY id DESC LIMIT 1), 'a clock that goes back makes no smaller identifier');

-- The clock.
SELECT is(probectl.clock_now(), '2001-02-03 04:05:06+00'::timestamptz, 'the clock stands where it was put');
SET probectl.clock = '2001-02-03T04:05:06.789Z';
SELECT is(probectl.clock_now(), '2001-02-03 04:05:06.789+00'::timestamptz, 'to the millisecond');
SET timezone = 'Asia/Tokyo';
SET probectl.clock = '2001-02-03T04:05:07Z';
SELECT is(probectl.clock_now(), '2001-02-03 04:05:07+00'::timestamptz, 'whatever the session''s zone');
RESET timezone;
SELECT throws_ok(format('SET probectl.clock = %L', t), '22023', NULL, format('no time: %s', t))
  FROM unnest(ARRAY['yesterday', '2001-02-03', '2001-13-03T04:05:06Z', '2001-02-32T04:05:06Z', '2001-02-03T24:05:06Z', '2001-02-03T04:60:06Z', '2001-02-03T04:05:60Z',
                    '2001-02-03T04:05:06', '2001-02-03T04:05:06+01', '2001-02-03T04:05:06Z ', '2001-02-30T04:05:06Z', '2001-00-03T04:05:06Z', '0001-01-01T00:00:-1Z']) t;
RESET probectl.clock;
SELECT ok(abs(extract(epoch FROM probectl.clock_now() - clock_timestamp())) < 5, 'without it, it is the real one');
SELECT is(core.said('probectl_app', 'SET LOCAL probectl.clock = ''2001-02-03T04:05:06Z'''), '42501', 'a tenant does not turn the clock');

-- Partitions: from the retention limit to some days ahead, each as guarded as its parent; what is older goes.
CREATE VIEW core.day AS
  SELECT i.inhparent::regclass::text AS parent, to_date(right(c.relname, 8), 'YYYYMMDD') AS day, c.oid, c.relrowsecurity AND c.relforcerowsecurity AS guarded
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent IN ('probectl.result'::regclass, 'probectl.ledger'::regclass) AND c.relkind = 'r';
SELECT is(probectl_internal.partitions_keep(), 0, 'all are there');
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:00:00Z';
SELECT cmp_ok(probectl_internal.partitions_keep(), '>', 30, 'ninety years later all are new and the old go');
SELECT is(array_agg(d.day ORDER BY d.day), ARRAY(SELECT g::date FROM generate_series('2100-01-01'::date, '2100-01-17'::date, interval '1 day') g), format('%s: 14 days back, 2 ahead', d.parent))
  FROM core.day d GROUP BY d.parent ORDER BY d.parent;
SELECT is(probectl_internal.partitions_keep(), 0, 'done twice, nothing to do');
INSERT INTO probectl.result (tenant_id, test_id, agent_id, started_at, received_at, result_id, type, target, port, transport, protocol, success, error_type, error, duration_us, metrics, attributes)
  SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), d, d, gen_random_uuid(), 'icmp', '', 0, '', '', true, '', '', 0, '{}', '{}'
    FROM unnest(ARRAY['2100-01-01 00:00:00+00', '2100-01-01 23:59:59.999999+00', '2100-01-02 00:00:00+00', '2100-01-17 23:59:59.999999+00']::timestamptz[]) d;
SELECT throws_ok($$INSERT INTO probectl.result (tenant_id, test_id, agent_id, started_at, received_at, result_id, type, target, port, transport, protocol, success, error_type, error, duration_us, metrics, attributes)
  SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '2100-01-18 00:00:00+00', now(), gen_random_uuid(), 'icmp', '', 0, '', '', true, '', '', 0, '{}', '{}'$$, '23514', NULL, 'a day is a day of UTC');
-- One day on: one more ahead, one less behind, and its rows with it.
SET LOCAL probectl.clock = '2100-01-16T00:00:00Z';
SELECT is(probectl_internal.partitions_keep(), 4, 'a day later: one made and one dropped of each');
SELECT is((SELECT count(*) FROM probectl.result), 2::bigint, 'the rows of the dropped day are gone, the others stay');
SELECT is((SELECT string_agg(DISTINCT d.guarded::text, ',') FROM core.day d), 'true', 'row-level security is on and forced on each');
SELECT is((SELECT count(*) FROM core.day d WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = d.oid AND p.polname = 'tenant_isolation')), 0::bigint, 'and each has the policy');
SELECT is((SELECT count(*) FROM core.day d JOIN pg_depend x ON x.classid = 'pg_class'::regclass AND x.objid = d.oid AND x.deptype = 'e'), 0::bigint, 'no partition is a member of the extension: it can go');
SELECT is((SELECT string_agg(DISTINCT c.relowner::regrole::text, ',') FROM core.day d JOIN pg_class c ON c.oid = d.oid), 'probectl_owner', 'all belong to probectl_owner');
SELECT is((SELECT string_agg(g.tgname, ',') FROM pg_trigger g WHERE g.tgrelid IN (SELECT oid FROM core.day) OR g.tgrelid IN ('probectl.result'::regclass, 'probectl.ledger'::regclass)), NULL,
          'no trigger on them, which rows that are appended (core/append.c) would pass by');
ROLLBACK;
-- The worker's role may do it, and nothing more than that.
SELECT is(core.said('probectl_worker', 'SELECT probectl_internal.partitions_keep()'), 'ok', 'the worker''s role keeps partitions');
SELECT is(core.said('probectl_worker', 'SELECT probectl_internal.partition_create(''result'', ''2200-01-01'')'), '42501', 'but makes none by itself');
-- A dropped partition comes back by itself: the keeper's next pass makes it.
ALTER SYSTEM SET probectl.keeper_interval = '1s';
SELECT pg_reload_conf() AS reloaded \gset
SELECT format('probectl.result_%s', to_char(now() AT TIME ZONE 'UTC' + interval '2 days', 'YYYYMMDD')) AS last_day \gset
DROP TABLE :last_day;
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM pg_class WHERE oid::regclass::text = %L)', :'last_day')), 'the keeper makes what is missing');
-- Each tenant gets all of its upkeep, whatever another's fails with.
SELECT w.pid AS keeper FROM probectl.workers() w WHERE w.name = 'keeper' \gset
CREATE TABLE core.unlucky (tenant_id uuid);
CREATE FUNCTION core.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM core.unlucky u WHERE u.tenant_id = NEW.tenant_id) THEN
    RAISE EXCEPTION 'refused for the test';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON probectl.audit_checkpoint FOR EACH ROW EXECUTE FUNCTION core.refuse();
BEGIN;
SELECT probectl.tenant_create('kept-first', 'Kept first') AS first \gset
INSERT INTO core.unlucky VALUES (:'first');
COMMIT;
SELECT probectl.tenant_create('kept-next', 'Kept next') AS next \gset
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM probectl.audit_checkpoint WHERE tenant_id = %L)', :'next')), 'a tenant is kept although another''s upkeep fails');
SELECT ok(NOT EXISTS (SELECT FROM probectl.audit_checkpoint WHERE tenant_id = :'first'), 'which leaves nothing half done');
SELECT ok(EXISTS (SELECT FROM probectl.workers() w WHERE w.name = 'keeper' AND w.pid = :keeper), 'and is no reason to start again');
DROP TRIGGER refuse ON probectl.audit_checkpoint;
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM probectl.audit_checkpoint WHERE tenant_id = %L)', :'first')), 'a later pass makes up for it');
-- Old events go when somebody wants that, and are kept until then. The checkpoint is to be older than the keeper's would be.
ALTER SYSTEM RESET probectl.keeper_interval;
SELECT pg_reload_conf() AS reloaded \gset
SET probectl.clock = '2020-01-01T00:00:00Z';
SELECT probectl.tenant_create('kept-old', 'Kept old') AS old_tenant \gset
BEGIN;
SELECT probectl_internal.tenant_bind(:'old_tenant') \g /dev/null
SELECT probectl.audit_checkpoint() > 0 AS made \gset
COMMIT;
RESET probectl.clock;
SELECT ok(:'made', 'a chain of long ago');
ALTER SYSTEM SET probectl.keeper_interval = '1s';
SELECT pg_reload_conf() AS reloaded \gset
SELECT w.passes + 2 AS later FROM probectl.workers() w WHERE w.name = 'keeper' \gset
SELECT ok(core.comes_true(format('SELECT passes >= %s FROM probectl.workers() WHERE name = ''keeper''', :later)), 'the keeper comes by');
SELECT ok(NOT EXISTS (SELECT FROM probectl.audit_event WHERE tenant_id = :'old_tenant' AND action = 'audit.prune'), 'audit events are kept for ever');
ALTER SYSTEM SET probectl.audit_retention = 30;
SELECT pg_reload_conf() AS reloaded \gset
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM probectl.audit_event WHERE tenant_id = %L AND action = ''audit.prune'')', :'old_tenant')), 'unless a setting says for how long');
ALTER SYSTEM RESET probectl.audit_retention;
ALTER SYSTEM RESET probectl.keeper_interval;
SELECT pg_reload_conf() AS reloaded \gset

-- Workers: they run, they make passes, they come back when they are ended, another's death does not matter to them.
SELECT ok(core.comes_true('SELECT count(*) = 3 FROM probectl.workers() WHERE state = ''running'''), 'all workers run');
SELECT set_eq('SELECT name FROM probectl.workers()', ARRAY['keeper', 'derive', 'remote'], 'one of each kind');
SELECT is((SELECT string_agg(DISTINCT a.usename::text, ',') FROM pg_stat_activity a JOIN probectl.workers() w USING (pid)), 'probectl_worker', 'as probectl_worker');
SELECT w.pid AS derive FROM probectl.workers() w WHERE w.name = 'derive' \gset
SELECT w.pid AS keeper FROM probectl.workers() w WHERE w.name = 'keeper' \gset
SELECT ok(pg_terminate_backend(:derive), 'derive is ended');
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM probectl.workers() WHERE name = ''derive'' AND state = ''running'' AND pid <> %s)', :derive)), 'and started again');
SELECT ok(EXISTS (SELECT FROM probectl.workers() WHERE name = 'keeper' AND pid = :keeper), 'the keeper was left alone');
SELECT string_agg(w.pid::text, ', ') AS old FROM probectl.workers() w WHERE w.pid IS NOT NULL \gset
SELECT count(pg_terminate_backend(pid)) AS ended FROM unnest(ARRAY[:old]) pid \gset
SELECT ok(core.comes_true(format('SELECT count(*) = 3 FROM probectl.workers() WHERE state = ''running'' AND pid NOT IN (%s)', :'old')), 'all ended, all started again');
SELECT ok(core.comes_true('SELECT min(passes) > 0 FROM probectl.workers()'), 'and each makes passes');
SELECT is((SELECT workers FROM probectl.ready()), 3, 'ready() counts them');
SELECT is((SELECT version FROM probectl.ready()), (SELECT extversion FROM pg_extension WHERE extname = 'probectl'), 'and names the version');
SELECT a.pid AS launcher FROM pg_stat_activity a WHERE a.backend_type = 'probectl launcher' \gset
SELECT ok(pg_terminate_backend(:launcher), 'the launcher is ended');
SELECT ok(core.comes_true(format('SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = ''probectl launcher'' AND pid <> %s)', :launcher)), 'and started again by the server');
SELECT ok(core.comes_true('SELECT count(*) = 3 FROM probectl.workers() WHERE state = ''running'''), 'the workers are still there');

-- A database with running workers can be a template, renamed and dropped; the extension can go and its workers go with it.
CREATE DATABASE regress_probectl_copy TEMPLATE regress_probectl_other;
SELECT ok(EXISTS (SELECT FROM pg_database WHERE datname = 'regress_probectl_copy'), 'copied while its workers ran');
ALTER DATABASE regress_probectl_copy RENAME TO regress_probectl_renamed;
SELECT ok(EXISTS (SELECT FROM pg_database WHERE datname = 'regress_probectl_renamed'), 'renamed');
DROP DATABASE regress_probectl_renamed;
DROP DATABASE regress_probectl_other;
SELECT ok(NOT EXISTS (SELECT FROM pg_database WHERE datname ~ '^regress_probectl_(other|renamed|copy)$'), 'dropped without FORCE');
SELECT ok(core.comes_true('SELECT count(*) = 3 FROM probectl.workers() WHERE state = ''running'''), 'the workers here are still there');
SELECT * FROM finish();
