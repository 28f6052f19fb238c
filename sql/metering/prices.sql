-- The price book: prices by metric, scope, dimensions and time.

-- No sequence: pg_dump reads those, also of a role that may not.
CREATE TABLE tenancy_internal.price_ids (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    last integer NOT NULL
);
REVOKE ALL ON tenancy_internal.price_ids FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.price_ids IS 'internal: the last id of a price; events refer to them, so none is used twice';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.price_ids', '');

-- No foreign keys, for the same reason as for budgets.
CREATE TABLE tenancy_internal.price_book (
    id         integer PRIMARY KEY,
    metric_id  integer NOT NULL,
    scope_id   uuid NOT NULL,
    dimensions jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    price      numeric(19, 12) CHECK (price BETWEEN 0 AND 1000000),
    mode       text NOT NULL CHECK (mode IN ('flat', 'graduated', 'volume', 'none')),
    tiers      jsonb,
    period     text CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year')),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    CONSTRAINT price_book_key UNIQUE (metric_id, scope_id, dimensions, valid_from),
    CONSTRAINT price_book_price CHECK ((price IS NULL) = (mode = 'none')),
    CONSTRAINT price_book_tiers CHECK ((tiers IS NULL) = (mode IN ('flat', 'none')) AND (tiers IS NULL) = (period IS NULL))
);
REVOKE ALL ON tenancy_internal.price_book FROM PUBLIC;
CREATE INDEX price_book_scope_id_idx ON tenancy_internal.price_book (scope_id);
COMMENT ON TABLE tenancy_internal.price_book IS 'internal: the price book; users read the view prices';
COMMENT ON COLUMN tenancy_internal.price_book.scope_id IS 'whose usage it prices: the platform, a partner or a tenant, with all below it';
COMMENT ON COLUMN tenancy_internal.price_book.dimensions IS 'values that an event must have, as texts: {"model": "large"}; {}: every event';
COMMENT ON COLUMN tenancy_internal.price_book.valid_from IS 'until the next row with the same metric, scope and dimensions';
COMMENT ON COLUMN tenancy_internal.price_book.price IS 'price of one unit; of tiers the highest. NULL: the price before ended';
COMMENT ON COLUMN tenancy_internal.price_book.period IS 'in which the quantity of tiers is counted';
COMMENT ON COLUMN tenancy_internal.price_book.created_by IS 'the user who set it; NULL: an administrator without a context';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.price_book', '');

-- Every backend caches the prices of the metrics that it has used.
CREATE TRIGGER prices_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.price_book FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.metrics_changed();

CREATE FUNCTION tenancy_internal.drop_prices() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Without a statement that changes nothing, which would make backends read all prices again.
    IF EXISTS (SELECT FROM tenancy_internal.price_book p WHERE p.scope_id = OLD.id) THEN
        DELETE FROM tenancy_internal.price_book p WHERE p.scope_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_prices() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_prices() IS 'internal: trigger that drops the prices of a scope that is dropped';
CREATE TRIGGER drop_prices AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy_internal.drop_prices();

