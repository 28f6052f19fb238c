-- Views for users. The parent is a subquery: for a join the server may walk all scopes by their key, to find a few parents.
CREATE VIEW tenancy.partners WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy_internal.worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.external_id, s.settings, s.features, s.created_at,
           (SELECT count(*) FROM tenancy.scopes t WHERE t.parent_id = s.id AND t.level = 'tenant') AS tenants
      FROM tenancy.scopes s WHERE s.level = 'partner' AND s.path && tenancy.scope_ids('partners:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.tenants WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy_internal.worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id AS partner_id,
           (SELECT p.slug FROM tenancy.scopes p WHERE p.id = s.parent_id) AS partner,
           s.external_id, s.settings, s.features, s.created_at
      FROM tenancy.scopes s WHERE s.level = 'tenant' AND s.path && tenancy.scope_ids('tenants:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.projects WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy_internal.worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id AS tenant_id,
           (SELECT p.slug FROM tenancy.scopes p WHERE p.id = s.parent_id) AS tenant,
           s.external_id, s.settings, s.features, s.created_at
      FROM tenancy.scopes s WHERE s.level = 'project' AND s.path && tenancy.scope_ids('projects:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.users WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.kind, s.status,
           (SELECT tenancy_internal.worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id,
           (SELECT p.level FROM tenancy.scopes p WHERE p.id = s.parent_id) AS parent_level,
           (SELECT p.slug FROM tenancy.scopes p WHERE p.id = s.parent_id) AS parent,
           s.external_id, s.settings, s.created_at
      FROM tenancy.scopes s WHERE s.level = 'user' AND (s.path && tenancy.scope_ids('users:view') OR s.id = tenancy.user_id()) AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.partners, tenancy.tenants, tenancy.projects, tenancy.users FROM PUBLIC;
GRANT SELECT ON tenancy.partners, tenancy.tenants, tenancy.projects, tenancy.users
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.partners IS
    'Partners, with their effective status and number of tenants. With a context, shows those where the reader holds partners:view; '
    'without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.tenants IS
    'Tenants, with their partner. With a context, shows those where the reader holds tenants:view; without one tenancy_admin, '
    'tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.projects IS
    'Projects, with their tenant. With a context, shows those where the reader holds projects:view; without one tenancy_admin, '
    'tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.users IS
    'Users, with the scope they belong to. With a context, shows those where the reader holds users:view, and always the reader '
    'itself; without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
