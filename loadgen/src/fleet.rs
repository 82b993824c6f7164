//! All threads of a run: starts them, leads them from stage to stage, adds up what they counted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::ring::RingError;

use crate::clock::Clock;
use crate::driver::{self, Control, Gauges, Setup, Stage, part_of};
use crate::links::LOOKS_AWAY_FOR;
use crate::meter::Meter;
use crate::miner::Wrong;
use crate::nonces::{Change, Nonces};
use crate::progress::{Progress, Sample};
use crate::report::{ProxyUsage, Report};
use crate::role::{Mixture, Role};
use crate::tally::Tally;
use crate::text;
use crate::tls::{TlsKind, TlsMiners};
use crate::usage::{self, Usage};
use crate::windows::Windows;

/// A ramp without a new miner for so long goes on without the rest. A subscribe may wait 30 seconds
/// for a pool.
const RAMP_PATIENCE: Duration = Duration::from_secs(35);

/// So long connects may fail without one that succeeds: a proxy may be about to start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// What has no answer so long after the last share is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the threads are looked at.
const TICK: Duration = Duration::from_millis(20);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) destination: SocketAddr,
    pub(crate) miners: u32,
    pub(crate) threads: usize,
    pub(crate) coin: PracticeCoin,
    /// All miners talk alike; see `Habits::ALIKE`.
    pub(crate) alike: bool,
    pub(crate) duration: Duration,
    pub(crate) share_rate: f64,
    /// Shares that are kept in flight, in place of a rate.
    pub(crate) saturate: Option<u32>,
    pub(crate) connect_rate: Option<f64>,
    /// Connections on their way at a time; a bound of each thread's own, if not given.
    pub(crate) handshakes: Option<u32>,
    pub(crate) mixture: Mixture,
    /// How miners agree on keys, where they don't speak plainly.
    pub(crate) tls: Option<TlsKind>,
    /// Which of them that holds for.
    pub(crate) tls_miners: TlsMiners,
    /// Percent of the miners that leave each second and come back.
    pub(crate) churn_percent: f64,
    /// Stretches of the run in which latencies and returns are counted apart, too.
    pub(crate) apart: Windows,
    /// Whether the pool's jobs have rising times, as those of our own pools have.
    pub(crate) times_rise: bool,
    /// The process that is measured.
    pub(crate) pid: Option<u32>,
}

/// How all threads together are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connects that succeeded, and that failed.
    pub(crate) connects: u64,
    pub(crate) connects_failed: u64,
    pub(crate) connected: u64,
    pub(crate) mining: u64,
    pub(crate) silent: u64,
    /// Without work since a fault of the pool.
    pub(crate) waiting: u64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) unanswered: u64,
    pub(crate) jobs: u64,
    pub(crate) wrong: u64,
}

impl Totals {
    /// Whether every miner has come as far as it should.
    fn all_there(self, plan: &Plan) -> bool {
        self.mining + self.silent == u64::from(plan.miners)
    }
}

type Thread = JoinHandle<Result<Tally, RingError>>;

/// The threads, as the one who leads them sees them.
struct Fleet<'a> {
    clock: Clock,
    plan: Plan,
    control: Arc<Control>,
    gauges: Vec<Arc<Gauges>>,
    threads: Vec<Thread>,
    changes: Receiver<Change>,
    nonces: Nonces,
    interrupted: &'a AtomicBool,
    /// Says whether the proxy is still there.
    is_alive: &'a mut dyn FnMut() -> bool,
    progress: Progress,
}

/// A look at a run while shares are due.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Duration,
    /// When shares began.
    pub(crate) began: Duration,
    pub(crate) totals: Totals,
    pub(crate) control: &'a Control,
}

/// Runs the plan. It ends early when it is `interrupted`, or the proxy is not `alive` any more.
///
/// # Errors
///
/// A text, when the threads can't have what they need, or nobody can connect.
pub(crate) fn run(
    clock: Clock,
    plan: Plan,
    interrupted: &AtomicBool,
    alive: &mut dyn FnMut() -> bool,
) -> Result<Report, String> {
    direct(clock, plan, interrupted, alive, &mut |moment| {
        moment.now - moment.began > plan.duration
    })
}

