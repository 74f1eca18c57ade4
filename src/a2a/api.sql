-- a2a: the broker. Agents are told of their own sessions only, and only a responder says where it answers: both because who
-- asks is who entered, not who is named.

-- Whom a target names: an agent by its identifier, or by its name when only one living agent has it. NULL for nobody, and
-- for host:port, which is a reflector and needs no broker.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_agent(target text) RETURNS uuid
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN count(*) = 1 OR bool_or(a.agent_id::text = lower(target))
              THEN coalesce((array_agg(a.agent_id) FILTER (WHERE a.agent_id::text = lower(target)))[1], (array_agg(a.agent_id))[1]) END
    FROM probectl.agent a
   WHERE a.tenant_id = probectl.current_tenant() AND a.revoked_at IS NULL AND target !~ ':[0-9]{1,5}$'
     AND (a.agent_id::text = lower(target) OR a.name = target)
$$;
COMMENT ON FUNCTION probectl_internal.a2a_agent(text) IS 'the living agent of the tenant that a target names, NULL when there is none or more than one';

-- The only function that changes the state of sessions.
--     waiting --report--> ready --lapse--> waiting, with another identifier and token
CREATE OR REPLACE FUNCTION probectl_internal.a2a_move(event text, sessions uuid[]) RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  moved integer;
BEGIN
  -- In one order, so that two that move some of the same sessions wait for each other and do not deadlock.
  PERFORM FROM probectl.a2a_session s WHERE s.tenant_id = probectl.current_tenant() AND s.session_id = ANY (a2a_move.sessions)
    ORDER BY s.test_id, s.initiator_id FOR UPDATE;
  UPDATE probectl.a2a_session s
     SET state = m.after, changed_at = probectl.clock_now(),
         session_id = CASE WHEN m.fresh THEN probectl.uuid_v7() ELSE s.session_id END,
         token = CASE WHEN m.fresh THEN uuid_send(gen_random_uuid()) ELSE s.token END
    FROM (VALUES ('report', 'waiting', 'ready', false), ('lapse', 'ready', 'waiting', true)) m (event, before, after, fresh)
   WHERE s.tenant_id = probectl.current_tenant() AND s.session_id = ANY (a2a_move.sessions)
     AND m.event = a2a_move.event AND s.state = m.before;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_move(text, uuid[]) IS 'moves sessions of the bound tenant by an event, report or lapse; number of those that moved';

-- Makes the sessions of a test what the test says: one for each agent that runs it, to the agent it names.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_pair(t probectl.test) RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  responder uuid;
  made integer;
BEGIN
  IF t.type = 'a2a' AND t.enabled AND NOT t.params ? 'port' THEN
    responder := probectl_internal.a2a_agent(t.target);
  END IF;
  DELETE FROM probectl.a2a_session s
   WHERE s.tenant_id = t.tenant_id AND s.test_id = t.test_id
     AND (responder IS NULL OR s.responder_id <> responder OR (t.agent_id IS NOT NULL AND s.initiator_id <> t.agent_id));
  INSERT INTO probectl.a2a_session (tenant_id, test_id, initiator_id, responder_id)
    SELECT t.tenant_id, t.test_id, a.agent_id, responder
      FROM probectl.agent a
     WHERE responder IS NOT NULL AND a.tenant_id = t.tenant_id AND a.revoked_at IS NULL AND a.agent_id <> responder
       AND (t.agent_id IS NULL OR a.agent_id = t.agent_id)
    ON CONFLICT (tenant_id, test_id, initiator_id) DO NOTHING;
  GET DIAGNOSTICS made = ROW_COUNT;
  RETURN made;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_pair(probectl.test) IS 'brings the sessions of a test up to date; number of new ones';

CREATE OR REPLACE FUNCTION probectl_internal.a2a_test_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.type = 'a2a' THEN
      PERFORM probectl_internal.a2a_pair(NEW);
    END IF;
  ELSIF 'a2a' IN (OLD.type, NEW.type) THEN
    PERFORM probectl_internal.a2a_pair(NEW);
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_test_changed() IS 'trigger: the sessions of a test follow it';