-- Setting ----------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.authorize_prices(scope uuid, OUT held timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of tenancy.scopes;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    IF scope = '00000000-0000-7000-8000-000000000000' THEN
        PERFORM tenancy_internal.authorize('platform:manage', scope);
        held := tenancy_internal.held_until('{platform:manage}', scope);
        RETURN;
    END IF;
    -- First in the scope, so that one that the caller may not see does not exist for it; then at its partner: who uses does not set prices.
    PERFORM tenancy_internal.authorize('billing:manage', scope);
    SELECT s.* INTO of FROM tenancy.scopes s WHERE s.id = scope;
    IF of.level NOT IN ('partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('a %s has no prices of its own', of.level),
            'Set prices for the platform, a partner or a tenant.');
    END IF;
    IF NOT EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = of.path[2] AND p.path && tenancy.scope_ids('billing:manage')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('permission_missing', 'billing:manage at the partner');
    END IF;
    held := tenancy_internal.held_until('{billing:manage}', of.path[2]);
    -- A lower price leaves more of every budget that counts costs.
    IF EXISTS (
        SELECT FROM tenancy_internal.budget_definitions b
          JOIN tenancy.scopes s ON s.id = b.scope_id
          LEFT JOIN tenancy.scopes p ON p.id = s.parent_id
         WHERE b.metric_id IS NULL AND b.imposed AND (scope = ANY (s.path) OR s.id = ANY (of.path))
           AND NOT coalesce(p.path, s.path) && tenancy.scope_ids('budgets:manage')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('prices_imposed');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_prices(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_prices(uuid) IS
    'internal: raises 42704 or 42501 unless the caller may set prices for a scope, and every imposed budget that counts costs at '
    'them; returns until when it holds the permission (NULL: without an end)';

CREATE FUNCTION tenancy_internal.dimension_text(name text, value jsonb) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_dimension_text_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.dimension_text(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.dimension_text(text, jsonb) IS 'internal: returns a value of a dimension as the text that events have; raises 22023';

-- Values are compared as texts, as events store them.
CREATE FUNCTION tenancy_internal.price_dimensions(m tenancy_internal.metric_definitions, dimensions jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named record;
BEGIN
    IF dimensions IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'dimensions');
    END IF;
    IF jsonb_typeof(dimensions) <> 'object' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'dimensions must be a JSON object',
            'For example {"model": "large", "direction": "in"}; {} is a price for every event.');
    END IF;
    FOR named IN SELECT d.key, d.value FROM jsonb_each(dimensions) d LOOP
        IF named.key <> ALL (m.dimensions) THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a dimension of the metric', left(named.key, 80)),
                'The view tenancy.metrics shows the dimensions; tenancy.define_metric() adds one.');
        END IF;
        IF jsonb_typeof(named.value) NOT IN ('string', 'number', 'boolean') OR octet_length(named.value #>> '{}') > 200 THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
                format('the value of "%s" must be a text, a number or a boolean of 200 bytes at most', named.key));
        END IF;
    END LOOP;
    RETURN (SELECT coalesce(jsonb_object_agg(d.key, tenancy_internal.dimension_text(d.key, d.value)), '{}') FROM jsonb_each(dimensions) d);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.price_dimensions(tenancy_internal.metric_definitions, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.price_dimensions(tenancy_internal.metric_definitions, jsonb) IS
    'internal: returns the dimensions of a price with their values as texts; raises 22023';

CREATE FUNCTION tenancy_internal.check_price(price numeric) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF price IS NULL OR price = 'NaN' OR price NOT BETWEEN 0 AND 1000000 OR price <> trunc(price, 12) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'price must be a number from 0 to 1000000 with 12 digits after the point at most', 'It is the price of one unit.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_price(numeric) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_price(numeric) IS 'internal: raises 22023 unless it is a price';

-- Returns the highest price of tiers.
CREATE FUNCTION tenancy_internal.check_tiers(tiers jsonb) RETURNS numeric
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tier record;
    below numeric := 0;
    highest numeric;
BEGIN
    IF jsonb_typeof(tiers) <> 'array' OR jsonb_array_length(tiers) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'tiers must be an array of 1 to 100 objects',
            'For example [{"up_to": 1000, "price": 0.01}, {"price": 0.005}].');
    END IF;
    FOR tier IN SELECT t.value, t.n = jsonb_array_length(tiers) AS last FROM jsonb_array_elements(tiers) WITH ORDINALITY t (value, n) ORDER BY t.n LOOP
        IF jsonb_typeof(tier.value) <> 'object' OR tier.value - '{up_to,price}'::text[] <> '{}'
           OR jsonb_typeof(tier.value -> 'price') IS DISTINCT FROM 'number' OR jsonb_typeof(tier.value -> 'up_to') <> 'number' THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a tier must have a price, and all but the last have up_to, as numbers',
                'For example [{"up_to": 1000, "price": 0.01}, {"price": 0.005}].');
        END IF;
        PERFORM tenancy_internal.check_price((tier.value ->> 'price')::numeric);
        highest := greatest(highest, (tier.value ->> 'price')::numeric);
        IF tier.last <> (NOT tier.value ? 'up_to') OR (tier.value ->> 'up_to')::numeric <= below THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'up_to must grow from tier to tier, and only the last tier has none',
                'It is the quantity of the period up to which the tier''s price applies.');
        END IF;
        below := (tier.value ->> 'up_to')::numeric;
    END LOOP;
    RETURN highest;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_tiers(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_tiers(jsonb) IS 'internal: returns the highest price of tiers; raises 22023 unless they are valid';

CREATE FUNCTION tenancy_internal.price_since(valid_from timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF valid_from NOT BETWEEN '1970-01-02 00:00:00+00' AND '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'valid_from must be after 1970 and before 9000');
    END IF;
    RETURN coalesce(valid_from, clock_timestamp());
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.price_since(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.price_since(timestamptz) IS 'internal: returns from when on a price applies (NULL: now); raises 22023';

-- Writes a price or, with mode none, the end of one. What has begun stays as it is: usage may have been priced with it. An
-- event may be an hour ahead.
CREATE FUNCTION tenancy_internal.put_price(
    m tenancy_internal.metric_definitions, scope uuid, dimensions jsonb, valid_from timestamptz, price numeric, mode text, tiers jsonb, period text
) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz := tenancy_internal.price_since(valid_from);
    known tenancy_internal.price_book;
    price_id integer;
BEGIN
    SELECT p.* INTO known FROM tenancy_internal.price_book p
     WHERE p.metric_id = m.id AND p.scope_id = scope AND p.dimensions = put_price.dimensions AND p.valid_from = since;
    IF known.id IS NOT NULL AND known.valid_from <= clock_timestamp() + interval '1 hour' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('price_fixed', m.name);
    END IF;
    -- Of each scope: no partner uses up the prices of others. An end takes no more than what it ends.
    IF known.id IS NULL AND mode <> 'none'
       AND (SELECT count(*) FROM tenancy_internal.price_book p WHERE p.metric_id = m.id AND p.scope_id = scope AND p.mode <> 'none')
           >= (CASE WHEN scope = '00000000-0000-7000-8000-000000000000' THEN 100000 ELSE 10000 END) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('too_many_prices', m.name);
    END IF;
    IF known.id IS NULL THEN
        INSERT INTO tenancy_internal.price_ids AS c (last) VALUES (1) ON CONFLICT (one) DO UPDATE SET last = c.last + 1 RETURNING c.last INTO price_id;
    ELSE
        price_id := known.id;
    END IF;
    INSERT INTO tenancy_internal.price_book AS p (id, metric_id, scope_id, dimensions, valid_from, price, mode, tiers, period, created_by)
    VALUES (price_id, m.id, scope, put_price.dimensions, since, put_price.price, put_price.mode, put_price.tiers,
            put_price.period, tenancy.user_id())
    ON CONFLICT ON CONSTRAINT price_book_key DO UPDATE
       SET price = excluded.price, mode = excluded.mode, tiers = excluded.tiers, period = excluded.period, created_at = excluded.created_at,
           created_by = excluded.created_by;
    PERFORM tenancy_internal.audit(CASE mode WHEN 'none' THEN 'price.removed' ELSE 'price.set' END, scope, m.name,
        jsonb_strip_nulls(jsonb_build_object('id', price_id, 'dimensions', dimensions, 'valid_from', since, 'price', trim_scale(price), 'mode', mode,
            'tiers', tiers, 'period', period, 'retroactive', CASE WHEN since < now() THEN true END,
            'before', CASE WHEN known.id IS NOT NULL THEN jsonb_build_object('price', known.price, 'mode', known.mode, 'tiers', known.tiers) END)));
    RETURN price_id;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_price(tenancy_internal.metric_definitions, uuid, jsonb, timestamptz, numeric, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_price(tenancy_internal.metric_definitions, uuid, jsonb, timestamptz, numeric, text, jsonb, text) IS
    'internal: writes a price or the end of one, for a caller that may';

CREATE FUNCTION tenancy_internal.set_price(
    metric text, price numeric, dimensions jsonb, scope tenancy.regscope, valid_from timestamptz, tiers jsonb, mode text, period text) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    held timestamptz;
BEGIN
    held := tenancy_internal.authorize_prices(scope);
    IF metric IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'metric');
    END IF;
    m := tenancy_internal.metric_named(metric);
    dimensions := tenancy_internal.price_dimensions(m, dimensions);
    mode := coalesce(mode, CASE WHEN tiers IS NULL THEN 'flat' ELSE 'graduated' END);
    IF mode NOT IN ('flat', 'graduated', 'volume') OR (mode = 'flat') <> (tiers IS NULL) OR (price IS NULL) <> (tiers IS NOT NULL) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a price is flat with a price, or graduated or volume with tiers',
            'For example price => 0.01, or tiers => [{"up_to": 1000, "price": 0.01}, {"price": 0.005}] with mode => graduated.');
    END IF;
    IF tiers IS NULL THEN
        PERFORM tenancy_internal.check_price(price);
        period := NULL;
    ELSE
        IF m.aggregation <> 'sum' THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('metric "%s" is a %s, which has no tiers', m.name, m.aggregation),
                'Tiers are for metrics whose aggregation is sum.');
        END IF;
        price := tenancy_internal.check_tiers(tiers);
        PERFORM tenancy_internal.check_period(period);
        IF period = 'total' THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'tiers are for a period that ends',
                'Use hour, day, week, month, quarter or year.');
        END IF;
    END IF;
    PERFORM tenancy_internal.require_lasting('the price', held);
    -- One caller at a time.
    LOCK TABLE tenancy_internal.price_book IN SHARE ROW EXCLUSIVE MODE;
    RETURN tenancy_internal.put_price(m, scope, dimensions, valid_from, price, mode, tiers, period);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_price(text, numeric, jsonb, tenancy.regscope, timestamptz, jsonb, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_price(text, numeric, jsonb, tenancy.regscope, timestamptz, jsonb, text, text) IS 'internal: see set_price()';
CREATE FUNCTION tenancy.set_price(
    metric text, price numeric, dimensions jsonb DEFAULT '{}', scope tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid,
    valid_from timestamptz DEFAULT NULL, tiers jsonb DEFAULT NULL, mode text DEFAULT NULL, period text DEFAULT 'month') RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_price(text, numeric, jsonb, tenancy.regscope, timestamptz, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_price(text, numeric, jsonb, tenancy.regscope, timestamptz, jsonb, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_price(text, numeric, jsonb, tenancy.regscope, timestamptz, jsonb, text, text) IS
    'Sets the price of one unit of a metric in the price book, for events that have all the values in dimensions ({}: all events), '
    'and returns its id. scope: whose usage it prices, with all below it: the platform (the default), a partner or a tenant. An '
    'event takes the price of its time (at). The nearest scope with a matching price wins; in it the price with the most dimensions; '
    'of as many, the one whose dimensions come first in the metric. Where none matches, the prices of define_metric() apply. '
    'valid_from: from when on, until a later price for the same scope and dimensions; NULL: now. A price that has begun is not '
    'changed: set another. A past valid_from prices events that are recorded later; recorded costs stay. price: from 0 to 1000000, '
    'with 12 digits after the point at most; NULL with tiers: [{"up_to": 1000, "price": 0.01}, {"price": 0.005}], each up to a '
    'quantity of the tenant in the period. mode: flat; graduated (the default with tiers): each part at its tier''s price; volume: '
    'everything at the price of the tier that is reached. Events are recorded, and budgets count them, at the highest price of the '
    'tiers; rated_usage() returns what the tiers come to. For the platform it needs platform:manage; for others billing:manage at '
    'the partner, and budgets:manage for every imposed budget of cost that counts usage at these prices. Errors: 22023 an invalid argument, '
    'or a price with the same valid_from that has begun; 42501 permission denied; 42704 no such scope or metric; 54000 the metric '
    'has 100000 prices. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_price(metric text, dimensions jsonb, scope tenancy.regscope, valid_from timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    held timestamptz;
    since timestamptz;
    known text;
BEGIN
    held := tenancy_internal.authorize_prices(scope);
    since := tenancy_internal.price_since(valid_from);
    IF metric IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'metric');
    END IF;
    m := tenancy_internal.metric_named(metric);
    dimensions := tenancy_internal.price_dimensions(m, dimensions);
    PERFORM tenancy_internal.require_lasting('the removal of the price', held);
    LOCK TABLE tenancy_internal.price_book IN SHARE ROW EXCLUSIVE MODE;
    SELECT p.mode INTO known FROM tenancy_internal.price_book p
     WHERE p.metric_id = m.id AND p.scope_id = scope AND p.dimensions = remove_price.dimensions AND p.valid_from <= since
     ORDER BY p.valid_from DESC LIMIT 1;
    IF coalesce(known, 'none') = 'none' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('price_not_found', m.name);
    END IF;
    PERFORM tenancy_internal.put_price(m, scope, dimensions, since, NULL, 'none', NULL, NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.remove_price(text, jsonb, tenancy.regscope, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_price(text, jsonb, tenancy.regscope, timestamptz) IS 'internal: see remove_price()';
CREATE FUNCTION tenancy.remove_price(
    metric text, dimensions jsonb DEFAULT '{}', scope tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid, valid_from timestamptz DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_price(text, jsonb, tenancy.regscope, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_price(text, jsonb, tenancy.regscope, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_price(text, jsonb, tenancy.regscope, timestamptz) IS
    'Ends the price that set_price() set for the same scope and dimensions, from valid_from on (NULL: now), until a later one. Then '
    'the next price that matches applies. Recorded costs stay. Needs and errors as set_price(); 42704 also if there is no such price '
    'at that time. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Who sees usage sees the prices that apply to it: those of scopes below, and those of the scopes above.
CREATE VIEW tenancy.prices WITH (security_barrier) AS
    SELECT p.id, m.name AS metric, p.scope_id, s.level, s.slug AS scope, p.dimensions, trim_scale(p.price) AS price, p.mode, p.tiers, p.period,
           p.valid_from, p.valid_until
      FROM (SELECT b.*, lead(b.valid_from) OVER (PARTITION BY b.metric_id, b.scope_id, b.dimensions ORDER BY b.valid_from) AS valid_until
              FROM tenancy_internal.price_book b) p
      JOIN tenancy_internal.metric_definitions m ON m.id = p.metric_id
      JOIN tenancy.scopes s ON s.id = p.scope_id
     WHERE p.mode <> 'none'
       AND (p.scope_id = '00000000-0000-7000-8000-000000000000' AND cardinality(tenancy.scope_ids()) > 0
         OR s.path && (tenancy.scope_ids('accounting:view_tenant') || tenancy.scope_ids('accounting:view_partner'))
         OR EXISTS (SELECT FROM tenancy.scopes r
                     WHERE r.id = ANY (tenancy.scope_ids('accounting:view_own') || tenancy.scope_ids('accounting:view_tenant')) AND p.scope_id = ANY (r.path)))
       AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.prices FROM PUBLIC;
GRANT SELECT ON tenancy.prices TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.prices IS
    'The price book. Every context sees the prices of the platform. Those of a partner or a tenant are shown to readers who hold '
    'accounting:view_tenant or view_partner there or above, or accounting:view_own or view_tenant below; without a context '
    'tenancy_gateway, tenancy_admin and tenancy_auditor see all. Prices that define_metric() set are in the view metrics. For '
    'tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.prices.scope_id IS 'Whose usage it prices, with all below it';
COMMENT ON COLUMN tenancy.prices.dimensions IS 'Values that an event must have; {}: every event';
COMMENT ON COLUMN tenancy.prices.price IS 'Price of one unit; of tiers the highest, at which events are recorded';
COMMENT ON COLUMN tenancy.prices.period IS 'Period in which the quantity of tiers is counted, in the time zone of the tenant';
COMMENT ON COLUMN tenancy.prices.valid_until IS 'When another price for the same scope and dimensions begins, or this one ends; NULL: never';
