-- Accessors ---------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.tenant_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_id_wrapper';
COMMENT ON FUNCTION tenancy.tenant_id() IS
    'Returns the context''s tenant. NULL without a context, or if the context has several tenants and none is selected. Default of '
    'tenant columns';
CREATE FUNCTION tenancy.tenant_key_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_bigint_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_bigint() IS 'Returns the external id of the context''s tenant as bigint; NULL if it is not a bigint';
CREATE FUNCTION tenancy.tenant_key_integer() RETURNS integer
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_integer_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_integer() IS 'Returns the external id of the context''s tenant as integer; NULL if it is not an integer';
CREATE FUNCTION tenancy.tenant_key_text() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_text_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_text() IS 'Returns the external id of the context''s tenant; NULL if it has none';
CREATE FUNCTION tenancy.tenant_key_numeric() RETURNS numeric
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_numeric_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_numeric() IS 'Returns the external id of the context''s tenant as numeric; NULL if it is not a whole number';
CREATE FUNCTION tenancy.partner_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'partner_id_wrapper';
COMMENT ON FUNCTION tenancy.partner_id() IS 'Returns the partner of the context''s user; NULL without a context and for users of the platform';
CREATE FUNCTION tenancy.project_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'project_id_wrapper';
COMMENT ON FUNCTION tenancy.project_id() IS 'Returns the selected project; NULL if none is selected';
CREATE FUNCTION tenancy.user_key_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_user_key_bigint_wrapper';
COMMENT ON FUNCTION tenancy.user_key_bigint() IS
    'Returns the external id of the context''s user as bigint; NULL if it is not a bigint, and in other tenants than the one that the user belongs to';
CREATE FUNCTION tenancy.user_key_text() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_user_key_text_wrapper';
COMMENT ON FUNCTION tenancy.user_key_text() IS
    'Returns the external id of the context''s user; NULL if it has none, and in other tenants than the one that the user belongs to';
CREATE FUNCTION tenancy.project_key_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'context_project_key_bigint_wrapper';
COMMENT ON FUNCTION tenancy.project_key_bigint() IS 'Returns the external id of the selected project as bigint; NULL if it is not a bigint, and if none is selected';
CREATE FUNCTION tenancy.project_key_text() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'context_project_key_text_wrapper';
COMMENT ON FUNCTION tenancy.project_key_text() IS 'Returns the external id of the selected project; NULL if it has none, and if none is selected';
CREATE FUNCTION tenancy.context() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'context_wrapper';
COMMENT ON FUNCTION tenancy.context() IS 'Returns the whole context as JSON; NULL without a context';
CREATE FUNCTION tenancy.cache_key(namespace text, key text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'cache_key_wrapper';
COMMENT ON FUNCTION tenancy.cache_key(text, text) IS
    'Returns the name of a key in a cache for the context''s tenant: tenant:namespace:key, in at most 250 bytes of printable ASCII. '
    'Other bytes, and : within a part, are escaped as %XX. A longer name ends with # and a SHA-256 in place of the key. Different '
    'tenants, namespaces or keys never have the same name. Errors: 55000 no context, or one of several tenants; 22023 NULL. For '
    'tenancy_admin, tenancy_gateway, tenancy_app';
CREATE FUNCTION tenancy.subject(topic text, VARIADIC tokens text[] DEFAULT '{}') RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'subject_wrapper';
COMMENT ON FUNCTION tenancy.subject(text, text[]) IS
    'Returns the name of a subject, topic or routing key for the context''s tenant: tenant.topic.token…, in at most 249 bytes of '
    'letters, digits, - and the . between tokens. NATS, Kafka and AMQP take it. Other bytes are escaped as -xx and - as --, so that '
    'no token is a wildcard. A longer name ends with -h and a SHA-256 in place of the tokens. Different tenants, topics or tokens '
    'never have the same name. Errors: 55000 no context, or one of several tenants; 22023 NULL. For tenancy_admin, tenancy_gateway, '
    'tenancy_app';
CREATE FUNCTION tenancy.access_cache(OUT principals bigint, OUT bytes bigint, OUT reads bigint) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'access_cache_wrapper';
COMMENT ON FUNCTION tenancy.access_cache() IS
    'Reports how many principals this backend has cached, and about how many bytes they take. reads counts how often it has read a '
    'principal, key, provider, token, budget or scope into its caches. For tenancy_admin, tenancy_gateway, tenancy_app';
REVOKE ALL ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.tenant_key_numeric(), tenancy.partner_id(), tenancy.project_id(),
    tenancy.user_key_bigint(), tenancy.user_key_text(), tenancy.project_key_bigint(), tenancy.project_key_text(), tenancy.context(), tenancy.cache_key(text, text),
    tenancy.subject(text, text[]), tenancy.access_cache() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.tenant_key_numeric(), tenancy.partner_id(), tenancy.project_id(),
    tenancy.user_key_bigint(), tenancy.user_key_text(), tenancy.project_key_bigint(), tenancy.project_key_text(), tenancy.context(), tenancy.cache_key(text, text),
    tenancy.subject(text, text[]), tenancy.access_cache()
    TO tenancy_app, tenancy_gateway, tenancy_admin;
