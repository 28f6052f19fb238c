-- Using --------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.consume(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_consume';
REVOKE ALL ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) IS
    'as record_usage(), now, if every hard budget of the platform, partner, tenant, project and user has room for it and for what is in flight, with its credits; else nothing is recorded. What is rolled back was not used. '
    'Errors: 53400 a budget has no room (DETAIL says which, how much it has and when it begins anew); 53000 the ledger is full; else as record_usage(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.check_budget(
    metric text, quantity numeric DEFAULT 1,
    OUT allowed boolean, OUT level text, OUT scope uuid, OUT of_cost boolean, OUT period text, OUT amount numeric, OUT used numeric,
    OUT in_flight numeric, OUT remaining numeric, OUT credits numeric, OUT resets_at timestamptz
) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_check_budget';
REVOKE ALL ON FUNCTION tenancy.check_budget(text, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.check_budget(text, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.check_budget(text, numeric) IS
    'whether consume() of so much (metric NULL: of something that costs so much) would be admitted now, and by which budget not; if all have room, the one with the least left; NULLs without any budget. used: by committed transactions; in_flight: by running ones, NULL on a standby, where nobody knows; remaining: with what its credits have left, which is credits; resets_at NULL: never. '
    'Errors: 22023 arguments; 42704 no such metric; 55000 no context, or one with several tenants, or with several projects of which none was selected. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.fits(metric text, quantity numeric DEFAULT 1) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_fits';
REVOKE ALL ON FUNCTION tenancy.fits(text, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fits(text, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.fits(text, numeric) IS
    'check_budget().allowed and nothing else, for whoever asks often. Errors as check_budget(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';
