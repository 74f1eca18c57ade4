-- api: the call, reading input, and the handlers. A handler takes (path parameters, query, body) and answers
-- json; it runs as probectl_app, so it sees what row-level security shows. api_call() pins the search_path once for all of
-- them: pinning each function would cost more than most of them do.
CREATE OR REPLACE FUNCTION probectl.api_call(method text, path text, params jsonb, query jsonb, request jsonb, OUT status integer, OUT body text)
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_api_call';
COMMENT ON FUNCTION probectl.api_call(text, text, jsonb, jsonb, jsonb) IS 'answers a request of the entered session: path is the pattern of probectl.api_route; 403 is an answer, other refusals are errors PCnnn';

-- Input. Every one raises PC422 with the field.
CREATE OR REPLACE FUNCTION probectl_internal.input_known(given jsonb, known text[]) RETURNS void
  LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  field text;
BEGIN
  IF given IS NOT NULL AND jsonb_typeof(given) <> 'object' THEN
    PERFORM probectl_internal.invalid('body', 'the body must be a JSON object');
  END IF;
  -- Every call comes here: an expression costs a fifth of a query.
  IF given - known <> '{}' THEN
    field := (SELECT k FROM jsonb_object_keys(given - known) k LIMIT 1);
    PERFORM probectl_internal.invalid(field, format('there is no field "%s"; there are %s', left(field, 64), array_to_string(known, ', ')));
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.input_known(jsonb, text[]) IS 'refuses a field that is not known';

CREATE OR REPLACE FUNCTION probectl_internal.input_text(given jsonb, field text, fallback text, max_length integer) RETURNS text
  LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT coalesce(given ? field, false) THEN
    IF fallback IS NULL THEN
      PERFORM probectl_internal.invalid(field, format('"%s" is needed', field));
    END IF;
    RETURN fallback;
  END IF;
  IF jsonb_typeof(given -> field) <> 'string' OR length(given ->> field) NOT BETWEEN 1 AND max_length THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be a text of 1 to %s characters', field, max_length));
  END IF;
  RETURN given ->> field;
END
$$;
COMMENT ON FUNCTION probectl_internal.input_text(jsonb, text, text, integer) IS 'a text field, or the fallback; needed when there is none';

CREATE OR REPLACE FUNCTION probectl_internal.input_number(given jsonb, field text, fallback numeric, low numeric, high numeric) RETURNS numeric
  LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT coalesce(given ? field, false) THEN
    RETURN fallback;
  END IF;
  IF jsonb_typeof(given -> field) <> 'number' OR (given ->> field)::numeric NOT BETWEEN low AND high THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be a number from %s to %s', field, low, high));
  END IF;
  RETURN (given ->> field)::numeric;
END
$$;
COMMENT ON FUNCTION probectl_internal.input_number(jsonb, text, numeric, numeric, numeric) IS 'a number field within bounds, or the fallback';

CREATE OR REPLACE FUNCTION probectl_internal.input_uuid(given jsonb, field text) RETURNS uuid
  LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT coalesce(given ? field, false) OR given -> field = 'null' THEN
    RETURN NULL;
  END IF;
  IF (given ->> field) !~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be a UUID', field));
  END IF;
  RETURN (given ->> field)::uuid;
END
$$;
COMMENT ON FUNCTION probectl_internal.input_uuid(jsonb, text) IS 'a UUID field, or NULL';

CREATE OR REPLACE FUNCTION probectl_internal.query_integer(query jsonb, field text, fallback integer, low integer, high integer) RETURNS integer
  LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT coalesce(query ? field, false) THEN
    RETURN fallback;
  END IF;
  IF coalesce(query ->> field, '') !~ '^[0-9]{1,9}$' OR (query ->> field)::integer NOT BETWEEN low AND high THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be a whole number from %s to %s', field, low, high));
  END IF;
  RETURN (query ->> field)::integer;
END
$$;
COMMENT ON FUNCTION probectl_internal.query_integer(jsonb, text, integer, integer, integer) IS 'a whole number of the query within bounds, or the fallback';

CREATE OR REPLACE FUNCTION probectl_internal.query_time(query jsonb, field text) RETURNS timestamptz
  LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT coalesce(query ? field, false) THEN
    RETURN NULL;
  END IF;
  IF coalesce(query ->> field, '') !~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$' THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be a time like 2026-01-31T12:00:00Z', field));
  END IF;
  RETURN (query ->> field)::timestamptz;
