//! What a run showed.

use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::mock_pool;
use crate::tally::{Busy, BusyThread, Spread, Tally};
use crate::usage::Usage;

/// Above this part of a core a thread was the bottleneck, and the times are its own.
const SATURATED: f64 = 0.9;

/// What the proxy cost: at the start, when all miners were there, and at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyUsage {
    pub(crate) start: Usage,
    pub(crate) ramped: Usage,
    pub(crate) end: Usage,
}

/// All that is told about a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) miners: u64,
    /// Miners that could submit a share at the end.
    pub(crate) mining: u64,
    /// Miners that had fallen silent, as they were told to.
    pub(crate) silent: u64,
    /// Miners that read rarely.
    pub(crate) slow: u64,
    /// When the first connect was begun.
    pub(crate) began: Duration,
    /// For how long shares were due.
    pub(crate) run: Duration,
    pub(crate) share_rate: f64,
    /// Shares that were kept in flight, in place of a rate.
    pub(crate) saturate: Option<u32>,
    pub(crate) tally: Tally,
    /// When the mock pool told of each of its jobs.
    pub(crate) announced: HashMap<u64, Duration>,
    pub(crate) proxy: Option<ProxyUsage>,
    /// What went wrong with the proxy itself.
    pub(crate) failure: Option<String>,
}

/// A row of percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
}

impl Percentiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}

/// How long it took until miners heard of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    /// Since the pool sent it. Where nobody knows when that was, all times count from the first miner.
    pub(crate) first: Option<Duration>,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) last: Duration,
}

/// How jobs came to the miners. Slow readers don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FanOut {
    /// Jobs that were announced while all miners were there.
    pub(crate) jobs: u64,
    /// Those of them that came to every miner.
    pub(crate) to_all: u64,
    /// The medians over these jobs.
    pub(crate) typical: Arrivals,
    /// The worst of these jobs.
    pub(crate) worst: Arrivals,
}

impl Report {
    /// Whether nothing was lost, nothing was wrong, and all miners were there.
    pub(crate) fn is_clean(&self) -> bool {
        self.tally.shares_lost == 0
            && self.tally.wrong_total() == 0
            && self.mining + self.silent == self.miners
            && self.failure.is_none()
    }

    pub(crate) fn latency(&self) -> Percentiles {
        Percentiles::of(&self.tally.latency)
    }

    pub(crate) fn lateness(&self) -> Percentiles {
        Percentiles::of(&self.tally.lateness)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.tally.shares_rejected.values().sum()
    }

    /// Answered shares for each second of the run.
    pub(crate) fn share_rate_reached(&self) -> f64 {
        let answered = self.tally.shares_accepted + self.rejected();
        if self.run.is_zero() {
            return 0.0;
        }
        answered as f64 / self.run.as_secs_f64()
    }

    /// How old this part of the shares was at the most that were lost with their connection.
    pub(crate) fn lost_age(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.tally.lost_ages.value_at_quantile(quantile))
    }

    pub(crate) fn disconnects(&self) -> u64 {
        self.tally.disconnects.values().sum()
    }

    /// From the first connect to the last.
    pub(crate) fn connect_time(&self) -> Duration {
        self.tally.last_connect.saturating_sub(self.began)
    }

    /// From the first connect until the last miner had its first job.
    pub(crate) fn ramp_time(&self) -> Duration {
        self.tally.last_mining.saturating_sub(self.began)
    }

    pub(crate) fn handshakes(&self) -> Percentiles {
        Percentiles::of(&self.tally.handshakes)
    }

    /// Of miners that were closed here on purpose: until they had a job again.
    pub(crate) fn returns(&self) -> Percentiles {
        Percentiles::of(&self.tally.returns)
    }

    pub(crate) fn fan_out(&self) -> FanOut {
        let readers = self.miners.saturating_sub(self.silent + self.slow);
        // A job that few heard of was on its way when the run began or ended.
        let spreads = self.tally.spreads.iter();
        let spreads: Vec<_> = spreads.filter(|it| it.miners() * 2 > readers).collect();
        let delay = |spread: &Spread| {
            let number = mock_pool::number_of(&spread.header);
            let sent = self.announced.get(&number);
            sent.map(|sent| spread.first.saturating_sub(*sent))
        };
        let over_jobs = |time: fn(&Spread) -> Duration, worst: bool| {
            let times = spreads.iter();
            let mut times: Vec<_> = times
                .map(|spread| time(spread) + delay(spread).unwrap_or_default())
                .collect();
            times.sort_unstable();
            let place = if worst {
                times.len().saturating_sub(1)
            } else {
                times.len() / 2
            };
            times.get(place).copied().unwrap_or_default()
        };
        let known = spreads.iter().any(|spread| delay(spread).is_some());
        let arrivals = |worst| Arrivals {
            first: known.then(|| over_jobs(|_| Duration::ZERO, worst)),
            median: over_jobs(|spread| spread.quantile(0.5), worst),
            p99: over_jobs(|spread| spread.quantile(0.99), worst),
            last: over_jobs(|spread| spread.last - spread.first, worst),
        };
        let to_all = spreads.iter().filter(|it| it.miners() >= readers);
        FanOut {
            jobs: spreads.len() as u64,
            to_all: to_all.count() as u64,
            typical: arrivals(false),
            worst: arrivals(true),
        }
    }

    /// Whether this load generator was the bottleneck while miners connected.
    pub(crate) fn is_ramp_saturated(&self) -> bool {
        self.tally
            .threads
            .iter()
            .any(|thread| is_saturated(thread.ramp))
    }

    /// Whether this load generator was the bottleneck while shares ran.
    pub(crate) fn is_run_saturated(&self) -> bool {
        self.tally
            .threads
            .iter()
            .any(|thread| is_saturated(thread.run))
    }

    /// The busiest thread's part of a core.
    pub(crate) fn busiest(&self, phase: fn(&BusyThread) -> Busy) -> f64 {
        let fractions = self
            .tally
            .threads
            .iter()
            .map(|thread| phase(thread).fraction());
        fractions.fold(0.0, f64::max)
    }
}

