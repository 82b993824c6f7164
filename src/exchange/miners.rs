//! The miners of one exchange, side by side in memory, found by their token in O(1).

use std::time::Duration;

use crate::exchange::conduct::Conduct;
use crate::exchange::facts::{CloseReason, MinerToken};
use crate::exchange::outbox::{CloseHow, Outbox, Owed};
use crate::proto::miner::MinerSession;
use crate::proto::time::Now;
use crate::wire::request_id::RequestId;

/// Where a miner stands between its connect and its end.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stage {
    /// It has not subscribed.
    #[default]
    New,
    /// Its subscribe or its configure waits for a pool; later replies wait behind the answer.
    Waiting(Box<Waiting>),
    /// It has a slot on a link.
    Placed {
        /// Which link.
        link: usize,
        /// Which slot of the link's nonce space.
        slot: u16,
    },
    /// It is to be closed once what was said to it is out.
    Leaving(CloseHow, CloseReason),
    /// Its nonce space is gone and only a reconnect can move it; it is closed in its turn.
    Unplaced,
}

/// What waits for a pool.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Since when.
    pub(crate) since: Duration,
    /// The id to answer its subscribe under, once it sent one.
    pub(crate) subscribe: Option<RequestId>,
    /// A configure that asks for what only a pool can grant.
    pub(crate) configure: Option<HeldConfigure>,
}

/// A configure that is answered later.
#[derive(Clone, Debug)]
pub(crate) struct HeldConfigure {
    /// The id to answer under.
    pub(crate) id: RequestId,
    /// The whole line, to be read again.
    pub(crate) line: Box<[u8]>,
}

/// One miner.
#[derive(Debug)]
pub(crate) struct Miner {
    /// Its connection.
    pub(crate) token: MinerToken,
    /// What it told us.
    pub(crate) session: MinerSession,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// What it has not been sent of the link's lines.
    pub(crate) owed: Owed,
    /// What it has not been sent of its own; there only while there is some.
    pub(crate) outbox: Option<Box<Outbox>>,
    /// Whether its socket takes no more for now.
    pub(crate) blocked: bool,
    /// Whether it stands in the list of those to send to.
    pub(crate) listed: bool,
    /// Whether it stands in the queue of those to whom a job goes out.
    pub(crate) queued: bool,
    /// Whether it is counted among those that mine.
    pub(crate) counted: bool,
    /// Whether its firmware takes only the pool's own extranonce1.
    pub(crate) pass_through: bool,
    /// How many of its authorizes are not answered yet.
    pub(crate) pending: u16,
    /// When it connected or subscribed, or was last told whether it may mine, in seconds since the start.
    pub(crate) since: u32,
    /// When its socket took no more, likewise.
    pub(crate) blocked_since: u32,
    /// Its shares that the pool has not answered.
    pub(crate) unanswered: u32,
    /// How it behaves.
    pub(crate) conduct: Conduct,
    /// Stands for its address, or its /64, once it has a worker.
    pub(crate) home: u64,
}

impl Miner {
    /// A miner that just connected.
    #[must_use]
    pub(crate) fn new(token: MinerToken, since: u32) -> Self {
        Self {
            token,
            session: MinerSession::default(),
            stage: Stage::New,
            owed: Owed::NOTHING,
            outbox: None,
            blocked: false,
            listed: false,
            queued: false,
            counted: false,
            pass_through: false,
            pending: 0,
            since,
            blocked_since: 0,
            unanswered: 0,
            conduct: Conduct::default(),
            home: 0,
        }
    }

    /// Its nonce space is gone, and only a reconnect can move it. Says whether it was counted among those
    /// that mine.
    pub(crate) fn lose_place(&mut self, now: Now) -> bool {
        self.stage = Stage::Unplaced;
        self.since = now.seconds();
        self.owed = Owed::NOTHING;
        std::mem::take(&mut self.counted)
    }

