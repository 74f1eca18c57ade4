-- SPDX-License-Identifier: PostgreSQL
--
-- The API as the gateway calls it: every route, every kind of refusal, paging, and input that is odd.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT current_user AS superuser \gset
SELECT probectl.tenant_create('api-a', 'API A') AS a \gset
SELECT probectl.tenant_create('api-b', 'API B') AS b \gset
CALL regress.user(:'a', 'admin@example.net', 'admin', NULL, NULL) \gset admin_
CALL regress.user(:'a', 'editor@example.net', 'editor', NULL, NULL) \gset editor_
CALL regress.user(:'a', 'viewer@example.net', 'viewer', NULL, NULL) \gset viewer_
CALL regress.user(:'b', 'admin@example.net', 'admin', NULL, NULL) \gset other_
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'b', 'agent-b', NULL, NULL) \gset b_
-- Answers without what differs from run to run.
CREATE FUNCTION regress.shown(body text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT regexp_replace(regexp_replace(body, '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}', '<uuid>', 'g'), '("hash" : |"token" : )"[^"]+"|("permissions" : )\[[^]]+\]', '\1\2"<...>"', 'g')
$$;
-- One call in a transaction of the token's; a refusal as SQLSTATE, message and detail.
CREATE PROCEDURE regress.api(token text, method text, path text, params jsonb DEFAULT '{}', query jsonb DEFAULT '{}', request jsonb DEFAULT NULL,
                             INOUT status text DEFAULT NULL, INOUT answer text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  detail text;
  message text;
BEGIN
  BEGIN
    PERFORM probectl.enter_session(token);
    SELECT c.status::text, regress.shown(c.body) INTO status, answer FROM probectl.api_call(method, path, params, query, request) c;
  EXCEPTION
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, message = MESSAGE_TEXT;
      status := SQLSTATE;
      answer := concat_ws(' | ', message, nullif(detail, ''));
  END;
  COMMIT;
END
$$;
\pset format unaligned
\pset tuples_only on
CALL regress.api(:'admin_token', 'GET', '/v1/me');
CALL regress.api(:'viewer_token', 'GET', '/v1/me');

-- Tests: made, read, changed, deleted.
CALL regress.api(:'editor_token', 'POST', '/v1/tests', request => '{"name": "web", "type": "http", "target": "https://www.example.net/", "interval_seconds": 30, "timeout_seconds": 2.5, "params": {"method": "HEAD", "follow": true, "n": 3}}');
CALL regress.api(:'editor_token', 'POST', '/v1/tests', request => '{"type": "icmp", "target": "192.0.2.1"}');
CALL regress.api(:'editor_token', 'POST', '/v1/tests', request => '{"type": "tcp", "target": "192.0.2.1:443", "enabled": false, "agent_id": null, "interval_seconds": 1}');
SELECT test_id FROM probectl.test WHERE tenant_id = :'a' AND name = 'web' \gset
CALL regress.api(:'viewer_token', 'GET', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'));
CALL regress.api(:'editor_token', 'PATCH', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'), request => jsonb_build_object('interval_seconds', 10, 'agent_id', :'agent'));
CALL regress.api(:'editor_token', 'PATCH', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'), request => '{"agent_id": null, "enabled": false, "params": {}}');
CALL regress.api(:'editor_token', 'PATCH', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'), request => '{}');
CALL regress.api(:'viewer_token', 'GET', '/v1/tests');
CALL regress.api(:'editor_token', 'DELETE', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'));
CALL regress.api(:'editor_token', 'DELETE', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'));
CALL regress.api(:'viewer_token', 'GET', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'test_id'));

-- Who may what. A denial is an answer, and is written down.
SELECT r.method, r.path, r.permission FROM probectl.api_route r ORDER BY r.path, r.method;
CREATE PROCEDURE regress.permissions(token text) LANGUAGE plpgsql AS $$
DECLARE
  r record;
  status text;
  answer text;
BEGIN
  FOR r IN SELECT * FROM probectl.api_route ORDER BY path, method LOOP
    status := NULL;
    answer := NULL;
    CALL regress.api(token, r.method, r.path, '{"test_id": "00000000-0000-4000-8000-000000000000"}', '{}', '[]', status, answer);
    RAISE NOTICE '% % -> %', r.method, r.path, CASE WHEN status = '403' THEN answer ELSE status END;
  END LOOP;
END
$$;
CALL regress.permissions(:'viewer_token');
CALL regress.permissions(:'editor_token');
SELECT row_number() OVER (ORDER BY seq) AS nth, actor = 'token:' || :'viewer_user_id' AS viewer, action, target, data
  FROM probectl.audit_event WHERE tenant_id = :'a' AND outcome = 'denied' ORDER BY seq;
SELECT count(*) FROM probectl.audit_event WHERE tenant_id = :'b' AND outcome = 'denied';
-- Nobody.
CALL regress.api('pct_x', 'GET', '/v1/me');
SELECT status FROM probectl.api_call('GET', '/v1/me', '{}', '{}', NULL);
\c - probectl_gateway
\pset format unaligned
\pset tuples_only on
SELECT status FROM probectl.api_call('GET', '/v1/me', '{}', '{}', NULL);
SELECT probectl_api.test_list('{}', '{}', '{}');
\c - :superuser
\pset format unaligned
\pset tuples_only on

-- No such route: path, method, spelling, none.
CALL regress.api(:'admin_token', 'GET', '/v1/nothing');
CALL regress.api(:'admin_token', 'PUT', '/v1/tests');
CALL regress.api(:'admin_token', 'get', '/v1/me');
CALL regress.api(:'admin_token', 'GET', '/v1/me/');
CALL regress.api(:'admin_token', NULL, NULL);

-- Another tenant's things are not there: tests, agents, results.
BEGIN;
SELECT FROM probectl.enter_session(:'other_token');
INSERT INTO probectl.test (name, type, target) VALUES ('of b', 'icmp', 'b.example.net') RETURNING test_id AS other_test \gset
COMMIT;
CALL regress.api(:'admin_token', 'GET', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'other_test'));
CALL regress.api(:'admin_token', 'PATCH', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'other_test'), request => '{"name": "mine"}');
CALL regress.api(:'admin_token', 'DELETE', '/v1/tests/{test_id}', jsonb_build_object('test_id', :'other_test'));
CALL regress.api(:'admin_token', 'POST', '/v1/tests', request => jsonb_build_object('type', 'icmp', 'target', 'x', 'agent_id', :'b_agent'));
CALL regress.api(:'admin_token', 'POST', '/v1/agents/join-tokens', request => jsonb_build_object('agent_id', :'b_agent'));
CALL regress.api(:'admin_token', 'POST', '/v1/tests', request => '{"name": "of b", "type": "icmp", "target": "free in a"}');
CALL regress.api(:'other_token', 'GET', '/v1/tests');
-- Taken.
CALL regress.api(:'admin_token', 'POST', '/v1/tests', request => '{"name": "of b", "type": "icmp", "target": "again"}');
CALL regress.api(:'admin_token', 'PATCH', '/v1/tests/{test_id}', jsonb_build_object('test_id', (regress.test_uuid(0))), request => '{"name": "of b"}');

-- Input, field by field.
CREATE PROCEDURE regress.refused(token text, method text, path text, VARIADIC requests jsonb[]) LANGUAGE plpgsql AS $$
DECLARE
  request jsonb;
  status text;
  answer text;
BEGIN
  FOREACH request IN ARRAY requests LOOP
    status := NULL;
    answer := NULL;
    IF method = 'GET' THEN
      CALL regress.api(token, method, path, '{}', request, NULL, status, answer);
    ELSE
      CALL regress.api(token, method, path, '{"test_id": "00000000-0000-4000-8000-000000000000"}', '{}', request, status, answer);
    END IF;
    RAISE NOTICE '% -> % %', left(request::text, 100), status, left(answer, 200);
  END LOOP;
END
$$;
CALL regress.refused(:'admin_token', 'POST', '/v1/tests', '{}', '[]', '"text"', '5', 'null', 'true', '[[[]]]',
  '{"type": "icmp"}', '{"target": "x"}', '{"type": "smtp", "target": "x"}', '{"type": 5, "target": "x"}', '{"type": null, "target": "x"}', '{"type": "icmp", "target": ""}',
  '{"type": "icmp", "target": ["x"]}', '{"type": "icmp", "target": {"x": 1}}', '{"type": "icmp", "target": "a b"}', '{"type": "icmp", "target": "a\u0007b"}',
  '{"type": "icmp", "target": "a/b"}', '{"type": "http", "target": "ftp://x/"}', '{"type": "http", "target": "https://"}', '{"type": "tcp", "target": "host"}', '{"type": "udp", "target": "host"}',
  '{"type": "icmp", "target": "x", "nmae": "y"}', '{"type": "icmp", "target": "x", "tenant_id": "y"}', '{"type": "icmp", "target": "x", "test_id": "y"}',
  '{"type": "icmp", "target": "x", "name": ""}', '{"type": "icmp", "target": "x", "name": null}',
  '{"type": "icmp", "target": "x", "interval_seconds": 0}', '{"type": "icmp", "target": "x", "interval_seconds": 86401}', '{"type": "icmp", "target": "x", "interval_seconds": "60"}',
  '{"type": "icmp", "target": "x", "interval_seconds": null}', '{"type": "icmp", "target": "x", "interval_seconds": 1e1000}', '{"type": "icmp", "target": "x", "interval_seconds": -1e131000}',
  '{"type": "icmp", "target": "x", "timeout_seconds": 0.01}', '{"type": "icmp", "target": "x", "timeout_seconds": 61}', '{"type": "icmp", "target": "x", "interval_seconds": 1, "timeout_seconds": 2}',
  '{"type": "icmp", "target": "x", "enabled": "yes"}', '{"type": "icmp", "target": "x", "enabled": null}', '{"type": "icmp", "target": "x", "enabled": 1}',
  '{"type": "icmp", "target": "x", "agent_id": 5}', '{"type": "icmp", "target": "x", "agent_id": "x"}', '{"type": "icmp", "target": "x", "agent_id": {}}', '{"type": "icmp", "target": "x", "agent_id": "00000000-0000-4000-8000-000000000000"}',
  '{"type": "icmp", "target": "x", "params": []}', '{"type": "icmp", "target": "x", "params": null}', '{"type": "icmp", "target": "x", "params": {"a": {}}}', '{"type": "icmp", "target": "x", "params": {"a": null}}',
  '{"type": "icmp", "target": "x", "params": {"A B": 1}}', '{"type": "icmp", "target": "x", "params": {"": 1}}', '{"type": "icmp", "target": "x", "params": {"a": 1e100000}}');
SELECT jsonb_build_object('type', 'icmp', 'target', repeat('x', 1025)) AS long_target, jsonb_build_object('type', 'icmp', 'target', 'x', 'name', repeat('x', 129)) AS long_name,
       jsonb_build_object('type', 'icmp', 'target', 'x', 'params', jsonb_build_object('a', repeat('x', 9000))) AS long_params,
       jsonb_build_object('type', 'icmp', 'target', 'x', repeat('k', 5000), 1) AS long_key, (repeat('[', 5000) || repeat(']', 5000))::jsonb AS deep \gset
CALL regress.refused(:'admin_token', 'POST', '/v1/tests', :'long_target', :'long_name', :'long_params', :'long_key', :'deep');
CALL regress.refused(:'admin_token', 'PATCH', '/v1/tests/{test_id}', '{}', '[]', '{"name": "x"}');
CALL regress.refused(:'admin_token', 'POST', '/v1/agents/join-tokens', '[]', '{"ttl_minutes": 0}', '{"ttl_minutes": 10081}', '{"ttl_minutes": "60"}', '{"ttl_minutes": 1e1000}', '{"agent_id": "x"}', '{"ttl": 5}',
  '{"agent_id": "00000000-0000-4000-8000-000000000000"}');
CALL regress.refused(:'admin_token', 'GET', '/v1/tests', '{"limit": "0"}', '{"limit": "1001"}', '{"limit": "-1"}', '{"limit": "x"}', '{"limit": ""}', '{"limit": null}', '{"limit": ["5"]}', '{"limit": "99999999999999999999"}',
  '{"after": "x"}', '{"after": ["00000000-0000-4000-8000-000000000000"]}', '{"offset": "5"}', '[]', '"x"', 'null');
CALL regress.refused(:'admin_token', 'GET', '/v1/results/latest', '{"state": "good"}', '{"after": "x"}', '{"after": ":"}', '{"after": "00000000-0000-4000-8000-000000000000"}', '{"test_id": "1"}', '{"limit": "5001"}', '{"sort": "x"}');
CALL regress.refused(:'admin_token', 'GET', '/v1/results', '{}', '{"test_id": "x"}', '{"test_id": null}', '{"test_id": "00000000-0000-4000-8000-000000000000", "since": "yesterday"}',
  '{"test_id": "00000000-0000-4000-8000-000000000000", "since": "2100-02-30T00:00:00Z"}', '{"test_id": "00000000-0000-4000-8000-000000000000", "since": "2100-01-01T00:00:00+99:99"}',
  '{"test_id": "00000000-0000-4000-8000-000000000000", "until": "0000-01-01T00:00:00Z"}', '{"test_id": "00000000-0000-4000-8000-000000000000", "until": "2100-01-01T25:00:00Z"}',
  '{"test_id": "00000000-0000-4000-8000-000000000000", "until": null}', '{"test_id": "00000000-0000-4000-8000-000000000000", "after": "x"}', '{"test_id": "00000000-0000-4000-8000-000000000000", "after": "2100-01-01T00:00:00Z"}',
  '{"test_id": "00000000-0000-4000-8000-000000000000", "after": "2100-01-01T00:00:00Z/x"}');
CALL regress.refused(:'admin_token', 'GET', '/v1/audit', '{"after": "x"}', '{"after": "-1"}', '{"after": null}', '{"after": "9999999999999999999999"}', '{"limit": "0"}',
  '{"outcome": "good"}', '{"since": "yesterday"}', '{"until": "2100-02-30T00:00:00Z"}', '{"who": "x"}');
CALL regress.refused(:'admin_token', 'GET', '/v1/agents', '{"limit": "0"}', '{"after": "x"}', '{"status": "online"}');
-- Missing altogether.
CALL regress.api(:'admin_token', 'GET', '/v1/tests/{test_id}', NULL, NULL, NULL);
CALL regress.api(:'admin_token', 'GET', '/v1/tests/{test_id}', '{"test_id": "x"}');
CALL regress.api(:'admin_token', 'GET', '/v1/agents', NULL, NULL, NULL);
CALL regress.api(:'admin_token', 'POST', '/v1/tests', NULL, NULL, NULL);

-- Join tokens and agents.
CALL regress.api(:'admin_token', 'POST', '/v1/agents/join-tokens', request => '{"ttl_minutes": 5}');
CALL regress.api(:'admin_token', 'POST', '/v1/agents/join-tokens');
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'agent', :'serial');
SELECT FROM probectl.agent_heartbeat('{"spool_records": 3, "oldest_unix_nano": 4103697600000000000, "dropped": {"disk_full": 2}, "clock_skew_nano": -1500000, "tests_problem": "revision 4 is older than 5", "tests_refused": 7, "ticks_skipped": 2, "runs_disturbed": 1, "config_epoch": 5}');
COMMIT;
CALL regress.api(:'viewer_token', 'GET', '/v1/agents');
SET probectl.clock = '2100-01-15T12:05:00Z';
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
SELECT body::json -> 'items' -> 0 ->> 'status' FROM probectl.api_call('GET', '/v1/agents', '{}', '{}', NULL);
ROLLBACK;
SET probectl.clock = '2100-01-15T12:00:00Z';

-- Paging visits everything once, at every page size, in one order.
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
INSERT INTO probectl.test (name, type, target) SELECT 'page ' || i, 'icmp', 'x' FROM generate_series(1, 23) i;
COMMIT;
-- Results with equal times, so that the second part of the key decides.
SELECT regress.batch(1, 1, VARIADIC array_agg(regress.result(i % 7, '2100-01-15 11:00:00+00'::timestamptz + (i / 3) * interval '1 s', i, regress.words(14, regress.test_uuid(i)::text)) ORDER BY i)) AS batch
  FROM generate_series(1, 200) i \gset
CALL regress.send(:'a', :'agent', :'serial', :'batch');
CALL regress.derived();
SET probectl.clock = '2100-01-15T12:00:00Z';
CREATE PROCEDURE regress.pages(token text, path text, query jsonb, key text, VARIADIC sizes integer[]) LANGUAGE plpgsql AS $$
DECLARE
  size integer;
  answer json;
  seen text[];
  next text;
  pages integer;
BEGIN
  FOREACH size IN ARRAY sizes LOOP
    seen := '{}';
    next := NULL;
    pages := 0;
    LOOP
      PERFORM probectl.enter_session(token);
      SELECT c.body::json INTO answer FROM probectl.api_call('GET', path, '{}', query || jsonb_build_object('limit', size::text) || CASE WHEN next IS NULL THEN '{}' ELSE jsonb_build_object('after', next) END, NULL) c;
      COMMIT;
      seen := seen || ARRAY(SELECT concat_ws('/', i ->> split_part(key, ',', 1), i ->> split_part(key, ',', 2)) FROM json_array_elements(answer -> 'items') i);
      pages := pages + 1;
      next := answer ->> 'next';
      EXIT WHEN next IS NULL;
      IF pages > 500 THEN
        RAISE EXCEPTION 'paging does not end';
      END IF;
    END LOOP;
    RAISE NOTICE '% by %: % items, % distinct, in % pages, hash of the order %', path, size, cardinality(seen), (SELECT count(DISTINCT s) FROM unnest(seen) s), pages,
      CASE WHEN key ~ '^(test_id|agent_id)' THEN (seen = ARRAY(SELECT s FROM unnest(seen) s ORDER BY s COLLATE "C"))::text ELSE left(md5(seen::text), 8) END;
  END LOOP;
END
$$;
CALL regress.pages(:'viewer_token', '/v1/tests', '{}', 'test_id', 1, 7, 26, 27, 100);
CALL regress.pages(:'viewer_token', '/v1/results', jsonb_build_object('test_id', regress.test_uuid(3)), 'started_at,result_id', 1, 2, 10, 28, 29, 30, 5000);
-- The newest day is asked for first, the rest when it does not fill the page: rows on the edge between them, on both sides, and days without any.
INSERT INTO probectl.result (tenant_id, test_id, agent_id, started_at, received_at, result_id, type, target, port, transport, protocol, success, error_type, error, duration_us, metrics, attributes)
  SELECT :'a', regress.test_uuid(9), :'agent', '2100-01-15 12:00:00+00'::timestamptz - i / 3 * interval '8 hours' - i / 18 * interval '3 days' + (i % 3 - 1) * interval '1 us', now(),
         CASE WHEN i % 6 = 4 THEN '00000000-0000-0000-0000-000000000000' ELSE regress.test_uuid(i) END, 'icmp', 'x', 0, '', '', true, '', '', 0, '{}', '{}'
    FROM generate_series(0, 29) i;
CALL regress.pages(:'viewer_token', '/v1/results', jsonb_build_object('test_id', regress.test_uuid(9)), 'started_at,result_id', 1, 2, 3, 10, 11, 29, 30, 5000);
CALL regress.pages(:'viewer_token', '/v1/results', jsonb_build_object('test_id', regress.test_uuid(9), 'since', '2100-01-14T12:00:00Z'), 'started_at,result_id', 1, 2, 5000);
CALL regress.pages(:'viewer_token', '/v1/results', jsonb_build_object('test_id', regress.test_uuid(9), 'until', '2100-01-14T12:00:00Z'), 'started_at,result_id', 1, 2, 5000);
SELECT count(*), left(md5(array_agg(concat_ws('/', probectl_internal.time_text(r.started_at), r.result_id) ORDER BY r.started_at DESC, r.result_id DESC)::text), 8) AS order_hash,
       count(*) FILTER (WHERE r.started_at >= '2100-01-14T12:00:00Z') AS since, count(*) FILTER (WHERE r.started_at <= '2100-01-14T12:00:00Z') AS until
  FROM probectl.result r WHERE r.tenant_id = :'a' AND r.test_id = regress.test_uuid(9);
CALL regress.pages(:'viewer_token', '/v1/results/latest', '{}', 'test_id,agent_id', 1, 3, 7, 8, 5000);
CALL regress.pages(:'viewer_token', '/v1/agents', '{}', 'agent_id', 1, 2);
CREATE TEMP TABLE expected_events AS SELECT count(*) AS n FROM probectl.audit_event WHERE tenant_id = :'a';
CREATE PROCEDURE regress.audit_pages(token text, size integer, INOUT n bigint DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  answer json;
  next text;
  expected bigint;
BEGIN
  n := 0;
  LOOP
    PERFORM probectl.enter_session(token);
    SELECT c.body::json INTO answer FROM probectl.api_call('GET', '/v1/audit', '{}', jsonb_build_object('limit', size::text) || CASE WHEN next IS NULL THEN '{}' ELSE jsonb_build_object('after', next) END, NULL) c;
    COMMIT;
    n := n + json_array_length(answer -> 'items');
    IF expected IS NOT NULL AND (answer -> 'items' -> 0 ->> 'seq')::bigint <> expected THEN
      RAISE EXCEPTION 'a page starts at %, not at %', answer -> 'items' -> 0 ->> 'seq', expected;
    END IF;
    next := answer ->> 'next';
    EXIT WHEN next IS NULL;
    expected := next::bigint - 1;
  END LOOP;
END
$$;
CALL regress.audit_pages(:'admin_token', 1, NULL) \gset one_
CALL regress.audit_pages(:'admin_token', 1000, NULL) \gset all_
SELECT :one_n = n AS by_one, :all_n = n AS at_once FROM expected_events;
-- Every filter gives what the same condition on the table gives, whatever the size of a page.
CREATE PROCEDURE regress.audit_filtered(token text, filter jsonb, condition text, size integer, INOUT same boolean DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  answer json;
  next text;
  got bigint[] := '{}';
  expected bigint[];
BEGIN
  LOOP
    PERFORM probectl.enter_session(token);
    SELECT c.body::json INTO answer FROM probectl.api_call('GET', '/v1/audit', '{}', filter || jsonb_build_object('limit', size::text) || CASE WHEN next IS NULL THEN '{}' ELSE jsonb_build_object('after', next) END, NULL) c;
    EXECUTE 'SELECT array_agg(seq ORDER BY seq DESC) FROM probectl.audit_event WHERE ' || condition INTO expected;
    COMMIT;
    got := got || ARRAY(SELECT (i ->> 'seq')::bigint FROM json_array_elements(answer -> 'items') i);
    next := answer ->> 'next';
    EXIT WHEN next IS NULL;
  END LOOP;
  same := got = coalesce(expected, '{}') AND cardinality(got) > 0;
END
$$;
CALL regress.audit_filtered(:'admin_token', '{"action": "test."}', $$action LIKE 'test.%'$$, 3);
CALL regress.audit_filtered(:'admin_token', '{"action": "test.create"}', $$action = 'test.create'$$, 2);
CALL regress.audit_filtered(:'admin_token', '{"outcome": "denied"}', $$outcome = 'denied'$$, 1);
CALL regress.audit_filtered(:'admin_token', '{"since": "2100-01-15T11:00:00Z"}', $$at >= '2100-01-15T11:00:00Z'$$, 7);
CALL regress.audit_filtered(:'admin_token', '{"until": "2101-01-15T11:00:00Z", "outcome": "ok"}', $$outcome = 'ok'$$, 50);
SELECT actor AS an_actor, target AS a_target FROM probectl.audit_event WHERE tenant_id = :'a' AND action = 'test.create' ORDER BY seq LIMIT 1 \gset
CALL regress.audit_filtered(:'admin_token', jsonb_build_object('actor', :'an_actor'), format('actor = %L', :'an_actor'), 4);
CALL regress.audit_filtered(:'admin_token', jsonb_build_object('target', :'a_target'), format('target = %L', :'a_target'), 1);
CALL regress.api(:'admin_token', 'GET', '/v1/audit', query => '{"action": "tes"}');

-- Results: filters, order, the newest with its state, and what is left of a deleted test.
CALL regress.api(:'viewer_token', 'GET', '/v1/results', query => jsonb_build_object('test_id', regress.test_uuid(3), 'since', '2100-01-15T11:01:04Z', 'until', '2100-01-15T11:01:05Z'));
CALL regress.api(:'viewer_token', 'GET', '/v1/results', query => jsonb_build_object('test_id', regress.test_uuid(3), 'agent_id', :'b_agent'));
CALL regress.api(:'other_token', 'GET', '/v1/results', query => jsonb_build_object('test_id', regress.test_uuid(3)));
CALL regress.api(:'viewer_token', 'GET', '/v1/results/latest', query => jsonb_build_object('test_id', regress.test_uuid(0)));
CALL regress.api(:'viewer_token', 'GET', '/v1/results/latest', query => '{"state": "ok"}');
CALL regress.api(:'other_token', 'GET', '/v1/results/latest');
SET probectl.clock = '2100-01-15T11:04:00Z';
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
SELECT i ->> 'test_id', i ->> 'state' FROM probectl.api_call('GET', '/v1/results/latest', '{}', '{}', NULL) c, json_array_elements(c.body::json -> 'items') i;
SELECT count(*) FROM probectl.api_call('GET', '/v1/results/latest', '{}', '{"state": "ok", "type": "icmp"}', NULL) c, json_array_elements(c.body::json -> 'items') i;
SELECT count(*) FROM probectl.api_call('GET', '/v1/results/latest', '{}', '{"state": "failed"}', NULL) c, json_array_elements(c.body::json -> 'items') i;
SELECT count(*) FROM probectl.api_call('GET', '/v1/results/latest', '{}', '{"type": "http"}', NULL) c, json_array_elements(c.body::json -> 'items') i;
ROLLBACK;
SET probectl.clock = '2100-01-15T12:00:00Z';
-- Text that needs escaping comes back as it was.
CALL regress.api(:'admin_token', 'POST', '/v1/tests', request => '{"type": "icmp", "target": "x\"\\y", "name": "\u00e9 \ud83d\ude00 <script> \\ \" \n"}');

-- The description lists every route, with its permission; it is JSON; no login is needed for it.
SELECT count(*) FILTER (WHERE o.operation IS NULL) AS missing, count(*) FILTER (WHERE o.operation ->> 'x-permission' IS DISTINCT FROM r.permission) AS other_permission,
       count(*) FILTER (WHERE o.operation ->> 'operationId' <> r.handler) AS other_handler, count(*) > 10 AS some
  FROM probectl.api_route r, LATERAL (SELECT probectl.openapi()::jsonb -> 'paths' -> r.path -> lower(r.method) AS operation) o;
SELECT (SELECT count(*) FROM jsonb_each(probectl.openapi()::jsonb -> 'paths') p, jsonb_object_keys(p.value)) = (SELECT count(*) FROM probectl.api_route) AS no_more;
-- Every reference has a target.
SELECT DISTINCT m[1] FROM regexp_matches(probectl.openapi(), '"\$ref": "#/components/schemas/([A-Za-z]+)"', 'g') m
EXCEPT SELECT jsonb_object_keys(probectl.openapi()::jsonb -> 'components' -> 'schemas');
-- Every handler is there, and every function of the schema is a handler.
SELECT handler FROM probectl.api_route WHERE to_regprocedure(format('probectl_api.%I(jsonb,jsonb,jsonb)', handler)) IS NULL;
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'probectl_api'::regnamespace AND p.proname NOT IN (SELECT handler FROM probectl.api_route);
