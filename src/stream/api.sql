-- stream: the door every batch comes through.
CREATE OR REPLACE FUNCTION probectl.ingest(plane text, batch bytea, OUT epoch bigint, OUT committed_seq bigint, OUT stored integer, OUT duplicate integer, OUT dead_lettered integer)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ingest';
COMMENT ON FUNCTION probectl.ingest(text, bytea) IS 'stores a probectl.stream.v1.Batch of the entered agent exactly once: position and counts; PC422 when the envelope does not decode, PC409 when its epoch is older than the known one';

CREATE OR REPLACE FUNCTION probectl.ingest_agents(tenant uuid, agents uuid[], serials text[], planes text[], batches bytea[],
    OUT epoch bigint, OUT committed_seq bigint, OUT stored integer, OUT duplicate integer, OUT dead_lettered integer)
  RETURNS SETOF record LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ingest_agents';
COMMENT ON FUNCTION probectl.ingest_agents(uuid, uuid[], text[], text[], bytea[]) IS 'enter_agent() and ingest() for a batch of each of several agents of one tenant, all or nothing, in order: a row each; refusals are theirs';

CREATE OR REPLACE FUNCTION probectl_internal.turned_away_now(OUT plane text, OUT booted_at timestamptz, OUT refused bigint, OUT shed bigint)
  RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pctl_turned_away_now';
COMMENT ON FUNCTION probectl_internal.turned_away_now() IS 'records of the bound tenant that were turned away since the server''s memory began, by plane';

CREATE OR REPLACE FUNCTION probectl_internal.turned_away_keep() RETURNS bigint
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH kept AS (
    INSERT INTO probectl.turned_away AS k (tenant_id, plane, booted_at, refused, shed)
      SELECT probectl.current_tenant(), n.plane, n.booted_at, n.refused, n.shed FROM probectl_internal.turned_away_now() n
       WHERE n.refused + n.shed > 0
    ON CONFLICT (tenant_id, plane) DO UPDATE SET
      refused_before = k.refused_before + CASE WHEN k.booted_at = excluded.booted_at THEN 0 ELSE k.refused END,
      shed_before = k.shed_before + CASE WHEN k.booted_at = excluded.booted_at THEN 0 ELSE k.shed END,
      booted_at = excluded.booted_at, refused = excluded.refused, shed = excluded.shed
    WHERE (k.booted_at, k.refused, k.shed) IS DISTINCT FROM (excluded.booted_at, excluded.refused, excluded.shed)
    RETURNING 1)
  SELECT count(*) FROM kept
$$;
COMMENT ON FUNCTION probectl_internal.turned_away_keep() IS 'writes down what was turned away of the bound tenant: number of planes that changed; the same again changes nothing';

-- Each record that came ended in exactly one of the columns after received. Samples are what results become, so
-- plane "metric" counts them anew; "remote" counts those that others measured and sent by remote write.
CREATE OR REPLACE FUNCTION probectl.integrity(OUT plane text, OUT received bigint, OUT stored bigint, OUT duplicate bigint, OUT malformed bigint,
    OUT dead_lettered bigint, OUT refused bigint, OUT shed bigint, OUT capped bigint)
  RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH committed AS (
    SELECT p.plane, sum(p.received)::bigint AS received, sum(p.stored)::bigint AS stored, sum(p.duplicate)::bigint AS duplicate,
           sum(p.malformed)::bigint AS malformed, sum(p.dead_lettered)::bigint AS dead_lettered
      FROM probectl.stream_position p WHERE p.tenant_id = probectl.current_tenant() GROUP BY 1
  ), away AS (
    SELECT coalesce(k.plane, n.plane) AS plane,
           coalesce(k.refused_before + CASE WHEN k.booted_at = n.booted_at THEN 0 ELSE k.refused END, 0) + n.refused AS refused,
           coalesce(k.shed_before + CASE WHEN k.booted_at = n.booted_at THEN 0 ELSE k.shed END, 0) + n.shed AS shed
      FROM probectl_internal.turned_away_now() n
      LEFT JOIN probectl.turned_away k ON k.tenant_id = probectl.current_tenant() AND k.plane = n.plane
  )
  SELECT coalesce(c.plane, a.plane), coalesce(c.received, 0) + coalesce(a.refused + a.shed, 0), coalesce(c.stored, 0), coalesce(c.duplicate, 0),
         coalesce(c.malformed, 0), coalesce(c.dead_lettered, 0), coalesce(a.refused, 0), coalesce(a.shed, 0), 0::bigint
    FROM committed c FULL JOIN away a ON a.plane = c.plane
  UNION ALL
  SELECT 'metric', m.stored + m.too_old + m.refused_agent + m.refused_tenant, m.stored, 0, 0, 0, 0, 0, m.too_old + m.refused_agent + m.refused_tenant
    FROM probectl.metric_state m WHERE m.tenant_id = probectl.current_tenant()
  UNION ALL
  SELECT 'remote', sum(r.received)::bigint, sum(r.stored)::bigint, 0, sum(r.bad_labels)::bigint, 0, 0, 0,
         sum(r.too_old + r.in_future + r.refused_tenant)::bigint
    FROM probectl.remote_intake r WHERE r.tenant_id = probectl.current_tenant() HAVING count(*) > 0
  ORDER BY 1
