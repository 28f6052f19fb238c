-- Tickets: signed, short-lived, for one user and optionally one of its tenants; keys rotate.
\set SHOW_CONTEXT never
\c - gw_r
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('globex/gina', tenant => 'apex') AS gina_apex,
       tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice', '1 second') AS brief,
       tenancy.issue_ticket('acme/alice', '7 days') AS week \gset

-- By authenticate(), or as the setting tenancy.ticket, which is verified at its first use.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug(tenancy.tenant_id()) AS tenant, tenancy.context() ->> 'source' AS source, tenancy.context() ->> 'expires_at' IS NOT NULL AS expires;
COMMIT;
SELECT tenancy.user_id();
SET tenancy.ticket = :'alice';
SELECT slug(tenancy.user_id()) AS "user", tenancy.context() ->> 'source' AS source;
SELECT slug(tenancy.user_id()) AS again;
SHOW tenancy.ticket;
RESET tenancy.ticket;
SELECT tenancy.user_id();
BEGIN;
SET LOCAL tenancy.ticket = :'week';
SELECT slug(tenancy.user_id());
COMMIT;
SELECT tenancy.user_id();

-- For one tenant of a fleet: no wider than that.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina_apex'));
SELECT slug(tenancy.tenant_id()) AS tenant, (SELECT array_agg(slug(t)) FROM unnest(tenancy.tenant_ids('data:read')) t) AS may;
SELECT tenancy.select_tenant('acme');
ROLLBACK;
-- nor by the id
\c - adm_r
SELECT id AS acme FROM tenancy.tenants WHERE slug = 'acme' \gset
\c - app_r
BEGIN;
SET LOCAL tenancy.ticket = :'gina_apex';
\set VERBOSITY sqlstate
SELECT tenancy.select_tenant(:'acme');
\set VERBOSITY default
ROLLBACK;

-- An authenticated context precedes the ticket, but one transaction has one principal.
SET tenancy.ticket = :'alice';
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.user_id());
COMMIT;
SELECT slug(tenancy.user_id());
BEGIN;
SELECT slug(tenancy.user_id());
SELECT tenancy.authenticate(:'gina');
\echo :SQLSTATE
ROLLBACK;
RESET tenancy.ticket;

-- Tampered with, or not a ticket: taken by SET, refused at the first use.
SET tenancy.ticket = 'nonsense';
SELECT tenancy.user_id();
\echo :SQLSTATE
SELECT set_config('tenancy.ticket', :'alice' || 'x', false);
SELECT tenancy.user_id();
SELECT set_config('tenancy.ticket', left(:'alice', -1) || CASE right(:'alice', 1) WHEN 'A' THEN 'E' ELSE 'A' END, false);
SELECT tenancy.user_id();
-- the claims of one with the signature of another
SELECT tenancy.authenticate(regexp_replace(:'alice', '[^.]*$', split_part(:'gina', '.', 3)));
\echo :SQLSTATE
RESET tenancy.ticket;

-- Run out.
SELECT pg_sleep(2.1);
SELECT tenancy.authenticate(:'brief');
\echo :SQLSTATE
SET tenancy.ticket = :'brief';
SELECT tenancy.user_id();
\echo :SQLSTATE
RESET tenancy.ticket;

-- Rotation: old tickets hold for the grace, with none they are void at once.
\c - adm_r
SELECT tenancy.rotate_signing_key() IS NOT NULL AS rotated;
SELECT tenancy.issue_ticket('acme/alice') AS alice2 \gset
\c - app_r
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug(tenancy.authenticate(:'alice2'));
\c - adm_r
SELECT tenancy.rotate_signing_key('0') IS NOT NULL AS rotated;
SELECT tenancy.issue_ticket('acme/alice') AS alice3 \gset
\c - app_r
SELECT tenancy.authenticate(:'alice2');
\echo :SQLSTATE
SELECT slug(tenancy.authenticate(:'alice3'));
-- A rotation without grace ends the tickets of every older key, also where an earlier one gave it longer.
SELECT slug(tenancy.authenticate(:'alice'));

-- The gateway and the administrator may issue, the administrator may rotate, no role may read the keys.
SELECT tenancy.issue_ticket('00000000-0000-7000-8000-0000000000ff'::uuid);
SELECT tenancy.rotate_signing_key();
\c - gw_r
SELECT tenancy.rotate_signing_key();
SELECT * FROM tenancy_internal.signing_keys;
\c - adm_r
SELECT * FROM tenancy_internal.signing_keys;

-- Bad arguments.
SELECT tenancy.issue_ticket('acme/alice', '0.5 seconds');
\echo :SQLSTATE
SELECT tenancy.issue_ticket('acme/alice', '0');
SELECT tenancy.issue_ticket('acme/alice', '-1 day');
SELECT tenancy.issue_ticket('acme/alice', '7 days 1 second');
SELECT tenancy.issue_ticket('acme/alice', NULL);
\echo :SQLSTATE
SELECT tenancy.issue_ticket(NULL);
\set VERBOSITY sqlstate
-- not a user
SELECT tenancy.issue_ticket('acme');
-- not one of its tenants
SELECT tenancy.issue_ticket('globex/gina', tenant => 'beta');
SELECT tenancy.issue_ticket('globex/gina', tenant => 'globex');
\set VERBOSITY default
SELECT tenancy.issue_ticket('acme/nobody');
SELECT tenancy.issue_ticket('acme/alice', tenant => 'acme') IS NOT NULL AS own;
SELECT tenancy.rotate_signing_key('-1 second');
\echo :SQLSTATE
SELECT tenancy.rotate_signing_key('8 days');
SELECT tenancy.rotate_signing_key(NULL);
