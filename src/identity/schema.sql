-- identity: who may call, and how they prove it. Every secret is kept as a keyed hash only; the text of a
-- secret carries the tenant id, so that looking it up happens inside that tenant.

-- Global catalog, the same for every tenant. bit is the place in a principal's permission set.
CREATE TABLE probectl.permission (
  permission text PRIMARY KEY,
  bit integer NOT NULL UNIQUE CHECK (bit BETWEEN 0 AND 63),
  summary text NOT NULL
);
COMMENT ON TABLE probectl.permission IS 'what can be permitted; the same for every tenant';
INSERT INTO probectl.permission (bit, permission, summary) VALUES
  (0, 'tenant.read', 'see the tenant and its settings'),
  (1, 'tenant.write', 'change the tenant''s settings'),
  (2, 'test.read', 'see tests and their results'),
  (3, 'test.write', 'add, change and delete tests'),
  (4, 'agent.read', 'see agents'),
  (5, 'agent.write', 'enrol and change agents'),
  (6, 'audit.read', 'read the audit chain'),
  (7, 'directory.read', 'see users, roles and tokens'),
  (8, 'directory.write', 'change users, roles and tokens');

CREATE TABLE probectl.tenant_user (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  user_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  email text NOT NULL CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 320),
  display_name text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, user_id)
);
CREATE UNIQUE INDEX tenant_user_email ON probectl.tenant_user (tenant_id, lower(email));
COMMENT ON TABLE probectl.tenant_user IS 'people of a tenant';

CREATE TABLE probectl.role (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  role_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  permissions text[] NOT NULL,
  PRIMARY KEY (tenant_id, role_id),
  UNIQUE (tenant_id, slug)
);
COMMENT ON TABLE probectl.role IS 'a named set of permissions; admin, editor and viewer are made with the tenant';

CREATE TABLE probectl.role_binding (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  user_id uuid NOT NULL,
  role_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, user_id, role_id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES probectl.tenant_user ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, role_id) REFERENCES probectl.role ON DELETE CASCADE
);
COMMENT ON TABLE probectl.role_binding IS 'who holds which role in the whole tenant';

-- kind: session (from a sign-in), token (API), signin (one-time link), join (enrols one agent).
CREATE TABLE probectl.credential (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  credential_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  kind text NOT NULL CHECK (kind IN ('session', 'token', 'signin', 'join')),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  user_id uuid,
  agent_id uuid,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  used_by_key bytea,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, credential_id),
  UNIQUE (tenant_id, hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES probectl.tenant_user ON DELETE CASCADE,
  CHECK ((kind = 'join') = (user_id IS NULL))
);
COMMENT ON TABLE probectl.credential IS 'sessions, API tokens, one-time sign-in links and join tokens, as keyed hashes';
COMMENT ON COLUMN probectl.credential.used_at IS 'last use; of a one-time credential the only one';
COMMENT ON COLUMN probectl.credential.used_by_key IS 'SHA-256 of the public key a join token enrolled: the same key may ask again';

-- The agent CA. Owner-only: no tenant row, no grant to anybody.
CREATE TABLE probectl_internal.certificate_authority (
  kind text NOT NULL CHECK (kind IN ('root', 'intermediate')),
  generation integer NOT NULL,
  certificate text NOT NULL,
  sealed_key bytea NOT NULL,
  not_before timestamptz NOT NULL,
  not_after timestamptz NOT NULL,
  PRIMARY KEY (kind, generation)
);
COMMENT ON TABLE probectl_internal.certificate_authority IS 'certificates (PEM) and sealed keys of the agent CA; the highest generation signs';

CREATE TABLE probectl.agent (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  agent_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  hostname text NOT NULL DEFAULT '' CHECK (length(hostname) <= 255),
  version text NOT NULL DEFAULT '' CHECK (length(version) <= 64),
  capabilities text[] NOT NULL DEFAULT '{}',
  labels jsonb NOT NULL DEFAULT '{}',
  revoked_at timestamptz,
  registered_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, agent_id)
);
COMMENT ON TABLE probectl.agent IS 'anything with a certificate that produces results';

ALTER TABLE probectl.credential ADD FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE;

-- What an agent says of itself every heartbeat: its own table, so that agent stays cold.
CREATE TABLE probectl.agent_state (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  agent_id uuid NOT NULL,
  last_seen_at timestamptz NOT NULL,
  config_epoch bigint NOT NULL DEFAULT 0,
  spool_records bigint NOT NULL DEFAULT 0,
  spool_bytes bigint NOT NULL DEFAULT 0,
  oldest_unsent_at timestamptz,
  dropped jsonb NOT NULL DEFAULT '{}',
  clock_skew_ms double precision NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, agent_id),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.agent_state IS 'newest heartbeat of each agent';

CREATE TABLE probectl.agent_certificate (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  serial text NOT NULL CHECK (serial ~ '^[1-9a-f][0-9a-f]{0,39}$'),
  agent_id uuid NOT NULL,
  not_before timestamptz NOT NULL,
  not_after timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, serial),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
);
COMMENT ON TABLE probectl.agent_certificate IS 'every certificate issued to an agent; serial in lower-case hex';
