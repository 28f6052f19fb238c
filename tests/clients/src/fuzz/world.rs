//! The database: tenants of two partners, protected tables with rows of all of them, callers, and for each caller a copy without policies
//! that holds only the rows it sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use postgres::Config;
use uuid::Uuid;

use super::callers::{CALLERS, Caller};
use super::facts::{Facts, OWN_VIEWS, Relation, relations};
use super::hostile::{EVIL, UNPINNED};
use super::tables::{COLUMNS, Kind, TABLES, Table, VIEWS};
use super::twin::same_statistics;
use crate::{Db, Failure, Session};

const TREE: &str = "
    SELECT tenancy.create_partner('globex'), tenancy.create_partner('hooli');
    SELECT tenancy.create_tenant('acme', partner => 'globex', external_id => '42'), tenancy.create_tenant('umbrella', partner => 'globex', external_id => '43'),
           tenancy.create_tenant('soylent', partner => 'hooli', external_id => '44'), tenancy.create_tenant('initech', partner => 'hooli', external_id => '45');
    SELECT tenancy.create_project('acme', 'apollo'), tenancy.create_project('acme', 'zeus'), tenancy.create_project('soylent', 'hera'), tenancy.create_project('umbrella', 'isis');
    SELECT tenancy.create_user('acme', 'alice'), tenancy.create_user('acme', 'ada', role => 'tenant_admin'), tenancy.create_user('acme', 'dave', role => 'none'),
           tenancy.create_user('umbrella', 'bob'), tenancy.create_user('soylent', 'eve'), tenancy.create_user('initech', 'milton'),
           tenancy.create_user('globex', 'ops', 'service', role => 'partner_admin'), tenancy.create_user('hooli', 'boss', role => 'partner_admin'),
           tenancy.create_user('hooli', 'mia', role => 'none'), tenancy.create_user('platform', 'sue', role => 'super_admin');
    SELECT tenancy.assign('mia', 'member', 'soylent'), tenancy.assign('mia', 'partner_user', 'initech'), tenancy.assign('dave', 'member', 'acme/apollo');
    SELECT tenancy.define_role('acme', 'baker', '{data:read}'), tenancy.define_role('umbrella', 'miner', '{data:read}'), tenancy.define_role('soylent', 'cook', '{data:read}'), tenancy.define_role('hooli', 'clerk', '{data:read}');
    SELECT tenancy.set_allowed_networks('umbrella', '{0.0.0.0/0}'::inet[]), tenancy.set_allowed_networks('initech', '{0.0.0.0/0}'::inet[]);
    SELECT tenancy.define_metric('words', 'n');
    SELECT tenancy.set_budget('acme', 'words', 100, 'month'), tenancy.set_budget('umbrella', 'words', 100, 'day'), tenancy.set_budget('soylent', 'words', 100, 'month'), tenancy.set_budget('hooli', 'words', 1000, 'total');";

