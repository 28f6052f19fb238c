//! The settings of the keyring. Only the server's configuration sets them: a session must not have the server read other files
//! or run commands.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::error::Error;

static DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static COMMAND: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static AUDIT: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Where the master keys are.
pub enum Source {
    /// In this file.
    File(PathBuf),
    /// This command prints them.
    Command(CString),
}

/// Defines the settings.
pub fn init() {
    let texts = [
        (
            c"tenancy.keyring_directory",
            c"The directory with the tenants' keys, outside the data directory and its backups.",
            c"Belongs to the server's user, and to no other: mode 0700.",
            &DIRECTORY,
        ),
        (
            c"tenancy.master_key_file",
            c"The file with the master keys, which seal the keys of the keyring.",
            c"64 hexadecimal digits a line; the first one seals. Mode 0600, or 0640 if it belongs to root.",
            &FILE,
        ),
        (
            c"tenancy.master_key_command",
            c"A shell command that prints the master keys, in place of tenancy.master_key_file.",
            c"Each connection runs it once, and again when the keyring needs another key.",
            &COMMAND,
        ),
    ];
    for (name, short, long, setting) in texts {
        GucRegistry::define_string_guc(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
        );
    }
    GucRegistry::define_bool_guc(
        c"tenancy.audit_secrets",
        c"Whether the audit log records which user has used which secret.",
        c"One entry an hour for each user, secret and connection.",
        &AUDIT,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Returns the keyring's directory.
pub fn directory() -> Result<PathBuf, Error> {
    text(&DIRECTORY).map(path).ok_or(Error::KeyringUnset)
}

/// Returns where the master keys are. The file precedes the command.
pub fn source() -> Result<Source, Error> {
    match (text(&FILE), text(&COMMAND)) {
        (Some(file), _) => Ok(Source::File(path(file))),
        (None, Some(command)) => Ok(Source::Command(command)),
        (None, None) => Err(Error::KeyringUnset),
    }
}

/// Returns whether use is recorded.
pub fn audit() -> bool {
    AUDIT.get()
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<CString> {
    setting.get().filter(|text| !text.is_empty())
}

fn path(text: CString) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.into_bytes()))
}
