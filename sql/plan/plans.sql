-- Defining plans, and giving them to tenants.

CREATE FUNCTION tenancy_internal.plan_contents(contents jsonb) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_plan_contents_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.plan_contents(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.plan_contents(jsonb) IS
    'internal: returns the contents of a plan as they are stored; raises 22023 with the path of what is wrong';

-- Limits that differ are written, those that are missing deleted.
CREATE FUNCTION tenancy_internal.put_plan_limits(plan uuid, limits jsonb) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    put integer := 0;
    gone integer;
BEGIN
    FOR wanted IN
        SELECT d AS definition, w.level, w.per, w.amount, w.burst
          FROM jsonb_to_recordset(limits) AS w (name text, level text, per text, amount bigint, burst bigint)
          JOIN tenancy_internal.limit_definitions d USING (name)
         WHERE NOT EXISTS (
               SELECT FROM tenancy_internal.limit_values v
                WHERE v.plan_id = plan AND v.limit_id = d.id AND v.level = w.level AND v.per IS NOT DISTINCT FROM w.per
                  AND v.amount IS NOT DISTINCT FROM w.amount
                  AND v.burst IS NOT DISTINCT FROM CASE WHEN d.kind = 'rate' AND w.amount IS NOT NULL THEN coalesce(w.burst, greatest(w.amount, 1)) END)
    LOOP
        PERFORM tenancy_internal.put_limit(NULL, plan, wanted.definition, wanted.level, wanted.per, true, wanted.amount, wanted.burst);
        put := put + 1;
    END LOOP;
    DELETE FROM tenancy_internal.limit_values v
     WHERE v.plan_id = plan AND NOT EXISTS (
           SELECT FROM jsonb_to_recordset(limits) AS w (name text, level text, per text)
             JOIN tenancy_internal.limit_definitions d USING (name)
            WHERE v.limit_id = d.id AND v.level = w.level AND v.per IS NOT DISTINCT FROM w.per);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN put + gone > 0;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_plan_limits(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_plan_limits(uuid, jsonb) IS 'internal: makes the limits of a plan these; returns whether anything changed';

CREATE FUNCTION tenancy_internal.check_described(what text, name text, description text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF name !~ '^[a-z][a-z0-9_.-]{0,62}$' OR length(description) > 1000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a name of a %s', left(name, 80), what),
            'Use up to 63 lower-case letters, digits, dots, hyphens and underscores, and a letter first; a description of 1000 characters at most.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_described(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_described(text, text, text) IS 'internal: raises 22023 if the name of a plan or a template, or its description, is invalid';

CREATE FUNCTION tenancy_internal.define_plan(name text, contents jsonb, owner tenancy.regscope, description text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted jsonb;
    plan uuid;
    changed boolean;
BEGIN
    IF name IS NULL OR contents IS NULL OR owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument',
            CASE WHEN name IS NULL THEN 'name' WHEN contents IS NULL THEN 'contents' ELSE 'owner' END);
    END IF;
    PERFORM tenancy_internal.authorize('plans:manage', owner);
    -- One caller at a time for each owner.
    PERFORM FROM tenancy.scopes s WHERE s.id = owner AND s.level IN ('platform', 'partner') FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'only the platform and partners have plans of their own');
    END IF;
    PERFORM tenancy_internal.check_described('plan', name, description);
    wanted := tenancy_internal.plan_contents(contents);
    -- All tenants share the server.
    IF wanted -> 'resources' <> '{}' AND owner <> '00000000-0000-7000-8000-000000000000' THEN
        PERFORM tenancy_internal.authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    END IF;
    PERFORM tenancy_internal.require_lasting('the plan', tenancy_internal.held_until('{plans:manage}', owner));
    INSERT INTO tenancy_internal.plan_definitions AS p (owner_id, name, description, features, settings, budgets, resources, created_by)
    VALUES (owner, name, description, wanted -> 'features', wanted -> 'settings', wanted -> 'budgets', wanted -> 'resources', tenancy.user_id())
    ON CONFLICT ON CONSTRAINT plan_definitions_name_key DO UPDATE
       SET description = coalesce(excluded.description, p.description), features = excluded.features, settings = excluded.settings,
           budgets = excluded.budgets, resources = excluded.resources
     WHERE (coalesce(excluded.description, p.description), excluded.features, excluded.settings, excluded.budgets, excluded.resources)
           IS DISTINCT FROM (p.description, p.features, p.settings, p.budgets, p.resources);
    changed := FOUND;
    SELECT p.id INTO plan FROM tenancy_internal.plan_definitions p WHERE p.owner_id = owner AND p.name = define_plan.name;
    changed := tenancy_internal.put_plan_limits(plan, wanted -> 'limits') OR changed;
    IF changed THEN
        PERFORM tenancy_internal.audit('plan.defined', owner, name, contents);
    END IF;
    RETURN plan;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_plan(text, jsonb, tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_plan(text, jsonb, tenancy.regscope, text) IS 'internal: see define_plan()';
CREATE FUNCTION tenancy.define_plan(
    name text, contents jsonb, owner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid, description text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_plan(text, jsonb, tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_plan(text, jsonb, tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_plan(text, jsonb, tenancy.regscope, text) IS
    'Defines a plan as a whole, or makes it so, and returns its id; a repeated call changes what differs. contents: an object with limits ({"rooms": '
    '500, "storage_gb": {"tenant": 10, "user": 1}}), slots (likewise), rates ({"api": {"rate": 100, "per": "second", "burst": 200, "level": '
    '"tenant"}}, or several in an array), budgets ([{"metric": "tokens", "amount": 1000000, "period": "month", "hard": '
    'true}]; metric null: cost), which the plan imposes on the tenant, features, settings ({name: value}), models (the value of the feature models) and resources of the server '
    '({"statement_timeout": "30s", "idle_in_transaction_session_timeout": "1min", "work_mem": "16MB", "max_parallel_workers_per_gather": 0, '
    '"connections": 20}: the most that a transaction of the tenant gets, and how many it may have open at once). null as a limit: not limited. owner: the platform, or a partner for its own tenants. Applies to all tenants that have the plan at the next statement of every '
    'session. Needs plans:manage at the owner, and platform:manage at the platform for the resources of a partner''s plan. Errors: 22023 an invalid argument, with the path of what is wrong, and nothing is changed; 42501 '
    'permission denied; 42704 no such scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.drop_plan(name text, owner tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plan uuid;
    tenants bigint;
BEGIN
    IF name IS NULL OR owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN name IS NULL THEN 'name' ELSE 'owner' END);
    END IF;
    PERFORM tenancy_internal.authorize('plans:manage', owner);
    -- set_plan() locks the row, too.
    SELECT p.id INTO plan FROM tenancy_internal.plan_definitions p WHERE p.owner_id = owner AND p.name = drop_plan.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('plan_not_found', left(name, 80));
    END IF;
    SELECT count(DISTINCT t.tenant_id) INTO tenants FROM tenancy_internal.tenant_plans t WHERE t.plan_id = plan AND (t.ends_at > now() OR t.ends_at IS NULL);
    IF tenants > 0 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('plan_in_use', name, tenants::text);
    END IF;
    PERFORM tenancy_internal.require_lasting('the removal of the plan', tenancy_internal.held_until('{plans:manage}', owner));
    DELETE FROM tenancy_internal.tenant_plans t WHERE t.plan_id = plan;
    DELETE FROM tenancy_internal.limit_values v WHERE v.plan_id = plan;
    DELETE FROM tenancy_internal.plan_definitions p WHERE p.id = plan;
    PERFORM tenancy_internal.audit('plan.dropped', owner, name, '{}');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_plan(text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_plan(text, tenancy.regscope) IS 'internal: see drop_plan()';
CREATE FUNCTION tenancy.drop_plan(name text, owner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.drop_plan(text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_plan(text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_plan(text, tenancy.regscope) IS
    'Drops a plan that no tenant has now or is to have later. Needs plans:manage at the owner. Errors: 2BP01 tenants have it; 22023 an argument is '
    'NULL; 42501 permission denied; 42704 no such scope or plan. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- The plans of a tenant ------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.set_plan(tenant tenancy.regscope, plan text, starts_at timestamptz, ends_at timestamptz, trial boolean) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz := tenancy_internal.authorize_grant(tenant, 'tenant');
    wanted uuid;
    begins timestamptz;
    known tenancy_internal.tenant_plans;
BEGIN
    IF plan IS NULL OR trial IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN plan IS NULL THEN 'plan' ELSE 'trial' END);
    END IF;
    PERFORM FROM tenancy.scopes s WHERE s.id = tenant AND s.level = 'tenant' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'only tenants have a plan');
    END IF;
    -- The partner's before the platform's. The lock keeps it from being dropped meanwhile.
    SELECT p.id INTO wanted FROM tenancy_internal.plan_definitions p JOIN tenancy.scopes s ON s.id = tenant
     WHERE p.name = set_plan.plan AND p.owner_id = ANY (s.path) ORDER BY p.owner_id = s.path[1] LIMIT 1 FOR KEY SHARE OF p;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('plan_not_found', left(plan, 80));
    END IF;
    -- Of callers at the same time the one that commits last counts, though its transaction may have begun first.
    begins := coalesce(starts_at, (SELECT greatest(now(), max(p.starts_at) + interval '1 microsecond')
                                     FROM tenancy_internal.tenant_plans p WHERE p.tenant_id = tenant AND p.starts_at <= clock_timestamp()), now());
    IF begins NOT BETWEEN '1970-01-01 00:00:00+00' AND '9000-01-01 00:00:00+00' OR ends_at <= greatest(begins, clock_timestamp()) OR ends_at >= '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'ends_at must be after starts_at and in the future, and both from the year 1970 to 8999', 'ends_at NULL: until another plan begins. starts_at NULL: now.');
    END IF;
    PERFORM tenancy_internal.require_lasting('the plan', held, ends_at);
    SELECT p.* INTO known FROM tenancy_internal.tenant_plans p
     WHERE p.tenant_id = tenant
       AND CASE WHEN set_plan.starts_at IS NULL THEN p.starts_at <= begins AND (p.ends_at > begins OR p.ends_at IS NULL)
                ELSE p.starts_at = begins AND p.plan_id = wanted END
     ORDER BY p.starts_at DESC, p.id DESC LIMIT 1;
    -- It is what the tenant has already.
    IF known.plan_id = wanted AND (known.ends_at, known.trial) IS NOT DISTINCT FROM (set_plan.ends_at, set_plan.trial) THEN
        RETURN known.id;
    END IF;
    IF known.plan_id = wanted THEN
        UPDATE tenancy_internal.tenant_plans p SET ends_at = set_plan.ends_at, trial = set_plan.trial, created_by = tenancy.user_id() WHERE p.id = known.id;
    ELSE
        INSERT INTO tenancy_internal.tenant_plans AS p (tenant_id, plan_id, starts_at, ends_at, trial, created_by)
        VALUES (tenant, wanted, begins, set_plan.ends_at, set_plan.trial, tenancy.user_id()) RETURNING p.id INTO known.id;
    END IF;
    PERFORM tenancy_internal.audit('plan.set', tenant, plan, jsonb_strip_nulls(jsonb_build_object(
        'starts_at', begins, 'ends_at', ends_at, 'trial', trial)));
    RETURN known.id;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_plan(tenancy.regscope, text, timestamptz, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_plan(tenancy.regscope, text, timestamptz, timestamptz, boolean) IS 'internal: see set_plan()';
CREATE FUNCTION tenancy.set_plan(
    tenant tenancy.regscope, plan text, starts_at timestamptz DEFAULT NULL, ends_at timestamptz DEFAULT NULL, trial boolean DEFAULT false
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_plan(tenancy.regscope, text, timestamptz, timestamptz, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_plan(tenancy.regscope, text, timestamptz, timestamptz, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_plan(tenancy.regscope, text, timestamptz, timestamptz, boolean) IS
    'Gives a tenant a plan from starts_at (NULL: now) to ends_at (NULL: until another plan begins), and returns the id of this row of tenant_plans. '
    'plan: one of its partner, else of the platform. Of several plans at an instant the one that began last counts; after the end of a trial the '
    'earlier plan counts again. A repeated call changes nothing; with another ends_at or trial it changes the row. Changes take effect at their '
    'instant in every session. Needs plans:manage above the tenant, at its partner. Errors: 22023 an invalid argument; 42501 permission denied; '
    '42704 no such tenant or plan. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.end_plan(tenant tenancy.regscope, plan text, at timestamptz) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz := tenancy_internal.authorize_grant(tenant, 'tenant');
    ends timestamptz := coalesce(at, now());
    ended integer;
    gone integer;
BEGIN
    IF at < clock_timestamp() OR at >= '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'at must be in the future, before the year 9000', 'NULL: now.');
    END IF;
    PERFORM tenancy_internal.require_lasting('the end of the plan', held);
    PERFORM FROM tenancy.scopes s WHERE s.id = tenant FOR NO KEY UPDATE;
    -- What would begin later never begins.
    DELETE FROM tenancy_internal.tenant_plans p
     WHERE p.tenant_id = tenant AND p.starts_at >= ends
       AND (end_plan.plan IS NULL OR p.plan_id IN (SELECT d.id FROM tenancy_internal.plan_definitions d WHERE d.name = end_plan.plan));
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE tenancy_internal.tenant_plans p SET ends_at = ends
     WHERE p.tenant_id = tenant AND p.starts_at < ends AND (p.ends_at > ends OR p.ends_at IS NULL)
       AND (end_plan.plan IS NULL OR p.plan_id IN (SELECT d.id FROM tenancy_internal.plan_definitions d WHERE d.name = end_plan.plan));
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF ended + gone > 0 THEN
        PERFORM tenancy_internal.audit('plan.ended', tenant, plan, jsonb_build_object('at', ends));
    END IF;
    RETURN ended + gone;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.end_plan(tenancy.regscope, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.end_plan(tenancy.regscope, text, timestamptz) IS 'internal: see end_plan()';
CREATE FUNCTION tenancy.end_plan(tenant tenancy.regscope, plan text DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.end_plan(tenancy.regscope, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.end_plan(tenancy.regscope, text, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.end_plan(tenancy.regscope, text, timestamptz) IS
    'Ends a plan of a tenant (NULL: all of them) at an instant (NULL: now), cancels what would begin later, and returns the number of rows of '
    'tenant_plans that this changed. Needs plans:manage above the tenant, at its partner. Errors: 22023 an invalid argument; 42501 permission '
    'denied; 42704 no such tenant. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';
