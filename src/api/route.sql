-- api: the routes and the shapes of what they take and give (JSON schema, names under #/components/schemas).
-- Re-runnable: a row is replaced by its newest form.
CREATE OR REPLACE FUNCTION probectl_internal.api_schemas() RETURNS jsonb
  LANGUAGE sql IMMUTABLE AS $$ SELECT $json$ {
  "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object", "required": ["code", "message"], "properties": {
    "code": {"type": "string"}, "message": {"type": "string"}, "field": {"type": "string"}, "request_id": {"type": "string"}}}}},
  "Test": {"type": "object", "properties": {
    "test_id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "type": {"type": "string", "enum": ["icmp", "tcp", "udp", "http", "dns", "a2a"]},
    "target": {"type": "string"}, "interval_seconds": {"type": "integer"}, "timeout_seconds": {"type": "number"},
    "params": {"type": "object", "additionalProperties": true}, "enabled": {"type": "boolean"},
    "agent_id": {"type": ["string", "null"], "format": "uuid", "description": "null: every agent of the tenant"},
    "project_id": {"type": ["string", "null"], "format": "uuid", "description": "null: the tenant as a whole"},
    "created_at": {"type": "string", "format": "date-time"}, "updated_at": {"type": "string", "format": "date-time"}, "revision": {"type": "integer"}}},
  "TestInput": {"type": "object", "additionalProperties": false, "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 128}, "type": {"type": "string", "enum": ["icmp", "tcp", "udp", "http", "dns", "a2a"]},
    "target": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "host for icmp, host:port for tcp and udp, URL for http, name for dns, agent or host:port for a2a"},
    "interval_seconds": {"type": "integer", "minimum": 1, "maximum": 86400, "default": 60},
    "timeout_seconds": {"type": "number", "minimum": 0.1, "maximum": 60, "default": 3},
    "params": {"type": "object", "description": "parameters of the canary type, docs/30-agents.md"},
    "enabled": {"type": "boolean", "default": true}, "agent_id": {"type": ["string", "null"], "format": "uuid"},
    "project_id": {"type": ["string", "null"], "format": "uuid"}}},
  "Result": {"type": "object", "properties": {
    "result_id": {"type": "string", "format": "uuid"}, "test_id": {"type": "string", "format": "uuid"}, "agent_id": {"type": "string", "format": "uuid"},
    "type": {"type": "string"}, "target": {"type": "string"}, "port": {"type": "integer"}, "success": {"type": "boolean"},
    "error_type": {"type": "string", "description": "OpenTelemetry error.type; empty on success"}, "error": {"type": "string"},
    "started_at": {"type": "string", "format": "date-time"}, "duration_ms": {"type": "number"}, "latency_ms": {"type": ["number", "null"]},
    "loss_ratio": {"type": ["number", "null"]}, "metrics": {"type": "object", "additionalProperties": {"type": "number"}},
    "attributes": {"type": "object", "additionalProperties": {"type": "string"}}}},
  "LatestResult": {"allOf": [{"$ref": "#/components/schemas/Result"}, {"type": "object", "properties": {
    "agent_name": {"type": ["string", "null"]}, "test_name": {"type": ["string", "null"]}, "state": {"type": "string", "enum": ["ok", "failed", "stale"]},
    "received_at": {"type": "string", "format": "date-time"}, "interval_seconds": {"type": ["integer", "null"]},
    "spark": {"type": "array", "maxItems": 30, "items": {"type": "object", "properties": {
      "t": {"type": "integer", "description": "Unix milliseconds"}, "latency_ms": {"type": ["number", "null"]}, "ok": {"type": "boolean"}}}}}}]},
  "MetricSeries": {"type": "object", "properties": {
    "series_id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "first_seen": {"type": "string", "format": "date-time"}, "last_seen": {"type": "string", "format": "date-time", "description": "as of the last compaction"},
    "ended_at": {"type": ["string", "null"], "format": "date-time", "description": "the test or the agent is gone or paused since"}}},
  "MetricPoints": {"type": "object", "properties": {
    "series_id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "correlation": {"type": ["number", "null"], "description": "Pearson's r with the series that was asked for"},
    "points": {"type": "array", "items": {"type": "object", "properties": {
      "t": {"type": "integer", "description": "start of the step, Unix milliseconds"}, "value": {"type": ["number", "null"]}, "min": {"type": ["number", "null"]}, "max": {"type": ["number", "null"]},
      "samples": {"type": "integer"}, "ended": {"type": "boolean", "description": "the series ended in the step and did not go on; without samples value is null"}}}}}},
  "A2aSession": {"type": "object", "properties": {
    "session_id": {"type": "string", "format": "uuid"}, "test_id": {"type": "string", "format": "uuid"}, "test_name": {"type": "string"},
    "initiator_id": {"type": "string", "format": "uuid"}, "responder_id": {"type": "string", "format": "uuid"},
    "state": {"type": "string", "enum": ["waiting", "ready"]}, "host": {"type": ["string", "null"], "description": "where the responder says it answers"},
    "port": {"type": ["integer", "null"]}, "observed": {"type": ["string", "null"], "description": "the address it was seen to come from"},
    "changed_at": {"type": "string", "format": "date-time"}}},
  "A2aMesh": {"type": "object", "properties": {
    "mesh_id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "agent_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
    "interval_seconds": {"type": "integer"}, "timeout_seconds": {"type": "number"}, "params": {"type": "object", "additionalProperties": true},
    "enabled": {"type": "boolean"}, "created_at": {"type": "string", "format": "date-time"}, "tests": {"type": "integer"}}},
  "A2aMeshInput": {"type": "object", "additionalProperties": false, "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 64},
    "agent_ids": {"type": "array", "minItems": 2, "maxItems": 50, "items": {"type": "string", "format": "uuid"}},
    "interval_seconds": {"type": "integer", "minimum": 1, "maximum": 86400, "default": 60},
    "timeout_seconds": {"type": "number", "minimum": 0.1, "maximum": 60, "default": 3},
    "params": {"type": "object", "description": "parameters of the a2a tests, docs/30-agents.md"}, "enabled": {"type": "boolean", "default": true}}},
  "Agent": {"type": "object", "properties": {
    "agent_id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "hostname": {"type": "string"}, "version": {"type": "string"},
    "status": {"type": "string", "enum": ["registered", "online", "offline", "revoked"]}, "capabilities": {"type": "array", "items": {"type": "string"}},
    "labels": {"type": "object"}, "registered_at": {"type": "string", "format": "date-time"}, "last_seen_at": {"type": ["string", "null"], "format": "date-time"},
    "spool_records": {"type": "integer"}, "oldest_unsent_at": {"type": ["string", "null"], "format": "date-time"},
    "dropped": {"type": "object", "additionalProperties": {"type": "integer"}}, "clock_skew_ms": {"type": "number"},
    "spool_bytes": {"type": "integer"}, "tests_revision": {"type": "integer", "description": "of the pulled tests it runs; 0: none"},
    "tests_problem": {"type": "string", "description": "why it does not take the newest tests; empty when it does"},
    "tests_refused": {"type": "integer"}, "ticks_skipped": {"type": "integer"},
    "runs_disturbed": {"type": "integer", "description": "runs its own load may have disturbed, since it started"}}},
  "Integrity": {"type": "object", "description": "received is the sum of all that follow", "properties": {
    "plane": {"type": "string", "description": "metric: samples that results became, remote: samples that came by remote write"}, "received": {"type": "integer"}, "stored": {"type": "integer"},
    "duplicate": {"type": "integer", "description": "came again"}, "malformed": {"type": "integer", "description": "did not decode; kept as dead letters"},
    "dead_lettered": {"type": "integer", "description": "kept as dead letters for another reason"},
    "refused": {"type": "integer", "description": "of batches turned away; they come again"},
    "shed": {"type": "integer", "description": "over the tenant's budget; they come again"}, "capped": {"type": "integer", "description": "samples of series over a limit"}}},
  "AuditEvent": {"type": "object", "properties": {
    "seq": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}, "actor": {"type": "string"}, "action": {"type": "string"},
    "target": {"type": "string"}, "outcome": {"type": "string", "enum": ["ok", "denied", "failed"]}, "data": {"type": "object"},
    "hash": {"type": "string", "description": "SHA-256, hex"}}},
  "Me": {"type": "object", "properties": {
    "tenant": {"type": "object", "properties": {"tenant_id": {"type": "string", "format": "uuid"}, "slug": {"type": "string"}, "name": {"type": "string"}}},
    "principal": {"type": "object", "properties": {"kind": {"type": "string"}, "id": {"type": ["string", "null"]}, "name": {"type": ["string", "null"]},
      "email": {"type": ["string", "null"]}}},
    "branding": {"type": "object", "properties": {"product_name": {"type": "string"}, "accent": {"type": ["string", "null"], "description": "colour, #rrggbb"},
      "logo_svg": {"type": ["string", "null"]}, "support_url": {"type": ["string", "null"]}}},
    "permissions": {"type": "array", "items": {"type": "string"}}}},
  "DeadLetter": {"type": "object", "properties": {
    "dead_letter_id": {"type": "string", "format": "uuid"}, "agent_id": {"type": "string", "format": "uuid"}, "plane": {"type": "string"},
    "epoch": {"type": "integer"}, "seq": {"type": "integer"}, "reason": {"type": "string"}, "record_bytes": {"type": "integer"},
    "whole": {"type": "boolean", "description": "false: the record was too large to be kept as a whole, and cannot be tried again from here"},
    "received_at": {"type": "string", "format": "date-time"}}},
  "JoinToken": {"type": "object", "properties": {"token": {"type": "string"}, "expires_at": {"type": "string", "format": "date-time"}}}
} $json$::jsonb $$;
COMMENT ON FUNCTION probectl_internal.api_schemas() IS 'JSON schemas of what the API takes and gives';

