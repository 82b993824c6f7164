#![expect(unsafe_code, reason = "sends name memory that the kernel reads")]
//! Sends: what is queued, what the kernel did not take, and the memory in between.
//!
//! A send is tried at once and never waits in the kernel (`MSG_DONTWAIT`), so all sends of a batch
//! are over when the batch has been submitted, and their memory is free for the next one. A send
//! that the socket took whole posts no completion. One that was cut short posts how much went out
//! (`MSG_WAITALL`; without it the kernel calls a part a success and says nothing), and **nothing more
//! may be sent on that connection before the rest**, or the stream is corrupt. So a batch holds one
//! send for each connection, all that were cut short are known when [`MinerRing::submit`] returns,
//! and such a connection is blocked until the socket has room.
//!
//! ```text
//!   idle ── send ──▶ queued ── submit: taken whole ──▶ idle
//!                      │
//!                      └─ submit: cut short ─▶ unreported ─ drain: `blocked` ─▶ blocked
//!   idle ◀───────────────────── drain: `writable` ──────────────────────────────┘
//! ```
//!
//! Writable is also told of a blocked connection whose peer has merely taken something (`slow`).

use std::mem;
use std::ops::Range;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::queue::Operation;
use super::table::{Blocked, Table};
use super::{MinerRing, RingHandler, Token};

/// One message within a send. The tag is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPiece {
    /// What the caller called it.
    pub tag: u8,
    /// Its length in bytes.
    pub len: u32,
}

/// A send of the current batch: where its bytes lie, and its pieces.
#[derive(Debug)]
struct Record {
    start: *const u8,
    len: usize,
    pieces: Range<usize>,
}

/// Sends that were cut short, with their bytes, until the handler has been told. The memory is used
/// again, so a crowd of slow connections costs no allocation for each.
#[derive(Debug, Default)]
struct Refused {
    sends: Vec<RefusedSend>,
    pieces: Vec<SentPiece>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct RefusedSend {
    token: Token,
    sent: usize,
    pieces: Range<usize>,
    bytes: Range<usize>,
}

impl Refused {
    fn add(&mut self, token: Token, sent: usize, pieces: &[SentPiece], bytes: &[u8]) {
        let pieces_start = self.pieces.len();
        let bytes_start = self.bytes.len();
        self.pieces.extend_from_slice(pieces);
        self.bytes.extend_from_slice(bytes);
        self.sends.push(RefusedSend {
            token,
            sent,
            pieces: pieces_start..self.pieces.len(),
            bytes: bytes_start..self.bytes.len(),
        });
    }

    fn clear(&mut self) {
        self.sends.clear();
        self.pieces.clear();
        self.bytes.clear();
        self.bytes.shrink_to(REFUSED_BYTES_KEPT);
    }
}

/// After a burst of slow connections no more than this is kept for the next one.
const REFUSED_BYTES_KEPT: usize = 1024 * 1024;

/// The sends of the current batch.
///
/// Invariant: while a record is here, its bytes are, in `shared` or in `arena`; both are emptied
/// only by [`Outbox::next_batch`], when the kernel has consumed every entry.
#[derive(Debug)]
pub(super) struct Outbox {
    batch: u32,
    records: Vec<Record>,
    pieces: Vec<SentPiece>,
    shared: Vec<Rc<[u8]>>,
    arena: Arena,
    refused: Refused,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            batch: 1,
            records: Vec::new(),
            pieces: Vec::new(),
            shared: Vec::new(),
            arena: Arena::default(),
            refused: Refused::default(),
        }
    }

    /// All entries of the batch have been consumed, and [`Outbox::cut_short`] told of the failures.
    pub(super) fn next_batch(&mut self) {
        if self.records.is_empty() {
            return;
        }
        self.batch = self.batch.wrapping_add(1);
        self.records.clear();
        self.pieces.clear();
        self.shared.clear();
        self.arena.clear();
    }

    /// A send took only `sent` bytes. Called while its batch is still here.
    pub(super) fn cut_short(&mut self, table: &mut Table, token: Token, sent: usize) {
        let batch = self.batch;
        let Some(connection) = table.open(token).filter(|it| it.batch == batch) else {
            return;
        };
        let Some(record) = self.records.get(connection.record as usize) else {
            return;
        };
        if sent >= record.len {
            return;
        }
        connection.blocked = Blocked::Unreported;
        // SAFETY: the record's bytes live as long as the record does, by the invariant.
        let bytes = unsafe { std::slice::from_raw_parts(record.start, record.len) };
        self.refused
            .add(token, sent, &self.pieces[record.pieces.clone()], bytes);
    }

    pub(super) fn has_refused(&self) -> bool {
        !self.refused.sends.is_empty()
    }
}