/// Who rows belong to, with the mark that tells them apart. Marks of one tenant are next to each other, and those of owners are of no
/// project.
const CLASSES: &str = "
    CREATE SCHEMA fz;
    CREATE TABLE fz.tenants AS SELECT s.id, s.slug, coalesce(s.external_id, '0') AS key,
        CASE s.slug WHEN 'umbrella' THEN 110 WHEN 'globex' THEN 120 WHEN 'acme' THEN 130 WHEN 'platform' THEN 140 WHEN 'soylent' THEN 150 WHEN 'hooli' THEN 160 WHEN 'initech' THEN 170 END AS mark,
        s.level = 'tenant' AS tenant
      FROM tenancy.scopes s WHERE s.level IN ('platform', 'partner', 'tenant') AND s.slug IN ('umbrella', 'globex', 'acme', 'platform', 'soylent', 'hooli', 'initech');
    CREATE TABLE fz.classes AS
        SELECT 'plain' AS rows, id, key, NULL::uuid AS owner_id, NULL::uuid AS project_id, mark, 110 AS many FROM fz.tenants WHERE tenant
        UNION ALL SELECT 'wide', id, key, NULL, NULL, mark, 1100 FROM fz.tenants WHERE tenant
        UNION ALL SELECT 'shared', id, key, NULL, NULL, mark, 60 FROM fz.tenants
        UNION ALL SELECT 'owner', t.id, t.key, u.id, NULL, t.mark + 5 + row_number() OVER (PARTITION BY t.id ORDER BY u.slug), 60
            FROM fz.tenants t JOIN tenancy.scopes u ON u.level = 'user' AND (u.slug, t.slug) IN
                (('ada', 'acme'), ('alice', 'acme'), ('dave', 'acme'), ('bob', 'umbrella'), ('ops', 'umbrella'), ('eve', 'soylent'), ('mia', 'soylent'), ('milton', 'initech'), ('boss', 'initech'))
        UNION ALL SELECT 'project', t.id, t.key, NULL, p.id, t.mark + 1 + row_number() OVER (PARTITION BY t.id ORDER BY p.slug), 60
            FROM fz.tenants t JOIN tenancy.scopes p ON p.level = 'project' AND p.parent_id = t.id
        UNION ALL SELECT 'project', id, key, NULL, NULL, mark, 60 FROM fz.tenants WHERE tenant;
    CREATE TABLE fz.rows AS
        SELECT c.*, row_number() OVER (PARTITION BY c.rows ORDER BY md5(c.mark || ' ' || g)) AS nr FROM fz.classes c, generate_series(1, c.many) g;
    CREATE TABLE fz.filled AS SELECT r.rows, r.nr AS id, r.id AS tenant, r.key, r.owner_id, r.project_id, r.mark::int AS mark,
        (abs(hashint8(r.nr)) % 50)::int AS k, (abs(hashint8(r.nr + 7000)) % 10)::int AS n, 1 + abs(hashint8(r.nr + 14000)::bigint) % least(400, max(r.nr) OVER (PARTITION BY r.rows)) AS ref,
        'k' || r.mark || '-' || substr(md5(r.nr::text), 1, 6) AS secret, r.nr % 3 = 0 AS flag,
        r.mark / 10 <> 13 AS lit_a, r.mark / 10 <> 15 AS lit_s, CASE WHEN r.mark / 10 = 13 THEN 1 END AS soft_a, CASE WHEN r.mark / 10 = 15 THEN 1 END AS soft_s
      FROM fz.rows r;";

/// A connection that keeps what the server notices.
pub struct Watched {
    /// The connection.
    pub session: Session,
    /// How many statements were sent.
    pub sent: u64,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn connect(mut config: Config) -> Self {
        let notices = Arc::new(Mutex::new(vec![]));
        let kept = Arc::clone(&notices);
        config.notice_callback(move |notice| {
            kept.lock().unwrap().push(notice.message().to_owned());
        });
        Self {
            session: Session::connect(&config),
            sent: 0,
            notices,
        }
    }

    /// The notices since the last call, in alphabetical order.
    pub fn notices(&self) -> Vec<String> {
        let mut all = std::mem::take(&mut *self.notices.lock().unwrap());
        all.sort();
        all
    }
}

/// The database.
pub struct World {
    db: Db,
    keys: HashMap<&'static str, String>,
    tenants: [String; 2],
    /// What each caller sees.
    pub facts: Vec<Facts>,
    /// The relations to read.
    pub relations: Vec<Relation>,
    twins: BTreeSet<(usize, &'static str)>,
}

impl World {
    /// Makes it.
    pub fn new() -> Self {
        let db = Db::new();
        let mut admin = db.admin();
        let mut owner = db.owner();
        owner.run(TREE);
        admin.run(CLASSES).run(UNPINNED).run(EVIL);
        // Of indexes with the tenant column, and of trigrams.
        admin.run(
            "CREATE EXTENSION btree_gin; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm",
        );
        admin.run(&format!(
            "GRANT SET ON PARAMETER tenancy.index_search TO {}",
            db.app
        ));
        let mut keys = HashMap::new();
        for slug in [
            "alice", "ada", "dave", "ops", "boss", "mia", "sue", "bob", "eve",
        ] {
            let user: Uuid = admin
                .query_one(
                    "SELECT id FROM tenancy.scopes WHERE level = 'user' AND slug = $1",
                    &[&slug],
                )
                .unwrap()
                .get(0);
            let key = owner.text(&format!(
                "SELECT tenancy.issue_api_key('{user}'::uuid, 'key-{slug}')"
            ));
            keys.insert(slug, key);
        }
        let tenant = |slug: &str, admin: &mut Session| {
            admin.text(&format!("SELECT id FROM fz.tenants WHERE slug = '{slug}'"))
        };
        let tenants = [tenant("acme", &mut admin), tenant("soylent", &mut admin)];
        let mut world = Self {
            db,
            keys,
            tenants,
            facts: vec![],
            relations: relations(),
            twins: BTreeSet::new(),
        };
        world.make_tables();
        world.learn();
        world
    }

