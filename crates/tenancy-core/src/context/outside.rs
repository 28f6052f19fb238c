//! The names that a tenant has outside the database: keys of caches, and subjects, topics and routing keys of brokers.
//!
//! Each begins with the tenant's id. Two names of different tenants, or of different parts, are different, whatever
//! bytes the parts contain: each byte that is not plain is escaped, and a name that would be too long ends with the
//! SHA-256 of all parts, which a sign marks that no escape has.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The longest key of a cache, in bytes: memcached takes no longer ones.
pub const CACHE_KEY_BYTES_MAX: usize = 250;
/// The longest subject, in bytes: the longest topic of Kafka. AMQP takes 255.
pub const SUBJECT_BYTES_MAX: usize = 249;
/// The longest first part, escaped, that a shortened name still shows.
const SHOWN_BYTES_MAX: usize = 100;

/// Returns the key of a cache for `key` in `namespace`: printable ASCII without spaces, `:` only between the parts, and
/// none of the signs that Redis treats as patterns or hash tags.
#[must_use]
pub fn cache_key(tenant: Uuid, namespace: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-@/+=,".contains(&byte);
    let escape = |part: &str| escaped(part, plain, |byte| format!("%{byte:02X}"));
    let namespace_shown = escape(namespace);
    let whole = format!("{tenant}:{namespace_shown}:{}", escape(key));
    if whole.len() <= CACHE_KEY_BYTES_MAX {
        return whole;
    }
    let hash = digest("tenancy cache key 1", tenant, &[namespace, key]);
    let hash = BASE64_URL_SAFE_NO_PAD.encode(hash);
    // No part has a `#`.
    match namespace_shown.len() {
        ..=SHOWN_BYTES_MAX => format!("{tenant}:{namespace_shown}:#{hash}"),
        _ => format!("{tenant}:#{hash}"),
    }
}

/// Returns the subject of `parts`: letters, digits and `-`, with `.` only between the tokens. So no part can be a wildcard,
/// and no two subjects are the same to Kafka, which takes `.` for `_`.
#[must_use]
pub fn subject(tenant: Uuid, parts: &[&str]) -> String {
    let tokens: Vec<String> = parts.iter().map(|part| token(part)).collect();
    let length = tokens.iter().map(|token| 1 + token.len()).sum::<usize>();
    let prefix = tenant.to_string();
    if prefix.len() + length <= SUBJECT_BYTES_MAX {
        return std::iter::once(prefix)
            .chain(tokens)
            .collect::<Vec<_>>()
            .join(".");
    }
    let hash = digest("tenancy subject 1", tenant, parts);
    // No token has a `-h`.
    let hash = hash.iter().map(|byte| format!("{byte:02x}"));
    let hash = hash.collect::<String>();
    match tokens.first() {
        Some(first) if first.len() <= SHOWN_BYTES_MAX => format!("{prefix}.{first}.-h{hash}"),
        _ => format!("{prefix}.-h{hash}"),
    }
}

/// Returns a part as a token. `-` begins an escape: `--` is itself, two digits in base 16 are a byte, and nothing after it is
/// the empty token, which brokers refuse.
fn token(part: &str) -> String {
    if part.is_empty() {
        return "-".to_owned();
    }
    escaped(
        part,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| match byte {
            b'-' => "--".to_owned(),
            other => format!("-{other:02x}"),
        },
    )
}

fn escaped(part: &str, plain: impl Fn(u8) -> bool, escape: impl Fn(u8) -> String) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        match plain(byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&escape(byte)),
        }
    }
    text
}

/// Returns the hash of a tenant's parts. Each is preceded by its length, so that no other parts have the same bytes.
fn digest(domain: &str, tenant: Uuid, parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    hash.update(tenant.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
