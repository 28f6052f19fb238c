//! Logins. They are counted in shared memory, so that a login writes nothing and a rollback does not undo
//! it. The worker writes an entry for each user, credential and address, with their number and times; or,
//! with `each`, one for each login.
//!
//! A successful login always has its user. If it can be neither counted nor queued, the backend asks the
//! worker at once. Failures have a separate, small table: failures with an existing user or key are named,
//! others appear by address, and failures without a place are only counted. The holder of one IPv6 address
//! has all 2^64 addresses of its network, so failures are counted by network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::json;
use tenancy_core::credential::Credential;
use tenancy_core::jwt::Refusal;
use tenancy_core::time::Instant;
use tenancy_core::token::Proof;
use uuid::Uuid;

use super::entry::{self, Actor};
use super::internal;
use super::settings::{self, Logins};
use crate::error::Error;
use crate::identity;
use crate::pg::capped::{self, Tier};
use crate::pg::cell::BackendCell;
use crate::pg::counts::{self, Added, Count, Key, Place};
use crate::pg::heap_insert::Json;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{client, cluster, events, queue, role, session, spi, time, workers, xact};
use crate::requests;

/// The kind of credential of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Not a valid form of credential.
    Unknown,
    /// An API key.
    ApiKey,
    /// A ticket.
    Ticket,
    /// An identity provider's token.
    Jwt,
    /// Assumed by a gateway.
    Assumed,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Unknown,
        Kind::ApiKey,
        Kind::Ticket,
        Kind::Jwt,
        Kind::Assumed,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::ApiKey => "api_key",
            Kind::Ticket => "ticket",
            Kind::Jwt => "jwt",
            Kind::Assumed => "assumed",
        }
    }
}

/// Logins that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Event {
    failed: bool,
    kind: u8,
    /// Why a token was refused: the number of the [`Refusal`], or 0.
    reason: u8,
    role: u32,
    login: u32,
    user: Uuid,
    credential: Uuid,
    client: Option<IpAddr>,
    /// Whether user and address are lost.
    others: bool,
    /// Whether it is a single login, with its time and without a count.
    each: bool,
}

/// A user logged in; `actor` is that user in its context, where an entry has to name it at once.
pub fn succeeded(
    user: Uuid,
    proof: Option<&Proof>,
    vouched: Option<IpAddr>,
    actor: impl Fn() -> Result<Actor, Error>,
) -> Result<(), Error> {
    let wanted = settings::logins();
    if matches!(wanted, Logins::Off | Logins::Failures) {
        return Ok(());
    }
    let (kind, credential) = match proof {
        Some(Proof::ApiKey(id)) => (Kind::ApiKey, Some(*id)),
        Some(Proof::Ticket(..)) => (Kind::Ticket, None),
        Some(Proof::Provider(id)) => (Kind::Jwt, Some(*id)),
        None => (Kind::Assumed, None),
    };
    let event = event(false, kind, Some(user), credential, vouched);
    let kept = || keep(&event, wanted);
    let details = || json!({"credential": kind.name(), "key": credential});
    let asked = || {
        let actor = actor();
        actor.is_ok_and(|actor| internal::record_now("login", actor, None, details()).is_ok())
    };
    // Twice: the worker may have exited after it wrote, to make room for another database's.
    if !(kept() || asked() || kept() || asked()) {
        // No worker: the count is kept in any case, the user only if the transaction commits.
        lost();
        if !cluster::read_only() {
            internal::record("login", actor, None, details())?;
        }
    }
    Ok(())
}

/// The last transaction in which a ticket of the setting was used, and its user.
static BY_TICKET: BackendCell<Option<(Instant, u128)>> = BackendCell::new(None);
/// The last key that was counted here, and where its counter may be.
static LAST: BackendCell<Option<(Key, Place)>> = BackendCell::new(None);

/// Counts a login by the setting tenancy.ticket. The ticket is verified in each transaction, so that is
/// one login for each. It cannot wait for the worker here.
pub fn came_by_ticket(user: Uuid) {
    let wanted = settings::logins();
    let here = Some((xact::transaction_started(), user.as_u128()));
    if matches!(wanted, Logins::Off | Logins::Failures)
        || session::parallel_leader().is_some()
        || BY_TICKET.replace_with(here) == here
    {
        return;
    }
    let event = event(false, Kind::Ticket, Some(user), None, None);
    if !keep(&event, wanted) {
        lost();
    }
}

/// Counts a success, or queues it for the worker. Returns false if there is no room for either.
fn keep(event: &Event, wanted: Logins) -> bool {
    match wanted {
        Logins::Each => {
            let each = Event {
                each: true,
                ..*event
            };
            queued(&each) || counted(event)
        }
        _ => counted(event) || queued(event),
    }
}

/// Counts a success without a name.
fn lost() {
    let others = Event {
        others: true,
        ..Event::default()
    };
    counts::add(&Count::once(others.key()), true);
}

