-- tenant: entering a tenant, and making tenants.
CREATE OR REPLACE FUNCTION probectl.enter_tenant(tenant uuid) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_tenant';
COMMENT ON FUNCTION probectl.enter_tenant(uuid) IS 'binds this transaction to a tenant and goes on as probectl_app; for administrators and workers; PC404 when there is no such tenant, PC403 when one is bound already';

CREATE OR REPLACE FUNCTION probectl_internal.tenant_bind(tenant uuid) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_tenant_bind';
COMMENT ON FUNCTION probectl_internal.tenant_bind(uuid) IS 'binds the tenant without changing the role; for security definer functions of probectl_owner';

-- What every tenant starts with. One transaction; the caller goes on bound to the new tenant.
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
  INSERT INTO probectl.tenant_quota (resource, limit_value)
    VALUES ('agents', 1000), ('tests', 10000), ('users', 1000), ('rules', 1000), ('series', 50000);
  INSERT INTO probectl.tenant_budget (tenant_id) VALUES (new_tenant);
  INSERT INTO probectl.tenant_branding (tenant_id) VALUES (new_tenant);
  INSERT INTO probectl.organization (organization_id, slug, name) VALUES (new_organization, 'default', 'Default');
  INSERT INTO probectl.team (team_id, organization_id, slug, name) VALUES (new_team, new_organization, 'default', 'Default');
  INSERT INTO probectl.project (team_id, slug, name) VALUES (new_team, 'default', 'Default');
  INSERT INTO probectl.role (slug, permissions)
    SELECT r.role_slug, r.permissions
      FROM (VALUES ('admin', (SELECT array_agg(p.permission ORDER BY p.bit) FROM probectl.permission p)),
                   ('editor', (SELECT array_agg(p.permission ORDER BY p.bit) FROM probectl.permission p
                                WHERE p.permission IN ('test.write', 'alert.write', 'incident.write')
                                   OR (p.permission LIKE '%.read' AND p.permission NOT IN ('audit.read', 'directory.read', 'governance.read')))),
                   ('viewer', (SELECT array_agg(p.permission ORDER BY p.bit) FROM probectl.permission p
                                WHERE p.permission LIKE '%.read' AND p.permission NOT IN ('audit.read', 'directory.read', 'governance.read')))
           ) AS r (role_slug, permissions);
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
COMMENT ON FUNCTION probectl.tenant_create(text, text) IS 'makes a tenant with its roles, limits and a default organization, team and project, and binds this transaction to it; PC409 when the slug is taken';

