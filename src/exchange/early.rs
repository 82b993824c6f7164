//! Jobs on which miners are started before their own link announced them.
//!
//! A pool tells its connections of a new job one after the other. Where a neighbour's link heard of it
//! first, and its jobs are known to be ours ([`crate::exchange::alike`]), miners needn't wait. The job goes
//! out at once under an id of ours, and what the pool calls it on our link is learnt when our link announces
//! it. That is not told to miners again.
//!
//! ```text
//!  a neighbour announces ──▶ started ──our link announces it────────▶ confirmed: a job like any other
//!                               └──it does not, or another one──▶ missed: back to our link's newest job
//! ```
//!
//! Invariant: a share goes to the pool only under an id that the pool gave on the same link. Shares for a
//! job that was not confirmed yet wait for that ([`crate::exchange::held`]).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::{Exchange, Fact, HeardJob};
use crate::exchange::alike::GREETING;
use crate::exchange::held::HeldShares;
use crate::exchange::link::Link;
use crate::exchange::outbox::Owed;
use crate::proto::job::{Job, JobId};
use crate::proto::time::Now;

/// Jobs of one link that may wait for its announcement. A neighbour that is further ahead is on a link
/// that works, and ours does not.
const STARTED_MAX: usize = 8;

/// Contents of a link's own announcements that are remembered: a neighbour may hear of one so much later,
/// when the job itself is no longer known.
const ANNOUNCED_MAX: usize = 16;

/// A job that was started early, and is neither confirmed nor missed.
#[derive(Clone, Copy, Debug)]
struct Started {
    /// The id that miners know.
    job: JobId,
    /// The hash of its content.
    content: u64,
    /// The neighbour that announced it.
    from: usize,
    /// When it was started.
    since: Duration,
}

/// The jobs of one link that only a neighbour's link has announced yet.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// From the oldest to the newest.
    started: Vec<Started>,
    /// The one of them on which miners work.
    current: Option<Started>,
    /// The newest clean job of which neither our link nor we told miners: its content, and the neighbour.
    /// The early job behind it must be clean too.
    clean_skipped: Option<(u64, usize)>,
    /// The contents that the link itself announced last, whatever became of them. Miners are not started
    /// on one of these again.
    announced: VecDeque<u64>,
    /// Shares for them.
    pub(crate) held: HeldShares,
}

impl Early {
    /// Forgets the jobs: their epoch is over. The shares are answered by then.
    pub(crate) fn clear(&mut self) {
        debug_assert!(self.held.is_empty(), "every share is answered");
        self.started.clear();
        self.current = None;
        self.clean_skipped = None;
    }
}

/// What a job that a link announced is to its miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// New: it goes out to them.
    New,
    /// They are on a newer one already.
    Behind,
    /// They were started on it early, and all is done.
    Started,
}

impl Link {
    /// Whether miners may be started on a neighbour's word.
    fn may_start_early(&self, now: Now) -> bool {
        let is_settled = self.age(now).is_some_and(|age| age >= GREETING);
        let keeps_space = self.next_subscription.is_none() && self.next_space.is_none();
        is_settled
            && keeps_space
            && self.early.started.len() < STARTED_MAX
            && self.jobs.announced().is_some()
    }
}

