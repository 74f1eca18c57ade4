-- audit: appending (internal), the row trigger every audited table carries, and verification.
CREATE OR REPLACE FUNCTION probectl_internal.audit_append(action text, target text, outcome text, data json) RETURNS bigint
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_audit_append_sql';
COMMENT ON FUNCTION probectl_internal.audit_append(text, text, text, json) IS 'appends to the chain of the bound tenant; actor and time are not the caller''s to choose; sequence number of the event';

CREATE OR REPLACE FUNCTION probectl_internal.provider_audit_append(action text, target text, outcome text, data json) RETURNS bigint
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_provider_audit_append_sql';
COMMENT ON FUNCTION probectl_internal.provider_audit_append(text, text, text, json) IS 'appends to the provider''s chain; sequence number of the event';

CREATE OR REPLACE FUNCTION probectl_internal.audit_hash(stream text, seq bigint, at timestamptz, actor text, action text, target text, outcome text, data json, prev_hash bytea) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_audit_hash';
COMMENT ON FUNCTION probectl_internal.audit_hash(text, bigint, timestamptz, text, text, text, text, json, bytea) IS 'SHA-256 of the canonical form of an event: every field length-prefixed, stream and time included';

-- TG_ARGV: word for the thing, column that identifies it. Secrets and hashes never enter the chain.
CREATE OR REPLACE FUNCTION probectl_internal.audit_row() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - '{hash,used_by_key,used_at,tenant_id}'::text[] END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - '{hash,used_by_key,used_at,tenant_id}'::text[] END;
  data jsonb;
BEGIN
  IF probectl_internal.is_erasing() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_build_object('before', jsonb_object_agg(b.key, b.value), 'after', jsonb_object_agg(a.key, a.value))
      INTO data
      FROM jsonb_each(before) b JOIN jsonb_each(after) a USING (key)
     WHERE a.value IS DISTINCT FROM b.value;
    IF data -> 'after' = 'null' THEN
      RETURN NULL;
    END IF;
  ELSE
    data := coalesce(after, before);
  END IF;
  PERFORM probectl_internal.audit_append(
    TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.create' WHEN 'UPDATE' THEN '.update' ELSE '.delete' END,
    coalesce(after, before) ->> TG_ARGV[1], 'ok', data::json);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.audit_row() IS 'trigger: writes a change of a row to the tenant''s chain';

-- What is refused rolls back, and its record with it: these go through shared memory and are written by the keeper.
CREATE OR REPLACE FUNCTION probectl_internal.audit_denied(action text, target text, outcome text, data json) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_audit_denied_sql';
COMMENT ON FUNCTION probectl_internal.audit_denied(text, text, text, json) IS 'records an attempt that is about to be refused; written even though the transaction rolls back, to the provider''s chain when no tenant is bound';

CREATE OR REPLACE FUNCTION probectl_internal.erasing(on_off boolean) RETURNS void
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_audit_erasing';
COMMENT ON FUNCTION probectl_internal.erasing(boolean) IS 'lets this transaction delete audit rows and keeps row triggers from writing any; for pruning and erasure';

CREATE OR REPLACE FUNCTION probectl_internal.is_erasing() RETURNS boolean
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_audit_is_erasing';
COMMENT ON FUNCTION probectl_internal.is_erasing() IS 'whether this transaction prunes or erases';

CREATE OR REPLACE FUNCTION probectl_internal.audit_fixed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND probectl_internal.is_erasing() THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'the audit chain is append-only';
END
$$;
COMMENT ON FUNCTION probectl_internal.audit_fixed() IS 'trigger: nobody changes what was recorded; only pruning and erasure delete';

-- Signing.
CREATE OR REPLACE FUNCTION probectl_internal.signing_key_make(OUT public_key bytea, OUT sealed_seed bytea)
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pctl_signing_key_make';
COMMENT ON FUNCTION probectl_internal.signing_key_make() IS 'a new Ed25519 key, its seed sealed';

CREATE OR REPLACE FUNCTION probectl_internal.sign_with(sealed_seed bytea, data bytea) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'pctl_sign_with';
COMMENT ON FUNCTION probectl_internal.sign_with(bytea, bytea) IS 'Ed25519 signature';

