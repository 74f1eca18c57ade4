-- SPDX-License-Identifier: PostgreSQL
--
-- Credentials: what they open, for how long, how often, and what ends them.
\set VERBOSITY terse
SELECT current_user AS superuser \gset
SELECT probectl.tenant_create('cred-a', 'Credential A') AS a \gset
SELECT probectl.tenant_create('cred-b', 'Credential B') AS b \gset
CALL regress.user(:'a', 'admin@example.net', 'admin', NULL, NULL) \gset admin_
CALL regress.user(:'a', 'viewer@example.net', 'viewer', NULL, NULL) \gset viewer_
CALL regress.user(:'b', 'admin@example.net', 'admin', NULL, NULL) \gset other_

-- Shapes: kind and length, nothing readable but the kind; what is stored is not what was given.
SELECT :'admin_token' ~ '^pct_[A-Za-z0-9_-]{64}$' AS shape;
SELECT count(*) FROM probectl.credential c WHERE c::text LIKE '%' || substr(:'admin_token', 28) || '%';
SELECT count(*) FROM probectl.audit_event e WHERE e::text LIKE '%' || substr(:'admin_token', 28) || '%';
-- Whoever cannot prove anything gets one answer.
\c - probectl_gateway
SELECT FROM probectl.enter_session('');
SELECT FROM probectl.enter_session('pct_');
SELECT FROM probectl.enter_session('pct_' || repeat('A', 64));
SELECT FROM probectl.enter_session(overlay(:'admin_token' placing CASE right(:'admin_token', 1) WHEN 'A' THEN 'B' ELSE 'A' END from 68));
SELECT FROM probectl.enter_session(:'admin_token' || 'A');
SELECT FROM probectl.enter_session(' ' || :'admin_token');
SELECT FROM probectl.enter_session(replace(:'admin_token', 'pct_', 'pcs_'));
SELECT FROM probectl.enter_session(replace(:'admin_token', 'pct_', 'pcl_'));
SELECT FROM probectl.enter_session(replace(:'admin_token', 'pct_', 'PCT_'));
SELECT FROM probectl.enter_session(NULL);
SELECT FROM probectl.signin_redeem(replace(:'admin_token', 'pct_', 'pcl_'), '');
-- The secret of a in the name of b.
SELECT FROM probectl.enter_session(substr(:'other_token', 1, 25) || substr(:'admin_token', 26));
-- Good ones.
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT split_part(probectl.current_principal(), ':', 1), probectl_internal.principal_id() = :'admin_user_id' AS the_user, probectl.current_tenant() = :'a' AS the_tenant;
COMMIT;
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
SELECT bool_or(p.permission = 'test.read') AS reads, bool_or(p.permission ~ '\.write$') AS writes FROM probectl.permission p WHERE probectl_internal.principal_has(p.bit);
SELECT probectl_internal.principal_has(-1), probectl_internal.principal_has(64), probectl_internal.principal_has(63);
-- One place, other permissions: what is remembered of a constant is not taken for a variable.
DO $$
DECLARE
  asked text;
BEGIN
  FOREACH asked IN ARRAY '{test.read,test.write,no.such,agent.read,test.read}'::text[] LOOP
    RAISE NOTICE '%: % % %', asked, probectl_internal.holds(asked), probectl_internal.may(asked, NULL), probectl_internal.holds_for(asked, probectl.current_tenant());
  END LOOP;
END
$$;
SELECT probectl_internal.holds_for('test.read', t) AS reads, probectl_internal.holds_for('test.write', t) AS writes, probectl_internal.may('test.read', NULL) AS may_read, probectl_internal.may('test.write', NULL) AS may_write
  FROM unnest(ARRAY[:'a', :'b', NULL]::uuid[]) t;
