//! What pools do, and when to dial them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Command, Exchange, Fact, LinkEnd, LinkKey};
use crate::exchange::jobs::NewJob;
use crate::exchange::link::{Link, LinkState, Redirect};
use crate::exchange::miner_side::{Answer, owed_to_newcomer};
use crate::exchange::miners::Stage;
use crate::exchange::outbox::Owed;
use crate::exchange::slots::{NonceSpace, Slots};
use crate::proto::dialect::{AGENT, PoolMessage, Subscribe, Subscription};
use crate::proto::extranonce::{SlotPlan, SlotWidth};
use crate::proto::job::Job;
use crate::proto::pool::{PoolEvent, PoolLogin, PoolSession, PoolState, Verdict};
use crate::proto::share::Reject;
use crate::proto::target::Target;
use crate::proto::time::Now;
use crate::wire::encode;

/// Lines of one connection that may be unreadable; the next one ends it. One odd line is no reason to
/// send a whole farm through a reconnect.
const UNREADABLE_LINES_MAX: u32 = 8;

impl Exchange {
    /// The shell connected a pool link.
    pub fn handle_link_connected(&mut self, now: Now, key: LinkKey) {
        let Some(link) = self.links.get_mut(key.index).filter(|link| link.key == key) else {
            return;
        };
        if !matches!(link.state, LinkState::Dialling(_)) {
            return;
        }
        let pool = &self.settings.pools[link.pool];
        let (host, port) = match &link.redirect {
            Some(redirect) => (redirect.host.as_str(), redirect.port),
            None => (pool.host.as_str(), pool.port),
        };
        let session_id = match &link.session_id {
            // A session id belongs to the pool that gave it, and to nobody else.
            Some((pool, id)) if *pool == link.pool => Some(&**id),
            _ => None,
        };
        link.handshake.clear();
        link.unreadable_lines = 0;
        link.took_bytes = now.since_start;
        let subscribe = Subscribe {
            session_id,
            host,
            port,
        };
        let session = PoolSession::start(self.dialect.as_ref(), subscribe, &mut link.handshake);
        link.state = LinkState::Handshaking(now.since_start, session);
    }

    /// A pool link is over, or could not be connected; `detail` is what the kernel said.
    pub fn handle_link_closed(&mut self, now: Now, key: LinkKey, end: LinkEnd, detail: &str) {
        if self.is_current(key) {
            self.lose_link(now, key.index, end, detail.to_owned());
        }
    }

    /// A pool sent a line, without its LF.
    pub fn handle_link_line(&mut self, now: Now, key: LinkKey, line: &[u8]) {
        let Some(link) = self.links.get_mut(key.index).filter(|link| link.key == key) else {
            return;
        };
        let (LinkState::Handshaking(_, session) | LinkState::Up(_, session)) = &mut link.state
        else {
            return;
        };
        if line.is_empty() {
            return;
        }
        let message = match self.reader.read(line) {
            Ok(message) => message,
            Err(error) => {
                self.counters.pool_faults += 1;
                link.unreadable_lines += 1;
                if link.unreadable_lines > UNREADABLE_LINES_MAX {
                    let detail = format!("too many lines that can't be read: {error}");
                    self.lose_link(now, key.index, LinkEnd::Violation, detail);
                }
                return;
            }
        };
        let pool = &self.settings.pools[link.pool];
        let login = PoolLogin {
            worker: &pool.worker,
            password: &pool.password,
            extranonce_subscribe: pool.extranonce_subscribe,
        };
        let dialect = self.dialect.as_ref();
        let event = session.handle_message(dialect, &message, login, &mut link.handshake);
        match event {
            Ok(PoolEvent::Nothing) => {}
            Ok(PoolEvent::Answer(id, verdict)) => self.handle_answer(now, key.index, id, verdict),
            Ok(PoolEvent::Subscribed(subscription)) => {
                self.handle_subscribed(now, key.index, subscription);
            }
            Ok(PoolEvent::Ready) => self.handle_ready(now, key.index),
            Ok(PoolEvent::Refused(step, verdict)) => {
                let detail = refusal_text(step, &pool.worker, &verdict);
                self.lose_link(now, key.index, LinkEnd::Refused, detail);
            }
            Ok(PoolEvent::Message(PoolMessage::VersionRequest)) => {
                let id = message.id.map_or(&b"null"[..], |id| id.bytes());
                let mut agent = Vec::new();
                encode::append_string(&mut agent, AGENT);
                // Behind the shares that wait: one of them may be written in part. A pool that asks and
                // does not read is not answered without end.
                if link.unwritten().len() >= self.settings.limits.pool_outbox_bytes_max {
                    return;
                }
                let out = if link.is_up() {
                    link.output.buffer()
                } else {
                    &mut link.handshake
                };
                encode::reply_result(out, id, &agent);
            }
            Ok(PoolEvent::Message(message)) => self.handle_message(now, key.index, message),
            Err(fault) => {
                self.counters.pool_faults += 1;
                self.lose_link(now, key.index, LinkEnd::Violation, fault.to_string());
            }
        }
    }

