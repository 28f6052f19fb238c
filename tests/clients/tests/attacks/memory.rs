//! A client that asks for more memory than the server has gets an error, and no other client is affected (F20). No error shows Rust's
//! stack frames, with any environment of the server (F46).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use tenancy_client_tests::program::{Cluster, command, succeed};
use tenancy_client_tests::{Db, Session, World};

/// A world on the cluster in which alice may manage her tenant.
fn with_admin(cluster: &Cluster) -> World {
    let world = World::bare_in(Db::on(cluster.config()));
    world
        .db
        .owner()
        .run("SELECT tenancy.assign('acme/alice', 'tenant_admin', 'acme')");
    world
}

/// Limits the address space of a process.
fn limit(pid: i32, bytes: u64) {
    succeed(command("/usr/bin/prlimit").args([
        "--pid",
        &pid.to_string(),
        &format!("--as={bytes}:unlimited"),
    ]));
}

fn address_space(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// Types with expressions that ask for much in an argument of them.
const TYPES: [&str; 10] = [
    "text",
    "character varying",
    "text[]",
    "uuid[]",
    "inet[]",
    "cidr[]",
    "numeric[]",
    "jsonb",
    "jsonb[]",
    "bytea",
];

/// Makes a table of what asks for much, which takes longer to compute than to read. Returns how to read it, by type.
fn prepared(owner: &mut Session) -> HashMap<&'static str, Vec<String>> {
    let mut columns = Vec::new();
    let mut read: HashMap<&str, Vec<String>> = HashMap::new();
    for of in TYPES {
        for value in much(of) {
            let name = format!("v{}", columns.len());
            columns.push(format!("{value}::{of} AS {name}"));
            let values = read.entry(of).or_default();
            values.push(format!("(SELECT {name} FROM app.much)"));
        }
    }
    owner.run(&format!(
        "CREATE TABLE app.much AS SELECT {}",
        columns.join(", ")
    ));
    read
}

/// Expressions that ask for much in an argument of a type.
fn much(of: &str) -> Vec<String> {
    let all: &[&str] = match of {
        "text" | "character varying" => &[
            "repeat('/', 20000000)",
            "repeat('a.', 5000000)",
            "'tnk_' || repeat('a', 10000000)",
        ],
        "tenancy.regscope" => &["repeat('/', 20000000)::tenancy.regscope"],
        "text[]" => &[
            "array_fill('active'::text, array[3000000])",
            "array_fill(NULL::text, array[20000000])",
            "array[repeat('data:read ', 1000000)]",
        ],
        "uuid[]" => &["array_fill(gen_random_uuid(), array[500000])"],
        "inet[]" | "cidr[]" => &["array_fill('10.0.0.1'::cidr, array[300000])"],
        "numeric[]" => &["array_fill(0.5, array[500000])"],
        "jsonb" => &[
            "(SELECT jsonb_agg(1) FROM generate_series(1, 400000))",
            "to_jsonb(repeat('x', 30000000))",
            "(SELECT jsonb_object_agg(n, n) FROM generate_series(1, 100000) n)",
        ],
        "jsonb[]" => {
            &["array_fill('{\"metric\": \"tokens\", \"quantity\": 1}'::jsonb, array[100000])"]
        }
        "bytea" => &["decode(repeat('00', 10000000), 'hex')"],
        "numeric" => &["repeat('9', 100000)::numeric", "1e100000"],
        _ => &[],
    };
    all.iter().map(|&text| text.to_owned()).collect()
}

struct Function {
    name: String,
    types: Vec<String>,
}

/// The functions that a role may call.
fn functions(admin: &mut Session, role: &str) -> Vec<Function> {
    admin
        .texts(&format!(
            "SELECT p.oid::regproc || '|' || coalesce((SELECT string_agg(format_type(t, NULL), '|' ORDER BY n) \
                 FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n)), '') \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE n.nspname LIKE 'tenancy%' AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype \
               AND NOT 'internal'::regtype = ANY (p.proargtypes) AND NOT 'cstring'::regtype = ANY (p.proargtypes) \
               AND has_function_privilege('{role}', p.oid, 'EXECUTE') ORDER BY 1"
        ))
        .into_iter()
        .map(|line| {
            let mut parts = line.split('|').map(str::to_owned);
            Function {
                name: parts.next().unwrap(),
                types: parts.filter(|part| !part.is_empty()).collect(),
            }
        })
        .collect()
}