-- What a viewer may not ask for, whoever executes it.
SAVEPOINT s;
SELECT probectl.api_token_create('mine', :'admin_user_id', '1 day');
ROLLBACK TO s;
SELECT probectl.signin_link_create(:'admin_user_id', '1 day');
ROLLBACK TO s;
SELECT probectl.user_create('x@example.net', 'X', 'admin');
ROLLBACK TO s;
SELECT probectl.credential_revoke('00000000-0000-4000-8000-000000000000');
ROLLBACK TO s;
SELECT probectl.join_token_create('1 hour', NULL);
ROLLBACK TO s;
SELECT probectl.agent_revoke('00000000-0000-4000-8000-000000000000');
ROLLBACK TO s;
SELECT FROM probectl.api_token_list();
ROLLBACK;

-- A link is good once; the session it gives ends when it is told to, or by itself.
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT probectl.signin_link_create(:'viewer_user_id') AS code \gset
COMMIT;
SELECT session, expires_at FROM probectl.signin_redeem(:'code', 'Mozilla/5.0') \gset
SELECT :'session' ~ '^pcs_[A-Za-z0-9_-]{64}$' AS shape, :'expires_at' AS until;
SELECT FROM probectl.signin_redeem(:'code', 'Mozilla/5.0');
BEGIN;
SELECT FROM probectl.enter_session(:'session');
SELECT split_part(probectl.current_principal(), ':', 1), probectl_internal.principal_id() = :'viewer_user_id' AS the_user;
SELECT FROM probectl.session_end();
COMMIT;
SELECT FROM probectl.enter_session(:'session');
-- Redeeming binds no role: what follows in the same transaction sees nothing.
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT probectl.signin_link_create(:'viewer_user_id') AS code \gset
COMMIT;
BEGIN;
SELECT session FROM probectl.signin_redeem(:'code', '') \gset
SELECT current_user;
SELECT count(*) FROM probectl.tenant_user;
ROLLBACK;
-- ... and since that was rolled back, the link is still good.
SELECT session FROM probectl.signin_redeem(:'code', '') \gset

-- Time. The clock is the superuser's.
\c - :superuser
BEGIN;
SELECT FROM probectl.enter_session(:'session');
ROLLBACK;
-- Every use keeps it alive for a while, but never past its end.
CREATE PROCEDURE regress.alive(session text, VARIADIC times text[]) LANGUAGE plpgsql AS $$
DECLARE
  at text;
BEGIN
  FOREACH at IN ARRAY times LOOP
    PERFORM set_config('probectl.clock', at, false);
    BEGIN
      PERFORM probectl.enter_session(session);
    EXCEPTION
      WHEN OTHERS THEN RAISE NOTICE '% %', at, SQLERRM;
    END;
    COMMIT;
  END LOOP;
