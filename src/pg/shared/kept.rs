//! Keeps the counts of shared memory in a file of the data directory while the server is stopped. A crash loses
//! them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys};

use crate::pg::capped::{self, Tier};
use crate::pg::counts::{self, Count, WORDS};
use crate::pg::{events, time, workers};

/// The file, beside the server's own statistics.
const FILE: &str = "pg_stat/tenancy_counts.stat";
const NEW_FILE: &str = "pg_stat/tenancy_counts.tmp";
/// The first bytes of the file.
const MAGIC: &[u8; 16] = b"tenancy counts 1";
/// A count in the file: its kind, key, count, first and last time, as the server's timestamptz.
const NUMBERS: usize = 1 + WORDS + 3;
const RECORD: usize = 8 * NUMBERS;

// SAFETY: the name is used for this lock only.
static SHARED: PgLwLock<bool> = unsafe { PgLwLock::new(c"tenancy_kept_counts") };

/// Requests shared memory, while the server loads its libraries. Called after the modules whose counts it keeps.
pub fn init() {
    pg_shmem_init!(SHARED = at_start());
}

/// Reads the file into new shared memory. Returns whether there were counts.
fn at_start() -> bool {
    // SAFETY: a callback that is guarded, for the end of the process that has made the shared memory.
    unsafe {
        if pg_sys::IsUnderPostmaster {
            return false;
        }
        pg_sys::on_shmem_exit(Some(at_end), pg_sys::Datum::from(0));
    }
    restore().unwrap_or_else(|error| {
        tell("read", &error);
        false
    })
}

/// Writes the file, after all other processes have ended.
#[pg_guard]
unsafe extern "C-unwind" fn at_end(code: i32, _arg: pg_sys::Datum) {
    if code == 0
        && is_orderly()
        && let Err(error) = keep()
    {
        tell("written", &error);
    }
}

/// Returns whether the server was shut down cleanly: then no process has ended in the middle of an update.
fn is_orderly() -> bool {
    use pg_sys::DBState::{DB_SHUTDOWNED, DB_SHUTDOWNED_IN_RECOVERY};
    // SAFETY: reads the control file of the data directory into memory of this process.
    unsafe {
        let mut intact = false;
        let control = pg_sys::get_controlfile(pg_sys::DataDir, &mut intact);
        intact && matches!((*control).state, DB_SHUTDOWNED | DB_SHUTDOWNED_IN_RECOVERY)
    }
}

fn tell(done: &str, error: &io::Error) {
    ereport!(
        LOG,
        PgSqlErrorCode::ERRCODE_IO_ERROR,
        format!("tenancy: \"{FILE}\" cannot be {done}: {error}"),
        "Logins counted before the server stopped are not recorded."
    );
}

/// The kinds of counts: the first number of a record.
const FINE: u64 = 0;
const COARSE: u64 = 1;
const EVENT: u64 = 2;
const NAMED: u64 = 3;
const ORIGIN: u64 = 4;
const REST: u64 = 5;

fn keep() -> io::Result<()> {
    let counted = counts::all()
        .into_iter()
        .map(|(count, coarse)| (if coarse { COARSE } else { FINE }, count));
    let capped = capped::all().into_iter().map(|(count, tier)| {
        let kind = match tier {
            Tier::Named => NAMED,
            Tier::Origin => ORIGIN,
            Tier::Rest => REST,
        };
        (kind, count)
    });
    let events = events::all().into_iter().map(|count| (EVENT, count));
    let mut bytes = MAGIC.to_vec();
    for (kind, count) in counted.chain(capped).chain(events) {
        let times = [count.first, count.last].map(|at| time::to_server(at).cast_unsigned());
        let numbers = [kind].into_iter().chain(count.key);
        for number in numbers.chain([count.count]).chain(times) {
            bytes.extend(number.to_le_bytes());
        }
    }
    if bytes.len() == MAGIC.len() {
        return Ok(());
    }
    let mut file = File::create(NEW_FILE)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(NEW_FILE, FILE)?;
    File::open("pg_stat")?.sync_all()
}

fn restore() -> io::Result<bool> {
    let bytes = match fs::read(FILE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        read => read?,
    };
    // Removed first, so that nothing is counted twice if the server crashes.
    fs::remove_file(FILE)?;
    File::open("pg_stat")?.sync_all()?;
    let Some(records) = bytes.strip_prefix(MAGIC) else {
        return Err(ErrorKind::InvalidData.into());
    };
    for record in records.chunks_exact(RECORD) {
        let mut numbers = [0; NUMBERS];
        for (number, bytes) in numbers.iter_mut().zip(record.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        let [kind, key @ .., count, first, last] = numbers;
        let count = Count {
            key,
            count,
            first: time::from_server(first.cast_signed()),
            last: time::from_server(last.cast_signed()),
        };
        match kind {
            FINE | COARSE => counts::add(&count, kind == COARSE),
            EVENT => events::add(&count, count.database()),
            NAMED => capped::add(&count, Tier::Named),
            ORIGIN => capped::add(&count, Tier::Origin),
            _ => capped::add(&count, Tier::Rest),
        };
        workers::restored(count.database());
    }
    Ok(true)
}
