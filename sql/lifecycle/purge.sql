-- purge_tenant(): tenancy's own rows of a tenant, the certificate, and the procedure.

-- Usage, the audit log and the records of elevations and maintenance stay: see the guide.
CREATE FUNCTION tenancy_internal.delete_rows_of(purge uuid, scopes uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own record;
    deleted bigint;
BEGIN
    FOR own IN
        SELECT * FROM (VALUES
            ('role_assignments', 'user_id'), ('role_assignments', 'scope_id'), ('role_definitions', 'scope_id'), ('api_key_secrets', 'user_id'),
            ('identity_users', 'user_id'), ('identity_group_registry', 'scope_id'), ('identity_provider_registry', 'scope_id'),
            ('allowed_networks', 'scope_id'), ('login_policy_registry', 'scope_id'), ('budget_alert_log', 'scope_id'), ('budget_definitions', 'scope_id'),
            ('limit_values', 'scope_id'), ('tenant_plans', 'tenant_id'), ('sealed_secrets', 'scope_id'),
            ('sealing_keys', 'scope_id')) o (name, part)
    LOOP
        EXECUTE format('DELETE FROM tenancy_internal.%I WHERE %I = ANY ($1)', own.name, own.part) USING scopes;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        PERFORM tenancy_internal.note_purged(purge, 'tenancy_internal.' || own.name, deleted, true) WHERE deleted > 0;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.delete_rows_of(uuid, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.delete_rows_of(uuid, uuid[]) IS 'internal: deletes what belongs to scopes that are purged, and counts it';

CREATE FUNCTION tenancy_internal.purge_own_rows(purge uuid, most integer) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := (SELECT p.tenant_id FROM tenancy_internal.tenant_purges p WHERE p.id = purge);
    below uuid[];
    own record;
    deleted bigint;
BEGIN
    -- Those without a scope below them first.
    below := ARRAY(SELECT s.id FROM tenancy.scopes s
                    WHERE s.path && ARRAY[tenant] AND s.id <> tenant AND NOT EXISTS (SELECT FROM tenancy.scopes c WHERE c.parent_id = s.id)
                    LIMIT most);
    IF cardinality(below) > 0 THEN
        PERFORM tenancy_internal.delete_rows_of(purge, below);
        DELETE FROM tenancy.scopes s WHERE s.id = ANY (below);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        PERFORM tenancy_internal.note_purged(purge, 'tenancy.scopes', deleted, true);
        RETURN true;
    END IF;
    FOR own IN
        -- Open reservations expire by themselves: until then they hold room in the partner's budgets.
        SELECT * FROM (VALUES ('tenancy_internal.usage_keys', 'scope_id = $1'),
                              ('tenancy_internal.reservation_keys', 'scope_id = $1'),
                              ('tenancy_internal.usage_closings', 'scope_id = $1'),
                              ('tenancy_internal.budget_reservations', 'tenant_id = $1 AND state <> ''open''')) o (name, condition)
    LOOP
        EXECUTE format('DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE %s LIMIT $2)) AND %2$s', own.name, own.condition) USING tenant, most;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        IF deleted > 0 THEN
            PERFORM tenancy_internal.note_purged(purge, own.name, deleted, true);
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.purge_own_rows(uuid, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.purge_own_rows(uuid, integer) IS
    'internal: deletes some of tenancy''s own rows of a tenant that is purged, but for the tenant; returns whether there were any';

CREATE FUNCTION tenancy_internal.finish_purge(purge uuid, remarks jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done tenancy_internal.tenant_purges := (SELECT p FROM tenancy_internal.tenant_purges p WHERE p.id = purge);
    proof jsonb;
    now_is timestamptz := clock_timestamp();
BEGIN
    PERFORM tenancy_internal.delete_rows_of(purge, ARRAY[done.tenant_id]);
    PERFORM tenancy_internal.note_purged(purge, 'tenancy.scopes', 1, true);
    proof := remarks || jsonb_build_object(
        'version', 1, 'purge', done.id, 'tenant', done.tenant_id, 'slug', done.slug, 'external_id', done.external_id, 'partner', done.partner_id,
        'reason', done.reason, 'begun_at', tenancy_internal.audit_micros(done.begun_at), 'finished_at', tenancy_internal.audit_micros(now_is),
        'kept', ARRAY['tenancy.audit_log', 'tenancy.maintenance_log', 'tenancy.elevations', 'usage'],
        'rows', (SELECT coalesce(jsonb_object_agg(t.table_name, t.rows_deleted), '{}') FROM tenancy_internal.purged_tables t WHERE t.purge_id = purge));
    proof := proof || jsonb_build_object('sha256', encode(sha256(convert_to(proof::text, 'UTF8')), 'hex'));
    -- The entry is the tenant's: written while there is one.
    PERFORM tenancy_internal.audit('purge.done', done.tenant_id, done.slug, proof);
    DELETE FROM tenancy.scopes s WHERE s.id = done.tenant_id;
    UPDATE tenancy_internal.purged_tables t SET finished_at = now_is WHERE t.purge_id = purge AND t.finished_at IS NULL;
    UPDATE tenancy_internal.tenant_purges p SET state = 'done', error = NULL, finished_at = now_is, certificate = proof WHERE p.id = purge;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.finish_purge(uuid, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.finish_purge(uuid, jsonb) IS 'internal: deletes a tenant whose rows are gone, and writes the certificate into the audit log';

CREATE PROCEDURE tenancy.purge_tenant(
    tenant tenancy.regscope,
    reason text,
    batch_rows integer DEFAULT 5000,
    dry_run boolean DEFAULT false,
    lock_timeout text DEFAULT '2s'
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_purge_tenant_wrapper';
REVOKE ALL ON PROCEDURE tenancy.purge_tenant(tenancy.regscope, text, integer, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.purge_tenant(tenancy.regscope, text, integer, boolean, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.purge_tenant(tenancy.regscope, text, integer, boolean, text) IS
    'Deletes everything that a deleted tenant owns: its rows in all protected tables, then its users, projects, roles, keys, budgets and the '
    'tenant itself. It deletes in batches of about batch_rows rows (1 to 1000000), each a transaction of its own, while others work; the view purges shows its '
    'progress. A call that was interrupted is resumed by the next one. Tables are emptied before those that they refer to; rows that refer to each other '
    'in a circle go in one transaction. At the end it looks for the tenant in every protected table, and writes the numbers of deleted rows into the '
    'audit log, which stays, as usage does. reason is a line of 1 to 300 printable characters. dry_run => true only says which tables it would empty, in which order. '
    'lock_timeout: for each batch, which is tried 20 times. Call it outside a transaction block, as the owner of the tables or a member of '
    'these roles: code of the tables runs with their owner''s rights. With a context, its user needs tenants:purge above the tenant. Errors: 22023 a bad argument, or no tenant; 55000 the tenant is not deleted, there is a legal '
    'hold, or something stands in the way, with all reasons; 25001 in a transaction block; 55006 another session purges it; 42501 permission denied; 42704 no such '
    'scope. For tenancy_admin';
