//! A tenant's admin who changes the tenant's settings again and again forces no other session to reload anything; and every change
//! takes effect for every session that it concerns, in whichever way it is made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use tenancy_client_tests::idp::Idp;
use tenancy_client_tests::program::{Cluster, wait_for};
use tenancy_client_tests::{Db, Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";
const READS: &str = "SELECT reads FROM tenancy.access_cache()";
const TIMES: usize = 100;

/// Sessions of another tenant, and their usual work.
struct Neighbours {
    sessions: Vec<(&'static str, Session, Kind)>,
    token: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A context of the session.
    Session,
    /// A ticket in the setting.
    Ticket,
    /// An API key in each transaction.
    Key,
    /// A token in each transaction.
    Token,
    /// The gateway's word in each transaction.
    Assumed,
}

const KINDS: [Kind; 5] = [
    Kind::Session,
    Kind::Ticket,
    Kind::Key,
    Kind::Token,
    Kind::Assumed,
];

impl Neighbours {
    fn new(world: &World, idp: &Idp) -> Self {
        let mut sessions = Vec::new();
        for user in ["bob", "eve", "ops", "boss"] {
            for kind in KINDS {
                if kind == Kind::Token && user != "bob" {
                    continue;
                }
                let mut session = match kind {
                    Kind::Assumed => world.db.gateway(),
                    _ => world.db.app(),
                };
                match kind {
                    Kind::Session => {
                        session.login_session(world.key(user));
                    }
                    Kind::Ticket => {
                        let ticket = world.ticket(user, "1 hour");
                        session.run(&format!("SET tenancy.ticket = '{ticket}'"));
                    }
                    _ => {}
                }
                sessions.push((user, session, kind));
            }
        }
        let token = idp.token("bert");
        Self { sessions, token }
    }

    /// Runs one transaction in each session; returns how often each has loaded something.
    fn work(&mut self, world: &World) -> Vec<(String, i64)> {
        let token = &self.token;
        let reads = self.sessions.iter_mut().map(|(user, session, kind)| {
            session.run("BEGIN");
            match kind {
                Kind::Key => {
                    session.login(world.key(user));
                }
                Kind::Token => {
                    session.login(token);
                }
                Kind::Assumed => {
                    session.run(&format!("SELECT tenancy.assume('{}')", world.id(user)));
                }
                Kind::Session | Kind::Ticket => {}
            }
            let rows = match *user {
                "bob" => 5,
                "ops" => 8,
                _ => 7,
            };
            assert_eq!(session.number(COUNT), rows, "{user}");
            if matches!(*user, "bob" | "eve") {
                session.run("SELECT tenancy.consume('calls'), tenancy.fits('calls')");
            }
            session.run("COMMIT");
            (format!("{user} {}", *kind as u8), session.number(READS))
        });
        reads.collect()
    }
}

/// Calls of an admin of acme, repeated: `{n}` is the number of the call, `{of}` that of an earlier one.
const ACTS: &[&str] = &[
    "SELECT tenancy.update_scope('acme', name => 'Acme {n}', settings => '{\"a\": {n}}')",
    "SELECT tenancy.update_scope('acme', settings => '{\"time_zone\": \"Etc/GMT-{hour}\"}')",
    "SELECT tenancy.update_scope('acme', name => 'the same')",
    "SELECT tenancy.create_user('acme', 'u{n}')",
    "SELECT tenancy.update_scope('acme/u{n}', slug => 'v{n}', external_id => 'x{n}')",
    "SELECT tenancy.set_status('acme/v{n}', 'suspended')",
    "SELECT tenancy.set_status('acme/v{n}', 'suspended')",
    "SELECT tenancy.set_status('acme/v{n}', 'active')",
    "SELECT tenancy.create_project('acme', 'p{n}')",
    "SELECT tenancy.update_scope('acme/p{n}', slug => 'q{n}', external_id => 'y{n}')",
    "SELECT tenancy.set_status('acme/q{n}', 'archived')",
    "SELECT tenancy.set_status('acme/q{n}', 'active')",
    "SELECT tenancy.define_role('acme', 'r{n}', '{users:view}')",
    "SELECT tenancy.define_role('acme', 'r{n}', '{users:view,roles:view}')",
    "SELECT tenancy.define_role('acme', 'r{n}', '{users:view,roles:view}', 'the same')",
    "SELECT tenancy.assign('acme/v{n}', 'r{n}', 'acme')",
    "SELECT tenancy.assign('acme/v{n}', 'r{n}', 'acme')",
    "SELECT tenancy.assign('acme/v{n}', 'r{n}', 'acme', clock_timestamp() + interval '1 day')",
    "SELECT tenancy.assign('acme/v{n}', 'manager', 'acme/q{n}')",
    "SELECT tenancy.unassign('acme/v{n}', 'r{n}', 'acme')",
    "SELECT tenancy.drop_role('acme', 'r{n}')",
    "SELECT tenancy.issue_api_key('acme/v{n}', 'k{n}')",
    "SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE name = 'k{n}'",
    "SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE name = 'k{n}'",
    "SELECT tenancy.set_allowed_networks('acme', '{10.0.0.0/8,127.0.0.0/8,::1}')",
    "SELECT tenancy.set_allowed_networks('acme/v{n}', '{10.0.0.0/8}')",
    "SELECT tenancy.set_allowed_networks('acme/v{n}', NULL)",
    "SELECT tenancy.set_allowed_networks('acme/v{n}', NULL)",
    "SELECT tenancy.set_allowed_networks('acme', NULL)",
    "SELECT tenancy.set_budget('acme', 'calls', 1000000 + {n})",
    "SELECT tenancy.set_budget('acme', 'calls', 1000000)",
    "SELECT tenancy.set_budget('acme', 'calls', 1000000)",
    "SELECT tenancy.set_budget('acme/v{n}', NULL, {n})",
    "SELECT tenancy.remove_budget('acme/v{n}', NULL)",
    "SELECT tenancy.revoke_credit(tenancy.grant_credit('acme', 'calls', 5))",
    "SELECT tenancy.set_identity_provider_enabled('https://acme.example.com/', {odd})",
    "SELECT tenancy.map_group('https://acme.example.com/', 'g{n}', 'member')",
    "SELECT tenancy.unmap_group('https://acme.example.com/', 'g{n}', 'member')",
    "SELECT tenancy.consume('calls')",
];

/// The world with an admin of acme who holds all that a tenant may be given, providers of acme and umbrella, and budgets.
fn world(db: Db) -> (World, Idp) {
    let world = World::bare_in(db).with_notes();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.define_metric('calls', 'call');
         SELECT tenancy.define_role('globex', 'all_of_it', '{data:*,tenants:view,tenants:update,projects:*,users:*,roles:*,keys:*,billing:*,budgets:*,limits:*,plans:view,secrets:*,audit:*,identity:*,accounting:*}');
         SELECT tenancy.assign('acme/alice', 'all_of_it', 'acme'), tenancy.assign('globex/ops', 'member', 'acme');
         SELECT tenancy.set_budget('umbrella', 'calls', 1000000), tenancy.set_budget('umbrella/bob', NULL, 1000000), tenancy.set_budget('soylent', 'calls', 1000000);
         SELECT tenancy.grant_credit('umbrella', 'calls', 10);
         SELECT tenancy.create_user('umbrella', 'bert', external_id => 'bert')",
    );
    Idp::new("acme").add(&mut owner, "acme", "create_users => true");
    let idp = Idp::new("umbrella").add(&mut owner, "umbrella", "");
    owner.run(&format!(
        "SELECT tenancy.map_group('{}', '*', 'member')",
        idp.issuer
    ));
    (world, idp)
}

#[test]
fn a_tenants_own_changes_invalidate_no_other_tenant() {
    // If other tests create databases, the server's message queue may overrun, and all backends read again.
    let cluster = Cluster::start();
    let (world, idp) = world(Db::on(cluster.config()));
    let mut others = Neighbours::new(&world, &idp);
    for _ in 0..3 {
        others.work(&world);
    }
    let before = others.work(&world);
    assert!(before.iter().all(|(_, reads)| *reads > 0), "{before:?}");
    let mut alice = world.db.app();
    alice.login_session(world.key("alice"));
    for act in ACTS {
        for n in 0..TIMES {
            let sql = act
                .replace("{n}", &n.to_string())
                .replace("{hour}", &(n % 12).to_string())
                .replace("{odd}", &(n % 2 == 1).to_string());
            alice.run(&sql);
            if n % 50 == 49 {
                assert_eq!(others.work(&world), before, "{sql}");
            }
        }
    }
    // Many at once: as many changes in one transaction as are announced one by one.
    alice.run("SELECT tenancy.create_user('acme', 'w' || n) FROM generate_series(1, 300) n");
    assert_eq!(others.work(&world), before, "many users at once");
    // Statements that change nothing, or are rolled back.
    alice.run("BEGIN; SELECT tenancy.set_status('acme/v1', 'suspended'); ROLLBACK");
    let mut admin = world.db.admin();
    for table in admin.texts(
        "SELECT DISTINCT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
          WHERE p.proname IN ('changed', 'tenant_added') AND t.tgrelid <> 'tenancy_internal.role_definitions'::regclass ORDER BY 1",
    ) {
        let column = admin.text(&format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum = 1"
        ));
        admin.run(&format!("UPDATE {table} SET {column} = {column}"));
        admin.run(&format!("UPDATE {table} SET {column} = NULL WHERE false; DELETE FROM {table} WHERE false"));
        assert_eq!(others.work(&world), before, "{table}: nothing was changed");
    }
}

