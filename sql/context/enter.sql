-- Entering --------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.authenticate(credential text, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'authenticate_wrapper';
REVOKE ALL ON FUNCTION tenancy.authenticate(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.authenticate(text, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.authenticate(text, boolean) IS
    'Enters the context of the user that an API key, a ticket or an identity provider''s JWT proves, and returns the user''s id. '
    'The context lasts until the transaction ends, or with session => true until release(). Pass the credential as a parameter: '
    'logs and pg_stat_activity show a statement''s text. Errors: 42501 a wrong, unknown, expired or revoked credential, an inactive '
    'user, an address that is not allowed, a second principal in a transaction, or a role that bypasses row security; 22023 NULL. '
    'For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.assume(user_id tenancy.regscope, session boolean DEFAULT false, client inet DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'assume_wrapper';
REVOKE ALL ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) TO tenancy_gateway;
COMMENT ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) IS
    'Enters a user''s context without a credential, and returns the user''s id. The context lasts until the transaction ends, or '
    'with session => true until release(). client: the user''s address, checked against the allowed networks of its scopes '
    '(default: the connection''s address). Errors: 42704 no such user; 42501 an inactive user, an address that is not allowed, or a '
    'second principal in a transaction; 22023 NULL. For tenancy_gateway';

CREATE FUNCTION tenancy.maintenance(reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'maintenance_wrapper';
REVOKE ALL ON FUNCTION tenancy.maintenance(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.maintenance(text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.maintenance(text) IS
    'Gives this transaction all rows of protected tables, as far as grants allow. First the background worker records role, time '
    'and reason in maintenance_log and audit_log. The record stays if the transaction is rolled back; the server log has a line '
    'too. It refuses calls inside a SECURITY DEFINER function, whose caller would keep the power. Errors: 22023 the reason is not '
    'one line of 1 to 300 printable characters; 42501 the transaction has a principal; 55000 no worker can record it (a '
    'superuser''s call is then recorded in its own transaction). For tenancy_admin';

-- Narrowing and leaving -----------------------------------------------------------------------

CREATE FUNCTION tenancy.select_tenant(tenant tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) IS
    'Narrows the context to one of its tenants and returns the tenant''s id. The selection lasts until the transaction ends, or in '
    'a session context with session => true as long as the session. Errors: 42704 no such tenant, or not one of the context; 55000 '
    'no context; 22023 NULL. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.select_project(project tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_project_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) IS
    'Narrows the context to one project and its tenant, as select_tenant() does, and returns the project''s id. Errors: 42704 no '
    'such project, or not in a tenant of the context; 42501 the project is inactive; 55000 no context; 22023 NULL. For tenancy_app, '
    'tenancy_gateway';

CREATE FUNCTION tenancy.release() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'release_wrapper';
REVOKE ALL ON FUNCTION tenancy.release() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.release() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.release() IS
    'Ends the context, also a session''s, and clears the setting tenancy.ticket. As with any setting, ROLLBACK undoes this. It '
    'closes cursors WITH HOLD and drops temporary tables of a session context. Without a context it does nothing. For tenancy_app, '
    'tenancy_gateway, tenancy_admin';
