//! The files of the keyring: the name and the content of each.

use base64::prelude::{BASE64_STANDARD, Engine};
use uuid::Uuid;

use super::master::{Master, MasterId, Masters};
use super::seal::{Key, KeyName, NONCE_BYTES};

/// The end of a file's name.
const SUFFIX: &str = ".key";
/// The first word of a file.
const FORMAT: &str = "tenancy-key-1";

/// Why a file of the keyring gives no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It is not a file of the keyring, or it was changed.
    #[error("A file of the keyring is damaged, or belongs to another key.")]
    Damaged,
    /// Its master key is not there.
    #[error(
        "The master key that sealed a key of the keyring is not among those of the file or the command."
    )]
    OtherMaster,
}

/// Returns the name of a key's file.
#[must_use]
pub fn file_name(name: KeyName) -> String {
    format!("{}_{}{SUFFIX}", name.scope, name.id)
}

/// Returns the key whose file has this name; `None` for other files.
#[must_use]
pub fn parse_file_name(file: &str) -> Option<KeyName> {
    let (scope, id) = file.strip_suffix(SUFFIX)?.split_once('_')?;
    let name = KeyName {
        scope: Uuid::parse_str(scope).ok()?,
        id: Uuid::parse_str(id).ok()?,
    };
    (file_name(name) == file).then_some(name)
}

/// Returns the content of a key's file, sealed under a master key; `None` if the cipher fails.
#[must_use]
pub fn write(
    name: KeyName,
    key: &Key,
    master: &Master,
    nonce: [u8; NONCE_BYTES],
) -> Option<String> {
    let sealed = master
        .key
        .seal(nonce, &bound(name, &master.id), key.bytes())?;
    let sealed = BASE64_STANDARD.encode(sealed);
    let id = master.id.iter().map(|byte| format!("{byte:02x}"));
    Some(format!("{FORMAT} {} {sealed}\n", id.collect::<String>()))
}

/// Returns the id of the master key that sealed a file.
pub fn master_of(content: &str) -> Result<MasterId, KeyFileError> {
    parse(content).map(|(id, _)| id)
}

/// Opens the key in the content of its file.
pub fn read(name: KeyName, content: &str, masters: &Masters) -> Result<Key, KeyFileError> {
    let (id, sealed) = parse(content)?;
    let master = masters.find(&id).ok_or(KeyFileError::OtherMaster)?;
    let opened = master.key.open(&sealed, &bound(name, &id));
    opened
        .and_then(|bytes| Key::of(&bytes))
        .ok_or(KeyFileError::Damaged)
}

fn parse(content: &str) -> Result<(MasterId, Vec<u8>), KeyFileError> {
    let mut words = content.split_ascii_whitespace();
    let (Some(FORMAT), Some(id), Some(sealed), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(KeyFileError::Damaged);
    };
    // As an id of a scope: 32 digits.
    let id = (id.len() == 32).then(|| Uuid::try_parse(id).ok()).flatten();
    let id = id.ok_or(KeyFileError::Damaged)?.into_bytes();
    let sealed = BASE64_STANDARD
        .decode(sealed)
        .map_err(|_| KeyFileError::Damaged)?;
    Ok((id, sealed))
}

/// A key opens only as the key of its name.
fn bound(name: KeyName, master: &MasterId) -> Vec<u8> {
    [
        b"tenancy key 1\0".as_slice(),
        name.scope.as_bytes(),
        name.id.as_bytes(),
        master,
    ]
    .concat()
}
