//! Work for miners while no pool is up, so that their machines don't cool down.
//!
//! Only where the operator wants it, for nothing that is found meanwhile counts: each share is refused,
//! with a code and a counter of its own. The last job of the session that is over goes out again under a
//! new id, and again, until a link is ready; then everything is as after any other failover. Who has no
//! slot yet waits for a pool, as ever.

use std::rc::Rc;
use std::time::Duration;

use super::{Exchange, Fact};
use crate::exchange::link::{Lines, Link, LinkState};
use crate::exchange::outbox::Owed;
use crate::proto::job::Job;
use crate::proto::pool::PoolState;
use crate::proto::time::Now;

/// How long the next pool has to be up before old work is handed out: most fail over sooner.
const FIRST_AFTER: Duration = Duration::from_secs(5);

/// Firmware takes a pool for dead after 60 seconds without a job or without a line (nomp's README,
/// cgminer), or after 120 (cpuminer). Twice in that time leaves room for a slow link.
const INTERVAL: Duration = Duration::from_secs(30);

/// What keeps the miners of a link warm whose session is over.
#[derive(Debug)]
pub(crate) struct Warm {
    /// The last job of that session.
    job: Job,
    /// The line of its target.
    target: Option<Rc<[u8]>>,
    /// When the job goes out next; known from the first tick on.
    due: Option<Duration>,
    /// When it went out for the first time.
    begun: Option<Duration>,
    /// How many miners it went to last.
    pub(crate) miners: usize,
}

impl Link {
    /// Keeps the last job of an epoch that is about to end. One that is kept already stays: the link was
    /// not ready since.
    pub(crate) fn keep_last_job(&mut self) {
        // Not the one that was known last: a neighbour may have announced another one ahead of it.
        if self.warm.is_none()
            && let Some(id) = self.lines.job_id
            && let Some(known) = self.jobs.find(id)
        {
            self.warm = Some(Warm {
                job: known.job.clone(),
                target: self.lines.target.clone(),
                due: None,
                begun: None,
                miners: 0,
            });
        }
    }

    /// Whether its miners work on a job of a session that is over.
    #[must_use]
    pub(crate) fn is_kept_warm(&self) -> bool {
        self.warm.as_ref().is_some_and(|warm| warm.begun.is_some())
    }

    /// Takes the old job from the link's lines: the pool that speaks now has its own.
    pub(crate) fn put_warm_job_away(&mut self) {
        // It may have said one already.
        if self.is_kept_warm() && self.lines.job_id.is_none() {
            self.lines = Lines::default();
            self.target = None;
        }
    }
}

impl Exchange {
    /// Hands out the last job of a session that is over, when that is due.
    pub(super) fn keep_warm(&mut self, now: Now, index: usize) {
        let link = &mut self.links[index];
        // A pool that is about to take us may have announced its first job already.
        let is_welcomed = match &link.state {
            LinkState::Handshaking(_, session) => session.state() == PoolState::Authorizing,
            LinkState::Up(..) | LinkState::Lent => true,
            LinkState::Idle
            | LinkState::Waiting(_)
            | LinkState::Dialling(_)
            | LinkState::Asking => false,
        };
        let Some(warm) = &mut link.warm else {
            return;
        };
        let due = *warm.due.get_or_insert(now.since_start + FIRST_AFTER);
        if is_welcomed || due > now.since_start || self.shutting_down {
            return;
        }
        warm.due = Some(now.since_start + INTERVAL);
        let miners = self.miners.iter();
        let miners = miners.filter(|miner| miner.mines_on(index)).count();
        warm.miners = miners;
        if miners == 0 {
            return;
        }
        let begins = warm.begun.is_none();
        warm.begun.get_or_insert(now.since_start);
        let id = self.next_job_id();
        let link = &mut self.links[index];
        let Some(warm) = &link.warm else {
            return;
        };
        // Clean, though it is the same work: some firmware ignores a job that isn't, and what it throws
        // away for this one is worth nothing.
        self.scratch.clear();
        self.dialect
            .write_job(&mut self.scratch, &warm.job, id, true);
        let line: Rc<[u8]> = Rc::from(self.scratch.as_slice());
        link.lines = Lines {
            job_id: None,
            job: Some(Rc::clone(&line)),
            clean_job: Some(line),
            target: warm.target.clone(),
            next_target: None,
        };
        // What a pool said that did not take us in the end is forgotten: the next one says it again.
        link.target = None;
        let pool = link.pool;
        self.for_each_of(index, |owed| owed.and(Owed::JOB).and(Owed::CLEAN));
        if begins {
            self.fact(Fact::WarmBegins { pool, miners });
        }
    }

    /// The link is ready, or nobody needs it any more.
    pub(super) fn end_warm(&mut self, now: Now, index: usize) {
        if let Some(warm) = self.links[index].warm.take()
            && let Some(begun) = warm.begun
        {
            let seconds = now.since(begun).as_secs();
            let miners = warm.miners;
            self.fact(Fact::WarmEnds { miners, seconds });
        }
    }
}
