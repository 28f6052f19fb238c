-- The record of purges, and the view of their progress.

CREATE TABLE tenancy_internal.tenant_purges (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    tenant_id    uuid NOT NULL,
    slug         text NOT NULL,
    external_id  text,
    partner_id   uuid NOT NULL,
    reason       text NOT NULL,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'failed', 'done')),
    error        text,
    lock_key     bigint NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    certificate  jsonb
);
REVOKE ALL ON tenancy_internal.tenant_purges FROM PUBLIC;
CREATE UNIQUE INDEX tenant_purges_open_idx ON tenancy_internal.tenant_purges (tenant_id) WHERE state <> 'done';
COMMENT ON TABLE tenancy_internal.tenant_purges IS 'internal: purges of tenants; users read the view purges';
COMMENT ON COLUMN tenancy_internal.tenant_purges.external_id IS 'that of the tenant when the purge began, by which its rows are found';
COMMENT ON COLUMN tenancy_internal.tenant_purges.lock_key IS 'number of the lock that the session holds which runs the purge';
COMMENT ON COLUMN tenancy_internal.tenant_purges.certificate IS 'what the audit log says of the purge, once it is done';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.tenant_purges', '');

CREATE TABLE tenancy_internal.purged_tables (
    purge_id     uuid NOT NULL,
    table_name   text NOT NULL,
    place        integer NOT NULL,
    expected     bigint NOT NULL DEFAULT 0,
    rows_deleted bigint NOT NULL DEFAULT 0,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (purge_id, table_name)
) WITH (fillfactor = 50);
REVOKE ALL ON tenancy_internal.purged_tables FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.purged_tables IS 'internal: progress of purges, by table; users read the view purges';
COMMENT ON COLUMN tenancy_internal.purged_tables.expected IS 'how many rows the server expected when the table was planned, with those that were deleted before';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.purged_tables', '');

CREATE VIEW tenancy.purges WITH (security_barrier) AS
SELECT p.id AS purge_id, p.tenant_id, p.slug AS tenant, p.partner_id, p.reason,
       CASE WHEN p.state = 'running'
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                              WHERE l.locktype = 'object' AND l.classid = 'tenancy_internal.tenant_purges'::pg_catalog.regclass
                                AND l.objid = p.lock_key::pg_catalog.oid AND l.granted
                                AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
            THEN 'interrupted' ELSE p.state END AS state,
       p.error, p.begun_at, p.finished_at,
       t.place, t.table_name, t.rows_deleted,
       CASE WHEN t.finished_at IS NULL THEN greatest(t.expected - t.rows_deleted, 0) ELSE 0 END AS rows_left,
       t.started_at AS table_started_at, t.finished_at AS table_finished_at, p.certificate
  FROM tenancy_internal.tenant_purges p
  LEFT JOIN tenancy_internal.purged_tables t ON t.purge_id = p.id;
REVOKE ALL ON tenancy.purges FROM PUBLIC;
GRANT SELECT ON tenancy.purges TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.purges IS
    'Purges of tenants and their progress, one row for each table. Rows of tables are committed with the batches that they count';
COMMENT ON COLUMN tenancy.purges.state IS
    'running, interrupted (no session runs it any more: call purge_tenant() again), failed (see error; likewise) or done';
COMMENT ON COLUMN tenancy.purges.error IS 'Why it failed last';
COMMENT ON COLUMN tenancy.purges.place IS 'Order in which tables are emptied';
COMMENT ON COLUMN tenancy.purges.rows_deleted IS 'Number of rows that were deleted, also by calls that were interrupted';
COMMENT ON COLUMN tenancy.purges.rows_left IS 'Number of rows that are left, an estimate';
COMMENT ON COLUMN tenancy.purges.certificate IS
    'The certificate, as the audit log has it, once the purge is done. Its sha256 is encode(sha256(convert_to((certificate - ''sha256'')::text, ''UTF8'')), ''hex'')';

