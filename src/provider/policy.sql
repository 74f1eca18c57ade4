-- provider: functions for operators, nothing on tables. A grant's row is the tenant's.
ALTER TABLE probectl.break_glass_grant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.break_glass_grant USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
GRANT SELECT ON probectl.break_glass_grant TO probectl_app;
GRANT probectl_provider TO probectl_gateway;
GRANT EXECUTE ON FUNCTION probectl.enter_operator(text), probectl.enter_break_glass(text, uuid, uuid, text), probectl.operator_enrol_start(text),
  probectl.operator_enrol_complete(text, text, text), probectl.operator_signin(text, text, text), probectl.operator_signout(text) TO probectl_gateway;
GRANT EXECUTE ON FUNCTION probectl.provider_operator_create(text, text), probectl.provider_operator_disable(uuid), probectl.provider_tenants(), probectl.provider_fleet(),
  probectl.provider_usage(timestamptz, timestamptz), probectl.provider_audit(bigint, integer, text, text, text, text, timestamptz, timestamptz), probectl.provider_audit_verify(),
  probectl.provider_audit_export(bigint, integer), probectl.provider_audit_inclusion(bigint, bigint), probectl.provider_audit_consistency(bigint, bigint),
  probectl.provider_tenant_provision(text, text, text), probectl.provider_tenant_set_status(uuid, text), probectl.provider_tenant_erase(uuid),
  probectl.provider_tenant_set_quota(uuid, text, bigint), probectl.provider_tenant_set_budget(uuid, integer, integer, integer, integer),
  probectl.provider_tenant_set_branding(uuid, text, text, text, text), probectl.break_glass_request(uuid, text, text[], integer),
  probectl.provider_break_glass_revoke(uuid, uuid), probectl.ca_status() TO probectl_provider;
GRANT EXECUTE ON FUNCTION probectl.break_glass_decide(uuid, boolean), probectl.break_glass_revoke(uuid) TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.tenants_to_keep(), probectl_internal.fleet_count(), probectl_internal.usage_meter(),
  probectl_internal.usage_add(uuid, timestamptz, bigint, bigint, bigint, bigint), probectl_internal.ca_watch(),
  probectl_internal.provider_audit_checkpoint_make(), probectl_internal.break_glass_expire(), probectl_internal.tenant_bind(uuid),
  probectl.audit_checkpoint(), probectl_internal.audit_retain(), probectl.current_tenant() TO probectl_worker;

CREATE TRIGGER registered AFTER INSERT OR UPDATE OR DELETE ON probectl.tenant FOR EACH ROW EXECUTE FUNCTION probectl_internal.tenant_registered();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON probectl.break_glass_grant FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_row('breakglass', 'grant_id');
