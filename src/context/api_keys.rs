//! API keys: a public id, by which the row is found in one probe, and a secret of which only a hash is stored.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::credential::ApiKey;
use tenancy_core::principal::Proven;
use tenancy_core::subject::Subject;
use tenancy_core::time::{Instant, Length};
use tenancy_core::token::Proof;
use uuid::Uuid;

use crate::access;
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, xact};

/// The size at which the cache is emptied.
const MOST_KEYS: usize = 100_000;
/// How outdated the recorded last use may be, so that not every request writes.
const USE_RECORDED_EVERY: Length = Length::from_seconds(600);

#[derive(Clone)]
struct StoredKey {
    user: Uuid,
    hash: Vec<u8>,
    expires_at: Option<Instant>,
    /// The elevation that it ends with.
    elevation: Option<Uuid>,
    last_recorded: Option<Instant>,
    sources: Rc<Sources>,
}

thread_local! {
    static KEYS: RefCell<HashMap<Uuid, StoredKey>> = RefCell::default();
}

/// Verifies a key: it must be known, not revoked, not expired, and have the right secret. Returns what it proves.
pub fn verify(key: &ApiKey) -> Result<Proven, Error> {
    let stored = find(key.id)?;
    // An unknown key costs the same work: the comparison fails.
    let hash = stored
        .as_ref()
        .map_or([0; 32].as_slice(), |stored| &stored.hash);
    if !key.matches(hash) {
        return Err(Error::InvalidCredential);
    }
    let stored = stored.ok_or(Error::InvalidCredential)?;
    let now = xact::transaction_started();
    if stored.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::InvalidCredential);
    }
    if access::still_elevated(stored.elevation)?.is_none() {
        return Err(Error::InvalidCredential);
    }
    if stored
        .last_recorded
        .is_none_or(|at| at + USE_RECORDED_EVERY <= now)
        && xact::may_write_aside()
    {
        record_use(key.id, now)?;
    }
    Ok(Proven {
        user: stored.user,
        proof: Some(Proof::ApiKey(key.id)),
        tenant: None,
        expires_at: stored.expires_at,
    })
}

/// Returns the sources of a key that proved a context, and of the elevation under which it was issued, if any. An error
/// if the key has since been revoked, or the elevation has ended.
pub fn still_holds(id: Uuid) -> Result<[Option<Rc<Sources>>; 2], Error> {
    let stored = find(id)?.ok_or(Error::Expired)?;
    let elevation = access::still_elevated(stored.elevation)?.ok_or(Error::Expired)?;
    Ok([Some(stored.sources), elevation])
}

/// Drops every cached key.
pub fn forget() {
    KEYS.with_borrow_mut(HashMap::clear);
}

fn find(id: Uuid) -> Result<Option<StoredKey>, Error> {
    let known = KEYS.with_borrow(|keys| {
        let stored = keys.get(&id)?;
        stored.sources.hold().then(|| stored.clone())
    });
    if known.is_some() {
        return Ok(known);
    }
    let mut reading = Reading::begin();
    reading.of(Subject::ApiKey(id));
    let found = spi::read(
        "SELECT k.user_id, k.hash, \
                (pg_catalog.date_part('epoch', k.expires_at) * 1000000)::bigint, \
                (pg_catalog.date_part('epoch', u.last_used_at) * 1000000)::bigint, k.elevation_id \
         FROM tenancy_internal.api_key_secrets k \
         LEFT JOIN tenancy_internal.api_key_uses u ON u.key_id = k.id \
         WHERE k.id = $1 AND k.revoked_at IS NULL",
        &[pg_uuid(id).into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            Ok(Some(StoredKey {
                user: row.not_null_id(1)?,
                hash: row.not_null(2)?,
                expires_at: spi::instant(&row, 3)?,
                last_recorded: spi::instant(&row, 4)?,
                elevation: row.get::<pgrx::Uuid>(5)?.map(from_pg),
                sources: Rc::new(reading.done()),
            }))
        },
    )?;
    // A key that this transaction created may still be rolled back.
    if let Some(stored) = found.as_ref().filter(|_| !xact::has_written()) {
        KEYS.with_borrow_mut(|keys| {
            if keys.len() >= MOST_KEYS {
                keys.clear();
            }
            keys.insert(id, stored.clone());
        });
    }
    Ok(found)
}

/// Records that a key was used, unless another session is doing so.
fn record_use(id: Uuid, now: Instant) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.api_key_uses SET last_used_at = now() WHERE key_id = \
         (SELECT key_id FROM tenancy_internal.api_key_uses \
          WHERE key_id = $1 \
            AND (last_used_at IS NULL OR last_used_at < now() - interval '10 minutes') \
          FOR UPDATE SKIP LOCKED)",
        &[pg_uuid(id).into()],
    )?;
    KEYS.with_borrow_mut(|keys| {
        if let Some(stored) = keys.get_mut(&id) {
            stored.last_recorded = Some(now);
        }
    });
    Ok(())
}
