-- SPDX-License-Identifier: PostgreSQL
--
-- CREATE and DROP EXTENSION, and what makes CREATE refuse. Ends with the extension in place, a
-- clock that stands still at 2100-01-15 12:00 UTC for the whole database, and the helpers
-- of schema regress that the other files are written with.
SELECT format('ALTER DATABASE %I SET probectl.clock = %L', current_database(), '2100-01-15T12:00:00Z') \gexec
\c -

-- Every object by name, so that what stays behind is named.
CREATE TEMP VIEW census AS
  SELECT 'relation' AS kind, relnamespace::regnamespace::text || '.' || relname AS name FROM pg_class
   WHERE relnamespace::regnamespace::text !~ '^pg_(toast_)?temp'
  UNION ALL SELECT 'type', typnamespace::regnamespace::text || '.' || typname FROM pg_type
   WHERE typnamespace::regnamespace::text !~ '^pg_(toast_)?temp'
  UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc p
  UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
  UNION ALL SELECT 'default privileges', oid::text FROM pg_default_acl
  UNION ALL SELECT 'policy', polname FROM pg_policy
  UNION ALL SELECT 'trigger', tgname FROM pg_trigger
  UNION ALL SELECT 'constraint', conname FROM pg_constraint
  UNION ALL SELECT 'extension', extname FROM pg_extension
  UNION ALL SELECT 'initial privileges', privtype::text || ' ' || objoid FROM pg_init_privs WHERE privtype = 'e'
  UNION ALL SELECT 'dependency on a role', classid::regclass::text || ' ' || objid || ' ' || refobjid::regrole::text FROM pg_shdepend
   WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND refclassid = 'pg_authid'::regclass;
CREATE TEMP TABLE before AS TABLE census;

CREATE EXTENSION probectl;
SELECT count(*) > 200 AS made_something FROM (TABLE census EXCEPT ALL TABLE before) made;
-- It works, and is in use by its workers when it goes.
SELECT probectl.tenant_create('gone', 'Gone') IS NOT NULL AS works;
DROP EXTENSION probectl;
TABLE census EXCEPT ALL TABLE before;
TABLE before EXCEPT ALL TABLE census;

-- Again, with CASCADE, from a session that still has the plans of the first.
CREATE EXTENSION probectl;
SELECT probectl.tenant_create('gone', 'Gone') IS NOT NULL AS works;
DROP EXTENSION probectl CASCADE;
TABLE census EXCEPT ALL TABLE before;

-- In a transaction that does not commit.
BEGIN;
CREATE EXTENSION probectl;
ROLLBACK;
TABLE census EXCEPT ALL TABLE before;

-- What somebody made before us is not adopted.
CREATE SCHEMA probectl;
CREATE FUNCTION probectl.current_tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
CREATE EXTENSION probectl;
DROP SCHEMA probectl CASCADE;
CREATE SCHEMA probectl_internal;
CREATE EXTENSION probectl;
DROP SCHEMA probectl_internal;
TABLE census EXCEPT ALL TABLE before;

-- Nor a role that could look past row-level security.
ALTER ROLE probectl_provider CREATEROLE;
CREATE EXTENSION probectl;
ALTER ROLE probectl_provider NOCREATEROLE;
ALTER ROLE probectl_app BYPASSRLS;
CREATE EXTENSION probectl;
ALTER ROLE probectl_app NOBYPASSRLS;

-- An ordinary user cannot create it.
CREATE ROLE regress_probectl_user;
SET ROLE regress_probectl_user;
CREATE EXTENSION probectl;
RESET ROLE;
DROP ROLE regress_probectl_user;

-- Another encoding.
SELECT current_database() AS home \gset
CREATE DATABASE regress_probectl_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_probectl_latin1
CREATE EXTENSION probectl;
\c :home
DROP DATABASE regress_probectl_latin1;

-- For good. The roles have no powers.
CREATE EXTENSION probectl;
SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolinherit, rolcanlogin
  FROM pg_roles WHERE rolname ~ '^probectl_' ORDER BY rolname;
SELECT member::regrole, roleid::regrole, admin_option FROM pg_auth_members WHERE roleid::regrole::text ~ '^probectl_' ORDER BY 1;
-- Misspelt settings are errors.
SET probectl.tennant_id = 'x';

