-- What there is of plans, features and settings, and which values count.

CREATE VIEW tenancy.feature_names WITH (security_barrier) AS
    SELECT d.name, d.type, d.default_value, d.minimum, d.maximum, d.choices, d.description, d.created_at
      FROM tenancy_internal.option_definitions d
     WHERE d.kind = 'feature' AND cardinality(tenancy.scope_ids()) > 0 AND tenancy_internal.barrier();
CREATE VIEW tenancy.setting_names WITH (security_barrier) AS
    SELECT d.name, d.type, d.default_value, d.level, d.minimum, d.maximum, d.choices, d.description, d.created_at
      FROM tenancy_internal.option_definitions d
     WHERE d.kind = 'setting' AND cardinality(tenancy.scope_ids()) > 0 AND tenancy_internal.barrier();
COMMENT ON VIEW tenancy.feature_names IS
    'The features, with their types, default values and ranges. Every context sees all of them; without one tenancy_gateway, tenancy_admin and '
    'tenancy_auditor do. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON VIEW tenancy.setting_names IS
    'The settings, with their types, default values, ranges, and the lowest level whose scopes may set them. Every context sees all of them; '
    'without one tenancy_gateway, tenancy_admin and tenancy_auditor do. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy_internal.visible_plan_owners(seen uuid[]) RETURNS uuid[]
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Those above the scopes that the reader sees plans in, and below them. It asks which they are as itself: here the owner would be asked.
    SELECT array_agg(DISTINCT o.id)
      FROM (SELECT unnest(s.path) AS id FROM tenancy.scopes s WHERE s.id = ANY (seen)
            UNION ALL
            SELECT s.id FROM tenancy.scopes s WHERE s.level IN ('platform', 'partner') AND s.path && seen) o;
END;
REVOKE ALL ON FUNCTION tenancy_internal.visible_plan_owners(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.visible_plan_owners(uuid[]) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.visible_plan_owners(uuid[]) IS
    'internal: returns the owners of the plans that a reader sees who sees plans in these scopes';

CREATE VIEW tenancy.plans WITH (security_barrier) AS
    SELECT p.id, p.name, s.slug AS owner, p.owner_id, p.description, p.features, p.settings, p.resources,
           (SELECT coalesce(jsonb_agg(jsonb_build_object('metric', m.name, 'period', b.period, 'amount', trim_scale(b.amount / 1000000.0), 'hard', b.hard) ORDER BY m.name, b.period), '[]')
              FROM jsonb_to_recordset(p.budgets) AS b (metric_id integer, amount bigint, hard boolean, period text)
              LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id) AS budgets,
           (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', d.name, 'kind', d.kind, 'level', v.level,
                                'amount', coalesce(to_jsonb(v.amount), '"unlimited"'), 'per', v.per, 'burst', v.burst)) ORDER BY d.name, v.level, v.per), '[]')
              FROM tenancy_internal.limit_values v JOIN tenancy_internal.limit_definitions d ON d.id = v.limit_id WHERE v.plan_id = p.id) AS limits,
           p.created_at, p.created_by
      FROM tenancy_internal.plan_definitions p
      JOIN tenancy.scopes s ON s.id = p.owner_id
     WHERE p.owner_id = ANY (tenancy_internal.visible_plan_owners(tenancy.scope_ids('plans:view'))) AND tenancy_internal.barrier();
COMMENT ON VIEW tenancy.plans IS
    'Plans: their owner (the platform or a partner), the values of features and settings, budgets, limits of every kind, and resources. Shows those that scopes where '
    'the reader holds plans:view own or may have; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, '
    'tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE VIEW tenancy.tenant_plans WITH (security_barrier) AS
    SELECT t.id, t.tenant_id, s.slug AS tenant, p.name AS plan, t.starts_at, t.ends_at, t.trial,
           t.starts_at <= statement_timestamp() AND (t.ends_at > statement_timestamp() OR t.ends_at IS NULL) AND NOT EXISTS (
               SELECT FROM tenancy_internal.tenant_plans l
                WHERE l.tenant_id = t.tenant_id AND (l.starts_at, l.id) > (t.starts_at, t.id)
                  AND l.starts_at <= statement_timestamp() AND (l.ends_at > statement_timestamp() OR l.ends_at IS NULL)) AS counts,
           t.created_at, t.created_by
      FROM tenancy_internal.tenant_plans t
      JOIN tenancy_internal.plan_definitions p ON p.id = t.plan_id
      JOIN tenancy.scopes s ON s.id = t.tenant_id
     WHERE s.path && tenancy.scope_ids('plans:view') AND tenancy_internal.barrier();
