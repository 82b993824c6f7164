//! Latencies that one thread counts while another one looks: for the view during the run. The report
//! has histograms with three digits; here one is enough.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts times by their size, eight steps for each doubling.
#[derive(Debug)]
pub(crate) struct Meter {
    buckets: [AtomicU64; BUCKETS],
}

const STEPS: usize = 8;
const BUCKETS: usize = 62 * STEPS;

impl Default for Meter {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Meter {
    pub(crate) fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// The times below which these parts of all that these meters counted lie. `None` if they counted
    /// nothing.
    pub(crate) fn quantiles<'a, const N: usize>(
        meters: impl Iterator<Item = &'a Self>,
        quantiles: [f64; N],
    ) -> Option<[Duration; N]> {
        let mut counts = [0; BUCKETS];
        for meter in meters {
            for (count, bucket) in counts.iter_mut().zip(&meter.buckets) {
                *count += bucket.load(Ordering::Relaxed);
            }
        }
        let all: u64 = counts.iter().sum();
        let at = |quantile: f64| {
            let mut left = quantile * all as f64;
            let found = counts.iter().position(|count| {
                left -= *count as f64;
                left <= 0.0 && *count > 0
            });
            Duration::from_nanos(highest(found.unwrap_or(BUCKETS - 1)))
        };
        (all > 0).then(|| quantiles.map(at))
    }
}

fn bucket(nanos: u64) -> usize {
    let Some(exponent) = nanos.checked_ilog2().filter(|exponent| *exponent >= 3) else {
        return usize::try_from(nanos).unwrap_or_default();
    };
    let step = usize::try_from(nanos >> (exponent - 3)).unwrap_or_default() % STEPS;
    (exponent as usize - 2) * STEPS + step
}

/// The longest time of a bucket.
fn highest(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (exponent, step) = (bucket / STEPS - 1, bucket % STEPS);
    let above = ((STEPS + step + 1) as u128) << exponent;
    u64::try_from(above - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_its_bucket() {
        for nanos in (0..64)
            .map(|bit| 1_u64 << bit)
            .chain([0, 3, 9, 1000, 123_456_789, u64::MAX])
        {
            let bucket = bucket(nanos);
            let lowest = bucket.checked_sub(1).map_or(0, |below| highest(below) + 1);
            assert!((lowest..=highest(bucket)).contains(&nanos), "{nanos}");
            assert!(highest(bucket) - lowest <= lowest / 8 + 1, "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_over_all_threads() {
        let meters = [Meter::default(), Meter::default()];
        assert_eq!(Meter::quantiles(meters.iter(), [0.5]), None);
        for millis in 1..=100 {
            meters[millis % 2].record(Duration::from_millis(millis as u64));
        }
        let [half, nearly_all] = Meter::quantiles(meters.iter(), [0.5, 0.99]).unwrap();
        assert!((50..57).contains(&half.as_millis()), "{half:?}");
        assert!(
            (99..112).contains(&nearly_all.as_millis()),
            "{nearly_all:?}"
        );
    }
}
