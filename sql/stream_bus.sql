-- SPDX-License-Identifier: PostgreSQL
--
-- The bus: who may store a partition, offset and rows together, dead letters and their second try.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('bus-a', 'Bus A') AS a \gset
SELECT probectl.tenant_create('bus-b', 'Bus B') AS b \gset
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'b', 'agent-2', NULL, NULL) \gset other_
CALL regress.user(:'a', 'bus-admin@example.com', 'admin', NULL, NULL) \gset admin_
CALL regress.user(:'a', 'bus-viewer@example.com', 'viewer', NULL, NULL) \gset viewer_
CREATE FUNCTION regress.bus_results(n integer) RETURNS bytea[] LANGUAGE sql IMMUTABLE
  AS $$ SELECT array_agg(regress.result(1, '2100-01-15 11:00:00+00'::timestamptz + i * interval '1 s', 5000 + i)) FROM generate_series(1, n) i $$;
-- As the ingest login, which holds no table.
SET ROLE probectl_ingest;
SELECT FROM probectl_internal.bus_offset;
RESET ROLE;

-- The first says how agents are spread; others say the same or are refused.
SELECT FROM probectl.bus_layout('c1', 12, 8);
SELECT FROM probectl.bus_layout('c1', 12, 8);
SELECT FROM probectl.bus_layout('c1', 24, 8);
SELECT FROM probectl.bus_layout('c1', 12, 9);
SELECT FROM probectl.bus_layout('c2', 24, 8);
SELECT FROM probectl.bus_layout('c3', 0, 8);

-- A partition is claimed, moved on, claimed by another: the one before can move it no more.
SELECT * FROM probectl.bus_claim('c1', 't', 0);
SELECT FROM probectl.bus_advance('c1', 't', 0, 1, 0, 5);
SELECT FROM probectl.bus_advance('c1', 't', 0, 1, 0, 5);
SELECT FROM probectl.bus_advance('c1', 't', 0, 1, 6, 7);
SELECT * FROM probectl.bus_claim('c1', 't', 0);
SELECT FROM probectl.bus_advance('c1', 't', 0, 1, 5, 6);
SELECT FROM probectl.bus_advance('c1', 't', 0, 2, 5, 6);
-- Another partition, topic and cluster are others.
SELECT * FROM probectl.bus_claim('c1', 't', 1);
SELECT * FROM probectl.bus_claim('c1', 'u', 0);
SELECT * FROM probectl.bus_claim('c2', 't', 0);
SELECT FROM probectl.bus_advance('c1', 'nosuch', 0, 1, 0, 1);
-- Offset and rows are one: what is refused moves neither.
BEGIN;
SELECT FROM probectl.bus_advance('c1', 't', 0, 2, 6, 7);
SELECT FROM probectl.enter_agent(:'a', :'agent', :'serial');
SELECT stored FROM probectl.ingest('network', regress.batch(7, 1, VARIADIC regress.bus_results(2)));
COMMIT;
BEGIN;
SELECT FROM probectl.bus_advance('c1', 't', 0, 2, 7, 8);
SELECT FROM probectl.enter_agent(:'a', :'agent', 'bad');
COMMIT;
SELECT next_offset, fence FROM probectl_internal.bus_offset WHERE cluster = 'c1' AND topic = 't' AND partition = 0;
SELECT count(*) FROM probectl.result WHERE tenant_id = :'a';
-- Not in a tenant's transaction.
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'agent', :'serial');
SELECT FROM probectl.bus_claim('c1', 't', 0);
ROLLBACK;

