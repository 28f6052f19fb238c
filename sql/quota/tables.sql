-- Quotas of what protected tables store, and their counters.

-- A foreign key to pg_class is not possible: rows go with the table's entry in the registry.
CREATE TABLE tenancy_internal.quota_definitions (
    id         integer PRIMARY KEY,
    relation   regclass NOT NULL,
    limit_id   integer NOT NULL,
    per        text NOT NULL CHECK (per IN ('tenant', 'project', 'user', 'column')),
    key_column name,
    sum_column name,
    millionths boolean NOT NULL,
    set_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
    set_by     name NOT NULL,
    CONSTRAINT quota_definitions_key UNIQUE (relation, limit_id),
    CONSTRAINT quota_definitions_column CHECK ((per = 'tenant') = (key_column IS NULL))
);
REVOKE ALL ON tenancy_internal.quota_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.quota_definitions IS 'internal: quotas of protected tables; users read the view quotas';
COMMENT ON COLUMN tenancy_internal.quota_definitions.limit_id IS 'the limit of kind amount that says how much is allowed';
COMMENT ON COLUMN tenancy_internal.quota_definitions.key_column IS 'the column with the project, the user, or the value to count by';
COMMENT ON COLUMN tenancy_internal.quota_definitions.sum_column IS 'the column that is summed; NULL: rows are counted';
COMMENT ON COLUMN tenancy_internal.quota_definitions.millionths IS 'whether counters are in millionths: sums of numerics';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.quota_definitions', '');
-- A table that was never analysed counts as one of ten pages: the view's plan would be for hundreds of quotas.
ANALYZE tenancy_internal.quota_definitions;

-- Written for each statement that stores something: an update stays on its page, so that its old versions go without VACUUM.
CREATE TABLE tenancy_internal.quota_counters (
    quota_id integer NOT NULL,
    tenant   text COLLATE "C" NOT NULL,
    key      text COLLATE "C" NOT NULL,
    used     bigint NOT NULL,
    CONSTRAINT quota_counters_pkey PRIMARY KEY (quota_id, tenant, key)
) WITH (fillfactor = 20);
REVOKE ALL ON tenancy_internal.quota_counters FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.quota_counters IS 'internal: how much is stored; users read the view quota_usage. The library writes it without a query';
COMMENT ON COLUMN tenancy_internal.quota_counters.tenant IS 'the tenant, as the rows name it';
COMMENT ON COLUMN tenancy_internal.quota_counters.key IS 'the project, the user or the value of a column, as the rows name it; empty for a tenant';
-- A dump has counters and rows as of one moment, and a restore creates the triggers after both.
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.quota_counters', '');

CREATE FUNCTION tenancy_internal.forget_counters() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.quota_counters c WHERE c.quota_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_counters() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_counters() IS 'internal: trigger that deletes the counters of a quota that ends';
CREATE TRIGGER forget_counters AFTER DELETE ON tenancy_internal.quota_definitions FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_counters();

CREATE FUNCTION tenancy_internal.quota_part_dropped("table" oid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_quota_part_dropped_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.quota_part_dropped(oid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.quota_part_dropped(oid) IS 'internal: has a table counted anew at the end of the statement';

-- A table that is dropped or no longer protected has no quotas; a part that is dropped takes its rows along.
CREATE FUNCTION tenancy_internal.forget_quotas() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME = 'protected_table_registry' THEN
        DELETE FROM tenancy_internal.quota_definitions q WHERE q.relation = OLD.relation;
    ELSIF EXISTS (SELECT FROM tenancy_internal.quota_definitions q WHERE q.relation = OLD.root) THEN
        PERFORM tenancy_internal.quota_part_dropped(OLD.root::oid);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_quotas() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_quotas() IS 'internal: trigger that ends the quotas of a table that is dropped or no longer protected';
CREATE TRIGGER forget_quotas AFTER DELETE ON tenancy_internal.protected_table_registry FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_quotas();
CREATE TRIGGER forget_quotas AFTER DELETE ON tenancy_internal.protected_member_registry FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_quotas();

CREATE FUNCTION tenancy_internal.drop_counters() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Of a tenant whose rows are gone. Others stay: they still count them.
    DELETE FROM tenancy_internal.quota_counters c
     USING tenancy_internal.quota_definitions q
     WHERE c.quota_id = q.id AND c.tenant IN (OLD.id::text, OLD.external_id) AND c.used = 0;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_counters() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_counters() IS 'internal: trigger that deletes counters of nothing of a scope that is dropped';
CREATE TRIGGER drop_counters AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level <> 'user') EXECUTE FUNCTION tenancy_internal.drop_counters();