/// Whether a send may be queued.
enum Admission {
    Queue,
    /// An earlier send was cut short and the handler does not know yet: this one joins it.
    Refuse,
    /// Nobody to send to.
    Drop,
}

impl MinerRing {
    /// Queues a send of a line that many connections get, without copying it: the ring keeps it
    /// until it is submitted.
    ///
    /// One send to a connection before each [`submit`](MinerRing::submit) is free; a second one
    /// submits the first, at the price of a system call. A send to a connection that is over is
    /// ignored. Sending to one that is blocked, from [`RingHandler::blocked`] to
    /// [`RingHandler::writable`], is a mistake of the caller and ignored too.
    pub fn send_shared(&mut self, token: Token, line: &Rc<[u8]>, tag: u8) {
        if line.is_empty() {
            return;
        }
        let piece = SentPiece {
            tag,
            len: length(line),
        };
        match self.admit(token) {
            Admission::Queue => {
                let outbox = &mut self.outbox;
                // The whole farm gets one line: hold it once, not once for each miner.
                if !outbox
                    .shared
                    .last()
                    .is_some_and(|last| Rc::ptr_eq(last, line))
                {
                    outbox.shared.push(Rc::clone(line));
                }
                outbox.pieces.push(piece);
                self.queue_send(token, line.as_ptr(), line.len(), 1);
            }
            Admission::Refuse => self.outbox.refused.add(token, 0, &[piece], line),
            Admission::Drop => {}
        }
    }

    /// Queues one send of several pieces, each with its tag, copied one behind the other. See
    /// [`send_shared`](MinerRing::send_shared) for when it may be called.
    pub fn send_copied(&mut self, token: Token, pieces: &[(&[u8], u8)]) {
        let len: usize = pieces.iter().map(|(bytes, _)| bytes.len()).sum();
        if len == 0 {
            return;
        }
        let named = pieces.iter().map(|(bytes, tag)| SentPiece {
            tag: *tag,
            len: length(bytes),
        });
        match self.admit(token) {
            Admission::Queue => {
                let start = self.outbox.arena.copy(pieces, len);
                self.outbox.pieces.extend(named);
                self.queue_send(token, start, len, pieces.len());
            }
            Admission::Refuse => {
                let refused = &mut self.outbox.refused;
                let (pieces_start, bytes_start) = (refused.pieces.len(), refused.bytes.len());
                refused.pieces.extend(named);
                pieces
                    .iter()
                    .for_each(|(bytes, _)| refused.bytes.extend_from_slice(bytes));
                refused.sends.push(RefusedSend {
                    token,
                    sent: 0,
                    pieces: pieces_start..refused.pieces.len(),
                    bytes: bytes_start..refused.bytes.len(),
                });
            }
            Admission::Drop => {}
        }
    }

