-- Plans: what is sold to tenants, and which tenant has which plan when.

CREATE TABLE tenancy_internal.plan_definitions (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    owner_id    uuid NOT NULL,
    name        text NOT NULL,
    description text,
    features    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(features) = 'object'),
    settings    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    budgets     jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(budgets) = 'array'),
    resources   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(resources) = 'object'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  uuid,
    CONSTRAINT plan_definitions_name_key UNIQUE (owner_id, name)
);
REVOKE ALL ON tenancy_internal.plan_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.plan_definitions IS 'internal: plans; users read the view plans';
COMMENT ON COLUMN tenancy_internal.plan_definitions.owner_id IS 'the platform, or the partner whose tenants may have it';
COMMENT ON COLUMN tenancy_internal.plan_definitions.budgets IS 'imposed on each tenant that has the plan; amounts in millionths';
COMMENT ON COLUMN tenancy_internal.plan_definitions.resources IS 'of the server, in milliseconds, kilobytes or a number';
COMMENT ON COLUMN tenancy_internal.plan_definitions.features IS 'as in scopes.features; its limits are rows of limit_values';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.plan_definitions', '');
SELECT tenancy_internal.tell_changes('tenancy_internal.plan_definitions', 'options', 'id');
-- Backends cache whether any plan has resources or budgets.
CREATE TRIGGER resources_changed AFTER INSERT OR UPDATE OF resources, budgets ON tenancy_internal.plan_definitions FOR EACH ROW
    WHEN (NEW.resources <> '{}' OR NEW.budgets <> '[]') EXECUTE FUNCTION tenancy_internal.changed();

-- Their values are in the columns features and settings of scopes and plans.
CREATE TABLE tenancy_internal.option_definitions (
    kind          text NOT NULL CHECK (kind IN ('feature', 'setting')),
    name          text NOT NULL,
    type          text NOT NULL CHECK (type IN ('boolean', 'integer', 'number', 'text', 'enum', 'list', 'json')),
    default_value jsonb,
    level         text CHECK (level IN ('platform', 'partner', 'tenant', 'project', 'user')),
    minimum       numeric,
    maximum       numeric,
    choices       text[],
    description   text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT option_definitions_pkey PRIMARY KEY (kind, name),
    CONSTRAINT option_definitions_level CHECK ((level IS NOT NULL) = (kind = 'setting'))
);
REVOKE ALL ON tenancy_internal.option_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.option_definitions IS 'internal: features and settings; users read the views feature_names and setting_names';
COMMENT ON COLUMN tenancy_internal.option_definitions.level IS 'of a setting: the lowest level whose scopes may set it themselves';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.option_definitions', '');
-- Without a subject: a change makes backends drop all that they cached.
SELECT tenancy_internal.tell_changes('tenancy_internal.option_definitions');

CREATE TRIGGER options_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.features IS DISTINCT FROM NEW.features OR OLD.settings IS DISTINCT FROM NEW.settings)
    EXECUTE FUNCTION tenancy_internal.changed('options', 'id');

CREATE TABLE tenancy_internal.tenant_plans (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    tenant_id  uuid NOT NULL,
    plan_id    uuid NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz,
    trial      boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    CONSTRAINT tenant_plans_span CHECK (ends_at > starts_at)
);
REVOKE ALL ON tenancy_internal.tenant_plans FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.tenant_plans IS 'internal: the plans of tenants over time; users read the view tenant_plans';
COMMENT ON COLUMN tenancy_internal.tenant_plans.ends_at IS 'NULL: until a later row begins';
CREATE INDEX tenant_plans_tenant_idx ON tenancy_internal.tenant_plans (tenant_id, starts_at);
CREATE INDEX tenant_plans_plan_idx ON tenancy_internal.tenant_plans (plan_id);
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.tenant_plans', '');
SELECT tenancy_internal.tell_changes('tenancy_internal.tenant_plans', 'limits', 'tenant_id');

-- The row that began last counts: one that begins later replaces those before it, and after its end they count again.
CREATE FUNCTION tenancy_internal.plan_at(tenant uuid, at timestamptz, OUT plan_id uuid, OUT trial boolean, OUT until timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT (array_agg(p.plan_id ORDER BY p.starts_at DESC, p.id DESC) FILTER (WHERE p.starts_at <= at AND (p.ends_at > at OR p.ends_at IS NULL)))[1],
           (array_agg(p.trial ORDER BY p.starts_at DESC, p.id DESC) FILTER (WHERE p.starts_at <= at AND (p.ends_at > at OR p.ends_at IS NULL)))[1],
           least(min(p.starts_at) FILTER (WHERE p.starts_at > at), min(p.ends_at) FILTER (WHERE p.ends_at > at))
      FROM tenancy_internal.tenant_plans p
     WHERE p.tenant_id = tenant;
END;
REVOKE ALL ON FUNCTION tenancy_internal.plan_at(uuid, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.plan_at(uuid, timestamptz) IS
    'internal: returns the plan that a tenant has at an instant, NULL if none, and until when the answer may hold; NULL: until a change';

-- A tenant that moves to another partner cannot keep a plan that is the old partner's.
CREATE FUNCTION tenancy_internal.end_others_plans() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.tenant_plans p USING tenancy_internal.plan_definitions d
     WHERE p.tenant_id = NEW.id AND d.id = p.plan_id AND d.owner_id <> ALL (NEW.path) AND p.starts_at >= now();
    UPDATE tenancy_internal.tenant_plans p SET ends_at = now() FROM tenancy_internal.plan_definitions d
     WHERE p.tenant_id = NEW.id AND d.id = p.plan_id AND d.owner_id <> ALL (NEW.path) AND (p.ends_at > now() OR p.ends_at IS NULL);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.end_others_plans() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.end_others_plans() IS 'internal: trigger that ends the plans of a tenant that moves to another partner, but for those of the platform';
CREATE TRIGGER end_others_plans AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND OLD.parent_id IS DISTINCT FROM NEW.parent_id)
    EXECUTE FUNCTION tenancy_internal.end_others_plans();

CREATE FUNCTION tenancy_internal.drop_plans() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.limit_values v USING tenancy_internal.plan_definitions d WHERE d.owner_id = OLD.id AND v.plan_id = d.id;
    DELETE FROM tenancy_internal.plan_definitions d WHERE d.owner_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_plans() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_plans() IS 'internal: trigger that drops the plans of a partner that is dropped';
CREATE TRIGGER drop_plans AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level = 'partner') EXECUTE FUNCTION tenancy_internal.drop_plans();
