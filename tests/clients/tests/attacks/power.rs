//! No escalation through tenancy: it runs the code of a table's owner with that owner's rights only, and its own objects and queries
//! belong to a role that can do nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

use tenancy_client_tests::world::server;
use tenancy_client_tests::{Db, Failure, Session, World};

/// A world with a role that owns the schema `trap` and is a member of nothing.
struct Trap {
    world: World,
    /// The role.
    mallory: String,
}

/// Code of a table's owner that counts its runs, and those with another role's rights, in sequences: no rollback resets them.
const SPY: &str = "
    CREATE SEQUENCE trap.ran; CREATE SEQUENCE trap.borrowed; CREATE SEQUENCE trap.escaped;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA trap TO PUBLIC;
    CREATE FUNCTION trap.spy() RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE attempt text;
    BEGIN
        PERFORM nextval('trap.ran');
        IF current_user <> '{mallory}' THEN PERFORM nextval('trap.borrowed'); END IF;
        FOREACH attempt IN ARRAY ARRAY['SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'SET ROLE tenancy_owner',
            'ALTER ROLE {mallory} SUPERUSER', 'GRANT tenancy_owner TO {mallory}', 'ALTER TABLE tenancy.scopes OWNER TO {mallory}'] LOOP
            BEGIN
                EXECUTE attempt;
                IF current_user <> '{mallory}' OR attempt !~ 'RESET|DEFAULT' THEN PERFORM nextval('trap.escaped'); END IF;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
        PERFORM set_config('search_path', 'trap', false), set_config('work_mem', '65kB', false);
        RETURN true;
    END $$;
    CREATE FUNCTION trap.imm(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN trap.spy(); END $$;
    CREATE FUNCTION trap.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spy(); RETURN coalesce(NEW, OLD); END $$;";

/// Objects that an owner can add to its table so that its code runs when others plan, read or change the table.
const VARIANTS: [(&str, &str); 13] = [
    ("index predicate", "CREATE INDEX ON trap.t (id) WHERE trap.imm(1)"),
    ("index expression", "CREATE INDEX ON trap.t (trap.imm(id))"),
    ("CHECK", "ALTER TABLE trap.t ADD CHECK (trap.imm(id))"),
    ("generated column", "ALTER TABLE trap.t ADD g boolean GENERATED ALWAYS AS (trap.imm(id)) STORED"),
    ("domain", "CREATE DOMAIN trap.d AS int CHECK (trap.imm(VALUE)); ALTER TABLE trap.t ADD d trap.d DEFAULT 1"),
    ("column default", "ALTER TABLE trap.t ADD e boolean DEFAULT trap.spy()"),
    ("row trigger", "CREATE TRIGGER fire BEFORE UPDATE ON trap.t FOR EACH ROW EXECUTE FUNCTION trap.fire()"),
    ("statement trigger", "CREATE TRIGGER fire AFTER UPDATE ON trap.t FOR EACH STATEMENT EXECUTE FUNCTION trap.fire()"),
    ("deferred trigger", "CREATE CONSTRAINT TRIGGER fire AFTER UPDATE ON trap.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap.fire()"),
    ("rule", "CREATE RULE also AS ON UPDATE TO trap.t DO ALSO SELECT trap.spy()"),
    ("statistics", "CREATE STATISTICS trap.s ON trap.imm(id), id FROM trap.t"),
    ("policy", "CREATE POLICY own ON trap.t USING (trap.imm(id)); ALTER TABLE trap.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"),
    (
        "cast",
        "CREATE TYPE trap.evil AS (t text);
         CREATE FUNCTION trap.to_bool(trap.evil) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN trap.spy(); END $$;
         CREATE CAST (trap.evil AS boolean) WITH FUNCTION trap.to_bool(trap.evil) AS IMPLICIT;
         ALTER TABLE trap.t ADD c trap.evil DEFAULT ROW('x'), ADD CHECK (c), ADD CHECK (c::boolean)",
    ),
];

impl Trap {
    fn new() -> Self {
        let world = World::bare();
        let mallory = world.db.stranger.clone();
        world.db.admin().run(&format!(
            "CREATE SCHEMA trap AUTHORIZATION {mallory}; GRANT USAGE ON SCHEMA trap TO PUBLIC"
        ));
        world.db.stranger().run(&SPY.replace("{mallory}", &mallory));
        Self { world, mallory }
    }

    /// A session as the owner of the table.
    fn owner(&self) -> Session {
        self.world.db.stranger()
    }

    /// A table with rows that the owner has set its trap on.
    fn table(&self, columns: &str, rows: &str, trap: &str) {
        let mut owner = self.owner();
        owner.run(&format!(
            "DROP TABLE IF EXISTS trap.t CASCADE; DROP DOMAIN IF EXISTS trap.d; DROP TYPE IF EXISTS trap.evil CASCADE;
             CREATE TABLE trap.t ({columns}); INSERT INTO trap.t {rows}; {trap}"
        ));
    }

    /// How often the owner's code ran.
    fn ran(&self) -> i64 {
        self.count("ran")
    }

    fn count(&self, what: &str) -> i64 {
        self.world.db.admin().number(&format!(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM trap.{what}"
        ))
    }

    /// The owner's code ran only as the owner, and gained no rights.
    #[track_caller]
    fn holds(&self, what: &str) {
        assert_eq!(
            self.count("borrowed"),
            0,
            "{what}: ran with another's power"
        );
        assert_eq!(self.count("escaped"), 0, "{what}: found a way to more");
        let sql = format!(
            "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = '{}'",
            self.mallory
        );
        assert_eq!(self.world.db.admin().text(&sql), "f", "{what}");
    }
}

/// Runs a statement that may be refused; what the session keeps of it is nothing that the owner's code has set.
#[track_caller]
fn attempt(session: &mut Session, sql: &str, what: &str) -> Result<(), Failure> {
    let before = settings(session);
    let done = session
        .batch_execute(sql)
        .map_err(|error| Failure::from(&error));
    assert_eq!(
        settings(session),
        before,
        "{what}: {sql} left settings behind"
    );
    done
}

fn settings(session: &mut Session) -> String {
    session.text("SELECT concat_ws(' ', current_user, session_user, current_setting('search_path'), current_setting('work_mem'))")
}

const UUID: &str = "id int NOT NULL, tenant_id uuid";

/// F3: also when a superuser calls, also when it only asks.
#[test]
fn protect_and_unprotect_run_the_owners_code_as_the_owner() {
    let trap = Trap::new();
    let mut admin = trap.world.db.admin();
    let acme = trap.world.id("acme");
    let mut ours = 0;
    for (what, set) in VARIANTS {
        trap.table(UUID, &format!("VALUES (1, NULL), (2, '{acme}')"), set);
        let before = trap.ran();
        for sql in [
            "SELECT tenancy.protect('trap.t', backfill => 'acme', dry_run => true)",
            "SELECT tenancy.protect('trap.t', backfill => 'acme')",
            "SELECT tenancy.protect('trap.t', backfill => 'acme')",
            "SELECT tenancy.unprotect('trap.t', dry_run => true)",
            "SELECT tenancy.unprotect('trap.t')",
        ] {
            let done = attempt(&mut admin, sql, what);
            trap.holds(&format!("{what}: {sql}"));
            // An owner's policies hide rows from the owner: then NOT NULL finds them.
            if what != "policy" {
                done.unwrap_or_else(|failure| panic!("{what}: {sql}: {failure:?}"));
            }
        }
        ours += trap.ran() - before;
    }
    assert!(ours > 10, "the traps were not sprung: {ours}");
}

/// F3, when the column is added: the table is rewritten.
#[test]
fn adding_the_column_runs_the_owners_code_as_the_owner() {
    let trap = Trap::new();
    let mut admin = trap.world.db.admin();
    let mut ours = 0;
    for (what, set) in VARIANTS {
        trap.table("id int NOT NULL", "VALUES (1), (2)", set);
        let before = trap.ran();
        for sql in [
            "SELECT tenancy.protect('trap.t', add_column => true, dry_run => true)",
            "SELECT tenancy.protect('trap.t', add_column => true)",
            "SELECT tenancy.protect('trap.t', add_column => true, backfill => 'acme')",
            "SELECT tenancy.unprotect('trap.t', drop_column => true)",
        ] {
            let _ = attempt(&mut admin, sql, what);
            trap.holds(&format!("{what}: {sql}"));
        }
        ours += trap.ran() - before;
    }
    assert!(ours > 0, "the traps were not sprung");
}

/// A part's code runs when its parent is read or changed.
#[test]
fn a_table_with_a_part_of_another_role_is_refused() {
    let trap = Trap::new();
    let mut admin = trap.world.db.admin();
    admin.run("CREATE SCHEMA top; CREATE TABLE top.t (id int NOT NULL, tenant_id uuid) PARTITION BY RANGE (id); CREATE TABLE top.i (id int NOT NULL, tenant_id uuid)");
    trap.table(
        UUID,
        "VALUES (1, NULL)",
        "CREATE TABLE trap.i (id int NOT NULL, tenant_id uuid)",
    );
    admin.run("ALTER TABLE top.t ATTACH PARTITION trap.t FOR VALUES FROM (0) TO (10); ALTER TABLE trap.i INHERIT top.i");
    trap.owner().run("CREATE INDEX ON trap.t (id) WHERE trap.imm(1); ALTER TABLE trap.t ADD CHECK (trap.imm(id)); CREATE INDEX ON trap.i (id) WHERE trap.imm(1)");
    let before = (trap.count("borrowed"), trap.ran());
    for table in ["top.t", "top.i"] {
        for more in [
            "",
            ", dry_run => true",
            ", backfill => 'acme'",
            ", backfill => 'acme', dry_run => true",
        ] {
            admin
                .fails(&format!("SELECT tenancy.protect('{table}'{more})"))
                .code("42501")
                .says("belongs to another role");
        }
    }
    assert_eq!((trap.count("borrowed"), trap.ran()), before);
}

/// F1 and F31: a partner's admin gives no external id, and what it asks for looks at no table.
#[test]
fn an_external_id_is_the_platforms_to_give() {
    for (key, rows) in [
        ("bigint", "VALUES (1, 4711)"),
        ("text", "VALUES (1, '4711')"),
    ] {
        let trap = Trap::new();
        let mut admin = trap.world.db.admin();
        for (n, (what, set)) in VARIANTS.iter().enumerate() {
            trap.table(
                &format!("id int NOT NULL, account {key} NOT NULL"),
                rows,
                set,
            );
            admin.run("SELECT tenancy.protect('trap.t', 'account')");
            trap.holds(what);
            let before = trap.ran();
            let mut ops = trap.world.begin("ops");
            ops.run("SAVEPOINT s");
            for call in [
                "create_tenant('mine', partner => 'globex', external_id => '4711')",
                "create_tenant('mine', partner => 'globex', external_id => '4712')",
                "update_scope('acme', external_id => '4711')",
            ] {
                ops.fails(&format!("SELECT tenancy.{call}")).code("42501");
                ops.run("ROLLBACK TO s");
            }
            ops.run(&format!(
                "SELECT tenancy.create_tenant('new{n}', partner => 'globex'); COMMIT"
            ));
            // The platform's administrator gives it.
            trap.world.db.owner().run(&format!(
                "SELECT tenancy.update_scope('new{n}', external_id => '99{n}')"
            ));
            assert_eq!(trap.ran(), before, "{what} in a key of type {key}");
            trap.holds(what);
            admin.run("SELECT tenancy.unprotect('trap.t')");
        }
    }
}

/// F2: no role attaches objects to tenancy's tables, whose checks run as their owner.
#[test]
fn no_role_attaches_objects_to_tenancys_tables() {
    let trap = Trap::new();
    let mut admin = trap.world.db.admin();
    let tables = admin.texts("SELECT oid::regclass FROM pg_class WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind IN ('r', 'p') ORDER BY 1");
    assert!(tables.len() > 20);
    let keys = admin.texts("SELECT k.conrelid::regclass || ' (' || string_agg(quote_ident(a.attname), ', ') || ')' FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) WHERE k.contype IN ('p', 'u') AND k.connamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) GROUP BY k.oid, k.conrelid HAVING count(*) = 1 ORDER BY 1");
    assert!(
        keys.iter().any(|key| key == "tenancy.scopes (id)"),
        "{keys:?}"
    );
    trap.owner().run(
        "CREATE TYPE trap.evil AS (t text);
         CREATE FUNCTION trap.to_uuid(trap.evil) RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spy(); RETURN '00000000-0000-7000-8000-000000000000'; END $$;
         CREATE CAST (trap.evil AS uuid) WITH FUNCTION trap.to_uuid(trap.evil) AS IMPLICIT;
         GRANT ALL ON SCHEMA trap TO PUBLIC",
    );
    for mut role in [
        trap.owner(),
        trap.world.db.owner(),
        trap.world.db.gateway(),
        trap.world.db.app(),
    ] {
        for key in &keys {
            role.fails(&format!(
                "CREATE TABLE trap.x (ref trap.evil REFERENCES {key})"
            ))
            .code("42501");
        }
        for table in &tables {
            for sql in [
                "CREATE TRIGGER fire AFTER INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION trap.fire()",
                "CREATE RULE also AS ON INSERT TO {} DO ALSO SELECT trap.spy()",
                "CREATE INDEX ON {} ((trap.imm(1)))",
                "ALTER TABLE {} ADD CHECK (trap.imm(1))",
                "ALTER TABLE {} ADD x boolean DEFAULT trap.spy()",
                "CREATE POLICY own ON {} USING (trap.spy())",
                "CREATE TABLE trap.child () INHERITS ({})",
                "CREATE STATISTICS trap.s2 ON tableoid, ctid FROM {}",
            ] {
                let failure = role.fails(&sql.replace("{}", table));
                assert!(
                    ["42501", "0A000", "42809"].contains(&failure.code.as_str()),
                    "{sql} on {table}: {failure:?}"
                );
            }
        }
        for sql in [
            "CREATE FUNCTION tenancy.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE tenancy.mine ()",
            "CREATE FUNCTION tenancy_internal.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE tenancy_internal.mine ()",
            "SET ROLE tenancy_owner",
        ] {
            role.fails(sql).code("42501");
        }
    }
    // A cast of the caller's in an argument or in a row that is written runs as the caller.
    let id = trap.world.id("acme");
    let mut gateway = trap.world.db.gateway();
    trap.world
        .db
        .owner()
        .run("SELECT tenancy.define_metric('tokens', 'tokens')");
    let ran = trap.ran();
    gateway.run(&format!("INSERT INTO tenancy.recorded_usage (metric, quantity, tenant_id) VALUES ('tokens', 1, '{id}')"));
    let _ = gateway.batch_execute("SELECT tenancy.assume(ROW('x')::trap.evil)");
    assert_eq!(trap.count("escaped"), 0);
    assert!(trap.ran() >= ran);
}

/// Queries that tenancy runs for itself, in a caller's backend and in the worker.
#[test]
fn tenancys_own_queries_run_as_tenancy_owner() {
    let world = World::bare();
    let mut admin = world.db.admin();
    admin.run(
        "CREATE TABLE public.ran (who name, what text); GRANT ALL ON public.ran TO PUBLIC;
         CREATE FUNCTION public.ran() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (current_user, TG_TABLE_NAME); RETURN NULL; END $$;
         GRANT USAGE ON SCHEMA public TO PUBLIC;
         DO $$ DECLARE t record; BEGIN FOR t IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind = 'r' AND NOT relispartition LOOP
             EXECUTE format('CREATE TRIGGER ran AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION public.ran()', t.name); END LOOP; END $$",
    );
    admin.run("SELECT tenancy.define_metric('tokens', 'tokens'), tenancy.create_tenant('later'), tenancy.set_budget('acme', 'tokens', 10)");
    world.begin("alice").run(
        "SELECT tenancy.consume('tokens', 1), tenancy.reserve('tokens', 1, '1 second'); COMMIT",
    );
    world.db.owner().run("SELECT tenancy.rotate_signing_key()");
    // The worker seals and rolls up.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while admin.number(
        "SELECT count(DISTINCT what) FROM public.ran WHERE what IN ('audit_seals', 'usage_marks')",
    ) < 2
    {
        assert!(
            std::time::Instant::now() < end,
            "the worker did nothing: {:?}",
            admin.texts("SELECT DISTINCT what FROM public.ran")
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let others = admin
        .texts("SELECT DISTINCT who || ' ' || what FROM public.ran WHERE who <> 'tenancy_owner'");
    assert_eq!(others, Vec::<String>::new());
    for table in [
        "scopes",
        "metric_definitions",
        "budget_definitions",
        "signing_keys",
        "audit_seals",
        "usage_marks",
    ] {
        assert!(
            admin.number(&format!(
                "SELECT count(*) FROM public.ran WHERE what = '{table}'"
            )) > 0,
            "{table}"
        );
    }
}

/// Objects that may belong to a superuser, with the reason: read from the script that gives all others to tenancy_owner.
fn superusers() -> Vec<(String, String)> {
    include_str!("../../../../sql/finalize.sql")
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_prefix("('")?;
            let mut parts = line.split("', '");
            let (kind, name, reason) = (parts.next()?, parts.next()?, parts.next()?);
            assert!(reason.len() > 20, "{name} needs a reason");
            Some((kind.to_owned(), name.to_owned()))
        })
        .collect()
}