EXCEPTION
  WHEN data_exception THEN
    PERFORM probectl_internal.invalid(field, format('"%s" is not a time', field));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.query_time(jsonb, text) IS 'a time (RFC 3339) of the query, or NULL';

-- Results.
CREATE OR REPLACE FUNCTION probectl_api.results_latest(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 500, 1, 5000);
  wanted_type text := query ->> 'type';
  wanted_state text := query ->> 'state';
  wanted_test uuid := probectl_internal.input_uuid(query, 'test_id');
  wanted_agent uuid := probectl_internal.input_uuid(query, 'agent_id');
  after_test uuid;
  after_agent uuid;
  now timestamptz := probectl.clock_now();
  items text;
  tests uuid[];
  agents uuid[];
  found integer;
BEGIN
  PERFORM probectl_internal.input_known(query, '{type,agent_id,test_id,state,limit,after}');
  IF wanted_state NOT IN ('ok', 'failed', 'stale') THEN
    PERFORM probectl_internal.invalid('state', '"state" must be ok, failed or stale');
  END IF;
  IF query ? 'after' THEN
    after_test := probectl_internal.input_uuid(jsonb_build_object('after', split_part(query ->> 'after', ':', 1)), 'after');
    after_agent := probectl_internal.input_uuid(jsonb_build_object('after', split_part(query ->> 'after', ':', 2)), 'after');
  END IF;
  -- The rows come in order, so the last of each array is the last row.
  SELECT string_agg(p.item, ','), count(*), array_agg(p.test_id), array_agg(p.agent_id)
    INTO items, found, tests, agents
    FROM (
      -- Everything but the state was written as JSON when the run arrived, or when its test or agent changed.
      SELECT l.test_id, l.agent_id, concat('{"test_id":"', l.test_id, '","agent_id":"', l.agent_id, '","state":"', s.state, '",', l.names, l.item,
                                           ',"spark":[', l.spark, ']}') AS item
        FROM probectl.result_latest l,
             LATERAL (SELECT CASE WHEN l.started_at + l.stale_after < now THEN 'stale' WHEN l.success THEN 'ok' ELSE 'failed' END AS state) s
       WHERE l.tenant_id = probectl.current_tenant()
         AND (wanted_type IS NULL OR l.type = wanted_type)
         AND (wanted_test IS NULL OR l.test_id = wanted_test)
         AND (wanted_agent IS NULL OR l.agent_id = wanted_agent)
         AND (after_test IS NULL OR (l.test_id, l.agent_id) > (after_test, after_agent))
         AND (wanted_state IS NULL OR s.state = wanted_state)
       ORDER BY l.test_id, l.agent_id
       LIMIT page) p;
  RETURN probectl_internal.json_raw(concat('{"items":[', items, '],"next":', CASE WHEN found = page THEN format('"%s:%s"', tests[found], agents[found]) ELSE 'null' END,
                ',"collector_running":', probectl_internal.derive_running()::text, '}'));
END
$$;
COMMENT ON FUNCTION probectl_api.results_latest(jsonb, jsonb, jsonb) IS 'GET /v1/results/latest';

CREATE OR REPLACE FUNCTION probectl_api.results(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 5000);
  wanted_test uuid := probectl_internal.input_uuid(query, 'test_id');
  wanted_agent uuid := probectl_internal.input_uuid(query, 'agent_id');
  since timestamptz := coalesce(probectl_internal.query_time(query, 'since'), '-infinity');
  until timestamptz := coalesce(probectl_internal.query_time(query, 'until'), 'infinity');
  after_at timestamptz := 'infinity';
  after_id uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  from_at timestamptz;
  items text;
  more text;
  times timestamptz[];
  ids uuid[];
  found_more integer;
  found_all integer := 0;
