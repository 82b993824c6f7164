//! How the other shards of this proxy are doing: a pool is not bad because one link to it is.

use super::{Exchange, Letter, Standing};
use crate::exchange::link::Link;

/// What was told between this exchange and those of the other shards.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// By shard and pool, as each shard told; nothing of our own.
    standings: Vec<Vec<Standing>>,
    /// By pool, what the others know of us.
    told: Vec<Standing>,
}

impl Neighbours {
    /// Nothing was told yet between `shards` exchanges of a proxy with so many pools.
    pub(crate) fn new(shards: u32, pools: usize) -> Self {
        let none = vec![Standing::None; pools];
        Self {
            standings: vec![none.clone(); shards as usize],
            told: none,
        }
    }

    /// Notes what a neighbour told.
    fn note(&mut self, shard: usize, pool: usize, standing: Standing) {
        let standings = self.standings.get_mut(shard);
        if let Some(noted) = standings.and_then(|standings| standings.get_mut(pool)) {
            *noted = standing;
        }
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
        if self.settings.part.1 < 2 {
            return;
        }
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
        let is_own = |link: &&Link| link.serves() && !link.pass_through && link.home() == pool;
        let own = || self.links.iter().filter(is_own);
        if own().any(Link::is_up) {
            Standing::Up
        } else if own().any(|link| link.space.is_some()) {
            Standing::Lost
        } else {
            Standing::None
        }
    }

    /// A neighbour told how its links to a pool are.
    pub(super) fn handle_standing(&mut self, from: usize, pool: usize, standing: Standing) {
        self.neighbours.note(from, pool, standing);
    }
}