CREATE OR REPLACE FUNCTION probectl.signature_verify(public_key bytea, data bytea, signature bytea) RETURNS boolean
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pctl_signature_verify';
COMMENT ON FUNCTION probectl.signature_verify(bytea, bytea, bytea) IS 'whether an Ed25519 signature holds';

CREATE OR REPLACE FUNCTION probectl_internal.signing_key_ensure() RETURNS integer
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  newest integer := (SELECT max(k.generation) FROM probectl_internal.signing_key k);
BEGIN
  IF newest IS NULL THEN
    INSERT INTO probectl_internal.signing_key (generation, public_key, sealed_seed)
      SELECT 1, m.public_key, m.sealed_seed FROM probectl_internal.signing_key_make() m ON CONFLICT DO NOTHING;
    newest := 1;
  END IF;
  RETURN newest;
END
$$;
COMMENT ON FUNCTION probectl_internal.signing_key_ensure() IS 'generation of the key that signs, made when there is none';

CREATE OR REPLACE FUNCTION probectl_internal.sign(data bytea) RETURNS bytea
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  newest integer := probectl_internal.signing_key_ensure();
BEGIN
  RETURN (SELECT probectl_internal.sign_with(k.sealed_seed, data) FROM probectl_internal.signing_key k WHERE k.generation = newest);
END
$$;
COMMENT ON FUNCTION probectl_internal.sign(bytea) IS 'signature with the newest key';

CREATE OR REPLACE FUNCTION probectl.signing_key() RETURNS bytea
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT public_key FROM probectl_internal.signing_key ORDER BY generation DESC LIMIT 1 $$;
COMMENT ON FUNCTION probectl.signing_key() IS 'public half (32 bytes) of the key that signs checkpoints; keep it outside to verify with';

CREATE OR REPLACE FUNCTION probectl_internal.signing_key_known(given bytea) RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT EXISTS (SELECT FROM probectl_internal.signing_key k WHERE k.public_key = given) $$;
COMMENT ON FUNCTION probectl_internal.signing_key_known(bytea) IS 'whether a public key is one of ours';

CREATE OR REPLACE FUNCTION probectl_internal.checkpoint_text(stream text, size bigint, prev_size bigint, at timestamptz, head_hash bytea, root bytea) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT concat_ws(E'\n', 'probectl.checkpoint.v1', stream, size, prev_size, probectl_internal.time_text(at), encode(head_hash, 'hex'), encode(root, 'hex'), '')
$$;
COMMENT ON FUNCTION probectl_internal.checkpoint_text(text, bigint, bigint, timestamptz, bytea, bytea) IS 'the lines a checkpoint signs; it names the one before it, so that none can be taken out';

-- Checkpoints, proofs, verification: in C over the tables (merkle.c, verify.c).
CREATE OR REPLACE FUNCTION probectl_internal.audit_fold(provider boolean, from_size bigint, frontier bytea, upto bigint, OUT folded bytea, OUT root bytea, OUT head_hash bytea)
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pctl_audit_fold';
COMMENT ON FUNCTION probectl_internal.audit_fold(boolean, bigint, bytea, bigint) IS 'adds the events after from_size up to upto to a frontier: the new frontier, its root, hash of the last event';

