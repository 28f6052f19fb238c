//! A connection, and the answers and notices that it receives.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postgres::types::{ToSql, Type};
use postgres::{Client, Config, NoTls};

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// The detail.
    pub detail: Option<String>,
    /// The hint.
    pub hint: Option<String>,
    /// Everything that came with it, to look for what must not be there.
    pub all: String,
}

impl Failure {
    /// Reads a driver's error. One that is not the server's has no SQLSTATE.
    pub fn from(error: &postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self {
                code: db.code().code().to_owned(),
                message: db.message().to_owned(),
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
                all: format!("{db:?}"),
            },
            None => Self {
                code: String::new(),
                message: format!("{error:?}"),
                detail: None,
                hint: None,
                all: String::new(),
            },
        }
    }

    /// Asserts the SQLSTATE.
    #[track_caller]
    pub fn code(self, code: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts that the message has a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.message.contains(text), "{text:?} is not in {self:?}");
        self
    }

    /// Asserts that the detail has a text.
    #[track_caller]
    pub fn details(self, text: &str) -> Self {
        assert!(
            self.detail.as_deref().unwrap_or("").contains(text),
            "{text:?} is not in the detail of {self:?}"
        );
        self
    }

    /// Asserts that the hint has a text.
    #[track_caller]
    pub fn hints(self, text: &str) -> Self {
        assert!(
            self.hint.as_deref().unwrap_or("").contains(text),
            "{text:?} is not in the hint of {self:?}"
        );
        self
    }

    /// Asserts that nothing the server sent repeats a text.
    #[track_caller]
    pub fn hides(self, secret: &str) -> Self {
        assert!(
            !self.all.contains(secret),
            "the secret was printed: {self:?}"
        );
        self
    }
}

/// A connection.
pub struct Session {
    client: Client,
    warnings: Arc<Mutex<Vec<(String, String)>>>,
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// How long a setting holds.
#[derive(Clone, Copy, PartialEq)]
pub enum Until {
    /// SET.
    Session,
    /// SET LOCAL.
    Transaction,
}

/// The statement that makes the server run every query in a parallel worker that may run in one.
pub fn always_parallel(until: Until) -> String {
    // PostgreSQL 16 renamed the setting.
    format!(
        "SELECT set_config(name, 'on', {}) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')",
        until == Until::Transaction
    )
}

/// The ways to scan a table: the plan's node, and the settings that are off for it.
pub const SCANS: [(&str, [&str; 3]); 3] = [
    (
        "Seq Scan",
        [
            "enable_indexscan",
            "enable_indexonlyscan",
            "enable_bitmapscan",
        ],
    ),
    (
        "Index Scan",
        [
            "enable_seqscan",
            "enable_indexonlyscan",
            "enable_bitmapscan",
        ],
    ),
    (
        "Bitmap Heap Scan",
        ["enable_seqscan", "enable_indexonlyscan", "enable_indexscan"],
    ),
];

impl Session {
    /// Connects.
    #[track_caller]
    pub fn connect(config: &Config) -> Self {
        match Self::try_connect(config) {
            Ok(session) => session,
            Err(failure) => panic!("cannot connect: {failure:?}"),
        }
    }

    /// Connects, or returns the server's error.
    pub fn try_connect(config: &Config) -> Result<Self, Failure> {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let (mut config, heard) = (config.clone(), warnings.clone());
        config.notice_callback(move |notice| {
            let said = (notice.severity().to_owned(), notice.message().to_owned());
            heard.lock().unwrap().push(said);
        });
        config
            .connect(NoTls)
            .map(|client| Self { client, warnings })
            .map_err(|error| Failure::from(&error))
    }

    /// Runs statements that must work.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> &mut Self {
        if let Err(error) = self.client.batch_execute(sql) {
            panic!("{sql}\n{:?}", Failure::from(&error));
        }
        self
    }

    /// Runs statements that must work, and returns the server's warnings.
    #[track_caller]
    pub fn warnings(&mut self, sql: &str) -> Vec<String> {
        self.said("WARNING", sql)
    }

    /// Runs statements that must work, and returns the server's notices.
    #[track_caller]
    pub fn notices(&mut self, sql: &str) -> Vec<String> {
        self.said("NOTICE", sql)
    }

    #[track_caller]
    fn said(&mut self, severity: &str, sql: &str) -> Vec<String> {
        self.warnings.lock().unwrap().clear();
        self.run(sql);
        let said = std::mem::take(&mut *self.warnings.lock().unwrap());
        (said.into_iter())
            .filter_map(|(of, message)| (of == severity).then_some(message))
            .collect()
    }

    /// Runs statements that must be refused.
    #[track_caller]
    pub fn fails(&mut self, sql: &str) -> Failure {
        match self.client.batch_execute(sql) {
            Ok(()) => panic!("this was not refused: {sql}"),
            Err(error) => Failure::from(&error),
        }
    }

