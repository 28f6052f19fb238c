//! The providers that this backend has cached. A disabled provider does not exist here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::jwt::{ClaimName, KeySet, Mapping, NoGroups, Provider, tokens_of};
use tenancy_core::subject::Subject;
use tenancy_core::time::Length;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};

/// The size at which the cache is emptied.
const MOST_PROVIDERS: usize = 10_000;

/// A provider, and how its users are found.
pub struct KnownProvider {
    /// Its id.
    pub id: Uuid,
    /// The scope below which it may name users.
    pub scope: Uuid,
    /// How its tokens are verified.
    pub provider: Provider,
    /// Whether a first login creates the user.
    pub create_users: bool,
    /// Whether each token is valid for one login.
    pub single_use: bool,
    /// Whether an administrator vouches for it: the issuer's tokens are tried with no other provider.
    pub vouched: bool,
}

/// The maximum number of providers that a token is tried with.
const MOST_TRIED: usize = 64;

/// The providers of an issuer's tokens for one audience.
type Claimants = Rc<[Rc<KnownProvider>]>;

thread_local! {
    static KNOWN: RefCell<HashMap<[u8; 32], (Claimants, Sources)>> = RefCell::default();
}

/// Drops every cached provider.
pub fn forget() {
    KNOWN.with_borrow_mut(HashMap::clear);
}

/// Returns the providers that may verify a token of this issuer for these audiences. If an administrator vouches
/// for one, only that one. `None` if there are too many to try.
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
    }
    // First, so that no number of others keeps it out.
    if found.iter().any(|known| known.vouched) {
        found.retain(|known| known.vouched);
    }
    Ok((found.len() <= MOST_TRIED).then_some(found))
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
                p.tenant_claim, p.groups_claim, p.name_claim, p.create_users, p.single_use, p.vouched, p.aliases, p.audience_claim, \
                p.without_groups \
         FROM tenancy_internal.identity_provider_registry p \
         LEFT JOIN tenancy_internal.identity_secrets s ON s.provider_id = p.id \
         WHERE p.id = ANY (ARRAY(SELECT c.provider_id FROM tenancy_internal.identity_claims c WHERE c.tokens = $1)) \
           AND $2 = ANY (p.issuer || p.aliases) AND p.enabled \
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

/// Converts a row to a provider. A provider without keys, after a restore, verifies nothing: `None`.
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
            aliases: row.not_null(15)?,
            audiences: row.not_null(4)?,
            audience_claim: row.get(16)?,
            leeway: Length::from_seconds(row.not_null::<i32>(5)?.into()),
            keys,
            mapping: Mapping {
                user: claim(8)?.ok_or_else(broken)?,
                tenant: claim(9)?,
                groups: claim(10)?,
                without_groups: NoGroups::parse(&row.not_null::<String>(17)?).ok_or_else(broken)?,
                name: claim(11)?,
            },
        },
        create_users: row.not_null(12)?,
        single_use: row.not_null(13)?,
        vouched: row.not_null(14)?,
    }))
}
