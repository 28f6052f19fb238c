-- Views ---------------------------------------------------------------------------------------------

CREATE VIEW tenancy.roles WITH (security_barrier) AS
    SELECT r.id, r.name, s.slug AS scope, s.level AS scope_level, r.permissions, r.description, r.built_in, r.created_at, r.expires_at
      FROM tenancy_internal.role_definitions r JOIN tenancy.scopes s ON s.id = r.scope_id
     WHERE (s.path && tenancy.scope_ids('roles:view')
         OR (r.built_in AND cardinality(tenancy.scope_ids()) > 0)
         OR r.scope_id IN (SELECT unnest(h.path) FROM tenancy.scopes h WHERE h.id = ANY (tenancy.scope_ids('roles:view'))))
       AND tenancy_internal.barrier();
CREATE VIEW tenancy.assignments WITH (security_barrier) AS
    SELECT u.id AS user_id, u.slug AS user_slug, h.slug AS parent, r.name AS role, s.id AS scope_id, s.slug AS scope, s.level AS scope_level,
           a.source, a.expires_at IS NOT NULL AND a.expires_at <= now() AS expired, a.expires_at, a.created_at
      FROM tenancy_internal.role_assignments a
      JOIN tenancy_internal.role_definitions r ON r.id = a.role_id
      JOIN tenancy.scopes u ON u.id = a.user_id
      JOIN tenancy.scopes h ON h.id = u.parent_id
      JOIN tenancy.scopes s ON s.id = a.scope_id
     WHERE ((s.path && tenancy.scope_ids('roles:view') AND u.path && tenancy.scope_ids('users:view')) OR u.id = tenancy.user_id())
       AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.roles, tenancy.assignments FROM PUBLIC;
GRANT SELECT ON tenancy.roles, tenancy.assignments TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.roles IS
    'Roles and the scope where each is defined. With roles:view, shows the roles of the reader''s scopes and of the scopes above; '
    'otherwise only the built-in roles';
COMMENT ON VIEW tenancy.assignments IS
    'Roles that users have, and in which scope. With roles:view and users:view, shows the assignments in the reader''s scopes; '
    'otherwise only the reader''s own';
