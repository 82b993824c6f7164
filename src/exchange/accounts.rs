//! The names that workers have at the pools, and what pools denied of them.
//!
//! Each worker of a miner has an *account*: its name, and what else makes its name at a pool. An account
//! lives for as long as somebody has it or something names it: a miner that authorized it, an authorize that
//! is pending, a question to a pool, a share on its way. Miners are known here; the others are looked at by
//! `Exchange::sweep_names`, now and then, and only for accounts that no miner has. So a share takes the
//! account's number along and counts nothing, and its name can be written when its miner is long gone.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::MinerToken;
use crate::exchange::pool_side::printable;
use crate::exchange::repute::Repute;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::worker_name::{MinerAddress, WorkerName};

/// Denials that are remembered; for one more the oldest is forgotten, and its pool asked again. With what a
/// pool said, at most 200 characters, they take 4 MiB or so.
const DENIED_MAX: usize = 16_384;

/// A name that was denied again and again is asked for again after so many times the first wait at most.
const RETRY_FACTOR_MAX: u32 = 8;

/// Names one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(u32);

#[cfg(test)]
impl AccountId {
    pub(super) const fn of_test(number: u32) -> Self {
        Self(number)
    }
}

/// What makes two accounts one.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct AccountKey {
    pub(super) worker: Box<str>,
    /// Where the template has it; else none.
    pub(super) address: MinerAddress,
    /// Where the pool is shown the miner's own; else the pool's is taken.
    pub(super) password: Option<Box<str>>,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// Why a worker may not mine, and what its miner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// Why, in our words.
    pub(crate) reject: Reject,
    /// The pool's code and text, where it said more than no.
    said: Option<Rc<(i64, String)>>,
}

impl Denial {
    /// What a pool said with its no; it may be nothing.
    pub(super) fn of_pool(code: i64, text: &str) -> Self {
        let is_bare = code == 20 && text == "Rejected by the pool";
        Self {
            reject: Reject::WorkerDenied,
            said: (!is_bare).then(|| Rc::new((code, printable(text)))),
        }
    }

    /// The code that the miner is told. 24 says that a worker is not authorized, whatever the reason.
    pub(super) fn code(&self) -> i64 {
        let said = self.said.as_ref();
        said.map_or(Reject::WorkerDenied.code(), |said| said.0)
    }

    /// The text that the miner is told.
    pub(super) fn text(&self) -> &str {
        let said = self.said.as_ref();
        said.map_or_else(|| self.reject.text(), |said| &said.1)
    }

    /// What the pool said, for the log; empty where it said nothing.
    pub(super) fn said(&self) -> String {
        let said = self.said.as_ref();
        said.map_or_else(String::new, |said| format!("[{}] {}", said.0, said.1))
    }
}

impl From<Reject> for Denial {
    fn from(reject: Reject) -> Self {
        Self { reject, said: None }
    }
}

#[derive(Debug)]
struct Account {
    key: Rc<AccountKey>,
    miners: BTreeSet<MinerToken>,
}

/// The accounts of all miners of an exchange.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: HashMap<AccountId, Account, FixedState>,
    by_key: HashMap<Rc<AccountKey>, AccountId, FixedState>,
    /// Those that a miner authorized, in that order; one for each of its workers.
    of_miner: HashMap<MinerToken, Vec<AccountId>, FixedState>,
    /// Accounts that no miner has.
    unowned: BTreeSet<AccountId>,
    denials: Denials,
    /// What became of the names of each address, and of names.
    pub(super) repute: Repute,
    /// Makes the hashes under which names are known there, which are the same in all exchanges of a proxy.
    names: FixedState,
    last: u32,
}

