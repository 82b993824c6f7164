//! What pools say: targets and jobs, and their way to all miners of a link.

use super::{Exchange, Fact, HostSays, LinkEnd, LinkKey};
use crate::exchange::early::Announced;
use crate::exchange::jobs::NewJob;
use crate::exchange::link::{LinkState, Role};

use crate::exchange::outbox::Owed;
use crate::proto::dialect::{PoolMessage, Subscription};
use crate::proto::job::{Job, JobId};
use crate::proto::pool::{PoolEvent, PoolLogin, PoolState, Verdict};
use crate::proto::target::Target;
use crate::proto::time::Now;
use crate::wire::encode;

/// Lines of one connection that may be unreadable; the next one ends it. One odd line is no reason to
/// send a whole farm through a reconnect.
const UNREADABLE_LINES_MAX: u32 = 8;

impl Exchange {
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
            Ok(PoolEvent::Subscribed(mut subscription)) => {
                let job = subscription.job.take();
                self.handle_subscribed(now, key.index, subscription);
                if self.dialect.logs_in() {
                    self.handle_ready(now, key.index);
                    if let Some(job) = job.filter(|_| self.links[key.index].is_up()) {
                        self.handle_job(now, key.index, *job);
                    }
                }
            }
            Ok(PoolEvent::Ready) => self.handle_ready(now, key.index),
            Ok(PoolEvent::Refused(step, verdict)) => {
                let detail = refusal_text(step, &pool.worker, &verdict);
                self.lose_link(now, key.index, LinkEnd::Refused, detail);
            }
            Ok(PoolEvent::Message(PoolMessage::Request(answer))) => {
                let id = message.id.map_or(&b"null"[..], |id| id.bytes());
                // Behind the shares that wait: one of them may be written in part. A pool that asks and
                // does not read is not answered without end.
                if link.unwritten().len() >= self.settings.limits.pool_outbox_bytes_max {
                    return;
                }
                // While names are asked for, the output is not written, and may be made anew.
                let out = if link.is_up() && !link.names.is_gated() {
                    link.output.buffer()
                } else {
                    &mut link.handshake
                };
                encode::reply_result(out, id, answer.as_bytes());
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
                    share_session: None,
                    job: None,
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
            PoolMessage::VersionMask(mask) => self.handle_version_mask(index, mask),
            PoolMessage::Request(_) | PoolMessage::Ignored | PoolMessage::Unknown => {}
        }
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
        (link.last_job, link.last_reply) = (now.since_start, now.since_start);
        link.space_taken = 0;
        let resumed = link.lost.take().is_some();
        link.fresh |= !resumed;
        if resumed {
            self.tell_guests(index, |lease| HostSays::Resumed { lease });
        }
        let link = &mut self.links[index];
        if let Some(space) = link.next_space.take() {
            self.change_own_space(now, index, space);
            self.lend_again(index);
        }
        self.use_granted_version_mask(index);
        self.end_warm(now, index);
        let link = &self.links[index];
        let pool = link.pool;
        if link.is_spare() {
            let link = link.key;
            self.fact(Fact::SpareUp { link, pool });
            return;
        }
        if link.role == Role::Serving && !link.pass_through {
            self.home_pool = pool;
        }
        if let Some(space) = &link.space {
            let space = space.borrow();
            let (extranonce1, plan) = (space.name(), space.plan);
            drop(space);
            self.fact(Fact::LinkUp {
                pool,
                resumed,
                extranonce1,
                slot_len: plan.slot_len,
                capacity: plan.capacity().min(self.settings.miners_per_link),
            });
        }
        self.ask_names_when_ready(now, index);
        self.say_unsaid(index);
        self.serve_waiting(now);
        self.serve_borrowers();
        self.ask_for_waiting(now);
    }

    /// Tells the miners of a link what its pool said before it was ready.
    pub(super) fn say_unsaid(&mut self, index: usize) {
        let unsaid = std::mem::take(&mut self.links[index].unsaid);
        if unsaid.has(Owed::JOB) && cfg!(not(break_jobs)) {
            self.fan_out_job(index);
        }
        if unsaid.has(Owed::TARGET) {
            self.for_each_of(index, |owed| owed.and(Owed::TARGET).and(Owed::NEXT_TARGET));
        }
    }

    pub(super) fn handle_target(&mut self, index: usize, target: Target) {
        let dialect = self.dialect.as_ref();
        let link = &mut self.links[index];
        if link.set_target(target, dialect, &mut self.scratch) {
            self.tell_guests_target(index, target);
            let link = &mut self.links[index];
            if link.is_spare() {
                // Nobody works on it.
            } else if link.is_up() {
                self.for_each_of(index, |owed| owed.and(Owed::NEXT_TARGET));
            } else {
                link.unsaid = link.unsaid.and(Owed::TARGET);
            }
        }
    }

    pub(super) fn handle_job(&mut self, now: Now, index: usize, job: Job) {
        if let Some(target) = job.target {
            self.handle_target(index, target);
        }
        let mut moves = false;
        if let Some(subscription) = self.links[index].next_subscription.take() {
            moves = self.change_space(now, index, &subscription);
            // Where the bytes are of no use the connection is over.
            if matches!(
                self.links[index].state,
                LinkState::Waiting(_) | LinkState::Idle
            ) {
                return;
            }
        }
        if !std::mem::replace(&mut self.links[index].job_looked_at, true)
            && let Some(text) = self.dialect.oddity(&job)
        {
            let (pool, text) = (self.links[index].pool, printable(&text));
            self.fact(Fact::JobOdd { pool, text });
        }
        let link = &mut self.links[index];
        link.last_job = now.since_start;
        // Where it is the first one of other bytes they are told with these.
        let guests_wait = link.next_space.is_some() || moves;
        if !link.is_spare() {
            self.counters.jobs += 1;
            self.counters.last_job_unix_seconds = now.unix_seconds;
        }
        let announced = self.settle_early(now, index, &job);
        // They were not started early.
        if !guests_wait {
            self.tell_guests_job(index, &job);
        }
        if announced != Announced::Started {
            let id = self.next_job_id();
            if announced == Announced::New {
                let link = &mut self.links[index];
                link.set_job(id, &job, self.dialect.as_ref(), &mut self.scratch);
                link.fresh |= job.clean;
            }
            self.keep_job(now, index, id, job);
        }
        if moves && self.links[index].is_up() {
            self.lend_again(index);
        }
        if announced != Announced::New || self.links[index].is_spare() {
            return;
        }
        if self.links[index].is_up() {
            self.fan_out_job(index);
            if self.dialect.logs_in() && self.waiting_count() > 0 {
                self.serve_waiting(now);
            }
        } else {
            let link = &mut self.links[index];
            link.unsaid = link.unsaid.and(Owed::JOB);
        }
    }

    /// A job is known from now on, under our newest id and with the target in force.
    pub(super) fn keep_job(&mut self, now: Now, index: usize, id: JobId, job: Job) {
        let link = &mut self.links[index];
        let new = NewJob {
            id,
            sequence: self.sequence,
            time: self.dialect.job_time(&job),
            job,
            target: link.target,
        };
        link.jobs
            .announce(now.since_start, new, &self.settings.limits);
    }

    /// Owes the current job to all miners of the link.
    pub(super) fn fan_out_job(&mut self, index: usize) {
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
    pub(super) fn for_each_of(&mut self, index: usize, change: impl Fn(Owed) -> Owed) {
        let count = self.miners.len();
        let start = self.fan_out_start % count.max(1);
        self.fan_out_start = start + count / 7 + 1;
        for place in (start..count).chain(0..start) {
            let miner = self.miners.at(place);
            if miner.mines_on(index) {
                let replaces = miner.blocked && miner.owed.has(Owed::JOB);
                self.counters.jobs_replaced += u64::from(replaces);
                miner.owed = change(miner.owed);
                Self::queue(&mut self.fan_out, miner);
            }
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

/// A peer's text for the log: no control characters, and not a novel.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
