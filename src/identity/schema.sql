-- identity: who may call, and how they prove it. Every secret is kept as a keyed hash only; the text of a
-- secret carries the tenant id, so that looking it up happens inside that tenant.

-- Global catalog, the same for every tenant. bit is the place in a principal's permission set.
CREATE TABLE probectl.permission (
  permission text PRIMARY KEY,
  bit integer NOT NULL UNIQUE CHECK (bit BETWEEN 0 AND 63),
  summary text NOT NULL
);
COMMENT ON TABLE probectl.permission IS 'what can be permitted; the same for every tenant';
CREATE FUNCTION probectl_internal.permissions(OUT permission text, OUT place integer, OUT summary text) RETURNS SETOF record
  LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'pctl_permissions';
COMMENT ON FUNCTION probectl_internal.permissions() IS 'the permissions this version knows';
INSERT INTO probectl.permission (permission, bit, summary) SELECT * FROM probectl_internal.permissions();

CREATE FUNCTION probectl_internal.permission_bits(permissions text[]) RETURNS bigint
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_permission_bits_sql';
COMMENT ON FUNCTION probectl_internal.permission_bits(text[]) IS 'permissions as a set of bits; names that are none add nothing';

CREATE FUNCTION probectl_internal.permission_support(internal) RETURNS internal
  LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pctl_permission_support';
COMMENT ON FUNCTION probectl_internal.permission_support(internal) IS 'tells the planner that permissions leave the number of rows as it is';

CREATE FUNCTION probectl_internal.holds(permission text) RETURNS boolean
  LANGUAGE c STABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'pctl_holds';
COMMENT ON FUNCTION probectl_internal.holds(text) IS 'whether the principal holds a permission anywhere in the tenant';

-- For a partitioned table: holds() alone names no column, and so would stand as a node of its own above each partition.
CREATE FUNCTION probectl_internal.holds_for(permission text, tenant uuid) RETURNS boolean
  LANGUAGE c STABLE STRICT PARALLEL SAFE LEAKPROOF SUPPORT probectl_internal.permission_support AS 'MODULE_PATHNAME', 'pctl_holds_for';
COMMENT ON FUNCTION probectl_internal.holds_for(text, uuid) IS 'whether the principal holds a permission anywhere in the tenant, which is the one this transaction is bound to';

CREATE FUNCTION probectl_internal.permissions_held() RETURNS json
  LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pctl_permissions_held';
COMMENT ON FUNCTION probectl_internal.permissions_held() IS 'permissions the principal holds anywhere in the tenant';

CREATE FUNCTION probectl_internal.may(permission text, project uuid) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT probectl_internal.permission_support AS 'MODULE_PATHNAME', 'pctl_may';
COMMENT ON FUNCTION probectl_internal.may(text, uuid) IS 'whether the principal holds a permission in the whole tenant, or in the project';

CREATE TABLE probectl.tenant_user (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  user_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  issuer text NOT NULL DEFAULT 'local' CHECK (length(issuer) BETWEEN 1 AND 1024),
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
  email text NOT NULL CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 320),
  display_name text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('invited', 'active', 'suspended')),
  attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, user_id),
  UNIQUE (tenant_id, issuer, subject)
);
CREATE UNIQUE INDEX tenant_user_email ON probectl.tenant_user (tenant_id, lower(email));
COMMENT ON TABLE probectl.tenant_user IS 'people of a tenant, known by issuer and subject; subject of the issuer "local" is the user id';
COMMENT ON COLUMN probectl.tenant_user.attributes IS 'what access policies compare with';