    fn handle_message(&mut self, now: Now, index: usize, message: PoolMessage<'_>) {
        let pool = self.links[index].pool;
        match message {
            PoolMessage::Job(job) => self.handle_job(now, index, job),
            PoolMessage::Target(target) => self.handle_target(index, target),
            PoolMessage::Extranonce {
                extranonce1,
                extranonce2_len,
            } => {
                self.links[index].next_subscription = Some(Subscription {
                    session_id: None,
                    extranonce1,
                    extranonce2_len,
                });
            }
            PoolMessage::Reconnect {
                host,
                port,
                wait_seconds,
            } => self.handle_reconnect(now, index, host, port, wait_seconds),
            PoolMessage::Text(text) => {
                let text = printable(&text);
                self.fact(Fact::PoolText { pool, text });
            }
            PoolMessage::VersionRequest | PoolMessage::Ignored | PoolMessage::Unknown => {}
        }
    }

    /// The pool gave a nonce space. The same one as before means that the session goes on.
    fn handle_subscribed(&mut self, now: Now, index: usize, subscription: Subscription) {
        let link = &mut self.links[index];
        if let LinkState::Handshaking(since, _) = &mut link.state {
            // Authorize is on its way, and has its own time.
            *since = now.since_start;
        }
        if let Some(id) = &subscription.session_id {
            link.session_id = Some((link.pool, id.clone()));
        }
        let Some(space) = self.new_space(index, &subscription) else {
            let detail = format!("it leaves {} bytes", subscription.extranonce2_len);
            self.lose_link(now, index, LinkEnd::NoNonceSpace, detail);
            return;
        };
        if self.is_own_space(index, &space) {
            return;
        }
        let (shared, taken) = match self.space_of_other(index, &space) {
            Some(theirs) => (theirs, true),
            None => (Rc::new(RefCell::new(space)), false),
        };
        let extranonce1 = shared.borrow().extranonce1;
        if taken && self.links[index].space_taken == 0 {
            self.links[index].space_taken += 1;
            self.links[index].session_id = None;
            let detail = format!("{extranonce1:?}");
            self.lose_link(now, index, LinkEnd::NonceSpaceTaken, detail);
            return;
        }
        if taken {
            self.tell_of_shared_space(index, &shared);
        }
        self.abandon_shares(index);
        self.links[index].next_space = Some(shared);
    }

    fn is_own_space(&self, index: usize, space: &NonceSpace) -> bool {
        let own = self.links[index].space.as_ref();
        own.is_some_and(|own| own.borrow().is_same(space))
    }

    /// The same space, where another link has it or is about to.
    fn space_of_other(&self, index: usize, space: &NonceSpace) -> Option<Rc<RefCell<NonceSpace>>> {
        let others = self
            .links
            .iter()
            .filter(|link| link.key.index != index && !matches!(link.state, LinkState::Idle));
        others
            .flat_map(|link| [&link.space, &link.next_space])
            .flatten()
            .find(|theirs| theirs.borrow().is_same(space))
            .map(Rc::clone)
    }

    fn tell_of_shared_space(&mut self, index: usize, space: &Rc<RefCell<NonceSpace>>) {
        let extranonce1 = format!("{:?}", space.borrow().extranonce1);
        let pool = self.links[index].pool;
        self.fact(Fact::NonceSpaceShared { pool, extranonce1 });
    }