-- Whose report has lapsed answers nobody: its sessions end, and wait for it under another token.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_lapse(initiator uuid DEFAULT NULL) RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone uuid[];
  moved integer;
BEGIN
  SELECT array_agg(s.session_id) INTO gone FROM probectl.a2a_session s
   WHERE s.tenant_id = probectl.current_tenant() AND s.state = 'ready' AND (a2a_lapse.initiator IS NULL OR s.initiator_id = a2a_lapse.initiator)
     AND NOT EXISTS (SELECT FROM probectl.a2a_endpoint e
                      WHERE e.tenant_id = s.tenant_id AND e.agent_id = s.responder_id AND e.port > 0 AND e.lapses_at >= probectl.clock_now());
  moved := CASE WHEN gone IS NULL THEN 0 ELSE probectl_internal.a2a_move('lapse', gone) END;
  IF moved > 0 THEN
    PERFORM pg_notify('probectl_event', probectl.current_tenant() || ' a2a');
  END IF;
  RETURN moved;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_lapse(uuid) IS 'ends the sessions (of an initiator, or all of the bound tenant) whose responders report no more; how many';

CREATE OR REPLACE FUNCTION probectl_internal.a2a_tasks(OUT revision bigint, OUT tasks bytea)
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_a2a_tasks';
COMMENT ON FUNCTION probectl_internal.a2a_tasks() IS 'sessions of the entered agent as a probectl.agent.v1.MeetTasks, and a number that changes with them';

-- What an agent reports of itself. Written when it says something new, else every half minute: the row is its lease.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_endpoint_set(me uuid, host inet, port integer, observed inet) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now timestamptz := probectl.clock_now();
  old probectl.a2a_endpoint;
  changed boolean;
BEGIN
  SELECT * INTO old FROM probectl.a2a_endpoint e WHERE e.tenant_id = probectl.current_tenant() AND e.agent_id = me;
  changed := (old.host, old.port, old.observed) IS DISTINCT FROM (a2a_endpoint_set.host, a2a_endpoint_set.port, a2a_endpoint_set.observed);
  IF changed OR old.reported_at < now - interval '20 seconds' THEN
    INSERT INTO probectl.a2a_endpoint AS e (agent_id, host, port, observed, reported_at, lapses_at)
      VALUES (me, a2a_endpoint_set.host, a2a_endpoint_set.port, a2a_endpoint_set.observed, now, now + interval '90 seconds')
      ON CONFLICT (tenant_id, agent_id) DO UPDATE
         SET host = excluded.host, port = excluded.port, observed = excluded.observed, reported_at = excluded.reported_at, lapses_at = excluded.lapses_at;
  END IF;
  RETURN changed;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_endpoint_set(uuid, inet, integer, inet) IS 'keeps where an agent answers; whether that is news';

CREATE OR REPLACE FUNCTION probectl_internal.a2a_address(given text, field text) RETURNS inet
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(given, '') = '' THEN
    RETURN NULL;
  END IF;
  RETURN host(split_part(given, '%', 1)::inet)::inet;
EXCEPTION
  WHEN data_exception THEN
    PERFORM probectl_internal.invalid(field, format('"%s" must be an address', field));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_address(text, text) IS 'an address without a mask, NULL when none is given';

