--
-- PostgreSQL database dump
--

\restrict aSph56Hbfzku2Rkd2nKakSCW63p6c88h9vj0UCQ5idONwUmXf4rsVVPU8VtYEsK

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: app; Type: SCHEMA; Schema: -; Owner: tenancy_admin
--

CREATE SCHEMA app;


ALTER SCHEMA app OWNER TO tenancy_admin;

--
-- Name: tenancy; Type: SCHEMA; Schema: -; Owner: tenancy_owner
--

CREATE SCHEMA tenancy;


ALTER SCHEMA tenancy OWNER TO tenancy_owner;

--
-- Name: SCHEMA tenancy; Type: COMMENT; Schema: -; Owner: tenancy_owner
--

COMMENT ON SCHEMA tenancy IS 'multi-tenancy: the tree of tenants, the context, row isolation';


--
-- Name: tenancy; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS tenancy WITH SCHEMA tenancy;


--
-- Name: EXTENSION tenancy; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION tenancy IS 'multi-tenancy in the engine: unforgeable context, isolation, tenant tree';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: notes; Type: TABLE; Schema: app; Owner: tenancy_admin
--

CREATE TABLE app.notes (
    id integer NOT NULL,
    tenant_id uuid DEFAULT tenancy.tenant_id() NOT NULL,
    body text NOT NULL
);

ALTER TABLE ONLY app.notes FORCE ROW LEVEL SECURITY;


ALTER TABLE app.notes OWNER TO tenancy_admin;

--
-- Name: audit_log_2026_11; Type: TABLE; Schema: tenancy; Owner: tenancy_owner
--

CREATE TABLE tenancy.audit_log_2026_11 (
    at timestamp with time zone NOT NULL,
    origin bigint NOT NULL,
    xid xid8 NOT NULL,
    id uuid NOT NULL,
    user_id uuid,
    tenant_id uuid,
    partner_id uuid,
    action text NOT NULL,
    target text,
    role text NOT NULL,
    login text NOT NULL,
    client inet,
    details jsonb NOT NULL
);


ALTER TABLE tenancy.audit_log_2026_11 OWNER TO tenancy_owner;

--
-- Name: TABLE audit_log_2026_11; Type: COMMENT; Schema: tenancy; Owner: tenancy_owner
--

COMMENT ON TABLE tenancy.audit_log_2026_11 IS 'a month of tenancy.audit_log';


--
-- Name: audit_log_2026_12; Type: TABLE; Schema: tenancy; Owner: tenancy_owner
--

CREATE TABLE tenancy.audit_log_2026_12 (
    at timestamp with time zone NOT NULL,
    origin bigint NOT NULL,
    xid xid8 NOT NULL,
    id uuid NOT NULL,
    user_id uuid,
    tenant_id uuid,
    partner_id uuid,
    action text NOT NULL,
    target text,
    role text NOT NULL,
    login text NOT NULL,
    client inet,
    details jsonb NOT NULL
);


ALTER TABLE tenancy.audit_log_2026_12 OWNER TO tenancy_owner;

--
-- Name: TABLE audit_log_2026_12; Type: COMMENT; Schema: tenancy; Owner: tenancy_owner
--

COMMENT ON TABLE tenancy.audit_log_2026_12 IS 'a month of tenancy.audit_log';


--
-- Name: usage_events_2026_11; Type: TABLE; Schema: tenancy; Owner: tenancy_owner
--

CREATE TABLE tenancy.usage_events_2026_11 (
    at timestamp with time zone NOT NULL,
    origin bigint NOT NULL,
    xid xid8 NOT NULL,
    id uuid NOT NULL,
    metric_id integer NOT NULL,
    partner_id uuid,
    tenant_id uuid,
    project_id uuid,
    user_id uuid,
    quantity bigint NOT NULL,
    cost bigint NOT NULL,
    value uuid,
    dimensions jsonb,
    attributes jsonb
);


ALTER TABLE tenancy.usage_events_2026_11 OWNER TO tenancy_owner;

--
-- Name: TABLE usage_events_2026_11; Type: COMMENT; Schema: tenancy; Owner: tenancy_owner
--

COMMENT ON TABLE tenancy.usage_events_2026_11 IS 'a month of tenancy.usage_events';


--
-- Name: usage_events_2026_12; Type: TABLE; Schema: tenancy; Owner: tenancy_owner
--

CREATE TABLE tenancy.usage_events_2026_12 (
    at timestamp with time zone NOT NULL,
    origin bigint NOT NULL,
    xid xid8 NOT NULL,
    id uuid NOT NULL,
    metric_id integer NOT NULL,
    partner_id uuid,
    tenant_id uuid,
    project_id uuid,
    user_id uuid,
    quantity bigint NOT NULL,
    cost bigint NOT NULL,
    value uuid,
    dimensions jsonb,
    attributes jsonb
);


