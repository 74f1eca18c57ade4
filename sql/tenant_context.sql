-- SPDX-License-Identifier: PostgreSQL
--
-- Bind once: a transaction gets one tenant from the enter functions, by nothing else, and keeps it
-- to its end whatever is done in between.
\set VERBOSITY sqlstate
SELECT current_user AS superuser \gset
SELECT probectl.tenant_create('context-a', 'Context A') AS a \gset
SELECT probectl.tenant_create('context-b', 'Context B') AS b \gset
CALL regress.enrol(:'a', 'agent of a', NULL, NULL) \gset a_
CALL regress.enrol(:'b', 'agent of b', NULL, NULL) \gset b_
CALL regress.user(:'a', 'a@example.net', 'admin', NULL, NULL) \gset a_
CALL regress.user(:'b', 'b@example.net', 'admin', NULL, NULL) \gset b_
-- a: 3 results over two days, b: 5. Leaves hold rows of both.
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'a_agent', :'a_serial');
SELECT stored FROM probectl.ingest('network', regress.batch(1, 1, regress.result(1), regress.result(1), regress.result(1, '2100-01-14 10:00:00+00')));
COMMIT;
BEGIN;
SELECT FROM probectl.enter_agent(:'b', :'b_agent', :'b_serial');
SELECT stored FROM probectl.ingest('network', regress.batch(1, 1, regress.result(2), regress.result(2), regress.result(2), regress.result(2),
                                                                 regress.result(2, '2100-01-14 10:00:00+00')));
COMMIT;

-- Nobody bound.
SELECT probectl.current_tenant() IS NULL AS unbound, probectl.current_principal() IS NULL AS nobody;
BEGIN;
SET LOCAL ROLE probectl_app;
SELECT count(*) FROM probectl.result;
SELECT count(*) FROM probectl.test;
SELECT count(*) FROM probectl.tenant;
SELECT probectl.ingest('network', regress.batch(1, 1, regress.result(1)));
ROLLBACK;
-- Bound: the tenant's rows, all of them, and nobody else's.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT current_user, probectl.current_tenant() = :'a' AS bound, probectl.current_principal();
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own FROM probectl.result;
SELECT count(*) FROM probectl.result WHERE tenant_id = :'b';
SELECT count(*), min(slug) FROM probectl.tenant;
COMMIT;
SELECT probectl.current_tenant() IS NULL AS unbound, current_user = session_user AS role_is_back;
BEGIN;
SELECT FROM probectl.enter_tenant(:'b');
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'b') AS own FROM probectl.result;
ROLLBACK;
-- Leaves: no grant, and where an administrator grants one, the policy stands there as well.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*) FROM probectl.result_21000115;
ROLLBACK;
BEGIN;
GRANT SELECT ON probectl.result_21000115, probectl.result_21000114, probectl.ledger_21000115 TO probectl_app;
SAVEPOINT unbound;
SET LOCAL ROLE probectl_app;
SELECT count(*) FROM probectl.result_21000115;
ROLLBACK TO unbound;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own FROM probectl.result_21000115;
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own FROM probectl.result_21000114;
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE tenant_id <> :'a') AS foreign_rows FROM probectl.ledger_21000115;
ROLLBACK;

-- Twice, the same or another, by any door.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SAVEPOINT s;
SELECT FROM probectl.enter_tenant(:'b');
ROLLBACK TO s;
SELECT FROM probectl.enter_tenant(:'a');
ROLLBACK TO s;
SELECT FROM probectl.enter_session(:'b_token');
ROLLBACK TO s;
SELECT FROM probectl.enter_agent(:'b', :'b_agent', :'b_serial');
ROLLBACK TO s;
SELECT count(*) FROM probectl.result;
ROLLBACK;
-- A savepoint that is rolled back takes the tenant away, not the lock.
BEGIN;
SAVEPOINT s;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*) FROM probectl.result;
ROLLBACK TO s;
SELECT probectl.current_tenant() IS NULL AS unbound, probectl.current_principal() IS NULL AS nobody;
SELECT FROM probectl.enter_tenant(:'b');
ROLLBACK TO s;
SELECT FROM probectl.enter_tenant(:'a');
ROLLBACK;
-- The same inside one statement: an exception block is a savepoint.
DO $$
DECLARE
  t uuid;
BEGIN
  FOR t IN SELECT tenant_id FROM probectl.tenant WHERE slug IN ('context-a', 'context-b') ORDER BY slug LOOP
    BEGIN
      PERFORM probectl.enter_tenant(t);
      RAISE EXCEPTION 'undo';
    EXCEPTION WHEN OTHERS THEN
      RAISE NOTICE '%', SQLERRM;
    END;
  END LOOP;