-- known: revision the agent has. report: {"host", "port", "sessions": [identifiers]}, where the agent answers and for which sessions;
-- NULL: it says nothing new, and only asks.
-- observed: the address the ingest server sees.
CREATE OR REPLACE FUNCTION probectl.a2a_meet(known bigint, report jsonb, observed text, OUT revision bigint, OUT tasks bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.agent_required();
  tenant uuid := probectl.current_tenant();
  host inet := probectl_internal.a2a_address(report ->> 'host', 'host');
  port integer := 0;
  answered uuid[];
  news boolean := false;
  t probectl.test;
BEGIN
  IF host IS NOT NULL THEN
    port := coalesce((report ->> 'port')::integer, 0);
  END IF;
  IF port NOT BETWEEN 0 AND 65535 OR jsonb_array_length(coalesce(report -> 'sessions', '[]')) > 4096 THEN
    PERFORM probectl_internal.invalid('report', 'a port is a number to 65535, and an agent answers 4096 sessions at most');
  END IF;
  -- Tests that every agent runs: this one may have come later.
  FOR t IN SELECT x.* FROM probectl.test x
            WHERE x.tenant_id = tenant AND x.type = 'a2a' AND x.agent_id IS NULL AND x.enabled
              AND NOT EXISTS (SELECT FROM probectl.a2a_session s WHERE s.tenant_id = tenant AND s.test_id = x.test_id AND s.initiator_id = me) LOOP
    news := probectl_internal.a2a_pair(t) > 0 OR news;
  END LOOP;
  IF EXISTS (SELECT FROM probectl.a2a_session s WHERE s.tenant_id = tenant AND (s.initiator_id = me OR s.responder_id = me)) THEN
    IF report IS NOT NULL THEN
      news := probectl_internal.a2a_endpoint_set(me, host, port, probectl_internal.a2a_address(observed, 'observed')) OR news;
    END IF;
    IF port > 0 THEN
      SELECT array_agg(s.session_id) INTO answered FROM probectl.a2a_session s
       WHERE s.tenant_id = tenant AND s.responder_id = me AND s.state = 'waiting'
         AND s.session_id IN (SELECT x::uuid FROM jsonb_array_elements_text(report -> 'sessions') x);
      news := coalesce(probectl_internal.a2a_move('report', answered), 0) > 0 OR news;
    END IF;
    PERFORM probectl_internal.a2a_lapse(me);
  END IF;
  SELECT x.revision, x.tasks INTO a2a_meet.revision, a2a_meet.tasks FROM probectl_internal.a2a_tasks() x;
  IF a2a_meet.revision = known THEN
    a2a_meet.tasks := NULL;
  END IF;
  IF news THEN
    PERFORM pg_notify('probectl_event', tenant || ' a2a');
  END IF;
EXCEPTION
  WHEN data_exception THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'the report holds something that is none', DETAIL = 'field: report';
END
$$;
COMMENT ON FUNCTION probectl.a2a_meet(bigint, jsonb, text) IS 'the entered agent says where it answers and is told its sessions (probectl.agent.v1.MeetTasks); no tasks when the known revision is the current one';

-- What people see of sessions: everything but the token.
CREATE OR REPLACE FUNCTION probectl.a2a_sessions(OUT session_id uuid, OUT test_id uuid, OUT test_name text, OUT initiator_id uuid, OUT responder_id uuid,
    OUT state text, OUT host text, OUT port integer, OUT observed text, OUT changed_at timestamptz)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('test.read');
  RETURN QUERY
    SELECT s.session_id, s.test_id, t.name, s.initiator_id, s.responder_id,
           CASE WHEN s.state = 'ready' AND (e.port IS NULL OR e.port = 0 OR e.lapses_at < probectl.clock_now()) THEN 'waiting' ELSE s.state END,
           host(e.host), nullif(e.port, 0), host(e.observed), s.changed_at
      FROM probectl.a2a_session s
      JOIN probectl.test t ON t.tenant_id = s.tenant_id AND t.test_id = s.test_id
      LEFT JOIN probectl.a2a_endpoint e ON e.tenant_id = s.tenant_id AND e.agent_id = s.responder_id
     WHERE s.tenant_id = probectl.current_tenant() AND probectl_internal.may_on('test.read', t.project_id, jsonb_build_object('type', t.type));
END
$$;
COMMENT ON FUNCTION probectl.a2a_sessions() IS 'sessions of the bound tenant whose tests the caller may read, without their tokens; host, port and observed are the responder''s';

CREATE OR REPLACE FUNCTION probectl_api.a2a_session_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM probectl_internal.input_known(query, '{limit,after}');
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object(
               'session_id', s.session_id, 'test_id', s.test_id, 'test_name', s.test_name, 'initiator_id', s.initiator_id, 'responder_id', s.responder_id,
               'state', s.state, 'host', s.host, 'port', s.port, 'observed', s.observed, 'changed_at', probectl_internal.time_text(s.changed_at))
               ORDER BY s.session_id), '[]'),
             'next', CASE WHEN count(*) = page THEN (array_agg(s.session_id ORDER BY s.session_id DESC))[1] END)
      FROM (SELECT * FROM probectl.a2a_sessions() x WHERE x.session_id > after_id ORDER BY x.session_id LIMIT page) s);
