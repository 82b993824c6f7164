//! The hashes of one proxy that are to be checked: each once for all who ask for it, and one address after
//! the other.
//!
//! A farm that comes back after a power cut may ask a thousand times for the same worker and password, and
//! one check answers all. Somebody who guesses passwords fills the queue with other ones; he waits behind
//! himself alone, and where the queue is full he makes room for whoever has less in it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::config::Secret;
use crate::exchange::MinerToken;
use crate::shard::worker_checks::Digest;

/// A miner, and which of its authorizes it is.
pub(crate) type Asker = (MinerToken, u32);

/// What is to be held against a hash.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) worker: Box<str>,
    pub(crate) password: Secret,
    /// Who asked first.
    address: IpAddr,
    askers: Vec<Asker>,
}

/// Who may wait for one check: more than a shard has miners. All of them are told at once.
const ASKERS_MAX: usize = 128 * 1024;

/// What waits, and what is being checked.
#[derive(Debug, Default)]
pub(crate) struct HashQueue {
    asked: HashMap<Digest, Asked>,
    /// What waits for each address, in order; none is empty.
    queues: HashMap<IpAddr, VecDeque<Digest>>,
    /// The addresses, in turn.
    turns: VecDeque<IpAddr>,
    /// How many wait.
    len: usize,
}

impl HashQueue {
    /// Somebody asks. Gives those for whom there is no room: at most `max` may wait.
    pub(crate) fn add(
        &mut self,
        max: usize,
        address: IpAddr,
        digest: Digest,
        (worker, password): (Box<str>, Secret),
        asker: Asker,
    ) -> Vec<Asker> {
        if let Some(asked) = self.asked.get_mut(&digest) {
            // Who asks and leaves stands there until the verdict, and may come again.
            if asked.askers.len() >= ASKERS_MAX {
                return vec![asker];
            }
            asked.askers.push(asker);
            return Vec::new();
        }
        let mut busy = Vec::new();
        if self.len >= max {
            let own = self.queues.get(&address).map_or(0, VecDeque::len);
            let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len());
            match longest.filter(|(_, queue)| queue.len() > own + 1) {
                Some((&longest, _)) => busy = self.drop_last(longest),
                None => return vec![asker],
            }
        }
        let asked = Asked {
            worker,
            password,
            address,
            askers: vec![asker],
        };
        self.asked.insert(digest, asked);
        self.queue(address).push_back(digest);
        self.len += 1;
        busy
    }

    /// The next one to check. It is asked for until [`HashQueue::end`].
    pub(crate) fn next(&mut self) -> Option<(Digest, &Asked)> {
        let address = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&address)?;
        let digest = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&address);
        } else {
            self.turns.push_back(address);
        }
        Some((digest, self.asked.get(&digest)?))
    }

    /// What was checked is to be checked once more, before all else of its address.
    pub(crate) fn again(&mut self, digest: Digest) {
        if let Some(asked) = self.asked.get(&digest) {
            let address = asked.address;
            self.queue(address).push_front(digest);
            self.len += 1;
        }
    }

    /// It was checked: who hears of it.
    pub(crate) fn end(&mut self, digest: Digest) -> Vec<Asker> {
        let asked = self.asked.remove(&digest);
        asked.map_or(Vec::new(), |asked| asked.askers)
    }

    fn queue(&mut self, address: IpAddr) -> &mut VecDeque<Digest> {
        let turns = &mut self.turns;
        self.queues.entry(address).or_insert_with(|| {
            turns.push_back(address);
            VecDeque::new()
        })
    }

    /// The last one of an address makes room.
    fn drop_last(&mut self, address: IpAddr) -> Vec<Asker> {
        let Some(queue) = self.queues.get_mut(&address) else {
            return Vec::new();
        };
        let Some(digest) = queue.pop_back() else {
            return Vec::new();
        };
        self.len -= 1;
        debug_assert!(!queue.is_empty(), "it was the longest of several");
        self.end(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asker(index: u32) -> Asker {
        let token = MinerToken {
            index,
            generation: 0,
        };
        (token, 1)
    }

    const fn digest(number: u8) -> Digest {
        [number; 16]
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn add(queue: &mut HashQueue, from: u8, number: u8) -> Vec<Asker> {
        let what = (format!("rig-{number}").into(), Secret::new("x"));
        let asker = asker(u32::from(number));
        queue.add(4, address(from), digest(number), what, asker)
    }

    fn order(queue: &mut HashQueue) -> Vec<u8> {
        std::iter::from_fn(|| queue.next().map(|(digest, _)| digest[0])).collect()
    }

    #[test]
    fn one_check_is_for_all_who_ask_for_it() {
        let mut queue = HashQueue::default();
        assert!(add(&mut queue, 1, 7).is_empty());
        let what = (Box::from("rig-7"), Secret::new("x"));
        let others = queue.add(4, address(2), digest(7), what, asker(8));
        assert!(others.is_empty());
        let (found, asked) = queue.next().unwrap();
        assert_eq!((found, &*asked.worker), (digest(7), "rig-7"));
        assert!(queue.next().is_none());
        // Also who asks while it is being checked.
        let what = (Box::from("rig-7"), Secret::new("x"));
        assert!(
            queue
                .add(4, address(3), digest(7), what, asker(9))
                .is_empty()
        );
        assert!(queue.next().is_none());
        assert_eq!(queue.end(digest(7)), [asker(7), asker(8), asker(9)]);
        assert!(queue.end(digest(7)).is_empty());
    }

    #[test]
    fn who_asks_and_leaves_and_asks_again_fills_no_memory() {
        let mut queue = HashQueue::default();
        for index in 0..u32::try_from(ASKERS_MAX).unwrap() + 5 {
            let what = (Box::from("rig-7"), Secret::new("x"));
            let busy = queue.add(4, address(1), digest(7), what, asker(index));
            assert_eq!(busy.is_empty(), (index as usize) < ASKERS_MAX);
        }
        assert_eq!(queue.end(digest(7)).len(), ASKERS_MAX);
    }

    #[test]
    fn one_address_comes_after_the_other() {
        let mut queue = HashQueue::default();
        for (from, number) in [(1, 10), (1, 11), (1, 12), (2, 20)] {
            assert!(add(&mut queue, from, number).is_empty());
        }
        assert_eq!(order(&mut queue), [10, 20, 11, 12]);
    }

    #[test]
    fn who_has_most_makes_room_for_who_has_less() {
        let mut queue = HashQueue::default();
        for number in 10..14 {
            assert!(add(&mut queue, 1, number).is_empty());
        }
        assert_eq!(add(&mut queue, 1, 14), [asker(14)], "he alone fills it");
        assert_eq!(add(&mut queue, 2, 20), [asker(13)]);
        assert_eq!(add(&mut queue, 3, 30), [asker(12)]);
        assert_eq!(add(&mut queue, 2, 21), [asker(21)], "it would have as many");
        assert_eq!(order(&mut queue), [10, 20, 30, 11]);
        assert!(queue.queues.is_empty() && queue.turns.is_empty());
        assert_eq!(queue.len, 0);
    }

    #[test]
    fn what_is_to_be_checked_again_keeps_its_askers() {
        let mut queue = HashQueue::default();
        add(&mut queue, 1, 10);
        add(&mut queue, 1, 11);
        let (first, _) = queue.next().unwrap();
        queue.again(first);
        assert_eq!(order(&mut queue), [10, 11]);
        assert_eq!(queue.end(first), [asker(10)]);
    }
}
