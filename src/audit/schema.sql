-- audit: two append-only chains, one per tenant and one of the provider. data is json, not jsonb: the text that
-- was hashed is the text that is stored, and numbers keep every digit.
CREATE TABLE probectl.audit_event (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  seq bigint NOT NULL CHECK (seq > 0),
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('ok', 'denied', 'failed')),
  data json NOT NULL,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (tenant_id, seq)
);
COMMENT ON TABLE probectl.audit_event IS 'who did what in a tenant, as a hash chain';

CREATE TABLE probectl.audit_head (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  seq bigint NOT NULL,
  hash bytea NOT NULL,
  pruned_seq bigint NOT NULL DEFAULT 0,
  pruned_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  pruned_frontier bytea NOT NULL DEFAULT '',
  checkpoint_size bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
COMMENT ON TABLE probectl.audit_head IS 'newest sequence number and hash of a tenant''s chain, its newest checkpoint, and where retention has cut it: hash of the last event that is gone and the frontier of the Merkle tree up to it';

CREATE TABLE probectl.audit_checkpoint (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  size bigint NOT NULL CHECK (size > 0),
  prev_size bigint NOT NULL CHECK (prev_size >= 0 AND prev_size < size),
  at timestamptz NOT NULL,
  head_hash bytea NOT NULL,
  root bytea NOT NULL,
  frontier bytea NOT NULL,
  signature bytea NOT NULL,
  public_key bytea NOT NULL,
  PRIMARY KEY (tenant_id, size)
);
COMMENT ON TABLE probectl.audit_checkpoint IS 'signed statements that the chain had so many events and this Merkle root (RFC 6962): truncation and rewriting show, proofs are made against them';

CREATE TABLE probectl_internal.provider_audit_event (
  seq bigint PRIMARY KEY CHECK (seq > 0),
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('ok', 'denied', 'failed')),
  data json NOT NULL,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL
);
COMMENT ON TABLE probectl_internal.provider_audit_event IS 'what was done to the platform itself, as a hash chain';

CREATE TABLE probectl_internal.provider_audit_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  seq bigint NOT NULL,
  hash bytea NOT NULL,
  pruned_seq bigint NOT NULL DEFAULT 0,
  pruned_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  pruned_frontier bytea NOT NULL DEFAULT '',
  checkpoint_size bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
COMMENT ON TABLE probectl_internal.provider_audit_head IS 'newest sequence number, hash and checkpoint of the provider''s chain';
INSERT INTO probectl_internal.provider_audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE probectl_internal.provider_audit_checkpoint (
  size bigint PRIMARY KEY CHECK (size > 0),
  prev_size bigint NOT NULL CHECK (prev_size >= 0 AND prev_size < size),
  at timestamptz NOT NULL,
  head_hash bytea NOT NULL,
  root bytea NOT NULL,
  frontier bytea NOT NULL,
  signature bytea NOT NULL,
  public_key bytea NOT NULL
);
COMMENT ON TABLE probectl_internal.provider_audit_checkpoint IS 'signed statements about the provider''s chain';

-- Ed25519; the newest generation signs, older public keys stay to verify with.
CREATE TABLE probectl_internal.signing_key (
  generation integer PRIMARY KEY,
  public_key bytea NOT NULL,
  sealed_seed bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now()
);
COMMENT ON TABLE probectl_internal.signing_key IS 'keys that sign checkpoints and statements of erasure, sealed by the envelope key';

-- Statements that a tenant was erased; they outlive the tenant.
CREATE TABLE probectl_internal.erasure (
  erased_tenant uuid PRIMARY KEY,
  attestation json NOT NULL,
  signature bytea NOT NULL,
  public_key bytea NOT NULL
);
COMMENT ON TABLE probectl_internal.erasure IS 'what was erased of a tenant, signed';