CREATE TABLE probectl.service_account (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  service_account_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, service_account_id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE probectl.service_account IS 'programs of a tenant: they hold roles and API tokens, and never sign in';

CREATE TABLE probectl.user_group (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  group_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  PRIMARY KEY (tenant_id, group_id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE probectl.user_group IS 'users that hold roles together';

CREATE TABLE probectl.group_member (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  group_id uuid NOT NULL,
  user_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, group_id, user_id),
  FOREIGN KEY (tenant_id, group_id) REFERENCES probectl.user_group ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES probectl.tenant_user ON DELETE CASCADE
);
CREATE INDEX group_member_user ON probectl.group_member (tenant_id, user_id);
COMMENT ON TABLE probectl.group_member IS 'who is in which group';

CREATE TABLE probectl.role (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  role_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  permissions text[] NOT NULL,
  bits bigint NOT NULL GENERATED ALWAYS AS (probectl_internal.permission_bits(permissions)) STORED,
  PRIMARY KEY (tenant_id, role_id),
  UNIQUE (tenant_id, slug)
);
COMMENT ON COLUMN probectl.role.bits IS 'the permissions as a set of bits: what a session adds up';
COMMENT ON TABLE probectl.role IS 'a named set of permissions; admin, editor and viewer are made with the tenant';

-- Subject and scope are one column a kind, so that each has its foreign key; no scope column means the tenant.
CREATE TABLE probectl.role_binding (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  binding_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  role_id uuid NOT NULL,
  user_id uuid,
  service_account_id uuid,
  group_id uuid,
  organization_id uuid,
  team_id uuid,
  project_id uuid,
  PRIMARY KEY (tenant_id, binding_id),
  UNIQUE NULLS NOT DISTINCT (tenant_id, role_id, user_id, service_account_id, group_id, organization_id, team_id, project_id),
  FOREIGN KEY (tenant_id, role_id) REFERENCES probectl.role ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES probectl.tenant_user ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, service_account_id) REFERENCES probectl.service_account ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, group_id) REFERENCES probectl.user_group ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, organization_id) REFERENCES probectl.organization ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, team_id) REFERENCES probectl.team ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, project_id) REFERENCES probectl.project ON DELETE CASCADE,
  CONSTRAINT role_binding_one_subject CHECK (num_nonnulls(user_id, service_account_id, group_id) = 1),
  CONSTRAINT role_binding_one_scope CHECK (num_nonnulls(organization_id, team_id, project_id) <= 1)
);
CREATE INDEX role_binding_user ON probectl.role_binding (tenant_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX role_binding_service ON probectl.role_binding (tenant_id, service_account_id) WHERE service_account_id IS NOT NULL;
CREATE INDEX role_binding_group ON probectl.role_binding (tenant_id, group_id) WHERE group_id IS NOT NULL;
COMMENT ON TABLE probectl.role_binding IS 'who holds which role where: in the tenant, or below one organization, team or project and nowhere else';

CREATE TABLE probectl.access_policy (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  policy_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  effect text NOT NULL CHECK (effect IN ('allow', 'deny')),
  permission text NOT NULL,
  subject jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(subject) = 'object'),
  resource jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(resource) = 'object'),
  priority integer NOT NULL DEFAULT 0,
  enabled boolean NOT NULL DEFAULT true,
  PRIMARY KEY (tenant_id, policy_id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE probectl.access_policy IS 'attribute policies: the matching one of highest priority decides, deny before allow; an allow only lifts a deny of lower priority and never grants what no role grants';
COMMENT ON COLUMN probectl.access_policy.subject IS 'attributes of the caller, each a value or an array of values; all must match';
COMMENT ON COLUMN probectl.access_policy.resource IS 'attributes of the thing (type, project_id, labels, ...), as subject';

-- kind: session (from a sign-in), token (API), signin and invite (one-time links), join (enrols one agent).
CREATE TABLE probectl.credential (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  credential_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  kind text NOT NULL CHECK (kind IN ('session', 'token', 'signin', 'invite', 'join')),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  hint text NOT NULL DEFAULT '',
  user_id uuid,
  service_account_id uuid,
  agent_id uuid,
  scopes text[],
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  used_by_key bytea,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, credential_id),
  UNIQUE (tenant_id, hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES probectl.tenant_user ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, service_account_id) REFERENCES probectl.service_account ON DELETE CASCADE,
  CHECK (num_nonnulls(user_id, service_account_id) = CASE WHEN kind = 'join' THEN 0 ELSE 1 END),
  CHECK (service_account_id IS NULL OR kind = 'token')
);
COMMENT ON COLUMN probectl.credential.hint IS 'first characters of the secret, to tell one from another';
COMMENT ON COLUMN probectl.credential.scopes IS 'permissions a token is narrowed to; NULL: all its owner has';
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

-- Ed25519, certified by an intermediate, so that an agent believes it for the root it got at enrolment. Owner-only.
CREATE TABLE probectl_internal.tests_key (
  generation integer PRIMARY KEY,
  issuer integer NOT NULL,
  certificate text NOT NULL,
  sealed_seed bytea NOT NULL,
  not_after timestamptz NOT NULL
);
COMMENT ON TABLE probectl_internal.tests_key IS 'keys that sign what agents are to run, sealed by the envelope key; the highest generation signs';
COMMENT ON COLUMN probectl_internal.tests_key.issuer IS 'generation of the intermediate that certified it';
COMMENT ON COLUMN probectl_internal.tests_key.certificate IS 'chain (PEM, leaf first)';

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
  tests_problem text NOT NULL DEFAULT '',
  tests_refused bigint NOT NULL DEFAULT 0,
  ticks_skipped bigint NOT NULL DEFAULT 0,
  runs_disturbed bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, agent_id),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.agent_state IS 'newest heartbeat of each agent';
COMMENT ON COLUMN probectl.agent_state.config_epoch IS 'revision of the tests it runs';
COMMENT ON COLUMN probectl.agent_state.tests_problem IS 'why it does not take the newest tests of the control plane; empty when it does';
COMMENT ON COLUMN probectl.agent_state.tests_refused IS 'bundles of tests it refused since it started';
COMMENT ON COLUMN probectl.agent_state.ticks_skipped IS 'moments at which a test was due and did not run, since it started';
COMMENT ON COLUMN probectl.agent_state.runs_disturbed IS 'runs since it started that its own load may have disturbed';

CREATE TABLE probectl.agent_certificate (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  serial text NOT NULL CHECK (serial ~ '^[1-9a-f][0-9a-f]{0,39}$'),
  agent_id uuid NOT NULL,
  public_key bytea NOT NULL,
  not_before timestamptz NOT NULL,
  not_after timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, serial),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
);
COMMENT ON TABLE probectl.agent_certificate IS 'every certificate issued to an agent; serial in lower-case hex, public_key the SubjectPublicKeyInfo (DER)';
