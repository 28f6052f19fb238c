//! A revoked right has ended by the next transaction of every open session; and credentials that were changed, cut or
//! signed with another key are refused. ATTACKS D1, rows 3 to 6.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Session, World};

const COUNT: &str = "SELECT count(*) FROM app.notes";

/// Three open sessions of a user: one with a session context, one with a ticket in the setting, one that authenticates in
/// each transaction.
struct Open {
    session: Session,
    ticket: Session,
    request: Session,
    key: String,
}

impl Open {
    fn new(world: &World, user: &str) -> Self {
        let (mut session, mut ticket) = (world.db.app(), world.db.app());
        session.login_session(world.key(user));
        ticket.run(&format!(
            "SET tenancy.ticket = '{}'",
            world.ticket(user, "5 minutes")
        ));
        Self {
            session,
            ticket,
            request: world.db.app(),
            key: world.key(user).to_owned(),
        }
    }

    #[track_caller]
    fn see(&mut self, rows: i64) {
        assert_eq!(self.session.number(COUNT), rows, "session context");
        assert_eq!(self.ticket.number(COUNT), rows, "ticket");
        assert_eq!(
            self.request.begin(&self.key).number(COUNT),
            rows,
            "authenticate"
        );
        self.request.run("COMMIT");
    }

    #[track_caller]
    fn are_stopped(&mut self) {
        for session in [&mut self.session, &mut self.ticket] {
            session.fails(COUNT).code("42501").says("not active");
            session.fails("SELECT tenancy.tenant_id()").code("42501");
        }
        self.request
            .run("BEGIN")
            .try_login(&self.key)
            .unwrap_err()
            .code("42501")
            .says("not active");
        self.request.run("ROLLBACK");
    }
}

#[test]
fn d1_6_a_suspended_scope_stops_every_open_session_below() {
    let world = World::new();
    let mut owner = world.db.owner();
    for scope in ["acme", "globex", "platform", "acme/alice"] {
        let (mut alice, mut eve) = (Open::new(&world, "alice"), Open::new(&world, "eve"));
        alice.see(3);
        for status in ["suspended", "archived", "deleted", "provisioning"] {
            owner.run(&format!("SELECT tenancy.set_status('{scope}', '{status}')"));
            alice.are_stopped();
            if scope != "platform" {
                eve.see(7);
            }
        }
        owner.run(&format!("SELECT tenancy.set_status('{scope}', 'active')"));
        alice.see(3);
        eve.see(7);
    }
}

#[test]
fn d1_6_a_suspended_tenant_leaves_the_fleet_and_returns() {
    let world = World::new();
    let mut owner = world.db.owner();
    let mut ops = Open::new(&world, "ops");
    ops.see(8);
    owner.run("SELECT tenancy.set_status('umbrella', 'suspended')");
    ops.see(3);
    owner.run("SELECT tenancy.set_status('umbrella', 'active')");
    ops.see(8);
    owner.run("SELECT tenancy.set_status('globex', 'suspended')");
    ops.are_stopped();
}

#[test]
fn d1_6_a_selected_tenant_that_is_suspended_is_lost() {
    let world = World::new();
    let mut ops = world.db.app();
    ops.login_session(world.key("ops"))
        .run("SELECT tenancy.select_tenant('acme', session => true)");
    assert_eq!(ops.number(COUNT), 3);
    world
        .db
        .owner()
        .run("SELECT tenancy.set_status('acme', 'suspended')");
    ops.fails(COUNT).code("42501").says("not active");
    ops.fails("SELECT tenancy.select_tenant('umbrella')");
}

#[test]
fn d1_6_a_tenant_that_moves_takes_its_rows_to_the_other_partner() {
    let world = World::new();
    let (mut ops, mut boss, mut bob) = (
        Open::new(&world, "ops"),
        Open::new(&world, "boss"),
        Open::new(&world, "bob"),
    );
    ops.see(8);
    boss.see(7);
    bob.see(5);
    world
        .db
        .owner()
        .run("SELECT tenancy.move_tenant('umbrella', 'hooli')");
    ops.see(3);
    boss.see(12);
    bob.see(5);
}

#[test]
fn a_new_tenant_joins_the_fleet_of_open_sessions() {
    let world = World::new();
    let mut ops = Open::new(&world, "ops");
    ops.see(8);
    world
        .db
        .owner()
        .run("SELECT tenancy.create_tenant('stark', partner => 'globex')");
    world.db.admin().run("INSERT INTO app.notes (tenant_id, body) SELECT id, 'new' FROM tenancy.tenants WHERE slug = 'stark'");
    ops.see(9);
}

#[test]
fn d1_6_a_change_that_is_rolled_back_changes_nothing() {
    let world = World::new();
    let mut alice = Open::new(&world, "alice");
    alice.see(3);
    world
        .db
        .owner()
        .run("BEGIN; SELECT tenancy.set_status('acme', 'suspended'); ROLLBACK");
    alice.see(3);
}

#[test]
fn d1_6_a_revoked_key_stops_the_sessions_that_it_opened() {
    let world = World::new();
    let key = world.another_key("alice");
    let (mut session, mut request, mut spared) = (world.db.app(), world.db.app(), world.db.app());
    session.login_session(&key);
    spared.login_session(world.key("alice"));
    request.begin(&key).run("COMMIT");
    assert_eq!(session.number(COUNT), 3);
    world
        .db
        .owner()
        .run("SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE name = 'another'");
    request
        .try_login(&key)
        .unwrap_err()
        .code("42501")
        .says("invalid credential")
        .hides(&key);
    assert_eq!(spared.number(COUNT), 3);
    session.fails(COUNT).code("42501").hides(&key);
}
