#![expect(
    unsafe_code,
    reason = "entries name memory that the kernel reads and writes"
)]
//! The miners' sockets: one io_uring ring for each thread, which owns thousands of connections.
//!
//! A connection is a *direct descriptor*, a place in the ring's own table of files, so it costs the
//! process no descriptor. Bytes arrive in buffers that all connections share, so an idle one owns no
//! memory but its entry in a table. The proxy accepts with this module, and the load generator
//! connects with it; one ring does one or the other, since in one case the kernel chooses the places
//! and in the other we do.
//!
//! A round:
//!
//! ```text
//!      ┌───────────────────────────────────────────────────────────────────┐
//!      ▼                                                                   │
//!   submit ──▶ drain ──▶ handler: accepted, received, ended, …             │
//!   (enters    (tells      the caller decides what to say                  │
//!   the kernel) what was)    ──▶ send_…, close ────────────────────────────┤
//!                                                                          │
//!   nothing left: prepare_wait says true ──▶ Wake::wait ───────────────────┘
//! ```
//!
//! The module reports facts. It decides no policy, reads no clock and writes no log.
//!
//! Invariants:
//!
//! - What a handler is told of a token ends with `ended`, or with the caller's `close`. A completion
//!   that comes later carries an old generation, or meets a connection that is closing, and is
//!   dropped; its buffer is given back all the same.
//! - No send goes out on a connection behind one that was cut short (`outbox`).
//! - Pending accepts and taken places together never exceed the table (`accept`). The kernel would
//!   close a connection that finds no place.

mod accept;
mod bell;
mod buffers;
mod connect;
mod counters;
mod error;
mod features;
mod handler;
mod memory;
mod outbox;
mod queue;
mod slow;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod wake;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use io_uring::{opcode, squeue, types};

pub use bell::Bell;
pub use counters::RingCounters;
pub use error::{RingError, TableFull};
pub use features::Features;
pub use handler::{Close, End, ListenerId, RingHandler};
pub use memory::give_back_memory;
pub use outbox::SentPiece;
pub use streams::StreamId;
pub use table::Token;
pub use wake::{Notifier, Wake};

use accept::Acceptor;
use buffers::{Group, ReceiveBuffers};
use connect::Addresses;
use outbox::Outbox;
use queue::{Completion, Operation, Queue};
use slow::Slow;
use streams::Streams;
use table::{Blocked, Phase, Receiving, Table};
use wake::Eventfd;

/// The sizes of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingConfig {
    /// Connections at a time. Bounded by the process's limit of open files, for each ring.
    pub connections_max: u32,
    /// Accepts that wait in the kernel, for each listener.
    pub accepts_in_flight: u32,
    /// Buffers that the kernel receives into, a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Bytes in each of them.
    pub receive_buffer_len: u32,
    /// Entries that one system call can submit; more are submitted in several.
    pub submission_entries: u32,
    /// Completions that can wait to be taken.
    pub completion_entries: u32,
    /// Completions that one [`MinerRing::drain`] works through.
    pub events_per_round_max: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            accepts_in_flight: 32,
            receive_buffers: 128,
            receive_buffer_len: 4096,
            submission_entries: 4096,
            completion_entries: 32_768,
            events_per_round_max: 1024,
        }
    }
}

/// One ring and its connections. It is used by the thread that made it, and by no other.
#[derive(Debug)]
pub struct MinerRing {
    // The queue is first: it is dropped before the memory that the kernel knows.
    queue: Queue,
    buffers: ReceiveBuffers,
    stream_buffers: ReceiveBuffers,
    streams: Streams,
    acceptor: Acceptor,
    addresses: Addresses,
    outbox: Outbox,
    table: Table,
    /// Completions that have been taken from the kernel and not yet handled. Bounded without a check:
    /// each receive's holds a buffer, and each connection has at most one of every other kind.
    pending: VecDeque<Completion>,
    starved: Starved,
    slow: Slow,
    events_per_round_max: usize,
    /// With so few buffers left a round takes no more from the kernel, but handles what it has.
    buffers_reserve: u16,
    eventfd: Eventfd,
    bell: Option<Bell>,
    counters: RingCounters,
}

