//! What honest miners felt of an attack, beside the same run without one; as a row of the table, and as
//! JSON.

use std::time::Duration;

use crate::hostile::attackers::Deeds;
use crate::hostile::jobs::Jobs;
use crate::hostile::judge::Rules;
use crate::json;
use crate::report::{Percentiles, Report};
use crate::tally::Reasons;
use crate::text;

/// Memory of the proxy, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) before: u64,
    /// While the attack was played first and in the quiet behind it, and the same when it was played again.
    pub(super) peaks: [u64; 2],
    pub(super) after: u64,
}

/// What was seen of one run, beside what its miners counted.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) jobs: Jobs,
    pub(super) memory: Memory,
    pub(super) deeds: Deeds,
}

/// What one run showed.
#[derive(Clone, Debug)]
pub(super) struct Felt {
    name: &'static str,
    miners: u64,
    pub(super) sent: u64,
    accepted: u64,
    pub(super) refused: Reasons,
    pub(super) lost: u64,
    /// Due, and nobody could send them.
    pub(super) unsent: u64,
    /// Of those that mined.
    pub(super) closed: u64,
    /// Closed ones that were on their way back.
    pub(super) turned_away: u64,
    /// Connects that failed, and subscribes or authorizes that were refused.
    pub(super) no_connect: Reasons,
    pub(super) no_entry: Reasons,
    /// Miners that left and came back while the attack was on, or would have been; and how long it took them.
    pub(super) returned: u64,
    returns: Percentiles,
    /// The longest return of all.
    pub(super) return_longest: Duration,
    /// Shares that waited while the attack was on, or would have been, and for how long.
    pub(super) answered_apart: u64,
    latency: Percentiles,
    pub(super) jobs: Jobs,
    pub(super) memory: Memory,
    pub(super) deeds: Deeds,
    pub(super) failures: Vec<String>,
}

/// The run that the others are held against.
const QUIET: &str = "(none)";

/// What stands above the rows. Answers and returns are those of the plays.
pub(super) const HEAD: &str = "\
attack           honest: sent unsent  lost  closed  answer: p50      p99      max  jobs  late  \
to all: p50      max  returned      p50      max  memory: before     peak    again    after  \
attackers: connects  failed   closed      sent      read
";

impl Felt {
    pub(super) fn new(rules: &Rules, report: &Report, seen: Seen) -> Self {
        let tally = &report.tally;
        let mut felt = Self {
            name: rules.attack.unwrap_or(QUIET),
            miners: report.miners,
            sent: tally.shares_sent,
            accepted: tally.shares_accepted,
            refused: tally.shares_rejected.clone(),
            lost: tally.shares_lost,
            unsent: tally.shares_unsent,
            closed: report.disconnects().saturating_sub(tally.turned_away),
            turned_away: tally.turned_away,
            no_connect: tally.connects_failed.clone(),
            no_entry: tally.refused.clone(),
            returned: tally.returns_apart.len(),
            returns: Percentiles::of(&tally.returns_apart),
            return_longest: report.returns().max,
            answered_apart: tally.latency_apart.len(),
            latency: Percentiles::of(&tally.latency_apart),
            jobs: seen.jobs,
            memory: seen.memory,
            deeds: seen.deeds,
            failures: Vec::new(),
        };
        felt.failures = rules.broken(&felt, report);
        felt
    }

    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// A line of the table, and a further one for each rule that was broken.
    pub(super) fn row(&self) -> String {
        let (number, time) = (text::number, text::time);
        let mib = |kib: u64| format!("{:.1} M", kib as f64 / 1024.0);
        let mut row = format!(
            "{:<16} {:>12} {:>6} {:>5} {:>7} {:>12} {:>8} {:>8} {:>5} {:>5} {:>12} {:>8} \
             {:>9} {:>8} {:>8} {:>15} {:>8} {:>8} {:>8} {:>20} \
             {:>7} {:>8} {:>9} {:>9}\n",
            self.name,
            number(self.sent),
            number(self.unsent),
            number(self.lost),
            number(self.closed),
            time(self.latency.p50),
            time(self.latency.p99),
            time(self.latency.max),
            number(self.jobs.announced),
            number(self.jobs.late),
            time(self.jobs.median()),
            time(self.jobs.slowest()),
            number(self.returned),
            time(self.returns.p50),
            time(self.returns.max),
            mib(self.memory.before),
            mib(self.memory.peaks[0]),
            mib(self.memory.peaks[1]),
            mib(self.memory.after),
            number(self.deeds.connects),
            number(self.deeds.connects_failed),
            number(self.deeds.closed),
            mib(self.deeds.bytes_sent / 1024),
            mib(self.deeds.bytes_read / 1024),
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
                it.reasons("connects_failed", &felt.no_connect);
                it.reasons("miners_refused", &felt.no_entry);
                it.number("returned", felt.returned);
                it.object("return_seconds", |it| {
                    it.time("p50", felt.returns.p50);
                    it.time("max", felt.returns.max);
                });
                it.time("return_seconds_longest", felt.return_longest);
                it.number("sent", felt.sent);
                it.number("accepted", felt.accepted);
                it.reasons("refused", &felt.refused);
                it.number("lost", felt.lost);
                it.number("unsent", felt.unsent);
                it.number("answered", felt.answered_apart);
                it.object("latency_seconds", |it| {
                    it.time("p50", felt.latency.p50);
                    it.time("p99", felt.latency.p99);
                    it.time("max", felt.latency.max);
                });
            });
            it.object("jobs", |it| {
                it.number("count", felt.jobs.announced);
                it.number("late", felt.jobs.late);
                it.time("to_last_seconds_p50", felt.jobs.median());
                it.time("to_last_seconds_max", felt.jobs.slowest());
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
