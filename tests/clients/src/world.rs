//! A database with tenants.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, process, thread};

use postgres::Config;
use uuid::Uuid;

use crate::{Failure, Session};

/// What there is to connect to, as its superuser.
pub fn server() -> Config {
    if let Ok(dsn) = env::var("TENANCY_TEST_DSN") {
        return dsn.parse().expect("TENANCY_TEST_DSN");
    }
    let host = env::var("PGHOST").expect(
        "no server to test with: run make test, or eval \"$(scripts/cluster env NAME)\" of one that runs",
    );
    let port = env::var("PGPORT").map_or(5432, |port| port.parse().expect("PGPORT"));
    let mut config = Config::new();
    config
        .host(&host)
        .port(port)
        .user(&env::var("PGUSER").unwrap_or("postgres".into()))
        .dbname("postgres");
    config
}

/// A name that nothing else in the cluster has.
pub fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = format!("{label}_{}_{n}_{nanos}", process::id());
    name.truncate(50);
    name
}

/// What the library has for tests alone (src/testing.rs): the extension does not declare it.
const TESTING: &str = "CREATE SCHEMA testing;
    CREATE FUNCTION testing.record_now(action text, details jsonb) RETURNS void LANGUAGE c AS '$libdir/tenancy', '_record_now_wrapper';
    CREATE FUNCTION testing.claim_token(provider uuid, jti_hash bytea, expires_at timestamptz) RETURNS boolean
        LANGUAGE c STRICT AS '$libdir/tenancy', '_claim_token_wrapper'";

/// Returns the name of a server's database with the extension that others are copied from: CREATE EXTENSION takes a second, and most
/// tests make a database. Whoever is first makes it, and the four roles. Another script of the extension gets another one.
fn template(server: &Config) -> String {
    let mut config = server.clone();
    config.dbname("postgres");
    let mut root = Session::connect(&config);
    let name = root.text(
        "SELECT 'like_' || md5(string_agg(pg_read_file(dir || f), '' ORDER BY f))
           FROM (SELECT setting || '/extension/' AS dir FROM pg_config WHERE name = 'SHAREDIR') d, pg_ls_dir(dir) f WHERE f LIKE 'tenancy%'",
    );
    root.run("SELECT pg_advisory_lock(8007)");
    if root.number(&format!(
        "SELECT count(*) FROM pg_database WHERE datname = '{name}'"
    )) == 0
    {
        root.run(&format!("DROP DATABASE IF EXISTS {name}_new"))
            .run(&format!("CREATE DATABASE {name}_new"));
        config.dbname(&format!("{name}_new"));
        Session::connect(&config)
            .run("CREATE EXTENSION tenancy")
            .run(TESTING);
        // Nobody may be in it while it is copied, the worker included.
        root.run(&format!(
            "ALTER DATABASE {name}_new ALLOW_CONNECTIONS false"
        ));
        let others = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}_new'");
        while root.number(&others) > 0 {
            root.run(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}_new'"
            ));
            thread::sleep(Duration::from_millis(10));
        }
        root.run(&format!("ALTER DATABASE {name}_new RENAME TO {name}"));
    }
    name
}

/// A database of its own, with the extension and login roles; gone when dropped.
pub struct Db {
    server: Config,
    /// Returns its name.
    pub name: String,
    /// The untrusted role: a member of tenancy_app.
    pub app: String,
    /// The trusted role: a member of tenancy_app and tenancy_gateway.
    pub gateway: String,
    /// The tables' owner: a member of tenancy_admin.
    pub owner: String,
    /// A role that is a member of nothing.
    pub stranger: String,
}

impl Db {
    /// Makes one on the server of the environment.
    pub fn new() -> Self {
        Self::on(server())
    }

    /// Makes one on a server.
    pub fn on(server: Config) -> Self {
        let like = template(&server);
        Self::create(Self::named(server), &like).granted()
    }

    /// Makes one whose signing keys no other has.
    pub fn with_own_keys(server: Config) -> Self {
        // The four roles are there.
        template(&server);
        let db = Self::without_extension(server);
        db.admin().run("CREATE EXTENSION tenancy").run(TESTING);
        db.granted()
    }

    /// Grants the roles what they are for, and makes the application's schema.
    fn granted(self) -> Self {
        let db = self;
        let mut admin = db.admin();
        db.grant_roles(&mut admin);
        admin.run(&format!(
            "GRANT CREATE ON DATABASE {0} TO {1}; CREATE SCHEMA app AUTHORIZATION {1}; GRANT USAGE ON SCHEMA app TO PUBLIC;
             -- The application works on what the owner makes: protect() grants nothing.
             ALTER DEFAULT PRIVILEGES FOR ROLE {1} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app;
             ALTER DEFAULT PRIVILEGES FOR ROLE {1} GRANT USAGE ON SEQUENCES TO tenancy_app;
             ALTER DEFAULT PRIVILEGES FOR ROLE {1} GRANT USAGE ON SCHEMAS TO tenancy_app;
             ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app",
            db.name, db.owner
        ));
        db
    }

