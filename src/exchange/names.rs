//! The names that miners have at the pools, where the template gives each one of its own.
//!
//! A pool takes shares under a name only on a connection that has authorized it. So each worker of a miner
//! has an *account* (its name, and what else the template and the mode ask for), and each link knows which
//! accounts its pool has authorized on this connection. A miner's authorize is answered when its pool has
//! answered ours. Where its miners come to another connection (the link was lost and is back, or another one
//! takes over) all their names are asked for again at once; a share whose name is not answered yet is held
//! until it is, and shares that go out for the second time wait for the names of all. A name that is denied
//! then closes its miners: they come again, and are refused from memory until the pool may be asked again.
//!
//! With one name for all (the template is fixed) nothing of this is there, and nothing is looked up.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::{CloseHow, CloseReason, Exchange, MinerToken};
use crate::exchange::held::HeldShares;
use crate::exchange::link::{LinkState, Role};
use crate::exchange::miners::Stage;
use crate::proto::pool::Verdict;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::worker_name::{MinerAddress, WorkerName};

/// Names that one link asks its pool for at a time; the others wait for their turn.
const ASKED_MAX: usize = 256;

/// How long a name waits for the pool's answer, and with it the shares under it.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Denials that are remembered. Past it the pool is asked again.
const DENIED_MAX: usize = 16_384;

/// Names one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(u32);

/// What makes two accounts one.
#[derive(Clone, PartialEq, Eq, Hash)]
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

#[derive(Debug)]
struct Account {
    key: AccountKey,
    miners: BTreeSet<MinerToken>,
}

/// The accounts of all miners of an exchange.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: HashMap<AccountId, Account, FixedState>,
    by_key: HashMap<AccountKey, AccountId, FixedState>,
    of_miner: HashMap<MinerToken, Vec<AccountId>, FixedState>,
    /// Pool and account that were denied, and when.
    denied: HashMap<u64, Duration, FixedState>,
    last: u32,
}

impl Accounts {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = || FixedState::with_seed(seed);
        Self {
            accounts: HashMap::with_hasher(hasher()),
            by_key: HashMap::with_hasher(hasher()),
            of_miner: HashMap::with_hasher(hasher()),
            denied: HashMap::with_hasher(hasher()),
            last: 0,
        }
    }

    /// The account under this key, for this miner too.
    pub(super) fn open(&mut self, key: AccountKey, miner: MinerToken) -> AccountId {
        let id = *self.by_key.entry(key.clone()).or_insert_with(|| {
            self.last = self.last.wrapping_add(1);
            AccountId(self.last)
        });
        let account = self.accounts.entry(id).or_insert_with(|| Account {
            key,
            miners: BTreeSet::new(),
        });
        account.miners.insert(miner);
        let of_miner = self.of_miner.entry(miner).or_default();
        if !of_miner.contains(&id) {
            of_miner.push(id);
        }
        id
    }

    /// The account of this worker of a miner.
    pub(super) fn find(&self, miner: MinerToken, worker: &str) -> Option<AccountId> {
        let of_miner = self.of_miner.get(&miner)?;
        let is_it = |id: &&AccountId| {
            let account = self.accounts.get(id);
            account.is_some_and(|account| *account.key.worker == *worker)
        };
        of_miner.iter().find(is_it).copied()
    }

    /// A miner has this account no more.
    fn close(&mut self, miner: MinerToken, id: AccountId) {
        if let Some(of_miner) = self.of_miner.get_mut(&miner) {
            of_miner.retain(|other| *other != id);
            if of_miner.is_empty() {
                self.of_miner.remove(&miner);
            }
        }
        if let Some(account) = self.accounts.get_mut(&id) {
            account.miners.remove(&miner);
            if account.miners.is_empty() {
                self.by_key.remove(&account.key);
                self.accounts.remove(&id);
            }
        }
    }

    /// A miner is gone, and its accounts with it where nobody else has them.
    pub(super) fn forget(&mut self, miner: MinerToken) {
        for id in self.of_miner.remove(&miner).unwrap_or_default() {
            self.close(miner, id);
        }
    }

    /// Appends the name of an account at a pool.
    pub(super) fn write_name(
        &self,
        out: &mut String,
        template: &WorkerName,
        pool_worker: &str,
        id: AccountId,
    ) {
        if let Some(Account { key, .. }) = self.accounts.get(&id) {
            template.write(out, pool_worker, &key.worker, key.address);
        }
    }

    fn denial(&self, pool: usize, id: AccountId) -> Option<u64> {
        let account = self.accounts.get(&id)?;
        Some(self.denied.hasher().hash_one((pool, &account.key)))
    }

    fn is_denied(&self, now: Now, pool: usize, id: AccountId, retry: Duration) -> bool {
        let at = self.denial(pool, id).and_then(|key| self.denied.get(&key));
        at.is_some_and(|&at| now.since(at) < retry)
    }

    fn deny(&mut self, now: Now, pool: usize, id: AccountId, retry: Duration) {
        let Some(key) = self.denial(pool, id) else {
            return;
        };
        if self.denied.len() >= DENIED_MAX {
            self.denied.retain(|_, at| now.since(*at) < retry);
        }
        if self.denied.len() < DENIED_MAX {
            self.denied.insert(key, now.since_start);
        }
    }
}

