//! The door: what a connection goes through between its accept and its first line.
//!
//! ```text
//!  accept ─┬───────────────────▶ allowed? ──▶ first bytes ──▶ open: its bytes are lines,
//!          └─▶ PROXY header ────▶    │             │          the exchange knows it
//!                  │                 │             │
//!                  └─────────────────┴─────────────┴─▶ closed, and counted by reason
//! ```
//!
//! The header is there for a connection from a load balancer that is trusted to tell who speaks
//! ([`proxy_header`]). From then on the address is the one that it told: in the log, and for the
//! `Rules` of the listener. How many connections there may be is in `counts`.
//!
//! A connection that has not passed the door is not the exchange's: it has no session, is no miner in any
//! gauge, and is owed nothing. It costs a box while it is here. One that has passed has none, so all that
//! is left of the door on the way of a share is to see that there is no box.
//!
//! TLS has its place between the first bytes and `open`: where `Step::Tls` says that a hello begins, the
//! connection goes on in `miner_tls`, if its listener has TLS.
//!
//! Pure, but for addresses: it is given bytes and the time, and says what is to be done.

pub(crate) mod counts;
pub(crate) mod first_bytes;
pub(crate) mod networks;
pub mod proxy_header;
pub(crate) mod rules;

use std::net::SocketAddr;
use std::time::Duration;

use crate::metrics::DoorEnd;
use crate::ring::Token;
use first_bytes::Speaker;
use proxy_header::Header;

/// One connection in the door.
#[derive(Debug)]
pub(crate) struct Entering {
    /// Its place among those that wait.
    place: u32,
    stage: Stage,
    /// Whether its real address is known, and counted.
    pub(crate) has_address: bool,
    /// Whether a header came, from a load balancer.
    had_header: bool,
    /// It may go, but say nothing: a balancer that came for nobody, from where no miner may come.
    is_health_check: bool,
    /// Bytes that came and did not tell enough; mostly none.
    held: Vec<u8>,
}

/// What a connection in the door has to show next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For whom it was made: a header of the PROXY protocol.
    Header,
    /// Who speaks.
    FirstBytes,
}

/// What becomes of a connection when bytes came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More must come.
    Wait,
    /// Its header was whole: it is made for `source`, where that is told. What came is to be taken again,
    /// without the first `taken`.
    Named {
        source: Option<SocketAddr>,
        taken: usize,
    },
    /// It passes. Its lines begin in `held`, which is mostly empty, and go on in the bytes that came,
    /// without the first `taken`.
    Open {
        held: Vec<u8>,
        taken: usize,
    },
    /// It begins with a TLS hello; its bytes as those of [`Step::Open`].
    Tls {
        held: Vec<u8>,
        taken: usize,
    },
    Close(DoorEnd),
}

