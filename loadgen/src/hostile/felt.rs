//! What honest miners felt of an attack, beside the same run without one; as a row of the table, and as
//! JSON.

use std::time::Duration;

use crate::hostile::attack::Attack;
use crate::hostile::attackers::Deeds;
use crate::json;
use crate::report::{Percentiles, Report};
use crate::tally::Reasons;
use crate::text;

/// A job that reaches the last miner so long after the pool announced it is late.
const LATE: Duration = Duration::from_millis(500);

/// Whoever was away has a job again after so long, even if it was turned away meanwhile; or it was kept out.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// The second peak of memory may be so far above the first: two plays are not alike to the kilobyte.
const MEMORY_SLACK_KIB: u64 = 1024;

/// Memory of the proxy, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) before: u64,
    /// While the attack was played first and in the quiet behind it, and the same when it was played again.
    pub(super) peaks: [u64; 2],
    pub(super) after: u64,
}

impl Memory {
    /// Whether the attack took no more when it was played again. What an allocator keeps is used again, and
    /// what is leaked is not.
    const fn is_used_again(self) -> bool {
        let [first, second] = self.peaks;
        second <= first + MEMORY_SLACK_KIB
    }
}

/// What was seen of one run, beside what its miners counted.
#[derive(Debug)]
pub(super) struct Seen {
    /// For each job that came to most miners, how long after the pool's announcement the last one had it.
    pub(super) job_times: Vec<Duration>,
    pub(super) memory: Memory,
    pub(super) deeds: Deeds,
    /// Whether some attackers must have been closed.
    pub(super) must_close: bool,
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
    /// Of those that mined.
    closed: u64,
    /// Closed ones that were on their way back.
    turned_away: u64,
    /// Miners that left and came back, and how long it took them.
    returned: u64,
    returns: Percentiles,
    latency: Percentiles,
    jobs: u64,
    jobs_late: u64,
    /// From the pool's announcement to the last miner: in the median of the jobs, and of the slowest one.
    to_last: [Duration; 2],
    memory: Memory,
    deeds: Deeds,
    pub(super) failures: Vec<String>,
}

/// The run that the others are held against.
const QUIET: &str = "(none)";

/// What stands above the rows.
pub(super) const HEAD: &str = "\
attack           honest: sent  lost  closed  answer: p50      p99      max  jobs  late  \
to all: p50      max  returned      p50      max  memory: before     peak    again    after  \
attackers: connects   closed      sent
";

impl Felt {
    pub(super) fn new(attack: Option<&Attack>, report: &Report, seen: Seen) -> Self {
        let Seen {
            mut job_times,
            memory,
            deeds,
            must_close,
        } = seen;
        let tally = &report.tally;
        job_times.sort_unstable();
        let place = |place: usize| job_times.get(place).copied().unwrap_or_default();
        let mut felt = Self {
            name: attack.map_or(QUIET, |attack| attack.name),
            miners: report.miners,
            sent: tally.shares_sent,
            accepted: tally.shares_accepted,
            refused: tally.shares_rejected.clone(),
            lost: tally.shares_lost,
            closed: report.disconnects().saturating_sub(tally.turned_away),
            turned_away: tally.turned_away,
            returned: tally.returns.len(),
            returns: report.returns(),
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
        felt.judge(report, must_close);
        felt
    }

    fn judge(&mut self, report: &Report, must_close: bool) {
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
                self.returned == 0,
                "no miner left and came back: nothing was shown".to_owned(),
            ),
            (
                self.returns.max > RETURN_MAX,
                format!(
                    "an honest miner was kept out for {}, and {} were turned away",
                    text::time(self.returns.max),
                    number(self.turned_away)
                ),
            ),
            (
                must_close && self.deeds.closed == 0,
                "no attacker was closed".to_owned(),
            ),
            (
                !self.memory.is_used_again(),
                "the attack took more memory when it was played again".to_owned(),
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
            "{:<16} {:>12} {:>5} {:>7} {:>12} {:>8} {:>8} {:>5} {:>5} {:>12} {:>8} \
             {:>9} {:>8} {:>8} {:>15} {:>8} {:>8} {:>8} {:>20} \
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
            number(self.returned),
            time(self.returns.p50),
            time(self.returns.max),
            mib(self.memory.before),
            mib(self.memory.peaks[0]),
            mib(self.memory.peaks[1]),
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
                it.number("turned_away", felt.turned_away);
                it.number("returned", felt.returned);
                it.object("return_seconds", |it| {
                    it.time("p50", felt.returns.p50);
                    it.time("max", felt.returns.max);
                });
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
                it.number("peak", felt.memory.peaks[0]);
                it.number("peak_again", felt.memory.peaks[1]);
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
    use crate::tally::{count, record};

    fn failures(change: impl FnOnce(&mut Report)) -> usize {
        let mut report = report::tests::example();
        report.tally.disconnects.clear();
        report.tally.shares_rejected.clear();
        report.tally.shares_lost = 0;
        record(&mut report.tally.returns, Duration::from_millis(90));
        change(&mut report);
        let felt = felt(&report, Memory::default(), 0, false);
        assert_eq!((felt.jobs, felt.jobs_late), (2, 1));
        assert_eq!(felt.is_clean(), felt.failures.is_empty());
        felt.failures.len()
    }

    fn felt(report: &Report, memory: Memory, closed: u64, must_close: bool) -> Felt {
        let seen = Seen {
            job_times: vec![Duration::from_millis(2), Duration::from_millis(700)],
            memory,
            deeds: Deeds {
                closed,
                ..Deeds::default()
            },
            must_close,
        };
        Felt::new(None, report, seen)
    }

    #[test]
    fn whoever_left_must_come_back_soon() {
        let late = |report: &mut Report| {
            record(&mut report.tally.returns, Duration::from_millis(10_100));
        };
        assert_eq!(failures(late), 1);
        assert_eq!(failures(|report| report.tally.returns.reset()), 1);
        // One that was turned away on its way was no miner yet.
        let turned_away = |report: &mut Report| {
            count(&mut report.tally.disconnects, "closed by the peer");
            report.tally.turned_away = 1;
        };
        assert_eq!(failures(turned_away), 0);
    }

    #[test]
    fn the_proxy_must_close_attackers_and_use_its_memory_again() {
        let mut report = report::tests::example();
        report.tally.disconnects.clear();
        report.tally.shares_rejected.clear();
        record(&mut report.tally.returns, Duration::from_millis(90));
        let memory = |again| Memory {
            before: 10_000,
            peaks: [14_000, again],
            after: 14_000,
        };
        for (again, closed, must_close, failures) in [
            (14_500, 1, true, 0),
            (14_500, 0, true, 1),
            (14_500, 0, false, 0),
            (15_100, 0, false, 1),
        ] {
            let felt = felt(&report, memory(again), closed, must_close);
            assert_eq!(felt.failures.len(), failures, "{:?}", felt.failures);
        }
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
