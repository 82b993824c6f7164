//! What miners do, and what time does to them.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::time::Duration;

use super::{CloseHow, CloseReason, Command, Exchange, Fact, MinerToken, SWEEP_TICKS, Tag};
use crate::exchange::jobs::Remembered;
use crate::exchange::link::{Link, LinkState};
use crate::exchange::miners::{Miner, Stage, WaitingSubscribe};
use crate::exchange::outbox::Owed;
use crate::exchange::pending::Pending;
use crate::exchange::pool_side::printable;
use crate::proto::dialect::{MinerRequest, ShareParts};
use crate::proto::job::JobId;
use crate::proto::miner::MinerEvent;
use crate::proto::share::{Reject, Submit};
use crate::proto::time::Now;
use crate::wire::encode;
use crate::wire::request_id::RequestId;

/// What becomes of a subscribe.
enum Place {
    /// There is a slot on this link.
    On(usize),
    /// A link is on its way.
    Wait,
    /// Every slot is taken, and no more links may be opened.
    Full,
}

impl Exchange {
    /// A miner connected.
    pub fn handle_connect(&mut self, now: Now, token: MinerToken) {
        self.counters.connects += 1;
        debug_assert!(
            self.miners.place(token).is_none(),
            "{token:?} connected twice"
        );
        if let Some(displaced) = self.miners.at_index(token.index) {
            self.forget_miner(displaced, CloseReason::Reset);
        }
        self.miners.insert(Miner::new(token, now.seconds()));
        // The pool is dialled before the first subscribe comes, which so waits less.
        if matches!(self.links[0].state, LinkState::Idle) && !self.shutting_down {
            self.dial_at(0, now.since_start);
            self.tick_link(now, 0);
        }
        self.links[0].unused_since = None;
    }

    /// A miner's link is over: `reason` says how.
    pub fn handle_disconnect(&mut self, token: MinerToken, reason: CloseReason) {
        self.forget_miner(token, reason);
    }

    /// The shell found that a miner's link must end.
    pub fn refuse(&mut self, token: MinerToken, reason: CloseReason) {
        if reason == CloseReason::LineTooLong {
            self.counters.lines_unreadable += 1;
        }
        self.close_miner(token, CloseHow::Graceful, reason);
    }

    /// A send was taken only in part, or not at all: of `bytes` the first `sent`, made of `pieces` (tag
    /// and length each). The rest is owed again.
    pub fn handle_blocked(
        &mut self,
        now: Now,
        token: MinerToken,
        sent: usize,
        pieces: impl Iterator<Item = (Tag, usize)>,
        bytes: &[u8],
    ) {
        self.counters.miners_blocked += 1;
        let Some(place) = self.miners.place(token) else {
            return;
        };
        let miner = self.miners.at(place);
        miner.blocked = true;
        miner.since = now.seconds();
        let mut start = 0;
        for (tag, len) in pieces {
            let end = start + len;
            let begun = start < sent;
            if end > sent
                && let Some(unsent) = bytes.get(start.max(sent)..end)
            {
                let keeps_bytes = begun || matches!(tag, Tag::Rest | Tag::Replies);
                if keeps_bytes {
                    let outbox = miner
                        .outbox
                        .get_or_insert_with(|| self.spare_outboxes.pop().unwrap_or_default());
                    outbox.take_back(tag, begun, unsent);
                } else if matches!(miner.stage, Stage::Placed { .. }) {
                    miner.owed = miner.owed.and(match tag {
                        Tag::Extranonce => Owed::EXTRANONCE,
                        Tag::Target => Owed::TARGET,
                        Tag::Job => Owed::JOB,
                        Tag::CleanJob => Owed::JOB.and(Owed::CLEAN),
                        // By now it may be the target in force: then that one is owed.
                        Tag::NextTarget => Owed::NEXT_TARGET.and(Owed::TARGET),
                        Tag::Rest | Tag::Replies => Owed::NOTHING,
                    });
                }
            }
            start = end;
        }
    }

    /// A miner that was blocked takes bytes again.
    pub fn handle_writable(&mut self, token: MinerToken) {
        if let Some(place) = self.miners.place(token) {
            let miner = self.miners.at(place);
            miner.blocked = false;
            Self::list(&mut self.listed, miner);
        }
    }

