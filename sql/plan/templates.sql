-- Templates: what a new tenant begins with.

CREATE TABLE tenancy_internal.template_definitions (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    owner_id    uuid NOT NULL,
    name        text NOT NULL,
    description text,
    contents    jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  uuid,
    CONSTRAINT template_definitions_name_key UNIQUE (owner_id, name)
);
REVOKE ALL ON tenancy_internal.template_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.template_definitions IS 'internal: templates; users read the view templates';
COMMENT ON COLUMN tenancy_internal.template_definitions.owner_id IS 'the platform, or the partner for whose tenants it is';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.template_definitions', '');

CREATE FUNCTION tenancy_internal.drop_templates() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.template_definitions t WHERE t.owner_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_templates() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_templates() IS 'internal: trigger that drops the templates of a partner that is dropped';
CREATE TRIGGER drop_templates AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level = 'partner') EXECUTE FUNCTION tenancy_internal.drop_templates();

CREATE FUNCTION tenancy_internal.wrong_value(path text, fault text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('value_invalid', left(path, 200), fault);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.wrong_value(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.wrong_value(text, text) IS 'internal: raises 22023 with the path of what is wrong';

CREATE FUNCTION tenancy_internal.check_members(path text, given jsonb, needed text[], others text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong text;
BEGIN
    IF jsonb_typeof(given) IS DISTINCT FROM 'object' THEN
        PERFORM tenancy_internal.wrong_value(path, 'must be an object');
    END IF;
    SELECT k INTO wrong FROM jsonb_object_keys(given) k WHERE k <> ALL (needed || others) ORDER BY k LIMIT 1;
    IF wrong IS NOT NULL THEN
        PERFORM tenancy_internal.wrong_value(path || '.' || wrong, 'is unknown; there are ' || array_to_string(needed || others, ', '));
    END IF;
    SELECT n INTO wrong FROM unnest(needed) n WHERE NOT given ? n LIMIT 1;
    IF wrong IS NOT NULL THEN
        PERFORM tenancy_internal.wrong_value(path || '.' || wrong, 'is missing');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_members(text, jsonb, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_members(text, jsonb, text[], text[]) IS 'internal: raises 22023 unless an object has these members, and at most these others';

-- Names, types and ranges; what needs a tenant to be checked is checked when the template is applied.
CREATE FUNCTION tenancy_internal.check_template(contents jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
    item record;
BEGIN
    PERFORM tenancy_internal.check_members('contents', contents, '{}', '{settings,features,limits,rates,slots,roles,budgets,projects,groups}');
    PERFORM tenancy_internal.plan_contents(contents - '{roles,budgets,projects,groups}'::text[]);
    FOR part IN SELECT p.key, p.value, jsonb_typeof(p.value) AS type FROM jsonb_each(contents) p WHERE p.key IN ('roles', 'budgets', 'projects', 'groups') LOOP
        IF part.type <> (CASE WHEN part.key IN ('roles', 'projects') THEN 'object' ELSE 'array' END) THEN
            PERFORM tenancy_internal.wrong_value(part.key, CASE WHEN part.key IN ('roles', 'projects') THEN 'must be an object' ELSE 'must be an array' END);
        END IF;
    END LOOP;
    FOR item IN SELECT 'roles.' || r.key AS path, r.key, r.value FROM jsonb_each(contents -> 'roles') r LOOP
        PERFORM tenancy_internal.check_role_name(item.key);
        PERFORM tenancy_internal.check_members(item.path, item.value, '{permissions}', '{description}');
        IF jsonb_typeof(item.value -> 'permissions') <> 'array' OR EXISTS (SELECT FROM jsonb_array_elements(item.value -> 'permissions') e WHERE jsonb_typeof(e) <> 'string') THEN
            PERFORM tenancy_internal.wrong_value(item.path || '.permissions', 'must be an array of texts');
        END IF;
    END LOOP;
    FOR item IN SELECT format('budgets[%s]', b.n - 1) AS path, b.value FROM jsonb_array_elements(contents -> 'budgets') WITH ORDINALITY b (value, n) LOOP
        PERFORM tenancy_internal.check_members(item.path, item.value, '{metric,amount}', '{period,hard,alert_at,per,dimensions}');
        IF jsonb_typeof(item.value -> 'amount') <> 'number' OR jsonb_typeof(coalesce(item.value -> 'hard', 'true')) <> 'boolean'
           OR jsonb_typeof(coalesce(item.value -> 'alert_at', '[]')) <> 'array'
           OR EXISTS (SELECT FROM jsonb_path_query(item.value, '$.alert_at[*]') e WHERE jsonb_typeof(e) <> 'number') THEN
            PERFORM tenancy_internal.wrong_value(item.path, 'must have a number as amount, true or false as hard, and an array of numbers as alert_at');
        END IF;
        IF jsonb_typeof(coalesce(item.value -> 'per', '""')) <> 'string' OR jsonb_typeof(coalesce(item.value -> 'dimensions', '{}')) <> 'object' THEN
            PERFORM tenancy_internal.wrong_value(item.path, 'must have a text as per, and an object as dimensions');
        END IF;
        PERFORM tenancy_internal.check_period(coalesce(item.value ->> 'period', 'month'));
        IF item.value ->> 'metric' IS NOT NULL THEN
            PERFORM tenancy_internal.metric_named(item.value ->> 'metric');
        END IF;
    END LOOP;
    FOR item IN SELECT 'projects.' || p.key AS path, p.key, p.value FROM jsonb_each(contents -> 'projects') p LOOP
        PERFORM tenancy_internal.check_members(item.path, item.value, '{}', '{name,settings}');
        PERFORM tenancy_internal.check_names('project', item.key, item.value ->> 'name', NULL);
    END LOOP;
    FOR item IN SELECT format('groups[%s]', g.n - 1) AS path, g.value FROM jsonb_array_elements(contents -> 'groups') WITH ORDINALITY g (value, n) LOOP
        PERFORM tenancy_internal.check_members(item.path, item.value, '{issuer,group,role}', '{}');
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_template(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_template(jsonb) IS 'internal: raises 22023 with the path of what is wrong in a template';

-- The caller of apply_template() may have more power than the author of the template: the author must hold all that the template gives.
CREATE FUNCTION tenancy_internal.authorize_template(contents jsonb, owner uuid) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given text[];
BEGIN
    SELECT coalesce(array_agg(DISTINCT g.permission), '{}') INTO given FROM (
        SELECT n.permission FROM (VALUES
                ('roles', 'roles:manage'), ('groups', 'roles:manage'), ('groups', 'identity:manage'), ('budgets', 'budgets:manage'),
                ('projects', 'projects:manage'), ('settings', 'tenants:update'), ('features', 'plans:manage'),
                ('limits', 'limits:manage'), ('rates', 'limits:manage'), ('slots', 'limits:manage')) n (part, permission)
          WHERE contents ? n.part
        UNION ALL
        SELECT jsonb_array_elements_text(r.value -> 'permissions') FROM jsonb_each(contents -> 'roles') r
        UNION ALL
        -- Of roles that groups get and that are there already: the built-in ones, and those of the owner and above.
        SELECT unnest(d.permissions) FROM jsonb_array_elements(contents -> 'groups') g
          JOIN tenancy_internal.role_definitions d ON d.name = g ->> 'role'
         WHERE d.scope_id IS NULL OR d.scope_id = ANY ((SELECT s.path FROM tenancy.scopes s WHERE s.id = owner)::uuid[])) g;
    PERFORM tenancy_internal.authorize_permissions(given, owner);
    RETURN tenancy_internal.held_until(given || '{plans:manage}', owner);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_template(jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_template(jsonb, uuid) IS
    'internal: raises 42501 unless the caller holds everything that a template gives; returns until when';

CREATE FUNCTION tenancy_internal.define_template(name text, contents jsonb, owner tenancy.regscope, description text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    template uuid;
BEGIN
    IF name IS NULL OR contents IS NULL OR owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument',
            CASE WHEN name IS NULL THEN 'name' WHEN contents IS NULL THEN 'contents' ELSE 'owner' END);
    END IF;
    PERFORM tenancy_internal.authorize('plans:manage', owner);
    IF NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = owner AND s.level IN ('platform', 'partner')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'only the platform and partners have templates of their own');
    END IF;
    PERFORM tenancy_internal.check_described('template', name, description);
    PERFORM tenancy_internal.check_template(contents);
    PERFORM tenancy_internal.require_lasting('the template', tenancy_internal.authorize_template(contents, owner));
    INSERT INTO tenancy_internal.template_definitions AS t (owner_id, name, description, contents, created_by)
    VALUES (owner, name, description, contents, tenancy.user_id())
    ON CONFLICT ON CONSTRAINT template_definitions_name_key DO UPDATE
       SET description = coalesce(excluded.description, t.description), contents = excluded.contents
     WHERE (coalesce(excluded.description, t.description), excluded.contents) IS DISTINCT FROM (t.description, t.contents);
    IF FOUND THEN
        PERFORM tenancy_internal.audit('template.defined', owner, name, contents);
    END IF;
    SELECT t.id INTO template FROM tenancy_internal.template_definitions t WHERE t.owner_id = owner AND t.name = define_template.name;
    RETURN template;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_template(text, jsonb, tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_template(text, jsonb, tenancy.regscope, text) IS 'internal: see define_template()';
CREATE FUNCTION tenancy.define_template(
    name text, contents jsonb, owner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid, description text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_template(text, jsonb, tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_template(text, jsonb, tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_template(text, jsonb, tenancy.regscope, text) IS
    'Defines a template, or makes it so, and returns its id. Tenants that it was applied to keep what they have until it is applied again. contents: '
    'an object with settings, features, limits, rates and slots as in define_plan(), which become the tenant''s own; roles ({"support": '
    '{"permissions": ["data:read"], "description": …}}); budgets ([{"metric": "tokens", "amount": 1000, "period": "month", "hard": true, '
    '"alert_at": [0.8]}]; metric null: cost); projects ({"web": {"name": "Web", "settings": {}}}) and groups ([{"issuer": …, "group": …, "role": '
    '…}], as map_group() takes them). owner: the platform, or a partner for its own tenants. Needs plans:manage at the owner, and every permission that applying it takes or gives. Errors: 22023 an '
    'invalid argument, with the path of what is wrong; 42501 permission denied; 42704 no such scope or metric. For tenancy_app, tenancy_gateway '
    '(with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.drop_template(name text, owner tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF name IS NULL OR owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN name IS NULL THEN 'name' ELSE 'owner' END);
    END IF;
    PERFORM tenancy_internal.authorize('plans:manage', owner);
    DELETE FROM tenancy_internal.template_definitions t WHERE t.owner_id = owner AND t.name = drop_template.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('template_not_found', left(name, 80));
    END IF;
    PERFORM tenancy_internal.audit('template.dropped', owner, name, '{}');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_template(text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_template(text, tenancy.regscope) IS 'internal: see drop_template()';
CREATE FUNCTION tenancy.drop_template(name text, owner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.drop_template(text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_template(text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_template(text, tenancy.regscope) IS
    'Drops a template; tenants keep what they have. Needs plans:manage at the owner. Errors: 22023 an argument is NULL; 42501 permission denied; '
    '42704 no such scope or template. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.templates WITH (security_barrier) AS
    SELECT t.id, t.name, s.slug AS owner, t.owner_id, t.description, t.contents, t.created_at, t.created_by
      FROM tenancy_internal.template_definitions t
      JOIN tenancy.scopes s ON s.id = t.owner_id
     -- Not for tenants: a template says what others begin with.
     WHERE (s.path && tenancy.scope_ids('plans:manage')
            OR s.level = 'platform' AND EXISTS (SELECT FROM tenancy.scopes p WHERE p.level = 'partner' AND p.id = ANY (tenancy.scope_ids('plans:manage'))))
       AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.templates FROM PUBLIC;
GRANT SELECT ON tenancy.templates TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.templates IS
    'Templates, with their contents. Shows those of the platform and partners where the reader holds plans:manage, and to a partner''s callers the '
    'platform''s; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, '
    'tenancy_auditor';
