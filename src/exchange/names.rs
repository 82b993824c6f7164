//! What pools say of miners' names, where the template gives each worker one of its own.
//!
//! A pool takes shares under a name only on a connection that has authorized it. So each link knows which
//! accounts (`accounts.rs`) its pool has authorized on this connection. A miner's authorize is answered when
//! its pool has answered ours. Where its miners come to another connection (the link was lost and is back,
//! or another one takes over) all their names are asked for again at once, first of all those of shares that
//! wait; a share whose name is not answered yet is held until it is. Shares that go out for the second time
//! wait until all of *their* names are answered: the *gate*. A name that is denied then closes the miners
//! that have no other: they come again, and are refused from memory until the pool may be asked again.
//!
//! ```text
//! miners that mine, shares ──▶ returning ──┐
//!                                          ├──▶ asked, 256 at the most ──▶ allowed | denied | silent for 5 s
//! newcomers ──▶ newcomers, at a pace ──────┘
//! ```
//!
//! **The pace of newcomers.** A link has credit for 64 of them, and earns 8 in a second. A name that its pool
//! takes gives back what it cost and a quarter more. So a farm whose names are good comes in as fast as its
//! pool answers 256 at a time, up to a ceiling, also where one in five is set up wrongly; and those who
//! guess names, however many they are, are 8 requests in a second to a pool that may send us away for them.
//! Of one address it is asked for none while too many of its names were denied (`guesses.rs`).
//!
//! With one name for all (the template is fixed) nothing of this is there, and nothing is looked up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, MinerToken};
use crate::exchange::accounts::{AccountId, Denial};
use crate::exchange::authorize::Waiter;
use crate::exchange::held::HeldShares;
use crate::exchange::link::{LinkState, Role};
use crate::exchange::miners::Stage;
use crate::proto::pool::Verdict;
use crate::proto::share::Reject;
use crate::proto::time::Now;

/// Names that one link asks its pool for at a time; the others wait for their turn.
const ASKED_MAX: usize = 256;

/// What it costs to ask a pool for a newcomer's name.
const COST: usize = 4;

/// What a link has again when the pool takes that name.
const TAKEN: usize = 5;

/// What a link earns in each tick, of which there are four in a second.
const EARNED_PER_TICK: usize = 2 * COST;

/// What it has at most.
const CREDIT_MAX: usize = 64 * COST;

/// The ceiling: names of newcomers for which the links of all shards ask in each tick, one link of each. So
/// 65,536 miners that come at once are all asked for in 17 seconds. A shard's part is [`PART_MIN`]
/// at least.
const NEWCOMERS_PER_TICK_MAX: usize = 1000;

/// See there.
const PART_MIN: usize = 125;

/// How long a name waits for the pool's answer, and with it the shares under it.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at what nothing names any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What a pool said of an account on this connection.
#[derive(Debug)]
enum Standing {
    /// It was asked, or will be; these wait for the answer.
    Asked(Turn, Vec<Waiter>),
    Allowed,
}

/// When a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Behind the others, at a pace.
    Newcomer,
    /// As soon as one more may be asked.
    Returning,
    /// It was.
    Past,
}

/// A name that its pool was asked for.
#[derive(Clone, Copy, Debug)]
struct Question {
    account: AccountId,
    since: Duration,
    /// The address of who came with it, for a newcomer's; it was paid for out of their credit.
    home: Option<u64>,
}

/// The names of one link.
#[derive(Debug)]
pub(crate) struct LinkNames {
    standing: BTreeMap<AccountId, Standing>,
    /// By our request id.
    asked: BTreeMap<u64, Question>,
    /// To be asked for: of miners that mine, or of shares.
    returning: VecDeque<AccountId>,
    /// To be asked for behind those, and at a pace, each with the address of who came with it. Some of them
    /// may have been asked for since.
    newcomers: VecDeque<(AccountId, u64)>,
    /// What there is to ask for these, at [`COST`] each.
    credit: usize,
    /// How many may before the next tick, whatever becomes known.
    left: usize,
    /// Shares whose names are not answered yet.
    pub(crate) held: HeldShares,
    /// Names that are not answered yet, of shares that are to go out once more.
    gate: BTreeSet<AccountId>,
    /// Those of them that were refused: their shares are, too, when the gate opens.
    refused: BTreeMap<AccountId, Reject>,
    /// Whether the pool has answered for any name on this connection.
    has_answered: bool,
    /// Names in a row for which it did not, and since when the first of them had waited.
    silent: Option<(Duration, u32)>,
}

