//! Learns whether a neighbour's links to a pool announce the same jobs as ours.
//!
//! A pool tells its connections of a new job one after the other, so two links hear of the same content
//! milliseconds apart, in either order. Some pools don't: each connection gets work of its own. So nothing
//! is believed before it was seen, of each neighbour and for each pool.
//!
//! Where both announce one content soon after each other, that is a match; where one does and the other
//! one does not in time, a miss. Some matches in a row qualify the neighbour, and one miss ends that for a
//! while. A content that a link says again counts for nothing: a pool that changes a target often repeats
//! its job on that link alone.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Exchange, Fact, HeardJob, Letter, Standing};
use crate::exchange::link::{Link, LinkState, Role};
use crate::exchange::settings::JobExchange;
use crate::proto::job::Job;
use crate::proto::time::Now;

/// Matches in a row that qualify a neighbour.
const MATCHES: u32 = 3;
/// Jobs of our own after a miss until the neighbour is believed again.
const BARRED_JOBS: u32 = 20;
/// Contents that are remembered of each neighbour and pool: more than either side is ever ahead.
const HEARD_MAX: usize = 16;
/// What a link says sooner after its handshake than this is the pool's greeting, and no news.
pub(super) const GREETING: Duration = Duration::from_secs(5);
/// A neighbour's letter may be on its way for so long: its shard may be in the middle of a round.
const LETTER_TIME: Duration = Duration::from_millis(500);

/// Who announced a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A link of this exchange.
    Ours,
    /// A link of the neighbour's.
    Theirs,
}

/// A content that one side announced, or both.
#[derive(Debug)]
struct Heard {
    content: u64,
    /// When it was announced first.
    at: Duration,
    /// Whether we did.
    ours: bool,
    /// Where it stands among the neighbour's announcements, if it is one.
    theirs: Option<u64>,
    /// Whether it may still become a match or a miss.
    open: bool,
}

/// What was learnt of one neighbour's jobs of one pool.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    /// From the oldest to the newest.
    heard: VecDeque<Heard>,
    /// How many the neighbour announced.
    theirs: u64,
    /// Matches since the last miss.
    row: u32,
    /// Jobs of our own for which it is not believed after a miss.
    barred: u32,
    /// Whether it was told that it qualified.
    told: bool,
}

impl Alike {
    /// Notes that a side announced a content. What does not `count` is neither match nor miss.
    pub(crate) fn note(
        &mut self,
        side: Side,
        content: u64,
        at: Duration,
        counts: bool,
        within: Duration,
    ) {
        let turn = self.theirs;
        let mut heard = self.heard.iter_mut().rev();
        let Some(heard) = heard.find(|heard| heard.content == content) else {
            self.heard.push_back(Heard {
                content,
                at,
                ours: side == Side::Ours,
                theirs: (side == Side::Theirs).then_some(turn),
                open: counts,
            });
            self.announced(side);
            if self.heard.len() > HEARD_MAX
                && let Some(oldest) = self.heard.pop_front()
                && oldest.open
            {
                self.miss();
            }
            return;
        };
        let is_repeated = match side {
            Side::Ours => std::mem::replace(&mut heard.ours, true),
            Side::Theirs => heard.theirs.replace(heard.theirs.unwrap_or(turn)).is_some(),
        };
        if is_repeated {
            return;
        }
        let was_open = std::mem::take(&mut heard.open);
        let is_match = at.abs_diff(heard.at) <= within;
        self.announced(side);
        if !was_open || !counts {
            return;
        }
        if is_match {
            self.row = self.row.saturating_add(1);
        } else {
            self.miss();
        }
    }

    fn announced(&mut self, side: Side) {
        match side {
            Side::Ours => self.barred = self.barred.saturating_sub(1),
            Side::Theirs => self.theirs += 1,
        }
    }

    /// Finds what only one side announced, and the other one did not in time.
    pub(crate) fn expire(&mut self, now: Duration, within: Duration) {
        let mut missed = false;
        for heard in &mut self.heard {
            let wait = if heard.ours {
                within + LETTER_TIME
            } else {
                within
            };
            if heard.open && now.saturating_sub(heard.at) > wait {
                heard.open = false;
                missed = true;
            }
        }
        if missed {
            self.miss();
        }
    }

    /// What was announced up to now becomes neither match nor miss: a link was lost that might have
    /// announced it too.
    pub(crate) fn excuse(&mut self) {
        for heard in &mut self.heard {
            heard.open = false;
        }
    }

    /// The neighbour's jobs are not ours. What was announced up to now says no more.
    pub(crate) fn miss(&mut self) {
        self.excuse();
        self.row = 0;
        self.barred = BARRED_JOBS;
    }

