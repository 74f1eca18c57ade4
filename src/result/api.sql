-- result: what agents run, what they found.
CREATE OR REPLACE FUNCTION probectl_internal.test_bundle(revision bigint) RETURNS bytea
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_test_bundle';
COMMENT ON FUNCTION probectl_internal.test_bundle(bigint) IS 'tests of the entered agent as a probectl.test.v1.TestBundle';

-- STABLE, so that revision and tests are of one snapshot; the key that signs is another matter.
CREATE OR REPLACE FUNCTION probectl.agent_tests(known bigint, OUT revision bigint, OUT bundle bytea, OUT signature bytea, OUT signer text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.agent_required();
  SELECT r.test_revision INTO revision FROM probectl.tenant_revision r WHERE r.tenant_id = probectl.current_tenant();
  IF revision IS DISTINCT FROM known THEN
    bundle := probectl_internal.test_bundle(revision);
    SELECT s.signature, s.signer INTO agent_tests.signature, agent_tests.signer FROM probectl_internal.tests_sign(bundle) s;
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.agent_tests(bigint) IS 'tests of the entered agent as a probectl.test.v1.TestBundle, the Ed25519 signature over "probectl.tests.v1\n" and it, and the chain (PEM) of the key; no bundle when the known revision is the current one';

-- Every change of a test moves the tenant's revision; agents that wait for it are woken at commit.
-- A set of one row, and of names resolved here, so that the planner puts it into the query that asks: planned by itself each
-- time it was a third of what first results cost.
CREATE OR REPLACE FUNCTION probectl_internal.latest_names(tenant uuid, test uuid, agent uuid, OUT names text, OUT stale_after interval, OUT project_id uuid)
  RETURNS SETOF record LANGUAGE sql STABLE ROWS 1 BEGIN ATOMIC
  SELECT concat('"agent_name":', coalesce(to_json(a.name)::text, 'null'), ',"test_name":', coalesce(to_json(t.name)::text, 'null'),
                ',"interval_seconds":', coalesce(t.interval_seconds::text, 'null'), ','),
         make_interval(secs => 3 * coalesce(t.interval_seconds, 60) + coalesce(t.timeout_seconds, 10)), t.project_id
    FROM (SELECT 1) one
    LEFT JOIN probectl.agent a ON a.tenant_id = latest_names.tenant AND a.agent_id = latest_names.agent
    LEFT JOIN probectl.test t ON t.tenant_id = latest_names.tenant AND t.test_id = latest_names.test;
END;
COMMENT ON FUNCTION probectl_internal.latest_names(uuid, uuid, uuid) IS 'what a newest result shows of its test and agent';

CREATE OR REPLACE FUNCTION probectl_internal.latest_rename(tenant uuid, test uuid, agent uuid) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE probectl.result_latest l SET names = n.names, stale_after = n.stale_after, project_id = n.project_id
    FROM probectl.result_latest o, LATERAL probectl_internal.latest_names(o.tenant_id, o.test_id, o.agent_id) n
   WHERE o.tenant_id = latest_rename.tenant AND (latest_rename.test IS NULL OR o.test_id = latest_rename.test)
     AND (latest_rename.agent IS NULL OR o.agent_id = latest_rename.agent)
     AND l.tenant_id = o.tenant_id AND l.test_id = o.test_id AND l.agent_id = o.agent_id
$$;
COMMENT ON FUNCTION probectl_internal.latest_rename(uuid, uuid, uuid) IS 'brings names into newest results of a test or of an agent';

CREATE OR REPLACE FUNCTION probectl_internal.agent_renamed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.latest_rename(NEW.tenant_id, NULL, NEW.agent_id);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.agent_renamed() IS 'trigger: an agent has another name';

CREATE OR REPLACE FUNCTION probectl_internal.test_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM probectl_internal.latest_rename(OLD.tenant_id, OLD.test_id, NULL);
  ELSE
    PERFORM probectl_internal.latest_rename(NEW.tenant_id, NEW.test_id, NULL);
  END IF;
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