/// The catalog, after everything that makes objects at run time has made some.
#[test]
fn only_what_is_on_the_list_belongs_to_a_superuser() {
    let world = World::bare();
    let mut admin = world.db.admin();
    admin.run("SELECT tenancy.define_metric('tokens', 'tokens')");
    admin.run(&format!(
        "SELECT tenancy.record_usage_for('{}', 'tokens', 1)",
        world.id("alice")
    ));
    let list = superusers();
    assert_eq!(list.len(), 4, "{list:?}");
    let owners = "
        SELECT o.type || ' ' || o.identity || ' of ' || pg_get_userbyid(x.owner)
        FROM (SELECT 'pg_class'::regclass AS class, oid, relowner AS owner, relnamespace AS namespace FROM pg_class WHERE relkind NOT IN ('i', 'I', 't')
              UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc
              UNION ALL SELECT 'pg_type'::regclass, oid, typowner, typnamespace FROM pg_type
              UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner, oprnamespace FROM pg_operator
              UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner, opcnamespace FROM pg_opclass
              UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner, opfnamespace FROM pg_opfamily
              UNION ALL SELECT 'pg_collation'::regclass, oid, collowner, collnamespace FROM pg_collation
              UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner, connamespace FROM pg_conversion
              UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner, stxnamespace FROM pg_statistic_ext
              UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner, cfgnamespace FROM pg_ts_config
              UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner, dictnamespace FROM pg_ts_dict
              UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner, oid FROM pg_namespace
              UNION ALL SELECT 'pg_language'::regclass, oid, lanowner, 0::oid FROM pg_language
              UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner, 0::oid FROM pg_foreign_server
              UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner, 0::oid FROM pg_publication
              UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner, 0::oid FROM pg_event_trigger) x
        CROSS JOIN LATERAL pg_identify_object(x.class, x.oid, 0) o
        WHERE (x.namespace IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('tenancy', 'tenancy_internal'))
               OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'tenancy'
                          WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = x.class AND d.objid = x.oid))
          AND x.owner <> to_regrole('tenancy_owner')
          AND NOT (o.type = 'event trigger' AND o.identity = ANY ($1))
        ORDER BY 1";
    let events: Vec<&str> = list
        .iter()
        .filter(|(kind, _)| kind == "event trigger")
        .map(|(_, name)| name.as_str())
        .collect();
    let rows = admin.query(owners, &[&events]).unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, Vec::<String>::new());
    // Members that have no owner: casts between the server's types and tenancy's, without a function.
    assert_eq!(
        admin.texts("SELECT DISTINCT o.type FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'tenancy' CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) o WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND o.type NOT IN ('function', 'procedure', 'table', 'view', 'sequence', 'type', 'schema') ORDER BY 1"),
        list.iter().map(|(kind, _)| kind.clone()).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    assert_eq!(admin.number("SELECT count(*) FROM pg_cast c JOIN pg_depend d ON d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e' WHERE castfunc <> 0"), 0);
    // A month that was made by a call, and those that the worker made, are among them.
    assert!(admin.number("SELECT count(*) FROM pg_class WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relispartition AND relowner = to_regrole('tenancy_owner')") >= 1);
}

