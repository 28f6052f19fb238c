//! An object that the caller may not see gets the same answer as one that does not exist, to the byte; and every bad credential gets
//! the same answer, whatever is wrong with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::{Failure, Session, World};

/// Returns a failure with the requested name blotted out.
fn answer(
    session: &mut Session,
    call: &str,
    name: &str,
) -> (String, String, Option<String>, Option<String>, String) {
    session.run("SAVEPOINT s");
    let failure: Failure = session.fails(&call.replace('$', name));
    session.run("ROLLBACK TO s");
    let blot = |text: &str| {
        text.replace(&format!("\"{name}\""), "?")
            .replace(&format!("\\\"{name}\\\""), "?")
    };
    (
        failure.code.clone(),
        blot(&failure.message),
        failure.detail.as_deref().map(blot),
        failure.hint.as_deref().map(blot),
        blot(&failure.all),
    )
}

const NOBODY: &str = "0190aaaa-0000-7000-8000-00000000dead";

#[test]
fn ids() {
    let world = World::new();
    world.db.owner().run("SELECT tenancy.create_project('umbrella', 'green'), tenancy.create_project('soylent', 'red')");
    let mut world = world;
    world.learn();
    for user in ["alice", "ops", "pat"] {
        let mut app = world.begin(user);
        for call in [
            "SELECT tenancy.select_tenant('$')",
            "SELECT tenancy.select_project('$')",
            "SELECT tenancy.select_tenant('$'::uuid)",
        ] {
            let unknown = answer(&mut app, call, NOBODY);
            assert_eq!(unknown.0, "42704");
            for hidden in ["soylent", "eve", "hooli", "platform", "red", "internal"] {
                let id = world.id(hidden).to_string();
                assert_eq!(
                    answer(&mut app, call, &id),
                    unknown,
                    "{user}: {hidden} in {call}"
                );
            }
        }
    }
}

#[test]
fn slugs() {
    let mut world = World::new();
    world
        .db
        .owner()
        .run("SELECT tenancy.create_tenant('asleep', partner => 'hooli', status => 'suspended')");
    world.learn();
    for user in [Some("alice"), Some("ops"), Some("pat"), None] {
        let mut app = world.db.app();
        match user {
            Some(user) => app.begin(world.key(user)),
            None => app.run("BEGIN"),
        };
        for call in [
            "SELECT tenancy.select_tenant('$')",
            "SELECT '$'::tenancy.regscope",
            "SELECT tenancy.select_project('$')",
        ] {
            for (unknown, hidden) in [
                (
                    "nobody",
                    vec!["soylent", "hooli", "asleep", "eve", "boss", "internal"],
                ),
                ("soylent/nobody", vec!["soylent/eve"]),
                ("hooli/nobody", vec!["hooli/soylent", "hooli/boss"]),
                ("hooli/soylent/nobody", vec!["hooli/soylent/eve"]),
            ] {
                let expected = answer(&mut app, call, unknown);
                assert_eq!(expected.0, "42704", "{user:?} {call} {unknown}");
                for name in hidden {
                    assert_eq!(
                        answer(&mut app, call, name),
                        expected,
                        "{user:?}: {name} in {call}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_slug_is_unambiguous_if_the_caller_sees_only_one() {
    let world = World::new();
    let mut owner = world.db.owner();
    // A slug is looked up when its statement is parsed.
    owner
        .run("SELECT tenancy.create_tenant('acme', partner => 'hooli')")
        .run("SELECT tenancy.create_user('hooli/acme', 'alice')");
    assert_eq!(
        world
            .begin("alice")
            .text("SELECT tenancy.select_tenant('acme')"),
        world.id("acme").to_string()
    );
    assert_eq!(
        world
            .begin("ops")
            .text("SELECT tenancy.select_tenant('acme')"),
        world.id("acme").to_string()
    );
    assert_ne!(
        world
            .begin("boss")
            .text("SELECT tenancy.select_tenant('acme')"),
        world.id("acme").to_string()
    );
}

#[test]
fn credentials() {
    let world = World::new();
    let mut owner = world.db.owner();
    let expired = owner.text(
        "SELECT tenancy.issue_api_key('acme/alice', 'short', clock_timestamp() + '0.2 seconds')",
    );
    let revoked = world.another_key("alice");
    owner.run("SELECT tenancy.revoke_api_key(id) FROM tenancy.api_keys WHERE name = 'another'");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let alice = world.key("alice");
    let wrong = format!("{}{}", &alice[..37], "A".repeat(43));
    let unknown = format!("tnk_0190aaaa00007000800000000000dead_{}", "A".repeat(43));
    let mut app = world.db.app();
    let expected = app.try_login("tnk_nothing").unwrap_err();
    assert_eq!(expected.code, "42501");
    for credential in [
        &expired,
        &revoked,
        &wrong,
        &unknown,
        &"".to_owned(),
        &"tnt1.AA.AA".to_owned(),
    ] {
        assert_eq!(app.try_login(credential).unwrap_err(), expected);
    }
    // A suspended user learns of it only with the right key.
    owner.run("SELECT tenancy.set_status('acme', 'suspended')");
    assert_eq!(app.try_login(&wrong).unwrap_err(), expected);
    assert_eq!(app.try_login(&revoked).unwrap_err(), expected);
    app.try_login(alice)
        .unwrap_err()
        .code("42501")
        .says("not active");
}

#[test]
fn rows_of_another_tenant_and_no_rows() {
    let world = World::new();
    let bobs = world.db.admin().text("SELECT min(n.id) FROM app.notes n JOIN tenancy.tenants t ON t.id = n.tenant_id WHERE slug = 'umbrella'");
    let mut app = world.begin("alice");
    for sql in [
        "SELECT * FROM app.notes WHERE id = $",
        "UPDATE app.notes SET body = 'x' WHERE id = $",
        "DELETE FROM app.notes WHERE id = $",
    ] {
        assert_eq!(
            app.touched(&sql.replace('$', &bobs)),
            app.touched(&sql.replace('$', "999999"))
        );
    }
    let insert =
        |tenant: &str| format!("INSERT INTO app.notes (tenant_id, body) VALUES ('{tenant}', 'x')");
    let (theirs, nobodys) = (insert(&world.id("umbrella").to_string()), insert(NOBODY));
    assert_eq!(app.fails_inside(&theirs), app.fails_inside(&nobodys));
}

#[test]
fn a_write_to_several_tenants_reveals_no_hidden_rows() {
    let world = World::new();
    let theirs = world.db.admin().text(
        "SELECT min(n.id) FROM app.notes n JOIN tenancy.tenants t ON t.id = n.tenant_id WHERE slug = 'soylent'",
    );
    // By the index, which finds the row before any policy is asked; and by reading all.
    for scan in ["enable_seqscan", "enable_indexscan"] {
        let mut ops = world.begin("ops");
        ops.run(&format!(
            "SET LOCAL {scan} = off; SET LOCAL enable_bitmapscan = off"
        ));
        for write in [
            "UPDATE app.notes SET body = 'x' WHERE id = $",
            "DELETE FROM app.notes WHERE id = $",
            "SELECT body FROM app.notes WHERE id = $ FOR UPDATE",
        ] {
            let mut answer = |id: &str| {
                ops.run("SAVEPOINT s");
                let answer = ops.execute(&*write.replace('$', id), &[]);
                ops.run("ROLLBACK TO s");
                answer.map_err(|error| error.code().unwrap().code().to_owned())
            };
            assert_eq!(answer(&theirs), answer("-1"), "{scan}: {write}");
        }
    }
}
