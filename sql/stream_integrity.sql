-- SPDX-License-Identifier: PostgreSQL
--
-- What became of every record: the counts add up, also over what was rolled back, a restart, and another tenant.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('integrity-a', 'Integrity A') AS a \gset
SELECT probectl.tenant_create('integrity-b', 'Integrity B') AS b \gset
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'a', 'agent-2', NULL, NULL) \gset second_
CREATE FUNCTION regress.results(n integer) RETURNS bytea[] LANGUAGE sql IMMUTABLE
  AS $$ SELECT array_agg(regress.result(1, '2100-01-15 11:00:00+00'::timestamptz + i * interval '1 s', i)) FROM generate_series(1, n) i $$;
CREATE PROCEDURE regress.counts(tenant uuid) LANGUAGE plpgsql AS $$
DECLARE
  c record;
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  FOR c IN SELECT * FROM probectl.integrity() i WHERE i.plane <> 'metric' LOOP
    RAISE INFO '%', c;
    IF c.received <> c.stored + c.duplicate + c.malformed + c.dead_lettered + c.refused + c.shed + c.capped THEN
      RAISE EXCEPTION 'the counts do not add up';
    END IF;
  END LOOP;
  COMMIT;
END
$$;
-- Nothing yet; stored; all of it again; half of it again with two more; two agents.
CALL regress.counts(:'a');
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 3, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 1, VARIADIC regress.results(2)));
CALL regress.counts(:'a');
-- One that does not decode beside one that is too old and a good one.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 10, '\xff'::bytea, regress.result(1, '2000-01-01 00:00:00+00'), regress.result(1)));
CALL regress.counts(:'a');
-- Refused: an old epoch with three records, envelopes of which nobody knows how many they had.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(6, 1, VARIADIC regress.results(3)));
CALL regress.send(:'a', :'agent', :'serial', '\x00'::bytea);
CALL regress.send(:'a', :'agent', :'serial', ''::bytea);
CALL regress.counts(:'a');
-- Shed: the budget lets one batch overdraw it, and not the next.
SELECT FROM probectl.tenant_set_budget(:'a', 1, 1, 0, 0);
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 100, VARIADIC regress.results(20)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 120, VARIADIC regress.results(5)));
CALL regress.counts(:'a');
-- Rolled back by the caller: not received.
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'second_agent', :'second_serial');
ROLLBACK;
CALL regress.counts(:'a');
-- Kept, again without a change, and after the memory they were counted in is gone.
BEGIN;
SELECT FROM probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.turned_away_keep(), probectl_internal.turned_away_keep();
COMMIT;
SELECT plane, refused_before, shed_before, refused, shed FROM probectl.turned_away WHERE tenant_id = :'a';
CALL regress.counts(:'a');
UPDATE probectl.turned_away SET booted_at = booted_at - interval '1 day', refused = 100, shed = 1000 WHERE tenant_id = :'a';
CALL regress.counts(:'a');
BEGIN;
SELECT FROM probectl_internal.tenant_bind(:'a');
SELECT probectl_internal.turned_away_keep();
COMMIT;
SELECT plane, refused_before, shed_before, refused, shed FROM probectl.turned_away WHERE tenant_id = :'a';
CALL regress.counts(:'a');
-- The ledger, the rows and the dead letters say the same.
SELECT (SELECT sum(count) FROM probectl.ledger WHERE tenant_id = :'a') = sum(received) AS received, (SELECT sum(stored) FROM probectl.ledger WHERE tenant_id = :'a') = sum(stored) AS ledger,
       (SELECT count(*) FROM probectl.result WHERE tenant_id = :'a') = sum(stored) AS stored, (SELECT count(*) FROM probectl.dead_letter WHERE tenant_id = :'a') = sum(malformed + dead_lettered) AS dead,
       (SELECT sum(duplicate) FROM probectl.ledger WHERE tenant_id = :'a') = sum(duplicate) AS duplicate
  FROM probectl.stream_position WHERE tenant_id = :'a';
-- Another tenant has none of it, and counts that do not add up cannot be written.
CALL regress.counts(:'b');
UPDATE probectl.stream_position SET stored = stored + 1 WHERE tenant_id = :'a';
SELECT * FROM probectl.integrity();
DROP FUNCTION regress.results(integer);
DROP PROCEDURE regress.counts(uuid);
