//! The keyring: a directory with one file for each key, sealed under a master key. The file is what a key exists by: a backend
//! uses a key that it has opened only while the file is unchanged.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tenancy_core::id::new_id;
use tenancy_core::secret::keyring::{self, KeyFileError};
use tenancy_core::secret::seal::{KEY_BYTES, Key, KeyName, NONCE_BYTES};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::master::{Freshness, masters};
use super::{files, settings};
use crate::error::Error;
use crate::pg::secret;

/// How many opened keys a backend keeps.
const OPENED_MAX: usize = 64;
/// How many keys a scope has in the keyring at most. All tenants share its directory.
const KEYS_MAX: usize = 100;
const WHAT: &str = "A file of the keyring";

/// What identifies the content of a file: device, inode and the time of the last change.
type Stamp = (u64, u64, i64, i64);

/// A key that this backend has opened.
struct Opened {
    name: KeyName,
    stamp: Stamp,
    key: Rc<Key>,
}

thread_local! {
    /// The last one is the last that was used.
    static OPENED: RefCell<Vec<Opened>> = const { RefCell::new(Vec::new()) };
}

/// Returns a key; an error if the keyring lacks it.
pub fn key(name: KeyName) -> Result<Rc<Key>, Error> {
    let path = settings::directory()?.join(keyring::file_name(name));
    let stamp = match fs::metadata(&path) {
        Ok(found) => (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()),
        Err(error) => {
            forget(|opened| opened.name == name);
            return Err(missing(&error));
        }
    };
    let known = OPENED.with_borrow_mut(|all| {
        let place = all.iter().position(|opened| opened.name == name)?;
        let opened = all.remove(place);
        // Another content: dropped.
        (opened.stamp == stamp).then(|| {
            let key = opened.key.clone();
            all.push(opened);
            key
        })
    });
    if let Some(key) = known {
        return Ok(key);
    }
    let key = Rc::new(Keyring::open()?.read(name)?);
    OPENED.with_borrow_mut(|all| {
        if all.len() >= OPENED_MAX {
            all.remove(0);
        }
        all.push(Opened {
            name,
            stamp,
            key: key.clone(),
        });
    });
    Ok(key)
}

/// Drops opened keys, whose memory is overwritten.
fn forget(which: impl Fn(&Opened) -> bool) {
    OPENED.with_borrow_mut(|all| all.retain(|opened| !which(opened)));
}

fn missing(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoSealingKey,
        _ => files::fault(WHAT, error),
    }
}

fn unusable(error: io::Error) -> Error {
    files::fault("The keyring", &error)
}

/// Returns a random nonce.
pub fn nonce() -> Result<[u8; NONCE_BYTES], Error> {
    secret::random().ok_or(Error::Internal("no source of random bytes"))
}

/// The keyring's directory, which was checked.
pub struct Keyring(PathBuf);

impl Keyring {
    /// Returns it, if it is private and outside the data directory.
    pub fn open() -> Result<Self, Error> {
        let directory = settings::directory()?;
        files::check_directory(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self, name: KeyName) -> PathBuf {
        self.0.join(keyring::file_name(name))
    }

    fn read(&self, name: KeyName) -> Result<Key, Error> {
        let content = read(&self.path(name)).map_err(|error| missing(&error))?;
        let open = |freshness| -> Result<_, Error> {
            let masters = masters(freshness)?;
            Ok(keyring::read(name, &content, &masters))
        };
        let opened = match open(Freshness::Known)? {
            Err(KeyFileError::OtherMaster) => open(Freshness::Now)?,
            opened => opened,
        };
        opened.map_err(|fault| Error::Keyring(fault.to_string()))
    }

    /// Creates a key for a scope. It is on disk when this returns.
    pub fn create(&self, scope: Uuid) -> Result<KeyName, Error> {
        let name = KeyName {
            scope,
            id: new_id(),
        };
        let random = secret::random::<KEY_BYTES>();
        let random = random.ok_or(Error::Internal("no source of random bytes"))?;
        let key = Key::new(Zeroizing::new(random));
        let _lock = self.lock()?;
        // Also a rotation that is rolled back leaves its file.
        let prefix = format!("{scope}_");
        let files = self.files()?;
        if files
            .iter()
            .filter(|file| file.starts_with(&prefix))
            .count()
            >= KEYS_MAX
        {
            return Err(Error::TooManyKeys);
        }
        self.write(name, &key)?;
        Ok(name)
    }

    fn write(&self, name: KeyName, key: &Key) -> Result<(), Error> {
        let masters = masters(Freshness::Now)?;
        let master = masters.current().ok_or(Error::KeyringUnset)?;
        let content = keyring::write(name, key, master, nonce()?);
        let content = content.ok_or(Error::Internal("a key cannot be sealed"))?;
        let path = self.path(name);
        // Its name begins like the key's, so that erasing the key finds it if the server stops here.
        let temporary = path.with_extension("new");
        files::replace(&path, &temporary, content.as_bytes()).map_err(unusable)
    }

    /// Removes the keys of a scope, but for those to keep. They are gone from the disk when this returns. Returns how many
    /// there were.
    pub fn remove(&self, scope: Uuid, keep: &[Uuid]) -> Result<i32, Error> {
        let _lock = self.lock()?;
        let prefix = format!("{scope}_");
        let mut removed = 0;
        for file in self.files()? {
            let key = keyring::parse_file_name(&file);
            let kept = key.is_some_and(|key| keep.contains(&key.id));
            if file.starts_with(&prefix) && !kept {
                fs::remove_file(self.0.join(&file)).map_err(unusable)?;
                removed += i32::from(key.is_some());
            }
        }
        File::open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(unusable)?;
        forget(|opened| opened.name.scope == scope && !keep.contains(&opened.name.id));
        Ok(removed)
    }

    /// Seals every key under the current master key that is not. Returns how many were not. Can be repeated if it was interrupted.
    pub fn reseal(&self) -> Result<i32, Error> {
        let masters = masters(Freshness::Now)?;
        let current = masters.current().ok_or(Error::KeyringUnset)?.id;
        let mut resealed = 0;
        for file in self.files()? {
            let Some(name) = keyring::parse_file_name(&file) else {
                continue;
            };
            // For each file, so that others wait for a moment only. A key that is erased meanwhile must not come back.
            let _lock = self.lock()?;
            let content = match read(&self.path(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => content.map_err(|error| missing(&error))?,
            };
            let damaged = |fault: KeyFileError| Error::Keyring(fault.to_string());
            if keyring::master_of(&content).map_err(damaged)? != current {
                let key = keyring::read(name, &content, &masters).map_err(damaged)?;
                self.write(name, &key)?;
                resealed += 1;
            }
        }
        Ok(resealed)
    }

    fn files(&self) -> Result<Vec<String>, Error> {
        let entries = fs::read_dir(&self.0).map_err(unusable)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        names.collect::<io::Result<_>>().map_err(unusable)
    }

    /// Waits until no other process changes the keyring.
    fn lock(&self) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join(".lock"))
            .map_err(unusable)?;
        file.lock().map_err(unusable)?;
        Ok(file)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let content = files::read_at_most(File::open(path)?)?;
    String::from_utf8(content.to_vec()).map_err(io::Error::other)
}
