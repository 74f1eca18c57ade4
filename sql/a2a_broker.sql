-- SPDX-License-Identifier: PostgreSQL
--
-- Sessions between agents: made by tests, told to the two agents only, ready when the responder reports, ended by its silence.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('a2a-a', 'A2A A') AS a \gset
SELECT probectl.tenant_create('a2a-b', 'A2A B') AS b \gset
CALL regress.enrol(:'a', 'one', NULL, NULL) \gset one_
CALL regress.enrol(:'a', 'two', NULL, NULL) \gset two_
CALL regress.enrol(:'b', 'three', NULL, NULL) \gset three_
SET probectl.clock = '2100-01-15T12:00:00Z';
-- What an agent is told, without what differs from run to run.
CREATE TABLE regress.who (name text, tenant uuid, agent uuid, serial text);
INSERT INTO regress.who VALUES ('one', :'a', :'one_agent', :'one_serial'), ('two', :'a', :'two_agent', :'two_serial'), ('three', :'b', :'three_agent', :'three_serial');
CREATE FUNCTION regress.meet(name text, report jsonb, observed text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  w regress.who;
  m record;
  again bytea;
  text_of text;
BEGIN
  SELECT * INTO w FROM regress.who x WHERE x.name = meet.name;
  PERFORM probectl.enter_agent(w.tenant, w.agent, w.serial);
  SELECT * INTO m FROM probectl.a2a_meet(0, report, observed);
  SELECT x.tasks INTO again FROM probectl.a2a_meet(m.revision, NULL, observed) x;
  -- Field 1 is the role (1 answers, 2 asks) and field 2 the session, field 6 an address.
  text_of := encode(m.tasks, 'escape');
  RETURN format('answers %s, asks %s, at %s%s', (SELECT count(*) FROM regexp_matches(encode(m.tasks, 'hex'), '08011224', 'g')),
                (SELECT count(*) FROM regexp_matches(encode(m.tasks, 'hex'), '08021224', 'g')),
                coalesce((SELECT string_agg(x[1], ' then ') FROM regexp_matches(text_of, E'2[\\x07-\\x0f]((?:[0-9]+\\.){3}[0-9]+?)(?=[28][^0-9])', 'g') x), 'nowhere'),
                CASE WHEN again IS NOT NULL THEN ', and it changes' END);
EXCEPTION
  WHEN OTHERS THEN RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE FUNCTION regress.report(host text, port integer) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('host', host, 'port', port, 'sessions', coalesce((SELECT jsonb_agg(session_id) FROM probectl.a2a_session), '[]'))
$$;
CREATE FUNCTION regress.sessions(tenant uuid) RETURNS TABLE (initiator text, responder text, state text) LANGUAGE sql STABLE AS $$
  SELECT i.name, r.name, s.state FROM probectl.a2a_session s JOIN probectl.agent i ON (i.tenant_id, i.agent_id) = (s.tenant_id, s.initiator_id)
    JOIN probectl.agent r ON (r.tenant_id, r.agent_id) = (s.tenant_id, s.responder_id) WHERE s.tenant_id = $1 ORDER BY 1, 2
$$;

-- Nobody tests to anybody.
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT count(*) FROM probectl.a2a_endpoint;
-- A test by name makes a session; one of a reflector, of a switched-off test, of nobody, of another tenant's agent makes none.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
INSERT INTO probectl.test (name, type, target, agent_id) VALUES ('t', 'a2a', 'two', :'one_agent') RETURNING test_id \gset
INSERT INTO probectl.test (name, type, target, agent_id, params) VALUES ('reflector', 'a2a', '192.0.2.9:862', :'one_agent', '{}'), ('port', 'a2a', 'two', :'one_agent', '{"port": 862}'),
  ('nobody', 'a2a', 'four', :'one_agent', '{}'), ('theirs', 'a2a', 'three', :'one_agent', '{}'), ('their id', 'a2a', :'three_agent', :'one_agent', '{}'), ('other', 'icmp', 'two', :'one_agent', '{}');
INSERT INTO probectl.test (name, type, target, agent_id, enabled) VALUES ('off', 'a2a', 'one', :'two_agent', false);
COMMIT;
SELECT * FROM regress.sessions(:'a');
-- A session between tenants cannot be, whoever writes it.
INSERT INTO probectl.a2a_session (tenant_id, test_id, initiator_id, responder_id) VALUES (:'a', :'test_id', :'two_agent', :'three_agent');
INSERT INTO probectl.a2a_session (tenant_id, test_id, initiator_id, responder_id) VALUES (:'b', :'test_id', :'three_agent', :'three_agent');
-- Before the responder reports there is nowhere to send to.
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT * FROM regress.sessions(:'a');
-- The initiator cannot report for the responder, nor another tenant's agent; only the responder's word counts.
SELECT regress.meet('one', regress.report('192.0.2.66', 6666), '192.0.2.1');
SELECT regress.meet('three', regress.report('192.0.2.66', 6666), '192.0.2.66');
SELECT * FROM regress.sessions(:'a');
SELECT count(*) FROM probectl.a2a_endpoint WHERE tenant_id = :'b';
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '203.0.113.2');
SELECT * FROM regress.sessions(:'a');
SELECT a.name, e.host, e.port, e.observed, e.lapses_at FROM probectl.a2a_endpoint e JOIN probectl.agent a USING (tenant_id, agent_id) WHERE e.tenant_id = :'a' ORDER BY 1;
-- Now the initiator is told where: what the responder says when both come from one address, else what was seen of it first.
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT regress.meet('one', '{}', '203.0.113.2');
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '10.0.0.2');
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '127.0.0.1');
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT regress.meet('three', '{}', '192.0.2.1');
-- A report that is the same is a lease: it is written again when it is getting old, and not before.
SET probectl.clock = '2100-01-15T12:00:10Z';
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '127.0.0.1');
SELECT reported_at FROM probectl.a2a_endpoint WHERE agent_id = :'two_agent';
SET probectl.clock = '2100-01-15T12:00:30Z';
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '127.0.0.1');
SELECT reported_at, lapses_at FROM probectl.a2a_endpoint WHERE agent_id = :'two_agent';
-- Silence ends the session: another identifier, another token, nowhere to send to.
SELECT session_id AS session, token AS token FROM probectl.a2a_session \gset
SET probectl.clock = '2100-01-15T12:02:00Z';
SELECT regress.meet('one', '{}', '192.0.2.1');
SET probectl.clock = '2100-01-15T12:02:01Z';
SELECT regress.meet('one', '{}', '192.0.2.1');
SELECT state, session_id <> :'session' AS another, token <> :'token' AS fresh FROM probectl.a2a_session;
-- The old identifier opens nothing.
SELECT regress.meet('two', jsonb_build_object('host', '10.0.0.2', 'port', 5000, 'sessions', jsonb_build_array(:'session')), '127.0.0.1');
SELECT state FROM probectl.a2a_session;
SELECT regress.meet('two', regress.report('10.0.0.2', 5000), '127.0.0.1');
SELECT state FROM probectl.a2a_session;
-- Who restarts answers nowhere for a moment.
SELECT regress.meet('two', '{"host": ""}', '127.0.0.1');
SELECT regress.meet('one', '{}', '192.0.2.1');
-- What is no report.
SELECT regress.meet('two', regress.report('example.net', 5000), '127.0.0.1');
SELECT regress.meet('two', regress.report('10.0.0.2', 65536), '127.0.0.1');
SELECT regress.meet('two', '{"host": "10.0.0.2", "port": 5000, "sessions": ["x"]}', '127.0.0.1');
SELECT regress.meet('two', '{"host": "10.0.0.2", "port": 5000, "sessions": 7}', '127.0.0.1');
SELECT regress.meet('two', '{"host": "10.0.0.2", "port": "many"}', '127.0.0.1');
-- A test that is changed takes its session along; every agent but the target runs a test of all.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
UPDATE probectl.test SET enabled = false WHERE name = 't';
COMMIT;
SELECT * FROM regress.sessions(:'a');
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
UPDATE probectl.test SET enabled = true, agent_id = :'two_agent', target = upper(:'one_agent') WHERE name = 't';
COMMIT;
SELECT * FROM regress.sessions(:'a');
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
UPDATE probectl.test SET agent_id = NULL WHERE name = 't';
COMMIT;
CALL regress.enrol(:'a', 'late', NULL, NULL) \gset late_
INSERT INTO regress.who VALUES ('late', :'a', :'late_agent', :'late_serial');
SELECT regress.meet('late', '{}', '192.0.2.3');
SELECT * FROM regress.sessions(:'a');
-- A person's transaction is no agent's, and sees neither sessions nor tokens.
CALL regress.user(:'a', 'viewer@a2a.example', 'viewer', NULL, NULL) \gset viewer_
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
SELECT initiator_id = :'late_agent' AS late, state, host, port FROM probectl.a2a_sessions() ORDER BY 1;
SAVEPOINT here;
SELECT probectl.a2a_meet(0, '{}', '192.0.2.1');
ROLLBACK TO here;
SELECT token FROM probectl.a2a_session;
ROLLBACK TO here;
SELECT host FROM probectl.a2a_endpoint;
ROLLBACK;
-- A mesh: all pairs, kept as it changes, with the caller's permissions.
CALL regress.user(:'a', 'editor@a2a.example', 'editor', NULL, NULL) \gset editor_
CREATE FUNCTION regress.mesh(tenant uuid) RETURNS TABLE (name text, target text, enabled boolean) LANGUAGE sql STABLE AS $$
  SELECT regexp_replace(t.name, ' [0-9a-f]{6}$', ''), a.name, t.enabled FROM probectl.test t JOIN probectl.agent a ON a.tenant_id = t.tenant_id AND a.agent_id::text = t.target
   WHERE t.tenant_id = $1 AND t.params ? 'mesh_id' ORDER BY 1, 2
