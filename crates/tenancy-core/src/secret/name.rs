//! What a secret may be called, and how long it may be.

use crate::tree::Level;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 100;
/// The longest value, in bytes.
pub const VALUE_MAX: usize = 64 * 1024;

/// Why a secret is refused. A name may have been mistaken for the value: neither is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Its name.
    #[error(
        "name must have 1 to {NAME_MAX} letters, digits and . _ / -, and begin with a letter or a digit"
    )]
    Name,
    /// Its value.
    #[error("value must have 1 to {VALUE_MAX} bytes")]
    Value,
}

/// Checks a name.
pub fn check_name(name: &str) -> Result<(), SecretError> {
    let good = (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte));
    if good { Ok(()) } else { Err(SecretError::Name) }
}

/// Checks a value.
pub fn check_value(value: &str) -> Result<(), SecretError> {
    match (1..=VALUE_MAX).contains(&value.len()) {
        true => Ok(()),
        false => Err(SecretError::Value),
    }
}

/// Returns whether a scope uses the secret of a scope on its path. Partners and the platform hand theirs on only if they say
/// so; a tenant's are those of its projects too.
#[must_use]
pub fn is_visible(of: Level, own: bool, inherit: bool) -> bool {
    own || inherit || matches!(of, Level::Tenant | Level::Project)
}
