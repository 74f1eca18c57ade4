-- SPDX-License-Identifier: PostgreSQL
--
-- Every function over series against plain SQL over a plain table, on random samples that come late, twice, in pieces and
-- with gaps, ends and what is no number, from samples and from every level of roll-ups; then the API.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set ON_ERROR_STOP off
SELECT probectl.tenant_create('query-a', 'Query A') AS a \gset
SELECT probectl.tenant_create('query-b', 'Query B') AS b \gset
SELECT setseed(0.5);
-- Series: a gauge with decimals, a counter that starts again, one with gaps of hours, one of odd doubles, one that is made of one sample,
-- a counter that ends (NULL: the marker) and goes on and has samples that are no number.
CREATE TABLE regress.series (kind text PRIMARY KEY, series_id uuid DEFAULT gen_random_uuid(), scale double precision);
INSERT INTO regress.series (kind) VALUES ('gauge'), ('counter'), ('gaps'), ('odd'), ('one'), ('none'), ('marked');
CREATE TABLE regress.plain (kind text, at timestamptz, value double precision, n serial);
INSERT INTO regress.plain (kind, at, value)
  SELECT 'gauge', '2100-01-15 08:00:00+00'::timestamptz + i * interval '7 s' + random() * interval '3 s', round((20 + 5 * sin(i / 50.0) + random())::numeric, 3)::double precision FROM generate_series(1, 1500) i
  UNION ALL SELECT 'counter', '2100-01-15 08:00:00+00'::timestamptz + i * interval '10 s', i % 313 * 17 + i % 5 FROM generate_series(1, 1000) i
  UNION ALL SELECT 'gaps', '2100-01-15 07:00:00+00'::timestamptz + i * interval '11 s' + i / 60 * interval '33 min', random() * 1000 - 500 FROM generate_series(1, 400) i
  UNION ALL SELECT 'odd', '2100-01-15 09:00:00+00'::timestamptz + i * interval '1.000001 s', (random() - 0.5) * 10 ^ (i % 40 - 20) FROM generate_series(1, 900) i
  UNION ALL SELECT 'one', '2100-01-15 09:30:00+00'::timestamptz, 42;
-- Some come again, with another value that holds.
INSERT INTO regress.plain (kind, at, value) SELECT kind, at, value + 1 FROM regress.plain WHERE kind = 'gauge' AND n % 10 = 3;
INSERT INTO regress.plain (kind, at, value)
  SELECT 'marked', '2100-01-15 07:30:00+00'::timestamptz + i * interval '23 s' + i / 90 * interval '17 min', CASE WHEN random() < 0.05 OR i = 600 THEN NULL WHEN random() < 0.05 THEN double precision 'NaN' ELSE i % 71 * 3 END FROM generate_series(1, 600) i;
CREATE FUNCTION regress.packed(series uuid, at timestamptz[], value double precision[]) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT uuid_send(series) || int8send(cardinality(at)) || string_agg(int8send((extract(epoch FROM a) * 1000000)::bigint - 946684800000000) || coalesce(float8send(v), '\x7ff0000000000002'), '' ORDER BY i)
    FROM unnest(at, value) WITH ORDINALITY u (a, v, i)
