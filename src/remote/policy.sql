-- remote: counts may be looked at with the permission; where samples are sent to is the operator's.
ALTER TABLE probectl.remote_intake ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.remote_target ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.remote_queue ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.remote_intake USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.remote_target USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.remote_queue USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY permission_reads ON probectl.remote_intake AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('metrics.read'));
GRANT SELECT ON probectl.remote_intake TO probectl_app;
GRANT SELECT ON probectl_internal.remote_sender TO probectl_worker;
GRANT EXECUTE ON FUNCTION
  probectl.remote_write(bytea), probectl.remote_received(), probectl.remote_targets(),
  probectl.remote_target_set(text, text, text, text, text, integer, interval, boolean), probectl.remote_target_delete(text)
  TO probectl_app;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.remote_target FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('remote_target', 'name');
CREATE TRIGGER held BEFORE DELETE ON probectl.metric_series FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.metric_series_hold();
