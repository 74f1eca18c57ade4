-- result: tests are the tenant's to change; results are only read.
ALTER TABLE probectl.test ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.result ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.result_latest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.test USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.result USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.result_latest USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());

-- Roles hold below the API as well. A test is seen and changed where the caller holds the permission: in the tenant, or in the test's
-- project; attribute policies may forbid it still.
CREATE POLICY permission_reads ON probectl.test AS RESTRICTIVE FOR SELECT TO probectl_app
  USING (probectl_internal.may('test.read', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.read', jsonb_build_object('type', type, 'project_id', project_id))));
CREATE POLICY permission_inserts ON probectl.test AS RESTRICTIVE FOR INSERT TO probectl_app
  WITH CHECK (probectl_internal.may('test.write', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.write', jsonb_build_object('type', type, 'project_id', project_id))));
CREATE POLICY permission_updates ON probectl.test AS RESTRICTIVE FOR UPDATE TO probectl_app
  USING (probectl_internal.may('test.write', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.write', jsonb_build_object('type', type, 'project_id', project_id))))
  WITH CHECK (probectl_internal.may('test.write', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.write', jsonb_build_object('type', type, 'project_id', project_id))));
CREATE POLICY permission_deletes ON probectl.test AS RESTRICTIVE FOR DELETE TO probectl_app
  USING (probectl_internal.may('test.write', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.write', jsonb_build_object('type', type, 'project_id', project_id))));
CREATE POLICY permission_reads ON probectl.result AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds_for('test.read', tenant_id));
CREATE POLICY permission_reads ON probectl.result_latest AS RESTRICTIVE FOR SELECT TO probectl_app
  USING (probectl_internal.may('test.read', project_id)
         AND NOT (probectl_internal.principal_policies() AND probectl_internal.policy_denies('test.read', jsonb_build_object('type', type, 'project_id', project_id))));
CREATE POLICY permission_deletes ON probectl.result_latest AS RESTRICTIVE FOR DELETE TO probectl_app USING (probectl_internal.holds('test.write'));
GRANT SELECT, INSERT, UPDATE, DELETE ON probectl.test TO probectl_app;
GRANT SELECT ON probectl.result TO probectl_app;
GRANT SELECT, DELETE ON probectl.result_latest TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.agent_tests(bigint) TO probectl_app;

CREATE TRIGGER renamed AFTER UPDATE OF name ON probectl.agent FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION probectl_internal.agent_renamed();
CREATE TRIGGER stamp BEFORE UPDATE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.test_stamp();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.test_changed();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('test', 'test_id');