BEGIN
  PERFORM probectl_internal.input_known(query, '{test_id,agent_id,since,until,limit,after}');
  IF wanted_test IS NULL THEN
    PERFORM probectl_internal.invalid('test_id', '"test_id" is needed');
  END IF;
  IF query ? 'after' THEN
    after_at := probectl_internal.query_time(jsonb_build_object('after', split_part(query ->> 'after', '/', 1)), 'after');
    after_id := probectl_internal.input_uuid(jsonb_build_object('after', split_part(query ->> 'after', '/', 2)), 'after');
  END IF;
  -- Asked once, not in each partition: who may see tests of some projects only sees what was run of those.
  IF NOT probectl_internal.may('test.read', NULL) THEN
    PERFORM FROM probectl.test t WHERE t.tenant_id = probectl.current_tenant() AND t.test_id = wanted_test;
    IF NOT FOUND THEN
      RETURN '{"items":[],"next":null}';
    END IF;
  END IF;
  -- The newest day alone fills most pages, and then the partitions of the other days are not opened.
  from_at := greatest(since, least(until, after_at, probectl.clock_now()) - interval '1 day');
  LOOP
    -- Put together as text: json_build_object() looks its types up in every row. The rows come in order, so the last of each array is the last row.
    SELECT string_agg(concat('{"result_id":"', r.result_id, '","test_id":"', r.test_id, '","agent_id":"', r.agent_id, '","type":', to_json(r.type),
                             ',"target":', to_json(r.target), ',"port":', r.port, ',"success":', r.success::text, ',"error_type":', to_json(r.error_type),
                             ',"error":', to_json(r.error), ',"started_at":"', probectl_internal.time_text(r.started_at),
                             '","duration_ms":', round(r.duration_us / 1000.0, 3), ',"latency_ms":', coalesce(r.latency_ms::text, 'null'),
                             ',"loss_ratio":', coalesce(r.loss_ratio::text, 'null'), ',"metrics":', r.metrics, ',"attributes":', r.attributes, '}'), ','),
           count(*), array_agg(r.started_at), array_agg(r.result_id)
      INTO more, found_more, times, ids
      FROM (SELECT * FROM probectl.result x
             WHERE x.tenant_id = probectl.current_tenant() AND x.test_id = wanted_test
               AND (wanted_agent IS NULL OR x.agent_id = wanted_agent)
               AND x.started_at >= from_at AND x.started_at <= least(until, after_at)
               AND (x.started_at, x.result_id) < (after_at, after_id)
             ORDER BY x.started_at DESC, x.result_id DESC LIMIT page - found_all) r;
    items := nullif(concat_ws(',', items, more), '');
    found_all := found_all + found_more;
    EXIT WHEN found_all = page OR from_at = since;
    after_at := from_at;
    after_id := '00000000-0000-0000-0000-000000000000';
    from_at := since;
  END LOOP;
  RETURN probectl_internal.json_raw(concat('{"items":[', items, '],"next":', CASE WHEN found_all = page
                THEN format('"%s/%s"', probectl_internal.time_text(times[found_more]), ids[found_more]) ELSE 'null' END, '}'));
END
$$;
COMMENT ON FUNCTION probectl_api.results(jsonb, jsonb, jsonb) IS 'GET /v1/results';

-- Tests.
CREATE OR REPLACE FUNCTION probectl_internal.test_json(t probectl.test) RETURNS json
  LANGUAGE sql STABLE AS $$
  SELECT json_build_object('test_id', t.test_id, 'name', t.name, 'type', t.type, 'target', t.target,
                           'interval_seconds', t.interval_seconds, 'timeout_seconds', t.timeout_seconds, 'params', t.params,
                           'enabled', t.enabled, 'agent_id', t.agent_id, 'project_id', t.project_id, 'created_at', probectl_internal.time_text(t.created_at),
                           'updated_at', probectl_internal.time_text(t.updated_at), 'revision', t.revision)
$$;
COMMENT ON FUNCTION probectl_internal.test_json(probectl.test) IS 'a test as the API shows it';

CREATE OR REPLACE FUNCTION probectl_api.test_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM probectl_internal.input_known(query, '{limit,after}');
  RETURN (
    SELECT json_build_object('items', coalesce(json_agg(probectl_internal.test_json(t) ORDER BY t.test_id), '[]'),
                             'next', CASE WHEN count(*) = page THEN (array_agg(t.test_id ORDER BY t.test_id DESC))[1] END)
      FROM (SELECT * FROM probectl.test x WHERE x.tenant_id = probectl.current_tenant() AND x.test_id > after_id
             ORDER BY x.test_id LIMIT page) t);