impl MinerRing {
    /// Makes a ring for the calling thread.
    ///
    /// # Errors
    ///
    /// [`RingError`] says what the kernel, or a limit, has against it.
    pub fn new(config: &RingConfig) -> Result<Self, RingError> {
        let refusal = |what| {
            let wanted = config.connections_max;
            move |error| RingError::at(what, "a ring of provided buffers", wanted, error)
        };
        if config.connections_max == 0 || config.accepts_in_flight == 0 {
            return Err(RingError::Config(
                "a ring needs room for a connection and an accept",
            ));
        }
        if !config.receive_buffers.is_power_of_two() || config.receive_buffers > 1 << 15 {
            return Err(RingError::Config(
                "receive_buffers is a power of two, at most 32768",
            ));
        }
        if config.receive_buffer_len == 0 || config.events_per_round_max == 0 {
            return Err(RingError::Config(
                "a ring needs bytes in a buffer and events in a round",
            ));
        }
        if config.submission_entries < SUBMISSION_ENTRIES_MIN {
            return Err(RingError::Config("submission_entries is 8 or more"));
        }
        let mut queue = Queue::new(config)?;
        let buffers = ReceiveBuffers::new(config.receive_buffers, config.receive_buffer_len)
            .map_err(refusal("mapping the receive buffers"))?;
        let stream_buffers = ReceiveBuffers::new(STREAM_BUFFERS, STREAM_BUFFER_LEN)
            .map_err(refusal("mapping the receive buffers"))?;
        let eventfd = Eventfd::new().map_err(refusal("making the eventfd"))?;
        queue
            .register_eventfd(eventfd.descriptor())
            .map_err(refusal("registering the eventfd"))?;
        // SAFETY: queue and buffers go into one value, whose drop ends the queue first; where nothing comes
        // of it the queue ends here, before the buffers.
        let registered = unsafe {
            queue
                .register_buffers(buffers.list(), Group::Connections)
                .and_then(|()| queue.register_buffers(stream_buffers.list(), Group::Streams))
        };
        if let Err(error) = registered {
            drop(queue);
            return Err(refusal("registering the receive buffers")(error));
        }
        Ok(Self {
            queue,
            buffers,
            stream_buffers,
            streams: Streams::default(),
            acceptor: Acceptor::new(config.accepts_in_flight),
            addresses: Addresses::default(),
            outbox: Outbox::new(),
            table: Table::new(config.connections_max),
            pending: VecDeque::new(),
            starved: Starved::default(),
            slow: Slow::default(),
            events_per_round_max: config.events_per_round_max,
            buffers_reserve: (config.receive_buffers / 4).min(WORK_PER_ENTER),
            eventfd,
            bell: None,
            counters: RingCounters::default(),
        })
    }

