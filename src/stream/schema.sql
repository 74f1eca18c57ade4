-- stream: what has arrived, from whom, how far. One position a producer and plane, one ledger row a batch.
CREATE TABLE probectl.stream_position (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  agent_id uuid NOT NULL,
  plane text NOT NULL,
  epoch bigint NOT NULL CHECK (epoch >= 0),
  committed_seq bigint NOT NULL CHECK (committed_seq >= 0),
  updated_at timestamptz NOT NULL,
  received bigint NOT NULL DEFAULT 0,
  stored bigint NOT NULL DEFAULT 0,
  duplicate bigint NOT NULL DEFAULT 0,
  malformed bigint NOT NULL DEFAULT 0,
  dead_lettered bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, agent_id, plane),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE,
  CONSTRAINT accounted CHECK (received = stored + duplicate + malformed + dead_lettered)
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.stream_position IS 'committed high-water mark of each producer stream: everything up to it is stored; and what became of all records that were committed';
COMMENT ON COLUMN probectl.stream_position.malformed IS 'did not decode or broke a bound; in dead_letter too';
COMMENT ON COLUMN probectl.stream_position.dead_lettered IS 'sound records in dead_letter for another reason';

CREATE TABLE probectl.ledger (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  received_at timestamptz NOT NULL,
  xid bigint NOT NULL,
  agent_id uuid NOT NULL,
  plane text NOT NULL,
  epoch bigint NOT NULL,
  first_seq bigint NOT NULL,
  count integer NOT NULL,
  stored integer NOT NULL,
  duplicate integer NOT NULL,
  dead_lettered integer NOT NULL,
  dropped_attributes integer NOT NULL,
  clamped integer NOT NULL,
  leaf oid NOT NULL,
  block_first bigint NOT NULL,
  block_last bigint NOT NULL,
  started_min timestamptz,
  started_max timestamptz,
  PRIMARY KEY (tenant_id, received_at, xid, agent_id, plane, epoch, first_seq, leaf)
) PARTITION BY RANGE (received_at);
CREATE INDEX ledger_xid ON probectl.ledger (xid);
COMMENT ON TABLE probectl.ledger IS 'one row a batch and leaf partition: who sent it, what became of its records, and in which blocks they are; workers read it by transaction id';

-- Batches that were turned away roll back, so they are counted in shared memory (tenant/fairness.c) and kept by the keeper.
CREATE TABLE probectl.turned_away (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  plane text NOT NULL,
  booted_at timestamptz NOT NULL,
  refused_before bigint NOT NULL DEFAULT 0,
  shed_before bigint NOT NULL DEFAULT 0,
  refused bigint NOT NULL DEFAULT 0,
  shed bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, plane)
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.turned_away IS 'records of batches that were refused (the envelope does not decode, or the epoch is an old one) or shed (over the budget): since the server''s memory began at booted_at, and before that';

CREATE TABLE probectl.dead_letter (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  dead_letter_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  agent_id uuid NOT NULL,
  plane text NOT NULL,
  epoch bigint NOT NULL,
  seq bigint NOT NULL,
  reason text NOT NULL,
  record bytea NOT NULL,
  record_bytes integer NOT NULL,
  received_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, dead_letter_id)
);
COMMENT ON TABLE probectl.dead_letter IS 'records that could not be stored, with the reason; record holds the first 4096 of record_bytes bytes';

-- The bus (Kafka): how far each partition is stored, and who may store on. No tenant fact in either table.
CREATE TABLE probectl_internal.bus_offset (
  cluster text NOT NULL CHECK (length(cluster) BETWEEN 1 AND 128),
  topic text NOT NULL CHECK (length(topic) BETWEEN 1 AND 249),
  partition integer NOT NULL CHECK (partition >= 0),
  next_offset bigint NOT NULL CHECK (next_offset >= 0),
  fence bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (cluster, topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl_internal.bus_offset IS 'first record of each partition of the bus that is not stored; written in the transaction that stores what is before it. Only the consumer that claimed last (fence) moves it';

CREATE TABLE probectl_internal.bus_layout (
  cluster text PRIMARY KEY CHECK (length(cluster) BETWEEN 1 AND 128),
  partitions integer NOT NULL CHECK (partitions BETWEEN 1 AND 10000),
  buckets integer NOT NULL CHECK (buckets BETWEEN 1 AND 10000),
  agreed_at timestamptz NOT NULL
);
COMMENT ON TABLE probectl_internal.bus_layout IS 'how agents are spread over the partitions of a cluster: every ingest must do it alike, or the batches of an agent would overtake each other';
