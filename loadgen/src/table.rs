//! The report as a table for people.

use std::time::Duration;

use crate::miner::Wrong;
use crate::report::{Percentiles, Report};
use crate::tally::Reasons;
use crate::text;

/// A name and what there is to say.
type Row = (&'static str, String);

impl Report {
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

    fn connect_rows(&self, rows: &mut Vec<Row>) {
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
                "{} of {} mining at the end; {} subscribed, the last first job came after {}{}",
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

    fn share_rows(&self, rows: &mut Vec<Row>) {
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

    fn cost_rows(&self, rows: &mut Vec<Row>) {
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
                "; shares left {} late in the median, p99 {}, max {}",
                text::time(lateness.p50),
                text::time(lateness.p99),
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

fn with_reasons(head: &str, reasons: &Reasons) -> String {
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
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn the_table_tells_everything() {
        assert_eq!(
            example().table(),
            "\
connects    1,002 in 500 ms (2004/s)
miners      1,000 of 1,000 mining at the end; 1,001 subscribed, the last first job came after 650 ms
jobs        3,000 received; 1 announced in the run (1 of them to all), from the first miner to the last: median 9.00 ms, max 9.00 ms
shares      10,000 sent (1000/s), 9,998 accepted, 2 rejected, 0 lost
            2 × 21 stale
latency     p50 50.0 ms, p90 90.0 ms, p99 99.0 ms, p99.9 100 ms, max 100 ms (from when a share was due)
wrong       0
disconnects 1 (1 × closed by the peer)
proxy       CPU 0.10 s while connecting, 1.25 s while shares ran; RSS 4.5 MiB, peak 4.5 MiB
loadgen     busiest thread 0 % of a core; shares left 50.0 µs late in the median, p99 99.0 µs, max 100 µs
"
        );
    }

    #[test]
    fn what_is_not_well_has_a_row() {
        let mut report = example();
        report.tally.wrong(Wrong::SecondAnswer);
        report.tally.shares_unsent = 7;
        report.tally.busy.working = Duration::from_secs(95);
        report.tally.busy.wall = Duration::from_secs(100);
        report.failure = Some("the proxy has ended".to_owned());
        let table = report.table();
        for row in [
            "0 lost, 7 due but not sent\n",
            "wrong       1 (1 × second answer)\n",
            "SATURATED",
            "failed      the proxy has ended\n",
        ] {
            assert!(table.contains(row), "no {row} in\n{table}");
        }
    }
}