$$;
BEGIN;
SELECT FROM probectl.enter_session(:'editor_token');
SELECT status, body::jsonb ->> 'tests' AS tests, body::jsonb ->> 'mesh_id' AS mesh
  FROM probectl.api_call('POST', '/v1/a2a/meshes', '{}', '{}', jsonb_build_object('name', 'm', 'agent_ids', jsonb_build_array(:'one_agent', :'two_agent', :'late_agent'))) \gset
COMMIT;
\echo :status :tests
SELECT * FROM regress.mesh(:'a');
BEGIN;
SELECT FROM probectl.enter_session(:'editor_token');
SELECT status, body::jsonb ->> 'tests' AS tests FROM probectl.api_call('PATCH', '/v1/a2a/meshes/{mesh_id}', jsonb_build_object('mesh_id', :'mesh'), '{}',
  jsonb_build_object('enabled', false, 'agent_ids', jsonb_build_array(:'one_agent', :'late_agent')));
SAVEPOINT here;
SELECT probectl.api_call('PATCH', '/v1/a2a/meshes/{mesh_id}', jsonb_build_object('mesh_id', :'mesh'), '{}', '{"params": {"allow_private_targets": true}}');
ROLLBACK TO here;
SELECT probectl.api_call('PATCH', '/v1/a2a/meshes/{mesh_id}', jsonb_build_object('mesh_id', :'mesh'), '{}', jsonb_build_object('agent_ids', jsonb_build_array(:'one_agent', :'three_agent')));
ROLLBACK TO here;
SELECT probectl.api_call('POST', '/v1/a2a/meshes', '{}', '{}', jsonb_build_object('name', 'm', 'agent_ids', jsonb_build_array(:'one_agent', :'two_agent')));
ROLLBACK TO here;
COMMIT;
SELECT * FROM regress.mesh(:'a');
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
SELECT status FROM probectl.api_call('DELETE', '/v1/a2a/meshes/{mesh_id}', jsonb_build_object('mesh_id', :'mesh'), '{}', NULL);
INSERT INTO probectl.a2a_mesh (name) VALUES ('x');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'editor_token');
SELECT status FROM probectl.api_call('DELETE', '/v1/a2a/meshes/{mesh_id}', jsonb_build_object('mesh_id', :'mesh'), '{}', NULL);
COMMIT;
SELECT * FROM regress.mesh(:'a');
RESET probectl.clock;
DROP FUNCTION regress.meet, regress.report, regress.sessions, regress.mesh;
DROP TABLE regress.who;
