//! A tenant that moves to another database while its application writes, of which every step is stopped and taken up again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::exported::stage;
use tenancy_client_tests::program::Cluster;
use tenancy_client_tests::{Db, Session, leaving};

const NAME: &str =
    "SELECT 'tenancy_move_' || replace(id::text, '-', '') FROM tenancy.tenants WHERE slug = 'acme'";

fn cluster() -> Cluster {
    Cluster::start_with(
        &[
            "wal_level=logical",
            "max_wal_senders=16",
            "max_replication_slots=16",
            "max_logical_replication_workers=16",
            "max_sync_workers_per_subscription=4",
            "max_worker_processes=32",
            "wal_retrieve_retry_interval=100ms",
        ],
        &[],
    )
}

/// A database with the same tables, and a tenant of its own.
fn another(cluster: &Cluster) -> Db {
    let db = Db::on(cluster.config());
    let mut owner = db.owner();
    leaving::tables(&mut owner);
    owner.run(
        "SELECT tenancy.create_partner('globex'); SELECT tenancy.create_tenant('soylent', 'Soylent', partner => 'globex', external_id => '9');
         ALTER TABLE app.customers ALTER id RESTART 1000000; ALTER TABLE app.notes ALTER id RESTART 1000000",
    );
    leaving::fill(&mut owner, "soylent", 20);
    // They start again where another server's would: behind the rows that come is the import's work.
    owner.run(
        "ALTER TABLE app.customers ALTER id RESTART 1; ALTER TABLE app.notes ALTER id RESTART 1",
    );
    leaving::protect(&mut owner);
    db
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Subscribes in the other database of the same server, where the slot is made first.
fn subscribe(cluster: &Cluster, from: &Db, to: &Db, role: &str) -> String {
    let mut here = from.admin();
    let name = here.text(NAME);
    here.run(&format!(
        "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
    ));
    let mut there = to.admin();
    let as_owner = if there.major() < 16 {
        ""
    } else {
        ", run_as_owner = true"
    };
    there.run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port={} user={role} dbname={}' PUBLICATION {name} WITH (create_slot = false, slot_name = '{name}'{as_owner})",
        cluster.config().get_ports()[0], from.name
    ));
    name
}