    /// Places that are taken: connections that are open, being made or being closed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.table.occupied() as usize
    }

    /// Places that are free.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.table.free() as usize
    }

    /// Whether a send to this connection was cut short, and its socket has had no room since. What is sent
    /// before the handler was told joins the rest of that send, and comes back with it.
    #[must_use]
    pub fn is_blocked(&mut self, token: Token) -> bool {
        let connection = self.table.open(token);
        connection.is_some_and(|it| it.blocked != Blocked::No)
    }

    /// How often the ring met its bounds.
    #[must_use]
    pub const fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Gives all that is queued to the kernel and runs the work that is due there, without waiting.
    /// What came of it is for [`MinerRing::drain`] to tell.
    pub fn submit(&mut self) {
        self.flush();
        self.run_work();
    }

    /// As [`MinerRing::submit`], but spares the system call where there is nothing to do in the kernel.
    fn submit_due(&mut self) {
        if !self.queue.is_empty() || self.queue.has_overflow() {
            self.flush();
        }
        self.run_work();
    }

    /// Runs the work that is due in the kernel, up to a round's worth.
    fn run_work(&mut self) {
        let mut fruitless = 0;
        while fruitless < FRUITLESS_ENTERS_MAX
            && self.queue.has_work()
            && self.pending.len() < self.events_per_round_max
            && self.buffers.free() > self.buffers_reserve
        {
            let before = self.pending.len();
            self.flush();
            fruitless = if self.pending.len() > before {
                0
            } else {
                fruitless + 1
            };
        }
    }

    /// Whether [`MinerRing::drain`] has something to tell.
    #[must_use]
    pub fn has_completions(&self) -> bool {
        !self.pending.is_empty()
            || self.outbox.has_refused()
            || self.can_restart()
            || self.bell.as_ref().is_some_and(Bell::is_rung)
    }

    /// Submits, and says whether there is nothing left to do: then, and only then, the kernel will
    /// wake the thread, and [`Wake::wait`] may be awaited. Meanwhile other tasks of the thread may
    /// send and [`submit`](MinerRing::submit); what comes of it ends the wait.
    pub fn prepare_wait(&mut self) -> bool {
        self.wake_on_work(true);
        self.submit();
        let idle = !self.has_completions();
        if !idle {
            self.wake_on_work(false);
        }
        idle
    }

    fn wake_on_work(&mut self, on: bool) {
        self.queue.wake_on_work(on);
        if let Some(bell) = &self.bell {
            bell.wake_executor(on);
        }
    }

    /// Submits, and waits until [`MinerRing::drain`] has something to tell or `timeout` is over; all that
    /// in one system call, as a rule. For a thread that has nothing else to wait for; a [`Bell`] ends this
    /// wait, and a [`Notifier`] does not.
    pub fn wait_blocking(&mut self, timeout: Duration) {
        if !self.has_completions() {
            self.queue.enter_and_wait(timeout);
            self.take_completions();
            // A send that was cut short may be among the completions that found no place.
            let overflowed = self.queue.has_overflow();
            self.counters.completion_overflows += u64::from(overflowed);
            if self.queue.is_empty() && !overflowed {
                self.outbox.next_batch();
            }
        }
        self.submit_due();
    }

    /// Tells the handler what has happened, and returns how many completions that were.
    ///
    /// First come all sends that were cut short, then at most `events_per_round_max` completions in
    /// the order of the kernel. It is for the task that waits: it also tells the kernel that nobody
    /// needs waking.
    pub fn drain(&mut self, handler: &mut impl RingHandler) -> usize {
        self.wake_on_work(false);
        if self.bell.as_ref().is_some_and(Bell::was_rung) {
            handler.rang();
        }
        self.report_refused(handler);
        let mut handled = 0;
        while handled < self.events_per_round_max {
            let Some(completion) = self.pending.pop_front() else {
                break;
            };
            handled += 1;
            self.handle(completion, handler);
        }
        self.restart_starved();
        self.restart_streams();
        self.arm_accepts();
        self.report_full(handler);
        handled
    }

    /// Closes a connection, after the sends that are queued. Nothing more is told of it. A send that
    /// the kernel does not take whole is lost; a caller that minds waits for a `submit` in which none
    /// is blocked. A token that is dead already is ignored.
    pub fn close(&mut self, token: Token, how: Close) {
        let Some(connection) = self.table.get(token) else {
            return;
        };
        let phase = connection.phase;
        if phase == Phase::Closing {
            return;
        }
        connection.phase = Phase::Closing;
        let (receiving, polling) = (connection.receiving, connection.polling);
        // A receive that stays armed keeps the socket open, with no end of stream for the peer. It is
        // cancelled by its user data, which the kernel finds at once; by its descriptor it would look
        // through all that is armed. The entries are in one submit: one system call later the place
        // may be another connection's.
        self.make_room(4);
        if receiving != Receiving::No {
            self.cancel(Operation::Receive.of(token));
        }
        if polling {
            self.cancel(Operation::Poll.of(token));
        }
        if phase == Phase::Connecting {
            self.cancel(Operation::Connect.of(token));
        }
        let descriptor = types::Fixed(token.index);
        if how == Close::Reset {
            let option = set_option(descriptor, libc::SOL_SOCKET, libc::SO_LINGER, &NO_LINGER)
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Operation::Aside.of(token));
            // SAFETY: the option's value is a constant.
            unsafe { self.queue.push(&option) };
        }
        let close = opcode::Close::new(descriptor)
            .build()
            .user_data(Operation::Close.of(token));
        // SAFETY: a close points to no memory.
        unsafe { self.queue.push(&close) };
    }

    /// Stops receiving from a connection: what the peer sends stays in the kernel, and a peer that
    /// sends much is blocked soon. What came before is still told, and perhaps a little of what comes
    /// now. As long as it lasts nothing tells that the peer has gone.
    pub fn pause_receive(&mut self, token: Token) {
        let Some(connection) = self.table.open(token) else {
            return;
        };
        let paused = mem::replace(&mut connection.paused, true);
        if !paused && connection.receiving != Receiving::No {
            self.make_room(1);
            self.cancel(Operation::Receive.of(token));
        }
    }

    /// Receives from a connection again, after [`MinerRing::pause_receive`].
    pub fn resume_receive(&mut self, token: Token) {
        if let Some(connection) = self.table.open(token) {
            // A cancelled receive that has not ended yet is armed again when it does.
            connection.paused = false;
            self.arm_receive(token);
        }
    }

    fn handle(&mut self, completion: Completion, handler: &mut impl RingHandler) {
        let token = completion.token();
        self.count_stale(completion);
        match completion.operation() {
            Operation::Receive => self.receive_completed(completion, handler),
            Operation::Send => {
                if let Err(errno) = completion.outcome() {
                    self.end(token, End::from_errno(errno), handler);
                }
            }
            Operation::Poll => self.poll_completed(token, handler),
            Operation::Accept => self.accept_completed(token.index, completion.outcome(), handler),
            Operation::Close => {
                self.addresses.forget(token.index);
                self.table.closed(token);
            }
            Operation::Prepare | Operation::Connect => self.connect_completed(completion, handler),
            Operation::Retry => self.acceptor.resume(),
            Operation::StreamReceive => self.stream_completed(completion, handler),
            Operation::StreamPoll => self.stream_poll_completed(token, handler),
            Operation::Bell => self.bell_completed(completion),
            Operation::Unacknowledged => {
                self.unacknowledged_told(token, completion.outcome(), handler);
            }
            Operation::StreamUnacknowledged => {
                self.stream_unacknowledged_told(completion, handler);
            }
            Operation::Aside => {}
        }
    }

    fn count_stale(&mut self, completion: Completion) {
        let is_told = match completion.operation() {
            Operation::Accept
            | Operation::Close
            | Operation::Retry
            | Operation::Bell
            | Operation::Aside => return,
            Operation::StreamReceive | Operation::StreamPoll | Operation::StreamUnacknowledged => {
                return;
            }
            _ if completion.outcome() == Err(libc::ECANCELED) => return,
            _ => self.table.get(completion.token()),
        };
        let is_stale = is_told.is_none_or(|it| it.phase == Phase::Closing);
        self.counters.stale_completions += u64::from(is_stale);
    }

    fn receive_completed(&mut self, completion: Completion, handler: &mut impl RingHandler) {
        let token = completion.token();
        if let Some(id) = completion.buffer() {
            if let Ok(len) = completion.outcome()
                && let Some(connection) = self.table.open(token)
                && len > 0
            {
                connection.receiving = Receiving::Fed;
                handler.received(token, self.buffers.bytes(id, len as usize));
            }
            self.buffers.give_back(id);
        }
        if completion.more() {
            return;
        }
        let Some(connection) = self.table.open(token) else {
            return;
        };
        let fed = mem::replace(&mut connection.receiving, Receiving::No) == Receiving::Fed;
        match completion.outcome() {
            Ok(0) => self.end(token, End::Closed, handler),
            Ok(_) | Err(libc::EINTR | libc::ECANCELED) => self.arm_receive(token),
            Err(libc::ENOBUFS) => {
                self.counters.buffers_exhausted += 1;
                self.starved.add(token, fed);
            }
            Err(errno) => self.end(token, End::from_errno(errno), handler),
        }
    }

    /// Tells the handler that an open connection is over, and closes it.
    fn end(&mut self, token: Token, end: End, handler: &mut impl RingHandler) {
        if self
            .table
            .get(token)
            .is_some_and(|it| it.phase != Phase::Closing)
        {
            handler.ended(token, end);
            self.close(token, Close::Graceful);
        }
    }

    /// Arms the receive of a connection, unless it is armed already or nobody wants the bytes.
    fn arm_receive(&mut self, token: Token) {
        self.make_room(1);
        let Some(connection) = self.table.open(token) else {
            return;
        };
        if connection.receiving != Receiving::No || connection.paused {
            return;
        }
        connection.receiving = Receiving::Armed;
        let entry = opcode::RecvMulti::new(types::Fixed(token.index), Group::Connections as u16)
            .build()
            .user_data(Operation::Receive.of(token));
        // SAFETY: a receive points to no memory but the registered buffers.
        unsafe { self.queue.push(&entry) };
    }

    /// Whether receives that found no buffer may start again.
    fn can_restart(&self) -> bool {
        !self.starved.is_empty() && self.buffers.plenty()
    }

    /// Starts receives again that found no buffer, in their turn and no more of them than there are
    /// buffers. Each is started in the end: which ones have bytes waiting is not known, and one that has
    /// none would never come up again.
    fn restart_starved(&mut self) {
        if !self.can_restart() {
            return;
        }
        let mut left = self.buffers.free();
        while left > 0 {
            let Some(token) = self.starved.next() else {
                break;
            };
            if self.table.open(token).is_some() {
                self.arm_receive(token);
                left -= 1;
            }
        }
    }

    fn cancel(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Operation::Aside.number(0));
        // SAFETY: a cancel points to no memory.
        unsafe { self.queue.push(&entry) };
    }

    /// Makes sure that `entries` more can be queued and go to the kernel in one submit.
    fn make_room(&mut self, entries: usize) {
        if !self.queue.has_room(entries) {
            self.flush();
        }
    }

    /// Enters the kernel until it has consumed every entry, and takes the completions.
    fn flush(&mut self) {
        loop {
            self.queue.enter();
            self.take_completions();
            let overflowed = self.queue.has_overflow();
            self.counters.completion_overflows += u64::from(overflowed);
            if self.queue.is_empty() && !overflowed {
                break;
            }
        }
        self.outbox.next_batch();
    }

    /// Takes the completions from the kernel. Sends that were cut short are recorded at once, while
    /// their batch is still here; all else waits for its turn in `pending`.
    fn take_completions(&mut self) {
        let Self {
            queue,
            buffers,
            stream_buffers,
            outbox,
            table,
            pending,
            counters,
            ..
        } = self;
        queue.take(|completion| {
            let sent = match (completion.operation(), completion.outcome()) {
                (Operation::Send, Ok(sent)) => Some(sent),
                (Operation::Send, Err(libc::EAGAIN)) => Some(0),
                _ => None,
            };
            if let Some(sent) = sent {
                counters.short_sends += 1;
                outbox.cut_short(table, completion.token(), sent as usize);
                return;
            }
            if completion.buffer().is_some() {
                match completion.operation() {
                    Operation::StreamReceive => stream_buffers.hold(),
                    _ => buffers.hold(),
                }
            }
            pending.push_back(completion);
        });
    }
}

