//! Counters that shards publish and others read, without either waiting for the other.
//!
//! A shard owns its counters and counts with plain additions. At each tick it stores them here, one
//! relaxed store for each number; a reader loads them whenever it likes and sums the shards. It may see
//! two counters of different ticks, and no half of a number.
//!
//! [`exposition`] makes the text of a scrape of what was read, [`health`] says whether the process is well
//! and wants miners, and `http` serves both; none of them is known to a shard.

mod door;
pub mod exposition;
pub mod health;
pub(crate) mod http;
mod process;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::door::{DoorCounters, DoorEnd};
pub use self::tls::TlsCounters;
use crate::exchange::Counters;

/// Numbers that one thread writes and others read.
#[derive(Clone, Debug)]
struct Cells(Arc<[AtomicU64]>);

impl Cells {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    fn store(&self, values: impl IntoIterator<Item = u64>) {
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn load(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed))
    }
}

/// One exchange's counters as they were at its last tick.
#[derive(Clone, Debug)]
pub struct Published {
    counters: Cells,
    door: Cells,
    tls: Cells,
    /// For each pool in the operator's order.
    links_up: Cells,
}

impl Published {
    /// Nothing yet, of an exchange with so many pools.
    #[must_use]
    pub fn new(pools: usize) -> Self {
        Self {
            counters: Cells::new(Counters::default().cells_mut().count()),
            door: Cells::new(DoorCounters::default().cells_mut().count()),
            tls: Cells::new(TlsCounters::default().cells_mut().count()),
            links_up: Cells::new(pools),
        }
    }

    /// Publishes these.
    pub fn publish(&self, mut counters: Counters) {
        self.counters.store(counters.cells_mut().map(|cell| *cell));
    }

    /// Publishes what the door counts.
    pub fn publish_door(&self, mut door: DoorCounters) {
        self.door.store(door.cells_mut().map(|cell| *cell));
    }

    /// Publishes what TLS counts.
    pub fn publish_tls(&self, mut tls: TlsCounters) {
        self.tls.store(tls.cells_mut().map(|cell| *cell));
    }

    /// What TLS counted last.
    #[must_use]
    pub fn tls(&self) -> TlsCounters {
        let mut tls = TlsCounters::default();
        for (cell, value) in tls.cells_mut().zip(self.tls.load()) {
            *cell = value;
        }
        tls
    }

    /// What the door counted last.
    #[must_use]
    pub fn door(&self) -> DoorCounters {
        let mut door = DoorCounters::default();
        for (cell, value) in door.cells_mut().zip(self.door.load()) {
            *cell = value;
        }
        door
    }

    /// Publishes how many links to each pool are up.
    pub fn publish_links_up(&self, of: impl Fn(usize) -> u64) {
        self.links_up.store((0..).map(of));
    }

    /// What was published last.
    #[must_use]
    pub fn read(&self) -> Counters {
        let mut counters = Counters::default();
        for (cell, value) in counters.cells_mut().zip(self.counters.load()) {
            *cell = value;
        }
        counters
    }

    /// For each pool, how many links to it are up.
    pub fn links_up(&self) -> impl Iterator<Item = u64> {
        self.links_up.load()
    }
}

/// When the certificates of one proxy run out, each its first one; told at the start and by each reload.
#[derive(Clone, Debug)]
pub struct Expiries {
    /// For each listener, in seconds since 1970; 0 where it has none.
    listeners: Cells,
    /// For each pool that is shown one of ours.
    pools: Cells,
}

impl Expiries {
    /// Nothing yet, of so many listeners and pools.
    #[must_use]
    pub fn new(listeners: usize, pools: usize) -> Self {
        Self {
            listeners: Cells::new(listeners),
            pools: Cells::new(pools),
        }
    }

