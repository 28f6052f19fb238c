//! The set of tenants that a principal may access: built once, searched for each row.
//!
//! Rows name their tenant by its uuid or, in tables with their own keys, by the tenant's external id as a
//! text or an integer. So the set supports all three. A search allocates nothing; a set of one compares, a
//! larger one uses a hash table.

use foldhash::{HashSet, HashSetExt};
use std::hash::Hash;
use std::mem::size_of;
use uuid::Uuid;

/// The keys by which a row can name a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// The tenant's id.
    pub id: Uuid,
    /// Its id in the identity provider, if it has one.
    pub external_id: Option<String>,
}

/// The tenants that a principal may access.
///
/// ```
/// use tenancy_core::tenants::{Tenant, TenantSet};
///
/// let tenant = |id, external_id: Option<&str>| Tenant { id: uuid::Uuid::from_u128(id), external_id: external_id.map(str::to_owned) };
/// let set = TenantSet::new(vec![tenant(1, Some("4711")), tenant(2, Some("acme-eu")), tenant(3, None)]);
///
/// assert!(set.contains_id(uuid::Uuid::from_u128(3).as_bytes()));
/// assert!(set.contains_text(b"acme-eu"));
/// assert!(set.contains_int(4711) && !set.contains_text(b"04711"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct TenantSet {
    /// The tenant, if there is exactly one.
    single: Option<Tenant>,
    ids: Vec<Uuid>,
    ints: Vec<i64>,
    texts: Vec<String>,
    /// The ids again, for sets of more than one.
    id_set: HashSet<u128>,
    int_set: HashSet<i64>,
    text_set: HashSet<Box<[u8]>>,
}

impl TenantSet {
    /// Creates the set of these tenants. Of several rows with one id, the first counts.
    pub fn new(mut rows: Vec<Tenant>) -> Self {
        rows.sort_by_key(|tenant| tenant.id);
        rows.dedup_by_key(|tenant| tenant.id);
        let single = match rows.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        let ids: Vec<Uuid> = rows.iter().map(|tenant| tenant.id).collect();
        let ints = sorted(rows.iter().filter_map(int_key).collect());
        let texts = sorted(rows.into_iter().filter_map(|t| t.external_id).collect());
        TenantSet::of(single, ids, ints, texts)
    }

    /// Returns the set with more tenants.
    pub fn with(&self, more: &[Tenant]) -> TenantSet {
        if self.is_empty() {
            return TenantSet::new(more.to_vec());
        }
        let new: Vec<&Tenant> = more
            .iter()
            .filter(|tenant| !self.contains_id(tenant.id.as_bytes()))
            .collect();
        let ids = self.ids.iter().copied().chain(new.iter().map(|t| t.id));
        let ints = new.iter().filter_map(|tenant| int_key(tenant));
        let texts = new.iter().filter_map(|tenant| tenant.external_id.clone());
        let single = self.single.clone().filter(|_| new.is_empty());
        TenantSet::of(
            single,
            sorted(ids.collect()),
            sorted(self.ints.iter().copied().chain(ints).collect()),
            sorted(self.texts.iter().cloned().chain(texts).collect()),
        )
    }

    fn of(single: Option<Tenant>, ids: Vec<Uuid>, ints: Vec<i64>, texts: Vec<String>) -> TenantSet {
        TenantSet {
            id_set: hashed(&ids, |id| key_of(id.as_bytes())),
            int_set: hashed(&ints, |int| *int),
            text_set: hashed(&texts, |text| text.as_bytes().into()),
            single,
            ids,
            ints,
            texts,
        }
    }

    /// Returns the number of tenants.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the tenant, if there is exactly one.
    pub fn single(&self) -> Option<&Tenant> {
        self.single.as_ref()
    }

    /// Returns whether the set contains a tenant with this id.
    pub fn contains_id(&self, id: &[u8; 16]) -> bool {
        match self.ids.as_slice() {
            [] => false,
            [only] => only.as_bytes() == id,
            _ => self.id_set.contains(&key_of(id)),
        }
    }

    /// Returns whether the set contains a tenant whose external id is this integer.
    pub fn contains_int(&self, int: i64) -> bool {
        match self.ints.as_slice() {
            [] => false,
            [only] => *only == int,
            _ => self.int_set.contains(&int),
        }
    }

    /// Returns whether the set contains a tenant whose external id has these bytes.
    pub fn contains_text(&self, text: &[u8]) -> bool {
        match self.texts.as_slice() {
            [] => false,
            [only] => only.as_bytes() == text,
            _ => self.text_set.contains(text),
        }
    }

    /// Returns the ids, sorted by their bytes.
    pub fn ids(&self) -> &[Uuid] {
        &self.ids
    }

    /// Returns the external ids that are integers, sorted.
    pub fn ints(&self) -> &[i64] {
        &self.ints
    }

    /// Returns the external ids, sorted by their bytes.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns about how many bytes the set has on the heap, for reports.
    pub fn heap_bytes(&self) -> usize {
        let single = self.single.as_ref().and_then(|t| t.external_id.as_ref());
        let texts = self.texts.iter().map(String::capacity).sum::<usize>();
        let hashed_texts = self.text_set.iter().map(|t| t.len()).sum::<usize>();
        single.map_or(0, String::capacity)
            + self.ids.capacity() * size_of::<Uuid>()
            + self.ints.capacity() * size_of::<i64>()
            + self.texts.capacity() * size_of::<String>()
            + texts
            + table_bytes(&self.id_set)
            + table_bytes(&self.int_set)
            + table_bytes(&self.text_set)
            + hashed_texts
    }
}

/// Returns a tenant's external id as an integer, if it is one in canonical form.
pub fn int_key(tenant: &Tenant) -> Option<i64> {
    canonical_int(tenant.external_id.as_deref()?)
}

/// Parses an integer in canonical form: `42` and `-7`, but not `042`, `+42`, ` 42` or `-0`. So two external ids
/// never have the same number.
pub fn canonical_int(external_id: &str) -> Option<i64> {
    let (negative, digits) = match external_id.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, external_id),
    };
    let canonical = match digits.as_bytes() {
        [b'0'] => !negative,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| external_id.parse().ok()).flatten()
}

/// Converts an id to one number, which hashes in one step.
const fn key_of(id: &[u8; 16]) -> u128 {
    u128::from_ne_bytes(*id)
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values.shrink_to_fit();
    values
}

/// Returns the keys of the values as a hash set; empty for fewer than two, which are compared instead.
fn hashed<T, K: Eq + Hash>(values: &[T], key: impl Fn(&T) -> K) -> HashSet<K> {
    if values.len() < 2 {
        return HashSet::new();
    }
    let mut set = HashSet::with_capacity(values.len());
    set.extend(values.iter().map(key));
    set
}

/// Returns the size of a hash table, which has a control byte for every entry and is at most seven eighths full.
fn table_bytes<K>(set: &HashSet<K>) -> usize {
    set.capacity() * 8 / 7 * (size_of::<K>() + 1)
}

#[cfg(test)]
mod tests;