fn counted(event: &Event) -> bool {
    let key = event.key();
    let place = match LAST.get() {
        Some((last, place)) if last == key => place,
        _ => Place::of(&key),
    };
    LAST.set(Some((key, place)));
    // The start of the statement is known; the clock takes as long as all else here.
    let went = counts::add_at(&Count::at(key, xact::statement_started()), place);
    if went == Added::New {
        if counts::crowded() {
            workers::make_all_write();
        }
        requests::expect(time::now() + settings::login_interval());
    }
    went != Added::NoRoom
}

fn queued(event: &Event) -> bool {
    let went = events::add(&Count::once(event.key()), queue::database());
    if went == Added::New {
        requests::nudge();
    }
    went != Added::NoRoom
}

/// Counts a failed login by a credential, or by assuming a user (`None`). `vouched` is the address that the
/// gateway named.
pub fn failed(text: Option<&str>, user: Option<Uuid>, vouched: Option<IpAddr>, why: &Error) {
    let refused = matches!(
        why,
        Error::InvalidCredential
            | Error::TokenRefused(..)
            | Error::Expired
            | Error::Inactive
            | Error::NoSuchUser(_)
            | Error::WrongNetwork
            | Error::LoginPolicy(..)
            | Error::NoHumanKeys
    );
    if !refused || settings::logins() == Logins::Off {
        return;
    }
    // An unknown user is not named.
    let user = user.filter(|_| !matches!(why, Error::NoSuchUser(_)));
    let (kind, credential) = match text.map(Credential::parse) {
        None => (Kind::Assumed, None),
        Some(Ok(Credential::ApiKey(key))) => (Kind::ApiKey, known_key(key.id)),
        Some(Ok(Credential::Ticket(_))) => (Kind::Ticket, None),
        Some(Ok(Credential::Jwt(_))) => match why {
            Error::TokenRefused(_, provider) => (Kind::Jwt, *provider),
            _ => (Kind::Jwt, None),
        },
        Some(_) => (Kind::Unknown, None),
    };
    let mut event = event(true, kind, user, credential, vouched);
    event.client = event.client.map(origin);
    if let Error::TokenRefused(reason, _) = why {
        event.reason = *reason as u8;
    }
    let others = Event {
        failed: true,
        others: true,
        client: event.client,
        ..Event::default()
    };
    let rest = Event {
        client: None,
        ..others
    };
    let tiers = [
        (event, event.tier()),
        (others, Tier::Origin),
        (rest, Tier::Rest),
    ];
    let mut went = tiers
        .iter()
        .map(|(event, tier)| capped::add(&Count::once(event.key()), *tier));
    if went.find(|went| *went != Added::NoRoom) == Some(Added::New)
        && let Some(due) = capped::due(queue::database())
    {
        requests::expect(due);
    }
}

/// The number of bits of an IPv6 address that its holder cannot choose.
const ORIGIN_BITS: u8 = 64;

/// Returns the address that stands for all addresses of one holder: the network of an IPv6 address; an
/// IPv4 address itself, in either notation.
fn origin(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> ORIGIN_BITS << ORIGIN_BITS).into(),
        v4 => v4,
    }
}

/// Returns a key's id, if the key exists or existed. It does the same work if not.
fn known_key(key: Uuid) -> Option<Uuid> {
    owner_of(key).ok().flatten().map(|_| key)
}

fn event(
    failed: bool,
    kind: Kind,
    user: Option<Uuid>,
    credential: Option<Uuid>,
    vouched: Option<IpAddr>,
) -> Event {
    Event {
        failed,
        kind: kind as u8,
        reason: 0,
        role: role::outer().to_u32(),
        login: role::session().to_u32(),
        user: user.unwrap_or_default(),
        credential: credential.unwrap_or_default(),
        client: vouched.or_else(client::address),
        others: false,
        each: false,
    }
}

impl Event {
    fn key(&self) -> Key {
        let (user, user_low) = self.user.as_u64_pair();
        let (credential, credential_low) = self.credential.as_u64_pair();
        let (family, address) = match self.client {
            None => (0, 0),
            Some(IpAddr::V4(v4)) => (4, u128::from(u32::from(v4))),
            Some(IpAddr::V6(v6)) => (6, u128::from(v6)),
        };
        let flags = u64::from(self.failed)
            | u64::from(self.others) << 1
            | u64::from(self.each) << 2
            | u64::from(self.kind) << 8
            | family << 16
            | u64::from(self.reason) << 24;
        [
            u64::from(queue::database()) << 32 | flags,
            u64::from(self.role) << 32 | u64::from(self.login),
            user,
            user_low,
            credential,
            credential_low,
            (address >> 64) as u64,
            address as u64,
        ]
    }

    fn tier(&self) -> Tier {
        // Who forges a token chooses its issuer, and with it the provider.
        let a_key = !self.credential.is_nil() && self.kind != Kind::Jwt as u8;
        let named = !self.user.is_nil() || a_key;
        match (named, self.others, self.client) {
            (true, ..) => Tier::Named,
            (false, true, None) => Tier::Rest,
            (false, ..) => Tier::Origin,
        }
    }

