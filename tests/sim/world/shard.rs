//! One shard: its exchange, the miners' places in it, and what it heard on its links.

use super::leases::{Asked, Borrowed};
use super::*;

/// A connection to a pool, among those of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnKey {
    pub(super) shard: usize,
    pub(super) index: usize,
    pub(super) dial: u32,
}

/// A link over all its connections: its shard and its index.
pub(super) type FeedKey = (usize, usize);

impl ConnKey {
    pub(super) const fn new(shard: usize, link: LinkKey) -> Self {
        Self {
            shard,
            index: link.index,
            dial: link.dial,
        }
    }

    /// The name that its shard has for it.
    pub(super) const fn link(self) -> LinkKey {
        LinkKey {
            index: self.index,
            dial: self.dial,
        }
    }

    pub(super) const fn feed(self) -> FeedKey {
        (self.shard, self.index)
    }
}

/// What a pool announced, on one of its connections or on all of them.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The links on which it was heard, each with its places among that link's jobs: a connection that is
    /// made anew is told again.
    pub(super) heard: BTreeMap<FeedKey, Vec<usize>>,
}

impl Content {
    /// The link on which a miner heard it, and its places among that link's jobs. A pool that tells all
    /// links the same gives each its own nonce_1, or else tells those of one shard different things.
    pub(super) fn on_link_of(&self, miner: &Miner, feeds: &[Feed]) -> Option<(usize, &[usize])> {
        let nonce_1 = miner.nonce_1.as_deref()?;
        let own = || self.heard.range((miner.shard, 0)..(miner.shard + 1, 0));
        let now = own().find(|((_, link), _)| feeds[*link].is_home_of(nonce_1));
        let own = now
            .or_else(|| own().find(|((_, link), _)| feeds[*link].was_home_of(nonce_1)))
            .or_else(|| own().find(|((_, link), _)| feeds[*link].had_space_of(nonce_1)));
        own.map(|((_, link), places)| (*link, places.as_slice()))
    }
}

/// A job as an exchange heard it on one of its links.
#[derive(Debug)]
pub(super) struct LinkJob {
    /// Whose it is.
    pub(super) pool: Option<usize>,
    pub(super) content: String,
    pub(super) clean: bool,
    pub(super) target: Option<String>,
}

/// What an exchange heard on one of its links, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) jobs: Vec<LinkJob>,
    pub(super) target: Option<String>,
    pub(super) nonce_1: Option<String>,
    /// Who gave that.
    pub(super) pool: Option<usize>,
    /// Every nonce_1 that it had, with who gave it.
    pub(super) nonces: Vec<(String, Option<usize>)>,
    pub(super) next_nonce_1: Option<String>,
    /// Jobs on which its miners were before it announced them: since when.
    pub(super) early: BTreeMap<String, u64>,
    /// What it is a part of, where it is a neighbour's link, and what was asked for.
    pub(super) lease: Option<Borrowed>,
    pub(super) asked: Option<Asked>,
    /// The slots that were lent.
    pub(super) lent: BTreeSet<u32>,
    /// When a lease ended.
    pub(super) lease_ended: Option<u64>,
    /// It has no miners yet.
    pub(super) stands_by: bool,
    /// Its miners were moved to another link.
    pub(super) retired: bool,
    /// To which.
    pub(super) moved_to: Option<usize>,
    /// What the answer to subscribe gave; it holds when authorize was answered.
    pub(super) offered: Option<String>,
    /// When it last offered bytes that are not those of the session before.
    pub(super) offered_other: Option<u64>,
    /// When a connection that was up was lost.
    pub(super) lost: Option<u64>,
}

impl Feed {
    /// Its miners' nonce_1 begins so from now on.
    pub(super) fn gets(&mut self, nonce_1: Option<String>) {
        if let Some(nonce_1) = &nonce_1
            && !self.nonces.iter().any(|(known, _)| known == nonce_1)
        {
            self.nonces.push((nonce_1.clone(), self.pool));
        }
        self.nonce_1 = nonce_1;
    }

    /// Whether a miner with this nonce_1 is in its space.
    pub(super) fn is_home_of(&self, nonce_1: &str) -> bool {
        !self.stands_by && self.has(nonce_1)
    }

