//! What happened, counted. Each thread counts for itself; at the end the counts are added up.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use stratum_uring::practice::equihash::HEADER_LEN;

use crate::miner::Wrong;

/// Different reasons that are kept apart. A pool that puts a number into its texts has endless ones.
const REASONS_MAX: usize = 64;

/// Jobs of which the fan-out is remembered: more than a day of one each second.
const SPREADS_MAX: usize = 100_000;

/// Longer waits are counted as this long.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// Counts by reason.
pub(crate) type Reasons = BTreeMap<String, u64>;

/// When the miners heard of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    pub(crate) miners: u64,
}

/// How long a thread worked, of how long a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Busy {
    /// On a CPU.
    pub(crate) working: Duration,
    /// Ready to work, while others had the CPU.
    pub(crate) waiting: Duration,
    pub(crate) wall: Duration,
}

impl Busy {
    /// The share of the time in which the thread had something to do.
    pub(crate) fn fraction(&self) -> f64 {
        if self.wall.is_zero() {
            return 0.0;
        }
        (self.working + self.waiting).as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// All counts of a thread, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) connects: u64,
    pub(crate) connects_failed: Reasons,
    /// From the start of the clock; the last first connect of a miner.
    pub(crate) last_connect: Duration,
    /// The last miner's first job.
    pub(crate) last_mining: Duration,
    pub(crate) subscribes: u64,
    pub(crate) refused: Reasons,
    pub(crate) jobs_received: u64,
    pub(crate) spreads: HashMap<Box<[u8; HEADER_LEN]>, Spread>,
    pub(crate) shares_sent: u64,
    pub(crate) shares_accepted: u64,
    pub(crate) shares_rejected: Reasons,
    /// Never answered.
    pub(crate) shares_lost: u64,
    /// Due, but there was no miner to send them, or no time.
    pub(crate) shares_unsent: u64,
    /// From when a share was due to its answer, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// From when a share was due to when it was sent: our own lateness.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) wrong: [u64; Wrong::ALL.len()],
    pub(crate) disconnects: Reasons,
    /// The busiest thread while shares ran.
    pub(crate) busy: Busy,
}

impl Default for Tally {
    fn default() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_bounds(1, max, 3).expect("the bounds are right");
        Self {
            connects: 0,
            connects_failed: Reasons::new(),
            last_connect: Duration::ZERO,
            last_mining: Duration::ZERO,
            subscribes: 0,
            refused: Reasons::new(),
            jobs_received: 0,
            spreads: HashMap::new(),
            shares_sent: 0,
            shares_accepted: 0,
            shares_rejected: Reasons::new(),
            shares_lost: 0,
            shares_unsent: 0,
            latency: histogram.clone(),
            lateness: histogram,
            wrong: [0; Wrong::ALL.len()],
            disconnects: Reasons::new(),
            busy: Busy::default(),
        }
    }
}

impl Tally {
    pub(crate) fn wrong(&mut self, wrong: Wrong) {
        self.wrong[wrong as usize] += 1;
    }

    pub(crate) fn wrong_total(&self) -> u64 {
        self.wrong.iter().sum()
    }

    /// A miner heard of a job with this header.
    pub(crate) fn job(&mut self, header: &[u8; HEADER_LEN], now: Duration) {
        if let Some(spread) = self.spreads.get_mut(header) {
            spread.last = now;
            spread.miners += 1;
        } else if self.spreads.len() < SPREADS_MAX {
            let spread = Spread {
                first: now,
                last: now,
                miners: 1,
            };
            self.spreads.insert(Box::new(*header), spread);
        }
    }

    /// Adds the counts of another thread.
    pub(crate) fn add(&mut self, other: Self) {
        self.connects += other.connects;
        add_reasons(&mut self.connects_failed, other.connects_failed);
        self.last_connect = self.last_connect.max(other.last_connect);
        self.last_mining = self.last_mining.max(other.last_mining);
        self.subscribes += other.subscribes;
        add_reasons(&mut self.refused, other.refused);
        self.jobs_received += other.jobs_received;
        for (header, theirs) in other.spreads {
            let ours = self.spreads.entry(header).or_insert(Spread {
                miners: 0,
                ..theirs
            });
            ours.first = ours.first.min(theirs.first);
            ours.last = ours.last.max(theirs.last);
            ours.miners += theirs.miners;
        }
        self.shares_sent += other.shares_sent;
        self.shares_accepted += other.shares_accepted;
        add_reasons(&mut self.shares_rejected, other.shares_rejected);
        self.shares_lost += other.shares_lost;
        self.shares_unsent += other.shares_unsent;
        let same_bounds = "histograms have the same bounds";
        self.latency.add(&other.latency).expect(same_bounds);
        self.lateness.add(&other.lateness).expect(same_bounds);
        for (ours, theirs) in self.wrong.iter_mut().zip(other.wrong) {
            *ours += theirs;
        }
        add_reasons(&mut self.disconnects, other.disconnects);
        if other.busy.fraction() > self.busy.fraction() {
            self.busy = other.busy;
        }
    }
}

/// Counts one for this reason.
pub(crate) fn count(reasons: &mut Reasons, reason: &str) {
    add_reason(reasons, reason, 1);
}

/// Records a time; what is beyond the bounds counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

fn add_reason(reasons: &mut Reasons, reason: &str, many: u64) {
    if let Some(count) = reasons.get_mut(reason) {
        *count += many;
    } else if reasons.len() < REASONS_MAX {
        reasons.insert(reason.to_owned(), many);
    } else {
        *reasons.entry("others".to_owned()).or_default() += many;
    }
}

fn add_reasons(ours: &mut Reasons, theirs: Reasons) {
    for (reason, many) in theirs {
        add_reason(ours, &reason, many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fan_out_of_a_job_spans_all_threads() {
        let (mut ours, mut theirs) = (Tally::default(), Tally::default());
        let millis = Duration::from_millis;
        ours.job(&[1; HEADER_LEN], millis(5));
        ours.job(&[1; HEADER_LEN], millis(7));
        theirs.job(&[1; HEADER_LEN], millis(4));
        theirs.job(&[2; HEADER_LEN], millis(9));
        ours.add(theirs);
        let spread = ours.spreads[&Box::new([1; HEADER_LEN])];
        let expected = Spread {
            first: millis(4),
            last: millis(7),
            miners: 3,
        };
        assert_eq!(spread, expected);
        assert_eq!(ours.spreads[&Box::new([2; HEADER_LEN])].miners, 1);
    }

    #[test]
    fn reasons_are_bounded_and_none_is_lost() {
        let mut reasons = Reasons::new();
        for number in 0..1000 {
            count(&mut reasons, &format!("share {number} is bad"));
        }
        assert_eq!(reasons.len(), REASONS_MAX + 1);
        assert_eq!(reasons.values().sum::<u64>(), 1000);
    }

    #[test]
    fn the_busiest_thread_counts() {
        let busy = |working| Busy {
            working: Duration::from_secs(working),
            waiting: Duration::from_secs(1),
            wall: Duration::from_secs(10),
        };
        let mut ours = Tally::default();
        for working in [2, 7, 4] {
            ours.add(Tally {
                busy: busy(working),
                ..Tally::default()
            });
        }
        assert_eq!(ours.busy, busy(7));
        assert!((ours.busy.fraction() - 0.8).abs() < 1e-9);
    }
}
