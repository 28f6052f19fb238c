//! The keyring: new keys, erased keys, another master key, and a keyring that cannot be used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, thread};

use tenancy_client_tests::program::{Cluster, command, hand_over, server_program, succeed};
use tenancy_client_tests::scratch::Scratch;
use tenancy_client_tests::{Db, Session, World};

const USERS: &str = "
    SELECT tenancy.define_role('globex', 'program', '{secrets:use}');
    SELECT tenancy.assign('acme/alice', 'program', 'acme'), tenancy.assign('umbrella/bob', 'program', 'umbrella')";

fn world() -> World {
    let world = World::bare();
    world.db.owner().run(USERS);
    world
}

fn secret(session: &mut Session, name: &str) -> String {
    session.text(&format!("SELECT tenancy.secret('{name}')"))
}

/// The files of a scope in a keyring.
fn files(keyring: &Path, scope: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(keyring)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    all.filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(scope)
    })
    .collect()
}

/// That of the server under test.
fn shared_keyring() -> PathBuf {
    PathBuf::from(env::var_os("TENANCY_TEST_DIR").expect("make test sets it")).join("keyring")
}

#[test]
fn readers_go_on_while_the_key_is_replaced() {
    let world = world();
    world.db.owner().run("SELECT tenancy.set_secret('acme', 'a', 'value a'), tenancy.set_secret('acme', 'b', 'value b')");
    let scope = world.id("acme").to_string();
    assert_eq!(files(&shared_keyring(), &scope).len(), 1);
    let done = AtomicBool::new(false);
    let reads: usize = thread::scope(|threads| {
        let readers: Vec<_> = (0..4)
            .map(|n| {
                let (world, done) = (&world, &done);
                threads.spawn(move || {
                    let mut reads = 0;
                    let mut session = world.db.app();
                    while !done.load(Ordering::Relaxed) {
                        // Some at one snapshot, from which the old row is seen.
                        session.run(if n % 2 == 0 {
                            "BEGIN"
                        } else {
                            "BEGIN ISOLATION LEVEL REPEATABLE READ"
                        });
                        session.login(world.key("alice"));
                        for name in ["a", "b", "a"] {
                            assert_eq!(secret(&mut session, name), format!("value {name}"));
                            reads += 1;
                        }
                        session.run("COMMIT");
                    }
                    reads
                })
            })
            .collect();
        let mut owner = world.db.owner();
        for _ in 0..20 {
            assert_eq!(owner.number("SELECT tenancy.rotate_tenant_key('acme')"), 2);
            assert_eq!(
                owner.number("SELECT tenancy.drop_old_tenant_keys('acme')"),
                1
            );
        }
        done.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    assert!(reads > 0);
    assert_eq!(files(&shared_keyring(), &scope).len(), 1);
    // An abort keeps the old key, and leaves the new one for the next call.
    let mut owner = world.db.owner();
    owner.run("BEGIN; SELECT tenancy.rotate_tenant_key('acme'); ROLLBACK");
    // A rollback would need the key again.
    owner.run("BEGIN; SELECT tenancy.rotate_tenant_key('acme')");
    owner
        .fails("SELECT tenancy.drop_old_tenant_keys('acme')")
        .code("22023");
    owner.run("ROLLBACK");
    assert_eq!(secret(&mut world.begin("alice"), "a"), "value a");
    assert_eq!(
        owner.number("SELECT tenancy.drop_old_tenant_keys('acme')"),
        2
    );
    assert_eq!(secret(&mut world.begin("alice"), "a"), "value a");
}

#[test]
fn an_erased_key_opens_no_backup() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.set_secret('acme', 'a', 'hunter2'), tenancy.set_secret('umbrella', 'a', 'other')");
    owner.run("SELECT tenancy.rotate_tenant_key('acme')");
    // A backup of the rows.
    let mut admin = world.db.admin();
    admin.run("CREATE TABLE backup AS TABLE tenancy_internal.sealed_secrets; CREATE TABLE backup_keys AS TABLE tenancy_internal.sealing_keys");
    let mut reader = world.begin("alice");
    assert_eq!(secret(&mut reader, "a"), "hunter2");
    // The key is gone at once, also for a connection that has opened it, and though the transaction is rolled back.
    owner.run("BEGIN");
    assert_eq!(owner.number("SELECT tenancy.erase_tenant_key('acme')"), 2);
    assert!(files(&shared_keyring(), &world.id("acme").to_string()).is_empty());
    reader
        .fails_inside("SELECT tenancy.secret('a')")
        .code("55000")
        .hides("hunter2");
    owner.run("ROLLBACK");
    reader
        .fails_inside("SELECT tenancy.secret('a')")
        .code("55000")
        .says("not in the keyring");
    // It says why nothing can be set either, until the rows are gone too.
    owner
        .fails("SELECT tenancy.set_secret('acme', 'a', 'again')")
        .code("55000");
    assert_eq!(owner.number("SELECT tenancy.erase_tenant_key('acme')"), 0);
    reader
        .fails_inside("SELECT tenancy.secret('a')")
        .code("42704");
    // What a backup brings back does not open, also under a new key.
    owner.run("SELECT tenancy.set_secret('acme', 'b', 'new')");
    admin.run("INSERT INTO tenancy_internal.sealed_secrets SELECT * FROM backup WHERE name = 'a' ON CONFLICT DO NOTHING");
    reader
        .fails_inside("SELECT tenancy.secret('a')")
        .code("55000");
    assert_eq!(secret(&mut reader, "b"), "new");
    admin.run("DELETE FROM tenancy_internal.sealing_keys; INSERT INTO tenancy_internal.sealing_keys TABLE backup_keys");
    reader
        .fails_inside("SELECT tenancy.secret('a')")
        .code("55000");
    // No other tenant is affected.
    assert_eq!(secret(&mut world.begin("bob"), "a"), "other");
}

#[test]
fn keys_belong_to_who_manages_the_scope() {
    let world = world();
    let mut owner = world.db.owner();
    owner.run("SELECT tenancy.create_project('acme', 'web')");
    owner.run("SELECT tenancy.set_secret('acme', 'a', 'hunter2'), tenancy.set_secret('acme/web', 'p', 'of web')");
    let files_of = |scope: &str| files(&shared_keyring(), &world.id(scope).to_string()).len();
    let calls = [
        "rotate_tenant_key",
        "drop_old_tenant_keys",
        "erase_tenant_key",
    ];
    for call in calls {
        world
            .begin("alice")
            .fails(&format!("SELECT tenancy.{call}('acme')"))
            .code("42501");
        world
            .begin("boss")
            .fails(&format!("SELECT tenancy.{call}('{}')", world.id("acme")))
            .code("42704");
        owner
            .fails(&format!("SELECT tenancy.{call}('acme/web')"))
            .code("22023")
            .hints("Name its tenant");
        owner
            .fails(&format!("SELECT tenancy.{call}(NULL)"))
            .code("22023");
        owner
            .fails(&format!("SELECT tenancy.{call}('acme/alice')"))
            .code("23514");
    }
    for session in [&mut world.begin("ops"), &mut world.begin("alice")] {
        session
            .fails("SELECT tenancy.reseal_keyring()")
            .code("42501");
    }
    assert_eq!(files_of("acme"), 1);
    // The project's secrets are sealed by the tenant's key.
    let mut ops = world.begin("ops");
    assert_eq!(ops.number("SELECT tenancy.rotate_tenant_key('acme')"), 2);
    assert_eq!(ops.number("SELECT tenancy.erase_tenant_key('acme')"), 2);
    ops.run("COMMIT");
    assert_eq!(files_of("acme"), 0);
    assert_eq!(owner.number("SELECT count(*) FROM tenancy.secrets"), 0);
}

/// Setters, those who rotate and those who erase at the same time: what was set last opens, or is gone.
#[test]
fn no_secret_is_left_under_a_dropped_key() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'last', 'first')");
    thread::scope(|threads| {
        for n in 0..3 {
            let mut owner = world.db.owner();
            threads.spawn(move || {
                for k in 0..25 {
                    owner.run(&format!(
                        "SELECT tenancy.set_secret('acme', 'n{n}', 'value {k}')"
                    ));
                }
            });
        }
        let mut owner = world.db.owner();
        threads.spawn(move || {
            for _ in 0..15 {
                owner.run("SELECT tenancy.rotate_tenant_key('acme')");
                owner.run("SELECT tenancy.drop_old_tenant_keys('acme')");
            }
        });
        let mut owner = world.db.owner();
        threads.spawn(move || {
            for _ in 0..5 {
                owner.run("SELECT tenancy.erase_tenant_key('acme')");
            }
        });
    });
    let mut app = world.begin("alice");
    for name in app.texts("SELECT name FROM tenancy.secrets") {
        assert!(!secret(&mut app, &name).is_empty());
    }
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'after', 'works')");
    assert_eq!(secret(&mut world.begin("alice"), "after"), "works");
}