fn copied(cluster: &Cluster, to: &Db) {
    let end = Instant::now() + Duration::from_secs(60);
    let copying = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
    while !Session::try_connect(&to.config("postgres"))
        .is_ok_and(|mut there| there.number(copying) == 0)
    {
        let log = cluster.log();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(
            Instant::now() < end,
            "not copied: {:?}",
            errors.last_chunk::<5>()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Drops the subscription, and not the slot, as when the other server is gone.
fn unsubscribe(from: &Db, to: &Db, name: &str) {
    to.admin()
        .run(&format!("ALTER SUBSCRIPTION {name} DISABLE"));
    wait("it is connected", || {
        from.admin()
            .number("SELECT count(*) FROM pg_replication_slots WHERE active")
            == 0
    });
    to.admin().run(&format!(
        "ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}"
    ));
}

/// The replica identity of each table.
fn identities(db: &Db) -> Vec<String> {
    db.admin().texts(
        "SELECT c.relname || ' ' || c.relreplident::text || ' ' || coalesce((SELECT indexrelid::regclass::text FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident), '')
           FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1",
    )
}

fn digest(owner: &mut Session) -> Vec<String> {
    owner.texts(
        "SELECT table_name || ' ' || rows || ' ' || coalesce(hash, '-') FROM tenancy.move_digest('acme') ORDER BY 1",
    )
}

fn state(db: &Db) -> String {
    db.owner()
        .texts("SELECT state || ' ' || running FROM tenancy.moves WHERE tenant = 'acme'")
        .join(",")
}

/// Writes as the application, until it is told to stop or refused. Returns how many customers it has added, and of how many
/// commits the server's end has taken the answer.
fn write(
    db: &Db,
    key: &str,
    external: &'static str,
    stop: &Arc<AtomicBool>,
    seed: u64,
) -> thread::JoinHandle<(i64, i64)> {
    let (config, key, stop) = (db.config(&db.app), key.to_owned(), stop.clone());
    thread::spawn(move || {
        let mut dice = Dice::new(seed, std::process::id().into());
        let (mut added, mut unknown) = (0, 0);
        let mut session = None;
        while !stop.load(Ordering::Relaxed) {
            // The server may just start again.
            let Some(open) = session.as_mut() else {
                session = Session::try_connect(&config).ok();
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let open: &mut Session = open;
            if let Err(failure) =
                open.try_run(&format!("BEGIN; SELECT tenancy.authenticate('{key}')"))
            {
                if open.is_closed() {
                    session = None;
                    continue;
                }
                assert!(failure.code.starts_with("42501"), "{failure:?}");
                return (added, unknown);
            }
            let commits = dice.chance(80);
            let n = dice.roll(1 << 40);
            let done = open.try_run(&format!(
                "INSERT INTO app.customers (name) VALUES ('added');
                 INSERT INTO app.orders (id, customer_id, total) SELECT {n} + 1000000, max(id), 1 FROM ONLY app.customers;
                 UPDATE app.orders SET total = total + 1, state = 'shut' WHERE id = (SELECT id FROM app.orders ORDER BY random() LIMIT 1);
                 UPDATE app.settings SET value = value + 1 WHERE key = (SELECT key FROM app.settings ORDER BY random() LIMIT 1);
                 INSERT INTO app.settings (org, key) VALUES ('{external}', '{n}');
                 INSERT INTO app.teams (id, lead_id) VALUES ({n} + 100000, {n} + 100000);
                 INSERT INTO app.members (id, team_id) VALUES ({n} + 100000, {n} + 100000);
                 UPDATE app.notes SET body = body || 'x' WHERE id = (SELECT id FROM app.notes ORDER BY random() LIMIT 1);
                 DELETE FROM app.notes WHERE id = (SELECT id FROM app.notes ORDER BY random() LIMIT 1);
                 UPDATE app.events SET at = at + interval '1 day' * (random() * 700 - 350) WHERE id = (SELECT id FROM app.events e WHERE NOT EXISTS (SELECT FROM app.notes n WHERE n.event_id = e.id) ORDER BY random() LIMIT 1);
                 UPDATE app.folders SET parent_id = NULL WHERE id = (SELECT id FROM app.folders ORDER BY random() LIMIT 1);
                 DELETE FROM app.drafts WHERE id = (SELECT id FROM app.drafts ORDER BY random() LIMIT 1);
                 UPDATE app.payments SET amount = 2 WHERE order_id = (SELECT order_id FROM app.payments ORDER BY random() LIMIT 1);
                 {}",
                if commits { "COMMIT" } else { "ROLLBACK" }
            ));
            match done {
                Ok(()) if commits => added += 1,
                Ok(()) => {}
                Err(_) if open.is_closed() => {
                    unknown += i64::from(commits);
                    session = None;
                }
                // Suspended in the middle, or two writers of one row.
                Err(failure) => {
                    assert!(
                        ["42501", "40P01", "40001", "23503"].contains(&failure.code.as_str()),
                        "{failure:?}"
                    );
                    open.run("ROLLBACK");
                }
            }
        }
        (added, unknown)
    })
}

/// The application's tables, keys and users. Returns acme's key, and umbrella's.
fn application(db: &Db, size: u32) -> (String, String) {
    let mut owner = leaving::create(db, size);
    owner.run("SELECT tenancy.create_user('umbrella', 'bob'); SELECT tenancy.create_user('acme', 'alice')");
    let mut key = |user: &str| owner.text(&format!("SELECT tenancy.issue_api_key('{user}', 'k')"));
    (key("acme/alice"), key("umbrella/bob"))
}

#[test]
fn no_row_is_lost_while_all_steps_are_interrupted_and_others_write() {
    let cluster = cluster();
    let db = Db::on(cluster.config());
    let (alice, bob) = application(&db, 100);
    let there = another(&cluster);
    let (before, others) = (identities(&db), leaving::rows(&there));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2).map(|n| write(&db, &alice, "7", &stop, n)).collect();
    let other = write(&db, &bob, "8", &stop, 7);
    let mut dice = Dice::new(std::process::id().into(), 1);

    // Prepared, although its session ends again and again.
    let out = "CALL tenancy.move_tenant_out('acme', lock_timeout => '200ms')";
    for _ in 0..4 {
        let mut session = db.owner();
        let pid = session.pid();
        let moving = thread::spawn(move || session.try_run(out).is_ok());
        thread::sleep(Duration::from_millis(dice.roll(250)));
        db.admin()
            .run(&format!("SELECT pg_terminate_backend({pid})"));
        moving.join().unwrap();
    }
    db.owner().run(out);
    assert_eq!(state(&db), "copying false");
    let name = subscribe(&cluster, &db, &there, "postgres");

    // One process of the copy is killed, and with it the server.
    let apply = "SELECT pid FROM pg_stat_activity WHERE backend_type IN ('logical replication worker', 'logical replication apply worker', 'walsender') LIMIT 1";
    wait("no worker", || !db.admin().texts(apply).is_empty());
    let pid = db.admin().text(apply).parse().unwrap();
    cluster.kill_process(pid);
    copied(&cluster, &there);
    // And once more while it follows, without the server.
    let sender = "SELECT active_pid FROM pg_replication_slots WHERE active AND slot_name LIKE 'tenancy_move_%'";
    wait("not connected", || !db.admin().texts(sender).is_empty());
    let pid = db.admin().text(sender);
    db.admin()
        .run(&format!("SELECT pg_terminate_backend({pid})"));
    wait("not connected", || {
        let senders = db.admin().texts(sender);
        !senders.is_empty() && senders != [pid.clone()]
    });

    // Switched over, likewise.
    let over = "CALL tenancy.switch_over('acme', 'db2.example.com/shop')";
    for _ in 0..4 {
        let mut session = db.owner();
        let pid = session.pid();
        let switching = thread::spawn(move || session.try_run(over).is_ok());
        thread::sleep(Duration::from_millis(dice.roll(150)));
        db.admin()
            .run(&format!("SELECT pg_terminate_backend({pid})"));
        switching.join().unwrap();
    }
    db.owner().run(over);
    assert_eq!(state(&db), "switched false");
    let mut owner = db.owner();
    assert_eq!(
        owner.text("SELECT effective_status FROM tenancy.tenants WHERE slug = 'acme'"),
        "suspended"
    );
    // All that was committed is there, and once.
    let (mut added, mut unknown) = (0, 0);
    for writer in writers {
        let (some, others) = writer.join().unwrap();
        (added, unknown) = (added + some, unknown + others);
    }
    let stored = db.admin().number(
        "SELECT count(*) FROM app.customers c JOIN tenancy.tenants t ON t.id = c.tenant_id WHERE t.slug = 'acme' AND c.name = 'added'",
    );
    assert!(added > 0 && (added..=added + unknown).contains(&stored));
    let lines = owner.texts("SELECT tenancy.export_tenant('acme', rows => false)");
    let mut owner_there = there.owner();
    stage(&mut owner_there, &lines);
    owner_there.run(
        "SELECT tenancy.import_tenant('lines', 'globex', ids => 'moved', status => 'suspended')",
    );
    let digests = digest(&mut owner);
    assert_eq!(digests.len(), 12);
    assert_eq!(digest(&mut owner_there), digests);
    // Nothing else has come, and what was there is as it was.
    let now = leaving::rows(&there);
    assert!(
        now.iter()
            .all(|row| row.contains(" acme ") || others.contains(row)),
        "{now:?}"
    );
    assert!(others.iter().all(|row| now.contains(row)), "{now:?}");

    // The subscription ends, and the move.
    owner
        .fails("CALL tenancy.finish_move('acme')")
        .code("55006");
    owner
        .fails("CALL tenancy.cancel_move('acme')")
        .code("55006");
    unsubscribe(&db, &there, &name);
    owner
        .fails("CALL tenancy.finish_move('acme')")
        .code("42501");
    db.admin()
        .run(&format!("ALTER ROLE {} REPLICATION", db.owner));
    db.owner().run("CALL tenancy.finish_move('acme')");
    assert_eq!(state(&db), "moved false");
    assert_eq!(identities(&db), before);
    assert_eq!(
        db.admin().number("SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots)"),
        0
    );
    stop.store(true, Ordering::Relaxed);
    assert!(other.join().unwrap().0 > 0);

    // It works there, with ids behind those that came; and no more here.
    owner
        .fails("SELECT tenancy.set_status('acme', 'active')")
        .code("55000")
        .says("db2.example.com/shop");
    owner_there.run("SELECT tenancy.set_status('acme', 'active')");
    let key = owner_there.text("SELECT tenancy.issue_api_key('acme/alice', 'k')");
    there
        .app()
        .begin(&key)
        .run("INSERT INTO app.customers (name) VALUES ('new'); INSERT INTO app.notes (org) VALUES (7); COMMIT");
    owner
        .run("SELECT tenancy.set_status('acme', 'deleted')")
        .run("CALL tenancy.purge_tenant('acme', 'moved')");
    assert_eq!(state(&db), "");
    assert_eq!(
        there
            .app()
            .begin(&key)
            .number("SELECT count(*) FROM app.customers WHERE name = 'added'"),
        stored
    );
}

#[test]
fn what_is_new_is_refused_until_it_is_taken_up_and_cancelling_restores_all() {
    let cluster = cluster();
    let db = Db::on(cluster.config());
    let (alice, _) = application(&db, 20);
    let there = another(&cluster);
    let mut owner = db.owner();
    let before = identities(&db);
    let out = "CALL tenancy.move_tenant_out('acme')";
    let over = "CALL tenancy.switch_over('acme', 'db2', timeout_seconds => 1)";
    owner.fails(over).code("42704");
    owner.run("CALL tenancy.move_tenant_out('acme', dry_run => true)");
    assert_eq!(
        (identities(&db), state(&db)),
        (before.clone(), String::new())
    );
    owner.run(out);
    owner
        .fails(over)
        .code("55000")
        .details("No subscriber is connected");
    // It need not be a superuser who reads the rows.
    let mover = format!("{}_move", db.name);
    db.admin().run(&format!(
        "ALTER ROLE {0} REPLICATION; CREATE ROLE {mover} LOGIN REPLICATION BYPASSRLS IN ROLE {0}",
        db.owner
    ));
    let name = subscribe(&cluster, &db, &there, &mover);
    copied(&cluster, &there);

    // A table, a part whose key has no tenant column, and a change of the publication.
    let late = "CREATE TABLE app.late (tenant_id uuid NOT NULL DEFAULT tenancy.tenant_id(), id bigint, note text, PRIMARY KEY (id)); SELECT count(*) FROM tenancy.protect('app.late')";
    owner.run(late);
    there.owner().run(late);
    owner.run("CREATE TABLE app.elders () INHERITS (app.customers)");
    there
        .owner()
        .run("CREATE TABLE app.elders () INHERITS (app.customers)");
    let failure = owner
        .fails(over)
        .code("55000")
        .details("app.late: it is not published");
    failure.details("app.elders");
    owner.run(out);
    let mut other = db.owner();
    other
        .run("BEGIN; SELECT tenancy.maintenance('x')")
        .run(&format!(
            "ALTER PUBLICATION {name} SET (publish = 'insert, truncate')"
        ))
        .run("COMMIT");
    owner
        .fails(over)
        .code("55000")
        .details("others have changed it");
    owner.run(out);
    there
        .admin()
        .run(&format!("ALTER SUBSCRIPTION {name} REFRESH PUBLICATION"));
    copied(&cluster, &there);
    let mut app = db.app();
    app.begin(&alice)
        .run("INSERT INTO app.late (id) VALUES (1); UPDATE app.late SET note = 'n'; COMMIT");

    // A writer who does not end: the tenant gets its status back, and then has all.
    app.begin(&alice)
        .run("INSERT INTO app.late (id) VALUES (2)");
    owner.fails(over).code("55000").says("within 1 seconds");
    assert_eq!(state(&db), "copying false");
    app.run("COMMIT")
        .begin(&alice)
        .run("UPDATE app.late SET note = 'm' WHERE id = 2; COMMIT");
    owner.run(over);
    app.fails(&format!("BEGIN; SELECT tenancy.authenticate('{alice}')"))
        .code("42501");
    assert_eq!(
        there
            .admin()
            .texts("SELECT id || coalesce(note, '') FROM app.late ORDER BY 1"),
        ["1n", "2m"]
    );
    owner
        .fails("SELECT tenancy.set_status('acme', 'active')")
        .code("55000");
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    owner
        .fails("CALL tenancy.purge_tenant('acme', 'x')")
        .code("55000")
        .says("is being moved");
    owner.fails(out).code("55000").says("was moved to db2");

    // Another tenant's move needs the identities, until it is cancelled too.
    owner.run("CALL tenancy.move_tenant_out('umbrella')");
    owner
        .fails("CALL tenancy.finish_move('umbrella')")
        .code("55000");
    unsubscribe(&db, &there, &name);
    let during = identities(&db);
    owner.run("CALL tenancy.cancel_move('acme')");
    assert_eq!(identities(&db), during);
    owner.run("CALL tenancy.cancel_move('umbrella')");
    let after: Vec<String> = identities(&db)
        .into_iter()
        .filter(|table| !table.starts_with("late") && !table.starts_with("elders"))
        .collect();
    assert_eq!(after, before);
    assert_eq!(
        db.admin().number(
            "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM tenancy.moves)"
        ),
        0
    );
    owner.run("SELECT tenancy.set_status('acme', 'active')");
}

#[test]
fn who_may_not_move_a_tenant_and_which_cannot_be_moved() {
    let cluster = cluster();
    let db = Db::on(cluster.config());
    let (alice, _) = application(&db, 2);
    let mut owner = db.owner();
    let id = owner.text("SELECT id FROM tenancy.tenants WHERE slug = 'acme'");
    for call in [
        "CALL tenancy.move_tenant_out('acme')",
        "CALL tenancy.switch_over('acme', 'x')",
        "CALL tenancy.finish_move('acme')",
        "CALL tenancy.cancel_move('acme')",
        "SELECT tenancy.move_digest('acme')",
    ] {
        db.app().fails(&call.replace("acme", &id)).code("42501");
        let mut app = db.app();
        app.begin(&alice).fails(call).code("42501");
    }
    // An administrator who owns no table gets what stands in the way.
    let mut admin = db.admin();
    admin.run(&format!("GRANT tenancy_admin TO {}", db.stranger));
    db.stranger()
        .fails("CALL tenancy.move_tenant_out('acme')")
        .code("55000")
        .details("app.customers: the caller is neither its owner");
    db.stranger()
        .fails("SELECT tenancy.move_digest('acme')")
        .code("42501");
    // Neither has who manages the tenant as a user.
    owner.run("CREATE UNLOGGED TABLE app.fast (tenant_id uuid NOT NULL, id bigint PRIMARY KEY); SELECT count(*) FROM tenancy.protect('app.fast')");
    owner.run("CREATE TABLE app.shapes (tenant_id uuid NOT NULL, at point); SELECT count(*) FROM tenancy.protect('app.shapes')");
    owner
        .fails("CALL tenancy.move_tenant_out('acme')")
        .code("55000")
        .details("app.fast: it is unlogged")
        .details("app.shapes: it has no primary key");
    owner.run("DROP TABLE app.fast, app.shapes");
    owner
        .fails("BEGIN; CALL tenancy.move_tenant_out('acme')")
        .code("25001");
    owner.run("ROLLBACK");
    owner
        .fails("CALL tenancy.move_tenant_out('platform')")
        .code("22023");

    // A suspended or archived one moves as it is, a deleted one does not.
    for status in ["suspended", "archived", "provisioning"] {
        owner.run(&format!("SELECT tenancy.set_status('acme', '{status}')"));
        owner
            .run("CALL tenancy.move_tenant_out('acme'); ")
            .run("CALL tenancy.cancel_move('acme')");
        assert_eq!(
            owner.text("SELECT status FROM tenancy.tenants WHERE slug = 'acme'"),
            status
        );
    }
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    owner
        .fails("CALL tenancy.move_tenant_out('acme')")
        .code("55000")
        .says("is deleted");
    assert_eq!(state(&db), "");
}