END
$$;
COMMENT ON FUNCTION probectl_api.a2a_session_list(jsonb, jsonb, jsonb) IS 'GET /v1/a2a/sessions';

-- Meshes.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_mesh_json(m probectl.a2a_mesh) RETURNS json
  LANGUAGE sql STABLE AS $$
  SELECT json_build_object('mesh_id', m.mesh_id, 'name', m.name, 'interval_seconds', m.interval_seconds, 'timeout_seconds', m.timeout_seconds,
                           'params', m.params, 'enabled', m.enabled, 'created_at', probectl_internal.time_text(m.created_at),
                           'agent_ids', (SELECT coalesce(json_agg(x.agent_id ORDER BY x.agent_id), '[]') FROM probectl.a2a_mesh_member x
                                          WHERE x.tenant_id = m.tenant_id AND x.mesh_id = m.mesh_id),
                           'tests', (SELECT count(*) FROM probectl.test t
                                      WHERE t.tenant_id = m.tenant_id AND t.type = 'a2a' AND t.params ->> 'mesh_id' = m.mesh_id::text))
$$;
COMMENT ON FUNCTION probectl_internal.a2a_mesh_json(probectl.a2a_mesh) IS 'a mesh as the API shows it';

-- Every member to every other one: a test each, named by both; those that are no longer wanted go.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_mesh_expand(m probectl.a2a_mesh) RETURNS void
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  wanted probectl.test;
  pair record;
BEGIN
  WITH gone AS (
    DELETE FROM probectl.test t
     WHERE t.tenant_id = m.tenant_id AND t.type = 'a2a' AND t.params ->> 'mesh_id' = m.mesh_id::text
       AND NOT EXISTS (SELECT FROM probectl.a2a_mesh_member i, probectl.a2a_mesh_member r
                        WHERE i.tenant_id = m.tenant_id AND i.mesh_id = m.mesh_id AND i.agent_id = t.agent_id
                          AND r.tenant_id = m.tenant_id AND r.mesh_id = m.mesh_id AND r.agent_id::text = t.target AND r.agent_id <> i.agent_id)
    RETURNING t.test_id)
  DELETE FROM probectl.result_latest l USING gone WHERE l.tenant_id = m.tenant_id AND l.test_id = gone.test_id;
  FOR pair IN SELECT i.agent_id AS initiator, r.agent_id AS responder, x.name AS from_name, y.name AS to_name, t.test_id
                FROM probectl.a2a_mesh_member i
                JOIN probectl.a2a_mesh_member r ON r.tenant_id = i.tenant_id AND r.mesh_id = i.mesh_id AND r.agent_id <> i.agent_id
                JOIN probectl.agent x ON x.tenant_id = i.tenant_id AND x.agent_id = i.agent_id
                JOIN probectl.agent y ON y.tenant_id = r.tenant_id AND y.agent_id = r.agent_id
                LEFT JOIN probectl.test t ON t.tenant_id = i.tenant_id AND t.type = 'a2a' AND t.params ->> 'mesh_id' = m.mesh_id::text
                                         AND t.agent_id = i.agent_id AND t.target = r.agent_id::text
               WHERE i.tenant_id = m.tenant_id AND i.mesh_id = m.mesh_id LOOP
    wanted.type := 'a2a';
    wanted.target := pair.responder::text;
    wanted.agent_id := pair.initiator;
    wanted.interval_seconds := m.interval_seconds;
    wanted.timeout_seconds := m.timeout_seconds;
    wanted.params := m.params || jsonb_build_object('mesh_id', m.mesh_id);
    wanted.enabled := m.enabled;
    -- Two agents may have one name.
    wanted.name := left(format('%s: %s to %s', m.name, pair.from_name, pair.to_name), 110) || ' ' || left(md5(pair.initiator::text || pair.responder), 6);
    PERFORM probectl_internal.test_check(wanted);
    PERFORM probectl_internal.test_check_private(NULL, wanted);
    IF pair.test_id IS NULL THEN
      INSERT INTO probectl.test (name, type, target, interval_seconds, timeout_seconds, params, enabled, agent_id)
        VALUES (wanted.name, wanted.type, wanted.target, wanted.interval_seconds, wanted.timeout_seconds, wanted.params, wanted.enabled, wanted.agent_id);
    ELSE
      UPDATE probectl.test t
         SET name = wanted.name, interval_seconds = wanted.interval_seconds, timeout_seconds = wanted.timeout_seconds, params = wanted.params, enabled = wanted.enabled
       WHERE t.tenant_id = m.tenant_id AND t.test_id = pair.test_id
         AND (t.name, t.interval_seconds, t.timeout_seconds, t.params, t.enabled)
             IS DISTINCT FROM (wanted.name, wanted.interval_seconds, wanted.timeout_seconds, wanted.params, wanted.enabled);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_mesh_expand(probectl.a2a_mesh) IS 'makes the tests of a mesh what the mesh says, with the caller''s permissions';