impl Accounts {
    /// Hashes are keyed by `seed`, but for those of names of which shards tell each other.
    pub(super) fn new(seed: u64, names_seed: u64) -> Self {
        let hasher = || FixedState::with_seed(seed);
        Self {
            accounts: HashMap::with_hasher(hasher()),
            by_key: HashMap::with_hasher(hasher()),
            of_miner: HashMap::with_hasher(hasher()),
            unowned: BTreeSet::new(),
            denials: Denials::new(seed),
            repute: Repute::new(seed),
            names: FixedState::with_seed(names_seed),
            last: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// The account under this key; a new one is nobody's yet.
    pub(super) fn open(&mut self, key: AccountKey) -> AccountId {
        if let Some(&id) = self.by_key.get(&key) {
            return id;
        }
        // Numbers come again when all were used, and some are in use for longer than that.
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.accounts.contains_key(&AccountId(self.last)) {
                break;
            }
        }
        let (id, key) = (AccountId(self.last), Rc::new(key));
        self.by_key.insert(Rc::clone(&key), id);
        let miners = BTreeSet::new();
        self.accounts.insert(id, Account { key, miners });
        self.unowned.insert(id);
        id
    }

    /// A miner has this account from now on, in place of another one of the same worker: the password may
    /// be a new one.
    pub(super) fn give(&mut self, id: AccountId, miner: MinerToken) {
        let Some(account) = self.accounts.get_mut(&id) else {
            debug_assert!(false, "something named it");
            return;
        };
        account.miners.insert(miner);
        self.unowned.remove(&id);
        let key = Rc::clone(&account.key);
        match self.find(miner, &key.worker) {
            Some(same) if same == id => {}
            Some(older) => {
                for own in self.of_miner.get_mut(&miner).into_iter().flatten() {
                    if *own == older {
                        *own = id;
                    }
                }
                self.take_from(older, miner);
            }
            None => self.of_miner.entry(miner).or_default().push(id),
        }
    }

    /// The account of this worker of a miner.
    pub(super) fn find(&self, miner: MinerToken, worker: &str) -> Option<AccountId> {
        let is_it = |id: &&AccountId| {
            let account = self.accounts.get(id);
            account.is_some_and(|account| *account.key.worker == *worker)
        };
        self.of(miner).iter().find(is_it).copied()
    }

    /// The accounts of a miner.
    pub(super) fn of(&self, miner: MinerToken) -> &[AccountId] {
        self.of_miner.get(&miner).map_or(&[], Vec::as_slice)
    }

    /// The miners that have this account.
    pub(super) fn miners_of(&self, id: AccountId) -> impl Iterator<Item = MinerToken> {
        let account = self.accounts.get(&id).into_iter();
        account.flat_map(|account| account.miners.iter().copied())
    }

    /// A miner is gone.
    pub(super) fn forget(&mut self, miner: MinerToken) {
        for id in self.of_miner.remove(&miner).unwrap_or_default() {
            self.take_from(id, miner);
        }
    }

    fn take_from(&mut self, id: AccountId, miner: MinerToken) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.miners.remove(&miner);
            if account.miners.is_empty() {
                self.unowned.insert(id);
            }
        }
    }

    /// Those that no miner has.
    pub(super) const fn unowned(&self) -> &BTreeSet<AccountId> {
        &self.unowned
    }

    /// Forgets an account that nothing names.
    pub(super) fn free(&mut self, id: AccountId) {
        debug_assert!(self.unowned.contains(&id), "no miner has it");
        if let Some(account) = self.accounts.remove(&id) {
            self.by_key.remove(&account.key);
        }
        self.unowned.remove(&id);
    }

    /// Appends the name of an account at a pool.
    pub(super) fn write_name(
        &self,
        out: &mut String,
        template: &WorkerName,
        pool_worker: &str,
        id: AccountId,
    ) {
        let account = self.accounts.get(&id);
        debug_assert!(account.is_some(), "what is written names it");
        if let Some(Account { key, .. }) = account {
            template.write(out, pool_worker, &key.worker, key.address);
        }
    }

    /// The password under which a pool is asked for it, where that is the miner's own.
    pub(super) fn password(&self, id: AccountId) -> Option<&str> {
        self.accounts.get(&id)?.key.password.as_deref()
    }

    /// What a pool said when it denied an account, not longer ago than `retry`, or twice, four or eight times
    /// that where it had denied it before.
    pub(super) fn denial(
        &self,
        now: Now,
        pool: usize,
        id: AccountId,
        retry: Duration,
    ) -> Option<Denial> {
        let account = self.accounts.get(&id)?;
        self.denials.find(now, pool, &account.key, retry)
    }

    /// A pool denies an account, or says nothing of it. Says whether that is news.
    pub(super) fn deny(
        &mut self,
        now: Now,
        pool: usize,
        id: AccountId,
        denial: &Denial,
        retry: Duration,
    ) -> bool {
        let Some(account) = self.accounts.get(&id) else {
            return false;
        };
        if denial.reject == Reject::WorkerDenied {
            self.repute.deny(self.names.hash_one((pool, &account.key)));
        }
        self.denials.add(now, pool, &account.key, denial, retry)
    }

    /// A pool takes an account: what it denied before is over.
    pub(super) fn take(&mut self, pool: usize, id: AccountId) {
        if let Some(account) = self.accounts.get(&id) {
            self.denials.forget(pool, &account.key);
            self.repute.take(self.names.hash_one((pool, &account.key)));
        }
    }

    /// Whether a pool took an account lately, under the same password where it is shown that.
    pub(super) fn was_taken(&self, pool: usize, id: AccountId) -> bool {
        let account = self.accounts.get(&id);
        account.is_some_and(|it| self.repute.was_taken(self.names.hash_one((pool, &it.key))))
    }

    /// How many connections to a pool ended while it was asked for an account, since it answered last.
    pub(super) fn ends(&self, pool: usize, id: AccountId) -> u8 {
        let account = self.accounts.get(&id);
        account.map_or(0, |it| {
            self.repute.ends(self.names.hash_one((pool, &it.key)))
        })
    }

    /// It was none of its doing.
    pub(super) fn forget_ends(&mut self, pool: usize, id: AccountId) {
        if let Some(account) = self.accounts.get(&id) {
            self.repute
                .forget_ends(self.names.hash_one((pool, &account.key)));
        }
    }

    /// One more did.
    pub(super) fn note_end(&mut self, pool: usize, id: AccountId) {
        if let Some(account) = self.accounts.get(&id) {
            self.repute
                .note_end(self.names.hash_one((pool, &account.key)));
        }
    }
}

