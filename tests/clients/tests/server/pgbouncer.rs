//! A real PgBouncer in transaction mode: many clients of many tenants over few server connections. No client ever sees a row of
//! another tenant, and at the end no row is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use postgres::Config;
use tenancy_client_tests::dice::Dice;
use tenancy_client_tests::program::PgBouncer;
use tenancy_client_tests::world::unique;
use tenancy_client_tests::{Failure, Session, World};
use uuid::Uuid;

const CLIENTS: usize = 32;
const TRANSACTIONS: u64 = 80;

/// A client's principal: its key, and the tenants whose rows it may see.
#[derive(Clone)]
struct Principal {
    key: String,
    tenants: Vec<Uuid>,
}

/// Twelve tenants in three fleets with a user each, and a user of each fleet.
fn principals(world: &World) -> Vec<Principal> {
    let mut owner = world.db.owner();
    let mut all = Vec::new();
    for fleet in 0..3 {
        owner.run(&format!("SELECT tenancy.create_partner('fleet-{fleet}')"));
        let mut tenants = Vec::new();
        for n in 0..4 {
            let slug = format!("t{fleet}{n}");
            let sql = format!("SELECT tenancy.create_tenant('{slug}', partner => 'fleet-{fleet}')");
            let id: Uuid = owner.text(&sql).parse().unwrap();
            owner.run(&format!("SELECT tenancy.create_user('{slug}', 'user')"));
            let key = owner.text(&format!("SELECT tenancy.issue_api_key('{slug}/user', 'k')"));
            all.push(Principal {
                key,
                tenants: vec![id],
            });
            tenants.push(id);
        }
        owner.run(&format!(
            "SELECT tenancy.create_user('fleet-{fleet}', 'ops', role => 'partner_admin')"
        ));
        let key = owner.text(&format!(
            "SELECT tenancy.issue_api_key('fleet-{fleet}/ops', 'k')"
        ));
        all.push(Principal { key, tenants });
    }
    all
}

/// One client: transactions of its principal, some rolled back, some cut off in the middle. Returns what it committed.
fn work(
    config: &Config,
    me: &Principal,
    seed: u64,
    done: &AtomicU64,
) -> Result<HashMap<Uuid, i64>, Failure> {
    let error = |error: postgres::Error| Failure::from(&error);
    let mut dice = Dice(seed * 7919 + 17);
    let mut committed: HashMap<Uuid, i64> = HashMap::new();
    let mut session = Session::try_connect(config)?;
    for _ in 0..TRANSACTIONS {
        // Without a context this connection shows nothing, whichever client used it before.
        if dice.roll(8) == 0 {
            assert_eq!(
                session.fails("SELECT tenant_id FROM app.notes").code,
                "55000"
            );
        }
        session.batch_execute("BEGIN").map_err(error)?;
        // Now and then with a wrong credential first, as a client with a stale one.
        if dice.roll(16) == 0 {
            assert_eq!(session.try_login("tnk_stale").unwrap_err().code, "42501");
            session.batch_execute("ROLLBACK; BEGIN").map_err(error)?;
        }
        session.try_login(&me.key)?;
        let tenant = *dice.of(&me.tenants);
        // Of several tenants it reads all, and writes to one that it has selected.
        if me.tenants.len() > 1 {
            let rows = session
                .query("SELECT DISTINCT tenant_id FROM app.notes", &[])
                .map_err(error)?;
            for row in &rows {
                let seen: Uuid = row.get(0);
                assert!(me.tenants.contains(&seen), "a row of another fleet");
            }
            // Without a row there is nothing to refuse.
            if dice.roll(3) == 0 && !rows.is_empty() {
                session.batch_execute("SAVEPOINT s").map_err(error)?;
                assert_eq!(
                    session.fails("UPDATE app.notes SET body = 'changed'").code,
                    "55000"
                );
                session.batch_execute("ROLLBACK TO s").map_err(error)?;
            }
            session
                .query("SELECT tenancy.select_tenant($1::uuid)", &[&tenant])
                .map_err(error)?;
        }
        let rows = 1 + dice.roll(3) as i64;
        for _ in 0..rows {
            session
                .execute(
                    "INSERT INTO app.notes (tenant_id, body) VALUES ($1, 'row')",
                    &[&tenant],
                )
                .map_err(error)?;
        }
        for row in session
            .query(
                "SELECT tenant_id FROM app.notes ORDER BY id DESC LIMIT 50",
                &[],
            )
            .map_err(error)?
        {
            let seen: Uuid = row.get(0);
            assert_eq!(seen, tenant, "a row of another tenant");
        }
        let touched = session
            .execute("UPDATE app.notes SET body = 'changed' WHERE id IN (SELECT id FROM app.notes ORDER BY id DESC LIMIT 1)", &[])
            .map_err(error)?;
        assert_eq!(touched, 1);
        done.fetch_add(1, Ordering::Relaxed);
        match dice.roll(10) {
            0 => session.batch_execute("ROLLBACK").map_err(error)?,
            1 => {
                // Gone in the middle of the transaction.
                drop(session);
                session = Session::try_connect(config)?;
            }
            _ => {
                session.batch_execute("COMMIT").map_err(error)?;
                *committed.entry(tenant).or_default() += rows;
            }
        }
    }
    Ok(committed)
}