END
$$;
-- A failed attempt holds the lock as well: guesses need a transaction each.
BEGIN;
SAVEPOINT s;
SELECT FROM probectl.enter_session('pct_' || repeat('A', 64));
ROLLBACK TO s;
SELECT FROM probectl.enter_tenant('00000000-0000-4000-8000-000000000000');
ROLLBACK TO s;
SELECT FROM probectl.enter_session(:'a_token');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_tenant('00000000-0000-4000-8000-000000000000');
ROLLBACK;
-- COMMIT AND CHAIN is a new transaction, bound to nobody.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
COMMIT AND CHAIN;
SELECT probectl.current_tenant() IS NULL AS unbound, current_user = session_user AS role_is_back;
SELECT FROM probectl.enter_tenant(:'b');
SELECT count(*) FROM probectl.result;
COMMIT;
-- COMMIT inside a DO block unbinds, too.
DO $$
BEGIN
  PERFORM probectl.enter_tenant((SELECT tenant_id FROM probectl.tenant WHERE slug = 'context-a'));
  RAISE NOTICE '% rows', (SELECT count(*) FROM probectl.result);
  COMMIT;
  RAISE NOTICE 'unbound: %', probectl.current_tenant() IS NULL;
  PERFORM probectl.enter_tenant((SELECT tenant_id FROM probectl.tenant WHERE slug = 'context-b'));
  RAISE NOTICE '% rows', (SELECT count(*) FROM probectl.result);
END
$$;

-- The setting cannot be made by anybody, a superuser included.
\set VERBOSITY terse
SELECT set_config('probectl.tenant_id', '00000000-0000-4000-8000-000000000001', false);
SELECT set_config('probectl.tenant_id', '00000000-0000-4000-8000-000000000001', true);
SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
SET LOCAL probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
CREATE ROLE regress_probectl_forger;
ALTER ROLE regress_probectl_forger SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
ALTER ROLE probectl_gateway SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
SELECT format('ALTER DATABASE %I SET probectl.tenant_id = %L', current_database(), '00000000-0000-4000-8000-000000000001') \gexec
ALTER SYSTEM SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
DROP ROLE regress_probectl_forger;
CREATE FUNCTION regress.forged() RETURNS bigint LANGUAGE sql SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001'
  AS 'SELECT count(*) FROM probectl.result';
UPDATE pg_settings SET setting = '00000000-0000-4000-8000-000000000001' WHERE name = 'probectl.tenant_id';
SELECT count(*) FROM pg_settings WHERE name = 'probectl.tenant_id';
-- As an ordinary role, and while bound.
SET ROLE probectl_app;
SET probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
SELECT set_config('probectl.tenant_id', '', false);
RESET ROLE;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SAVEPOINT s;
SET LOCAL probectl.tenant_id = '00000000-0000-4000-8000-000000000001';
ROLLBACK TO s;
SET LOCAL probectl.tenant_id = '';
ROLLBACK TO s;
RESET probectl.tenant_id;
ROLLBACK TO s;
RESET ALL;
ROLLBACK TO s;
SELECT set_config('probectl.tenant_id', '', true);
ROLLBACK TO s;
SELECT probectl.current_tenant() = :'a' AS still, count(*) FROM probectl.result;
ROLLBACK;
-- A connection cannot bring one.
\setenv PGOPTIONS '-c probectl.tenant_id=00000000-0000-4000-8000-000000000001'
\setenv PGDATABASE :DBNAME
\! psql -X -d "$PGDATABASE" -c 'SELECT probectl.current_tenant()' 2>&1 | sed 's/^.*FATAL/FATAL/'
\setenv PGOPTIONS

-- Parallel workers see what their leader sees.
\set VERBOSITY default
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL force_parallel_mode = on;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own, bool_and(probectl.current_tenant() = :'a') AS same FROM probectl.result;
SELECT probectl.current_tenant() = :'a' AS same;
ROLLBACK;

-- The logins, each through its own door and no other.
\set VERBOSITY terse
\c - probectl_gateway
SELECT FROM probectl.enter_tenant(:'a');
SELECT FROM probectl.enter_agent(:'a', :'a_agent', :'a_serial');
SELECT count(*) FROM probectl.result;
SELECT slug FROM probectl.tenant_list();
SELECT probectl.tenant_create('context-c', 'Context C');
BEGIN;
SELECT FROM probectl.enter_session(:'a_token');
SELECT current_user, probectl.current_principal() = 'token:' || :'a_user_id' AS token;
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own FROM probectl.result;
SELECT FROM probectl.enter_session(:'b_token');
ROLLBACK;
BEGIN;
SET LOCAL ROLE probectl_app;
SELECT count(*) FROM probectl.result;
SELECT probectl_internal.tenant_bind(:'a');
ROLLBACK;
SET ROLE probectl_owner;
\c - probectl_ingest
SELECT FROM probectl.enter_session(:'a_token');
SELECT FROM probectl.enter_tenant(:'a');
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'a_agent', :'a_serial');
SELECT current_user, probectl.current_principal() = 'agent:' || :'a_agent' AS agent, (SELECT count(DISTINCT tenant_id) FROM probectl.tenant) AS tenants;
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_agent(:'b', :'a_agent', :'a_serial');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'b_agent', :'a_serial');
ROLLBACK;
\c - probectl_worker
SELECT FROM probectl.enter_session(:'a_token');
SELECT count(*) FROM probectl.result;
-- The worker follows every tenant's ledger (counts and places), and sees results only when bound.
SELECT count(DISTINCT tenant_id) >= 2 AS every_tenant FROM probectl.ledger;
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*), count(*) FILTER (WHERE tenant_id = :'a') AS own FROM probectl.result;
SELECT count(DISTINCT tenant_id) FROM probectl.ledger;
ROLLBACK;
-- The provider's role has no door.
\c - :superuser
SET ROLE probectl_provider;
SELECT FROM probectl.enter_tenant(:'a');
SELECT count(*) FROM probectl.result;
RESET ROLE;
