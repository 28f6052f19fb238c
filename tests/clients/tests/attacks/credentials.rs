//! Credentials that were changed, cut, spliced or signed with another key are refused. ATTACKS D1, rows 3 to 5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::world::server;
use tenancy_client_tests::{Db, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

#[test]
fn a_retired_signing_key_ends_its_tickets() {
    let world = World::new();
    let ticket = world.ticket("alice", "5 minutes");
    let (mut open, mut kept) = (world.db.app(), world.db.app());
    open.run(&format!("SET tenancy.ticket = '{ticket}'"));
    kept.login_session(&ticket);
    assert_eq!((open.number(COUNT), kept.number(COUNT)), (3, 3));
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.rotate_signing_key('1 hour')");
    assert_eq!((open.number(COUNT), kept.number(COUNT)), (3, 3));
    world.db.app().login(&ticket);
    let newer = world.ticket("alice", "5 minutes");
    owner.run("SELECT tenancy.rotate_signing_key('0')");
    world
        .db
        .app()
        .try_login(&newer)
        .unwrap_err()
        .code("42501")
        .says("invalid credential")
        .hides(&newer);
    open.run(&format!("SET tenancy.ticket = '{newer}'"))
        .fails(COUNT)
        .code("42501")
        .hides(&newer);
    assert_eq!(
        world
            .db
            .app()
            .begin(&world.ticket("alice", "1 minute"))
            .number(COUNT),
        3
    );
}

#[test]
fn rotating_without_grace_ends_tickets_of_every_earlier_key() {
    let world = World::new();
    let first = world.ticket("alice", "5 minutes");
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.rotate_signing_key('1 hour')");
    owner.run("SELECT tenancy.rotate_signing_key('0')");
    // Rotating without grace invalidates all issued tickets.
    world.db.app().try_login(&first).unwrap_err().code("42501");
}

/// Of two rotations at once, the second one retires the keys of the first.
#[test]
fn a_rotation_without_grace_waits_for_another_and_ends_its_tickets() {
    let world = World::new();
    let ticket = world.ticket("alice", "5 minutes");
    let (mut first, mut second) = (world.db.owner(), world.db.owner());
    first.run("BEGIN; SELECT tenancy.rotate_signing_key('1 day')");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            second.run("SELECT tenancy.rotate_signing_key('0')");
        });
        let mut admin = world.db.admin();
        while admin.number("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND d.datname = current_database()") == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        first.run("COMMIT");
        waiting.join().unwrap();
    });
    world.db.app().try_login(&ticket).unwrap_err().code("42501");
    assert_eq!(
        world
            .db
            .admin()
            .number("SELECT count(*) FROM tenancy_internal.signing_keys WHERE retires_at IS NULL"),
        1
    );
}

#[test]
fn tickets_of_another_database_or_key_are_worth_nothing() {
    // One that was not copied from the same database: copies have its keys.
    let other = World::bare_in(Db::with_own_keys(server()));
    let world = World::new();
    let foreign = other.ticket("alice", "5 minutes");
    let mut app = world.db.app();
    app.try_login(&foreign)
        .unwrap_err()
        .code("42501")
        .hides(&foreign);
    app.run(&format!("SET tenancy.ticket = '{foreign}'"))
        .fails(COUNT)
        .code("42501")
        .says("invalid credential")
        .hides(&foreign);
    app.try_login(other.key("alice"))
        .unwrap_err()
        .code("42501")
        .hides(other.key("alice"));
}

#[test]
fn a_ticket_with_any_character_changed_is_refused() {
    let world = World::new();
    let ticket = world.ticket("alice", "5 minutes");
    let mut app = world.db.app();
    for at in 0..ticket.len() {
        for to in ['A', 'B', '_', '.'] {
            let mut changed: Vec<char> = ticket.chars().collect();
            if changed[at] == to {
                continue;
            }
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            app.try_login(&changed)
                .unwrap_err()
                .code("42501")
                .says("invalid credential")
                .hides(&changed);
        }
    }
    for end in 0..ticket.len() {
        app.try_login(&ticket[..end]).unwrap_err().code("42501");
    }
    for odd in [
        format!("{ticket}A"),
        format!("{ticket}="),
        format!(" {ticket}"),
        format!("{ticket}\n"),
        ticket.to_uppercase(),
        ticket.repeat(1000),
    ] {
        app.try_login(&odd)
            .unwrap_err()
            .code("42501")
            .hides(&ticket);
    }
    app.login(&ticket);
}

#[test]
fn parts_of_two_tickets_do_not_make_a_third() {
    let world = World::new();
    let (alice, bob) = (
        world.ticket("alice", "5 minutes"),
        world.ticket("bob", "5 minutes"),
    );
    let part = |ticket: &str, n: usize| ticket.split('.').nth(n).unwrap().to_owned();
    let spliced = format!("tnt1.{}.{}", part(&bob, 1), part(&alice, 2));
    world
        .db
        .app()
        .try_login(&spliced)
        .unwrap_err()
        .code("42501")
        .hides(&spliced);
}

#[test]
fn a_key_with_any_part_changed_is_refused() {
    let world = World::new();
    let (alice, bob) = (world.key("alice"), world.key("bob"));
    let mut app = world.db.app();
    for at in (0..alice.len()).step_by(3) {
        let mut changed: Vec<char> = alice.chars().collect();
        changed[at] = if changed[at] == '0' { '1' } else { '0' };
        let changed: String = changed.into_iter().collect();
        app.try_login(&changed)
            .unwrap_err()
            .code("42501")
            .says("invalid credential")
            .hides(&changed);
    }
    let secret = |key: &str| key[37..].to_owned();
    let spliced = format!("{}{}", &alice[..37], secret(bob));
    for odd in [
        spliced,
        alice[..40].to_owned(),
        format!("{alice}A"),
        format!(" {alice}"),
        alice.to_uppercase(),
    ] {
        app.try_login(&odd).unwrap_err().code("42501").hides(&odd);
    }
    // A hash is not the key.
    let hash = world
        .db
        .admin()
        .text("SELECT encode(hash, 'base64') FROM tenancy_internal.api_key_secrets LIMIT 1");
    app.try_login(&format!("{}{}", &alice[..37], &hash[..43]))
        .unwrap_err()
        .code("42501");
}

#[test]
fn a_ticket_for_one_tenant_of_the_fleet_stays_with_it() {
    let world = World::new();
    let sql = format!(
        "SELECT tenancy.issue_ticket('{}', tenant => 'acme')",
        world.id("ops")
    );
    let ticket = world.db.gateway().text(&sql);
    let mut app = world.db.app();
    app.run(&format!("SET tenancy.ticket = '{ticket}'"));
    assert_eq!(app.number(COUNT), 3);
    app.fails("SELECT tenancy.select_tenant('umbrella')")
        .code("42704");
    let sql = format!(
        "SELECT tenancy.issue_ticket('{}', tenant => 'soylent')",
        world.id("ops")
    );
    world.db.gateway().fails(&sql).code("42704");
}

#[test]
fn credentials_die_with_the_database() {
    let db = Db::new();
    db.app().try_login("tnk_0").unwrap_err().code("42501");
}