END
$$;
SELECT array_agg(to_char('2100-01-15 12:00:00'::timestamp + i * interval '20 minutes', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') ORDER BY i) AS times FROM generate_series(1, 36) i \gset
CALL regress.alive(:'session', VARIADIC :'times');
SET probectl.clock = '2100-01-16T00:00:00Z';
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT probectl.signin_link_create(:'viewer_user_id', '10 minutes') AS code \gset
COMMIT;
SET probectl.clock = '2100-01-16T00:10:00Z';
SELECT FROM probectl.signin_redeem(:'code', '');
SET probectl.clock = '2100-01-16T12:00:00Z';
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
ROLLBACK;
RESET probectl.clock;
SET probectl.clock = '2100-01-15T12:00:00Z';
-- Bad lifetimes.
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SAVEPOINT s;
SELECT probectl.signin_link_create(:'viewer_user_id', '0');
ROLLBACK TO s;
SELECT probectl.signin_link_create(:'viewer_user_id', '-1 s');
ROLLBACK TO s;
SELECT probectl.api_token_create('long', :'viewer_user_id', '11 years');
ROLLBACK TO s;
SELECT probectl.join_token_create(NULL, NULL);
ROLLBACK TO s;
-- People: an address once, whatever its case; a role that is there; an address that is one.
SELECT probectl.user_create('VIEWER@example.net', 'Again', 'viewer');
ROLLBACK TO s;
SELECT probectl.user_create('no-role@example.net', 'X', 'emperor');
ROLLBACK TO s;
SELECT probectl.user_create('no address', 'X', 'viewer');
ROLLBACK TO s;
SELECT probectl.user_create(NULL, NULL, 'viewer');
ROLLBACK TO s;
-- Another tenant's user is nobody.
SELECT probectl.signin_link_create(:'other_user_id');
ROLLBACK TO s;
SELECT probectl.api_token_create('theirs', :'other_user_id');
ROLLBACK TO s;
SELECT email, roles, status FROM probectl.user_list();
SELECT name, user_id = :'admin_user_id' AS admins, expires_at, used_at IS NULL AS unused FROM probectl.api_token_list() ORDER BY 2;
-- The last use is written once a minute, not on every request.
COMMIT;
SET probectl.clock = '2100-01-15T12:02:00Z';
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT used_at FROM probectl.api_token_list() WHERE user_id = :'admin_user_id';
-- Revoked: at once, once.
SELECT credential_id FROM probectl.api_token_list() WHERE user_id = :'viewer_user_id' \gset
SELECT probectl.credential_revoke(:'credential_id'), probectl.credential_revoke(:'credential_id');
COMMIT;
BEGIN;
SELECT FROM probectl.enter_session(:'viewer_token');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'other_token');
SELECT probectl.credential_revoke(:'credential_id') AS of_another_tenant;
ROLLBACK;

-- A suspended user, a suspended tenant. (Rows changed behind the audit triggers' back: that is not what is tested.)
CALL regress.user(:'a', 'second@example.net', 'viewer', NULL, NULL) \gset second_
SET session_replication_role = replica;
UPDATE probectl.tenant_user SET status = 'suspended' WHERE user_id = :'second_user_id';
BEGIN;
SELECT FROM probectl.enter_session(:'second_token');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
SELECT probectl.signin_link_create(:'second_user_id') AS code \gset
COMMIT;
SELECT FROM probectl.signin_redeem(:'code', '');
UPDATE probectl.tenant_user SET status = 'active' WHERE user_id = :'second_user_id';
UPDATE probectl.tenant SET status = 'suspended' WHERE tenant_id = :'a';
BEGIN;
SELECT FROM probectl.enter_session(:'admin_token');
ROLLBACK;
SELECT FROM probectl.signin_redeem(:'code', '');
UPDATE probectl.tenant SET status = 'active' WHERE tenant_id = :'a';
SET session_replication_role = origin;

-- Agents. A join token is spent once, by one key; the same key may ask again.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT probectl.join_token_create('1 hour', NULL) AS join \gset
SELECT probectl.join_token_create('1 hour', NULL) AS second_join \gset
COMMIT;
SELECT :'join' ~ '^pjt_[A-Za-z0-9_-]{64}$' AS shape;
\c - probectl_gateway
-- The request is looked at before the token is spent.
SELECT FROM probectl.agent_enroll(:'join', 'no request', 'host', '1.0');
SELECT FROM probectl.agent_enroll(:'join', '', 'host', '1.0');
SELECT FROM probectl.agent_enroll(:'join', regress.csr(3), 'host', '1.0');
SELECT FROM probectl.agent_enroll(:'join', replace(regress.csr(1), 'M', 'N'), 'host', '1.0');
SELECT FROM probectl.agent_enroll(:'join', repeat('A', 20000), 'host', '1.0');
SELECT FROM probectl.agent_enroll('pjt_' || repeat('A', 64), regress.csr(1), 'host', '1.0');
SELECT FROM probectl.agent_enroll(:'admin_token', regress.csr(1), 'host', '1.0');
SELECT agent_id, serial, not_after, tenant_id = :'a' AS the_tenant, spiffe_id = 'spiffe://probectl/tenant/' || :'a' || '/agent/' || agent_id AS named,
       (SELECT count(*) FROM regexp_matches(certificate, '-----BEGIN CERTIFICATE-----', 'g')) AS chain,
       (SELECT count(*) FROM regexp_matches(ca_bundle, '-----BEGIN CERTIFICATE-----', 'g')) AS bundle,
       serial ~ '^[1-9a-f][0-9a-f]*$' AS hex
  FROM probectl.agent_enroll(:'join', regress.csr(1), 'host-1', '1.0') \gset one_
SELECT :'one_not_after' AS not_after, :'one_the_tenant' AS the_tenant, :'one_named' AS named, :'one_chain' AS chain, :'one_bundle' AS bundle, :'one_hex' AS hex;
SELECT agent_id = :'one_agent_id' AS same_agent, serial <> :'one_serial' AS new_certificate, serial AS again
  FROM probectl.agent_enroll(:'join', regress.csr(1), 'host-1', '1.0') \gset two_
SELECT :'two_same_agent' AS same_agent, :'two_new_certificate' AS new_certificate;
SELECT FROM probectl.agent_enroll(:'join', regress.csr(2), 'host-1', '1.0');
-- Its host name is a name, not more.
SELECT agent_id FROM probectl.agent_enroll(:'second_join', regress.csr(2), repeat('h', 5000), repeat('9', 5000)) \gset long_
-- Both certificates work, each with its own tenant, agent and serial; nothing else does.
\c - probectl_ingest
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'one_serial');
SELECT config_epoch, heartbeat_interval, stream_epoch, committed_seq FROM probectl.agent_register('host-1', '1.1', '{icmp,tcp}', '{"site": "one"}');
COMMIT;
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'two_again');
ROLLBACK;
SELECT FROM probectl.enter_agent(:'b', :'one_agent_id', :'one_serial');
SELECT FROM probectl.enter_agent(:'a', :'long_agent_id', :'one_serial');
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', '0' || :'one_serial');
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', upper(:'one_serial') || 'F');
SELECT FROM probectl.enter_agent('00000000-0000-4000-8000-000000000000', :'one_agent_id', :'one_serial');
-- Words that are too many, and numbers that are none.
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'one_serial');
SAVEPOINT s;
SELECT FROM probectl.agent_register('h', 'v', '{}', '[]');
ROLLBACK TO s;
SELECT FROM probectl.agent_register('h', 'v', '{}', jsonb_build_object('x', repeat('y', 20000)));
ROLLBACK TO s;
SELECT FROM probectl.agent_register('h', 'v', '{}', '{"x": 1e131000}');
ROLLBACK TO s;
SELECT FROM probectl.agent_register('h', 'v', array_fill('c'::text, ARRAY[65]), '{}');
ROLLBACK TO s;
SELECT FROM probectl.agent_register('h', 'v', ARRAY[repeat('c', 5000)], '{}');
ROLLBACK TO s;
SELECT FROM probectl.agent_register(NULL, NULL, NULL, NULL);
ROLLBACK TO s;
SELECT config_stale, heartbeat_interval FROM probectl.agent_heartbeat('{"config_epoch": 1, "spool_records": 5, "dropped": {"disk_full": 2}, "clock_skew_nano": -1500000}');
SELECT config_stale, heartbeat_interval FROM probectl.agent_heartbeat('{"config_epoch": 0}');
SELECT FROM probectl.agent_heartbeat('{"config_epoch": "many"}');
ROLLBACK TO s;
SELECT FROM probectl.agent_heartbeat('{"spool_bytes": 1e30}');
ROLLBACK TO s;
SELECT FROM probectl.agent_heartbeat('{"clock_skew_nano": 1e400}');
ROLLBACK TO s;
SELECT FROM probectl.agent_heartbeat('{"oldest_unix_nano": 1e300}');
ROLLBACK TO s;
SELECT FROM probectl.agent_heartbeat('{"dropped": {"x": 1e131000}}');
ROLLBACK TO s;
-- An agent is no administrator.
SELECT probectl.join_token_create('1 hour', NULL);
ROLLBACK TO s;
SELECT probectl.agent_revoke(:'long_agent_id');
ROLLBACK TO s;
SELECT status FROM probectl.api_call('GET', '/v1/agents', '{}', '{}', NULL);
ROLLBACK;
-- Revoked, expired, suspended.
\c - :superuser
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT probectl.agent_revoke(:'long_agent_id'), probectl.agent_revoke(:'long_agent_id');
-- A token that renews a known agent, and one for an agent of another tenant.
SELECT probectl.join_token_create('1 hour', :'one_agent_id') AS renew \gset
SELECT probectl.join_token_create('1 hour', :'long_agent_id') AS dead \gset
COMMIT;
BEGIN;
SELECT FROM probectl.enter_tenant(:'b');
SELECT probectl.join_token_create('1 hour', :'one_agent_id');
ROLLBACK;
SELECT FROM probectl.agent_enroll(:'dead', regress.csr(1), 'host', '1.0');
SELECT agent_id = :'one_agent_id' AS the_same FROM probectl.agent_enroll(:'renew', regress.csr(2), 'host', '1.0');
SET probectl.clock = '2100-01-16T12:00:00Z';
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'one_serial');
ROLLBACK;
SELECT FROM probectl.agent_enroll(:'renew', regress.csr(2), 'host', '1.0');
SET probectl.clock = '2100-01-15T12:00:00Z';
SET session_replication_role = replica;
UPDATE probectl.agent_certificate SET revoked_at = probectl.clock_now() WHERE serial = :'two_again';
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'two_again');
ROLLBACK;
UPDATE probectl.tenant SET status = 'suspended' WHERE tenant_id = :'a';
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'one_agent_id', :'one_serial');
ROLLBACK;
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'long_agent_id', :'one_serial');
ROLLBACK;
UPDATE probectl.tenant SET status = 'deleted' WHERE tenant_id = :'a';
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
ROLLBACK;
UPDATE probectl.tenant SET status = 'active' WHERE tenant_id = :'a';
SET session_replication_role = origin;

