//! When something that happens at a rate is due.

use std::time::Duration;

/// Evenly spaced times. They do not wait for anybody: what was not done in time stays due at the time
/// it was due, so a latency that is counted from there shows the wait too (an open loop).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    start: Duration,
    per_second: f64,
    done: u64,
}

impl Schedule {
    /// `per_second` is above zero. The first is due at `start`.
    pub(crate) fn new(start: Duration, per_second: f64) -> Self {
        debug_assert!(per_second > 0.0);
        Self {
            start,
            per_second,
            done: 0,
        }
    }

    /// One of `parts` schedules that together have this rate and are evenly spaced.
    pub(crate) fn part(start: Duration, per_second: f64, part: usize, parts: usize) -> Self {
        let shift = part as f64 / per_second;
        Self::new(
            start + Duration::from_secs_f64(shift),
            per_second / parts as f64,
        )
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Duration {
        // From the start each time, so that rounding does not add up.
        self.start + Duration::from_secs_f64(self.done as f64 / self.per_second)
    }

    /// The next one is done.
    pub(crate) fn advance(&mut self) {
        self.done += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(7);

    #[test]
    fn a_late_one_stays_due_at_its_time() {
        let mut schedule = Schedule::new(START, 1000.0);
        for millis in 0..5000 {
            let off = schedule
                .due()
                .abs_diff(START + Duration::from_millis(millis));
            assert!(off < Duration::from_micros(1), "{off:?}");
            schedule.advance();
        }
    }

    #[test]
    fn parts_take_turns() {
        let mut parts: Vec<_> = (0..4)
            .map(|part| Schedule::part(START, 40.0, part, 4))
            .collect();
        for turn in 0..40_u32 {
            let part = &mut parts[turn as usize % 4];
            let off = part
                .due()
                .abs_diff(START + Duration::from_millis(25) * turn);
            assert!(off < Duration::from_micros(1), "{off:?}");
            part.advance();
        }
    }
}
