//! The protected tables and their copies: one shape, with all kinds of tenant keys, protection and indexes.

/// How a table is protected, or laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By tenant alone.
    Plain,
    /// With rows of partners and of the platform.
    Shared,
    /// Rows are their owner's.
    Owner,
    /// Rows are a project's.
    Project,
    /// Partitioned by a range of `k`.
    Range,
    /// Partitioned by tenant.
    List,
    /// A parent with a child that has a column more.
    Parent,
    /// So many pages that a bitmap of them does not fit into 64 kB.
    Wide,
}

/// A protected table.
#[derive(Debug)]
pub struct Table {
    /// Its name, without the schema.
    pub name: &'static str,
    /// The type of its tenant column.
    pub key: &'static str,
    /// How it is protected.
    pub kind: Kind,
}

const fn table(name: &'static str, key: &'static str, kind: Kind) -> Table {
    Table { name, key, kind }
}

/// All of them.
pub const TABLES: [Table; 12] = [
    table("docs", "uuid", Kind::Plain),
    table("bills", "bigint", Kind::Plain),
    table("slips", "integer", Kind::Plain),
    table("files", "text", Kind::Plain),
    table("labels", "varchar", Kind::Plain),
    table("guides", "uuid", Kind::Shared),
    table("diary", "uuid", Kind::Owner),
    table("tasks", "uuid", Kind::Project),
    table("calls", "uuid", Kind::Range),
    table("split", "uuid", Kind::List),
    table("base", "uuid", Kind::Parent),
    table("wide", "uuid", Kind::Wide),
];

/// Views of the application on them: with the caller's rights, as a barrier, with their owner's rights.
pub const VIEWS: [(&str, &str, &str); 4] = [
    ("docs_v", "docs", "WITH (security_invoker)"),
    (
        "calls_v",
        "calls",
        "WITH (security_invoker, security_barrier)",
    ),
    ("files_v", "files", ""),
    ("wide_v", "wide", "WITH (security_barrier)"),
];

/// The columns, in their order.
pub const COLUMNS: &str = "id, tenant_id, owner_id, project_id, mark, k, n, ref, secret, flag, lit_a, lit_s, soft_a, soft_s, meta, tags, span, at, pad, cost, words";

impl Table {
    /// Whether `id` is unique by a constraint.
    pub fn has_key(&self) -> bool {
        !matches!(self.kind, Kind::Range | Kind::List)
    }

    /// Which set of rows fills it.
    pub fn rows(&self) -> &'static str {
        match self.kind {
            Kind::Shared => "shared",
            Kind::Owner => "owner",
            Kind::Project => "project",
            Kind::Wide => "wide",
            _ => "plain",
        }
    }

    /// The arguments of protect() after the table.
    pub fn protection(&self) -> &'static str {
        match self.kind {
            Kind::Shared => ", shared => true",
            Kind::Owner => ", owner_column => 'owner_id'",
            Kind::Project => ", project_column => 'project_id'",
            _ => "",
        }
    }

    /// Creates it in a schema. `tenants` are two tenants with a partition of their own.
    pub fn ddl(&self, schema: &str, tenants: [&str; 2]) -> String {
        let name = format!("{schema}.{}", self.name);
        let parts = match self.kind {
            Kind::Range => " PARTITION BY RANGE (k)",
            Kind::List => " PARTITION BY LIST (tenant_id)",
            // Most of each page stays free, so that few rows make many pages.
            Kind::Wide => " WITH (fillfactor = 10, autovacuum_enabled = off)",
            _ => " WITH (autovacuum_enabled = off)",
        };
        let key = if self.has_key() {
            ", PRIMARY KEY (id)"
        } else {
            ""
        };
        let mut sql = format!(
            "CREATE TABLE {name} (id bigint NOT NULL, tenant_id {0} NOT NULL, owner_id uuid, project_id uuid, mark int, k int NOT NULL, n int NOT NULL, ref bigint,
                 secret text, flag boolean NOT NULL, lit_a boolean, lit_s boolean, soft_a int, soft_s int, meta jsonb, tags int[], span int4range, at date, pad text, cost numeric, words tsvector{key}){parts};",
            self.key
        );
        match self.kind {
            Kind::Range => {
                sql += &format!(
                    "CREATE TABLE {name}_low PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (17); CREATE TABLE {name}_mid PARTITION OF {name} FOR VALUES FROM (17) TO (34); CREATE TABLE {name}_top PARTITION OF {name} DEFAULT;"
                )
            }
            Kind::List => {
                sql += &format!(
                    "CREATE TABLE {name}_one PARTITION OF {name} FOR VALUES IN ('{}'); CREATE TABLE {name}_two PARTITION OF {name} FOR VALUES IN ('{}'); CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT;",
                    tenants[0], tenants[1]
                )
            }
            _ => {}
        }
        if self.kind == Kind::Parent {
            sql += &format!(
                "CREATE TABLE {name}_kid (more int) INHERITS ({name}) WITH (autovacuum_enabled = off);"
            );
        }
        sql
    }

    /// Creates its indexes, some of which call the application's functions: protect() runs with a search path that does not find them.
    pub fn all_indexes(&self, schema: &str) -> String {
        let name = format!("{schema}.{}", self.name);
        let mut sql = self.indexes(&name, self.name);
        if self.kind == Kind::Parent {
            sql += &self.indexes(&format!("{name}_kid"), &format!("{}_kid", self.name));
        }
        sql
    }

    /// Indexes by all kinds of what a condition may search. `n` has none: see `conditions`.
    fn indexes(&self, on: &str, short: &str) -> String {
        let mut all = vec![
            "(id)",
            "(mark)",
            "(k)",
            "(ref)",
            "(secret)",
            "(tenant_id, k)",
        ];
        all.extend(match self.kind {
            Kind::Plain | Kind::Wide => vec![
                "USING gin (meta)",
                "USING gin (tags)",
                "USING gist (span)",
                "USING brin (at)",
                "(fns.norm(secret))",
                "(k) WHERE fns.chosen(mark)",
                "(k, fns.norm(secret)) WHERE k < 40",
                "(lower(secret))",
                "((k % 7))",
                "(ref) WHERE n > 4",
                "(lower(secret)) WHERE k > 25",
                "USING gin (words)",
                "USING gin (tenant_id, words)",
                "USING gin (secret public.gin_trgm_ops)",
                "(tenant_id, cost)",
                "(k, tenant_id)",
            ],
            Kind::Shared | Kind::List => vec![
                "USING gin (meta jsonb_path_ops)",
                "USING brin (k)",
                "(k) WHERE fns.chosen(mark)",
                "(lower(secret))",
                "USING hash (secret)",
                "(cost)",
                "USING gin (tenant_id, meta)",
            ],
            Kind::Owner | Kind::Range => vec![
                "USING gin (tags)",
                "(fns.norm(secret))",
                "(k, n) WHERE fns.fold(secret) > 'a'",
                "(k) INCLUDE (n)",
                "USING gin (tenant_id, tags)",
                "USING gist (secret public.gist_trgm_ops)",
            ],
            Kind::Project | Kind::Parent => vec![
                "USING gist (span)",
                "(k DESC) WHERE fns.chosen(mark)",
                "((1000 / (mark + 1)))",
                "(at, k)",
                "USING gist (tenant_id, span)",
                "USING gin (words)",
                "USING gin (words, tenant_id)",
            ],
        });
        all.iter()
            .enumerate()
            .filter(|(n, _)| *n > 0 || !self.has_key() || on.ends_with("_kid"))
            .map(|(n, index)| format!("CREATE INDEX {short}_{n} ON {on} {index};"))
            .collect()
    }
}
