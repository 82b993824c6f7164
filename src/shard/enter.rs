//! The door's part of the ring's news: connections come in, pass, or are turned away.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::TlsMode;
use crate::exchange::CloseReason;
use crate::metrics::DoorEnd;
use crate::ring::{ListenerId, Token};
use crate::shard::connection::{Connection, miner_token};
use crate::shard::door::counts::Room;
use crate::shard::door::rules::Rules;
use crate::shard::door::{Entering, Step};
use crate::shard::events::{Events, take_lines};
use crate::shard::state::Proxy;
use crate::wire::line::{Tail, TailPool};

/// One listener of this shard.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The proxy that it leads to.
    pub(crate) proxy: u16,
    /// The same for all shards.
    pub(crate) rules: Arc<Rules>,
    /// How many connections it may have.
    pub(crate) room: Room,
}

impl Entrance {
    /// A connection from this address may come in; it is counted from now on. Of one that begins with a
    /// header the address is not known yet.
    fn admit(&self, address: IpAddr, has_header: bool) -> Result<(), DoorEnd> {
        if !has_header && !self.rules.lets_in(address) {
            return Err(DoorEnd::Denied);
        }
        self.room.enter()?;
        if has_header {
            return Ok(());
        }
        let admitted = self.room.enter_address(address);
        if admitted.is_err() {
            self.room.leave(None);
        }
        admitted
    }

    /// The address of such a connection is known.
    fn admit_address(&self, address: IpAddr) -> Result<(), DoorEnd> {
        if !self.rules.lets_in(address) {
            return Err(DoorEnd::Denied);
        }
        self.room.enter_address(address)
    }
}

/// A connection is over: gives back what it has, wherever it is. Its place in the door, which is found by its
/// token, is given back before.
pub(crate) fn release(
    mut connection: Connection,
    proxy: &mut Proxy,
    listeners: &[Entrance],
    tails: &mut TailPool,
) {
    let entering = connection.entering.as_ref();
    let knows_address = entering.is_none_or(|it| it.has_address);
    let entrance = &listeners[usize::from(connection.listener.0)];
    let address = knows_address.then_some(connection.peer.ip);
    entrance.room.leave(address);
    match connection.tls {
        Some(tls) if tls.is_open => proxy.tls.miners -= 1,
        Some(tls) if tls.session.is_some() => proxy.handshakes.ended(),
        Some(tls) if tls.waits() => proxy.handshakes.leave_queue(),
        _ => {}
    }
    connection.tail.release(tails);
}

