//! How many connections there are: of a proxy, of a listener, of an address.
//!
//! The kernel spreads connections over all shards, so these are counted by all shards together, in atomics
//! that are touched at a connection's accept and at its end; none of them at all where nothing is bounded.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::metrics::DoorEnd;
use crate::shard::connection::household;

/// A number that does not pass its bound.
#[derive(Debug)]
pub(crate) struct Bound {
    now: AtomicU32,
    /// 0 is no bound; then nothing is counted.
    max: u32,
}

impl Bound {
    pub(crate) const fn new(max: u32) -> Self {
        Self {
            now: AtomicU32::new(0),
            max,
        }
    }

    fn enter(&self) -> bool {
        let one_more = |now: u32| (now < self.max).then_some(now + 1);
        let relaxed = Ordering::Relaxed;
        self.max == 0 || self.now.fetch_update(relaxed, relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        if self.max > 0 {
            let before = self.now.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "more have left than came");
        }
    }
}

/// The bounds that a connection of one listener has to pass; each is shared with the other shards.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) proxy: Arc<Bound>,
    pub(crate) listener: Arc<Bound>,
    /// Of the whole proxy.
    pub(crate) addresses: Option<Arc<Addresses>>,
}

impl Room {
    /// One more connection, or the bound that it would pass.
    pub(crate) fn enter(&self) -> Result<(), DoorEnd> {
        if !self.listener.enter() {
            return Err(DoorEnd::ListenerFull);
        }
        if !self.proxy.enter() {
            self.listener.leave();
            return Err(DoorEnd::ProxyFull);
        }
        Ok(())
    }

    /// One more of this address, or the bound that it would pass.
    pub(crate) fn enter_address(&self, address: IpAddr) -> Result<(), DoorEnd> {
        match &self.addresses {
            Some(addresses) if !addresses.enter(address) => Err(DoorEnd::AddressFull),
            _ => Ok(()),
        }
    }

    /// One less; `address` is that under which it was counted.
    pub(crate) fn leave(&self, address: Option<IpAddr>) {
        self.listener.leave();
        self.proxy.leave();
        if let Some((addresses, address)) = self.addresses.as_ref().zip(address) {
            addresses.leave(address);
        }
    }
}

/// Places for addresses in one bucket.
const BUCKET: usize = 16;

/// Counts the connections of each address, without a lock, in a table of a fixed size.
///
/// A place is one number: who (40 bits of a hash), and how many (24 bits). An address has its place in one
/// bucket, which the other bits of the hash choose; a place whose count is down to 0 is free. With four
/// places for each connection there is room in every bucket: where there is none, an address is let in
/// and not counted.
///
/// An IPv6 address is counted by its /64, since a machine chooses the rest itself. Should two shards take in
/// the first two connections of an address in the same moment while a place in front becomes free, each may
/// find a place of its own, and that address then has up to twice its bound.
#[derive(Debug)]
pub(crate) struct Addresses {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    max: u32,
}

impl Addresses {
    const COUNT_BITS: u32 = 24;
    /// No shards hold more connections than this.
    const COUNT_MASK: u64 = (1 << Self::COUNT_BITS) - 1;

    /// At most `max` for each address, of so many connections in all.
    pub(crate) fn new(max: u32, connections: usize) -> Self {
        let places = (4 * connections).next_power_of_two().max(BUCKET);
        Self {
            places: (0..places).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            max,
        }
    }