-- Helpers. Protobuf by field, as a producer writes it.
CREATE SCHEMA regress;
GRANT USAGE ON SCHEMA regress TO PUBLIC;
CREATE FUNCTION regress.varint(n numeric) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  wire bytea := '';
  v numeric := CASE WHEN n < 0 THEN n + 18446744073709551616 ELSE n END;
BEGIN
  WHILE v >= 128 LOOP
    wire := wire || set_byte('\x00', 0, (v % 128)::integer + 128);
    v := div(v, 128);
  END LOOP;
  RETURN wire || set_byte('\x00', 0, v::integer);
END
$$;
CREATE FUNCTION regress.number(tag integer, n numeric) RETURNS bytea LANGUAGE sql IMMUTABLE
  AS $$ SELECT regress.varint(tag * 8) || regress.varint(n) $$;
CREATE FUNCTION regress.bytes(tag integer, b bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
  AS $$ SELECT regress.varint(tag * 8 + 2) || regress.varint(octet_length(b)) || b $$;
CREATE FUNCTION regress.words(tag integer, t text) RETURNS bytea LANGUAGE sql IMMUTABLE
  AS $$ SELECT regress.bytes(tag, convert_to(t, 'UTF8')) $$;
CREATE FUNCTION regress.double(tag integer, d double precision) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.varint(tag * 8 + 1) || string_agg(substring(float8send(d) FROM i FOR 1), '' ORDER BY i DESC) FROM generate_series(1, 8) i
$$;
CREATE FUNCTION regress.metric(name text, d double precision) RETURNS bytea LANGUAGE sql IMMUTABLE
  AS $$ SELECT regress.bytes(12, regress.words(1, name) || regress.double(2, d)) $$;
CREATE FUNCTION regress.attribute(name text, value text) RETURNS bytea LANGUAGE sql IMMUTABLE
  AS $$ SELECT regress.bytes(13, regress.words(1, name) || regress.words(2, value)) $$;
CREATE FUNCTION regress.nanos(at timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE
  AS $$ SELECT extract(epoch FROM at) * 1000000000 $$;
CREATE FUNCTION regress.test_uuid(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
  AS $$ SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
-- A good result; in a message the last one of a field counts, so extra overrides.
CREATE FUNCTION regress.result(test integer, at timestamptz DEFAULT '2100-01-15 11:59:00+00', latency double precision DEFAULT 1.5, extra bytea DEFAULT '')
  RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.words(3, 'icmp') || regress.words(4, '192.0.2.1') || regress.number(8, 1) || regress.number(10, regress.nanos(at))
         || regress.number(11, 2500000) || regress.metric('rtt.avg.ms', latency) || regress.words(14, regress.test_uuid(900)::text)
         || regress.words(15, regress.test_uuid(test)::text) || extra
$$;
CREATE FUNCTION regress.batch(epoch numeric, first_seq numeric, VARIADIC records bytea[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
  SELECT regress.number(1, epoch) || regress.number(2, first_seq) || coalesce(string_agg(regress.bytes(3, r), '' ORDER BY i), '')
    FROM unnest(records) WITH ORDINALITY u (r, i)
$$;
-- Two requests with keys of their own, and one whose signature is of another request.
CREATE FUNCTION regress.csr(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT (ARRAY[
'-----BEGIN CERTIFICATE REQUEST-----
MIHLMHMCAQAwETEPMA0GA1UEAwwGYWdlbnQxMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEXRgbAECAFBNcwCwFPaXpMgL3895Q2vcljuC8NCrY2xLmd06lWoae9ryf
XrEXF3MeBnTy/3IH73K1sgx+7bQnvqAAMAoGCCqGSM49BAMCA0gAMEUCIQCY+EWn
dQzHzpU+wmG49ahk9421+wZ2u+j2uPoMl9nwxAIgAtU0103KpSRYGdXtXNX0IaYY
54hNlaYAVuBH25nIi+Q=
-----END CERTIFICATE REQUEST-----
',
'-----BEGIN CERTIFICATE REQUEST-----
MIHLMHMCAQAwETEPMA0GA1UEAwwGYWdlbnQyMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAE1O0jDH+Ei+X4kOG1hoVwXSnMOkP6v7YbUlq3rJnmjk4UUjFoqCzeEO96
reUily/5C1K2wtlXZTUjfVTWZbP/FaAAMAoGCCqGSM49BAMCA0gAMEUCIHI23ivs
7IgmWk0N74OSmYrd4hPdTACG7qh5yGQcOgw/AiEA9XO6RgubPol+WyTJW2Sqabfa
TboznFgoYG5N97Ob8F0=
-----END CERTIFICATE REQUEST-----
',
'-----BEGIN CERTIFICATE REQUEST-----
MIHLMHMCAQAwETEPMA0GA1UEAwwGYWdlbnQzMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEXRgbAECAFBNcwCwFPaXpMgL3895Q2vcljuC8NCrY2xLmd06lWoae9ryf
XrEXF3MeBnTy/3IH73K1sgx+7bQnvqAAMAoGCCqGSM49BAMCA0gAMEUCIQCY+EWn
dQzHzpU+wmG49ahk9421+wZ2u+j2uPoMl9nwxAIgAtU0103KpSRYGdXtXNX0IaYY
54hNlaYAVuBH25nIi+Q=
-----END CERTIFICATE REQUEST-----
'])[n]
$$;
-- An agent of a tenant, enrolled as any other is.
CREATE PROCEDURE regress.enrol(tenant uuid, name text, INOUT agent uuid DEFAULT NULL, INOUT serial text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  token text;
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  token := probectl.join_token_create('1 hour', NULL);
  COMMIT;
  SELECT e.agent_id, e.serial INTO agent, serial FROM probectl.agent_enroll(token, regress.csr(1), name, '1.0') e;
  COMMIT;
END
$$;
-- A user with a role and an API token.
CREATE PROCEDURE regress.user(tenant uuid, email text, role text, INOUT user_id uuid DEFAULT NULL, INOUT token text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM probectl.enter_tenant(tenant);
  user_id := probectl.user_create(email, email, role);
  token := probectl.api_token_create('regress', user_id, '1 day');
  COMMIT;
END
$$;
-- One batch in a transaction of its own, a millisecond after the one before.
CREATE PROCEDURE regress.send(tenant uuid, agent uuid, serial text, batch bytea, INOUT epoch bigint DEFAULT NULL, INOUT committed_seq bigint DEFAULT NULL,
                              INOUT stored integer DEFAULT NULL, INOUT duplicate integer DEFAULT NULL, INOUT dead_lettered integer DEFAULT NULL)
  LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('probectl.clock', to_char((probectl.clock_now() + interval '1 ms') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), false);
  PERFORM probectl.enter_agent(tenant, agent, serial);
  SELECT i.* INTO epoch, committed_seq, stored, duplicate, dead_lettered FROM probectl.ingest('network', batch) i;
  COMMIT;
END
$$;
-- Returns when the derive worker has worked in everything committed before; fails after 30 s.
CREATE PROCEDURE regress.derived() LANGUAGE plpgsql AS $$
DECLARE
  goal bigint := pg_current_xact_id()::text::bigint;
  deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  COMMIT;
  LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM probectl.ledger l WHERE l.xid < goal AND l.stored > 0
                           AND l.xid >= coalesce((SELECT c.next_xid FROM probectl_internal.worker_cursor c WHERE c.name = 'derive'), 0));
    IF clock_timestamp() > deadline THEN
      RAISE EXCEPTION 'the derive worker did not come to transaction % in time', goal;
    END IF;
    PERFORM probectl.worker_wake();
    COMMIT;
    PERFORM pg_sleep(0.02);
  END LOOP;
END
$$;
-- All workers run.
DO $$
DECLARE
  deadline timestamptz := clock_timestamp() + interval '30 s';
BEGIN
  WHILE (SELECT count(*) FROM probectl.workers() w WHERE w.state = 'running') < 3 LOOP
    IF clock_timestamp() > deadline THEN
      RAISE EXCEPTION 'the workers did not start in time';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END
$$;
SELECT name, state, pid IS NOT NULL AS has_pid, since IS NOT NULL AS has_since FROM probectl.workers() ORDER BY name;
SELECT r.version = e.extversion AS version, r.workers FROM probectl.ready() r, pg_extension e WHERE e.extname = 'probectl';
SELECT probectl.ca_init() LIKE '-----BEGIN CERTIFICATE-----%' AS ca;