$$;
COMMENT ON FUNCTION probectl.integrity() IS 'what became of every record of the bound tenant, by plane: received = stored + duplicate + malformed + dead_lettered + refused + shed + capped; turned away ones (refused, shed) come again and are counted each time';
-- The bus. Its consumers store a batch and move the offset in one transaction, so a record counts once however often it is delivered.
CREATE OR REPLACE FUNCTION probectl.bus_layout(cluster text, partitions integer, buckets integer) RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  agreed record;
BEGIN
  INSERT INTO probectl_internal.bus_layout AS l VALUES ($1, $2, $3, probectl.clock_now()) ON CONFLICT DO NOTHING;
  SELECT l.partitions, l.buckets INTO agreed FROM probectl_internal.bus_layout l WHERE l.cluster = $1;
  IF (agreed.partitions, agreed.buckets) IS DISTINCT FROM ($2, $3) THEN
    RAISE EXCEPTION USING ERRCODE = 'PC409',
      MESSAGE = format('the bus is laid out in %s partitions and %s buckets, not in %s and %s', agreed.partitions, agreed.buckets, $2, $3),
      HINT = 'Use the same in every process, or empty the bus and delete the row of probectl_internal.bus_layout.';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.bus_layout(text, integer, integer) IS 'agrees on how agents are spread over the partitions of a cluster: the first caller decides; PC409 for who has other numbers';

CREATE OR REPLACE FUNCTION probectl.bus_claim(cluster text, topic text, partition integer, OUT next_offset bigint, OUT fence bigint)
  LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO probectl_internal.bus_offset AS o VALUES ($1, $2, $3, 0, 1, probectl.clock_now())
  ON CONFLICT ON CONSTRAINT bus_offset_pkey DO UPDATE SET fence = o.fence + 1, updated_at = EXCLUDED.updated_at
  RETURNING o.next_offset, o.fence
$$;
COMMENT ON FUNCTION probectl.bus_claim(text, text, integer) IS 'takes a partition over: where to go on, and the number that tells this owner from those before it, who can store no more';

CREATE OR REPLACE FUNCTION probectl.bus_advance(cluster text, topic text, partition integer, fence bigint, from_offset bigint, to_offset bigint) RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE probectl_internal.bus_offset o SET next_offset = $6, updated_at = probectl.clock_now()
   WHERE o.cluster = $1 AND o.topic = $2 AND o.partition = $3 AND o.fence = $4 AND o.next_offset = $5;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PC412', MESSAGE = 'another consumer has the partition';
  END IF;
END
$$;
COMMENT ON FUNCTION probectl.bus_advance(text, text, integer, bigint, bigint, bigint) IS 'moves a partition on in the transaction that stores its records; PC412, and with it nothing stored, when somebody claimed it since or it is not at from_offset';

CREATE OR REPLACE FUNCTION probectl.ingest_refused(tenant uuid, agent uuid, serial text, plane text, batch bytea, reason text, OUT epoch bigint, OUT committed_seq bigint, OUT stored integer, OUT duplicate integer, OUT dead_lettered integer)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ingest_refused';
COMMENT ON FUNCTION probectl.ingest_refused(uuid, uuid, text, text, bytea, text) IS 'makes dead letters of a batch from the bus whose sender may not enter (any more) or whose plane is not known: its records past the mark, once, with the reason; PC404 the agent never had such a certificate, PC409 an older epoch, PC422 undecodable envelope';

-- Dead letters: what could not be stored, looked at and tried again by the tenant.
CREATE OR REPLACE FUNCTION probectl.dead_letter_replay(dead_letter_id uuid) RETURNS text
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_dead_letter_replay';
COMMENT ON FUNCTION probectl.dead_letter_replay(uuid) IS 'tries a dead letter of the tenant again: "stored", after which it is gone, or the reason it has now; needs agent.write. PC403 the tenant is not active, PC404 no such dead letter, PC409 its agent is revoked or it was cut when it was kept, PC422 its plane is not known';

CREATE OR REPLACE FUNCTION probectl_api.dead_letter_list(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  page integer := probectl_internal.query_integer(query, 'limit', 100, 1, 1000);
  after_id uuid := coalesce(probectl_internal.input_uuid(query, 'after'), '00000000-0000-0000-0000-000000000000');
  wanted_agent uuid := probectl_internal.input_uuid(query, 'agent_id');
  wanted_reason text := probectl_internal.input_text(query, 'reason', '', 64);
BEGIN
  PERFORM probectl_internal.input_known(query, '{agent_id,reason,limit,after}');
  RETURN (
    SELECT json_build_object(
             'items', coalesce(json_agg(json_build_object('dead_letter_id', d.dead_letter_id, 'agent_id', d.agent_id, 'plane', d.plane,
               'epoch', d.epoch, 'seq', d.seq, 'reason', d.reason, 'record_bytes', d.record_bytes, 'whole', d.record_bytes = length(d.record),
               'received_at', probectl_internal.time_text(d.received_at)) ORDER BY d.dead_letter_id), '[]'),
             'next', CASE WHEN count(*) = page THEN (array_agg(d.dead_letter_id ORDER BY d.dead_letter_id DESC))[1] END)
      FROM (SELECT * FROM probectl.dead_letter x
             WHERE x.tenant_id = probectl.current_tenant() AND x.dead_letter_id > after_id
               AND (wanted_agent IS NULL OR x.agent_id = wanted_agent) AND (wanted_reason = '' OR x.reason = wanted_reason)
             ORDER BY x.dead_letter_id LIMIT page) d);
END
$$;
COMMENT ON FUNCTION probectl_api.dead_letter_list(jsonb, jsonb, jsonb) IS 'GET /v1/dead-letters';

CREATE OR REPLACE FUNCTION probectl_api.dead_letter_replay(params jsonb, query jsonb, request jsonb) RETURNS json
  LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM probectl_internal.input_known(request, '{}');
  RETURN json_build_object('outcome', probectl.dead_letter_replay(probectl_internal.input_uuid(dead_letter_replay.params, 'dead_letter_id')));
END
$$;
COMMENT ON FUNCTION probectl_api.dead_letter_replay(jsonb, jsonb, jsonb) IS 'POST /v1/dead-letters/{dead_letter_id}/replay';
