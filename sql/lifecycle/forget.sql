-- forget_user(): the end, the certificate, and the procedure.

CREATE FUNCTION tenancy_internal.pseudonym(target uuid) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    -- The id tells nothing of a person. In full, so that no two users of a parent share a slug.
    RETURN 'forgotten-' || replace(target::text, '-', '');
REVOKE ALL ON FUNCTION tenancy_internal.pseudonym(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.pseudonym(uuid) IS 'internal: returns what replaces the names of a forgotten user';

-- Usage and the audit log stay: they name the user by its id.
CREATE FUNCTION tenancy_internal.finish_forgetting(forgetting uuid, kept jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done tenancy_internal.user_forgettings := (SELECT f FROM tenancy_internal.user_forgettings f WHERE f.id = forgetting);
    proof jsonb;
    now_is timestamptz := clock_timestamp();
BEGIN
    PERFORM tenancy_internal.end_access(forgetting);
    UPDATE tenancy.scopes s
       SET slug = tenancy_internal.pseudonym(s.id), name = tenancy_internal.pseudonym(s.id), external_id = NULL, settings = '{}', features = '{}'
     WHERE s.id = done.user_id;
    PERFORM tenancy_internal.note_forgotten(forgetting, 'tenancy.scopes', 0, 1, true);
    proof := jsonb_build_object(
        'version', 1, 'forgetting', done.id, 'user', done.user_id, 'parent', done.parent_id, 'reason', done.reason,
        'begun_at', tenancy_internal.audit_micros(done.begun_at), 'finished_at', tenancy_internal.audit_micros(now_is),
        'kept', kept || '["tenancy.audit_log", "tenancy.elevations", "usage"]',
        'deleted', (SELECT coalesce(jsonb_object_agg(r.table_name, r.rows_deleted), '{}') FROM tenancy_internal.forgotten_rows r WHERE r.forgetting_id = forgetting AND r.rows_deleted > 0),
        'changed', (SELECT coalesce(jsonb_object_agg(r.table_name, r.rows_changed), '{}') FROM tenancy_internal.forgotten_rows r WHERE r.forgetting_id = forgetting AND r.rows_changed > 0));
    proof := proof || jsonb_build_object('sha256', encode(sha256(convert_to(proof::text, 'UTF8')), 'hex'));
    PERFORM tenancy_internal.audit('user.forgotten', done.user_id, done.user_id::text, proof);
    UPDATE tenancy_internal.forgotten_rows r SET finished_at = now_is WHERE r.forgetting_id = forgetting AND r.finished_at IS NULL;
    UPDATE tenancy_internal.user_forgettings f SET state = 'done', error = NULL, external_id = NULL, finished_at = now_is, certificate = proof WHERE f.id = forgetting;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.finish_forgetting(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.finish_forgetting(uuid, jsonb) IS
    'internal: replaces the names of a user whose rows are gone, and writes the certificate into the audit log';

CREATE PROCEDURE tenancy.forget_user(
    user_id tenancy.regscope,
    reason text,
    batch_rows integer DEFAULT 5000,
    dry_run boolean DEFAULT false,
    lock_timeout text DEFAULT '2s'
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_forget_user_wrapper';
REVOKE ALL ON PROCEDURE tenancy.forget_user(tenancy.regscope, text, integer, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.forget_user(tenancy.regscope, text, integer, boolean, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.forget_user(tenancy.regscope, text, integer, boolean, text) IS
    'Forgets a user: ends its access for good, deletes or changes its rows as set_forgetting() decided for each table of the view user_columns, and replaces its slug, '
    'name, external id and settings by a pseudonym. The audit log names users by their ids, so its chain still holds; usage stays under the id. It works in '
    'batches of about batch_rows rows (1 to 1000000), each a transaction of its own, while others work; the view forgettings shows its progress. A call that was interrupted '
    'is resumed by the next one. At the end it looks for the user in every such table, and writes the numbers of rows into the audit log. reason is a line of 1 to 300 '
    'printable characters, and stays: do not name the user in it. dry_run => true only says what it would do in each table, to how many rows. lock_timeout: for each batch, which is '
    'tried 20 times. Call it outside a transaction block, as the owner of the tables or a member of these roles: code of the tables runs with their owner''s rights. With a '
    'context, its user needs users:manage and everything that the user was assigned. Errors: 22023 a bad argument; 55000 a table is undecided, there is a legal hold, or something stands in the way, with '
    'all reasons; 25001 in a transaction block; 55006 another session forgets it; 42501 permission denied; 42704 no such user. For tenancy_admin';
