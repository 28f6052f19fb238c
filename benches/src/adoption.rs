//! What adopt() makes: a table in which rows without a tenant are everybody's; and what it costs to fill a tenant column.

use std::cell::RefCell;
use std::time::Instant;

use crate::Fault;
use crate::cases::{AUTHENTICATE, begin_as, explain_as, literal, pair, run};
use crate::config::{APP, Config, DATABASE, HAND};
use crate::measure::{Turn, in_turns, timed};
use crate::plans::explain;
use crate::report::{Report, Wanted};
use crate::setup::World;

/// Rows that are filled; each refers to one of a thousandth as many. Of more, adopt() also builds an index.
const ROWS: u64 = 190_000;

const COUNT: &str = "SELECT count(*) FROM bench.roles";
const COUNT_HAND: &str =
    "SELECT count(*) FROM bench.roles_hand WHERE tenant_id = $1 OR tenant_id IS NULL";

/// Measures reading one tenant's rows and everybody's.
pub fn rows_of_everybody(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    for name in ["roles", "roles_hand"] {
        admin.batch_execute(&format!(
            "CREATE TABLE bench.{name} (id bigint PRIMARY KEY, tenant_id uuid, name text NOT NULL);
             INSERT INTO bench.{name} SELECT n, NULL, 'for all ' || n FROM generate_series(1, 20) n"
        ))?;
        for (n, tenant) in world.tenants.iter().enumerate() {
            let (id, first) = (literal(&tenant.id), 1000 + 100 * n);
            admin.batch_execute(&format!(
                "INSERT INTO bench.{name} SELECT {first} + n, {id}, 'own ' || n FROM generate_series(0, 99) n"
            ))?;
        }
        admin.batch_execute(&format!(
            "CREATE INDEX ON bench.{name} (tenant_id); GRANT SELECT ON bench.{name} TO {HAND}"
        ))?;
        admin.batch_execute(&format!("VACUUM ANALYZE bench.{name}"))?;
    }
    admin.batch_execute(&format!(
        "SELECT tenancy.protect('bench.roles', shared_null => true, grants => ARRAY['{APP}'])"
    ))?;
    let (mut app, mut hand) = (config.connect(APP)?, config.connect(HAND)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let of = |round: usize| &world.tenants[round % world.tenants.len()];
    let (ours, theirs) = (app.prepare(COUNT)?, hand.prepare(COUNT_HAND)?);
    let times = in_turns(
        config.rounds(101),
        &mut [
            &mut |round| {
                hand.batch_execute("BEGIN")?;
                let turn = timed(100, |_| run(&mut hand, &theirs, &[&of(round).id]))?;
                hand.batch_execute("COMMIT")?;
                Ok(turn)
            },
            &mut |round| {
                begin_as(&mut app, &authenticate, &of(round).key)?;
                let turn = timed(100, |_| run(&mut app, &ours, &[]))?;
                app.batch_execute("COMMIT")?;
                Ok(turn)
            },
        ],
    )?;
    let plans = [
        explain(&mut hand, &COUNT_HAND.replace("$1", &literal(&of(0).id)))?,
        explain_as(&mut app, &authenticate, &of(0).key, COUNT)?,
    ];
    report.compare(
        "rows of one tenant and of everybody",
        pair(&times),
        Wanted::AtMost(1.2),
        Some(plans),
    );
    Ok(())
}

/// Measures filling the tenant column of a table that has none, against an UPDATE in batches of the primary key.
pub fn filling(config: &Config, _world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    admin.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {DATABASE} TO {HAND}; GRANT tenancy_admin TO {HAND}; SET ROLE {HAND};
         CREATE SCHEMA shop; CREATE TABLE shop.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE shop.orders (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES shop.organizations);
         INSERT INTO shop.organizations SELECT n, 'org ' || n FROM generate_series(1, 50) n;
         INSERT INTO shop.orders SELECT n, n % 50 + 1 FROM generate_series(1, {ROWS} / 1000) n;
         CREATE TABLE shop.lines (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES shop.orders, body text);
         CREATE PROCEDURE shop.fill() LANGUAGE plpgsql AS $$
         DECLARE
             first bigint := 0;
         BEGIN
             WHILE first < {ROWS} LOOP
                 UPDATE shop.lines l SET organization_id = o.organization_id FROM shop.orders o
                  WHERE o.id = l.order_id AND l.id > first AND l.id <= first + 10000 AND l.organization_id IS NULL;
                 first := first + 10000;
                 COMMIT;
             END LOOP;
         END $$;
         RESET ROLE"
    ))?;
    let mut owner = config.connect(HAND)?;
    // So that only filling is left to compare.
    owner.batch_execute("CALL tenancy.adopt('shop.organizations', isolate => false)")?;
    owner.batch_execute("CALL tenancy.unadopt('shop.organizations')")?;
    let owner = RefCell::new(owner);
    let turn = |prepare: &str, fill: &str, undo: &str| -> Result<Turn, Fault> {
        let mut owner = owner.borrow_mut();
        owner.batch_execute(&format!(
            "TRUNCATE shop.lines; INSERT INTO shop.lines SELECT n, n % ({ROWS} / 1000) + 1, 'a line of an order ' || n FROM generate_series(1, {ROWS}) n"
        ))?;
        owner.batch_execute("VACUUM ANALYZE shop.lines")?;
        owner.batch_execute(prepare)?;
        let began = Instant::now();
        owner.batch_execute(fill)?;
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let filled: i64 = owner
            .query_one("SELECT count(organization_id) FROM shop.lines", &[])?
            .get(0);
        owner.batch_execute(undo)?;
        Ok(Turn { ms, answer: filled })
    };
    let times = in_turns(
        config.rounds(7),
        &mut [
            &mut |_| {
                turn(
                    "ALTER TABLE shop.lines ADD organization_id bigint",
                    "CALL shop.fill()",
                    "ALTER TABLE shop.lines DROP organization_id",
                )
            },
            &mut |_| {
                turn(
                    "SELECT 1",
                    "CALL tenancy.adopt('shop.organizations', isolate => false)",
                    "CALL tenancy.unadopt('shop.organizations')",
                )
            },
        ],
    )?;
    report.compare(
        "adopt() prepares a table, against an UPDATE in batches alone",
        pair(&times),
        Wanted::AtMost(1.0 / 0.7),
        None,
    );
    Ok(())
}

