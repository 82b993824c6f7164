//! Who holds which nonce_1, over all threads: two live miners must never have the same.

use std::collections::HashMap;
use std::time::Duration;

/// A slot may be given to the next miner a moment before we hear that the one before lost it. What
/// lasts longer is no matter of order.
const PATIENCE: Duration = Duration::from_secs(1);

/// A miner got a nonce_1, or lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) miner: u32,
    pub(crate) nonce: Box<[u8]>,
    pub(crate) holds: bool,
}

/// All that are held.
#[derive(Debug)]
pub(crate) struct Nonces {
    patience: Duration,
    holders: HashMap<Box<[u8]>, Vec<u32>>,
    /// Those with more than one holder, and since when.
    shared: HashMap<Box<[u8]>, Duration>,
    wrong: u64,
}

impl Nonces {
    /// `away` is how long a miner may not hear that its connection is over.
    pub(crate) fn new(away: Duration) -> Self {
        Self {
            patience: PATIENCE + away,
            holders: HashMap::new(),
            shared: HashMap::new(),
            wrong: 0,
        }
    }

    pub(crate) fn handle(&mut self, change: Change, now: Duration) {
        let Change {
            miner,
            nonce,
            holds,
        } = change;
        if holds {
            let holders = self.holders.entry(nonce.clone()).or_default();
            holders.push(miner);
            if holders.len() > 1 {
                self.shared.entry(nonce).or_insert(now);
            }
            return;
        }
        if let Some(holders) = self.holders.get_mut(&nonce) {
            holders.retain(|holder| *holder != miner);
            match holders.len() {
                0 => drop(self.holders.remove(&nonce)),
                1 => drop(self.shared.remove(&nonce)),
                _ => {}
            }
        }
    }

    /// How many times a nonce_1 was held by two for more than a moment.
    pub(crate) fn wrong(&mut self, now: Duration) -> u64 {
        let before = self.shared.len();
        self.shared
            .retain(|_, since| now.saturating_sub(*since) < self.patience);
        self.wrong += (before - self.shared.len()) as u64;
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(miner: u32, holds: bool) -> Change {
        Change {
            miner,
            nonce: [1, 2, 3].as_slice().into(),
            holds,
        }
    }

    #[test]
    fn a_nonce_that_two_keep_is_wrong_once() {
        let mut nonces = Nonces::new(Duration::ZERO);
        nonces.handle(change(1, true), Duration::ZERO);
        nonces.handle(change(2, true), Duration::ZERO);
        assert_eq!(nonces.wrong(Duration::from_millis(900)), 0);
        for seconds in 1..5 {
            assert_eq!(nonces.wrong(Duration::from_secs(seconds)), 1);
        }
    }

    #[test]
    fn a_nonce_may_go_from_one_to_the_next_in_any_order() {
        let mut nonces = Nonces::new(Duration::ZERO);
        nonces.handle(change(1, true), Duration::ZERO);
        nonces.handle(change(2, true), Duration::ZERO);
        nonces.handle(change(1, false), Duration::from_millis(50));
        assert_eq!(nonces.wrong(Duration::from_secs(9)), 0);
        nonces.handle(change(2, false), Duration::from_secs(9));
        assert!(nonces.holders.is_empty() && nonces.shared.is_empty());
    }

    #[test]
    fn who_looks_away_may_learn_late_of_its_end() {
        let mut nonces = Nonces::new(Duration::from_secs(5));
        nonces.handle(change(1, true), Duration::ZERO);
        nonces.handle(change(2, true), Duration::ZERO);
        assert_eq!(nonces.wrong(Duration::from_secs(5)), 0);
        assert_eq!(nonces.wrong(Duration::from_secs(6)), 1);
    }
}