-- A revoked agent's batch becomes dead letters: past the mark only, once, and the mark moves.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT FROM probectl.agent_revoke(:'agent');
COMMIT;
SELECT * FROM probectl.ingest_refused(:'a', :'agent', :'serial', 'network', regress.batch(7, 2, VARIADIC regress.bus_results(3)), 'identity_refused');
SELECT * FROM probectl.ingest_refused(:'a', :'agent', :'serial', 'network', regress.batch(7, 2, VARIADIC regress.bus_results(3)), 'identity_refused');
SELECT * FROM probectl.ingest_refused(:'a', :'agent', :'serial', 'network', regress.batch(6, 9, VARIADIC regress.bus_results(1)), 'identity_refused');
-- Nobody moves the mark of an agent with a certificate it never had, or of another tenant's agent.
SELECT FROM probectl.ingest_refused(:'a', :'agent', 'abc', 'network', regress.batch(8, 1, VARIADIC regress.bus_results(1)), 'x');
SELECT FROM probectl.ingest_refused(:'b', :'agent', :'serial', 'network', regress.batch(8, 1, VARIADIC regress.bus_results(1)), 'x');
SELECT FROM probectl.ingest_refused(:'a', :'agent', :'serial', 'network', 'no batch', 'x');
-- The transaction is bound after it, but to nobody.
BEGIN;
SET LOCAL ROLE probectl_ingest;
SELECT dead_lettered FROM probectl.ingest_refused(:'a', :'agent', :'serial', 'flow', regress.batch(1, 1, VARIADIC regress.bus_results(1)), 'bad_batch');
SELECT FROM probectl.dead_letter;
ROLLBACK;
SELECT seq, reason, record_bytes = length(record) AS whole FROM probectl.dead_letter WHERE tenant_id = :'a' ORDER BY seq;
SELECT epoch, first_seq, count, stored, duplicate, dead_lettered FROM probectl.ledger WHERE tenant_id = :'a' ORDER BY received_at, xid;

-- Tried again, through the same checks: the agent must have its right back.
SELECT dead_letter_id AS letter FROM probectl.dead_letter WHERE tenant_id = :'a' AND seq = 3 \gset
SELECT dead_letter_id AS second FROM probectl.dead_letter WHERE tenant_id = :'a' AND seq = 4 \gset
CREATE PROCEDURE regress.replay(token text, letter uuid, INOUT status text DEFAULT NULL, INOUT answer text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
  BEGIN
    PERFORM probectl.enter_session(token);
    SELECT c.status::text, c.body INTO status, answer FROM probectl.api_call('POST', '/v1/dead-letters/{dead_letter_id}/replay',
      jsonb_build_object('dead_letter_id', letter), '{}', NULL) c;
  EXCEPTION
    WHEN OTHERS THEN
      status := SQLSTATE;
      answer := SQLERRM;
  END;
  COMMIT;
END
$$;
CALL regress.replay(:'viewer_token', :'letter');
CALL regress.replay(:'admin_token', :'letter');
SET session_replication_role = replica;
UPDATE probectl.agent SET revoked_at = NULL WHERE agent_id = :'agent';
RESET session_replication_role;
BEGIN;
SELECT FROM probectl.enter_agent(:'b', :'other_agent', :'other_serial');
SELECT probectl.dead_letter_replay(:'letter');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_tenant(:'b');
SELECT probectl.dead_letter_replay(:'letter');
ROLLBACK;
CALL regress.replay(:'admin_token', :'letter');
CALL regress.replay(:'admin_token', :'letter');
SELECT count(*) FROM probectl.result WHERE tenant_id = :'a';
-- What was cut when it was kept, and what is still no record, stay.
UPDATE probectl.dead_letter SET record_bytes = 5000 WHERE dead_letter_id = :'second';
CALL regress.replay(:'admin_token', :'second');
UPDATE probectl.dead_letter SET record = '\xff', record_bytes = 1 WHERE dead_letter_id = :'second';
CALL regress.replay(:'admin_token', :'second');
UPDATE probectl.dead_letter SET plane = 'flow' WHERE dead_letter_id = :'second';
CALL regress.replay(:'admin_token', :'second');
SELECT seq, plane, reason FROM probectl.dead_letter WHERE tenant_id = :'a' ORDER BY seq;
-- What was received is what was stored, was there already, or is a dead letter.
SELECT sum(count) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate, sum(dead_lettered) AS dead FROM probectl.ledger WHERE tenant_id = :'a';
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT plane, received, stored, duplicate, malformed, dead_lettered FROM probectl.integrity() WHERE plane <> 'metric';
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT jsonb_path_query_array(body::jsonb, '$.items[*].reason') FROM probectl.api_call('GET', '/v1/dead-letters', '{}', '{"limit": "1"}', NULL);
SELECT status, body::jsonb -> 'items' FROM probectl.api_call('GET', '/v1/dead-letters', '{}', '{"reason": "nosuch"}', NULL);
COMMIT;
DROP PROCEDURE regress.replay;
DROP FUNCTION regress.bus_results;
