//! What honest miners felt of an attack, beside the same run without one; as a row of the table, and as
//! JSON.

use std::time::Duration;

use crate::hostile::attackers::Deeds;
use crate::json;
use crate::report::{Percentiles, Report};
use crate::tally::Reasons;
use crate::text;

/// A job that reaches the last miner so long after the pool announced it is late.
const LATE: Duration = Duration::from_millis(500);

/// Memory of the proxy, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) before: u64,
    pub(super) peak: u64,
    pub(super) after: u64,
}

/// What one run showed.
#[derive(Clone, Debug)]
pub(super) struct Felt {
    name: &'static str,
    miners: u64,
    sent: u64,
    accepted: u64,
    refused: Reasons,
    lost: u64,
    closed: u64,
    latency: Percentiles,
    jobs: u64,
    jobs_late: u64,
    /// From the pool's announcement to the last miner: in the median of the jobs, and of the slowest one.
    to_last: [Duration; 2],
    memory: Memory,
    deeds: Deeds,
    pub(super) failures: Vec<String>,
}

/// What stands above the rows.
pub(super) const HEAD: &str = "\
attack           honest: sent  lost  closed  answer: p50      p99      max  jobs  late  \
to all: p50      max  memory: before     peak    after  attackers: connects   closed      sent
";

impl Felt {
    /// `job_times` are, for each job that came to most miners, how long after the pool's announcement the
    /// last one had it.
    pub(super) fn new(
        name: &'static str,
        report: &Report,
        mut job_times: Vec<Duration>,
        memory: Memory,
        deeds: Deeds,
    ) -> Self {
        let tally = &report.tally;
        job_times.sort_unstable();
        let place = |place: usize| job_times.get(place).copied().unwrap_or_default();
        let mut felt = Self {
            name,
            miners: report.miners,
            sent: tally.shares_sent,
            accepted: tally.shares_accepted,
            refused: tally.shares_rejected.clone(),
            lost: tally.shares_lost,
            closed: report.disconnects(),
            latency: report.latency(),
            jobs: job_times.len() as u64,
            jobs_late: job_times.iter().filter(|time| **time > LATE).count() as u64,
            to_last: [
                place(job_times.len() / 2),
                place(job_times.len().saturating_sub(1)),
            ],
            memory,
            deeds,
            failures: Vec::new(),
        };
        felt.judge(report);
        felt
    }

    fn judge(&mut self, report: &Report) {
        let number = text::number;
        let checks = [
            (
                self.lost > 0,
                format!("{} honest shares lost", number(self.lost)),
            ),
            (
                self.closed > 0,
                format!(
                    "{} honest miners closed: {}",
                    number(self.closed),
                    text::reasons(&report.tally.disconnects)
                ),
            ),
            (
                !self.refused.is_empty(),
                format!("honest shares refused: {}", text::reasons(&self.refused)),
            ),
            (
                report.tally.wrong_total() > 0,
                format!("wrong: {}", report.wrong_text()),
            ),
            (
                report.mining < report.miners,
                format!(
                    "{} honest miners do not mine at the end",
                    number(report.miners - report.mining)
                ),
            ),
            (
                self.sent == 0 || self.jobs == 0,
                "no share was sent, or no job came: nothing was shown".to_owned(),
            ),
            (
                report.failure.is_some(),
                report.failure.clone().unwrap_or_default(),
            ),
        ];
        let failed = checks.into_iter().filter(|(failed, _)| *failed);
        self.failures = failed.map(|(_, text)| text).collect();
    }

    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// A line of the table, and a further one for each rule that was broken.
    pub(super) fn row(&self) -> String {
        let (number, time) = (text::number, text::time);
        let mib = |kib: u64| format!("{:.1} M", kib as f64 / 1024.0);
        let mut row = format!(
            "{:<16} {:>12} {:>5} {:>7} {:>12} {:>8} {:>8} {:>5} {:>5} {:>12} {:>8} {:>15} {:>8} {:>8} {:>20} \
             {:>8} {:>9}\n",
            self.name,
            number(self.sent),
            number(self.lost),
            number(self.closed),
            time(self.latency.p50),
            time(self.latency.p99),
            time(self.latency.max),
            number(self.jobs),
            number(self.jobs_late),
            time(self.to_last[0]),
            time(self.to_last[1]),
            mib(self.memory.before),
            mib(self.memory.peak),
            mib(self.memory.after),
            number(self.deeds.connects),
            number(self.deeds.closed),
            mib(self.deeds.bytes_sent / 1024),
        );
        for failure in &self.failures {
            row.push_str(&format!("  FAILED: {failure}\n"));
        }
        row
    }
}

/// All runs as one object, with a newline behind it. The first one is that without an attack.
pub(super) fn json(runs: &[Felt]) -> Vec<u8> {
    let mut out = Vec::new();
    json::object(&mut out, |it| {
        it.boolean("clean", runs.iter().all(Felt::is_clean));
        it.array("attacks", runs, |it, felt| {
            it.text("name", felt.name);
            it.boolean("clean", felt.is_clean());
            it.object("honest", |it| {
                it.number("miners", felt.miners);
                it.number("closed", felt.closed);
                it.number("sent", felt.sent);
                it.number("accepted", felt.accepted);
                it.reasons("refused", &felt.refused);
                it.number("lost", felt.lost);
                it.object("latency_seconds", |it| {
                    it.time("p50", felt.latency.p50);
                    it.time("p99", felt.latency.p99);
                    it.time("max", felt.latency.max);
                });
            });
            it.object("jobs", |it| {
                it.number("count", felt.jobs);
                it.number("late", felt.jobs_late);
                it.time("to_last_seconds_p50", felt.to_last[0]);
                it.time("to_last_seconds_max", felt.to_last[1]);
            });
            it.object("memory_kib", |it| {
                it.number("before", felt.memory.before);
                it.number("peak", felt.memory.peak);
                it.number("after", felt.memory.after);
            });
            it.object("attackers", |it| {
                it.number("connects", felt.deeds.connects);
                it.number("connects_failed", felt.deeds.connects_failed);
                it.number("closed", felt.deeds.closed);
                it.number("bytes_sent", felt.deeds.bytes_sent);
                it.number("bytes_read", felt.deeds.bytes_read);
            });
            it.texts("failures", &felt.failures);
        });
    });
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;
    use crate::tally::count;

    fn failures(change: impl FnOnce(&mut Report)) -> usize {
        let mut report = report::tests::example();
        report.tally.disconnects.clear();
        report.tally.shares_rejected.clear();
        report.tally.shares_lost = 0;
        change(&mut report);
        let jobs = vec![Duration::from_millis(2), Duration::from_millis(700)];
        let felt = Felt::new("none", &report, jobs, Memory::default(), Deeds::default());
        assert_eq!((felt.jobs, felt.jobs_late), (2, 1));
        assert_eq!(felt.is_clean(), felt.failures.is_empty());
        felt.failures.len()
    }

    #[test]
    fn an_honest_miner_may_lose_nothing() {
        assert_eq!(failures(|_| {}), 0);
        assert_eq!(failures(|report| report.tally.shares_lost = 1), 1);
        assert_eq!(failures(|report| report.mining -= 1), 1);
        assert_eq!(failures(|report| report.tally.shares_sent = 0), 1);
        assert_eq!(failures(|report| report.failure = Some("x".to_owned())), 1);
        let closed = |report: &mut Report| count(&mut report.tally.disconnects, "reset");
        assert_eq!(failures(closed), 1);
        let refused = |report: &mut Report| count(&mut report.tally.shares_rejected, "21 x");
        assert_eq!(failures(refused), 1);
    }
}