    /// Publishes these, in seconds since 1970; `None` is no certificate.
    pub fn publish(
        &self,
        listeners: impl Iterator<Item = Option<i64>>,
        pools: impl Iterator<Item = Option<i64>>,
    ) {
        // What had run out by 1970 is as bad as what did a second later.
        let told = |at: Option<i64>| at.map_or(0, |at| u64::try_from(at).unwrap_or(0).max(1));
        self.listeners.store(listeners.map(told));
        self.pools.store(pools.map(told));
    }

    /// For each listener, as it was published last.
    pub fn of_listeners(&self) -> impl Iterator<Item = Option<u64>> {
        self.listeners.load().map(|at| (at > 0).then_some(at))
    }

    /// For each pool.
    pub fn of_pools(&self) -> impl Iterator<Item = Option<u64>> {
        self.pools.load().map(|at| (at > 0).then_some(at))
    }
}

/// What a shard counts that is of no proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Connections that its ring holds now, also those that are being closed.
    pub connections: u64,
    /// Connections that its ring has room for.
    pub connections_max: u64,
    /// Connections that could not be accepted.
    pub accept_errors: u64,
    /// Times that the pace of accepts was reached, so that miners had to wait in the kernel.
    pub accepts_paced: u64,
    /// Times that the ring's table was full, so that miners had to wait in the kernel.
    pub table_full: u64,
    /// Receives that found no buffer and waited for one.
    pub buffers_exhausted: u64,
    /// Times that the kernel had more completions than their queue holds.
    pub completion_overflows: u64,
    /// Completions that came too late for their connection.
    pub stale_completions: u64,
    /// Letters to other shards that are on their way or have come.
    pub letters: u64,
    /// Times that the channel to another shard was full, so that letters waited for room.
    pub letters_blocked: u64,
}

impl ShardCounters {
    fn cells_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self {
            connections,
            connections_max,
            accept_errors,
            accepts_paced,
            table_full,
            buffers_exhausted,
            completion_overflows,
            stale_completions,
            letters,
            letters_blocked,
        } = self;
        [
            connections,
            connections_max,
            accept_errors,
            accepts_paced,
            table_full,
            buffers_exhausted,
            completion_overflows,
            stale_completions,
            letters,
            letters_blocked,
        ]
        .into_iter()
    }
}

/// The sign of life of one shard, and what it counts.
#[derive(Clone, Debug)]
pub struct Pulse {
    ticked: Cells,
    counters: Cells,
}

/// In place of a time: the shard has ended, as it was told to.
const ENDED: u64 = u64::MAX;

impl Default for Pulse {
    fn default() -> Self {
        Self {
            ticked: Cells::new(1),
            counters: Cells::new(ShardCounters::default().cells_mut().count()),
        }
    }
}

impl Pulse {
    /// The shard ticks, so long after the process started.
    pub fn tick(&self, now: Duration, mut counters: ShardCounters) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(ENDED - 1);
        self.ticked.store([millis]);
        self.counters.store(counters.cells_mut().map(|cell| *cell));
    }

    /// The shard ends.
    pub fn end(&self) {
        self.ticked.store([ENDED]);
    }

    /// How long ago the last tick was; `None` when the shard has ended as it was told to.
    #[must_use]
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let millis = self.ticked.load().next().filter(|at| *at != ENDED)?;
        Some(now.saturating_sub(Duration::from_millis(millis)))
    }

    /// What was published last.
    #[must_use]
    pub fn read(&self) -> ShardCounters {
        let mut counters = ShardCounters::default();
        for (cell, value) in counters.cells_mut().zip(self.counters.load()) {
            *cell = value;
        }
        counters
    }
}

/// All that a scrape tells, read at one time.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Version of the program.
    pub version: &'static str,
    /// When the process started, in seconds since 1970.
    pub started_unix_seconds: u64,
    /// What the kernel says of the process.
    pub process: Process,
    /// What the admin port counts itself.
    pub admin: AdminCounters,
    /// Every shard, in order.
    pub shards: Vec<ShardSample>,
    /// Every proxy, in the order of the config.
    pub proxies: Vec<ProxySample>,
}

