-- core: nobody has anything that is not granted below.
REVOKE ALL ON ALL TABLES IN SCHEMA probectl, probectl_internal, probectl_api FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA probectl, probectl_internal, probectl_api FROM PUBLIC;
REVOKE ALL ON SCHEMA probectl, probectl_internal, probectl_api FROM PUBLIC;
GRANT USAGE ON SCHEMA probectl TO probectl_app, probectl_gateway, probectl_ingest, probectl_worker, probectl_provider;
GRANT USAGE ON SCHEMA probectl_internal TO probectl_app, probectl_worker;
GRANT USAGE ON SCHEMA probectl_api TO probectl_app;

GRANT EXECUTE ON FUNCTION probectl.clock_now(), probectl.uuid_v7() TO probectl_app, probectl_worker;
GRANT EXECUTE ON FUNCTION probectl.ready() TO probectl_gateway, probectl_ingest, probectl_worker;
GRANT EXECUTE ON FUNCTION probectl_internal.invalid(text, text) TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.partitions_keep() TO probectl_worker;
GRANT SELECT, INSERT, UPDATE ON probectl_internal.worker_cursor TO probectl_worker;