#[test]
fn changes_that_affect_all_invalidate_all() {
    let (world, idp) = world(Db::new());
    let mut others = Neighbours::new(&world, &idp);
    others.work(&world);
    let before = others.work(&world);
    world
        .db
        .owner()
        .run("SELECT tenancy.rotate_signing_key('1 hour')");
    let after = others.work(&world);
    for ((who, before), (_, after)) in before.iter().zip(&after) {
        assert!(after > before, "{who}: {before} {after}");
    }
}

/// Alice with a context of the session, in an open transaction, by a ticket, by a key; and what her role is.
struct Felt {
    session: Session,
    open: Session,
    ticket: Session,
    request: Session,
}

impl Felt {
    fn new(world: &World) -> Self {
        let mut session = world.db.app();
        session.login_session(world.key("alice"));
        let mut ticket = world.db.app();
        ticket.run(&format!(
            "SET tenancy.ticket = '{}'",
            world.ticket("alice", "1 hour")
        ));
        Self {
            session,
            open: world.begin("alice"),
            ticket,
            request: world.db.app(),
        }
    }

    /// Returns what they see. Ends the open transaction, and begins the next one before the next change.
    fn see(&mut self, world: &World) -> [String; 4] {
        let ask = |session: &mut Session| match session.simple_query(COUNT) {
            Ok(rows) => match &rows[..] {
                [.., postgres::SimpleQueryMessage::Row(row), _] => row.get(0).unwrap().to_owned(),
                other => panic!("{other:?}"),
            },
            Err(error) => error.as_db_error().unwrap().code().code().to_owned(),
        };
        self.request.run("BEGIN");
        let by_key = match self.request.try_login(world.key("alice")) {
            Ok(()) => ask(&mut self.request),
            Err(failure) => failure.code,
        };
        self.request.run("ROLLBACK");
        let open = match ask(&mut self.open) {
            // It had none: it is refused what it is refused without.
            code if code == "55000" => "42501".to_owned(),
            code => code,
        };
        self.open.run("ROLLBACK");
        self.open.run("BEGIN");
        // Where it is refused, it is rolled back to here, and sees that it is no principal.
        self.open.run("SAVEPOINT entered");
        if self.open.try_login(world.key("alice")).is_err() {
            self.open.run("ROLLBACK TO entered");
        }
        [ask(&mut self.session), open, ask(&mut self.ticket), by_key]
    }

