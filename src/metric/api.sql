-- metric: reading, upkeep, and the handlers of /v1/metrics. All that read are parallel safe: a worker of a parallel
-- plan knows tenant and principal, so it asks for the series as the caller and then reads as the owner, as its leader does.
CREATE OR REPLACE FUNCTION probectl.metric_read(series uuid, start_at timestamptz, end_at timestamptz, OUT at timestamptz, OUT value double precision)
  RETURNS SETOF record LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 ROWS 300 AS 'MODULE_PATHNAME', 'pctl_metric_read';
COMMENT ON FUNCTION probectl.metric_read(uuid, timestamptz, timestamptz) IS 'samples of a series in [start, end), in order, each time once, NULL where the series ended; none when the caller sees no such series';

CREATE OR REPLACE FUNCTION probectl.metric_window(series uuid, function text, start_at timestamptz, end_at timestamptz, step interval, q double precision DEFAULT 0.5,
                                                  OUT at timestamptz, OUT value double precision, OUT min double precision, OUT max double precision, OUT samples bigint, OUT ended boolean, OUT error double precision)
  RETURNS SETOF record LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 ROWS 300 AS 'MODULE_PATHNAME', 'pctl_metric_window';
COMMENT ON FUNCTION probectl.metric_window(uuid, text, timestamptz, timestamptz, interval, double precision) IS
  'a row for each step of [start, end) that holds samples or the end of the series: avg, min, max, sum, count, first, last, delta, increase, rate or quantile (q), with the extremes and the number of samples; ended when the series ended in the step and did not go on, then with value NULL if it holds no sample; error is the relative error the value may have: 0, or that of the sketch for a quantile over more than a day; PC422 for what is no function, range or step';

CREATE OR REPLACE FUNCTION probectl.metric_correlation(series_a uuid, series_b uuid, start_at timestamptz, end_at timestamptz, step interval) RETURNS double precision
  LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'pctl_metric_correlation';
COMMENT ON FUNCTION probectl.metric_correlation(uuid, uuid, timestamptz, timestamptz, interval) IS
  'Pearson''s r of two series by their averages in the steps in which both have samples; NULL when one does not vary or is not seen';

CREATE OR REPLACE FUNCTION probectl.metric_append(samples bytea) RETURNS bigint
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_metric_append';
COMMENT ON FUNCTION probectl.metric_append(bytea) IS
  'adds samples to series that are there, for imports by an administrator who entered the tenant: for each series its identifier, a count, and so many pairs of microseconds since 2000 and a double, each of 8 bytes, most significant first; number of samples';

-- Matchers: {label="text",label!="text",label=~"regular expression",label!~"..."}; the expression matches the whole value. A label
-- that is not there counts as empty, __name__ is the name.
CREATE OR REPLACE FUNCTION probectl_internal.metric_matchers(match text) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rest text := btrim(coalesce(match, ''));
  part text[];
  value text;
  found jsonb := '[]';
BEGIN
  IF length(rest) > 4096 THEN
    PERFORM probectl_internal.invalid('match', '"match" is at most 4096 characters');
  END IF;
  IF rest ~ '^\{.*\}$' THEN
    rest := btrim(substr(rest, 2, length(rest) - 2));
  END IF;
  WHILE rest <> '' LOOP
    part := regexp_match(rest, '^([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,\s*(.*)|)$');
    IF part IS NULL OR jsonb_array_length(found) = 16 THEN
      PERFORM probectl_internal.invalid('match', '"match" must look like {canary_type="icmp",server_address=~"10[.].*"}: at most 16 of =, !=, =~ and !~');
    END IF;
    value := regexp_replace(part[3], '\\(.)', '\1', 'g');
    IF part[2] IN ('=~', '!~') THEN
      BEGIN
        PERFORM '' ~ ('^(?:' || value || ')$');
      EXCEPTION
        WHEN invalid_regular_expression THEN
          PERFORM probectl_internal.invalid('match', format('"%s" is no regular expression', left(value, 100)));
      END;
    END IF;
    found := found || jsonb_build_object('label', part[1], 'op', part[2], 'value', value);
    rest := coalesce(part[4], '');
  END LOOP;
  RETURN found;
