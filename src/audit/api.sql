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

CREATE OR REPLACE FUNCTION probectl_internal.audit_head_current(OUT seq bigint, OUT hash bytea)
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_audit_head_current';
COMMENT ON FUNCTION probectl_internal.audit_head_current() IS 'head of the bound tenant''s chain as this transaction will leave it; NULL before the first event';

CREATE OR REPLACE FUNCTION probectl.audit_verify(OUT ok boolean, OUT events bigint, OUT first_bad bigint, OUT reason text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  event record;
  head record;
  expected_seq bigint := 1;
  expected_prev bytea := decode(repeat('00', 32), 'hex');
  stream text := probectl.current_tenant()::text;
BEGIN
  ok := true;
  events := 0;
  FOR event IN SELECT * FROM probectl.audit_event e ORDER BY e.seq LOOP
    IF event.seq <> expected_seq THEN
      reason := 'an event is missing';
    ELSIF event.prev_hash <> expected_prev THEN
      reason := 'the event does not follow the one before it';
    ELSIF event.hash <> probectl_internal.audit_hash(stream, event.seq, event.at, event.actor, event.action, event.target,
                                                      event.outcome, event.data, event.prev_hash) THEN
      reason := 'the event was changed';
    END IF;
    IF reason IS NOT NULL THEN
      ok := false;
      first_bad := expected_seq;
      RETURN;
    END IF;
    events := events + 1;
    expected_seq := expected_seq + 1;
    expected_prev := event.hash;
  END LOOP;
  SELECT h.seq, h.hash INTO head FROM probectl_internal.audit_head_current() h;
  IF coalesce(head.seq, 0) <> events OR (events > 0 AND head.hash <> expected_prev) THEN
    ok := false;
    first_bad := expected_seq;
    reason := 'the newest events are missing';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.audit_verify() IS 'walks the chain of the bound tenant: ok, number of events, and of the first bad one its sequence number and what is wrong';