$$;
CREATE FUNCTION regress.series_make(which text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO probectl.metric_series (tenant_id, series_id, hash, name, labels, first_seen, last_seen)
    SELECT probectl.current_tenant(), s.series_id, sha256(convert_to(s.kind || which, 'UTF8')), 'probectl_probe_' || s.kind,
           jsonb_build_object('kind', s.kind, 'server_address', s.kind || '.example', 'quote', 'a"b'), now(), now() FROM regress.series s
$$;
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
SELECT regress.series_make('a');
COMMIT;
-- In five pieces, by a hash: none is in the order of time. After the third what is there is compacted.
CREATE PROCEDURE regress.fill(tenant uuid) LANGUAGE plpgsql AS $$
DECLARE
  pieces bytea;
BEGIN
  FOR piece IN 0 .. 5 LOOP
    SELECT string_agg(x.bytes, '') INTO pieces FROM (
      SELECT regress.packed(s.series_id, array_agg(p.at ORDER BY hashint4(p.n)), array_agg(p.value ORDER BY hashint4(p.n))) AS bytes
        FROM regress.plain p JOIN regress.series s USING (kind)
       WHERE CASE WHEN p.n BETWEEN 3802 AND 3951 THEN 5 ELSE abs(hashint4(p.n / 10)) % 5 END = piece GROUP BY s.series_id) x;
    PERFORM probectl.enter_tenant(tenant);
    PERFORM probectl.metric_append(pieces);
    COMMIT;
    IF piece = 2 THEN
      PERFORM probectl_internal.tenant_bind(tenant);
      PERFORM probectl_internal.metric_compact(100);
      COMMIT;
    END IF;
  END LOOP;
END
$$;
CALL regress.fill(:'a');
DELETE FROM regress.plain p USING regress.plain q WHERE q.kind = p.kind AND q.at = p.at AND q.n > p.n;
UPDATE regress.series s SET scale = (SELECT max(abs(p.value)) FROM regress.plain p WHERE p.kind = s.kind AND p.value <> 'NaN');
SELECT kind, count(*) FROM regress.plain GROUP BY 1 ORDER BY 1;
SELECT (SELECT count(*) > 0 FROM probectl.metric_hot WHERE tenant_id = :'a') AS hot, (SELECT count(*) > 0 FROM probectl.metric_chunk WHERE tenant_id = :'a') AS chunks;
GRANT SELECT ON regress.plain, regress.series TO PUBLIC;

-- The plain answer. A pair belongs to the bucket of its later sample; the first sample of the range, and after an end, has no pair.
CREATE FUNCTION regress.oracle(which text, function text, start_at timestamptz, end_at timestamptz, step interval, q double precision)
  RETURNS TABLE (at timestamptz, value double precision, min double precision, max double precision, samples bigint, ended boolean) LANGUAGE sql STABLE AS $$
  WITH entry AS (
    SELECT p.at, p.value, start_at + floor(extract(epoch FROM p.at - start_at) / extract(epoch FROM step)) * step AS bucket, count(*) FILTER (WHERE p.value IS NULL) OVER (ORDER BY p.at) AS ends
      FROM regress.plain p WHERE p.kind = which AND p.at >= start_at AND p.at < end_at AND p.value IS DISTINCT FROM 'NaN'),
  paired AS (
    SELECT e.*, e.value - lag(e.value) OVER w AS delta, CASE WHEN e.value < lag(e.value) OVER w THEN e.value ELSE e.value - lag(e.value) OVER w END AS increase,
           CASE WHEN lag(e.value) OVER w IS NOT NULL AND e.value IS NOT NULL THEN extract(epoch FROM e.at - lag(e.at) OVER w) END AS covered
      FROM entry e WINDOW w AS (PARTITION BY e.ends, e.value IS NULL ORDER BY e.at)),
  answered AS (
    SELECT bucket, CASE function WHEN 'avg' THEN avg(value) WHEN 'min' THEN min(value) WHEN 'max' THEN max(value) WHEN 'sum' THEN sum(value) WHEN 'count' THEN nullif(count(value), 0)
                                 WHEN 'first' THEN (array_agg(value ORDER BY at) FILTER (WHERE value IS NOT NULL))[1] WHEN 'last' THEN (array_agg(value ORDER BY at DESC) FILTER (WHERE value IS NOT NULL))[1]
                                 WHEN 'delta' THEN sum(delta) WHEN 'increase' THEN sum(increase) WHEN 'rate' THEN sum(increase) / sum(covered)
                                 WHEN 'quantile' THEN percentile_cont(q) WITHIN GROUP (ORDER BY value) END AS value,
           min(value) AS min, max(value) AS max, count(value) AS samples, (array_agg(value ORDER BY at DESC))[1] IS NULL AS ended
      FROM paired GROUP BY bucket)
  SELECT * FROM answered a WHERE a.value IS NOT NULL OR a.ended
$$;
-- Alike up to the order in which doubles are added.
CREATE FUNCTION regress.alike(x double precision, y double precision, scale double precision) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS $$ SELECT x IS NULL AND y IS NULL OR x IS NOT NULL AND y IS NOT NULL AND abs(x - y) <= 1e-9 * greatest(abs(x), abs(y), scale) $$;
CREATE TABLE regress.range (start_at timestamptz, end_at timestamptz, step interval);
INSERT INTO regress.range VALUES ('2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute'), ('2100-01-15 09:20:00+00', '2100-01-15 09:40:00+00', '5 s'),
  ('2100-01-15 08:17:03.5+00', '2100-01-15 09:31:01.25+00', '37.75 s'), ('2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00', '1 day'), ('2100-01-15 08:10:00+00', '2100-01-15 08:10:00+00', '1 s'),
  ('2100-01-15 09:30:00+00', '2100-01-15 09:30:00.000001+00', '1 s'), ('2100-01-14 00:00:00+00', '2100-01-14 01:00:00+00', '1 minute');
GRANT SELECT ON regress.range TO PUBLIC;
CREATE TABLE regress.asked AS
  SELECT f.name, f.i, s.series_id, s.kind, CASE WHEN f.name IN ('sum', 'increase', 'delta', 'avg', 'rate') THEN s.scale ELSE 0 END AS scale, r.*, q.q
    FROM unnest('{avg,min,max,sum,count,first,last,delta,increase,rate,quantile}'::text[]) WITH ORDINALITY f (name, i), regress.series s, regress.range r,
         unnest(CASE f.name WHEN 'quantile' THEN '{0,0.25,0.99,1}'::double precision[] ELSE '{0.5}' END) q (q);
CREATE TABLE regress.expected AS SELECT a.name, a.kind, a.start_at, a.step, a.q, o.* FROM regress.asked a, LATERAL regress.oracle(a.kind, a.name, a.start_at, a.end_at, a.step, a.q) o;
GRANT SELECT ON regress.asked, regress.expected TO PUBLIC;
CREATE FUNCTION regress.differences(tenant uuid) RETURNS TABLE (function text, answers bigint, wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY
    WITH answered AS MATERIALIZED (SELECT a.name, a.i, a.kind, a.start_at, a.step, a.q, a.scale, w.* FROM regress.asked a, LATERAL probectl.metric_window(a.series_id, a.name, a.start_at, a.end_at, a.step, a.q) w)
    SELECT coalesce(w.name, o.name), count(*), count(*) FILTER (WHERE NOT coalesce(regress.alike(w.value, o.value, w.scale) AND w.min IS NOT DISTINCT FROM o.min AND w.max IS NOT DISTINCT FROM o.max AND w.samples = o.samples AND w.ended = o.ended, false))
      FROM answered w FULL JOIN regress.expected o ON o.name = w.name AND o.kind = w.kind AND o.start_at = w.start_at AND o.step = w.step AND o.q = w.q AND o.at = w.at
     GROUP BY 1 ORDER BY min(w.i);
END
$$;
SELECT * FROM regress.differences(:'a');
-- The samples themselves, in order, each once.
CREATE FUNCTION regress.read_differences(tenant uuid) RETURNS TABLE (missing bigint, more bigint, unordered bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY
    WITH r AS MATERIALIZED (SELECT s.kind, x.at, x.value, x.i FROM regress.series s, LATERAL ROWS FROM (probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01')) WITH ORDINALITY x (at, value, i))
    SELECT (SELECT count(*) FROM (SELECT kind, at, value FROM regress.plain EXCEPT ALL SELECT kind, at, value FROM r) d), (SELECT count(*) FROM (SELECT kind, at, value FROM r EXCEPT ALL SELECT kind, at, value FROM regress.plain) d),
           (SELECT count(*) FROM r x JOIN r y ON y.kind = x.kind AND y.i = x.i + 1 WHERE y.at <= x.at);
END
$$;
SELECT * FROM regress.read_differences(:'a');
-- The same when all is compacted.
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:10:00Z';
SELECT probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.metric_compact(100) IS NOT NULL AS compacted;
COMMIT;
SELECT count(*) FROM probectl.metric_hot WHERE tenant_id = :'a';
SELECT * FROM regress.differences(:'a') WHERE wrong > 0;
SELECT * FROM regress.read_differences(:'a');
-- Chunks of a series and level are in order and never overlap, and hold 120 to 240 rows where there are so many.
SELECT count(*) FROM (SELECT t0, lag(t1) OVER (PARTITION BY series_id, level ORDER BY t0) AS before FROM probectl.metric_chunk WHERE tenant_id = :'a') c WHERE t0 <= before;
SELECT max(samples) <= 240 AS full, count(*) FILTER (WHERE samples < 120 AND of > 1) AS short FROM (SELECT samples, count(*) OVER (PARTITION BY series_id, level) AS of FROM probectl.metric_chunk WHERE tenant_id = :'a') c;

-- Whole minutes and hours come from roll-ups: they answer alike when there are no samples, but for what needs them.
CREATE FUNCTION regress.rolled_differences(tenant uuid) RETURNS TABLE (step interval, answers bigint, wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY
    SELECT r.step, count(*), count(*) FILTER (WHERE NOT coalesce(regress.alike(w.value, o.value, s.scale) AND w.min IS NOT DISTINCT FROM o.min AND w.max IS NOT DISTINCT FROM o.max AND w.samples = o.samples AND w.ended = o.ended, false))
      FROM unnest('{avg,min,max,sum,count,last}'::text[]) f (name), regress.series s, regress.range r,
           LATERAL (SELECT * FROM probectl.metric_window(s.series_id, f.name, r.start_at, r.end_at, r.step)) w FULL JOIN LATERAL (SELECT * FROM regress.oracle(s.kind, f.name, r.start_at, r.end_at, r.step, 0.5)) o ON o.at = w.at
     WHERE r.step IN ('1 minute', '1 day', '1 hour') GROUP BY r.step ORDER BY r.step;
END
$$;
INSERT INTO regress.range VALUES ('2100-01-15 06:00:00+00', '2100-01-15 14:00:00+00', '1 hour');
BEGIN;
DELETE FROM probectl.metric_chunk WHERE tenant_id = :'a' AND level = 0;
SELECT * FROM regress.rolled_differences(:'a');
ROLLBACK;
-- A sample that came since is counted, wherever it lies; what is before it still comes from roll-ups.
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT probectl.metric_append(regress.packed(series_id, ARRAY['2100-01-15 09:30:30+00', '2100-01-15 13:00:00+00']::timestamptz[], ARRAY[43, 44]::double precision[])) FROM regress.series WHERE kind = 'one';
SELECT w.at, w.value, w.samples FROM regress.series s, LATERAL probectl.metric_window(s.series_id, 'sum', '2100-01-15 06:00:00+00', '2100-01-15 14:00:00+00', '1 hour') w WHERE s.kind = 'one';
SELECT w.at, w.value, w.samples FROM regress.series s, LATERAL probectl.metric_window(s.series_id, 'sum', '2100-01-15 06:00:00+00', '2100-01-15 13:00:00+00', '1 hour') w WHERE s.kind = 'one';
ROLLBACK;
-- A sample that is replaced by what is no number is in no roll-up any more.
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT probectl.metric_append(regress.packed(series_id, ARRAY['2100-01-15 09:31:00+00', '2100-01-15 09:32:00+00']::timestamptz[], ARRAY[1, 2]::double precision[])) FROM regress.series WHERE kind = 'none';
COMMIT;
CREATE PROCEDURE regress.compact(tenant uuid) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('probectl.clock', '2100-01-15T12:20:00Z', true);
  PERFORM probectl_internal.tenant_bind(tenant);
  PERFORM probectl_internal.metric_compact(100);
  COMMIT;
END
$$;
CALL regress.compact(:'a');
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT w.* FROM regress.series s, LATERAL probectl.metric_window(s.series_id, 'sum', '2100-01-15 09:00:00+00', '2100-01-15 10:00:00+00', '1 minute') w WHERE s.kind = 'none';
SELECT probectl.metric_append(regress.packed(series_id, ARRAY['2100-01-15 09:31:00+00', '2100-01-15 09:32:00+00']::timestamptz[], ARRAY['NaN', NULL]::double precision[])) FROM regress.series WHERE kind = 'none';
COMMIT;
CALL regress.compact(:'a');
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT w.* FROM regress.series s, LATERAL probectl.metric_window(s.series_id, 'sum', '2100-01-15 09:00:00+00', '2100-01-15 10:00:00+00', '1 minute') w WHERE s.kind = 'none';
COMMIT;
DROP PROCEDURE regress.compact(uuid);

-- Quantiles over more than a day come from sketches: each of the two ranks they lie between is off by the error at most, which is told, and 1 % unless values span much.
CREATE FUNCTION regress.sketch_differences(tenant uuid, now text DEFAULT NULL) RETURNS TABLE (kind text, step interval, answers bigint, wrong bigint, error text) LANGUAGE plpgsql AS $$
BEGIN
  IF now IS NOT NULL THEN
    PERFORM set_config('probectl.clock', now, true);
  END IF;
  PERFORM probectl.enter_tenant(tenant);
  RETURN QUERY
    WITH asked AS (SELECT s.*, st.step, q.q FROM regress.series s, unnest('{1 minute,1 hour,1 day}'::interval[]) st (step), unnest('{0,0.1,0.5,0.9,0.99,1}'::double precision[]) q (q)),
    ranked AS (
      SELECT a.kind, a.step, a.q, date_bin(a.step, p.at, '2100-01-14 00:00:00+00') AS bucket, array_agg(p.value ORDER BY p.value) AS v FROM asked a JOIN regress.plain p USING (kind) WHERE p.value <> 'NaN' GROUP BY 1, 2, 3, 4),
    placed AS (SELECT r.*, floor(r.q * (cardinality(r.v) - 1))::integer AS below, r.q * (cardinality(r.v) - 1) AS place FROM ranked r),
    exact AS (SELECT p.*, v[below + 1] AS low, v[least(below + 2, cardinality(v))] AS high, place - below AS part FROM placed p)
    SELECT a.kind, a.step, count(*), count(*) FILTER (WHERE NOT coalesce(abs(w.value - (e.low * (1 - e.part) + e.high * e.part)) <= (w.error * (abs(e.low) * (1 - e.part) + abs(e.high) * e.part)) * (1 + 1e-9) AND w.samples = cardinality(e.v), false)),
           round(max(w.error)::numeric, 3)::text
      FROM asked a, LATERAL (SELECT * FROM probectl.metric_window(a.series_id, 'quantile', '2100-01-14 00:00:00+00', '2100-01-17 00:00:00+00', a.step, a.q) x WHERE x.value IS NOT NULL) w
      LEFT JOIN LATERAL (SELECT * FROM exact x WHERE x.kind = a.kind AND x.step = a.step AND x.q = a.q AND x.bucket = w.at) e ON true
     GROUP BY 1, 2 ORDER BY 1, 2;
END
$$;
SELECT * FROM regress.sketch_differences(:'a');
BEGIN;
DELETE FROM probectl.metric_chunk WHERE tenant_id = :'a' AND level = 0;
SELECT count(*) AS rows, sum(wrong) AS wrong FROM regress.sketch_differences(:'a', '2100-03-01T00:00:00Z');
ROLLBACK;
BEGIN;
DELETE FROM probectl.metric_chunk WHERE tenant_id = :'a' AND level < 2;
SELECT kind, step, answers, wrong FROM regress.sketch_differences(:'a', '2100-03-01T00:00:00Z') WHERE step > '1 minute' AND wrong > 0;
ROLLBACK;

-- Correlation, the greatest, and a query by name and labels.
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT abs(probectl.metric_correlation(a.series_id, b.series_id, '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute')
           - (SELECT corr(x.value, y.value) FROM regress.oracle('gauge', 'avg', '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute', 0.5) x JOIN regress.oracle('counter', 'avg', '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute', 0.5) y USING (at))) < 1e-9 AS alike
  FROM regress.series a, regress.series b WHERE a.kind = 'gauge' AND b.kind = 'counter';
SELECT round(probectl.metric_correlation(series_id, series_id, '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute')::numeric, 9) AS itself,
       probectl.metric_correlation(series_id, gen_random_uuid(), '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute') IS NULL AS with_none FROM regress.series WHERE kind = 'gauge';
SELECT probectl.metric_correlation(a.series_id, b.series_id, '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute') IS NULL AS does_not_vary FROM regress.series a, regress.series b WHERE a.kind = 'gauge' AND b.kind = 'one';
SELECT count(*), bool_and(q.series_id = s.series_id) AS of_it FROM regress.series s, probectl.metric_query('probectl_probe_gauge', '{kind="gauge",server_address=~"gau.*"}', 'max', '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 hour') q WHERE s.kind = 'gauge';
SELECT value = (SELECT max(value) FROM regress.plain WHERE kind = 'gauge') AS greatest FROM probectl.metric_top('probectl_probe_gauge', '', 'max', '2100-01-15 08:00:00+00', '2100-01-15 12:00:00+00', 3);
SELECT count(*) FROM probectl.metric_query('probectl_probe_gauge', 'kind!="gauge"', 'max', '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 hour');
-- What is refused.
SAVEPOINT s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'median', '2100-01-15', '2100-01-16', '1 hour');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'avg', '2100-01-15', '2100-01-16', '0 s');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'avg', '2100-01-15', '2100-01-16', '1 month');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'avg', '-infinity', 'infinity', '1 hour');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'avg', '2000-01-15', '2100-01-16', '1 s');
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'quantile', '2100-01-15', '2100-01-16', '1 hour', 1.5);
ROLLBACK TO s;
SELECT * FROM probectl.metric_window(gen_random_uuid(), 'avg', '2100-01-15', '2100-01-16', '1 hour');
SELECT m, probectl_internal.metric_matchers(m) FROM unnest(ARRAY['', '{}', 'a="b"', ' { a = "b" , c!="d\"e\\" } ', 'a=~"x|y",b!~""']) m;
SELECT probectl_internal.metric_matchers('a');
ROLLBACK TO s;
SELECT probectl_internal.metric_matchers('a="b" c="d"');
ROLLBACK TO s;
SELECT probectl_internal.metric_matchers('a=~"("');
ROLLBACK TO s;
SELECT probectl_internal.metric_matchers('a="b",');
SELECT probectl.metric_append('\x00');
ROLLBACK TO s;
SELECT probectl.metric_append(uuid_send(gen_random_uuid()) || int8send(0));
ROLLBACK TO s;
SELECT probectl.metric_append(uuid_send(series_id) || int8send(1000000000000)) FROM regress.series WHERE kind = 'one';
ROLLBACK TO s;
SELECT probectl.metric_append(uuid_send(series_id) || int8send(1) || int8send(0) || float8send('NaN')) FROM regress.series WHERE kind = 'one';
ROLLBACK TO s;
SELECT probectl.metric_append(uuid_send(series_id) || int8send(0)) FROM regress.series WHERE kind = 'one';
-- Samples are read through the functions only.
SELECT FROM probectl.metric_chunk;
ROLLBACK TO s;
SELECT FROM probectl.metric_hot;
ROLLBACK;
-- Another tenant sees none of it by the same identifiers.
BEGIN;
SELECT probectl.enter_tenant(:'b');
SELECT count(*) FROM regress.series s, LATERAL probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r;
SELECT count(*) FROM regress.series s, LATERAL probectl.metric_window(s.series_id, 'count', '2100-01-15', '2100-01-16', '1 day') r;
ROLLBACK;
-- Nobody but an administrator adds samples.
CALL regress.user(:'a', 'admin@example.net', 'admin', NULL, NULL) \gset admin_
CALL regress.user(:'a', 'viewer@example.net', 'viewer', NULL, NULL) \gset viewer_
CALL regress.user(:'b', 'admin@example.net', 'admin', NULL, NULL) \gset other_
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT probectl.metric_append('');
ROLLBACK;

