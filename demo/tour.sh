# shellcheck shell=bash
# Sourced by scripts/demo, with psql() and PG* set for the demo database. Each part prints its subject, the SQL and the
# result, and stops the demo if the result is wrong.

part() { say; say "$BOLD$1$PLAIN"; shift; (($# == 0)) || say "$*"; }
indent() { sed "s/^/    /"; }

# shown ROLE: runs standard input as ROLE and prints it with its result. The keys are in :'acme', :'umbrella', :'globex', :'zoe', :'root' and :'wayne'.
OUT='' RC=0 WAYNE_KEY=''
shown() {
    local sql
    sql=$(cat)
    say "$CYAN$(sed "1s/^/$1=> /; 2,\$s/^/${1//?/ }   /" <<<"$sql" | indent)$PLAIN"
    RC=0
    OUT=$(psql -U "$1" -P footer=off -v SHOW_CONTEXT=never -v "VERBOSITY=${VERBOSITY:-default}" -v "acme=$ACME_KEY" -v "umbrella=$UMBRELLA_KEY" \
        -v "eve=$EVE" -v "globex=$GLOBEX_KEY" -v "zoe=$ZOE_KEY" -v "root=$ROOT_KEY" -v "wayne=$WAYNE_KEY" -f - 2>&1 <<<"$sql") || RC=$?
    OUT=$(sed 's/^psql:<stdin>:[0-9]*: //; /^$/d; /^LOCATION: /d; s/^\(DETAIL: .*\.\) It begins/\1\n         It begins/; s/^psql: error: connection to server.*FATAL:/FATAL:/' <<<"$OUT")
    say "$DIM$(indent <<<"$OUT")$PLAIN"
}
works() { shown "$1"; ((RC == 0)) || die "that should have worked"; }
refused() { # ROLE WHAT-IT-SAYS
    shown "$1"
    ((RC != 0)) || die "that should have been refused"
    grep -qi "$2" <<<"$OUT" || die "that should have been refused with: $2"
}
expect() { grep -q -- "$1" <<<"$OUT" || die "the answer should contain: $1"; }
quiet() { psql -A -t -c "$1"; } # as the superuser, to compare with

ACME_KEY=$(quiet "SELECT tenancy.issue_api_key('globex/acme/alice', 'demo')")
UMBRELLA_KEY=$(quiet "SELECT tenancy.issue_api_key('globex/umbrella/bob', 'demo')")
GLOBEX_KEY=$(quiet "SELECT tenancy.issue_api_key('globex/ops', 'demo')")
ZOE_KEY=$(quiet "SELECT tenancy.issue_api_key('globex/zoe', 'demo')")
ROOT_KEY=$(quiet "SELECT tenancy.issue_api_key('platform/root', 'demo')")
EVE=$(quiet "SELECT 'hooli/soylent/eve'::tenancy.regscope::uuid")

part "The application, before" \
    "Globex has acme, umbrella and initech, hooli has soylent. Nothing keeps their rows apart yet."
works postgres <<'SQL'
SELECT name, plan,
       (SELECT count(*) FROM app.conversations c WHERE c.tenant_id = a.tenant_id) AS talks,
       (SELECT count(*) FROM app.messages m WHERE m.tenant_id = a.tenant_id) AS messages,
       (SELECT count(*) FROM app.api_calls p WHERE p.tenant_id = a.tenant_id) AS calls
FROM app.accounts a ORDER BY calls DESC;
SQL

part "See the plan" \
    "adopt() needs the application's table of tenants. It finds what every other table is, and lists what you must decide."
works postgres <<'SQL'
CALL tenancy.adopt('app.accounts', grants => '{tenancy_app}', dry_run => true);
SELECT table_name, kind, reason, tenant_column, status FROM tenancy.adoption ORDER BY place;
SQL
expect 'tenant table'

part "One call isolates the application" \
    "protect() does the same for one table. unprotect() restores what was there."
works postgres <<'SQL'
CALL tenancy.adopt('app.accounts', grants => '{tenancy_app}');
SELECT table_name, tenant_column, partitions, isolated FROM tenancy.protected_tables ORDER BY 1;
SQL
psql -c 'ANALYZE'

part "Without a context: no rows, and an error that says why"
refused demo_app 'a tenancy context is required' <<'SQL'
SELECT count(*) FROM app.messages;
SQL

part "With its API key, Acme sees its own rows" \
    "No query has a WHERE. The context ends with the transaction, so a pooled connection cannot pass it on."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT name, (SELECT count(*) FROM app.conversations) AS conversations,
       (SELECT count(*) FROM app.messages) AS messages, (SELECT count(*) FROM app.api_calls) AS api_calls
FROM app.accounts;
COMMIT;
SQL
for table in conversations messages api_calls; do
    expect "| *$(quiet "SELECT count(*) FROM app.$table JOIN app.accounts USING (tenant_id) WHERE name = 'Acme'")\b"
done
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
INSERT INTO app.conversations (title) VALUES ('Whose is this?')
RETURNING title, tenant_id = tenancy.tenant_id() AS mine;
ROLLBACK;
SQL

part "Forging a context fails" \
    "This role may run any SQL, but it has no key of another tenant."
refused demo_app 'tenancy.context' <<'SQL'
SELECT set_config('tenancy.context', (SELECT 'umbrella'), false);
SQL
refused demo_app 'tenancy.context' <<'SQL'
SET tenancy.context = '{"tenant": "umbrella"}';
SQL
export PGOPTIONS='-c tenancy.context=umbrella'
say "    ${CYAN}\$ PGOPTIONS='$PGOPTIONS' psql -U demo_app$PLAIN"
refused demo_app 'tenancy.context' <<'SQL'
SELECT count(*) FROM app.messages;
SQL
unset PGOPTIONS
refused demo_app 'row-level security' <<'SQL'
SET row_security = off;
SELECT count(*) FROM app.messages;
SQL
refused demo_app 'row-level security' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
UPDATE app.conversations SET tenant_id = gen_random_uuid();
SQL

part "A partner sees all its tenants, and can select one" "The tenant of Hooli is not among them."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'globex') AS user_id;
SELECT name, count(*) AS api_calls, sum(context_tokens + generated_tokens) AS tokens
FROM app.accounts JOIN app.api_calls USING (tenant_id) GROUP BY name ORDER BY name;
SELECT tenancy.select_tenant('globex/initech') AS now_only;
SELECT count(*) AS api_calls FROM app.api_calls;
COMMIT;
SQL
expect Initech
expect Umbrella
! grep -q Soylent <<<"$OUT" || die "globex saw hooli's tenant"

part "A partner's user serves the tenants in which it has a role" \
    "Globex's admin assigns Zoe a read-only role in one of its three tenants."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'globex') AS user_id;
SELECT tenancy.assign('globex/zoe', 'partner_user', 'globex/umbrella');
COMMIT;
SQL
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'zoe') AS user_id;
SELECT name, count(*) AS messages
FROM app.accounts JOIN app.messages USING (tenant_id) GROUP BY name;
SELECT slug, partner, effective_status FROM tenancy.tenants;
SELECT tenancy.audit('report.made', 'messages of November') IS NOT NULL AS noted;
COMMIT;
SQL
expect "Umbrella *| *$(quiet "SELECT count(*) FROM app.messages JOIN app.accounts USING (tenant_id) WHERE name = 'Umbrella'")\b"
! grep -q 'Acme\|Initech' <<<"$OUT" || die "zoe saw a client that she does not serve"
refused demo_app 'row-level security' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'zoe') AS user_id;
INSERT INTO app.conversations (title) VALUES ('A change');
SQL
refused demo_app 'permission denied' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'zoe') AS user_id;
SELECT tenancy.set_status('globex/umbrella', 'suspended');
SQL

