-- move_tenant(): a tenant moves to another partner with its projects and users; the old fleet loses it, the new one gains it.
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug(tenancy.create_partner('left')), slug(tenancy.create_partner('right'));
SELECT slug(tenancy.create_tenant('nomad', partner => 'left'));
SELECT slug(tenancy.create_project('nomad', 'tent'));
SELECT slug(tenancy.create_user('nomad', 'nick'));
SELECT slug(tenancy.create_user('left', 'lea', role => 'partner_admin')), slug(tenancy.create_user('right', 'rob', role => 'partner_admin'));
SELECT tenancy.issue_ticket('nomad/nick') AS nick, tenancy.issue_ticket('left/lea') AS lea, tenancy.issue_ticket('right/rob') AS rob \gset

SELECT tenancy.move_tenant('nomad', 'right');
SELECT slug(id) FROM tenancy.scopes WHERE slug IN ('nomad', 'tent', 'nick') ORDER BY path;
SELECT slug, partner FROM tenancy.tenants WHERE slug = 'nomad';
SELECT slug, tenants FROM tenancy.partners WHERE slug IN ('left', 'right') ORDER BY slug;

-- Who sees it now.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'lea')), tenancy.tenant_ids('data:read') = '{}' AS sees_nothing;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'rob'));
SELECT array_agg(slug(t)) FROM unnest(tenancy.tenant_ids('data:read')) t;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'nick'));
SELECT slug(tenancy.tenant_id()) AS tenant, slug(tenancy.partner_id()) AS partner;
COMMIT;

-- A ticket for the tenant that its old partner's user held is void.
\c - adm_r
SELECT tenancy.issue_ticket('right/rob', tenant => 'nomad') AS rob_nomad \gset
SELECT tenancy.move_tenant('nomad', 'left');
\c - app_r
SELECT slug(tenancy.authenticate(:'rob_nomad'));
\echo :SQLSTATE

-- Refusals.
\c - adm_r
SELECT tenancy.move_tenant('nomad', 'acme');
\echo :SQLSTATE
SELECT tenancy.move_tenant('left', 'right');
SELECT tenancy.move_tenant('nomad/tent', 'right');
SELECT tenancy.move_tenant('nomad/nick', 'right');
SELECT tenancy.move_tenant('nomad', 'platform');
SELECT tenancy.move_tenant('nowhere', 'right');
\echo :SQLSTATE
SELECT tenancy.move_tenant(NULL, 'right');
\echo :SQLSTATE
SELECT tenancy.move_tenant('nomad', NULL);
SELECT slug(tenancy.create_tenant('nomad', partner => 'right'));
SELECT tenancy.move_tenant('left/nomad', 'right');
\echo :SQLSTATE
-- To where it is: nothing happens.
SELECT tenancy.move_tenant('left/nomad', 'left');
SELECT slug(id) FROM tenancy.scopes WHERE slug = 'nomad' ORDER BY 1;