/// The role that owns them.
#[test]
fn tenancy_owner_can_do_nothing_else() {
    let world = World::new();
    let mut admin = world.db.admin();
    assert_eq!(admin.text("SELECT concat_ws(' ', rolsuper, rolcanlogin, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolpassword IS NULL) FROM pg_authid WHERE rolname = 'tenancy_owner'"), "f f f f f f t");
    assert_eq!(admin.number("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.roleid, m.member) WHERE r.rolname = 'tenancy_owner'"), 0);
    // What it owns or was granted in this database is tenancy's, and it reads no table of an application's.
    assert_eq!(
        admin.texts("SELECT o.type || ' ' || o.identity FROM pg_shdepend s CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, s.objsubid) o WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = to_regrole('tenancy_owner') AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND coalesce(o.schema, o.name) NOT IN ('tenancy', 'tenancy_internal') AND o.type NOT IN ('default value')"),
        Vec::<String>::new()
    );
    assert_eq!(
        admin.texts("SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace NOT IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relnamespace <> 'pg_catalog'::regnamespace AND relnamespace <> 'information_schema'::regnamespace AND has_any_column_privilege('tenancy_owner', oid, 'SELECT, INSERT, UPDATE, REFERENCES')"),
        Vec::<String>::new()
    );
    // No other role creates objects in the schema, or attaches any to existing ones.
    assert_eq!(
        admin.texts("SELECT 'schema' FROM pg_namespace n, aclexplode(n.nspacl) a WHERE nspname IN ('tenancy', 'tenancy_internal') AND a.grantee <> nspowner AND a.privilege_type = 'CREATE'
                     UNION ALL SELECT c.oid::regclass || ' ' || a.privilege_type FROM pg_class c, aclexplode(c.relacl) a WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee <> relowner AND a.privilege_type IN ('REFERENCES', 'TRIGGER', 'TRUNCATE')
                     UNION ALL SELECT c.oid::regclass || ' ' || a.privilege_type FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee <> relowner AND a.privilege_type = 'REFERENCES'
                     UNION ALL SELECT 'grant option of ' || c.oid::regclass FROM pg_class c, aclexplode(c.relacl) a WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee <> relowner AND a.is_grantable
                     UNION ALL SELECT 'default privileges' FROM pg_default_acl WHERE defaclrole = to_regrole('tenancy_owner') OR defaclnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace)"),
        Vec::<String>::new()
    );
    // What runs with its power: a pinned path, with the temporary schema last, and arguments whose types bring no code along.
    assert_eq!(
        admin.texts("SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND (p.prosecdef OR l.lanname IN ('sql', 'plpgsql'))
                       -- What is in standard SQL was parsed when it was made.
                       AND (p.prosqlbody IS NULL AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s = 'search_path=pg_catalog, pg_temp')
                            OR l.lanname NOT IN ('sql', 'plpgsql'))"),
        Vec::<String>::new()
    );
    assert_eq!(
        admin.texts("SELECT p.oid::regprocedure || ' takes ' || format_type(t.oid, NULL) FROM pg_proc p, unnest(p.proargtypes) a JOIN pg_type t ON t.oid = a WHERE p.pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND (t.typtype = 'p' AND t.typname NOT IN ('cstring', 'internal', 'trigger', 'event_trigger') OR t.typnamespace NOT IN ('pg_catalog'::regnamespace, 'tenancy'::regnamespace, 'tenancy_internal'::regnamespace))"),
        Vec::<String>::new()
    );
    // Triggers on its tables call its functions; no rules, no policies of another's.
    assert_eq!(
        admin.texts("SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid WHERE c.relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND NOT t.tgisinternal AND p.pronamespace NOT IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace)
                     UNION ALL SELECT r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND r.rulename <> '_RETURN'
                     UNION ALL SELECT k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_class f ON f.oid = k.conrelid WHERE k.contype = 'f' AND c.relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND f.relnamespace NOT IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace)"),
        Vec::<String>::new()
    );
}

