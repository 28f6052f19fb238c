//! Changes of which parts of a scope's usage have budgets, while transactions run.
//!
//! A transaction adds its amounts to the account of its scopes always, and to the accounts of [parts](super::part) for which
//! it knows a budget. A budget that is set while it runs may have an account that lacks its earlier amounts. No one waits
//! for it. When it finishes, it makes the entries of the parts of its scopes outdated, if their budgets may have changed since
//! its first event: they are loaded again, from rows that contain its own.
//!
//! A transaction that changes budgets begins the change before its commit is visible, and ends it after all backends were told.
//! So for a transaction T with an event and a change C of the same place:
//!
//! | T's first event | C when T finishes | T |
//! | --- | --- | --- |
//! | after C ended | ended | knows the new budgets |
//! | before C ended | ended | sees a later end than its beginning |
//! | any time | has begun, not ended | sees that it is changing |
//! | any time | has not begun | no other transaction has seen the new budgets. C's own entries are outdated when C begins |
//!
//! Scopes share places. A change of one scope makes the entries of the others at its place be loaded again, without need.

use super::{Account, Entry, Head, Recorded};

/// The number of places.
const PLACES: usize = 1024;

/// The changes of all places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The number of changes that have ended.
    ended: u64,
    /// The number of changes that have begun and not ended.
    open: u32,
    /// The same by places.
    open_at: [u32; PLACES],
    /// The last change that ended, by places.
    ended_at: [u64; PLACES],
    /// The last load whose entries of parts are outdated, by places.
    outdated: [u64; PLACES],
}

impl Changes {
    pub(super) const NONE: Self = Self {
        ended: 0,
        open: 0,
        open_at: [0; PLACES],
        ended_at: [0; PLACES],
        outdated: [0; PLACES],
    };

    /// Returns whether an entry may lack amounts.
    pub(super) fn lacks(&self, entry: &Entry) -> bool {
        entry.account.is_part() && entry.load <= self.outdated[place(part_of(&entry.account))]
    }

    fn changed_since(&self, place: usize, since: u64) -> bool {
        self.open_at[place] > 0 || self.ended_at[place] > since
    }
}

fn place(end: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(end)) % PLACES
}

fn part_of(account: &Account) -> [u8; 2] {
    [account.scope[0], account.scope[1]]
}

fn end_of(scope: &[u8; 16]) -> [u8; 2] {
    [scope[14], scope[15]]
}

impl Head {
    /// Begins a change of the parts of a scope that have budgets, before the change is visible.
    pub fn begin_change(&mut self, scope: &[u8; 16]) {
        let place = place(end_of(scope));
        self.changes.open += 1;
        self.changes.open_at[place] += 1;
        self.changes.outdated[place] = self.loads;
    }

    /// Ends a change, after all backends were told of it. Returns the number of changes that have ended.
    pub fn end_change(&mut self, scope: &[u8; 16]) -> u64 {
        let place = place(end_of(scope));
        let changes = &mut self.changes;
        changes.ended += 1;
        changes.ended_at[place] = changes.ended;
        changes.open = changes.open.saturating_sub(1);
        changes.open_at[place] = changes.open_at[place].saturating_sub(1);
        changes.ended
    }

    /// Outdates the entries that may lack what a transaction recorded, or may contain what it rolled back: its first event
    /// followed the change numbered `since`.
    pub fn outdate(&mut self, since: u64, recorded: &[Recorded]) {
        if self.changes.ended <= since && self.changes.open == 0 {
            return;
        }
        for recorded in recorded.iter().filter(|r| r.account.is_of_scope()) {
            let place = place(end_of(&recorded.account.scope));
            if self.changes.changed_since(place, since) {
                self.changes.outdated[place] = self.loads;
            }
        }
    }
}

#[cfg(test)]
mod tests;