    /// A miner sent a line, without its LF.
    pub fn handle_miner_line(&mut self, now: Now, token: MinerToken, line: &[u8]) {
        let Some(place) = self.miners.place(token) else {
            return;
        };
        if line.is_empty() || matches!(self.miners.at(place).stage, Stage::Leaving(..)) {
            return;
        }
        let limits = self.settings.limits.miner;
        let message = match self.reader.read(line) {
            Ok(message) => message,
            Err(error) => {
                self.counters.lines_unreadable += 1;
                let text = error.to_string();
                self.say(token, |out| {
                    encode::reply_error(out, b"null", 20, &text);
                });
                if self.miners.at(place).session.protocol_error(&limits) {
                    self.close_miner(token, CloseHow::Graceful, CloseReason::Violation);
                }
                return;
            }
        };
        let mut replies = std::mem::take(&mut self.scratch);
        replies.clear();
        let session = &mut self.miners.at(place).session;
        let event = session.handle_message(self.dialect.as_ref(), &message, &limits, &mut replies);
        if !replies.is_empty() {
            self.say(token, |out| out.extend_from_slice(&replies));
        }
        self.scratch = replies;
        match event {
            MinerEvent::Answered => {}
            MinerEvent::Violation => {
                self.counters.lines_unreadable += 1;
                self.close_miner(token, CloseHow::Graceful, CloseReason::Violation);
            }
            MinerEvent::Request(id, MinerRequest::Submit(submit)) => {
                self.counters.submits += 1;
                if let Err(reject) = self.handle_submit(now, token, &id, &submit) {
                    // Stale shares and duplicates are everyday's; these mean that something is set wrong.
                    let odd = matches!(
                        reject,
                        Reject::Malformed(_) | Reject::UnauthorizedWorker | Reject::NotSubscribed
                    );
                    if odd && Self::is_told(&mut self.refusal_told, now) {
                        let miner = token;
                        self.fact(Fact::ShareRefused { miner, reject });
                    }
                    self.refuse_request(token, &id, reject);
                }
            }
            MinerEvent::Request(id, MinerRequest::Subscribe { agent }) => {
                self.handle_subscribe(now, token, id, &agent);
            }
            MinerEvent::Request(id, MinerRequest::Authorize { worker, .. }) => {
                self.handle_authorize(token, &id, &worker);
            }
            MinerEvent::Request(..) => debug_assert!(false, "the session answers the others"),
        }
    }