CREATE OR REPLACE FUNCTION probectl_internal.list_of(name text) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object('type', 'object', 'required', '["items", "next"]'::jsonb, 'properties', jsonb_build_object(
           'items', jsonb_build_object('type', 'array', 'items', jsonb_build_object('$ref', '#/components/schemas/' || name)),
           'next', '{"type": ["string", "null"], "description": "give it as after to read on"}'::jsonb))
$$;
COMMENT ON FUNCTION probectl_internal.list_of(text) IS 'schema of a list answer';

CREATE OR REPLACE FUNCTION probectl_internal.one_of(name text) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT jsonb_build_object('$ref', '#/components/schemas/' || name) $$;
COMMENT ON FUNCTION probectl_internal.one_of(text) IS 'schema of an answer that is one object';

INSERT INTO probectl.api_route (method, path, permission, handler, success, stream, summary, parameters, request, response) VALUES
  ('GET', '/v1/me', NULL, 'me', 200, false, 'Who is calling, and what the caller may do', '{}', NULL, probectl_internal.one_of('Me')),
  ('GET', '/v1/results/latest', 'test.read', 'results_latest', 200, false, 'Newest result of each test on each agent',
   '{"type": {"type": "string"}, "agent_id": {"type": "string", "format": "uuid"}, "test_id": {"type": "string", "format": "uuid"},
     "state": {"type": "string", "enum": ["ok", "failed", "stale"]}, "limit": {"type": "integer", "maximum": 5000, "default": 500}, "after": {"type": "string"}}',
   NULL, jsonb_set(probectl_internal.list_of('LatestResult'), '{properties,collector_running}',
                   '{"type": "boolean", "description": "false: newest results are not being kept up to date"}')),
  ('GET', '/v1/results', 'test.read', 'results', 200, false, 'Results of a test, newest first',
   '{"test_id": {"type": "string", "format": "uuid"}, "agent_id": {"type": "string", "format": "uuid"}, "since": {"type": "string", "format": "date-time"},
     "until": {"type": "string", "format": "date-time"}, "limit": {"type": "integer", "maximum": 5000, "default": 100}, "after": {"type": "string"}}',
   NULL, probectl_internal.list_of('Result')),
  ('GET', '/v1/tests', 'test.read', 'test_list', 200, false, 'Tests of the tenant',
   '{"limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('Test')),
  ('POST', '/v1/tests', 'test.write', 'test_create', 201, false, 'Add a test', '{}', probectl_internal.one_of('TestInput'), probectl_internal.one_of('Test')),
  ('GET', '/v1/tests/{test_id}', 'test.read', 'test_get', 200, false, 'One test', '{}', NULL, probectl_internal.one_of('Test')),
  ('PATCH', '/v1/tests/{test_id}', 'test.write', 'test_update', 200, false, 'Change fields of a test', '{}', probectl_internal.one_of('TestInput'),
   probectl_internal.one_of('Test')),
  ('DELETE', '/v1/tests/{test_id}', 'test.write', 'test_delete', 204, false, 'Delete a test; its results stay until retention', '{}', NULL, NULL),
  ('GET', '/v1/a2a/sessions', 'test.read', 'a2a_session_list', 200, false, 'Which agent answers which, and where',
   '{"limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('A2aSession')),
  ('GET', '/v1/a2a/meshes', 'test.read', 'a2a_mesh_list', 200, false, 'Meshes of agents',
   '{"limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('A2aMesh')),
  ('POST', '/v1/a2a/meshes', 'test.write', 'a2a_mesh_create', 201, false, 'Test from each of these agents to each other one', '{}',
   probectl_internal.one_of('A2aMeshInput'), probectl_internal.one_of('A2aMesh')),
  ('PATCH', '/v1/a2a/meshes/{mesh_id}', 'test.write', 'a2a_mesh_update', 200, false, 'Change a mesh, and its tests with it', '{}',
   probectl_internal.one_of('A2aMeshInput'), probectl_internal.one_of('A2aMesh')),
  ('DELETE', '/v1/a2a/meshes/{mesh_id}', 'test.write', 'a2a_mesh_delete', 204, false, 'Delete a mesh and its tests; their results stay until retention', '{}', NULL, NULL),
  ('GET', '/v1/agents', 'agent.read', 'agent_list', 200, false, 'Agents of the tenant',
   '{"limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('Agent')),
  ('POST', '/v1/agents/join-tokens', 'agent.write', 'join_token_create', 201, false, 'A token that enrols one agent', '{}',
   '{"type": "object", "properties": {"ttl_minutes": {"type": "integer", "minimum": 1, "maximum": 10080, "default": 60},
     "agent_id": {"type": ["string", "null"], "format": "uuid", "description": "renew this agent instead of making one"}}}', probectl_internal.one_of('JoinToken')),
  ('GET', '/v1/metrics/series', 'metrics.read', 'metrics_series', 200, false, 'Metric series by name and labels',
   '{"name": {"type": "string"}, "match": {"type": "string", "description": "{label=\"value\",label!=\"value\",label=~\"expression\",label!~\"expression\"}"},
     "limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('MetricSeries')),
  ('GET', '/v1/metrics/query', 'metrics.read', 'metrics_query', 200, false, 'Series in equal steps, with the extremes of each step',
   '{"name": {"type": "string", "description": "one name, or at most 16 with commas between"}, "match": {"type": "string"}, "start": {"type": "string", "format": "date-time"}, "end": {"type": "string", "format": "date-time"},
     "step": {"type": "integer", "minimum": 1, "description": "seconds"}, "q": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
     "function": {"type": "string", "enum": ["avg", "min", "max", "sum", "count", "first", "last", "delta", "increase", "rate", "quantile"], "default": "avg"},
     "top": {"type": "integer", "minimum": 1, "maximum": 100, "description": "only so many series, those with the greatest value over the whole range"},
     "with": {"type": "string", "format": "uuid", "description": "series to correlate each with"},
     "limit": {"type": "integer", "maximum": 500, "default": 50}, "after": {"type": "string"}}',
   NULL, jsonb_set(jsonb_set(probectl_internal.list_of('MetricPoints'), '{properties,collector_running}',
                   '{"type": "boolean", "description": "false: series are not being kept up to date"}'), '{properties,relative_error}',
                   '{"type": "number", "description": "that values may have: 0, or that of the sketches a quantile over more than a day comes from"}')),
  ('GET', '/v1/integrity', 'diagnostics.read', 'integrity', 200, false, 'What became of every record, by plane', '{}', NULL,
   jsonb_set(probectl_internal.list_of('Integrity'), '{properties,collector_running}', '{"type": "boolean", "description": "false: derived tables are not being kept up to date"}')),
  ('POST', '/v1/prometheus/write', 'metrics.write', 'remote_write', 204, false, 'Samples by remote write 1.0: prometheus.WriteRequest in a snappy block', '{}',
   '{"type": "string", "format": "binary", "contentMediaType": "application/x-protobuf"}', NULL),
  ('GET', '/v1/dead-letters', 'diagnostics.read', 'dead_letter_list', 200, false, 'Records that could not be stored, with the reason',
   '{"agent_id": {"type": "string", "format": "uuid"}, "reason": {"type": "string"}, "limit": {"type": "integer", "maximum": 1000, "default": 100},
     "after": {"type": "string"}}', NULL, probectl_internal.list_of('DeadLetter')),
  ('POST', '/v1/dead-letters/{dead_letter_id}/replay', 'agent.write', 'dead_letter_replay', 200, false, 'Try to store a dead letter again', '{}', NULL,
   '{"type": "object", "properties": {"outcome": {"type": "string", "description": "stored, or the reason why not"}}}'),
  ('GET', '/v1/audit', 'audit.read', 'audit_list', 200, false, 'Audit chain of the tenant, newest first',
   '{"actor": {"type": "string"}, "action": {"type": "string", "description": "with a dot at its end: every action below, as in test."}, "target": {"type": "string"},
     "outcome": {"type": "string", "enum": ["ok", "denied", "failed"]}, "since": {"type": "string", "format": "date-time"}, "until": {"type": "string", "format": "date-time"},
     "limit": {"type": "integer", "maximum": 1000, "default": 100}, "after": {"type": "string"}}', NULL, probectl_internal.list_of('AuditEvent'))
ON CONFLICT (method, path) DO UPDATE SET
  permission = excluded.permission, handler = excluded.handler, success = excluded.success, stream = excluded.stream, summary = excluded.summary,
  parameters = excluded.parameters, request = excluded.request, response = excluded.response;

CREATE OR REPLACE FUNCTION probectl_internal.openapi_operation(r probectl.api_route) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'summary', r.summary,
    'operationId', r.handler,
    'x-permission', r.permission,
    'parameters', (
      SELECT jsonb_agg(p.parameter) FROM (
        SELECT jsonb_build_object('name', m[1], 'in', 'path', 'required', true, 'schema', '{"type": "string", "format": "uuid"}'::jsonb) AS parameter
          FROM regexp_matches(r.path, '\{([a-z_]+)\}', 'g') m
        UNION ALL
        SELECT jsonb_build_object('name', q.key, 'in', 'query', 'schema', q.value) FROM jsonb_each(r.parameters) q) p),
    'requestBody', CASE WHEN r.request IS NOT NULL THEN
      jsonb_build_object('content', jsonb_build_object(coalesce(r.request ->> 'contentMediaType', 'application/json'), jsonb_build_object('schema', r.request))) END,
    'responses', jsonb_build_object(
      r.success::text, CASE WHEN r.response IS NULL THEN '{"description": "done"}'::jsonb
        ELSE jsonb_build_object('description', 'the answer', 'content', jsonb_build_object('application/json', jsonb_build_object('schema', r.response))) END,
      'default', '{"description": "refused or failed", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}'::jsonb)))
$$;
COMMENT ON FUNCTION probectl_internal.openapi_operation(probectl.api_route) IS 'one route as an OpenAPI operation';

CREATE OR REPLACE FUNCTION probectl.openapi() RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object(
    'openapi', '3.1.0',
    'info', jsonb_build_object('title', 'probectl', 'version', (SELECT extversion FROM pg_extension WHERE extname = 'probectl'),
                               'description', 'Network observability, one tenant a credential.'),
    'security', '[{"session": []}, {"token": []}]'::jsonb,
    'paths', (SELECT jsonb_object_agg(p.path, p.operations)
                FROM (SELECT r.path, jsonb_object_agg(lower(r.method), probectl_internal.openapi_operation(r)) AS operations
                        FROM probectl.api_route r GROUP BY r.path) p),
    'components', jsonb_build_object(
      'schemas', probectl_internal.api_schemas(),
      'securitySchemes', '{"session": {"type": "apiKey", "in": "cookie", "name": "probectl_session"},
                           "token": {"type": "http", "scheme": "bearer"}}'::jsonb))::text
$$;
COMMENT ON FUNCTION probectl.openapi() IS 'OpenAPI 3.1 description of the route table';
