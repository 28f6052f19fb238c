-- Legal holds: what keeps the rows of a tenant or a user from being purged.

CREATE TABLE tenancy_internal.legal_hold_registry (
    scope_id  uuid PRIMARY KEY,
    reason    text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    placed_by uuid,
    decided_at uuid NOT NULL
);
REVOKE ALL ON tenancy_internal.legal_hold_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.legal_hold_registry IS 'internal: legal holds; users read the view legal_holds';
COMMENT ON COLUMN tenancy_internal.legal_hold_registry.placed_by IS 'the user who set it; NULL: an administrator without a context';
COMMENT ON COLUMN tenancy_internal.legal_hold_registry.decided_at IS
    'the topmost scope in which who set it holds legal:hold: it is changed and released by who holds it there';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.legal_hold_registry', '');

CREATE VIEW tenancy.legal_holds WITH (security_barrier) AS
SELECT h.scope_id, s.level, s.slug AS scope, h.reason, h.placed_at, h.placed_by
  FROM tenancy_internal.legal_hold_registry h
  JOIN tenancy.scopes s ON s.id = h.scope_id
 WHERE s.path && tenancy.scope_ids('legal:hold') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.legal_holds FROM PUBLIC;
GRANT SELECT ON tenancy.legal_holds TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.legal_holds IS
    'Legal holds. With a context, shows those of scopes where the reader holds legal:hold; without one tenancy_admin, tenancy_gateway and '
    'tenancy_auditor see all';
COMMENT ON COLUMN tenancy.legal_holds.scope_id IS 'Scope whose rows, and those of all scopes below it, are kept';
COMMENT ON COLUMN tenancy.legal_holds.placed_by IS 'User who set it; NULL: an administrator without a context';

