//! Runs programs of the server, as a user that may run them.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs};

use postgres::Config;

use crate::Session;
use crate::scratch::Scratch;

/// Neither the server nor PgBouncer runs as root: then the user postgres runs them.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// A command, as the user who may run servers.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = if is_root() {
        // Which becomes the program, so that a signal to it is a signal to that.
        let mut other = Command::new("setpriv");
        other
            .args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "--",
            ])
            .arg(program.as_ref());
        other
    } else {
        Command::new(program.as_ref())
    };
    command
        .current_dir("/")
        .env_remove("RUST_BACKTRACE")
        .env_remove("PGOPTIONS");
    command
}

/// Gives a file or a directory to the user who may run servers.
pub fn hand_over(path: &Path) {
    if is_root() {
        let done = Command::new("chown")
            .arg("postgres:")
            .arg(path)
            .status()
            .unwrap();
        assert!(done.success());
    }
}

/// A program of the server under test.
pub fn server_program(name: &str) -> PathBuf {
    bin().join(name)
}

fn bin() -> PathBuf {
    env::var_os("TENANCY_TEST_BIN").map_or_else(|| "/usr/lib/postgresql/15/bin".into(), Into::into)
}

/// Runs a command that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A free port.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until something can be connected to.
#[track_caller]
pub fn wait_for(config: &Config, what: &str) -> Session {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match Session::try_connect(config) {
            Ok(session) => return session,
            Err(failure) if Instant::now() > end => panic!("{what} does not answer: {failure:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A server of the test's own, that may be killed. It stays in the test's process group, so that it ends with it.
pub struct Cluster {
    bin: PathBuf,
    scratch: Scratch,
    port: u16,
    settings: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    postmaster: Mutex<Option<Child>>,
}

impl Cluster {
    /// Makes and starts one.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// Makes and starts one with settings, as `name=value`, and with variables of the environment.
    pub fn start_with(settings: &[&str], environment: &[(&str, &Path)]) -> Self {
        let cluster = Self::new(settings, environment);
        cluster.init();
        cluster.up();
        cluster
    }

    /// Makes and starts one of the major version that an upgrade begins with: that of TENANCY_TEST_OLD_BIN, or this one.
    pub fn start_old() -> Self {
        let mut cluster = Self::new(&[], &[]);
        if let Some(old) = env::var_os("TENANCY_TEST_OLD_BIN") {
            cluster.bin = old.into();
        }
        cluster.init();
        cluster.up();
        cluster
    }

    /// Stops it, and starts the server under test on what pg_upgrade makes of it. The old one can be started again.
    #[track_caller]
    pub fn upgrade(&self) -> Self {
        // pg_upgrade wants to connect to every database.
        let mut config = self.config();
        config.dbname("postgres");
        let mut root = Session::connect(&config);
        for name in root.texts(
            "SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'",
        ) {
            root.run(&format!("DROP DATABASE {name}"));
        }
        drop(root);
        self.down();
        let new = Self::new(&[], &[]);
        new.init();
        for cluster in [self, &new] {
            // pg_upgrade starts both servers itself.
            let mut settings = OpenOptions::new()
                .append(true)
                .open(cluster.data().join("postgresql.conf"))
                .unwrap();
            settings
                .write_all(b"shared_preload_libraries = 'tenancy'\n")
                .unwrap();
        }
        let ports = [free_port().to_string(), free_port().to_string()];
        succeed(
            command(new.program("pg_upgrade"))
                .current_dir(&new.scratch.0)
                .args(["-U", "postgres", "-p", &ports[0], "-P", &ports[1], "-b"])
                .arg(&self.bin)
                .arg("-B")
                .arg(&new.bin)
                .arg("-d")
                .arg(self.data())
                .arg("-D")
                .arg(new.data())
                .arg("-s")
                .arg(&new.scratch.0),
        );
        new.up();
        new
    }

    fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Not a copy of another: each cluster has an identifier of its own, by which restored rows are told apart. Page checksums
    /// are the default from PostgreSQL 18 on, and pg_upgrade wants them in both clusters or in none.
    fn init(&self) {
        succeed(
            command(self.program("initdb"))
                .arg("-D")
                .arg(self.data())
                .args([
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "--no-instructions",
                    "--data-checksums",
                ]),
        );
    }

    fn new(settings: &[&str], environment: &[(&str, &Path)]) -> Self {
        Self {
            bin: bin(),
            scratch: Scratch::new("server"),
            port: free_port(),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            environment: (environment.iter())
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            postmaster: Mutex::default(),
        }
    }

    /// Makes and starts a standby of this one, which must have been started with settings that allow it. It streams, and
    /// is called `standby`.
    pub fn standby(&self) -> Self {
        let standby = Self::new(
            &[
                "wal_level=replica",
                "max_wal_senders=4",
                "cluster_name=standby",
                "hot_standby_feedback=on",
            ],
            &[],
        );
        let port = self.port.to_string();
        succeed(
            command(server_program("pg_basebackup"))
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-U",
                    "postgres",
                    "-R",
                    "-X",
                    "stream",
                    "-c",
                    "fast",
                    "--no-sync",
                    "-D",
                ])
                .arg(standby.data()),
        );
        standby.up();
        standby
    }

    fn data(&self) -> PathBuf {
        self.scratch.0.join("data")
    }

    /// Starts it. What is left of one that was killed may hold its shared memory for a moment.
    #[track_caller]
    pub fn up(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let port = self.port.to_string();
        loop {
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.scratch.0.join("log"))
                .unwrap();
            let mut child = command(self.program("postgres"))
                .arg("-D")
                .arg(self.data())
                .args([
                    "-p",
                    &port,
                    "-c",
                    "shared_preload_libraries=tenancy",
                    "-c",
                    "shared_buffers=16MB",
                ])
                .args([
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                ])
                .args([
                    "-c",
                    "restart_after_crash=on",
                    "-c",
                    "wal_level=minimal",
                    "-c",
                    "max_wal_senders=0",
                ])
                // The last one of a name holds.
                .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
                .envs(self.environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if Session::try_connect(&self.config()).is_ok() {
                    *self.postmaster.lock().unwrap() = Some(child);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(
                Instant::now() < end,
                "the server did not start:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn end(&self, signal: &str) {
        // The lock is free of panics in between, and a poisoned one must not keep the server running.
        let mut held = self
            .postmaster
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut child) = held.take() {
            let _ = Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status();
            let _ = child.wait();
        }
    }

    /// Stops it in an orderly way.
    pub fn down(&self) {
        self.end("-INT");
    }

    /// Kills the postmaster, and with it everything.
    pub fn crash(&self) {
        self.end("-KILL");
    }

    /// Stops the server at once, without a checkpoint.
    pub fn end_at_once(&self) {
        self.end("-QUIT");
    }

    /// Kills the postmaster, and with it everything; and starts it again.
    #[track_caller]
    pub fn kill(&self) {
        self.crash();
        self.up();
    }

    /// Kills one of its processes, and returns after the server has noticed, ended all others and started again.
    #[track_caller]
    pub fn kill_process(&self, pid: i32) {
        // 0 is the caller's process group to kill(1).
        assert!(pid > 0, "there is no such process");
        let mut witness = wait_for(&self.config(), "the server");
        succeed(command("/bin/kill").args(["-9", &pid.to_string()]));
        // Until it notices, it takes connections, and ends them soon after.
        let end = Instant::now() + Duration::from_secs(60);
        while witness.batch_execute("SELECT 1").is_ok() {
            assert!(Instant::now() < end, "the server did not notice");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(wait_for(&self.config(), "the server"));
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read(self.scratch.0.join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// How to connect to it as its superuser.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        config
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end("-QUIT");
    }
}

/// PgBouncer between the test and a database, in transaction mode.
pub struct PgBouncer {
    child: Child,
    _scratch: Scratch,
    port: u16,
}

impl PgBouncer {
    /// Starts PgBouncer with this number of server connections.
    pub fn start(upstream: &Config, pool: usize, more: &str) -> Self {
        let program = env::var("PGBOUNCER").ok().filter(|path| !path.is_empty());
        let program = program.unwrap_or("/usr/sbin/pgbouncer".into());
        assert!(
            Path::new(&program).exists(),
            "PgBouncer is not installed (PGBOUNCER={program})"
        );
        let scratch = Scratch::new("bouncer");
        let port = free_port();
        let host = match &upstream.get_hosts()[0] {
            postgres::config::Host::Tcp(name) => name.clone(),
            postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        let upstream_port = upstream.get_ports().first().copied().unwrap_or(5432);
        // auth_type any takes the user of the server connections from the database's line.
        let user = upstream.get_user().unwrap();
        let ini = format!(
            "[databases]\n* = user={user} host={host} port={upstream_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = {pool}\n\
             max_client_conn = 500\nlogfile = {dir}/log\npidfile = {dir}/pid\n{more}\n",
            dir = scratch.0.display(),
            users = scratch.0.join("users").display(),
        );
        fs::write(scratch.0.join("users"), format!("\"{user}\" \"\"\n")).unwrap();
        fs::write(scratch.0.join("ini"), ini).unwrap();
        for file in ["users", "ini"] {
            hand_over(&scratch.0.join(file));
        }
        let child = command(program)
            .arg(scratch.0.join("ini"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let bouncer = Self {
            child,
            _scratch: scratch,
            port,
        };
        drop(wait_for(&bouncer.config(upstream), "PgBouncer"));
        bouncer
    }

    /// How to connect through it to what the upstream configuration names.
    pub fn config(&self, upstream: &Config) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(upstream.get_user().unwrap())
            .dbname(upstream.get_dbname().unwrap());
        config
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}
