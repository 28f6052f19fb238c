-- export_tenant() and export_user(): all rows of a tenant or a user, as lines of a file.

CREATE FUNCTION tenancy.export_tenant(tenant tenancy.regscope, rows boolean DEFAULT true) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_export_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.export_tenant(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.export_tenant(tenancy.regscope, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.export_tenant(tenancy.regscope, boolean) IS
    'Returns everything that a tenant owns, whatever its status, as lines of JSON: a header; tenancy''s own rows but for keys and secrets; its rows in all protected tables, '
    'parents before children; and a manifest with the numbers of rows and SHA-256 hashes. rows => false leaves out those of protected tables, for a tenant that was moved: see move_tenant_out(). All are of one snapshot. A row is an array of '
    'values as the server writes them, which read back exactly. Call it in the list of a SELECT, as in COPY (SELECT tenancy.export_tenant(''acme'')) TO STDOUT, to get lines as they '
    'are read; in FROM the server collects them first. The rest of the transaction is in maintenance, and the audit log records the call. The caller is the owner of the tables or a '
    'member of these roles. Errors: 22023 no tenant; 42501 permission denied, or the transaction has a context; 42704 no such scope. For tenancy_admin';

CREATE FUNCTION tenancy.export_user(user_id tenancy.regscope) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_export_user_wrapper';
REVOKE ALL ON FUNCTION tenancy.export_user(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.export_user(tenancy.regscope) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.export_user(tenancy.regscope) IS
    'Returns everything that names a user, whatever its status, as lines of JSON in the form of export_tenant(): tenancy''s own rows about it, with its keys but '
    'without their hashes, its usage by month, and the entries of the audit log by and about it; and the rows of tables that name it in a column of the view user_columns. All are of one '
    'snapshot. The rest of the transaction is in maintenance, and the audit log records the call. The caller is the owner of the tables or a member of these roles. '
    'Errors: 42501 permission denied; 42704 no such user; 55000 the transaction has a context. For tenancy_admin';
