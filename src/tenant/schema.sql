-- tenant: who a transaction works for, then the hierarchy tenant > organization > team > project.
-- Policies and defaults of every table need the first functions, so they come before any table.
CREATE FUNCTION probectl.current_tenant() RETURNS uuid
  LANGUAGE c STABLE LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_current_tenant';
COMMENT ON FUNCTION probectl.current_tenant() IS 'tenant this transaction is bound to; NULL when it is bound to none, and then no row of any tenant is visible';

CREATE FUNCTION probectl.current_principal() RETURNS text
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_current_principal';
COMMENT ON FUNCTION probectl.current_principal() IS 'who the transaction works for: user:<id>, token:<user id>, agent:<id> or system:<login>';

CREATE FUNCTION probectl_internal.principal_id() RETURNS uuid
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_principal_id';
COMMENT ON FUNCTION probectl_internal.principal_id() IS 'user or agent the transaction works for';

CREATE FUNCTION probectl_internal.principal_has(place integer, project uuid DEFAULT NULL) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_principal_has';
COMMENT ON FUNCTION probectl_internal.principal_has(integer, uuid) IS 'whether the principal holds the permission with this bit in the tenant, or in the project';

CREATE FUNCTION probectl_internal.principal_policies() RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_principal_policies';
COMMENT ON FUNCTION probectl_internal.principal_policies() IS 'whether the tenant has access policies to ask';

CREATE TABLE probectl.tenant (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.uuid_v7(),
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'offboarding', 'deleted')),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now()
);
COMMENT ON TABLE probectl.tenant IS 'a customer or, self-hosted, the one organisation: the outermost boundary';

-- Names and states outside every tenant's rows, for those who run the platform; kept by trigger.
CREATE TABLE probectl_internal.tenant_registry (
  tenant_id uuid PRIMARY KEY,
  slug text NOT NULL,
  name text NOT NULL,
  status text NOT NULL,
  created_at timestamptz NOT NULL,
  kept_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX tenant_registry_kept ON probectl_internal.tenant_registry (kept_at) WHERE status <> 'deleted';
COMMENT ON TABLE probectl_internal.tenant_registry IS 'every tenant there is or was, and when the keeper last visited it';

-- Counts changes of what agents are given; one row a tenant, so concurrent changes queue here.
CREATE TABLE probectl.tenant_revision (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  test_revision bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE probectl.tenant_revision IS 'revision of the tenant''s tests; grows with every change';

CREATE TABLE probectl.organization (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  organization_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, organization_id),
  UNIQUE (tenant_id, slug)
);
COMMENT ON TABLE probectl.organization IS 'first level below a tenant';

CREATE TABLE probectl.team (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  team_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  organization_id uuid NOT NULL,
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, team_id),
  UNIQUE (tenant_id, organization_id, slug),
  FOREIGN KEY (tenant_id, organization_id) REFERENCES probectl.organization ON DELETE CASCADE
);
COMMENT ON TABLE probectl.team IS 'second level: a team of an organization';

CREATE TABLE probectl.project (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  project_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  team_id uuid NOT NULL,
  slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, project_id),
  UNIQUE (tenant_id, team_id, slug),
  FOREIGN KEY (tenant_id, team_id) REFERENCES probectl.team ON DELETE CASCADE
);
COMMENT ON TABLE probectl.project IS 'third level: a project of a team';

-- Limits: NULL in limit_value means none. Counts are kept by triggers in the row that is locked to check them, so that two
-- inserts at once cannot both take the last place.
CREATE TABLE probectl.tenant_quota (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  resource text NOT NULL CHECK (resource IN ('agents', 'tests', 'users', 'rules', 'series')),
  limit_value bigint CHECK (limit_value >= 0),
  used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
  PRIMARY KEY (tenant_id, resource)
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.tenant_quota IS 'how many of each thing a tenant may have, and has';

-- Fair shares of the machine; a token bucket each in shared memory (tenant/fairness.c).
CREATE TABLE probectl.tenant_budget (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  weight integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100),
  results_per_second integer NOT NULL DEFAULT 0 CHECK (results_per_second >= 0),
  bytes_per_second integer NOT NULL DEFAULT 0 CHECK (bytes_per_second >= 0),
  queries_per_second integer NOT NULL DEFAULT 0 CHECK (queries_per_second >= 0)
);
COMMENT ON TABLE probectl.tenant_budget IS 'what a tenant may use a second, times its weight, with ten seconds of burst; 0 means no bound';

CREATE TABLE probectl.tenant_branding (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  product_name text NOT NULL DEFAULT 'probectl' CHECK (length(product_name) BETWEEN 1 AND 60),
  accent text CHECK (accent ~ '^#[0-9a-f]{6}$'),
  logo_svg text CHECK (octet_length(logo_svg) <= 32768),
  support_url text CHECK (support_url ~ '^https://' AND length(support_url) <= 500)
);
COMMENT ON TABLE probectl.tenant_branding IS 'how the page looks to a tenant''s people';
