//! What a scenario showed, held against its rule; as a row of the table, and as JSON.

use std::time::Duration;

use crate::json;
use crate::report::Report;
use crate::scenario::{Rule, Scenario};
use crate::tally::Reasons;
use crate::text;

/// What a scenario showed.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    name: &'static str,
    bound: Duration,
    miners: u64,
    closed: u64,
    closed_needlessly: u64,
    without_work: [Duration; 3],
    sent: u64,
    accepted: u64,
    refused: Reasons,
    /// Without an answer too, but the proxy never read them: they crossed the close of their connection.
    crossed: u64,
    lost: u64,
    wrong: u64,
    /// Shares that came to the pool a second time.
    pub(super) pool_duplicates: u64,
    /// Jobs on which miners were started early, and how early in the mean; where that is to be shown.
    lead: Option<(u64, Duration)>,
    pub(super) failures: Vec<String>,
}

/// What stands above the rows.
pub(super) const HEAD: &str = "\
scenario                    kept  closed  without work: p50      p99      max    bound  \
   sent  accepted   stale  other  crossed  lost
";

/// Shares with an answer of this code were stale.
const STALE: &str = "21 ";

impl Outcome {
    /// `read` is how many shares the proxy read.
    pub(super) fn new(
        scenario: &'static Scenario,
        bound: Duration,
        report: &Report,
        read: u64,
    ) -> Self {
        let tally = &report.tally;
        let histogram = &tally.without_work;
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        let crossed = tally.shares_sent.saturating_sub(read);
        let crossed = crossed.min(tally.lost_ages.len()).min(tally.shares_lost);
        let mut outcome = Self {
            name: scenario.name,
            bound,
            miners: report.miners,
            closed: tally.closed_in_outage,
            closed_needlessly: tally.closed_needlessly,
            without_work: [at(0.5), at(0.99), Duration::from_nanos(histogram.max())],
            sent: tally.shares_sent,
            accepted: tally.shares_accepted,
            refused: tally.shares_rejected.clone(),
            crossed,
            lost: tally.shares_lost - crossed,
            wrong: tally.wrong_total(),
            pool_duplicates: 0,
            lead: None,
            failures: Vec::new(),
        };
        outcome.judge(scenario.rule, report);
        outcome
    }

    fn judge(&mut self, rule: Rule, report: &Report) {
        let closed = report.disconnects();
        let mut check = |failed: bool, text: String| {
            if failed {
                self.failures.push(text);
            }
        };
        let number = text::number;
        check(
            self.lost > 0,
            format!(
                "{} shares lost; those of closed connections were {} old in the median, {} at most",
                number(self.lost),
                text::time(report.lost_age(0.5)),
                text::time(report.lost_age(1.0)),
            ),
        );
        check(self.wrong > 0, format!("wrong: {}", report.wrong_text()));
        let other = self
            .refused
            .iter()
            .filter(|(reason, _)| !reason.starts_with(STALE));
        let other: Reasons = other
            .map(|(reason, many)| (reason.clone(), *many))
            .collect();
        check(
            !other.is_empty(),
            format!("refused: {}", text::reasons(&other)),
        );
        check(
            closed != self.closed,
            format!(
                "{} closed before the fault",
                number(closed - self.closed.min(closed))
            ),
        );
        check(
            report.mining < report.miners,
            format!(
                "{} do not mine at the end",
                number(report.miners - report.mining)
            ),
        );
        check(
            self.without_work[2] > self.bound,
            format!("without work for {}", text::time(self.without_work[2])),
        );
        match rule {
            Rule::Unnoticed => {
                check(
                    self.closed > 0,
                    format!("{} closed for nothing", number(self.closed)),
                );
                let stale = self.refused.values().sum::<u64>();
                check(stale > 0, format!("{} shares refused", number(stale)));
            }
            Rule::Waits => {
                check(
                    self.closed > 0,
                    format!("{} closed for nothing", number(self.closed)),
                );
            }
            Rule::Moves => check(
                self.closed_needlessly > 0,
                format!(
                    "{} closed who could have stayed",
                    number(self.closed_needlessly)
                ),
            ),
        }
        check(
            report.failure.is_some(),
            report.failure.clone().unwrap_or_default(),
        );
    }

