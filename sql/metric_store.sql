-- SPDX-License-Identifier: PostgreSQL
--
-- From results to samples to chunks: names, labels, limits, exactly once, compaction, roll-ups, retention.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('metric-a', 'Metric A') AS a \gset
SELECT probectl.tenant_create('metric-b', 'Metric B') AS b \gset
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'a', 'agent-2', NULL, NULL) \gset second_
CALL regress.enrol(:'b', 'agent-b', NULL, NULL) \gset b_
-- Returns when the samples of everything committed before are stored; fails after 30 s.
CREATE PROCEDURE regress.stored() LANGUAGE plpgsql AS $$
DECLARE
  goal bigint := pg_current_xact_id()::text::bigint;
  deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  COMMIT;
  LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM probectl.ledger l WHERE l.xid < goal AND l.stored > 0
                           AND l.xid >= coalesce((SELECT c.next_xid FROM probectl_internal.worker_cursor c WHERE c.name = 'metric'), 0));
    IF clock_timestamp() > deadline THEN
      RAISE EXCEPTION 'the samples of transaction % were not stored in time', goal;
    END IF;
    PERFORM probectl.worker_wake();
    COMMIT;
    PERFORM pg_sleep(0.02);
  END LOOP;
END
$$;
-- What is in the store of a tenant, from hot rows and chunks alike.
CREATE FUNCTION regress.samples(tenant uuid) RETURNS TABLE (name text, labels jsonb, at timestamptz, value double precision) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY SELECT s.name, s.labels, r.at, r.value FROM probectl.metric_series s, LATERAL probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r;
END
$$;

-- Names and labels.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 1, regress.result(1, '2100-01-15 11:00:05.000123+00', 5.125),
  regress.result(2, '2100-01-15 11:00:06+00', extra => regress.words(3, 'http') || regress.number(5, 8443) || regress.number(8, 0) || regress.metric('a.b', 1) || regress.metric('a_b', 2)
    || regress.metric('a-b', 3) || regress.metric('success', 4) || regress.metric('duration.seconds', 5) || regress.metric('http.tls.cert_expiry_days', 6))));
