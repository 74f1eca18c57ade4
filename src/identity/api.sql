-- identity: entering with a credential; users, links and tokens; agents and their certificates.
CREATE OR REPLACE FUNCTION probectl.enter_session(token text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_session';
COMMENT ON FUNCTION probectl.enter_session(text) IS 'binds this transaction to the user and tenant of a session (pcs_) or API token (pct_) and goes on as probectl_app; PC401 when it is unknown, expired or revoked';

CREATE OR REPLACE FUNCTION probectl.enter_agent(tenant uuid, agent uuid, serial text) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_enter_agent';
COMMENT ON FUNCTION probectl.enter_agent(uuid, uuid, text) IS 'binds this transaction to the agent of a verified certificate and goes on as probectl_app; PC401 when the certificate is unknown or revoked, PC403 when the tenant is not active';

CREATE OR REPLACE FUNCTION probectl_internal.credential_bind(given text, kind text) RETURNS bytea
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_credential_bind';
COMMENT ON FUNCTION probectl_internal.credential_bind(text, text) IS 'binds the tenant named in a one-time credential; the hash to look it up by';

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
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = format('the permission %s is needed', wanted);
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.require(text) IS 'raises PC403 unless the principal holds the permission';

-- Stores the hash, hands out the secret once.
CREATE OR REPLACE FUNCTION probectl_internal.credential_create(kind text, name text, user_id uuid, agent_id uuid, ttl interval, OUT secret text, OUT expires_at timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  minted record;
BEGIN
  IF ttl IS NULL OR ttl <= interval '0' OR ttl > interval '10 years' THEN
    PERFORM probectl_internal.invalid('ttl', 'a lifetime must be positive and at most ten years');
  END IF;
  SELECT * INTO minted FROM probectl_internal.credential_mint(credential_create.kind);
  expires_at := probectl.clock_now() + ttl;
  INSERT INTO probectl.credential (kind, hash, name, user_id, agent_id, expires_at)
    VALUES (credential_create.kind, minted.hash, coalesce(credential_create.name, ''), credential_create.user_id,
            credential_create.agent_id, credential_create.expires_at);
  secret := minted.secret;
EXCEPTION
  WHEN foreign_key_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC404', MESSAGE = 'there is no such user or agent';
END
$$;
COMMENT ON FUNCTION probectl_internal.credential_create(text, text, uuid, uuid, interval) IS 'makes a credential of the bound tenant: the secret, shown this once, and its end';

CREATE OR REPLACE FUNCTION probectl.user_create(email text, display_name text, role text) RETURNS uuid
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_user uuid := probectl.uuid_v7();
BEGIN
  PERFORM probectl_internal.require('directory.write');
  INSERT INTO probectl.tenant_user (user_id, email, display_name) VALUES (new_user, user_create.email, user_create.display_name);
  INSERT INTO probectl.role_binding (user_id, role_id)
    SELECT new_user, r.role_id FROM probectl.role r WHERE r.slug = user_create.role;
  IF NOT FOUND THEN
    PERFORM probectl_internal.invalid('role', format('there is no role "%s"', user_create.role));
  END IF;
  RETURN new_user;
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409', MESSAGE = 'there is a user with this address';
  WHEN check_violation OR not_null_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'PC422', MESSAGE = 'this is not an e-mail address, or a name is empty', DETAIL = 'field: email';
END
$$;
COMMENT ON FUNCTION probectl.user_create(text, text, text) IS 'makes a user of the bound tenant who holds a role; PC409 when the address is taken';

CREATE OR REPLACE FUNCTION probectl.user_list(OUT user_id uuid, OUT email text, OUT display_name text, OUT status text, OUT roles text[])
  RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT u.user_id, u.email, u.display_name, u.status,
         ARRAY(SELECT r.slug FROM probectl.role_binding b JOIN probectl.role r ON r.tenant_id = b.tenant_id AND r.role_id = b.role_id
                WHERE b.tenant_id = u.tenant_id AND b.user_id = u.user_id ORDER BY r.slug)
    FROM probectl.tenant_user u WHERE u.tenant_id = probectl.current_tenant() ORDER BY u.email
$$;
COMMENT ON FUNCTION probectl.user_list() IS 'users of the bound tenant with their roles';

CREATE OR REPLACE FUNCTION probectl.signin_link_create(user_id uuid, ttl interval DEFAULT '15 minutes') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('signin', '', signin_link_create.user_id, NULL, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.signin_link_create(uuid, interval) IS 'code of a one-time sign-in link (pcl_) for a user of the bound tenant';

CREATE OR REPLACE FUNCTION probectl.api_token_create(name text, user_id uuid, ttl interval DEFAULT '90 days') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('token', api_token_create.name, api_token_create.user_id, NULL, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.api_token_create(text, uuid, interval) IS 'an API token (pct_) with the rights of a user of the bound tenant';

CREATE OR REPLACE FUNCTION probectl.api_token_list(OUT credential_id uuid, OUT name text, OUT user_id uuid, OUT created_at timestamptz, OUT expires_at timestamptz, OUT used_at timestamptz, OUT revoked_at timestamptz)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.read');
  RETURN QUERY SELECT c.credential_id, c.name, c.user_id, c.created_at, c.expires_at, c.used_at, c.revoked_at
                 FROM probectl.credential c WHERE c.tenant_id = probectl.current_tenant() AND c.kind = 'token' ORDER BY c.created_at;
END
$$;
COMMENT ON FUNCTION probectl.api_token_list() IS 'API tokens of the bound tenant, without their secrets';

CREATE OR REPLACE FUNCTION probectl.credential_revoke(credential_id uuid) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('directory.write');
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
  RETURN (SELECT c.secret FROM probectl_internal.credential_create('join', '', NULL, join_token_create.agent_id, ttl) c);
END
$$;
COMMENT ON FUNCTION probectl.join_token_create(interval, uuid) IS 'a token (pjt_) that enrols one agent into the bound tenant, or gives a known agent a new certificate';

CREATE OR REPLACE FUNCTION probectl.signin_redeem(code text, user_agent text, OUT session text, OUT expires_at timestamptz)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  given bytea := probectl_internal.credential_bind(code, 'signin');
  link record;
  lifetime interval := current_setting('probectl.session_lifetime')::interval;
BEGIN
  UPDATE probectl.credential c SET used_at = probectl.clock_now()
    FROM probectl.tenant_user u, probectl.tenant t
   WHERE c.tenant_id = probectl.current_tenant() AND c.hash = given AND c.kind = 'signin' AND c.used_at IS NULL
     AND c.revoked_at IS NULL AND c.expires_at > probectl.clock_now()
     AND u.tenant_id = c.tenant_id AND u.user_id = c.user_id AND u.status = 'active'
     AND t.tenant_id = c.tenant_id AND t.status = 'active'
  RETURNING c.user_id INTO link;
  IF link.user_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'the sign-in link is unknown, used or expired', HINT = 'Ask for a new one.';
  END IF;
  SELECT c.secret, c.expires_at INTO session, signin_redeem.expires_at
    FROM probectl_internal.credential_create('session', left(user_agent, 200), link.user_id, NULL, lifetime) c;
END
$$;
COMMENT ON FUNCTION probectl.signin_redeem(text, text) IS 'trades the code of a one-time link for a session (pcs_); PC401 when it is unknown, used or expired';

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
COMMENT ON FUNCTION probectl_internal.csr_key(text) IS 'SHA-256 of the public key in a request; PC422 when the request is not one';

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
  key bytea := probectl_internal.csr_key(csr);
  given bytea := probectl_internal.credential_bind(token, 'join');
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
  INSERT INTO probectl.agent_certificate (serial, agent_id, not_before, not_after)
    VALUES (issued.serial, agent_enroll.agent_id, issued.not_before, issued.not_after);
  certificate := issued.certificate;
  ca_bundle := probectl.ca_bundle();
  serial := issued.serial;
  not_after := issued.not_after;
END
$$;
COMMENT ON FUNCTION probectl.agent_enroll(text, text, text, text) IS 'spends a join token: an agent and its certificate chain; the same key may ask again with the same token; PC401 for the token, PC422 for the request';

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
  INSERT INTO probectl.agent_state AS s (agent_id, last_seen_at, config_epoch, spool_records, spool_bytes, oldest_unsent_at, dropped, clock_skew_ms)
    VALUES (me, probectl.clock_now(), coalesce((status ->> 'config_epoch')::bigint, 0),
            coalesce((status ->> 'spool_records')::bigint, 0), coalesce((status ->> 'spool_bytes')::bigint, 0),
            CASE WHEN oldest > 0 THEN to_timestamp((oldest / 1000000000)::double precision) END,
            CASE WHEN jsonb_typeof(status -> 'dropped') = 'object' AND octet_length((status -> 'dropped')::text) < 4096 THEN status -> 'dropped' ELSE '{}' END,
            coalesce((status ->> 'clock_skew_nano')::double precision, 0) / 1000000)
    ON CONFLICT (tenant_id, agent_id) DO UPDATE
       SET last_seen_at = excluded.last_seen_at, config_epoch = excluded.config_epoch, spool_records = excluded.spool_records,
           spool_bytes = excluded.spool_bytes, oldest_unsent_at = excluded.oldest_unsent_at, dropped = excluded.dropped,
           clock_skew_ms = excluded.clock_skew_ms;
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
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION probectl.agent_revoke(uuid) IS 'ends an agent of the bound tenant: its next batch is refused; false when there is none that lives';
