-- Who may call what. Management functions are C functions that call `tenancy._<name>` as the extension's owner and know who
-- called them (src/pg/call/managed.rs); the body calls authorize().

CREATE FUNCTION tenancy_internal.authorize(permission text, scope uuid) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize(text, uuid) IS
    'internal: raises 42704 unless the caller of a management function may see the scope, and 42501 unless it holds the permission '
    'there';

CREATE FUNCTION tenancy_internal.authorize_reading(permission text, scope uuid) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_reading_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_reading(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_reading(text, uuid) IS
    'internal: as authorize(), for what only reads: without a context also for tenancy_auditor';

CREATE FUNCTION tenancy_internal.authorize_permissions(permissions text[], scope uuid) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_permissions_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_permissions(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_permissions(text[], uuid) IS
    'internal: raises 42501 unless the caller holds all of these permissions in the scope, and so may give them to others';

CREATE FUNCTION tenancy_internal.held_until(permissions text[], scope uuid) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_held_until_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.held_until(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.held_until(text[], uuid) IS
    'internal: returns until when the caller holds all of these permissions in the scope; NULL: without an end. Raises 42501 unless '
    'it does';

CREATE FUNCTION tenancy_internal.require_lasting(what text, held timestamptz, ends timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_require_lasting_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.require_lasting(text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_lasting(text, timestamptz, timestamptz) IS
    'internal: raises 42501 if a grant until ends (NULL: never) would outlast the caller''s permissions, held until held (NULL: '
    'without an end). Every function that grants power calls it';

CREATE FUNCTION tenancy_internal.check_expiry(expires_at timestamptz) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_expiry_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_expiry(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_expiry(timestamptz) IS 'internal: returns true for NULL and for a time in the future; else raises 22023';

CREATE FUNCTION tenancy_internal.seconds(span interval) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_seconds_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.seconds(interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.seconds(interval) IS 'internal: returns the length of an interval; NaN if it has months, whose length depends on the date';

CREATE FUNCTION tenancy_internal.authorize_over("user" uuid, acting boolean) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_over_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_over(uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_over(uuid, boolean) IS
    'internal: raises 42501 unless the caller holds everything that the user was assigned, where it was. acting: at the platform '
    'only while elevated. Returns until when; NULL: without an end';

CREATE FUNCTION tenancy_internal.elevation_over("user" uuid) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_elevation_over_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.elevation_over(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.elevation_over(uuid) IS
    'internal: returns the elevation without which the caller could not act as the user; NULL for none';

CREATE FUNCTION tenancy_internal.authorize_acting(permissions text[], scope uuid) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_acting_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_acting(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_acting(text[], uuid) IS
    'internal: raises 42501 unless the caller holds all of these permissions in the scope, at the platform only while elevated. '
    'Returns until when; NULL: without an end';

CREATE FUNCTION tenancy.scope_ids(permission text DEFAULT NULL) RETURNS uuid[]
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'scope_ids_wrapper';
REVOKE ALL ON FUNCTION tenancy.scope_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.scope_ids(text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.scope_ids(text) IS
    'Returns the topmost scopes in which the context holds the permission (NULL: any permission); it holds it in all scopes below '
    'them too. Without a context: empty, but the platform for tenancy_admin, tenancy_gateway and tenancy_auditor. Errors: 22023 an '
    'invalid permission. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy_internal.barrier() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', '_barrier_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.barrier() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.barrier() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.barrier() IS
    'internal: returns true; ends the conditions of a view of tenancy, which are evaluated before those of the view''s reader';

CREATE FUNCTION tenancy.has_permission(permission text, scope tenancy.regscope DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_permission_wrapper';
REVOKE ALL ON FUNCTION tenancy.has_permission(text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.has_permission(text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.has_permission(text, tenancy.regscope) IS
    'Returns whether the context holds the permission in the scope. scope NULL: the selected project or tenant, else the user '
    'itself. Returns false for a scope that does not exist, and NULL for a NULL permission. Users of the platform hold permissions '
    'on an application''s rows (data:read and the application''s own) only while elevated. Errors: 22023 an invalid permission; '
    '55000 no context. For tenancy_app, tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.covers(permissions text[], wanted text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_covers_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.covers(text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.covers(text[], text) IS 'internal: returns whether one of these permissions covers another';

CREATE FUNCTION tenancy_internal.default_role(parent_level text, kind text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_default_role_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.default_role(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.default_role(text, text) IS 'internal: returns the role of a new user, or NULL';

CREATE FUNCTION tenancy_internal.check_role_name(name text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_role_name_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_role_name(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_role_name(text) IS 'internal: true, or 22023 or 42710';

CREATE FUNCTION tenancy_internal.built_in_roles() RETURNS TABLE (id uuid, name text, permissions text[], description text)
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_built_in_roles_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.built_in_roles() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.built_in_roles() IS 'internal: returns the built-in roles';

CREATE FUNCTION tenancy.user_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'user_id_wrapper';
COMMENT ON FUNCTION tenancy.user_id() IS 'Returns the context''s user; NULL without a context';
REVOKE ALL ON FUNCTION tenancy.user_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.user_id() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
