//! A token is verified, and its user found: by its external id, below the provider's scope, and only
//! if it first came by this provider. Whatever is wrong with it, the answer is the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::jwt::{Claims, Unverified, tokens_of};
use tenancy_core::principal::Proven;
use tenancy_core::subject::Subject;
use tenancy_core::token::Proof;
use uuid::Uuid;

use super::login::{self, Login};
use super::providers::{self, KnownProvider};
use super::single_use;
use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{spi, xact};

/// Where the cache is emptied and begun again: its tokens may have a kilobyte or two each.
const MOST_TOKENS: usize = 2_000;

/// The same, for pairs of ids.
const MOST_NAMED: usize = 100_000;

#[derive(Clone, Copy)]
struct Verified {
    user: Uuid,
    provider: Uuid,
    /// In seconds of the Unix epoch.
    expires_at: i64,
}

thread_local! {
    /// What was verified, with nothing left to write: requests show the same tokens again and again.
    static VERIFIED: RefCell<HashMap<String, (Verified, Rc<Sources>)>> = RefCell::default();
    /// Users, and providers that may name them.
    static NAMED: RefCell<HashMap<(Uuid, Uuid), Rc<Sources>>> = RefCell::default();
}

/// Forgets every token.
pub fn forget() {
    VERIFIED.with_borrow_mut(HashMap::clear);
    NAMED.with_borrow_mut(HashMap::clear);
}

/// What it is made of that a provider may name a user; an error if the provider whose token proved a context
/// has since been disabled or dropped, or may not name this user any more: the tenant has moved away from it.
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

/// What this transaction wrote may yet be undone: that is not remembered.
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

/// What a token proves.
pub fn verify(text: &str) -> Result<Proven, Error> {
    let now = xact::transaction_started_unix().div_euclid(1_000_000);
    let known = VERIFIED.with_borrow(|known| {
        let (verified, sources) = known.get(text)?;
        sources.hold().then_some(*verified)
    });
    if let Some(verified) = known {
        if now >= verified.expires_at {
            return Err(Error::InvalidCredential);
        }
        return Ok(verified.proves());
    }
    let mut reading = Reading::begin();
    let token = Unverified::parse(text).map_err(|_| Error::InvalidCredential)?;
    let (known, claims) = find_provider(&token, now)?.ok_or(Error::InvalidCredential)?;
    claims_of(&token, &mut reading);
    if known.single_use {
        single_use::take(known.id, &claims)?;
    }
    let (user, parent) = log_in(&known, &claims, now)?;
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
        expires_at: claims.expires_at,
    };
    // What this transaction wrote may yet be undone, and a token for one use is not seen again.
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

/// The provider whose keys verify a token, with what the token says. Several may claim an issuer's
/// tokens: one whose keys verify nothing of it is as if it were not there. Where two verify a token, it is
/// for the one whose audience it was issued to, or for none.
fn find_provider(
    token: &Unverified<'_>,
    now: i64,
) -> Result<Option<(Rc<KnownProvider>, Claims)>, Error> {
    let (Some(issuer), Some(audiences)) = (token.issuer(), token.audiences()) else {
        return Ok(None);
    };
    let Some(candidates) = providers::of(issuer, &audiences)? else {
        return Ok(None);
    };
    let mut found: Vec<(Rc<KnownProvider>, Claims)> = candidates
        .into_iter()
        .filter_map(|known| {
            let claims = token.verify(&known.provider, now).ok()?;
            Some((known, claims))
        })
        .collect();
    if found.len() > 1 {
        let party = token.party();
        let is_party = |known: &KnownProvider| {
            let mut audiences = known.provider.audiences.iter();
            party.is_some_and(|party| audiences.any(|audience| audience == party))
        };
        found.retain(|(known, _)| is_party(known));
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// What is made of who claims a token. Of one for one audience, only an administrator's word can make it another's; who
/// claims one of several audiences may verify it too.
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
            expires_at: Some(self.expires_at.saturating_mul(1_000_000)),
        }
    }
}

/// The user of a token, with the roles that its groups stand for; and the scope that it belongs to.
fn log_in(known: &KnownProvider, claims: &Claims, now: i64) -> Result<(Uuid, Uuid), Error> {
    let parent = match &claims.tenant {
        None => known.scope,
        Some(tenant) => find_tenant(known.scope, tenant)?.ok_or(Error::InvalidCredential)?,
    };
    let login = Login {
        known,
        claims,
        parent,
        issued: claims.issued_at.unwrap_or(now),
    };
    let found = find_user(&login)?;
    match found {
        Some(found) if found.provider.is_some_and(|bound| bound != known.id) => {
            Err(Error::InvalidCredential)
        }
        Some(found) if found.provider.is_some() && !found.groups_differ => Ok((found.user, parent)),
        Some(found) if found.provider.is_some() => {
            login::sync_groups(&login, found.user)?;
            Ok((found.user, parent))
        }
        None if !known.create_users => Err(Error::InvalidCredential),
        _ => {
            let user = login::first(&login)?.ok_or(Error::InvalidCredential)?;
            login::sync_groups(&login, user)?;
            Ok((user, parent))
        }
    }
}

/// The tenant of this external id at or below a scope, else the only one of this slug.
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
    /// The provider it belongs to, if to any.
    provider: Option<Uuid>,
    groups_differ: bool,
}

fn find_user(login: &Login<'_>) -> Result<Option<FoundUser>, Error> {
    spi::read(
        "SELECT u.id, b.provider_id, \
                b.provider_id = $3 AND tenancy_internal.groups_differ($3, u.id, $4, $5) \
         FROM tenancy.scopes u LEFT JOIN tenancy_internal.identity_users b ON b.user_id = u.id \
         WHERE u.parent_id = $1 AND u.level = 'user' AND u.external_id = $2",
        &[
            pg_uuid(login.parent).into(),
            login.claims.user.clone().into(),
            pg_uuid(login.known.id).into(),
            login.claims.groups.clone().into(),
            login.issued.into(),
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