/// An existing role with more rights, or with members, is not accepted as the owner.
#[test]
fn tenancy_will_not_be_owned_by_a_mightier_role() {
    let world = World::bare();
    let mut admin = world.db.admin();
    // In a transaction that is undone: roles are the cluster's.
    for (sql, says) in [
        ("ALTER ROLE tenancy_owner SUPERUSER", "superuser"),
        ("ALTER ROLE tenancy_owner LOGIN", "log in"),
        ("ALTER ROLE tenancy_owner BYPASSRLS", "bypasses"),
        ("ALTER ROLE tenancy_owner CREATEROLE", "create roles"),
    ] {
        admin.run("BEGIN; DROP EXTENSION tenancy").run(sql);
        let failure = admin
            .fails("CREATE EXTENSION tenancy")
            .code("42501")
            .hints("CREATE EXTENSION tenancy");
        assert!(failure.all.contains(says), "{failure:?}");
        admin.run("ROLLBACK");
    }
    for sql in [
        format!("GRANT tenancy_owner TO {}", world.db.stranger),
        "GRANT pg_read_all_data TO tenancy_owner".to_owned(),
    ] {
        admin.run("BEGIN; DROP EXTENSION tenancy").run(&sql);
        admin.fails("CREATE EXTENSION tenancy").code("42501");
        admin.run("ROLLBACK");
    }
    // Made a superuser afterwards, it runs nothing.
    admin.run("BEGIN; ALTER ROLE tenancy_owner SUPERUSER; UPDATE tenancy.scopes SET external_id = 'x' WHERE slug = 'acme'");
    admin
        .fails("SELECT tenancy.create_tenant('x')")
        .code("55000");
    admin.run("ROLLBACK; SELECT tenancy.create_tenant('x')");
}

