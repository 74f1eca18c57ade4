-- result: what agents run, what they found.
CREATE OR REPLACE FUNCTION probectl_internal.test_bundle(revision bigint) RETURNS bytea
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_test_bundle';
COMMENT ON FUNCTION probectl_internal.test_bundle(bigint) IS 'tests of the entered agent as a probectl.test.v1.TestBundle';

CREATE OR REPLACE FUNCTION probectl.agent_tests(known bigint, OUT revision bigint, OUT bundle bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.agent_required();
  SELECT r.test_revision INTO revision FROM probectl.tenant_revision r WHERE r.tenant_id = probectl.current_tenant();
  IF revision IS DISTINCT FROM known THEN
    bundle := probectl_internal.test_bundle(revision);
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.agent_tests(bigint) IS 'tests of the entered agent as a probectl.test.v1.TestBundle; no bundle when the known revision is the current one';

-- Every change of a test moves the tenant's revision; agents that wait for it are woken at commit.
CREATE OR REPLACE FUNCTION probectl_internal.test_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE probectl.tenant_revision r SET test_revision = r.test_revision + 1 WHERE r.tenant_id = probectl.current_tenant();
  PERFORM pg_notify('probectl_event', probectl.current_tenant() || ' test');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.test_changed() IS 'trigger: moves the revision of the tenant''s tests and tells who waits for it';

CREATE OR REPLACE FUNCTION probectl_internal.test_stamp() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (NEW.tenant_id, NEW.test_id) IS DISTINCT FROM (OLD.tenant_id, OLD.test_id) THEN
    PERFORM probectl_internal.invalid('test_id', 'a test keeps its identifier');
  END IF;
  NEW.revision := OLD.revision + 1;
  NEW.updated_at := probectl.clock_now();
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION probectl_internal.test_stamp() IS 'trigger: revision and time of a change';

CREATE OR REPLACE FUNCTION probectl_internal.spark_append(old text, new text[], at timestamptz[], after timestamptz) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_spark_append';
COMMENT ON FUNCTION probectl_internal.spark_append(text, text[], timestamptz[], timestamptz) IS 'the last 30 of the old points and those new ones that are later than after; new ones come in order of time';
