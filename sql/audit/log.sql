-- The audit log, and a chain of seals that shows whether it was changed.

CREATE FUNCTION tenancy_internal.origin() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_origin_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.origin() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.origin() IS 'internal: returns the cluster''s system identifier; transaction ids are meaningless without it';

-- No index and no default here: partitions are dumped as tables of their own, with theirs, and one of the parent's would clash
-- when CREATE EXTENSION has made the parent and the dump attaches them.
CREATE TABLE tenancy.audit_log (
    at         timestamptz NOT NULL,
    origin     bigint NOT NULL,
    xid        xid8 NOT NULL,
    id         uuid NOT NULL,
    user_id    uuid,
    tenant_id  uuid,
    partner_id uuid,
    action     text NOT NULL,
    target     text,
    role       text NOT NULL,
    login      text NOT NULL,
    client     inet,
    details    jsonb NOT NULL
) PARTITION BY RANGE (at);
REVOKE ALL ON tenancy.audit_log FROM PUBLIC;
GRANT SELECT ON tenancy.audit_log TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.audit_log IS
    'Audit log: who did what to which object. Append-only for every role. Shows the entries of scopes in which the reader holds '
    'audit:view. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.audit_log.at IS 'Time at which the entry was written. Each partition holds one month in UTC';
COMMENT ON COLUMN tenancy.audit_log.origin IS 'System identifier of the cluster that wrote the entry';
COMMENT ON COLUMN tenancy.audit_log.xid IS 'Transaction that wrote the entry; meaningless without origin';
COMMENT ON COLUMN tenancy.audit_log.user_id IS 'The context''s user; for a login, the user that logged in';
COMMENT ON COLUMN tenancy.audit_log.tenant_id IS 'Tenant that the entry is about';
COMMENT ON COLUMN tenancy.audit_log.partner_id IS 'Partner that the entry is about';
COMMENT ON COLUMN tenancy.audit_log.action IS 'Action; those of the extension itself begin with tenancy.';
COMMENT ON COLUMN tenancy.audit_log.target IS 'Id or name of the object of the action';
COMMENT ON COLUMN tenancy.audit_log.role IS 'Database role that acted';
COMMENT ON COLUMN tenancy.audit_log.login IS 'Database role that logged in';
COMMENT ON COLUMN tenancy.audit_log.client IS 'Address of the client; NULL on a Unix socket';

ALTER TABLE tenancy.audit_log ENABLE ROW LEVEL SECURITY;
-- Each arm can use an index: (tenant_id, at), (partner_id, at), and (origin, …) for readers who hold it at the platform.
CREATE POLICY audit_view ON tenancy.audit_log FOR SELECT USING (
    tenant_id = ANY (tenancy.scope_ids('audit:view'))
    OR partner_id = ANY (tenancy.scope_ids('audit:view'))
    OR origin >= CASE WHEN '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('audit:view'))
                      THEN '-9223372036854775808'::bigint ELSE 9223372036854775807 END);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy.audit_log FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.append_only('tenancy.audit_retention');
ALTER TABLE tenancy.audit_log ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION tenancy_internal.make_audit_partition(month date) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT tenancy_internal.make_month('tenancy.audit_log', month, 'tenancy.audit_retention',
        ARRAY['UNIQUE INDEX ON %s (origin, xid, id)', 'INDEX ON %s (tenant_id, at)', 'INDEX ON %s (partner_id, at)']);
END;
REVOKE ALL ON FUNCTION tenancy_internal.make_audit_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.make_audit_partition(date) IS 'internal: creates the audit log''s partition of a month, if it is missing';

-- Writing ------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.audit(action text, scope uuid, target text, details jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_audit_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.audit(text, uuid, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.audit(text, uuid, text, jsonb) IS
    'internal: adds an entry of the extension, in the caller''s transaction. scope: the object of the action, whose tenant and '
    'partner the entry gets; NULL: the context''s';

CREATE FUNCTION tenancy_internal.checked_reason(reason text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_checked_reason_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.checked_reason(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.checked_reason(text) IS
    'internal: returns the reason without surrounding white space. Errors: 22023 it is not one line of 1 to 300 printable '
    'characters';

CREATE FUNCTION tenancy.audit(action text, target text DEFAULT NULL, details jsonb DEFAULT '{}') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_audit';
REVOKE ALL ON FUNCTION tenancy.audit(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.audit(text, text, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.audit(text, text, jsonb) IS
    'Adds an entry of the application to the audit log, with the context''s user, tenant and partner, and returns its id. action is '
    'like invoice.sent; target names the object of the action; details is a JSON object of at most 64 kB. Errors: 22023 an invalid '
    'action, target or details; 42501 the context does not hold audit:write; 55000 no context (tenancy_admin needs none). For '
    'tenancy_app, tenancy_gateway, tenancy_admin';
