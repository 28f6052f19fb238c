//! Files that only the server's user may read, outside the data directory. Errors name no path: callers of any role get them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::pg::cluster;

/// The largest file with keys, in bytes.
const BYTES_MAX: usize = 64 * 1024;
/// The permissions of others than the owner.
const OTHERS: u32 = 0o077;
/// What the server's group may not have of a file of root's: anything but reading it.
const OTHERS_OF_ROOTS: u32 = 0o037;

/// Returns an error of the keyring about a file.
pub fn fault(what: &str, error: &io::Error) -> Error {
    Error::Keyring(format!("{what}: {error}."))
}

/// Reads a file of the administrator's, as the server reads the keys of its certificates: it belongs to the server's user
/// or to root, and no others may read it.
pub fn read_private(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let file = File::open(path).map_err(|error| fault(what, &error))?;
    let found = file.metadata().map_err(|error| fault(what, &error))?;
    if !found.is_file() {
        return Err(Error::Keyring(format!("{what} is not a file.")));
    }
    let of_root = found.uid() == 0 && server_user()? != 0;
    let forbidden = if of_root { OTHERS_OF_ROOTS } else { OTHERS };
    check(&found, of_root, forbidden, what)?;
    check_outside(path, what)?;
    read_at_most(file).map_err(|error| fault(what, &error))
}

/// Checks the directory of the keyring.
pub fn check_directory(path: &Path) -> Result<(), Error> {
    const WHAT: &str = "The keyring's directory";
    let found = fs::metadata(path).map_err(|error| fault(WHAT, &error))?;
    if !found.is_dir() || !path.is_absolute() {
        return Err(Error::Keyring(format!(
            "{WHAT} must be a directory, by its absolute path."
        )));
    }
    check(&found, false, OTHERS, WHAT)?;
    check_outside(path, WHAT)
}

fn check(found: &Metadata, of_root: bool, forbidden: u32, what: &str) -> Result<(), Error> {
    if !of_root && found.uid() != server_user()? {
        return Err(Error::Keyring(format!(
            "{what} must belong to the user who runs the server."
        )));
    }
    match found.mode() & forbidden {
        0 => Ok(()),
        _ => Err(Error::Keyring(format!(
            "{what} must not be accessible to other users: chmod go-rwx."
        ))),
    }
}

/// A base backup copies the data directory: with the keys in it, it would open what was erased since.
fn check_outside(path: &Path, what: &str) -> Result<(), Error> {
    let resolved = |path: &Path| fs::canonicalize(path).map_err(|error| fault(what, &error));
    match resolved(path)?.starts_with(resolved(&cluster::data_directory())?) {
        true => Err(Error::Keyring(format!(
            "{what} must be outside the data directory, which base backups copy."
        ))),
        false => Ok(()),
    }
}

/// The data directory belongs to that user, or the server does not start.
fn server_user() -> Result<u32, Error> {
    let data = fs::metadata(cluster::data_directory());
    data.map(|data| data.uid())
        .map_err(|error| fault("The data directory", &error))
}

/// Reads what fits into memory that is overwritten when it is dropped; it never grows, and so leaves no copy.
pub fn read_at_most(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; BYTES_MAX]);
    let mut length = 0;
    loop {
        match from.read(&mut bytes[length..]) {
            Ok(0) if length == BYTES_MAX => return Err(io::Error::other("it is too large")),
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Writes a file whole or not at all, also if the machine stops: through `temporary`, which is in the same directory.
pub fn replace(path: &Path, temporary: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_directory(path)
}

/// Makes the directory that a file is in durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
