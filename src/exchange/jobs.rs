//! The jobs of one link: the current one, and those whose shares still count.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::exchange::settings::Limits;
use crate::proto::job::{Job, JobId};
use crate::proto::target::Target;

/// A job with what it meant when it was announced.
#[derive(Debug)]
pub(crate) struct KnownJob {
    /// The id that miners were given last.
    pub(crate) id: JobId,
    /// Ids that they were given before, the newest last; none for nearly all jobs.
    former_ids: Vec<JobId>,
    /// Its place among all jobs of this exchange.
    pub(crate) sequence: u64,
    /// What the pool said. Of one that its link has yet to announce the pool's id is not known: empty.
    pub(crate) job: Job,
    /// Its time by the pool's clock, in seconds since 1970.
    pub(crate) time: u64,
    /// The target that the pool judges its shares by.
    pub(crate) pool_target: Option<Target>,
    /// The target that its miners were told. The pool's, until the proxy sets difficulties itself.
    pub(crate) miner_target: Option<Target>,
    /// Hashes that a share stands for, by expectation.
    pub(crate) work: u64,
    received: Duration,
    seen: SeenShares,
}

/// A job that was just announced.
#[derive(Debug)]
pub(crate) struct NewJob {
    /// The id that miners are told.
    pub(crate) id: JobId,
    /// Its place among all jobs of this exchange.
    pub(crate) sequence: u64,
    /// What the pool said.
    pub(crate) job: Job,
    /// Its time by the pool's clock, in seconds since 1970.
    pub(crate) time: u64,
    /// The pool's target in force.
    pub(crate) target: Option<Target>,
}

impl KnownJob {
    /// Whether only a neighbour's link announced it yet, so that the pool's id for it is not known.
    #[must_use]
    pub(crate) const fn is_early(&self) -> bool {
        self.job.pool_id.is_empty()
    }

    fn set_target(&mut self, target: Option<Target>) {
        (self.pool_target, self.miner_target) = (target, target);
        self.work = target.map_or(0, Target::work);
    }

    /// Remembers a share by the hash of its identity.
    pub(crate) fn remember(&mut self, identity: u64, limits: &Limits) -> Remembered {
        if self.seen.contains(&identity) {
            return Remembered::Duplicate;
        }
        if self.seen.len() >= limits.shares_remembered_per_job_max {
            return Remembered::NoRoom;
        }
        self.seen.insert(identity);
        Remembered::New
    }
}

/// Whether a share came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// It did not.
    New,
    /// It did.
    Duplicate,
    /// It did not, but a second one would not be noticed: too many are remembered.
    NoRoom,
}

/// Identities are hashes already.
#[derive(Debug, Default)]
pub(crate) struct NoHash(u64);

impl Hasher for NoHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "only u64 keys: {bytes:?}");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type SeenShares = HashSet<u64, BuildHasherDefault<NoHash>>;

/// Emptied tables kept for the next jobs, so that a share allocates nothing once the farm is warm.
const SPARE_TABLES_MAX: usize = 16;

/// Ids that one job had before and that are still understood.
const FORMER_IDS_MAX: usize = 8;

/// A job dies when it is neither among the last ones nor young, and when its session ends. A clean
/// flag tells miners to switch; it kills nothing here, for some pools send it on every job and still
/// pay for the one before.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// From the oldest to the current one.
    known: VecDeque<KnownJob>,
    /// The one that the link itself announced last.
    announced: Option<JobId>,
    spare: Vec<SeenShares>,
}

impl Jobs {
    /// Whether none is known.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The sequence of the oldest job that is known.
    #[must_use]
    pub(crate) fn oldest_sequence(&self) -> Option<u64> {
        self.known.front().map(|known| known.sequence)
    }

    /// Takes a new job, and lets the dead ones go.
    pub(crate) fn announce(&mut self, now: Duration, new: NewJob, limits: &Limits) {
        let seen = self.spare.pop().unwrap_or_default();
        let mut known = KnownJob {
            id: new.id,
            former_ids: Vec::new(),
            sequence: new.sequence,
            job: new.job,
            time: new.time,
            work: 0,
            pool_target: None,
            miner_target: None,
            received: now,
            seen,
        };
        known.set_target(new.target);
        if !known.is_early() {
            self.announced = Some(known.id);
        }
        self.known.push_back(known);
        while self.known.front().is_some_and(|oldest| {
            // Miners go back to it if the early ones behind it are wrong.
            if Some(oldest.id) == self.announced {
                return false;
            }
            let old = now.saturating_sub(oldest.received) >= limits.job_kept;
            (old && self.known.len() > limits.jobs_kept) || self.known.len() > limits.jobs_kept_max
        }) {
            let dead = self.known.pop_front();
            self.keep_table(dead);
        }
    }