    /// Whether miners may be started on a job that only the neighbour announced.
    #[must_use]
    pub(crate) const fn qualifies(&self) -> bool {
        self.row >= MATCHES && self.barred == 0
    }

    /// Whether the neighbour announced one content before another.
    #[must_use]
    pub(crate) fn announced_before(&self, content: u64, later: u64) -> bool {
        let turn = |content| {
            let mut heard = self.heard.iter().rev();
            heard.find(|heard| heard.content == content)?.theirs
        };
        matches!((turn(content), turn(later)), (Some(first), Some(second)) if first < second)
    }

    /// Whether it qualified for the first time just now.
    fn qualified_first(&mut self) -> bool {
        self.qualifies() && !std::mem::replace(&mut self.told, true)
    }
}

/// What was learnt of all neighbours, by shard and pool; nothing where jobs are not exchanged.
#[derive(Debug, Default)]
pub(crate) struct Likeness(Vec<Vec<Alike>>);

impl Likeness {
    /// Nothing was learnt yet of `shards` exchanges of a proxy with so many pools.
    pub(crate) fn new(shards: u32, pools: usize) -> Self {
        let of_shard = || (0..pools).map(|_| Alike::default()).collect();
        Self((0..shards).map(|_| of_shard()).collect())
    }

    /// What was learnt of one neighbour's jobs of one pool.
    pub(crate) fn of(&mut self, shard: usize, pool: usize) -> Option<&mut Alike> {
        self.0.get_mut(shard)?.get_mut(pool)
    }

    /// What was learnt of all neighbours' jobs.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Alike> {
        self.0.iter_mut().flatten()
    }
}

impl Link {
    /// For how long it has been ready; not at all while it isn't.
    #[must_use]
    pub(super) fn age(&self, now: Now) -> Option<Duration> {
        match self.state {
            LinkState::Up(since, _) => Some(now.since(since)),
            _ => None,
        }
    }

    /// Whether its jobs are told to the neighbours. A link of one miner says nothing new, and there may
    /// be many of them; what a link says that was borrowed, its host has told.
    #[must_use]
    pub(super) fn tells_jobs(&self) -> bool {
        self.role == Role::Serving && !self.pass_through && self.lease.is_none()
    }
}

impl Exchange {
    /// Tells the neighbours of a job that a link of ours announced, and holds it against what they told.
    pub(super) fn tell_own_job(
        &mut self,
        now: Now,
        index: usize,
        job: &Job,
        JobExchange { match_within, .. }: JobExchange,
    ) {
        let (pool, at) = (self.links[index].pool, now.since_start);
        let link_age = self.links[index].age(now).unwrap_or_default();
        let content = self.content_of(job);
        for shard in self.neighbours() {
            let is_up = self
                .neighbours
                .with(pool, Standing::Up)
                .any(|it| it == shard);
            let counts = link_age >= GREETING && is_up;
            if let Some(alike) = self.likeness.of(shard, pool) {
                alike.note(Side::Ours, content, at, counts, match_within);
            }
            self.tell_if_qualified(shard, pool);
        }
        let job = job.clone();
        self.tell_all(&Letter::JobHeard(Box::new(HeardJob {
            pool,
            at,
            link_age,
            job,
        })));
    }

    /// A link of a neighbour's announced a job.
    pub(super) fn handle_heard_job(&mut self, now: Now, from: usize, heard: &HeardJob) {
        let Some(JobExchange { match_within, .. }) = self.settings.job_exchange else {
            return;
        };
        let content = self.content_of(&heard.job);
        let own = self.links.iter();
        let own = own.filter(|link| link.tells_jobs() && link.pool == heard.pool);
        let own_age = own.filter_map(|link| link.age(now)).max();
        let counts = heard.link_age >= GREETING && own_age.is_some_and(|age| age >= GREETING);
        let Some(alike) = self.likeness.of(from, heard.pool) else {
            return;
        };
        alike.note(Side::Theirs, content, heard.at, counts, match_within);
        self.tell_if_qualified(from, heard.pool);
        self.start_early(now, from, heard);
    }

    /// What one of the two sides announced is neither match nor miss any more: its link is lost.
    pub(super) fn excuse_neighbours(&mut self, pool: usize) {
        for shard in self.neighbours() {
            self.excuse_neighbour(shard, pool);
        }
    }

    /// As [`Exchange::excuse_neighbours`], for one of them.
    pub(super) fn excuse_neighbour(&mut self, shard: usize, pool: usize) {
        if let Some(alike) = self.likeness.of(shard, pool) {
            alike.excuse();
        }
    }

