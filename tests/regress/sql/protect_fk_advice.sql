-- A foreign key between protected tables without the tenant column lets a row refer to another tenant's: protect() reports it, with the remedy.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA fk AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE fk.chats (id bigint PRIMARY KEY, tenant_id uuid, title text);
CREATE TABLE fk.messages (id bigint PRIMARY KEY, tenant_id uuid, chat_id bigint NOT NULL REFERENCES fk.chats ON DELETE CASCADE,
                          reply_to bigint REFERENCES fk.messages ON DELETE SET NULL, body text);
CREATE TABLE fk.countries (code text PRIMARY KEY);
CREATE TABLE fk.addresses (tenant_id uuid, id bigint, country text REFERENCES fk.countries, PRIMARY KEY (tenant_id, id));
CREATE TABLE fk.parcels (tenant_id uuid, address bigint, FOREIGN KEY (tenant_id, address) REFERENCES fk.addresses (tenant_id, id));
CREATE TABLE fk.keyed (account bigint, chat_id bigint REFERENCES fk.chats);

-- The first of the two has nothing to report: the other end is not protected.
SELECT statement, note FROM tenancy.protect('fk.chats') WHERE kind = 'advice' ORDER BY step;
SELECT step, statement, note FROM tenancy.protect('fk.messages') WHERE kind = 'advice' ORDER BY step;
-- A foreign key to a table that is not protected, and one that carries the tenant, are no matter.
SELECT count(*) FILTER (WHERE kind = 'advice') FROM tenancy.protect('fk.addresses');
SELECT count(*) FILTER (WHERE kind = 'advice') FROM tenancy.protect('fk.parcels');
-- Tenant columns of two kinds do not pair.
SELECT statement, note FROM tenancy.protect('fk.keyed', 'account') WHERE kind = 'advice' ORDER BY step;

-- The hole, as an application finds it.
\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('apex/carol') AS carol \gset
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO fk.chats (id, title) VALUES (1, 'of acme');
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
INSERT INTO fk.messages (id, chat_id, body) VALUES (1, 1, 'of apex, in a chat of acme');
COMMIT;
-- The advice finds such rows and does not pass over them.
\c - owner_r
SELECT statement FROM tenancy.protect('fk.messages') WHERE kind = 'advice' AND statement <> '' ORDER BY step \gexec
BEGIN;
SELECT tenancy.maintenance('remove the strange row');
DELETE FROM fk.messages;
COMMIT;
-- Executed, it closes the hole.
SELECT statement FROM tenancy.protect('fk.messages') WHERE kind = 'advice' AND statement <> '' ORDER BY step \gexec
SELECT count(*) FILTER (WHERE kind = 'advice') AS left_to_do FROM tenancy.protect('fk.messages');
SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE conrelid = 'fk.messages'::regclass AND contype = 'f' ORDER BY 1;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'carol'));
SAVEPOINT s;
INSERT INTO fk.messages (id, chat_id, body) VALUES (1, 1, 'of apex, in a chat of acme');
\echo :SQLSTATE
ROLLBACK TO s;
INSERT INTO fk.chats (id, title) VALUES (2, 'of apex');
INSERT INTO fk.messages (id, chat_id, reply_to, body) VALUES (1, 2, NULL, 'first'), (2, 2, 1, 'second');
-- ON DELETE SET NULL leaves the tenant, ON DELETE CASCADE still cascades.
DELETE FROM fk.messages WHERE id = 1;
SELECT slug(tenant_id), id, reply_to, body FROM fk.messages;
DELETE FROM fk.chats WHERE id = 2;
SELECT count(*) FROM fk.messages;
COMMIT;
