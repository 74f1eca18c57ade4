-- SPDX-License-Identifier: PostgreSQL
--
-- The chain of a tenant: grows with every change, in the change's transaction; whatever is done to its
-- stored rows is found, with the number of the first bad event.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('audit-a', 'Audit A') AS a \gset
SELECT probectl.tenant_create('audit-b', 'Audit B') AS b \gset
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT seq, action, outcome, actor FROM probectl.audit_event WHERE seq = 1;
SELECT max(seq) AS base, count(*) = max(seq) AS without_gaps, count(*) FILTER (WHERE outcome <> 'ok' OR actor <> 'system:' || session_user) AS other FROM probectl.audit_event \gset
SELECT :'without_gaps' AS without_gaps, :other AS other;
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
-- A change, and a change of the change: what was and what is, nothing that did not move.
INSERT INTO probectl.test (test_id, name, type, target) VALUES (regress.test_uuid(1), 'first', 'icmp', 'one.example.net');
UPDATE probectl.test SET target = 'two.example.net' WHERE name = 'first';
UPDATE probectl.test SET target = target WHERE name = 'none';
SELECT seq - :base AS nth, action, target, data::jsonb - '{created_at,updated_at,project_id}'::text[] AS data FROM probectl.audit_event WHERE seq > :base ORDER BY seq;
-- Before the commit the chain is whole already.
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
COMMIT;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
SELECT seq - :base AS nth FROM probectl.audit_head;
ROLLBACK;

-- What is rolled back was never there: the transaction, savepoints, nested ones, exception blocks.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
INSERT INTO probectl.test (name, type, target) VALUES ('undone', 'icmp', 'x');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SAVEPOINT s1;
INSERT INTO probectl.test (name, type, target) VALUES ('undone', 'icmp', 'x');
SAVEPOINT s2;
INSERT INTO probectl.test (name, type, target) VALUES ('undone too', 'icmp', 'x');
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
ROLLBACK TO s2;
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
INSERT INTO probectl.test (name, type, target) VALUES ('undone three', 'icmp', 'x');
RELEASE s2;
ROLLBACK TO s1;
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
INSERT INTO probectl.test (name, type, target) VALUES ('kept 1', 'icmp', 'x');
SAVEPOINT s3;
INSERT INTO probectl.test (name, type, target) VALUES ('undone', 'icmp', 'x');
SAVEPOINT s4;
INSERT INTO probectl.test (name, type, target) VALUES ('kept?', 'icmp', 'x');
RELEASE s4;
ROLLBACK TO s3;
DO $$
BEGIN
  FOR i IN 1..20 LOOP
    BEGIN
      INSERT INTO probectl.test (name, type, target) VALUES ('loop ' || i, 'icmp', 'x');
      IF i % 3 <> 0 THEN
        RAISE EXCEPTION 'undo';
      END IF;
    EXCEPTION
      WHEN raise_exception THEN NULL;
    END;
  END LOOP;
END
$$;
INSERT INTO probectl.test (name, type, target) VALUES ('kept 2', 'icmp', 'x');
COMMIT;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
SELECT seq - :base AS nth, data ->> 'name' AS name FROM probectl.audit_event WHERE seq > :base + 2 ORDER BY seq;
-- Many in one transaction.
INSERT INTO probectl.test (name, type, target) SELECT 'many ' || i, 'icmp', 'x' FROM generate_series(1, 2000) i;
COMMIT;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT ok, events - :base AS events, first_bad, reason FROM probectl.audit_verify();
DELETE FROM probectl.test WHERE name LIKE 'many%';
COMMIT;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT ok, events - :base AS events FROM probectl.audit_verify();
ROLLBACK;
-- A transaction that changes nothing leaves the chain alone.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
UPDATE probectl.test SET target = 'y' WHERE false;
SAVEPOINT s;
ROLLBACK TO s;
COMMIT;

-- Nothing that looks like a secret is in it.
SELECT count(*) FROM probectl.audit_event e, jsonb_object_keys(e.data::jsonb) k WHERE k ~ 'hash|secret|token|used_by';

-- The tenant writes no history, neither as it is nor through what is inside.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SAVEPOINT s;
INSERT INTO probectl.audit_event (seq, at, actor, action, target, outcome, data, prev_hash, hash) VALUES (9999, now(), 'x', 'x', 'x', 'ok', '{}', '', '');
ROLLBACK TO s;
UPDATE probectl.audit_event SET actor = 'x';
ROLLBACK TO s;
DELETE FROM probectl.audit_event;
ROLLBACK TO s;
UPDATE probectl.audit_head SET seq = 1;
ROLLBACK TO s;
DELETE FROM probectl.audit_head;
ROLLBACK TO s;
SELECT probectl_internal.audit_append('forged', 'x', 'ok', '{}');
ROLLBACK TO s;
SELECT probectl_internal.provider_audit_append('forged', 'x', 'ok', '{}');
ROLLBACK;
SELECT probectl_internal.audit_append('x', 'x', 'ok', '{}');

