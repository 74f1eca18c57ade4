-- remote: writing samples, targets, and how both are.
CREATE OR REPLACE FUNCTION probectl.remote_write(request bytea, OUT status integer, OUT message text) RETURNS record
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_remote_write';
COMMENT ON FUNCTION probectl.remote_write(bytea) IS 'stores the samples of a snappy-compressed prometheus.WriteRequest (remote write 1.0, at most 16 MiB decompressed): 204, or 400 with what was refused first; the rest is stored; PC403 without metrics.write';

CREATE OR REPLACE FUNCTION probectl.remote_received(OUT requests bigint, OUT malformed bigint, OUT received bigint, OUT stored bigint, OUT too_old bigint, OUT in_future bigint,
                                                    OUT refused_tenant bigint, OUT bad_labels bigint, OUT reserved_labels bigint, OUT histograms bigint, OUT exemplars bigint)
  RETURNS record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(sum(i.requests), 0)::bigint, coalesce(sum(i.malformed), 0)::bigint, coalesce(sum(i.received), 0)::bigint, coalesce(sum(i.stored), 0)::bigint,
         coalesce(sum(i.too_old), 0)::bigint, coalesce(sum(i.in_future), 0)::bigint, coalesce(sum(i.refused_tenant), 0)::bigint, coalesce(sum(i.bad_labels), 0)::bigint,
         coalesce(sum(i.reserved_labels), 0)::bigint, coalesce(sum(i.histograms), 0)::bigint, coalesce(sum(i.exemplars), 0)::bigint
    FROM probectl.remote_intake i WHERE i.tenant_id = probectl.current_tenant()
$$;
COMMENT ON FUNCTION probectl.remote_received() IS 'what became of what the tenant wrote by remote write: samples, but requests and malformed are requests and reserved_labels labels';

CREATE OR REPLACE FUNCTION probectl_internal.remote_operator_required() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(probectl.current_principal(), '') NOT LIKE 'system:%' THEN
    RAISE EXCEPTION USING ERRCODE = 'PC403', MESSAGE = 'where samples are sent to is set by an operator of the database',
      HINT = 'An administrator of the database enters the tenant with probectl.enter_tenant().';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl_internal.remote_operator_required() IS 'raises PC403 unless an operator of the database entered the tenant';

CREATE OR REPLACE FUNCTION probectl.remote_target_set(name text, url text, secret_file text DEFAULT NULL, user_name text DEFAULT NULL, ca_file text DEFAULT NULL,
                                                      batch_samples integer DEFAULT 5000, backlog interval DEFAULT '1 day', enabled boolean DEFAULT true)
  RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine uuid := probectl.current_tenant();
  id uuid;
BEGIN
  PERFORM probectl_internal.remote_operator_required();
  -- In the clear only where nobody listens in.
  IF url !~ '^https://[^/@[:space:]]+(/[^[:space:]]*)?$' AND url !~ '^http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/[^[:space:]]*)?$' THEN
    PERFORM probectl_internal.invalid('url', '"url" must begin with https:// (http:// for loopback only) and hold no credentials');
  END IF;
  IF secret_file !~ '^/' OR ca_file !~ '^/' THEN
    PERFORM probectl_internal.invalid('secret_file', '"secret_file" and "ca_file" are absolute paths on the server');
  END IF;
  IF user_name ~ '[:[:cntrl:]]' OR user_name IS NOT NULL AND secret_file IS NULL THEN
    PERFORM probectl_internal.invalid('user_name', '"user_name" has no colon and needs a "secret_file" with its password');
  END IF;
  IF name !~ '^[a-z0-9][a-z0-9-]{0,62}$' OR batch_samples NOT BETWEEN 1 AND 50000 OR backlog NOT BETWEEN '1 second' AND '1 year' THEN
    PERFORM probectl_internal.invalid('name', '"name" is of a-z, 0-9 and -, "batch_samples" 1 to 50000, "backlog" a second to a year');
  END IF;
  INSERT INTO probectl.remote_target AS t (tenant_id, name, url, secret_file, user_name, ca_file, batch_samples, backlog, enabled)
    VALUES (mine, remote_target_set.name, remote_target_set.url, remote_target_set.secret_file, remote_target_set.user_name, remote_target_set.ca_file,
            remote_target_set.batch_samples, remote_target_set.backlog, remote_target_set.enabled)
    ON CONFLICT ON CONSTRAINT remote_target_tenant_id_name_key DO UPDATE
       SET url = excluded.url, secret_file = excluded.secret_file, user_name = excluded.user_name, ca_file = excluded.ca_file,
           batch_samples = excluded.batch_samples, backlog = excluded.backlog, enabled = excluded.enabled
    RETURNING t.target_id INTO id;
  -- A new target begins with what is measured from now on; a changed one is tried at once.
  INSERT INTO probectl.remote_queue AS q (tenant_id, target_id, next_xid)
    VALUES (mine, id, coalesce((SELECT s.next_xid FROM probectl.metric_state s WHERE s.tenant_id = mine), 0))
    ON CONFLICT (tenant_id, target_id) DO UPDATE SET retry_at = '-infinity';
  INSERT INTO probectl_internal.remote_sender VALUES (mine) ON CONFLICT DO NOTHING;
  RETURN id;