part "A gateway that checks logins itself names the user" \
    "Only the trusted role may call assume()."
works demo_gateway <<'SQL'
BEGIN;
SELECT tenancy.assume('hooli/soylent/eve') AS user_id;
SELECT name, (SELECT count(*) FROM app.messages) AS messages FROM app.accounts;
COMMIT;
SQL
expect Soylent
refused demo_app 'permission denied' <<'SQL'
SELECT tenancy.assume(:'eve');
SQL

part "A suspension takes effect at once" \
    "Also on an open connection with a session context: no token has to expire first."
refused demo_app 'not active' <<'SQL'
SELECT tenancy.authenticate(:'umbrella', session => true) AS user_id;
SELECT count(*) AS messages FROM app.messages;
\! psql -X -q -t -U postgres -c "SELECT tenancy.set_status('globex/umbrella', 'suspended')"
SELECT count(*) AS messages FROM app.messages;
SQL
expect "$(quiet "SELECT count(*) FROM app.messages JOIN app.accounts USING (tenant_id) WHERE name = 'Umbrella'")"
works postgres <<'SQL'
SELECT tenancy.set_status('globex/umbrella', 'active');
SQL

part "Usage is metered with its price" \
    "Five minutes of calls to language models; each model has its price."
works demo_admin <<'SQL'
SELECT tenancy.define_metric('tokens', 'tokens', dimensions => '{model}',
    prices => '{"model": {"small": 0.0000006, "large": 0.000005}}') AS metric;