    /// A superuser's connection.
    pub fn admin(&self) -> Session {
        self.db.admin()
    }

    /// The application's connection.
    pub fn app(&self) -> Watched {
        Watched::connect(self.db.config(&self.db.app))
    }

    /// Logs a caller in.
    pub fn enter(&self, session: &mut Session, caller: &Caller) {
        if let Some(user) = caller.user {
            session.login(&self.keys[user]);
        }
        if let Some(then) = caller.then {
            session.run(then);
        }
    }

    /// Gives the super admin its power, for hours.
    pub fn elevate(&self) {
        let mut app = self.db.app();
        app.run("BEGIN");
        app.login(&self.keys["sue"]);
        app.run("SELECT tenancy.elevate('fuzzing', '1 hour')")
            .run("COMMIT");
    }

    /// Creates a table and its views.
    fn create(&self, session: &mut Session, schema: &str, table: &Table) {
        let tenants = [self.tenants[0].as_str(), self.tenants[1].as_str()];
        session
            .run("SET search_path = fns")
            .run(&table.ddl(schema, tenants));
        for (name, on, options) in VIEWS {
            if on == table.name {
                session.run(&format!(
                    "CREATE VIEW {schema}.{name} {options} AS SELECT * FROM {schema}.{on}"
                ));
            }
        }
    }

    /// The protected tables with all rows.
    fn make_tables(&self) {
        let (mut owner, mut admin) = (self.db.owner(), self.db.admin());
        admin.run("SET search_path = fns");
        for table in &TABLES {
            self.create(&mut owner, "app", table);
            owner.run(&format!(
                "SELECT tenancy.protect('app.{}'{})",
                table.name,
                table.protection()
            ));
        }
        owner
            .run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO tenancy_app");
        for table in &TABLES {
            admin.run(&table.all_indexes("app"));
            Self::fill(&mut admin, "app", table, None);
        }
    }

    /// Fills a table. With a caller: what it does not see becomes NULL where conditions look.
    fn fill(admin: &mut Session, schema: &str, table: &Table, blind: Option<&str>) {
        let key = if table.key == "uuid" {
            "f.tenant".to_owned()
        } else {
            format!("f.key::{}", table.key)
        };
        let pad = if table.kind == Kind::Wide {
            "repeat('x', 120)"
        } else {
            "'x'"
        };
        let seen = blind.map_or("true".to_owned(), |copy| {
            format!(
                "EXISTS (SELECT FROM {copy}.{} c WHERE c.id = f.id)",
                table.name
            )
        });
        let values = format!(
            "f.id, {key}, f.owner_id, f.project_id, CASE WHEN s.seen THEN f.mark END, f.k, f.n, f.ref, CASE WHEN s.seen THEN f.secret END, f.flag,
             f.lit_a OR NOT s.seen, f.lit_s OR NOT s.seen, CASE WHEN s.seen THEN f.soft_a END, CASE WHEN s.seen THEN f.soft_s END,
             CASE WHEN s.seen THEN jsonb_build_object('mark', f.mark, 'k', f.k, 'v', f.secret) END, CASE WHEN s.seen THEN ARRAY[f.mark, f.k, f.n] END,
             CASE WHEN s.seen THEN int4range(f.mark, f.mark + 10) END, date '2026-01-01' + f.k, CASE WHEN s.seen THEN {pad} ELSE {pad} || repeat('y', 110) END,
             CASE WHEN s.seen THEN f.mark + 0.5 END, CASE WHEN s.seen THEN to_tsvector('simple', f.secret) END"
        );
        let (into, only) = (
            format!("{schema}.{}", table.name),
            format!("f.rows = '{}'", table.rows()),
        );
        let from =
            format!("FROM fz.filled f CROSS JOIN LATERAL (SELECT {seen} AS seen) s WHERE {only}");
        if table.kind == Kind::Parent {
            admin.run(&format!("INSERT INTO {into} ({COLUMNS}) SELECT {values} {from} AND f.id % 2 = 0 ORDER BY f.id"));
            admin.run(&format!("INSERT INTO {into}_kid ({COLUMNS}) SELECT {values} {from} AND f.id % 2 = 1 ORDER BY f.id"));
        } else {
            admin.run(&format!(
                "INSERT INTO {into} ({COLUMNS}) SELECT {values} {from} ORDER BY f.id"
            ));
        }
        Self::analyze(admin, schema, table);
    }

