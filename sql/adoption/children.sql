-- The tenant of a row that belongs to one through another table.

CREATE FUNCTION tenancy.fill_tenant() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_fill_tenant';
REVOKE ALL ON FUNCTION tenancy.fill_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fill_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.fill_tenant() IS
    'Trigger on a table that belongs to a tenant through a foreign key, created by adopt(): gives a row the tenant of the row that it '
    'refers to, as far as the writer may see that. A row whose reference becomes NULL stays where it was. Its arguments are the tenant '
    'column, the name of the foreign key, the referenced table''s tenant column, and the foreign key''s columns. Errors: 55000 there is no '
    'such row, or the writer may not see it. For tenancy_admin';