SQL
works postgres <<'SQL'
INSERT INTO tenancy.recorded_usage (metric, quantity, attributes, tenant_id, user_id)
SELECT 'tokens', context_tokens + generated_tokens,
    jsonb_build_object('model',
        CASE WHEN generated_tokens < 200 THEN 'small' ELSE 'large' END),
    tenant_id, u.id
FROM app.api_calls LEFT JOIN tenancy.users u ON u.parent_id = tenant_id
WHERE at < (SELECT min(at) + interval '5 minutes' FROM app.api_calls);
SELECT rank, name, quantity, share, cost, events FROM tenancy.top_usage('tokens');
SELECT name, quantity, share, cost FROM tenancy.top_usage('tokens', by_dimension => 'model');
SQL
slice=$(quiet "SELECT sum(context_tokens + generated_tokens), count(*) FROM app.api_calls
    WHERE at < (SELECT min(at) + interval '5 minutes' FROM app.api_calls)")
[[ $slice == "$(quiet "SELECT sum(quantity), sum(events) FROM tenancy.usage('platform', 'tokens', by_dimension => 'tenant')")" ]] ||
    die "the metered usage differs from the calls"
expect '^ *large |'

used() { quiet "SELECT ceil(sum(quantity) / 10000) * 10000 FROM tenancy.usage('$1', 'tokens')"; }
globex=$(($(used globex) + 50000)) acme=$(($(used globex/acme) + 10000))
part "Budgets at every level" \
    "The platform limits the partner, the partner limits its tenant, and a soft budget for Alice only reports."
works demo_admin <<SQL
SELECT tenancy.set_budget('globex', 'tokens', $globex) AS budget;
SQL
works demo_app <<SQL
BEGIN;
SELECT tenancy.authenticate(:'globex') AS user_id;
SELECT tenancy.set_budget('acme', 'tokens', $acme) AS budget,
    tenancy.set_budget('acme/alice', 'tokens', 900000, hard => false) AS soft_one;
COMMIT;
SQL

part "A call whose size is known only afterwards reserves first" \
    "A committed reservation is durable; any connection may settle it, once."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT tenancy.reserve('tokens', 6000, '10 minutes') AS reservation \gset
COMMIT;
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT level, used, in_flight, remaining FROM tenancy.check_budget('tokens', 0);
SELECT tenancy.settle(:'reservation', 1480, attributes => '{"model": "large"}');
COMMIT;
SELECT tenancy.authenticate(:'acme', session => true) AS user_id;
SELECT quantity AS reserved, state, used, used_cost FROM tenancy.reservations;
SQL
expect '^ *6000 | settled | *1480 |'

part "Usage that does not fit is refused and not recorded" \
    "Acme has less than 20,000 tokens left; its partner has more."
VERBOSITY=verbose
refused demo_app 'ERROR:  53400: ' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT tenancy.consume('tokens', 40000, attributes => '{"model": "large"}');
SQL
expect 'tenant'
say "    Umbrella has no budget of its own, so its partner's budget refuses."
refused demo_app 'ERROR:  53400: ' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'umbrella') AS user_id;
SELECT tenancy.consume('tokens', 70000, attributes => '{"model": "small"}');
SQL
expect 'partner'
VERBOSITY=default
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'umbrella') AS user_id;
SELECT w AS wish, allowed, level, used, remaining, resets_at::date
FROM unnest('{70000, 30000}'::numeric[]) w, tenancy.check_budget('tokens', w);
SELECT tenancy.consume('tokens', 30000, attributes => '{"model": "small"}') AS event;
COMMIT;
SQL
expect '70000 | f  *| partner'
expect '30000 | t  *| partner'

