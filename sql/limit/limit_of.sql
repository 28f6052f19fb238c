-- The limit of kind amount that applies to the caller.

CREATE FUNCTION tenancy.limit_of(name text) RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_limit_of';
REVOKE ALL ON FUNCTION tenancy.limit_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.limit_of(text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.limit_of(text) IS
    'Returns the limit of kind amount that applies to the context, in the limit''s unit: the least value of all levels. NULL: not limited. It '
    'may be called for each row. Errors: 22023 name is NULL, or of a limit of another kind; 42704 no such limit; 55000 no context, or one with '
    'several tenants, or with several projects and none selected. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';