#[derive(Debug)]
struct Denied {
    at: Duration,
    denial: Denial,
    /// 1, and twice as much each time that it is denied again.
    factor: u32,
}

/// What pools denied, and when.
#[derive(Debug)]
struct Denials {
    /// By the hash of pool and account.
    known: HashMap<u64, Denied, FixedState>,
    /// The same in the order in which they came; some are out of date.
    order: VecDeque<(Duration, u64)>,
}

impl Denials {
    fn new(seed: u64) -> Self {
        Self {
            known: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
        }
    }

    fn hash(&self, pool: usize, key: &AccountKey) -> u64 {
        self.known.hasher().hash_one((pool, key))
    }

    fn find(&self, now: Now, pool: usize, key: &AccountKey, retry: Duration) -> Option<Denial> {
        let denied = self.known.get(&self.hash(pool, key))?;
        let retry = retry.saturating_mul(denied.factor);
        (now.since(denied.at) < retry).then(|| denied.denial.clone())
    }

    fn forget(&mut self, pool: usize, key: &AccountKey) {
        self.known.remove(&self.hash(pool, key));
    }

    /// Says whether this one is new.
    fn add(
        &mut self,
        now: Now,
        pool: usize,
        key: &AccountKey,
        denial: &Denial,
        retry: Duration,
    ) -> bool {
        let (at, hash) = (now.since_start, self.hash(pool, key));
        let before = self.known.get(&hash);
        let is_new = before.is_none();
        // Who comes again after a long time is not one who asks again and again.
        let is_lately = |it: &&Denied| now.since(it.at) < retry.saturating_mul(2 * it.factor);
        let before = before.filter(is_lately);
        let denied = Denied {
            at,
            denial: denial.clone(),
            factor: before.map_or(1, |it| (2 * it.factor).min(RETRY_FACTOR_MAX)),
        };
        self.known.insert(hash, denied);
        self.order.push_back((at, hash));
        while self.order.len() > DENIED_MAX {
            let Some((at, hash)) = self.order.pop_front() else {
                break;
            };
            // It may have been denied again since.
            if self.known.get(&hash).is_some_and(|known| known.at == at) {
                self.known.remove(&hash);
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(worker: &str, password: Option<&str>) -> AccountKey {
        AccountKey {
            worker: worker.into(),
            address: MinerAddress::default(),
            password: password.map(Into::into),
        }
    }

    fn miner(index: u32) -> MinerToken {
        MinerToken {
            index,
            generation: 0,
        }
    }

    fn at(seconds: u64) -> Now {
        Now {
            since_start: Duration::from_secs(seconds),
            unix_seconds: 0,
        }
    }

    #[test]
    fn an_account_is_unowned_when_its_last_miner_is_gone() {
        let mut accounts = Accounts::new(1, 1);
        let id = accounts.open(key("a", None));
        assert_eq!(accounts.open(key("a", None)), id);
        assert!(accounts.unowned().contains(&id));
        accounts.give(id, miner(1));
        accounts.give(id, miner(2));
        accounts.forget(miner(1));
        assert!(!accounts.unowned().contains(&id));
        assert_eq!(accounts.find(miner(2), "a"), Some(id));
        accounts.forget(miner(2));
        assert!(accounts.unowned().contains(&id) && accounts.len() == 1);
        accounts.free(id);
        assert_eq!((accounts.len(), accounts.by_key.len()), (0, 0));
        assert_ne!(accounts.open(key("a", None)), id);
    }

    #[test]
    fn another_password_is_another_account_in_place_of_the_first() {
        let mut accounts = Accounts::new(1, 1);
        let [first, second] = ["x", "y"].map(|password| accounts.open(key("a", Some(password))));
        let other = accounts.open(key("b", Some("x")));
        for id in [first, other, second] {
            accounts.give(id, miner(1));
        }
        assert_eq!(accounts.of(miner(1)), [second, other]);
        assert_eq!(accounts.find(miner(1), "a"), Some(second));
        assert_eq!(accounts.miners_of(first).count(), 0);
        assert!(accounts.unowned().contains(&first));
    }

    #[test]
    fn what_was_denied_again_is_remembered_for_the_second_time_too() {
        let mut denials = Denials::new(1);
        let (first, retry) = (key("first", None), Duration::from_secs(60));
        let no = Denial::of_pool(24, "no");
        let add = |denials: &mut Denials, seconds, key: &AccountKey| {
            denials.add(at(seconds), 0, key, &no, retry);
        };
        add(&mut denials, 0, &first);
        assert_eq!(denials.find(at(59), 0, &first, retry), Some(no.clone()));
        assert_eq!(denials.find(at(60), 0, &first, retry), None);
        assert_eq!(denials.find(at(0), 1, &first, retry), None, "another pool");
        add(&mut denials, 61, &first);
        for number in 0..DENIED_MAX - 1 {
            add(&mut denials, 62, &key(&number.to_string(), None));
        }
        assert_eq!(denials.find(at(62), 0, &first, retry), Some(no.clone()));
        add(&mut denials, 62, &key("one more", None));
        assert_eq!(denials.find(at(62), 0, &first, retry), None);
        assert_eq!(
            (denials.known.len(), denials.order.len()),
            (DENIED_MAX, DENIED_MAX)
        );
    }

    #[test]
    fn a_name_that_is_denied_again_after_a_long_time_waits_no_longer_than_at_first() {
        let mut denials = Denials::new(1);
        let (key, retry) = (key("a", None), Duration::from_secs(60));
        let no = Denial::of_pool(24, "no");
        let mut wait_from = |seconds| {
            denials.add(at(seconds), 0, &key, &no, retry);
            let over = |wait: &u64| denials.find(at(seconds + wait), 0, &key, retry).is_none();
            (0..).find(over).unwrap()
        };
        let waits = [0, 60, 300, 780, 1739].map(&mut wait_from);
        assert_eq!(waits, [60, 120, 60, 60, 60]);
        let waits = [1739 + 119, 1739 + 119 + 239].map(wait_from);
        assert_eq!(waits, [120, 240]);
    }

    #[test]
    fn a_no_without_a_reason_has_ours() {
        let bare = Denial::of_pool(20, "Rejected by the pool");
        assert_eq!(
            (bare.code(), bare.text()),
            (24, Reject::WorkerDenied.text())
        );
        assert_eq!(bare.said(), "");
        let said = Denial::of_pool(-3, "ban\u{7}ned");
        assert_eq!((said.code(), said.text()), (-3, "ban ned"));
        assert_eq!(Denial::from(Reject::NoPool).code(), 24);
    }
}