part "The partner sees its whole tree" "Each line sums the usage recorded below it; the bar shows the used part of the budget."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'globex') AS user_id;
SELECT * FROM tenancy.tree(metric => 'tokens');
COMMIT;
SQL
# Includes acme's settled 1,480 and umbrella's 30,000, and nothing that was refused.
metered=$(quiet "SELECT sum(context_tokens + generated_tokens) + 1480 + 30000 FROM app.api_calls JOIN app.accounts USING (tenant_id)
    WHERE name <> 'Soylent' AND at < (SELECT min(at) + interval '5 minutes' FROM app.api_calls)")
expect "^ globex .*| *$metered | *$globex | █"
expect '│  └─ alice .*▒.*(soft)'

part "A price changes in mid-month, and each member has its own budget" \
    "Usage keeps the price of its time. One row gives each user of Acme three images a month."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT tenancy.consume('tokens', 1000, attributes => '{"model": "large"}') AS event;
COMMIT;
SQL
works demo_admin <<'SQL'
SELECT tenancy.set_price('tokens', 0.000004, '{"model": "large"}') AS price;
SELECT tenancy.define_metric('images', 'images') AS metric;
SELECT tenancy.set_budget('acme', 'images', 3, per => 'user') AS budget;
SQL
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT tenancy.consume('tokens', 1000, attributes => '{"model": "large"}') AS event,
    tenancy.consume('images', 3) AS images;
COMMIT;
SELECT tenancy.authenticate(:'acme', session => true) AS user_id;
SELECT metric, quantity, cost FROM tenancy.recorded_usage ORDER BY id DESC LIMIT 3;
SQL
expect '^ *tokens | *1000 | *0.004'
expect '^ *tokens | *1000 | *0.005'
VERBOSITY=verbose
refused demo_app 'ERROR:  53400: ' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
SELECT tenancy.consume('images');
SQL
VERBOSITY=default

part "The planner sees a plain equality" \
    "So it uses the index that begins with tenant_id, in order, and estimates rows from statistics."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'acme') AS user_id;
EXPLAIN SELECT id, title FROM app.conversations ORDER BY started_at DESC LIMIT 10;
COMMIT;
SQL
expect 'Index Scan.*conversations'
expect 'Index Cond: (tenant_id = '

part "A super admin sees no tenant's rows until it states a reason" \
    "The reason is recorded before the elevation applies, and each statement before it reads."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'root') AS user_id;
SELECT count(*) AS messages FROM app.messages;
SELECT tenancy.elevate('ticket 4711: an answer is missing', '15 minutes') AS until;
COMMIT;
BEGIN READ ONLY;
SELECT tenancy.authenticate(:'root') AS user_id;
SELECT count(*) AS n FROM app.messages WHERE body LIKE '%12 tokens%';
ROLLBACK;
SQL
expect "^ *$(quiet "SELECT count(*) FROM app.messages WHERE body LIKE '%12 tokens%'")\$"

part "The audit log" \
    "It also has a read-only transaction that was rolled back. Statements have no literals; entries cannot be changed."
works demo_admin <<'SQL'
SELECT to_char(at, 'HH24:MI') AS at, slug AS who, replace(action, 'tenancy.', '') AS action,
       coalesce(details ->> 'statement', details ->> 'reason', target) AS what
