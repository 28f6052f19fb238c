-- CREATE EXTENSION creates the platform and one partner; then the roles and the tree that the other files use.
CREATE EXTENSION tenancy;
SELECT level, slug, name, status, parent_id IS NULL AS root FROM tenancy.scopes ORDER BY path;
SELECT slug, tenants FROM tenancy.partners;

-- For tests to print a scope by: partner/tenant/user.
CREATE FUNCTION slug(scope uuid) RETURNS text
    LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    RETURN (SELECT coalesce(string_agg(a.slug, '/' ORDER BY cardinality(a.path)) FILTER (WHERE a.level <> 'platform'), 'platform')
            FROM tenancy.scopes s JOIN tenancy.scopes a ON a.id = ANY (s.path) WHERE s.id = scope);
END
$$;

-- One login role of each kind, one that owns tables, one without any.
CREATE ROLE app_r LOGIN IN ROLE tenancy_app;
CREATE ROLE gw_r LOGIN IN ROLE tenancy_gateway;
CREATE ROLE adm_r LOGIN IN ROLE tenancy_admin;
CREATE ROLE audit_r LOGIN IN ROLE tenancy_auditor;
CREATE ROLE owner_r LOGIN IN ROLE tenancy_admin;
CREATE ROLE plain_r LOGIN;

-- The application works on what the owner makes: protect() grants nothing.
ALTER DEFAULT PRIVILEGES FOR ROLE owner_r GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app;
ALTER DEFAULT PRIVILEGES FOR ROLE owner_r GRANT USAGE ON SEQUENCES TO tenancy_app;
ALTER DEFAULT PRIVILEGES FOR ROLE owner_r GRANT USAGE ON SCHEMAS TO tenancy_app;

-- The tree, made by an administrator.
\c - adm_r
SELECT slug(tenancy.create_partner('globex', 'Globex', external_id => '9000'));
SELECT slug(tenancy.create_partner('initech', external_id => '9001'));
SELECT slug(tenancy.create_tenant('acme', 'Acme', 'globex', external_id => '1'));
SELECT slug(tenancy.create_tenant('apex', partner => 'globex', external_id => '2'));
SELECT slug(tenancy.create_tenant('beta', partner => 'initech', external_id => '3'));
SELECT slug(tenancy.create_tenant('solo'));
SELECT slug(tenancy.create_project('acme', 'web'));
SELECT slug(tenancy.create_project('acme', 'ops'));
SELECT slug(tenancy.create_project('apex', 'web'));
SELECT slug(tenancy.create_user('acme', 'alice'));
SELECT slug(tenancy.create_user('acme', 'bob'));
SELECT slug(tenancy.create_user('apex', 'carol'));
SELECT slug(tenancy.create_user('beta', 'dora'));
SELECT slug(tenancy.create_user('globex', 'gina', role => 'partner_admin'));
SELECT slug(tenancy.create_user('platform', 'petra'));
SELECT slug(tenancy.create_user('acme', 'robot', 'service'));

-- As people see it.
SELECT slug, name, effective_status, external_id, tenants FROM tenancy.partners ORDER BY slug;
SELECT slug, name, partner, effective_status, external_id FROM tenancy.tenants ORDER BY slug;
SELECT tenant, slug, effective_status FROM tenancy.projects ORDER BY 1, 2;
SELECT parent_level, parent, slug, kind, effective_status FROM tenancy.users ORDER BY 1, 2, 3;
