-- api: the route table says nothing of any tenant.
GRANT SELECT ON probectl.api_route TO probectl_app, probectl_gateway;
GRANT EXECUTE ON FUNCTION probectl.api_call(text, text, jsonb, jsonb, jsonb) TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl.openapi() TO probectl_gateway, probectl_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA probectl_api TO probectl_app;
GRANT EXECUTE ON FUNCTION
  probectl_internal.input_known(jsonb, text[]), probectl_internal.input_text(jsonb, text, text, integer),
  probectl_internal.input_number(jsonb, text, numeric, numeric, numeric), probectl_internal.input_uuid(jsonb, text),
  probectl_internal.query_integer(jsonb, text, integer, integer, integer), probectl_internal.query_time(jsonb, text),
  probectl_internal.time_text(timestamptz), probectl_internal.derive_running(), probectl_internal.json_raw(text), probectl_internal.test_json(probectl.test),
  probectl_internal.test_check(probectl.test), probectl_internal.test_check_private(probectl.test, probectl.test), probectl_internal.test_apply(probectl.test, jsonb)
  TO probectl_app;
GRANT EXECUTE ON FUNCTION probectl_internal.audit_denied(text, text, text, json) TO probectl_app;
