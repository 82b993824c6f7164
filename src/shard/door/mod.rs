//! The door: what a connection goes through between its accept and its first line.
//!
//! ```text
//!  accept ──▶ first bytes ──▶ open: its bytes are lines, the exchange knows it
//!                 │
//!                 └─▶ no miner, or nothing in time: closed, and counted by reason
//! ```
//!
//! A connection that has not passed the door is not the exchange's: it has no session, is no miner in any
//! gauge, and is owed nothing. It costs a box while it is here. One that has passed has none, so all that
//! is left of the door on the way of a share is to see that there is no box.
//!
//! TLS has its place between the first bytes and `open`: [`Speaker::Tls`](first_bytes::Speaker::Tls) says
//! that a hello begins.
//!
//! Pure, but for addresses: it is given bytes and the time, and says what is to be done.

pub(crate) mod first_bytes;

use std::time::Duration;

use crate::metrics::DoorEnd;
use crate::ring::Token;
use first_bytes::Speaker;

/// One connection in the door.
#[derive(Debug)]
pub(crate) struct Entering {
    /// Its place among those that wait.
    place: u32,
    /// Bytes that came and did not tell enough; mostly none.
    held: Vec<u8>,
}

/// What becomes of a connection when bytes came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More must come.
    Wait,
    /// It passes. Its lines begin in `held`, which is mostly empty, and go on in the bytes that came,
    /// without the first `taken`.
    Open {
        held: Vec<u8>,
        taken: usize,
    },
    Close(DoorEnd),
}

impl Entering {
    /// Takes what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Step {
        let mut taken = 0;
        let head = if self.held.is_empty() {
            bytes
        } else {
            taken = bytes
                .len()
                .min(first_bytes::LEN_MAX.saturating_sub(self.held.len()));
            self.held.extend_from_slice(&bytes[..taken]);
            &self.held
        };
        match first_bytes::speaker(head) {
            Speaker::Miner => Step::Open {
                held: std::mem::take(&mut self.held),
                taken,
            },
            Speaker::Stranger(end) => Step::Close(end),
            Speaker::Tls => Step::Close(DoorEnd::TlsOnPlain),
            Speaker::Unclear => {
                if self.held.is_empty() {
                    self.held.extend_from_slice(bytes);
                }
                Step::Wait
            }
        }
    }
}

/// A connection in the door, and how long it may stay there.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    until: Duration,
    token: Token,
}

/// The connections of one shard that are in the door.
#[derive(Debug, Default)]
pub(crate) struct Door {
    waiting: Vec<Waiting>,
}

/// Connections whose time is over that one tick takes out; the others are taken out by the next.
const OVERDUE_PER_TICK: usize = 2048;

/// Places that are kept once the door is empty.
const PLACES_KEPT: usize = 1024;

impl Door {
    /// A connection comes in; it may stay `until` that time since the start.
    pub(crate) fn enter(&mut self, token: Token, until: Duration) -> Box<Entering> {
        let place = u32::try_from(self.waiting.len()).expect("a ring has fewer connections");
        self.waiting.push(Waiting { until, token });
        Box::new(Entering {
            place,
            held: Vec::new(),
        })
    }

    /// A connection has passed or is over. Gives the one that has its place now: that is to be told to its
    /// [`Entering::moved`].
    #[must_use = "who moved must learn of its place"]
    pub(crate) fn leave(&mut self, entering: &Entering) -> Option<Moved> {
        let place = entering.place as usize;
        self.waiting.swap_remove(place);
        if self.waiting.is_empty() && self.waiting.capacity() > PLACES_KEPT {
            self.waiting.shrink_to(PLACES_KEPT);
        }
        self.waiting.get(place).map(|waiting| Moved {
            token: waiting.token,
            place: entering.place,
        })
    }

    /// Connections whose time is over; not more than one tick should close.
    pub(crate) fn overdue(&self, now: Duration) -> Vec<Token> {
        let overdue = self.waiting.iter().filter(|waiting| waiting.until <= now);
        let tokens = overdue.map(|waiting| waiting.token);
        tokens.take(OVERDUE_PER_TICK).collect()
    }
}

