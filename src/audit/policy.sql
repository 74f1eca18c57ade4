-- audit: readable inside its tenant, written by chain.c alone.
ALTER TABLE probectl.audit_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.audit_head ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.audit_event USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.audit_checkpoint ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.audit_checkpoint USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.audit_head USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
GRANT SELECT ON probectl.audit_event, probectl.audit_head, probectl.audit_checkpoint TO probectl_app;
CREATE POLICY permission_reads ON probectl.audit_event AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('audit.read'));
GRANT EXECUTE ON FUNCTION probectl.audit_verify(), probectl.audit_inclusion(bigint, bigint), probectl.audit_consistency(bigint, bigint),
  probectl.audit_export(bigint, integer), probectl.audit_checkpoint(), probectl.signature_verify(bytea, bytea, bytea), probectl.signing_key(),
  probectl_internal.audit_wanted(timestamptz, text, text, text, text, text, text, text, text, timestamptz, timestamptz),
  probectl_internal.audit_line_start(text, bigint, bytea, bytea),
  probectl_internal.audit_line_event(text, bigint, timestamptz, text, text, text, text, json, bytea, bytea),
  probectl_internal.audit_line_checkpoint(text, bigint, bigint, timestamptz, bytea, bytea, bytea, bytea) TO probectl_app;

CREATE TRIGGER fixed BEFORE UPDATE OR DELETE ON probectl.audit_event FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed_all BEFORE TRUNCATE ON probectl.audit_event FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed BEFORE UPDATE OR DELETE ON probectl.audit_checkpoint FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed_all BEFORE TRUNCATE ON probectl.audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed BEFORE UPDATE OR DELETE ON probectl_internal.provider_audit_event FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed_all BEFORE TRUNCATE ON probectl_internal.provider_audit_event FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed BEFORE UPDATE OR DELETE ON probectl_internal.provider_audit_checkpoint FOR EACH ROW EXECUTE FUNCTION probectl_internal.audit_fixed();
CREATE TRIGGER fixed_all BEFORE TRUNCATE ON probectl_internal.provider_audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION probectl_internal.audit_fixed();
