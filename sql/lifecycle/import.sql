-- import_tenant(): what a file may make of tenancy's own rows. Whoever wrote it is not trusted. Each function takes one kind of row, with
-- the ids that scopes have here, and does what the caller could do by the functions of each. Each returns how many rows it took, why the
-- import is refused, and what only a scope above a tenant may give: that is taken with the mode restore, and else left to the caller.

-- What a tenant's own admin may give is the measure, not the power of the caller, who may not have read the file.
CREATE FUNCTION tenancy_internal.beyond_tenant_admin(permissions text[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT min(p) FROM unnest(permissions) p, tenancy_internal.role_definitions r
     WHERE r.built_in AND r.name = 'tenant_admin' AND NOT tenancy_internal.covers(r.permissions, p);
END;
REVOKE ALL ON FUNCTION tenancy_internal.beyond_tenant_admin(text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.beyond_tenant_admin(text[]) IS 'internal: returns a permission that tenant_admin does not give; NULL if there is none';

-- Texts of an import: few, each once. A file may have millions of faults.
CREATE FUNCTION tenancy_internal.add_text(texts text[], more text) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN cardinality(texts) >= 50 OR left(more, 300) = ANY (texts) THEN texts ELSE texts || left(more, 300) END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.add_text(text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.add_text(text[], text) IS 'internal: adds a text to at most 50, if it is not among them';

CREATE FUNCTION tenancy_internal.import_options(scope uuid, slug text, features jsonb, settings jsonb, mode text, INOUT granted text[], OUT own jsonb)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    option record;
BEGIN
    own := settings;
    IF jsonb_typeof(settings) = 'object' THEN
        FOR option IN SELECT d.name FROM tenancy_internal.option_definitions d
                       WHERE d.kind = 'setting' AND settings ? d.name AND tenancy_internal.level_rank(d.level) < tenancy_internal.level_rank('tenant')
        LOOP
            IF mode <> 'restore' THEN
                granted := tenancy_internal.add_text(granted, format('tenancy.scopes: "%s" has the setting %s, which is set above tenants.', slug, option.name));
                own := own - option.name;
            END IF;
        END LOOP;
    END IF;
    IF features <> '{}' AND mode <> 'restore' THEN
        granted := tenancy_internal.add_text(granted, format('tenancy.scopes: "%s" has features, which are set above tenants.', slug));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_options(uuid, text, jsonb, jsonb, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_options(uuid, text, jsonb, jsonb, text, text[]) IS
    'internal: returns the settings of a scope that an import takes, and adds to granted what it does not';

CREATE FUNCTION tenancy_internal.import_features(scope uuid, features jsonb) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenancy_internal.set_feature(scope, f.key, f.value) FROM jsonb_each(features) f;
END;
REVOKE ALL ON FUNCTION tenancy_internal.import_features(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_features(uuid, jsonb) IS 'internal: sets the features of a scope that is imported';

CREATE FUNCTION tenancy_internal.import_tenant_scope(
    partner uuid, slug text, external_id text, status text, given jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    own jsonb;
BEGIN
    taken := 1;
    faults := '{}';
    SELECT x.id, x.slug, x.name, x.features::jsonb AS features, x.settings::jsonb AS settings, x.created_at INTO wanted
      FROM jsonb_to_record(given) x(id uuid, slug text, name text, features text, settings text, created_at timestamptz);
    IF (SELECT tenancy_internal.worst_status(array_agg(s.status)) FROM tenancy.scopes p JOIN tenancy.scopes s ON s.id = ANY (p.path) WHERE p.id = partner)
       IN ('archived', 'deleted') THEN
        faults := ARRAY['The partner is archived or deleted.'];
        RETURN;
    END IF;
    SELECT o.own, o.granted INTO own, granted FROM tenancy_internal.import_options(wanted.id, wanted.slug, wanted.features, wanted.settings, mode, '{}') o;
    PERFORM tenancy_internal.create_tenant(coalesce(slug, wanted.slug), wanted.name, partner, external_id, own, status, wanted.id);
    IF mode = 'restore' THEN
        PERFORM tenancy_internal.import_features(wanted.id, wanted.features);
    END IF;
    UPDATE tenancy.scopes s SET created_at = wanted.created_at WHERE s.id = wanted.id AND wanted.created_at BETWEEN '1970-01-01 00:00:00+00' AND s.created_at;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_tenant_scope(uuid, text, text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_tenant_scope(uuid, text, text, text, jsonb, text) IS 'internal: creates the tenant of an import';

-- Their parent is the tenant, whatever the file has.
CREATE FUNCTION tenancy_internal.import_scopes(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    own jsonb;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.*, x.settings_text::jsonb AS settings, x.features_text::jsonb AS features, EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = x.id) AS known,
               EXISTS (SELECT FROM tenancy_internal.user_forgettings f WHERE f.user_id = x.id AND f.ended_at IS NOT NULL) AS forgotten
          FROM jsonb_array_elements(rows) e
         CROSS JOIN LATERAL (SELECT r.id, r.level, r.slug, r.name, r.status, r.external_id, r.kind, r.settings AS settings_text, r.features AS features_text
                               FROM jsonb_to_record(e) r(id uuid, level text, slug text, name text, status text, external_id text, kind text, settings text, features text)) x
    LOOP
        IF wanted.level IS NULL OR wanted.level NOT IN ('project', 'user') OR (wanted.level = 'user') <> coalesce(wanted.kind IN ('human', 'service'), false)
           OR (wanted.level = 'project' AND wanted.kind IS NOT NULL) THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.scopes: "%s" is neither a project nor a user.', left(wanted.slug, 80)));
        ELSIF wanted.known THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.scopes: "%s" has the id %s, which is taken.', left(wanted.slug, 80), wanted.id));
        ELSIF wanted.forgotten THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.scopes: user %s was forgotten after this export. Import it with other ids, and forget the user again.', wanted.id));
        ELSE
            SELECT o.own, o.granted INTO own, granted
              FROM tenancy_internal.import_options(wanted.id, wanted.slug, wanted.features, wanted.settings, mode, granted) o;
            PERFORM tenancy_internal.create_scope(wanted.level, tenant, wanted.slug, wanted.name, wanted.external_id, wanted.kind, own, wanted.status, wanted.id);
            IF mode = 'restore' THEN
                PERFORM tenancy_internal.import_features(wanted.id, wanted.features);
            END IF;
            taken := taken + 1;
        END IF;
    END LOOP;
    UPDATE tenancy.scopes s SET created_at = x.created_at FROM jsonb_to_recordset(rows) x(id uuid, created_at timestamptz)
     WHERE s.id = x.id AND s.parent_id = tenant AND x.created_at BETWEEN '1970-01-01 00:00:00+00' AND s.created_at;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_scopes(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_scopes(uuid, jsonb, text) IS 'internal: creates projects and users of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_roles(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    more text;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN SELECT x.name, x.permissions::text[] AS permissions, x.description, x.expires_at
                    FROM jsonb_to_recordset(rows) x(name text, permissions text, description text, expires_at timestamptz)
    LOOP
        more := tenancy_internal.beyond_tenant_admin(wanted.permissions);
        IF EXISTS (SELECT FROM tenancy_internal.role_definitions r WHERE r.scope_id = tenant AND r.name = wanted.name) THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.roles: the role "%s" is in it twice.', left(wanted.name, 80)));
        ELSIF more IS NOT NULL AND mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.roles: the role "%s" has the permission %s, which no tenant_admin may give.', left(wanted.name, 80), left(more, 80)));
        ELSE
            PERFORM tenancy_internal.define_role(tenant, wanted.name, wanted.permissions, wanted.description);
            IF wanted.expires_at > clock_timestamp() THEN
                PERFORM tenancy_internal.check_expiry(wanted.expires_at);
            END IF;
            UPDATE tenancy_internal.role_definitions r SET expires_at = greatest(wanted.expires_at, '1970-01-01 00:00:00+00')
             WHERE r.scope_id = tenant AND r.name = wanted.name AND wanted.expires_at IS NOT NULL;
            taken := taken + 1;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_roles(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_roles(uuid, jsonb, text) IS 'internal: defines roles of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_assignments(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    role record;
    above uuid[] := (SELECT s.path FROM tenancy.scopes s WHERE s.id = tenant);
    more text;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN SELECT x.* FROM jsonb_to_recordset(rows) x(user_id uuid, scope_id uuid, role text, defined_at text, expires_at timestamptz)
    LOOP
        taken := taken + 1;
        CONTINUE WHEN wanted.expires_at <= clock_timestamp();
        SELECT r.id, r.permissions INTO role FROM tenancy_internal.role_definitions r
         WHERE r.name = wanted.role AND r.scope_id = above[array_position('{platform,partner,tenant}', wanted.defined_at)];
        IF NOT FOUND THEN
            IF wanted.defined_at = 'tenant' AND mode = 'leave_out' THEN
                granted := tenancy_internal.add_text(granted, format('tenancy.assignments: the role "%s" was left out.', left(wanted.role, 80)));
            ELSE
                faults := tenancy_internal.add_text(faults, format('tenancy.assignments: there is no role "%s" of the %s.', left(wanted.role, 80), left(wanted.defined_at, 80)));
            END IF;
            CONTINUE;
        END IF;
        more := tenancy_internal.beyond_tenant_admin(role.permissions);
        IF more IS NOT NULL AND mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.assignments: the role "%s" has the permission %s, which no tenant_admin may give.', wanted.role, left(more, 80)));
        ELSIF EXISTS (SELECT FROM tenancy_internal.role_assignments a WHERE (a.user_id, a.role_id, a.scope_id) = (wanted.user_id, role.id, wanted.scope_id)) THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.assignments: a user has the role "%s" twice.', wanted.role));
        ELSIF tenancy_internal.find_role(wanted.role, wanted.scope_id) <> role.id THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.assignments: another role "%s" is defined above that of the %s.', wanted.role, wanted.defined_at));
        ELSE
            PERFORM tenancy_internal.assign(wanted.user_id, wanted.role, wanted.scope_id, wanted.expires_at);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_assignments(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_assignments(uuid, jsonb, text) IS
    'internal: assigns roles to users of a tenant that is imported; the ids are those of scopes of the tenant';

CREATE FUNCTION tenancy_internal.import_allowed_networks(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN SELECT x.scope_id, x.networks::inet[] AS networks FROM jsonb_to_recordset(rows) x(scope_id uuid, networks text) LOOP
        IF wanted.networks IS NULL THEN
            PERFORM tenancy_internal.wrong_value('tenancy.allowed_networks', 'a row has no networks');
        END IF;
        PERFORM tenancy_internal.set_allowed_networks(wanted.scope_id, wanted.networks);
        taken := taken + 1;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_allowed_networks(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_allowed_networks(uuid, jsonb, text) IS 'internal: sets the networks of scopes of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_login_policies(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.scope_id, x.amr::text[] AS amr, x.acr::text[] AS acr, x.session_length::interval AS session_length, x.human_api_keys
          FROM jsonb_to_recordset(rows) x(scope_id uuid, amr text, acr text, session_length text, human_api_keys boolean)
    LOOP
        PERFORM tenancy_internal.set_login_policy(wanted.scope_id, wanted.amr, wanted.acr, wanted.session_length, wanted.human_api_keys);
        taken := taken + 1;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_login_policies(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_login_policies(uuid, jsonb, text) IS 'internal: sets the login policies of a tenant that is imported';

-- A budget that is imposed on the tenant is the partner's; its own is beside it. On its projects and users the tenant imposes them.
CREATE FUNCTION tenancy_internal.import_budgets(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    place record;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.scope_id, x.metric, x.period, x.imposed, x.amount, x.hard, x.alert_at::numeric[] AS alert_at, x.per, x.dimensions::jsonb AS dimensions, x.anchor, x.alert_amounts::numeric[] AS alert_amounts,
               x.metric IS NULL OR EXISTS (SELECT FROM tenancy_internal.metric_definitions m WHERE m.name = x.metric) AS known
          FROM jsonb_to_recordset(rows) x(scope_id uuid, metric text, period text, imposed boolean, amount numeric, hard boolean, alert_at text, per text, dimensions text,
                                                   anchor timestamptz, alert_amounts text)
    LOOP
        IF NOT wanted.known THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.budgets: there is no metric "%s".', left(wanted.metric, 80)));
        ELSIF wanted.imposed IS DISTINCT FROM false AND wanted.scope_id = tenant AND mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.budgets: a budget for %s is imposed from above.', coalesce(wanted.metric, 'cost')));
        ELSE
            SELECT b.* INTO place FROM tenancy_internal.budget_of(wanted.scope_id, wanted.metric, wanted.period, wanted.per, wanted.dimensions, NULL) b;
            PERFORM tenancy_internal.put_budget(wanted.scope_id, wanted.metric, place.metric_id, coalesce(wanted.imposed, true), wanted.amount, wanted.period, wanted.hard, wanted.alert_at,
                                                wanted.per, nullif(wanted.dimensions, '{}'), NULL, wanted.anchor, wanted.alert_amounts);
            taken := taken + 1;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_budgets(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_budgets(uuid, jsonb, text) IS 'internal: sets budgets of scopes of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_credits(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.* FROM jsonb_to_recordset(rows) x(scope_id uuid, metric text, period text, imposed boolean, remaining numeric, priority integer,
                                                   effective_at timestamptz, expires_at timestamptz, rollover numeric, note text)
    LOOP
        taken := taken + 1;
        CONTINUE WHEN wanted.expires_at <= clock_timestamp();
        IF wanted.imposed IS DISTINCT FROM false AND wanted.scope_id = tenant AND mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.credits: a credit for %s was granted from above.', coalesce(wanted.metric, 'cost')));
            CONTINUE;
        END IF;
        SELECT b.id INTO budget FROM tenancy_internal.budget_definitions b LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
         WHERE b.scope_id = wanted.scope_id AND m.name IS NOT DISTINCT FROM wanted.metric AND b.period = wanted.period AND b.imposed = wanted.imposed AND NOT tenancy_internal.is_part(b);
        IF budget IS NULL THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.credits: a credit for %s has no budget.', coalesce(left(wanted.metric, 80), 'cost')));
        ELSE
            PERFORM tenancy_internal.put_credit(wanted.scope_id, wanted.metric, budget, wanted.imposed, wanted.remaining, wanted.period, wanted.priority, wanted.expires_at,
                                                wanted.rollover, wanted.effective_at, wanted.note);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_credits(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_credits(uuid, jsonb, text) IS 'internal: grants credits to scopes of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_limits(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    place record;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.*, EXISTS (SELECT FROM tenancy_internal.limit_definitions d WHERE d.name = x.name) AS known
          FROM jsonb_to_recordset(rows) x(scope_id uuid, name text, level text, per text, imposed boolean, amount bigint, burst bigint)
    LOOP
        IF NOT wanted.known THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.limits: there is no limit "%s".', left(wanted.name, 80)));
        ELSIF wanted.imposed IS DISTINCT FROM false AND mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.limits: the limit "%s" is imposed from above.', wanted.name));
        ELSE
            SELECT p.* INTO place FROM tenancy_internal.limit_place(wanted.scope_id, wanted.level) p;
            PERFORM tenancy_internal.put_limit(wanted.scope_id, NULL, tenancy_internal.limit_named(wanted.name), place.for_level, wanted.per, coalesce(wanted.imposed, true),
                                               wanted.amount, wanted.burst),
                    tenancy_internal.audit('limit.set', wanted.scope_id, wanted.name, jsonb_strip_nulls(jsonb_build_object(
                        'amount', coalesce(to_jsonb(wanted.amount), '"unlimited"'), 'per', wanted.per, 'burst', wanted.burst, 'level', place.for_level,
                        'imposed', coalesce(wanted.imposed, true))));
            taken := taken + 1;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_limits(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_limits(uuid, jsonb, text) IS 'internal: sets limits of scopes of a tenant that is imported';

CREATE FUNCTION tenancy_internal.import_tenant_plans(tenant uuid, rows jsonb, mode text, OUT taken bigint, OUT faults text[], OUT granted text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    taken := 0;
    faults := '{}';
    granted := '{}';
    FOR wanted IN
        SELECT x.*, EXISTS (SELECT FROM tenancy_internal.plan_definitions p JOIN tenancy.scopes s ON s.id = tenant WHERE p.name = x.plan AND p.owner_id = ANY (s.path)) AS known
          FROM jsonb_to_recordset(rows) x(plan text, starts_at timestamptz, ends_at timestamptz, trial boolean)
    LOOP
        IF mode <> 'restore' THEN
            granted := tenancy_internal.add_text(granted, format('tenancy.tenant_plans: the plan "%s" is given from above.', left(wanted.plan, 80)));
        ELSIF NOT wanted.known THEN
            faults := tenancy_internal.add_text(faults, format('tenancy.tenant_plans: there is no plan "%s" of the partner or the platform.', left(wanted.plan, 80)));
        ELSE
            PERFORM tenancy_internal.set_plan(tenant, wanted.plan, wanted.starts_at, wanted.ends_at, wanted.trial) WHERE wanted.ends_at > now() OR wanted.ends_at IS NULL;
            taken := taken + 1;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_tenant_plans(uuid, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_tenant_plans(uuid, jsonb, text) IS 'internal: gives a tenant that is imported its plans';

CREATE FUNCTION tenancy.import_tenant(
    lines regclass,
    partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid,
    slug text DEFAULT NULL,
    external_id text DEFAULT NULL,
    ids text DEFAULT 'remap',
    granted text DEFAULT 'refuse',
    status text DEFAULT 'active'
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_import_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.import_tenant(regclass, tenancy.regscope, text, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.import_tenant(regclass, tenancy.regscope, text, text, text, text, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.import_tenant(regclass, tenancy.regscope, text, text, text, text, text) IS
    'Makes a tenant of what export_tenant() has returned, all of it or nothing, and returns the tenant''s id. lines: a plain table of the caller''s with the lines in a column '
    'line text, of at most 256 MiB each, in the order of a column n bigint. Whoever wrote the lines is not trusted: the import creates one tenant of the partner, with this status, '
    'and rows of this tenant, and gives nothing that the tenant''s own admin could not give. slug: NULL: that in the file. ids: remap: scopes and rows with uuid keys get new ids, and the '
    'tenant has the external id that is given here, or none; keep: the ids in the file, and its external id if none is given; moved: likewise, for a tenant whose rows move_tenant_out() has brought here. With keep and moved, what the audit log and '
    'the usage have of these ids is the tenant''s again: only for a file that you trust. granted: what becomes of the plan, features, and budgets, credits, limits, settings and '
    'roles that only the partner or the platform can give: refuse, leave_out, or restore, for a file that you trust. Foreign keys must hold '
    'among the rows of the tenant and shared rows. Triggers of the tables fire, with their owner''s rights. Sequences of columns go on behind the rows. '
    'Keys and secrets are not in an export. The rest of the transaction is in maintenance, with constraints that are immediate; the audit log records the call and the numbers of rows. The caller is the '
    'owner of the tables or a member of these roles. Errors: 22P04 the lines are no export, or not all of one; 22023 a bad argument or value; 42710 the id, the slug or the external id is '
    'taken; 55000 it does not fit this database, with all reasons; 23505 another row has the key of one; 42501 permission denied, or the transaction has a context; 42704 no such partner. For tenancy_admin';