-- Takes the fields of a body into a mesh; members are written, the mesh is not.
CREATE OR REPLACE FUNCTION probectl_internal.a2a_mesh_apply(m probectl.a2a_mesh, given jsonb) RETURNS probectl.a2a_mesh
  LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM probectl_internal.input_known(given, '{name,agent_ids,interval_seconds,timeout_seconds,params,enabled}');
  m.name := probectl_internal.input_text(given, 'name', m.name, 64);
  m.interval_seconds := round(probectl_internal.input_number(given, 'interval_seconds', coalesce(m.interval_seconds, 60), 1, 86400));
  m.timeout_seconds := probectl_internal.input_number(given, 'timeout_seconds', coalesce(m.timeout_seconds, least(3, m.interval_seconds))::numeric, 0.1, 60);
  m.params := CASE WHEN given ? 'params' THEN given -> 'params' ELSE coalesce(m.params, '{}') END;
  IF jsonb_typeof(m.params) <> 'object' OR m.params ?| '{mesh_id,port}' OR octet_length(m.params::text) > 8000 THEN
    PERFORM probectl_internal.invalid('params', '"params" must be an object of at most 8 kB without "mesh_id" and "port"');
  END IF;
  IF given ? 'enabled' AND jsonb_typeof(given -> 'enabled') <> 'boolean' THEN
    PERFORM probectl_internal.invalid('enabled', '"enabled" must be true or false');
  END IF;
  m.enabled := coalesce((given ->> 'enabled')::boolean, m.enabled, true);
  IF given ? 'agent_ids' AND (jsonb_typeof(given -> 'agent_ids') <> 'array' OR jsonb_array_length(given -> 'agent_ids') NOT BETWEEN 2 AND 50
     OR EXISTS (SELECT FROM jsonb_array_elements(given -> 'agent_ids') x WHERE NOT EXISTS (
                  SELECT FROM probectl.agent a WHERE a.tenant_id = probectl.current_tenant() AND a.revoked_at IS NULL AND to_jsonb(a.agent_id) = x))) THEN
    PERFORM probectl_internal.invalid('agent_ids', '"agent_ids" must be a list of 2 to 50 agents of the tenant');
  ELSIF NOT given ? 'agent_ids' AND m.mesh_id IS NULL THEN
    PERFORM probectl_internal.invalid('agent_ids', '"agent_ids" is needed');
  END IF;
  RETURN m;
END
$$;
COMMENT ON FUNCTION probectl_internal.a2a_mesh_apply(probectl.a2a_mesh, jsonb) IS 'a mesh with the fields of a request in it, checked';

CREATE OR REPLACE FUNCTION probectl_api.a2a_mesh_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM probectl_internal.input_known(query, '{limit,after}');
  RETURN (
    SELECT json_build_object('items', coalesce(json_agg(probectl_internal.a2a_mesh_json(m) ORDER BY m.mesh_id), '[]'),
                             'next', CASE WHEN count(*) = page THEN (array_agg(m.mesh_id ORDER BY m.mesh_id DESC))[1] END)
      FROM (SELECT * FROM probectl.a2a_mesh x WHERE x.tenant_id = probectl.current_tenant() AND x.mesh_id > after_id ORDER BY x.mesh_id LIMIT page) m);
