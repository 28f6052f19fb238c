//! Attempts to reach rows without an elevation, after an elevation ended, and by a key that belongs to no tenant.

use tenancy_client_tests::World;

#[test]
fn a_super_admin_reaches_no_rows_by_a_role_below_or_as_another_user() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_user('platform', 'root', role => 'super_admin')");
    let key = owner.text("SELECT tenancy.issue_api_key('platform/root', 'k')");
    let mut app = world.db.app();
    app.begin(&key);
    app.run("SELECT tenancy.assign('platform/root', 'member', 'acme')");
    app.run("SAVEPOINT s");
    for sql in [
        "SELECT tenancy.issue_api_key('acme/alice', 'mine')",
        "SELECT tenancy.issue_api_key(tenancy.create_user('acme', 'puppet'), 'mine')",
        "SELECT tenancy.add_identity_provider('acme', 'https://mine.example.com/', '{me}', secret => 'a secret that is long enough to sign')",
        "SELECT tenancy.add_identity_provider('platform', 'https://mine.example.com/', '{me}', secret => 'a secret that is long enough to sign')",
    ] {
        app.fails(sql).code("42501");
        app.run("ROLLBACK TO s");
    }
    app.run("COMMIT");
    app.begin(&key);
    assert_eq!(app.number("SELECT count(*) FROM app.notes"), 0);
    app.run("COMMIT");
    assert!(
        world
            .begin("alice")
            .number("SELECT count(*) FROM app.notes")
            > 0
    );
}

#[test]
fn a_temporary_permission_is_not_granted_for_longer() {
    let world = World::new();
    let mut owner = world.db.owner();
    owner.run(
        "SELECT tenancy.create_user('acme', 'temp', role => 'none'), tenancy.create_user('acme', 'friend', role => 'none');
         SELECT tenancy.assign('acme/temp', 'tenant_admin', 'acme', now() + interval '1 hour')",
    );
    let key = owner.text("SELECT tenancy.issue_api_key('acme/temp', 'k')");
    let mut app = world.db.app();
    app.begin(&key);
    app.run("SAVEPOINT s");
    for sql in [
        "SELECT tenancy.assign('acme/temp', 'tenant_admin', 'acme')",
        "SELECT tenancy.assign('acme/temp', 'tenant_admin', 'acme', now() + interval '2 hours')",
        "SELECT tenancy.assign('acme/friend', 'tenant_admin', 'acme')",
        "SELECT tenancy.issue_api_key('acme/alice', 'mine')",
    ] {
        app.fails(sql).code("42501").hints("earlier expires_at");
        app.run("ROLLBACK TO s");
    }
    app.run(
        "SELECT tenancy.assign('acme/friend', 'member', 'acme', now() + interval '10 minutes')",
    );
    app.run("SELECT tenancy.create_user('acme', 'later')");
    app.run("COMMIT");
    assert_eq!(
        owner.number("SELECT count(*) FROM tenancy.assignments WHERE user_slug IN ('friend', 'later') AND expires_at <= now() + interval '1 hour'"),
        2
    );
}

#[test]
fn rows_of_a_key_that_no_tenant_has_cannot_be_claimed() {
    let world = World::bare();
    let mut owner = world.db.owner();
    owner.run("CREATE TABLE app.legacy (id int, account bigint NOT NULL); SELECT tenancy.protect('app.legacy', 'account')");
    world
        .db
        .admin()
        .run("INSERT INTO app.legacy VALUES (1, 4711)");
    let mut app = world.begin("ops");
    app.run("SAVEPOINT s");
    app.fails("SELECT tenancy.create_tenant('mine', partner => 'globex', external_id => '4711')")
        .code("42501");
    app.run("ROLLBACK TO s");
    app.fails("SELECT tenancy.update_scope('acme', external_id => '4711')")
        .code("42501");
    app.run("ROLLBACK TO s");
    // Nor of a customer to come.
    app.fails("SELECT tenancy.create_tenant('mine', partner => 'globex', external_id => '4712')")
        .code("42501");
    app.run("ROLLBACK TO s");
    // Only administrators of the platform assign tenants to existing rows.
    owner.run("SELECT tenancy.create_tenant('theirs', external_id => '4711')");
}