END
$$;
COMMENT ON FUNCTION probectl_api.test_list(jsonb, jsonb, jsonb) IS 'GET /v1/tests';

CREATE OR REPLACE FUNCTION probectl_api.test_get(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  t probectl.test;
BEGIN
  SELECT * INTO t FROM probectl.test x
   WHERE x.tenant_id = probectl.current_tenant() AND x.test_id = probectl_internal.input_uuid(test_get.params, 'test_id');
  IF t.test_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such test';
  END IF;
  RETURN probectl_internal.test_json(t);
END
$$;
COMMENT ON FUNCTION probectl_api.test_get(jsonb, jsonb, jsonb) IS 'GET /v1/tests/{test_id}';

-- Checks shared by create and update: what the canary types demand of a target, and params as texts.
CREATE OR REPLACE FUNCTION probectl_internal.test_check(t probectl.test) RETURNS void
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  param record;
BEGIN
  IF t.type NOT IN ('icmp', 'tcp', 'udp', 'http', 'dns', 'a2a') THEN
    PERFORM probectl_internal.invalid('type', '"type" must be icmp, tcp, udp, http, dns or a2a');
  END IF;
  IF t.target ~ (CASE WHEN t.type = 'a2a' THEN '[[:cntrl:]]' ELSE '[[:space:][:cntrl:]]' END) THEN
    PERFORM probectl_internal.invalid('target', 'a target holds no spaces');
  END IF;
  IF t.type = 'http' AND t.target !~* '^https?://[^/?#]' THEN
    PERFORM probectl_internal.invalid('target', 'the target of an http test is a URL: https://example.net/');
  ELSIF t.type IN ('tcp', 'udp') AND t.target !~ ':[0-9]{1,5}$' AND NOT t.params ? 'port' THEN
    PERFORM probectl_internal.invalid('target', format('the target of a %s test is host:port, or a host with the param port', t.type));
  ELSIF t.type = 'dns' AND t.target ~ '[/?#:]' THEN
    PERFORM probectl_internal.invalid('target', 'the target of a dns test is a name');
  ELSIF t.type = 'icmp' AND t.target ~ '[/?#]' THEN
    PERFORM probectl_internal.invalid('target', 'the target of an icmp test is a host name or an address');
  ELSIF t.type = 'a2a' AND t.target !~ ':[0-9]{1,5}$' AND NOT t.params ? 'port' THEN
    IF probectl_internal.a2a_agent(t.target) IS NULL THEN
      PERFORM probectl_internal.invalid('target', 'the target of an a2a test is another agent (its identifier, or its name when no other has it) or host:port of a STAMP reflector');
    ELSIF probectl_internal.a2a_agent(t.target) = t.agent_id THEN
      PERFORM probectl_internal.invalid('agent_id', 'an agent does not test to itself');
    END IF;
  END IF;
  IF t.timeout_seconds > t.interval_seconds THEN
    PERFORM probectl_internal.invalid('timeout_seconds', 'the timeout must not be longer than the interval');
  END IF;
  -- Measured as text: 1e100000 is a few bytes in a jsonb and 100 kB in every answer.
  IF jsonb_typeof(t.params) <> 'object' OR octet_length(t.params::text) > 8192 THEN
    PERFORM probectl_internal.invalid('params', '"params" must be an object of at most 8 kB');
  END IF;
  FOR param IN SELECT key, value FROM jsonb_each(t.params) LOOP
    IF jsonb_typeof(param.value) IN ('object', 'array', 'null') OR param.key !~ '^[a-z0-9_]{1,64}$' THEN
      PERFORM probectl_internal.invalid('params', format('the param "%s" must be a text, a number or true or false', left(param.key, 64)));
    END IF;
  END LOOP;
  IF t.agent_id IS NOT NULL AND NOT EXISTS (SELECT FROM probectl.agent a WHERE a.tenant_id = probectl.current_tenant() AND a.agent_id = t.agent_id) THEN
    PERFORM probectl_internal.invalid('agent_id', 'there is no such agent');
  END IF;
  IF t.project_id IS NOT NULL AND NOT EXISTS (SELECT FROM probectl.project p WHERE p.tenant_id = probectl.current_tenant() AND p.project_id = t.project_id) THEN
    PERFORM probectl_internal.invalid('project_id', 'there is no such project');
  END IF;
  IF NOT probectl_internal.may_on('test.write', t.project_id, jsonb_build_object('type', t.type)) THEN
    PERFORM probectl_internal.audit_denied('permission', 'test.write', 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'the permission test.write is needed for this project';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.test_check(probectl.test) IS 'raises PC422 for a test no agent could run';

-- The agents' guard: a test that may dial addresses that are not public shows whoever reads it what is in an agent's own network.
CREATE OR REPLACE FUNCTION probectl_internal.test_check_private(old_test probectl.test, new_test probectl.test) RETURNS void
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  given text := new_test.params ->> 'allow_private_targets';
BEGIN
  IF given IS NULL THEN
    RETURN;
  END IF;
  IF given NOT IN ('true', 'false') THEN
    PERFORM probectl_internal.invalid('params', 'the param "allow_private_targets" must be true or false');
  END IF;
  -- Who may not set it may still rename such a test or switch it off, but not point it elsewhere.
  IF given = 'false' OR (old_test.type, old_test.target, old_test.params, old_test.agent_id, old_test.project_id)
                        IS NOT DISTINCT FROM (new_test.type, new_test.target, new_test.params, new_test.agent_id, new_test.project_id) THEN
    RETURN;
  END IF;
  IF NOT probectl_internal.may_on('test.allow_private', new_test.project_id, jsonb_build_object('type', new_test.type)) THEN
    PERFORM probectl_internal.audit_denied('permission', 'test.allow_private', 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'the permission test.allow_private is needed for a test with the param "allow_private_targets"',
      DETAIL = 'field: params';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.test_check_private(probectl.test, probectl.test) IS 'raises PC403 when the caller may not let this test dial private addresses';

-- Takes the fields of a body into a test.
CREATE OR REPLACE FUNCTION probectl_internal.test_apply(t probectl.test, given jsonb) RETURNS probectl.test
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  old_test probectl.test := t;
BEGIN
  PERFORM probectl_internal.input_known(given, '{name,type,target,interval_seconds,timeout_seconds,params,enabled,agent_id,project_id}');
  t.type := probectl_internal.input_text(given, 'type', t.type, 32);
  t.target := probectl_internal.input_text(given, 'target', t.target, 1024);
  t.name := probectl_internal.input_text(given, 'name', coalesce(t.name, left(t.type || ' ' || t.target, 128)), 128);
  t.interval_seconds := round(probectl_internal.input_number(given, 'interval_seconds', coalesce(t.interval_seconds, 60), 1, 86400));
  t.timeout_seconds := probectl_internal.input_number(given, 'timeout_seconds', coalesce(t.timeout_seconds, least(3, t.interval_seconds))::numeric, 0.1, 60);
  t.params := CASE WHEN given ? 'params' THEN given -> 'params' ELSE coalesce(t.params, '{}') END;
  t.agent_id := CASE WHEN given ? 'agent_id' THEN probectl_internal.input_uuid(given, 'agent_id') ELSE t.agent_id END;
  t.project_id := CASE WHEN given ? 'project_id' THEN probectl_internal.input_uuid(given, 'project_id') ELSE t.project_id END;
  IF given ? 'enabled' AND jsonb_typeof(given -> 'enabled') <> 'boolean' THEN
    PERFORM probectl_internal.invalid('enabled', '"enabled" must be true or false');
  END IF;
  t.enabled := coalesce((given ->> 'enabled')::boolean, t.enabled, true);
  PERFORM probectl_internal.test_check(t);
  PERFORM probectl_internal.test_check_private(old_test, t);
  RETURN t;
END
$$;
COMMENT ON FUNCTION probectl_internal.test_apply(probectl.test, jsonb) IS 'a test with the fields of a request in it, checked';

CREATE OR REPLACE FUNCTION probectl_api.test_create(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t probectl.test;
BEGIN
  t := probectl_internal.test_apply(t, coalesce(request, '{}'));
  INSERT INTO probectl.test (name, type, target, interval_seconds, timeout_seconds, params, enabled, agent_id, project_id)
    VALUES (t.name, t.type, t.target, t.interval_seconds, t.timeout_seconds, t.params, t.enabled, t.agent_id, t.project_id)
    RETURNING * INTO t;
  RETURN probectl_internal.test_json(t);
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('there is a test called "%s"', t.name), DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl_api.test_create(jsonb, jsonb, jsonb) IS 'POST /v1/tests';

CREATE OR REPLACE FUNCTION probectl_api.test_update(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  t probectl.test;
BEGIN
  SELECT * INTO t FROM probectl.test x
   WHERE x.tenant_id = probectl.current_tenant() AND x.test_id = probectl_internal.input_uuid(test_update.params, 'test_id') FOR UPDATE;
  IF t.test_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such test';
  END IF;
  t := probectl_internal.test_apply(t, coalesce(request, '{}'));
  UPDATE probectl.test x
     SET name = t.name, type = t.type, target = t.target, interval_seconds = t.interval_seconds, timeout_seconds = t.timeout_seconds,
         params = t.params, enabled = t.enabled, agent_id = t.agent_id, project_id = t.project_id
   WHERE x.tenant_id = probectl.current_tenant() AND x.test_id = t.test_id
  RETURNING x.* INTO t;
  RETURN probectl_internal.test_json(t);
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('there is a test called "%s"', t.name), DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl_api.test_update(jsonb, jsonb, jsonb) IS 'PATCH /v1/tests/{test_id}';

CREATE OR REPLACE FUNCTION probectl_api.test_delete(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  DELETE FROM probectl.test x
   WHERE x.tenant_id = probectl.current_tenant() AND x.test_id = probectl_internal.input_uuid(test_delete.params, 'test_id');
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such test';
  END IF;
  DELETE FROM probectl.result_latest l
   WHERE l.tenant_id = probectl.current_tenant() AND l.test_id = probectl_internal.input_uuid(test_delete.params, 'test_id');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_api.test_delete(jsonb, jsonb, jsonb) IS 'DELETE /v1/tests/{test_id}';

-- Agents.
CREATE OR REPLACE FUNCTION probectl_api.agent_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
  now timestamptz := probectl.clock_now();
BEGIN
  PERFORM probectl_internal.input_known(query, '{limit,after}');
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object(
               'agent_id', a.agent_id, 'name', a.name, 'hostname', a.hostname, 'version', a.version,
               'status', CASE WHEN a.revoked_at IS NOT NULL THEN 'revoked' WHEN s.last_seen_at IS NULL THEN 'registered'
                              WHEN now - s.last_seen_at < interval '90 seconds' THEN 'online' ELSE 'offline' END,
               'capabilities', to_json(a.capabilities), 'labels', a.labels, 'registered_at', probectl_internal.time_text(a.registered_at),
               'last_seen_at', probectl_internal.time_text(s.last_seen_at), 'spool_records', coalesce(s.spool_records, 0),
               'oldest_unsent_at', probectl_internal.time_text(s.oldest_unsent_at), 'dropped', coalesce(s.dropped, '{}'),
               'clock_skew_ms', coalesce(s.clock_skew_ms, 0), 'spool_bytes', coalesce(s.spool_bytes, 0),
               'tests_revision', coalesce(s.config_epoch, 0), 'tests_problem', coalesce(s.tests_problem, ''), 'tests_refused', coalesce(s.tests_refused, 0),
               'ticks_skipped', coalesce(s.ticks_skipped, 0), 'runs_disturbed', coalesce(s.runs_disturbed, 0)) ORDER BY a.agent_id), '[]'),
             'next', CASE WHEN count(*) = page THEN (array_agg(a.agent_id ORDER BY a.agent_id DESC))[1] END)
      FROM (SELECT * FROM probectl.agent x WHERE x.tenant_id = probectl.current_tenant() AND x.agent_id > after_id
             ORDER BY x.agent_id LIMIT page) a
      LEFT JOIN probectl.agent_state s ON s.tenant_id = a.tenant_id AND s.agent_id = a.agent_id);
END
$$;
COMMENT ON FUNCTION probectl_api.agent_list(jsonb, jsonb, jsonb) IS 'GET /v1/agents';

CREATE OR REPLACE FUNCTION probectl_api.join_token_create(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  minutes integer := round(probectl_internal.input_number(request, 'ttl_minutes', 60, 1, 10080));
BEGIN
  PERFORM probectl_internal.input_known(request, '{ttl_minutes,agent_id}');
  RETURN json_build_object(
    'token', probectl.join_token_create(make_interval(mins => minutes), probectl_internal.input_uuid(request, 'agent_id')),
    'expires_at', probectl_internal.time_text(probectl.clock_now() + make_interval(mins => minutes)));
END
$$;
COMMENT ON FUNCTION probectl_api.join_token_create(jsonb, jsonb, jsonb) IS 'POST /v1/agents/join-tokens';

-- The caller, and the chain.
CREATE OR REPLACE FUNCTION probectl_api.me(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  who text := probectl.current_principal();
  my_id uuid := probectl_internal.principal_id();
  t record;
  u record;
  b record;
BEGIN
  PERFORM probectl_internal.input_known(query, '{}');
  SELECT x.tenant_id, x.slug, x.name INTO t FROM probectl.tenant x WHERE x.tenant_id = probectl.current_tenant();
  SELECT x.product_name, x.accent, x.logo_svg, x.support_url INTO b FROM probectl.tenant_branding x WHERE x.tenant_id = probectl.current_tenant();
  SELECT x.display_name, x.email INTO u FROM probectl.tenant_user x WHERE x.tenant_id = probectl.current_tenant() AND x.user_id = my_id;
  RETURN json_build_object('tenant', json_build_object('tenant_id', t.tenant_id, 'slug', t.slug, 'name', t.name),
                           'principal', json_build_object('kind', split_part(who, ':', 1), 'id', my_id, 'name', u.display_name, 'email', u.email),
                           'branding', json_build_object('product_name', coalesce(b.product_name, 'probectl'), 'accent', b.accent, 'logo_svg', b.logo_svg, 'support_url', b.support_url),
                           'permissions', probectl_internal.permissions_held());
END
$$;
COMMENT ON FUNCTION probectl_api.me(jsonb, jsonb, jsonb) IS 'GET /v1/me';

CREATE OR REPLACE FUNCTION probectl_api.integrity(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
BEGIN
  PERFORM probectl_internal.input_known(query, '{}');
  RETURN (SELECT json_build_object('items', coalesce(json_agg(to_json(i) ORDER BY i.plane), '[]'), 'next', NULL,
                                   'collector_running', probectl_internal.derive_running())
            FROM probectl.integrity() i);
END
$$;
COMMENT ON FUNCTION probectl_api.integrity(jsonb, jsonb, jsonb) IS 'GET /v1/integrity';

CREATE OR REPLACE FUNCTION probectl_api.audit_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  since timestamptz := probectl_internal.query_time(query, 'since');
  until timestamptz := probectl_internal.query_time(query, 'until');
  before bigint := 9223372036854775807;
BEGIN
  PERFORM probectl_internal.input_known(query, '{actor,action,target,outcome,since,until,limit,after}');
  IF coalesce(query ->> 'outcome', 'ok') NOT IN ('ok', 'denied', 'failed') THEN
    PERFORM probectl_internal.invalid('outcome', '"outcome" must be ok, denied or failed');
  END IF;
  IF query ? 'after' THEN
    IF coalesce(query ->> 'after', '') !~ '^[0-9]{1,18}$' THEN
      PERFORM probectl_internal.invalid('after', '"after" must be a sequence number');
    END IF;
    before := (query ->> 'after')::bigint;
  END IF;
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object('seq', e.seq, 'at', probectl_internal.time_text(e.at), 'actor', e.actor, 'action', e.action,
                                                          'target', e.target, 'outcome', e.outcome, 'data', e.data, 'hash', encode(e.hash, 'hex'))
                                        ORDER BY e.seq DESC), '[]'),
             'next', CASE WHEN count(*) = page AND min(e.seq) > 1 THEN min(e.seq)::text END)
      FROM (SELECT * FROM probectl.audit_event x WHERE x.tenant_id = probectl.current_tenant() AND x.seq < before
               AND probectl_internal.audit_wanted(x.at, x.actor, x.action, x.target, x.outcome,
                     query ->> 'actor', query ->> 'action', query ->> 'target', query ->> 'outcome', since, until)
             ORDER BY x.seq DESC LIMIT page) e);
END
$$;
COMMENT ON FUNCTION probectl_api.audit_list(jsonb, jsonb, jsonb) IS 'GET /v1/audit, newest first; filters as in audit_wanted()';