CALL regress.stored();
BEGIN;
SELECT name, labels - 'tenant_id' - 'agent_id' AS labels, at, value FROM regress.samples(:'a') ORDER BY name, labels ->> 'test_id', labels ->> 'otel_name', at;
-- Who it is of is what the certificate says.
SELECT bool_and(s.labels ->> 'tenant_id' = :'a' AND s.labels ->> 'agent_id' = :'agent' AND s.agent_id = :'agent' AND s.test_id::text = s.labels ->> 'test_id') AS verified FROM probectl.metric_series s;
COMMIT;
-- The identifier is the beginning of the hash of the canonical form.
CREATE FUNCTION regress.lp(t text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT int4send(octet_length(t)) || convert_to(t, 'UTF8') $$;
SELECT count(*) AS series, bool_and(s.hash = sha256(regress.lp('probectl.series.v1') || regress.lp(s.name) || l.labels)) AS canonical,
       bool_and(set_byte(set_byte(substring(s.hash FOR 16), 6, (get_byte(s.hash, 6) & 15) | 128), 8, (get_byte(s.hash, 8) & 63) | 128) = uuid_send(s.series_id)) AS identifier
  FROM probectl.metric_series s, LATERAL (SELECT int4send(count(*)::integer) || string_agg(regress.lp(e.key) || regress.lp(e.value), '' ORDER BY e.key COLLATE "C") AS labels FROM jsonb_each_text(s.labels) e) l
 WHERE s.tenant_id = :'a';
-- The same test in another tenant is another series.
CALL regress.send(:'b', :'b_agent', :'b_serial', regress.batch(1, 1, regress.result(1, '2100-01-15 11:00:05+00', 50)));
CALL regress.stored();
SELECT count(*) FROM probectl.metric_series x JOIN probectl.metric_series y USING (series_id) WHERE x.tenant_id = :'a' AND y.tenant_id = :'b';
SELECT stored, refused_agent, refused_tenant, too_old, damaged FROM probectl.metric_state WHERE tenant_id = :'a';

-- Exactly once: the worker is killed again and again while batches come, and the cursor of the worker is put back, as if it had died before
-- it was written. Each sample is there once, and counted once.
SELECT array_agg(regress.result(10 + i % 7, '2100-01-15 10:00:00+00'::timestamptz + i * interval '1 s', i) ORDER BY i) AS runs FROM generate_series(1, 600) i \gset
CREATE PROCEDURE regress.storm(tenant uuid, agent uuid, serial text, runs bytea[]) LANGUAGE plpgsql AS $$
DECLARE
  worker integer;
BEGIN
  FOR i IN 0 .. 59 LOOP
    PERFORM probectl.enter_agent(tenant, agent, serial);
    PERFORM probectl.ingest('network', regress.batch(2, 1 + i * 10, VARIADIC runs[1 + i * 10 : 10 + i * 10]));
    COMMIT;
    PERFORM probectl.worker_wake();
    COMMIT;
    PERFORM pg_sleep(random() * 0.03);
    IF i % 12 = 5 THEN
      SELECT w.pid INTO worker FROM probectl.workers() w WHERE w.name = 'derive' AND w.state = 'running';
      PERFORM pg_terminate_backend(worker) WHERE worker IS NOT NULL;
    END IF;
    IF i % 10 = 9 THEN
      UPDATE probectl_internal.worker_cursor SET next_xid = 0 WHERE name = 'metric';
    END IF;
    COMMIT;
  END LOOP;
END
$$;
CALL regress.storm(:'a', :'agent', :'serial', :'runs');
CALL regress.stored();
SELECT stored - 12 AS stored FROM probectl.metric_state WHERE tenant_id = :'a';
SELECT sum(samples) - 12 AS in_rows FROM probectl.metric_hot WHERE tenant_id = :'a';
BEGIN;
SELECT name, count(*), count(DISTINCT (labels ->> 'test_id', at)) AS times, round(sum(value)::numeric, 6) AS sum FROM regress.samples(:'a') WHERE at BETWEEN '2100-01-15 10:00:00+00' AND '2100-01-15 10:30:00+00' GROUP BY name ORDER BY name;
COMMIT;

-- Of runs that say they started at the same moment the one stored last holds, in one batch and in two.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 601, regress.result(20, '2100-01-15 10:00:00+00', 1), regress.result(20, '2100-01-15 10:00:00+00', 2)));
CALL regress.stored();
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 603, regress.result(20, '2100-01-15 10:00:00+00', 3)));
CALL regress.stored();
BEGIN;
SELECT value FROM regress.samples(:'a') WHERE labels ->> 'test_id' = regress.test_uuid(20)::text AND name = 'probectl_probe_rtt_avg_ms';
COMMIT;

-- Compaction. Nothing is due at once but buckets with many samples; five minutes later all are. What is read stays the same.
CREATE TABLE regress.before AS SELECT * FROM regress.samples(:'a');
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.metric_compact(1000) AS due_at_once \gset
COMMIT;
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:10:00Z';
SELECT probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.metric_compact(10) AS first \gset
SELECT probectl_internal.metric_compact(1000) AS rest \gset
SELECT :first >= 10 AND :first < 30 AS some, :due_at_once + :first + :rest = (SELECT count(*) FROM probectl.metric_series WHERE tenant_id = :'a') AS each_series_once;
SELECT probectl_internal.metric_compact(1000) AS none;
COMMIT;
SELECT count(*) FROM probectl.metric_hot WHERE tenant_id = :'a';
SELECT count(*) AS missing FROM (TABLE regress.before EXCEPT ALL SELECT * FROM regress.samples(:'a')) x;
SELECT count(*) AS more FROM (SELECT * FROM regress.samples(:'a') EXCEPT ALL TABLE regress.before) x;
SELECT level, count(*) AS chunks, sum(samples) AS rows FROM probectl.metric_chunk WHERE tenant_id = :'a' GROUP BY 1 ORDER BY 1;
-- Late samples, between others and before all, and one again with another value; then again what is read is what was sent.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 604, regress.result(10, '2100-01-15 10:00:07.5+00', 0.5), regress.result(10, '2100-01-14 10:00:00+00', -1),
  regress.result(10, '2100-01-15 10:00:07+00', 700), regress.result(10, '2100-01-15 10:00:08+00', 0.25)));
