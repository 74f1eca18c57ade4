-- provider: operators, what they may see of tenants, and break-glass. Every function of the provider asks who calls
-- (operator_id) and leaves a record in the provider's chain.
CREATE OR REPLACE FUNCTION probectl_internal.operator_mint(prefix text, OUT secret text, OUT hash bytea)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_operator_mint';
COMMENT ON FUNCTION probectl_internal.operator_mint(text) IS 'a new secret of an operator and its hash';
CREATE OR REPLACE FUNCTION probectl_internal.operator_secret_hash(prefix text, given text) RETURNS bytea
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_operator_secret_hash';
COMMENT ON FUNCTION probectl_internal.operator_secret_hash(text, text) IS 'hash of an operator''s secret; NULL when the text is none';
CREATE OR REPLACE FUNCTION probectl_internal.password_hash(password text) RETURNS text
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_password_hash';
COMMENT ON FUNCTION probectl_internal.password_hash(text) IS 'Argon2id, or PBKDF2 under a FIPS provider; self-describing';
CREATE OR REPLACE FUNCTION probectl_internal.password_verify(stored text, password text) RETURNS boolean
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_password_verify';
COMMENT ON FUNCTION probectl_internal.password_verify(text, text) IS 'whether a password is the stored one; takes as long when nothing is stored';
CREATE OR REPLACE FUNCTION probectl_internal.totp_make(OUT secret text, OUT sealed bytea)
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_totp_make';
COMMENT ON FUNCTION probectl_internal.totp_make() IS 'a TOTP secret (base32) and its sealed form';
CREATE OR REPLACE FUNCTION probectl_internal.totp_step(sealed bytea, code text, last_step bigint) RETURNS bigint
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_totp_step';
COMMENT ON FUNCTION probectl_internal.totp_step(bytea, text, bigint) IS 'the step a TOTP code is of, if later than the last one used; NULL otherwise';
CREATE OR REPLACE FUNCTION probectl_internal.operator_bind(id uuid, admin boolean) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_operator_bind';
COMMENT ON FUNCTION probectl_internal.operator_bind(uuid, boolean) IS 'makes this transaction an operator''s';
CREATE OR REPLACE FUNCTION probectl_internal.operator_id(need_admin boolean DEFAULT false) RETURNS uuid
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_operator_id';
COMMENT ON FUNCTION probectl_internal.operator_id(boolean) IS 'the operator of this transaction; PC401 when there is none, PC403 when an admin is needed';
CREATE OR REPLACE FUNCTION probectl.enter_operator(token text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_operator';
COMMENT ON FUNCTION probectl.enter_operator(text) IS 'makes this transaction that of a signed-in operator (pos_) and goes on as probectl_provider; PC401';
CREATE OR REPLACE FUNCTION probectl.enter_break_glass(token text, tenant uuid, grant_id uuid, purpose text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_break_glass';
COMMENT ON FUNCTION probectl.enter_break_glass(text, uuid, uuid, text) IS 'binds this transaction to a tenant under an active grant of the operator, with the permissions the grant names; writes to both chains; PC401, PC403, PC404';

-- Signing in.
CREATE OR REPLACE FUNCTION probectl_internal.operator_session(token text, OUT operator_id uuid, OUT admin boolean) RETURNS SETOF record
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT o.operator_id, o.role = 'admin'
    FROM probectl_internal.provider_session s JOIN probectl_internal.provider_operator o ON o.operator_id = s.operator_id
   WHERE s.hash = probectl_internal.operator_secret_hash('pos_', token) AND s.revoked_at IS NULL
     AND s.expires_at > probectl.clock_now() AND o.status = 'active'
$$;
COMMENT ON FUNCTION probectl_internal.operator_session(text) IS 'the operator of a live session';

CREATE OR REPLACE FUNCTION probectl_internal.operator_audit(action text, target text, data json) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.provider_audit_append(action, target, 'ok',
    (jsonb_build_object('operator', probectl_internal.operator_id()) || data::jsonb)::json);
END
$$;
COMMENT ON FUNCTION probectl_internal.operator_audit(text, text, json) IS 'records what the operator of this transaction does';

CREATE OR REPLACE FUNCTION probectl.operator_create(email text, role text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  minted record;
  new_operator uuid := probectl.uuid_v7();
BEGIN
  SELECT * INTO minted FROM probectl_internal.operator_mint('poe_');
  INSERT INTO probectl_internal.provider_operator (operator_id, email, role, enrol_hash, enrol_expires_at)
    VALUES (new_operator, operator_create.email, operator_create.role, minted.hash, probectl.clock_now() + interval '24 hours');
  PERFORM probectl_internal.provider_audit_append('operator.create', new_operator::text, 'ok',
                                                  json_build_object('email', operator_create.email, 'role', operator_create.role));
  RETURN minted.secret;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is an operator with this address';
  WHEN check_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'an operator has an e-mail address, and is admin or operator', DETAIL = 'field: email';
END
$$;
COMMENT ON FUNCTION probectl.operator_create(text, text) IS 'makes an operator: the enrolment code (poe_), valid a day, shown this once; for the cluster''s administrator';

CREATE OR REPLACE FUNCTION probectl.provider_operator_create(email text, role text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  PERFORM probectl_internal.operator_audit('operator.invite', email, json_build_object('role', role));
  RETURN probectl.operator_create(email, role);
END
$$;
COMMENT ON FUNCTION probectl.provider_operator_create(text, text) IS 'as operator_create(), by an admin of the provider';

CREATE OR REPLACE FUNCTION probectl.operator_enrol_start(code text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made record;
BEGIN
  SELECT * INTO made FROM probectl_internal.totp_make();
  UPDATE probectl_internal.provider_operator o SET sealed_totp = made.sealed, totp_step = 0
   WHERE o.enrol_hash = probectl_internal.operator_secret_hash('poe_', code) AND o.status = 'enrolling'
     AND o.enrol_expires_at > probectl.clock_now() AND o.sealed_totp IS NULL;
  IF NOT FOUND THEN
    PERFORM probectl_internal.audit_denied('operator.enrol', 'unknown', 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the enrolment code is unknown, used or expired';
  END IF;
  RETURN made.secret;
END
$$;
COMMENT ON FUNCTION probectl.operator_enrol_start(text) IS 'first half of enrolment: the TOTP secret (base32) for an authenticator, shown this once';

CREATE OR REPLACE FUNCTION probectl.operator_enrol_complete(code text, password text, totp text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  candidate record;
  step bigint;
BEGIN
  IF length(password) NOT BETWEEN 12 AND 1024 THEN
    PERFORM probectl_internal.invalid('password', 'a password has at least 12 characters');
  END IF;
  SELECT o.operator_id, o.sealed_totp INTO candidate FROM probectl_internal.provider_operator o
   WHERE o.enrol_hash = probectl_internal.operator_secret_hash('poe_', code) AND o.status = 'enrolling'
     AND o.enrol_expires_at > probectl.clock_now() AND o.sealed_totp IS NOT NULL FOR UPDATE;
  step := probectl_internal.totp_step(candidate.sealed_totp, totp, 0);
  IF step IS NULL THEN
    PERFORM probectl_internal.audit_denied('operator.enrol', coalesce(candidate.operator_id::text, 'unknown'), 'denied', '{}');
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the enrolment code or the one-time password is wrong';
  END IF;
  UPDATE probectl_internal.provider_operator o
     SET status = 'active', password = probectl_internal.password_hash(operator_enrol_complete.password), totp_step = step, enrol_hash = NULL
   WHERE o.operator_id = candidate.operator_id;
  PERFORM probectl_internal.provider_audit_append('operator.enrol', candidate.operator_id::text, 'ok', '{}');
END
$$;
COMMENT ON FUNCTION probectl.operator_enrol_complete(text, text, text) IS 'second half of enrolment: sets the password after a first one-time password proved the authenticator';

-- A refusal must be remembered (failures, lockout), so it is an answer: NULL.
CREATE OR REPLACE FUNCTION probectl.operator_signin(email text, password text, totp text, OUT session text, OUT expires_at timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  candidate record;
  good boolean;
  step bigint;
  now timestamptz := probectl.clock_now();
  minted record;
BEGIN
  SELECT o.* INTO candidate FROM probectl_internal.provider_operator o
   WHERE lower(o.email) = lower(operator_signin.email) AND o.status = 'active' FOR UPDATE;
  good := probectl_internal.password_verify(candidate.password, operator_signin.password);
  step := probectl_internal.totp_step(candidate.sealed_totp, operator_signin.totp, candidate.totp_step);
  IF candidate.operator_id IS NULL THEN
    PERFORM probectl_internal.provider_audit_append('operator.signin', 'unknown', 'denied', '{}');
    RETURN;
  END IF;
  IF candidate.locked_until > now THEN
    PERFORM probectl_internal.provider_audit_append('operator.signin', candidate.operator_id::text, 'denied', '{"reason": "locked"}');
    RETURN;
  END IF;
  IF NOT good OR step IS NULL THEN
    UPDATE probectl_internal.provider_operator o
       SET failures = o.failures + 1,
           locked_until = CASE WHEN o.failures + 1 >= 5 THEN now + least(interval '1 minute' * (2 ^ (o.failures - 4)), interval '1 hour') END
     WHERE o.operator_id = candidate.operator_id;
    PERFORM probectl_internal.provider_audit_append(CASE WHEN candidate.failures + 1 >= 5 THEN 'operator.lockout' ELSE 'operator.signin' END,
                                                    candidate.operator_id::text, 'denied', json_build_object('failures', candidate.failures + 1));
    RETURN;
  END IF;
  UPDATE probectl_internal.provider_operator o SET failures = 0, locked_until = NULL, totp_step = step WHERE o.operator_id = candidate.operator_id;
  SELECT * INTO minted FROM probectl_internal.operator_mint('pos_');
  expires_at := now + interval '4 hours';
  INSERT INTO probectl_internal.provider_session (hash, operator_id, expires_at) VALUES (minted.hash, candidate.operator_id, operator_signin.expires_at);
  PERFORM probectl_internal.provider_audit_append('operator.signin', candidate.operator_id::text, 'ok', '{}');
  session := minted.secret;
END
$$;
COMMENT ON FUNCTION probectl.operator_signin(text, text, text) IS 'a session (pos_) of four hours for password and one-time password; NULL when refused, whatever was wrong; five failures lock for a minute, doubling to an hour; a one-time password works once';

CREATE OR REPLACE FUNCTION probectl.operator_signout(token text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ended uuid;
BEGIN
  UPDATE probectl_internal.provider_session s SET revoked_at = probectl.clock_now()
   WHERE s.hash = probectl_internal.operator_secret_hash('pos_', token) AND s.revoked_at IS NULL RETURNING s.operator_id INTO ended;
  IF ended IS NOT NULL THEN
    PERFORM probectl_internal.provider_audit_append('operator.signout', ended::text, 'ok', '{}');
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.operator_signout(text) IS 'ends a session of an operator';

CREATE OR REPLACE FUNCTION probectl.provider_operator_disable(operator uuid) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  UPDATE probectl_internal.provider_operator o SET status = 'disabled' WHERE o.operator_id = operator AND o.status <> 'disabled';
  IF FOUND THEN
    PERFORM probectl_internal.operator_audit('operator.disable', operator::text, '{}');
  END IF;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION probectl.provider_operator_disable(uuid) IS 'ends an operator at once, sessions and break-glass included; by an admin';

-- What an operator sees of tenants: names, states, counts.
CREATE OR REPLACE FUNCTION probectl.provider_tenants(OUT tenant_id uuid, OUT slug text, OUT name text, OUT status text, OUT created_at timestamptz)
  RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id();
  RETURN QUERY SELECT r.tenant_id, r.slug, r.name, r.status, r.created_at FROM probectl_internal.tenant_registry r ORDER BY r.slug;
END
$$;
COMMENT ON FUNCTION probectl.provider_tenants() IS 'every tenant''s name and state';

CREATE OR REPLACE FUNCTION probectl.provider_fleet(OUT tenant_id uuid, OUT slug text, OUT version text, OUT agents integer, OUT online integer, OUT stale integer, OUT counted_at timestamptz)
  RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id();
  RETURN QUERY SELECT f.counted_tenant, r.slug, f.version, f.agents, f.online, f.stale, f.counted_at
                 FROM probectl_internal.fleet f JOIN probectl_internal.tenant_registry r ON r.tenant_id = f.counted_tenant ORDER BY r.slug, f.version;
END
$$;
COMMENT ON FUNCTION probectl.provider_fleet() IS 'agents of every tenant by version: how many, online, stale (silent for five minutes); no telemetry';

CREATE OR REPLACE FUNCTION probectl.provider_usage(since timestamptz, until timestamptz, OUT tenant_id uuid, OUT hour timestamptz, OUT results bigint, OUT duplicates bigint, OUT dead_letters bigint, OUT batches bigint)
  RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id();
  RETURN QUERY SELECT u.metered_tenant, u.hour, u.results, u.duplicates, u.dead_letters, u.batches
                 FROM probectl_internal.usage_hour u WHERE u.hour >= since AND u.hour < until ORDER BY u.hour, u.metered_tenant;
END
$$;
COMMENT ON FUNCTION probectl.provider_usage(timestamptz, timestamptz) IS 'what each tenant sent in each hour of [since, until)';

CREATE OR REPLACE FUNCTION probectl.provider_audit(after bigint DEFAULT 0, page integer DEFAULT 100, of_actor text DEFAULT NULL, of_action text DEFAULT NULL, of_target text DEFAULT NULL,
    of_outcome text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    OUT seq bigint, OUT at timestamptz, OUT actor text, OUT action text, OUT target text, OUT outcome text, OUT data json)
  RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  RETURN QUERY SELECT e.seq, e.at, e.actor, e.action, e.target, e.outcome, e.data
                 FROM probectl_internal.provider_audit_event e
                WHERE e.seq > provider_audit.after
                  AND probectl_internal.audit_wanted(e.at, e.actor, e.action, e.target, e.outcome, of_actor, of_action, of_target, of_outcome, since, until)
                ORDER BY e.seq LIMIT least(greatest(page, 1), 10000);
END
$$;
COMMENT ON FUNCTION probectl.provider_audit(bigint, integer, text, text, text, text, timestamptz, timestamptz) IS 'the provider''s chain after a sequence number, with the filters of audit_wanted(); for admins';

CREATE OR REPLACE FUNCTION probectl.provider_audit_export(after bigint DEFAULT 0, page integer DEFAULT 1000) RETURNS SETOF text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  RETURN QUERY SELECT l.line FROM probectl_internal.provider_audit_lines(provider_audit_export.after, provider_audit_export.page) l (line);
END
$$;
COMMENT ON FUNCTION probectl.provider_audit_export(bigint, integer) IS 'the provider''s chain as JSON Lines after a sequence number, as audit_export(); for admins';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_provision(slug text, name text, admin_email text, OUT tenant_id uuid, OUT user_id uuid, OUT invitation text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id();
  SELECT p.tenant_id, p.user_id, p.invitation INTO provider_tenant_provision.tenant_id, provider_tenant_provision.user_id, provider_tenant_provision.invitation
    FROM probectl.tenant_provision(provider_tenant_provision.slug, provider_tenant_provision.name, admin_email) p;
  PERFORM probectl_internal.operator_audit('provider.provision', tenant_id::text, '{}');
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_provision(text, text, text) IS 'tenant_provision() by an operator';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_set_status(tenant uuid, status text) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id();
  PERFORM probectl_internal.operator_audit('provider.set_status', tenant::text, json_build_object('status', provider_tenant_set_status.status));
  RETURN probectl.tenant_set_status(tenant, provider_tenant_set_status.status);
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_set_status(uuid, text) IS 'tenant_set_status() by an operator';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_erase(tenant uuid, OUT attestation json, OUT signature bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  PERFORM probectl_internal.operator_audit('provider.erase', tenant::text, '{}');
  SELECT e.attestation, e.signature INTO provider_tenant_erase.attestation, provider_tenant_erase.signature FROM probectl.tenant_erase(tenant) e;
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_erase(uuid) IS 'tenant_erase() by an admin of the provider';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_set_quota(tenant uuid, resource text, limit_value bigint) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  PERFORM probectl.tenant_set_quota(tenant, resource, provider_tenant_set_quota.limit_value);
  PERFORM probectl_internal.operator_audit('provider.quota', tenant::text, json_build_object('resource', resource));
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_set_quota(uuid, text, bigint) IS 'tenant_set_quota() by an admin of the provider';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_set_budget(tenant uuid, weight integer, results_per_second integer, bytes_per_second integer, queries_per_second integer) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  PERFORM probectl.tenant_set_budget(tenant, weight, results_per_second, bytes_per_second, queries_per_second);
  PERFORM probectl_internal.operator_audit('provider.budget', tenant::text, '{}');
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_set_budget(uuid, integer, integer, integer, integer) IS 'tenant_set_budget() by an admin of the provider';

CREATE OR REPLACE FUNCTION probectl.provider_tenant_set_branding(tenant uuid, product_name text, accent text, logo_svg text, support_url text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.operator_id(true);
  PERFORM probectl.tenant_set_branding(tenant, product_name, accent, logo_svg, support_url);
  PERFORM probectl_internal.operator_audit('provider.branding', tenant::text, '{}');
END
$$;
COMMENT ON FUNCTION probectl.provider_tenant_set_branding(uuid, text, text, text, text) IS 'tenant_set_branding() by an admin of the provider';

-- The registry: names and states of tenants outside every tenant's rows, kept by trigger.
CREATE OR REPLACE FUNCTION probectl_internal.tenant_registered() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    UPDATE probectl_internal.tenant_registry r SET status = 'deleted', name = '', slug = OLD.tenant_id::text WHERE r.tenant_id = OLD.tenant_id;
  ELSE
    INSERT INTO probectl_internal.tenant_registry AS r (tenant_id, slug, name, status, created_at)
      VALUES (NEW.tenant_id, NEW.slug, NEW.name, NEW.status, NEW.created_at)
      ON CONFLICT (tenant_id) DO UPDATE SET slug = excluded.slug, name = excluded.name, status = excluded.status;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.tenant_registered() IS 'trigger: keeps the registry of tenants';

-- Keeper's jobs.
-- A pass visits 500 tenants, the longest unvisited first: its cost is bounded however many there are.
CREATE OR REPLACE FUNCTION probectl_internal.tenants_to_keep() RETURNS SETOF uuid
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE probectl_internal.tenant_registry r SET kept_at = probectl.clock_now()
   WHERE r.tenant_id IN (SELECT x.tenant_id FROM probectl_internal.tenant_registry x WHERE x.status <> 'deleted' ORDER BY x.kept_at LIMIT 500)
  RETURNING r.tenant_id
$$;
COMMENT ON FUNCTION probectl_internal.tenants_to_keep() IS 'tenants the keeper visits in this pass';

CREATE OR REPLACE FUNCTION probectl_internal.fleet_count() RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant uuid := probectl.current_tenant();
  now timestamptz := probectl.clock_now();
BEGIN
  DELETE FROM probectl_internal.fleet f WHERE f.counted_tenant = tenant
     AND NOT EXISTS (SELECT FROM probectl.agent a WHERE a.tenant_id = tenant AND a.revoked_at IS NULL AND a.version = f.version);
  INSERT INTO probectl_internal.fleet AS f (counted_tenant, version, agents, online, stale, counted_at)
    SELECT tenant, a.version, count(*), count(*) FILTER (WHERE s.last_seen_at > now - interval '90 seconds'),
           count(*) FILTER (WHERE s.last_seen_at <= now - interval '5 minutes'), now
      FROM probectl.agent a LEFT JOIN probectl.agent_state s ON s.tenant_id = a.tenant_id AND s.agent_id = a.agent_id
     WHERE a.tenant_id = tenant AND a.revoked_at IS NULL GROUP BY a.version
    ON CONFLICT (counted_tenant, version) DO UPDATE SET agents = excluded.agents, online = excluded.online, stale = excluded.stale, counted_at = excluded.counted_at
      WHERE (f.agents, f.online, f.stale) IS DISTINCT FROM (excluded.agents, excluded.online, excluded.stale) OR f.counted_at < now - interval '10 minutes';
END
$$;
COMMENT ON FUNCTION probectl_internal.fleet_count() IS 'counts the agents of the bound tenant for the provider';

-- Exactly once: the sums and the position in the ledger move in one transaction.
CREATE OR REPLACE FUNCTION probectl_internal.usage_meter() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  from_xid bigint;
  safe_xid bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('probectl usage', 0));
  INSERT INTO probectl_internal.worker_cursor (name, next_xid, updated_at) VALUES ('usage', 0, probectl.clock_now()) ON CONFLICT DO NOTHING;
  SELECT c.next_xid INTO from_xid FROM probectl_internal.worker_cursor c WHERE c.name = 'usage';
  PERFORM probectl_internal.usage_add(l.tenant_id, l.hour, l.results, l.duplicates, l.dead_letters, l.batches)
    FROM (SELECT x.tenant_id, date_trunc('hour', x.received_at) AS hour, sum(x.stored) AS results, sum(x.duplicate) AS duplicates,
                 sum(x.dead_lettered) AS dead_letters, count(*) FILTER (WHERE x.count > 0) AS batches
            FROM probectl.ledger x WHERE x.xid >= from_xid AND x.xid < safe_xid GROUP BY 1, 2) l;
  UPDATE probectl_internal.worker_cursor SET next_xid = safe_xid, updated_at = probectl.clock_now() WHERE name = 'usage';
  RETURN safe_xid;
END
$$;
COMMENT ON FUNCTION probectl_internal.usage_meter() IS 'adds what the ledger committed since the last time to usage_hour; runs as probectl_worker, whom the ledger''s policy shows every tenant''s counts';

CREATE OR REPLACE FUNCTION probectl_internal.usage_add(tenant uuid, hour timestamptz, results bigint, duplicates bigint, dead_letters bigint, batches bigint) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO probectl_internal.usage_hour AS u (metered_tenant, hour, results, duplicates, dead_letters, batches)
    VALUES (usage_add.tenant, usage_add.hour, usage_add.results, usage_add.duplicates, usage_add.dead_letters, usage_add.batches)
    ON CONFLICT (metered_tenant, hour) DO UPDATE SET results = u.results + excluded.results, duplicates = u.duplicates + excluded.duplicates,
      dead_letters = u.dead_letters + excluded.dead_letters, batches = u.batches + excluded.batches
$$;
COMMENT ON FUNCTION probectl_internal.usage_add(uuid, timestamptz, bigint, bigint, bigint, bigint) IS 'adds to a tenant''s hour';

CREATE OR REPLACE FUNCTION probectl.ca_status(OUT kind text, OUT generation integer, OUT not_after timestamptz, OUT days_left integer, OUT alarm boolean)
  RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.kind, a.generation, a.not_after, extract(day FROM a.not_after - probectl.clock_now())::integer,
         a.not_after < probectl.clock_now() + interval '30 days' AND a.generation = max(a.generation) OVER (PARTITION BY a.kind)
    FROM probectl_internal.certificate_authority a ORDER BY a.kind DESC, a.generation
$$;
COMMENT ON FUNCTION probectl.ca_status() IS 'certificates of the agent CA and when they end; alarm from 30 days before the end of the one that signs';

CREATE OR REPLACE FUNCTION probectl_internal.ca_watch() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  due record;
  alarms integer := 0;
BEGIN
  FOR due IN SELECT * FROM probectl.ca_status() s WHERE s.alarm LOOP
    alarms := alarms + 1;
    -- Once a day is enough to be heard.
    IF NOT EXISTS (SELECT FROM probectl_internal.provider_audit_event e WHERE e.action = 'ca.alarm' AND e.target = due.kind AND e.at > probectl.clock_now() - interval '1 day') THEN
      RAISE LOG 'the % certificate of the agent CA ends in % days: run SELECT probectl.ca_rotate()', due.kind, due.days_left;
      PERFORM probectl_internal.provider_audit_append('ca.alarm', due.kind, 'ok', json_build_object('generation', due.generation, 'days_left', due.days_left));
    END IF;
  END LOOP;
  RETURN alarms;
END
$$;
COMMENT ON FUNCTION probectl_internal.ca_watch() IS 'says once a day that a CA certificate is about to end';

CREATE OR REPLACE FUNCTION probectl.ca_rotate() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  root record;
  newest integer;
BEGIN
  LOCK TABLE probectl_internal.certificate_authority IN EXCLUSIVE MODE;
  SELECT a.certificate, a.sealed_key INTO root FROM probectl_internal.certificate_authority a WHERE a.kind = 'root' ORDER BY a.generation DESC LIMIT 1;
  IF root.certificate IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is no certificate authority yet', HINT = 'Run SELECT probectl.ca_init().';
  END IF;
  SELECT max(a.generation) + 1 INTO newest FROM probectl_internal.certificate_authority a WHERE a.kind = 'intermediate';
  INSERT INTO probectl_internal.certificate_authority SELECT 'intermediate', newest, m.* FROM probectl_internal.ca_make(root.certificate, root.sealed_key) m;
  PERFORM probectl_internal.provider_audit_append('ca.rotate', 'intermediate', 'ok', json_build_object('generation', newest));
  RETURN newest;
END
$$;
COMMENT ON FUNCTION probectl.ca_rotate() IS 'a new intermediate signs from now on, the old one stays valid until its end: generation';