    /// Queues one send, a single piece, whose bytes `write` puts where the kernel reads them: it gets
    /// `len_max` bytes and says how many of them, from the first on, it wrote. So what is made for one
    /// connection, as a record of TLS, is copied nowhere. `write` is not called for a connection that is
    /// over. See [`send_shared`](MinerRing::send_shared) for when it may be called.
    pub fn send_written(
        &mut self,
        token: Token,
        len_max: usize,
        tag: u8,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        match self.admit(token) {
            Admission::Queue => {
                let place = self.outbox.arena.reserve(len_max);
                let len = write(place).min(len_max);
                let start = place.as_ptr();
                self.outbox.arena.give_back(len_max, len_max - len);
                if len > 0 {
                    let len = u32::try_from(len).expect("a piece is shorter than 4 GiB");
                    self.outbox.pieces.push(SentPiece { tag, len });
                    self.queue_send(token, start, len as usize, 1);
                }
            }
            Admission::Refuse => {
                let refused = &mut self.outbox.refused;
                let (pieces_start, bytes_start) = (refused.pieces.len(), refused.bytes.len());
                refused.bytes.resize(bytes_start + len_max, 0);
                let len = write(&mut refused.bytes[bytes_start..]).min(len_max);
                refused.bytes.truncate(bytes_start + len);
                if len > 0 {
                    let len = u32::try_from(len).expect("a piece is shorter than 4 GiB");
                    refused.pieces.push(SentPiece { tag, len });
                    refused.sends.push(RefusedSend {
                        token,
                        sent: 0,
                        pieces: pieces_start..pieces_start + 1,
                        bytes: bytes_start..refused.bytes.len(),
                    });
                }
            }
            Admission::Drop => {}
        }
    }

    /// Makes sure that a send to `token` may be queued, and that there is room for it.
    fn admit(&mut self, token: Token) -> Admission {
        let batch = self.outbox.batch;
        let Some(connection) = self.table.open(token) else {
            return Admission::Drop;
        };
        let again = connection.batch == batch && connection.blocked == Blocked::No;
        if again || !self.queue.has_room(1) || self.outbox.arena.is_full() {
            self.flush();
        }
        match self.table.open(token).map(|it| it.blocked) {
            Some(Blocked::No) => Admission::Queue,
            Some(Blocked::Unreported) => Admission::Refuse,
            Some(Blocked::Reported) => {
                debug_assert!(false, "{token:?} is blocked, and the handler knows");
                Admission::Drop
            }
            None => Admission::Drop,
        }
    }

    /// Queues the send of bytes that the outbox holds and whose pieces are its last ones.
    fn queue_send(&mut self, token: Token, start: *const u8, len: usize, pieces: usize) {
        let outbox = &mut self.outbox;
        let connection = self.table.open(token).expect("the send was admitted");
        connection.batch = outbox.batch;
        connection.record = u32::try_from(outbox.records.len()).expect("a batch fits the queue");
        let pieces_end = outbox.pieces.len();
        outbox.records.push(Record {
            start,
            len,
            pieces: pieces_end - pieces..pieces_end,
        });
        let len = u32::try_from(len).expect("a send is shorter than 4 GiB");
        let entry = opcode::Send::new(types::Fixed(token.index), start, len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Operation::Send.of(token));
        // SAFETY: the outbox holds the bytes until the kernel has consumed the entry, and a send
        // that does not wait is done with them by then.
        unsafe { self.queue.push(&entry) };
    }

    /// Tells the handler of every send that was cut short, and asks the kernel for room.
    pub(super) fn report_refused(&mut self, handler: &mut impl RingHandler) {
        while self.outbox.has_refused() {
            // Asking for room may submit, and that may refuse more sends: they come to the new list.
            let mut refused = mem::take(&mut self.outbox.refused);
            for send in &refused.sends {
                let Some(connection) = self.table.open(send.token) else {
                    continue;
                };
                connection.blocked = Blocked::Reported;
                let ask = !mem::replace(&mut connection.polling, true);
                handler.blocked(
                    send.token,
                    send.sent,
                    &refused.pieces[send.pieces.clone()],
                    &refused.bytes[send.bytes.clone()],
                );
                if ask {
                    self.ask_for_room(send.token);
                }
                self.begin_looking(send.token);
            }
            refused.clear();
            if !self.outbox.has_refused() {
                self.outbox.refused = refused;
            }
        }
    }

    fn ask_for_room(&mut self, token: Token) {
        let entry = opcode::PollAdd::new(types::Fixed(token.index), POLLOUT)
            .build()
            .user_data(Operation::Poll.of(token));
        self.make_room(1);
        // SAFETY: a poll points to no memory.
        unsafe { self.queue.push(&entry) };
    }