impl Entering {
    /// Takes what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Step {
        match self.stage {
            Stage::Header => self.take_header(bytes),
            Stage::FirstBytes => self.take_first_bytes(bytes),
        }
    }

    /// As much of what came as is worth a look, behind what was held; and how many bytes of it were moved
    /// there.
    fn head<'a>(&'a mut self, bytes: &'a [u8], len_max: usize) -> (&'a [u8], usize) {
        if self.held.is_empty() {
            return (bytes, 0);
        }
        let moved = bytes.len().min(len_max.saturating_sub(self.held.len()));
        self.held.extend_from_slice(&bytes[..moved]);
        (&self.held, moved)
    }

    /// Keeps what came, where it is not kept yet.
    fn hold(&mut self, bytes: &[u8]) -> Step {
        if self.held.is_empty() {
            self.held.extend_from_slice(bytes);
        }
        Step::Wait
    }

    fn take_header(&mut self, bytes: &[u8]) -> Step {
        let held = self.held.len();
        let (head, _) = self.head(bytes, proxy_header::LEN_MAX);
        match proxy_header::read(head) {
            Ok(Header::Whole { len, source }) => {
                self.stage = Stage::FirstBytes;
                self.had_header = true;
                self.held = Vec::new();
                // What was held was no whole header.
                let taken = len.saturating_sub(held);
                Step::Named { source, taken }
            }
            Ok(Header::Partial) => self.hold(bytes),
            Ok(Header::Absent) => Step::Close(DoorEnd::HeaderMissing),
            Err(_) => Step::Close(DoorEnd::HeaderInvalid),
        }
    }

    /// A balancer has told that it comes for nobody, and no miner may come from its own address. So it looks
    /// whether we are there, and goes without a word.
    pub(crate) const fn comes_for_nobody(&mut self) {
        self.is_health_check = true;
    }

    fn take_first_bytes(&mut self, bytes: &[u8]) -> Step {
        if self.is_health_check {
            return Step::Close(DoorEnd::Denied);
        }
        let (head, taken) = self.head(bytes, first_bytes::LEN_MAX);
        match first_bytes::speaker(head) {
            Speaker::Miner => Step::Open {
                held: std::mem::take(&mut self.held),
                taken,
            },
            Speaker::Stranger(end) => Step::Close(end),
            Speaker::Tls => Step::Tls {
                held: std::mem::take(&mut self.held),
                taken,
            },
            Speaker::Unclear => self.hold(bytes),
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
    pub(crate) fn enter(
        &mut self,
        token: Token,
        has_header: bool,
        until: Duration,
    ) -> Box<Entering> {
        let place = u32::try_from(self.waiting.len()).expect("a ring has fewer connections");
        self.waiting.push(Waiting { until, token });
        Box::new(Entering {
            place,
            stage: if has_header {
                Stage::Header
            } else {
                Stage::FirstBytes
            },
            has_address: !has_header,
            had_header: false,
            is_health_check: false,
            held: Vec::new(),
        })
    }

    /// A connection may stay until another time.
    pub(crate) fn may_stay(&mut self, entering: &Entering, until: Duration) {
        self.waiting[entering.place as usize].until = until;
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
    /// Whether a load balancer that is trusted has spoken.
    pub(crate) const fn had_header(&self) -> bool {
        self.had_header
    }

    /// It has another place among those that wait.
    pub(crate) fn moved(&mut self, moved: Moved) {
        self.place = moved.place;
    }

    /// Why it is closed when its time is over.
    pub(crate) fn overdue(&self) -> DoorEnd {
        match self.stage {
            Stage::Header => DoorEnd::HeaderTimeout,
            Stage::FirstBytes => DoorEnd::FirstByteTimeout,
        }
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
        Door::default().enter(token(0), false, Duration::ZERO)
    }

    /// The lines' bytes of what came in such pieces, or why it was closed; `None` where more must come.
    fn outcome(pieces: &[&[u8]]) -> Option<Result<Vec<u8>, DoorEnd>> {
        let mut entering = entering();
        for (at, piece) in pieces.iter().enumerate() {
            match entering.take(piece) {
                Step::Wait => {}
                Step::Close(end) => return Some(Err(end)),
                Step::Tls { .. } => return Some(Err(DoorEnd::TlsOnPlain)),
                Step::Named { .. } => panic!("no header is expected"),
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
    fn behind_a_header_come_the_first_bytes_however_it_is_cut() {
        let header = b"PROXY TCP4 10.1.2.3 10.0.0.1 4 3333\r\n";
        for rest in [&b"{\"id\":1}\n"[..], b"\r\n{}", b""] {
            let all = [header, rest].concat();
            for cut in 0..=all.len() {
                let mut entering = Door::default().enter(token(0), true, Duration::ZERO);
                let mut lines = Vec::new();
                let mut sources = Vec::new();
                let mut is_open = false;
                for mut piece in [&all[..cut], &all[cut..]] {
                    while !piece.is_empty() {
                        if is_open {
                            lines.extend_from_slice(piece);
                            break;
                        }
                        match entering.take(piece) {
                            Step::Wait => break,
                            Step::Named { source, taken } => {
                                sources.push(source);
                                piece = &piece[taken..];
                            }
                            Step::Open { held, taken } => {
                                is_open = true;
                                lines = held;
                                piece = &piece[taken..];
                            }
                            Step::Tls { .. } => panic!("no hello, at {cut}"),
                            Step::Close(end) => panic!("closed at {cut}: {end:?}"),
                        }
                    }
                }
                assert_eq!(sources, [Some("10.1.2.3:4".parse().unwrap())]);
                assert_eq!((lines, is_open), (rest.to_vec(), !rest.is_empty()));
            }
        }
    }

    #[test]
    fn without_a_good_header_nobody_passes() {
        let end = |bytes: &[u8]| {
            let mut entering = Door::default().enter(token(0), true, Duration::ZERO);
            assert_eq!(entering.overdue(), DoorEnd::HeaderTimeout);
            entering.take(bytes)
        };
        let missing = Step::Close(DoorEnd::HeaderMissing);
        assert_eq!(end(b"{\"id\":1}\n"), missing);
        assert_eq!(end(b"\x16\x03\x01"), missing);
        assert_eq!(end(b"GET / HTTP/1.1\r\n"), missing);
        assert_eq!(end(b"PROXY TCP4 "), Step::Wait);
        let invalid = Step::Close(DoorEnd::HeaderInvalid);
        assert_eq!(end(b"PROXY TCP4 1 2 3 4\r\n"), invalid);
        assert_eq!(end(&[b"PROXY ", &[b'x'; 600][..]].concat()), invalid);
    }

    #[test]
    fn those_that_wait_know_their_place_and_their_time() {
        let mut door = Door::default();
        let mut waiting: Vec<_> = (0..5)
            .map(|index| door.enter(token(index), false, seconds(10 + u64::from(index))))
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
        door.may_stay(&waiting[2], seconds(101));
        assert!(door.overdue(seconds(100)).is_empty());
        assert_eq!(door.overdue(seconds(101)), [token(2)]);
        assert_eq!(door.leave(&waiting[2]), None);
        assert!(door.overdue(seconds(100)).is_empty());
    }

    #[test]
    fn a_flood_of_silence_is_taken_out_in_parts() {
        let mut door = Door::default();
        for index in 0..5000 {
            drop(door.enter(token(index), false, seconds(1)));
        }
        assert_eq!(door.overdue(seconds(2)).len(), OVERDUE_PER_TICK);
    }
}
