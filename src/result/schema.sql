-- result: tests, the full detail of each run, and the newest run of each test.
CREATE TABLE probectl.test (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  test_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
  type text NOT NULL CHECK (type ~ '^[a-z0-9_.-]{1,32}$'),
  target text NOT NULL CHECK (length(target) BETWEEN 1 AND 1024),
  interval_seconds integer NOT NULL DEFAULT 60 CHECK (interval_seconds BETWEEN 1 AND 86400),
  timeout_seconds double precision NOT NULL DEFAULT 3 CHECK (timeout_seconds BETWEEN 0.1 AND 60),
  params jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(params) = 'object'),
  enabled boolean NOT NULL DEFAULT true,
  agent_id uuid,
  project_id uuid,
  revision integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  updated_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, test_id),
  UNIQUE (tenant_id, name),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, project_id) REFERENCES probectl.project ON DELETE CASCADE,
  CHECK (timeout_seconds <= interval_seconds)
);
COMMENT ON TABLE probectl.test IS 'a scheduled probe; agent_id NULL means every agent of the tenant runs it, project_id NULL that it belongs to the tenant as a whole';

-- No key: each producer record is stored once by its sequence number, and an identifier chosen by
-- a producer must not be able to make its batch fail.
CREATE TABLE probectl.result (
  tenant_id uuid NOT NULL,
  test_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  started_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  result_id uuid NOT NULL,
  type text NOT NULL,
  target text NOT NULL,
  port integer NOT NULL,
  transport text NOT NULL,
  protocol text NOT NULL,
  success boolean NOT NULL,
  error_type text NOT NULL,
  error text NOT NULL,
  duration_us bigint NOT NULL,
  latency_ms double precision,
  loss_ratio double precision,
  metrics jsonb NOT NULL,
  attributes jsonb NOT NULL
) PARTITION BY RANGE (started_at);
CREATE INDEX result_history ON probectl.result (tenant_id, test_id, started_at);
COMMENT ON TABLE probectl.result IS 'every run of every test in full, by day (UTC) of its start';
COMMENT ON COLUMN probectl.result.latency_ms IS 'headline latency of the type: rtt.avg.ms, connect.avg.ms, http.total.ms, ...; NULL when the run has none';

-- Fixed widths first, and the project before the texts: row-level security reads it of every row.
CREATE TABLE probectl.result_latest (
  tenant_id uuid NOT NULL,
  test_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  result_id uuid NOT NULL,
  started_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  stale_after interval NOT NULL,
  duration_us bigint NOT NULL,
  port integer NOT NULL,
  success boolean NOT NULL,
  project_id uuid,
  latency_ms double precision,
  loss_ratio double precision,
  type text NOT NULL,
  target text NOT NULL,
  error_type text NOT NULL,
  error text NOT NULL,
  item text NOT NULL,
  spark text NOT NULL,
  names text NOT NULL,
  metrics jsonb NOT NULL,
  attributes jsonb NOT NULL,
  PRIMARY KEY (tenant_id, test_id, agent_id)
) WITH (fillfactor = 50, toast_tuple_target = 8160); -- read far more often than written: nothing is compressed
COMMENT ON TABLE probectl.result_latest IS 'newest run of each test on each agent; derived from result by the derive worker';
COMMENT ON COLUMN probectl.result_latest.names IS 'members of that object that come from the test and the agent; with stale_after and project_id kept by triggers on those';
COMMENT ON COLUMN probectl.result_latest.stale_after IS 'age from which the result is stale: three intervals of the test and its timeout';
COMMENT ON COLUMN probectl.result_latest.item IS 'members of the JSON object the API shows, written once: everything but names, state and sparkline';
COMMENT ON COLUMN probectl.result_latest.spark IS 'last 30 runs, oldest first, with commas between, each a JSON object {"t": Unix milliseconds, "latency_ms": number or null, "ok": boolean}';
