//! Notices when a pool gives the links of two shards one extranonce1.
//!
//! Shards share nothing, so neither sees the other's nonce space. Each notes here, for all to read, which
//! space its newest link has; the slots of each begin in a part of their own (`Settings::part`), so what
//! is left to do is to tell the operator.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No link is up.
const NOTHING: u64 = 0;

/// One number for each shard of a proxy: a hash of its space.
#[derive(Clone, Debug)]
pub(crate) struct SpaceWatch(Arc<[AtomicU64]>);

impl SpaceWatch {
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicU64::new(NOTHING)).collect())
    }

    /// Notes that a shard has this space; returns another shard that has it too.
    pub(crate) fn note(&self, shard: usize, pool: usize, extranonce1: &str) -> Option<usize> {
        let mut hasher = DefaultHasher::new();
        (pool, extranonce1).hash(&mut hasher);
        let space = hasher.finish().max(NOTHING + 1);
        self.0.get(shard)?.store(space, Ordering::SeqCst);
        self.0
            .iter()
            .enumerate()
            .find(|(other, noted)| *other != shard && noted.load(Ordering::SeqCst) == space)
            .map(|(other, _)| other)
    }

    /// Notes that a shard's link is gone.
    pub(crate) fn clear(&self, shard: usize) {
        if let Some(noted) = self.0.get(shard) {
            noted.store(NOTHING, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_shard_with_a_space_learns_of_the_first() {
        let watch = SpaceWatch::new(3);
        assert_eq!(watch.note(0, 0, "a1b2"), None);
        assert_eq!(watch.note(1, 0, "a1b3"), None);
        assert_eq!(watch.note(2, 1, "a1b2"), None, "another pool's");
        assert_eq!(watch.note(2, 0, "a1b2"), Some(0));
        watch.clear(0);
        assert_eq!(watch.note(2, 0, "a1b2"), None);
        assert_eq!(watch.note(0, 0, "a1b2"), Some(2));
    }
}
