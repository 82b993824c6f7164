#![expect(unsafe_code, reason = "an entry asks the kernel about a socket")]
//! Blocked connections, and streams, whose peers take bytes nevertheless.
//!
//! The kernel says that a socket has room when a third of its buffer is free. Of some megabytes that may
//! take a slow peer minutes, in which it looks like one that takes nothing at all. So whoever wants to tell
//! the two apart has the ring look at the blocked ones now and then: how many bytes has each peer not
//! acknowledged? While a connection is blocked nothing is added to them. Where they are fewer than before it
//! is told as writable, though its socket may have little room, or none.

use std::collections::BTreeMap;

use io_uring::{opcode, types};

use super::handler::RingHandler;
use super::queue::Operation;
use super::table::Blocked;
use super::{MinerRing, Token};

/// What the peers of blocked connections had not acknowledged when they were last looked at, by place.
/// Entries of those that are not blocked any more go at their next look.
#[derive(Debug, Default)]
pub(super) struct Slow {
    told: BTreeMap<u32, (Token, u32)>,
    /// The place from which the next look goes on.
    next: u32,
}

impl Slow {
    /// Those that are next, one part of so many, in the order of their places. Behind the last one it begins
    /// anew.
    fn next_part(&mut self, parts: usize) -> Vec<Token> {
        let len = self.told.len().div_ceil(parts.max(1));
        let ahead = self.told.range(self.next..);
        let part: Vec<_> = ahead.take(len).map(|(_, (token, _))| *token).collect();
        let last = part.last().filter(|_| part.len() == len);
        self.next = last.map_or(0, |token| token.index.wrapping_add(1));
        part
    }
}

/// `SOCKET_URING_OP_SIOCOUTQ` of `linux/io_uring.h`: a socket's bytes that are not acknowledged.
pub(super) const UNACKNOWLEDGED: u32 = 1;

impl MinerRing {
    /// Looks at one part of so many of the connections that are blocked, and at the next one when it is
    /// called again: so no call has all of them to do. A later [`drain`](MinerRing::drain) tells those as
    /// writable whose peers have acknowledged bytes since the last look, or since they were blocked. Needs
    /// Linux 6.7; before that none is told.
    pub fn look_at_blocked(&mut self, parts: usize) {
        for token in self.slow.next_part(parts) {
            let connection = self.table.open(token);
            if connection.is_some_and(|it| it.blocked == Blocked::Reported) {
                self.ask_unacknowledged(token);
            } else {
                self.slow.told.remove(&token.index);
            }
        }
    }

    /// A connection is blocked: what its peer has not acknowledged by now is what the first look compares
    /// with.
    pub(super) fn begin_looking(&mut self, token: Token) {
        self.slow.told.remove(&token.index);
        self.ask_unacknowledged(token);
    }

    fn ask_unacknowledged(&mut self, token: Token) {
        let entry = opcode::UringCmd16::new(types::Fixed(token.index), UNACKNOWLEDGED)
            .build()
            .user_data(Operation::Unacknowledged.of(token));
        self.make_room(1);
        // SAFETY: this command points to no memory.
        unsafe { self.queue.push(&entry) };
    }

    /// The kernel has said how many bytes that are; or an errno, where it can't.
    pub(super) fn unacknowledged_told(
        &mut self,
        token: Token,
        outcome: Result<u32, i32>,
        handler: &mut impl RingHandler,
    ) {
        let connection = self.table.open(token);
        let blocked = connection.filter(|it| it.blocked == Blocked::Reported);
        let (Ok(bytes), Some(connection)) = (outcome, blocked) else {
            return;
        };
        let before = self.slow.told.insert(token.index, (token, bytes));
        if before.is_some_and(|(other, before)| other == token && bytes < before) {
            // The poll stays with the kernel: it ends when there is room indeed.
            connection.blocked = Blocked::No;
            handler.writable(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(places: impl IntoIterator<Item = u32>) -> Slow {
        let entry = |index| {
            let token = Token {
                index,
                generation: 1,
            };
            (index, (token, 0))
        };
        Slow {
            told: places.into_iter().map(entry).collect(),
            next: 0,
        }
    }

    #[test]
    fn each_has_its_turn_and_no_look_is_at_more_than_a_part() {
        let mut slow = slow((0..10).map(|place| place * 7));
        let mut places = || {
            let part = slow.next_part(4);
            part.iter().map(|it| it.index).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(places(), [0, 7, 14]);
            assert_eq!(places(), [21, 28, 35]);
            assert_eq!(places(), [42, 49, 56]);
            assert_eq!(places(), [63]);
        }
    }

    #[test]
    fn few_have_a_turn_as_often_as_many() {
        assert!(slow([]).next_part(4).is_empty());
        let mut few = slow([3, u32::MAX]);
        for _ in 0..3 {
            assert_eq!(few.next_part(4)[0].index, 3);
            assert_eq!(few.next_part(4)[0].index, u32::MAX);
        }
        assert_eq!(few.next_part(1).len(), 2);
    }
}
