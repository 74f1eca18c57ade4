-- core: readiness, workers, partitions.
CREATE OR REPLACE FUNCTION probectl_internal.worker_count() RETURNS integer
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_worker_count';
COMMENT ON FUNCTION probectl_internal.worker_count() IS 'workers running for this database';

CREATE OR REPLACE FUNCTION probectl.workers(OUT name text, OUT state text, OUT pid integer, OUT since timestamptz, OUT passes bigint)
  RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_workers';
COMMENT ON FUNCTION probectl.workers() IS 'workers of this database: name, state (starting, running, stopped), process id, since when, passes done';

CREATE OR REPLACE FUNCTION probectl_internal.derive_running() RETURNS boolean
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_derive_running';
COMMENT ON FUNCTION probectl_internal.derive_running() IS 'whether newest results are being kept up to date';

-- In C because it is asked for twice a row of every list; as SQL it would be planned anew each time.
CREATE OR REPLACE FUNCTION probectl_internal.time_text(at timestamptz) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_time_text';
COMMENT ON FUNCTION probectl_internal.time_text(timestamptz) IS 'RFC 3339 in UTC with microseconds';

CREATE OR REPLACE FUNCTION probectl_internal.json_raw(written text) RETURNS json
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_json_raw';
COMMENT ON FUNCTION probectl_internal.json_raw(text) IS 'text that was put together as JSON, taken for it without reading it again';

CREATE OR REPLACE FUNCTION probectl.worker_wake() RETURNS void
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_worker_wake';
COMMENT ON FUNCTION probectl.worker_wake() IS 'starts the workers of this database if they do not run, and wakes them';

CREATE OR REPLACE FUNCTION probectl.ready(OUT version text, OUT workers integer)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT extversion, probectl_internal.worker_count() FROM pg_extension WHERE extname = 'probectl' $$;
COMMENT ON FUNCTION probectl.ready() IS 'version of the extension and number of workers running';

-- Set by the build. Until there are releases a version does not tell what a database was made by.
CREATE OR REPLACE FUNCTION probectl_internal.script_digest() RETURNS text
  LANGUAGE sql IMMUTABLE AS $$ SELECT '@SCRIPT_DIGEST@'::text $$;
COMMENT ON FUNCTION probectl_internal.script_digest() IS 'SHA-256 of the sources of the script that made the extension in this database';

CREATE OR REPLACE FUNCTION probectl_internal.invalid(field text, message text) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = message, DETAIL = 'field: ' || field;
END
$$;
COMMENT ON FUNCTION probectl_internal.invalid(text, text) IS 'raises PC422 for a field';

-- Day partitions: made ahead, each with row-level security of its own, dropped past retention.
CREATE OR REPLACE FUNCTION probectl_internal.partition_name(parent text, day date) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT parent || '_' || to_char(day, 'YYYYMMDD') $$;
COMMENT ON FUNCTION probectl_internal.partition_name(text, date) IS 'name of the partition of a day';

CREATE OR REPLACE FUNCTION probectl_internal.partition_create(parent text, day date) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  leaf text := probectl_internal.partition_name(parent, day);
BEGIN
  IF to_regclass(format('probectl.%I', leaf)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE probectl.%I PARTITION OF probectl.%I FOR VALUES FROM (%L) TO (%L)',
                 leaf, parent, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
  EXECUTE format('ALTER TABLE probectl.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', leaf);
  EXECUTE format('CREATE POLICY tenant_isolation ON probectl.%I USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant())', leaf);
  EXECUTE format('COMMENT ON TABLE probectl.%I IS %L', leaf, format('%s of %s (UTC)', parent, day));
  IF parent = 'ledger' THEN
    EXECUTE format('CREATE POLICY worker_reads ON probectl.%I FOR SELECT TO probectl_worker USING (true)', leaf);
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION probectl_internal.partition_create(text, date) IS 'makes the partition of a day with its policy; false when it is there';

CREATE OR REPLACE FUNCTION probectl_internal.partitions_keep() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := (probectl.clock_now() AT TIME ZONE 'UTC')::date;
  retention integer := current_setting('probectl.result_retention')::integer;
  ahead integer := current_setting('probectl.partitions_ahead')::integer;
  parent text;
  leaf record;
  changed integer := 0;
BEGIN
  -- One keeper at a time; the lock conflicts with nothing else.
  PERFORM pg_advisory_xact_lock(hashtextextended('probectl partitions', 0));
  FOREACH parent IN ARRAY ARRAY['result', 'ledger'] LOOP
    FOR day_offset IN -retention .. ahead LOOP
      IF probectl_internal.partition_create(parent, today + day_offset) THEN
        changed := changed + 1;
      END IF;
    END LOOP;
    FOR leaf IN
      SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
       WHERE i.inhparent = format('probectl.%I', parent)::regclass
         AND c.relname < probectl_internal.partition_name(parent, today - retention)
    LOOP
      EXECUTE format('DROP TABLE probectl.%I', leaf.relname);
      changed := changed + 1;
    END LOOP;
  END LOOP;
  RETURN changed;
END
$$;
COMMENT ON FUNCTION probectl_internal.partitions_keep() IS 'makes the partitions from the retention limit to probectl.partitions_ahead and drops older ones; number of changes';