/// What a pool said of an account on this connection.
#[derive(Debug)]
enum Standing {
    /// It was asked, or will be; these miners wait for the answer to their authorize.
    Asked(Vec<MinerToken>),
    Allowed,
}

/// The names of one link.
#[derive(Debug, Default)]
pub(crate) struct LinkNames {
    standing: BTreeMap<AccountId, Standing>,
    /// By our request id: which account, and since when.
    asked: BTreeMap<u64, (AccountId, Duration)>,
    to_ask: VecDeque<AccountId>,
    /// Shares whose names are not answered yet.
    pub(crate) held: HeldShares,
    /// Since when shares that go out once more wait for their names.
    gated: Option<Duration>,
}

impl LinkNames {
    /// The connection is over: what its pool said of names is too.
    pub(crate) fn end_connection(&mut self) {
        self.standing.clear();
        self.asked.clear();
        self.to_ask.clear();
        self.gated = None;
    }

    /// Whether no share may go out yet.
    pub(crate) const fn is_gated(&self) -> bool {
        self.gated.is_some()
    }

    /// Whether a share may go out under this name.
    pub(crate) fn allows(&self, id: AccountId) -> bool {
        matches!(self.standing.get(&id), Some(Standing::Allowed))
    }
}

/// What comes of asking for a name.
pub(super) enum Asked {
    /// The pool has allowed it.
    Allowed,
    /// It denied it not long ago.
    Denied,
    /// Its answer will come.
    Waits,
}

impl Exchange {
    /// The link whose pool decides: the miner's own, or the one that it will most likely have.
    pub(super) fn link_to_ask(&mut self, token: MinerToken) -> Option<usize> {
        match self.miners.get_mut(token)?.stage {
            Stage::Placed { link, .. } => self.links[link].is_up().then_some(link),
            _ => self
                .links
                .iter()
                .position(|link| link.is_up() && link.role == Role::Serving && !link.pass_through),
        }
    }

    /// Asks a link's pool for a name, unless it has answered already. `waiter` is told when it has.
    pub(super) fn ask_name(
        &mut self,
        now: Now,
        index: usize,
        id: AccountId,
        waiter: Option<MinerToken>,
    ) -> Asked {
        let retry = self.settings.authorize.denied_retry;
        let Some(accounts) = &self.accounts else {
            return Asked::Denied;
        };
        let link = &mut self.links[index];
        match link.names.standing.get_mut(&id) {
            Some(Standing::Allowed) => return Asked::Allowed,
            Some(Standing::Asked(waiters)) => {
                waiters.extend(waiter);
                return Asked::Waits;
            }
            None => {}
        }
        if accounts.is_denied(now, link.pool, id, retry) {
            return Asked::Denied;
        }
        let waiters = waiter.into_iter().collect();
        link.names.standing.insert(id, Standing::Asked(waiters));
        link.names.to_ask.push_back(id);
        self.ask_next(now, index);
        Asked::Waits
    }

