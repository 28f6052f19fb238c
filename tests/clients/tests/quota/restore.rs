//! Counters are as durable as rows: over kill -9 of a backend and of the server, and in a dump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use tenancy_client_tests::program::{Cluster, command, server_program, succeed};
use tenancy_client_tests::scratch::Scratch;
use tenancy_client_tests::{Db, World};

fn create(world: &World) {
    world.db.owner().run(
        "CREATE TABLE app.files (id bigint GENERATED ALWAYS AS IDENTITY, tenant_id uuid NOT NULL, size int) PARTITION BY HASH (id);
         CREATE TABLE app.files_0 PARTITION OF app.files FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE app.files_1 PARTITION OF app.files FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         SELECT tenancy.protect('app.files'); SELECT tenancy.define_limit('files', 'amount'), tenancy.define_limit('bytes', 'amount');
         SELECT tenancy.set_limit('globex', 'files', 100000, 'tenant'); SELECT tenancy.set_quota('app.files', 'files'), tenancy.set_quota('app.files', 'bytes', 'size')",
    );
}

#[track_caller]
fn agrees(db: &Db) {
    assert_eq!(
        db.owner()
            .number("SELECT sum(corrected) FROM tenancy.recount('app.files')"),
        0
    );
}

#[test]
fn a_kill_counts_nothing_twice_and_loses_nothing() {
    let cluster = Cluster::start();
    let world = World::bare_in(Db::on(cluster.config()));
    create(&world);
    for round in 0..3 {
        thread::scope(|scope| {
            let mut pids = Vec::new();
            for _ in 0..4 {
                let mut session = world.db.app();
                pids.push(session.pid());
                let key = world.key("alice");
                scope.spawn(move || {
                    while session.try_run("BEGIN").and_then(|()| session.try_login(key)).and_then(|()| {
                        session.try_run("INSERT INTO app.files (size) SELECT n FROM generate_series(1, 5) n; DELETE FROM app.files WHERE size = 3; COMMIT")
                    }).is_ok() {}
                });
            }
            thread::sleep(std::time::Duration::from_millis(300));
            match round {
                0 => cluster.kill_process(pids[0]),
                _ => cluster.kill(),
            }
        });
        agrees(&world.db);
    }
    assert!(world.db.admin().number("SELECT count(*) FROM app.files") > 0);
}

#[test]
fn a_dump_restores_quotas_with_their_counters() {
    let world = World::bare();
    create(&world);
    world
        .begin("alice")
        .run("INSERT INTO app.files (size) SELECT n FROM generate_series(1, 50) n; COMMIT");
    let scratch = Scratch::new("quotas");
    let file = scratch.0.join("dump");
    let config = tenancy_client_tests::world::server();
    let client = |program: &str, config: &postgres::Config| {
        let mut command = command(server_program(program));
        let host = match &config.get_hosts()[0] {
            postgres::config::Host::Tcp(name) => name.clone(),
            postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        command.args(["-h", &host]);
        command.args(["-p", &config.get_ports()[0].to_string(), "-U", "postgres"]);
        command
    };
    succeed(
        client("pg_dump", &config)
            .args(["-f"])
            .arg(&file)
            .arg(&world.db.name),
    );
    let copy = Db::without_extension(config.clone());
    succeed(
        client("psql", &config)
            .args(["-X", "-q", "-d", &copy.name, "-f"])
            .arg(&file),
    );
    let mut admin = copy.admin();
    assert_eq!(
        admin.texts("SELECT concat_ws(' ', name, used) FROM tenancy.quota_usage ORDER BY 1"),
        ["bytes 1275", "files 50"]
    );
    assert_eq!(
        admin.number("SELECT sum(corrected) FROM tenancy.recount('app.files')"),
        0
    );
    assert_eq!(
        admin.texts("SELECT DISTINCT enforced::text FROM tenancy.quotas"),
        ["true"]
    );
    admin.run(&format!(
        "INSERT INTO app.files (tenant_id, size) VALUES ('{}', 5)",
        world.id("acme")
    ));
    assert_eq!(
        admin.texts("SELECT concat_ws(' ', name, used) FROM tenancy.quota_usage ORDER BY 1"),
        ["bytes 1280", "files 51"]
    );
}