CREATE OR REPLACE FUNCTION probectl.tenant_provision(slug text, name text, admin_email text, OUT tenant_id uuid, OUT user_id uuid, OUT invitation text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  tenant_id := probectl.tenant_create(tenant_provision.slug, tenant_provision.name);
  SELECT i.user_id, i.invitation INTO tenant_provision.user_id, tenant_provision.invitation
    FROM probectl_internal.user_invite(admin_email, split_part(admin_email, '@', 1), 'admin', interval '7 days') i;
END
$$;
COMMENT ON FUNCTION probectl.tenant_provision(text, text, text) IS 'makes a tenant and invites its first administrator, in one transaction: tenant, user, and the code of the invitation (pci_), shown this once';

CREATE OR REPLACE FUNCTION probectl.tenant_list(OUT tenant_id uuid, OUT slug text, OUT name text, OUT status text, OUT created_at timestamptz)
  RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT t.tenant_id, t.slug, t.name, t.status, t.created_at FROM probectl.tenant t ORDER BY t.slug $$;
COMMENT ON FUNCTION probectl.tenant_list() IS 'every tenant, for administrators of the cluster; in a tenant context the tenant itself';

-- Lifecycle: every legal move is a row; anything else is a conflict.
CREATE OR REPLACE FUNCTION probectl_internal.tenant_move_legal(old_status text, new_status text) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT (old_status, new_status) IN (('active', 'suspended'), ('suspended', 'active'), ('active', 'offboarding'),
                                      ('suspended', 'offboarding'), ('offboarding', 'deleted'))
$$;
COMMENT ON FUNCTION probectl_internal.tenant_move_legal(text, text) IS 'the states of a tenant and the ways between them';

CREATE OR REPLACE FUNCTION probectl.tenant_set_status(tenant uuid, status text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  old_status text;
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  SELECT t.status INTO old_status FROM probectl.tenant t WHERE t.tenant_id = tenant FOR UPDATE;
  IF old_status IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant';
  END IF;
  IF NOT probectl_internal.tenant_move_legal(old_status, tenant_set_status.status) THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('a tenant that is %s cannot become %s', old_status, tenant_set_status.status);
  END IF;
  IF tenant_set_status.status = 'deleted' THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'a tenant is deleted by probectl.tenant_erase()';
  END IF;
  UPDATE probectl.tenant t SET status = tenant_set_status.status WHERE t.tenant_id = tenant;
  PERFORM probectl_internal.provider_audit_append('tenant.' || tenant_set_status.status, tenant::text, 'ok', json_build_object('from', old_status));
  PERFORM pg_notify('probectl_event', tenant || ' revoked');
  RETURN tenant_set_status.status;
END
$$;
COMMENT ON FUNCTION probectl.tenant_set_status(uuid, text) IS 'moves a tenant between active, suspended and offboarding; every door refuses a tenant that is not active; PC409 for a move that does not exist';

CREATE OR REPLACE FUNCTION probectl_internal.tenant_tables() RETURNS TABLE (name text, rank integer)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Children before parents, so that no foreign key stands in the way.
  RETURN QUERY
    WITH RECURSIVE tenant_table AS (
      SELECT c.oid, c.relname::text AS name FROM pg_class c
       WHERE c.relnamespace = 'probectl'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
         AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
    ), depth AS (
      SELECT t.oid, 0 AS depth FROM tenant_table t
      UNION
      SELECT f.confrelid, d.depth + 1 FROM depth d JOIN pg_constraint f ON f.conrelid = d.oid AND f.contype = 'f' AND f.confrelid <> f.conrelid
       WHERE d.depth < 20 AND f.confrelid IN (SELECT oid FROM tenant_table)
    )
    SELECT t.name, max(d.depth)::integer FROM tenant_table t JOIN depth d USING (oid) GROUP BY t.name ORDER BY 2, 1;
END
$$;
COMMENT ON FUNCTION probectl_internal.tenant_tables() IS 'every table that holds rows of tenants, children before parents';

-- Erasure: the fence is the status; what follows takes every row of the tenant and says how many.
CREATE OR REPLACE FUNCTION probectl.tenant_erase(tenant uuid, OUT attestation json, OUT signature bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  state record;
  place record;
  erased bigint;
  counts jsonb := '{}';
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  SELECT t.status, t.slug INTO state FROM probectl.tenant t WHERE t.tenant_id = tenant FOR UPDATE;
  IF state.status IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant';
  ELSIF state.status <> 'offboarding' THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'only a tenant that is offboarding is erased',
      HINT = 'Run SELECT probectl.tenant_set_status(tenant, ''offboarding'') first.';
  END IF;
  PERFORM probectl_internal.erasing(true);
  -- Twice: what a trigger wrote while the first pass ran goes with the second.
  FOR pass IN 1 .. 2 LOOP
    FOR place IN SELECT * FROM probectl_internal.tenant_tables() LOOP
      EXECUTE format('DELETE FROM probectl.%I WHERE tenant_id = $1', place.name) USING tenant;
      GET DIAGNOSTICS erased = ROW_COUNT;
      counts := counts || jsonb_build_object(place.name, coalesce((counts ->> place.name)::bigint, 0) + erased);
    END LOOP;
  END LOOP;
  PERFORM probectl_internal.erasing(false);
  attestation := json_build_object('format', 'probectl.erasure.v1', 'tenant_id', tenant, 'slug', state.slug,
                                   'erased_at', probectl_internal.time_text(probectl.clock_now()), 'rows', counts::json);
  PERFORM probectl_internal.signing_key_ensure();
  signature := probectl_internal.sign(convert_to(attestation::text, 'UTF8'));
  INSERT INTO probectl_internal.erasure (erased_tenant, attestation, signature, public_key)
    VALUES (tenant, tenant_erase.attestation, tenant_erase.signature, probectl.signing_key());
  PERFORM probectl_internal.provider_audit_append('tenant.erase', tenant::text, 'ok', attestation);
  PERFORM pg_notify('probectl_event', tenant || ' revoked');
END
$$;
COMMENT ON FUNCTION probectl.tenant_erase(uuid) IS 'erases every row of a tenant that is offboarding: a statement of how many in each table, and its Ed25519 signature; PC409 unless offboarding';

CREATE OR REPLACE FUNCTION probectl.tenant_set_quota(tenant uuid, resource text, limit_value bigint) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  UPDATE probectl.tenant_quota q SET limit_value = tenant_set_quota.limit_value
   WHERE q.tenant_id = tenant AND q.resource = tenant_set_quota.resource;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant or resource', HINT = 'Resources are agents, tests, users, rules and series.';
  END IF;
  PERFORM probectl_internal.provider_audit_append('tenant.quota', tenant::text, 'ok',
    json_build_object('resource', tenant_set_quota.resource, 'limit', tenant_set_quota.limit_value));
END
$$;
COMMENT ON FUNCTION probectl.tenant_set_quota(uuid, text, bigint) IS 'how many agents, tests, users, rules or series a tenant may have; NULL means no limit';

CREATE OR REPLACE FUNCTION probectl.tenant_set_budget(tenant uuid, weight integer, results_per_second integer, bytes_per_second integer, queries_per_second integer) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  INSERT INTO probectl.tenant_budget AS b VALUES (tenant, tenant_set_budget.weight, tenant_set_budget.results_per_second,
                                                  tenant_set_budget.bytes_per_second, tenant_set_budget.queries_per_second)
    ON CONFLICT (tenant_id) DO UPDATE SET weight = excluded.weight, results_per_second = excluded.results_per_second,
                                          bytes_per_second = excluded.bytes_per_second, queries_per_second = excluded.queries_per_second;
  PERFORM probectl_internal.provider_audit_append('tenant.budget', tenant::text, 'ok', (SELECT to_json(b) FROM probectl.tenant_budget b WHERE b.tenant_id = tenant));
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant';
END
$$;
COMMENT ON FUNCTION probectl.tenant_set_budget(uuid, integer, integer, integer, integer) IS 'fair share of a tenant a second; 0 means no bound';

CREATE OR REPLACE FUNCTION probectl.tenant_set_branding(tenant uuid, product_name text, accent text, logo_svg text, support_url text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  INSERT INTO probectl.tenant_branding AS b VALUES (tenant, tenant_set_branding.product_name, tenant_set_branding.accent,
                                                    tenant_set_branding.logo_svg, tenant_set_branding.support_url)
    ON CONFLICT (tenant_id) DO UPDATE SET product_name = excluded.product_name, accent = excluded.accent,
                                          logo_svg = excluded.logo_svg, support_url = excluded.support_url;
  PERFORM probectl_internal.provider_audit_append('tenant.branding', tenant::text, 'ok', json_build_object('product_name', tenant_set_branding.product_name));
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant';
  WHEN check_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'a name has 1 to 60 characters, an accent looks like #2f6feb, a logo is at most 32 kB, a support link is https', DETAIL = 'field: branding';
END
$$;
COMMENT ON FUNCTION probectl.tenant_set_branding(uuid, text, text, text, text) IS 'how the page looks to the people of a tenant';

-- Quotas: TG_ARGV names the resource. The locked row is both the count and its guard.
CREATE OR REPLACE FUNCTION probectl_internal.quota_count() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    UPDATE probectl.tenant_quota q SET used = greatest(q.used - 1, 0) WHERE q.tenant_id = OLD.tenant_id AND q.resource = TG_ARGV[0];
    RETURN OLD;
  END IF;
  UPDATE probectl.tenant_quota q SET used = q.used + 1
   WHERE q.tenant_id = NEW.tenant_id AND q.resource = TG_ARGV[0] AND (q.limit_value IS NULL OR q.used < q.limit_value);
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PC429', MESSAGE = format('the tenant''s limit of %s is reached', TG_ARGV[0]),
      HINT = 'Delete some, or ask the operator of the platform for more.';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION probectl_internal.quota_count() IS 'trigger: counts a thing against the tenant''s limit; PC429 when it is reached';

CREATE OR REPLACE FUNCTION probectl_internal.budget_touch() RETURNS void
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_budget_changed';
COMMENT ON FUNCTION probectl_internal.budget_touch() IS 'makes every process read the budgets anew after commit';

CREATE OR REPLACE FUNCTION probectl_internal.budget_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.budget_touch();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.budget_changed() IS 'trigger: a budget moved';

CREATE OR REPLACE FUNCTION probectl.fairness_status(OUT budget text, OUT rate double precision, OUT available double precision, OUT used bigint, OUT shed bigint)
  RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_fairness_status';
COMMENT ON FUNCTION probectl.fairness_status() IS 'budgets of the bound tenant: rate a second, what is available, what was used and what was refused since the server started';
