//! Master keys, as a file or a command outside the database gives them.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::seal::{KEY_BYTES, Key};

/// The most keys: the current one, and older ones until the keyring is sealed anew.
const KEYS_MAX: usize = 16;

/// The id of a master key, which tells nothing of the key.
pub type MasterId = [u8; 16];

/// A master key.
#[derive(Debug)]
pub struct Master {
    /// Its id.
    pub id: MasterId,
    /// The key.
    pub key: Key,
}

/// The master keys, of which there is at least one. The first seals.
#[derive(Debug)]
pub struct Masters(Vec<Master>);

/// Why a text holds no master keys. It repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterError {
    /// There is no key.
    #[error("It holds no key.")]
    None,
    /// A line is something else.
    #[error("Line {0} is not a key: 64 hexadecimal digits.")]
    Malformed(usize),
    /// A key that no random source gives.
    #[error("The key in line {0} is not random.")]
    Weak(usize),
    /// More keys than are kept.
    #[error("It holds more than {KEYS_MAX} keys.")]
    Many,
}

impl Masters {
    /// Reads keys, one a line, each as 64 hexadecimal digits. Empty lines and those that begin with `#` count for nothing.
    pub fn parse(text: &str) -> Result<Self, MasterError> {
        let mut all = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = digits(line).ok_or(MasterError::Malformed(n + 1))?;
            if bytes.iter().all(|byte| *byte == bytes[0]) {
                return Err(MasterError::Weak(n + 1));
            }
            let id = id(&bytes);
            all.push(Master {
                id,
                key: Key::new(bytes),
            });
        }
        match all.len() {
            0 => Err(MasterError::None),
            1..=KEYS_MAX => Ok(Self(all)),
            _ => Err(MasterError::Many),
        }
    }

    /// Returns the key that seals.
    #[must_use]
    pub fn current(&self) -> Option<&Master> {
        self.0.first()
    }

    /// Returns the key with this id.
    #[must_use]
    pub fn find(&self, id: &MasterId) -> Option<&Master> {
        self.0.iter().find(|master| master.id == *id)
    }
}

fn digits(line: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let line = line.as_bytes();
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if line.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(line.chunks_exact(2)) {
        let digit = |sign: u8| char::from(sign).to_digit(16);
        let (high, low) = (digit(pair[0])?, digit(pair[1])?);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// Half of a hash of 256 random bits, which tells nothing of them.
fn id(bytes: &[u8; KEY_BYTES]) -> MasterId {
    let mut hash = Sha256::new();
    hash.update(b"tenancy master key 1\0");
    hash.update(bytes);
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = MasterId::default();
    id.copy_from_slice(&hash[..16]);
    id
}