/// Rows that a child gets in one statement.
const NEW_ROWS: u64 = 20_000;

/// Measures new rows of a table that has its tenant from another one, without a context, against a trigger in PL/pgSQL that reads it.
pub fn new_rows(config: &Config, _world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    admin.batch_execute(&format!(
        "GRANT CREATE ON DATABASE {DATABASE} TO {HAND}; GRANT tenancy_admin TO {HAND}; SET ROLE {HAND};
         CREATE SCHEMA yard; CREATE TABLE yard.organizations (id bigint PRIMARY KEY, name text);
         CREATE TABLE yard.orders (id bigint PRIMARY KEY, organization_id bigint NOT NULL REFERENCES yard.organizations);
         INSERT INTO yard.organizations SELECT n, 'org ' || n FROM generate_series(1, 50) n;
         INSERT INTO yard.orders SELECT n, n % 50 + 1 FROM generate_series(1, 400) n;
         CREATE TABLE yard.lines (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES yard.orders);
         CREATE TABLE yard.by_hand (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES yard.orders, organization_id bigint);
         CREATE FUNCTION yard.fill() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             SELECT o.organization_id INTO NEW.organization_id FROM yard.orders o WHERE o.id = NEW.order_id; RETURN NEW; END$$;
         CREATE TRIGGER fill BEFORE INSERT ON yard.by_hand FOR EACH ROW EXECUTE FUNCTION yard.fill();
         RESET ROLE"
    ))?;
    let mut owner = config.connect(HAND)?;
    owner.batch_execute(
        r#"CALL tenancy.adopt('yard.organizations', isolate => false, decisions => '{"yard.by_hand": {"skip": true}}')"#,
    )?;
    let owner = RefCell::new(owner);
    let turn = |table: &str| -> Result<Turn, Fault> {
        let mut owner = owner.borrow_mut();
        owner.batch_execute(&format!("TRUNCATE yard.{table}"))?;
        let began = Instant::now();
        owner.batch_execute(&format!(
            "INSERT INTO yard.{table} (id, order_id) SELECT n, n % 400 + 1 FROM generate_series(1, {NEW_ROWS}) n"
        ))?;
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let count = format!("SELECT count(organization_id) FROM yard.{table}");
        let answer: i64 = owner.query_one(&count, &[])?.get(0);
        Ok(Turn { ms, answer })
    };
    let times = in_turns(
        config.rounds(7),
        &mut [&mut |_| turn("by_hand"), &mut |_| turn("lines")],
    )?;
    report.compare(
        "new rows that have their tenant from another, against a trigger in PL/pgSQL",
        pair(&times),
        Wanted::AtMost(2.5),
        None,
    );
    Ok(())
}