impl Default for LinkNames {
    fn default() -> Self {
        Self {
            standing: BTreeMap::new(),
            asked: BTreeMap::new(),
            returning: VecDeque::new(),
            newcomers: VecDeque::new(),
            credit: CREDIT_MAX,
            left: PART_MIN,
            held: HeldShares::default(),
            gate: BTreeSet::new(),
            refused: BTreeMap::new(),
            has_answered: false,
            silent: None,
        }
    }
}

impl LinkNames {
    /// The connection is over: what its pool said of names is too.
    pub(crate) fn end_connection(&mut self) {
        self.standing.clear();
        self.asked.clear();
        self.returning.clear();
        self.newcomers.clear();
        self.gate.clear();
        self.refused.clear();
        self.has_answered = false;
        self.silent = None;
    }

    /// Whether the pool of this connection has no word for names: of several that it was asked for it has
    /// answered not one for this long. Some pools answer for those alone that they know, so one answer is
    /// enough.
    pub(crate) fn is_silent(&self, now: Duration, no_reply: Duration) -> bool {
        let silent = self.silent.filter(|_| !self.has_answered);
        silent.is_some_and(|(since, names)| names > 1 && now.saturating_sub(since) >= no_reply)
    }

    /// Whether no share may go out yet.
    pub(crate) fn is_gated(&self) -> bool {
        !self.gate.is_empty()
    }

    /// Whether a share may go out under this name.
    pub(crate) fn allows(&self, id: AccountId) -> bool {
        matches!(self.standing.get(&id), Some(Standing::Allowed))
    }

    /// How much is known, or to be known.
    pub(super) fn len(&self) -> usize {
        self.standing.len() + self.returning.len() + self.newcomers.len()
    }

    /// The next name that may be asked for now, with its address where it is a newcomer's. Those of an
    /// address of which none may be are put into `refused`.
    fn next_to_ask(
        &mut self,
        may_ask: impl Fn(u64) -> bool,
        refused: &mut Vec<AccountId>,
    ) -> Option<(AccountId, Option<u64>)> {
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        while let Some(id) = self.returning.pop_front() {
            if self.has_turn(id, Turn::Returning) {
                return Some((id, None));
            }
        }
        while self.credit >= COST && self.left > 0 {
            let (id, home) = self.newcomers.pop_front()?;
            if !self.has_turn(id, Turn::Newcomer) {
                continue;
            }
            if !may_ask(home) {
                refused.push(id);
            } else {
                self.credit -= COST;
                self.left -= 1;
                return Some((id, Some(home)));
            }
        }
        None
    }

    /// Whether a name waits for this turn; then it is past.
    fn has_turn(&mut self, id: AccountId, wanted: Turn) -> bool {
        match self.standing.get_mut(&id) {
            Some(Standing::Asked(turn, _)) if *turn == wanted => {
                *turn = Turn::Past;
                true
            }
            _ => false,
        }
    }

    /// A tick earns newcomers their pace; `parts` shards have a part of the ceiling each.
    fn earn(&mut self, parts: u32) {
        self.credit = (self.credit + EARNED_PER_TICK).min(CREDIT_MAX);
        let part = NEWCOMERS_PER_TICK_MAX / parts.max(1) as usize;
        self.left = part.max(PART_MIN);
    }

    /// Takes out the names that wait for their answers for too long.
    fn take_late(&mut self, now: Now) -> Vec<AccountId> {
        let is_late = |asked: &Question| now.since(asked.since) >= ANSWER_WAIT;
        let late = self.asked.iter().filter(|(_, asked)| is_late(asked));
        let late: Vec<u64> = late.map(|(request, _)| *request).collect();
        let taken = late.iter().filter_map(|request| self.asked.remove(request));
        let taken: Vec<Question> = taken.collect();
        for asked in &taken {
            let (since, names) = self.silent.unwrap_or((asked.since, 0));
            self.silent = Some((since, names.saturating_add(1)));
        }
        taken.into_iter().map(|asked| asked.account).collect()
    }
}

