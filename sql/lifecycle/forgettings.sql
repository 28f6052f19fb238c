-- The record of users that were forgotten, and the view of its progress. It has no name of a user.

CREATE TABLE tenancy_internal.user_forgettings (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    user_id      uuid NOT NULL,
    parent_id    uuid NOT NULL,
    external_id  text,
    reason       text NOT NULL,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'failed', 'done')),
    error        text,
    lock_key     bigint NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    finished_at  timestamptz,
    certificate  jsonb
);
REVOKE ALL ON tenancy_internal.user_forgettings FROM PUBLIC;
CREATE UNIQUE INDEX user_forgettings_open_idx ON tenancy_internal.user_forgettings (user_id) WHERE state <> 'done';
CREATE INDEX user_forgettings_user_id_idx ON tenancy_internal.user_forgettings (user_id);
COMMENT ON TABLE tenancy_internal.user_forgettings IS 'internal: users that were forgotten; users read the view forgettings';
COMMENT ON COLUMN tenancy_internal.user_forgettings.external_id IS 'that of the user when it began, by which rows are found; NULL once it is done';
COMMENT ON COLUMN tenancy_internal.user_forgettings.lock_key IS 'number of the lock that the session holds which runs it';
COMMENT ON COLUMN tenancy_internal.user_forgettings.ended_at IS 'when the user''s access ended: nothing stood in the way then';
COMMENT ON COLUMN tenancy_internal.user_forgettings.certificate IS 'what the audit log says of it, once it is done';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.user_forgettings', '');

CREATE TABLE tenancy_internal.forgotten_rows (
    forgetting_id uuid NOT NULL,
    table_name    text NOT NULL,
    rows_deleted  bigint NOT NULL DEFAULT 0,
    rows_changed  bigint NOT NULL DEFAULT 0,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    PRIMARY KEY (forgetting_id, table_name)
) WITH (fillfactor = 50);
REVOKE ALL ON tenancy_internal.forgotten_rows FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.forgotten_rows IS 'internal: progress of forget_user(), by table; users read the view forgettings';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.forgotten_rows', '');

CREATE VIEW tenancy.forgettings WITH (security_barrier) AS
SELECT f.id AS forgetting_id, f.user_id, f.parent_id, f.reason,
       CASE WHEN f.state = 'running'
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                              WHERE l.locktype = 'object' AND l.classid = 'tenancy_internal.user_forgettings'::pg_catalog.regclass
                                AND l.objid = f.lock_key::pg_catalog.oid AND l.granted
                                AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
            THEN 'interrupted' ELSE f.state END AS state,
       f.error, f.begun_at, f.finished_at,
       r.table_name, r.rows_deleted, r.rows_changed, r.started_at AS table_started_at, r.finished_at AS table_finished_at, f.certificate
  FROM tenancy_internal.user_forgettings f
  LEFT JOIN tenancy_internal.forgotten_rows r ON r.forgetting_id = f.id;
REVOKE ALL ON tenancy.forgettings FROM PUBLIC;
GRANT SELECT ON tenancy.forgettings TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.forgettings IS
    'Users that forget_user() forgot or is forgetting, one row for each table. Rows of tables are committed with the batches that they count. '
    'For tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.forgettings.state IS
    'running, interrupted (no session runs it any more: call forget_user() again), failed (see error; likewise) or done';
COMMENT ON COLUMN tenancy.forgettings.error IS 'Why it failed last';
COMMENT ON COLUMN tenancy.forgettings.rows_changed IS 'Number of rows that stay and were changed, also by calls that were interrupted';
COMMENT ON COLUMN tenancy.forgettings.certificate IS
    'The certificate, as the audit log has it, once it is done. Its sha256 is encode(sha256(convert_to((certificate - ''sha256'')::text, ''UTF8'')), ''hex'')';

-- Beginning and going on ---------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.note_forgotten(forgetting uuid, name text, deleted bigint, changed bigint, done boolean) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO tenancy_internal.forgotten_rows AS t (forgetting_id, table_name, rows_deleted, rows_changed, finished_at)
    VALUES (forgetting, name, deleted, changed, CASE WHEN done THEN clock_timestamp() END)
        ON CONFLICT (forgetting_id, table_name) DO UPDATE
       SET rows_deleted = t.rows_deleted + excluded.rows_deleted, rows_changed = t.rows_changed + excluded.rows_changed, finished_at = excluded.finished_at;