    fn of(key: &Key) -> Self {
        let flags = key[0] as u32;
        let address = u128::from(key[6]) << 64 | u128::from(key[7]);
        Self {
            failed: flags & 1 != 0,
            others: flags & 2 != 0,
            each: flags & 4 != 0,
            kind: (flags >> 8) as u8,
            reason: (flags >> 24) as u8,
            role: (key[1] >> 32) as u32,
            login: key[1] as u32,
            user: Uuid::from_u64_pair(key[2], key[3]),
            credential: Uuid::from_u64_pair(key[4], key[5]),
            client: match flags >> 16 & 0xff {
                4 => Some(IpAddr::V4(Ipv4Addr::from(address as u32))),
                6 => Some(IpAddr::V6(Ipv6Addr::from(address))),
                _ => None,
            },
        }
    }
}

// The worker's part ---------------------------------------------------------------------------------

/// Returns when this database has counted logins to write.
pub fn due() -> Option<Instant> {
    let database = queue::database();
    let counted = counts::first(database).map(|first| {
        let due = first + settings::login_interval();
        // Returns whether it is due; also if the clock was set back.
        if counts::crowded() || first > time::now() {
            Instant::LONG_AGO
        } else {
            due
        }
    });
    counted.into_iter().chain(capped::due(database)).min()
}

/// Returns whether this database has queued logins.
pub fn queue_pending() -> bool {
    events::pending(queue::database())
}

/// Removes and returns queued logins.
pub fn take_queued() -> Vec<Count> {
    events::take(queue::database())
}

/// Removes and returns counts that are due: failures, and successes whose first login is an interval ago;
/// all successes if their table is nearly full; everything if `all`.
pub fn take_due(all: bool) -> Vec<Count> {
    let database = queue::database();
    let mut due = capped::take(database, all);
    let all = all || counts::crowded();
    let now = time::now();
    let since = now - settings::login_interval();
    // Returns whether it is due; also if the clock was set back.
    due.extend(counts::take(database, |count| {
        all || count.first <= since || count.first > now
    }));
    due
}

/// Puts back counts that could not be written; returns those without a place.
#[must_use]
pub fn put_back(taken: Vec<Count>) -> Vec<Count> {
    let mut homeless = taken;
    homeless.retain(|count| {
        let event = Event::of(&count.key);
        let went = match event.failed {
            true => capped::add(count, event.tier()),
            false if event.each => events::add(count, queue::database()),
            false => counts::add(count, event.others),
        };
        went == Added::NoRoom
    });
    homeless
}

/// Keeps only the number of logins that cannot be written anywhere.
pub fn lose(taken: &[Count]) {
    for count in taken {
        let failed = Event::of(&count.key).failed;
        let others = Event {
            failed,
            others: true,
            ..Event::default()
        };
        let key = others.key();
        match failed {
            true => capped::add(&Count { key, ..*count }, Tier::Rest),
            false => counts::add(&Count { key, ..*count }, true),
        };
    }
}

/// Writes entries for counts.
pub fn write(taken: &[Count]) -> Result<(), Error> {
    taken.iter().try_for_each(write_one)
}

fn write_one(count: &Count) -> Result<(), Error> {
    let event = Event::of(&count.key);
    let some = |id: Uuid| (!id.is_nil()).then_some(id);
    let credential = some(event.credential);
    let user = match (some(event.user), credential) {
        // A known but invalid key still identifies its user.
        (None, Some(key)) if event.kind != Kind::Jwt as u8 => owner_of(key)?,
        (user, _) => user,
    };
    let mut actor = Actor {
        user,
        client: event.client,
        client_bits: (event.failed && event.client.is_some_and(|client| client.is_ipv6()))
            .then_some(ORIGIN_BITS),
        role: role::name(event.role.into()),
        login: role::name(event.login.into()),
        ..Actor::default()
    };
    if let Some(user) = user {
        actor = actor.on(user)?;
    }
    let kind = Kind::ALL
        .iter()
        .find(|kind| **kind as u8 == event.kind)
        .copied()
        .unwrap_or(Kind::Unknown);
    let mut details = if event.each {
        json!({ "at": time::iso(count.first) })
    } else {
        json!({ "count": count.count, "first": time::iso(count.first), "last": time::iso(count.last) })
    };
    if event.others {
        details["others"] = true.into();
    } else {
        details["credential"] = kind.name().into();
    }
    if let Some(key) = credential {
        details["key"] = key.to_string().into();
    }
    if let Some(reason) = Refusal::of(event.reason) {
        details["reason"] = reason.as_str().into();
        identity::note_refusal(credential, reason, count)?;
    }
    let action = if event.failed {
        "tenancy.login.failed"
    } else {
        "tenancy.login"
    };
    entry::write(action, &actor, None, Json::new(details)?).map(drop)
}

fn owner_of(key: Uuid) -> Result<Option<Uuid>, Error> {
    spi::read(
        "SELECT user_id FROM tenancy_internal.api_key_secrets WHERE id = $1",
        &[pg_uuid(key).into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<pgrx::Uuid>(1)?.map(from_pg)),
            None => Ok(None),
        },
    )
}
