#![expect(unsafe_code, reason = "an entry goes to the kernel")]
//! The bell: how one thread wakes another one that waits in its ring.
//!
//! A [`Notifier`](super::Notifier) reaches a thread that awaits its executor. A thread that waits in its
//! ring waits for completions, so the ring polls an eventfd of the bell, and a count there ends
//! [`MinerRing::wait_blocking`]. The poll stays armed and tells of each count that is added; nobody reads
//! the eventfd, whose count only grows and would take centuries to be full.
//!
//! The same poll does not do for a thread that awaits its executor: it would have the kernel count the
//! ring's eventfd up from within a write to another one, which it puts off for milliseconds, and on Linux
//! 6.18 now and then for ever. So the bell knows where its thread waits, and counts up the eventfd that is
//! read there.
//!
//! Invariant: whoever rings sets `rung` and then reads `in_executor`; the thread sets `in_executor` and then
//! reads `rung`. So one of the two sees what the other did, and no ring is lost between two waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use io_uring::{opcode, types};

use super::MinerRing;
use super::queue::{Completion, Operation};
use super::wake::Eventfd;

/// Wakes the thread whose ring hears it, from any other one. Each clone is the same bell.
#[derive(Debug, Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Polled by the ring.
    eventfd: Eventfd,
    /// The ring's own, which the executor reads.
    executor: OnceLock<Eventfd>,
    /// From the first ring until it is heard: those in between need no system call.
    rung: AtomicBool,
    /// The thread awaits its executor, or is about to.
    in_executor: AtomicBool,
}

impl Bell {
    /// A bell that nobody hears yet.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let shared = Shared {
            eventfd: Eventfd::new()?,
            executor: OnceLock::new(),
            rung: AtomicBool::new(false),
            in_executor: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// Has [`RingHandler::rang`](super::RingHandler::rang) called by the thread that hears it, which sees
    /// then what was done before this. Until it was heard, to ring again does nothing. With the ring gone it
    /// does nothing either.
    pub fn ring(&self) {
        let shared = &self.shared;
        if shared.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        match shared.executor.get() {
            Some(executor) if shared.in_executor.load(Ordering::SeqCst) => executor.notify(),
            _ => shared.eventfd.count_up(),
        }
    }

    pub(super) fn is_rung(&self) -> bool {
        self.shared.rung.load(Ordering::SeqCst)
    }

    /// Whether it was rung since this was asked last.
    pub(super) fn was_rung(&self) -> bool {
        // As a rule it was not, and then nothing is written that another thread would have to read again.
        self.is_rung() && self.shared.rung.swap(false, Ordering::SeqCst)
    }

    /// Where the thread is to be woken from now on.
    pub(super) fn wake_executor(&self, on: bool) {
        // Mostly it is where it was, and the store is what costs.
        if self.shared.in_executor.load(Ordering::Relaxed) != on {
            self.shared.in_executor.store(on, Ordering::SeqCst);
        }
    }
}

impl MinerRing {
    /// Hears a bell from now on, and one that was rung before. A ring hears one bell, for all its life.
    pub fn hear(&mut self, bell: &Bell) {
        debug_assert!(self.bell.is_none(), "a ring hears one bell");
        let known = bell.shared.executor.set(self.eventfd.clone());
        debug_assert!(known.is_ok(), "a bell is heard by one ring");
        self.bell = Some(bell.clone());
        self.arm_bell();
    }

    fn arm_bell(&mut self) {
        self.make_room(1);
        let Some(bell) = &self.bell else {
            return;
        };
        let counted = u32::from(libc::POLLIN.unsigned_abs());
        let entry = opcode::PollAdd::new(types::Fd(bell.shared.eventfd.descriptor()), counted)
            .multi(true)
            .build()
            .user_data(Operation::Bell.number(0));
        // SAFETY: a poll points to no memory.
        unsafe { self.queue.push(&entry) };
    }

