//! Secrets: values that a tenant's programs use and no dump, log or view shows.
//!
//! A value is sealed under the key of its tenant, partner or the platform. That key is a file of the keyring, sealed under a
//! master key. Both are outside the database and its backups, so that erasing a key erases what it sealed everywhere.
//!
//! | file | what |
//! | --- | --- |
//! | `settings` | where the keyring and the master key are |
//! | `master` | the master keys, from a file or a command |
//! | `files` | reading and writing files that only the server's user may read |
//! | `keyring` | the keys of the keyring, and those that this backend has opened |
//! | `rows` | sealed values, and which key seals for a scope |
//! | `change` | set_secret() and remove_secret() |
//! | `find` | secret(): the nearest value that the context may use |
//! | `used` | the record of use |
//! | `rotate` | new keys, erased keys, and the keyring under another master key |

mod change;
mod files;
mod find;
mod keyring;
mod master;
mod rotate;
mod rows;
mod settings;
mod used;

/// Defines the settings, before the prefix is reserved.
pub fn init() {
    settings::init();
}
