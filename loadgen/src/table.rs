//! The report as a table for people.

use std::time::Duration;

use crate::miner::Wrong;
use crate::report::{Arrivals, Percentiles, Report};
use crate::tally::{Busy, Reasons};
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
                rate(tally.connects.min(self.miners), self.connect_time()),
                with_reasons(", failed", &tally.connects_failed),
            ),
        ));
        let bad = [(self.silent, "fell silent"), (self.slow, "read rarely")];
        let bad = bad.into_iter().filter(|(many, _)| *many > 0);
        let bad = bad.map(|(many, what)| format!(", {} {what}", number(many)));
        rows.push((
            "miners",
            format!(
                "{} of {} mining at the end{}; {} subscribed, the last first job came after {}{}",
                number(self.mining),
                number(self.miners),
                bad.collect::<String>(),
                number(tally.subscribes),
                text::time(self.ramp_time()),
                with_reasons("; refused", &tally.refused),
            ),
        ));
        if !tally.handshakes.is_empty() {
            rows.push((
                "first job",
                percentiles(self.handshakes()) + " after the connect",
            ));
        }
        let fan_out = self.fan_out();
        let to_all = match fan_out.jobs {
            0 => String::new(),
            _ => format!(" ({} of them to all)", number(fan_out.to_all)),
        };
        rows.push((
            "jobs",
            format!(
                "{} received; {} announced in the run{to_all}",
                number(tally.jobs_received),
                number(fan_out.jobs),
            ),
        ));
        if fan_out.jobs > 0 {
            let from = match fan_out.typical.first {
                Some(_) => "the pool sent it",
                None => "the first miner",
            };
            rows.push((
                "fan-out",
                format!(
                    "after {from}: {}; worst job: {}",
                    arrivals(fan_out.typical),
                    arrivals(fan_out.worst),
                ),
            ));
        }
    }

    fn share_rows(&self, rows: &mut Vec<Row>) {
        let tally = &self.tally;
        let number = text::number;
        let others = [
            (tally.shares_abandoned, "abandoned"),
            (tally.shares_unsent, "due but not sent"),
        ];
        let others = others.into_iter().filter(|(many, _)| *many > 0);
        let others = others.map(|(many, what)| format!(", {} {what}", number(many)));
        let kept = match self.saturate {
            None => String::new(),
            Some(in_flight) => format!(", {} kept in flight", number(u64::from(in_flight))),
        };
        rows.push((
            "shares",
            format!(
                "{} sent ({}/s{kept}), {} accepted, {} rejected, {} lost{}",
                number(tally.shares_sent),
                rate(tally.shares_sent, self.run),
                number(tally.shares_accepted),
                number(self.rejected()),
                number(tally.shares_lost),
                others.collect::<String>(),
            ),
        ));
        if self.rejected() > 0 {
            rows.push(("", text::reasons(&tally.shares_rejected)));
        }
        if !tally.latency.is_empty() {
            let from = match self.saturate {
                None => " (from when a share was due)",
                Some(_) => " (from when it was sent: a closed loop, which waits for a slow proxy)",
            };
            rows.push(("latency", percentiles(self.latency()) + from));
        }
        rows.push(("wrong", self.wrong_text()));
        rows.push((
            "disconnects",
            with_reasons(&number(self.disconnects()), &tally.disconnects),
        ));
        let handshakes = tally.tls_full + tally.tls_resumed;
        if handshakes > 0 {
            rows.push((
                "TLS",
                format!(
                    "{} handshakes in full, {} resumed; {}/s while all connected",
                    number(tally.tls_full),
                    number(tally.tls_resumed),
                    rate(self.miners.min(handshakes), self.ramp_time()),
                ),
            ));
        }
        if tally.churned > 0 {
            let churned = format!("{} closed here on purpose", number(tally.churned));
            rows.push(("churn", churned));
        }
    }

    /// How often something was wrong, and what.
    pub(crate) fn wrong_text(&self) -> String {
        let kinds = Wrong::ALL.into_iter().zip(self.tally.wrong);
        let kinds = kinds.filter(|(_, many)| *many > 0);
        let kinds = kinds.map(|(wrong, many)| (wrong.text().to_owned(), many));
        with_reasons(&text::number(self.tally.wrong_total()), &kinds.collect())
    }

    /// What the run cost the proxy for each of what it did, where it did only one thing.
    fn cost_in_run(&self, cpu: Duration) -> String {
        let tally = &self.tally;
        match (tally.shares_sent, tally.jobs_received_in_run) {
            (shares, 0) => each(cpu, shares, "share"),
            (0, jobs) => each(cpu, jobs, "miner and job"),
            _ => String::new(),
        }
    }

    fn cost_rows(&self, rows: &mut Vec<Row>) {
        if let Some(usage) = self.proxy {
            let ramp = usage.ramped.cpu.saturating_sub(usage.start.cpu);
            let run = usage.end.cpu.saturating_sub(usage.ramped.cpu);
            rows.push((
                "proxy",
                format!(
                    "CPU {:.2} s while connecting{}, {:.2} s while shares ran{}; RSS {:.1} MiB, \
                     peak {:.1} MiB",
                    ramp.as_secs_f64(),
                    each(ramp, self.miners, "miner"),
                    run.as_secs_f64(),
                    self.cost_in_run(run),
                    mebibytes(usage.end.rss_kib),
                    mebibytes(usage.end.rss_peak_kib),
                ),
            ));
        }
        let closed_loop = self.saturate.is_some();
        let lateness = if closed_loop || self.tally.lateness.is_empty() {
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
        rows.push((
            "loadgen",
            format!(
                "busiest thread {:.0} % of a core while connecting, {:.0} % while shares ran{lateness}",
                100.0 * self.busiest(|thread| thread.ramp),
                100.0 * self.busiest(|thread| thread.run),
            ),
        ));
        for (saturated, phase, what) in [
            (
                self.is_ramp_saturated(),
                "while connecting",
                "connect time is",
            ),
            (self.is_run_saturated(), "while shares ran", "latencies are"),
        ] {
            if saturated {
                rows.push((
                    "",
                    format!(
                        "SATURATED {phase}: this load generator had no time to spare; the {what} its own too"
                    ),
                ));
            }
        }
        let saturated = self.is_ramp_saturated() || self.is_run_saturated();
        if saturated {
            rows.push(("", self.threads()));
        }
    }

    /// How busy each thread was.
    fn threads(&self) -> String {
        let phase = |busy: Busy| {
            let waiting = busy.fraction() - busy.working_fraction();
            let [all, waiting] = [busy.fraction(), waiting].map(|part| 100.0 * part);
            format!("{all:.0} % ({waiting:.0} % waiting for a core)")
        };
        let threads = self
            .tally
            .threads
            .iter()
            .enumerate()
            .map(|(number, thread)| {
                let (ramp, run) = (phase(thread.ramp), phase(thread.run));
                format!("{number}: {ramp} while connecting, {run} while shares ran")
            });
        format!("its threads: {}", threads.collect::<Vec<_>>().join("; "))
    }
}

