//! The pace at which a shard accepts: what comes faster waits in the kernel.

use std::time::Duration;

/// Accepts that a shard may make, earned with time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Accepts a second, of this shard, in millionths.
    rate: u64,
    /// Millionths of an accept that were earned and not granted.
    rest: u64,
    earned_at: Duration,
}

/// What is earned in a longer time than this is lost: a quiet hour is not saved up for a storm.
const EARNED_FOR_AT_MOST: Duration = Duration::from_millis(500);

const MILLION: u64 = 1_000_000;

impl Pace {
    /// One of `shards` that accept so many connections a second together; `None` where there is no pace.
    pub(crate) fn new(accepts_per_second: u32, shards: usize) -> Option<Self> {
        let shards = u64::try_from(shards.max(1)).unwrap_or(u64::MAX);
        (accepts_per_second > 0).then(|| Self {
            rate: u64::from(accepts_per_second) * MILLION / shards,
            rest: 0,
            earned_at: Duration::ZERO,
        })
    }

    /// What may be accepted at once after a quiet time: as many as half a second earns.
    pub(crate) fn burst(&self) -> u32 {
        self.whole(self.earned_in(EARNED_FOR_AT_MOST)).max(1)
    }

    /// What was earned since the last time that this was asked.
    pub(crate) fn earn(&mut self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.earned_at).min(EARNED_FOR_AT_MOST);
        self.earned_at = now;
        let earned = self.rest + self.earned_in(passed);
        self.rest = earned % MILLION;
        self.whole(earned)
    }

    fn earned_in(&self, time: Duration) -> u64 {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.rate.saturating_mul(micros) / MILLION
    }

    fn whole(&self, earned: u64) -> u32 {
        u32::try_from(earned / MILLION).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_shards_have_the_pace_together() {
        assert!(Pace::new(0, 4).is_none());
        let mut pace = Pace::new(20_000, 4).unwrap();
        assert_eq!(pace.burst(), 2500);
        let earned: u32 = (1..=40).map(|tick| pace.earn(millis(250 * tick))).sum();
        assert_eq!(earned, 50_000, "in 10 seconds");
    }

    #[test]
    fn a_slow_pace_earns_parts() {
        let mut pace = Pace::new(1, 4).unwrap();
        assert_eq!(pace.burst(), 1);
        let earned: u32 = (1..=80).map(|tick| pace.earn(millis(250 * tick))).sum();
        assert_eq!(earned, 5, "in 20 seconds");
    }

    #[test]
    fn a_quiet_hour_is_not_saved_up() {
        let mut pace = Pace::new(1000, 1).unwrap();
        assert_eq!(pace.earn(Duration::from_secs(3600)), 500);
        assert_eq!(pace.earn(Duration::from_secs(3600)), 0);
    }
}
