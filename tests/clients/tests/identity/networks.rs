//! Allowed networks: checked in each transaction, for every credential, at every scope above the user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

fn set(owner: &mut Session, scope: &str, networks: &str) {
    let networks = match networks {
        "" => "NULL".to_owned(),
        some => format!("'{{{some}}}'"),
    };
    owner.run(&format!(
        "SELECT tenancy.set_allowed_networks('{scope}', {networks})"
    ));
}

#[track_caller]
fn kept_out(session: &mut Session) {
    session
        .fails(COUNT)
        .code("42501")
        .says("not allowed from this address");
}

#[test]
fn an_address_outside_the_networks_is_refused_with_any_credential() {
    let world = World::new();
    let mut owner = world.db.owner();
    let ticket = world.ticket("alice", "5 minutes");
    let (mut session, mut by_ticket, mut request) =
        (world.db.app(), world.db.app(), world.db.app());
    session.login_session(world.key("alice"));
    by_ticket.run(&format!("SET tenancy.ticket = '{ticket}'"));
    for networks in [
        "",
        "127.0.0.0/8",
        "10.0.0.0/8,127.0.0.1",
        "0.0.0.0/0",
        "::ffff:127.0.0.1",
    ] {
        set(&mut owner, "acme", networks);
        assert_eq!(session.number(COUNT), 3, "{networks}");
        assert_eq!(by_ticket.number(COUNT), 3, "{networks}");
        request.begin(world.key("alice"));
        assert_eq!(request.number(COUNT), 3, "{networks}");
        request.run("COMMIT");
    }
    for networks in ["10.0.0.0/8", "127.0.0.2", "::/0", "::1"] {
        set(&mut owner, "acme", networks);
        kept_out(&mut session);
        kept_out(&mut by_ticket);
        for credential in [world.key("alice"), &ticket] {
            request
                .try_login(credential)
                .unwrap_err()
                .code("42501")
                .says("not allowed from this address")
                .hides(credential);
        }
        // Only who has a good credential learns of it.
        request
            .try_login("tnk_0")
            .unwrap_err()
            .says("invalid credential");
        // Others are not touched.
        for (user, rows) in [("bob", 5), ("ops", 8), ("eve", 7)] {
            let mut other = world.begin(user);
            assert_eq!(other.number(COUNT), rows);
        }
    }
    set(&mut owner, "acme", "");
    assert_eq!(session.number(COUNT), 3);
}

#[test]
fn all_scopes_above_the_user_have_a_say() {
    let world = World::new();
    let mut owner = world.db.owner();
    let mut alice = world.db.app();
    alice.login_session(world.key("alice"));
    for scope in ["platform", "globex", "acme", "acme/alice"] {
        set(&mut owner, "acme", "127.0.0.1");
        set(&mut owner, scope, "10.0.0.0/8");
        kept_out(&mut alice);
        set(&mut owner, scope, "127.0.0.1");
        assert_eq!(alice.number(COUNT), 3);
        set(&mut owner, scope, "");
    }
}

#[test]
fn the_gateway_vouches_for_its_users_address() {
    let world = World::new();
    let mut owner = world.db.owner();
    set(&mut owner, "acme", "192.0.2.0/24,2001:db8::/32");
    let mut gateway = world.db.gateway();
    let id = world.id("alice");
    let assume = |client: &str, session: bool| {
        format!("SELECT tenancy.assume('{id}', client => {client}, session => {session})")
    };
    for client in [
        "'192.0.2.7'",
        "'192.0.2.7/24'",
        "'2001:db8::7'",
        "'::ffff:192.0.2.7'",
    ] {
        gateway.run("BEGIN").run(&assume(client, false));
        assert_eq!(gateway.number(COUNT), 3);
        // The client's address that the gateway gave is kept when the context is narrowed.
        gateway.run("SELECT tenancy.select_tenant('acme')");
        assert_eq!(gateway.number(COUNT), 3);
        gateway.run("COMMIT");
    }
    for client in [
        "NULL",
        "'127.0.0.1'",
        "'192.0.3.7'",
        "'2001:db9::7'",
        "'192.0.3.0/8'",
    ] {
        gateway
            .fails(&assume(client, false))
            .code("42501")
            .says("not allowed from this address");
    }
    // The network lasts as long as the session's context, and is checked in each transaction.
    gateway.run(&assume("'192.0.2.7'", true));
    assert_eq!(gateway.number(COUNT), 3);
    set(&mut owner, "acme", "2001:db8::/32");
    kept_out(&mut gateway);
    set(&mut owner, "acme", "192.0.2.0/24");
    assert_eq!(gateway.number(COUNT), 3);
    // The application vouches for nothing.
    world
        .db
        .app()
        .fails(&assume("'192.0.2.7'", false))
        .code("42501");
}

#[test]
fn a_unix_socket_has_no_address() {
    let world = World::new();
    let mut owner = world.db.owner();
    let Ok(socket) = std::env::var("PGHOST") else {
        return;
    };
    if !socket.starts_with('/') {
        return;
    }
    let mut config = postgres::Config::new();
    config
        .host(&socket)
        .port(std::env::var("PGPORT").unwrap().parse().unwrap())
        .user(&world.db.app)
        .dbname(&world.db.name);
    let mut local = Session::connect(&config);
    local.login_session(world.key("alice"));
    assert_eq!(local.number(COUNT), 3);
    set(&mut owner, "acme", "0.0.0.0/0,::/0");
    kept_out(&mut local);
}

#[test]
fn parallel_workers_come_from_where_their_leader_does() {
    let world = World::new();
    let mut owner = world.db.owner();
    world.db.admin().run("INSERT INTO app.notes (tenant_id, body) SELECT tenant_id, body FROM app.notes, generate_series(1, 5000)");
    owner.run("ALTER TABLE app.notes SET (parallel_workers = 2)");
    owner.run("ANALYZE app.notes");
    set(&mut owner, "acme", "127.0.0.1");
    let mut app = world.db.app();
    app.run(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; \
         SET parallel_leader_participation = off; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off",
    );
    app.login_session(world.key("alice"));
    assert!(app.plan(COUNT).contains("Parallel"), "{}", app.plan(COUNT));
    let rows = app.number(COUNT);
    assert!(rows > 3);
    set(&mut owner, "acme", "10.0.0.0/8");
    kept_out(&mut app);
}

#[test]
fn networks_are_named_and_a_lock_out_is_noticed() {
    let world = World::new();
    let mut owner = world.db.owner();
    for (call, code) in [
        ("('acme', '{}')", "22023"),
        ("('acme', '{NULL}')", "22023"),
        ("('nothing', '{10.0.0.0/8}')", "42704"),
        ("(NULL, '{10.0.0.0/8}')", "22023"),
        ("('acme', '{here}')", "22P02"),
    ] {
        owner
            .fails(&format!("SELECT tenancy.set_allowed_networks{call}"))
            .code(code);
    }
    set(&mut owner, "acme", "10.0.0.0/8");
    assert_eq!(
        owner.texts("SELECT scope || ' ' || networks::text FROM tenancy.networks"),
        ["acme {10.0.0.0/8}"]
    );
    set(&mut owner, "acme", "");
    set(&mut owner, "acme", "");
    assert!(owner.texts("SELECT scope FROM tenancy.networks").is_empty());
}
