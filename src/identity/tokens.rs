//! Verifies a token and finds its user: by external id, below the provider's scope, and only if the user
//! belongs to this provider. Every invalid token gets the same error.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::jwt::{Claims, Refusal, Unverified, tokens_of};
use tenancy_core::principal::Proven;
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use tenancy_core::token::Proof;
use uuid::Uuid;

use super::login::{self, Login};
use super::policies;
use super::providers::{self, KnownProvider};
use super::single_use;
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, xact};

/// The size at which the cache is emptied: a token may have one or two kilobytes.
const MOST_TOKENS: usize = 2_000;

/// The same, for pairs of ids.
const MOST_NAMED: usize = 100_000;

#[derive(Clone, Copy)]
struct Verified {
    user: Uuid,
    provider: Uuid,
    expires_at: Instant,
}

thread_local! {
    /// Verified tokens whose login writes nothing: requests repeat the same tokens.
    static VERIFIED: RefCell<HashMap<String, (Verified, Rc<Sources>)>> = RefCell::default();
    /// Users, with providers that may name them.
    static NAMED: RefCell<HashMap<(Uuid, Uuid), Rc<Sources>>> = RefCell::default();
}

/// Drops every cached token.
pub fn forget() {
    VERIFIED.with_borrow_mut(HashMap::clear);
    NAMED.with_borrow_mut(HashMap::clear);
}

/// Returns the sources of the fact that a provider may name a user. An error if the provider whose token proved a
/// context has since been disabled or dropped, or may no longer name this user because the tenant has moved.
pub fn still_holds(provider: Uuid, user: Uuid) -> Result<Rc<Sources>, Error> {
    let known = NAMED.with_borrow(|named| named.get(&(user, provider)).cloned());
    if let Some(sources) = known.filter(|sources| sources.hold()) {
        return Ok(sources);
    }
    let mut reading = Reading::begin();
    let named = spi::read(
        "SELECT 1 FROM tenancy_internal.identity_users b \
         JOIN tenancy_internal.identity_provider_registry p ON p.id = b.provider_id \
         JOIN tenancy.scopes u ON u.id = b.user_id \
         WHERE b.user_id = $1 AND p.id = $2 AND p.enabled AND p.scope_id = ANY (u.path)",
        &[pg_uuid(user).into(), pg_uuid(provider).into()],
        |rows| Ok(!rows.is_empty()),
    )?;
    if !named {
        return Err(Error::Expired);
    }
    reading.of(Subject::Provider(provider));
    reading.of(Subject::Scope(user));
    let sources = Rc::new(reading.done());
    remember_named(user, provider, &sources);
    Ok(sources)
}

/// Does not cache if this transaction has written: it may still roll back.
fn remember_named(user: Uuid, provider: Uuid, sources: &Rc<Sources>) {
    if xact::has_written() {
        return;
    }
    NAMED.with_borrow_mut(|named| {
        if named.len() >= MOST_NAMED {
            named.clear();
        }
        named.insert((user, provider), sources.clone());
    });
}

/// Verifies a token and returns what it proves.
pub fn verify(text: &str) -> Result<Proven, Error> {
    let now = xact::transaction_started();
    let known = VERIFIED.with_borrow(|known| {
        let (verified, sources) = known.get(text)?;
        sources.hold().then_some(*verified)
    });
    if let Some(verified) = known {
        if now >= verified.expires_at {
            let by = Some(verified.provider);
            return Err(Error::TokenRefused(Refusal::Expired, by));
        }
        return Ok(verified.proves());
    }
    let mut reading = Reading::begin();
    let token = Unverified::parse(text).map_err(|why| Error::TokenRefused(why, None))?;
    let (known, claims) = find_provider(&token, now)?;
    claims_of(&token, &mut reading);
    if known.single_use {
        single_use::take(known.id, &claims)?;
    }
    let (user, parent, expires_at) = log_in(&known, &claims, now, &mut reading)?;
    let of = [
        Subject::Provider(known.id),
        Subject::Scope(user),
        Subject::Scope(parent),
        Subject::Tree,
    ];
    of.into_iter().for_each(|subject| reading.of(subject));
    let sources = Rc::new(reading.done());
    remember_named(user, known.id, &sources);
    let verified = Verified {
        user,
        provider: known.id,
        expires_at,
    };
    // Not if this transaction has written, which may roll back, nor for a single-use token.
    if !known.single_use && !xact::has_written() {
        VERIFIED.with_borrow_mut(|known| {
            if known.len() >= MOST_TOKENS {
                known.clear();
            }
            known.insert(text.to_owned(), (verified, sources));
        });
    }
    Ok(verified.proves())
}

