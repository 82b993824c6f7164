//! A thread of the load generator: a ring, the miners on it, and the time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::ring::{MinerRing, RingConfig, RingError};

use crate::clock::Clock;
use crate::farm::Farm;
use crate::links::Links;
use crate::nonces::Change;
use crate::schedule::Schedule;
use crate::tally::{Busy, Tally};
use crate::usage;

/// Miners of a thread at most: more make a round so long that it shows in the latencies.
pub(crate) const MINERS_PER_THREAD_MAX: usize = 16_384;

/// Connections on their way to a subscription, for each thread. About what listeners queue: more would
/// wait in the kernel for a second and measure its retransmission timer.
const HANDSHAKES_MAX: usize = 256;

/// Shares that are sent before the thread looks at what came.
const SHARES_PER_ROUND_MAX: usize = 64;

/// The thread looks at the stage at least so often.
const STAGE_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Shares begin so much after the stage does, so that the first ones have been found by then.
const SHARES_BEGIN_AFTER: Duration = Duration::from_millis(20);

/// What all threads are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Miners connect.
    Ramp,
    /// Shares are due.
    Run,
    /// What was sent is answered.
    Settle,
    Stop,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Ramp, Self::Run, Self::Settle, Self::Stop];
}

/// The stage, set by the thread that coordinates.
#[derive(Debug, Default)]
pub(crate) struct Control(AtomicU8);

impl Control {
    pub(crate) fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// How a thread is doing, for the progress line and for the next stage.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Connects so far, and those of them that failed.
    pub(crate) connects: AtomicU64,
    pub(crate) connects_failed: AtomicU64,
    /// Connections that are open.
    pub(crate) connected: AtomicU64,
    pub(crate) mining: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    /// Whether it has come to the current stage.
    pub(crate) stage: AtomicU8,
}

/// What a thread is to do.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) destination: SocketAddr,
    pub(crate) parameters: Parameters,
    pub(crate) alike: bool,
    /// This thread of so many.
    pub(crate) thread: usize,
    pub(crate) threads: usize,
    pub(crate) first_miner: u32,
    pub(crate) miners: usize,
    /// Of all threads together.
    pub(crate) share_rate: f64,
    pub(crate) connect_rate: Option<f64>,
    pub(crate) control: Arc<Control>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) changes: Sender<Change>,
}

/// Runs until the stage is [`Stage::Stop`].
///
/// # Errors
///
/// [`RingError`] when there is no ring to be had.
pub(crate) fn run(setup: Setup) -> Result<Tally, RingError> {
    usage::ask_for_exact_timers();
    let ring = MinerRing::new(&RingConfig {
        connections_max: u32::try_from(setup.miners.max(1)).unwrap_or(u32::MAX),
        receive_buffers: 4096,
        receive_buffer_len: 2048,
        ..RingConfig::default()
    })?;
    Ok(Driver::new(setup, ring).run())
}

struct Driver {
    ring: MinerRing,
    links: Links,
    sources: Option<Sources>,
    /// The next miner that has never connected.
    newcomer: usize,
    connects: Option<Schedule>,
    shares: Option<Schedule>,
    stage: Stage,
    run_began: Option<Busy>,
    /// What was due before had its chance to be sent.
    looked: Duration,
    setup: Setup,
}

impl Driver {
    fn new(setup: Setup, ring: MinerRing) -> Self {
        let mut farm = Farm::new(setup.first_miner, setup.miners, setup.parameters);
        if setup.alike {
            farm.make_alike(setup.thread, setup.threads);
        }
        let start = setup.clock.now();
        let (part, parts) = (setup.thread, setup.threads);
        Self {
            ring,
            links: Links::new(farm, setup.clock),
            sources: Sources::new(setup.destination, setup.thread),
            newcomer: 0,
            connects: setup
                .connect_rate
                .map(|rate| Schedule::part(start, rate, part, parts)),
            shares: None,
            stage: Stage::Ramp,
            run_began: None,
            looked: start,
            setup,
        }
    }

    fn run(mut self) -> Tally {
        while self.stage < Stage::Stop {
            let now = self.setup.clock.now();
            self.follow_stage(now);
            self.connect(now);
            let found_all = self.submit(now);
            self.links.flush(&mut self.ring);
            if found_all {
                let wait = self.next_due().saturating_sub(self.setup.clock.now());
                self.ring.wait_blocking(wait.min(STAGE_CHECK_INTERVAL));
            } else {
                self.ring.submit();
            }
            self.ring.drain(&mut self.links);
            self.links.flush(&mut self.ring);
            self.publish();
        }
        self.links.farm.finish()
    }

    fn follow_stage(&mut self, now: Duration) {
        let stage = self.setup.control.stage();
        if stage == self.stage {
            return;
        }
        let farm = &mut self.links.farm;
        if stage >= Stage::Run && self.stage < Stage::Run {
            farm.measures_jobs = true;
            self.run_began = usage::this_thread(now);
        }
        if stage == Stage::Run && self.setup.share_rate > 0.0 {
            let (rate, part, parts) =
                (self.setup.share_rate, self.setup.thread, self.setup.threads);
            let start = now + SHARES_BEGIN_AFTER;
            self.shares = Some(Schedule::part(start, rate, part, parts));
        }
        if stage >= Stage::Settle && self.stage < Stage::Settle {
            // Those that are still due were never sent.
            if let Some(mut shares) = self.shares.take() {
                while shares.due() <= self.looked {
                    farm.tally.shares_unsent += 1;
                    shares.advance();
                }
            }
            let ended = usage::this_thread(now);
            if let Some((began, ended)) = self.run_began.zip(ended) {
                farm.tally.busy = Busy {
                    working: ended.working.saturating_sub(began.working),
                    waiting: ended.waiting.saturating_sub(began.waiting),
                    wall: ended.wall.saturating_sub(began.wall),
                };
            }
        }
        self.stage = stage;
    }

