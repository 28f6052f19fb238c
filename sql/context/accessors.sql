-- Accessors ---------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.tenant_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_id_wrapper';
COMMENT ON FUNCTION tenancy.tenant_id() IS 'the context''s tenant; NULL without a context, or when it has several and none is selected. The default of tenant columns';
CREATE FUNCTION tenancy.tenant_key_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_bigint_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_bigint() IS 'the external id of the context''s tenant as bigint; NULL if it is none';
CREATE FUNCTION tenancy.tenant_key_integer() RETURNS integer
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_integer_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_integer() IS 'the external id of the context''s tenant as integer; NULL if it is none';
CREATE FUNCTION tenancy.tenant_key_text() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_text_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_text() IS 'the external id of the context''s tenant; NULL if it has none';
CREATE FUNCTION tenancy.partner_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'partner_id_wrapper';
COMMENT ON FUNCTION tenancy.partner_id() IS 'the partner of the context''s user; NULL without a context and for users of the platform';
CREATE FUNCTION tenancy.project_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'project_id_wrapper';
COMMENT ON FUNCTION tenancy.project_id() IS 'the project that was selected; NULL if none was';
CREATE FUNCTION tenancy.context() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'context_wrapper';
COMMENT ON FUNCTION tenancy.context() IS 'the whole context as JSON; NULL when there is none';
CREATE FUNCTION tenancy.access_cache(OUT principals bigint, OUT bytes bigint, OUT reads bigint) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'access_cache_wrapper';
COMMENT ON FUNCTION tenancy.access_cache() IS 'how many principals this backend has resolved and keeps, about how many bytes they take, and how often it has read a principal, key, provider, token, budget or scope to keep it. For tenancy_admin, tenancy_gateway, tenancy_app';
REVOKE ALL ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.partner_id(), tenancy.project_id(), tenancy.context(), tenancy.access_cache() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.partner_id(), tenancy.project_id(), tenancy.context(), tenancy.access_cache()
    TO tenancy_app, tenancy_gateway, tenancy_admin;
