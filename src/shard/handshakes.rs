//! The pace of TLS handshakes: which hello is next, and when.
//!
//! A handshake costs as much as twenty shares. When a whole hall comes back at once, the hellos wait here in
//! their order, so that a shard begins a few in each round, no more than its pace in a second, and has no
//! more in the air than its bound. Jobs and shares of the others go on in between.
//!
//! A peer is held to the time that it takes itself: from its first byte to its whole hello, and from our
//! answer to its last word. How long a whole hello waits for its turn is our doing, and nobody is closed for
//! it. Where all places in the air are taken and others wait, who has kept one for long makes room: else a
//! few peers that begin and never finish would shut the door for a hall.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ring::Token;
use crate::shard::TICK;

/// What bounds the handshakes of one proxy on one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeLimits {
    /// Begun in a second.
    pub(crate) per_second: u32,
    /// Begun and not ended.
    pub(crate) in_flight_max: usize,
    /// From the first byte to the whole hello, and from then on, without its wait, to the end.
    pub(crate) timeout: Duration,
}

/// So much of a second's handshakes may begin at once after a rest.
const BURST: Duration = Duration::from_millis(100);

/// A hello that waits for longer than this has felt the pace.
pub(crate) const FELT: Duration = Duration::from_millis(100);

/// After this time a handshake makes room, where others wait and there is none. An honest one takes a round
/// trip and what the miner computes.
const KEEPS_PLACE_FOR: Duration = Duration::from_secs(1);

/// The handshakes of one proxy on one shard.
#[derive(Debug)]
pub(crate) struct Handshakes {
    limits: HandshakeLimits,
    /// Until when each hello must be whole, in order; those that are stand there until then.
    hellos: VecDeque<(Duration, Token)>,
    /// Whose hello is whole since when, in order; those that left meanwhile stand there until their turn
    /// comes.
    waiting: VecDeque<(Duration, Token)>,
    /// Of these, how many have left.
    left: usize,
    /// When each was begun, in order; those that are done stand there until their time would be over.
    begun: VecDeque<(Duration, Token)>,
    in_flight: usize,
    /// When all that have begun would have, evenly spread.
    spread_until: Duration,
}

/// A handshake that is over for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It took too long.
    TimedOut(Token),
    /// Others wait for its place.
    MadeRoom(Token),
}

