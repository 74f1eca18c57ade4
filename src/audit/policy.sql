-- audit: readable inside its tenant, written by chain.c alone.
ALTER TABLE probectl.audit_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.audit_head ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.audit_event USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.audit_head USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
GRANT SELECT ON probectl.audit_event, probectl.audit_head TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.audit_verify(), probectl_internal.audit_head_current(),
  probectl_internal.audit_hash(text, bigint, timestamptz, text, text, text, text, json, bytea) TO probectl_app;