CALL regress.stored();
CREATE VIEW regress.late AS SELECT at, value FROM regress.samples(current_setting('regress.a')::uuid) WHERE labels ->> 'test_id' = regress.test_uuid(10)::text AND name = 'probectl_probe_rtt_avg_ms' ORDER BY at LIMIT 6;
SELECT set_config('regress.a', :'a', false) IS NOT NULL AS set;
SELECT * FROM regress.late;
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:10:00Z';
SELECT probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.metric_compact(1000) > 0 AS compacted;
COMMIT;
SELECT * FROM regress.late;
-- Roll-ups are those of the samples, minute by minute and hour by hour. (Decoded by the functions, once samples are past their time.)
CREATE TABLE regress.expected AS SELECT name, labels, date_bin('1 minute', at, '2000-01-01 00:00:00+00') AS minute, avg(value), min(value), max(value), sum(value), count(*) FROM regress.samples(:'a') GROUP BY 1, 2, 3;
ALTER TABLE regress.expected ADD last double precision;
UPDATE regress.expected e SET last = (SELECT s.value FROM regress.samples(:'a') s WHERE s.name = e.name AND s.labels = e.labels AND s.at >= e.minute AND s.at < e.minute + interval '1 minute' ORDER BY s.at DESC LIMIT 1)
 WHERE labels ->> 'test_id' = regress.test_uuid(10)::text;
GRANT SELECT ON regress.expected TO PUBLIC;
BEGIN;
SET LOCAL probectl.clock = '2100-02-15T12:00:00Z';
SELECT probectl.enter_tenant(:'a');
SELECT f.name, count(*) AS rows, count(*) FILTER (WHERE abs(CASE f.name WHEN 'avg' THEN e.avg WHEN 'min' THEN e.min WHEN 'max' THEN e.max WHEN 'sum' THEN e.sum WHEN 'count' THEN e.count ELSE coalesce(e.last, w.value) END - w.value) > 1e-9) AS wrong,
       count(*) FILTER (WHERE e.min <> w.min OR e.max <> w.max OR e.count <> w.samples) AS extremes
  FROM unnest('{avg,min,max,sum,count,last}'::text[]) f (name), probectl.metric_series s, LATERAL probectl.metric_window(s.series_id, f.name, '2100-01-14 00:00:00+00', '2100-01-16 00:00:00+00', '1 minute') w
  LEFT JOIN regress.expected e ON e.minute = w.at WHERE e.name = s.name AND e.labels = s.labels GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM regress.expected;
ROLLBACK;
BEGIN;
SET LOCAL probectl.clock = '2100-06-15T12:00:00Z';
SELECT probectl.enter_tenant(:'a');
SELECT count(*), count(*) FILTER (WHERE e.sum IS DISTINCT FROM w.value) AS wrong
  FROM probectl.metric_series s, LATERAL probectl.metric_window(s.series_id, 'count', '2100-01-14 00:00:00+00', '2100-01-16 00:00:00+00', '1 hour') w
  LEFT JOIN LATERAL (SELECT sum(e.count) FROM regress.expected e WHERE e.name = s.name AND e.labels = s.labels AND e.minute >= w.at AND e.minute < w.at + interval '1 hour') e ON true;