-- As a superuser behind the chain's back: every kind of change is found. Each in a transaction that is undone.
CREATE FUNCTION regress.tampered(tenant uuid, VARIADIC statements text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  verdict record;
  statement text;
BEGIN
  BEGIN
    SET LOCAL session_replication_role = replica;
    FOREACH statement IN ARRAY statements LOOP
      EXECUTE statement USING tenant;
    END LOOP;
    PERFORM probectl.enter_tenant(tenant);
    SELECT * INTO verdict FROM probectl.audit_verify();
    RAISE EXCEPTION 'undo' USING ERRCODE = 'ZZ000';
  EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN NULL;
  END;
  RETURN format('%s at %s: %s', CASE WHEN verdict.ok THEN 'nothing' ELSE 'found' END, CASE WHEN verdict.first_bad > 100 THEN 'the end' ELSE verdict.first_bad::text END, verdict.reason);
END
$$;
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET actor = 'user:nobody' WHERE tenant_id = $1 AND seq = 5$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET action = 'test.read' WHERE tenant_id = $1 AND seq = 8$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET target = target || ' ' WHERE tenant_id = $1 AND seq = 6$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET outcome = 'denied' WHERE tenant_id = $1 AND seq = 1$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET at = at + interval '1 us' WHERE tenant_id = $1 AND seq = 9$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET data = '{}' WHERE tenant_id = $1 AND seq = 10$$);
-- Even a space in the text, and a number with another zero.
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET data = (data::text || ' ')::json WHERE tenant_id = $1 AND seq = 10$$);
-- Moved from one field to the next.
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET actor = actor || left(action, 1), action = substr(action, 2) WHERE tenant_id = $1 AND seq = 5$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET hash = sha256(hash) WHERE tenant_id = $1 AND seq = 5$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET prev_hash = sha256(hash) WHERE tenant_id = $1 AND seq = 5$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET prev_hash = '' WHERE tenant_id = $1 AND seq = 1$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1 AND seq = 1$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1 AND seq = 7$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1 AND seq = (SELECT max(seq) FROM probectl.audit_event WHERE tenant_id = $1)$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1 AND seq > 3$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1$$);
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_head WHERE tenant_id = $1$$);
-- Reordered: two events change places.
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_event SET seq = 100000 WHERE tenant_id = $1 AND seq = 4$$,
  $$UPDATE probectl.audit_event SET seq = 4 WHERE tenant_id = $1 AND seq = 5$$, $$UPDATE probectl.audit_event SET seq = 5 WHERE tenant_id = $1 AND seq = 100000$$);
-- Renumbered after a deletion.
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1 AND seq = 5 OR seq > 10$$,
  $$UPDATE probectl.audit_event SET seq = seq + 100 WHERE tenant_id = $1 AND seq > 5$$, $$UPDATE probectl.audit_event SET seq = seq - 101 WHERE tenant_id = $1 AND seq > 100$$);
-- One appended by hand.
SELECT regress.tampered(:'a', $$INSERT INTO probectl.audit_event SELECT tenant_id, seq + 1, at, actor, action, target, outcome, data, hash, sha256(hash)
  FROM probectl.audit_event WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1$$);
-- The chain of another tenant in its place: the stream is part of every hash.
SELECT regress.tampered(:'a', $$DELETE FROM probectl.audit_event WHERE tenant_id = $1$$,
  format($$INSERT INTO probectl.audit_event SELECT $1, seq, at, actor, action, target, outcome, data, prev_hash, hash FROM probectl.audit_event WHERE tenant_id = %L$$, :'b'));
SELECT regress.tampered(:'b', $$UPDATE probectl.audit_event SET hash = hash WHERE tenant_id = $1$$) AS untouched;
-- The head alone.
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_head SET seq = seq - 1 WHERE tenant_id = $1$$);
SELECT regress.tampered(:'a', $$UPDATE probectl.audit_head SET hash = sha256(hash) WHERE tenant_id = $1$$);
DROP FUNCTION regress.tampered(uuid, text[]);
-- ... and none of it is there any more.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT ok FROM probectl.audit_verify();
ROLLBACK;

-- The provider's chain holds what was done to the platform.
SELECT action, outcome, data ->> 'slug' AS slug FROM probectl_internal.provider_audit_event WHERE action = 'tenant.create' AND data ->> 'slug' ~ '^audit-' ORDER BY seq;
SELECT count(*) - 1 = max(e.seq) - min(e.seq) AS without_gaps, min(e.seq), count(*) FILTER (WHERE e.prev_hash <> p.hash) AS broken
  FROM probectl_internal.provider_audit_event e LEFT JOIN probectl_internal.provider_audit_event p ON p.seq = e.seq - 1;