CREATE OR REPLACE FUNCTION probectl.audit_checkpoint() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  head record;
  last record;
  fold record;
  newest bigint;
  now timestamptz := probectl.clock_now();
  tenant uuid := probectl.current_tenant();
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'this transaction is bound to no tenant';
  END IF;
  SELECT h.seq, h.pruned_seq, h.pruned_frontier INTO head FROM probectl.audit_head h WHERE h.tenant_id = tenant;
  SELECT c.size, c.frontier INTO last FROM probectl.audit_checkpoint c WHERE c.tenant_id = tenant ORDER BY c.size DESC LIMIT 1;
  IF head.seq IS NULL OR head.seq = coalesce(last.size, 0) THEN
    RETURN last.size;
  END IF;
  SELECT * INTO fold FROM probectl_internal.audit_fold(false, coalesce(last.size, head.pruned_seq), coalesce(last.frontier, head.pruned_frontier), head.seq);
  PERFORM probectl_internal.signing_key_ensure();
  -- Appending waits from here to the commit only, not while events are read. Who was faster has made it; who
  -- appends for long is not waited for.
  BEGIN
    SELECT h.checkpoint_size INTO newest FROM probectl.audit_head h WHERE h.tenant_id = tenant FOR UPDATE;
  EXCEPTION WHEN lock_not_available THEN
    RETURN last.size;
  END;
  IF newest <> coalesce(last.size, 0) THEN
    RETURN newest;
  END IF;
  INSERT INTO probectl.audit_checkpoint (size, prev_size, at, head_hash, root, frontier, signature, public_key)
    SELECT head.seq, newest, now, fold.head_hash, fold.root, fold.folded,
           probectl_internal.sign(convert_to(probectl_internal.checkpoint_text(tenant::text, head.seq, newest, now, fold.head_hash, fold.root), 'UTF8')),
           probectl.signing_key();
  UPDATE probectl.audit_head h SET checkpoint_size = head.seq WHERE h.tenant_id = tenant;
  RETURN head.seq;
END
$$;
COMMENT ON FUNCTION probectl.audit_checkpoint() IS 'signs the bound tenant''s chain as it is: number of events';

CREATE OR REPLACE FUNCTION probectl_internal.provider_audit_checkpoint_make() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  head record;
  last record;
  fold record;
  newest bigint;
  now timestamptz := probectl.clock_now();
BEGIN
  SELECT h.seq, h.pruned_seq, h.pruned_frontier INTO head FROM probectl_internal.provider_audit_head h;
  SELECT c.size, c.frontier INTO last FROM probectl_internal.provider_audit_checkpoint c ORDER BY c.size DESC LIMIT 1;
  IF head.seq IS NULL OR head.seq = coalesce(last.size, 0) THEN
    RETURN last.size;
  END IF;
  SELECT * INTO fold FROM probectl_internal.audit_fold(true, coalesce(last.size, head.pruned_seq), coalesce(last.frontier, head.pruned_frontier), head.seq);
  PERFORM probectl_internal.signing_key_ensure();
  -- Appending waits from here to the commit only, not while events are read. Who was faster has made it; who
  -- appends for long is not waited for.
  BEGIN
    SELECT h.checkpoint_size INTO newest FROM probectl_internal.provider_audit_head h FOR UPDATE;
  EXCEPTION WHEN lock_not_available THEN
    RETURN last.size;
  END;
  IF newest <> coalesce(last.size, 0) THEN
    RETURN newest;
  END IF;
  INSERT INTO probectl_internal.provider_audit_checkpoint (size, prev_size, at, head_hash, root, frontier, signature, public_key)
    SELECT head.seq, newest, now, fold.head_hash, fold.root, fold.folded,
           probectl_internal.sign(convert_to(probectl_internal.checkpoint_text('provider', head.seq, newest, now, fold.head_hash, fold.root), 'UTF8')),
           probectl.signing_key();
  UPDATE probectl_internal.provider_audit_head h SET checkpoint_size = head.seq;
  RETURN head.seq;
END
$$;
COMMENT ON FUNCTION probectl_internal.provider_audit_checkpoint_make() IS 'signs the provider''s chain as it is: number of events';

CREATE OR REPLACE FUNCTION probectl.audit_inclusion(seq bigint, size bigint DEFAULT NULL, OUT leaf_hash bytea, OUT tree_size bigint, OUT proof bytea[])
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_audit_inclusion';
COMMENT ON FUNCTION probectl.audit_inclusion(bigint, bigint) IS 'proof (RFC 6962 2.1.1) that an event is in the bound tenant''s chain of a size: hash of the event, size, nodes; PC404 when the event is gone';

CREATE OR REPLACE FUNCTION probectl.audit_consistency(first bigint, second bigint DEFAULT NULL, OUT tree_size bigint, OUT proof bytea[])
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_audit_consistency';
COMMENT ON FUNCTION probectl.audit_consistency(bigint, bigint) IS 'proof (RFC 6962 2.1.2) that the chain of the second size begins with that of the first';