#[test]
fn no_argument_of_any_function_ends_the_server() {
    let cluster = Cluster::start();
    let world = with_admin(&cluster);
    let mut admin = world.db.admin();
    let started = admin.text("SELECT pg_postmaster_start_time()::text");
    let functions = functions(&mut admin, &world.db.app);
    assert!(functions.len() > 60, "{}", functions.len());
    let key = world.key("alice").to_owned();
    let prepared = prepared(&mut world.db.owner());
    for function in &functions {
        let mut app = world.db.app();
        let pid = app.pid();
        limit(pid, address_space(pid) + (400 << 20));
        for (n, of) in function.types.iter().enumerate() {
            let values = prepared.get(of.as_str()).cloned();
            for value in values.unwrap_or_else(|| much(of)) {
                let arguments: Vec<String> = (function.types.iter().enumerate())
                    .map(|(other, of)| {
                        if other == n {
                            format!("{value}::{of}")
                        } else {
                            plain(of).to_owned()
                        }
                    })
                    .collect();
                let call = format!("SELECT {}({})", function.name, arguments.join(", "));
                // Any error will do, but the session and the server stay.
                app.run("BEGIN");
                if function.name != "tenancy.authenticate" {
                    app.login(&key);
                }
                let answer = app.batch_execute(&call);
                if let Err(error) = &answer {
                    assert!(error.as_db_error().is_some(), "{call}: {error}");
                }
                app.batch_execute("ROLLBACK")
                    .unwrap_or_else(|error| panic!("{call}: {error}"));
            }
        }
    }
    assert_eq!(
        admin.text("SELECT pg_postmaster_start_time()::text"),
        started
    );
    assert!(!cluster.log().contains("was terminated by signal"));
}

/// A value that gets a call past its other checks.
fn plain(of: &str) -> &'static str {
    match of {
        "text" => "'tokens'",
        "text[]" => "'{data:read}'::text[]",
        "tenancy.regscope" => "'acme'::tenancy.regscope",
        "jsonb" => "'{}'::jsonb",
        "numeric" => "1",
        "boolean" => "false",
        "name" => "'tenant_id'::name",
        "interval" => "'1 hour'::interval",
        "timestamp with time zone" => "now()",
        "integer" => "1",
        "bigint" => "1::bigint",
        "uuid" => "gen_random_uuid()",
        _ => "NULL",
    }
}

