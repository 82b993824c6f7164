//! The rules of a run: what honest miners may not feel, what must become of attackers, and what memory may
//! be.

use std::time::Duration;

use crate::hostile::attack::Attack;
use crate::hostile::felt::Felt;
use crate::report::Report;
use crate::text;

/// Whoever was away has a job again after so long, even if it was turned away meanwhile; or it was kept out.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// Who was turned away waits a second before it comes back. A bound below two of them would be no rule.
const RETURN_BOUND_MIN: Duration = Duration::from_secs(2);

/// A play of an attack that lasts so long meets the times by which its connections are closed: a second is
/// the least that a config may have for a subscribe, and shards look four times a second.
const LONG_ENOUGH: Duration = Duration::from_millis(1500);

/// Percent of the honest shares that may be left unsent for want of a miner that has work, or of time.
const UNSENT_PERCENT: u64 = 2;

/// The second peak of memory may be so far above the first: two plays are not alike to the kilobyte.
const MEMORY_SLACK_KIB: u64 = 1024;

/// What the proxy may hold of what is not read, on all shards together: `unread_bytes_max` in its config.
pub(super) const UNREAD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What memory may grow by for each byte that is held: a buffer that is full moves into one of twice its
/// size, and what it leaves is of use to one that is no larger. Plain miners that read little were seen to
/// make it 5.6 bytes.
const UNREAD_TIMES: u64 = 6;

/// And beside that: connections, tables, and what an allocator rounds up.
const UNREAD_SLACK_KIB: u64 = 4 * 1024;

/// Bounds on memory grow with the farm from so many miners on.
const MINERS: u64 = 2000;

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) attack: Option<&'static str>,
    /// Whether attackers send anything.
    pub(super) sends: bool,
    /// Connections of attackers that the proxy closes at the least.
    pub(super) closed_min: u64,
    pub(super) return_max: Duration,
    /// Late jobs of the run without an attack, where this is another one.
    pub(super) jobs_late_max: Option<u64>,
    /// So much the proxy's memory may be above what it was before: at its peak, if that is a rule, and after.
    pub(super) peak_kib_max: Option<u64>,
    pub(super) left_kib_max: u64,
}

impl Rules {
    /// Of this attack beside so many honest miners, each play of this length.
    pub(super) fn new(
        attack: Option<&Attack>,
        miners: u32,
        play: Duration,
        quiet: Option<&Felt>,
    ) -> Self {
        let times = u64::from(miners).div_ceil(MINERS);
        let closed_min = attack.map_or(0, |it| {
            if it.is_kept_out {
                // All of them, and at least one that came back and was kept out.
                it.connections(miners) as u64 + 1
            } else {
                // Half as many as there are at a time: a bound that holds for some of them alone is none.
                let many = if play >= 2 * LONG_ENOUGH {
                    it.connections(miners).div_ceil(2) as u64
                } else {
                    1
                };
                many * u64::from(it.is_turned_away && play >= LONG_ENOUGH)
            }
        });
        let half = play / 2;
        let return_max = if half < RETURN_BOUND_MIN {
            RETURN_MAX
        } else {
            half.min(RETURN_MAX)
        };
        let peak = UNREAD_TIMES * UNREAD_BYTES_MAX / 1024 + UNREAD_SLACK_KIB * times;
        Self {
            attack: attack.map(|it| it.name),
            sends: attack.is_some_and(|it| !it.resets),
            closed_min,
            return_max,
            jobs_late_max: quiet.map(|quiet| quiet.jobs.late),
            peak_kib_max: attack.filter(|it| it.is_unread).map(|_| peak),
            left_kib_max: 1024 * times * attack.map_or(2, |it| it.left_mib_max),
        }
    }

    /// What was broken of them, in words.
    pub(super) fn broken(&self, felt: &Felt, report: &Report) -> Vec<String> {
        let mut broken = of_shares(felt, report);
        broken.extend(self.of_miners(felt, report));
        broken.extend(self.of_jobs(felt));
        broken.extend(self.of_attackers(felt));
        broken.extend(self.of_memory(felt));
        broken.extend(report.failure.clone());
        broken
    }