/// An existing schema of this name could hold any objects under tenancy's names.
#[test]
fn a_schema_that_exists_already_is_not_taken() {
    // It makes the roles, which two at once must not.
    drop(Db::new());
    let db = Db::without_extension(server());
    let mut admin = db.admin();
    admin.run(&format!(
        "GRANT CREATE ON DATABASE {} TO {}",
        db.name, db.stranger
    ));
    let mut stranger = db.stranger();
    for (schema, code) in [("tenancy", "42501"), ("tenancy_internal", "42P06")] {
        stranger.run(&format!(
            "CREATE SCHEMA {schema}; CREATE FUNCTION {schema}.barrier() RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        ));
        admin.fails("CREATE EXTENSION tenancy").code(code);
        stranger.run(&format!("DROP SCHEMA {schema} CASCADE"));
    }
    // Not from any owner: its content is unknown.
    admin.run("CREATE SCHEMA tenancy_internal");
    admin.fails("CREATE EXTENSION tenancy").code("42P06");
    admin.run("DROP SCHEMA tenancy_internal; CREATE EXTENSION tenancy");
    for schema in ["tenancy", "tenancy_internal"] {
        stranger
            .fails(&format!(
                "CREATE FUNCTION {schema}.mine() RETURNS boolean LANGUAGE sql AS 'SELECT true'"
            ))
            .code("42501");
    }
}

/// Before PostgreSQL 16 a role with CREATEROLE grants and changes every role that is no superuser.
#[test]
fn createrole_does_not_become_tenancys_owner() {
    let world = World::bare();
    let stranger = &world.db.stranger;
    let mut admin = world.db.admin();
    admin.run(&format!("ALTER ROLE {stranger} CREATEROLE CREATEDB"));
    let other = format!("{stranger}_2");
    let mut session = world.db.stranger();
    session.run(&format!("CREATE ROLE {other}; GRANT {other} TO {stranger}"));
    for sql in [
        "GRANT tenancy_owner TO @me",
        "GRANT tenancy_owner TO CURRENT_USER WITH ADMIN OPTION",
        "GRANT tenancy_owner TO SESSION_USER",
        "GRANT pg_read_all_data, tenancy_owner TO @me",
        "GRANT tenancy_owner TO @other, @me",
        "GRANT @me TO tenancy_owner",
        "GRANT pg_execute_server_program TO tenancy_owner",
        "ALTER GROUP tenancy_owner ADD USER @me",
        "ALTER GROUP @other ADD USER tenancy_owner",
        "CREATE ROLE @new IN ROLE tenancy_owner",
        "CREATE USER @new IN GROUP tenancy_owner",
        "CREATE ROLE @new ROLE tenancy_owner",
        "CREATE ROLE @new ADMIN tenancy_owner",
        "CREATE GROUP @new USER tenancy_owner",
        "ALTER ROLE tenancy_owner LOGIN",
        "ALTER ROLE tenancy_owner PASSWORD 'mine'",
        "ALTER USER tenancy_owner CREATEROLE",
        "ALTER ROLE tenancy_owner SET search_path = trap",
        "ALTER ROLE tenancy_owner IN DATABASE @db SET work_mem = '1MB'",
        "ALTER ROLE tenancy_owner RESET ALL",
        "ALTER ROLE tenancy_owner RENAME TO @new",
        "DROP ROLE tenancy_owner",
        "DROP ROLE IF EXISTS @other, tenancy_owner",
        "REASSIGN OWNED BY tenancy_owner TO @me",
        "REASSIGN OWNED BY @me TO tenancy_owner",
        "DROP OWNED BY tenancy_owner CASCADE",
        "DO $$ BEGIN EXECUTE 'GRANT tenancy_owner TO @me'; END $$",
        "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN GRANT tenancy_owner TO @me; END'; SELECT pg_temp.f()",
    ] {
        let sql = sql
            .replace("@me", stranger)
            .replace("@other", &other)
            .replace("@new", &format!("{stranger}_3"))
            .replace("@db", &world.db.name);
        let failure = session.fails(&sql).code("42501");
        assert!(
            failure.message.contains("tenancy_owner"),
            "{sql}: {failure:?}"
        );
        assert!(failure.hint.is_some(), "{sql}: not by tenancy");
    }
    // In a database that does not have the extension: roles are the cluster's.
    let mut elsewhere = Session::connect(world.db.config(stranger).dbname("postgres"));
    elsewhere
        .fails("GRANT tenancy_owner TO CURRENT_USER")
        .code("42501");
    assert_eq!(admin.number("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.roleid, m.member) WHERE r.rolname = 'tenancy_owner'"), 0);
    // All others stay its to manage, tenancy's for people too. From 16 on, by whom it may administer.
    if admin.major() >= 16 {
        admin.run(&format!(
            "GRANT tenancy_app TO {stranger} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE"
        ));
    }
    session.run(&format!(
        "GRANT tenancy_app TO {other}; REVOKE tenancy_app FROM {other}; ALTER ROLE {other} SET work_mem = '1MB'; ALTER ROLE {other} LOGIN; DROP ROLE {other}"
    ));
    admin.run(&format!("BEGIN; GRANT tenancy_owner TO {stranger}; ALTER ROLE tenancy_owner SET work_mem = '1MB'; ROLLBACK"));
}

/// A role that tenants share makes no role an administrator.
#[test]
fn a_role_that_tenants_share_grants_no_mightier_one() {
    let world = World::bare();
    let app = &world.db.app;
    world
        .db
        .admin()
        .run(&format!("ALTER ROLE {app} CREATEROLE"));
    let mut without = world.db.app();
    without.run("BEGIN");
    for mut session in [without, world.begin("alice")] {
        for role in [
            "tenancy_admin",
            "tenancy_gateway",
            "tenancy_auditor",
            "tenancy_owner",
        ] {
            for sql in [
                format!("GRANT {role} TO {app}"),
                format!("GRANT {role} TO {}", world.db.stranger),
                format!("CREATE ROLE {app}_2 IN ROLE {role}"),
                format!("ALTER GROUP {role} ADD USER {app}"),
            ] {
                session.fails_inside(&sql).code("42501");
            }
        }
    }
}
