-- Secrets -----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.set_secret(scope tenancy.regscope, name text, value text, inherit boolean) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_set_secret_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.set_secret(tenancy.regscope, text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_secret(tenancy.regscope, text, text, boolean) IS 'internal: see set_secret()';
CREATE FUNCTION tenancy.set_secret(scope tenancy.regscope, name text, value text, inherit boolean DEFAULT false) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_secret(tenancy.regscope, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_secret(tenancy.regscope, text, text, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_secret(tenancy.regscope, text, text, boolean) IS
    'Sets a secret of the platform, a partner, a tenant or a project, and returns its version, which counts up. name: 1 to 100 '
    'letters, digits and . _ / -. value: 1 byte to 64 kB of text, stored sealed under the key of the tenant (else of the partner or '
    'the platform). inherit: a partner''s or the platform''s secret is also for the tenants below, unless one of them has its own. '
    'Neither the server''s log nor pg_stat_statements shows the value of a statement that names this function. Errors: 22023 an '
    'invalid argument; 23514 a user; 42501 permission denied; 42704 no such scope; 55000 no keyring. Needs secrets:manage in the '
    'scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_secret(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_remove_secret_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.remove_secret(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_secret(tenancy.regscope, text) IS 'internal: see remove_secret()';
CREATE FUNCTION tenancy.remove_secret(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_secret(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_secret(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_secret(tenancy.regscope, text) IS
    'Removes a secret of a scope. Backups and dumps keep its sealed form until the key is erased. Errors: 22023 NULL; 42501 '
    'permission denied; 42704 no such scope or secret. Needs secrets:manage in the scope. For tenancy_app, tenancy_gateway (with a '
    'context), tenancy_admin';

CREATE FUNCTION tenancy.secret(name text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'secret_wrapper';
REVOKE ALL ON FUNCTION tenancy.secret(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.secret(text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.secret(text) IS
    'Returns the value of a secret: the selected project''s, else the tenant''s, else, if set with inherit => true, the partner''s or '
    'the platform''s. Without a tenant, that of the scope that the user belongs to. Do not cast the result: an error would show '
    'it. Refused where the server would store it, as in a materialized view. Errors: 0A000 refused there; 22023 NULL; 42501 '
    'permission denied; 42704 no such secret; 55000 no context, no keyring, or an erased key; XX001 what is stored was changed. '
    'Needs secrets:use in the project or tenant, for users of the platform while elevated. For tenancy_app, tenancy_gateway, '
    'tenancy_admin';

CREATE VIEW tenancy.secrets WITH (security_barrier) AS
    SELECT e.scope_id, s.level, s.slug AS scope, e.name, e.version, e.inherit, e.set_at, e.set_by, e.key_id
      FROM tenancy_internal.sealed_secrets e
      JOIN tenancy.scopes s ON s.id = e.scope_id
     WHERE (s.path && tenancy.scope_ids('secrets:manage') OR s.path && tenancy.scope_ids('secrets:use')) AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.secrets FROM PUBLIC;
GRANT SELECT ON tenancy.secrets TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.secrets IS
    'Names, versions and dates of secrets, never values. set_by NULL: an administrator. key_id: the key of the keyring that seals it. '
    'Shows scopes where the reader holds secrets:manage or secrets:use; without a context tenancy_gateway, tenancy_admin and '
    'tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

-- Keys --------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.rotate_tenant_key(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_rotate_tenant_key_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.rotate_tenant_key(tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rotate_tenant_key(tenancy.regscope) IS 'internal: see rotate_tenant_key()';
CREATE FUNCTION tenancy.rotate_tenant_key(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.rotate_tenant_key(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rotate_tenant_key(tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.rotate_tenant_key(tenancy.regscope) IS
    'Seals the secrets of a tenant (or of a partner or the platform itself) under a new key, and returns how many. Readers go on '
    'meanwhile. The old key stays in the keyring, for backups and for an abort, until drop_old_tenant_keys(). Errors: 22023 a '
    'project; 42501 permission denied; 42704 no such scope; 55000 no keyring, or an erased key. Needs secrets:manage in the scope. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.drop_old_tenant_keys(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_drop_old_tenant_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.drop_old_tenant_keys(tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_old_tenant_keys(tenancy.regscope) IS 'internal: see drop_old_tenant_keys()';
CREATE FUNCTION tenancy.drop_old_tenant_keys(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.drop_old_tenant_keys(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_old_tenant_keys(tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_old_tenant_keys(tenancy.regscope) IS
    'Removes the keys of a tenant, a partner or the platform from the keyring that no secret needs any more, and returns how many. '
    'Backups from before rotate_tenant_key() then open no more. Takes effect at once: a rollback does not undo it. Errors: 22023 a '
    'project; 42501 permission denied; 42704 no such scope; 55000 no keyring. Needs tenants:manage in the scope. For tenancy_app, '
    'tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.erase_tenant_key(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_erase_tenant_key_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.erase_tenant_key(tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.erase_tenant_key(tenancy.regscope) IS 'internal: see erase_tenant_key()';
CREATE FUNCTION tenancy.erase_tenant_key(scope tenancy.regscope) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.erase_tenant_key(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.erase_tenant_key(tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.erase_tenant_key(tenancy.regscope) IS
    'Erases all keys of a tenant, a partner or the platform from the keyring, deletes the secrets that they sealed, and returns how '
    'many keys there were. No backup of the database opens them afterwards. Takes effect at once: a rollback brings the rows back, '
    'and not the keys. The next set_secret() creates a new key. Errors: 22023 a project; 42501 permission denied; 42704 no such scope; '
    '55000 no keyring. Needs tenants:manage in the scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.reseal_keyring() RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_reseal_keyring_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.reseal_keyring() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.reseal_keyring() IS 'internal: see reseal_keyring()';
CREATE FUNCTION tenancy.reseal_keyring() RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.reseal_keyring() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.reseal_keyring() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.reseal_keyring() IS
    'Seals every key of the keyring under the first master key of tenancy.master_key_file or tenancy.master_key_command that is not '
    'yet, and returns how many. Call it after putting a new master key before the old one; then the old one can go. Readers go on '
    'meanwhile. If it is interrupted, call it again. Takes effect at once: a rollback does not undo it. Errors: 42501 not an '
    'administrator; 55000 no keyring, or a key of another master key. For tenancy_admin';