    fn of_miners(&self, felt: &Felt, report: &Report) -> Vec<String> {
        let (number, time) = (text::number, text::time);
        told([
            (
                felt.closed > 0,
                format!(
                    "{} honest miners closed: {}",
                    number(felt.closed),
                    text::reasons(&report.tally.disconnects)
                ),
            ),
            (
                !felt.no_connect.is_empty(),
                format!(
                    "honest miners could not connect: {}",
                    text::reasons(&felt.no_connect)
                ),
            ),
            (
                !felt.no_entry.is_empty(),
                format!(
                    "honest miners were refused: {}",
                    text::reasons(&felt.no_entry)
                ),
            ),
            (
                report.mining < report.miners,
                format!(
                    "{} honest miners do not mine at the end",
                    number(report.miners.saturating_sub(report.mining))
                ),
            ),
            (
                felt.returned == 0,
                "no miner left and came back in a play: nothing was shown".to_owned(),
            ),
            (
                felt.return_longest > self.return_max,
                format!(
                    "an honest miner was kept out for {}, and {} were turned away",
                    time(felt.return_longest),
                    number(felt.turned_away)
                ),
            ),
        ])
    }

    fn of_jobs(&self, felt: &Felt) -> Vec<String> {
        let number = text::number;
        let jobs = &felt.jobs;
        let quiet = self.jobs_late_max.unwrap_or(u64::MAX);
        told([
            (
                jobs.announced == 0 || jobs.late * 2 > jobs.announced,
                format!(
                    "of {} jobs {} came late or to too few: nothing was shown",
                    number(jobs.announced),
                    number(jobs.late)
                ),
            ),
            (
                jobs.late > quiet,
                format!(
                    "{} jobs came late or to too few, and {} without an attack",
                    number(jobs.late),
                    number(quiet)
                ),
            ),
        ])
    }

    fn of_attackers(&self, felt: &Felt) -> Vec<String> {
        let number = text::number;
        let deeds = felt.deeds;
        told([
            (
                self.attack.is_some() && deeds.connects == 0,
                "no attacker was connected: nothing was shown".to_owned(),
            ),
            (
                self.sends && deeds.connects > 0 && deeds.bytes_sent == 0,
                "no attacker sent anything: nothing was shown".to_owned(),
            ),
            (
                deeds.closed < self.closed_min,
                format!(
                    "of at least {} attackers {} were closed",
                    number(self.closed_min),
                    number(deeds.closed)
                ),
            ),
        ])
    }

    fn of_memory(&self, felt: &Felt) -> Vec<String> {
        let memory = felt.memory;
        let [first, second] = memory.peaks;
        let above = |kib: u64| kib.saturating_sub(memory.before);
        let peak_max = self.peak_kib_max.unwrap_or(u64::MAX);
        told([
            (
                above(first.max(second)) > peak_max,
                format!(
                    "memory grew by {} KiB, and no more than {peak_max} may be held",
                    above(first.max(second))
                ),
            ),
            // What an allocator keeps is used again, and what is leaked is not. Where the peak has its bound
            // it is another one each time, by who was closed when.
            (
                self.peak_kib_max.is_none() && second > first + MEMORY_SLACK_KIB,
                "the attack took more memory when it was played again".to_owned(),
            ),
            (
                above(memory.after) > self.left_kib_max,
                format!(
                    "{} KiB of memory were left behind, and {} may be",
                    above(memory.after),
                    self.left_kib_max
                ),
            ),
        ])
    }
}

fn of_shares(felt: &Felt, report: &Report) -> Vec<String> {
    let number = text::number;
    told([
        (
            felt.lost > 0,
            format!("{} honest shares lost", number(felt.lost)),
        ),
        (
            !felt.refused.is_empty(),
            format!("honest shares refused: {}", text::reasons(&felt.refused)),
        ),
        (
            report.tally.wrong_total() > 0,
            format!("wrong: {}", report.wrong_text()),
        ),
        (
            felt.unsent * 100 > (felt.sent + felt.unsent) * UNSENT_PERCENT,
            format!("{} honest shares were never sent", number(felt.unsent)),
        ),
        (
            felt.answered_apart == 0,
            "no share was answered in a play: nothing was shown".to_owned(),
        ),
    ])
}

