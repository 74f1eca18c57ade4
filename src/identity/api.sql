-- identity: entering with a credential; users, links and tokens; agents and their certificates.
CREATE OR REPLACE FUNCTION probectl.enter_session(token text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_session';
COMMENT ON FUNCTION probectl.enter_session(text) IS 'binds this transaction to the user and tenant of a session (pcs_) or API token (pct_) and goes on as probectl_app; PC401 when it is unknown, expired or revoked';

CREATE OR REPLACE FUNCTION probectl.enter_session(token text, used boolean) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_session';
COMMENT ON FUNCTION probectl.enter_session(text, boolean) IS 'as enter_session(token); with used false it is not counted as use, so an open page does not keep its session alive';

CREATE OR REPLACE FUNCTION probectl.enter_agent(tenant uuid, agent uuid, serial text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_agent';
COMMENT ON FUNCTION probectl.enter_agent(uuid, uuid, text) IS 'binds this transaction to the agent of a verified certificate and goes on as probectl_app; PC401 when the certificate is unknown or revoked, PC403 when the tenant is not active';

CREATE OR REPLACE FUNCTION probectl_internal.credential_bind(given text, kind text, other_kind text) RETURNS bytea
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_credential_bind';
COMMENT ON FUNCTION probectl_internal.credential_bind(text, text, text) IS 'binds the tenant named in a one-time credential; the hash to look it up by';

CREATE OR REPLACE FUNCTION probectl_internal.credential_mint(kind text, OUT secret text, OUT hash bytea)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_credential_mint_sql';
COMMENT ON FUNCTION probectl_internal.credential_mint(text) IS 'a new secret for the bound tenant and its hash';

CREATE OR REPLACE FUNCTION probectl_internal.credential_id() RETURNS uuid
  LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pctl_session_id';
COMMENT ON FUNCTION probectl_internal.credential_id() IS 'session or token this transaction was entered with';

CREATE OR REPLACE FUNCTION probectl_internal.require(wanted text) RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF probectl.current_tenant() IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'this transaction is bound to no tenant';
  END IF;
  IF NOT coalesce((SELECT probectl_internal.principal_has(p.bit) FROM probectl.permission p WHERE p.permission = wanted), false) THEN
    PERFORM probectl_internal.audit_denied('permission', wanted, 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = format('the permission %s is needed', wanted);
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.require(text) IS 'raises PC403 unless the principal holds the permission';

-- Stores the hash, hands out the secret once. owner is a user, or for a token a service account.
CREATE OR REPLACE FUNCTION probectl_internal.credential_create(kind text, name text, user_id uuid, service_account_id uuid, agent_id uuid, scopes text[], ttl interval, OUT secret text, OUT expires_at timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  minted record;
  unknown text;
BEGIN
  IF ttl IS NULL OR ttl <= interval '0' OR ttl > interval '10 years' THEN
    PERFORM probectl_internal.invalid('ttl', 'a lifetime must be positive and at most ten years');
  END IF;
  SELECT u INTO unknown FROM unnest(scopes) u WHERE NOT EXISTS (SELECT FROM probectl.permission p WHERE p.permission = u) LIMIT 1;
  IF unknown IS NOT NULL THEN
    PERFORM probectl_internal.invalid('scopes', format('there is no permission "%s"', left(unknown, 64)));
  END IF;
  SELECT * INTO minted FROM probectl_internal.credential_mint(credential_create.kind);
  expires_at := probectl.clock_now() + ttl;
  -- The tenant stands in the first 22 characters; what follows tells one secret from another.
  INSERT INTO probectl.credential (kind, hash, name, hint, user_id, service_account_id, agent_id, scopes, expires_at)
    VALUES (credential_create.kind, minted.hash, coalesce(credential_create.name, ''), left(minted.secret, 4) || '..' || substr(minted.secret, 27, 6),
            credential_create.user_id, credential_create.service_account_id, credential_create.agent_id, credential_create.scopes, credential_create.expires_at);
  secret := minted.secret;
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such user, service account or agent';
END
$$;
COMMENT ON FUNCTION probectl_internal.credential_create(text, text, uuid, uuid, uuid, text[], interval) IS 'makes a credential of the bound tenant: the secret, shown this once, and its end';

-- People.
CREATE OR REPLACE FUNCTION probectl_internal.user_make(issuer text, subject text, email text, display_name text, role text, status text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_user uuid := probectl.uuid_v7();
BEGIN
  INSERT INTO probectl.tenant_user (user_id, issuer, subject, email, display_name, status)
    VALUES (new_user, user_make.issuer, coalesce(user_make.subject, new_user::text), user_make.email, user_make.display_name, user_make.status);
  IF role IS NOT NULL THEN
    INSERT INTO probectl.role_binding (user_id, role_id) SELECT new_user, r.role_id FROM probectl.role r WHERE r.slug = user_make.role;
    IF NOT FOUND THEN
      PERFORM probectl_internal.invalid('role', format('there is no role "%s"', left(user_make.role, 64)));
    END IF;
  END IF;
  RETURN new_user;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is a user with this address or identity', DETAIL = 'field: email';
  WHEN check_violation OR not_null_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'this is not an e-mail address, or a name is empty', DETAIL = 'field: email';
END
$$;
COMMENT ON FUNCTION probectl_internal.user_make(text, text, text, text, text, text) IS 'makes a user of the bound tenant';

CREATE OR REPLACE FUNCTION probectl.user_create(email text, display_name text, role text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN probectl_internal.user_make('local', NULL, email, display_name, role, 'active');
END
$$;
COMMENT ON FUNCTION probectl.user_create(text, text, text) IS 'makes a user of the bound tenant who holds a role; PC409 when the address is taken';

CREATE OR REPLACE FUNCTION probectl_internal.user_invite(email text, display_name text, role text, ttl interval, OUT user_id uuid, OUT invitation text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  user_id := probectl_internal.user_make('local', NULL, email, display_name, role, 'invited');
  invitation := (SELECT c.secret FROM probectl_internal.credential_create('invite', '', user_invite.user_id, NULL, NULL, NULL, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl_internal.user_invite(text, text, text, interval) IS 'makes an invited user and the code that activates him';

CREATE OR REPLACE FUNCTION probectl.invitation_create(email text, role text, ttl interval DEFAULT '7 days', OUT user_id uuid, OUT invitation text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  SELECT i.user_id, i.invitation INTO invitation_create.user_id, invitation_create.invitation
    FROM probectl_internal.user_invite(email, split_part(email, '@', 1), role, ttl) i;
END
$$;
COMMENT ON FUNCTION probectl.invitation_create(text, text, interval) IS 'invites somebody into the bound tenant with a role: user, and the code (pci_) that signs in and activates, shown this once';

CREATE OR REPLACE FUNCTION probectl.user_set_status(user_id uuid, status text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  UPDATE probectl.tenant_user u SET status = user_set_status.status
   WHERE u.tenant_id = probectl.current_tenant() AND u.user_id = user_set_status.user_id AND u.status <> user_set_status.status;
  RETURN FOUND;
EXCEPTION
  WHEN check_violation THEN
    PERFORM probectl_internal.invalid('status', 'a user is invited, active or suspended');
    RETURN false;
END
$$;
COMMENT ON FUNCTION probectl.user_set_status(uuid, text) IS 'suspends or reactivates a user of the bound tenant; live sessions end with the next request';

CREATE OR REPLACE FUNCTION probectl.user_set_attributes(user_id uuid, attributes jsonb) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  IF jsonb_typeof(attributes) IS DISTINCT FROM 'object' OR octet_length(attributes::text) > 8192 THEN
    PERFORM probectl_internal.invalid('attributes', 'attributes are an object of at most 8 kB');
  END IF;
  UPDATE probectl.tenant_user u SET attributes = user_set_attributes.attributes
   WHERE u.tenant_id = probectl.current_tenant() AND u.user_id = user_set_attributes.user_id;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION probectl.user_set_attributes(uuid, jsonb) IS 'what access policies compare with';

CREATE OR REPLACE FUNCTION probectl.user_list(OUT user_id uuid, OUT email text, OUT display_name text, OUT status text, OUT roles text[])
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.read');
  RETURN QUERY
    SELECT u.user_id, u.email, u.display_name, u.status,
           ARRAY(SELECT r.slug FROM probectl.role_binding b JOIN probectl.role r ON r.tenant_id = b.tenant_id AND r.role_id = b.role_id
                  WHERE b.tenant_id = u.tenant_id AND b.user_id = u.user_id ORDER BY r.slug)
      FROM probectl.tenant_user u WHERE u.tenant_id = probectl.current_tenant() ORDER BY u.email;
END
$$;
COMMENT ON FUNCTION probectl.user_list() IS 'users of the bound tenant with their roles';

CREATE OR REPLACE FUNCTION probectl.service_account_create(name text, role text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made uuid := probectl.uuid_v7();
BEGIN
  PERFORM probectl_internal.require('directory.write');
  INSERT INTO probectl.service_account (service_account_id, name) VALUES (made, service_account_create.name);
  INSERT INTO probectl.role_binding (service_account_id, role_id) SELECT made, r.role_id FROM probectl.role r WHERE r.slug = service_account_create.role;
  IF NOT FOUND AND role IS NOT NULL THEN
    PERFORM probectl_internal.invalid('role', format('there is no role "%s"', left(service_account_create.role, 64)));
  END IF;
  RETURN made;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is a service account of this name', DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl.service_account_create(text, text) IS 'makes a service account of the bound tenant, with a role or NULL';

CREATE OR REPLACE FUNCTION probectl.group_create(name text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made uuid := probectl.uuid_v7();
BEGIN
  PERFORM probectl_internal.require('directory.write');
  INSERT INTO probectl.user_group (group_id, name) VALUES (made, group_create.name);
  RETURN made;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is a group of this name', DETAIL = 'field: name';
END
$$;
COMMENT ON FUNCTION probectl.group_create(text) IS 'makes a group of users of the bound tenant';

CREATE OR REPLACE FUNCTION probectl.group_set_member(group_id uuid, user_id uuid, member boolean) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  IF member THEN
    INSERT INTO probectl.group_member (group_id, user_id) VALUES (group_set_member.group_id, group_set_member.user_id) ON CONFLICT DO NOTHING;
  ELSE
    DELETE FROM probectl.group_member m WHERE m.tenant_id = probectl.current_tenant()
       AND m.group_id = group_set_member.group_id AND m.user_id = group_set_member.user_id;
  END IF;
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such group or user';
END
$$;
COMMENT ON FUNCTION probectl.group_set_member(uuid, uuid, boolean) IS 'puts a user into a group, or takes him out';

CREATE OR REPLACE FUNCTION probectl.role_set(slug text, permissions text[]) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  unknown text;
  made uuid;
BEGIN
  PERFORM probectl_internal.require('directory.write');
  SELECT u INTO unknown FROM unnest(permissions) u WHERE NOT EXISTS (SELECT FROM probectl.permission p WHERE p.permission = u) LIMIT 1;
  IF unknown IS NOT NULL THEN
    PERFORM probectl_internal.invalid('permissions', format('there is no permission "%s"', left(unknown, 64)));
  END IF;
  PERFORM probectl_internal.require_all(permissions);
  INSERT INTO probectl.role AS r (slug, permissions) VALUES (role_set.slug, role_set.permissions)
    ON CONFLICT ON CONSTRAINT role_tenant_id_slug_key DO UPDATE SET permissions = excluded.permissions RETURNING r.role_id INTO made;
  RETURN made;
EXCEPTION
  WHEN check_violation THEN
    PERFORM probectl_internal.invalid('slug', 'a role is called by lower-case letters, digits and hyphens');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl.role_set(text, text[]) IS 'makes or changes a role of the bound tenant; nobody gives what he does not hold';

CREATE OR REPLACE FUNCTION probectl_internal.require_all(permissions text[]) RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing text := (SELECT u FROM unnest(permissions) u WHERE NOT probectl_internal.may(u, NULL) LIMIT 1);
BEGIN
  IF missing IS NOT NULL THEN
    PERFORM probectl_internal.audit_denied('permission', missing, 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = format('the permission %s cannot be given by one who does not hold it', missing);
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.require_all(text[]) IS 'raises PC403 unless the principal holds every one of them in the tenant';

CREATE OR REPLACE FUNCTION probectl.role_bind(role text, user_id uuid, service_account_id uuid, group_id uuid, organization_id uuid, team_id uuid, project_id uuid) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  chosen record;
  made uuid := probectl.uuid_v7();
BEGIN
  PERFORM probectl_internal.require('directory.write');
  SELECT r.role_id, r.permissions INTO chosen FROM probectl.role r WHERE r.tenant_id = probectl.current_tenant() AND r.slug = role_bind.role;
  IF chosen.role_id IS NULL THEN
    PERFORM probectl_internal.invalid('role', format('there is no role "%s"', left(role_bind.role, 64)));
  END IF;
  PERFORM probectl_internal.require_all(chosen.permissions);
  INSERT INTO probectl.role_binding (binding_id, role_id, user_id, service_account_id, group_id, organization_id, team_id, project_id)
    VALUES (made, chosen.role_id, role_bind.user_id, role_bind.service_account_id, role_bind.group_id, role_bind.organization_id, role_bind.team_id, role_bind.project_id)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    SELECT b.binding_id INTO made FROM probectl.role_binding b
     WHERE b.tenant_id = probectl.current_tenant() AND b.role_id = chosen.role_id
       AND (b.user_id, b.service_account_id, b.group_id, b.organization_id, b.team_id, b.project_id) IS NOT DISTINCT FROM
           (role_bind.user_id, role_bind.service_account_id, role_bind.group_id, role_bind.organization_id, role_bind.team_id, role_bind.project_id);
  END IF;
  RETURN made;
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such user, service account, group, organization, team or project';
  WHEN check_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'a binding has one subject and at most one scope', DETAIL = 'field: subject';
END
$$;
COMMENT ON FUNCTION probectl.role_bind(text, uuid, uuid, uuid, uuid, uuid, uuid) IS 'gives a role to one user, service account or group, in the tenant or below one organization, team or project: the binding';

CREATE OR REPLACE FUNCTION probectl.role_unbind(binding_id uuid) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  DELETE FROM probectl.role_binding b WHERE b.tenant_id = probectl.current_tenant() AND b.binding_id = role_unbind.binding_id;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION probectl.role_unbind(uuid) IS 'takes a role back; acts with the next request';

-- Attribute policies. An error while one is asked denies.
CREATE OR REPLACE FUNCTION probectl_internal.attributes_match(wanted jsonb, actual jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(w.value) = 'array' THEN w.value @> coalesce(actual -> w.key, 'null') AND actual ? w.key
                                ELSE actual -> w.key = w.value AND actual ? w.key END), true)
    FROM jsonb_each(wanted) w
$$;
COMMENT ON FUNCTION probectl_internal.attributes_match(jsonb, jsonb) IS 'whether every wanted attribute is there with the value, or with one of the values';

CREATE OR REPLACE FUNCTION probectl_internal.principal_attributes() RETURNS jsonb
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT u.attributes FROM probectl.tenant_user u WHERE u.tenant_id = probectl.current_tenant() AND u.user_id = probectl_internal.principal_id()),
                  (SELECT a.attributes FROM probectl.service_account a WHERE a.tenant_id = probectl.current_tenant() AND a.service_account_id = probectl_internal.principal_id()),
                  '{}'::jsonb)
         || jsonb_build_object('principal', split_part(probectl.current_principal(), ':', 1))
$$;
COMMENT ON FUNCTION probectl_internal.principal_attributes() IS 'attributes of the caller';

CREATE OR REPLACE FUNCTION probectl_internal.policy_winner(wanted text, subject jsonb, resource jsonb) RETURNS probectl.access_policy
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT y FROM probectl.access_policy y
   WHERE y.tenant_id = probectl.current_tenant() AND y.enabled AND y.permission IN (wanted, '*')
     AND probectl_internal.attributes_match(y.subject, policy_winner.subject) AND probectl_internal.attributes_match(y.resource, policy_winner.resource)
   ORDER BY y.priority DESC, y.effect = 'deny' DESC, y.policy_id LIMIT 1
$$;
COMMENT ON FUNCTION probectl_internal.policy_winner(text, jsonb, jsonb) IS 'the policy that decides: highest priority, deny first; NULL when none matches';

CREATE OR REPLACE FUNCTION probectl_internal.policy_denies(wanted text, resource jsonb) RETURNS boolean
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  winner probectl.access_policy;
BEGIN
  IF NOT probectl_internal.principal_policies() THEN
    RETURN false;
  END IF;
  winner := probectl_internal.policy_winner(wanted, probectl_internal.principal_attributes(), resource);
  RETURN coalesce(winner.effect = 'deny', false);
EXCEPTION
  WHEN OTHERS THEN
    RETURN true;
END
$$;
COMMENT ON FUNCTION probectl_internal.policy_denies(text, jsonb) IS 'whether an attribute policy forbids the caller; an error forbids';

CREATE OR REPLACE FUNCTION probectl_internal.may_on(wanted text, project uuid, resource jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT probectl_internal.may(wanted, project) AND NOT probectl_internal.policy_denies(wanted, resource || jsonb_build_object('project_id', project)) $$;
COMMENT ON FUNCTION probectl_internal.may_on(text, uuid, jsonb) IS 'whether the caller may do something to a thing of a project: roles first, then policies';

CREATE OR REPLACE FUNCTION probectl.access_explain(user_id uuid, permission text, project_id uuid DEFAULT NULL, resource jsonb DEFAULT '{}', OUT step integer, OUT verdict text, OUT because text)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  somebody probectl.tenant_user;
  binding record;
  winner probectl.access_policy;
  granted boolean := false;
BEGIN
  PERFORM probectl_internal.require('directory.read');
  step := 1;
  SELECT * INTO somebody FROM probectl.tenant_user u WHERE u.tenant_id = probectl.current_tenant() AND u.user_id = access_explain.user_id;
  IF somebody.user_id IS NULL OR somebody.status <> 'active' THEN
    verdict := 'denied';
    because := CASE WHEN somebody.user_id IS NULL THEN 'there is no such user' ELSE 'the user is ' || somebody.status END;
    RETURN NEXT;
    RETURN;
  END IF;
  FOR binding IN
    SELECT r.slug, CASE WHEN b.user_id IS NOT NULL THEN 'the user' ELSE 'the group ' || g.name END AS holder,
           CASE WHEN b.organization_id IS NOT NULL THEN 'organization ' || o.slug WHEN b.team_id IS NOT NULL THEN 'team ' || e.slug
                WHEN b.project_id IS NOT NULL THEN 'project ' || j.slug ELSE 'the tenant' END AS place,
           num_nonnulls(b.organization_id, b.team_id, b.project_id) = 0
             OR EXISTS (SELECT FROM probectl.project p JOIN probectl.team t ON t.tenant_id = p.tenant_id AND t.team_id = p.team_id
                         WHERE p.tenant_id = b.tenant_id AND p.project_id = access_explain.project_id
                           AND (p.project_id = b.project_id OR p.team_id = b.team_id OR t.organization_id = b.organization_id)) AS covers
      FROM probectl.role_binding b
      JOIN probectl.role r ON r.tenant_id = b.tenant_id AND r.role_id = b.role_id
      LEFT JOIN probectl.user_group g ON g.tenant_id = b.tenant_id AND g.group_id = b.group_id
      LEFT JOIN probectl.organization o ON o.tenant_id = b.tenant_id AND o.organization_id = b.organization_id
      LEFT JOIN probectl.team e ON e.tenant_id = b.tenant_id AND e.team_id = b.team_id
      LEFT JOIN probectl.project j ON j.tenant_id = b.tenant_id AND j.project_id = b.project_id
     WHERE b.tenant_id = probectl.current_tenant() AND access_explain.permission = ANY (r.permissions)
       AND (b.user_id = access_explain.user_id OR b.group_id IN (SELECT m.group_id FROM probectl.group_member m
             WHERE m.tenant_id = probectl.current_tenant() AND m.user_id = access_explain.user_id))
     ORDER BY r.slug
  LOOP
    granted := granted OR binding.covers;
    verdict := CASE WHEN binding.covers THEN 'granted' ELSE 'not here' END;
    because := format('%s holds the role %s in %s', binding.holder, binding.slug, binding.place);
    RETURN NEXT;
    step := step + 1;
  END LOOP;
  IF NOT granted THEN
    verdict := 'denied';
    because := 'no role grants it here';
    RETURN NEXT;
    RETURN;
  END IF;
  winner := probectl_internal.policy_winner(access_explain.permission, somebody.attributes || '{"principal": "user"}',
                                            access_explain.resource || jsonb_build_object('project_id', access_explain.project_id));
  verdict := CASE WHEN winner.effect = 'deny' THEN 'denied' ELSE 'allowed' END;
  because := CASE WHEN winner.policy_id IS NULL THEN 'no policy says otherwise' ELSE format('the policy "%s" of priority %s says %s', winner.name, winner.priority, winner.effect) END;
  RETURN NEXT;
EXCEPTION
  WHEN invalid_parameter_value OR data_exception THEN
    verdict := 'denied';
    because := 'a policy could not be asked, and an error denies';
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION probectl.access_explain(uuid, text, uuid, jsonb) IS 'why a user may or may not do something, step by step; the last row is the decision';

CREATE OR REPLACE FUNCTION probectl.access_policy_set(name text, effect text, permission text, subject jsonb, resource jsonb, priority integer, enabled boolean) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made uuid;
BEGIN
  PERFORM probectl_internal.require('directory.write');
  IF permission <> '*' AND NOT EXISTS (SELECT FROM probectl.permission p WHERE p.permission = access_policy_set.permission) THEN
    PERFORM probectl_internal.invalid('permission', 'there is no such permission');
  END IF;
  INSERT INTO probectl.access_policy AS y (name, effect, permission, subject, resource, priority, enabled)
    VALUES (access_policy_set.name, access_policy_set.effect, access_policy_set.permission, access_policy_set.subject, access_policy_set.resource,
            access_policy_set.priority, access_policy_set.enabled)
    ON CONFLICT ON CONSTRAINT access_policy_tenant_id_name_key DO UPDATE SET effect = excluded.effect, permission = excluded.permission, subject = excluded.subject,
      resource = excluded.resource, priority = excluded.priority, enabled = excluded.enabled
    RETURNING y.policy_id INTO made;
  RETURN made;
EXCEPTION
  WHEN check_violation OR not_null_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'a policy has a name, allows or denies, and compares objects of attributes', DETAIL = 'field: policy';
END
$$;
COMMENT ON FUNCTION probectl.access_policy_set(text, text, text, jsonb, jsonb, integer, boolean) IS 'makes or changes an attribute policy of the bound tenant';

-- Links, tokens, sessions.
CREATE OR REPLACE FUNCTION probectl.signin_link_create(user_id uuid, ttl interval DEFAULT '15 minutes') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('signin', '', signin_link_create.user_id, NULL, NULL, NULL, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.signin_link_create(uuid, interval) IS 'code of a one-time sign-in link (pcl_) for a user of the bound tenant';

CREATE OR REPLACE FUNCTION probectl.api_token_create(name text, user_id uuid, ttl interval DEFAULT '90 days', scopes text[] DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('token', api_token_create.name, api_token_create.user_id, NULL, NULL, api_token_create.scopes, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.api_token_create(text, uuid, interval, text[]) IS 'an API token (pct_) with the rights of a user of the bound tenant, or those of them that scopes names';

CREATE OR REPLACE FUNCTION probectl.service_token_create(name text, service_account_id uuid, ttl interval DEFAULT '90 days', scopes text[] DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('token', service_token_create.name, NULL, service_token_create.service_account_id, NULL, service_token_create.scopes, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.service_token_create(text, uuid, interval, text[]) IS 'an API token (pct_) with the rights of a service account of the bound tenant, or those of them that scopes names';

CREATE OR REPLACE FUNCTION probectl.api_token_rotate(credential_id uuid, ttl interval DEFAULT '90 days', overlap interval DEFAULT '1 hour') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  old probectl.credential;
BEGIN
  PERFORM probectl_internal.require('directory.write');
  SELECT * INTO old FROM probectl.credential c
   WHERE c.tenant_id = probectl.current_tenant() AND c.credential_id = api_token_rotate.credential_id AND c.kind = 'token'
     AND c.revoked_at IS NULL AND c.expires_at > probectl.clock_now() FOR UPDATE;
  IF old.credential_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such token';
  END IF;
  IF overlap < interval '0' OR overlap > interval '30 days' THEN
    PERFORM probectl_internal.invalid('overlap', 'an overlap is at most 30 days');
  END IF;
  UPDATE probectl.credential c SET expires_at = least(c.expires_at, probectl.clock_now() + overlap)
   WHERE c.tenant_id = old.tenant_id AND c.credential_id = old.credential_id;
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('token', old.name, old.user_id, old.service_account_id, NULL, old.scopes, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.api_token_rotate(uuid, interval, interval) IS 'a new token in place of an old one, which lives on for the overlap';

CREATE OR REPLACE FUNCTION probectl.session_list(OUT credential_id uuid, OUT user_id uuid, OUT client text, OUT created_at timestamptz, OUT last_used_at timestamptz, OUT expires_at timestamptz, OUT current boolean)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- One's own always; everybody's with the permission.
  RETURN QUERY SELECT c.credential_id, c.user_id, c.name, c.created_at, coalesce(c.used_at, c.created_at), c.expires_at,
                      c.credential_id IS NOT DISTINCT FROM probectl_internal.credential_id()
                 FROM probectl.credential c
                WHERE c.tenant_id = probectl.current_tenant() AND c.kind = 'session' AND c.revoked_at IS NULL AND c.expires_at > probectl.clock_now()
                  AND (c.user_id = probectl_internal.principal_id() OR probectl_internal.may('directory.read', NULL)) ORDER BY c.created_at;
END
$$;
COMMENT ON FUNCTION probectl.session_list() IS 'live sessions: the caller''s own, or with directory.read those of the tenant';

CREATE OR REPLACE FUNCTION probectl.api_token_list(OUT credential_id uuid, OUT name text, OUT hint text, OUT user_id uuid, OUT service_account_id uuid, OUT scopes text[], OUT created_at timestamptz, OUT expires_at timestamptz, OUT used_at timestamptz, OUT revoked_at timestamptz)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.read');
  RETURN QUERY SELECT c.credential_id, c.name, c.hint, c.user_id, c.service_account_id, c.scopes, c.created_at, c.expires_at, c.used_at, c.revoked_at
                 FROM probectl.credential c WHERE c.tenant_id = probectl.current_tenant() AND c.kind = 'token' ORDER BY c.created_at;
END
$$;
COMMENT ON FUNCTION probectl.api_token_list() IS 'API tokens of the bound tenant, without their secrets';

CREATE OR REPLACE FUNCTION probectl.credential_revoke(credential_id uuid) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM probectl.credential c WHERE c.tenant_id = probectl.current_tenant() AND c.credential_id = credential_revoke.credential_id
                    AND c.kind = 'session' AND c.user_id = probectl_internal.principal_id()) THEN
    PERFORM probectl_internal.require('directory.write');
  END IF;
  UPDATE probectl.credential c SET revoked_at = probectl.clock_now()
   WHERE c.tenant_id = probectl.current_tenant() AND c.credential_id = credential_revoke.credential_id AND c.revoked_at IS NULL;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION probectl.credential_revoke(uuid) IS 'ends a session, token or link of the bound tenant at once; false when there is none that lives';

CREATE OR REPLACE FUNCTION probectl.join_token_create(ttl interval DEFAULT '1 hour', agent_id uuid DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('agent.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('join', '', NULL, NULL, join_token_create.agent_id, NULL, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.join_token_create(interval, uuid) IS 'a token (pjt_) that enrols one agent into the bound tenant, or gives a known agent a new certificate';

CREATE OR REPLACE FUNCTION probectl.signin_redeem(code text, user_agent text, OUT session text, OUT expires_at timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  given bytea := probectl_internal.credential_bind(code, 'signin', 'invite');
  link record;
  lifetime interval := current_setting('probectl.session_lifetime')::interval;
BEGIN
  UPDATE probectl.credential c SET used_at = probectl.clock_now()
    FROM probectl.tenant_user u, probectl.tenant t
   WHERE c.tenant_id = probectl.current_tenant() AND c.hash = given AND c.kind IN ('signin', 'invite') AND c.used_at IS NULL
     AND c.revoked_at IS NULL AND c.expires_at > probectl.clock_now()
     AND u.tenant_id = c.tenant_id AND u.user_id = c.user_id
     AND u.status = CASE WHEN c.kind = 'invite' THEN 'invited' ELSE 'active' END
     AND t.tenant_id = c.tenant_id AND t.status = 'active'
  RETURNING c.user_id, c.kind INTO link;
  IF link.user_id IS NULL THEN
    PERFORM probectl_internal.audit_denied('credential.enter', 'signin', 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the sign-in link is unknown, used or expired', HINT = 'Ask for a new one.';
  END IF;
  IF link.kind = 'invite' THEN
    UPDATE probectl.tenant_user u SET status = 'active' WHERE u.tenant_id = probectl.current_tenant() AND u.user_id = link.user_id;
  END IF;
  SELECT c.secret, c.expires_at INTO session, signin_redeem.expires_at
    FROM probectl_internal.credential_create('session', left(user_agent, 200), link.user_id, NULL, NULL, NULL, lifetime) c;
END
$$;
COMMENT ON FUNCTION probectl.signin_redeem(text, text) IS 'trades the code of a one-time link or an invitation for a session (pcs_); PC401 when it is unknown, used or expired';

CREATE OR REPLACE FUNCTION probectl.session_end() RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE probectl.credential c SET revoked_at = probectl.clock_now()
   WHERE c.tenant_id = probectl.current_tenant() AND c.credential_id = probectl_internal.credential_id()
     AND c.kind = 'session' AND c.revoked_at IS NULL;
END
$$;
COMMENT ON FUNCTION probectl.session_end() IS 'ends the session this transaction was entered with';

-- The agent CA.
CREATE OR REPLACE FUNCTION probectl_internal.ca_make(issuer text, issuer_key bytea, OUT certificate text, OUT sealed_key bytea, OUT not_before timestamptz, OUT not_after timestamptz)
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_ca_make';
COMMENT ON FUNCTION probectl_internal.ca_make(text, bytea) IS 'a new root, or an intermediate under an issuer, its key sealed';

CREATE OR REPLACE FUNCTION probectl_internal.ca_sign(csr text, kind text, names text[], issuer text, issuer_key bytea, OUT certificate text, OUT serial text, OUT not_before timestamptz, OUT not_after timestamptz)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ca_sign';
COMMENT ON FUNCTION probectl_internal.ca_sign(text, text, text[], text, bytea) IS 'signs the key of a request for an agent (URI names) or a server (DNS and IP names)';

CREATE OR REPLACE FUNCTION probectl_internal.csr_key(csr text) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'pctl_csr_key';
COMMENT ON FUNCTION probectl_internal.csr_key(text) IS 'SubjectPublicKeyInfo (DER) of a request; PC422 when the request is not one';

CREATE OR REPLACE FUNCTION probectl.ca_init() RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  root record;
BEGIN
  LOCK TABLE probectl_internal.certificate_authority IN EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM probectl_internal.certificate_authority WHERE kind = 'root') THEN
    SELECT * INTO root FROM probectl_internal.ca_make(NULL, NULL);
    INSERT INTO probectl_internal.certificate_authority
      VALUES ('root', 1, root.certificate, root.sealed_key, root.not_before, root.not_after);
    INSERT INTO probectl_internal.certificate_authority
      SELECT 'intermediate', 1, m.* FROM probectl_internal.ca_make(root.certificate, root.sealed_key) m;
    PERFORM probectl_internal.provider_audit_append('ca.create', 'root', 'ok', '{"generation": 1}');
  END IF;
  RETURN probectl.ca_root();
END
$$;
COMMENT ON FUNCTION probectl.ca_init() IS 'makes the root and the intermediate of the agent CA unless they are there; the root certificate (PEM)';

CREATE OR REPLACE FUNCTION probectl.ca_root() RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT certificate FROM probectl_internal.certificate_authority WHERE kind = 'root' ORDER BY generation DESC LIMIT 1
$$;
COMMENT ON FUNCTION probectl.ca_root() IS 'root certificate (PEM): what a client trusts; NULL before ca_init()';

CREATE OR REPLACE FUNCTION probectl.ca_bundle() RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT string_agg(certificate, '' ORDER BY kind DESC, generation) FROM probectl_internal.certificate_authority
   WHERE not_after > probectl.clock_now()
$$;
COMMENT ON FUNCTION probectl.ca_bundle() IS 'every valid root and intermediate (PEM): what a server verifies agents with';

CREATE OR REPLACE FUNCTION probectl_internal.ca_issue(csr text, kind text, names text[], OUT certificate text, OUT serial text, OUT not_before timestamptz, OUT not_after timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  issuer record;
BEGIN
  SELECT a.certificate, a.sealed_key INTO issuer FROM probectl_internal.certificate_authority a
   WHERE a.kind = 'intermediate' ORDER BY a.generation DESC LIMIT 1;
  IF issuer IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = 'there is no certificate authority yet',
      HINT = 'Run SELECT probectl.ca_init().';
  END IF;
  SELECT s.certificate || issuer.certificate, s.serial, s.not_before, s.not_after
    INTO ca_issue.certificate, ca_issue.serial, ca_issue.not_before, ca_issue.not_after
    FROM probectl_internal.ca_sign(csr, ca_issue.kind, names, issuer.certificate, issuer.sealed_key) s;
END
$$;
COMMENT ON FUNCTION probectl_internal.ca_issue(text, text, text[]) IS 'certificate chain (PEM, leaf first) for the key of a request';

-- The key that signs tests. A month before its end, and after each ca_rotate(), the next one takes over.
CREATE OR REPLACE FUNCTION probectl_internal.ca_sign_tests(public_key bytea, issuer text, issuer_key bytea, OUT certificate text, OUT not_after timestamptz)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ca_sign_tests';
COMMENT ON FUNCTION probectl_internal.ca_sign_tests(bytea, text, bytea) IS 'certifies an Ed25519 key as the one that signs tests, for 90 days';

CREATE OR REPLACE FUNCTION probectl_internal.tests_key_ensure() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  good integer;
BEGIN
  FOR attempt IN 1..2 LOOP
    SELECT k.generation INTO good FROM probectl_internal.tests_key k
     WHERE k.generation = (SELECT max(m.generation) FROM probectl_internal.tests_key m)
       AND k.issuer = (SELECT max(a.generation) FROM probectl_internal.certificate_authority a WHERE a.kind = 'intermediate')
       AND k.not_after > probectl.clock_now() + interval '30 days';
    EXIT WHEN good IS NOT NULL OR attempt = 2;
    LOCK TABLE probectl_internal.tests_key IN EXCLUSIVE MODE;
  END LOOP;
  IF good IS NULL THEN
    INSERT INTO probectl_internal.tests_key AS k
      SELECT coalesce((SELECT max(m.generation) FROM probectl_internal.tests_key m), 0) + 1, a.generation,
             s.certificate || a.certificate, made.sealed_seed, s.not_after
        FROM probectl_internal.certificate_authority a, probectl_internal.signing_key_make() made,
             LATERAL probectl_internal.ca_sign_tests(made.public_key, a.certificate, a.sealed_key) s
       WHERE a.kind = 'intermediate' ORDER BY a.generation DESC LIMIT 1
      RETURNING k.generation INTO good;
    IF good IS NOT NULL THEN
      PERFORM probectl_internal.provider_audit_append('ca.issue_tests', good::text, 'ok', '{}');
    END IF;
  END IF;
  RETURN good;
END
$$;
COMMENT ON FUNCTION probectl_internal.tests_key_ensure() IS 'generation of the key that signs tests, made when there is none that will do; NULL before ca_init()';

CREATE OR REPLACE FUNCTION probectl_internal.tests_sign(bundle bytea, OUT signature bytea, OUT signer text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  newest integer := probectl_internal.tests_key_ensure();
BEGIN
  SELECT probectl_internal.sign_with(k.sealed_seed, convert_to(E'probectl.tests.v1\n', 'UTF8') || bundle), k.certificate
    INTO signature, signer FROM probectl_internal.tests_key k WHERE k.generation = newest;
END
$$;
COMMENT ON FUNCTION probectl_internal.tests_sign(bytea) IS 'signature over a TestBundle, and the chain (PEM, leaf first) of the key that made it';

CREATE OR REPLACE FUNCTION probectl.ca_issue_server(csr text, names text[]) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  issued record;
BEGIN
  IF coalesce(cardinality(names), 0) = 0 OR (SELECT bool_or(n IS NULL OR n !~ '^[A-Za-z0-9*_.:-]{1,253}$') FROM unnest(names) n) THEN
    PERFORM probectl_internal.invalid('names', 'a server certificate needs at least one name, each a DNS name or an address');
  END IF;
  SELECT * INTO issued FROM probectl_internal.ca_issue(csr, 'server', names);
  PERFORM probectl_internal.provider_audit_append('ca.issue_server', issued.serial, 'ok',
                                                  json_build_object('names', names, 'not_after', issued.not_after));
  RETURN issued.certificate;
END
$$;
COMMENT ON FUNCTION probectl.ca_issue_server(text, text[]) IS 'server certificate chain (PEM, leaf first) for DNS names and addresses, valid 90 days';

-- Enrolment: the request is checked before the token is spent; the key that spent it may ask again.
CREATE OR REPLACE FUNCTION probectl.agent_enroll(token text, csr text, hostname text, version text, OUT tenant_id uuid, OUT agent_id uuid, OUT spiffe_id text, OUT certificate text, OUT ca_bundle text, OUT serial text, OUT not_after timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  public_key bytea := probectl_internal.csr_key(csr);
  key bytea := sha256(public_key);
  given bytea := probectl_internal.credential_bind(token, 'join', 'join');
  ticket record;
  issued record;
BEGIN
  tenant_id := probectl.current_tenant();
  SELECT c.credential_id, c.agent_id, c.used_by_key INTO ticket
    FROM probectl.credential c JOIN probectl.tenant t ON t.tenant_id = c.tenant_id
   WHERE c.tenant_id = agent_enroll.tenant_id AND c.hash = given AND c.kind = 'join' AND c.revoked_at IS NULL
     AND c.expires_at > probectl.clock_now() AND t.status = 'active'
     AND (c.used_by_key IS NULL OR c.used_by_key = key)
     FOR UPDATE OF c;
  IF ticket.credential_id IS NULL THEN
    PERFORM probectl_internal.audit_denied('credential.enter', 'join', 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the join token is unknown, used or expired', HINT = 'Ask for a new one.';
  END IF;
  IF ticket.agent_id IS NULL THEN
    INSERT INTO probectl.agent (name, hostname, version)
      VALUES (coalesce(nullif(left(agent_enroll.hostname, 200), ''), 'agent'), left(agent_enroll.hostname, 255), left(agent_enroll.version, 64))
      RETURNING agent.agent_id INTO agent_enroll.agent_id;
  ELSE
    SELECT a.agent_id INTO agent_enroll.agent_id FROM probectl.agent a
     WHERE a.tenant_id = agent_enroll.tenant_id AND a.agent_id = ticket.agent_id AND a.revoked_at IS NULL;
    IF agent_enroll.agent_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the agent of this token is revoked';
    END IF;
  END IF;
  UPDATE probectl.credential c SET used_at = probectl.clock_now(), used_by_key = key, agent_id = agent_enroll.agent_id
   WHERE c.tenant_id = agent_enroll.tenant_id AND c.credential_id = ticket.credential_id;
  spiffe_id := format('spiffe://probectl/tenant/%s/agent/%s', agent_enroll.tenant_id, agent_enroll.agent_id);
  SELECT * INTO issued FROM probectl_internal.ca_issue(csr, 'agent', ARRAY[spiffe_id]);
  INSERT INTO probectl.agent_certificate (serial, agent_id, public_key, not_before, not_after)
    VALUES (issued.serial, agent_enroll.agent_id, public_key, issued.not_before, issued.not_after);
  certificate := issued.certificate;
  ca_bundle := probectl.ca_bundle();
  serial := issued.serial;
  not_after := issued.not_after;
END
$$;
COMMENT ON FUNCTION probectl.agent_enroll(text, text, text, text) IS 'spends a join token: an agent and its certificate chain; the same key may ask again with the same token; PC401 for the token, PC422 for the request';

-- Rotation: over the agent's own link, so the old key proved itself in the handshake; the signature over a fresh challenge
-- shows that it is there now and means this new key.
CREATE OR REPLACE FUNCTION probectl_internal.signed_by(public_key bytea, data text, signature bytea) RETURNS boolean
  LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'pctl_signed_by';
COMMENT ON FUNCTION probectl_internal.signed_by(bytea, text, bytea) IS 'whether a text was signed by the key of a SubjectPublicKeyInfo';
CREATE OR REPLACE FUNCTION probectl_internal.challenge_make(subject text) RETURNS text
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_challenge_make';
COMMENT ON FUNCTION probectl_internal.challenge_make(text) IS 'a challenge for a subject, good for a minute; nothing is stored';
CREATE OR REPLACE FUNCTION probectl_internal.challenge_fresh(subject text, challenge text) RETURNS boolean
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_challenge_fresh';
COMMENT ON FUNCTION probectl_internal.challenge_fresh(text, text) IS 'whether a challenge is ours, for the subject, and under a minute old';

CREATE OR REPLACE FUNCTION probectl.agent_rotate_start(serial text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN probectl_internal.challenge_make(probectl_internal.agent_required() || '/' || serial);
END
$$;
COMMENT ON FUNCTION probectl.agent_rotate_start(text) IS 'a challenge for the entered agent, whose certificate has the serial';

CREATE OR REPLACE FUNCTION probectl.agent_rotate(serial text, csr text, challenge text, proof bytea, OUT certificate text, OUT ca_bundle text, OUT new_serial text, OUT not_after timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.agent_required();
  tenant uuid := probectl.current_tenant();
  new_key bytea := probectl_internal.csr_key(csr);
  old_key bytea;
  issued record;
BEGIN
  SELECT c.public_key INTO old_key FROM probectl.agent_certificate c
   WHERE c.tenant_id = tenant AND c.serial = agent_rotate.serial AND c.agent_id = me AND c.revoked_at IS NULL AND c.not_after > probectl.clock_now();
  IF old_key IS NULL OR NOT probectl_internal.challenge_fresh(me || '/' || serial, challenge)
     OR NOT probectl_internal.signed_by(old_key, concat(E'probectl.rotate.v1\n', challenge, E'\n', encode(sha256(new_key), 'hex'), E'\n'), proof) THEN
    PERFORM probectl_internal.audit_denied('agent.rotate', me::text, 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the proof does not fit the certificate in use, or the challenge is old', HINT = 'Ask for a new challenge.';
  END IF;
  IF new_key = old_key THEN
    PERFORM probectl_internal.invalid('csr_pem', 'a new certificate takes a new key');
  END IF;
  SELECT * INTO issued FROM probectl_internal.ca_issue(csr, 'agent', ARRAY[format('spiffe://probectl/tenant/%s/agent/%s', tenant, me)]);
  INSERT INTO probectl.agent_certificate (serial, agent_id, public_key, not_before, not_after)
    VALUES (issued.serial, me, new_key, issued.not_before, issued.not_after);
  certificate := issued.certificate;
  ca_bundle := probectl.ca_bundle();
  new_serial := issued.serial;
  not_after := issued.not_after;
END
$$;
COMMENT ON FUNCTION probectl.agent_rotate(text, text, text, bytea) IS 'a new certificate for the entered agent''s new key, asked for with the old one; the old certificate lives to its end; PC401 for the proof, PC422 for the request';

-- What an agent says of itself, in its own context.
CREATE OR REPLACE FUNCTION probectl_internal.agent_required() RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF probectl.current_principal() LIKE 'agent:%' THEN
    RETURN probectl_internal.principal_id();
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'only an agent''s transaction may do this';
END
$$;
COMMENT ON FUNCTION probectl_internal.agent_required() IS 'the agent this transaction was entered as; PC401 when it was not';

CREATE OR REPLACE FUNCTION probectl.agent_register(hostname text, version text, capabilities text[], labels jsonb, OUT config_epoch bigint, OUT heartbeat_interval integer, OUT stream_epoch bigint, OUT committed_seq bigint)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.agent_required();
BEGIN
  labels := coalesce(labels, '{}');
  capabilities := coalesce(capabilities, '{}');
  IF jsonb_typeof(labels) <> 'object' OR octet_length(labels::text) > 16384 OR cardinality(capabilities) > 64
     OR octet_length(capabilities::text) > 4096 THEN
    PERFORM probectl_internal.invalid('labels', 'labels must be an object of at most 16 kB, capabilities at most 64 short words');
  END IF;
  UPDATE probectl.agent a
     SET hostname = coalesce(left(agent_register.hostname, 255), ''), version = coalesce(left(agent_register.version, 64), ''),
         capabilities = agent_register.capabilities, labels = agent_register.labels
   WHERE a.tenant_id = probectl.current_tenant() AND a.agent_id = me
     AND (a.hostname, a.version, a.capabilities, a.labels)
         IS DISTINCT FROM (coalesce(left(agent_register.hostname, 255), ''), coalesce(left(agent_register.version, 64), ''),
                           agent_register.capabilities, agent_register.labels);
  INSERT INTO probectl.agent_state AS s (agent_id, last_seen_at) VALUES (me, probectl.clock_now())
    ON CONFLICT (tenant_id, agent_id) DO UPDATE SET last_seen_at = excluded.last_seen_at;
  SELECT r.test_revision INTO config_epoch FROM probectl.tenant_revision r WHERE r.tenant_id = probectl.current_tenant();
  SELECT p.epoch, p.committed_seq INTO stream_epoch, agent_register.committed_seq FROM probectl.stream_position p
   WHERE p.tenant_id = probectl.current_tenant() AND p.agent_id = me AND p.plane = 'network';
  stream_epoch := coalesce(stream_epoch, 0);
  committed_seq := coalesce(committed_seq, 0);
  heartbeat_interval := 30;
  PERFORM pg_notify('probectl_event', probectl.current_tenant() || ' agent');
END
$$;
COMMENT ON FUNCTION probectl.agent_register(text, text, text[], jsonb) IS 'an agent says hello: revision of its tests, seconds between heartbeats, and what is committed of its network stream';

CREATE OR REPLACE FUNCTION probectl.agent_heartbeat(status jsonb, OUT config_stale boolean, OUT heartbeat_interval integer)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.agent_required();
  oldest numeric := (status ->> 'oldest_unix_nano')::numeric;
BEGIN
  INSERT INTO probectl.agent_state AS s (agent_id, last_seen_at, config_epoch, spool_records, spool_bytes, oldest_unsent_at, dropped, clock_skew_ms,
                                         tests_problem, tests_refused, ticks_skipped, runs_disturbed)
    VALUES (me, probectl.clock_now(), coalesce((status ->> 'config_epoch')::bigint, 0),
            coalesce((status ->> 'spool_records')::bigint, 0), coalesce((status ->> 'spool_bytes')::bigint, 0),
            CASE WHEN oldest > 0 THEN to_timestamp((oldest / 1000000000)::double precision) END,
            CASE WHEN jsonb_typeof(status -> 'dropped') = 'object' AND octet_length((status -> 'dropped')::text) < 4096 THEN status -> 'dropped' ELSE '{}' END,
            coalesce((status ->> 'clock_skew_nano')::double precision, 0) / 1000000,
            coalesce(left(status ->> 'tests_problem', 256), ''), coalesce((status ->> 'tests_refused')::bigint, 0),
            coalesce((status ->> 'ticks_skipped')::bigint, 0), coalesce((status ->> 'runs_disturbed')::bigint, 0))
    ON CONFLICT (tenant_id, agent_id) DO UPDATE
       SET last_seen_at = excluded.last_seen_at, config_epoch = excluded.config_epoch, spool_records = excluded.spool_records,
           spool_bytes = excluded.spool_bytes, oldest_unsent_at = excluded.oldest_unsent_at, dropped = excluded.dropped,
           clock_skew_ms = excluded.clock_skew_ms, tests_problem = excluded.tests_problem, tests_refused = excluded.tests_refused,
           ticks_skipped = excluded.ticks_skipped, runs_disturbed = excluded.runs_disturbed;
  SELECT r.test_revision > coalesce((status ->> 'config_epoch')::bigint, 0) INTO config_stale
    FROM probectl.tenant_revision r WHERE r.tenant_id = probectl.current_tenant();
  heartbeat_interval := 30;
  PERFORM pg_notify('probectl_event', probectl.current_tenant() || ' agent');
EXCEPTION
  WHEN data_exception THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'the heartbeat holds a number that is none', DETAIL = 'field: status';
END
$$;
COMMENT ON FUNCTION probectl.agent_heartbeat(jsonb) IS 'an agent says how it is: whether its tests are stale, and seconds to the next heartbeat';

CREATE OR REPLACE FUNCTION probectl.agent_revoke(agent_id uuid) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('agent.write');
  UPDATE probectl.agent a SET revoked_at = probectl.clock_now()
   WHERE a.tenant_id = probectl.current_tenant() AND a.agent_id = agent_revoke.agent_id AND a.revoked_at IS NULL;
  IF FOUND THEN
    PERFORM pg_notify('probectl_event', probectl.current_tenant() || ' revoked');
    RETURN true;
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION probectl.agent_revoke(uuid) IS 'ends an agent of the bound tenant: its streams are cut and its certificates refused; false when there is none that lives';
