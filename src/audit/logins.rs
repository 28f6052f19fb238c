//! Logins. Counted in shared memory, so that none of them costs a write; the worker writes an entry
//! for each user, credential and address, with how often and when.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::json;
use tenancy_core::credential::Credential;
use tenancy_core::token::Proof;
use uuid::Uuid;

use super::entry::{self, Actor};
use super::own;
use super::settings::{self, Logins};
use crate::access::{from_pg, pg_uuid};
use crate::error::Error;
use crate::pg::append::Json;
use crate::pg::counts::{self, Count, Key, Went};
use crate::pg::{client, cluster, queue, role, spi, time};
use crate::worker;

/// By what somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// By something that is no credential.
    Unknown,
    /// By an API key.
    ApiKey,
    /// By a ticket.
    Ticket,
    /// By an identity provider's token.
    Jwt,
    /// By the gateway's word.
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

/// What is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Event {
    failed: bool,
    kind: u8,
    role: u32,
    login: u32,
    user: Uuid,
    credential: Uuid,
    client: Option<IpAddr>,
    others: bool,
}

/// Somebody logged in.
pub fn succeeded(user: Uuid, proof: Option<&Proof>, vouched: Option<IpAddr>) -> Result<(), Error> {
    let wanted = settings::logins();
    if matches!(wanted, Logins::Off | Logins::Failures) {
        return Ok(());
    }
    let (kind, credential) = match proof {
        Some(Proof::ApiKey(id)) => (Kind::ApiKey, Some(*id)),
        Some(Proof::Ticket(_)) => (Kind::Ticket, None),
        Some(Proof::Provider(id)) => (Kind::Jwt, Some(*id)),
        None => (Kind::Assumed, None),
    };
    if wanted == Logins::Each {
        if cluster::read_only() {
            return Ok(());
        }
        let details = json!({"credential": kind.name(), "key": credential});
        return own::record("login", Some(user), None, details);
    }
    count(&event(false, kind, Some(user), credential, vouched));
    Ok(())
}

/// Somebody tried to, with a credential, or else (`None`) by assuming a user; `vouched` is where the
/// gateway says that it came from.
pub fn failed(text: Option<&str>, user: Option<Uuid>, vouched: Option<IpAddr>, why: &Error) {
    let refused = matches!(
        why,
        Error::InvalidCredential
            | Error::Expired
            | Error::Inactive
            | Error::NoSuchUser(_)
            | Error::WrongNetwork
    );
    if !refused || settings::logins() == Logins::Off {
        return;
    }
    let (kind, credential) = match text.map(Credential::parse) {
        None => (Kind::Assumed, None),
        Some(Ok(Credential::ApiKey(key))) => (Kind::ApiKey, Some(key.id)),
        Some(Ok(Credential::Ticket(_))) => (Kind::Ticket, None),
        Some(Ok(Credential::Jwt(_))) => (Kind::Jwt, None),
        Some(_) => (Kind::Unknown, None),
    };
    count(&event(true, kind, user, credential, vouched));
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
        role: role::outer().to_u32(),
        login: role::session().to_u32(),
        user: user.unwrap_or_default(),
        credential: credential.unwrap_or_default(),
        client: vouched.or_else(client::address),
        others: false,
    }
}

fn count(event: &Event) {
    let mut went = counts::count(&event.key(), false);
    if went == Went::Nowhere {
        // Who and what is lost, how many is not.
        let others = Event {
            failed: event.failed,
            others: true,
            ..Event::default()
        };
        went = counts::count(&others.key(), true);
    }
    if went == Went::New {
        worker::ensure();
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
            | u64::from(self.kind) << 8
            | family << 16;
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

    fn of(key: &Key) -> Self {
        let flags = key[0] as u32;
        let address = u128::from(key[6]) << 64 | u128::from(key[7]);
        Self {
            failed: flags & 1 != 0,
            others: flags & 2 != 0,
            kind: (flags >> 8) as u8,
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

/// Whether this database has counted logins.
pub fn pending() -> bool {
    counts::used(queue::database()).0 > 0
}

/// Takes out what is to be written now: failures, and successes of which the first is an interval ago;
/// all if the table fills, or at the end.
pub fn take_due(all: bool) -> Vec<Count> {
    let (mine, taken) = counts::used(queue::database());
    if mine == 0 {
        return Vec::new();
    }
    let all = all || counts::crowded(taken);
    let since = time::now().saturating_sub(settings::login_interval());
    counts::take(queue::database(), |count| {
        all || count.first <= since || Event::of(&count.key).failed
    })
}

/// Puts back what could not be written.
pub fn put_back(taken: &[Count]) {
    for count in taken {
        let others = Event::of(&count.key).others;
        if counts::add(count, others) == Went::Nowhere {
            counts::add(count, true);
        }
    }
}

/// Writes entries.
pub fn write(taken: &[Count]) -> Result<(), Error> {
    taken.iter().try_for_each(write_one)
}

fn write_one(count: &Count) -> Result<(), Error> {
    let event = Event::of(&count.key);
    let some = |id: Uuid| (!id.is_nil()).then_some(id);
    let credential = some(event.credential);
    let user = match (some(event.user), credential) {
        // A key that is known, only not good any more, says whose it was.
        (None, Some(key)) => owner_of(key)?,
        (user, _) => user,
    };
    let mut actor = Actor {
        user,
        client: event.client,
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
    let mut details = json!({
        "count": count.count,
        "first": time::iso_from_unix_micros(time::to_unix_micros(count.first)),
        "last": time::iso_from_unix_micros(time::to_unix_micros(count.last)),
    });
    if event.others {
        details["others"] = true.into();
    } else {
        details["credential"] = kind.name().into();
    }
    if let Some(key) = credential {
        details["key"] = key.to_string().into();
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
        "SELECT user_id FROM tenancy.api_key_secrets WHERE id = $1",
        &[pg_uuid(key).into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<pgrx::Uuid>(1)?.map(from_pg)),
            None => Ok(None),
        },
    )
}
