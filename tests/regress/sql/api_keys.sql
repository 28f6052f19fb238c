-- API keys: issued once, stored as a hash, looked up by a public id, expiring, revoked.
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug(tenancy.create_tenant('keys'));
SELECT slug(tenancy.create_user('keys', 'kim'));
SELECT tenancy.issue_api_key('keys/kim', 'laptop') AS laptop, tenancy.issue_api_key('keys/kim', 'ci', now() + '1 hour') AS ci \gset
SELECT :'laptop' ~ '^tnk_[0-9a-f]{32}_[0-9A-Za-z_-]{43}$' AS form, :'laptop' <> :'ci' AS differ;

SELECT id AS ci_id FROM tenancy.api_keys WHERE parent = 'keys' AND name = 'ci' \gset

-- The view shows how each starts and no more.
SELECT name, user_slug, parent, state, expires_at IS NOT NULL AS expires, last_used_at, starts_with(CASE name WHEN 'ci' THEN :'ci' ELSE :'laptop' END, label) AS label, length(label)
FROM tenancy.api_keys WHERE parent = 'keys' ORDER BY name;
SELECT bool_or(position(substr(:'laptop', length(label) + 1) IN k::text) > 0) AS secret_shown FROM tenancy.api_keys k;

-- No role reads the hashes. Without a context the auditor, the administrator and the gateway read the view; the application sees no keys.
-- Only the administrator issues or revokes; for others an existing key and an unknown one get the same error.
SELECT * FROM tenancy_internal.api_key_secrets;
\c - audit_r
SELECT name, state FROM tenancy.api_keys WHERE parent = 'keys' ORDER BY name;
\c - gw_r
SELECT name, state FROM tenancy.api_keys WHERE parent = 'keys' ORDER BY name;
SELECT tenancy.issue_api_key('keys/kim', 'stolen');
\c - app_r
SELECT * FROM tenancy.api_keys;
SELECT tenancy.issue_api_key('00000000-0000-7000-8000-000000000000'::uuid, 'stolen');
SELECT tenancy.revoke_api_key('00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
SELECT tenancy.revoke_api_key(:'ci_id');
\echo :SQLSTATE

-- It works, and its use is noted.
SELECT slug(tenancy.authenticate(:'laptop'));
\c - adm_r
SELECT name, last_used_at IS NOT NULL AS used FROM tenancy.api_keys WHERE parent = 'keys' ORDER BY name;

-- In the whole database there is no text of the key.
\c - postgres
SELECT hash = sha256(convert_to(:'laptop', 'UTF8')) OR position(convert_to(:'laptop', 'UTF8') IN hash) > 0 AS unsalted_text, octet_length(hash) AS bytes
FROM tenancy_internal.api_key_secrets WHERE name = 'laptop';

-- Wrong, in every part.
\c - app_r
SELECT tenancy.authenticate(:'laptop' || 'x');
\echo :SQLSTATE
SELECT tenancy.authenticate(left(:'laptop', -1));
SELECT tenancy.authenticate(left(:'laptop', -1) || CASE right(:'laptop', 1) WHEN 'A' THEN 'E' ELSE 'A' END);
SELECT tenancy.authenticate(' ' || :'laptop');
SELECT tenancy.authenticate(upper(:'laptop'));
SELECT tenancy.authenticate('');
SELECT tenancy.authenticate('tnk_');
SELECT tenancy.authenticate(repeat('x', 100000));
-- The id of one key with the secret of another.
SELECT tenancy.authenticate(left(:'laptop', length(:'laptop') - 20) || right(:'ci', 20));

-- Expired: the time is moved by hand.
SELECT slug(tenancy.authenticate(:'ci'));
\c - postgres
UPDATE tenancy_internal.api_key_secrets SET expires_at = now() WHERE name = 'ci';
SELECT name, state FROM tenancy.api_keys WHERE parent = 'keys' ORDER BY name;
\c - app_r
SELECT tenancy.authenticate(:'ci');
\echo :SQLSTATE

-- Revoked; again is no error.
\c - adm_r
SELECT id AS laptop_id FROM tenancy.api_keys WHERE name = 'laptop' AND parent = 'keys' \gset
SELECT tenancy.revoke_api_key(:'laptop_id');
SELECT revoked_at AS first FROM tenancy.api_keys WHERE id = :'laptop_id' \gset
SELECT tenancy.revoke_api_key(:'laptop_id');
SELECT state, revoked_at = :'first' AS unchanged FROM tenancy.api_keys WHERE id = :'laptop_id';
\c - app_r
SELECT tenancy.authenticate(:'laptop');
\echo :SQLSTATE

-- Bad arguments.
\c - adm_r
SELECT tenancy.issue_api_key('keys/kim', NULL);
\echo :SQLSTATE
SELECT tenancy.issue_api_key('keys/kim', '');
SELECT tenancy.issue_api_key(NULL, 'x');
\echo :SQLSTATE
SELECT tenancy.issue_api_key('keys/kim', 'x', now() - interval '1 second');
\echo :SQLSTATE
SELECT tenancy.issue_api_key('keys/kim', 'x', '-infinity');
SELECT tenancy.issue_api_key('keys/nobody', 'x');
\echo :SQLSTATE
SELECT tenancy.issue_api_key('00000000-0000-7000-8000-0000000000ff'::uuid, 'x');
\echo :SQLSTATE
SELECT tenancy.revoke_api_key(NULL);
\echo :SQLSTATE
SELECT tenancy.revoke_api_key('00000000-0000-7000-8000-0000000000ff');
\echo :SQLSTATE