    fn new_space(&self, index: usize, subscription: &Subscription) -> Option<NonceSpace> {
        let link = &self.links[index];
        let width = if link.pass_through {
            SlotWidth::Fixed(0)
        } else {
            self.settings.slot_width
        };
        let plan = SlotPlan::new(width, subscription.extranonce2_len)?;
        Some(NonceSpace {
            pool: link.pool,
            extranonce1: subscription.extranonce1,
            plan,
            slots: Slots::new(
                plan.capacity(),
                self.settings.miners_per_link,
                self.settings.part,
            ),
        })
    }

    fn handle_ready(&mut self, now: Now, index: usize) {
        let link = &mut self.links[index];
        let state = std::mem::replace(&mut link.state, LinkState::Idle);
        let LinkState::Handshaking(_, session) = state else {
            link.state = state;
            return;
        };
        link.state = LinkState::Up(now.since_start, session);
        link.took_bytes = now.since_start;
        link.space_taken = 0;
        let resumed = link.lost.take().is_some();
        link.fresh |= !resumed;
        if let Some(space) = link.next_space.take() {
            self.move_miners(index, space);
        }
        let link = &self.links[index];
        let pool = link.pool;
        if let Some(space) = &link.space {
            let space = space.borrow();
            let (extranonce1, plan) = (format!("{:?}", space.extranonce1), space.plan);
            drop(space);
            self.fact(Fact::LinkUp {
                pool,
                resumed,
                extranonce1,
                slot_len: plan.slot_len,
                capacity: plan.capacity().min(self.settings.miners_per_link),
            });
        }
        // What the pool said before it answered authorize, its miners have not heard yet.
        if std::mem::take(&mut self.links[index].job_unsaid) {
            self.fan_out_job(index);
        }
        if std::mem::take(&mut self.links[index].target_unsaid) {
            self.for_each_of(index, |owed| owed.and(Owed::TARGET).and(Owed::NEXT_TARGET));
        }
        self.serve_waiting(now);
    }

    /// Gives the link's miners a place in its new nonce space. Those that can't be told must reconnect,
    /// in their turn.
    fn move_miners(&mut self, index: usize, space: Rc<RefCell<NonceSpace>>) {
        let old = self.links[index].space.replace(Rc::clone(&space));
        let oldest_job = self.oldest_job();
        let (mut told, mut closed) = (0, 0);
        for miner in self.miners.iter_mut() {
            let Stage::Placed { link, slot } = miner.stage else {
                continue;
            };
            if link != index {
                continue;
            }
            // Another link may still have the old space.
            if let Some(old) = &old {
                old.borrow_mut().slots.give_back(slot, self.sequence);
            }
            let mining = miner.session.is_mining();
            let taken = if miner.session.takes_extranonce() {
                space.borrow_mut().slots.take(oldest_job)
            } else {
                None
            };
            if let Some(taken) = taken {
                told += 1;
                let slot = taken.slot;
                miner.stage = Stage::Placed { link: index, slot };
                miner.owed = Owed::EXTRANONCE;
                if mining {
                    miner.owed = miner.owed.and(owed_to_newcomer());
                    Self::list(&mut self.listed, miner);
                }
            } else {
                closed += 1;
                miner.stage = Stage::Unplaced;
                miner.owed = Owed::NOTHING;
                self.counters.mining -= u64::from(std::mem::take(&mut miner.counted));
                self.leaving.push_back(miner.token);
            }
        }
        if told + closed > 0 {
            let pool = self.links[index].pool;
            self.fact(Fact::Moved { pool, told, closed });
        }
    }

    fn handle_target(&mut self, index: usize, target: Target) {
        let dialect = self.dialect.as_ref();
        let link = &mut self.links[index];
        if link.set_target(target, dialect, &mut self.scratch) {
            if link.is_up() {
                self.for_each_of(index, |owed| owed.and(Owed::NEXT_TARGET));
            } else {
                link.target_unsaid = true;
            }
        }
    }

