-- tenant: entering a tenant, and making tenants.
CREATE OR REPLACE FUNCTION probectl.enter_tenant(tenant uuid) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_tenant';
COMMENT ON FUNCTION probectl.enter_tenant(uuid) IS 'binds this transaction to a tenant and goes on as probectl_app; for administrators and workers; PC404 when there is no such tenant, PC403 when one is bound already';

CREATE OR REPLACE FUNCTION probectl_internal.tenant_bind(tenant uuid) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_tenant_bind';
COMMENT ON FUNCTION probectl_internal.tenant_bind(uuid) IS 'binds the tenant without changing the role; for security definer functions of probectl_owner';

CREATE OR REPLACE FUNCTION probectl.tenant_create(slug text, name text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_tenant uuid := probectl.uuid_v7();
  new_organization uuid := probectl.uuid_v7();
  new_team uuid := probectl.uuid_v7();
BEGIN
  PERFORM probectl_internal.tenant_bind(new_tenant);
  INSERT INTO probectl.tenant (tenant_id, slug, name) VALUES (new_tenant, tenant_create.slug, tenant_create.name);
  INSERT INTO probectl.tenant_revision (tenant_id) VALUES (new_tenant);
  INSERT INTO probectl.organization (organization_id, slug, name) VALUES (new_organization, 'default', 'Default');
  INSERT INTO probectl.team (team_id, organization_id, slug, name) VALUES (new_team, new_organization, 'default', 'Default');
  INSERT INTO probectl.project (team_id, slug, name) VALUES (new_team, 'default', 'Default');
  INSERT INTO probectl.role (slug, permissions)
    SELECT r.role_slug, r.permissions
      FROM (VALUES ('admin', (SELECT array_agg(p.permission ORDER BY p.bit) FROM probectl.permission p)),
                   ('editor', ARRAY['tenant.read', 'test.read', 'test.write', 'agent.read']),
                   ('viewer', ARRAY['tenant.read', 'test.read', 'agent.read'])) AS r (role_slug, permissions);
  PERFORM probectl_internal.provider_audit_append('tenant.create', new_tenant::text, 'ok',
                                                  json_build_object('slug', tenant_create.slug));
  RETURN new_tenant;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('there is a tenant with the slug "%s"', tenant_create.slug);
  WHEN check_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'a slug is 1 to 63 lower-case letters, digits and hyphens, a name 1 to 200 characters',
      DETAIL = 'field: slug';
END
$$;
COMMENT ON FUNCTION probectl.tenant_create(text, text) IS 'makes a tenant with its roles and a default organization, team and project, and binds this transaction to it; PC409 when the slug is taken';

CREATE OR REPLACE FUNCTION probectl.tenant_list(OUT tenant_id uuid, OUT slug text, OUT name text, OUT status text, OUT created_at timestamptz)
  RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT t.tenant_id, t.slug, t.name, t.status, t.created_at FROM probectl.tenant t ORDER BY t.slug $$;
COMMENT ON FUNCTION probectl.tenant_list() IS 'every tenant, for administrators of the cluster; in a tenant context the tenant itself';
