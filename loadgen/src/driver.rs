//! A thread of the load generator: a ring, the miners on it, and the time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::ring::{Close, MinerRing, RingConfig, RingError};

use crate::clock::Clock;
use crate::farm::Farm;
use crate::links::Links;
use crate::meter::Meter;
use crate::nonces::Change;
use crate::outage::Fault;
use crate::role::{Mixture, Role};
use crate::schedule::Schedule;
use crate::tally::{Busy, BusyThread, Tally};
use crate::tls::{Seals, TlsKind, TlsMiners};
use crate::usage;
use crate::windows::Windows;

/// Miners of a thread at most: more make a round so long that it shows in the latencies.
pub(crate) const MINERS_PER_THREAD_MAX: usize = 16_384;

/// Connections on their way to a subscription, for each thread, if nothing else is asked for. About what
/// listeners queue: more would wait in the kernel for a second and measure its retransmission timer.
const HANDSHAKES_MAX: usize = 256;

/// Shares that are sent before the thread looks at what came.
const SHARES_PER_ROUND_MAX: usize = 64;

/// Connections that are closed on purpose before the thread looks at what came.
const CHURN_PER_ROUND_MAX: usize = 64;

/// How often a thread tells how busy it is.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

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

/// What the thread that coordinates tells the others.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stage: AtomicU8,
    /// What was done to a pool.
    fault: OnceLock<Fault>,
}

impl Control {
    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))]
    }

    /// Tells all threads of the fault of this run. There is one at most.
    pub(crate) fn tell(&self, fault: Fault) {
        let told = self.fault.set(fault);
        debug_assert!(told.is_ok(), "a second fault");
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
    pub(crate) silent: AtomicU64,
    /// Miners that are without work since a fault.
    pub(crate) waiting: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) jobs: AtomicU64,
    pub(crate) wrong: AtomicU64,
    /// Nanoseconds for which it worked or was ready to.
    pub(crate) busy: AtomicU64,
    pub(crate) latency: Meter,
    /// Whether it has come to the current stage.
    pub(crate) stage: AtomicU8,
}

/// What a thread is to do.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) destination: SocketAddr,
    pub(crate) coin: PracticeCoin,
    pub(crate) alike: bool,
    /// This thread of so many.
    pub(crate) thread: usize,
    pub(crate) threads: usize,
    pub(crate) first_miner: u32,
    pub(crate) miners: usize,
    pub(crate) mixture: Mixture,
    /// `None` where miners speak plainly.
    pub(crate) tls: Option<TlsKind>,
    /// Else, which of them do not.
    pub(crate) tls_miners: TlsMiners,
    /// Whether the pool's jobs have rising times.
    pub(crate) times_rise: bool,
    /// Rates and bounds are of all threads together.
    pub(crate) share_rate: f64,
    /// Shares that are kept in flight, in place of a rate.
    pub(crate) saturate: Option<u32>,
    pub(crate) connect_rate: Option<f64>,
    /// Connections on their way to a subscription.
    pub(crate) handshakes: Option<u32>,
    /// Connections that are closed on purpose.
    pub(crate) churn_rate: f64,
    /// What is counted apart, from when shares begin on.
    pub(crate) apart: Windows,
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
    handshakes_max: usize,
    connects: Option<Schedule>,
    shares: Shares,
    churn: Option<Schedule>,
    stage: Stage,
    /// When this stage began.
    began: Option<Busy>,
    busy: BusyThread,
    /// When it tells next how busy it is.
    tells_busy: Duration,
    /// What was due before had its chance to be sent.
    looked: Duration,
    setup: Setup,
}

/// When shares are sent.
#[derive(Clone, Copy, Debug)]
enum Shares {
    Never,
    /// When they are due, whatever became of those before.
    AtRate(Schedule),
    /// As soon as less than so many wait for an answer.
    InFlight(u64),
}

