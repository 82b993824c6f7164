//! The only place that reads the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::proto::time::Now;

/// Gives the time to everything that asks for it, counted from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            since_start: self.start.elapsed(),
            unix_seconds: unix.map_or(0, |unix| unix.as_secs()),
        }
    }
}
