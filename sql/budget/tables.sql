-- Budgets: limits on what a scope may use of a metric, or cost, in a period.

-- No foreign keys: a parallel pg_restore does not know that they need rows of other tables first.
CREATE TABLE tenancy_internal.budget_definitions (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id   uuid NOT NULL,
    metric_id  integer,
    period     text NOT NULL CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'total') OR period ~ '^([2-9]|[1-9][0-9]{1,2}|1000) days$'),
    imposed    boolean NOT NULL,
    amount     bigint NOT NULL CHECK (amount >= 0),
    hard       boolean NOT NULL,
    alert_at   numeric[] NOT NULL DEFAULT '{}',
    alert_amounts numeric[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    per        text,
    dimensions jsonb CHECK (dimensions <> '{}'),
    api_key_id uuid,
    anchor     timestamptz,
    CONSTRAINT budget_definitions_key UNIQUE NULLS NOT DISTINCT (scope_id, metric_id, period, imposed, per, dimensions, api_key_id),
    CONSTRAINT budget_definitions_anchor CHECK (CASE WHEN period LIKE '% days' THEN anchor IS NOT NULL ELSE period NOT IN ('hour', 'total') OR anchor IS NULL END)
);
REVOKE ALL ON tenancy_internal.budget_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.budget_definitions IS 'internal: budgets; users read the view budgets';
COMMENT ON COLUMN tenancy_internal.budget_definitions.metric_id IS 'NULL: the cost of all metrics';
COMMENT ON COLUMN tenancy_internal.budget_definitions.imposed IS 'set by a scope above, which alone may change it; else the scope''s own. Both apply';
COMMENT ON COLUMN tenancy_internal.budget_definitions.amount IS 'in millionths';
COMMENT ON COLUMN tenancy_internal.budget_definitions.alert_at IS 'parts of the amount that raise an alert: 0.8 for 80 %';
COMMENT ON COLUMN tenancy_internal.budget_definitions.alert_amounts IS 'amounts of usage that raise an alert';
COMMENT ON COLUMN tenancy_internal.budget_definitions.created_by IS 'the user who set it; NULL: an administrator without a context';
COMMENT ON COLUMN tenancy_internal.budget_definitions.per IS
    'each partner, tenant, project, user or api_key below the scope, or each value of this dimension, has the amount for itself; NULL: all together';
COMMENT ON COLUMN tenancy_internal.budget_definitions.dimensions IS 'only usage with these values of dimensions counts; NULL: all usage';
COMMENT ON COLUMN tenancy_internal.budget_definitions.api_key_id IS 'only usage in contexts that this key proved counts; NULL: all usage';
COMMENT ON COLUMN tenancy_internal.budget_definitions.anchor IS 'an instant at which a period begins; NULL: the calendar''s periods';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.budget_definitions', '');

CREATE FUNCTION tenancy_internal.is_part(budget tenancy_internal.budget_definitions) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT budget.per IS NOT NULL OR budget.dimensions IS NOT NULL OR budget.api_key_id IS NOT NULL;
END;
REVOKE ALL ON FUNCTION tenancy_internal.is_part(tenancy_internal.budget_definitions) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.is_part(tenancy_internal.budget_definitions) IS
    'internal: returns whether a budget counts a part of its scope''s usage, or each of several parts';

-- Every backend caches the budgets that it has used, with the periods of their scopes' time zones.
CREATE TRIGGER budgets_added AFTER INSERT OR DELETE ON tenancy_internal.budget_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('budgets', 'scope_id');
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy_internal.budget_definitions FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.scope_id <> NEW.scope_id OR OLD.metric_id IS DISTINCT FROM NEW.metric_id OR OLD.period <> NEW.period
          OR OLD.amount <> NEW.amount OR OLD.hard <> NEW.hard OR (OLD.per, OLD.dimensions, OLD.api_key_id, OLD.anchor)
             IS DISTINCT FROM (NEW.per, NEW.dimensions, NEW.api_key_id, NEW.anchor))
    EXECUTE FUNCTION tenancy_internal.changed('budgets', 'scope_id');
-- Running transactions may not know the account of such a budget.
CREATE FUNCTION tenancy_internal.parts_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_parts_changed';
REVOKE ALL ON FUNCTION tenancy_internal.parts_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.parts_changed() IS
    'internal: trigger that makes running transactions of a scope outdate the counters of its parts when they end';
CREATE TRIGGER parts_added AFTER INSERT ON tenancy_internal.budget_definitions FOR EACH ROW
    WHEN (NEW.per IS NOT NULL OR NEW.dimensions IS NOT NULL OR NEW.api_key_id IS NOT NULL)
    EXECUTE FUNCTION tenancy_internal.parts_changed();
CREATE TRIGGER parts_changed AFTER UPDATE ON tenancy_internal.budget_definitions FOR EACH ROW
    WHEN ((OLD.scope_id, OLD.metric_id, OLD.per, OLD.dimensions, OLD.api_key_id) IS DISTINCT FROM (NEW.scope_id, NEW.metric_id, NEW.per, NEW.dimensions, NEW.api_key_id))
    EXECUTE FUNCTION tenancy_internal.parts_changed();
CREATE TRIGGER budgets_emptied AFTER TRUNCATE ON tenancy_internal.budget_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.settings -> 'time_zone' IS DISTINCT FROM NEW.settings -> 'time_zone')
    EXECUTE FUNCTION tenancy_internal.changed('time_zone', 'id');

CREATE FUNCTION tenancy_internal.drop_budgets() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.budget_definitions b WHERE b.scope_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_budgets() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_budgets() IS 'internal: trigger that drops the budgets of a scope that is dropped';
CREATE TRIGGER drop_budgets AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy_internal.drop_budgets();