END;
REVOKE ALL ON FUNCTION tenancy_internal.note_forgotten(uuid, text, bigint, bigint, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_forgotten(uuid, text, bigint, bigint, boolean) IS 'internal: records that a batch of a table was deleted or changed';

-- Also when it is done: a role may have been assigned meanwhile.
CREATE FUNCTION tenancy_internal.end_access(forgetting uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target uuid;
    own record;
    gone bigint;
BEGIN
    UPDATE tenancy_internal.user_forgettings f SET ended_at = coalesce(f.ended_at, clock_timestamp()) WHERE f.id = forgetting RETURNING f.user_id INTO target;
    UPDATE tenancy.scopes s SET status = 'deleted' WHERE s.id = target AND s.status <> 'deleted';
    UPDATE tenancy.elevations e SET ended_at = clock_timestamp() WHERE e.user_id = target AND e.ended_at IS NULL AND e.expires_at > now();
    FOR own IN
        SELECT * FROM (VALUES ('api_key_secrets', 'user_id'), ('role_assignments', 'user_id'), ('identity_users', 'user_id'), ('allowed_networks', 'scope_id')) o (name, part)
    LOOP
        EXECUTE format('DELETE FROM tenancy_internal.%I WHERE %I = $1', own.name, own.part) USING target;
        GET DIAGNOSTICS gone = ROW_COUNT;
        PERFORM tenancy_internal.note_forgotten(forgetting, 'tenancy_internal.' || own.name, gone, 0, true) WHERE gone > 0;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.end_access(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.end_access(uuid) IS 'internal: ends the access of a user that is being forgotten: status, keys, roles, identity, elevations';

CREATE FUNCTION tenancy_internal.begin_forgetting(target uuid, reason text, lock_key bigint, dry_run boolean,
    OUT id uuid, OUT external_id text, OUT tenant_id uuid, OUT tenant_external_id text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_user tenancy.scopes;
    begun tenancy_internal.user_forgettings;
BEGIN
    SELECT s.* INTO found_user FROM tenancy.scopes s WHERE s.id = target AND s.level = 'user' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_user(target);
    END IF;
    PERFORM tenancy_internal.require_no_hold_of_user(target);
    SELECT f.* INTO begun FROM tenancy_internal.user_forgettings f WHERE f.user_id = target AND f.state <> 'done';
    id := coalesce(begun.id, tenancy.new_id());
    external_id := found_user.external_id;
    SELECT t.id, t.external_id INTO tenant_id, tenant_external_id FROM tenancy.scopes t WHERE t.id = found_user.parent_id AND t.level = 'tenant';
    IF dry_run THEN
        RETURN;
    END IF;
    IF begun.id IS NULL THEN
        INSERT INTO tenancy_internal.user_forgettings (id, user_id, parent_id, external_id, reason, lock_key)
        VALUES (id, target, found_user.parent_id, external_id, reason, lock_key);
    ELSE
        external_id := begun.external_id;
        UPDATE tenancy_internal.user_forgettings f SET state = 'running', error = NULL, reason = begin_forgetting.reason, lock_key = begin_forgetting.lock_key
         WHERE f.id = begun.id;
    END IF;
    PERFORM tenancy_internal.audit('user.forgetting', target, target::text, jsonb_build_object('forgetting', id, 'reason', reason, 'resumed', begun.id IS NOT NULL));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.begin_forgetting(uuid, text, bigint, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.begin_forgetting(uuid, text, bigint, boolean) IS
    'internal: begins to forget a user, or resumes; raises 55000 if there is a legal hold';

-- Until its transaction ends, no hold is set on the user.
CREATE FUNCTION tenancy_internal.check_forgetting(forgetting uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_user record;
BEGIN
    SELECT s.id, s.external_id IS DISTINCT FROM f.external_id AS other INTO found_user
      FROM tenancy_internal.user_forgettings f JOIN tenancy.scopes s ON s.id = f.user_id
     WHERE f.id = forgetting FOR SHARE OF s;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_user((SELECT f.user_id FROM tenancy_internal.user_forgettings f WHERE f.id = forgetting));
    ELSIF found_user.other THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('forgetting_changed', found_user.id::text);
    END IF;
    PERFORM tenancy_internal.require_no_hold_of_user(found_user.id);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_forgetting(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_forgetting(uuid) IS 'internal: raises 55000 unless the user may still be forgotten';

CREATE FUNCTION tenancy_internal.note_forgetting_failure(forgetting uuid, message text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE tenancy_internal.user_forgettings f SET state = 'failed', error = message WHERE f.id = forgetting;
END;
REVOKE ALL ON FUNCTION tenancy_internal.note_forgetting_failure(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_forgetting_failure(uuid, text) IS 'internal: records why forget_user() failed';

-- A user whose rows are gone in part does not come back.
CREATE FUNCTION tenancy_internal.stay_forgotten() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tenancy_internal.user_forgettings f WHERE f.user_id = NEW.id AND f.ended_at IS NOT NULL) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('user_forgotten', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.stay_forgotten() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.stay_forgotten() IS 'internal: trigger that refuses another status for a user that was forgotten';
CREATE TRIGGER stay_forgotten AFTER UPDATE OF status ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'user' AND OLD.status = 'deleted' AND NEW.status <> 'deleted')
    EXECUTE FUNCTION tenancy_internal.stay_forgotten();

CREATE FUNCTION tenancy_internal.drop_forgettings() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.forgotten_rows r USING tenancy_internal.user_forgettings f
     WHERE f.user_id = OLD.id AND f.state <> 'done' AND r.forgetting_id = f.id;
    DELETE FROM tenancy_internal.user_forgettings f WHERE f.user_id = OLD.id AND f.state <> 'done';
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_forgettings() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_forgettings() IS 'internal: trigger that ends what cannot be finished any more, since the user itself is gone';
CREATE TRIGGER drop_forgettings AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level = 'user')
    EXECUTE FUNCTION tenancy_internal.drop_forgettings();