    /// Begins the connections that are due and for which there is room.
    fn connect(&mut self, now: Duration) {
        if self.stage >= Stage::Settle {
            return;
        }
        while self.links.shaking_hands() < HANDSHAKES_MAX {
            let new = self.newcomer < self.setup.miners
                && self.connects.is_none_or(|connects| connects.due() <= now);
            let miner = if new {
                self.newcomer
            } else if let Some(miner) = self.links.poll_returning(now) {
                miner
            } else {
                return;
            };
            let source = self.sources.as_mut().map(Sources::next);
            // A place is free once the connection that had it is closed, in a round or two.
            if self.ring.free_slots() == 0 {
                return;
            }
            let Ok(token) = self.ring.connect(source, self.setup.destination) else {
                return;
            };
            self.links.begin(miner, token);
            if new {
                self.newcomer += 1;
                if let Some(connects) = &mut self.connects {
                    connects.advance();
                }
            }
        }
    }

    /// Sends the shares that are due, and looks for those that will be. True when none is left to be
    /// found.
    fn submit(&mut self, now: Duration) -> bool {
        let Some(shares) = &mut self.shares else {
            return true;
        };
        self.looked = now;
        for _ in 0..SHARES_PER_ROUND_MAX {
            let due = shares.due();
            if due > now {
                break;
            }
            if self.links.farm.mining() == 0 {
                self.links.farm.tally.shares_unsent += 1;
            } else if !self.links.submit(due, now) {
                break;
            }
            shares.advance();
        }
        !self.links.farm.prepare()
    }

    /// When something is to be done, if nothing comes.
    fn next_due(&self) -> Duration {
        let newcomer = (self.newcomer < self.setup.miners)
            .then_some(self.connects)
            .flatten();
        let times = [
            self.shares.map(|shares| shares.due()),
            newcomer.map(|connects| connects.due()),
            self.links.next_return(),
        ];
        times.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    fn publish(&mut self) {
        for change in self.links.farm.poll_changes() {
            // Nobody listens any more at the very end.
            drop(self.setup.changes.send(change));
        }
        let gauges = &self.setup.gauges;
        let farm = &self.links.farm;
        let set = |gauge: &AtomicU64, value: u64| gauge.store(value, Ordering::Relaxed);
        set(&gauges.connects, farm.tally.connects);
        let failed = farm.tally.connects_failed.values().sum();
        set(&gauges.connects_failed, failed);
        set(&gauges.connected, self.links.connected() as u64);
        set(&gauges.mining, farm.mining() as u64);
        set(&gauges.sent, farm.tally.shares_sent);
        set(&gauges.accepted, farm.tally.shares_accepted);
        set(&gauges.unanswered, farm.unanswered());
        gauges.stage.store(self.stage as u8, Ordering::Release);
    }
}

/// The addresses that miners connect from, where the destination is this machine: one address has some
/// 28,000 ports to choose from, and choosing costs 200 microseconds when most are taken. So each
/// connection is told its port, on an address of 127.0.0.0/8 that no other thread uses.
#[derive(Debug)]
struct Sources {
    thread: u8,
    count: u32,
}

/// Ports that miners connect from.
const PORTS: std::ops::Range<u32> = 10_000..60_000;

impl Sources {
    fn new(destination: SocketAddr, thread: usize) -> Option<Self> {
        let local = destination.is_ipv4() && destination.ip().is_loopback();
        // Not from the first port each time: those of a run before may still be in the kernel's mind.
        local.then(|| Self {
            thread: u8::try_from(thread + 1).unwrap_or(u8::MAX),
            count: fastrand::u32(..1 << 24),
        })
    }

    fn next(&mut self) -> SocketAddr {
        let count = self.count;
        self.count = self.count.wrapping_add(1);
        let ports = PORTS.end - PORTS.start;
        let host = u8::try_from(count / ports % 250 + 1).unwrap_or(1);
        let port = u16::try_from(PORTS.start + count % ports).unwrap_or(0);
        let address = Ipv4Addr::new(127, 0, self.thread, host);
        SocketAddr::new(IpAddr::V4(address), port)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_connections_come_from_one_place() {
        let local = SocketAddr::from(([127, 0, 0, 1], 3333));
        let mut seen = HashSet::new();
        for thread in 0..4 {
            let mut sources = Sources::new(local, thread).unwrap();
            for _ in 0..70_000 {
                let source = sources.next();
                assert!(source.ip().is_loopback() && source.port() >= 10_000);
                assert!(seen.insert(source));
            }
        }
    }

    #[test]
    fn only_this_machine_has_many_addresses() {
        for address in ["192.0.2.1:3333", "[::1]:3333", "[2001:db8::1]:3333"] {
            assert!(Sources::new(address.parse().unwrap(), 0).is_none());
        }
    }
}
