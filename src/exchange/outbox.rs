//! What a miner is owed: replies in full, and of the rest only the newest.
//!
//! All miners of a link are owed the same few lines (its target, its job), so a miner's share of them
//! is a set of flags, and the lines are looked up when it is sent to. A miner that reads slowly is so
//! never sent a job that is no longer the newest, and a fan-out to 65,536 miners queues nothing.

use std::rc::Rc;

use crate::exchange::facts::{CloseReason, MinerToken};

/// Which part of a send a piece was, so that what did not go out can be owed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// The rest of a line that was begun before; always goes first.
    Rest,
    /// Replies.
    Replies,
    /// The miner's new extranonce1.
    Extranonce,
    /// The target of the job.
    Target,
    /// The job, as the pool flagged it.
    Job,
    /// The job, flagged clean.
    CleanJob,
    /// The target that holds from the next job on.
    NextTarget,
}

impl Tag {
    /// The tag behind the number that the shell carried for us.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Rest,
            1 => Self::Replies,
            2 => Self::Extranonce,
            3 => Self::Target,
            4 => Self::Job,
            5 => Self::CleanJob,
            _ => Self::NextTarget,
        }
    }
}

/// Which of the link's lines a miner has not been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed(u8);

impl Owed {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self(0);
    /// Its extranonce1.
    pub(crate) const EXTRANONCE: Self = Self(1);
    /// The target in force.
    pub(crate) const TARGET: Self = Self(2);
    /// The current job.
    pub(crate) const JOB: Self = Self(4);
    /// The job flagged clean, since it replaced one that was, or is the miner's first.
    pub(crate) const CLEAN: Self = Self(8);
    /// The target of the next job.
    pub(crate) const NEXT_TARGET: Self = Self(16);

    /// Both.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without the other.
    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of the other is owed.
    #[must_use]
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The bytes for one miner that nobody else is sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The rest of a line that the socket took only in part.
    pub(crate) rest: Vec<u8>,
    /// Replies, whole lines.
    pub(crate) replies: Vec<u8>,
    /// Bytes at the front of the replies that were sent before and came back.
    returned: usize,
    /// Bytes that the shell keeps and sends in front of all this: ciphertext, which can't be taken back.
    pub(crate) kept: usize,
}

impl Outbox {
    /// Bytes that wait, here or in the shell.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.rest.len() + self.replies.len() + self.kept
    }

    /// Whether there is nothing here to be sent.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.replies.is_empty()
    }

    /// Empties it for the next owner.
    pub(crate) fn clear(&mut self) {
        self.rest.clear();
        self.replies.clear();
        self.returned = 0;
        self.kept = 0;
    }

    /// Takes back what a send of `tag` did not get out; `begun` says that part of it did.
    pub(crate) fn take_back(&mut self, tag: Tag, begun: bool, bytes: &[u8]) {
        match tag {
            _ if begun => self.rest.extend_from_slice(bytes),
            Tag::Rest => self.rest.extend_from_slice(bytes),
            // What was to be said first is said before what came meanwhile. Several sends may come back
            // before the miner takes bytes again, in their order.
            Tag::Replies => {
                let start = if cfg!(break_order) { 0 } else { self.returned };
                self.returned += bytes.len();
                self.replies.splice(start..start, bytes.iter().copied());
            }
            _ => {}
        }
    }
}

/// How to end a miner's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseHow {
    /// With a FIN, behind what was said.
    Graceful,
    /// With a reset: a FIN leaves some firmware hanging for half an hour.
    Reset,
}

/// The shell's side of a flush: takes what is to be sent, at most one send for each miner.
pub trait Transmit {
    /// Sends one line that many miners are sent.
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, tag: Tag);

    /// Sends these pieces, one behind the other.
    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]);

    /// Ends the link, behind what was sent before.
    fn close(&mut self, miner: MinerToken, how: CloseHow, reason: CloseReason);
}
