//! How the other shards of this proxy are doing: a pool is not bad because one link to it is.

use std::time::Duration;

use super::{Exchange, Letter, LinkEnd, Standing};
use crate::exchange::link::{Link, LinkState};
use crate::proto::time::Now;

/// What was told between this exchange and those of the other shards.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// By shard and pool, as each shard told; nothing of our own.
    standings: Vec<Vec<Standing>>,
    /// By shard and pool, since when that holds.
    since: Vec<Vec<Duration>>,
    /// By pool, what the others know of us.
    told: Vec<Standing>,
}

impl Neighbours {
    /// Nothing was told yet between `shards` exchanges of a proxy with so many pools.
    pub(crate) fn new(shards: u32, pools: usize) -> Self {
        let none = vec![Standing::None; pools];
        Self {
            standings: vec![none.clone(); shards as usize],
            since: vec![vec![Duration::ZERO; pools]; shards as usize],
            told: none,
        }
    }

    /// Notes what a neighbour told.
    fn note(&mut self, now: Duration, shard: usize, pool: usize, standing: Standing) {
        let standings = self.standings.get_mut(shard);
        if let Some(noted) = standings.and_then(|standings| standings.get_mut(pool)) {
            *noted = standing;
            self.since[shard][pool] = now;
        }
    }

    /// The neighbours whose links to this pool have been ready since this time or longer.
    pub(crate) fn up_since(
        &self,
        pool: usize,
        time: Duration,
    ) -> impl Iterator<Item = usize> + use<'_> {
        let up = self.with(pool, Standing::Up);
        up.filter(move |&shard| self.since[shard][pool] <= time)
    }

    /// The neighbours that stand so with this pool.
    pub(crate) fn with(
        &self,
        pool: usize,
        wanted: Standing,
    ) -> impl Iterator<Item = usize> + use<'_> {
        let shards = self.standings.iter().enumerate();
        shards
            .filter(move |(_, standings)| standings.get(pool) == Some(&wanted))
            .map(|(shard, _)| shard)
    }

    /// The most preferred pool to which a neighbour has a link that is ready.
    pub(crate) fn best_pool_up(&self) -> Option<usize> {
        (0..self.told.len()).find(|&pool| self.with(pool, Standing::Up).next().is_some())
    }
}

impl Exchange {
    /// The numbers of the other shards of this proxy.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = usize> + use<> {
        let (own, count) = self.settings.part;
        (0..count as usize).filter(move |&shard| shard != own as usize)
    }

    /// Writes a letter to every other shard of this proxy.
    pub(super) fn tell_all(&mut self, letter: &Letter) {
        for shard in self.neighbours() {
            self.letters.push_back((shard, letter.clone()));
        }
    }

    /// Tells the other shards how our links are, where that changed.
    pub(super) fn tell_standings(&mut self) {
        for pool in 0..self.neighbours.told.len() {
            let standing = self.standing(pool);
            if self.neighbours.told[pool] != standing {
                self.neighbours.told[pool] = standing;
                self.tell_all(&Letter::Standing { pool, standing });
            }
        }
    }

    /// How our own links to a pool are.
    fn standing(&self, pool: usize) -> Standing {
        let is_own = |link: &&Link| {
            link.serves() && !link.pass_through && link.lease.is_none() && link.home() == pool
        };
        let own = || self.links.iter().filter(is_own);
        if own().any(Link::is_up) {
            Standing::Up
        } else if own().any(|link| link.space.is_some()) {
            Standing::Lost
        } else {
            Standing::None
        }
    }

    /// The session of a lost link could not be taken up again in time. Where other links to its pool hold,
    /// that link is at fault; else the pool is bad, and the others need not find that out for themselves.
    pub(super) fn give_up(&mut self, now: Now, index: usize) {
        let pool = self.links[index].home();
        self.abandon_shares(index);
        let held = !self.is_lost_elsewhere(pool) && self.is_held_elsewhere(index, pool);
        if !held {
            let silence = None;
            self.tell_all(&Letter::PoolBad { pool, silence });
        }
        self.keep_lease(now);
        if !self.fail_over(now, index) && !held {
            self.leave_lost_pool(now, index);
        }
    }

    pub(super) fn is_lost_elsewhere(&self, pool: usize) -> bool {
        self.neighbours.with(pool, Standing::Lost).next().is_some()
    }

    fn is_held_elsewhere(&self, index: usize, pool: usize) -> bool {
        let holds = |link: &Link| link.key.index != index && link.is_up() && link.home() == pool;
        let mut neighbours = self.neighbours.with(pool, Standing::Up);
        neighbours.next().is_some() || self.serving().any(holds)
    }

    /// A neighbour leaves a pool. A link of ours that is well stays: nobody on it would win by a move.
    pub(super) fn handle_pool_bad(&mut self, now: Now, pool: usize, silence: Option<LinkEnd>) {
        let limits = self.settings.limits;
        for index in 0..self.links.len() {
            let link = &self.links[index];
            let ours = link.serves() && !link.pass_through && link.lease.is_none();
            if !ours || link.home() != pool {
                continue;
            }
            if let Some(end) = silence
                && link.is_half_silent(now.since_start, end, &limits)
            {
                self.lose_link(now, index, end, "a neighbour found it so".to_owned());
            } else if link.lost.is_some() && !link.goes_on() {
                self.abandon_shares(index);
                self.keep_lease(now);
                if !self.fail_over(now, index) {
                    self.leave_lost_pool(now, index);
                }
            } else if matches!(link.state, LinkState::Waiting(_)) && link.pool == pool {
                self.leave_lost_pool(now, index);
            }
        }
    }

    /// A neighbour told how its links to a pool are.
    pub(super) fn handle_standing(
        &mut self,
        now: Now,
        from: usize,
        pool: usize,
        standing: Standing,
    ) {
        self.neighbours.note(now.since_start, from, pool, standing);
        // A pool that is back takes our lost links too, and they need not wait for their next try.
        for link in &mut self.links {
            let is_lost = link.serves() && !link.pass_through && link.lease.is_none();
            if standing == Standing::Up
                && is_lost
                && link.pool == pool
                && link.space.is_some()
                && matches!(link.state, LinkState::Waiting(_))
            {
                link.state = LinkState::Waiting(now.since_start);
            }
        }
    }
}
