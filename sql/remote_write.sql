-- SPDX-License-Identifier: PostgreSQL
--
-- Remote write: labels, limits, what is remembered of series, counts; and who may set a target.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set ON_ERROR_STOP off
SELECT probectl.tenant_create('remote-a', 'Remote A') AS a \gset
SELECT probectl.tenant_create('remote-b', 'Remote B') AS b \gset
-- A snappy block of literals, up to 60 bytes each.
CREATE FUNCTION regress.snappy(b bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.varint(octet_length(b)) || coalesce(string_agg(set_byte('\x00', 0, (octet_length(p.piece) - 1) << 2) || p.piece, '' ORDER BY p.at), '')
    FROM (SELECT i AS at, substring(b FROM i FOR 60) AS piece FROM generate_series(1, octet_length(b), 60) i) p
$$;
CREATE FUNCTION regress.label(name text, value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT regress.bytes(1, regress.words(1, name) || regress.words(2, value)) $$;
-- Seconds from the test's noon.
CREATE FUNCTION regress.sample(seconds numeric, value double precision) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.bytes(2, regress.double(1, value) || regress.number(2, trunc(extract(epoch FROM '2100-01-15 12:00:00+00'::timestamptz) * 1000 + seconds * 1000)))
$$;
CREATE FUNCTION regress.series(name text, labels jsonb, VARIADIC samples bytea[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.bytes(1, regress.label('__name__', name) || coalesce((SELECT string_agg(regress.label(key, value), '' ORDER BY key) FROM jsonb_each_text(labels)), '') || (SELECT string_agg(s, '') FROM unnest(samples) s))
$$;
CREATE FUNCTION regress.remote(tenant uuid, request bytea, OUT status integer, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  SELECT w.* INTO status, message FROM probectl.remote_write(regress.snappy(request)) w;
END
$$;
CREATE FUNCTION regress.stored(tenant uuid) RETURNS TABLE (name text, labels jsonb, seconds numeric, value double precision) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY SELECT s.name, s.labels - 'tenant_id', round(extract(epoch FROM r.at - '2100-01-15 12:00:00+00'), 3), r.value FROM probectl.metric_series s, LATERAL probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r ORDER BY 1, 2, 3;
END
$$;
SELECT probectl.clock_now() = '2100-01-15 12:00:00+00' AS noon;

-- Equal labels in another order are the same series; the same in another tenant is another.
SELECT * FROM regress.remote(:'a', regress.series('up', '{"job": "x", "instance": "i"}', regress.sample(-10, 1)));
SELECT * FROM regress.remote(:'a', regress.bytes(1, regress.label('instance', 'i') || regress.label('job', 'x') || regress.label('__name__', 'up') || regress.label('empty', '') || regress.sample(-5, 0)));
SELECT * FROM regress.remote(:'b', regress.series('up', '{"job": "x", "instance": "i"}', regress.sample(-10, 3)));
BEGIN; SELECT * FROM regress.stored(:'a'); COMMIT;
BEGIN; SELECT * FROM regress.stored(:'b'); COMMIT;
SELECT count(DISTINCT series_id), count(*), bool_and(agent_id IS NULL AND test_id IS NULL AND labels ->> 'tenant_id' = tenant_id::text) FROM probectl.metric_series WHERE name = 'up';
-- The identifier is made as that of any series.
CREATE FUNCTION regress.sized(t text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT int4send(octet_length(t)) || convert_to(t, 'UTF8') $$;
SELECT bool_and(s.hash = sha256(regress.sized('probectl.series.v1') || regress.sized(s.name) || l.labels)) AS canonical
  FROM probectl.metric_series s, LATERAL (SELECT int4send(count(*)::integer) || string_agg(regress.sized(e.key) || regress.sized(e.value), '' ORDER BY e.key COLLATE "C") AS labels FROM jsonb_each_text(s.labels) e) l
 WHERE s.tenant_id IN (:'a', :'b');

-- Two of one time, in one request: the later one holds, also across two series that are one.
SELECT * FROM regress.remote(:'a', regress.series('twice', '{}', regress.sample(-3, 1), regress.sample(-4, 9), regress.sample(-3, 2)) || regress.series('twice', '{"agent_id": "me"}', regress.sample(-4, 8)));
BEGIN; SELECT * FROM regress.stored(:'a') WHERE name = 'twice'; COMMIT;

-- Edges of time: 15 days back, 5 minutes ahead.
SELECT * FROM regress.remote(:'a', regress.series('edge', '{}', regress.sample(-15 * 86400, 1), regress.sample(-15 * 86400 - 0.001, 2), regress.sample(300, 3), regress.sample(300.001, 4)));
SELECT * FROM regress.remote(:'a', regress.series('edge', '{}', regress.bytes(2, regress.double(1, 1) || regress.number(2, 9223372036854775807)), regress.bytes(2, regress.double(1, 1) || regress.number(2, 9223372036854775808))));
BEGIN; SELECT seconds, value FROM regress.stored(:'a') WHERE name = 'edge'; COMMIT;
-- A series of which nothing is stored is not registered; a known one stays.
SELECT * FROM regress.remote(:'a', regress.series('never', '{}', regress.sample(-15 * 86400 - 1, 1), regress.sample(301, 2)) || regress.series('edge', '{}', regress.sample(301, 3)));
SELECT name FROM probectl.metric_series WHERE tenant_id = :'a' AND name IN ('never', 'edge');

-- The tenant's limit: what is there goes on, what is new is refused, and said.
BEGIN;
SELECT probectl_internal.tenant_bind(:'a') \g /dev/null
UPDATE probectl.tenant_quota SET limit_value = used + 1 WHERE tenant_id = :'a' AND resource = 'series';
COMMIT;
SELECT * FROM regress.remote(:'a', regress.series('one_more', '{}', regress.sample(-1, 1)) || regress.series('too_many', '{"n": "1"}', regress.sample(-1, 1), regress.sample(0, 1)) || regress.series('up', '{"job": "x", "instance": "i"}', regress.sample(-1, 5)));
-- Rolled back, nothing of it is remembered: the next one is stored under a series that is there.
BEGIN;
SELECT probectl_internal.tenant_bind(:'a') \g /dev/null
UPDATE probectl.tenant_quota SET limit_value = NULL WHERE tenant_id = :'a' AND resource = 'series';
COMMIT;
BEGIN;
SELECT * FROM regress.remote(:'a', regress.series('rolled_back', '{}', regress.sample(-1, 1)));
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT * FROM regress.remote(:'b', regress.series('rolled_back', '{}', regress.sample(-1, 1)));
ROLLBACK TO s;
COMMIT;
SELECT * FROM regress.remote(:'a', regress.series('rolled_back', '{}', regress.sample(-2, 2)));
SELECT * FROM regress.remote(:'b', regress.series('rolled_back', '{}', regress.sample(-2, 2)));
-- Deleted, the same labels make it anew.
BEGIN;
SELECT probectl_internal.tenant_bind(:'a') \g /dev/null
DELETE FROM probectl.metric_series WHERE tenant_id = :'a' AND name = 'rolled_back';
COMMIT;
SELECT * FROM regress.remote(:'a', regress.series('rolled_back', '{}', regress.sample(-3, 3)));
BEGIN; SELECT * FROM regress.stored(:'a') WHERE name = 'rolled_back'; COMMIT;
SELECT count(*) AS without_series FROM probectl.metric_hot h, LATERAL probectl_internal.metric_hot_content(h.data) c WHERE NOT EXISTS (SELECT FROM probectl.metric_series s WHERE s.tenant_id = h.tenant_id AND s.series_id = c.series_id);

-- An empty registry is another one, whatever was remembered of it.
BEGIN;
SET LOCAL client_min_messages = warning;
TRUNCATE probectl.metric_series CASCADE;
SELECT * FROM regress.remote(:'a', regress.series('rolled_back', '{}', regress.sample(-4, 4)));
SELECT name, tenant_id = :'a' AS mine FROM probectl.metric_series;
ROLLBACK;

-- What is not kept is said; what is malformed is refused as a whole.
SELECT * FROM regress.remote(:'a', regress.bytes(1, regress.label('__name__', 'h') || regress.sample(-1, 1) || regress.bytes(3, '\x') || regress.bytes(4, '\x')));
SELECT * FROM regress.remote(:'a', '\x0aff');
BEGIN;
SELECT probectl.enter_tenant(:'a') \g /dev/null
SELECT * FROM probectl.remote_write('\x00');
SELECT * FROM probectl.remote_write('\x81808008');
SELECT * FROM probectl.remote_received();
SELECT received = stored + too_old + in_future + refused_tenant + bad_labels AS whole FROM probectl.remote_received();
SELECT i.*, i.received = i.stored + i.duplicate + i.malformed + i.dead_lettered + i.refused + i.shed + i.capped AS whole FROM probectl.integrity() i WHERE i.plane = 'remote';
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM regress.remote(:'a', regress.series('up', '{}', regress.sample(-1, 1)));
ROLLBACK;
SELECT probectl.remote_write('\x00');

-- Compaction and retention know these series as any other.
BEGIN;
SELECT probectl_internal.tenant_bind(:'a') \g /dev/null
UPDATE probectl.metric_hot SET stored_at = stored_at - interval '1 hour' WHERE tenant_id = :'a';
SELECT probectl_internal.metric_compact(1000) > 0 AS compacted;
COMMIT;
BEGIN; SELECT * FROM regress.stored(:'a') WHERE name IN ('up', 'twice'); COMMIT;

-- A target is the operator's: an administrator of the tenant may neither set nor read one, only see how it is.
BEGIN;
SELECT probectl.enter_tenant(:'a') \g /dev/null
SELECT probectl.signin_link_create(probectl.user_create('admin@remote-a.example', 'Admin', 'admin')) AS link \gset
COMMIT;
SELECT session FROM probectl.signin_redeem(:'link', 'x') \gset
BEGIN;
SELECT probectl.enter_tenant(:'a') \g /dev/null
SELECT probectl.remote_target_set('grafana', 'https://metrics.example/api/v1/write', batch_samples => 10) IS NOT NULL AS set;
SELECT probectl.remote_target_set('grafana', 'https://metrics.example/api/v1/write', batch_samples => 20) IS NOT NULL AS changed;
COMMIT;
CREATE PROCEDURE regress.target(tenant uuid, url text, more text DEFAULT '') LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  EXECUTE format('SELECT probectl.remote_target_set(%L, %L%s)', 'other', url, more);
  RAISE NOTICE 'taken: %', url;
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE '% %', SQLSTATE, SQLERRM;
END
$$;
CALL regress.target(:'a', 'http://metrics.example/write');
CALL regress.target(:'a', 'http://localhost.evil.example/write');
CALL regress.target(:'a', 'http://127.0.0.1@evil.example/write');
CALL regress.target(:'a', 'https://user:secret@metrics.example/write');
CALL regress.target(:'a', 'ftp://metrics.example/');
CALL regress.target(:'a', 'https://metrics.example/', $$, secret_file => 'relative'$$);
CALL regress.target(:'a', 'https://metrics.example/', $$, user_name => 'a:b', secret_file => '/x'$$);
CALL regress.target(:'a', 'https://metrics.example/', $$, user_name => 'a'$$);
CALL regress.target(:'a', 'https://metrics.example/', $$, backlog => '-1 day'$$);
CALL regress.target(:'a', 'http://[::1]:9090/write', $$, enabled => false$$);
BEGIN;
SELECT probectl.enter_session(:'session') \g /dev/null
SELECT name, enabled, state, sent, failures FROM probectl.remote_targets();
SAVEPOINT s;
SELECT probectl.remote_target_set('mine', 'https://mine.example/');
ROLLBACK TO s;
SELECT probectl.remote_target_delete('grafana');
ROLLBACK TO s;
SELECT url FROM probectl.remote_target;
ROLLBACK TO s;
SELECT last_error FROM probectl.remote_queue;
ROLLBACK;
SELECT action, outcome FROM probectl.audit_event WHERE tenant_id = :'a' AND action LIKE 'remote_target%' ORDER BY seq;
SELECT count(*) FROM probectl_internal.remote_sender WHERE sending_tenant = :'a';
BEGIN;
SELECT probectl.enter_tenant(:'a') \g /dev/null
SELECT probectl.remote_target_delete('grafana'), probectl.remote_target_delete('other'), probectl.remote_target_delete('none');
COMMIT;
SELECT (SELECT count(*) FROM probectl_internal.remote_sender), (SELECT count(*) FROM probectl.remote_queue);