/// One shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardSample {
    /// How long ago its last tick was; `None` when it ended as it was told to.
    pub tick_age: Option<Duration>,
    /// What it counts.
    pub counters: ShardCounters,
}

/// One proxy, over all shards.
#[derive(Clone, Debug, Default)]
pub struct ProxySample {
    /// Its name.
    pub name: String,
    /// A lost link that is back within this time is no loss.
    pub resume: Duration,
    /// The sums.
    pub counters: Counters,
    /// The sums of the door.
    pub door: DoorCounters,
    /// The sums of TLS.
    pub tls: TlsCounters,
    /// Each pool's address, and how many links to it are up. Addresses differ.
    pub links_up: Vec<(String, u64)>,
    /// The address of each listener with TLS, and when the first of its certificates runs out, in seconds
    /// since 1970.
    pub expiries: Vec<(String, u64)>,
    /// The same of each pool that is shown a certificate of ours.
    pub client_expiries: Vec<(String, u64)>,
}

/// What the admin port closed that did not end by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminCounters {
    /// Connections that made room for newer ones.
    pub displaced: u64,
    /// Connections that took too long.
    pub timed_out: u64,
}

/// What the kernel says of the process. What it does not say is zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Time on a CPU, of all threads.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_descriptors: u64,
    /// The limit of these.
    pub max_descriptors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let mut counters = Counters {
            accepted: 7,
            ..Counters::default()
        };
        counters.closes[2] = 3;
        counters.refused[1] = 4;
        counters.replies[14] = 5;
        let mut door = DoorCounters {
            waiting: 2,
            ..DoorCounters::default()
        };
        door.ends[1] = 9;
        let published = Published::new(2);
        published.publish(counters.clone());
        let mut tls = TlsCounters {
            started: 6,
            ..TlsCounters::default()
        };
        tls.failures[8] = 7;
        published.publish_tls(tls.clone());
        assert_eq!(published.tls(), tls);
        tls.add(&published.tls());
        assert_eq!((tls.started, tls.failures[8]), (12, 14));
        published.publish_door(door.clone());
        assert_eq!(published.door(), door);
        door.add(&published.door());
        assert_eq!((door.waiting, door.ends[1]), (4, 18));
        published.publish_links_up(|pool| pool as u64 + 4);
        assert_eq!(published.read(), counters);
        assert_eq!(published.links_up().collect::<Vec<_>>(), [4, 5]);
        counters.add(&published.read());
        assert_eq!((counters.accepted, counters.closes[2]), (14, 6));
    }

    #[test]
    fn a_certificate_that_never_was_and_one_of_old_are_told_apart() {
        let expiries = Expiries::new(3, 1);
        assert_eq!(expiries.of_pools().collect::<Vec<_>>(), [None]);
        expiries.publish([Some(7), None, Some(-7)].into_iter(), [Some(9)].into_iter());
        let listeners: Vec<_> = expiries.of_listeners().collect();
        assert_eq!(listeners, [Some(7), None, Some(1)]);
        assert_eq!(expiries.of_pools().collect::<Vec<_>>(), [Some(9)]);
    }

    #[test]
    fn a_pulse_grows_old_until_the_shard_ends() {
        let pulse = Pulse::default();
        let counters = ShardCounters {
            connections: 1,
            connections_max: 2,
            accept_errors: 3,
            accepts_paced: 10,
            table_full: 4,
            buffers_exhausted: 5,
            completion_overflows: 6,
            stale_completions: 7,
            letters: 8,
            letters_blocked: 9,
        };
        pulse.tick(Duration::from_secs(5), counters);
        assert_eq!(pulse.read(), counters);
        let age = |seconds| pulse.age(Duration::from_secs(seconds));
        assert_eq!(age(7), Some(Duration::from_secs(2)));
        assert_eq!(age(4), Some(Duration::ZERO));
        pulse.end();
        assert_eq!(age(7), None);
    }
}