    /// The socket has room, or an error that the next send meets.
    pub(super) fn poll_completed(&mut self, token: Token, handler: &mut impl RingHandler) {
        let Some(connection) = self.table.open(token) else {
            return;
        };
        connection.polling = false;
        // Nobody is blocked who was writable before that (`slow`), or a send of his has been cut short since,
        // and is told of first.
        if connection.blocked == Blocked::Reported {
            connection.blocked = Blocked::No;
            handler.writable(token);
        }
    }
}

const POLLOUT: u32 = libc::POLLOUT.unsigned_abs() as u32;

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a piece is shorter than 4 GiB")
}

/// Memory for the copied sends of a batch. Chunks never move and are kept for the next batch.
#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// The chunk being filled, and how far.
    current: usize,
    used: usize,
    /// Sends too long for a chunk, each in a box of its own; they go with the batch.
    long: Vec<Box<[u8]>>,
    long_bytes: usize,
}

/// Holds hundreds of replies or a score of long notifications.
const CHUNK_LEN: usize = 64 * 1024;

/// A batch with more bytes than this is submitted before the next send, which bounds the memory.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Arena {
    fn is_full(&self) -> bool {
        self.current * CHUNK_LEN + self.long_bytes >= BATCH_BYTES_MAX
    }

    fn clear(&mut self) {
        self.current = 0;
        self.used = 0;
        self.long.clear();
        self.long_bytes = 0;
    }

    /// Memory that stays where it is until [`Arena::clear`].
    fn reserve(&mut self, len: usize) -> &mut [u8] {
        if len > CHUNK_LEN {
            self.long_bytes += len;
            self.long.push(vec![0; len].into_boxed_slice());
            self.long.last_mut().expect("just pushed").as_mut()
        } else {
            if self.used + len > CHUNK_LEN {
                self.current += 1;
                self.used = 0;
            }
            if self.current == self.chunks.len() {
                self.chunks.push(vec![0; CHUNK_LEN].into_boxed_slice());
            }
            let start = self.used;
            self.used += len;
            &mut self.chunks[self.current][start..start + len]
        }
    }

    /// The end of what was reserved last was not needed.
    fn give_back(&mut self, reserved: usize, unused: usize) {
        if reserved <= CHUNK_LEN {
            self.used -= unused;
        }
    }

    /// Copies pieces of `len` bytes together and returns where they lie until [`Arena::clear`].
    fn copy(&mut self, pieces: &[(&[u8], u8)], len: usize) -> *const u8 {
        let target = self.reserve(len);
        let mut end = 0;
        for (bytes, _) in pieces {
            target[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
        }
        target.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_sends_never_move_within_a_batch() {
        let mut arena = Arena::default();
        let line = [b'a'; 1000];
        let starts: Vec<_> = (0..200).map(|_| arena.copy(&[(&line, 0)], 1000)).collect();
        assert_eq!(arena.chunks.len(), 200_usize.div_ceil(CHUNK_LEN / 1000));
        let chunks: Vec<_> = arena.chunks.iter().map(|it| it.as_ptr_range()).collect();
        for start in starts {
            assert!(chunks.iter().any(|chunk| chunk.contains(&start)));
        }
        arena.clear();
        assert_eq!(
            arena.copy(&[(b"x", 0)], 1),
            chunks[0].start,
            "the chunks are used again"
        );
    }

    #[test]
    fn what_is_not_needed_of_a_place_is_the_next_ones() {
        let mut arena = Arena::default();
        let start = arena.reserve(100).as_ptr();
        arena.give_back(100, 60);
        assert_eq!(
            arena.reserve(CHUNK_LEN - 40).as_ptr(),
            start.wrapping_add(40)
        );
        let long = arena.reserve(CHUNK_LEN + 1).len();
        arena.give_back(long, long);
        assert_eq!(arena.used, CHUNK_LEN);
    }

    #[test]
    fn a_long_send_lives_for_one_batch() {
        let mut arena = Arena::default();
        let long = vec![b'a'; BATCH_BYTES_MAX];
        assert!(!arena.is_full());
        arena.copy(&[(&long, 0)], long.len());
        assert!(arena.is_full());
        arena.clear();
        assert!(arena.long.is_empty() && !arena.is_full());
    }
}