/// Whether a thread had no time to spare.
pub(crate) fn is_saturated(busy: Busy) -> bool {
    busy.fraction() > SATURATED
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::miner::Wrong;
    use crate::tally::{count, record};

    /// A run in which something of everything happened.
    pub(crate) fn example() -> Report {
        let mut tally = Tally {
            connects: 1002,
            last_connect: Duration::from_millis(750),
            last_mining: Duration::from_millis(900),
            subscribes: 1001,
            jobs_received: 3000,
            jobs_received_in_run: 2000,
            shares_sent: 10_000,
            shares_accepted: 9_998,
            ..Tally::default()
        };
        for millis in 1..=100 {
            record(&mut tally.latency, Duration::from_millis(millis));
            record(&mut tally.lateness, Duration::from_micros(millis));
            record(&mut tally.handshakes, Duration::from_millis(2 * millis));
        }
        for miner in 0..1000 {
            tally.job(&[1; 108], Duration::from_millis(5000 + miner / 100));
        }
        tally.job(&[2; 108], Duration::from_millis(9000));
        count(&mut tally.shares_rejected, "21 stale");
        count(&mut tally.shares_rejected, "21 stale");
        count(&mut tally.disconnects, "closed by the peer");
        tally.threads = [(100, 340), (450, 310)].map(busy_thread).into();
        let usage = |millis, rss_kib| Usage {
            cpu: Duration::from_millis(millis),
            cpu_grain: Duration::from_millis(10),
            rss_kib,
            rss_peak_kib: rss_kib,
        };
        Report {
            miners: 1000,
            mining: 1000,
            silent: 0,
            slow: 0,
            began: Duration::from_millis(250),
            run: Duration::from_secs(10),
            share_rate: 1000.0,
            saturate: None,
            tally,
            announced: HashMap::new(),
            proxy: Some(ProxyUsage {
                start: usage(10, 1024),
                ramped: usage(110, 4096),
                end: usage(1360, 4608),
            }),
            failure: None,
        }
    }

    #[test]
    fn a_run_is_clean_only_if_nothing_is_lost_or_wrong() {
        assert!(example().is_clean());
        let mut lost = example();
        lost.tally.shares_lost = 1;
        let mut wrong = example();
        wrong.tally.wrong(Wrong::SecondAnswer);
        let mut missing = example();
        missing.mining = 999;
        let mut failed = example();
        failed.failure = Some("the proxy has ended".to_owned());
        for report in [lost, wrong, missing, failed] {
            assert!(!report.is_clean());
        }
    }

    /// A thread that was busy for so many milliseconds of a second in each phase.
    pub(crate) fn busy_thread((ramp, run): (u64, u64)) -> BusyThread {
        let busy = |millis| Busy {
            working: Duration::from_millis(millis - 100),
            waiting: Duration::from_millis(100),
            wall: Duration::from_secs(1),
        };
        BusyThread {
            ramp: busy(ramp),
            run: busy(run),
        }
    }

    #[test]
    fn one_thread_without_time_to_spare_is_enough() {
        let mut report = example();
        assert!(!report.is_ramp_saturated() && !report.is_run_saturated());
        report.tally.threads[1] = busy_thread((950, 310));
        assert!(report.is_ramp_saturated() && !report.is_run_saturated());
        report.tally.threads[0] = busy_thread((100, 950));
        assert!(report.is_run_saturated());
        assert!((report.busiest(|thread| thread.run) - 0.95).abs() < 1e-9);
    }

    #[test]
    fn miners_that_were_to_fall_silent_are_not_missed() {
        let mut report = example();
        report.mining = 990;
        assert!(!report.is_clean());
        report.silent = 10;
        assert!(report.is_clean());
    }

    #[test]
    fn the_fan_out_is_that_of_the_miners_that_read() {
        let mut report = example();
        report.miners = 1050;
        report.slow = 50;
        let fan_out = report.fan_out();
        assert_eq!((fan_out.jobs, fan_out.to_all), (1, 1));
        let micros = |time: Duration| time.as_micros();
        let typical = fan_out.typical;
        assert_eq!(fan_out.typical, fan_out.worst);
        assert!(
            (3_900..=5_100).contains(&micros(typical.median)),
            "{typical:?}"
        );
        assert_eq!(micros(typical.last), 9000);
        report.slow = 0;
        assert_eq!(report.fan_out().to_all, 0);
        let number = mock_pool::number_of(&[1; 108]);
        report.announced.insert(number, Duration::from_millis(4998));
        let typical = report.fan_out().typical;
        assert_eq!(typical.first, Some(Duration::from_millis(2)));
        assert_eq!(micros(typical.last), 11_000);
    }
}
