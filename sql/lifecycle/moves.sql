-- The record of tenants that move to another database, and the view of it.

CREATE TABLE tenancy_internal.tenant_moves (
    tenant_id     uuid PRIMARY KEY,
    slug          text NOT NULL,
    external_id   text,
    name          text NOT NULL,
    state         text NOT NULL DEFAULT 'preparing'
                  CHECK (state IN ('preparing', 'copying', 'switching', 'switched', 'finishing', 'moved', 'cancelling')),
    former_status text,
    destination   text,
    position      pg_lsn,
    lock_key      bigint NOT NULL,
    begun_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    switched_at   timestamptz
);
REVOKE ALL ON tenancy_internal.tenant_moves FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.tenant_moves IS 'internal: tenants that move to another database; users read the view moves';
COMMENT ON COLUMN tenancy_internal.tenant_moves.external_id IS 'that of the tenant when its rows were published';
COMMENT ON COLUMN tenancy_internal.tenant_moves.former_status IS 'that of the tenant before it was suspended for the switch-over';
COMMENT ON COLUMN tenancy_internal.tenant_moves.position IS 'end of what the tenant has written; NULL until that is known';
COMMENT ON COLUMN tenancy_internal.tenant_moves.lock_key IS 'number of the lock that a session holds which works on the move';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.tenant_moves', '');

-- Also of several moves: the first one finds what there was, and the last one leaves it so.
CREATE TABLE tenancy_internal.move_identities (
    relation     regclass PRIMARY KEY,
    former       "char" NOT NULL,
    former_index name,
    given_index  name
);
REVOKE ALL ON tenancy_internal.move_identities FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.move_identities IS 'internal: replica identities of tables before a move changed them';
COMMENT ON COLUMN tenancy_internal.move_identities.former IS 'as pg_class.relreplident has it';
COMMENT ON COLUMN tenancy_internal.move_identities.given_index IS 'the index that a move has named; NULL: it has set FULL';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.move_identities', '');

-- A filter of rows may use a column of the replica identity alone: else the server refuses the application's UPDATE and DELETE. The subscriber
-- looks for rows by its primary key, so that an identity which it is given has that, too.
CREATE VIEW tenancy_internal.move_parts AS
WITH RECURSIVE tree(root, tenant_column, part) AS (
    SELECT r.relation::pg_catalog.oid, r.tenant_column, r.relation::pg_catalog.oid FROM tenancy_internal.protected_table_registry r
    UNION
    SELECT t.root, t.tenant_column, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.part
), keys AS (
    SELECT x.indrelid, i.relname AS name, x.indisprimary, x.indisreplident,
           x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL AS plain,
           (x.indkey::int2[])[0:x.indnkeyatts - 1] AS columns
      FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
     WHERE x.indisunique
), parts AS (
    SELECT t.root, t.part, c.relkind, c.relpersistence, c.relreplident, a.attnum AS tenant, a.attname, a.atttypid, a.attcollation,
           pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name,
           (SELECT k.name FROM keys k WHERE k.indrelid = t.part AND k.indisreplident) AS identity_index,
           c.relreplident = 'f' OR EXISTS (
               SELECT FROM keys k WHERE k.indrelid = t.part AND k.plain AND a.attnum = ANY (k.columns)
                  AND CASE c.relreplident WHEN 'd' THEN k.indisprimary WHEN 'i' THEN k.indisreplident END) AS enough
      FROM tree t
      JOIN pg_catalog.pg_class c ON c.oid = t.part
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.part AND a.attname = t.tenant_column AND NOT a.attisdropped
)
SELECT p.root, p.part, p.table_name, p.relreplident AS identity, p.identity_index, p.relkind = 'r' AND NOT p.enough AS lacks, f.index_name,
       CASE WHEN p.relkind = 'f' THEN 'it is a foreign table, which no publication has.'
            WHEN p.relpersistence = 'u' THEN 'it is unlogged, which no publication has.'
            WHEN p.atttypid >= 16384 OR p.attcollation >= 16384 THEN
                pg_catalog.format('no filter of rows may use the type or the collation of its column %I.', p.attname)
            WHEN p.relkind = 'r' AND NOT p.enough AND f.index_name IS NULL THEN (
                SELECT pg_catalog.format('it has no primary key, and values of its column %I cannot be compared.', a.attname)
                  FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid = p.part AND a.attnum > 0 AND NOT a.attisdropped
                   AND a.atttypid = ANY ('{json,xml,point,line,lseg,box,path,polygon,circle}'::pg_catalog.regtype[])
                   AND NOT EXISTS (SELECT FROM keys k WHERE k.indrelid = p.part AND k.indisprimary AND k.plain)
                 LIMIT 1)
       END AS fault
  FROM parts p
  LEFT JOIN LATERAL (
      SELECT k.name::text AS index_name FROM keys k
       WHERE k.indrelid = p.part AND k.plain AND p.tenant = ANY (k.columns)
         AND EXISTS (SELECT FROM keys o WHERE o.indrelid = p.part AND o.indisprimary)
         AND NOT EXISTS (SELECT FROM keys o WHERE o.indrelid = p.part AND (o.indisprimary OR o.indisreplident) AND NOT k.columns @> o.columns)
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = p.part AND a.attnum = ANY (k.columns) AND NOT a.attnotnull)
       ORDER BY pg_catalog.cardinality(k.columns), k.name LIMIT 1) f ON true;