END
$$;
COMMENT ON FUNCTION probectl.remote_target_set(text, text, text, text, text, integer, interval, boolean) IS
  'adds or changes a target of the tenant that an operator of the database entered; its queue stays where it is; PC403 for anybody else, PC422 for what is no target';

CREATE OR REPLACE FUNCTION probectl.remote_target_delete(name text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine uuid := probectl.current_tenant();
  gone boolean;
BEGIN
  PERFORM probectl_internal.remote_operator_required();
  DELETE FROM probectl.remote_target t WHERE t.tenant_id = mine AND t.name = remote_target_delete.name;
  gone := FOUND;
  DELETE FROM probectl_internal.remote_sender s WHERE s.sending_tenant = mine AND NOT EXISTS (SELECT FROM probectl.remote_target t WHERE t.tenant_id = mine);
  RETURN gone;
END
$$;
COMMENT ON FUNCTION probectl.remote_target_delete(text) IS 'ends sending to a target and forgets its queue; false when there is none of the name; PC403 unless an operator of the database entered the tenant';

CREATE OR REPLACE FUNCTION probectl.remote_targets(OUT name text, OUT enabled boolean, OUT state text, OUT backlog_age interval, OUT sent bigint, OUT rejected bigint, OUT expired bigint,
                                                   OUT unregistered bigint, OUT requests bigint, OUT retries bigint, OUT failures integer, OUT retry_at timestamptz,
                                                   OUT last_status integer, OUT last_error text, OUT last_sent_at timestamptz, OUT next_xid bigint)
  RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM probectl_internal.require('diagnostics.read');
  RETURN QUERY
    SELECT t.name, t.enabled, CASE WHEN NOT t.enabled THEN 'disabled' WHEN q.failures > 0 THEN 'retrying' WHEN q.behind_since IS NOT NULL THEN 'sending' ELSE 'idle' END,
           probectl.clock_now() - q.behind_since, q.sent, q.rejected, q.expired, q.unregistered, q.requests, q.retries, q.failures,
           CASE WHEN q.failures > 0 THEN q.retry_at END, q.last_status, q.last_error, q.last_sent_at, q.next_xid
      FROM probectl.remote_target t JOIN probectl.remote_queue q ON q.tenant_id = t.tenant_id AND q.target_id = t.target_id
     WHERE t.tenant_id = probectl.current_tenant() ORDER BY t.name;
END
$$;
COMMENT ON FUNCTION probectl.remote_targets() IS 'the tenant''s targets: disabled, idle, sending or retrying, how old the oldest unsent result is, and what became of the samples; PC403 without diagnostics.read';

CREATE OR REPLACE FUNCTION probectl_internal.metric_series_hold() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('probectl metric series ' || probectl.current_tenant(), 0));
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION probectl_internal.metric_series_hold() IS 'trigger: waits for those who are writing samples of the tenant''s series, and holds others off until the deletion is committed';

-- The gateway hands the bytes to probectl.remote_write(); what comes this way is JSON.
CREATE OR REPLACE FUNCTION probectl_api.remote_write(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'PC415', MESSAGE = 'samples are written as application/x-protobuf, not as JSON';
END
$$;
COMMENT ON FUNCTION probectl_api.remote_write(jsonb, jsonb, jsonb) IS 'POST /v1/prometheus/write for who does not send protobuf: PC415';
