//! Shares on their way: our request id, the miner, and the id that the miner waits for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::exchange::accounts::AccountId;
use crate::exchange::facts::MinerToken;
use crate::exchange::letters::LeaseId;
use crate::proto::pool::SHARE_ID_FIRST;
use crate::wire::request_id::RequestId;

/// Who waits for the answer to a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A miner of this shard.
    Miner(MinerToken),
    /// An exchange that borrows, under its own number.
    Guest(LeaseId, u64),
}

/// A share that the pool has not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who waits.
    pub(crate) owner: Owner,
    /// For the answer to which of its requests, where it is a miner.
    pub(crate) id: RequestId,
    /// Since when.
    pub(crate) since: Duration,
    /// Where its line begins in the link's output.
    pub(crate) start: u64,
    /// The line's length in bytes.
    pub(crate) len: usize,
    /// Hashes that it stands for, by expectation.
    pub(crate) work: u64,
    /// Whether it may have reached the pool twice, so that "duplicate" means accepted.
    pub(crate) resent: bool,
    /// Whether its miner was told at once that it is accepted, and so is told nothing more.
    pub(crate) answered: bool,
    /// Whose it is, by the place among its miner's workers.
    pub(crate) worker: u16,
    /// Under whose name it goes, where names differ.
    pub(crate) account: Option<AccountId>,
}

/// Shares that a quiet link has memory for.
const SHARES_KEPT: usize = 4096;

/// The unanswered shares of one link, in the order in which they were sent.
///
/// Request ids count up and are never used again on a link, so a late answer finds nobody. An id's
/// place is its distance from the first one: no hash, no search.
#[derive(Debug)]
pub(crate) struct PendingShares {
    first_id: u64,
    shares: VecDeque<Option<Pending>>,
    waiting: usize,
}

impl Default for PendingShares {
    fn default() -> Self {
        Self {
            first_id: SHARE_ID_FIRST,
            shares: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl PendingShares {
    /// The request id of the share that is pushed next.
    #[must_use]
    pub(crate) fn next_id(&self) -> u64 {
        self.first_id + self.shares.len() as u64
    }

    /// Takes the next request id for something else than a share.
    pub(crate) fn reserve_id(&mut self) -> u64 {
        let id = self.next_id();
        self.shares.push_back(None);
        self.drop_answered();
        id
    }

    /// How many wait.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Adds a share under [`PendingShares::next_id`].
    pub(crate) fn push(&mut self, share: Pending) {
        self.shares.push_back(Some(share));
        self.waiting += 1;
    }

    /// Takes out the share with this request id, if it waits.
    pub(crate) fn take(&mut self, id: u64) -> Option<Pending> {
        let place = usize::try_from(id.checked_sub(self.first_id)?).ok()?;
        let share = self.shares.get_mut(place)?.take()?;
        self.waiting -= 1;
        self.drop_answered();
        Some(share)
    }

    /// Takes out the oldest share if it was sent before `deadline`.
    pub(crate) fn take_older(&mut self, deadline: Duration) -> Option<Pending> {
        if self.oldest()?.since >= deadline {
            return None;
        }
        self.take(self.first_id)
    }

    /// The oldest share.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<&Pending> {
        self.shares.front()?.as_ref()
    }

    /// The request id of the oldest share that waits; the next id where none does.
    #[must_use]
    pub(crate) const fn oldest_id(&self) -> u64 {
        self.first_id
    }

    /// All that wait, oldest first.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.shares.iter_mut().flatten()
    }

    /// The request ids of the shares for whose answer one miner waits. Looks at all that wait: for what
    /// is rare.
    #[must_use]
    pub(crate) fn ids_of(&self, miner: MinerToken) -> Vec<u64> {
        let waiting = (self.first_id..).zip(&self.shares);
        waiting
            .filter(|(_, share)| {
                let share = share.as_ref();
                share.is_some_and(|share| share.owner == Owner::Miner(miner) && !share.answered)
            })
            .map(|(id, _)| id)
            .collect()
    }

    /// The request ids of the shares that are meant. Looks at all that wait: for what is rare.
    #[must_use]
    pub(crate) fn ids_where(&self, is_meant: impl Fn(&Pending) -> bool) -> Vec<u64> {
        let waiting = (self.first_id..).zip(&self.shares);
        waiting
            .filter(|(_, share)| share.as_ref().is_some_and(&is_meant))
            .map(|(id, _)| id)
            .collect()
    }

    /// Gives back memory that a burst needed and that lies idle now. Not for each share: for a tick.
    pub(crate) fn shrink(&mut self) {
        if self.shares.capacity() > SHARES_KEPT && self.shares.len() < self.shares.capacity() / 4 {
            self.shares
                .shrink_to(SHARES_KEPT.max(2 * self.shares.len()));
        }
    }

    /// Keeps the front a share that waits: answers come mostly in order, so this is O(1) for each.
    fn drop_answered(&mut self) {
        while let Some(None) = self.shares.front() {
            self.shares.pop_front();
            self.first_id += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(pending: &mut PendingShares, seconds: u64) -> u64 {
        let id = pending.next_id();
        pending.push(Pending {
            owner: Owner::Miner(MinerToken {
                index: 0,
                generation: 0,
            }),
            id: RequestId::NULL,
            since: Duration::from_secs(seconds),
            start: 0,
            len: 0,
            work: 1,
            resent: false,
            answered: false,
            worker: 0,
            account: None,
        });
        id
    }

    #[test]
    fn answers_may_come_in_any_order_but_once() {
        let mut pending = PendingShares::default();
        let ids: Vec<u64> = (0..5).map(|second| push(&mut pending, second)).collect();
        for &place in &[3, 0, 4, 1, 2] {
            assert!(pending.take(ids[place]).is_some());
            assert!(pending.take(ids[place]).is_none());
        }
        assert!(pending.is_empty());
        assert_eq!(pending.next_id(), SHARE_ID_FIRST + 5);
        assert!(pending.take(0).is_none());
        assert!(pending.take(u64::MAX).is_none());
    }

    #[test]
    fn the_shares_of_one_miner_are_found_among_all() {
        let mut pending = PendingShares::default();
        let ids: Vec<u64> = (0..3).map(|second| push(&mut pending, second)).collect();
        pending.take(ids[1]).unwrap();
        let of = |pending: &PendingShares, index| {
            pending.ids_of(MinerToken {
                index,
                generation: 0,
            })
        };
        assert_eq!(of(&pending, 0), [ids[0], ids[2]]);
        assert!(of(&pending, 1).is_empty());
        pending.iter_mut().for_each(|share| share.answered = true);
        assert!(of(&pending, 0).is_empty(), "it waits for none of them");
    }

    #[test]
    fn an_id_that_is_reserved_is_no_shares() {
        let mut pending = PendingShares::default();
        let first = pending.reserve_id();
        let share = push(&mut pending, 1);
        let second = pending.reserve_id();
        assert_eq!((share, second), (first + 1, first + 2));
        assert_eq!(pending.len(), 1);
        assert!(pending.take(first).is_none() && pending.take(second).is_none());
        assert!(pending.take(share).is_some());
        assert_eq!(pending.next_id(), second + 1);
    }

    #[test]
    fn the_oldest_expire_first() {
        let mut pending = PendingShares::default();
        for second in 0..5 {
            push(&mut pending, second);
        }
        let deadline = Duration::from_secs(3);
        let mut expired = 0;
        while pending.take_older(deadline).is_some() {
            expired += 1;
        }
        assert_eq!((expired, pending.len()), (3, 2));
    }
}