REVOKE ALL ON tenancy_internal.move_parts FROM PUBLIC;
COMMENT ON VIEW tenancy_internal.move_parts IS
    'internal: protected tables and their parts, and what they lack to be published with a filter by the tenant; index_name: the index that would do, NULL: REPLICA IDENTITY FULL';

CREATE VIEW tenancy.moves WITH (security_barrier) AS
SELECT m.tenant_id, m.slug AS tenant, m.state,
       EXISTS (SELECT FROM pg_catalog.pg_locks l
                WHERE l.locktype = 'object' AND l.classid = 'tenancy_internal.tenant_moves'::pg_catalog.regclass
                  AND l.objid = m.lock_key::pg_catalog.oid AND l.granted
                  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) AS running,
       m.name AS publication,
       ARRAY(SELECT r.prrelid::pg_catalog.regclass::text FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
              WHERE p.pubname = m.name ORDER BY 1) AS tables,
       ARRAY(SELECT DISTINCT t.table_name FROM tenancy_internal.move_parts t
               JOIN pg_catalog.pg_publication_rel r ON r.prrelid IN (t.root, t.part) JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
              WHERE p.pubname = m.name AND t.lacks ORDER BY 1) AS refusing_writes,
       s.active AS subscribed,
       pg_catalog.pg_wal_lsn_diff(w.position, s.confirmed_flush_lsn)::bigint AS lag_bytes,
       pg_catalog.pg_wal_lsn_diff(w.position, s.restart_lsn)::bigint AS kept_bytes,
       m.destination, m.begun_at, m.switched_at
  FROM tenancy_internal.tenant_moves m
  LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = m.name AND s.database = pg_catalog.current_database()
 CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END) w(position);
REVOKE ALL ON tenancy.moves FROM PUBLIC;
GRANT SELECT ON tenancy.moves TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.moves IS
    'Tenants that move_tenant_out() moves to another database, or has moved. For tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.moves.state IS
    'preparing, copying (its rows are published), switching (it is suspended until the subscriber has all), switched (all is there), finishing, moved, or cancelling. One '
    'that is preparing, switching, finishing or cancelling and not running was interrupted: call the procedure again';
COMMENT ON COLUMN tenancy.moves.running IS 'Whether a session is running a procedure of the move';
COMMENT ON COLUMN tenancy.moves.publication IS 'Name of the publication, of the replication slot and of the subscription';
COMMENT ON COLUMN tenancy.moves.tables IS 'Tables in the publication';
COMMENT ON COLUMN tenancy.moves.refusing_writes IS
    'Tables or parts in which the server refuses UPDATE and DELETE, because their replica identity lacks the tenant column, as in a new partition: call move_tenant_out() again';
COMMENT ON COLUMN tenancy.moves.subscribed IS 'Whether a subscriber is connected; NULL: there is no replication slot';
COMMENT ON COLUMN tenancy.moves.lag_bytes IS 'How far the subscriber is behind, in bytes of WAL';
COMMENT ON COLUMN tenancy.moves.kept_bytes IS 'How much WAL the server keeps for the subscriber; it fills the disk if none connects';
COMMENT ON COLUMN tenancy.moves.destination IS 'Where the tenant is now, as switch_over() was told';

