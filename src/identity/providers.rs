//! The providers, as far as this backend met them. One that is disabled is not there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::jwt::{ClaimName, KeySet, Mapping, Provider, tokens_of};
use tenancy_core::subject::Subject;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};

/// Where the cache is emptied and begun again.
const MOST_PROVIDERS: usize = 10_000;

/// A provider, and how its users are found.
pub struct KnownProvider {
    /// Its id.
    pub id: Uuid,
    /// It names users below this scope only.
    pub scope: Uuid,
    /// What makes a token one of its own.
    pub provider: Provider,
    /// Whether a first login makes the user.
    pub create_users: bool,
    /// Whether each token is good for one login.
    pub single_use: bool,
    /// Whether an administrator says that the issuer's tokens are its own.
    pub vouched: bool,
}

/// How many providers a token is tried with at most.
const MOST_TRIED: usize = 64;

/// The providers of an issuer's tokens for one audience.
type Claimants = Rc<[Rc<KnownProvider>]>;

thread_local! {
    static KNOWN: RefCell<HashMap<[u8; 32], (Claimants, Sources)>> = RefCell::default();
}

/// Forgets every provider.
pub fn forget() {
    KNOWN.with_borrow_mut(HashMap::clear);
}

/// The providers that may verify a token of this issuer for these audiences. Where an administrator
/// vouches for one, no other is asked. `None` where there are more than can be tried.
pub fn of(issuer: &str, audiences: &[&str]) -> Result<Option<Vec<Rc<KnownProvider>>>, Error> {
    // PostgreSQL's text has no NUL.
    if issuer.contains('\0') {
        return Ok(Some(Vec::new()));
    }
    let mut found: Vec<Rc<KnownProvider>> = Vec::new();
    for audience in audiences {
        for claimant in claimants(issuer, audience)?.iter() {
            if found.iter().all(|known| known.id != claimant.id) {
                found.push(claimant.clone());
            }
        }
        if found.len() > MOST_TRIED {
            return Ok(None);
        }
    }
    if found.iter().any(|known| known.vouched) {
        found.retain(|known| known.vouched);
    }
    Ok(Some(found))
}

fn claimants(issuer: &str, audience: &str) -> Result<Claimants, Error> {
    let tokens = tokens_of(issuer, audience);
    let known = KNOWN.with_borrow(|known| {
        let (known, sources) = known.get(&tokens)?;
        sources.hold().then(|| known.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let mut reading = Reading::begin();
    reading.of(Subject::claim(&tokens));
    let found = load(issuer, tokens, &mut reading)?;
    let sources = reading.done();
    if !found.is_empty() {
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= MOST_PROVIDERS {
                known.clear();
            }
            known.insert(tokens, (found.clone(), sources));
        });
    }
    Ok(found)
}

fn load(issuer: &str, tokens: [u8; 32], reading: &mut Reading) -> Result<Claimants, Error> {
    spi::read(
        "SELECT p.id, p.scope_id, p.issuer, p.audiences, p.leeway, p.keys::text, s.secret, p.user_claim, \
                p.tenant_claim, p.groups_claim, p.name_claim, p.create_users, p.single_use, p.vouched \
         FROM tenancy_internal.identity_provider_registry p \
         LEFT JOIN tenancy_internal.identity_secrets s ON s.provider_id = p.id \
         WHERE p.id = ANY (ARRAY(SELECT c.provider_id FROM tenancy_internal.identity_claims c WHERE c.tokens = $1)) \
           AND p.issuer = $2 AND p.enabled \
         ORDER BY p.vouched DESC, p.id LIMIT $3",
        &[
            tokens.to_vec().into(),
            issuer.to_owned().into(),
            (MOST_TRIED as i64 + 1).into(),
        ],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                reading.of(Subject::Provider(row.not_null_id(1)?));
                found.extend(read(&row)?.map(Rc::new));
            }
            Ok(found.into())
        },
    )
}

/// A row as a provider. One without keys, after a restore, verifies nothing and so is none.
fn read(row: &SpiHeapTupleData<'_>) -> Result<Option<KnownProvider>, Error> {
    let broken = || Error::Internal("an identity provider that cannot be read");
    let keys: Option<String> = row.get(6)?;
    let secret: Option<Vec<u8>> = row.get(7)?;
    let keys = match (keys, secret) {
        (Some(keys), _) => {
            let keys = serde_json::from_str(&keys).map_err(|_| broken())?;
            KeySet::from_jwks(&keys).map_err(|_| broken())?
        }
        (None, Some(secret)) => KeySet::from_secret(&secret).map_err(|_| broken())?,
        (None, None) => return Ok(None),
    };
    let claim = |column: usize| -> Result<Option<ClaimName>, Error> {
        let name: Option<String> = row.get(column)?;
        name.map(|name| ClaimName::parse(&name).map_err(|_| broken()))
            .transpose()
    };
    Ok(Some(KnownProvider {
        id: row.not_null_id(1)?,
        scope: row.not_null_id(2)?,
        provider: Provider {
            issuer: row.not_null(3)?,
            audiences: row.not_null(4)?,
            leeway: row.not_null::<i32>(5)?.into(),
            keys,
            mapping: Mapping {
                user: claim(8)?.ok_or_else(broken)?,
                tenant: claim(9)?,
                groups: claim(10)?,
                name: claim(11)?,
            },
        },
        create_users: row.not_null(12)?,
        single_use: row.not_null(13)?,
        vouched: row.not_null(14)?,
    }))
}
