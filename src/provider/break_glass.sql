-- provider: break-glass. One transition function moves a grant; everything else asks it.
CREATE OR REPLACE FUNCTION probectl_internal.break_glass_move(grant_id uuid, new_state text, by_whom text) RETURNS probectl.break_glass_grant
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  g probectl.break_glass_grant;
  now timestamptz := probectl.clock_now();
BEGIN
  SELECT * INTO g FROM probectl.break_glass_grant x
   WHERE x.tenant_id = probectl.current_tenant() AND x.grant_id = break_glass_move.grant_id FOR UPDATE;
  IF g.grant_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such grant';
  END IF;
  IF (g.state, new_state) NOT IN (('requested', 'active'), ('requested', 'denied'), ('requested', 'revoked'), ('requested', 'expired'),
                                  ('active', 'revoked'), ('active', 'expired')) THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = format('a grant that is %s cannot become %s', g.state, new_state);
  END IF;
  IF g.state = 'active' AND new_state = 'revoked' AND g.expires_at <= now THEN
    new_state := 'expired';
  END IF;
  UPDATE probectl.break_glass_grant x
     SET state = new_state,
         decided_at = CASE WHEN new_state IN ('active', 'denied') THEN now ELSE x.decided_at END,
         decided_by = CASE WHEN new_state IN ('active', 'denied') THEN by_whom ELSE x.decided_by END,
         expires_at = CASE WHEN new_state = 'active' THEN now + make_interval(mins => x.minutes) ELSE x.expires_at END,
         ended_at = CASE WHEN new_state IN ('denied', 'revoked', 'expired') THEN now END,
         ended_by = CASE WHEN new_state IN ('denied', 'revoked', 'expired') THEN by_whom END
   WHERE x.tenant_id = g.tenant_id AND x.grant_id = g.grant_id
  RETURNING * INTO g;
  PERFORM probectl_internal.provider_audit_append('breakglass.' || new_state, g.grant_id::text, 'ok',
    json_build_object('tenant', g.tenant_id, 'operator', g.operator_id, 'by', by_whom));
  PERFORM pg_notify('probectl_event', g.tenant_id || ' breakglass');
  RETURN g;
END
$$;
COMMENT ON FUNCTION probectl_internal.break_glass_move(uuid, text, text) IS 'the transition function of grants: requested to active, denied, revoked or expired; active to revoked or expired; PC409 otherwise';

CREATE OR REPLACE FUNCTION probectl.break_glass_request(tenant uuid, reason text, scope text[], minutes integer) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.operator_id();
  my_email text := (SELECT o.email FROM probectl_internal.provider_operator o WHERE o.operator_id = me);
  new_grant uuid := probectl.uuid_v7();
  unknown text;
BEGIN
  SELECT s INTO unknown FROM unnest(scope) s
   WHERE NOT EXISTS (SELECT FROM probectl.permission p WHERE p.permission = s AND p.permission LIKE '%.read') LIMIT 1;
  IF unknown IS NOT NULL OR cardinality(scope) = 0 THEN
    PERFORM probectl_internal.invalid('scope', format('a scope names permissions to read: "%s" is none', left(unknown, 64)));
  END IF;
  IF minutes NOT BETWEEN 1 AND 240 THEN
    PERFORM probectl_internal.invalid('minutes', 'a grant lasts 1 to 240 minutes');
  END IF;
  IF length(btrim(reason)) NOT BETWEEN 10 AND 1000 THEN
    PERFORM probectl_internal.invalid('reason', 'a reason of 10 to 1000 characters is needed');
  END IF;
  PERFORM probectl_internal.tenant_bind(tenant);
  IF NOT EXISTS (SELECT FROM probectl.tenant t WHERE t.tenant_id = tenant AND t.status IN ('active', 'suspended')) THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such tenant';
  END IF;
  INSERT INTO probectl.break_glass_grant (grant_id, operator_id, operator_email, reason, scope, minutes)
    VALUES (new_grant, me, my_email, btrim(break_glass_request.reason), break_glass_request.scope, break_glass_request.minutes);
  PERFORM probectl_internal.provider_audit_append('breakglass.request', new_grant::text, 'ok',
    json_build_object('tenant', tenant, 'operator', me, 'reason', btrim(break_glass_request.reason), 'scope', scope, 'minutes', minutes));
  PERFORM pg_notify('probectl_event', tenant || ' breakglass');
  RETURN new_grant;
