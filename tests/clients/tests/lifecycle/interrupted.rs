//! purge_tenant() that is stopped anywhere and called again, while others write and protect tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Db, leaving};

#[test]
fn it_is_resumed_after_its_backend_was_ended_anywhere_while_others_write() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 2000);
    owner.run("SELECT tenancy.create_user('umbrella', 'bob'); SELECT tenancy.create_user('acme', 'u' || n) FROM generate_series(1, 300) n");
    let key = owner.text("SELECT tenancy.issue_api_key('umbrella/bob', 'k')");
    let before = leaving::rows(&db);
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (mut session, stop, key) = (db.app(), stop.clone(), key.clone());
            thread::spawn(move || {
                let mut written = 0_i64;
                while !stop.load(Ordering::Relaxed) {
                    session.begin(&key).run(
                        "INSERT INTO app.settings (org, key) VALUES ('8', 'new');
                         UPDATE app.accounts SET twin_id = twin_id WHERE id = (SELECT id FROM app.accounts ORDER BY random() LIMIT 1);
                         COMMIT",
                    );
                    written += 1;
                }
                written
            })
        })
        .collect();
    let mut dice = Dice::new(std::process::id().into(), 0);
    let mut admin = db.admin();
    let call = "CALL tenancy.purge_tenant('acme', 'contract ended', batch_rows => 100)";
    let mut ended = 0;
    for _ in 0..12 {
        let mut session = db.owner();
        let pid = session.pid();
        let purging = thread::spawn(move || session.try_run(call).is_ok());
        thread::sleep(Duration::from_millis(dice.roll(300)));
        admin.run(&format!("SELECT pg_terminate_backend({pid})"));
        match purging.join().unwrap() {
            true => break,
            false => ended += 1,
        }
        let state = admin.texts("SELECT DISTINCT state FROM tenancy.purges");
        assert!(
            state.is_empty() || state == ["interrupted"] || state == ["done"],
            "{state:?}"
        );
        if state == ["done"] {
            break;
        }
    }
    assert!(ended > 0);
    if admin.texts("SELECT DISTINCT state FROM tenancy.purges") != ["done"] {
        db.owner().run(call);
    }
    stop.store(true, Ordering::Relaxed);
    let written: i64 = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .sum();
    assert!(written > 0);
    let mut expected: Vec<String> = before
        .into_iter()
        .filter(|row| !row.contains(" acme "))
        .collect();
    for row in &mut expected {
        if row == "settings umbrella 2000" {
            *row = format!("settings umbrella {}", 2000 + written);
        }
    }
    assert_eq!(leaving::rows(&db), expected);
    // What was counted is what there was, however often it was stopped.
    let counts = "SELECT (details -> 'rows' ->> 'app.events') || ' ' || (details -> 'rows' ->> 'app.folders') || ' ' || (details -> 'rows' ->> 'tenancy.scopes')
                    FROM tenancy.audit_log WHERE action = 'tenancy.purge.done'";
    assert_eq!(admin.texts(counts), ["6000 2053 301"]);
}

#[test]
fn a_table_that_is_protected_in_between_is_emptied_too() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 20);
    owner.run(
        "CREATE TABLE app.late (tenant_id uuid, n integer); INSERT INTO app.late SELECT id, n FROM tenancy.tenants, generate_series(1, 10) n;
         SELECT tenancy.set_status('acme', 'deleted')",
    );
    // It waits for a writer, and meanwhile the table is protected.
    let mut writer = db.owner();
    writer.run("BEGIN; SELECT tenancy.maintenance('late'); INSERT INTO app.settings SELECT external_id, 'late' FROM tenancy.tenants WHERE slug = 'acme'");
    let mut session = db.owner();
    let purging = thread::spawn(move || {
        session.run("CALL tenancy.purge_tenant('acme', 'x')");
    });
    let mut admin = db.admin();
    while admin.number("SELECT count(*) FROM tenancy.purges WHERE table_name = 'app.customers' AND table_finished_at IS NOT NULL") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    owner.run("SELECT count(*) FROM tenancy.protect('app.late')");
    assert_eq!(admin.number("SELECT count(*) FROM app.late"), 20);
    writer.run("COMMIT");
    purging.join().unwrap();
    assert_eq!(admin.number("SELECT count(*) FROM app.late"), 10);
    assert_eq!(
        admin.number("SELECT count(*) FROM app.settings WHERE org = '7'"),
        0,
        "what was written meanwhile is gone"
    );
    assert_eq!(
        admin.texts("SELECT (details -> 'rows' ->> 'app.late') || ' ' || (details -> 'rows' ->> 'app.settings') FROM tenancy.audit_log WHERE action = 'tenancy.purge.done'"),
        ["10 21"]
    );
}

#[test]
fn a_hold_stops_a_running_purge_and_two_sessions_do_not_purge_one_tenant() {
    let db = Db::new();
    let mut owner = leaving::create(&db, 20);
    owner.run("SELECT tenancy.set_status('acme', 'deleted')");
    let mut writer = db.owner();
    writer.run("BEGIN; SELECT tenancy.maintenance('late'); INSERT INTO app.settings SELECT external_id, 'late' FROM tenancy.tenants WHERE slug = 'acme'");
    let mut session = db.owner();
    let purging = thread::spawn(move || session.try_run("CALL tenancy.purge_tenant('acme', 'x')"));
    let mut admin = db.admin();
    while admin.number("SELECT count(*) FROM tenancy.purges WHERE table_name = 'app.customers' AND table_finished_at IS NOT NULL") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        admin.texts("SELECT DISTINCT state FROM tenancy.purges"),
        ["running"]
    );
    db.owner()
        .fails("CALL tenancy.purge_tenant('acme', 'x')")
        .code("55006");
    admin.run("SELECT tenancy.set_legal_hold('acme', 'case 12')");
    writer.run("COMMIT");
    let failure = purging.join().unwrap().unwrap_err();
    failure.code("55000").says("legal hold");
    assert_eq!(
        admin.texts(
            "SELECT DISTINCT state || ' ' || (error LIKE 'a legal hold%') FROM tenancy.purges"
        ),
        ["failed true"]
    );
    assert_eq!(
        admin.number("SELECT count(*) FROM app.settings WHERE org = '7'"),
        1,
        "kept"
    );
    admin.run("SELECT tenancy.release_legal_hold('acme', 'over')");
    owner.run("CALL tenancy.purge_tenant('acme', 'x')");
}
