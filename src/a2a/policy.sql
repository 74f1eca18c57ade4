-- a2a: sessions and endpoints are for trusted functions only (a session holds its token); meshes are the tenant's to change.
ALTER TABLE probectl.a2a_endpoint ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.a2a_session ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.a2a_mesh ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.a2a_mesh_member ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.a2a_endpoint USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.a2a_session USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.a2a_mesh USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.a2a_mesh_member USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());

-- A mesh is of the tenant as a whole, so the permission must be held there; its tests are guarded by their own policies.
CREATE POLICY permission_reads ON probectl.a2a_mesh AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('test.read'));
CREATE POLICY permission_inserts ON probectl.a2a_mesh AS RESTRICTIVE FOR INSERT TO probectl_app WITH CHECK (probectl_internal.may('test.write', NULL));
CREATE POLICY permission_updates ON probectl.a2a_mesh AS RESTRICTIVE FOR UPDATE TO probectl_app
  USING (probectl_internal.may('test.write', NULL)) WITH CHECK (probectl_internal.may('test.write', NULL));
CREATE POLICY permission_deletes ON probectl.a2a_mesh AS RESTRICTIVE FOR DELETE TO probectl_app USING (probectl_internal.may('test.write', NULL));
CREATE POLICY permission_reads ON probectl.a2a_mesh_member AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('test.read'));
CREATE POLICY permission_inserts ON probectl.a2a_mesh_member AS RESTRICTIVE FOR INSERT TO probectl_app WITH CHECK (probectl_internal.may('test.write', NULL));
CREATE POLICY permission_deletes ON probectl.a2a_mesh_member AS RESTRICTIVE FOR DELETE TO probectl_app USING (probectl_internal.may('test.write', NULL));
GRANT SELECT, INSERT, DELETE, UPDATE (name, interval_seconds, timeout_seconds, params, enabled) ON probectl.a2a_mesh TO probectl_app;
GRANT SELECT, INSERT, DELETE ON probectl.a2a_mesh_member TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.a2a_meet(bigint, jsonb, text), probectl.a2a_sessions(), probectl_internal.a2a_agent(text),
  probectl_internal.a2a_mesh_apply(probectl.a2a_mesh, jsonb), probectl_internal.a2a_mesh_expand(probectl.a2a_mesh), probectl_internal.a2a_mesh_json(probectl.a2a_mesh)
  TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.a2a_lapse(uuid) TO probectl_worker;

CREATE TRIGGER a2a AFTER INSERT OR UPDATE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.a2a_test_changed();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.a2a_mesh FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('a2a_mesh', 'mesh_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.a2a_mesh_member FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('a2a_mesh_member', 'agent_id');
