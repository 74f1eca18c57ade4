-- tenant: who a transaction works for, then the hierarchy tenant > organization > team > project.
-- Policies and defaults of every table need the first functions, so they come before any table.
CREATE FUNCTION probectl.current_tenant() RETURNS uuid
  LANGUAGE c STABLE LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_current_tenant';
COMMENT ON FUNCTION probectl.current_tenant() IS 'tenant this transaction is bound to; NULL when it is bound to none, and then no row of any tenant is visible';

CREATE FUNCTION probectl.current_principal() RETURNS text
  LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pctl_current_principal';
COMMENT ON FUNCTION probectl.current_principal() IS 'who the transaction works for: user:<id>, token:<user id>, agent:<id> or system:<login>';

CREATE FUNCTION probectl_internal.principal_id() RETURNS uuid
  LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pctl_principal_id';
COMMENT ON FUNCTION probectl_internal.principal_id() IS 'user or agent the transaction works for';

CREATE FUNCTION probectl_internal.principal_has(place integer) RETURNS boolean
  LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pctl_principal_has';
COMMENT ON FUNCTION probectl_internal.principal_has(integer) IS 'whether the principal holds the permission with this bit';

CREATE TABLE probectl.tenant (
  tenant_id uuid PRIMARY KEY DEFAULT probectl.uuid_v7(),
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'offboarding', 'deleted')),
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now()
);
COMMENT ON TABLE probectl.tenant IS 'a customer or, self-hosted, the one organisation: the outermost boundary';

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