fn arrivals(arrivals: Arrivals) -> String {
    let Arrivals {
        first,
        median,
        p99,
        last,
    } = arrivals;
    let first = first.map(|first| format!("first {}, ", text::time(first)));
    let [median, p99, last] = [median, p99, last].map(text::time);
    let first = first.unwrap_or_default();
    format!("{first}median {median}, p99 {p99}, last {last}")
}

fn percentiles(percentiles: Percentiles) -> String {
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
    parts.join(", ")
}

fn each(cpu: Duration, count: u64, what: &str) -> String {
    if count == 0 {
        return String::new();
    }
    let micros = cpu.as_secs_f64() * 1e6 / count as f64;
    format!(" ({micros:.1} µs for each {what})")
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
    use crate::report::tests::{busy_thread, example};

    #[test]
    fn the_table_tells_everything() {
        assert_eq!(
            example().table(),
            "\
connects    1,002 in 500 ms (2000/s)
miners      1,000 of 1,000 mining at the end; 1,001 subscribed, the last first job came after 650 ms
first job   p50 100 ms, p90 180 ms, p99 198 ms, p99.9 200 ms, max 200 ms after the connect
jobs        3,000 received; 1 announced in the run (1 of them to all)
fan-out     after the first miner: median 4.02 ms, p99 9.00 ms, last 9.00 ms; worst job: median 4.02 ms, p99 9.00 ms, last 9.00 ms
shares      10,000 sent (1000/s), 9,998 accepted, 2 rejected, 0 lost
            2 × 21 stale
latency     p50 50.0 ms, p90 90.0 ms, p99 99.0 ms, p99.9 100 ms, max 100 ms (from when a share was due)
wrong       0
disconnects 1 (1 × closed by the peer)
proxy       CPU 0.10 s while connecting (100.0 µs for each miner), 1.25 s while shares ran; RSS 4.5 MiB, peak 4.5 MiB
loadgen     busiest thread 45 % of a core while connecting, 34 % while shares ran; shares left 50.0 µs late in the median, p99 99.0 µs, max 100 µs
"
        );
    }

    #[test]
    fn what_is_not_well_has_a_row() {
        let mut report = example();
        report.tally.wrong(Wrong::SecondAnswer);
        report.tally.shares_unsent = 7;
        report.tally.shares_abandoned = 3;
        report.tally.churned = 9;
        report.tally.threads = vec![busy_thread((950, 310)), busy_thread((110, 980))];
        report.silent = 10;
        report.slow = 20;
        report.failure = Some("the proxy has ended".to_owned());
        let table = report.table();
        for row in [
            "at the end, 10 fell silent, 20 read rarely;",
            "0 lost, 3 abandoned, 7 due but not sent\n",
            "wrong       1 (1 × second answer)\n",
            "churn       9 closed here on purpose\n",
            "SATURATED while connecting: this load",
            "SATURATED while shares ran: this load",
            "its threads: 0: 95 % (10 % waiting for a core) while connecting, 31 % (",
            "failed      the proxy has ended\n",
        ] {
            assert!(table.contains(row), "no {row} in\n{table}");
        }
    }

    #[test]
    fn a_closed_loop_says_that_it_is_one() {
        let mut report = example();
        report.saturate = Some(1000);
        let table = report.table();
        assert!(table.contains("(1000/s, 1,000 kept in flight)"), "{table}");
        assert!(table.contains("closed loop") && !table.contains("late in"));
    }
}
