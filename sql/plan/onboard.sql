-- Making a whole tenant, and making it so again.

CREATE FUNCTION tenancy_internal.change(kind text, name text, before jsonb, after jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_array(jsonb_build_object('kind', kind, 'name', name, 'before', before, 'after', after));
END;
REVOKE ALL ON FUNCTION tenancy_internal.change(text, text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.change(text, text, jsonb, jsonb) IS 'internal: returns a change that apply_template() reports';

-- Features and settings, each path for itself.
CREATE FUNCTION tenancy_internal.apply_options(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
    own jsonb;
BEGIN
    FOR wanted IN
        SELECT 'feature' AS kind, f.key, f.value FROM jsonb_each(contents -> 'features') f
        UNION ALL SELECT 'setting', s.key, s.value FROM jsonb_each(contents -> 'settings') s
    LOOP
        SELECT CASE wanted.kind WHEN 'feature' THEN s.features ELSE s.settings END INTO own FROM tenancy.scopes s WHERE s.id = tenant;
        CONTINUE WHEN tenancy_internal.place_option(wanted.kind, wanted.key, wanted.value, own) = own;
        IF wanted.kind = 'feature' THEN
            PERFORM tenancy_internal.set_feature(tenant, wanted.key, wanted.value);
        ELSE
            PERFORM tenancy_internal.set_setting(tenant, wanted.key, wanted.value);
        END IF;
        changes := changes || tenancy_internal.change(wanted.kind, wanted.key, coalesce(own -> wanted.key, own #> string_to_array(wanted.key, '.')), wanted.value);
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_options(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_options(uuid, jsonb) IS 'internal: sets the features and settings of a template; returns what it changed';

CREATE FUNCTION tenancy_internal.apply_limits(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
    known record;
BEGIN
    FOR wanted IN
        SELECT l.*, d.id, d.kind, coalesce(l.burst, CASE WHEN d.kind = 'rate' THEN greatest(l.amount, 1) END) AS most
          FROM jsonb_to_recordset(tenancy_internal.plan_contents(contents - '{settings,features,roles,budgets,projects,groups}'::text[]) -> 'limits')
               AS l (name text, level text, per text, amount bigint, burst bigint)
          JOIN tenancy_internal.limit_definitions d USING (name) ORDER BY l.name, l.level, l.per
    LOOP
        SELECT v.amount, v.burst INTO known FROM tenancy_internal.limit_values v
         WHERE v.scope_id = tenant AND v.limit_id = wanted.id AND v.level = wanted.level AND v.per IS NOT DISTINCT FROM wanted.per
         ORDER BY v.imposed DESC LIMIT 1;
        CONTINUE WHEN FOUND AND (known.amount, known.burst) IS NOT DISTINCT FROM (wanted.amount, CASE WHEN wanted.amount IS NOT NULL THEN wanted.most END);
        PERFORM tenancy_internal.set_a_limit(tenant, wanted.name, wanted.kind, wanted.level, wanted.per, wanted.amount, wanted.burst);
        changes := changes || tenancy_internal.change('limit', concat_ws(' ', wanted.name, wanted.level, wanted.per), to_jsonb(known.amount), to_jsonb(wanted.amount));
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_limits(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_limits(uuid, jsonb) IS 'internal: sets the limits of a template; returns what it changed';

CREATE FUNCTION tenancy_internal.apply_roles(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
    known record;
BEGIN
    FOR wanted IN
        SELECT r.key AS name, ARRAY(SELECT jsonb_array_elements_text(r.value -> 'permissions')) AS permissions, r.value ->> 'description' AS description
          FROM jsonb_each(contents -> 'roles') r
    LOOP
        SELECT d.permissions, d.description INTO known FROM tenancy_internal.role_definitions d WHERE d.scope_id = tenant AND d.name = wanted.name;
        CONTINUE WHEN FOUND AND known.permissions @> wanted.permissions AND known.permissions <@ wanted.permissions
                 AND coalesce(wanted.description, known.description) IS NOT DISTINCT FROM known.description;
        PERFORM tenancy_internal.define_role(tenant, wanted.name, wanted.permissions, coalesce(wanted.description, known.description));
        changes := changes || tenancy_internal.change('role', wanted.name, to_jsonb(known.permissions), to_jsonb(wanted.permissions));
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_roles(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_roles(uuid, jsonb) IS 'internal: defines the roles of a template; returns what it changed';

CREATE FUNCTION tenancy_internal.apply_budgets(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
    known record;
BEGIN
    FOR wanted IN
        SELECT b ->> 'metric' AS metric, (b ->> 'amount')::numeric AS amount, coalesce(b ->> 'period', 'month') AS period, coalesce((b ->> 'hard')::boolean, true) AS hard,
               ARRAY(SELECT jsonb_array_elements_text(b -> 'alert_at')::numeric) AS alert_at, b ->> 'per' AS per, nullif(b -> 'dimensions', '{}') AS dimensions
          FROM jsonb_array_elements(contents -> 'budgets') b
    LOOP
        SELECT d.amount, d.hard, d.alert_at INTO known FROM tenancy_internal.budget_definitions d
          LEFT JOIN tenancy_internal.metric_definitions m ON m.id = d.metric_id
         WHERE d.scope_id = tenant AND m.name IS NOT DISTINCT FROM wanted.metric AND d.period = wanted.period
           AND (d.per, d.dimensions, d.api_key_id) IS NOT DISTINCT FROM (wanted.per, wanted.dimensions, NULL::uuid) ORDER BY d.imposed DESC LIMIT 1;
        CONTINUE WHEN FOUND AND (known.amount / 1000000.0, known.hard, known.alert_at) = (wanted.amount, wanted.hard, wanted.alert_at);
        PERFORM tenancy_internal.set_budget(tenant, wanted.metric, wanted.amount, wanted.period, wanted.hard, wanted.alert_at,
                                            wanted.per, wanted.dimensions, NULL, NULL);
        changes := changes || tenancy_internal.change('budget', concat_ws(' ', coalesce(wanted.metric, 'cost'), wanted.period, wanted.dimensions, 'per ' || wanted.per),
            to_jsonb(trim_scale(known.amount / 1000000.0)), to_jsonb(wanted.amount));
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_budgets(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_budgets(uuid, jsonb) IS 'internal: sets the budgets of a template; returns what it changed';

-- Projects that exist keep what they have.
CREATE FUNCTION tenancy_internal.apply_projects(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
BEGIN
    FOR wanted IN
        SELECT p.key AS slug, coalesce(p.value ->> 'name', p.key) AS name, coalesce(p.value -> 'settings', '{}') AS settings
          FROM jsonb_each(contents -> 'projects') p
         WHERE NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.parent_id = tenant AND s.slug = p.key)
    LOOP
        PERFORM tenancy_internal.create_project(tenant, wanted.slug, wanted.name, NULL, wanted.settings, 'active', NULL);
        changes := changes || tenancy_internal.change('project', wanted.slug, NULL, to_jsonb(wanted.name));
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_projects(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_projects(uuid, jsonb) IS 'internal: creates the projects of a template; returns what it changed';

CREATE FUNCTION tenancy_internal.apply_groups(tenant uuid, contents jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := '[]';
    wanted record;
BEGIN
    FOR wanted IN SELECT g ->> 'issuer' AS issuer, g ->> 'group' AS group_name, g ->> 'role' AS role FROM jsonb_array_elements(contents -> 'groups') g LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM tenancy_internal.identity_group_registry m
              JOIN tenancy_internal.identity_provider_registry p ON p.id = m.provider_id
              JOIN tenancy_internal.role_definitions r ON r.id = m.role_id
             WHERE m.scope_id = tenant AND p.issuer = wanted.issuer AND m.group_name = wanted.group_name AND r.name = wanted.role);
        PERFORM tenancy_internal.map_group(wanted.issuer, wanted.group_name, wanted.role, tenant, NULL);
        changes := changes || tenancy_internal.change('group', wanted.group_name, NULL, to_jsonb(wanted.role));
    END LOOP;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_groups(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_groups(uuid, jsonb) IS 'internal: maps the groups of a template; returns what it changed';

CREATE FUNCTION tenancy_internal.put_template(tenant uuid, template text) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted jsonb;
BEGIN
    -- The partner's before the platform's.
    SELECT t.contents INTO wanted FROM tenancy_internal.template_definitions t JOIN tenancy.scopes s ON s.id = tenant
     WHERE t.name = template AND t.owner_id = ANY (s.path) ORDER BY t.owner_id = s.path[1] LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('template_not_found', left(template, 80));
    END IF;
    RETURN tenancy_internal.apply_options(tenant, wanted) || tenancy_internal.apply_limits(tenant, wanted)
        || tenancy_internal.apply_roles(tenant, wanted) || tenancy_internal.apply_budgets(tenant, wanted)
        || tenancy_internal.apply_projects(tenant, wanted) || tenancy_internal.apply_groups(tenant, wanted);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_template(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_template(uuid, text) IS 'internal: applies a template to a tenant that the caller may grant to; returns what it changed';

CREATE FUNCTION tenancy_internal.apply_template(tenant tenancy.regscope, template text, dry_run boolean) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb;
BEGIN
    PERFORM tenancy_internal.authorize_grant(tenant, 'tenant');
    IF template IS NULL OR dry_run IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN template IS NULL THEN 'template' ELSE 'dry_run' END);
    END IF;
    PERFORM FROM tenancy.scopes s WHERE s.id = tenant AND s.level = 'tenant' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'templates are for tenants');
    END IF;
    BEGIN
        changes := tenancy_internal.put_template(tenant, template);
        -- Undone below; nothing else raises it.
        IF dry_run THEN
            RAISE EXCEPTION USING ERRCODE = 'TN001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'TN001' THEN
        NULL;
    END;
    RETURN changes;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.apply_template(tenancy.regscope, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.apply_template(tenancy.regscope, text, boolean) IS 'internal: see apply_template()';
CREATE FUNCTION tenancy.apply_template(tenant tenancy.regscope, template text, dry_run boolean DEFAULT false) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.apply_template(tenancy.regscope, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.apply_template(tenancy.regscope, text, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.apply_template(tenancy.regscope, text, boolean) IS
    'Applies a template to a tenant: sets what differs, and returns it as an array of {"kind", "name", "before", "after"}. What the tenant has '
    'besides stays. Of its partner''s and the platform''s templates of this name the partner''s counts. dry_run: only returns what it would do. All or '
    'nothing. Needs plans:manage above the tenant, and the permission for each part of the template. Errors: 22023 an invalid argument; 42501 '
    'permission denied; 42704 no such tenant, template, issuer or role; others as the functions that it calls. For tenancy_app, tenancy_gateway '
    '(with a context), tenancy_admin';

-- Creates the tenant and its admin, or finds them.
CREATE FUNCTION tenancy_internal.put_tenant(
    slug text, name text, partner uuid, plan text, template text, admin text, external_id text, admin_external_id text, settings jsonb, trial_ends_at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid;
    known record;
    owner uuid;
    key text;
    before uuid;
    changes jsonb := '[]';
BEGIN
    SELECT s.id, s.level, s.name, s.external_id, s.settings INTO known FROM tenancy.scopes s WHERE s.parent_id = partner AND s.slug = put_tenant.slug FOR NO KEY UPDATE;
    tenant := known.id;
    IF tenant IS NULL THEN
        tenant := tenancy_internal.create_tenant(slug, name, partner, external_id, settings, 'active', NULL);
        changes := tenancy_internal.change('tenant', slug, NULL, to_jsonb(coalesce(name, slug)));
    ELSIF known.level <> 'tenant' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('slug_taken', slug);
    ELSIF name <> known.name OR external_id IS DISTINCT FROM coalesce(known.external_id, external_id) OR NOT known.settings @> settings THEN
        PERFORM tenancy_internal.update_scope(tenant, NULL, name, external_id, known.settings || settings);
        changes := tenancy_internal.change('tenant', slug, to_jsonb(known.name), to_jsonb(coalesce(name, known.name)));
    END IF;
    IF plan IS NOT NULL THEN
        SELECT p.plan_id INTO before FROM tenancy_internal.plan_at(tenant, now()) p;
        IF trial_ends_at IS NULL OR before IS NULL THEN
            PERFORM tenancy_internal.set_plan(tenant, plan, NULL, trial_ends_at, trial_ends_at IS NOT NULL);
        END IF;
        IF before IS DISTINCT FROM (SELECT p.plan_id FROM tenancy_internal.plan_at(tenant, now() + interval '1 second') p) THEN
            changes := changes || tenancy_internal.change('plan', plan, to_jsonb((SELECT d.name FROM tenancy_internal.plan_definitions d WHERE d.id = before)), to_jsonb(plan));
        END IF;
    END IF;
    IF template IS NOT NULL THEN
        PERFORM tenancy_internal.authorize_grant(tenant, 'tenant');
        changes := changes || tenancy_internal.put_template(tenant, template);
    END IF;
    SELECT s.id INTO owner FROM tenancy.scopes s WHERE s.parent_id = tenant AND s.slug = admin AND s.level = 'user';
    IF owner IS NULL AND admin IS NOT NULL THEN
        owner := tenancy_internal.create_user(tenant, admin, 'human', admin_external_id, NULL, '{}', 'active', 'tenant_admin', NULL);
        key := tenancy_internal.issue_api_key(owner, 'first', NULL);
        changes := changes || tenancy_internal.change('admin', admin, NULL, to_jsonb('tenant_admin'::text));
    END IF;
    RETURN jsonb_build_object('tenant', tenant, 'admin', owner, 'api_key', key, 'changes', changes);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_tenant(text, text, uuid, text, text, text, text, text, jsonb, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_tenant(text, text, uuid, text, text, text, text, text, jsonb, timestamptz) IS 'internal: makes a tenant as onboard() describes it';

CREATE FUNCTION tenancy_internal.onboard(
    slug text, name text, partner tenancy.regscope, plan text, template text, admin text, external_id text, admin_external_id text,
    settings jsonb, trial_ends_at timestamptz, dry_run boolean) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made jsonb;
BEGIN
    IF slug IS NULL OR partner IS NULL OR settings IS NULL OR dry_run IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument',
            CASE WHEN slug IS NULL THEN 'slug' WHEN partner IS NULL THEN 'partner' WHEN settings IS NULL THEN 'settings' ELSE 'dry_run' END);
    END IF;
    PERFORM tenancy_internal.authorize('tenants:manage', partner);
    PERFORM tenancy_internal.check_settings(settings);
    BEGIN
        made := tenancy_internal.put_tenant(slug, name, partner, plan, template, admin, external_id, admin_external_id, settings, trial_ends_at);
        -- Undone below; nothing else raises it. Ids and the key are not those that would be made.
        IF dry_run THEN
            made := jsonb_build_object('changes', made -> 'changes');
            RAISE EXCEPTION USING ERRCODE = 'TN001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'TN001' THEN
        NULL;
    END;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.onboard(text, text, tenancy.regscope, text, text, text, text, text, jsonb, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.onboard(text, text, tenancy.regscope, text, text, text, text, text, jsonb, timestamptz, boolean) IS 'internal: see onboard()';
CREATE FUNCTION tenancy.onboard(
    slug text, name text DEFAULT NULL, partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid, plan text DEFAULT NULL,
    template text DEFAULT NULL, admin text DEFAULT 'admin', external_id text DEFAULT NULL, admin_external_id text DEFAULT NULL,
    settings jsonb DEFAULT '{}', trial_ends_at timestamptz DEFAULT NULL, dry_run boolean DEFAULT false
) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.onboard(text, text, tenancy.regscope, text, text, text, text, text, jsonb, timestamptz, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.onboard(text, text, tenancy.regscope, text, text, text, text, text, jsonb, timestamptz, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.onboard(text, text, tenancy.regscope, text, text, text, text, text, jsonb, timestamptz, boolean) IS
    'Makes a whole tenant in one transaction: the tenant in a partner, its plan, what a template has, and a first user with the role tenant_admin '
    'and an API key. Returns {"tenant", "admin", "api_key", "changes"}; the key is shown this once. A repeated call finds the tenant and the admin '
    'by their slugs, changes only what differs, and makes no other key; settings are added to those that it has. admin: its slug; NULL: none. '
    'external_id, admin_external_id: their ids at the identity provider. trial_ends_at: the plan is a trial until then, and a tenant that has a plan '
    'gets none. dry_run: only returns changes. Needs tenants:manage in the partner, plans:manage there for a plan or a template, and the permission '
    'for each part of the template. Errors: those of the functions that it calls: create_tenant(), set_plan(), apply_template(), create_user(), '
    'issue_api_key(); 22023 an argument is NULL. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';
