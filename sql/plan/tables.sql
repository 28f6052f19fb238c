-- Plans: what is sold to tenants, and which tenant has which plan when.

CREATE TABLE tenancy_internal.plan_definitions (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    owner_id    uuid NOT NULL,
    name        text NOT NULL,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  uuid,
    CONSTRAINT plan_definitions_name_key UNIQUE (owner_id, name)
);
REVOKE ALL ON tenancy_internal.plan_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.plan_definitions IS 'internal: plans; users read the view plans';
COMMENT ON COLUMN tenancy_internal.plan_definitions.owner_id IS 'the platform, or the partner whose tenants may have it';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.plan_definitions', '');

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
