-- What generated policies call. C functions, read per row; src/policy/predicates. LEAKPROOF is what gives the same error, or
-- none, whatever row it is asked about.

CREATE FUNCTION tenancy.can_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_support';
CREATE FUNCTION tenancy.can_see_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_see_support';
CREATE FUNCTION tenancy.owns_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_owns_support';
REVOKE ALL ON FUNCTION tenancy.can_support(internal), tenancy.can_see_support(internal), tenancy.owns_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION tenancy.can_support(internal) IS 'internal: tells the planner about can()';
COMMENT ON FUNCTION tenancy.can_see_support(internal) IS 'internal: tells the planner about can_see()';
COMMENT ON FUNCTION tenancy.owns_support(internal) IS 'internal: tells the planner about owns()';

CREATE FUNCTION tenancy.can(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_support AS 'MODULE_PATHNAME', 'tenancy_can_uuid';
COMMENT ON FUNCTION tenancy.can(text, uuid) IS
    'whether the context has the permission in the tenant of a row, given by the tenant''s id; NULL for NULL, and in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context), or no tenant where a context of several has to name one to write';

CREATE FUNCTION tenancy.can(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_support AS 'MODULE_PATHNAME', 'tenancy_can_int8';
COMMENT ON FUNCTION tenancy.can(text, bigint) IS
    'whether the context has the permission in the tenant of a row, given by the tenant''s external id; NULL for NULL, and in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context), or no tenant where a context of several has to name one to write';

CREATE FUNCTION tenancy.can(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_support AS 'MODULE_PATHNAME', 'tenancy_can_int4';
COMMENT ON FUNCTION tenancy.can(text, integer) IS
    'whether the context has the permission in the tenant of a row, given by the tenant''s external id; NULL for NULL, and in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context), or no tenant where a context of several has to name one to write';

CREATE FUNCTION tenancy.can(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_support AS 'MODULE_PATHNAME', 'tenancy_can_text';
COMMENT ON FUNCTION tenancy.can(text, text) IS
    'whether the context has the permission in the tenant of a row, given by the tenant''s external id; NULL for NULL, and in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context), or no tenant where a context of several has to name one to write';

CREATE FUNCTION tenancy.can_see(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_uuid';
COMMENT ON FUNCTION tenancy.can_see(text, uuid) IS
    'as can(), and also true for rows of the scopes above the context''s tenants, given by the tenant''s id: for tables with shared rows';

CREATE FUNCTION tenancy.can_see(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_int8';
COMMENT ON FUNCTION tenancy.can_see(text, bigint) IS
    'as can(), and also true for rows of the scopes above the context''s tenants, given by the tenant''s external id: for tables with shared rows';

CREATE FUNCTION tenancy.can_see(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_int4';
COMMENT ON FUNCTION tenancy.can_see(text, integer) IS
    'as can(), and also true for rows of the scopes above the context''s tenants, given by the tenant''s external id: for tables with shared rows';

CREATE FUNCTION tenancy.can_see(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_text';
COMMENT ON FUNCTION tenancy.can_see(text, text) IS
    'as can(), and also true for rows of the scopes above the context''s tenants, given by the tenant''s external id: for tables with shared rows';

CREATE FUNCTION tenancy.tenant_id(permission text) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_id';
COMMENT ON FUNCTION tenancy.tenant_id(text) IS
    'the one tenant of the context, if it has the permission there, else NULL. Errors: 55000 no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_bigint(permission text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_int8';
COMMENT ON FUNCTION tenancy.tenant_key_bigint(text) IS
    'the external id of the one tenant of the context, if it has the permission there, else NULL. Errors: 55000 no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_integer(permission text) RETURNS integer
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_int4';
COMMENT ON FUNCTION tenancy.tenant_key_integer(text) IS
    'the external id of the one tenant of the context, if it has the permission there, else NULL. Errors: 55000 no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_text(permission text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_text';
COMMENT ON FUNCTION tenancy.tenant_key_text(text) IS
    'the external id of the one tenant of the context, if it has the permission there, else NULL. Errors: 55000 no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_ids(permission text) RETURNS uuid[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_ids';
COMMENT ON FUNCTION tenancy.tenant_ids(text) IS
    'the tenants in which the context has the permission; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_bigint(permission text) RETURNS bigint[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_int8';
COMMENT ON FUNCTION tenancy.tenant_keys_bigint(text) IS
    'the external ids of the tenants in which the context has the permission; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_integer(permission text) RETURNS integer[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_int4';
COMMENT ON FUNCTION tenancy.tenant_keys_integer(text) IS
    'the external ids of the tenants in which the context has the permission; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_text(permission text) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_text';
COMMENT ON FUNCTION tenancy.tenant_keys_text(text) IS
    'the external ids of the tenants in which the context has the permission; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_ids(permission text) RETURNS uuid[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_ids';
COMMENT ON FUNCTION tenancy.visible_ids(text) IS
    'those tenants and the scopes above them; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_bigint(permission text) RETURNS bigint[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_int8';
COMMENT ON FUNCTION tenancy.visible_keys_bigint(text) IS
    'the external ids of those tenants and the scopes above them; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_integer(permission text) RETURNS integer[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_int4';
COMMENT ON FUNCTION tenancy.visible_keys_integer(text) IS
    'the external ids of those tenants and the scopes above them; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_text(permission text) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_text';
COMMENT ON FUNCTION tenancy.visible_keys_text(text) IS
    'the external ids of those tenants and the scopes above them; empty if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.owns(owner uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy.owns_support AS 'MODULE_PATHNAME', 'tenancy_owns';
COMMENT ON FUNCTION tenancy.owns(uuid) IS
    'whether a row that belongs to a user is the context''s user''s; in maintenance every row is. Errors: 55000 no context';

CREATE FUNCTION tenancy.in_project(project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project';
COMMENT ON FUNCTION tenancy.in_project(uuid) IS
    'true when no project is selected, or the row''s is the one selected. Errors: 55000 no context';

REVOKE ALL ON FUNCTION
    tenancy.can(text, uuid),
    tenancy.can(text, bigint),
    tenancy.can(text, integer),
    tenancy.can(text, text),
    tenancy.can_see(text, uuid),
    tenancy.can_see(text, bigint),
    tenancy.can_see(text, integer),
    tenancy.can_see(text, text),
    tenancy.tenant_id(text),
    tenancy.tenant_key_bigint(text),
    tenancy.tenant_key_integer(text),
    tenancy.tenant_key_text(text),
    tenancy.tenant_ids(text),
    tenancy.tenant_keys_bigint(text),
    tenancy.tenant_keys_integer(text),
    tenancy.tenant_keys_text(text),
    tenancy.visible_ids(text),
    tenancy.visible_keys_bigint(text),
    tenancy.visible_keys_integer(text),
    tenancy.visible_keys_text(text),
    tenancy.owns(uuid),
    tenancy.in_project(uuid)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    tenancy.can(text, uuid),
    tenancy.can(text, bigint),
    tenancy.can(text, integer),
    tenancy.can(text, text),
    tenancy.can_see(text, uuid),
    tenancy.can_see(text, bigint),
    tenancy.can_see(text, integer),
    tenancy.can_see(text, text),
    tenancy.tenant_id(text),
    tenancy.tenant_key_bigint(text),
    tenancy.tenant_key_integer(text),
    tenancy.tenant_key_text(text),
    tenancy.tenant_ids(text),
    tenancy.tenant_keys_bigint(text),
    tenancy.tenant_keys_integer(text),
    tenancy.tenant_keys_text(text),
    tenancy.visible_ids(text),
    tenancy.visible_keys_bigint(text),
    tenancy.visible_keys_integer(text),
    tenancy.visible_keys_text(text),
    tenancy.owns(uuid),
    tenancy.in_project(uuid)
    TO tenancy_app, tenancy_gateway, tenancy_admin;