/// A server of its own with a keyring and a file of master keys.
struct Own {
    cluster: Cluster,
    scratch: Scratch,
}

const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

impl Own {
    fn start() -> Self {
        let scratch = Scratch::new("keyring");
        let keyring = scratch.0.join("keyring");
        fs::create_dir(&keyring).unwrap();
        fs::set_permissions(&keyring, Permissions::from_mode(0o700)).unwrap();
        hand_over(&keyring);
        let own = Self {
            cluster: Cluster::start_with(&[], &[]),
            scratch,
        };
        own.masters(FIRST);
        own.set("keyring_directory", own.path("keyring").to_str().unwrap());
        own.set("master_key_file", own.path("master").to_str().unwrap());
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    fn masters(&self, keys: &str) {
        let path = self.path("master");
        fs::write(&path, keys).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        hand_over(&path);
    }

    /// Changes a setting; connections that are opened later have it.
    fn set(&self, name: &str, value: &str) {
        let mut admin = Session::connect(&self.cluster.config());
        admin.run(&format!("ALTER SYSTEM SET tenancy.{name} = '{value}'"));
        admin.run("SELECT pg_reload_conf()");
        let shown = format!("SHOW tenancy.{name}");
        while Session::connect(&self.cluster.config()).text(&shown) != value {
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn another_master_key_takes_over() {
    let own = Own::start();
    let world = World::bare_in(Db::on(own.cluster.config()));
    let mut owner = world.db.owner();
    owner.run(USERS);
    owner.run("SELECT tenancy.set_secret('acme', 'a', 'value'), tenancy.set_secret('umbrella', 'a', 'value')");
    let mut reader = world.begin("alice");
    assert_eq!(secret(&mut reader, "a"), "value");
    let sealed = |own: &Own| {
        let all = files(&own.path("keyring"), "");
        let mut all: Vec<String> = all
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        all.retain(|content| !content.is_empty());
        all
    };
    let before = sealed(&own);
    assert_eq!(before.len(), 2);
    // The new key alone opens nothing, and nothing is sealed anew.
    own.masters(SECOND);
    owner
        .fails("SELECT tenancy.reseal_keyring()")
        .code("55000")
        .details("master key");
    let mut cold = world.begin("bob");
    cold.fails_inside("SELECT tenancy.secret('a')")
        .code("55000");
    // Before the old one it takes over.
    own.masters(&format!("# new\n{SECOND}\n# old\n{FIRST}\n"));
    assert_eq!(secret(&mut cold, "a"), "value");
    assert_eq!(owner.number("SELECT tenancy.reseal_keyring()"), 2);
    assert_eq!(owner.number("SELECT tenancy.reseal_keyring()"), 0);
    own.masters(SECOND);
    assert_eq!(secret(&mut reader, "a"), "value");
    assert_eq!(secret(&mut world.begin("bob"), "a"), "value");
    assert!(sealed(&own).iter().all(|content| !before.contains(content)));
    owner.run("SELECT tenancy.set_secret('soylent', 'a', 'value')");
    // A copy of the old keyring is worth nothing without the old master key.
    own.cluster.down();
    own.cluster.up();
    assert_eq!(secret(&mut world.begin("alice"), "a"), "value");
}

#[test]
fn a_command_prints_the_master_key() {
    let own = Own::start();
    let world = World::bare_in(Db::on(own.cluster.config()));
    world.db.owner().run(USERS);
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'a', 'value')");
    own.set("master_key_file", "");
    let calls = own.path("calls");
    let print = |more: &str| {
        format!(
            "echo x >> {}; cat {}{more}",
            calls.display(),
            own.path("master").display()
        )
    };
    own.set("master_key_command", &print(""));
    let mut reader = world.begin("alice");
    for _ in 0..3 {
        assert_eq!(secret(&mut reader, "a"), "value");
    }
    assert_eq!(
        fs::read_to_string(&calls).unwrap(),
        "x\n",
        "once a connection"
    );
    for (command, fault) in [
        ("exit 3".to_owned(), "fails"),
        (print("; exit 1"), "fails"),
        ("echo hunter2".to_owned(), "Line 1 is not a key"),
        ("true".to_owned(), "no key"),
    ] {
        own.set("master_key_command", &command);
        world
            .begin("alice")
            .fails("SELECT tenancy.secret('a')")
            .code("55000")
            .details(fault)
            .hides("hunter2")
            .hides(FIRST);
    }
    // Not seen, not set by a session.
    let mut app = world.db.app();
    app.fails("SHOW tenancy.master_key_command").code("42501");
    app.fails("SET tenancy.master_key_file = '/etc/passwd'")
        .code("55P02");
    world
        .db
        .admin()
        .fails("SET tenancy.master_key_command = 'true'")
        .code("55P02");
}

#[test]
fn a_keyring_that_others_could_read_is_refused() {
    let own = Own::start();
    let world = World::bare_in(Db::on(own.cluster.config()));
    let mut owner = world.db.owner();
    owner.run(USERS);
    owner.run("SELECT tenancy.set_secret('acme', 'a', 'hunter2')");
    let keyring = own.path("keyring");
    let refused = |fault: &str| {
        for (session, call) in [
            (&mut world.begin("alice"), "SELECT tenancy.secret('a')"),
            (
                &mut world.db.owner(),
                "SELECT tenancy.set_secret('umbrella', 'a', 'hunter2')",
            ),
        ] {
            let failure = session
                .fails(call)
                .code("55000")
                .details(fault)
                .hides("hunter2");
            assert!(
                !failure.all.contains(own.scratch.0.to_str().unwrap()),
                "{failure:?}"
            );
        }
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for open in [0o750, 0o701, 0o707] {
        mode(&keyring, open);
        refused("directory must not be accessible");
    }
    mode(&keyring, 0o700);
    for open in [0o640, 0o604, 0o660] {
        mode(&own.path("master"), open);
        refused("master key must not be accessible");
    }
    mode(&own.path("master"), 0o600);
    own.masters("hunter2");
    refused("Line 1 is not a key");
    own.masters(FIRST);
    assert_eq!(secret(&mut world.begin("alice"), "a"), "hunter2");
    // Inside the data directory a base backup would have it.
    let data = world.db.admin().text("SHOW data_directory");
    let inside = PathBuf::from(&data).join("keyring");
    fs::create_dir(&inside).unwrap();
    mode(&inside, 0o700);
    hand_over(&inside);
    let linked = own.path("linked");
    std::os::unix::fs::symlink(&inside, &linked).unwrap();
    for place in [&inside, &linked] {
        own.set("keyring_directory", place.to_str().unwrap());
        world
            .db
            .owner()
            .fails("SELECT tenancy.set_secret('umbrella', 'a', 'hunter2')")
            .code("55000")
            .details("outside the data directory");
    }
    own.set("keyring_directory", "/nonexistent/keyring");
    world
        .begin("alice")
        .fails("SELECT tenancy.secret('a')")
        .code("55000");
    own.set("keyring_directory", "");
    refused_unset(&world);
    own.set("keyring_directory", keyring.to_str().unwrap());
    // A file of another key, and one that was changed.
    let [file] = &files(&keyring, &world.id("acme").to_string())[..] else {
        panic!("one key");
    };
    let content = fs::read_to_string(file).unwrap();
    fs::write(file, content.replace("tenancy-key-1", "tenancy-key-9")).unwrap();
    world
        .begin("alice")
        .fails("SELECT tenancy.secret('a')")
        .code("55000")
        .details("damaged");
    fs::write(file, &content).unwrap();
    assert_eq!(secret(&mut world.begin("alice"), "a"), "hunter2");
}

fn refused_unset(world: &World) {
    world
        .begin("alice")
        .fails("SELECT tenancy.secret('a')")
        .code("55000")
        .hints("tenancy.keyring_directory");
}

#[test]
fn a_dump_has_no_value_and_opens_where_the_keyring_is() {
    let world = world();
    world
        .db
        .owner()
        .run("SELECT tenancy.set_secret('acme', 'a', 'hunter2-in-a-dump')");
    let dump = |format: &str| {
        let config = world.db.config("postgres");
        let port = config.get_ports()[0].to_string();
        let host = match &config.get_hosts()[0] {
            postgres::config::Host::Tcp(host) => host.clone(),
            postgres::config::Host::Unix(path) => path.to_str().unwrap().to_owned(),
        };
        let mut dump = command(server_program("pg_dump"));
        dump.args([
            "-h",
            &host,
            "-p",
            &port,
            "-U",
            "postgres",
            format,
            &world.db.name,
        ]);
        succeed(&mut dump).stdout
    };
    let text = String::from_utf8(dump("-Fp")).unwrap();
    assert!(
        text.contains("sealed_secrets") && !text.contains("hunter2"),
        "the dump shows the value"
    );
    // Nor in base 16, as the bytes of a column would be.
    assert!(!text.contains("68756e746572322d"));
    // The rows as they were dumped, in another database of the server: the keyring opens them.
    let copy = world_of_a_dump(&world, &text);
    assert_eq!(copy.text("SELECT tenancy.secret('a')"), "hunter2-in-a-dump");
}

/// A session as alice in a database that the dump was restored into.
fn world_of_a_dump(world: &World, dump: &str) -> Restored {
    let db = Db::without_extension(tenancy_client_tests::world::server());
    let mut admin = db.admin();
    // COPY's data is for psql: a file, and psql.
    let scratch = Scratch::new("dump");
    let file = scratch.0.join("dump.sql");
    fs::write(&file, dump).unwrap();
    hand_over(&file);
    let config = db.config("postgres");
    let port = config.get_ports()[0].to_string();
    let host = match &config.get_hosts()[0] {
        postgres::config::Host::Tcp(host) => host.clone(),
        postgres::config::Host::Unix(path) => path.to_str().unwrap().to_owned(),
    };
    let mut psql = command(server_program("psql"));
    psql.args([
        "-X", "-q", "-h", &host, "-p", &port, "-U", "postgres", "-d", &db.name, "-f",
    ])
    .arg(&file);
    succeed(&mut psql);
    db.grant_roles(&mut admin);
    let mut session = db.app();
    session.begin(world.key("alice"));
    Restored { session, _db: db }
}

struct Restored {
    session: Session,
    _db: Db,
}

impl Restored {
    fn text(mut self, sql: &str) -> String {
        self.session.text(sql)
    }
}
