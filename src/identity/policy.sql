-- identity: credentials and certificates are for trusted functions only; people and agents can be read.
ALTER TABLE probectl.tenant_user ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.role ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.role_binding ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.credential ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent_state ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent_certificate ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.tenant_user USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.role USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.role_binding USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.credential USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent_state USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent_certificate USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());

GRANT SELECT ON probectl.permission, probectl.tenant_user, probectl.role, probectl.role_binding, probectl.agent, probectl.agent_state TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.enter_session(text), probectl.signin_redeem(text, text), probectl.agent_enroll(text, text, text, text),
  probectl.ca_root() TO probectl_gateway;
GRANT EXECUTE ON FUNCTION probectl.enter_agent(uuid, uuid, text) TO probectl_ingest;
GRANT EXECUTE ON FUNCTION probectl.user_create(text, text, text), probectl.user_list(), probectl.signin_link_create(uuid, interval),
  probectl.api_token_create(text, uuid, interval), probectl.api_token_list(), probectl.credential_revoke(uuid),
  probectl.join_token_create(interval, uuid), probectl.session_end(), probectl.agent_revoke(uuid),
  probectl.agent_register(text, text, text[], jsonb), probectl.agent_heartbeat(jsonb), probectl_internal.agent_required() TO probectl_app;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant_user FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('user', 'user_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.role FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('role', 'slug');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.role_binding FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('role_binding', 'user_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.credential FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('credential', 'credential_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.agent FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('agent', 'agent_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.agent_certificate FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('agent_certificate', 'serial');
