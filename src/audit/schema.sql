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
  hash bytea NOT NULL
);
COMMENT ON TABLE probectl.audit_head IS 'newest sequence number and hash of a tenant''s chain';

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
  hash bytea NOT NULL
);
COMMENT ON TABLE probectl_internal.provider_audit_head IS 'newest sequence number and hash of the provider''s chain';
INSERT INTO probectl_internal.provider_audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));
