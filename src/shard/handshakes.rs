//! The pace of TLS handshakes: which hello is next, and when.
//!
//! A handshake costs as much as twenty shares. When a whole hall comes back at once, the hellos wait here in
//! their order, so that a shard begins a few in each round, no more than its pace in a second, and has no
//! more in the air than its bound. Jobs and shares of the others go on in between.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ring::Token;

/// What bounds the handshakes of one proxy on one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeLimits {
    /// Begun in a second.
    pub(crate) per_second: u32,
    /// Begun and not ended.
    pub(crate) in_flight_max: usize,
    /// From the first byte to the end.
    pub(crate) timeout: Duration,
}

/// So much of a second's handshakes may begin at once after a rest.
const BURST: Duration = Duration::from_millis(100);

/// The handshakes of one proxy on one shard.
#[derive(Debug)]
pub(crate) struct Handshakes {
    limits: HandshakeLimits,
    /// Whose hello is whole, in order; those that left meanwhile stand there until their turn comes.
    waiting: VecDeque<Token>,
    /// Until when each must be done, in order; those that are done stand there until then.
    deadlines: VecDeque<(Duration, Token)>,
    in_flight: usize,
    /// When all that have begun would have, evenly spread.
    spread_until: Duration,
}

impl Handshakes {
    pub(crate) const fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            deadlines: VecDeque::new(),
            in_flight: 0,
            spread_until: Duration::ZERO,
        }
    }

    /// A first byte of TLS came.
    pub(crate) fn enter(&mut self, now: Duration, token: Token) {
        self.deadlines.push_back((now + self.limits.timeout, token));
    }

    /// A hello is whole. Says whether it has to wait for more than its turn in the round.
    pub(crate) fn queue(&mut self, now: Duration, token: Token) -> bool {
        self.waiting.push_back(token);
        !self.may_begin(now)
    }

    /// Whose handshake begins now. Tell [`Handshakes::begun`] if it does.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Token> {
        if !self.may_begin(now) {
            return None;
        }
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(PLACES_KEPT);
        }
        next
    }

    fn may_begin(&self, now: Duration) -> bool {
        self.in_flight < self.limits.in_flight_max && self.spread_until <= now + BURST
    }

    pub(crate) fn begun(&mut self, now: Duration) {
        self.in_flight += 1;
        self.spread_until =
            self.spread_until.max(now) + Duration::from_secs(1) / self.limits.per_second;
    }

    /// One that had begun is done, or over.
    pub(crate) fn ended(&mut self) {
        debug_assert!(self.in_flight > 0, "more ended than began");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// When the next one may begin; `None` where that is no question of time.
    pub(crate) fn due(&self) -> Option<Duration> {
        let is_time = !self.waiting.is_empty() && self.in_flight < self.limits.in_flight_max;
        is_time.then(|| self.spread_until.saturating_sub(BURST))
    }

    /// One whose time is over, if it is not done yet.
    pub(crate) fn overdue(&mut self, now: Duration) -> Option<Token> {
        let token = self.deadlines.front().filter(|(until, _)| *until <= now)?.1;
        self.deadlines.pop_front();
        if self.deadlines.is_empty() {
            self.deadlines.shrink_to(PLACES_KEPT);
        }
        Some(token)
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// Places that are kept once a queue is empty.
const PLACES_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HandshakeLimits = HandshakeLimits {
        per_second: 100,
        in_flight_max: 15,
        timeout: Duration::from_secs(10),
    };

    const fn token(index: u32) -> Token {
        Token {
            index,
            generation: 0,
        }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Begins all that may begin, and ends them at once.
    fn begin(handshakes: &mut Handshakes, now: Duration) -> usize {
        let mut count = 0;
        while handshakes.next(now).is_some() {
            handshakes.begun(now);
            handshakes.ended();
            count += 1;
        }
        count
    }

    #[test]
    fn a_storm_is_spread_over_seconds_in_its_order() {
        let mut handshakes = Handshakes::new(LIMITS);
        let now = millis(5_000);
        let paced = (0..1000)
            .filter(|index| handshakes.queue(now, token(*index)))
            .count();
        assert_eq!(paced, 0, "nobody had begun");
        assert_eq!(begin(&mut handshakes, now), 11, "a burst of 100 ms");
        assert_eq!(handshakes.due(), Some(millis(5_010)));
        assert_eq!(begin(&mut handshakes, millis(5_009)), 0);
        let rounds = (5_010..6_010).step_by(10);
        let begun: usize = rounds.map(|at| begin(&mut handshakes, millis(at))).sum();
        assert_eq!(begun, 100, "in a second");
        assert!(handshakes.queue(millis(6_000), token(7)), "this one waits");
        assert_eq!(handshakes.next(millis(6_500)), Some(token(111)));
        assert_eq!(handshakes.queued(), 889);
    }

    #[test]
    fn no_more_are_in_the_air_than_may_be() {
        let mut handshakes = Handshakes::new(LIMITS);
        for index in 0..40 {
            handshakes.queue(millis(0), token(index));
        }
        for second in 0..3 {
            while handshakes.next(millis(second * 1000)).is_some() {
                handshakes.begun(millis(second * 1000));
            }
        }
        assert_eq!(handshakes.in_flight(), 15);
        assert_eq!(handshakes.due(), None, "time alone does not help");
        handshakes.ended();
        assert_eq!(handshakes.next(millis(9_000)), Some(token(15)));
    }

    #[test]
    fn a_deadline_comes_up_once_and_in_order() {
        let mut handshakes = Handshakes::new(LIMITS);
        handshakes.enter(millis(0), token(1));
        handshakes.enter(millis(500), token(2));
        assert_eq!(handshakes.overdue(millis(9_999)), None);
        assert_eq!(handshakes.overdue(millis(10_000)), Some(token(1)));
        assert_eq!(handshakes.overdue(millis(10_000)), None);
        assert_eq!(handshakes.overdue(millis(20_000)), Some(token(2)));
    }
}