SAVEPOINT s;
SELECT * FROM probectl.metric_window((SELECT series_id FROM probectl.metric_series LIMIT 1), 'count', '2100-01-14', '2100-01-16', '90 minutes');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window((SELECT series_id FROM probectl.metric_series LIMIT 1), 'rate', '2100-01-14', '2100-01-16', '1 hour');
ROLLBACK;
-- Retention, at most once an hour: samples first, then minutes, then hours, then the series and its place in the quota.
CREATE PROCEDURE regress.retain(tenant uuid, now text, INOUT first boolean DEFAULT NULL, INOUT again bigint DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('probectl.clock', now, true);
  PERFORM probectl_internal.tenant_bind(tenant);
  first := probectl_internal.metric_retain() > 0;
  again := probectl_internal.metric_retain();
  COMMIT;
END
$$;
CREATE TABLE regress.kept AS SELECT * FROM probectl.metric_chunk WHERE tenant_id = :'a';
CALL regress.retain(:'a', '2100-01-15T12:10:00Z');
CALL regress.retain(:'a', '2100-01-31T10:00:00Z');
CALL regress.retain(:'a', '2100-01-31T11:10:00Z');
SELECT level, count(*) FROM probectl.metric_chunk WHERE tenant_id = :'a' GROUP BY 1 ORDER BY 1;
CALL regress.retain(:'a', '2100-06-15T12:00:00Z');
SELECT level, count(*) > 0 AS some FROM probectl.metric_chunk WHERE tenant_id = :'a' GROUP BY 1 ORDER BY 1;
SELECT used = (SELECT count(*) FROM probectl.metric_series WHERE tenant_id = :'a') AS counted FROM probectl.tenant_quota WHERE tenant_id = :'a' AND resource = 'series';
CALL regress.retain(:'a', '2103-06-15T12:00:00Z');
SELECT (SELECT count(*) FROM probectl.metric_chunk WHERE tenant_id = :'a') AS chunks, (SELECT count(*) FROM probectl.metric_series WHERE tenant_id = :'a') AS series,
       used, (SELECT epoch > 0 FROM probectl.metric_state WHERE tenant_id = :'a') AS forgotten FROM probectl.tenant_quota WHERE tenant_id = :'a' AND resource = 'series';
-- A series that is gone comes back with its next sample, although the worker had known it.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 608, regress.result(20, '2100-01-15 11:30:00+00', 8)));
CALL regress.stored();
SELECT count(*) FROM regress.samples(:'a') WHERE labels ->> 'test_id' = regress.test_uuid(20)::text;

-- Where a series ends there is a marker: its test is paused, deleted or pointed elsewhere, its agent revoked. Samples that come after that ask again.
CREATE FUNCTION regress.ends(tenant uuid, tests integer[]) RETURNS TABLE (test integer, samples bigint, markers bigint, ends_with_marker boolean, told boolean, window_ended boolean) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY
    SELECT n, count(r.value), count(*) - count(r.value), (array_agg(r.value ORDER BY r.at DESC))[1] IS NULL, bool_and(s.ended_at IS NOT NULL AND s.ended_at >= r.at),
           (SELECT (array_agg(w.ended ORDER BY w.at DESC))[1] FROM probectl.metric_window((array_agg(s.series_id))[1], 'last', '2100-01-15 11:00:00+00', '2100-01-15 13:00:00+00', '1 minute') w)
      FROM unnest(tests) n JOIN probectl.metric_series s ON s.name = 'probectl_probe_rtt_avg_ms' AND s.labels ->> 'test_id' = '00000000-0000-4000-8000-' || lpad(n::text, 12, '0'),
           LATERAL probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r GROUP BY n ORDER BY n;
END
$$;
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
INSERT INTO probectl.test (test_id, name, type, target) SELECT regress.test_uuid(n), 'ends ' || n, 'icmp', 'ends.example' FROM generate_series(21, 24) n;
COMMIT;
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 609, regress.result(21, '2100-01-15 11:31:00+00', 1), regress.result(22, '2100-01-15 11:31:00+00', 1), regress.result(23, '2100-01-15 11:31:00+00', 1)));
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 1, regress.result(24, '2100-01-15 11:31:00+00', 1)));
CALL regress.stored();
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
UPDATE probectl.test SET enabled = false WHERE test_id = regress.test_uuid(21);
UPDATE probectl.test SET target = 'elsewhere.example' WHERE test_id = regress.test_uuid(22);
DELETE FROM probectl.test WHERE test_id = regress.test_uuid(23);
UPDATE probectl.test SET name = 'still the same' WHERE test_id = regress.test_uuid(24);
COMMIT;
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
-- What was under way: of the paused and of the deleted test, then late from a spool, then after the pause, when it goes on.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 612, regress.result(21, '2100-01-15 12:00:02+00', 1), regress.result(23, '2100-01-15 12:00:02+00', 1)));
CALL regress.stored();
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 614, regress.result(21, '2100-01-15 11:30:02+00', 1), regress.result(23, '2100-01-15 11:30:02+00', 1)));
CALL regress.stored();
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
UPDATE probectl.test SET enabled = true WHERE test_id = regress.test_uuid(21);
COMMIT;
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 616, regress.result(21, '2100-01-15 12:01:00+00', 1)));
CALL regress.stored();
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
UPDATE probectl.agent SET revoked_at = probectl.clock_now() WHERE agent_id = :'second_agent';
COMMIT;
SELECT * FROM regress.ends(:'a', '{24}');
-- Compacted it says the same, and the roll-up knows.
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:10:00Z';
SELECT probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.metric_compact(1000) > 0 AS compacted;
COMMIT;
SELECT * FROM regress.ends(:'a', '{21,22,23,24}');
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
UPDATE probectl.agent SET revoked_at = NULL WHERE agent_id = :'second_agent';
DELETE FROM probectl.metric_series WHERE tenant_id = :'a' AND test_id BETWEEN regress.test_uuid(21) AND regress.test_uuid(24);
DELETE FROM probectl.test WHERE tenant_id = :'a';
COMMIT;

