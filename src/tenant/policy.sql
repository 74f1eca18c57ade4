-- tenant: the boundary on the hierarchy itself.
ALTER TABLE probectl.tenant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.tenant_revision ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.organization ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.team ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.project ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.tenant_quota ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.tenant_quota USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.tenant_budget ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.tenant_budget USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.tenant_branding ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.tenant_branding USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.tenant USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.tenant_revision USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.organization USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.team USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.project USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());

GRANT SELECT ON probectl.tenant, probectl.tenant_revision, probectl.organization, probectl.team, probectl.project,
  probectl.tenant_quota, probectl.tenant_budget, probectl.tenant_branding TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.current_tenant() TO probectl_app, probectl_gateway, probectl_ingest, probectl_worker, probectl_provider;
GRANT EXECUTE ON FUNCTION probectl.current_principal(), probectl_internal.principal_id(), probectl_internal.principal_has(integer, uuid), probectl_internal.principal_policies() TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.enter_tenant(uuid) TO probectl_worker;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('tenant', 'slug');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.organization FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('organization', 'organization_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.team FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('team', 'team_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.project FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('project', 'project_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OF limit_value OR DELETE ON probectl.tenant_quota FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('quota', 'resource');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant_budget FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('budget', 'weight');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant_branding FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('branding', 'product_name');
CREATE TRIGGER budget_changed AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant_budget FOR EACH ROW EXECUTE FUNCTION probectl_internal.budget_changed();
CREATE TRIGGER quota BEFORE INSERT OR DELETE ON probectl.agent FOR EACH ROW EXECUTE FUNCTION probectl_internal.quota_count('agents');
CREATE TRIGGER quota BEFORE INSERT OR DELETE ON probectl.test FOR EACH ROW EXECUTE FUNCTION probectl_internal.quota_count('tests');
CREATE TRIGGER quota BEFORE INSERT OR DELETE ON probectl.tenant_user FOR EACH ROW EXECUTE FUNCTION probectl_internal.quota_count('users');
GRANT EXECUTE ON FUNCTION probectl.fairness_status() TO probectl_app;