    /// Bytes that wait for it alone.
    #[must_use]
    pub(crate) fn outbox_len(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Its link, when it has a slot on one.
    #[must_use]
    pub(crate) const fn link(&self) -> Option<usize> {
        match self.stage {
            Stage::Placed { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Whether it is to be sent the jobs of this link.
    #[must_use]
    pub(crate) fn mines_on(&self, wanted: usize) -> bool {
        self.session.is_authorized() && self.link() == Some(wanted)
    }
}

const NOBODY: u32 = u32::MAX;

/// The miners, dense, so that a fan-out walks memory in order.
#[derive(Debug, Default)]
pub(crate) struct Miners {
    miners: Vec<Miner>,
    /// Token index to place in `miners`.
    places: Vec<u32>,
}

impl Miners {
    /// How many.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.miners.len()
    }

    /// Whether there are none.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.miners.is_empty()
    }

    /// The miner that is known under this index.
    pub(crate) fn at_index(&self, index: u32) -> Option<MinerToken> {
        let place = *self.places.get(index as usize)? as usize;
        Some(self.miners.get(place)?.token)
    }

    /// Adds one. Its index is nobody else's.
    pub(crate) fn insert(&mut self, miner: Miner) {
        debug_assert_eq!(self.at_index(miner.token.index), None);
        let index = miner.token.index as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOBODY);
        }
        self.places[index] = u32::try_from(self.miners.len()).unwrap_or(NOBODY);
        self.miners.push(miner);
    }

    /// Where this miner stands, if it is still the one with this token.
    #[must_use]
    pub(crate) fn place(&self, token: MinerToken) -> Option<usize> {
        let place = *self.places.get(token.index as usize)? as usize;
        (self.miners.get(place)?.token == token).then_some(place)
    }

    /// The miner with this token.
    pub(crate) fn get(&self, token: MinerToken) -> Option<&Miner> {
        let place = self.place(token)?;
        self.miners.get(place)
    }

    /// The miner with this token.
    pub(crate) fn get_mut(&mut self, token: MinerToken) -> Option<&mut Miner> {
        let place = self.place(token)?;
        self.miners.get_mut(place)
    }

    /// The miner at this place, which is below [`Miners::len`].
    pub(crate) fn at(&mut self, place: usize) -> &mut Miner {
        &mut self.miners[place]
    }

    /// Takes the miner with this token out.
    pub(crate) fn remove(&mut self, token: MinerToken) -> Option<Miner> {
        let place = self.place(token)?;
        self.places[token.index as usize] = NOBODY;
        let gone = self.miners.swap_remove(place);
        if let Some(moved) = self.miners.get(place) {
            self.places[moved.token.index as usize] = u32::try_from(place).unwrap_or(NOBODY);
        }
        Some(gone)
    }

    /// All of them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Miner> {
        self.miners.iter_mut()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Miner> {
        self.miners.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(index: u32, generation: u32) -> MinerToken {
        MinerToken { index, generation }
    }

    #[test]
    fn a_token_finds_its_miner_and_no_later_one() {
        let mut miners = Miners::default();
        for index in [5, 0, 9] {
            miners.insert(Miner::new(token(index, 1), 0));
        }
        assert!(miners.remove(token(5, 2)).is_none());
        assert!(miners.remove(token(5, 1)).is_some());
        assert!(miners.remove(token(5, 1)).is_none());
        assert_eq!(miners.get_mut(token(9, 1)).unwrap().token, token(9, 1));
        assert_eq!(miners.get_mut(token(0, 1)).unwrap().token, token(0, 1));
        assert_eq!(miners.at_index(9), Some(token(9, 1)));
        assert!(miners.remove(token(9, 1)).is_some());
        miners.insert(Miner::new(token(9, 2), 0));
        assert!(miners.place(token(9, 1)).is_none());
        assert_eq!(miners.len(), 2);
    }

    #[test]
    fn a_miner_is_small() {
        assert!(size_of::<Miner>() <= 128, "{}", size_of::<Miner>());
    }
}
