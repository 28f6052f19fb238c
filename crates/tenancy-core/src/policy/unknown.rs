//! Counts the rows of a table whose key no tenant has, in bounded memory.

use std::collections::{HashMap, HashSet};

/// The number of keys that are looked up together.
const BATCH_KEYS: usize = 10_000;

/// The number of unknown keys that are counted separately; rows of others are counted together.
const UNKNOWN_KEYS_MAX: usize = 100_000;

/// Rows counted by key: keys to be looked up, and unknown keys.
#[derive(Debug)]
pub struct Tally {
    batch: HashMap<String, i64>,
    unknown: HashMap<String, i64>,
    beyond: i64,
    batch_max: usize,
    unknown_max: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self::bounded(BATCH_KEYS, UNKNOWN_KEYS_MAX)
    }
}

impl Tally {
    fn bounded(batch_max: usize, unknown_max: usize) -> Self {
        Self {
            batch: HashMap::new(),
            unknown: HashMap::new(),
            beyond: 0,
            batch_max,
            unknown_max,
        }
    }

    /// Counts a row. Returns whether the keys of the batch must be looked up now.
    pub fn add(&mut self, key: &str) -> bool {
        let counts = if self.unknown.contains_key(key) {
            &mut self.unknown
        } else {
            &mut self.batch
        };
        match counts.get_mut(key) {
            Some(rows) => *rows += 1,
            None => {
                counts.insert(key.to_owned(), 1);
            }
        }
        self.batch.len() >= self.batch_max
    }

    /// Returns the keys to look up.
    #[must_use]
    pub fn batch(&self) -> Vec<String> {
        self.batch.keys().cloned().collect()
    }

    /// Empties the batch: keeps its unknown keys.
    pub fn settle(&mut self, unknown: &HashSet<String>) {
        for (key, rows) in std::mem::take(&mut self.batch) {
            if !unknown.contains(&key) {
                continue;
            }
            if self.unknown.len() < self.unknown_max {
                self.unknown.insert(key, rows);
            } else {
                self.beyond += rows;
            }
        }
    }

    /// Returns the unknown keys with their rows, in order; `None` stands for all keys that were not counted separately.
    #[must_use]
    pub fn finish(self) -> Vec<(Option<String>, i64)> {
        let mut found: Vec<(Option<String>, i64)> = self
            .unknown
            .into_iter()
            .map(|(key, rows)| (Some(key), rows))
            .collect();
        found.sort();
        if self.beyond > 0 {
            found.push((None, self.beyond));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the bounds, every row with an unknown key is counted once, and no other.
        #[test]
        fn every_unknown_row_is_counted_once(
            keys in proptest::collection::vec("[a-f]", 0..60), known in "[a-f]{0,3}", batch in 1_usize..5, most in 0_usize..5,
        ) {
            let is_known = |key: &String| known.contains(key.as_str());
            let mut tally = Tally::bounded(batch, most);
            for key in &keys {
                if tally.add(key) {
                    let unknown = tally.batch().into_iter().filter(|k| !is_known(k)).collect();
                    tally.settle(&unknown);
                }
            }
            let unknown = tally.batch().into_iter().filter(|k| !is_known(k)).collect();
            tally.settle(&unknown);
            let found = tally.finish();
            let rows = keys.iter().filter(|k| !is_known(k)).count() as i64;
            prop_assert_eq!(found.iter().map(|f| f.1).sum::<i64>(), rows);
            prop_assert!(found.iter().filter(|f| f.0.is_some()).count() <= most);
            for (key, rows) in &found {
                if let Some(key) = key {
                    prop_assert!(!is_known(key));
                    prop_assert!(*rows <= keys.iter().filter(|k| *k == key).count() as i64);
                }
            }
        }
    }
}