-- Parallel workers know who asks, look up the series and read the samples: the plan, then its answer, all of it from workers. A stranger's, and
-- that of somebody who may not read metrics, is empty.
CREATE VIEW regress.summary WITH (security_invoker = true) AS
  SELECT count(*), count(DISTINCT s.series_id) AS series, sum(w.samples) AS samples, round(sum(w.value)::numeric, 6) AS value
    FROM probectl.metric_series s, LATERAL probectl.metric_window(s.series_id, 'max', '2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00', '10 minutes') w WHERE s.name <> 'probectl_probe_odd';
CREATE VIEW regress.raw WITH (security_invoker = true) AS
  SELECT count(*), count(r.value) AS samples FROM probectl.metric_series s, LATERAL probectl.metric_read(s.series_id, '2100-01-01 00:00:00+00', '2100-02-01 00:00:00+00') r;
GRANT SELECT ON regress.summary, regress.raw TO PUBLIC;
ANALYZE probectl.metric_series;
-- Somebody of one project sees the series of its tests, unless an attribute policy hides the test.
CALL regress.user(:'a', 'project@example.net', NULL, NULL, NULL) \gset project_
BEGIN;
SELECT probectl_internal.tenant_bind(:'a');
INSERT INTO probectl.organization (organization_id, slug, name) VALUES ('00000000-0000-4000-8000-00000000a001', 'org', 'Org');
INSERT INTO probectl.team (team_id, organization_id, slug, name) VALUES ('00000000-0000-4000-8000-00000000a002', '00000000-0000-4000-8000-00000000a001', 'team', 'Team');
INSERT INTO probectl.project (project_id, team_id, slug, name) VALUES ('00000000-0000-4000-8000-00000000a003', '00000000-0000-4000-8000-00000000a002', 'project', 'Project');
INSERT INTO probectl.test (test_id, name, type, target, project_id) VALUES (regress.test_uuid(71), 'mine', 'icmp', 'mine', '00000000-0000-4000-8000-00000000a003'), (regress.test_uuid(72), 'of the tenant', 'icmp', 'other', NULL),
  (regress.test_uuid(73), 'mine as well', 'http', 'https://mine.example/', '00000000-0000-4000-8000-00000000a003');
