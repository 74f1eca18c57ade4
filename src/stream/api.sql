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
-- plane "metric" counts them anew.
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
  SELECT 'metric', m.stored + m.too_old + m.refused_agent + m.refused_tenant, m.stored, 0, 0, 0, m.too_old, 0, m.refused_agent + m.refused_tenant
    FROM probectl.metric_state m WHERE m.tenant_id = probectl.current_tenant()
  ORDER BY 1
$$;
COMMENT ON FUNCTION probectl.integrity() IS 'what became of every record of the bound tenant, by plane: received = stored + duplicate + malformed + dead_lettered + refused + shed + capped; turned away ones (refused, shed) come again and are counted each time';