-- Beginning and going on ---------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.begin_purge(tenant uuid, reason text, lock_key bigint, dry_run boolean, OUT id uuid, OUT external_id text, OUT slug text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_scope tenancy.scopes;
    begun tenancy_internal.tenant_purges;
BEGIN
    SELECT s.* INTO found_scope FROM tenancy.scopes s WHERE s.id = tenant FOR SHARE;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_scope(tenant);
    END IF;
    IF found_scope.status <> 'deleted' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('purge_not_deleted', found_scope.slug, found_scope.status);
    END IF;
    PERFORM tenancy_internal.require_no_hold(tenant);
    PERFORM tenancy_internal.require_not_moving(tenant);
    SELECT p.* INTO begun FROM tenancy_internal.tenant_purges p WHERE p.tenant_id = tenant AND p.state <> 'done';
    slug := found_scope.slug;
    external_id := found_scope.external_id;
    id := coalesce(begun.id, tenancy.new_id());
    IF dry_run THEN
        RETURN;
    END IF;
    IF begun.id IS NULL THEN
        INSERT INTO tenancy_internal.tenant_purges (id, tenant_id, slug, external_id, partner_id, reason, lock_key)
        VALUES (id, tenant, slug, external_id, found_scope.parent_id, reason, lock_key);
        PERFORM tenancy_internal.audit('purge.begun', tenant, slug, jsonb_build_object('purge', id, 'reason', reason));
    ELSE
        UPDATE tenancy_internal.tenant_purges p SET state = 'running', error = NULL, reason = begin_purge.reason, lock_key = begin_purge.lock_key
         WHERE p.id = begun.id;
        external_id := begun.external_id;
        PERFORM tenancy_internal.audit('purge.resumed', tenant, slug, jsonb_build_object('purge', id, 'reason', reason));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.begin_purge(uuid, text, bigint, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.begin_purge(uuid, text, bigint, boolean) IS
    'internal: begins the purge of a tenant, or resumes it; raises 55000 unless it is deleted and without a legal hold';

-- Until its transaction ends, the tenant is not activated, and no hold is set on it.
CREATE FUNCTION tenancy_internal.check_purge(purge uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_scope record;
BEGIN
    SELECT s.id, s.slug, s.status, s.external_id IS DISTINCT FROM p.external_id AS other INTO found_scope
      FROM tenancy_internal.tenant_purges p JOIN tenancy.scopes s ON s.id = p.tenant_id
     WHERE p.id = purge FOR SHARE OF s;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_scope((SELECT p.tenant_id FROM tenancy_internal.tenant_purges p WHERE p.id = purge));
    ELSIF found_scope.status <> 'deleted' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('purge_not_deleted', found_scope.slug, found_scope.status);
    ELSIF found_scope.other THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('purge_changed', found_scope.slug);
    END IF;
    PERFORM tenancy_internal.require_no_hold(found_scope.id);
    PERFORM tenancy_internal.require_not_moving(found_scope.id);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_purge(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_purge(uuid) IS 'internal: raises 55000 unless the tenant may still be purged';

CREATE FUNCTION tenancy_internal.keep_purged_tables(purge uuid, tables text[], expected bigint[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO tenancy_internal.purged_tables AS t (purge_id, table_name, place, expected)
    SELECT purge, x.name, x.n, x.rows FROM unnest(tables, expected) WITH ORDINALITY x(name, rows, n)
        ON CONFLICT (purge_id, table_name) DO UPDATE
       SET place = excluded.place, expected = t.rows_deleted + excluded.expected, finished_at = NULL;
END;
REVOKE ALL ON FUNCTION tenancy_internal.keep_purged_tables(uuid, text[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_purged_tables(uuid, text[], bigint[]) IS 'internal: records which tables a purge empties';

CREATE FUNCTION tenancy_internal.note_purged(purge uuid, name text, rows bigint, done boolean) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO tenancy_internal.purged_tables AS t (purge_id, table_name, place, rows_deleted, started_at, finished_at)
    SELECT purge, name, (SELECT coalesce(max(o.place), 0) + 1 FROM tenancy_internal.purged_tables o WHERE o.purge_id = purge), rows,
           clock_timestamp(), CASE WHEN done THEN clock_timestamp() END
        ON CONFLICT (purge_id, table_name) DO UPDATE
       SET rows_deleted = t.rows_deleted + excluded.rows_deleted, started_at = coalesce(t.started_at, excluded.started_at),
           finished_at = excluded.finished_at;
END;
REVOKE ALL ON FUNCTION tenancy_internal.note_purged(uuid, text, bigint, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_purged(uuid, text, bigint, boolean) IS 'internal: records that a batch of a table was deleted';

CREATE FUNCTION tenancy_internal.note_purge_failure(purge uuid, message text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE tenancy_internal.tenant_purges p SET state = 'failed', error = message WHERE p.id = purge;
END;
REVOKE ALL ON FUNCTION tenancy_internal.note_purge_failure(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_purge_failure(uuid, text) IS 'internal: records why a purge failed';

-- A tenant whose rows are deleted in part does not come back.
CREATE FUNCTION tenancy_internal.stay_deleted() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tenancy_internal.tenant_purges p WHERE p.tenant_id = NEW.id AND p.state <> 'done') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('purge_begun', NEW.slug);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.stay_deleted() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.stay_deleted() IS 'internal: trigger that refuses another status for a tenant that is being purged';
CREATE TRIGGER stay_deleted AFTER UPDATE OF status ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'tenant' AND OLD.status = 'deleted' AND NEW.status <> 'deleted')
    EXECUTE FUNCTION tenancy_internal.stay_deleted();