    /// The bucket of an address, and how its place begins.
    fn find(&self, address: IpAddr) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one(household(address));
        let buckets = self.places.len() / BUCKET;
        let low = usize::try_from(hash & Self::COUNT_MASK).expect("24 bits");
        let bucket = low % buckets * BUCKET;
        (
            &self.places[bucket..bucket + BUCKET],
            hash & !Self::COUNT_MASK,
        )
    }

    fn enter(&self, address: IpAddr) -> bool {
        let (bucket, who) = self.find(address);
        loop {
            let mut free = None;
            let mut own = None;
            for place in bucket {
                let found = place.load(Ordering::Relaxed);
                if found == 0 {
                    free = free.or(Some(place));
                } else if found & !Self::COUNT_MASK == who {
                    own = Some((place, found));
                    break;
                }
            }
            let (place, before, after) = match (own, free) {
                (Some((_, found)), _) if found & Self::COUNT_MASK >= u64::from(self.max) => {
                    return false;
                }
                (Some((place, found)), _) => (place, found, found + 1),
                (None, Some(place)) => (place, 0, who | 1),
                (None, None) => return true,
            };
            let relaxed = Ordering::Relaxed;
            if place
                .compare_exchange(before, after, relaxed, relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    fn leave(&self, address: IpAddr) {
        let (bucket, who) = self.find(address);
        for place in bucket {
            let relaxed = Ordering::Relaxed;
            let one_less = |found: u64| {
                let is_own = found != 0 && found & !Self::COUNT_MASK == who;
                let left = if found & Self::COUNT_MASK == 1 {
                    0
                } else {
                    found.wrapping_sub(1)
                };
                is_own.then_some(left)
            };
            if place.fetch_update(relaxed, relaxed, one_less).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn room(proxy: u32, listener: u32, address: u32) -> Room {
        Room {
            proxy: Arc::new(Bound::new(proxy)),
            listener: Arc::new(Bound::new(listener)),
            addresses: (address > 0).then(|| Arc::new(Addresses::new(address, 100))),
        }
    }

    #[test]
    fn a_full_room_takes_one_for_each_that_leaves() {
        let room = room(3, 2, 0);
        let other = Room {
            listener: Arc::new(Bound::new(2)),
            ..room.clone()
        };
        assert_eq!((room.enter(), room.enter()), (Ok(()), Ok(())));
        assert_eq!(room.enter(), Err(DoorEnd::ListenerFull));
        assert_eq!(other.enter(), Ok(()));
        assert_eq!(other.enter(), Err(DoorEnd::ProxyFull));
        assert_eq!(
            other.listener.now.load(Ordering::Relaxed),
            1,
            "what did not come in is not counted"
        );
        room.leave(None);
        assert_eq!(other.enter(), Ok(()));
        assert_eq!(room.enter(), Err(DoorEnd::ProxyFull));
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_bounded() {
        let room = room(0, 0, 0);
        for _ in 0..1000 {
            assert_eq!(room.enter(), Ok(()));
            assert_eq!(room.enter_address(ip("10.0.0.1")), Ok(()));
        }
        assert_eq!(room.proxy.now.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn each_address_is_counted_by_itself() {
        let room = room(0, 0, 2);
        for address in ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1"] {
            let address = ip(address);
            assert_eq!(room.enter_address(address), Ok(()));
            assert_eq!(room.enter_address(address), Ok(()));
            assert_eq!(room.enter_address(address), Err(DoorEnd::AddressFull));
        }
        let (same_64, mapped) = (ip("2001:db8::ffff:1"), ip("::ffff:10.0.0.1"));
        assert_eq!(room.enter_address(same_64), Err(DoorEnd::AddressFull));
        assert_eq!(room.enter_address(mapped), Err(DoorEnd::AddressFull));
        room.leave(Some(ip("10.0.0.1")));
        assert_eq!(room.enter_address(ip("10.0.0.1")), Ok(()));
        assert_eq!(
            room.enter_address(ip("10.0.0.1")),
            Err(DoorEnd::AddressFull)
        );
    }

    #[test]
    fn places_are_free_again_when_nobody_has_them() {
        let addresses = Addresses::new(3, 4096);
        let all = |at: u32| IpAddr::from(Ipv4Addr::from(at));
        for round in 0..4_u32 {
            for at in 0..4096 {
                assert!(addresses.enter(all(round << 16 | at)));
            }
            for at in 0..4096 {
                addresses.leave(all(round << 16 | at));
            }
        }
        let taken = |place: &&AtomicU64| place.load(Ordering::Relaxed) != 0;
        assert_eq!(addresses.places.iter().filter(taken).count(), 0);
    }

    #[test]
    fn a_full_bucket_lets_in_and_forgets() {
        let addresses = Addresses::new(1, 1);
        for at in 0..100_u32 {
            assert!(addresses.enter(IpAddr::from(Ipv4Addr::from(at))));
        }
        for at in 0..100_u32 {
            addresses.leave(IpAddr::from(Ipv4Addr::from(at)));
        }
        let taken = |place: &&AtomicU64| place.load(Ordering::Relaxed) != 0;
        assert_eq!(addresses.places.iter().filter(taken).count(), 0);
    }

    #[test]
    fn shards_count_together() {
        let addresses = Addresses::new(64, 1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        for at in 0..8_u32 {
                            let address = IpAddr::from(Ipv4Addr::from(at));
                            assert!(addresses.enter(address), "four at the most");
                            addresses.leave(address);
                        }
                    }
                });
            }
        });
        let taken = |place: &&AtomicU64| place.load(Ordering::Relaxed) != 0;
        assert_eq!(addresses.places.iter().filter(taken).count(), 0);
    }
}