ALTER TABLE tenancy.usage_events_2026_12 OWNER TO tenancy_owner;

--
-- Name: TABLE usage_events_2026_12; Type: COMMENT; Schema: tenancy; Owner: tenancy_owner
--

COMMENT ON TABLE tenancy.usage_events_2026_12 IS 'a month of tenancy.usage_events';


--
-- Name: audit_log_2026_11; Type: TABLE ATTACH; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE ONLY tenancy.audit_log ATTACH PARTITION tenancy.audit_log_2026_11 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');


--
-- Name: audit_log_2026_12; Type: TABLE ATTACH; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE ONLY tenancy.audit_log ATTACH PARTITION tenancy.audit_log_2026_12 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');


--
-- Name: usage_events_2026_11; Type: TABLE ATTACH; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE ONLY tenancy.usage_events ATTACH PARTITION tenancy.usage_events_2026_11 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');


--
-- Name: usage_events_2026_12; Type: TABLE ATTACH; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE ONLY tenancy.usage_events ATTACH PARTITION tenancy.usage_events_2026_12 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');


--
-- Data for Name: notes; Type: TABLE DATA; Schema: app; Owner: tenancy_admin
--

COPY app.notes (id, tenant_id, body) FROM stdin;
1	01a22289-1aef-76e8-b35e-353e515a4001	a line\nCOPY tenancy.role_definitions FROM stdin;
\.


--
-- Data for Name: allowed_networks; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.allowed_networks (scope_id, networks) FROM stdin;
01a22289-1a28-71b5-935e-55875adc5524	{127.0.0.0/8}
\.


--
-- Data for Name: api_key_secrets; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.api_key_secrets (id, user_id, name, label, hash, created_at, expires_at, revoked_at, elevation_id) FROM stdin;
01a22289-1ba9-7361-ad51-03ae9cebd27b	01a22289-1b11-75fd-b293-59c5e3f005b4	laptop	tnk_01a222891ba97361ad5103ae	\\x4748d680180987ef7d203916768f5e66927c24f598b6425cf4a3db17cd864ec1	2026-11-28 14:22:20.583779+00	\N	\N	\N
\.


--
-- Data for Name: api_key_uses; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.api_key_uses (key_id, last_used_at) FROM stdin;
01a22289-1ba9-7361-ad51-03ae9cebd27b	\N
\.