    /// Decides what becomes of one submitted share.
    ///
    /// We refuse only what the pool would surely refuse. The rest is the pool's to judge: a share
    /// refused wrongly is money.
    fn handle_submit(
        &mut self,
        now: Now,
        token: MinerToken,
        id: &RequestId,
        submit: &Submit<'_>,
    ) -> Result<(), Reject> {
        let limits = &self.settings.limits;
        let miner = self.miners.get_mut(token).ok_or(Reject::NotSubscribed)?;
        if !miner.session.is_subscribed() {
            return Err(Reject::NotSubscribed);
        }
        if !miner.session.knows(&submit.worker) {
            return Err(Reject::UnauthorizedWorker);
        }
        let Stage::Placed { link, slot } = miner.stage else {
            return Err(Reject::UnknownJob);
        };
        let link = self.links.get_mut(link).ok_or(Reject::UnknownJob)?;
        if !link.takes_shares() {
            return Err(Reject::UnknownJob);
        }
        let space = link.space.as_ref().ok_or(Reject::UnknownJob)?.borrow();
        let job = JobId::parse(submit.job_id)
            .and_then(|id| link.jobs.find(id))
            .ok_or(Reject::UnknownJob)?;
        debug_assert!(
            job.pool_target <= job.miner_target,
            "no miner is held to more than its pool wants"
        );
        // The pool's clock counts, and its job says what that is: ours may be years behind.
        let time_max = now.unix_seconds.max(job.time) + limits.ntime_ahead.as_secs();
        let extranonce2_len = space.plan.extranonce2_len;
        self.dialect
            .check_share(submit, extranonce2_len, time_max)?;
        if miner.unanswered >= limits.pending_shares_per_miner_max {
            return Err(Reject::TooManyUnanswered);
        }
        if link.pending.len() >= limits.pending_shares_max
            || link.output.unwritten().len() >= limits.pool_outbox_bytes_max
        {
            return Err(Reject::PoolBusy);
        }
        // The share is written first, in the one form that every spelling of it has, and taken back
        // where that form is known: so a duplicate is found on decoded bytes without decoding.
        let start = link.output.end();
        let out = link.output.buffer();
        let before = out.len();
        let identity = self.dialect.write_share(
            out,
            ShareParts {
                request_id: link.pending.next_id(),
                // The pool of the job: the link may be trying another one while it is lost.
                worker: &self.settings.pools[space.pool].worker,
                pool_job_id: &job.job.pool_id,
                slot: space.slot_bytes(slot).as_bytes(),
                submit,
            },
        );
        let len = out.len() - before;
        let identity = self.hasher.hash_one(&out[identity]);
        // The place for a check of the share's hash and solution: what is known to be low or invalid
        // is then taken back, and forgotten, like a duplicate.
        match job.remember(identity, limits) {
            Remembered::New => {}
            Remembered::NoRoom => self.counters.not_remembered += 1,
            Remembered::Duplicate => {
                link.output.truncate(start);
                return Err(Reject::Duplicate);
            }
        }
        if link.output.unwritten().len() == len {
            link.took_bytes = now.since_start;
        }
        miner.unanswered += 1;
        link.pending.push(Pending {
            miner: token,
            id: id.clone(),
            since: now.since_start,
            start,
            len,
            work: job.work,
            resent: false,
        });
        Ok(())
    }

    fn refuse_request(&mut self, token: MinerToken, id: &RequestId, reject: Reject) {
        self.counters.refused[reject.index()] += 1;
        self.say(token, |out| write_reject(out, id, reject));
    }

    fn handle_subscribe(&mut self, now: Now, token: MinerToken, id: RequestId, agent: &str) {
        let wanted = self.wants_pass_through(agent);
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        match &miner.stage {
            // Again: the same data again.
            Stage::Placed { link, slot } => {
                let (link, slot) = (*link, *slot);
                self.answer_subscribe(token, &id, link, slot);
            }
            // Again while it waits: it waits once, under the newer id, and the older one is not left
            // without an answer.
            Stage::Waiting(waiting) => {
                let older = waiting.id.clone();
                let since = waiting.since;
                miner.stage = Stage::Waiting(Box::new(WaitingSubscribe { id, since }));
                let reject = Reject::Malformed("subscribed again before the answer");
                self.refuse_request(token, &older, reject);
            }
            Stage::New => {
                miner.pass_through = wanted;
                self.fact(Fact::Subscribed {
                    miner: token,
                    agent: printable(agent),
                });
                self.place_subscribe(now, token, id);
            }
            Stage::Unplaced | Stage::Leaving(..) => {
                self.refuse_request(token, &id, Reject::NoPool);
            }
        }
    }

    fn wants_pass_through(&self, agent: &str) -> bool {
        let agents = &self.settings.pass_through_agents;
        if agents.is_empty() {
            return false;
        }
        let agent = agent.to_lowercase();
        agents.iter().any(|part| agent.contains(part))
    }