    /// Sends what a link has to ask, as far as its pool may be asked now.
    fn ask_next(&mut self, now: Now, index: usize) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        let link = &mut self.links[index];
        let pool = &self.settings.pools[link.pool];
        while link.names.asked.len() < ASKED_MAX {
            let Some(id) = link.names.to_ask.pop_front() else {
                return;
            };
            let Some(Account { key, .. }) = accounts.accounts.get(&id) else {
                link.names.standing.remove(&id);
                continue;
            };
            self.name.clear();
            let template = &self.settings.authorize.worker_name;
            accounts.write_name(&mut self.name, template, &pool.worker, id);
            let password = key.password.as_deref().unwrap_or(&pool.password);
            let request = link.pending.reserve_id();
            // While shares wait nothing of them is written, so the names go ahead of all. Else they go
            // behind, for a share may be written in part.
            let out = if link.names.is_gated() {
                &mut link.handshake
            } else {
                link.output.buffer()
            };
            self.dialect
                .write_authorize(out, request, &self.name, password);
            link.names.asked.insert(request, (id, now.since_start));
            self.counters.names_asked += 1;
        }
    }

    /// A pool answered something: takes it where it was about a name.
    pub(super) fn handle_name_answer(
        &mut self,
        now: Now,
        index: usize,
        request: u64,
        verdict: &Verdict<'_>,
    ) -> bool {
        let link = &mut self.links[index];
        let Some((id, _)) = link.names.asked.remove(&request) else {
            return false;
        };
        let is_allowed = matches!(verdict, Verdict::Accepted);
        let retry = self.settings.authorize.denied_retry;
        let pool = link.pool;
        if !is_allowed && let Some(accounts) = &mut self.accounts {
            accounts.deny(now, pool, id, retry);
        }
        self.settle_name(
            now,
            index,
            id,
            if is_allowed {
                None
            } else {
                Some(Reject::WorkerDenied)
            },
        );
        self.ask_next(now, index);
        self.open_gate(now, index);
        true
    }

    /// It is known what becomes of a name on this link: it is allowed, or refused for this reason.
    fn settle_name(&mut self, now: Now, index: usize, id: AccountId, refused: Option<Reject>) {
        let names = &mut self.links[index].names;
        let standing = match refused {
            None => names.standing.insert(id, Standing::Allowed),
            Some(_) => names.standing.remove(&id),
        };
        let Some(Standing::Asked(waiters)) = standing else {
            return;
        };
        for token in waiters {
            self.handle_worker_named(now, token, id, refused);
        }
        let held = self.links[index].names.held.take_of(id);
        for share in held {
            let sent = match refused {
                None => self.send_held_share(now, index, &share),
                Some(reject) => Err(reject),
            };
            if let Err(reject) = sent {
                self.refuse_held(&share, reject);
            }
        }
        // Who mined under it on another connection can't any more.
        if refused == Some(Reject::WorkerDenied) {
            let account = self.accounts.as_ref().and_then(|it| it.accounts.get(&id));
            let miners: Vec<MinerToken> = account
                .map(|account| account.miners.iter().copied().collect())
                .unwrap_or_default();
            for token in miners {
                let is_here = self
                    .miners
                    .get_mut(token)
                    .is_some_and(|miner| miner.mines_on(index) && !miner.pending_authorize);
                if is_here {
                    self.close_miner(token, CloseHow::Graceful, CloseReason::Denied);
                }
            }
        }
    }

    /// Asks for the names of all miners of a link, and of the shares that it has yet to send.
    pub(super) fn ask_names_of(&mut self, now: Now, index: usize) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        if !self.links[index].is_up() {
            return;
        }
        let mut wanted = BTreeSet::new();
        for miner in self.miners.iter() {
            if miner.mines_on(index) {
                wanted.extend(accounts.of_miner.get(&miner.token).into_iter().flatten());
            }
        }
        let link = &mut self.links[index];
        wanted.extend(link.names.held.accounts());
        if !link.output.unwritten().is_empty() {
            wanted.extend(link.pending.iter_mut().filter_map(|share| share.account));
            link.names.gated = Some(now.since_start);
        }
        for id in wanted {
            if let Asked::Denied = self.ask_name(now, index, id, None) {
                self.links[index]
                    .names
                    .standing
                    .insert(id, Standing::Asked(Vec::new()));
                self.settle_name(now, index, id, Some(Reject::WorkerDenied));
            }
        }
        self.open_gate(now, index);
    }

    /// Asks for the names of one miner on its own link, where it was not there before.
    pub(super) fn ask_names_of_miner(&mut self, now: Now, token: MinerToken) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        if self.pending_authorizes.contains_key(&token) {
            return;
        }
        let ids = accounts.of_miner.get(&token).cloned().unwrap_or_default();
        let link = self.miners.get_mut(token).and_then(|miner| miner.link());
        let Some(index) = link.filter(|&index| self.links[index].is_up()) else {
            return;
        };
        for id in ids {
            if let Asked::Denied = self.ask_name(now, index, id, None) {
                return self.close_miner(token, CloseHow::Graceful, CloseReason::Denied);
            }
        }
    }

    /// Lets shares go that waited for their names, when these are known or have waited for too long.
    fn open_gate(&mut self, now: Now, index: usize) {
        let link = &mut self.links[index];
        let Some(since) = link.names.gated else {
            return;
        };
        let waits = !link.names.asked.is_empty() || !link.names.to_ask.is_empty();
        if waits && now.since(since) < ANSWER_WAIT {
            return;
        }
        link.names.gated = None;
        link.took_bytes = now.since_start;
        let names = &link.names;
        let refused = link
            .pending
            .ids_where(|share| share.account.is_some_and(|id| !names.allows(id)));
        if refused.is_empty() {
            return;
        }
        for id in refused {
            if let Some(share) = self.links[index].pending.take(id) {
                self.refuse_share(index, &share, Reject::UnauthorizedWorker);
            }
        }
        let link = &mut self.links[index];
        link.output.rewind(&mut link.pending);
    }

    /// What time does to the names of a link.
    pub(super) fn tick_names(&mut self, now: Now) {
        if self.accounts.is_none() {
            return;
        }
        for index in 0..self.links.len() {
            let is_late = |since: Duration| now.since(since) >= ANSWER_WAIT;
            let names = &self.links[index].names;
            let late: Vec<u64> = names
                .asked
                .iter()
                .filter(|(_, (_, since))| is_late(*since))
                .map(|(request, _)| *request)
                .collect();
            for request in late {
                if let Some((id, _)) = self.links[index].names.asked.remove(&request) {
                    self.settle_name(now, index, id, Some(Reject::PoolSilent));
                }
            }
            if matches!(self.links[index].state, LinkState::Up(..)) {
                self.ask_next(now, index);
                self.open_gate(now, index);
            }
        }
        self.ask_for_waiting(now);
    }

    /// Drops the account that a worker was denied under.
    pub(super) fn close_account(&mut self, token: MinerToken, worker: &str) {
        if let Some(accounts) = &mut self.accounts
            && let Some(id) = accounts.find(token, worker)
        {
            accounts.close(token, id);
        }
    }
}