    fn analyze(admin: &mut Session, schema: &str, table: &Table) {
        admin.run(&format!("VACUUM (ANALYZE) {schema}.{}", table.name));
        if table.kind == Kind::Parent {
            admin.run(&format!("VACUUM (ANALYZE) {schema}.{}_kid", table.name));
        }
    }

    /// Makes each caller's copy, from what it reads with nothing in its way.
    fn learn(&mut self) {
        self.elevate();
        let mut admin = self.db.admin();
        admin.run("SET search_path = fns");
        let mut all = BTreeMap::new();
        for table in &TABLES {
            all.insert(table.name.to_owned(), marks(&mut admin, "app", table.name));
        }
        let mut every_text = BTreeMap::new();
        for (view, column, _) in OWN_VIEWS {
            every_text.insert(view.to_owned(), self.db.owner().texts(&format!("SELECT DISTINCT {column} FROM tenancy.{view} WHERE {column} IS NOT NULL ORDER BY 1")));
        }
        for caller in &CALLERS {
            let copy = format!("copy_{}", caller.name);
            admin.run(&format!("CREATE SCHEMA {copy}; GRANT USAGE ON SCHEMA {copy} TO tenancy_app; CREATE TABLE {copy}.writable (name text, id bigint)"));
            for table in &TABLES {
                self.create(&mut admin, &copy, table);
                admin.run(&table.all_indexes(&copy));
            }
            for (view, column, other) in OWN_VIEWS {
                admin.run(&format!("CREATE TABLE {copy}.{view} AS SELECT {column}, {other} FROM tenancy.{view} WITH NO DATA"));
            }
            admin.run(&format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {copy} TO tenancy_app"
            ));
            self.copy(caller, &copy);
            let mut read_only_rows = BTreeSet::new();
            let mut seen = BTreeMap::new();
            for table in &TABLES {
                let name = table.name;
                seen.insert(name.to_owned(), marks(&mut admin, &copy, name));
                let counts = |sql: &str, admin: &mut Session| admin.number(sql);
                let rows = counts(&format!("SELECT count(*) FROM {copy}.{name}"), &mut admin);
                if rows
                    != counts(
                        &format!("SELECT count(*) FROM {copy}.writable WHERE name = '{name}'"),
                        &mut admin,
                    )
                {
                    read_only_rows.insert(name);
                    admin.run(&format!("CREATE VIEW {copy}.{name}_w AS SELECT * FROM {copy}.{name} WHERE id IN (SELECT id FROM {copy}.writable WHERE name = '{name}')"));
                }
            }
            admin.run(&format!("CREATE UNIQUE INDEX ON {copy}.writable (name, id); ANALYZE {copy}.writable; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {copy} TO tenancy_app"));
            for table in &TABLES {
                Self::analyze(&mut admin, &copy, table);
            }
            let mut seen_texts = BTreeMap::new();
            for (view, column, _) in OWN_VIEWS {
                admin.run(&format!("ANALYZE {copy}.{view}"));
                seen_texts.insert(view.to_owned(), admin.texts(&format!("SELECT DISTINCT {column} FROM {copy}.{view} WHERE {column} IS NOT NULL ORDER BY 1")));
            }
            self.facts.push(Facts::new(
                seen,
                &all,
                seen_texts,
                &every_text,
                read_only_rows,
            ));
        }
    }