--
-- Data for Name: audit_log_2026_11; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.audit_log_2026_11 (at, origin, xid, id, user_id, tenant_id, partner_id, action, target, role, login, client, details) FROM stdin;
2026-11-28 14:22:20.22918+00	7713227528880379662	727	01a22289-1a45-7762-94b6-e880a4e0005d	\N	\N	01a22289-1a28-71b5-935e-55875adc5524	tenancy.scope.created	globex	postgres	postgres	\N	{"level": "partner"}
2026-11-28 14:22:20.428858+00	7713227528880379662	731	01a22289-1b0c-75aa-99af-d96cbe981769	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.scope.created	acme	postgres	postgres	\N	{"level": "tenant"}
2026-11-28 14:22:20.434738+00	7713227528880379662	736	01a22289-1b12-75fa-bc24-2c56e4f40458	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.scope.created	alice	postgres	postgres	\N	{"level": "user"}
2026-11-28 14:22:20.463213+00	7713227528880379662	736	01a22289-1b2f-7093-83d7-fb0bb0eada30	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.role.assigned	member	postgres	postgres	\N	{"user": "01a22289-1b11-75fd-b293-59c5e3f005b4"}
2026-11-28 14:22:20.494756+00	7713227528880379662	739	01a22289-1b4e-70bd-b7ec-c741d46dc253	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.scope.created	red	postgres	postgres	\N	{"level": "project"}
2026-11-28 14:22:20.544296+00	7713227528880379662	742	01a22289-1b80-728b-8ef9-7a7a9e2a6154	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.role.defined	reader	postgres	postgres	\N	{"before": null, "permissions": ["data:read"]}
2026-11-28 14:22:20.578941+00	7713227528880379662	747	01a22289-1ba2-706e-bc78-a0f235c0c732	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.role.assigned	reader	postgres	postgres	\N	{"user": "01a22289-1b11-75fd-b293-59c5e3f005b4"}
2026-11-28 14:22:20.587218+00	7713227528880379662	750	01a22289-1bab-77da-828e-e5eb94863f10	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.key.issued	tnk_01a222891ba97361ad5103ae	postgres	postgres	\N	{}
2026-11-28 14:22:20.654519+00	7713227528880379662	755	01a22289-1bee-7178-8531-e1e6390263c5	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.identity.added	https://id.example.com/	postgres	postgres	\N	{"keys": null, "audiences": ["notes"], "single_use": false, "user_claim": "sub", "create_users": true, "groups_claim": "groups", "tenant_claim": null}
2026-11-28 14:22:20.671581+00	7713227528880379662	760	01a22289-1bff-71dc-a248-ea2fa5498873	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.identity.group_mapped	staff	postgres	postgres	\N	{"role": "member", "issuer": "https://id.example.com/"}
2026-11-28 14:22:20.693411+00	7713227528880379662	760	01a22289-1c15-71d3-87e3-d97e13f929aa	\N	\N	01a22289-1a28-71b5-935e-55875adc5524	tenancy.networks.set	\N	postgres	postgres	\N	{"networks": ["127.0.0.0/8"]}
2026-11-28 14:22:20.703533+00	7713227528880379662	763	01a22289-1c1f-7685-9fcc-550f6c9d51fd	\N	\N	\N	tenancy.metric.defined	tokens	postgres	postgres	\N	{"unit": "tokens", "price": 0.5, "prices": null, "dimensions": ["model"], "aggregation": "sum"}
2026-11-28 14:22:20.73753+00	7713227528880379662	765	01a22289-1c41-7307-9b0f-04067ae16d9d	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.budget.set	tokens	postgres	postgres	\N	{"hard": true, "amount": 100, "period": "total", "imposed": true}
2026-11-28 14:22:20.7777+00	7713227528880379662	767	01a22289-1c69-7546-ac33-95de3d1f8042	\N	01a22289-1aef-76e8-b35e-353e515a4001	01a22289-1a28-71b5-935e-55875adc5524	tenancy.credit.granted	tokens	postgres	postgres	\N	{"note": "welcome", "amount": 20, "credit": "01a22289-1c68-7157-9582-e48a01012175", "period": "total", "imposed": true, "priority": 50, "effective_at": "2026-11-28T14:22:20.750879+00:00"}
2026-11-28 14:22:22.409276+00	7713227528880379662	773	01a22289-22c9-7255-aa9b-77055fd6ef5f	\N	\N	\N	tenancy.protected	app.notes	tenancy_admin	postgres	\N	{"shared": false, "owner_column": null, "tenant_column": "tenant_id", "project_column": null, "read_permission": "data:read", "write_permission": "data:write"}
2026-11-28 14:22:22.439215+00	7713227528880379662	775	01a22289-22e7-732a-988f-df3f1c450d67	\N	\N	\N	note.written	tenancy.usage_events	postgres	postgres	\N	{"table": "tenancy.role_definitions"}
\.


--
-- Data for Name: audit_log_2026_12; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.audit_log_2026_12 (at, origin, xid, id, user_id, tenant_id, partner_id, action, target, role, login, client, details) FROM stdin;
\.


--
-- Data for Name: audit_retired; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.audit_retired (partition, from_at, to_at, entries, last_seal, retired_at) FROM stdin;
\.


