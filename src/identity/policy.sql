-- identity: credentials and certificates are for trusted functions only; people and agents can be read.
ALTER TABLE probectl.tenant_user ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.role ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.role_binding ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.credential ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent_state ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.agent_certificate ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.service_account ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.service_account USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.user_group ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.user_group USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.group_member ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.group_member USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.access_policy ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.access_policy USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.tenant_user USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.role USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.role_binding USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.credential USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent_state USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.agent_certificate USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());

GRANT SELECT ON probectl.permission, probectl.tenant_user, probectl.service_account, probectl.user_group, probectl.group_member, probectl.role,
  probectl.role_binding, probectl.access_policy, probectl.agent, probectl.agent_state TO probectl_app;

-- Roles hold below the API as well: what a caller may not see or change there, SQL does not show or change either.
CREATE POLICY permission_reads ON probectl.tenant_user AS RESTRICTIVE FOR SELECT TO probectl_app
  USING (probectl_internal.holds('directory.read') OR user_id OPERATOR(pg_catalog.=) probectl_internal.principal_id());
CREATE POLICY permission_reads ON probectl.service_account AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('directory.read'));
CREATE POLICY permission_reads ON probectl.user_group AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('directory.read'));
CREATE POLICY permission_reads ON probectl.group_member AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('directory.read'));
CREATE POLICY permission_reads ON probectl.role AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('directory.read'));
CREATE POLICY permission_reads ON probectl.role_binding AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('directory.read'));
CREATE POLICY permission_reads ON probectl.access_policy AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('governance.read'));
CREATE POLICY permission_reads ON probectl.agent AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('agent.read'));
CREATE POLICY permission_reads ON probectl.agent_state AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('agent.read'));

GRANT EXECUTE ON FUNCTION probectl.enter_session(text), probectl.enter_session(text, boolean), probectl.signin_redeem(text, text), probectl.agent_enroll(text, text, text, text),
  probectl.ca_root() TO probectl_gateway;
GRANT EXECUTE ON FUNCTION probectl.enter_agent(uuid, uuid, text) TO probectl_ingest;
GRANT EXECUTE ON FUNCTION probectl_internal.holds(text), probectl_internal.holds_for(text, uuid), probectl_internal.permissions_held(), probectl_internal.may(text, uuid), probectl_internal.may_on(text, uuid, jsonb),
  probectl_internal.policy_denies(text, jsonb), probectl_internal.credential_id() TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.user_create(text, text, text), probectl.user_list(), probectl.user_set_status(uuid, text), probectl.user_set_attributes(uuid, jsonb),
  probectl.invitation_create(text, text, interval), probectl.service_account_create(text, text), probectl.group_create(text), probectl.group_set_member(uuid, uuid, boolean),
  probectl.role_set(text, text[]), probectl.role_bind(text, uuid, uuid, uuid, uuid, uuid, uuid), probectl.role_unbind(uuid),
  probectl.access_policy_set(text, text, text, jsonb, jsonb, integer, boolean), probectl.access_explain(uuid, text, uuid, jsonb),
  probectl.signin_link_create(uuid, interval), probectl.api_token_create(text, uuid, interval, text[]), probectl.service_token_create(text, uuid, interval, text[]),
  probectl.api_token_rotate(uuid, interval, interval), probectl.api_token_list(), probectl.session_list(), probectl.credential_revoke(uuid),
  probectl.join_token_create(interval, uuid), probectl.session_end(), probectl.agent_revoke(uuid),
  probectl.agent_register(text, text, text[], jsonb), probectl.agent_heartbeat(jsonb), probectl.agent_rotate_start(text),
  probectl.agent_rotate(text, text, text, bytea), probectl_internal.agent_required() TO probectl_app;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant_user FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('user', 'user_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.role FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('role', 'slug');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.role_binding FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('role_binding', 'user_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.credential FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('credential', 'credential_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.agent FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('agent', 'agent_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.agent_certificate FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('agent_certificate', 'serial');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.service_account FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('service_account', 'service_account_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.user_group FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('group', 'group_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.group_member FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('group_member', 'user_id');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.access_policy FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('access_policy', 'policy_id');