    fn copy(&self, caller: &Caller, copy: &str) {
        let mut app = self.db.app();
        app.run("BEGIN; SET LOCAL search_path = fns; SET LOCAL tenancy.missing_context = empty");
        self.enter(&mut app, caller);
        for table in &TABLES {
            let name = table.name;
            // The order in which a table keeps its rows should not tell the two apart.
            if table.kind == Kind::Parent {
                app.run(&format!("INSERT INTO {copy}.{name} SELECT * FROM ONLY app.{name} ORDER BY id; INSERT INTO {copy}.{name}_kid SELECT * FROM app.{name}_kid ORDER BY id"));
            } else {
                app.run(&format!(
                    "INSERT INTO {copy}.{name} SELECT * FROM app.{name} ORDER BY id"
                ));
            }
            // A caller with several tenants must select one to write: so it may write no row.
            let sql = format!(
                "INSERT INTO {copy}.writable SELECT '{name}', id FROM (SELECT id FROM app.{name} FOR UPDATE) w"
            );
            app.run("SAVEPOINT writing");
            if let Err(error) = app.batch_execute(&sql) {
                Failure::from(&error).code("55000");
                app.run("ROLLBACK TO SAVEPOINT writing");
            }
        }
        if caller.user.is_some() {
            for (view, column, other) in OWN_VIEWS {
                app.run(&format!(
                    "INSERT INTO {copy}.{view} SELECT {column}, {other} FROM tenancy.{view}"
                ));
            }
        }
        app.run("COMMIT");
    }

    /// The schema of a caller's twin: the same protected tables with the same statistics, in which the rows that the caller does not see hold nothing that
    /// a condition could find. Only the tables that a statement names are made.
    pub fn twin(&mut self, caller: usize, sql: &str) -> String {
        let name = CALLERS[caller].name;
        let (twin, copy) = (format!("twin_{name}"), format!("copy_{name}"));
        let (mut owner, mut admin) = (self.db.owner(), self.db.admin());
        admin.run(&format!(
            "CREATE SCHEMA IF NOT EXISTS {twin} AUTHORIZATION {}; GRANT USAGE ON SCHEMA {twin} TO tenancy_app; SET search_path = fns",
            self.db.owner
        ));
        // Compiling what protect() asks the catalog takes longer than all the rest.
        owner.run("SET jit = off");
        for table in &TABLES {
            if sql.contains(table.name) && self.twins.insert((caller, table.name)) {
                self.create(&mut owner, &twin, table);
                owner.run(&format!(
                    "SELECT tenancy.protect('{twin}.{}'{})",
                    table.name,
                    table.protection()
                ));
                owner.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {twin} TO tenancy_app"));
                admin.run(&table.all_indexes(&twin));
                Self::fill(&mut admin, &twin, table, Some(&copy));
                admin.run(&same_statistics(&twin, table.name));
            }
        }
        twin
    }

    /// Gives the tables that a statement names, and their twins, the size that their rows need.
    pub fn compact(&self, caller: usize, sql: &str) {
        let twin = format!("twin_{}", CALLERS[caller].name);
        let mut admin = self.db.admin();
        admin.run("SET search_path = fns");
        for table in TABLES.iter().filter(|table| sql.contains(table.name)) {
            for schema in ["app", twin.as_str()] {
                admin.run(&format!("VACUUM (FULL) {schema}.{}", table.name));
            }
            admin.run(&same_statistics(&twin, table.name));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Of the whole server's: it would keep the role.
        let _ = self.db.admin().batch_execute(&format!(
            "REVOKE SET ON PARAMETER tenancy.index_search FROM {}",
            self.db.app
        ));
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn marks(admin: &mut Session, schema: &str, table: &str) -> Vec<i32> {
    admin
        .texts(&format!(
            "SELECT DISTINCT mark FROM {schema}.{table} ORDER BY 1"
        ))
        .iter()
        .map(|m| m.parse().unwrap())
        .collect()
}
