-- Functions that generated policies call: C functions, called for each row, in src/policy/predicates. LEAKPROOF functions
-- raise the same error, or none, for every row. A permission with the suffix /project is also true if it is held only in
-- some projects of the tenant.

CREATE FUNCTION tenancy_internal.can_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_support';
CREATE FUNCTION tenancy_internal.can_see_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_see_support';
CREATE FUNCTION tenancy_internal.can_write_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_write_support';
REVOKE ALL ON FUNCTION tenancy_internal.can_write_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.can_write_support(internal) IS 'internal: tells the planner about can_write()';
CREATE FUNCTION tenancy_internal.can_see_null_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_see_null_support';
REVOKE ALL ON FUNCTION tenancy_internal.can_see_null_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.can_see_null_support(internal) IS 'internal: tells the planner about can_see_null()';
CREATE FUNCTION tenancy_internal.can_write_null_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can_write_null_support';
REVOKE ALL ON FUNCTION tenancy_internal.can_write_null_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.can_write_null_support(internal) IS 'internal: tells the planner about can_write_null()';
CREATE FUNCTION tenancy_internal.owns_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_owns_support';
REVOKE ALL ON FUNCTION tenancy_internal.can_support(internal), tenancy_internal.can_see_support(internal), tenancy_internal.owns_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.can_support(internal) IS 'internal: tells the planner about can()';
COMMENT ON FUNCTION tenancy_internal.can_see_support(internal) IS 'internal: tells the planner about can_see()';
COMMENT ON FUNCTION tenancy_internal.owns_support(internal) IS 'internal: tells the planner about owns()';

