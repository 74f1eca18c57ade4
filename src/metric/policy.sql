-- metric: series are looked up by the tenant's principals; samples are read through functions that check the
-- series first, so nobody has a grant on them.
ALTER TABLE probectl.metric_series ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.metric_hot ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.metric_chunk ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.metric_state ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.metric_series USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.metric_hot USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.metric_chunk USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.metric_state USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
-- Where the permission is held in the tenant all series are seen, where it is held in a project those of its tests.
CREATE POLICY permission_reads ON probectl.metric_series AS RESTRICTIVE FOR SELECT TO probectl_app
  USING (probectl_internal.may('metrics.read', NULL)
         OR (probectl_internal.holds('metrics.read') AND probectl_internal.metric_test_may(test_id)));
CREATE POLICY permission_reads ON probectl.metric_state AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('metrics.read'));
GRANT SELECT ON probectl.metric_series, probectl.metric_state TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.metric_test_may(uuid),
  probectl.metric_read(uuid, timestamptz, timestamptz),
  probectl.metric_window(uuid, text, timestamptz, timestamptz, interval, double precision),
  probectl.metric_query(text, text, text, timestamptz, timestamptz, interval, double precision),
  probectl.metric_top(text, text, text, timestamptz, timestamptz, integer, double precision, interval),
  probectl.metric_correlation(uuid, uuid, timestamptz, timestamptz, interval),
  probectl.metric_append(bytea),
  probectl_internal.metric_matchers(text), probectl_internal.metric_equals(jsonb), probectl_internal.metric_test(jsonb), probectl_internal.metric_matches(text, jsonb, jsonb)
  TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.metric_compact(integer), probectl_internal.metric_retain() TO probectl_worker;

CREATE TRIGGER quota BEFORE INSERT OR DELETE ON probectl.metric_series FOR EACH ROW EXECUTE FUNCTION probectl_internal.quota_count('series');
CREATE TRIGGER forgotten AFTER DELETE ON probectl.metric_series REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.metric_series_forgotten();
CREATE TRIGGER series_end AFTER DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.metric_ending('test');
CREATE TRIGGER series_pause AFTER UPDATE ON probectl.test FOR EACH ROW
  WHEN (OLD.enabled AND NOT NEW.enabled OR (OLD.type, OLD.target, OLD.agent_id, OLD.params -> 'port') IS DISTINCT FROM (NEW.type, NEW.target, NEW.agent_id, NEW.params -> 'port'))
  EXECUTE FUNCTION probectl_internal.metric_ending('test');
-- Before: a deleted agent is taken out of its series.
CREATE TRIGGER series_end BEFORE DELETE ON probectl.agent FOR EACH ROW EXECUTE FUNCTION probectl_internal.metric_ending('agent');
CREATE TRIGGER series_revoke AFTER UPDATE OF revoked_at ON probectl.agent FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
  EXECUTE FUNCTION probectl_internal.metric_ending('agent');
