-- Metering: metrics, events, and rollups of events.

-- Metrics --------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.check_metric(name text, unit text, aggregation text, dimensions text[], distinct_of text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_metric_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_metric(text, text, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_metric(text, text, text, text[], text) IS 'internal: returns true, or raises 22023 with the reason';

CREATE TABLE tenancy_internal.metric_definitions (
    id          integer PRIMARY KEY,
    name        text NOT NULL CONSTRAINT metric_definitions_name_key UNIQUE,
    unit        text NOT NULL,
    aggregation text NOT NULL CHECK (aggregation IN ('sum', 'max', 'count', 'distinct')),
    dimensions  text[] NOT NULL DEFAULT '{}',
    distinct_of text,
    price       numeric(19, 12) CHECK (price BETWEEN 0 AND 1000000),
    prices      jsonb,
    unknown_price text NOT NULL DEFAULT 'refuse_if_budgeted' CHECK (unknown_price IN ('refuse_if_budgeted', 'refuse', 'free')),
    description text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT metric_definitions_distinct_of CHECK (distinct_of IS NULL OR aggregation = 'distinct')
);
REVOKE ALL ON tenancy_internal.metric_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.metric_definitions IS 'internal: metrics; users read the view metrics';
COMMENT ON COLUMN tenancy_internal.metric_definitions.dimensions IS 'attributes of an event that usage can be broken down by';
COMMENT ON COLUMN tenancy_internal.metric_definitions.distinct_of IS 'for distinct: the attribute whose values are counted; NULL: users';
COMMENT ON COLUMN tenancy_internal.metric_definitions.price IS 'price of one unit, unless prices has one';
COMMENT ON COLUMN tenancy_internal.metric_definitions.prices IS 'price of one unit for each value of one dimension: {"model": {"small": 0.001}}';
COMMENT ON COLUMN tenancy_internal.metric_definitions.unknown_price IS 'what happens to an event without a price';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.metric_definitions', '');

-- Every backend caches the definitions that it has used.
CREATE FUNCTION tenancy_internal.metrics_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_metrics_changed';
REVOKE ALL ON FUNCTION tenancy_internal.metrics_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.metrics_changed() IS 'internal: trigger that makes backends drop cached definitions';
CREATE TRIGGER metrics_added AFTER INSERT OR DELETE ON tenancy_internal.metric_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.metrics_changed();
CREATE TRIGGER metrics_changed AFTER UPDATE ON tenancy_internal.metric_definitions FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy_internal.metrics_changed();
CREATE TRIGGER metrics_emptied AFTER TRUNCATE ON tenancy_internal.metric_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.metrics_changed();

CREATE VIEW tenancy.metrics WITH (security_barrier) AS
    SELECT m.name, m.unit, m.aggregation, m.dimensions, m.distinct_of, m.price, m.prices, m.description, m.created_at, m.unknown_price
      FROM tenancy_internal.metric_definitions m
     WHERE cardinality(tenancy.scope_ids()) > 0 AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.metrics FROM PUBLIC;
GRANT SELECT ON tenancy.metrics TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.metrics IS
    'Metrics and their prices. Every context sees all of them; without one tenancy_gateway, tenancy_admin and tenancy_auditor do. '
    'For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.metrics.price IS 'Price of one unit for everybody and all times, where the view prices and the column prices have none';
COMMENT ON COLUMN tenancy.metrics.unknown_price IS
    'What happens to usage that has no price and names no cost, if the metric has prices: refuse_if_budgeted, refuse or free; see define_metric()';

CREATE FUNCTION tenancy_internal.metric_named(name text) RETURNS tenancy_internal.metric_definitions
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found tenancy_internal.metric_definitions;
BEGIN
    SELECT m.* INTO found FROM tenancy_internal.metric_definitions m WHERE m.name = metric_named.name;
    IF found.id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('metric_not_found', left(name, 80));
    END IF;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.metric_named(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.metric_named(text) IS 'internal: returns a metric; raises 42704 if there is none';

CREATE FUNCTION tenancy_internal.define_metric(
    name text, unit text, aggregation text, dimensions text[], price numeric, prices jsonb, distinct_of text, description text,
    unknown_price text) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.metric_definitions;
    priced record;
BEGIN
    PERFORM tenancy_internal.authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    -- One caller at a time: ids are assigned in order, and what is not said stays as it is.
    LOCK TABLE tenancy_internal.metric_definitions IN SHARE ROW EXCLUSIVE MODE;
    SELECT m.* INTO known FROM tenancy_internal.metric_definitions m WHERE m.name = define_metric.name;
    unit := coalesce(unit, known.unit);
    aggregation := coalesce(aggregation, known.aggregation, 'sum');
    distinct_of := coalesce(distinct_of, known.distinct_of);
    dimensions := coalesce(dimensions, known.dimensions, '{}');
    price := coalesce(price, known.price);
    prices := nullif(coalesce(prices, known.prices), '{}');
    unknown_price := coalesce(unknown_price, known.unknown_price, 'refuse_if_budgeted');
    PERFORM tenancy_internal.check_metric(name, unit, aggregation, dimensions, distinct_of);
    IF price = 'NaN' OR price NOT BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'price must be between 0 and 1000000',
            'It is the price of one unit.');
    END IF;
    IF unknown_price NOT IN ('refuse_if_budgeted', 'refuse', 'free') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is nothing that can happen without a price', left(unknown_price, 80)),
            'Use refuse_if_budgeted, refuse or free.');
    END IF;
    IF prices IS NOT NULL THEN
        IF jsonb_typeof(prices) <> 'object' OR (SELECT count(*) <> 1 FROM jsonb_object_keys(prices))
           OR EXISTS (SELECT FROM jsonb_each(prices) p WHERE p.key <> ALL (dimensions) OR jsonb_typeof(p.value) <> 'object') THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'prices must have one dimension of the metric, with a price for each value',
                'For example {"model": {"small": 0.001, "large": 0.01}}; price is for all other values.');
        END IF;
        FOR priced IN SELECT v.key, v.value FROM jsonb_each(prices) p, jsonb_each(p.value) v LOOP
            IF jsonb_typeof(priced.value) <> 'number' OR (priced.value)::numeric NOT BETWEEN 0 AND 1000000 THEN
                RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
                    format('the price of "%s" must be a number between 0 and 1000000', left(priced.key, 80)),
                    'It is the price of one unit.');
            END IF;
        END LOOP;
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.price_book p, jsonb_object_keys(p.dimensions) d (key)
                WHERE p.metric_id = known.id AND p.mode <> 'none' AND d.key <> ALL (define_metric.dimensions)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'dimensions must have those that prices of the metric name',
            'The view tenancy.prices shows them.');
    END IF;
    IF known.id IS NULL THEN
        INSERT INTO tenancy_internal.metric_definitions (id, name, unit, aggregation, dimensions, distinct_of, price, prices, description, unknown_price)
        SELECT coalesce(max(m.id), 0) + 1, define_metric.name, define_metric.unit, define_metric.aggregation, define_metric.dimensions,
               define_metric.distinct_of, define_metric.price, define_metric.prices, define_metric.description,
               define_metric.unknown_price
          FROM tenancy_internal.metric_definitions m
        RETURNING id INTO known.id;
    ELSE
        IF known.aggregation <> aggregation OR known.distinct_of IS DISTINCT FROM distinct_of THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('metric_fixed', name, 'aggregation', known.aggregation);
        END IF;
        IF known.unit <> unit THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('metric_fixed', name, 'unit', known.unit);
        END IF;
        -- A price affects budgets of cost for as long as it applies.
        IF (known.price, known.prices, known.dimensions, known.unknown_price) IS DISTINCT FROM (price, prices, dimensions, unknown_price) THEN
            PERFORM tenancy_internal.require_lasting('the price', tenancy_internal.held_until('{platform:manage}', '00000000-0000-7000-8000-000000000000'));
        END IF;
        UPDATE tenancy_internal.metric_definitions m
           SET dimensions = define_metric.dimensions, price = define_metric.price, prices = define_metric.prices,
               unknown_price = define_metric.unknown_price, description = coalesce(define_metric.description, m.description)
         WHERE m.id = known.id;
    END IF;
    PERFORM tenancy_internal.audit('metric.defined', '00000000-0000-7000-8000-000000000000', name,
        jsonb_build_object('unit', unit, 'aggregation', aggregation, 'dimensions', dimensions, 'price', price, 'prices', prices,
            'unknown_price', unknown_price)
        || CASE WHEN known.name IS NULL THEN '{}' ELSE jsonb_build_object('before',
               jsonb_build_object('dimensions', known.dimensions, 'price', known.price, 'prices', known.prices,
                   'unknown_price', known.unknown_price)) END);
    RETURN known.id;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_metric(text, text, text, text[], numeric, jsonb, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_metric(text, text, text, text[], numeric, jsonb, text, text, text) IS 'internal: see define_metric()';
CREATE FUNCTION tenancy.define_metric(
    name text, unit text, aggregation text DEFAULT NULL, dimensions text[] DEFAULT NULL, price numeric DEFAULT NULL,
    prices jsonb DEFAULT NULL, distinct_of text DEFAULT NULL, description text DEFAULT NULL,
    unknown_price text DEFAULT NULL
) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text, text) IS
    'Defines or changes a metric, and returns its id. What is omitted or NULL stays as it is; in a new metric aggregation is sum, '
    'there are no dimensions and no prices, and unit must not be NULL. prices => {} removes them. aggregation: sum, max, count or distinct (of the values of the attribute '
    'distinct_of; NULL: of users). dimensions: attributes that usage can be broken down by. price: of one unit; prices: for each '
    'value of one dimension, such as {"model": {"small": 0.001}}. Prices apply to later events that name no cost, whatever their '
    'time, where set_price() has set none that matches. unknown_price: what happens to events without a price if the metric has prices: '
    'refuse_if_budgeted (in a new metric: refused where a budget counts their cost, else recorded at cost 0), refuse (always, also '
    'without any prices), or free (recorded at cost 0); unpriced_usage lists what was recorded without a price. Unit and aggregation '
    'cannot be changed. Needs platform:manage at the platform. Errors: 22023 an invalid argument, or another unit or '
    'aggregation than before; 42501 permission denied. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';