COMMIT;
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT probectl.role_bind('viewer', :'project_user_id', NULL, NULL, NULL, NULL, '00000000-0000-4000-8000-00000000a003') IS NOT NULL AS bound;
COMMIT;
UPDATE probectl.metric_series SET test_id = regress.test_uuid(CASE name WHEN 'probectl_probe_gauge' THEN 71 WHEN 'probectl_probe_counter' THEN 72 WHEN 'probectl_probe_marked' THEN 73 END) WHERE tenant_id = :'a';
BEGIN;
SET LOCAL force_parallel_mode = on;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL ROLE probectl_app;
EXPLAIN (COSTS OFF) SELECT s.series_id, w.at FROM probectl.metric_series s, LATERAL probectl.metric_window(s.series_id, 'max', '2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00', '10 minutes') w WHERE s.tenant_id = probectl.current_tenant();
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
TABLE regress.summary;
TABLE regress.raw;
SELECT value = (SELECT max(value) FROM regress.plain WHERE kind = 'gauge') AS greatest FROM probectl.metric_top('probectl_probe_gauge', '', 'max', '2100-01-15 08:00:00+00', '2100-01-15 12:00:00+00', 3);
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
TABLE regress.summary;
TABLE regress.raw;
SELECT value = (SELECT max(value) FROM regress.plain WHERE kind = 'gauge') AS greatest FROM probectl.metric_top('probectl_probe_gauge', '', 'max', '2100-01-15 08:00:00+00', '2100-01-15 12:00:00+00', 3);
SET LOCAL force_parallel_mode = on;
TABLE regress.summary;
SELECT round(probectl.metric_correlation(series_id, series_id, '2100-01-15 08:00:00+00', '2100-01-15 11:00:00+00', '1 minute')::numeric, 9) AS itself FROM regress.series WHERE kind = 'gauge';
SELECT probectl.current_principal() LIKE 'token:%' AS principal;
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'project_token');
TABLE regress.summary;
SELECT name FROM probectl.metric_series ORDER BY 1;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
TABLE regress.summary;
SELECT name FROM probectl.metric_series ORDER BY 1;
ROLLBACK;
BEGIN;
SELECT probectl.enter_tenant(:'a');
SELECT probectl.access_policy_set('no http', 'deny', 'test.read', '{}', '{"type": "http"}', 10, true) IS NOT NULL AS set;
COMMIT;
BEGIN;
SELECT FROM probectl.enter_session(:'project_token');
SELECT name FROM probectl.metric_series ORDER BY 1;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
SELECT name FROM probectl.metric_series ORDER BY 1;
ROLLBACK;
CALL regress.user(:'a', 'nobody@example.net', NULL, NULL, NULL) \gset nobody_
BEGIN;
SELECT FROM probectl.enter_session(:'other_token');
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
TABLE regress.summary;
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'nobody_token');
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL parallel_leader_participation = off;
TABLE regress.summary;
ROLLBACK;
DROP VIEW regress.summary, regress.raw;