END
$$;
COMMENT ON FUNCTION probectl_api.a2a_mesh_list(jsonb, jsonb, jsonb) IS 'GET /v1/a2a/meshes';

CREATE OR REPLACE FUNCTION probectl_api.a2a_mesh_create(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  m probectl.a2a_mesh;
BEGIN
  m := probectl_internal.a2a_mesh_apply(m, coalesce(request, '{}'));
  INSERT INTO probectl.a2a_mesh (name, interval_seconds, timeout_seconds, params, enabled)
    VALUES (m.name, m.interval_seconds, m.timeout_seconds, m.params, m.enabled) RETURNING * INTO m;
  INSERT INTO probectl.a2a_mesh_member (mesh_id, agent_id) SELECT DISTINCT m.mesh_id, x::uuid FROM jsonb_array_elements_text(request -> 'agent_ids') x;
  PERFORM probectl_internal.a2a_mesh_expand(m);
  RETURN probectl_internal.a2a_mesh_json(m);
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('there is a mesh called "%s", or a test with the name of one of its tests', m.name), DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl_api.a2a_mesh_create(jsonb, jsonb, jsonb) IS 'POST /v1/a2a/meshes';

CREATE OR REPLACE FUNCTION probectl_api.a2a_mesh_update(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  m probectl.a2a_mesh;
BEGIN
  SELECT * INTO m FROM probectl.a2a_mesh x
   WHERE x.tenant_id = probectl.current_tenant() AND x.mesh_id = probectl_internal.input_uuid(a2a_mesh_update.params, 'mesh_id') FOR UPDATE;
  IF m.mesh_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such mesh';
  END IF;
  m := probectl_internal.a2a_mesh_apply(m, coalesce(request, '{}'));
  UPDATE probectl.a2a_mesh x
     SET name = m.name, interval_seconds = m.interval_seconds, timeout_seconds = m.timeout_seconds, params = m.params, enabled = m.enabled
   WHERE x.tenant_id = m.tenant_id AND x.mesh_id = m.mesh_id;
  IF request ? 'agent_ids' THEN
    DELETE FROM probectl.a2a_mesh_member x
     WHERE x.tenant_id = m.tenant_id AND x.mesh_id = m.mesh_id AND NOT request -> 'agent_ids' ? x.agent_id::text;
    INSERT INTO probectl.a2a_mesh_member (mesh_id, agent_id) SELECT DISTINCT m.mesh_id, x::uuid FROM jsonb_array_elements_text(request -> 'agent_ids') x
      ON CONFLICT DO NOTHING;
  END IF;
  PERFORM probectl_internal.a2a_mesh_expand(m);
  RETURN probectl_internal.a2a_mesh_json(m);
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('there is a mesh called "%s", or a test with the name of one of its tests', m.name), DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl_api.a2a_mesh_update(jsonb, jsonb, jsonb) IS 'PATCH /v1/a2a/meshes/{mesh_id}';

CREATE OR REPLACE FUNCTION probectl_api.a2a_mesh_delete(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  mesh uuid := probectl_internal.input_uuid(a2a_mesh_delete.params, 'mesh_id');
BEGIN
  DELETE FROM probectl.a2a_mesh x WHERE x.tenant_id = probectl.current_tenant() AND x.mesh_id = mesh;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such mesh';
  END IF;
  DELETE FROM probectl.result_latest l USING probectl.test t
   WHERE l.tenant_id = probectl.current_tenant() AND t.tenant_id = l.tenant_id AND t.test_id = l.test_id AND t.type = 'a2a' AND t.params ->> 'mesh_id' = mesh::text;
  DELETE FROM probectl.test t WHERE t.tenant_id = probectl.current_tenant() AND t.type = 'a2a' AND t.params ->> 'mesh_id' = mesh::text;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_api.a2a_mesh_delete(jsonb, jsonb, jsonb) IS 'DELETE /v1/a2a/meshes/{mesh_id}';
