//! How often pools deny names that come from one address.
//!
//! To a pool all miners are one client, and a client that shows it a hundred names that it does not know may
//! be sent away, with the whole hall behind it. So whoever guesses names is asked for no further ones. A
//! name that a pool takes weighs against one that it denies, and one that it denied before counts no more: a
//! hall behind one address, of which some machines are set up wrongly, goes on.

use std::collections::HashMap;

use foldhash::quality::FixedState;

use crate::proto::time::Now;

/// So many more names of one address may be denied than taken. Those that are asked for at that moment come
/// on top.
const DENIED_MAX: i32 = 32;

/// So many more taken than denied are remembered of an address.
const TAKEN_MAX: i32 = 4096;

/// After so many seconds one of them, of either kind, is forgotten.
const FORGET_SECONDS: u32 = 10;

/// Addresses of which something is remembered. Above it no more are taken up, until others are forgotten.
const HOMES_MAX: usize = 16_384;

/// Names denied less names taken, as it was at a time, in seconds since the start.
#[derive(Clone, Copy, Debug)]
struct Balance {
    denied: i32,
    at: u32,
}

impl Balance {
    fn as_of(self, now: Now) -> i32 {
        let forgotten = now.seconds().saturating_sub(self.at) / FORGET_SECONDS;
        let forgotten = i32::try_from(forgotten).unwrap_or(i32::MAX);
        let left = self.denied.saturating_abs().saturating_sub(forgotten);
        left.max(0) * self.denied.signum()
    }
}

/// What became of the names of each address, or /64.
#[derive(Debug)]
pub(crate) struct Guesses {
    homes: HashMap<u64, Balance, FixedState>,
}

impl Guesses {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            homes: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// Whether a pool may be asked for another name of this address.
    pub(super) fn may_ask(&self, now: Now, home: u64) -> bool {
        let balance = self.homes.get(&home);
        balance.is_none_or(|balance| balance.as_of(now) < DENIED_MAX)
    }

    /// A pool has answered for a name of this address.
    pub(super) fn note(&mut self, now: Now, home: u64, is_taken: bool) {
        if self.homes.len() >= HOMES_MAX && !self.homes.contains_key(&home) {
            self.homes.retain(|_, balance| balance.as_of(now) != 0);
            if self.homes.len() >= HOMES_MAX {
                return;
            }
        }
        let at = now.seconds();
        let balance = self.homes.entry(home).or_insert(Balance { denied: 0, at });
        let before = balance.as_of(now);
        // What is on its way to be forgotten goes on its way.
        let passed = at.saturating_sub(balance.at);
        balance.at = if before == 0 {
            at
        } else {
            at - passed % FORGET_SECONDS
        };
        let denied = before + if is_taken { -1 } else { 1 };
        balance.denied = denied.max(-TAKEN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            since_start: Duration::from_secs(seconds),
            unix_seconds: 0,
        }
    }

    fn denied(guesses: &mut Guesses, seconds: u64, home: u64, count: usize) {
        for _ in 0..count {
            guesses.note(at(seconds), home, false);
        }
    }

    #[test]
    fn who_guesses_is_asked_for_no_more_until_some_time_has_passed() {
        let mut guesses = Guesses::new(1);
        denied(&mut guesses, 0, 1, 31);
        assert!(guesses.may_ask(at(0), 1));
        denied(&mut guesses, 0, 1, 1);
        assert!(!guesses.may_ask(at(9), 1));
        assert!(guesses.may_ask(at(9), 2), "another address");
        assert!(guesses.may_ask(at(10), 1));
        denied(&mut guesses, 10, 1, 1);
        assert!(!guesses.may_ask(at(19), 1) && guesses.may_ask(at(20), 1));
    }

    #[test]
    fn names_that_are_taken_weigh_against_those_that_are_denied() {
        let mut guesses = Guesses::new(1);
        for _ in 0..100 {
            guesses.note(at(0), 1, true);
        }
        denied(&mut guesses, 0, 1, 131);
        assert!(guesses.may_ask(at(0), 1));
        denied(&mut guesses, 0, 1, 1);
        assert!(!guesses.may_ask(at(0), 1));
        guesses.note(at(0), 1, true);
        assert!(guesses.may_ask(at(0), 1));
    }

    #[test]
    fn denials_that_come_slowly_are_forgotten_as_they_come() {
        let mut guesses = Guesses::new(1);
        for seconds in 0..2000 {
            if seconds % 10 == 0 {
                denied(&mut guesses, seconds, 1, 1);
            }
            assert!(guesses.may_ask(at(seconds), 1));
        }
        for seconds in 2000..2100 {
            denied(&mut guesses, seconds, 1, 1);
        }
        assert!(!guesses.may_ask(at(2100), 1));
    }

    #[test]
    fn little_is_remembered_of_a_flood_of_addresses() {
        let mut guesses = Guesses::new(1);
        for home in 0..20_000 {
            guesses.note(at(0), home, false);
        }
        assert_eq!(guesses.homes.len(), HOMES_MAX);
        guesses.note(at(10), 30_000, false);
        assert_eq!(guesses.homes.len(), 1);
    }
}