    /// Finds a slot for a subscribe, or lets it wait, or refuses it.
    pub(super) fn place_subscribe(&mut self, now: Now, token: MinerToken, id: RequestId) {
        let Some(pass_through) = self.miners.get_mut(token).map(|miner| miner.pass_through) else {
            return;
        };
        let placed = match self.find_place(now, pass_through) {
            Place::On(link) => self.take_slot(link).map(|slot| (link, slot)),
            Place::Full => None,
            Place::Wait => {
                if let Some(miner) = self.miners.get_mut(token) {
                    let since = now.since_start;
                    miner.stage = Stage::Waiting(Box::new(WaitingSubscribe { id, since }));
                    self.waiting.push_back(token);
                    self.waiting_counts[usize::from(pass_through)] += 1;
                }
                return;
            }
        };
        let Some((link, slot)) = placed else {
            let spaces = self.links.iter().filter_map(|link| link.space.as_ref());
            let miners = spaces.map(|space| space.borrow().slots.live() as usize);
            self.fact(Fact::Full {
                miners: miners.sum(),
                links: self.links.len(),
            });
            self.refuse_request(token, &id, Reject::Full);
            self.close_miner(token, CloseHow::Graceful, CloseReason::Full);
            return;
        };
        if let Some(miner) = self.miners.get_mut(token) {
            miner.stage = Stage::Placed { link, slot };
            miner.session.subscribe();
            miner.since = now.seconds();
        }
        self.links[link].unused_since = None;
        self.answer_subscribe(token, &id, link, slot);
        self.start_mining(token);
    }

    fn find_place(&mut self, now: Now, pass_through: bool) -> Place {
        let lane = |link: &&Link| link.pass_through == pass_through;
        let lane_links = || self.links.iter().filter(lane);
        if let Some(link) = lane_links().find(|link| link.is_up() && link.has_room()) {
            return Place::On(link.key.index);
        }
        // A link that is on its way may have room; each such link of one miner has it only once.
        let coming = |link: &&Link| !link.is_up() && !matches!(link.state, LinkState::Idle);
        let room = match lane_links().find_map(|link| link.space.as_ref()) {
            Some(space) => space
                .borrow()
                .plan
                .capacity()
                .min(self.settings.miners_per_link),
            None if pass_through => 1,
            None => self.settings.miners_per_link,
        };
        let coming = lane_links().filter(coming).count();
        let waiting = self.waiting_counts[usize::from(pass_through)];
        if coming > 0 && waiting < coming.saturating_mul(room as usize) {
            return Place::Wait;
        }
        if self.shutting_down {
            return Place::Full;
        }
        let idle = lane_links().find(|link| matches!(link.state, LinkState::Idle));
        let index = match idle.map(|link| link.key.index) {
            Some(index) => index,
            None if self.links.len() < self.settings.links_max => {
                let pool = self.links.first().map_or(0, |link| link.pool);
                self.links
                    .push(Link::new(self.links.len(), pool, pass_through));
                self.links.len() - 1
            }
            None if coming > 0 => return Place::Wait,
            None => return Place::Full,
        };
        self.links[index].unused_since = None;
        self.dial_at(index, now.since_start);
        self.tick_link(now, index);
        Place::Wait
    }

    pub(super) fn take_slot(&mut self, link: usize) -> Option<u16> {
        let oldest_job = self.oldest_job();
        let space = self.links.get(link)?.space.as_ref()?;
        let taken = space.borrow_mut().slots.take(oldest_job)?;
        self.counters.slots_unrested += u64::from(!taken.rested);
        Some(taken.slot)
    }

    /// Answers a subscribe in front of whatever waited for that answer.
    fn answer_subscribe(&mut self, token: MinerToken, id: &RequestId, link: usize, slot: u16) {
        let Some(space) = self.links.get(link).and_then(|link| link.space.as_ref()) else {
            return;
        };
        let (extranonce1, extranonce2_len) = {
            let space = space.borrow();
            (space.extranonce1_of(slot), space.plan.extranonce2_len)
        };
        let mut reply = Vec::new();
        self.dialect
            .write_subscription(&mut reply, id, &extranonce1, extranonce2_len);
        self.say(token, |out| out.extend_from_slice(&reply));
    }

    fn handle_authorize(&mut self, token: MinerToken, id: &RequestId, worker: &str) {
        let limits = self.settings.limits.miner;
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let first = !miner.session.is_authorized();
        if let Err(reject) = miner.session.authorize(worker, &limits) {
            self.refuse_request(token, id, reject);
            return;
        }
        self.say(token, |out| encode::reply_true(out, id.as_bytes()));
        if first {
            self.fact(Fact::Authorized {
                miner: token,
                worker: worker.to_owned(),
            });
            self.start_mining(token);
        }
    }