-- Limits: a refusal is counted, what is known goes on. First the agent's, then the tenant's.
SELECT stored, refused_agent, refused_tenant FROM probectl.metric_state WHERE tenant_id = :'a' \gset was_
SELECT regress.batch(1, 2, VARIADIC array_agg(regress.result(30 + i, '2100-01-15 11:00:00+00', i, (SELECT string_agg(regress.metric('bomb' || j, j), '') FROM generate_series(1, 97) j)))) AS bomb FROM generate_series(1, 12) i \gset
CALL regress.send(:'a', :'second_agent', :'second_serial', :'bomb');
CALL regress.stored();
SELECT stored - :was_stored AS stored, refused_agent - :was_refused_agent AS refused_agent, refused_tenant - :was_refused_tenant AS refused_tenant FROM probectl.metric_state WHERE tenant_id = :'a';
SELECT count(*) FROM probectl.metric_series WHERE tenant_id = :'a' AND agent_id = :'second_agent';
SELECT used = (SELECT count(*) FROM probectl.metric_series WHERE tenant_id = :'a') AS counted FROM probectl.tenant_quota WHERE tenant_id = :'a' AND resource = 'series';
-- The first test's series are known, a new one's are not taken; the other agent is not concerned.
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 14, regress.result(31, '2100-01-15 11:01:00+00'), regress.result(99, '2100-01-15 11:01:00+00')));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 617, regress.result(99, '2100-01-15 11:01:00+00')));
CALL regress.stored();
SELECT stored - :was_stored AS stored, refused_agent - :was_refused_agent AS refused_agent, refused_tenant - :was_refused_tenant AS refused_tenant FROM probectl.metric_state WHERE tenant_id = :'a';
BEGIN;
SELECT probectl.tenant_set_quota(:'a', 'series', 5);
COMMIT;
CALL regress.send(:'a', :'agent', :'serial', regress.batch(2, 618, regress.result(1, '2100-01-15 11:01:00+00'), regress.result(98, '2100-01-15 11:01:00+00')));
CALL regress.stored();
SELECT stored - :was_stored AS stored, refused_agent - :was_refused_agent AS refused_agent, refused_tenant - :was_refused_tenant AS refused_tenant FROM probectl.metric_state WHERE tenant_id = :'a';

-- A row that does not decode is dropped, counted and said; the rest of the series is compacted.
UPDATE probectl.metric_hot SET data = '\x00' WHERE tenant_id = :'b' AND (bucket, n) = (SELECT bucket, n FROM probectl.metric_hot WHERE tenant_id = :'b' ORDER BY bucket, n LIMIT 1);
SELECT count(*) AS left FROM probectl.metric_hot h, LATERAL probectl_internal.metric_hot_content(h.data) c WHERE h.tenant_id = :'b' \gset
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:10:00Z';
SELECT probectl_internal.tenant_bind(:'b');
SELECT probectl_internal.metric_compact(1000) = :left AS rest;
COMMIT;
SELECT damaged FROM probectl.metric_state WHERE tenant_id = :'b';
-- A deleted agent's series stay, without it.
BEGIN;
SELECT probectl_internal.tenant_bind(:'b');
DELETE FROM probectl.agent WHERE tenant_id = :'b' AND agent_id = :'b_agent';
COMMIT;
SELECT count(*), count(agent_id) FROM probectl.metric_series WHERE tenant_id = :'b';
DROP VIEW regress.late;
DROP TABLE regress.before, regress.expected, regress.kept;
DROP PROCEDURE regress.storm(uuid, uuid, text, bytea[]), regress.retain(uuid, text, boolean, bigint);
DROP FUNCTION regress.lp(text), regress.ends(uuid, integer[]);
