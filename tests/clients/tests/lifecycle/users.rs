//! export_user() and forget_user(): a user's rows leave or lose its name, and no text of tenancy's tables has a name of it any more, while the
//! audit log verifies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::idp::Idp;
use tenancy_client_tests::{Session, World};

const FORGET: &str =
    "CALL tenancy.forget_user('acme/auth0-zoe', 'asked on paper, case 7', batch_rows => 40)";
/// Every text that names the user.
const NAMES: [&str; 6] = [
    "auth0|Zoe",
    "auth0-zoe",
    "Quillfeather",
    "zoe@example.test",
    "zoes-own-group",
    "Zoes phone",
];
const DECIDE: &str = "SELECT tenancy.set_forgetting('app.notes', 'delete');
     SELECT tenancy.set_forgetting('app.comments', 'keep', 'by_user', '{email}');
     SELECT tenancy.set_forgetting('app.logins', 'delete', 'login');
     SELECT tenancy.set_forgetting('app.signatures', 'keep', 'signed_by');
     SELECT tenancy.set_forgetting('app.tasks', 'null', 'assignee', '{remark}');
     SELECT tenancy.set_forgetting('app.people', 'delete', 'id');
     SELECT tenancy.set_forgetting('app.visits', 'delete', 'who')";

/// A world in which a user of acme came by an identity provider and has rows in tables of every shape, as has alice.
struct Forgotten {
    world: World,
    owner: Session,
    idp: Idp,
    user: String,
    key: String,
    ticket: String,
}

