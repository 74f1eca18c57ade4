-- metric: the registry of series, samples as they come (hot), samples in chunks.
CREATE TABLE probectl.metric_series (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  series_id uuid NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  labels jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
  agent_id uuid,
  test_id uuid,
  first_seen timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant_id, series_id), -- which is of the hash, so that is unique as well
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE SET NULL (agent_id)
) WITH (fillfactor = 80);
CREATE INDEX metric_series_name ON probectl.metric_series (tenant_id, name);
CREATE INDEX metric_series_agent ON probectl.metric_series (tenant_id, agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX metric_series_test ON probectl.metric_series (tenant_id, test_id) WHERE test_id IS NOT NULL;
COMMENT ON TABLE probectl.metric_series IS 'a name and labels that samples are kept under';
COMMENT ON COLUMN probectl.metric_series.hash IS 'SHA-256 of name and labels in canonical form (metric/series.c); series_id is its beginning as a UUID of version 8';
COMMENT ON COLUMN probectl.metric_series.agent_id IS 'agent whose certificate sent the samples; NULL when the agent was deleted';
COMMENT ON COLUMN probectl.metric_series.ended_at IS 'time of the marker behind the last sample: the test or the agent is gone or paused; NULL while samples come';

CREATE TABLE probectl.metric_hot (
  tenant_id uuid NOT NULL REFERENCES probectl.tenant ON DELETE CASCADE,
  bucket smallint NOT NULL,
  n integer NOT NULL,
  xid bigint NOT NULL,
  t0 timestamptz NOT NULL,
  t1 timestamptz NOT NULL,
  stored_at timestamptz NOT NULL,
  samples integer NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (tenant_id, bucket, xid, n)
);
ALTER TABLE probectl.metric_hot ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE probectl.metric_hot IS 'samples as they came, of many series in a row: they may overlap, be late and come twice; of one time of a series the one with the greatest (xid, n) holds; metric/sheet.h is the format of data';
COMMENT ON COLUMN probectl.metric_hot.bucket IS 'the first six bits of the series in the row';
COMMENT ON COLUMN probectl.metric_hot.n IS 'place of the row in its transaction';
COMMENT ON COLUMN probectl.metric_hot.t0 IS 'no sample of the row is before, nor after t1';

CREATE TABLE probectl.metric_chunk (
  tenant_id uuid NOT NULL,
  series_id uuid NOT NULL,
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 2),
  t0 timestamptz NOT NULL,
  t1 timestamptz NOT NULL,
  samples integer NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (tenant_id, series_id, level, t0),
  FOREIGN KEY (tenant_id, series_id) REFERENCES probectl.metric_series ON DELETE CASCADE
);
ALTER TABLE probectl.metric_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE probectl.metric_chunk IS 'samples in order, each time once, chunks of a series and level never overlap; metric/chunk.h is the format of data';
COMMENT ON COLUMN probectl.metric_chunk.level IS '0 samples, 1 a row a minute, 2 a row an hour (count, sum, min, max, last, and a sketch of how the values are spread)';

CREATE TABLE probectl.metric_state (
  tenant_id uuid PRIMARY KEY REFERENCES probectl.tenant ON DELETE CASCADE,
  next_xid bigint NOT NULL DEFAULT 0,
  epoch bigint NOT NULL DEFAULT 0,
  stored bigint NOT NULL DEFAULT 0,
  refused_agent bigint NOT NULL DEFAULT 0,
  refused_tenant bigint NOT NULL DEFAULT 0,
  too_old bigint NOT NULL DEFAULT 0,
  damaged bigint NOT NULL DEFAULT 0,
  retained_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.metric_state IS 'how far the tenant''s results are in the store, and what became of their samples: each ended in exactly one of the counts';
COMMENT ON COLUMN probectl.metric_state.next_xid IS 'ledger position: moves in the transaction that stores the samples, so that none is lost or stored twice';
COMMENT ON COLUMN probectl.metric_state.epoch IS 'grows when a series is deleted or ends: what a worker remembers of series is void then';
COMMENT ON COLUMN probectl.metric_state.refused_agent IS 'samples of new series over the limit of their agent';
COMMENT ON COLUMN probectl.metric_state.refused_tenant IS 'samples of new series over the tenant''s quota of series';
COMMENT ON COLUMN probectl.metric_state.too_old IS 'samples older than probectl.metric_raw_retention';
COMMENT ON COLUMN probectl.metric_state.damaged IS 'rows of metric_hot, or what they had of a series, that did not decode and were dropped';

CREATE FUNCTION probectl_internal.metric_test_may(test uuid) RETURNS boolean
  LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'pctl_metric_test_may';
COMMENT ON FUNCTION probectl_internal.metric_test_may(uuid) IS 'whether the caller sees the test and may read the metrics of its project';
