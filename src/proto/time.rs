//! Time as the pure layers know it: an argument.

use std::time::Duration;

/// One reading of both clocks, taken by the shell and handed inwards with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since the process started, from a clock that never goes back.
    pub since_start: Duration,
    /// Seconds since 1970 in UTC, as the headers of jobs count them.
    pub unix_seconds: u64,
}

impl Now {
    /// Whole seconds since the start, for stamps that live in each miner.
    #[must_use]
    pub fn seconds(self) -> u32 {
        u32::try_from(self.since_start.as_secs()).unwrap_or(u32::MAX)
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Duration) -> Duration {
        self.since_start.saturating_sub(earlier)
    }
}