CREATE FUNCTION tenancy_internal.require_no_hold(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held record;
BEGIN
    SELECT s.slug, h.reason INTO held
      FROM tenancy_internal.legal_hold_registry h JOIN tenancy.scopes s ON s.id = h.scope_id
     WHERE s.path && ARRAY[scope] OR s.id = ANY ((SELECT p.path FROM tenancy.scopes p WHERE p.id = scope)::uuid[])
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('legal_hold', held.slug, held.reason);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.require_no_hold(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_no_hold(uuid) IS
    'internal: raises 55000 if there is a legal hold on a scope, one above it or one below it';

-- A user of a partner or the platform has rows in the tenants below that.
CREATE FUNCTION tenancy_internal.require_no_hold_of_user(target uuid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenancy_internal.require_no_hold(CASE WHEN p.level = 'tenant' THEN u.id ELSE p.id END)
      FROM tenancy.scopes u JOIN tenancy.scopes p ON p.id = u.parent_id WHERE u.id = target;
END;
REVOKE ALL ON FUNCTION tenancy_internal.require_no_hold_of_user(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_no_hold_of_user(uuid) IS
    'internal: raises 55000 if there is a legal hold on a user, on a scope above it, or where it may have rows';

-- Until the transaction ends, no other caller changes the hold that is there.
CREATE FUNCTION tenancy_internal.require_hold_at(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decided uuid;
BEGIN
    SELECT h.decided_at INTO decided FROM tenancy_internal.legal_hold_registry h WHERE h.scope_id = scope FOR UPDATE;
    IF FOUND AND NOT EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = decided AND p.path && tenancy.scope_ids('legal:hold')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('legal_hold_from_above', (SELECT s.slug FROM tenancy.scopes s WHERE s.id = scope));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.require_hold_at(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_hold_at(uuid) IS
    'internal: raises 42501 unless the caller holds legal:hold where the hold on a scope was set, if there is one';

CREATE FUNCTION tenancy_internal.set_legal_hold(scope tenancy.regscope, reason text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked text := tenancy_internal.checked_reason(reason);
    decided uuid;
BEGIN
    PERFORM tenancy_internal.authorize('legal:hold', scope);
    SELECT p.id INTO decided FROM tenancy.scopes s CROSS JOIN LATERAL unnest(s.path) WITH ORDINALITY p (id, place)
     WHERE s.id = scope AND p.id = ANY (tenancy.scope_ids('legal:hold')) ORDER BY p.place LIMIT 1;
    -- Waits for a batch of a purge that is running, of this tenant, or of one above or below the scope; the next one finds the hold.
    PERFORM FROM tenancy.scopes s WHERE s.id = scope FOR NO KEY UPDATE;
    PERFORM FROM tenancy.scopes s JOIN tenancy_internal.tenant_purges p ON p.tenant_id = s.id AND p.state <> 'done'
      WHERE s.path && ARRAY[scope::uuid] OR s.id = ANY ((SELECT h.path FROM tenancy.scopes h WHERE h.id = scope)::uuid[]) FOR NO KEY UPDATE OF s;
    -- Likewise for users that are being forgotten.
    PERFORM FROM tenancy.scopes s JOIN tenancy_internal.user_forgettings f ON f.user_id = s.id AND f.state <> 'done'
      WHERE s.path && ARRAY[scope::uuid] OR s.parent_id = ANY ((SELECT h.path FROM tenancy.scopes h WHERE h.id = scope)::uuid[]) FOR NO KEY UPDATE OF s;
    PERFORM tenancy_internal.require_hold_at(scope);
    INSERT INTO tenancy_internal.legal_hold_registry AS h (scope_id, reason, placed_by, decided_at)
    VALUES (scope, checked, tenancy.user_id(), coalesce(decided, scope))
    ON CONFLICT (scope_id) DO UPDATE
       SET reason = excluded.reason, placed_at = excluded.placed_at, placed_by = excluded.placed_by, decided_at = excluded.decided_at;
    PERFORM tenancy_internal.audit('legal_hold.set', scope, tenancy_internal.user_target(scope), jsonb_build_object('reason', checked));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_legal_hold(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_legal_hold(tenancy.regscope, text) IS 'internal: see set_legal_hold()';
CREATE FUNCTION tenancy.set_legal_hold(scope tenancy.regscope, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_legal_hold(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_legal_hold(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_legal_hold(tenancy.regscope, text) IS
    'Keeps the rows of a scope and of all scopes below it from being purged or forgotten, also by a call that is running, from its next batch on. A '
    'repeated call changes the reason, a line of 1 to 300 printable characters; one set from above needs legal:hold there. No built-in role but super_admin holds legal:hold. Needs legal:hold. Errors: '
    '22023 an invalid reason; 42501 permission denied; 42704 no such scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.release_legal_hold(scope tenancy.regscope, reason text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked text := tenancy_internal.checked_reason(reason);
    before text;
BEGIN
    PERFORM tenancy_internal.authorize('legal:hold', scope);
    PERFORM tenancy_internal.require_hold_at(scope);
    DELETE FROM tenancy_internal.legal_hold_registry h WHERE h.scope_id = scope RETURNING h.reason INTO before;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('legal_hold_not_found', (SELECT s.slug FROM tenancy.scopes s WHERE s.id = scope));
    END IF;
    PERFORM tenancy_internal.audit('legal_hold.released', scope, tenancy_internal.user_target(scope), jsonb_build_object('reason', checked, 'held_for', before));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.release_legal_hold(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.release_legal_hold(tenancy.regscope, text) IS 'internal: see release_legal_hold()';
CREATE FUNCTION tenancy.release_legal_hold(scope tenancy.regscope, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.release_legal_hold(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.release_legal_hold(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.release_legal_hold(tenancy.regscope, text) IS
    'Releases the legal hold on a scope; those on scopes above and below it stay. One that was set by who holds legal:hold above the scope needs it there. reason is a line of 1 to 300 printable characters. Needs legal:hold. Errors: '
    '22023 an invalid reason; 42501 permission denied; 42704 no such scope, or no hold on it. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.forget_hold() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.legal_hold_registry h WHERE h.scope_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_hold() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_hold() IS 'internal: trigger that forgets the hold on a scope that a superuser has deleted';
CREATE TRIGGER forget_hold AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_hold();