END
$$;
COMMENT ON FUNCTION probectl_internal.metric_matchers(text) IS 'matchers as they are written, as an array of label, op and value; PC422 when they do not parse';

CREATE OR REPLACE FUNCTION probectl_internal.metric_matches(name text, labels jsonb, matchers jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (
    SELECT FROM jsonb_array_elements(matchers) m,
           LATERAL (SELECT CASE WHEN m ->> 'label' = '__name__' THEN metric_matches.name ELSE coalesce(labels ->> (m ->> 'label'), '') END AS have, m ->> 'value' AS want) v
     WHERE NOT CASE m ->> 'op' WHEN '=' THEN v.have = v.want WHEN '!=' THEN v.have <> v.want
                               WHEN '=~' THEN v.have ~ ('^(?:' || v.want || ')$') ELSE v.have !~ ('^(?:' || v.want || ')$') END)
$$;
COMMENT ON FUNCTION probectl_internal.metric_matches(text, jsonb, jsonb) IS 'whether a series fits all matchers';

-- Most matchers are equalities, and those cost little: what is left of the series is asked one by one.
CREATE OR REPLACE FUNCTION probectl_internal.metric_equals(matchers jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(jsonb_object_agg(m ->> 'label', m -> 'value'), '{}') FROM jsonb_array_elements(matchers) m
   WHERE m ->> 'op' = '=' AND m ->> 'label' <> '__name__' AND m ->> 'value' <> ''
$$;
COMMENT ON FUNCTION probectl_internal.metric_equals(jsonb) IS 'labels that a series must hold to fit the matchers: a filter before metric_matches, not instead of it';

-- Who asks for a test's series must not wait for those of all tests: the column has an index, the labels have none.
CREATE OR REPLACE FUNCTION probectl_internal.metric_test(equals jsonb) RETURNS uuid
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN equals ->> 'test_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (equals ->> 'test_id')::uuid END
$$;
COMMENT ON FUNCTION probectl_internal.metric_test(jsonb) IS 'test that the labels of metric_equals name, as in metric_series.test_id; NULL when they name none';

CREATE OR REPLACE FUNCTION probectl.metric_query(name text, match text, function text, start_at timestamptz, end_at timestamptz, step interval, q double precision DEFAULT 0.5,
                                                 OUT series_id uuid, OUT at timestamptz, OUT value double precision, OUT min double precision, OUT max double precision, OUT samples bigint, OUT ended boolean, OUT error double precision)
  RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.series_id, w.at, w.value, w.min, w.max, w.samples, w.ended, w.error
    FROM (SELECT x.matchers, probectl_internal.metric_equals(x.matchers) AS equals FROM probectl_internal.metric_matchers(metric_query.match) x (matchers)) m, probectl.metric_series s,
         LATERAL probectl.metric_window(s.series_id, metric_query.function, start_at, end_at, step, q) w
   WHERE s.tenant_id = probectl.current_tenant() AND s.name = metric_query.name AND s.labels @> m.equals AND (m.matchers = '[]' OR probectl_internal.metric_matches(s.name, s.labels, m.matchers))
   ORDER BY s.series_id, w.at
$$;
COMMENT ON FUNCTION probectl.metric_query(text, text, text, timestamptz, timestamptz, interval, double precision) IS 'metric_window of every series of the name that fits the matchers';

CREATE OR REPLACE FUNCTION probectl.metric_top(name text, match text, function text, start_at timestamptz, end_at timestamptz, k integer, q double precision DEFAULT 0.5, step interval DEFAULT NULL,
                                               OUT series_id uuid, OUT value double precision)
  RETURNS SETOF record LANGUAGE sql STABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp AS $$
  SELECT w.series_id, w.value
    FROM probectl.metric_query(metric_top.name, metric_top.match, metric_top.function, start_at, end_at, greatest(metric_top.step, end_at - start_at, interval '1 us'), q) w
   WHERE w.value IS NOT NULL
   ORDER BY w.value DESC, w.series_id LIMIT k
$$;
COMMENT ON FUNCTION probectl.metric_top(text, text, text, timestamptz, timestamptz, integer, double precision, interval) IS
  'the k series of the name with the greatest value of the function over the whole range; step, where it is longer than the range, makes the range one of whole minutes or hours for roll-ups';

-- Upkeep, by the keeper.
CREATE OR REPLACE FUNCTION probectl_internal.metric_compact(most integer) RETURNS integer
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_metric_compact';
COMMENT ON FUNCTION probectl_internal.metric_compact(integer) IS 'moves samples that are due into chunks and roll-ups, bucket by bucket until it has done so many series; number of series, 0 when nothing is due';

CREATE OR REPLACE FUNCTION probectl_internal.metric_hot_content(data bytea, OUT series_id uuid, OUT samples integer, OUT t0 timestamptz, OUT t1 timestamptz)
  RETURNS SETOF record LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 100 ROWS 40 AS 'MODULE_PATHNAME', 'pctl_metric_hot_content';
COMMENT ON FUNCTION probectl_internal.metric_hot_content(bytea) IS 'what a row of metric_hot has of each series; none when it does not decode';

CREATE OR REPLACE FUNCTION probectl_internal.metric_hot_forget(series uuid[]) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_metric_hot_forget';
COMMENT ON FUNCTION probectl_internal.metric_hot_forget(uuid[]) IS 'takes the samples of series out of metric_hot';

-- A series is what its labels say: one that is registered again must not have what was there before. The row of metric_state
-- first: then what the derive worker had in hand is there to be seen.
CREATE OR REPLACE FUNCTION probectl_internal.metric_series_forgotten() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- With the tenant go all its rows: nobody is bound then.
  IF probectl.current_tenant() IS NOT NULL THEN
    UPDATE probectl.metric_state s SET epoch = s.epoch + 1 WHERE s.tenant_id = probectl.current_tenant();
    PERFORM probectl_internal.metric_hot_forget(ARRAY(SELECT g.series_id FROM gone g WHERE g.tenant_id = probectl.current_tenant()));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.metric_series_forgotten() IS 'trigger: what workers remember of the tenant''s series is void, and samples that wait for compaction go with them';

CREATE OR REPLACE FUNCTION probectl_internal.metric_end(test uuid, agent uuid) RETURNS bigint
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_metric_end';
COMMENT ON FUNCTION probectl_internal.metric_end(uuid, uuid) IS 'puts a marker behind the last sample of each series of a test, or of an agent, that has not ended; number of series';

CREATE OR REPLACE FUNCTION probectl_internal.metric_ending() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- With the tenant goes everything it had: nobody is bound then, and there is nothing to say.
  IF probectl.current_tenant() IS NOT NULL THEN
    IF TG_ARGV[0] = 'test' THEN
      PERFORM probectl_internal.metric_end(OLD.test_id, NULL);
    ELSE
      PERFORM probectl_internal.metric_end(NULL, OLD.agent_id);
    END IF;
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION probectl_internal.metric_ending() IS 'trigger: series of a test or an agent, which TG_ARGV names, end';

CREATE OR REPLACE FUNCTION probectl_internal.metric_retain() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine uuid := probectl.current_tenant();
  now timestamptz := probectl.clock_now();
  done bigint;
  gone bigint := 0;
BEGIN
  -- Once an hour; the row is locked, so by one at a time.
  UPDATE probectl.metric_state s SET retained_at = now WHERE s.tenant_id = mine AND s.retained_at <= now - interval '1 hour';
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  -- A day longer than promised, so that an hour in which a sample may still come is there as a whole when it is rolled up.
  FOR old_level IN 0 .. 2 LOOP
    DELETE FROM probectl.metric_chunk c WHERE c.tenant_id = mine AND c.level = old_level
       AND c.t1 < now - interval '1 day' - make_interval(days => current_setting((ARRAY['probectl.metric_raw_retention', 'probectl.metric_minute_retention', 'probectl.metric_hour_retention'])[old_level + 1])::integer);
    GET DIAGNOSTICS done = ROW_COUNT;
    gone := gone + done;
  END LOOP;
  -- What is being written now is seen by the next statement.
  PERFORM pg_advisory_xact_lock(hashtextextended('probectl metric series ' || mine, 0));
  WITH waiting AS MATERIALIZED (SELECT DISTINCT c.series_id FROM probectl.metric_hot h, LATERAL probectl_internal.metric_hot_content(h.data) c WHERE h.tenant_id = mine)
  DELETE FROM probectl.metric_series s WHERE s.tenant_id = mine AND s.last_seen < now - make_interval(days => current_setting('probectl.metric_raw_retention')::integer)
     AND NOT EXISTS (SELECT FROM probectl.metric_chunk c WHERE c.tenant_id = mine AND c.series_id = s.series_id)
     AND NOT EXISTS (SELECT FROM waiting w WHERE w.series_id = s.series_id);
  GET DIAGNOSTICS done = ROW_COUNT;
  RETURN gone + done;
END
$$;
COMMENT ON FUNCTION probectl_internal.metric_retain() IS 'drops chunks past their retention and series that have none left; at most once an hour; number of rows';

-- The API.
CREATE OR REPLACE FUNCTION probectl_api.metrics_series(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
  matchers jsonb := probectl_internal.metric_matchers(query ->> 'match');
  equals jsonb := probectl_internal.metric_equals(matchers);
BEGIN
  PERFORM probectl_internal.input_known(query, '{name,match,limit,after}');
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object('series_id', s.series_id, 'name', s.name, 'labels', s.labels,
               'first_seen', probectl_internal.time_text(s.first_seen), 'last_seen', probectl_internal.time_text(s.last_seen),
               'ended_at', probectl_internal.time_text(s.ended_at)) ORDER BY s.series_id), '[]'),
             'next', CASE WHEN count(*) = page THEN (array_agg(s.series_id ORDER BY s.series_id DESC))[1] END)
      FROM (SELECT * FROM probectl.metric_series x
             WHERE x.tenant_id = probectl.current_tenant() AND x.series_id > after_id AND (NOT query ? 'name' OR x.name = query ->> 'name')
               AND x.labels @> equals AND (matchers = '[]' OR probectl_internal.metric_matches(x.name, x.labels, matchers))
             ORDER BY x.series_id LIMIT page) s);
