//! The door's part of the ring's news: connections come in, pass, or are turned away.

use std::net::SocketAddr;

use crate::metrics::DoorEnd;
use crate::ring::{ListenerId, Token};
use crate::shard::connection::{Connection, miner_token};
use crate::shard::door::Step;
use crate::shard::state::{Events, take_lines};
use crate::wire::line::Tail;

impl Events<'_> {
    /// A connection was accepted.
    pub(super) fn enter(&mut self, token: Token, listener: ListenerId, peer: SocketAddr) {
        let index = token.index as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        let number = self.listeners[usize::from(listener.0)];
        let proxy = &mut self.proxies[usize::from(number)];
        proxy.door.waiting += 1;
        let until = self.now.since_start + proxy.limits.first_byte_timeout;
        self.connections[index] = Some(Connection {
            generation: token.generation,
            proxy: number,
            tail: Tail::default(),
            entering: Some(self.door.enter(token, until)),
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
            Step::Close(end) => self.turn_away(token, end),
            Step::Open { held, taken } => self.open(token, held, &mut bytes[taken..]),
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

    /// Forgets a connection that is in the door; false where it is not.
    fn end_in_door(&mut self, token: Token, end: DoorEnd) -> bool {
        if !self.leave_door(token) {
            return false;
        }
        let place = &mut self.connections[token.index as usize];
        if let Some(connection) = place.take() {
            let proxy = &mut self.proxies[usize::from(connection.proxy)];
            proxy.door.ends[end as usize] += 1;
            let peer = connection.peer.address();
            proxy.reporter.ended_in_door(self.now, peer, end);
        }
        true
    }

    /// Takes a connection out of the door; false where it is not there.
    fn leave_door(&mut self, token: Token) -> bool {
        let connection = self.connections.get_mut(token.index as usize);
        let Some(connection) = connection.and_then(Option::as_mut) else {
            return false;
        };
        let Some(entering) = connection
            .entering
            .take_if(|_| connection.generation == token.generation)
        else {
            return false;
        };
        self.proxies[usize::from(connection.proxy)].door.waiting -= 1;
        if let Some(moved) = self.door.leave(&entering) {
            let other = self.connections.get_mut(moved.token.index as usize);
            let other = other.and_then(Option::as_mut);
            let other = other.and_then(|it| it.entering.as_mut());
            other.expect("who waits is in the door").moved(moved);
        }
        true
    }
}