/// Connections whose receive ended because there was no buffer.
///
/// One receive takes as many buffers as it has bytes for. So those that got none come before those that
/// got some, or a few that flood us would have every buffer for ever.
#[derive(Debug, Default)]
struct Starved {
    unfed: VecDeque<Token>,
    fed: VecDeque<Token>,
}

impl Starved {
    fn add(&mut self, token: Token, fed: bool) {
        if fed {
            self.fed.push_back(token);
        } else {
            self.unfed.push_back(token);
        }
    }

    fn is_empty(&self) -> bool {
        self.unfed.is_empty() && self.fed.is_empty()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.unfed.len() + self.fed.len()
    }

    fn next(&mut self) -> Option<Token> {
        self.unfed.pop_front().or_else(|| self.fed.pop_front())
    }
}

impl Drop for MinerRing {
    /// Closes all connections and streams, and takes back from the kernel all that names memory of ours:
    /// the accepts, the receives, the connects. Each by its user data, for the kernel's own way of
    /// cancelling everything takes a time that grows with the square of the connections.
    fn drop(&mut self) {
        self.stop_accepting();
        self.detach_all();
        for at in 0..self.table.places() {
            if let Some(token) = self.table.token_at(at) {
                self.close(token, Close::Graceful);
            }
        }
        for _ in 0..DROP_ROUNDS_MAX {
            self.flush();
            self.pending.clear();
            if !self.queue.has_work() {
                break;
            }
        }
    }
}