impl Exchange {
    /// Starts the miners of our links to a pool on a job that a neighbour's link announced, where they
    /// may believe it.
    pub(super) fn start_early(&mut self, now: Now, from: usize, heard: &HeardJob) {
        let Some(exchange) = self.settings.job_exchange else {
            return;
        };
        let content = self.content_of(&heard.job);
        let is_news = now.since(heard.at) <= exchange.match_within;
        let alike = self.likeness.of(from, heard.pool);
        let believed = alike.is_some_and(|alike| alike.qualifies())
            && heard.link_age >= GREETING
            && is_news
            && !self.shutting_down;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let is_ours = link.tells_jobs() && link.pool == heard.pool;
            let is_known = link.early.announced.contains(&content)
                || link.jobs.with_content(&heard.job).is_some();
            if !is_ours || is_known {
                continue;
            }
            if believed && link.may_start_early(now) {
                self.start_miners_early(now, index, from, &heard.job);
            } else if heard.job.clean {
                link.early.clean_skipped = Some((content, from));
            }
        }
    }

    fn start_miners_early(&mut self, now: Now, index: usize, from: usize, job: &Job) {
        let started = Started {
            job: self.next_job_id(),
            content: self.content_of(job),
            from,
            since: now.since_start,
        };
        let link = &mut self.links[index];
        let job = Job {
            pool_id: Box::default(),
            target: job.target.and(link.target),
            ..job.clone()
        };
        link.set_job(started.job, &job, self.dialect.as_ref(), &mut self.scratch);
        // One that takes the place of another one which was not confirmed may follow a wrong job: a miner
        // must not stay on that.
        let unsure = link.early.current.is_some();
        link.fresh |= job.clean | unsure | link.early.clean_skipped.take().is_some();
        link.early.started.push(started);
        link.early.current = Some(started);
        self.keep_job(now, index, started.job, job);
        self.counters.early_jobs += 1;
        self.fan_out_job(index);
    }

    /// A link announced a job: finds out whether its miners were started on it, or on a wrong one.
    pub(super) fn settle_early(&mut self, now: Now, index: usize, job: &Job) -> Announced {
        let Some(exchange) = self.settings.job_exchange else {
            return Announced::New;
        };
        let content = self.content_of(job);
        let link = &mut self.links[index];
        link.early.announced.push_back(content);
        if link.early.announced.len() > ANNOUNCED_MAX {
            link.early.announced.pop_front();
        }
        let pool = link.pool;
        let known = link.jobs.with_content(job);
        let early = known.filter(|known| known.is_early()).map(|known| known.id);
        let current = link.early.current;
        let confirms = current.is_some_and(|current| early == Some(current.job));
        // Our link may be more than one job behind.
        let behind = current.is_some_and(|current| {
            let alike = self.likeness.of(current.from, pool);
            alike.is_some_and(|alike| alike.announced_before(content, current.content))
        });
        if self.links[index].tells_jobs() {
            self.tell_own_job(now, index, job, exchange);
        }
        if let Some(current) = current
            && !confirms
            && !behind
        {
            self.miss_early(now, index, current.from);
            // This one takes the wrong one's place, whatever the pool says of those before it.
            self.links[index].fresh = true;
        }
        if let Some(id) = early {
            self.confirm_early(now, index, id, job);
            return Announced::Started;
        }
        if behind {
            return Announced::Behind;
        }
        // What was skipped is made good now, unless it is newer than this job.
        let skipped = self.links[index].early.clean_skipped;
        let is_ahead = skipped.is_some_and(|(skipped, from)| {
            let alike = self.likeness.of(from, pool);
            alike.is_some_and(|alike| alike.announced_before(content, skipped))
        });
        if !is_ahead {
            self.links[index].early.clean_skipped = None;
        }
        Announced::New
    }

    /// The pool's own id for a job that was started early is known from now on.
    fn confirm_early(&mut self, now: Now, index: usize, id: JobId, job: &Job) {
        let link = &mut self.links[index];
        let other_target = link.jobs.confirm(id, job, link.target);
        let started = &mut link.early.started;
        if let Some(place) = started.iter().position(|started| started.job == id) {
            let started = started.remove(place);
            self.counters.count_lead(now.since(started.since));
        }
        let goes_out = match link.early.current {
            Some(current) if current.job == id => {
                link.early.current = None;
                other_target
            }
            Some(_) => false,
            // Miners were sent back to a job before it.
            None => true,
        };
        if goes_out {
            let new = self.next_job_id();
            let link = &mut self.links[index];
            link.jobs.rename(id, new);
            link.set_job(new, job, self.dialect.as_ref(), &mut self.scratch);
            link.fresh |= job.clean;
            if link.is_up() {
                self.fan_out_job(index);
            } else {
                link.unsaid = link.unsaid.and(Owed::JOB);
            }
        }
        self.send_held(now, index, id);
    }

    /// A neighbour announced what our link did not: its word counts for nothing for a while. Says whether
    /// miners work on a job of its.
    fn miss_early(&mut self, now: Now, index: usize, from: usize) -> bool {
        let link = &mut self.links[index];
        let pool = link.pool;
        let before = link.early.started.len();
        link.early.started.retain(|started| started.from != from);
        let missed = before - link.early.started.len();
        let is_current = link.early.current.take_if(|current| current.from == from);
        self.counters.early_missed += missed as u64;
        if let Some(alike) = self.likeness.of(from, pool) {
            alike.miss();
        }
        if Self::is_told(&mut self.early_miss_told, now) {
            self.fact(Fact::EarlyMissed { pool, shard: from });
        }
        is_current.is_some()
    }

    /// Gives the miners of a link its newest job again, clean.
    fn return_to_own_job(&mut self, index: usize, shown: JobId) {
        let id = self.next_job_id();
        let link = &mut self.links[index];
        let Some(own) = link.jobs.announced() else {
            return;
        };
        let (own_id, job, target) = (own.id, own.job.clone(), own.miner_target);
        // Some firmware passes over an id that it has seen.
        link.jobs.rename(own_id, id);
        link.show_job(id, &job, self.dialect.as_ref(), &mut self.scratch);
        let mut owed = Owed::JOB.and(Owed::CLEAN);
        // Another target may have come into force with the wrong job, or was told behind it; for this one it
        // is not in force yet.
        let in_force = link.jobs.find(shown).and_then(|shown| shown.miner_target);
        if let Some(target) = target
            && (in_force != Some(target) || link.target != Some(target))
        {
            let mut line = |target| {
                self.scratch.clear();
                self.dialect.write_target(&mut self.scratch, &target);
                Rc::from(self.scratch.as_slice())
            };
            link.lines.target = Some(line(target));
            let next = link.target.filter(|&next| next != target);
            link.lines.next_target = next.map(line);
            owed = owed.and(Owed::TARGET).and(Owed::NEXT_TARGET);
        }
        self.for_each_of(index, |before| before.and(owed));
    }

    /// Ends the wait for announcements that did not come, and for shares that could not be sent.
    pub(super) fn tick_early(&mut self, now: Now) {
        let Some(exchange) = self.settings.job_exchange else {
            return;
        };
        for alike in self.likeness.iter_mut() {
            alike.expire(now.since_start, exchange.match_within);
        }
        for index in 0..self.links.len() {
            self.expire_held(now, index, exchange.hold);
            // A link that is lost announces nothing, and one that is back has its time.
            while let Some(age) = self.links[index].age(now) {
                let early = &self.links[index].early;
                let is_late = |started: &&Started| {
                    let waited = now.since(started.since).min(age);
                    waited > exchange.match_within && cfg!(not(break_early))
                };
                let Some(from) = early.started.iter().find(is_late).map(|late| late.from) else {
                    break;
                };
                let shown = early.current;
                if self.miss_early(now, index, from)
                    && let Some(shown) = shown
                {
                    self.return_to_own_job(index, shown.job);
                }
            }
        }
    }
}