impl Handshakes {
    pub(crate) const fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            hellos: VecDeque::new(),
            waiting: VecDeque::new(),
            left: 0,
            begun: VecDeque::new(),
            in_flight: 0,
            spread_until: Duration::ZERO,
        }
    }

    /// A first byte of TLS came.
    pub(crate) fn enter(&mut self, now: Duration, token: Token) {
        self.hellos.push_back((now + self.limits.timeout, token));
    }

    /// A hello is whole.
    pub(crate) fn queue(&mut self, now: Duration, token: Token) {
        self.waiting.push_back((now, token));
    }

    /// One whose hello waits has left.
    pub(crate) fn leave_queue(&mut self) {
        self.left += 1;
    }

    /// Whose handshake begins now, and how long it has waited for that. Tell [`Handshakes::begun`] if it
    /// does, and [`Handshakes::had_left`] if not.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(Token, Duration)> {
        if self.in_flight >= self.limits.in_flight_max || self.spread_until > now + BURST {
            return None;
        }
        let (since, token) = pop(&mut self.waiting)?;
        Some((token, now.saturating_sub(since)))
    }

    /// The one whose turn it is has left before.
    pub(crate) fn had_left(&mut self) {
        debug_assert!(self.left > 0, "nobody has left");
        self.left = self.left.saturating_sub(1);
    }

    pub(crate) fn begun(&mut self, now: Duration, token: Token) {
        self.in_flight += 1;
        self.begun.push_back((now, token));
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

    /// One whose time for its hello is over, if it is not whole yet.
    pub(crate) fn overdue_hello(&mut self, now: Duration) -> Option<Token> {
        let (until, _) = self.hellos.front()?;
        if *until > now {
            return None;
        }
        pop(&mut self.hellos).map(|(_, token)| token)
    }

    /// How many are to make room in this tick, where no place is left: as many as wait, and no more than may
    /// begin until the next one.
    pub(crate) fn crowd(&self) -> usize {
        if self.in_flight < self.limits.in_flight_max {
            return 0;
        }
        let millis = (TICK + BURST).as_millis();
        let per_tick = (u128::from(self.limits.per_second) * millis).div_ceil(1000);
        self.queued()
            .min(usize::try_from(per_tick).unwrap_or(usize::MAX))
    }

    /// One whose time for the rest is over, if it is not done yet; with a crowd that waits, its time is
    /// shorter.
    pub(crate) fn overdue(&mut self, now: Duration, is_crowded: bool) -> Option<Overdue> {
        let (since, _) = self.begun.front()?;
        let passed = now.saturating_sub(*since);
        let is_over = passed >= self.limits.timeout;
        let makes_room = is_crowded && passed >= KEEPS_PLACE_FOR;
        if !is_over && !makes_room {
            return None;
        }
        let (_, token) = pop(&mut self.begun)?;
        Some(if is_over {
            Overdue::TimedOut(token)
        } else {
            Overdue::MadeRoom(token)
        })
    }

    /// Whole hellos that wait for their turn.
    pub(crate) fn queued(&self) -> usize {
        self.waiting.len() - self.left
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// Places that are kept once a queue is empty.
const PLACES_KEPT: usize = 1024;

fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        queue.shrink_to(PLACES_KEPT);
    }
    first
}

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
        while let Some((token, _)) = handshakes.next(now) {
            handshakes.begun(now, token);
            handshakes.ended();
            count += 1;
        }
        count
    }

    #[test]
    fn a_storm_is_spread_over_seconds_in_its_order() {
        let mut handshakes = Handshakes::new(LIMITS);
        let now = millis(5_000);
        for index in 0..1000 {
            handshakes.queue(now, token(index));
        }
        assert_eq!(begin(&mut handshakes, now), 11, "a burst of 100 ms");
        assert_eq!(handshakes.due(), Some(millis(5_010)));
        assert_eq!(begin(&mut handshakes, millis(5_009)), 0);
        let rounds = (5_010..6_010).step_by(10);
        let begun: usize = rounds.map(|at| begin(&mut handshakes, millis(at))).sum();
        assert_eq!(begun, 100, "in a second");
        let next = handshakes.next(millis(6_500));
        assert_eq!(next, Some((token(111), millis(1_500))), "it has waited");
        assert_eq!(handshakes.queued(), 888);
        handshakes.leave_queue();
        assert_eq!(handshakes.queued(), 887);
    }

    #[test]
    fn who_waits_for_us_is_never_overdue() {
        let mut handshakes = Handshakes::new(LIMITS);
        handshakes.enter(millis(0), token(1));
        handshakes.queue(millis(1), token(1));
        assert_eq!(handshakes.overdue_hello(millis(10_000)), Some(token(1)));
        assert_eq!(handshakes.overdue(millis(10_000), true), None);
        // Its own time begins with our answer.
        let (next, waited) = handshakes.next(millis(30_001)).unwrap();
        assert_eq!((next, waited), (token(1), millis(30_000)));
        handshakes.begun(millis(30_001), next);
        assert_eq!(handshakes.overdue(millis(40_000), false), None);
        let over = handshakes.overdue(millis(40_001), false);
        assert_eq!(over, Some(Overdue::TimedOut(token(1))));
    }

    #[test]
    fn no_more_are_in_the_air_than_may_be_and_who_stays_long_makes_room() {
        let mut handshakes = Handshakes::new(LIMITS);
        for index in 0..40 {
            handshakes.queue(millis(0), token(index));
        }
        for tenth in 0..3 {
            while let Some((token, _)) = handshakes.next(millis(tenth * 100)) {
                handshakes.begun(millis(tenth * 100), token);
            }
        }
        assert_eq!(handshakes.in_flight(), 15);
        assert_eq!(handshakes.due(), None, "time alone does not help");
        assert_eq!(handshakes.crowd(), 25);
        for index in 40..100 {
            handshakes.queue(millis(300), token(index));
        }
        assert_eq!(handshakes.crowd(), 35, "as many as may begin in a tick");
        assert_eq!(handshakes.overdue(millis(999), true), None);
        assert_eq!(handshakes.overdue(millis(1_000), false), None, "no crowd");
        let first = handshakes.overdue(millis(1_000), true);
        assert_eq!(first, Some(Overdue::MadeRoom(token(0))));
        handshakes.ended();
        assert_eq!(handshakes.crowd(), 0);
        assert_eq!(handshakes.next(millis(1_000)).unwrap().0, token(15));
    }

    #[test]
    fn a_hello_that_is_not_whole_is_overdue_once_and_in_order() {
        let mut handshakes = Handshakes::new(LIMITS);
        handshakes.enter(millis(0), token(1));
        handshakes.enter(millis(500), token(2));
        assert_eq!(handshakes.overdue_hello(millis(9_999)), None);
        assert_eq!(handshakes.overdue_hello(millis(10_000)), Some(token(1)));
        assert_eq!(handshakes.overdue_hello(millis(10_000)), None);
        assert_eq!(handshakes.overdue_hello(millis(20_000)), Some(token(2)));
    }
}