fn create(rows: u32) -> Forgotten {
    let world = World::bare();
    let mut owner = world.db.owner();
    let idp = Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    owner.run(&format!(
        "SELECT tenancy.map_group('{0}', 'staff', 'member');
         CREATE TABLE app.notes (tenant_id uuid NOT NULL, id bigint NOT NULL, author uuid DEFAULT tenancy.user_id(), body text, PRIMARY KEY (tenant_id, id));
         CREATE TABLE app.comments (tenant_id uuid NOT NULL, note bigint NOT NULL, by_user uuid NOT NULL DEFAULT tenancy.user_id(), email text,
             FOREIGN KEY (tenant_id, note) REFERENCES app.notes ON DELETE CASCADE);
         CREATE TABLE app.logins (tenant_id uuid NOT NULL, login text NOT NULL, at timestamptz DEFAULT now());
         CREATE TABLE app.signatures (tenant_id uuid NOT NULL, signed_by text NOT NULL);
         CREATE TABLE app.people (tenant_id uuid NOT NULL, id uuid PRIMARY KEY, email text);
         CREATE TABLE app.tasks (tenant_id uuid NOT NULL, assignee uuid REFERENCES app.people, remark text);
         CREATE TABLE app.visits (tenant_id uuid NOT NULL, who uuid NOT NULL, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE app.visits_old PARTITION OF app.visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
         CREATE TABLE app.visits_new PARTITION OF app.visits FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
         CREATE INDEX ON app.visits (who);
         SELECT count(*) FROM tenancy.protect('app.notes', owner_column => 'author', grants => '{{tenancy_app}}');
         SELECT (SELECT count(*) FROM tenancy.protect(t::regclass, grants => '{{tenancy_app}}'))
           FROM unnest('{{app.comments,app.logins,app.signatures,app.people,app.tasks,app.visits}}'::text[]) t;
         SELECT tenancy.define_metric('calls', 'call');
         SELECT tenancy.define_setting('phone', 'text', level => 'user')",
        idp.issuer
    ));
    let claims = json!({"groups": ["staff", "zoes-own-group"], "name": "Zoë Quillfeather"});
    let token = idp.token_with("auth0|Zoe", claims);
    world.db.app().begin(&token).run("COMMIT");
    let user =
        (world.db.admin()).text("SELECT id FROM tenancy.scopes WHERE external_id = 'auth0|Zoe'");
    owner.run(&format!(
        "SELECT tenancy.update_scope('{user}', name => 'Zoë M. Quillfeather', settings => '{{\"email\": \"zoe@example.test\"}}');
         SELECT tenancy.set_setting('{user}', 'phone', '\"zoe@example.test\"');
         SELECT tenancy.set_status('{user}', 'suspended'), tenancy.set_status('{user}', 'active');
         SELECT tenancy.create_user('acme', 'adam', external_id => 'Zoe')"
    ));
    let key = owner.text(&format!(
        "SELECT tenancy.issue_api_key('{user}', 'Zoes phone')"
    ));
    let ticket =
        (world.db.gateway()).text(&format!("SELECT tenancy.issue_ticket('{user}', '1 hour')"));
    owner.run(&format!(
        "SELECT tenancy.assign('{user}', 'manager', 'acme')"
    ));
    for (n, (who, login)) in [
        (user.as_str(), "auth0|Zoe"),
        (&world.id("alice").to_string(), "Zoe"),
    ]
    .into_iter()
    .enumerate()
    {
        let tenant = world.id("acme");
        let first = n as u32 * rows;
        world.db.admin().run(&format!(
            "INSERT INTO app.notes SELECT '{tenant}', {first} + n, '{who}', 'mine' FROM generate_series(1, {rows}) n;
             INSERT INTO app.logins SELECT '{tenant}', '{login}' FROM generate_series(1, {rows}) n;
             INSERT INTO app.signatures SELECT '{tenant}', '{login}' FROM generate_series(1, {rows}) n;
             INSERT INTO app.people VALUES ('{tenant}', '{who}', '{login}');
             INSERT INTO app.tasks SELECT '{tenant}', '{who}', 'for {login}' FROM generate_series(1, {rows}) n;
             INSERT INTO app.visits SELECT '{tenant}', '{who}', '2025-12-31'::date + n % 2 FROM generate_series(1, {rows}) n"
        ));
    }
    // Each comments the notes of both.
    world.db.admin().run(&format!(
        "INSERT INTO app.comments SELECT n.tenant_id, n.id, p.id, p.email FROM app.notes n, app.people p;
         -- The same external id is another person in another tenant.
         INSERT INTO app.logins VALUES ('{}', 'auth0|Zoe');
         ANALYZE app.notes, app.comments, app.logins, app.signatures, app.tasks, app.visits",
        world.id("umbrella")
    ));
    world
        .db
        .app()
        .begin(&key)
        .run("SELECT tenancy.record_usage('calls', 3); COMMIT");
    Forgotten {
        world,
        owner,
        idp,
        user,
        key,
        ticket,
    }
}

/// Returns the tables of tenancy and of the application that have a text, and how many rows.
fn search(admin: &mut Session, text: &str) -> Vec<String> {
    let tables = admin.texts(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relnamespace::regnamespace::text IN ('tenancy', 'tenancy_internal', 'app') ORDER BY 1",
    );
    assert!(tables.len() > 50);
    (tables.iter())
        .filter_map(|table| {
            let rows = admin.number(&format!(
                "SELECT count(*) FROM {table} t WHERE strpos(t::text, '{text}') > 0"
            ));
            (rows > 0).then(|| format!("{table} {rows}"))
        })
        .collect()
}

/// The rows of each table, and how many of them name the user.
fn rows(forgotten: &Forgotten) -> Vec<String> {
    let user = &forgotten.user;
    forgotten.world.db.admin().texts(&format!(
        "SELECT 'notes ' || count(*) || ' ' || count(*) FILTER (WHERE author = '{user}') FROM app.notes UNION ALL
         SELECT 'comments ' || count(*) || ' ' || count(*) FILTER (WHERE by_user = '{user}') || ' ' || count(email) FROM app.comments UNION ALL
         SELECT 'logins ' || count(*) || ' ' || count(*) FILTER (WHERE login = 'auth0|Zoe') FROM app.logins UNION ALL
         SELECT 'signatures ' || count(*) || ' ' || count(*) FILTER (WHERE signed_by = 'auth0|Zoe') || ' ' || count(*) FILTER (WHERE signed_by LIKE 'forgotten-%') FROM app.signatures UNION ALL
         SELECT 'people ' || count(*) || ' ' || count(*) FILTER (WHERE id = '{user}') FROM app.people UNION ALL
         SELECT 'tasks ' || count(*) || ' ' || count(assignee) || ' ' || count(remark) FROM app.tasks UNION ALL
         SELECT 'visits ' || count(*) || ' ' || count(*) FILTER (WHERE who = '{user}') FROM app.visits"
    ))
}

const BEFORE: [&str; 7] = [
    "notes 200 100",
    "comments 400 200 400",
    "logins 201 101",
    "signatures 200 100 0",
    "people 2 1",
    "tasks 200 200 200",
    "visits 200 100",
];
/// The comments on the deleted notes go with them, by their foreign key.
const AFTER: [&str; 7] = [
    "notes 100 0",
    "comments 200 100 100",
    "logins 101 1",
    "signatures 200 0 100",
    "people 1 0",
    "tasks 200 100 100",
    "visits 100 0",
];

#[test]
fn nothing_is_done_until_it_is_decided_on_every_column_that_names_users() {
    let mut forgotten = create(100);
    let owner = &mut forgotten.owner;
    assert_eq!(
        owner.texts("SELECT table_name || '(' || user_column || ') ' || found_by FROM tenancy.user_columns ORDER BY 1"),
        ["app.comments(by_user) default", "app.notes(author) default"]
    );
    for call in [
        FORGET,
        &FORGET.replace("batch_rows => 40", "dry_run => true"),
    ] {
        owner
            .fails(call)
            .code("55000")
            .details("app.comments(by_user)\napp.notes(author)")
            .hides("zoe");
    }
    // A key to a column that names users names users.
    owner.run("SELECT tenancy.set_forgetting('app.people', 'keep', 'id')");
    assert_eq!(
        owner.texts("SELECT user_column FROM tenancy.user_columns WHERE found_by = 'foreign_key'"),
        ["assignee"]
    );
    owner.fails(FORGET).details("app.tasks(assignee)");
    assert_eq!(rows(&forgotten), BEFORE);
    let mut app = forgotten.world.db.app();
    app.begin(&forgotten.key).run("COMMIT");
}

#[test]
fn a_decision_must_fit_its_table() {
    let mut forgotten = create(1);
    let owner = &mut forgotten.owner;
    owner
        .run("CREATE TABLE app.open (who text, n bigint); CREATE VIEW app.seen AS SELECT 1 AS who");
    for (arguments, says) in [
        ("'app.notes', 'drop'", "is not a rule"),
        ("'app.tasks', 'delete'", "has no owner_column"),
        ("'app.tasks', 'delete', 'nobody'", "has no column"),
        ("'app.visits', 'delete', 'day'", "has no column"),
        ("'app.tasks', 'delete', 'tenant_id'", "names the tenant"),
        ("'app.comments', 'null', 'by_user'", "is NOT NULL"),
        ("'app.open', 'delete', 'who'", "is not protected"),
        ("'app.seen', 'delete', 'who'", "is not a table"),
        ("'app.visits_old', 'delete', 'who'", "is not a table"),
        ("'tenancy.scopes', 'delete', 'id'", "NotOwner"),
        ("'app.notes', 'keep', 'id'", "no pseudonym"),
        (
            "'app.notes', 'delete', NULL, '{body}'",
            "no columns to clear",
        ),
        ("'app.notes', 'keep', NULL, '{id}'", "may become NULL"),
        ("'app.notes', 'keep', NULL, '{nothing}'", "may become NULL"),
    ] {
        let failure = owner.fails(&format!("SELECT tenancy.set_forgetting({arguments})"));
        match says {
            "NotOwner" => failure.code("42501"),
            says => failure.code("22023").says(says),
        };
    }
    assert_eq!(
        owner.number("SELECT count(rule) FROM tenancy.user_columns"),
        0
    );
    // It ends with the table, or by NULL.
    owner.run(DECIDE);
    owner.run("DROP TABLE app.tasks; SELECT tenancy.set_forgetting('app.visits', NULL, 'who')");
    assert_eq!(
        owner.texts("SELECT table_name FROM tenancy.user_columns ORDER BY 1"),
        [
            "app.comments",
            "app.logins",
            "app.notes",
            "app.people",
            "app.signatures"
        ]
    );
    let mut stranger = forgotten.world.db.stranger();
    stranger
        .fails("SELECT tenancy.set_forgetting('app.notes', 'keep')")
        .code("42501");
    forgotten.world.db.admin().run(&format!(
        "GRANT tenancy_admin TO {}",
        forgotten.world.db.stranger
    ));
    stranger
        .fails("SELECT tenancy.set_forgetting('app.notes', 'keep')")
        .code("42501");
}

#[test]
fn a_forgotten_user_is_in_no_text_and_the_log_verifies() {
    let mut forgotten = create(100);
    let mut admin = forgotten.world.db.admin();
    admin.run("SELECT tenancy.seal_audit_log()");
    let entries = admin.number("SELECT count(*) FROM tenancy.audit_log");
    for name in NAMES.iter().filter(|name| !name.contains("group")) {
        assert!(!search(&mut admin, name).is_empty(), "{name}");
    }
    // The log itself never had one.
    for name in NAMES {
        let found = search(&mut admin, name);
        assert!(
            !found.iter().any(|table| table.contains("audit")),
            "{name}: {found:?}"
        );
    }
    let trail = format!(
        "SELECT DISTINCT user_slug FROM tenancy.audit_trail WHERE user_id = '{}'",
        forgotten.user
    );
    let target = format!(
        "SELECT DISTINCT target_name FROM tenancy.audit_trail WHERE target = '{}'",
        forgotten.user
    );
    admin.run("SELECT tenancy.seal_audit_log()");
    assert_eq!(admin.texts(&target), ["auth0-zoe"]);
    assert_eq!(rows(&forgotten), BEFORE);

    forgotten.owner.run(DECIDE).run(FORGET);
    assert_eq!(rows(&forgotten), AFTER);
    for name in NAMES {
        let found = search(&mut admin, name);
        let other = ["app.logins 1"];
        let kept: &[&str] = if name == "auth0|Zoe" { &other } else { &[] };
        assert_eq!(found, kept, "{name}");
    }
    let pseudonym = format!("forgotten-{}", forgotten.user.replace('-', ""));
    assert_eq!(admin.texts(&target), [pseudonym.as_str()]);
    let by = admin.texts(&trail);
    assert!(by.iter().all(|name| *name == pseudonym), "{by:?}");
    admin.run("SELECT tenancy.seal_audit_log()");
    assert_eq!(
        admin.number("SELECT count(*) FROM tenancy.verify_audit_log()"),
        0
    );
    assert!(admin.number("SELECT count(*) FROM tenancy.audit_log") > entries);

    // Its access is gone for good, and whoever comes with the same subject is somebody else.
    let mut app = forgotten.world.db.app();
    for credential in [&forgotten.key, &forgotten.ticket] {
        app.try_login(credential).unwrap_err().code("42501");
    }
    forgotten
        .owner
        .fails(&format!(
            "SELECT tenancy.set_status('{}', 'active')",
            forgotten.user
        ))
        .code("55000")
        .says("was forgotten");
    let token = forgotten.idp.token_in("auth0|Zoe", &["staff"]);
    app.begin(&token);
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 0);
    assert_ne!(app.text("SELECT tenancy.user_id()"), forgotten.user);
    app.run("COMMIT");

    let certificate: Value = serde_json::from_str(&admin.text(
        "SELECT details FROM tenancy.audit_log WHERE action = 'tenancy.user.forgotten'
            AND details ->> 'sha256' = encode(sha256(convert_to((details - 'sha256')::text, 'UTF8')), 'hex')",
    ))
    .unwrap();
    for (what, table, rows) in [
        ("deleted", "app.notes", 100),
        ("deleted", "app.logins", 100),
        ("deleted", "app.visits", 100),
        ("deleted", "app.people", 1),
        ("deleted", "tenancy_internal.api_key_secrets", 1),
        ("deleted", "tenancy_internal.role_assignments", 2),
        ("changed", "app.comments", 200),
        ("changed", "app.signatures", 100),
        ("changed", "app.tasks", 100),
        ("changed", "tenancy.scopes", 1),
    ] {
        assert_eq!(certificate[what][table], rows, "{table}: {certificate}");
    }
    assert_eq!(certificate["user"], forgotten.user.as_str());
    // Again, it finds nothing.
    forgotten.owner.run(&format!(
        "CALL tenancy.forget_user('{}', 'again')",
        forgotten.user
    ));
    assert_eq!(
        admin.texts("SELECT state || ' ' || sum(rows_deleted) FROM tenancy.forgettings GROUP BY forgetting_id, state, begun_at ORDER BY begun_at"),
        ["done 305", "done 0"]
    );
    // Usage stays under the id.
    assert_eq!(
        admin.number(&format!(
            "SELECT count(*) FROM tenancy_internal.usage_events WHERE user_id = '{}'",
            forgotten.user
        )),
        1
    );
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let mut forgotten = create(100);
    forgotten.owner.run(DECIDE);
    let said = (forgotten.owner)
        .notices("CALL tenancy.forget_user('acme/auth0-zoe', 'try', dry_run => true)");
    let said = said.join("\n");
    for part in [
        "app.notes: 100 rows: DELETE FROM ONLY app.notes WHERE",
        "app.visits: 100 rows: DELETE",
        "app.tasks: 100 rows: UPDATE ONLY app.tasks SET assignee = NULL, remark = NULL WHERE",
        "app.comments: 200 rows: UPDATE ONLY app.comments SET email = NULL WHERE",
        "app.comments: rows that refer to deleted rows of app.notes are deleted too",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(rows(&forgotten), BEFORE);
    forgotten.world.db.app().begin(&forgotten.key).run("COMMIT");
    assert_eq!(
        forgotten
            .owner
            .number("SELECT count(*) FROM tenancy.forgettings"),
        0
    );
}

#[test]
fn it_is_resumed_wherever_it_was_ended_while_others_write() {
    let mut forgotten = create(2000);
    forgotten.owner.run(DECIDE);
    let call = format!(
        "CALL tenancy.forget_user('{}', 'case 7', batch_rows => 20)",
        forgotten.user
    );
    let mut admin = forgotten.world.db.admin();
    let mut dice = Dice::new(std::process::id().into(), 0);
    let mut ended = 0;
    for _ in 0..10 {
        let mut session = forgotten.world.db.owner();
        let (pid, call) = (session.pid(), call.clone());
        let running = thread::spawn(move || session.try_run(&call).is_ok());
        thread::sleep(Duration::from_millis(dice.roll(250)));
        admin.run(&format!("SELECT pg_terminate_backend({pid})"));
        match running.join().unwrap() {
            true => break,
            false => ended += 1,
        }
        // Another one in the middle of its own work.
        forgotten.world.begin("alice").run(
            "INSERT INTO app.tasks (tenant_id, remark) VALUES (tenancy.tenant_id(), 'new'); COMMIT",
        );
    }
    assert!(ended > 0);
    if admin.texts("SELECT DISTINCT state FROM tenancy.forgettings") != ["done"] {
        forgotten.owner.run(&call);
    }
    let found = rows(&forgotten);
    assert_eq!(found[0], "notes 2000 0");
    assert_eq!(found[2], "logins 2001 1");
    assert_eq!(
        found[5],
        format!("tasks {} 2000 {}", 4000 + ended, 2000 + ended)
    );
    // What was counted is what there was.
    assert_eq!(
        admin.texts("SELECT (certificate -> 'deleted' ->> 'app.notes') || ' ' || (certificate -> 'changed' ->> 'app.tasks') FROM tenancy.forgettings LIMIT 1"),
        ["2000 2000"]
    );
    assert_eq!(search(&mut admin, "auth0-zoe"), [""; 0]);
}

#[test]
fn a_hold_keeps_a_user_and_so_do_rows_that_stay() {
    let mut forgotten = create(100);
    forgotten.owner.run(DECIDE);
    for scope in ["acme/auth0-zoe", "acme", "globex"] {
        forgotten.owner.run(&format!(
            "SELECT tenancy.set_legal_hold('{scope}', 'case 12')"
        ));
        forgotten
            .owner
            .fails(FORGET)
            .code("55000")
            .says("legal hold");
        forgotten.owner.run(&format!(
            "SELECT tenancy.release_legal_hold('{scope}', 'over')"
        ));
    }
    // Rows that stay refer to a row that would go.
    forgotten
        .owner
        .run("SELECT tenancy.set_forgetting('app.tasks', 'keep', 'assignee')");
    forgotten
        .owner
        .fails(FORGET)
        .code("55000")
        .details("app.tasks: rows that stay refer to");
    assert_eq!(rows(&forgotten), BEFORE);
    // Its access is as it was.
    forgotten.world.db.app().begin(&forgotten.key).run("COMMIT");
    forgotten.owner.run(DECIDE);
    // A hold that comes meanwhile stops it before the next batch.
    let mut writer = forgotten.world.db.admin();
    writer.run("BEGIN; LOCK TABLE app.visits IN ROW EXCLUSIVE MODE");
    let mut session = forgotten.world.db.owner();
    let running = thread::spawn(move || session.try_run(FORGET));
    let mut admin = forgotten.world.db.admin();
    while admin.number("SELECT count(*) FROM tenancy.forgettings WHERE table_name = 'app.visits' AND table_finished_at IS NOT NULL") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    forgotten.owner.fails(FORGET).code("55006");
    admin.run("SELECT tenancy.set_legal_hold('acme', 'case 12')");
    writer.run("COMMIT");
    running
        .join()
        .unwrap()
        .unwrap_err()
        .code("55000")
        .says("legal hold");
    assert_eq!(
        admin.texts("SELECT DISTINCT state FROM tenancy.forgettings"),
        ["failed"]
    );
    assert!(!search(&mut admin, "auth0-zoe").is_empty());
    admin.run("SELECT tenancy.release_legal_hold('acme', 'over')");
    forgotten.owner.run(FORGET);
    assert_eq!(search(&mut admin, "auth0-zoe"), [""; 0]);
}

#[test]
fn only_an_administrator_with_the_owners_rights_or_a_user_with_power_over_it_forgets() {
    let mut forgotten = create(10);
    forgotten.owner.run(DECIDE);
    let by_id = format!("CALL tenancy.forget_user('{}', 'x')", forgotten.user);
    let db = &forgotten.world.db;
    for session in [&mut db.app(), &mut db.gateway(), &mut db.stranger()] {
        session.fails(&by_id).code("42501");
    }
    let mut stranger = db.stranger();
    db.admin()
        .run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    stranger
        .fails(&by_id)
        .code("55000")
        .details("is neither its owner");
    let owner = &mut forgotten.owner;
    owner.fails(&format!("BEGIN; {by_id}")).code("25001");
    owner.run("ROLLBACK");
    owner
        .fails("CALL tenancy.forget_user(NULL, 'x')")
        .code("22023");
    owner
        .fails("CALL tenancy.forget_user('acme', 'x')")
        .code("42704");
    owner.fails(&by_id.replace("'x'", "NULL")).code("22023");
    owner
        .fails(&by_id.replace("'x'", "'x', batch_rows => 0"))
        .code("22023");
    // With a context, by its user's permissions: alice has none, boss is another partner's.
    db.admin()
        .run(&format!("GRANT tenancy_gateway TO {}", db.owner));
    let mut session = db.owner();
    let as_user = |user: &str| format!("SELECT tenancy.assume('{user}', true)");
    let code = session.run(&as_user("acme/alice")).fails(&by_id).code;
    assert_eq!(code, "42501");
    session
        .run("SELECT tenancy.release()")
        .run(&as_user("hooli/boss"));
    session.fails(&by_id).code("42704");
    // And by everything that the user was assigned.
    owner.run("SELECT tenancy.define_role('acme', 'clerk', '{users:manage}'); SELECT tenancy.assign('acme/alice', 'clerk', 'acme')");
    session
        .run("SELECT tenancy.release()")
        .run(&as_user("acme/alice"));
    session.fails(&by_id).code("42501");
    forgotten.world.db.app().begin(&forgotten.key).run("COMMIT");
    session
        .run("SELECT tenancy.release()")
        .run(&as_user("globex/ops"));
    session.run(&by_id);
    assert_eq!(
        db.admin().number(&format!(
            "SELECT count(*) FROM tenancy.audit_log WHERE action = 'tenancy.user.forgetting' AND user_id = '{}'",
            forgotten.world.id("ops")
        )),
        1
    );
}

#[test]
fn an_export_has_every_row_that_names_the_user_and_no_secret() {
    let mut forgotten = create(100);
    let user = forgotten.user.clone();
    forgotten.owner.run("SELECT tenancy.seal_audit_log()");
    forgotten.owner.run(DECIDE);
    let export = format!("SELECT tenancy.export_user('{user}')");
    let lines = forgotten.owner.texts(&export);
    let header: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(header["user"], user.as_str());
    assert_eq!(header["external_id"], "auth0|Zoe");
    let manifest: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(manifest["lines"], lines.len() - 1);
    let rows = |table: &str| -> i64 {
        let counts = manifest["manifest"].as_array().unwrap();
        let found = counts.iter().find(|count| count["table"] == table);
        found.unwrap_or_else(|| panic!("no {table}"))["rows"]
            .as_i64()
            .unwrap()
    };
    for (table, expected) in [
        ("tenancy.scopes", 1),
        ("tenancy_internal.role_assignments", 2),
        ("tenancy_internal.api_key_secrets", 1),
        ("tenancy_internal.identity_users", 1),
        ("usage", 1),
        ("app.notes", 100),
        ("app.comments", 200),
        ("app.logins", 100),
        ("app.signatures", 100),
        ("app.people", 1),
        ("app.tasks", 100),
        ("app.visits", 100),
    ] {
        assert_eq!(rows(table), expected, "{table}");
    }
    assert!(rows("tenancy.audit_log") >= 8);
    let places: Vec<&Value> = (manifest["manifest"].as_array().unwrap().iter())
        .map(|count| &count["table"])
        .collect();
    let at = |table: &str| places.iter().position(|name| **name == table).unwrap();
    assert!(
        at("app.people") < at("app.tasks") && at("app.notes") < at("app.comments"),
        "{places:?}"
    );
    let all = lines.join("\n");
    assert!(!all.contains("\"hash\""));
    for other in [
        forgotten.world.id("bob").to_string(),
        forgotten.world.id("umbrella").to_string(),
    ] {
        assert!(!all.contains(&other), "{other}");
    }
    let usage = lines
        .iter()
        .position(|line| line.starts_with("{\"table\":\"usage\""))
        .unwrap();
    assert!(
        lines[usage + 1].contains("\"calls\"") && lines[usage + 1].contains("\"3\""),
        "{}",
        lines[usage + 1]
    );
    // Who may.
    let db = &forgotten.world.db;
    db.app().fails(&export).code("42501");
    db.gateway().fails(&export).code("42501");
    db.stranger().fails(&export).code("42501");
    db.admin()
        .run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    db.stranger().fails(&export).code("42501");
    forgotten
        .owner
        .fails("SELECT tenancy.export_user(NULL)")
        .code("22023");
    forgotten
        .owner
        .fails("SELECT tenancy.export_user('acme')")
        .code("42704");
    assert_eq!(
        db.admin().texts(
            "SELECT DISTINCT target FROM tenancy.audit_log WHERE action = 'tenancy.user.exported'"
        ),
        [user.as_str()]
    );
}

#[test]
fn the_trail_shows_names_only_to_those_who_may_see_users() {
    let mut forgotten = create(1);
    forgotten.owner.run(&format!(
        "SELECT tenancy.define_role('acme', 'reviewer', '{{audit:view}}'), tenancy.define_role('acme', 'lister', '{{audit:view,users:view}}');
         SELECT tenancy.unassign('{0}', 'member', 'acme');
         SELECT tenancy.assign('{0}', 'reviewer', 'acme')",
        forgotten.world.id("alice")
    ));
    let trail = format!(
        "SELECT DISTINCT coalesce(target_name, '-') FROM tenancy.audit_trail WHERE target = '{}'",
        forgotten.user
    );
    let all = "SELECT (SELECT count(*) FROM tenancy.audit_trail) = (SELECT count(*) FROM tenancy.audit_log) AND (SELECT count(*) FROM tenancy.audit_trail) > 0";
    let mut alice = forgotten.world.begin("alice");
    assert_eq!(alice.texts(&trail), [forgotten.user.as_str()]);
    assert_eq!(alice.text(all), "t");
    assert_eq!(
        alice.texts("SELECT DISTINCT partner FROM tenancy.audit_trail"),
        ["NULL"]
    );
    drop(alice);
    forgotten.owner.run(&format!(
        "SELECT tenancy.assign('{}', 'lister', 'acme')",
        forgotten.world.id("alice")
    ));
    let mut alice = forgotten.world.begin("alice");
    assert_eq!(alice.texts(&trail), ["auth0-zoe"]);
    drop(alice);
    // Another tenant's user sees none of it.
    let mut bob = forgotten.world.begin("bob");
    assert_eq!(bob.texts(&trail), [""; 0]);
    assert_eq!(bob.number("SELECT count(*) FROM tenancy.audit_trail"), 0);
}

#[test]
fn a_superuser_lends_no_power_to_the_code_of_a_table() {
    let mut forgotten = create(10);
    forgotten.owner.run(DECIDE).run(
        "CREATE TABLE app.seen (role name);
         CREATE FUNCTION app.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.seen VALUES (current_user); RETURN coalesce(NEW, OLD); END $$",
    );
    let mut admin = forgotten.world.db.admin();
    admin.run(
        "CREATE TRIGGER look BEFORE UPDATE OR DELETE ON app.comments FOR EACH ROW EXECUTE FUNCTION app.look();
         CREATE TRIGGER look BEFORE UPDATE OR DELETE ON app.visits FOR EACH ROW EXECUTE FUNCTION app.look();
         CREATE TRIGGER look AFTER DELETE ON app.notes FOR EACH STATEMENT EXECUTE FUNCTION app.look()",
    );
    admin.run(FORGET);
    assert_eq!(
        admin.texts("SELECT DISTINCT role FROM app.seen"),
        [forgotten.world.db.owner.as_str()]
    );
}

/// A partner's user has rows in its tenants: a hold on one of them keeps these.
#[test]
fn a_hold_where_the_user_has_rows_keeps_it() {
    let mut forgotten = create(10);
    let owner = &mut forgotten.owner;
    owner.run(DECIDE);
    owner.run("SELECT tenancy.create_user('globex', 'gus'), tenancy.set_legal_hold('umbrella', 'case 12')");
    owner
        .fails("CALL tenancy.forget_user('globex/gus', 'left')")
        .code("55000")
        .says("legal hold on \"umbrella\"");
    // A user of another tenant has none there.
    owner.run(FORGET);
    owner.run("SELECT tenancy.release_legal_hold('umbrella', 'over'); SELECT tenancy.set_legal_hold('soylent', 'case 13')");
    owner.run("CALL tenancy.forget_user('globex/gus', 'left')");
}

/// It ends, and says which table.
#[test]
fn a_trigger_that_keeps_rows_as_they_were_is_named() {
    let mut forgotten = create(100);
    let owner = &mut forgotten.owner;
    owner.run(DECIDE);
    for (when, body) in [
        ("BEFORE", "NEW.assignee := OLD.assignee; RETURN NEW;"),
        (
            "AFTER",
            "IF NEW.assignee IS NULL THEN UPDATE app.tasks SET assignee = OLD.assignee WHERE ctid = NEW.ctid; END IF; RETURN NULL;",
        ),
    ] {
        for index in [
            "",
            "CREATE INDEX tasks_of ON app.tasks (assignee); ANALYZE app.tasks;",
        ] {
            owner.run(&format!(
                "BEGIN; SELECT tenancy.maintenance('a trigger'); {index}
                 CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
                 CREATE TRIGGER keep {when} UPDATE ON app.tasks FOR EACH ROW EXECUTE FUNCTION app.keep(); COMMIT"
            ));
            let failure = owner.run("SET statement_timeout = '120s'").fails(FORGET);
            // After the statement the rows are what they were: then a later pass finds them, or the row that they refer to does.
            match when {
                "BEFORE" => drop(failure.code("55000").says("app.tasks still has rows")),
                _ => assert!(
                    ["55000", "23503"].contains(&failure.code.as_str()),
                    "{failure:?}"
                ),
            }
            owner.run("RESET statement_timeout; BEGIN; SELECT tenancy.maintenance('no trigger'); DROP FUNCTION app.keep CASCADE; DROP INDEX IF EXISTS app.tasks_of; COMMIT");
        }
    }
    owner.run(FORGET);
    assert_eq!(rows(&forgotten), AFTER);
}
