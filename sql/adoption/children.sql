-- The tenant of rows that belong to one through another table: of new ones, and when that one moves.

CREATE FUNCTION tenancy.fill_tenant() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_fill_tenant';
REVOKE ALL ON FUNCTION tenancy.fill_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fill_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.fill_tenant() IS
    'Trigger on a table that belongs to a tenant through another one, created by adopt(): gives a row the tenant of the first row that it '
    'refers to, as far as the writer may see that. A row that refers to none any more stays where it was. Its arguments are the tenant '
    'column; added, or own if the application writes that column, which is then filled only where it is NULL; and for each table that a '
    'row may refer to, with an empty argument between two: its schema, its name, its tenant column, the word key with the name of the foreign key, if there is one, and '
    'pairs of a referencing and a referenced column. Errors: 55000 there is no such row, or the writer may not see it. For tenancy_admin';

CREATE FUNCTION tenancy.pass_tenant() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_pass_tenant';
REVOKE ALL ON FUNCTION tenancy.pass_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.pass_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.pass_tenant() IS
    'Trigger on a table that gives the rows of others their tenant, created by adopt(): when a row moves to another tenant, the rows that had '
    'the former one from it follow, as with ON UPDATE CASCADE. The row waits for transactions that add rows which refer to it. Its argument is the '
    'tenant column. Errors: 55000 a policy hides some of these rows; 40001 in REPEATABLE READ another transaction has added such rows; '
    '22023 the tenant column is gone. For tenancy_admin';
