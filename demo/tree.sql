-- Who there is: two partners, each with a fleet of tenants, and somebody in each to ask questions as.
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
-- Zoe works for the partner and serves one of its clients; root runs the platform.
SELECT tenancy.create_user('globex', 'zoe');
SELECT tenancy.create_user('platform', 'root', role => 'super_admin');

-- How the application connects: an untrusted role that has to prove who it works for, and a trusted one that says so.
CREATE ROLE demo_app LOGIN IN ROLE tenancy_app;
CREATE ROLE demo_gateway LOGIN IN ROLE tenancy_app, tenancy_gateway;
CREATE ROLE demo_admin LOGIN IN ROLE tenancy_admin;