    /// What the exchange of jobs gained.
    pub(super) fn gained(&mut self, lead: (u64, Duration)) {
        let (jobs, _) = lead;
        if jobs == 0 {
            self.failures
                .push("no job was started before the own link announced it".to_owned());
        }
        self.lead = Some(lead);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    fn stale(&self) -> u64 {
        let stale = self
            .refused
            .iter()
            .filter(|(reason, _)| reason.starts_with(STALE));
        stale.map(|(_, many)| many).sum()
    }

    fn other(&self) -> u64 {
        self.refused.values().sum::<u64>() - self.stale()
    }

    /// A line of the table, and a further one for each rule that was broken.
    pub(super) fn row(&self) -> String {
        let number = text::number;
        let time = |time: Duration| match time {
            Duration::ZERO => "0".to_owned(),
            time => text::time(time),
        };
        let [p50, p99, max] = self.without_work.map(time);
        let mut row = format!(
            "{:<24} {:>7} {:>7} {p50:>18} {p99:>8} {max:>8} {:>8} {:>8} {:>9} {:>7} {:>6} {:>8} {:>5}\n",
            self.name,
            number(self.miners.saturating_sub(self.closed)),
            number(self.closed),
            time(self.bound),
            number(self.sent),
            number(self.accepted),
            number(self.stale()),
            number(self.other()),
            number(self.crossed),
            number(self.lost),
        );
        if let Some((jobs, mean)) = self.lead {
            let (jobs, mean) = (number(jobs), text::time(mean));
            row.push_str(&format!(
                "  {jobs} times a shard started its miners on a job ahead of its own link, by {mean} in \
                 the mean\n"
            ));
        }
        for failure in &self.failures {
            row.push_str(&format!("  FAILED: {failure}\n"));
        }
        row
    }
}

/// All of them as one object, with a newline behind it.
pub(super) fn json(outcomes: &[Outcome]) -> Vec<u8> {
    let mut out = Vec::new();
    json::object(&mut out, |it| {
        it.boolean("clean", outcomes.iter().all(Outcome::is_clean));
        it.array("scenarios", outcomes, |it, outcome| {
            it.text("name", outcome.name);
            it.boolean("clean", outcome.is_clean());
            it.object("miners", |it| {
                it.number("count", outcome.miners);
                it.number("closed", outcome.closed);
                it.number("closed_needlessly", outcome.closed_needlessly);
            });
            it.object("without_work_seconds", |it| {
                let [p50, p99, max] = outcome.without_work;
                it.time("p50", p50);
                it.time("p99", p99);
                it.time("max", max);
                it.time("bound", outcome.bound);
            });
            it.object("shares", |it| {
                it.number("sent", outcome.sent);
                it.number("accepted", outcome.accepted);
                it.number("stale", outcome.stale());
                it.number("refused_otherwise", outcome.other());
                it.reasons("refused_reasons", &outcome.refused);
                it.number("crossed_a_close", outcome.crossed);
                it.number("lost", outcome.lost);
                it.number("duplicates_at_the_last_pool", outcome.pool_duplicates);
            });
            if let Some((jobs, mean)) = outcome.lead {
                it.object("job_exchange", |it| {
                    it.number("started_early", jobs);
                    it.time("lead_seconds_mean", mean);
                });
            }
            it.number("wrong", outcome.wrong);
            it.texts("failures", &outcome.failures);
        });
    });
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::Wrong;
    use crate::report;
    use crate::scenario::SCENARIOS;
    use crate::tally::{count, record};

    const SLACK: Duration = Duration::from_secs(3);

    /// A run of 1,000 miners in which nothing happened, but that all were without work for a second.
    fn quiet() -> Report {
        let mut report = report::tests::example();
        report.tally.disconnects.clear();
        report.tally.shares_rejected.clear();
        for _ in 0..1000 {
            record(&mut report.tally.without_work, Duration::from_secs(1));
        }
        report
    }

    fn failures(name: &str, change: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = quiet();
        change(&mut report);
        let scenario = SCENARIOS.iter().find(|it| it.name == name).unwrap();
        Outcome::new(scenario, scenario.bound(1000, SLACK), &report, 10_000).failures
    }

    /// Closes a miner after the fault.
    fn close(report: &mut Report) {
        count(&mut report.tally.disconnects, "closed by the peer");
        report.tally.closed_in_outage += 1;
    }

    #[test]
    fn a_fault_that_ends_the_work_may_cost_a_second_and_some_connections() {
        assert_eq!(failures("pool-killed", |_| {}), [""; 0]);
        let moved = failures("pool-killed", |report| {
            close(report);
            count(&mut report.tally.shares_rejected, "21 Job not found");
        });
        assert_eq!(moved, [""; 0]);
    }

    #[test]
    fn where_the_session_is_resumed_nothing_may_be_noticed() {
        let noticed = failures("link-reset", |report| {
            close(report);
            count(&mut report.tally.shares_rejected, "21 Job not found");
        });
        assert_eq!(
            noticed,
            [
                "without work for 1.00 s",
                "1 closed for nothing",
                "1 shares refused"
            ]
        );
        assert_eq!(failures("no-pool", close), ["1 closed for nothing"]);
    }

    #[test]
    fn what_is_never_right_fails_every_scenario() {
        let wrongs: [fn(&mut Report); 6] = [
            |report| report.tally.shares_lost = 1,
            |report| report.tally.wrong(Wrong::SecondAnswer),
            |report| report.mining -= 1,
            |report| count(&mut report.tally.shares_rejected, "20 invalid solution"),
            |report| count(&mut report.tally.disconnects, "closed by the peer"),
            |report| report.failure = Some("the proxy has ended".to_owned()),
        ];
        for (number, wrong) in wrongs.into_iter().enumerate() {
            assert_eq!(failures("pool-killed", wrong).len(), 1, "{number}");
        }
        let needless = |report: &mut Report| {
            close(report);
            report.tally.closed_needlessly += 1;
        };
        assert_eq!(failures("pool-killed", needless).len(), 1);
        let late = |report: &mut Report| {
            record(&mut report.tally.without_work, Duration::from_secs(60));
        };
        assert_eq!(failures("pool-killed", late), ["without work for 60.0 s"]);
    }

    #[test]
    fn what_the_proxy_never_read_is_lost_only_where_the_connection_lives() {
        let scenario = &SCENARIOS[2];
        let mut report = quiet();
        report.tally.shares_lost = 3;
        record(&mut report.tally.lost_ages, Duration::from_millis(1));
        let lost = |read| {
            let outcome = Outcome::new(scenario, scenario.bound(1000, SLACK), &report, read);
            (outcome.crossed, outcome.lost)
        };
        assert_eq!(lost(10_000), (0, 3));
        assert_eq!(lost(9_999), (1, 2));
        assert_eq!(lost(9_000), (1, 2));
    }

    #[test]
    fn what_was_gained_stands_below_the_row() {
        let report = quiet();
        let scenario = SCENARIOS.iter().find(|it| it.wants_lead).unwrap();
        let mut outcome = Outcome::new(scenario, Duration::from_secs(60), &report, 10_000);
        outcome.failures.clear();
        outcome.gained((7, Duration::from_millis(198)));
        assert!(outcome.row().contains("7 times") && outcome.row().contains("198 ms"));
        assert!(outcome.is_clean());
        outcome.gained((0, Duration::ZERO));
        assert!(!outcome.is_clean());
    }

    #[test]
    fn a_row_has_its_failures_below() {
        let report = quiet();
        let scenario = &SCENARIOS[0];
        let outcome = Outcome::new(scenario, scenario.bound(1000, SLACK), &report, 10_000);
        let row = outcome.row();
        let lines: Vec<_> = row.lines().collect();
        assert!(
            lines[0].starts_with("link-reset                 1,000       0"),
            "{row}"
        );
        assert_eq!(lines[1..], ["  FAILED: without work for 1.00 s"]);
        let json = String::from_utf8(json(&[outcome])).unwrap();
        assert!(
            json.starts_with(r#"{"clean":false,"scenarios":[{"name":"link-reset","clean":false,"#),
            "{json}"
        );
    }
}