--
-- Data for Name: audit_seals; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.audit_seals (id, sealed_at, origin, xid_from, xid_to, id_to, ids, ats, digests, previous, hash) FROM stdin;
1	2026-11-28 14:22:20.6221+00	7713227528880379662	727	750	01a22289-1bab-77da-828e-e5eb94863f10	{01a22289-1a45-7762-94b6-e880a4e0005d,01a22289-1b0c-75aa-99af-d96cbe981769,01a22289-1b12-75fa-bc24-2c56e4f40458,01a22289-1b2f-7093-83d7-fb0bb0eada30,01a22289-1b4e-70bd-b7ec-c741d46dc253,01a22289-1b80-728b-8ef9-7a7a9e2a6154,01a22289-1ba2-706e-bc78-a0f235c0c732,01a22289-1bab-77da-828e-e5eb94863f10}	{"2026-11-28 14:22:20.22918+00","2026-11-28 14:22:20.428858+00","2026-11-28 14:22:20.434738+00","2026-11-28 14:22:20.463213+00","2026-11-28 14:22:20.494756+00","2026-11-28 14:22:20.544296+00","2026-11-28 14:22:20.578941+00","2026-11-28 14:22:20.587218+00"}	{"\\\\x4a6df17fd169734ef31b16a8e71e3a643874d21a6c61a097fc62c657f26b5130","\\\\x9830d3adbefcb01494dc51f45a13c9861f50946fcc89d22ecbe2e6cbbea71788","\\\\x0a1e8623a66f5f5355aa92557507fc181a52ee6a95fb344cd6e4dcd12db3b9c1","\\\\xcdbc67cddab1789f82dcea04ad21b5138ff12811ec617491d1dd3cdd6c6d24e5","\\\\xd9962b53cd0178e214691e73428da308fb9c8f8741ebb84063a2a0103932aed2","\\\\xa29c8d6217bceee6703a7418aba93abaf1e1351c88ac9b0262895f7efef82fe7","\\\\xb61cc4534f458be3095ea3d6bc3eaf87d50999ad5a05ba4d85af21e46b2bfd85","\\\\x982fb46e7580ce9ffbd807e510330ff6f70f0d3797ef46aadb23141ece294978"}	\\x	\\x33ea95c60bdc0c1952504af379d969eb92306c60a0f3be5291660a570300b73c
2	2026-11-28 14:22:23.447328+00	7713227528880379662	755	775	01a22289-22e7-732a-988f-df3f1c450d67	{01a22289-1bee-7178-8531-e1e6390263c5,01a22289-1bff-71dc-a248-ea2fa5498873,01a22289-1c15-71d3-87e3-d97e13f929aa,01a22289-1c1f-7685-9fcc-550f6c9d51fd,01a22289-1c41-7307-9b0f-04067ae16d9d,01a22289-1c69-7546-ac33-95de3d1f8042,01a22289-22c9-7255-aa9b-77055fd6ef5f,01a22289-22e7-732a-988f-df3f1c450d67}	{"2026-11-28 14:22:20.654519+00","2026-11-28 14:22:20.671581+00","2026-11-28 14:22:20.693411+00","2026-11-28 14:22:20.703533+00","2026-11-28 14:22:20.73753+00","2026-11-28 14:22:20.7777+00","2026-11-28 14:22:22.409276+00","2026-11-28 14:22:22.439215+00"}	{"\\\\x008880fc00f5fa5ffe1bac1ecd760019d2701724a5516137e77cf02495fc419e","\\\\xb85062fc908f57f09aedd7f3efc3d7e96721d440d80ae52fbf157b27329ce0cf","\\\\xef9212dab456a761941dbc7b7d29127d3ad6da46db7f9f0328dd3f4f382d5f53","\\\\x825c17decff54a4fe0dd49ff9f6c6acc06db04c6f8ef0e22a677b9fdfcafe5b1","\\\\xa448c172507e48698a3706c722225699e9f070a151bcaa47fa5420ab038b1728","\\\\x659f5258962889d925878098f50c1bbe761e2d243172c57fdd8917f93aad2cf2","\\\\x06b42369196af40a52e897fa642ce8127a4fc8187bfe4416191975f58a632e27","\\\\x0f61601eaccae74443f3ce30805c6da6aa6b402eb2fd80d56af419964df70a81"}	\\x33ea95c60bdc0c1952504af379d969eb92306c60a0f3be5291660a570300b73c	\\x84b82c8419c9235306fd609c18d16ef9d3634eda0f2f7d37f1e7947651d84d51
\.


--
-- Data for Name: budget_alert_log; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.budget_alert_log (id, at, kind, scope_id, metric_id, budget_id, period_start, threshold, amount, used, reservation) FROM stdin;
\.


--
-- Data for Name: budget_definitions; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.budget_definitions (id, scope_id, metric_id, period, imposed, amount, hard, alert_at, created_at, created_by) FROM stdin;
01a22289-1c40-7504-9be3-52dd4b60f0be	01a22289-1aef-76e8-b35e-353e515a4001	1	total	t	100000000	t	{}	2026-11-28 14:22:20.721672+00	\N
\.


--
-- Data for Name: budget_reservations; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.budget_reservations (id, partner_id, tenant_id, project_id, user_id, metric_id, quantity, cost, reserved_at, expires_at, state, ended_at, used, used_cost, overrun, event_id, drew, reserved_by) FROM stdin;
\.


--
-- Data for Name: credit_draws; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.credit_draws (credit_id, at, quantity, reservation, folded) FROM stdin;
\.


--
-- Data for Name: credit_grants; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.credit_grants (id, budget_id, scope_id, amount, priority, effective_at, expires_at, rollover, rolls_at, note, granted_at, granted_by, closed_at) FROM stdin;
01a22289-1c68-7157-9582-e48a01012175	01a22289-1c40-7504-9be3-52dd4b60f0be	01a22289-1aef-76e8-b35e-353e515a4001	20000000	50	2026-11-28 14:22:20.750879+00	\N	\N	\N	welcome	2026-11-28 14:22:20.750879+00	\N	\N
\.


--
-- Data for Name: identity_claims; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.identity_claims (tokens, key, provider_id) FROM stdin;
\\xb2d7221b8a3be35eae5fc8a78014d1072e1dc6f91167e8b233817284173b1256	\\x	01a22289-1bc4-7433-8213-f34d01c5bde5
\.


