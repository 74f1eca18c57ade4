-- stream: written by ingest.c as probectl_owner; the tenant may look at it. The worker's policy shows it the ledger
-- of every tenant: counts and block numbers, no telemetry.
ALTER TABLE probectl.stream_position ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.ledger ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE probectl.dead_letter ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.stream_position USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.ledger USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY tenant_isolation ON probectl.dead_letter USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
ALTER TABLE probectl.turned_away ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.turned_away USING (tenant_id OPERATOR(pg_catalog.=) probectl.current_tenant());
CREATE POLICY worker_reads ON probectl.ledger FOR SELECT TO probectl_worker USING (true);
CREATE POLICY permission_reads ON probectl.dead_letter AS RESTRICTIVE FOR SELECT TO probectl_app USING (probectl_internal.holds('diagnostics.read'));
GRANT SELECT ON probectl.stream_position, probectl.ledger, probectl.dead_letter, probectl.turned_away TO probectl_app;
GRANT SELECT ON probectl.ledger TO probectl_worker;
GRANT EXECUTE ON FUNCTION probectl.ingest(text, bytea), probectl_internal.turned_away_now(), probectl.integrity() TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.turned_away_keep() TO probectl_worker;
GRANT EXECUTE ON FUNCTION probectl.ingest_agents(uuid, uuid[], text[], text[], bytea[]) TO probectl_ingest;
GRANT EXECUTE ON FUNCTION probectl.dead_letter_replay(uuid),
  probectl_api.dead_letter_list(jsonb, jsonb, jsonb), probectl_api.dead_letter_replay(jsonb, jsonb, jsonb) TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.bus_layout(text, integer, integer), probectl.bus_claim(text, text, integer),
  probectl.bus_advance(text, text, integer, bigint, bigint, bigint), probectl.ingest_refused(uuid, uuid, text, text, bytea, text) TO probectl_ingest;
