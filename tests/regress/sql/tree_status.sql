-- Only active users and scopes may work, and the worst status on the path decides.
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug(tenancy.create_partner('umbrella'));
SELECT slug(tenancy.create_tenant('stem', partner => 'umbrella'));
SELECT slug(tenancy.create_project('stem', 'leaf'));
SELECT slug(tenancy.create_user('stem', 'sam'));
SELECT slug(tenancy.create_user('umbrella', 'pam', role => 'partner_admin'));
SELECT tenancy.issue_api_key('stem/sam', 'test') AS sam, tenancy.issue_api_key('umbrella/pam', 'test') AS pam \gset

-- Every pair: the worse of the two.
\c - postgres
SELECT own, partner, tenancy_internal.worst_status(ARRAY[own, partner]) AS effective
FROM unnest('{active,provisioning,suspended,archived,deleted}'::text[]) WITH ORDINALITY o (own, m),
     unnest('{active,provisioning,suspended,archived,deleted}'::text[]) WITH ORDINALITY p (partner, n)
ORDER BY m, n \crosstabview
\c - adm_r

SELECT tenancy.set_status('umbrella', 'suspended');
SELECT slug, status, effective_status, tenancy.effective_status(id) = effective_status AS same FROM tenancy.partners WHERE slug = 'umbrella'
UNION ALL SELECT slug, status, effective_status, tenancy.effective_status(id) = effective_status FROM tenancy.tenants WHERE slug = 'stem'
UNION ALL SELECT slug, status, effective_status, tenancy.effective_status(id) = effective_status FROM tenancy.projects WHERE slug = 'leaf'
UNION ALL SELECT slug, status, effective_status, tenancy.effective_status(id) = effective_status FROM tenancy.users WHERE slug = 'sam';
\c - app_r
SELECT tenancy.authenticate(:'sam');
\echo :SQLSTATE
SELECT tenancy.authenticate(:'pam');

-- The partner works, its tenant does not: the partner's user works, without that tenant.
\c - adm_r
SELECT tenancy.set_status('umbrella', 'active'), tenancy.set_status('stem', 'archived');
\c - app_r
SELECT tenancy.authenticate(:'sam');
BEGIN;
SELECT slug(tenancy.authenticate(:'pam')), tenancy.tenant_ids('data:read') = '{}' AS sees_nothing;
COMMIT;

-- A user alone.
\c - adm_r
SELECT tenancy.set_status('stem', 'active'), tenancy.set_status('stem/sam', 'suspended');
\c - app_r
SELECT tenancy.authenticate(:'sam');
BEGIN;
SELECT slug(tenancy.authenticate(:'pam'));
SELECT array_agg(slug(t)) FROM unnest(tenancy.tenant_ids('data:read')) t;
COMMIT;

-- A project alone: it cannot be selected, its tenant works.
\c - adm_r
SELECT tenancy.set_status('stem/sam', 'active'), tenancy.set_status('stem/leaf', 'archived');
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'sam'));
SELECT tenancy.select_project('stem/leaf');
\echo :SQLSTATE
ROLLBACK;

-- Not ready yet.
\c - adm_r
SELECT tenancy.set_status('stem', 'provisioning');
\c - app_r
SELECT tenancy.authenticate(:'sam');

-- All active again.
\c - adm_r
SELECT tenancy.set_status('stem', 'active');
\c - app_r
SELECT slug(tenancy.authenticate(:'sam'));

-- Refusals.
\c - adm_r
SELECT tenancy.set_status('stem', 'asleep');
\echo :SQLSTATE
SELECT tenancy.set_status('stem', NULL);
SELECT tenancy.set_status('nowhere', 'active');
\echo :SQLSTATE
SELECT tenancy.set_status(NULL, 'active');
\echo :SQLSTATE
SELECT tenancy.effective_status('00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
