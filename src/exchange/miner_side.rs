//! What miners do, and what time does to them.

use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, MinerToken, SWEEP_TICKS, Tag};
use crate::exchange::authorize::{Kept, Visitor};
use crate::exchange::conduct::NOBODY;
use crate::exchange::miners::{Miner, Stage};
use crate::exchange::outbox::Owed;
use crate::exchange::unread::Unread;
use crate::proto::dialect::{Dialect, MinerRequest};
use crate::proto::miner::MinerEvent;
use crate::proto::share::{Reject, Submit};
use crate::proto::time::Now;
use crate::wire::json::Raw;
use crate::wire::request_id::RequestId;

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
        match self.primary() {
            Some(index) => self.links[index].unused_since = None,
            None if self.shutting_down => {}
            None => self.open_link(now, false),
        }
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
        let waited = Self::block(&mut self.unread, now, miner);
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
        self.unread.grow(miner.outbox_len() - waited);
        self.judge_unread(token);
    }

    /// A send was not taken whole, and the rest can't be taken back: the shell keeps it, so many bytes with
    /// what it kept before, and sends it first. They count as if they waited here.
    pub fn handle_kept(&mut self, now: Now, token: MinerToken, bytes: usize) {
        let Some(place) = self.miners.place(token) else {
            return;
        };
        let miner = self.miners.at(place);
        self.counters.miners_blocked += u64::from(!miner.blocked);
        let waited = Self::block(&mut self.unread, now, miner);
        let outbox = miner
            .outbox
            .get_or_insert_with(|| self.spare_outboxes.pop().unwrap_or_default());
        // It grows only, until the miner takes bytes again.
        outbox.kept = outbox.kept.max(bytes);
        self.unread.grow(outbox.len() - waited);
        self.judge_unread(token);
    }

    /// Marks a miner as one that takes no bytes; gives how many are counted for it.
    fn block(unread: &mut Unread, now: Now, miner: &mut Miner) -> usize {
        if std::mem::replace(&mut miner.blocked, true) {
            return miner.outbox_len();
        }
        miner.blocked_since = now.seconds();
        unread.begin();
        0
    }

    /// Closes a miner that takes no bytes, where too many wait for all of those.
    fn judge_unread(&mut self, token: MinerToken) {
        let bytes_max = self.settings.limits.unread_bytes_max;
        let waits = self
            .miners
            .get_mut(token)
            .map_or(0, |miner| miner.outbox_len());
        if self.unread.is_too_much(waits, bytes_max) {
            self.close_miner(token, CloseHow::Reset, CloseReason::Unread);
        }
    }

    /// A miner that was blocked takes bytes again.
    pub fn handle_writable(&mut self, token: MinerToken) {
        if let Some(place) = self.miners.place(token) {
            let miner = self.miners.at(place);
            if std::mem::take(&mut miner.blocked) {
                self.unread.end(miner.outbox_len());
            }
            if let Some(outbox) = &mut miner.outbox {
                outbox.kept = 0;
            }
            Self::list(&mut self.listed, miner);
        }
    }

    /// A miner sent a line, without its LF.
    pub fn handle_miner_line(&mut self, now: Now, token: MinerToken, line: &[u8]) {
        let Some(place) = self.miners.place(token) else {
            return;
        };
        let limits = &self.settings.limits.conduct;
        let miner = self.miners.at(place);
        if !miner.conduct.message(now.seconds(), limits) {
            return self.close_miner(token, CloseHow::Reset, CloseReason::TooManyMessages);
        }
        self.read_line_at(now, place, token, line);
    }

    /// Reads a line that is counted already.
    pub(super) fn read_miner_line(&mut self, now: Now, token: MinerToken, line: &[u8]) {
        if let Some(place) = self.miners.place(token) {
            self.read_line_at(now, place, token, line);
        }
    }

    fn read_line_at(&mut self, now: Now, place: usize, token: MinerToken, line: &[u8]) {
        let miner = self.miners.at(place);
        if line.is_empty() || matches!(miner.stage, Stage::Leaving(..)) {
            return;
        }
        if miner.pending > 0 && !miner.session.is_authorized() && self.keep_line(token, line) {
            return;
        }
        let limits = self.settings.limits.miner;
        let message = match self.reader.read(line) {
            Ok(message) => message,
            Err(error) => {
                self.counters.lines_unreadable += 1;
                let text = error.to_string();
                self.answer(token, |dialect, out| {
                    dialect.write_error(out, b"null", 20, &text);
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
            MinerEvent::Refused(reject) => self.counters.refused[reject.index()] += 1,
            MinerEvent::Violation(reject) => {
                self.counters.refused[reject.index()] += 1;
                self.close_miner(token, CloseHow::Graceful, CloseReason::Violation);
            }
            MinerEvent::BadSubmit(id, reject) => {
                self.counters.submits += 1;
                let limits = &self.settings.limits.conduct;
                let miner = self.miners.at(place);
                let is_within = miner.conduct.share(now.seconds(), limits);
                let reject = if is_within {
                    reject
                } else {
                    Reject::TooManyShares
                };
                // The name comes first where there is one, and may be whole though the rest is not.
                let first = message.params.and_then(|params| params.elements().next());
                let name = first.and_then(Raw::as_text);
                let session = &self.miners.at(place).session;
                let worker = match name {
                    Some(name) => session.place_of(Some(&name)),
                    None if session.has_one_worker() => Some(0),
                    None => None,
                };
                self.refuse_submit(now, token, &id, worker.unwrap_or(NOBODY), reject);
            }
            MinerEvent::Request(id, MinerRequest::Submit(submit)) => {
                let kept = match self.miners.at(place).pending {
                    0 => Kept::No,
                    _ => self.keep_for_name(token, &submit, line),
                };
                if matches!(kept, Kept::Yes) {
                    return;
                }
                self.counters.submits += 1;
                let handled = match kept {
                    Kept::Full => Err(Reject::TooManyUnanswered),
                    Kept::Yes | Kept::No => self.handle_submit(now, token, &id, &submit, line),
                };
                if let Err(reject) = handled {
                    let session = &self.miners.at(place).session;
                    let worker = session.place_of(submit.worker.as_deref());
                    self.refuse_submit(now, token, &id, worker.unwrap_or(NOBODY), reject);
                }
            }
            MinerEvent::Request(id, MinerRequest::Subscribe { agent }) => {
                let agent = self.cut_agent(&agent);
                self.handle_subscribe(now, token, id, agent);
            }
            MinerEvent::Request(id, MinerRequest::Authorize { worker, password }) => {
                let who = Visitor {
                    worker: &worker,
                    password: &password,
                    agent: None,
                };
                self.handle_authorize(now, token, id, who);
            }
            MinerEvent::Request(
                id,
                MinerRequest::Login {
                    worker,
                    password,
                    agent,
                },
            ) => {
                let who = Visitor {
                    worker: &worker,
                    password: &password,
                    agent: Some(self.cut_agent(&agent)),
                };
                self.handle_authorize(now, token, id, who);
            }
            MinerEvent::Request(id, MinerRequest::Configure { params }) => {
                self.handle_configure(now, token, id, params, line);
            }
            MinerEvent::Request(id, MinerRequest::GetJob) => self.handle_get_job(token, &id),
            MinerEvent::Request(..) => debug_assert!(false, "the session answers the others"),
        }
    }

    /// Keeps a share if it is under a name that is asked for on this connection.
    fn keep_for_name(&mut self, token: MinerToken, submit: &Submit<'_>, line: &[u8]) -> Kept {
        match (self.miners.get_mut(token), &submit.worker) {
            (Some(miner), Some(worker)) if !miner.session.knows(worker) => {
                self.keep_share(token, worker, line)
            }
            _ => Kept::No,
        }
    }

    /// Refuses a share of the worker at this place.
    fn refuse_submit(
        &mut self,
        now: Now,
        token: MinerToken,
        id: &RequestId,
        worker: u16,
        reject: Reject,
    ) {
        // Stale shares and duplicates are everyday's; these mean that something is set wrong.
        let odd = matches!(
            reject,
            Reject::Malformed(_)
                | Reject::JobNeverGiven
                | Reject::UnauthorizedWorker
                | Reject::NotSubscribed
                | Reject::VersionBits
        );
        if odd && Self::is_told(&mut self.refusal_told, now) {
            let miner = token;
            self.fact(Fact::ShareRefused { miner, reject });
        }
        self.refuse_request(token, id, reject);
        self.judge_refused(now, token, worker, reject);
    }

    /// As much of a user agent as is kept and logged. No miner is refused for a long one.
    fn cut_agent<'a>(&mut self, agent: &'a str) -> &'a str {
        let len_max = self.settings.limits.miner.worker_len_max;
        if agent.len() <= len_max {
            return agent;
        }
        self.counters.agents_cut += 1;
        let is_end = |len: &usize| agent.is_char_boundary(*len);
        let end = (0..=len_max).rev().find(is_end).unwrap_or(0);
        agent.get(..end).unwrap_or_default()
    }

    pub(super) fn refuse_request(&mut self, token: MinerToken, id: &RequestId, reject: Reject) {
        self.counters.refused[reject.index()] += 1;
        self.answer(token, |dialect, out| write_reject(dialect, out, id, reject));
    }

    pub(super) fn accept_request(&mut self, token: MinerToken, id: &RequestId) {
        self.answer(token, |dialect, out| {
            dialect.write_accepted(out, id.as_bytes())
        });
    }

    /// Sends a miner that is subscribed and authorized its target and its first job, clean.
    pub(super) fn start_mining(&mut self, token: MinerToken) {
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
        self.tell_newcomer_version_mask(token);
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
            let is_over = |since: u32, timeout: Duration| {
                u64::from(now.seconds().saturating_sub(since)) > timeout.as_secs()
            };
            let reason = match miner.stage {
                Stage::Leaving(..) => continue,
                _ if miner.blocked && is_over(miner.blocked_since, limits.miner_blocked) => {
                    CloseReason::Blocked
                }
                // It waits for us.
                _ if miner.pending > 0 => continue,
                Stage::New if is_over(miner.since, limits.subscribe_timeout) => {
                    CloseReason::SubscribeTimeout
                }
                Stage::Placed { .. }
                    if !miner.session.is_authorized()
                        && is_over(miner.since, limits.authorize_timeout) =>
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
}

/// What a miner is owed when it begins, or when its nonce space changed.
pub(super) const fn owed_to_newcomer() -> Owed {
    Owed::TARGET
        .and(Owed::JOB)
        .and(Owed::CLEAN)
        .and(Owed::NEXT_TARGET)
}

pub(super) fn write_reject(
    dialect: &dyn Dialect,
    out: &mut Vec<u8>,
    id: &RequestId,
    reject: Reject,
) {
    dialect.write_error(out, id.as_bytes(), reject.code(), reject.text());
}
