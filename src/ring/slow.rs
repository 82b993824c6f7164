#![expect(unsafe_code, reason = "an entry asks the kernel about a socket")]
//! Blocked connections, and streams, whose peers take bytes nevertheless.
//!
//! The kernel says that a socket has room when a third of its buffer is free. Of some megabytes that may
//! take a slow peer minutes, in which it looks like one that takes nothing at all. So whoever wants to tell
//! the two apart has the ring look at the blocked ones now and then: how many bytes has each peer not
//! acknowledged? While a connection is blocked nothing is added to them. Where they are fewer than before it
//! is told as writable, though its socket may have little room, or none.

use std::collections::HashMap;

use io_uring::{opcode, types};

use super::handler::RingHandler;
use super::queue::Operation;
use super::table::Blocked;
use super::{MinerRing, Token};

/// What the peers of blocked connections had not acknowledged when they were last looked at, by place.
/// Entries of those that are not blocked any more go at the next look.
#[derive(Debug, Default)]
pub(super) struct Slow(HashMap<u32, (Token, u32)>);

/// `SOCKET_URING_OP_SIOCOUTQ` of `linux/io_uring.h`: a socket's bytes that are not acknowledged.
pub(super) const UNACKNOWLEDGED: u32 = 1;

impl MinerRing {
    /// Looks at all connections and streams that are blocked. A later [`drain`](MinerRing::drain) tells those
    /// as writable whose peers have acknowledged bytes since the last look, or since they were blocked. Needs
    /// Linux 6.7; before that none is told.
    pub fn look_at_blocked(&mut self) {
        let Self { table, slow, .. } = self;
        slow.0.retain(|_, (token, _)| {
            let connection = table.open(*token);
            connection.is_some_and(|it| it.blocked == Blocked::Reported)
        });
        let blocked: Vec<_> = slow.0.values().map(|(token, _)| *token).collect();
        for token in blocked {
            self.ask_unacknowledged(token);
        }
        self.look_at_blocked_streams();
    }

    /// A connection is blocked: what its peer has not acknowledged by now is what the first look compares
    /// with.
    pub(super) fn begin_looking(&mut self, token: Token) {
        self.slow.0.remove(&token.index);
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
        let before = self.slow.0.insert(token.index, (token, bytes));
        if before.is_some_and(|(other, before)| other == token && bytes < before) {
            // The poll stays with the kernel: it ends when there is room indeed.
            connection.blocked = Blocked::No;
            handler.writable(token);
        }
    }
}
