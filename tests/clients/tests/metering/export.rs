//! export_usage(): every committed event once, in one order, whatever commits late and whoever crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::{Session, World};

fn metered() -> World {
    let world = World::bare();
    world
        .db
        .owner()
        .run("SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5)");
    world
}

/// Exports up to `most` events after a cursor: the ids, and the new cursor.
#[track_caller]
fn export(session: &mut Session, after: &str, most: u64) -> (Vec<String>, String) {
    session.page("export_usage", after, most)
}

/// Exports all after a cursor until there are so many: other databases' transactions may hold events back.
#[track_caller]
fn export_until(session: &mut Session, after: &str, many: usize) -> (Vec<String>, String) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let (ids, cursor) = export(session, after, 1_000_000);
        if ids.len() >= many {
            assert_eq!(ids.len(), many, "{ids:?}");
            return (ids, cursor);
        }
        assert!(Instant::now() < end, "{} of {many}", ids.len());
        thread::sleep(Duration::from_millis(20));
    }
}

fn record(world: &World, user: &str) -> String {
    let mut session = world.begin(user);
    let id = session.text("SELECT tenancy.record_usage('tokens', 3)");
    session.run("COMMIT");
    id
}

/// Writes in transactions of which some take long, some roll back, and some record late events.
fn write(world: &World, user: &str, seed: u64, until: &AtomicBool) {
    let mut dice = Dice(seed);
    let mut session = world.db.app();
    while !until.load(Ordering::Relaxed) {
        session.begin(world.key(user));
        for _ in 0..dice.roll(5) {
            session.run(&format!(
                "SELECT tenancy.record_usage('tokens', at => now() - interval '{} seconds')",
                dice.roll(3_000_000)
            ));
            if dice.roll(4) == 0 {
                session.run("SAVEPOINT s; SELECT tenancy.record_usage('tokens', 9); ROLLBACK TO s; SELECT tenancy.record_usage('tokens', 8)");
            }
        }
        let long = dice.roll(6) == 0;
        thread::sleep(Duration::from_millis(dice.roll(if long { 300 } else { 3 })));
        session.run(if dice.roll(6) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        });
    }
}

#[test]
fn every_event_once_whatever_commits_late() {
    let world = metered();
    let until = AtomicBool::new(false);
    let mut exported = Vec::new();
    let mut cursor = String::new();
    let mut admin = world.db.owner();
    thread::scope(|scope| {
        for (seed, user) in ["alice", "bob", "eve", "ops", "alice"]
            .into_iter()
            .enumerate()
        {
            let (world, until) = (&world, &until);
            scope.spawn(move || {
                if user == "ops" {
                    let mut gateway = world.db.gateway();
                    while !until.load(Ordering::Relaxed) {
                        gateway.run(&format!(
                            "INSERT INTO tenancy.recorded_usage (metric, user_id) SELECT 'tokens', '{}' FROM generate_series(1, 20)",
                            world.id("bob")
                        ));
                        thread::sleep(Duration::from_millis(30));
                    }
                } else {
                    write(world, user, seed as u64 + 1, until);
                }
            });
        }
        let mut dice = Dice(77);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            let (ids, last) = export(&mut admin, &cursor, 1 + dice.roll(40));
            // A crash before the rows and the cursor are stored.
            if !ids.is_empty() && dice.roll(4) > 0 {
                exported.extend(ids);
                cursor = last;
            }
        }
        until.store(true, Ordering::Relaxed);
    });
    let truth = admin.texts("SELECT id FROM tenancy.recorded_usage");
    assert!(exported.len() > 100 && truth.len() > 100, "{}", truth.len());
    let (rest, _) = export_until(&mut admin, &cursor, truth.len() - exported.len());
    exported.extend(rest);
    let set: BTreeSet<&String> = exported.iter().collect();
    assert_eq!(set.len(), exported.len(), "an event twice");
    assert_eq!(set, truth.iter().collect(), "an event is missing");
    let (again, _) = export_until(&mut admin, "", truth.len());
    assert_eq!(again, exported, "in another order");
}

