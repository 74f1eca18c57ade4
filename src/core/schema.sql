-- core: roles and schemas. Roles belong to the cluster, so they are made when absent and outlive the
-- extension; deploy/drop-roles.sql removes them.
DO $$
DECLARE
  wanted record;
BEGIN
  IF current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'probectl needs a database in UTF8, this one is %', current_setting('server_encoding')
      USING HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
  IF current_setting('probectl.key_file', true) IS NULL THEN
    RAISE EXCEPTION 'probectl is not preloaded'
      USING HINT = 'Add probectl to shared_preload_libraries and restart the server.';
  END IF;
  FOR wanted IN
    SELECT * FROM (VALUES ('probectl_owner', false), ('probectl_app', false), ('probectl_provider', false),
                          ('probectl_gateway', true), ('probectl_ingest', true), ('probectl_worker', true))
      AS v (role_name, login)
  LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.role_name) THEN
      EXECUTE format('CREATE ROLE %I NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT %s',
                     wanted.role_name, CASE WHEN wanted.login THEN 'LOGIN' ELSE 'NOLOGIN' END);
    ELSIF (SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles WHERE rolname = wanted.role_name) THEN
      RAISE EXCEPTION 'role "%" exists with powers that break the tenant boundary', wanted.role_name
        USING HINT = 'ALTER ROLE ... NOSUPERUSER NOBYPASSRLS NOCREATEROLE.';
    END IF;
  END LOOP;
END
$$;
GRANT probectl_app TO probectl_gateway, probectl_ingest, probectl_worker;

CREATE SCHEMA probectl;
CREATE SCHEMA probectl_internal;
CREATE SCHEMA probectl_api;
COMMENT ON SCHEMA probectl IS 'probectl: tables and public functions';
COMMENT ON SCHEMA probectl_internal IS 'probectl: helpers nobody outside calls';
COMMENT ON SCHEMA probectl_api IS 'probectl: handlers of the HTTP API';

-- How far each worker has come. One row a worker, no tenant fact in it.
CREATE TABLE probectl_internal.worker_cursor (
  name text PRIMARY KEY,
  next_xid bigint NOT NULL,
  updated_at timestamptz NOT NULL
);
COMMENT ON TABLE probectl_internal.worker_cursor IS 'position of each worker in the ledger: every batch below next_xid is worked in';

-- Defaults of the tables below need these two.
CREATE FUNCTION probectl.clock_now() RETURNS timestamptz
  LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_clock_now';
COMMENT ON FUNCTION probectl.clock_now() IS 'the time probectl works with: the real clock, or probectl.clock in a test';

CREATE FUNCTION probectl.uuid_v7() RETURNS uuid
  LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_uuid_v7';
COMMENT ON FUNCTION probectl.uuid_v7() IS 'a version 7 identifier (RFC 9562), increasing within a session';
