//! What a run showed.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::tally::Tally;
use crate::usage::Usage;

/// Above this part of a core a thread was the bottleneck, and the latencies are its own.
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
    /// When the first connect was begun.
    pub(crate) began: Duration,
    /// For how long shares were due.
    pub(crate) run: Duration,
    pub(crate) share_rate: f64,
    pub(crate) tally: Tally,
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
    fn of(histogram: &Histogram<u64>) -> Self {
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

/// How long it took until all miners had heard of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FanOut {
    /// Jobs that were announced while all miners were there.
    pub(crate) jobs: u64,
    /// Those of them that came to every miner.
    pub(crate) to_all: u64,
    pub(crate) median: Duration,
    pub(crate) max: Duration,
}

impl Report {
    /// Whether nothing was lost, nothing was wrong, and all miners were there.
    pub(crate) fn is_clean(&self) -> bool {
        self.tally.shares_lost == 0
            && self.tally.wrong_total() == 0
            && self.mining == self.miners
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

    pub(crate) fn fan_out(&self) -> FanOut {
        let spreads = self.tally.spreads.values();
        // A job that few heard of was on its way when the run began or ended.
        let mut times: Vec<_> = spreads
            .filter(|spread| spread.miners * 2 > self.miners)
            .map(|spread| (spread.last - spread.first, spread.miners))
            .collect();
        times.sort_unstable();
        let at = |place: usize| times.get(place).map_or(Duration::ZERO, |(time, _)| *time);
        FanOut {
            jobs: times.len() as u64,
            to_all: times
                .iter()
                .filter(|(_, miners)| *miners >= self.miners)
                .count() as u64,
            median: at(times.len() / 2),
            max: at(times.len().saturating_sub(1)),
        }
    }

    /// Whether this load generator was the bottleneck.
    pub(crate) fn is_saturated(&self) -> bool {
        self.tally.busy.fraction() > SATURATED
    }
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
            shares_sent: 10_000,
            shares_accepted: 9_998,
            ..Tally::default()
        };
        for millis in 1..=100 {
            record(&mut tally.latency, Duration::from_millis(millis));
            record(&mut tally.lateness, Duration::from_micros(millis));
        }
        for miner in 0..1000 {
            tally.job(&[1; 108], Duration::from_millis(5000 + miner / 100));
        }
        tally.job(&[2; 108], Duration::from_millis(9000));
        count(&mut tally.shares_rejected, "21 stale");
        count(&mut tally.shares_rejected, "21 stale");
        count(&mut tally.disconnects, "closed by the peer");
        let usage = |millis, rss_kib| Usage {
            cpu: Duration::from_millis(millis),
            rss_kib,
            rss_peak_kib: rss_kib,
        };
        Report {
            miners: 1000,
            mining: 1000,
            began: Duration::from_millis(250),
            run: Duration::from_secs(10),
            share_rate: 1000.0,
            tally,
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

    #[test]
    fn a_saturated_load_generator_says_so() {
        let mut report = example();
        report.tally.busy.working = Duration::from_secs(95);
        report.tally.busy.wall = Duration::from_secs(100);
        assert!(report.is_saturated());
    }
}