#[test]
fn an_open_transaction_holds_later_events_back_and_the_lag_names_it() {
    let world = metered();
    let mut admin = world.db.owner();
    let before = record(&world, "alice");
    let (ids, cursor) = export_until(&mut admin, "", 1);
    assert_eq!(ids, [before]);
    let mut long = world.begin("alice");
    let late = long.text("SELECT tenancy.record_usage('tokens', 1)");
    let early = record(&world, "bob");
    assert_eq!(export(&mut admin, &cursor, 10), (vec![], String::new()));
    assert_eq!(
        admin.text("SELECT concat_ws(' ', events, recorded_at > now() - interval '1 minute', oldest_xid IS NOT NULL) FROM tenancy.export_lag()"),
        "1 t t"
    );
    // Another database's transaction may be older still.
    let end = Instant::now() + Duration::from_secs(30);
    let pid = long.pid().to_string();
    while admin.text("SELECT oldest_pid::text FROM tenancy.export_lag()") != pid {
        assert!(Instant::now() < end, "the holder is not named");
        thread::sleep(Duration::from_millis(20));
    }
    long.run("COMMIT");
    let (ids, _) = export_until(&mut admin, &cursor, 2);
    assert_eq!(ids, [late, early], "in the order of transactions");
    let lag = "SELECT concat_ws(' ', events, recorded_at, oldest_xid, oldest_pid) FROM tenancy.export_lag()";
    while admin.text(lag) != "0" {
        assert!(Instant::now() < end, "the lag stays");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn everyone_exports_what_they_see_and_no_cursor_shows_more() {
    let world = metered();
    let by_user: Vec<String> = ["alice", "bob", "eve"]
        .map(|user| record(&world, user))
        .to_vec();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_user('acme', 'carol', role => 'tenant_admin')");
    let carol = owner.text(
        "SELECT tenancy.issue_api_key((SELECT id FROM tenancy.users WHERE slug = 'carol'), 'k')",
    );
    let (all, cursor) = export_until(&mut owner, "", 3);
    assert_eq!(all, by_user);
    let mut app = world.db.app();
    for (key, sees) in [
        (world.key("alice"), &by_user[..1]),
        (&carol, &by_user[..1]),
        (world.key("eve"), &by_user[2..]),
        (world.key("ops"), &by_user[..2]),
        (world.key("boss"), &by_user[2..]),
    ] {
        app.begin(key);
        let (ids, own) = export(&mut app, "", 10);
        assert_eq!(ids, sees);
        let seen = app.texts("SELECT id FROM tenancy.recorded_usage ORDER BY id");
        assert_eq!(seen, sees, "as the view");
        for hidden in by_user.iter().filter(|id| !sees.contains(id)) {
            assert!(!own.contains(hidden.as_str()), "{own}");
        }
        // Another's cursor, and its own: nothing new.
        for after in [&cursor, &own] {
            let (ids, _) = export(&mut app, after, 10);
            assert!(ids.iter().all(|id| sees.contains(id)), "{ids:?}");
        }
        app.run("ROLLBACK");
    }
    // With a context an administrator sees what its user sees.
    let mut gateway = world.db.gateway();
    gateway.run(&format!(
        "BEGIN; SELECT tenancy.assume('{}')",
        world.id("eve")
    ));
    assert_eq!(export(&mut gateway, "", 10).0, &by_user[2..]);
    gateway.run("ROLLBACK");
    assert_eq!(export(&mut gateway, "", 10).0, by_user);
    // Silence would be read as nothing new.
    app.fails("SELECT * FROM tenancy.export_usage()")
        .code("55000");
    owner.run("SELECT tenancy.define_role('acme', 'mute', '{data:read}'), tenancy.create_user('acme', 'mia', role => 'mute')");
    let mia = owner.text(
        "SELECT tenancy.issue_api_key((SELECT id FROM tenancy.users WHERE slug = 'mia'), 'k')",
    );
    app.begin(&mia);
    app.fails("SELECT * FROM tenancy.export_usage()")
        .code("42501");
    app.run("ROLLBACK");
    app.begin(world.key("alice"));
    app.fails("SELECT * FROM tenancy.export_lag()")
        .code("42501");
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    let world = metered();
    record(&world, "alice");
    let mut owner = world.db.owner();
    let (_, cursor) = export_until(&mut owner, "", 1);
    let (origin, place) = cursor.split_once('.').unwrap();
    let (_, id) = place.split_once('.').unwrap();
    let places = cursor.strip_prefix("0;").unwrap();
    for bad in [
        String::new(),
        "x".to_owned(),
        origin.to_owned(),
        places.to_owned(),
        format!("{cursor},"),
        format!("{cursor},{cursor}"),
        format!("{cursor},{places}"),
        format!("1{cursor}{cursor}"),
        format!("{cursor}'"),
        format!("0;99999999999999999999.1.{id}"),
        format!("0;9999999999999999999.1.{id}"),
        format!("{origin}.18446744073709551615.{id}"),
        cursor.to_uppercase().replace('.', ","),
        "1".repeat(5000),
    ] {
        owner
            .fails_with("SELECT * FROM tenancy.export_usage($1)", &[&bad])
            .code("22023");
    }
    for most in ["0", "-1"] {
        owner
            .fails(&format!(
                "SELECT * FROM tenancy.export_usage(max_rows => {most})"
            ))
            .code("22023");
    }
    // No new events: the cursor stays.
    assert!(export(&mut owner, &cursor, 5).0.is_empty());
}

#[test]
fn dropped_months_are_a_gap_for_those_who_have_not_exported_them() {
    let world = metered();
    let mut admin = world.db.admin();
    let alice = world.id("alice");
    let mut ids = Vec::new();
    for ago in ["70 days", "0", "70 days", "70 days", "0"] {
        ids.push(admin.text(&format!(
            "SET tenancy.usage_late = 100; SELECT tenancy.record_usage_for('{alice}', 'tokens', at => now() - interval '{ago}')"
        ).replace("SET tenancy.usage_late = 100; ", if ids.is_empty() { "SET tenancy.usage_late = 100; " } else { "" })));
    }
    let (all, _) = export_until(&mut admin, "", 5);
    assert_eq!(all, ids);
    let cursors: Vec<String> = (1..=5).map(|most| export(&mut admin, "", most).1).collect();
    admin.run("SELECT tenancy.rollup()");
    assert_eq!(admin.number("SELECT tenancy_internal.retire_usage(31)"), 1);
    for cursor in &cursors[..3] {
        admin
            .fails(&format!("SELECT * FROM tenancy.export_usage('{cursor}')"))
            .code("55000")
            .says("dropped");
    }
    assert_eq!(export(&mut admin, &cursors[3], 9).0, ids[4..]);
    // An export that begins anew knows of the gap, wherever its first rows are.
    let (first, cursor) = export(&mut admin, "", 1);
    assert_eq!(first, ids[1..2]);
    assert_eq!(export(&mut admin, &cursor, 9).0, ids[4..]);
}

#[test]
fn events_of_a_restored_dump_come_once_too() {
    let world = metered();
    let first = record(&world, "alice");
    let mut admin = world.db.admin();
    let (_, cursor) = export_until(&mut admin, "", 1);
    // As rows of other clusters, whose identifiers are lower and higher.
    for (origin, id) in [
        ("5", "00000000-0000-7000-8000-000000000005"),
        (
            "9223372036854775807",
            "00000000-0000-7000-8000-000000000009",
        ),
        ("-7", "00000000-0000-7000-8000-000000000007"),
    ] {
        admin.run(&format!(
            "INSERT INTO tenancy_internal.usage_events (at, origin, xid, id, metric_id, partner_id, tenant_id, project_id, user_id, quantity, cost, value, dimensions, attributes)
             SELECT at, {origin}, '7777777777777', '{id}', metric_id, partner_id, tenant_id, project_id, user_id, quantity, cost, value, dimensions, attributes
               FROM tenancy_internal.usage_events WHERE id = '{first}'"
        ));
    }
    let last = record(&world, "bob");
    let (rest, end) = export_until(&mut admin, &cursor, 4);
    assert_eq!(
        rest,
        [
            "00000000-0000-7000-8000-000000000007",
            "00000000-0000-7000-8000-000000000005",
            "00000000-0000-7000-8000-000000000009",
            last.as_str()
        ]
    );
    // One at a time it is the same.
    let (mut one_by_one, mut at) = (Vec::new(), cursor);
    loop {
        let (ids, next) = export(&mut admin, &at, 1);
        if ids.is_empty() {
            break;
        }
        one_by_one.extend(ids);
        at = next;
    }
    assert_eq!(one_by_one, rest);
    assert_eq!(at, end);
    let newest = record(&world, "bob");
    assert_eq!(export_until(&mut admin, &end, 1).0, [newest]);
    // A tenant's cursor names no event of others.
    let mut alice = world.begin("alice");
    let (_, own) = export(&mut alice, "", 100);
    assert!(!own.contains(&last), "{own}");
}

#[test]
fn copy_writes_csv_and_json_lines() {
    let world = metered();
    let mut session = world.begin("alice");
    session.run("SELECT tenancy.record_usage('tokens', 1.5, attributes => '{\"a\": \"x,\\\"y\\\"\"}'); COMMIT");
    let mut owner = world.db.owner();
    export_until(&mut owner, "", 1);
    let mut read = |sql: &str| {
        let mut text = String::new();
        let mut copy = owner.copy_out(sql).unwrap();
        copy.read_to_string(&mut text).unwrap();
        text
    };
    let csv = read(
        "COPY (SELECT metric, quantity, cost, attributes FROM tenancy.export_usage()) TO STDOUT (FORMAT csv, HEADER)",
    );
    assert_eq!(
        csv,
        "metric,quantity,cost,attributes\ntokens,1.5,0.75,\"{\"\"a\"\": \"\"x,\\\"\"y\\\"\"\"\"}\"\n"
    );
    let json = read(
        "COPY (SELECT row_to_json(e) FROM tenancy.export_usage() e) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')",
    );
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["attributes"]["a"], "x,\"y\"");
    assert_eq!(json.lines().count(), 1);
}
