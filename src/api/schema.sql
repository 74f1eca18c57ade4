-- api: the one table from which routing, permission checks, audit, OpenAPI and the coverage test come.
CREATE TABLE probectl.api_route (
  method text NOT NULL CHECK (method IN ('GET', 'POST', 'PATCH', 'PUT', 'DELETE')),
  path text NOT NULL CHECK (path ~ '^/v1(/([a-z0-9-]+|\{[a-z_]+\}))+$'),
  permission text REFERENCES probectl.permission,
  handler text NOT NULL CHECK (handler ~ '^[a-z][a-z0-9_]+$'),
  success integer NOT NULL DEFAULT 200,
  stream boolean NOT NULL DEFAULT false,
  summary text NOT NULL,
  parameters jsonb NOT NULL DEFAULT '{}',
  request jsonb,
  response jsonb,
  PRIMARY KEY (method, path)
);
COMMENT ON TABLE probectl.api_route IS 'every route of the HTTP API; {name} in a path is a parameter; no permission means any signed-in caller';
COMMENT ON COLUMN probectl.api_route.handler IS 'function of schema probectl_api: (path parameters, query, body) jsonb each, to json';
COMMENT ON COLUMN probectl.api_route.parameters IS 'query parameters: name to JSON schema';
COMMENT ON COLUMN probectl.api_route.request IS 'JSON schema of the body';
COMMENT ON COLUMN probectl.api_route.response IS 'JSON schema of the answer';