    /// Makes one with the login roles, and nothing in it.
    pub fn without_extension(server: Config) -> Self {
        Self::create(Self::named(server), "template1")
    }

    fn named(server: Config) -> Self {
        let name = unique("t");
        let role = |what: &str| format!("{name}_{what}");
        Self {
            server,
            app: role("app"),
            gateway: role("gw"),
            owner: role("own"),
            stranger: role("str"),
            name: name.clone(),
        }
    }

    /// Makes an empty one of the same name with roles of the same names, on another server.
    pub fn without_extension_like(server: Config, other: &Db) -> Self {
        Self::create(other.also_on(server), "template1")
    }

    /// This one, on another server that has it already.
    pub fn also_on(&self, server: Config) -> Self {
        Self {
            server,
            name: self.name.clone(),
            app: self.app.clone(),
            gateway: self.gateway.clone(),
            owner: self.owner.clone(),
            stranger: self.stranger.clone(),
        }
    }

    fn create(db: Self, like: &str) -> Self {
        let mut root = db.connect_to("postgres", None);
        root.run(&format!("CREATE DATABASE {} TEMPLATE {like}", db.name));
        for role in db.roles() {
            root.run(&format!("CREATE ROLE {role} LOGIN"));
        }
        db
    }

    /// Grants the login roles what they are for.
    pub fn grant_roles(&self, admin: &mut Session) {
        admin.run(&format!(
            "GRANT tenancy_app TO {}, {1}; GRANT tenancy_gateway TO {1}; GRANT tenancy_admin TO {2}",
            self.app, self.gateway, self.owner
        ));
    }

    fn roles(&self) -> [&str; 4] {
        [&self.app, &self.gateway, &self.owner, &self.stranger]
    }

    fn connect_to(&self, database: &str, role: Option<&str>) -> Session {
        let mut config = self.server.clone();
        config.dbname(database);
        if let Some(role) = role {
            config.user(role);
        }
        Session::connect(&config)
    }

    /// How to connect as a role.
    pub fn config(&self, role: &str) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name).user(role);
        config
    }

    /// A superuser's connection.
    pub fn admin(&self) -> Session {
        self.connect_to(&self.name, None)
    }

    /// A connection of the untrusted role.
    pub fn app(&self) -> Session {
        self.connect_to(&self.name, Some(&self.app))
    }

    /// A connection of the untrusted role with startup options, as `PGOPTIONS` gives them.
    pub fn app_with(&self, options: &str) -> Result<Session, Failure> {
        let mut config = self.config(&self.app);
        config.options(options);
        Session::try_connect(&config)
    }

    /// A connection of the trusted role.
    pub fn gateway(&self) -> Session {
        self.connect_to(&self.name, Some(&self.gateway))
    }

    /// A connection of the tables' owner, who administers tenancy too.
    pub fn owner(&self) -> Session {
        self.connect_to(&self.name, Some(&self.owner))
    }

    /// A connection of a role that was granted nothing.
    pub fn stranger(&self) -> Session {
        self.connect_to(&self.name, Some(&self.stranger))
    }
}

impl Db {
    /// Runs a statement that waits for a lock until another session commits.
    #[track_caller]
    pub fn behind(
        &self,
        first: &mut Session,
        mut second: Session,
        sql: &str,
    ) -> Result<(), Failure> {
        let (pid, mut admin) = (second.pid(), self.admin());
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
        );
        thread::scope(|scope| {
            let waiting = scope.spawn(|| second.try_run(sql));
            while !waiting.is_finished() && admin.number(&waits) == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            assert!(!waiting.is_finished(), "this did not wait: {sql}");
            first.run("COMMIT");
            waiting.join().unwrap()
        })
    }
}

impl Default for Db {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let mut config = self.server.clone();
        config.dbname("postgres");
        // A server that a test has stopped takes its databases with it.
        let Ok(mut root) = Session::try_connect(&config) else {
            return;
        };
        let _ = root.batch_execute(&format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.name
        ));
        for role in self.roles() {
            let _ = root.batch_execute(&format!("DROP ROLE IF EXISTS {role}"));
        }
    }
}

/// The rows that each tenant of a world has in `app.notes`.
pub const NOTES: [(&str, i64); 3] = [("acme", 3), ("umbrella", 5), ("soylent", 7)];

