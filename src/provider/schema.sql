-- provider: the people who run the platform, apart from every tenant's. None of these tables is granted to anybody; what
-- the provider may see comes through functions.
CREATE TABLE probectl_internal.provider_operator (
  operator_id uuid PRIMARY KEY DEFAULT probectl.uuid_v7(),
  email text NOT NULL CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 320),
  role text NOT NULL CHECK (role IN ('admin', 'operator')),
  status text NOT NULL DEFAULT 'enrolling' CHECK (status IN ('enrolling', 'active', 'disabled')),
  password text,
  sealed_totp bytea,
  totp_step bigint NOT NULL DEFAULT 0,
  enrol_hash bytea,
  enrol_expires_at timestamptz,
  failures integer NOT NULL DEFAULT 0,
  locked_until timestamptz,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now()
);
CREATE UNIQUE INDEX provider_operator_email ON probectl_internal.provider_operator (lower(email));
COMMENT ON TABLE probectl_internal.provider_operator IS 'operators of the platform: password (self-describing hash), sealed TOTP secret, last TOTP step used, lockout';

CREATE TABLE probectl_internal.provider_session (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  operator_id uuid NOT NULL REFERENCES probectl_internal.provider_operator ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
COMMENT ON TABLE probectl_internal.provider_session IS 'signed-in operators, as keyed hashes';

-- Counts only, made by the keeper inside each tenant.
CREATE TABLE probectl_internal.fleet (
  counted_tenant uuid NOT NULL REFERENCES probectl.tenant ON DELETE CASCADE,
  version text NOT NULL,
  agents integer NOT NULL,
  online integer NOT NULL,
  stale integer NOT NULL,
  counted_at timestamptz NOT NULL,
  PRIMARY KEY (counted_tenant, version)
);
COMMENT ON TABLE probectl_internal.fleet IS 'agents of each tenant by version: how many, online, stale; no telemetry';

CREATE TABLE probectl_internal.usage_hour (
  metered_tenant uuid NOT NULL,
  hour timestamptz NOT NULL,
  results bigint NOT NULL DEFAULT 0,
  duplicates bigint NOT NULL DEFAULT 0,
  dead_letters bigint NOT NULL DEFAULT 0,
  batches bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (metered_tenant, hour)
);
COMMENT ON TABLE probectl_internal.usage_hour IS 'what each tenant sent in each hour, summed from the ledger exactly once';

-- A look inside, asked for by an operator and consented to by the tenant. The tenant owns the row.
CREATE TABLE probectl.break_glass_grant (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  grant_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  operator_id uuid NOT NULL,
  operator_email text NOT NULL,
  reason text NOT NULL CHECK (length(reason) BETWEEN 10 AND 1000),
  scope text[] NOT NULL CHECK (cardinality(scope) BETWEEN 1 AND 20),
  minutes integer NOT NULL CHECK (minutes BETWEEN 1 AND 240),
  state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'active', 'denied', 'revoked', 'expired')),
  requested_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  decided_at timestamptz,
  decided_by text,
  expires_at timestamptz,
  ended_at timestamptz,
  ended_by text,
  uses integer NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, grant_id),
  CHECK ((state = 'active') <= (expires_at IS NOT NULL AND decided_by IS NOT NULL))
);
COMMENT ON TABLE probectl.break_glass_grant IS 'operators'' looks inside: requested, then active or denied; active ends expired or revoked; time runs from consent';