--
-- Data for Name: identity_group_registry; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.identity_group_registry (provider_id, group_name, role_id, scope_id, created_at) FROM stdin;
01a22289-1bc4-7433-8213-f34d01c5bde5	staff	00000000-0000-7000-8000-000000000106	\N	2026-11-28 14:22:20.667795+00
\.


--
-- Data for Name: identity_provider_registry; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.identity_provider_registry (id, scope_id, issuer, audiences, keys, user_claim, tenant_claim, groups_claim, name_claim, leeway, create_users, single_use, enabled, vouched, created_at) FROM stdin;
01a22289-1bc4-7433-8213-f34d01c5bde5	01a22289-1aef-76e8-b35e-353e515a4001	https://id.example.com/	{notes}	\N	sub	\N	groups	name	30	t	f	t	t	2026-11-28 14:22:20.611786+00
\.


--
-- Data for Name: identity_users; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.identity_users (user_id, provider_id, groups_as_of, created_at) FROM stdin;
\.


--
-- Data for Name: maintenance_log; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.maintenance_log (id, at, role, login, reason, client, pid, xid) FROM stdin;
\.


--
-- Data for Name: metric_definitions; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.metric_definitions (id, name, unit, aggregation, dimensions, distinct_of, price, prices, description, created_at) FROM stdin;
1	tokens	tokens	sum	{model}	\N	0.500000000000	\N	\N	2026-11-28 14:22:20.700245+00
\.


--
-- Data for Name: protected_member_registry; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.protected_member_registry (relation, root, options, undo) FROM stdin;
\.


--
-- Data for Name: protected_table_registry; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.protected_table_registry (relation, tenant_column, key_type, options, undo, protected_at, protected_by) FROM stdin;
app.notes	tenant_id	uuid	{"shared": false, "owner_column": null, "tenant_column": "tenant_id", "project_column": null, "read_permission": "data:read", "write_permission": "data:write"}	[{"key": "default:tenant_id", "sql": "ALTER TABLE %1$s ALTER COLUMN tenant_id DROP DEFAULT", "needs": [{"kind": "column", "name": "tenant_id"}]}, {"key": "notnull", "sql": "ALTER TABLE %1$s ALTER COLUMN tenant_id SET NOT NULL", "needs": [{"kind": "column", "name": "tenant_id"}]}, {"key": "index:app.notes_tenant_id_tenancy_idx", "sql": "DROP INDEX IF EXISTS app.notes_tenant_id_tenancy_idx"}, {"key": "rls", "sql": "ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY"}, {"key": "force", "sql": "ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY"}, {"key": "granted:tenancy_app", "sql": "REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLE %1$s FROM tenancy_app", "needs": [{"kind": "role", "name": "tenancy_app"}]}, {"key": "schema:tenancy_app", "sql": "REVOKE USAGE ON SCHEMA app FROM tenancy_app", "needs": [{"kind": "schema", "name": "app"}, {"kind": "role", "name": "tenancy_app"}]}]	2026-11-28 14:22:22.007924+00	tenancy_admin
\.


--
-- Data for Name: role_assignments; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.role_assignments (id, user_id, role_id, scope_id, source, expires_at, created_at, created_by) FROM stdin;
01a22289-1b2d-7138-9936-83c4e0e82416	01a22289-1b11-75fd-b293-59c5e3f005b4	00000000-0000-7000-8000-000000000106	01a22289-1aef-76e8-b35e-353e515a4001	direct	\N	2026-11-28 14:22:20.431906+00	\N
01a22289-1ba2-706e-bc78-a0f199c2e7ea	01a22289-1b11-75fd-b293-59c5e3f005b4	01a22289-1b67-7206-8dea-c9ab5928a342	01a22289-1aef-76e8-b35e-353e515a4001	direct	\N	2026-11-28 14:22:20.555816+00	\N
\.


--
-- Data for Name: role_definitions; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.role_definitions (id, scope_id, name, permissions, description, built_in, expires_at, created_at) FROM stdin;
01a22289-1b67-7206-8dea-c9ab5928a342	01a22289-1aef-76e8-b35e-353e515a4001	reader	{data:read}	\N	f	\N	2026-11-28 14:22:20.515858+00
\.