END
$$;
COMMENT ON FUNCTION probectl_api.metrics_series(jsonb, jsonb, jsonb) IS 'GET /v1/metrics/series';

CREATE OR REPLACE FUNCTION probectl_api.metrics_query(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  top integer := probectl_internal.query_integer(query, 'top', NULL, 1, 100);
  page integer := coalesce(top, probectl_internal.query_integer(query, 'limit', 50, 1, 500));
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
  other uuid := probectl_internal.input_uuid(query, 'with');
  matchers jsonb := probectl_internal.metric_matchers(query ->> 'match');
  equals jsonb := probectl_internal.metric_equals(matchers);
  wanted text[] := string_to_array(probectl_internal.input_text(query, 'name', NULL, 4000), ',');
  wanted_test uuid := probectl_internal.metric_test(equals);
  wanted_function text := probectl_internal.input_text(query, 'function', 'avg', 16);
  until timestamptz := coalesce(probectl_internal.query_time(query, 'end'), probectl.clock_now());
  since timestamptz := coalesce(probectl_internal.query_time(query, 'start'), until - interval '1 hour');
  seconds integer;
  wanted_q text := coalesce(query ->> 'q', '0.5');
  greatest_of uuid[];
BEGIN
  PERFORM probectl_internal.input_known(query, '{name,match,function,start,end,step,q,top,with,limit,after}');
  IF cardinality(wanted) > 16 OR EXISTS (SELECT FROM unnest(wanted) n WHERE length(n) NOT BETWEEN 1 AND 200) THEN
    PERFORM probectl_internal.invalid('name', '"name" is one name of a series, or at most 16 with commas between');
  END IF;
  IF wanted_function NOT IN ('avg', 'min', 'max', 'sum', 'count', 'first', 'last', 'delta', 'increase', 'rate', 'quantile') THEN
    PERFORM probectl_internal.invalid('function', '"function" is avg, min, max, sum, count, first, last, delta, increase, rate or quantile');
  END IF;
  IF wanted_q !~ '^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$' THEN
    PERFORM probectl_internal.invalid('q', '"q" must be a number from 0 to 1');
  END IF;
  IF until <= since OR until - since > interval '20 years' THEN
    PERFORM probectl_internal.invalid('start', '"start" must be before "end", by 20 years at most');
  END IF;
  IF top IS NOT NULL AND query ?| '{limit,after}' THEN
    PERFORM probectl_internal.invalid('top', '"top" is one page: it goes without "limit" and "after"');
  END IF;
  IF top IS NOT NULL AND cardinality(wanted) > 1 THEN
    PERFORM probectl_internal.invalid('top', '"top" compares series of one "name"');
  END IF;
  IF other IS NOT NULL AND NOT EXISTS (SELECT FROM probectl.metric_series x WHERE x.tenant_id = probectl.current_tenant() AND x.series_id = other) THEN
    PERFORM probectl_internal.invalid('with', '"with" is no series');
  END IF;
  -- By default some 300 points; whole minutes and hours where it is that many, so that roll-ups fit.
  seconds := ceil(extract(epoch FROM until - since) / 300);
  seconds := CASE WHEN seconds > 1800 THEN ceil(seconds / 3600.0) * 3600 WHEN seconds > 30 THEN ceil(seconds / 60.0) * 60 ELSE seconds END;
  seconds := probectl_internal.query_integer(query, 'step', seconds, 1, 31536000);
  -- The start moves back to a whole step, so that the same points come whenever one asks; so does an end before the time of samples.
  since := to_timestamp(floor(extract(epoch FROM since) / seconds) * seconds);
  IF until < probectl.clock_now() - make_interval(days => current_setting('probectl.metric_raw_retention')::integer) THEN
    until := to_timestamp(ceil(extract(epoch FROM until) / seconds) * seconds);
  END IF;
  IF top IS NOT NULL THEN
    greatest_of := ARRAY(SELECT m.series_id FROM probectl.metric_top(wanted[1], query ->> 'match', wanted_function, since, until, top, wanted_q::double precision,
                                                                     make_interval(secs => ceil(extract(epoch FROM until - since) / seconds) * seconds)) m ORDER BY m.value DESC, m.series_id);
  END IF;
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object('series_id', s.series_id, 'name', s.name, 'labels', s.labels,
               'correlation', CASE WHEN other IS NOT NULL THEN probectl.metric_correlation(s.series_id, other, since, until, make_interval(secs => seconds)) END,
               'points', p.points) ORDER BY array_position(greatest_of, s.series_id), s.series_id), '[]'),
             'next', CASE WHEN top IS NULL AND count(*) = page THEN (array_agg(s.series_id ORDER BY s.series_id DESC))[1] END,
             'function', wanted_function, 'start', probectl_internal.time_text(since), 'end', probectl_internal.time_text(until), 'step', seconds,
             'relative_error', coalesce(max(p.error), 0), 'collector_running', probectl_internal.derive_running())
      FROM (SELECT * FROM probectl.metric_series x
             WHERE x.tenant_id = probectl.current_tenant() AND x.name = ANY (wanted) AND (wanted_test IS NULL OR x.test_id = wanted_test) AND x.series_id > after_id AND x.labels @> equals
               AND (matchers = '[]' OR probectl_internal.metric_matches(x.name, x.labels, matchers)) AND (top IS NULL OR x.series_id = ANY (greatest_of))
             ORDER BY x.series_id LIMIT page) s,
           LATERAL (SELECT coalesce(json_agg(CASE WHEN w.ended THEN json_build_object('t', (extract(epoch FROM w.at) * 1000)::bigint, 'value', w.value, 'min', w.min, 'max', w.max, 'samples', w.samples, 'ended', true)
                                                  ELSE json_build_object('t', (extract(epoch FROM w.at) * 1000)::bigint, 'value', w.value, 'min', w.min, 'max', w.max, 'samples', w.samples) END ORDER BY w.at), '[]') AS points,
                           max(w.error) AS error
                      FROM probectl.metric_window(s.series_id, wanted_function, since, until, make_interval(secs => seconds), wanted_q::double precision) w) p);
END
$$;
COMMENT ON FUNCTION probectl_api.metrics_query(jsonb, jsonb, jsonb) IS 'GET /v1/metrics/query';