/// Two partners, globex with acme and umbrella, hooli with soylent; a user in each tenant and in each partner, with a key
/// each; and a protected table `app.notes (id, tenant_id, body)` with rows.
pub struct World {
    /// Where.
    pub db: Db,
    /// The API keys of alice (acme), bob (umbrella), eve (soylent), ops (globex) and boss (hooli), pat (platform).
    pub keys: HashMap<&'static str, String>,
    /// The ids of users, tenants and partners by slug.
    pub ids: HashMap<String, Uuid>,
}

/// The tree of a world.
pub const TREE: &str = "
    SELECT tenancy.create_partner('globex'), tenancy.create_partner('hooli');
    SELECT tenancy.create_tenant('acme', partner => 'globex', external_id => '42'),
           tenancy.create_tenant('umbrella', partner => 'globex', external_id => '43'),
           tenancy.create_tenant('soylent', partner => 'hooli', external_id => '44');
    SELECT tenancy.create_user('acme', 'alice'), tenancy.create_user('umbrella', 'bob'),
           tenancy.create_user('soylent', 'eve'), tenancy.create_user('globex', 'ops', 'service', role => 'partner_admin'),
           tenancy.create_user('hooli', 'boss', role => 'partner_admin'), tenancy.create_user('platform', 'pat');";

impl World {
    /// Makes one, with `app.notes`.
    pub fn new() -> Self {
        Self::bare().with_notes()
    }

    /// Makes one with `app.notes` in which pat is a super admin and elevated.
    pub fn elevated() -> Self {
        let world = Self::new();
        world.db.owner().run(&format!(
            "SELECT tenancy.assign('{}', 'super_admin', 'platform')",
            world.id("pat")
        ));
        world
            .begin("pat")
            .run("SELECT tenancy.elevate('ticket 7', '1 hour'); COMMIT");
        world
    }

    /// Adds `app.notes`.
    pub fn with_notes(self) -> Self {
        let world = self;
        let mut owner = world.db.owner();
        owner.run(
            "CREATE TABLE app.notes (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, body text NOT NULL);
             SELECT tenancy.protect('app.notes')",
        );
        world.fill("app.notes (tenant_id, body)", "t.id, t.slug || ' ' || n");
        world
    }

    /// Makes one without tables.
    pub fn bare() -> Self {
        Self::bare_in(Db::new())
    }

    /// Makes one without tables in a database.
    pub fn bare_in(db: Db) -> Self {
        db.owner().run(TREE);
        let mut world = Self {
            db,
            keys: HashMap::new(),
            ids: HashMap::new(),
        };
        world.learn();
        let mut owner = world.db.owner();
        for user in ["alice", "bob", "eve", "ops", "boss", "pat"] {
            let key = owner
                .query_one(
                    "SELECT tenancy.issue_api_key($1::uuid, 'test')",
                    &[&world.id(user)],
                )
                .unwrap();
            world.keys.insert(user, key.get(0));
        }
        world
    }

    /// Reads the ids of everything in the tree.
    pub fn learn(&mut self) {
        for row in self
            .db
            .admin()
            .query("SELECT slug, id FROM tenancy.scopes", &[])
            .unwrap()
        {
            self.ids.insert(row.get(0), row.get(1));
        }
    }

    /// Fills a table as the superuser: for each tenant `t` as many rows `n` as `NOTES` says.
    pub fn fill(&self, into: &str, values: &str) {
        for (tenant, rows) in NOTES {
            self.db.admin().run(&format!(
                "INSERT INTO {into} SELECT {values} FROM tenancy.tenants t, generate_series(1, {rows}) n WHERE t.slug = '{tenant}'"
            ));
        }
    }

    /// A user's API key.
    pub fn key(&self, user: &str) -> &str {
        &self.keys[user]
    }

    /// The id of what has this slug.
    #[track_caller]
    pub fn id(&self, slug: &str) -> Uuid {
        *self
            .ids
            .get(slug)
            .unwrap_or_else(|| panic!("no scope {slug}"))
    }

    /// A ticket for a user.
    pub fn ticket(&self, user: &str, ttl: &str) -> String {
        let sql = format!("SELECT tenancy.issue_ticket('{}', '{ttl}')", self.id(user));
        self.db.gateway().text(&sql)
    }

    /// Another API key of a user.
    pub fn another_key(&self, user: &str) -> String {
        let sql = format!(
            "SELECT tenancy.issue_api_key('{}', 'another')",
            self.id(user)
        );
        self.db.owner().text(&sql)
    }

    /// A connection as the application, in a transaction of this user.
    #[track_caller]
    pub fn begin(&self, user: &str) -> Session {
        let mut session = self.db.app();
        session.begin(self.key(user));
        session
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
