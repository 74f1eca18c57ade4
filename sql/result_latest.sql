-- SPDX-License-Identifier: PostgreSQL
--
-- The newest run of each test on each agent, as the derive worker keeps it.
\set VERBOSITY terse
SELECT probectl.tenant_create('latest-a', 'Latest A') AS a \gset
SELECT probectl.tenant_create('latest-b', 'Latest B') AS b \gset
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'a', 'agent-2', NULL, NULL) \gset second_
CALL regress.enrol(:'b', 'agent-b', NULL, NULL) \gset b_
-- Out of order inside a batch, and in batches that come in the wrong order.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 1, regress.result(1, '2100-01-15 11:00:05+00', 5), regress.result(1, '2100-01-15 11:00:09+00', 9),
                                                              regress.result(1, '2100-01-15 11:00:07+00', 7), regress.result(2, '2100-01-15 11:00:01+00', 1)));
CALL regress.derived();
SELECT test_id, started_at, latency_ms, success, spark FROM probectl.result_latest WHERE tenant_id = :'a' ORDER BY test_id;
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 5, regress.result(1, '2100-01-15 11:00:03+00', 3), regress.result(2, '2100-01-15 11:00:02+00', 2, regress.number(8, 0) || regress.words(16, 'timeout'))));
CALL regress.derived();
SELECT test_id, started_at, latency_ms, success, error_type, spark FROM probectl.result_latest WHERE tenant_id = :'a' ORDER BY test_id;
-- The same time again changes nothing; a duplicate batch neither.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 7, regress.result(1, '2100-01-15 11:00:09+00', 99)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 7, regress.result(1, '2100-01-15 11:00:09+00', 99)));
CALL regress.derived();
SELECT latency_ms FROM probectl.result_latest WHERE tenant_id = :'a' AND test_id = regress.test_uuid(1);
-- Two agents run one test: two rows. Two tenants with the same identifiers: each its own.
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 1, regress.result(1, '2100-01-15 11:00:00+00', 20)));
CALL regress.send(:'b', :'b_agent', :'b_serial', regress.batch(1, 1, regress.result(1, '2100-01-15 11:30:00+00', 30)));
CALL regress.derived();
SELECT tenant_id = :'a' AS of_a, agent_id = :'agent' AS first_agent, latency_ms FROM probectl.result_latest
 WHERE tenant_id IN (:'a', :'b') AND test_id = regress.test_uuid(1) ORDER BY 1, 2;
-- Sparklines: 30 points, the newest, ascending, over batches and leaves.
SELECT regress.batch(1, 8, VARIADIC array_agg(regress.result(3, '2100-01-14 23:59:30+00'::timestamptz + i * interval '1 s', i))) AS batch
  FROM generate_series(1, 50) i \gset
CALL regress.send(:'a', :'agent', :'serial', :'batch');
CALL regress.derived();
SELECT json_array_length(j), j -> 0 AS oldest, j -> 29 AS newest FROM probectl.result_latest, LATERAL (SELECT ('[' || spark || ']')::json) s (j) WHERE tenant_id = :'a' AND test_id = regress.test_uuid(3);
SELECT regress.batch(1, 58, VARIADIC array_agg(regress.result(3, '2100-01-15 01:00:00+00'::timestamptz + i * interval '1 s', i))) AS batch
  FROM generate_series(1, 10) i \gset
CALL regress.send(:'a', :'agent', :'serial', :'batch');
CALL regress.derived();
SELECT json_array_length(j), j -> 0 AS oldest, j -> 19 AS between, j -> 20 AS fresh, j -> 29 AS newest,
       j::text = (SELECT '[' || string_agg(p::text, ',' ORDER BY (p ->> 't')::bigint) || ']' FROM json_array_elements(j) p) AS ascending
  FROM probectl.result_latest, LATERAL (SELECT ('[' || spark || ']')::json) s (j) WHERE tenant_id = :'a' AND test_id = regress.test_uuid(3);
-- What agrees with the rows it is made of, for every test of the two tenants.
SELECT count(*), bool_and(l.started_at = (SELECT max(r.started_at) FROM probectl.result r
                                           WHERE r.tenant_id = l.tenant_id AND r.test_id = l.test_id AND r.agent_id = l.agent_id)) AS newest
  FROM probectl.result_latest l WHERE l.tenant_id IN (:'a', :'b');
-- A run without latency, and one that failed.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 68, regress.result(4, extra => regress.words(3, 'http') || regress.number(8, 0))));
CALL regress.derived();
SELECT spark, latency_ms, success FROM probectl.result_latest WHERE tenant_id = :'a' AND test_id = regress.test_uuid(4);
-- Derived state is made again from what is stored: empty it, set the cursor back, wait.
BEGIN;
CREATE TABLE regress.latest AS SELECT * FROM probectl.result_latest WHERE tenant_id IN (:'a', :'b');
DELETE FROM probectl.result_latest WHERE tenant_id IN (:'a', :'b');
DELETE FROM probectl_internal.worker_cursor WHERE name = 'derive';
COMMIT;
CALL regress.derived();
SELECT count(*) > 0 AS some FROM regress.latest;
-- (Points that came late are in a sparkline only when it is made from all of them at once.)
SELECT count(*) AS different FROM regress.latest o LEFT JOIN probectl.result_latest n USING (tenant_id, test_id, agent_id)
 WHERE (to_jsonb(o) - 'spark') IS DISTINCT FROM (to_jsonb(n) - 'spark');
SELECT count(*) = (SELECT count(*) FROM regress.latest) AS all_again FROM probectl.result_latest WHERE tenant_id IN (:'a', :'b');
DROP TABLE regress.latest;
-- A worker that dies takes nothing along.
SELECT pid FROM probectl.workers() WHERE name = 'derive' \gset
SELECT pg_terminate_backend(:pid);
CALL regress.send(:'a', :'agent', :'serial', regress.batch(1, 69, regress.result(4, '2100-01-15 11:59:30+00', extra => regress.words(3, 'http'))));
CALL regress.derived();
SELECT started_at, success FROM probectl.result_latest WHERE tenant_id = :'a' AND test_id = regress.test_uuid(4);
