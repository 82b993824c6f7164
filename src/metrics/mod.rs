//! Counters that a shard publishes and others read, without either waiting for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exchange::Counters;

/// One exchange's counters as they were at its last tick. The shard writes plain stores; a reader may
/// see two counters of different ticks, and no half of a number.
#[derive(Clone, Debug)]
pub struct Published(Arc<[AtomicU64]>);

impl Default for Published {
    fn default() -> Self {
        let cells = Counters::default().cells_mut().count();
        Self((0..cells).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Published {
    /// Publishes these.
    pub fn publish(&self, mut counters: Counters) {
        for (cell, value) in self.0.iter().zip(counters.cells_mut()) {
            cell.store(*value, Ordering::Relaxed);
        }
    }

    /// What was published last.
    #[must_use]
    pub fn read(&self) -> Counters {
        let mut counters = Counters::default();
        for (cell, value) in self.0.iter().zip(counters.cells_mut()) {
            *value = cell.load(Ordering::Relaxed);
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let mut counters = Counters {
            accepted: 7,
            ..Counters::default()
        };
        counters.closes[2] = 3;
        counters.refused[1] = 4;
        let published = Published::default();
        published.publish(counters.clone());
        assert_eq!(published.read(), counters);
        counters.add(&published.read());
        assert_eq!((counters.accepted, counters.closes[2]), (14, 6));
    }
}