/// Bounds the end of a ring: 65,536 connections with two operations each, of which the kernel ends
/// 20 at a time.
const DROP_ROUNDS_MAX: usize = 8 * 1024;

/// Pieces of work that the kernel runs in one system call; each may need a receive buffer.
const WORK_PER_ENTER: u16 = 32;

/// Times that the kernel may claim that work is due and then have none. It puts work on its list before
/// it raises that flag, so on another core the flag can come when the work is done already; it then
/// stays up until there is work again, and whoever waits for it to fall spins for ever.
const FRUITLESS_ENTERS_MAX: u32 = 3;

/// What a pool can say in one round at most: 128 KiB, more than 2,000 replies.
const STREAM_BUFFERS: u16 = 16;
const STREAM_BUFFER_LEN: u32 = 8192;

/// The longest chain of entries that must go to the kernel together is that of a connect, six.
const SUBMISSION_ENTRIES_MIN: u32 = 8;

/// Lingering for no time at all: the kernel drops what is unsent and resets.
static NO_LINGER: libc::linger = libc::linger {
    l_onoff: 1,
    l_linger: 0,
};

/// A socket option that is set on a direct descriptor. Its value is a constant, since the kernel
/// reads it later.
fn set_option<T>(
    descriptor: types::Fixed,
    level: i32,
    name: i32,
    value: &'static T,
) -> squeue::Entry {
    let len = u32::try_from(size_of::<T>()).expect("an option is a few bytes");
    let value = std::ptr::from_ref(value).cast();
    opcode::SetSockOpt::new(
        descriptor,
        level.unsigned_abs(),
        name.unsigned_abs(),
        value,
        len,
    )
    .build()
}
