-- The tree: two partners, each with tenants, and a user in each of them.
SELECT tenancy.create_partner('globex', 'Globex Hosting');
SELECT tenancy.create_tenant('acme', 'Acme', 'globex');
SELECT tenancy.create_tenant('umbrella', 'Umbrella', 'globex');
SELECT tenancy.create_tenant('initech', 'Initech', 'globex');
SELECT tenancy.create_partner('hooli', 'Hooli Cloud');
SELECT tenancy.create_tenant('soylent', 'Soylent', 'hooli');

SELECT tenancy.create_user('globex/acme', 'alice');
SELECT tenancy.create_user('globex/umbrella', 'bob');
SELECT tenancy.create_user('hooli/soylent', 'eve');
SELECT tenancy.create_user('globex', 'ops', 'service', role => 'partner_admin');
-- Zoe works for the partner and serves one of its tenants; root runs the platform.
SELECT tenancy.create_user('globex', 'zoe');
SELECT tenancy.create_user('platform', 'root', role => 'super_admin');

-- The application's roles: an untrusted one that must prove its user, and a trusted one that names the user.
CREATE ROLE demo_app LOGIN IN ROLE tenancy_app;
CREATE ROLE demo_gateway LOGIN IN ROLE tenancy_app, tenancy_gateway;
CREATE ROLE demo_admin LOGIN IN ROLE tenancy_admin;
