//! When the jobs of a run came to the miners: all that the pool announced, and not only those that somebody
//! heard of.

use std::time::Duration;

use crate::mock_pool::number_of;
use crate::report::Report;

/// The pool announces a job this often, and numbers them by the time since 1970.
pub(super) const JOB_INTERVAL: Duration = Duration::from_secs(1);

/// A job that reaches the last miner so long after the pool announced it is late.
pub(super) const LATE: Duration = Duration::from_millis(500);

/// The threads of the miners begin to look at jobs within this time from the begin of the run.
const LOOKS_WITHIN: Duration = Duration::from_millis(100);

/// Percent of the miners that must have heard of a job. A few of them leave and come back all the time, and
/// have it with their subscribe.
const HEARD_PERCENT: u64 = 90;

/// How the jobs of a run came to the miners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Jobs {
    /// That the pool announced, from the begin of the run until so long before its end that they could be
    /// late.
    pub(super) announced: u64,
    /// Those of them that came late to somebody, that too few heard of, or nobody.
    pub(super) late: u64,
    /// Of those that enough miners heard of: from the pool's announcement to the last miner; in order.
    pub(super) to_last: Vec<Duration>,
}

impl Jobs {
    /// Of a run between these two times of the clock, which was at zero so long after 1970.
    pub(super) fn of(report: &Report, run: (Duration, Duration), zero: Duration) -> Self {
        let interval = nanos(JOB_INTERVAL);
        let begin = zero + run.0 + LOOKS_WITHIN;
        let end = (zero + run.1).saturating_sub(LATE);
        let first = nanos(begin).div_ceil(interval);
        let mut jobs = Self::default();
        for number in first..=nanos(end) / interval {
            let announced = Duration::from_nanos(number * interval);
            let mut spreads = report.tally.spreads.iter();
            let heard = spreads.find(|spread| number_of(&spread.header) == number);
            let of_enough = heard.filter(|it| it.miners() * 100 >= report.miners * HEARD_PERCENT);
            let took = of_enough.map(|it| (zero + it.last).saturating_sub(announced));
            jobs.announced += 1;
            jobs.late += u64::from(took.is_none_or(|took| took > LATE));
            jobs.to_last.extend(took);
        }
        jobs.to_last.sort_unstable();
        jobs
    }

    /// From the announcement to the last miner, in the median of the jobs.
    pub(super) fn median(&self) -> Duration {
        let middle = self.to_last.len() / 2;
        self.to_last.get(middle).copied().unwrap_or_default()
    }

    /// The same of the slowest one.
    pub(super) fn slowest(&self) -> Duration {
        self.to_last.last().copied().unwrap_or_default()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use stratum_uring::practice::equihash::HEADER_LEN;

    use super::*;
    use crate::report;

    /// The clock began 300 ms into this second.
    const ZERO: Duration = Duration::from_millis(1_700_000_000_300);

    /// Jobs 1,700,000,002 to …_005 of a run from 1 s to 6 s of the clock, each told to so many miners at
    /// so many milliseconds of the clock, evenly.
    fn jobs(told: [(u64, u64, u64); 4]) -> Jobs {
        let mut report = report::tests::example();
        report.miners = 100;
        report.tally.spreads.clear();
        for (number, (miners, first, last)) in (1_700_000_002_u64..).zip(told) {
            let mut header = [0; HEADER_LEN];
            header[60..68].copy_from_slice(&number.to_be_bytes());
            for miner in 0..miners {
                let at = first + (last - first) * miner / (miners - 1).max(1);
                report.tally.job(&header, Duration::from_millis(at));
            }
        }
        let run = (Duration::from_secs(1), Duration::from_secs(6));
        Jobs::of(&report, run, ZERO)
    }

    const GOOD: [(u64, u64, u64); 4] = [
        (100, 1701, 1710),
        (91, 2702, 2712),
        (100, 3703, 3730),
        (100, 4704, 4709),
    ];

    #[test]
    fn each_second_of_the_run_has_its_job() {
        let jobs = jobs(GOOD);
        assert_eq!((jobs.announced, jobs.late), (4, 0));
        let millis = |time: Duration| time.as_millis();
        assert_eq!((millis(jobs.median()), millis(jobs.slowest())), (12, 30));
    }

    #[test]
    fn a_job_is_as_late_as_it_is_and_not_by_a_fraction_of_a_second() {
        for (first, last, late) in [
            // One miner hears of it late, or all of them do, even by whole seconds and a bit.
            (2702, 3190, 0),
            (2702, 3210, 1),
            (3205, 3210, 1),
            (4701, 4705, 1),
        ] {
            let mut told = GOOD;
            told[1] = (100, first, last);
            let jobs = jobs(told);
            assert_eq!((jobs.announced, jobs.late), (4, late), "{first} to {last}");
            assert_eq!(jobs.slowest().as_millis(), u128::from(last - 2700).max(30));
        }
    }

    #[test]
    fn a_job_that_few_or_nobody_heard_of_is_late() {
        for (miners, late) in [(0, 1), (1, 1), (51, 1), (89, 1), (90, 0)] {
            let mut told = GOOD;
            told[2].0 = miners;
            let jobs = jobs(told);
            assert_eq!((jobs.announced, jobs.late), (4, late), "{miners}");
        }
        assert_eq!(jobs([(0, 0, 0); 4]).late, 4);
    }
}
