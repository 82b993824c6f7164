//! What a ring tells, and in which words.

use std::io;
use std::net::SocketAddr;

use super::{SentPiece, StreamId, Token};

/// Names one listening socket of a ring, in the order of [`MinerRing::listen`](super::MinerRing::listen).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed its side.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The peer has not answered for too long, by the socket's keepalive or user timeout.
    TimedOut,
    /// Another error, as an errno.
    Failed(i32),
    /// The connection could not be made; an errno.
    ConnectFailed(i32),
}

impl End {
    pub(super) fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ECONNRESET | libc::EPIPE => Self::Reset,
            libc::ETIMEDOUT => Self::TimedOut,
            errno => Self::Failed(errno),
        }
    }
}

/// How to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// What the kernel has taken is still delivered, then the peer sees the end of the stream.
    ///
    /// When bytes of the peer have arrived that we have not received, the kernel resets the
    /// connection instead, as it does for every socket.
    Graceful,
    /// The peer sees a reset, and what it has not yet got is lost. Needs Linux 6.7; before that it is
    /// a graceful close.
    Reset,
}

/// What happens on a ring, told by [`MinerRing::drain`](super::MinerRing::drain).
pub trait RingHandler {
    /// A peer has connected to one of our listeners. A peer without an internet address (of a Unix
    /// socket) is shown as `0.0.0.0:0`.
    fn accepted(&mut self, token: Token, listener: ListenerId, peer: SocketAddr);

    /// A connection that [`MinerRing::connect`](super::MinerRing::connect) began is there.
    fn connected(&mut self, token: Token) {
        let _ = token;
    }

    /// Bytes have come. The slice is the caller's to change, for as long as the call lasts.
    fn received(&mut self, token: Token, bytes: &mut [u8]);

    /// The connection is over, by the peer's doing or the network's; the ring closes it, and the
    /// token is dead.
    fn ended(&mut self, token: Token, end: End);

    /// A send took only the first `sent` bytes of `bytes`, perhaps none, and the connection is
    /// blocked until [`RingHandler::writable`]. `pieces` are the messages of that send. What was
    /// begun must be finished before anything else is sent.
    ///
    /// It can come more than once before `writable`, in the order of the sends: those behind the
    /// first one, queued before it was known, have `sent` 0.
    fn blocked(&mut self, token: Token, sent: usize, pieces: &[SentPiece], bytes: &[u8]);

    /// A blocked connection has room again; or its peer has taken some bytes, as
    /// [`look_at_blocked`](super::MinerRing::look_at_blocked) finds out, and then the next send may be cut
    /// short before its first byte.
    fn writable(&mut self, token: Token);

    /// A listener could not accept. Accepting goes on: at once after a connection that was aborted,
    /// else after a pause of 100 ms.
    fn accept_failed(&mut self, listener: ListenerId, error: io::Error);

    /// A listener stops accepting because the table is full; told once each time. It goes on when
    /// connections close, and the kernel's backlog holds the peers until then.
    fn table_full(&mut self, listener: ListenerId);

    /// Bytes have come on a stream. The slice is the caller's to change, for as long as the call lasts.
    fn stream_received(&mut self, stream: StreamId, bytes: &mut [u8]) {
        let _ = (stream, bytes);
    }

    /// A stream is over, by the peer's doing or the network's. The caller still has to
    /// [`detach`](super::MinerRing::detach) it.
    fn stream_ended(&mut self, stream: StreamId, end: End) {
        let _ = (stream, end);
    }

    /// A stream that did not take all that it was sent has room again, or its peer has taken some bytes.
    fn stream_writable(&mut self, stream: StreamId) {
        let _ = stream;
    }

    /// Somebody has rung the [`Bell`](super::Bell) that the ring hears; once or more often.
    fn rang(&mut self) {}
}