    fn tell_if_qualified(&mut self, shard: usize, pool: usize) {
        let alike = self.likeness.of(shard, pool);
        if alike.is_some_and(Alike::qualified_first) {
            self.fact(Fact::JobsAlike { pool, shard });
        }
    }

    /// A job's content, for finding it again: all that does not belong to one link. The hash is keyed, so
    /// that no pool can make two of them alike.
    pub(super) fn content_of(&self, job: &Job) -> u64 {
        use std::hash::BuildHasher;
        let Job {
            pool_id: _,
            clean,
            body,
            extra,
            target: _,
        } = job;
        self.hasher.hash_one((clean, body, extra))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    impl Alike {
        fn ours(&mut self, content: u64, millis: u64) {
            self.note(Side::Ours, content, at(millis), true, WITHIN);
        }

        fn theirs(&mut self, content: u64, millis: u64) {
            self.note(Side::Theirs, content, at(millis), true, WITHIN);
        }

        fn both(&mut self, content: u64, millis: u64) {
            self.ours(content, millis);
            self.theirs(content, millis + 5);
        }
    }

    /// With three matches, the contents 1 to 3, by second 3.
    fn qualified() -> Alike {
        let mut alike = Alike::default();
        for content in 1..=3 {
            alike.both(content, 1000 * content);
        }
        alike
    }

    #[test]
    fn three_matches_in_a_row_qualify_in_either_order() {
        let mut alike = Alike::default();
        alike.ours(1, 1000);
        alike.theirs(1, 3000);
        alike.theirs(2, 4000);
        alike.ours(2, 6000);
        assert!(!alike.qualifies());
        alike.both(3, 7000);
        assert!(alike.qualifies() && alike.qualified_first());
        assert!(!alike.qualified_first(), "told once");
    }

    #[test]
    fn a_content_that_comes_too_late_is_a_miss() {
        let mut alike = Alike::default();
        alike.both(1, 1000);
        alike.both(2, 2000);
        alike.ours(3, 3000);
        alike.theirs(3, 5001);
        assert_eq!((alike.row, alike.barred), (0, BARRED_JOBS));
    }

    #[test]
    fn what_one_side_alone_announces_is_a_miss_when_its_time_is_over() {
        for (side, wait) in [(Side::Theirs, WITHIN), (Side::Ours, WITHIN + LETTER_TIME)] {
            let mut alike = qualified();
            alike.note(side, 9, at(4000), true, WITHIN);
            alike.expire(at(4000) + wait, WITHIN);
            assert!(alike.qualifies(), "{side:?}");
            alike.expire(at(4001) + wait, WITHIN);
            assert!(!alike.qualifies(), "{side:?}");
        }
    }

    #[test]
    fn after_a_miss_twenty_jobs_pass_before_a_neighbour_is_believed_again() {
        let mut alike = qualified();
        alike.miss();
        for content in 10..30 {
            assert!(!alike.qualifies(), "{content}");
            alike.both(content, 1000 * content);
        }
        assert!(alike.qualifies());
    }

    #[test]
    fn a_content_that_is_said_again_counts_for_nothing() {
        let mut alike = qualified();
        alike.ours(3, 9000);
        alike.theirs(2, 9500);
        alike.expire(at(60_000), WITHIN);
        assert_eq!((alike.row, alike.barred), (3, 0));
    }

    #[test]
    fn what_does_not_count_is_neither_match_nor_miss() {
        let mut alike = qualified();
        alike.note(Side::Ours, 4, at(4000), false, WITHIN);
        alike.theirs(4, 4100);
        alike.theirs(5, 5000);
        alike.note(Side::Ours, 5, at(5100), false, WITHIN);
        alike.theirs(6, 6000);
        alike.excuse();
        alike.expire(at(60_000), WITHIN);
        assert_eq!((alike.row, alike.barred), (3, 0));
    }

    #[test]
    fn the_neighbours_order_is_known_whoever_was_first() {
        let mut alike = Alike::default();
        alike.ours(2, 1000);
        alike.theirs(1, 1100);
        alike.theirs(2, 1200);
        alike.ours(3, 1300);
        assert!(alike.announced_before(1, 2));
        assert!(!alike.announced_before(2, 1));
        assert!(!alike.announced_before(3, 1) && !alike.announced_before(1, 3));
    }

    #[test]
    fn little_is_remembered_of_a_flood_and_it_is_no_match() {
        let mut alike = qualified();
        for content in 100..10_000 {
            alike.theirs(content, 4000);
        }
        assert_eq!(alike.heard.len(), HEARD_MAX);
        assert!(!alike.qualifies());
    }
}
