//! What the ring has to tell, told to the exchanges and to the door.

use std::net::SocketAddr;

use crate::exchange::{CloseReason, Exchange, LinkEnd, Tag};
use crate::proto::time::Now;
use crate::ring::{End, ListenerId, RingHandler, SentPiece, StreamId, Token};
use crate::shard::connection::{Connection, miner_token};
use crate::shard::door::Door;
use crate::shard::enter::Entrance;
use crate::shard::miner_tls::MinersTls;
use crate::shard::pool_stream::PoolStream;
use crate::shard::state::Proxy;
use crate::wire::line::{TailPool, cut};

/// The ring's news, told to the exchanges.
pub(super) struct Events<'a> {
    pub(super) now: Now,
    pub(super) proxies: &'a mut [Proxy],
    pub(super) listeners: &'a [Entrance],
    pub(super) connections: &'a mut Vec<Option<Connection>>,
    pub(super) door: &'a mut Door,
    pub(super) turned_away: &'a mut Vec<Token>,
    pub(super) tls: &'a mut MinersTls,
    pub(super) tails: &'a mut TailPool,
    pub(super) streams: &'a mut [Option<PoolStream>],
    pub(super) pool_tails: &'a mut TailPool,
    pub(super) ended: &'a mut Vec<StreamId>,
    /// Whether there was anything to tell.
    pub(super) told: bool,
    /// Whether letters have come.
    pub(super) rang: bool,
}

impl Events<'_> {
    fn exchange_of(&mut self, token: Token) -> Option<&mut Exchange> {
        self.told = true;
        let connection = self.connections.get(token.index as usize)?.as_ref()?;
        if !connection.is(token) || !connection.is_miner() {
            return None;
        }
        let proxy = self.proxies.get_mut(usize::from(connection.proxy))?;
        Some(&mut proxy.exchange)
    }
}

impl RingHandler for Events<'_> {
    fn rang(&mut self) {
        self.rang = true;
    }

    fn stream_received(&mut self, id: StreamId, bytes: &mut [u8]) {
        self.told = true;
        let Some(stream) = self.streams[id.index as usize].as_mut() else {
            return;
        };
        let Proxy {
            exchange, limits, ..
        } = &mut self.proxies[stream.proxy];
        let len_max = limits.pool_line_len_max;
        if !stream.hear(bytes, self.pool_tails, len_max, exchange, self.now) {
            self.ended.push(id);
        }
    }

    fn stream_ended(&mut self, id: StreamId, end: End) {
        self.told = true;
        let Some(stream) = &self.streams[id.index as usize] else {
            return;
        };
        let (end, detail) = match end {
            End::Closed => (LinkEnd::Closed, String::new()),
            End::Reset => (LinkEnd::Reset, errno_text(libc::ECONNRESET)),
            End::TimedOut => (LinkEnd::Reset, errno_text(libc::ETIMEDOUT)),
            End::Failed(errno) | End::ConnectFailed(errno) => (LinkEnd::Reset, errno_text(errno)),
        };
        let detail = stream.why_ended(detail);
        let exchange = &mut self.proxies[stream.proxy].exchange;
        exchange.handle_link_closed(self.now, stream.link, end, &detail);
        self.ended.push(id);
    }

    fn stream_writable(&mut self, id: StreamId) {
        self.told = true;
        if let Some(stream) = &mut self.streams[id.index as usize] {
            stream.blocked = false;
            // What it takes next may be part of a record, of which the exchange hears nothing.
            let exchange = &mut self.proxies[stream.proxy].exchange;
            exchange.took_bytes(self.now, stream.link);
        }
    }

    fn accepted(&mut self, token: Token, listener: ListenerId, peer: SocketAddr) {
        self.told = true;
        self.enter(token, listener, peer);
    }

    fn received(&mut self, token: Token, bytes: &mut [u8]) {
        self.told = true;
        let Some(Some(connection)) = self.connections.get_mut(token.index as usize) else {
            return;
        };
        if !connection.is(token) {
            return;
        }
        if connection.entering.is_some() {
            return self.received_in_door(token, bytes);
        }
        if connection.tls.is_some() {
            return self.received_tls(token, bytes);
        }
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        take_lines(self.now, proxy, connection, self.tails, token, bytes);
    }

    fn ended(&mut self, token: Token, end: End) {
        let reason = reason_of(end);
        if let Some(exchange) = self.exchange_of(token) {
            exchange.handle_disconnect(miner_token(token), reason);
        } else if !self.ended_in_handshake(token) {
            self.ended_in_door(token);
        }
    }

    fn blocked(&mut self, token: Token, sent: usize, pieces: &[SentPiece], bytes: &[u8]) {
        let now = self.now;
        if self.keep(token, &bytes[sent..]) {
            return self.told = true;
        }
        if let Some(exchange) = self.exchange_of(token) {
            let pieces = pieces
                .iter()
                .map(|piece| (Tag::from_number(piece.tag), piece.len as usize));
            exchange.handle_blocked(now, miner_token(token), sent, pieces, bytes);
        }
    }

    fn writable(&mut self, token: Token) {
        if self.writable_tls(token) {
            return self.told = true;
        }
        if let Some(exchange) = self.exchange_of(token) {
            exchange.handle_writable(miner_token(token));
        }
    }

    fn accept_failed(&mut self, listener: ListenerId, error: std::io::Error) {
        let proxy = usize::from(self.listeners[usize::from(listener.0)].proxy);
        self.proxies[proxy].reporter.accept_failed(self.now, &error);
    }

    fn table_full(&mut self, listener: ListenerId) {
        let proxy = usize::from(self.listeners[usize::from(listener.0)].proxy);
        // With a full table this is told with each connection that comes and goes: counted when logged.
        let held = || self.connections.iter().flatten().count();
        self.proxies[proxy].reporter.table_full(self.now, held);
    }
}

/// Why a miner's connection ended. Where the kernel last heard that the machine can't be reached, as of one
/// in the same hall whose cable is cut, it says that in the place of the time-out.
const fn reason_of(end: End) -> CloseReason {
    match end {
        End::Closed => CloseReason::Closed,
        End::TimedOut | End::Failed(libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENETUNREACH) => {
            CloseReason::Idle
        }
        End::Reset | End::Failed(_) | End::ConnectFailed(_) => CloseReason::Reset,
    }
}

/// Gives an exchange the lines of a miner that has passed the door.
pub(super) fn take_lines(
    now: Now,
    proxy: &mut Proxy,
    connection: &mut Connection,
    tails: &mut TailPool,
    token: Token,
    bytes: &[u8],
) {
    let Proxy {
        exchange, limits, ..
    } = proxy;
    let miner = miner_token(token);
    exchange.hear_from(connection.peer.in_names());
    let mut lines = cut(
        &mut connection.tail,
        tails,
        bytes,
        limits.miner_line_len_max,
    );
    while let Some(line) = lines.next() {
        match line {
            Ok(line) => exchange.handle_miner_line(now, miner, line),
            Err(_) => exchange.refuse(miner, CloseReason::LineTooLong),
        }
    }
}

fn errno_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_can_not_be_reached_any_more_is_idle() {
        for end in [End::TimedOut, End::Failed(libc::EHOSTUNREACH)] {
            assert_eq!(reason_of(end), CloseReason::Idle);
        }
        for end in [End::Reset, End::Failed(libc::EIO)] {
            assert_eq!(reason_of(end), CloseReason::Reset);
        }
        assert_eq!(reason_of(End::Closed), CloseReason::Closed);
    }
}
