-- The audit log with names. Entries name users by their ids, so that a name can be forgotten and the chain of seals still holds.

CREATE VIEW tenancy.audit_trail WITH (security_barrier) AS
SELECT l.at, l.id, l.action,
       l.user_id, u.slug AS user_slug, u.name AS user_name,
       l.tenant_id, t.slug AS tenant, l.partner_id, p.slug AS partner,
       l.target, coalesce(o.slug, l.target) AS target_name, l.details, l.client, l.role, l.login
  FROM tenancy.audit_log l
  LEFT JOIN tenancy.scopes u ON u.id = l.user_id AND u.path && tenancy.scope_ids('users:view')
  LEFT JOIN tenancy.scopes t ON t.id = l.tenant_id AND t.path && tenancy.scope_ids('audit:view')
  LEFT JOIN tenancy.scopes p ON p.id = l.partner_id AND p.path && tenancy.scope_ids('audit:view')
  LEFT JOIN tenancy.scopes o
    ON o.id = CASE WHEN l.target ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN l.target::uuid END
   AND o.level = 'user' AND o.path && tenancy.scope_ids('users:view')
 -- As the log's policy has it.
 WHERE (l.tenant_id = ANY (tenancy.scope_ids('audit:view'))
        OR l.partner_id = ANY (tenancy.scope_ids('audit:view'))
        OR l.origin >= CASE WHEN '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('audit:view'))
                            THEN '-9223372036854775808'::bigint ELSE 9223372036854775807 END)
   AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.audit_trail FROM PUBLIC;
GRANT SELECT ON tenancy.audit_trail TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.audit_trail IS
    'The audit log with names as they are now: those of users where the reader holds users:view. Entries themselves name users by their ids, '
    'so that forget_user() can replace a name while the chain of seals still holds. Shows the entries that audit_log shows';
COMMENT ON COLUMN tenancy.audit_trail.user_slug IS 'Slug of the user that acted; a pseudonym once it is forgotten';
COMMENT ON COLUMN tenancy.audit_trail.target_name IS 'Slug of the user that the target is the id of, else the target';