END
$$;
COMMENT ON FUNCTION probectl.break_glass_request(uuid, text, text[], integer) IS 'an operator asks for a look inside a tenant: reason, permissions to read, minutes from consent (240 at most)';

CREATE OR REPLACE FUNCTION probectl.break_glass_decide(grant_id uuid, consent boolean) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('breakglass.decide');
  IF probectl.current_principal() !~ '^(user|token):' THEN
    PERFORM probectl_internal.audit_denied('breakglass.decide', grant_id::text, 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'only a person of the tenant decides on a look inside';
  END IF;
  RETURN (probectl_internal.break_glass_move(grant_id, CASE WHEN consent THEN 'active' ELSE 'denied' END, probectl.current_principal())).state;
END
$$;
COMMENT ON FUNCTION probectl.break_glass_decide(uuid, boolean) IS 'a person of the tenant with the permission consents or denies: the new state; PC409 when it was decided before';

CREATE OR REPLACE FUNCTION probectl.break_glass_revoke(grant_id uuid) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('breakglass.decide');
  RETURN (probectl_internal.break_glass_move(grant_id, 'revoked', probectl.current_principal())).state;
END
$$;
COMMENT ON FUNCTION probectl.break_glass_revoke(uuid) IS 'the tenant ends a look inside at once';

CREATE OR REPLACE FUNCTION probectl.provider_break_glass_revoke(tenant uuid, grant_id uuid) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  me uuid := probectl_internal.operator_id();
BEGIN
  PERFORM probectl_internal.tenant_bind(tenant);
  RETURN (probectl_internal.break_glass_move(provider_break_glass_revoke.grant_id, 'revoked', 'operator:' || me)).state;
END
$$;
COMMENT ON FUNCTION probectl.provider_break_glass_revoke(uuid, uuid) IS 'an operator gives a look inside back';

CREATE OR REPLACE FUNCTION probectl_internal.break_glass_expire() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  due uuid;
  ended integer := 0;
BEGIN
  FOR due IN SELECT x.grant_id FROM probectl.break_glass_grant x
              WHERE x.tenant_id = probectl.current_tenant()
                AND ((x.state = 'active' AND x.expires_at <= probectl.clock_now())
                     OR (x.state = 'requested' AND x.requested_at <= probectl.clock_now() - interval '24 hours')) FOR UPDATE SKIP LOCKED LOOP
    PERFORM probectl_internal.break_glass_move(due, 'expired', 'system:keeper');
    ended := ended + 1;
  END LOOP;
  RETURN ended;
END
$$;
COMMENT ON FUNCTION probectl_internal.break_glass_expire() IS 'ends grants of the bound tenant whose time is over, and requests a day old';

-- Every use is a record in both chains, in the transaction that looks.
CREATE OR REPLACE FUNCTION probectl_internal.break_glass_use(grant_id uuid, operator uuid, purpose text) RETURNS text[]
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  g probectl.break_glass_grant;
BEGIN
  UPDATE probectl.break_glass_grant x SET uses = x.uses + 1
   WHERE x.tenant_id = probectl.current_tenant() AND x.grant_id = break_glass_use.grant_id AND x.operator_id = operator
     AND x.state = 'active' AND x.expires_at > probectl.clock_now()
     AND EXISTS (SELECT FROM probectl.tenant t WHERE t.tenant_id = x.tenant_id AND t.status IN ('active', 'suspended'))
  RETURNING * INTO g;
  IF g.grant_id IS NULL THEN
    PERFORM probectl_internal.audit_denied('breakglass.use', grant_id::text, 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'there is no active grant of this operator';
  END IF;
  PERFORM probectl_internal.audit_append('breakglass.read', left(purpose, 200), 'ok',
    json_build_object('grant', g.grant_id, 'operator', g.operator_email, 'reason', g.reason, 'scope', g.scope));
  PERFORM probectl_internal.provider_audit_append('breakglass.read', left(purpose, 200), 'ok',
    json_build_object('grant', g.grant_id, 'tenant', g.tenant_id, 'operator', operator));
  RETURN g.scope;
END
$$;
COMMENT ON FUNCTION probectl_internal.break_glass_use(uuid, uuid, text) IS 'one look inside under an active grant, recorded in both chains: the permissions it may read with';