    /// Runs statements that may be refused.
    pub fn try_run(&mut self, sql: &str) -> Result<(), Failure> {
        self.client
            .batch_execute(sql)
            .map_err(|error| Failure::from(&error))
    }

    /// Runs one statement with parameters that must be refused.
    #[track_caller]
    pub fn fails_with(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Failure {
        match self.client.query(sql, parameters) {
            Ok(_) => panic!("this was not refused: {sql}"),
            Err(error) => Failure::from(&error),
        }
    }

    /// Runs statements that must be refused, in a savepoint that is rolled back.
    #[track_caller]
    pub fn fails_inside(&mut self, sql: &str) -> Failure {
        self.run("SAVEPOINT refused");
        let failure = self.fails(sql);
        self.run("ROLLBACK TO SAVEPOINT refused");
        failure
    }

    /// Reads up to `most` rows with an id of a function that goes on after a cursor: the ids, and the new cursor.
    #[track_caller]
    pub fn page(&mut self, function: &str, after: &str, most: u64) -> (Vec<String>, String) {
        let after = match after {
            "" => "NULL".to_owned(),
            after => format!("'{after}'"),
        };
        let rows = self.texts(&format!(
            "SELECT id || ' ' || cursor FROM tenancy.{function}({after}, {most})"
        ));
        let mut last = String::new();
        let ids = rows.iter().map(|row| {
            let (id, cursor) = row.split_once(' ').unwrap();
            last = cursor.to_owned();
            id.to_owned()
        });
        let ids = ids.collect();
        (ids, last)
    }

    /// Waits so many seconds until a query answers with these rows' first column.
    #[track_caller]
    pub fn until(&mut self, seconds: u64, sql: &str, wanted: &[&str]) {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let found = self.texts(sql);
            if found == wanted {
                return;
            }
            assert!(Instant::now() < end, "{sql}: {found:#?}, not {wanted:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The first column of all rows, as text.
    #[track_caller]
    pub fn texts(&mut self, sql: &str) -> Vec<String> {
        match self.client.simple_query(sql) {
            Ok(messages) => messages
                .iter()
                .filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => {
                        Some(row.get(0).unwrap_or("NULL").to_owned())
                    }
                    _ => None,
                })
                .collect(),
            Err(error) => panic!("{sql}\n{:?}", Failure::from(&error)),
        }
    }

    /// The first column of the only row, as text; NULL is `NULL`.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let mut rows = self.texts(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.remove(0)
    }

    /// The only value, as a number.
    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        self.text(sql).parse().unwrap()
    }

    /// The lines of a plan.
    #[track_caller]
    pub fn plan(&mut self, sql: &str) -> String {
        self.texts(&format!("EXPLAIN {sql}")).join("\n")
    }

    /// How many rows a statement touched.
    #[track_caller]
    pub fn touched(&mut self, sql: &str) -> u64 {
        match self.client.execute(sql, &[]) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}\n{:?}", Failure::from(&error)),
        }
    }

    /// Takes a context for the transaction; the credential goes as a parameter, and no statement is left prepared: a pooler
    /// may send the next one elsewhere.
    #[track_caller]
    pub fn login(&mut self, credential: &str) -> &mut Self {
        self.try_login(credential).unwrap();
        self
    }

    /// Does what `login` does, or returns the server's error.
    pub fn try_login(&mut self, credential: &str) -> Result<(), Failure> {
        self.client
            .query_typed(
                "SELECT tenancy.authenticate($1)",
                &[(&credential, Type::TEXT)],
            )
            .map(drop)
            .map_err(|error| Failure::from(&error))
    }

    /// Takes a context for the session.
    #[track_caller]
    pub fn login_session(&mut self, credential: &str) -> &mut Self {
        let sql = "SELECT tenancy.authenticate($1, session => true)";
        self.client
            .query_typed(sql, &[(&credential, Type::TEXT)])
            .unwrap();
        self
    }

    /// Begins a transaction of a principal.
    #[track_caller]
    pub fn begin(&mut self, credential: &str) -> &mut Self {
        self.run("BEGIN").login(credential)
    }

    /// Makes the server run every query in a parallel worker that may run in one, until the session or the transaction ends.
    #[track_caller]
    pub fn always_parallel(&mut self, until: Until) -> &mut Self {
        self.run(&always_parallel(until))
    }

    /// Resets the session's settings, and turns these off: those of one of `SCANS`.
    #[track_caller]
    pub fn scan_without(&mut self, settings: [&str; 3]) -> &mut Self {
        self.run("RESET ALL");
        for setting in settings {
            self.run(&format!("SET {setting} = off"));
        }
        self
    }

    /// The server's major version.
    pub fn major(&mut self) -> i64 {
        self.number("SELECT current_setting('server_version_num')::bigint / 10000")
    }

    /// This connection's process on the server.
    pub fn pid(&mut self) -> i32 {
        self.number("SELECT pg_backend_pid()").try_into().unwrap()
    }
}