    /// The wait is over, which is all that the poll is for: [`MinerRing::drain`] looks at the bell itself.
    pub(super) fn bell_completed(&mut self, completion: Completion) {
        // With a count that is there already a new poll ends a wait for nothing; it misses none.
        if !completion.more() && completion.outcome().is_ok() {
            self.arm_bell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::super::tests::{Event, Recorder, client, ring_with_listener, small_config};
    use super::super::{Close, Token};
    use super::*;

    /// Longer than any of these waits can last, unless a ring of the bell is lost.
    const FOREVER: Duration = Duration::from_secs(60);

    fn ring_and_bell() -> (MinerRing, Bell) {
        let mut ring = MinerRing::new(&small_config()).expect("ring");
        let bell = Bell::new().expect("bell");
        ring.hear(&bell);
        (ring, bell)
    }

    /// What one round tells.
    fn round(ring: &mut MinerRing, timeout: Duration) -> Vec<Event> {
        ring.wait_blocking(timeout);
        let mut recorder = Recorder::default();
        ring.drain(&mut recorder);
        recorder.0
    }

    /// What the next round tells that tells anything. A bell that was heard before it was waited for ends
    /// one wait more, and that for nothing.
    fn heard(ring: &mut MinerRing) -> Vec<Event> {
        for _ in 0..3 {
            let events = round(ring, FOREVER);
            if !events.is_empty() {
                return events;
            }
        }
        panic!("a ring of the bell was lost");
    }

    fn is_quiet(ring: &mut MinerRing) -> bool {
        round(ring, Duration::from_millis(1)).is_empty()
    }

    #[test]
    fn it_ends_the_wait_in_the_ring_again_and_again() {
        let (mut ring, bell) = ring_and_bell();
        for _ in 0..50 {
            let ringer = bell.clone();
            let other = std::thread::spawn(move || ringer.ring());
            assert_eq!(heard(&mut ring), [Event::Rang]);
            other.join().expect("it rang");
        }
        assert!(is_quiet(&mut ring));
    }

    #[test]
    fn rung_twice_before_it_was_heard_it_is_told_once() {
        let bell = Bell::new().expect("bell");
        let mut ring = MinerRing::new(&small_config()).expect("ring");
        // Before anybody hears it, too.
        bell.ring();
        bell.ring();
        ring.hear(&bell);
        assert_eq!(heard(&mut ring), [Event::Rang]);
        for _ in 0..5 {
            bell.ring();
            bell.clone().ring();
            assert_eq!(heard(&mut ring), [Event::Rang]);
            assert!(is_quiet(&mut ring));
        }
        assert_eq!(ring.counters().stale_completions, 0);
    }

    /// Two threads ring as fast as they can while a connection keeps the ring busy: what was done before
    /// the last ring is seen, or the last wait would never end.
    #[test]
    fn of_a_hundred_thousand_rings_under_load_none_is_lost() {
        const RINGS_EACH: u32 = 50_000;
        let (mut ring, address) = ring_with_listener(&small_config());
        let bell = Bell::new().expect("bell");
        ring.hear(&bell);
        let mut flood = client(address);
        let rung = Arc::new(AtomicU32::new(0));
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let (bell, rung) = (bell.clone(), Arc::clone(&rung));
                std::thread::spawn(move || {
                    for _ in 0..RINGS_EACH {
                        rung.fetch_add(1, Ordering::Relaxed);
                        bell.ring();
                    }
                })
            })
            .collect();
        let (mut seen, mut flooded, mut token): (u32, usize, Option<Token>) = (0, 0, None);
        while seen < 2 * RINGS_EACH {
            // Bytes come while most of the rings do; the last waits are for the bell alone.
            if flooded < 2000 {
                flood.write_all(&[7; 512]).expect("write");
                flooded += 1;
            }
            for event in heard(&mut ring) {
                match event {
                    Event::Rang => seen = rung.load(Ordering::Relaxed),
                    Event::Accepted(accepted, ..) => token = Some(accepted),
                    Event::Received(..) => {}
                    event => panic!("{event:?}"),
                }
            }
        }
        for ringer in ringers {
            ringer.join().expect("it rang");
        }
        if let Some(token) = token {
            ring.close(token, Close::Graceful);
        }
    }

    /// Each wait begins while the other thread rings, and each ring is answered by one.
    #[test]
    fn two_rings_wake_each_other_in_turn() {
        const TURNS: usize = 10_000;
        let (bells, heard_by): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let bell = Bell::new().expect("bell");
                (bell.clone(), bell)
            })
            .unzip();
        let threads: Vec<_> = heard_by
            .into_iter()
            .enumerate()
            .map(|(at, own)| {
                let other = bells[1 - at].clone();
                std::thread::spawn(move || {
                    let mut ring = MinerRing::new(&small_config()).expect("ring");
                    ring.hear(&own);
                    if at == 0 {
                        other.ring();
                    }
                    for turn in 0..TURNS {
                        let events = heard(&mut ring);
                        assert_eq!(events, [Event::Rang], "turn {turn}");
                        other.ring();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it was woken each time");
        }
    }

    #[test]
    fn it_may_be_rung_when_the_ring_is_gone() {
        let (mut ring, bell) = ring_and_bell();
        bell.ring();
        assert_eq!(heard(&mut ring), [Event::Rang]);
        drop(ring);
        bell.ring();
        bell.ring();
    }
}