    fn handle_job(&mut self, now: Now, index: usize, job: Job) {
        if let Some(subscription) = self.links[index].next_subscription.take() {
            self.change_space(now, index, &subscription);
            if matches!(self.links[index].state, LinkState::Waiting(_)) {
                return;
            }
        }
        let id = self.next_job_id();
        if !std::mem::replace(&mut self.links[index].job_looked_at, true)
            && let Some(text) = self.dialect.oddity(&job)
        {
            let (pool, text) = (self.links[index].pool, printable(&text));
            self.fact(Fact::JobOdd { pool, text });
        }
        let sequence = self.sequence;
        let limits = self.settings.limits;
        let link = &mut self.links[index];
        link.set_job(id, &job, self.dialect.as_ref(), &mut self.scratch);
        link.fresh |= job.clean;
        let target = link.target;
        let new = NewJob {
            id,
            sequence,
            time: self.dialect.job_time(&job),
            job,
            target,
        };
        link.jobs.announce(now.since_start, new, &limits);
        self.counters.jobs += 1;
        if self.links[index].is_up() {
            self.fan_out_job(index);
        } else {
            self.links[index].job_unsaid = true;
        }
    }

    /// The bytes that a `mining.set_extranonce` announced hold from this job on.
    fn change_space(&mut self, now: Now, index: usize, subscription: &Subscription) {
        let Some(space) = self.new_space(index, subscription) else {
            let detail = format!("it leaves {} bytes", subscription.extranonce2_len);
            self.lose_link(now, index, LinkEnd::NoNonceSpace, detail);
            return;
        };
        // The same bytes again move nobody.
        if self.links[index].next_space.is_none() && self.is_own_space(index, &space) {
            return;
        }
        let space = match self.space_of_other(index, &space) {
            Some(theirs) => {
                self.tell_of_shared_space(index, &theirs);
                theirs
            }
            None => Rc::new(RefCell::new(space)),
        };
        let link = &mut self.links[index];
        // Shares on their way are the pool's to judge; the older jobs belong to the older bytes.
        link.jobs.clear();
        link.fresh = true;
        if link.is_up() {
            self.move_miners(index, space);
        } else {
            link.next_space = Some(space);
        }
    }

    /// Owes the current job to all miners of the link.
    fn fan_out_job(&mut self, index: usize) {
        let clean = std::mem::take(&mut self.links[index].fresh);
        self.for_each_of(index, |owed| {
            let mut owed = owed.and(Owed::JOB);
            if clean {
                owed = owed.and(Owed::CLEAN);
            }
            // The target that was the next one's is in force with this job.
            if owed.has(Owed::NEXT_TARGET) {
                owed = owed.without(Owed::NEXT_TARGET).and(Owed::TARGET);
            }
            owed
        });
    }

    /// Changes what each miner of a link is owed. Each time another miner is the first.
    fn for_each_of(&mut self, index: usize, change: impl Fn(Owed) -> Owed) {
        let count = self.miners.len();
        let start = self.fan_out_start % count.max(1);
        self.fan_out_start = start + count / 7 + 1;
        for place in (start..count).chain(0..start) {
            let miner = self.miners.at(place);
            if miner.mines_on(index) {
                let replaces = miner.blocked && miner.owed.has(Owed::JOB);
                self.counters.jobs_replaced += u64::from(replaces);
                miner.owed = change(miner.owed);
                Self::list(&mut self.listed, miner);
            }
        }
    }

    fn handle_answer(&mut self, now: Now, index: usize, id: u64, verdict: Verdict<'_>) {
        let link = &mut self.links[index];
        let Some(share) = link.pending.take(id) else {
            self.counters.answers_unexpected += 1;
            return;
        };
        link.output.release(&link.pending);
        let answer = match verdict {
            Verdict::Accepted => Answer::Accepted,
            // It went out twice, so the pool has it already: the first one counted.
            Verdict::Rejected { code, ref text } if share.resent && is_duplicate(code, text) => {
                Answer::Accepted
            }
            Verdict::Rejected { code, text } => Answer::Rejected(code, text),
        };
        match answer {
            Answer::Accepted => {
                self.counters.accepted += 1;
                self.counters.work = self.counters.work.saturating_add(share.work);
            }
            Answer::Rejected(code, ref text) => {
                self.counters.rejected += 1;
                let pool = self.links[index].pool;
                if Self::is_told(&mut self.rejection_told, now) {
                    let text = printable(text);
                    self.fact(Fact::ShareRejected { pool, code, text });
                }
            }
        }
        self.answer_share(&share, &answer);
    }