/// A connection that has another place among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) token: Token,
    place: u32,
}

impl Entering {
    /// It has another place among those that wait.
    pub(crate) fn moved(&mut self, moved: Moved) {
        self.place = moved.place;
    }

    /// Why it is closed when its time is over.
    pub(crate) fn overdue(&self) -> DoorEnd {
        DoorEnd::FirstByteTimeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn token(index: u32) -> Token {
        Token {
            index,
            generation: 7,
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn entering() -> Box<Entering> {
        Door::default().enter(token(0), Duration::ZERO)
    }

    /// The lines' bytes of what came in such pieces, or why it was closed; `None` where more must come.
    fn outcome(pieces: &[&[u8]]) -> Option<Result<Vec<u8>, DoorEnd>> {
        let mut entering = entering();
        for (at, piece) in pieces.iter().enumerate() {
            match entering.take(piece) {
                Step::Wait => {}
                Step::Close(end) => return Some(Err(end)),
                Step::Open { held, taken } => {
                    let mut lines = held;
                    lines.extend_from_slice(&piece[taken..]);
                    lines.extend(pieces[at + 1..].concat());
                    return Some(Ok(lines));
                }
            }
        }
        None
    }

    #[test]
    fn no_byte_of_a_miner_is_lost_however_it_is_cut() {
        for text in [
            "{\"id\":1}\n{\"id\":2}\n",
            "\r\n\r\n{\"id\":1}\n",
            "PRI * HTTP/1 is none of ours\n",
            "GETTING\n",
        ] {
            let bytes = text.as_bytes();
            for one in 0..=bytes.len() {
                for other in one..=bytes.len() {
                    let pieces = [&bytes[..one], &bytes[one..other], &bytes[other..]];
                    assert_eq!(outcome(&pieces), Some(Ok(bytes.to_vec())), "{pieces:?}");
                }
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(outcome(&single), Some(Ok(bytes.to_vec())));
        }
    }

    #[test]
    fn strangers_are_closed_however_they_are_cut() {
        for (text, end) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], DoorEnd::Http),
            (b"\x16\x03\x01\x02\0\x01", DoorEnd::TlsOnPlain),
            (b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", DoorEnd::ProxyHeader),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", DoorEnd::ProxyHeader),
            (b"\0\0\0\0", DoorEnd::Binary),
        ] {
            assert_eq!(outcome(&[text]), Some(Err(end)));
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(outcome(&single), Some(Err(end)));
        }
        assert_eq!(outcome(&[b"GE", b"T"]), None);
    }

    #[test]
    fn those_that_wait_know_their_place_and_their_time() {
        let mut door = Door::default();
        let mut waiting: Vec<_> = (0..5)
            .map(|index| door.enter(token(index), seconds(10 + u64::from(index))))
            .collect();
        assert!(door.overdue(seconds(9)).is_empty());
        let moved = door.leave(&waiting[1]).expect("the last takes the place");
        assert_eq!(moved.token, token(4));
        waiting[4].moved(moved);
        assert_eq!(
            door.overdue(seconds(12)),
            [token(0), token(2)],
            "not the one that left"
        );
        assert_eq!(door.leave(&waiting[3]), None, "it was the last");
        for index in [4, 0] {
            if let Some(moved) = door.leave(&waiting[index]) {
                waiting[moved.token.index as usize].moved(moved);
            }
        }
        assert_eq!(door.overdue(seconds(100)), [token(2)]);
        assert_eq!(door.leave(&waiting[2]), None);
        assert!(door.overdue(seconds(100)).is_empty());
    }

    #[test]
    fn a_flood_of_silence_is_taken_out_in_parts() {
        let mut door = Door::default();
        for index in 0..5000 {
            drop(door.enter(token(index), seconds(1)));
        }
        assert_eq!(door.overdue(seconds(2)).len(), OVERDUE_PER_TICK);
    }
}
