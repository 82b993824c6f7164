//! What happened, counted. Each thread counts for itself; at the end the counts are added up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use stratum_uring::practice::equihash::HEADER_LEN;

use crate::miner::Wrong;

/// Different reasons that are kept apart. A pool that puts a number into its texts has endless ones.
const REASONS_MAX: usize = 64;

/// Jobs of which the fan-out is remembered, at some 10 KiB each: five hours of one every 5 seconds.
const SPREADS_MAX: usize = 4096;

/// Longer ways of a job to a miner are counted as this long.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// Longer waits are counted as this long.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// Counts by reason.
pub(crate) type Reasons = BTreeMap<String, u64>;

/// When the miners heard of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) header: [u8; HEADER_LEN],
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// For each miner the time since the first one, in microseconds and two digits.
    after_first: Histogram<u32>,
}

impl Spread {
    fn new(header: [u8; HEADER_LEN], first: Duration) -> Self {
        let after_first = Histogram::new_with_bounds(1, micros(SPREAD_MAX), 2);
        Self {
            header,
            first,
            last: first,
            after_first: after_first.expect("the bounds are right"),
        }
    }

    pub(crate) fn miners(&self) -> u64 {
        self.after_first.len()
    }

    /// The time from the first miner until this part of those that heard of the job had done so.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        let all = self.last - self.first;
        Duration::from_micros(self.after_first.value_at_quantile(quantile)).min(all)
    }

    fn heard(&mut self, now: Duration) {
        self.last = now;
        self.after_first
            .saturating_record(micros(now.saturating_sub(self.first)));
    }

    /// Adds the miners of another thread.
    fn add(&mut self, other: &Self) {
        let shift = micros(other.first.abs_diff(self.first));
        let (mut sum, later) = if other.first < self.first {
            (other.clone(), &*self)
        } else {
            (self.clone(), other)
        };
        for value in later.after_first.iter_recorded() {
            let (at, many) = (value.value_iterated_to() + shift, value.count_at_value());
            sum.after_first.saturating_record_n(at, many);
        }
        sum.last = self.last.max(other.last);
        *self = sum;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

    /// The share of the time in which it did something, others having what is missing to
    /// [`Self::fraction`].
    pub(crate) fn working_fraction(&self) -> f64 {
        if self.wall.is_zero() {
            return 0.0;
        }
        self.working.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// How busy a thread was while miners connected, and while shares ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BusyThread {
    pub(crate) ramp: Busy,
    pub(crate) run: Busy,
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
    /// Of these, while shares ran, to whomsoever.
    pub(crate) jobs_received_in_run: u64,
    /// In the order of their first miners.
    pub(crate) spreads: Vec<Spread>,
    pub(crate) shares_sent: u64,
    pub(crate) shares_accepted: u64,
    pub(crate) shares_rejected: Reasons,
    /// Never answered.
    pub(crate) shares_lost: u64,
    /// Not answered when this load generator closed the connection, as it was told to; or to a miner
    /// that did not read.
    pub(crate) shares_abandoned: u64,
    /// Due, but there was no miner to send them, or no time.
    pub(crate) shares_unsent: u64,
    /// From when a share was due to its answer, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// The same of shares that waited while something was done that is counted apart.
    pub(crate) latency_apart: Histogram<u64>,
    /// From when a share was due to when it was sent: our own lateness.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) wrong: [u64; Wrong::ALL.len()],
    pub(crate) disconnects: Reasons,
    /// Connections that were closed here, as it was told to.
    pub(crate) churned: u64,
    /// Ends by the server of connections that had not come to a job; they are among `disconnects` too.
    pub(crate) turned_away: u64,
    /// From when one was closed here to its next first job, however many tries that took, in nanoseconds.
    pub(crate) returns: Histogram<u64>,
    /// The same of those that were away while something was done that is counted apart.
    pub(crate) returns_apart: Histogram<u64>,
    /// Handshakes of TLS that were done in full, and that resumed a session.
    pub(crate) tls_full: u64,
    pub(crate) tls_resumed: u64,
    /// From when a miner's connection was begun to its first job, in nanoseconds.
    pub(crate) handshakes: Histogram<u64>,
    /// For each miner how long it was without work since the first fault of a pool, in nanoseconds.
    pub(crate) without_work: Histogram<u64>,
    /// Connections that the server closed since then, and those of them whose miners take another
    /// nonce_1 without that.
    pub(crate) closed_in_outage: u64,
    pub(crate) closed_needlessly: u64,
    /// How long ago shares had been sent that were lost with their connection, in nanoseconds.
    pub(crate) lost_ages: Histogram<u64>,
    pub(crate) threads: Vec<BusyThread>,
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
            jobs_received_in_run: 0,
            spreads: Vec::new(),
            shares_sent: 0,
            shares_accepted: 0,
            shares_rejected: Reasons::new(),
            shares_lost: 0,
            shares_abandoned: 0,
            shares_unsent: 0,
            latency: histogram.clone(),
            latency_apart: histogram.clone(),
            lateness: histogram.clone(),
            wrong: [0; Wrong::ALL.len()],
            disconnects: Reasons::new(),
            churned: 0,
            turned_away: 0,
            returns: histogram.clone(),
            returns_apart: histogram.clone(),
            tls_full: 0,
            tls_resumed: 0,
            handshakes: histogram.clone(),
            without_work: histogram.clone(),
            closed_in_outage: 0,
            closed_needlessly: 0,
            lost_ages: histogram,
            threads: Vec::new(),
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
        // Nearly always the last one.
        let mut known = self.spreads.iter_mut().rev();
        if let Some(spread) = known.find(|spread| spread.header == *header) {
            spread.heard(now);
        } else if self.spreads.len() < SPREADS_MAX {
            let mut spread = Spread::new(*header, now);
            spread.heard(now);
            self.spreads.push(spread);
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
        self.jobs_received_in_run += other.jobs_received_in_run;
        for theirs in other.spreads {
            let ours = self.spreads.iter_mut();
            match ours.rev().find(|ours| ours.header == theirs.header) {
                Some(ours) => ours.add(&theirs),
                None => self.spreads.push(theirs),
            }
        }
        self.shares_sent += other.shares_sent;
        self.shares_accepted += other.shares_accepted;
        add_reasons(&mut self.shares_rejected, other.shares_rejected);
        self.shares_lost += other.shares_lost;
        self.shares_abandoned += other.shares_abandoned;
        self.shares_unsent += other.shares_unsent;
        let same_bounds = "histograms have the same bounds";
        self.latency.add(&other.latency).expect(same_bounds);
        self.latency_apart
            .add(&other.latency_apart)
            .expect(same_bounds);
        self.lateness.add(&other.lateness).expect(same_bounds);
        for (ours, theirs) in self.wrong.iter_mut().zip(other.wrong) {
            *ours += theirs;
        }
        add_reasons(&mut self.disconnects, other.disconnects);
        self.churned += other.churned;
        self.turned_away += other.turned_away;
        self.returns.add(&other.returns).expect(same_bounds);
        self.returns_apart
            .add(&other.returns_apart)
            .expect(same_bounds);
        self.tls_full += other.tls_full;
        self.tls_resumed += other.tls_resumed;
        self.handshakes.add(&other.handshakes).expect(same_bounds);
        self.without_work
            .add(&other.without_work)
            .expect(same_bounds);
        self.closed_in_outage += other.closed_in_outage;
        self.closed_needlessly += other.closed_needlessly;
        self.lost_ages.add(&other.lost_ages).expect(same_bounds);
        self.threads.extend(other.threads);
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
        let [both, theirs] = &ours.spreads[..] else {
            panic!("{} jobs", ours.spreads.len());
        };
        assert_eq!((both.first, both.last), (millis(4), millis(7)));
        assert_eq!((both.miners(), theirs.miners()), (3, 1));
        for (quantile, expected) in [(0.1, 0), (0.5, 1), (1.0, 3)] {
            let off = both.quantile(quantile).abs_diff(millis(expected));
            assert!(off < Duration::from_micros(50), "{quantile}: {off:?}");
        }
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
}
