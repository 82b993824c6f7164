//! What was noted lately, by keyed hashes: so many at least, and at most twice as many.

use std::collections::HashMap;

use foldhash::quality::FixedState;

/// Notes under hashes. Each stays until so many others were noted after it.
#[derive(Debug)]
pub(super) struct Recent<V> {
    newer: HashMap<u64, V, FixedState>,
    /// What was the newer half before it was full.
    older: HashMap<u64, V, FixedState>,
    half_max: usize,
}

impl<V> Recent<V> {
    /// Remembers at least the newest `half_max`, and at most twice as many.
    pub(super) fn new(seed: u64, half_max: usize) -> Self {
        let map = || HashMap::with_hasher(FixedState::with_seed(seed));
        Self {
            newer: map(),
            older: map(),
            half_max,
        }
    }

    pub(super) fn get(&self, hash: u64) -> Option<&V> {
        self.newer.get(&hash).or_else(|| self.older.get(&hash))
    }

    /// Notes it anew, in place of what was noted of it.
    pub(super) fn insert(&mut self, hash: u64, value: V) {
        self.older.remove(&hash);
        if self.newer.len() >= self.half_max && !self.newer.contains_key(&hash) {
            self.older.clear();
            std::mem::swap(&mut self.newer, &mut self.older);
        }
        self.newer.insert(hash, value);
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.newer.remove(&hash);
        self.older.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_a_flood_takes_no_memory() {
        let mut recent = Recent::new(1, 100);
        for hash in 0..10_000_u64 {
            recent.insert(hash, hash);
            // This one is noted again and again.
            recent.insert(7, hash);
            assert!(recent.newer.len() <= 100 && recent.older.len() <= 100);
        }
        let newest = 9_910..10_000;
        assert!(
            newest
                .into_iter()
                .all(|hash| recent.get(hash) == Some(&hash))
        );
        assert_eq!((recent.get(7), recent.get(9_000)), (Some(&9_999), None));
        recent.remove(7);
        assert_eq!(recent.get(7), None);
    }
}
