-- Limits: rates, slots, and amounts, for a scope and for each of the scopes and API keys below it.

CREATE TABLE tenancy_internal.limit_definitions (
    id          integer PRIMARY KEY,
    name        text NOT NULL CONSTRAINT limit_definitions_name_key UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('rate', 'slots', 'amount')),
    unit        text NOT NULL,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON tenancy_internal.limit_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.limit_definitions IS 'internal: names of limits; users read the view limit_names';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.limit_definitions', '');

-- Ranks scopes, API keys included, from the platform down.
CREATE FUNCTION tenancy_internal.level_rank(level text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.array_position('{platform,partner,tenant,project,user,api_key}'::text[], level);
REVOKE ALL ON FUNCTION tenancy_internal.level_rank(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.level_rank(text) IS 'internal: returns the place of a level, the platform''s is 1; NULL if there is none of this name';

-- What a tenant and its users may have is decided above the tenant; what a partner may have, at the platform.
CREATE FUNCTION tenancy_internal.scope_above(scope uuid) RETURNS uuid
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.path[greatest(least(cardinality(s.path) - 1, 2), 1)] FROM tenancy.scopes s WHERE s.id = scope;
END;
REVOKE ALL ON FUNCTION tenancy_internal.scope_above(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.scope_above(uuid) IS
    'internal: returns the scope above the tenant of a scope, above a partner, or above a user of neither; the platform for itself';

CREATE TABLE tenancy_internal.limit_values (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    limit_id   integer NOT NULL,
    scope_id   uuid,
    plan_id    uuid,
    level      text NOT NULL CHECK (level IN ('platform', 'partner', 'tenant', 'project', 'user', 'api_key')),
    per        text CHECK (per IN ('second', 'minute', 'hour', 'day')),
    imposed    boolean NOT NULL,
    amount     bigint CHECK (amount >= 0),
    burst      bigint CHECK (burst >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    CONSTRAINT limit_values_holder CHECK ((scope_id IS NULL) <> (plan_id IS NULL) AND (imposed OR plan_id IS NULL)),
    CONSTRAINT limit_values_burst CHECK ((burst IS NOT NULL) = (per IS NOT NULL AND amount IS NOT NULL)),
    CONSTRAINT limit_values_key UNIQUE NULLS NOT DISTINCT (scope_id, plan_id, limit_id, level, per, imposed)
);
REVOKE ALL ON tenancy_internal.limit_values FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.limit_values IS 'internal: values of limits; users read the view limit_settings';
COMMENT ON COLUMN tenancy_internal.limit_values.level IS 'the value is for each scope of this level in the scope, or in the tenant that has the plan';
COMMENT ON COLUMN tenancy_internal.limit_values.per IS 'of a rate: the time in which the amount may be taken';
COMMENT ON COLUMN tenancy_internal.limit_values.imposed IS
    'set from above the tenant: of these the nearest counts. Others are set within the tenant, and all of them count besides';
COMMENT ON COLUMN tenancy_internal.limit_values.amount IS 'NULL: not limited';
COMMENT ON COLUMN tenancy_internal.limit_values.burst IS 'of a rate: how much may be taken at once';
CREATE INDEX limit_values_plan_idx ON tenancy_internal.limit_values (plan_id) WHERE plan_id IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.limit_values', '');

-- Every backend caches the limits that it has used.
SELECT tenancy_internal.tell_changes('tenancy_internal.limit_values', 'limits', 'scope_id', 'limits', 'plan_id');

CREATE FUNCTION tenancy_internal.drop_limits() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.limit_values v WHERE v.scope_id = OLD.id;
    DELETE FROM tenancy_internal.tenant_plans p WHERE p.tenant_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_limits() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_limits() IS 'internal: trigger that drops the limits and plans of a scope that is dropped';
CREATE TRIGGER drop_limits AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy_internal.drop_limits();

-- The values that apply to a caller, one for each counter that it meets.
CREATE FUNCTION tenancy_internal.limits_of(scopes uuid[], plan uuid, api_key uuid)
    RETURNS TABLE (limit_id integer, level text, target uuid, per text, amount bigint, burst bigint, imposed boolean, scope_id uuid, plan_id uuid)
    LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH place AS (
        SELECT s.id, s.level, tenancy_internal.level_rank(s.level) * 2 AS nearness FROM tenancy.scopes s WHERE s.id = ANY (scopes)
    ), target AS (
        SELECT p.id, p.level FROM place p
        UNION ALL SELECT api_key, 'api_key' WHERE api_key IS NOT NULL
    ), holder AS (
        SELECT p.id AS scope_id, NULL::uuid AS plan_id, p.nearness FROM place p
        -- Between the partner and the tenant.
        UNION ALL SELECT NULL, plan, tenancy_internal.level_rank('partner') * 2 + 1 WHERE plan IS NOT NULL
    ), found AS (
        SELECT v.*, t.id AS target,
               row_number() OVER (PARTITION BY v.limit_id, v.level, v.per, v.imposed ORDER BY h.nearness DESC) AS place
          FROM holder h
          JOIN tenancy_internal.limit_values v ON v.scope_id = h.scope_id OR v.plan_id = h.plan_id
          JOIN target t ON t.level = v.level
    )
    SELECT f.limit_id, f.level, f.target, f.per, f.amount, f.burst, f.imposed, f.scope_id, f.plan_id
      FROM found f
     WHERE (f.place = 1 OR NOT f.imposed) AND f.amount IS NOT NULL;
END;
REVOKE ALL ON FUNCTION tenancy_internal.limits_of(uuid[], uuid, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.limits_of(uuid[], uuid, uuid) IS
    'internal: returns the limits that apply to who works in these scopes (one path, each level once) and in the plan of their tenant: of the '
    'imposed ones the nearest (user, project, tenant, plan, partner, platform), and all others';