--
-- Data for Name: scopes; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.scopes (id, level, parent_id, path, slug, name, status, external_id, kind, settings, features, created_at) FROM stdin;
00000000-0000-7000-8000-000000000000	platform	\N	{00000000-0000-7000-8000-000000000000}	platform	Platform	active	\N	\N	{}	{}	2026-11-28 14:22:17.687738+00
00000000-0000-7000-8000-000000000001	partner	00000000-0000-7000-8000-000000000000	{00000000-0000-7000-8000-000000000000,00000000-0000-7000-8000-000000000001}	internal	Internal	active	\N	\N	{}	{}	2026-11-28 14:22:17.687738+00
01a22289-1a28-71b5-935e-55875adc5524	partner	00000000-0000-7000-8000-000000000000	{00000000-0000-7000-8000-000000000000,01a22289-1a28-71b5-935e-55875adc5524}	globex	globex	active	\N	\N	{}	{}	2026-11-28 14:22:20.198771+00
01a22289-1aef-76e8-b35e-353e515a4001	tenant	01a22289-1a28-71b5-935e-55875adc5524	{00000000-0000-7000-8000-000000000000,01a22289-1a28-71b5-935e-55875adc5524,01a22289-1aef-76e8-b35e-353e515a4001}	acme	acme	active	41	\N	{}	{}	2026-11-28 14:22:20.395792+00
01a22289-1b11-75fd-b293-59c5e3f005b4	user	01a22289-1aef-76e8-b35e-353e515a4001	{00000000-0000-7000-8000-000000000000,01a22289-1a28-71b5-935e-55875adc5524,01a22289-1aef-76e8-b35e-353e515a4001,01a22289-1b11-75fd-b293-59c5e3f005b4}	alice	alice	active	\N	human	{}	{}	2026-11-28 14:22:20.431906+00
01a22289-1b4d-7487-8929-9c5ea9066df7	project	01a22289-1aef-76e8-b35e-353e515a4001	{00000000-0000-7000-8000-000000000000,01a22289-1a28-71b5-935e-55875adc5524,01a22289-1aef-76e8-b35e-353e515a4001,01a22289-1b4d-7487-8929-9c5ea9066df7}	red	red	active	\N	\N	{}	{}	2026-11-28 14:22:20.491827+00
\.


--
-- Data for Name: usage_daily; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_daily (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost) FROM stdin;
1	2026-11-25 00:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	3000000	3000000	1500000
1	2026-11-26 00:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	2000000	2000000	1000000
1	2026-11-24 00:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	4000000	4000000	2000000
1	2026-11-27 00:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	1000000	1000000	500000
1	2026-11-23 00:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	5000000	5000000	2500000
\.


--
-- Data for Name: usage_events_2026_11; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_events_2026_11 (at, origin, xid, id, metric_id, partner_id, tenant_id, project_id, user_id, quantity, cost, value, dimensions, attributes) FROM stdin;
2026-11-27 14:22:20.791793+00	7713227528880379662	769	01a22289-1c7a-70dc-aa96-d3883bcdc9f0	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	1000000	500000	\N	{"model": "small"}	{"model": "small"}
2026-11-26 14:22:20.791793+00	7713227528880379662	769	01a22289-1cc3-752d-8b71-c4ceedfd47a2	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	2000000	1000000	\N	{"model": "small"}	{"model": "small"}
2026-11-25 14:22:20.791793+00	7713227528880379662	769	01a22289-1cc3-752d-8b71-c4cf4ebfaa46	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	3000000	1500000	\N	{"model": "small"}	{"model": "small"}
2026-11-24 14:22:20.791793+00	7713227528880379662	769	01a22289-1cc3-752d-8b71-c4d04cc6f943	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	4000000	2000000	\N	{"model": "small"}	{"model": "small"}
2026-11-23 14:22:20.791793+00	7713227528880379662	769	01a22289-1cd8-7138-a0a9-16849f65d483	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	5000000	2500000	\N	{"model": "small"}	{"model": "small"}
2026-11-28 14:22:21.969425+00	7713227528880379662	771	01a22289-2111-701e-8a9a-a4f8d4fb9200	1	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	10000000	5000000	\N	\N	\N
\.


--
-- Data for Name: usage_events_2026_12; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_events_2026_12 (at, origin, xid, id, metric_id, partner_id, tenant_id, project_id, user_id, quantity, cost, value, dimensions, attributes) FROM stdin;
\.


--
-- Data for Name: usage_hourly; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_hourly (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost) FROM stdin;
1	2026-11-23 14:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	5000000	5000000	2500000
1	2026-11-27 14:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	1000000	1000000	500000
1	2026-11-25 14:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	3000000	3000000	1500000
1	2026-11-24 14:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	4000000	4000000	2000000
1	2026-11-26 14:00:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	1	2000000	2000000	1000000
\.