impl Driver {
    fn new(setup: Setup, ring: MinerRing) -> Self {
        let mut farm = Farm::new(setup.first_miner, setup.miners, setup.coin, setup.mixture);
        if setup.times_rise {
            farm.expect_times_to_rise();
        }
        if setup.alike {
            farm.make_alike(setup.thread, setup.threads);
        }
        let start = setup.clock.now();
        let (part, parts) = (setup.thread, setup.threads);
        let handshakes_max = setup
            .handshakes
            .map(|all| part_of(all as usize, part, parts).max(1));
        let tls = setup.tls;
        let seals =
            tls.map(|kind| Seals::new(kind, setup.tls_miners, setup.first_miner, setup.miners));
        Self {
            ring,
            links: Links::new(farm, setup.clock, seals),
            sources: Sources::new(setup.destination, setup.thread),
            newcomer: 0,
            handshakes_max: handshakes_max.unwrap_or(HANDSHAKES_MAX),
            connects: setup
                .connect_rate
                .map(|rate| Schedule::part(start, rate, part, parts)),
            shares: Shares::Never,
            churn: None,
            stage: Stage::Ramp,
            began: usage::this_thread(start),
            busy: BusyThread::default(),
            tells_busy: start,
            looked: start,
            setup,
        }
    }

    fn run(mut self) -> Tally {
        while self.stage < Stage::Stop {
            let now = self.setup.clock.now();
            self.follow_stage(now);
            self.hear_of_fault();
            self.connect(now);
            let found_all = self.submit(now);
            self.close_some(now);
            self.links.direct_looks(&mut self.ring, now);
            self.links.flush(&mut self.ring);
            if found_all {
                let wait = self.next_due().saturating_sub(self.setup.clock.now());
                self.ring.wait_blocking(wait.min(STAGE_CHECK_INTERVAL));
            } else {
                self.ring.submit();
            }
            self.ring.drain(&mut self.links);
            self.links.flush(&mut self.ring);
            self.publish(now);
        }
        let mut tally = self.links.farm.finish(self.setup.clock.now());
        tally.threads = vec![self.busy];
        tally
    }

    fn follow_stage(&mut self, now: Duration) {
        let stage = self.setup.control.stage();
        if stage == self.stage {
            return;
        }
        let farm = &mut self.links.farm;
        if stage >= Stage::Run && self.stage < Stage::Run {
            farm.measures_jobs = true;
            farm.apart = self.setup.apart.after(now);
            self.busy.ramp = self.since_began(now);
        }
        if stage == Stage::Run {
            let start = now + SHARES_BEGIN_AFTER;
            let (part, parts) = (self.setup.thread, self.setup.threads);
            let at_rate = |rate| (rate > 0.0).then(|| Schedule::part(start, rate, part, parts));
            self.shares = match (self.setup.saturate, at_rate(self.setup.share_rate)) {
                (Some(all), _) => Shares::InFlight(part_of(all as usize, part, parts) as u64),
                (None, Some(schedule)) => Shares::AtRate(schedule),
                (None, None) => Shares::Never,
            };
            self.churn = at_rate(self.setup.churn_rate);
        }
        if stage >= Stage::Settle && self.stage < Stage::Settle {
            // Those that are still due were never sent.
            if let Shares::AtRate(mut shares) = self.shares {
                while shares.due() <= self.looked {
                    self.links.farm.tally.shares_unsent += 1;
                    shares.advance();
                }
            }
            self.shares = Shares::Never;
            self.churn = None;
            self.links.all_attentive = true;
            self.busy.run = self.since_began(now);
        }
        self.stage = stage;
    }

    fn hear_of_fault(&mut self) {
        let outage = &mut self.links.farm.outage;
        if let Some(fault) = self.setup.control.fault.get()
            && !outage.has_begun()
        {
            outage.handle_fault(*fault);
        }
    }

    /// How busy this thread was since the last call.
    fn since_began(&mut self, now: Duration) -> Busy {
        let ended = usage::this_thread(now);
        let busy = self.began.zip(ended).map(|(began, ended)| Busy {
            working: ended.working.saturating_sub(began.working),
            waiting: ended.waiting.saturating_sub(began.waiting),
            wall: ended.wall.saturating_sub(began.wall),
        });
        self.began = ended;
        busy.unwrap_or_default()
    }