fn told<const N: usize>(checks: [(bool, String); N]) -> Vec<String> {
    let failed = checks.into_iter().filter(|(failed, _)| *failed);
    failed.map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::attack::ATTACKS;
    use crate::hostile::attackers::Deeds;
    use crate::hostile::felt::{Memory, Seen};
    use crate::hostile::jobs::Jobs;
    use crate::report;
    use crate::tally::{count, record};

    const PLAY: Duration = Duration::from_secs(5);

    /// A run that nothing is wrong with, whatever the attack.
    fn good() -> (Report, Seen) {
        let mut report = report::tests::example();
        report.tally.disconnects.clear();
        report.tally.shares_rejected.clear();
        for times in [&mut report.tally.returns, &mut report.tally.returns_apart] {
            record(times, Duration::from_millis(90));
        }
        record(&mut report.tally.latency_apart, Duration::from_millis(3));
        let seen = Seen {
            jobs: Jobs {
                announced: 19,
                late: 1,
                to_last: vec![Duration::from_millis(20); 18],
            },
            memory: Memory {
                before: 10_000,
                peaks: [14_000, 14_500],
                after: 12_000,
            },
            deeds: Deeds {
                connects: 200,
                connects_failed: 0,
                closed: 1300,
                bytes_sent: 1,
                bytes_read: 0,
            },
        };
        (report, seen)
    }

    fn attack(name: &str) -> Option<&'static Attack> {
        let attack = ATTACKS.iter().find(|attack| attack.name == name);
        Some(attack.expect("an attack"))
    }

    /// What was broken beside the run without an attack, by this attack of so long plays.
    fn broken(
        attack: Option<&Attack>,
        play: Duration,
        change: impl FnOnce(&mut Report, &mut Seen),
    ) -> Vec<String> {
        let (report, seen) = good();
        let quiet = Felt::new(&Rules::new(None, 2000, play, None), &report, seen);
        assert!(quiet.is_clean(), "{:?}", quiet.failures);
        let (mut report, mut seen) = good();
        change(&mut report, &mut seen);
        let rules = Rules::new(attack, 2000, play, attack.map(|_| &quiet));
        let felt = Felt::new(&rules, &report, seen);
        assert_eq!(felt.is_clean(), felt.failures.is_empty());
        felt.failures
    }

    /// The same, where one rule must be broken, by these words.
    fn breaks(name: &str, words: &str, change: impl FnOnce(&mut Report, &mut Seen)) {
        let broken = broken(attack(name), PLAY, change);
        assert!(
            matches!(&broken[..], [one] if one.contains(words)),
            "{words}: {broken:?}"
        );
    }

    #[test]
    fn a_run_in_which_all_went_well_is_clean() {
        for attack in ATTACKS.iter().map(Some).chain([None]) {
            let broken = broken(attack, PLAY, |_, _| {});
            assert_eq!(broken, [""; 0]);
        }
    }

    #[test]
    fn an_honest_miner_may_lose_nothing() {
        let name = "json-bombs";
        breaks(name, "lost", |it, _| it.tally.shares_lost = 1);
        breaks(name, "at the end", |it, _| it.mining -= 1);
        breaks(name, "x", |it, _| it.failure = Some("x".to_owned()));
        breaks(name, "refused", |it, _| {
            count(&mut it.tally.shares_rejected, "21 x");
        });
        breaks(name, "miners closed", |it, _| {
            count(&mut it.tally.disconnects, "reset");
        });
        breaks(name, "could not connect", |it, _| {
            count(&mut it.tally.connects_failed, "timed out");
        });
        breaks(name, "were refused", |it, _| {
            count(&mut it.tally.refused, "no pool");
        });
        breaks(name, "never sent", |it, _| it.tally.shares_unsent = 250);
        breaks(name, "no share was answered", |it, _| {
            it.tally.latency_apart.reset();
        });
        // One that was turned away on its way was no miner yet.
        let turned_away = broken(attack(name), PLAY, |it, _| {
            count(&mut it.tally.disconnects, "closed by the peer");
            it.tally.turned_away = 1;
        });
        assert_eq!(turned_away, [""; 0]);
    }

    #[test]
    fn whoever_left_must_come_back_while_the_attack_is_on() {
        let after = |play: u64, millis: u64| {
            let late = |report: &mut Report, _: &mut Seen| {
                record(&mut report.tally.returns, Duration::from_millis(millis));
            };
            let broken = broken(attack("json-bombs"), Duration::from_secs(play), late);
            broken.iter().any(|it| it.contains("kept out"))
        };
        // Half a play, and never more than ten seconds; a short one shows nothing but those.
        assert_eq!([after(5, 2400), after(5, 2600)], [false, true]);
        assert_eq!([after(60, 9900), after(60, 10_100)], [false, true]);
        assert_eq!([after(2, 9900), after(2, 10_100)], [false, true]);
        breaks("json-bombs", "came back", |it, _| {
            it.tally.returns_apart.reset()
        });
    }

    #[test]
    fn an_attack_makes_no_job_late() {
        breaks("json-bombs", "and 1 without", |_, it| it.jobs.late = 2);
        let quiet = |late| broken(None, PLAY, |_, it| it.jobs.late = late).len();
        assert_eq!(
            [quiet(9), quiet(10)],
            [0, 1],
            "a machine on which all is late"
        );
        let none = broken(None, PLAY, |_, it| it.jobs = Jobs::default());
        assert_eq!(none.len(), 1, "{none:?}");
    }

    #[test]
    fn an_attack_takes_place() {
        breaks("json-bombs", "connected", |_, it| {
            it.deeds = Deeds::default()
        });
        breaks("json-bombs", "sent anything", |_, it| {
            it.deeds.bytes_sent = 0
        });
        let resets = broken(attack("connect-reset"), PLAY, |_, it| {
            it.deeds.bytes_sent = 0
        });
        assert_eq!(resets, [""; 0], "it has nothing to send");
    }

    #[test]
    fn the_proxy_closes_attackers() {
        for name in [
            "slow-loris",
            "never-reading",
            "slow-reading",
            "random-bytes",
        ] {
            breaks(name, "closed", |_, it| it.deeds.closed = 0);
        }
        breaks("slow-loris", "closed", |_, it| it.deeds.closed = 999);
        // A hundred of them, of whom one must have come back.
        breaks("invalid-shares", "closed", |_, it| it.deeds.closed = 100);
        let short = Duration::from_secs(1);
        let too_short = broken(attack("slow-loris"), short, |_, it| it.deeds.closed = 0);
        assert_eq!(too_short, [""; 0]);
    }

    #[test]
    fn memory_is_used_again_given_back_and_bounded() {
        breaks("json-bombs", "again", |_, it| it.memory.peaks[1] = 15_100);
        breaks("json-bombs", "left behind", |_, it| {
            it.memory.after = 12_100
        });
        let left = |name, after| broken(attack(name), PLAY, |_, it| it.memory.after = after).len();
        assert_eq!(left("tls-unfinished", 18_000), 0);
        assert_eq!(left("tls-unfinished", 18_200), 1);
        let peak = |name, peak| {
            let broken = broken(attack(name), PLAY, |_, it| it.memory.peaks = [peak; 2]);
            broken.len()
        };
        for name in ["never-reading", "slow-reading"] {
            assert_eq!([peak(name, 38_672), peak(name, 38_673)], [0, 1], "{name}");
            let again = |_: &mut Report, it: &mut Seen| it.memory.peaks = [10_000, 18_000];
            assert_eq!(broken(attack(name), PLAY, again), [""; 0]);
        }
        assert_eq!(peak("tls-unfinished", 30_000), 0);
    }
}
