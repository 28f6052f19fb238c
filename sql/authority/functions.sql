-- Who may call what. Management functions are C functions that call `tenancy._<name>` as the extension's owner and know who
-- called them (src/pg/call/managed.rs); the body asks authorize().

CREATE FUNCTION tenancy_internal.authorize(permission text, scope uuid) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize(text, uuid) IS
    'internal: 42704 unless the caller of a management function may know of the scope, 42501 unless it holds the permission there';

CREATE FUNCTION tenancy_internal.authorize_reading(permission text, scope uuid) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_reading_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_reading(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_reading(text, uuid) IS
    'internal: as authorize(), for what only reads: without a context also for tenancy_auditor';

CREATE FUNCTION tenancy_internal.authorize_permissions(permissions text[], scope uuid) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_permissions_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_permissions(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_permissions(text[], uuid) IS
    'internal: 42501 unless the caller could hand out all of these in the scope, that is holds them there';

CREATE FUNCTION tenancy_internal.held_until(permissions text[], scope uuid) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_held_until_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.held_until(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.held_until(text[], uuid) IS 'internal: until when the caller holds all of these in the scope, to hand them out; NULL for ever; 42501 unless it does';

CREATE FUNCTION tenancy_internal.require_lasting(what text, held timestamptz, ends timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_require_lasting_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.require_lasting(text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_lasting(text, timestamptz, timestamptz) IS
    'internal: 42501 if what is given until ends (NULL: for good) would outlast what it is given with, which is held until held (NULL: for good). Every function that gives power asks it';

CREATE FUNCTION tenancy_internal.check_expiry(expires_at timestamptz) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_expiry_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_expiry(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_expiry(timestamptz) IS 'internal: true, also for NULL, or 22023 unless it is a time in the future';

CREATE FUNCTION tenancy_internal.seconds(span interval) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_seconds_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.seconds(interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.seconds(interval) IS 'internal: what an interval comes to; NaN where it has months, which come to more or less by the day that they are added to';

CREATE FUNCTION tenancy_internal.authorize_over("user" uuid, acting boolean) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_over_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_over(uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_over(uuid, boolean) IS
    'internal: 42501 unless the caller holds all that the user was assigned, where it was; acting: as it is to be used, at the platform only while elevated. Until when, NULL for ever';

CREATE FUNCTION tenancy_internal.elevation_over("user" uuid) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_elevation_over_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.elevation_over(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.elevation_over(uuid) IS 'internal: the elevation without which the caller could not act as the user; NULL for none';

CREATE FUNCTION tenancy_internal.authorize_acting(permissions text[], scope uuid) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_authorize_acting_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.authorize_acting(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_acting(text[], uuid) IS
    'internal: 42501 unless the caller holds all of these in the scope as they are to be used, at the platform only while elevated. Until when, NULL for ever';

CREATE FUNCTION tenancy.scope_ids(permission text DEFAULT NULL) RETURNS uuid[]
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'scope_ids_wrapper';
REVOKE ALL ON FUNCTION tenancy.scope_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.scope_ids(text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.scope_ids(text) IS
    'the topmost scopes in which the context holds the permission (NULL: anything), and with them all below; empty without a context, except for '
    'tenancy_admin, tenancy_gateway and tenancy_auditor, who see the platform. Errors: 22023 no permission. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy_internal.barrier() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', '_barrier_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.barrier() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.barrier() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.barrier() IS
    'internal: true; the end of the conditions of a view of tenancy, which come before those of whoever reads it';

CREATE FUNCTION tenancy.has_permission(permission text, scope tenancy.regscope DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_permission_wrapper';
REVOKE ALL ON FUNCTION tenancy.has_permission(text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.has_permission(text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.has_permission(text, tenancy.regscope) IS
    'whether the context holds the permission in the scope; NULL scope: the selected project or tenant, else the user itself. False for a scope that does not exist. '
    'For users of the platform, permissions on an application''s rows (data:read and others of its own) count only while elevated. NULL for NULL. '
    'Errors: 22023 no permission; 55000 no context. For tenancy_app, tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.covers(permissions text[], wanted text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_covers_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.covers(text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.covers(text[], text) IS 'internal: whether one of these permissions covers another';

CREATE FUNCTION tenancy_internal.default_role(parent_level text, kind text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_default_role_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.default_role(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.default_role(text, text) IS 'internal: the role of a new user, or NULL';

CREATE FUNCTION tenancy_internal.check_role_name(name text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_role_name_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_role_name(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_role_name(text) IS 'internal: true, or 22023 or 42710';

CREATE FUNCTION tenancy_internal.built_in_roles() RETURNS TABLE (id uuid, name text, permissions text[], description text)
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_built_in_roles_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.built_in_roles() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.built_in_roles() IS 'internal: the roles that come with tenancy';

CREATE FUNCTION tenancy.user_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'user_id_wrapper';
COMMENT ON FUNCTION tenancy.user_id() IS 'the context''s user; NULL without a context';
REVOKE ALL ON FUNCTION tenancy.user_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.user_id() TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