/// What comes of asking for a name.
pub(super) enum Asked {
    /// The pool has allowed it.
    Allowed,
    /// It denied it not long ago.
    Denied(Denial),
    /// Its answer will come.
    Waits,
}

/// What is said of a share whose name is not taken.
fn reject_of_share(denial: &Denial) -> Reject {
    match denial.reject {
        Reject::NameUnanswered => Reject::PoolSilent,
        reject => reject,
    }
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

    /// Asks a link's pool for a name, unless it has answered already. `waiter` is told when it has; without
    /// one it is for a miner that mines, or for a share.
    pub(super) fn ask_name(
        &mut self,
        now: Now,
        index: usize,
        id: AccountId,
        waiter: Option<Waiter>,
    ) -> Asked {
        let retry = self.settings.authorize.denied_retry;
        let home = waiter.and_then(|waiter| self.home_of_waiter(&waiter));
        let Some(accounts) = &self.accounts else {
            debug_assert!(false, "there are accounts where one is named");
            return Asked::Allowed;
        };
        let link = &mut self.links[index];
        match link.names.standing.get_mut(&id) {
            Some(Standing::Allowed) => return Asked::Allowed,
            Some(Standing::Asked(turn, waiters)) => {
                // Who mines, and its shares, do not wait behind newcomers that came first.
                let goes_ahead = waiter.is_none() && *turn == Turn::Newcomer;
                waiters.extend(waiter);
                if goes_ahead {
                    *turn = Turn::Returning;
                    link.names.returning.push_back(id);
                    self.ask_next(now, index);
                }
                return Asked::Waits;
            }
            None => {}
        }
        if let Some(denial) = accounts.denial(now, link.pool, id, retry) {
            return Asked::Denied(denial);
        }
        let turn = match home {
            Some(home) if !accounts.guesses.may_ask(now, home) => {
                return Asked::Denied(Reject::TooManyDenied.into());
            }
            Some(home) => {
                link.names.newcomers.push_back((id, home));
                Turn::Newcomer
            }
            None => {
                link.names.returning.push_back(id);
                Turn::Returning
            }
        };
        let waiters = waiter.into_iter().collect();
        link.names
            .standing
            .insert(id, Standing::Asked(turn, waiters));
        self.ask_next(now, index);
        Asked::Waits
    }

    /// Stands for the address from which an authorize came that waits.
    fn home_of_waiter(&self, waiter: &Waiter) -> Option<u64> {
        let pending = self.pending_authorizes.get(waiter)?;
        Some(self.home(pending.address()))
    }

    /// Sends what a link has to ask, as far as its pool may be asked now.
    fn ask_next(&mut self, now: Now, index: usize) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        let link = &mut self.links[index];
        let pool = &self.settings.pools[link.pool];
        let may_ask = |home| accounts.guesses.may_ask(now, home);
        let mut refused = Vec::new();
        while let Some((id, home)) = link.names.next_to_ask(may_ask, &mut refused) {
            self.name.clear();
            let template = &self.settings.authorize.worker_name;
            accounts.write_name(&mut self.name, template, &pool.worker, id);
            let password = accounts.password(id).unwrap_or(&pool.password);
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
            let question = Question {
                account: id,
                since: now.since_start,
                home,
            };
            link.names.asked.insert(request, question);
            self.counters.names_asked += 1;
        }
        for id in refused {
            self.settle_name(now, index, id, Some(&Reject::TooManyDenied.into()));
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
        let Some(asked) = link.names.asked.remove(&request) else {
            return false;
        };
        let id = asked.account;
        link.names.has_answered = true;
        let denial = match verdict {
            Verdict::Accepted => None,
            Verdict::Rejected { code, text } => Some(Denial::of_pool(*code, text)),
        };
        if asked.home.is_some() && denial.is_none() {
            link.names.credit = (link.names.credit + TAKEN).min(CREDIT_MAX);
        }
        let pool = link.pool;
        if let Some(accounts) = &mut self.accounts {
            let is_news = match &denial {
                None => {
                    accounts.take(pool, id);
                    true
                }
                Some(denial) => accounts.deny(now, pool, id, denial),
            };
            // Who is set up wrongly asks again and again for the same name, and is no guesser.
            if let Some(home) = asked.home.filter(|_| is_news) {
                accounts.guesses.note(now, home, denial.is_none());
            }
        }
        self.settle_name(now, index, id, denial.as_ref());
        self.ask_next(now, index);
        true
    }

    /// It is known what becomes of a name on this link: it is allowed, or denied.
    fn settle_name(&mut self, now: Now, index: usize, id: AccountId, denial: Option<&Denial>) {
        let names = &mut self.links[index].names;
        let standing = match denial {
            None => names.standing.insert(id, Standing::Allowed),
            Some(_) => names.standing.remove(&id),
        };
        self.settle_gate(now, index, id, denial);
        if let Some(Standing::Asked(_, waiters)) = standing {
            for waiter in waiters {
                self.handle_worker_named(now, waiter, denial);
            }
        }
        for share in self.links[index].names.held.take_of(id) {
            if let Some(denial) = denial {
                self.refuse_held(&share, reject_of_share(denial));
            } else if let Err(reject) = self.send_held_share(now, index, &share) {
                self.refuse_held(&share, reject);
                self.judge_refused(now, share.miner, share.worker, reject);
            }
        }
        // Who mined under it on another connection can't any more.
        if denial.is_some_and(|denial| denial.reject == Reject::WorkerDenied)
            && let Some(accounts) = &self.accounts
        {
            let miners: Vec<MinerToken> = accounts.miners_of(id).collect();
            for token in miners {
                let miner = self.miners.get_mut(token);
                if miner.is_some_and(|miner| miner.mines_on(index)) {
                    self.close_denied(now, index, token);
                }
            }
        }
    }

    /// Closes a miner if the pool of its link has denied all of its workers. While it has another one, the
    /// shares of those that are denied are refused, and their names are asked for again in time.
    fn close_denied(&mut self, now: Now, index: usize, token: MinerToken) {
        let retry = self.settings.authorize.denied_retry;
        let pool = self.links[index].pool;
        let Some(accounts) = &self.accounts else {
            return;
        };
        let is_denied = |&id: &AccountId| accounts.denial(now, pool, id, retry).is_some();
        if accounts.of(token).iter().all(is_denied) {
            self.close_miner(token, CloseHow::Graceful, CloseReason::Denied);
        }
    }

    /// A link is ready: asks for the names of all its miners and of the shares that it has yet to send, and
    /// lets no share out that went out before until those of such shares are answered.
    pub(super) fn ask_names_when_ready(&mut self, now: Now, index: usize) {
        if self.accounts.is_none() {
            return;
        }
        let link = &mut self.links[index];
        debug_assert!(
            !link.names.is_gated() && link.names.asked.is_empty(),
            "what an earlier connection knew is forgotten"
        );
        if !link.output.unwritten().is_empty() {
            link.names.gate = link
                .pending
                .iter_mut()
                .filter_map(|share| share.account)
                .collect();
        }
        let of_shares: Vec<AccountId> = link.names.gate.iter().copied().collect();
        self.ask_names(now, index, of_shares);
        self.ask_names_of(now, index);
    }

    /// Asks for the names of the shares that a link holds, and of all its miners.
    pub(super) fn ask_names_of(&mut self, now: Now, index: usize) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        let link = &self.links[index];
        if !link.is_up() {
            return;
        }
        let mut wanted: Vec<AccountId> = link.names.held.accounts().collect();
        for miner in self.miners.iter() {
            if miner.mines_on(index) {
                wanted.extend(accounts.of(miner.token));
            }
        }
        self.ask_names(now, index, wanted);
    }

    fn ask_names(&mut self, now: Now, index: usize, wanted: Vec<AccountId>) {
        for id in wanted {
            if let Asked::Denied(denial) = self.ask_name(now, index, id, None) {
                self.settle_name(now, index, id, Some(&denial));
            }
        }
    }

    /// How many names are known, each for itself and for each link whose pool was asked.
    pub(super) fn names_count(&self) -> usize {
        let Some(accounts) = &self.accounts else {
            return 0;
        };
        let links: usize = self.links.iter().map(|link| link.names.len()).sum();
        accounts.len() + links
    }

    /// Asks for the names of one miner on its own link, where it was not there before.
    pub(super) fn ask_names_of_miner(&mut self, now: Now, token: MinerToken) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        let ids = accounts.of(token).to_vec();
        let link = self.miners.get_mut(token).and_then(|miner| miner.link());
        let Some(index) = link.filter(|&index| self.links[index].is_up()) else {
            return;
        };
        for id in ids {
            if let Asked::Denied(_) = self.ask_name(now, index, id, None) {
                self.close_denied(now, index, token);
            }
        }
    }

    /// One of the names is answered for which shares wait that went out before. When all are, those that
    /// are left go out.
    fn settle_gate(&mut self, now: Now, index: usize, id: AccountId, denial: Option<&Denial>) {
        let link = &mut self.links[index];
        if !link.names.gate.remove(&id) {
            return;
        }
        if let Some(denial) = denial {
            link.names.refused.insert(id, reject_of_share(denial));
        }
        if !link.names.gate.is_empty() {
            return;
        }
        link.took_bytes = now.since_start;
        let refused = std::mem::take(&mut link.names.refused);
        if refused.is_empty() {
            return;
        }
        // Once for all names: there may be as many of them as shares.
        let is_refused = |account: Option<AccountId>| refused.get(&account?).copied();
        for request in link
            .pending
            .ids_where(|share| is_refused(share.account).is_some())
        {
            if let Some(share) = self.links[index].pending.take(request)
                && let Some(reject) = is_refused(share.account)
            {
                self.refuse_share(index, &share, reject);
            }
        }
        let link = &mut self.links[index];
        link.output.rewind(&mut link.pending);
    }

    /// What time does to the names of all links.
    pub(super) fn tick_names(&mut self, now: Now) {
        if self.accounts.is_none() {
            return;
        }
        for index in 0..self.links.len() {
            let names = &mut self.links[index].names;
            names.earn(self.settings.part.1);
            for id in names.take_late(now) {
                self.settle_name(now, index, id, Some(&Reject::NameUnanswered.into()));
            }
            if matches!(self.links[index].state, LinkState::Up(..)) {
                self.ask_next(now, index);
            }
            let reply_timeout = self.settings.limits.reply_timeout;
            if let Some(deadline) = now.since_start.checked_sub(reply_timeout) {
                while let Some(share) = self.links[index].names.held.take_older(deadline) {
                    self.refuse_held(&share, Reject::PoolSilent);
                }
            }
        }
        self.ask_for_waiting(now);
        if now.since(self.names_swept) >= SWEEP_INTERVAL {
            self.names_swept = now.since_start;
            self.sweep_names();
        }
    }

    /// Forgets the accounts that nothing names any more, and what pools said of them.
    fn sweep_names(&mut self) {
        let Some(accounts) = &mut self.accounts else {
            return;
        };
        if accounts.unowned().is_empty() {
            return;
        }
        let mut unnamed = accounts.unowned().clone();
        for id in self
            .pending_authorizes
            .values()
            .filter_map(|it| it.account())
        {
            unnamed.remove(&id);
        }
        for link in &mut self.links {
            let shares = link.pending.iter_mut().filter_map(|share| share.account);
            let held = link.early.held.accounts();
            let held = held.chain(link.names.held.accounts());
            let asked = link.names.asked.values().map(|asked| asked.account);
            let asked = asked.chain(link.names.gate.iter().copied());
            for id in shares.chain(held).chain(asked) {
                unnamed.remove(&id);
            }
        }
        // Of those that stay, who asked may be gone.
        let is_there = |waiter: &Waiter| self.pending_authorizes.contains_key(waiter);
        for link in &mut self.links {
            for id in accounts.unowned() {
                if let Some(Standing::Asked(_, waiters)) = link.names.standing.get_mut(id) {
                    waiters.retain(is_there);
                }
            }
        }
        if unnamed.is_empty() {
            return;
        }
        for &id in &unnamed {
            accounts.free(id);
            for link in &mut self.links {
                link.names.standing.remove(&id);
            }
        }
        for link in &mut self.links {
            link.names.newcomers.retain(|&(id, _)| accounts.has(id));
            link.names.returning.retain(|&id| accounts.has(id));
        }
    }
}
