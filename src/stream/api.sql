-- stream: the door every batch comes through.
CREATE OR REPLACE FUNCTION probectl.ingest(plane text, batch bytea, OUT epoch bigint, OUT committed_seq bigint, OUT stored integer, OUT duplicate integer, OUT dead_lettered integer)
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pctl_ingest';
COMMENT ON FUNCTION probectl.ingest(text, bytea) IS 'stores a probectl.stream.v1.Batch of the entered agent exactly once: position and counts; PC422 when the envelope does not decode, PC409 when its epoch is older than the known one';