-- The CA: its keys are sealed, making it again changes nothing, no login may sign.
SELECT count(*), bool_and(sealed_key::text !~ encode('PRIVATE KEY', 'hex')) AS sealed, bool_and(length(sealed_key) > 150) AS something
  FROM probectl_internal.certificate_authority;
SELECT probectl.ca_init() = probectl.ca_root() AS same, probectl.ca_bundle() LIKE probectl.ca_root() || '%' AS root_first;
SELECT (SELECT count(*) FROM regexp_matches(probectl.ca_issue_server(regress.csr(1), '{probectl.example.net,127.0.0.1,::1}'), 'BEGIN CERTIFICATE', 'g'));
SELECT probectl.ca_issue_server(regress.csr(1), '{}');
SELECT probectl.ca_issue_server('no request', '{x.example.net}');
SELECT probectl.ca_issue_server(regress.csr(1), ARRAY['a, DNS:evil.example.net']);
SELECT probectl.ca_issue_server(regress.csr(1), ARRAY[NULL::text]);
SELECT action, outcome, count(*) FROM probectl_internal.provider_audit_event WHERE action ~ '^ca' GROUP BY 1, 2 ORDER BY 1;
\c - probectl_gateway
SELECT probectl.ca_root() LIKE '-----BEGIN CERTIFICATE-----%' AS root;
SELECT probectl.ca_init();
SELECT probectl.ca_issue_server('x', '{x}');
SELECT probectl_internal.ca_issue('x', 'agent', '{x}');
\c - :superuser