/// Finds the provider whose keys verify a token, with the token's claims. Several providers may claim an
/// issuer's tokens; those whose keys do not verify the token do not count. If two verify it, the token is for
/// the one whose audience it was issued to, or for none. The refusal of a token names a provider only if there is one.
fn find_provider(
    token: &Unverified<'_>,
    now: Instant,
) -> Result<(Rc<KnownProvider>, Claims), Error> {
    let refused = |why| Err(Error::TokenRefused(why, None));
    let (Some(issuer), Some(audiences)) = (token.issuer(), token.audiences()) else {
        return refused(Refusal::NoProvider);
    };
    let Some(candidates) = providers::of(issuer, &audiences)? else {
        return refused(Refusal::TooManyProviders);
    };
    let mut found: Vec<(Rc<KnownProvider>, Claims)> = Vec::new();
    let mut nearest = None;
    for known in candidates {
        match token.verify(&known.provider, now) {
            Ok(claims) => found.push((known, claims)),
            // The one whose keys verified it refused it for what it says.
            Err(why) => nearest = nearest.max(Some((why.verified(), known.id, why))),
        }
    }
    if found.is_empty()
        && let Some((_, provider, why)) = nearest
    {
        return Err(Error::TokenRefused(why, Some(provider)));
    }
    let several = found.len() > 1;
    if several {
        let party = token.party();
        let is_party = |known: &KnownProvider| {
            let mut audiences = known.provider.audiences.iter();
            party.is_some_and(|party| audiences.any(|audience| audience == party))
        };
        found.retain(|(known, _)| is_party(known));
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => refused(Refusal::Ambiguous),
        (None, _) if several => refused(Refusal::Ambiguous),
        (None, _) => refused(Refusal::NoProvider),
    }
}

/// Notes the sources of who claims a token. A token for one audience can move to another provider only if an administrator
/// vouches for that one; with several audiences, other claimants may verify it too.
fn claims_of(token: &Unverified<'_>, reading: &mut Reading) {
    let (issuer, audiences) = (token.issuer(), token.audiences());
    let audiences = audiences.unwrap_or_default();
    for audience in &audiences {
        let tokens = tokens_of(issuer.unwrap_or_default(), audience);
        reading.of(match audiences.len() {
            1 => Subject::vouched(&tokens),
            _ => Subject::claim(&tokens),
        });
    }
}

impl Verified {
    fn proves(self) -> Proven {
        Proven {
            user: self.user,
            proof: Some(Proof::Provider(self.provider)),
            tenant: None,
            expires_at: Some(self.expires_at),
        }
    }
}

/// Finds the user of a token, and gives it the roles of its groups. Returns the user, its parent, and when the session ends.
fn log_in(
    known: &KnownProvider,
    claims: &Claims,
    now: Instant,
    reading: &mut Reading,
) -> Result<(Uuid, Uuid, Instant), Error> {
    let refused = |why| Error::TokenRefused(why, Some(known.id));
    let parent = match &claims.tenant {
        None => known.scope,
        Some(tenant) => find_tenant(known.scope, tenant)?.ok_or(refused(Refusal::UnknownTenant))?,
    };
    let login = Login {
        known,
        claims,
        parent,
        issued: claims.issued_at.unwrap_or(now),
    };
    let found = find_user(&login)?;
    let bound = found.as_ref().and_then(|found| found.provider);
    if bound.is_some_and(|bound| bound != known.id) {
        return Err(refused(Refusal::OtherProvider));
    }
    if found.is_none() && !known.create_users {
        return Err(refused(Refusal::UnknownUser));
    }
    // Before anything is written; what a policy asks for is told to its users alone.
    let end = policies::session_end(parent, claims, now, reading)?;
    match found {
        Some(found) if found.provider.is_some() => {
            if found.groups_differ {
                login::sync_groups(&login, found.user)?;
            }
            Ok((found.user, parent, end))
        }
        _ => {
            let user = login::first(&login)?.ok_or(refused(Refusal::OtherProvider))?;
            login::sync_groups(&login, user)?;
            Ok((user, parent, end))
        }
    }
}

/// Finds the tenant with this external id at or below a scope, else the only one with this slug.
fn find_tenant(scope: Uuid, claim: &str) -> Result<Option<Uuid>, Error> {
    spi::read(
        "SELECT id, external_id IS NOT DISTINCT FROM $2 FROM tenancy.scopes \
         WHERE level = 'tenant' AND (external_id = $2 OR slug = $2) AND path @> ARRAY[$1] \
         ORDER BY 2 DESC LIMIT 2",
        &[pg_uuid(scope).into(), claim.to_owned().into()],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                found.push((row.not_null_id(1)?, row.not_null(2)?));
            }
            Ok(match found.as_slice() {
                [(tenant, true), ..] | [(tenant, false)] => Some(*tenant),
                _ => None,
            })
        },
    )
}

struct FoundUser {
    user: Uuid,
    /// The provider it belongs to, if any.
    provider: Option<Uuid>,
    groups_differ: bool,
}

fn find_user(login: &Login<'_>) -> Result<Option<FoundUser>, Error> {
    spi::read(
        "SELECT u.id, b.provider_id, \
                b.provider_id = $3 AND tenancy_internal.groups_differ($3, u.id, $4, $5, $6) \
         FROM tenancy.scopes u LEFT JOIN tenancy_internal.identity_users b ON b.user_id = u.id \
         WHERE u.parent_id = $1 AND u.level = 'user' AND u.external_id = $2",
        &[
            pg_uuid(login.parent).into(),
            login.claims.user.clone().into(),
            pg_uuid(login.known.id).into(),
            login.groups().into(),
            login.elsewhere().into(),
            login.issued.unix_seconds().into(),
        ],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            Ok(Some(FoundUser {
                user: row.not_null_id(1)?,
                provider: row.get::<pgrx::Uuid>(2)?.map(from_pg),
                // NULL for a user of no provider.
                groups_differ: row.get(3)?.unwrap_or(false),
            }))
        },
    )
}