CREATE OR REPLACE FUNCTION probectl.provider_audit_inclusion(seq bigint, size bigint DEFAULT NULL, OUT leaf_hash bytea, OUT tree_size bigint, OUT proof bytea[])
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_provider_audit_inclusion';
COMMENT ON FUNCTION probectl.provider_audit_inclusion(bigint, bigint) IS 'as audit_inclusion(), of the provider''s chain';

CREATE OR REPLACE FUNCTION probectl.provider_audit_consistency(first bigint, second bigint DEFAULT NULL, OUT tree_size bigint, OUT proof bytea[])
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_provider_audit_consistency';
COMMENT ON FUNCTION probectl.provider_audit_consistency(bigint, bigint) IS 'as audit_consistency(), of the provider''s chain';

CREATE OR REPLACE FUNCTION probectl.audit_verify(OUT ok boolean, OUT events bigint, OUT first_bad bigint, OUT reason text)
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_audit_verify';
COMMENT ON FUNCTION probectl.audit_verify() IS 'walks the chain of the bound tenant and its checkpoints: ok, number of events held, and of the first bad one its sequence number and what is wrong';

CREATE OR REPLACE FUNCTION probectl.provider_audit_verify(OUT ok boolean, OUT events bigint, OUT first_bad bigint, OUT reason text)
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_provider_audit_verify';
COMMENT ON FUNCTION probectl.provider_audit_verify() IS 'as audit_verify(), for the provider''s chain';

CREATE OR REPLACE FUNCTION probectl.audit_prune(keep interval) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  cut record;
  tenant uuid := probectl.current_tenant();
  gone bigint;
BEGIN
  IF tenant IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PC401', MESSAGE = 'this transaction is bound to no tenant';
  END IF;
  IF keep < interval '1 day' THEN
    PERFORM probectl_internal.invalid('keep', 'audit events are kept for a day at least');
  END IF;
  PERFORM FROM probectl.audit_head h WHERE h.tenant_id = tenant FOR UPDATE;
  -- Only up to a signed checkpoint, so that what follows can still be proved.
  SELECT c.size, c.head_hash, c.frontier INTO cut FROM probectl.audit_checkpoint c
   WHERE c.tenant_id = tenant AND c.at < probectl.clock_now() - keep ORDER BY c.size DESC LIMIT 1;
  IF cut.size IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM probectl_internal.erasing(true);
  DELETE FROM probectl.audit_event e WHERE e.tenant_id = tenant AND e.seq <= cut.size;
  GET DIAGNOSTICS gone = ROW_COUNT;
  DELETE FROM probectl.audit_checkpoint c WHERE c.tenant_id = tenant AND c.size < cut.size;
  PERFORM probectl_internal.erasing(false);
  IF gone > 0 THEN
    UPDATE probectl.audit_head h SET pruned_seq = cut.size, pruned_hash = cut.head_hash, pruned_frontier = cut.frontier WHERE h.tenant_id = tenant;
    PERFORM probectl_internal.audit_append('audit.prune', cut.size::text, 'ok', json_build_object('events', gone, 'keep', keep::text));
  END IF;
  RETURN gone;
END
$$;
COMMENT ON FUNCTION probectl.audit_prune(interval) IS 'deletes events of the bound tenant below the newest checkpoint older than the interval: how many; the chain still verifies';

CREATE OR REPLACE FUNCTION probectl_internal.audit_retain() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  days integer := current_setting('probectl.audit_retention')::integer;
BEGIN
  RETURN CASE WHEN days > 0 THEN probectl.audit_prune(make_interval(days => days)) ELSE 0 END;
END
$$;
COMMENT ON FUNCTION probectl_internal.audit_retain() IS 'prunes the bound tenant''s chain when probectl.audit_retention says so: how many events';