    /// Sends a miner that is subscribed and authorized its target and its first job, clean.
    fn start_mining(&mut self, token: MinerToken) {
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        // One whose place is gone is to reconnect, and is told nothing more.
        if !miner.session.is_mining() || miner.link().is_none() {
            return;
        }
        self.counters.mining += u64::from(!std::mem::replace(&mut miner.counted, true));
        // Its place may have moved before it authorized: that is still to be said.
        miner.owed = miner.owed.and(owed_to_newcomer());
        Self::list(&mut self.listed, miner);
    }

    /// Refuses subscribes that waited too long for a pool.
    pub(super) fn expire_waiting(&mut self, now: Now, wait_max: Duration) {
        while let Some(&token) = self.waiting.front() {
            let miner = self.miners.get_mut(token);
            let Some(Stage::Waiting(waiting)) = miner.as_ref().map(|miner| &miner.stage) else {
                self.waiting.pop_front();
                continue;
            };
            if now.since(waiting.since) < wait_max {
                return;
            }
            let id = waiting.id.clone();
            self.waiting.pop_front();
            self.refuse_waiting(token, &id, Reject::NoPool);
            self.close_miner(token, CloseHow::Graceful, CloseReason::NoPool);
        }
    }

    /// Answers every subscribe that waits, now that a link is ready.
    pub(super) fn serve_waiting(&mut self, now: Now) {
        for _ in 0..self.waiting.len() {
            let Some(token) = self.waiting.pop_front() else {
                return;
            };
            let Some(miner) = self.miners.get_mut(token) else {
                continue;
            };
            let Stage::Waiting(waiting) = miner.stage.clone() else {
                continue;
            };
            miner.stage = Stage::New;
            self.waiting_counts[usize::from(miner.pass_through)] -= 1;
            // Its answer goes in front of the replies that waited behind it.
            let held = miner.outbox.take();
            self.place_subscribe(now, token, waiting.id.clone());
            if let Some(miner) = self.miners.get_mut(token) {
                if let Stage::Waiting(again) = &mut miner.stage {
                    again.since = waiting.since;
                }
                match (&mut miner.outbox, held) {
                    (Some(outbox), Some(held)) => {
                        outbox.replies.extend_from_slice(&held.replies);
                        outbox.rest = held.rest;
                    }
                    (outbox @ None, held) => *outbox = held,
                    (Some(_), None) => {}
                }
            }
        }
    }

    fn refuse_waiting(&mut self, token: MinerToken, id: &RequestId, reject: Reject) {
        self.counters.refused[reject.index()] += 1;
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        miner.stage = Stage::New;
        self.waiting_counts[usize::from(miner.pass_through)] -= 1;
        self.say(token, |out| {
            let mut reply = Vec::new();
            write_reject(&mut reply, id, reject);
            out.splice(0..0, reply);
        });
    }

    /// Closes miners that only a reconnect can move, at the operator's pace.
    pub(super) fn close_leaving(&mut self, now: Now) {
        if self.leaving.is_empty() {
            self.close_credit = 0;
            return;
        }
        let passed = now.since(self.last_tick).as_millis().min(1000);
        let passed = u64::try_from(passed).unwrap_or(1000);
        let per_second = u64::from(self.settings.limits.reconnect_per_second);
        // What could not be used, since all of them wait for answers, is no leave for a storm later.
        self.close_credit = (self.close_credit + passed * per_second).min(1000 * per_second);
        for _ in 0..self.leaving.len() {
            if self.close_credit < 1000 {
                break;
            }
            let Some(token) = self.leaving.pop_front() else {
                break;
            };
            if let Some(miner) = self.miners.get_mut(token)
                && matches!(miner.stage, Stage::Unplaced)
            {
                // It first hears what became of its shares.
                if miner.unanswered > 0 {
                    self.leaving.push_back(token);
                    continue;
                }
                self.close_credit -= 1000;
                self.close_miner(token, CloseHow::Reset, CloseReason::Moved);
            }
        }
    }