    #[track_caller]
    fn all(&mut self, world: &World, wanted: &str, what: &str) {
        assert_eq!(self.see(world), [wanted; 4], "{what}");
    }
}

/// Changes by a superuser's own statements that take alice's access away, and how they are put right.
const DIRECT: &[(&str, &str, &str)] = &[
    ("UPDATE tenancy.scopes SET status = 'suspended' WHERE slug = 'alice'", "UPDATE tenancy.scopes SET status = 'active' WHERE slug = 'alice'", "42501"),
    ("UPDATE tenancy.scopes SET status = 'archived' WHERE slug = 'acme'", "UPDATE tenancy.scopes SET status = 'active' WHERE slug = 'acme'", "42501"),
    ("UPDATE tenancy.scopes SET status = 'deleted' WHERE slug = 'globex'", "UPDATE tenancy.scopes SET status = 'active' WHERE slug = 'globex'", "42501"),
    ("UPDATE tenancy.scopes SET status = 'suspended' WHERE level = 'platform'", "UPDATE tenancy.scopes SET status = 'active' WHERE level = 'platform'", "42501"),
    ("CREATE TABLE kept AS SELECT * FROM tenancy_internal.role_assignments; DELETE FROM tenancy_internal.role_assignments", "INSERT INTO tenancy_internal.role_assignments SELECT * FROM kept; DROP TABLE kept", "0"),
    ("CREATE TABLE kept AS SELECT * FROM tenancy_internal.role_assignments; TRUNCATE tenancy_internal.role_assignments", "INSERT INTO tenancy_internal.role_assignments SELECT * FROM kept; DROP TABLE kept", "0"),
    ("UPDATE tenancy_internal.role_assignments SET expires_at = now() - interval '1 hour'", "UPDATE tenancy_internal.role_assignments SET expires_at = NULL", "0"),
    ("UPDATE tenancy_internal.role_assignments a SET user_id = b.id FROM tenancy.scopes b, tenancy.scopes u WHERE b.slug = 'bob' AND u.slug = 'alice' AND a.user_id = u.id",
     "UPDATE tenancy_internal.role_assignments a SET user_id = u.id FROM tenancy.scopes b, tenancy.scopes u, tenancy.scopes s
       WHERE b.slug = 'bob' AND u.slug = 'alice' AND a.user_id = b.id AND s.id = a.scope_id AND s.slug = 'acme'", "0"),
    ("UPDATE tenancy_internal.role_definitions SET permissions = '{users:view}' WHERE name = 'crew'", "UPDATE tenancy_internal.role_definitions SET permissions = '{data:read}' WHERE name = 'crew'", "0"),
    ("UPDATE tenancy_internal.role_definitions SET expires_at = now() - interval '1 hour' WHERE name = 'crew'", "UPDATE tenancy_internal.role_definitions SET expires_at = NULL WHERE name = 'crew'", "0"),
    ("UPDATE tenancy_internal.role_definitions SET scope_id = (SELECT id FROM tenancy.scopes WHERE slug = 'hooli') WHERE name = 'crew'",
     "UPDATE tenancy_internal.role_definitions SET scope_id = (SELECT id FROM tenancy.scopes WHERE slug = 'globex') WHERE name = 'crew'", "0"),
    ("CREATE TABLE kept AS SELECT * FROM tenancy_internal.role_definitions WHERE name = 'crew'; CREATE TABLE given AS SELECT * FROM tenancy_internal.role_assignments;
      DELETE FROM tenancy_internal.role_definitions WHERE name = 'crew'",
     "INSERT INTO tenancy_internal.role_definitions SELECT * FROM kept; INSERT INTO tenancy_internal.role_assignments SELECT * FROM given ON CONFLICT DO NOTHING; DROP TABLE kept, given", "0"),
    ("INSERT INTO tenancy_internal.allowed_networks SELECT id, '{10.0.0.0/8}' FROM tenancy.scopes WHERE slug = 'globex'", "DELETE FROM tenancy_internal.allowed_networks", "42501"),
    ("INSERT INTO tenancy_internal.allowed_networks SELECT id, '{10.0.0.0/8}' FROM tenancy.scopes WHERE slug = 'acme'", "UPDATE tenancy_internal.allowed_networks SET networks = '{127.0.0.1,::1}'", "42501"),
    ("UPDATE tenancy_internal.allowed_networks SET networks = '{10.0.0.0/8}'", "TRUNCATE tenancy_internal.allowed_networks", "42501"),
    ("SELECT tenancy.move_tenant('acme', 'hooli')", "SELECT tenancy.move_tenant('acme', 'globex'); SELECT tenancy.assign('acme/alice', 'crew', 'acme')", "0"),
];

/// The world where alice's only role is one of globex's.
fn crew(db: Db) -> World {
    let world = World::bare_in(db).with_notes();
    world.db.owner().run(
        "SELECT tenancy.define_role('globex', 'crew', '{data:read}'), tenancy.assign('acme/alice', 'crew', 'acme'), tenancy.unassign('acme/alice', 'member', 'acme')",
    );
    world
}

#[test]
fn each_change_invalidates_what_depends_on_it() {
    let world = crew(Db::new());
    let mut felt = Felt::new(&world);
    let mut admin = world.db.admin();
    felt.see(&world);
    felt.all(&world, "3", "at first");
    for (change, back, then) in DIRECT {
        admin.run(change);
        felt.all(&world, then, change);
        admin.run(back);
        felt.see(&world);
        felt.all(&world, "3", back);
    }
    // In the order of a parallel restore: the role after its assignments.
    admin.run("CREATE TABLE kept AS SELECT * FROM tenancy_internal.role_definitions WHERE name = 'crew'; CREATE TABLE given AS SELECT * FROM tenancy_internal.role_assignments;
               DELETE FROM tenancy_internal.role_definitions WHERE name = 'crew'");
    felt.all(&world, "0", "the role is dropped");
    admin.run(
        "INSERT INTO tenancy_internal.role_assignments SELECT * FROM given ON CONFLICT DO NOTHING",
    );
    felt.all(&world, "0", "what has no role yet");
    admin.run(
        "INSERT INTO tenancy_internal.role_definitions SELECT * FROM kept; DROP TABLE kept, given",
    );
    felt.all(&world, "3", "the role has come");
    // As a subscriber applies it.
    for (change, back, then) in DIRECT
        .iter()
        .filter(|(change, ..)| !change.contains("kept"))
    {
        admin
            .run("SET session_replication_role = replica")
            .run(change)
            .run("RESET session_replication_role");
        felt.all(&world, then, change);
        admin
            .run("SET session_replication_role = replica")
            .run(back)
            .run("RESET session_replication_role");
        felt.see(&world);
        felt.all(&world, "3", back);
    }
}

#[test]
fn a_change_is_felt_when_it_is_committed_and_not_when_it_is_undone() {
    let world = crew(Db::new());
    let mut felt = Felt::new(&world);
    let mut admin = world.db.admin();
    felt.see(&world);
    let suspend = "UPDATE tenancy.scopes SET status = 'suspended' WHERE slug = 'acme'";
    let activate = "UPDATE tenancy.scopes SET status = 'active' WHERE slug = 'acme'";
    admin.run("BEGIN").run(suspend);
    felt.all(&world, "3", "before the commit");
    admin.run("ROLLBACK");
    felt.all(&world, "3", "rolled back");
    admin
        .run("BEGIN; SAVEPOINT a")
        .run(suspend)
        .run("ROLLBACK TO a; COMMIT");
    felt.all(&world, "3", "rolled back to a savepoint");
    admin
        .run("BEGIN; SAVEPOINT a")
        .run(suspend)
        .run("RELEASE a; COMMIT");
    felt.all(&world, "42501", "a released savepoint");
    admin
        .run("BEGIN")
        .run(activate)
        .run("PREPARE TRANSACTION 'storms'");
    felt.all(&world, "42501", "prepared");
    admin.run("COMMIT PREPARED 'storms'");
    felt.see(&world);
    felt.all(&world, "3", "the prepared one committed");
    // More subjects than are announced one by one; the one that matters comes last.
    admin.run(
        "SELECT tenancy.create_user('acme', 'many' || n) FROM generate_series(1, 1100) n;
         BEGIN; UPDATE tenancy.scopes SET status = 'suspended' WHERE slug LIKE 'many%';
         UPDATE tenancy_internal.role_definitions SET permissions = '{users:view}' WHERE name = 'crew'; COMMIT",
    );
    felt.all(&world, "0", "after many others");
    admin
        .run("UPDATE tenancy_internal.role_definitions SET permissions = '{data:read}' WHERE name = 'crew'");
    felt.see(&world);
    felt.all(&world, "3", "given back");
}

#[test]
fn messages_that_were_lost_are_no_answers_that_were_kept() {
    let cluster = Cluster::start();
    let world = crew(Db::on(cluster.config()));
    let mut session = world.db.app();
    session.login_session(world.key("alice"));
    assert_eq!(session.number(COUNT), 3);
    // While it is busy, and takes in no messages, more come than the server keeps for it.
    let busy = thread::spawn(move || {
        session.run("SELECT pg_sleep(2)");
        session
    });
    let mut admin = world.db.admin();
    admin.run("UPDATE tenancy.scopes SET status = 'suspended' WHERE slug = 'acme'");
    for _ in 0..12 {
        admin.run(
            "DO $$ BEGIN FOR n IN 1..100 LOOP EXECUTE format('CREATE TABLE app.t%s (a integer PRIMARY KEY)', n); END LOOP;
                         FOR n IN 1..100 LOOP EXECUTE format('DROP TABLE app.t%s', n); END LOOP; END $$",
        );
    }
    busy.join().unwrap().fails(COUNT).code("42501");
}

#[test]
fn a_standby_reads_again_what_its_primary_changed_and_nothing_else() {
    let primary = Cluster::start_with(&["wal_level=replica", "max_wal_senders=4"], &[]);
    let standby = primary.standby();
    let world = crew(Db::on(primary.config()));
    let mut admin = world.db.admin();
    let mut config = standby.config();
    config.dbname(&world.db.name).user(&world.db.app);
    let written = "SELECT pg_current_wal_lsn()";
    let caught_up = |written: &str| {
        let mut asking = Session::connect(&standby.config());
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        while asking.text(&replayed) == "f" {
            thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(&standby.config(), "the standby");
    caught_up(&admin.text(written));
    let (mut here, mut other) = (Session::connect(&config), Session::connect(&config));
    here.login_session(world.key("alice"));
    other.login_session(world.key("bob"));
    assert_eq!((here.number(COUNT), other.number(COUNT)), (3, 5));
    let reads = other.number(READS);
    let mut change = |sql: &str, asleep: bool| {
        admin.run(sql);
        caught_up(&admin.text(written));
        assert_eq!(here.simple_query(COUNT).is_err(), asleep, "{sql}");
        assert_eq!(other.number(COUNT), 5);
    };
    change("SELECT tenancy.set_status('acme', 'suspended')", true);
    change("SELECT tenancy.set_status('acme', 'active')", false);
    change("SELECT tenancy.set_status('acme/alice', 'suspended')", true);
    assert_eq!(other.number(READS), reads);
}

#[test]
fn an_answer_that_a_change_overtook_is_not_kept() {
    let world = crew(Db::new());
    let mut owner = world.db.owner();
    let (step, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    owner.run("SELECT tenancy.define_role('acme', 'step', '{step:s0}'), tenancy.assign('acme/alice', 'step', 'acme')");
    thread::scope(|scope| {
        for kind in [Kind::Session, Kind::Key, Kind::Session] {
            let (world, step, stop) = (&world, &step, &stop);
            scope.spawn(move || {
                let mut session = world.db.app();
                if kind == Kind::Session {
                    session.login_session(world.key("alice"));
                }
                let mut seen = 0;
                while !stop.load(Ordering::SeqCst) {
                    let before = step.load(Ordering::SeqCst);
                    if kind == Kind::Key {
                        session.begin(world.key("alice"));
                    }
                    let text = session.text(
                        "SELECT max(substr(p, 7)::integer) FROM jsonb_array_elements_text(tenancy.context() -> 'permissions') p WHERE p LIKE 'step:s%'",
                    );
                    if kind == Kind::Key {
                        session.run("COMMIT");
                    }
                    let now: i64 = text.parse().unwrap();
                    assert!(now >= before && now >= seen, "{now} after {before}, {seen}");
                    seen = now;
                }
            });
        }
        for n in 1..=400 {
            owner.run(&format!(
                "SELECT tenancy.define_role('acme', 'step', '{{step:s{n}}}')"
            ));
            step.store(n, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn budgets_are_read_again_only_where_they_changed() {
    let (world, _) = world(Db::new());
    let (mut owner, mut admin) = (world.db.owner(), world.db.admin());
    let mut bob = world.db.app();
    bob.login_session(world.key("bob"));
    let fits = |bob: &mut Session, n: i64| bob.text(&format!("SELECT tenancy.fits('calls', {n})"));
    let reads = bob.number(READS);
    for (change, fitting, more) in [
        ("SELECT tenancy.set_budget('umbrella', 'calls', 5)", 15, 16),
        (
            "SELECT tenancy.grant_credit('umbrella', 'calls', 20)",
            35,
            36,
        ),
        (
            "UPDATE tenancy_internal.credit_grants SET closed_at = now()",
            5,
            6,
        ),
        ("TRUNCATE tenancy_internal.credit_grants", 5, 6),
        (
            "SELECT tenancy.set_budget('umbrella/bob', 'calls', 3)",
            3,
            4,
        ),
        ("SELECT tenancy.set_budget('globex', 'calls', 2)", 2, 3),
        ("SELECT tenancy.set_budget('platform', 'calls', 1)", 1, 2),
        ("SELECT tenancy.remove_budget('platform', 'calls')", 2, 3),
        (
            "DELETE FROM tenancy_internal.budget_definitions WHERE amount = 2000000",
            3,
            4,
        ),
        (
            "UPDATE tenancy_internal.budget_definitions SET hard = false WHERE amount = 3000000",
            5,
            6,
        ),
    ] {
        admin.run(change);
        assert_eq!(fits(&mut bob, fitting), "t", "{change}");
        assert_eq!(fits(&mut bob, more), "f", "{change}");
    }
    assert!(bob.number(READS) > reads);
    // Its clock is that of the partner, which changes it.
    let resets = "SELECT resets_at AT TIME ZONE 'UTC' FROM tenancy.check_budget('calls')";
    let utc = bob.text(resets);
    owner
        .run("SELECT tenancy.update_scope('globex', settings => '{\"time_zone\": \"Etc/GMT-5\"}')");
    assert_ne!(bob.text(resets), utc);
    owner.run("SELECT tenancy.update_scope('globex', settings => '{}')");
    assert_eq!(bob.text(resets), utc);
}

#[test]
fn tokens_are_verified_again_when_what_they_name_changes() {
    let (world, idp) = world(Db::new());
    let mut admin = world.db.admin();
    let token = idp.token("bert");
    let mut app = world.db.app();
    let mut session = world.db.app();
    session.login_session(&token);
    for (change, back) in [
        (
            "UPDATE tenancy_internal.identity_provider_registry SET enabled = false",
            "UPDATE tenancy_internal.identity_provider_registry SET enabled = true",
        ),
        (
            "UPDATE tenancy_internal.identity_provider_registry SET audiences = '{other}'",
            "UPDATE tenancy_internal.identity_provider_registry SET audiences = '{notes}'",
        ),
        (
            "UPDATE tenancy.scopes SET external_id = 'other' WHERE slug = 'bert'",
            "UPDATE tenancy.scopes SET external_id = 'bert' WHERE slug = 'bert'",
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM tenancy_internal.identity_provider_registry; TRUNCATE tenancy_internal.identity_provider_registry",
            "INSERT INTO tenancy_internal.identity_provider_registry SELECT * FROM kept; DROP TABLE kept",
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM tenancy_internal.identity_users; UPDATE tenancy_internal.identity_users SET provider_id = tenancy.new_id()",
            "TRUNCATE tenancy_internal.identity_users; INSERT INTO tenancy_internal.identity_users SELECT * FROM kept; DROP TABLE kept",
        ),
    ] {
        app.begin(&token).run("COMMIT");
        app.begin(&token).run("COMMIT");
        admin.run(change);
        app.run("BEGIN")
            .try_login(&token)
            .expect_err(change)
            .code("42501");
        app.run("ROLLBACK");
        let ended = session.simple_query(COUNT).is_err();
        assert_eq!(
            ended,
            !change.contains("external_id") && !change.contains("audiences"),
            "{change}"
        );
        admin.run(back);
        app.begin(&token).run("COMMIT");
        assert_eq!(session.number(COUNT), 5, "{back}");
    }
}