impl Events<'_> {
    /// A connection was accepted.
    pub(super) fn enter(&mut self, token: Token, listener: ListenerId, peer: SocketAddr) {
        let index = token.index as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.forget_former(index);
        let entrance = &self.listeners[usize::from(listener.0)];
        let proxy = &mut self.proxies[usize::from(entrance.proxy)];
        let has_header = entrance.rules.expects_header(peer.ip());
        if let Err(end) = entrance.admit(peer.ip(), has_header) {
            proxy.door.ends[end as usize] += 1;
            proxy.reporter.ended_in_door(self.now, peer, end);
            self.turned_away.push(token);
            return;
        }
        proxy.door.waiting += 1;
        let may_take = if has_header {
            proxy.limits.proxy_header_timeout
        } else {
            proxy.limits.first_byte_timeout
        };
        let until = self.now.since_start + may_take;
        self.connections[index] = Some(Connection {
            generation: token.generation,
            proxy: entrance.proxy,
            listener,
            tail: Tail::default(),
            entering: Some(self.door.enter(token, has_header, until)),
            tls: None,
            peer: peer.into(),
        });
    }

    /// Bytes came on a connection that is in the door.
    pub(super) fn received_in_door(&mut self, token: Token, bytes: &mut [u8]) {
        let connection = self.connections.get_mut(token.index as usize);
        let Some(connection) = connection.and_then(Option::as_mut) else {
            return;
        };
        let Some(entering) = &mut connection.entering else {
            return;
        };
        match entering.take(bytes) {
            Step::Wait => {}
            Step::Named { source, taken } => self.named(token, source, &mut bytes[taken..]),
            // A header behind a header comes from nobody who could be trusted.
            Step::Close(DoorEnd::ProxyHeader)
                if !entering.had_header()
                    && self.listeners[usize::from(connection.listener.0)]
                        .rules
                        .would_believe_others() =>
            {
                self.turn_away(token, DoorEnd::HeaderUntrusted);
            }
            Step::Close(end) => self.turn_away(token, end),
            Step::Tls { held, taken } => {
                if self.tls.mode(connection.listener).is_none() {
                    return self.turn_away(token, DoorEnd::TlsOnPlain);
                }
                self.leave_door(token);
                self.begin_tls(token, held, &mut bytes[taken..]);
            }
            Step::Open { .. } if self.tls.mode(connection.listener) == Some(TlsMode::Required) => {
                self.turn_away(token, DoorEnd::PlainOnTls);
            }
            Step::Open { held, taken } => self.open(token, held, &mut bytes[taken..]),
        }
    }

    /// A load balancer has told for whom it connected. What came behind that is the miner's.
    fn named(&mut self, token: Token, source: Option<SocketAddr>, bytes: &mut [u8]) {
        let connection = self.connections.get_mut(token.index as usize);
        let Some(connection) = connection.and_then(Option::as_mut) else {
            return;
        };
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        if let Some(source) = source {
            let via = std::mem::replace(&mut connection.peer, source.into());
            proxy.reporter.named(source, via.address());
        }
        let entrance = &self.listeners[usize::from(connection.listener.0)];
        let admitted = entrance.admit_address(connection.peer.ip);
        let Some(entering) = &mut connection.entering else {
            return;
        };
        match admitted {
            Ok(()) => entering.has_address = true,
            Err(DoorEnd::Denied) if source.is_none() => entering.comes_for_nobody(),
            Err(end) => return self.turn_away(token, end),
        }
        let until = self.now.since_start + proxy.limits.first_byte_timeout;
        self.door.may_stay(entering, until);
        if !bytes.is_empty() {
            self.received_in_door(token, bytes);
        }
    }

    /// It is a miner's: from now on the exchange knows it.
    fn open(&mut self, token: Token, mut held: Vec<u8>, bytes: &mut [u8]) {
        self.leave_door(token);
        let connection = self.connections.get_mut(token.index as usize);
        let Some(connection) = connection.and_then(Option::as_mut) else {
            return;
        };
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        proxy.reporter.connected(connection.peer.address());
        proxy.exchange.handle_connect(self.now, miner_token(token));
        for bytes in [&mut held[..], bytes] {
            take_lines(self.now, proxy, connection, self.tails, token, bytes);
        }
    }

    /// The peer has ended a connection that is in the door, if it is there.
    pub(super) fn ended_in_door(&mut self, token: Token) {
        self.end_in_door(token, DoorEnd::Left);
    }

    /// Ends a connection that is in the door.
    fn turn_away(&mut self, token: Token, end: DoorEnd) {
        if self.end_in_door(token, end) {
            self.turned_away.push(token);
        }
    }

    /// Turns those away whose time is over.
    pub(super) fn clear_door(&mut self) {
        for token in self.door.overdue(self.now.since_start) {
            let connection = self.connections.get(token.index as usize);
            let connection = connection.and_then(Option::as_ref);
            let entering = connection.and_then(|it| it.entering.as_ref());
            if let Some(end) = entering.map(|it| it.overdue()) {
                self.turn_away(token, end);
            }
        }
    }

    /// Ends the connections that their listener denies now, wherever they are.
    pub(super) fn end_denied(&mut self) {
        let mut ended = vec![0; self.proxies.len()];
        for index in 0..self.connections.len() {
            let Some(connection) = &self.connections[index] else {
                continue;
            };
            let entrance = &self.listeners[usize::from(connection.listener.0)];
            let knows_address = connection.entering.as_ref().is_none_or(|it| it.has_address);
            if !knows_address || !entrance.rules.denies(connection.peer.ip) {
                continue;
            }
            let token = token_at(index, connection.generation);
            ended[usize::from(connection.proxy)] += 1;
            let proxy = &mut self.proxies[usize::from(connection.proxy)];
            if connection.is_miner() {
                let miner = miner_token(token);
                proxy.exchange.refuse(miner, CloseReason::NetworkDenied);
            } else if connection.entering.is_some() {
                self.turn_away(token, DoorEnd::Denied);
            } else {
                proxy.door.ends[DoorEnd::Denied as usize] += 1;
                self.forget_tls(token);
                self.turned_away.push(token);
            }
        }
        for (proxy, count) in self.proxies.iter().zip(ended) {
            proxy.reporter.denied_now(count);
        }
    }

    /// Forgets a connection that is in the door; false where it is not.
    fn end_in_door(&mut self, token: Token, end: DoorEnd) -> bool {
        let Some(entering) = self.leave_door(token) else {
            return false;
        };
        if let Some(mut connection) = self.connections[token.index as usize].take() {
            let proxy = &mut self.proxies[usize::from(connection.proxy)];
            proxy.door.ends[end as usize] += 1;
            let peer = connection.peer.address();
            proxy.reporter.ended_in_door(self.now, peer, end);
            connection.entering = Some(entering);
            release(connection, proxy, self.listeners, self.tails);
        }
        true
    }

    /// Forgets the connection whose place a new one has, where its end was not told of yet.
    fn forget_former(&mut self, index: usize) {
        let Some(former) = &self.connections[index] else {
            return;
        };
        let token = token_at(index, former.generation);
        if !self.end_in_door(token, DoorEnd::Left)
            && let Some(former) = self.connections[index].take()
        {
            let proxy = &mut self.proxies[usize::from(former.proxy)];
            release(former, proxy, self.listeners, self.tails);
        }
    }

    /// Takes a connection out of the door, if it is there.
    fn leave_door(&mut self, token: Token) -> Option<Box<Entering>> {
        let connection = self.connections.get_mut(token.index as usize)?.as_mut()?;
        let is_current = connection.is(token);
        let entering = connection.entering.take_if(|_| is_current)?;
        self.proxies[usize::from(connection.proxy)].door.waiting -= 1;
        if let Some(moved) = self.door.leave(&entering) {
            let other = self.connections.get_mut(moved.token.index as usize);
            let other = other.and_then(Option::as_mut);
            let other = other.and_then(|it| it.entering.as_mut());
            other.expect("who waits is in the door").moved(moved);
        }
        Some(entering)
    }
}

fn token_at(index: usize, generation: u32) -> Token {
    Token {
        index: u32::try_from(index).expect("a place is 32 bits"),
        generation,
    }
}
