//! What a run showed: as a table for people, and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::miner::Wrong;
use crate::tally::Tally;
use crate::text;
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

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut rows = Vec::new();
        self.connect_rows(&mut rows);
        self.share_rows(&mut rows);
        self.cost_rows(&mut rows);
        if let Some(failure) = &self.failure {
            rows.push(("failed", failure.clone()));
        }
        let lines = rows
            .iter()
            .map(|(name, text)| format!("{name:<12}{text}\n"));
        lines.collect()
    }

    fn connect_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        let tally = &self.tally;
        let number = text::number;
        rows.push((
            "connects",
            format!(
                "{} in {} ({}/s){}",
                number(tally.connects),
                text::time(self.connect_time()),
                rate(tally.connects, self.connect_time()),
                with_reasons(", failed", &tally.connects_failed),
            ),
        ));
        rows.push((
            "miners",
            format!(
                "{} of {} mining at the end; {} subscribed, the last one had its job after {}{}",
                number(self.mining),
                number(self.miners),
                number(tally.subscribes),
                text::time(self.ramp_time()),
                with_reasons("; refused", &tally.refused),
            ),
        ));
        let fan_out = self.fan_out();
        let times = if fan_out.jobs == 0 {
            String::new()
        } else {
            format!(
                " ({} of them to all), from the first miner to the last: median {}, max {}",
                number(fan_out.to_all),
                text::time(fan_out.median),
                text::time(fan_out.max),
            )
        };
        rows.push((
            "jobs",
            format!(
                "{} received; {} announced in the run{times}",
                number(tally.jobs_received),
                number(fan_out.jobs),
            ),
        ));
    }

    fn share_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        let tally = &self.tally;
        let number = text::number;
        let unsent = match tally.shares_unsent {
            0 => String::new(),
            unsent => format!(", {} due but not sent", number(unsent)),
        };
        rows.push((
            "shares",
            format!(
                "{} sent ({}/s), {} accepted, {} rejected, {} lost{unsent}",
                number(tally.shares_sent),
                rate(tally.shares_sent, self.run),
                number(tally.shares_accepted),
                number(self.rejected()),
                number(tally.shares_lost),
            ),
        ));
        if self.rejected() > 0 {
            rows.push(("", text::reasons(&tally.shares_rejected)));
        }
        if !tally.latency.is_empty() {
            rows.push(("latency", row(self.latency())));
        }
        let kinds = Wrong::ALL.into_iter().zip(tally.wrong);
        let kinds = kinds.filter(|(_, many)| *many > 0);
        let kinds = kinds.map(|(wrong, many)| (wrong.text().to_owned(), many));
        rows.push((
            "wrong",
            with_reasons(&number(tally.wrong_total()), &kinds.collect()),
        ));
        rows.push((
            "disconnects",
            with_reasons(&number(self.disconnects()), &tally.disconnects),
        ));
    }

    fn cost_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        if let Some(usage) = self.proxy {
            let ramp = usage.ramped.cpu.saturating_sub(usage.start.cpu);
            let run = usage.end.cpu.saturating_sub(usage.ramped.cpu);
            rows.push((
                "proxy",
                format!(
                    "CPU {:.2} s while connecting, {:.2} s while shares ran; RSS {:.1} MiB, peak {:.1} MiB",
                    ramp.as_secs_f64(),
                    run.as_secs_f64(),
                    mebibytes(usage.end.rss_kib),
                    mebibytes(usage.end.rss_peak_kib),
                ),
            ));
        }
        let lateness = if self.tally.lateness.is_empty() {
            String::new()
        } else {
            let lateness = self.lateness();
            format!(
                "; shares left {} late in the median, {} at most",
                text::time(lateness.p50),
                text::time(lateness.max)
            )
        };
        let busy = 100.0 * self.tally.busy.fraction();
        rows.push((
            "loadgen",
            format!("busiest thread {busy:.0} % of a core{lateness}"),
        ));
        if self.is_saturated() {
            rows.push((
                "",
                "SATURATED: this load generator was the bottleneck, and the latencies are its own"
                    .to_owned(),
            ));
        }
    }
}

fn row(percentiles: Percentiles) -> String {
    let Percentiles {
        p50,
        p90,
        p99,
        p999,
        max,
    } = percentiles;
    let parts = [
        ("p50", p50),
        ("p90", p90),
        ("p99", p99),
        ("p99.9", p999),
        ("max", max),
    ];
    let parts = parts.map(|(name, time)| format!("{name} {}", text::time(time)));
    format!("{} (from when a share was due)", parts.join(", "))
}

fn with_reasons(head: &str, reasons: &crate::tally::Reasons) -> String {
    if reasons.is_empty() {
        // A head that is only there for its reasons has nothing to say.
        let alone = head.starts_with(|first: char| first.is_ascii_digit());
        return if alone {
            head.to_owned()
        } else {
            String::new()
        };
    }
    format!("{head} ({})", text::reasons(reasons))
}

fn rate(many: u64, time: Duration) -> String {
    if time.is_zero() {
        return "0".to_owned();
    }
    format!("{:.0}", many as f64 / time.as_secs_f64())
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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
    fn the_table_tells_everything() {
        assert_eq!(
            example().table(),
            "\
connects    1,002 in 500 ms (2004/s)
miners      1,000 of 1,000 mining at the end; 1,001 subscribed, the last one had its job after 650 ms
jobs        3,000 received; 1 announced in the run (1 of them to all), from the first miner to the last: median 9.00 ms, max 9.00 ms
shares      10,000 sent (1000/s), 9,998 accepted, 2 rejected, 0 lost
            2 × 21 stale
latency     p50 50.0 ms, p90 90.0 ms, p99 99.0 ms, p99.9 100 ms, max 100 ms (from when a share was due)
wrong       0
disconnects 1 (1 × closed by the peer)
proxy       CPU 0.10 s while connecting, 1.25 s while shares ran; RSS 4.5 MiB, peak 4.5 MiB
loadgen     busiest thread 0 % of a core; shares left 50.0 µs late in the median, 100 µs at most
"
        );
    }

    #[test]
    fn a_run_is_clean_only_if_nothing_is_lost_or_wrong() {
        assert!(example().is_clean());
        let mut lost = example();
        lost.tally.shares_lost = 1;
        let mut wrong = example();
        wrong.tally.wrong(Wrong::SecondAnswer);
        assert!(
            wrong
                .table()
                .contains("wrong       1 (1 × second answer)\n")
        );
        let mut missing = example();
        missing.mining = 999;
        let mut failed = example();
        failed.failure = Some("the proxy has ended".to_owned());
        assert!(failed.table().contains("failed      the proxy has ended"));
        for report in [lost, wrong, missing, failed] {
            assert!(!report.is_clean());
        }
    }

    #[test]
    fn a_saturated_load_generator_says_so() {
        let mut report = example();
        report.tally.busy.working = Duration::from_secs(95);
        report.tally.busy.wall = Duration::from_secs(100);
        assert!(report.is_saturated() && report.table().contains("SATURATED"));
    }
}