    /// Looks at some miners' time-outs; after `SWEEP_TICKS` ticks it has looked at all.
    pub(super) fn sweep_miners(&mut self, now: Now) {
        let limits = self.settings.limits;
        let count = self.miners.len();
        let mut overdue = Vec::new();
        for _ in 0..count.div_ceil(SWEEP_TICKS) {
            self.sweep_start = if self.sweep_start + 1 < count {
                self.sweep_start + 1
            } else {
                0
            };
            let miner = self.miners.at(self.sweep_start);
            // Whole seconds: what is counted may be one more than what has passed.
            let waited = u64::from(now.seconds().saturating_sub(miner.since));
            let reason = match miner.stage {
                Stage::Leaving(..) => continue,
                _ if miner.blocked => {
                    if waited <= limits.miner_blocked.as_secs() {
                        continue;
                    }
                    CloseReason::Blocked
                }
                Stage::New if waited > limits.subscribe_timeout.as_secs() => {
                    CloseReason::SubscribeTimeout
                }
                Stage::Placed { .. }
                    if !miner.session.is_authorized()
                        && waited > limits.authorize_timeout.as_secs() =>
                {
                    CloseReason::AuthorizeTimeout
                }
                _ => continue,
            };
            overdue.push((miner.token, reason));
        }
        for (token, reason) in overdue {
            let how = if reason == CloseReason::Blocked {
                CloseHow::Reset
            } else {
                CloseHow::Graceful
            };
            self.close_miner(token, how, reason);
        }
    }

    /// Lets go of links that have had no miner for a while.
    pub(super) fn release_idle_links(&mut self, now: Now) {
        for index in 0..self.links.len() {
            let used = if index == 0 {
                !self.miners.is_empty()
            } else {
                let space = self.links[index].space.as_ref();
                !self.waiting.is_empty()
                    || space.is_some_and(|space| space.borrow().slots.live() > 0)
            };
            let link = &mut self.links[index];
            if used || matches!(link.state, LinkState::Idle) {
                link.unused_since = None;
                continue;
            }
            let since = *link.unused_since.get_or_insert(now.since_start);
            if now.since(since) >= self.settings.limits.link_unused && link.pending.is_empty() {
                let key = link.key;
                link.state = LinkState::Idle;
                link.handshake.clear();
                link.key.dial += 1;
                link.tries = 0;
                // While it is away another link may be given the same bytes.
                link.space = None;
                link.end_epoch();
                self.counters.link_ends[super::LinkEnd::Unused as usize] += 1;
                self.commands.push_back(Command::HangUp(key));
                let (pool, detail) = (self.links[index].pool, String::new());
                self.fact(Fact::LinkLost {
                    pool,
                    end: super::LinkEnd::Unused,
                    detail,
                    was_up: true,
                    pending: 0,
                });
            }
        }
    }

    /// Answers a share. Its miner may be gone: then nobody is told.
    pub(super) fn answer_share(&mut self, share: &Pending, answer: &Answer<'_>) {
        if let Some(miner) = self.miners.get_mut(share.miner) {
            miner.unanswered -= 1;
        }
        self.say(share.miner, |out| match answer {
            Answer::Accepted => encode::reply_true(out, share.id.as_bytes()),
            Answer::Rejected(code, text) => {
                encode::reply_error(out, share.id.as_bytes(), *code, text);
            }
        });
    }

    /// Answers a share that no pool will answer.
    pub(super) fn refuse_share(&mut self, share: &Pending, reject: Reject) {
        self.counters.refused[reject.index()] += 1;
        let answer = Answer::Rejected(reject.code(), Cow::Owned(reject.to_string()));
        self.answer_share(share, &answer);
    }
}

/// The answer to a share.
pub(super) enum Answer<'a> {
    /// It counts.
    Accepted,
    /// It doesn't; with the code and the text for the miner.
    Rejected(i64, Cow<'a, str>),
}

/// What a miner is owed when it begins, or when its nonce space changed.
pub(super) const fn owed_to_newcomer() -> Owed {
    Owed::TARGET
        .and(Owed::JOB)
        .and(Owed::CLEAN)
        .and(Owed::NEXT_TARGET)
}

fn write_reject(out: &mut Vec<u8>, id: &RequestId, reject: Reject) {
    encode::reply_error(out, id.as_bytes(), reject.code(), &reject.to_string());
}
