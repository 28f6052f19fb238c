//! What a statement has added to and taken from counters, summed by counter. A row whose counter has changed before allocates
//! nothing.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// A value of a column of keys, as it lies in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// A uuid.
    Uuid([u8; 16]),
    /// An integer.
    Number(i64),
    /// Any other, as the server writes it.
    Text(&'a str),
}

/// A value that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Uuid([u8; 16]),
    Number(i64),
    Text(Box<str>),
}

impl Value<'_> {
    fn keep(self) -> Kept {
        match self {
            Self::Uuid(bytes) => Kept::Uuid(bytes),
            Self::Number(number) => Kept::Number(number),
            Self::Text(text) => Kept::Text(text.into()),
        }
    }
}

impl Kept {
    fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Uuid(a), Value::Uuid(b)) => *a == b,
            (Self::Number(a), Value::Number(b)) => *a == b,
            (Self::Text(a), Value::Text(b)) => **a == *b,
            _ => false,
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(bytes).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.into(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    quota: i32,
    tenant: Kept,
    key: Option<Kept>,
    change: i64,
    /// Another entry with the same hash.
    next: Option<usize>,
}

impl Entry {
    fn is(&self, quota: i32, tenant: Value<'_>, key: Option<Value<'_>>) -> bool {
        self.quota == quota
            && self.tenant.is(tenant)
            && match (&self.key, key) {
                (Some(kept), Some(key)) => kept.is(key),
                (None, None) => true,
                _ => false,
            }
    }
}

/// The change of a counter. By quota, tenant and key: in this order all transactions change counters, and so do not wait for each
/// other in a circle within a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The quota.
    pub quota: i32,
    /// The tenant, as its rows name it.
    pub tenant: String,
    /// The project, user or value of a column; empty for a tenant.
    pub key: String,
    /// How much more is stored.
    pub change: i64,
}

/// The number of entries from which on they are found by their hash.
const FEW: usize = 8;

/// The changes of a statement.
#[derive(Debug, Default)]
pub struct Changes {
    entries: Vec<Entry>,
    /// The entry of the last row: the next one often has the same.
    last: usize,
    places: HashMap<u64, usize, RandomState>,
    hasher: RandomState,
}

/// More than a counter has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl Changes {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// If the sum has no room in a counter.
    #[inline]
    pub fn add(
        &mut self,
        quota: i32,
        tenant: Value<'_>,
        key: Option<Value<'_>>,
        change: i64,
    ) -> Result<(), Overflow> {
        let place = match self.entries.get(self.last) {
            Some(last) if last.is(quota, tenant, key) => self.last,
            _ => self.place(quota, tenant, key),
        };
        self.last = place;
        if let Some(entry) = self.entries.get_mut(place) {
            entry.change = entry.change.checked_add(change).ok_or(Overflow)?;
        }
        Ok(())
    }

    /// Finds the entry of a counter, or adds one.
    fn place(&mut self, quota: i32, tenant: Value<'_>, key: Option<Value<'_>>) -> usize {
        if self.entries.len() < FEW {
            let found = self.entries.iter().position(|e| e.is(quota, tenant, key));
            return found.unwrap_or_else(|| self.push(quota, tenant, key));
        }
        let hash = self.hasher.hash_one((quota, tenant, key));
        let first = self.places.get(&hash).copied();
        let mut next = first;
        while let Some(place) = next {
            let Some(entry) = self.entries.get(place) else {
                break;
            };
            if entry.is(quota, tenant, key) {
                return place;
            }
            next = entry.next;
        }
        // The first entries have no hash yet.
        let early = self.entries.iter().take(FEW);
        if let Some(place) = early.into_iter().position(|e| e.is(quota, tenant, key)) {
            return place;
        }
        let place = self.push(quota, tenant, key);
        if let Some(entry) = self.entries.get_mut(place) {
            entry.next = first;
        }
        self.places.insert(hash, place);
        place
    }

    fn push(&mut self, quota: i32, tenant: Value<'_>, key: Option<Value<'_>>) -> usize {
        self.entries.push(Entry {
            quota,
            tenant: tenant.keep(),
            key: key.map(Value::keep),
            change: 0,
            next: None,
        });
        self.entries.len() - 1
    }

    /// Returns what remains, sorted.
    #[must_use]
    pub fn finish(self) -> Vec<Change> {
        let entries = self.entries.into_iter().filter(|entry| entry.change != 0);
        let mut changes: Vec<Change> = entries
            .map(|entry| Change {
                quota: entry.quota,
                tenant: entry.tenant.into_text(),
                key: entry.key.map(Kept::into_text).unwrap_or_default(),
                change: entry.change,
            })
            .collect();
        changes.sort_unstable();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    #[test]
    fn what_comes_and_goes_leaves_nothing() {
        let mut changes = Changes::default();
        let tenant = Value::Uuid([1; 16]);
        for change in [1, 1, -2] {
            assert_eq!(changes.add(1, tenant, None, change), Ok(()));
        }
        assert!(!changes.is_empty());
        assert_eq!(changes.finish(), vec![]);
    }

    #[test]
    fn a_number_and_its_text_are_two_keys_of_two_columns() {
        let mut changes = Changes::default();
        let tenant = Value::Number(7);
        assert_eq!(changes.add(2, tenant, Some(Value::Text("b")), 5), Ok(()));
        assert_eq!(changes.add(1, tenant, Some(Value::Number(4)), 1), Ok(()));
        assert_eq!(changes.add(2, tenant, Some(Value::Text("a")), -5), Ok(()));
        let change = |quota, key: &str, change| Change {
            quota,
            tenant: "7".into(),
            key: key.into(),
            change,
        };
        assert_eq!(
            changes.finish(),
            vec![change(1, "4", 1), change(2, "a", -5), change(2, "b", 5)]
        );
    }

    #[test]
    fn a_sum_without_room_is_an_error() {
        let mut changes = Changes::default();
        let tenant = Value::Number(7);
        assert_eq!(changes.add(1, tenant, None, i64::MAX), Ok(()));
        assert_eq!(changes.add(1, tenant, None, 1), Err(Overflow));
    }

    proptest! {
        #[test]
        fn changes_are_summed_by_counter(rows in prop::collection::vec((0_i32..3, 0_i64..20, 0_u8..30, -5_i64..6), 0..300)) {
            let mut changes = Changes::default();
            let mut expected: BTreeMap<(i32, String, String), i64> = BTreeMap::new();
            for (quota, tenant, key, change) in rows {
                let key = format!("k{key}");
                prop_assert_eq!(changes.add(quota, Value::Number(tenant), Some(Value::Text(&key)), change), Ok(()));
                *expected.entry((quota, tenant.to_string(), key)).or_default() += change;
            }
            expected.retain(|_, change| *change != 0);
            let found: BTreeMap<(i32, String, String), i64> = changes.finish().into_iter()
                .map(|c| ((c.quota, c.tenant, c.key), c.change)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