    /// The job that a miner names, if it is known.
    pub(crate) fn find(&mut self, id: JobId) -> Option<&mut KnownJob> {
        let newest = self.known.iter().rposition(|known| known.id == id);
        let place = newest.or_else(|| self.place_of_former(id))?;
        self.known.get_mut(place)
    }

    #[cold]
    fn place_of_former(&self, id: JobId) -> Option<usize> {
        let has = |known: &KnownJob| known.former_ids.contains(&id);
        self.known.iter().rposition(has)
    }

    /// The one that the link itself announced last.
    #[must_use]
    pub(crate) fn announced(&self) -> Option<&KnownJob> {
        let id = self.announced?;
        self.known.iter().rev().find(|known| known.id == id)
    }

    /// A job with this content, whatever the pool calls it.
    #[must_use]
    pub(crate) fn with_content(&self, job: &Job) -> Option<&KnownJob> {
        let mut known = self.known.iter().rev();
        known.find(|known| {
            let Job {
                pool_id: _,
                clean,
                body,
                extra,
                target: _,
            } = &known.job;
            *body == job.body && *extra == job.extra && *clean == job.clean
        })
    }

    /// The link announced an early job: says what the pool calls it, and the target in force. Returns
    /// whether that is another one than its miners were told.
    pub(crate) fn confirm(&mut self, id: JobId, job: &Job, target: Option<Target>) -> bool {
        let Some(known) = self.find(id) else {
            return false;
        };
        debug_assert!(known.is_early() && !job.pool_id.is_empty());
        known.job.pool_id.clone_from(&job.pool_id);
        let differs = known.pool_target != target;
        known.set_target(target);
        self.announced = Some(id);
        differs
    }

    /// Gives a job another id; the ones before mean it too.
    pub(crate) fn rename(&mut self, id: JobId, new: JobId) {
        let Some(known) = self.find(id) else {
            return;
        };
        if known.former_ids.len() == FORMER_IDS_MAX {
            known.former_ids.remove(0);
        }
        known.former_ids.push(known.id);
        let before = std::mem::replace(&mut known.id, new);
        if self.announced == Some(before) {
            self.announced = Some(new);
        }
    }

    /// Forgets all of them: their session is over.
    pub(crate) fn clear(&mut self) {
        self.announced = None;
        while let Some(dead) = self.known.pop_front() {
            self.keep_table(Some(dead));
        }
    }