#[test]
fn an_allocation_that_fails_is_an_error_of_the_statement() {
    let cluster = Cluster::start();
    let world = with_admin(&cluster);
    let started = world
        .db
        .admin()
        .text("SELECT pg_postmaster_start_time()::text");
    let (key, ticket) = (
        world.key("alice").to_owned(),
        world.ticket("alice", "1 hour"),
    );
    let mut failures = 0;
    // With so little room the allocations of a first login, and of all that it loads, fail one after the other.
    for room in (0..60).map(|n| n * 160 * 1024) {
        let mut app = world.db.app();
        let pid = app.pid();
        limit(pid, address_space(pid) + room);
        for statement in [
            format!("BEGIN; SELECT tenancy.authenticate('{key}')"),
            "SELECT tenancy.context()".to_owned(),
            "SELECT count(*) FROM tenancy.users".to_owned(),
            "SELECT tenancy.define_role('acme', 'narrow', array_fill('data:read'::text, array[500]))".to_owned(),
            "ROLLBACK".to_owned(),
            format!("BEGIN; SELECT tenancy.authenticate('{ticket}')"),
            "SELECT * FROM tenancy.check_budget('tokens', 1)".to_owned(),
            "ROLLBACK".to_owned(),
        ] {
            let Err(error) = app.batch_execute(&statement) else {
                continue;
            };
            // A backend that cannot even read its statement ends by itself; the server keeps running.
            let Some(error) = error.as_db_error() else {
                break;
            };
            if error.code().code() == "53200" {
                failures += 1;
            }
        }
    }
    // A jsonb is a tree in Rust, which takes many times what it takes in the server.
    let mut in_rust = 0;
    world.db.owner().run(
        "CREATE TABLE app.big AS SELECT jsonb_build_object('keys', jsonb_agg(1)) AS keys FROM generate_series(1, 60000)",
    );
    for room in (0..40).map(|n| n * 256 * 1024) {
        let mut owner = world.db.owner();
        let call = "SELECT tenancy.add_identity_provider('acme', 'https://idp.example/', '{a}', keys => keys) FROM app.big";
        owner.fails("SELECT tenancy.add_identity_provider('acme', 'https://idp.example/', '{a}', keys => '{}')");
        let pid = owner.pid();
        limit(pid, address_space(pid) + room);
        let Err(error) = owner.batch_execute(call) else {
            panic!("such keys are refused");
        };
        let error = error.as_db_error().expect("the session stays");
        // The server's own errors name its memory context.
        if error.code().code() == "53200"
            && !error
                .detail()
                .unwrap_or("memory context")
                .contains("memory context")
        {
            in_rust += 1;
        }
        // Memory may still be short, but the session must be alive.
        if let Err(error) = owner.batch_execute("SELECT 1") {
            assert!(error.as_db_error().is_some(), "{}", cluster.log());
        }
    }
    assert!(
        failures > 0 && in_rust > 0,
        "the limit was not met: {failures}, {in_rust}"
    );
    assert_eq!(
        world
            .db
            .admin()
            .text("SELECT pg_postmaster_start_time()::text"),
        started
    );
    let log = cluster.log();
    assert!(!log.contains("was terminated by signal"), "{log}");
}

#[test]
fn no_error_shows_rusts_frames() {
    let on = Path::new("1");
    let cluster = Cluster::start_with(&[], &[("RUST_BACKTRACE", on), ("RUST_LIB_BACKTRACE", on)]);
    let world = World::bare_in(Db::on(cluster.config()));
    let mut app = world.db.app();
    for statement in [
        "SELECT tenancy.authenticate('no such thing')",
        "SELECT tenancy.tenant_id('data:read')",
        "SELECT tenancy.usage('acme', 'none')",
        "SELECT 'nowhere'::tenancy.regscope",
    ] {
        let error = app.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().unwrap();
        let all = format!("{error:?}");
        assert!(!all.contains("pgrx") && !all.contains("  0:"), "{all}");
    }
    assert!(!cluster.log().contains("core::panicking"));
}

/// A pooled connection serves one principal after another of a large fleet, and caches what each may see.
#[test]
fn what_a_backend_caches_of_principals_is_bounded() {
    const MOST: i64 = 64 << 20;
    // A server of its own: where many others change the catalog, the server tells a backend to forget everything.
    let cluster = Cluster::start();
    let world = World::bare_in(Db::on(cluster.config()));
    world.db.owner().run(
        "SELECT tenancy.create_tenant('t' || n, partner => 'globex') FROM generate_series(1, 4000) n;
         SELECT tenancy.create_user('globex', 'u' || n, 'service', role => 'partner_admin') FROM generate_series(1, 400) n",
    );
    let mut gateway = world.db.gateway();
    let (mut before, mut one) = (0, 0);
    for n in 1..=400 {
        gateway.run(&format!("SELECT tenancy.assume('globex/u{n}')"));
        let principals = gateway.number("SELECT principals FROM tenancy.access_cache()");
        let bytes = gateway.number("SELECT bytes FROM tenancy.access_cache()");
        one = one.max(bytes / principals);
        assert!(
            bytes <= MOST + one,
            "{bytes} bytes, {principals} principals"
        );
        if principals < before {
            return;
        }
        before = principals;
    }
    panic!("{before} principals of {one} bytes were cached, and none was evicted");
}
