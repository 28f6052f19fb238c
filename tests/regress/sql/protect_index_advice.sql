-- protect() counts the indexes that serve a tenant badly; index_advice() names each, with the statement of a better one.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA ix AUTHORIZATION owner_r;
\c - owner_r
CREATE FUNCTION ix.folded(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
CREATE TABLE ix."Sales Orders" (id bigint PRIMARY KEY, "Customer" uuid NOT NULL, "order" numeric UNIQUE, email text UNIQUE, made timestamptz, tags text[], span int4range, at point);
CREATE INDEX by_order ON ix."Sales Orders" ("order" DESC NULLS LAST) INCLUDE (email) WITH (fillfactor = 80) WHERE email <> 'a, (b)';
CREATE INDEX "By ""made""" ON ix."Sales Orders" (made, "Customer");
CREATE INDEX by_email ON ix."Sales Orders" (lower(email) COLLATE "C" text_pattern_ops);
CREATE INDEX by_folded ON ix."Sales Orders" (ix.folded(email));
CREATE INDEX by_hash ON ix."Sales Orders" USING hash ("order");
CREATE INDEX by_tags ON ix."Sales Orders" USING gin (tags);
CREATE INDEX by_span ON ix."Sales Orders" USING spgist (span);
CREATE INDEX by_place ON ix."Sales Orders" USING gist (at);
CREATE INDEX by_range ON ix."Sales Orders" USING brin (made);
CREATE INDEX of_one ON ix."Sales Orders" (made) WHERE "Customer" = '0190aaaa-0000-7000-8000-00000000dead';
CREATE INDEX good ON ix."Sales Orders" ("Customer", email);
CREATE TABLE ix.plain (tenant_id uuid, id bigint, PRIMARY KEY (tenant_id, id));

-- Before it is protected, and by what protect() would say.
SELECT kind, statement, note FROM tenancy.protect('ix."Sales Orders"', 'Customer', dry_run => true) WHERE kind = 'advice' AND note LIKE 'indexes%';
SELECT count(*) FROM tenancy.index_advice('ix."Sales Orders"', 'Customer');
SELECT count(*) FROM tenancy.index_advice('ix."Sales Orders"');
\echo :SQLSTATE
SELECT statement, note FROM tenancy.protect('ix."Sales Orders"', 'Customer') WHERE kind = 'advice' AND note LIKE 'indexes%';
-- A table whose indexes are as they should be.
SELECT count(*) FILTER (WHERE kind = 'advice') FROM tenancy.protect('ix.plain');

\pset format aligned
\pset expanded on
SELECT * FROM tenancy.index_advice('ix."Sales Orders"');
\pset expanded off
\pset format unaligned

-- Executed, there is nothing left to advise but what needs a decision. Conditions of indexes, concurrently, are a superuser's.
\c - postgres
SELECT statement FROM tenancy.index_advice('ix."Sales Orders"') WHERE statement ~ '^CREATE INDEX' AND statement !~ 'USING' \gexec
SELECT index_name, kind, statement FROM tenancy.index_advice('ix."Sales Orders"');
SELECT indexdef FROM pg_indexes WHERE schemaname = 'ix' AND indexdef ~ '\("Customer", ' ORDER BY indexdef COLLATE "C";

-- Administrators and auditors see the advice on all tables; the application sees none.
\c - app_r
SELECT * FROM tenancy.index_advice();
\echo :SQLSTATE
\c - owner_r
DROP TABLE ix."Sales Orders", ix.plain;
SELECT count(*) FROM tenancy.index_advice() WHERE table_name LIKE 'ix.%';