-- The API.
\pset format unaligned
\pset tuples_only on
CREATE PROCEDURE regress.ask(token text, path text, query jsonb, INOUT status text DEFAULT NULL, INOUT answer text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  BEGIN
    PERFORM probectl.enter_session(token);
    SELECT c.status::text, regexp_replace(c.body, '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '<uuid>', 'g') INTO status, answer FROM probectl.api_call('GET', path, '{}', query, NULL) c;
  EXCEPTION
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
      status := SQLSTATE;
      answer := concat_ws(' | ', SQLERRM, nullif(detail, ''));
  END;
  COMMIT;
END
$$;
UPDATE probectl.metric_series SET first_seen = '2100-01-15 08:00:00+00', last_seen = '2100-01-15 11:00:00+00' WHERE tenant_id = :'a';
CALL regress.ask(:'viewer_token', '/v1/metrics/series', '{"name": "probectl_probe_one"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/series', '{"match": "{kind=~\"g.*\",server_address!=\"gaps.example\",none=\"\"}"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/series', '{"match": "{__name__=\"probectl_probe_odd\"}"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "start": "2100-01-15T09:29:30Z", "end": "2100-01-15T09:31:00Z", "step": "60"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_counter", "start": "2100-01-15T08:00:00Z", "end": "2100-01-15T11:00:00Z", "step": "3600", "function": "increase"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_counter", "start": "2100-01-15T08:00:00Z", "end": "2100-01-15T11:00:00Z", "step": "3600", "function": "quantile", "q": "0.9"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "end": "2100-01-16T09:00:00Z", "start": "2100-01-15T08:59:59Z"}');
CALL regress.ask(:'other_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "start": "2100-01-15T09:29:30Z", "end": "2100-01-15T09:31:00Z"}');
CALL regress.ask(:'other_token', '/v1/metrics/series', '{}');
-- The greatest over the whole range, first; correlation; an end; a quantile with its error.
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "start": "2100-01-15T00:00:00Z", "end": "2100-01-16T00:00:00Z", "step": "86400", "function": "max", "top": "3"}');
SELECT series_id AS gauge FROM regress.series WHERE kind = 'gauge' \gset
CALL regress.ask(:'viewer_token', '/v1/metrics/query', jsonb_build_object('name', 'probectl_probe_gauge', 'with', :'gauge', 'start', '2100-01-15T00:00:00Z', 'end', '2100-01-18T00:00:00Z', 'step', '86400', 'function', 'count'));
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_marked", "start": "2100-01-15T12:28:00Z", "end": "2100-01-15T12:40:00Z", "step": "60"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "start": "2100-01-14T00:00:00Z", "end": "2100-01-16T00:00:00Z", "step": "86400", "function": "quantile"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "top": "3", "limit": "3"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "top": "0"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "with": "00000000-0000-4000-8000-000000000000"}');
CALL regress.ask(:'other_token', '/v1/metrics/query', jsonb_build_object('name', 'probectl_probe_gauge', 'with', :'gauge'));
-- Several names in one answer, of one test; another tenant's test is like one that is not there.
UPDATE probectl.metric_series SET test_id = regress.test_uuid(71), labels = labels || jsonb_build_object('test_id', regress.test_uuid(71)) WHERE tenant_id = :'a' AND name IN ('probectl_probe_one', 'probectl_probe_marked');
SELECT jsonb_build_object('name', 'probectl_probe_one,probectl_probe_marked,probectl_probe_gauge', 'match', format('{test_id="%s"}', regress.test_uuid(71)), 'start', '2100-01-15T09:29:00Z', 'end', '2100-01-15T09:31:00Z', 'step', '120') AS of_test \gset
CREATE FUNCTION regress.answered(token text, query jsonb) RETURNS TABLE (name text, points jsonb) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_session(token);
  RETURN QUERY SELECT i ->> 'name', i -> 'points' FROM probectl.api_call('GET', '/v1/metrics/query', '{}', query, NULL) c, jsonb_array_elements(c.body::jsonb -> 'items') i ORDER BY 1;
END
$$;
SELECT * FROM regress.answered(:'viewer_token', :'of_test');
SELECT * FROM regress.answered(:'project_token', :'of_test');
SELECT count(*) FROM regress.answered(:'nobody_token', :'of_test');
CALL regress.ask(:'other_token', '/v1/metrics/query', :'of_test');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', jsonb_set(:'of_test', '{match}', '"{test_id=\"none\"}"'));
SELECT probectl_internal.metric_test(m) FROM unnest('{"{}","{\"test_id\": \"none\"}","{\"test_id\": \"00000000-0000-4000-8000-00000000A001\"}","{\"test_id\": \"00000000-0000-4000-8000-00000000a001\"}"}'::jsonb[]) m;
CALL regress.ask(:'viewer_token', '/v1/metrics/query', :'of_test'::jsonb || '{"top": "3"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "a,,b"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', jsonb_build_object('name', repeat('a,', 16) || 'a'));
CALL regress.ask(:'viewer_token', '/v1/metrics/query', jsonb_build_object('name', repeat('a', 201)));
-- Page by page: every series once.
CREATE FUNCTION regress.pages(token text) RETURNS TABLE (pages integer, series bigint) LANGUAGE plpgsql AS $$
DECLARE
  body json;
  seen text[] := '{}';
  query jsonb := '{"limit": "2"}';
BEGIN
  pages := 0;
  PERFORM probectl.enter_session(token);
  LOOP
    SELECT c.body::json INTO body FROM probectl.api_call('GET', '/v1/metrics/series', '{}', query, NULL) c;
    pages := pages + 1;
    seen := seen || ARRAY(SELECT i ->> 'series_id' FROM json_array_elements(body -> 'items') i);
    EXIT WHEN body ->> 'next' IS NULL;
    query := query || jsonb_build_object('after', body ->> 'next');
  END LOOP;
  series := (SELECT count(DISTINCT s) FROM unnest(seen) s);
  RETURN NEXT;
END
$$;
SELECT * FROM regress.pages(:'viewer_token');
-- What is refused, and with which field.
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "function": "median"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "function": "median"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "start": "2100-01-15T09:00:00Z", "end": "2100-01-15T09:00:00Z"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "step": "0"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "q": "2"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "match": "{a}"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "limit": "501"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "start": "now"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "x", "query": "up"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/query', '{"name": "probectl_probe_one", "start": "2100-01-15T00:00:00Z", "end": "2100-01-15T12:00:00Z", "step": "1"}');
CALL regress.ask(:'viewer_token', '/v1/metrics/series', '{"after": "x"}');
-- A series that is deleted takes what waits for compaction along, out of rows that others share, and begins anew when it is registered again.
CREATE FUNCTION regress.share(tenant uuid, which integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  INSERT INTO probectl.metric_series (tenant_id, series_id, hash, name, labels, first_seen, last_seen)
    SELECT tenant, ('04000000-0000-8000-8000-00000000000' || i)::uuid, sha256(convert_to('shared' || i, 'UTF8')), 'shared', '{}', probectl.clock_now(), probectl.clock_now() FROM unnest(which) i;
END
$$;
CREATE VIEW regress.shared AS SELECT h.bucket, h.n, h.samples AS of_row, right(c.series_id::text, 1) AS series, c.samples, c.t0, c.t1
  FROM probectl.metric_hot h, LATERAL probectl_internal.metric_hot_content(h.data) c WHERE c.series_id::text LIKE '04000000-0000-8000-8000-%' ORDER BY h.xid, h.n, c.series_id;
BEGIN; SELECT regress.share(:'b', '{1,2,3}'); COMMIT;
BEGIN;
SELECT probectl.enter_tenant(:'b') \g /dev/null
SELECT probectl.metric_append(string_agg(regress.packed(series_id, ARRAY['2100-01-15 11:00:00+00', '2100-01-15 11:01:00+00']::timestamptz[], ARRAY[1, 2]::double precision[]), '')) FROM probectl.metric_series WHERE name = 'shared';
SELECT probectl.metric_append(string_agg(regress.packed(series_id, ARRAY['2100-01-15 11:02:00+00']::timestamptz[], ARRAY[3]::double precision[]), '')) FROM probectl.metric_series WHERE name = 'shared';
SELECT probectl.metric_append(regress.packed('04000000-0000-8000-8000-000000000002', ARRAY['2100-01-15 11:03:00+00']::timestamptz[], ARRAY[4]::double precision[]));
COMMIT;
SELECT * FROM regress.shared;
BEGIN;
SELECT probectl_internal.tenant_bind(:'b') \g /dev/null
DELETE FROM probectl.metric_series WHERE tenant_id = :'b' AND series_id = '04000000-0000-8000-8000-000000000002';
SELECT * FROM regress.shared;
COMMIT;
BEGIN;
SELECT regress.share(:'b', '{2}');
SELECT right(s.series_id::text, 1) AS series, r.* FROM probectl.metric_series s LEFT JOIN LATERAL probectl.metric_read(s.series_id, '2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00') r ON true WHERE s.tenant_id = :'b' AND s.name = 'shared' ORDER BY 1, 2;
COMMIT;
-- What a transaction adds and takes back between two looks is seen as it is at each.
BEGIN;
SELECT probectl.enter_tenant(:'b') \g /dev/null
SAVEPOINT s;
SELECT probectl.metric_append(regress.packed('04000000-0000-8000-8000-000000000001', ARRAY['2100-01-15 11:09:00+00']::timestamptz[], ARRAY[9]::double precision[]));
SELECT count(*) FROM probectl.metric_read('04000000-0000-8000-8000-000000000001', '2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00');
ROLLBACK TO s;
SELECT count(*) FROM probectl.metric_read('04000000-0000-8000-8000-000000000001', '2100-01-15 00:00:00+00', '2100-01-16 00:00:00+00');
COMMIT;
-- Of no series, should it be, is nothing in the way: compaction drops it.
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM probectl.metric_series WHERE tenant_id = :'b' AND series_id = '04000000-0000-8000-8000-000000000003';
COMMIT;
BEGIN;
SET LOCAL probectl.clock = '2100-01-15T12:20:00Z';
SELECT probectl_internal.tenant_bind(:'b') \g /dev/null
SELECT probectl_internal.metric_compact(100) >= 2 AS compacted;
SELECT right(series_id::text, 1) AS series, level, samples FROM probectl.metric_chunk WHERE tenant_id = :'b' AND series_id::text LIKE '04000000-0000-8000-8000-%' ORDER BY 1, 2;
SELECT * FROM regress.shared;
COMMIT;
DROP VIEW regress.shared;
DROP FUNCTION regress.share(uuid, integer[]);
DROP PROCEDURE regress.ask(text, text, jsonb, text, text), regress.fill(uuid), regress.stored();
DROP FUNCTION regress.rolled_differences(uuid), regress.sketch_differences(uuid, text), regress.pages(text), regress.answered(text, jsonb), regress.differences(uuid), regress.read_differences(uuid), regress.alike(double precision, double precision, double precision), regress.packed(uuid, timestamptz[], double precision[]),
  regress.oracle(text, text, timestamptz, timestamptz, interval, double precision), regress.series_make(text), regress.samples(uuid);
DROP TABLE regress.plain, regress.series, regress.range, regress.asked, regress.expected;