/// As [`run`], but shares are due until the director says that it is enough. It is asked every few
/// milliseconds, and may do things meanwhile.
///
/// # Errors
///
/// Those of [`run`].
pub(crate) fn direct(
    clock: Clock,
    plan: Plan,
    interrupted: &AtomicBool,
    alive: &mut dyn FnMut() -> bool,
    is_enough: &mut dyn FnMut(Moment<'_>) -> bool,
) -> Result<Report, String> {
    let usage = || plan.pid.and_then(usage::of_process);
    let (start, began) = (usage(), clock.now());
    let mut fleet = Fleet::start(clock, plan, interrupted, alive)?;

    let patience = RAMP_PATIENCE;
    let mut last = (0, began);
    let mut nobody_connects = false;
    fleet.follow(Stage::Ramp, |totals, now| {
        let there = totals.mining + totals.silent;
        if there > last.0 {
            last = (there, now);
        }
        nobody_connects =
            totals.connects == 0 && totals.connects_failed > 0 && now - began > CONNECT_PATIENCE;
        nobody_connects || totals.all_there(&plan) || now - last.1 > patience
    });
    if nobody_connects {
        let reasons = text::reasons(&fleet.finish()?.connects_failed);
        let destination = plan.destination;
        return Err(format!("no miner can connect to {destination}: {reasons}"));
    }
    let (ramped, run_began) = (usage(), clock.now());
    let control = Arc::clone(&fleet.control);
    fleet.follow(Stage::Run, |totals, now| {
        is_enough(Moment {
            now,
            began: run_began,
            totals,
            control: &control,
        })
    });
    let run = clock.now() - run_began;
    // All threads have come to the stage when this looks first, so none sends any more.
    let settle_began = clock.now();
    let totals = fleet.follow(Stage::Settle, |totals, now| {
        // Those that were just sent away are on their way back.
        let all_back = plan.churn_percent == 0.0 || totals.all_there(&plan);
        (totals.unanswered == 0 && all_back) || now - settle_began > ANSWER_TIMEOUT
    });
    let end = usage();
    let tally = fleet.finish()?;
    Ok(Report {
        miners: u64::from(plan.miners),
        mining: totals.mining,
        silent: totals.silent,
        slow: (0..plan.miners)
            .filter(|number| plan.mixture.role(*number) == Role::SlowReader)
            .count() as u64,
        began,
        run,
        share_rate: plan.share_rate,
        saturate: plan.saturate,
        tally,
        announced: HashMap::new(),
        proxy: proxy_usage(start, ramped, end),
        failure: None,
    })
}

/// All three or none: a process that is gone has nothing to tell.
fn proxy_usage(
    start: Option<Usage>,
    ramped: Option<Usage>,
    end: Option<Usage>,
) -> Option<ProxyUsage> {
    Some(ProxyUsage {
        start: start?,
        ramped: ramped?,
        end: end?,
    })
}

impl<'a> Fleet<'a> {
    fn start(
        clock: Clock,
        plan: Plan,
        interrupted: &'a AtomicBool,
        is_alive: &'a mut dyn FnMut() -> bool,
    ) -> Result<Self, String> {
        let (sender, changes) = channel();
        let control = Arc::new(Control::default());
        let mut gauges = Vec::new();
        let mut threads = Vec::new();
        let mut first_miner = 0;
        for thread in 0..plan.threads {
            let miners = part_of(plan.miners as usize, thread, plan.threads);
            let own = Arc::new(Gauges::default());
            gauges.push(Arc::clone(&own));
            let setup = Setup {
                clock,
                destination: plan.destination,
                coin: plan.coin,
                alike: plan.alike,
                thread,
                threads: plan.threads,
                first_miner,
                miners,
                mixture: plan.mixture,
                tls: plan.tls,
                tls_miners: plan.tls_miners,
                times_rise: plan.times_rise,
                share_rate: plan.share_rate,
                saturate: plan.saturate,
                connect_rate: plan.connect_rate,
                handshakes: plan.handshakes,
                churn_rate: f64::from(plan.miners) * plan.churn_percent / 100.0,
                apart: plan.apart,
                control: Arc::clone(&control),
                gauges: own,
                changes: sender.clone(),
            };
            first_miner += u32::try_from(miners).unwrap_or(u32::MAX);
            let spawned = std::thread::Builder::new()
                .name(format!("miners-{thread}"))
                .spawn(move || driver::run(setup));
            threads.push(spawned.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        Ok(Self {
            clock,
            plan,
            control,
            gauges,
            threads,
            changes,
            nonces: Nonces::new(if plan.mixture.has_slow_readers() {
                LOOKS_AWAY_FOR
            } else {
                Duration::ZERO
            }),
            interrupted,
            is_alive,
            progress: Progress::new(),
        })
    }

    /// Leads all threads into a stage, and waits there until it is `over`, or there is no use in
    /// waiting any longer.
    fn follow(&mut self, stage: Stage, mut over: impl FnMut(Totals, Duration) -> bool) -> Totals {
        self.control.set(stage);
        let began = self.clock.now();
        let arrived = |gauges: &Arc<Gauges>| gauges.stage.load(Ordering::Acquire) >= stage as u8;
        loop {
            let now = self.clock.now();
            let here = self.gauges.iter().all(arrived);
            let totals = self.totals();
            if here && over(totals, now) {
                return totals;
            }
            // Shares in flight are waited for, even when it ends early.
            let hurries = stage < Stage::Settle && self.interrupted.load(Ordering::Relaxed);
            let ended = self.threads.iter().any(JoinHandle::is_finished);
            if hurries || ended || !(self.is_alive)() {
                return totals;
            }
            let Self {
                progress,
                plan,
                gauges,
                ..
            } = self;
            let sample = || Sample {
                at: now,
                totals,
                latency: Meter::quantiles(gauges.iter().map(|it| &it.latency), [0.5, 0.99]),
                busy: gauges
                    .iter()
                    .map(|it| Duration::from_nanos(it.busy.load(Ordering::Relaxed)))
                    .collect(),
                proxy: plan.pid.and_then(usage::of_process),
            };
            progress.show(stage, now, now - began, plan, sample);
            self.note_changes(now + TICK);
        }
    }

    /// Waits until this time, and meanwhile follows who holds which nonce.
    fn note_changes(&mut self, until: Duration) {
        loop {
            let now = self.clock.now();
            match self.changes.recv_timeout(until.saturating_sub(now)) {
                Ok(change) => self.nonces.handle(change, now),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return Clock::pause(until - now),
            }
        }
    }

    fn totals(&self) -> Totals {
        let sum = |gauge: fn(&Gauges) -> &AtomicU64| {
            let values = self
                .gauges
                .iter()
                .map(|it| gauge(it).load(Ordering::Relaxed));
            values.sum()
        };
        Totals {
            connects: sum(|it| &it.connects),
            connects_failed: sum(|it| &it.connects_failed),
            connected: sum(|it| &it.connected),
            mining: sum(|it| &it.mining),
            silent: sum(|it| &it.silent),
            waiting: sum(|it| &it.waiting),
            sent: sum(|it| &it.sent),
            accepted: sum(|it| &it.accepted),
            rejected: sum(|it| &it.rejected),
            unanswered: sum(|it| &it.unanswered),
            jobs: sum(|it| &it.jobs),
            wrong: sum(|it| &it.wrong),
        }
    }

    fn finish(mut self) -> Result<Tally, String> {
        let shared = self.nonces.wrong(self.clock.now());
        self.control.set(Stage::Stop);
        self.progress.clear();
        let mut tally = Tally::default();
        tally.wrong[Wrong::SharedNonce as usize] = shared;
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(counted)) => tally.add(counted),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("a thread of this load generator failed".to_owned()),
            }
        }
        Ok(tally)
    }
}

#[cfg(test)]
pub(crate) mod tests;
