-- The ways in -----------------------------------------------------------------------------------

CREATE FUNCTION tenancy.authenticate(credential text, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'authenticate_wrapper';
REVOKE ALL ON FUNCTION tenancy.authenticate(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.authenticate(text, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.authenticate(text, boolean) IS
    'takes the context that an API key, a ticket or an identity provider''s JWT proves, for this transaction, or with session => true until release(); returns the user''s id. '
    'Pass the credential as a parameter, not in the statement''s text, which logs and pg_stat_activity show. '
    'Errors: 42501 wrong, unknown, expired or revoked credential, inactive user, address that is not allowed, second principal in a transaction, role that bypasses row security; 22023 NULL. '
    'For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.assume(user_id tenancy.regscope, session boolean DEFAULT false, client inet DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'assume_wrapper';
REVOKE ALL ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) TO tenancy_gateway;
COMMENT ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) IS
    'takes a user''s context on the caller''s word, for this transaction, or with session => true until release(); returns the user''s id. client: the address that the user comes from, where its scopes have allowed networks (default: the connection''s). '
    'Errors: 42704 no such user; 42501 inactive user, address that is not allowed, second principal in a transaction; 22023 NULL. For tenancy_gateway';

CREATE FUNCTION tenancy.maintenance(reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'maintenance_wrapper';
REVOKE ALL ON FUNCTION tenancy.maintenance(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.maintenance(text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.maintenance(text) IS
    'gives this transaction all rows of protected tables, as far as grants allow. First the background worker records role, time and reason in maintenance_log and audit_log for good, also if the transaction is rolled back; the server log has a line. '
    'Not from inside a SECURITY DEFINER function, whose caller would keep it. '
    'Errors: 22023 reason is not one line of 1 to 300 printable characters; 42501 the transaction has a principal; 55000 no worker can record it (a superuser''s call is then recorded in its own transaction). For tenancy_admin';

-- Narrowing and leaving -----------------------------------------------------------------------

CREATE FUNCTION tenancy.select_tenant(tenant tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) IS
    'narrows the context to one of its tenants until the transaction ends (or, of a session context and with session => true, the session); returns the tenant''s id. '
    'Errors: 42704 no such tenant, or not one of yours; 55000 no context; 22023 NULL. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.select_project(project tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_project_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) IS
    'narrows the context to one project, and its tenant, as select_tenant() does; returns the project''s id. '
    'Errors: 42704 no such project, or not of your tenants; 42501 inactive project; 55000 no context; 22023 NULL. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.release() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'release_wrapper';
REVOKE ALL ON FUNCTION tenancy.release() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.release() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.release() IS
    'ends the context, a session''s too, and clears the setting tenancy.ticket; as with any setting, ROLLBACK undoes it. Cursors WITH HOLD and temporary tables of a session context are gone. Without a context it does nothing. For tenancy_app, tenancy_gateway, tenancy_admin';