    /// Whether this is a nonce_1 of the space that it has now. Two parts of one link are told apart by their
    /// slots.
    fn has(&self, nonce_1: &str) -> bool {
        let space = self.nonce_1.as_deref();
        space.is_some_and(|space| {
            let slot = nonce_1.strip_prefix(space);
            slot.is_some_and(|slot| self.lease.is_none() || self.lent.contains(&slot_number(slot)))
        })
    }

    /// Whether a miner with this nonce_1 was in its space at some time, or in another part of it: that of a
    /// lease before this one.
    pub(super) fn had_space_of(&self, nonce_1: &str) -> bool {
        self.pool_of(nonce_1).is_some()
    }

    /// Who gave the bytes with which a nonce_1 of its miners begins.
    pub(super) fn pool_of(&self, nonce_1: &str) -> Option<usize> {
        let mut spaces = self.nonces.iter().rev();
        let space = spaces.find(|(space, _)| nonce_1.starts_with(space));
        space.and_then(|(_, pool)| *pool)
    }

    /// Whether a miner with this nonce_1 was in its space at some time.
    pub(super) fn was_home_of(&self, nonce_1: &str) -> bool {
        let spaces = self.nonces.iter().map(|(space, _)| space);
        let mut before = spaces.filter(|space| self.nonce_1.as_ref() != Some(*space));
        self.has(nonce_1) || before.any(|space| nonce_1.starts_with(space))
    }
}

/// The number of a slot, from its digits.
pub(super) fn slot_number(digits: &str) -> u32 {
    u32::from_str_radix(digits, 16).unwrap_or(0)
}

pub(super) struct Shard {
    pub(super) exchange: Exchange,
    pub(super) settings: Settings,
    /// By the token's index: its generation, and whose it is.
    pub(super) places: Vec<(u32, Option<usize>)>,
    pub(super) free_places: VecDeque<usize>,
    pub(super) feeds: Vec<Feed>,
    /// What was announced is on its way to the miners.
    pub(super) fanning_out: bool,
    /// By pool: when a neighbour said last that it leaves it.
    pub(super) told_bad: HashMap<usize, u64>,
    /// How many slots it gave to miners, at the most.
    pub(super) slots_given: u64,
    /// Its shutdown is over.
    pub(super) stopped: bool,
}

impl Shard {
    pub(super) fn new(settings: &Settings, number: usize, count: usize) -> Self {
        let part = |number: usize| u32::try_from(number).expect("few");
        let settings = Settings {
            series: settings.series + number as u8,
            part: (part(number), part(count)),
            seed: settings.seed + number as u64,
            ..settings.clone()
        };
        let parameters = Parameters::new(48, 5).expect("a set of a coin");
        Self {
            exchange: Exchange::new(settings.clone(), Box::new(Equihash::new(parameters))),
            settings,
            places: Vec::new(),
            free_places: VecDeque::new(),
            feeds: Vec::new(),
            fanning_out: false,
            told_bad: HashMap::new(),
            slots_given: 0,
            stopped: false,
        }
    }

    /// What was heard on a link.
    pub(super) fn feed(&mut self, index: usize) -> &mut Feed {
        if self.feeds.len() <= index {
            self.feeds.resize_with(index + 1, Feed::default);
        }
        &mut self.feeds[index]
    }

    /// Whether miners work on what this shard borrowed.
    pub(super) fn is_guest(&self) -> bool {
        let lease = |feed: &Feed| feed.lease.is_some_and(|lease| lease.up && !feed.stands_by);
        self.feeds.iter().any(lease)
    }

    pub(super) fn miner_of(&self, token: MinerToken) -> Option<usize> {
        let (generation, miner) = *self.places.get(token.index as usize)?;
        miner.filter(|_| generation == token.generation)
    }

    /// A place for a miner that connects.
    pub(super) fn place(&mut self, miner: usize, reuse: bool) -> MinerToken {
        let free = if reuse {
            self.free_places.pop_front()
        } else {
            None
        };
        let index = free.unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() - 1
        });
        self.places[index].0 += 1;
        self.places[index].1 = Some(miner);
        MinerToken {
            index: u32::try_from(index).expect("few"),
            generation: self.places[index].0,
        }
    }

    /// A miner's place is free; says whose it was.
    pub(super) fn free_place(&mut self, token: MinerToken) -> usize {
        let index = token.index as usize;
        self.free_places.push_back(index);
        self.places[index].1.take().expect("a live miner")
    }
}