-- Beginning ----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.begin_move(tenant uuid, name text, lock_key bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_scope tenancy.scopes;
    begun tenancy_internal.tenant_moves;
BEGIN
    SELECT s.* INTO found_scope FROM tenancy.scopes s WHERE s.id = tenant FOR NO KEY UPDATE;
    SELECT m.* INTO begun FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = tenant FOR UPDATE;
    IF begun.state IN ('switched', 'finishing', 'moved') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('tenant_moved', found_scope.slug, begun.destination);
    ELSIF begun.state IN ('switching', 'cancelling') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_state', found_scope.slug, begun.state);
    ELSIF found_scope.status = 'deleted' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_deleted', found_scope.slug);
    ELSIF begun.state IS NULL THEN
        INSERT INTO tenancy_internal.tenant_moves (tenant_id, slug, external_id, name, lock_key)
        VALUES (tenant, found_scope.slug, found_scope.external_id, name, lock_key);
        PERFORM tenancy_internal.audit('move.begun', tenant, found_scope.slug, '{}');
    ELSE
        UPDATE tenancy_internal.tenant_moves m
           SET state = 'preparing', slug = found_scope.slug, external_id = found_scope.external_id, lock_key = begin_move.lock_key WHERE m.tenant_id = tenant;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.begin_move(uuid, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.begin_move(uuid, text, bigint) IS 'internal: begins the move of a tenant, or goes on preparing it';

CREATE FUNCTION tenancy_internal.note_published(tenant uuid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE tenancy_internal.tenant_moves m SET state = 'copying' WHERE m.tenant_id = tenant AND m.state = 'preparing';
END;
REVOKE ALL ON FUNCTION tenancy_internal.note_published(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_published(uuid) IS 'internal: records that the rows of a tenant are published';

CREATE FUNCTION tenancy_internal.keep_identity(part regclass) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO tenancy_internal.move_identities AS i (relation, former, former_index, given_index)
    SELECT part, p.identity, CASE WHEN p.identity = 'i' THEN p.identity_index END, p.index_name FROM tenancy_internal.move_parts p WHERE p.part = keep_identity.part
        ON CONFLICT (relation) DO UPDATE SET given_index = excluded.given_index;
END;
REVOKE ALL ON FUNCTION tenancy_internal.keep_identity(regclass) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_identity(regclass) IS 'internal: records the replica identity of a table before a move changes it';

-- What somebody else has set meanwhile stays.
CREATE FUNCTION tenancy_internal.former_identities(tenant uuid) RETURNS TABLE (relation oid, table_name text, statement text)
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT i.relation::oid, format('%I.%I', n.nspname, c.relname),
           CASE WHEN c.relreplident = CASE WHEN i.given_index IS NULL THEN 'f' ELSE 'i' END
                 AND (i.given_index IS NULL OR i.given_index = (SELECT x.relname FROM pg_index k JOIN pg_class x ON x.oid = k.indexrelid
                                                                  WHERE k.indrelid = c.oid AND k.indisreplident))
                THEN CASE i.former WHEN 'd' THEN 'DEFAULT' WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL'
                     ELSE (SELECT format('USING INDEX %I', x.relname) FROM pg_index k JOIN pg_class x ON x.oid = k.indexrelid
                            WHERE k.indrelid = c.oid AND x.relname = i.former_index) END END
      FROM tenancy_internal.move_identities i
      LEFT JOIN pg_class c ON c.oid = i.relation
      LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT EXISTS (SELECT FROM tenancy_internal.tenant_moves m
                        WHERE m.tenant_id <> tenant AND m.state IN ('preparing', 'copying', 'switching', 'switched'))
     ORDER BY i.relation;
END;
REVOKE ALL ON FUNCTION tenancy_internal.former_identities(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.former_identities(uuid) IS
    'internal: returns the tables whose replica identity a move has changed, unless another move needs it, and how to set the former one';

CREATE FUNCTION tenancy_internal.forget_identity(relation oid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM tenancy_internal.move_identities i WHERE i.relation = forget_identity.relation;
END;
REVOKE ALL ON FUNCTION tenancy_internal.forget_identity(oid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_identity(oid) IS 'internal: forgets the former replica identity of a table';

-- Switching over -----------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.find_move(tenant uuid, OUT state text, OUT name text, OUT changed boolean, OUT slot boolean, OUT subscribed boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT m.state, m.name, m.external_id IS DISTINCT FROM s.external_id, r.slot_name IS NOT NULL, coalesce(r.active, false)
      INTO state, name, changed, slot, subscribed
      FROM tenancy_internal.tenant_moves m
      JOIN tenancy.scopes s ON s.id = m.tenant_id
      LEFT JOIN pg_replication_slots r ON r.slot_name = m.name AND r.database = current_database()
     WHERE m.tenant_id = tenant;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_not_found', (SELECT s.slug FROM tenancy.scopes s WHERE s.id = tenant));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.find_move(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.find_move(uuid) IS 'internal: returns the move of a tenant; raises 42704 if there is none';

-- NULL: the publication is not as it was made.
CREATE FUNCTION tenancy_internal.published_tables(name text) RETURNS oid[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT array(SELECT r.prrelid FROM pg_publication_rel r WHERE r.prpubid = p.oid)
      FROM pg_publication p
     WHERE p.pubname = name AND p.pubinsert AND p.pubupdate AND p.pubdelete AND NOT p.pubtruncate AND p.pubviaroot AND NOT p.puballtables
       AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND (r.prqual IS NULL OR r.prattrs IS NOT NULL))
       AND NOT EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid);
END;
REVOKE ALL ON FUNCTION tenancy_internal.published_tables(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.published_tables(text) IS 'internal: returns the tables of a publication of a move; NULL if it is missing or was changed';

CREATE FUNCTION tenancy_internal.suspend_moving(tenant uuid, lock_key bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before tenancy.scopes;
BEGIN
    SELECT s.* INTO before FROM tenancy.scopes s WHERE s.id = tenant FOR NO KEY UPDATE;
    UPDATE tenancy_internal.tenant_moves m
       SET state = 'switching', former_status = CASE WHEN m.state = 'switching' THEN m.former_status ELSE before.status END, position = NULL, lock_key = suspend_moving.lock_key
     WHERE m.tenant_id = tenant AND m.state IN ('copying', 'switching');
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_not_found', before.slug);
    END IF;
    IF before.status IN ('active', 'provisioning') THEN
        UPDATE tenancy.scopes s SET status = 'suspended' WHERE s.id = tenant;
        PERFORM tenancy_internal.audit('scope.status', tenant, before.slug, jsonb_build_object('before', before.status, 'after', 'suspended'));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.suspend_moving(uuid, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.suspend_moving(uuid, bigint) IS 'internal: suspends a tenant until the subscriber has all of its rows';

-- When it is committed, what was written before it is on disk, and sent.
CREATE FUNCTION tenancy_internal.mark_position(tenant uuid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE tenancy_internal.tenant_moves m SET position = pg_current_wal_insert_lsn() WHERE m.tenant_id = tenant;
END;
REVOKE ALL ON FUNCTION tenancy_internal.mark_position(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.mark_position(uuid) IS 'internal: records how far the subscriber must come';

CREATE FUNCTION tenancy_internal.has_arrived(tenant uuid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce((SELECT r.confirmed_flush_lsn >= m.position FROM tenancy_internal.tenant_moves m
                       JOIN pg_replication_slots r ON r.slot_name = m.name AND r.database = current_database() WHERE m.tenant_id = tenant), false);
END;
REVOKE ALL ON FUNCTION tenancy_internal.has_arrived(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.has_arrived(uuid) IS 'internal: returns whether the subscriber has confirmed the position';

CREATE FUNCTION tenancy_internal.take_up_again(tenant uuid, next_state text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before tenancy_internal.tenant_moves;
BEGIN
    PERFORM FROM tenancy.scopes s WHERE s.id = tenant FOR NO KEY UPDATE;
    SELECT m.* INTO before FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = tenant FOR UPDATE;
    -- First: else the trigger keeps the tenant where it is.
    UPDATE tenancy_internal.tenant_moves m SET state = next_state, former_status = NULL, position = NULL WHERE m.tenant_id = tenant;
    IF before.state = 'switching' AND before.former_status IN ('active', 'provisioning') THEN
        UPDATE tenancy.scopes s SET status = before.former_status WHERE s.id = tenant AND s.status = 'suspended';
        IF FOUND THEN
            PERFORM tenancy_internal.audit('scope.status', tenant, before.slug, jsonb_build_object('before', 'suspended', 'after', before.former_status));
        END IF;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.take_up_again(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.take_up_again(uuid, text) IS 'internal: gives a tenant that is not moved after all its former status';

CREATE FUNCTION tenancy_internal.note_switched(tenant uuid, destination text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text;
BEGIN
    UPDATE tenancy_internal.tenant_moves m SET state = 'switched', destination = note_switched.destination, switched_at = clock_timestamp()
     WHERE m.tenant_id = tenant RETURNING m.slug INTO known;
    PERFORM tenancy_internal.audit('move.switched', tenant, known, jsonb_build_object('destination', destination));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.note_switched(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_switched(uuid, text) IS 'internal: records that the subscriber has all rows of a tenant';

-- Ending -------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.begin_end_of_move(tenant uuid, finish boolean, lock_key bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before tenancy_internal.tenant_moves;
BEGIN
    UPDATE tenancy_internal.tenant_moves m SET lock_key = begin_end_of_move.lock_key WHERE m.tenant_id = tenant RETURNING m.* INTO before;
    IF finish THEN
        IF before.state IN ('switched', 'finishing') THEN
            UPDATE tenancy_internal.tenant_moves m SET state = 'finishing' WHERE m.tenant_id = tenant;
        ELSE
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_state', before.slug, before.state);
        END IF;
    ELSE
        PERFORM tenancy_internal.take_up_again(tenant, 'cancelling');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.begin_end_of_move(uuid, boolean, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.begin_end_of_move(uuid, boolean, bigint) IS 'internal: begins to finish or to cancel a move';

CREATE FUNCTION tenancy_internal.note_end_of_move(tenant uuid, finish boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.tenant_moves;
BEGIN
    IF finish THEN
        UPDATE tenancy_internal.tenant_moves m SET state = 'moved' WHERE m.tenant_id = tenant RETURNING m.* INTO known;
    ELSE
        DELETE FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = tenant RETURNING m.* INTO known;
    END IF;
    PERFORM tenancy_internal.audit(CASE WHEN finish THEN 'move.finished' ELSE 'move.cancelled' END, tenant, known.slug,
        jsonb_strip_nulls(jsonb_build_object('destination', known.destination)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.note_end_of_move(uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_end_of_move(uuid, boolean) IS 'internal: records that a move is finished, or forgets it';

-- While its rows are published, the subscriber would delete what a purge deletes.
CREATE FUNCTION tenancy_internal.require_not_moving(tenant uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.tenant_moves;
BEGIN
    SELECT m.* INTO known FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = tenant AND m.state <> 'moved';
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_open', known.slug);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.require_not_moving(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_not_moving(uuid) IS 'internal: raises 55000 while the rows of a tenant are published';

-- A tenant works in one place.
CREATE FUNCTION tenancy_internal.stay_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.tenant_moves;
BEGIN
    SELECT m.* INTO known FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = NEW.id AND m.state IN ('switching', 'switched', 'finishing', 'moved');
    IF known.state = 'switching' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_state', NEW.slug, known.state);
    ELSIF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('tenant_moved', NEW.slug, known.destination);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.stay_moved() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.stay_moved() IS 'internal: trigger that keeps a tenant which is moved from being activated here';
CREATE TRIGGER stay_moved AFTER UPDATE OF status ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND OLD.status <> NEW.status AND NEW.status IN ('active', 'provisioning'))
    EXECUTE FUNCTION tenancy_internal.stay_moved();

CREATE FUNCTION tenancy_internal.forget_move() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.tenant_moves m WHERE m.tenant_id = OLD.id AND m.state = 'moved';
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_move() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_move() IS 'internal: trigger that forgets where a tenant has moved once it is purged';
CREATE TRIGGER forget_move AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'tenant')
    EXECUTE FUNCTION tenancy_internal.forget_move();