    /// `client.reconnect` is obeyed for the same host and for those that the operator named: everything
    /// else is how a hijacked pool takes a farm away.
    fn handle_reconnect(
        &mut self,
        now: Now,
        index: usize,
        host: Option<Cow<'_, str>>,
        port: Option<u16>,
        wait_seconds: u32,
    ) {
        let link = &self.links[index];
        let pool = &self.settings.pools[link.pool];
        let allowed = host.as_ref().is_none_or(|host| {
            let own = std::iter::once(&pool.host).chain(&pool.reconnect_hosts);
            own.into_iter().any(|own| own.eq_ignore_ascii_case(host))
        });
        let (pool_index, port) = (link.pool, port.filter(|&port| port != 0));
        if !allowed {
            let host = printable(&host.unwrap_or_default());
            self.fact(Fact::ReconnectRefused {
                pool: pool_index,
                host,
            });
            return;
        }
        let redirect = Redirect {
            host: host.map_or_else(|| pool.host.clone(), Cow::into_owned),
            port: port.unwrap_or(pool.port),
        };
        let wait = Link::reconnect_wait(wait_seconds);
        self.lose_link(now, index, LinkEnd::Reconnect, String::new());
        let link = &mut self.links[index];
        if let LinkState::Waiting(at) = link.state
            && link.pool == pool_index
        {
            link.redirect = Some(redirect);
            link.state = LinkState::Waiting(at.max(now.since_start + wait));
        }
    }

    /// A link's connection is over; another one is made when its time comes.
    fn lose_link(&mut self, now: Now, index: usize, end: LinkEnd, detail: String) {
        let random = self.random();
        let pools = self.settings.pools.len();
        let link = &mut self.links[index];
        let was_up = link.is_up();
        let stable = link.was_stable(now.since_start);
        if stable {
            link.tries = 0;
        }
        let delay = link.next_delay(pools, random);
        let from = link.pool;
        // The same pool gets the first try after a loss. Whoever fails a try is followed by the next.
        // A pool that sends us elsewhere is obeyed once: one that does nothing else has failed.
        let asked_again = end == LinkEnd::Reconnect && link.tries == 0;
        // A lost link is not a lost pool: as long as the session may be resumed no other pool is tried.
        let resuming = !was_up && link.lost.is_some() && end.may_pass();
        if !stable && !resuming && end != LinkEnd::NonceSpaceTaken {
            if !asked_again && (!was_up || link.tries > 0) {
                link.pool = (link.pool + 1) % pools;
            }
            link.tries = link.tries.saturating_add(1);
        }
        // A failed try decides the wait with itself counted in.
        let delay = match () {
            () if was_up => delay,
            () if resuming => Link::resume_delay(random),
            () => link.next_delay(pools, random),
        };
        if was_up {
            link.lost = Some(now.since_start);
            self.counters.resent += link.output.rewind(&mut link.pending) as u64;
        }
        link.handshake.clear();
        link.redirect = None;
        link.next_space = None;
        link.next_subscription = None;
        let old = link.key;
        link.key.dial += 1;
        link.state = if self.shutting_down {
            LinkState::Idle
        } else {
            LinkState::Waiting(now.since_start + delay)
        };
        let (to, pending) = (link.pool, link.pending.len());
        self.counters.link_ends[end as usize] += 1;
        self.commands.push_back(Command::HangUp(old));
        self.fact(Fact::LinkLost {
            pool: from,
            end,
            detail: printable(&detail),
            was_up,
            pending,
        });
        if from != to {
            self.fact(Fact::PoolChanged { from, to });
        }
        if self.shutting_down {
            self.abandon_shares(index);
        }
    }

    /// The session that was lost was not resumed in time: the next pool is tried, if there is one.
    fn leave_lost_pool(&mut self, now: Now, index: usize) {
        let pools = self.settings.pools.len();
        let link = &mut self.links[index];
        if pools < 2 {
            return;
        }
        if matches!(link.state, LinkState::Waiting(_)) {
            let from = link.pool;
            link.pool = (from + 1) % pools;
            link.tries = 1;
            link.state = LinkState::Waiting(now.since_start);
            let to = link.pool;
            self.fact(Fact::PoolChanged { from, to });
        } else if !link.is_up() {
            let detail = "not back in resume_seconds".to_owned();
            self.lose_link(now, index, LinkEnd::HandshakeTimeout, detail);
        }
    }