    fn keep_table(&mut self, dead: Option<KnownJob>) {
        if let Some(mut dead) = dead
            && self.spare.len() < SPARE_TABLES_MAX
        {
            dead.seen.clear();
            self.spare.push(dead.seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            pool_id: Box::from(&b"\"1\""[..]),
            clean: true,
            body: Box::default(),
            extra: Box::default(),
            target: None,
        }
    }

    fn announce(jobs: &mut Jobs, seconds: u64, number: u32, limits: &Limits) {
        let at = Duration::from_secs(seconds);
        let new = NewJob {
            id: JobId(number),
            sequence: u64::from(number),
            job: job(),
            time: 0,
            target: None,
        };
        jobs.announce(at, new, limits);
    }

    #[test]
    fn a_job_outlives_clean_jobs_for_eight_jobs_and_two_minutes() {
        let limits = Limits::default();
        let mut jobs = Jobs::default();
        for number in 0..20 {
            announce(&mut jobs, u64::from(number), number, &limits);
        }
        assert!(
            jobs.find(JobId(0)).is_some(),
            "young, if not among the last"
        );
        announce(&mut jobs, 125, 20, &limits);
        assert!(jobs.find(JobId(5)).is_none());
        assert!(jobs.find(JobId(6)).is_some());
        for number in 21..28 {
            announce(&mut jobs, 1000, number, &limits);
        }
        assert!(jobs.find(JobId(19)).is_none());
        assert!(
            jobs.find(JobId(20)).is_some(),
            "among the last eight, if old"
        );
        assert_eq!(jobs.oldest_sequence(), Some(20));
    }

    #[test]
    fn the_last_job_of_the_link_itself_outlives_those_of_neighbours() {
        let limits = Limits {
            jobs_kept: 1,
            job_kept: Duration::from_secs(1),
            ..Limits::default()
        };
        let mut jobs = Jobs::default();
        announce(&mut jobs, 0, 1, &limits);
        for number in 2..5 {
            let early = NewJob {
                id: JobId(number),
                sequence: u64::from(number),
                job: Job {
                    pool_id: Box::default(),
                    ..job()
                },
                time: 0,
                target: None,
            };
            jobs.announce(Duration::from_secs(10 * u64::from(number)), early, &limits);
        }
        assert_eq!(jobs.announced().unwrap().id, JobId(1));
        announce(&mut jobs, 100, 5, &limits);
        assert!(jobs.find(JobId(1)).is_none());
    }

    #[test]
    fn a_flood_of_jobs_is_bounded() {
        let limits = Limits::default();
        let mut jobs = Jobs::default();
        for number in 0..1000 {
            announce(&mut jobs, 0, number, &limits);
        }
        assert_eq!(jobs.known.len(), limits.jobs_kept_max);
    }

    #[test]
    fn a_job_is_known_by_the_ids_that_it_had_and_keeps_its_shares() {
        let limits = Limits::default();
        let mut jobs = Jobs::default();
        announce(&mut jobs, 0, 1, &limits);
        announce(&mut jobs, 0, 2, &limits);
        let first = jobs.find(JobId(1)).unwrap();
        assert_eq!(first.remember(7, &limits), Remembered::New);
        for number in 0..20 {
            jobs.rename(
                JobId(if number == 0 { 1 } else { 99 + number }),
                JobId(100 + number),
            );
        }
        for number in 112..=119 {
            let known = jobs.find(JobId(number)).unwrap();
            assert_eq!(known.remember(7, &limits), Remembered::Duplicate);
        }
        assert!(jobs.find(JobId(1)).is_none(), "too many came after it");
        let second = jobs.find(JobId(2)).unwrap();
        assert_eq!(second.remember(7, &limits), Remembered::New);
    }

    #[test]
    fn the_job_that_the_link_announced_last_is_no_early_one() {
        let limits = Limits::default();
        let mut jobs = Jobs::default();
        let id = |jobs: &Jobs| jobs.announced().map(|known| known.id);
        assert_eq!(id(&jobs), None);
        announce(&mut jobs, 0, 1, &limits);
        let early = NewJob {
            id: JobId(2),
            sequence: 2,
            time: 0,
            job: Job {
                pool_id: Box::default(),
                body: Box::from(&b"2"[..]),
                ..job()
            },
            target: None,
        };
        let announced = Job {
            pool_id: job().pool_id,
            ..early.job.clone()
        };
        jobs.announce(Duration::ZERO, early, &limits);
        assert_eq!(id(&jobs), Some(JobId(1)));
        jobs.rename(JobId(1), JobId(3));
        assert_eq!(id(&jobs), Some(JobId(3)));
        let found = jobs.with_content(&announced).unwrap();
        assert!(found.is_early() && found.id == JobId(2));
        assert!(!jobs.confirm(JobId(2), &announced, None), "the same target");
        assert_eq!(id(&jobs), Some(JobId(2)));
        assert!(!jobs.find(JobId(2)).unwrap().is_early());
        jobs.clear();
        assert_eq!(id(&jobs), None);
    }

    #[test]
    fn a_share_is_remembered_for_its_job_and_no_other() {
        let limits = Limits {
            shares_remembered_per_job_max: 2,
            ..Limits::default()
        };
        let mut jobs = Jobs::default();
        announce(&mut jobs, 0, 1, &limits);
        announce(&mut jobs, 0, 2, &limits);
        let first = jobs.find(JobId(1)).unwrap();
        assert_eq!(first.remember(7, &limits), Remembered::New);
        assert_eq!(first.remember(7, &limits), Remembered::Duplicate);
        assert_eq!(first.remember(8, &limits), Remembered::New);
        assert_eq!(first.remember(9, &limits), Remembered::NoRoom);
        assert_eq!(
            jobs.find(JobId(2)).unwrap().remember(7, &limits),
            Remembered::New
        );
        jobs.clear();
        announce(&mut jobs, 0, 3, &limits);
        assert_eq!(
            jobs.find(JobId(3)).unwrap().remember(7, &limits),
            Remembered::New
        );
    }
}