-- Inlined, as the lines below: no search_path of its own, every name is qualified.
CREATE OR REPLACE FUNCTION probectl_internal.audit_wanted(at timestamptz, actor text, action text, target text, outcome text,
    of_actor text, of_action text, of_target text, of_outcome text, since timestamptz, until timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE AS $$
  SELECT (of_actor IS NULL OR actor OPERATOR(pg_catalog.=) of_actor)
     AND (of_action IS NULL OR action OPERATOR(pg_catalog.=) of_action
          OR (pg_catalog.right(of_action, 1) OPERATOR(pg_catalog.=) '.' AND pg_catalog.starts_with(action, of_action)))
     AND (of_target IS NULL OR target OPERATOR(pg_catalog.=) of_target)
     AND (of_outcome IS NULL OR outcome OPERATOR(pg_catalog.=) of_outcome)
     AND (since IS NULL OR at OPERATOR(pg_catalog.>=) since)
     AND (until IS NULL OR at OPERATOR(pg_catalog.<) until)
$$;
COMMENT ON FUNCTION probectl_internal.audit_wanted(timestamptz, text, text, text, text, text, text, text, text, timestamptz, timestamptz) IS 'whether an event passes the filters that are given (NULL: none): who, what ("test." is every action below), to what, with what outcome, in [since, until)';

-- The lines of an export.
CREATE OR REPLACE FUNCTION probectl_internal.audit_line_start(stream text, pruned_seq bigint, pruned_hash bytea, pruned_frontier bytea) RETURNS text
  LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.concat('{"kind":"start","stream":"', stream, '","pruned_seq":', pruned_seq, ',"pruned_hash":"', pg_catalog.encode(pruned_hash, 'hex'),
                           '","pruned_frontier":"', pg_catalog.encode(pruned_frontier, 'hex'), '"}')
$$;
COMMENT ON FUNCTION probectl_internal.audit_line_start(text, bigint, bytea, bytea) IS 'first line of an export: the stream, and where retention has cut it';

-- An event is written field by field: data keeps its own text, so that its hash can be made again.
CREATE OR REPLACE FUNCTION probectl_internal.audit_line_event(stream text, seq bigint, at timestamptz, actor text, action text, target text, outcome text, data json, prev_hash bytea, hash bytea)
  RETURNS text LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.concat('{"kind":"event","stream":"', stream, '","seq":', seq,
                           ',"at_us":', (extract(epoch FROM at OPERATOR(pg_catalog.-) '2000-01-01 00:00:00+00'::timestamptz) OPERATOR(pg_catalog.*) 1000000)::bigint,
                           ',"at":"', probectl_internal.time_text(at), '","actor":', pg_catalog.to_json(actor), ',"action":', pg_catalog.to_json(action),
                           ',"target":', pg_catalog.to_json(target), ',"outcome":', pg_catalog.to_json(outcome), ',"data_text":', pg_catalog.to_json(data::text),
                           ',"prev_hash":"', pg_catalog.encode(prev_hash, 'hex'), '","hash":"', pg_catalog.encode(hash, 'hex'), '"}')
$$;
COMMENT ON FUNCTION probectl_internal.audit_line_event(text, bigint, timestamptz, text, text, text, text, json, bytea, bytea) IS 'line of an export with one event';

CREATE OR REPLACE FUNCTION probectl_internal.audit_line_checkpoint(stream text, size bigint, prev_size bigint, at timestamptz, head_hash bytea, root bytea, signature bytea, public_key bytea)
  RETURNS text LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.concat('{"kind":"checkpoint","stream":"', stream, '","size":', size, ',"prev_size":', prev_size, ',"at":"', probectl_internal.time_text(at),
                           '","head_hash":"', pg_catalog.encode(head_hash, 'hex'), '","root":"', pg_catalog.encode(root, 'hex'),
                           '","signature":"', pg_catalog.encode(signature, 'hex'), '","public_key":"', pg_catalog.encode(public_key, 'hex'), '"}')
$$;
COMMENT ON FUNCTION probectl_internal.audit_line_checkpoint(text, bigint, bigint, timestamptz, bytea, bytea, bytea, bytea) IS 'line of an export with one signed checkpoint';

CREATE OR REPLACE FUNCTION probectl.audit_export(after bigint DEFAULT 0, page integer DEFAULT 1000) RETURNS SETOF text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH cut AS MATERIALIZED (
    SELECT h.tenant_id, h.pruned_seq, h.pruned_hash, h.pruned_frontier, audit_export.after <= 0 OR audit_export.after < h.pruned_seq AS first
      FROM probectl.audit_head h WHERE h.tenant_id = probectl.current_tenant()
  ), events AS MATERIALIZED (
    SELECT e.* FROM probectl.audit_event e
     WHERE e.tenant_id = probectl.current_tenant() AND e.seq > audit_export.after
     ORDER BY e.seq LIMIT least(greatest(page, 1), 100000)
  )
  SELECT l.line FROM (
    SELECT e.seq, 1 AS kind, probectl_internal.audit_line_event(e.tenant_id::text, e.seq, e.at, e.actor, e.action, e.target, e.outcome, e.data, e.prev_hash, e.hash) AS line
      FROM events e
    UNION ALL
    -- Each behind the event it was made at; the one at which retention has cut, behind the start. One at the very
    -- place where an export goes on comes again, as it may have been made since.
    SELECT c.size, 2, probectl_internal.audit_line_checkpoint(c.tenant_id::text, c.size, c.prev_size, c.at, c.head_hash, c.root, c.signature, c.public_key)
      FROM probectl.audit_checkpoint c, cut
     WHERE c.tenant_id = probectl.current_tenant() AND (c.size >= audit_export.after OR cut.first)
       AND c.size <= (SELECT coalesce(max(e.seq), greatest(cut.pruned_seq, audit_export.after)) FROM events e)
    UNION ALL
    SELECT 0, 0, probectl_internal.audit_line_start(cut.tenant_id::text, cut.pruned_seq, cut.pruned_hash, cut.pruned_frontier) FROM cut WHERE cut.first
  ) l ORDER BY l.seq, l.kind
$$;
COMMENT ON FUNCTION probectl.audit_export(bigint, integer) IS 'the bound tenant''s chain as JSON Lines after a sequence number: start, events, checkpoints; call again with the last seq to go on';

CREATE OR REPLACE FUNCTION probectl_internal.provider_audit_lines(after bigint DEFAULT 0, page integer DEFAULT 1000) RETURNS SETOF text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH cut AS MATERIALIZED (
    SELECT h.pruned_seq, h.pruned_hash, h.pruned_frontier, provider_audit_lines.after <= 0 OR provider_audit_lines.after < h.pruned_seq AS first
      FROM probectl_internal.provider_audit_head h
  ), events AS MATERIALIZED (
    SELECT e.* FROM probectl_internal.provider_audit_event e
     WHERE e.seq > provider_audit_lines.after
     ORDER BY e.seq LIMIT least(greatest(page, 1), 100000)
  )
  SELECT l.line FROM (
    SELECT e.seq, 1 AS kind, probectl_internal.audit_line_event('provider', e.seq, e.at, e.actor, e.action, e.target, e.outcome, e.data, e.prev_hash, e.hash) AS line
      FROM events e
    UNION ALL
    -- Each behind the event it was made at; the one at which retention has cut, behind the start. One at the very
    -- place where an export goes on comes again, as it may have been made since.
    SELECT c.size, 2, probectl_internal.audit_line_checkpoint('provider', c.size, c.prev_size, c.at, c.head_hash, c.root, c.signature, c.public_key)
      FROM probectl_internal.provider_audit_checkpoint c, cut
     WHERE (c.size >= provider_audit_lines.after OR cut.first)
       AND c.size <= (SELECT coalesce(max(e.seq), greatest(cut.pruned_seq, provider_audit_lines.after)) FROM events e)
    UNION ALL
    SELECT 0, 0, probectl_internal.audit_line_start('provider', cut.pruned_seq, cut.pruned_hash, cut.pruned_frontier) FROM cut WHERE cut.first
  ) l ORDER BY l.seq, l.kind
$$;
COMMENT ON FUNCTION probectl_internal.provider_audit_lines(bigint, integer) IS 'as audit_export(), of the provider''s chain, whoever asks';
