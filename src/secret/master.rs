//! The master keys, read from a file or from the output of a command.

use std::cell::RefCell;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tenancy_core::secret::master::Masters;
use zeroize::Zeroizing;

use super::files;
use super::settings::{self, Source};
use crate::error::Error;

/// How long a command may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

thread_local! {
    /// What a command printed: it may take long.
    static PRINTED: RefCell<Option<(CString, Rc<Masters>)>> = const { RefCell::new(None) };
}

/// How recent master keys have to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Those that this connection knows: to open.
    Known,
    /// Read now: to seal, and to open what the known ones do not.
    Now,
}

/// Returns the master keys.
pub fn masters(wanted: Freshness) -> Result<Rc<Masters>, Error> {
    match settings::source()? {
        Source::File(path) => parse(&read(&path)?).map(Rc::new),
        Source::Command(command) => {
            let known = PRINTED.with_borrow(|known| {
                let known = known.as_ref().filter(|(of, _)| *of == command);
                known.map(|(_, masters)| masters.clone())
            });
            if let Some(known) = known.filter(|_| wanted == Freshness::Known) {
                return Ok(known);
            }
            let masters = Rc::new(parse(&run(&command)?)?);
            PRINTED.set(Some((command, masters.clone())));
            Ok(masters)
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    files::read_private(path, "The file with the master key")
}

fn parse(text: &[u8]) -> Result<Masters, Error> {
    let text = std::str::from_utf8(text).map_err(|_| fault("It is not text."))?;
    Masters::parse(text).map_err(fault)
}

fn fault(fault: impl ToString) -> Error {
    Error::Keyring(format!(
        "The file or the command has no master key: {}",
        fault.to_string()
    ))
}

/// Runs a command of the configuration, as the server runs `ssl_passphrase_command`. What it writes to standard error goes to
/// the server's log.
fn run(command: &CString) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |why: &str| Error::Keyring(format!("The command for the master key {why}."));
    let shell = OsStr::from_bytes(command.to_bytes());
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(shell)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|_| failed("does not start"))?;
    let end = Instant::now() + COMMAND_TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("takes too long"));
            }
        }
    };
    if !status.success() {
        return Err(failed("fails"));
    }
    let output = child.stdout.take();
    let output = output.ok_or_else(|| io::Error::other("it has no output"));
    output
        .and_then(files::read_at_most)
        .map_err(|_| failed("has no output"))
}