--
-- Data for Name: usage_keys; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_keys (scope_id, metric_id, key, said, event_id, used_at) FROM stdin;
01a22289-1aef-76e8-b35e-353e515a4001	1	9386e620-63c8-136f-503b-ebc6f23038cd	a806ce99-b273-422f-9236-393dd03480df	01a22289-1c7a-70dc-aa96-d3883bcdc9f0	2026-11-28 14:22:20.794995+00
01a22289-1aef-76e8-b35e-353e515a4001	1	dae81111-7636-8496-9076-32a487359bc7	da660f32-2250-415f-5fed-3cd4779fbd5d	01a22289-1cc3-752d-8b71-c4ceedfd47a2	2026-11-28 14:22:20.86743+00
01a22289-1aef-76e8-b35e-353e515a4001	1	9c3bd31c-1eb8-cf8b-958a-571cef17e97d	f8692965-12ef-a16f-1d45-6c94c079bc7a	01a22289-1cc3-752d-8b71-c4cf4ebfaa46	2026-11-28 14:22:20.867602+00
01a22289-1aef-76e8-b35e-353e515a4001	1	421241bb-ba9c-2661-3b97-e779ca0a3a57	c4467909-c341-2094-eb35-2d8b80baf493	01a22289-1cc3-752d-8b71-c4d04cc6f943	2026-11-28 14:22:20.887906+00
01a22289-1aef-76e8-b35e-353e515a4001	1	f5cfc414-f3f0-a0ce-c582-77f32614cb8f	35d7d31c-db31-a282-f299-84104fdfd746	01a22289-1cd8-7138-a0a9-16849f65d483	2026-11-28 14:22:20.888353+00
\.


--
-- Data for Name: usage_marks; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_marks (origin, rolled_to, rolled_at) FROM stdin;
7713227528880379662	770	2026-11-28 14:22:21.914778+00
\.


--
-- Data for Name: usage_quarterly; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_quarterly (metric_id, slot, partner_id, tenant_id, project_id, user_id, value, dimensions, events, quantity, most, cost) FROM stdin;
1	2026-11-23 14:15:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	\N	{"model": "small"}	1	5000000	5000000	2500000
1	2026-11-24 14:15:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	\N	{"model": "small"}	1	4000000	4000000	2000000
1	2026-11-25 14:15:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	\N	{"model": "small"}	1	3000000	3000000	1500000
1	2026-11-26 14:15:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	\N	{"model": "small"}	1	2000000	2000000	1000000
1	2026-11-27 14:15:00+00	01a22289-1a28-71b5-935e-55875adc5524	01a22289-1aef-76e8-b35e-353e515a4001	\N	01a22289-1b11-75fd-b293-59c5e3f005b4	\N	{"model": "small"}	1	1000000	1000000	500000
\.


--
-- Data for Name: usage_retired; Type: TABLE DATA; Schema: tenancy; Owner: tenancy_owner
--

COPY tenancy.usage_retired (partition, from_at, to_at, retired_at) FROM stdin;
\.


--
-- Name: notes notes_pkey; Type: CONSTRAINT; Schema: app; Owner: tenancy_admin
--

ALTER TABLE ONLY app.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (id);


--
-- Name: notes_tenant_id_tenancy_idx; Type: INDEX; Schema: app; Owner: tenancy_admin
--

CREATE INDEX notes_tenant_id_tenancy_idx ON app.notes USING btree (tenant_id);


--
-- Name: audit_log_2026_11_origin_xid_id_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE UNIQUE INDEX audit_log_2026_11_origin_xid_id_idx ON tenancy.audit_log_2026_11 USING btree (origin, xid, id);


--
-- Name: audit_log_2026_11_partner_id_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX audit_log_2026_11_partner_id_at_idx ON tenancy.audit_log_2026_11 USING btree (partner_id, at);


--
-- Name: audit_log_2026_11_tenant_id_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX audit_log_2026_11_tenant_id_at_idx ON tenancy.audit_log_2026_11 USING btree (tenant_id, at);


--
-- Name: audit_log_2026_12_origin_xid_id_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE UNIQUE INDEX audit_log_2026_12_origin_xid_id_idx ON tenancy.audit_log_2026_12 USING btree (origin, xid, id);


--
-- Name: audit_log_2026_12_partner_id_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX audit_log_2026_12_partner_id_at_idx ON tenancy.audit_log_2026_12 USING btree (partner_id, at);


--
-- Name: audit_log_2026_12_tenant_id_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX audit_log_2026_12_tenant_id_at_idx ON tenancy.audit_log_2026_12 USING btree (tenant_id, at);


--
-- Name: usage_events_2026_11_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX usage_events_2026_11_at_idx ON tenancy.usage_events_2026_11 USING brin (at) WITH (pages_per_range='16');


--
-- Name: usage_events_2026_11_origin_xid_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX usage_events_2026_11_origin_xid_idx ON tenancy.usage_events_2026_11 USING btree (origin, xid);


--
-- Name: usage_events_2026_12_at_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX usage_events_2026_12_at_idx ON tenancy.usage_events_2026_12 USING brin (at) WITH (pages_per_range='16');