CREATE FUNCTION tenancy.can(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_support AS 'MODULE_PATHNAME', 'tenancy_can_uuid';
COMMENT ON FUNCTION tenancy.can(text, uuid) IS
    'Returns whether the context holds the permission in a row''s tenant, named by the tenant''s id. For a NULL tenant: true in maintenance, else NULL. '
    'Returns NULL also in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_support AS 'MODULE_PATHNAME', 'tenancy_can_int8';
COMMENT ON FUNCTION tenancy.can(text, bigint) IS
    'Returns whether the context holds the permission in a row''s tenant, named by the tenant''s external id. For a NULL tenant: true in maintenance, else NULL. '
    'Returns NULL also in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_support AS 'MODULE_PATHNAME', 'tenancy_can_int4';
COMMENT ON FUNCTION tenancy.can(text, integer) IS
    'Returns whether the context holds the permission in a row''s tenant, named by the tenant''s external id. For a NULL tenant: true in maintenance, else NULL. '
    'Returns NULL also in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_support AS 'MODULE_PATHNAME', 'tenancy_can_text';
COMMENT ON FUNCTION tenancy.can(text, text) IS
    'Returns whether the context holds the permission in a row''s tenant, named by the tenant''s external id. For a NULL tenant: true in maintenance, else NULL. '
    'Returns NULL also in a context of one tenant without the permission. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can_see(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_uuid';
COMMENT ON FUNCTION tenancy.can_see(text, uuid) IS
    'Returns what can() returns, and also true for rows of the scopes above the context''s tenants. The scope is named by its id. '
    'Policies of tables with shared rows call it';

CREATE FUNCTION tenancy.can_see(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_int8';
COMMENT ON FUNCTION tenancy.can_see(text, bigint) IS
    'Returns what can() returns, and also true for rows of the scopes above the context''s tenants. The scope is named by its '
    'external id. Policies of tables with shared rows call it';

CREATE FUNCTION tenancy.can_see(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_int4';
COMMENT ON FUNCTION tenancy.can_see(text, integer) IS
    'Returns what can() returns, and also true for rows of the scopes above the context''s tenants. The scope is named by its '
    'external id. Policies of tables with shared rows call it';

CREATE FUNCTION tenancy.can_see(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_support AS 'MODULE_PATHNAME', 'tenancy_can_see_text';
COMMENT ON FUNCTION tenancy.can_see(text, text) IS
    'Returns what can() returns, and also true for rows of the scopes above the context''s tenants. The scope is named by its '
    'external id. Policies of tables with shared rows call it';

CREATE FUNCTION tenancy.can_see_null(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_null_support AS 'MODULE_PATHNAME', 'tenancy_can_see_null_uuid';
COMMENT ON FUNCTION tenancy.can_see_null(text, uuid) IS
    'Returns what can() returns for a row''s tenant, named by its id. For a NULL tenant: true if the context holds the permission in any '
    'tenant, and in maintenance. Policies of tables with shared_null call it. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can_see_null(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_null_support AS 'MODULE_PATHNAME', 'tenancy_can_see_null_int8';
COMMENT ON FUNCTION tenancy.can_see_null(text, bigint) IS
    'Returns what can() returns for a row''s tenant, named by its external id. For a NULL tenant: true if the context holds the permission in any '
    'tenant, and in maintenance. Policies of tables with shared_null call it. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can_see_null(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_null_support AS 'MODULE_PATHNAME', 'tenancy_can_see_null_int4';
COMMENT ON FUNCTION tenancy.can_see_null(text, integer) IS
    'Returns what can() returns for a row''s tenant, named by its external id. For a NULL tenant: true if the context holds the permission in any '
    'tenant, and in maintenance. Policies of tables with shared_null call it. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.can_see_null(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_see_null_support AS 'MODULE_PATHNAME', 'tenancy_can_see_null_text';
COMMENT ON FUNCTION tenancy.can_see_null(text, text) IS
    'Returns what can() returns for a row''s tenant, named by its external id. For a NULL tenant: true if the context holds the permission in any '
    'tenant, and in maintenance. Policies of tables with shared_null call it. Errors: 55000 no context (see tenancy.missing_context)';

CREATE FUNCTION tenancy.tenant_id(permission text) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_id';
COMMENT ON FUNCTION tenancy.tenant_id(text) IS
    'Returns the only tenant of the context if the context holds the permission there, else NULL. Errors: 55000 no context, or one '
    'that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_bigint(permission text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_int8';
COMMENT ON FUNCTION tenancy.tenant_key_bigint(text) IS
    'Returns the external id of the only tenant of the context if the context holds the permission there, else NULL. Errors: 55000 '
    'no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_integer(permission text) RETURNS integer
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_int4';
COMMENT ON FUNCTION tenancy.tenant_key_integer(text) IS
    'Returns the external id of the only tenant of the context if the context holds the permission there, else NULL. Errors: 55000 '
    'no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_text(permission text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_text';
COMMENT ON FUNCTION tenancy.tenant_key_text(text) IS
    'Returns the external id of the only tenant of the context if the context holds the permission there, else NULL. Errors: 55000 '
    'no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_key_numeric(permission text) RETURNS numeric
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_key_numeric';
COMMENT ON FUNCTION tenancy.tenant_key_numeric(text) IS
    'Returns the external id of the only tenant of the context if the context holds the permission there, else NULL. Errors: 55000 '
    'no context, or one that spans several tenants';

CREATE FUNCTION tenancy.tenant_ids(permission text) RETURNS uuid[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_ids';
COMMENT ON FUNCTION tenancy.tenant_ids(text) IS
    'Returns the tenants in which the context holds the permission; an empty array if there is none. Errors: 55000 no context, or '
    'maintenance';

CREATE FUNCTION tenancy.tenant_keys_bigint(permission text) RETURNS bigint[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_int8';
COMMENT ON FUNCTION tenancy.tenant_keys_bigint(text) IS
    'Returns the external ids of the tenants in which the context holds the permission; an empty array if there is none. Errors: '
    '55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_integer(permission text) RETURNS integer[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_int4';
COMMENT ON FUNCTION tenancy.tenant_keys_integer(text) IS
    'Returns the external ids of the tenants in which the context holds the permission; an empty array if there is none. Errors: '
    '55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_text(permission text) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_text';
COMMENT ON FUNCTION tenancy.tenant_keys_text(text) IS
    'Returns the external ids of the tenants in which the context holds the permission; an empty array if there is none. Errors: '
    '55000 no context, or maintenance';

CREATE FUNCTION tenancy.tenant_keys_numeric(permission text) RETURNS numeric[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_tenant_keys_numeric';
COMMENT ON FUNCTION tenancy.tenant_keys_numeric(text) IS
    'Returns the external ids of the tenants in which the context holds the permission; an empty array if there is none. Errors: '
    '55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_ids(permission text) RETURNS uuid[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_ids';
COMMENT ON FUNCTION tenancy.visible_ids(text) IS
    'Returns the tenants in which the context holds the permission, and the scopes above them; an empty array if there is none. '
    'Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_bigint(permission text) RETURNS bigint[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_int8';
COMMENT ON FUNCTION tenancy.visible_keys_bigint(text) IS
    'Returns the external ids of the tenants in which the context holds the permission, and of the scopes above them; an empty '
    'array if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_integer(permission text) RETURNS integer[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_int4';
COMMENT ON FUNCTION tenancy.visible_keys_integer(text) IS
    'Returns the external ids of the tenants in which the context holds the permission, and of the scopes above them; an empty '
    'array if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_text(permission text) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_text';
COMMENT ON FUNCTION tenancy.visible_keys_text(text) IS
    'Returns the external ids of the tenants in which the context holds the permission, and of the scopes above them; an empty '
    'array if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.visible_keys_numeric(permission text) RETURNS numeric[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_visible_keys_numeric';
COMMENT ON FUNCTION tenancy.visible_keys_numeric(text) IS
    'Returns the external ids of the tenants in which the context holds the permission, and of the scopes above them; an empty '
    'array if there is none. Errors: 55000 no context, or maintenance';

CREATE FUNCTION tenancy.owns(owner uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.owns_support AS 'MODULE_PATHNAME', 'tenancy_owns';
COMMENT ON FUNCTION tenancy.owns(uuid) IS
    'Returns whether the user of a row is the context''s user; true for every row in maintenance. Errors: 55000 no context';

CREATE FUNCTION tenancy.can_write(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_support AS 'MODULE_PATHNAME', 'tenancy_can_write_uuid';
COMMENT ON FUNCTION tenancy.can_write(text, uuid) IS
    'Returns what can() returns, for the one tenant that is written to, named by its id. Errors: 55000 no context (see '
    'tenancy.missing_context), or one that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_support AS 'MODULE_PATHNAME', 'tenancy_can_write_int8';
COMMENT ON FUNCTION tenancy.can_write(text, bigint) IS
    'Returns what can() returns, for the one tenant that is written to, named by its external id. Errors: 55000 no context (see '
    'tenancy.missing_context), or one that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_support AS 'MODULE_PATHNAME', 'tenancy_can_write_int4';
COMMENT ON FUNCTION tenancy.can_write(text, integer) IS
    'Returns what can() returns, for the one tenant that is written to, named by its external id. Errors: 55000 no context (see '
    'tenancy.missing_context), or one that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_support AS 'MODULE_PATHNAME', 'tenancy_can_write_text';
COMMENT ON FUNCTION tenancy.can_write(text, text) IS
    'Returns what can() returns, for the one tenant that is written to, named by its external id. Errors: 55000 no context (see '
    'tenancy.missing_context), or one that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write_shared(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_shared_uuid';
COMMENT ON FUNCTION tenancy.can_write_shared(text, uuid) IS
    'Returns what can_write() returns, and also true for rows of a partner, named by its id, if the context holds the permission there and has '
    'selected no tenant. Policies of tables with shared rows call it. Errors: 55000 no context, or one that spans several tenants with none '
    'selected and without the permission at a partner';

CREATE FUNCTION tenancy.can_write_shared(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_shared_int8';
COMMENT ON FUNCTION tenancy.can_write_shared(text, bigint) IS
    'Returns what can_write() returns, and also true for rows of a partner, named by its external id, if the context holds the permission there and has '
    'selected no tenant. Policies of tables with shared rows call it. Errors: 55000 no context, or one that spans several tenants with none '
    'selected and without the permission at a partner';

CREATE FUNCTION tenancy.can_write_shared(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_shared_int4';
COMMENT ON FUNCTION tenancy.can_write_shared(text, integer) IS
    'Returns what can_write() returns, and also true for rows of a partner, named by its external id, if the context holds the permission there and has '
    'selected no tenant. Policies of tables with shared rows call it. Errors: 55000 no context, or one that spans several tenants with none '
    'selected and without the permission at a partner';

CREATE FUNCTION tenancy.can_write_shared(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_shared_text';
COMMENT ON FUNCTION tenancy.can_write_shared(text, text) IS
    'Returns what can_write() returns, and also true for rows of a partner, named by its external id, if the context holds the permission there and has '
    'selected no tenant. Policies of tables with shared rows call it. Errors: 55000 no context, or one that spans several tenants with none '
    'selected and without the permission at a partner';

CREATE FUNCTION tenancy.can_write_null(permission text, tenant uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_null_uuid';
COMMENT ON FUNCTION tenancy.can_write_null(text, uuid) IS
    'Returns what can_write() returns for the tenant that is written to, named by its id. For a NULL tenant: true in maintenance, and if the '
    'context holds the permission at the platform. Policies of tables with shared_null call it. Errors: 55000 no context, or one '
    'that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write_null(permission text, tenant bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_null_int8';
COMMENT ON FUNCTION tenancy.can_write_null(text, bigint) IS
    'Returns what can_write() returns for the tenant that is written to, named by its external id. For a NULL tenant: true in maintenance, and if the '
    'context holds the permission at the platform. Policies of tables with shared_null call it. Errors: 55000 no context, or one '
    'that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write_null(permission text, tenant integer) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_null_int4';
COMMENT ON FUNCTION tenancy.can_write_null(text, integer) IS
    'Returns what can_write() returns for the tenant that is written to, named by its external id. For a NULL tenant: true in maintenance, and if the '
    'context holds the permission at the platform. Policies of tables with shared_null call it. Errors: 55000 no context, or one '
    'that spans several tenants with none selected';

CREATE FUNCTION tenancy.can_write_null(permission text, tenant text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.can_write_null_support AS 'MODULE_PATHNAME', 'tenancy_can_write_null_text';
COMMENT ON FUNCTION tenancy.can_write_null(text, text) IS
    'Returns what can_write() returns for the tenant that is written to, named by its external id. For a NULL tenant: true in maintenance, and if the '
    'context holds the permission at the platform. Policies of tables with shared_null call it. Errors: 55000 no context, or one '
    'that spans several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant uuid, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_uuid';
COMMENT ON FUNCTION tenancy.in_project(text, uuid, uuid) IS
    'Returns whether the permission covers a row''s project, in the tenant named by its id. A permission held in the tenant covers '
    'every project; one held only in projects covers those. With a project selected, only that one. Errors: 55000 no context';

CREATE FUNCTION tenancy.in_project(permission text, tenant bigint, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int8';
COMMENT ON FUNCTION tenancy.in_project(text, bigint, uuid) IS
    'Returns whether the permission covers a row''s project, in the tenant named by its external id. A permission held in the '
    'tenant covers every project; one held only in projects covers those. With a project selected, only that one. Errors: 55000 no '
    'context';

CREATE FUNCTION tenancy.in_project(permission text, tenant integer, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int4';
COMMENT ON FUNCTION tenancy.in_project(text, integer, uuid) IS
    'Returns whether the permission covers a row''s project, in the tenant named by its external id. A permission held in the '
    'tenant covers every project; one held only in projects covers those. With a project selected, only that one. Errors: 55000 no '
    'context';

CREATE FUNCTION tenancy.in_project(permission text, tenant text, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_text';
COMMENT ON FUNCTION tenancy.in_project(text, text, uuid) IS
    'Returns whether the permission covers a row''s project, in the tenant named by its external id. A permission held in the '
    'tenant covers every project; one held only in projects covers those. With a project selected, only that one. Errors: 55000 no '
    'context';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant uuid, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_uuid';
COMMENT ON FUNCTION tenancy.see_in_project(text, uuid, uuid) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant bigint, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int8';
COMMENT ON FUNCTION tenancy.see_in_project(text, bigint, uuid) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant integer, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int4';
COMMENT ON FUNCTION tenancy.see_in_project(text, integer, uuid) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant text, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_text';
COMMENT ON FUNCTION tenancy.see_in_project(text, text, uuid) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant uuid, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_uuid';
COMMENT ON FUNCTION tenancy.write_in_project(text, uuid, uuid) IS
    'Returns what in_project() returns, for the project that is written to. Errors: 55000 no context, or one that spans several '
    'projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant bigint, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int8';
COMMENT ON FUNCTION tenancy.write_in_project(text, bigint, uuid) IS
    'Returns what in_project() returns, for the project that is written to. Errors: 55000 no context, or one that spans several '
    'projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant integer, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int4';
COMMENT ON FUNCTION tenancy.write_in_project(text, integer, uuid) IS
    'Returns what in_project() returns, for the project that is written to. Errors: 55000 no context, or one that spans several '
    'projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant text, project uuid) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_text';
COMMENT ON FUNCTION tenancy.write_in_project(text, text, uuid) IS
    'Returns what in_project() returns, for the project that is written to. Errors: 55000 no context, or one that spans several '
    'projects with none selected';

-- The same for projects and users that rows name by external ids.

CREATE FUNCTION tenancy.in_project(permission text, tenant uuid, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_uuid_int8';
COMMENT ON FUNCTION tenancy.in_project(text, uuid, bigint) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant uuid, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_uuid_text';
COMMENT ON FUNCTION tenancy.in_project(text, uuid, text) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant bigint, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int8_int8';
COMMENT ON FUNCTION tenancy.in_project(text, bigint, bigint) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant bigint, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int8_text';
COMMENT ON FUNCTION tenancy.in_project(text, bigint, text) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant integer, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int4_int8';
COMMENT ON FUNCTION tenancy.in_project(text, integer, bigint) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant integer, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_int4_text';
COMMENT ON FUNCTION tenancy.in_project(text, integer, text) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant text, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_text_int8';
COMMENT ON FUNCTION tenancy.in_project(text, text, bigint) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.in_project(permission text, tenant text, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_in_project_text_text';
COMMENT ON FUNCTION tenancy.in_project(text, text, text) IS
    'Returns whether the permission covers a row''s project, named by its external id, in the tenant named by its external id. As with a uuid. Errors: 55000 no '
    'context, or projects of several tenants with none selected';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant uuid, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_uuid_int8';
COMMENT ON FUNCTION tenancy.see_in_project(text, uuid, bigint) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant uuid, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_uuid_text';
COMMENT ON FUNCTION tenancy.see_in_project(text, uuid, text) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant bigint, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int8_int8';
COMMENT ON FUNCTION tenancy.see_in_project(text, bigint, bigint) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant bigint, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int8_text';
COMMENT ON FUNCTION tenancy.see_in_project(text, bigint, text) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant integer, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int4_int8';
COMMENT ON FUNCTION tenancy.see_in_project(text, integer, bigint) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant integer, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_int4_text';
COMMENT ON FUNCTION tenancy.see_in_project(text, integer, text) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant text, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_text_int8';
COMMENT ON FUNCTION tenancy.see_in_project(text, text, bigint) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.see_in_project(permission text, tenant text, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_see_in_project_text_text';
COMMENT ON FUNCTION tenancy.see_in_project(text, text, text) IS
    'Returns what in_project() returns, and also true for rows without a project of the scopes above. Policies of tables with '
    'shared rows call it';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant uuid, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_uuid_int8';
COMMENT ON FUNCTION tenancy.write_in_project(text, uuid, bigint) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant uuid, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_uuid_text';
COMMENT ON FUNCTION tenancy.write_in_project(text, uuid, text) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant bigint, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int8_int8';
COMMENT ON FUNCTION tenancy.write_in_project(text, bigint, bigint) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant bigint, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int8_text';
COMMENT ON FUNCTION tenancy.write_in_project(text, bigint, text) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant integer, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int4_int8';
COMMENT ON FUNCTION tenancy.write_in_project(text, integer, bigint) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant integer, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_int4_text';
COMMENT ON FUNCTION tenancy.write_in_project(text, integer, text) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant text, project bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_text_int8';
COMMENT ON FUNCTION tenancy.write_in_project(text, text, bigint) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.write_in_project(permission text, tenant text, project text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'tenancy_write_in_project_text_text';
COMMENT ON FUNCTION tenancy.write_in_project(text, text, text) IS
    'Returns what in_project() returns, for the project that is written to, named by its external id. Errors: 55000 no context, or one '
    'that spans several projects with none selected';

CREATE FUNCTION tenancy.owns(owner bigint) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.owns_support AS 'MODULE_PATHNAME', 'tenancy_owns_int8';
COMMENT ON FUNCTION tenancy.owns(bigint) IS
    'Returns whether the user of a row, named by its external id, is the context''s user, in the tenant that it belongs to; false in other '
    'tenants, and true for every row in maintenance. Errors: 55000 no context';

CREATE FUNCTION tenancy.owns(owner text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT tenancy_internal.owns_support AS 'MODULE_PATHNAME', 'tenancy_owns_text';
COMMENT ON FUNCTION tenancy.owns(text) IS
    'Returns whether the user of a row, named by its external id, is the context''s user, in the tenant that it belongs to; false in other '
    'tenants, and true for every row in maintenance. Errors: 55000 no context';

GRANT EXECUTE ON FUNCTION
    tenancy.can(text, uuid),
    tenancy.can(text, bigint),
    tenancy.can(text, integer),
    tenancy.can(text, text),
    tenancy.can_see(text, uuid),
    tenancy.can_see(text, bigint),
    tenancy.can_see(text, integer),
    tenancy.can_see(text, text),
    tenancy.can_see_null(text, uuid),
    tenancy.can_see_null(text, bigint),
    tenancy.can_see_null(text, integer),
    tenancy.can_see_null(text, text),
    tenancy.can_write_shared(text, uuid),
    tenancy.can_write_shared(text, bigint),
    tenancy.can_write_shared(text, integer),
    tenancy.can_write_shared(text, text),
    tenancy.can_write_null(text, uuid),
    tenancy.can_write_null(text, bigint),
    tenancy.can_write_null(text, integer),
    tenancy.can_write_null(text, text),
    tenancy.tenant_id(text),
    tenancy.tenant_key_bigint(text),
    tenancy.tenant_key_integer(text),
    tenancy.tenant_key_text(text),
    tenancy.tenant_key_numeric(text),
    tenancy.tenant_ids(text),
    tenancy.tenant_keys_bigint(text),
    tenancy.tenant_keys_integer(text),
    tenancy.tenant_keys_text(text),
    tenancy.tenant_keys_numeric(text),
    tenancy.visible_ids(text),
    tenancy.visible_keys_bigint(text),
    tenancy.visible_keys_integer(text),
    tenancy.visible_keys_text(text),
    tenancy.visible_keys_numeric(text),
    tenancy.owns(uuid),
    tenancy.in_project(text, uuid, bigint),
    tenancy.in_project(text, uuid, text),
    tenancy.in_project(text, bigint, bigint),
    tenancy.in_project(text, bigint, text),
    tenancy.in_project(text, integer, bigint),
    tenancy.in_project(text, integer, text),
    tenancy.in_project(text, text, bigint),
    tenancy.in_project(text, text, text),
    tenancy.see_in_project(text, uuid, bigint),
    tenancy.see_in_project(text, uuid, text),
    tenancy.see_in_project(text, bigint, bigint),
    tenancy.see_in_project(text, bigint, text),
    tenancy.see_in_project(text, integer, bigint),
    tenancy.see_in_project(text, integer, text),
    tenancy.see_in_project(text, text, bigint),
    tenancy.see_in_project(text, text, text),
    tenancy.write_in_project(text, uuid, bigint),
    tenancy.write_in_project(text, uuid, text),
    tenancy.write_in_project(text, bigint, bigint),
    tenancy.write_in_project(text, bigint, text),
    tenancy.write_in_project(text, integer, bigint),
    tenancy.write_in_project(text, integer, text),
    tenancy.write_in_project(text, text, bigint),
    tenancy.write_in_project(text, text, text),
    tenancy.owns(bigint),
    tenancy.owns(text),
    tenancy.can_write(text, uuid),
    tenancy.can_write(text, bigint),
    tenancy.can_write(text, integer),
    tenancy.can_write(text, text),
    tenancy.in_project(text, uuid, uuid),
    tenancy.in_project(text, bigint, uuid),
    tenancy.in_project(text, integer, uuid),
    tenancy.in_project(text, text, uuid),
    tenancy.see_in_project(text, uuid, uuid),
    tenancy.see_in_project(text, bigint, uuid),
    tenancy.see_in_project(text, integer, uuid),
    tenancy.see_in_project(text, text, uuid),
    tenancy.write_in_project(text, uuid, uuid),
    tenancy.write_in_project(text, bigint, uuid),
    tenancy.write_in_project(text, integer, uuid),
    tenancy.write_in_project(text, text, uuid)
    TO tenancy_app, tenancy_gateway, tenancy_admin;
