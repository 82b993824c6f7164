//! What pools say of miners' names, where the template gives each worker one of its own.
//!
//! A pool takes shares under a name only on a connection that has authorized it. So each link knows which
//! accounts (`accounts.rs`) its pool has authorized on this connection. A miner's authorize is answered when
//! its pool has answered ours. Where its miners come to another connection (the link was lost and is back,
//! or another one takes over) all their names are asked for again at once, first of all those of shares that
//! wait; a share whose name is not answered yet is held until it is, for as long as it would wait for its own
//! answer. Shares that go out for the second time wait until all of *their* names are answered: the *gate*.
//! It waits for no name to which the pool seems not to come. A name that is denied then closes the miners
//! that have no other: they come again, and are refused from memory until the pool may be asked again.
//!
//! Which name a pool is asked for next, and what becomes of one that it does not answer in time, is said in
//! `questions.rs`; what is remembered of names and addresses beyond a connection, in `repute.rs`.
//!
//! With one name for all (the template is fixed) nothing of this is there, and nothing is looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Letter, LinkEnd, MinerToken};
use crate::exchange::accounts::{AccountId, Denial};
use crate::exchange::authorize::Waiter;
use crate::exchange::held::HeldShares;
use crate::exchange::link::{LinkState, Role};
use crate::exchange::miners::Stage;
use crate::exchange::questions::{Asker, Joined, Questions};
use crate::exchange::repute::{CAREFUL_ENDS, DEAD_POOL_ENDS, MayAsk};
use crate::exchange::unanswered::{Open, Question};
use crate::proto::pool::Verdict;
use crate::proto::share::Reject;
use crate::proto::time::Now;

/// Between two looks at what nothing names any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The names of one link.
#[derive(Debug, Default)]
pub(crate) struct LinkNames {
    /// What its pool said, and what it is asked for.
    questions: Questions,
    /// Shares whose names are not answered yet.
    pub(crate) held: HeldShares,
    /// Names that are not answered yet, of shares that are to go out once more.
    gate: BTreeSet<AccountId>,
    /// Those of them that were refused: their shares are, too, when the gate opens.
    refused: BTreeMap<AccountId, Reject>,
}

impl LinkNames {
    /// The connection is over: what its pool said of names is too.
    pub(crate) fn end_connection(&mut self) {
        self.questions.end_connection();
        self.gate.clear();
        self.refused.clear();
    }

    /// See [`Unanswered::is_silent`](crate::exchange::unanswered::Unanswered::is_silent).
    pub(crate) fn is_silent(&self, now: Duration, no_reply: Duration) -> bool {
        self.questions.unanswered.is_silent(now, no_reply)
    }

    /// Whether no share may go out yet.
    pub(crate) fn is_gated(&self) -> bool {
        !self.gate.is_empty()
    }

    /// Whether a share may go out under this name.
    pub(crate) fn allows(&self, id: AccountId) -> bool {
        self.questions.allows(id)
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
        let asker = waiter.and_then(|waiter| self.asker(waiter));
        let Some(accounts) = &self.accounts else {
            debug_assert!(false, "there are accounts where one is named");
            return Asked::Allowed;
        };
        let link = &mut self.links[index];
        match link.names.questions.join(now.since_start, id, asker) {
            Some(Joined::Allowed) => return Asked::Allowed,
            Some(Joined::Waits) => return Asked::Waits,
            Some(Joined::GoesAhead) => {
                self.ask_next(now, index);
                return Asked::Waits;
            }
            None => {}
        }
        if let Some(denial) = accounts.denial(now, link.pool, id, retry) {
            return Asked::Denied(denial);
        }
        let is_known = accounts.was_taken(link.pool, id);
        if let Some((_, home)) = asker.filter(|_| !is_known)
            && accounts
                .repute
                .may_ask(now, link.pool, home, Open::default())
                == MayAsk::No
        {
            return Asked::Denied(Reject::TooManyDenied.into());
        }
        let ends = accounts.ends(link.pool, id);
        link.names.questions.queue(id, asker, is_known, ends);
        self.ask_next(now, index);
        Asked::Waits
    }

    /// An authorize that waits, and what stands for the address from which it came.
    fn asker(&self, waiter: Waiter) -> Option<Asker> {
        let pending = self.pending_authorizes.get(&waiter)?;
        Some((waiter, self.home(pending.address())))
    }