--
-- Name: usage_events_2026_12_origin_xid_idx; Type: INDEX; Schema: tenancy; Owner: tenancy_owner
--

CREATE INDEX usage_events_2026_12_origin_xid_idx ON tenancy.usage_events_2026_12 USING btree (origin, xid);


--
-- Name: audit_log_2026_11 append_only; Type: TRIGGER; Schema: tenancy; Owner: tenancy_owner
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tenancy.audit_log_2026_11 FOR EACH STATEMENT EXECUTE FUNCTION tenancy._append_only('tenancy.audit_retention');

ALTER TABLE tenancy.audit_log_2026_11 ENABLE ALWAYS TRIGGER append_only;


--
-- Name: audit_log_2026_12 append_only; Type: TRIGGER; Schema: tenancy; Owner: tenancy_owner
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tenancy.audit_log_2026_12 FOR EACH STATEMENT EXECUTE FUNCTION tenancy._append_only('tenancy.audit_retention');

ALTER TABLE tenancy.audit_log_2026_12 ENABLE ALWAYS TRIGGER append_only;


--
-- Name: usage_events_2026_11 append_only; Type: TRIGGER; Schema: tenancy; Owner: tenancy_owner
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tenancy.usage_events_2026_11 FOR EACH STATEMENT EXECUTE FUNCTION tenancy._append_only('tenancy.usage_retention');

ALTER TABLE tenancy.usage_events_2026_11 ENABLE ALWAYS TRIGGER append_only;


--
-- Name: usage_events_2026_12 append_only; Type: TRIGGER; Schema: tenancy; Owner: tenancy_owner
--

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tenancy.usage_events_2026_12 FOR EACH STATEMENT EXECUTE FUNCTION tenancy._append_only('tenancy.usage_retention');

ALTER TABLE tenancy.usage_events_2026_12 ENABLE ALWAYS TRIGGER append_only;


--
-- Name: notes; Type: ROW SECURITY; Schema: app; Owner: tenancy_admin
--

ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;

--
-- Name: notes tenancy_access; Type: POLICY; Schema: app; Owner: tenancy_admin
--

CREATE POLICY tenancy_access ON app.notes USING (true);


--
-- Name: notes tenancy_guard; Type: POLICY; Schema: app; Owner: tenancy_admin
--

CREATE POLICY tenancy_guard ON app.notes AS RESTRICTIVE USING (tenancy.can('data:read'::text, tenant_id)) WITH CHECK (tenancy.can_write('data:write'::text, tenant_id));


--
-- Name: notes tenancy_guard_delete; Type: POLICY; Schema: app; Owner: tenancy_admin
--

CREATE POLICY tenancy_guard_delete ON app.notes AS RESTRICTIVE FOR DELETE USING (tenancy.can_write('data:write'::text, tenant_id));


--
-- Name: notes tenancy_guard_update; Type: POLICY; Schema: app; Owner: tenancy_admin
--

CREATE POLICY tenancy_guard_update ON app.notes AS RESTRICTIVE FOR UPDATE USING (tenancy.can_write('data:write'::text, tenant_id));


--
-- Name: audit_log_2026_11; Type: ROW SECURITY; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE tenancy.audit_log_2026_11 ENABLE ROW LEVEL SECURITY;

--
-- Name: audit_log_2026_12; Type: ROW SECURITY; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE tenancy.audit_log_2026_12 ENABLE ROW LEVEL SECURITY;

--
-- Name: usage_events_2026_11; Type: ROW SECURITY; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE tenancy.usage_events_2026_11 ENABLE ROW LEVEL SECURITY;

--
-- Name: usage_events_2026_12; Type: ROW SECURITY; Schema: tenancy; Owner: tenancy_owner
--

ALTER TABLE tenancy.usage_events_2026_12 ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA app; Type: ACL; Schema: -; Owner: tenancy_admin
--

GRANT USAGE ON SCHEMA app TO tenancy_app;


--
-- Name: SCHEMA tenancy; Type: ACL; Schema: -; Owner: tenancy_owner
--

REVOKE ALL ON SCHEMA tenancy FROM postgres;
REVOKE USAGE ON SCHEMA tenancy FROM PUBLIC;
GRANT ALL ON SCHEMA tenancy TO tenancy_owner;
GRANT USAGE ON SCHEMA tenancy TO PUBLIC;


--
-- Name: TABLE notes; Type: ACL; Schema: app; Owner: tenancy_admin
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE app.notes TO tenancy_app;


--
-- PostgreSQL database dump complete
--

\unrestrict aSph56Hbfzku2Rkd2nKakSCW63p6c88h9vj0UCQ5idONwUmXf4rsVVPU8VtYEsK