    /// Begins the connections that are due and for which there is room.
    fn connect(&mut self, now: Duration) {
        while self.links.shaking_hands() < self.handshakes_max {
            let new = self.stage < Stage::Settle
                && self.newcomer < self.setup.miners
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
            let destination = self.setup.destination;
            let begun = match self.links.farm.role(miner) {
                Role::SlowReader => self.ring.connect_narrow(source, destination),
                Role::Prompt | Role::HalfDead => self.ring.connect(source, destination),
            };
            let Ok(token) = begun else { return };
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
        self.looked = now;
        match &mut self.shares {
            Shares::Never => return true,
            Shares::AtRate(shares) => {
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
            }
            Shares::InFlight(wanted) => {
                for _ in 0..SHARES_PER_ROUND_MAX {
                    let enough = self.links.farm.in_flight() >= *wanted;
                    if enough || !self.links.submit(now, now) {
                        break;
                    }
                }
            }
        }
        !self.links.farm.prepare()
    }

    /// Closes the connections that are due to be, of miners chosen at random: every other one by a
    /// reset. They come back at once.
    fn close_some(&mut self, now: Duration) {
        let Some(churn) = &mut self.churn else { return };
        for _ in 0..CHURN_PER_ROUND_MAX {
            if churn.due() > now {
                break;
            }
            churn.advance();
            let how = if self.links.farm.tally.churned.is_multiple_of(2) {
                Close::Graceful
            } else {
                Close::Reset
            };
            if self.links.churn(fastrand::usize(..self.setup.miners), how) {
                self.links.farm.tally.churned += 1;
            }
        }
    }

    /// When something is to be done, if nothing comes.
    fn next_due(&self) -> Duration {
        let newcomer = (self.newcomer < self.setup.miners)
            .then_some(self.connects)
            .flatten();
        let share = match self.shares {
            Shares::AtRate(shares) => Some(shares.due()),
            Shares::Never | Shares::InFlight(_) => None,
        };
        let times = [
            share,
            self.churn.map(|churn| churn.due()),
            newcomer.map(|connects| connects.due()),
            self.links.next_return(),
        ];
        times.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    fn publish(&mut self, now: Duration) {
        for change in self.links.farm.poll_changes() {
            // Nobody listens any more at the very end.
            drop(self.setup.changes.send(change));
        }
        let gauges = &self.setup.gauges;
        for latency in self.links.farm.poll_latencies() {
            gauges.latency.record(latency);
        }
        if now >= self.tells_busy {
            self.tells_busy = now + BUSY_INTERVAL;
            let busy = usage::this_thread(now).map(|it| (it.working + it.waiting).as_nanos());
            let busy = busy.and_then(|nanos| u64::try_from(nanos).ok());
            gauges
                .busy
                .store(busy.unwrap_or_default(), Ordering::Relaxed);
        }
        let farm = &self.links.farm;
        let set = |gauge: &AtomicU64, value: u64| gauge.store(value, Ordering::Relaxed);
        set(&gauges.connects, farm.tally.connects);
        let failed = farm.tally.connects_failed.values().sum();
        set(&gauges.connects_failed, failed);
        set(&gauges.connected, self.links.connected() as u64);
        set(&gauges.mining, farm.mining() as u64);
        set(&gauges.silent, farm.silent() as u64);
        set(&gauges.waiting, farm.outage.waiting() as u64);
        set(&gauges.sent, farm.tally.shares_sent);
        set(&gauges.accepted, farm.tally.shares_accepted);
        set(&gauges.rejected, farm.tally.shares_rejected.values().sum());
        set(&gauges.jobs, farm.tally.jobs_received);
        set(&gauges.wrong, farm.tally.wrong_total());
        set(&gauges.unanswered, farm.unanswered());
        gauges.stage.store(self.stage as u8, Ordering::Release);
    }
}

/// What is this thread's of `all`, as even as can be.
pub(crate) fn part_of(all: usize, part: usize, parts: usize) -> usize {
    all / parts + usize::from(part < all % parts)
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
    fn threads_get_even_parts() {
        let split = |all, parts| (0..parts).map(move |part| part_of(all, part, parts));
        assert!(split(10, 3).eq([4, 3, 3]));
        assert!(split(65_536, 4).eq([16_384; 4]));
        assert!(split(1, 2).eq([1, 0]));
    }

    #[test]
    fn only_this_machine_has_many_addresses() {
        for address in ["192.0.2.1:3333", "[::1]:3333", "[2001:db8::1]:3333"] {
            assert!(Sources::new(address.parse().unwrap(), 0).is_none());
        }
    }
}
