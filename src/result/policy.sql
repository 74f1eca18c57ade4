-- result: tests are the tenant's to change; results are only read.
ALTER TABLE probectl.test ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.result ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.result_latest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.test USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.result USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.result_latest USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON probectl.test TO probectl_app;
GRANT SELECT ON probectl.result TO probectl_app;
GRANT SELECT, DELETE ON probectl.result_latest TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.agent_tests(bigint) TO probectl_app;

CREATE TRIGGER stamp BEFORE UPDATE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.test_stamp();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.test_changed();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('test', 'test_id');