FROM tenancy.audit_log l JOIN tenancy.users u ON u.id = l.user_id
WHERE slug IN ('ops', 'zoe', 'root') ORDER BY l.at;
SQL
expect 'elevation.statement'
expect 'ticket 4711'
refused postgres 'append-only' <<'SQL'
DELETE FROM tenancy.audit_log;
SQL
part "Verification finds an entry that a superuser changed"
works postgres <<'SQL'
SELECT tenancy.seal_audit_log() > 0 AS sealed;
SELECT count(*) AS problems FROM tenancy.verify_audit_log();
BEGIN;
ALTER TABLE tenancy.audit_log DISABLE TRIGGER ALL;
UPDATE tenancy.audit_log SET details = '{"reason": "just looking"}'
WHERE action = 'tenancy.elevation.began';
SELECT seal, entry, problem FROM tenancy.verify_audit_log();
ROLLBACK;
SQL
expect 'the entry was changed'

part "A new tenant begins with a plan and a template" "dry_run says what onboard() would make, in one transaction. Then it is made, with a first admin and its key."
works postgres <<'SQL'
SELECT tenancy.define_limit('chat', 'rate'), tenancy.define_feature('export');
SELECT tenancy.define_plan('starter', '{"rates": {"chat": [{"rate": 3, "per": "minute"}]},
    "features": {"export": true}, "resources": {"statement_timeout": "30s"}}') IS NOT NULL AS plan;
SELECT tenancy.define_template('agency', '{"projects": {"web": {"name": "Web"}}}') IS NOT NULL AS template;
SELECT c ->> 'kind' AS kind, c ->> 'name' AS name
FROM jsonb_array_elements(tenancy.onboard('wayne', 'Wayne', 'globex', 'starter', 'agency', dry_run => true) -> 'changes') c;
SQL
expect 'project'
WAYNE_KEY=$(quiet "SELECT tenancy.onboard('wayne', 'Wayne', 'globex', 'starter', 'agency') ->> 'api_key'")
part "Its plan limits how often it asks" "Every level is asked: API key, user, project, tenant, partner. No row is written or locked."
works demo_app <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'wayne') AS user_id;
INSERT INTO app.conversations (title) SELECT 'talk ' || n FROM generate_series(1, 3) n;
SELECT tenancy.take('chat') AS left FROM generate_series(1, 3);
SELECT allowed, retry_after < interval '1 minute' AS soon, level, per FROM tenancy.try_take('chat');
SELECT tenancy.feature('export') AS may_export;
COMMIT;
SQL
expect 'f  *| t  *| tenant'
refused demo_app 'ERROR:  .*chat' <<'SQL'
BEGIN;
SELECT tenancy.authenticate(:'wayne') AS user_id;
SELECT tenancy.take('chat');
SQL

part "A tenant leaves: it is suspended, exported and purged" "The purge proves that no protected table has a row of it, and leaves a certificate in the audit log."
works postgres <<'SQL'
SELECT tenancy.set_status('globex/wayne', 'suspended');
SQL
refused demo_app 'ERROR:  ' <<'SQL'
SELECT tenancy.authenticate(:'wayne');
SQL
works postgres <<'SQL'
SELECT left(line, 70) AS export FROM tenancy.export_tenant('globex/wayne') line WHERE line LIKE '%conversations%' OR line LIKE '%talk%';
SELECT tenancy.set_status('globex/wayne', 'deleted');
CALL tenancy.purge_tenant('globex/wayne', 'contract ended');
SELECT details ->> 'slug' AS purged, details -> 'rows' -> 'app.conversations' AS conversations, left(details ->> 'sha256', 16) AS certificate
FROM tenancy.audit_log WHERE action = 'tenancy.purge.done';
SQL
expect 'wayne  *| 3 '

part "Try it yourself" "The server is still running. Connect as the application, with Acme's key$( ((EUID)) || say ' (as root, who owns the server)'):"
cat <<END

    $TENANCY_TEST_BIN/psql -h $PGHOST -p $PGPORT -U demo_app demo
        SELECT tenancy.authenticate('$ACME_KEY', session => true);
        SELECT * FROM app.messages LIMIT 10;

Or with the super admin's key; each statement on tenants' rows is recorded:

        SELECT tenancy.authenticate('$ROOT_KEY', session => true);

Or as the database's superuser, whom isolation does not affect:

    $TENANCY_TEST_BIN/psql -h $PGHOST -p $PGPORT -U postgres demo

Stop and remove it:

    make demo-stop
END
