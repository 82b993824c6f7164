//! How the process ends, from the first signal to the last.
//!
//! First `/readyz` says no, so that a load balancer sends nobody here any more; miners come and mine on for
//! `admin.drain_seconds`. Then the shards take nobody in, answer what is under way and close all. A second
//! signal ends the wait for the balancer, and one after that the wait for shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::SIGINT;

/// A second signal means more; one that comes sooner is the same signal twice, as `timeout` and some service
/// managers signal the process and its group.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(500);

/// Where the process stands on its way to the end.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// Miners should be sent elsewhere; for the admin port.
    pub(crate) leaving: Arc<AtomicBool>,
    /// The shards stop.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Time between the two.
    drain: Duration,
    /// When the last signal came that counted.
    signalled_at: Option<Duration>,
    /// When the shards are to stop.
    stop_at: Option<Duration>,
}

impl Ending {
    pub(crate) fn new(drain: Duration) -> Self {
        Self {
            drain,
            ..Self::default()
        }
    }

    /// A signal to end came. Returns whether that is to be at once.
    pub(crate) fn handle_signal(&mut self, signal: i32, now: Duration) -> bool {
        let before = self.signalled_at;
        if before.is_some_and(|at| now.saturating_sub(at) < SECOND_SIGNAL_AFTER) {
            return false;
        }
        self.signalled_at = Some(now);
        if self.stopping.load(Ordering::Relaxed) {
            log::warn!("a second signal: stopping without waiting");
            return true;
        }
        let name = if signal == SIGINT {
            "SIGINT"
        } else {
            "SIGTERM"
        };
        // Whoever interrupts it by hand waits for no load balancer.
        if signal == SIGINT || self.drain.is_zero() || before.is_some() {
            self.stop(name);
        } else {
            log::info!(
                "{name}: /readyz says no; miners come and mine on for {} s (admin.drain_seconds)",
                self.drain.as_secs_f64()
            );
            self.leaving.store(true, Ordering::Relaxed);
            self.stop_at = Some(now + self.drain);
        }
        false
    }

    /// When time is to be told of, if at all.
    pub(crate) const fn due(&self) -> Option<Duration> {
        self.stop_at
    }

    /// Time passed.
    pub(crate) fn handle_time(&mut self, now: Duration) {
        if self.stop_at.is_some_and(|at| now >= at) {
            self.stop("admin.drain_seconds are over");
        }
    }

    fn stop(&mut self, why: &str) {
        log::info!("{why}: no new miners; shares in flight are answered, then all is closed");
        self.leaving.store(true, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Relaxed);
        self.stop_at = None;
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::SIGTERM;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn stands(ending: &Ending) -> (bool, bool) {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        (is(&ending.leaving), is(&ending.stopping))
    }

    #[test]
    fn without_a_drain_it_stops_at_the_first_signal_and_ends_at_the_second() {
        let mut ending = Ending::new(Duration::ZERO);
        assert!(!ending.handle_signal(SIGTERM, millis(1000)));
        assert_eq!((stands(&ending), ending.due()), ((true, true), None));
        assert!(!ending.handle_signal(SIGTERM, millis(1400)), "once");
        assert!(ending.handle_signal(SIGTERM, millis(1600)));
    }

    #[test]
    fn it_drains_for_its_time_and_then_stops() {
        let mut ending = Ending::new(millis(3000));
        assert!(!ending.handle_signal(SIGTERM, millis(1000)));
        assert_eq!(ending.due(), Some(millis(4000)));
        ending.handle_time(millis(3999));
        assert_eq!(stands(&ending), (true, false));
        ending.handle_time(millis(4000));
        assert_eq!((stands(&ending), ending.due()), ((true, true), None));
    }

    #[test]
    fn a_second_signal_ends_the_drain_and_a_third_the_process() {
        let mut ending = Ending::new(millis(60_000));
        assert!(!ending.handle_signal(SIGTERM, millis(1000)));
        assert!(!ending.handle_signal(SIGTERM, millis(1400)), "once");
        assert_eq!(stands(&ending), (true, false));
        assert!(!ending.handle_signal(SIGTERM, millis(2000)));
        assert_eq!(stands(&ending), (true, true));
        assert!(!ending.handle_signal(SIGTERM, millis(2400)), "once");
        assert!(ending.handle_signal(SIGTERM, millis(2500)));
    }

    #[test]
    fn an_interrupt_by_hand_waits_for_no_balancer() {
        let mut ending = Ending::new(millis(60_000));
        assert!(!ending.handle_signal(SIGINT, millis(1000)));
        assert_eq!(stands(&ending), (true, true));
    }
}
