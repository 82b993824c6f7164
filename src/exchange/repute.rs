//! What is remembered of those who want to be asked for at a pool: of addresses, and of names.
//!
//! To a pool all miners are one client, and a client that shows it a hundred names that it does not know may
//! be sent away, with the whole hall behind it. So whoever guesses names is asked for no further ones. A
//! name that a pool takes weighs against one that it denies, and one that it denied before counts no more: a
//! hall behind one address, of which some machines are set up wrongly, goes on. What one pool said of an
//! address is nothing to another: a backup pool may know none of the names.
//!
//! A name that its pool took lately is nobody's guess. It is asked for whatever became of others of its
//! address, and costs that nothing. Where it was taken is all one: a rig that starts again may come to
//! another shard, so the shards tell each other of such names, by their hashes.
//!
//! Some pools answer a name by closing the connection. A connection that ends tells nothing of the names that
//! were asked for at that moment, for pools restart; names that were at the ends of several are asked for a
//! few at a time, and then alone. At which it ends then is the one.

use std::collections::{HashMap, VecDeque};

use foldhash::quality::FixedState;

use crate::exchange::recent::Recent;
use crate::exchange::unanswered::Open;
use crate::proto::time::Now;

/// So many more names of one address may be denied than taken, at one pool. Those that are asked for at that
/// moment come on top, and are not remembered for longer.
const DENIED_MAX: i32 = 32;

/// What a name costs its address at which the pool hangs up, each time with the whole hall. It is the most
/// that is remembered too, so the address is asked for none for five minutes.
const HUNG_UP: i32 = 2 * DENIED_MAX;

/// So many more taken than denied are remembered of an address.
const TAKEN_MAX: i32 = 4096;

/// After so many seconds one of them, of either kind, is forgotten.
const FORGET_SECONDS: u32 = 10;

/// Addresses of which something is remembered, one for each pool. Above it no more are taken up, until others
/// are forgotten. They take 1 MiB or so.
const HOMES_MAX: usize = 16_384;

/// Names that a pool took of which so many at least are remembered, and at most twice as many: as many as a
/// shard has miners. By their hashes alone, which take 2.4 MiB at the most. As many again of those that other
/// shards told, which push out none of our own.
const TAKEN_NAMES_MAX: usize = 65_536;

/// Newly taken names that the other shards are told at a time, in one letter of 8 KiB. There are four in a
/// second, in which all shards together ask for no more newcomers.
const NEWS_MAX: usize = 1024;

/// Such names that wait to be told; of more nobody is told. They take 512 KiB.
const NEWS_WAITING_MAX: usize = 65_536;

/// As many at least, and twice as many at most, of names at which connections ended.
const CUT_OFF_MAX: usize = 2048;

/// So many connections ended at a name that it is asked for with care.
pub(super) const CAREFUL_ENDS: u8 = 2;

/// So many must have ended before, where the pool answered for no other name on this connection: it may be
/// one that starts again and again, and dies each time before it has read anything.
pub(super) const DEAD_POOL_ENDS: u8 = 5;

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

/// Whether a pool may be asked for another name of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayAsk {
    Now,
    /// When more is known of those that it was asked for.
    Later,
    No,
}

/// What became of the names of each address, or /64, and of names, at each pool.
#[derive(Debug)]
pub(super) struct Repute {
    homes: HashMap<(usize, u64), Balance, FixedState>,
    /// In which second the addresses were looked through, for some that are forgotten.
    swept: Option<u32>,
    /// By the hash of pool and account, as all below.
    taken: Recent<()>,
    /// What other shards told us of those.
    told: Recent<()>,
    /// Names that were not known as taken before, to be told to the others.
    news: VecDeque<u64>,
    /// How many connections ended while a name was asked for.
    cut_off: Recent<u8>,
}

