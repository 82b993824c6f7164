//! The only place that reads the clock. All others are given the time, counted from its start.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }

    /// Does nothing for a while. For the thread that coordinates, never for one that has miners.
    #[expect(
        clippy::disallowed_methods,
        reason = "waiting for another process has no other way"
    )]
    pub(crate) fn pause(time: Duration) {
        std::thread::sleep(time);
    }

    /// The time since 1970 in UTC, which two processes have in common.
    pub(crate) fn since_1970(self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default()
    }

    /// Seconds since 1970, as the headers of jobs count them.
    pub(crate) fn unix_seconds(self) -> u64 {
        self.since_1970().as_secs()
    }
}