COMMENT ON VIEW tenancy.tenant_plans IS
    'Which tenant has which plan when. counts: it is the plan that counts now. Shows tenants where the reader holds plans:view; without a context '
    'tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy_internal.effective_options(scope uuid) RETURNS TABLE (kind text, name text, value jsonb, scope_id uuid, plan_id uuid)
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_effective_options_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.effective_options(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.effective_options(uuid) IS 'internal: returns the features and settings that count in a scope, and where they come from';

CREATE FUNCTION tenancy_internal.effective_of(scope uuid, place uuid[])
    RETURNS TABLE (kind text, name text, value jsonb, source text, source_id uuid, source_name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT f.kind, f.name, f.value, coalesce(s.level, CASE WHEN p.id IS NOT NULL THEN 'plan' ELSE 'default' END), coalesce(s.id, p.id), coalesce(s.slug, p.name)
      FROM (SELECT o.kind, o.name, o.value, o.scope_id, o.plan_id FROM tenancy_internal.effective_options(scope) o
            UNION ALL
            SELECT d.kind, d.name, jsonb_strip_nulls(jsonb_build_object('amount', l.amount, 'per', l.per, 'burst', l.burst, 'level', l.level)), l.scope_id, l.plan_id
              FROM tenancy_internal.plan_at(place[3], statement_timestamp()) a
             CROSS JOIN LATERAL tenancy_internal.limits_of(place, a.plan_id, NULL) l
              JOIN tenancy_internal.limit_definitions d ON d.id = l.limit_id
            UNION ALL
            SELECT 'budget', concat_ws(' ', coalesce(m.name, 'cost'), b.period), jsonb_build_object('amount', trim_scale(b.amount / 1000000.0), 'hard', b.hard), NULL, a.plan_id
              FROM tenancy_internal.plan_at(place[3], statement_timestamp()) a
              JOIN tenancy_internal.plan_definitions d ON d.id = a.plan_id
             CROSS JOIN LATERAL jsonb_to_recordset(d.budgets) AS b (metric_id integer, amount bigint, hard boolean, period text)
              LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
             WHERE NOT EXISTS (SELECT FROM tenancy_internal.budget_definitions o
                                WHERE o.scope_id = place[3] AND o.imposed AND o.metric_id IS NOT DISTINCT FROM b.metric_id AND o.period = b.period
                                  AND NOT tenancy_internal.is_part(o))
            UNION ALL
            SELECT 'resource', r.key, r.value, NULL, a.plan_id
              FROM tenancy_internal.plan_at(place[3], statement_timestamp()) a
              JOIN tenancy_internal.plan_definitions d ON d.id = a.plan_id
             CROSS JOIN LATERAL jsonb_each(d.resources) r) f
      LEFT JOIN tenancy.scopes s ON s.id = f.scope_id
      LEFT JOIN tenancy_internal.plan_definitions p ON p.id = f.plan_id;
END;
REVOKE ALL ON FUNCTION tenancy_internal.effective_of(uuid, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.effective_of(uuid, uuid[]) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.effective_of(uuid, uuid[]) IS 'internal: returns the features, settings and limits that count in a scope with this path';

CREATE VIEW tenancy.effective_values WITH (security_barrier) AS
    SELECT s.id AS scope_id, s.level, s.slug AS scope, e.kind, e.name, e.value, e.source, e.source_name, e.source_id
      FROM tenancy.scopes s
     CROSS JOIN LATERAL tenancy_internal.effective_of(s.id, s.path) e
     WHERE s.path && tenancy.scope_ids('plans:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.feature_names, tenancy.setting_names, tenancy.plans, tenancy.tenant_plans, tenancy.effective_values FROM PUBLIC;
GRANT SELECT ON tenancy.feature_names, tenancy.setting_names, tenancy.plans, tenancy.tenant_plans, tenancy.effective_values
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.effective_values IS
    'The features, settings and limits that count in a scope now, and where each comes from. kind: feature, setting, rate, slots, amount, budget (those of the plan; the view budgets shows others) or resource. name: '
    'with the path in one of type json. source: the level of the scope that sets it, plan, or default. Name the scope: WHERE scope = ''acme''. '
    'Shows scopes where the reader holds plans:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, '
    'tenancy_gateway, tenancy_admin, tenancy_auditor';