#[test]
fn many_clients_of_many_tenants_over_four_server_connections() {
    let world = World::new();
    let principals = principals(&world);
    let upstream = world.db.config(&world.db.app);
    let bouncer = PgBouncer::start(&upstream, 4, "");
    let config = bouncer.config(&upstream);
    let total: Mutex<HashMap<Uuid, i64>> = Mutex::default();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (config, me, total, done) = (
                &config,
                &principals[client % principals.len()],
                &total,
                &done,
            );
            scope.spawn(move || {
                let committed = work(config, me, client as u64 + 1, done)
                    .unwrap_or_else(|failure| panic!("client {client}: {failure:?}"));
                let mut total = total.lock().unwrap();
                for (tenant, rows) in committed {
                    *total.entry(tenant).or_default() += rows;
                }
            });
        }
    });
    assert_eq!(done.into_inner(), CLIENTS as u64 * TRANSACTIONS);
    let total = total.into_inner().unwrap();
    let mut admin = world.db.admin();
    for tenant in principals.iter().flat_map(|p| &p.tenants) {
        let there: i64 = admin
            .query_one(
                "SELECT count(*) FROM app.notes WHERE tenant_id = $1",
                &[tenant],
            )
            .unwrap()
            .get(0);
        assert_eq!(
            there,
            total.get(tenant).copied().unwrap_or_default(),
            "rows of tenant {tenant}"
        );
    }
    let backends = admin.number(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        world.db.app
    ));
    assert!(backends <= 4, "{backends} server connections");
    drop(bouncer);
}

#[test]
fn one_server_connection_passes_from_tenant_to_tenant_with_nothing_left_on_it() {
    let world = World::new();
    let upstream = world.db.config(&world.db.app);
    let bouncer = PgBouncer::start(&upstream, 1, "");
    let config = bouncer.config(&upstream);
    let (mut one, mut two) = (Session::connect(&config), Session::connect(&config));
    one.begin(world.key("alice"));
    let pid = one.pid();
    let cursor = unique("c");
    one.run(&format!("DECLARE {cursor} CURSOR WITH HOLD FOR SELECT body FROM app.notes; CREATE TEMP TABLE left_over AS SELECT * FROM app.notes; COMMIT"));
    two.begin(world.key("bob"));
    assert_eq!(two.pid(), pid);
    assert_eq!(two.number("SELECT count(*) FROM app.notes"), 5);
    two.fails_inside(&format!("FETCH ALL FROM {cursor}"))
        .code("34000");
    two.fails_inside("SELECT * FROM left_over").code("42P01");
    two.run("COMMIT");
    two.fails("SELECT count(*) FROM app.notes").code("55000");
    // A session context left in a pool does not lock other clients out, and they do not get it once they authenticate.
    one.login_session(world.key("alice"));
    two.begin(world.key("bob"));
    assert_eq!(two.number("SELECT count(*) FROM app.notes"), 5);
    two.run("COMMIT");
}

#[test]
fn a_session_context_in_a_pool_is_gone_when_the_client_is_if_the_pool_resets() {
    let world = World::new();
    let upstream = world.db.config(&world.db.app);
    let bouncer = PgBouncer::start(
        &upstream,
        1,
        "server_reset_query = DISCARD ALL\nserver_reset_query_always = 1",
    );
    let config = bouncer.config(&upstream);
    Session::connect(&config).login_session(world.key("alice"));
    Session::connect(&config)
        .fails("SELECT count(*) FROM app.notes")
        .code("55000");
}