    /// Answers all shares of a link as stale, and ends its epoch: nothing of it can be judged any more.
    pub(super) fn abandon_shares(&mut self, index: usize) {
        let mut shares = 0;
        loop {
            let pending = &mut self.links[index].pending;
            let Some(share) = pending.take(pending.oldest_id()) else {
                break;
            };
            shares += 1;
            self.refuse_share(&share, Reject::LinkLost);
        }
        let link = &mut self.links[index];
        link.end_epoch();
        link.fresh = true;
        // The link may be trying another pool by now.
        let space = link.space.as_ref();
        let pool = space.map_or(link.pool, |space| space.borrow().pool);
        if shares > 0 {
            self.fact(Fact::SharesLost { pool, shares });
        }
    }

    /// Dials a link at this time.
    pub(super) fn dial_at(&mut self, index: usize, at: Duration) {
        self.links[index].state = LinkState::Waiting(at);
    }

    /// What time does to a link.
    pub(super) fn tick_link(&mut self, now: Now, index: usize) {
        let limits = self.settings.limits;
        let link = &self.links[index];
        // Once the pool gave the same bytes again its session goes on, if it authorizes us: what it says
        // meanwhile must not be forgotten. (With other bytes the epoch is over already.)
        let goes_on = matches!(
            &link.state,
            LinkState::Handshaking(_, session) if session.state() == PoolState::Authorizing
        );
        let expired = link
            .lost
            .is_some_and(|lost| now.since(lost) >= limits.resume);
        if expired && !goes_on {
            self.abandon_shares(index);
            self.leave_lost_pool(now, index);
        }
        let link = &mut self.links[index];
        match link.state {
            LinkState::Waiting(at) if at <= now.since_start && !self.shutting_down => {
                let pool = &self.settings.pools[link.pool];
                let (host, port) = match &link.redirect {
                    Some(redirect) => (redirect.host.clone(), redirect.port),
                    None => (pool.host.clone(), pool.port),
                };
                link.key.dial += 1;
                link.state = LinkState::Dialling(now.since_start);
                let link = link.key;
                self.commands.push_back(Command::Dial { link, host, port });
            }
            LinkState::Dialling(since) if now.since(since) >= limits.dial_timeout => {
                let detail = "not resolved and connected in time".to_owned();
                self.lose_link(now, index, LinkEnd::ConnectFailed, detail);
            }
            LinkState::Handshaking(since, ref session)
                if now.since(since) >= limits.handshake_timeout =>
            {
                let detail = String::from(match session.state() {
                    PoolState::Subscribing => "no answer to mining.subscribe",
                    PoolState::Authorizing | PoolState::Ready => "no answer to mining.authorize",
                });
                self.lose_link(now, index, LinkEnd::HandshakeTimeout, detail);
            }
            LinkState::Up(..) => {
                if link.output.unwritten().is_empty() && link.handshake.is_empty() {
                    link.took_bytes = now.since_start;
                } else if now.since(link.took_bytes) >= limits.pool_outbox_stalled {
                    self.lose_link(now, index, LinkEnd::Stalled, String::new());
                    return;
                }
                let Some(deadline) = now.since_start.checked_sub(limits.reply_timeout) else {
                    return;
                };
                let mut answered = 0;
                while let Some(share) = self.links[index].pending.take_older(deadline) {
                    answered += 1;
                    self.refuse_share(&share, Reject::PoolSilent);
                }
                if answered > 0 {
                    let link = &mut self.links[index];
                    link.output.release(&link.pending);
                }
            }
            _ => {}
        }
    }
}

fn refusal_text(step: PoolState, worker: &str, verdict: &Verdict<'_>) -> String {
    let method = match step {
        PoolState::Subscribing => "mining.subscribe".to_owned(),
        PoolState::Authorizing | PoolState::Ready => {
            format!("mining.authorize as {worker:?}")
        }
    };
    match verdict {
        Verdict::Accepted => method,
        Verdict::Rejected { code, text } => format!("{method}: [{code}] {text}"),
    }
}

/// Whether a pool says that it has the share already.
fn is_duplicate(code: i64, text: &str) -> bool {
    code == 22 || text.to_ascii_lowercase().contains("duplicate")
}

/// A peer's text for the log: no control characters, and not a novel.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