    /// Sends what a link has to ask, as far as its pool may be asked now.
    fn ask_next(&mut self, now: Now, index: usize) {
        let Some(accounts) = &self.accounts else {
            return;
        };
        let link = &mut self.links[index];
        let pool = &self.settings.pools[link.pool];
        let may_ask = |home, open| accounts.repute.may_ask(now, link.pool, home, open);
        let questions = &mut link.names.questions;
        let mut refused = Vec::new();
        while let Some(next) = questions.next(now.since_start, may_ask, &mut refused) {
            let id = next.account;
            self.name.clear();
            let template = &self.settings.authorize.worker_name;
            accounts.write_name(&mut self.name, template, &pool.worker, id);
            let password = accounts.password(id).unwrap_or(&pool.password);
            let request = link.pending.reserve_id();
            // While shares wait nothing of them is written, so the names go ahead of all. Else they go
            // behind, for a share may be written in part.
            let out = if link.names.gate.is_empty() {
                link.output.buffer()
            } else {
                &mut link.handshake
            };
            self.dialect
                .write_authorize(out, request, &self.name, password);
            questions.asked(request, next);
            self.counters.names_asked += 1;
        }
        for waiter in refused {
            self.handle_worker_named(now, waiter, Some(&Reject::TooManyDenied.into()));
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
        let denial = match verdict {
            Verdict::Accepted => None,
            Verdict::Rejected { code, text } => Some((*code, text)),
        };
        let is_allowed = denial.is_none();
        let questions = &mut link.names.questions;
        let Some(asked) = questions.take_answered(now.since_start, request, is_allowed) else {
            return false;
        };
        let denial = denial.map(|(code, text)| Denial::of_pool(code, text));
        match &denial {
            Some(denial) => self.remember_denial(now, index, &asked, denial),
            None => self.remember_taken(now, index, &asked),
        }
        self.settle_name(now, index, asked.account, denial.as_ref());
        self.ask_next(now, index);
        true
    }

    /// A pool has taken a name.
    fn remember_taken(&mut self, now: Now, index: usize, asked: &Question) {
        let pool = self.links[index].pool;
        if let Some(accounts) = &mut self.accounts {
            accounts.take(pool, asked.account);
            if let Some(home) = asked.home {
                accounts.repute.note(now, pool, home, true);
            }
        }
    }

    /// A pool has denied a name, or does not say in time whether it takes it. Where it is a stranger's its
    /// address is charged for it.
    fn remember_denial(&mut self, now: Now, index: usize, asked: &Question, denial: &Denial) {
        let retry = self.settings.authorize.denied_retry;
        let pool = self.links[index].pool;
        let Some(accounts) = &mut self.accounts else {
            return;
        };
        // Who is set up wrongly asks again and again for the same name, and is no guesser.
        let is_news = accounts.deny(now, pool, asked.account, denial, retry);
        if let Some(home) = asked.stranger().filter(|_| is_news) {
            accounts.repute.note(now, pool, home, false);
        }
    }

    /// It is known what becomes of a name on this link: it is allowed, or denied.
    fn settle_name(&mut self, now: Now, index: usize, id: AccountId, denial: Option<&Denial>) {
        let questions = &mut self.links[index].names.questions;
        let waiters = questions.settle(id, denial.is_none());
        self.settle_gate(now, index, id, denial);
        for waiter in waiters {
            self.handle_worker_named(now, waiter, denial);
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

    /// The pool does not answer in time. Who waits for the name is told so. The question stays for a while,
    /// as its answer may come yet, and shares wait for it: one that is refused is lost.
    fn tell_overdue(&mut self, now: Now, index: usize) {
        let silent = Denial::from(Reject::NameUnanswered);
        let unanswered = &mut self.links[index].names.questions.unanswered;
        let overdue = unanswered.overdue(now.since_start);
        let given_up = unanswered.given_up(now.since_start);
        // A pool that answers for no name at all speaks against none.
        let answers = unanswered.has_answered();
        for late in overdue {
            let questions = &mut self.links[index].names.questions;
            for waiter in questions.take_waiters(late.account) {
                self.handle_worker_named(now, waiter, Some(&silent));
            }
        }
        for late in given_up {
            let pool = self.links[index].pool;
            if let Some(accounts) = &mut self.accounts {
                // In all that time the pool did not hang up.
                accounts.forget_ends(pool, late.account);
            }
            if answers && late.stranger().is_some() {
                self.remember_denial(now, index, &late, &silent);
            }
            self.settle_name(now, index, late.account, Some(&silent));
        }
    }

    /// A connection ends. It may have done so because of a name: some pools answer like that.
    pub(super) fn note_names_at_end(&mut self, now: Now, index: usize, end: LinkEnd) {
        let Some(accounts) = &mut self.accounts else {
            return;
        };
        if !matches!(end, LinkEnd::Closed | LinkEnd::Reset) {
            return;
        }
        let retry = self.settings.authorize.denied_retry;
        let link = &self.links[index];
        let unanswered = &link.names.questions.unanswered;
        let suspect = unanswered.suspect();
        let ends_before = if unanswered.has_answered() {
            CAREFUL_ENDS
        } else {
            DEAD_POOL_ENDS
        };
        for asked in unanswered.all() {
            let id = asked.account;
            // Of those at which other connections ended before it was the only one: it is that name, as far
            // as can be known.
            if suspect == Some(id) && accounts.ends(link.pool, id) >= ends_before {
                let denial = Reject::NameUnanswered.into();
                let is_news = accounts.deny(now, link.pool, id, &denial, retry);
                if let Some(home) = asked.stranger().filter(|_| is_news) {
                    accounts.repute.note_hung_up(now, link.pool, home);
                }
            }
            accounts.note_end(link.pool, id);
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
            !link.names.is_gated() && link.names.questions.unanswered.is_empty(),
            "what an earlier connection knew is forgotten"
        );
        // A share that was answered while the link was lost goes out no more: for its name nobody asks.
        link.output.rewind(&mut link.pending);
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
        let links: usize = self
            .links
            .iter()
            .map(|link| link.names.questions.len())
            .sum();
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
        if denial.is_none() {
            // It may have been given up before, while shares wait for other names.
            link.names.refused.remove(&id);
        }
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

    /// Those who wait behind the gate wait no longer for a name to which the pool does not come, nor for one
    /// whose own shares have waited for too long.
    fn tick_gate(&mut self, now: Now, index: usize) {
        let link = &mut self.links[index];
        if link.names.gate.is_empty() {
            return;
        }
        let shares = link.pending.iter_mut().filter_map(|share| share.account);
        let shares: BTreeSet<AccountId> = shares.collect();
        let questions = &link.names.questions;
        let is_over =
            |id: &AccountId| !shares.contains(id) || questions.is_left(now.since_start, *id);
        let over: Vec<AccountId> = link.names.gate.iter().copied().filter(is_over).collect();
        let silent = Denial::from(Reject::NameUnanswered);
        for id in over {
            self.settle_gate(now, index, id, Some(&silent));
        }
    }

    /// What time does to the names of all links.
    pub(super) fn tick_names(&mut self, now: Now) {
        if self.accounts.is_none() {
            return;
        }
        for index in 0..self.links.len() {
            let questions = &mut self.links[index].names.questions;
            questions.tick(now.since_start, self.settings.part.1);
            self.tell_overdue(now, index);
            self.tick_gate(now, index);
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
        self.tell_names_taken();
        if now.since(self.names_swept) >= SWEEP_INTERVAL {
            self.names_swept = now.since_start;
            self.sweep_names();
        }
    }

    /// Tells the other shards which names pools took here.
    fn tell_names_taken(&mut self) {
        if let Some(accounts) = &mut self.accounts {
            let names = accounts.repute.take_news();
            if !names.is_empty() {
                self.tell_all(&Letter::NamesTaken(names));
            }
        }
    }

    /// Pools took these names on another shard.
    pub(super) fn handle_names_taken(&mut self, names: &[u64]) {
        if let Some(accounts) = &mut self.accounts {
            accounts.repute.hear(names);
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
            let asked = link.names.questions.accounts();
            let asked = asked.chain(link.names.gate.iter().copied());
            for id in shares.chain(held).chain(asked) {
                unnamed.remove(&id);
            }
        }
        // Of those that stay, who asked may be gone.
        let is_there = |waiter: &Waiter| self.pending_authorizes.contains_key(waiter);
        for link in &mut self.links {
            for &id in accounts.unowned() {
                link.names.questions.retain_waiters(id, is_there);
            }
        }
        if unnamed.is_empty() {
            return;
        }
        for &id in &unnamed {
            accounts.free(id);
            for link in &mut self.links {
                link.names.questions.forget(id);
            }
        }
        for link in &mut self.links {
            link.names.questions.sweep();
        }
    }
}
