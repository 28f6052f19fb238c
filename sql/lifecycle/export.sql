-- export_tenant(): all rows of a tenant, as lines of a file.

CREATE FUNCTION tenancy.export_tenant(tenant tenancy.regscope) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_export_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.export_tenant(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.export_tenant(tenancy.regscope) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.export_tenant(tenancy.regscope) IS
    'Returns everything that a tenant owns, whatever its status, as lines of JSON: a header; tenancy''s own rows but for keys and secrets; its rows in all protected tables, '
    'parents before children; and a manifest with the numbers of rows and SHA-256 hashes. All are of one snapshot. A row is an array of '
    'values as the server writes them, which read back exactly. Call it in the list of a SELECT, as in COPY (SELECT tenancy.export_tenant(''acme'')) TO STDOUT, to get lines as they '
    'are read; in FROM the server collects them first. The rest of the transaction is in maintenance, and the audit log records the call. The caller is the owner of the tables or a '
    'member of these roles. Errors: 22023 no tenant; 42501 permission denied, or the transaction has a context; 42704 no such scope. For tenancy_admin';
