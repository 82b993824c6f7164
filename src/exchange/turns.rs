//! Names that wait to be asked for: one address after the other.
//!
//! Whoever has a thousand names waits behind himself, and somebody with one name waits for one of his.

use std::collections::{BTreeMap, VecDeque};

use crate::exchange::accounts::AccountId;

/// What waits for each address, or /64, in order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// None is empty.
    queues: BTreeMap<u64, VecDeque<AccountId>>,
    /// The addresses, in turn.
    turns: VecDeque<u64>,
    len: usize,
}

impl Turns {
    /// How many names wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Of how many addresses.
    pub(super) fn homes(&self) -> usize {
        self.turns.len()
    }

    /// One more, behind those of its address.
    pub(super) fn push(&mut self, home: u64, id: AccountId) {
        let turns = &mut self.turns;
        let queue = self.queues.entry(home).or_insert_with(|| {
            turns.push_back(home);
            VecDeque::new()
        });
        queue.push_back(id);
        self.len += 1;
    }

    /// Whose turn it is, and the first name there.
    pub(super) fn front(&self) -> Option<(u64, AccountId)> {
        let &home = self.turns.front()?;
        Some((home, *self.queues.get(&home)?.front()?))
    }

    /// Takes that name out. It is the same address' turn as long as it has another one.
    pub(super) fn pop(&mut self) {
        let Some(home) = self.turns.front() else {
            return;
        };
        let Some(queue) = self.queues.get_mut(home) else {
            return;
        };
        self.len -= usize::from(queue.pop_front().is_some());
        if queue.is_empty() {
            self.queues.remove(home);
            self.turns.pop_front();
        }
    }

    /// It is the next address' turn.
    pub(super) fn pass(&mut self) {
        if !self.turns.is_empty() {
            self.turns.rotate_left(1);
        }
    }

    /// Drops all names that are not to be kept.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(u64, AccountId) -> bool) {
        self.queues.retain(|home, queue| {
            queue.retain(|id| is_kept(*home, *id));
            !queue.is_empty()
        });
        self.turns.retain(|home| self.queues.contains_key(home));
        self.len = self.queues.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &mut Turns) -> Option<(u64, AccountId)> {
        let next = turns.front()?;
        let before = turns.homes();
        turns.pop();
        if turns.homes() == before {
            turns.pass();
        }
        Some(next)
    }

    #[test]
    fn one_address_comes_after_the_other_and_none_is_forgotten() {
        let id = AccountId::of_test;
        let mut turns = Turns::default();
        for (home, name) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)] {
            turns.push(home, id(name));
        }
        assert_eq!((turns.len(), turns.homes()), (6, 3));
        turns.retain(|_, name| name != id(30));
        let order = std::iter::from_fn(|| take(&mut turns));
        let order: Vec<_> = order.collect();
        let wanted = [(1, 10), (2, 20), (3, 31), (1, 11), (1, 12)];
        assert_eq!(order, wanted.map(|(home, name)| (home, id(name))));
        assert_eq!((turns.len(), turns.homes()), (0, 0));
        assert!(turns.queues.is_empty());
    }
}
