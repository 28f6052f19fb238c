-- Using --------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.consume(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_consume';
REVOKE ALL ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) IS
    'Records usage as record_usage() does, with the current time, if every hard budget of the platform, partner, tenant, project '
    'and user has room for it. Room is what the budget and its credits have left, without what is in flight. Otherwise it raises '
    '53400 and records nothing. Usage that is rolled back does not count. Errors: 53400 a budget has no room (DETAIL names it, what '
    'it has left and when it resets); 53000 the ledger is full; else as record_usage(). For tenancy_app, tenancy_gateway, '
    'tenancy_admin (with a context)';

CREATE FUNCTION tenancy.check_budget(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL,
    OUT allowed boolean, OUT level text, OUT scope uuid, OUT of_cost boolean, OUT period text, OUT amount numeric, OUT used numeric,
    OUT in_flight numeric, OUT remaining numeric, OUT credits numeric, OUT resets_at timestamptz, OUT budget uuid, OUT per text
) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_check_budget';
REVOKE ALL ON FUNCTION tenancy.check_budget(text, numeric, numeric, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.check_budget(text, numeric, numeric, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.check_budget(text, numeric, numeric, jsonb) IS
    'Reports whether consume() with the same arguments would be admitted now (metric NULL: whether a cost of this quantity '
    'would). Name the cost, or the attributes that prices differ by, as consume() will. The other columns describe the budget '
    'that refuses it; if all have room, the budget with the least remaining; NULLs if there is no budget. used: by committed '
    'transactions. in_flight: by running transactions; NULL on a standby, which does not know them. remaining: includes credits, '
    'what the budget''s credits have left. resets_at NULL: never. budget: its id, in tenancy.budgets; of a plan''s budget, an id '
    'of its own. per: what each has the amount of, whose numbers these are. Errors: 22023 an invalid argument; 42704 no such '
    'metric; 55000 no context, or one with several tenants, or with several projects and none selected. For tenancy_app, '
    'tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.fits(metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_fits';
REVOKE ALL ON FUNCTION tenancy.fits(text, numeric, numeric, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fits(text, numeric, numeric, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.fits(text, numeric, numeric, jsonb) IS
    'Returns check_budget().allowed without the other columns, for frequent calls. Errors as check_budget(). For tenancy_app, '
    'tenancy_gateway, tenancy_admin (with a context)';