impl Repute {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            homes: HashMap::with_hasher(FixedState::with_seed(seed)),
            swept: None,
            taken: Recent::new(seed, TAKEN_NAMES_MAX),
            told: Recent::new(seed, TAKEN_NAMES_MAX),
            news: VecDeque::new(),
            cut_off: Recent::new(seed, CUT_OFF_MAX),
        }
    }

    /// Whether a pool may be asked for another name of this address, while so many are open. Those that are
    /// late may all be denied. The others are thought good as long as no more were denied than taken.
    pub(super) fn may_ask(&self, now: Now, pool: usize, home: u64, open: Open) -> MayAsk {
        let balance = self.homes.get(&(pool, home));
        let denied = balance.map_or(0, |balance| balance.as_of(now));
        let open = if denied > 0 { open.all } else { open.late };
        let open = i32::try_from(open).unwrap_or(i32::MAX);
        if denied >= DENIED_MAX {
            MayAsk::No
        } else if denied.saturating_add(open) >= DENIED_MAX {
            MayAsk::Later
        } else {
            MayAsk::Now
        }
    }

    /// A pool has taken a name of this address, or denied it.
    pub(super) fn note(&mut self, now: Now, pool: usize, home: u64, is_taken: bool) {
        self.add(now, pool, home, if is_taken { -1 } else { 1 }, DENIED_MAX);
    }

    /// A pool hung up at a name of this address.
    pub(super) fn note_hung_up(&mut self, now: Now, pool: usize, home: u64) {
        self.add(now, pool, home, HUNG_UP, HUNG_UP);
    }

    fn add(&mut self, now: Now, pool: usize, home: u64, denied: i32, denied_max: i32) {
        let (key, at) = ((pool, home), now.seconds());
        if self.homes.len() >= HOMES_MAX && !self.homes.contains_key(&key) {
            // There may be thousands in a second.
            if self.swept != Some(at) {
                self.swept = Some(at);
                self.homes.retain(|_, balance| balance.as_of(now) != 0);
            }
            if self.homes.len() >= HOMES_MAX {
                return;
            }
        }
        let balance = self.homes.entry(key).or_insert(Balance { denied: 0, at });
        let before = balance.as_of(now);
        // What is on its way to be forgotten goes on its way.
        let passed = at.saturating_sub(balance.at);
        balance.at = if before == 0 {
            at
        } else {
            at - passed % FORGET_SECONDS
        };
        let denied_max = denied_max.max(before);
        balance.denied = (before + denied).clamp(-TAKEN_MAX, denied_max);
    }

    /// Whether a pool took this name lately.
    pub(super) fn was_taken(&self, name: u64) -> bool {
        self.taken.get(name).is_some() || self.told.get(name).is_some()
    }

    /// A pool takes this name.
    pub(super) fn take(&mut self, name: u64) {
        if !self.was_taken(name) && self.news.len() < NEWS_WAITING_MAX {
            self.news.push_back(name);
        }
        self.taken.insert(name, ());
        self.cut_off.remove(name);
    }

    /// Names to tell the other shards now.
    pub(super) fn take_news(&mut self) -> Box<[u64]> {
        let count = self.news.len().min(NEWS_MAX);
        self.news.drain(..count).collect()
    }

    /// Another shard tells of names that a pool took there.
    pub(super) fn hear(&mut self, names: &[u64]) {
        for &name in names {
            self.told.insert(name, ());
        }
    }

    /// A pool denies this name.
    pub(super) fn deny(&mut self, name: u64) {
        self.taken.remove(name);
        self.told.remove(name);
        self.cut_off.remove(name);
    }

    /// How many connections ended while this name was asked for, since it was answered last.
    pub(super) fn ends(&self, name: u64) -> u8 {
        self.cut_off.get(name).copied().unwrap_or(0)
    }

    /// None of them ended because of it.
    pub(super) fn forget_ends(&mut self, name: u64) {
        self.cut_off.remove(name);
    }

    /// One more.
    pub(super) fn note_end(&mut self, name: u64) {
        let ends = self.ends(name).saturating_add(1);
        self.cut_off.insert(name, ends);
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

    fn denied(repute: &mut Repute, seconds: u64, home: u64, count: usize) {
        for _ in 0..count {
            repute.note(at(seconds), 0, home, false);
        }
    }

    fn may_ask(repute: &Repute, seconds: u64, home: u64) -> bool {
        repute.may_ask(at(seconds), 0, home, Open::default()) == MayAsk::Now
    }

    #[test]
    fn who_guesses_is_asked_for_no_more_until_some_time_has_passed() {
        let mut repute = Repute::new(1);
        denied(&mut repute, 0, 1, 31);
        assert!(may_ask(&repute, 0, 1));
        denied(&mut repute, 0, 1, 1);
        assert!(!may_ask(&repute, 9, 1));
        assert!(may_ask(&repute, 9, 2), "another address");
        assert!(may_ask(&repute, 10, 1));
        denied(&mut repute, 10, 1, 1);
        assert!(!may_ask(&repute, 19, 1) && may_ask(&repute, 20, 1));
    }

    #[test]
    fn however_many_were_denied_at_one_pool_another_is_asked_and_the_same_one_soon() {
        let mut repute = Repute::new(1);
        denied(&mut repute, 0, 1, 250);
        assert!(!may_ask(&repute, 9, 1));
        assert!(may_ask(&repute, 10, 1));
        assert_eq!(repute.may_ask(at(0), 1, 1, Open::default()), MayAsk::Now);
    }

    #[test]
    fn names_that_are_taken_weigh_against_those_that_are_denied() {
        let mut repute = Repute::new(1);
        for _ in 0..100 {
            repute.note(at(0), 0, 1, true);
        }
        denied(&mut repute, 0, 1, 131);
        assert!(may_ask(&repute, 0, 1));
        denied(&mut repute, 0, 1, 1);
        assert!(!may_ask(&repute, 0, 1));
        repute.note(at(0), 0, 1, true);
        assert!(may_ask(&repute, 0, 1));
    }

    #[test]
    fn names_whose_answers_are_late_weigh_as_long_as_they_are() {
        let mut repute = Repute::new(1);
        let may_ask = |repute: &Repute, all, late| repute.may_ask(at(0), 0, 1, Open { all, late });
        assert_eq!(may_ask(&repute, 200, 31), MayAsk::Now);
        assert_eq!(may_ask(&repute, 32, 32), MayAsk::Later);
        repute.note(at(0), 0, 1, true);
        assert_eq!(may_ask(&repute, 32, 32), MayAsk::Now);
        // And after a denial all do.
        denied(&mut repute, 0, 1, 2);
        assert_eq!(may_ask(&repute, 30, 0), MayAsk::Now);
        assert_eq!(may_ask(&repute, 31, 0), MayAsk::Later);
        denied(&mut repute, 0, 1, 31);
        assert_eq!(may_ask(&repute, 0, 0), MayAsk::No);
    }

    #[test]
    fn a_name_at_which_a_pool_hangs_up_costs_minutes() {
        let mut repute = Repute::new(1);
        for _ in 0..3 {
            repute.note_hung_up(at(0), 0, 1);
        }
        // A denial makes it no less.
        denied(&mut repute, 0, 1, 1);
        assert!(!may_ask(&repute, 329, 1) && may_ask(&repute, 330, 1));
    }

    #[test]
    fn denials_that_come_slowly_are_forgotten_as_they_come() {
        let mut repute = Repute::new(1);
        for seconds in 0..2000 {
            if seconds % 10 == 0 {
                denied(&mut repute, seconds, 1, 1);
            }
            assert!(may_ask(&repute, seconds, 1));
        }
        for seconds in 2000..2100 {
            denied(&mut repute, seconds, 1, 1);
        }
        assert!(!may_ask(&repute, 2099, 1));
    }

    #[test]
    fn little_is_remembered_of_a_flood_of_addresses() {
        let mut repute = Repute::new(1);
        for home in 0..20_000 {
            repute.note(at(0), 0, home, false);
        }
        assert_eq!(repute.homes.len(), HOMES_MAX);
        repute.note(at(10), 0, 30_000, false);
        assert_eq!(repute.homes.len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_looked_through_once_in_a_second() {
        let mut repute = Repute::new(1);
        for home in 0..20_000 {
            repute.note(at(5), 0, home, false);
        }
        let has = |repute: &Repute, home| repute.homes.contains_key(&(0, home));
        // One of them has nothing left, but that is found in the next second.
        repute.note(at(5), 0, 7, true);
        repute.note(at(5), 0, 30_000, false);
        assert!(has(&repute, 7) && !has(&repute, 30_000));
        repute.note(at(6), 0, 30_000, false);
        assert!(!has(&repute, 7) && has(&repute, 30_000));
    }

    #[test]
    fn a_name_is_remembered_as_taken_until_it_is_denied() {
        let mut repute = Repute::new(1);
        repute.note_end(7);
        repute.note_end(7);
        assert_eq!((repute.ends(7), repute.was_taken(7)), (2, false));
        repute.take(7);
        assert_eq!((repute.ends(7), repute.was_taken(7)), (0, true));
        repute.deny(7);
        assert!(!repute.was_taken(7));
        repute.hear(&[7]);
        assert!(repute.was_taken(7));
        repute.deny(7);
        assert!(!repute.was_taken(7));
    }

    #[test]
    fn what_was_taken_is_told_once_and_not_all_at_once() {
        let mut repute = Repute::new(1);
        repute.hear(&[1, 2, 3]);
        for name in (0..3000).chain(0..3000) {
            repute.take(name);
        }
        let told: Vec<usize> = (0..4).map(|_| repute.take_news().len()).collect();
        assert_eq!(told, [1024, 1024, 3000 - 3 - 2048, 0]);
        for name in 0..1_000_000 {
            repute.take(name);
        }
        assert_eq!(repute.news.len(), NEWS_WAITING_MAX);
    }
}
